//! The database as a matrix that answers queries: single-server retrieval of one row without showing which.
//!
//! The framework of YPIR (Menon and Wu, eprint 2024/270, the SimplePIR variant) with the ring packing of InsPIRe
//! (eprint 2025/1352, section 6: "replace their ring packing algorithms with InspiRING"). A query is an encryption of
//! the one-hot vector of the wanted row; the server multiplies, packs 1024 sums into one ciphertext, switches the
//! modulus, and answers. It needs nothing of the asker beforehand (no hint), and the asker nothing of it but the
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
//! what the asker decodes. The asker learns a whole row: what may be read in it is the business of `slots`.

use super::pack::{self, PublicKey, SwitchKey, PACK, PREPARED};
use super::ring::{self, Poly, DEGREE, HALF, Q, Q1};
use super::sample::Stream;
use super::scan::scan;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The most rows that correctness holds for.
pub const MAX_ROWS: usize = 1 << 18;
/// The most packs of 1024 columns.
pub const MAX_PACKS: usize = 1 << 10;
/// The most tables.
pub const MAX_TABLES: usize = 3;
/// Bits that an answer's coefficient and the random part's have after the modulus switch.
const ANSWER_BITS: u32 = 16;
const RANDOM_BITS: u32 = 24;
/// One selected row is the message 1, scaled to Q1 / 256.
const SCALE: u32 = Q1 / 256;

/// How large the matrices are: `tables` of them, each `blocks * 2048` rows of `packs * 1024` bytes.
///
/// A query asks for one row of each table, under one secret: the tables' public randomness differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many tables.
    pub tables: usize,
    /// Rows of a table in units of 2048.
    pub blocks: usize,
    /// Columns of a table in units of 1024.
    pub packs: usize,
}

impl Shape {
    /// Rows of one table.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.blocks * DEGREE
    }

    /// Columns of one table, in bytes.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.packs * PACK
    }

    /// Bytes of all tables.
    #[must_use]
    pub const fn data_bytes(&self) -> usize {
        self.tables * self.rows() * self.columns()
    }

    /// Bytes of one query on the wire.
    #[must_use]
    pub const fn query_bytes(&self) -> usize {
        7 * DEGREE + 4 * self.rows() * self.tables
    }

    /// Bytes of one answer on the wire.
    #[must_use]
    pub const fn answer_bytes(&self) -> usize {
        2 * self.columns() * self.tables
    }

    /// Bytes of the random part of all answers.
    #[must_use]
    pub const fn random_bytes(&self) -> usize {
        3 * DEGREE * self.packs * self.tables
    }

    /// Prepared numbers of all packs.
    #[must_use]
    pub const fn prepared(&self) -> usize {
        self.tables * self.packs * PREPARED
    }

    /// Whether correctness is proven for it.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        let some = self.tables > 0 && self.blocks > 0 && self.packs > 0;
        some && self.tables <= MAX_TABLES
            && self.blocks <= MAX_ROWS / DEGREE
            && self.packs <= MAX_PACKS
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
    ((table * shape.blocks + row / DEGREE) * shape.columns() + column) * DEGREE + row % DEGREE
}

/// Prepare the tables `data` (bytes 0 to 255 stored as `byte ^ 0x80`) for queries under a public seed.
#[must_use]
pub fn prepare(shape: Shape, seed: &[u8; 32], data: &[u8]) -> Prepared {
    let public = public_blocks(seed, shape.tables * shape.blocks);
    let key = PublicKey::of(seed);
    let mut digits = vec![0u32; shape.prepared()];
    let mut random = vec![0u8; shape.random_bytes()];
    digits
        .par_chunks_exact_mut(PREPARED)
        .zip(random.par_chunks_exact_mut(3 * DEGREE))
        .enumerate()
        .for_each(|(number, (digits, random))| {
            let (table, pack) = (number / shape.packs, number % shape.packs);
            let public = &public[table * shape.blocks..][..shape.blocks];
            let columns: Vec<Box<Poly>> = (pack * PACK..(pack + 1) * PACK)
                .into_par_iter()
                .map(|column| random_part(shape, public, data, (table, column)))
                .collect();
            let made = pack::prepare(&columns, &key);
            digits.copy_from_slice(&made.digits);
            for (out, &value) in random.chunks_exact_mut(3).zip(&made.random) {
                out.copy_from_slice(&switch(value, RANDOM_BITS).to_le_bytes()[..3]);
            }
        });
    Prepared { digits, random }
}

