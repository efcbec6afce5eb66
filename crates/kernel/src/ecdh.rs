//! Set protocols by Diffie-Hellman over ristretto255: an intersection for small sets and narrow links, and the number
//! of shared keys alone. Semi-honest, in the random oracle model; computational security 128 bits.
//!
//! **Intersection** ([`DhClient`], [`DhServer`]): the oblivious function of RFC 9497 in its mode 0 (so the one-more gap
//! Diffie-Hellman assumption), its outputs used as tags. The client blinds each key, the server raises to its own
//! key, the client unblinds; the server sends its own tags, sorted. Three products a key of the client's, one of the
//! server's. Bytes: 64 for each of the client's keys, about 8 for each of the server's. The client learns which of
//! its keys the server has, and the server, where both learn, the same.
//!
//! **Number** ([`CountLearner`], [`CountHelper`]): Ion et al., *On Deploying Secure Computing* (EuroS&P 2020, eprint
//! 2019/723, figure 2 without its sums; earlier De Cristofaro, Gasti, Tsudik, CANS 2012), under the decisional
//! Diffie-Hellman assumption. The learner sends `H(y)^a`; the helper answers with tags of `H(y)^ab`, sorted, and with
//! `H(x)^b`, sorted; the learner counts the tags of `H(x)^ba` among them. Both lists come in an order that has nothing
//! to do with the keys, so it learns how many are shared and not which. Bytes: 40 for each of the learner's keys, 32
//! for each of the helper's.
//!
//! Both learn each other's number of keys. Messages' sizes depend on these alone.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::block::Block;
use crate::okvs::parameters::MAX_KEYS;
use crate::protocol::{Fault, Party, Turn};
use crate::ristretto::{
    encoded, finalize, fresh_scalar, half, hashed_and_raised, raised, short_tag, uniform,
    POINT_BYTES,
};
use crate::tags::Layout;

const LABEL_TAG: &[u8] = b"fondaco/ecdh/tag/1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Ask,
    Await,
    Told,
    Answer,
    End,
    Broken,
}

/// Sizes, and whether the side that does not compare learns too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhConfig {
    /// Keys of the other side.
    pub peer_keys: usize,
    /// Whether both sides learn.
    pub both: bool,
}

fn check(keys: &[Block], config: DhConfig) -> Result<(), Fault> {
    if keys.is_empty() || config.peer_keys == 0 {
        return Err(Fault::Input {
            what: "an empty set, whose intersection is known",
        });
    }
    if keys.len().max(config.peer_keys) > MAX_KEYS {
        return Err(Fault::Input {
            what: "more keys than one run takes",
        });
    }
    Ok(())
}

pub(crate) fn point_tag(point: &CompressedRistretto) -> Block {
    short_tag(
        &Sha256::new()
            .chain_update(LABEL_TAG)
            .chain_update(point.as_bytes())
            .finalize(),
    )
}

pub(crate) fn key_points(keys: &[Block], secret: &Scalar) -> Vec<CompressedRistretto> {
    hashed_and_raised(keys, |key| uniform(&key.to_bytes()), secret)
}

/// The tags of a peer's points times this side's secret.
pub(crate) fn raised_tags(
    bytes: &[u8],
    count: usize,
    secret: &Scalar,
    message: &'static str,
) -> Result<Vec<Block>, Fault> {
    Ok(times(bytes, count, secret, message)?
        .iter()
        .map(point_tag)
        .collect())
}

fn times(
    bytes: &[u8],
    count: usize,
    secret: &Scalar,
    message: &'static str,
) -> Result<Vec<CompressedRistretto>, Fault> {
    let halved = Zeroizing::new(secret * half());
    raised(bytes, count, std::slice::from_ref(&*halved), message)
}

fn sorted(mut points: Vec<CompressedRistretto>) -> Vec<CompressedRistretto> {
    points.sort_unstable_by_key(|point| *point.as_bytes());
    points
}

/// The side of an intersection that compares.
pub struct DhClient {
    config: DhConfig,
    step: Step,
    keys: Vec<Block>,
    blind: Zeroizing<Scalar>,
    matched: Option<Vec<u32>>,
}

