//! Whether two servers hold the same content, without either telling what could be guessed at: `CPace`.
//!
//! A hash of content that is told, keyed or not, lets who has it try contents for as long as it likes. A password-
//! authenticated key exchange tells no more than whether both put in the same: Abdalla, Haase, Hesse, *Security analysis
//! of `CPace`* (ASIACRYPT 2021; eprint 2021/114), in the suite CPACE-RISTR255-SHA512 of draft-irtf-cfrg-cpace (sections
//! 6.2 and 7; the initiator is the first server), with explicit key confirmation (section 10.4, by keyed BLAKE3). The
//! digest of the content is the password, the run's digest the session's identifier, and what a server claims beside it
//! is associated data, which both come to the same key only if nobody changed.
//!
//! Adversary: a server that does as it likes, or who sees and changes what passes between both. Either tests one content
//! a run, by doing all of it, and learns whether it was right; what it has seen is no help to test others, by discrete
//! logarithms in ristretto255. Messages: a point (32 bytes) and a tag (32 bytes) each way.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a point.
pub const POINT: usize = 32;
/// Bytes of a tag.
pub const TAG: usize = 32;
const DOMAIN: &[u8] = b"CPaceRistretto255";
const KEY_DOMAIN: &[u8] = b"CPaceRistretto255_ISK";
/// Bytes of one block of SHA-512.
const BLOCK: usize = 128;

/// One side that has said its point.
pub struct Said {
    secret: Zeroizing<Scalar>,
    point: [u8; POINT],
    run: Vec<u8>,
}

/// What both sides know when points were exchanged: the tag to send and the one to expect.
pub struct Met {
    /// Of this side.
    pub tag: [u8; TAG],
    theirs: [u8; TAG],
}

/// The bytes with their length before them, in LEB128.
fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 128 {
        out.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(512));
    for part in parts {
        sized(&mut out, part);
    }
    out
}

/// The generator that a content makes for a run between these sides.
fn generator(content: &[u8], sides: &[u8], run: &[u8]) -> RistrettoPoint {
    let before = 1 + joined(&[content, DOMAIN]).len();
    let zeros = vec![0u8; BLOCK.saturating_sub(before)];
    let whole = joined(&[DOMAIN, content, &zeros, sides, run]);
    RistrettoPoint::from_uniform_bytes(&Sha512::digest(&*whole).into())
}

/// The key of a run: what both sides come to of the point that they share and of all that they said.
fn key_of(
    run: &[u8],
    shared: &[u8; POINT],
    first: (&[u8; POINT], &[u8]),
    second: (&[u8; POINT], &[u8]),
) -> Zeroizing<[u8; 64]> {
    let head = joined(&[KEY_DOMAIN, run, shared]);
    let said = joined(&[first.0, first.1, second.0, second.1]);
    let key = Sha512::new().chain_update(&*head).chain_update(&*said);
    Zeroizing::new(key.finalize().into())
}

impl Said {
    /// Begin for a content, between `sides`, in a run that both sides name alike and no other has the name of.
    #[must_use]
    pub fn new(content: &[u8], sides: &[u8], run: &[u8], secret: Zeroizing<Scalar>) -> Self {
        let point = (generator(content, sides, run) * *secret).compress();
        Self {
            secret,
            point: point.to_bytes(),
            run: run.to_vec(),
        }
    }

    /// The point to send.
    #[must_use]
    pub const fn point(&self) -> &[u8; POINT] {
        &self.point
    }

    /// Meet the other side's point, with what each said beside its own; None if it is no point, or zero.
    #[must_use]
    pub fn meet(&self, first: bool, own: &[u8], point: &[u8; POINT], theirs: &[u8]) -> Option<Met> {
        let there = CompressedRistretto(*point).decompress()?;
        let shared = there * *self.secret;
        if shared.is_identity() {
            return None;
        }
        let (mine, other) = ((&self.point, own), (point, theirs));
        let (one, two) = if first { (mine, other) } else { (other, mine) };
        let shared = Zeroizing::new(shared.compress().to_bytes());
        let key = key_of(&self.run, &shared, one, two);
        let confirming = Zeroizing::new(blake3::derive_key(
            "fondaco 2026-11-29 hidden query of two servers: key confirmation of CPace",
            &*key,
        ));
        // A tag says whose it is: one that is sent back with all else is not the other side's.
        let tag = |first: bool, (point, said): (&[u8; POINT], &[u8])| {
            let side: &[u8] = if first { b"first" } else { b"second" };
            *blake3::keyed_hash(&confirming, &joined(&[side, point, said])).as_bytes()
        };
        Some(Met {
            tag: tag(first, mine),
            theirs: tag(!first, other),
        })
    }
}

