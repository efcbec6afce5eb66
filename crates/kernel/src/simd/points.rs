//! Four points of ristretto255 side by side, each hashed to or decoded, multiplied by its secret and encoded, by AVX2
//! and FMA.
//!
//! The group is that of RFC 9496, on the twisted Edwards curve with a = -1: points as (X : Y : Z : T), products by the
//! formulas of Hisil, Wong, Carter, Dawson (*Twisted Edwards curves revisited*, ASIACRYPT 2008), the map of section
//! 4.3.4 of the RFC. Products are of half of the secret and then doubled: the encoding of a double needs one inversion
//! and no root, and many share one (the identities are those of Hamburg's and de Valence's group, as `curve25519-dalek`
//! has them in `double_and_compress_batch`). The library does one point at a time; its bytes are these, and it is the
//! portable path, which the callers take where `None` comes back.
//!
//! **Time.** A secret is 64 digits from -8 to 8; each selects from a table of eight by looking at all of it under masks.
//! All else is arithmetic of vectors (see `field`): the time depends on the number of points alone. Only whether an
//! encoding is one of a point, which is public, is branched on.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for AVX2 and FMA after the check that the processor has them, and loads whole arrays"
)]
#![allow(
    clippy::many_single_char_names,
    clippy::similar_names,
    reason = "coordinates are named as in the formulas"
)]

mod encoding;

use super::field::{raised, Choice, Element, LANES};
use encoding::doubles_encoded;
use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi64, _mm256_cmpgt_epi64, _mm256_loadu_si256, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_sub_epi64, _mm256_xor_si256,
};
use zeroize::Zeroize;

pub(crate) mod kept;

const D: [u64; 5] = [
    0x3_4dca_1359_78a3,
    0x1_a828_3b15_6ebd,
    0x5_e7a2_6001_c029,
    0x7_39c6_63a0_3cbb,
    0x5_2036_cee2_b6ff,
];
const TWICE_D: [u64; 5] = [
    0x6_9b94_26b2_f159,
    0x3_5050_762a_dd7a,
    0x3_cf44_c003_8052,
    0x6_738c_c740_7977,
    0x2_406d_9dc5_6dff,
];
const SQRT_M1: [u64; 5] = [
    0x6_1b27_4a0e_a0b0,
    0x0_d5a5_fc8f_189d,
    0x7_ef5e_9cbd_0c60,
    0x7_8595_a680_4c9e,
    0x2_b832_4804_fc1d,
];
const SQRT_AD_MINUS_ONE: [u64; 5] = [
    0x7_f6a0_497b_2e1b,
    0x1_836f_0a97_afd2,
    0x7_d747_f6be_7638,
    0x4_5607_9e7e_6498,
    0x3_7693_1bf2_b834,
];
const ONE_MINUS_D_SQ: [u64; 5] = [
    0x4_09c1_945f_c176,
    0x7_19ab_c6a1_fc4f,
    0x1_c37f_90b2_0684,
    0x0_6bcc_ca55_eedf,
    0x0_2907_2a8b_2b3e,
];
const D_MINUS_ONE_SQ: [u64; 5] = [
    0x5_5aaa_44ed_4d20,
    0x5_9603_c333_2635,
    0x2_6d3b_af4a_7928,
    0x1_20a6_6e69_97a9,
    0x5_968b_37af_66c2,
];

const DIGITS: usize = 64;

/// A secret for each lane in 64 digits from -8 to 8, those of 1 first; a digit's lanes are loaded together.
pub(super) struct Digits([[i64; LANES]; DIGITS]);

impl Drop for Digits {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Digits {
    /// Of scalars below 2^253, little-endian.
    fn of(scalars: [&[u8; 32]; LANES]) -> Self {
        let mut digits = [[0; LANES]; DIGITS];
        let mut carries = [0i64; LANES];
        for (at, digit) in digits.iter_mut().enumerate() {
            for ((digit, carry), scalar) in digit.iter_mut().zip(&mut carries).zip(scalars) {
                let nibble = i64::from(scalar[at / 2] >> (4 * (at % 2)) & 15) + *carry;
                // The highest, 2 at most, has no carry.
                *carry = (nibble + 8) >> 4;
                *digit = nibble - (*carry << 4);
            }
        }
        Self(digits)
    }
}

/// Points.
#[derive(Clone, Copy)]
struct Point {
    x: Element,
    y: Element,
    z: Element,
    t: Element,
}

/// A point as the second of a sum: Y + X, Y - X, Z and 2 d T.
#[derive(Clone, Copy)]
struct Summand {
    plus: Element,
    minus: Element,
    z: Element,
    t: Element,
}

impl Point {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn identity() -> Self {
        let (zero, one) = (Element::zero(), Element::one());
        Self {
            x: zero,
            y: one,
            z: one,
            t: zero,
        }
    }

