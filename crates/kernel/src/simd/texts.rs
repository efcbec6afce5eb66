//! Texts of different lengths, up to one block of BLAKE3 each, gathered until there are enough to hash side by side.

use super::lanes::{halves, hash_texts};
use crate::block::Block;

/// Bytes of the longest text that is one block.
pub(crate) const TEXT_BYTES: usize = 64;
/// Texts that are hashed at a time.
pub(crate) const LANES: usize = 16;

/// Short texts that wait until there are enough to hash them side by side.
#[derive(Default)]
pub(crate) struct Texts {
    /// Word by word, each of all texts: what no text has is zero.
    words: [[u32; LANES]; TEXT_BYTES / 4],
    lengths: [u32; LANES],
    count: usize,
}

impl Texts {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// One more.
    ///
    /// # Panics
    /// Where it has more than `TEXT_BYTES` bytes, or `LANES` wait: both are ours.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let mut padded = [0u8; TEXT_BYTES];
        padded[..text.len()].copy_from_slice(text);
        for (word, bytes) in self.words.iter_mut().zip(padded.as_chunks::<4>().0) {
            word[self.count] = u32::from_le_bytes(*bytes);
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most TEXT_BYTES")]
        {
            self.lengths[self.count] = text.len() as u32;
        }
        self.count += 1;
    }

    /// Keyed BLAKE3 of each, cut to 16 bytes; then none waits. What stands behind the last is of no meaning.
    pub(crate) fn hash(&mut self, key: &[u8; 32]) -> [Block; LANES] {
        let count = std::mem::take(&mut self.count);
        hash_texts(key, &self.words, &self.lengths)
            .unwrap_or_else(|| self.hash_portable(key, count))
    }

    fn hash_portable(&self, key: &[u8; 32], count: usize) -> [Block; LANES] {
        let mut ids = [Block::ZERO; LANES];
        for (lane, id) in ids.iter_mut().enumerate().take(count) {
            let mut text = [0u8; TEXT_BYTES];
            for (bytes, word) in text.as_chunks_mut::<4>().0.iter_mut().zip(&self.words) {
                *bytes = word[lane].to_le_bytes();
            }
            let text = &text[..self.lengths[lane] as usize];
            *id = halves(&blake3::keyed_hash(key, text))[0];
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::{halves, Texts, LANES};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

        #[test]
        fn texts_that_waited_are_hashed_as_each_alone(key: [u8; 32], texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=64), 0..50)) {
            let mut waiting = Texts::default();
            for texts in texts.chunks(LANES) {
                for text in texts {
                    waiting.push(text);
                }
                prop_assert_eq!(waiting.len(), texts.len());
                let portable = waiting.hash_portable(&key, texts.len());
                let found = waiting.hash(&key);
                prop_assert_eq!(waiting.len(), 0);
                for (lane, text) in texts.iter().enumerate() {
                    let wanted = halves(&blake3::keyed_hash(&key, text))[0];
                    prop_assert_eq!((found[lane], portable[lane]), (wanted, wanted));
                }
            }
        }
    }
}
