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
//!                               or run.lost(during_commit) if the connection broke, or run.cut_off(),
//!     Step::Wait(pause)      => no transaction is open; wait, on any connection go on,
//!     Step::Finished         => break,
//! } }
//! ```

mod association;
mod chance;
mod ending;
mod failure;
mod flight;
mod handover;
mod hoist;
mod judge;
mod progress;
mod record;
mod rows;
mod state;
mod stepwise;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::batch::answer::{Answer, Envelope, OperationOutcome};
use crate::batch::bind::BindContext;
use crate::batch::catalogue::DatabaseKind;
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::{Action, BoundOperation, Handover};
use crate::batch::plan::Plan;
use crate::batch::problem::FaultKind;
use crate::batch::request::{BatchRequest, Limits};
use crate::database::{Command, Identity, Isolation, Reply, TransactionSettings};

use chance::{Chance, RETRIES_MAX};
use ending::Cause;
use record::Slot;
use state::{
    Closing, Facts, KeyClosing, KeyState, Known, Mark, Pace, Phase, Savepoint, Tally, Transaction, Work,
    locks_rows,
};

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Carry these commands in order and give a reply for each to [`BatchRun::accept`]. After the first command that
    /// fails the rest of the flight is not tried ([`Reply::NotRun`]). A flight that opens a transaction starts with
    /// `Begin`; a transaction ends with the flight that has `Commit` or `Rollback`, always its last command. A `Commit`
    /// that failed has rolled back: no `Rollback` follows it.
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
    /// Its entry of `results`; [`write_result_line`](crate::batch::answer::write_result_line) makes a line of it.
    pub outcome: OperationOutcome,
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
    /// Code of its error.
    pub code: Option<&'static str>,
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
    /// What is sent to the client, unless it wants lines.
    pub answer: Answer,
    /// What the answer was made of; `None` for the stored answer of an earlier run, and for a problem without one.
    pub envelope: Option<Envelope>,
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
    batch_id: Arc<str>,
    request: Arc<BatchRequest>,
    plan: Arc<Plan>,
    checked: Vec<Result<CheckedOperation, OperationError>>,
    limits: Arc<Limits>,
    settings: RunSettings,
    now: jiff::Timestamp,
    watch: RunWatch,
    facts: Facts,
    chance: Chance,
    work: Work,
    tally: Tally,
    phase: Phase,
    pace: Pace,
    transaction: Transaction,
    key: KeyState,
    flight: Option<Vec<Slot>>,
    finished: Option<Finished>,
}