impl Met {
    /// Whether the other side has shown by its tag that it put in the same content.
    #[must_use]
    pub fn is_same(&self, tag: &[u8]) -> bool {
        self.theirs.ct_eq(tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn scalar(hex: &str) -> Zeroizing<Scalar> {
        let scalar = Scalar::from_canonical_bytes(bytes(hex).try_into().expect("32 bytes"));
        Zeroizing::new(scalar.expect("canonical"))
    }

    #[test]
    fn the_drafts_own_vectors() {
        // draft-irtf-cfrg-cpace, appendix B.3.
        let (sides, run) = (
            b"\nAinitiator\nBresponder",
            bytes("7e4b4791d6a8ef019b936c79fb7f2c57"),
        );
        assert_eq!(
            generator(b"Password", sides, &run).compress().to_bytes()[..],
            bytes("5e25411ca1ad7c9debfd0b33ad987a95cefef2d3f15dcc8bd26415a5dfe2e15a")
        );
        let secrets = [
            "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08",
            "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d",
        ];
        let [first, second] =
            secrets.map(|secret| Said::new(b"Password", sides, &run, scalar(secret)));
        let points = [
            "383a85dd236978f17f8c8545b50dabc52a39fcdab2cf8bc531ce040ff77ca82d",
            "a6206309c0e8e5f579295e35997ac4300ab3fecec3c17f7b604f3e698fa1383c",
        ];
        assert_eq!(first.point()[..], bytes(points[0]));
        assert_eq!(second.point()[..], bytes(points[1]));
        let there = CompressedRistretto(*second.point()).decompress();
        let shared = (there.expect("a point") * *first.secret).compress();
        let shared = shared.to_bytes();
        assert_eq!(
            shared[..],
            bytes("fa1d0318864e2cacb26875f1b791c9ae83204fe8359addb53e95a2e98893853f")
        );
        let key = key_of(
            &run,
            &shared,
            (first.point(), b"ADa"),
            (second.point(), b"ADb"),
        );
        let known = "e91ccb2c0f5e0d0993a33956e3be59754f3f2b07db57631f5394452ea2e7b4354674eb1f5686c078462bf83bec72e8743df440108e638f3526d9b90e85be096f";
        assert_eq!(key[..], bytes(known));
    }

    #[test]
    fn only_the_same_content_run_and_claims_come_to_the_same_tags() {
        let said = |content: &[u8], run: &[u8], secret: u64| {
            Said::new(content, b"sides", run, Zeroizing::new(Scalar::from(secret)))
        };
        let one = said(b"content", b"run", 7);
        let outcome = |other: &Said, claim: &[u8], role: bool| {
            let here = one.meet(true, b"a", other.point(), claim).expect("a point");
            let there = other.meet(role, b"b", one.point(), b"a").expect("a point");
            (here.is_same(&there.tag), there.is_same(&here.tag))
        };
        let same = said(b"content", b"run", 9);
        assert_eq!(outcome(&same, b"b", false), (true, true));
        assert_eq!(outcome(&same, b"changed", false), (false, false));
        assert_eq!(outcome(&same, b"b", true), (false, false), "both first");
        for other in [
            said(b"other", b"run", 9),
            said(b"content", b"another run", 9),
        ] {
            assert_eq!(outcome(&other, b"b", false), (false, false));
        }
        let met = one.meet(true, b"a", same.point(), b"b").expect("a point");
        assert!(!met.is_same(&met.tag), "its own tag sent back");
        assert!(!met.is_same(&[]));
    }

    #[test]
    fn zero_and_what_is_no_point_are_refused() {
        let one = Said::new(b"c", b"s", b"r", Zeroizing::new(Scalar::from(7u8)));
        assert!(one.meet(true, b"", &[0; POINT], b"").is_none());
        assert!(one.meet(true, b"", &[0xff; POINT], b"").is_none());
    }
}
