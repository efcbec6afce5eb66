//! Diffie-Hellman set protocols find what sets share, say sizes alone, and refuse what is no message.

mod world;

use std::collections::HashSet;

use fondaco_kernel::block::Block;
use fondaco_kernel::ecdh::{CountHelper, CountLearner, DhClient, DhConfig, DhServer};
use fondaco_kernel::protocol::Fault;
use proptest::prelude::*;
use world::{drawn, run, Meddler};

fn config(peer_keys: usize, both: bool) -> DhConfig {
    DhConfig { peer_keys, both }
}

type Ended<T> = Result<(T, Vec<(usize, usize)>), (usize, Fault)>;

fn intersect(
    ours: &[Block],
    theirs: &[Block],
    both: bool,
    meddle: &mut Meddler<'_>,
) -> Ended<[Option<Vec<u32>>; 2]> {
    let mut client = DhClient::new(config(theirs.len(), both), ours.to_vec()).expect("sound");
    let mut server = DhServer::new(config(ours.len(), both), theirs.to_vec()).expect("sound");
    let sizes = run(&mut [&mut client, &mut server], meddle)?;
    Ok((
        [client.matched(), server.matched()].map(|found| found.map(<[u32]>::to_vec)),
        sizes,
    ))
}

fn count(
    ours: &[Block],
    theirs: &[Block],
    both: bool,
    meddle: &mut Meddler<'_>,
) -> Ended<[Option<u64>; 2]> {
    let mut learner = CountLearner::new(config(theirs.len(), both), ours.to_vec()).expect("sound");
    let mut helper = CountHelper::new(config(ours.len(), both), theirs.to_vec()).expect("sound");
    let sizes = run(&mut [&mut learner, &mut helper], meddle)?;
    Ok(([learner.count(), helper.count()], sizes))
}

fn blocks(set: &HashSet<u128>) -> Vec<Block> {
    set.iter().map(|value| Block(*value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn both_protocols_agree_with_sets(ours in prop::collection::hash_set(0u128..60, 1..30), theirs in prop::collection::hash_set(0u128..60, 1..30), both: bool) {
        let shared: HashSet<u128> = ours.intersection(&theirs).copied().collect();
        let (ours, theirs) = (blocks(&ours), blocks(&theirs));
        let ([mine, other], _sizes) = intersect(&ours, &theirs, both, &mut |_, _, _| ()).expect("honest");
        let named = |keys: &[Block], places: &[u32]| places.iter().map(|at| keys[*at as usize].0).collect::<HashSet<_>>();
        prop_assert_eq!(named(&ours, &mine.expect("the end")), shared.clone());
        prop_assert_eq!(other.map(|places| named(&theirs, &places)), both.then(|| shared.clone()));
        let (counts, _sizes) = count(&ours, &theirs, both, &mut |_, _, _| ()).expect("honest");
        prop_assert_eq!(counts, [Some(shared.len() as u64), both.then_some(shared.len() as u64)]);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), side in 0usize..2) {
        let (ours, theirs) = (drawn(1, 4), drawn(1, 6));
        let mut meddle = |from: usize, at: usize, message: &mut Vec<u8>| {
            if (from, at) == (side, 0) {
                message.clone_from(&bytes);
            }
        };
        let found = intersect(&ours, &theirs, true, &mut meddle).expect_err("no message").1;
        prop_assert!(matches!(found, Fault::Malformed { .. }), "{found:?}");
        let counted = count(&ours, &theirs, true, &mut meddle).expect_err("no message").1;
        prop_assert!(matches!(counted, Fault::Malformed { .. }), "{counted:?}");
    }
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_alone() {
    let (one, other) = (drawn(1, 40), drawn(2, 40));
    let mut silent = |_: usize, _: usize, _: &mut Vec<u8>| ();
    for (theirs, again) in [(&one[..30], &other[..30]), (&one[10..], &other[..30])] {
        let first = intersect(&one, theirs, true, &mut silent)
            .expect("honest")
            .1;
        assert_eq!(
            first,
            intersect(&one, again, true, &mut silent).expect("honest").1
        );
        let first = count(&one, theirs, true, &mut silent).expect("honest").1;
        assert_eq!(
            first,
            count(&one, again, true, &mut silent).expect("honest").1
        );
    }
}

#[test]
fn the_order_in_which_the_helper_answers_says_nothing_of_its_keys() {
    // The helper's points come sorted, whatever the order of its keys.
    let keys = drawn(3, 20);
    let mut order = Vec::new();
    let mut watch = |from: usize, at: usize, message: &mut Vec<u8>| {
        if (from, at) == (1, 0) {
            order = message[message.len() - 32 * 20..]
                .chunks(32)
                .map(<[u8]>::to_vec)
                .collect();
        }
    };
    count(&keys, &keys, false, &mut watch).expect("honest");
    assert!(order.is_sorted() && order.len() == 20);
}

#[test]
fn a_count_that_cannot_be_is_refused() {
    let keys = drawn(3, 5);
    let ended = count(&keys, &keys, true, &mut |from, at, message| {
        if (from, at) == (0, 1) {
            message[0] = 6;
        }
    });
    assert_eq!(
        ended.expect_err("more than there are"),
        (1, Fault::Malformed { message: "count" })
    );
}
