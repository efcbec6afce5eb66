//! ristretto255 as RFC 9497 uses it: the suite OPRF(ristretto255, SHA-512) in its mode 0, and products of many points.
//!
//! `hash_to_group` is section 4.1 with `expand_message_xmd` of RFC 9380 for one block of SHA-512; `finalize` is the last
//! step of section 3.3.1. Secret scalars are the operating system's and zeroised; products take constant time.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

use crate::block::Block;
use crate::protocol::Fault;

/// Bytes of a point.
pub const POINT_BYTES: usize = 32;
const DOMAIN: &[u8] = b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512";
const BATCH: usize = 256;

/// A point of the group for an input (RFC 9497, section 4.1).
#[must_use]
pub fn hash_to_group(input: &[u8]) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&uniform(input))
}

/// The 64 bytes that become the point of an input.
#[must_use]
pub fn uniform(input: &[u8]) -> [u8; 64] {
    #[allow(clippy::cast_possible_truncation)] // 39 bytes
    let length = [DOMAIN.len() as u8];
    let first = Sha512::new()
        .chain_update([0u8; 128])
        .chain_update(input)
        .chain_update([0, 64, 0])
        .chain_update(DOMAIN)
        .chain_update(length)
        .finalize();
    Sha512::new()
        .chain_update(first)
        .chain_update([1])
        .chain_update(DOMAIN)
        .chain_update(length)
        .finalize()
        .into()
}

/// The output of the function for an input of 16 bytes and its point times the key (RFC 9497, section 3.3.1).
#[must_use]
pub fn finalize(input: &[u8; 16], point: &CompressedRistretto) -> [u8; 64] {
    Sha512::new()
        .chain_update([0, 16])
        .chain_update(input)
        .chain_update([0, 32])
        .chain_update(point.as_bytes())
        .chain_update(b"Finalize")
        .finalize()
        .into()
}

/// The first 16 bytes of an output, by which two outputs are compared.
#[must_use]
pub fn short_tag(output: &[u8]) -> Block {
    let mut cut = [0u8; 16];
    cut.copy_from_slice(&output[..16]);
    Block::from_bytes(cut)
}

/// A secret scalar, not zero but with probability 2^-252.
///
/// # Errors
/// `Fault::Input` where the operating system gives no randomness.
pub fn fresh_scalar() -> Result<Zeroizing<Scalar>, Fault> {
    let mut wide = Zeroizing::new([0u8; 64]);
    let refused = |_| Fault::Input {
        what: "the operating system gives no randomness",
    };
    getrandom::fill(&mut *wide).map_err(refused)?;
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    wide.zeroize();
    Ok(Zeroizing::new(scalar))
}

/// What a secret is multiplied by: points are compressed as doubles, many at a time, so every product is with half.
#[must_use]
pub fn half() -> Scalar {
    static HALF: OnceLock<Scalar> = OnceLock::new();
    *HALF.get_or_init(|| Scalar::from(2u8).invert())
}

/// The point of each input (its 64 uniform bytes), times one secret, compressed; on all threads, by [`hashed_products`].
pub fn hashed_and_raised<I: Sync>(
    items: &[I],
    uniform: impl Fn(&I) -> [u8; 64] + Sync,
    secret: &Scalar,
) -> Vec<CompressedRistretto> {
    let half = Zeroizing::new(secret * half());
    items
        .par_chunks(BATCH)
        .flat_map_iter(|chunk| {
            let uniform: Vec<[u8; 64]> = chunk.iter().map(&uniform).collect();
            hashed_products(&uniform, &half)
        })
        .collect()
}

/// For each 64 uniform bytes their point (RFC 9496, section 4.3.4) times the secret of which this is half, compressed: in
/// constant time, four side by side where the processor can, and with few inversions.
#[must_use]
pub fn hashed_products(uniform: &[[u8; 64]], half: &Scalar) -> Vec<CompressedRistretto> {
    #[cfg(target_arch = "x86_64")]
    if let Some(encoded) = crate::simd::points::hashed_products(uniform, &[half.to_bytes()]) {
        return encoded.into_iter().map(CompressedRistretto).collect();
    }
    by_the_library(uniform, half)
}

