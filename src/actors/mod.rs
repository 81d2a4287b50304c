//! The actors.

pub mod engine;
