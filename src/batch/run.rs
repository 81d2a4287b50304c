//! One batch as a state machine: flights of commands out, replies in, an answer at the end.
//!
//! Promises: whatever replies come, a batch ends; nothing is committed after a failure in an atomic batch; nothing is
//! reported as kept that was rolled back; the answer and the tables are those of running the operations one at a time in
//! the plan's order, however few flights carry them. Sockets, clocks and SQL are elsewhere: [`crate::database`] carries the
//! flights, time comes in as `elapsed`.
//!
//! Who carries a run does this until [`Step::Finished`]:
//!
//! ```text
//! loop { match run.next(elapsed) {
//!     Step::Flight(commands) => carry them; then run.accept(replies) with one reply for each command,
//!                               or run.lost(during_commit) if the connection broke,
//!     Step::Wait(pause)      => no transaction is open; wait, on any connection go on,
//!     Step::Finished         => break,
//! } }
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::batch::catalogue::DatabaseKind;
use crate::batch::operation::Action;
use crate::database::{Command, Identity, Reply};

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Carry these commands in order and give a reply for each to [`BatchRun::accept`]. After the first command that
    /// fails the rest of the flight is not tried ([`Reply::NotRun`]). A flight that opens a transaction starts with
    /// `Begin`; a transaction ends with the flight that has `Commit` or `Rollback` (always its last transaction command).
    Flight(Vec<Command>),
    /// No transaction is open: let this time pass, then ask again.
    Wait(Duration),
    /// Nothing more is to be done; [`BatchRun::into_finished`] has the answer.
    Finished,
}

/// An idempotency key that the batch is to take.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Key of the row: hex SHA-256 of issuer, subject and the client's key.
    pub scope: String,
    /// SHA-256 of the raw body.
    pub fingerprint: [u8; 32],
}

impl std::fmt::Debug for KeyUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyUse")
    }
}

/// What a run needs to know beside the batch itself.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Which kind of database carries it.
    pub database_kind: DatabaseKind,
    /// One statement may take so long.
    pub statement_timeout: Duration,
    /// Waiting for one lock may take so long.
    pub lock_timeout: Duration,
    /// The database drops a transaction in which nothing happens for so long.
    pub idle_timeout: Duration,
    /// The whole batch may take so long; `timeoutMs` of the request may only lower it.
    pub batch_timeout: Duration,
    /// PostgreSQL in `database` mode: whom the policies judge.
    pub identity: Option<Identity>,
    /// The idempotency key, if the client sent one.
    pub idempotency: Option<KeyUse>,
    /// For back-off and UUIDs; a test gives the same one to see the same run.
    pub seed: u64,
}

/// What may be told to, and heard from, a run while it runs.
#[derive(Clone, Default)]
pub struct RunWatch {
    /// Set when the client hung up or its deadline passed: the batch is rolled back unless COMMIT was sent.
    pub cancelled: Arc<AtomicBool>,
    /// Told of each operation that is settled, in a non-atomic batch: after its commit. For streamed answers.
    pub lines: Option<Arc<LineListener>>,
}

/// Whoever wants the lines of a non-atomic batch.
pub type LineListener = dyn Fn(LineEvent) + Send + Sync;

impl RunWatch {
    /// Whether the client is gone.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for RunWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunWatch").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// One operation of a non-atomic batch is settled.
#[derive(Clone)]
pub struct LineEvent {
    /// Its place in the request's list.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    /// Its entry of `results` as JSON text.
    pub result: Vec<u8>,
}

/// Why a run did not get to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// No connection to the database was to be had.
    DatabaseAway,
}

/// What became of one operation, for metrics.
#[derive(Debug, Clone)]
pub struct OperationCount {
    /// Entity as the request names it; `None` when the catalogue does not have it (so that a request cannot make labels).
    pub entity: Option<Arc<str>>,
    /// Action.
    pub action: Action,
    /// `completed`, `failed` or `skipped`.
    pub status: &'static str,
}

/// How the whole ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every operation completed.
    Ok,
    /// Some did.
    Partial,
    /// Nothing was kept because an operation failed.
    Failed,
    /// Time, contention, a lost connection, a key in use: not the batch's own fault.
    Rejected,
    /// The stored answer of an earlier run.
    Replayed,
}

/// A batch that is over.
#[derive(Debug, Clone)]
pub struct Finished {
    // With `answer` merged: `pub answer: Answer` (status, body as sent) and `pub envelope: Option<Envelope>` (for lines).
    /// How it ended.
    pub ending: Ending,
    /// Whether the answer is that of an earlier run of the same key (`Idempotent-Replayed: true`).
    pub replayed: bool,
    /// Flights that were carried.
    pub waits: u32,
    /// Rows of creates that shared a statement.
    pub merged_rows: u64,
    /// Retries by reason: `serialization_failure`, `deadlock`, `busy`, `connection_lost`.
    pub retries: Vec<&'static str>,
    /// What became of each operation, in list order.
    pub operations: Vec<OperationCount>,
}

/// One batch on its way.
pub struct BatchRun {
    settings: RunSettings,
    watch: RunWatch,
    finished: Option<Finished>,
}

impl BatchRun {
    // pub fn new(batch_id: Arc<str>, request: Arc<BatchRequest>, plan: Arc<Plan>,
    //            checked: Vec<Result<CheckedOperation, OperationError>>, caller: Arc<Caller>, limits: Arc<Limits>,
    //            settings: RunSettings, now: jiff::Timestamp, watch: RunWatch) -> BatchRun

    /// What is to be done next. `elapsed` is the time since the batch was taken in.
    pub fn next(&mut self, elapsed: Duration) -> Step {
        let _ = elapsed;
        Step::Finished
    }

    /// Takes the replies of the flight that [`Self::next`] gave: one for each command.
    pub fn accept(&mut self, replies: Vec<Reply>, elapsed: Duration) {
        let _ = (replies, elapsed);
    }

    /// The connection broke while the flight was on it. `during_commit`: a COMMIT had been sent and its reply is missing.
    pub fn lost(&mut self, during_commit: bool) {
        let _ = during_commit;
    }

    /// Ends it: nothing more can be carried. Only between flights, or after [`Self::lost`].
    pub fn give_up(&mut self, why: GiveUp) {
        let _ = why;
    }

    /// How much of its time is left: a flight need not be waited for longer (then: [`Self::lost`]).
    pub fn time_left(&self, elapsed: Duration) -> Duration {
        self.settings.batch_timeout.saturating_sub(elapsed)
    }

    /// Whether nothing is written, by any operation: such a batch may run on a connection that only reads.
    pub fn is_read_only(&self) -> bool {
        false
    }

    /// The watch: a carrier that waits for long may look whether the client is still there.
    pub fn watch(&self) -> &RunWatch {
        &self.watch
    }

    /// The end of it; `None` before [`Step::Finished`].
    pub fn into_finished(self) -> Option<Finished> {
        self.finished
    }
}
