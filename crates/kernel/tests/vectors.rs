//! Known answers of the set operations' parts, which `tests/kernel/test_kernel_psi.py` and `test_kernel_sets.py` read
//! too and work out in Python by themselves.

use curve25519_dalek::scalar::Scalar;
use fondaco_kernel::block::Block;
use fondaco_kernel::keys::{distinct, identifiers, Column, Values};
use fondaco_kernel::lack::equality::{opened, tables_of, taken};
use fondaco_kernel::okvs::paxos::Paxos;
use fondaco_kernel::okvs::{Okvs, Rows};
use fondaco_kernel::oprf::{hashed_keys, tags_of, Security};
use fondaco_kernel::pir::progress::UNWATCHED;
use fondaco_kernel::protocol::{Party, Turn};
use fondaco_kernel::ristretto::{encoded, hash_to_group, points};
use fondaco_kernel::tags::Layout;
use fondaco_kernel::unbalanced::{table_size, table_under, PreparedServer};
use fondaco_kernel::Items;
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    let hex = value.as_str().expect("text");
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex"))
        .collect()
}

fn block(value: &Value) -> Block {
    Block::from_bytes(bytes(value).try_into().expect("16 bytes"))
}

fn blocks(value: &Value) -> Vec<Block> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(block)
        .collect()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/psi.json")).expect("json")
}

#[test]
fn a_store_is_the_known_one() {
    let known = &vectors()["store"];
    let (keys, values) = (blocks(&known["keys"]), blocks(&known["values"]));
    let store = Paxos::new(keys.len(), block(&known["seed"])).expect("few");
    let rows = store.rows(&keys).expect("few");
    let ordered: Vec<Block> = rows.order().iter().map(|at| values[*at as usize]).collect();
    let vector = store
        .encode(&rows, &ordered, Some(block(&known["fill"])))
        .expect("a solution");
    assert_eq!(vector, blocks(&known["vector"]));
}

#[test]
fn hashes_and_tags_are_the_known_ones() {
    for (name, security) in [
        ("semi-honest", Security::SemiHonest),
        ("malicious", Security::Malicious),
    ] {
        let known = &vectors()[name];
        let keys = blocks(&known["keys"]);
        let hashes = hashed_keys(security, block(&known["salt"]), &keys);
        assert_eq!(hashes, blocks(&known["hashes"]));
        let (tags, proofs) = tags_of(
            security,
            block(&known["coin"]),
            &keys,
            blocks(&known["decoded"]),
        );
        assert_eq!(
            (tags, proofs),
            (blocks(&known["tags"]), blocks(&known["proofs"]))
        );
    }
}

#[test]
fn a_list_of_tags_is_the_known_one() {
    let known = &vectors()["list"];
    let tags = blocks(&known["tags"]);
    let held = usize::try_from(known["held"].as_u64().expect("a number")).expect("small");
    let (message, _order) = Layout::new(tags.len(), held).pack(&tags).expect("few");
    assert_eq!(message, bytes(&known["message"]));
}

fn sets() -> Value {
    serde_json::from_str(include_str!("../vectors/sets.json")).expect("json")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[test]
fn identifiers_are_the_known_ones() {
    let known = &sets()["identifiers"];
    let (texts, numbers) = (&known["columns"][0], &known["columns"][1]);
    let (mut data, mut offsets) = (Vec::new(), 0i64.to_le_bytes().to_vec());
    for text in list(&texts["values"]) {
        data.extend_from_slice(text.as_str().expect("text").as_bytes());
        let end = i64::try_from(data.len()).expect("short");
        offsets.extend_from_slice(&end.to_le_bytes());
    }
    let numbers: Vec<[u8; 8]> = list(&numbers["values"])
        .iter()
        .map(|number| number.as_i64().expect("a number").to_le_bytes())
        .collect();
    let columns = [
        Column {
            letter: b't',
            values: Values::Bytes(Items::new(&data, &offsets).expect("sound")),
        },
        Column {
            letter: b'i',
            values: Values::Numbers(&numbers),
        },
    ];
    let key = bytes(&known["key"]).try_into().expect("32 bytes");
    let found = distinct(identifiers(&key, &columns).expect("sound"));
    assert_eq!(found.ids, blocks(&known["ids"]));
    let places: Vec<u64> = list(&known["places"])
        .iter()
        .map(|place| place.as_u64().expect("a number"))
        .collect();
    assert_eq!(
        found.places.into_iter().map(u64::from).collect::<Vec<_>>(),
        places
    );
}

#[test]
fn the_oblivious_function_is_that_of_the_standard() {
    let known = &sets()["voprf"];
    let scalar = |value: &Value| {
        Scalar::from_canonical_bytes(bytes(value).try_into().expect("32 bytes")).expect("canonical")
    };
    let key: [u8; 32] = bytes(&known["key"]).try_into().expect("32 bytes");
    for vector in list(&known["vectors"]) {
        let point = hash_to_group(&bytes(&vector["input"]));
        let blinded = (point * scalar(&known["blind"])).compress();
        assert_eq!(encoded(&[blinded]), bytes(&vector["blinded"]));
        let mut server = PreparedServer::new(&key, 1).expect("a key");
        server.next(None).expect("waits");
        let answer = server.next(Some(blinded.as_bytes())).expect("an answer");
        assert_eq!(answer, Turn::Send(bytes(&vector["evaluated"])));
        assert!(points(&bytes(&vector["evaluated"]), 1, "m").is_ok());
    }
}

#[test]
fn a_prepared_table_is_the_known_one() {
    let known = &sets()["prepared"];
    let key = bytes(&known["key"]).try_into().expect("32 bytes");
    let keys = blocks(&known["keys"]);
    let table = table_under(&key, &keys, UNWATCHED).expect("few");
    assert_eq!(table.len(), table_size(keys.len()));
    assert_eq!(table, bytes(&known["table"]));
}

#[test]
fn tables_of_an_equality_are_the_known_ones() {
    let known = &sets()["lack"];
    let number = |name: &str| known[name].as_u64().expect("a number");
    let bits = usize::try_from(number("bits")).expect("few");
    let (zero, one) = (blocks(&known["zero"]), blocks(&known["one"]));
    let mut tables = vec![0; 2 * bits.div_ceil(4)];
    let (giver, taker) = (number("giver"), number("taker"));
    tables_of(giver, bits, number("drawn"), [&zero, &one], &mut tables);
    assert_eq!(tables, bytes(&known["tables"]));
    let strings: Vec<Block> = (0..bits)
        .map(|bit| [&zero, &one][usize::from(taker >> bit & 1 == 1)][bit])
        .collect();
    let pads = taken(taker, bits, &strings);
    assert_eq!(opened(taker, pads, &tables), number("opened"));
}
