//! The rows that both servers hold, each with the proof that it is the one: a false answer is caught by who asked.
//!
//! Merkle proofs beside the rows make retrieval from several servers authenticated: Colombo, Nikolaenko,
//! Corrigan-Gibbs, Ford, *Authenticated private information retrieval* (USENIX Security 2023; eprint 2023/297),
//! section 4.1. Here a row carries the lowest `LEVELS` hashes of its path, and an asker is told the nodes above them
//! once. The tree's digest comes from both servers, of which one is honest. Hashes are BLAKE3, of 32 bytes.
//!
//! An answer is, for each selection of rows, the sum of all selected rows bit by bit, in one pass for many selections.
//! For a few, each row is masked and added; for many, the sums of every four rows are made first and each selection
//! adds one of sixteen (the method of Arlazarov, Dinic, Kronrod and Faradzhev). What a server's own key selects shows
//! in neither to anyone else, and says nothing of what is asked. Both are compiled for several instruction sets.

use super::super::simd;
use rayon::prelude::*;

/// Levels of the tree whose hashes a row carries.
pub const LEVELS: usize = 8;
/// Rows under one node that askers are told.
pub const GROUP: usize = 1 << LEVELS;
/// Bytes of a hash.
pub const HASH: usize = 32;
/// Bytes of a row's proof.
pub const PROOF: usize = LEVELS * HASH;
/// Rows that one selection word stands for: what is read for all selections before the next.
const TILE: usize = 64;
/// Rows whose sums are made first.
const FEW: usize = 4;
/// From so many selections on that is worth its while.
const MANY: usize = 9;
/// Tiles of one piece of work.
const PIECE: usize = 64;

/// Rows with their proofs.
pub struct Table {
    width: usize,
    rows: Vec<u8>,
    tops: Vec<u8>,
}

fn leaf(number: usize, row: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&[0])
        .update(&(number as u64).to_le_bytes())
        .update(row);
    *hasher.finalize().as_bytes()
}

fn node(left: &[u8], right: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[1]).update(left).update(right);
    *hasher.finalize().as_bytes()
}

impl Table {
    /// Of rows of `width` bytes (a multiple of 8), a multiple of `GROUP` of them.
    ///
    /// # Panics
    /// If there are not such rows.
    #[must_use]
    pub fn new(width: usize, plain: &[u8]) -> Self {
        assert!(width > 0 && width.is_multiple_of(8) && plain.len().is_multiple_of(GROUP * width));
        let stride = width + PROOF;
        let mut rows = vec![0u8; plain.len() / width * stride];
        let tops: Vec<[u8; HASH]> = rows
            .par_chunks_exact_mut(GROUP * stride)
            .zip(plain.par_chunks_exact(GROUP * width))
            .enumerate()
            .map(|(group, (rows, plain))| proven(group, width, plain, rows))
            .collect();
        Self {
            width,
            rows,
            tops: tops.concat(),
        }
    }

    /// From what `rows` and `tops` gave. None if they have not the lengths of one table.
    #[must_use]
    pub fn from_parts(width: usize, rows: &[u8], tops: &[u8]) -> Option<Self> {
        let stride = width.checked_add(PROOF)?;
        let fits = width > 0
            && width.is_multiple_of(8)
            && rows.len().is_multiple_of(GROUP * stride)
            && tops.len() == rows.len() / stride / GROUP * HASH;
        fits.then(|| Self {
            width,
            rows: rows.to_vec(),
            tops: tops.to_vec(),
        })
    }

