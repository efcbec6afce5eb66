//! The intersection is the intersection, goes to whom it shall, says its sizes alone, and catches who cheats.

mod dealer;
mod world;

use std::collections::HashSet;

use dealer::{deal, DealtDelta, DealtPair};

use fondaco_kernel::block::Block;
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::protocol::{Fault, Party};
use fondaco_kernel::psi::{PsiConfig, PsiReceiver, PsiSender};
use fondaco_kernel::tags::Layout;
use fondaco_kernel::vole::{VoleReceiver, VoleSender};
use proptest::prelude::*;

use world::{drawn, run, Meddler};

type Sides = (PsiSender<DealtDelta>, PsiReceiver<DealtPair>);

fn sides(sender: &[Block], receiver: &[Block], security: Security, both: bool) -> Sides {
    let (delta, pair) = deal(receiver.len());
    let with = |peer_keys| PsiConfig {
        security,
        both,
        peer_keys,
    };
    (
        PsiSender::new(with(receiver.len()), sender.to_vec(), delta).expect("sound"),
        PsiReceiver::new(with(sender.len()), receiver.to_vec(), pair).expect("sound"),
    )
}

fn meet(
    (sender, receiver): &mut Sides,
    meddle: &mut Meddler<'_>,
) -> Result<Vec<(usize, usize)>, (usize, Fault)> {
    run(&mut [sender, receiver], meddle)
}

fn chosen(keys: &[Block], places: &[u32]) -> HashSet<Block> {
    let found: HashSet<Block> = places.iter().map(|at| keys[*at as usize]).collect();
    assert_eq!(found.len(), places.len(), "a key was named twice");
    found
}

fn check(ours: &[Block], theirs: &[Block], security: Security, both: bool) {
    let mut pair = sides(ours, theirs, security, both);
    meet(&mut pair, &mut |_, _, _| ()).expect("honest");
    let wanted: HashSet<Block> = ours
        .iter()
        .filter(|k| theirs.contains(k))
        .copied()
        .collect();
    assert_eq!(chosen(theirs, pair.1.matched().expect("the end")), wanted);
    assert_eq!(
        pair.0.matched().map(|places| chosen(ours, places)),
        both.then_some(wanted)
    );
    if let (Some(sent), Some(compared)) = (pair.0.matched(), pair.1.matched()) {
        let keys = |set: &[Block], places: &[u32]| -> Vec<Block> {
            places.iter().map(|at| set[*at as usize]).collect()
        };
        let both_have_one_order = keys(ours, sent) == keys(theirs, compared);
        assert!(both_have_one_order);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_intersection_is_that_of_sets(ours in prop::collection::hash_set(0u128..400, 1..200), theirs in prop::collection::hash_set(0u128..400, 1..200), malicious: bool, both: bool) {
        let blocks = |set: HashSet<u128>| set.into_iter().map(Block).collect::<Vec<_>>();
        let security = if malicious { Security::Malicious } else { Security::SemiHonest };
        check(&blocks(ours), &blocks(theirs), security, both);
    }

    #[test]
    fn any_bytes_at_any_turn_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..400), turn in 0usize..3, victim in 0usize..2, malicious: bool) {
        let security = if malicious { Security::Malicious } else { Security::SemiHonest };
        let keys = drawn(1, 5);
        let mut pair = sides(&keys, &keys, security, true);
        // Whatever a peer says, a party ends in an output or a fault, and never panics.
        let ended = meet(&mut pair, &mut |side, number, message| {
            if side != victim && number == turn {
                message.clone_from(&bytes);
            }
        });
        let fair = matches!(ended, Ok(_) | Err((_, Fault::Malformed { .. } | Fault::Cheated { .. })));
        prop_assert!(fair, "{ended:?}");
    }

    #[test]
    fn tags_come_back_where_they_are(own in prop::collection::vec(any::<u128>(), 1..300), sent in prop::collection::vec(any::<u128>(), 1..300), shared in 0usize..100) {
        let own: Vec<Block> = own.into_iter().map(Block).collect();
        let mut sent: Vec<Block> = sent.into_iter().map(Block).collect();
        let shared = shared.min(own.len()).min(sent.len());
        sent[..shared].copy_from_slice(&own[..shared]);
        let layout = Layout::new(sent.len(), own.len());
        let (message, order) = layout.pack(&sent).expect("few");
        prop_assert_eq!(message.len(), layout.size());
        let found = layout.find(&own, &message).expect("well formed");
        prop_assert!(found.len() >= shared);
        for (mine, at) in found {
            prop_assert_eq!(own[mine as usize], sent[order[at as usize] as usize]);
        }
    }

    #[test]
    fn an_answer_of_any_bytes_is_refused_or_read(bits in prop::collection::vec(any::<u8>(), 0..40), sent in 1usize..200) {
        let layout = Layout::new(sent, 7);
        match layout.answered(&bits) {
            Ok(places) => {
                prop_assert!(places.iter().all(|at| (*at as usize) < sent));
                prop_assert_eq!(layout.answer(places.into_iter()), bits);
            }
            Err(fault) => prop_assert_eq!(fault.to_string(), "the peer's answer is not of the form it must have"),
        }
    }

    #[test]
    fn tags_of_any_bytes_are_refused_or_compared(bytes in prop::collection::vec(any::<u8>(), 0..2000), sent in 1usize..200, own in 1usize..200) {
        let layout = Layout::new(sent, own);
        let mut sized = bytes;
        let found = layout.find(&drawn(1, own), &sized);
        prop_assert!(sized.len() == layout.size() || found.is_err());
        sized.resize(layout.size(), 0);
        let _refused_or_not = layout.find(&drawn(1, own), &sized);
    }
}

