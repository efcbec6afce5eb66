//! Tags on the wire: shortened, sorted and radix-partitioned, and compared bucket by bucket.
//!
//! Each of the sender's tags is cut to 40 + log2(n) + log2(m) bits, so that two different keys' tags of all n m pairs
//! collide with probability at most 2^-40. Tags are sorted: the order says nothing of the keys, and the leading bits
//! of a sorted list need not be sent. The list is cut into buckets by those bits; for each bucket its number of tags
//! goes as one byte, then come the rest of all tags, little-endian, in ascending order. The length depends on n and m
//! alone.

use rayon::prelude::*;

use crate::block::Block;
use crate::okvs::parameters::STATISTICAL;
use crate::protocol::Fault;

/// Tags that a bucket holds on average at most; that one holds more than 255 has probability below 2^-200.
const BUCKET_LOG: u32 = 4;
/// Buckets that one thread sorts at a time.
const STRETCH: usize = 1 << 10;
const MESSAGE: &str = "tags";

/// What is left of a tag in its bucket, and the tag's place in the input; in the order of what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    /// The rest without its last 32 bits. A rest has at most 40 + 4 + 26 bits, so this is never cut.
    high: u64,
    low: u32,
    place: u32,
}

impl Placed {
    #[allow(clippy::cast_possible_truncation)] // cut into its parts
    fn new(rest: u128, place: u32) -> Self {
        debug_assert!(rest >> 96 == 0, "a rest of 96 bits at most");
        Self {
            high: (rest >> 32) as u64,
            low: rest as u32,
            place,
        }
    }

    fn rest(self) -> u128 {
        u128::from(self.high) << 32 | u128::from(self.low)
    }
}

/// How tags of two sets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    tags: usize,
    /// Bits of a tag that are kept.
    bits: u32,
    /// Of these, bits that choose the bucket.
    bucket_bits: u32,
}

/// Bits that number so many things.
fn log2_up(count: usize) -> u32 {
    usize::BITS - count.max(1).saturating_sub(1).leading_zeros()
}

/// Sort the tags of each of some buckets, which begin where `begins` says, and write how many there are.
fn sort_buckets(counts: &mut [u8], begins: &[u32], tags: &mut [Placed]) -> Result<(), Fault> {
    let mut left = tags;
    for (count, pair) in counts.iter_mut().zip(begins.windows(2)) {
        let held = pair[1] - pair[0];
        *count = u8::try_from(held).map_err(|_| Fault::Unlucky {
            what: "the even spread of tags",
        })?;
        let (bucket, others) = left.split_at_mut(held as usize);
        bucket.sort_unstable();
        left = others;
    }
    Ok(())
}

impl Layout {
    /// For tags of `sent` keys that `held` keys are compared with.
    #[must_use]
    pub fn new(sent: usize, held: usize) -> Self {
        let bits = (STATISTICAL + log2_up(sent) + log2_up(held)).min(128);
        Self {
            tags: sent,
            bits,
            bucket_bits: log2_up(sent).saturating_sub(BUCKET_LOG),
        }
    }

    fn buckets(&self) -> usize {
        1 << self.bucket_bits
    }

    fn rest_bytes(&self) -> usize {
        (self.bits - self.bucket_bits).div_ceil(8) as usize
    }

