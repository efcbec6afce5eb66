//! Oblivious key-value stores: a vector that gives each key its value back and hides the keys.
//!
//! A store is linear: decoding is an inner product of the vector with a row that the key alone decides, so decoding
//! commutes with sums and with a product by a field element. Where the values are random, a vector that was filled
//! at random says nothing of the keys (Garimella, Pinkas, Rosulek, Trieu, Yanai, CRYPTO 2021, section 3).

pub mod parameters;
pub mod paxos;
mod rest;

use crate::block::Block;
use crate::protocol::Fault;

/// A store that can be changed for another: the protocols use these four calls and no more.
pub trait Okvs: Send + Sync {
    /// Keys with what the store derives from them, to encode and decode with.
    type Rows: Rows;

    /// Length of a vector, in blocks.
    fn size(&self) -> usize;

    /// Derive the rows of keys; each key once.
    ///
    /// # Errors
    /// `Fault::Unlucky` where a bin overflows, with probability at most 2^-41.
    fn rows(&self, keys: &[Block]) -> Result<Self::Rows, Fault>;

    /// A vector that decodes to `values`, which are in the order of the rows.
    ///
    /// What no equation decides is zero, or comes from the secret `fill`. Without fill the vector says something of
    /// the keys, and whoever sends it must mask it first.
    ///
    /// # Errors
    /// `Fault::Input` for a key that comes twice, a wrong number of values, or more keys than the store is for;
    /// `Fault::Unlucky` where the equations have no solution, with probability at most 2^-41.
    fn encode(
        &self,
        rows: &Self::Rows,
        values: &[Block],
        fill: Option<Block>,
    ) -> Result<Vec<Block>, Fault>;

    /// The value of each row, in the order of the rows.
    ///
    /// # Errors
    /// `Fault::Input` for a vector of another size.
    fn decode(&self, rows: &Self::Rows, vector: &[Block]) -> Result<Vec<Block>, Fault>;
}

/// The rows of keys, in an order of the store's own.
pub trait Rows: Send + Sync {
    /// The keys in the order of the rows.
    fn keys(&self) -> &[Block];

    /// For each row the place that its key had in the input.
    fn order(&self) -> Vec<u32>;
}
