//! What a lying description may cost an asker: refused by name above the bound, taken at it, and never more than reckoned.

use fondaco_kernel::pir::bound::{reckoned, Bounds, MEMORY};
use fondaco_kernel::pir::description::{part_bytes, Description};
use fondaco_kernel::pir::fuse::Form;
use fondaco_kernel::pir::index::Index;
use fondaco_kernel::pir::layout::Layout;
use fondaco_kernel::pir::lookup::Asker;
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::pir::record::sealed_bytes;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use proptest::prelude::*;

/// A layout with tables of so many blocks of 2048 rows.
fn layout(tables: u32, groups: u32, payload: u32, blocks: u32) -> Layout {
    Layout {
        tables,
        groups,
        slot: u32::try_from(sealed_bytes(part_bytes(payload as usize))).expect("a slot"),
        form: Form {
            rows: 2048 * blocks,
            segment_bits: 8,
        },
        salts: vec![0; (tables * groups) as usize],
    }
}

/// A description of which any number may be a lie: groups and blocks of the single matrix, keys and blocks of the batch.
fn described(
    records: u64,
    payload: u32,
    single: (u32, u32),
    batch: Option<(u32, u32)>,
) -> Description {
    Description {
        seed: [7; 32],
        records,
        payload,
        publics: vec![[0; 32]],
        single: layout(1, single.0, payload, single.1),
        batch: batch.map(|(keys, blocks)| {
            let tables = (keys * 3).div_ceil(2);
            (keys, layout(tables, 1, payload, blocks))
        }),
    }
}

/// What so many records of 256 bytes make: 64 groups, and a batch for so many keys.
fn honest(records: u64, keys: u32) -> Description {
    let blocks = |load: u64| Form::for_records(usize::try_from(load).expect("a load")).rows / 2048;
    let tables = u64::from(keys * 3).div_ceil(2);
    let batch = (keys, blocks(3 * records / tables));
    described(records, 256, (64, blocks(records / 64)), Some(batch))
}

/// What an asker of so many keys says to it.
fn told(description: &Description, keys: usize, bounds: Bounds) -> Result<Turn, Fault> {
    let mut asker = Asker::new(&[b"a key"], keys, bounds)?;
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    asker.next(Some(&description.to_bytes()))
}

