//! What keeps an asker from reading a record that it did not ask for: every record is sealed under its own key.
//!
//! The key comes from the verifiable oblivious pseudorandom function of RFC 9497 (ristretto255-SHA512, mode VOPRF,
//! see `verifiable`) over the record's lookup key: the provider helps to evaluate it once for each key that it
//! lets the asker ask for, without learning the key, and proves that it used the secret that it published. Where a
//! record lies hashes from the same output. The sealed form is nonce, ChaCha20-Poly1305 of length, payload and
//! zeros up to the index's width, and the tag; the nonce is random, since a record may be sealed anew under its key.

use super::function::{self, Function};
use super::verifiable::{self, random_scalar};
use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use super::verifiable::{ELEMENT, PROOF};

/// Bytes of a secret.
pub const SECRET: usize = 32;
/// The most bytes of a lookup key: what RFC 9497 takes as an input.
pub const MAX_KEY: usize = u16::MAX as usize;
const INFO: &[u8] = b"fondaco hidden query";
const NONCE: usize = 12;
const LENGTH: usize = 4;
const TAG: usize = 16;

/// What the function says of one lookup key: where its record lies, and what opens it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Output {
    /// Hashes to the record's places.
    pub location: [u8; 32],
    /// Opens the record.
    pub seal: [u8; 32],
}

impl Output {
    fn of(output: &[u8]) -> Self {
        Self {
            location: blake3::derive_key(
                "fondaco 2026-11-24 hidden query: location of a record",
                output,
            ),
            seal: blake3::derive_key("fondaco 2026-11-24 hidden query: key of a record", output),
        }
    }
}

/// The provider's secret of one generation of records.
pub struct Evaluator {
    secret: Zeroizing<Scalar>,
    public: [u8; ELEMENT],
    /// The same function for keys of the provider's own.
    function: Function,
}

impl Evaluator {
    /// A fresh secret.
    ///
    /// # Panics
    /// Never: deriving a key fails only for over-long context, and this one is empty.
    #[must_use]
    pub fn generate() -> (Self, Zeroizing<[u8; SECRET]>) {
        let mut seed = Zeroizing::new([0u8; SECRET]);
        OsRng.fill_bytes(&mut *seed);
        let made =
            Self::from_seed(&seed).expect("a derived key exists for all seeds but one in 2^252");
        (made, seed)
    }

    /// The secret that RFC 9497's `DeriveKeyPair` makes of a seed; None in a case that does not happen.
    #[must_use]
    pub fn from_seed(seed: &[u8; SECRET]) -> Option<Self> {
        let secret = function::secret_of(seed, INFO);
        let function = Function::new(&secret)?;
        let secret: Option<Scalar> = Scalar::from_canonical_bytes(*secret).into();
        let secret = Zeroizing::new(secret.filter(|secret| *secret != Scalar::ZERO)?);
        let public = RistrettoPoint::mul_base(&secret).compress().0;
        Some(Self {
            secret,
            public,
            function,
        })
    }

    /// The public key, 32 bytes.
    #[must_use]
    pub const fn public(&self) -> [u8; ELEMENT] {
        self.public
    }

    /// The outputs for keys of the provider's own, in their order; None if one has no or too many bytes.
    #[must_use]
    pub fn evaluate_all(&self, keys: &[&[u8]]) -> Option<Vec<Output>> {
        if keys.iter().any(|key| key.is_empty() || key.len() > MAX_KEY) {
            return None;
        }
        let outputs = self.function.outputs(keys);
        Some(outputs.iter().map(|output| Output::of(&**output)).collect())
    }

    /// The output for one key of the provider's own; None if it has no or too many bytes.
    #[must_use]
    pub fn evaluate(&self, key: &[u8]) -> Option<Output> {
        self.evaluate_all(&[key])?.pop()
    }

    /// Evaluate blinded elements, 32 bytes each, and prove it: elements, then the proof. None if one is no element.
    #[must_use]
    pub fn blind_evaluate(&self, blinded: &[u8]) -> Option<Vec<u8>> {
        verifiable::evaluated(&self.secret, &self.public, blinded, &random_scalar())
    }
}

/// An asker's blinded keys.
pub struct Blinded {
    keys: Vec<Zeroizing<Vec<u8>>>,
    blinds: Zeroizing<Vec<Scalar>>,
    message: Vec<u8>,
}

