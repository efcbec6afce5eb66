//! Silent VOLE over GF(2^128): from a short exchange, long vectors with `a[i] = b[i] + c[i] Delta`.
//!
//! The *sender* ends with Delta and b, the *receiver* with a and c; all are pseudorandom, and neither learns more of
//! the other's. It is the ground of the oblivious PRF of RR22 (eprint 2022/320), and of any secret product with one
//! fixed factor.
//!
//! How it goes (Boyle et al.: CCS 2018 and 2019; the malicious form after Ferret and Wolverine):
//!
//! 1. 128 base transfers, the sender choosing at random ([`base_ot`]);
//! 2. stretched to bits times Delta ([`small_field`]), of which 128 each make one correlation for a noise value of
//!    the receiver, and one each a transfer for a level of a tree;
//! 3. t trees, of which the receiver misses one leaf each ([`ggm`]): where it misses it, the value that it gets
//!    instead differs from the sender's by a noise value times Delta. So `A = B + e Delta` with e zero but at t places;
//! 4. the public code compresses A, B and e alike ([`code`]); e becomes pseudorandom by the assumption of [`params`].
//!
//! **Adversary.** Semi-honest by default. With [`VoleConfig::malicious`], a party may do as it likes: the receiver's
//! corrections and the sender's trees are checked ([`small_field`], [`check`]), and a cheat ends in
//! [`Fault::Cheated`]. A cheating party may choose its own output, and may gamble the run on a guess of the other's
//! secret: of n bits of Delta (passes with chance 2^-n), or of places of the noise (one bit on average).
//! **Learned.** Nothing beyond one's output; an outsider who sees the wire learns code, length and mode.
//!
//! **Rounds and bytes.** Three messages (sender, receiver, sender), seven if malicious. For 1.3 * 2^20 elements and
//! `ExConv7x24` 0.64 MB in all. Every message's length follows from length, code and mode, which the first one names.
//!
//! **Secrets.** Randomness is the operating system's, fresh for each run, and so is the noise. Secrets are zeroised
//! when they are dropped, outputs by whoever took them. Nothing branches on a secret; [`ggm`] says where one is an
//! address.

pub(crate) mod base_ot;
mod check;
mod code;
pub(crate) mod columns;
mod ggm;
mod params;
pub(crate) mod prg;
mod receiver;
mod sender;
pub(crate) mod session;
pub(crate) mod small_field;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use crate::block::Block;
pub use params::MAX_LENGTH;
pub use receiver::VoleReceiver;
pub use sender::VoleSender;
use zeroize::Zeroize;

#[cfg(doc)]
use crate::protocol::Fault;

/// The code that compresses the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Expander weight 7, state 24: fast.
    ExConv7x24,
    /// Expander weight 21, state 24: conservative, and about twice as slow.
    ExConv21x24,
}

/// What both sides of a run agree on beforehand, besides the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VoleConfig {
    /// The code that compresses the noise.
    pub code: Code,
    /// Whether the checks against a malicious peer are made.
    pub malicious: bool,
}

impl Default for VoleConfig {
    fn default() -> Self {
        Self {
            code: Code::ExConv7x24,
            malicious: false,
        }
    }
}

/// What the party that holds Delta ends with.
#[derive(Clone, PartialEq, Eq, Zeroize)]
pub struct VoleSenderOutput {
    /// The fixed factor, uniform.
    pub delta: Block,
    /// One element each of the length asked for.
    pub b: Vec<Block>,
}

/// What the other party ends with: `a[i] = b[i] ^ c[i].times(delta)`.
#[derive(Clone, PartialEq, Eq, Zeroize)]
pub struct VoleReceiverOutput {
    /// One element each of the length asked for.
    pub a: Vec<Block>,
    /// The other factors, pseudorandom.
    pub c: Vec<Block>,
}

impl std::fmt::Debug for VoleSenderOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VoleSenderOutput of {} elements", self.b.len())
    }
}

impl std::fmt::Debug for VoleReceiverOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VoleReceiverOutput of {} elements", self.a.len())
    }
}
