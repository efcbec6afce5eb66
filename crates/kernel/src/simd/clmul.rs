//! Products in GF(2^128): by PCLMULQDQ where the processor has it, else without tables or branches on secrets.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for PCLMULQDQ after the check that the processor has it"
)]

use crate::block::Block;

/// Whether the processor multiplies polynomials; asked once by the standard library, then one load.
#[cfg(target_arch = "x86_64")]
fn found() -> bool {
    is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse2")
}

/// The product of two elements.
pub(crate) fn times(left: Block, right: Block) -> Block {
    #[cfg(target_arch = "x86_64")]
    if found() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::times(left, right) };
    }
    left.times_portable(right)
}

/// The sum of the products of two sequences of one length, element by element, reduced once.
///
/// # Panics
/// Where the lengths differ: both are ours.
pub(crate) fn inner_product(left: &[Block], right: &[Block]) -> Block {
    assert_eq!(left.len(), right.len(), "sequences of one length");
    #[cfg(target_arch = "x86_64")]
    if found() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::inner_product(left, right) };
    }
    inner_product_portable(left, right)
}

/// `acc[i] ^= xs[i] * scalar` for as many as the shorter slice has.
pub(crate) fn add_products(acc: &mut [Block], xs: &[Block], scalar: Block) {
    #[cfg(target_arch = "x86_64")]
    if found() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::add_products(acc, xs, scalar) };
    }
    for (slot, x) in acc.iter_mut().zip(xs) {
        *slot ^= x.times_portable(scalar);
    }
}

/// `acc[i] ^= sum over j of coefficients[j] * points[i]^(j + 1)`, for as many as the shorter slice has.
pub(crate) fn add_polynomials(acc: &mut [Block], points: &[Block], coefficients: &[Block]) {
    #[cfg(target_arch = "x86_64")]
    if found() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::add_polynomials(acc, points, coefficients) };
    }
    for (slot, point) in acc.iter_mut().zip(points) {
        let terms = coefficients.iter().rev();
        *slot ^= terms.fold(Block::ZERO, |sum, c| (sum ^ *c).times_portable(*point));
    }
}

