//! A simulated Salesforce org over HTTP, TLS and a CONNECT proxy, faithful enough for real clients.
//!
//! [`Server::start`] runs one on the current tokio runtime; the binary of this package runs one by itself.
//! Rows are computed from an index by seed, answers are rendered once, faults come on order, and a journal
//! counts API calls by Salesforce's own rules.

mod afflict;
mod allowance;
mod answer;
mod body;
mod bulk;
pub mod catalog;
mod clock;
mod composite;
mod control;
mod cursors;
mod describe;
pub mod dml;
mod fault_file;
mod faults;
pub mod fields;
mod gate;
mod graph;
mod ids;
mod journal;
mod json;
mod jwt;
mod listeners;
pub mod model;
mod oauth;
mod options;
mod org;
mod query;
mod rest;
pub mod rows;
pub mod rows_api;
mod schema;
mod server;
pub mod sfdx;
mod site;
mod soap;
mod soql;
mod tables;
mod tokens;
mod wire;
mod writes;

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use bulk::measure;
pub use bulk::{BulkFlags, BulkOptions};
pub use dml::{DataFlags, DataOptions, Knobs};
pub use fault_file::BadFaults;
pub use faults::{Fault, FaultRule, Faults};
pub use journal::{Call, JournalSnapshot};
pub use listeners::ListenError;
pub use options::{DailyReset, Options, PerAppLimit};
pub use server::{Server, StartError};
