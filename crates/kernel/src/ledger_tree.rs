//! The update of the compact sparse Merkle tree of `fondaco.ledger.state`, whose module says what the tree is.
//!
//! One call applies a block's changes. Nodes that are needed come from the caller, who owns the store; what changes is
//! given back and written by the caller. Pure and deterministic; everything here is public, so time may depend on it.
//! Trusts the source to give back what was put there.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// Bytes of a hash, of a key's path and of a value's hash.
pub const HASH_BYTES: usize = 32;
/// Bytes of a node: its kind and two hashes.
pub const NODE_BYTES: usize = 65;
/// The hash of a subtree with no key.
pub const EMPTY: Hash = [0; HASH_BYTES];
/// Levels below the root.
pub const DEPTH: usize = 256;

const LEAF: u8 = 2;
const INNER: u8 = 3;

/// A SHA-256, or a path.
pub type Hash = [u8; HASH_BYTES];
/// A stored node.
pub type Node = [u8; NODE_BYTES];

/// A key's path and its value's hash; `None` removes the key.
pub type Change = (Hash, Option<Hash>);

/// The change of a key to a value, or its removal.
#[must_use]
pub fn change(key: &[u8], value: Option<&[u8]>) -> Change {
    let hashed = |bytes: &[u8]| Sha256::digest(bytes).into();
    (hashed(key), value.map(hashed))
}

/// Where committed nodes are.
pub trait Nodes {
    /// What goes wrong there.
    type Error;

    /// The node at a place, or `None`.
    ///
    /// # Errors
    /// The store's own.
    fn node(&mut self, place: &[u8]) -> Result<Option<Node>, Self::Error>;
}

/// What an update leaves.
#[derive(Debug)]
pub struct Updated {
    /// The new root.
    pub root: Hash,
    /// Nodes to write by place; `None` removes one.
    pub written: HashMap<Vec<u8>, Option<Node>>,
    /// What was read of the store; every node that `written` overwrites is here.
    pub read: HashMap<Vec<u8>, Option<Node>>,
}

/// The name of a place: its depth, and as many bits of path.
#[must_use]
pub fn place(depth: usize, path: &Hash) -> Vec<u8> {
    let whole = depth.div_ceil(8);
    let mut name = Vec::with_capacity(2 + whole);
    name.extend_from_slice(&(depth as u64).to_be_bytes()[6..]);
    // As a number of `depth` bits in the fewest bytes, which is how Python writes it: to the right.
    let shift = whole * 8 - depth;
    let mut above = 0u8;
    for byte in &path[..whole] {
        let moved = if shift == 0 {
            *byte
        } else {
            above << (8 - shift) | byte >> shift
        };
        name.push(moved);
        above = *byte;
    }
    name
}

fn bit(path: &Hash, depth: usize) -> usize {
    usize::from(path[depth >> 3] >> (7 - (depth & 7)) & 1)
}

fn hash(node: Option<&Node>) -> Hash {
    node.map_or(EMPTY, |node| Sha256::digest(node).into())
}

fn leaf(path: &Hash, value: &Hash) -> Node {
    join(LEAF, path, value)
}

fn join(kind: u8, left: &Hash, right: &Hash) -> Node {
    let mut node = [0; NODE_BYTES];
    node[0] = kind;
    node[1..=HASH_BYTES].copy_from_slice(left);
    node[1 + HASH_BYTES..].copy_from_slice(right);
    node
}

fn path_of(node: &Node) -> Hash {
    let mut path = EMPTY;
    path.copy_from_slice(&node[1..=HASH_BYTES]);
    path
}

struct Update<'a, N> {
    nodes: &'a mut N,
    written: HashMap<Vec<u8>, Option<Node>>,
    read: HashMap<Vec<u8>, Option<Node>>,
}

/// The path whose bit at `depth` is turned, for the name of the place beside.
fn turned(path: &Hash, depth: usize) -> Hash {
    let mut other = *path;
    other[depth >> 3] ^= 1 << (7 - (depth & 7));
    other
}

