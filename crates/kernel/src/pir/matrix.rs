//! The database as a matrix that answers queries: single-server retrieval that does not show what is retrieved.
//!
//! The framework of YPIR (Menon and Wu, eprint 2024/270, the `SimplePIR` variant) with the ring packing of `InsPIRe`
//! (eprint 2025/1352, section 6). A query encrypts, for each table, the indicator vector of three rows, whose sum is
//! what keyword retrieval asks for (`ChalametPIR`, eprint 2024/092; see `fuse`); the server multiplies, packs 1024 sums
//! into one ciphertext, switches the modulus, and answers. It needs nothing of the asker beforehand (no hint), and the asker nothing of it but the
//! random part of the answers, which is the same for all.
//!
//! Parameters, fixed here and reachable by no setting (2025/1352, table 1, which are those of YPIR's ring): d = 2048,
//! log2 Q = 56, secret and error discrete Gaussians of standard deviation 6.4. Both papers put that at 128 bits by
//! the lattice estimator. The selection vector is taken modulo the first of Q's two primes: its samples are those
//! modulo Q, reduced, so they are no easier. Every query draws a new secret (2025/1352, appendix F.1).
//!
//! Correctness: a wrong byte needs noise above Q/512. Its standard deviation relative to Q is at most
//! 2^-12.2 for 2^18 rows (first layer 6.4 * 74 * sqrt(rows) / Q1, packing 2^-16, rounding 2^-17), so a byte is wrong
//! with probability below 2^-58, a row of 2^16 bytes below 2^-42.
//!
//! Adversary: semi-honest server for correctness, any server for privacy of the query as long as it learns nothing of
//! what the asker decodes. The asker learns whole sums: what may be read in them is the business of `record`.

use super::pack::{self, PublicKey, SwitchKey, KEY_BYTES, PACK, PREPARED};
use super::progress::{Counted, Watch};
use super::ring::{self, Poly, DEGREE, Q, Q1};
use super::sample::Stream;
use super::scan::scan;
use rayon::prelude::*;

/// The most rows that correctness holds for.
pub const MAX_ROWS: usize = 1 << 18;
/// The most columns, in units of 1024, over all tables.
pub const MAX_PACKS: usize = 1 << 12;
/// The most tables.
pub const MAX_TABLES: usize = 1 << 12;
/// How many rows of each table one query sums.
pub const ONES: usize = 3;
/// The row of a wish for nothing.
pub const NOWHERE: [u32; ONES] = [u32::MAX; ONES];
/// Bits that an answer's coefficient and the random part's have after the modulus switch.
pub(super) const ANSWER_BITS: u32 = 16;
pub(super) const RANDOM_BITS: u32 = 24;
/// A selected row is the message 1, scaled to Q1 / 256.
pub(super) const SCALE: u32 = Q1 / 256;

/// How large the matrix is: `tables` of them, each `blocks * 2048` rows of `width` bytes.
///
/// A query asks for the sum of three rows of each table, under one secret: the tables' public randomness differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many tables.
    pub tables: usize,
    /// Rows of a table in units of 2048.
    pub blocks: usize,
    /// Columns of a table: a multiple of 4.
    pub width: usize,
}

impl Shape {
    /// Rows of one table.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.blocks * DEGREE
    }

    /// Bytes of one table.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.rows() * self.width
    }

    /// Columns of all tables.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.tables * self.width
    }

    /// Packs that all columns fill, the last perhaps in part.
    #[must_use]
    pub const fn packs(&self) -> usize {
        self.columns().div_ceil(PACK)
    }

    /// Bytes of all tables.
    #[must_use]
    pub const fn data_bytes(&self) -> usize {
        self.tables * self.table_bytes()
    }

    /// Bytes of one query on the wire.
    #[must_use]
    pub const fn query_bytes(&self) -> usize {
        KEY_BYTES + 4 * self.rows() * self.tables
    }

    /// Bytes of one answer on the wire.
    #[must_use]
    pub const fn answer_bytes(&self) -> usize {
        2 * self.columns()
    }

    /// Bytes of the random part of all answers.
    #[must_use]
    pub const fn random_bytes(&self) -> usize {
        3 * DEGREE * self.packs()
    }

    /// Prepared numbers of all packs.
    #[must_use]
    pub const fn prepared(&self) -> usize {
        self.packs() * PREPARED
    }

    /// Whether it is one that correctness is proven for and that a machine could hold.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.tables > 0
            && self.tables <= MAX_TABLES
            && self.blocks > 0
            && self.blocks <= MAX_ROWS / DEGREE
            && self.width > 0
            && self.width.is_multiple_of(4)
            && self.width <= MAX_PACKS * PACK
            && self.packs() <= MAX_PACKS
    }
}