    /// Bytes of a row without its proof.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.rows.len() / (self.width + PROOF)
    }

    /// All rows with their proofs.
    #[must_use]
    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// The nodes above the proofs.
    #[must_use]
    pub fn tops(&self) -> &[u8] {
        &self.tops
    }

    /// What all hashes come to.
    #[must_use]
    pub fn digest(&self) -> [u8; HASH] {
        digest(&self.tops)
    }

    /// For each selection (a bit for each row, perhaps more than there are) the sum of its rows, proofs and all.
    ///
    /// # Panics
    /// If a selection has fewer bits than there are rows.
    #[must_use]
    pub fn answer(&self, selections: &[Vec<u128>]) -> Vec<Vec<u8>> {
        let stride = self.width + PROOF;
        let words: Vec<Vec<u64>> = selections
            .iter()
            .map(|selection| {
                let halves = selection
                    .iter()
                    .flat_map(|block| [*block as u64, (*block >> 64) as u64]);
                halves.take(self.count().div_ceil(TILE)).collect()
            })
            .collect();
        assert!(words.iter().all(|words| words.len() * TILE >= self.count()));
        let zero = || vec![0u64; selections.len() * stride / 8];
        let sums = self
            .rows
            .par_chunks(PIECE * TILE * stride)
            .enumerate()
            .fold(zero, |mut sums, (piece, rows)| {
                let mut made = vec![0u64; (stride / 8) << FEW];
                for (tile, rows) in rows.chunks(TILE * stride).enumerate() {
                    let here = piece * PIECE + tile;
                    if words.len() < MANY {
                        for (words, sums) in words.iter().zip(sums.chunks_exact_mut(stride / 8)) {
                            simd::pass(rows, words[here], sums);
                        }
                    } else {
                        let bits: Vec<u64> = words.iter().map(|words| words[here]).collect();
                        simd::pass_many(rows, &bits, &mut made, &mut sums);
                    }
                }
                sums
            })
            .reduce(zero, |mut sums, others| {
                sums.iter_mut()
                    .zip(others)
                    .for_each(|(sum, other)| *sum ^= other);
                sums
            });
        sums.chunks_exact(stride / 8)
            .map(|sum| sum.iter().flat_map(|word| word.to_le_bytes()).collect())
            .collect()
    }
}

/// What tops come to.
#[must_use]
pub fn digest(tops: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[2]).update(tops);
    *hasher.finalize().as_bytes()
}

/// Write rows with their proofs; the node above them.
fn proven(group: usize, width: usize, plain: &[u8], out: &mut [u8]) -> [u8; HASH] {
    let stride = width + PROOF;
    let mut hashes: Vec<[u8; HASH]> = plain
        .chunks_exact(width)
        .enumerate()
        .map(|(number, row)| leaf(group * GROUP + number, row))
        .collect();
    for (out, row) in out.chunks_exact_mut(stride).zip(plain.chunks_exact(width)) {
        out[..width].copy_from_slice(row);
    }
    for level in 0..LEVELS {
        for (number, out) in out.chunks_exact_mut(stride).enumerate() {
            let sibling = &hashes[number >> level ^ 1];
            out[width + level * HASH..][..HASH].copy_from_slice(sibling);
        }
        hashes = hashes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[left, right]| node(left, right))
            .collect();
    }
    hashes[0]
}

/// The row with that number if this is it, proof and all; None for any other bytes.
#[must_use]
pub fn checked<'a>(answer: &'a [u8], number: u32, tops: &[u8]) -> Option<&'a [u8]> {
    let width = answer.len().checked_sub(PROOF)?;
    let (row, proof) = answer.split_at(width);
    let number = number as usize;
    let mut hash = leaf(number, row);
    for (level, sibling) in proof.chunks_exact(HASH).enumerate() {
        hash = if number >> level & 1 == 0 {
            node(&hash, sibling)
        } else {
            node(sibling, &hash)
        };
    }
    let top = tops.get(number / GROUP * HASH..)?.get(..HASH)?;
    (top == hash).then_some(row)
}

/// `sums` ^= each row whose bit is set; up to 64 rows, as many bytes each as `sums` has.
#[inline(always)]
pub fn pass_body(rows: &[u8], bits: u64, sums: &mut [u64]) {
    for (number, row) in rows.chunks_exact(8 * sums.len()).enumerate() {
        let mask = 0u64.wrapping_sub(bits >> number & 1);
        for (sum, word) in sums.iter_mut().zip(row.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word) & mask;
        }
    }
}

