//! What a circuit gets of two sets: equal words where keys are shared and nowhere else, shares of the payload there.

mod dealer;
mod world;

use std::collections::HashMap;

use dealer::{deal, DealtDelta, DealtPair};

use fondaco_kernel::block::Block;
use fondaco_kernel::opprf::cuckoo::{bins_for, FREE, MAX_BINS};
use fondaco_kernel::opprf::{OpprfReceiver, OpprfSender, Shape, MAX_WORDS};
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::protocol::{Fault, Party};
use proptest::prelude::*;

use world::{drawn, run, Meddler};

type Sides = (OpprfSender<DealtDelta>, OpprfReceiver<DealtPair>);

fn payload(keys: &[Block], words: usize) -> Vec<u64> {
    #[allow(clippy::cast_possible_truncation)]
    let word = |key: &Block, at: usize| (key.0 as u64).wrapping_mul(3 + at as u64);
    keys.iter()
        .flat_map(|key| (0..words).map(move |at| word(key, at)))
        .collect()
}

fn sides(sender: &[Block], receiver: &[Block], words: usize) -> Sides {
    let (delta, pair) = deal(bins_for(receiver.len()));
    (
        OpprfSender::new(
            sender.to_vec(),
            payload(sender, words),
            words,
            receiver.len(),
            delta,
        )
        .expect("sound"),
        OpprfReceiver::new(receiver, words, sender.len(), pair).expect("sound"),
    )
}

fn meet(
    (sender, receiver): &mut Sides,
    meddle: &mut Meddler<'_>,
) -> Result<Vec<(usize, usize)>, (usize, Fault)> {
    run(&mut [sender, receiver], meddle)
}

/// What the circuit would see: the receiver's keys in bins of equal words, with their payload.
fn matched(
    receiver: &[Block],
    table: &[u32],
    shape: Shape,
    theirs: &[u64],
    ours: &[u64],
) -> HashMap<Block, Vec<u64>> {
    let bins = shape.bins;
    assert_eq!(table.len(), bins);
    assert!(theirs.len() == (1 + shape.words) * bins && ours.len() == theirs.len());
    assert!(theirs[..bins]
        .iter()
        .chain(&ours[..bins])
        .all(|word| word >> shape.bits == 0));
    let mut found = HashMap::new();
    for bin in 0..bins {
        if theirs[bin] == ours[bin] {
            assert_ne!(table[bin], FREE, "an empty bin matched");
            let words = (1..=shape.words)
                .map(|word| theirs[word * bins + bin].wrapping_add(ours[word * bins + bin]))
                .collect();
            found.insert(receiver[table[bin] as usize], words);
        }
    }
    found
}

fn check(ours: &[Block], theirs: &[Block], words: usize) {
    let mut pair = sides(ours, theirs, words);
    assert!(pair.0.words().is_none() && pair.1.words().is_none());
    meet(&mut pair, &mut |_, _, _| ()).expect("honest");
    let wanted: HashMap<Block, Vec<u64>> = theirs
        .iter()
        .filter(|key| ours.contains(key))
        .map(|key| (*key, payload(&[*key], words)))
        .collect();
    let found = matched(
        theirs,
        pair.1.table(),
        pair.1.shape(),
        &pair.0.words().expect("the end"),
        &pair.1.words().expect("the end"),
    );
    assert_eq!(found, wanted);
    assert_eq!(pair.0.shape(), pair.1.shape());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn words_are_equal_where_keys_are_shared_alone(ours in prop::collection::hash_set(0u128..400, 1..200), theirs in prop::collection::hash_set(0u128..400, 1..200), words in 0usize..6) {
        let blocks = |set: std::collections::HashSet<u128>| set.into_iter().map(Block).collect::<Vec<_>>();
        check(&blocks(ours), &blocks(theirs), words);
    }

    #[test]
    fn any_bytes_at_any_turn_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..400), turn in 0usize..5, victim in 0usize..2) {
        let keys = drawn(1, 5);
        let mut pair = sides(&keys, &keys, 2);
        let ended = meet(&mut pair, &mut |side, number, message| {
            if side != victim && number == turn {
                message.clone_from(&bytes);
            }
        });
        let fair = matches!(ended, Ok(_) | Err((_, Fault::Malformed { .. })));
        prop_assert!(fair, "{ended:?}");
    }
}

