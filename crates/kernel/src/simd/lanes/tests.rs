//! Every path beside the `blake3` crate.

use super::{each_portable, hash_each, hash_pairs, hash_texts, pairs_portable, Block};
use proptest::prelude::*;

fn blocks() -> impl Strategy<Value = Vec<(Block, Block)>> {
    prop::collection::vec(
        any::<(u128, u128)>().prop_map(|(a, b)| (Block(a), Block(b))),
        0..70,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

    #[test]
    fn every_path_is_keyed_blake3(key: [u8; 32], pairs in blocks()) {
        let (firsts, seconds): (Vec<Block>, Vec<Block>) = pairs.into_iter().unzip();
        let (mut each, mut wanted) = (firsts.clone(), firsts.clone());
        hash_each(&key, &mut each);
        each_portable(&key, &mut wanted);
        prop_assert_eq!(each, wanted);
        let mut found = (firsts.clone(), vec![Block::ZERO; firsts.len()]);
        let mut wanted = found.clone();
        hash_pairs(&key, &mut found.0, &seconds, &mut found.1);
        pairs_portable(&key, &mut wanted.0, &seconds, &mut wanted.1);
        prop_assert_eq!(found, wanted);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "calls the narrower path too, where the processor has it")]
    fn the_narrow_path_is_keyed_blake3_too(key: [u8; 32], pairs in blocks()) {
        if super::x86::has_256() {
            let (firsts, seconds): (Vec<Block>, Vec<Block>) = pairs.into_iter().unzip();
            let mut found = (firsts.clone(), vec![Block::ZERO; firsts.len()]);
            let mut wanted = found.clone();
            let words = super::x86::words(&key);
            // SAFETY: the processor has the feature that the function is compiled for.
            let rest = unsafe { super::x86::narrow::hash_pairs(&words, &mut found.0, &seconds, &mut found.1) };
            pairs_portable(&key, rest.0, rest.1, rest.2);
            pairs_portable(&key, &mut wanted.0, &seconds, &mut wanted.1);
            prop_assert_eq!(found, wanted);
            let (mut each, mut wanted) = (firsts.clone(), firsts);
            // SAFETY: as above.
            let rest = unsafe { super::x86::narrow::hash_each(&words, &mut each) };
            each_portable(&key, rest);
            each_portable(&key, &mut wanted);
            prop_assert_eq!(each, wanted);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "calls the narrower path too, where the processor has it")]
    fn the_narrow_path_hashes_texts_as_the_chosen_one(key: [u8; 32], text in prop::collection::vec(any::<u32>(), 256), lengths in prop::collection::vec(0u32..=64, 16)) {
        if super::x86::has_256() {
            let texts = std::array::from_fn(|at| std::array::from_fn(|lane| text[16 * at + lane]));
            let lengths = std::array::from_fn(|lane| lengths[lane]);
            // SAFETY: the processor has the feature that the function is compiled for.
            let narrow = unsafe { super::x86::narrow::hash_texts(&super::x86::words(&key), &texts, &lengths) };
            prop_assert_eq!(Some(narrow), hash_texts(&key, &texts, &lengths));
        }
    }
}
