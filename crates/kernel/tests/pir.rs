//! The hidden query from end to end: what is found, what is not, what shows on the wire, and what bad bytes do.

mod pir_world;

use fondaco_kernel::pir::bound::Bounds;
use fondaco_kernel::pir::description::Description;
use fondaco_kernel::pir::index::{Index, Record};
use fondaco_kernel::pir::lookup::{Asker, Provider};
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::pir::record::open;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use pir_world::{ask, borrowed, built, run, shared, table, tampered, Transcript};
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};

#[test]
fn keys_are_found_singly_and_in_batches_and_absent_ones_are_absent() {
    let (index, records) = (shared(), table(300, 40));
    let numbers = [
        0, 299, 300, 7, 1000, 77, 150, 41, 82, 83, 84, 85, 86, 87, 88,
    ];
    let expected = |number: &u32| {
        records
            .get(*number as usize)
            .map(|(_, payload)| payload.clone())
    };
    for (count, keys) in [
        (0, 1),
        (1, 1),
        (3, 4),
        (15, 15),
        (15, 16),
        (15, 65),
        (15, 129),
    ] {
        let (found, _) = ask(&index, &numbers[..count], keys);
        assert_eq!(
            found,
            numbers[..count].iter().map(expected).collect::<Vec<_>>(),
            "{count} of {keys}"
        );
    }
}

#[test]
fn what_the_provider_sees_has_the_same_form_whatever_is_asked() {
    let index = shared();
    for keys in [1, 5, 16, 65] {
        let form = |numbers: &[u32]| -> Vec<(&str, usize)> {
            ask(&index, numbers, keys)
                .1
                .iter()
                .map(|(who, message)| (*who, message.len()))
                .collect()
        };
        let one = form(&[3]);
        assert_eq!(one, form(&[]));
        assert_eq!(one, form(&[9999]));
        if keys > 1 {
            assert_eq!(one, form(&[1, 2, 3, 4000]));
        }
    }
}

#[test]
fn asking_for_the_same_key_twice_repeats_no_message() {
    let index = shared();
    let (first, second) = (ask(&index, &[5], 1).1, ask(&index, &[5], 1).1);
    let sent = |log: &Transcript| -> Vec<Vec<u8>> {
        log.iter()
            .filter(|(who, _)| *who == "asker")
            .map(|(_, message)| message.clone())
            .collect()
    };
    for (a, b) in sent(&first).iter().zip(sent(&second)) {
        let equal = a.iter().zip(&b).filter(|(x, y)| x == y).count();
        assert!(
            equal * 20 < a.len(),
            "{equal} of {} bytes are the same",
            a.len()
        );
    }
}

#[test]
fn what_is_received_besides_the_record_opens_for_nobody_who_did_not_ask() {
    // One group, few rows: with one key asked for, every sealed byte of its answer is at hand; none opens elsewhere.
    let index = shared();
    let layout = &index.description().single;
    let asked = index.evaluators()[0].evaluate(b"key 1").expect("an output");
    let other = index.evaluators()[0].evaluate(b"key 2").expect("an output");
    let data = index.single().data();
    assert!(open(&asked.seal, &layout.read(data, &asked.location)).is_some());
    assert!(open(&asked.seal, &layout.read(data, &other.location)).is_none());
    for number in 0..300 {
        let neighbour = index.evaluators()[0]
            .evaluate(format!("key {number}").as_bytes())
            .expect("an output");
        let opened = open(&asked.seal, &layout.read(data, &neighbour.location));
        assert_eq!(opened.is_some(), number == 1);
    }
}

#[test]
fn wide_payloads_go_in_parts() {
    let records: Vec<(Vec<u8>, Vec<u8>)> = (0..9u8)
        .map(|i| (vec![b'k', i], vec![i; usize::from(i) * 2500]))
        .collect();
    let wanted: Vec<&[u8]> = vec![&records[8].0, b"absent", &records[0].0];
    let (found, _) = run(&built(&records, 0), &wanted, 3).expect("a lookup");
    assert_eq!(found, [Some(records[8].1.clone()), None, Some(Vec::new())]);
}

#[test]
fn an_empty_dataset_answers_that_nothing_is_there() {
    let (found, _) = run(&built(&[], 0), &[b"a"], 2).expect("a lookup");
    assert_eq!(found, [None]);
}

#[test]
fn who_waits_is_told_of_every_record_and_of_the_end() {
    let told = std::sync::Mutex::new(Vec::new());
    let records = table(5000, 4);
    let watch = |what, done, whole| told.lock().expect("a lock").push((what, done, whole));
    Index::build(&borrowed(&records), 64, &watch).expect("an index");
    let told = told.into_inner().expect("a lock");
    for (what, whole) in [("seal records", 5000), ("place records", 96)] {
        assert!(told.contains(&(what, 0, whole)), "{told:?}");
        assert!(told.contains(&(what, whole, whole)), "{told:?}");
    }
    assert!(told.iter().all(|(_, done, whole)| done <= whole));
}

