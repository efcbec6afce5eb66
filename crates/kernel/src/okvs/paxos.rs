//! The clustered store of Raghuraman and Rindal (CCS 2022, eprint 2022/320): keys go to bins by their hash, and each
//! bin is a store of weight three with a few dense columns over GF(2^128).
//!
//! A row has three sparse columns of coefficient 1, and dense coefficients r, r^2, ... of the key's hash r. Encoding
//! peels: a column that one row alone uses decides that row, which is set aside; what peeling leaves over (two keys
//! of the same three columns, mostly) is solved with the dense columns, then the rows that were set aside are
//! solved backwards. Bins are independent, so threads take one each, and a bin's vector stays in the cache.
//!
//! Time and memory accesses depend on the keys' hashes under the store's seed, which both parties know in the end,
//! and not on the values. The vector hides nothing of the keys unless it is filled at random or masked.

use rayon::prelude::*;

use super::parameters::{Parameters, MAX_KEYS, STATISTICAL};
use super::rest::{solve, Equation};
use super::{Okvs, Rows};
use crate::block::Block;
use crate::permutation::Permutation;
use crate::protocol::Fault;
use crate::simd::clmul::add_polynomials;

/// The clustered store.
#[derive(Clone)]
pub struct Paxos {
    shape: Parameters,
    hash: Permutation,
}

/// Keys by bins, within a bin in the order of the input; every vector has one element a key.
pub struct PaxosRows {
    /// Where each bin ends.
    ends: Vec<usize>,
    keys: Vec<Block>,
    points: Vec<Block>,
    order: Vec<u32>,
    places: Vec<[u32; 3]>,
}

/// The rows of one bin.
struct Bin<'a> {
    keys: &'a [Block],
    points: &'a [Block],
    places: &'a [[u32; 3]],
}

impl PaxosRows {
    fn bins(&self) -> impl Iterator<Item = Bin<'_>> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let rows = std::mem::replace(&mut from, *end)..*end;
            Bin {
                keys: &self.keys[rows.clone()],
                points: &self.points[rows.clone()],
                places: &self.places[rows],
            }
        })
    }
}

impl Rows for PaxosRows {
    fn keys(&self) -> &[Block] {
        &self.keys
    }

    fn order(&self) -> Vec<u32> {
        self.order.clone()
    }
}

/// The room of one bin for the keys of one part of the input: keys, points, places in the input.
type Room<'a> = (&'a mut [Block], &'a mut [Block], &'a mut [u32]);

/// Scale a 32-bit hash to a number below `range`; the bias is at most range / 2^32.
fn below(hash: u128, range: usize) -> u32 {
    #[allow(clippy::cast_possible_truncation)]
    let word = u64::from(hash as u32);
    ((word * range as u64) >> 32) as u32
}

/// Three different columns: the second is drawn among one fewer and skips the first, and so on.
fn columns(hash: u128, sparse: usize) -> [u32; 3] {
    let (a, mut b, mut c) = (
        below(hash, sparse),
        below(hash >> 32, sparse - 1),
        below(hash >> 64, sparse - 2),
    );
    b += u32::from(b >= a);
    let (low, high) = (a.min(b), a.max(b));
    c += u32::from(c >= low);
    c += u32::from(c >= high);
    [a, b, c]
}

impl Paxos {
    /// The store for so many keys under a public seed.
    ///
    /// # Errors
    /// `Fault::Input` for more than `MAX_KEYS` keys.
    pub fn new(keys: usize, seed: Block) -> Result<Self, Fault> {
        if keys > MAX_KEYS {
            return Err(Fault::Input {
                what: "more keys than one store can have",
            });
        }
        Ok(Self {
            shape: Parameters::new(keys, STATISTICAL),
            hash: Permutation::new(seed),
        })
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> &Parameters {
        &self.shape
    }

    fn bin(&self, point: Block) -> usize {
        below(point.0 >> 96, self.shape.bins) as usize
    }

    /// Put the keys of one part of the input, which begins at `from`, where their bins have room for them.
    fn scatter(&self, keys: &[Block], points: &[Block], from: usize, rooms: &mut [Room<'_>]) {
        let mut next = vec![0; rooms.len()];
        for (index, (key, point)) in keys.iter().zip(points).enumerate() {
            let bin = self.bin(*point);
            let (keys, points, order) = &mut rooms[bin];
            let at = next[bin];
            (keys[at], points[at]) = (*key, *point);
            #[allow(clippy::cast_possible_truncation)] // at most MAX_KEYS
            {
                order[at] = (from + index) as u32;
            }
            next[bin] = at + 1;
        }
    }

    fn encode_bin(
        &self,
        bin: &Bin<'_>,
        values: &[Block],
        fill: Option<Block>,
        vector: &mut [Block],
    ) -> Result<(), Fault> {
        if let Some(seed) = fill {
            Permutation::new(seed).stream(0, vector);
        }
        let (peeled, rest) = peel(bin.places, self.shape.sparse);
        if !rest.is_empty() {
            let equations: Vec<Equation> = rest
                .iter()
                .map(|row| Equation {
                    places: bin.places[*row],
                    point: bin.points[*row],
                    value: values[*row],
                })
                .collect();
            let mut keys: Vec<Block> = rest.iter().map(|row| bin.keys[*row]).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Fault::Input {
                    what: "a key comes twice",
                });
            }
            solve(&equations, vector, self.shape.sparse)?;
        }
        let (sparse, dense) = vector.split_at_mut(self.shape.sparse);
        let mut right = values.to_vec();
        if dense.iter().any(|d| *d != Block::ZERO) {
            add_polynomials(&mut right, bin.points, dense);
        }
        for (row, column) in peeled.iter().rev() {
            let [a, b, c] = bin.places[*row as usize].map(|p| p as usize);
            let column = *column as usize;
            let others = sparse[a] ^ sparse[b] ^ sparse[c] ^ sparse[column];
            sparse[column] = right[*row as usize] ^ others;
        }
        Ok(())
    }
}

