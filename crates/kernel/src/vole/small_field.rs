//! Bits times Delta: 128 base transfers stretched to as many correlations as a run needs.
//!
//! `SoftSpokenOT` (Roy: CRYPTO 2022, eprint 2022/192) with the repetition code and fields of 2^4
//! elements. For each of 32 columns the owner grows a tree of 16 leaves of which the peer misses the one numbered by
//! its four bits of Delta. The owner sums the leaves' streams to a bit string, and weighted by the leaves' numbers to
//! four more; the peer gets the latter plus Delta's bits times the former. Corrections make the bit string the same in
//! all columns. Read by rows: the owner has a bit `u_i` and `v_i`, the peer `w_i = v_i + u_i Delta`, and Delta is uniform.
//!
//! Leaks nothing to an honest peer. Malicious owner: the corrections are checked (the paper's subspace check: a
//! universal hash of every column, masked by rows that are then thrown away), so that all that an owner learns is a guess of bits of
//! Delta that ends the run if it is wrong; a guess of n bits passes with chance 2^-n. Malicious peer: it chooses
//! Delta, no more. Malicious owner in the trees: it commits to all leaves (the paper's check of the
//! punctured function, made in either mode), and again learns no more than a guess that passes.

use super::base_ot::COUNT;
use super::columns::Columns;
use super::ggm::Forest;
use super::prg::{Coins, Doubling, Stream};
use super::wire::{put, Reader};
use crate::block::Block;
use crate::permutation::Permutation;
use crate::protocol::Fault;
use crate::simd::clmul::inner_product;
use rayon::prelude::*;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// Bits of Delta a tree: more would be fewer bytes and more streams to sum.
const BITS: usize = 4;
const LEAVES: usize = 1 << BITS;
const FOREST: Forest = Forest {
    trees: COUNT / BITS,
    depth: BITS,
};
/// Blocks of 16 streams that are summed at a time: they stay in the nearest cache.
const STRETCH: usize = 64;
const TAG_BYTES: usize = 32;
type Tag = [u8; TAG_BYTES];

/// How long the owner's message of trees is.
pub(crate) const TREES_BYTES: usize = FOREST.levels() * 32 + FOREST.trees * TAG_BYTES + TAG_BYTES;

/// How long the owner's message is for columns of `height` blocks.
pub(crate) const fn columns_bytes(height: usize) -> usize {
    TREES_BYTES + (FOREST.trees - 1) * height * 16
}

/// How long the owner's answer to the challenge is.
pub(crate) const PROOF_BYTES: usize = 16 * (1 + COUNT);

/// A leaf becomes the key of a stream and a tag that commits to it.
fn leaf(number: usize, leaf: Block) -> (Block, Tag) {
    let mut hasher = blake3::Hasher::new_derive_key("fondaco vole small field, leaf");
    hasher.update(&(number as u64).to_le_bytes());
    hasher.update(&leaf.to_bytes());
    let mut bytes = Zeroizing::new([0u8; 16 + TAG_BYTES]);
    hasher.finalize_xof().fill(&mut *bytes);
    hasher.zeroize();
    let (mut key, mut tag) = ([0u8; 16], [0u8; TAG_BYTES]);
    key.copy_from_slice(&bytes[..16]);
    tag.copy_from_slice(&bytes[16..]);
    (Block::from_bytes(key), tag)
}

fn add_tag(sum: &mut Tag, tag: &Tag) {
    sum.iter_mut().zip(tag).for_each(|(a, b)| *a ^= b);
}

fn commitment(tags: &[Tag]) -> Tag {
    *blake3::hash(tags.as_flattened()).as_bytes()
}

fn add(to: &mut [Block], from: &[Block]) {
    for (a, b) in to.iter_mut().zip(from) {
        *a ^= *b;
    }
}

fn add_where(to: &mut [Block], from: &[Block], bit: usize) {
    let mask = (bit as u128 & 1).wrapping_neg();
    for (a, b) in to.iter_mut().zip(from) {
        a.0 ^= b.0 & mask;
    }
}

