//! Batches of products in GF(2^128), by the processor's carry-less multiplication where it has one.
//!
//! One of the few files that hold `unsafe`: the calls of functions that are compiled for PCLMULQDQ, each made only
//! after the processor said that it has it. Everything else in here is safe code; the portable path is
//! [`Block::times`]. Time does not depend on the values on either path.

#![allow(unsafe_code)]

use crate::block::Block;

/// `acc[i] ^= xs[i] * scalar` for as many as the shorter slice has.
pub fn add_products(acc: &mut [Block], xs: &[Block], scalar: Block) {
    #[cfg(target_arch = "x86_64")]
    if has_clmul() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::add_products(acc, xs, scalar) };
    }
    for (slot, x) in acc.iter_mut().zip(xs) {
        *slot ^= x.times(scalar);
    }
}

/// `acc[i] ^= sum over j of coefficients[j] * points[i]^(j + 1)`, for as many as the shorter slice has.
pub fn add_polynomial(acc: &mut [Block], points: &[Block], coefficients: &[Block]) {
    #[cfg(target_arch = "x86_64")]
    if has_clmul() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::add_polynomial(acc, points, coefficients) };
    }
    for (slot, point) in acc.iter_mut().zip(points) {
        *slot ^= coefficients
            .iter()
            .rev()
            .fold(Block::ZERO, |sum, c| (sum ^ *c).times(*point));
    }
}

/// The product of two elements.
#[must_use]
pub fn product(a: Block, b: Block) -> Block {
    let mut out = [Block::ZERO];
    add_products(&mut out, &[a], b);
    out[0]
}

/// The inverse of an element, zero for zero: its (2^128 - 2)th power.
#[must_use]
pub fn inverse(a: Block) -> Block {
    let (mut power, mut out) = (a, Block::ONE);
    for _ in 1..128 {
        power = product(power, power);
        out = product(out, power);
    }
    out
}

#[cfg(target_arch = "x86_64")]
fn has_clmul() -> bool {
    std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("sse4.1")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Block;
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x,
        _mm_shuffle_epi32, _mm_slli_si128, _mm_srli_si128, _mm_xor_si128,
    };

    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    fn load(block: Block) -> __m128i {
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        _mm_set_epi64x((block.0 >> 64) as i64, block.0 as i64)
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    fn store(value: __m128i) -> Block {
        let (low, high) = (_mm_cvtsi128_si64(value), _mm_extract_epi64::<1>(value));
        Block(u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned()))
    }

    /// The product before its reduction: (low, high) halves of 128 bits.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    fn wide(a: __m128i, b: __m128i) -> (__m128i, __m128i) {
        let low = _mm_clmulepi64_si128::<0x00>(a, b);
        let high = _mm_clmulepi64_si128::<0x11>(a, b);
        let middle = _mm_xor_si128(
            _mm_clmulepi64_si128::<0x01>(a, b),
            _mm_clmulepi64_si128::<0x10>(a, b),
        );
        (
            _mm_xor_si128(low, _mm_slli_si128::<8>(middle)),
            _mm_xor_si128(high, _mm_srli_si128::<8>(middle)),
        )
    }

    /// Fold the high half down by x^128 = x^7 + x^2 + x + 1, twice.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    fn reduced(low: __m128i, high: __m128i) -> __m128i {
        let polynomial = _mm_set_epi64x(0, 0x87);
        let top = _mm_clmulepi64_si128::<0x01>(high, polynomial);
        let folded = _mm_xor_si128(high, _mm_srli_si128::<8>(top));
        let bottom = _mm_clmulepi64_si128::<0x00>(folded, polynomial);
        let shifted = _mm_slli_si128::<8>(_mm_shuffle_epi32::<0b11_10_01_00>(top));
        _mm_xor_si128(low, _mm_xor_si128(bottom, shifted))
    }

    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) fn add_products(acc: &mut [Block], xs: &[Block], scalar: Block) {
        let scalar = load(scalar);
        for (slot, x) in acc.iter_mut().zip(xs) {
            let (low, high) = wide(load(*x), scalar);
            *slot ^= store(reduced(low, high));
        }
    }

    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) fn add_polynomial(acc: &mut [Block], points: &[Block], coefficients: &[Block]) {
        for (slot, point) in acc.iter_mut().zip(points) {
            let point = load(*point);
            let mut sum = _mm_set_epi64x(0, 0);
            for coefficient in coefficients.iter().rev() {
                let (low, high) = wide(_mm_xor_si128(sum, load(*coefficient)), point);
                sum = reduced(low, high);
            }
            *slot ^= store(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{add_polynomial, add_products, inverse, product};
    use crate::block::Block;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_equal_the_reference(values in prop::collection::vec((any::<u128>(), any::<u128>()), 0..20), scalar: u128, coefficients in prop::collection::vec(any::<u128>(), 0..6)) {
            let xs: Vec<Block> = values.iter().map(|v| Block(v.0)).collect();
            let start: Vec<Block> = values.iter().map(|v| Block(v.1)).collect();
            let mut acc = start.clone();
            add_products(&mut acc, &xs, Block(scalar));
            for i in 0..xs.len() {
                prop_assert_eq!(acc[i], start[i] ^ xs[i].times(Block(scalar)));
            }
            let coefficients: Vec<Block> = coefficients.into_iter().map(Block).collect();
            let mut acc = start.clone();
            add_polynomial(&mut acc, &xs, &coefficients);
            for i in 0..xs.len() {
                let (mut sum, mut power) = (start[i], Block::ONE);
                for c in &coefficients {
                    power = power.times(xs[i]);
                    sum ^= c.times(power);
                }
                prop_assert_eq!(acc[i], sum);
            }
        }

        #[test]
        fn an_element_times_its_inverse_is_one(value in 1u128..) {
            prop_assert_eq!(product(Block(value), inverse(Block(value))), Block::ONE);
        }
    }
}
