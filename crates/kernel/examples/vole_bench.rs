//! Time both parties of a VOLE, each in a thread of its own, over channels in memory.
//!
//! `cargo run --release --example vole_bench [-- LENGTH ...]` prints for each length, code and mode the wall time of
//! both parties together (the best of five runs), their processor time (the mean), and the bytes each sent. A party's messages carry nothing but the protocol's bytes.

use fondaco_kernel::block::Block;
use fondaco_kernel::protocol::{Fault, Party, Turn};
use fondaco_kernel::vole::{Code, VoleConfig, VoleReceiver, VoleSender};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

const LENGTHS: [usize; 4] = [1 << 16, 1 << 20, 1_363_149, 1 << 24];
const RUNS: u64 = 5;

/// Drive a party over a pair of channels to its end; how many bytes it sent.
fn drive(
    party: &mut impl Party,
    to: &Sender<Vec<u8>>,
    from: &Receiver<Vec<u8>>,
) -> Result<usize, Fault> {
    let (mut incoming, mut sent) = (None, 0);
    loop {
        match party.next(incoming.take().as_deref())? {
            Turn::Send(bytes) => {
                sent += bytes.len();
                to.send(bytes).map_err(|_| Fault::OutOfTurn)?;
            }
            Turn::Receive => incoming = Some(from.recv().map_err(|_| Fault::OutOfTurn)?),
            Turn::Finished => return Ok(sent),
        }
    }
}

/// One run: milliseconds, bytes of the sender, bytes of the receiver.
fn run(config: VoleConfig, length: usize) -> Result<(u128, usize, usize), Fault> {
    let (to_receiver, from_sender) = std::sync::mpsc::channel();
    let (to_sender, from_receiver) = std::sync::mpsc::channel();
    let begun = Instant::now();
    let other = std::thread::spawn(move || {
        let mut receiver = VoleReceiver::new(config, length)?;
        let sent = drive(&mut receiver, &to_sender, &from_sender)?;
        Ok((sent, receiver.output()?))
    });
    let mut sender = VoleSender::new(config, length)?;
    let sent = drive(&mut sender, &to_receiver, &from_receiver);
    let (answered, theirs) = other.join().map_err(|_| Fault::OutOfTurn)??;
    let took = begun.elapsed().as_millis();
    let ours = sender.output()?;
    for i in (0..length).step_by(length / 64 + 1) {
        let right: Block = ours.b[i] ^ theirs.c[i].times(ours.delta);
        assert_eq!(theirs.a[i], right, "the correlation holds at {i}");
    }
    Ok((took, sent?, answered))
}

/// Processor time of this process so far in milliseconds, where the system tells (Linux: fields 14 and 15, in 10 ms).
fn processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    10 * fields
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>()
}

fn report(config: VoleConfig, length: usize) -> Result<(), Fault> {
    let before = processor();
    let mut best = run(config, length)?;
    for _ in 1..RUNS {
        best = best.min(run(config, length)?);
    }
    let each = (processor() - before) / RUNS;
    let (took, sent, answered) = best;
    let mode = if config.malicious {
        "malicious"
    } else {
        "semi-honest"
    };
    let code = format!("{:?}", config.code);
    println!("{length:>10} {code:12} {mode:11} {took:>8} {each:>8} {sent:>14} {answered:>14}");
    Ok(())
}

fn main() -> Result<(), Fault> {
    let asked: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|one| one.parse().ok())
        .collect();
    let lengths = if asked.is_empty() {
        LENGTHS.to_vec()
    } else {
        asked
    };
    println!(
        "{:>10} {:12} {:11} {:>8} {:>8} {:>14} {:>14}",
        "length", "code", "mode", "ms", "cpu ms", "sender bytes", "receiver bytes"
    );
    for length in lengths {
        for code in [Code::ExConv7x24, Code::ExConv21x24] {
            for malicious in [false, true] {
                report(VoleConfig { code, malicious }, length)?;
            }
        }
    }
    Ok(())
}
