//! Two parties in one process: a driver that carries their messages.

use std::collections::VecDeque;

use fondaco_kernel::block::Block;
use fondaco_kernel::permutation::Permutation;
use fondaco_kernel::protocol::{Fault, Party, Turn};

/// Blocks that a seed decides.
pub fn drawn(seed: u128, count: usize) -> Vec<Block> {
    let mut out = vec![Block::ZERO; count];
    Permutation::new(Block(seed)).stream(0, &mut out);
    out
}

/// A message on its way: which side sent it, its number on that side, its bytes.
pub type Meddler<'a> = dyn FnMut(usize, usize, &mut Vec<u8>) + 'a;

/// Run both to the end; the sizes of all messages with their sender, or the first fault and whose it is.
pub fn run(
    parties: &mut [&mut dyn Party; 2],
    meddle: &mut Meddler<'_>,
) -> Result<Vec<(usize, usize)>, (usize, Fault)> {
    let mut queues = [VecDeque::new(), VecDeque::new()];
    let (mut waits, mut done, mut sent) = ([false; 2], [false; 2], [0; 2]);
    let mut sizes = Vec::new();
    while done != [true; 2] {
        let mut moved = false;
        for side in 0..2 {
            if done[side] {
                continue;
            }
            let incoming: Option<Vec<u8>> = if waits[side] {
                queues[side].pop_front()
            } else {
                None
            };
            if waits[side] && incoming.is_none() {
                continue;
            }
            moved = true;
            waits[side] = false;
            match parties[side]
                .next(incoming.as_deref())
                .map_err(|fault| (side, fault))?
            {
                Turn::Send(mut bytes) => {
                    sizes.push((side, bytes.len()));
                    meddle(side, sent[side], &mut bytes);
                    sent[side] += 1;
                    queues[1 - side].push_back(bytes);
                }
                Turn::Receive => waits[side] = true,
                Turn::Finished => done[side] = true,
            }
        }
        assert!(moved, "both wait for each other");
    }
    assert!(
        queues.iter().all(VecDeque::is_empty),
        "a message was not taken"
    );
    Ok(sizes)
}
