//! The actors: the engine they share, and one file each.

pub mod engine;
pub(crate) mod supervisor;
