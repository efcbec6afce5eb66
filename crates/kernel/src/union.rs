//! Private set union of two parties: the receiver gets the sender's keys that it lacks, and does not learn which of its
//! own the sender has.
//!
//! Chen, Zhang, Dong, Liu, *Private Set Operations from Multi-Query Reverse Private Membership Test* (PKC 2024, eprint
//! 2022/652): their membership test by a commutative weak pseudorandom function, here `H(x)^k` over ristretto255, then
//! their union by oblivious transfer. The receiver sends `H(y)^a`. The sender answers with tags of `H(y)^ab`, sorted,
//! and with `H(x)^b`, sorted; the receiver raises these and finds which are among the tags: for each of the sender's
//! keys, in an order that has nothing to do with the keys, one bit. By a transfer for each ([`crate::transfer`]) it
//! takes the payloads where the bit says *not there*.
//!
//! **Adversary.** Semi-honest, in the random oracle model, under the decisional Diffie-Hellman assumption and that of
//! the transfers. **Learned.** The receiver: the keys that it lacks, and how many the sender has, so how many are
//! shared; it knows that number before the payloads come (Jia et al., USENIX Security 2024, call it a leak during
//! execution: a receiver that breaks off there has a number that it was not meant to have *alone*). The sender: how
//! many keys the receiver has. Nobody learns which are shared; no key goes to a bin whose number would tell more.
//! **Rounds.** Five messages: sender, receiver, sender, receiver, sender. **Bytes.** 9 KiB, 40 for each of the
//! receiver's keys, 36 and the payload's width for each of the sender's. Sizes depend on these alone.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::scalar::Scalar;
use zeroize::Zeroizing;

use crate::block::Block;
use crate::ecdh::{key_points, raised_tags};
use crate::okvs::parameters::MAX_KEYS;
use crate::protocol::{Fault, Party, Turn};
use crate::ristretto::{encoded, fresh_scalar, POINT_BYTES};
use crate::tags::Layout;
use crate::transfer::{self, Giver, Offered, Taker};

/// The widest payload, in bytes.
pub const MAX_WIDTH: usize = 1 << 16;

/// What both sides know before they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnionConfig {
    /// Keys of the other side.
    pub peer_keys: usize,
    /// Bytes of a payload.
    pub width: usize,
}

fn check(keys: &[Block], config: UnionConfig) -> Result<(), Fault> {
    if keys.is_empty() || config.peer_keys == 0 {
        return Err(Fault::Input {
            what: "an empty set, whose union is known",
        });
    }
    if keys.len().max(config.peer_keys) > MAX_KEYS {
        return Err(Fault::Input {
            what: "more keys than one run takes",
        });
    }
    if !(1..=MAX_WIDTH).contains(&config.width) {
        return Err(Fault::Input {
            what: "a payload has 1 to 65536 bytes",
        });
    }
    Ok(())
}

/// The side whose keys are given.
pub struct UnionSender {
    config: UnionConfig,
    state: SenderState,
    secret: Zeroizing<Scalar>,
    payloads: Zeroizing<Vec<u8>>,
}

enum SenderState {
    Begin(Vec<Block>),
    Offered(Offered, Vec<Block>),
    Ready(Offered, Vec<(CompressedRistretto, u32)>),
    Told(Giver, Vec<u32>),
    Asked(Giver, Vec<u32>),
    Sent,
    Broken,
}

