//! The oblivious pseudorandom function of Raghuraman and Rindal (eprint 2022/320, after VOLE-PSI, eprint 2021/266): the
//! receiver learns F of its own keys, the sender can compute F of any key, and neither learns more.
//!
//! A VOLE gives the sender D and b, the receiver a and c with a = b + c D. The receiver encodes its keys with values
//! H(x) into a vector P of a linear store and sends P + c. The sender holds K = b + (P + c) D = a + P D, so that for
//! a key x of the receiver Decode(K, x) + H(x) D = Decode(a, x), which is hashed to F(x). For any other key the
//! sender's value has the factor D, which the receiver does not know.
//!
//! Semi-honest: H and F are made of AES under a public key (see [`crate::permutation`]). Malicious: H and F are
//! BLAKE3 in its keyed mode, modelled as a random oracle; H is salted by the sender so that nothing can be prepared; F is shifted by
//! a coin w that both toss, against a sender that chooses D; and the VOLE must be the malicious one. What a cheating
//! receiver gains nevertheless: it can evaluate F at more keys than it declared, though no more than
//! [`Parameters::cheating_bound`](crate::okvs::parameters::Parameters::cheating_bound) says (ADR 33).
//!
//! Messages: sender: salt (16 bytes; malicious: and a commitment of 32). Receiver: the store's seed (16). The VOLE's
//! own. Receiver: P + c (16 bytes a block of the store; malicious: and its coin of 16). Malicious, sender: its coin (16).

use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::block::Block;
use crate::okvs::paxos::{Paxos, PaxosRows};
use crate::okvs::{Okvs, Rows};
use crate::permutation::fresh_block;
use crate::prf::commitment;
pub use crate::prf::{hashed_keys, tags_of, Security};
use crate::protocol::{Fault, Party, Turn};
use crate::simd::clmul::add_products;
use crate::vole::{VoleConfig, VoleReceiver, VoleReceiverOutput, VoleSender, VoleSenderOutput};

/// The VOLE side that holds D and b.
pub trait DeltaSide: Party + Send + Sized {
    /// D and b.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before the end.
    fn output(self) -> Result<(Block, Vec<Block>), Fault>;
}

/// The VOLE side that holds a and c.
pub trait PairSide: Party + Send + Sized {
    /// a and c.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before the end.
    fn output(self) -> Result<(Vec<Block>, Vec<Block>), Fault>;
}

impl DeltaSide for VoleSender {
    fn output(self) -> Result<(Block, Vec<Block>), Fault> {
        let VoleSenderOutput { delta, b } = Self::output(self)?;
        Ok((delta, b))
    }
}

impl PairSide for VoleReceiver {
    fn output(self) -> Result<(Vec<Block>, Vec<Block>), Fault> {
        let VoleReceiverOutput { a, c } = Self::output(self)?;
        Ok((a, c))
    }
}

/// The VOLE that this security asks for.
fn vole_config(security: Security) -> VoleConfig {
    VoleConfig {
        malicious: security == Security::Malicious,
        ..VoleConfig::default()
    }
}

/// The sender's VOLE for a receiver of so many keys.
///
/// # Errors
/// `Fault::Input` for too many keys, or without randomness.
pub fn sender_vole(security: Security, receiver_keys: usize) -> Result<VoleSender, Fault> {
    VoleSender::new(vole_config(security), vole_length(receiver_keys)?)
}

/// The receiver's VOLE for so many keys.
///
/// # Errors
/// `Fault::Input` for too many keys, or without randomness.
pub fn receiver_vole(security: Security, keys: usize) -> Result<VoleReceiver, Fault> {
    VoleReceiver::new(vole_config(security), vole_length(keys)?)
}

/// F of each key, in the order of the store's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs {
    /// The first 16 bytes of F.
    pub tags: Vec<Block>,
    /// The next 16 bytes; empty where F has only 16.
    pub proofs: Vec<Block>,
    /// For each row the place of its key in the input.
    pub order: Vec<u32>,
}

const CHUNK: usize = 1 << 12;

fn outputs(security: Security, coin: Block, decoded: Vec<Block>, rows: &PaxosRows) -> Outputs {
    let (tags, proofs) = tags_of(security, coin, rows.keys(), decoded);
    Outputs {
        tags,
        proofs,
        order: rows.order(),
    }
}

/// The bytes of a vector under its mask, and what comes behind it.
fn masked(vector: &[Block], mask: &[Block], behind: &[u8]) -> Vec<u8> {
    let mut message = vec![0u8; 16 * vector.len() + behind.len()];
    let (blocks, end) = message.split_at_mut(16 * vector.len());
    end.copy_from_slice(behind);
    blocks
        .par_chunks_mut(16 * CHUNK)
        .zip(vector.par_chunks(CHUNK))
        .zip(mask.par_chunks(CHUNK))
        .for_each(|((slots, vector), mask)| {
            for ((slot, p), c) in slots
                .as_chunks_mut::<16>()
                .0
                .iter_mut()
                .zip(vector)
                .zip(mask)
            {
                *slot = (*p ^ *c).to_bytes();
            }
        });
    message
}

