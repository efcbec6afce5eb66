//! Where the time of a set's way into a circuit goes, turn by turn, both parties in one process.
//! `cargo run --release --example opprf_time -- LOG2_KEYS WORDS`; threads by `RAYON_NUM_THREADS`.

use std::time::Instant;

use fondaco_kernel::block::Block;
use fondaco_kernel::opprf::cuckoo::bins_for;
use fondaco_kernel::opprf::{OpprfReceiver, OpprfSender};
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::permutation::Permutation;
use fondaco_kernel::protocol::{Party, Turn};

fn main() {
    let number = |at, default| {
        std::env::args()
            .nth(at)
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (keys, words): (usize, usize) = (1 << number(1, 20), number(2, 1));
    let mut all = vec![Block::ZERO; keys + keys / 2];
    Permutation::new(Block(1)).stream(0, &mut all);
    let (ours, theirs) = (all[..keys].to_vec(), all[keys / 2..].to_vec());
    let whole = Instant::now();
    let delta = sender_vole(Security::SemiHonest, bins_for(keys)).expect("few");
    let pair = receiver_vole(Security::SemiHonest, bins_for(keys)).expect("few");
    let mut sender =
        OpprfSender::new(ours, vec![7; words * keys], words, keys, delta).expect("sound");
    let mut receiver = OpprfReceiver::new(&theirs, words, keys, pair).expect("sound");
    println!("both begin: {:>12.3?}", whole.elapsed());
    let mut inboxes: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    let (mut waits, mut done, mut bytes) = ([false; 2], [false; 2], 0);
    while done != [true; 2] {
        for side in 0..2 {
            if done[side] || (waits[side] && inboxes[side].is_empty()) {
                continue;
            }
            let incoming = if waits[side] {
                Some(inboxes[side].remove(0))
            } else {
                None
            };
            waits[side] = false;
            let begin = Instant::now();
            let party: &mut dyn Party = if side == 0 {
                &mut sender
            } else {
                &mut receiver
            };
            let turn = party.next(incoming.as_deref()).expect("honest");
            let took = begin.elapsed();
            let what = match &turn {
                Turn::Send(message) => format!("sends {}", message.len()),
                Turn::Receive => "receives".into(),
                Turn::Finished => "is done".into(),
            };
            println!("side {side}: {took:>12.3?} then {what}");
            match turn {
                Turn::Send(message) => {
                    bytes += message.len();
                    inboxes[1 - side].push(message);
                }
                Turn::Receive => waits[side] = true,
                Turn::Finished => done[side] = true,
            }
        }
    }
    println!("{bytes} bytes in {:.3?}", whole.elapsed());
}
