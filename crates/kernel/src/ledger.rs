//! Ed25519 signatures of many transactions at once, accepted exactly as libsodium accepts them.
//!
//! Which odd signatures count is consensus: every node must answer alike, and all but this function ask libsodium.
//! Its rules, which `tests` on both sides of the binding compare on edge cases: S is below the group order; the key is
//! a canonical encoding of a point that is not of small order; R is not of small order; and the encoding of
//! S·B - H(R, A, M)·A is R, byte for byte (no cofactor). A batch equation would accept more, so each is verified alone.
//!
//! Trusts nothing. Everything here is public, so the time may depend on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock};

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use rayon::prelude::*;
use sha2::{Digest, Sha512};

use crate::ledger_multiples::{encoded_sums, Multiples};
use crate::Items;

/// Bytes of a raw public key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
const CHUNK: usize = 64;
// Some megabyte.
const MOST_OPENED: usize = 4096;
// A key that signed so often is likely to sign again; its multiples cost as much as so many signatures save by them.
const OFTEN: u32 = 16;
const KEY_DIGITS: usize = 5;
// Of 130 KB each.
const MOST_MULTIPLES: usize = 256;
// Fewer are done before another thread has woken up.
const SHARED: usize = 256;

/// A public key as libsodium takes it.
struct Opened {
    /// Negated for the equation.
    point: EdwardsPoint,
    /// How often it was asked for, up to `OFTEN`.
    seen: AtomicU32,
    multiples: OnceLock<Option<Multiples>>,
}

static BASE: LazyLock<Option<Multiples>> =
    LazyLock::new(|| Multiples::of(&ED25519_BASEPOINT_POINT, 8));
