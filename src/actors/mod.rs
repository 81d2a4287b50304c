//! The actors: the engine they share, and one file each.
//!
//! Stages pull items from their mailboxes: batcher, fetcher, composer, embedder, lead intake, assessor, sync-writer,
//! warehouse-writer.
//! Services are asked: rate-limiter, cache. The supervisor watches them all. The scheduler runs the jobs that put items on the line.

pub mod assessor;
pub mod batch_gateway;
pub mod batcher;
pub mod cache;
pub mod composer;
pub mod embedder;
pub mod engine;
pub mod fetcher;
pub mod lead_asker;
mod lead_batches;
pub mod lead_budget;
mod lead_bulk;
pub mod lead_desk;
mod lead_forecast;
pub mod lead_intake;
pub mod lead_job;
mod lead_reading;
mod lead_report;
pub mod lead_run;
mod lead_start;
pub mod lead_terms;
mod lead_upkeep;
pub mod limiter_book;
pub mod model_gate;
pub mod push_desk;
pub mod push_job;
pub mod rate_limiter;
pub mod schema_job;
pub mod schema_run;
pub(crate) mod supervisor;
mod sync_besides;
pub mod sync_desk;
pub mod sync_error;
pub mod sync_extract;
mod sync_first;
mod sync_job;
pub mod sync_line;
mod sync_load;
pub mod sync_order;
mod sync_plan;
pub mod sync_pool;
pub mod sync_record;
mod sync_report;
pub mod sync_run;
pub mod sync_schedule;
pub mod sync_writer;
pub mod warehouse_writer;
