//! The party that ends with a and c: it answers the base transfers and misses a leaf of each tree.

use super::base_ot::{self, OFFER_BYTES};
use super::check::{combine, digest, factors_at, ANSWER_BYTES};
use super::code::encode;
use super::columns::Columns;
use super::prg::Coins;
use super::session::{cut, Plan, Session, FIRST_BYTES};
use super::small_field::{own, prove};
use super::wire::{put, Reader};
use super::{VoleConfig, VoleReceiverOutput};
use crate::block::Block;
use crate::protocol::{Fault, Party, Turn};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

enum State {
    Start(Coins),
    /// The columns are sent; malicious mode waits here for the challenge.
    Corrected(Coins, Session, Bits),
    /// The trees are next.
    Proven(Coins, Session, Bits),
    /// The check of the trees is requested, its answer known beforehand; malicious mode only.
    Requested(Noise, [u8; ANSWER_BYTES]),
    /// All is computed; the answer is next.
    Compressed(VoleReceiverOutput, [u8; ANSWER_BYTES]),
    Done(VoleReceiverOutput),
    Spent,
}

/// The bits u, 128 a block, and the columns of v.
struct Bits(Zeroizing<Vec<Block>>, Columns);

/// A, and of e the places that are not zero, of which there is one a tree, with what stands there.
struct Noise {
    leaves: Zeroizing<Vec<Block>>,
    hit: Zeroizing<Vec<usize>>,
    values: Zeroizing<Vec<Block>>,
}

/// The receiver of a VOLE. Semi-honest it receives, sends, receives; see the module for what each message is.
pub struct VoleReceiver {
    plan: Plan,
    state: State,
}

impl std::fmt::Debug for VoleReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VoleReceiver of {:?}", self.plan)
    }
}

impl VoleReceiver {
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

    /// a and c, once the run is finished.
    ///
    /// # Errors
    /// `Fault::OutOfTurn` before that.
    pub fn output(self) -> Result<VoleReceiverOutput, Fault> {
        match self.state {
            State::Done(output) => Ok(output),
            _ => Err(Fault::OutOfTurn),
        }
    }

    fn take_offer(&self, mut coins: Coins, message: &[u8]) -> Result<(State, Turn), Fault> {
        let mut reader = Reader::new(message, FIRST_BYTES, "offer")?;
        if reader.array()? != self.plan.header() {
            return Err(Fault::Malformed {
                message: "offer (its length, code or mode is not ours)",
            });
        }
        let offer = Reader::new(&message[FIRST_BYTES - OFFER_BYTES..], OFFER_BYTES, "offer")?;
        let session = Session::new(message);
        let (keys, share) = base_ot::send(&mut coins, &session.id, offer)?;
        let mut answer = Vec::with_capacity(self.plan.columns_bytes());
        answer.extend_from_slice(&share);
        let height = self.plan.height();
        let (bits, columns) = own(&mut coins, &session.doubling, &keys, height, &mut answer);
        let bits = Bits(bits, columns);
        let state = if self.plan.config.malicious {
            State::Corrected(coins, session, bits)
        } else {
            State::Proven(coins, session, bits)
        };
        Ok((state, Turn::Send(answer)))
    }

    fn take_challenge(
        coins: Coins,
        session: Session,
        bits: Bits,
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let challenge = Reader::new(message, 16, "challenge")?.block()?;
        let turn = Turn::Send(prove(challenge, &bits.0, &bits.1));
        Ok((State::Proven(coins, session, bits), turn))
    }

