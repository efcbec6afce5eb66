//! How far long work is: told to whoever waits for it, from any thread, and to nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Is told the work in a few words, how much of it is done, and how much there is.
pub type Watch<'a> = &'a (dyn Fn(&'static str, usize, usize) + Sync);

/// Nobody waits.
pub const UNWATCHED: Watch<'static> = &|_, _, _| {};

/// Work in parts that end in any order.
pub struct Counted<'a> {
    watch: Watch<'a>,
    what: &'static str,
    whole: usize,
    done: AtomicUsize,
}

impl<'a> Counted<'a> {
    /// Work of so many parts, none of them done.
    #[must_use]
    pub fn new(watch: Watch<'a>, what: &'static str, whole: usize) -> Self {
        watch(what, 0, whole);
        Self {
            watch,
            what,
            whole,
            done: AtomicUsize::new(0),
        }
    }

    /// So many more parts are done.
    pub fn add(&self, parts: usize) {
        let done = self.done.fetch_add(parts, Ordering::Relaxed) + parts;
        (self.watch)(self.what, done, self.whole);
    }
}
