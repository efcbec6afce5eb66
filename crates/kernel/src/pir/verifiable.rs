//! The verifiable oblivious pseudorandom function of RFC 9497, mode VOPRF over ristretto255-SHA512, for many keys at once.
//!
//! Sections 3.3.1 and 3.3.2, with the proof of equal logarithms of section 2.2 over all elements of a message together.
//! Adversary, and what either side learns, are the standard's: the server nothing of the keys but their number, even if
//! it deviates; the client the outputs of as many keys as it had evaluated, and that they are those of the public key.
//! One message each way: 32 bytes a key, and 32 a key and 64 for the proof.
//!
//! The crate `voprf` does the same, one multiplication after the other; here keys are side by side and on all threads
//! ([`decoded_products`]), and the sums by which the proof joins all elements, of public points with public numbers,
//! are made by one multiplication of many points, whose time tells nothing that is not on the wire. Products with a
//! secret take constant time. Tests hold both sides against the crate, and bytes against the standard's vectors.

use super::function::{expanded, finalize, uniform};
use crate::ristretto::{decoded_products, decompressed, half, hashed_products_each, points};
use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Bytes of an element.
pub const ELEMENT: usize = 32;
/// Bytes of a proof.
pub const PROOF: usize = 64;
const HASH_TO_SCALAR: &[u8] = b"HashToScalar-OPRFV1-\x01-ristretto255-SHA512";
const SEED: &[u8] = b"Seed-OPRFV1-\x01-ristretto255-SHA512";

/// A secret scalar of the operating system's randomness: zero with probability 2^-252.
#[must_use]
pub fn random_scalar() -> Zeroizing<Scalar> {
    let mut wide = Zeroizing::new([0u8; 64]);
    OsRng.fill_bytes(&mut *wide);
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide))
}

/// `Blind`: each key's point times its blind, as bytes. Keys have at most 65,535 bytes.
///
/// # Panics
/// If there is not one blind for each key.
#[must_use]
pub fn blinded(keys: &[&[u8]], blinds: &[Scalar]) -> Vec<u8> {
    let uniform = Zeroizing::new(keys.iter().map(|key| *uniform(key)).collect::<Vec<_>>());
    let half = half();
    let halves: Vec<Scalar> = blinds.iter().map(|blind| blind * half).collect();
    let halves = Zeroizing::new(halves);
    let made = hashed_products_each(&uniform, &halves);
    made.iter().flat_map(|element| element.0).collect()
}

/// `BlindEvaluate`: each blinded element times the secret, then the proof, made with `nonce`, which is secret, random
/// and used for no other proof. None if one is no element, there are none, or more than 65,535.
#[must_use]
pub fn evaluated(
    secret: &Scalar,
    public: &[u8; ELEMENT],
    blinded: &[u8],
    nonce: &Scalar,
) -> Option<Vec<u8>> {
    let (elements, rest) = blinded.as_chunks::<ELEMENT>();
    if elements.is_empty() || !rest.is_empty() {
        return None;
    }
    let half = Zeroizing::new(secret * half());
    let evaluated = decoded_products(elements, std::slice::from_ref(&*half))?;
    let mut out: Vec<u8> = evaluated.iter().flat_map(|element| element.0).collect();
    let weights = weights(public, elements, out.as_chunks::<ELEMENT>().0)?;
    let points = points(blinded, elements.len(), "blinded keys").ok()?;
    let m = RistrettoPoint::vartime_multiscalar_mul(&weights, &points);
    let z = m * secret;
    let challenge = challenge(public, &[m, z, RistrettoPoint::mul_base(nonce), m * nonce]);
    out.extend_from_slice(challenge.as_bytes());
    out.extend_from_slice((nonce - challenge * secret).as_bytes());
    Some(out)
}

/// `Finalize` for all keys: the outputs, if `evaluation` is elements and a proof that holds under the public key.
///
/// # Panics
/// If there is not one blind for each key.
#[must_use]
pub fn outputs(
    keys: &[&[u8]],
    blinds: &[Scalar],
    blinded: &[u8],
    public: &[u8; ELEMENT],
    evaluation: &[u8],
) -> Option<Vec<Zeroizing<[u8; 64]>>> {
    let (elements, proof) = evaluation.split_at_checked(blinded.len())?;
    check(public, blinded, elements, proof)?;
    let mut inverses = Zeroizing::new(blinds.to_vec());
    Scalar::invert_batch_alloc(&mut inverses);
    let half = half();
    for inverse in inverses.iter_mut() {
        *inverse *= half;
    }
    let unblinded = decoded_products(elements.as_chunks::<ELEMENT>().0, &inverses)?;
    let pairs = keys.iter().zip(&unblinded);
    Some(pairs.map(|(key, point)| finalize(key, &point.0)).collect())
}

