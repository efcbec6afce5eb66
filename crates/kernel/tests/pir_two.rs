//! The hidden query at two servers from end to end: what is found, what shows on the wire, and who cheats is caught.

use fondaco_kernel::pir::bound::Bounds;
use fondaco_kernel::pir::two::asker::{Asker, Blame, Turns};
use fondaco_kernel::pir::two::index::{Description, Index};
use fondaco_kernel::pir::two::lookup::Server;
use fondaco_kernel::pir::two::preparation::Preparation;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

const RUN: &[u8] = b"a run";
type Pair = [Arc<Index>; 2];
type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn table(count: u32, width: usize) -> Records {
    (0..count)
        .map(|i| {
            (
                format!("key {i}").into_bytes(),
                vec![i.to_le_bytes()[0]; i as usize % (width + 1)],
            )
        })
        .collect()
}

fn borrowed(records: &Records) -> Vec<(&[u8], &[u8])> {
    records
        .iter()
        .map(|(key, payload)| (key.as_slice(), payload.as_slice()))
        .collect()
}

/// Drive both servers of a preparation, with message number n changed on its way.
fn between(
    parties: [&mut Preparation; 2],
    tamper: &dyn Fn(usize, &mut Vec<u8>),
) -> Result<(), Fault> {
    let [one, other] = parties;
    let (mut inbox, mut waits, mut done) = ([Vec::new(), Vec::new()], [false; 2], [false; 2]);
    let mut sent = 0;
    while done != [true; 2] {
        let mut moved = false;
        for side in 0..2 {
            let party = if side == 0 { &mut *one } else { &mut *other };
            while !done[side] && (!waits[side] || !inbox[side].is_empty()) {
                let message: Option<Vec<u8>> = waits[side].then(|| inbox[side].remove(0));
                waits[side] = false;
                if let Some(message) = &message {
                    assert!(message.len() <= party.limit());
                }
                match party.next(message.as_deref())? {
                    Turn::Send(mut message) => {
                        tamper(sent, &mut message);
                        sent += 1;
                        inbox[1 - side].push(message);
                    }
                    Turn::Receive => waits[side] = true,
                    Turn::Finished => done[side] = true,
                }
                moved = true;
            }
        }
        assert!(moved, "both wait");
    }
    Ok(())
}

fn prepared(
    first: &Records,
    second: &Records,
    kept: [Option<Arc<Index>>; 2],
) -> Result<(Pair, bool), Fault> {
    let [kept_first, kept_second] = kept;
    let mut one = Preparation::new(true, &borrowed(first), kept_first, RUN)?;
    let mut other = Preparation::new(false, &borrowed(second), kept_second, RUN)?;
    between([&mut one, &mut other], &|_, _| {})?;
    let (first, fresh) = one.index().expect("an index");
    let (second, fresh_too) = other.index().expect("an index");
    assert_eq!(fresh, fresh_too);
    assert_eq!(first.table().rows(), second.table().rows());
    Ok(([first, second], fresh))
}

fn shared() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let mut other = table(300, 40);
        other.reverse();
        prepared(&table(300, 40), &other, [None, None])
            .expect("an index")
            .0
    })
}

/// What was found, key by key, and what went over the wire.
type Answer = (Vec<Option<Vec<u8>>>, Log);

