//! The ring `Z_q[X]/(X^2048 + 1)` for the two primes of the scheme, by number-theoretic transforms.
//!
//! Evaluations are kept in *Galois order*: position `half * 1024 + j` holds the value at the root to the power
//! (-1)^half * 5^j, so that the automorphism X -> X^(5^k) is a rotation by k within each half. Butterflies are those
//! of Harvey (2014) with Shoup's precomputed quotients; nothing here branches on a coefficient.

use std::sync::OnceLock;

/// The degree d of the ring.
pub const DEGREE: usize = 2048;
/// Half the degree: the order of 5 modulo 4096, and how many ciphertexts one packing takes.
pub const HALF: usize = DEGREE / 2;
/// The first prime, below 2^30 and 1 modulo 4096: the modulus of a query's selection vector.
pub const Q1: u32 = 1_073_692_673;
/// The second prime, below 2^26 and 1 modulo 4096.
pub const Q2: u32 = 67_104_769;
/// Q = Q1 * Q2, just below 2^56: the modulus of packing.
pub const Q: u64 = Q1 as u64 * Q2 as u64;

/// A polynomial modulo one prime, in coefficients or in evaluations.
pub type Poly = [u32; DEGREE];

/// A polynomial of zeros, on the heap.
///
/// # Panics
/// Never: it has the length that it is made with.
#[must_use]
pub fn zero() -> Box<Poly> {
    vec![0u32; DEGREE]
        .into_boxed_slice()
        .try_into()
        .expect("the length is the degree")
}

fn power(base: u32, mut exponent: u64, q: u32) -> u32 {
    let (mut square, mut result) = (u64::from(base), 1u64);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % u64::from(q);
        }
        square = square * square % u64::from(q);
        exponent >>= 1;
    }
    result as u32
}

/// The inverse of `value` modulo the prime `q`.
#[must_use]
pub fn inverse(value: u32, q: u32) -> u32 {
    power(value, u64::from(q) - 2, q)
}

fn root(q: u32) -> u32 {
    let order = 2 * DEGREE as u64;
    (2..q)
        .map(|candidate| power(candidate, (u64::from(q) - 1) / order, q))
        .find(|&found| power(found, order / 2, q) == q - 1)
        .expect("a prime that is 1 modulo 4096 has a root of that order")
}

fn shoup(w: u32, q: u32) -> u32 {
    ((u64::from(w) << 32) / u64::from(q)) as u32
}

/// A prime with its tables.
pub struct Prime {
    /// The prime.
    pub q: u32,
    bits: u32,
    barrett: u32,
    forward: Vec<(u32, u32)>,
    backward: Vec<(u32, u32)>,
    scale: (u32, u32),
    order: Vec<u16>,
}

/// Galois position -> position in the bit-reversed output of the butterflies.
fn galois_order() -> Vec<u16> {
    let mut order = vec![0u16; DEGREE];
    let mut exponent = 1usize;
    for j in 0..HALF {
        for (half, e) in [(0, exponent), (1, 2 * DEGREE - exponent)] {
            let natural = (e - 1) / 2;
            order[half * HALF + j] = (natural.reverse_bits() >> (usize::BITS - 11)) as u16;
        }
        exponent = exponent * 5 % (2 * DEGREE);
    }
    order
}

impl Prime {
    fn new(q: u32) -> Self {
        let psi = root(q);
        let table = |base: u32| {
            (0..DEGREE)
                .map(|i| {
                    let exponent = (i.reverse_bits() >> (usize::BITS - 11)) as u64;
                    let w = power(base, exponent, q);
                    (w, shoup(w, q))
                })
                .collect()
        };
        let bits = 32 - q.leading_zeros();
        let scale = inverse(DEGREE as u32, q);
        Self {
            q,
            bits,
            barrett: ((1u64 << (2 * bits)) / u64::from(q)) as u32,
            forward: table(psi),
            backward: table(inverse(psi, q)),
            scale: (scale, shoup(scale, q)),
            order: galois_order(),
        }
    }

    /// `x` modulo the prime, for x below the square of the prime's power of two.
    #[inline(always)]
    #[must_use]
    pub fn reduce(&self, x: u64) -> u32 {
        // Both factors are below 2^32, which the cast tells the compiler: a vector's product has 32 bits by 32.
        let high = u64::from((x >> (self.bits - 1)) as u32);
        let estimate = (high * u64::from(self.barrett)) >> (self.bits + 1);
        let rest = (x - estimate * u64::from(self.q)) as u32;
        let rest = rest.min(rest.wrapping_sub(2 * self.q));
        rest.min(rest.wrapping_sub(self.q))
    }

