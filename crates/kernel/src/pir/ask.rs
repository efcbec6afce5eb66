//! The asker's side of a matrix: making a query under a secret of its own, and reading the answer with it.
//!
//! A secret is drawn for one query and used for no other (eprint 2025/1352, appendix F.1); it is cleared when dropped.
//! Which rows are asked for, the secret and the errors touch no branch and no index. For parameters and their source
//! see `matrix`.

use super::matrix::{public_blocks, Shape, ANSWER_BITS, ONES, RANDOM_BITS, SCALE};
use super::pack::{self, PublicKey, SwitchKey, KEY_BYTES, PACK};
use super::ring::{self, Poly, DEGREE, HALF, Q1};
use super::sample::Stream;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What an asker keeps of one query until its answer is there.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<i32>);

/// Three rows of one table whose sum is asked for, or none (`NOWHERE`).
pub type Wish = [u32; ONES];

/// What an asker needs of an index to ask: made once, used for every query.
pub struct Public {
    shape: Shape,
    blocks: Vec<Poly>,
    key: PublicKey,
    random: Vec<(Box<Poly>, Box<Poly>)>,
}

impl Public {
    /// Of an index's seed and the random part of its answers; None if that has another length.
    #[must_use]
    pub fn new(shape: Shape, seed: &[u8; 32], random: &[u8]) -> Option<Self> {
        if random.len() != shape.random_bytes() {
            return None;
        }
        let random = random
            .par_chunks_exact(3 * DEGREE)
            .map(|pack| {
                let (mut low, mut high) = (ring::zero(), ring::zero());
                for ((three, low), high) in pack
                    .chunks_exact(3)
                    .zip(low.iter_mut())
                    .zip(high.iter_mut())
                {
                    *low = u32::from_le_bytes([three[0], three[1], three[2], 0]);
                    *high = *low;
                }
                ring::first().transform(&mut low);
                ring::second().transform(&mut high);
                (low, high)
            })
            .collect();
        let blocks = public_blocks(seed, shape.tables * shape.blocks);
        let key = PublicKey::of(seed);
        Some(Self {
            shape,
            blocks,
            key,
            random,
        })
    }

    /// Ask each table for the sum of three rows, which differ, or for nothing: the query, of `shape.query_bytes()`
    /// whatever is asked, to `out`.
    ///
    /// # Panics
    /// If there is not one wish for each table, or `out` has another length.
    #[must_use]
    pub fn query(&self, wishes: &[Wish], out: &mut [u8]) -> Secret {
        assert_eq!(wishes.len(), self.shape.tables);
        assert_eq!(out.len(), self.shape.query_bytes());
        let mut stream = Stream::secret();
        let mut secret = Secret(vec![0i32; DEGREE]);
        stream.gaussian(&mut secret.0);
        let (mut first, mut second) = transformed(&secret);
        let (key, selection) = out.split_at_mut(KEY_BYTES);
        self.switch_key(&first, &second, &mut stream).to_bytes(key);
        selection
            .par_chunks_exact_mut(4 * DEGREE)
            .zip(&self.blocks)
            .enumerate()
            .for_each(|(number, (selection, public))| {
                let wish = wishes[number / self.shape.blocks];
                let first_row = (number % self.shape.blocks * DEGREE) as u32;
                encrypted(public, &first, wish, first_row, selection);
            });
        first.zeroize();
        second.zeroize();
        secret
    }

    /// -w s + e + 2^28 `tau_5(s)`, as evaluations.
    fn switch_key(&self, first: &Poly, second: &Poly, stream: &mut Stream) -> SwitchKey {
        let mut error = [0i32; DEGREE];
        stream.gaussian(&mut error);
        let (public_first, public_second) = self.key.residues();
        let made = [
            (ring::first(), first, public_first),
            (ring::second(), second, public_second),
        ]
        .map(|(prime, secret, public)| {
            let gadget = ((1u64 << pack::GADGET_BITS) % u64::from(prime.q)) as u32;
            let mut key = ring::zero();
            for (value, &error) in key.iter_mut().zip(&error) {
                *value = prime.signed(error);
            }
            prime.transform(&mut key);
            for half in [0, HALF] {
                for j in 0..HALF {
                    let masked = prime.times(public[half + j], secret[half + j]);
                    let moved = prime.times(secret[half + (j + 1) % HALF], gadget);
                    let value = &mut key[half + j];
                    *value = prime.plus(prime.plus(*value, moved), (prime.q - masked) % prime.q);
                }
            }
            key
        });
        error.zeroize();
        let [first, second] = made;
        SwitchKey { first, second }
    }

