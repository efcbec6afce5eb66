//! A provider's prepared index of one dataset: records sealed, laid out, and prepared for queries; updated, kept, read.
//!
//! The index as a whole is the provider's secret: it holds the secrets of its pseudorandom functions, and keyed
//! hashes of lookup keys and payloads from which an update knows what is unchanged. What an asker gets of it is the
//! [`Description`]: how many records there are, how wide a payload may be, and public randomness.
//!
//! An update keeps what it can: only records that are new or changed are evaluated and sealed. They are so under a
//! secret of their own (a *generation*), so that who asked for a key before cannot open what became of it since
//! without asking again. After [`MAX_GENERATIONS`] an update begins anew.

use super::description::{part_bytes, parts_of, Cursor, Description, MAX_GENERATIONS, MAX_PAYLOAD};
use super::layout::{Layout, MAX_BATCH};
use super::matrix;
use super::progress::{Counted, Watch};
use super::record::{self, Evaluator, Output, SECRET};
use super::sealing::{Sealing, CHUNK};
use crate::protocol::Fault;
use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
use rayon::prelude::*;
use std::collections::HashMap;
use zeroize::{Zeroize, Zeroizing};

const ENTRY: usize = 16 + 16 + 32 + 1;

/// One record, as the provider brings it: lookup key and payload.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// A matrix with its layout and all that is prepared of it.
pub struct Table {
    /// Where records lie.
    pub layout: Layout,
    /// The bytes.
    pub data: Vec<u8>,
    /// The prepared digits of its packs.
    pub digits: Vec<u32>,
    /// The random part of its answers, for askers.
    pub random: Vec<u8>,
}

/// What an update knows of a record.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: [u8; 16],
    pub(super) payload: [u8; 16],
    pub(super) location: [u8; 32],
    pub(super) generation: u8,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.location.zeroize();
    }
}

/// What opens and places part number `part` of a record, from what the function says of its key.
#[must_use]
pub fn part_of(output: &Output, part: usize) -> Output {
    if part == 0 {
        return output.clone();
    }
    let number = (part as u32).to_le_bytes();
    Output {
        location: *blake3::keyed_hash(&output.location, &number).as_bytes(),
        seal: *blake3::keyed_hash(&output.seal, &number).as_bytes(),
    }
}

/// A provider's index.
pub struct Index {
    description: Description,
    seeds: Vec<Zeroizing<[u8; SECRET]>>,
    evaluators: Vec<Evaluator>,
    directory_key: Zeroizing<[u8; 32]>,
    entries: Vec<Entry>,
    single: Table,
    batch: Option<Table>,
}

