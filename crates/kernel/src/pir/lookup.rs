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

use super::index::{matrix_seed, part_of, Description, Index, Table};
use super::layout::Layout;
use super::matrix::{answer, Public, Query, Secret, Shape};
use super::record::{open, Blinded, Output, ELEMENT, PROOF};
use crate::protocol::{Fault, Party, Turn};
use rand_core::{OsRng, RngCore};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most keys of one lookup.
pub const MAX_KEYS: usize = 4096;
/// The most bytes of a description: its salts are what may be many.
pub const MAX_DESCRIPTION: usize = 1 << 14;
/// Single queries of one round.
pub const AT_ONCE: usize = 16;
/// A batch query is made once a round would be at least this part of it full; below, single queries cost less.
const BATCH_PART: usize = 4;

const fn malformed<T>(message: &'static str) -> Result<T, Fault> {
    Err(Fault::Malformed { message })
}

/// The rounds of a lookup: what both sides compute from the description and the number of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rounds {
    /// Records to fetch: keys times parts.
    records: usize,
    /// Records of one batch query; 0 for single queries.
    batch: usize,
}

impl Rounds {
    fn of(description: &Description, keys: usize) -> Self {
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

    fn count(self) -> usize {
        self.records.div_ceil(self.step())
    }

    /// The records of one round.
    fn range(self, round: usize) -> std::ops::Range<usize> {
        round * self.step()..self.records.min((round + 1) * self.step())
    }

    /// Single queries of one round.
    fn singles(self, round: usize) -> usize {
        if self.batch > 0 {
            1
        } else {
            self.range(round).len()
        }
    }
}

/// The layouts that rounds use: the batch matrix's first.
fn layouts(description: &Description, rounds: Rounds) -> (Option<&Layout>, &Layout) {
    let batch = description.batch.as_ref().filter(|_| rounds.batch > 0);
    (batch.map(|(_, layout)| layout), &description.single)
}

enum Serving {
    Describe,
    SendRandom,
    AwaitKeys,
    SendEvaluations(Vec<u8>),
    AwaitQueries(usize),
    SendAnswers(usize, Vec<u8>),
    Over,
}

/// The side that has the index.
pub struct Provider {
    index: Arc<Index>,
    keys: usize,
    rounds: Rounds,
    state: Serving,
    awaiting: bool,
}

impl Provider {
    /// Serve one lookup of exactly `keys` keys.
    ///
    /// # Errors
    /// `Fault::Input`: no keys or too many.
    pub fn new(index: Arc<Index>, keys: usize) -> Result<Self, Fault> {
        check_keys(keys)?;
        let rounds = Rounds::of(index.description(), keys);
        Ok(Self {
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
            Serving::AwaitKeys => self.keys * ELEMENT,
            Serving::AwaitQueries(round) => {
                self.lengths(round, |table| table.layout.shape().query_bytes())
                    .2
            }
            _ => 0,
        }
    }

    /// Bytes of the batch part, of each single part, and of the whole message of a round.
    fn lengths(&self, round: usize, bytes: fn(&Table) -> usize) -> (usize, usize, usize) {
        let (batch, single) = self.tables();
        let (first, each) = (batch.map_or(0, bytes), bytes(single));
        (first, each, first + self.rounds.singles(round) * each)
    }

    fn tables(&self) -> (Option<&Table>, &Table) {
        (
            self.index.batch().filter(|_| self.rounds.batch > 0),
            self.index.single(),
        )
    }

    fn evaluations(&self, blinded: &[u8]) -> Result<Vec<u8>, Fault> {
        if blinded.len() != self.keys * ELEMENT {
            return malformed("blinded keys");
        }
        let mut out = Vec::new();
        for evaluator in self.index.evaluators() {
            let Some(evaluation) = evaluator.blind_evaluate(blinded) else {
                return malformed("blinded keys");
            };
            out.extend(evaluation);
        }
        Ok(out)
    }

    fn answers(&self, round: usize, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let (batch, single) = self.tables();
        let (first, _, whole) = self.lengths(round, |table| table.layout.shape().query_bytes());
        if message.len() != whole {
            return malformed("queries");
        }
        let (ahead, rest) = message.split_at(first);
        let mut out = Vec::new();
        for (table, bytes) in batch
            .map(|table| (table, ahead))
            .into_iter()
            .chain([(single, rest)])
        {
            let shape = table.layout.shape();
            let queries: Option<Vec<Query>> = bytes
                .chunks_exact(shape.query_bytes())
                .map(|one| Query::from_bytes(shape, one))
                .collect();
            let Some(queries) = queries else {
                return malformed("queries");
            };
            out.extend(answer(shape, &table.data, &table.digits, &queries).concat());
        }
        Ok(out)
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

fn check_keys(keys: usize) -> Result<(), Fault> {
    if keys == 0 || keys > MAX_KEYS {
        return Err(Fault::Input {
            what: "a lookup of no keys or of more than 4096",
        });
    }
    Ok(())
}

impl Party for Provider {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (incoming, std::mem::take(&mut self.awaiting)) {
            (Some(message), true) => self.take(message)?,
            (None, false) => {}
            _ => return Err(Fault::OutOfTurn),
        }
        match std::mem::replace(&mut self.state, Serving::Over) {
            Serving::Describe => {
                self.state = Serving::SendRandom;
                Ok(Turn::Send(self.index.description().to_bytes()))
            }
            Serving::SendRandom => {
                self.state = Serving::AwaitKeys;
                let (batch, single) = self.tables();
                let tables = batch.into_iter().chain([single]);
                Ok(Turn::Send(
                    tables
                        .flat_map(|table| table.random.iter().copied())
                        .collect(),
                ))
            }
            Serving::SendEvaluations(evaluations) => {
                self.state = Serving::AwaitQueries(0);
                Ok(Turn::Send(evaluations))
            }
            Serving::SendAnswers(round, answers) => {
                if round + 1 < self.rounds.count() {
                    self.state = Serving::AwaitQueries(round + 1);
                }
                Ok(Turn::Send(answers))
            }
            waiting @ (Serving::AwaitKeys | Serving::AwaitQueries(_)) => {
                self.state = waiting;
                self.awaiting = true;
                Ok(Turn::Receive)
            }
            Serving::Over => Ok(Turn::Finished),
        }
    }
}

/// What the asker knows once it was told.
struct Told {
    description: Description,
    rounds: Rounds,
}

/// What the asker has once it can ask.
struct Ready {
    batch: Option<Public>,
    single: Public,
    /// For each generation, the outputs of all keys.
    outputs: Vec<Vec<Output>>,
}

/// What a round's answers will be read with.
struct Asked {
    round: usize,
    batch: Option<(Secret, Vec<Option<usize>>)>,
    /// The record that each single query is for, if any.
    singles: Vec<(Secret, Option<usize>)>,
}

enum Asking {
    AwaitDescription,
    AwaitRandom,
    SendKeys,
    AwaitEvaluations,
    SendQueries(usize),
    AwaitAnswers(Asked),
    Over,
}

/// The side that has the keys.
pub struct Asker {
    wanted: usize,
    blinded: Blinded,
    keys: usize,
    told: Option<Told>,
    public: Option<(Option<Public>, Public)>,
    ready: Option<Ready>,
    parts: Vec<Option<Vec<u8>>>,
    state: Asking,
    awaiting: bool,
}

impl Asker {
    /// Ask for `wanted`, different keys, in a lookup of exactly `keys` keys.
    ///
    /// # Errors
    /// `Fault::Input`: no keys or too many, an empty or over-long one, or one that stands twice.
    pub fn new(wanted: &[&[u8]], keys: usize) -> Result<Self, Fault> {
        check_keys(keys)?;
        let mut sorted = wanted.to_vec();
        sorted.sort_unstable();
        if wanted.len() > keys || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Fault::Input {
                what: "more keys than the lookup has, or one that stands twice",
            });
        }
        let mut all: Vec<Zeroizing<Vec<u8>>> = wanted
            .iter()
            .map(|key| Zeroizing::new(key.to_vec()))
            .collect();
        all.resize_with(keys, filler);
        let blinded = Blinded::new(all).ok_or(Fault::Input {
            what: "an empty or over-long key",
        })?;
        Ok(Self {
            wanted: wanted.len(),
            blinded,
            keys,
            told: None,
            public: None,
            ready: None,
            parts: Vec::new(),
            state: Asking::AwaitDescription,
            awaiting: false,
        })
    }

