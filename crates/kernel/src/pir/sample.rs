//! Where numbers come from: public ones from a seed that both sides have, by BLAKE3; secret ones from a key of the
//! operating system's, by AES-256 in counter mode, a quarter of BLAKE3's time for a stream on processors with AES.
//!
//! The error and the secret are discrete Gaussians of standard deviation 6.4, drawn by comparing 63 random bits with
//! the whole table of the cumulative distribution, so that time and memory do not tell the value. The table is exact
//! to 2^-63, and what it leaves out has less mass than that.

use super::ring::{Poly, Prime, DEGREE};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::Aes256;
use zeroize::{Zeroize, Zeroizing};

/// The standard deviation of error and secret.
pub const SIGMA: f64 = 6.4;

/// A stream of bytes from a secret or public seed.
pub struct Stream(Source);

enum Source {
    /// BLAKE3 as an extendable-output function.
    Public(blake3::OutputReader),
    /// AES-256 of this number and those that follow, under a key used for this stream alone.
    Secret(Box<Aes256>, u128),
}

/// The next block of the counter.
fn counted(next: &mut u128) -> aes::Block {
    *next += 1;
    (*next - 1).to_le_bytes().into()
}

impl Stream {
    /// The stream of a public seed, one of many told apart by `domain` and `number`.
    #[must_use]
    pub fn public(seed: &[u8; 32], domain: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(seed);
        hasher
            .update(domain.as_bytes())
            .update(&[0])
            .update(&number.to_le_bytes());
        Self(Source::Public(hasher.finalize_xof()))
    }

    /// A fresh secret stream, seeded by the operating system.
    #[must_use]
    pub fn secret() -> Self {
        use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
        let mut key = Zeroizing::new([0u8; 32]);
        OsRng.fill_bytes(&mut *key);
        let cipher = Box::new(Aes256::new((&*key).into()));
        Self(Source::Secret(cipher, 0))
    }

    /// Fill `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        match &mut self.0 {
            Source::Public(reader) => reader.fill(out),
            Source::Secret(cipher, next) => {
                let (blocks, rest) = aes::Block::slice_as_chunks_mut(out);
                for block in &mut *blocks {
                    *block = counted(next);
                }
                cipher.encrypt_blocks(blocks);
                if !rest.is_empty() {
                    let mut last = counted(next);
                    cipher.encrypt_block(&mut last);
                    rest.copy_from_slice(&last[..rest.len()]);
                }
            }
        }
    }

    /// A polynomial of uniform residues, by rejection.
    #[must_use]
    pub fn uniform(&mut self, prime: &Prime) -> Poly {
        let mask = u32::MAX >> prime.q.leading_zeros();
        let mut poly = [0u32; DEGREE];
        let mut buffer = [0u8; 1024];
        let mut at = 0;
        while at < DEGREE {
            self.fill(&mut buffer);
            for word in buffer.chunks_exact(4) {
                let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & mask;
                if value < prime.q && at < DEGREE {
                    poly[at] = value;
                    at += 1;
                }
            }
        }
        poly
    }

    /// Small signed numbers: discrete Gaussians of standard deviation `SIGMA`.
    ///
    /// # Panics
    /// Never: words are read of bytes that are there.
    pub fn gaussian(&mut self, out: &mut [i32]) {
        let mut buffer = [0u8; 8 * DRAWS];
        let (mut words, mut sizes) = ([0u64; DRAWS], [0u64; DRAWS]);
        for part in out.chunks_mut(DRAWS) {
            self.fill(&mut buffer);
            for (word, bytes) in words.iter_mut().zip(buffer.chunks_exact(8)) {
                *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            }
            super::simd::sizes(&words, &mut sizes);
            for ((value, &word), &size) in part.iter_mut().zip(&words).zip(&sizes) {
                let sign = (word & 1) as i32;
                *value = (size as i32 ^ -sign) + sign;
            }
        }
        buffer.zeroize();
        words.zeroize();
        sizes.zeroize();
    }
}

/// How many numbers are drawn together.
pub const DRAWS: usize = 128;

/// The absolute values that the upper 63 bits of uniform words stand for.
#[inline(always)]
pub(super) fn sizes_body(uniform: &[u64; DRAWS], out: &mut [u64; DRAWS]) {
    let mut sizes = [0u64; DRAWS];
    for &limit in &CUMULATIVE {
        for (size, &word) in sizes.iter_mut().zip(uniform) {
            *size += ((word >> 1).wrapping_sub(limit) >> 63) ^ 1;
        }
    }
    *out = sizes;
}

