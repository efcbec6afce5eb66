//! Sums of multiples that are kept, four sums side by side: what verifying a signature takes.
//!
//! A kept point is (Y + X, Y - X, 2 d X Y) with Z = 1, so that adding it takes seven products (Hisil, Wong, Carter, Dawson,
//! section 3.1); the formulas hold for every two points of the curve, of small order too. Everything here is public.

use super::{Element, Point, LANES, SQRT_M1, TWICE_D};
use crate::simd::field::inverted;
use crate::simd::field::rows::{beside, chosen};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;

pub(crate) use super::available;
pub(crate) use crate::simd::field::rows::Row;

/// A kept point, added or subtracted.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) row: &'a Row,
    pub(crate) negative: bool,
}

impl Term<'static> {
    /// What adds nothing.
    pub(crate) const NOTHING: Self = Self {
        row: &Row::NOTHING,
        negative: false,
    };
}

/// The kept forms of points; None where the processor lacks the path.
pub(crate) fn rows(points: &[EdwardsPoint]) -> Option<Vec<Row>> {
    if !available() {
        return None;
    }
    // The sum of (x, y) and (i, 0) has i x as its y, so its encoding tells x; encodings of both share inversions.
    let turn = EIGHT_TORSION
        .into_iter()
        .find(|point| point.compress().0 == [0; 32])?;
    let turned: Vec<EdwardsPoint> = points.iter().map(|point| point + turn).collect();
    let encoded = |points| EdwardsPoint::compress_batch_alloc(points);
    let (y, ix) = (encoded(points), encoded(&turned));
    let mut rows = Vec::with_capacity(points.len().next_multiple_of(LANES));
    for first in (0..points.len()).step_by(LANES) {
        // The last vector is filled up with its last point.
        let place = |lane: usize| (first + lane).min(points.len() - 1);
        let y = std::array::from_fn(|lane| y[place(lane)].as_bytes());
        let ix = std::array::from_fn(|lane| ix[place(lane)].as_bytes());
        // SAFETY: the processor has the features that the function is compiled for.
        rows.extend(unsafe { four_rows(y, ix) });
    }
    rows.truncate(points.len());
    Some(rows)
}

#[target_feature(enable = "avx2,fma")]
fn four_rows(y: [&[u8; 32]; LANES], ix: [&[u8; 32]; LANES]) -> [Row; LANES] {
    let y = Element::from_bytes(y);
    let x = Element::from_bytes(ix).times(&Element::constant(SQRT_M1).negated());
    let product = x.times(&y).times(&Element::constant(TWICE_D));
    Row::of(&[y.plus(&x), y.minus(&x), product])
}

