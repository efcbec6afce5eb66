//! Four elements of the field of 2^255 - 19 side by side, in double precision.
//!
//! An element is five limbs of 51 bits, each an integer in a `f64`, positive or negative. A product of two limbs has
//! 102 bits: one fused multiply-add on top of 1.5 * 2^103 leaves its high part, a multiple of 2^51, and a second one,
//! less that part, the rest, exactly (Emmart, Zheng, Weems, *Faster modular exponentiation using double precision
//! floating point arithmetic on the GPU*, ARITH 2018). Read as integers, the sums of these are columns of 64 bits. With
//! AVX2 alone this takes half of what products of 32 bits take, and less again than one element at a time.
//!
//! **Bounds.** Limbs of an [`Element`] are at most 2^50 + 2^15. So a product is below 2^101, and two of them lie in the
//! interval from 2^103 to 2^104 with the start; a rest is at most 2^50; a column is below 2^54, folded (20 times as
//! much at most) below 2^59, and [`Wide`] holds up to four of these. Rounding is to the nearest, as Rust has it.
//!
//! **Time.** Sums, products, masks and shifts of whole vectors: no branch and no address depends on an element, and no
//! double is subnormal, for all are integers.

#![allow(
    unsafe_code,
    reason = "stores whole vectors to arrays of their length; all else here is arithmetic of vectors"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    reason = "limbs are below 2^63 as integers and below 2^53 as doubles, and named as in the formulas"
)]

use std::arch::x86_64::{
    __m256d, __m256i, _mm256_add_epi64, _mm256_add_pd, _mm256_and_pd, _mm256_and_si256,
    _mm256_blendv_pd, _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64,
    _mm256_fmadd_pd, _mm256_or_pd, _mm256_or_si256, _mm256_set1_epi64x, _mm256_set1_pd,
    _mm256_set_epi64x, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_storeu_si256, _mm256_sub_epi64, _mm256_sub_pd, _mm256_xor_pd,
};

pub(super) mod rows;
/// Elements side by side.
pub(super) const LANES: usize = 4;
const LIMBS: usize = 5;
const BITS: i32 = 51;
const MASK: u64 = (1 << BITS) - 1;
/// 2^52, from which on the bits of a double count ones.
const UNIT: f64 = 4_503_599_627_370_496.0;
/// 2^51, the weight of a limb.
const LIMB: f64 = UNIT / 2.0;
/// The middle of the doubles that count ones, and of those that count limbs' weights.
const ONES: f64 = 1.5 * UNIT;
const WEIGHTS: f64 = 1.5 * UNIT * LIMB;
/// Makes a number of a [`Wide`] positive, and rounds it when it is cut.
const BIAS: i64 = (1 << 62) + (1 << 50);

/// Four elements, ready to be multiplied.
#[derive(Clone, Copy)]
pub(super) struct Element([__m256d; LIMBS]);

/// Four sums of products, whose limbs are integers of 64 bits.
#[derive(Clone, Copy)]
pub(super) struct Wide([__m256i; LIMBS]);

/// For each lane yes or no: the sign of its double.
#[derive(Clone, Copy)]
pub(super) struct Choice(__m256d);

/// What the bits of so many doubles around `ONES`, and so many around `WEIGHTS`, add to a column.
const fn without(ones: i64, weights: i64) -> i64 {
    let ones = (ONES.to_bits() as i64).wrapping_mul(ones);
    let weights = (WEIGHTS.to_bits() as i64).wrapping_mul(weights);
    0i64.wrapping_sub(ones).wrapping_sub(weights)
}

/// A number in limbs of 51 bits as limbs that are positive and negative.
const fn balanced(limbs: [u64; LIMBS]) -> [f64; LIMBS] {
    let mut out = [0.0; LIMBS];
    let mut carry = 0;
    let mut at = 0;
    while at < LIMBS {
        let limb = limbs[at] as i64 + carry;
        carry = (limb + (1 << 50)) >> BITS;
        out[at] = (limb - (carry << BITS)) as f64;
        at += 1;
    }
    out[0] += (19 * carry) as f64;
    out
}