impl DhClient {
    /// For this side's keys, each once.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, or without randomness.
    pub fn new(config: DhConfig, keys: Vec<Block>) -> Result<Self, Fault> {
        check(&keys, config)?;
        Ok(Self {
            config,
            step: Step::Begin,
            keys,
            blind: fresh_scalar()?,
            matched: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Ask;
                // One blind serves all keys of a run: blinded points are H(x)^r, uniform and unlinkable under the
                // decisional Diffie-Hellman assumption, as in the protocol below.
                Ok(Turn::Send(encoded(&key_points(&self.keys, &self.blind))))
            }
            (Step::Ask, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => self.compare(bytes),
            (Step::Told, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn compare(&mut self, bytes: &[u8]) -> Result<Turn, Fault> {
        let layout = Layout::new(self.config.peer_keys, self.keys.len());
        let width = POINT_BYTES * self.keys.len();
        let (evaluated, list) = bytes.split_at_checked(width).ok_or(Fault::Malformed {
            message: "evaluation",
        })?;
        let inverse = Zeroizing::new(self.blind.invert());
        let unblinded = times(evaluated, self.keys.len(), &inverse, "evaluation")?;
        let tags: Vec<Block> = self
            .keys
            .iter()
            .zip(&unblinded)
            .map(|(key, point)| short_tag(&finalize(&key.to_bytes(), point)))
            .collect();
        let found = layout.find(&tags, list)?;
        self.matched = Some(found.iter().map(|(row, _at)| *row).collect());
        if !self.config.both {
            self.step = Step::End;
            return Ok(Turn::Finished);
        }
        self.step = Step::Told;
        Ok(Turn::Send(
            layout.answer(found.iter().map(|(_row, at)| *at)),
        ))
    }

    /// Places in the input of the shared keys; None before the end.
    #[must_use]
    pub fn matched(&self) -> Option<&[u32]> {
        self.matched.as_deref()
    }
}

impl Party for DhClient {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side of an intersection whose tags are compared.
pub struct DhServer {
    config: DhConfig,
    step: Step,
    keys: Vec<Block>,
    key: Zeroizing<Scalar>,
    sent: Vec<u32>,
    matched: Option<Vec<u32>>,
}

impl DhServer {
    /// For this side's keys, each once.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, or without randomness.
    pub fn new(config: DhConfig, keys: Vec<Block>) -> Result<Self, Fault> {
        check(&keys, config)?;
        Ok(Self {
            config,
            step: Step::Begin,
            keys,
            key: fresh_scalar()?,
            sent: Vec::new(),
            matched: None,
        })
    }

    fn layout(&self) -> Layout {
        Layout::new(self.keys.len(), self.config.peer_keys)
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                let peer_keys = self.config.peer_keys;
                let evaluated = times(bytes, peer_keys, &self.key, "blinded keys")?;
                let mut message = encoded(&evaluated);
                let own = key_points(&self.keys, &self.key);
                let tags: Vec<Block> = self
                    .keys
                    .iter()
                    .zip(&own)
                    .map(|(key, point)| short_tag(&finalize(&key.to_bytes(), point)))
                    .collect();
                let (list, order) = self.layout().pack(&tags)?;
                message.extend_from_slice(&list);
                self.sent = order;
                self.step = Step::Told;
                Ok(Turn::Send(message))
            }
            (Step::Told, None) if self.config.both => {
                self.step = Step::Answer;
                Ok(Turn::Receive)
            }
            (Step::Told, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            (Step::Answer, Some(bytes)) => {
                let places = self.layout().answered(bytes)?;
                self.matched = Some(
                    places
                        .into_iter()
                        .map(|at| self.sent[at as usize])
                        .collect(),
                );
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    /// Places in the input of the shared keys; None where this side does not learn them.
    #[must_use]
    pub fn matched(&self) -> Option<&[u32]> {
        self.matched.as_deref()
    }
}

impl Party for DhServer {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that counts.
pub struct CountLearner {
    config: DhConfig,
    step: Step,
    keys: Vec<Block>,
    secret: Zeroizing<Scalar>,
    count: Option<u64>,
}

impl CountLearner {
    /// For this side's keys, each once.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, or without randomness.
    pub fn new(config: DhConfig, keys: Vec<Block>) -> Result<Self, Fault> {
        check(&keys, config)?;
        Ok(Self {
            config,
            step: Step::Begin,
            keys,
            secret: fresh_scalar()?,
            count: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Ask;
                Ok(Turn::Send(encoded(&key_points(&self.keys, &self.secret))))
            }
            (Step::Ask, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                let layout = Layout::new(self.keys.len(), self.config.peer_keys);
                let (list, theirs) =
                    bytes
                        .split_at_checked(layout.size())
                        .ok_or(Fault::Malformed {
                            message: "tags and points",
                        })?;
                let peer_keys = self.config.peer_keys;
                let tags = raised_tags(theirs, peer_keys, &self.secret, "tags and points")?;
                let count = layout.find(&tags, list)?.len() as u64;
                self.count = Some(count);
                if !self.config.both {
                    self.step = Step::End;
                    return Ok(Turn::Finished);
                }
                self.step = Step::Told;
                Ok(Turn::Send(count.to_le_bytes().to_vec()))
            }
            (Step::Told, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    /// How many keys both have; None before the end.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }
}

impl Party for CountLearner {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that helps the other to count.
pub struct CountHelper {
    config: DhConfig,
    step: Step,
    keys: Vec<Block>,
    secret: Zeroizing<Scalar>,
    count: Option<u64>,
}

impl CountHelper {
    /// For this side's keys, each once.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set or too large a one, or without randomness.
    pub fn new(config: DhConfig, keys: Vec<Block>) -> Result<Self, Fault> {
        check(&keys, config)?;
        Ok(Self {
            config,
            step: Step::Begin,
            keys,
            secret: fresh_scalar()?,
            count: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                let tags = raised_tags(bytes, self.config.peer_keys, &self.secret, "points")?;
                let (mut message, _order) = Layout::new(tags.len(), self.keys.len()).pack(&tags)?;
                message.extend_from_slice(&encoded(&sorted(key_points(&self.keys, &self.secret))));
                self.step = Step::Told;
                Ok(Turn::Send(message))
            }
            (Step::Told, None) if self.config.both => {
                self.step = Step::Answer;
                Ok(Turn::Receive)
            }
            (Step::Told, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            (Step::Answer, Some(bytes)) => {
                let malformed = Fault::Malformed { message: "count" };
                let count = u64::from_le_bytes(bytes.try_into().map_err(|_| malformed)?);
                if count > self.keys.len().min(self.config.peer_keys) as u64 {
                    return Err(malformed);
                }
                self.count = Some(count);
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    /// How many keys both have, where this side learns it.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }
}

impl Party for CountHelper {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
