//! The update of the compact sparse Merkle tree of `fondaco.ledger.state`, whose module says what the tree is.
//!
//! One call applies a block's changes. Nodes are kept in pages of four levels, since a store pays for each row: pages that
//! are needed come from the caller, who owns the store; what changes is given back and written by the caller. Pure and
//! deterministic; everything here is public, so time may depend on it. Trusts the source to give back what was put there.

use std::collections::hash_map::Entry;
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

/// Levels of a page.
const LEVELS: usize = 4;
/// The most nodes of a page.
const SLOTS: usize = (1 << LEVELS) - 1;
/// Bytes of a page that say which nodes are there.
const HEAD: usize = 2;

/// Where committed pages are.
pub trait Pages {
    /// What goes wrong there.
    type Error;

    /// The page of a name, or `None`; a page that `Page::read` refuses is for the source to report.
    ///
    /// # Errors
    /// The store's own.
    fn page(&mut self, name: &[u8]) -> Result<Option<Page>, Self::Error>;
}

/// The nodes of four levels below one place, in order: that of the place, the two below it, the four below those, eight.
///
/// As bytes: which are there, as a number of two bytes whose bit n is the n-th node's, then those, 65 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page([Option<Node>; SLOTS]);

impl Page {
    const EMPTY: Self = Self([None; SLOTS]);

    /// A page from its bytes; `None` if they are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, nodes) = bytes.split_first_chunk::<HEAD>()?;
        let there = u16::from_be_bytes(*head);
        if there == 0
            || usize::from(there) > (1 << SLOTS) - 1
            || nodes.len() != there.count_ones() as usize * NODE_BYTES
        {
            return None;
        }
        let mut nodes = nodes.chunks_exact(NODE_BYTES);
        let mut page = Self::EMPTY;
        for (slot, place) in page.0.iter_mut().enumerate() {
            if there >> slot & 1 == 1 {
                *place = Some(nodes.next()?.try_into().ok()?);
            }
        }
        Some(page)
    }

    /// Its bytes; `None` for one without nodes, which is not kept.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let there = (0..SLOTS)
            .filter(|slot| self.0[*slot].is_some())
            .fold(0u16, |all, slot| all | 1 << slot);
        let mut bytes = Vec::with_capacity(HEAD + there.count_ones() as usize * NODE_BYTES);
        bytes.extend_from_slice(&there.to_be_bytes());
        bytes.extend(self.0.iter().flatten().flatten());
        (there > 0).then_some(bytes)
    }
}

/// What an update leaves.
#[derive(Debug)]
pub struct Updated {
    /// The new root.
    pub root: Hash,
    /// The pages that changed, in order of names.
    pub changed: Vec<Changed>,
}

/// A page that an update changed.
#[derive(Debug)]
pub struct Changed {
    /// Its name.
    pub name: Vec<u8>,
    /// What stood there.
    pub before: Option<Page>,
    /// What is to be written; `None` removes it.
    pub now: Option<Vec<u8>>,
}

/// The name of the page that holds the node at a depth on a path, and the node's number in it.
///
/// A page's name is the bits of path above it, in whole bytes filled up with zeros, then a fourth of its depth in one byte.
/// So pages on one path are neighbours in a store that is in order of names.
#[must_use]
pub fn place(depth: usize, path: &Hash) -> (Vec<u8>, usize) {
    let (above, below) = (depth - depth % LEVELS, depth % LEVELS);
    let whole = above.div_ceil(8);
    let mut name = Vec::with_capacity(whole + 1);
    name.extend_from_slice(&path[..whole]);
    if above % 8 > 0 {
        name[whole - 1] &= 0xf0;
    }
    name.extend_from_slice(&(above / LEVELS).to_le_bytes()[..1]);
    let turns = (above..depth).fold(0, |turns, depth| turns << 1 | bit(path, depth));
    (name, (1 << below) - 1 + turns)
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

/// A page as it was read, and as it is now.
struct Held {
    before: Option<Page>,
    now: Page,
}

struct Update<'a, N> {
    source: &'a mut N,
    held: HashMap<Vec<u8>, Held>,
}

/// The path whose bit at `depth` is turned, for the name of the place beside.
fn turned(path: &Hash, depth: usize) -> Hash {
    let mut other = *path;
    other[depth >> 3] ^= 1 << (7 - (depth & 7));
    other
}

