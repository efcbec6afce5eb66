//! Two servers that hold the same records make their index: what each says to the other, in turn.
//!
//! Messages, both ways: a claim (how many records, how wide, which index is kept, a point); a tag; then, unless both kept
//! the same, the first server's shares and the second's (32 bytes a record, by their order), and what the table comes
//! to. Point and tag find out whether both hold the same records (`equal`), and tell no hash of them.
//!
//! Adversary: semi-honest servers, but for the test of equality, which is for any. Neither learns the other's secret. A
//! server that lies about its shares makes records look absent to askers; it learns nothing by it. Records that differ
//! are found before anything is told of them but their number and width.

use super::super::description::MAX_PAYLOAD;
use super::super::index::{checked_records, padded, Record};
use super::super::record::{Evaluator, SECRET};
use super::equal::{Met, Said, POINT, TAG};
use super::index::{share_of, Index, SHARE};
use super::table::HASH;
use crate::protocol::{Fault, Party, Turn};
use crate::ristretto::fresh_scalar;
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"fondaco/pir-two2";
const SIDES: &[u8] = b"fondaco hidden query: two servers";
/// Bytes of a claim without its point.
const CLAIMED: usize = 16 + 8 + 4 + HASH;
const CLAIM: usize = CLAIMED + POINT;
const DIFFER: Fault = Fault::Differ {
    what: "the records of the two servers",
};
const CLAIM_FORM: Fault = Fault::Malformed { message: "claim" };
const CHUNK: usize = 2048;
/// Of a server that kept no index.
const NONE_KEPT: [u8; HASH] = [0; HASH];

enum Preparing {
    SendClaim,
    AwaitClaim,
    SendTag(Met, bool),
    AwaitTag(Met, bool),
    SendShares,
    AwaitShares,
    SendDigest,
    AwaitDigest,
    Over,
}

/// One server of a preparation.
pub struct Preparation {
    first: bool,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    payload: usize,
    content: [u8; HASH],
    said: Said,
    kept: Option<Arc<Index>>,
    own: Option<(Zeroizing<[u8; SECRET]>, Evaluator)>,
    shares: Vec<[u8; SHARE]>,
    theirs: Vec<[u8; SHARE]>,
    index: Option<Arc<Index>>,
    fresh: bool,
    state: Preparing,
    awaiting: bool,
}

