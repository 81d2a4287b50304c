//! The warehouse: tables that equal the org's objects, every row once.
//!
//! Promises, for every engine: a load's rows, its ledger entry and the watermark become visible in one transaction; a load
//! that is in the ledger is never written again; the watermark comes from the ledger alone; rows are staged in parts, and a
//! part that is staged again replaces what it was; nothing is dropped but staged rows of loads that are over; a COMMIT whose
//! answer was lost is settled by [`Warehouse::load_state`], never by guessing.
//!
//! A warehouse blocks: each connection lives on a thread of its own ([`WarehouseThread`]).

pub mod adbc;
mod bytes;
pub mod chunk;
#[cfg(test)]
pub mod contract;
pub mod postgres;
pub mod spool;
pub mod sqlite;
mod staged;
pub mod thread;

use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, LoadPlan, LoadState, PartNumber, PartReceipt, QueryColumn, SchemaChange, StagedCount,
    TableLayout, TableName, TableState, Watermark,
};
pub use chunk::{Cell, ChunkRow, RowChunk};
pub use spool::{Spool, SpoolFile, SpoolWriter};
pub use thread::{WarehouseFactory, WarehouseThread};

/// [`Caps::connections_max`] of an engine that takes several writers: as many as the configuration lets anybody ask for.
pub const WRITERS_MAX: usize = 32;

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Its name, as configured: `sqlite`, `postgres`, `duckdb`, `snowflake`.
    pub kind: &'static str,
    /// Most columns of a table.
    pub columns_max: usize,
    /// Most digits of a decimal number.
    pub precision_max: u8,
    /// Connections that may write at once; 1 where the engine takes one writer.
    pub connections_max: usize,
    /// Rows of a part that it takes best.
    pub part_rows: usize,
    /// Whether it has stages of its own, so that files go there even where none was named.
    pub has_stages: bool,
}

/// Where the rows of a part are.
#[derive(Debug, Clone)]
pub enum PartSource {
    /// Rows in memory.
    Rows(std::sync::Arc<RowChunk>),
    /// Keys that were seen without their rows, in the first cell; see [`crate::sync::LoadMode`].
    Keys(std::sync::Arc<RowChunk>),
    /// A spool file with rows; see [`spool`] for what is in it.
    File(std::sync::Arc<SpoolFile>),
}

/// Why the warehouse did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WarehouseError {
    /// It could not be reached, or the connection broke.
    #[error("the warehouse cannot be reached: {0}")]
    Unreachable(String),
    /// The answer to COMMIT was lost: only the ledger knows.
    #[error("the warehouse was lost at COMMIT: {0}")]
    Unsure(String),
    /// Somebody holds a lock.
    #[error("`{what}` is locked by somebody else: {message}")]
    Locked {
        /// The table or the file.
        what: String,
        /// The engine's own words.
        message: String,
    },
    /// Another daemon writes to it.
    #[error(
        "another penstock writes to this warehouse: {0}; stop it, or give this one a warehouse or a schema of its own"
    )]
    InUse(String),
    /// A login or a right is missing.
    #[error("the warehouse refuses: {0}")]
    Denied(String),
    /// No room.
    #[error("the warehouse has no room: {0}")]
    Full(String),
    /// A table is not as we left it.
    #[error("table `{table}`: {what}")]
    Altered {
        /// The table.
        table: String,
        /// What is different, and the remedy.
        what: String,
    },
    /// A driver is missing or does not work.
    #[error("the driver for `{kind}` cannot be loaded: {why}; {remedy}")]
    Driver {
        /// The engine.
        kind: &'static str,
        /// What happened.
        why: String,
        /// How to install it.
        remedy: String,
    },
    /// The stage does not exist.
    #[error(
        "there is no stage `{0}` that this login may use: create it, or leave out `stage_name` for penstock's own"
    )]
    NoStage(String),
    /// Staged rows are not those that were to be committed.
    #[error("{expected} {what} were to be committed, {staged} are staged")]
    OtherCount {
        /// Rows, or keys without their rows.
        what: &'static str,
        /// How many the org gave.
        expected: u64,
        /// How many are staged.
        staged: u64,
    },
    /// The engine takes no value of this sort.
    #[error("column `{column}`: {message}")]
    BadValue {
        /// The column, or the columns that it can be.
        column: String,
        /// The engine's own words, without the value.
        message: String,
    },
    /// A statement of the person who configured it.
    #[error("the query is refused: {0}")]
    BadQuery(String),
    /// Anything else.
    #[error("the warehouse fails: {0}")]
    Engine(String),
    /// The thread is gone.
    #[error("the warehouse is closed")]
    Closed,
}

impl WarehouseError {
    /// The same may work later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unsure(_) | Self::Locked { .. })
    }

    /// The connection is of no more use.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unsure(_))
    }
}

/// Whether all is staged that was to be.
///
/// # Errors
/// [`WarehouseError::OtherCount`].
pub(crate) fn check_staged(expected: StagedCount, staged: StagedCount) -> Result<(), WarehouseError> {
    let counts = [("rows", expected.rows, staged.rows), ("keys", expected.keys, staged.keys)];
    match counts.into_iter().find(|(_, expected, staged)| expected != staged) {
        Some((what, expected, staged)) => Err(WarehouseError::OtherCount { what, expected, staged }),
        None => Ok(()),
    }
}

/// Takes the rows of a query.
pub trait QuerySink {
    /// The columns, once, before the first rows.
    fn head(&mut self, columns: &[QueryColumn]) -> Result<(), WarehouseError>;

    /// Some rows, in the query's order.
    fn rows(&mut self, chunk: RowChunk) -> Result<(), WarehouseError>;
}

/// Ends a statement that runs, from another thread.
pub trait Cancel: Send + Sync {
    /// Asks the engine to end what the connection is doing; it then fails, and the connection can be used again.
    fn cancel(&self);
}

/// One connection to a warehouse. Everything blocks.
pub trait Warehouse: Send {
    /// What the engine can do.
    fn caps(&self) -> Caps;

    /// Makes penstock's own tables where they are missing, `_penstock_loads` and `_penstock_columns` among them, and takes the
    /// warehouse for `owner`, a text that names this daemon's state folder.
    ///
    /// # Errors
    /// [`WarehouseError::InUse`] when another owner has it.
    fn open(&mut self, owner: &str) -> Result<(), WarehouseError>;

    /// What is known of a table, and what the engine says of it.
    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError>;

    /// Carries out the steps, in order, each durable; a step that was carried out before is none. Returns the schema version.
    fn apply_schema(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError>;

    /// What the ledger and the staging tables know of a load.
    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError>;

    /// Up to where the table has the object; `None` before its first load. From the ledger alone.
    fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError>;

    /// Makes a part durable where it can be committed from. A part that is there already is replaced whole.
    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError>;

    /// Makes the staged rows the target's, with the ledger entry and the watermark, in one transaction; then lets go of what
    /// was staged. `expected` is what the parts must add up to: a set of keys that lacks some would delete, or keep, other rows
    /// than was meant. A load that is committed already answers with its receipt.
    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError>;

    /// Lets go of what is staged of a load; none is as good.
    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError>;

    /// Rows that are not flagged as deleted.
    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError>;

    /// Runs a query that a person wrote; it may only read, whatever it says.
    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError>;

    /// Appends rows to a log table, made where it is missing: `layout`'s columns, and `_load`, `_part` before them. A part that
    /// is there already is replaced whole. One transaction.
    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &crate::sync::LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError>;

    /// Ends what this connection is doing.
    fn cancel_handle(&self) -> Option<std::sync::Arc<dyn Cancel>>;
}
