//! What the replies of a flight mean: which operations completed, what failed first, and what is done about it.
//!
//! Promises: replies are judged in the order of their commands, and the first trouble counts; what came after it was done in
//! vain. A reply that does not answer its command is a failure of it, never a panic.

use std::time::Duration;

use super::failure;
use super::hoist::HoistedRows;
use super::record::{Loading, Sent, Slot, State};
use super::rows;
use super::{BatchRun, Cause, Closing, KeyClosing, Pace, Phase, Savepoint, Transaction, association};
use crate::batch::answer::OperationOutcome;
use crate::batch::check::OperationError;
use crate::batch::operation::BoundOperation;
use crate::batch::problem::FaultKind;
use crate::database::{DbError, DbErrorCode, Reply, Rows, StoredAnswer};

/// The first thing of a flight that was not as it should be.
enum Trouble {
    /// Trying again may help; the error, should it not.
    Again { reason: &'static str, operation: Option<usize>, error: OperationError },
    /// The connection is gone, and with it the transaction.
    Lost,
    /// COMMIT was sent, and nobody knows.
    Unknown,
    /// An operation failed.
    Operation(usize, OperationError),
    /// An operation touched nothing: whether for a stale version, this tells.
    Probe(usize, Box<BoundOperation>, OperationError),
    /// The transaction failed at its end.
    AtCommit(OperationError),
    /// The batch cannot go on.
    Whole(Cause),
    /// An earlier run of the same key has got so far.
    Resume(Vec<u8>),
}

impl BatchRun {
    pub(super) fn judge(&mut self, slots: Vec<Slot>, replies: Vec<Reply>, elapsed: Duration) {
        let mut replies = replies.into_iter();
        let mut trouble: Option<Trouble> = None;
        let mut spoilt = false;
        let mut committed = false;
        let commits = slots.iter().any(|slot| matches!(slot, Slot::Commit)) && !self.facts.read_only;
        let mut ended = false;
        for slot in slots {
            let reply = replies.next().unwrap_or(Reply::NotRun);
            if trouble.is_some() {
                spoilt |= matches!(reply, Reply::Failed(_) | Reply::NotRun);
                if matches!(&reply, Reply::Failed(error) if error.code == DbErrorCode::ConnectionLost) {
                    self.transaction = Transaction::default();
                }
                match slot {
                    Slot::Commit if !matches!(reply, Reply::NotRun) => {
                        committed = reply == Reply::Done;
                        self.transaction = Transaction::default();
                    }
                    Slot::Rollback if !matches!(reply, Reply::NotRun) => {
                        self.transaction = Transaction::default()
                    }
                    _ => {}
                }
                continue;
            }
            match slot {
                Slot::Begin => {
                    // In doubt it is open: a rollback too many does no harm.
                    self.transaction.open = !matches!(reply, Reply::Failed(_) | Reply::NotRun);
                    trouble = self.judge_plain(reply, Cause::away);
                }
                Slot::TakeKey => trouble = self.judge_key(reply),
                Slot::Run(sent) => trouble = self.judge_run(*sent, reply, commits),
                Slot::Load(operation, association, asked) => {
                    trouble = match self.rows_of(operation, reply, |rows| asked.fits(rows)) {
                        Ok(rows) => self.take_association(operation, association, rows),
                        Err(trouble) => Some(*trouble),
                    };
                }
                Slot::Probe(operation) => trouble = Some(self.judge_probe(operation, reply)),
                Slot::Savepoint | Slot::ReleaseSavepoint | Slot::RollbackToSavepoint => {
                    trouble = self.judge_plain(reply, Cause::away);
                }
                Slot::KeepAnswer | Slot::CheckConstraints => trouble = at_end(reply),
                Slot::Commit => {
                    self.transaction = Transaction::default();
                    trouble = self.judge_commit(reply);
                    ended = trouble.is_none();
                }
                Slot::Rollback => {
                    self.transaction = Transaction::default();
                    ended = true;
                }
            }
        }
        if committed && commits {
            // It was told not to. Nobody can say what was kept.
            trouble = Some(Trouble::Unknown);
        }
        match trouble {
            Some(trouble) => self.act(trouble, spoilt, elapsed),
            None if ended && self.request.options.atomic && matches!(self.phase, Phase::Running) => {
                self.phase = Phase::Closing(Closing::Finish(Cause::Settled));
            }
            None => {}
        }
    }