impl<N: Nodes> Update<'_, N> {
    fn load(&mut self, depth: usize, path: &Hash) -> Result<Option<Node>, N::Error> {
        let name = place(depth, path);
        if let Some(node) = self.written.get(&name).or_else(|| self.read.get(&name)) {
            return Ok(*node);
        }
        let node = self.nodes.node(&name)?;
        self.read.insert(name, node);
        Ok(node)
    }

    fn put(&mut self, depth: usize, path: &Hash, node: Option<Node>) {
        self.written.insert(place(depth, path), node);
    }

    /// The node that belongs at the place of `path` after `moves`, which all lie below it; places below are written.
    fn apply(
        &mut self,
        depth: usize,
        path: &Hash,
        moves: &[Change],
    ) -> Result<Option<Node>, N::Error> {
        let node = self.load(depth, path)?;
        if let Some(inner) = node.filter(|node| node[0] == INNER) {
            return self.descend(depth, path, moves, &inner);
        }
        let mut kept: Vec<(Hash, Hash)> = moves
            .iter()
            .filter_map(|(path, value)| value.map(|value| (*path, value)))
            .collect();
        if let Some(node) = node {
            let there = path_of(&node);
            if let Err(at) = moves.binary_search_by(|(path, _)| path.cmp(&there)) {
                let removed = moves[..at]
                    .iter()
                    .filter(|(_, value)| value.is_none())
                    .count();
                let mut value = EMPTY;
                value.copy_from_slice(&node[1 + HASH_BYTES..]);
                kept.insert(at - removed, (there, value));
            }
        }
        Ok(self.build(depth, &kept))
    }

    fn descend(
        &mut self,
        depth: usize,
        path: &Hash,
        moves: &[Change],
        inner: &Node,
    ) -> Result<Option<Node>, N::Error> {
        let cut = moves.partition_point(|(path, _)| bit(path, depth) == 0);
        let sides = [&moves[..cut], &moves[cut..]];
        let mut nodes = [None, None];
        let mut hashes = [EMPTY, EMPTY];
        for (side, moves) in sides.into_iter().enumerate() {
            if let Some((below, _)) = moves.first() {
                nodes[side] = self.apply(depth + 1, below, moves)?;
                self.put(depth + 1, below, nodes[side]);
                hashes[side] = hash(nodes[side].as_ref());
            } else {
                hashes[side].copy_from_slice(&inner[1 + side * HASH_BYTES..][..HASH_BYTES]);
            }
        }
        if hashes == [EMPTY, EMPTY] {
            return Ok(None);
        }
        // Beside an empty place a leaf moves up; only then must an untouched side be read.
        for side in 0..2 {
            if hashes[1 - side] != EMPTY {
                continue;
            }
            if sides[side].is_empty() {
                let below = if bit(path, depth) == side {
                    *path
                } else {
                    turned(path, depth)
                };
                nodes[side] = self.load(depth + 1, &below)?;
            }
            if let Some(only) = nodes[side].filter(|node| node[0] == LEAF) {
                self.put(depth + 1, &path_of(&only), None);
                return Ok(Some(only));
            }
        }
        Ok(Some(join(INNER, &hashes[0], &hashes[1])))
    }

    fn build(&mut self, depth: usize, leaves: &[(Hash, Hash)]) -> Option<Node> {
        match leaves {
            [] => None,
            [(path, value)] => Some(leaf(path, value)),
            [(first, _), ..] => {
                let cut = leaves.partition_point(|(path, _)| bit(path, depth) == 0);
                let left = self.build(depth + 1, &leaves[..cut]);
                let right = self.build(depth + 1, &leaves[cut..]);
                let other = turned(first, depth);
                let (low, high) = if bit(first, depth) == 0 {
                    (first, &other)
                } else {
                    (&other, first)
                };
                self.put(depth + 1, low, left);
                self.put(depth + 1, high, right);
                Some(join(INNER, &hash(left.as_ref()), &hash(right.as_ref())))
            }
        }
    }
}

