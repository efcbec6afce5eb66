//! The encodings of many points' doubles (RFC 9496, section 4.3.2), with one inversion for all; see `points`.

use super::super::field::{inverted, Element, LANES};
use super::{Point, D, SQRT_M1};

const INVSQRT_A_MINUS_D: [u64; 5] = [
    0x0_fdaa_805d_40ea,
    0x2_eb48_2e57_d339,
    0x0_0761_0274_bc58,
    0x6_510b_613d_c8ff,
    0x7_86c8_905c_faff,
];

/// What a point's double is encoded from: E, F, G, H of its doubling by the other formulas, and products of them.
struct Doubling {
    e: Element,
    f: Element,
    g: Element,
    h: Element,
    eg: Element,
    fh: Element,
}

impl Doubling {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn of(point: &Point) -> Self {
        let (xx, yy) = (point.x.wide_square(), point.y.wide_square());
        let zz = point.z.square();
        let dtt = point.t.square().times(&Element::constant(D));
        let xy = point.x.wide_times(&point.y);
        let (e, g) = (xy.plus(&xy).carried(), yy.plus(&xx).carried());
        let (f, h) = (zz.plus(&dtt), zz.minus(&dtt));
        let (eg, fh) = (e.times(&g), f.times(&h));
        Self { e, f, g, h, eg, fh }
    }

    /// The encoding, from the inverse of EFGH (zero where that is zero: then the double is the identity).
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn encoded(&self, inverse: &Element) -> [[u8; 32]; LANES] {
        let of_fh = self.eg.times(inverse);
        let of_eg = self.fh.times(inverse);
        let turned = self.eg.times(&of_fh).is_negative();
        let e = self.e.replaced(turned, &self.g);
        let g = self.g.replaced(turned, &self.e.negated());
        let h = self
            .h
            .replaced(turned, &self.f.times(&Element::constant(SQRT_M1)));
        let factor = Element::constant(INVSQRT_A_MINUS_D)
            .replaced(turned, &Element::constant(SQRT_M1))
            .times(&of_eg);
        let g = g.negated_where(h.times(&e).times(&of_fh).is_negative());
        h.minus(&g).times(&g.times(&factor)).absolute().to_bytes()
    }
}

/// The encodings of all points' doubles, with one inversion.
#[target_feature(enable = "avx2,fma")]
pub(super) fn doubles_encoded(points: &[Point]) -> Vec<[[u8; 32]; LANES]> {
    let one = Element::one();
    let doublings: Vec<Doubling> = points.iter().map(|point| Doubling::of(point)).collect();
    // Behind each the product of all before it; zeros are left out.
    let mut product = one;
    let mut before = Vec::with_capacity(points.len());
    for doubling in &doublings {
        let all = doubling.eg.times(&doubling.fh);
        let zero = all.is_zero();
        let factor = all.replaced(zero, &one);
        before.push((product, factor, zero));
        product = product.times(&factor);
    }
    let mut inverse = inverted(&product);
    let mut out = Vec::with_capacity(points.len());
    for (doubling, (product, factor, zero)) in doublings.iter().zip(&before).rev() {
        let own = inverse.times(product).replaced(*zero, &Element::zero());
        inverse = inverse.times(factor);
        out.push(doubling.encoded(&own));
    }
    out.reverse();
    out
}
