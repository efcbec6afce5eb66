//! Where the time of a membership test on shares goes, side by side, both parties in one process.
//! `cargo run --release --example lack_time -- LOG2_KEYS [gives]`; threads by `RAYON_NUM_THREADS`.

use std::time::{Duration, Instant};

use fondaco_kernel::block::Block;
use fondaco_kernel::lack::{LackConfig, LackHolder, LackTester, Table};
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::permutation::Permutation;
use fondaco_kernel::protocol::{Party, Turn};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let log: u32 = arguments
        .next()
        .map_or(20, |text| text.parse().expect("a number"));
    let gives = arguments.next().is_some();
    let keys = 1usize << log;
    let mut all = vec![Block::ZERO; keys + keys / 2];
    Permutation::new(Block(1)).stream(0, &mut all);
    let (ours, theirs) = (all[..keys].to_vec(), all[keys / 2..].to_vec());
    let config = |gives| LackConfig {
        peer_keys: keys,
        width: 16,
        gives,
    };
    let begin = Instant::now();
    let table = Table::new(ours).expect("placed");
    println!("placed: {:.3?}", begin.elapsed());
    let bins = table.places().len();
    let (pair, delta) = (
        receiver_vole(Security::SemiHonest, bins).expect("few"),
        sender_vole(Security::SemiHonest, bins).expect("few"),
    );
    let mut holder = LackHolder::new(config(gives), &table, pair).expect("sound");
    let mut tester = LackTester::new(config(!gives), theirs, delta).expect("sound");
    let mut inboxes: [std::collections::VecDeque<Vec<u8>>; 2] = Default::default();
    let (mut waits, mut done) = ([false; 2], [false; 2]);
    let (mut bytes, mut messages, mut took) = ([0; 2], [0; 2], [Duration::ZERO; 2]);
    while done != [true; 2] {
        for side in 0..2 {
            if done[side] || (waits[side] && inboxes[side].is_empty()) {
                continue;
            }
            let incoming = if waits[side] {
                inboxes[side].pop_front()
            } else {
                None
            };
            let party: &mut dyn Party = if side == 0 { &mut holder } else { &mut tester };
            let begin = Instant::now();
            let turn = party.next(incoming.as_deref()).expect("honest");
            took[side] += begin.elapsed();
            waits[side] = turn == Turn::Receive;
            match turn {
                Turn::Send(message) => {
                    bytes[side] += message.len();
                    messages[side] += 1;
                    inboxes[1 - side].push_back(message);
                }
                Turn::Receive => (),
                Turn::Finished => done[side] = true,
            }
        }
    }
    for (side, name) in ["holder", "tester"].iter().enumerate() {
        println!(
            "{name}: {:.3?}, {} bytes in {} messages",
            took[side], bytes[side], messages[side]
        );
    }
    let strings = holder.shares().expect("the end").chunks(16);
    let same = strings.zip(tester.shares().expect("the end").chunks(16));
    let shared = same.filter(|(ours, theirs)| ours != theirs).count();
    assert_eq!(shared, keys / 2);
}
