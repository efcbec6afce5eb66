//! A provider's prepared index of one dataset: records sealed, laid out, and prepared for queries; updated, kept, read.
//!
//! The index as a whole is the provider's secret: it holds the secrets of its pseudorandom functions, and keyed
//! hashes of lookup keys and payloads from which an update knows what is unchanged. What an asker gets of it is the
//! [`Description`]: how many records there are, how wide a payload may be, and public randomness.
//!
//! An update keeps what it can: only records that are new or changed are evaluated, and sealed under new keys. They are
//! so under a secret of their own (a *generation*), so that who asked for a key before cannot open what became of it since
//! without asking again. After [`MAX_GENERATIONS`] an update begins anew.

use super::description::{part_bytes, parts_of, Description, MAX_PAYLOAD};
use super::directory::{Entry, Head};
use super::layout::{Layout, MAX_BATCH, MIN_BATCH};
use super::matrix;
use super::progress::{Counted, Watch};
use super::record::{self, Evaluator, Output};
use super::sealing::{Entered, Sealing, CHUNK};
use crate::protocol::Fault;
use chacha20poly1305::aead::rand_core::{OsRng, RngCore};
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// One record, as the provider brings it: lookup key and payload.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Bytes that lie wherever they were made or read, and are copied nowhere.
pub type Shared = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A matrix with its layout and all that is prepared of it.
pub struct Table {
    /// Where records lie.
    pub layout: Layout,
    data: Shared,
    /// The prepared digits of its packs.
    pub digits: Vec<u32>,
    /// The random part of its answers, for askers.
    pub random: Vec<u8>,
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
    head: Head,
    single: Table,
    batch: Option<Table>,
}

impl Index {
    /// Build the index of records whose keys all differ, for batches of `batch` keys (0: for single keys alone).
    ///
    /// # Errors
    /// `Fault::Input`: a key stands twice, is empty or too long; a payload too wide; a batch too small or too large;
    /// too much data.
    pub fn build(records: &[Record<'_>], batch: usize, watch: Watch<'_>) -> Result<Self, Fault> {
        Self::made(records, batch, None, watch)
    }

    /// The index of other records, keeping what is unchanged. Batches stay as they were.
    ///
    /// # Errors
    /// As for `build`.
    pub fn update(&self, records: &[Record<'_>], watch: Watch<'_>) -> Result<Self, Fault> {
        Self::renewed(&self.head, records, watch)
    }

    /// The same from no more than the head of the index before.
    ///
    /// # Errors
    /// As for `build`.
    pub fn renewed(before: &Head, records: &[Record<'_>], watch: Watch<'_>) -> Result<Self, Fault> {
        let batch = before.description.batch.as_ref();
        let batch = batch.map_or(0, |(keys, _)| *keys as usize);
        Self::made(records, batch, Some(before), watch)
    }

    fn made(
        records: &[Record<'_>],
        batch: usize,
        before: Option<&Head>,
        watch: Watch<'_>,
    ) -> Result<Self, Fault> {
        let widest = checked_records(records, batch)?;
        let before = before.filter(|before| before.keeps(widest));
        let payload = before.map_or_else(
            || padded(widest),
            |before| before.description.payload as usize,
        );
        let key = before.map_or_else(fresh, |before| before.key.clone());
        let mut seeds = before.map_or_else(Vec::new, |before| before.seeds.clone());
        let mut evaluators = Vec::new();
        for seed in &seeds {
            evaluators.push(Evaluator::from_seed(seed).ok_or(NO_KEY)?);
        }
        let (evaluator, seed) = Evaluator::generate();
        seeds.push(seed);
        evaluators.push(evaluator);
        let sealing = Sealing {
            before,
            evaluators: &evaluators,
            key: &key,
        };
        let counted = Counted::new(watch, "seal records", records.len());
        let mut entries = vec![Entry::BLANK; records.len()];
        entries
            .par_chunks_mut(CHUNK)
            .zip(records.par_chunks(CHUNK))
            .try_for_each(|(out, records)| {
                sealing.enter(records, out)?;
                counted.add(records.len());
                Some(())
            })
            .ok_or(NO_KEY)?;
        let entered = Entered {
            records,
            entries: &entries,
            payload,
            parts: parts_of(payload),
        };
        let slot = record::sealed_bytes(part_bytes(payload));
        let seed = *fresh();
        let single = Layout::single(slot, &entered, watch).ok_or(TOO_LARGE)?;
        let single = prepared(&seed, "single", single, watch);
        let batched = match batch {
            0 => None,
            keys => {
                let laid = Layout::batch(keys, slot, &entered, watch).ok_or(TOO_LARGE)?;
                Some(prepared(&seed, "batch", laid, watch))
            }
        };
        entries.par_sort_unstable_by(|one, other| one.key.cmp(&other.key));
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
            head: Head {
                description,
                seeds,
                evaluators,
                key,
                entries,
            },
            single,
            batch: batched,
        })
    }

    /// What askers are told.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.head.description
    }

    /// The secrets of all generations, oldest first.
    #[must_use]
    pub fn evaluators(&self) -> &[Evaluator] {
        &self.head.evaluators
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
        let newest = self.head.seeds.len() - 1;
        self.head
            .entries
            .iter()
            .filter(|entry| usize::from(entry.generation) == newest)
            .count()
    }

    /// The parts that the index is kept as, in order: a secret head, then for each matrix data, digits and random part.
    #[must_use]
    pub fn to_parts(&self) -> Vec<Shared> {
        let mut parts: Vec<Shared> = vec![Arc::new(self.head.to_bytes())];
        for table in std::iter::once(&self.single).chain(self.batch.as_ref()) {
            let mut digits = Vec::with_capacity(4 * table.digits.len());
            for digit in &table.digits {
                digits.extend_from_slice(&digit.to_le_bytes());
            }
            parts.push(Arc::clone(&table.data));
            parts.push(Arc::new(digits));
            parts.push(Arc::new(table.random.clone()));
        }
        parts
    }

    /// The index from its parts, which it keeps. None if they are not those of one index, each of the right length.
    #[must_use]
    pub fn from_parts(parts: &[Shared]) -> Option<Self> {
        let (head, tables) = parts.split_first()?;
        let head = Head::from_bytes((**head).as_ref())?;
        let mut tables = tables.chunks_exact(3);
        let single = Table::from_parts(&head.description.single, tables.next()?)?;
        let batch = match &head.description.batch {
            None => None,
            Some((_, layout)) => Some(Table::from_parts(layout, tables.next()?)?),
        };
        let expected = if batch.is_some() { 7 } else { 4 };
        (parts.len() == expected).then_some(Self {
            head,
            single,
            batch,
        })
    }
}

impl Table {
    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        (*self.data).as_ref()
    }

    fn from_parts(layout: &Layout, parts: &[Shared]) -> Option<Self> {
        let shape = layout.shape();
        let [data, digits, random] = parts else {
            return None;
        };
        let (digits, random) = ((**digits).as_ref(), (**random).as_ref());
        if (**data).as_ref().len() != shape.data_bytes()
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
            data: Arc::clone(data),
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
    if batch > 0 && batch < MIN_BATCH {
        return refuse("a batch of fewer than 64 keys");
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
        data: Arc::new(data),
        digits: made.digits,
        random: made.random,
    }
}
