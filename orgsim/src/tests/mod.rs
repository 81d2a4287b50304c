//! The server over real HTTP, against a small org of our own.

mod client;
mod faults;
mod org;
mod protocol;
mod queries;