    /// The payloads of the wanted keys, in their order; None for one that is absent. Once `Turn::Finished` was said.
    ///
    /// # Errors
    /// `Fault::OutOfTurn`: the lookup is not over.
    pub fn payloads(&self) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let (Asking::Over, Some(told)) = (&self.state, &self.told) else {
            return Err(Fault::OutOfTurn);
        };
        let parts = told.description.parts();
        let whole = |parts: &[Option<Vec<u8>>]| parts.iter().cloned().collect::<Option<Vec<_>>>();
        Ok(self
            .parts
            .chunks_exact(parts)
            .take(self.wanted)
            .map(|parts| Some(whole(parts)?.concat()))
            .collect())
    }

    /// The most bytes that the provider's next message may have.
    #[must_use]
    pub fn limit(&self) -> usize {
        let Some(Told {
            description,
            rounds,
        }) = &self.told
        else {
            return MAX_DESCRIPTION;
        };
        let (batch, single) = layouts(description, *rounds);
        let sum = |bytes: fn(Shape) -> usize, singles: usize| {
            batch.map_or(0, |layout| bytes(layout.shape())) + singles * bytes(single.shape())
        };
        match &self.state {
            Asking::AwaitRandom => sum(|shape| shape.random_bytes(), 1),
            Asking::AwaitEvaluations => (self.keys * ELEMENT + PROOF) * description.publics.len(),
            Asking::AwaitAnswers(asked) => sum(|shape| shape.answer_bytes(), asked.singles.len()),
            _ => 0,
        }
    }