/// Room for a stretch of a tree's 16 streams.
fn work() -> Zeroizing<Vec<Block>> {
    Zeroizing::new(vec![Block::ZERO; LEAVES * STRETCH])
}

/// Sum the 16 streams of a tree from block `first` on into `bits`, and into each of its columns where the leaf's number
/// has the column's bit: halves are folded onto each other, so that each stream is added about twice.
fn sum_streams(
    streams: &[Permutation],
    first: u64,
    bits: &mut [Block],
    columns: &mut [Block],
    work: &mut [Block],
) {
    let height = bits.len();
    for from in (0..height).step_by(STRETCH) {
        let to = height.min(from + STRETCH);
        let width = to - from;
        for (part, stream) in work.chunks_exact_mut(width).zip(streams) {
            stream.stream(u128::from(first) + from as u128, part);
        }
        for bit in (0..BITS).rev() {
            let (low, high) = work.split_at_mut(width << bit);
            let high = &high[..width << bit];
            for other in high.chunks_exact(width) {
                add(&mut columns[bit * height + from..bit * height + to], other);
            }
            add(low, high);
        }
        add(&mut bits[from..to], &work[..width]);
    }
}

/// The owner's streams: 16 a tree.
pub(crate) struct Owner {
    streams: Vec<Permutation>,
}

impl Owner {
    /// Grow the trees and write what the peer needs of them.
    pub(crate) fn grow(
        coins: &mut Coins,
        doubling: &Doubling,
        keys: &[[Block; 2]],
        message: &mut Vec<u8>,
    ) -> Self {
        let roots: Zeroizing<Vec<Block>> =
            Zeroizing::new((0..FOREST.trees).map(|_| coins.block()).collect());
        let (leaves, sums) = FOREST.grow(doubling, &roots);
        let leaves = Zeroizing::new(leaves);
        for (sum, key) in sums.iter().zip(keys) {
            put(message, &[sum[0] ^ key[0], sum[1] ^ key[1]]);
        }
        let (seeds, tags): (Vec<Block>, Vec<Tag>) = leaves
            .iter()
            .enumerate()
            .map(|(number, x)| leaf(number, *x))
            .unzip();
        let seeds = Zeroizing::new(seeds);
        for tree in tags.chunks_exact(LEAVES) {
            let mut sum = [0u8; TAG_BYTES];
            for tag in tree {
                add_tag(&mut sum, tag);
            }
            message.extend_from_slice(&sum);
        }
        message.extend_from_slice(&commitment(&tags));
        let streams = seeds.iter().map(|seed| Permutation::new(*seed)).collect();
        Self { streams }
    }

    /// Columns of chosen bits from block `first` of the streams on, and the corrections, 16 bytes a tree and block.
    pub(crate) fn chosen(&self, first: u64, wanted: &[Block], message: &mut [u8]) -> Columns {
        let (height, mut columns) = (wanted.len(), Columns::new(wanted.len()));
        let (mut bits, mut work) = (Zeroizing::new(wanted.to_vec()), work());
        for ((streams, cells), out) in self
            .streams
            .chunks_exact(LEAVES)
            .zip(columns.cells.chunks_exact_mut(BITS * height))
            .zip(message.chunks_exact_mut(16 * height))
        {
            bits.copy_from_slice(wanted);
            sum_streams(streams, first, &mut bits, cells, &mut work);
            for (slot, block) in out.as_chunks_mut::<16>().0.iter_mut().zip(&*bits) {
                *slot = block.to_bytes();
            }
        }
        columns
    }
}

/// Bytes of the corrections of chosen bits, for columns of `height` blocks.
pub(crate) const fn chosen_bytes(height: usize) -> usize {
    FOREST.trees * height * 16
}

