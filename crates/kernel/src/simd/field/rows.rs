//! Elements kept in memory, three to a row, and the rows of four lanes put side by side.

use super::{Choice, Element, LANES, LIMBS};
use std::arch::x86_64::{_mm256_set_epi64x, _mm256_set_pd, _mm256_storeu_pd};

/// Elements of a row.
pub(in crate::simd) const ELEMENTS: usize = 3;

/// Three elements of one lane, limb after limb, in two cache lines.
#[repr(align(64))]
pub(crate) struct Row([f64; 16]);

impl Row {
    /// One, one and zero: what adds nothing to a point.
    pub(in crate::simd) const NOTHING: Self = {
        let mut limbs = [0.0; 16];
        limbs[0] = 1.0;
        limbs[LIMBS] = 1.0;
        Self(limbs)
    };

    /// The rows of all lanes.
    #[target_feature(enable = "avx2,fma")]
    pub(in crate::simd) fn of(elements: &[Element; ELEMENTS]) -> [Self; LANES] {
        let mut rows = [[0.0; 16]; LANES];
        for (at, limb) in elements.iter().flat_map(|element| element.0).enumerate() {
            let mut lanes = [0.0; LANES];
            // SAFETY: the array behind the pointer is as long as the vector.
            unsafe { _mm256_storeu_pd(lanes.as_mut_ptr(), limb) };
            for (row, limb) in rows.iter_mut().zip(lanes) {
                row[at] = limb;
            }
        }
        rows.map(Self)
    }
}

/// The elements of four rows.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::simd) fn beside(rows: [&Row; LANES]) -> [Element; ELEMENTS] {
    let [a, b, c, d] = rows.map(|row| &row.0);
    let mut at = 0..ELEMENTS * LIMBS;
    std::array::from_fn(|_element| {
        let limbs = std::array::from_fn(|_limb| {
            let at = at.next().unwrap_or_default();
            _mm256_set_pd(d[at], c[at], b[at], a[at])
        });
        Element(limbs)
    })
}

/// Yes where told.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::simd) fn chosen(lanes: [bool; LANES]) -> Choice {
    let [a, b, c, d] = lanes.map(|yes| -i64::from(yes));
    Choice::of(_mm256_set_epi64x(d, c, b, a))
}
