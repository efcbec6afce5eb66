//! A trusted dealer in place of the VOLE, for tests alone: quick, and its correlation is known.

use fondaco_kernel::block::Block;
use fondaco_kernel::oprf::{vole_length, DeltaSide, PairSide};
use fondaco_kernel::protocol::{Fault, Party, Turn};

use crate::world::drawn;

/// A side of a dealt correlation: it says nothing and is finished at once.
pub struct Dealt<T>(T);

impl<T: Send> Party for Dealt<T> {
    fn next(&mut self, _incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        Ok(Turn::Finished)
    }
}

impl DeltaSide for Dealt<(Block, Vec<Block>)> {
    fn output(self) -> Result<(Block, Vec<Block>), Fault> {
        Ok(self.0)
    }
}

impl PairSide for Dealt<(Vec<Block>, Vec<Block>)> {
    fn output(self) -> Result<(Vec<Block>, Vec<Block>), Fault> {
        Ok(self.0)
    }
}

pub type DealtDelta = Dealt<(Block, Vec<Block>)>;
pub type DealtPair = Dealt<(Vec<Block>, Vec<Block>)>;

/// Both sides of a correlation for a receiver of so many keys.
pub fn deal(receiver_keys: usize) -> (DealtDelta, DealtPair) {
    let length = vole_length(receiver_keys).expect("few");
    let (delta, b, c) = (
        Block(0x1234_5678_9abc_def0_0fed_cba9_8765_4321),
        drawn(101, length),
        drawn(102, length),
    );
    let a = b.iter().zip(&c).map(|(b, c)| *b ^ c.times(delta)).collect();
    (Dealt((delta, b)), Dealt((a, c)))
}
