//! Composite keys to identifiers: each row of key columns becomes 16 bytes under a session key, each key once.
//!
//! A row is written part by part: a type letter, the part's length in decimal, a colon, its bytes; whole numbers in
//! decimal. No two rows run together, so equal identifiers mean equal keys but for collisions (see
//! [`crate::hashing::ID_BYTES`]). The identifier is keyed BLAKE3, cut. Trusts nothing of its input; leaks lengths and
//! the number of repeated keys by its running time, to this process alone.

use rayon::prelude::*;

use crate::block::Block;
use crate::hashing::{Items, Refused, ID_BYTES};
use crate::simd::gather::prefetch;
use crate::simd::texts::{Texts, LANES, TEXT_BYTES};

/// One key column, without nulls.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Whole numbers: eight little-endian bytes each.
    Numbers(&'a [[u8; 8]]),
    /// Bytes, such as normalised text.
    Bytes(Items<'a>),
}

/// A column with the letter of its type.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    /// What keeps a number apart from a text of the same digits.
    pub letter: u8,
    /// Its values.
    pub values: Values<'a>,
}

impl Column<'_> {
    fn len(&self) -> usize {
        match &self.values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Bytes(items) => items.len(),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(self.letter);
        match &self.values {
            Values::Bytes(items) => {
                let part = items.item(row);
                decimal(part.len() as u64, out);
                out.push(b':');
                out.extend_from_slice(part);
            }
            Values::Numbers(numbers) => {
                let number = i64::from_le_bytes(numbers[row]);
                let (digits, from) = digits(number.unsigned_abs());
                let sign = usize::from(number < 0);
                decimal((digits.len() - from + sign) as u64, out);
                out.extend_from_slice(&b":-"[..=sign]);
                out.extend_from_slice(&digits[from..]);
            }
        }
    }
}

/// A number in decimal.
fn decimal(number: u64, out: &mut Vec<u8>) {
    let (digits, from) = digits(number);
    out.extend_from_slice(&digits[from..]);
}

/// Decimal digits with zeros before them, and where the first of the number's own stands.
fn digits(number: u64) -> ([u8; 24], usize) {
    const GROUP: u64 = 100_000_000;
    let mut out = [0u8; 24];
    let groups = [
        number / GROUP / GROUP,
        number / GROUP % GROUP,
        number % GROUP,
    ];
    for (slot, group) in out.as_chunks_mut::<8>().0.iter_mut().zip(groups) {
        *slot = eight_digits(group);
    }
    let count = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    (out, 24 - count)
}

/// The eight digits of a number below 10^8, all at once: halves of four digits, then of two, then of one side by side in
/// one word, each divided by a multiplication whose result is exact for so few digits.
fn eight_digits(number: u64) -> [u8; 8] {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - 10 * tens) << 8);
    (ones | 0x3030_3030_3030_3030).to_le_bytes()
}

/// Identifiers of the different rows, and where each first stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// One for each different row, in the order of first appearance.
    pub ids: Vec<Block>,
    /// The row of its first appearance.
    pub places: Vec<u32>,
}

const BATCH: usize = 1 << 12;

