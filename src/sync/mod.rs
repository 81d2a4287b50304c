//! Salesforce objects into a warehouse: what is decided about it, and nothing else.
//!
//! Promises: pure. Which method, which window, which columns, what becomes of a table whose object has changed, and what is
//! told at the end are functions of what came in; the actors carry it out, `warehouse` writes it.

pub mod evolve;
pub mod explain;
pub mod filter;
pub mod load;
pub mod method;
pub mod origin;
pub mod push;
pub mod report;
pub mod schedule;
pub mod settings;
pub mod shape;
pub mod table;
pub mod told;
pub mod window;

#[cfg(test)]
mod test_support;

pub use load::{
    CommitReceipt, DeletePolicy, KEYS_FROM, LoadId, LoadMode, LoadPlan, LoadState, PartNumber, PartReceipt,
    SPARED_FROM, StagedCount, Watermark,
};
pub use origin::Origin;
pub use report::{ErrorKind, SyncMethod, SyncResult};
pub use settings::{ObjectSettings, SyncProfile, SyncSettings, Thresholds};
pub use table::{
    ColumnType, KnownColumn, QueryColumn, SchemaChange, TableColumn, TableLayout, TableName, TableState,
};
