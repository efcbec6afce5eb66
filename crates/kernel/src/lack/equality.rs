//! Whether words are equal, on shares, and then one string or another: two sides with a word for each bin.
//!
//! **Equality.** Words are cut into *nodes* of four bits. For each the giver draws a bit r and offers, by a 1-of-16
//! transfer, the table `[value = own value] + r`; the taker takes the entry of its own value. Now both share whether the
//! node's values are equal. All nodes of a bin are equal where the taker's bits are the complement of the giver's, so the
//! bits of up to 16 nodes are again words to compare, in four nodes and then in one: three *levels* in all. It is the
//! evaluation of lookup tables on shares of Dessouky et al. (NDSS 2017, eprint 2018/486) and the comparison of Rathee
//! et al. (`CrypTFlow2`, CCS 2020, eprint 2020/1002, section 3.1) for the case of equality alone; a bit-sliced tree of ANDs
//! by Goldreich, Micali, Wigderson (STOC 1987) would take two transfers an AND. A 1-of-16 transfer is made of four of
//! strings of 16 bits (Naor, Pinkas, STOC 1999): entry e is padded with bit e of the strings that the bits of e choose.
//!
//! **Strings.** One transfer a bin more, in which the taker chooses by its bit h and the giver takes for itself the string
//! of its own bit t: both have the same string where h = t, that is, where the words *differ*, and independent ones
//! where they are equal.
//!
//! Adversary: semi-honest. Learned: nothing. The giver knows both strings of each bin. Messages: an offer and trees (8 and
//! 5 KiB), then for each level the taker's columns and the giver's tables, then columns. Bytes: for words of 61 bits 82
//! transfers and 21 tables a bin, 370 bytes.

use zeroize::Zeroize;

use super::transfers::{answer, offer, Choices, Layout, Offered, Rows};
use crate::block::Block;
use crate::permutation::{fresh_block, Permutation};
use crate::protocol::{Fault, Party, Turn};

/// Bits of a node.
const NODE: usize = 4;
const TABLE_BYTES: usize = 2;
const TABLES: &str = "tables";
/// The widest string, in bytes.
pub const MAX_WIDTH: usize = 1 << 13;

/// What both sides know: how many words of how many bits there are, and how wide the strings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Words of each side.
    pub bins: usize,
    /// Bits of a word, 1 to 64.
    pub bits: usize,
    /// Bytes of a string, 1 to [`MAX_WIDTH`].
    pub width: usize,
}

const fn nodes_of(bits: usize) -> usize {
    bits.div_ceil(NODE)
}

