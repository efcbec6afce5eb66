//! What both servers hold: the same table, each with a secret of its own, both of which a record's key needs.
//!
//! A record lies and is sealed by the outputs of both servers' functions (RFC 9497, see `record`) for its lookup key,
//! so who asks needs both servers' help for each key, and each server's own limit holds. The servers tell each other
//! their outputs for the records that both hold; neither learns the other's secret. Secrets are new with each index, so
//! a sealing key seals one record once and its nonce may be zero: both servers come to the same bytes.

use super::super::description::{part_bytes, parts_of, Cursor, MAX_PAYLOAD};
use super::super::fuse::{fill_from, Form, Sum};
use super::super::index::{part_of, Record};
use super::super::matrix::ONES;
use super::super::record::{self, Evaluator, Output, ELEMENT, SECRET};
use super::super::sample::Stream;
use super::dpf::depth_for;
use super::table::{Table, HASH};
use crate::protocol::Fault;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Bytes of what one server says of one record.
pub const SHARE: usize = 32;
/// Bytes of a description.
pub const DESCRIPTION: usize = 16 + 8 + 4 + 4 + 1 + 1 + HASH + ELEMENT;
/// The most records of an index, parts counted each.
pub const MAX_RECORDS: usize = 1 << 30;
const MAGIC: &[u8; 16] = b"fondaco/pir-two1";
const NONCE: [u8; 12] = [0; 12];

/// What an asker is told by each server; all but the public key is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Records.
    pub records: u64,
    /// What payloads are padded to, in bytes.
    pub payload: u32,
    /// The form of the filter: how many rows there are.
    pub form: Form,
    /// Its salt.
    pub salt: u8,
    /// What the tree over the rows comes to.
    pub digest: [u8; HASH],
    /// This server's public key.
    pub public: [u8; ELEMENT],
}

impl Description {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.payload.to_le_bytes());
        out.extend_from_slice(&self.form.rows.to_le_bytes());
        out.extend_from_slice(&[self.form.segment_bits, self.salt]);
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.public);
        out
    }

    /// From bytes, strictly: nothing left over, a form that can be asked.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let made = Self::read(&mut cursor)?;
        cursor.0.is_empty().then_some(made)
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let records = u64::from_le_bytes(cursor.array()?);
        let payload = u32::from_le_bytes(cursor.array()?);
        let rows = u32::from_le_bytes(cursor.array()?);
        let [segment_bits, salt] = cursor.array()?;
        let form = Form { rows, segment_bits };
        let (digest, public) = (cursor.array()?, cursor.array()?);
        let sound = payload as usize <= MAX_PAYLOAD && form.is_sound() && rows.is_multiple_of(2048);
        sound.then_some(Self {
            records,
            payload,
            form,
            salt,
            digest,
            public,
        })
    }

    /// Whether another server's description is of the same table.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let public = self.public;
        *self
            == Self {
                public,
                ..other.clone()
            }
    }

    /// Parts of a payload.
    #[must_use]
    pub const fn parts(&self) -> usize {
        parts_of(self.payload as usize)
    }

    /// Bytes of a row without its proof.
    #[must_use]
    pub const fn width(&self) -> usize {
        width_for(self.payload as usize)
    }

    /// Levels of the keys that select a row.
    #[must_use]
    pub const fn depth(&self) -> usize {
        depth_for(self.form.rows as usize)
    }

    /// The three rows whose sum is the record at a location.
    #[must_use]
    pub fn places(&self, location: &[u8; 32]) -> [u32; ONES] {
        self.form.places(location, 0, 0, self.salt)
    }
}

const fn width_for(payload: usize) -> usize {
    record::sealed_bytes(part_bytes(payload)).next_multiple_of(8)
}

/// What one server tells the other of a record, and an asker computes of what it evaluated with that server.
#[must_use]
pub fn share_of(output: &Output) -> [u8; SHARE] {
    let mut hasher =
        blake3::Hasher::new_derive_key("fondaco 2026-11-25 hidden query of two servers: share");
    hasher.update(&output.location).update(&output.seal);
    *hasher.finalize().as_bytes()
}

/// What both shares come to: where the record lies and what opens it.
#[must_use]
pub fn combined(shares: [&[u8; SHARE]; 2]) -> Output {
    let of = |context| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(shares[0]).update(shares[1]);
        *hasher.finalize().as_bytes()
    };
    Output {
        location: of("fondaco 2026-11-25 hidden query of two servers: location of a record"),
        seal: of("fondaco 2026-11-25 hidden query of two servers: key of a record"),
    }
}

