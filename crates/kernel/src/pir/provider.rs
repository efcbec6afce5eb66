//! The provider's side of a lookup; the protocol and what it tells whom are in `lookup`.
//!
//! It takes exactly as many blinded keys as the lookup has, once, and queries of the round that is due, all of fixed
//! length and form; anything else ends it.

use super::index::{Index, Table};
use super::lookup::{check_keys, malformed, Rounds};
use super::matrix::{answer, Query};
use super::record::ELEMENT;
use crate::protocol::{Fault, Party, Turn};
use std::sync::Arc;

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
            out.extend(answer(shape, table.data(), &table.digits, &queries).concat());
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
