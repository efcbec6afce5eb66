//! Streams and doubling by AES-128, and coins: all the randomness of a party.
//!
//! AES runs on the processor's AES-NI or VAES where the `aes` crate finds them at run time, else on its constant-time
//! portable path. Secret keys and coins are zeroised.

use crate::block::Block;
use crate::protocol::Fault;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::Aes128;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const BATCH: usize = 64;

/// AES-128 in counter mode: block n of the stream is the encryption of n.
pub(crate) struct Stream(Aes128);

impl Stream {
    pub(crate) fn new(key: Block) -> Self {
        Self(cipher(key))
    }

    /// Write the blocks from number `first` on.
    pub(crate) fn fill(&self, first: u64, out: &mut [Block]) {
        let mut buffer = [aes::Block::default(); BATCH];
        let mut counter = u128::from(first);
        for part in out.chunks_mut(BATCH) {
            let buffer = &mut buffer[..part.len()];
            for slot in &mut *buffer {
                *slot = counter.to_le_bytes().into();
                counter += 1;
            }
            self.0.encrypt_blocks(buffer);
            for (to, from) in part.iter_mut().zip(&*buffer) {
                *to = Block::from_bytes((*from).into());
            }
        }
    }

    /// The blocks from number `first` on as 32-bit integers, four a block.
    ///
    /// # Panics
    /// Where `out` is not of whole blocks: it is ours.
    pub(crate) fn fill_words(&self, first: u64, out: &mut [u32]) {
        let (out, rest) = out.as_chunks_mut::<4>();
        assert!(rest.is_empty(), "whole blocks");
        let mut buffer = [aes::Block::default(); BATCH];
        let mut counter = u128::from(first);
        for part in out.chunks_mut(BATCH) {
            let buffer = &mut buffer[..part.len()];
            for slot in &mut *buffer {
                *slot = counter.to_le_bytes().into();
                counter += 1;
            }
            self.0.encrypt_blocks(buffer);
            for (to, from) in part.iter_mut().zip(&*buffer) {
                for (word, bytes) in to.iter_mut().zip(from.as_chunks::<4>().0) {
                    *word = u32::from_le_bytes(*bytes);
                }
            }
        }
    }
}

fn cipher(key: Block) -> Aes128 {
    Aes128::new(&key.to_bytes().into())
}

/// The length-doubling generator of the trees: the children of x are `E_0(x) ^ x` and `E_1(x) ^ x`, under two public
/// keys of this session (Guo, Katz, Wang, Yu: IEEE S&P 2020, eprint 2019/074, on fixed-key AES as a correlation-robust
/// hash). A key per session, not one for all, keeps the bound from growing with the number of sessions.
pub(crate) struct Doubling([Aes128; 2]);

impl Doubling {
    pub(crate) fn new(keys: [Block; 2]) -> Self {
        Self(keys.map(cipher))
    }

    /// The children of each parent, side by side; the sums of all first and of all second children.
    ///
    /// # Panics
    /// Where `children` is not twice as long as `parents`: both are ours.
    pub(crate) fn double(&self, parents: &[Block], children: &mut [Block]) -> [Block; 2] {
        assert_eq!(children.len(), 2 * parents.len(), "two children a parent");
        let mut buffers = [[aes::Block::default(); BATCH]; 2];
        let mut sums = [Block::ZERO; 2];
        for (part, out) in parents.chunks(BATCH).zip(children.chunks_mut(2 * BATCH)) {
            for (side, (key, buffer)) in self.0.iter().zip(&mut buffers).enumerate() {
                let buffer = &mut buffer[..part.len()];
                for (slot, parent) in buffer.iter_mut().zip(part) {
                    *slot = parent.to_bytes().into();
                }
                key.encrypt_blocks(buffer);
                for ((slot, parent), pair) in
                    buffer.iter().zip(part).zip(out.as_chunks_mut::<2>().0)
                {
                    let child = Block::from_bytes((*slot).into()) ^ *parent;
                    sums[side] ^= child;
                    pair[side] = child;
                }
            }
        }
        sums
    }
}

/// The randomness of a party: a BLAKE3 stream under a key of the operating system.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Coins {
    reader: blake3::OutputReader,
}

impl Coins {
    /// From the operating system's generator.
    ///
    /// # Errors
    /// `Fault::Input` where it gives nothing.
    pub(crate) fn fresh() -> Result<Self, Fault> {
        let mut key = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *key).map_err(|_| Fault::Input {
            what: "the operating system gives no randomness",
        })?;
        Ok(Self::seeded(&key))
    }

    /// From a known key, which in the product is none but [`Coins::fresh`]'s.
    fn seeded(key: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(b"fondaco vole coins");
        let reader = hasher.finalize_xof();
        hasher.zeroize();
        Self { reader }
    }

    #[cfg(test)]
    pub(crate) fn of_test(seed: u8) -> Self {
        Self::seeded(&[seed; 32])
    }

    pub(crate) fn bytes<const WIDTH: usize>(&mut self) -> Zeroizing<[u8; WIDTH]> {
        let mut out = Zeroizing::new([0u8; WIDTH]);
        self.reader.fill(&mut *out);
        out
    }

    pub(crate) fn block(&mut self) -> Block {
        Block::from_bytes(*self.bytes::<16>())
    }
}

#[cfg(test)]
mod tests {
    use super::{cipher, Block, Doubling, Stream};
    use aes::cipher::BlockCipherEncrypt;

    fn encrypted(key: u128, x: u128) -> Block {
        let mut block = x.to_le_bytes().into();
        cipher(Block(key)).encrypt_block(&mut block);
        Block::from_bytes(block.into())
    }

    #[test]
    fn a_stream_counts_from_where_it_is_told() {
        let mut out = [Block::ZERO; 150];
        Stream::new(Block(7)).fill(5, &mut out);
        for (n, block) in (5u128..).zip(out) {
            assert_eq!(block, encrypted(7, n));
        }
        let mut words = [0u32; 600];
        Stream::new(Block(7)).fill_words(5, &mut words);
        for (four, block) in words.as_chunks::<4>().0.iter().zip(out) {
            let word = |i: usize| u128::from(four[i]) << (32 * i);
            assert_eq!(Block(word(0) | word(1) | word(2) | word(3)), block);
        }
    }

    #[test]
    fn children_and_their_sums_are_what_two_ciphers_say() {
        let parents: Vec<Block> = (0..130).map(|i| Block(i * i + 3)).collect();
        let mut children = vec![Block::ZERO; 260];
        let sums = Doubling::new([Block(1), Block(2)]).double(&parents, &mut children);
        let mut expected = [Block::ZERO; 2];
        for (parent, pair) in parents.iter().zip(children.as_chunks::<2>().0) {
            for side in 0..2 {
                let child = encrypted(side as u128 + 1, parent.0) ^ *parent;
                assert_eq!(pair[side], child);
                expected[side] ^= child;
            }
        }
        assert_eq!(sums, expected);
    }
}
