//! A cuckoo table of three hash functions without a stash: each key in one of three bins, each bin with one key at most.
//!
//! How many bins: a placement exists unless some t keys have all their bins among t - 1 (Hall's theorem). In a smallest
//! such set every one of the t - 1 bins is one of at least two of its keys, for a key that alone has a bin could be left
//! out. So with m bins the probability that there is none is at most the sum over t of
//! C(n, t) C(m, t-1) min(A, B), where A = (C(t-1, 3) / C(m, 3))^t counts keys whose bins are all among those t - 1, and
//! B = (3t)! (e^z - 1 - z)^(t-1) z^(-3t) / (m (m-1) (m-2))^t, for any z > 0, counts choices that hit each of them twice (the
//! coefficient of z^(3t) in the generating function of bins of two and more, bounded by the function's value). The
//! numbers below make the sum at most 2^-41 (the tests add it up); for a million keys they are 1.306 bins a key.
//! Pinkas, Schneider, Zohner (eprint 2016/930) found 1.27 by trials; this is a bound.
//!
//! Placement follows shortest augmenting paths, so it succeeds whenever a placement exists. Its time and its memory
//! accesses depend on the owner's keys, and nobody else sees them.

use rayon::prelude::*;

use crate::block::Block;
use crate::permutation::Permutation;
use crate::protocol::Fault;

/// Bins that a key may be in.
pub const HASHES: usize = 3;
/// The most bins of one table, so that a comparison word has 62 bits at most.
pub const MAX_BINS: usize = 1 << 22;
/// In a table: no key.
pub const FREE: u32 = u32::MAX;

const SEED: Block = Block(u128::from_le_bytes(*b"fondaco/opprf/bn"));
const CHUNK: usize = 1 << 12;
/// Bits of a hash that choose one bin; a bin's probability is off by a factor below 1 + 2^-19.
const HASH_BITS: u32 = 42;
/// Bins for so many keys or fewer; beyond them a share of the keys, in thousandths.
const FEW: [(usize, usize); 8] = [
    (4, 44),
    (8, 72),
    (16, 104),
    (32, 145),
    (64, 201),
    (128, 276),
    (256, 378),
    (512, 702),
];
const SOME: (usize, usize) = (4096, 1370);
const MANY: usize = 1306;

/// How many bins a table of so many keys has.
#[must_use]
pub fn bins_for(keys: usize) -> usize {
    for (most, bins) in FEW {
        if keys <= most {
            return bins;
        }
    }
    let thousandths = if keys <= SOME.0 { SOME.1 } else { MANY };
    (keys * thousandths).div_ceil(1000)
}

fn below(hash: u128, range: usize) -> u32 {
    let word = hash & ((1 << HASH_BITS) - 1);
    #[allow(clippy::cast_possible_truncation)] // below the range, which is below 2^32
    {
        ((word * range as u128) >> HASH_BITS) as u32
    }
}

fn three(hash: u128, bins: usize) -> [u32; HASHES] {
    let (a, mut b, mut c) = (
        below(hash, bins),
        below(hash >> HASH_BITS, bins - 1),
        below(hash >> (2 * HASH_BITS), bins - 2),
    );
    b += u32::from(b >= a);
    let (low, high) = (a.min(b), a.max(b));
    c += u32::from(c >= low);
    c += u32::from(c >= high);
    [a, b, c]
}

/// The three different bins of each key, of so many.
#[must_use]
pub fn choices(keys: &[Block], bins: usize) -> Vec<[u32; HASHES]> {
    let permutation = Permutation::new(SEED);
    let mut out = vec![[0; HASHES]; keys.len()];
    out.par_chunks_mut(CHUNK)
        .zip(keys.par_chunks(CHUNK))
        .for_each(|(slots, keys)| {
            let mut hashes = keys.to_vec();
            permutation.hash_each(&mut hashes);
            for (slot, hash) in slots.iter_mut().zip(hashes) {
                *slot = three(hash.0, bins);
            }
        });
    out
}

/// A table: for each bin the place of its key, or [`FREE`].
///
/// # Errors
/// `Fault::Unlucky` where no placement exists, with probability at most 2^-41 for [`bins_for`] bins.
pub fn place(choices: &[[u32; HASHES]], bins: usize) -> Result<Vec<u32>, Fault> {
    let mut search = Search {
        table: vec![FREE; bins],
        seen: vec![FREE; bins],
        before: vec![FREE; bins],
        waiting: Vec::new(),
    };
    #[allow(clippy::cast_possible_truncation)] // fewer keys than bins
    for key in 0..choices.len() as u32 {
        search.insert(key, choices)?;
    }
    Ok(search.table)
}

/// The table of so many keys in the bins that [`bins_for`] gives them.
///
/// # Errors
/// As [`place`].
pub fn table_of(keys: &[Block]) -> Result<Vec<u32>, Fault> {
    let bins = bins_for(keys.len());
    place(&choices(keys, bins), bins)
}

struct Search {
    table: Vec<u32>,
    /// The key in whose search a bin was last seen.
    seen: Vec<u32>,
    /// The bin whose key would move here; `FREE` for the new key's own bins.
    before: Vec<u32>,
    waiting: Vec<u32>,
}

