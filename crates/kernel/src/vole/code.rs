//! The expand-convolute code of Raghuraman, Rindal and Tanguy (CRYPTO 2023, eprint 2023/882), encoded dually.
//!
//! The noise of N elements is read as a message part of K and a parity part of P = N - K. The parity part is
//! convolved twice in place (each time with its own 24 random coefficients a step, a tap at distance 25 that is
//! always on, and the end wrapping into the start, so that no region is weakly connected), and then expanded: each
//! of the K outputs is its element of the message part plus 7 (or 21) elements of the parity part, of which the
//! greater half are one from each of equal regions and the rest from anywhere. That is `G = (1 | B A A')`, systematic
//! and with regular expander, as libOTe instantiates the paper. Two things differ from libOTe, both for the better:
//! every step has 24 coefficients of its own (there neighbours share 16), and the random bits come from AES-128 in
//! counter mode (there from single rounds). The constant of the tap is [`TAP`]: it keeps the code from being binary.
//!
//! The code is public and the same for every run: its randomness is nothing-up-my-sleeve. Time and memory access
//! depend on lengths alone, never on the elements.
//!
//! [`TAP`]: crate::simd::convolve::TAP

use super::prg::Stream;
use super::Code;
use crate::block::Block;
use crate::simd::convolve::convolve;
use crate::simd::gather::gather;
use rayon::prelude::*;

/// Steps of the convolution for which coefficients are drawn at once.
const STRETCH: usize = 4096;
/// Outputs of the expander for which places are drawn at once.
const TILE: usize = 512;

/// The four seeds of the code: two convolutions, regular and uniform places.
fn seed(part: u8) -> Block {
    let digest = blake3::hash(&[b"fondaco expand-convolute code ", &[part][..]].concat());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    Block::from_bytes(bytes)
}

/// How many places each output of the expander adds: one from each region, and from anywhere.
const fn places(code: Code) -> (usize, usize) {
    match code {
        Code::ExConv7x24 => (4, 3),
        Code::ExConv21x24 => (11, 10),
    }
}

/// Compress each vector, which has the noise's N elements, to its first `message`; the rest of it is left as it falls.
///
/// Several vectors at once cost less than one after another: a thread alone draws the convolution once for all, more
/// threads do one vector each.
///
/// # Panics
/// Where the vectors are not of one length, at least `message` + 26: they are ours.
pub(crate) fn encode<const V: usize>(code: Code, message: usize, vectors: [&mut [Block]; V]) {
    let mut parts = vectors.map(|vector| vector.split_at_mut(message));
    let mut parities = parts.each_mut().map(|(_, parity)| &mut **parity);
    if V > 1 && rayon::current_num_threads() > 1 {
        // Side by side it is drawn for each, which takes less than waiting for the other.
        parities
            .par_iter_mut()
            .for_each(|parity| convolutions(&mut [&mut **parity]));
    } else {
        convolutions(&mut parities);
    }
    // One vector after another, though the places are drawn anew: what is read at random then fits the cache better.
    for (output, parity) in parts {
        expansion(code, output, parity);
    }
}

fn convolutions<const V: usize>(parities: &mut [&mut [Block]; V]) {
    for pass in 0..2 {
        convolution(&Stream::new(seed(pass)), parities);
    }
}

fn convolution<const V: usize>(stream: &Stream, parities: &mut [&mut [Block]; V]) {
    let size = parities[0].len();
    let mut coefficients = vec![0u32; STRETCH];
    for start in (0..size).step_by(STRETCH) {
        stream.fill_words(start as u64 / 4, &mut coefficients);
        let steps = STRETCH.min(size - start);
        convolve(parities, start, &coefficients[..steps]);
    }
}

fn expansion(code: Code, output: &mut [Block], parity: &[Block]) {
    let stream = Stream::new(seed(2));
    let tiles = output.par_chunks_mut(TILE).enumerate();
    tiles.for_each(|(tile, output)| match code {
        Code::ExConv7x24 => expand_tile::<7, 8>(code, &stream, tile, parity, output),
        Code::ExConv21x24 => expand_tile::<21, 24>(code, &stream, tile, parity, output),
    });
}

/// `WEIGHT` places for each output, drawn in rows of `ROW` words, which are whole blocks of the stream.
fn expand_tile<const WEIGHT: usize, const ROW: usize>(
    code: Code,
    stream: &Stream,
    tile: usize,
    parity: &[Block],
    output: &mut [Block],
) {
    let mut words = [[0u32; ROW]; TILE];
    let rows = &mut words[..output.len()];
    stream.fill_words((tile * TILE * ROW / 4) as u64, rows.as_flattened_mut());
    // Of the row's spare words too, which nobody reads: whole rows are quicker to compute.
    let bounds = bounds::<ROW>(code, parity.len());
    for row in &mut *rows {
        for (word, (base, size)) in row.iter_mut().zip(&bounds) {
            // A uniform word to a uniform place (Lemire 2019); its bias of at most size / 2^32 is of a public code.
            *word = base + ((u64::from(*word) * u64::from(*size)) >> 32) as u32;
        }
    }
    gather::<WEIGHT, ROW>(parity, rows, output);
}

