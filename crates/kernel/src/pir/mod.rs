//! Hidden query: an asker takes records of a provider's table by their keys, and the provider does not learn which.

pub mod fuse;
pub mod index;
pub mod layout;
pub mod lookup;
pub mod matrix;
pub mod pack;
pub mod record;
pub mod ring;
pub mod sample;
pub mod scan;
pub mod simd;
