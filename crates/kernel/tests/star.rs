//! Values reach those who have their keys, shares of all add up to zero, and what is no message is refused.

mod world;

use std::collections::HashSet;

use fondaco_kernel::block::Block;
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::protocol::Fault;
use fondaco_kernel::star::{zero_shares, StarLeader, StarMember};
use proptest::prelude::*;
use world::{drawn, run, Meddler};

type Ended = Result<(Vec<Block>, Vec<(usize, usize)>), (usize, Fault)>;

fn ask(ours: &[Block], theirs: &[Block], values: &[Block], meddle: &mut Meddler<'_>) -> Ended {
    let how = Security::SemiHonest;
    let vole = receiver_vole(how, ours.len()).expect("sound");
    let mut receiver = StarLeader::new(ours.to_vec(), theirs.len(), vole).expect("sound");
    let vole = sender_vole(how, ours.len()).expect("sound");
    let mut sender =
        StarMember::new(theirs.to_vec(), values.to_vec(), ours.len(), vole).expect("sound");
    assert_eq!(receiver.values(), None);
    let sizes = run(&mut [&mut receiver, &mut sender], meddle)?;
    Ok((receiver.values().expect("the end").to_vec(), sizes))
}

fn blocks(set: &HashSet<u128>) -> Vec<Block> {
    set.iter().map(|value| Block(*value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_receiver_gets_the_values_of_the_keys_that_both_have(ours in prop::collection::hash_set(0u128..80, 1..40), theirs in prop::collection::hash_set(0u128..80, 1..40)) {
        let (mine, other) = (blocks(&ours), blocks(&theirs));
        let values = drawn(9, other.len());
        let (got, _sizes) = ask(&mine, &other, &values, &mut |_, _, _| ()).expect("honest");
        for (key, value) in mine.iter().zip(got) {
            match other.iter().position(|one| one == key) {
                Some(at) => prop_assert_eq!(value, values[at]),
                None => prop_assert!(!values.contains(&value) && value != Block::ZERO),
            }
        }
    }

    #[test]
    fn the_sums_of_a_star_are_zero_where_all_have_a_key(sets in prop::collection::vec(prop::collection::hash_set(0u128..12, 1..12), 3..6)) {
        let parties: Vec<Vec<Block>> = sets.iter().map(blocks).collect();
        let secret = |a: usize, b: usize| Block(7 + (a.min(b) * 100 + a.max(b)) as u128);
        let shares = |rank: usize| {
            let secrets: Vec<Block> = (0..sets.len()).filter(|other| *other != rank).map(|other| secret(rank, other)).collect();
            zero_shares(&parties[rank], &secrets)
        };
        let mut sums = shares(0);
        for rank in 1..sets.len() {
            let (got, _sizes) = ask(&parties[0], &parties[rank], &shares(rank), &mut |_, _, _| ()).expect("honest");
            sums.iter_mut().zip(got).for_each(|(sum, value)| *sum ^= value);
        }
        for (key, sum) in parties[0].iter().zip(sums) {
            prop_assert_eq!(sum == Block::ZERO, sets.iter().all(|set| set.contains(&key.0)));
        }
    }

    #[test]
    fn any_bytes_are_refused_as_the_store(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (ours, theirs) = (drawn(1, 30), drawn(2, 50));
        let (mut count, mut sent) = (0, 0);
        ask(&ours, &theirs, &theirs, &mut |from, _, _| sent += from).expect("honest");
        let (whose, fault) = ask(&ours, &theirs, &theirs, &mut |from, _, message| {
            count += from;
            if from == 1 && count == sent {
                message.clone_from(&bytes);
            }
        }).expect_err("no message");
        prop_assert_eq!((whose, fault), (0, Fault::Malformed { message: "store of values" }));
    }
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_alone() {
    let (one, other) = (drawn(1, 300), drawn(2, 300));
    let mut silent = |_: usize, _: usize, _: &mut Vec<u8>| ();
    let first = ask(&one, &one[..200], &other[..200], &mut silent).expect("honest");
    let second = ask(&one, &other[100..], &one[..200], &mut silent).expect("honest");
    assert_eq!(first.1, second.1);
}

#[test]
fn one_share_and_a_part_of_the_shares_look_like_no_share_of_zero() {
    let keys = drawn(5, 1000);
    let [a, b, c] = [Block(1), Block(2), Block(3)];
    let (first, second, third) = (
        zero_shares(&keys, &[a, b]),
        zero_shares(&keys, &[a, c]),
        zero_shares(&keys, &[b, c]),
    );
    for at in 0..keys.len() {
        assert_eq!(first[at] ^ second[at] ^ third[at], Block::ZERO);
        assert_ne!(first[at] ^ second[at], Block::ZERO);
        assert_ne!(first[at], Block::ZERO);
    }
    assert_eq!(zero_shares(&keys[..0], &[a]), vec![]);
}

#[test]
fn a_store_of_another_run_gives_nothing() {
    let keys = drawn(1, 40);
    let mut before = Vec::new();
    ask(&keys, &keys, &keys, &mut |from, _, message| {
        if from == 1 {
            before.clone_from(message);
        }
    })
    .expect("honest");
    let (got, _sizes) = ask(&keys, &keys, &keys, &mut |from, _, message| {
        if from == 1 && message.len() == before.len() {
            message.clone_from(&before);
        }
    })
    .expect("of the right form");
    assert!(got.iter().zip(&keys).all(|(value, key)| value != key));
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let (how, keys) = (Security::SemiHonest, drawn(1, 2));
    let vole = || sender_vole(how, 1).expect("sound");
    for (keys, values, peer_keys) in [(&keys[..0], 0, 1), (&keys[..], 1, 1), (&keys[..], 2, 0)] {
        let refused = StarMember::new(keys.to_vec(), drawn(2, values), peer_keys, vole()).err();
        assert!(matches!(refused, Some(Fault::Input { .. })));
    }
    let vole = receiver_vole(how, 1).expect("sound");
    assert!(StarLeader::new(keys, 0, vole).is_err());
}