    fn described(&mut self, message: &[u8]) -> Result<(), Fault> {
        let Some(description) = Description::from_bytes(message) else {
            return malformed("description");
        };
        let rounds = Rounds::of(&description, self.keys);
        self.parts = vec![None; rounds.records];
        self.told = Some(Told {
            description,
            rounds,
        });
        Ok(())
    }

    fn prepared(&mut self, message: &[u8]) -> Result<(), Fault> {
        let Told {
            description,
            rounds,
        } = self.told.as_ref().ok_or(Fault::OutOfTurn)?;
        let (batch, single) = layouts(description, *rounds);
        let public = |layout: &Layout, name: &str, random: &[u8]| {
            Public::new(
                layout.shape(),
                &matrix_seed(&description.seed, name),
                random,
            )
        };
        let split = batch.map_or(0, |layout| layout.shape().random_bytes());
        let Some((first, rest)) = message.split_at_checked(split) else {
            return malformed("random part");
        };
        let made = batch
            .map(|layout| public(layout, "batch", first).ok_or(()))
            .transpose();
        let (Ok(batch), Some(single)) = (made, public(single, "single", rest)) else {
            return malformed("random part");
        };
        self.public = Some((batch, single));
        Ok(())
    }

    fn evaluated(&mut self, message: &[u8]) -> Result<(), Fault> {
        let told = self.told.as_ref().ok_or(Fault::OutOfTurn)?;
        let publics = &told.description.publics;
        let each = self.keys * ELEMENT + PROOF;
        if message.len() != each * publics.len() {
            return malformed("evaluations");
        }
        let outputs: Option<Vec<Vec<Output>>> = publics
            .iter()
            .zip(message.chunks_exact(each))
            .map(|(public, evaluation)| self.blinded.finish(public, evaluation))
            .collect();
        let outputs = outputs.ok_or(Fault::Cheated {
            check: "evaluation proof",
        })?;
        let (batch, single) = self.public.take().ok_or(Fault::OutOfTurn)?;
        self.ready = Some(Ready {
            batch,
            single,
            outputs,
        });
        Ok(())
    }

    /// Where record number `record` (key and part) lies: the oldest generation says.
    fn location(&self, ready: &Ready, record: usize) -> [u8; 32] {
        let parts = self.parts.len() / self.keys;
        part_of(&ready.outputs[0][record / parts], record % parts).location
    }

    fn queries(&self, round: usize) -> Result<(Asked, Vec<u8>), Fault> {
        let (Some(told), Some(ready)) = (&self.told, &self.ready) else {
            return Err(Fault::OutOfTurn);
        };
        let range = told.rounds.range(round);
        let locations: Vec<[u8; 32]> = range
            .clone()
            .map(|record| self.location(ready, record))
            .collect();
        let (batch_layout, single_layout) = layouts(&told.description, told.rounds);
        let mut message = Vec::new();
        let mut left: Vec<Option<usize>> = range.clone().map(Some).collect();
        let mut batch = None;
        if let (Some(public), Some(layout)) = (&ready.batch, batch_layout) {
            let (wishes, tables) = layout.wishes(&locations);
            let (secret, query) = public.query(&wishes);
            message = query.to_bytes();
            left = range
                .zip(&tables)
                .filter(|(_, table)| table.is_none())
                .map(|(record, _)| Some(record))
                .collect();
            batch = Some((secret, tables));
        }
        let singles = told.rounds.singles(round);
        if left.len() > singles {
            return Err(Fault::Unlucky {
                what: "an assignment of the keys to tables",
            });
        }
        left.resize(singles, None);
        let mut asked = Vec::with_capacity(singles);
        for record in left {
            let wish = record.map(|record| single_layout.wish(&self.location(ready, record)).0);
            let (secret, query) = ready
                .single
                .query(&[wish.unwrap_or(super::matrix::NOWHERE)]);
            message.extend(query.to_bytes());
            asked.push((secret, record));
        }
        let asked = Asked {
            round,
            batch,
            singles: asked,
        };
        Ok((asked, message))
    }

