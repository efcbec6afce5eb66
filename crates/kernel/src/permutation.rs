//! AES-128 under a public key as a fixed permutation, the hash made of it, and a generator for random fill.
//!
//! The hash is Matyas-Meyer-Oseas, h(x) = AES(x) ^ x: correlation robust where AES behaves as a random permutation
//! (Guo, Katz, Wang, Yu, eprint 2019/074). The `aes` crate chooses AES-NI at run time and has a constant-time
//! portable path.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::Aes128Enc;

use crate::block::Block;
use crate::protocol::Fault;

/// A block of the operating system's randomness.
///
/// # Errors
/// `Fault::Input` where it gives none.
pub fn fresh_block() -> Result<Block, Fault> {
    let mut bytes = [0u8; 16];
    let refused = |_| Fault::Input {
        what: "the operating system gives no randomness",
    };
    getrandom::fill(&mut bytes).map_err(refused)?;
    Ok(Block::from_bytes(bytes))
}

const BATCH: usize = 64;

/// A permutation of blocks that everybody can compute.
#[derive(Clone)]
pub struct Permutation(Aes128Enc);

impl Permutation {
    /// The permutation that belongs to a public seed.
    #[must_use]
    pub fn new(seed: Block) -> Self {
        Self(Aes128Enc::new(&seed.to_bytes().into()))
    }

    /// h(x) = AES(x) ^ x of each block, in place.
    pub fn hash_each(&self, blocks: &mut [Block]) {
        let mut work = [aes::Block::default(); BATCH];
        for chunk in blocks.chunks_mut(BATCH) {
            let work = &mut work[..chunk.len()];
            for (slot, block) in work.iter_mut().zip(chunk.iter()) {
                *slot = block.to_bytes().into();
            }
            self.0.encrypt_blocks(work);
            for (block, slot) in chunk.iter_mut().zip(work.iter()) {
                *block ^= Block::from_bytes((*slot).into());
            }
        }
    }

    /// AES in counter mode from a counter on: as a generator, where the seed is secret and used for nothing else.
    pub fn stream(&self, from: u128, out: &mut [Block]) {
        let mut work = [aes::Block::default(); BATCH];
        let mut counter = from;
        for chunk in out.chunks_mut(BATCH) {
            let work = &mut work[..chunk.len()];
            for slot in work.iter_mut() {
                *slot = counter.to_le_bytes().into();
                counter = counter.wrapping_add(1);
            }
            self.0.encrypt_blocks(work);
            for (block, slot) in chunk.iter_mut().zip(work.iter()) {
                *block = Block::from_bytes((*slot).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Permutation;
    use crate::block::Block;

    #[test]
    fn the_permutation_is_aes_of_fips_197() {
        let bytes = |from: &str| -> [u8; 16] {
            std::array::from_fn(|i| u8::from_str_radix(&from[2 * i..2 * i + 2], 16).expect("hex"))
        };
        let key = Block::from_bytes(bytes("000102030405060708090a0b0c0d0e0f"));
        let plain = Block::from_bytes(bytes("00112233445566778899aabbccddeeff"));
        let cipher = Block::from_bytes(bytes("69c4e0d86a7b0430d8cdb78070b4c55a"));
        let mut work = vec![plain; 70];
        Permutation::new(key).hash_each(&mut work);
        assert!(work.iter().all(|h| *h == cipher ^ plain));
        let mut out = vec![Block::ZERO; 70];
        Permutation::new(key).stream(plain.0.wrapping_sub(40), &mut out);
        assert_eq!(out[40], cipher);
        assert_ne!(out[41], cipher);
    }
}