/// Apply a block's changes, each path once.
///
/// # Errors
/// The store's own; nothing is to be written then.
pub fn update<N: Nodes>(nodes: &mut N, mut changes: Vec<Change>) -> Result<Updated, N::Error> {
    changes.sort_unstable_by_key(|change| change.0);
    let mut update = Update {
        nodes,
        written: HashMap::with_capacity(changes.len() * 4),
        read: HashMap::with_capacity(changes.len() * 4),
    };
    let root = if changes.is_empty() {
        update.load(0, &EMPTY)?
    } else {
        let root = update.apply(0, &EMPTY, &changes)?;
        update.put(0, &EMPTY, root);
        root
    };
    Ok(Updated {
        root: hash(root.as_ref()),
        written: update.written,
        read: update.read,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    struct Kept(HashMap<Vec<u8>, Node>);

    impl Nodes for Kept {
        type Error = Infallible;

        fn node(&mut self, place: &[u8]) -> Result<Option<Node>, Infallible> {
            Ok(self.0.get(place).copied())
        }
    }

    /// The root by the definition, from the whole content.
    fn root_of(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
        match leaves {
            [] => EMPTY,
            [(path, value)] => hash(Some(&leaf(path, value))),
            _ => {
                let cut = leaves.partition_point(|(path, _)| bit(path, depth) == 0);
                let (left, right) = leaves.split_at(cut);
                hash(Some(&join(
                    INNER,
                    &root_of(left, depth + 1),
                    &root_of(right, depth + 1),
                )))
            }
        }
    }

    /// Few paths, near each other and far: so leaves meet, split and move up.
    fn path() -> impl Strategy<Value = Hash> {
        (0u8..8, 0usize..4, 0u8..4).prop_map(|(first, place, last)| {
            let mut path = [0; HASH_BYTES];
            path[0] = first << 5;
            path[[0, 1, 2, 31][place]] |= last;
            path
        })
    }

    proptest! {
        #[test]
        fn an_updated_tree_is_the_tree_of_its_content(
            blocks in prop::collection::vec(
                prop::collection::btree_map(path(), prop::option::of(any::<[u8; HASH_BYTES]>()), 0..12),
                1..8,
            )
        ) {
            let mut content = BTreeMap::new();
            let mut kept = Kept(HashMap::new());
            for block in blocks {
                for (path, value) in &block {
                    match value {
                        Some(value) => { content.insert(*path, *value); }
                        None => { content.remove(path); }
                    }
                }
                let Ok(done) = update(&mut kept, block.into_iter().collect());
                for (place, node) in done.written {
                    prop_assert_eq!(kept.0.get(&place).copied(), done.read.get(&place).copied().flatten());
                    match node {
                        Some(node) => { kept.0.insert(place, node); }
                        None => { kept.0.remove(&place); }
                    }
                }
                let leaves: Vec<_> = content.iter().map(|(path, value)| (*path, *value)).collect();
                prop_assert_eq!(done.root, root_of(&leaves, 0));
                // Nothing is left behind: as many nodes as the content needs.
                prop_assert_eq!(kept.0.len(), nodes_of(&leaves, 0));
            }
        }
    }

    fn nodes_of(leaves: &[(Hash, Hash)], depth: usize) -> usize {
        if leaves.len() < 2 {
            return leaves.len();
        }
        let cut = leaves.partition_point(|(path, _)| bit(path, depth) == 0);
        1 + nodes_of(&leaves[..cut], depth + 1) + nodes_of(&leaves[cut..], depth + 1)
    }

    #[test]
    fn a_place_is_named_as_python_names_it() {
        let mut path = [0; HASH_BYTES];
        path[0] = 0b1011_0000;
        path[1] = 0b1000_0000;
        assert_eq!(place(0, &path), [0, 0]);
        assert_eq!(place(4, &path), [0, 4, 0b1011]);
        assert_eq!(place(8, &path), [0, 8, 0b1011_0000]);
        assert_eq!(place(9, &path), [0, 9, 1, 0b0110_0001]);
    }
}