/// For each of `bits` the same, into its part of `sums`; a multiple of `FEW` rows, with room for 2^FEW sums in `made`.
#[inline(always)]
pub fn pass_many_body(rows: &[u8], bits: &[u64], made: &mut [u64], sums: &mut [u64]) {
    let stride = made.len() >> FEW;
    for (group, rows) in rows.chunks_exact(FEW * 8 * stride).enumerate() {
        for (number, row) in rows.chunks_exact(8 * stride).enumerate() {
            // All sums without this row and the later ones are there: those with it are these and the row.
            let (known, next) = made.split_at_mut(stride << number);
            for (known, next) in known
                .chunks_exact(stride)
                .zip(next.chunks_exact_mut(stride))
            {
                for ((next, known), word) in next.iter_mut().zip(known).zip(row.as_chunks::<8>().0)
                {
                    *next = known ^ u64::from_le_bytes(*word);
                }
            }
        }
        for (bits, sums) in bits.iter().zip(sums.chunks_exact_mut(stride)) {
            let which = (bits >> (FEW * group)) as usize % (1 << FEW);
            for (sum, word) in sums.iter_mut().zip(&made[which * stride..][..stride]) {
                *sum ^= word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Stream;
    use super::*;
    use proptest::prelude::*;

    fn table(groups: usize, width: usize) -> (Table, Vec<u8>) {
        let mut plain = vec![0u8; groups * GROUP * width];
        Stream::public(&[4; 32], "test", 0).fill(&mut plain);
        (Table::new(width, &plain), plain)
    }

    #[test]
    fn a_selection_of_one_row_is_that_row_and_no_other_passes_for_it() {
        let (table, plain) = table(20, 24);
        let rows = [0usize, 255, 256, 5119, 4711];
        let selections: Vec<Vec<u128>> = rows
            .iter()
            .map(|row| {
                (0..64)
                    .map(|block| u128::from(row / 128 == block) << (row % 128))
                    .collect()
            })
            .collect();
        let answers = table.answer(&selections);
        for (&row, answer) in rows.iter().zip(&answers) {
            let found = checked(answer, row as u32, table.tops()).expect("its proof");
            assert_eq!(found, &plain[24 * row..][..24]);
            assert!(checked(answer, row as u32 ^ 1, table.tops()).is_none());
            assert!(checked(answer, 1 << 30, table.tops()).is_none());
            for at in [0, 23, 24, answer.len() - 1] {
                let mut bad = answer.clone();
                bad[at] ^= 1;
                assert!(checked(&bad, row as u32, table.tops()).is_none());
            }
        }
        assert_eq!(digest(table.tops()), table.digest());
    }

    proptest! {
        #[test]
        fn an_answer_is_the_sum_of_what_is_selected(words in 1usize..8, seed: u64) {
            let (table, _) = table(3, 8 * words);
            let mut bits = vec![0u8; 16 * 6];
            Stream::public(&[9; 32], "bits", seed).fill(&mut bits);
            let selection: Vec<u128> = bits.as_chunks::<16>().0.iter().map(|b| u128::from_le_bytes(*b)).collect();
            let mut expected = vec![0u8; 8 * words + PROOF];
            for (number, row) in table.rows().chunks_exact(8 * words + PROOF).enumerate() {
                if selection[number / 128] >> (number % 128) & 1 == 1 {
                    expected.iter_mut().zip(row).for_each(|(sum, byte)| *sum ^= byte);
                }
            }
            let none = vec![0u128; 6];
            prop_assert_eq!(table.answer(&[selection, none]), [expected, vec![0; 8 * words + PROOF]]);
        }

        #[test]
        fn no_bytes_break_the_check(bytes in prop::collection::vec(any::<u8>(), 0..600), number: u32) {
            prop_assert!(checked(&bytes, number, &[7; 64]).is_none());
        }

        #[test]
        fn the_dispatched_pass_is_the_portable_one(rows in prop::collection::vec(any::<u8>(), 64 * 40), bits: u64) {
            let (mut fast, mut plain) = (vec![3u64; 5], vec![3u64; 5]);
            simd::pass(&rows, bits, &mut fast);
            pass_body(&rows, bits, &mut plain);
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn many_at_once_are_each_alone(rows in prop::collection::vec(any::<u8>(), 64 * 40), bits in prop::collection::vec(any::<u64>(), 0..30)) {
            let mut made = vec![0u64; 5 << FEW];
            let (mut fast, mut plain) = (vec![3u64; 5 * bits.len()], vec![3u64; 5 * bits.len()]);
            let mut portable = fast.clone();
            simd::pass_many(&rows, &bits, &mut made, &mut fast);
            pass_many_body(&rows, &bits, &mut made, &mut portable);
            for (bits, sums) in bits.iter().zip(plain.chunks_exact_mut(5)) {
                pass_body(&rows, *bits, sums);
            }
            prop_assert_eq!(&fast, &plain);
            prop_assert_eq!(portable, plain);
        }

        #[test]
        fn many_selections_are_answered_as_few_are(seed: u64) {
            let (table, _) = table(2, 16);
            let mut bits = vec![0u8; 16 * 4 * 40];
            Stream::public(&[9; 32], "bits", seed).fill(&mut bits);
            let blocks: Vec<u128> = bits.as_chunks::<16>().0.iter().map(|b| u128::from_le_bytes(*b)).collect();
            let selections: Vec<Vec<u128>> = blocks.chunks(4).map(<[u128]>::to_vec).collect();
            let few: Vec<Vec<u8>> = selections.chunks(3).flat_map(|some| table.answer(some)).collect();
            prop_assert_eq!(table.answer(&selections), few);
        }
    }
}
