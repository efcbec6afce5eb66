//! The head of a provider's index: its secrets, and of each record what an update or a new matrix needs to know.
//!
//! A head is all that an update reads: where a record lies and what seals it are in its entry, so the matrices of
//! before need not be there. It is the provider's secret, as is all that is made of it but the description.

use super::description::{Cursor, Description, MAX_GENERATIONS};
use super::record::{Evaluator, SECRET};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of one entry.
const ENTRY: usize = 16 + 16 + 32 + 32 + 1;

/// What is kept of a record.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Entry {
    /// The keyed hash of its lookup key.
    pub(super) key: [u8; 16],
    /// The keyed hash of its payload.
    pub(super) payload: [u8; 16],
    /// Where it lies: what the oldest secret says of its key.
    pub(super) location: [u8; 32],
    /// What opens it: what the secret of its generation says of its key.
    pub(super) seal: [u8; 32],
    pub(super) generation: u8,
}

impl Entry {
    /// Room for one.
    pub(super) const BLANK: Self = Self {
        key: [0; 16],
        payload: [0; 16],
        location: [0; 32],
        seal: [0; 32],
        generation: 0,
    };

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            key: cursor.array()?,
            payload: cursor.array()?,
            location: cursor.array()?,
            seal: cursor.array()?,
            generation: cursor.array::<1>()?[0],
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(&self.location);
        out.extend_from_slice(&self.seal);
        out.push(self.generation);
    }
}

/// The secrets of all generations, the key of the entries' hashes, and the entries in the order of their keys.
pub struct Head {
    pub(super) description: Description,
    pub(super) seeds: Vec<Zeroizing<[u8; SECRET]>>,
    pub(super) evaluators: Vec<Evaluator>,
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) entries: Vec<Entry>,
}

impl Head {
    /// What askers are told.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// The entry of a record by the keyed hash of its key.
    pub(super) fn find(&self, key: &[u8; 16]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.key.cmp(key))
            .ok()?;
        Some(&self.entries[at])
    }

    /// Whether an update can keep what is unchanged, if no payload is wider than this.
    pub(super) fn keeps(&self, widest: usize) -> bool {
        self.seeds.len() < MAX_GENERATIONS && widest <= self.description.payload as usize
    }

    /// The bytes that it is kept as.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let told = self.description.to_bytes();
        let secrets = SECRET * self.seeds.len() + self.key.len();
        let mut out = Vec::with_capacity(told.len() + secrets + ENTRY * self.entries.len());
        out.extend_from_slice(&told);
        for seed in &self.seeds {
            out.extend_from_slice(&**seed);
        }
        out.extend_from_slice(&*self.key);
        for entry in &self.entries {
            entry.write(&mut out);
        }
        Zeroizing::new(out)
    }

    /// From bytes, strictly: secrets that belong to the description, as many entries as it says, in their order.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
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
        let publics = evaluators.iter().map(Evaluator::public);
        if publics.ne(description.publics.iter().copied()) {
            return None;
        }
        let key = Zeroizing::new(cursor.array()?);
        if cursor.0.len() as u64 != description.records.checked_mul(ENTRY as u64)? {
            return None;
        }
        let mut entries = Vec::with_capacity(cursor.0.len() / ENTRY);
        while !cursor.0.is_empty() {
            entries.push(Entry::read(&mut cursor)?);
        }
        let generations = seeds.len();
        let sound = entries.is_sorted_by(|one, next| one.key < next.key)
            && entries
                .iter()
                .all(|entry| usize::from(entry.generation) < generations);
        sound.then_some(Self {
            description,
            seeds,
            evaluators,
            key,
            entries,
        })
    }
}
