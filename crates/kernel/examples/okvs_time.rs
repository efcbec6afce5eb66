//! How long the store takes: `cargo run --release --example okvs_time -- LOG2_KEYS`; threads by `RAYON_NUM_THREADS`.

use std::time::Instant;

use fondaco_kernel::block::Block;
use fondaco_kernel::okvs::paxos::Paxos;
use fondaco_kernel::okvs::Okvs;
use fondaco_kernel::permutation::Permutation;

fn main() {
    let log: u32 = std::env::args()
        .nth(1)
        .map_or(20, |text| text.parse().expect("a number"));
    let mut keys = vec![Block::ZERO; 1 << log];
    Permutation::new(Block(1)).stream(0, &mut keys);
    let mut values = keys.clone();
    let store = Paxos::new(keys.len(), Block(3)).expect("few enough");
    println!(
        "{:?}, {} blocks a thousand keys",
        store.shape(),
        store.size() * 1000 / keys.len()
    );
    for _ in 0..3 {
        let begin = Instant::now();
        let rows = store.rows(&keys).expect("room");
        let placed = begin.elapsed();
        Permutation::new(Block(2)).hash_each(&mut values);
        let begin = Instant::now();
        let vector = store.encode(&rows, &values, None).expect("a solution");
        let encoded = begin.elapsed();
        let begin = Instant::now();
        let found = store.decode(&rows, &vector).expect("the right size");
        let decoded = begin.elapsed();
        assert!(found == values);
        println!("rows {placed:?}, encode {encoded:?}, decode {decoded:?}");
    }
}