fn low(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Entry e of the pads of a 1-of-16 transfer is bit e: the sum, over the bits of e, of the string that each chooses.
fn pads(zero: &[Block], one: &[Block]) -> u16 {
    /// The entries whose number has the bit.
    const HAS: [u16; NODE] = [0xaaaa, 0xcccc, 0xf0f0, 0xff00];
    zero.iter()
        .zip(one)
        .zip(HAS)
        .fold(0, |sum, ((zero, one), has)| {
            sum ^ (string(*zero) & !has | string(*one) & has)
        })
}

#[allow(clippy::cast_possible_truncation)] // the lowest bits are meant
fn string(hash: Block) -> u16 {
    hash.0 as u16
}

/// The giver's tables of a bin, two bytes for each node of its word of so many bits: `drawn` has a shared bit a node, and
/// of the strings each bit's transfer has two, of which the lowest 16 bits are used.
pub fn tables_of(word: u64, bits: usize, drawn: u64, strings: [&[Block]; 2], out: &mut [u8]) {
    let slots = out.as_chunks_mut::<TABLE_BYTES>().0.iter_mut();
    let strings = strings[0].chunks(NODE).zip(strings[1].chunks(NODE));
    for (node, ((zero, one), slot)) in strings.zip(slots).enumerate() {
        let width = NODE.min(bits - NODE * node);
        let own = word >> (NODE * node) & low(width);
        let shared = (drawn >> node & 1) as u16;
        let table = pads(zero, one) ^ 1 << own ^ shared.wrapping_neg();
        // A shorter node has fewer entries: a taker could open the others, and with them r.
        *slot = (table & u16::MAX >> (16 - (1 << width))).to_le_bytes();
    }
}

/// The taker's pads of a bin, of the entries of its values, as bits, from the string of each bit's transfer.
#[must_use]
pub fn taken(word: u64, bits: usize, strings: &[Block]) -> u64 {
    let mut out = 0;
    for (node, strings) in strings.chunks(NODE).enumerate() {
        let own = word >> (NODE * node) & low(NODE.min(bits - NODE * node));
        let pads = strings.iter().fold(0, |sum, hash| sum ^ string(*hash));
        out |= u64::from(pads >> own & 1) << node;
    }
    out
}

/// The taker's shared bit a node, from a bin's tables.
#[must_use]
pub fn opened(word: u64, pads: u64, tables: &[u8]) -> u64 {
    let tables = tables.as_chunks::<TABLE_BYTES>().0.iter();
    tables.enumerate().fold(pads, |sum, (node, table)| {
        let own = word >> (NODE * node) & low(NODE);
        sum ^ u64::from(u16::from_le_bytes(*table) >> own & 1) << node
    })
}

/// A string of `out`'s length from a hash: cut, or as the key of a stream.
fn widened(hash: Block, out: &mut [u8]) {
    if let Some(part) = hash.to_bytes().get(..out.len()) {
        out.copy_from_slice(part);
        return;
    }
    let mut stream = vec![Block::ZERO; out.len().div_ceil(16)];
    Permutation::new(hash).stream(0, &mut stream);
    for (part, block) in out.chunks_mut(16).zip(&stream) {
        part.copy_from_slice(&block.to_bytes()[..part.len()]);
    }
    stream.zeroize();
}

/// Where a side is: which level's words, of how many bits, and how many of the level's messages are done.
#[derive(Debug, Clone, Copy)]
struct Stage {
    bits: usize,
    piece: usize,
}

impl Compared {
    fn check(&self, words: &[u64]) -> Result<(), Fault> {
        let sound = (1..=64).contains(&self.bits) && (1..=MAX_WIDTH).contains(&self.width);
        if !sound || words.len() != self.bins || self.bins == 0 {
            return Err(Fault::Input {
                what: "words of 1 to 64 bits, and strings of 1 to 8192 bytes",
            });
        }
        Ok(())
    }

    const fn layout(&self, bits: usize) -> Layout {
        Layout::new(self.bins, bits)
    }
}

/// The side that has both strings of each bin.
pub struct Giver {
    compared: Compared,
    state: GiverState,
    /// At the end equal to the taker's where all is equal.
    words: Vec<u64>,
    /// The next words' complement.
    drawn: Vec<u64>,
    /// Tables of a level, or at the end strings.
    out: Vec<u8>,
}

enum GiverState {
    Begin,
    Offered(Box<Offered>),
    Level(Box<Rows>, Stage),
    Told(Box<Rows>, Stage),
    End,
    Broken,
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.words.zeroize();
        self.drawn.zeroize();
        self.out.zeroize();
    }
}

