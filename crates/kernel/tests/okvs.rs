//! The store gives back what was put in, hides what was not, is linear, and refuses what it cannot do.

use fondaco_kernel::block::Block;
use fondaco_kernel::okvs::paxos::Paxos;
use fondaco_kernel::okvs::{Okvs, Rows};
use fondaco_kernel::permutation::Permutation;
use fondaco_kernel::protocol::Fault;
use proptest::prelude::*;

fn drawn(seed: u128, count: usize) -> Vec<Block> {
    let mut out = vec![Block::ZERO; count];
    Permutation::new(Block(seed)).stream(0, &mut out);
    out
}

/// Values in the order of the rows.
fn ordered(values: &[Block], rows: &impl Rows) -> Vec<Block> {
    rows.order().iter().map(|at| values[*at as usize]).collect()
}

proptest! {
    #[test]
    fn every_key_gets_its_value(seed: u128, pairs in prop::collection::hash_map(any::<u128>(), any::<u128>(), 0..300), fill in prop::option::of(any::<u128>())) {
        let keys: Vec<Block> = pairs.keys().map(|k| Block(*k)).collect();
        let values: Vec<Block> = pairs.values().map(|v| Block(*v)).collect();
        let store = Paxos::new(keys.len(), Block(seed)).expect("few");
        let rows = store.rows(&keys).expect("few");
        let wanted = ordered(&values, &rows);
        let vector = store.encode(&rows, &wanted, fill.map(Block)).expect("a solution");
        prop_assert_eq!(vector.len(), store.size());
        prop_assert_eq!(store.decode(&rows, &vector).expect("right size"), wanted);
    }

    #[test]
    fn decoding_is_linear(seed: u128, scalar: u128) {
        let store = Paxos::new(50, Block(seed)).expect("few");
        let rows = store.rows(&drawn(1, 200)).expect("few");
        let (a, b) = (drawn(2, store.size()), drawn(3, store.size()));
        let combined = |a: &[Block], b: &[Block]| -> Vec<Block> {
            a.iter().zip(b).map(|(a, b)| *a ^ b.times(Block(scalar))).collect()
        };
        let decoded = |vector: &[Block]| store.decode(&rows, vector).expect("right size");
        let (sum, wanted) = (combined(&a, &b), combined(&decoded(&a), &decoded(&b)));
        prop_assert_eq!(store.decode(&rows, &sum).expect("right size"), wanted);
    }
}

#[test]
fn many_bins_and_threads_give_the_same_vector() {
    let keys = drawn(7, 200_000);
    let values = drawn(8, keys.len());
    let store = Paxos::new(keys.len(), Block(9)).expect("few");
    assert!(store.shape().bins > 1);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        pool.install(|| {
            let rows = store.rows(&keys).expect("room");
            let wanted = ordered(&values, &rows);
            let vector = store
                .encode(&rows, &wanted, Some(Block(5)))
                .expect("a solution");
            assert!(store.decode(&rows, &vector).expect("right size") == wanted);
            vector
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn a_filled_vector_has_no_blank_and_differs_by_its_fill() {
    let store = Paxos::new(1000, Block(4)).expect("few");
    let rows = store.rows(&drawn(1, 1000)).expect("few");
    let values = drawn(2, 1000);
    let with = |fill| store.encode(&rows, &values, fill).expect("a solution");
    assert!(with(None).contains(&Block::ZERO));
    assert!(!with(Some(Block(1))).contains(&Block::ZERO));
    assert_ne!(with(Some(Block(1))), with(Some(Block(2))));
}

#[test]
fn what_it_cannot_do_is_refused() {
    let store = Paxos::new(10, Block(4)).expect("few");
    let encode = |keys: &[Block]| {
        let rows = store.rows(keys).expect("few");
        store.encode(&rows, &vec![Block::ONE; keys.len()], None)
    };
    assert_eq!(
        encode(&[Block(1), Block(2), Block(1)]),
        Err(Fault::Input {
            what: "a key comes twice"
        })
    );
    assert!(matches!(encode(&drawn(1, 11)), Err(Fault::Input { .. })));
    let rows = store.rows(&drawn(1, 3)).expect("few");
    assert!(matches!(
        store.encode(&rows, &[Block::ONE], None),
        Err(Fault::Input { .. })
    ));
    assert!(matches!(
        store.decode(&rows, &[Block::ONE]),
        Err(Fault::Input { .. })
    ));
    assert!(matches!(
        Paxos::new(usize::MAX, Block(1)),
        Err(Fault::Input { .. })
    ));
}
