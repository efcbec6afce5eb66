//! The database as a matrix that answers queries: single-server retrieval that does not show what is retrieved.
//!
//! The framework of YPIR (Menon and Wu, eprint 2024/270, the SimplePIR variant) with the ring packing of InsPIRe
//! (eprint 2025/1352, section 6). A query encrypts, for each table, the indicator vector of three rows, whose sum is
//! what keyword retrieval asks for (ChalametPIR, eprint 2024/092; see `fuse`); the server multiplies, packs 1024 sums
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

use super::pack::{self, PublicKey, SwitchKey, PACK, PREPARED};
use super::ring::{self, Poly, DEGREE, HALF, Q, Q1};
use super::sample::Stream;
use super::scan::scan;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
const ANSWER_BITS: u32 = 16;
const RANDOM_BITS: u32 = 24;
/// A selected row is the message 1, scaled to Q1 / 256.
const SCALE: u32 = Q1 / 256;

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
        7 * DEGREE + 4 * self.rows() * self.tables
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
            && self.width % 4 == 0
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
    /// The encrypted indicator vectors of all tables, residues modulo the first prime.
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
    let mut sums = vec![Vec::with_capacity(shape.packs() * PACK); queries.len()];
    for (table, data) in data.chunks_exact(shape.table_bytes()).enumerate() {
        let part = table * shape.rows()..(table + 1) * shape.rows();
        let selections: Vec<&[u32]> = queries
            .iter()
            .map(|query| &query.selection[part.clone()])
            .collect();
        for (sums, found) in sums.iter_mut().zip(scan(data, shape.width, &selections)) {
            sums.extend(found);
        }
    }
    for sums in &mut sums {
        sums.resize(shape.packs() * PACK, 0);
    }
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

    /// Ask each table for the sum of three rows, which differ, or for nothing (`NOWHERE`).
    ///
    /// # Panics
    /// If there is not one wish for each table.
    #[must_use]
    pub fn query(&self, wishes: &[[u32; ONES]]) -> (Secret, Query) {
        assert_eq!(wishes.len(), self.shape.tables);
        let mut stream = Stream::secret();
        let mut secret = Secret(vec![0i32; DEGREE]);
        stream.gaussian(&mut secret.0);
        let (mut first, mut second) = transformed(&secret);
        let key = self.switch_key(&first, &second, &mut stream);
        let mut selection = Vec::with_capacity(self.shape.tables * self.shape.rows());
        let mut error = [0i32; DEGREE];
        let prime = ring::first();
        for (number, public) in self.blocks.iter().enumerate() {
            let wish = wishes[number / self.shape.blocks];
            let first_row = (number % self.shape.blocks * DEGREE) as u32;
            let mut poly = ring::zero();
            for ((value, &a), &s) in poly.iter_mut().zip(public).zip(first.iter()) {
                *value = prime.times(a, s);
            }
            prime.invert(&mut poly);
            stream.gaussian(&mut error);
            for (at, (&product, &error)) in poly.iter().zip(&error).enumerate() {
                // The wanted rows are found by arithmetic, so that which they are does not show in time.
                let here = u64::from(first_row + at as u32);
                let wanted: u64 = wish
                    .iter()
                    .map(|&row| (here ^ u64::from(row)).wrapping_sub(1) >> 63)
                    .sum();
                let noisy = prime.plus(prime.q - product, prime.signed(error));
                selection.push(prime.plus(noisy, wanted as u32 * SCALE));
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

    /// The sums in an answer, `width` bytes of each table in turn; None if the answer has another length.
    #[must_use]
    pub fn decode(&self, secret: &Secret, answer: &[u8]) -> Option<Vec<u8>> {
        if answer.len() != self.shape.answer_bytes() {
            return None;
        }
        let (mut first, mut second) = transformed(secret);
        let mut row = Vec::with_capacity(self.shape.columns());
        for (answer, (low, high)) in answer.chunks(2 * PACK).zip(&self.random) {
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
    fn sums_of_any_rows_are_answered_and_many_at_once() {
        let shape = Shape {
            tables: 3,
            blocks: 2,
            width: 700,
        };
        let (data, seed) = (matrix(shape), [9; 32]);
        let prepared = prepare(shape, &seed, &data);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let wishes = [
            [[0, 1, 2], [4095, 2047, 2048], NOWHERE],
            [NOWHERE, NOWHERE, NOWHERE],
            [NOWHERE, [5, 6, 4000], [7, 9, 8]],
        ];
        let (secrets, queries): (Vec<_>, Vec<_>) =
            wishes.iter().map(|wish| public.query(wish)).unzip();
        let queries: Vec<Query> = queries
            .iter()
            .map(|query| Query::from_bytes(shape, &query.to_bytes()).expect("its own bytes"))
            .collect();
        let answers = answer(shape, &data, &prepared.digits, &queries);
        for ((wishes, secret), answer) in wishes.iter().zip(&secrets).zip(&answers) {
            let sums = public.decode(secret, answer).expect("of the right length");
            assert_eq!(sums.len(), shape.columns());
            for (table, wish) in wishes
                .iter()
                .enumerate()
                .filter(|(_, wish)| **wish != NOWHERE)
            {
                for column in 0..shape.width {
                    let bytes =
                        wish.map(|row| data[place(shape, table, row as usize, column)] ^ 0x80);
                    let sum = bytes.into_iter().fold(0u8, u8::wrapping_add);
                    assert_eq!(sums[table * shape.width + column], sum, "{wish:?} {column}");
                }
            }
        }
    }

    #[test]
    fn noise_stays_far_from_the_limit() {
        let shape = Shape {
            tables: 1,
            blocks: 2,
            width: 1024,
        };
        let (data, seed) = (matrix(shape), [3; 32]);
        let prepared = prepare(shape, &seed, &data);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let rows = [77, 2047, 2048];
        let (secret, query) = public.query(&[rows]);
        let answer = &answer(shape, &data, &prepared.digits, &[query])[0];
        let (first, second) = transformed(&secret);
        let masks = mask(&public.random[0].0, &public.random[0].1, &first, &second);
        let worst = answer
            .chunks_exact(2)
            .zip(masks)
            .enumerate()
            .map(|(column, (two, mask))| {
                let value = i64::from(u16::from_le_bytes([two[0], two[1]])) << 8;
                let bytes =
                    rows.map(|row| i64::from(data[place(shape, 0, row as usize, column)] as i8));
                let noise = (value + mask - (bytes.iter().sum::<i64>() << 16)) & 0xff_ffff;
                noise.min((1 << 24) - noise)
            })
            .max()
            .expect("columns");
        assert!(worst < 1 << 12, "the limit is 2^15, the worst was {worst}");
    }
}
