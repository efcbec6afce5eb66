//! The inner loop of the expand-convolute code: a stretch of steps of the convolution, in place.
//!
//! Step i adds `x[i]` into the 24 elements after it where the bits of its coefficient say so, and lets `x[i + 25]`
//! in: `x[i + 25] = TAP * (x[i + 25] + x[i])`. All of it is linear and every element is used only when all has been
//! added to it, so the fast path may add in another order than the portable one. The coefficients are public; the
//! time depends on lengths alone.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for AVX-512 or AVX2 after the check that the processor has it, and loads and \
              stores whole arrays without alignment"
)]

use crate::block::Block;

/// How many elements after its own a step may add to.
pub(crate) const STATE: usize = 24;
/// How far past its last step a fast stretch reads or writes.
pub(crate) const REACH: usize = 28;
/// The constant of the field that the element entering the state is multiplied by.
///
/// Without it the code is binary, and a binary code over GF(2^128) falls apart into 128 codes over GF(2) whose noise
/// has one support: interleaved decoding then finds the support. The value is libOTe's (`CoeffCtxGF128`, there
/// called the guard against splitting), of 32 bits.
pub(crate) const TAP: u32 = 4_234_123_421;

/// `TAP` times an element, without tables or branches on secrets.
fn tapped(x: Block) -> Block {
    let (mut low, mut high) = (0u128, 0u128);
    for bit in 0..32 {
        if TAP >> bit & 1 == 1 {
            low ^= x.0 << bit;
            // Two shifts, for a shift by 128 is none.
            high ^= x.0 >> 1 >> (127 - bit);
        }
    }
    Block(low ^ high ^ high << 1 ^ high << 2 ^ high << 7)
}

/// Run the steps from `start`, one for each coefficient, on each of `vectors`; what passes the end goes on at 0.
///
/// # Panics
/// Where a vector has not more than `STATE` + 1 elements.
pub(crate) fn portable<const V: usize>(
    vectors: &mut [&mut [Block]; V],
    start: usize,
    coefficients: &[u32],
) {
    for x in vectors {
        let size = x.len();
        assert!(size > STATE + 1, "a vector longer than the state");
        for (step, coefficient) in coefficients.iter().enumerate() {
            let i = start + step;
            let from = x[i];
            let around = |j: usize| if j < size { j } else { j - size };
            let entering = around(i + STATE + 1);
            x[entering] = tapped(x[entering] ^ from);
            for k in 0..STATE {
                let chosen = u128::from(coefficient >> k & 1).wrapping_neg();
                x[around(i + 1 + k)].0 ^= from.0 & chosen;
            }
        }
    }
}

/// As [`portable`], by the fastest path that this processor has.
pub(crate) fn convolve<const V: usize>(
    vectors: &mut [&mut [Block]; V],
    start: usize,
    coefficients: &[u32],
) {
    let fits = vectors
        .iter()
        .map(|x| x.len().saturating_sub(start + REACH))
        .min();
    let fast = coefficients.len().min(fits.unwrap_or(0)) / 4 * 4;
    let (now, later) = coefficients.split_at(fast);
    if fast > 0 {
        accelerated(vectors, start, now);
    }
    portable(vectors, start + fast, later);
}

