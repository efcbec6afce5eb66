//! A provider and an asker of the hidden query in one process: a driver that carries their messages.

use fondaco_kernel::pir::bound::Bounds;
use fondaco_kernel::pir::index::{Index, Record};
use fondaco_kernel::pir::lookup::{Asker, Provider};
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Records of up to `width` bytes, by number.
pub fn table(count: u32, width: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count)
        .map(|i| {
            (
                format!("key {i}").into_bytes(),
                vec![i.to_le_bytes()[0]; i as usize % (width + 1)],
            )
        })
        .collect()
}

/// As the kernel takes them.
pub fn borrowed(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<Record<'_>> {
    records
        .iter()
        .map(|(key, payload)| (key.as_slice(), payload.as_slice()))
        .collect()
}

/// Their index.
pub fn built(records: &[(Vec<u8>, Vec<u8>)], batch: usize) -> Arc<Index> {
    Arc::new(Index::build(&borrowed(records), batch, UNWATCHED).expect("an index"))
}

/// An index of 300 records with a batch matrix for 64 keys, made once.
pub fn shared() -> Arc<Index> {
    static INDEX: OnceLock<Arc<Index>> = OnceLock::new();
    Arc::clone(INDEX.get_or_init(|| built(&table(300, 40), 64)))
}

/// Messages in the order in which they were sent, each with who sent it.
pub type Transcript = Vec<(&'static str, Vec<u8>)>;

/// What was found, key by key, and the transcript.
pub type Answer = (Vec<Option<Vec<u8>>>, Transcript);

/// Drive both to the end.
pub fn run(index: &Arc<Index>, wanted: &[&[u8]], keys: usize) -> Result<Answer, Fault> {
    tampered(index, wanted, keys, &|_, _| {})
}

/// One party of a run, with what lies in its inbox.
struct Seat<'a> {
    party: &'a mut dyn Party,
    name: &'static str,
    waits: bool,
    inbox: VecDeque<Vec<u8>>,
}

impl Seat<'_> {
    /// Go on as far as the inbox lets; what is sent goes to `send`. Whether anything moved.
    fn advance(&mut self, send: &mut dyn FnMut(&'static str, Vec<u8>)) -> Result<bool, Fault> {
        let mut moved = false;
        loop {
            let message = if self.waits {
                self.inbox.pop_front()
            } else {
                None
            };
            if self.waits && message.is_none() {
                return Ok(moved);
            }
            self.waits = false;
            match self.party.next(message.as_deref())? {
                Turn::Send(message) => send(self.name, message),
                Turn::Receive => self.waits = true,
                Turn::Finished => return Ok(moved),
            }
            moved = true;
        }
    }
}

/// Drive both to the end, with message number n changed on its way by `tamper(n, message)`.
pub fn tampered(
    index: &Arc<Index>,
    wanted: &[&[u8]],
    keys: usize,
    tamper: &dyn Fn(usize, &mut Vec<u8>),
) -> Result<Answer, Fault> {
    let mut asker = Asker::new(wanted, keys, Bounds::default())?;
    let mut provider = Provider::new(Arc::clone(index), keys)?;
    let mut log = Transcript::new();
    let seat = |party, name| Seat {
        party,
        name,
        waits: false,
        inbox: VecDeque::new(),
    };
    let (mut one, mut other) = (
        seat(&mut provider as &mut dyn Party, "provider"),
        seat(&mut asker, "asker"),
    );
    loop {
        let mut underway = Vec::new();
        let mut send = |name, mut message: Vec<u8>| {
            tamper(log.len(), &mut message);
            log.push((name, message.clone()));
            underway.push(message);
        };
        let moved = one.advance(&mut send)?;
        other.inbox.extend(underway.drain(..));
        std::mem::swap(&mut one, &mut other);
        if !moved && one.inbox.is_empty() && other.inbox.is_empty() && log.len() > 1 {
            drop((one, other));
            return Ok((asker.payloads()?, log));
        }
    }
}

/// The keys of numbers.
pub fn keys_of(numbers: &[u32]) -> Vec<Vec<u8>> {
    numbers
        .iter()
        .map(|i| format!("key {i}").into_bytes())
        .collect()
}

/// What is found of numbers, and the transcript.
pub fn ask(index: &Arc<Index>, numbers: &[u32], keys: usize) -> Answer {
    let wanted = keys_of(numbers);
    let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
    run(index, &wanted, keys).expect("a lookup")
}
