//! The few equations that peeling leaves over: Gaussian elimination over GF(2^128) on them alone.

use crate::block::Block;
use crate::protocol::Fault;

/// More than these cannot come from an honest run: the two-core of a random hypergraph below the threshold is tiny.
const MOST: usize = 400;

/// One equation: three sparse columns of coefficient 1, and a point whose powers are the dense coefficients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Equation {
    pub(super) places: [u32; 3],
    pub(super) point: Block,
    pub(super) value: Block,
}

/// Solve for the sparse columns that the equations name and all dense ones, writing into `vector` (sparse columns
/// first). What stands in `vector` before is kept for columns that the equations leave free.
pub(super) fn solve(
    equations: &[Equation],
    vector: &mut [Block],
    sparse: usize,
) -> Result<(), Fault> {
    if equations.len() > MOST {
        return Err(Fault::Unlucky {
            what: "the peeling of a bin",
        });
    }
    let mut columns: Vec<usize> = equations
        .iter()
        .flat_map(|e| e.places.map(|p| p as usize))
        .collect();
    columns.sort_unstable();
    columns.dedup();
    columns.extend(sparse..vector.len());
    let mut rows: Vec<(Vec<Block>, Block)> = equations
        .iter()
        .map(|e| (row(e, &columns, sparse), e.value))
        .collect();
    let mut pivots: Vec<usize> = Vec::with_capacity(rows.len());
    for at in 0..rows.len() {
        let Some(pivot) = rows[at].0.iter().position(|c| *c != Block::ZERO) else {
            return Err(Fault::Unlucky {
                what: "a solution of a bin",
            });
        };
        let scale = inverse(rows[at].0[pivot]);
        for c in &mut rows[at].0 {
            *c = c.times(scale);
        }
        rows[at].1 = rows[at].1.times(scale);
        let (done, value) = rows[at].clone();
        for (other, (coefficients, right)) in rows.iter_mut().enumerate() {
            let factor = coefficients[pivot];
            if other != at && factor != Block::ZERO {
                for (c, d) in coefficients.iter_mut().zip(&done) {
                    *c ^= d.times(factor);
                }
                *right ^= value.times(factor);
            }
        }
        pivots.push(pivot);
    }
    for ((coefficients, value), pivot) in rows.iter().zip(&pivots) {
        let mut sum = *value;
        for (index, c) in coefficients.iter().enumerate() {
            if index != *pivot && !pivots.contains(&index) {
                sum ^= c.times(vector[columns[index]]);
            }
        }
        vector[columns[*pivot]] = sum;
    }
    Ok(())
}

fn row(equation: &Equation, columns: &[usize], sparse: usize) -> Vec<Block> {
    let mut power = Block::ONE;
    columns
        .iter()
        .map(|column| {
            if *column < sparse {
                let named = equation.places.iter().any(|p| *p as usize == *column);
                return if named { Block::ONE } else { Block::ZERO };
            }
            power = power.times(equation.point);
            power
        })
        .collect()
}

/// The inverse of an element, zero for zero: its (2^128 - 2)th power.
fn inverse(a: Block) -> Block {
    let (mut power, mut out) = (a, Block::ONE);
    for _ in 1..128 {
        power = power.times(power);
        out = out.times(power);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{inverse, Block};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_element_times_its_inverse_is_one(value in 1u128..) {
            prop_assert_eq!(Block(value).times(inverse(Block(value))), Block::ONE);
        }
    }
}