    /// The sums in an answer, `width` bytes of each table in turn; None if the answer has another length.
    #[must_use]
    pub fn decode(&self, secret: &Secret, answer: &[u8]) -> Option<Vec<u8>> {
        if answer.len() != self.shape.answer_bytes() {
            return None;
        }
        let (mut first, mut second) = transformed(secret);
        let row = answer
            .par_chunks(2 * PACK)
            .zip(&self.random)
            .flat_map_iter(|(answer, (low, high))| {
                let masks = mask(low, high, &first, &second);
                let values = answer.as_chunks::<2>().0.iter().zip(masks);
                values.map(|(&two, mask)| {
                    let value = i64::from(u16::from_le_bytes(two)) << (RANDOM_BITS - ANSWER_BITS);
                    let phase = value + mask + (1 << (RANDOM_BITS - 9));
                    (phase >> (RANDOM_BITS - 8)) as u8 ^ 0x80
                })
            })
            .collect();
        first.zeroize();
        second.zeroize();
        Some(row)
    }
}

/// One block of a query: the encryption of 1 for each wanted row and of 0 for the others, from `first_row` on.
fn encrypted(public: &Poly, secret: &Poly, wish: Wish, first_row: u32, selection: &mut [u8]) {
    let prime = ring::first();
    let mut product = [0u32; DEGREE];
    super::simd::products(prime, public, secret, &mut product);
    prime.invert(&mut product);
    let mut errors = [0i32; DEGREE];
    Stream::secret().gaussian(&mut errors);
    super::simd::hidden(&product, &errors, wish, first_row, selection);
    errors.zeroize();
    product.zeroize();
}

/// Error, less the product, and 1 in the rows of the wish: residues modulo the first prime, four bytes each.
#[inline(always)]
pub(super) fn hidden_body(
    product: &Poly,
    errors: &[i32; DEGREE],
    wish: Wish,
    first_row: u32,
    out: &mut [u8],
) {
    let plus = |a: u32, b: u32| (a + b).min((a + b).wrapping_sub(Q1));
    let places = out.as_chunks_mut::<4>().0.iter_mut();
    for (here, ((out, &product), &error)) in (first_row..).zip(places.zip(product).zip(errors)) {
        // The wanted rows are found by arithmetic, so that which they are does not show in time.
        let other = |row: u32| (here ^ row | (here ^ row).wrapping_neg()) >> 31;
        let wanted = ONES as u32 - wish.iter().map(|&row| other(row)).sum::<u32>();
        let error = (error as u32).min((error as u32).wrapping_add(Q1));
        let noisy = plus(Q1 - product, error);
        *out = plus(noisy, wanted * SCALE).to_le_bytes();
    }
}

/// The secret's evaluations modulo both primes.
fn transformed(secret: &Secret) -> (Box<Poly>, Box<Poly>) {
    let [first, second] = [ring::first(), ring::second()].map(|prime| {
        let mut poly = ring::zero();
        for (value, &small) in poly.iter_mut().zip(&secret.0) {
            *value = prime.signed(small);
        }
        prime.transform(&mut poly);
        poly
    });
    (first, second)
}