/// The random halves of all queries: evaluations modulo the first prime, one for each block of rows.
#[must_use]
pub fn public_blocks(seed: &[u8; 32], blocks: usize) -> Vec<Poly> {
    (0..blocks as u64)
        .into_par_iter()
        .map(|block| Stream::public(seed, "fondaco/pir/block", block).uniform(ring::first()))
        .collect()
}

/// What is computed once of a matrix.
pub struct Prepared {
    /// The digits of all packs, `PREPARED` for each.
    pub digits: Vec<u32>,
    /// The random part of all answers, as it goes to askers.
    pub random: Vec<u8>,
}

/// Where the byte at (table, row, column) lies: blocks of 2048 rows, in each the columns one after the other.
#[must_use]
pub const fn place(shape: Shape, table: usize, row: usize, column: usize) -> usize {
    ((table * shape.blocks + row / DEGREE) * shape.width + column) * DEGREE + row % DEGREE
}

/// Prepare the tables `data` (bytes 0 to 255 stored as `byte ^ 0x80`) for queries under a public seed.
#[must_use]
pub fn prepare(shape: Shape, seed: &[u8; 32], data: &[u8], watch: Watch<'_>) -> Prepared {
    let counted = Counted::new(watch, "prepare answers", shape.packs());
    let mut public = public_blocks(seed, shape.tables * shape.blocks);
    // Sums over blocks are of products place by place, so what is summed is put in order once, and not each block.
    public
        .par_iter_mut()
        .for_each(|block| ring::first().disordered(block));
    let key = PublicKey::of(seed);
    let mut digits = vec![0u32; shape.prepared()];
    let mut random = vec![0u8; shape.random_bytes()];
    digits
        .par_chunks_exact_mut(PREPARED)
        .zip(random.par_chunks_exact_mut(3 * DEGREE))
        .enumerate()
        .for_each(|(number, (digits, random))| {
            let columns: Vec<Box<Poly>> = (number * PACK..shape.columns().min((number + 1) * PACK))
                .into_par_iter()
                .map(|column| {
                    let (table, column) = (column / shape.width, column % shape.width);
                    let public = &public[table * shape.blocks..][..shape.blocks];
                    random_part(shape, public, data, (table, column))
                })
                .collect();
            let made = pack::prepare(&columns, &key);
            digits.copy_from_slice(&made.digits);
            for (out, &value) in random.chunks_exact_mut(3).zip(&made.random) {
                out.copy_from_slice(&switch(value, RANDOM_BITS).to_le_bytes()[..3]);
            }
            counted.add(1);
        });
    Prepared { digits, random }
}

/// Bytes of one column and block as coefficients: the row that is i-th multiplies X^-i, which is -X^(d - i).
#[inline(always)]
pub(super) fn coefficients_body(bytes: &[u8], q: u32, poly: &mut Poly) {
    // A small number's residue: itself, or with q.
    let residue = |x: i32| (x as u32).min((x as u32).wrapping_add(q));
    poly[0] = residue(i32::from(bytes[0] as i8));
    for (value, &byte) in poly[1..].iter_mut().rev().zip(&bytes[1..]) {
        *value = residue(-i32::from(byte as i8));
    }
}