/// The random part of one column's sum: evaluations modulo the first prime.
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
        let bytes = &data[from..from + DEGREE];
        // The row that is i-th in its block multiplies X^-i, which is -X^(d - i).
        poly[0] = prime.signed(i32::from(bytes[0] as i8));
        for (value, &byte) in poly[1..].iter_mut().rev().zip(&bytes[1..]) {
            *value = prime.signed(-i32::from(byte as i8));
        }
        prime.transform(&mut poly);
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
    poly
}

/// From modulo Q to modulo 2^bits.
#[inline(always)]
const fn switch(x: u64, bits: u32) -> u32 {
    let reciprocal = (1u128 << (64 + bits)) / Q as u128;
    let scaled = (x as u128 * reciprocal + (1 << 63)) >> 64;
    scaled as u32 & ((1u64 << bits) - 1) as u32
}

/// One query as the server takes it.
#[derive(Clone)]
pub struct Query {
    /// The asker's half of the key-switching key.
    pub key: SwitchKey,
    /// The encrypted one-hot vectors of all tables, residues modulo the first prime.
    pub selection: Vec<u32>,
}

impl Query {
    /// As bytes: `shape.query_bytes()`, whatever is asked.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(7 * DEGREE + 4 * self.selection.len());
        for (&low, &high) in self.key.first.iter().zip(self.key.second.iter()) {
            out.extend_from_slice(&(u64::from(low) | u64::from(high) << 30).to_le_bytes()[..7]);
        }
        for value in &self.selection {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// From bytes, strictly: the exact length, every residue below its prime.
    #[must_use]
    pub fn from_bytes(shape: Shape, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != shape.query_bytes() {
            return None;
        }
        let (key, selection) = bytes.split_at(7 * DEGREE);
        let (mut first, mut second) = (ring::zero(), ring::zero());
        for ((seven, low), high) in key
            .chunks_exact(7)
            .zip(first.iter_mut())
            .zip(second.iter_mut())
        {
            let mut eight = [0u8; 8];
            eight[..7].copy_from_slice(seven);
            let both = u64::from_le_bytes(eight);
            *low = (both & 0x3fff_ffff) as u32;
            *high = (both >> 30) as u32;
            if *low >= Q1 || *high >= ring::Q2 {
                return None;
            }
        }
        let selection: Vec<u32> = selection
            .chunks_exact(4)
            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        if selection.iter().any(|&value| value >= Q1) {
            return None;
        }
        let key = SwitchKey { first, second };
        Some(Self { key, selection })
    }
}

/// Answer many queries in one pass over the matrix: `shape.answer_bytes()` for each.
#[must_use]
pub fn answer(shape: Shape, data: &[u8], digits: &[u32], queries: &[Query]) -> Vec<Vec<u8>> {
    let mut sums = vec![Vec::with_capacity(shape.tables * shape.columns()); queries.len()];
    for (table, data) in data
        .chunks_exact(shape.rows() * shape.columns())
        .enumerate()
    {
        let part = table * shape.rows()..(table + 1) * shape.rows();
        let selections: Vec<&[u32]> = queries
            .iter()
            .map(|query| &query.selection[part.clone()])
            .collect();
        for (sums, found) in sums
            .iter_mut()
            .zip(scan(data, shape.columns(), &selections))
        {
            sums.extend(found);
        }
    }
    let keys: Vec<&SwitchKey> = queries.iter().map(|query| &query.key).collect();
    pack::pack(digits, &keys, &sums)
        .par_iter()
        .map(|packed| {
            packed
                .iter()
                .flat_map(|&value| (switch(value, ANSWER_BITS) as u16).to_le_bytes())
                .collect()
        })
        .collect()
}

/// What an asker keeps of one query until its answer is there.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<i32>);

/// What an asker needs of an index to ask: made once, used for every query.
pub struct Public {
    shape: Shape,
    blocks: Vec<Poly>,
    key: PublicKey,
    random: Vec<(Box<Poly>, Box<Poly>)>,
}

impl Public {
    /// Of an index's seed and the random part of its answers; None if that has another length.
    #[must_use]
    pub fn new(shape: Shape, seed: &[u8; 32], random: &[u8]) -> Option<Self> {
        if random.len() != shape.random_bytes() {
            return None;
        }
        let random = random
            .chunks_exact(3 * DEGREE)
            .map(|pack| {
                let (mut low, mut high) = (ring::zero(), ring::zero());
                for ((three, low), high) in pack
                    .chunks_exact(3)
                    .zip(low.iter_mut())
                    .zip(high.iter_mut())
                {
                    *low = u32::from_le_bytes([three[0], three[1], three[2], 0]);
                    *high = *low;
                }
                ring::first().transform(&mut low);
                ring::second().transform(&mut high);
                (low, high)
            })
            .collect();
        let blocks = public_blocks(seed, shape.tables * shape.blocks);
        let key = PublicKey::of(seed);
        Some(Self {
            shape,
            blocks,
            key,
            random,
        })
    }