    /// Length of the message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buckets() + self.tags * self.rest_bytes()
    }

    /// A tag's bucket and rest.
    fn split(&self, tag: Block) -> (usize, u128) {
        let cut = tag.0 >> (128 - self.bits);
        let rest_bits = self.bits - self.bucket_bits;
        let rest = if rest_bits == 128 {
            cut
        } else {
            cut & ((1 << rest_bits) - 1)
        };
        let bucket = if rest_bits == 128 {
            0
        } else {
            cut >> rest_bits
        };
        #[allow(clippy::cast_possible_truncation)] // fewer than `buckets`
        (bucket as usize, rest)
    }

    /// Tags by buckets: where each begins, and the tags' rests with their places in the input, bucket by bucket.
    fn partition(&self, tags: &[Block]) -> (Vec<u32>, Vec<Placed>) {
        let mut begins = vec![0u32; self.buckets() + 1];
        for tag in tags {
            begins[self.split(*tag).0 + 1] += 1;
        }
        for bucket in 0..self.buckets() {
            begins[bucket + 1] += begins[bucket];
        }
        let mut next = begins.clone();
        let mut placed = vec![Placed::default(); tags.len()];
        #[allow(clippy::cast_possible_truncation)] // stores have fewer keys
        for (at, tag) in tags.iter().enumerate() {
            let (bucket, rest) = self.split(*tag);
            placed[next[bucket] as usize] = Placed::new(rest, at as u32);
            next[bucket] += 1;
        }
        (begins, placed)
    }

    /// The message, and for each tag in it the place of the tag in the input.
    ///
    /// # Errors
    /// `Fault::Input` for a wrong number of tags; `Fault::Unlucky` where a bucket is too full.
    pub fn pack(&self, tags: &[Block]) -> Result<(Vec<u8>, Vec<u32>), Fault> {
        if tags.len() != self.tags {
            return Err(Fault::Input {
                what: "not the number of tags that was said",
            });
        }
        let (begins, mut placed) = self.partition(tags);
        let mut message = vec![0u8; self.size()];
        let (counts, rests) = message.split_at_mut(self.buckets());
        let mut parts = Vec::with_capacity(self.buckets().div_ceil(STRETCH));
        let mut left = placed.as_mut_slice();
        for (number, counts) in counts.chunks_mut(STRETCH).enumerate() {
            let begins = &begins[number * STRETCH..=number * STRETCH + counts.len()];
            let held = begins[counts.len()] - begins[0];
            let (mine, others) = left.split_at_mut(held as usize);
            parts.push((counts, begins, mine));
            left = others;
        }
        parts
            .into_par_iter()
            .try_for_each(|(counts, begins, tags)| sort_buckets(counts, begins, tags))?;
        let width = self.rest_bytes();
        rests
            .par_chunks_mut(width << 12)
            .zip(placed.par_chunks(1 << 12))
            .for_each(|(out, tags)| {
                for (index, tag) in tags.iter().enumerate() {
                    let bytes = tag.rest().to_le_bytes();
                    let slot = &mut out[width * index..];
                    // A whole register where there is room: what is too much of it the next one overwrites.
                    match slot.first_chunk_mut::<16>() {
                        Some(slot) => *slot = bytes,
                        None => slot[..width].copy_from_slice(&bytes[..width]),
                    }
                }
            });
        Ok((message, placed.iter().map(|tag| tag.place).collect()))
    }

    /// For each of `own` tags that is in the peer's message: its place in `own` and the first place in the message, in
    /// the order of the message.
    ///
    /// # Errors
    /// `Fault::Malformed` for a message that [`Layout::pack`] does not make.
    pub fn find(&self, own: &[Block], message: &[u8]) -> Result<Vec<(u32, u32)>, Fault> {
        let malformed = Fault::Malformed { message: MESSAGE };
        if message.len() != self.size() {
            return Err(malformed);
        }
        let (counts, rests) = message.split_at(self.buckets());
        if counts
            .iter()
            .map(|count| usize::from(*count))
            .sum::<usize>()
            != self.tags
        {
            return Err(malformed);
        }
        let (begins, placed) = self.partition(own);
        let mut starts = Vec::with_capacity(counts.len());
        let mut at = 0u32;
        for count in counts {
            starts.push(at);
            at += u32::from(*count);
        }
        let (width, most) = (self.rest_bytes(), self.rest_limit());
        let found: Result<Vec<Vec<(u32, u32)>>, Fault> = (0..self.buckets())
            .into_par_iter()
            .with_min_len(1 << 10)
            .fold(
                || Ok(Vec::new()),
                |found: Result<Vec<(u32, u32)>, Fault>, bucket| {
                    let mut found = found?;
                    let mine = &placed[begins[bucket] as usize..begins[bucket + 1] as usize];
                    let first = starts[bucket] as usize;
                    let mut before = 0u128;
                    for offset in 0..usize::from(counts[bucket]) {
                        let rest = self.rest_at(&rests[width * (first + offset)..]);
                        if rest < before || rest > most {
                            return Err(Fault::Malformed { message: MESSAGE });
                        }
                        if rest == before && offset > 0 {
                            continue;
                        }
                        before = rest;
                        let wanted = Placed::new(rest, 0);
                        for one in mine {
                            if one.high == wanted.high && one.low == wanted.low {
                                #[allow(clippy::cast_possible_truncation)] // fewer than the tags
                                found.push((one.place, (first + offset) as u32));
                            }
                        }
                    }
                    Ok(found)
                },
            )
            .collect();
        Ok(found?.concat())
    }

    /// The answer to a message: one bit for each of its tags, those at `places` set.
    #[must_use]
    pub fn answer(&self, places: impl Iterator<Item = u32>) -> Vec<u8> {
        let mut bits = vec![0u8; self.tags.div_ceil(8)];
        for at in places {
            bits[at as usize / 8] |= 1 << (at % 8);
        }
        bits
    }

    /// The places that an answer names, ascending.
    ///
    /// # Errors
    /// `Fault::Malformed` for a wrong length, or bits that stand for no tag.
    pub fn answered(&self, bits: &[u8]) -> Result<Vec<u32>, Fault> {
        let spare = 8 * bits.len() as u64 - (self.tags as u64).min(8 * bits.len() as u64);
        let beyond = bits
            .last()
            .is_some_and(|last| u64::from(last.leading_zeros()) < spare);
        if bits.len() != self.tags.div_ceil(8) || beyond {
            return Err(Fault::Malformed { message: "answer" });
        }
        #[allow(clippy::cast_possible_truncation)] // stores have fewer keys
        let all = 0..self.tags as u32;
        Ok(all
            .filter(|at| bits[*at as usize / 8] >> (at % 8) & 1 == 1)
            .collect())
    }

    /// The rest that stands first in `bytes`.
    fn rest_at(&self, bytes: &[u8]) -> u128 {
        let width = self.rest_bytes();
        if let Some(whole) = bytes.first_chunk::<16>() {
            return u128::from_le_bytes(*whole) & u128::MAX >> (128 - 8 * width);
        }
        let mut whole = [0u8; 16];
        whole[..width].copy_from_slice(&bytes[..width]);
        u128::from_le_bytes(whole)
    }

    fn rest_limit(&self) -> u128 {
        u128::MAX >> (128 - (self.bits - self.bucket_bits))
    }
}
