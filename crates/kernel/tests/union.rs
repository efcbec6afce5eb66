//! The union gives what is lacking and nothing else, says sizes alone, and refuses what is no message.

mod world;

use std::collections::HashSet;

use fondaco_kernel::block::Block;
use fondaco_kernel::protocol::Fault;
use fondaco_kernel::union::{UnionConfig, UnionReceiver, UnionSender};
use proptest::prelude::*;
use world::{drawn, run, Meddler};

const WIDTH: usize = 20;

fn payload(key: Block) -> Vec<u8> {
    let mut out = key.to_bytes().to_vec();
    out.resize(WIDTH, 7);
    out
}

type Ended = Result<(Vec<Vec<u8>>, Vec<(usize, usize)>), (usize, Fault)>;

fn unite(ours: &[Block], theirs: &[Block], meddle: &mut Meddler<'_>) -> Ended {
    let config = |peer_keys| UnionConfig {
        peer_keys,
        width: WIDTH,
    };
    let payloads = theirs.iter().flat_map(|key| payload(*key)).collect();
    let mut receiver = UnionReceiver::new(config(theirs.len()), ours.to_vec()).expect("sound");
    let mut sender =
        UnionSender::new(config(ours.len()), theirs.to_vec(), payloads).expect("sound");
    assert_eq!(receiver.received(), None);
    let sizes = run(&mut [&mut receiver, &mut sender], meddle)?;
    let got = receiver.received().expect("the end");
    Ok((got.chunks(WIDTH).map(<[u8]>::to_vec).collect(), sizes))
}

fn blocks(set: &HashSet<u128>) -> Vec<Block> {
    set.iter().map(|value| Block(*value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn the_receiver_gets_what_it_lacks(ours in prop::collection::hash_set(0u128..60, 1..30), theirs in prop::collection::hash_set(0u128..60, 1..30)) {
        let (got, _sizes) = unite(&blocks(&ours), &blocks(&theirs), &mut |_, _, _| ()).expect("honest");
        let wanted: HashSet<Vec<u8>> = theirs.difference(&ours).map(|key| payload(Block(*key))).collect();
        prop_assert_eq!(got.len(), wanted.len());
        prop_assert_eq!(got.into_iter().collect::<HashSet<_>>(), wanted);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), place in 0usize..5) {
        let (ours, theirs) = (drawn(1, 4), drawn(1, 6));
        // Sender, receiver, sender, receiver, sender.
        let (side, number) = [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2)][place];
        let ended = unite(&ours, &theirs, &mut |from, at, message| {
            if (from, at) == (side, number) && bytes.len() != message.len() {
                message.clone_from(&bytes);
            }
        });
        if let Err((whose, fault)) = ended {
            prop_assert_eq!(whose, 1 - side);
            prop_assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
        }
    }

    #[test]
    fn a_truncated_message_is_refused(place in 0usize..5, share in 0usize..100) {
        let (ours, theirs) = (drawn(1, 40), drawn(2, 60));
        let (side, number) = [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2)][place];
        let (whose, fault) = unite(&ours, &theirs, &mut |from, at, message| {
            if (from, at) == (side, number) {
                message.truncate(message.len() * share / 100);
            }
        }).expect_err("a cut message");
        prop_assert_eq!(whose, 1 - side);
        prop_assert!(matches!(fault, Fault::Malformed { .. }), "{fault:?}");
    }
}

#[test]
fn message_sizes_depend_on_the_numbers_of_keys_alone() {
    let (one, other) = (drawn(1, 40), drawn(2, 40));
    let mut sizes = Vec::new();
    for (ours, theirs) in [
        (&one, &one[..30]),
        (&one, &other[..30]),
        (&other, &one[10..]),
    ] {
        sizes.push(unite(ours, theirs, &mut |_, _, _| ()).expect("honest").1);
    }
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[0], sizes[2]);
    assert_eq!(sizes[0].len(), 5);
}

#[test]
fn the_senders_order_says_nothing_of_its_keys() {
    let keys = drawn(3, 20);
    let mut seen = Vec::new();
    unite(&keys, &keys, &mut |from, at, message| {
        if (from, at) == (1, 1) {
            let points = &message[message.len() - 32 * 20..];
            seen = points.chunks(32).map(<[u8]>::to_vec).collect();
        }
    })
    .expect("honest");
    assert!(seen.is_sorted() && seen.len() == 20);
    let ended = unite(&keys, &keys, &mut |from, at, message| {
        if (from, at) == (1, 1) {
            let from = message.len() - 32 * 20;
            message[from..].rotate_left(32);
        }
    });
    let refused = Fault::Malformed {
        message: "tags and points",
    };
    assert_eq!(ended.expect_err("not sorted"), (0, refused));
}

#[test]
fn a_message_of_another_run_is_refused_or_gives_nothing() {
    let (ours, theirs) = (drawn(1, 10), drawn(2, 12));
    let mut before = vec![Vec::new(); 5];
    let places = [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2)];
    let place = |from, at| {
        places
            .iter()
            .position(|one| *one == (from, at))
            .expect("one of five")
    };
    unite(&ours, &theirs, &mut |from, at, message| {
        before[place(from, at)].clone_from(message);
    })
    .expect("honest");
    let known: HashSet<Vec<u8>> = theirs.iter().map(|key| payload(*key)).collect();
    for (replayed, old) in before.iter().enumerate() {
        let ended = unite(&ours, &theirs, &mut |from, at, message| {
            if place(from, at) == replayed {
                message.clone_from(old);
            }
        });
        match (replayed, ended) {
            // Its columns answer another offer: the commitment to its trees does not hold.
            (0 | 1, Err((whose, Fault::Cheated { .. }))) => assert_eq!(whose, 1),
            // Old points, bits or sealed keys: what opens is noise, which the engine refuses as no keys.
            (2..=4, Ok((got, _sizes))) => {
                let real = got.iter().filter(|one| known.contains(*one)).count();
                assert!(replayed == 2 || real < got.len(), "{replayed}: {real}");
            }
            (_, ended) => panic!("message {replayed}: {ended:?}"),
        }
    }
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let config = |peer_keys, width| UnionConfig { peer_keys, width };
    let keys = drawn(1, 2);
    for (config, keys, bytes) in [
        (config(0, 1), &keys[..], 2),
        (config(1, 1), &keys[..0], 0),
        (config(1, 0), &keys[..], 0),
        (config(1, 65_537), &keys[..], 2 * 65_537),
        (config(1, 3), &keys[..], 5),
    ] {
        let refused = UnionSender::new(config, keys.to_vec(), vec![0; bytes]).err();
        assert!(matches!(refused, Some(Fault::Input { .. })));
    }
    assert!(UnionReceiver::new(config(0, 1), keys).is_err());
}
