//! The inner loop of the expander: sums of elements read at random, asked for before they are needed.

#![allow(
    unsafe_code,
    reason = "the prefetch intrinsic takes a pointer; it is one to an element that is there"
)]

use crate::block::Block;

/// How many reads are under way: a few more than the nearest cache can wait for.
const AHEAD: usize = 160;

/// To each output add the elements of `input` at the first `WEIGHT` places of its row.
///
/// # Panics
/// Where a place is not in `input`: the places are ours.
pub(crate) fn gather<const WEIGHT: usize, const ROW: usize>(
    input: &[Block],
    rows: &[[u32; ROW]],
    output: &mut [Block],
) {
    for (at, (sum, row)) in output.iter_mut().zip(rows).enumerate() {
        if let Some(later) = rows.get(at + AHEAD / WEIGHT) {
            for place in &later[..WEIGHT] {
                prefetch(input, *place as usize);
            }
        }
        *sum = row[..WEIGHT]
            .iter()
            .fold(*sum, |total, place| total ^ input[*place as usize]);
    }
}

/// Ask for an element that is needed soon, if it is there.
#[inline]
pub(crate) fn prefetch<T>(input: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = input.get(place) {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: every x86-64 has SSE, and the pointer comes from a reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (input, place);
}

#[cfg(test)]
mod tests {
    use super::{gather, Block};

    #[test]
    fn outputs_are_sums_of_what_their_rows_name() {
        let input: Vec<Block> = (0..100).map(|i| Block(1 << i)).collect();
        let rows: Vec<[u32; 4]> = (0..60)
            .map(|i| [i, i + 7, 2 * i % 100, 1_000_000])
            .collect();
        let mut output: Vec<Block> = (0..60).map(|i| Block(i << 110)).collect();
        gather::<3, 4>(&input, &rows, &mut output);
        for (i, (sum, row)) in (0u128..).zip(output.iter().zip(&rows)) {
            let expected = row[..3]
                .iter()
                .fold(i << 110, |sum, place| sum ^ 1 << place);
            assert_eq!(sum.0, expected);
        }
    }
}
