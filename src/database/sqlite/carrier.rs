//! One connection to the file, and what a batch asks of it.
//!
//! Promises: a statement that runs past its time is stopped; an operation's rows are judged before they are answered;
//! nothing of an error's words leaves here.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::types::Value as Cell;
use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension as _, ffi, params};

use super::cells::{bound, value_of};
use super::errors::{db_error, plain};
use crate::batch::catalogue::{Column, ColumnId, ColumnType, Entity, RelationKind};
use crate::batch::operation::{BoundOperation, Work};
use crate::batch::sql::Parameter;
use crate::batch::sql::sqlite::{ReadBack, work};
use crate::clock::SharedClock;
use crate::database::{Command, DbError, DbErrorCode, Reply, Rows, StoredAnswer};

/// How long an answer is kept under its key.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// The virtual machine's steps between two looks at the clock: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The one that writes.
    Write,
    /// One of those that only read.
    Read,
}

/// A connection.
pub(super) struct Carrier {
    pub(super) connection: Connection,
    clock: SharedClock,
    /// When the statement that runs is stopped, in nanoseconds of the clock.
    stop_at: Arc<AtomicU64>,
}

impl Carrier {
    /// Opens the file, and makes it if it may be written.
    pub(super) fn open(path: &Path, purpose: Purpose, clock: SharedClock) -> rusqlite::Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if purpose == Purpose::Write {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(match purpose {
            Purpose::Write => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA trusted_schema = OFF;"
            }
            Purpose::Read => "PRAGMA query_only = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
        })?;
        Self::over(connection, clock)
    }

    /// Uses a connection that is open.
    pub(super) fn over(mut connection: Connection, clock: SharedClock) -> rusqlite::Result<Self> {
        let stop_at = Arc::new(AtomicU64::new(u64::MAX));
        let (watched, ticking) = (Arc::clone(&stop_at), Arc::clone(&clock));
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || {
                let stop_at = watched.load(Ordering::Relaxed);
                stop_at != u64::MAX && nanoseconds(ticking.elapsed()) >= stop_at
            }),
        )?;
        Ok(Self { connection, clock, stop_at })
    }

    /// Makes the table of idempotency keys if it is not there.
    pub(super) fn make_key_table(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS penstock_batch_key (
                 scope TEXT PRIMARY KEY NOT NULL, fingerprint BLOB NOT NULL, status INTEGER, body BLOB NOT NULL,
                 kept_until INTEGER NOT NULL)",
        )
    }

    /// Runs one of our own statements that answers nothing. It is prepared once.
    pub(super) fn say(&self, sql: &'static str) -> Result<(), DbError> {
        let said = self.connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
        said.map(|_| ()).map_err(|error| db_error(&error))
    }

    /// Whether no transaction is open: some errors end the whole of it.
    pub(super) fn outside_transaction(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Whether a foreign key that is judged at COMMIT would fail now.
    pub(super) fn has_unresolved_keys(&self) -> bool {
        let (mut unresolved, mut highest) = (0, 0);
        // SAFETY: the handle belongs to a connection that is open as long as `self`, and only this thread uses it; both
        // places are ours and outlive the call.
        let code = unsafe {
            ffi::sqlite3_db_status(
                self.connection.handle(),
                ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
                &raw mut unresolved,
                &raw mut highest,
                0,
            )
        };
        code != ffi::SQLITE_OK || unresolved != 0
    }

    /// Carries a command that means the same for readers and the writer. Those that open and end transactions, and those
    /// about keys, are not among them.
    pub(super) fn carry(&self, command: &Command, statement_timeout: Duration) -> Reply {
        let done = |said: Result<(), DbError>| said.map_or_else(Reply::Failed, |()| Reply::Done);
        match command {
            Command::Run(operation) => {
                self.run(operation, statement_timeout).map_or_else(Reply::Failed, Reply::Rows)
            }
            Command::Savepoint => done(self.say("SAVEPOINT penstock_step")),
            Command::RollbackToSavepoint => done(self.say("ROLLBACK TO penstock_step")),
            Command::ReleaseSavepoint => done(self.say("RELEASE penstock_step")),
            Command::CheckConstraints if self.has_unresolved_keys() => {
                Reply::Failed(plain(DbErrorCode::ForeignKeyViolation, "deferred"))
            }
            Command::CheckConstraints => Reply::Done,
            _ => Reply::Failed(plain(DbErrorCode::ReadOnly, "not for a reader")),
        }
    }

    /// Runs an operation.
    pub(super) fn run(&self, operation: &BoundOperation, timeout: Duration) -> Result<Rows, DbError> {
        let stop_at = nanoseconds(self.clock.elapsed().saturating_add(timeout));
        self.stop_at.store(stop_at, Ordering::Relaxed);
        let done = self.perform(operation);
        self.stop_at.store(u64::MAX, Ordering::Relaxed);
        done.map_err(|mut error| {
            if error.code == DbErrorCode::ForeignKeyViolation && error.column.is_none() {
                error.column = only_foreign_key(operation);
            }
            error
        })
    }

    fn perform(&self, operation: &BoundOperation) -> Result<Rows, DbError> {
        let Some(work) = work(operation) else {
            return Err(plain(DbErrorCode::Other, "no entity"));
        };
        let writes =
            matches!(operation.work, Work::Create { .. } | Work::Update { .. } | Work::Delete { .. });
        let mut statement = self.prepared(&work.text)?;
        if !writes && !statement.readonly() {
            return Err(plain(DbErrorCode::ReadOnly, "statement writes"));
        }
        let answer = Answer::of(operation);
        let mut read_back = match &work.read_back {
            Some(again) => Some((again, self.prepared(&again.text)?)),
            None => None,
        };
        let mut rows = Rows { width: answer.width(), ..Rows::default() };
        let mut met = 0_u64;
        for round in &work.rounds {
            bind_all(&mut statement, operation, round, work.named)?;
            let mut found = statement.raw_query();
            // Keys are judged at the end of a statement, so it is always run to its end, save when it is too much.
            while let Some(row) = found.next().map_err(|error| db_error(&error))? {
                met += 1;
                if met > work.rows_max {
                    if writes {
                        return Err(plain(DbErrorCode::TooManyRows, "rows"));
                    }
                    break;
                }
                if let Some((again, statement)) = &mut read_back {
                    read_again(statement, again, row, &answer, &mut rows)?;
                } else {
                    take_row(row, &answer, work.judged, &mut rows)?;
                }
            }
        }
        Ok(rows)
    }

    fn prepared(&self, sql: &str) -> Result<CachedStatement<'_>, DbError> {
        self.connection.prepare_cached(sql).map_err(|error| db_error(&error))
    }

    /// Takes an idempotency key: `None` when it is ours now, else what is stored under it.
    pub(super) fn take_key(
        &self,
        scope: &str,
        fingerprint: &[u8; 32],
    ) -> rusqlite::Result<Option<StoredAnswer>> {
        let now = self.clock.wall().as_second();
        self.connection
            .prepare_cached("DELETE FROM penstock_batch_key WHERE scope = ?1 AND kept_until <= ?2")?
            .execute(params![scope, now])?;
        let taken = self
            .connection
            .prepare_cached(
                "INSERT INTO penstock_batch_key (scope, fingerprint, status, body, kept_until)
                 VALUES (?1, ?2, NULL, x'', ?3) ON CONFLICT (scope) DO NOTHING",
            )?
            .execute(params![scope, fingerprint.as_slice(), now.saturating_add(KEPT_SECONDS)])?;
        if taken == 1 {
            return Ok(None);
        }
        let stored = self
            .connection
            .prepare_cached("SELECT fingerprint, status, body FROM penstock_batch_key WHERE scope = ?1")?
            .query_row(params![scope], |row| {
                Ok(StoredAnswer { fingerprint: row.get(0)?, status: row.get(1)?, body: row.get(2)? })
            })
            .optional()?;
        Ok(stored)
    }

    /// Stores an answer under its key.
    pub(super) fn keep_answer(&self, scope: &str, answer: &StoredAnswer) -> rusqlite::Result<()> {
        let until = self.clock.wall().as_second().saturating_add(KEPT_SECONDS);
        self.connection
            .prepare_cached(
                "INSERT INTO penstock_batch_key (scope, fingerprint, status, body, kept_until)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
                     body = excluded.body, kept_until = excluded.kept_until",
            )?
            .execute(params![scope, answer.fingerprint.as_slice(), answer.status, answer.body, until])?;
        Ok(())
    }

    /// Frees a key.
    pub(super) fn drop_key(&self, scope: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM penstock_batch_key WHERE scope = ?1")?
            .execute(params![scope])?;
        Ok(())
    }

    /// Removes answers that were kept long enough.
    pub(super) fn drop_old_keys(&self) -> rusqlite::Result<()> {
        let now = self.clock.wall().as_second();
        self.connection
            .prepare_cached("DELETE FROM penstock_batch_key WHERE kept_until <= ?1")?
            .execute(params![now])?;
        Ok(())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1)
}

