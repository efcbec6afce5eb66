//! What an asker lets two servers' description cost it; by the rules of `pir::bound`, which say why.
//!
//! Both servers must say the same, but two that collude can, and memory is what they would take: privacy and right
//! answers need one honest server, this needs none. There is one table, of all records, so its length follows from
//! their number alone.

use super::index::{Description, MAX_RECORDS};
use super::lookup::{tops_bytes, Rounds};
use crate::pir::bound::{evaluations, results, rows_at_most, rows_for, Bounds, MESSAGES};
use crate::pir::matrix::ONES;
use crate::protocol::Fault;

/// Times that a round's answers lie in memory besides as messages: the sums of both servers', and what is opened of them.
const SUMS: u64 = 2;

/// Look at a description for a lookup of `keys` keys.
///
/// # Errors
/// `Fault::Excessive`: it names more records, a longer table or more work than is allowed.
pub fn check(bounds: &Bounds, description: &Description, keys: usize) -> Result<(), Fault> {
    let rows = u64::from(description.form.rows);
    let records = bounds.counted(description.records, description.parts(), rows)?;
    let load = (records as usize).min(MAX_RECORDS);
    rows_at_most(description.form, rows_for(load))?;
    bounds.affords(reckoned(description, keys))
}

/// The most bytes that a lookup of `keys` keys takes its asker at once, messages and result in the language that drives
/// it included; an upper bound, for not all of it lives at the same time.
#[must_use]
pub fn reckoned(description: &Description, keys: usize) -> u64 {
    let rounds = Rounds::of(description, keys);
    // The tops are kept beside the message that they came in.
    let tops = (MESSAGES + 1) * tops_bytes(description) as u64;
    // Each server's queries lie beside the keys that they are made of, and the rows that they ask for.
    let queries = 2 * (MESSAGES + 1) * rounds.query_bytes(0) as u64;
    let places = (rounds.range(0).len() * ONES * size_of::<u32>()) as u64;
    let answers = (2 * MESSAGES + SUMS) * rounds.answer_bytes(0) as u64;
    // Both servers' evaluations, then what both come to.
    tops + queries
        + places
        + answers
        + results(rounds.records, description.payload)
        + evaluations(3 * keys)
}