/// The product of an answer's random part and the secret, exactly: it is below 2^24 * 2048 * 59, far below Q.
fn mask(low: &Poly, high: &Poly, first: &Poly, second: &Poly) -> Vec<i64> {
    let product = |a: &Poly, s: &Poly, prime: &ring::Prime| {
        let mut poly = ring::zero();
        super::simd::products(prime, a, s, &mut poly);
        prime.invert(&mut poly);
        poly
    };
    let (mut low, mut high) = (
        product(low, first, ring::first()),
        product(high, second, ring::second()),
    );
    let masks = low
        .iter()
        .zip(high.iter())
        .take(PACK)
        .map(|(&low, &high)| ring::centred(ring::compose(low, high)))
        .collect();
    low.zeroize();
    high.zeroize();
    masks
}

#[cfg(test)]
mod tests {
    use super::super::matrix::{answer, place, prepare, Query, NOWHERE};
    use super::super::progress::UNWATCHED;
    use super::*;

    fn matrix(shape: Shape) -> Vec<u8> {
        let mut data = vec![0u8; shape.data_bytes()];
        Stream::public(&[1; 32], "test", 0).fill(&mut data);
        data
    }

    #[test]
    fn sums_of_any_rows_are_answered_and_many_at_once() {
        let shape = Shape {
            tables: 3,
            blocks: 2,
            width: 700,
        };
        let (data, seed) = (matrix(shape), [9; 32]);
        let prepared = prepare(shape, &seed, &data, UNWATCHED);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let wishes = [
            [[0, 1, 2], [4095, 2047, 2048], NOWHERE],
            [NOWHERE, NOWHERE, NOWHERE],
            [NOWHERE, [5, 6, 4000], [7, 9, 8]],
        ];
        let mut bytes = vec![vec![0; shape.query_bytes()]; wishes.len()];
        let secrets: Vec<Secret> = wishes
            .iter()
            .zip(&mut bytes)
            .map(|(wish, out)| public.query(wish, out))
            .collect();
        let queries: Vec<Query> = bytes
            .iter()
            .map(|query| Query::from_bytes(shape, query).expect("its own bytes"))
            .collect();
        let answers = answer(shape, &data, &prepared.digits, &queries);
        for ((wishes, secret), answer) in wishes.iter().zip(&secrets).zip(&answers) {
            let sums = public.decode(secret, answer).expect("of the right length");
            assert_eq!(sums.len(), shape.columns());
            for (table, wish) in wishes
                .iter()
                .enumerate()
                .filter(|(_, wish)| **wish != NOWHERE)
            {
                for column in 0..shape.width {
                    let bytes =
                        wish.map(|row| data[place(shape, table, row as usize, column)] ^ 0x80);
                    let sum = bytes.into_iter().fold(0u8, u8::wrapping_add);
                    assert_eq!(sums[table * shape.width + column], sum, "{wish:?} {column}");
                }
            }
        }
    }

    #[test]
    fn noise_stays_far_from_the_limit() {
        let shape = Shape {
            tables: 1,
            blocks: 2,
            width: 1024,
        };
        let (data, seed) = (matrix(shape), [3; 32]);
        let prepared = prepare(shape, &seed, &data, UNWATCHED);
        let public = Public::new(shape, &seed, &prepared.random).expect("of the right length");
        let rows = [77, 2047, 2048];
        let mut bytes = vec![0; shape.query_bytes()];
        let secret = public.query(&[rows], &mut bytes);
        let query = Query::from_bytes(shape, &bytes).expect("its own bytes");
        let answer = &answer(shape, &data, &prepared.digits, &[query])[0];
        let (first, second) = transformed(&secret);
        let masks = mask(&public.random[0].0, &public.random[0].1, &first, &second);
        let worst = answer
            .chunks_exact(2)
            .zip(masks)
            .enumerate()
            .map(|(column, (two, mask))| {
                let value = i64::from(u16::from_le_bytes([two[0], two[1]])) << 8;
                let bytes =
                    rows.map(|row| i64::from(data[place(shape, 0, row as usize, column)] as i8));
                let noise = (value + mask - (bytes.iter().sum::<i64>() << 16)) & 0xff_ffff;
                noise.min((1 << 24) - noise)
            })
            .max()
            .expect("columns");
        assert!(worst < 1 << 12, "the limit is 2^15, the worst was {worst}");
    }
}
