//! How large a store must be so that encoding fails with probability at most 2^-40.
//!
//! Two things can fail. A bin can hold more keys than it has room for: the room is chosen by Chernoff's bound in its
//! relative-entropy form. The equations of a bin can have no solution: the number of sparse columns follows the fit of
//! Raghuraman and Rindal (eprint 2022/320, their OKVS section; the same constants stand in `PaxosParam::init` of
//! Visa-Research/volepsi), the number of dense columns is their gap for weight 3. Each gets half of the probability,
//! and a union bound over the bins.

/// Bits of statistical security.
pub const STATISTICAL: u32 = 40;
/// The most keys in one store: places are 32-bit numbers, and larger sets are partitioned long before.
pub const MAX_KEYS: usize = 1 << 26;
/// Expected keys in a bin. Larger bins need fewer blocks a key (1.28 instead of 1.35 with 2^14), and encoding stays as
/// fast while a bin's vector, 20 bytes a key, is in the caches of one core.
const BIN_KEYS: usize = 1 << 16;
const SPARSE_WEIGHT: usize = 3;

/// The shape of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Keys that it is for.
    pub keys: usize,
    /// Bins.
    pub bins: usize,
    /// Room of a bin, in keys.
    pub room: usize,
    /// Sparse columns of a bin.
    pub sparse: usize,
    /// Dense columns of a bin.
    pub dense: usize,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
impl Parameters {
    /// The shape for `keys` keys at 2^-`security`.
    #[must_use]
    pub fn new(keys: usize, security: u32) -> Self {
        let keys = keys.max(1);
        let bins = keys.div_ceil(BIN_KEYS);
        let each = f64::from(security + 1) + (bins as f64).log2();
        let room = if bins == 1 {
            keys
        } else {
            room(keys, bins, each)
        };
        let (sparse, dense) = columns(room, each);
        Self {
            keys,
            bins,
            room,
            sparse,
            dense,
        }
    }

    /// Length of a vector, in blocks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bins * (self.sparse + self.dense)
    }

    /// Blocks of one bin.
    #[must_use]
    pub fn bin_size(&self) -> usize {
        self.sparse + self.dense
    }

    /// How many keys of its own choice a cheating maker of a vector can make decode to their 128-bit hashes, if it
    /// makes at most 2^`log_queries` calls of the hash: a bound that holds for every vector, except with probability
    /// 2^-40. See ADR 33.
    #[must_use]
    pub fn cheating_bound(&self, log_queries: f64) -> usize {
        // Union over the 2^(128 m) vectors: (e Q / k)^k 2^(-128 k) 2^(128 m) <= 2^-40, for the smallest k.
        let m = self.size() as f64;
        let holds = |k: f64| {
            k * (128.0 - log_queries - std::f64::consts::LOG2_E + k.log2()) >= 128.0 * m + 40.0
        };
        let (mut low, mut high) = (1.0f64, 4.0 * m + 64.0);
        while !holds(high) {
            high *= 2.0;
        }
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high).floor();
            if holds(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high as usize
    }
}

/// The smallest room that `keys` balls in `bins` bins overflow with probability at most 2^-`security` for one bin.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn room(keys: usize, bins: usize, security: f64) -> usize {
    let (n, p) = (keys as f64, 1.0 / bins as f64);
    let divergence = |q: f64| {
        if q >= 1.0 {
            return -p.log2();
        }
        q * (q / p).log2() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).log2()
    };
    let (mut low, mut high) = ((n * p) as usize, keys);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if n * divergence(middle as f64 / n) >= security {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Sparse and dense columns for so many keys in one bin.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn columns(keys: usize, security: f64) -> (usize, usize) {
    let log_n = (keys.max(2) as f64).log2();
    let log_w = (SPARSE_WEIGHT as f64).log2();
    let slope = (0.555 * log_n + 0.093 * log_w.powi(3) - 1.01 * log_w.powi(2) + 2.925 * log_w
        - 0.133)
        .exp2();
    let expansion = 1.223 + (security + 9.2) / slope;
    let sparse = ((keys as f64 * expansion).ceil() as usize).max(2 * SPARSE_WEIGHT);
    let dense = (security / (sparse as f64).log2()).ceil() as usize;
    (sparse, dense)
}

#[cfg(test)]
mod tests {
    use super::{Parameters, STATISTICAL};

    #[test]
    fn the_expansion_is_what_the_paper_has() {
        let million = Parameters::new(1 << 20, STATISTICAL);
        let ratio = (million.size() * 100) >> 20;
        assert!((125..138).contains(&ratio), "{million:?}: {ratio} %");
        for keys in [0, 1, 2, 3, 10, 1000, 1 << 14, (1 << 14) + 1, 1 << 22] {
            let shape = Parameters::new(keys, STATISTICAL);
            assert!(
                shape.room * shape.bins >= keys && shape.sparse > shape.room,
                "{shape:?}"
            );
            assert!((3..=16).contains(&shape.dense), "{shape:?}");
        }
    }

    #[test]
    fn a_cheat_gains_less_than_twice_the_size_of_the_vector() {
        for keys in [1, 1000, 1 << 20] {
            let shape = Parameters::new(keys, STATISTICAL);
            let most = shape.cheating_bound(64.0);
            assert!(
                most >= shape.size() && most < 2 * shape.size() + 64,
                "{shape:?}: {most}"
            );
        }
    }
}