impl BatchRun {
    /// A batch that was parsed, planned and checked. `checked` has an entry for each operation, in list order. `now` is what
    /// injected moments and versions get.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the batch, made elsewhere, and none is optional"
    )]
    pub fn new(
        batch_id: Arc<str>,
        request: Arc<BatchRequest>,
        plan: Arc<Plan>,
        checked: Vec<Result<CheckedOperation, OperationError>>,
        limits: Arc<Limits>,
        settings: RunSettings,
        now: jiff::Timestamp,
        watch: RunWatch,
    ) -> BatchRun {
        let pace = match settings.identity {
            // Policies of the database may read any table.
            Some(_) => Pace::InOrder,
            // Running ahead spares waits, and only PostgreSQL has any to spare. On SQLite it would even show: a row that
            // is removed in between gives its number back.
            None if settings.database_kind != DatabaseKind::Postgres => Pace::InOrder,
            None => Pace::Hoisting,
        };
        let facts = Facts::of(&request, &plan, &checked, pace == Pace::Hoisting);
        let work = Work::new(request.operations.len(), &limits);
        let chance = Chance::new(settings.seed, &batch_id);
        // A fault that was found before anything ran stops the batch before anything runs.
        let fault = plan.order.iter().copied().find(|operation| checked[*operation].is_err());
        let phase = match fault {
            Some(operation) if facts.pipelined => Phase::Closing(Closing::Finish(Cause::Stopped(operation))),
            _ => Phase::Running,
        };
        let mut run = BatchRun {
            batch_id,
            request,
            plan,
            checked,
            limits,
            settings,
            now,
            watch,
            facts,
            chance,
            work,
            tally: Tally::default(),
            phase,
            pace,
            transaction: Transaction::default(),
            key: KeyState::default(),
            flight: None,
            finished: None,
        };
        if let (true, Some(operation)) = (run.facts.pipelined, fault)
            && let Err(error) = &run.checked[operation]
        {
            run.work.records[operation].fail(error.clone());
        }
        run
    }

    /// What is to be done next. `elapsed` is the time since the batch was taken in.
    pub fn next(&mut self, elapsed: Duration) -> Step {
        loop {
            if self.flight.is_some() {
                // The carrier asks again without a reply: whatever became of the flight, its connection is of no use.
                self.lost(true);
            }
            match std::mem::replace(&mut self.phase, Phase::Running) {
                Phase::Finished => {
                    self.phase = Phase::Finished;
                    return Step::Finished;
                }
                Phase::Closing(closing) if self.transaction.open => {
                    self.phase = Phase::Closing(closing);
                    return self.carry(flight::Flight::rollback());
                }
                Phase::Closing(closing) => self.close(closing, elapsed),
                Phase::Pausing(pause) if self.interruption(elapsed).is_none() => return Step::Wait(pause),
                Phase::Pausing(_) | Phase::Running => {
                    if let Some(cause) = self.interruption(elapsed) {
                        self.phase = Phase::Closing(Closing::Finish(cause));
                        continue;
                    }
                    let chosen = if self.facts.pipelined {
                        self.pipelined_flight(elapsed)
                    } else {
                        self.stepwise_flight(elapsed)
                    };
                    if let Some(flight) = chosen {
                        return self.carry(flight);
                    }
                }
            }
        }
    }

    /// Takes the replies of the flight that [`Self::next`] gave: one for each command.
    pub fn accept(&mut self, replies: Vec<Reply>, elapsed: Duration) {
        if let Some(slots) = self.flight.take() {
            self.judge(slots, replies, elapsed);
        }
    }

    /// The connection broke while the flight was on it, or none was to be had for it. `during_commit`: a COMMIT had been sent
    /// and its reply is missing.
    pub fn lost(&mut self, during_commit: bool) {
        let slots = self.flight.take().unwrap_or_default();
        let committing = slots.iter().any(|slot| matches!(slot, Slot::Commit));
        self.transaction = Transaction::default();
        if matches!(self.phase, Phase::Finished) {
            return;
        }
        if during_commit && committing && !self.facts.read_only {
            return self.outcome_unknown();
        }
        self.connection_lost();
    }

    /// The flight was not sent, or was stopped, because time is over or the client is gone; nothing of its transaction is
    /// kept. Not a fault of the connection: [`Self::next`] tells why the batch goes no further.
    pub fn cut_off(&mut self) {
        self.flight = None;
        self.transaction = Transaction::default();
        if matches!(self.phase, Phase::Finished | Phase::Closing(_)) {
            return;
        }
        self.phase = Phase::Closing(if self.key.closing.is_some() {
            self.key.closing = Some(KeyClosing::Over);
            Closing::Next
        } else {
            Closing::Retry(Duration::ZERO)
        });
    }

    /// Ends it: nothing more can be carried. Only between flights, or after [`Self::lost`].
    pub fn give_up(&mut self, why: GiveUp) {
        let GiveUp::DatabaseAway = why;
        self.flight = None;
        self.transaction = Transaction::default();
        // What was decided already is not for want of a connection.
        if !matches!(self.phase, Phase::Finished | Phase::Closing(Closing::Finish(_))) {
            self.phase = Phase::Closing(Closing::Finish(Cause::away()));
        }
    }

    /// How much of its time is left: a flight need not be waited for longer (then: [`Self::lost`]).
    pub fn time_left(&self, elapsed: Duration) -> Duration {
        self.time_limit().saturating_sub(elapsed)
    }

    /// Whether nothing is written, by any operation: such a batch may run on a connection that only reads.
    pub fn is_read_only(&self) -> bool {
        self.facts.read_only
    }

    /// The watch: a carrier that waits for long may look whether the client is still there.
    pub fn watch(&self) -> &RunWatch {
        &self.watch
    }

    /// The id of the batch, for the log.
    pub fn batch_id(&self) -> &Arc<str> {
        &self.batch_id
    }

    /// The end of it; `None` before [`Step::Finished`].
    pub fn into_finished(self) -> Option<Finished> {
        self.finished
    }

    fn time_limit(&self) -> Duration {
        let server = self.settings.batch_timeout;
        self.request.options.timeout_ms.map_or(server, |client| server.min(Duration::from_millis(client)))
    }

    /// Why the batch must not go on, if so.
    fn interruption(&self, elapsed: Duration) -> Option<Cause> {
        // All is done but for the answer's storing: time changes nothing any more.
        if self.key.closing.is_some() {
            return None;
        }
        if self.watch.is_cancelled() {
            return Some(Cause::cancelled());
        }
        (elapsed >= self.time_limit()).then(|| Cause::timed_out(self.time_limit()))
    }

    fn carry(&mut self, flight: flight::Flight) -> Step {
        self.tally.waits += 1;
        self.flight = Some(flight.slots);
        Step::Flight(flight.commands)
    }

    /// Does what was to be done once no transaction is open.
    fn close(&mut self, closing: Closing, elapsed: Duration) {
        self.transaction = Transaction::default();
        match closing {
            Closing::Retry(pause) => {
                self.start_again();
                self.phase = if pause.is_zero() { Phase::Running } else { Phase::Pausing(pause) };
            }
            Closing::Rerun(pace) => {
                self.pace = pace;
                self.start_again();
            }
            Closing::Next => {
                self.work.current = None;
                if self.key.closing.is_none() {
                    self.key.answer = None;
                    self.key.storing = None;
                }
                self.tally.contention = 0;
                self.tally.lost = false;
                self.tell_lines();
            }
            Closing::Resume(progress) => self.resume(progress),
            Closing::Finish(cause) => self.finish(cause, elapsed),
        }
    }

    /// Forgets what was rolled back: everything, or what the current operation did.
    fn start_again(&mut self) {
        self.key.answer = None;
        self.key.storing = None;
        if self.request.options.atomic {
            self.work = Work::new(self.request.operations.len(), &self.limits);
        } else {
            self.take_back();
        }
    }

    /// The transaction is gone, with nothing of it kept.
    fn connection_lost(&mut self) {
        if matches!(self.phase, Phase::Closing(_)) {
            // It was to be rolled back anyway.
            return;
        }
        self.phase = Phase::Closing(if self.key.closing.is_some() {
            self.key.closing = Some(KeyClosing::Over);
            Closing::Next
        } else if self.tally.lost {
            Closing::Finish(Cause::away())
        } else {
            self.tally.lost = true;
            self.tally.retries.push("connection_lost");
            Closing::Retry(Duration::ZERO)
        });
    }

    /// Whether to try once more after contention, and after which pause.
    fn retry_pause(&mut self, reason: &'static str, elapsed: Duration) -> Option<Duration> {
        if self.tally.contention >= RETRIES_MAX {
            return None;
        }
        let pause = self.chance.pause(self.tally.contention);
        if elapsed + pause >= self.time_limit() {
            return None;
        }
        self.tally.contention += 1;
        self.tally.retries.push(reason);
        Some(pause)
    }

    /// The operation with all its values, but for those that it takes over.
    fn bind(&mut self, operation: usize, takes: Vec<Handover>) -> Result<BoundOperation, OperationError> {
        let checked = self.checked[operation].as_ref().map_err(OperationError::clone)?;
        let chance = &mut self.chance;
        let mut cx = BindContext {
            now: self.now,
            limits: &self.limits,
            new_uuid: &mut || chance.uuid(),
            bytes_left: &mut self.work.bytes_left,
            warnings: &mut self.work.warnings,
        };
        checked.bind_taking(&Known(&self.work.results), takes, &mut cx)
    }

    fn begin(&self, read_only: bool, elapsed: Duration) -> Command {
        let left = self.time_left(elapsed).max(Duration::from_millis(1));
        let isolation: Option<Isolation> = self.request.options.isolation;
        Command::Begin(TransactionSettings {
            isolation,
            read_only,
            statement_timeout: self.settings.statement_timeout.min(left),
            lock_timeout: self.settings.lock_timeout.min(left),
            idle_timeout: self.settings.idle_timeout,
            identity: self.settings.identity.clone(),
        })
    }

    /// The key to take; a batch that writes nothing has nothing to remember.
    fn key_use(&self) -> Option<&KeyUse> {
        self.settings.idempotency.as_ref().filter(|_| !self.facts.read_only)
    }

    fn mark(&self) -> Mark {
        Mark {
            bytes_left: self.work.bytes_left,
            result_bytes: self.work.result_bytes,
            warnings: self.work.warnings.len(),
        }
    }

    fn go_back_to(&mut self, mark: Mark) {
        self.work.bytes_left = mark.bytes_left;
        self.work.result_bytes = mark.result_bytes;
        self.work.warnings.truncate(mark.warnings);
    }
}

/// The outcome of a commit is not known.
const OUTCOME_UNKNOWN: &str = "the connection to the database was lost while the batch was committed; nobody knows whether \
    it holds: send it again with the same idempotency key, or look";

impl BatchRun {
    fn outcome_unknown(&mut self) {
        if self.key.closing.is_some() {
            // Everything was committed before; only the answer may not have been stored.
            self.key.closing = Some(KeyClosing::Over);
            self.phase = Phase::Closing(Closing::Next);
            return;
        }
        if !self.request.options.atomic
            && let Some(operation) = self.work.current
        {
            let error = OperationError::new(503, "database_error", OUTCOME_UNKNOWN);
            self.take_back();
            self.work.records[operation].fail(error);
        }
        let cause = Cause::Whole {
            kind: FaultKind::DatabaseUnavailable,
            detail: OUTCOME_UNKNOWN.to_owned(),
            retry_after: Some(1),
            unknown: true,
        };
        self.phase = Phase::Closing(Closing::Finish(cause));
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
