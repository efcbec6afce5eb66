//! Ed25519 signatures of many transactions at once, accepted exactly as libsodium accepts them.
//!
//! Which odd signatures count is consensus: every node must answer alike, and all but this function ask libsodium.
//! Its rules, which `tests` on both sides of the binding compare on edge cases: S is below the group order; the key is
//! a canonical encoding of a point that is not of small order; R is not of small order; and the encoding of
//! S·B - H(R, A, M)·A is R, byte for byte (no cofactor). A batch equation would accept more, so each is verified alone.
//!
//! Trusts nothing. Everything here is public, so the time may depend on it.

use std::collections::HashMap;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use rayon::prelude::*;
use sha2::{Digest, Sha512};

use crate::Items;

/// Bytes of a raw public key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
const CHUNK: usize = 32;
// Fewer are done before another thread has woken up.
const SHARED: usize = 256;

/// A public key as libsodium takes it, negated for the equation; `None` if it takes none such.
fn open_key(raw: &[u8; KEY_BYTES]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*raw).decompress()?;
    // A point that is not of small order has an x that is not 0, so only the encoding of y can be another one.
    (!point.is_small_order() && point.compress().0 == *raw).then(|| -point)
}

fn verify(negated: &EdwardsPoint, key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    let (Ok(r), Ok(s)) = (
        <[u8; 32]>::try_from(&signature[..32]),
        <[u8; 32]>::try_from(&signature[32..]),
    ) else {
        return false;
    };
    let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else {
        return false;
    };
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    hash.update(message);
    let challenge = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let found = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, negated, &s);
    found.compress().0 == r && !found.is_small_order()
}

/// One byte for each message: 1 when the signature of the same place is that of the key of the same place.
///
/// `keys` holds 32 bytes and `signatures` 64 for each message; other lengths are `None`.
#[must_use]
pub fn verify_many(keys: &[u8], signatures: &[u8], messages: &Items<'_>) -> Option<Vec<u8>> {
    let count = messages.len();
    if keys.len() != count * KEY_BYTES || signatures.len() != count * SIGNATURE_BYTES {
        return None;
    }
    let mut opened: HashMap<[u8; KEY_BYTES], Option<EdwardsPoint>> = HashMap::new();
    for raw in keys.chunks_exact(KEY_BYTES) {
        let raw = <[u8; KEY_BYTES]>::try_from(raw).ok()?;
        opened.entry(raw).or_insert_with(|| open_key(&raw));
    }
    let one = |index: usize| -> u8 {
        let key = &keys[index * KEY_BYTES..][..KEY_BYTES];
        let signature = &signatures[index * SIGNATURE_BYTES..][..SIGNATURE_BYTES];
        let negated = opened.get(key).and_then(Option::as_ref);
        u8::from(negated.is_some_and(|point| verify(point, key, signature, messages.item(index))))
    };
    if count < SHARED {
        return Some((0..count).map(one).collect());
    }
    Some(
        (0..count)
            .into_par_iter()
            .with_min_len(CHUNK)
            .map(one)
            .collect(),
    )
}
