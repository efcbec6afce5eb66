//! What an asker lets a provider's description cost it: looked at before any memory is taken for it.
//!
//! A provider names the sizes of its index, and the asker makes public randomness, queries and room for answers by
//! them. A lie learns nothing of the keys, but the memory would be the asker's. So three things are looked at, of which
//! an honest provider meets none:
//!
//! 1. There are no more records than the asker knows of from elsewhere (the ledger's row count), if it does, and no more
//!    than the matrix for single keys can hold.
//! 2. No table is longer than so many records make it. Records fall into tables and groups by a hash, so a table's load
//!    is binomial; by Bernstein's inequality it is above mean + 10 sqrt(mean) + 40 with probability below e^-50, 2^-60 for
//!    all tables of an index. The filter's form grows with its load (`fuse`), by the rule that built it.
//! 3. What the lookup takes at most, which follows from the description and the number of keys, is within a budget.
//!
//! Nothing here depends on a key, so a refusal tells the provider nothing. The lookup at two servers is held to the same
//! by `two::bound`.

use super::description::{part_bytes, Description};
use super::fuse::Form;
use super::layout::{Layout, COPIES};
use super::lookup::{layouts, Rounds};
use super::matrix::{Shape, MAX_ROWS};
use super::record::{Output, ELEMENT, PROOF};
use super::ring::DEGREE;
use crate::protocol::Fault;

/// The memory that a lookup may take its asker unless it says otherwise, in bytes: 1 GiB.
///
/// The largest index of a few hundred bytes a record (14 million) takes some 0.85 GB with a batch; 100 keys whose records
/// have 1 MiB each take 0.84 GB for the records themselves.
pub const MEMORY: u64 = 1 << 30;
/// Times that a fetched record lies in memory at most. Three while it is handed over: as parts, put together, and as
/// bytes of the language that asked. Then, while that makes a table of it: the parts and those bytes still, four times
/// as a text of that language (four bytes a character where one character is outside the basic plane), and twice as a
/// column, which grows by doubling. Numbers take more as values, some 40 bytes each, however few digits they have: that
/// is a matter of how many columns are asked for, not of what a provider says.
const RESULTS: u64 = 8;
/// Times that a message lies in memory: here, and in the language that carries it.
pub(super) const MESSAGES: u64 = 2;

/// What an asker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most records that the dataset has, if that is known from elsewhere than the provider's description.
    pub records: Option<u64>,
    /// The most bytes that the lookup may take.
    pub memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            records: None,
            memory: MEMORY,
        }
    }
}

impl Bounds {
    /// Look at a description for a lookup of `keys` keys.
    ///
    /// # Errors
    /// `Fault::Excessive`: it names more records, longer tables or more work than is allowed.
    pub fn check(&self, description: &Description, keys: usize) -> Result<(), Fault> {
        let single = &description.single;
        let places = u64::from(single.groups) * u64::from(single.form.rows);
        let records = self.counted(description.records, description.parts(), places)?;
        for layout in std::iter::once(single).chain(description.batch.as_ref().map(|(_, one)| one))
        {
            rows_at_most(layout.form, most_rows(layout, records))?;
        }
        self.affords(reckoned(description, keys))
    }

    /// The records of a description, parts counted each: no more than are known of, or than `places` hold.
    pub(super) fn counted(&self, records: u64, parts: usize, places: u64) -> Result<u64, Fault> {
        if let Some(most) = self.records {
            at_most("records", records, most)?;
        }
        let parts = parts as u64;
        at_most("records in its tables", records, places / parts)?;
        Ok(records * parts)
    }

    /// Look at what a lookup takes.
    pub(super) fn affords(&self, bytes: u64) -> Result<(), Fault> {
        at_most("bytes of memory", bytes, self.memory)
    }
}

fn at_most(what: &'static str, claimed: u64, most: u64) -> Result<(), Fault> {
    if claimed > most {
        return Err(Fault::Excessive {
            what,
            claimed,
            most,
        });
    }
    Ok(())
}

/// Look at how long a table is.
pub(super) fn rows_at_most(form: Form, most: u64) -> Result<(), Fault> {
    at_most("rows in a table", u64::from(form.rows), most)
}

/// The rows of a table of this load, by the rule that makes it.
pub(super) fn rows_for(load: usize) -> u64 {
    // One more than the load, so that a logarithm that another machine rounds otherwise makes no difference.
    u64::from(Form::for_records(load + 1).rows)
}

