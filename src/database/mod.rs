//! Databases that batches run on: connections, flights, introspection.
//!
//! A batch is a state machine ([`crate::batch::run`]) that knows nothing of sockets: it puts out a flight of commands and is
//! given their replies. A database carries flights. One flight is one round trip where there is a network; SQLite runs it in
//! place, on the thread that owns the file.

mod home;
pub mod late;
pub mod mysql;
pub mod postgres;
pub mod session;
pub mod sqlite;

#[cfg(test)]
#[path = "../../tests/support/ports.rs"]
mod ports;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::catalogue::{Catalogue, CatalogueSettings, DatabaseKind, SettingFault, StatementSettings};
use crate::batch::operation::BoundOperation;
use crate::batch::run::BatchRun;
use crate::batch::value::Value;
use crate::clock::BoxFuture;

/// A database that is open.
pub trait Database: Send + Sync + 'static {
    /// Its name in the config.
    fn name(&self) -> &Arc<str>;

    /// Its kind.
    fn kind(&self) -> DatabaseKind;

    /// Whether it has been reached since the start. Until then its catalogue is empty.
    fn is_open(&self) -> bool {
        true
    }

    /// The catalogue as it is now. A batch keeps the one it was planned with.
    fn catalogue(&self) -> Arc<Catalogue>;

    /// Reads the tables again and swaps the catalogue as a whole; the old one stays when this fails.
    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>>;

    /// Carries the batch to its end, and gives it back for [`BatchRun::into_finished`]. It does so on threads of its own:
    /// whoever polls this only waits, and may stop waiting.
    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun>;

    /// How its connections are doing.
    fn state(&self) -> ConnectionsState;
}

/// Connections of a database by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionsState {
    /// Open, with nothing to do.
    pub idle: usize,
    /// Carrying a batch.
    pub busy: usize,
    /// Broken, or not open yet.
    pub down: usize,
}

/// Why a database could not be opened, or its tables not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseOpenError {
    /// A setting is missing, or does not fit this kind of database.
    #[error("database `{database}`: {why}")]
    Setting {
        /// Name of the database.
        database: Arc<str>,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// It cannot be reached, or refuses us.
    #[error("database `{database}` is away: {why}")]
    Away {
        /// Name of the database.
        database: Arc<str>,
        /// What happened; never with a password.
        why: String,
    },
    /// Another process uses the file.
    #[error("database `{database}`: `{path}` is in use by {holder}; one file has one daemon")]
    InUse {
        /// Name of the database.
        database: Arc<str>,
        /// The file.
        path: PathBuf,
        /// Who has it, as far as is known.
        holder: String,
    },
    /// Settings do not fit the tables.
    #[error("database `{database}`: {}", list_of(.faults))]
    Catalogue {
        /// Name of the database.
        database: Arc<str>,
        /// Every fault.
        faults: Vec<SettingFault>,
    },
    /// A named statement cannot be used.
    #[error("database `{database}`: {at}: {why}")]
    Statement {
        /// Name of the database.
        database: Arc<str>,
        /// Where it stands in the config.
        at: String,
        /// What is wrong with it.
        why: String,
    },
}

