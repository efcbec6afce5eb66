//! Hidden query of two servers that hold the same records and do not collude: no lattice, a kilobyte up, one pass.
//!
//! `dpf` makes two keys of which neither tells what is asked for; `table` holds the rows, each with its proof, and
//! answers; `equal` finds out whether both servers hold the same; `index` is what they make together, by `preparation`;
//! `lookup` is the protocol between an asker and either; `bound` is what an asker lets it cost.

pub mod asker;
pub mod bound;
pub mod dpf;
pub mod equal;
pub mod index;
pub mod lookup;
pub mod preparation;
pub mod table;
