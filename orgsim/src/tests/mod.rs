//! The server over real HTTP, against a small org of our own.

mod client;
mod faults;
mod listeners;
mod login;
mod org;
mod protocol;
mod queries;
mod wire;
