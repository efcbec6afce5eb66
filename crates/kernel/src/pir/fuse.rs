//! Where records lie: a table in which the sum of three rows, at places that hash from the key, is the record.
//!
//! Graf and Lemire, *Binary Fuse Filters* (2022), with whole records in place of fingerprints, as `ChalametPIR`
//! (Celi and Davidson, eprint 2024/092) uses them: one query of three rows finds a record by its key, with no second
//! place to look. Sums are of bytes modulo 256, which is what the matrix adds. Rows that no record needs are random,
//! so a sum at the places of an absent key is too.

use super::ring::DEGREE;
use super::sample::Stream;

/// Attempts with different salts before a table is called too full; one succeeds with probability well above 1/2.
pub const ATTEMPTS: u8 = 64;

/// The form of a filter: rows in all, and the length of a segment as a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Rows.
    pub rows: u32,
    /// log2 of the rows of a segment.
    pub segment_bits: u8,
}

impl Form {
    /// The form for up to `most` records: rows in whole blocks of 2048.
    #[must_use]
    pub fn for_records(most: usize) -> Self {
        let count = most.max(2) as f64;
        let factor = (0.875 + 0.25 * 1e6f64.ln() / count.ln()).max(1.125);
        let segment_bits = ((count.ln() / 3.33f64.ln() + 2.25).floor() as u8).clamp(2, 14);
        let segment = 1usize << segment_bits;
        let rows = ((count * factor).ceil() as usize).max(3 * segment);
        let rows = rows.div_ceil(segment) * segment;
        Self {
            rows: (rows.div_ceil(DEGREE) * DEGREE) as u32,
            segment_bits,
        }
    }

    /// Whether three segments fit, so that places can be computed.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.segment_bits >= 2 && self.segment_bits <= 14 && self.rows >= 3 << self.segment_bits
    }

    /// The three rows of a location under a salt: different, in three neighbouring segments.
    ///
    /// # Panics
    /// Never: a hash has more bytes than are read.
    #[must_use]
    pub fn places(&self, location: &[u8; 32], table: u32, group: u32, salt: u8) -> [u32; 3] {
        let mut hasher = blake3::Hasher::new_keyed(location);
        hasher.update(b"rows");
        hasher
            .update(&table.to_le_bytes())
            .update(&group.to_le_bytes())
            .update(&[salt]);
        let hash = hasher.finalize();
        let word = |at: usize| {
            u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"))
        };
        let segment = 1u32 << self.segment_bits;
        let starts = ((self.rows >> self.segment_bits) - 2) << self.segment_bits;
        let first = ((u128::from(word(0)) * u128::from(starts)) >> 64) as u32;
        let within = word(8);
        let mask = segment - 1;
        let second = (first + segment) ^ (within as u32 & mask);
        let third = (first + 2 * segment) ^ ((within >> 32) as u32 & mask);
        [first, second, third]
    }
}

/// The order in which records are placed: (record, which of its three rows is its own), or None if none exists.
fn order(form: Form, places: &[[u32; 3]]) -> Option<Vec<(u32, u8)>> {
    let rows = form.rows as usize;
    let (mut counts, mut mixed) = (vec![0u32; rows], vec![0u32; rows]);
    for (record, rows) in places.iter().enumerate() {
        for &row in rows {
            counts[row as usize] += 1;
            mixed[row as usize] ^= record as u32;
        }
    }
    let mut queue: Vec<u32> = (0..form.rows)
        .filter(|&row| counts[row as usize] == 1)
        .collect();
    let mut taken = Vec::with_capacity(places.len());
    while let Some(row) = queue.pop() {
        if counts[row as usize] != 1 {
            continue;
        }
        let record = mixed[row as usize];
        let own = places[record as usize]
            .iter()
            .position(|&place| place == row)?;
        taken.push((record, own as u8));
        for &place in &places[record as usize] {
            counts[place as usize] -= 1;
            mixed[place as usize] ^= record;
            if counts[place as usize] == 1 {
                queue.push(place);
            }
        }
    }
    taken.reverse();
    (taken.len() == places.len()).then_some(taken)
}

