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
use super::ggm::Forest;
use super::prg::{Coins, Doubling, Stream};
use super::wire::{put, Reader};
use crate::block::Block;
use crate::protocol::Fault;
use crate::simd::clmul::inner_product;
use rayon::prelude::*;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bits of Delta a tree: more would be fewer bytes and more streams to sum.
const BITS: usize = 4;
const LEAVES: usize = 1 << BITS;
const FOREST: Forest = Forest {
    trees: COUNT / BITS,
    depth: BITS,
};
const TAG_BYTES: usize = 32;
type Tag = [u8; TAG_BYTES];

/// How long the owner's message is for columns of `height` blocks.
pub(crate) const fn columns_bytes(height: usize) -> usize {
    FOREST.levels() * 32 + FOREST.trees * TAG_BYTES + TAG_BYTES + (FOREST.trees - 1) * height * 16
}

/// How long the owner's answer to the challenge is.
pub(crate) const PROOF_BYTES: usize = 16 * (1 + COUNT);

/// 128 columns of bits, each `height` blocks high.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Columns {
    height: usize,
    cells: Vec<Block>,
}

impl Columns {
    fn new(height: usize) -> Self {
        Self {
            height,
            cells: vec![Block::ZERO; COUNT * height],
        }
    }

    fn column(&self, index: usize) -> &[Block] {
        &self.cells[index * self.height..(index + 1) * self.height]
    }

    /// Read by rows: bit i of row r is bit r of column i.
    pub(crate) fn rows(&self) -> Zeroizing<Vec<Block>> {
        let mut rows = Zeroizing::new(vec![Block::ZERO; COUNT * self.height]);
        let (squares, _) = rows.as_chunks_mut::<COUNT>();
        squares.par_iter_mut().enumerate().for_each(|(at, square)| {
            for (index, row) in square.iter_mut().enumerate() {
                *row = self.cells[index * self.height + at];
            }
            transpose(square);
        });
        rows
    }
}

/// A square of bits on its diagonal: halves of ever smaller squares change places.
fn transpose(square: &mut [Block; COUNT]) {
    let (mut width, mut mask) = (64, u128::from(u64::MAX));
    while width > 0 {
        for upper in (0..COUNT).filter(|row| row & width == 0) {
            let change = (square[upper].0 >> width ^ square[upper + width].0) & mask;
            square[upper].0 ^= change << width;
            square[upper + width].0 ^= change;
        }
        width /= 2;
        mask ^= mask << width;
    }
}

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

fn add(to: &mut [Block], from: &[Block], factor: usize) {
    let mask = (factor as u128 & 1).wrapping_neg();
    for (a, b) in to.iter_mut().zip(from) {
        a.0 ^= b.0 & mask;
    }
}

/// Sum a tree's 16 streams into `bits`, and into each of its columns where the leaf's number, less `shift`, has the
/// column's bit.
fn sum_streams(keys: &[Block], shift: usize, bits: &mut [Block], columns: &mut [Block]) {
    let height = bits.len();
    let mut stream = Zeroizing::new(vec![Block::ZERO; height]);
    for (number, key) in keys.iter().enumerate() {
        Stream::new(*key).fill(0, &mut stream);
        add(bits, &stream, 1);
        for (bit, column) in columns.chunks_exact_mut(height).enumerate() {
            add(column, &stream, (number ^ shift) >> bit);
        }
    }
}

/// The owner's side: its bits u, 128 a block; its columns, of which row i is `v_i`; its message.
pub(crate) fn own(
    coins: &mut Coins,
    doubling: &Doubling,
    keys: &[[Block; 2]],
    height: usize,
    message: &mut Vec<u8>,
) -> (Zeroizing<Vec<Block>>, Columns) {
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
    let mut columns = Columns::new(height);
    let mut bits = Zeroizing::new(vec![Block::ZERO; FOREST.trees * height]);
    bits.par_chunks_mut(height)
        .zip(columns.cells.par_chunks_mut(BITS * height))
        .zip(seeds.par_chunks(LEAVES))
        .for_each(|((bits, columns), seeds)| sum_streams(seeds, 0, bits, columns));
    let (first, others) = bits.split_at_mut(height);
    for other in others.chunks_exact_mut(height) {
        add(other, first, 1);
        put(message, other);
    }
    let first = Zeroizing::new(first.to_vec());
    (first, columns)
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
    let mut sums = Zeroizing::new(Vec::with_capacity(COUNT));
    for (instance, key) in keys.iter().enumerate() {
        let [zero, one] = [reader.block()?, reader.block()?];
        let mask = (choices >> instance & 1).wrapping_neg();
        sums.push(Block(zero.0 ^ (zero.0 ^ one.0) & mask) ^ *key);
    }
    let places = Zeroizing::new(places(choices));
    let (mut leaves, _) = FOREST.puncture(doubling, &places, &sums);
    let keys = streams_of_known(&leaves, &places, reader)?;
    leaves.zeroize();
    let mut columns = Columns::new(height);
    let mut own = Zeroizing::new(vec![Block::ZERO; height]);
    for (tree, place) in places.iter().enumerate() {
        let cells = &mut columns.cells[tree * BITS * height..(tree + 1) * BITS * height];
        own.fill(Block::ZERO);
        sum_streams(
            &keys[tree * LEAVES..(tree + 1) * LEAVES],
            *place,
            &mut own,
            cells,
        );
        if tree > 0 {
            let correction = reader.blocks(height)?;
            for (bit, column) in cells.chunks_exact_mut(height).enumerate() {
                add(column, &correction, place >> bit);
            }
        }
    }
    let delta = places
        .iter()
        .rev()
        .fold(0u128, |all, place| all << BITS | *place as u128);
    Ok((Block(delta), columns))
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
    fn a_transposed_square_has_its_bits_across() {
        let mut square: [Block; 128] = std::array::from_fn(|i| Block((i as u128 + 3).pow(17)));
        let before = square;
        transpose(&mut square);
        for (i, row) in before.iter().enumerate() {
            for (j, column) in square.iter().enumerate() {
                assert_eq!(row.0 >> j & 1, column.0 >> i & 1);
            }
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