/// Which cells of a row are answered, and as what.
enum Answer<'o> {
    /// The first cells, in order.
    Columns(&'o Entity, &'o [ColumnId]),
    /// These cells of a named statement.
    Picked(&'o [Column], &'o [ColumnId]),
    /// One number.
    Count,
}

impl<'o> Answer<'o> {
    fn of(operation: &'o BoundOperation) -> Self {
        match (&operation.work, &operation.entity) {
            (Work::Statement { statement, .. }, _) => Self::Picked(&statement.columns, &operation.returning),
            (Work::Count { .. }, _) | (_, None) => Self::Count,
            (_, Some(entity)) => Self::Columns(entity, &operation.returning),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Columns(_, columns) | Self::Picked(_, columns) => columns.len(),
            Self::Count => 1,
        }
    }

    /// Where the cell stands in the row and what it holds.
    fn cell(&self, index: usize) -> (usize, &ColumnType) {
        match self {
            Self::Columns(entity, columns) => (index, &entity.columns[columns[index]].column_type),
            Self::Picked(all, picked) => (picked[index], &all[picked[index]].column_type),
            Self::Count => (0, &ColumnType::Any),
        }
    }
}

fn bind_all(
    statement: &mut CachedStatement<'_>,
    operation: &BoundOperation,
    parameters: &[Parameter],
    named: bool,
) -> Result<(), DbError> {
    let (columns, entity) = match (&operation.work, &operation.entity) {
        // The first places of a create or update are its columns: what does not fit is told by its name.
        (Work::Create { columns, .. }, Some(entity)) => (columns.clone(), Some(entity)),
        _ => (Vec::new(), None),
    };
    for (index, parameter) in parameters.iter().enumerate() {
        let cell = bound(parameter).map_err(|_does_not_fit| DbError {
            column: entity
                .zip(columns.get(index))
                .map(|(entity, column)| entity.columns[*column].name.to_string()),
            ..plain(DbErrorCode::TypeMismatch, "value does not fit")
        })?;
        let place = match &operation.work {
            Work::Statement { statement: configured, .. } if named => {
                let name = format!(":{}", configured.parameters[index].0);
                statement.parameter_index(&name).ok().flatten()
            }
            _ => Some(index + 1),
        };
        let Some(place) = place else {
            return Err(plain(DbErrorCode::Other, "unknown parameter"));
        };
        statement.raw_bind_parameter(place, cell).map_err(|error| db_error(&error))?;
    }
    Ok(())
}