    /// Ask for one row of each table.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn query(&self, rows: &[usize]) -> (Secret, Query) {
        assert_eq!(rows.len(), self.shape.tables);
        assert!(rows.iter().all(|&row| row < self.shape.rows()));
        let mut stream = Stream::secret();
        let mut secret = Secret(vec![0i32; DEGREE]);
        stream.gaussian(&mut secret.0);
        let (mut first, mut second) = transformed(&secret);
        let key = self.switch_key(&first, &second, &mut stream);
        let mut selection = Vec::with_capacity(self.shape.tables * self.shape.rows());
        let mut error = [0i32; DEGREE];
        let prime = ring::first();
        for (number, public) in self.blocks.iter().enumerate() {
            let (row, block) = (rows[number / self.shape.blocks], number % self.shape.blocks);
            let mut poly = ring::zero();
            for ((value, &a), &s) in poly.iter_mut().zip(public).zip(first.iter()) {
                *value = prime.times(a, s);
            }
            prime.invert(&mut poly);
            stream.gaussian(&mut error);
            for (at, (&product, &error)) in poly.iter().zip(&error).enumerate() {
                // The wanted row is found by arithmetic, so that which one it is does not show in time.
                let difference = (block * DEGREE + at) as u64 ^ row as u64;
                let wanted = (difference.wrapping_sub(1) >> 63) as u32;
                let noisy = prime.plus(prime.q - product, prime.signed(error));
                selection.push(prime.plus(noisy, wanted * SCALE));
            }
            error.zeroize();
        }
        first.zeroize();
        second.zeroize();
        (secret, Query { key, selection })
    }

    /// -w s + e + 2^28 tau_5(s), as evaluations.
    fn switch_key(&self, first: &Poly, second: &Poly, stream: &mut Stream) -> SwitchKey {
        let mut error = [0i32; DEGREE];
        stream.gaussian(&mut error);
        let (public_first, public_second) = self.key.residues();
        let made = [
            (ring::first(), first, public_first),
            (ring::second(), second, public_second),
        ]
        .map(|(prime, secret, public)| {
            let gadget = ((1u64 << pack::GADGET_BITS) % u64::from(prime.q)) as u32;
            let mut key = ring::zero();
            for (value, &error) in key.iter_mut().zip(&error) {
                *value = prime.signed(error);
            }
            prime.transform(&mut key);
            for half in [0, HALF] {
                for j in 0..HALF {
                    let masked = prime.times(public[half + j], secret[half + j]);
                    let moved = prime.times(secret[half + (j + 1) % HALF], gadget);
                    let value = &mut key[half + j];
                    *value = prime.plus(prime.plus(*value, moved), (prime.q - masked) % prime.q);
                }
            }
            key
        });
        error.zeroize();
        let [first, second] = made;
        SwitchKey { first, second }
    }

    /// The rows in an answer, one of each table in turn; None if the answer has another length.
    #[must_use]
    pub fn decode(&self, secret: &Secret, answer: &[u8]) -> Option<Vec<u8>> {
        if answer.len() != self.shape.answer_bytes() {
            return None;
        }
        let (mut first, mut second) = transformed(secret);
        let mut row = Vec::with_capacity(self.shape.tables * self.shape.columns());
        for (answer, (low, high)) in answer.chunks_exact(2 * PACK).zip(&self.random) {
            let masks = mask(low, high, &first, &second);
            for (two, mask) in answer.chunks_exact(2).zip(masks) {
                let value =
                    i64::from(u16::from_le_bytes([two[0], two[1]])) << (RANDOM_BITS - ANSWER_BITS);
                let phase = value + mask + (1 << (RANDOM_BITS - 9));
                row.push((phase >> (RANDOM_BITS - 8)) as u8 ^ 0x80);
            }
        }
        first.zeroize();
        second.zeroize();
        Some(row)
    }
}

