//! Known answers of the hidden query's seals and of how two servers compare their records, which
//! `tests/kernel/test_kernel_pir.py` reads too and works out in Python by itself.

use curve25519_dalek::scalar::Scalar;
use fondaco_kernel::pir::index::part_of;
use fondaco_kernel::pir::record::{open, seal, Evaluator};
use fondaco_kernel::pir::two::equal::Said;
use fondaco_kernel::pir::two::index::{combined, share_of};
use serde_json::Value;
use zeroize::Zeroizing;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/pir.json")).expect("json")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn bytes(value: &Value) -> Vec<u8> {
    let hex = value.as_str().expect("text");
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex"))
        .collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("so many bytes")
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("small")
}

#[test]
fn sealed_records_are_the_known_ones() {
    let vectors = vectors();
    assert!(list(&vectors["records"]).len() > 3);
    for known in list(&vectors["records"]) {
        let evaluator = Evaluator::from_seed(&array(&known["seed"])).expect("a key");
        let output = evaluator.evaluate(&bytes(&known["key"])).expect("a key");
        let output = part_of(&output, number(&known["part"]));
        assert_eq!(output.location, array(&known["location"]));
        assert_eq!(output.seal, array(&known["seal"]));
        let (payload, sealed) = (bytes(&known["payload"]), bytes(&known["sealed"]));
        let mut made = vec![0xff; number(&known["width"])];
        seal(&output.seal, array(&known["nonce"]), &payload, &mut made);
        assert_eq!(made, sealed);
        assert_eq!(open(&output.seal, &sealed), Some(payload));
        assert_eq!(open(&output.location, &sealed), None);
    }
}

#[test]
fn shares_of_two_servers_come_to_the_known_place_and_key() {
    let known = &vectors()["two"];
    let shares: Vec<[u8; 32]> = list(&known["seeds"])
        .iter()
        .map(|seed| {
            let evaluator = Evaluator::from_seed(&array(seed)).expect("a key");
            share_of(&evaluator.evaluate(&bytes(&known["key"])).expect("a key"))
        })
        .collect();
    assert_eq!(shares[0], array(&known["shares"][0]));
    assert_eq!(shares[1], array(&known["shares"][1]));
    let output = combined([&shares[0], &shares[1]]);
    assert_eq!(output.location, array(&known["location"]));
    assert_eq!(output.seal, array(&known["seal"]));
}

#[test]
fn what_two_servers_say_to_compare_their_records_is_known() {
    let vectors = vectors();
    for known in list(&vectors["equal"]) {
        let (content, sides) = (bytes(&known["content"]), bytes(&known["sides"]));
        let run = bytes(&known["run"]);
        let said = |which: usize| {
            let secret: Option<Scalar> =
                Scalar::from_canonical_bytes(array(&known["secrets"][which])).into();
            Said::new(
                &content,
                &sides,
                &run,
                Zeroizing::new(secret.expect("canonical")),
            )
        };
        let (first, second) = (said(0), said(1));
        assert_eq!(*first.point(), array(&known["points"][0]));
        assert_eq!(*second.point(), array(&known["points"][1]));
        let claims = [bytes(&known["claims"][0]), bytes(&known["claims"][1])];
        let one = first.meet(true, &claims[0], second.point(), &claims[1]);
        let other = second.meet(false, &claims[1], first.point(), &claims[0]);
        let (one, other) = (one.expect("a point"), other.expect("a point"));
        assert_eq!(one.tag, array(&known["tags"][0]));
        assert_eq!(other.tag, array(&known["tags"][1]));
        assert!(one.is_same(&other.tag) && other.is_same(&one.tag));
    }
}
