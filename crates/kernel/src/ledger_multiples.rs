//! Multiples of a point that is multiplied often, kept, so that one more multiplication is additions alone.
//!
//! Radix 2^w with signed digits: for each digit's place the first 2^(w-1) multiples of the point times the radix to
//! that place (Brickell et al., Eurocrypt 1992), added for four sums side by side. Only where the processor has the lanes:
//! elsewhere there are no multiples, and the library multiplies. The time depends on the scalar: for public ones.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;

#[cfg(target_arch = "x86_64")]
use crate::simd::points::kept;

// A scalar below the group order has 253 bits; one more for the last carry.
const BITS: usize = 254;

/// The multiples of one point.
pub(crate) struct Multiples {
    bits: usize,
    rows: Vec<kept::Row>,
}

impl Multiples {
    /// The multiples for digits of `bits` bits, two to eight, in 128 · 2^(bits-1) · ⌈254/bits⌉ bytes; `None` without lanes.
    pub(crate) fn of(point: &EdwardsPoint, bits: usize) -> Option<Self> {
        debug_assert!((2..=8).contains(&bits));
        if !kept::available() {
            return None;
        }
        let half = 1 << (bits - 1);
        let places = BITS.div_ceil(bits);
        let mut points = Vec::with_capacity(places * half);
        let mut unit = *point;
        for _place in 0..places {
            let mut multiple = unit;
            for _digit in 1..half {
                points.push(multiple);
                multiple += unit;
            }
            points.push(multiple);
            unit = multiple + multiple;
        }
        let rows = kept::rows(&points)?;
        Some(Self { bits, rows })
    }

    /// What makes the point times a scalar, the lowest digit first.
    fn terms(&self, scalar: &Scalar) -> impl Iterator<Item = kept::Term<'_>> {
        let bytes = scalar.to_bytes();
        let (whole, half) = (1usize << self.bits, 1usize << (self.bits - 1));
        let byte = move |at: usize| usize::from(bytes.get(at).copied().unwrap_or_default());
        let (mut carry, mut bit) = (0, 0);
        self.rows.chunks_exact(half).filter_map(move |place| {
            let two = byte(bit / 8) | byte(bit / 8 + 1) << 8;
            let digit = ((two >> (bit % 8)) & (whole - 1)) + carry;
            bit += self.bits;
            // A digit above half is what lacks to the whole, subtracted, and one more in the next place.
            let negative = digit > half;
            carry = usize::from(negative);
            let size = if negative { whole - digit } else { digit };
            let row = place.get(size.checked_sub(1)?)?;
            Some(kept::Term { row, negative })
        })
    }
}

/// The encoding of the sum of each two points of multiples times their scalars; `None` without lanes.
pub(crate) fn encoded_sums(sums: &[[(&Multiples, &Scalar); 2]]) -> Option<Vec<[u8; 32]>> {
    let terms: Vec<Vec<kept::Term<'_>>> = sums
        .iter()
        .map(|sum| {
            let mut terms = Vec::with_capacity(BITS);
            for (multiples, scalar) in sum {
                terms.extend(multiples.terms(scalar));
            }
            terms
        })
        .collect();
    kept::encoded_sums(&terms)
}

/// Other processors have no lanes.
#[cfg(not(target_arch = "x86_64"))]
mod kept {
    use curve25519_dalek::edwards::EdwardsPoint;

    pub(super) enum Row {}

    #[expect(dead_code, reason = "no lanes read it")]
    pub(super) struct Term<'a> {
        pub(super) row: &'a Row,
        pub(super) negative: bool,
    }

    pub(super) fn available() -> bool {
        false
    }

    pub(super) fn rows(_: &[EdwardsPoint]) -> Option<Vec<Row>> {
        None
    }

    pub(super) fn encoded_sums(_: &[Vec<Term<'_>>]) -> Option<Vec<[u8; 32]>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use proptest::prelude::*;

    use super::*;

    /// Points times scalars, by multiples of every width.
    fn held(points: &[EdwardsPoint; 2], scalars: &[Scalar; 2]) {
        let wanted = points[0] * scalars[0] + points[1] * scalars[1];
        for bits in 2..=8 {
            let multiples = (
                Multiples::of(&points[0], bits),
                Multiples::of(&points[1], 10 - bits),
            );
            let (Some(first), Some(second)) = &multiples else {
                assert!(!kept::available());
                return;
            };
            let sum = [(first, &scalars[0]), (second, &scalars[1])];
            assert_eq!(encoded_sums(&[sum]), Some(vec![wanted.compress().0]));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn as_the_library_multiplies(point: [u8; 32], scalars: [[u8; 32]; 2], torsion in 0usize..8) {
            let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(point)) + EIGHT_TORSION[torsion];
            held(&[point, ED25519_BASEPOINT_POINT], &scalars.map(Scalar::from_bytes_mod_order));
        }
    }

    #[test]
    fn at_the_edges_of_digits() {
        let ends = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2u8)];
        let powers = (1u32..252).map(|power| {
            Scalar::from_bytes_mod_order({
                let mut bytes = [0u8; 32];
                bytes[power as usize / 8] = 1 << (power % 8);
                bytes
            })
        });
        let full = powers.clone().map(|power| power - Scalar::ONE);
        for bits in [5, 8] {
            let Some(multiples) = Multiples::of(&ED25519_BASEPOINT_POINT, bits) else {
                assert!(!kept::available());
                return;
            };
            let scalars: Vec<Scalar> = ends
                .into_iter()
                .chain(powers.clone())
                .chain(full.clone())
                .collect();
            let sums: Vec<_> = scalars
                .iter()
                .map(|scalar| [(&multiples, scalar), (&multiples, &Scalar::ZERO)])
                .collect();
            let wanted = scalars
                .iter()
                .map(|scalar| EdwardsPoint::mul_base(scalar).compress().0);
            assert_eq!(encoded_sums(&sums), Some(wanted.collect()));
        }
    }
}