/// The same by the library, one point after the other.
fn by_the_library(uniform: &[[u8; 64]], half: &Scalar) -> Vec<CompressedRistretto> {
    let products = |uniform: &[[u8; 64]]| {
        let points: Vec<RistrettoPoint> = uniform
            .iter()
            .map(|bytes| RistrettoPoint::from_uniform_bytes(bytes) * half)
            .collect();
        RistrettoPoint::double_and_compress_batch(&points)
    };
    uniform.chunks(BATCH).flat_map(products).collect()
}

/// Fewer points than this are multiplied one by one: four side by side take as long as two by the library.
#[cfg(target_arch = "x86_64")]
const FEW: usize = 3;

/// How many points a thread takes, and its scalars with them: one for all, or one for each.
fn shares(count: usize) -> usize {
    let share = count.div_ceil(rayon::current_num_threads());
    share.next_multiple_of(4).clamp(4, BATCH)
}

/// The scalars of the points from `from` on.
fn of_share(halves: &[Scalar], from: usize, count: usize) -> &[Scalar] {
    match halves {
        [_] => halves,
        _ => &halves[from..from + count],
    }
}

/// The bytes of secret scalars.
#[cfg(target_arch = "x86_64")]
fn bytes_of(scalars: &[Scalar]) -> Zeroizing<Vec<[u8; 32]>> {
    Zeroizing::new(scalars.iter().map(Scalar::to_bytes).collect())
}

/// For each 64 uniform bytes their point times the secret of its own of which it has half here, compressed: in constant
/// time, on all threads, as [`hashed_products`].
///
/// # Panics
/// If there is not one scalar for each point.
#[must_use]
pub fn hashed_products_each(uniform: &[[u8; 64]], halves: &[Scalar]) -> Vec<CompressedRistretto> {
    assert_eq!(uniform.len(), halves.len(), "a scalar for each point");
    let share = shares(uniform.len());
    let shares = uniform.par_chunks(share).zip(halves.par_chunks(share));
    let made = shares.flat_map_iter(|(uniform, halves)| {
        #[cfg(target_arch = "x86_64")]
        if uniform.len() >= FEW {
            let halves = bytes_of(halves);
            if let Some(made) = crate::simd::points::hashed_products(uniform, &halves) {
                return made.into_iter().map(CompressedRistretto).collect();
            }
        }
        let pairs = uniform.iter().zip(halves);
        let points: Vec<RistrettoPoint> = pairs
            .map(|(bytes, half)| RistrettoPoint::from_uniform_bytes(bytes) * half)
            .collect();
        RistrettoPoint::double_and_compress_batch(&points)
    });
    made.collect()
}

/// Each encoded point times the secret of which this is half, one for all or one for each, compressed: in constant time
/// but for whether it is a point, on all threads. None if one is no point, or the identity.
///
/// # Panics
/// If there is neither one scalar nor one for each point.
#[must_use]
pub fn decoded_products(
    encodings: &[[u8; POINT_BYTES]],
    halves: &[Scalar],
) -> Option<Vec<CompressedRistretto>> {
    assert!(
        halves.len() == 1 || halves.len() == encodings.len(),
        "a scalar for each point, or one"
    );
    let share = shares(encodings.len());
    let made: Option<Vec<Vec<CompressedRistretto>>> = encodings
        .par_chunks(share)
        .enumerate()
        .map(|(number, encodings)| {
            let halves = of_share(halves, number * share, encodings.len());
            #[cfg(target_arch = "x86_64")]
            if encodings.len() >= FEW && crate::simd::points::available() {
                let made = crate::simd::points::decoded_products(encodings, &bytes_of(halves))?;
                return Some(made.into_iter().map(CompressedRistretto).collect());
            }
            each_decoded(encodings, halves)
        })
        .collect();
    Some(made?.concat())
}