/// The most rows that an honest table of this layout has for so many records, parts counted each.
fn most_rows(layout: &Layout, records: u64) -> u64 {
    // One table of several groups that each record has one of, or several tables that it has three of.
    let share = if layout.tables == 1 {
        1.0 / f64::from(layout.groups)
    } else {
        COPIES as f64 / f64::from(layout.tables)
    };
    let mean = records as f64 * share;
    let load = (records as f64).min(mean + 10.0 * mean.sqrt() + 40.0);
    rows_for((load.ceil() as usize).min(MAX_ROWS))
}

/// The most bytes that a lookup of `keys` keys takes its asker at once, messages and result in the language that drives
/// it included; an upper bound, for not all of it lives at the same time.
#[must_use]
pub fn reckoned(description: &Description, keys: usize) -> u64 {
    let rounds = Rounds::of(description, keys);
    let (batch, single) = layouts(description, rounds);
    let matrices = batch.map_or(0, |layout| matrix(layout.shape(), 1))
        + matrix(single.shape(), rounds.singles(0) as u64);
    matrices
        + results(rounds.records, description.payload)
        + evaluations(keys * description.publics.len())
}

/// What so many fetched records, parts counted each, of payloads of so many bytes take.
pub(super) fn results(records: usize, payload: u32) -> u64 {
    let slot = part_bytes(payload as usize) + size_of::<Option<Vec<u8>>>();
    RESULTS * (records * slot) as u64
}

/// What so many evaluations of keys take.
pub(super) fn evaluations(count: usize) -> u64 {
    count as u64 * (MESSAGES * (ELEMENT + PROOF) as u64 + size_of::<Output>() as u64)
}

/// What a matrix takes that is asked so many times at once.
fn matrix(shape: Shape, queries: u64) -> u64 {
    let public = 4 * shape.rows() * shape.tables;
    // Evaluations modulo two primes of each pack's random part.
    let random = 2 * 4 * DEGREE * shape.packs();
    let asked = MESSAGES * (shape.query_bytes() + shape.answer_bytes()) as u64;
    // Sums are gathered from many threads, then put together.
    let sums = 2 * shape.columns() as u64;
    (public + random) as u64 + MESSAGES * shape.random_bytes() as u64 + queries * (asked + sums)
}

#[cfg(test)]
mod tests {
    use super::super::layout::tables_of;
    use super::*;
    use proptest::prelude::*;

    /// A layout of this form for records at pseudorandom locations, its tables as long as the fullest needs.
    fn honest(tables: u32, groups: u32, records: u64, seed: u64) -> Layout {
        let mut loads = vec![0usize; (tables * groups) as usize];
        let mut layout = Layout {
            tables,
            groups,
            slot: 32,
            form: Form::for_records(2),
            salts: vec![0; loads.len()],
        };
        for record in 0..records {
            let location =
                *blake3::hash(&[seed.to_le_bytes(), record.to_le_bytes()].concat()).as_bytes();
            if tables == 1 {
                loads[layout.group(&location) as usize] += 1;
            } else {
                for table in tables_of(&location, tables) {
                    loads[table as usize] += 1;
                }
            }
        }
        layout.form = Form::for_records(loads.into_iter().max().unwrap_or(0));
        layout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_honest_table_is_longer_than_its_records_make_it(records in 0u64..40_000, groups in 1u32..=64, keys in 64u32..=1024, seed in any::<u64>()) {
            for layout in [honest(1, groups, records, seed), honest(keys * 3 / 2, 1, records, seed)] {
                let most = most_rows(&layout, records);
                prop_assert!(u64::from(layout.form.rows) <= most, "{} of {most}", layout.form.rows);
            }
        }

        #[test]
        fn more_records_never_allow_shorter_tables(records in 0u64..20_000_000, more in 0u64..1_000_000, groups in 1u32..=64) {
            let layout = Layout { tables: 1, groups, slot: 32, form: Form::for_records(2), salts: Vec::new() };
            prop_assert!(most_rows(&layout, records) <= most_rows(&layout, records + more));
        }
    }

    #[test]
    fn three_tables_and_few_records_are_allowed_what_they_need_and_not_much_more() {
        let layout = honest(3, 1, 1_000, 1);
        assert_eq!(most_rows(&layout, 1_000), u64::from(layout.form.rows));
        let layout = honest(384, 1, 100_000, 1);
        assert!(most_rows(&layout, 100_000) <= 2 * u64::from(layout.form.rows));
    }
}
