//! Gets things out of a Salesforce org, and related writes into a database, through one line of
//! supervised actors. See `ARCHITECTURE.md` for the line and the code map.

pub mod actors;
pub mod ai;
pub mod batch;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod database;
pub mod desk;
pub mod http;
pub mod leads;
pub mod library;
pub mod limiter;
pub mod messages;
pub mod model;
pub mod plant;
pub mod salesforce;
pub mod sheets;
pub mod signals;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod vectors;
pub mod warehouse;
