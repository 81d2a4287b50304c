//! The oracle of syncs: whatever happens to an org, to the warehouse and to the process in between, after the last sync the
//! target equals the org row by row. What the org has is read from the simulator's own rows, what the target has by another
//! reader than ours.
//!
//! SQLite always runs. PostgreSQL wants Debian's package `postgresql`, DuckDB what `tests/warehouse/drivers.py duckdb` and
//! `--python` fetch; where they are missing their tests say so and pass, unless PENSTOCK_TEST_SERVERS=1. PENSTOCK_TEST_SEEDS
//! says which scenarios run on each: `200` (seeds 0 to 199), or one of them as `17-17`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod bad_input;
mod bench;
mod compare;
mod dice;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../sync_line/haunted.rs"]
mod haunted;
mod lht;
mod lives;
mod oracle;
mod org;
#[path = "../support/plants.rs"]
mod plants;
mod processes;
mod scenario;
#[path = "../support/mod.rs"]
mod support;
mod target;
