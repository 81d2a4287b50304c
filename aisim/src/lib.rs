//! A simulated OpenAI-compatible endpoint over HTTP: chat completions with structured output, files, batches, models.
//!
//! [`Server::start`] runs one on the current tokio runtime; the binary of this package runs one by itself. Answers are made
//! from the question alone and are valid against the question's own schema; limits, delays and faults come on order; a log
//! says of every question whose it was, how it was answered and whether the answer was sent to its end.

mod answer;
mod batch_run;
mod batches;
mod chat;
mod clock;
mod control;
mod faults;
mod files;
mod limits;
mod log;
mod options;
mod schema;
mod server;
mod site;
mod wire;

#[cfg(test)]
mod tests;

pub use batches::{BatchEnd, BatchPlan};
pub use faults::{BadFault, Fault, FaultRule, FaultWhere};
pub use limits::{Counting, LimitKind, Limits};
pub use log::{LogEntry, Stats};
pub use options::Options;
pub use server::{Server, StartError};