/// The owner's side: its bits u, 128 a block; its columns, of which row i is `v_i`; its message.
pub(crate) fn own(
    coins: &mut Coins,
    doubling: &Doubling,
    keys: &[[Block; 2]],
    height: usize,
    message: &mut Vec<u8>,
) -> (Zeroizing<Vec<Block>>, Columns) {
    let owner = Owner::grow(coins, doubling, keys, message);
    let mut columns = Columns::new(height);
    let mut bits = Zeroizing::new(vec![Block::ZERO; FOREST.trees * height]);
    bits.par_chunks_mut(height)
        .zip(columns.cells.par_chunks_mut(BITS * height))
        .zip(owner.streams.par_chunks(LEAVES))
        .for_each(|((bits, columns), streams)| sum_streams(streams, 0, bits, columns, &mut work()));
    let (first, others) = bits.split_at_mut(height);
    for other in others.chunks_exact_mut(height) {
        add(other, first);
        put(message, other);
    }
    (Zeroizing::new(first.to_vec()), columns)
}

/// The peer's streams, and the leaf that it misses of each tree.
pub(crate) struct Peer {
    /// The missing leaf's stray stream is the first of each 16: it has no weight in the columns.
    streams: Vec<Permutation>,
    places: Zeroizing<Vec<usize>>,
}

impl Peer {
    /// From the owner's trees.
    ///
    /// # Errors
    /// `Fault::Malformed`, or `Fault::Cheated` where the owner's trees are not what it commits to.
    pub(crate) fn meet(
        doubling: &Doubling,
        keys: &[Block],
        choices: u128,
        reader: &mut Reader<'_>,
    ) -> Result<Self, Fault> {
        let mut sums = Zeroizing::new(Vec::with_capacity(COUNT));
        for (instance, key) in keys.iter().enumerate() {
            let [zero, one] = [reader.block()?, reader.block()?];
            let mask = (choices >> instance & 1).wrapping_neg();
            sums.push(Block(zero.0 ^ (zero.0 ^ one.0) & mask) ^ *key);
        }
        let places = Zeroizing::new(places(choices));
        let (mut leaves, _) = FOREST.puncture(doubling, &places, &sums);
        let mut keys = streams_of_known(&leaves, &places, reader)?;
        leaves.zeroize();
        for (tree, place) in keys.chunks_exact_mut(LEAVES).zip(&*places) {
            by_distance(tree, *place);
        }
        let streams = keys.iter().map(|key| Permutation::new(*key)).collect();
        Ok(Self { streams, places })
    }

    /// The peer's factor.
    pub(crate) fn delta(&self) -> Block {
        let places = self.places.iter().rev();
        Block(places.fold(0u128, |all, place| all << BITS | *place as u128))
    }

    /// One tree's columns from block `first` on, into zeros: correct where a correction was.
    fn tree(
        &self,
        tree: usize,
        first: u64,
        correction: &[Block],
        cells: &mut [Block],
        work: &mut [Block],
    ) {
        let height = cells.len() / BITS;
        let mut own = Zeroizing::new(vec![Block::ZERO; height]);
        let streams = &self.streams[tree * LEAVES..(tree + 1) * LEAVES];
        sum_streams(streams, first, &mut own, cells, work);
        for (bit, column) in cells.chunks_exact_mut(height).enumerate() {
            add_where(column, correction, self.places[tree] >> bit);
        }
    }

    /// Columns for the owner's chosen bits, from its corrections for blocks from `first` on.
    pub(crate) fn chosen(&self, first: u64, message: &[u8]) -> Columns {
        let height = message.len() / chosen_bytes(1);
        let (mut columns, mut work) = (Columns::new(height), work());
        let corrections = message.chunks_exact(16 * height);
        let cells = columns.cells.chunks_exact_mut(BITS * height);
        for (tree, (cells, bytes)) in cells.zip(corrections).enumerate() {
            let blocks = bytes.as_chunks::<16>().0.iter();
            let correction: Vec<Block> = blocks.map(|block| Block::from_bytes(*block)).collect();
            self.tree(tree, first, &correction, cells, &mut work);
        }
        columns
    }
}