impl Blinded {
    /// Blind keys; None if one has no or too many bytes.
    #[must_use]
    pub fn new(keys: Vec<Zeroizing<Vec<u8>>>) -> Option<Self> {
        if keys.iter().any(|key| key.is_empty() || key.len() > MAX_KEY) {
            return None;
        }
        let blinds: Vec<Scalar> = keys.iter().map(|_| *random_scalar()).collect();
        let plain: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
        let message = verifiable::blinded(&plain, &blinds);
        Some(Self {
            keys,
            blinds: Zeroizing::new(blinds),
            message,
        })
    }

    /// The blinded elements, 32 bytes for each key.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The outputs, in the order of the keys; None if the evaluation is malformed or its proof does not hold.
    #[must_use]
    pub fn finish(&self, public: &[u8; ELEMENT], evaluation: &[u8]) -> Option<Vec<Output>> {
        let keys: Vec<&[u8]> = self.keys.iter().map(|key| key.as_slice()).collect();
        let outputs = verifiable::outputs(&keys, &self.blinds, &self.message, public, evaluation)?;
        Some(outputs.iter().map(|output| Output::of(&**output)).collect())
    }
}

/// Bytes of a sealed record for payloads of up to `payload` bytes: a multiple of 4.
#[must_use]
pub const fn sealed_bytes(payload: usize) -> usize {
    (NONCE + LENGTH + payload + TAG).next_multiple_of(4)
}

/// Random nonces, drawn many at a time.
pub struct Nonces {
    drawn: Vec<u8>,
    used: usize,
}

impl Nonces {
    /// None drawn yet; `ahead` of them will be drawn at once.
    #[must_use]
    pub fn new(ahead: usize) -> Self {
        let drawn = vec![0u8; NONCE * ahead.max(1)];
        Self {
            used: drawn.len(),
            drawn,
        }
    }

    /// The next one, which was never given before.
    ///
    /// # Panics
    /// Never: twelve bytes are taken of what holds a multiple of twelve.
    pub fn next_nonce(&mut self) -> [u8; NONCE] {
        if self.used == self.drawn.len() {
            OsRng.fill_bytes(&mut self.drawn);
            self.used = 0;
        }
        self.used += NONCE;
        self.drawn[self.used - NONCE..self.used]
            .try_into()
            .expect("twelve bytes")
    }
}

/// Seal a payload into `out`, whose length fixes the width.
///
/// # Panics
/// If the payload does not fit.
pub fn seal(key: &[u8; 32], nonce: [u8; NONCE], payload: &[u8], out: &mut [u8]) {
    assert!(sealed_bytes(payload.len()) <= out.len());
    out.fill(0);
    out[..NONCE].copy_from_slice(&nonce);
    let (nonce, rest) = out.split_at_mut(NONCE);
    let at = rest.len() - TAG;
    let (text, tag) = rest.split_at_mut(at);
    text[..LENGTH].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    text[LENGTH..LENGTH + payload.len()].copy_from_slice(payload);
    let made = ChaCha20Poly1305::new(Key::from_slice(key))
        .encrypt_in_place_detached(Nonce::from_slice(nonce), b"", text)
        .expect("a record is far below the cipher's limit");
    tag.copy_from_slice(&made);
}

