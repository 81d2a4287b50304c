//! The one thread that writes a file, with group commit.
//!
//! Promises: every batch that waits is taken into one transaction, each in a savepoint of its own; a batch that fails goes
//! back to its savepoint and takes nobody with it; nobody is told that something is kept before the COMMIT that keeps it
//! holds; if that COMMIT fails, nothing of the group is kept and all are told so. Alone, a batch never waits for others:
//! a group is what had gathered while the one before was written.
//!
//! A batch that must wait (a retry) or go on after a COMMIT (not atomic) is parked and blocks nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::carrier::Carrier;
use super::errors::{db_error, plain};
use super::lane::{Asked, Flow, Job};
use super::shared::Shared;
use crate::batch::run::Step;
use crate::clock::SharedClock;
use crate::database::{Command, DbError, DbErrorCode, GroupCommit, Reply, TransactionSettings};

/// Between two looks for answers that were kept long enough.
const BETWEEN_CLEANUPS: Duration = Duration::from_secs(600);

/// The thread's own.
pub(super) struct Writer<F: Flow> {
    carrier: Carrier,
    shared: Arc<Shared>,
    clock: SharedClock,
    limits: GroupCommit,
    inbox: Receiver<Asked<F>>,
    /// Batches that go on later, with when.
    parked: VecDeque<(Duration, Job<F>)>,
    /// Idempotency keys in hand: of batches that are not finished.
    keys: HashMap<String, ()>,
    next_cleanup: Duration,
}

/// Batches that share a transaction.
struct Group<F: Flow> {
    /// Whether the transaction is open.
    open: bool,
    /// When it was opened. Waiting for another process to let go of the file is no work of the group.
    began: Duration,
    /// Those that have asked for COMMIT.
    members: Vec<Member<F>>,
}

/// A batch that has asked for COMMIT.
struct Member<F: Flow> {
    job: Job<F>,
    /// Of its last flight.
    replies: Vec<Reply>,
    /// Which of them is the one of COMMIT.
    commit: usize,
}

/// What became of a flight.
enum Carried {
    /// These are its replies.
    Answered(Vec<Reply>),
    /// All is done but COMMIT, whose reply is at this place.
    Committing(Vec<Reply>, usize),
    /// Its transaction was gone before it began.
    Gone,
}

impl<F: Flow> Writer<F> {
    /// A writer that takes from `inbox`.
    pub(super) fn new(
        carrier: Carrier,
        shared: Arc<Shared>,
        clock: SharedClock,
        limits: GroupCommit,
        inbox: Receiver<Asked<F>>,
    ) -> Self {
        let next_cleanup = Duration::ZERO;
        Self {
            carrier,
            shared,
            clock,
            limits,
            inbox,
            parked: VecDeque::new(),
            keys: HashMap::new(),
            next_cleanup,
        }
    }

    /// Writes until nobody can send any more and nothing is parked.
    pub(super) fn work(mut self) {
        while let Some(first) = self.wait() {
            self.shared.begin_work();
            self.round(first);
            self.shared.end_work();
        }
    }

    /// The batches that a round begins with; `None` at the end.
    fn wait(&mut self) -> Option<VecDeque<Job<F>>> {
        loop {
            let now = self.clock.elapsed();
            let mut ready = VecDeque::new();
            for _ in 0..self.parked.len() {
                match self.parked.pop_front() {
                    Some((at, job)) if at <= now => ready.push_back(job),
                    Some(later) => self.parked.push_back(later),
                    None => {}
                }
            }
            if !ready.is_empty() {
                return Some(ready);
            }
            let asked = match self.parked.iter().map(|(at, _)| *at).min() {
                None => self.inbox.recv().ok()?,
                Some(at) => match self.inbox.recv_timeout(at.saturating_sub(now)) {
                    Ok(asked) => asked,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => {
                        // Nobody else will come; those that are here get their turn.
                        let _ = crossbeam_channel::after(at.saturating_sub(now)).recv();
                        continue;
                    }
                },
            };
            if let Some(job) = self.taken(asked) {
                return Some(VecDeque::from([job]));
            }
        }
    }

    /// The batch that was asked for; anything else is done at once.
    fn taken(&self, asked: Asked<F>) -> Option<Job<F>> {
        match asked {
            Asked::Batch(mut job) => {
                job.leave_channel();
                Some(job)
            }
            Asked::Reload(answer) => {
                let _ = answer.send(self.shared.reload(&self.carrier.connection));
                None
            }
        }
    }

