//! Known answers of the intersection's parts, which `tests/kernel/test_kernel_psi.py` works out in Python by itself.

use fondaco_kernel::block::Block;
use fondaco_kernel::okvs::paxos::Paxos;
use fondaco_kernel::okvs::{Okvs, Rows};
use fondaco_kernel::oprf::{hashed_keys, tags_of, Security};
use fondaco_kernel::tags::Layout;
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
        let hashes = hashed_keys(security, block(&known["salt"]), keys.clone());
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
