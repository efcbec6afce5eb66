//! The kernel: what must be fast, in pure Rust with no Python; the binding crate wraps it.

pub mod block;
pub mod hashing;
pub mod ledger;
pub mod ledger_canonical;
pub mod ledger_merkle;
pub mod protocol;
mod simd;
pub mod vole;

pub use hashing::{blake3_many, keyed_ids, sha256_many, Items, Refused, ID_BYTES};
