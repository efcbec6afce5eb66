//! How records are spread over the matrices: one for single keys, one for many keys at once.
//!
//! The single matrix has one table; its columns are groups of records, and a key's group and rows hash from its
//! location. The batch matrix is the probabilistic batch code of Angel, Chen, Laine and Setty, *PIR with compressed
//! queries and amortized query processing* (eprint 2017/1142, section 4): every record lies in three of 3/2 * k
//! tables, so that k keys can be assigned one table each, by cuckoo hashing on the asker's side, and each table
//! answers one query, over all of three databases for k keys instead of k.

use super::fuse::{self, Form};
use super::matrix::{place, Shape, NOWHERE, ONES};
use super::progress::{Counted, Watch};
use super::record::Nonces;
use super::ring::DEGREE;
use rayon::prelude::*;

/// Tables that a record of the batch matrix lies in.
pub const COPIES: usize = 3;
/// The fewest keys that one batch query is made for: with less, keys may find no table often enough to tell something.
pub const MIN_BATCH: usize = 64;
/// The most keys that one batch query is made for.
pub const MAX_BATCH: usize = 1024;
const MAX_GROUPS: usize = 64;
/// Nonces that are drawn at once.
const NONCES: usize = 1024;
/// What a pack costs beside a byte on the wire when groups are chosen: its prepared digits are read for each query.
const PACK_COST: usize = 24 * 1024;

/// A matrix's layout: the form of its filters and the salt of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Tables.
    pub tables: u32,
    /// Groups of columns in each table.
    pub groups: u32,
    /// Bytes of a sealed record.
    pub slot: u32,
    /// The filters' form: rows of a table.
    pub form: Form,
    /// One salt for each table and group.
    pub salts: Vec<u8>,
}

/// The records as a matrix takes them: each sealed when its rows are made, so that none lies in memory sealed twice.
pub trait Source: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// Where one lies.
    fn location(&self, at: usize) -> [u8; 32];
    /// One, sealed, over all of `out`.
    fn seal(&self, at: usize, nonces: &mut Nonces, out: &mut [u8]);
}

/// A record's group (single matrix) or tables (batch matrix), from its location.
fn spread(location: &[u8; 32]) -> [u64; 4] {
    let hash = blake3::keyed_hash(location, b"spread");
    let bytes = hash.as_bytes();
    std::array::from_fn(|i| {
        u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"))
    })
}

fn scaled(word: u64, range: u32) -> u32 {
    ((u128::from(word) * u128::from(range)) >> 64) as u32
}

/// Three different tables of many.
pub(super) fn tables_of(location: &[u8; 32], tables: u32) -> [u32; COPIES] {
    let words = spread(location);
    let first = scaled(words[1], tables);
    let mut second = scaled(words[2], tables - 1);
    second += u32::from(second >= first);
    let mut third = scaled(words[3], tables - 2);
    let (low, high) = (first.min(second), first.max(second));
    third += u32::from(third >= low);
    third += u32::from(third >= high);
    [first, second, third]
}

