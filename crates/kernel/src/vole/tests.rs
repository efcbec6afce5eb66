//! Both parties in one thread, with a hand in between that may change what they say.

use super::{Code, VoleConfig, VoleReceiver, VoleReceiverOutput, VoleSender, VoleSenderOutput};
use crate::block::Block;
use crate::protocol::{Fault, Party, Turn};
use proptest::prelude::*;
use std::collections::VecDeque;

const CODES: [Code; 2] = [Code::ExConv7x24, Code::ExConv21x24];
const LENGTH: usize = 300;

fn config(code: Code, malicious: bool) -> VoleConfig {
    VoleConfig { code, malicious }
}

/// How far a party gets on the messages that are there.
fn advance(
    party: &mut impl Party,
    inbox: &mut VecDeque<Vec<u8>>,
    mut out: impl FnMut(Vec<u8>),
) -> Result<bool, Fault> {
    let mut incoming = None;
    loop {
        match party.next(incoming.take().as_deref())? {
            Turn::Send(bytes) => out(bytes),
            Turn::Finished => return Ok(true),
            Turn::Receive => match inbox.pop_front() {
                Some(bytes) => incoming = Some(bytes),
                None => return Ok(false),
            },
        }
    }
}

type Outputs = (VoleSenderOutput, VoleReceiverOutput);

/// A run in which `hand` sees every message with its number, and may change it; which side failed, if one did.
fn run_with(
    mut sender: VoleSender,
    mut receiver: VoleReceiver,
    mut hand: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Outputs, (&'static str, Fault)> {
    let (mut to_sender, mut to_receiver) = (VecDeque::new(), VecDeque::new());
    let mut number = 0;
    let mut pass = |mut bytes: Vec<u8>, to: &mut VecDeque<Vec<u8>>| {
        hand(number, &mut bytes);
        number += 1;
        to.push_back(bytes);
    };
    loop {
        let sent = advance(&mut sender, &mut to_sender, |bytes| {
            pass(bytes, &mut to_receiver);
        });
        let sent = sent.map_err(|fault| ("sender", fault))?;
        let answered = advance(&mut receiver, &mut to_receiver, |bytes| {
            pass(bytes, &mut to_sender);
        });
        let answered = answered.map_err(|fault| ("receiver", fault))?;
        if sent && answered {
            break;
        }
    }
    Ok((sender.output().unwrap(), receiver.output().unwrap()))
}

fn parties(config: VoleConfig, length: usize) -> (VoleSender, VoleReceiver) {
    (
        VoleSender::new(config, length).unwrap(),
        VoleReceiver::new(config, length).unwrap(),
    )
}

fn seeded(config: VoleConfig, length: usize) -> (VoleSender, VoleReceiver) {
    let sender = VoleSender::of_test(config, length, 1).unwrap();
    (sender, VoleReceiver::of_test(config, length, 2).unwrap())
}

fn run(config: VoleConfig, length: usize) -> Outputs {
    let (sender, receiver) = parties(config, length);
    run_with(sender, receiver, |_, _| ()).unwrap()
}

fn correlates((sender, receiver): &Outputs) -> bool {
    let pairs = sender.b.iter().zip(&receiver.c);
    pairs
        .zip(&receiver.a)
        .all(|((b, c), a)| *a == *b ^ c.times(sender.delta))
}

/// The messages of an honest run.
fn transcript(config: VoleConfig, length: usize) -> Vec<Vec<u8>> {
    let (sender, receiver) = seeded(config, length);
    let mut all = Vec::new();
    run_with(sender, receiver, |_, bytes| all.push(bytes.clone())).unwrap();
    all
}

#[test]
fn the_correlation_holds_at_every_length() {
    for code in CODES {
        for malicious in [false, true] {
            for length in [1, 2, 3, 127, 4095, 4096, 4097, 10_000, 40_001] {
                let outputs = run(config(code, malicious), length);
                assert_eq!(outputs.0.b.len(), length);
                assert_eq!((outputs.1.a.len(), outputs.1.c.len()), (length, length));
                assert!(correlates(&outputs), "{code:?} {malicious} {length}");
            }
        }
    }
}

#[test]
fn the_correlation_holds_at_a_million() {
    assert!(correlates(&run(
        config(Code::ExConv7x24, true),
        (1 << 20) + 1
    )));
}

#[test]
fn outputs_look_random_and_differ_between_runs() {
    let length = 20_000;
    let runs = [(); 2].map(|()| run(config(Code::ExConv7x24, false), length));
    for (sender, receiver) in &runs {
        for vector in [&sender.b, &receiver.a, &receiver.c] {
            let ones: u32 = vector.iter().map(|x| x.0.count_ones()).sum();
            // 2.56 million fair coins: a thousandth is more than three standard deviations times ten.
            assert!((f64::from(ones) / (128.0 * 20_000.0) - 0.5).abs() < 0.005);
            let mut sorted = vector.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), length, "no element twice");
        }
    }
    assert_ne!(runs[0].0.delta, runs[1].0.delta);
    assert!(runs[0].1.c.iter().zip(&runs[1].1.c).all(|(x, y)| x != y));
}

