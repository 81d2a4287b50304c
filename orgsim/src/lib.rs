//! A simulated Salesforce org over plain HTTP, faithful enough for real clients.
//!
//! [`Server::start`] runs one on the current tokio runtime; the binary of this package runs one by itself.
//! Rows are computed from an index by seed, answers are rendered once, faults come on order, and a journal
//! counts API calls by Salesforce's own rules.

mod answer;
mod body;
mod bulk;
pub mod catalog;
mod clock;
mod composite;
mod control;
mod cursors;
mod describe;
mod faults;
mod ids;
mod journal;
mod json;
pub mod model;
mod options;
mod org;
mod query;
mod rest;
pub mod rows;
pub mod rows_api;
mod server;
pub mod sfdx;
mod site;
mod soql;
mod tables;
mod tokens;

#[cfg(test)]
mod tests;

pub use bulk::BulkOptions;
pub use faults::{Fault, FaultRule, Faults};
pub use journal::{Call, JournalSnapshot};
pub use options::Options;
pub use server::{Server, StartError};
