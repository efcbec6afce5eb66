//! A block of 128 bits, also read as an element of GF(2^128) modulo x^128 + x^7 + x^2 + x + 1.
//!
//! Bit i of the little-endian integer is the coefficient of x^i. The portable product here is constant-time and is
//! the reference that faster paths are tested against.

use crate::simd::clmul;
use std::ops::{BitXor, BitXorAssign};
use zeroize::DefaultIsZeroes;

/// 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Block(pub u128);

impl Block {
    /// All zero.
    pub const ZERO: Self = Self(0);
    /// The unit of GF(2^128).
    pub const ONE: Self = Self(1);

    /// From 16 little-endian bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// As 16 little-endian bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// The product in GF(2^128), without tables or branches on secrets; by the processor's PCLMULQDQ where it has it.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        clmul::times(self, other)
    }

    /// The same product, by shifts alone.
    #[must_use]
    pub fn times_portable(self, other: Self) -> Self {
        let (mut product, mut shifted) = (0u128, self.0);
        for bit in 0..128 {
            product ^= shifted & ((other.0 >> bit) & 1).wrapping_neg();
            let carry = (shifted >> 127).wrapping_neg();
            shifted = (shifted << 1) ^ (carry & 0x87);
        }
        Self(product)
    }
}

/// Blocks as bytes, 16 little-endian each, in order.
#[must_use]
pub fn to_bytes(blocks: &[Block]) -> Vec<u8> {
    let mut out = vec![0u8; 16 * blocks.len()];
    write_bytes(blocks, &mut out);
    out
}

/// The same, into `out`: as many as both have.
pub fn write_bytes(blocks: &[Block], out: &mut [u8]) {
    for (slot, block) in out.as_chunks_mut::<16>().0.iter_mut().zip(blocks) {
        *slot = block.to_bytes();
    }
}

impl DefaultIsZeroes for Block {}

impl BitXor for Block {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl BitXorAssign for Block {
    fn bitxor_assign(&mut self, other: Self) {
        self.0 ^= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn the_field_is_the_one_of_its_polynomial() {
        let x = Block(2);
        let top = Block(1 << 127);
        assert_eq!(top.times(x), Block(0x87));
        assert_eq!(x.times(Block::ONE), x);
        assert_eq!(x.times(Block::ZERO), Block::ZERO);
    }
}