impl Index {
    /// Build the index of records whose keys all differ, for batches of `batch` keys (0: for single keys alone).
    ///
    /// # Errors
    /// `Fault::Input`: a key stands twice, is empty or too long; a payload too wide; a batch too large; too much data.
    pub fn build(records: &[Record<'_>], batch: usize, watch: Watch<'_>) -> Result<Self, Fault> {
        Self::made(records, batch, None, watch)
    }

    /// The index of other records, keeping what is unchanged. Batches stay as they were.
    ///
    /// # Errors
    /// As for `build`.
    pub fn update(&self, records: &[Record<'_>], watch: Watch<'_>) -> Result<Self, Fault> {
        let batch = self
            .description
            .batch
            .as_ref()
            .map_or(0, |(keys, _)| *keys as usize);
        let fits = widest(records) <= self.description.payload as usize;
        let keeps = self.seeds.len() < MAX_GENERATIONS && fits;
        Self::made(records, batch, keeps.then_some(self), watch)
    }

    fn made(
        records: &[Record<'_>],
        batch: usize,
        before: Option<&Self>,
        watch: Watch<'_>,
    ) -> Result<Self, Fault> {
        let widest = checked_records(records, batch)?;
        let payload = before.map_or_else(
            || padded(widest),
            |before| before.description.payload as usize,
        );
        let directory_key = before.map_or_else(fresh, |before| before.directory_key.clone());
        let (mut seeds, mut evaluators) = (Vec::new(), Vec::new());
        if let Some(before) = before {
            seeds.clone_from(&before.seeds);
            for seed in &seeds {
                evaluators.push(Evaluator::from_seed(seed).ok_or(NO_KEY)?);
            }
        }
        let (evaluator, seed) = Evaluator::generate();
        seeds.push(seed);
        evaluators.push(evaluator);
        let parts = parts_of(payload);
        let slot = record::sealed_bytes(part_bytes(payload));
        let sealing = Sealing {
            before,
            known: before.map(Self::known).unwrap_or_default(),
            evaluators: &evaluators,
            directory_key: &directory_key,
            payload,
        };
        let mut sealed = vec![0u8; records.len() * parts * slot];
        let counted = Counted::new(watch, "seal records", records.len());
        let entries: Vec<Vec<Entry>> = sealed
            .par_chunks_mut(CHUNK * parts * slot)
            .zip(records.par_chunks(CHUNK))
            .map(|(out, records)| {
                let made = sealing.seal(records, out);
                counted.add(records.len());
                made
            })
            .collect::<Option<_>>()
            .ok_or(NO_KEY)?;
        drop(sealing);
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let mut locations = Vec::with_capacity(entries.len() * parts);
        for entry in &entries {
            locations.extend((0..parts).map(|part| part_location(&entry.location, part)));
        }
        let mut seed = [0u8; 32];
        OsRng.fill_bytes(&mut seed);
        let single = Layout::single(slot, &locations, &sealed, watch).ok_or(TOO_LARGE)?;
        let single = prepared(&seed, "single", single, watch);
        let batched = match batch {
            0 => None,
            keys => Some(Layout::batch(keys, slot, &locations, &sealed, watch).ok_or(TOO_LARGE)?),
        };
        drop(sealed);
        let batched = batched.map(|layout| prepared(&seed, "batch", layout, watch));
        let description = Description {
            seed,
            records: records.len() as u64,
            payload: payload as u32,
            publics: evaluators.iter().map(Evaluator::public).collect(),
            single: single.layout.clone(),
            batch: batched
                .as_ref()
                .map(|table| (batch as u32, table.layout.clone())),
        };
        Ok(Self {
            description,
            seeds,
            evaluators,
            directory_key,
            entries,
            single,
            batch: batched,
        })
    }

    fn known(&self) -> HashMap<[u8; 16], &Entry> {
        self.entries
            .iter()
            .map(|entry| (entry.key, entry))
            .collect()
    }

    /// Copy the sealed parts of a record out of the matrix.
    pub(super) fn sealed(&self, entry: &Entry, out: &mut [u8]) {
        let Table { layout, data, .. } = &self.single;
        for (part, out) in out.chunks_exact_mut(layout.slot as usize).enumerate() {
            out.copy_from_slice(&layout.read(data, &part_location(&entry.location, part)));
        }
    }

    /// What askers are told.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// The secrets of all generations, oldest first.
    #[must_use]
    pub fn evaluators(&self) -> &[Evaluator] {
        &self.evaluators
    }

    /// The matrix for single keys.
    #[must_use]
    pub const fn single(&self) -> &Table {
        &self.single
    }

    /// The matrix for many keys at once.
    #[must_use]
    pub const fn batch(&self) -> Option<&Table> {
        self.batch.as_ref()
    }

    /// How many records were sealed under the newest secret: all after `build`, the changed ones after `update`.
    #[must_use]
    pub fn fresh_records(&self) -> usize {
        let newest = self.seeds.len() - 1;
        self.entries
            .iter()
            .filter(|entry| usize::from(entry.generation) == newest)
            .count()
    }

    /// The parts that the index is kept as, in order: a secret head, then for each matrix data, digits and random part.
    #[must_use]
    pub fn to_parts(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut head = self.description.to_bytes();
        for seed in &self.seeds {
            head.extend_from_slice(&**seed);
        }
        head.extend_from_slice(&*self.directory_key);
        head.reserve_exact(self.entries.len() * ENTRY);
        for entry in &self.entries {
            head.extend_from_slice(&entry.key);
            head.extend_from_slice(&entry.payload);
            head.extend_from_slice(&entry.location);
            head.push(entry.generation);
        }
        let mut parts = vec![Zeroizing::new(head)];
        for table in std::iter::once(&self.single).chain(self.batch.as_ref()) {
            let digits = table
                .digits
                .iter()
                .flat_map(|digit| digit.to_le_bytes())
                .collect();
            parts.extend([table.data.clone(), digits, table.random.clone()].map(Zeroizing::new));
        }
        parts
    }

    /// The index from its parts. None if they are not those of one index, each of the right length.
    #[must_use]
    pub fn from_parts(parts: &[&[u8]]) -> Option<Self> {
        let (head, tables) = parts.split_first()?;
        let mut cursor = Cursor(head);
        let description = Description::read(&mut cursor)?;
        let seeds: Vec<Zeroizing<[u8; SECRET]>> = description
            .publics
            .iter()
            .map(|_| cursor.array().map(Zeroizing::new))
            .collect::<Option<_>>()?;
        let evaluators: Vec<Evaluator> = seeds
            .iter()
            .map(|seed| Evaluator::from_seed(seed))
            .collect::<Option<_>>()?;
        if evaluators
            .iter()
            .map(Evaluator::public)
            .ne(description.publics.iter().copied())
        {
            return None;
        }
        let directory_key = Zeroizing::new(cursor.array()?);
        if cursor.0.len() as u64 != description.records.checked_mul(ENTRY as u64)? {
            return None;
        }
        let mut entries = Vec::with_capacity(cursor.0.len() / ENTRY);
        while !cursor.0.is_empty() {
            entries.push(Entry {
                key: cursor.array()?,
                payload: cursor.array()?,
                location: cursor.array()?,
                generation: cursor.array::<1>()?[0],
            });
        }
        let mut tables = tables
            .chunks_exact(3)
            .map(|three| [three[0], three[1], three[2]]);
        let single = Table::from_parts(&description.single, tables.next()?)?;
        let batch = match &description.batch {
            None => None,
            Some((_, layout)) => Some(Table::from_parts(layout, tables.next()?)?),
        };
        let expected = if batch.is_some() { 7 } else { 4 };
        (parts.len() == expected).then_some(Self {
            description,
            seeds,
            evaluators,
            directory_key,
            entries,
            single,
            batch,
        })
    }
}

impl Table {
    fn from_parts(layout: &Layout, [data, digits, random]: [&[u8]; 3]) -> Option<Self> {
        let shape = layout.shape();
        if data.len() != shape.data_bytes()
            || digits.len() != 4 * shape.prepared()
            || random.len() != shape.random_bytes()
        {
            return None;
        }
        let digits: Vec<u32> = digits
            .chunks_exact(4)
            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        Some(Self {
            layout: layout.clone(),
            data: data.to_vec(),
            digits,
            random: random.to_vec(),
        })
    }
}

const NO_KEY: Fault = Fault::Input {
    what: "a lookup key that cannot be evaluated",
};
const TOO_LARGE: Fault = Fault::Input {
    what: "more data than one index holds",
};

fn widest(records: &[Record<'_>]) -> usize {
    records
        .iter()
        .map(|(_, payload)| payload.len())
        .max()
        .unwrap_or(0)
}

/// The width that payloads are padded to: an update with a slightly wider one keeps the index, and it tells less.
pub(super) fn padded(widest: usize) -> usize {
    widest
        .next_multiple_of((widest.next_power_of_two() / 8).max(16))
        .min(MAX_PAYLOAD)
}

pub(super) fn checked_records(records: &[Record<'_>], batch: usize) -> Result<usize, Fault> {
    let refuse = |what| Err(Fault::Input { what });
    let payload = widest(records);
    if payload > MAX_PAYLOAD {
        return refuse("a payload of more than 1 MiB");
    }
    if batch > MAX_BATCH {
        return refuse("a batch of more than 1024 keys");
    }
    let mut keys: Vec<&[u8]> = records.iter().map(|(key, _)| *key).collect();
    keys.par_sort_unstable();
    if keys.first().is_some_and(|key| key.is_empty()) {
        return refuse("an empty key");
    }
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return refuse("a key that stands twice");
    }
    Ok(payload)
}

fn fresh() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0u8; 32]);
    OsRng.fill_bytes(&mut *key);
    key
}

pub(super) fn hashed(key: &[u8; 32], bytes: &[u8]) -> [u8; 16] {
    let hash = blake3::keyed_hash(key, bytes);
    hash.as_bytes()[..16]
        .try_into()
        .expect("a hash has 32 bytes")
}

fn part_location(location: &[u8; 32], part: usize) -> [u8; 32] {
    let output = Output {
        location: *location,
        seal: [0; 32],
    };
    part_of(&output, part).location
}

/// The seed of one matrix's public randomness.
#[must_use]
pub fn matrix_seed(seed: &[u8; 32], name: &str) -> [u8; 32] {
    *blake3::keyed_hash(seed, name.as_bytes()).as_bytes()
}

fn prepared(
    seed: &[u8; 32],
    name: &str,
    (layout, data): (Layout, Vec<u8>),
    watch: Watch<'_>,
) -> Table {
    let made = matrix::prepare(layout.shape(), &matrix_seed(seed, name), &data, watch);
    Table {
        layout,
        data,
        digits: made.digits,
        random: made.random,
    }
}