/// The encoding of each sum (RFC 8032, section 5.1.2), all with one inversion; None where the processor lacks the path.
pub(crate) fn encoded_sums(sums: &[Vec<Term<'_>>]) -> Option<Vec<[u8; 32]>> {
    // SAFETY: the processor has the features that the function is compiled for.
    available().then(|| unsafe { encoded(sums) })
}

#[target_feature(enable = "avx2,fma")]
fn encoded(sums: &[Vec<Term<'_>>]) -> Vec<[u8; 32]> {
    let points: Vec<Point> = sums.chunks(LANES).map(|four| summed(four)).collect();
    // Behind each the product of all Z before it; none is zero.
    let mut product = Element::one();
    let mut before = Vec::with_capacity(points.len());
    for point in &points {
        before.push(product);
        product = product.times(&point.z);
    }
    let mut inverse = inverted(&product);
    let mut out = Vec::with_capacity(points.len());
    for (point, product) in points.iter().zip(&before).rev() {
        let own = inverse.times(product);
        inverse = inverse.times(&point.z);
        let mut bytes = point.y.times(&own).to_bytes();
        for (bytes, x) in bytes.iter_mut().zip(point.x.times(&own).to_bytes()) {
            bytes[31] |= x[0] << 7;
        }
        out.push(bytes);
    }
    out.reverse();
    let mut out = out.into_flattened();
    out.truncate(sums.len());
    out
}

/// The sums of up to four lists of terms; lanes that are left over sum nothing.
#[target_feature(enable = "avx2,fma")]
fn summed(sums: &[Vec<Term<'_>>]) -> Point {
    let terms = sums.iter().map(Vec::len).max().unwrap_or_default();
    let mut out = Point::identity();
    for at in 0..terms {
        let four: [Term<'_>; LANES] = std::array::from_fn(|lane| {
            let term = sums.get(lane).and_then(|terms| terms.get(at));
            term.copied().unwrap_or(Term::NOTHING)
        });
        out = out.plus_kept(&four);
    }
    out
}

impl Point {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn plus_kept(&self, terms: &[Term<'_>; LANES]) -> Self {
        let [plus, minus, t] = beside(terms.map(|term| term.row));
        let negative = chosen(terms.map(|term| term.negative));
        let a = self
            .y
            .minus(&self.x)
            .wide_times(&minus.replaced(negative, &plus));
        let b = self
            .y
            .plus(&self.x)
            .wide_times(&plus.replaced(negative, &minus));
        let c = self.t.times(&t.negated_where(negative));
        let d = self.z.plus(&self.z);
        let (e, h) = (b.minus(&a).carried(), b.plus(&a).carried());
        Self::completed::<true>(&e, &d.minus(&c), &d.plus(&c), &h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::scalar::Scalar;
    use proptest::prelude::*;

    fn points(scalar: [u8; 32], count: usize) -> Vec<EdwardsPoint> {
        let unit = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(scalar));
        (0..count)
            .map(|at| unit * Scalar::from(at as u64 + 1) + EIGHT_TORSION[at % 8])
            .collect()
    }

    fn agree(sums: &[Vec<(EdwardsPoint, bool)>]) {
        let flat: Vec<EdwardsPoint> = sums.iter().flatten().map(|(point, _)| *point).collect();
        let Some(rows) = rows(&flat) else {
            assert!(!available());
            return;
        };
        let mut kept = rows.iter();
        let terms: Vec<Vec<Term<'_>>> = sums
            .iter()
            .map(|sum| {
                let term = |&(_, negative): &(EdwardsPoint, bool)| Term {
                    row: kept.next().expect("a row for each point"),
                    negative,
                };
                sum.iter().map(term).collect()
            })
            .collect();
        let found = encoded_sums(&terms).expect("the path that made the rows");
        let wanted = sums.iter().map(|sum| {
            let signed = |&(point, negative): &(EdwardsPoint, bool)| {
                if negative {
                    -point
                } else {
                    point
                }
            };
            sum.iter().map(signed).sum::<EdwardsPoint>().compress().0
        });
        assert_eq!(found, wanted.collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

        #[test]
        fn sums_are_those_of_the_library(
            scalar: [u8; 32],
            lengths in prop::collection::vec(0usize..if cfg!(miri) { 2 } else { 20 }, 0..=if cfg!(miri) { 2 } else { 11 }),
            signs: u64,
        ) {
            let sum = |(seed, length): (usize, &usize)| {
                let mut scalar = scalar;
                scalar[0] ^= u8::try_from(seed).unwrap_or_default();
                let signed = |(at, point)| (point, signs >> ((7 * seed + at) % 64) & 1 == 1);
                points(scalar, *length).into_iter().enumerate().map(signed).collect()
            };
            let sums: Vec<Vec<(EdwardsPoint, bool)>> = lengths.iter().enumerate().map(sum).collect();
            agree(&sums);
        }
    }

    #[test]
    fn points_of_small_order_and_opposites_and_doubles() {
        // All pairs of the eight, the same twice, a point and its opposite: where lesser formulas fail.
        let mut pairs: Vec<Vec<(EdwardsPoint, bool)>> = Vec::new();
        for first in EIGHT_TORSION {
            for second in EIGHT_TORSION {
                pairs.push(vec![(first, false), (second, true)]);
            }
        }
        let point = points([7; 32], 1)[0];
        for torsion in EIGHT_TORSION {
            for negative in [false, true] {
                pairs.push(vec![(point, false), (point + torsion, negative)]);
            }
        }
        pairs.truncate(if cfg!(miri) { 3 } else { pairs.len() });
        agree(&pairs);
    }
}
