//! An intersection with a large side that is prepared once: what a run costs grows with the small side alone.
//!
//! Kales, Rechberger, Schneider, Senker, Weinert, *Mobile Private Contact Discovery at Scale* (USENIX Security 2019) and
//! Resende, Aranha, *Faster Unbalanced Private Set Intersection* (FC 2018): the server evaluates an oblivious function
//! on its keys once and publishes the outputs, cut short, as a table; a client has the function evaluated on its own
//! few keys and looks the outputs up. The function is that of RFC 9497, ristretto255 with SHA-512, mode 0, blinds
//! drawn for each key as in its section 3.3.1.
//!
//! **The table** is a message of [`crate::tags`]: sorted tags of 40 + log2(n) + 20 bits, without the bits that the order
//! gives: 8 bytes a key. So no key of up to 2^20 that one run asks matches a tag that is not its own but with
//! probability 2^-40 for the whole run.
//!
//! **Adversary.** A client may do as it likes: it learns the function at as many points as it was answered, by the
//! one-more gap Diffie-Hellman assumption in the random oracle model, and the table says nothing of any other key. A
//! server that does as it likes learns nothing of the client's keys, for blinds hide them whatever is computed, but can
//! make the result wrong: no proof of mode 1 goes with the answer.
//! **Learned.** The client: which of its keys the server has, and how many the server has. The server: how many keys
//! the client has. **Rounds**: one. **Bytes**: 64 for each of the client's keys, and the table where it is not cached.

use curve25519_dalek::scalar::Scalar;
use zeroize::{Zeroize, Zeroizing};

use crate::block::Block;
use crate::okvs::parameters::MAX_KEYS;
use crate::pir::progress::{Counted, Watch};
use crate::protocol::{Fault, Party, Turn};
use crate::ristretto::{
    encoded, finalize, fresh_scalar, half, hashed_and_raised, hashed_products_each, raised,
    short_tag, uniform,
};
use crate::tags::Layout;

/// Keys that one run asks at most; the tags' length is reckoned for so many.
pub const MOST_ASKED: usize = 1 << 20;
/// Bytes of a server's secret key.
pub const KEY_BYTES: usize = 32;
/// Keys that are evaluated between two words of how far the work is: about a second of one core.
const STRETCH: usize = 1 << 14;
const EVALUATION: &str = "evaluation";
const BLINDED: &str = "blinded keys";

/// How a table of so many keys is written.
fn layout(keys: usize) -> Layout {
    Layout::new(keys, MOST_ASKED)
}

/// Bytes of the table of so many keys.
#[must_use]
pub fn table_size(keys: usize) -> usize {
    layout(keys).size()
}

/// A secret key for a set, and the set's table under it.
#[derive(Debug)]
pub struct Prepared {
    /// The server's secret: the scalar's canonical bytes.
    pub key: Zeroizing<[u8; KEY_BYTES]>,
    /// What clients look their outputs up in.
    pub table: Vec<u8>,
}

/// Evaluate the function on all keys of a set, each once, under a new key: some 50 microseconds of a core each.
///
/// # Errors
/// `Fault::Input` for an empty set or too large a one, or without randomness.
pub fn prepare(keys: &[Block], watch: Watch<'_>) -> Result<Prepared, Fault> {
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(Fault::Input {
            what: "a set that is prepared has 1 to 2^26 keys",
        });
    }
    let key = Zeroizing::new(fresh_scalar()?.to_bytes());
    let table = table_under(&key, keys, watch)?;
    Ok(Prepared { key, table })
}

