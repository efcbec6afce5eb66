//! BLAKE3 of many short inputs side by side: keyed mode, one block each, 16 of them at a time by AVX-512, 8 by AVX2.
//!
//! The function is that of the `blake3` crate, which is also the portable path; a crate's call hashes one input, and
//! one input of 16 or 32 bytes fills no vector register. Everything here is adds, sums and rotations of whole words:
//! the time depends on the number of inputs alone.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for AVX-512 or AVX2 after the check that the processor has it, and loads and \
              stores whole arrays without alignment"
)]

use super::texts::{LANES as TEXTS, TEXT_BYTES};
use crate::block::Block;

/// Keyed BLAKE3 of each block's 16 bytes, cut to 16, in place.
pub(crate) fn hash_each(key: &[u8; 32], blocks: &mut [Block]) {
    #[cfg(target_arch = "x86_64")]
    let blocks = {
        let key = x86::words(key);
        if x86::has_512() {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { x86::wide::hash_each(&key, blocks) }
        } else if x86::has_256() {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { x86::narrow::hash_each(&key, blocks) }
        } else {
            blocks
        }
    };
    each_portable(key, blocks);
}

/// Keyed BLAKE3 of `firsts[i]` and `seconds[i]`, one after the other: its first 16 bytes to `firsts[i]`, the next to
/// `rests[i]`; for as many as the shortest has.
pub(crate) fn hash_pairs(
    key: &[u8; 32],
    firsts: &mut [Block],
    seconds: &[Block],
    rests: &mut [Block],
) {
    let count = firsts.len().min(seconds.len()).min(rests.len());
    let (firsts, seconds, rests) = (&mut firsts[..count], &seconds[..count], &mut rests[..count]);
    #[cfg(target_arch = "x86_64")]
    let (firsts, seconds, rests) = {
        let key = x86::words(key);
        if x86::has_512() {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { x86::wide::hash_pairs(&key, firsts, seconds, rests) }
        } else if x86::has_256() {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { x86::narrow::hash_pairs(&key, firsts, seconds, rests) }
        } else {
            (firsts, seconds, rests)
        }
    };
    pairs_portable(key, firsts, seconds, rests);
}

/// Keyed BLAKE3 of texts of one block each, given word by word, cut to 16 bytes; None where no path here is fast.
pub(crate) fn hash_texts(
    key: &[u8; 32],
    words: &[[u32; TEXTS]; TEXT_BYTES / 4],
    lengths: &[u32; TEXTS],
) -> Option<[Block; TEXTS]> {
    #[cfg(target_arch = "x86_64")]
    {
        let key = x86::words(key);
        if x86::has_512() {
            // SAFETY: the processor has the features that the function is compiled for.
            return Some(unsafe { x86::wide::hash_texts(&key, words, lengths) });
        }
        if x86::has_256() {
            // SAFETY: the processor has the features that the function is compiled for.
            return Some(unsafe { x86::narrow::hash_texts(&key, words, lengths) });
        }
    }
    let _ = (key, words, lengths);
    None
}

/// Both halves of a hash.
pub(super) fn halves(hash: &blake3::Hash) -> [Block; 2] {
    let mut halves = [[0u8; 16]; 2];
    halves[0].copy_from_slice(&hash.as_bytes()[..16]);
    halves[1].copy_from_slice(&hash.as_bytes()[16..]);
    halves.map(Block::from_bytes)
}

fn each_portable(key: &[u8; 32], blocks: &mut [Block]) {
    for block in blocks {
        *block = halves(&blake3::keyed_hash(key, &block.to_bytes()))[0];
    }
}