    /// A command that has nothing to tell.
    fn judge_plain(&mut self, reply: Reply, otherwise: impl FnOnce() -> Cause) -> Option<Trouble> {
        let error = match reply {
            Reply::Done => return None,
            Reply::Failed(error) => error,
            _ => failure::bare(DbErrorCode::Other),
        };
        Some(retriable(&error, None, failure::at_commit).unwrap_or_else(|| Trouble::Whole(otherwise())))
    }

    fn judge_key(&mut self, reply: Reply) -> Option<Trouble> {
        let stored = match reply {
            Reply::Done => return None,
            Reply::Key(stored) => stored,
            Reply::Failed(DbError { code: DbErrorCode::KeyInFlight | DbErrorCode::LockTimeout, .. }) => {
                return Some(Trouble::Whole(Cause::Key(FaultKind::KeyInFlight)));
            }
            other => return self.judge_plain(other, Cause::away),
        };
        let ours = self.key_use().is_some_and(|key| key.fingerprint == stored.fingerprint);
        let StoredAnswer { status, body, .. } = stored;
        match (status, &self.key.progress) {
            _ if !ours => Some(Trouble::Whole(Cause::Key(FaultKind::KeyReused))),
            (Some(status), _) => Some(Trouble::Whole(Cause::Replay { status, body })),
            (None, Some(known)) if *known == body => None,
            (None, None) if !self.request.options.atomic => Some(Trouble::Resume(body)),
            // Another run of the same key goes on with it.
            (None, _) => Some(Trouble::Whole(Cause::Key(FaultKind::KeyInFlight))),
        }
    }

    /// The rows of a command of an operation, if it has them.
    fn rows_of(
        &self,
        operation: usize,
        reply: Reply,
        fits: impl FnOnce(&Rows) -> bool,
    ) -> Result<Rows, Box<Trouble>> {
        let error = match reply {
            Reply::Rows(rows) if fits(&rows) => return Ok(rows),
            Reply::Failed(error) => error,
            _ => failure::bare(DbErrorCode::Other),
        };
        let told = |error: &DbError| self.error_of(operation, error);
        Err(Box::new(
            retriable(&error, Some(operation), told)
                .unwrap_or_else(|| Trouble::Operation(operation, told(&error))),
        ))
    }

    fn error_of(&self, operation: usize, error: &DbError) -> OperationError {
        failure::of_operation(
            error,
            &self.request.operations[operation],
            self.checked[operation].as_ref().ok(),
        )
    }

    fn judge_run(&mut self, sent: Sent, reply: Reply, commits: bool) -> Option<Trouble> {
        let Sent { operation, asked, page, probe, hoisted } = sent;
        let mut rows = match self.rows_of(operation, reply, |rows| asked.fits(rows)) {
            Ok(rows) => rows,
            Err(trouble) => return Some(*trouble),
        };
        let Ok(checked) = &self.checked[operation] else {
            return Some(Trouble::Whole(Cause::internal()));
        };
        asked.arrange(&mut rows);
        let touched = if checked.is_count { rows::counted(&rows) } else { rows.count as u64 };
        let truncated = page.is_some_and(|page| rows::cut(&mut rows, page));
        if let Some(error) = unexpected(checked, &self.request.operations[operation].id, touched) {
            return Some(match probe {
                Some(probe) if touched == 0 => Trouble::Probe(operation, Box::new(probe), error),
                _ => Trouble::Operation(operation, error),
            });
        }
        let record = &mut self.work.records[operation];
        if let Some((entity, places)) = hoisted {
            let cells = |row: usize| places.iter().map(|(_, place)| rows.row(row)[*place].clone()).collect();
            let columns = places.iter().map(|(column, _)| *column).collect();
            record.hoisted =
                Some(HoistedRows { entity, columns, rows: (0..rows.count).map(cells).collect() });
        }
        record.meta.rows = (!checked.is_count).then_some(rows.count as u64);
        record.meta.merged = rows.merged as u64;
        record.meta.truncated = truncated && !checked.limit_stated;
        if truncated && rows.count > 0 {
            record.meta.next_cursor = checked.next_cursor(rows.row(rows.count - 1));
        }
        let version = checked.entity.as_ref().and_then(|entity| entity.version).filter(|_| checked.writes());
        if let (Some(version), 1) = (version, rows.count) {
            let place = checked.fetch_columns.iter().position(|column| *column == version.column);
            record.meta.version = place.and_then(|place| rows.row(0).get(place)).cloned();
        }
        if rows.merged > 0 {
            self.work.merged_rows += rows.count as u64;
        }
        if checked.associations.is_empty() {
            return self.complete(operation, rows, Vec::new(), commits);
        }
        self.expect_associations(operation, rows)
    }