impl Layout {
    /// The matrix's shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        Shape {
            tables: self.tables as usize,
            blocks: self.form.rows as usize / DEGREE,
            width: (self.groups * self.slot) as usize,
        }
    }

    /// Whether it is of a form that can be asked: an outside layout is checked with this before use.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.tables > 0
            && self.groups > 0
            && self.groups as usize <= MAX_GROUPS
            && self.slot > 0
            && self.slot <= 1 << 20
            && self.form.is_sound()
            && (self.form.rows as usize).is_multiple_of(DEGREE)
            && self.shape().is_sound()
            && self.salts.len() == (self.tables * self.groups) as usize
            && (self.tables == 1 || (self.tables as usize >= COPIES && self.groups == 1))
    }

    /// The group of a record in the single matrix.
    pub(super) fn group(&self, location: &[u8; 32]) -> u32 {
        scaled(spread(location)[0], self.groups)
    }

    /// The rows of a record in the single matrix, and where its group begins in the sums.
    #[must_use]
    pub fn wish(&self, location: &[u8; 32]) -> ([u32; ONES], usize) {
        let group = self.group(location);
        let rows = self
            .form
            .places(location, 0, group, self.salts[group as usize]);
        (rows, (group * self.slot) as usize)
    }

    /// One wish for each table of the batch matrix, the table of each location, and who found no table.
    #[must_use]
    pub fn wishes(&self, locations: &[[u8; 32]]) -> (Vec<[u32; ONES]>, Vec<Option<usize>>) {
        let candidates: Vec<[u32; COPIES]> = locations
            .iter()
            .map(|location| tables_of(location, self.tables))
            .collect();
        let assigned = assign(&candidates, self.tables as usize);
        let mut wishes = vec![NOWHERE; self.tables as usize];
        for (location, table) in locations.iter().zip(&assigned) {
            if let Some(table) = *table {
                wishes[table] = self
                    .form
                    .places(location, table as u32, 0, self.salts[table]);
            }
        }
        (wishes, assigned)
    }

    /// Lay out records (sealed, of `slot` bytes) for single keys, and fill the matrix.
    ///
    /// None if no filter came out, which does not happen with different locations.
    #[must_use]
    pub fn single(slot: usize, records: &impl Source, watch: Watch<'_>) -> Option<(Self, Vec<u8>)> {
        let count = records.count();
        let groups = (1..=MAX_GROUPS).min_by_key(|&groups| cost(count, slot, groups))? as u32;
        let members = members(records, groups as usize, |location| {
            [scaled(spread(location)[0], groups)]
        });
        Self::filled((1, groups), slot, &members, records, watch)
    }

    /// Lay out sealed records for batches of up to `keys`, and fill the matrix.
    ///
    /// None as for `single`.
    #[must_use]
    pub fn batch(
        keys: usize,
        slot: usize,
        records: &impl Source,
        watch: Watch<'_>,
    ) -> Option<(Self, Vec<u8>)> {
        let tables = (keys * 3).div_ceil(2).max(COPIES) as u32;
        let members = members(records, tables as usize, |location| {
            tables_of(location, tables)
        });
        Self::filled((tables, 1), slot, &members, records, watch)
    }

    fn filled(
        (tables, groups): (u32, u32),
        slot: usize,
        members: &[Vec<u32>],
        records: &impl Source,
        watch: Watch<'_>,
    ) -> Option<(Self, Vec<u8>)> {
        let most = members.iter().map(Vec::len).max().unwrap_or(0);
        let mut layout = Self {
            tables,
            groups,
            slot: slot as u32,
            form: Form::for_records(most),
            salts: vec![0; members.len()],
        };
        let shape = layout.shape();
        if !shape.is_sound() {
            return None;
        }
        let mut data = vec![0u8; shape.data_bytes()];
        let form = layout.form;
        let counted = Counted::new(watch, "place records", members.len());
        let at_once = rayon::current_num_threads();
        data.par_chunks_exact_mut(shape.table_bytes())
            .zip(layout.salts.par_chunks_exact_mut(groups as usize))
            .zip(members.par_chunks_exact(groups as usize))
            .enumerate()
            .map(|(table, ((data, salts), members))| {
                // A few groups at a time, so that their rows do not lie in memory twice, all of them.
                for (few, members) in members.chunks(at_once).enumerate() {
                    let from = few * at_once;
                    let filled: Vec<(u8, Vec<u8>)> = members
                        .par_iter()
                        .enumerate()
                        .map(|(group, members)| {
                            let mut rows = vec![0u8; form.rows as usize * slot];
                            let here: Vec<[u8; 32]> = members
                                .iter()
                                .map(|&i| records.location(i as usize))
                                .collect();
                            let mut nonces = Nonces::new(members.len().min(NONCES));
                            let record = |i: usize, out: &mut [u8]| {
                                records.seal(members[i] as usize, &mut nonces, out);
                            };
                            let place = (table as u32, (from + group) as u32);
                            let salt = fuse::fill(form, place, &here, record, &mut rows)?;
                            counted.add(1);
                            Some((salt, rows))
                        })
                        .collect::<Option<_>>()?;
                    for (salt, (found, _)) in salts[from..].iter_mut().zip(&filled) {
                        *salt = *found;
                    }
                    let rows: Vec<&[u8]> = filled.iter().map(|(_, rows)| rows.as_slice()).collect();
                    turn(shape, slot, (from, &rows), data);
                }
                Some(())
            })
            .collect::<Option<()>>()?;
        Some((layout, data))
    }

    /// The sealed record at a location of the single matrix.
    #[must_use]
    pub fn read(&self, data: &[u8], location: &[u8; 32]) -> Vec<u8> {
        let (rows, from) = self.wish(location);
        let shape = self.shape();
        (from..from + self.slot as usize)
            .map(|column| {
                let bytes = rows.map(|row| data[place(shape, 0, row as usize, column)] ^ 0x80);
                bytes.into_iter().fold(0, u8::wrapping_add)
            })
            .collect()
    }
}

