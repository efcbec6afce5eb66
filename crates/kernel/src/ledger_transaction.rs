//! The outer form of a transaction, read in one pass: what `fondaco.ledger.transactions` calls an envelope and a body.
//!
//! A shape with fixed fields in canonical order (`fondaco.core.codec`): an envelope is `{body, signatures}` and its body
//! `{kind, chain, nonce, expires, payload, signers}`. Bytes that are read here are what the general decoder would read, to
//! the same fields; of all others nothing is said but that they are not of this form. Trusts nothing and builds nothing:
//! all parts are slices of the bytes. The payload stays bytes, which nobody reads before the signatures hold.

use sha2::{Digest, Sha256};

/// The most signers of a transaction, or signatures.
pub const MAX_SIGNATURES: usize = 16;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;

/// A transaction's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What is signed.
    pub body: &'a [u8],
    /// As the envelope has them, of any length.
    pub signatures: Vec<&'a [u8]>,
    /// The message's kind.
    pub kind: &'a str,
    /// The chain that it is for.
    pub chain: &'a str,
    /// Of any length.
    pub nonce: &'a [u8],
    /// The last height.
    pub expires: i64,
    /// The message.
    pub payload: &'a [u8],
    /// As the body has them, of any length.
    pub signers: Vec<&'a [u8]>,
    /// SHA-256 of the transaction's bytes.
    pub hash: [u8; 32],
}

/// Bytes of a mark.
pub const MARK_BYTES: usize = 16;

impl Parts<'_> {
    /// What names one transaction of an author: SHA-256 of expiry (8 bytes, big-endian), nonce and author, cut.
    #[must_use]
    pub fn mark(&self) -> Option<[u8; MARK_BYTES]> {
        let mut state = Sha256::new();
        state.update(self.expires.to_be_bytes());
        state.update(self.nonce);
        state.update(self.signers.first()?);
        state.finalize().first_chunk().copied()
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(found)
    }

    /// The argument of a head of this major type, in its shortest form.
    fn head(&mut self, major: u8) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        if first >> 5 != major {
            return None;
        }
        let (wide, least) = match first & 31 {
            small @ 0..=23 => return Some(u64::from(small)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return None,
        };
        let found = self
            .take(wide)?
            .iter()
            .fold(0u64, |all, &byte| all << 8 | u64::from(byte));
        (found >= least).then_some(found)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.head(BYTES)?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.head(TEXT)?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn name(&mut self, name: &str) -> Option<()> {
        (self.text()? == name).then_some(())
    }

    fn map(&mut self, fields: u64) -> Option<()> {
        (self.head(MAP)? == fields).then_some(())
    }

    fn list(&mut self) -> Option<Vec<&'a [u8]>> {
        let count = usize::try_from(self.head(LIST)?).ok()?;
        (count <= MAX_SIGNATURES).then_some(())?;
        (0..count).map(|_| self.bytes()).collect()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The parts of a transaction; `None` for bytes of any other form.
#[must_use]
pub fn read(data: &[u8]) -> Option<Parts<'_>> {
    let mut envelope = Cursor(data);
    envelope.map(2)?;
    envelope.name("body")?;
    let body = envelope.bytes()?;
    envelope.name("signatures")?;
    let signatures = envelope.list()?;
    envelope.end()?;
    let mut inner = Cursor(body);
    inner.map(6)?;
    inner.name("kind")?;
    let kind = inner.text()?;
    inner.name("chain")?;
    let chain = inner.text()?;
    inner.name("nonce")?;
    let nonce = inner.bytes()?;
    inner.name("expires")?;
    let expires = i64::try_from(inner.head(0)?).ok()?;
    inner.name("payload")?;
    let payload = inner.bytes()?;
    inner.name("signers")?;
    let signers = inner.list()?;
    inner.end()?;
    Some(Parts {
        body,
        signatures,
        kind,
        chain,
        nonce,
        expires,
        payload,
        signers,
        hash: Sha256::digest(data).into(),
    })
}
