//! `PartialInspiRING`: 1024 LWE ciphertexts become one RLWE ciphertext under one key-switching key.
//!
//! Mahdavi, Patel, Seo, Yeo, *`InsPIRe`* (eprint 2025/1352), Algorithm 2, for packs of d/2 = 1024. Whatever depends
//! on public randomness and the database alone happens here once, in [`prepare`]; a query then costs one product
//! of the prepared digits with rotations of the asker's key. Two things are as the paper allows rather than as it
//! writes them:
//!
//! - the sums of stage 2, for all automorphisms at once, are evaluations of one polynomial per position, so they are
//!   taken by transforms of the columns instead of d^3 products;
//! - the gadget is approximate (appendix G.1) with base 2^28 and two digits of which the lower is left out, so the
//!   key is one polynomial. The noise of packing, by Theorem 4 and G.1 together, has a standard deviation of at most
//!   2^39.9 beside Q/512 = 2^47.

use super::ring::{self, centred, compose, Poly, DEGREE, HALF, Q2};
use super::sample::Stream;
use rayon::prelude::*;

/// How many ciphertexts one pack holds.
pub const PACK: usize = HALF;
/// The base of the gadget is 2 to this.
pub const GADGET_BITS: u32 = 28;
/// Key switches of one pack.
pub const SWITCHES: usize = PACK - 1;
/// Evaluations that are summed together; the prepared digits lie in tiles of this width.
pub const LANES: usize = 32;
const TILES: usize = DEGREE / LANES;
/// Prepared numbers of one pack: for each prime, tile and switch, a row of lanes.
pub const PREPARED: usize = 2 * TILES * SWITCHES * LANES;
/// Products that are added before a sum is folded: 8 * 2^60 + 2^51 is below 2^64.
pub(super) const FOLD: usize = 8;

/// The public half of the key-switching key: uniform, from the index's seed.
pub struct PublicKey {
    first: Poly,
    second: Poly,
}

impl PublicKey {
    /// The half that belongs to a seed.
    #[must_use]
    pub fn of(seed: &[u8; 32]) -> Self {
        let mut stream = Stream::public(seed, "fondaco/pir/switch", 0);
        Self {
            first: stream.uniform(ring::first()),
            second: stream.uniform(ring::second()),
        }
    }

    /// Its residues modulo both primes, as evaluations.
    #[must_use]
    pub fn residues(&self) -> (&Poly, &Poly) {
        (&self.first, &self.second)
    }
}

/// What is prepared of one pack.
pub struct Pack {
    /// `PREPARED` residues: the digits of each key switch, as evaluations.
    pub digits: Vec<u32>,
    /// The random part of the packed ciphertext, the same for all queries: numbers below Q, coefficients.
    pub random: Vec<u64>,
}

/// acc += a * b over evaluations; sums stay below 2^64 for 15 terms.
#[inline(always)]
pub(super) fn gather_body(a: &Poly, b: &Poly, out: &mut [u64; DEGREE]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out += u64::from(a) * u64::from(b);
    }
}

/// What 2^32 is modulo a prime: small, as both lie just below a power of two.
#[inline(always)]
pub(super) const fn carry(q: u32) -> u64 {
    (1u64 << 32) % q as u64
}

/// A smaller number of the same residue: below 2^51, for any x.
#[inline(always)]
pub(super) const fn fold(x: u64, carry: u64) -> u64 {
    (x >> 32) * carry + (x & 0xffff_ffff)
}

/// One tile of one prime: out[n][l] = digit[k][l] * key[n][k + l] summed over all switches k, unreduced.
///
/// Values of the keys are below 2^32.
#[inline(always)]
pub(super) fn lanes_body(tile: &[u32], keys: &[&[u64]], q: u32, out: &mut [[u64; LANES]]) {
    let carry = carry(q);
    for (key, sums) in keys.iter().zip(out) {
        *sums = [0; LANES];
        for (k, digits) in tile.chunks_exact(LANES).enumerate() {
            for ((sum, &digit), &value) in sums.iter_mut().zip(digits).zip(&key[k..k + LANES]) {
                *sum += u64::from(digit) * value;
            }
            if k % FOLD == FOLD - 1 {
                for sum in sums.iter_mut() {
                    *sum = fold(*sum, carry);
                }
            }
        }
    }
}

/// The digit of the approximate gadget: x / 2^28, rounded, of the representative nearest to zero.
#[inline(always)]
fn digit(x: u64) -> i32 {
    ((centred(x) + (1 << (GADGET_BITS - 1))) >> GADGET_BITS) as i32
}

