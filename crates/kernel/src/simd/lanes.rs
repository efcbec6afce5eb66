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

    /// One width of vectors: how many lanes and blocks they have, the features they need, their type and the operations
    /// on it.
    macro_rules! path {
        ($name:ident, $features:literal, $lanes:literal, $blocks:literal, $vector:ident, $set:ident, $load:ident,
         $store:ident, $add:ident, $xor:ident, $low:ident, $high:ident, $low_pair:ident, $high_pair:ident, $turns:ident) => {
            pub(super) mod $name {
                use super::super::{TEXTS, TEXT_BYTES};
                use super::turns::$turns;
                use super::{Block, FLAGS, SCHEDULE, START};
                use std::arch::x86_64::{
                    $add, $high, $high_pair, $load, $low, $low_pair, $set, $store, $vector, $xor,
                };

                const LANES: usize = $lanes;
                /// The words of all lanes' blocks, word by word.
                type Words = [$vector; 4];
                /// The sixteen words of BLAKE3's state in its four rows.
                type State = [Words; 4];

                #[inline]
                #[target_feature(enable = $features)]
                #[allow(clippy::cast_possible_wrap, reason = "words, moved as they are")]
                fn all(word: u32) -> $vector {
                    $set(word as i32)
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn loaded(lanes: &[u32; LANES]) -> $vector {
                    // SAFETY: the array behind the reference is as long as the vector.
                    unsafe { $load(lanes.as_ptr().cast()) }
                }

                /// Each lane's block word by word. Which block a lane has is known to [`blocks`] alone.
                #[inline]
                #[target_feature(enable = $features)]
                fn words(blocks: &[Block; LANES]) -> Words {
                    let mut vectors = [all(0); 4];
                    for (vector, blocks) in vectors.iter_mut().zip(blocks.as_chunks::<$blocks>().0)
                    {
                        // SAFETY: the array behind the reference is as long as the vector.
                        *vector = unsafe { $load(blocks.as_ptr().cast()) };
                    }
                    across(vectors)
                }

                /// The blocks whose words these are, at the places from which [`words`] took them.
                #[inline]
                #[target_feature(enable = $features)]
                fn blocks(words: Words, blocks: &mut [Block; LANES]) {
                    let vectors = across(words);
                    for (vector, blocks) in vectors.iter().zip(blocks.as_chunks_mut::<$blocks>().0)
                    {
                        // SAFETY: the array behind the reference is as long as the vector.
                        unsafe { $store(blocks.as_mut_ptr().cast(), *vector) };
                    }
                }

                /// Within each 128 bits the four words of four vectors, put on their diagonal: its own inverse.
                #[inline]
                #[target_feature(enable = $features)]
                fn across([a, b, c, d]: Words) -> Words {
                    let (low, other_low) = ($low(a, b), $low(c, d));
                    let (high, other_high) = ($high(a, b), $high(c, d));
                    [
                        $low_pair(low, other_low),
                        $high_pair(low, other_low),
                        $low_pair(high, other_high),
                        $high_pair(high, other_high),
                    ]
                }

                #[inline]
                #[target_feature(enable = $features)]
                fn sums(a: Words, b: Words) -> Words {
                    [
                        $add(a[0], b[0]),
                        $add(a[1], b[1]),
                        $add(a[2], b[2]),
                        $add(a[3], b[3]),
                    ]
                }

                /// Each word of `a` with that of `b`, turned.
                #[inline]
                #[target_feature(enable = $features)]
                fn turned<const RIGHT: i32, const LEFT: i32>(
                    by: &$turns,
                    a: Words,
                    b: Words,
                ) -> Words {
                    let of = |at: usize| by.turn::<RIGHT, LEFT>($xor(a[at], b[at]));
                    [of(0), of(1), of(2), of(3)]
                }

                /// Four mixings at once, step by step: a processor that looks few steps ahead has enough to do.
                #[inline]
                #[target_feature(enable = $features)]
                fn mixed([a, b, c, d]: State, by: &$turns, x: Words, y: Words) -> State {
                    let a = sums(sums(a, b), x);
                    let d = turned::<16, 16>(by, d, a);
                    let c = sums(c, d);
                    let b = turned::<12, 20>(by, b, c);
                    let a = sums(sums(a, b), y);
                    let d = turned::<8, 24>(by, d, a);
                    let c = sums(c, d);
                    let b = turned::<7, 25>(by, b, c);
                    [a, b, c, d]
                }

                /// One round, written out so that every word has a register or a place that is known beforehand.
                #[inline]
                #[target_feature(enable = $features)]
                fn round<const ROUND: usize, const W: usize>(
                    state: State,
                    words: &[$vector; W],
                    by: &$turns,
                ) -> State {
                    // Zeros that are known to be some cost no sum.
                    let word = |at: usize| match SCHEDULE[ROUND][at] {
                        place if place < W => words[place],
                        _ => all(0),
                    };
                    let x = [word(0), word(2), word(4), word(6)];
                    let y = [word(1), word(3), word(5), word(7)];
                    let [a, b, c, d] = mixed(state, by, x, y);
                    // The diagonals are columns of rows that are moved on.
                    let b = [b[1], b[2], b[3], b[0]];
                    let c = [c[2], c[3], c[0], c[1]];
                    let d = [d[3], d[0], d[1], d[2]];
                    let x = [word(8), word(10), word(12), word(14)];
                    let y = [word(9), word(11), word(13), word(15)];
                    let [a, b, c, d] = mixed([a, b, c, d], by, x, y);
                    let b = [b[3], b[0], b[1], b[2]];
                    let c = [c[2], c[3], c[0], c[1]];
                    let d = [d[1], d[2], d[3], d[0]];
                    [a, b, c, d]
                }

                /// Both halves of the hash of each lane's block, of which the first `length` bytes count and all words
                /// but the first `W` are zero.
                #[inline]
                #[target_feature(enable = $features)]
                fn compressed<const W: usize>(
                    key: &[u32; 8],
                    words: &[$vector; W],
                    length: $vector,
                    by: &$turns,
                ) -> [Words; 2] {
                    let of = |k: &[u32]| [all(k[0]), all(k[1]), all(k[2]), all(k[3])];
                    let last = [all(0), all(0), length, all(FLAGS)];
                    let state = [of(&key[..4]), of(&key[4..]), of(&START), last];
                    let state = round::<0, W>(state, words, by);
                    let state = round::<1, W>(state, words, by);
                    let state = round::<2, W>(state, words, by);
                    let state = round::<3, W>(state, words, by);
                    let state = round::<4, W>(state, words, by);
                    let state = round::<5, W>(state, words, by);
                    let [a, b, c, d] = round::<6, W>(state, words, by);
                    let of = |a: Words, b: Words| {
                        [
                            $xor(a[0], b[0]),
                            $xor(a[1], b[1]),
                            $xor(a[2], b[2]),
                            $xor(a[3], b[3]),
                        ]
                    };
                    [of(a, c), of(b, d)]
                }

                /// As [`super::super::hash_each`] for whole vectors; what is left over.
                #[target_feature(enable = $features)]
                pub(in super::super) fn hash_each<'a>(
                    key: &[u32; 8],
                    each: &'a mut [Block],
                ) -> &'a mut [Block] {
                    let by = $turns::new();
                    let (whole, rest) = each.as_chunks_mut::<LANES>();
                    for lanes in whole {
                        let [first, _] = compressed(key, &words(lanes), all(16), &by);
                        blocks(first, lanes);
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
                    let by = $turns::new();
                    let mut ids = [Block::ZERO; TEXTS];
                    let mut out = [Block::ZERO; LANES];
                    for (part, ids) in ids.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                        let of = |all: &[u32; TEXTS]| loaded(&all.as_chunks::<LANES>().0[part]);
                        let mut words = [all(0); 16];
                        for (word, texts) in words.iter_mut().zip(texts) {
                            *word = of(texts);
                        }
                        let [first, _] = compressed(key, &words, of(lengths), &by);
                        blocks(first, &mut out);
                        // Lane n is the text of number n here, and `blocks` has them by fours.
                        for (lane, id) in ids.iter_mut().enumerate() {
                            *id = out[lane % 4 * $blocks + lane / 4];
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
                    let by = $turns::new();
                    let (firsts, first_rest) = firsts.as_chunks_mut::<LANES>();
                    let (seconds, second_rest) = seconds.as_chunks::<LANES>();
                    let (rests, rest_rest) = rests.as_chunks_mut::<LANES>();
                    for ((first, second), rest) in firsts.iter_mut().zip(seconds).zip(rests) {
                        let ([a, b, c, d], [e, f, g, h]) = (words(first), words(second));
                        let [low, high] = compressed(key, &[a, b, c, d, e, f, g, h], all(32), &by);
                        blocks(low, first);
                        blocks(high, rest);
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

        /// Turns words of AVX-512, which has an instruction for it.
        pub(super) struct Wide;

        impl Wide {
            #[inline]
            #[target_feature(enable = "avx512f")]
            pub(super) fn new() -> Self {
                Self
            }

            /// Each word turned right by RIGHT bits, LEFT being what is left of 32.
            #[inline]
            #[target_feature(enable = "avx512f")]
            #[allow(
                clippy::unused_self,
                reason = "the narrow one has what it needs in itself"
            )]
            pub(super) fn turn<const RIGHT: i32, const LEFT: i32>(&self, x: __m512i) -> __m512i {
                _mm512_ror_epi32::<RIGHT>(x)
            }
        }

        /// Turns words of AVX2: by whole bytes with one shuffle, whose orders are kept here.
        pub(super) struct Narrow {
            by_16: __m256i,
            by_8: __m256i,
        }

        impl Narrow {
            #[inline]
            #[target_feature(enable = "avx2")]
            pub(super) fn new() -> Self {
                let by_16 = _mm256_set_epi8(
                    13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11,
                    10, 5, 4, 7, 6, 1, 0, 3, 2,
                );
                let by_8 = _mm256_set_epi8(
                    12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11,
                    10, 9, 4, 7, 6, 5, 0, 3, 2, 1,
                );
                // The compiler would take orders that it knows apart, into twice as many shuffles.
                Self {
                    by_16: std::hint::black_box(by_16),
                    by_8: std::hint::black_box(by_8),
                }
            }

            /// As that of [`Wide`].
            #[inline]
            #[target_feature(enable = "avx2")]
            pub(super) fn turn<const RIGHT: i32, const LEFT: i32>(&self, x: __m256i) -> __m256i {
                match RIGHT {
                    16 => _mm256_shuffle_epi8(x, self.by_16),
                    8 => _mm256_shuffle_epi8(x, self.by_8),
                    _ => {
                        _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
                    }
                }
            }
        }
    }

    path!(
        wide,
        "avx512f",
        16,
        4,
        __m512i,
        _mm512_set1_epi32,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_add_epi32,
        _mm512_xor_si512,
        _mm512_unpacklo_epi32,
        _mm512_unpackhi_epi32,
        _mm512_unpacklo_epi64,
        _mm512_unpackhi_epi64,
        Wide
    );
    path!(
        narrow,
        "avx2",
        8,
        2,
        __m256i,
        _mm256_set1_epi32,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_add_epi32,
        _mm256_xor_si256,
        _mm256_unpacklo_epi32,
        _mm256_unpackhi_epi32,
        _mm256_unpacklo_epi64,
        _mm256_unpackhi_epi64,
        Narrow
    );
}

#[cfg(test)]
mod tests;
