//! How long the noise is, and how heavy: the parameters of the learning-parity-with-noise assumption.
//!
//! **The assumption.** `G e` is pseudorandom for the public code `G` of [`super::code`] (N to K elements, N at least
//! 2 K) and secret noise `e` that is regular: N falls into t equal parts and each holds one element that is not zero
//! but for a chance of 2^-128, at a uniform place and of uniform value in GF(2^128).
//!
//! **The argument.** Every known attack that fits these parameters (Gauss, information sets, statistical decoding,
//! low-weight parity checks) is a linear test: it looks at `v . (G e)` for a v that it computes from G alone (Boyle
//! et al.: CCS 2018, eprint 2019/273; Couteau, Rindal, Raghuraman: CRYPTO 2021, eprint 2021/1150; eprint 2023/882).
//! The word `v G` is of the code that G spans, so it has weight at least d N for d its relative minimum distance, or,
//! for the tests that someone can find, the pseudo-distance. Over a large field a test that meets a noisy place sees
//! a uniform value; it learns something only if `v G` misses them all, which has chance at most `(1 - d)^t` (parts
//! of equal size; the product of `1 - w_i` for the weights `w_i` of the parts is greatest where they are equal). So
//! `t = ceil(128 / -log2(1 - d))` gives 128 bits against each test.
//!
//! **The figures.** Pseudo-distances as libOTe's authors, who are the paper's, set them: 0.15 for `ExConv7x24`, 0.20
//! for `ExConv21x24`. That makes t 546 and 398. libOTe itself uses `(1 - 2 d)^t` (t 249 and 174), which is the bias
//! over GF(2), where noise is 1; its later releases use `1 - d` for large fields but ask 64 bits of the pseudo-distance.
//! We ask all 128: noise places cost a few hundred bytes each and next to no time.
//!
//! The pseudo-distance is a measurement extrapolated, not a proof; eprint 2023/882 proves a distance for larger
//! weights only. `ExConv21x24` is the conservative choice, and ADR 30 says so.

use super::Code;
use crate::protocol::Fault;

/// The longest output of one run: 2^26 elements, which take 2 GiB while the receiver computes two of its vectors.
pub const MAX_LENGTH: usize = 1 << 26;
/// Outputs below this length are cut from one of this length, so that the noise hides well in short vectors too.
pub(crate) const MIN_MESSAGE: usize = 1 << 12;

/// The sizes of a run; they follow from the code and the length, and both sides compute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many elements the run gives out.
    pub(crate) length: usize,
    /// How many the code gives: K.
    pub(crate) message: usize,
    /// The levels of a tree; a tree has 2^depth leaves, and the noise one element in them.
    pub(crate) depth: usize,
    /// How many trees: t.
    pub(crate) trees: usize,
}

/// The least number of noise places: see the module.
pub(crate) const fn noise_weight(code: Code) -> usize {
    match code {
        Code::ExConv7x24 => 546,
        Code::ExConv21x24 => 398,
    }
}

impl Shape {
    /// For an output of `length` elements: trees as deep as leave at least `noise_weight` of them.
    ///
    /// # Errors
    /// `Fault::Input` for a length of 0 or above [`MAX_LENGTH`].
    pub(crate) fn new(code: Code, length: usize) -> Result<Self, Fault> {
        if length == 0 || length > MAX_LENGTH {
            return Err(Fault::Input {
                what: "the length of a VOLE is from 1 to 2^26",
            });
        }
        let message = length.max(MIN_MESSAGE);
        let depth = (2 * message / noise_weight(code)).ilog2() as usize;
        let trees = (2 * message).div_ceil(1 << depth);
        Ok(Self {
            length,
            message,
            depth,
            trees,
        })
    }

    /// The length of the noise: N.
    #[cfg(test)]
    pub(crate) const fn codeword(&self) -> usize {
        self.trees << self.depth
    }

    /// How many oblivious transfers the trees take.
    pub(crate) const fn transfers(&self) -> usize {
        self.trees * self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::{noise_weight, Shape, MAX_LENGTH};
    use crate::vole::Code;

    #[test]
    fn the_noise_weighs_what_the_formula_says() {
        for (code, distance) in [(Code::ExConv7x24, 0.15f64), (Code::ExConv21x24, 0.20)] {
            let bits = -(1.0 - distance).log2();
            #[allow(clippy::cast_precision_loss, reason = "small whole numbers")]
            let weight = noise_weight(code) as f64;
            assert!(weight * bits >= 128.0 && (weight - 1.0) * bits < 128.0);
        }
    }

    #[test]
    fn every_length_has_enough_noise_and_a_rate_of_a_half_at_most() {
        let lengths = [
            1,
            2,
            4095,
            4096,
            4097,
            70_000,
            1 << 20,
            1_363_149,
            MAX_LENGTH,
        ];
        for code in [Code::ExConv7x24, Code::ExConv21x24] {
            for length in lengths {
                let shape = Shape::new(code, length).unwrap();
                assert!(shape.trees >= noise_weight(code));
                assert!(shape.codeword() >= 2 * shape.message);
                assert!(shape.message >= length);
                assert!(shape.depth >= 3);
                assert!(shape.trees < 3 * noise_weight(code));
            }
        }
    }

    #[test]
    fn no_length_and_too_long_a_one_are_refused() {
        for length in [0, MAX_LENGTH + 1, usize::MAX] {
            assert!(Shape::new(Code::ExConv7x24, length).is_err());
        }
    }
}