/// Where each place of an output lies: its region's first element and size.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a parity part is shorter than 2^32: MAX_LENGTH is 2^26"
)]
fn bounds<const WEIGHT: usize>(code: Code, size: usize) -> [(u32, u32); WEIGHT] {
    let (regular, _) = places(code);
    let region = size / regular;
    std::array::from_fn(|place| {
        if place < regular {
            ((place * region) as u32, region as u32)
        } else {
            (0, size as u32)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{bounds, encode, places, seed, Block, Code, Stream};
    use crate::simd::convolve::{STATE, TAP};

    /// A matrix over GF(2^128), by rows.
    type Matrix = Vec<Vec<Block>>;

    fn times(left: &Matrix, right: &Matrix) -> Matrix {
        let column = |j: usize| right.iter().map(move |row| row[j]);
        let dot = |row: &Vec<Block>, j| {
            row.iter()
                .zip(column(j))
                .fold(Block::ZERO, |s, (a, b)| s ^ a.times(b))
        };
        left.iter()
            .map(|row| (0..right[0].len()).map(|j| dot(row, j)).collect())
            .collect()
    }

    fn unit(size: usize) -> Matrix {
        let cell = |i, j| if i == j { Block::ONE } else { Block::ZERO };
        (0..size)
            .map(|i| (0..size).map(|j| cell(i, j)).collect())
            .collect()
    }

    /// One pass of the convolution as the product of its steps, each an elementary matrix.
    fn convolution(size: usize, key: Block) -> Matrix {
        let mut words = vec![0u32; size.next_multiple_of(4)];
        Stream::new(key).fill_words(0, &mut words);
        let tap = Block(u128::from(TAP));
        let mut all = unit(size);
        for i in 0..size {
            let mut step = unit(size);
            let entering = (i + STATE + 1) % size;
            step[entering][i] = tap;
            step[entering][entering] = tap;
            for k in 0..STATE {
                step[(i + 1 + k) % size][i] = Block(u128::from(words[i] >> k & 1));
            }
            all = times(&step, &all);
        }
        all
    }

    fn expander<const WEIGHT: usize>(
        code: Code,
        message: usize,
        size: usize,
        row: usize,
    ) -> Matrix {
        let mut words = vec![0u32; message * row];
        Stream::new(seed(2)).fill_words(0, &mut words);
        let mut matrix = vec![vec![Block::ZERO; size]; message];
        for (to, from) in matrix.iter_mut().zip(words.chunks(row)) {
            for (word, (base, span)) in from.iter().zip(bounds::<WEIGHT>(code, size)) {
                let place = u64::from(base) + ((u64::from(*word) * u64::from(span)) >> 32);
                to[usize::try_from(place).unwrap()] ^= Block::ONE;
            }
        }
        matrix
    }

    fn noise(size: usize, salt: u128) -> Vec<Block> {
        (1..=size as u128)
            .map(|i| {
                Block(i)
                    .times(Block(salt | 1 << 127))
                    .times(Block(i ^ salt << 32))
            })
            .collect()
    }

    #[test]
    fn encoding_is_the_product_with_the_matrix() {
        let (message, size) = (45, 52);
        for code in [Code::ExConv7x24, Code::ExConv21x24] {
            let b = match code {
                Code::ExConv7x24 => expander::<7>(code, message, size, 8),
                Code::ExConv21x24 => expander::<21>(code, message, size, 24),
            };
            let a = times(&convolution(size, seed(1)), &convolution(size, seed(0)));
            let right = times(&b, &a);
            let mut vector = noise(message + size, 5);
            let parity: Matrix = vector[message..].iter().map(|x| vec![*x]).collect();
            let expected: Vec<Block> = vector
                .iter()
                .zip(times(&right, &parity))
                .map(|(x, y)| *x ^ y[0])
                .collect();
            encode(code, message, [&mut vector[..]]);
            assert_eq!(vector[..message], expected[..]);
        }
    }

    #[test]
    fn vectors_encode_together_as_they_do_alone() {
        for code in [Code::ExConv7x24, Code::ExConv21x24] {
            for (message, size) in [(1, 27), (700, 701), (5000, 5300)] {
                let (a, b) = (noise(message + size, 3), noise(message + size, 4));
                let (mut a2, mut b2, mut a1, mut b1) = (a.clone(), b.clone(), a, b);
                encode(code, message, [&mut a2[..], &mut b2[..]]);
                encode(code, message, [&mut a1[..]]);
                encode(code, message, [&mut b1[..]]);
                assert_eq!(
                    (&a2[..message], &b2[..message]),
                    (&a1[..message], &b1[..message])
                );
            }
        }
    }

    #[test]
    fn a_code_has_the_row_weight_of_its_name() {
        for (code, weight) in [(Code::ExConv7x24, 7), (Code::ExConv21x24, 21)] {
            let (regular, uniform) = places(code);
            assert_eq!(regular + uniform, weight);
        }
    }

    #[test]
    fn planes_of_bits_do_not_encode_apart() {
        let mut vector = vec![Block::ZERO; 400];
        vector[150] = Block::ONE;
        encode(Code::ExConv7x24, 100, [&mut vector[..]]);
        let seen = vector[..100].iter().fold(0, |all, x| all | x.0);
        assert!(
            seen.count_ones() > 100,
            "one bit of noise reaches the bits of the output"
        );
    }
}