/// The limbs of 255 bits of a little-endian number; the highest bit is left out.
fn limbs(bytes: &[u8; 32]) -> [u64; LIMBS] {
    let word = |at: usize| {
        let eight = bytes[at..].first_chunk().expect("32 bytes hold it");
        u64::from_le_bytes(*eight)
    };
    [
        word(0) & MASK,
        (word(6) >> 3) & MASK,
        (word(12) >> 6) & MASK,
        (word(19) >> 1) & MASK,
        (word(24) >> 12) & MASK,
    ]
}

/// The products that one column sums, lone ones and pairs, with what their bits add beside them.
macro_rules! column {
    ($columns:ident, $at:literal, $start:expr $(, lone $a:expr, $b:expr)* $(, pair $c:expr, $d:expr, $e:expr, $f:expr)*) => {
        let mut high = _mm256_set1_epi64x($start);
        $(lone(&mut $columns[$at], &mut high, $a, $b);)*
        $(pair(&mut $columns[$at], &mut high, $c, $d, $e, $f);)*
        $columns[$at + 1] = high;
    };
}

/// Add a product to a column: its rest here, its multiple of a limb's weight one higher.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn lone(low: &mut __m256i, high: &mut __m256i, a: __m256d, b: __m256d) {
    let above = _mm256_fmadd_pd(a, b, _mm256_set1_pd(WEIGHTS));
    let start = _mm256_sub_pd(_mm256_set1_pd(WEIGHTS + ONES), above);
    let rest = _mm256_fmadd_pd(a, b, start);
    *low = _mm256_add_epi64(*low, _mm256_castpd_si256(rest));
    *high = _mm256_add_epi64(*high, _mm256_castpd_si256(above));
}

/// Add two products to a column, whose high parts are summed by the multiply-adds themselves.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pair(low: &mut __m256i, high: &mut __m256i, a: __m256d, b: __m256d, c: __m256d, d: __m256d) {
    let above = _mm256_fmadd_pd(a, b, _mm256_set1_pd(WEIGHTS));
    let start = _mm256_sub_pd(_mm256_set1_pd(WEIGHTS + ONES), above);
    let rest = _mm256_fmadd_pd(a, b, start);
    let both = _mm256_fmadd_pd(c, d, above);
    let other = _mm256_fmadd_pd(c, d, _mm256_sub_pd(above, both));
    *low = _mm256_add_epi64(*low, _mm256_castpd_si256(_mm256_add_pd(rest, other)));
    *high = _mm256_add_epi64(*high, _mm256_castpd_si256(both));
}

impl Wide {
    /// From ten columns: the upper five, by 19, to the lower.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn folded(columns: &[__m256i; 2 * LIMBS]) -> Self {
        let mut out = [_mm256_setzero_si256(); LIMBS];
        for (at, out) in out.iter_mut().enumerate() {
            let high = columns[at + LIMBS];
            let three = _mm256_add_epi64(high, _mm256_add_epi64(high, high));
            let low = _mm256_add_epi64(columns[at], three);
            *out = _mm256_add_epi64(low, _mm256_slli_epi64::<4>(high));
        }
        Self(out)
    }

    /// The sum.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut out = self.0;
        for (limb, more) in out.iter_mut().zip(&other.0) {
            *limb = _mm256_add_epi64(*limb, *more);
        }
        Self(out)
    }

    /// The difference.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut out = self.0;
        for (limb, less) in out.iter_mut().zip(&other.0) {
            *limb = _mm256_sub_epi64(*limb, *less);
        }
        Self(out)
    }

    /// As elements: each limb's excess to the next.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn carried(&self) -> Element {
        let unit = _mm256_set1_epi64x(UNIT.to_bits() as i64);
        let mask = _mm256_set1_epi64x(MASK as i64);
        let above = _mm256_set1_pd(UNIT + LIMB / 2.0);
        let mut out = [_mm256_set1_pd(0.0); LIMBS];
        let mut number = _mm256_add_epi64(self.0[0], _mm256_set1_epi64x(BIAS));
        for at in 0..LIMBS {
            let digit = _mm256_or_si256(_mm256_and_si256(number, mask), unit);
            out[at] = _mm256_sub_pd(_mm256_castsi256_pd(digit), above);
            let carry = _mm256_srli_epi64::<BITS>(number);
            if at + 1 < LIMBS {
                let bias = _mm256_set1_epi64x(BIAS - (1 << 11));
                number = _mm256_add_epi64(_mm256_add_epi64(self.0[at + 1], bias), carry);
            } else {
                let carry = _mm256_castsi256_pd(_mm256_or_si256(carry, unit));
                let carry = _mm256_sub_pd(carry, _mm256_set1_pd(UNIT + 2048.0));
                out[0] = _mm256_fmadd_pd(carry, _mm256_set1_pd(19.0), out[0]);
            }
        }
        Element(out)
    }
}