/// Rows in the order in which a column set them aside, each with that column, and the rows that are left over.
fn peel(places: &[[u32; 3]], sparse: usize) -> (Vec<(u32, u32)>, Vec<usize>) {
    // For each column how many rows use it, and the exclusive or of their numbers: with one left, its number.
    let mut users = vec![(0u32, 0u32); sparse];
    #[allow(clippy::cast_possible_truncation)] // at most MAX_KEYS
    for (row, columns) in places.iter().enumerate() {
        for column in columns {
            let user = &mut users[*column as usize];
            *user = (user.0 + 1, user.1 ^ row as u32);
        }
    }
    #[allow(clippy::cast_possible_truncation)]
    let mut single: Vec<u32> = (0..sparse as u32)
        .filter(|c| users[*c as usize].0 == 1)
        .collect();
    let mut peeled = Vec::with_capacity(places.len());
    while let Some(column) = single.pop() {
        let (count, row) = users[column as usize];
        if count != 1 {
            continue;
        }
        peeled.push((row, column));
        for other in places[row as usize] {
            let user = &mut users[other as usize];
            *user = (user.0 - 1, user.1 ^ row);
            if user.0 == 1 {
                single.push(other);
            }
        }
    }
    let mut rest = Vec::new();
    if peeled.len() < places.len() {
        let mut done = vec![false; places.len()];
        for (row, _column) in &peeled {
            done[*row as usize] = true;
        }
        rest = (0..places.len()).filter(|row| !done[*row]).collect();
    }
    (peeled, rest)
}

impl Okvs for Paxos {
    type Rows = PaxosRows;

    fn size(&self) -> usize {
        self.shape.size()
    }

    fn rows(&self, keys: &[Block]) -> Result<PaxosRows, Fault> {
        if keys.len() > MAX_KEYS {
            return Err(Fault::Input {
                what: "more keys than one store can have",
            });
        }
        let part = keys.len().div_ceil(rayon::current_num_threads()).max(1);
        let mut hashed = keys.to_vec();
        let counts: Vec<Vec<usize>> = hashed
            .par_chunks_mut(part)
            .map(|points| {
                self.hash.hash_each(points);
                let mut counts = vec![0; self.shape.bins];
                for point in points {
                    counts[self.bin(*point)] += 1;
                }
                counts
            })
            .collect();
        let mut rows = PaxosRows {
            ends: Vec::with_capacity(self.shape.bins),
            keys: vec![Block::ZERO; keys.len()],
            points: vec![Block::ZERO; keys.len()],
            order: vec![0; keys.len()],
            places: Vec::new(),
        };
        let mut left: Room<'_> = (&mut rows.keys, &mut rows.points, &mut rows.order);
        let mut rooms: Vec<Vec<Room<'_>>> = counts.iter().map(|_| Vec::new()).collect();
        let mut end = 0;
        for bin in 0..self.shape.bins {
            for (rooms, counts) in rooms.iter_mut().zip(&counts) {
                let (keys, keys_left) = left.0.split_at_mut(counts[bin]);
                let (points, points_left) = left.1.split_at_mut(counts[bin]);
                let (order, order_left) = left.2.split_at_mut(counts[bin]);
                rooms.push((keys, points, order));
                left = (keys_left, points_left, order_left);
                end += counts[bin];
            }
            rows.ends.push(end);
        }
        keys.par_chunks(part)
            .zip(hashed.par_chunks(part))
            .zip(&mut rooms)
            .enumerate()
            .for_each(|(at, ((keys, points), rooms))| {
                self.scatter(keys, points, at * part, rooms);
            });
        rows.places = rows
            .points
            .par_iter()
            .map(|point| columns(point.0, self.shape.sparse))
            .collect();
        Ok(rows)
    }

