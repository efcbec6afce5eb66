//! Where the time of an intersection goes, turn by turn, both parties in one process.
//! `cargo run --release --example psi_time -- LOG2_KEYS`; threads by `RAYON_NUM_THREADS`.

use std::time::Instant;

use fondaco_kernel::block::Block;
use fondaco_kernel::oprf::{receiver_vole, sender_vole, Security};
use fondaco_kernel::permutation::Permutation;
use fondaco_kernel::protocol::{Party, Turn};
use fondaco_kernel::psi::{PsiConfig, PsiReceiver, PsiSender};

fn main() {
    let log: u32 = std::env::args()
        .nth(1)
        .map_or(20, |text| text.parse().expect("a number"));
    let mut keys = vec![Block::ZERO; 3 << (log - 1)];
    Permutation::new(Block(1)).stream(0, &mut keys);
    let (ours, theirs) = (keys[..1 << log].to_vec(), keys[1 << (log - 1)..].to_vec());
    for security in [Security::SemiHonest, Security::Malicious] {
        let delta = sender_vole(security, theirs.len()).expect("few");
        let pair = receiver_vole(security, theirs.len()).expect("few");
        let config = PsiConfig {
            security,
            both: true,
            peer_keys: ours.len(),
        };
        let mut sender = PsiSender::new(config, ours.clone(), delta).expect("sound");
        let mut receiver = PsiReceiver::new(config, theirs.clone(), pair).expect("sound");
        let parties: [&mut dyn Party; 2] = [&mut sender, &mut receiver];
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
                let turn = parties[side].next(incoming.as_deref()).expect("honest");
                let took = begin.elapsed();
                let what = match &turn {
                    Turn::Send(message) => format!("sends {}", message.len()),
                    Turn::Receive => "receives".into(),
                    Turn::Finished => "is done".into(),
                };
                println!("{security:?} side {side}: {took:>12.3?} then {what}");
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
        println!(
            "{security:?}: {bytes} bytes, {} matched",
            receiver.matched().expect("the end").len()
        );
    }
}
