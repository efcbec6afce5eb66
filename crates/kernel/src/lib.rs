//! The kernel: what must be fast, in pure Rust with no Python; the binding crate wraps it.

pub mod block;
pub mod ecdh;
pub mod hashing;
pub mod keys;
pub mod lack;
pub mod ledger;
pub mod ledger_canonical;
pub mod ledger_merkle;
mod ledger_multiples;
pub mod ledger_proto;
pub mod ledger_transaction;
pub mod ledger_tree;
pub mod ledger_votes;
pub mod okvs;
pub mod opprf;
pub mod oprf;
pub mod permutation;
pub mod pir;
pub mod prf;
pub mod protocol;
pub mod psi;
pub mod ristretto;
mod simd;
pub mod star;
pub mod tags;
mod transfer;
pub mod unbalanced;
pub mod union;
pub mod vole;

pub use hashing::{blake3_many, keyed_ids, sha256_many, Items, Refused, ID_BYTES};