#[test]
fn messages_are_as_long_as_length_code_and_mode_say() {
    for code in CODES {
        for malicious in [false, true] {
            for length in [1, LENGTH, 4096, 9000] {
                let config = config(code, malicious);
                let plan = super::session::Plan::new(config, length).unwrap();
                let mut expected = vec![super::session::FIRST_BYTES, plan.columns_bytes()];
                if malicious {
                    expected.extend([16, super::small_field::PROOF_BYTES]);
                }
                expected.push(plan.trees_bytes());
                if malicious {
                    expected.extend([super::check::REQUEST_BYTES, super::check::ANSWER_BYTES]);
                }
                for _ in 0..2 {
                    let (sender, receiver) = parties(config, length);
                    let mut seen = Vec::new();
                    run_with(sender, receiver, |_, bytes| seen.push(bytes.len())).unwrap();
                    assert_eq!(seen, expected);
                }
            }
        }
    }
}

#[test]
fn seeds_give_the_vectors_that_are_kept() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vole_vectors.json")).unwrap();
    for one in vectors.as_array().unwrap() {
        let code = CODES[usize::from(one["code"] == "ExConv21x24")];
        let config = config(code, one["malicious"].as_bool().unwrap());
        let length = usize::try_from(one["length"].as_u64().unwrap()).unwrap();
        let (sender, receiver) = seeded(config, length);
        let mut wire = blake3::Hasher::new();
        let (sender, receiver) = run_with(sender, receiver, |_, bytes| {
            wire.update(bytes);
        })
        .unwrap();
        let digest = |blocks: &[Block]| {
            let mut hasher = blake3::Hasher::new();
            for block in blocks {
                hasher.update(&block.to_bytes());
            }
            hasher.finalize().to_hex().to_string()
        };
        let found = serde_json::json!({
            "code": format!("{code:?}"), "malicious": config.malicious, "length": length,
            "wire": wire.finalize().to_hex().to_string(), "delta": digest(&[sender.delta]),
            "b": digest(&sender.b), "a": digest(&receiver.a), "c": digest(&receiver.c),
        });
        assert_eq!(&found, one);
    }
}

/// Every kind of damage to a malicious run's messages: a fault, or an outcome as if nothing had been.
fn damaged(change: impl Fn(usize, &mut Vec<u8>)) -> Option<(&'static str, Fault)> {
    let (sender, receiver) = parties(config(Code::ExConv7x24, true), LENGTH);
    match run_with(sender, receiver, change) {
        Ok(outputs) => {
            assert!(correlates(&outputs), "no damage goes through");
            None
        }
        Err(fault) => Some(fault),
    }
}

fn cheated(check: &'static str) -> Fault {
    Fault::Cheated { check }
}

#[test]
fn a_wrong_correlation_is_caught() {
    let plan = super::session::Plan::new(config(Code::ExConv7x24, true), LENGTH).unwrap();
    let sums = 32 * plan.shape.transfers();
    // The value of a tree; all sums of all levels; the receiver's x.
    let caught = Some(("receiver", cheated("tree consistency")));
    assert_eq!(
        damaged(|n, bytes| if n == 4 {
            bytes[sums + 5] ^= 1;
        }),
        caught
    );
    assert_eq!(
        damaged(|n, bytes| if n == 4 {
            bytes[..sums].iter_mut().for_each(|byte| *byte ^= 1);
        }),
        caught
    );
    assert_eq!(
        damaged(|n, bytes| if n == 5 {
            bytes[16] ^= 1;
        }),
        caught
    );
    assert_eq!(
        damaged(|n, bytes| if n == 6 {
            bytes[0] ^= 1;
        }),
        caught
    );
}

#[test]
fn corrections_that_disagree_are_caught() {
    let caught = Some(("sender", cheated("transfer consistency")));
    // A flip in each of the last columns' corrections: it goes unfelt only where four bits of Delta are all zero.
    let height = super::session::Plan::new(config(Code::ExConv7x24, true), LENGTH)
        .unwrap()
        .height();
    let flip = |n: usize, bytes: &mut Vec<u8>| {
        if n == 1 {
            let end = bytes.len();
            (1..=20).for_each(|column| bytes[end - 16 * height * column] ^= 1);
        }
    };
    assert_eq!(damaged(flip), caught);
    assert_eq!(
        damaged(|n, bytes| if n == 2 {
            bytes[0] ^= 1;
        }),
        caught
    );
    assert_eq!(
        damaged(|n, bytes| if n == 3 {
            bytes[0] ^= 1;
        }),
        caught
    );
}

