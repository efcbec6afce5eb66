//! The lanes' points beside the library's, byte by byte.

use super::{available, decoded_products, hashed_products};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use proptest::prelude::*;
use sha2::{Digest, Sha512};

fn agree(uniform: &[[u8; 64]], half: Scalar) {
    let Some(found) = hashed_products(uniform, &[half.to_bytes()]) else {
        assert!(!available());
        return;
    };
    let points: Vec<RistrettoPoint> = uniform
        .iter()
        .map(|bytes| RistrettoPoint::from_uniform_bytes(bytes) * half)
        .collect();
    let wanted = RistrettoPoint::double_and_compress_batch(&points);
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted.as_bytes());
    }
}

/// 64 bytes whose numbers are near the ends, or any.
fn uniform() -> impl Strategy<Value = [u8; 64]> {
    let half = || {
        let end = prop_oneof![Just(0u8), Just(0xff)];
        let ends = (end, any::<u8>()).prop_map(|(end, first)| {
            let mut bytes = [end; 32];
            bytes[0] = first;
            bytes
        });
        prop_oneof![1 => ends, 3 => any::<[u8; 32]>()]
    };
    (half(), half()).prop_map(|(first, second)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&first);
        bytes[32..].copy_from_slice(&second);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn lanes_are_what_the_library_makes_of_each(
        uniform in prop::collection::vec(uniform(), 0..=if cfg!(miri) { 2 } else { 11 }),
        scalar: [u8; 32],
    ) {
        agree(&uniform, Scalar::from_bytes_mod_order(scalar));
    }

    #[test]
    fn what_decodes_is_what_the_library_decodes(
        uniform in prop::collection::vec(uniform(), 1..=if cfg!(miri) { 2 } else { 6 }),
        scalars in prop::collection::vec(any::<[u8; 32]>(), 6),
        at: prop::sample::Index,
        bit in 0usize..512,
    ) {
        let encoded = |bytes| RistrettoPoint::from_uniform_bytes(bytes).compress().0;
        let mut encodings: Vec<[u8; 32]> = uniform.iter().map(encoded).collect();
        // Half of the time a bit is turned: most often no point then.
        if bit < 256 {
            let at = at.index(encodings.len());
            encodings[at][bit / 8] ^= 1 << (bit % 8);
        }
        let scalars: Vec<Scalar> = scalars[..encodings.len()]
            .iter()
            .map(|&bytes| Scalar::from_bytes_mod_order(bytes))
            .collect();
        let points: Option<Vec<RistrettoPoint>> = encodings
            .iter()
            .zip(&scalars)
            .map(|(encoding, scalar)| {
                let point = CompressedRistretto(*encoding).decompress();
                Some(point.filter(|point| !point.is_identity())? * scalar)
            })
            .collect();
        let wanted = points.map(|points| {
            let all = RistrettoPoint::double_and_compress_batch(&points);
            all.iter().map(|one| one.0).collect::<Vec<_>>()
        });
        let halves: Vec<[u8; 32]> = scalars.iter().map(Scalar::to_bytes).collect();
        if available() {
            prop_assert_eq!(decoded_products(&encodings, &halves), wanted);
        }
    }
}

#[test]
fn scalars_at_the_ends_and_batches_of_any_length() {
    if cfg!(miri) {
        return;
    }
    let uniform: Vec<[u8; 64]> = (0..=255u8).map(|byte| [byte; 64]).collect();
    let minus = |less: u8| Scalar::ZERO - Scalar::from(less);
    // With zero, every double is the identity.
    for half in (0..20u8).map(Scalar::from).chain((1..10).map(minus)) {
        agree(&uniform[100..107], half);
    }
    for nibbles in [0x77u8, 0x78, 0x87, 0x88, 0xf8, 0x0f] {
        let mut bytes = [nibbles; 32];
        bytes[31] &= 0x0f;
        agree(&uniform[..3], Scalar::from_bytes_mod_order(bytes));
    }
    let mut long = uniform.clone();
    long.extend_from_slice(&uniform);
    for length in [1, 4, 255, 256, 257, 509] {
        agree(&long[..length], Scalar::from(77u8));
    }
}

#[test]
fn the_map_is_that_of_rfc_9496_appendix_a_3() {
    let half = Scalar::from(2u8).invert();
    let vectors = [
        (
            "Ristretto is traditionally a short shot of espresso coffee",
            "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46",
        ),
        (
            "made with the normal amount of ground coffee but extracted with",
            "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b",
        ),
    ];
    let uniform: Vec<[u8; 64]> = vectors
        .iter()
        .map(|(input, _)| Sha512::digest(input).into())
        .collect();
    let Some(found) = hashed_products(&uniform, &[half.to_bytes()]) else {
        assert!(!available());
        return;
    };
    for (found, (_, wanted)) in found.iter().zip(vectors) {
        let wanted: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&wanted[at..at + 2], 16).expect("hex"))
            .collect();
        assert_eq!(found.as_slice(), wanted);
    }
}