    /// Rebuild the trees around their missing leaves, and put there what the sender's value makes of them.
    fn take_trees(
        &self,
        mut coins: Coins,
        session: &Session,
        bits: &Bits,
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let mut reader = Reader::new(message, self.plan.trees_bytes(), "trees")?;
        let Bits(bits, columns) = bits;
        let rows = columns.rows();
        let elements = self.plan.elements_of(&rows);
        let forest = self.plan.forest();
        let first = self.plan.elements();
        let choice = |transfer: usize| bits[first + transfer / 128].0 >> (transfer % 128) & 1;
        let mut sums = Zeroizing::new(Vec::with_capacity(forest.levels()));
        for (transfer, row) in self.plan.transfers_of(&rows).iter().enumerate() {
            let [zero, one] = [reader.block()?, reader.block()?];
            let chosen = zero.0 ^ (zero.0 ^ one.0) & choice(transfer).wrapping_neg();
            sums.push(Block(chosen) ^ session.pad(transfer, *row));
        }
        let place = |tree: usize| {
            let levels = tree * forest.depth..(tree + 1) * forest.depth;
            levels.fold(0, |place, level| {
                place << 1 | usize::from(choice(level) == 0)
            })
        };
        let places = Zeroizing::new((0..forest.trees).map(place).collect::<Vec<_>>());
        let (leaves, totals) = forest.puncture(&session.doubling, &places, &sums);
        let (mut leaves, totals) = (Zeroizing::new(leaves), Zeroizing::new(totals));
        let mut hit = Zeroizing::new(Vec::with_capacity(forest.trees));
        for (tree, place) in places.iter().enumerate() {
            let at = (tree << forest.depth) + place;
            leaves[at] = reader.block()? ^ totals[tree] ^ elements[tree];
            hit.push(at);
        }
        let values = Zeroizing::new(bits[..forest.trees].to_vec());
        let parts = Noise {
            leaves,
            hit,
            values,
        };
        if !self.plan.config.malicious {
            return Ok((State::Done(self.compress(parts)), Turn::Finished));
        }
        let seed = coins.block();
        let x = factors_at(seed, &parts.hit)
            .iter()
            .zip(parts.values.iter())
            .fold(bits[forest.trees], |sum, (factor, value)| {
                sum ^ factor.times(*value)
            });
        let sum = combine(seed, &parts.leaves) ^ elements[forest.trees];
        let mut request = Vec::new();
        put(&mut request, &[seed, x]);
        let expected = digest(&session.id, sum);
        Ok((State::Requested(parts, expected), Turn::Send(request)))
    }

    fn compress(&self, mut parts: Noise) -> VoleReceiverOutput {
        let mut a = std::mem::take(&mut *parts.leaves);
        let mut c = vec![Block::ZERO; a.len()];
        for (at, value) in parts.hit.iter().zip(parts.values.iter()) {
            c[*at] = *value;
        }
        encode(
            self.plan.config.code,
            self.plan.shape.message,
            [&mut a[..], &mut c[..]],
        );
        VoleReceiverOutput {
            a: cut(a, self.plan.shape.length),
            c: cut(c, self.plan.shape.length),
        }
    }

    fn take_answer(
        output: VoleReceiverOutput,
        expected: &[u8; ANSWER_BYTES],
        message: &[u8],
    ) -> Result<(State, Turn), Fault> {
        let answer: [u8; ANSWER_BYTES] =
            Reader::new(message, ANSWER_BYTES, "check answer")?.array()?;
        if bool::from(answer.ct_eq(expected)) {
            Ok((State::Done(output), Turn::Finished))
        } else {
            Err(Fault::Cheated {
                check: "tree consistency",
            })
        }
    }
}

impl Party for VoleReceiver {
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault> {
        let state = std::mem::replace(&mut self.state, State::Spent);
        let (state, turn) = match (state, incoming) {
            (State::Start(coins), Some(message)) => self.take_offer(coins, message)?,
            (State::Corrected(coins, session, bits), Some(message)) => {
                Self::take_challenge(coins, session, bits, message)?
            }
            (State::Proven(coins, session, bits), Some(message)) => {
                self.take_trees(coins, &session, &bits, message)?
            }
            // While the sender computes its answer, so that the check costs no time but its own.
            (State::Requested(parts, expected), None) => (
                State::Compressed(self.compress(parts), expected),
                Turn::Receive,
            ),
            (State::Compressed(output, expected), Some(message)) => {
                Self::take_answer(output, &expected, message)?
            }
            (State::Done(output), None) => (State::Done(output), Turn::Finished),
            (
                state @ (State::Start(_)
                | State::Corrected(..)
                | State::Proven(..)
                | State::Compressed(..)),
                None,
            ) => (state, Turn::Receive),
            _ => return Err(Fault::OutOfTurn),
        };
        self.state = state;
        Ok(turn)
    }
}
