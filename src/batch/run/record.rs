//! What a run remembers of each operation, and what it sent.

use std::sync::Arc;

use super::hoist::HoistedRows;
use super::rows::{Asked, Associations};
use crate::batch::answer::{OperationMeta, OperationOutcome};
use crate::batch::catalogue::{ColumnId, Entity};
use crate::batch::check::OperationError;
use crate::batch::operation::BoundOperation;
use crate::batch::value::Value;
use crate::database::Rows;

/// How far an operation is.
#[derive(Default)]
pub(super) enum State {
    /// Not sent.
    #[default]
    Waiting,
    /// Its reply is awaited.
    Sent,
    /// Its rows are here, its associations are not.
    Loading(Box<Loading>),
    /// Settled one way or another: the outcome is there.
    Settled,
}

/// Rows that wait for their associations.
pub(super) struct Loading {
    /// The rows.
    pub rows: Rows,
    /// For each association: the keys of the rows.
    pub keys: Vec<Vec<Vec<Value>>>,
    /// For each association: the read, until it is sent.
    pub reads: Vec<Option<BoundOperation>>,
    /// For each association: one value for each row, once it is there.
    pub loaded: Associations,
    /// How many of [`Self::reads`] have no reply yet.
    pub awaited: usize,
}

/// One operation.
#[derive(Default)]
pub(super) struct Record {
    /// How far it is.
    pub state: State,
    /// What became of it, once it is settled.
    pub outcome: Option<OperationOutcome>,
    /// What the answer says of it beside that.
    pub meta: OperationMeta,
    /// Creates that ran ahead of it, by place in the list.
    pub passed_by: Vec<usize>,
    /// It gave values to others within the database, or took some.
    pub handed: bool,
    /// Its rows, when it ran ahead of another.
    pub hoisted: Option<HoistedRows>,
}

impl Record {
    /// Whether it is settled.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Settled)
    }

    /// Whether it completed.
    pub fn is_completed(&self) -> bool {
        matches!(self.outcome, Some(OperationOutcome::Completed { .. }))
    }

    /// Whether it failed.
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Some(OperationOutcome::Failed { .. }))
    }

    /// Settles it as failed.
    pub fn fail(&mut self, error: OperationError) {
        self.state = State::Settled;
        self.meta = OperationMeta {
            code: Some(error.code),
            column: error.column,
            constraint: error.constraint,
            pointer: error.pointer,
            stale: error.stale,
            ..OperationMeta::default()
        };
        self.outcome = Some(OperationOutcome::Failed { error: error.error, status_code: error.status });
    }

    /// Settles it as skipped.
    pub fn skip(&mut self, reason: &'static str, blocked_by: Vec<Arc<str>>) {
        self.state = State::Settled;
        self.meta = OperationMeta { blocked_by, ..OperationMeta::default() };
        self.outcome = Some(OperationOutcome::Skipped { reason });
    }
}

/// An operation that is on its way.
pub(super) struct Sent {
    /// Its place in the list.
    pub operation: usize,
    /// What its reply must look like.
    pub asked: Asked,
    /// Rows that a read answers at most; it asked for one more.
    pub page: Option<usize>,
    /// What tells a stale version from a row that is not there.
    pub probe: Option<BoundOperation>,
    /// It ran ahead of another: what to remember of its rows.
    pub hoisted: Option<Remembered>,
}

/// Columns of new rows that are remembered, and their places in the reply.
pub(super) type Remembered = (Arc<Entity>, Vec<(ColumnId, usize)>);

/// What a command of a flight is for.
pub(super) enum Slot {
    Begin,
    TakeKey,
    KeepAnswer,
    Run(Box<Sent>),
    /// The read of an association: operation and place among its associations.
    Load(usize, usize, Asked),
    /// Whether a row is there under another version.
    Probe(usize),
    Savepoint,
    RollbackToSavepoint,
    ReleaseSavepoint,
    CheckConstraints,
    Commit,
    Rollback,
}
