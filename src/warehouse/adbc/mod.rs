//! Warehouses behind an ADBC driver, a shared library that is found when it is needed.
//!
//! Promises: nothing is linked; a driver that is missing is an error that says how to install it; rows cross as Arrow
//! columns, numbers exact, points in time in UTC.

pub mod connection;
pub mod driver;
pub mod duckdb;
mod known;
pub mod rows;
pub mod snowflake;

pub use connection::{AdbcConnection, Classify, IngestTarget, open_database};
pub use driver::DriverPlace;
pub use duckdb::{DuckDbSettings, DuckDbWarehouse};
pub use rows::{ChunkReader, Constant, append_rows, columns_of};
pub use snowflake::{SnowflakeLogin, SnowflakeSettings, SnowflakeWarehouse};