impl Element {
    /// The same number, below 2^255 and in limbs of 51 bits, in all lanes.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn constant(limbs: [u64; LIMBS]) -> Self {
        let mut out = [_mm256_set1_pd(0.0); LIMBS];
        for (out, limb) in out.iter_mut().zip(balanced(limbs)) {
            *out = _mm256_set1_pd(limb);
        }
        Self(out)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn zero() -> Self {
        Self::constant([0; LIMBS])
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn one() -> Self {
        Self::constant([1, 0, 0, 0, 0])
    }

    /// Of little-endian numbers, each without its highest bit.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn from_bytes(bytes: [&[u8; 32]; LANES]) -> Self {
        let lanes = bytes.map(limbs);
        let unit = _mm256_set1_epi64x(UNIT.to_bits() as i64);
        let mut out = [_mm256_set1_pd(0.0); LIMBS];
        for (at, out) in out.iter_mut().enumerate() {
            let [a, b, c, d] = lanes.map(|limbs| limbs[at] as i64);
            let digit = _mm256_or_si256(_mm256_set_epi64x(d, c, b, a), unit);
            *out = _mm256_sub_pd(_mm256_castsi256_pd(digit), _mm256_set1_pd(UNIT));
        }
        Self(out).reduced()
    }

    /// The same of limbs up to 2^53: each limb's excess to the next, all at once.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduced(&self) -> Self {
        let round = _mm256_set1_pd(WEIGHTS);
        let mut out = self.0;
        let mut carries = [_mm256_set1_pd(0.0); LIMBS];
        for (limb, carry) in out.iter_mut().zip(&mut carries) {
            *carry = _mm256_sub_pd(_mm256_add_pd(*limb, round), round);
            *limb = _mm256_sub_pd(*limb, *carry);
        }
        for (at, carry) in carries.into_iter().enumerate() {
            let weight = if at + 1 < LIMBS { 1.0 } else { 19.0 };
            let next = &mut out[(at + 1) % LIMBS];
            *next = _mm256_fmadd_pd(carry, _mm256_set1_pd(weight / LIMB), *next);
        }
        Self(out)
    }

    /// The sum.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut out = self.0;
        for (limb, more) in out.iter_mut().zip(&other.0) {
            *limb = _mm256_add_pd(*limb, *more);
        }
        Self(out).reduced()
    }

    /// The difference.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut out = self.0;
        for (limb, less) in out.iter_mut().zip(&other.0) {
            *limb = _mm256_sub_pd(*limb, *less);
        }
        Self(out).reduced()
    }

    /// The product, not yet carried.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn wide_times(&self, other: &Self) -> Wide {
        let (a, b) = (&self.0, &other.0);
        let mut to = [_mm256_setzero_si256(); 2 * LIMBS];
        to[0] = _mm256_set1_epi64x(without(1, 0));
        // A column's start: what the doubles add that will be summed in it, rests of its own and high parts of the
        // column below, a pair's two being one.
        column!(to, 0, without(1, 1), lone a[0], b[0]);
        column!(to, 1, without(2, 1), pair a[0], b[1], a[1], b[0]);
        column!(to, 2, without(2, 2), lone a[1], b[1], pair a[0], b[2], a[2], b[0]);
        column!(to, 3, without(3, 2), pair a[0], b[3], a[3], b[0], pair a[1], b[2], a[2], b[1]);
        column!(to, 4, without(2, 3), lone a[2], b[2], pair a[0], b[4], a[4], b[0], pair a[1], b[3], a[3], b[1]);
        column!(to, 5, without(2, 2), pair a[1], b[4], a[4], b[1], pair a[2], b[3], a[3], b[2]);
        column!(to, 6, without(1, 2), lone a[3], b[3], pair a[2], b[4], a[4], b[2]);
        column!(to, 7, without(1, 1), pair a[3], b[4], a[4], b[3]);
        column!(to, 8, without(0, 1), lone a[4], b[4]);
        Wide::folded(&to)
    }

    /// The square, not yet carried.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn wide_square(&self) -> Wide {
        let a = &self.0;
        let mut twice = *a;
        for limb in &mut twice {
            *limb = _mm256_add_pd(*limb, *limb);
        }
        let mut to = [_mm256_setzero_si256(); 2 * LIMBS];
        to[0] = _mm256_set1_epi64x(without(1, 0));
        column!(to, 0, without(1, 1), lone a[0], a[0]);
        column!(to, 1, without(2, 1), lone twice[0], a[1]);
        column!(to, 2, without(2, 2), lone a[1], a[1], lone twice[0], a[2]);
        column!(to, 3, without(3, 2), lone twice[0], a[3], lone twice[1], a[2]);
        column!(to, 4, without(2, 3), lone a[2], a[2], lone twice[0], a[4], lone twice[1], a[3]);
        column!(to, 5, without(2, 2), lone twice[1], a[4], lone twice[2], a[3]);
        column!(to, 6, without(1, 2), lone a[3], a[3], lone twice[2], a[4]);
        column!(to, 7, without(1, 1), lone twice[3], a[4]);
        column!(to, 8, without(0, 1), lone a[4], a[4]);
        Wide::folded(&to)
    }

    /// The product.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn times(&self, other: &Self) -> Self {
        self.wide_times(other).carried()
    }

    /// The square.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn square(&self) -> Self {
        self.wide_square().carried()
    }

    /// The number with the opposite sign.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn negated(&self) -> Self {
        self.negated_where(Choice(_mm256_set1_pd(-0.0)))
    }

    /// With the opposite sign where chosen.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn negated_where(&self, choice: Choice) -> Self {
        let sign = _mm256_and_pd(choice.0, _mm256_set1_pd(-0.0));
        Self(self.0.map(|limb| _mm256_xor_pd(limb, sign)))
    }

    /// `other` where chosen, else this.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn replaced(&self, choice: Choice, other: &Self) -> Self {
        let mut out = self.0;
        for (limb, other) in out.iter_mut().zip(&other.0) {
            *limb = _mm256_blendv_pd(*limb, *other, choice.0);
        }
        Self(out)
    }

    /// The one number below p, in limbs of 51 bits.
    #[target_feature(enable = "avx2,fma")]
    fn canonical(&self) -> [__m256i; LIMBS] {
        let mask = _mm256_set1_epi64x(MASK as i64);
        let ones = _mm256_set1_epi64x(ONES.to_bits() as i64);
        // With p added it is positive, and below 2p.
        let mut number = [_mm256_setzero_si256(); LIMBS];
        for (at, number) in number.iter_mut().enumerate() {
            let bits = _mm256_castpd_si256(_mm256_add_pd(self.0[at], _mm256_set1_pd(ONES)));
            let p = MASK - if at == 0 { 18 } else { 0 };
            let whole = _mm256_sub_epi64(bits, ones);
            *number = _mm256_add_epi64(whole, _mm256_set1_epi64x(p as i64));
        }
        // It is at least p where 19 more would reach 2^255.
        let mut carry = _mm256_set1_epi64x(19);
        for limb in number {
            carry = _mm256_srli_epi64::<BITS>(_mm256_add_epi64(limb, carry));
        }
        let twice = _mm256_add_epi64(carry, carry);
        let three = _mm256_add_epi64(carry, twice);
        carry = _mm256_add_epi64(three, _mm256_slli_epi64::<4>(carry));
        for limb in &mut number {
            let sum = _mm256_add_epi64(*limb, carry);
            carry = _mm256_srli_epi64::<BITS>(sum);
            *limb = _mm256_and_si256(sum, mask);
        }
        number
    }

    /// Whether it is odd as a number below p.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn is_negative(&self) -> Choice {
        let lowest = _mm256_slli_epi64::<63>(self.canonical()[0]);
        Choice(_mm256_castsi256_pd(lowest))
    }

    /// Whether it is zero.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn is_zero(&self) -> Choice {
        let [a, b, c, d, e] = self.canonical();
        let any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
        let any = _mm256_or_si256(any, e);
        let none = _mm256_cmpeq_epi64(any, _mm256_setzero_si256());
        Choice(_mm256_castsi256_pd(none))
    }

    /// The one of it and its opposite that is even.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn absolute(&self) -> Self {
        self.negated_where(self.is_negative())
    }

    /// Little-endian, each below p.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn to_bytes(self) -> [[u8; 32]; LANES] {
        let mut limbs = [[0u64; LANES]; LIMBS];
        for (to, limb) in limbs.iter_mut().zip(self.canonical()) {
            // SAFETY: the array behind the reference is as long as the vector.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), limb) };
        }
        std::array::from_fn(|lane| {
            let [a, b, c, d, e] = limbs.map(|limb| limb[lane]);
            let words = [
                a | b << 51,
                b >> 13 | c << 38,
                c >> 26 | d << 25,
                d >> 39 | e << 12,
            ];
            let mut out = [0; 32];
            for (to, word) in out.chunks_exact_mut(8).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            out
        })
    }
}

