//! The asker's side of a lookup at two servers; the protocol and what it tells whom are in `lookup`.
//!
//! It sends each server ciphertext-like things alone: blinded elements, each server its own, and keys of point
//! functions, of which neither server has both. Number and length of messages follow from the description and the
//! number of keys of the lookup.

use super::bound;
use super::dpf;
use super::index::{combined, share_of, Description, DESCRIPTION, SHARE};
use super::lookup::{tops_bytes, Rounds};
use super::table::{checked, digest};
use crate::pir::asker::filler;
use crate::pir::bound::Bounds;
use crate::pir::index::part_of;
use crate::pir::lookup::check_keys;
use crate::pir::matrix::ONES;
use crate::pir::record::{open, Blinded, Output, ELEMENT, PROOF};
use crate::protocol::Fault;
use zeroize::Zeroizing;

/// A fault, and the server whose it is where the asker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blame {
    /// Server 0 or 1; None for the asker's own, or where one of both cheated and nobody can tell which.
    pub server: Option<usize>,
    /// What happened.
    pub fault: Fault,
}

impl From<Fault> for Blame {
    fn from(fault: Fault) -> Self {
        Self {
            server: None,
            fault,
        }
    }
}

/// What the asker wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turns {
    /// Carry the first to server 0 and the second to server 1.
    Send([Vec<u8>; 2]),
    /// Ask again with the next message of each.
    Receive,
    /// The lookup is over; take the payloads.
    Finished,
}

/// The rows of each record of a round.
type Places = Vec<[u32; ONES]>;

enum Asking {
    AwaitDescriptions,
    SendKeys,
    AwaitEvaluations,
    SendQueries(usize),
    AwaitAnswers(usize, Places),
    Over,
}

/// The side that has the keys.
pub struct Asker {
    wanted: usize,
    keys: usize,
    bounds: Bounds,
    blinded: [Blinded; 2],
    told: Option<([Description; 2], Rounds)>,
    tops: Vec<u8>,
    outputs: Vec<Output>,
    parts: Vec<Option<Vec<u8>>>,
    state: Asking,
    awaiting: bool,
}

fn malformed<T>(server: usize, message: &'static str) -> Result<T, Blame> {
    let fault = Fault::Malformed { message };
    Err(Blame {
        server: Some(server),
        fault,
    })
}

fn cheated<T>(server: Option<usize>, check: &'static str) -> Result<T, Blame> {
    let fault = Fault::Cheated { check };
    Err(Blame { server, fault })
}