#[cfg(target_arch = "x86_64")]
fn accelerated<const V: usize>(
    vectors: &mut [&mut [Block]; V],
    start: usize,
    coefficients: &[u32],
) {
    if avx512::found() {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { avx512::convolve(vectors, start, coefficients) }
    } else if avx2::found() {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { avx2::convolve(vectors, start, coefficients) }
    } else {
        portable(vectors, start, coefficients);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn accelerated<const V: usize>(
    vectors: &mut [&mut [Block]; V],
    start: usize,
    coefficients: &[u32],
) {
    portable(vectors, start, coefficients);
}

/// Four elements a register; the state is six and a quarter of them.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Block, REACH, TAP};
    use std::arch::x86_64::{
        __m512i, _mm512_alignr_epi64, _mm512_bslli_epi128, _mm512_clmulepi64_epi128,
        _mm512_loadu_si512, _mm512_mask_xor_epi64, _mm512_set1_epi64, _mm512_setzero_si512,
        _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_xor_si512, _pdep_u64,
    };

    pub(super) fn found() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("bmi2")
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &[Block; 4]) -> __m512i {
        // SAFETY: the reference covers the 64 bytes, and the load asks for no alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(to: &mut [Block; 4], value: __m512i) {
        // SAFETY: the reference covers the 64 bytes, and the store asks for no alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn tapped(x: __m512i) -> __m512i {
        let tap = _mm512_set1_epi64(i64::from(TAP));
        let low = _mm512_clmulepi64_epi128::<0x00>(x, tap);
        let high = _mm512_clmulepi64_epi128::<0x01>(x, tap);
        let over = _mm512_clmulepi64_epi128::<0x01>(high, _mm512_set1_epi64(0x87));
        let sum = _mm512_xor_si512(low, _mm512_bslli_epi128::<8>(high));
        _mm512_xor_si512(sum, over)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn broadcast<const LANE: i32>(x: __m512i) -> __m512i {
        match LANE {
            0 => _mm512_shuffle_i64x2::<0x00>(x, x),
            1 => _mm512_shuffle_i64x2::<0x55>(x, x),
            2 => _mm512_shuffle_i64x2::<0xaa>(x, x),
            _ => _mm512_shuffle_i64x2::<0xff>(x, x),
        }
    }

    /// One step: element `LANE` of the first register goes where its coefficient says.
    #[inline]
    #[target_feature(enable = "avx512f,bmi2")]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "one register's mask of many"
    )]
    fn step<const LANE: i32, const V: usize>(state: &mut [[__m512i; 7]; V], coefficient: u32) {
        let targets = u64::from(coefficient & 0x00ff_ffff) << (LANE + 1);
        // Each element is two lanes of 64 bits: each bit doubles.
        let mask = _pdep_u64(targets, 0x5555_5555_5555_5555) * 3;
        for window in state {
            let from = broadcast::<LANE>(window[0]);
            for (place, register) in window.iter_mut().enumerate() {
                let lanes = (mask >> (8 * place)) as u8;
                *register = _mm512_mask_xor_epi64(*register, lanes, *register, from);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,vpclmulqdq,bmi2")]
    pub(super) fn convolve<const V: usize>(
        vectors: &mut [&mut [Block]; V],
        start: usize,
        coefficients: &[u32],
    ) {
        let (groups, rest) = coefficients.as_chunks::<4>();
        assert!(rest.is_empty(), "whole groups of steps");
        let mut state = [[_mm512_setzero_si512(); 7]; V];
        let mut windows = vectors.each_mut().map(|x| {
            x[start..start + coefficients.len() + REACH]
                .as_chunks_mut::<4>()
                .0
        });
        for (window, x) in state.iter_mut().zip(&windows) {
            for place in 0..6 {
                window[place] = load(&x[place]);
            }
            // Of the seventh register one element is in the state; three are yet to enter it.
            let raw = load(&x[6]);
            window[6] = _mm512_mask_xor_epi64(tapped(raw), 0x03, raw, _mm512_setzero_si512());
        }
        for (group, four) in groups.iter().enumerate() {
            step::<0, V>(&mut state, four[0]);
            step::<1, V>(&mut state, four[1]);
            step::<2, V>(&mut state, four[2]);
            step::<3, V>(&mut state, four[3]);
            for (window, x) in state.iter_mut().zip(&mut windows) {
                let done = tapped(window[0]);
                let zero = _mm512_setzero_si512();
                store(&mut x[group], window[0]);
                let entering = _mm512_alignr_epi64::<6>(done, zero);
                let next = _mm512_alignr_epi64::<6>(zero, done);
                window[6] = _mm512_xor_si512(window[6], entering);
                for place in 0..6 {
                    window[place] = window[place + 1];
                }
                window[6] = _mm512_xor_si512(tapped(load(&x[group + 7])), next);
            }
        }
        for (window, x) in state.iter().zip(&mut windows) {
            let group = groups.len();
            for place in 0..6 {
                store(&mut x[group + place], window[place]);
            }
            let mut last = [Block::ZERO; 4];
            store(&mut last, window[6]);
            x[group + 6][0] = last[0];
        }
    }
}

/// Two elements a register; the state is twelve and a half of them.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{tapped, Block, REACH, STATE};
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_loadu_si256, _mm256_permute2x128_si256,
        _mm256_setzero_si256, _mm256_storeu_si256, _mm256_xor_si256,
    };

    const ALL: Block = Block(u128::MAX);
    /// The lanes that two bits choose.
    static LANES: [[Block; 2]; 4] = [
        [Block::ZERO, Block::ZERO],
        [ALL, Block::ZERO],
        [Block::ZERO, ALL],
        [ALL, ALL],
    ];

    pub(super) fn found() -> bool {
        is_x86_feature_detected!("avx2")
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(from: &[Block; 2]) -> __m256i {
        // SAFETY: the reference covers the 32 bytes, and the load asks for no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(to: &mut [Block; 2], value: __m256i) {
        // SAFETY: the reference covers the 32 bytes, and the store asks for no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn step(window: &mut [__m256i; 13], from: __m256i, targets: u32) {
        for (place, register) in window.iter_mut().enumerate() {
            let lanes = load(&LANES[(targets >> (2 * place) & 3) as usize]);
            *register = _mm256_xor_si256(*register, _mm256_and_si256(from, lanes));
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn convolve<const V: usize>(
        vectors: &mut [&mut [Block]; V],
        start: usize,
        coefficients: &[u32],
    ) {
        let (pairs, rest) = coefficients.as_chunks::<2>();
        assert!(rest.is_empty(), "whole pairs of steps");
        for x in vectors {
            let x = &mut x[start..start + coefficients.len() + REACH];
            let x = x.as_chunks_mut::<2>().0;
            let mut window = [_mm256_setzero_si256(); 13];
            for place in 0..12 {
                window[place] = load(&x[place]);
            }
            // Of the thirteenth register one element is in the state; the other is yet to enter it.
            window[12] = load(&[x[12][0], tapped(x[12][1])]);
            for (pair, two) in pairs.iter().enumerate() {
                let first = _mm256_permute2x128_si256::<0x00>(window[0], window[0]);
                step(&mut window, first, (two[0] & 0x00ff_ffff) << 1);
                let second = _mm256_permute2x128_si256::<0x11>(window[0], window[0]);
                step(&mut window, second, (two[1] & 0x00ff_ffff) << 2);
                store(&mut x[pair], window[0]);
                let done = x[pair].map(tapped);
                window[12] = _mm256_xor_si256(window[12], load(&[Block::ZERO, done[0]]));
                for place in 0..12 {
                    window[place] = window[place + 1];
                }
                let raw = x[pair + STATE / 2 + 1].map(tapped);
                window[12] = load(&[raw[0] ^ done[1], raw[1]]);
            }
            for place in 0..12 {
                store(&mut x[pairs.len() + place], window[place]);
            }
            let mut last = [Block::ZERO; 2];
            store(&mut last, window[12]);
            x[pairs.len() + 12][0] = last[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{convolve, portable, tapped, Block, STATE, TAP};
    use proptest::prelude::*;

    fn vector(seed: u128, size: usize) -> Vec<Block> {
        (1..=size as u128)
            .map(|i| Block(i).times(Block(seed | 1)).times(Block(seed ^ i << 64)))
            .collect()
    }

    type Path = fn(&mut [&mut [Block]; 2], usize, &[u32]);

    /// The paths that this processor has, each with a name.
    fn paths() -> Vec<(&'static str, Path)> {
        let mut all: Vec<(&'static str, Path)> = vec![("chosen", convolve::<2>)];
        #[cfg(target_arch = "x86_64")]
        {
            if super::avx512::found() {
                // SAFETY: the processor has the features that the function is compiled for.
                all.push(("avx512", |v, s, c| unsafe {
                    super::avx512::convolve(v, s, c);
                }));
            }
            if super::avx2::found() {
                // SAFETY: the processor has the features that the function is compiled for.
                all.push(("avx2", |v, s, c| unsafe { super::avx2::convolve(v, s, c) }));
            }
        }
        all
    }

    #[test]
    fn the_tap_is_a_product_of_the_field() {
        for x in vector(99, 64) {
            assert_eq!(tapped(x), x.times_portable(Block(u128::from(TAP))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 128 }))]

        #[test]
        fn every_path_gives_what_the_portable_one_gives(
            seed: u128,
            start in 0usize..9,
            coefficients in proptest::collection::vec(any::<u32>(), 0..90),
        ) {
            let steps = coefficients.len() / 4 * 4;
            let coefficients = &coefficients[..steps];
            let size = start + steps + super::REACH;
            let (a, b) = (vector(seed, size), vector(!seed, size));
            let (mut left, mut right) = (a.clone(), b.clone());
            portable(&mut [&mut left[..], &mut right[..]], start, coefficients);
            for (name, path) in paths() {
                let (mut one, mut two) = (a.clone(), b.clone());
                path(&mut [&mut one[..], &mut two[..]], start, coefficients);
                prop_assert_eq!(&one, &left, "{}", name);
                prop_assert_eq!(&two, &right, "{}", name);
            }
        }

        #[test]
        fn a_stretch_may_pass_the_end(seed: u128, size in STATE + 2..120) {
            let coefficients: Vec<u32> = vector(seed, size)
                .iter()
                .map(|x| u32::try_from(x.0 >> 96).unwrap())
                .collect();
            let (mut slow, mut fast) = (vector(!seed, size), vector(!seed, size));
            portable(&mut [&mut slow[..]], 0, &coefficients);
            convolve(&mut [&mut fast[..]], 0, &coefficients);
            prop_assert_eq!(slow, fast);
        }
    }
}
