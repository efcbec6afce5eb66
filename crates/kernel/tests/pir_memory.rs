//! What an asker's memory does at a lie and at the truth; alone in its process, whose peak is measured.
#![cfg(target_os = "linux")]

use fondaco_kernel::pir::bound::{reckoned, Bounds};
use fondaco_kernel::pir::description::{part_bytes, Description};
use fondaco_kernel::pir::fuse::Form;
use fondaco_kernel::pir::layout::Layout;
use fondaco_kernel::pir::lookup::Asker;
use fondaco_kernel::pir::record::{sealed_bytes, Evaluator};
use fondaco_kernel::protocol::{Fault, Party, Turn};

const KEYS: usize = 256;

/// The most memory that this process had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.expect("a peak").parse::<u64>().expect("a number") << 10
}

fn layout(tables: u32, rows: u32) -> Layout {
    Layout {
        tables,
        groups: 1,
        slot: u32::try_from(sealed_bytes(part_bytes(16))).expect("a slot"),
        form: Form {
            rows,
            segment_bits: 8,
        },
        salts: vec![0; tables as usize],
    }
}

fn described(
    records: u64,
    public: [u8; 32],
    keys: u32,
    (single, batch): (u32, u32),
) -> Description {
    Description {
        seed: [7; 32],
        records,
        payload: 16,
        publics: vec![public],
        single: layout(1, single),
        batch: Some((keys, layout(keys * 3 / 2, batch))),
    }
}

#[test]
fn a_lie_takes_nothing_and_the_truth_no_more_than_was_reckoned() {
    let (evaluator, _seed) = Evaluator::generate();
    let lie = described(200_000, evaluator.public(), 1024, (1 << 18, 1 << 18));
    assert!(reckoned(&lie, KEYS) > 4 << 30);
    let mut asker = Asker::new(&[b"a key"], KEYS, Bounds::default()).expect("an asker");
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    let before = peak();
    let refused = asker.next(Some(&lie.to_bytes()));
    assert!(matches!(refused, Err(Fault::Excessive { .. })));
    assert!(peak() - before < 1 << 20, "{}", peak() - before);

    // The same asker's work for an index of 200,000 records, but for answers: random numbers and a query of 9 MB each.
    let truth = described(200_000, evaluator.public(), 256, (114 << 11, 2 << 11));
    let mut asker = Asker::new(&[b"a key"], KEYS, Bounds::default()).expect("an asker");
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    let before = peak();
    assert_eq!(asker.next(Some(&truth.to_bytes())), Ok(Turn::Receive));
    let random = vec![0; asker.limit()];
    let Ok(Turn::Send(blinded)) = asker.next(Some(&random)) else {
        panic!("keys")
    };
    assert_eq!(asker.next(None), Ok(Turn::Receive));
    let evaluation = evaluator.blind_evaluate(&blinded).expect("elements");
    let Ok(Turn::Send(query)) = asker.next(Some(&evaluation)) else {
        panic!("a query")
    };
    let (took, most) = (peak() - before, reckoned(&truth, KEYS));
    assert!(took > 2 * query.len() as u64 * 9 / 10, "{took}");
    // What lies idle in threads is no part of the reckoning.
    assert!(took < most + (4 << 20), "{took} of {most}");
}