fn take_row(
    row: &rusqlite::Row<'_>,
    answer: &Answer<'_>,
    judged: bool,
    rows: &mut Rows,
) -> Result<(), DbError> {
    // A row of no columns has one constant in their place.
    if judged && !row.get::<_, Option<bool>>(rows.width.max(1)).ok().flatten().unwrap_or(false) {
        return Err(plain(DbErrorCode::RowForbidden, "row filter"));
    }
    for index in 0..rows.width {
        let (place, column_type) = answer.cell(index);
        let cell = row.get_ref(place).map_err(|error| db_error(&error))?;
        rows.cells.push(value_of(cell, column_type));
    }
    rows.count += 1;
    Ok(())
}

/// Reads a row that triggers may have changed since it was written. One that they removed is not answered.
fn read_again(
    statement: &mut CachedStatement<'_>,
    again: &ReadBack,
    key: &rusqlite::Row<'_>,
    answer: &Answer<'_>,
    rows: &mut Rows,
) -> Result<(), DbError> {
    let bind = |statement: &mut CachedStatement<'_>, place: usize, cell: Cell| {
        statement.raw_bind_parameter(place, cell).map_err(|error| db_error(&error))
    };
    for index in 0..again.key.len() {
        let cell: Cell = key.get(index).map_err(|error| db_error(&error))?;
        bind(statement, index + 1, cell)?;
    }
    for (index, parameter) in again.parameters.iter().enumerate() {
        let cell = bound(parameter).map_err(|_| plain(DbErrorCode::TypeMismatch, "value does not fit"))?;
        bind(statement, again.key.len() + index + 1, cell)?;
    }
    let mut found = statement.raw_query();
    while let Some(row) = found.next().map_err(|error| db_error(&error))? {
        take_row(row, answer, again.judged, rows)?;
    }
    Ok(())
}

/// SQLite does not say which foreign key failed; where only one was written, it is that one.
fn only_foreign_key(operation: &BoundOperation) -> Option<String> {
    let entity = operation.entity.as_deref()?;
    let written: Vec<ColumnId> = match &operation.work {
        Work::Create { columns, .. } => columns.clone(),
        Work::Update { set, .. } => set.iter().map(|(column, _)| *column).collect(),
        _ => return None,
    };
    let mut candidates: Vec<ColumnId> = entity
        .relations
        .iter()
        .filter(|relation| relation.kind == RelationKind::Object)
        .filter_map(|relation| match relation.columns.as_slice() {
            [(here, _)] if written.contains(here) => Some(*here),
            _ => None,
        })
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    match candidates.as_slice() {
        [one] => Some(entity.columns[*one].name.to_string()),
        _ => None,
    }
}
