//! The server over real HTTP, against a small org of our own.

pub mod client;
mod faults;
pub mod org;
mod protocol;
mod queries;