    /// One transaction: those that wait, then COMMIT, then all are told.
    fn round(&mut self, mut waiting: VecDeque<Job<F>>) {
        let most = self.limits.batches.max(1);
        let mut group = Group { open: false, began: Duration::ZERO, members: Vec::new() };
        let mut served = 0;
        loop {
            let over = group.open && self.clock.elapsed().saturating_sub(group.began) >= self.limits.window;
            if served >= most || over {
                break;
            }
            let job = match waiting.pop_front() {
                Some(job) => job,
                None => match self.inbox.try_recv() {
                    // Tables are read between transactions.
                    Ok(Asked::Reload(answer)) if group.open => {
                        self.finish(&mut group);
                        let _ = answer.send(self.shared.reload(&self.carrier.connection));
                        continue;
                    }
                    Ok(asked) => match self.taken(asked) {
                        Some(job) => job,
                        None => continue,
                    },
                    Err(_) => break,
                },
            };
            served += 1;
            self.drive(job, &mut group);
        }
        self.finish(&mut group);
        for job in waiting.into_iter().rev() {
            self.parked.push_front((Duration::ZERO, job));
        }
    }

    /// Carries a batch as far as it goes in this transaction.
    fn drive(&mut self, mut job: Job<F>, group: &mut Group<F>) {
        let mut place = Place::default();
        loop {
            let now = self.clock.elapsed();
            match job.next(now) {
                Step::Finished => {
                    self.leave(group, &mut place);
                    return self.finished(job);
                }
                Step::Wait(pause) => {
                    self.leave(group, &mut place);
                    return self.parked.push_back((now.saturating_add(pause), job));
                }
                Step::Flight(commands) => match self.carry(&mut job, group, &mut place, &commands) {
                    Carried::Answered(replies) => job.accept(replies, self.clock.elapsed()),
                    Carried::Gone => job.lost(),
                    Carried::Committing(replies, commit) => {
                        return group.members.push(Member { job, replies, commit });
                    }
                },
            }
        }
    }

    /// Carries a flight.
    fn carry(
        &mut self,
        job: &mut Job<F>,
        group: &mut Group<F>,
        place: &mut Place,
        commands: &[Command],
    ) -> Carried {
        let mut replies = Vec::with_capacity(commands.len());
        let mut commit = None;
        let mut failed = false;
        for command in commands {
            if failed || commit.is_some() {
                replies.push(Reply::NotRun);
                continue;
            }
            let reply = match command {
                Command::Begin(settings) => self.begin(group, place, settings),
                Command::Rollback => {
                    self.leave(group, place);
                    Reply::Done
                }
                // The whole transaction went, under an earlier flight of this batch.
                _ if !place.open && replies.is_empty() => return Carried::Gone,
                Command::Commit if self.carrier.has_unresolved_keys() => {
                    // Judged here and not at COMMIT, so that it is this batch that fails and no other.
                    self.leave(group, place);
                    Reply::Failed(plain(DbErrorCode::ForeignKeyViolation, "deferred"))
                }
                Command::Commit => {
                    commit = Some(replies.len());
                    self.said("RELEASE penstock_batch")
                }
                Command::TakeKey { scope, fingerprint } => self.take_key(job, scope, fingerprint),
                Command::KeepAnswer { scope, answer } => done(self.carrier.keep_answer(scope, answer)),
                Command::DropKey { scope } => done(self.carrier.drop_key(scope)),
                command => self.carrier.carry(command, place.statement_timeout),
            };
            if matches!(reply, Reply::Failed(_)) {
                failed = true;
                commit = None;
                if group.open && self.carrier.outside_transaction() {
                    // Some errors (a full disk, a statement stopped in the middle) end the transaction as a whole.
                    place.open = false;
                    self.ended(group);
                }
            }
            replies.push(reply);
        }
        match commit {
            Some(at) => {
                place.open = false;
                Carried::Committing(replies, at)
            }
            None => Carried::Answered(replies),
        }
    }

    /// Opens the group's transaction, for the first, and a savepoint for this batch.
    fn begin(&mut self, group: &mut Group<F>, place: &mut Place, settings: &TransactionSettings) -> Reply {
        place.statement_timeout = settings.statement_timeout;
        if !group.open {
            let patience = self.carrier.connection.busy_timeout(settings.lock_timeout);
            if let Err(error) = patience {
                return Reply::Failed(db_error(&error));
            }
            if let Err(error) = self.carrier.say("BEGIN IMMEDIATE") {
                return Reply::Failed(error);
            }
            group.open = true;
            group.began = self.clock.elapsed();
            self.shared.look_at_schema(&self.carrier.connection);
        }
        let reply = self.said("SAVEPOINT penstock_batch");
        place.open = reply == Reply::Done;
        reply
    }