/// The identifiers of all rows, in order.
///
/// # Errors
/// `Refused::Columns` for columns of different lengths, none, or more than 2^32 rows.
pub fn identifiers(key: &[u8; 32], columns: &[Column<'_>]) -> Result<Vec<Block>, Refused> {
    let rows = columns.first().map_or(0, Column::len);
    if columns.is_empty()
        || columns.iter().any(|column| column.len() != rows)
        || u32::try_from(rows).is_err()
    {
        return Err(Refused::Columns);
    }
    let mut ids = vec![Block::ZERO; rows];
    ids.par_chunks_mut(BATCH)
        .enumerate()
        .for_each(|(batch, slots)| {
            let mut row = Vec::with_capacity(TEXT_BYTES);
            let mut texts = Texts::default();
            let mut waiting = [0; LANES];
            for index in 0..slots.len() {
                row.clear();
                for column in columns {
                    column.write(batch * BATCH + index, &mut row);
                }
                if row.len() > TEXT_BYTES {
                    let mut id = [0u8; ID_BYTES];
                    id.copy_from_slice(&blake3::keyed_hash(key, &row).as_bytes()[..ID_BYTES]);
                    slots[index] = Block::from_bytes(id);
                    continue;
                }
                waiting[texts.len()] = index;
                texts.push(&row);
                if texts.len() == LANES {
                    for (slot, id) in waiting.iter().zip(texts.hash(key)) {
                        slots[*slot] = id;
                    }
                }
            }
            let last = texts.len();
            for (slot, id) in waiting.iter().zip(texts.hash(key)).take(last) {
                slots[*slot] = id;
            }
        });
    Ok(ids)
}

/// Bytes of a record: an identifier and its row, little-endian.
pub const RECORD_BYTES: usize = ID_BYTES + 4;
/// First bytes that identifiers have.
pub const PREFIXES: usize = 256;

/// The identifiers of all rows as records, by the first byte of the identifier and within it in the order of the rows;
/// and how many have each first byte. Rows are counted from `first` on.
///
/// # Errors
/// `Refused::Columns` as [`identifiers`], or for rows past 2^32.
pub fn records(
    key: &[u8; 32],
    columns: &[Column<'_>],
    first: u32,
) -> Result<(Vec<u8>, [u32; PREFIXES]), Refused> {
    let ids = identifiers(key, columns)?;
    let rows = u32::try_from(ids.len()).map_err(|_| Refused::Columns)?;
    let end = first.checked_add(rows).ok_or(Refused::Columns)?;
    let mut counts = [0u32; PREFIXES];
    for id in &ids {
        counts[prefix(*id)] += 1;
    }
    let (mut next, mut at) = ([0usize; PREFIXES], 0);
    for (slot, count) in next.iter_mut().zip(counts) {
        *slot = at;
        at += RECORD_BYTES * count as usize;
    }
    let mut out = vec![0u8; RECORD_BYTES * ids.len()];
    for (row, id) in (first..end).zip(&ids) {
        let slot = &mut next[prefix(*id)];
        let record = &mut out[*slot..*slot + RECORD_BYTES];
        record[..ID_BYTES].copy_from_slice(&id.to_bytes());
        record[ID_BYTES..].copy_from_slice(&row.to_le_bytes());
        *slot += RECORD_BYTES;
    }
    Ok((out, counts))
}

fn prefix(id: Block) -> usize {
    usize::from(id.to_bytes()[0])
}

/// The records whose identifier stands for the first time, in order; None where all do.
///
/// # Errors
/// `Refused::Columns` for bytes that are no records.
pub fn distinct_records(records: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    let (records, []) = records.as_chunks::<RECORD_BYTES>() else {
        return Err(Refused::Columns);
    };
    let ids: Vec<Block> = records
        .iter()
        .map(|record| {
            let mut id = [0u8; ID_BYTES];
            id.copy_from_slice(&record[..ID_BYTES]);
            Block::from_bytes(id)
        })
        .collect();
    let places = distinct(ids).places;
    if places.len() == records.len() {
        return Ok(None);
    }
    let kept = places.iter().flat_map(|place| records[*place as usize]);
    Ok(Some(kept.collect()))
}

/// Each identifier once, with the place where it first stands.
#[must_use]
pub fn distinct(mut ids: Vec<Block>) -> Identified {
    let mut table = Table::new(ids.len());
    let mut places = Vec::with_capacity(ids.len());
    #[allow(clippy::cast_possible_truncation)] // fewer rows than 2^32
    for place in 0..ids.len() {
        table.expect(&ids, place);
        let id = ids[place];
        // The different ones so far stand first, by their numbers.
        let count = places.len() as u32;
        if table.number(id, count, |number| ids[number as usize]) == count {
            ids[places.len()] = id;
            places.push(place as u32);
        }
    }
    ids.truncate(places.len());
    Identified { ids, places }
}

/// For each identifier its number among the different ones, in the order of [`distinct`].
#[must_use]
pub fn numbered(ids: &[Block]) -> Vec<u32> {
    let mut table = Table::new(ids.len());
    let (mut out, mut firsts) = (Vec::with_capacity(ids.len()), Vec::new());
    for (place, id) in ids.iter().enumerate() {
        table.expect(ids, place);
        #[allow(clippy::cast_possible_truncation)] // fewer rows than 2^32
        let count = firsts.len() as u32;
        let number = table.number(*id, count, |number| ids[firsts[number as usize]]);
        if number == count {
            firsts.push(place);
        }
        out.push(number);
    }
    out
}

/// Numbers of identifiers, by open addressing: the identifiers themselves are as good as random under a key that is
/// drawn for the run. Some bits choose the slot, and not the first, which identifiers of one part share.
struct Table {
    /// 32 other bits of the identifier, and its number.
    slots: Vec<(u32, u32)>,
    mask: usize,
}

impl Table {
    const FREE: u32 = u32::MAX;
    /// How many identifiers ahead a slot is asked for.
    const AHEAD: usize = 16;

    fn new(count: usize) -> Self {
        let mask = (2 * count).next_power_of_two() - 1;
        let slots = vec![(0, Self::FREE); mask + 1];
        Self { slots, mask }
    }

    #[allow(clippy::cast_possible_truncation)] // some bits
    fn slot(&self, id: Block) -> usize {
        (id.0 >> 64) as usize & self.mask
    }

    /// Ask for the slot of an identifier that comes soon.
    fn expect(&self, ids: &[Block], place: usize) {
        if let Some(id) = ids.get(place + Self::AHEAD) {
            prefetch(&self.slots, self.slot(*id));
        }
    }

    /// The number of an identifier; `next` where it is new, which it has from now on. `of` tells the identifier that has
    /// a number.
    fn number(&mut self, id: Block, next: u32, of: impl Fn(u32) -> Block) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // other bits
        let mark = (id.0 >> 32) as u32;
        let mut at = self.slot(id);
        loop {
            let (other, number) = self.slots[at];
            if number == Self::FREE {
                self.slots[at] = (mark, next);
                return next;
            }
            if other == mark && of(number) == id {
                return number;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_identifier_comes_once_where_it_first_stands(ids in prop::collection::vec(0u128..40, 0..200)) {
            let ids: Vec<Block> = ids.into_iter().map(Block).collect();
            let Identified { ids: found, places } = distinct(ids.clone());
            let mut wanted: Vec<Block> = Vec::new();
            for id in &ids {
                if !wanted.contains(id) {
                    wanted.push(*id);
                }
            }
            prop_assert_eq!(&found, &wanted);
            for (id, place) in found.iter().zip(places) {
                prop_assert_eq!(ids.iter().position(|other| other == id), Some(place as usize));
            }
            let named: Vec<Block> = numbered(&ids).into_iter().map(|at| found[at as usize]).collect();
            prop_assert_eq!(named, ids);
        }
    }

    proptest! {
        #[test]
        fn records_are_the_identifiers_by_first_byte(numbers in prop::collection::vec(0i64..60, 0..300), first in 0u32..1000) {
            let raw: Vec<[u8; 8]> = numbers.iter().map(|number| number.to_le_bytes()).collect();
            let columns = [Column { letter: b'i', values: Values::Numbers(&raw) }];
            let ids = identifiers(&[3; 32], &columns).expect("sound");
            let (out, counts) = records(&[3; 32], &columns, first).expect("sound");
            let mut wanted: Vec<(u8, u32, [u8; 16])> = (first..)
                .zip(&ids)
                .map(|(row, id)| (id.to_bytes()[0], row, id.to_bytes()))
                .collect();
            wanted.sort_unstable();
            let bytes: Vec<u8> = wanted
                .iter()
                .flat_map(|(_, row, id)| [id.as_slice(), row.to_le_bytes().as_slice()].concat())
                .collect();
            prop_assert_eq!(&out, &bytes);
            for (byte, count) in counts.iter().enumerate() {
                prop_assert_eq!(wanted.iter().filter(|one| usize::from(one.0) == byte).count(), *count as usize);
            }
            let kept = distinct_records(&out).expect("records");
            let mut seen = std::collections::HashSet::new();
            let once: Vec<u8> = out
                .chunks(RECORD_BYTES)
                .filter(|record| seen.insert(record[..16].to_vec()))
                .flatten()
                .copied()
                .collect();
            prop_assert_eq!(kept.is_none(), once.len() == out.len());
            prop_assert_eq!(kept.unwrap_or(out), once);
        }
    }

    #[test]
    fn what_is_no_record_and_rows_past_the_end_are_refused() {
        assert_eq!(distinct_records(&[0; 21]), Err(Refused::Columns));
        assert_eq!(distinct_records(&[]), Ok(None));
        let raw = [[0u8; 8]; 2];
        let columns = [Column {
            letter: b'i',
            values: Values::Numbers(&raw),
        }];
        assert!(records(&[0; 32], &columns, u32::MAX - 2).is_ok());
        assert_eq!(
            records(&[0; 32], &columns, u32::MAX - 1).map(|_| ()),
            Err(Refused::Columns)
        );
    }

    proptest! {
        #[test]
        fn a_number_is_written_as_the_library_writes_it(number: u64, shorter in 0u32..64, log in 0u32..20) {
            let power = 10u64.pow(log);
            for number in [number >> shorter, power, power - 1, u64::MAX] {
                let mut out = Vec::new();
                decimal(number, &mut out);
                prop_assert_eq!(String::from_utf8(out).expect("digits"), number.to_string());
            }
        }

        #[test]
        fn a_row_of_any_length_has_the_identifier_of_its_text(rows in prop::collection::vec((any::<i64>(), 0u32..64, ".{0,60}"), 0..50)) {
            let numbers: Vec<[u8; 8]> = rows.iter().map(|row| (row.0 >> row.1).to_le_bytes()).collect();
            let (mut data, mut offsets) = (Vec::new(), 0i64.to_le_bytes().to_vec());
            for row in &rows {
                data.extend_from_slice(row.2.as_bytes());
                offsets.extend_from_slice(&i64::try_from(data.len()).expect("few").to_le_bytes());
            }
            let columns = [
                Column { letter: b'i', values: Values::Numbers(&numbers) },
                Column { letter: b't', values: Values::Bytes(Items::new(&data, &offsets).expect("sound")) },
            ];
            let found = identifiers(&[9; 32], &columns).expect("sound");
            for (row, id) in rows.iter().zip(found) {
                let number = (row.0 >> row.1).to_string();
                let text = format!("i{}:{number}t{}:{}", number.len(), row.2.len(), row.2);
                let wanted = blake3::keyed_hash(&[9; 32], text.as_bytes());
                prop_assert_eq!(&id.to_bytes()[..], &wanted.as_bytes()[..ID_BYTES]);
            }
        }
    }

    #[test]
    fn columns_of_different_lengths_are_refused() {
        let numbers = [[1u8; 8]; 2];
        let column = |count| Column {
            letter: b'i',
            values: Values::Numbers(&numbers[..count]),
        };
        assert_eq!(
            identifiers(&[0; 32], &[column(2), column(1)]),
            Err(Refused::Columns)
        );
        assert_eq!(identifiers(&[0; 32], &[]), Err(Refused::Columns));
        assert_eq!(
            identifiers(&[0; 32], &[column(2)]).map(|ids| ids.len()),
            Ok(2)
        );
    }

    #[test]
    fn parts_are_written_as_documented() {
        let (numbers, data, offsets) = (
            [(-5i64).to_le_bytes()],
            b"ab",
            [0i64, 2].map(i64::to_le_bytes).concat(),
        );
        let items = Items::new(data, &offsets).expect("sound");
        let columns = [
            Column {
                letter: b't',
                values: Values::Bytes(items),
            },
            Column {
                letter: b'i',
                values: Values::Numbers(&numbers),
            },
        ];
        let wanted = blake3::keyed_hash(&[7; 32], b"t2:abi2:-5");
        let found = identifiers(&[7; 32], &columns).expect("sound")[0].to_bytes();
        assert_eq!(found, wanted.as_bytes()[..16]);
    }
}
