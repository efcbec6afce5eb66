//! The lanes' arithmetic beside plain arithmetic of numbers, at random and at the ends of what limbs may be.

#![allow(
    unsafe_code,
    reason = "calls functions compiled for AVX2 and FMA after the check that the processor has them, and stores whole vectors"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::many_single_char_names,
    reason = "words of numbers, moved as they are; limbs are integers"
)]

use super::*;
use proptest::prelude::*;

/// A number below 2^256, modulo p as plain arithmetic has it.
type Number = [u64; 4];
type Operation = fn(Number, Number) -> Number;
const P: Number = [u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1];

/// a + b c + d 2^256, folded until it is below p.
fn fused(a: Number, b: Number, c: Number) -> Number {
    let mut wide = [0u64; 8];
    wide[..4].copy_from_slice(&a);
    for (i, &b) in b.iter().enumerate() {
        let mut carry = 0;
        for (j, &c) in c.iter().enumerate() {
            let sum = u128::from(wide[i + j]) + u128::from(b) * u128::from(c) + carry;
            wide[i + j] = sum as u64;
            carry = sum >> 64;
        }
        let sum = u128::from(wide[i + 4]) + carry;
        wide[i + 4] = sum as u64;
    }
    // 2^256 is 38, and what that leaves above is small.
    let mut out = [0; 4];
    let mut carry = 0;
    for at in 0..4 {
        let sum = u128::from(wide[at]) + 38 * u128::from(wide[at + 4]) + carry;
        out[at] = sum as u64;
        carry = sum >> 64;
    }
    while carry > 0 {
        carry *= 38;
        for word in &mut out {
            let sum = u128::from(*word) + carry;
            *word = sum as u64;
            carry = sum >> 64;
        }
    }
    while out.iter().rev().ge(P.iter().rev()) {
        let mut borrow = false;
        for (word, p) in out.iter_mut().zip(P) {
            let (less, first) = word.overflowing_sub(p);
            let (less, second) = less.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (less, first || second);
        }
    }
    out
}

fn times(a: Number, b: Number) -> Number {
    fused([0; 4], a, b)
}

fn plus(a: Number, b: Number) -> Number {
    fused(a, b, [1, 0, 0, 0])
}

fn minus(a: Number, b: Number) -> Number {
    let one_less = [P[0] - 1, P[1], P[2], P[3]];
    fused(a, one_less, b)
}

fn bytes(number: Number) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, word) in out.chunks_exact_mut(8).zip(number) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn number(bytes: [u8; 32]) -> Number {
    std::array::from_fn(|at| {
        u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("eight"))
    })
}

/// The number whose limbs these are, positive or negative.
fn of_limbs(limbs: [i64; LIMBS]) -> Number {
    let mut sum = [0; 4];
    for limb in limbs.into_iter().rev() {
        let size = [limb.unsigned_abs(), 0, 0, 0];
        let moved = times(sum, [1 << BITS, 0, 0, 0]);
        sum = if limb < 0 {
            minus(moved, size)
        } else {
            plus(moved, size)
        };
    }
    sum
}

/// An element of these limbs in lane 0, of their opposites in lane 1, and so on.
#[target_feature(enable = "avx2,fma")]
fn element(limbs: [i64; LIMBS]) -> Element {
    Element(limbs.map(|limb| {
        let x = limb as f64;
        std::arch::x86_64::_mm256_set_pd(-x, x, -x, x)
    }))
}

fn has_path() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[target_feature(enable = "avx2,fma")]
fn arithmetic_holds(a: [[u8; 32]; LANES], b: [[u8; 32]; LANES]) {
    let masked = |bytes: [u8; 32]| {
        let mut number = number(bytes);
        number[3] &= u64::MAX >> 1;
        number
    };
    let (x, y) = (
        Element::from_bytes(a.each_ref()),
        Element::from_bytes(b.each_ref()),
    );
    let (sum, difference) = (x.plus(&y), x.minus(&y));
    let cases: [(Element, Operation); 6] = [
        (x.times(&y), times),
        (x.square(), |a, _| times(a, a)),
        (sum, plus),
        (difference, minus),
        (sum.times(&difference), |a, b| {
            times(plus(a, b), minus(a, b))
        }),
        (x.negated(), |a, _| minus([0; 4], a)),
    ];
    for (found, wanted) in cases {
        let found = found.to_bytes();
        for lane in 0..LANES {
            let wanted = wanted(masked(a[lane]), masked(b[lane]));
            assert_eq!(found[lane], bytes(wanted));
        }
    }
    let chosen = sum.replaced(x.is_negative(), &difference).to_bytes();
    let even = x.absolute().to_bytes();
    for lane in 0..LANES {
        let (a, b) = (masked(a[lane]), masked(b[lane]));
        let odd = plus(a, [0; 4])[0] & 1 == 1;
        let wanted = if odd { minus(a, b) } else { plus(a, b) };
        assert_eq!(chosen[lane], bytes(wanted));
        assert_eq!(even[lane][0] & 1, 0);
        let wanted = if odd {
            minus([0; 4], a)
        } else {
            plus(a, [0; 4])
        };
        assert_eq!(even[lane], bytes(wanted));
    }
}

