//! Distributed point functions: two keys, of which each alone says nothing, and whose expansions differ in one place.
//!
//! Boyle, Gilboa, Ishai, *Function Secret Sharing: Improvements and Extensions* (CCS 2016; eprint 2018/707), figure 1,
//! for outputs of one bit, with the early termination of its section 3.2.3: the last seven levels of the tree are one
//! block of 128 bits. The generator is AES-128 under public keys in the form of Matyas, Meyer and Oseas, h(x) =
//! AES(x) ^ x (Guo, Katz, Wang, Yu, eprint 2019/074; see `permutation`): one key for each side of a node and one for
//! the last block. `permutation` runs on AES-NI where the processor has it, and in constant time anywhere.
//!
//! Adversary: each holder of a key by itself, whatever it does. Making keys touches no branch and no index that
//! depends on the place. A key's length depends on the depth alone.

use crate::block::Block;
use crate::permutation::{fresh_block, Permutation};
use crate::protocol::Fault;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Levels that one block stands for.
pub const LEAF_LEVELS: u32 = 7;
/// Places of one block.
pub const LEAF: usize = 1 << LEAF_LEVELS;
/// The deepest tree above the blocks: 2^32 places.
pub const MAX_DEPTH: usize = 25;
const BLOCK: usize = 16;
const WORD: usize = BLOCK + 1;

/// Levels above the blocks, for so many places.
#[must_use]
pub const fn depth_for(places: usize) -> usize {
    let blocks = places.div_ceil(LEAF);
    blocks.next_power_of_two().trailing_zeros() as usize
}

/// Bytes of a key.
#[must_use]
pub const fn key_bytes(depth: usize) -> usize {
    1 + BLOCK + depth * WORD + BLOCK
}

/// What both keys have in common of one level: a seed without its last bit, and a bit for each side.
#[derive(Clone, PartialEq, Eq, Zeroize)]
struct Word {
    seed: u128,
    bits: [u128; 2],
}

/// One server's key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    party: u8,
    root: u128,
    words: Vec<Word>,
    last: u128,
}

struct Generator {
    sides: [Permutation; 2],
    last: Permutation,
}

impl Generator {
    fn new() -> Self {
        let key = |name: &[u8; 16]| Permutation::new(Block::from_bytes(*name));
        Self {
            sides: [key(b"fondaco/dpf/left"), key(b"fondaco/dpf/righ")],
            last: key(b"fondaco/dpf/last"),
        }
    }

    /// Both children of a node whose last bit is clear; each child's last bit is its control bit.
    fn children(&self, node: u128) -> [u128; 2] {
        [0, 1].map(|side| hashed(&self.sides[side], node))
    }
}

fn hashed(permutation: &Permutation, node: u128) -> u128 {
    let mut blocks = [Block(node)];
    permutation.hash_each(&mut blocks);
    blocks[0].0
}

/// All ones where `bit` is 1, else zero.
const fn mask(bit: u128) -> u128 {
    0u128.wrapping_sub(bit & 1)
}

/// Two keys for a place below 2^(depth + 7).
///
/// # Errors
/// `Fault::Input`: the operating system gives no randomness.
///
/// # Panics
/// If the place is not below that, or the tree too deep.
pub fn generate(depth: usize, place: u64) -> Result<[Key; 2], Fault> {
    Ok(generate_from(
        depth,
        place,
        [fresh_block()?.0, fresh_block()?.0],
    ))
}

/// The same from given roots.
fn generate_from(depth: usize, place: u64, roots: [u128; 2]) -> [Key; 2] {
    assert!(depth <= MAX_DEPTH && place >> (depth as u32 + LEAF_LEVELS) == 0);
    let generator = Generator::new();
    let roots = roots.map(|root| root & !1);
    // The last bit of a node is its control bit: 0 at one root, 1 at the other.
    let mut nodes = [roots[0], roots[1] | 1];
    let mut words = Vec::with_capacity(depth);
    for level in 0..depth {
        let bit = u128::from(place >> (depth - 1 - level + LEAF_LEVELS as usize)) & 1;
        let children = nodes.map(|node| generator.children(node & !1));
        let both = [0, 1].map(|side: usize| children[0][side] ^ children[1][side]);
        let lost = both[0] ^ (mask(bit ^ 1) & (both[0] ^ both[1]));
        let word = Word {
            seed: lost & !1,
            bits: [(both[0] ^ bit ^ 1) & 1, (both[1] ^ bit) & 1],
        };
        for (node, children) in nodes.iter_mut().zip(&children) {
            let kept = children[0] ^ (mask(bit) & (children[0] ^ children[1]));
            let kept_bit = word.bits[0] ^ (mask(bit) & (word.bits[0] ^ word.bits[1]));
            *node = kept ^ (mask(*node) & (word.seed | kept_bit));
        }
        words.push(word);
    }
    let ends = nodes.map(|node| hashed(&generator.last, node & !1));
    let last = ends[0] ^ ends[1] ^ (1u128 << (place as u32 % LEAF as u32));
    nodes.zeroize();
    [0u8, 1].map(|party| Key {
        party,
        root: roots[usize::from(party)],
        words: words.clone(),
        last,
    })
}

