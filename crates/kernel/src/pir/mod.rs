//! Hidden query: an asker takes records of a provider's table by their keys, and the provider does not learn which.

pub mod matrix;
pub mod pack;
pub mod ring;
pub mod sample;
pub mod scan;
pub mod simd;