/// Put the stream of leaf i at place i ^ `place`, without an address that depends on the secret place.
fn by_distance(tree: &mut [Block], place: usize) {
    for bit in 0..BITS {
        let mask = (place as u128 >> bit & 1).wrapping_neg();
        for low in (0..LEAVES).filter(|low| low >> bit & 1 == 0) {
            let high = low | 1 << bit;
            let change = (tree[low].0 ^ tree[high].0) & mask;
            tree[low].0 ^= change;
            tree[high].0 ^= change;
        }
    }
}

/// The peer's side: Delta, and its columns, of which row i is `w_i`.
///
/// # Errors
/// `Fault::Malformed`, or `Fault::Cheated` where the owner's trees are not what it commits to.
pub(crate) fn meet(
    doubling: &Doubling,
    keys: &[Block],
    choices: u128,
    height: usize,
    reader: &mut Reader<'_>,
) -> Result<(Block, Columns), Fault> {
    let peer = Peer::meet(doubling, keys, choices, reader)?;
    let (mut columns, mut work) = (Columns::new(height), work());
    for (tree, cells) in columns.cells.chunks_exact_mut(BITS * height).enumerate() {
        // The first tree's bits are the owner's; it needs no correction.
        let correction = if tree > 0 {
            reader.blocks(height)?
        } else {
            Vec::new()
        };
        peer.tree(tree, 0, &correction, cells, &mut work);
    }
    Ok((peer.delta(), columns))
}

/// The leaf that each tree misses: of every level the side that was not chosen.
fn places(choices: u128) -> Vec<usize> {
    let side = |instance: usize| (!choices >> instance & 1) as usize;
    (0..FOREST.trees)
        .map(|tree| (0..BITS).fold(0, |place, level| place << 1 | side(tree * BITS + level)))
        .collect()
}

/// The keys of the streams, that of the missing leaf among them as a stray one, after the check of all tags.
fn streams_of_known(
    leaves: &[Block],
    places: &[usize],
    reader: &mut Reader<'_>,
) -> Result<Zeroizing<Vec<Block>>, Fault> {
    let (keys, mut tags): (Vec<Block>, Vec<Tag>) = leaves
        .iter()
        .enumerate()
        .map(|(number, x)| leaf(number, *x))
        .unzip();
    for (tree, place) in tags.chunks_exact_mut(LEAVES).zip(places) {
        let mut missing = reader.array::<TAG_BYTES>()?;
        for (number, tag) in tree.iter().enumerate() {
            let here = !(number as u64).ct_eq(&(*place as u64));
            for (sum, byte) in missing.iter_mut().zip(tag) {
                *sum ^= u8::conditional_select(&0, byte, here);
            }
        }
        for (number, tag) in tree.iter_mut().enumerate() {
            let here = (number as u64).ct_eq(&(*place as u64));
            for (byte, right) in tag.iter_mut().zip(&missing) {
                byte.conditional_assign(right, here);
            }
        }
    }
    let committed = reader.array::<TAG_BYTES>()?;
    if bool::from(commitment(&tags).ct_eq(&committed)) {
        Ok(Zeroizing::new(keys))
    } else {
        Err(Fault::Cheated {
            check: "small trees",
        })
    }
}

/// The universal hash of a column under a challenge: its last block masks.
fn hash(factors: &[Block], column: &[Block]) -> Block {
    let (mask, body) = column.split_last().unwrap_or((&Block::ZERO, &[]));
    inner_product(factors, body) ^ *mask
}

fn factors(challenge: Block, height: usize) -> Vec<Block> {
    let mut factors = vec![Block::ZERO; height.saturating_sub(1)];
    Stream::new(challenge).fill(0, &mut factors);
    factors
}