type Log = Vec<(usize, &'static str, Vec<u8>)>;

/// A lookup at both, with what a server sends in its n-th message changed.
fn ask(
    pair: &Pair,
    wanted: &[&[u8]],
    keys: usize,
    tamper: &dyn Fn(usize, usize, &mut Vec<u8>),
) -> Result<Answer, Blame> {
    let mut asker = Asker::new(wanted, keys, Bounds::default())?;
    let mut servers = Vec::new();
    for (number, index) in pair.iter().enumerate() {
        servers.push(Server::new(
            u8::try_from(number).expect("0 or 1"),
            Arc::clone(index),
            keys,
        )?);
    }
    let (mut log, mut incoming, mut count) = (Log::new(), None, 0);
    loop {
        let messages: Option<[Vec<u8>; 2]> = incoming.take();
        let turn = asker.next(messages.as_ref().map(|[a, b]| [a.as_slice(), b.as_slice()]))?;
        match turn {
            Turns::Send(messages) => {
                for (server, message) in messages.iter().enumerate() {
                    log.push((server, "asked", message.clone()));
                    assert!(message.len() <= servers[server].limit());
                    let turn = servers[server].next(Some(message)).map_err(|fault| Blame {
                        server: Some(server),
                        fault,
                    })?;
                    let Turn::Send(mut answer) = turn else {
                        panic!("{turn:?}")
                    };
                    tamper(count, server, &mut answer);
                    incoming.get_or_insert_with(|| [Vec::new(), Vec::new()])[server] = answer;
                }
                count += 1;
                let answers = incoming.clone().expect("answers");
                for server in 0..2 {
                    log.push((server, "told", answers[server].clone()));
                    let next = servers[server].next(None)?;
                    assert!(matches!(next, Turn::Receive | Turn::Finished));
                }
                assert_eq!(asker.next(None)?, Turns::Receive);
                for (answer, limit) in answers.iter().zip(asker.limits()) {
                    assert!(answer.len() <= limit);
                }
            }
            Turns::Receive => {
                let mut told = [Vec::new(), Vec::new()];
                for (server, told) in told.iter_mut().enumerate() {
                    let Turn::Send(mut message) = servers[server].next(None)? else {
                        panic!("a description")
                    };
                    tamper(count, server, &mut message);
                    log.push((server, "told", message.clone()));
                    *told = message;
                    assert_eq!(servers[server].next(None)?, Turn::Receive);
                }
                count += 1;
                incoming = Some(told);
            }
            Turns::Finished => return Ok((asker.payloads()?, log)),
        }
    }
}

fn plain(pair: &Pair, wanted: &[&[u8]], keys: usize) -> Answer {
    ask(pair, wanted, keys, &|_, _, _| {}).expect("a lookup")
}

#[test]
fn keys_are_found_and_absent_ones_are_absent() {
    let names: Vec<String> = [0, 299, 300, 7, 1000, 77]
        .map(|i| format!("key {i}"))
        .into();
    let wanted: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let records: HashMap<_, _> = table(300, 40).into_iter().collect();
    let (found, _) = plain(shared(), &wanted, 20);
    for (key, found) in wanted.iter().zip(&found) {
        assert_eq!(found.as_ref(), records.get(*key));
    }
}

#[test]
fn what_a_server_sees_is_of_one_form_whatever_is_asked() {
    let form = |wanted: &[&[u8]]| -> Vec<_> {
        plain(shared(), wanted, 3)
            .1
            .into_iter()
            .map(|(server, what, message)| (server, what, message.len()))
            .collect()
    };
    let one = form(&[b"key 1"]);
    assert_eq!(one, form(&[b"absent", b"key 2", b"key 3"]));
    assert_eq!(one, form(&[]));
}

#[test]
fn no_message_to_a_server_is_sent_twice() {
    let asked = |log: Log| -> Vec<Vec<u8>> {
        log.into_iter()
            .filter(|(_, what, _)| *what == "asked")
            .map(|(_, _, message)| message)
            .collect()
    };
    let (first, second) = (
        asked(plain(shared(), &[b"key 1"], 1).1),
        asked(plain(shared(), &[b"key 1"], 1).1),
    );
    for (one, other) in first.iter().zip(&second) {
        let same = one.iter().zip(other).filter(|(a, b)| a == b).count();
        assert!(same < one.len() / 8, "{same} of {}", one.len());
    }
}

#[test]
fn a_server_that_changes_any_message_is_caught_whether_the_key_is_there_or_not() {
    for wanted in [b"key 1".as_slice(), b"absent"] {
        for server in 0..2 {
            for message in 0..3 {
                for at in [0usize, 20, 40, 200] {
                    let blame = ask(shared(), &[wanted], 1, &|number, from, bytes| {
                        if (number, from) == (message, server) {
                            let at = at % bytes.len();
                            bytes[at] ^= 1;
                        }
                    })
                    .expect_err("a changed message");
                    let fault = blame.fault;
                    assert!(
                        matches!(fault, Fault::Cheated { .. } | Fault::Malformed { .. }),
                        "{message} {at}: {fault}"
                    );
                    assert!(blame.server.is_none_or(|blamed| blamed == server));
                }
            }
        }
    }
}

#[test]
fn a_message_of_another_length_names_its_sender() {
    for server in 0..2 {
        for message in 0..3 {
            let blame = ask(shared(), &[b"key 1"], 1, &|number, from, bytes| {
                if (number, from) == (message, server) {
                    bytes.pop();
                }
            })
            .expect_err("a cut message");
            assert_eq!(blame.server, Some(server));
            assert!(
                matches!(blame.fault, Fault::Malformed { .. }),
                "{message}: {}",
                blame.fault
            );
        }
    }
}

#[test]
fn servers_of_different_records_find_out_before_anything_is_told() {
    let mut other = table(300, 40);
    other[5].1.push(1);
    let refused = prepared(&table(300, 40), &other, [None, None]).err();
    assert_eq!(
        refused,
        Some(Fault::Differ {
            what: "the records of the two servers"
        })
    );
    let stale =
        Preparation::new(true, &borrowed(&other), Some(Arc::clone(&shared()[0])), RUN).err();
    assert_eq!(
        stale,
        Some(Fault::Input {
            what: "a kept index of other records"
        })
    );
}

/// What two servers of these records say until one ends, and how it ends.
fn said(first: &Records, second: &Records, runs: [&[u8]; 2]) -> (Vec<Vec<u8>>, Result<(), Fault>) {
    let log = std::cell::RefCell::new(Vec::new());
    let mut one = Preparation::new(true, &borrowed(first), None, runs[0]).expect("records");
    let mut other = Preparation::new(false, &borrowed(second), None, runs[1]).expect("records");
    let end = between([&mut one, &mut other], &|_, message| {
        log.borrow_mut().push(message.clone());
    });
    (log.into_inner(), end)
}

#[test]
fn what_servers_say_to_compare_their_records_is_new_each_time_and_no_hash_of_them() {
    const CLAIMED: usize = 16 + 8 + 4 + 32;
    let (records, mut others) = (table(20, 9), table(20, 9));
    others[3].1[0] ^= 1;
    let (once, again) = (
        said(&records, &records, [RUN; 2]).0,
        said(&records, &records, [RUN; 2]).0,
    );
    let (differing, end) = said(&records, &others, [RUN; 2]);
    assert!(matches!(end, Err(Fault::Differ { .. })));
    assert_eq!(differing.len(), 4, "claims and tags, and nothing after");
    // What a claim says beside its point is the same for all records of this number and width.
    for claims in [&once, &again, &differing] {
        assert_eq!(claims[0][..CLAIMED], once[0][..CLAIMED]);
        assert_eq!(claims[1][..CLAIMED], once[0][..CLAIMED]);
        assert_eq!((claims[0].len(), claims[2].len()), (CLAIMED + 32, 32));
    }
    let fresh: std::collections::HashSet<&[u8]> = [&once, &again, &differing]
        .iter()
        .flat_map(|log| [&log[0][CLAIMED..], &log[1][CLAIMED..], &log[2], &log[3]])
        .collect();
    assert_eq!(fresh.len(), 12);
}

#[test]
fn the_comparison_of_one_run_is_none_of_another() {
    let records = table(20, 9);
    let (log, end) = said(&records, &records, [RUN, b"another run"]);
    assert!(matches!(end, Err(Fault::Differ { .. })));
    assert_eq!(log.len(), 4);
}

#[test]
fn a_changed_claim_or_tag_and_one_that_is_sent_back_end_the_preparation() {
    let records = table(20, 9);
    // A kept index's digest, a point of another server, a tag: each ends it for whoever takes it.
    for (number, at) in [(0, 30), (2, 0), (3, 31)] {
        let mut one = Preparation::new(true, &borrowed(&records), None, RUN).expect("records");
        let mut other = Preparation::new(false, &borrowed(&records), None, RUN).expect("records");
        let end = between([&mut one, &mut other], &|which, message| {
            if which == number {
                message[at] ^= 1;
            }
        });
        assert!(
            matches!(end, Err(Fault::Differ { .. })),
            "{number}: {end:?}"
        );
    }
    let mut one = Preparation::new(true, &borrowed(&records), None, RUN).expect("records");
    let mut say = |incoming: Option<&[u8]>| one.next(incoming);
    let Ok(Turn::Send(claim)) = say(None) else {
        panic!("a claim")
    };
    assert_eq!(say(None), Ok(Turn::Receive));
    let Ok(Turn::Send(tag)) = say(Some(&claim)) else {
        panic!("a tag")
    };
    assert_eq!(say(None), Ok(Turn::Receive));
    assert!(
        matches!(say(Some(&tag)), Err(Fault::Differ { .. })),
        "its own words"
    );
    for (point, message) in [([0u8; 32], "claim"), ([0xff; 32], "claim")] {
        let mut one = Preparation::new(true, &borrowed(&records), None, RUN).expect("records");
        let Ok(Turn::Send(mut claim)) = one.next(None) else {
            panic!("a claim")
        };
        assert_eq!(one.next(None), Ok(Turn::Receive));
        let at = claim.len() - 32;
        claim[at..].copy_from_slice(&point);
        assert_eq!(one.next(Some(&claim)), Err(Fault::Malformed { message }));
    }
}

#[test]
fn a_server_that_lies_in_the_preparation_is_found_out_by_the_other() {
    let records = table(50, 9);
    let mut one = Preparation::new(true, &borrowed(&records), None, RUN).expect("records");
    let mut other = Preparation::new(false, &borrowed(&records), None, RUN).expect("records");
    let refused = between([&mut one, &mut other], &|number, message| {
        if number == 4 {
            message[3] ^= 1;
        }
    });
    assert_eq!(
        refused,
        Err(Fault::Cheated {
            check: "same table"
        })
    );
}

#[test]
fn a_kept_index_serves_again_where_both_kept_it_and_is_made_anew_where_one_did_not() {
    let records = table(300, 40);
    let kept: Vec<Arc<Index>> = shared()
        .iter()
        .map(|index| {
            let parts = index.to_parts();
            let slices: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
            for which in 0..3 {
                let mut cut = slices.clone();
                cut[which] = &cut[which][1..];
                assert!(Index::from_parts(&cut).is_none());
            }
            Arc::new(Index::from_parts(&slices).expect("its own parts"))
        })
        .collect();
    let both = [Some(Arc::clone(&kept[0])), Some(Arc::clone(&kept[1]))];
    let swapped =
        Preparation::new(false, &borrowed(&records), Some(Arc::clone(&kept[0])), RUN).err();
    assert_eq!(
        swapped,
        Some(Fault::Input {
            what: "a kept index of the other server"
        })
    );
    let (pair, fresh) = prepared(&records, &records, both).expect("an index");
    assert!(!fresh);
    assert_eq!(plain(&pair, &[b"key 7"], 1).0, [Some(vec![7; 7])]);
    let (pair, fresh) =
        prepared(&records, &records, [Some(Arc::clone(&kept[0])), None]).expect("an index");
    assert!(fresh);
    assert_eq!(plain(&pair, &[b"key 7"], 1).0, [Some(vec![7; 7])]);
}

#[test]
fn nothing_at_all_and_wide_payloads() {
    let (pair, _) = prepared(&Vec::new(), &Vec::new(), [None, None]).expect("an index");
    assert_eq!(plain(&pair, &[b"a"], 1).0, [None]);
    let wide = vec![
        (
            b"a".to_vec(),
            (0..20_000u32)
                .flat_map(u32::to_le_bytes)
                .collect::<Vec<u8>>(),
        ),
        (b"b".to_vec(), Vec::new()),
    ];
    let (pair, _) = prepared(&wide, &wide, [None, None]).expect("an index");
    assert_eq!(
        plain(&pair, &[b"a", b"b", b"c"], 3).0,
        [Some(wide[0].1.clone()), Some(Vec::new()), None]
    );
}

#[test]
fn one_servers_share_of_the_queries_does_not_say_the_place() {
    // The expansions that one server makes of its keys have half of their bits set, for any key that is asked.
    let index = &shared()[0];
    let sums: Vec<Vec<u8>> = (0..4)
        .map(|_| plain(shared(), &[b"key 9"], 1).1.pop().expect("answers").2)
        .collect();
    assert!(
        sums.windows(2).all(|two| two[0] != two[1]),
        "answers to the same question differ"
    );
    assert_eq!(index.description().records, 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_lookup_is_what_a_map_says(
        records in prop::collection::hash_map(prop::collection::vec(any::<u8>(), 1..20), prop::collection::vec(any::<u8>(), 0..60), 0..40),
        others in prop::collection::hash_set(prop::collection::vec(any::<u8>(), 1..20), 0..3),
    ) {
        let table: Records = records.clone().into_iter().collect();
        let (pair, _) = prepared(&table, &table, [None, None]).expect("an index");
        let mut wanted: Vec<&[u8]> = records.keys().take(3).map(Vec::as_slice).collect();
        wanted.extend(others.iter().filter(|key| !records.contains_key(*key)).map(Vec::as_slice));
        let (found, _) = plain(&pair, &wanted, 6);
        for (key, found) in wanted.iter().zip(&found) {
            prop_assert_eq!(found.as_ref(), records.get(*key));
        }
    }

    #[test]
    fn no_bytes_break_the_decoders(bytes in prop::collection::vec(any::<u8>(), 0..400), number in 0u8..2) {
        prop_assert!(Description::from_bytes(&bytes).is_none());
        let mut server = Server::new(number, Arc::clone(&shared()[0]), 2).expect("a server");
        server.next(None).expect("a description");
        server.next(None).expect("a wait");
        prop_assert!(server.next(Some(&bytes)).is_err());
        let mut asker = Asker::new(&[b"a"], 2, Bounds::default()).expect("an asker");
        asker.next(None).expect("a wait");
        prop_assert!(asker.next(Some([&bytes, &bytes])).is_err());
        let mut preparing = Preparation::new(true, &[(b"a", b"b")], None, RUN).expect("records");
        preparing.next(None).expect("a claim");
        preparing.next(None).expect("a wait");
        prop_assert!(preparing.next(Some(&bytes)).is_err());
    }
}