/// `VerifyProof`, section 2.2.2, over elements that begin and their multiples; None if it does not hold. All is public.
fn check(public: &[u8; ELEMENT], begun: &[u8], multiples: &[u8], proof: &[u8]) -> Option<()> {
    let ([challenged, answer], []) = proof.as_chunks::<32>() else {
        return None;
    };
    let scalar = |bytes: &[u8; 32]| Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes));
    let (challenged, answer) = (scalar(challenged)?, scalar(answer)?);
    let key = decompressed(public)?;
    let count = begun.len() / ELEMENT;
    let weights = weights(
        public,
        begun.as_chunks::<ELEMENT>().0,
        multiples.as_chunks::<ELEMENT>().0,
    )?;
    let sum = |bytes| {
        let points = points(bytes, count, "elements").ok()?;
        Some(RistrettoPoint::vartime_multiscalar_mul(&weights, &points))
    };
    let (m, z) = rayon::join(|| sum(begun), || sum(multiples));
    let (m, z) = (m?, z?);
    let t2 = RistrettoPoint::vartime_double_scalar_mul_basepoint(&challenged, &key, &answer);
    let t3 = RistrettoPoint::vartime_multiscalar_mul([answer, challenged], [m, z]);
    (challenge(public, &[m, z, t2, t3]) == challenged).then_some(())
}

/// The numbers of `ComputeComposites`, section 2.2.1, by which elements and their multiples are summed; None if there
/// are too many.
fn weights(
    public: &[u8; ELEMENT],
    begun: &[[u8; ELEMENT]],
    multiples: &[[u8; ELEMENT]],
) -> Option<Vec<Scalar>> {
    let length = [0, SEED.len() as u8];
    let seed = Sha512::new()
        .chain_update([0, 32])
        .chain_update(public)
        .chain_update(length)
        .chain_update(SEED)
        .finalize();
    u16::try_from(begun.len()).ok()?;
    let pairs = begun.par_iter().zip(multiples).enumerate();
    let weights = pairs.map(|(number, (one, other))| {
        let number = (number as u16).to_be_bytes();
        hashed(&[
            &[0, 64],
            &seed,
            &number,
            &[0, 32],
            one,
            &[0, 32],
            other,
            b"Composite",
        ])
    });
    Some(weights.collect())
}

/// The proof's challenge, section 2.2.1, over the composites and the commitments.
fn challenge(public: &[u8; ELEMENT], points: &[RistrettoPoint; 4]) -> Scalar {
    let [m, z, t2, t3] = points.each_ref().map(|point| point.compress().0);
    let length: &[u8] = &[0, 32];
    hashed(&[
        length,
        public,
        length,
        &m,
        length,
        &z,
        length,
        &t2,
        length,
        &t3,
        b"Challenge",
    ])
}