impl Asker {
    /// Ask for `wanted`, different keys, in a lookup of exactly `keys` keys, of servers whose index is within `bounds`.
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
        let blinded = || {
            Blinded::new(all.clone()).ok_or(Fault::Input {
                what: "an empty or over-long key",
            })
        };
        Ok(Self {
            wanted: wanted.len(),
            keys,
            bounds,
            blinded: [blinded()?, blinded()?],
            told: None,
            tops: Vec::new(),
            outputs: Vec::new(),
            parts: Vec::new(),
            state: Asking::AwaitDescriptions,
            awaiting: false,
        })
    }

    /// The payloads of the wanted keys, in their order; None for one that is absent. Once `Turns::Finished` was said.
    ///
    /// # Errors
    /// `Fault::OutOfTurn`: the lookup is not over.
    pub fn payloads(&self) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let (Asking::Over, Some((descriptions, _))) = (&self.state, &self.told) else {
            return Err(Fault::OutOfTurn);
        };
        let whole = |parts: &[Option<Vec<u8>>]| parts.iter().cloned().collect::<Option<Vec<_>>>();
        Ok(self
            .parts
            .chunks_exact(descriptions[0].parts())
            .take(self.wanted)
            .map(|parts| Some(whole(parts)?.concat()))
            .collect())
    }

    /// The most bytes that the next message of either server may have.
    #[must_use]
    pub fn limits(&self) -> [usize; 2] {
        let Some((descriptions, rounds)) = &self.told else {
            return [DESCRIPTION; 2];
        };
        match &self.state {
            Asking::AwaitEvaluations => {
                let evaluations = self.keys * ELEMENT + PROOF;
                [evaluations + tops_bytes(&descriptions[0]), evaluations]
            }
            Asking::AwaitAnswers(round, _) => [rounds.answer_bytes(*round); 2],
            _ => [0; 2],
        }
    }

    fn described(&mut self, messages: [&[u8]; 2]) -> Result<(), Blame> {
        let Some(first) = Description::from_bytes(messages[0]) else {
            return malformed(0, "description");
        };
        let Some(second) = Description::from_bytes(messages[1]) else {
            return malformed(1, "description");
        };
        if !first.agrees(&second) {
            return cheated(None, "same table");
        }
        bound::check(&self.bounds, &first, self.keys)?;
        let rounds = Rounds::of(&first, self.keys);
        self.parts = vec![None; rounds.records];
        self.told = Some(([first, second], rounds));
        Ok(())
    }

    fn evaluated(&mut self, messages: [&[u8]; 2]) -> Result<(), Blame> {
        let (descriptions, _) = self.told.as_ref().ok_or(Fault::OutOfTurn)?;
        let length = self.keys * ELEMENT + PROOF;
        let Some((first, tops)) = messages[0].split_at_checked(length) else {
            return malformed(0, "evaluations");
        };
        if tops.len() != tops_bytes(&descriptions[0]) {
            return malformed(0, "tops");
        }
        if digest(tops) != descriptions[0].digest {
            return cheated(Some(0), "digest of the tops");
        }
        let mut shares: Vec<Vec<[u8; SHARE]>> = Vec::new();
        for (server, evaluations) in [first, messages[1]].into_iter().enumerate() {
            if evaluations.len() != length {
                return malformed(server, "evaluations");
            }
            let public = &descriptions[server].public;
            let Some(outputs) = self.blinded[server].finish(public, evaluations) else {
                return cheated(Some(server), "evaluation proof");
            };
            shares.push(outputs.iter().map(share_of).collect());
        }
        let pairs = shares[0].iter().zip(&shares[1]);
        self.outputs = pairs
            .map(|(first, second)| combined([first, second]))
            .collect();
        self.tops = tops.to_vec();
        Ok(())
    }

    /// What opens and places record number `record` (key and part).
    fn output(&self, record: usize) -> Output {
        let parts = self.parts.len() / self.keys;
        part_of(&self.outputs[record / parts], record % parts)
    }

    fn queries(&self, round: usize) -> Result<([Vec<u8>; 2], Places), Fault> {
        let (descriptions, rounds) = self.told.as_ref().ok_or(Fault::OutOfTurn)?;
        let places: Places = rounds
            .range(round)
            .map(|record| descriptions[0].places(&self.output(record).location))
            .collect();
        let mut messages = [Vec::new(), Vec::new()];
        for &row in places.iter().flatten() {
            let keys = dpf::generate(descriptions[0].depth(), u64::from(row))?;
            for (message, key) in messages.iter_mut().zip(&keys) {
                message.extend(key.to_bytes());
            }
        }
        Ok((messages, places))
    }

    fn answered(
        &mut self,
        round: usize,
        places: &[[u32; ONES]],
        messages: [&[u8]; 2],
    ) -> Result<(), Blame> {
        let (_, rounds) = self.told.as_ref().ok_or(Fault::OutOfTurn)?;
        for (server, message) in messages.iter().enumerate() {
            if message.len() != rounds.answer_bytes(round) {
                return malformed(server, "answers");
            }
        }
        let sums: Vec<u8> = messages[0]
            .iter()
            .zip(messages[1])
            .map(|(a, b)| a ^ b)
            .collect();
        let mut found = Vec::with_capacity(places.len());
        for ((record, places), rows) in rounds
            .range(round)
            .zip(places)
            .zip(sums.chunks_exact(ONES * rounds.row()))
        {
            let mut sealed = Vec::new();
            for (&place, row) in places.iter().zip(rows.chunks_exact(rounds.row())) {
                let Some(row) = checked(row, place, &self.tops) else {
                    return cheated(None, "proof of a row");
                };
                sealed.resize(row.len(), 0u8);
                sealed
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, byte)| *sum ^= byte);
            }
            found.push((record, open(&self.output(record).seal, &sealed)));
        }
        for (record, payload) in found {
            self.parts[record] = payload;
        }
        Ok(())
    }

    fn take(&mut self, messages: [&[u8]; 2]) -> Result<(), Blame> {
        match std::mem::replace(&mut self.state, Asking::Over) {
            Asking::AwaitDescriptions => {
                self.described(messages)?;
                self.state = Asking::SendKeys;
            }
            Asking::AwaitEvaluations => {
                self.evaluated(messages)?;
                self.state = Asking::SendQueries(0);
            }
            Asking::AwaitAnswers(round, places) => {
                self.answered(round, &places, messages)?;
                let rounds = self.told.as_ref().map_or(0, |(_, rounds)| rounds.count());
                if round + 1 < rounds {
                    self.state = Asking::SendQueries(round + 1);
                }
            }
            _ => return Err(Fault::OutOfTurn.into()),
        }
        Ok(())
    }

    /// Go on: with both servers' messages after `Turns::Receive`, with None otherwise.
    ///
    /// # Errors
    /// `Blame`; the asker cannot go on after it.
    pub fn next(&mut self, incoming: Option<[&[u8]; 2]>) -> Result<Turns, Blame> {
        match (incoming, std::mem::take(&mut self.awaiting)) {
            (Some(messages), true) => self.take(messages)?,
            (None, false) => {}
            _ => return Err(Fault::OutOfTurn.into()),
        }
        match &self.state {
            Asking::SendKeys => {
                self.state = Asking::AwaitEvaluations;
                let message =
                    |server: usize, tops: u8| [self.blinded[server].message(), &[tops]].concat();
                Ok(Turns::Send([message(0, 1), message(1, 0)]))
            }
            Asking::SendQueries(round) => {
                let round = *round;
                let (messages, places) = self.queries(round)?;
                self.state = Asking::AwaitAnswers(round, places);
                Ok(Turns::Send(messages))
            }
            Asking::Over => Ok(Turns::Finished),
            _ => {
                self.awaiting = true;
                Ok(Turns::Receive)
            }
        }
    }
}
