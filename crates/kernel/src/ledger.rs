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
    /// How many of its signatures held, up to `OFTEN`: others may be anybody's.
    held: AtomicU32,
    multiples: OnceLock<Multiples>,
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
                held: AtomicU32::new(0),
                multiples: OnceLock::new(),
            })
        })
    }

    /// One more of its signatures held.
    fn count(&self) {
        if self.held.load(Ordering::Relaxed) < OFTEN {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its multiples, once it has signed often, if there is room for them.
    fn multiples(&self) -> Option<&Multiples> {
        if self.held.load(Ordering::Relaxed) < OFTEN {
            return None;
        }
        if self.multiples.get().is_none() {
            let room = |kept| (kept < MOST_MULTIPLES).then_some(kept + 1);
            KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
                .ok()?;
            let made = Multiples::of(&self.point, KEY_DIGITS);
            if made.is_none_or(|made| self.multiples.set(made).is_err()) {
                KEPT.fetch_sub(1, Ordering::Relaxed); // no lanes, or another thread was first
            }
        }
        self.multiples.get()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.multiples.get().is_some() {
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

/// Keys as they were opened, of which a signature held: who signs once signs again.
static OPENED: RwLock<BTreeMap<[u8; KEY_BYTES], Arc<Opened>>> = RwLock::new(BTreeMap::new());

type Fresh = BTreeMap<[u8; KEY_BYTES], Option<Arc<Opened>>>;

/// The opened forms of keys, in order, `None` for those that libsodium takes not; and those that were not known. A
/// poisoned lock is as good as another: what it holds is the same for ever.
fn open_keys(keys: &[u8]) -> (Vec<Option<Arc<Opened>>>, Fresh) {
    let known: Vec<Option<Arc<Opened>>> = {
        let opened = OPENED.read().unwrap_or_else(PoisonError::into_inner);
        let raws = keys.chunks_exact(KEY_BYTES);
        raws.map(|raw| opened.get(raw).cloned()).collect()
    };
    let mut fresh = Fresh::new();
    let found = known.into_iter().zip(keys.as_chunks::<KEY_BYTES>().0);
    let found = found.map(|(known, raw)| {
        known.or_else(|| {
            let opened = fresh.entry(*raw).or_insert_with(|| Opened::of(raw));
            opened.clone()
        })
    });
    let found = found.collect();
    (found, fresh)
}

/// Keep fresh keys of which a signature held: anybody can make up others, and would fill the room.
fn remember(fresh: &Fresh, keys: &[u8], held: &[u8]) {
    if fresh.is_empty() {
        return;
    }
    let signed = keys.as_chunks::<KEY_BYTES>().0.iter().zip(held);
    let sound: BTreeMap<[u8; KEY_BYTES], Arc<Opened>> = signed
        .filter(|(_, held)| **held == 1)
        .filter_map(|(raw, _)| Some((*raw, fresh.get(raw)?.clone()?)))
        .collect();
    let mut opened = OPENED.write().unwrap_or_else(PoisonError::into_inner);
    if opened.len() + sound.len() > MOST_OPENED {
        opened.clear();
    }
    opened.extend(sound.into_iter().take(MOST_OPENED));
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
    let (opened, fresh) = open_keys(keys);
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
            if held {
                claim.opened.count();
            }
        }
        out
    };
    let firsts = (0..count).step_by(CHUNK);
    let held: Vec<u8> = if count < SHARED {
        firsts.flat_map(chunk).collect()
    } else {
        let firsts: Vec<usize> = firsts.collect();
        firsts.into_par_iter().flat_map_iter(chunk).collect()
    };
    remember(&fresh, keys, &held);
    Some(held)
}