    /// From E, F, G, H of the formulas. T is only there `WITH_T`: a doubling does not ask for it.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn completed<const WITH_T: bool>(e: &Element, f: &Element, g: &Element, h: &Element) -> Self {
        Self {
            x: e.times(f),
            y: g.times(h),
            z: f.times(g),
            t: if WITH_T { e.times(h) } else { *e },
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn doubled<const WITH_T: bool>(&self) -> Self {
        let (xx, yy, zz) = (
            self.x.wide_square(),
            self.y.wide_square(),
            self.z.wide_square(),
        );
        let both = self.x.plus(&self.y).wide_square();
        let (h, g) = (yy.plus(&xx), yy.minus(&xx));
        let e = both.minus(&h).carried();
        let f = zz.plus(&zz).minus(&g).carried();
        Self::completed::<WITH_T>(&e, &f, &g.carried(), &h.carried())
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn plus<const WITH_T: bool>(&self, other: &Summand) -> Self {
        let a = self.y.minus(&self.x).wide_times(&other.minus);
        let b = self.y.plus(&self.x).wide_times(&other.plus);
        let c = self.t.wide_times(&other.t);
        let d = self.z.wide_times(&other.z);
        let d = d.plus(&d);
        let (e, h) = (b.minus(&a).carried(), b.plus(&a).carried());
        let (f, g) = (d.minus(&c).carried(), d.plus(&c).carried());
        Self::completed::<WITH_T>(&e, &f, &g, &h)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn summand(&self) -> Summand {
        Summand {
            plus: self.y.plus(&self.x),
            minus: self.y.minus(&self.x),
            z: self.z,
            t: self.t.times(&Element::constant(TWICE_D)),
        }
    }

    /// Each times its secret.
    #[target_feature(enable = "avx2,fma")]
    fn times(&self, secret: &Digits) -> Self {
        let mut table = [self.summand(); 8];
        for at in 1..8 {
            table[at] = self.plus::<true>(&table[at - 1]).summand();
        }
        let (highest, rest) = (&secret.0[DIGITS - 1], &secret.0[..DIGITS - 1]);
        let mut out = Self::identity().plus::<true>(&Summand::selected(&table, highest));
        for digit in rest.iter().rev() {
            for _ in 0..3 {
                out = out.doubled::<false>();
            }
            out = out.doubled::<true>();
            out = out.plus::<true>(&Summand::selected(&table, digit));
        }
        out
    }

    /// `DECODE` of RFC 9496, section 4.3.1; None if one is no encoding, or the identity's.
    #[target_feature(enable = "avx2,fma")]
    fn decoded(bytes: [&[u8; 32]; LANES]) -> Option<Self> {
        let s = Element::from_bytes(bytes);
        let canonical = s.to_bytes();
        let sound = |(own, given): (&[u8; 32], &[u8; 32])| own == given && own[0] & 1 == 0;
        if !canonical.iter().zip(bytes).all(sound) {
            return None;
        }
        let one = Element::one();
        let ss = s.square();
        let (u1, u2) = (one.minus(&ss), one.plus(&ss));
        let u2_squared = u2.square();
        let v = u1.square().times(&Element::constant(D)).plus(&u2_squared);
        let v = v.negated();
        let [(was_square, root)] = root_of_ratio(&[one], &[v.times(&u2_squared)]);
        let den_x = root.times(&u2);
        let den_y = root.times(&den_x).times(&v);
        let x = s.plus(&s).times(&den_x).absolute();
        let y = u1.times(&den_y);
        let t = x.times(&y);
        // The identity is encoded as zero, and nothing else is.
        let refused = t.is_negative().or(y.is_zero()).or(s.is_zero());
        let zero = Element::zero();
        let taken = zero.replaced(was_square, &one).replaced(refused, &zero);
        let taken = taken.to_bytes().iter().all(|number| number[0] == 1);
        taken.then_some(Self { x, y, z: one, t })
    }

    /// The map of RFC 9496, section 4.3.4, of two numbers, summed: what 64 uniform bytes become (section 4.3.4 too).
    #[target_feature(enable = "avx2,fma")]
    fn of_uniform(bytes: [&[u8; 64]; LANES]) -> Self {
        let half = |second: bool| {
            bytes.map(|bytes| {
                let (low, high) = bytes.split_first_chunk().expect("64 bytes are 32 and more");
                if second {
                    high.try_into().expect("32 of 64 bytes are left")
                } else {
                    low
                }
            })
        };
        let [first, second] = mapped(&[
            Element::from_bytes(half(false)),
            Element::from_bytes(half(true)),
        ]);
        first.plus::<true>(&second.summand())
    }
}

impl Summand {
    /// The multiple by a digit, from the table of the multiples by 1 to 8.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn selected(table: &[Self; 8], digit: &[i64; LANES]) -> Self {
        let (size, negative) = size_and_sign(digit);
        let one = Element::one();
        let mut out = Self {
            plus: one,
            minus: one,
            z: one,
            t: Element::zero(),
        };
        for (multiple, entry) in (1..).zip(table) {
            let here = Choice::of(_mm256_cmpeq_epi64(size, _mm256_set1_epi64x(multiple)));
            out = Self {
                plus: out.plus.replaced(here, &entry.plus),
                minus: out.minus.replaced(here, &entry.minus),
                z: out.z.replaced(here, &entry.z),
                t: out.t.replaced(here, &entry.t),
            };
        }
        Self {
            plus: out.plus.replaced(negative, &out.minus),
            minus: out.minus.replaced(negative, &out.plus),
            z: out.z,
            t: out.t.negated_where(negative),
        }
    }
}

/// A digit without its sign, and whether it is negative; loaded, so that no lane is known to be as the others are.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn size_and_sign(digit: &[i64; LANES]) -> (__m256i, Choice) {
    let digit = std::hint::black_box(digit);
    // SAFETY: the array behind the reference is as long as the vector.
    let digit = unsafe { _mm256_loadu_si256(digit.as_ptr().cast()) };
    let negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), digit);
    let size = _mm256_sub_epi64(_mm256_xor_si256(digit, negative), negative);
    (size, Choice::of(negative))
}

