//! Rows of the warehouse into the org: what is decided about it, and nothing else.
//!
//! Promises: the query is read once, and what it gave is cut into batches before the first row is sent, so that a push that
//! is taken up again sends what it would have sent; a row is told exactly once, as written, refused or of unknown fate; a
//! job that has refused rows is no success. Upserts, updates and deletes may be sent again after a crash, because a second
//! time changes nothing; an insert is sent again only when the org itself says that the first did nothing.

pub mod cells;
pub mod columns;
pub mod outcome;
pub mod progress;
pub mod rows;
pub mod settings;
pub mod way;

pub use cells::{CellFault, FieldSort};
pub use columns::{PushCell, PushColumn, PushColumns, PushColumnsError, PushRow};
pub use outcome::{ResultOf, RowError, RowFate, RowOutcome, results_layout};
pub use progress::{
    Batch, BatchState, Found, PushProgress, PushResult, Step, Tally, batches, cut, next_step,
};
pub use rows::{ResultJoin, RowNumbers};
pub use settings::{PushOperation, PushSettings};
pub use way::{PushChoice, PushWay, RECORDS_PER_CALL, choose};