    fn encode(
        &self,
        rows: &PaxosRows,
        values: &[Block],
        fill: Option<Block>,
    ) -> Result<Vec<Block>, Fault> {
        let keys = rows.keys.len();
        if values.len() != keys || keys > self.shape.keys {
            return Err(Fault::Input {
                what: "not one value for each key that the store is for",
            });
        }
        if rows.bins().any(|bin| bin.keys.len() > self.shape.room) {
            return Err(Fault::Unlucky {
                what: "the room of a bin",
            });
        }
        let seeds = fill.map(|seed| {
            let mut seeds = vec![Block::ZERO; self.shape.bins];
            Permutation::new(seed).stream(0, &mut seeds);
            seeds
        });
        let mut vector = vec![Block::ZERO; self.size()];
        let mut parts = Vec::with_capacity(self.shape.bins);
        let mut left = values;
        for (index, (bin, out)) in rows
            .bins()
            .zip(vector.chunks_mut(self.shape.bin_size()))
            .enumerate()
        {
            let (mine, others) = left.split_at(bin.keys.len());
            parts.push((bin, mine, seeds.as_ref().map(|s| s[index]), out));
            left = others;
        }
        parts
            .into_par_iter()
            .try_for_each(|(bin, mine, seed, out)| self.encode_bin(&bin, mine, seed, out))?;
        Ok(vector)
    }

    fn decode(&self, rows: &PaxosRows, vector: &[Block]) -> Result<Vec<Block>, Fault> {
        if vector.len() != self.size() {
            return Err(Fault::Input {
                what: "a vector of another size",
            });
        }
        let mut out = vec![Block::ZERO; rows.keys.len()];
        let mut parts = Vec::with_capacity(self.shape.bins);
        let mut left = out.as_mut_slice();
        for (bin, part) in rows.bins().zip(vector.chunks(self.shape.bin_size())) {
            let (mine, others) = left.split_at_mut(bin.keys.len());
            parts.push((bin, part, mine));
            left = others;
        }
        parts.into_par_iter().for_each(|(bin, part, mine)| {
            let (sparse, dense) = part.split_at(self.shape.sparse);
            for (slot, [a, b, c]) in mine.iter_mut().zip(bin.places) {
                *slot = sparse[*a as usize] ^ sparse[*b as usize] ^ sparse[*c as usize];
            }
            add_polynomials(mine, bin.points, dense);
        });
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u128, count: usize) -> Vec<Block> {
        let mut out = vec![Block::ZERO; count];
        Permutation::new(Block(seed)).stream(0, &mut out);
        out
    }

    fn with(keys: usize, security: u32, seed: u128) -> Paxos {
        Paxos {
            shape: Parameters::new(keys, security),
            hash: Permutation::new(Block(seed)),
        }
    }

    /// How many of `trials` stores of `keys` random keys at 2^-`security` have no solution.
    fn failures(keys: usize, security: u32, trials: u128) -> u32 {
        let values = drawn(1, keys);
        (0..trials)
            .into_par_iter()
            .map(|trial| {
                let store = with(keys, security, trial);
                let rows = store.rows(&drawn(trial + (1 << 64), keys)).expect("few");
                u32::from(store.encode(&rows, &values, None).is_err())
            })
            .sum()
    }

    #[test]
    fn encoding_fails_no_more_often_than_the_parameters_say() {
        for (keys, security) in [(64, 4), (256, 4), (1024, 6)] {
            let trials = 6000;
            let most = trials >> security;
            let failed = failures(keys, security, trials);
            assert!(
                u128::from(failed) <= most,
                "{keys} keys at 2^-{security}: {failed} of {trials}"
            );
        }
        assert_eq!(failures(300, STATISTICAL, 4000), 0);
    }

    #[test]
    fn without_dense_columns_it_fails_as_often_as_two_rows_are_equal() {
        // The expected number of pairs with the same three columns is C(n, 2) / C(m, 3); the test shows that the gap is
        // needed, and that the places are as random as the parameters take them to be.
        let (keys, sparse, trials) = (40usize, 90usize, 20_000u128);
        let failed: u32 = (0..trials)
            .into_par_iter()
            .map(|trial| {
                let mut store = with(keys, STATISTICAL, trial);
                store.shape.sparse = sparse;
                store.shape.dense = 0;
                let rows = store.rows(&drawn(trial + (1 << 64), keys)).expect("few");
                u32::from(store.encode(&rows, &drawn(1, keys), None).is_err())
            })
            .sum();
        #[allow(clippy::cast_precision_loss)]
        let expected = trials as f64 * 780.0 / 117_480.0;
        assert!(
            (0.75..1.6).contains(&(f64::from(failed) / expected)),
            "{failed} of {trials}, expected {expected}"
        );
    }

    #[test]
    fn bins_do_not_overflow() {
        let store = with(1 << 18, STATISTICAL, 5);
        assert!(store.shape.bins > 1);
        let rows = store.rows(&drawn(9, 1 << 18)).expect("few");
        assert!(rows.bins().all(|bin| bin.keys.len() <= store.shape.room));
    }

    #[test]
    fn a_bin_that_overflows_is_a_fault_and_not_a_vector() {
        let mut store = with(1 << 18, STATISTICAL, 5);
        store.shape.room = 1 << 15;
        let rows = store.rows(&drawn(9, 1 << 18)).expect("few");
        assert_eq!(
            store.encode(&rows, &drawn(1, 1 << 18), None),
            Err(Fault::Unlucky {
                what: "the room of a bin"
            })
        );
    }
}
