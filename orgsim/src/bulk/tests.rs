//! Jobs over real HTTP.

mod classic;
mod ingest;
mod query;