fn pairs_portable(key: &[u8; 32], firsts: &mut [Block], seconds: &[Block], rests: &mut [Block]) {
    for ((first, second), rest) in firsts.iter_mut().zip(seconds).zip(rests) {
        let mut text = [0u8; 32];
        text[..16].copy_from_slice(&first.to_bytes());
        text[16..].copy_from_slice(&second.to_bytes());
        [*first, *rest] = halves(&blake3::keyed_hash(key, &text));
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Block;

    /// The initial value of BLAKE3, which is SHA-256's.
    const START: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
    /// First and last block of a chunk, root, keyed: an input of one block under a key.
    const FLAGS: u32 = 1 | 2 | 8 | 16;
    const ROUNDS: usize = 7;
    /// Which word of the message goes where, round by round.
    const SCHEDULE: [[usize; 16]; ROUNDS] = schedule();
    const fn schedule() -> [[usize; 16]; ROUNDS] {
        const NEXT: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
        let mut all = [[0; 16]; ROUNDS];
        let mut at = 0;
        while at < 16 {
            all[0][at] = at;
            at += 1;
        }
        let mut round = 1;
        while round < ROUNDS {
            at = 0;
            while at < 16 {
                all[round][at] = all[round - 1][NEXT[at]];
                at += 1;
            }
            round += 1;
        }
        all
    }

    pub(super) fn has_512() -> bool {
        is_x86_feature_detected!("avx512f")
    }

    pub(super) fn has_256() -> bool {
        is_x86_feature_detected!("avx2")
    }

    /// A key as words.
    pub(super) fn words(key: &[u8; 32]) -> [u32; 8] {
        let mut out = [0; 8];
        for (word, bytes) in out.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        out
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a quarter of 128 bits, moved as it is"
    )]
    fn quarter(block: Block, which: usize) -> u32 {
        (block.0 >> (32 * which)) as u32
    }

    fn joined(quarters: [u32; 4]) -> Block {
        let mut all = 0u128;
        for (at, quarter) in quarters.into_iter().enumerate() {
            all |= u128::from(quarter) << (32 * at);
        }
        Block(all)
    }

    /// One width of vectors: how many lanes they have, the features they need, their type and the operations on it.
    macro_rules! path {
        ($name:ident, $features:literal, $lanes:literal, $vector:ident,
         $set:ident, $load:ident, $store:ident, $add:ident, $xor:ident, $turn:ident) => {
            pub(super) mod $name {
                use super::super::{TEXTS, TEXT_BYTES};
                use super::turns::$turn;
                use super::{joined, quarter, Block, FLAGS, SCHEDULE, START};
                use std::arch::x86_64::{$add, $load, $set, $store, $vector, $xor};

                const LANES: usize = $lanes;
                type Words = [[u32; LANES]; 8];

                #[inline]
                #[target_feature(enable = $features)]
                #[allow(clippy::cast_possible_wrap, reason = "words, moved as they are")]
                fn all(word: u32) -> $vector {
                    $set(word as i32)
                }

                /// The eight words of the hash of the first `length` bytes of each lane's message.
                #[inline]
                #[target_feature(enable = $features)]
                fn hash<const W: usize>(
                    key: &[u32; 8],
                    message: &[[u32; LANES]; W],
                    length: u32,
                ) -> Words {
                    let mut words = [all(0); W];
                    for (word, lanes) in words.iter_mut().zip(message) {
                        *word = loaded(lanes);
                    }
                    compressed(key, &words, all(length))
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn loaded(lanes: &[u32; LANES]) -> $vector {
                    // SAFETY: the array behind the reference is as long as the vector.
                    unsafe { $load(lanes.as_ptr().cast()) }
                }

                /// One round, written out so that every word has a register or a place that is known beforehand.
                #[inline]
                #[target_feature(enable = $features)]
                fn round<const ROUND: usize, const W: usize>(
                    v: &mut [$vector; 16],
                    words: &[$vector; W],
                ) {
                    // Zeros that are known to be some cost no sum.
                    let word = |at: usize| match SCHEDULE[ROUND][at] {
                        place if place < W => words[place],
                        _ => all(0),
                    };
                    // Columns, then diagonals.
                    mix(v, [0, 4, 8, 12], word(0), word(1));
                    mix(v, [1, 5, 9, 13], word(2), word(3));
                    mix(v, [2, 6, 10, 14], word(4), word(5));
                    mix(v, [3, 7, 11, 15], word(6), word(7));
                    mix(v, [0, 5, 10, 15], word(8), word(9));
                    mix(v, [1, 6, 11, 12], word(10), word(11));
                    mix(v, [2, 7, 8, 13], word(12), word(13));
                    mix(v, [3, 4, 9, 14], word(14), word(15));
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn mix(v: &mut [$vector; 16], [a, b, c, d]: [usize; 4], x: $vector, y: $vector) {
                    v[a] = $add($add(v[a], v[b]), x);
                    v[d] = $turn::<16, 16>($xor(v[d], v[a]));
                    v[c] = $add(v[c], v[d]);
                    v[b] = $turn::<12, 20>($xor(v[b], v[c]));
                    v[a] = $add($add(v[a], v[b]), y);
                    v[d] = $turn::<8, 24>($xor(v[d], v[a]));
                    v[c] = $add(v[c], v[d]);
                    v[b] = $turn::<7, 25>($xor(v[b], v[c]));
                }

                /// The eight words of the hash of each lane's block, of which the first `length` bytes count and all
                /// words but the first `W` are zero.
                #[inline]
                #[target_feature(enable = $features)]
                fn compressed<const W: usize>(
                    key: &[u32; 8],
                    words: &[$vector; W],
                    length: $vector,
                ) -> Words {
                    let mut v = [all(0); 16];
                    for at in 0..8 {
                        v[at] = all(key[at]);
                    }
                    for at in 0..4 {
                        v[8 + at] = all(START[at]);
                    }
                    (v[14], v[15]) = (length, all(FLAGS));
                    round::<0, W>(&mut v, words);
                    round::<1, W>(&mut v, words);
                    round::<2, W>(&mut v, words);
                    round::<3, W>(&mut v, words);
                    round::<4, W>(&mut v, words);
                    round::<5, W>(&mut v, words);
                    round::<6, W>(&mut v, words);
                    let mut out = [[0; LANES]; 8];
                    for (at, lanes) in out.iter_mut().enumerate() {
                        // SAFETY: the array behind the reference is as long as the vector.
                        unsafe { $store(lanes.as_mut_ptr().cast(), $xor(v[at], v[at + 8])) };
                    }
                    out
                }

                /// As [`super::super::hash_each`] for whole vectors; what is left over.
                #[target_feature(enable = $features)]
                pub(in super::super) fn hash_each<'a>(
                    key: &[u32; 8],
                    blocks: &'a mut [Block],
                ) -> &'a mut [Block] {
                    let (whole, rest) = blocks.as_chunks_mut::<LANES>();
                    let mut message = [[0; LANES]; 4];
                    for blocks in whole {
                        for (lane, block) in blocks.iter().enumerate() {
                            for at in 0..4 {
                                message[at][lane] = quarter(*block, at);
                            }
                        }
                        let out = hash(key, &message, 16);
                        for (lane, block) in blocks.iter_mut().enumerate() {
                            *block =
                                joined([out[0][lane], out[1][lane], out[2][lane], out[3][lane]]);
                        }
                    }
                    rest
                }

                /// As [`super::super::Texts::hash`] of texts as they wait.
                #[target_feature(enable = $features)]
                pub(in super::super) fn hash_texts(
                    key: &[u32; 8],
                    texts: &[[u32; TEXTS]; TEXT_BYTES / 4],
                    lengths: &[u32; TEXTS],
                ) -> [Block; TEXTS] {
                    let mut ids = [Block::ZERO; TEXTS];
                    for (part, ids) in ids.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                        let of = |all: &[u32; TEXTS]| loaded(&all.as_chunks::<LANES>().0[part]);
                        let mut words = [all(0); 16];
                        for (word, texts) in words.iter_mut().zip(texts) {
                            *word = of(texts);
                        }
                        let out = compressed(key, &words, of(lengths));
                        for (lane, id) in ids.iter_mut().enumerate() {
                            *id = joined([out[0][lane], out[1][lane], out[2][lane], out[3][lane]]);
                        }
                    }
                    ids
                }

                /// As [`super::super::hash_pairs`] for whole vectors; what is left over.
                #[target_feature(enable = $features)]
                pub(in super::super) fn hash_pairs<'a>(
                    key: &[u32; 8],
                    firsts: &'a mut [Block],
                    seconds: &'a [Block],
                    rests: &'a mut [Block],
                ) -> (&'a mut [Block], &'a [Block], &'a mut [Block]) {
                    let (firsts, first_rest) = firsts.as_chunks_mut::<LANES>();
                    let (seconds, second_rest) = seconds.as_chunks::<LANES>();
                    let (rests, rest_rest) = rests.as_chunks_mut::<LANES>();
                    let mut message = [[0; LANES]; 8];
                    for ((firsts, seconds), rests) in firsts.iter_mut().zip(seconds).zip(rests) {
                        for (lane, (first, second)) in firsts.iter().zip(seconds).enumerate() {
                            for at in 0..4 {
                                message[at][lane] = quarter(*first, at);
                                message[at + 4][lane] = quarter(*second, at);
                            }
                        }
                        let out = hash(key, &message, 32);
                        for (lane, (first, rest)) in firsts.iter_mut().zip(rests).enumerate() {
                            *first =
                                joined([out[0][lane], out[1][lane], out[2][lane], out[3][lane]]);
                            *rest =
                                joined([out[4][lane], out[5][lane], out[6][lane], out[7][lane]]);
                        }
                    }
                    (first_rest, second_rest, rest_rest)
                }
            }
        };
    }

    mod turns {
        use std::arch::x86_64::{
            __m256i, __m512i, _mm256_or_si256, _mm256_set_epi8, _mm256_shuffle_epi8,
            _mm256_slli_epi32, _mm256_srli_epi32, _mm512_ror_epi32,
        };

        /// Each word turned right by RIGHT bits, LEFT being what is left of 32.
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub(super) fn wide_turn<const RIGHT: i32, const LEFT: i32>(x: __m512i) -> __m512i {
            _mm512_ror_epi32::<RIGHT>(x)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        pub(super) fn narrow_turn<const RIGHT: i32, const LEFT: i32>(x: __m256i) -> __m256i {
            // By whole bytes, one shuffle does it.
            if RIGHT == 16 {
                let order = _mm256_set_epi8(
                    13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11,
                    10, 5, 4, 7, 6, 1, 0, 3, 2,
                );
                return _mm256_shuffle_epi8(x, order);
            }
            if RIGHT == 8 {
                let order = _mm256_set_epi8(
                    12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11,
                    10, 9, 4, 7, 6, 5, 0, 3, 2, 1,
                );
                return _mm256_shuffle_epi8(x, order);
            }
            _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
        }
    }

    path!(
        wide,
        "avx512f",
        16,
        __m512i,
        _mm512_set1_epi32,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_add_epi32,
        _mm512_xor_si512,
        wide_turn
    );
    path!(
        narrow,
        "avx2",
        8,
        __m256i,
        _mm256_set1_epi32,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_add_epi32,
        _mm256_xor_si256,
        narrow_turn
    );
}