/// Entry k is 2^63 times the probability that a draw is at most k in absolute value, rounded; computed with 80 digits.
#[rustfmt::skip]
pub(super) const CUMULATIVE: [u64; 59] = [
    0x07fa_95a0_3250_f92c, 0x17be_3053_9feb_e8c4, 0x26f0_ad9d_6ed2_ef4f, 0x353c_cff6_628a_4f78,
    0x425d_2e40_7871_2c9e, 0x4e1f_ecc7_357e_d7b0, 0x5868_5c9a_11dc_a355, 0x612e_8387_42ad_3abb,
    0x687c_d725_9248_791f, 0x6e6c_a9b5_45fb_ce62, 0x7321_e15c_77cc_b268, 0x76c6_90bc_595a_5e1b,
    0x7986_efd4_a4ec_9094, 0x7b8e_0de3_546c_fd86, 0x7d03_69c6_477d_f558, 0x7e09_76a4_67d9_e792,
    0x7ebc_f407_bed3_1ef0, 0x7f34_edb8_8312_c300, 0x7f83_305a_74fb_91b3, 0x7fb5_01cf_0c92_3ff3,
    0x7fd3_f47a_156b_de77, 0x7fe6_b778_e322_e20c, 0x7ff1_d0fc_c299_fcac, 0x7ff8_3985_20ed_2eea,
    0x7ffb_d5d4_15e7_d919, 0x7ffd_d20a_b1f9_d99c, 0x7ffe_e2bb_d417_e933, 0x7fff_7185_e2d4_7855,
    0x7fff_ba7c_fd7f_c99b, 0x7fff_dedf_caae_e4fc, 0x7fff_f094_d181_39be, 0x7fff_f8fd_99b0_4027,
    0x7fff_fce3_5227_ff8f, 0x7fff_fea6_918b_a8b0, 0x7fff_ff6d_bc5f_3c37, 0x7fff_ffc3_85ad_dd02,
    0x7fff_ffe7_94d2_9314, 0x7fff_fff6_5f6d_428f, 0x7fff_fffc_4b39_a64d, 0x7fff_fffe_9b5f_78b5,
    0x7fff_ffff_7d1d_e1f4, 0x7fff_ffff_d119_e425, 0x7fff_ffff_ef97_b653, 0x7fff_ffff_fa65_5a2c,
    0x7fff_ffff_fe21_9941, 0x7fff_ffff_ff64_4173, 0x7fff_ffff_ffce_803b, 0x7fff_ffff_fff0_a44d,
    0x7fff_ffff_fffb_591a, 0x7fff_ffff_fffe_9fdd, 0x7fff_ffff_ffff_9a5b, 0x7fff_ffff_ffff_e35c,
    0x7fff_ffff_ffff_f81f, 0x7fff_ffff_ffff_fde2, 0x7fff_ffff_ffff_ff72, 0x7fff_ffff_ffff_ffdc,
    0x7fff_ffff_ffff_fff7, 0x7fff_ffff_ffff_fffe, 0x7fff_ffff_ffff_ffff,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_has_its_moments() {
        let mut values = vec![0i32; 1 << 18];
        Stream::secret().gaussian(&mut values);
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!((variance - SIGMA * SIGMA).abs() < 1.0, "{variance}");
        let zeros = values.iter().filter(|&&v| v == 0).count() as f64 / count;
        assert!((zeros - 0.0623).abs() < 0.004, "{zeros}");
    }

    #[test]
    fn the_table_is_that_of_its_formula() {
        let weight = |k: usize| (-((k * k) as f64) / (2.0 * SIGMA * SIGMA)).exp();
        let total = 1.0 + 2.0 * (1..200).map(weight).sum::<f64>();
        let mut at_most = 1.0 / total;
        for (k, &entry) in CUMULATIVE.iter().enumerate() {
            assert!(
                (entry as f64 / (1u64 << 63) as f64 - at_most).abs() < 1e-14,
                "{k}"
            );
            at_most += 2.0 * weight(k + 1) / total;
        }
    }

    #[test]
    fn every_path_counts_the_limits_below_a_draw() {
        let edges: Vec<u64> = CUMULATIVE
            .iter()
            .flat_map(|&limit| [2 * limit - 2, 2 * limit - 1, 2 * limit, 2 * limit + 1])
            .chain([0, 1, u64::MAX, u64::MAX - 1, 1 << 63])
            .collect();
        for part in edges.chunks(DRAWS) {
            let mut words = [0u64; DRAWS];
            words[..part.len()].copy_from_slice(part);
            let (mut fast, mut plain) = ([7; DRAWS], [8; DRAWS]);
            super::super::simd::sizes(&words, &mut fast);
            sizes_body(&words, &mut plain);
            assert_eq!(fast, plain);
            for (word, size) in words.iter().zip(fast) {
                let below = CUMULATIVE.iter().filter(|&&limit| word >> 1 >= limit);
                assert_eq!(size, below.count() as u64);
            }
        }
    }

    #[test]
    fn a_secret_stream_is_aes_in_counter_mode_and_never_the_same() {
        let (key, mut out) = ([5u8; 32], [0u8; 16 * 70 + 3]);
        Stream(Source::Secret(Box::new(Aes256::new(&key.into())), 0)).fill(&mut out);
        for (number, part) in (0u128..).zip(out.chunks(16)) {
            let mut block = number.to_le_bytes().into();
            Aes256::new(&key.into()).encrypt_block(&mut block);
            assert_eq!(part, &block[..part.len()]);
        }
        let drawn = || {
            let mut stream = Stream::secret();
            let mut parts = [[0u8; 40]; 2];
            for part in &mut parts {
                stream.fill(part);
            }
            parts
        };
        let [[a, b], [c, d]] = [drawn(), drawn()];
        assert!(a != b && a != c && b != d);
    }

    #[test]
    fn a_public_stream_is_the_same_for_the_same_seed_and_differs_otherwise() {
        let prime = super::super::ring::first();
        let draw = |number| Stream::public(&[7; 32], "test", number).uniform(prime);
        assert!(draw(0) == draw(0));
        assert!(draw(0) != draw(1));
        assert!(draw(0).iter().all(|&value| value < prime.q));
    }
}
