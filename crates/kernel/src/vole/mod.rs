//! x
mod code;
mod params;
mod prg;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code { ExConv7x24, ExConv21x24 }