fn excess(description: &Description, keys: usize, bounds: Bounds) -> (&'static str, u64, u64) {
    match told(description, keys, bounds) {
        Err(Fault::Excessive {
            what,
            claimed,
            most,
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
fn long_tables_of_few_records_are_refused() {
    // What made an asker of 256 keys take 3 GB: a batch for 1,024, each of its 1,536 tables of 2^18 rows.
    let lie = described(1_000, 256, (1, 1), Some((1024, 128)));
    assert!(reckoned(&lie, 256) > 4 << 30);
    assert_eq!(
        excess(&lie, 256, Bounds::default()),
        ("rows in a table", 1 << 18, 2048)
    );
    let lie = described(1_000, 256, (1, 128), None);
    assert_eq!(excess(&lie, 1, Bounds::default()).0, "rows in a table");
}

#[test]
fn as_many_records_as_the_long_tables_would_need_are_refused_too() {
    for records in [1_000_000_000, 1 << 40, u64::MAX - 1, u64::MAX] {
        let lie = described(records, 256, (64, 128), Some((1024, 128)));
        assert_eq!(
            excess(&lie, 256, Bounds::default()),
            ("records in its tables", records, 64 << 18)
        );
    }
    // Parts count each: no product of both overflows.
    let lie = described(u64::MAX, 1 << 20, (8, 128), None);
    assert_eq!(
        excess(&lie, 1, Bounds::default()),
        ("records in its tables", u64::MAX, 8 << 18 >> 7)
    );
}

#[test]
fn one_record_more_than_the_dataset_has_is_refused() {
    let keys: Vec<Vec<u8>> = (0u32..300).map(|i| i.to_le_bytes().to_vec()).collect();
    let records: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &b"payload"[..])).collect();
    let index = Index::build(&records, 64, UNWATCHED).expect("an index");
    let honest = index.description();
    assert_eq!(honest.records, 300);
    assert_eq!(told(honest, 256, within(300)), Ok(Turn::Receive));
    assert_eq!(excess(honest, 256, within(299)), ("records", 300, 299));
}

#[test]
fn one_block_more_than_the_records_make_is_refused() {
    let mut most = 0;
    for blocks in 1..=128 {
        let one = described(100_000, 16, (4, blocks), None);
        match told(&one, 1, within(100_000)) {
            Ok(_) => most = blocks,
            Err(Fault::Excessive {
                what: "records in its tables",
                ..
            }) => assert!(blocks < 13),
            Err(Fault::Excessive {
                what: "rows in a table",
                claimed,
                most: rows,
            }) => {
                assert_eq!(claimed, u64::from(2048 * blocks));
                assert_eq!(rows, u64::from(2048 * most), "at the bound it is taken");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    // 25,000 records a group, a little slack, and an eighth to a quarter more rows than records.
    assert!((14..=18).contains(&most), "{most}");
}

#[test]
fn a_lookup_is_refused_above_its_memory_and_taken_at_it() {
    let one = honest(12_000_000, 1024);
    let exact = reckoned(&one, 256);
    assert!(exact > 300 << 20 && exact <= MEMORY, "{exact}");
    let bounds = |memory| Bounds {
        records: None,
        memory,
    };
    assert_eq!(told(&one, 256, bounds(exact)), Ok(Turn::Receive));
    assert_eq!(
        excess(&one, 256, bounds(exact - 1)),
        ("bytes of memory", exact, exact - 1)
    );
}

#[test]
fn records_too_wide_for_so_many_keys_are_refused() {
    let wide = described(10, 1 << 20, (1, 1), None);
    assert_eq!(told(&wide, 100, Bounds::default()), Ok(Turn::Receive));
    // Eight times 128 MiB of payloads are all of it, and there is more than payloads.
    assert_eq!(excess(&wide, 128, Bounds::default()).0, "bytes of memory");
    assert_eq!(excess(&wide, 4096, Bounds::default()).0, "bytes of memory");
}

#[test]
fn the_largest_index_of_narrow_records_is_taken() {
    for keys in [256, 1024] {
        let largest = honest(14_000_000, keys);
        assert_eq!(
            told(&largest, keys as usize, within(14_000_000)),
            Ok(Turn::Receive),
            "{keys}"
        );
    }
}

prop_compose! {
    /// Any description that can be read, most of them lies.
    fn any_description()(
        records in prop_oneof![0u64..50_000, 0u64..20_000_000, any::<u64>()],
        payload in prop_oneof![0u32..600, 0u32..=1 << 20],
        groups in 1u32..=64,
        blocks in 1u32..=128,
        batch in prop::option::of((64u32..=1024, 1u32..=128)),
    ) -> Description {
        described(records, payload, (groups, blocks), batch)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_taken_costs_no_more_than_the_bounds_say(
        description in any_description(),
        keys in 1usize..=4096,
        known in prop::option::of(0u64..1_000_000),
        memory in prop_oneof![Just(MEMORY), 0u64..1 << 28],
    ) {
        let bounds = Bounds { records: known, memory };
        let Some(read) = Description::from_bytes(&description.to_bytes()) else {
            return Ok(());
        };
        let outcome = bounds.check(&read, keys);
        let cost = reckoned(&read, keys);
        match outcome {
            Ok(()) => {
                prop_assert!(cost <= memory);
                prop_assert!(read.records <= known.unwrap_or(u64::MAX));
                // Three copies of each record or none, half as many rows again, and what an empty table has.
                let rows = |layout: &Layout| u64::from(layout.form.rows) * u64::from(layout.tables * layout.groups);
                let parts = read.parts() as u64;
                prop_assert!(read.records * parts <= rows(&read.single));
                if let Some((_, layout)) = &read.batch {
                    let slack = 2 * 16_384 * u64::from(layout.tables);
                    prop_assert!(rows(layout) <= 6 * read.records * parts + slack);
                }
            }
            Err(Fault::Excessive { claimed, most, .. }) => prop_assert!(claimed > most),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
