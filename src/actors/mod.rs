//! The actors: the engine they share, and one file each.
//!
//! Stages pull items from their mailboxes: batcher, fetcher, composer, embedder, sync-writer. Services are asked:
//! rate-limiter, cache. The supervisor watches them all. The scheduler runs the jobs that put items on the line.

pub mod batch_gateway;
pub mod batcher;
pub mod cache;
pub mod composer;
pub mod embedder;
pub mod engine;
pub mod fetcher;
pub mod limiter_book;
pub mod rate_limiter;
pub mod schema_job;
pub mod schema_run;
pub(crate) mod supervisor;
pub mod sync_writer;