impl UnionSender {
    /// For the sender's keys, each once, and a payload of `config.width` bytes for each, one after the other.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, payloads of another length, or without randomness.
    pub fn new(config: UnionConfig, keys: Vec<Block>, payloads: Vec<u8>) -> Result<Self, Fault> {
        let payloads = Zeroizing::new(payloads);
        check(&keys, config)?;
        if payloads.len() != keys.len() * config.width {
            return Err(Fault::Input {
                what: "not one payload a key",
            });
        }
        Ok(Self {
            config,
            state: SenderState::Begin(keys),
            secret: fresh_scalar()?,
            payloads,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<(SenderState, Turn), Fault> {
        let state = std::mem::replace(&mut self.state, SenderState::Broken);
        match (state, incoming) {
            (SenderState::Begin(keys), None) => {
                let (offered, message) = transfer::offer(keys.len())?;
                Ok((SenderState::Offered(offered, keys), Turn::Send(message)))
            }
            (SenderState::Offered(offered, keys), None) => {
                // While the receiver computes its own points.
                let sorted = sorted(key_points(&keys, &self.secret));
                Ok((SenderState::Ready(offered, sorted), Turn::Receive))
            }
            (SenderState::Ready(offered, sorted), Some(bytes)) => {
                self.tell(&offered, sorted, bytes)
            }
            (SenderState::Told(giver, order), None) => {
                Ok((SenderState::Asked(giver, order), Turn::Receive))
            }
            (SenderState::Asked(giver, order), Some(bits)) => {
                Ok((SenderState::Sent, self.give(&giver, &order, bits)?))
            }
            (SenderState::Sent, None) => Ok((SenderState::Sent, Turn::Finished)),
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn tell(
        &self,
        offered: &Offered,
        sorted: Vec<(CompressedRistretto, u32)>,
        bytes: &[u8],
    ) -> Result<(SenderState, Turn), Fault> {
        let theirs = POINT_BYTES * self.config.peer_keys;
        let (theirs, columns) = bytes.split_at_checked(theirs).ok_or(Fault::Malformed {
            message: "points and columns",
        })?;
        let giver = offered.take(columns)?;
        let message = "points and columns";
        let tags = raised_tags(theirs, self.config.peer_keys, &self.secret, message)?;
        let (mut message, _order) = Layout::new(tags.len(), sorted.len()).pack(&tags)?;
        let (own, order): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        message.extend_from_slice(&encoded(&own));
        Ok((SenderState::Told(giver, order), Turn::Send(message)))
    }

    fn give(&self, giver: &Giver, order: &[u32], bits: &[u8]) -> Result<Turn, Fault> {
        // One form for bits of transfers as for those of tags: no stray bit behind the last.
        Layout::new(order.len(), self.config.peer_keys).answered(bits)?;
        let width = self.config.width;
        let mut message = Vec::with_capacity(order.len() * width);
        for place in order {
            let at = *place as usize * width;
            message.extend_from_slice(&self.payloads[at..at + width]);
        }
        giver.seal(bits, width, &mut message);
        Ok(Turn::Send(message))
    }
}

/// Points by their encodings, each with its place in the input.
fn sorted(points: Vec<CompressedRistretto>) -> Vec<(CompressedRistretto, u32)> {
    #[allow(clippy::cast_possible_truncation)] // at most MAX_KEYS
    let mut placed: Vec<_> = points
        .into_iter()
        .enumerate()
        .map(|(at, point)| (point, at as u32))
        .collect();
    placed.sort_unstable_by_key(|(point, _at)| *point.as_bytes());
    placed
}

impl Party for UnionSender {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let (state, turn) = self.advance(incoming)?;
        self.state = state;
        Ok(turn)
    }
}

/// The side that gets the keys that it lacks.
pub struct UnionReceiver {
    config: UnionConfig,
    keys: Vec<Block>,
    state: ReceiverState,
    secret: Zeroizing<Scalar>,
}

enum ReceiverState {
    Begin,
    Awaits,
    Asked(Taker),
    Compares(Taker),
    Chosen(Taker, Vec<bool>),
    Opens(Taker, Vec<bool>),
    End(Vec<u8>),
    Broken,
}

impl UnionReceiver {
    /// For the receiver's keys, each once.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, or without randomness.
    pub fn new(config: UnionConfig, keys: Vec<Block>) -> Result<Self, Fault> {
        check(&keys, config)?;
        Ok(Self {
            config,
            keys,
            state: ReceiverState::Begin,
            secret: fresh_scalar()?,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<(ReceiverState, Turn), Fault> {
        let state = std::mem::replace(&mut self.state, ReceiverState::Broken);
        match (state, incoming) {
            (ReceiverState::Begin, None) => Ok((ReceiverState::Awaits, Turn::Receive)),
            (ReceiverState::Awaits, Some(offer)) => {
                let (taker, columns) = transfer::answer(self.config.peer_keys, offer)?;
                let mut message = encoded(&key_points(&self.keys, &self.secret));
                message.extend_from_slice(&columns);
                Ok((ReceiverState::Asked(taker), Turn::Send(message)))
            }
            (ReceiverState::Asked(taker), None) => {
                Ok((ReceiverState::Compares(taker), Turn::Receive))
            }
            (ReceiverState::Compares(taker), Some(bytes)) => {
                let wanted = self.lacking(bytes)?;
                let bits = taker.choose(&wanted);
                Ok((ReceiverState::Chosen(taker, wanted), Turn::Send(bits)))
            }
            (ReceiverState::Chosen(taker, wanted), None) => {
                Ok((ReceiverState::Opens(taker, wanted), Turn::Receive))
            }
            (ReceiverState::Opens(taker, wanted), Some(bytes)) => {
                let opened = self.opened(&taker, &wanted, bytes)?;
                Ok((ReceiverState::End(opened), Turn::Finished))
            }
            (state @ ReceiverState::End(_), None) => Ok((state, Turn::Finished)),
            _ => Err(Fault::OutOfTurn),
        }
    }

    /// Of each of the sender's keys, in the order of its points, whether this side lacks it.
    fn lacking(&self, bytes: &[u8]) -> Result<Vec<bool>, Fault> {
        let message = "tags and points";
        let layout = Layout::new(self.keys.len(), self.config.peer_keys);
        let malformed = Fault::Malformed { message };
        let (list, theirs) = bytes.split_at_checked(layout.size()).ok_or(malformed)?;
        if !theirs.as_chunks::<POINT_BYTES>().0.is_sorted() {
            return Err(malformed);
        }
        let tags = raised_tags(theirs, self.config.peer_keys, &self.secret, message)?;
        let mut lacks = vec![true; tags.len()];
        for (at, _place) in layout.find(&tags, list)? {
            lacks[at as usize] = false;
        }
        Ok(lacks)
    }

    fn opened(&self, taker: &Taker, wanted: &[bool], bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let width = self.config.width;
        if bytes.len() != wanted.len() * width {
            return Err(Fault::Malformed {
                message: "sealed keys",
            });
        }
        let mut out = Vec::with_capacity(width * wanted.iter().filter(|wants| **wants).count());
        for (transfer, wants) in wanted.iter().enumerate() {
            if *wants {
                let from = out.len();
                out.extend_from_slice(&bytes[transfer * width..(transfer + 1) * width]);
                taker.open(transfer, &mut out[from..]);
            }
        }
        Ok(out)
    }

    /// The payloads of the keys that this side lacks, in an order that has nothing to do with them; None before the end.
    #[must_use]
    pub fn received(&self) -> Option<&[u8]> {
        match &self.state {
            ReceiverState::End(payloads) => Some(payloads),
            _ => None,
        }
    }
}

impl Party for UnionReceiver {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let (state, turn) = self.advance(incoming)?;
        self.state = state;
        Ok(turn)
    }
}
