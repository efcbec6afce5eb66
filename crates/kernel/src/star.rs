//! A programmable oblivious pseudorandom function, and shares of zero: what an intersection of many parties is made of
//! (Kolesnikov, Matania, Pinkas, Rosulek, Trieu, CCS 2017, eprint 2017/799, sections 3 and 5).
//!
//! **Function.** The sender has a value for each of its keys; the receiver learns the value of each of its keys that the
//! sender has, and of any other key something as good as random, and cannot tell one from the other where the values
//! are pseudorandom themselves. By the function F of [`crate::oprf`] and a linear store ([`crate::okvs`]): the sender
//! sends a store of `F(x) + value(x)`, filled at random; the receiver decodes it at its keys and adds F.
//!
//! **Shares of zero.** [`zero_shares`]: every two parties share a secret; a party's share for a key is the sum of the
//! functions of the key under all its secrets. So the shares of all parties add up to zero, whatever the key, and those
//! of fewer look random. The sums that the leader of a star sees are zero where all others have its key.
//!
//! **Adversary.** Semi-honest. **Learned.** Each the number of the other's keys; the receiver what is said above.
//! **Rounds.** Those of F and one message more, of 16 bytes and 16 a block of the store. Sizes depend on the two
//! numbers of keys alone.

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::block::{to_bytes, Block};
use crate::okvs::parameters::MAX_KEYS;
use crate::okvs::paxos::Paxos;
use crate::okvs::{Okvs, Rows};
use crate::oprf::{DeltaSide, OprfReceiver, OprfSender, Outputs, PairSide, Security};
use crate::permutation::{fresh_block, Permutation};
use crate::protocol::{Fault, Party, Turn};

const MESSAGE: &str = "store of values";
const CHUNK: usize = 1 << 12;

/// This party's share of zero for each key, under the secrets that it has with each of the others.
#[must_use]
pub fn zero_shares(keys: &[Block], secrets: &[Block]) -> Vec<Block> {
    let functions: Vec<Permutation> = secrets.iter().copied().map(Permutation::new).collect();
    let mut shares = vec![Block::ZERO; keys.len()];
    shares
        .par_chunks_mut(CHUNK)
        .zip(keys.par_chunks(CHUNK))
        .for_each(|(shares, keys)| {
            let mut values = Zeroizing::new(keys.to_vec());
            for function in &functions {
                values.copy_from_slice(keys);
                function.hash_each(&mut values);
                shares
                    .iter_mut()
                    .zip(&*values)
                    .for_each(|(sum, value)| *sum ^= *value);
            }
        });
    shares
}

/// What F gives, in the order of the input.
fn in_order(outputs: &Outputs) -> Zeroizing<Vec<Block>> {
    let mut values = Zeroizing::new(vec![Block::ZERO; outputs.tags.len()]);
    for (place, tag) in outputs.order.iter().zip(&outputs.tags) {
        values[*place as usize] = *tag;
    }
    values
}

fn check(own: usize, peer_keys: usize) -> Result<(), Fault> {
    if own == 0 || peer_keys == 0 {
        return Err(Fault::Input {
            what: "an empty set, which has no values",
        });
    }
    if own.max(peer_keys) > MAX_KEYS {
        return Err(Fault::Input {
            what: "more keys than one run takes",
        });
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Function,
    Values,
    End,
    Broken,
}

/// The side that has values.
pub struct StarMember<V> {
    step: Step,
    oprf: OprfSender<V>,
    keys: Vec<Block>,
    values: Zeroizing<Vec<Block>>,
}

impl<V: DeltaSide> StarMember<V> {
    /// For this side's keys, each once, their values in the same order, and a VOLE of [`crate::oprf::vole_length`] of
    /// the receiver's number of keys.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set, not one value a key, or without randomness.
    pub fn new(
        keys: Vec<Block>,
        values: Vec<Block>,
        peer_keys: usize,
        vole: V,
    ) -> Result<Self, Fault> {
        let values = Zeroizing::new(values);
        check(keys.len(), peer_keys)?;
        if values.len() != keys.len() {
            return Err(Fault::Input {
                what: "not one value a key",
            });
        }
        let oprf = OprfSender::new(Security::SemiHonest, keys.clone(), peer_keys, vole)?;
        Ok(Self {
            step: Step::Function,
            oprf,
            keys,
            values,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Function, incoming) => match self.oprf.next(incoming)? {
                Turn::Finished => self.send_values(),
                turn => Ok(turn),
            },
            (Step::Values, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn send_values(&mut self) -> Result<Turn, Fault> {
        let masks = in_order(&self.oprf.evaluate()?);
        // A seed that nobody knew when the keys were chosen; the fill is secret, so the store says nothing of the keys.
        let (seed, fill) = (fresh_block()?, Zeroizing::new(fresh_block()?));
        let store = Paxos::new(self.keys.len(), seed)?;
        let rows = store.rows(&self.keys)?;
        let masked: Zeroizing<Vec<Block>> = Zeroizing::new(
            rows.order()
                .iter()
                .map(|place| masks[*place as usize] ^ self.values[*place as usize])
                .collect(),
        );
        let vector = store.encode(&rows, &masked, Some(*fill))?;
        let mut message = seed.to_bytes().to_vec();
        message.extend_from_slice(&to_bytes(&vector));
        self.step = Step::Values;
        Ok(Turn::Send(message))
    }
}

impl<V: DeltaSide> Party for StarMember<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that asks.
pub struct StarLeader<V> {
    step: Step,
    oprf: OprfReceiver<V>,
    keys: Vec<Block>,
    peer_keys: usize,
    values: Vec<Block>,
}

impl<V> Drop for StarLeader<V> {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl<V: PairSide> StarLeader<V> {
    /// For this side's keys, each once, and a VOLE of [`crate::oprf::vole_length`] of their number.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set, or without randomness.
    pub fn new(keys: Vec<Block>, peer_keys: usize, vole: V) -> Result<Self, Fault> {
        check(keys.len(), peer_keys)?;
        let oprf = OprfReceiver::new(Security::SemiHonest, keys.clone(), vole)?;
        Ok(Self {
            step: Step::Function,
            oprf,
            keys,
            peer_keys,
            values: Vec::new(),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Function, incoming) => match self.oprf.next(incoming)? {
                Turn::Finished => {
                    self.step = Step::Values;
                    Ok(Turn::Receive)
                }
                turn => Ok(turn),
            },
            (Step::Values, Some(bytes)) => {
                self.take_values(bytes)?;
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn take_values(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let malformed = Fault::Malformed { message: MESSAGE };
        let (seed, vector) = bytes.split_first_chunk().ok_or(malformed)?;
        let store = Paxos::new(self.peer_keys, Block::from_bytes(*seed))?;
        let (blocks, rest) = vector.as_chunks::<16>();
        if blocks.len() != store.size() || !rest.is_empty() {
            return Err(malformed);
        }
        let vector: Vec<Block> = blocks.iter().map(|b| Block::from_bytes(*b)).collect();
        let rows = store.rows(&self.keys)?;
        let decoded = store.decode(&rows, &vector)?;
        let masks = in_order(&self.oprf.take_outputs()?);
        self.values = vec![Block::ZERO; self.keys.len()];
        for (place, value) in rows.order().iter().zip(decoded) {
            self.values[*place as usize] = value ^ masks[*place as usize];
        }
        Ok(())
    }

    /// The value of each key, in the order of the input: the sender's where it has the key; None before the end.
    #[must_use]
    pub fn values(&self) -> Option<&[Block]> {
        (self.step == Step::End).then_some(&self.values)
    }
}

impl<V: PairSide> Party for StarLeader<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