/// One server's index: a secret, all of it.
pub struct Index {
    description: Description,
    first: bool,
    content: [u8; HASH],
    seed: Zeroizing<[u8; SECRET]>,
    evaluator: Evaluator,
    table: Table,
}

impl Index {
    /// Of records in the order that both servers put them in, with both servers' shares of each, the first one's first.
    ///
    /// # Errors
    /// `Fault::Input`: too many records, or no filter came out.
    pub(super) fn made(
        records: &[Record<'_>],
        shares: [&[[u8; SHARE]]; 2],
        payload: usize,
        (first, content): (bool, [u8; HASH]),
        (seed, evaluator): (Zeroizing<[u8; SECRET]>, Evaluator),
    ) -> Result<Self, Fault> {
        let (parts, width) = (parts_of(payload), width_for(payload));
        let part = part_bytes(payload);
        let output = |at: usize| {
            let whole = combined([&shares[0][at / parts], &shares[1][at / parts]]);
            part_of(&whole, at % parts)
        };
        let locations: Vec<[u8; 32]> = (0..records.len() * parts)
            .into_par_iter()
            .map(|at| output(at).location)
            .collect();
        let form = Form::for_records(locations.len());
        let too_large = Fault::Input {
            what: "more data than one index holds",
        };
        if locations.len() > MAX_RECORDS {
            return Err(too_large);
        }
        let mut plain = vec![0u8; form.rows as usize * width];
        let mut unneeded = unneeded(&content, shares);
        let record = |at: usize, out: &mut [u8]| {
            let payload = records[at / parts].1;
            let cut = |number: usize| payload.len().min(number * part);
            let number = at % parts;
            let text = &payload[cut(number)..cut(number + 1)];
            record::seal(&output(at).seal, NONCE, text, out);
        };
        let sum = (Sum::Bits, &mut unneeded);
        let salt = fill_from(form, (0, 0), &locations, record, sum, &mut plain).ok_or(too_large)?;
        drop(locations);
        let table = Table::new(width, &plain);
        let description = Description {
            records: records.len() as u64,
            payload: payload as u32,
            form,
            salt,
            digest: table.digest(),
            public: evaluator.public(),
        };
        Ok(Self {
            description,
            first,
            content,
            seed,
            evaluator,
            table,
        })
    }

    /// What askers are told.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Whether it is the first server's, whose shares come first.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.first
    }

    /// The digest of the records that it was made of.
    #[must_use]
    pub const fn content(&self) -> &[u8; HASH] {
        &self.content
    }

    /// This server's function.
    #[must_use]
    pub const fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The rows.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The parts that it is kept as, in order: a secret head, rows, tops.
    #[must_use]
    pub fn to_parts(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut head = self.description.to_bytes();
        head.push(u8::from(self.first));
        head.extend_from_slice(&self.content);
        head.extend_from_slice(&*self.seed);
        [head, self.table.rows().to_vec(), self.table.tops().to_vec()]
            .map(Zeroizing::new)
            .into()
    }

    /// The index from its parts. None if they are not those of one index.
    #[must_use]
    pub fn from_parts(parts: &[&[u8]]) -> Option<Self> {
        let [head, rows, tops] = parts else {
            return None;
        };
        let mut cursor = Cursor(head);
        let description = Description::read(&mut cursor)?;
        let first = match cursor.array()? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let (content, seed) = (cursor.array()?, Zeroizing::new(cursor.array()?));
        let evaluator = Evaluator::from_seed(&seed)?;
        let table = Table::from_parts(description.width(), rows, tops)?;
        let sound = cursor.0.is_empty()
            && table.count() == description.form.rows as usize
            && table.digest() == description.digest
            && evaluator.public() == description.public;
        sound.then_some(Self {
            description,
            first,
            content,
            seed,
            evaluator,
            table,
        })
    }
}

/// What fills rows that no record needs: both servers come to it, and nobody else.
fn unneeded(content: &[u8; HASH], shares: [&[[u8; SHARE]]; 2]) -> Stream {
    let mut hasher = blake3::Hasher::new_derive_key(
        "fondaco 2026-11-25 hidden query of two servers: unneeded rows",
    );
    hasher.update(content);
    for share in shares.iter().flat_map(|shares| shares.iter()) {
        hasher.update(share);
    }
    Stream::public(hasher.finalize().as_bytes(), "fondaco/pir/two/rows", 0)
}