    /// The product of two residues.
    #[inline(always)]
    #[must_use]
    pub fn times(&self, a: u32, b: u32) -> u32 {
        self.reduce(u64::from(a) * u64::from(b))
    }

    /// The sum of two residues.
    #[inline(always)]
    #[must_use]
    pub fn plus(&self, a: u32, b: u32) -> u32 {
        let sum = a + b;
        sum.min(sum.wrapping_sub(self.q))
    }

    /// The residue of a small signed number, at most 2^27 in absolute value.
    #[inline(always)]
    #[must_use]
    pub fn signed(&self, x: i32) -> u32 {
        self.reduce((i64::from(x) + 4 * i64::from(self.q)) as u64)
    }

    /// From coefficients to evaluations in Galois order. In and out below q.
    pub fn transform(&self, poly: &mut Poly) {
        self.butterflied(poly);
        self.ordered(poly);
    }

    /// From coefficients to evaluations in the order in which the butterflies leave them. In and out below q.
    pub fn butterflied(&self, poly: &mut Poly) {
        super::simd::butterflies(poly, &self.forward, self.q);
    }

    /// From the butterflies' order to Galois order.
    pub fn ordered(&self, poly: &mut Poly) {
        let copy = *poly;
        for (value, &from) in poly.iter_mut().zip(&self.order) {
            *value = copy[from as usize];
        }
    }

    /// From Galois order to the butterflies' order.
    pub fn disordered(&self, poly: &mut Poly) {
        let copy = *poly;
        for (&value, &to) in copy.iter().zip(&self.order) {
            poly[to as usize] = value;
        }
    }

    /// From evaluations in Galois order to coefficients. In and out below q.
    pub fn invert(&self, poly: &mut Poly) {
        self.disordered(poly);
        super::simd::inverse_butterflies(poly, &self.backward, self.scale, self.q);
    }
}

/// The products of residues, place by place.
#[inline(always)]
pub(super) fn products_body(prime: &Prime, a: &Poly, b: &Poly, out: &mut Poly) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = prime.times(a, b);
    }
}

/// x * w modulo q, below 2q, for any x; `w` comes with Shoup's quotient.
#[inline(always)]
fn lazy(x: u32, w: (u32, u32), q: u32) -> u32 {
    let estimate = ((u64::from(x) * u64::from(w.1)) >> 32) as u32;
    x.wrapping_mul(w.0).wrapping_sub(estimate.wrapping_mul(q))
}

#[inline(always)]
fn below(x: u32, limit: u32) -> u32 {
    x.min(x.wrapping_sub(limit))
}

/// The body of the forward butterflies: natural order in, bit-reversed out; q below 2^30.
#[inline(always)]
pub(super) fn butterflies_body(poly: &mut Poly, table: &[(u32, u32)], q: u32) {
    let mut width = DEGREE / 2;
    let mut blocks = 1;
    while width > 0 {
        for (block, &w) in poly
            .chunks_exact_mut(2 * width)
            .zip(&table[blocks..2 * blocks])
        {
            let (low, high) = block.split_at_mut(width);
            for (x, y) in low.iter_mut().zip(high) {
                let (a, b) = (below(*x, 2 * q), lazy(*y, w, q));
                (*x, *y) = (a + b, a + 2 * q - b);
            }
        }
        width /= 2;
        blocks *= 2;
    }
    for x in poly {
        *x = below(below(*x, 2 * q), q);
    }
}

/// The body of the inverse butterflies: bit-reversed in, natural order out.
#[inline(always)]
pub(super) fn inverse_butterflies_body(
    poly: &mut Poly,
    table: &[(u32, u32)],
    scale: (u32, u32),
    q: u32,
) {
    let mut width = 1;
    let mut blocks = DEGREE / 2;
    while blocks > 0 {
        for (block, &w) in poly
            .chunks_exact_mut(2 * width)
            .zip(&table[blocks..2 * blocks])
        {
            let (low, high) = block.split_at_mut(width);
            for (x, y) in low.iter_mut().zip(high) {
                let (a, b) = (*x, *y);
                (*x, *y) = (below(a + b, 2 * q), lazy(a + 2 * q - b, w, q));
            }
        }
        width *= 2;
        blocks /= 2;
    }
    for x in poly {
        *x = below(lazy(*x, scale, q), q);
    }
}