    fn answered(&mut self, asked: &Asked, message: &[u8]) -> Result<(), Fault> {
        let (Some(told), Some(ready)) = (&self.told, &self.ready) else {
            return Err(Fault::OutOfTurn);
        };
        let (batch_layout, single_layout) = layouts(&told.description, told.rounds);
        let ahead = batch_layout.map_or(0, |layout| layout.shape().answer_bytes());
        let each = single_layout.shape().answer_bytes();
        if message.len() != ahead + each * asked.singles.len() {
            return malformed("answers");
        }
        let (first, rest) = message.split_at(ahead);
        let mut found = Vec::new();
        if let (Some(public), Some((secret, tables))) = (&ready.batch, &asked.batch) {
            let Some(sums) = public.decode(secret, first) else {
                return malformed("answers");
            };
            let slot = single_layout.slot as usize;
            for (record, table) in told.rounds.range(asked.round).zip(tables) {
                if let Some(table) = table {
                    found.push((
                        record,
                        self.opened(ready, record, &sums[table * slot..][..slot]),
                    ));
                }
            }
        }
        for ((secret, record), answer) in asked.singles.iter().zip(rest.chunks_exact(each)) {
            let Some(sums) = ready.single.decode(secret, answer) else {
                return malformed("answers");
            };
            if let Some(record) = *record {
                let from = single_layout.wish(&self.location(ready, record)).1;
                let sealed = &sums[from..from + single_layout.slot as usize];
                found.push((record, self.opened(ready, record, sealed)));
            }
        }
        for (record, payload) in found {
            self.parts[record] = payload;
        }
        Ok(())
    }

    /// The record, if the key of one of the generations opens it.
    fn opened(&self, ready: &Ready, record: usize, sealed: &[u8]) -> Option<Vec<u8>> {
        let parts = self.parts.len() / self.keys;
        ready.outputs.iter().find_map(|outputs| {
            open(
                &part_of(&outputs[record / parts], record % parts).seal,
                sealed,
            )
        })
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, Asking::Over) {
            Asking::AwaitDescription => {
                self.described(message)?;
                self.state = Asking::AwaitRandom;
            }
            Asking::AwaitRandom => {
                self.prepared(message)?;
                self.state = Asking::SendKeys;
            }
            Asking::AwaitEvaluations => {
                self.evaluated(message)?;
                self.state = Asking::SendQueries(0);
            }
            Asking::AwaitAnswers(asked) => {
                self.answered(&asked, message)?;
                let rounds = self.told.as_ref().map_or(0, |told| told.rounds.count());
                if asked.round + 1 < rounds {
                    self.state = Asking::SendQueries(asked.round + 1);
                }
            }
            _ => return Err(Fault::OutOfTurn),
        }
        Ok(())
    }
}

/// A key that does not exist: random, of a length that no canonical key encoding begins like.
fn filler() -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0u8; 33]);
    OsRng.fill_bytes(&mut key);
    key
}

impl Party for Asker {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (incoming, std::mem::take(&mut self.awaiting)) {
            (Some(message), true) => self.take(message)?,
            (None, false) => {}
            _ => return Err(Fault::OutOfTurn),
        }
        match &self.state {
            Asking::SendKeys => {
                self.state = Asking::AwaitEvaluations;
                Ok(Turn::Send(self.blinded.message().to_vec()))
            }
            Asking::SendQueries(round) => {
                let (asked, message) = self.queries(*round)?;
                self.state = Asking::AwaitAnswers(asked);
                Ok(Turn::Send(message))
            }
            Asking::Over => Ok(Turn::Finished),
            _ => {
                self.awaiting = true;
                Ok(Turn::Receive)
            }
        }
    }
}