/// `SQRT_RATIO_M1` of RFC 9496, section 4.2: whether u / v is a square, and the root.
#[target_feature(enable = "avx2,fma")]
fn root_of_ratio<const N: usize>(u: &[Element; N], v: &[Element; N]) -> [(Choice, Element); N] {
    let mut cubes = *v;
    let mut bases = *v;
    for ((cube, base), (u, v)) in cubes.iter_mut().zip(&mut bases).zip(u.iter().zip(v)) {
        *cube = v.square().times(v).times(u);
        *base = v.square().square().times(cube);
    }
    let powers = raised(&bases);
    let root = Element::constant(SQRT_M1);
    std::array::from_fn(|at| {
        let r = cubes[at].times(&powers[at]);
        let check = v[at].times(&r.square());
        let turned = u[at].times(&root);
        let correct = check.minus(&u[at]).is_zero();
        let flipped = check.plus(&u[at]).is_zero();
        let flipped_turned = check.plus(&turned).is_zero();
        let r = r.replaced(flipped.or(flipped_turned), &r.times(&root));
        (correct.or(flipped), r.absolute())
    })
}

/// `MAP` of RFC 9496, section 4.3.4.
#[target_feature(enable = "avx2,fma")]
fn mapped<const N: usize>(t: &[Element; N]) -> [Point; N] {
    let (one, d) = (Element::one(), Element::constant(D));
    let r: [Element; N] =
        std::array::from_fn(|at| t[at].square().times(&Element::constant(SQRT_M1)));
    let u: [Element; N] =
        std::array::from_fn(|at| r[at].plus(&one).times(&Element::constant(ONE_MINUS_D_SQ)));
    let v: [Element; N] = std::array::from_fn(|at| {
        let minus = r[at].times(&d).plus(&one).negated();
        minus.times(&r[at].plus(&d))
    });
    let roots = root_of_ratio(&u, &v);
    std::array::from_fn(|at| {
        let (was_square, root) = roots[at];
        let other = root.times(&t[at]).absolute().negated();
        let s = other.replaced(was_square, &root);
        let c = r[at].replaced(was_square, &one.negated());
        let n = c
            .times(&r[at].minus(&one))
            .times(&Element::constant(D_MINUS_ONE_SQ))
            .minus(&v[at]);
        let (ss, sv) = (s.square(), s.times(&v[at]));
        let w0 = sv.plus(&sv);
        let w1 = n.times(&Element::constant(SQRT_AD_MINUS_ONE));
        let (w2, w3) = (one.minus(&ss), one.plus(&ss));
        Point {
            x: w0.times(&w3),
            y: w2.times(&w1),
            z: w1.times(&w3),
            t: w0.times(&w2),
        }
    })
}

