//! Jobs over real HTTP.

mod ingest;
mod query;
