//! The pseudorandom function for many of the provider's own keys at once: the suite of `record`, faster.
//!
//! RFC 9497, section 3.3.2, mode VOPRF over ristretto255-SHA512, where the side with the secret evaluates alone: a
//! point of the group for the key (section 4.1, by `expand_message_xmd` of RFC 9380 for one block of SHA-512), times the
//! secret, and the hash of both (section 3.3.1). The crate `voprf` does the same for one key; here points are made,
//! multiplied and encoded many at a time ([`hashed_products`]). Products take constant time. Tests hold it against the
//! crate. Leaks nothing: it sends nothing.

use crate::ristretto::{half, hashed_products};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Keys whose points are made together.
pub const BATCH: usize = 256;
const DOMAIN: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";

/// The function under one secret.
pub struct Function {
    /// Half of the secret, as products are taken.
    half: Zeroizing<Scalar>,
}

impl Function {
    /// Under a secret scalar, 32 bytes; None if it is not the canonical form of one.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let scalar: Option<Scalar> = Scalar::from_canonical_bytes(*secret).into();
        let scalar = Zeroizing::new(scalar?);
        Some(Self {
            half: Zeroizing::new(*scalar * half()),
        })
    }

    /// The outputs for keys of at most 65,535 bytes, in their order.
    ///
    /// # Panics
    /// If a key is longer.
    #[must_use]
    pub fn outputs(&self, keys: &[&[u8]]) -> Vec<Zeroizing<[u8; 64]>> {
        let mut outputs = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let uniform = keys.iter().map(|key| *uniform(key));
            let uniform = Zeroizing::new(uniform.collect::<Vec<_>>());
            let encoded = hashed_products(&uniform, &self.half);
            for (key, point) in keys.iter().zip(&encoded) {
                outputs.push(finalize(key, point.as_bytes()));
            }
        }
        outputs
    }
}

/// The 64 bytes that become a key's point.
pub(super) fn uniform(key: &[u8]) -> Zeroizing<[u8; 64]> {
    expanded(&[key], DOMAIN)
}

/// The secret of a seed: `DeriveKeyPair` of RFC 9497, section 3.2.1, without its second try, which no seed needs but
/// with probability 2^-252.
///
/// # Panics
/// If `info` is longer than 65,535 bytes.
#[must_use]
pub fn secret_of(seed: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let length = u16::try_from(info.len()).expect("a few words of ours");
    let wide = expanded(
        &[seed, &length.to_be_bytes(), info, &[0]],
        b"DeriveKeyPairOPRFV1-\x01-ristretto255-SHA512",
    );
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide).to_bytes())
}

/// 64 bytes of `expand_message_xmd` (RFC 9380, section 5.3.1) with SHA-512.
pub(super) fn expanded(message: &[&[u8]], domain: &[u8]) -> Zeroizing<[u8; 64]> {
    let length = [u8::try_from(domain.len()).expect("a few words of ours")];
    let mut first = Sha512::new().chain_update([0u8; 128]);
    for part in message {
        first.update(part);
    }
    first.update([0, 64, 0]);
    first.update(domain);
    first.update(length);
    let uniform = Sha512::new()
        .chain_update(first.finalize())
        .chain_update([1])
        .chain_update(domain)
        .chain_update(length)
        .finalize();
    Zeroizing::new(uniform.into())
}

/// The output for a key of at most 65,535 bytes and its point times the secret (section 3.3.1).
pub(super) fn finalize(key: &[u8], point: &[u8; 32]) -> Zeroizing<[u8; 64]> {
    let length = u16::try_from(key.len()).expect("keys were measured before");
    let hash = Sha512::new()
        .chain_update(length.to_be_bytes())
        .chain_update(key)
        .chain_update([0, 32])
        .chain_update(point)
        .chain_update(b"Finalize")
        .finalize();
    Zeroizing::new(hash.into())
}