/// The same by the library, one point after the other.
fn each_decoded(
    encodings: &[[u8; POINT_BYTES]],
    halves: &[Scalar],
) -> Option<Vec<CompressedRistretto>> {
    let points: Option<Vec<RistrettoPoint>> = encodings
        .iter()
        .zip(halves.iter().cycle())
        .map(|(encoding, half)| Some(decompressed(encoding)? * half))
        .collect();
    Some(RistrettoPoint::double_and_compress_batch(&points?))
}

/// The point of an encoding; None for what is none, and for the identity, which has no logarithm to hide.
#[must_use]
pub fn decompressed(encoding: &[u8; POINT_BYTES]) -> Option<RistrettoPoint> {
    let point = CompressedRistretto(*encoding).decompress();
    point.filter(|point| !point.is_identity())
}

/// The points of a peer's message times the secret of which this is half, one for all or one for each, by
/// [`decoded_products`].
///
/// # Errors
/// `Fault::Malformed` for a wrong length, an encoding of no point, or the identity, which has no logarithm to hide.
pub fn raised(
    bytes: &[u8],
    count: usize,
    halves: &[Scalar],
    message: &'static str,
) -> Result<Vec<CompressedRistretto>, Fault> {
    let (encodings, rest) = bytes.as_chunks::<POINT_BYTES>();
    if encodings.len() != count || !rest.is_empty() {
        return Err(Fault::Malformed { message });
    }
    decoded_products(encodings, halves).ok_or(Fault::Malformed { message })
}

/// The points of a peer's message.
///
/// # Errors
/// `Fault::Malformed` for a wrong length, an encoding of no point, or the identity, which has no logarithm to hide.
pub fn points(
    bytes: &[u8],
    count: usize,
    message: &'static str,
) -> Result<Vec<RistrettoPoint>, Fault> {
    let (encodings, rest) = bytes.as_chunks::<POINT_BYTES>();
    if encodings.len() != count || !rest.is_empty() {
        return Err(Fault::Malformed { message });
    }
    encodings
        .par_iter()
        .map(|encoding| decompressed(encoding).ok_or(Fault::Malformed { message }))
        .collect()
}

