//! Hidden query: an asker takes records of a provider's table by their keys, and the provider does not learn which.
//!
//! From the bottom: `ring`, `sample`, `scan` and `pack` are arithmetic; `matrix` and `ask` are retrieval from a
//! matrix of bytes; `fuse` and `layout` put keyed records into matrices; `record` seals them by `function`; `index` is what a provider
//! prepares and keeps, `description` what it tells of it, `bound` what an asker allows that to cost; `lookup` is the protocol of `provider` and `asker`. Each says whom it trusts and what it leaks.

// Arithmetic modulo primes narrows and reinterprets numbers at every step; the bounds are stated where it happens.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
// A body is compiled for several instruction sets only if all that it calls is inlined into it (see `simd`).
#![allow(clippy::inline_always)]

pub mod ask;
pub mod asker;
pub mod bound;
pub mod description;
pub mod directory;
pub mod function;
pub mod fuse;
pub mod index;
pub mod layout;
pub mod lookup;
pub mod matrix;
pub mod pack;
pub mod progress;
pub mod provider;
pub mod record;
pub mod ring;
pub mod sample;
pub mod scan;
mod sealing;
pub mod simd;
pub mod two;
mod verifiable;