impl<N: Pages> Update<'_, N> {
    fn page(&mut self, name: Vec<u8>) -> Result<&mut Page, N::Error> {
        Ok(&mut match self.held.entry(name) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let before = self.source.page(free.key())?;
                let now = before.clone().unwrap_or(Page::EMPTY);
                free.insert(Held { before, now })
            }
        }
        .now)
    }

    /// Nothing is at this place, nor below: a page that begins here is not asked for.
    fn know_empty(&mut self, depth: usize, path: &Hash) {
        if depth.is_multiple_of(LEVELS) {
            self.held.entry(place(depth, path).0).or_insert(Held {
                before: None,
                now: Page::EMPTY,
            });
        }
    }

    fn load(&mut self, depth: usize, path: &Hash) -> Result<Option<Node>, N::Error> {
        let (name, slot) = place(depth, path);
        Ok(self.page(name)?.0[slot])
    }

    fn put(&mut self, depth: usize, path: &Hash, node: Option<Node>) -> Result<(), N::Error> {
        let (name, slot) = place(depth, path);
        self.page(name)?.0[slot] = node;
        Ok(())
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
        self.build(depth, &kept)
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
                if inner[1 + side * HASH_BYTES..][..HASH_BYTES] == EMPTY {
                    self.know_empty(depth + 1, below);
                }
                nodes[side] = self.apply(depth + 1, below, moves)?;
                self.put(depth + 1, below, nodes[side])?;
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
                self.put(depth + 1, &path_of(&only), None)?;
                return Ok(Some(only));
            }
        }
        Ok(Some(join(INNER, &hashes[0], &hashes[1])))
    }

    fn build(&mut self, depth: usize, leaves: &[(Hash, Hash)]) -> Result<Option<Node>, N::Error> {
        Ok(match leaves {
            [] => None,
            [(path, value)] => Some(leaf(path, value)),
            [(first, _), ..] => {
                let cut = leaves.partition_point(|(path, _)| bit(path, depth) == 0);
                let other = turned(first, depth);
                let (low, high) = if bit(first, depth) == 0 {
                    (first, &other)
                } else {
                    (&other, first)
                };
                self.know_empty(depth + 1, low);
                self.know_empty(depth + 1, high);
                let left = self.build(depth + 1, &leaves[..cut])?;
                let right = self.build(depth + 1, &leaves[cut..])?;
                self.put(depth + 1, low, left)?;
                self.put(depth + 1, high, right)?;
                Some(join(INNER, &hash(left.as_ref()), &hash(right.as_ref())))
            }
        })
    }
}

/// Apply a block's changes, each path once.
///
/// # Errors
/// The store's own; nothing is to be written then.
pub fn update<N: Pages>(source: &mut N, mut changes: Vec<Change>) -> Result<Updated, N::Error> {
    changes.sort_unstable_by_key(|change| change.0);
    let mut update = Update {
        source,
        held: HashMap::with_capacity(changes.len() * 2),
    };
    let root = if changes.is_empty() {
        update.load(0, &EMPTY)?
    } else {
        let root = update.apply(0, &EMPTY, &changes)?;
        update.put(0, &EMPTY, root)?;
        root
    };
    let mut pages: Vec<_> = update
        .held
        .into_iter()
        .filter(|(_, held)| held.before.as_ref().unwrap_or(&Page::EMPTY) != &held.now)
        .map(|(name, held)| Changed {
            name,
            before: held.before,
            now: held.now.to_bytes(),
        })
        .collect();
    pages.sort_unstable_by(|one: &Changed, other| one.name.cmp(&other.name));
    Ok(Updated {
        root: hash(root.as_ref()),
        changed: pages,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    struct Kept(HashMap<Vec<u8>, Vec<u8>>);

    impl Pages for Kept {
        type Error = Infallible;

        fn page(&mut self, name: &[u8]) -> Result<Option<Page>, Infallible> {
            Ok(self.0.get(name).map(|bytes| Page::read(bytes).unwrap()))
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
                for Changed { name, before, now } in done.changed {
                    prop_assert_eq!(kept.0.get(&name).cloned(), before.and_then(|page| page.to_bytes()));
                    match now {
                        Some(page) => { kept.0.insert(name, page); }
                        None => { kept.0.remove(&name); }
                    }
                }
                let leaves: Vec<_> = content.iter().map(|(path, value)| (*path, *value)).collect();
                prop_assert_eq!(done.root, root_of(&leaves, 0));
                // Nothing is left behind: as many nodes as the content needs.
                let held: usize = kept.0.values().map(|page| page.len() / NODE_BYTES).sum();
                prop_assert_eq!(held, nodes_of(&leaves, 0));
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
        assert_eq!(place(0, &path), (vec![0], 0));
        assert_eq!(place(1, &path), (vec![0], 2));
        assert_eq!(place(3, &path), (vec![0], 7 + 0b101));
        assert_eq!(place(4, &path), (vec![0b1011_0000, 1], 0));
        assert_eq!(place(8, &path), (vec![0b1011_0000, 2], 0));
        assert_eq!(place(9, &path), (vec![0b1011_0000, 2], 2));
        assert_eq!(place(12, &path), (vec![0b1011_0000, 0b1000_0000, 3], 0));
        assert_eq!(place(256, &path).0.len(), 33);
    }

    proptest! {
        #[test]
        fn a_page_is_its_bytes_and_no_others(nodes in prop::collection::vec(prop::option::of(any::<u8>()), SLOTS), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut page = Page::EMPTY;
            for (place, fill) in page.0.iter_mut().zip(nodes) {
                *place = fill.map(|fill| [fill; NODE_BYTES]);
            }
            prop_assert_eq!(page.to_bytes().is_none(), page == Page::EMPTY);
            prop_assert!(page.to_bytes().is_none_or(|bytes| Page::read(&bytes) == Some(page)));
            if let Some(page) = Page::read(&bytes) {
                prop_assert_eq!(page.to_bytes(), Some(bytes));
            }
        }
    }
}
