//! Random oblivious transfers by the million, piece by piece: `SoftSpokenOT` as [`crate::vole::small_field`] has it, whose
//! trees are agreed on once and whose streams are then read on.
//!
//! A transfer is a row: the taker has a bit c that it wants and `v`, the giver `w = v + c Delta`. Hashes of `w` and
//! `w + Delta` are the giver's two strings, that of `v` is the taker's. The hash is AES(x) + x under a key of the
//! session: correlation robust where AES behaves as a random permutation (Guo, Katz, Wang, Yu, eprint 2019/074), which is
//! what semi-honest parties need; rows are pseudorandom, so that none comes twice but with the probability of a block's.
//!
//! The transfers of one bin are beside each other, and a *tile* is a number of whole bins whose 128 columns stay in a
//! near cache. A message has at most [`TILES`] tiles. Bytes: 8 KiB one way and 5 KiB back, then 4 a transfer.

use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::block::Block;
use crate::permutation::Permutation;
use crate::protocol::Fault;
use crate::vole::base_ot::{self, COUNT, OFFER_BYTES, POINT_BYTES};
use crate::vole::prg::Coins;
use crate::vole::session::Session;
use crate::vole::small_field::{chosen_bytes, Owner, Peer, TREES_BYTES};
use crate::vole::wire::Reader;

const LABEL: &[u8] = b"fondaco/lack/transfers/1";
const HASH: &str = "fondaco lack transfers, hash";
const COLUMNS: &str = "columns";
/// The most blocks of a tile's column: an odd number of cache lines, so that columns do not evict each other.
const HEIGHT: usize = 60;
/// The most tiles of a message, which then has less than 4 MiB.
const TILES: usize = 128;

/// How the transfers of so many bins go into tiles and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    bins: usize,
    /// Transfers of a bin, at most 64.
    each: usize,
}

impl Layout {
    pub(super) const fn new(bins: usize, each: usize) -> Self {
        Self { bins, each }
    }

    /// Bins of a tile.
    pub(super) const fn tile(self) -> usize {
        HEIGHT * COUNT / self.each
    }

    /// Bins of a message.
    const fn piece(self) -> usize {
        TILES * self.tile()
    }

    /// How many messages there are.
    pub(super) const fn pieces(self) -> usize {
        self.bins.div_ceil(self.piece())
    }

    /// The bins of a message.
    pub(super) fn bins_of(self, piece: usize) -> std::ops::Range<usize> {
        let from = piece * self.piece();
        from..self.bins.min(from + self.piece())
    }

    /// Blocks of a column for so many bins of one tile.
    const fn height(self, bins: usize) -> usize {
        (bins * self.each).div_ceil(COUNT)
    }

    /// Bytes of a message.
    fn bytes(self, piece: usize) -> usize {
        let bins = self.bins_of(piece).len();
        let (whole, rest) = (bins / self.tile(), bins % self.tile());
        whole * chosen_bytes(self.height(self.tile())) + chosen_bytes(self.height(rest))
    }
}

fn hash_of(session: &Session) -> Permutation {
    let mut key = [0u8; 16];
    key.copy_from_slice(&blake3::derive_key(HASH, &session.id)[..16]);
    Permutation::new(Block::from_bytes(key))
}

fn session(offer: &[u8]) -> Session {
    Session::new(&[LABEL, offer].concat())
}

/// The giver between its offer and the taker's trees.
pub(super) struct Offered {
    session: Session,
    receiver: base_ot::Receiver,
}

/// Offer transfers; the second result is the message.
///
/// # Errors
/// `Fault::Input` without randomness.
pub(super) fn offer() -> Result<(Offered, Vec<u8>), Fault> {
    let (receiver, message) = base_ot::Receiver::new(&mut Coins::fresh()?);
    let session = session(&message);
    Ok((Offered { session, receiver }, message))
}

impl Offered {
    /// The giver, from the taker's trees.
    ///
    /// # Errors
    /// `Fault::Malformed`, or `Fault::Cheated` where the trees are not what the taker commits to.
    pub(super) fn take(&self, message: &[u8]) -> Result<Rows, Fault> {
        let mut reader = Reader::new(message, POINT_BYTES + TREES_BYTES, "trees")?;
        let keys = self.receiver.keys(&self.session.id, &mut reader)?;
        let doubling = &self.session.doubling;
        let peer = Peer::meet(doubling, &keys, self.receiver.choices, &mut reader)?;
        Ok(Rows {
            delta: Zeroizing::new(peer.delta()),
            peer,
            hash: hash_of(&self.session),
            used: 0,
        })
    }
}

