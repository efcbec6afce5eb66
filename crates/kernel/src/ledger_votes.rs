//! Ed25519 signatures of `CometBFT`'s votes, accepted exactly as `CometBFT` accepts them: by ZIP 215.
//!
//! A commit that `CometBFT` has decided must hold here too, whatever odd signatures a validator makes, or one that lies
//! would stop every node that looks. The rules (zips.z.cash/zip-0215): A and R are encodings of points, canonical or
//! not, of any order; S is below the group order; and eight times S·B - H(R, A, M)·A - R is the identity. Transactions
//! have other rules, see `ledger`. Trusts nothing. Everything here is public, so the time may depend on it.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};

/// Whether `CometBFT` takes a signature of 64 bytes as that of a key of 32.
#[must_use]
pub fn vote_holds(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> bool {
    judged(key, signature, message).unwrap_or(false)
}

fn judged(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> Option<bool> {
    let (r, s) = signature.split_first_chunk::<32>()?;
    let a = CompressedEdwardsY(*key).decompress()?;
    let point = CompressedEdwardsY(*r).decompress()?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    hash.update(message);
    let challenge = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let sum = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &-a, &s);
    Some((sum - point).mul_by_cofactor().is_identity())
}
