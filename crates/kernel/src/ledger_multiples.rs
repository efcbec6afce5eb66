//! Multiples of a point that is multiplied often, kept, so that one more multiplication is additions alone.
//!
//! Radix 2^w with signed digits: for each digit's place the first 2^(w-1) multiples of the point times the radix to
//! that place (Brickell et al., Eurocrypt 1992). The time depends on the scalar: for public ones.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;

// A scalar below the group order has 253 bits; one more for the last carry.
const BITS: usize = 254;

/// The multiples of one point.
pub(crate) struct Multiples {
    bits: usize,
    rows: Vec<EdwardsPoint>,
}

impl Multiples {
    /// The multiples for digits of `bits` bits, two to eight: 160 · 2^(bits-1) · ⌈254/bits⌉ bytes.
    pub(crate) fn of(point: &EdwardsPoint, bits: usize) -> Self {
        debug_assert!((2..=8).contains(&bits));
        let half = 1 << (bits - 1);
        let places = BITS.div_ceil(bits);
        let mut rows = Vec::with_capacity(places * half);
        let mut unit = *point;
        for _place in 0..places {
            let mut multiple = unit;
            for _digit in 1..half {
                rows.push(multiple);
                multiple += unit;
            }
            rows.push(multiple);
            unit = multiple + multiple;
        }
        Self { bits, rows }
    }

    /// `sum` and the point times a scalar.
    pub(crate) fn add_to(&self, sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let bytes = scalar.as_bytes();
        let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or_default());
        let (whole, half) = (1 << self.bits, 1 << (self.bits - 1));
        let (mut sum, mut carry, mut bit) = (sum, 0, 0);
        for row in self.rows.chunks_exact(half) {
            let two = byte(bit / 8) | byte(bit / 8 + 1) << 8;
            let digit = ((two >> (bit % 8)) & (whole - 1)) + carry;
            // A digit above half is what lacks to the whole, subtracted, and one more in the next place.
            carry = usize::from(digit > half);
            if digit > half && digit < whole {
                sum -= row[whole - digit - 1];
            } else if 0 < digit && digit <= half {
                sum += row[digit - 1];
            }
            bit += self.bits;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::traits::Identity;
    use proptest::prelude::*;

    use super::*;

    fn held(point: EdwardsPoint, scalar: Scalar) -> Result<(), TestCaseError> {
        for bits in 2..=8 {
            let found = Multiples::of(&point, bits).add_to(EIGHT_TORSION[3], &scalar);
            prop_assert_eq!(found, EIGHT_TORSION[3] + point * scalar);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn as_the_library_multiplies(point: [u8; 32], scalar: [u8; 32], torsion in 0usize..8) {
            let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(point)) + EIGHT_TORSION[torsion];
            held(point, Scalar::from_bytes_mod_order(scalar))?;
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
        for scalar in ends.into_iter().chain(powers).chain(full) {
            for bits in [5, 8] {
                let found = Multiples::of(&ED25519_BASEPOINT_POINT, bits)
                    .add_to(EdwardsPoint::identity(), &scalar);
                assert_eq!(found, EdwardsPoint::mul_base(&scalar));
            }
        }
    }
}
