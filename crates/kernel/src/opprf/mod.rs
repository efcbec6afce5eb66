//! An oblivious programmable function for circuits: two sets meet, and neither side learns where (Pinkas, Schneider,
//! Tkachenko, Yanai, EUROCRYPT 2019, eprint 2019/241, section 5; with the function and store of Raghuraman and Rindal,
//! eprint 2022/320, section 5).
//!
//! The receiver puts its keys into a cuckoo table, one a bin ([`cuckoo`]), and fills empty bins with random ones. It
//! evaluates the oblivious function F at (key, bin) for each bin. For each bin the sender draws a target t and a mask
//! r for each payload word. For each of its keys x and each of the three bins that x may be in, it puts into a linear
//! store, under (x, bin), the words (t, payload(x) - r), masked by F(x, bin), and sends the store. The receiver reads
//! each bin's words: where its key is one of the sender's it has y = t and shares z of the payload with z + r =
//! payload modulo 2^64; elsewhere both are random. Whether y = t only a protocol on shares can tell, which takes the
//! words from here.
//!
//! Adversary: semi-honest, either side. There is no malicious variant: a receiver that cheats could ask F for more keys
//! than it declared, a sender could program words of its choice. Learned: nothing but the two numbers of keys and the
//! number of payload words, on which alone the messages' sizes depend. Words of which only some bits are compared are
//! random in all bits, or their other bits would tell.
//!
//! Failure: a bin of different keys has equal comparison words with probability at most 2^-40 over all bins; no
//! placement, or no solution of either store, with probability at most 2^-41 each.
//!
//! Messages: the oblivious function's for as many keys as there are bins (1.306 a key); then the sender's store, for
//! three times its number of keys, as one message for every two words (comparison word included): 16 bytes a block of
//! the store, with its seed (16) before the first. For 2^20 keys: some 65 MB for every two words.

pub mod cuckoo;

use rayon::prelude::*;
use zeroize::Zeroize;

use self::cuckoo::{bins_for, choices, table_of, FREE, HASHES, MAX_BINS};
use crate::block::{to_bytes, Block};
use crate::okvs::parameters::{MAX_KEYS, STATISTICAL};
use crate::okvs::paxos::{Paxos, PaxosRows};
use crate::okvs::{Okvs, Rows};
use crate::oprf::{DeltaSide, OprfReceiver, OprfSender, PairSide, Security};
use crate::permutation::{fresh_block, Permutation};
use crate::protocol::{Fault, Party, Turn};

/// The most payload words of a key.
pub const MAX_WORDS: usize = 255;

const HINT: &str = "programmed store";
const EXPAND: Block = Block(u128::from_le_bytes(*b"fondaco/opprf/ex"));
const CHUNK: usize = 1 << 12;

/// What both sides know before they begin, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bins of the receiver's table.
    pub bins: usize,
    /// Bits of a comparison word: 40 and as many as number the bins.
    pub bits: u32,
    /// Payload words of each of the sender's keys.
    pub words: usize,
    sender_keys: usize,
}

impl Shape {
    /// For so many keys of each side, each at least one.
    ///
    /// # Errors
    /// `Fault::Input` for an empty set, too many keys, or more than [`MAX_WORDS`] words.
    pub fn new(receiver_keys: usize, sender_keys: usize, words: usize) -> Result<Self, Fault> {
        let refused = |what| Err(Fault::Input { what });
        if receiver_keys == 0 || sender_keys == 0 {
            return refused("an empty set, whose intersection is known");
        }
        if receiver_keys > MAX_BINS
            || bins_for(receiver_keys) > MAX_BINS
            || sender_keys > MAX_KEYS / HASHES
        {
            return refused("more keys than one table takes");
        }
        if words > MAX_WORDS {
            return refused("more payload words than a store takes");
        }
        let bins = bins_for(receiver_keys);
        Ok(Self {
            bins,
            bits: STATISTICAL + usize::BITS - (bins - 1).leading_zeros(),
            words,
            sender_keys,
        })
    }

    /// Messages of the store: two words each.
    fn columns(&self) -> usize {
        (1 + self.words).div_ceil(2)
    }

