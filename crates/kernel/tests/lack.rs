//! Strings are the same where the tester lacks a key and differ where it has it; sizes alone are told; what is no
//! message is refused.

mod dealer;
mod world;

use std::collections::HashSet;

use dealer::deal;
use fondaco_kernel::block::Block;
use fondaco_kernel::lack::{LackConfig, LackHolder, LackTester, Table};
use fondaco_kernel::opprf::cuckoo::FREE;
use fondaco_kernel::protocol::Fault;
use proptest::prelude::*;
use world::{drawn, run, Meddler};

/// The strings of both sides, and the sizes of all messages.
type Ended = Result<(Vec<u8>, Vec<u8>, Vec<(usize, usize)>), (usize, Fault)>;

fn test(
    table: &Table,
    held: usize,
    theirs: &[Block],
    (width, holder_gives): (usize, bool),
    meddle: &mut Meddler<'_>,
) -> Ended {
    let config = |peer_keys, gives| LackConfig {
        peer_keys,
        width,
        gives,
    };
    let (delta, pair) = deal(table.places().len());
    let mut holder =
        LackHolder::new(config(theirs.len(), holder_gives), table, pair).expect("sound");
    let mut tester =
        LackTester::new(config(held, !holder_gives), theirs.to_vec(), delta).expect("sound");
    assert!(holder.shares().is_none() && tester.shares().is_none());
    let sizes = run(&mut [&mut holder, &mut tester], meddle)?;
    let ours = holder.shares().expect("the end").to_vec();
    Ok((ours, tester.shares().expect("the end").to_vec(), sizes))
}

/// The holder's keys whose bins have different strings.
fn shared(keys: &[Block], theirs: &[Block], how: (usize, bool)) -> Vec<Block> {
    let table = Table::new(keys.to_vec()).expect("sound");
    let ended = test(&table, keys.len(), theirs, how, &mut |_, _, _| ());
    let (ours, other, _sizes) = ended.expect("honest");
    assert_eq!(ours.len(), how.0 * table.places().len());
    assert_eq!(ours.len(), other.len());
    let mut found = Vec::new();
    for ((place, ours), other) in (table.places().iter())
        .zip(ours.chunks(how.0))
        .zip(other.chunks(how.0))
    {
        if ours != other {
            assert_ne!(*place, FREE, "an empty bin's key is nobody's");
            found.push(keys[*place as usize]);
        }
    }
    found
}

fn blocks(set: &HashSet<u128>) -> Vec<Block> {
    set.iter().map(|value| Block(*value)).collect()
}

fn intersection(ours: &[Block], theirs: &[Block]) -> HashSet<Block> {
    let theirs: HashSet<Block> = theirs.iter().copied().collect();
    let both = ours.iter().filter(|key| theirs.contains(key));
    both.copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn strings_differ_where_a_key_is_shared_alone(ours in prop::collection::hash_set(0u128..400, 1..200), theirs in prop::collection::hash_set(0u128..400, 1..200), width in 8usize..40, holder_gives: bool) {
        let (ours, theirs) = (blocks(&ours), blocks(&theirs));
        let found = shared(&ours, &theirs, (width, holder_gives));
        prop_assert_eq!(found.iter().copied().collect::<HashSet<_>>().len(), found.len());
        prop_assert_eq!(found.into_iter().collect::<HashSet<_>>(), intersection(&ours, &theirs));
    }
}

#[test]
fn sets_of_one_of_none_in_common_and_of_all() {
    for holder_gives in [false, true] {
        let how = (16, holder_gives);
        let keys = drawn(1, 3000);
        for (ours, theirs, both) in [
            (&keys[..1], &keys[..1], 1),
            (&keys[..1], &keys[1..2], 0),
            (&keys[..1], &keys[..900], 1),
            (&keys[..900], &keys[7..8], 1),
            (&keys[..900], &keys[900..], 0),
            (&keys[..], &keys[..], 3000),
        ] {
            assert_eq!(shared(ours, theirs, how).len(), both);
        }
    }
}