#[test]
fn sets_of_very_different_sizes_meet() {
    let (few, many) = (drawn(1, 3), drawn(1, 70_000));
    for security in [Security::SemiHonest, Security::Malicious] {
        check(&few, &many, security, true);
        check(&many, &few, security, true);
    }
    check(&few[..1], &few[..1], Security::Malicious, true);
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_alone() {
    for security in [Security::SemiHonest, Security::Malicious] {
        let sizes = |ours: &[Block], theirs: &[Block]| {
            meet(&mut sides(ours, theirs, security, true), &mut |_, _, _| ()).expect("honest")
        };
        let (all, other) = (drawn(1, 900), drawn(2, 900));
        assert_eq!(sizes(&all, &all[..700]), sizes(&all, &other[..700]));
        assert_eq!(sizes(&all, &all[..700]), sizes(&other, &other[200..]));
    }
}

#[test]
fn the_bytes_are_those_that_are_documented() {
    let keys = drawn(3, 1 << 12);
    let sizes = meet(
        &mut sides(&keys, &keys, Security::SemiHonest, true),
        &mut |_, _, _| (),
    )
    .expect("honest");
    let total: usize = sizes.iter().map(|(_side, size)| size).sum();
    assert!(
        total < 33 * keys.len(),
        "{total} bytes for {} keys",
        keys.len()
    );
}

/// A fault that a meddled message ends in, for the side it ends in.
fn caught(security: Security, meddle: &mut Meddler<'_>) -> (usize, Fault) {
    let (ours, theirs) = (drawn(1, 50), drawn(1, 40));
    meet(&mut sides(&ours, &theirs, security, true), meddle).expect_err("caught")
}

#[test]
fn truncated_and_lengthened_messages_are_caught_on_both_sides() {
    for security in [Security::SemiHonest, Security::Malicious] {
        for side in 0..2 {
            for number in 0..2 {
                for cut in [true, false] {
                    let (victim, fault) = caught(security, &mut |from, at, bytes| {
                        if (from, at) == (side, number) {
                            if cut {
                                bytes.truncate(bytes.len() - 1);
                            } else {
                                bytes.push(0);
                            }
                        }
                    });
                    assert_eq!(victim, 1 - side);
                    assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
                }
            }
        }
    }
}

#[test]
fn a_wrong_vector_ends_in_a_claim_that_fails() {
    let mut flip = |from: usize, at: usize, bytes: &mut Vec<u8>| {
        // The receiver's second message is its vector; its third claims what it found.
        if (from, at) == (1, 1) {
            bytes.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
        }
        if (from, at) == (1, 2) {
            bytes[0] |= 1;
        }
    };
    let (victim, fault) = caught(Security::Malicious, &mut flip);
    assert_eq!(
        (victim, fault),
        (
            0,
            Fault::Cheated {
                check: "claim of the intersection"
            }
        )
    );
}

#[test]
fn a_claim_of_keys_that_the_receiver_has_not_is_caught() {
    let mut claim_all = |from: usize, at: usize, bytes: &mut Vec<u8>| {
        if (from, at) == (1, 2) {
            let width = bytes.len() - 32;
            bytes[..width - 1].fill(0xff);
        }
    };
    let (victim, fault) = caught(Security::Malicious, &mut claim_all);
    assert_eq!(
        (victim, fault),
        (
            0,
            Fault::Cheated {
                check: "claim of the intersection"
            }
        )
    );
}

#[test]
fn a_coin_that_is_not_the_committed_one_is_caught() {
    let mut other = |from: usize, at: usize, bytes: &mut Vec<u8>| {
        if (from, at) == (0, 1) {
            bytes[3] ^= 0x40;
        }
    };
    let (victim, fault) = caught(Security::Malicious, &mut other);
    assert_eq!((victim, fault), (1, Fault::Cheated { check: "coin" }));
}

#[test]
fn messages_of_another_run_are_caught() {
    // What an earlier run of the same parties said, said again.
    for (side, number) in [(0, 1), (1, 2)] {
        let mut recorded = Vec::new();
        let (ours, theirs) = (drawn(1, 50), drawn(1, 40));
        let mut record = |from: usize, at: usize, bytes: &mut Vec<u8>| {
            if (from, at) == (side, number) {
                recorded.clone_from(bytes);
            }
        };
        meet(
            &mut sides(&ours, &theirs, Security::Malicious, true),
            &mut record,
        )
        .expect("honest");
        let (victim, fault) = caught(Security::Malicious, &mut |from, at, bytes| {
            if (from, at) == (side, number) {
                bytes.clone_from(&recorded);
            }
        });
        assert_eq!(victim, 1 - side, "{side} {number}: {fault:?}");
        assert!(matches!(fault, Fault::Cheated { .. }), "{fault:?}");
    }
}

#[test]
fn tags_out_of_order_are_refused() {
    let tags = drawn(1, 8);
    let layout = Layout::new(8, 8);
    let (mut message, _order) = layout.pack(&tags).expect("few");
    let width = (message.len() - 1) / 8;
    message[1..].rotate_left(width);
    assert!(matches!(
        layout.find(&tags, &message),
        Err(Fault::Malformed { .. })
    ));
}

#[test]
fn a_tag_that_comes_twice_is_found_once_and_all_in_the_order_of_the_message() {
    for (count, twice) in [(8, 3), (500, 77), (70_000, 69_000)] {
        let mut tags = drawn(1, count);
        tags[twice] = tags[twice - 1];
        let layout = Layout::new(count, count);
        let (message, order) = layout.pack(&tags).expect("few");
        let own = drawn(1, count);
        let found = layout.find(&own, &message).expect("well formed");
        // All but the one that was overwritten.
        assert_eq!(found.len(), count - 1);
        assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].1));
        let mut rows: Vec<u32> = found.iter().map(|(row, _at)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), count - 1);
        for (row, at) in found {
            assert_eq!(own[row as usize], tags[order[at as usize] as usize]);
        }
    }
}

