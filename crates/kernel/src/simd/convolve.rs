//! The inner loop of the expand-convolute code: a stretch of steps of the convolution, in place.
//!
//! Step i adds `x[i]` into the 24 elements after it where the bits of its coefficient say so, and lets `x[i + 25]`
//! in: `x[i + 25] = TAP * (x[i + 25] + x[i])`. All of it is linear and every element is used only when all has been
//! added to it, so the fast path may add in another order than the portable one. The coefficients are public; the
//! time depends on lengths alone.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for AVX-512 or AVX after the check that the processor has it, and loads and \
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
    } else if tables::found() {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { tables::convolve(vectors, start, coefficients) }
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

/// Four steps at a time: their elements' sixteen sums stand in a table, so that an element that is reached adds one sum
/// for the four steps instead of four elements where four bits say so (the method of the four Russians: Arlazarov, Dinic,
/// Kronrod, Faradzev 1970). The tables of the last six groups are all that reaches an element.
#[cfg(target_arch = "x86_64")]
mod tables {
    use super::{Block, REACH, STATE, TAP};
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_clmulepi64_si128, _mm_loadu_si128, _mm_set_epi64x,
        _mm_setzero_si128, _mm_slli_si128, _mm_storeu_si128, _mm_xor_si128,
    };

    const GROUP: usize = 4;
    /// How many groups back a step reaches.
    const BACK: usize = STATE / GROUP;
    /// Tables that are kept: a power of two above `BACK`.
    const KEPT: usize = 8;
    /// For a group of elements, by how many groups back: which sum of that group each adds, four bits an element.
    type Choice = [u16; KEPT];
    /// The bits of a byte, four apart.
    static SPREAD: [u32; 256] = spread();
    static MASKS: [Block; 2] = [Block::ZERO, Block(u128::MAX)];

    const fn spread() -> [u32; 256] {
        let mut all = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut bit = 0;
            while bit < 8 {
                if byte >> bit & 1 == 1 {
                    all[byte] |= 1 << (4 * bit);
                }
                bit += 1;
            }
            byte += 1;
        }
        all
    }

    pub(super) fn found() -> bool {
        is_x86_feature_detected!("avx") && is_x86_feature_detected!("pclmulqdq")
    }

    /// What each group of elements adds, the groups that are reached after the last step among them.
    fn choices(groups: &[[u32; GROUP]]) -> Vec<Choice> {
        let mut choices = vec![[0; KEPT]; groups.len() + BACK];
        for (at, coefficients) in groups.iter().enumerate() {
            // Three words of eight elements each, the first of which comes right after the group.
            let mut words = [0u32; 3];
            for (step, coefficient) in coefficients.iter().enumerate() {
                let reached = (coefficient & 0x00ff_ffff) << step >> (GROUP - 1);
                for (word, byte) in words.iter_mut().zip(reached.to_le_bytes()) {
                    *word |= SPREAD[usize::from(byte)] << step;
                }
            }
            let reached = &mut choices[at + 1..=at + BACK];
            for (back, choice) in reached.iter_mut().enumerate() {
                #[allow(clippy::cast_possible_truncation, reason = "half of a word")]
                {
                    choice[back] = (words[back / 2] >> (16 * (back % 2))) as u16;
                }
            }
        }
        choices
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn load(from: &Block) -> __m128i {
        // SAFETY: the reference covers the 16 bytes, and the load asks for no alignment.
        unsafe { _mm_loadu_si128(std::ptr::from_ref(from).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn store(to: &mut Block, value: __m128i) {
        // SAFETY: the reference covers the 16 bytes, and the store asks for no alignment.
        unsafe { _mm_storeu_si128(std::ptr::from_mut(to).cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    fn tapped(x: __m128i) -> __m128i {
        let tap = _mm_set_epi64x(0, i64::from(TAP));
        let low = _mm_clmulepi64_si128::<0x00>(x, tap);
        let high = _mm_clmulepi64_si128::<0x01>(x, tap);
        let over = _mm_clmulepi64_si128::<0x01>(high, _mm_set_epi64x(0, 0x87));
        _mm_xor_si128(_mm_xor_si128(low, _mm_slli_si128::<8>(high)), over)
    }

    /// The sums of the groups before: of group n at n modulo `KEPT`.
    type Tables = [[__m128i; 1 << GROUP]; KEPT];

    /// The elements of group `at` with all added that the groups before it say.
    #[inline]
    #[target_feature(enable = "avx")]
    fn reached(x: &[Block; GROUP], tables: &Tables, at: usize, choice: &Choice) -> [__m128i; 4] {
        let mut elements = [load(&x[0]), load(&x[1]), load(&x[2]), load(&x[3])];
        // The latest group last: its sums are only just there.
        for back in (1..=BACK).rev() {
            let table = &tables[at.wrapping_sub(back) % KEPT];
            let choice = usize::from(choice[back - 1]);
            for (place, element) in elements.iter_mut().enumerate() {
                let sum = table[choice >> (4 * place) & 15];
                *element = _mm_xor_si128(*element, sum);
            }
        }
        elements
    }

    /// The elements of a group with all added that its own steps say.
    #[inline]
    #[target_feature(enable = "avx")]
    fn settled([a, b, c, d]: [__m128i; 4], steps: &[u32; GROUP]) -> [__m128i; 4] {
        let chosen = |x, step: usize, k: u32| {
            _mm_and_si128(x, load(&MASKS[(steps[step] >> k & 1) as usize]))
        };
        let c = _mm_xor_si128(c, chosen(a, 0, 1));
        let d = _mm_xor_si128(d, chosen(a, 0, 2));
        let b = _mm_xor_si128(b, chosen(a, 0, 0));
        let d = _mm_xor_si128(d, chosen(b, 1, 1));
        let c = _mm_xor_si128(c, chosen(b, 1, 0));
        [a, b, c, _mm_xor_si128(d, chosen(c, 2, 0))]
    }

    /// All sums of four elements.
    #[inline]
    #[target_feature(enable = "avx")]
    fn sums(elements: [__m128i; GROUP]) -> [__m128i; 1 << GROUP] {
        let mut sums = [_mm_setzero_si128(); 1 << GROUP];
        for (bit, element) in elements.into_iter().enumerate() {
            for low in 0..1 << bit {
                sums[low + (1 << bit)] = _mm_xor_si128(sums[low], element);
            }
        }
        sums
    }

    #[target_feature(enable = "avx,pclmulqdq")]
    pub(super) fn convolve<const V: usize>(
        vectors: &mut [&mut [Block]; V],
        start: usize,
        coefficients: &[u32],
    ) {
        let (groups, rest) = coefficients.as_chunks::<GROUP>();
        assert!(rest.is_empty(), "whole groups of steps");
        let choices = choices(groups);
        let (now, after) = choices.split_at(groups.len());
        let mut tables = [[[_mm_setzero_si128(); 1 << GROUP]; KEPT]; V];
        for (at, (steps, choice)) in groups.iter().zip(now).enumerate() {
            let from = start + GROUP * at;
            for (x, tables) in vectors.iter_mut().zip(&mut tables) {
                let (group, others) = x[from..=from + REACH].split_at_mut(GROUP);
                let group = &mut group.as_chunks_mut::<GROUP>().0[0];
                let elements = settled(reached(group, tables, at, choice), steps);
                for (place, element) in elements.into_iter().enumerate() {
                    store(&mut group[place], element);
                    let entering = &mut others[STATE + 1 - GROUP + place];
                    let sum = _mm_xor_si128(load(entering), element);
                    store(entering, tapped(sum));
                }
                tables[at % KEPT] = sums(elements);
            }
        }
        for (at, choice) in (groups.len()..).zip(after) {
            let from = start + GROUP * at;
            for (x, tables) in vectors.iter_mut().zip(&tables) {
                let group = &mut x[from..from + GROUP].as_chunks_mut::<GROUP>().0[0];
                let elements = reached(group, tables, at, choice);
                for (place, element) in elements.into_iter().enumerate() {
                    store(&mut group[place], element);
                }
            }
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
            if super::tables::found() {
                // SAFETY: the processor has the features that the function is compiled for.
                all.push(("tables", |v, s, c| unsafe {
                    super::tables::convolve(v, s, c);
                }));
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
