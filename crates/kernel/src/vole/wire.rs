//! Messages as bytes: blocks end to end, each message of one length that the shape of the run decides.

use crate::block::Block;
use crate::protocol::Fault;

/// A message being read: its length was checked, and so is each part again.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// `Fault::Malformed` unless there are `length` bytes.
    pub(crate) fn new(
        bytes: &'a [u8],
        length: usize,
        message: &'static str,
    ) -> Result<Self, Fault> {
        if bytes.len() == length {
            Ok(Self { bytes, message })
        } else {
            Err(Fault::Malformed { message })
        }
    }

    /// The next `WIDTH` bytes.
    pub(crate) fn array<const WIDTH: usize>(&mut self) -> Result<[u8; WIDTH], Fault> {
        let Some((taken, rest)) = self.bytes.split_first_chunk() else {
            return Err(self.malformed());
        };
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn block(&mut self) -> Result<Block, Fault> {
        self.array().map(Block::from_bytes)
    }

    pub(crate) fn blocks(&mut self, count: usize) -> Result<Vec<Block>, Fault> {
        (0..count).map(|_| self.block()).collect()
    }

    pub(crate) fn malformed(&self) -> Fault {
        Fault::Malformed {
            message: self.message,
        }
    }
}

/// Append blocks to a message.
pub(crate) fn put(message: &mut Vec<u8>, blocks: &[Block]) {
    for block in blocks {
        message.extend_from_slice(&block.to_bytes());
    }
}
