//! Records sealed for an index, many at a time: those that are new or changed, each under its own key.
//!
//! Trusts the provider's own records and its index of before; what it makes is the index's, and no less secret.

use super::description::part_bytes;
use super::index::{hashed, part_of, Entry, Index, Record};
use super::record::{self, Evaluator, Nonces, Output};
use std::collections::HashMap;

/// Records that are evaluated and sealed together.
pub(super) const CHUNK: usize = 2048;

/// What sealing needs to know, for all chunks of records.
pub(super) struct Sealing<'a> {
    pub(super) before: Option<&'a Index>,
    pub(super) known: HashMap<[u8; 16], &'a Entry>,
    pub(super) evaluators: &'a [Evaluator],
    pub(super) directory_key: &'a [u8; 32],
    pub(super) payload: usize,
}

impl Sealing<'_> {
    /// The entries of some records, and their sealed parts into `out`: kept where unchanged, else under the newest
    /// secret; where a record lies is always the oldest's to say.
    pub(super) fn seal(&self, records: &[Record<'_>], out: &mut [u8]) -> Option<Vec<Entry>> {
        let width = out.len() / records.len();
        let ids: Vec<([u8; 16], [u8; 16])> = records
            .iter()
            .map(|(key, text)| {
                (
                    hashed(self.directory_key, key),
                    hashed(self.directory_key, text),
                )
            })
            .collect();
        let old: Vec<Option<&Entry>> = ids
            .iter()
            .map(|(key, _)| self.known.get(key).copied())
            .collect();
        let kept = |at: usize| old[at].filter(|entry| entry.payload == ids[at].1);
        let anew: Vec<usize> = (0..records.len())
            .filter(|&at| kept(at).is_none())
            .collect();
        let keys = |of: &[usize]| of.iter().map(|&at| records[at].0).collect::<Vec<_>>();
        let mut seals = self
            .evaluators
            .last()?
            .evaluate_all(&keys(&anew))?
            .into_iter();
        let unplaced: Vec<usize> = anew
            .iter()
            .copied()
            .filter(|&at| old[at].is_none())
            .collect();
        let mut places = Vec::new().into_iter();
        if self.evaluators.len() > 1 {
            places = self.evaluators[0]
                .evaluate_all(&keys(&unplaced))?
                .into_iter();
        }
        let mut nonces = Nonces::new(anew.len());
        let mut entries = Vec::with_capacity(records.len());
        for (at, out) in out.chunks_exact_mut(width).enumerate() {
            if let (Some(before), Some(entry)) = (self.before, kept(at)) {
                before.sealed(entry, out);
                entries.push(entry.clone());
                continue;
            }
            let newest = seals.next()?;
            let location = match old[at] {
                Some(entry) => entry.location,
                None if self.evaluators.len() == 1 => newest.location,
                None => places.next()?.location,
            };
            seal_parts(&newest, records[at].1, self.payload, &mut nonces, out);
            entries.push(Entry {
                key: ids[at].0,
                payload: ids[at].1,
                location,
                generation: (self.evaluators.len() - 1) as u8,
            });
        }
        Some(entries)
    }
}

/// Cut a payload in the parts of payloads of up to `widest` bytes, and seal each.
fn seal_parts(output: &Output, payload: &[u8], widest: usize, nonces: &mut Nonces, out: &mut [u8]) {
    let width = part_bytes(widest);
    for (number, out) in out
        .chunks_exact_mut(record::sealed_bytes(width))
        .enumerate()
    {
        let cut = |at: usize| payload.len().min(at * width);
        record::seal(
            &part_of(output, number).seal,
            nonces.next_nonce(),
            &payload[cut(number)..cut(number + 1)],
            out,
        );
    }
}
