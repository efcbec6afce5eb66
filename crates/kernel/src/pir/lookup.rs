//! The hidden query between two: an asker with keys, a provider with an index. State machines without input or output.
//!
//! Messages, P provider and A asker, for m keys (a number that both know beforehand; who asks for fewer fills up with
//! keys that do not exist):
//!
//! 1. P to A: the [`Description`].
//! 2. P to A: the random parts of the answers of the matrices that m keys use.
//! 3. A to P: m blinded keys, 32 bytes each.
//! 4. P to A: for each generation, m evaluations and a proof (32 m + 64 bytes).
//! 5. For each round that the description and m make: A to P queries, P to A answers, all of fixed length.
//!
//! Where the index has a batch matrix and there are enough keys, a round is one batch query for up to its number of
//! keys and one single query, for the key that found no table if there is one (else for nothing). Otherwise rounds
//! are of up to [`AT_ONCE`] single queries.
//!
//! Adversary: semi-honest either way; the provider may deviate as it likes without learning anything of the keys from
//! the protocol, but can answer wrongly, which looks to the asker like an absent key. Learned: the provider learns m
//! and nothing else, whether or not keys exist, repeat, or were asked before. The asker learns the payloads of its
//! keys, that others of its keys are absent, the number of records, the widest payload, and how often the index was
//! updated since it was built. What else its answers hold is sealed under keys that it cannot evaluate (`record`).

use super::description::Description;
use super::layout::Layout;
use crate::protocol::Fault;

pub use super::asker::Asker;
pub use super::provider::Provider;

/// The most keys of one lookup.
pub const MAX_KEYS: usize = 4096;
/// The most bytes of a description: its salts are what may be many.
pub const MAX_DESCRIPTION: usize = 1 << 14;
/// Single queries of one round.
pub const AT_ONCE: usize = 16;
/// A batch query is made once a round would be at least this part of it full; below, single queries cost less.
const BATCH_PART: usize = 4;

pub(super) const fn malformed<T>(message: &'static str) -> Result<T, Fault> {
    Err(Fault::Malformed { message })
}

/// The rounds of a lookup: what both sides compute from the description and the number of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rounds {
    /// Records to fetch: keys times parts.
    pub(super) records: usize,
    /// Records of one batch query; 0 for single queries.
    pub(super) batch: usize,
}

impl Rounds {
    pub(super) fn of(description: &Description, keys: usize) -> Self {
        let records = keys * description.parts();
        let batch = description
            .batch
            .as_ref()
            .map_or(0, |(keys, _)| *keys as usize);
        Self {
            records,
            batch: if records * BATCH_PART >= batch {
                batch
            } else {
                0
            },
        }
    }

    fn step(self) -> usize {
        if self.batch > 0 {
            self.batch
        } else {
            AT_ONCE
        }
    }

    pub(super) fn count(self) -> usize {
        self.records.div_ceil(self.step())
    }

    /// The records of one round.
    pub(super) fn range(self, round: usize) -> std::ops::Range<usize> {
        round * self.step()..self.records.min((round + 1) * self.step())
    }

    /// Single queries of one round.
    pub(super) fn singles(self, round: usize) -> usize {
        if self.batch > 0 {
            1
        } else {
            self.range(round).len()
        }
    }
}

/// The layouts that rounds use: the batch matrix's first.
pub(super) fn layouts(description: &Description, rounds: Rounds) -> (Option<&Layout>, &Layout) {
    let batch = description.batch.as_ref().filter(|_| rounds.batch > 0);
    (batch.map(|(_, layout)| layout), &description.single)
}

pub(super) fn check_keys(keys: usize) -> Result<(), Fault> {
    if keys == 0 || keys > MAX_KEYS {
        return Err(Fault::Input {
            what: "a lookup of no keys or of more than 4096",
        });
    }
    Ok(())
}