/// The random part of one column's sum: evaluations modulo the first prime. Those of `public` are in the butterflies' order.
fn random_part(
    shape: Shape,
    public: &[Poly],
    data: &[u8],
    (table, column): (usize, usize),
) -> Box<Poly> {
    let prime = ring::first();
    let carry = pack::carry(prime.q);
    let mut sums = [0u64; DEGREE];
    let mut poly = ring::zero();
    for (block, public) in public.iter().enumerate() {
        let from = place(shape, table, block * DEGREE, column);
        super::simd::coefficients(&data[from..from + DEGREE], prime.q, &mut poly);
        prime.butterflied(&mut poly);
        super::simd::gather(&poly, public, &mut sums);
        if block % pack::FOLD == pack::FOLD - 1 {
            for sum in &mut sums {
                *sum = pack::fold(*sum, carry);
            }
        }
    }
    for (value, sum) in poly.iter_mut().zip(sums) {
        *value = (sum % u64::from(prime.q)) as u32;
    }
    prime.ordered(&mut poly);
    poly
}

/// From modulo Q to modulo 2^bits.
#[inline(always)]
const fn switch(x: u64, bits: u32) -> u32 {
    let reciprocal = (1u128 << (64 + bits)) / Q as u128;
    let scaled = (x as u128 * reciprocal + (1 << 63)) >> 64;
    scaled as u32 & ((1u64 << bits) - 1) as u32
}

/// One query as the server takes it, in the bytes that it came in.
#[derive(Clone)]
pub struct Query<'a> {
    /// The asker's half of the key-switching key.
    key: SwitchKey,
    /// The encrypted indicator vectors of all tables, residues modulo the first prime, four bytes each.
    selection: &'a [u8],
}

/// The largest of words of four little-endian bytes.
#[inline(always)]
pub(super) fn largest_body(words: &[u8], out: &mut u32) {
    for &four in words.as_chunks::<4>().0 {
        *out = (*out).max(u32::from_le_bytes(four));
    }
}

impl<'a> Query<'a> {
    /// From bytes, strictly: the exact length, every residue below its prime.
    #[must_use]
    pub fn from_bytes(shape: Shape, bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != shape.query_bytes() {
            return None;
        }
        let (key, selection) = bytes.split_at(KEY_BYTES);
        let key = SwitchKey::from_bytes(key)?;
        let sound = selection.par_chunks(4 * DEGREE).all(|part| {
            let mut largest = 0;
            super::simd::largest(part, &mut largest);
            largest < Q1
        });
        sound.then_some(Self { key, selection })
    }
}

/// Answer many queries in one pass over the matrix: `shape.answer_bytes()` for each.
#[must_use]
pub fn answer(shape: Shape, data: &[u8], digits: &[u32], queries: &[Query]) -> Vec<Vec<u8>> {
    // Tables side by side: one alone is too narrow to keep all threads at work to its end.
    let tables: Vec<Vec<Vec<u32>>> = data
        .par_chunks_exact(shape.table_bytes())
        .enumerate()
        .map(|(table, data)| {
            let part = 4 * table * shape.rows()..4 * (table + 1) * shape.rows();
            let selections: Vec<&[u8]> = queries
                .iter()
                .map(|query| &query.selection[part.clone()])
                .collect();
            scan(data, shape.width, &selections)
        })
        .collect();
    let sums: Vec<Vec<u32>> = (0..queries.len())
        .map(|query| {
            let found = tables.iter().flat_map(|sums| &sums[query]).copied();
            let mut sums: Vec<u32> = found.collect();
            sums.resize(shape.packs() * PACK, 0);
            sums
        })
        .collect();
    let keys: Vec<&SwitchKey> = queries.iter().map(|query| &query.key).collect();
    pack::pack(digits, &keys, &sums)
        .par_iter()
        .map(|packed| {
            packed
                .iter()
                .take(shape.columns())
                .flat_map(|&value| (switch(value, ANSWER_BITS) as u16).to_le_bytes())
                .collect()
        })
        .collect()
}