/// Prepare one pack of the random parts of up to 1024 first-layer ciphertexts: evaluations modulo the first prime.
///
/// # Panics
/// If there are more.
#[must_use]
pub fn prepare(columns: &[Box<Poly>], key: &PublicKey) -> Pack {
    assert!(columns.len() <= PACK);
    let mut parts = aggregate(columns);
    let mut digits = vec![0u32; PREPARED];
    let (first, second) = (ring::first(), ring::second());
    let mut carried = (ring::zero(), ring::zero());
    for k in (0..SWITCHES).rev() {
        let mut low = parts.pop().expect("one part for each automorphism");
        let mut high = carried.1;
        for (value, &more) in low.iter_mut().zip(carried.0.iter()) {
            *value = first.plus(*value, more);
        }
        first.invert(&mut low);
        second.invert(&mut high);
        for (low, high) in low.iter_mut().zip(high.iter_mut()) {
            let digit = digit(compose(*low, *high));
            (*low, *high) = (first.signed(digit), second.signed(digit));
        }
        first.transform(&mut low);
        second.transform(&mut high);
        store(&mut digits, k, &low, &high);
        rotated_product(&mut low, &key.first, k, first);
        rotated_product(&mut high, &key.second, k, second);
        carried = (low, high);
    }
    let mut low = parts.pop().expect("the part under the secret itself");
    for (value, &more) in low.iter_mut().zip(carried.0.iter()) {
        *value = first.plus(*value, more);
    }
    let mut high = carried.1;
    first.invert(&mut low);
    second.invert(&mut high);
    let random = low
        .iter()
        .zip(high.iter())
        .map(|(&low, &high)| compose(low, high))
        .collect();
    Pack { digits, random }
}

/// Stages 1 and 2: the part under each `tau_5^i(s)`, i below 1024, of the sum of all ciphertexts times X^k, lifted to Q.
///
/// Lifting multiplies by the second prime, which leaves nothing modulo it.
fn aggregate(columns: &[Box<Poly>]) -> Vec<Box<Poly>> {
    let prime = ring::first();
    let factor = prime.times(Q2 % prime.q, ring::inverse(PACK as u32, prime.q));
    let mut parts: Vec<Box<Poly>> = (0..PACK).map(|_| ring::zero()).collect();
    let mut across = ring::zero();
    for half in 0..2 {
        for m in 0..HALF {
            across[columns.len()..].fill(0);
            for (value, column) in across.iter_mut().zip(columns) {
                *value = prime.times(column[half * HALF + m], factor);
            }
            prime.transform(&mut across);
            for j in 0..HALF {
                parts[(m + HALF - j) % HALF][half * HALF + j] = across[half * HALF + j];
            }
        }
    }
    parts
}

fn store(digits: &mut [u32], k: usize, low: &Poly, high: &Poly) {
    for (poly, prepared) in [low, high]
        .into_iter()
        .zip(digits.chunks_exact_mut(PREPARED / 2))
    {
        for (lanes, tile) in poly
            .chunks_exact(LANES)
            .zip(prepared.chunks_exact_mut(SWITCHES * LANES))
        {
            tile[k * LANES..][..LANES].copy_from_slice(lanes);
        }
    }
}

fn rotated_product(poly: &mut Poly, key: &Poly, k: usize, prime: &ring::Prime) {
    for half in [0, HALF] {
        for j in 0..HALF {
            poly[half + j] = prime.times(poly[half + j], key[half + (j + k) % HALF]);
        }
    }
}

/// An asker's half of the key-switching key: evaluations modulo both primes.
#[derive(Clone)]
pub struct SwitchKey {
    /// Modulo the first prime.
    pub first: Box<Poly>,
    /// Modulo the second prime.
    pub second: Box<Poly>,
}

/// Bytes of a key: for each place seven, of which 30 bits are modulo the first prime and 26 modulo the second.
pub(super) const KEY_BYTES: usize = 7 * DEGREE;

impl SwitchKey {
    /// As bytes, into `KEY_BYTES`.
    pub(super) fn to_bytes(&self, out: &mut [u8]) {
        let both = self.first.iter().zip(self.second.iter());
        for (out, (&low, &high)) in out.chunks_exact_mut(7).zip(both) {
            out.copy_from_slice(&(u64::from(low) | u64::from(high) << 30).to_le_bytes()[..7]);
        }
    }