    /// Rows are here: their associations are next.
    fn expect_associations(&mut self, operation: usize, rows: Rows) -> Option<Trouble> {
        let Ok(checked) = &self.checked[operation] else {
            return Some(Trouble::Whole(Cause::internal()));
        };
        let rows_max = self.associated_rows_max();
        let mut loading =
            Loading { rows, keys: Vec::new(), reads: Vec::new(), loaded: Vec::new(), awaited: 0 };
        for plan in &checked.associations {
            let keys = association::keys(plan, &loading.rows, &checked.fetch_columns);
            let read = plan.load(operation, &keys, rows_max);
            if read.is_none() {
                // No row has a key.
                let beside = association::stitch(plan, &keys, &Rows::default(), usize::MAX);
                loading.loaded.push((plan.name.clone(), beside.unwrap_or_default()));
            } else {
                loading.loaded.push((plan.name.clone(), Vec::new()));
                loading.awaited += 1;
            }
            loading.keys.push(keys);
            loading.reads.push(read);
        }
        if loading.awaited == 0 {
            return self.complete(operation, loading.rows, loading.loaded, false);
        }
        self.work.records[operation].state = State::Loading(Box::new(loading));
        None
    }

    /// Rows that one association may bring, for all rows of a read together.
    fn associated_rows_max(&self) -> u64 {
        self.limits.read_rows.saturating_mul(10)
    }

    fn take_association(&mut self, operation: usize, association: usize, rows: Rows) -> Option<Trouble> {
        if rows.count as u64 > self.associated_rows_max() {
            return Some(Trouble::Operation(operation, failure::result_too_large()));
        }
        let (Ok(checked), State::Loading(loading)) =
            (&self.checked[operation], &mut self.work.records[operation].state)
        else {
            return Some(Trouble::Whole(Cause::internal()));
        };
        let plan = &checked.associations[association];
        let room = self.limits.result_bytes;
        let Some(beside) = association::stitch(plan, &loading.keys[association], &rows, room) else {
            return Some(Trouble::Operation(operation, failure::result_too_large()));
        };
        loading.loaded[association].1 = beside;
        loading.awaited -= 1;
        if loading.awaited > 0 {
            return None;
        }
        let State::Loading(loading) = std::mem::replace(&mut self.work.records[operation].state, State::Sent)
        else {
            return Some(Trouble::Whole(Cause::internal()));
        };
        self.complete(operation, loading.rows, loading.loaded, false)
    }

    /// Settles an operation as completed.
    fn complete(
        &mut self,
        operation: usize,
        rows: Rows,
        associations: rows::Associations,
        commits: bool,
    ) -> Option<Trouble> {
        let Ok(checked) = &self.checked[operation] else {
            return Some(Trouble::Whole(Cause::internal()));
        };
        let data = rows::write_data(checked, &rows, &associations, self.request.options.data_shape);
        self.work.result_bytes += data.len();
        // Where COMMIT went out with it, it is too late to refuse; such creates answer little more than was sent.
        if self.work.result_bytes > self.limits.result_bytes && !commits {
            return Some(Trouble::Operation(operation, failure::result_too_large()));
        }
        if self.facts.referenced[operation] {
            self.work.results[operation] = Some(rows::into_result(checked, rows, associations));
        }
        let record = &mut self.work.records[operation];
        record.outcome = Some(OperationOutcome::Completed { data });
        record.state = State::Settled;
        if self.request.options.atomic {
            self.work.current = None;
        } else {
            self.work.uncommitted = true;
        }
        None
    }

