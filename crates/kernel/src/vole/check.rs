//! The check that the trees of a run were grown as they should be.
//!
//! Weng, Yang, Katz and Wang (Wolverine: IEEE S&P 2021, eprint 2020/925, the check of the
//! single-point extension), after Yang,
//! Weng, Lan, Zhang and Wang (Ferret: CCS 2020, eprint 2020/924): the receiver draws uniform factors `X_i`
//! by a seed and sends `x = sum X_i c_i + m` for a spare correlation m; the sender answers with the hash of
//! `sum X_i b_i + b_m + x Delta`, which is `sum X_i a_i + a_m` if every `a_i = b_i + c_i Delta` holds. One that does
//! not hold passes with chance 2^-128 unless it touches only places that the sender guesses to be the noise's: such a
//! guess that passes tells one bit on average, which the noise weight allows. The receiver's x says nothing, for m
//! hides it, and a wrong x makes the sender's answer a hash of Delta under 128 bits of doubt.

use super::prg::Stream;
use crate::block::Block;
use crate::simd::clmul::inner_product;
use rayon::prelude::*;

const TILE: usize = 4096;
/// How long the receiver's message is: seed and x.
pub(crate) const REQUEST_BYTES: usize = 32;
/// How long the sender's answer is.
pub(crate) const ANSWER_BYTES: usize = 32;

/// `sum X_i values_i` for the factors of a seed.
pub(crate) fn combine(seed: Block, values: &[Block]) -> Block {
    let stream = Stream::new(seed);
    let tiles = values.par_chunks(TILE).enumerate().map_init(
        || vec![Block::ZERO; TILE],
        |factors, (tile, values)| {
            let factors = &mut factors[..values.len()];
            stream.fill((tile * TILE) as u64, factors);
            inner_product(factors, values)
        },
    );
    tiles.reduce(|| Block::ZERO, |a, b| a ^ b)
}

/// `X_i` alone.
pub(crate) fn factor(seed: Block, index: usize) -> Block {
    let mut one = [Block::ZERO];
    Stream::new(seed).fill(index as u64, &mut one);
    one[0]
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
    use super::{combine, factor, Block, TILE};

    #[test]
    fn a_combination_is_the_sum_of_factors_times_values() {
        let values: Vec<Block> = (0..TILE as u128 + 77)
            .map(|i| Block(i * i * i + 1))
            .collect();
        let slow = values.iter().enumerate().fold(Block::ZERO, |sum, (i, x)| {
            sum ^ factor(Block(4), i).times(*x)
        });
        assert_eq!(combine(Block(4), &values), slow);
    }
}
