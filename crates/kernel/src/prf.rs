//! The hash functions of the oblivious function: H of a key, F of a decoded value, and a commitment to a coin.
//!
//! Semi-honest: AES under a public key ([`crate::permutation`]). Malicious: SHA-256, as a random oracle.

use rayon::prelude::*;

use crate::block::Block;
use crate::permutation::Permutation;

/// What the protocol withstands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Parties that follow the protocol.
    SemiHonest,
    /// Parties that do as they like.
    Malicious,
}

const LABEL_HASH: &[u8; 15] = b"fondaco/oprf/h1";
const LABEL_OUTPUT: &[u8; 15] = b"fondaco/oprf/f1";
pub(crate) const LABEL_COIN: &[u8; 15] = b"fondaco/oprf/w1";
const FIXED_KEY: Block = Block(u128::from_le_bytes(*b"fondaco/oprf/aes"));
/// The initial hash value of SHA-256, FIPS 180-4, section 5.3.3.
const SHA_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const CHUNK: usize = 1 << 12;

/// SHA-256 (FIPS 180-4) of a label and two blocks: 47 bytes, so with the padding one call of its compression function.
pub(crate) fn sha(label: &[u8; 15], a: Block, b: Block) -> [u8; 32] {
    let mut block = [0u8; 64];
    block[..15].copy_from_slice(label);
    block[15..31].copy_from_slice(&a.to_bytes());
    block[31..47].copy_from_slice(&b.to_bytes());
    block[47] = 0x80;
    block[62..].copy_from_slice(&(47u16 * 8).to_be_bytes());
    let mut state = SHA_START;
    sha2::compress256(&mut state, &[block.into()]);
    let mut out = [0u8; 32];
    for (slot, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *slot = word.to_be_bytes();
    }
    out
}

fn half(hash: &[u8; 32], which: usize) -> Block {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash[16 * which..16 * which + 16]);
    Block::from_bytes(bytes)
}

/// H of each key: the value that the receiver's store has for it.
#[must_use]
pub fn hashed_keys(security: Security, salt: Block, mut keys: Vec<Block>) -> Vec<Block> {
    match security {
        Security::SemiHonest => {
            let permutation = Permutation::new(salt);
            keys.par_chunks_mut(CHUNK)
                .for_each(|chunk| permutation.hash_each(chunk));
        }
        Security::Malicious => keys.par_chunks_mut(CHUNK).for_each(|chunk| {
            for key in chunk {
                *key = half(&sha(LABEL_HASH, salt, *key), 0);
            }
        }),
    }
    keys
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
            parts.for_each(|((values, proofs), keys)| {
                for ((value, proof), key) in values.iter_mut().zip(proofs).zip(keys) {
                    let hash = sha(LABEL_OUTPUT, *value ^ coin, *key);
                    (*value, *proof) = (half(&hash, 0), half(&hash, 1));
                }
            });
            (decoded, proofs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{sha, Block, LABEL_HASH};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    proptest! {
        #[test]
        fn one_compression_is_the_whole_hash(a: u128, b: u128) {
            let text = [LABEL_HASH.as_slice(), &a.to_le_bytes(), &b.to_le_bytes()].concat();
            let wanted: [u8; 32] = Sha256::digest(text).into();
            prop_assert_eq!(sha(LABEL_HASH, Block(a), Block(b)), wanted);
        }
    }
}
