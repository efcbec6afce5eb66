//! The first dimension: every byte of the database times a residue of each query's selection vector.
//!
//! The database is a matrix of signed bytes, cut in blocks of 2048 rows; in a block each column is contiguous. A
//! residue below 2^30 is centred and split in two digits of 15 bits, so that a product of byte and digit sums in 32
//! bits over a whole block: 2048 * 128 * 2^14 is 2^32 over at least 4 lanes. Many queries are answered in one pass
//! over the database: the pass is bound by memory for one query, by arithmetic for many.

use super::ring::{DEGREE, Q1};
use rayon::prelude::*;

/// Columns that one work item takes at most.
const STRIP: usize = 64;
/// Queries whose digits stay in a core's cache while a strip is read.
const GROUP: usize = 32;

/// The digits of 2048 residues.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Digits {
    /// The low 15 bits, signed.
    pub low: [i16; DEGREE],
    /// The rest, signed.
    pub high: [i16; DEGREE],
    /// The sum of the residues, each the nearest to zero.
    pub total: i64,
}

impl Digits {
    /// Of 2048 residues below `Q1`, four little-endian bytes each.
    fn of(residues: &[u8]) -> Self {
        let mut digits = Self {
            low: [0; DEGREE],
            high: [0; DEGREE],
            total: 0,
        };
        super::simd::digits(residues, &mut digits);
        digits
    }
}

/// The digits of residues below `Q1`.
#[inline(always)]
pub(super) fn digits_body(residues: &[u8], out: &mut Digits) {
    let residues = residues.as_chunks::<4>().0;
    for ((&four, low), high) in residues.iter().zip(&mut out.low).zip(&mut out.high) {
        let residue = u32::from_le_bytes(four);
        let above = i32::from(residue > Q1 / 2);
        let centred = residue as i32 - above * Q1 as i32;
        *low = ((centred << 17) >> 17) as i16;
        *high = ((centred - i32::from(*low)) >> 15) as i16;
        out.total += i64::from(centred);
    }
}

/// The products of a strip of one block: `out[v * columns + c]` += column c times query v, exactly.
pub(super) fn tile_body(columns: &[u8], digits: &[Digits], out: &mut [i64]) {
    let count = columns.len() / DEGREE;
    for (v, query) in digits.iter().enumerate() {
        for (c, column) in columns.chunks_exact(DEGREE).enumerate() {
            let mut sum = 0i64;
            for at in (0..DEGREE).step_by(256) {
                let rows = column[at..at + 256]
                    .iter()
                    .map(|&byte| i32::from(byte as i8));
                let (low, high) = rows
                    .zip(&query.low[at..at + 256])
                    .zip(&query.high[at..at + 256])
                    .fold((0i32, 0i32), |(low, high), ((byte, &l), &h)| {
                        (low + byte * i32::from(l), high + byte * i32::from(h))
                    });
                sum += i64::from(low) + (i64::from(high) << 15);
            }
            out[v * count + c] += sum;
        }
    }
}

/// One pass: for each query (`rows` residues of four little-endian bytes) the `columns` sums modulo `Q1`.
///
/// `data` holds `rows * columns` signed bytes in blocks; `rows` is a multiple of 2048, `columns` of 4.
///
/// # Panics
/// If a length does not fit: all come from a checked shape.
#[must_use]
pub fn scan(data: &[u8], columns: usize, queries: &[&[u8]]) -> Vec<Vec<u32>> {
    let blocks = data.len() / (columns * DEGREE);
    assert_eq!(data.len(), blocks * columns * DEGREE);
    assert_eq!(columns % 4, 0);
    let mut results = Vec::with_capacity(queries.len());
    for group in queries.chunks(GROUP) {
        assert!(group.iter().all(|query| query.len() == 4 * blocks * DEGREE));
        results.extend(scan_group(data, columns, blocks, group));
    }
    results
}

/// Merely read the database, by all threads: what the memory gives, beside which a pass is measured.
///
/// # Panics
/// Never: words are read of bytes that are there.
#[must_use]
pub fn read(data: &[u8]) -> u64 {
    data.par_chunks(1 << 20)
        .map(|part| {
            let mut sums = [0u64; 8];
            for line in part.chunks_exact(64) {
                for (sum, word) in sums.iter_mut().zip(line.chunks_exact(8)) {
                    *sum ^= u64::from_le_bytes(word.try_into().expect("eight bytes"));
                }
            }
            sums.iter().fold(0, |all, sum| all ^ sum)
        })
        .reduce(|| 0, |a, b| a ^ b)
}

fn scan_group(data: &[u8], columns: usize, blocks: usize, group: &[&[u8]]) -> Vec<Vec<u32>> {
    let digits: Vec<Vec<Digits>> = (0..blocks)
        .into_par_iter()
        .map(|block| {
            let part = 4 * block * DEGREE..4 * (block + 1) * DEGREE;
            group
                .iter()
                .map(|query| Digits::of(&query[part.clone()]))
                .collect()
        })
        .collect();
    let strips: Vec<Vec<i64>> = (0..columns.div_ceil(STRIP))
        .into_par_iter()
        .map(|strip| {
            let width = STRIP.min(columns - strip * STRIP);
            let mut sums = vec![0i64; group.len() * width];
            for (block, digits) in digits.iter().enumerate() {
                let from = (block * columns + strip * STRIP) * DEGREE;
                super::simd::tile(&data[from..from + width * DEGREE], digits, &mut sums);
            }
            sums
        })
        .collect();
    let mut results = vec![Vec::with_capacity(columns); group.len()];
    for sums in &strips {
        for (result, sums) in results
            .iter_mut()
            .zip(sums.chunks_exact(sums.len() / group.len()))
        {
            result.extend(sums.iter().map(|sum| sum.rem_euclid(i64::from(Q1)) as u32));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_agrees_with_plain_arithmetic_at_the_extremes() {
        let (rows, columns) = (2 * DEGREE, 68);
        for (bytes, residues) in [
            (0x80u8, Q1 / 2 + 1),
            (0x80, Q1 / 2),
            (0x7f, Q1 / 2),
            (1, Q1 - 1),
            (0, 7),
        ] {
            let data = vec![bytes; rows * columns];
            let query = residues.to_le_bytes().repeat(rows);
            let expected = (i128::from(bytes as i8) * i128::from(residues) * rows as i128)
                .rem_euclid(i128::from(Q1)) as u32;
            let found = scan(&data, columns, &[&query, &query, &query]);
            assert!(found.iter().flatten().all(|&value| value == expected));
        }
    }

    #[test]
    fn the_dispatched_tile_is_the_portable_one() {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u32
        };
        let columns: Vec<u8> = (0..8 * DEGREE).map(|_| next() as u8).collect();
        let queries: Vec<Digits> = (0..5)
            .map(|_| {
                let residues: Vec<[u8; 4]> =
                    (0..DEGREE).map(|_| (next() % Q1).to_le_bytes()).collect();
                Digits::of(residues.as_flattened())
            })
            .collect();
        let (mut fast, mut plain) = (vec![1i64; 40], vec![1i64; 40]);
        super::super::simd::tile(&columns, &queries, &mut fast);
        tile_body(&columns, &queries, &mut plain);
        assert_eq!(fast, plain);
    }
}
