//! The check that the trees of a run were grown as they should be.
//!
//! Weng, Yang, Katz and Wang (Wolverine: IEEE S&P 2021, eprint 2020/925, the check of the
//! single-point extension), after Yang,
//! Weng, Lan, Zhang and Wang (Ferret: CCS 2020, eprint 2020/924): the receiver draws uniform factors `X_i`
//! by a seed and sends `x = sum X_i c_i + m` for a spare correlation m; the sender answers with the hash of
//! `sum X_i b_i + b_m + x Delta`, which is `sum X_i a_i + a_m` if every `a_i = b_i + c_i Delta` holds. One that does
//! not hold passes with chance 2^-127 unless it touches only places that the sender guesses to be the noise's: such a
//! guess that passes tells one bit on average, which the noise weight allows. The receiver's x says nothing, for m
//! hides it, and a wrong x makes the sender's answer a hash of Delta under 128 bits of doubt.
//!
//! The `X_i` are not independent: `X_i = r_j s_k` for place j of tile k, with r and s uniform. What does not hold is a
//! polynomial of degree two in them that is not zero, so it vanishes with chance 2 / 2^128 (Schwartz, Zippel): one bit
//! less than with factors of their own, and no cipher's call for each value.

use super::prg::Stream;
use crate::block::Block;
use crate::simd::clmul::inner_product;
use rayon::prelude::*;

/// Values that share the factors of one tile: a power of two that leaves the factors in the nearest cache.
const TILE: usize = 1024;
/// How long the receiver's message is: seed and x.
pub(crate) const REQUEST_BYTES: usize = 32;
/// How long the sender's answer is.
pub(crate) const ANSWER_BYTES: usize = 32;

/// `sum X_i values_i` for the factors of a seed.
pub(crate) fn combine(seed: Block, values: &[Block]) -> Block {
    let mut factors = vec![Block::ZERO; TILE + values.len().div_ceil(TILE)];
    Stream::new(seed).fill(0, &mut factors);
    let (within, tiles) = factors.split_at(TILE);
    let parts = values.par_chunks(TILE).zip(tiles);
    parts
        .map(|(values, tile)| inner_product(&within[..values.len()], values).times(*tile))
        .reduce(|| Block::ZERO, |a, b| a ^ b)
}

/// `X_i` for each of some places, which may be secret: they are counters here and no addresses.
pub(crate) fn factors_at(seed: Block, places: &[usize]) -> Vec<Block> {
    let stream = Stream::new(seed);
    let factor = |number: usize| {
        let mut one = [Block::ZERO];
        stream.fill(number as u64, &mut one);
        one[0]
    };
    let product = |at: &usize| factor(at % TILE).times(factor(TILE + at / TILE));
    places.iter().map(product).collect()
}

/// The hash under which the two sums are compared.
pub(crate) fn digest(session: &[u8; 32], sum: Block) -> [u8; ANSWER_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(session);
    hasher.update(b"tree consistency");
    hasher.update(&sum.to_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::{combine, factors_at, Block, TILE};

    #[test]
    fn a_combination_is_the_sum_of_factors_times_values() {
        let values: Vec<Block> = (0..4 * TILE as u128 + 77)
            .map(|i| Block(i * i * i + 1))
            .collect();
        let places: Vec<usize> = (0..values.len()).collect();
        let factors = factors_at(Block(4), &places);
        let slow = values
            .iter()
            .zip(&factors)
            .fold(Block::ZERO, |sum, (x, factor)| sum ^ factor.times(*x));
        assert_eq!(combine(Block(4), &values), slow);
        assert_eq!(factors_at(Block(4), &[TILE + 3]), [factors[TILE + 3]]);
        let mut seen: Vec<Block> = factors;
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), values.len(), "no two places have one factor");
    }

    #[test]
    fn values_that_cancel_within_a_tile_or_across_tiles_are_seen() {
        for (one, other) in [(3, 4), (3, TILE + 3), (TILE - 1, TILE)] {
            let mut values = vec![Block::ZERO; 3 * TILE];
            (values[one], values[other]) = (Block(77), Block(77));
            assert_ne!(combine(Block(9), &values), Block::ZERO);
        }
    }
}
