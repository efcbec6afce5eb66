//! What both sides derive alike: sizes, public keys of the session, the messages' lengths, and the correlations that
//! rows of bits make.

use super::base_ot::OFFER_BYTES;
use super::ggm::Forest;
use super::params::Shape;
use super::prg::Doubling;
use super::small_field::columns_bytes;
use super::{Code, VoleConfig};
use crate::block::Block;
use crate::protocol::Fault;
use zeroize::{Zeroize, Zeroizing};

/// The rows of one element of GF(2^128).
const ROWS: usize = 128;
/// Length, code, mode.
const HEADER_BYTES: usize = 10;
/// The first message: header and base transfers.
pub(crate) const FIRST_BYTES: usize = HEADER_BYTES + OFFER_BYTES;

/// The sizes of a run and how they divide its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) config: VoleConfig,
    pub(crate) shape: Shape,
}

impl Plan {
    /// # Errors
    /// `Fault::Input` for a length that no run has.
    pub(crate) fn new(config: VoleConfig, length: usize) -> Result<Self, Fault> {
        let shape = Shape::new(config.code, length)?;
        Ok(Self { config, shape })
    }

    pub(crate) const fn forest(&self) -> Forest {
        Forest {
            trees: self.shape.trees,
            depth: self.shape.depth,
        }
    }

    /// Elements made of rows: one for each tree, and one that masks the check.
    pub(crate) const fn elements(&self) -> usize {
        self.shape.trees + self.config.malicious as usize
    }

    /// Blocks of 128 rows: those of elements and transfers, and one that masks the check.
    pub(crate) const fn height(&self) -> usize {
        self.elements() + self.shape.transfers().div_ceil(ROWS) + self.config.malicious as usize
    }

    /// How long the receiver's first message is: share of the base transfers, then columns.
    pub(crate) const fn columns_bytes(&self) -> usize {
        super::base_ot::POINT_BYTES + columns_bytes(self.height())
    }

    /// How long the sender's message of trees is: two sums a level, one value a tree.
    pub(crate) const fn trees_bytes(&self) -> usize {
        16 * (2 * self.shape.transfers() + self.shape.trees)
    }

    /// What the first message begins with.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0u8; HEADER_BYTES];
        header[..8].copy_from_slice(&(self.shape.length as u64).to_le_bytes());
        header[8] = match self.config.code {
            Code::ExConv7x24 => 1,
            Code::ExConv21x24 => 2,
        };
        header[9] = u8::from(self.config.malicious);
        header
    }

    /// The first `elements()` elements that rows make: sums of row k of each 128, times x^k.
    pub(crate) fn elements_of(&self, rows: &[Block]) -> Zeroizing<Vec<Block>> {
        let x = Block(2);
        let parts = rows.chunks_exact(ROWS).take(self.elements());
        let element = |part: &[Block]| {
            part.iter()
                .rev()
                .fold(Block::ZERO, |sum, row| sum.times(x) ^ *row)
        };
        Zeroizing::new(parts.map(element).collect())
    }

    /// The rows that make transfers.
    pub(crate) fn transfers_of<'a>(&self, rows: &'a [Block]) -> &'a [Block] {
        let from = self.elements() * ROWS;
        &rows[from..from + self.shape.transfers()]
    }
}

/// The public keys of a run, which its first message decides.
pub(crate) struct Session {
    pub(crate) id: [u8; 32],
    pub(crate) doubling: Doubling,
}

impl Session {
    pub(crate) fn new(first_message: &[u8]) -> Self {
        let id = blake3::derive_key("fondaco vole session", first_message);
        let keys = blake3::derive_key("fondaco vole trees", first_message);
        let (mut left, mut right) = ([0u8; 16], [0u8; 16]);
        left.copy_from_slice(&keys[..16]);
        right.copy_from_slice(&keys[16..]);
        let doubling = Doubling::new([left, right].map(Block::from_bytes));
        Self { id, doubling }
    }

    /// The pad of a transfer, from its row: the hash breaks the correlation.
    pub(crate) fn pad(&self, transfer: usize, row: Block) -> Block {
        let mut hasher = blake3::Hasher::new_keyed(&self.id);
        hasher.update(&(transfer as u64).to_le_bytes());
        hasher.update(&row.to_bytes());
        let mut bytes = [0u8; 16];
        hasher.finalize_xof().fill(&mut bytes);
        hasher.zeroize();
        Block::from_bytes(bytes)
    }
}

/// Clear what compression leaves behind and give the memory back.
pub(crate) fn cut(mut vector: Vec<Block>, length: usize) -> Vec<Block> {
    vector[length..].zeroize();
    vector.truncate(length);
    vector.shrink_to_fit();
    vector
}