    fn judge_probe(&mut self, operation: usize, reply: Reply) -> Trouble {
        let probed = self.work.probing.take();
        let Some((_, _, mut error)) = probed else {
            return Trouble::Whole(Cause::internal());
        };
        let one_number = |rows: &Rows| rows.width == 1 && rows.count == 1 && rows.cells.len() == 1;
        match self.rows_of(operation, reply, one_number) {
            Ok(rows) => {
                error.stale = rows::counted(&rows) > 0;
                Trouble::Operation(operation, error)
            }
            Err(trouble) => match *trouble {
                // Why it touched nothing stays unknown; that it did not, is known.
                Trouble::Operation(..) => Trouble::Operation(operation, error),
                trouble => trouble,
            },
        }
    }

    fn judge_commit(&mut self, reply: Reply) -> Option<Trouble> {
        let error = match reply {
            Reply::Done => {
                self.committed();
                return None;
            }
            Reply::NotRun => failure::bare(DbErrorCode::Other),
            Reply::Failed(error) => error,
            // No answer to a COMMIT.
            Reply::Rows(_) | Reply::Key(_) => return Some(self.lost_in_commit()),
        };
        if error.code == DbErrorCode::ConnectionLost {
            return Some(self.lost_in_commit());
        }
        if let (false, Some(operation)) = (self.request.options.atomic, self.work.current) {
            let told = |error: &DbError| self.error_of(operation, error);
            let again = retriable(&error, Some(operation), told);
            return Some(again.unwrap_or_else(|| Trouble::Operation(operation, told(&error))));
        }
        at_end(Reply::Failed(error))
    }

    fn lost_in_commit(&self) -> Trouble {
        if self.facts.read_only { Trouble::Lost } else { Trouble::Unknown }
    }

    /// A commit holds.
    fn committed(&mut self) {
        if self.request.options.atomic {
            return;
        }
        self.work.uncommitted = false;
        self.work.current = None;
        self.tally.kept = true;
        self.tally.contention = 0;
        self.tally.lost = false;
        if let Some(progress) = self.key.storing.take() {
            self.key.progress = Some(progress);
        }
        self.tell_lines();
    }

    /// What is done about the first trouble of a flight. `spoilt`: the transaction takes no more commands.
    fn act(&mut self, trouble: Trouble, spoilt: bool, elapsed: Duration) {
        if matches!(trouble, Trouble::Lost | Trouble::Unknown) {
            self.transaction = Transaction::default();
        }
        if self.key.closing.is_some() {
            // Everything is committed; that the answer was not stored as well costs a repeat its replay.
            if matches!(trouble, Trouble::Lost | Trouble::Unknown) {
                self.transaction = Transaction::default();
            }
            self.key.closing = Some(KeyClosing::Over);
            self.phase = Phase::Closing(Closing::Next);
            return;
        }
        match trouble {
            Trouble::Again { reason, operation, error } => match self.retry_pause(reason, elapsed) {
                Some(pause) => self.phase = Phase::Closing(Closing::Retry(pause)),
                None => self.act_on_contention(operation, error),
            },
            Trouble::Lost => self.connection_lost(),
            Trouble::Unknown => self.outcome_unknown(),
            // Statements get no more time than the batch has left: this one was not slow, it came late. The server counts
            // whole milliseconds.
            Trouble::Operation(_, error)
                if error.code == "statement_timeout"
                    && elapsed + Duration::from_millis(1) >= self.time_limit() =>
            {
                self.phase = Phase::Closing(Closing::Finish(Cause::timed_out(self.time_limit())));
            }
            // A statement gets no more time than the batch has left: whichever of the two is seen first, the batch's is over.
            Trouble::Operation(_, error)
                if error.code == "statement_timeout"
                    && self.request.options.atomic
                    && elapsed >= self.time_limit() =>
            {
                self.phase = Phase::Closing(Closing::Finish(Cause::timed_out(self.time_limit())));
            }
            Trouble::Operation(operation, error) => self.fail(operation, error),
            Trouble::Probe(operation, probe, error) => {
                if self.facts.pipelined && self.work.hoisted && self.pace == Pace::Hoisting {
                    self.phase = Phase::Closing(Closing::Rerun(Pace::InOrder));
                } else if spoilt && self.facts.pipelined && self.pace < Pace::OneByOne {
                    // What came after it broke the transaction, so it cannot be asked any more.
                    self.phase = Phase::Closing(Closing::Rerun(Pace::OneByOne));
                } else if !self.transaction.open {
                    self.fail(operation, error);
                } else {
                    self.work.probing = Some((operation, *probe, error));
                }
            }
            Trouble::AtCommit(error) => self.phase = Phase::Closing(Closing::Finish(Cause::AtCommit(error))),
            Trouble::Whole(cause) => self.phase = Phase::Closing(Closing::Finish(cause)),
            Trouble::Resume(progress) => self.phase = Phase::Closing(Closing::Resume(progress)),
        }
    }

