//! 128 columns of bits, read by rows.

use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::block::Block;

const SIDE: usize = 128;
/// A row as two words, whose shifts a processor does side by side.
type Halves = [u64; 2];

/// 128 columns of bits, each `height` blocks high.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Columns {
    pub(super) height: usize,
    pub(super) cells: Vec<Block>,
}

impl Columns {
    pub(super) fn new(height: usize) -> Self {
        Self {
            height,
            cells: vec![Block::ZERO; SIDE * height],
        }
    }

    pub(super) fn column(&self, index: usize) -> &[Block] {
        &self.cells[index * self.height..(index + 1) * self.height]
    }

    /// Read by rows: bit i of row r is bit r of column i.
    pub(crate) fn rows(&self) -> Zeroizing<Vec<Block>> {
        let mut rows = Zeroizing::new(vec![Block::ZERO; SIDE * self.height]);
        let (squares, _) = rows.as_chunks_mut::<SIDE>();
        squares.par_iter_mut().enumerate().for_each(|(at, square)| {
            for (index, row) in square.iter_mut().enumerate() {
                *row = self.cells[index * self.height + at];
            }
            transpose(square);
        });
        rows
    }
}

/// Change places of the off-diagonal quarters of every square of twice the width, which is below 64.
fn swap<const WIDTH: usize>(square: &mut [Halves; SIDE]) {
    // The lower half of each 2 WIDTH bits.
    let mask = u64::MAX / ((1 << WIDTH) + 1);
    for part in square.chunks_exact_mut(2 * WIDTH) {
        let (upper, lower) = part.split_at_mut(WIDTH);
        for (a, b) in upper.iter_mut().zip(lower) {
            for half in 0..2 {
                let change = (a[half] >> WIDTH ^ b[half]) & mask;
                a[half] ^= change << WIDTH;
                b[half] ^= change;
            }
        }
    }
}

/// Put a square on its diagonal: bit j of row i becomes bit i of row j.
#[allow(clippy::cast_possible_truncation)] // halves
fn transpose(rows: &mut [Block; SIDE]) {
    let mut square = rows.map(|row| [row.0 as u64, (row.0 >> 64) as u64]);
    let (upper, lower) = square.split_at_mut(SIDE / 2);
    for (a, b) in upper.iter_mut().zip(lower) {
        std::mem::swap(&mut a[1], &mut b[0]);
    }
    swap::<32>(&mut square);
    swap::<16>(&mut square);
    swap::<8>(&mut square);
    swap::<4>(&mut square);
    swap::<2>(&mut square);
    swap::<1>(&mut square);
    for (row, [low, high]) in rows.iter_mut().zip(square) {
        *row = Block(u128::from(low) | u128::from(high) << 64);
    }
}

#[cfg(test)]
mod tests {
    use super::{transpose, Block};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_transposed_square_has_its_bits_across(rows in prop::collection::vec(any::<u128>(), 128)) {
            let mut square: [Block; 128] = std::array::from_fn(|i| Block(rows[i]));
            transpose(&mut square);
            for (i, row) in rows.iter().enumerate() {
                for (j, column) in square.iter().enumerate() {
                    prop_assert_eq!(row >> j & 1, column.0 >> i & 1);
                }
            }
        }
    }
}
