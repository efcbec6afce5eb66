//! The hot loops of the protocols, each with a portable path and one for the processor that it finds at run time.
//!
//! In the kernel these files alone hold `unsafe`: the call of a function compiled for a processor's extension, behind the
//! check that the extension is there, and unaligned loads and stores of whole arrays. Every path gives the same bytes as
//! the portable one; the tests compare them. Miri runs each path that it is told the processor has (ADR 31).

pub(crate) mod clmul;
pub(crate) mod convolve;
#[cfg(target_arch = "x86_64")]
mod field;
pub(crate) mod gather;
pub(crate) mod lanes;
#[cfg(target_arch = "x86_64")]
pub(crate) mod points;
pub(crate) mod texts;