impl Choice {
    /// Of lanes that are all ones or all zeros.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn of(lanes: __m256i) -> Self {
        Self(_mm256_castsi256_pd(lanes))
    }

    /// Either.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn or(self, other: Self) -> Self {
        Self(_mm256_or_pd(self.0, other.0))
    }
}

/// Each raised to 2^252 - 3, as (p - 5) / 8 is; those of several vectors, whose steps wait for one another, in turn.
#[target_feature(enable = "avx2,fma")]
pub(super) fn raised<const N: usize>(x: &[Element; N]) -> [Element; N] {
    // Exponents of ones alone: of 2, 4 and 5 bits, then doubled and joined up to 250.
    let two = joined(x, 1, x);
    let four = joined(&two, 2, &two);
    let five = joined(&four, 1, x);
    let ten = joined(&five, 5, &five);
    let twenty = joined(&ten, 10, &ten);
    let forty = joined(&twenty, 20, &twenty);
    let fifty = joined(&forty, 10, &ten);
    let hundred = joined(&fifty, 50, &fifty);
    let two_hundred = joined(&hundred, 100, &hundred);
    let all = joined(&two_hundred, 50, &fifty);
    // Then 01.
    joined(&all, 2, x)
}

/// Each of `x` squared so many times, times that of `y`.
#[target_feature(enable = "avx2,fma")]
fn joined<const N: usize>(x: &[Element; N], times: usize, y: &[Element; N]) -> [Element; N] {
    let mut out = *x;
    for _ in 0..times {
        for element in &mut out {
            *element = element.square();
        }
    }
    for (element, y) in out.iter_mut().zip(y) {
        *element = element.times(y);
    }
    out
}

/// The inverse, of zero zero.
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverted(x: &Element) -> Element {
    // p - 2 is 8 (2^252 - 3) + 3.
    let [high] = raised(&[*x]);
    let high = high.square().square().square();
    high.times(&x.square().times(x))
}

#[cfg(test)]
mod tests;
