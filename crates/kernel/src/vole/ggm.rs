//! Puncturable pseudorandom functions: trees of doublings, of which a peer learns all leaves but one.
//!
//! Goldreich, Goldwasser and Micali's tree, as Boyle et al. use it (CCS 2019, eprint 2019/1159; Schoppmann et al.:
//! CCS 2019, eprint 2019/1084): the owner grows each tree from its root and sums, level by level, all first and all second children. By one
//! oblivious transfer a level the peer learns the sum of that side on which its path does *not* go on; with all
//! nodes but the one on the path it computes that one's sibling, and so all leaves but the one at the path's end.
//! Every tree is complete: there is no path without a leaf, so a cheating peer misses a leaf whatever it chooses.
//!
//! The owner learns nothing; the peer nothing of the missing leaf. A cheating owner can send sums that fit one path
//! alone; the checks of [`super::small_field`] and [`super::check`] catch it, but for the chance of guessing the
//! path. The place of the path is used as an index into the tree, which sits in the nearest cache: it takes the same
//! time for every place, but a spy on the same core's cache could tell. No branch depends on it.

use super::prg::Doubling;
use crate::block::Block;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// The sums of the first and of the second children of one level of one tree.
pub(crate) type Sums = [Block; 2];

/// Trees of one depth, at least 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forest {
    pub(crate) trees: usize,
    pub(crate) depth: usize,
}

impl Forest {
    /// How many leaves all trees have.
    pub(crate) const fn leaves(self) -> usize {
        self.trees << self.depth
    }

    /// How many levels all trees have: sums to carry.
    pub(crate) const fn levels(self) -> usize {
        self.trees * self.depth
    }

    /// Grow each tree from its root; the leaves, tree by tree, and each tree's sums from the top down.
    pub(crate) fn grow(self, doubling: &Doubling, roots: &[Block]) -> (Vec<Block>, Vec<Sums>) {
        let mut leaves = vec![Block::ZERO; self.leaves()];
        let mut sums = vec![Sums::default(); self.levels()];
        leaves
            .par_chunks_mut(1 << self.depth)
            .zip(sums.par_chunks_mut(self.depth))
            .zip(roots)
            .for_each_init(
                || self.scratch(),
                |scratch, ((leaves, sums), root)| {
                    scratch[0] = *root;
                    for (level, sum) in sums.iter_mut().enumerate() {
                        *sum = descend(doubling, level, self.depth, scratch, leaves);
                    }
                },
            );
        (leaves, sums)
    }

    /// Rebuild the trees around each one's missing leaf, which is left zero.
    ///
    /// `places` has for each tree the number of the missing leaf, `sums` for each level the sum of the side off the
    /// path. The second result is for each tree the sum of the leaves that are there.
    pub(crate) fn puncture(
        self,
        doubling: &Doubling,
        places: &[usize],
        sums: &[Block],
    ) -> (Vec<Block>, Vec<Block>) {
        let mut leaves = vec![Block::ZERO; self.leaves()];
        let mut totals = vec![Block::ZERO; self.trees];
        // What the doubling makes of the zero that stands for the node on the path.
        let mut filler = Sums::default();
        doubling.double(&[Block::ZERO], &mut filler);
        leaves
            .par_chunks_mut(1 << self.depth)
            .zip(&mut totals)
            .zip(sums.par_chunks(self.depth))
            .zip(places)
            .for_each_init(
                || self.scratch(),
                |scratch, (((leaves, total), sums), place)| {
                    scratch[0] = Block::ZERO;
                    for (level, sum) in sums.iter().enumerate() {
                        let seen = descend(doubling, level, self.depth, scratch, leaves);
                        let on = place >> (self.depth - 1 - level);
                        let (sibling, side) = (on ^ 1, on & 1 ^ 1);
                        let nodes = nodes(level + 1, self.depth, scratch, leaves);
                        nodes[sibling] = *sum ^ seen[side] ^ filler[side];
                        nodes[on] = Block::ZERO;
                        *total = *sum ^ seen[side ^ 1] ^ filler[side ^ 1];
                    }
                },
            );
        (leaves, totals)
    }

    /// Room for two levels above the leaves; it holds secrets, so it is cleared when dropped.
    fn scratch(self) -> Zeroizing<Vec<Block>> {
        Zeroizing::new(vec![Block::ZERO; 2 << (self.depth - 1)])
    }
}

/// The nodes of a level: the lowest are the leaves; others alternate between the halves of the scratch room.
fn nodes<'a>(
    level: usize,
    depth: usize,
    scratch: &'a mut [Block],
    leaves: &'a mut [Block],
) -> &'a mut [Block] {
    if level == depth {
        return leaves;
    }
    let half = scratch.len() / 2;
    let from = half * (level % 2);
    &mut scratch[from..from + (1 << level)]
}

/// Double the nodes of `level` into those of the next.
fn descend(
    doubling: &Doubling,
    level: usize,
    depth: usize,
    scratch: &mut [Block],
    leaves: &mut [Block],
) -> Sums {
    let half = scratch.len() / 2;
    let (even, odd) = scratch.split_at_mut(half);
    let (parents, children) = if level.is_multiple_of(2) {
        (even, odd)
    } else {
        (odd, even)
    };
    let parents = &parents[..1 << level];
    if level + 1 == depth {
        doubling.double(parents, leaves)
    } else {
        doubling.double(parents, &mut children[..2 << level])
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Doubling, Forest};
    use proptest::prelude::*;

    /// A leaf by the definition: down from the root, one bit of its number after another.
    fn leaf(doubling: &Doubling, root: Block, depth: usize, place: usize) -> Block {
        (0..depth).rev().fold(root, |node, bit| {
            let mut children = [Block::ZERO; 2];
            doubling.double(&[node], &mut children);
            children[place >> bit & 1]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 48 }))]

        #[test]
        fn a_tree_grows_as_defined_and_punctures_at_any_place(
            depth in 1usize..9,
            seeds in proptest::collection::vec(any::<(u128, usize)>(), 1..4),
        ) {
            let doubling = Doubling::new([Block(1), Block(2)]);
            let forest = Forest { trees: seeds.len(), depth };
            let roots: Vec<Block> = seeds.iter().map(|(root, _)| Block(*root)).collect();
            let places: Vec<usize> = seeds.iter().map(|(_, place)| place % (1 << depth)).collect();
            let (leaves, sums) = forest.grow(&doubling, &roots);
            for (n, found) in leaves.iter().enumerate() {
                prop_assert_eq!(*found, leaf(&doubling, roots[n >> depth], depth, n % (1 << depth)));
            }
            let mut chosen = Vec::new();
            for (tree, place) in places.iter().enumerate() {
                for level in 0..depth {
                    let off = place >> (depth - 1 - level) & 1 ^ 1;
                    chosen.push(sums[tree * depth + level][off]);
                }
            }
            let (rebuilt, totals) = forest.puncture(&doubling, &places, &chosen);
            for (tree, place) in places.iter().enumerate() {
                let mut expected = leaves[tree << depth..(tree + 1) << depth].to_vec();
                expected[*place] = Block::ZERO;
                prop_assert_eq!(&rebuilt[tree << depth..(tree + 1) << depth], &expected[..]);
                prop_assert_eq!(totals[tree], expected.iter().fold(Block::ZERO, |s, x| s ^ *x));
            }
        }
    }
}