#[test]
fn inputs_that_make_no_sense_are_refused_by_name() {
    let refused = |records: &[Record<'_>], batch| match Index::build(records, batch, UNWATCHED) {
        Err(Fault::Input { what }) => what,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(
        refused(&[(b"a", b""), (b"b", b""), (b"a", b"x")], 0),
        "a key that stands twice"
    );
    assert_eq!(refused(&[(b"", b"")], 0), "an empty key");
    assert_eq!(
        refused(&[(b"a", &vec![0; (1 << 20) + 1])], 0),
        "a payload of more than 1 MiB"
    );
    assert_eq!(
        refused(&[(b"a", b"")], 1025),
        "a batch of more than 1024 keys"
    );
    for (wanted, keys) in [
        (vec![], 0),
        (vec![], 4097),
        (vec![&b"a"[..], b"b"], 1),
        (vec![b"a", b"a"], 2),
        (vec![b""], 1),
    ] {
        assert!(matches!(
            Asker::new(&wanted, keys, Bounds::default()),
            Err(Fault::Input { .. })
        ));
    }
}

#[test]
fn a_provider_that_answers_with_another_secret_is_caught() {
    let records = table(20, 8);
    let (index, other) = (built(&records, 0), built(&records, 0));
    let mut asker = Asker::new(&[b"key 1"], 1, Bounds::default()).expect("an asker");
    let mut provider = Provider::new(Arc::clone(&index), 1).expect("a provider");
    let messages: Vec<Vec<u8>> = (0..2)
        .map(|_| match provider.next(None) {
            Ok(Turn::Send(message)) => message,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    assert_eq!(asker.next(Some(&messages[0])), Ok(Turn::Receive));
    let Ok(Turn::Send(blinded)) = asker.next(Some(&messages[1])) else {
        panic!("keys")
    };
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    let evaluation = other.evaluators()[0]
        .blind_evaluate(&blinded)
        .expect("elements");
    assert_eq!(
        asker.next(Some(&evaluation)),
        Err(Fault::Cheated {
            check: "evaluation proof"
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_are_a_description_but_its_own(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), flip in 1u8..) {
        prop_assert!(Description::from_bytes(&bytes).is_none());
        let index = shared();
        let good = index.description().to_bytes();
        let read = Description::from_bytes(&good);
        prop_assert_eq!(read.as_ref(), Some(index.description()));
        let mut changed = good.clone();
        changed[at.index(good.len())] ^= flip;
        if let Some(other) = Description::from_bytes(&changed) {
            prop_assert_eq!(other.to_bytes(), changed);
        }
        prop_assert!(Description::from_bytes(&good[..at.index(good.len())]).is_none());
    }
}

#[test]
fn drivers_out_of_turn_are_told() {
    let mut provider = Provider::new(shared(), 1).expect("a provider");
    assert_eq!(provider.next(Some(b"x")), Err(Fault::OutOfTurn));
    let mut asker = Asker::new(&[b"key 1"], 1, Bounds::default()).expect("an asker");
    assert!(matches!(asker.payloads(), Err(Fault::OutOfTurn)));
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    assert_eq!(asker.next(None), Err(Fault::OutOfTurn));
}

/// An index of 20 records, made once: its messages are small.
fn small() -> Arc<Index> {
    static INDEX: OnceLock<Arc<Index>> = OnceLock::new();
    Arc::clone(INDEX.get_or_init(|| built(&table(20, 8), 0)))
}

/// description, random part, keys, evaluations, queries, answers
const MESSAGES: usize = 6;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_message_that_is_cut_or_too_long_ends_in_one_cause(number in 0..MESSAGES, longer in any::<bool>(), at in any::<prop::sample::Index>()) {
        let result = tampered(&small(), &[b"key 1", b"none"], 2, &|n, message| {
            if n == number && longer {
                message.push(0);
            } else if n == number {
                message.truncate(at.index(message.len()));
            }
        });
        prop_assert!(matches!(result, Err(Fault::Malformed { .. })), "{:?}", result.map(|_| ()));
    }

    #[test]
    fn a_changed_message_gives_no_wrong_record(number in 0..MESSAGES, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let result = tampered(&small(), &[b"key 1", b"none"], 2, &|n, message| {
            if n == number {
                let place = at.index(message.len());
                message[place] ^= flip;
            }
        });
        if let Ok((found, _)) = result {
            prop_assert!(found[0].is_none() || found[0] == Some(vec![1]));
            prop_assert!(found[1].is_none());
        }
    }

    #[test]
    fn any_bytes_in_place_of_a_message_end_in_one_cause(number in 0..MESSAGES, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let length = std::cell::Cell::new(0);
        let result = tampered(&small(), &[b"key 1"], 1, &|n, message| {
            if n == number {
                length.set(message.len());
                message.clone_from(&bytes);
            }
        });
        // An answer of the right length is an answer: what it holds opens under no key, so the key is absent.
        let answered = number == MESSAGES - 1 && bytes.len() == length.get();
        match result {
            Err(Fault::Malformed { .. } | Fault::Cheated { .. }) => prop_assert!(!answered),
            Ok((found, _)) => prop_assert!(answered && found[0].is_none()),
            other => prop_assert!(false, "{:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn an_answer_of_any_bytes_opens_nothing(seed in any::<u8>(), step in 1u8..) {
        let result = tampered(&small(), &[b"key 1"], 1, &|n, message| {
            if n == MESSAGES - 1 {
                for (at, byte) in message.iter_mut().enumerate() {
                    *byte = seed.wrapping_add(step.wrapping_mul(at.to_le_bytes()[0]));
                }
            }
        });
        prop_assert!(result.expect("an answer").0[0].is_none());
    }
}
