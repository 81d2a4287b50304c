//! Syncs on the whole line: a plant, a simulated org, a SQLite file. What is in the target is read by another reader than ours,
//! and calls and jobs are those that the org has in its journal.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod crashes;
mod haunted;
mod origins;
#[path = "../support/plants.rs"]
mod plants;
mod rig;
mod troubles;
mod whole;