/// The secret's evaluations modulo both primes.
fn transformed(secret: &Secret) -> (Box<Poly>, Box<Poly>) {
    let [first, second] = [ring::first(), ring::second()].map(|prime| {
        let mut poly = ring::zero();
        for (value, &small) in poly.iter_mut().zip(&secret.0) {
            *value = prime.signed(small);
        }
        prime.transform(&mut poly);
        poly
    });
    (first, second)
}

/// The product of an answer's random part and the secret, exactly: it is below 2^24 * 2048 * 59, far below Q.
fn mask(low: &Poly, high: &Poly, first: &Poly, second: &Poly) -> Vec<i64> {
    let product = |a: &Poly, s: &Poly, prime: &ring::Prime| {
        let mut poly = ring::zero();
        for ((value, &a), &s) in poly.iter_mut().zip(a).zip(s) {
            *value = prime.times(a, s);
        }
        prime.invert(&mut poly);
        poly
    };
    let (mut low, mut high) = (
        product(low, first, ring::first()),
        product(high, second, ring::second()),
    );
    let masks = low
        .iter()
        .zip(high.iter())
        .take(PACK)
        .map(|(&low, &high)| ring::centred(ring::compose(low, high)))
        .collect();
    low.zeroize();
    high.zeroize();
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(shape: Shape) -> Vec<u8> {
        let mut data = vec![0u8; shape.data_bytes()];
        Stream::public(&[1; 32], "test", 0).fill(&mut data);
        data
    }

    #[test]
    fn any_rows_are_answered_and_many_at_once() {
        let shape = Shape {
            tables: 2,
            blocks: 3,
            packs: 1,
        };
        let (data, seed) = (matrix(shape), [9; 32]);
        let prepared = prepare(shape, &seed, &data);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let rows = [
            [0, 6143],
            [1, 0],
            [2047, 2048],
            [2048, 2047],
            [4097, 4097],
            [6143, 1],
            [0, 0],
        ];
        let (secrets, queries): (Vec<_>, Vec<_>) =
            rows.iter().map(|rows| public.query(rows)).unzip();
        let queries: Vec<Query> = queries
            .iter()
            .map(|query| Query::from_bytes(shape, &query.to_bytes()).expect("its own bytes"))
            .collect();
        let answers = answer(shape, &data, &prepared.digits, &queries);
        for ((rows, secret), answer) in rows.into_iter().zip(&secrets).zip(&answers) {
            let expected: Vec<u8> = rows
                .into_iter()
                .enumerate()
                .flat_map(|(table, row)| {
                    (0..shape.columns()).map(move |column| (table, row, column))
                })
                .map(|(table, row, column)| data[place(shape, table, row, column)] ^ 0x80)
                .collect();
            assert!(
                public.decode(secret, answer).expect("of the right length") == expected,
                "{rows:?}"
            );
        }
    }

    #[test]
    fn noise_stays_far_from_the_limit() {
        let shape = Shape {
            tables: 1,
            blocks: 2,
            packs: 1,
        };
        let (data, seed) = (matrix(shape), [3; 32]);
        let prepared = prepare(shape, &seed, &data);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let (secret, query) = public.query(&[77]);
        let answer = &answer(shape, &data, &prepared.digits, &[query])[0];
        let (first, second) = transformed(&secret);
        let masks = mask(&public.random[0].0, &public.random[0].1, &first, &second);
        let worst = answer
            .chunks_exact(2)
            .zip(masks)
            .enumerate()
            .map(|(column, (two, mask))| {
                let value = i64::from(u16::from_le_bytes([two[0], two[1]])) << 8;
                let byte = data[place(shape, 0, 77, column)] as i8;
                let noise = (value + mask - (i64::from(byte) << 16)) & 0xff_ffff;
                noise.min((1 << 24) - noise)
            })
            .max()
            .expect("columns");
        assert!(worst < 1 << 12, "the limit is 2^15, the worst was {worst}");
    }
}
