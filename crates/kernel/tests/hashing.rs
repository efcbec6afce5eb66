//! Known answers shared with Python, and bad offsets that never panic.

use fondaco_kernel::{blake3_many, keyed_ids, sha256_many, Items, Refused};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex"))
        .collect()
}

fn offsets(of: &[i64]) -> Vec<u8> {
    of.iter().flat_map(|o| o.to_le_bytes()).collect()
}

#[test]
fn known_answers() {
    let text = include_str!("../vectors/hashing.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).expect("json");
    assert!(!vectors.is_empty());
    for vector in vectors {
        let get = |name: &str| bytes(vector[name].as_str().expect("text"));
        let input = get("input");
        let length = i64::try_from(input.len()).expect("small");
        let places = offsets(&[0, length]);
        let items = Items::new(&input, &places).expect("sound");
        let key: [u8; 32] = get("key").try_into().expect("32 bytes");
        assert_eq!(sha256_many(&items), get("sha256"));
        assert_eq!(blake3_many(&items), get("blake3"));
        assert_eq!(keyed_ids(&key, &items), get("keyed_id"));
    }
}

#[test]
fn the_first_bad_offset_is_named() {
    let refused = |of: &[i64]| Items::new(b"abc", &offsets(of)).expect_err("bad");
    assert_eq!(refused(&[0, 2, 1]), Refused::OffsetsRange { index: 2 });
    assert_eq!(refused(&[0, 4]), Refused::OffsetsRange { index: 1 });
    assert_eq!(refused(&[-1, 0]), Refused::OffsetsRange { index: 0 });
    assert_eq!(
        Items::new(b"abc", b"").expect_err("bad"),
        Refused::OffsetsShape
    );
}

proptest! {
    #[test]
    fn any_offsets_are_refused_or_hashed(data in prop::collection::vec(any::<u8>(), 0..64), raw in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(items) = Items::new(&data, &raw) {
            prop_assert_eq!(sha256_many(&items).len(), 32 * items.len());
        }
    }

    #[test]
    fn sound_offsets_cut_the_data(lengths in prop::collection::vec(0usize..9, 0..3000)) {
        let mut of = vec![0i64];
        for length in &lengths {
            of.push(of[of.len() - 1] + i64::try_from(*length).expect("small"));
        }
        let data = vec![7u8; lengths.iter().sum()];
        let places = offsets(&of);
        let items = Items::new(&data, &places).expect("sound");
        prop_assert_eq!(items.len(), lengths.len());
        prop_assert_eq!(blake3_many(&items).len(), 32 * lengths.len());
    }
}