#[test]
fn an_empty_set_and_a_party_out_of_turn_are_refused() {
    let keys = drawn(1, 4);
    let (delta, pair) = deal(4);
    let config = PsiConfig {
        security: Security::SemiHonest,
        both: true,
        peer_keys: 4,
    };
    assert!(matches!(
        PsiSender::new(config, Vec::new(), delta),
        Err(Fault::Input { .. })
    ));
    let mut receiver = PsiReceiver::new(config, keys, pair).expect("sound");
    assert_eq!(receiver.next(Some(b"early")), Err(Fault::OutOfTurn));
    assert_eq!(
        receiver.next(None),
        Err(Fault::OutOfTurn),
        "a party that failed stays so"
    );
    assert!(receiver.matched().is_none());
    let doubled = vec![Block(1), Block(1), Block(2), Block(3)];
    let mut pair = sides(&doubled, &doubled, Security::SemiHonest, false);
    let ended = meet(&mut pair, &mut |_, _, _| ());
    assert_eq!(
        ended,
        Err((
            1,
            Fault::Input {
                what: "a key comes twice"
            }
        ))
    );
}

type RealSides = (PsiSender<VoleSender>, PsiReceiver<VoleReceiver>);

fn real(ours: &[Block], theirs: &[Block], security: Security) -> RealSides {
    let with = |peer_keys| PsiConfig {
        security,
        both: true,
        peer_keys,
    };
    let (delta, pair) = (
        sender_vole(security, theirs.len()),
        receiver_vole(security, theirs.len()),
    );
    (
        PsiSender::new(with(theirs.len()), ours.to_vec(), delta.expect("few")).expect("sound"),
        PsiReceiver::new(with(ours.len()), theirs.to_vec(), pair.expect("few")).expect("sound"),
    )
}

#[test]
fn with_the_silent_vole_the_intersection_is_the_same() {
    for security in [Security::SemiHonest, Security::Malicious] {
        let (ours, theirs) = (drawn(1, 3000), drawn(1, 5000)[1000..].to_vec());
        let (mut sender, mut receiver) = real(&ours, &theirs, security);
        run(&mut [&mut sender, &mut receiver], &mut |_, _, _| ()).expect("honest");
        let wanted: HashSet<Block> = ours[1000..].iter().copied().collect();
        assert_eq!(chosen(&ours, sender.matched().expect("both")), wanted);
        assert_eq!(chosen(&theirs, receiver.matched().expect("both")), wanted);
    }
}

#[test]
fn a_wrong_correlation_is_caught() {
    // Each message of the VOLE that can carry one: the sender's second and third, the receiver's second and third.
    for (side, number) in [(0, 1), (0, 3), (1, 1), (1, 2)] {
        let keys = drawn(1, 40);
        let (mut sender, mut receiver) = real(&keys, &keys, Security::Malicious);
        let ended = run(&mut [&mut sender, &mut receiver], &mut |from, at, bytes| {
            if (from, at) == (side, number) {
                // A single changed bit passes where it meets a zero of Delta, and then changes nothing.
                let middle = bytes.len() / 2;
                bytes[middle..].iter_mut().for_each(|byte| *byte ^= 1);
            }
        });
        let (_victim, fault) = ended.expect_err("caught");
        assert!(
            matches!(fault, Fault::Cheated { .. } | Fault::Malformed { .. }),
            "{side} {number}: {fault:?}"
        );
    }
}