#[test]
fn sets_of_very_different_sizes_meet() {
    let (few, many) = (drawn(1, 3), drawn(1, 30_000));
    check(&few, &many, 1);
    check(&many, &few, 3);
    check(&few[..1], &few[..1], 0);
    check(&few[..1], &drawn(2, 1), 4);
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_and_words_alone() {
    let sizes = |ours: &[Block], theirs: &[Block], words| {
        meet(&mut sides(ours, theirs, words), &mut |_, _, _| ()).expect("honest")
    };
    let (all, other) = (drawn(1, 900), drawn(2, 900));
    assert_eq!(sizes(&all, &all[..700], 3), sizes(&all, &other[..700], 3));
    assert_eq!(sizes(&all, &all[..700], 3), sizes(&other, &other[200..], 3));
    let columns = |words| sizes(&all, &all, words).len() - sizes(&all, &all, 0).len();
    assert_eq!([0, 1, 2, 3, 4, 5].map(columns), [0, 0, 1, 1, 2, 2]);
}

#[test]
fn the_bytes_are_those_that_are_documented() {
    let keys = drawn(3, 1 << 12);
    let sizes = meet(&mut sides(&keys, &keys, 1), &mut |_, _, _| ()).expect("honest");
    let total: usize = sizes.iter().map(|(_side, size)| size).sum();
    assert!(total < 100 * keys.len(), "{} a key", total / keys.len());
}

#[test]
fn truncated_and_lengthened_messages_are_caught_on_both_sides() {
    // The sender's messages: salt, two columns; the receiver's: seed, vector.
    for (side, number) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)] {
        for cut in [true, false] {
            let mut pair = sides(&drawn(1, 50), &drawn(1, 40), 2);
            let ended = meet(&mut pair, &mut |from, at, bytes| {
                if (from, at) == (side, number) {
                    if cut {
                        bytes.truncate(bytes.len() - 1);
                    } else {
                        bytes.push(0);
                    }
                }
            });
            let (victim, fault) = ended.expect_err("caught");
            assert_eq!(victim, 1 - side);
            assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
        }
    }
}

#[test]
fn what_each_side_holds_says_nothing_of_what_is_shared() {
    // Bits of a side's words are set half of the time, in bins of shared keys and in others.
    let (ours, theirs) = (drawn(1, 4000), drawn(1, 4000));
    let mut pair = sides(&ours, &theirs[..2000], 3);
    meet(&mut pair, &mut |_, _, _| ()).expect("honest");
    for side in [pair.0.words(), pair.1.words()] {
        let words = side.expect("the end");
        let Shape {
            bins, bits: width, ..
        } = pair.1.shape();
        for word in 0..4 {
            for bit in 0..if word == 0 { width } else { 64 } {
                let all = &words[word * bins..(word + 1) * bins];
                let set = all.iter().filter(|word| *word >> bit & 1 == 1).count();
                let mean = bins / 2;
                assert!(
                    set.abs_diff(mean) < 5 * bins.isqrt() / 2,
                    "word {word} bit {bit}: {set} of {bins}"
                );
            }
        }
    }
}

#[test]
fn two_runs_of_the_same_sets_have_other_words() {
    let keys = drawn(1, 100);
    let words = || {
        let mut pair = sides(&keys, &keys, 1);
        meet(&mut pair, &mut |_, _, _| ()).expect("honest");
        (pair.0.words(), pair.1.words())
    };
    assert_ne!(words(), words());
}

#[test]
fn what_it_cannot_do_is_refused() {
    let keys = drawn(1, 4);
    let refused = |made: Result<Shape, Fault>| assert!(matches!(made, Err(Fault::Input { .. })));
    refused(Shape::new(0, 4, 1));
    refused(Shape::new(4, 0, 1));
    refused(Shape::new(MAX_BINS, 4, 1));
    refused(Shape::new(usize::MAX, 4, 1));
    refused(Shape::new(4, usize::MAX, 1));
    refused(Shape::new(4, 4, MAX_WORDS + 1));
    assert!(Shape::new(3_000_000, 4, MAX_WORDS).is_ok_and(|shape| shape.bits == 62));
    let (delta, pair) = deal(bins_for(4));
    let short = OpprfSender::new(keys.clone(), vec![0; 3], 1, 4, delta);
    assert!(matches!(short, Err(Fault::Input { .. })));
    let mut receiver = OpprfReceiver::new(&keys, 1, 4, pair).expect("sound");
    assert_eq!(receiver.next(Some(b"early")), Err(Fault::OutOfTurn));
    assert_eq!(receiver.next(None), Err(Fault::OutOfTurn));
    assert!(receiver.words().is_none());
    let doubled = vec![Block(1), Block(1), Block(2), Block(3)];
    let mut both = sides(&doubled, &keys, 0);
    assert_eq!(
        meet(&mut both, &mut |_, _, _| ()),
        Err((
            0,
            Fault::Input {
                what: "a key comes twice"
            }
        ))
    );
}

#[test]
fn with_the_silent_vole_it_is_the_same() {
    let (ours, theirs) = (drawn(1, 3000), drawn(1, 5000)[1000..].to_vec());
    let bins = bins_for(theirs.len());
    let delta = sender_vole(Security::SemiHonest, bins).expect("few");
    let pair = receiver_vole(Security::SemiHonest, bins).expect("few");
    let mut sender =
        OpprfSender::new(ours.clone(), payload(&ours, 2), 2, theirs.len(), delta).expect("sound");
    let mut receiver = OpprfReceiver::new(&theirs, 2, ours.len(), pair).expect("sound");
    run(&mut [&mut sender, &mut receiver], &mut |_, _, _| ()).expect("honest");
    let found = matched(
        &theirs,
        receiver.table(),
        receiver.shape(),
        &sender.words().expect("the end"),
        &receiver.words().expect("the end"),
    );
    assert_eq!(found.len(), 2000);
    for key in &ours[1000..] {
        assert_eq!(found[key], payload(&[*key], 2));
    }
}
