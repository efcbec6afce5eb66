//! An index of the hidden query as it is kept: read and renewed, from the right bytes alone.

mod pir_world;

use fondaco_kernel::pir::description::Description;
use fondaco_kernel::pir::directory::Head;
use fondaco_kernel::pir::index::{Index, Shared};
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::pir::record::open;
use fondaco_kernel::protocol::Fault;
use pir_world::{ask, borrowed, built, run, shared, table};
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};

fn kept(index: &Index) -> Vec<Vec<u8>> {
    let parts = index.to_parts();
    parts
        .iter()
        .map(|part| (**part).as_ref().to_vec())
        .collect()
}

/// The head of the shared index, made once: its other parts are large.
fn head() -> &'static [u8] {
    static HEAD: OnceLock<Vec<u8>> = OnceLock::new();
    HEAD.get_or_init(|| kept(&shared()).remove(0))
}

fn read(parts: &[Vec<u8>]) -> Option<Index> {
    let shared = |part: &Vec<u8>| Arc::new(part.clone()) as Shared;
    Index::from_parts(&parts.iter().map(shared).collect::<Vec<_>>())
}

#[test]
fn an_update_seals_only_what_changed_and_old_keys_do_not_open_it() {
    let mut records = table(200, 40);
    let first = built(&records, 0);
    let before = first.evaluators()[0]
        .evaluate(b"key 10")
        .expect("an output");
    records[10].1 = b"changed".to_vec();
    records.remove(0);
    records.push((b"new".to_vec(), b"fresh".to_vec()));
    let second = Arc::new(
        first
            .update(&borrowed(&records), UNWATCHED)
            .expect("an update"),
    );
    assert_eq!(second.fresh_records(), 2);
    assert_eq!(second.description().publics.len(), 2);
    let wanted: Vec<&[u8]> = vec![b"key 0", b"key 10", b"key 11", b"new"];
    let (found, _) = run(&second, &wanted, 4).expect("a lookup");
    let expected = [
        None,
        Some(b"changed".to_vec()),
        Some(vec![11; 11]),
        Some(b"fresh".to_vec()),
    ];
    assert_eq!(found, expected);
    let sealed = second
        .description()
        .single
        .read(second.single().data(), &before.location);
    assert!(open(&before.seal, &sealed).is_none());
}

#[test]
fn generations_end_and_begin_anew() {
    let mut records = table(20, 8);
    let mut index = built(&records, 0);
    for round in 0..9u8 {
        records[3].1 = vec![round; 8];
        index = Arc::new(
            index
                .update(&borrowed(&records), UNWATCHED)
                .expect("an update"),
        );
        assert!(index.description().publics.len() <= 8);
        assert_eq!(
            ask(&index, &[3, 4], 2).0,
            [Some(vec![round; 8]), Some(vec![4; 4])]
        );
    }
    assert_eq!(index.description().publics.len(), 2);
}

#[test]
fn an_index_is_kept_and_read_and_nothing_else_is_taken_for_one() {
    let index = shared();
    let parts = kept(&index);
    let again = Arc::new(read(&parts).expect("an index"));
    assert_eq!(ask(&again, &[1, 2], 2).0, ask(&index, &[1, 2], 2).0);
    assert_eq!(ask(&again, &[1, 2], 16).0, ask(&index, &[1, 2], 16).0);
    assert!(read(&parts[..4]).is_none());
    assert!(read(&[]).is_none());
    for which in 0..parts.len() {
        let mut cut = parts.clone();
        cut[which].remove(0);
        assert!(read(&cut).is_none(), "part {which}");
    }
}

#[test]
fn a_kept_index_lies_in_the_bytes_that_it_was_read_from() {
    let parts: Vec<Shared> = kept(&shared())
        .into_iter()
        .map(|part| Arc::new(part) as Shared)
        .collect();
    let index = Index::from_parts(&parts).expect("an index");
    assert_eq!(
        index.single().data().as_ptr(),
        (*parts[1]).as_ref().as_ptr()
    );
    let batch = index.batch().expect("a batch matrix");
    assert_eq!(batch.data().as_ptr(), (*parts[4]).as_ref().as_ptr());
}

#[test]
fn a_head_whose_entries_are_out_of_order_or_of_no_generation_is_refused() {
    const ENTRY: usize = 16 + 16 + 32 + 32 + 1;
    let head = head().to_vec();
    assert!(Head::from_bytes(&head).is_some());
    let (rest, entries) = head.split_at(head.len() - 300 * ENTRY);
    for (one, other) in [(0, 1), (7, 290)] {
        let mut entries: Vec<&[u8]> = entries.chunks_exact(ENTRY).collect();
        entries.swap(one, other);
        assert!(Head::from_bytes(&[rest, &entries.concat()].concat()).is_none());
        entries[one] = entries[other];
        assert!(Head::from_bytes(&[rest, &entries.concat()].concat()).is_none());
    }
    let mut later = head.clone();
    *later.last_mut().expect("bytes") = 1;
    assert!(Head::from_bytes(&later).is_none());
}

#[test]
fn an_update_needs_no_more_than_the_head() {
    let mut records = table(200, 40);
    let before = Head::from_bytes(&kept(&built(&records, 64))[0]).expect("a head");
    records[10].1 = b"changed".to_vec();
    let after = Index::renewed(&before, &borrowed(&records), UNWATCHED).expect("an update");
    assert_eq!(after.fresh_records(), 1);
    let after = Arc::new(after);
    let found = ask(&after, &[9, 10], 2).0;
    assert_eq!(found, [Some(vec![9; 9]), Some(b"changed".to_vec())]);
    assert_eq!(ask(&after, &[9, 10], 20).0, found);
}

#[test]
fn a_description_of_a_batch_smaller_than_the_builders_least_is_refused() {
    let index = shared();
    let whole = index.description();
    for keys in [1, 2, 63, 1025] {
        let mut small = whole.clone();
        let (count, layout) = small.batch.as_mut().expect("a batch matrix");
        *count = keys;
        // All that belongs together: as many tables as so many keys have.
        layout.tables = (keys * 3).div_ceil(2).max(3);
        layout.salts = vec![0; layout.tables as usize];
        assert!(
            Description::from_bytes(&small.to_bytes()).is_none(),
            "{keys}"
        );
    }
    assert!(Description::from_bytes(&whole.to_bytes()).is_some());
    let records = table(9, 4);
    for batch in [1, 6, 63] {
        let refused = Index::build(&borrowed(&records), batch, UNWATCHED).err();
        let what = "a batch of fewer than 64 keys";
        assert_eq!(refused, Some(Fault::Input { what }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_are_a_head(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Head::from_bytes(&bytes).is_none());
    }

    #[test]
    fn no_head_breaks_the_reader_of_an_index(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut head = head().to_vec();
        let place = at.index(head.len());
        head[place] ^= flip;
        if let Some(other) = Head::from_bytes(&head) {
            prop_assert_eq!(&**other.to_bytes(), &head);
        }
    }
}