/// Encodings, one after the other.
#[must_use]
pub fn encoded(points: &[CompressedRistretto]) -> Vec<u8> {
    points.iter().flat_map(|point| *point.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
            .collect()
    }

    fn scalar(text: &str) -> Scalar {
        Scalar::from_canonical_bytes(hex(text).try_into().expect("32 bytes")).expect("canonical")
    }

    #[test]
    fn the_function_is_that_of_rfc_9497_appendix_a_1_1() {
        // Test vector 2: seventeen bytes 0x5a, so `finalize` is written out for that length.
        let key = scalar("5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e");
        let blind = scalar("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706");
        for (input, blinded, output) in [
            (
                vec![0u8],
                "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c",
                "527759c3d9366f277d8c6020418d96bb393ba2afb20ff90df23fb7708264e2f3ab9135e3bd69955851de4b1f9fe8a0973396719b7912ba9ee8aa7d0b5e24bcf6",
            ),
            (
                vec![0x5a; 17],
                "da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418",
                "f4a74c9c592497375e796aa837e907b1a045d34306a749db9f34221f7e750cb4f2a6413a6bf6fa5e19ba6348eb673934a722a7ede2e7621306d18951e7cf2c73",
            ),
        ] {
            let point = hash_to_group(&input);
            assert_eq!((point * blind).compress().as_bytes().as_slice(), hex(blinded));
            let evaluated = (point * blind * key * blind.invert()).compress();
            let length = u8::try_from(input.len()).expect("short");
            let mut hasher = Sha512::new();
            hasher.update([0, length]);
            hasher.update(&input);
            hasher.update([0, 32]);
            hasher.update(evaluated.as_bytes());
            hasher.update(b"Finalize");
            assert_eq!(hasher.finalize().as_slice(), hex(output));
        }
        let point = hash_to_group(&[7; 16]).compress();
        let mut long = vec![0, 16];
        long.extend_from_slice(&[7; 16]);
        long.extend_from_slice(&[0, 32]);
        long.extend_from_slice(point.as_bytes());
        long.extend_from_slice(b"Finalize");
        assert_eq!(
            finalize(&[7; 16], &point).as_slice(),
            Sha512::digest(&long).as_slice()
        );
    }

    #[test]
    fn hashed_points_raised_together_are_those_raised_alone() {
        let inputs: Vec<[u8; 16]> = (0u128..600).map(u128::to_le_bytes).collect();
        let key = fresh_scalar().expect("randomness");
        let all = hashed_and_raised(&inputs, |input| uniform(input), &key);
        assert_eq!(all.len(), inputs.len());
        for (input, product) in inputs.iter().zip(&all).step_by(7) {
            assert_eq!((hash_to_group(input) * *key).compress(), *product);
        }
        let uniform: Vec<[u8; 64]> = inputs.iter().map(|input| uniform(input)).collect();
        assert_eq!(by_the_library(&uniform, &(*key * half())), all);
    }

    #[test]
    fn products_with_a_scalar_each_are_those_alone() {
        for count in [0, 1, 2, 3, 5, 9, 100] {
            let uniform: Vec<[u8; 64]> = (0..count).map(|i| uniform(&[i])).collect();
            let secrets: Vec<Scalar> = (0..count)
                .map(|_| *fresh_scalar().expect("randomness"))
                .collect();
            let halves: Vec<Scalar> = secrets.iter().map(|secret| secret * half()).collect();
            let hashed = hashed_products_each(&uniform, &halves);
            let alone: Vec<RistrettoPoint> = uniform
                .iter()
                .zip(&secrets)
                .map(|(bytes, secret)| RistrettoPoint::from_uniform_bytes(bytes) * secret)
                .collect();
            let encodings: Vec<[u8; 32]> = alone.iter().map(|p| p.compress().0).collect();
            assert!(hashed.iter().map(|point| point.0).eq(encodings.clone()));
            let again = decoded_products(&encodings, &halves).expect("points");
            let twice = alone.iter().zip(&secrets).map(|(p, s)| (p * s).compress());
            assert!(again.into_iter().eq(twice));
            let all = decoded_products(&encodings, &[half() * Scalar::from(7u8)]);
            let seven = alone
                .iter()
                .map(|p| (p * Scalar::from(7u8)).compress())
                .collect();
            assert_eq!(all, Some(seven));
        }
    }

    #[test]
    fn products_of_what_is_no_point_are_refused_wherever_it_stands() {
        let good = hash_to_group(b"x").compress().0;
        let mut odd = good;
        odd[0] ^= 1;
        let mut high = good;
        high[31] ^= 0x80;
        for bad in [[0; 32], [0xff; 32], odd, high] {
            for count in [1, 2, 4, 6] {
                for at in 0..count {
                    let mut encodings = vec![good; count];
                    assert!(decoded_products(&encodings, &[half()]).is_some());
                    encodings[at] = bad;
                    assert_eq!(decoded_products(&encodings, &[half()]), None, "{bad:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let good = hash_to_group(b"x").compress();
        assert!(points(good.as_bytes(), 1, "m").is_ok());
        assert_eq!(raised(good.as_bytes(), 1, &[half()], "m"), Ok(vec![good]));
        for bad in [
            vec![0u8; 32],
            vec![0xff; 32],
            good.as_bytes()[..31].to_vec(),
            encoded(&[good, good]),
        ] {
            let malformed = Fault::Malformed { message: "m" };
            assert_eq!(points(&bad, 1, "m"), Err(malformed));
            assert_eq!(raised(&bad, 1, &[half()], "m"), Err(malformed));
        }
    }
}
