//! The Merkle root of a list as RFC 6962 section 2.1 defines it (SHA-256): `CometBFT` hashes its lists so too.
//!
//! Trusts nothing; leaks nothing but the number and lengths of the leaves, by its running time.

use sha2::{Digest, Sha256};

use crate::Items;

type Node = [u8; 32];

fn inner(left: &Node, right: &Node) -> Node {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

fn leaf(bytes: &[u8]) -> Node {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(bytes);
    hash.finalize().into()
}

/// The perfect subtrees that entries behind the first `size` complete: level, number on that level, hash.
///
/// `edge` are those of the first `size`, from the widest on; one for each bit of `size`, or nothing comes out. Level 0 is
/// the entries themselves.
#[must_use]
pub fn appended(size: u64, edge: &[Node], leaves: &Items<'_>) -> Option<Vec<(u32, u64, Node)>> {
    if edge.len() != size.count_ones() as usize || size > u64::MAX >> 1 {
        return None;
    }
    let mut open = edge.to_vec();
    let mut found = Vec::with_capacity(2 * leaves.len());
    for index in 0..leaves.len() {
        let mut node = leaf(leaves.item(index));
        let (mut level, mut at) = (0, size + index as u64);
        found.push((level, at, node));
        while at & 1 == 1 {
            node = inner(&open.pop()?, &node);
            level += 1;
            at >>= 1;
            found.push((level, at, node));
        }
        open.push(node);
    }
    Some(found)
}

/// MTH of the items; that of none is the hash of nothing.
#[must_use]
pub fn merkle_root(leaves: &Items<'_>) -> Node {
    // Perfect subtrees, from the widest on the left to the narrowest: their levels are the bits of the count.
    let mut open: Vec<(u32, Node)> = Vec::new();
    for index in 0..leaves.len() {
        let mut node: (u32, Node) = (0, leaf(leaves.item(index)));
        while open.last().is_some_and(|(level, _)| *level == node.0) {
            if let Some((level, left)) = open.pop() {
                node = (level + 1, inner(&left, &node.1));
            }
        }
        open.push(node);
    }
    let mut sides = open.into_iter().rev().map(|(_, node)| node);
    let Some(last) = sides.next() else {
        return Sha256::digest([]).into();
    };
    sides.fold(last, |right, left| inner(&left, &right))
}