/// Points that share an inversion.
const BATCH: usize = 256;

/// Whether the processor has what the functions here are compiled for.
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// For each 64 uniform bytes their point (RFC 9496, section 4.3.4) times twice a scalar, encoded; None where the
/// processor lacks the path. Scalars are canonical, one for all or one for each: `half` of the secret.
pub(crate) fn hashed_products(uniform: &[[u8; 64]], halves: &[[u8; 32]]) -> Option<Vec<[u8; 32]>> {
    if !available() {
        return None;
    }
    let mut out = Vec::with_capacity(uniform.len());
    for (number, uniform) in uniform.chunks(BATCH).enumerate() {
        // SAFETY: the processor has the features that the functions are compiled for.
        out.extend(unsafe { multiplied(hashed(uniform), part(halves, number), uniform.len()) });
    }
    Some(out)
}

/// The same of encoded points; None if one is no point, or the identity.
///
/// # Panics
/// If the processor lacks the path ([`available`]).
pub(crate) fn decoded_products(
    encodings: &[[u8; 32]],
    halves: &[[u8; 32]],
) -> Option<Vec<[u8; 32]>> {
    assert!(available(), "the caller asked");
    let mut out = Vec::with_capacity(encodings.len());
    for (number, encodings) in encodings.chunks(BATCH).enumerate() {
        // SAFETY: the processor has the features that the function is compiled for.
        let points = unsafe { decoded(encodings) }?;
        // SAFETY: likewise.
        out.extend(unsafe { multiplied(points, part(halves, number), encodings.len()) });
    }
    Some(out)
}

/// The scalars of a batch: those of its points, or the one of all.
fn part(halves: &[[u8; 32]], number: usize) -> &[[u8; 32]] {
    let from = number * BATCH;
    match halves {
        [_] => halves,
        _ => &halves[from..halves.len().min(from + BATCH)],
    }
}

/// Four of these; the last vector is filled up with its last.
fn four<T>(chunk: &[T]) -> [&T; LANES] {
    std::array::from_fn(|lane| &chunk[lane.min(chunk.len() - 1)])
}

#[target_feature(enable = "avx2,fma")]
fn hashed(uniform: &[[u8; 64]]) -> Vec<Point> {
    let chunks = uniform.chunks(LANES);
    chunks.map(|chunk| Point::of_uniform(four(chunk))).collect()
}

#[target_feature(enable = "avx2,fma")]
fn decoded(encodings: &[[u8; 32]]) -> Option<Vec<Point>> {
    let chunks = encodings.chunks(LANES);
    chunks.map(|chunk| Point::decoded(four(chunk))).collect()
}

/// Each of `count` points times its scalar, of one for all or one for each, doubled and encoded.
#[target_feature(enable = "avx2,fma")]
fn multiplied(mut points: Vec<Point>, halves: &[[u8; 32]], count: usize) -> Vec<[u8; 32]> {
    if let [half] = halves {
        let digits = Digits::of([half; LANES]);
        for point in &mut points {
            *point = point.times(&digits);
        }
    } else {
        assert_eq!(halves.len(), count, "a scalar for each point");
        for (point, halves) in points.iter_mut().zip(halves.chunks(LANES)) {
            *point = point.times(&Digits::of(four(halves)));
        }
    }
    let mut out: Vec<[u8; 32]> = doubles_encoded(&points).into_flattened();
    out.truncate(count);
    out
}

#[cfg(test)]
mod tests;