/// The giver's side of all transfers.
pub(super) struct Rows {
    peer: Peer,
    delta: Zeroizing<Block>,
    hash: Permutation,
    /// Blocks of the streams that are used.
    used: u64,
}

impl Rows {
    /// The giver's strings of a message's transfers, tile by tile: `work` gets those for the bits 0 and 1, and the places
    /// of its bins in `out`, which has one element for each bin of the message.
    ///
    /// # Errors
    /// `Fault::Malformed` for a message of another length.
    pub(super) fn piece<T: Send>(
        &mut self,
        layout: Layout,
        piece: usize,
        message: &[u8],
        out: &mut [T],
        work: impl Fn(usize, &[Block], &[Block], &mut [T]) + Sync,
    ) -> Result<(), Fault> {
        if message.len() != layout.bytes(piece) {
            return Err(Fault::Malformed { message: COLUMNS });
        }
        let height = layout.height(layout.tile());
        let first = layout.bins_of(piece).start;
        out.par_chunks_mut(layout.tile())
            .zip(message.par_chunks(chosen_bytes(height)))
            .enumerate()
            .for_each(|(tile, (out, bytes))| {
                let used = self.used + (tile * height) as u64;
                let mut zero = self.peer.chosen(used, bytes).rows();
                let mut one = Zeroizing::new(zero.to_vec());
                one.iter_mut().for_each(|row| *row ^= *self.delta);
                self.hash.hash_each(&mut zero);
                self.hash.hash_each(&mut one);
                work(first + tile * layout.tile(), &zero, &one, out);
            });
        self.used += (message.len() / chosen_bytes(1)) as u64;
        Ok(())
    }
}

/// The taker's side of all transfers.
pub(super) struct Choices {
    owner: Owner,
    hash: Permutation,
    used: u64,
}

/// Answer an offer; the second result is the message of trees.
///
/// # Errors
/// `Fault::Malformed` for what is no offer, `Fault::Input` without randomness.
pub(super) fn answer(offer: &[u8]) -> Result<(Choices, Vec<u8>), Fault> {
    let mut coins = Coins::fresh()?;
    let reader = Reader::new(offer, OFFER_BYTES, "offer")?;
    let session = session(offer);
    let (keys, share) = base_ot::send(&mut coins, &session.id, reader)?;
    let mut message = Vec::with_capacity(POINT_BYTES + TREES_BYTES);
    message.extend_from_slice(&share);
    let owner = Owner::grow(&mut coins, &session.doubling, &keys, &mut message);
    let choices = Choices {
        owner,
        hash: hash_of(&session),
        used: 0,
    };
    Ok((choices, message))
}

impl Choices {
    /// The message that asks for the strings of the bits of a message's bins, the lowest of each word; `work` gets the
    /// strings of a tile, its bins' words, and their places in `out`.
    pub(super) fn piece<T: Send>(
        &mut self,
        layout: Layout,
        piece: usize,
        words: &[u64],
        out: &mut [T],
        work: impl Fn(&[Block], &[u64], &mut [T]) + Sync,
    ) -> Vec<u8> {
        let mut message = vec![0u8; layout.bytes(piece)];
        let height = layout.height(layout.tile());
        out.par_chunks_mut(layout.tile())
            .zip(words.par_chunks(layout.tile()))
            .zip(message.par_chunks_mut(chosen_bytes(height)))
            .enumerate()
            .for_each(|(tile, ((out, words), bytes))| {
                let used = self.used + (tile * height) as u64;
                let wanted = packed(words, layout.each);
                let columns = self.owner.chosen(used, &wanted, bytes);
                let mut rows = columns.rows();
                self.hash.hash_each(&mut rows);
                work(&rows, words, out);
            });
        self.used += (message.len() / chosen_bytes(1)) as u64;
        message
    }
}

/// So many of the lowest bits of each word, end to end.
fn packed(words: &[u64], each: usize) -> Zeroizing<Vec<Block>> {
    let mut out = Zeroizing::new(vec![Block::ZERO; (words.len() * each).div_ceil(COUNT)]);
    for (at, word) in words.iter().enumerate() {
        let (block, shift) = (at * each / COUNT, at * each % COUNT);
        out[block].0 |= u128::from(*word) << shift;
        if shift + each > COUNT {
            out[block + 1].0 |= u128::from(*word) >> (COUNT - shift);
        }
    }
    out
}