/// The payload of a sealed record, or None if the key does not open it: for an asker, the key is absent.
///
/// # Panics
/// Never: the length is read of bytes that are there.
#[must_use]
pub fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    if sealed.len() < NONCE + LENGTH + TAG {
        return None;
    }
    let (nonce, rest) = sealed.split_at(NONCE);
    let (text, tag) = rest.split_at(rest.len() - TAG);
    let mut text = text.to_vec();
    ChaCha20Poly1305::new(Key::from_slice(key))
        .decrypt_in_place_detached(
            Nonce::from_slice(nonce),
            b"",
            &mut text,
            Tag::from_slice(tag),
        )
        .ok()?;
    let length = u32::from_le_bytes(text[..LENGTH].try_into().expect("four bytes")) as usize;
    let end = LENGTH.checked_add(length)?;
    (end <= text.len()).then(|| text[LENGTH..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use voprf::{Group, Ristretto255, VoprfServer};

    type Server = VoprfServer<Ristretto255>;

    fn evaluator() -> Evaluator {
        Evaluator::from_seed(&[7; 32]).expect("a key")
    }

    #[test]
    fn both_sides_come_to_the_same_output() {
        let evaluator = evaluator();
        let keys = [b"a".to_vec(), vec![0xff; 300]]
            .map(Zeroizing::new)
            .to_vec();
        let blinded = Blinded::new(keys.clone()).expect("keys");
        let evaluation = evaluator
            .blind_evaluate(blinded.message())
            .expect("elements");
        let outputs = blinded
            .finish(&evaluator.public(), &evaluation)
            .expect("a proof");
        let plain: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
        let own = evaluator.evaluate_all(&plain).expect("keys");
        for (own, output) in own.iter().zip(&outputs) {
            assert_eq!((own.location, own.seal), (output.location, output.seal));
        }
    }

    #[test]
    fn another_secret_a_changed_element_or_a_cut_message_is_refused() {
        let evaluator = evaluator();
        let blinded = Blinded::new(vec![Zeroizing::new(b"a".to_vec())]).expect("keys");
        let good = evaluator
            .blind_evaluate(blinded.message())
            .expect("elements");
        let (other, _) = Evaluator::generate();
        assert!(blinded.finish(&other.public(), &good).is_none());
        let forged = other.blind_evaluate(blinded.message()).expect("elements");
        assert!(blinded.finish(&evaluator.public(), &forged).is_none());
        assert!(blinded
            .finish(&evaluator.public(), &good[..good.len() - 1])
            .is_none());
        assert!(Blinded::new(vec![Zeroizing::new(Vec::new())]).is_none());
        assert!(Blinded::new(vec![Zeroizing::new(vec![0; MAX_KEY + 1])]).is_none());
        assert!(
            evaluator.blind_evaluate(&[0; ELEMENT]).is_none(),
            "the identity is no blinded element"
        );
        assert!(evaluator.blind_evaluate(&[0xff; ELEMENT]).is_none());
        assert!(evaluator.blind_evaluate(&[]).is_none());
    }

    #[test]
    fn a_seeds_secret_is_the_one_of_the_crate() {
        for seed in [[0; 32], [7; 32], [0xff; 32]] {
            let said = Server::new_from_seed(&seed, INFO).expect("a key");
            let made = Evaluator::from_seed(&seed).expect("a key");
            let public: [u8; ELEMENT] = Ristretto255::serialize_elem(said.get_public_key()).into();
            assert_eq!(made.public(), public);
        }
    }

    #[test]
    fn many_keys_at_once_come_to_what_the_crate_says_of_each() {
        let evaluator = evaluator();
        let keys: Vec<Vec<u8>> = (1..super::super::function::BATCH + 40)
            .map(|length| vec![length as u8; length])
            .chain([vec![7; MAX_KEY]])
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let made = evaluator.evaluate_all(&keys).expect("keys");
        let server = Server::new_from_seed(&[7; 32], INFO).expect("a key");
        for (key, made) in keys.iter().zip(&made) {
            let said = Output::of(&server.evaluate(key).expect("a key"));
            assert_eq!((made.location, made.seal), (said.location, said.seal));
        }
        assert!(evaluator.evaluate_all(&[b"a", b""]).is_none());
        assert!(evaluator.evaluate(&vec![0; MAX_KEY + 1]).is_none());
        assert!(evaluator
            .evaluate_all(&[])
            .is_some_and(|none| none.is_empty()));
    }

    #[test]
    fn nonces_do_not_repeat() {
        let mut nonces = Nonces::new(5);
        let mut drawn: Vec<_> = (0..1000).map(|_| nonces.next_nonce()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 1000);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_under_its_key_alone(payload in prop::collection::vec(any::<u8>(), 0..500), more in 0usize..64) {
            let mut sealed = vec![0u8; sealed_bytes(payload.len() + more)];
            seal(&[1; 32], Nonces::new(1).next_nonce(), &payload, &mut sealed);
            prop_assert_eq!(open(&[1; 32], &sealed), Some(payload));
            prop_assert_eq!(open(&[2; 32], &sealed), None);
            let at = more % sealed.len();
            sealed[at] ^= 1;
            prop_assert_eq!(open(&[1; 32], &sealed), None);
        }

        #[test]
        fn no_bytes_break_the_decoders(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = open(&[1; 32], &bytes);
            let _ = evaluator().blind_evaluate(&bytes);
            let blinded = Blinded::new(vec![Zeroizing::new(b"a".to_vec())]).expect("keys");
            prop_assert!(blinded.finish(&evaluator().public(), &bytes).is_none());
        }
    }
}