    fn store(&self, seed: Block) -> Result<Paxos, Fault> {
        Paxos::new(HASHES * self.sender_keys, seed)
    }

    /// The words of all columns, bin by bin in a column, as words of all bins: comparison word first, cut to its bits.
    fn spread(&self, columns: &[Vec<Block>]) -> Vec<u64> {
        let mut out = Vec::with_capacity((1 + self.words) * self.bins);
        for word in 0..=self.words {
            out.extend(columns[word / 2].iter().map(|block| half(*block, word % 2)));
        }
        let mask = (1u64 << self.bits) - 1;
        for word in &mut out[..self.bins] {
            *word &= mask;
        }
        out
    }
}

#[allow(clippy::cast_possible_truncation)]
fn half(block: Block, which: usize) -> u64 {
    (block.0 >> (64 * which)) as u64
}

fn joined(low: u64, high: u64) -> Block {
    Block(u128::from(low) | u128::from(high) << 64)
}

/// What the function and the store take for a key in a bin: keys are 128-bit hashes, so that two pairs coincide with the
/// probability of two hashes.
fn in_bin(key: Block, bin: u32) -> Block {
    key ^ Block(u128::from(bin) << 96)
}

/// The mask of a column: F itself for the first, then hashes of it.
fn masks(tags: &[Block], column: usize) -> Vec<Block> {
    let mut out = tags.to_vec();
    if column > 0 {
        let permutation = Permutation::new(EXPAND);
        out.par_chunks_mut(CHUNK).for_each(|chunk| {
            for tag in chunk.iter_mut() {
                *tag ^= Block(column as u128);
            }
            permutation.hash_each(chunk);
        });
    }
    out
}

