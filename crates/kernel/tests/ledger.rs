//! The ledger's checks on published vectors; the Python tests hold them against libsodium, cbor2 and libipld.

use fondaco_kernel::ledger::verify_many;
use fondaco_kernel::ledger_canonical::{check_canonical, Uncanonical};
use fondaco_kernel::ledger_merkle::merkle_root;
use fondaco_kernel::ledger_votes::vote_holds;
use fondaco_kernel::Items;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn offsets(items: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    let mut ends = 0i64.to_le_bytes().to_vec();
    for item in items {
        data.extend_from_slice(item);
        ends.extend(i64::try_from(data.len()).unwrap().to_le_bytes());
    }
    (data, ends)
}

// RFC 8032 section 7.1, tests 1 to 3: key, message, signature.
const SIGNED: [(&str, &str, &str); 3] = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
];

#[test]
fn the_signatures_of_rfc_8032_hold_and_changed_ones_do_not() {
    let messages: Vec<Vec<u8>> = SIGNED
        .iter()
        .map(|(_, message, _)| bytes(message))
        .collect();
    let keys: Vec<u8> = SIGNED.iter().flat_map(|(key, _, _)| bytes(key)).collect();
    let mut signatures: Vec<u8> = SIGNED.iter().flat_map(|(_, _, sig)| bytes(sig)).collect();
    let (data, ends) = offsets(&messages);
    let items = Items::new(&data, &ends).unwrap();
    assert_eq!(verify_many(&keys, &signatures, &items), Some(vec![1, 1, 1]));
    signatures[70] ^= 1;
    assert_eq!(verify_many(&keys, &signatures, &items), Some(vec![1, 0, 1]));
    assert_eq!(verify_many(&keys[1..], &signatures, &items), None);
    assert_eq!(verify_many(&keys, &signatures[1..], &items), None);
}

#[test]
fn many_are_judged_as_few_are() {
    let (key, message, signature) = SIGNED[1];
    let count = 1000;
    let messages: Vec<Vec<u8>> = (0..count)
        .map(|n| if n % 5 == 0 { vec![0] } else { bytes(message) })
        .collect();
    let (data, ends) = offsets(&messages);
    let items = Items::new(&data, &ends).unwrap();
    let found = verify_many(
        &bytes(key).repeat(count),
        &bytes(signature).repeat(count),
        &items,
    );
    let expected: Vec<u8> = (0..count).map(|n| u8::from(n % 5 != 0)).collect();
    assert_eq!(found, Some(expected));
}

#[test]
fn what_is_canonical_is_taken_and_what_is_not_is_named() {
    let map = bytes("a2616101616202");
    assert_eq!(check_canonical(&map, 32, 1000), Ok(()));
    assert_eq!(
        check_canonical(&bytes("a2616202616101"), 32, 1000),
        Err(Uncanonical::Key)
    );
    assert_eq!(
        check_canonical(&bytes("1801"), 32, 1000),
        Err(Uncanonical::Head)
    );
    assert_eq!(
        check_canonical(&bytes("0101"), 32, 1000),
        Err(Uncanonical::Trailing)
    );
    assert_eq!(
        check_canonical(&[0x81; 100], 32, 1000),
        Err(Uncanonical::Depth)
    );
    assert_eq!(check_canonical(&map, 32, 4), Ok(()));
    assert_eq!(check_canonical(&map, 32, 3), Err(Uncanonical::Items));
    assert_eq!(
        check_canonical(&bytes("1b8000000000000000"), 32, 1000),
        Err(Uncanonical::Range)
    );
}

fn slow(leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [one] => Sha256::digest([&[0], one.as_slice()].concat()).into(),
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = (slow(&leaves[..split]), slow(&leaves[split..]));
            Sha256::digest([&[1], left.as_slice(), right.as_slice()].concat()).into()
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_fall(data in proptest::collection::vec(any::<u8>(), 0..200), depth in 0usize..40) {
        let _ = check_canonical(&data, depth, 50);
    }

    #[test]
    fn a_root_is_that_of_rfc_6962(leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..80)) {
        let (data, ends) = offsets(&leaves);
        prop_assert_eq!(merkle_root(&Items::new(&data, &ends).unwrap()), slow(&leaves));
    }
}

#[test]
fn votes_are_judged_as_the_shared_vectors_say() {
    let text = include_str!("../vectors/votes.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    for one in file["signatures"].as_array().unwrap() {
        let part = |name: &str| bytes(one[name].as_str().unwrap());
        let (key, signature) = (part("key"), part("signature"));
        let found = vote_holds(
            key.as_slice().try_into().unwrap(),
            signature.as_slice().try_into().unwrap(),
            &part("message"),
        );
        assert_eq!(found, one["taken"].as_bool().unwrap());
    }
}