#[test]
fn base_transfers_that_disagree_are_caught() {
    let small_trees = Some(("sender", cheated("small trees")));
    let base = 10;
    // Another point for the sender's share; the two points of an instance changed about.
    let share = curve25519_dalek::constants::RISTRETTO_BASEPOINT_COMPRESSED.to_bytes();
    assert_eq!(
        damaged(|n, bytes| if n == 1 {
            bytes[..32].copy_from_slice(&share);
        }),
        small_trees
    );
    assert_eq!(
        damaged(|n, bytes| if n == 0 {
            bytes[base..base + 64].rotate_left(32);
        }),
        small_trees
    );
}

#[test]
fn a_message_of_another_run_is_caught() {
    let old = transcript(config(Code::ExConv7x24, true), LENGTH);
    for at in 0..old.len() {
        let replay = |n: usize, bytes: &mut Vec<u8>| {
            if n == at {
                bytes.clone_from(&old[n]);
            }
        };
        assert!(damaged(replay).is_some(), "message {at}");
    }
}

#[test]
fn a_message_cut_or_lengthened_is_malformed() {
    for malicious in [false, true] {
        let config = config(Code::ExConv7x24, malicious);
        for at in 0..transcript(config, LENGTH).len() {
            for longer in [false, true] {
                let (sender, receiver) = seeded(config, LENGTH);
                let found = run_with(sender, receiver, |n, bytes| {
                    if n == at {
                        let length = bytes.len();
                        bytes.resize(if longer { length + 1 } else { length - 1 }, 0);
                    }
                });
                assert!(
                    matches!(found, Err((_, Fault::Malformed { .. }))),
                    "message {at}"
                );
            }
        }
    }
}

#[test]
fn sides_that_agreed_on_different_things_do_not_start() {
    let ours = config(Code::ExConv7x24, true);
    let other = [
        (config(Code::ExConv21x24, true), LENGTH),
        (config(Code::ExConv7x24, false), LENGTH),
        (ours, LENGTH + 1),
    ];
    for (theirs, length) in other {
        let sender = VoleSender::new(ours, LENGTH).unwrap();
        let receiver = VoleReceiver::new(theirs, length).unwrap();
        let found = run_with(sender, receiver, |_, _| ());
        assert!(matches!(found, Err(("receiver", Fault::Malformed { .. }))));
    }
}

#[test]
fn a_party_driven_out_of_turn_faults_and_stays_so() {
    let config = config(Code::ExConv7x24, false);
    let (mut sender, mut receiver) = parties(config, LENGTH);
    assert_eq!(sender.next(Some(&[])), Err(Fault::OutOfTurn));
    assert_eq!(sender.next(None), Err(Fault::OutOfTurn));
    assert_eq!(sender.output().err(), Some(Fault::OutOfTurn));
    assert_eq!(receiver.next(None), Ok(Turn::Receive));
    assert!(receiver.next(Some(&[1, 2, 3])).is_err());
    assert_eq!(receiver.next(None), Err(Fault::OutOfTurn));
    assert_eq!(receiver.output().err(), Some(Fault::OutOfTurn));
    for length in [0, super::MAX_LENGTH + 1] {
        assert!(matches!(
            VoleSender::new(config, length),
            Err(Fault::Input { .. })
        ));
        assert!(matches!(
            VoleReceiver::new(config, length),
            Err(Fault::Input { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Bytes at random in place of any message: a fault or nothing, never a panic.
    #[test]
    fn random_bytes_never_panic(
        at in 0usize..7,
        malicious: bool,
        seed: u64,
        length in prop_oneof![Just(None), (0usize..3000).prop_map(Some)],
    ) {
        let config = config(Code::ExConv7x24, malicious);
        let (sender, receiver) = parties(config, 1);
        let mut changed = false;
        let found = run_with(sender, receiver, |n, bytes| if n == at {
            changed = true;
            let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
            bytes.resize(length.unwrap_or(bytes.len()), 0);
            reader.fill(bytes);
        });
        if changed && (malicious || length.is_some()) {
            // A challenge may be any 16 bytes; that it is not the sender's own is what the sender then sees.
            prop_assert!(found.is_err());
        }
    }

    /// One bit of any message changed: a fault, or outputs that correlate.
    #[test]
    fn a_changed_bit_is_caught_or_of_no_account(at in 0usize..7, place: proptest::sample::Index, bit in 0u8..8) {
        damaged(|n, bytes| if n == at {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        });
    }
}
