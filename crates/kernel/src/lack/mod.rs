//! Which keys of one side the other one lacks, on shares: both get a string for each bin of the first side's table, the
//! same one where the other side lacks the bin's key, and different ones where it has it. Neither learns which.
//!
//! It is what difference and union of many parties are made of: the batch membership test on shares and the random
//! transfer of Liu and Gao (ASIACRYPT 2023) and of Dong, Chen, Zhang, Bai (arXiv 2406.07011).
//!
//! The *holder*'s keys are in a cuckoo table; the *tester* programs its own. By [`crate::opprf`] both get a comparison
//! word a bin, equal where the tester has the key; [`equality`] turns the words into strings. An empty bin has a random
//! key, which the tester lacks like any other.
//!
//! Adversary: semi-honest, either side; there is no malicious variant ([`crate::opprf`] says why). Learned: nothing but the
//! two numbers of keys. Who *gives* the strings (one of the two sides, agreed on before) knows both strings of every
//! bin, so that their difference is no noise to it: where a third hears sums of both sides' strings and is to learn
//! nothing from a shared key, it must not be the giver.
//!
//! Failure: a bin of different keys counts as shared with probability at most 2^-40 over all bins; the rest as
//! [`crate::opprf`] says. Messages: those of the programmed words without payload, then those of [`equality`]; sizes depend on the two
//! numbers of keys and the width alone. For 2^20 keys a side: some 85 MB, then 510.

pub mod equality;
mod transfers;

use self::equality::{Compared, Giver, Taker};
use crate::block::Block;
use crate::opprf::cuckoo::table_of;
use crate::opprf::{OpprfReceiver, OpprfSender, Shape};
use crate::oprf::{DeltaSide, PairSide};
use crate::protocol::{Fault, Party, Turn};

/// A holder's keys and the bins that they are in: one for the runs with all testers.
pub struct Table {
    keys: Vec<Block>,
    places: Vec<u32>,
}

impl Table {
    /// Place keys, each given once.
    ///
    /// # Errors
    /// `Fault::Input` for no keys or too many; `Fault::Unlucky` where they have no placement.
    pub fn new(keys: Vec<Block>) -> Result<Self, Fault> {
        Shape::new(keys.len(), 1, 0)?;
        let places = table_of(&keys)?;
        Ok(Self { keys, places })
    }

    /// For each bin the place of its key in the input, or [`crate::opprf::cuckoo::FREE`].
    #[must_use]
    pub fn places(&self) -> &[u32] {
        &self.places
    }
}

/// What both sides know before they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LackConfig {
    /// Keys of the other side.
    pub peer_keys: usize,
    /// Bytes of a string.
    pub width: usize,
    /// Whether this side gives the strings: one of the two does.
    pub gives: bool,
}

/// What follows the programmed words.
enum Compares {
    Gives(Box<Giver>),
    Takes(Box<Taker>),
}

impl Compares {
    fn new(shape: Shape, config: LackConfig, words: Vec<u64>) -> Result<Self, Fault> {
        let compared = Compared {
            bins: shape.bins,
            bits: shape.bits as usize,
            width: config.width,
        };
        Ok(if config.gives {
            Self::Gives(Box::new(Giver::new(compared, words)?))
        } else {
            Self::Takes(Box::new(Taker::new(compared, words)?))
        })
    }

    fn shares(&self) -> Option<&[u8]> {
        match self {
            Self::Gives(side) => side.shares(),
            Self::Takes(side) => side.shares(),
        }
    }
}

impl Party for Compares {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match self {
            Self::Gives(side) => side.next(incoming),
            Self::Takes(side) => side.next(incoming),
        }
    }
}

/// A side that ends with words of all bins.
trait Programmed: Party {
    fn outcome(&self) -> Option<(Shape, Vec<u64>)>;
}

impl<V: PairSide> Programmed for OpprfReceiver<V> {
    fn outcome(&self) -> Option<(Shape, Vec<u64>)> {
        Some((self.shape(), self.words()?))
    }
}

impl<V: DeltaSide> Programmed for OpprfSender<V> {
    fn outcome(&self) -> Option<(Shape, Vec<u64>)> {
        Some((self.shape(), self.words()?))
    }
}

/// One protocol behind the other.
enum Step<P> {
    Programs(Box<P>),
    Compares(Compares),
    Broken,
}

struct Chain<P> {
    config: LackConfig,
    step: Step<P>,
}

impl<P: Programmed> Chain<P> {
    fn new(config: LackConfig, first: P) -> Result<Self, Fault> {
        if !(1..=equality::MAX_WIDTH).contains(&config.width) {
            return Err(Fault::Input {
                what: "a string has 1 to 8192 bytes",
            });
        }
        Ok(Self {
            config,
            step: Step::Programs(Box::new(first)),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match &mut self.step {
            Step::Programs(side) => {
                let turn = side.next(incoming)?;
                if turn != Turn::Finished {
                    return Ok(turn);
                }
                let (shape, words) = side.outcome().ok_or(Fault::OutOfTurn)?;
                let mut compares = Compares::new(shape, self.config, words)?;
                let turn = compares.next(None)?;
                self.step = Step::Compares(compares);
                Ok(turn)
            }
            Step::Compares(side) => side.next(incoming),
            Step::Broken => Err(Fault::OutOfTurn),
        }
    }

    fn shares(&self) -> Option<&[u8]> {
        match &self.step {
            Step::Compares(side) => side.shares(),
            _ => None,
        }
    }
}

impl<P: Programmed> Party for Chain<P> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side whose keys are asked about.
pub struct LackHolder<V: PairSide>(Chain<OpprfReceiver<V>>);

impl<V: PairSide> LackHolder<V> {
    /// On a table, with a VOLE of [`crate::oprf::vole_length`] of its bins.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit, or without randomness.
    pub fn new(config: LackConfig, table: &Table, vole: V) -> Result<Self, Fault> {
        let places = table.places.clone();
        let first = OpprfReceiver::on_table(&table.keys, places, 0, config.peer_keys, vole)?;
        Ok(Self(Chain::new(config, first)?))
    }

    /// The string of each bin, one after the other; None before the end.
    #[must_use]
    pub fn shares(&self) -> Option<&[u8]> {
        self.0.shares()
    }
}

impl<V: PairSide> Party for LackHolder<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.0.next(incoming)
    }
}

/// The side that has those keys or lacks them.
pub struct LackTester<V: DeltaSide>(Chain<OpprfSender<V>>);

impl<V: DeltaSide> LackTester<V> {
    /// For the tester's keys, each once, and a VOLE of [`crate::oprf::vole_length`] of the holder's bins.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit, or without randomness.
    pub fn new(config: LackConfig, keys: Vec<Block>, vole: V) -> Result<Self, Fault> {
        let first = OpprfSender::new(keys, Vec::new(), 0, config.peer_keys, vole)?;
        Ok(Self(Chain::new(config, first)?))
    }

    /// The string of each of the holder's bins, one after the other; None before the end.
    #[must_use]
    pub fn shares(&self) -> Option<&[u8]> {
        self.0.shares()
    }
}

impl<V: DeltaSide> Party for LackTester<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.0.next(incoming)
    }
}