/// The encodings of the points of small order; others of them are no encoding that a sum is compared with.
static SMALL: LazyLock<[[u8; KEY_BYTES]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().0));
static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Opened {
    /// The key of these bytes; `None` if libsodium takes none such.
    fn of(raw: &[u8; KEY_BYTES]) -> Option<Arc<Self>> {
        let point = CompressedEdwardsY(*raw).decompress()?;
        // A point that is not of small order has an x that is not 0, so only the encoding of y can be another one.
        (!point.is_small_order() && point.compress().0 == *raw).then(|| {
            Arc::new(Self {
                point: -point,
                seen: AtomicU32::new(0),
                multiples: OnceLock::new(),
            })
        })
    }

    /// Its multiples, once it has signed often.
    fn multiples(&self) -> Option<&Multiples> {
        if self.seen.load(Ordering::Relaxed) < OFTEN {
            self.seen.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.multiples.get_or_init(|| self.keep()).as_ref()
    }

    /// Its multiples, if there is room for more.
    fn keep(&self) -> Option<Multiples> {
        let room = KEPT
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
                (kept < MOST_MULTIPLES).then_some(kept + 1)
            })
            .is_ok();
        room.then(|| Multiples::of(&self.point, KEY_DIGITS))
            .flatten()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if matches!(self.multiples.get(), Some(Some(_))) {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A signature that may hold: it does if `s` times the base point less `challenge` times the key is its R.
struct Claim<'a> {
    index: usize,
    opened: &'a Opened,
    challenge: Scalar,
    s: Scalar,
    r: &'a [u8],
}

impl<'a> Claim<'a> {
    /// `None` if nothing makes it hold.
    fn of(
        index: usize,
        opened: &'a Opened,
        key: &[u8],
        signature: &'a [u8],
        message: &[u8],
    ) -> Option<Self> {
        let (r, s) = signature.split_at_checked(KEY_BYTES)?;
        if SMALL.iter().any(|small| small == r) {
            return None;
        }
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(key);
        hash.update(message);
        Some(Self {
            index,
            opened,
            challenge: Scalar::from_bytes_mod_order_wide(&hash.finalize().into()),
            s,
            r,
        })
    }
}

/// Which claims hold by the lanes, of keys whose multiples are kept. The rest are for the library to judge: what the
/// lanes do not find held may hold. That they find held what does not would take an R whose wrong sum has it as its encoding,
/// and the sum hangs on R by a hash.
fn held_by_lanes(claims: &[Claim<'_>]) -> Vec<bool> {
    let mut held = vec![false; claims.len()];
    let Some(base) = &*BASE else {
        return held;
    };
    let (places, sums): (Vec<usize>, Vec<_>) = claims
        .iter()
        .enumerate()
        .filter_map(|(place, claim)| {
            let own = claim.opened.multiples()?;
            Some((place, [(own, &claim.challenge), (base, &claim.s)]))
        })
        .unzip();
    for (place, found) in places
        .into_iter()
        .zip(encoded_sums(&sums).unwrap_or_default())
    {
        held[place] = claims[place].r == found;
    }
    held
}

/// Which claims hold, by the library.
fn held(claims: &[&Claim<'_>]) -> Vec<bool> {
    let sums: Vec<EdwardsPoint> = claims
        .iter()
        .map(|claim| {
            EdwardsPoint::vartime_double_scalar_mul_basepoint(
                &claim.challenge,
                &claim.opened.point,
                &claim.s,
            )
        })
        .collect();
    // One inversion for all of them.
    let encoded = EdwardsPoint::compress_batch_alloc(&sums);
    let same = |(claim, found): (&&Claim<'_>, &CompressedEdwardsY)| claim.r == found.0;
    claims.iter().zip(&encoded).map(same).collect()
}

/// Keys as they were opened, `None` for those that libsodium takes not: who signs once signs again.
static OPENED: RwLock<BTreeMap<[u8; KEY_BYTES], Option<Arc<Opened>>>> =
    RwLock::new(BTreeMap::new());

/// The opened forms of keys, in order. A poisoned lock is as good as another: what it holds is the same for ever.
fn open_keys(keys: &[u8]) -> Vec<Option<Arc<Opened>>> {
    let mut found: Vec<Option<Option<Arc<Opened>>>> = {
        let opened = OPENED.read().unwrap_or_else(PoisonError::into_inner);
        keys.chunks_exact(KEY_BYTES)
            .map(|raw| opened.get(raw).cloned())
            .collect()
    };
    let mut fresh = BTreeMap::new();
    for (place, raw) in found.iter_mut().zip(keys.chunks_exact(KEY_BYTES)) {
        if place.is_none() {
            let raw = <[u8; KEY_BYTES]>::try_from(raw).unwrap_or_default();
            *place = Some(fresh.entry(raw).or_insert_with(|| Opened::of(&raw)).clone());
        }
    }
    if !fresh.is_empty() {
        let mut opened = OPENED.write().unwrap_or_else(PoisonError::into_inner);
        if opened.len() + fresh.len() > MOST_OPENED {
            opened.clear();
        }
        opened.extend(fresh.into_iter().take(MOST_OPENED));
    }
    found.into_iter().map(Option::flatten).collect()
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
    let opened = open_keys(keys);
    let chunk = |first: usize| -> Vec<u8> {
        let places = first..count.min(first + CHUNK);
        let claim = |index: usize| {
            let key = &keys[index * KEY_BYTES..][..KEY_BYTES];
            let signature = &signatures[index * SIGNATURE_BYTES..][..SIGNATURE_BYTES];
            let opened = opened[index].as_ref()?;
            Claim::of(index, opened, key, signature, messages.item(index))
        };
        let mut out = vec![0; places.len()];
        let claims: Vec<Claim<'_>> = places.filter_map(claim).collect();
        let quick = held_by_lanes(&claims);
        let (sure, rest): (Vec<_>, Vec<_>) = claims.iter().zip(quick).partition(|(_, held)| *held);
        let rest: Vec<&Claim<'_>> = rest.into_iter().map(|(claim, _)| claim).collect();
        let judged = rest.iter().copied().zip(held(&rest));
        for (claim, held) in sure.into_iter().chain(judged) {
            out[claim.index - first] = u8::from(held);
        }
        out
    };
    let firsts = (0..count).step_by(CHUNK);
    if count < SHARED {
        return Some(firsts.flat_map(chunk).collect());
    }
    let firsts: Vec<usize> = firsts.collect();
    Some(firsts.into_par_iter().flat_map_iter(chunk).collect())
}