fn list_of(faults: &[SettingFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Everything a database is opened with. The config makes it; paths are as they will be opened.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Name in the config.
    pub name: Arc<str>,
    /// Kind.
    pub kind: DatabaseKind,
    /// SQLite: the file. Always there for SQLite, never for the others.
    pub path: Option<PathBuf>,
    /// PostgreSQL and MariaDB: where, with user and password. Always there for them, never for SQLite.
    pub url: Option<SecretUrl>,
    /// SQL that is run once, in one transaction, when the SQLite file is new: the text itself.
    pub init_sql: Option<Arc<str>>,
    /// Connections of PostgreSQL and MariaDB; reader connections of SQLite, beside its one writer.
    pub connections: usize,
    /// One statement may take so long.
    pub statement_timeout: Duration,
    /// Waiting for one lock may take so long.
    pub lock_timeout: Duration,
    /// A transaction in which nothing happens is dropped after so long.
    pub idle_timeout: Duration,
    /// Batches that may wait for this database; one more is refused.
    pub queue_depth: usize,
    /// Who decides about rows and columns.
    pub enforcement: Enforcement,
    /// How the connection is secured (PostgreSQL and MariaDB).
    pub tls: TlsMode,
    /// PEM file of certificates that are trusted beside the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// SQLite: how many batches share one COMMIT.
    pub group_commit: GroupCommit,
    /// Whether consecutive creates may become one statement and flights may be pipelined. Off only to compare.
    pub pipeline: bool,
    /// What the config says of the tables.
    pub catalogue: CatalogueSettings,
    /// Named statements.
    pub statements: Vec<StatementSettings>,
}

impl DatabaseSettings {
    /// A database with every default, to be completed with its place.
    pub fn new(name: &str, kind: DatabaseKind) -> Self {
        Self {
            name: name.into(),
            kind,
            path: None,
            url: None,
            init_sql: None,
            connections: 8,
            statement_timeout: Duration::from_millis(5_000),
            lock_timeout: Duration::from_millis(2_000),
            idle_timeout: Duration::from_millis(10_000),
            queue_depth: 64,
            enforcement: Enforcement::Rules,
            tls: TlsMode::Auto,
            ca_file: None,
            group_commit: GroupCommit::default(),
            pipeline: true,
            catalogue: CatalogueSettings::default(),
            statements: Vec::new(),
        }
    }
}

/// A database's address with user and password: prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Box<str>);

impl SecretUrl {
    /// Takes the text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretUrl")
    }
}

/// Who decides about rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// The rules of the config, as conditions of every statement.
    Rules,
    /// PostgreSQL: a role is taken for each batch and the database's own policies decide, beside our rules.
    Database {
        /// Claim that names the role, such as `db_role` or `role`; a caller without it is refused.
        role_claim: Arc<str>,
        /// Role of callers without a token; `None` refuses them.
        anonymous_role: Option<Arc<str>>,
    },
}

/// How a connection to a server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// As [`Self::Require`], but without TLS to this machine (loopback or a socket).
    Auto,
    /// Never; only meant for a network that is secured otherwise.
    Disable,
    /// Always, with the server's certificate and name checked.
    Require,
}

/// How many batches share one COMMIT of SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCommit {
    /// At most so many batches; 1 gives each its own COMMIT.
    pub batches: usize,
    /// At most so long since the first of them began.
    pub window: Duration,
}

impl Default for GroupCommit {
    fn default() -> Self {
        Self { batches: 64, window: Duration::from_millis(20) }
    }
}

/// How strictly transactions are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// `read_committed`.
    ReadCommitted,
    /// `repeatable_read`.
    RepeatableRead,
    /// `serializable`.
    Serializable,
}

/// Of a transaction that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionSettings {
    /// `None`: the database's default.
    pub isolation: Option<Isolation>,
    /// Nothing is written.
    pub read_only: bool,
    /// One statement may take so long.
    pub statement_timeout: Duration,
    /// Waiting for one lock may take so long.
    pub lock_timeout: Duration,
    /// The database drops a transaction in which nothing happens for so long.
    pub idle_timeout: Duration,
    /// PostgreSQL in `database` mode: the role to take and the claims as JSON text.
    pub identity: Option<Identity>,
}

