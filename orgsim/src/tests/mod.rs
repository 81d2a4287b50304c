//! The server over real HTTP, against a small org of our own.

pub mod client;
mod data;
mod faults;
mod listeners;
mod login;
pub mod org;
mod protocol;
mod queries;
mod schema;
mod wire;
