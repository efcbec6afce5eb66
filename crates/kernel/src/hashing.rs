//! Batch hashing and keyed identifiers over Arrow's binary layout: one buffer and n + 1 offsets.
//!
//! Trusts nothing of its input: offsets are checked before a byte is read, and a bad one is an error, never a
//! panic. Leaks the number and lengths of the items by its running time, and nothing of a key by its output.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Why the kernel refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The offsets buffer is not a whole number of 64-bit integers, or holds none.
    OffsetsShape,
    /// An offset is negative, falls, or points past the data.
    OffsetsRange {
        /// Which offset, counted from 0.
        index: usize,
    },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OffsetsShape => write!(f, "offsets are not n + 1 little-endian 64-bit integers"),
            Self::OffsetsRange { index } => {
                write!(
                    f,
                    "offset {index} is negative, falls, or points past the data"
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

/// Bytes in one keyed identifier.
///
/// 128 bits: among 2^40 items of all parties together two different keys collide with probability at most
/// 2^80 / 2^129 = 2^-49, below the statistical security of 2^-40.
pub const ID_BYTES: usize = 16;
const BATCH: usize = 1024;

/// Items of a flat buffer, in checked form.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    data: &'a [u8],
    offsets: &'a [u8],
}

impl<'a> Items<'a> {
    /// Check `offsets` (n + 1 little-endian 64-bit integers) against `data`.
    ///
    /// # Errors
    /// `Refused` names the first offset that does not fit.
    pub fn new(data: &'a [u8], offsets: &'a [u8]) -> Result<Self, Refused> {
        if offsets.is_empty() || !offsets.len().is_multiple_of(8) {
            return Err(Refused::OffsetsShape);
        }
        let mut before = 0usize;
        for (index, raw) in offsets.chunks_exact(8).enumerate() {
            let offset = usize::try_from(read(raw)).map_err(|_| Refused::OffsetsRange { index })?;
            if offset < before || offset > data.len() {
                return Err(Refused::OffsetsRange { index });
            }
            before = offset;
        }
        Ok(Self { data, offsets })
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() / 8 - 1
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item of this number, which must be below `len`.
    pub(crate) fn item(&self, index: usize) -> &'a [u8] {
        let at = |i: usize| usize::try_from(read(&self.offsets[8 * i..8 * i + 8])).unwrap_or(0);
        &self.data[at(index)..at(index + 1)]
    }

    fn map<const WIDTH: usize>(&self, hash: impl Fn(&[u8], &mut [u8]) + Sync) -> Vec<u8> {
        let mut out = vec![0u8; WIDTH * self.len()];
        out.par_chunks_mut(WIDTH * BATCH)
            .enumerate()
            .for_each(|(batch, block)| {
                for (i, slot) in block.chunks_exact_mut(WIDTH).enumerate() {
                    hash(self.item(batch * BATCH + i), slot);
                }
            });
        out
    }
}

fn read(raw: &[u8]) -> i64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(raw);
    i64::from_le_bytes(word)
}

/// BLAKE3 of every item: 32 bytes each, in order.
#[must_use]
pub fn blake3_many(items: &Items<'_>) -> Vec<u8> {
    items.map::<32>(|item, slot| slot.copy_from_slice(blake3::hash(item).as_bytes()))
}

/// SHA-256 (FIPS 180-4) of every item: 32 bytes each, in order.
#[must_use]
pub fn sha256_many(items: &Items<'_>) -> Vec<u8> {
    items.map::<32>(|item, slot| slot.copy_from_slice(&Sha256::digest(item)))
}

/// BLAKE3 in keyed mode, cut to 128 bits, of every item: 16 bytes each, in order.
#[must_use]
pub fn keyed_ids(key: &[u8; 32], items: &Items<'_>) -> Vec<u8> {
    items.map::<ID_BYTES>(|item, slot| {
        slot.copy_from_slice(&blake3::keyed_hash(key, item).as_bytes()[..ID_BYTES]);
    })
}