fn block_of(bytes: &[u8], message: &'static str) -> Result<Block, Fault> {
    Ok(Block::from_bytes(
        bytes.try_into().map_err(|_| Fault::Malformed { message })?,
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Greeted,
    Await,
    Vole,
    VoleWaits,
    Vector,
    Opening,
    End,
    Broken,
}

/// The side that can compute F of any key.
pub struct OprfSender<V> {
    security: Security,
    step: Step,
    keys: Vec<Block>,
    peer_keys: usize,
    vole: Option<V>,
    salt: Block,
    coin: Block,
    store: Option<(Paxos, PaxosRows)>,
    delta: Block,
    masked: Vec<Block>,
    /// H of its own keys, in the order of the rows.
    hashed: Vec<Block>,
}

impl<V> Drop for OprfSender<V> {
    fn drop(&mut self) {
        self.delta.zeroize();
        self.masked.zeroize();
    }
}

/// Length of the VOLE that both sides need where the receiver has so many keys.
///
/// # Errors
/// `Fault::Input` for too many.
pub fn vole_length(receiver_keys: usize) -> Result<usize, Fault> {
    Ok(Paxos::new(receiver_keys, Block::ZERO)?.size())
}

/// Drive the VOLE one turn; None when it has ended.
fn vole_turn(
    vole: &mut Option<impl Party>,
    step: &mut Step,
    incoming: Option<&[u8]>,
) -> Result<Option<Turn>, Fault> {
    let turn = vole.as_mut().ok_or(Fault::OutOfTurn)?.next(incoming)?;
    *step = if turn == Turn::Receive {
        Step::VoleWaits
    } else {
        Step::Vole
    };
    Ok((turn != Turn::Finished).then_some(turn))
}

impl<V: DeltaSide> OprfSender<V> {
    /// For the sender's own keys, a receiver of so many, and a VOLE of [`vole_length`].
    ///
    /// # Errors
    /// `Fault::Input` where the operating system gives no randomness.
    pub fn new(
        security: Security,
        keys: Vec<Block>,
        peer_keys: usize,
        vole: V,
    ) -> Result<Self, Fault> {
        Ok(Self {
            security,
            step: Step::Begin,
            keys,
            peer_keys,
            vole: Some(vole),
            salt: fresh_block()?,
            coin: fresh_block()?,
            store: None,
            delta: Block::ZERO,
            masked: Vec::new(),
            hashed: Vec::new(),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Greeted;
                let mut greeting = self.salt.to_bytes().to_vec();
                if self.security == Security::Malicious {
                    greeting.extend_from_slice(&commitment(self.salt, self.coin));
                }
                Ok(Turn::Send(greeting))
            }
            (Step::Greeted, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                let store = Paxos::new(self.peer_keys, block_of(bytes, "seed of the store")?)?;
                let rows = store.rows(&std::mem::take(&mut self.keys))?;
                self.store = Some((store, rows));
                self.drive(None)
            }
            (Step::Vole, None) => self.drive(None),
            (Step::VoleWaits, Some(bytes)) => self.drive(Some(bytes)),
            (Step::Vector, Some(bytes)) => self.vector(bytes),
            (Step::Opening, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn drive(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        if let Some(turn) = vole_turn(&mut self.vole, &mut self.step, incoming)? {
            return Ok(turn);
        }
        (self.delta, self.masked) = self.vole.take().ok_or(Fault::OutOfTurn)?.output()?;
        let (_, rows) = self.store.as_ref().ok_or(Fault::OutOfTurn)?;
        // While the receiver, whose VOLE takes longer, is still at it.
        self.hashed = hashed_keys(self.security, self.salt, rows.keys());
        self.step = Step::Vector;
        Ok(Turn::Receive)
    }

    fn vector(&mut self, bytes: &[u8]) -> Result<Turn, Fault> {
        let coin_bytes = if self.security == Security::Malicious {
            16
        } else {
            0
        };
        if bytes.len() != 16 * self.masked.len() + coin_bytes {
            return Err(Fault::Malformed {
                message: "vector of the store",
            });
        }
        let (vector, coin) = bytes.split_at(16 * self.masked.len());
        let delta = self.delta;
        self.masked
            .par_chunks_mut(CHUNK)
            .zip(vector.par_chunks(16 * CHUNK))
            .for_each(|(slots, part)| {
                let xs: Vec<Block> = part
                    .as_chunks::<16>()
                    .0
                    .iter()
                    .map(|b| Block::from_bytes(*b))
                    .collect();
                add_products(slots, &xs, delta);
            });
        if self.security == Security::SemiHonest {
            self.step = Step::End;
            return Ok(Turn::Finished);
        }
        self.step = Step::Opening;
        let own = self.coin;
        self.coin ^= block_of(coin, "coin")?;
        Ok(Turn::Send(own.to_bytes().to_vec()))
    }

    /// F of the sender's own keys, in the order of the rows.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before the end.
    pub fn evaluate(&self) -> Result<Outputs, Fault> {
        let (Step::End, Some((store, rows))) = (self.step, &self.store) else {
            return Err(Fault::OutOfTurn);
        };
        let delta = self.delta;
        let mut decoded = store.decode(rows, &self.masked)?;
        decoded
            .par_chunks_mut(CHUNK)
            .zip(self.hashed.par_chunks(CHUNK))
            .for_each(|(values, hashes)| add_products(values, hashes, delta));
        Ok(outputs(self.security, self.coin, decoded, rows))
    }
}

impl<V: DeltaSide> Party for OprfSender<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that learns F of its own keys.
pub struct OprfReceiver<V> {
    security: Security,
    step: Step,
    keys: Vec<Block>,
    vole: Option<V>,
    seed: Block,
    coin: Block,
    salt: Block,
    commitment: [u8; 32],
    store: Option<(Paxos, PaxosRows)>,
    vector: Vec<Block>,
    pair: Vec<Block>,
    /// Decode(a, x) of its keys.
    decoded: Vec<Block>,
    outputs: Option<Outputs>,
}

impl<V: PairSide> OprfReceiver<V> {
    /// For the receiver's keys, each once, and a VOLE of [`vole_length`].
    ///
    /// # Errors
    /// `Fault::Input` where the operating system gives no randomness.
    pub fn new(security: Security, keys: Vec<Block>, vole: V) -> Result<Self, Fault> {
        Ok(Self {
            security,
            step: Step::Begin,
            keys,
            vole: Some(vole),
            seed: fresh_block()?,
            coin: fresh_block()?,
            salt: Block::ZERO,
            commitment: [0; 32],
            store: None,
            vector: Vec::new(),
            pair: Vec::new(),
            decoded: Vec::new(),
            outputs: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Greeted;
                Ok(Turn::Send(self.seed.to_bytes().to_vec()))
            }
            (Step::Greeted, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                self.greeted(bytes)?;
                self.drive(None)
            }
            (Step::Vole, None) => self.drive(None),
            (Step::VoleWaits, Some(bytes)) => self.drive(Some(bytes)),
            (Step::Vector, None) => {
                let (store, rows) = self.store.as_ref().ok_or(Fault::OutOfTurn)?;
                self.decoded = store.decode(rows, &std::mem::take(&mut self.pair))?;
                if self.security == Security::SemiHonest {
                    return self.finish();
                }
                self.step = Step::Opening;
                Ok(Turn::Receive)
            }
            (Step::Opening, Some(bytes)) => {
                let theirs = block_of(bytes, "coin")?;
                if !bool::from(commitment(self.salt, theirs).ct_eq(&self.commitment)) {
                    return Err(Fault::Cheated { check: "coin" });
                }
                self.coin ^= theirs;
                self.finish()
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn greeted(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let committed = if self.security == Security::Malicious {
            32
        } else {
            0
        };
        if bytes.len() != 16 + committed {
            return Err(Fault::Malformed {
                message: "greeting",
            });
        }
        let (salt, commitment) = bytes.split_at(16);
        self.salt = block_of(salt, "greeting")?;
        if committed > 0 {
            self.commitment.copy_from_slice(commitment);
        }
        let keys = std::mem::take(&mut self.keys);
        let store = Paxos::new(keys.len(), self.seed)?;
        let rows = store.rows(&keys)?;
        self.vector = store.encode(
            &rows,
            &hashed_keys(self.security, self.salt, rows.keys()),
            None,
        )?;
        self.store = Some((store, rows));
        Ok(())
    }

    fn drive(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        if let Some(turn) = vole_turn(&mut self.vole, &mut self.step, incoming)? {
            return Ok(turn);
        }
        let (pair, mask) = self.vole.take().ok_or(Fault::OutOfTurn)?.output()?;
        self.pair = pair;
        let coin = self.coin.to_bytes();
        let coin = if self.security == Security::Malicious {
            coin.as_slice()
        } else {
            &[]
        };
        self.step = Step::Vector;
        Ok(Turn::Send(masked(
            &std::mem::take(&mut self.vector),
            &mask,
            coin,
        )))
    }

    fn finish(&mut self) -> Result<Turn, Fault> {
        let (_, rows) = self.store.as_ref().ok_or(Fault::OutOfTurn)?;
        let decoded = std::mem::take(&mut self.decoded);
        self.outputs = Some(outputs(self.security, self.coin, decoded, rows));
        self.step = Step::End;
        Ok(Turn::Finished)
    }

    /// F of the receiver's keys, once.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before the end.
    pub fn take_outputs(&mut self) -> Result<Outputs, Fault> {
        self.outputs.take().ok_or(Fault::OutOfTurn)
    }
}

impl<V: PairSide> Party for OprfReceiver<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