/// Whom PostgreSQL's policies judge.
#[derive(Clone, PartialEq)]
pub struct Identity {
    /// Set as `role`.
    pub role: String,
    /// Set as `request.jwt.claims`: JSON text.
    pub claims: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The answer of an earlier run of the same idempotency key.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// SHA-256 of the body that was sent then.
    pub fingerprint: [u8; 32],
    /// Status of the answer; `None` while a non-atomic batch is in the middle.
    pub status: Option<u16>,
    /// The answer's body; in the middle of a non-atomic batch, what [`crate::batch::run`] needs to go on.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// One command of a flight.
#[derive(Debug, Clone)]
pub enum Command {
    /// Opens the transaction.
    Begin(TransactionSettings),
    /// Takes the idempotency key inside the transaction: a row in `penstock_batch_key` under this key (hex SHA-256 of
    /// issuer, subject and key). Replies [`Reply::Done`] when it is ours, [`Reply::Key`] when it was there,
    /// or fails with [`DbErrorCode::KeyInFlight`] when another transaction holds it.
    TakeKey {
        /// Key of the row.
        scope: String,
        /// SHA-256 of the body.
        fingerprint: [u8; 32],
    },
    /// Stores an answer under a key that was taken.
    KeepAnswer {
        /// Key of the row.
        scope: String,
        /// What to store.
        answer: StoredAnswer,
    },
    /// Removes the key's row.
    DropKey {
        /// Key of the row.
        scope: String,
    },
    /// An operation. The database may merge neighbouring creates, as long as replies and tables are those of running
    /// them one at a time.
    Run(BoundOperation),
    /// Marks a place to go back to. There is one at a time.
    Savepoint,
    /// Goes back to it, and keeps it.
    RollbackToSavepoint,
    /// Forgets it, keeping what was done.
    ReleaseSavepoint,
    /// Judges deferred constraints now (dry run).
    CheckConstraints,
    /// Commits.
    Commit,
    /// Rolls back.
    Rollback,
}

/// Rows of one operation, cells row after row.
#[derive(Clone, PartialEq, Default)]
pub struct Rows {
    /// Cells of a row: as many as the operation's `returning` has columns.
    pub width: usize,
    /// How many rows; also counts rows of no columns.
    pub count: usize,
    /// `count * width` cells.
    pub cells: Vec<Value>,
    /// How many rows of other operations shared the statement: 0 when it was not merged.
    pub merged: usize,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).field("width", &self.width).finish_non_exhaustive()
    }
}

impl Rows {
    /// The cells of one row.
    pub fn row(&self, index: usize) -> &[Value] {
        &self.cells[index * self.width..(index + 1) * self.width]
    }
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// Rows of an operation.
    Rows(Rows),
    /// The key was there.
    Key(StoredAnswer),
    /// It failed.
    Failed(DbError),
    /// Not tried, because an earlier command of the flight failed.
    NotRun,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code:?}")]
pub struct DbError {
    /// Which kind.
    pub code: DbErrorCode,
    /// Column, if the database names it.
    pub column: Option<String>,
    /// Constraint, if the database names it.
    pub constraint: Option<String>,
    /// The database's own words, for the log only: may hold values of rows, so it is logged at debug level with care and
    /// never answered.
    pub native_code: String,
}

/// Kinds of failure, the same for every database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DbErrorCode {
    /// Unique or primary key.
    UniqueViolation,
    /// Foreign key.
    ForeignKeyViolation,
    /// Not null.
    NotNullViolation,
    /// Check.
    CheckViolation,
    /// Exclusion.
    ExclusionViolation,
    /// A new row does not meet the row filter, or the database's own policy refused it.
    RowForbidden,
    /// The database's own rights refused the action.
    ActionForbidden,
    /// More rows than an operation may touch.
    TooManyRows,
    /// A value does not fit.
    TypeMismatch,
    /// Try again: serialisation.
    SerializationFailure,
    /// Try again: deadlock.
    Deadlock,
    /// Try again: busy (SQLite).
    Busy,
    /// A lock was not had in time.
    LockTimeout,
    /// A statement took too long.
    StatementTimeout,
    /// Another transaction holds the idempotency key.
    KeyInFlight,
    /// The answer has more bytes than a batch may have.
    ResultTooLarge,
    /// No room on the disk.
    DiskFull,
    /// The statement would write, where only reading is allowed.
    ReadOnly,
    /// The connection is gone. After a COMMIT was sent, nobody knows whether it holds.
    ConnectionLost,
    /// Anything else.
    Other,
}