/// `HashToScalar` of section 4.1.
fn hashed(message: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&expanded(message, HASH_TO_SCALAR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn bytes(text: &Value) -> Vec<u8> {
        let text = text.as_str().expect("text");
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn list(value: &Value) -> Vec<Vec<u8>> {
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(bytes)
            .collect()
    }

    fn scalar(bytes: Vec<u8>) -> Scalar {
        Scalar::from_canonical_bytes(bytes.try_into().expect("32 bytes")).expect("canonical")
    }

    fn public(secret: &Scalar) -> [u8; ELEMENT] {
        RistrettoPoint::mul_base(secret).compress().0
    }

    #[test]
    fn every_byte_is_that_of_rfc_9497_appendix_a_1_2() {
        let file: Value =
            serde_json::from_str(include_str!("../../vectors/voprf.json")).expect("JSON");
        let secret = scalar(bytes(&file["secret"]));
        let key = public(&secret);
        assert_eq!(key.as_slice(), bytes(&file["public"]));
        for vector in file["vectors"].as_array().expect("a list") {
            let inputs = list(&vector["input"]);
            let keys: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let blinds: Vec<Scalar> = list(&vector["blind"]).into_iter().map(scalar).collect();
            let sent = blinded(&keys, &blinds);
            assert_eq!(sent, list(&vector["blinded"]).concat());
            let nonce = scalar(bytes(&vector["nonce"]));
            let answer = evaluated(&secret, &key, &sent, &nonce).expect("elements");
            let mut wanted = list(&vector["evaluated"]).concat();
            wanted.extend(bytes(&vector["proof"]));
            assert_eq!(answer, wanted);
            let found = outputs(&keys, &blinds, &sent, &key, &answer).expect("a proof");
            for (found, wanted) in found.iter().zip(list(&vector["output"])) {
                assert_eq!(found.as_slice(), wanted);
            }
        }
    }

    #[test]
    fn each_side_goes_with_the_other_of_the_crate() {
        use voprf::{BlindedElement, EvaluationElement, Group, Proof, Ristretto255};
        type Server = voprf::VoprfServer<Ristretto255>;
        type Client = voprf::VoprfClient<Ristretto255>;
        for count in [1u8, 2, 3, 9] {
            let secret = *random_scalar();
            let key = public(&secret);
            let server = Server::new_with_key(secret.as_bytes()).expect("a key");
            let inputs: Vec<Vec<u8>> = (0..count).map(|i| vec![i; 7]).collect();
            let keys: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let own: Vec<Vec<u8>> = keys
                .iter()
                .map(|key| server.evaluate(key).expect("an output").to_vec())
                .collect();
            // Our client, its server.
            let blinds: Vec<Scalar> = keys.iter().map(|_| *random_scalar()).collect();
            let sent = blinded(&keys, &blinds);
            let elements: Vec<BlindedElement<Ristretto255>> = sent
                .chunks_exact(ELEMENT)
                .map(|element| BlindedElement::deserialize(element).expect("an element"))
                .collect();
            let made = server
                .batch_blind_evaluate(&mut OsRng, &elements)
                .expect("a proof");
            let mut answer: Vec<u8> = made
                .messages
                .iter()
                .flat_map(|one| one.serialize().to_vec())
                .collect();
            answer.extend_from_slice(&made.proof.serialize());
            let found = outputs(&keys, &blinds, &sent, &key, &answer).expect("a proof");
            assert!(found.iter().map(|one| one.to_vec()).eq(own.clone()));
            // Its client, our server.
            let clients: Vec<_> = keys
                .iter()
                .map(|key| Client::blind(key, &mut OsRng).expect("a key"))
                .collect();
            let sent: Vec<u8> = clients
                .iter()
                .flat_map(|client| client.message.serialize().to_vec())
                .collect();
            let answer = evaluated(&secret, &key, &sent, &random_scalar()).expect("elements");
            let (elements, proof) = answer.split_at(sent.len());
            let elements: Vec<EvaluationElement<Ristretto255>> = elements
                .chunks_exact(ELEMENT)
                .map(|element| EvaluationElement::deserialize(element).expect("an element"))
                .collect();
            let states: Vec<Client> = clients.into_iter().map(|client| client.state).collect();
            let found = Client::batch_finalize(
                &keys,
                &states,
                &elements,
                &Proof::deserialize(proof).expect("a proof"),
                Ristretto255::deserialize_elem(&key).expect("an element"),
            )
            .expect("a proof that holds");
            assert!(found.map(|one| one.expect("an output").to_vec()).eq(own));
        }
    }

    #[test]
    fn one_evaluation_of_another_secret_among_many_is_refused_and_any_changed_bit() {
        let (secret, other) = (*random_scalar(), *random_scalar());
        let key = public(&secret);
        let inputs: Vec<[u8; 1]> = (0..9).map(|i| [i]).collect();
        let keys: Vec<&[u8]> = inputs.iter().map(<[u8; 1]>::as_slice).collect();
        let blinds: Vec<Scalar> = keys.iter().map(|_| *random_scalar()).collect();
        let sent = blinded(&keys, &blinds);
        let good = evaluated(&secret, &key, &sent, &random_scalar()).expect("elements");
        let taken = |answer: &[u8]| outputs(&keys, &blinds, &sent, &key, answer).is_some();
        assert!(taken(&good));
        let forged = evaluated(&other, &key, &sent, &random_scalar()).expect("elements");
        for at in 0..keys.len() {
            let mut answer = good.clone();
            let element = at * ELEMENT..(at + 1) * ELEMENT;
            answer[element.clone()].copy_from_slice(&forged[element]);
            assert!(!taken(&answer), "{at}");
        }
        let mut swapped = good.clone();
        swapped[..2 * ELEMENT].rotate_left(ELEMENT);
        assert!(!taken(&swapped));
        for at in 0..good.len() {
            let mut answer = good.clone();
            answer[at] ^= 1 << (at % 8);
            assert!(!taken(&answer), "{at}");
        }
        assert!(!taken(&good[..good.len() - 1]) && !taken(&[]));
        let mut longer = good;
        longer.push(0);
        assert!(!taken(&longer));
    }

    #[test]
    fn numbers_that_are_not_canonical_are_refused() {
        let secret = *random_scalar();
        let key = public(&secret);
        let blinds = [*random_scalar()];
        let sent = blinded(&[b"a"], &blinds);
        let good = evaluated(&secret, &key, &sent, &random_scalar()).expect("elements");
        // The group's order, little-endian: added to the answer it is the same number.
        let order = (Scalar::ZERO - Scalar::ONE).to_bytes();
        let mut answer = good.clone();
        let mut carry = 1u16;
        for (byte, order) in answer[ELEMENT + 32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert!(outputs(&[b"a"], &blinds, &sent, &key, &good).is_some());
        assert!(outputs(&[b"a"], &blinds, &sent, &key, &answer).is_none());
    }
}
