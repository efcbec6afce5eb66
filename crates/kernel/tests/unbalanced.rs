//! A prepared set: looked up rightly by whoever asks, from a table that is checked, by messages of known sizes.

mod world;

use std::collections::HashSet;

use fondaco_kernel::block::Block;
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::protocol::{Fault, Party};
use fondaco_kernel::unbalanced::{
    prepare, table_size, Prepared, PreparedClient, PreparedServer, MOST_ASKED,
};
use proptest::prelude::*;

use world::{drawn, run};

fn found(prepared: &Prepared, size: usize, asked: &[Block]) -> HashSet<Block> {
    let mut client =
        PreparedClient::new(asked.to_vec(), prepared.table.clone(), size).expect("a table");
    let mut server = PreparedServer::new(&prepared.key, asked.len()).expect("a key");
    let sizes = run(&mut [&mut client, &mut server], &mut |_, _, _| ()).expect("honest");
    assert_eq!(sizes, [(0, 32 * asked.len()), (1, 32 * asked.len())]);
    let places = client.matched().expect("the end");
    places.iter().map(|at| asked[*at as usize]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_found_is_what_both_have(held in prop::collection::hash_set(0u128..300, 1..200), asked in prop::collection::hash_set(0u128..300, 1..60)) {
        let blocks = |set: &HashSet<u128>| set.iter().copied().map(Block).collect::<Vec<_>>();
        let prepared = prepare(&blocks(&held), UNWATCHED).expect("few");
        prop_assert_eq!(prepared.table.len(), table_size(held.len()));
        let wanted: HashSet<Block> = held.intersection(&asked).copied().map(Block).collect();
        prop_assert_eq!(found(&prepared, held.len(), &blocks(&asked)), wanted);
    }

    #[test]
    fn any_table_and_any_message_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 0usize..60, sized: bool) {
        let asked = drawn(4, 3);
        let mut table = bytes.clone();
        if sized {
            table.resize(table_size(size.max(1)), 0);
        }
        // Whatever a peer says, a party ends in an output or a fault, and never panics.
        match PreparedClient::new(asked, table, size) {
            Err(fault) => {
                let wanted = Fault::Malformed { message: "table" };
                prop_assert_eq!(fault, wanted);
            }
            Ok(mut client) => {
                client.next(None).expect("blinded");
                client.next(None).expect("waits");
                let refused = matches!(client.next(Some(&bytes)), Err(Fault::Malformed { .. }));
                prop_assert!(refused, "no three points of these bytes");
                prop_assert!(client.matched().is_none());
            }
        }
        let mut server = PreparedServer::new(&[1; 32], 5).expect("a key");
        server.next(None).expect("waits");
        let ended = server.next(Some(&bytes));
        let refused = Err(Fault::Malformed { message: "blinded keys" });
        prop_assert!(ended.is_ok() || ended == refused, "{:?}", ended);
    }

    #[test]
    fn a_table_of_any_tags_is_refused_or_compared(bytes in prop::collection::vec(any::<u8>(), 200..600), size in 1usize..60) {
        let asked = drawn(4, 3);
        let prepared = prepare(&drawn(9, 1), UNWATCHED).expect("few");
        let mut table = bytes;
        table.resize(table_size(size), 0);
        let mut client = PreparedClient::new(asked, table, size).expect("of that length");
        let mut server = PreparedServer::new(&prepared.key, 3).expect("a key");
        let ended = run(&mut [&mut client, &mut server], &mut |_, _, _| ());
        let fair = matches!(ended, Ok(_) | Err((0, Fault::Malformed { message: "tags" })));
        prop_assert!(fair, "{ended:?}");
    }
}

#[test]
fn a_table_is_good_for_many_clients_and_says_nothing_of_another_set() {
    let held = drawn(1, 500);
    let (one, two) = (
        prepare(&held, UNWATCHED).expect("few"),
        prepare(&held, UNWATCHED).expect("few"),
    );
    assert_ne!(
        one.table, two.table,
        "each preparation has a key of its own"
    );
    assert_eq!(one.table.len(), two.table.len());
    for seed in 1..4 {
        let asked = drawn(seed, 40);
        let wanted: HashSet<Block> = asked.iter().filter(|k| held.contains(k)).copied().collect();
        assert_eq!(found(&one, 500, &asked), wanted);
    }
    let stale = Prepared {
        key: two.key,
        table: one.table,
    };
    assert!(
        found(&stale, 500, &held[..40]).is_empty(),
        "under another key nothing is found"
    );
}

#[test]
fn a_table_takes_eight_bytes_a_key() {
    assert!(table_size(1 << 20) < 17 * (1 << 20) / 2);
}

#[test]
fn inputs_that_no_run_has_and_a_turn_too_early_are_refused() {
    let input = |what| Err::<(), _>(Fault::Input { what });
    let few = "a run asks for 1 to 2^20 keys";
    assert!(prepare(&[], UNWATCHED).is_err());
    for asked in [0, MOST_ASKED + 1] {
        assert_eq!(PreparedServer::new(&[1; 32], asked).map(|_| ()), input(few));
    }
    assert_eq!(
        PreparedClient::new(Vec::new(), vec![0], 1).map(|_| ()),
        input(few)
    );
    for key in [[0; 32], [0xff; 32]] {
        assert_eq!(
            PreparedServer::new(&key, 1).map(|_| ()),
            input("not a prepared key")
        );
    }
    let mut server = PreparedServer::new(&[1; 32], 1).expect("a key");
    assert_eq!(server.next(Some(b"early")), Err(Fault::OutOfTurn));
    assert_eq!(server.next(None), Err(Fault::OutOfTurn), "it stays broken");
}

#[test]
fn the_identity_and_messages_cut_short_are_refused() {
    let prepared = prepare(&drawn(1, 9), UNWATCHED).expect("few");
    for (side, spoil) in [
        (0usize, (|bytes| bytes[..32].fill(0)) as fn(&mut Vec<u8>)),
        (0, |bytes| bytes.truncate(33)),
        (1, |bytes| bytes[..32].fill(0)),
        (1, |bytes| bytes.truncate(31)),
        (1, |bytes| bytes.push(0)),
    ] {
        let mut client =
            PreparedClient::new(drawn(1, 2), prepared.table.clone(), 9).expect("a table");
        let mut server = PreparedServer::new(&prepared.key, 2).expect("a key");
        let ended = run(&mut [&mut client, &mut server], &mut |from, _, bytes| {
            if from == side {
                spoil(bytes);
            }
        });
        let (victim, fault) = ended.expect_err("caught");
        assert_eq!(victim, 1 - side);
        assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
    }
}
