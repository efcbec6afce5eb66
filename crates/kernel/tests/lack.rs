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

/// A run of some keys against others, of which this side's messages are meddled with.
fn meddled(
    (ours, theirs): (&[Block], &[Block]),
    holder_gives: bool,
    meddle: &mut Meddler<'_>,
) -> Ended {
    let table = Table::new(ours.to_vec()).expect("sound");
    test(&table, ours.len(), theirs, (16, holder_gives), meddle)
}

fn sizes(ours: &[Block], theirs: &[Block], how: (usize, bool)) -> Vec<(usize, usize)> {
    let table = Table::new(ours.to_vec()).expect("sound");
    let ended = test(&table, ours.len(), theirs, how, &mut |_, _, _| ());
    ended.expect("honest").2
}

/// Whether a run ended as it may where the other side's message was meddled with. A changed offer is another session, whose
/// trees its sender finds false.
fn fair((whose, fault): (usize, Fault), victim: usize) -> bool {
    match fault {
        Fault::Malformed { .. } => whose == victim,
        fault => matches!(fault, Fault::Cheated { .. }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_at_any_turn_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..400), of_the_right_length: bool, turn in 0usize..9, victim in 0usize..2, holder_gives: bool) {
        let keys = drawn(1, 9);
        let ended = meddled((&keys[..5], &keys[2..]), holder_gives, &mut |side, number, message| {
            if side != victim && number == turn {
                if of_the_right_length && !bytes.is_empty() {
                    let drawn = bytes.iter().cycle();
                    message.iter_mut().zip(drawn).for_each(|(to, from)| *to = *from);
                } else {
                    message.clone_from(&bytes);
                }
            }
        });
        match ended {
            Ok((ours, other, _sizes)) => prop_assert_eq!(ours.len(), other.len()),
            Err(ended) => prop_assert!(fair(ended, victim), "{ended:?}"),
        }
    }

    #[test]
    fn a_changed_bit_ends_the_run_or_changes_strings_alone(turn in 0usize..9, at in any::<prop::sample::Index>(), bit in 0u8..8, side in 0usize..2, holder_gives: bool) {
        let keys = drawn(1, 60);
        let ended = meddled((&keys[..40], &keys[20..]), holder_gives, &mut |from, number, message| {
            if (from, number) == (side, turn) && !message.is_empty() {
                let at = at.index(message.len());
                message[at] ^= 1 << bit;
            }
        });
        match ended {
            Ok((ours, other, _sizes)) => prop_assert_eq!(ours.len(), other.len()),
            Err(ended) => prop_assert!(fair(ended, 1 - side), "{ended:?}"),
        }
    }
}