/// Values by their places in the input, from values in the order of rows.
fn by_place(values: &[Block], order: &[u32]) -> Vec<Block> {
    let mut out = vec![Block::ZERO; values.len()];
    for (value, place) in values.iter().zip(order) {
        out[*place as usize] = *value;
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Oprf,
    Column(usize),
    End,
    Broken,
}

/// What the sender's keys decode to.
struct Program {
    words: usize,
    bins: Vec<[u32; HASHES]>,
    payload: Vec<u64>,
    /// For each column and bin the target and masks.
    drawn: Vec<Vec<Block>>,
}

impl Program {
    /// The two words of a column that the `at`-th of three times the keys has in its bin.
    fn words_of(&self, at: usize, column: usize) -> Block {
        let (key, which) = (at / HASHES, at % HASHES);
        let drawn = self.drawn[column][self.bins[key][which] as usize];
        let word = |place: usize| {
            let random = half(drawn, place % 2);
            // The comparison word, and what fills the last column, are random alone.
            if place == 0 || place > self.words {
                random
            } else {
                self.payload[key * self.words + place - 1].wrapping_sub(random)
            }
        };
        joined(word(2 * column), word(2 * column + 1))
    }
}

/// The side that programs: its keys' payloads become shares.
pub struct OpprfSender<V> {
    shape: Shape,
    step: Step,
    keys: Vec<Block>,
    program: Program,
    oprf: Option<OprfSender<V>>,
    /// F of each of three times the keys.
    tags: Vec<Block>,
    store: Option<(Block, Paxos, PaxosRows)>,
    fill: Block,
}

impl<V> Drop for OpprfSender<V> {
    fn drop(&mut self) {
        self.program.payload.zeroize();
        self.program.drawn.zeroize();
        self.tags.zeroize();
        self.fill.zeroize();
    }
}

impl<V: DeltaSide> OpprfSender<V> {
    /// For the sender's keys, each once, with `words` payload words each, key by key; for a receiver of so many keys,
    /// and a VOLE of [`crate::oprf::vole_length`] of its bins.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit, or without randomness.
    pub fn new(
        keys: Vec<Block>,
        payload: Vec<u64>,
        words: usize,
        peer_keys: usize,
        vole: V,
    ) -> Result<Self, Fault> {
        let shape = Shape::new(peer_keys, keys.len(), words)?;
        if payload.len() != words * keys.len() {
            return Err(Fault::Input {
                what: "not so many payload words for each key",
            });
        }
        let bins = choices(&keys, shape.bins);
        let queries = keys
            .iter()
            .zip(&bins)
            .flat_map(|(key, bins)| bins.map(|bin| in_bin(*key, bin)))
            .collect();
        let generator = Permutation::new(fresh_block()?);
        let mut drawn = vec![vec![Block::ZERO; shape.bins]; shape.columns()];
        for (column, out) in drawn.iter_mut().enumerate() {
            generator.stream((column * shape.bins) as u128, out);
        }
        Ok(Self {
            shape,
            step: Step::Oprf,
            keys,
            program: Program {
                words,
                bins,
                payload,
                drawn,
            },
            oprf: Some(OprfSender::new(
                Security::SemiHonest,
                queries,
                shape.bins,
                vole,
            )?),
            tags: Vec::new(),
            store: None,
            fill: fresh_block()?,
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Oprf, incoming) => {
                let oprf = self.oprf.as_mut().ok_or(Fault::OutOfTurn)?;
                match oprf.next(incoming)? {
                    Turn::Finished => self.evaluated(),
                    turn => Ok(turn),
                }
            }
            (Step::Column(column), None) if column < self.shape.columns() => self.column(column),
            (Step::Column(_), None) => {
                self.step = Step::End;
                Ok(Turn::Finished)
            }
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn evaluated(&mut self) -> Result<Turn, Fault> {
        let outputs = self.oprf.take().ok_or(Fault::OutOfTurn)?.evaluate()?;
        self.tags = by_place(&outputs.tags, &outputs.order);
        let seed = fresh_block()?;
        let store = self.shape.store(seed)?;
        let keys = std::mem::take(&mut self.keys);
        let queries: Vec<Block> = keys
            .iter()
            .zip(&self.program.bins)
            .flat_map(|(key, bins)| bins.map(|bin| in_bin(*key, bin)))
            .collect();
        let rows = store.rows(&queries)?;
        self.store = Some((seed, store, rows));
        self.column(0)
    }

    fn column(&mut self, column: usize) -> Result<Turn, Fault> {
        let (seed, store, rows) = self.store.as_ref().ok_or(Fault::OutOfTurn)?;
        let masks = masks(&self.tags, column);
        let program = &self.program;
        let values: Vec<Block> = rows
            .order()
            .into_par_iter()
            .map(|at| masks[at as usize] ^ program.words_of(at as usize, column))
            .collect();
        // Each column's free places are filled anew.
        let mut fill = [Block(column as u128)];
        Permutation::new(self.fill).hash_each(&mut fill);
        let vector = store.encode(rows, &values, Some(fill[0]))?;
        let mut message = if column == 0 {
            seed.to_bytes().to_vec()
        } else {
            Vec::new()
        };
        message.extend_from_slice(&to_bytes(&vector));
        self.step = Step::Column(column + 1);
        Ok(Turn::Send(message))
    }

    /// The shape of the run.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The words of all bins: targets, then masks word by word; None before the end.
    #[must_use]
    pub fn words(&self) -> Option<Vec<u64>> {
        (self.step == Step::End).then(|| self.shape.spread(&self.program.drawn))
    }
}

impl<V: DeltaSide> Party for OpprfSender<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}

/// The side with the table.
pub struct OpprfReceiver<V> {
    shape: Shape,
    step: Step,
    table: Vec<u32>,
    queries: Vec<Block>,
    oprf: Option<OprfReceiver<V>>,
    /// F of each bin.
    tags: Vec<Block>,
    store: Option<(Paxos, PaxosRows)>,
    columns: Vec<Vec<Block>>,
}

impl<V> Drop for OpprfReceiver<V> {
    fn drop(&mut self) {
        self.tags.zeroize();
        self.columns.zeroize();
    }
}

impl<V: PairSide> OpprfReceiver<V> {
    /// For the receiver's keys, each once; for a sender of so many keys with so many payload words each, and a VOLE of
    /// [`crate::oprf::vole_length`] of the bins.
    ///
    /// # Errors
    /// `Fault::Input` for sizes that do not fit, or without randomness; `Fault::Unlucky` where keys have no placement.
    pub fn new(keys: &[Block], words: usize, peer_keys: usize, vole: V) -> Result<Self, Fault> {
        Shape::new(keys.len(), peer_keys, words)?;
        let table = table_of(keys)?;
        Self::on_table(keys, table, words, peer_keys, vole)
    }

    /// The same for keys that are placed already, so that runs with several senders have one table.
    ///
    /// # Errors
    /// As [`OpprfReceiver::new`]; `Fault::Input` for a table of another length or of other keys.
    pub fn on_table(
        keys: &[Block],
        table: Vec<u32>,
        words: usize,
        peer_keys: usize,
        vole: V,
    ) -> Result<Self, Fault> {
        let shape = Shape::new(keys.len(), peer_keys, words)?;
        let within = |place: &u32| *place == FREE || (*place as usize) < keys.len();
        if table.len() != shape.bins || !table.iter().all(within) {
            return Err(Fault::Input {
                what: "a table of other keys",
            });
        }
        let mut queries = vec![Block::ZERO; shape.bins];
        Permutation::new(fresh_block()?).stream(0, &mut queries);
        #[allow(clippy::cast_possible_truncation)] // at most MAX_BINS
        for (bin, (query, key)) in queries.iter_mut().zip(&table).enumerate() {
            if *key != FREE {
                *query = in_bin(keys[*key as usize], bin as u32);
            }
        }
        Ok(Self {
            shape,
            step: Step::Oprf,
            table,
            oprf: Some(OprfReceiver::new(
                Security::SemiHonest,
                queries.clone(),
                vole,
            )?),
            queries,
            tags: Vec::new(),
            store: None,
            columns: Vec::new(),
        })
    }

    fn advance(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        match (self.step, incoming) {
            (Step::Oprf, incoming) => {
                let oprf = self.oprf.as_mut().ok_or(Fault::OutOfTurn)?;
                let turn = oprf.next(incoming)?;
                if turn != Turn::Finished {
                    return Ok(turn);
                }
                let outputs = oprf.take_outputs()?;
                self.oprf = None;
                self.tags = by_place(&outputs.tags, &outputs.order);
                self.step = Step::Column(0);
                Ok(Turn::Receive)
            }
            (Step::Column(column), Some(bytes)) => self.column(column, bytes),
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn column(&mut self, column: usize, mut bytes: &[u8]) -> Result<Turn, Fault> {
        let malformed = Fault::Malformed { message: HINT };
        if column == 0 {
            let (seed, rest) = bytes.split_first_chunk::<16>().ok_or(malformed)?;
            let store = self.shape.store(Block::from_bytes(*seed))?;
            let rows = store.rows(&std::mem::take(&mut self.queries))?;
            self.store = Some((store, rows));
            bytes = rest;
        }
        let (store, rows) = self.store.as_ref().ok_or(Fault::OutOfTurn)?;
        if bytes.len() != 16 * store.size() {
            return Err(malformed);
        }
        let vector: Vec<Block> = bytes
            .as_chunks::<16>()
            .0
            .iter()
            .map(|block| Block::from_bytes(*block))
            .collect();
        let mut words = by_place(&store.decode(rows, &vector)?, &rows.order());
        for (word, mask) in words.iter_mut().zip(masks(&self.tags, column)) {
            *word ^= mask;
        }
        self.columns.push(words);
        if self.columns.len() < self.shape.columns() {
            self.step = Step::Column(column + 1);
            return Ok(Turn::Receive);
        }
        self.step = Step::End;
        Ok(Turn::Finished)
    }

    /// The shape of the run.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// For each bin the place of its key in the input, or [`FREE`].
    #[must_use]
    pub fn table(&self) -> &[u32] {
        &self.table
    }

    /// The words of all bins: comparison words, then shares of each payload word; None before the end.
    #[must_use]
    pub fn words(&self) -> Option<Vec<u64>> {
        (self.step == Step::End).then(|| self.shape.spread(&self.columns))
    }
}

impl<V: PairSide> Party for OpprfReceiver<V> {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        self.advance(incoming)
            .inspect_err(|_| self.step = Step::Broken)
    }
}
