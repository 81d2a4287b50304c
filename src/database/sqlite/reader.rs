//! Threads that only read. Each has a connection that refuses to write, and carries one batch at a time: readers of
//! SQLite's log see one state of the file for as long as their transaction lasts, and stand in nobody's way.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::carrier::Carrier;
use super::errors::plain;
use super::lane::{Asked, Flow, Job};
use super::shared::Shared;
use crate::batch::run::Step;
use crate::clock::SharedClock;
use crate::database::{Command, DbErrorCode, Reply, TransactionSettings};

/// A thread's own.
pub(super) struct Reader<F: Flow> {
    /// Its connection.
    pub(super) carrier: Carrier,
    /// What all threads of the database share.
    pub(super) shared: Arc<Shared>,
    /// The time.
    pub(super) clock: SharedClock,
    /// Where batches come from; all readers take from the same.
    pub(super) inbox: Receiver<Asked<F>>,
}

impl<F: Flow> Reader<F> {
    /// Reads until nobody can send any more.
    pub(super) fn work(self) {
        while let Ok(asked) = self.inbox.recv() {
            self.shared.begin_work();
            match asked {
                Asked::Batch(mut job) => {
                    job.leave_channel();
                    self.shared.look_at_schema(&self.carrier.connection);
                    self.drive(job);
                }
                Asked::Reload(answer) => {
                    let _ = answer.send(self.shared.reload(&self.carrier.connection));
                }
            }
            self.shared.end_work();
        }
    }

    fn drive(&self, mut job: Job<F>) {
        let mut settings: Option<TransactionSettings> = None;
        loop {
            match job.next(self.clock.elapsed()) {
                Step::Finished => {
                    if !self.carrier.outside_transaction() {
                        let _ = self.carrier.say("ROLLBACK");
                    }
                    return job.finish();
                }
                Step::Wait(pause) => {
                    let _ = crossbeam_channel::after(pause).recv();
                }
                Step::Flight(commands) => {
                    let mut failed = false;
                    let mut replies = Vec::with_capacity(commands.len());
                    for command in &commands {
                        let reply = if failed { Reply::NotRun } else { self.carry(command, &mut settings) };
                        failed |= matches!(reply, Reply::Failed(_));
                        replies.push(reply);
                    }
                    job.accept(replies, self.clock.elapsed());
                }
            }
        }
    }

    fn carry(&self, command: &Command, settings: &mut Option<TransactionSettings>) -> Reply {
        let said = |sql| self.carrier.say(sql).map_or_else(Reply::Failed, |()| Reply::Done);
        match command {
            Command::Begin(begun) => {
                let patience = self.carrier.connection.busy_timeout(begun.lock_timeout);
                *settings = Some(begun.clone());
                match patience {
                    Ok(()) => said("BEGIN"),
                    Err(error) => Reply::Failed(super::errors::db_error(&error)),
                }
            }
            // Some errors end the transaction by themselves.
            Command::Rollback if self.carrier.outside_transaction() => Reply::Done,
            Command::Rollback => said("ROLLBACK"),
            Command::Commit => said("COMMIT"),
            command => match settings {
                Some(settings) => self.carrier.carry(command, settings.statement_timeout),
                None => Reply::Failed(plain(DbErrorCode::Other, "no transaction")),
            },
        }
    }
}