impl Key {
    /// As bytes: `key_bytes(depth)`, whatever the place.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.party];
        out.extend_from_slice(&self.root.to_le_bytes());
        for word in &self.words {
            out.extend_from_slice(&word.seed.to_le_bytes());
            out.push((word.bits[0] | word.bits[1] << 1) as u8);
        }
        out.extend_from_slice(&self.last.to_le_bytes());
        out
    }

    /// From bytes, strictly: the exact length, the party that it is for, and nothing where nothing may be.
    #[must_use]
    pub fn from_bytes(party: u8, depth: usize, bytes: &[u8]) -> Option<Self> {
        if depth > MAX_DEPTH || party > 1 || bytes.len() != key_bytes(depth) || bytes[0] != party {
            return None;
        }
        let block = |at: usize| Some(u128::from_le_bytes(bytes[at..at + BLOCK].try_into().ok()?));
        let root = block(1)?;
        let mut words = Vec::with_capacity(depth);
        for at in (1 + BLOCK..bytes.len() - BLOCK).step_by(WORD) {
            let (seed, bits) = (block(at)?, bytes[at + BLOCK]);
            if seed & 1 != 0 || bits > 3 {
                return None;
            }
            words.push(Word {
                seed,
                bits: [u128::from(bits & 1), u128::from(bits >> 1)],
            });
        }
        let last = block(bytes.len() - BLOCK)?;
        (root & 1 == 0).then_some(Self {
            party,
            root,
            words,
            last,
        })
    }

    /// The expansion: a bit for each place, 128 in a block, the lowest first.
    #[must_use]
    pub fn expand(&self) -> Vec<u128> {
        let generator = Generator::new();
        let mut nodes = vec![Block(self.root | u128::from(self.party))];
        for word in &self.words {
            let mut left: Vec<Block> = nodes.iter().map(|node| Block(node.0 & !1)).collect();
            let mut right = left.clone();
            generator.sides[0].hash_each(&mut left);
            generator.sides[1].hash_each(&mut right);
            let corrections = word.bits.map(|bit| word.seed | bit);
            nodes = nodes
                .iter()
                .zip(left.iter().zip(&right))
                .flat_map(|(node, (left, right))| {
                    let mask = mask(node.0);
                    [
                        Block(left.0 ^ (mask & corrections[0])),
                        Block(right.0 ^ (mask & corrections[1])),
                    ]
                })
                .collect();
        }
        let mut ends: Vec<Block> = nodes.iter().map(|node| Block(node.0 & !1)).collect();
        generator.last.hash_each(&mut ends);
        ends.iter()
            .zip(&nodes)
            .map(|(end, node)| end.0 ^ (mask(node.0) & self.last))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ones(keys: &[Key; 2]) -> Vec<usize> {
        let [first, second] = keys.each_ref().map(Key::expand);
        let mut ones = Vec::new();
        for (number, (a, b)) in first.iter().zip(&second).enumerate() {
            ones.extend(
                (0..LEAF)
                    .filter(|bit| (a ^ b) >> bit & 1 == 1)
                    .map(|bit| number * LEAF + bit),
            );
        }
        ones
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_expansions_differ_in_the_place_alone(depth in 0usize..9, place: u64) {
            let place = place % (1 << (depth + 7));
            let keys = generate(depth, place).expect("randomness");
            prop_assert_eq!(ones(&keys), [place as usize]);
            for (party, key) in keys.iter().enumerate() {
                let bytes = key.to_bytes();
                prop_assert_eq!(bytes.len(), key_bytes(depth));
                prop_assert!(Key::from_bytes(party as u8, depth, &bytes) == Some(key.clone()));
                prop_assert!(Key::from_bytes(1 - party as u8, depth, &bytes).is_none());
                prop_assert!(Key::from_bytes(party as u8, depth + 1, &bytes).is_none());
            }
        }

        #[test]
        fn no_bytes_break_the_decoder(depth in 0usize..30, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(key) = Key::from_bytes(0, depth, &bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_right_length_is_not_enough(depth in 0usize..6, mut filled in prop::collection::vec(any::<u8>(), key_bytes(6))) {
            filled.truncate(key_bytes(depth));
            if let Some(key) = Key::from_bytes(1, depth, &filled) {
                prop_assert_eq!(key.to_bytes(), filled);
                prop_assert_eq!(key.expand().len(), 1 << depth);
            }
        }
    }

    #[test]
    fn the_depth_is_enough_for_the_places_and_no_more() {
        for (places, depth) in [
            (1, 0),
            (128, 0),
            (129, 1),
            (256, 1),
            (257, 2),
            (1 << 20, 13),
        ] {
            assert_eq!(depth_for(places), depth);
        }
    }

    #[test]
    fn one_key_leans_to_no_place() {
        // Half of the bits of one key's expansion are set, wherever its place is: 8192 bits have a deviation of 45.
        for place in [0, 4095, 8191] {
            for key in &generate(6, place).expect("randomness") {
                let set: u32 = key.expand().iter().map(|block| block.count_ones()).sum();
                assert!((3700..4500).contains(&set), "{set}");
            }
        }
    }

    #[test]
    fn keys_and_expansions_are_the_recorded_ones() {
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/dpf_vectors.json")).expect("JSON");
        for vector in recorded.as_array().expect("a list") {
            let number = |name: &str| vector[name].as_u64().expect("a number");
            let roots = [0, 1].map(|party: usize| {
                let text = vector["roots"][party].as_str().expect("hex");
                u128::from_str_radix(text, 16).expect("hex")
            });
            let keys = generate_from(number("depth") as usize, number("place"), roots);
            for (party, key) in keys.iter().enumerate() {
                let text = vector["keys"][party].as_str().expect("hex");
                let bytes: Vec<u8> = (0..text.len() / 2)
                    .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
                    .collect();
                assert_eq!(key.to_bytes(), bytes);
            }
        }
    }
}
