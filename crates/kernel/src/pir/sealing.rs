//! Records made ready for an index, many at a time, and sealed one by one when a matrix takes them.
//!
//! Trusts the provider's own records and its head of before; what it makes is the index's, and no less secret.

use super::description::part_bytes;
use super::directory::{Entry, Head};
use super::index::{hashed, part_of, Record};
use super::layout::Source;
use super::record::{self, Evaluator, Nonces, Output};

/// Records that are evaluated together.
pub(super) const CHUNK: usize = 2048;

/// What finding out where records lie needs to know, for all chunks of records.
pub(super) struct Sealing<'a> {
    pub(super) before: Option<&'a Head>,
    pub(super) evaluators: &'a [Evaluator],
    pub(super) key: &'a [u8; 32],
}

impl Sealing<'_> {
    /// The entries of some records, into `out`: kept where unchanged, else under the newest secret; where a record
    /// lies is always the oldest's to say. None if a key cannot be evaluated.
    pub(super) fn enter(&self, records: &[Record<'_>], out: &mut [Entry]) -> Option<()> {
        let newest = self.evaluators.len() - 1;
        let mut anew = Vec::new();
        let mut unplaced = Vec::new();
        for (at, ((key, payload), entry)) in records.iter().zip(out.iter_mut()).enumerate() {
            let (key, payload) = (hashed(self.key, key), hashed(self.key, payload));
            let old = self.before.and_then(|before| before.find(&key));
            if let Some(old) = old {
                entry.clone_from(old);
            } else {
                unplaced.push(at);
            }
            if old.is_none_or(|old| old.payload != payload) {
                anew.push(at);
            }
            (entry.key, entry.payload) = (key, payload);
        }
        let keys = |of: &[usize]| of.iter().map(|&at| records[at].0).collect::<Vec<_>>();
        let seals = self.evaluators[newest].evaluate_all(&keys(&anew))?;
        for (&at, output) in anew.iter().zip(&seals) {
            out[at].seal = output.seal;
            out[at].generation = newest as u8;
            if newest == 0 {
                out[at].location = output.location;
            }
        }
        if newest > 0 {
            let places = self.evaluators[0].evaluate_all(&keys(&unplaced))?;
            for (&at, output) in unplaced.iter().zip(&places) {
                out[at].location = output.location;
            }
        }
        Some(())
    }
}

/// Records with their entries, as matrices take them: the parts of each, one after the other.
pub(super) struct Entered<'a> {
    pub(super) records: &'a [Record<'a>],
    pub(super) entries: &'a [Entry],
    /// What payloads are padded to.
    pub(super) payload: usize,
    pub(super) parts: usize,
}

impl Entered<'_> {
    fn output(&self, at: usize) -> Output {
        let entry = &self.entries[at / self.parts];
        let whole = Output {
            location: entry.location,
            seal: entry.seal,
        };
        part_of(&whole, at % self.parts)
    }
}

impl Source for Entered<'_> {
    fn count(&self) -> usize {
        self.entries.len() * self.parts
    }

    fn location(&self, at: usize) -> [u8; 32] {
        self.output(at).location
    }

    fn seal(&self, at: usize, nonces: &mut Nonces, out: &mut [u8]) {
        let payload = self.records[at / self.parts].1;
        let width = part_bytes(self.payload);
        let cut = |part: usize| payload.len().min(part * width);
        let part = at % self.parts;
        record::seal(
            &self.output(at).seal,
            nonces.next_nonce(),
            &payload[cut(part)..cut(part + 1)],
            out,
        );
    }
}
