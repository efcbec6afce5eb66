//! What an asker is told of an index before it asks: how large it is, how it is laid out, and public keys.
//!
//! An asker trusts nothing of it: it is read strictly, every number is bounded, and a layout that could not be asked
//! is no layout.

use super::fuse::Form;
use super::layout::{Layout, MAX_BATCH, MIN_BATCH};
use super::record::{self, ELEMENT};

/// Generations of an index at most; an asker evaluates each of its keys under all of them.
pub const MAX_GENERATIONS: usize = 8;
/// Payloads wider than this are cut in parts, each a record of its own under the same key.
pub const PART: usize = 8 * 1024;
/// The widest payload.
pub const MAX_PAYLOAD: usize = 1 << 20;
const MAGIC: &[u8; 16] = b"fondaco/pir/1\0\0\0";
/// What an asker is told of an index before it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Seed of the public randomness, new with every version of the index.
    pub seed: [u8; 32],
    /// Records.
    pub records: u64,
    /// What payloads are padded to, in bytes.
    pub payload: u32,
    /// The public keys of the generations.
    pub publics: Vec<[u8; ELEMENT]>,
    /// The layout for single keys.
    pub single: Layout,
    /// How many keys one batch query is for, and the layout for it.
    pub batch: Option<(u32, Layout)>,
}

impl Description {
    /// Parts of a payload.
    #[must_use]
    pub const fn parts(&self) -> usize {
        parts_of(self.payload as usize)
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.seed);
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.payload.to_le_bytes());
        out.push(self.publics.len() as u8);
        out.extend(self.publics.iter().flatten());
        put_layout(&mut out, &self.single);
        let keys = self.batch.as_ref().map_or(0, |(keys, _)| *keys);
        out.extend_from_slice(&keys.to_le_bytes());
        if let Some((_, layout)) = &self.batch {
            put_layout(&mut out, layout);
        }
        out
    }

    /// From bytes, strictly: nothing left over, every layout one that can be asked.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let made = Self::read(&mut cursor)?;
        cursor.0.is_empty().then_some(made)
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let seed = cursor.array()?;
        let records = u64::from_le_bytes(cursor.array()?);
        let payload = cursor.word()?;
        let generations = cursor.array::<1>()?[0] as usize;
        if payload as usize > MAX_PAYLOAD || generations == 0 || generations > MAX_GENERATIONS {
            return None;
        }
        let publics = (0..generations)
            .map(|_| cursor.array())
            .collect::<Option<_>>()?;
        let single = cursor.layout()?;
        let keys = cursor.word()?;
        let batch = if keys == 0 {
            None
        } else {
            Some((keys, cursor.layout()?))
        };
        let slot = record::sealed_bytes(part_bytes(payload as usize));
        let fits = |layout: &Layout| layout.slot as usize == slot;
        let batched = batch.as_ref().is_none_or(|(keys, layout)| {
            *keys as usize >= MIN_BATCH
                && *keys as usize <= MAX_BATCH
                && layout.tables as usize == batch_tables(*keys as usize)
                && fits(layout)
        });
        (single.tables == 1 && fits(&single) && batched).then_some(Self {
            seed,
            records,
            payload,
            publics,
            single,
            batch,
        })
    }
}

/// Tables of a batch matrix for so many keys.
const fn batch_tables(keys: usize) -> usize {
    let tables = (keys * 3).div_ceil(2);
    if tables < 3 {
        3
    } else {
        tables
    }
}

pub(super) const fn parts_of(payload: usize) -> usize {
    let parts = payload.div_ceil(PART);
    if parts == 0 {
        1
    } else {
        parts
    }
}

/// Bytes of one part of payloads of up to `payload` bytes.
#[must_use]
pub const fn part_bytes(payload: usize) -> usize {
    payload.div_ceil(parts_of(payload))
}

fn put_layout(out: &mut Vec<u8>, layout: &Layout) {
    for word in [layout.tables, layout.groups, layout.slot, layout.form.rows] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(layout.form.segment_bits);
    out.extend_from_slice(&layout.salts);
}

/// Bytes that are read from the front.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn layout(&mut self) -> Option<Layout> {
        let (tables, groups, slot, rows) = (self.word()?, self.word()?, self.word()?, self.word()?);
        let segment_bits = self.array::<1>()?[0];
        let salts = self
            .take((u64::from(tables) * u64::from(groups)).try_into().ok()?)?
            .to_vec();
        let form = Form { rows, segment_bits };
        let layout = Layout {
            tables,
            groups,
            slot,
            form,
            salts,
        };
        layout.is_sound().then_some(layout)
    }
}