#[cfg(test)]
mod tests {
    use super::{each_portable, hash_each, hash_pairs, hash_texts, pairs_portable, Block};
    use proptest::prelude::*;

    fn blocks() -> impl Strategy<Value = Vec<(Block, Block)>> {
        prop::collection::vec(
            any::<(u128, u128)>().prop_map(|(a, b)| (Block(a), Block(b))),
            0..70,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

        #[test]
        fn every_path_is_keyed_blake3(key: [u8; 32], pairs in blocks()) {
            let (firsts, seconds): (Vec<Block>, Vec<Block>) = pairs.into_iter().unzip();
            let (mut each, mut wanted) = (firsts.clone(), firsts.clone());
            hash_each(&key, &mut each);
            each_portable(&key, &mut wanted);
            prop_assert_eq!(each, wanted);
            let mut found = (firsts.clone(), vec![Block::ZERO; firsts.len()]);
            let mut wanted = found.clone();
            hash_pairs(&key, &mut found.0, &seconds, &mut found.1);
            pairs_portable(&key, &mut wanted.0, &seconds, &mut wanted.1);
            prop_assert_eq!(found, wanted);
        }

        #[test]
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "calls the narrower path too, where the processor has it")]
        fn the_narrow_path_is_keyed_blake3_too(key: [u8; 32], pairs in blocks()) {
            if super::x86::has_256() {
                let (firsts, seconds): (Vec<Block>, Vec<Block>) = pairs.into_iter().unzip();
                let mut found = (firsts.clone(), vec![Block::ZERO; firsts.len()]);
                let mut wanted = found.clone();
                let words = super::x86::words(&key);
                // SAFETY: the processor has the feature that the function is compiled for.
                let rest = unsafe { super::x86::narrow::hash_pairs(&words, &mut found.0, &seconds, &mut found.1) };
                pairs_portable(&key, rest.0, rest.1, rest.2);
                pairs_portable(&key, &mut wanted.0, &seconds, &mut wanted.1);
                prop_assert_eq!(found, wanted);
                let (mut each, mut wanted) = (firsts.clone(), firsts);
                // SAFETY: as above.
                let rest = unsafe { super::x86::narrow::hash_each(&words, &mut each) };
                each_portable(&key, rest);
                each_portable(&key, &mut wanted);
                prop_assert_eq!(each, wanted);
            }
        }

        #[test]
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "calls the narrower path too, where the processor has it")]
        fn the_narrow_path_hashes_texts_as_the_chosen_one(key: [u8; 32], text in prop::collection::vec(any::<u32>(), 256), lengths in prop::collection::vec(0u32..=64, 16)) {
            if super::x86::has_256() {
                let texts = std::array::from_fn(|at| std::array::from_fn(|lane| text[16 * at + lane]));
                let lengths = std::array::from_fn(|lane| lengths[lane]);
                // SAFETY: the processor has the feature that the function is compiled for.
                let narrow = unsafe { super::x86::narrow::hash_texts(&super::x86::words(&key), &texts, &lengths) };
                prop_assert_eq!(Some(narrow), hash_texts(&key, &texts, &lengths));
            }
        }
    }
}
