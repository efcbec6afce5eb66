//! Private set intersection of two parties by an oblivious pseudorandom function (Raghuraman and Rindal, eprint
//! 2022/320, their PSI section; VOLE-PSI, eprint 2021/266, figure 4).
//!
//! The receiver learns F of its keys; the sender sends F of its own, cut short and sorted ([`crate::tags`]); what both
//! have is the intersection. Where the sender shall learn it too, the receiver answers with one bit for each tag in
//! the order of the message. In the malicious variant a hash over the unsent halves of F of the claimed keys goes
//! with the bits: a receiver can claim no key of which it does not know F, though it can hold back keys that it has.
//!
//! Learned: the receiver which of its keys the sender has; the sender, where it learns, the same; each the number of
//! the other's keys. Rounds: those of the VOLE and three (malicious: four). Messages' sizes depend on the two numbers
//! of keys alone.

use rayon::prelude::*;
use subtle::ConstantTimeEq;

use crate::block::Block;
use crate::okvs::parameters::MAX_KEYS;
use crate::oprf::{DeltaSide, OprfReceiver, OprfSender, Outputs, PairSide, Security};
use crate::protocol::{Fault, Party, Turn};
use crate::tags::Layout;

const CLAIM: &str = "fondaco psi claim of the intersection 2";

/// What both sides know before they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PsiConfig {
    /// What is withstood.
    pub security: Security,
    /// Whether the sender learns the intersection too.
    pub both: bool,
    /// Keys of the other side.
    pub peer_keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Oprf,
    Tags,
    Answer,
    End,
    Broken,
}

/// BLAKE3 over the proofs of the claimed keys, in the order of the message: of those of `all` that `place_of` names.
fn claim<T: Sync>(all: &[Block], claimed: &[T], place_of: impl Fn(&T) -> u32 + Sync) -> [u8; 32] {
    let mut bytes = vec![0u8; 16 * claimed.len()];
    // The reads are at random places, and wait for memory: threads share the waiting.
    bytes
        .par_chunks_mut(16 << 12)
        .zip(claimed.par_chunks(1 << 12))
        .for_each(|(slots, claimed)| {
            for (slot, one) in slots.as_chunks_mut::<16>().0.iter_mut().zip(claimed) {
                *slot = all[place_of(one) as usize].to_bytes();
            }
        });
    let mut hasher = blake3::Hasher::new_derive_key(CLAIM);
    hasher.update_rayon(&bytes);
    *hasher.finalize().as_bytes()
}

fn check_sizes(own: usize, config: &PsiConfig) -> Result<(), Fault> {
    if own == 0 || config.peer_keys == 0 {
        return Err(Fault::Input {
            what: "an empty set, whose intersection is known",
        });
    }
    if own.max(config.peer_keys) > MAX_KEYS {
        return Err(Fault::Input {
            what: "more keys than one run takes",
        });
    }
    Ok(())
}

/// The side whose tags are compared.
pub struct PsiSender<V> {
    config: PsiConfig,
    step: Step,
    oprf: OprfSender<V>,
    /// Of the keys as they are evaluated, and for each tag sent which of them it is.
    evaluated: Option<(Outputs, Vec<u32>)>,
    /// Of each tag sent the place in the input.
    sent: Vec<u32>,
    /// The proofs in the order of evaluation, and of each tag sent the place among them; malicious mode only.
    proofs: Vec<Block>,
    proved: Vec<u32>,
    matched: Option<Vec<u32>>,
}