#[test]
fn cut_and_lengthened_messages_end_in_one_named_cause() {
    let keys = drawn(1, 60);
    let sets = (&keys[..40], &keys[20..]);
    for holder_gives in [false, true] {
        let all = meddled(sets, holder_gives, &mut |_, _, _| ())
            .expect("honest")
            .2;
        for side in 0..2 {
            for turn in 0..all.iter().filter(|(from, _size)| *from == side).count() {
                for cut in [true, false] {
                    let ended = meddled(sets, holder_gives, &mut |from, number, message| {
                        if (from, number) == (side, turn) {
                            if cut {
                                message.pop();
                            } else {
                                message.push(0);
                            }
                        }
                    });
                    let (whose, fault) = ended.expect_err("caught");
                    assert_eq!(whose, 1 - side);
                    assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
                }
            }
        }
    }
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_and_the_width_alone() {
    let (all, other) = (drawn(1, 300), drawn(2, 300));
    for how in [(16, false), (16, true), (1, false)] {
        let first = sizes(&all, &all[..200], how);
        assert_eq!(first, sizes(&all, &other[..200], how));
        assert_eq!(first, sizes(&other, &other[100..], how));
        // The strings themselves do not travel.
        assert_eq!(first, sizes(&all, &all[..200], (40, how.1)));
    }
}

#[test]
fn sets_of_several_messages_a_level_meet_in_the_bytes_that_are_documented() {
    let keys = drawn(3, 24_000);
    assert_eq!(
        shared(&keys[..16_000], &keys[9_000..], (16, false)).len(),
        7_000
    );
    let sizes = sizes(&keys[..16_000], &keys[8_000..], (16, false));
    let total: usize = sizes.iter().map(|(_side, size)| size).sum();
    assert!(total < 620 * 16_000, "{} a key", total / 16_000);
    // The first level's columns: one full message and the rest.
    assert!(sizes
        .iter()
        .any(|(side, size)| *side == 0 && *size > 3 << 20));
    assert!(sizes.iter().all(|(_side, size)| *size < 4 << 20));
}

#[test]
fn strings_of_two_runs_and_of_two_bins_are_others() {
    let keys = drawn(1, 100);
    let mut seen = HashSet::new();
    for holder_gives in [false, true] {
        let ended = meddled((&keys[..60], &keys[40..]), holder_gives, &mut |_, _, _| ());
        let (ours, other, _sizes) = ended.expect("honest");
        let both = ours.chunks(16).zip(other.chunks(16));
        let differ = both.clone().filter(|(ours, other)| ours != other).count();
        assert_eq!(differ, 20);
        let before = seen.len();
        seen.extend(both.flat_map(|(ours, other)| [ours.to_vec(), other.to_vec()]));
        assert_eq!(seen.len() - before, ours.len() / 16 + differ);
    }
}

#[test]
fn bits_of_strings_say_nothing_of_what_is_shared() {
    let keys = drawn(1, 3000);
    let ended = meddled((&keys[..2000], &keys[1000..]), false, &mut |_, _, _| ());
    let (ours, other, _sizes) = ended.expect("honest");
    let apart = ours
        .chunks(16)
        .zip(other.chunks(16))
        .filter(|(a, b)| a != b);
    let sides = [
        ours.chunks(16).collect::<Vec<_>>(),
        apart.map(|(_ours, other)| other).collect(),
    ];
    for strings in sides {
        for bit in 0..128 {
            let set = strings
                .iter()
                .filter(|string| string[bit / 8] >> (bit % 8) & 1 == 1)
                .count();
            let mean = strings.len() / 2;
            assert!(
                set.abs_diff(mean) < 5 * strings.len().isqrt() / 2,
                "bit {bit}: {set}"
            );
        }
    }
}

#[test]
fn sides_that_both_give_or_both_take_come_to_no_strings() {
    let keys = drawn(1, 3);
    for gives in [false, true] {
        let config = LackConfig {
            peer_keys: 3,
            width: 16,
            gives,
        };
        let table = Table::new(keys.clone()).expect("sound");
        let (delta, pair) = deal(table.places().len());
        let mut holder = LackHolder::new(config, &table, pair).expect("sound");
        let mut tester = LackTester::new(config, keys.clone(), delta).expect("sound");
        if gives {
            let ended = run(&mut [&mut holder, &mut tester], &mut |_, _, _| ());
            let (_whose, fault) = ended.expect_err("an offer is no trees");
            assert_eq!(fault, Fault::Malformed { message: "trees" });
        }
        assert!(holder.shares().is_none() && tester.shares().is_none());
    }
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let input = |fault: Option<Fault>| assert!(matches!(fault, Some(Fault::Input { .. })));
    input(Table::new(Vec::new()).err());
    let keys = drawn(1, 3);
    let table = Table::new(keys.clone()).expect("sound");
    for (peer_keys, width) in [(0, 16), (3, 0), (3, 8193)] {
        let config = LackConfig {
            peer_keys,
            width,
            gives: false,
        };
        let (delta, pair) = deal(table.places().len());
        input(LackHolder::new(config, &table, pair).err());
        input(LackTester::new(config, keys.clone(), delta).err());
    }
}
