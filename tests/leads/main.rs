//! Lead jobs on a real plant and a simulated org: what goes in, what comes out, and what faults cost.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod batches;
mod bulk;
mod faults;
mod model;
#[path = "../support/plants.rs"]
mod plants;
mod rig;
mod sources;
mod whole;