/// Bytes of a query and answer, and the weight of its packs, if `count` records lie in so many groups.
fn cost(count: usize, slot: usize, groups: usize) -> usize {
    let mean = count as f64 / groups as f64;
    let form = Form::for_records((mean + 4.0 * mean.sqrt()).ceil() as usize);
    let packs = (groups * slot).div_ceil(1024);
    let shape = Shape {
        tables: 1,
        blocks: form.rows as usize / DEGREE,
        width: groups * slot,
    };
    if shape.is_sound() {
        4 * form.rows as usize + packs * PACK_COST
    } else {
        usize::MAX
    }
}

fn members<const N: usize>(
    records: &impl Source,
    count: usize,
    places: impl Fn(&[u8; 32]) -> [u32; N],
) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); count];
    for record in 0..records.count() {
        for place in places(&records.location(record)) {
            members[place as usize].push(record as u32);
        }
    }
    members
}

/// From rows of some groups to their columns in the matrix's blocks, stored as signed bytes.
fn turn(shape: Shape, slot: usize, (from, groups): (usize, &[&[u8]]), data: &mut [u8]) {
    data.par_chunks_exact_mut(DEGREE * shape.width)
        .enumerate()
        .for_each(|(block, data)| {
            for (group, rows) in groups.iter().enumerate() {
                let rows = &rows[block * DEGREE * slot..][..DEGREE * slot];
                let columns = &mut data[(from + group) * slot * DEGREE..][..slot * DEGREE];
                // Tiles of 64 rows by 64 columns keep both sides in the cache.
                for top in (0..DEGREE).step_by(64) {
                    for start in (0..slot).step_by(64) {
                        for column in start..slot.min(start + 64) {
                            for row in top..top + 64 {
                                columns[column * DEGREE + row] = rows[row * slot + column] ^ 0x80;
                            }
                        }
                    }
                }
            }
        });
}

/// A table for each, no two the same: cuckoo hashing by augmenting paths, so that as many as possible are assigned.
fn assign(candidates: &[[u32; COPIES]], tables: usize) -> Vec<Option<usize>> {
    let mut holder: Vec<Option<usize>> = vec![None; tables];
    for key in 0..candidates.len() {
        let mut seen = vec![false; tables];
        move_in(key, candidates, &mut holder, &mut seen);
    }
    let mut assigned = vec![None; candidates.len()];
    for (table, key) in holder.iter().enumerate() {
        if let Some(key) = *key {
            assigned[key] = Some(table);
        }
    }
    assigned
}

fn move_in(
    key: usize,
    candidates: &[[u32; COPIES]],
    holder: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for table in candidates[key].map(|table| table as usize) {
        if std::mem::replace(&mut seen[table], true) {
            continue;
        }
        let free = match holder[table] {
            None => true,
            Some(other) => move_in(other, candidates, holder, seen),
        };
        if free {
            holder[table] = Some(key);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::progress::UNWATCHED;
    use super::*;
    use proptest::prelude::*;

    fn locations(count: usize, seed: u8) -> Vec<[u8; 32]> {
        (0..count)
            .map(|i| *blake3::keyed_hash(&[seed; 32], &i.to_le_bytes()).as_bytes())
            .collect()
    }

    /// Records that are their own numbers.
    struct Numbers(Vec<[u8; 32]>);

    impl Source for Numbers {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn location(&self, at: usize) -> [u8; 32] {
            self.0[at]
        }

        fn seal(&self, at: usize, _nonces: &mut Nonces, out: &mut [u8]) {
            out.copy_from_slice(&at.to_be_bytes());
        }
    }

    #[test]
    fn a_single_matrix_gives_back_its_records() {
        let records = Numbers(locations(700, 1));
        let (layout, data) = Layout::single(8, &records, UNWATCHED).expect("a layout");
        assert!(layout.is_sound());
        for (number, location) in records.0.iter().enumerate() {
            assert_eq!(layout.read(&data, location), number.to_be_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_key_has_three_different_tables(location in any::<[u8; 32]>(), tables in 3u32..200) {
            let [a, b, c] = tables_of(&location, tables);
            prop_assert!(a != b && b != c && a != c && a.max(b).max(c) < tables);
        }
    }

    #[test]
    fn a_hundred_keys_find_their_tables() {
        for seed in 0..20 {
            let candidates: Vec<_> = locations(100, seed)
                .iter()
                .map(|l| tables_of(l, 150))
                .collect();
            let mut found: Vec<usize> = assign(&candidates, 150).into_iter().flatten().collect();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), 100);
        }
    }

    #[test]
    fn who_finds_no_table_is_told() {
        let assigned = assign(&[[0, 1, 2]; 4], 6);
        assert_eq!(assigned.iter().flatten().count(), 3);
    }
}
