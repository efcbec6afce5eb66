//! The party that holds Delta: it chooses in the base transfers and grows the trees.

use super::base_ot;
use super::check::{combine, digest, REQUEST_BYTES};
use super::code::encode;
use super::columns::Columns;
use super::prg::Coins;
use super::session::{cut, Plan, Session, FIRST_BYTES};
use super::small_field::{meet, verify, PROOF_BYTES};
use super::wire::{put, Reader};
use super::{VoleConfig, VoleSenderOutput};
use crate::block::Block;
use crate::protocol::{Fault, Party, Turn};
use zeroize::Zeroizing;

enum State {
    Start(Coins),
    /// Base transfers are offered.
    Offered(Coins, Session, base_ot::Receiver),
    /// The corrections are challenged; malicious mode only.
    Challenged(Coins, Session, Block, Pair),
    /// The trees are sent; malicious mode waits here for the receiver's request.
    Grown(Session, Noise),
    /// All is said; what is left is to compress.
    Settled(Noise),
    Done(VoleSenderOutput),
    Spent,
}

/// Delta and the rows' columns.
struct Pair(Zeroizing<Block>, Columns);

/// Delta, B, and b of the mask.
struct Noise {
    delta: Zeroizing<Block>,
    leaves: Zeroizing<Vec<Block>>,
    mask: Zeroizing<Block>,
}

/// The sender of a VOLE. Semi-honest it sends, receives, sends; see the module for what each message is.
pub struct VoleSender {
    plan: Plan,
    state: State,
}

impl std::fmt::Debug for VoleSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VoleSender of {:?}", self.plan)
    }
}

impl VoleSender {
    /// A run for `length` elements, its secrets drawn from the operating system.
    ///
    /// # Errors
    /// `Fault::Input` for a length of 0 or above [`super::MAX_LENGTH`], or without randomness.
    pub fn new(config: VoleConfig, length: usize) -> Result<Self, Fault> {
        Self::with_coins(config, length, Coins::fresh()?)
    }

    fn with_coins(config: VoleConfig, length: usize, coins: Coins) -> Result<Self, Fault> {
        let plan = Plan::new(config, length)?;
        let state = State::Start(coins);
        Ok(Self { plan, state })
    }

    #[cfg(test)]
    pub(crate) fn of_test(config: VoleConfig, length: usize, seed: u8) -> Result<Self, Fault> {
        Self::with_coins(config, length, Coins::of_test(seed))
    }

    /// Delta and b, once the run is finished.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before that.
    pub fn output(self) -> Result<VoleSenderOutput, Fault> {
        match self.state {
            State::Done(output) => Ok(output),
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn offer(&self, mut coins: Coins) -> (State, Turn) {
        let (receiver, offer) = base_ot::Receiver::new(&mut coins);
        let mut message = self.plan.header().to_vec();
        message.extend_from_slice(&offer);
        debug_assert_eq!(message.len(), FIRST_BYTES);
        let session = Session::new(&message);
        (
            State::Offered(coins, session, receiver),
            Turn::Send(message),
        )
    }

    fn take_columns(
        &self,
        mut coins: Coins,
        session: Session,
        receiver: &base_ot::Receiver,
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let mut reader = Reader::new(message, self.plan.columns_bytes(), "columns")?;
        let keys = receiver.keys(&session.id, &mut reader)?;
        let height = self.plan.height();
        let (delta, columns) = meet(
            &session.doubling,
            &keys,
            receiver.choices,
            height,
            &mut reader,
        )?;
        let pair = Pair(Zeroizing::new(delta), columns);
        if self.plan.config.malicious {
            let challenge = coins.block();
            let turn = Turn::Send(challenge.to_bytes().to_vec());
            return Ok((State::Challenged(coins, session, challenge, pair), turn));
        }
        Ok(self.grow(&mut coins, session, pair))
    }

    fn take_proof(
        &self,
        mut coins: Coins,
        session: Session,
        challenge: Block,
        pair: Pair,
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let reader = Reader::new(message, PROOF_BYTES, "proof")?;
        verify(challenge, *pair.0, &pair.1, reader)?;
        Ok(self.grow(&mut coins, session, pair))
    }

    /// Grow the trees; send each level's sums under the pads of its transfer, and each tree's sum under its element.
    fn grow(&self, coins: &mut Coins, session: Session, pair: Pair) -> (State, Turn) {
        let Pair(delta, columns) = pair;
        let rows = columns.rows();
        let elements = self.plan.elements_of(&rows);
        let forest = self.plan.forest();
        let roots = Zeroizing::new((0..forest.trees).map(|_| coins.block()).collect::<Vec<_>>());
        let (leaves, sums) = forest.grow(&session.doubling, &roots);
        let mut message = Vec::with_capacity(self.plan.trees_bytes());
        for (transfer, (row, sum)) in self.plan.transfers_of(&rows).iter().zip(&sums).enumerate() {
            let pads = [*row, *row ^ *delta].map(|row| session.pad(transfer, row));
            put(&mut message, &[sum[0] ^ pads[0], sum[1] ^ pads[1]]);
        }
        for (tree, element) in elements[..forest.trees].iter().enumerate() {
            let last = sums[(tree + 1) * forest.depth - 1];
            put(&mut message, &[last[0] ^ last[1] ^ *element]);
        }
        let mask = elements.get(forest.trees).copied().unwrap_or_default();
        let noise = Noise {
            delta,
            leaves: Zeroizing::new(leaves),
            mask: Zeroizing::new(mask),
        };
        let state = if self.plan.config.malicious {
            State::Grown(session, noise)
        } else {
            State::Settled(noise)
        };
        (state, Turn::Send(message))
    }

    /// Answer the receiver's request for the check of the trees.
    fn take_request(
        session: &Session,
        noise: Noise,
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let mut reader = Reader::new(message, REQUEST_BYTES, "check request")?;
        let (seed, x) = (reader.block()?, reader.block()?);
        let sum = combine(seed, &noise.leaves) ^ *noise.mask ^ x.times(*noise.delta);
        let turn = Turn::Send(digest(&session.id, sum).to_vec());
        Ok((State::Settled(noise), turn))
    }

    fn compress(&self, mut noise: Noise) -> (State, Turn) {
        let mut leaves = std::mem::take(&mut *noise.leaves);
        encode(
            self.plan.config.code,
            self.plan.shape.message,
            [&mut leaves[..]],
        );
        let output = VoleSenderOutput {
            delta: *noise.delta,
            b: cut(leaves, self.plan.shape.length),
        };
        (State::Done(output), Turn::Finished)
    }
}

impl Party for VoleSender {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let state = std::mem::replace(&mut self.state, State::Spent);
        let (state, turn) = match (state, incoming) {
            (State::Start(coins), None) => self.offer(coins),
            (State::Offered(coins, session, receiver), Some(message)) => {
                self.take_columns(coins, session, &receiver, message)?
            }
            (State::Challenged(coins, session, challenge, pair), Some(message)) => {
                self.take_proof(coins, session, challenge, pair, message)?
            }
            (State::Grown(session, noise), Some(message)) => {
                Self::take_request(&session, noise, message)?
            }
            (State::Settled(noise), None) => self.compress(noise),
            (State::Done(output), None) => (State::Done(output), Turn::Finished),
            (state @ (State::Offered(..) | State::Challenged(..) | State::Grown(..)), None) => {
                (state, Turn::Receive)
            }
            _ => return Err(Fault::OutOfTurn),
        };
        self.state = state;
        Ok(turn)
    }
}