impl<V: DeltaSide> PsiSender<V> {
    /// For the sender's keys, each once, and a VOLE of [`crate::oprf::vole_length`] of the peer's keys.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set.
    pub fn new(config: PsiConfig, keys: Vec<Block>, vole: V) -> Result<Self, Fault> {
        check_sizes(keys.len(), &config)?;
        let oprf = OprfSender::new(config.security, keys, config.peer_keys, vole)?;
        Ok(Self {
            config,
            step: Step::Oprf,
            oprf,
            evaluated: None,
            sent: Vec::new(),
            proofs: Vec::new(),
            proved: Vec::new(),
            matched: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Oprf, incoming) => match self.oprf.next(incoming)? {
                Turn::Finished => self.send_tags(),
                turn => Ok(turn),
            },
            (Step::Tags, None) if self.config.both => {
                self.put_in_order()?;
                self.step = Step::Answer;
                Ok(Turn::Receive)
            }
            (Step::Tags, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            (Step::Answer, Some(bytes)) => {
                self.matched = Some(self.answered(bytes)?);
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn send_tags(&mut self) -> Result<Turn, Fault> {
        let mut outputs = self.oprf.evaluate()?;
        let tags = std::mem::take(&mut outputs.tags);
        let (message, places) = Layout::new(tags.len(), self.config.peer_keys).pack(&tags)?;
        if self.config.both {
            self.evaluated = Some((outputs, places));
        }
        self.step = Step::Tags;
        Ok(Turn::Send(message))
    }

    /// Put places in the input in the order of the tags, while the receiver compares them.
    fn put_in_order(&mut self) -> Result<(), Fault> {
        let (Outputs { proofs, order, .. }, places) =
            self.evaluated.take().ok_or(Fault::OutOfTurn)?;
        self.sent = places.iter().map(|at| order[*at as usize]).collect();
        if !proofs.is_empty() {
            (self.proofs, self.proved) = (proofs, places);
        }
        Ok(())
    }

    fn answered(&self, bytes: &[u8]) -> Result<Vec<u32>, Fault> {
        let malformed = Fault::Malformed { message: "answer" };
        let hash_bytes = if self.config.security == Security::Malicious {
            32
        } else {
            0
        };
        let layout = Layout::new(self.sent.len(), self.config.peer_keys);
        let width = bytes.len().checked_sub(hash_bytes).ok_or(malformed)?;
        let (bits, hash) = bytes.split_at(width);
        let claimed = layout.answered(bits)?;
        if hash_bytes > 0 {
            let proved = &self.proved;
            let wanted = claim(&self.proofs, &claimed, |at| proved[*at as usize]);
            if !bool::from(wanted.ct_eq(hash)) {
                return Err(Fault::Cheated {
                    check: "claim of the intersection",
                });
            }
        }
        Ok(claimed
            .into_iter()
            .map(|at| self.sent[at as usize])
            .collect())
    }

    /// Places in the input of the keys that both have, in the order of the tags' message, which is the same at the
    /// receiver and says nothing of either's input; None where the sender does not learn them.
    #[must_use]
    pub fn matched(&self) -> Option<&[u32]> {
        self.matched.as_deref()
    }
}

impl<V: DeltaSide> Party for PsiSender<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that compares.
pub struct PsiReceiver<V> {
    config: PsiConfig,
    step: Step,
    oprf: OprfReceiver<V>,
    own: Option<Outputs>,
    matched: Option<Vec<u32>>,
}

impl<V: PairSide> PsiReceiver<V> {
    /// For the receiver's keys, each once, and a VOLE of [`crate::oprf::vole_length`] of their number.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set.
    pub fn new(config: PsiConfig, keys: Vec<Block>, vole: V) -> Result<Self, Fault> {
        check_sizes(keys.len(), &config)?;
        let oprf = OprfReceiver::new(config.security, keys, vole)?;
        Ok(Self {
            config,
            step: Step::Oprf,
            oprf,
            own: None,
            matched: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Oprf, incoming) => match self.oprf.next(incoming)? {
                Turn::Finished => {
                    self.own = Some(self.oprf.take_outputs()?);
                    self.step = Step::Tags;
                    Ok(Turn::Receive)
                }
                turn => Ok(turn),
            },
            (Step::Tags, Some(bytes)) => self.compare(bytes),
            (Step::Answer, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn compare(&mut self, bytes: &[u8]) -> Result<Turn, Fault> {
        let Outputs {
            tags,
            proofs,
            order,
        } = self.own.take().ok_or(Fault::OutOfTurn)?;
        let layout = Layout::new(self.config.peer_keys, tags.len());
        let found = layout.find(&tags, bytes)?;
        self.matched = Some(
            found
                .iter()
                .map(|(row, _at)| order[*row as usize])
                .collect(),
        );
        if !self.config.both {
            self.step = Step::End;
            return Ok(Turn::Finished);
        }
        let mut answer = layout.answer(found.iter().map(|(_row, at)| *at));
        if self.config.security == Security::Malicious {
            answer.extend_from_slice(&claim(&proofs, &found, |(row, _at)| *row));
        }
        self.step = Step::Answer;
        Ok(Turn::Send(answer))
    }

    /// Places in the input of the keys that both have, in the order of the tags' message; None before the end.
    #[must_use]
    pub fn matched(&self) -> Option<&[u32]> {
        self.matched.as_deref()
    }
}

impl<V: PairSide> Party for PsiReceiver<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