    /// Retries are over.
    fn act_on_contention(&mut self, operation: Option<usize>, error: OperationError) {
        match operation {
            Some(operation) if self.facts.pipelined || !self.request.options.atomic => {
                self.fail(operation, error)
            }
            Some(operation) => {
                // The transaction is of no more use, whatever should go on.
                self.work.records[operation].fail(error);
                self.phase = Phase::Closing(Closing::Finish(Cause::Stopped(operation)));
            }
            None => self.phase = Phase::Closing(Closing::Finish(Cause::contention(&error))),
        }
    }

    /// An operation failed.
    fn fail(&mut self, operation: usize, error: OperationError) {
        if self.facts.pipelined {
            return self.stop_at(operation, error);
        }
        if !self.request.options.atomic {
            // Settled by looking ahead, from a result that is gone now.
            self.work.current = Some(operation);
            self.take_back();
            self.work.cursor = self.facts.position[operation] + 1;
            self.phase = Phase::Closing(Closing::Next);
        } else {
            self.transaction.savepoint = Savepoint::Spoilt;
        }
        self.work.records[operation].fail(error);
        self.work.results[operation] = None;
        self.work.current = None;
    }
}

/// A failure at the end of a transaction.
fn at_end(reply: Reply) -> Option<Trouble> {
    let error = match reply {
        Reply::Done => return None,
        Reply::Failed(error) => error,
        _ => failure::bare(DbErrorCode::Other),
    };
    Some(
        retriable(&error, None, failure::at_commit)
            .unwrap_or_else(|| Trouble::AtCommit(failure::at_commit(&error))),
    )
}

/// The trouble of a failure after which everything is tried again.
fn retriable(
    error: &DbError,
    operation: Option<usize>,
    told: impl FnOnce(&DbError) -> OperationError,
) -> Option<Trouble> {
    if error.code == DbErrorCode::ConnectionLost {
        return Some(Trouble::Lost);
    }
    let reason = failure::retry_reason(error.code)?;
    Some(Trouble::Again { reason, operation, error: told(error) })
}

/// What is wrong with the number of rows that an operation touched or returned.
pub(super) fn unexpected(
    checked: &crate::batch::check::CheckedOperation,
    id: &str,
    touched: u64,
) -> Option<OperationError> {
    let expect = checked.expect;
    let too_few = touched < expect.min;
    let too_many = expect.max.is_some_and(|max| touched > max);
    if !too_few && !too_many {
        return None;
    }
    let action = checked.action.as_str();
    if !checked.expect_stated {
        let sentence = format!(
            "the {action} of operation `{id}` matched no row: it is not there, you may not {action} it, or its version is stale"
        );
        return Some(OperationError::bad("no_rows", sentence));
    }
    let wanted = match expect.max {
        Some(max) if max == expect.min => format!("exactly {max}"),
        Some(max) if expect.min == 0 => format!("at most {max}"),
        Some(max) => format!("{} to {max}", expect.min),
        None => format!("at least {}", expect.min),
    };
    let got = if too_few { "fewer" } else { "more" };
    let sentence = format!("operation `{id}` expects {wanted} rows, and there are {got}");
    Some(OperationError::bad("expectation_failed", sentence))
}
