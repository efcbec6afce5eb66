//! What two servers' lying description may cost an asker: refused by name above the bound, and taken at it.

use fondaco_kernel::pir::bound::{Bounds, MEMORY};
use fondaco_kernel::pir::fuse::Form;
use fondaco_kernel::pir::two::asker::{Asker, Blame, Turns};
use fondaco_kernel::pir::two::bound::{check, reckoned};
use fondaco_kernel::pir::two::index::Description;
use fondaco_kernel::pir::two::preparation::Preparation;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use proptest::prelude::*;

/// A description of which any number may be a lie.
fn described(records: u64, payload: u32, rows: u32) -> Description {
    Description {
        records,
        payload,
        form: Form {
            rows,
            segment_bits: 8,
        },
        salt: 0,
        digest: [7; 32],
        public: [0; 32],
    }
}

/// What so many records make.
fn honest(records: u64, payload: u32) -> Description {
    let mut made = described(records, payload, 2048);
    let load = usize::try_from(records).expect("a load") * made.parts();
    made.form = Form::for_records(load);
    made
}

/// What an asker of so many keys says to both servers' saying it.
fn told(description: &Description, keys: usize, bounds: Bounds) -> Result<Turns, Blame> {
    let mut asker = Asker::new(&[b"a key"], keys, bounds)?;
    assert_eq!(asker.next(None), Ok(Turns::Receive));
    let said = description.to_bytes();
    asker.next(Some([&said, &said]))
}

fn taken(description: &Description, keys: usize, bounds: Bounds) {
    assert!(
        matches!(told(description, keys, bounds), Ok(Turns::Send(_))),
        "{description:?}"
    );
}

fn excess(description: &Description, keys: usize, bounds: Bounds) -> (&'static str, u64, u64) {
    match told(description, keys, bounds) {
        Err(Blame {
            server: None,
            fault:
                Fault::Excessive {
                    what,
                    claimed,
                    most,
                },
        }) => (what, claimed, most),
        other => panic!("{other:?}"),
    }
}

fn within(records: u64) -> Bounds {
    Bounds {
        records: Some(records),
        ..Bounds::default()
    }
}

#[test]
fn a_long_table_of_few_records_is_refused() {
    // Tops alone of half a gigabyte, for a thousand records.
    let lie = described(1_000, 256, 0u32.wrapping_sub(2048));
    assert!(reckoned(&lie, 4) > 1 << 30);
    assert_eq!(
        excess(&lie, 4, Bounds::default()),
        ("rows in a table", u64::from(lie.form.rows), 2048)
    );
}

#[test]
fn more_records_than_rows_are_refused() {
    for records in [2049, 1 << 40, u64::MAX] {
        let lie = described(records, 256, 2048);
        assert_eq!(
            excess(&lie, 4, Bounds::default()),
            ("records in its tables", records, 2048)
        );
    }
    // Parts count each: no product of both overflows.
    let lie = described(u64::MAX, 1 << 20, 2048);
    assert_eq!(
        excess(&lie, 1, Bounds::default()),
        ("records in its tables", u64::MAX, 2048 >> 7)
    );
}

#[test]
fn one_record_more_than_the_dataset_has_is_refused() {
    let one = honest(300, 40);
    taken(&one, 256, within(300));
    assert_eq!(excess(&one, 256, within(299)), ("records", 300, 299));
}

#[test]
fn one_block_more_than_the_records_make_is_refused() {
    for records in [0, 1, 1_000, 100_000, 1_000_000] {
        let mut one = honest(records, 16);
        taken(&one, 1, within(records));
        let most = u64::from(one.form.rows);
        one.form.rows += 2048;
        assert_eq!(
            excess(&one, 1, within(records)),
            ("rows in a table", most + 2048, most)
        );
    }
}

