//! The hash functions of the oblivious function: H of a key, F of a decoded value, and a commitment to a coin.
//!
//! Semi-honest: AES under a public key ([`crate::permutation`]). Malicious: BLAKE3 in its keyed mode, as a random
//! oracle, each of the uses below under a key of its own (`derive_key`, which takes the salt in): many short inputs
//! side by side cost a fifth of what one SHA-256 after the other does ([`crate::simd::lanes`]).

use rayon::prelude::*;

use crate::block::Block;
use crate::permutation::Permutation;
use crate::simd::lanes;

/// What the protocol withstands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Parties that follow the protocol.
    SemiHonest,
    /// Parties that do as they like.
    Malicious,
}

const HASH: &str = "fondaco oprf hash of a key 2";
const OUTPUT: &str = "fondaco oprf output 2";
const COIN: &str = "fondaco oprf coin 2";
const FIXED_KEY: Block = Block(u128::from_le_bytes(*b"fondaco/oprf/aes"));
const CHUNK: usize = 1 << 12;

/// The commitment to a coin, opened by the coin itself: BLAKE3 over the run's salt and 128 bits of randomness.
pub(crate) fn commitment(salt: Block, coin: Block) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(COIN);
    hasher.update(&salt.to_bytes());
    hasher.update(&coin.to_bytes());
    *hasher.finalize().as_bytes()
}

/// H of each key: the value that the receiver's store has for it.
#[must_use]
pub fn hashed_keys(security: Security, salt: Block, keys: &[Block]) -> Vec<Block> {
    let mut hashed = vec![Block::ZERO; keys.len()];
    // Each part is copied by the thread that hashes it, just before.
    let parts = hashed.par_chunks_mut(CHUNK).zip(keys.par_chunks(CHUNK));
    match security {
        Security::SemiHonest => {
            let permutation = Permutation::new(salt);
            parts.for_each(|(hashed, keys)| {
                hashed.copy_from_slice(keys);
                permutation.hash_each(hashed);
            });
        }
        Security::Malicious => {
            let key = blake3::derive_key(HASH, &salt.to_bytes());
            parts.for_each(|(hashed, keys)| {
                hashed.copy_from_slice(keys);
                lanes::hash_each(&key, hashed);
            });
        }
    }
    hashed
}

/// F of each key from its decoded value: the first 16 bytes, and the next 16 where F has them. The semi-honest F does
/// not look at the keys.
#[must_use]
pub fn tags_of(
    security: Security,
    coin: Block,
    keys: &[Block],
    mut decoded: Vec<Block>,
) -> (Vec<Block>, Vec<Block>) {
    match security {
        Security::SemiHonest => {
            let permutation = Permutation::new(FIXED_KEY);
            decoded
                .par_chunks_mut(CHUNK)
                .for_each(|chunk| permutation.hash_each(chunk));
            (decoded, Vec::new())
        }
        Security::Malicious => {
            let mut proofs = vec![Block::ZERO; decoded.len()];
            let parts = decoded
                .par_chunks_mut(CHUNK)
                .zip(proofs.par_chunks_mut(CHUNK))
                .zip(keys.par_chunks(CHUNK));
            let key = blake3::derive_key(OUTPUT, &[]);
            parts.for_each(|((values, proofs), keys)| {
                for value in values.iter_mut() {
                    *value ^= coin;
                }
                lanes::hash_pairs(&key, values, keys, proofs);
            });
            (decoded, proofs)
        }
    }
}
