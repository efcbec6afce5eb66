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

/// MTH of the items; that of none is the hash of nothing.
#[must_use]
pub fn merkle_root(leaves: &Items<'_>) -> Node {
    // Perfect subtrees, from the widest on the left to the narrowest: their levels are the bits of the count.
    let mut open: Vec<(u32, Node)> = Vec::new();
    for index in 0..leaves.len() {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(leaves.item(index));
        let mut node: (u32, Node) = (0, hash.finalize().into());
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