#[test]
fn a_lookup_is_refused_above_its_memory_and_taken_at_it() {
    let one = honest(10_000_000, 1024);
    let exact = reckoned(&one, 256);
    // What it keeps for certain: a hash for each 256 rows, and 256 records.
    assert!(
        exact > u64::from(one.form.rows) / 8 + (256 << 10),
        "{exact}"
    );
    assert!(exact < 16 << 20, "{exact}");
    let bounds = |memory| Bounds {
        records: None,
        memory,
    };
    taken(&one, 256, bounds(exact));
    assert_eq!(
        excess(&one, 256, bounds(exact - 1)),
        ("bytes of memory", exact, exact - 1)
    );
}

#[test]
fn records_too_wide_for_so_many_keys_are_refused() {
    let wide = honest(10, 1 << 20);
    taken(&wide, 100, Bounds::default());
    for keys in [128, 4096] {
        assert_eq!(excess(&wide, keys, Bounds::default()).0, "bytes of memory");
    }
}

#[test]
fn the_largest_index_is_taken() {
    taken(&honest(1 << 30, 256), 256, within(1 << 30));
}

#[test]
fn servers_that_disagree_are_told_apart_from_those_that_say_too_much() {
    let (one, lie) = (honest(300, 40), described(1_000, 256, 1 << 30));
    let mut asker = Asker::new(&[b"a key"], 4, Bounds::default()).expect("an asker");
    assert_eq!(asker.next(None), Ok(Turns::Receive));
    let refused = asker.next(Some([&one.to_bytes(), &lie.to_bytes()]));
    assert!(
        matches!(
            refused,
            Err(Blame {
                server: None,
                fault: Fault::Cheated { .. }
            })
        ),
        "{refused:?}"
    );
}

/// What two servers make of so many records of one byte.
fn built(count: u32) -> Description {
    let keys: Vec<Vec<u8>> = (0..count).map(|i| i.to_le_bytes().to_vec()).collect();
    let records: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &b"p"[..])).collect();
    let mut sides =
        [true, false].map(|first| Preparation::new(first, &records, None, b"run").expect("one"));
    let (mut inbox, mut waits) = ([Vec::new(), Vec::new()], [false; 2]);
    let mut done = [false; 2];
    while done != [true; 2] {
        for side in 0..2 {
            if done[side] || (waits[side] && inbox[side].is_empty()) {
                continue;
            }
            let message: Option<Vec<u8>> = waits[side].then(|| inbox[side].remove(0));
            waits[side] = false;
            match sides[side].next(message.as_deref()).expect("a turn") {
                Turn::Send(message) => inbox[1 - side].push(message),
                Turn::Receive => waits[side] = true,
                Turn::Finished => done[side] = true,
            }
        }
    }
    let (index, _fresh) = sides[0].index().expect("an index");
    index.description().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn what_two_servers_make_is_always_taken(count in 0u32..6_000) {
        prop_assert_eq!(check(&within(u64::from(count)), &built(count), 8), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_taken_costs_no_more_than_the_bounds_say(
        records in prop_oneof![0u64..50_000, 0u64..2_000_000_000, any::<u64>()],
        payload in prop_oneof![0u32..600, 0u32..=1 << 20],
        blocks in prop_oneof![1u32..=128, 1u32..1 << 21],
        keys in 1usize..=4096,
        known in prop::option::of(0u64..1_000_000),
        memory in prop_oneof![Just(MEMORY), 0u64..1 << 28],
    ) {
        let bounds = Bounds { records: known, memory };
        let Some(read) = Description::from_bytes(&described(records, payload, 2048 * blocks).to_bytes()) else {
            return Ok(());
        };
        match check(&bounds, &read, keys) {
            Ok(()) => {
                prop_assert!(reckoned(&read, keys) <= memory);
                prop_assert!(read.records <= known.unwrap_or(u64::MAX));
                // Half as many rows again as there are records, and what an empty table has.
                let (rows, parts) = (u64::from(read.form.rows), read.parts() as u64);
                prop_assert!(read.records * parts <= rows);
                prop_assert!(rows <= read.records * parts * 3 / 2 + 16_384);
            }
            Err(Fault::Excessive { claimed, most, .. }) => prop_assert!(claimed > most),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