impl Search {
    fn insert(&mut self, key: u32, choices: &[[u32; HASHES]]) -> Result<(), Fault> {
        self.waiting.clear();
        if let Some(found) = self.reach(key, FREE, &choices[key as usize]) {
            self.shift(key, found);
            return Ok(());
        }
        let mut at = 0;
        while at < self.waiting.len() {
            let bin = self.waiting[at];
            let mover = self.table[bin as usize];
            if let Some(found) = self.reach(key, bin, &choices[mover as usize]) {
                self.shift(key, found);
                return Ok(());
            }
            at += 1;
        }
        Err(Fault::Unlucky {
            what: "the placement of the keys",
        })
    }

    /// See these bins as coming after `from`; the first free one.
    fn reach(&mut self, key: u32, from: u32, bins: &[u32; HASHES]) -> Option<u32> {
        for bin in *bins {
            if self.seen[bin as usize] == key {
                continue;
            }
            self.seen[bin as usize] = key;
            self.before[bin as usize] = from;
            if self.table[bin as usize] == FREE {
                return Some(bin);
            }
            self.waiting.push(bin);
        }
        None
    }

    /// Move every key on the path to `free` one on, and put the new one in the first bin.
    fn shift(&mut self, key: u32, mut free: u32) {
        while self.before[free as usize] != FREE {
            let from = self.before[free as usize];
            self.table[free as usize] = self.table[from as usize];
            free = from;
        }
        self.table[free as usize] = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::okvs::parameters::STATISTICAL;
    use proptest::prelude::*;

    fn drawn(seed: u128, count: usize) -> Vec<Block> {
        let mut out = vec![Block::ZERO; count];
        Permutation::new(Block(seed)).stream(0, &mut out);
        out
    }

    /// ln k! for k up to `most`.
    #[allow(clippy::cast_precision_loss)]
    fn logs(most: usize) -> Vec<f64> {
        let mut out = vec![0.0; most + 1];
        for k in 1..=most {
            out[k] = out[k - 1] + (k as f64).ln();
        }
        out
    }

    /// log2 of the bound in this file's first lines, for n keys in m bins.
    #[allow(clippy::cast_precision_loss)]
    fn bound(n: usize, m: usize, ln: &[f64]) -> f64 {
        const Z: f64 = 2.149;
        let of = |n: usize, k: usize| ln[n] - ln[k] - ln[n - k];
        let triples = (m as f64).ln() + ((m - 1) as f64).ln() + ((m - 2) as f64).ln();
        let pairs = (Z.exp() - 1.0 - Z).ln();
        let mut sum = 0.0;
        for t in 4..=n {
            let (keys, others) = (t as f64, (t - 1) as f64);
            let inside = keys * (of(t - 1, 3) - of(m, 3));
            let twice = ln[3 * t] + others * pairs - 3.0 * keys * Z.ln() - keys * triples;
            sum += (of(n, t) + of(m, t - 1) + inside.min(twice)).exp();
        }
        sum.log2()
    }

    #[test]
    fn the_bound_on_failures_holds_for_every_size() {
        let most = 1 << 21;
        let ln = logs(3 * most + 8);
        let few = (4..700).chain((700..6000).step_by(97));
        let many = [4096, 4097, 8192, 20_000, 1 << 16, 300_000, 1 << 20, most];
        for keys in few.chain(many) {
            let found = bound(keys, bins_for(keys), &ln);
            assert!(found <= -f64::from(STATISTICAL) - 1.0, "{keys}: 2^{found}");
        }
    }

    #[test]
    fn a_table_of_too_few_bins_fails_as_often_as_bins_coincide() {
        // Four keys in three bins fail always; five bins for four keys fail where all four have the same three of ten.
        assert!(place(&choices(&drawn(1, 4), 3), 3).is_err());
        let trials = 40_000u32;
        let mut failed = 0;
        for trial in 0..trials {
            let keys = drawn(u128::from(trial) + (1 << 70), 4);
            failed += u32::from(place(&choices(&keys, 5), 5).is_err());
        }
        let expected = trials / 1000;
        assert!((expected / 2..expected * 2).contains(&failed), "{failed}");
    }

    proptest! {
        #[test]
        fn every_key_is_in_one_of_its_bins(seed: u128, count in 0usize..3000) {
            let keys = drawn(seed, count);
            let bins = bins_for(count);
            let choices = choices(&keys, bins);
            let table = place(&choices, bins).expect("a placement");
            prop_assert_eq!(table.len(), bins);
            let mut found = vec![0; count];
            for (bin, key) in table.iter().enumerate().filter(|(_bin, key)| **key != FREE) {
                found[*key as usize] += 1;
                prop_assert!(choices[*key as usize].iter().any(|choice| *choice as usize == bin));
            }
            prop_assert!(found.iter().all(|count| *count == 1));
        }

        #[test]
        fn three_bins_are_different_and_within(hash: u128, bins in 3usize..MAX_BINS) {
            let [a, b, c] = three(hash, bins);
            prop_assert!(a != b && b != c && a != c);
            prop_assert!([a, b, c].iter().all(|bin| (*bin as usize) < bins));
        }
    }
}