/// The table of a set under a key.
///
/// # Errors
/// `Fault::Input` for bytes that are no key.
pub fn table_under(
    key: &[u8; KEY_BYTES],
    keys: &[Block],
    watch: Watch<'_>,
) -> Result<Vec<u8>, Fault> {
    let secret = secret_of(key)?;
    let secret = &*secret;
    let evaluated = Counted::new(watch, "keys evaluated", keys.len());
    let mut tags: Vec<Block> = Vec::with_capacity(keys.len());
    for stretch in keys.chunks(STRETCH) {
        let raised = hashed_and_raised(stretch, |key| uniform(&key.to_bytes()), secret);
        let outputs = stretch.iter().zip(&raised);
        tags.extend(outputs.map(|(key, point)| short_tag(&finalize(&key.to_bytes(), point))));
        evaluated.add(stretch.len());
    }
    Ok(layout(keys.len()).pack(&tags)?.0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Await,
    Told,
    End,
    Broken,
}

fn secret_of(key: &[u8; KEY_BYTES]) -> Result<Zeroizing<Scalar>, Fault> {
    Option::<Scalar>::from(Scalar::from_canonical_bytes(*key))
        .filter(|secret| *secret != Scalar::ZERO)
        .map(Zeroizing::new)
        .ok_or(Fault::Input {
            what: "not a prepared key",
        })
}

/// Half of each secret, which is what points are multiplied by.
fn halved(secrets: &[Scalar]) -> Zeroizing<Vec<Scalar>> {
    let half = half();
    Zeroizing::new(secrets.iter().map(|secret| secret * half).collect())
}

fn check_asked(asked: usize) -> Result<(), Fault> {
    if asked == 0 || asked > MOST_ASKED {
        return Err(Fault::Input {
            what: "a run asks for 1 to 2^20 keys",
        });
    }
    Ok(())
}

/// The side that has the prepared key: it evaluates what it is asked, which it cannot read.
pub struct PreparedServer {
    step: Step,
    secret: Zeroizing<Scalar>,
    asked: usize,
}

impl PreparedServer {
    /// For a prepared key, and a client that asks for so many keys.
    ///
    /// # Errors
    /// `Fault::Input` for bytes that are no key, or a number that no run has.
    pub fn new(key: &[u8; KEY_BYTES], asked: usize) -> Result<Self, Fault> {
        check_asked(asked)?;
        Ok(Self {
            step: Step::Begin,
            secret: secret_of(key)?,
            asked,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                let halved = Zeroizing::new(*self.secret * half());
                let halved = std::slice::from_ref(&*halved);
                let evaluated = raised(bytes, self.asked, halved, BLINDED)?;
                self.step = Step::Told;
                Ok(Turn::Send(encoded(&evaluated)))
            }
            (Step::Told, None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }
}

impl Party for PreparedServer {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side that asks, with the server's table.
pub struct PreparedClient {
    step: Step,
    keys: Vec<Block>,
    blinds: Vec<Scalar>,
    table: Vec<u8>,
    table_keys: usize,
    matched: Option<Vec<u32>>,
}

impl Drop for PreparedClient {
    fn drop(&mut self) {
        self.blinds.zeroize();
    }
}

impl PreparedClient {
    /// For this side's keys, each once, and the table of a server of `table_keys` keys.
    ///
    /// # Errors
    /// `Fault::Input` for a number of keys that no run has, or without randomness; `Fault::Malformed` for a table of
    /// another length. That its tags are in order is seen when they are looked at.
    pub fn new(keys: Vec<Block>, table: Vec<u8>, table_keys: usize) -> Result<Self, Fault> {
        check_asked(keys.len())?;
        if table_keys == 0 || table_keys > MAX_KEYS || table.len() != table_size(table_keys) {
            return Err(Fault::Malformed { message: "table" });
        }
        let mut blinds = Vec::with_capacity(keys.len());
        for _ in &keys {
            blinds.push(*fresh_scalar()?);
        }
        Ok(Self {
            step: Step::Begin,
            keys,
            blinds,
            table,
            table_keys,
            matched: None,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Begin, None) => {
                self.step = Step::Told;
                let keys = self.keys.iter();
                let uniform: Vec<[u8; 64]> = keys.map(|key| uniform(&key.to_bytes())).collect();
                let blinded = hashed_products_each(&Zeroizing::new(uniform), &halved(&self.blinds));
                Ok(Turn::Send(encoded(&blinded)))
            }
            (Step::Told, None) => {
                self.step = Step::Await;
                Ok(Turn::Receive)
            }
            (Step::Await, Some(bytes)) => {
                self.compare(bytes)?;
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn compare(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Scalar::invert_batch_alloc(&mut self.blinds);
        let outputs = raised(bytes, self.keys.len(), &halved(&self.blinds), EVALUATION)?;
        let tags: Vec<Block> = self
            .keys
            .iter()
            .zip(&outputs)
            .map(|(key, point)| short_tag(&finalize(&key.to_bytes(), point)))
            .collect();
        let found = layout(self.table_keys).find(&tags, &self.table)?;
        let mut rows: Vec<u32> = found.into_iter().map(|(row, _at)| row).collect();
        rows.sort_unstable();
        self.matched = Some(rows);
        Ok(())
    }

    /// Places in the input of the keys that the server has, ascending; None before the end.
    #[must_use]
    pub fn matched(&self) -> Option<&[u32]> {
        self.matched.as_deref()
    }
}

impl Party for PreparedClient {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