    /// From `KEY_BYTES`, strictly: every residue below its prime.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut first, mut second) = (ring::zero(), ring::zero());
        for ((seven, low), high) in bytes
            .chunks_exact(7)
            .zip(first.iter_mut())
            .zip(second.iter_mut())
        {
            let mut eight = [0u8; 8];
            eight[..7].copy_from_slice(seven);
            let both = u64::from_le_bytes(eight);
            *low = (both & 0x3fff_ffff) as u32;
            *high = (both >> 30) as u32;
            if *low >= ring::Q1 || *high >= Q2 {
                return None;
            }
        }
        Some(Self { first, second })
    }

    /// Each half twice over, so that a rotation is a slice; widened, so that a product takes it as it lies.
    fn doubled(&self) -> [Vec<u64>; 2] {
        [&self.first, &self.second].map(|poly| {
            let halves = [&poly[..HALF], &poly[..HALF], &poly[HALF..], &poly[HALF..]];
            halves
                .into_iter()
                .flatten()
                .map(|&value| u64::from(value))
                .collect()
        })
    }
}

/// Pack the answers of many queries: for each, numbers below Q, 1024 for each pack.
///
/// `sums[v]` are the first layer's sums of query v, 1024 for each pack.
#[must_use]
pub fn pack(prepared: &[u32], keys: &[&SwitchKey], sums: &[Vec<u32>]) -> Vec<Vec<u64>> {
    let doubled: Vec<_> = keys.iter().map(|key| key.doubled()).collect();
    let packs: Vec<Vec<Vec<u64>>> = prepared
        .par_chunks_exact(PREPARED)
        .enumerate()
        .map(|(pack, digits)| {
            let sums: Vec<&[u32]> = sums
                .iter()
                .map(|sums| &sums[pack * PACK..][..PACK])
                .collect();
            one_pack(digits, &doubled, &sums)
        })
        .collect();
    (0..keys.len())
        .map(|v| {
            packs
                .iter()
                .flat_map(|pack| pack[v].iter().copied())
                .collect()
        })
        .collect()
}

fn one_pack(digits: &[u32], keys: &[[Vec<u64>; 2]], sums: &[&[u32]]) -> Vec<Vec<u64>> {
    let primes = [ring::first(), ring::second()];
    let mut switched: Vec<[Box<Poly>; 2]> =
        keys.iter().map(|_| [ring::zero(), ring::zero()]).collect();
    for (which, (prime, prepared)) in primes
        .iter()
        .zip(digits.chunks_exact(PREPARED / 2))
        .enumerate()
    {
        for (at, tile) in prepared.chunks_exact(SWITCHES * LANES).enumerate() {
            let from = at * LANES;
            // Behind the first half of a doubled key lies its copy: the second half begins at twice its place.
            let start = from + if from < HALF { 0 } else { HALF };
            for (keys, switched) in keys.chunks(4).zip(switched.chunks_mut(4)) {
                let mut lanes = [[0u64; LANES]; 4];
                let lanes = &mut lanes[..keys.len()];
                let rotated: Vec<&[u64]> = keys.iter().map(|key| &key[which][start..]).collect();
                super::simd::lanes(tile, &rotated, prime.q, lanes);
                for (switched, lanes) in switched.iter_mut().zip(lanes) {
                    for (to, sum) in switched[which][from..from + LANES].iter_mut().zip(lanes) {
                        *to = (*sum % u64::from(prime.q)) as u32;
                    }
                }
            }
        }
    }
    switched
        .into_iter()
        .zip(sums)
        .map(|([mut low, mut high], sums)| {
            primes[0].invert(&mut low);
            primes[1].invert(&mut high);
            low.iter()
                .zip(high.iter())
                .zip(*sums)
                .map(|((&low, &high), &sum)| {
                    let lifted = primes[0].times(sum, Q2 % primes[0].q);
                    compose(primes[0].plus(low, lifted), high)
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dispatched_lanes_are_the_portable_ones_at_the_largest_values() {
        for q in [ring::Q1, ring::Q2] {
            let tile = vec![q - 1; SWITCHES * LANES];
            let key: Vec<u64> = (0..2 * HALF as u64)
                .map(|i| u64::from(q) - 1 - i % 3)
                .collect();
            for count in 1..=6 {
                let keys: Vec<&[u64]> = (0..count).map(|n| &key[n..]).collect();
                let (mut fast, mut plain) =
                    (vec![[1u64; LANES]; count], vec![[2u64; LANES]; count]);
                super::super::simd::lanes(&tile, &keys, q, &mut fast);
                lanes_body(&tile, &keys, q, &mut plain);
                for (fast, plain) in fast.iter().flatten().zip(plain.iter().flatten()) {
                    assert_eq!(fast % u64::from(q), plain % u64::from(q));
                }
                let expected: u128 = (0..SWITCHES)
                    .map(|k| u128::from(q - 1) * u128::from(key[k]))
                    .sum();
                assert_eq!(
                    u128::from(plain[0][0] % u64::from(q)),
                    expected % u128::from(q)
                );
            }
        }
    }
}
