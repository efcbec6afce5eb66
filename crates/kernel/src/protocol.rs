//! Two-party protocols as state machines: bytes in, bytes out, no socket, no thread, no clock.
//!
//! The product's channel carries the bytes; whoever drives a [`Party`] owns deadlines and limits of size. A party
//! trusts no byte that it takes: each message is checked for length and form before it is used, and a bad one is a
//! [`Fault`], after which the party is of no use.

/// What a party wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Carry these bytes to the peer, then ask again with nothing.
    Send(Vec<u8>),
    /// Ask again with the peer's next message.
    Receive,
    /// The protocol is over; take the output.
    Finished,
}

/// Why a protocol ended before its end. It says which message, never a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A message is not of the length or form that this step has.
    Malformed {
        /// Which message it was.
        message: &'static str,
    },
    /// A check that only a cheating peer fails did fail.
    Cheated {
        /// Which check it was.
        check: &'static str,
    },
    /// The driver called out of turn: bytes where none were due, or none where some were.
    OutOfTurn,
    /// An input of ours is not one that the protocol takes.
    Input {
        /// What is wrong with it.
        what: &'static str,
    },
    /// What the peer says of itself would cost this side more than it allows; refused before anything was taken for it.
    Excessive {
        /// What is too much.
        what: &'static str,
        /// How much the peer says.
        claimed: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The two sides' inputs do not belong together; nobody can tell whose is another than it should be.
    Differ {
        /// What is not the same.
        what: &'static str,
    },
    /// The two sides cannot work with these inputs, though both are honest (statistical failure, at most 2^-40).
    Unlucky {
        /// What did not come out.
        what: &'static str,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed { message } => {
                write!(f, "the peer's {message} is not of the form it must have")
            }
            Self::Cheated { check } => write!(f, "the peer failed the {check} check"),
            Self::OutOfTurn => write!(f, "the protocol was driven out of turn"),
            Self::Input { what } => write!(f, "input refused: {what}"),
            Self::Excessive {
                what,
                claimed,
                most,
            } => write!(
                f,
                "the peer's description comes to {claimed} {what}, and {most} are allowed"
            ),
            Self::Differ { what } => write!(f, "{what} differ"),
            Self::Unlucky { what } => write!(f, "{what} did not come out; run again"),
        }
    }
}

impl std::error::Error for Fault {}

/// One side of a two-party protocol.
pub trait Party {
    /// Go on: with the peer's message after `Turn::Receive`, with None otherwise.
    ///
    /// # Errors
    /// `Fault`; the party cannot go on after it.
    fn next(&mut self, incoming: Option<&[u8]>) -> Result<Turn, Fault>;
}