/// What records in their order hash to.
fn content_of(records: &[(Vec<u8>, Vec<u8>)]) -> [u8; HASH] {
    let mut hasher =
        blake3::Hasher::new_derive_key("fondaco 2026-11-25 hidden query of two servers: records");
    for bytes in records.iter().flat_map(|(key, payload)| [key, payload]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

impl Preparation {
    /// Of records whose keys all differ, and the index that was kept of them, if one was; in a run that both servers
    /// name alike and no other run has the name of.
    ///
    /// # Errors
    /// `Fault::Input`: a key stands twice, is empty or too long; a payload too wide; a kept index of other records.
    pub fn new(
        first: bool,
        records: &[Record<'_>],
        kept: Option<Arc<Index>>,
        run: &[u8],
    ) -> Result<Self, Fault> {
        let payload = padded(checked_records(records, 0)?);
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = records
            .par_iter()
            .map(|(key, payload)| (key.to_vec(), payload.to_vec()))
            .collect();
        records.par_sort_unstable();
        let content = content_of(&records);
        if kept.as_ref().is_some_and(|kept| *kept.content() != content) {
            return Err(Fault::Input {
                what: "a kept index of other records",
            });
        }
        if kept.as_ref().is_some_and(|kept| kept.is_first() != first) {
            return Err(Fault::Input {
                what: "a kept index of the other server",
            });
        }
        Ok(Self {
            first,
            records,
            payload,
            said: Said::new(&content, SIDES, run, fresh_scalar()?),
            content,
            kept,
            own: None,
            shares: Vec::new(),
            theirs: Vec::new(),
            index: None,
            fresh: false,
            state: Preparing::SendClaim,
            awaiting: false,
        })
    }

    /// The index, and whether it was made anew; once `Turn::Finished` was said.
    #[must_use]
    pub fn index(&self) -> Option<(Arc<Index>, bool)> {
        self.index
            .as_ref()
            .map(|index| (Arc::clone(index), self.fresh))
    }

    /// The most bytes that the peer's next message may have.
    #[must_use]
    pub fn limit(&self) -> usize {
        match self.state {
            Preparing::AwaitClaim => CLAIM,
            Preparing::AwaitTag(..) => TAG,
            Preparing::AwaitShares => self.records.len() * SHARE,
            Preparing::AwaitDigest => HASH,
            _ => 0,
        }
    }

    fn claim(&self) -> Vec<u8> {
        let kept = self
            .kept
            .as_ref()
            .map_or(NONE_KEPT, |kept| kept.description().digest);
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(self.records.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.payload.min(MAX_PAYLOAD) as u32).to_le_bytes());
        out.extend_from_slice(&kept);
        out.extend_from_slice(self.said.point());
        out
    }

    fn claimed(&mut self, message: &[u8]) -> Result<(), Fault> {
        let own = self.claim();
        let Some((theirs, point)) = message.split_at_checked(CLAIMED) else {
            return Err(CLAIM_FORM);
        };
        let Ok(point) = point.try_into() else {
            return Err(CLAIM_FORM);
        };
        let own = &own[..CLAIMED];
        if theirs[..MAGIC.len()] != own[..MAGIC.len()] {
            return Err(CLAIM_FORM);
        }
        if theirs[..CLAIMED - HASH] != own[..CLAIMED - HASH] {
            return Err(DIFFER);
        }
        let met = self.said.meet(self.first, own, point, theirs);
        let both_kept = self.kept.is_some() && theirs == own;
        self.state = Preparing::SendTag(met.ok_or(CLAIM_FORM)?, both_kept);
        Ok(())
    }

    /// Go on once it is known that both hold the same.
    fn found_same(&mut self, both_kept: bool) -> Result<(), Fault> {
        if both_kept {
            self.index = self.kept.clone();
            self.state = Preparing::Over;
            return Ok(());
        }
        let (evaluator, seed) = Evaluator::generate();
        self.shares = self
            .records
            .par_chunks(CHUNK)
            .map(|records| {
                let keys: Vec<&[u8]> = records.iter().map(|(key, _)| key.as_slice()).collect();
                let outputs = evaluator.evaluate_all(&keys)?;
                Some(outputs.iter().map(share_of).collect::<Vec<_>>())
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(Fault::Input {
                what: "a lookup key that cannot be evaluated",
            })?
            .concat();
        self.own = Some((seed, evaluator));
        self.state = if self.first {
            Preparing::SendShares
        } else {
            Preparing::AwaitShares
        };
        Ok(())
    }

    fn shared(&mut self, message: &[u8]) -> Result<(), Fault> {
        let (shares, rest) = message.as_chunks::<SHARE>();
        if shares.len() != self.records.len() || !rest.is_empty() {
            return Err(Fault::Malformed { message: "shares" });
        }
        self.theirs = shares.to_vec();
        self.state = if self.first {
            self.make()?;
            Preparing::SendDigest
        } else {
            Preparing::SendShares
        };
        Ok(())
    }

    fn make(&mut self) -> Result<(), Fault> {
        let own = self.own.take().ok_or(Fault::OutOfTurn)?;
        let records: Vec<Record<'_>> = self
            .records
            .iter()
            .map(|(key, payload)| (key.as_slice(), payload.as_slice()))
            .collect();
        let shares = if self.first {
            [&self.shares[..], &self.theirs]
        } else {
            [&self.theirs[..], &self.shares]
        };
        self.fresh = true;
        self.index = Some(Arc::new(Index::made(
            &records,
            shares,
            self.payload,
            (self.first, self.content),
            own,
        )?));
        Ok(())
    }

    fn digest(&self) -> Result<&[u8; HASH], Fault> {
        let index = self.index.as_ref().ok_or(Fault::OutOfTurn)?;
        Ok(&index.description().digest)
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Fault> {
        match &self.state {
            Preparing::AwaitClaim => self.claimed(message),
            Preparing::AwaitTag(..) if message.len() != TAG => {
                Err(Fault::Malformed { message: "tag" })
            }
            Preparing::AwaitTag(met, both_kept) => {
                if !met.is_same(message) {
                    return Err(DIFFER);
                }
                let both_kept = *both_kept;
                self.found_same(both_kept)
            }
            Preparing::AwaitShares => self.shared(message),
            Preparing::AwaitDigest => {
                if message != self.digest()? {
                    return Err(Fault::Cheated {
                        check: "same table",
                    });
                }
                self.state = Preparing::Over;
                Ok(())
            }
            _ => Err(Fault::OutOfTurn),
        }
    }
}

impl Party for Preparation {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (incoming, std::mem::take(&mut self.awaiting)) {
            (Some(message), true) => self.take(message)?,
            (None, false) => {}
            _ => return Err(Fault::OutOfTurn),
        }
        match std::mem::replace(&mut self.state, Preparing::Over) {
            Preparing::SendClaim => {
                self.state = Preparing::AwaitClaim;
                Ok(Turn::Send(self.claim()))
            }
            Preparing::SendTag(met, both_kept) => {
                let tag = met.tag.to_vec();
                self.state = Preparing::AwaitTag(met, both_kept);
                Ok(Turn::Send(tag))
            }
            Preparing::SendShares => {
                let message = self.shares.concat();
                self.state = if self.first {
                    Preparing::AwaitShares
                } else {
                    Preparing::SendDigest
                };
                Ok(Turn::Send(message))
            }
            Preparing::SendDigest => {
                if self.index.is_none() {
                    self.make()?;
                }
                self.state = Preparing::AwaitDigest;
                Ok(Turn::Send(self.digest()?.to_vec()))
            }
            Preparing::Over => Ok(Turn::Finished),
            waiting => {
                self.state = waiting;
                self.awaiting = true;
                Ok(Turn::Receive)
            }
        }
    }
}