impl Giver {
    /// For a word a bin.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit.
    pub fn new(compared: Compared, words: Vec<u64>) -> Result<Self, Fault> {
        compared.check(&words)?;
        Ok(Self {
            compared,
            state: GiverState::Begin,
            words,
            drawn: Vec::new(),
            out: Vec::new(),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<(GiverState, Turn), Fault> {
        let state = std::mem::replace(&mut self.state, GiverState::Broken);
        match (state, incoming) {
            (GiverState::Begin, None) => {
                let (offered, message) = offer()?;
                Ok((GiverState::Offered(Box::new(offered)), Turn::Send(message)))
            }
            (GiverState::Offered(offered), None) => {
                Ok((GiverState::Offered(offered), Turn::Receive))
            }
            (GiverState::Offered(offered), Some(trees)) => {
                let rows = Box::new(offered.take(trees)?);
                Ok((self.begin(rows, self.compared.bits)?, Turn::Receive))
            }
            (GiverState::Level(rows, now), Some(bytes)) if now.bits == 1 => {
                self.strings(rows, now, bytes)
            }
            (GiverState::Level(rows, now), Some(bytes)) => self.level(rows, now, bytes),
            (GiverState::Told(rows, now), None) => {
                let state = self.begin(rows, nodes_of(now.bits))?;
                Ok((state, Turn::Receive))
            }
            (GiverState::End, None) => Ok((GiverState::End, Turn::Finished)),
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn begin(&mut self, rows: Box<Rows>, bits: usize) -> Result<GiverState, Fault> {
        let count = self.compared.bins;
        if bits == 1 {
            self.out = vec![0; count * self.compared.width];
        } else {
            let nodes = nodes_of(bits);
            let mut blocks = vec![Block::ZERO; count.div_ceil(2)];
            Permutation::new(fresh_block()?).stream(0, &mut blocks);
            let words = blocks.iter().flat_map(|block| {
                #[allow(clippy::cast_possible_truncation)] // halves
                [block.0 as u64, (block.0 >> 64) as u64]
            });
            self.drawn = words.take(count).map(|word| word & low(nodes)).collect();
            blocks.zeroize();
            self.out = vec![0; count * nodes * TABLE_BYTES];
        }
        Ok(GiverState::Level(rows, Stage { bits, piece: 0 }))
    }

    fn level(
        &mut self,
        mut rows: Box<Rows>,
        mut now: Stage,
        bytes: &[u8],
    ) -> Result<(GiverState, Turn), Fault> {
        let (bits, layout) = (now.bits, self.compared.layout(now.bits));
        let (words, drawn, size) = (&self.words, &self.drawn, nodes_of(bits) * TABLE_BYTES);
        let range = layout.bins_of(now.piece);
        let part = &mut self.out[range.start * size..range.end * size];
        let mut slots: Vec<&mut [u8]> = part.chunks_mut(size).collect();
        rows.piece(
            layout,
            now.piece,
            bytes,
            &mut slots,
            |first, zero, one, slots| {
                let strings = zero.chunks(bits).zip(one.chunks(bits));
                for (at, ((zero, one), slot)) in strings.zip(slots).enumerate() {
                    let bin = first + at;
                    tables_of(words[bin], bits, drawn[bin], [zero, one], slot);
                }
            },
        )?;
        now.piece += 1;
        if now.piece < layout.pieces() {
            return Ok((GiverState::Level(rows, now), Turn::Receive));
        }
        self.words = std::mem::take(&mut self.drawn);
        let mask = low(nodes_of(bits));
        self.words.iter_mut().for_each(|word| *word ^= mask);
        let tables = std::mem::take(&mut self.out);
        Ok((GiverState::Told(rows, now), Turn::Send(tables)))
    }

    fn strings(
        &mut self,
        mut rows: Box<Rows>,
        mut now: Stage,
        bytes: &[u8],
    ) -> Result<(GiverState, Turn), Fault> {
        let (layout, width) = (self.compared.layout(1), self.compared.width);
        let range = layout.bins_of(now.piece);
        let part = &mut self.out[range.start * width..range.end * width];
        let mut slots: Vec<&mut [u8]> = part.chunks_mut(width).collect();
        let words = &self.words;
        rows.piece(
            layout,
            now.piece,
            bytes,
            &mut slots,
            |first, zero, one, slots| {
                for (at, ((zero, one), slot)) in zero.iter().zip(one).zip(slots).enumerate() {
                    // The complement of a word that is the taker's where all is equal.
                    let bit = u128::from(!words[first + at] & 1).wrapping_neg();
                    widened(Block(zero.0 ^ (zero.0 ^ one.0) & bit), slot);
                }
            },
        )?;
        now.piece += 1;
        if now.piece < layout.pieces() {
            return Ok((GiverState::Level(rows, now), Turn::Receive));
        }
        Ok((GiverState::End, Turn::Finished))
    }

    /// The giver's string of each bin, one after the other; None before the end.
    #[must_use]
    pub fn shares(&self) -> Option<&[u8]> {
        matches!(self.state, GiverState::End).then_some(&self.out)
    }
}

impl Party for Giver {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let (state, turn) = self.advance(incoming)?;
        self.state = state;
        Ok(turn)
    }
}

/// The side that chooses one string of each bin.
pub struct Taker {
    compared: Compared,
    state: TakerState,
    words: Vec<u64>,
    /// Pads of the entries of a level's values.
    pads: Vec<u64>,
    out: Vec<u8>,
}

enum TakerState {
    Begin,
    Awaits,
    Level(Box<Choices>, Stage),
    Asked(Box<Choices>, Stage),
    End,
    Broken,
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.words.zeroize();
        self.pads.zeroize();
        self.out.zeroize();
    }
}

impl Taker {
    /// For a word a bin.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit.
    pub fn new(compared: Compared, words: Vec<u64>) -> Result<Self, Fault> {
        compared.check(&words)?;
        Ok(Self {
            compared,
            state: TakerState::Begin,
            words,
            pads: vec![0; compared.bins],
            out: Vec::new(),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<(TakerState, Turn), Fault> {
        let state = std::mem::replace(&mut self.state, TakerState::Broken);
        match (state, incoming) {
            (TakerState::Begin, None) => Ok((TakerState::Awaits, Turn::Receive)),
            (TakerState::Awaits, Some(offer)) => {
                let (choices, message) = answer(offer)?;
                let bits = self.compared.bits;
                let now = Stage { bits, piece: 0 };
                let state = TakerState::Level(Box::new(choices), now);
                Ok((state, Turn::Send(message)))
            }
            (TakerState::Level(choices, now), None) => Ok(self.ask(choices, now)),
            (TakerState::Asked(choices, now), Some(tables)) => {
                self.open(now, tables)?;
                let bits = nodes_of(now.bits);
                Ok(self.ask(choices, Stage { bits, piece: 0 }))
            }
            (TakerState::End, None) => Ok((TakerState::End, Turn::Finished)),
            _ => Err(Fault::OutOfTurn),
        }
    }

    /// The next message of a level; all at its end, the turn is the giver's or, after the strings, nobody's.
    fn ask(&mut self, mut choices: Box<Choices>, mut now: Stage) -> (TakerState, Turn) {
        let layout = self.compared.layout(now.bits);
        if now.piece == layout.pieces() {
            return if now.bits == 1 {
                (TakerState::End, Turn::Finished)
            } else {
                (TakerState::Asked(choices, now), Turn::Receive)
            };
        }
        let (bits, width) = (now.bits, self.compared.width);
        let range = layout.bins_of(now.piece);
        let words = &self.words[range.clone()];
        let message = if bits == 1 {
            self.out.resize(self.compared.bins * width, 0);
            let part = &mut self.out[range.start * width..range.end * width];
            let mut slots: Vec<&mut [u8]> = part.chunks_mut(width).collect();
            choices.piece(
                layout,
                now.piece,
                words,
                &mut slots,
                |strings, _words, slots| {
                    for (hash, slot) in strings.iter().zip(slots) {
                        widened(*hash, slot);
                    }
                },
            )
        } else {
            let pads = &mut self.pads[range];
            choices.piece(layout, now.piece, words, pads, |strings, words, pads| {
                for ((strings, word), pads) in strings.chunks(bits).zip(words).zip(pads) {
                    *pads = taken(*word, bits, strings);
                }
            })
        };
        now.piece += 1;
        (TakerState::Level(choices, now), Turn::Send(message))
    }

    fn open(&mut self, now: Stage, tables: &[u8]) -> Result<(), Fault> {
        let size = nodes_of(now.bits) * TABLE_BYTES;
        if tables.len() != self.compared.bins * size {
            return Err(Fault::Malformed { message: TABLES });
        }
        let bins = self.words.iter_mut().zip(&self.pads);
        for ((word, pads), tables) in bins.zip(tables.chunks_exact(size)) {
            *word = opened(*word, *pads, tables);
        }
        Ok(())
    }

    /// The taker's string of each bin, one after the other; None before the end.
    #[must_use]
    pub fn shares(&self) -> Option<&[u8]> {
        matches!(self.state, TakerState::End).then_some(&self.out)
    }
}

impl Party for Taker {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let (state, turn) = self.advance(incoming)?;
        self.state = state;
        Ok(turn)
    }
}