    /// Undoes what a batch has done, if it has anything open.
    fn leave(&mut self, group: &mut Group<F>, place: &mut Place) {
        if std::mem::take(&mut place.open) && group.open {
            let undone = self
                .carrier
                .say("ROLLBACK TO penstock_batch")
                .and_then(|()| self.carrier.say("RELEASE penstock_batch"));
            if let Err(error) = undone {
                tracing::error!(code = %error.native_code, "a savepoint cannot be undone; the group is rolled back");
                let _ = self.carrier.say("ROLLBACK");
                self.ended(group);
            }
        }
    }

    /// The group's transaction is gone before its COMMIT: those that waited for it try again.
    fn ended(&mut self, group: &mut Group<F>) {
        group.open = false;
        self.told(group, Some(&plain(DbErrorCode::Busy, "the group's transaction was ended")));
    }

    fn take_key(&mut self, job: &mut Job<F>, scope: &str, fingerprint: &[u8; 32]) -> Reply {
        // A row of a batch that is not finished may still go away, and one in the middle is its owner's to continue.
        if self.keys.contains_key(scope) && !job.keys.iter().any(|key| key == scope) {
            return Reply::Failed(plain(DbErrorCode::KeyInFlight, "key in hand"));
        }
        match self.carrier.take_key(scope, fingerprint) {
            Err(error) => Reply::Failed(db_error(&error)),
            Ok(found) => {
                if self.keys.insert(scope.to_owned(), ()).is_none() {
                    job.keys.push(scope.to_owned());
                }
                found.map_or(Reply::Done, Reply::Key)
            }
        }
    }

    /// Commits, and tells all.
    fn finish(&mut self, group: &mut Group<F>) {
        if !std::mem::take(&mut group.open) {
            return;
        }
        if group.members.is_empty() {
            // Nobody kept anything: no need to wait for the disk.
            if let Err(error) = self.carrier.say("ROLLBACK") {
                tracing::error!(code = %error.native_code, "a transaction without a batch cannot be rolled back");
            }
            return;
        }
        self.clean_up();
        let committed = self.carrier.say("COMMIT");
        if !self.carrier.outside_transaction() {
            // A COMMIT that failed may leave the transaction open.
            let _ = self.carrier.say("ROLLBACK");
        }
        if committed.is_ok() {
            self.shared.committed(group.members.len());
        }
        self.told(group, committed.err().as_ref());
    }

    /// Tells the members of a group how COMMIT went. Those that are not finished with that go on in the next round.
    fn told(&mut self, group: &mut Group<F>, error: Option<&DbError>) {
        let now = self.clock.elapsed();
        for Member { mut job, mut replies, commit } in std::mem::take(&mut group.members) {
            if let Some(error) = error {
                replies[commit] = Reply::Failed(error.clone());
            }
            job.accept(replies, now);
            match job.next(now) {
                Step::Finished => self.finished(job),
                Step::Wait(pause) => self.parked.push_back((now.saturating_add(pause), job)),
                Step::Flight(commands) => {
                    job.pending = Some(commands);
                    self.parked.push_back((now, job));
                }
            }
        }
    }

    fn finished(&mut self, job: Job<F>) {
        for key in &job.keys {
            self.keys.remove(key);
        }
        job.finish();
    }

    fn clean_up(&mut self) {
        let now = self.clock.elapsed();
        if now >= self.next_cleanup {
            self.next_cleanup = now.saturating_add(BETWEEN_CLEANUPS);
            if let Err(error) = self.carrier.drop_old_keys() {
                tracing::warn!(code = %db_error(&error).native_code, "old idempotency keys were not removed");
            }
        }
    }

    fn said(&self, sql: &'static str) -> Reply {
        self.carrier.say(sql).map_or_else(Reply::Failed, |()| Reply::Done)
    }
}

fn done(result: rusqlite::Result<()>) -> Reply {
    result.map_or_else(|error| Reply::Failed(db_error(&error)), |()| Reply::Done)
}

/// Where a batch is in the group's transaction.
#[derive(Default)]
struct Place {
    /// Whether its savepoint is open.
    open: bool,
    statement_timeout: Duration,
}