fn inner_product_portable(left: &[Block], right: &[Block]) -> Block {
    left.iter()
        .zip(right)
        .fold(Block::ZERO, |sum, (a, b)| sum ^ a.times_portable(*b))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Block;
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_setzero_si128,
        _mm_slli_si128, _mm_srli_si128, _mm_unpackhi_epi64, _mm_xor_si128,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "halves of 128 bits, moved as they are"
    )]
    fn load(block: Block) -> __m128i {
        _mm_set_epi64x((block.0 >> 64) as i64, block.0 as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    #[allow(
        clippy::cast_sign_loss,
        reason = "halves of 128 bits, moved as they are"
    )]
    fn store(value: __m128i) -> Block {
        let low = _mm_cvtsi128_si64(value) as u64;
        let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(value, value)) as u64;
        Block(u128::from(high) << 64 | u128::from(low))
    }

    /// Bits 0..128, 64..192 and 128..256 of a product that is not reduced yet.
    type Wide = (__m128i, __m128i, __m128i);

    #[inline]
    #[target_feature(enable = "sse2,pclmulqdq")]
    fn multiply(a: __m128i, b: __m128i) -> Wide {
        let low = _mm_clmulepi64_si128::<0x00>(a, b);
        let high = _mm_clmulepi64_si128::<0x11>(a, b);
        let cross = _mm_xor_si128(
            _mm_clmulepi64_si128::<0x01>(a, b),
            _mm_clmulepi64_si128::<0x10>(a, b),
        );
        (low, cross, high)
    }

    /// The sum of both halves, in the lower one.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn folded(a: __m128i) -> __m128i {
        _mm_xor_si128(a, _mm_unpackhi_epi64(a, a))
    }

    /// Modulo x^128 + x^7 + x^2 + x + 1: the upper half comes down times 0x87, twice.
    #[inline]
    #[target_feature(enable = "sse2,pclmulqdq")]
    fn reduce((low, cross, high): Wide) -> __m128i {
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(cross));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(cross));
        let modulus = _mm_set_epi64x(0, 0x87);
        let top = _mm_clmulepi64_si128::<0x01>(high, modulus);
        let bottom = _mm_clmulepi64_si128::<0x00>(high, modulus);
        let over = _mm_clmulepi64_si128::<0x01>(top, modulus);
        let sum = _mm_xor_si128(_mm_xor_si128(low, bottom), _mm_slli_si128::<8>(top));
        _mm_xor_si128(sum, over)
    }

    #[target_feature(enable = "sse2,pclmulqdq")]
    pub(super) fn times(left: Block, right: Block) -> Block {
        store(reduce(multiply(load(left), load(right))))
    }

    #[target_feature(enable = "sse2,pclmulqdq")]
    pub(super) fn inner_product(left: &[Block], right: &[Block]) -> Block {
        let zero = _mm_setzero_si128();
        let (mut low, mut middle, mut high) = (zero, zero, zero);
        for (a, b) in left.iter().zip(right) {
            let (a, b) = (load(*a), load(*b));
            low = _mm_xor_si128(low, _mm_clmulepi64_si128::<0x00>(a, b));
            high = _mm_xor_si128(high, _mm_clmulepi64_si128::<0x11>(a, b));
            let halves = _mm_clmulepi64_si128::<0x00>(folded(a), folded(b));
            middle = _mm_xor_si128(middle, halves);
        }
        // Karatsuba: one product of sums of halves in place of two, and for all elements taken apart once.
        let cross = _mm_xor_si128(middle, _mm_xor_si128(low, high));
        store(reduce((low, cross, high)))
    }

    #[target_feature(enable = "sse2,pclmulqdq")]
    pub(super) fn add_products(acc: &mut [Block], xs: &[Block], scalar: Block) {
        let scalar = load(scalar);
        for (slot, x) in acc.iter_mut().zip(xs) {
            *slot ^= store(reduce(multiply(load(*x), scalar)));
        }
    }

    #[target_feature(enable = "sse2,pclmulqdq")]
    pub(super) fn add_polynomials(acc: &mut [Block], points: &[Block], coefficients: &[Block]) {
        for (slot, point) in acc.iter_mut().zip(points) {
            let point = load(*point);
            let mut sum = _mm_setzero_si128();
            for coefficient in coefficients.iter().rev() {
                sum = reduce(multiply(_mm_xor_si128(sum, load(*coefficient)), point));
            }
            *slot ^= store(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{add_polynomials, add_products, inner_product, inner_product_portable, times};
    use crate::block::Block;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn every_path_gives_the_portable_product(a: u128, b: u128) {
            prop_assert_eq!(times(Block(a), Block(b)), Block(a).times_portable(Block(b)));
        }

        #[test]
        fn every_path_gives_the_portable_inner_product(pairs in proptest::collection::vec(any::<(u128, u128)>(), 0..40)) {
            let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(a, b)| (Block(a), Block(b))).unzip();
            prop_assert_eq!(inner_product(&left, &right), inner_product_portable(&left, &right));
        }

        #[test]
        fn every_path_adds_the_portable_products(pairs in proptest::collection::vec(any::<(u128, u128)>(), 0..20), scalar: u128, coefficients in proptest::collection::vec(any::<u128>(), 0..6)) {
            let (xs, start): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(a, b)| (Block(a), Block(b))).unzip();
            let coefficients: Vec<_> = coefficients.into_iter().map(Block).collect();
            let (mut scaled, mut evaluated) = (start.clone(), start.clone());
            add_products(&mut scaled, &xs, Block(scalar));
            add_polynomials(&mut evaluated, &xs, &coefficients);
            for (i, x) in xs.iter().enumerate() {
                prop_assert_eq!(scaled[i], start[i] ^ x.times_portable(Block(scalar)));
                let (mut sum, mut power) = (start[i], Block::ONE);
                for c in &coefficients {
                    power = power.times_portable(*x);
                    sum ^= c.times_portable(power);
                }
                prop_assert_eq!(evaluated[i], sum);
            }
        }
    }
}