/// The owner's answer to a challenge.
pub(crate) fn prove(challenge: Block, bits: &[Block], columns: &Columns) -> Vec<u8> {
    let factors = factors(challenge, columns.height);
    let mut answer = vec![hash(&factors, bits)];
    answer.extend((0..COUNT).map(|index| hash(&factors, columns.column(index))));
    let mut message = Vec::with_capacity(PROOF_BYTES);
    put(&mut message, &answer);
    message
}

/// The peer's check of the answer: `H(w_i) = H(v_i) + Delta_i H(u)` in every column i.
///
/// # Errors
/// `Fault::Cheated` where it does not hold in all.
pub(crate) fn verify(
    challenge: Block,
    delta: Block,
    columns: &Columns,
    mut answer: Reader<'_>,
) -> Result<(), Fault> {
    let factors = factors(challenge, columns.height);
    let bits = answer.block()?;
    let mut difference = 0u128;
    for index in 0..COUNT {
        let theirs = answer.block()?;
        let chosen = bits.0 & (delta.0 >> index & 1).wrapping_neg();
        difference |= hash(&factors, columns.column(index)).0 ^ theirs.0 ^ chosen;
    }
    if bool::from(difference.ct_eq(&0)) {
        Ok(())
    } else {
        Err(Fault::Cheated {
            check: "transfer consistency",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEIGHT: usize = 9;

    struct Run {
        bits: Zeroizing<Vec<Block>>,
        own: Columns,
        message: Vec<u8>,
        choices: u128,
        keys: Vec<Block>,
    }

    fn doubling() -> Doubling {
        Doubling::new([Block(1), Block(2)])
    }

    fn run() -> Run {
        let choices = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;
        let both: Vec<[Block; 2]> = (0..128)
            .map(|i| [Block(i * 7 + 1), Block(i * 11 + 5000)])
            .collect();
        let keys = both
            .iter()
            .enumerate()
            .map(|(i, two)| two[(choices >> i & 1) as usize])
            .collect();
        let mut message = Vec::new();
        let (bits, own) = own(
            &mut Coins::of_test(9),
            &doubling(),
            &both,
            HEIGHT,
            &mut message,
        );
        Run {
            bits,
            own,
            message,
            choices,
            keys,
        }
    }

    fn met(run: &Run, message: &[u8]) -> Result<(Block, Columns), Fault> {
        let mut reader = Reader::new(message, columns_bytes(HEIGHT), "columns")?;
        meet(&doubling(), &run.keys, run.choices, HEIGHT, &mut reader)
    }

    #[test]
    fn rows_hold_the_bits_times_delta() {
        let run = run();
        let (delta, columns) = met(&run, &run.message).unwrap();
        for (i, (v, w)) in run.own.rows().iter().zip(columns.rows().iter()).enumerate() {
            let bit = run.bits[i / 128].0 >> (i % 128) & 1;
            assert_eq!(*w, Block(v.0 ^ delta.0 & bit.wrapping_neg()));
        }
    }

    #[test]
    fn an_honest_owner_passes_and_one_with_two_bit_strings_does_not() {
        let run = run();
        let answer = prove(Block(77), &run.bits, &run.own);
        for (flipped, passes) in [(None, true), (Some(run.message.len() - 1), false)] {
            let mut message = run.message.clone();
            if let Some(at) = flipped {
                message[at - 16] ^= 1;
            }
            let (delta, columns) = met(&run, &message).unwrap();
            let reader = Reader::new(&answer, PROOF_BYTES, "proof").unwrap();
            // The last column's four bits of Delta are not all zero here, so that the flip is felt.
            assert_ne!(delta.0 >> 124, 0);
            assert_eq!(verify(Block(77), delta, &columns, reader).is_ok(), passes);
        }
    }

    #[test]
    fn trees_other_than_committed_are_caught() {
        let run = run();
        for at in [FOREST.levels() * 32 + 3, columns_bytes(0) - 1] {
            let mut message = run.message.clone();
            message[at] ^= 1;
            let caught = Fault::Cheated {
                check: "small trees",
            };
            assert_eq!(met(&run, &message).err(), Some(caught));
        }
    }
}