/// The first prime with its tables.
pub fn first() -> &'static Prime {
    static TABLES: OnceLock<Prime> = OnceLock::new();
    TABLES.get_or_init(|| Prime::new(Q1))
}

/// The second prime with its tables.
pub fn second() -> &'static Prime {
    static TABLES: OnceLock<Prime> = OnceLock::new();
    TABLES.get_or_init(|| Prime::new(Q2))
}

/// The number below Q with these residues.
#[inline(always)]
#[must_use]
pub fn compose(x1: u32, x2: u32) -> u64 {
    const INVERSE: u64 = compose_inverse();
    let difference = u64::from(x2) + 17 * u64::from(Q2) - u64::from(x1);
    let quotient = difference * INVERSE % u64::from(Q2);
    u64::from(x1) + u64::from(Q1) * quotient
}

/// Q1^-1 modulo Q2 by Fermat, at compile time.
const fn compose_inverse() -> u64 {
    let q = Q2 as u64;
    let (mut square, mut result, mut exponent) = (Q1 as u64 % q, 1u64, q - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % q;
        }
        square = square * square % q;
        exponent >>= 1;
    }
    result
}

/// The number nearest to zero that is `x` modulo Q.
#[inline(always)]
#[must_use]
pub fn centred(x: u64) -> i64 {
    if x > Q / 2 {
        x as i64 - Q as i64
    } else {
        x as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, q: u32) -> Poly {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((u64::from(state) * u64::from(q)) >> 32) as u32
        })
    }

    fn school(a: &Poly, b: &Poly, q: u32) -> Poly {
        let q = u64::from(q);
        let mut out = [0u32; DEGREE];
        for (i, &x) in a.iter().enumerate() {
            for (j, &y) in b.iter().enumerate() {
                let term = u64::from(x) * u64::from(y) % q;
                let term = if i + j < DEGREE { term } else { q - term };
                let at = (i + j) % DEGREE;
                out[at] = ((u64::from(out[at]) + term) % q) as u32;
            }
        }
        out
    }

    #[test]
    fn pointwise_products_are_those_of_the_ring() {
        for prime in [first(), second()] {
            let (a, b) = (noise(1, prime.q), noise(2, prime.q));
            let (mut x, mut y) = (a, b);
            prime.transform(&mut x);
            prime.transform(&mut y);
            for (value, &other) in x.iter_mut().zip(&y) {
                *value = prime.times(*value, other);
            }
            prime.invert(&mut x);
            assert!(x == school(&a, &b, prime.q));
        }
    }

    #[test]
    fn the_automorphism_by_five_is_a_rotation() {
        let prime = first();
        let a = noise(3, prime.q);
        let mut moved = [0u32; DEGREE];
        for (i, &value) in a.iter().enumerate() {
            let to = 5 * i % (2 * DEGREE);
            if to < DEGREE {
                moved[to] = value;
            } else {
                moved[to - DEGREE] = (prime.q - value) % prime.q;
            }
        }
        let mut a = a;
        prime.transform(&mut a);
        prime.transform(&mut moved);
        for half in [0, HALF] {
            for j in 0..HALF {
                assert_eq!(moved[half + j], a[half + (j + 1) % HALF]);
            }
        }
    }

    #[test]
    fn reduction_holds_at_its_limits() {
        for prime in [first(), second()] {
            let top = (1u64 << (2 * prime.bits)) - 1;
            let square = u64::from(prime.q - 1) * u64::from(prime.q - 1);
            for x in [
                0,
                1,
                u64::from(prime.q),
                u64::from(prime.q) - 1,
                square,
                top,
            ] {
                assert_eq!(u64::from(prime.reduce(x)), x % u64::from(prime.q));
            }
        }
    }

    #[test]
    fn residues_compose() {
        for x in [0, 1, Q - 1, Q / 2, Q / 2 + 1, 123_456_789_012_345] {
            let (x1, x2) = ((x % u64::from(Q1)) as u32, (x % u64::from(Q2)) as u32);
            assert_eq!(compose(x1, x2), x);
        }
        assert_eq!(centred(Q - 1), -1);
        assert_eq!(centred(Q / 2), (Q / 2) as i64);
    }
}