/// Numbers near the ends of what may be given, and any.
fn given() -> impl Strategy<Value = [u8; 32]> {
    let near = prop_oneof![Just([0; 4]), Just(P), Just([u64::MAX; 4])];
    let ends = (near, 0u64..40).prop_map(|(number, less)| {
        let mut number = number;
        number[0] = number[0].wrapping_sub(less);
        bytes(number)
    });
    prop_oneof![ends, any::<[u8; 32]>()]
}

fn four() -> impl Strategy<Value = [[u8; 32]; LANES]> {
    prop::array::uniform4(given())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 512 }))]

    #[test]
    fn lanes_are_the_field(a in four(), b in four()) {
        if has_path() {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { arithmetic_holds(a, b) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn bounds_hold() {
    const MOST: i64 = (1 << 50) + (1 << 15);
    for signs in 0..32u32 {
        let limbs: [i64; LIMBS] =
            std::array::from_fn(|at| if signs >> at & 1 == 1 { -MOST } else { MOST });
        let (x, y) = (element([MOST; LIMBS]), element(limbs));
        let (a, b) = (of_limbs([MOST; LIMBS]), of_limbs(limbs));
        let product = x.wide_times(&y);
        let (twice, square) = (product.plus(&product), y.wide_square());
        let squares = square.plus(&square);
        let none = [0; 4];
        let cases = [
            (product, times(a, b)),
            (square, times(b, b)),
            (twice.plus(&twice), times([4, 0, 0, 0], times(a, b))),
            (squares.plus(&squares), times([4, 0, 0, 0], times(b, b))),
            (
                squares.minus(&product).minus(&product),
                times([2, 0, 0, 0], minus(times(b, b), times(a, b))),
            ),
        ];
        for (found, wanted) in cases {
            let found = found.carried();
            for limb in found.0 {
                for part in lanes_of(limb) {
                    assert!(part.abs() <= MOST as f64 && part.fract() == 0.0);
                }
            }
            assert_eq!(found.to_bytes(), [bytes(wanted); LANES]);
        }
        assert_eq!(y.plus(&y).to_bytes()[0], bytes(plus(b, b)));
        assert_eq!(y.to_bytes()[1], bytes(minus(none, b)));
    }
}

#[target_feature(enable = "avx2,fma")]
fn lanes_of(vector: __m256d) -> [f64; LANES] {
    let mut out = [0.0; LANES];
    // SAFETY: the array behind the reference is as long as the vector.
    unsafe { std::arch::x86_64::_mm256_storeu_pd(out.as_mut_ptr(), vector) };
    out
}

#[test]
fn the_largest_limbs_there_may_be_are_exact() {
    if has_path() {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { bounds_hold() };
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverses_hold() {
    let given: [[u8; 32]; LANES] = [[0; 32], bytes([2, 0, 0, 0]), [0x5a; 32], bytes(P)];
    let x = Element::from_bytes(given.each_ref());
    let products = inverted(&x).times(&x).to_bytes();
    let one = bytes([1, 0, 0, 0]);
    assert_eq!(products, [[0; 32], one, one, [0; 32]]);
    // (x^(2^252 - 3))^8 is x^(p - 1) / x^4.
    let [raised] = raised(&[x]);
    let power = raised.square().square().square();
    let found = power.times(&x.square()).times(&x.square()).times(&x);
    assert_eq!(found.to_bytes(), x.to_bytes());
}

#[test]
fn inverses_are_inverses_and_that_of_zero_is_zero() {
    if has_path() {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { inverses_hold() };
    }
}
