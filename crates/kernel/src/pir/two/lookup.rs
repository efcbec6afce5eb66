//! A lookup at two servers: one server's side, and what both sides know of the rounds.
//!
//! Messages, S either server and A the asker, for m keys (who asks for fewer fills up with keys that do not exist):
//!
//! 1. S to A: its [`Description`].
//! 2. A to S: m blinded keys, 32 bytes each, and whether it wants the tops.
//! 3. S to A: m evaluations and a proof (32 m + 64 bytes), and the tops if it was asked for them.
//! 4. For each round of up to [`AT_ONCE`] records: A to S three keys a record (`dpf`), S to A three sums of rows a record.
//!
//! Adversary: a server alone, whatever it does; both together learn which rows are asked for, though not the keys
//! that they evaluate. Learned: each server learns m and nothing else. The asker learns the payloads of its keys, that
//! others are absent, the number of records, the widest payload; a server that answers falsely it catches (`table`),
//! whether the key is there or not. What else it reads is sealed under keys that it cannot evaluate.

use super::dpf::{key_bytes, Key};
use super::index::{Description, Index};
use super::table::HASH;
use crate::pir::lookup::{check_keys, malformed};
use crate::pir::matrix::ONES;
use crate::pir::record::ELEMENT;
use crate::protocol::{Fault, Party, Turn};
use rayon::prelude::*;
use std::sync::Arc;

/// Records of one round.
pub const AT_ONCE: usize = 16;

/// The rounds of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rounds {
    /// Records to fetch: keys times parts.
    pub(super) records: usize,
    depth: usize,
    row: usize,
}

impl Rounds {
    pub(super) fn of(description: &Description, keys: usize) -> Self {
        Self {
            records: keys * description.parts(),
            depth: description.depth(),
            row: description.width() + super::table::PROOF,
        }
    }

    pub(super) fn count(self) -> usize {
        self.records.div_ceil(AT_ONCE)
    }

    pub(super) fn range(self, round: usize) -> std::ops::Range<usize> {
        round * AT_ONCE..self.records.min((round + 1) * AT_ONCE)
    }

    pub(super) fn query_bytes(self, round: usize) -> usize {
        self.range(round).len() * ONES * key_bytes(self.depth)
    }

    pub(super) fn answer_bytes(self, round: usize) -> usize {
        self.range(round).len() * ONES * self.row
    }

    /// Bytes of one row with its proof.
    pub(super) const fn row(self) -> usize {
        self.row
    }
}

/// Bytes of the nodes above the proofs.
pub(super) const fn tops_bytes(description: &Description) -> usize {
    description.form.rows as usize / super::table::GROUP * HASH
}

enum Serving {
    Describe,
    AwaitKeys,
    SendEvaluations(Vec<u8>),
    AwaitQueries(usize),
    SendAnswers(usize, Vec<u8>),
    Over,
}

/// One of the two servers.
pub struct Server {
    number: u8,
    index: Arc<Index>,
    keys: usize,
    rounds: Rounds,
    state: Serving,
    awaiting: bool,
}

impl Server {
    /// Serve one lookup of exactly `keys` keys as server 0 or 1.
    ///
    /// # Errors
    /// `Fault::Input`: no keys or too many, or no such server.
    pub fn new(number: u8, index: Arc<Index>, keys: usize) -> Result<Self, Fault> {
        check_keys(keys)?;
        if number > 1 {
            return Err(Fault::Input {
                what: "a third of two servers",
            });
        }
        let rounds = Rounds::of(index.description(), keys);
        Ok(Self {
            number,
            index,
            keys,
            rounds,
            state: Serving::Describe,
            awaiting: false,
        })
    }

    /// The most bytes that the asker's next message may have.
    #[must_use]
    pub fn limit(&self) -> usize {
        match self.state {
            Serving::AwaitKeys => self.keys * ELEMENT + 1,
            Serving::AwaitQueries(round) => self.rounds.query_bytes(round),
            _ => 0,
        }
    }

    fn evaluations(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let Some((&tops @ 0..=1, blinded)) = message.split_last() else {
            return malformed("blinded keys");
        };
        if blinded.len() != self.keys * ELEMENT {
            return malformed("blinded keys");
        }
        let Some(mut out) = self.index.evaluator().blind_evaluate(blinded) else {
            return malformed("blinded keys");
        };
        if tops == 1 {
            out.extend_from_slice(self.index.table().tops());
        }
        Ok(out)
    }

    fn answers(&self, round: usize, message: &[u8]) -> Result<Vec<u8>, Fault> {
        if message.len() != self.rounds.query_bytes(round) {
            return malformed("queries");
        }
        let depth = self.rounds.depth;
        let keys: Option<Vec<Key>> = message
            .chunks_exact(key_bytes(depth))
            .map(|bytes| Key::from_bytes(self.number, depth, bytes))
            .collect();
        let Some(keys) = keys else {
            return malformed("queries");
        };
        let selections: Vec<Vec<u128>> = keys.par_iter().map(Key::expand).collect();
        Ok(self.index.table().answer(&selections).concat())
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.state = match self.state {
            Serving::AwaitKeys => Serving::SendEvaluations(self.evaluations(message)?),
            Serving::AwaitQueries(round) => {
                Serving::SendAnswers(round, self.answers(round, message)?)
            }
            _ => return Err(Fault::OutOfTurn),
        };
        Ok(())
    }
}

impl Party for Server {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (incoming, std::mem::take(&mut self.awaiting)) {
            (Some(message), true) => self.take(message)?,
            (None, false) => {}
            _ => return Err(Fault::OutOfTurn),
        }
        match std::mem::replace(&mut self.state, Serving::Over) {
            Serving::Describe => {
                self.state = Serving::AwaitKeys;
                Ok(Turn::Send(self.index.description().to_bytes()))
            }
            Serving::SendEvaluations(message) => {
                self.state = Serving::AwaitQueries(0);
                Ok(Turn::Send(message))
            }
            Serving::SendAnswers(round, message) => {
                if round + 1 < self.rounds.count() {
                    self.state = Serving::AwaitQueries(round + 1);
                }
                Ok(Turn::Send(message))
            }
            Serving::Over => Ok(Turn::Finished),
            waiting => {
                self.state = waiting;
                self.awaiting = true;
                Ok(Turn::Receive)
            }
        }
    }
}
