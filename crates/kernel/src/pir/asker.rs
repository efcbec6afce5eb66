//! The asker's side of a lookup; the protocol and what it tells whom are in `lookup`.
//!
//! What it sends depends on its keys in nothing but ciphertexts and blinded elements: number and length of messages
//! follow from the description and the number of keys of the lookup.

use super::ask::{Public, Secret};
use super::bound::Bounds;
use super::description::Description;
use super::index::{matrix_seed, part_of};
use super::layout::Layout;
use super::lookup::{check_keys, layouts, malformed, Rounds, MAX_DESCRIPTION};
use super::matrix::{Shape, NOWHERE};
use super::record::{open, Blinded, Output, ELEMENT, PROOF};
use crate::protocol::{Fault, Party, Turn};
use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

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
    bounds: Bounds,
    told: Option<Told>,
    public: Option<(Option<Public>, Public)>,
    ready: Option<Ready>,
    parts: Vec<Option<Vec<u8>>>,
    state: Asking,
    awaiting: bool,
}

impl Asker {
    /// Ask for `wanted`, different keys, in a lookup of exactly `keys` keys, of a provider whose index is within `bounds`.
    ///
    /// # Errors
    /// `Fault::Input`: no keys or too many, an empty or over-long one, or one that stands twice.
    pub fn new(wanted: &[&[u8]], keys: usize, bounds: Bounds) -> Result<Self, Fault> {
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
            bounds,
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
        self.bounds.check(&description, self.keys)?;
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
        let singles = told.rounds.singles(round);
        let ahead = batch_layout.map_or(0, |layout| layout.shape().query_bytes());
        let each = single_layout.shape().query_bytes();
        let mut message = vec![0u8; ahead + singles * each];
        let (first, rest) = message.split_at_mut(ahead);
        let mut left: Vec<Option<usize>> = range.clone().map(Some).collect();
        let mut batch = None;
        if let (Some(public), Some(layout)) = (&ready.batch, batch_layout) {
            let (wishes, tables) = layout.wishes(&locations);
            let secret = public.query(&wishes, first);
            left = range
                .zip(&tables)
                .filter(|(_, table)| table.is_none())
                .map(|(record, _)| Some(record))
                .collect();
            batch = Some((secret, tables));
        }
        if left.len() > singles {
            return Err(Fault::Unlucky {
                what: "an assignment of the keys to tables",
            });
        }
        left.resize(singles, None);
        let mut asked = Vec::with_capacity(singles);
        for (record, out) in left.into_iter().zip(rest.chunks_exact_mut(each)) {
            let wish = record.map(|record| single_layout.wish(&self.location(ready, record)).0);
            let secret = ready.single.query(&[wish.unwrap_or(NOWHERE)], out);
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
pub(super) fn filler() -> Zeroizing<Vec<u8>> {
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