/// How the three rows of a record make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Byte by byte modulo 256, as a lattice's plaintexts add.
    Bytes,
    /// Bit by bit.
    Bits,
}

/// Fill `out` (rows of `width` bytes, row after row) so that each record is the sum of its three rows.
///
/// `locations` and what `record(i, value)` writes (all of `value`, `width` bytes, once for each i) belong together.
/// Gives the salt, or None if no attempt succeeded; then nothing was written.
#[must_use]
pub fn fill(
    form: Form,
    place: (u32, u32),
    locations: &[[u8; 32]],
    record: impl FnMut(usize, &mut [u8]),
    out: &mut [u8],
) -> Option<u8> {
    fill_from(
        form,
        place,
        locations,
        record,
        (Sum::Bytes, &mut Stream::secret()),
        out,
    )
}

/// The same by another sum, with rows that no record needs out of a given stream.
#[must_use]
pub fn fill_from(
    form: Form,
    (table, group): (u32, u32),
    locations: &[[u8; 32]],
    mut record: impl FnMut(usize, &mut [u8]),
    (sum, unneeded): (Sum, &mut Stream),
    out: &mut [u8],
) -> Option<u8> {
    let width = out.len() / form.rows as usize;
    let (salt, places, order) = (0..ATTEMPTS).find_map(|salt| {
        let places: Vec<[u32; 3]> = locations
            .iter()
            .map(|location| form.places(location, table, group, salt))
            .collect();
        order(form, &places).map(|order| (salt, places, order))
    })?;
    unneeded.fill(out);
    let mut value = vec![0u8; width];
    for (index, own) in order {
        record(index as usize, &mut value);
        let rows = places[index as usize];
        for (_, &row) in rows
            .iter()
            .enumerate()
            .filter(|&(which, _)| which != own as usize)
        {
            let others = value.iter_mut().zip(&out[row as usize * width..][..width]);
            match sum {
                Sum::Bytes => others.for_each(|(value, &other)| *value = value.wrapping_sub(other)),
                Sum::Bits => others.for_each(|(value, &other)| *value ^= other),
            }
        }
        out[rows[own as usize] as usize * width..][..width].copy_from_slice(&value);
    }
    Some(salt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_is_the_sum_of_its_rows(count in 0usize..3000, seed in any::<[u8; 32]>()) {
            let locations: Vec<[u8; 32]> = (0..count)
                .map(|i| *blake3::keyed_hash(&seed, &i.to_le_bytes()).as_bytes())
                .collect();
            let records: Vec<[u8; 8]> = (0..count).map(usize::to_le_bytes).collect();
            let form = Form::for_records(count);
            prop_assert!(form.is_sound());
            let mut out = vec![0u8; form.rows as usize * 8];
            let record = |i: usize, value: &mut [u8]| value.copy_from_slice(&records[i]);
            let salt = fill(form, (1, 2), &locations, record, &mut out).expect("a salt");
            for (location, record) in locations.iter().zip(&records) {
                let rows = form.places(location, 1, 2, salt);
                let sum: [u8; 8] = std::array::from_fn(|byte| {
                    rows.iter().fold(0u8, |sum, &row| sum.wrapping_add(out[row as usize * 8 + byte]))
                });
                prop_assert_eq!(&sum, record);
                prop_assert!(rows[0] < rows[1] && rows[1] < rows[2] && rows[2] < form.rows);
            }
        }
    }

    #[test]
    fn doubled_locations_are_not_placed() {
        let form = Form::for_records(2);
        let mut out = vec![0u8; form.rows as usize * 4];
        assert_eq!(
            fill(
                form,
                (0, 0),
                &[[1; 32], [1; 32]],
                |_, value| value.fill(0),
                &mut out
            ),
            None
        );
    }
}
