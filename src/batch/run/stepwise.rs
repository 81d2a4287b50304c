//! One operation at a time: atomic batches that go on after a failure, each operation behind a savepoint, and batches that
//! are not atomic, each operation in its own transaction (contract, sections 10 and 14.6).

use std::sync::Arc;
use std::time::Duration;

use super::flight::Flight;
use super::record::{Record, Slot, State};
use super::{BatchRun, Cause, Closing, KeyClosing, LineEvent, Phase, Savepoint};
use crate::batch::answer::DEPENDENCY_FAILED;
use crate::batch::operation::Action;
use crate::database::{Command, StoredAnswer};

impl BatchRun {
    /// The next flight; `None` when the phase changed instead.
    pub(super) fn stepwise_flight(&mut self, elapsed: Duration) -> Option<Flight> {
        let mut flight = Flight::default();
        if let Some((operation, probe, _)) = &self.work.probing {
            flight.push(Command::Run(probe.clone()), Slot::Probe(*operation));
            return Some(flight);
        }
        if self.key.closing.is_some() {
            return self.answer_flight(elapsed);
        }
        self.push_loads(&mut flight);
        if !flight.commands.is_empty() {
            return Some(flight);
        }
        self.advance();
        if self.work.uncommitted {
            self.push_commit_of_one(&mut flight, elapsed);
            return Some(flight);
        }
        let Some((operation, bound)) = self.work.ready.take() else {
            return self.end_flight(elapsed);
        };
        let atomic = self.request.options.atomic;
        let reads = self.request.operations[operation].action == Action::Read;
        let read_only = match atomic {
            true => self.facts.read_only,
            false => {
                self.facts.read_only
                    || (reads
                        && self.key_use().is_none()
                        && !super::locks_rows(&self.request.operations[operation]))
            }
        };
        self.open(&mut flight, read_only, elapsed);
        if atomic {
            self.push_savepoint(&mut flight);
        }
        let held =
            !atomic && (self.key_use().is_some() || self.is_judged_first(operation, &bound, read_only));
        self.work.current = Some(operation);
        self.work.mark = self.work.ready_mark;
        self.send(operation, bound, &[], &mut flight);
        if !atomic && !held {
            flight.push(Command::Commit, Slot::Commit);
        }
        Some(flight)
    }

    /// A place to go back to, should the next operation fail.
    fn push_savepoint(&mut self, flight: &mut Flight) {
        match self.transaction.savepoint {
            Savepoint::None => flight.push(Command::Savepoint, Slot::Savepoint),
            Savepoint::Set => {
                flight.push(Command::ReleaseSavepoint, Slot::ReleaseSavepoint);
                flight.push(Command::Savepoint, Slot::Savepoint);
            }
            Savepoint::Spoilt => flight.push(Command::RollbackToSavepoint, Slot::RollbackToSavepoint),
        }
        self.transaction.savepoint = Savepoint::Set;
    }

    /// Commits the current operation, and with it what a repeat needs to go on after it.
    fn push_commit_of_one(&mut self, flight: &mut Flight, elapsed: Duration) {
        if let Some(key) = self.key_use() {
            if self.work.ready.is_none() {
                let cause = self.settled_cause();
                self.push_answer(flight, &cause, elapsed);
            } else {
                let (scope, fingerprint) = (key.scope.clone(), key.fingerprint);
                let body = self.progress();
                let answer = StoredAnswer { fingerprint, status: None, body: body.clone() };
                flight.push(Command::KeepAnswer { scope, answer }, Slot::KeepAnswer);
                self.key.storing = Some(body);
            }
        }
        flight.push(Command::Commit, Slot::Commit);
    }

    /// Nothing is left to be sent.
    fn end_flight(&mut self, elapsed: Duration) -> Option<Flight> {
        let cause = self.settled_cause();
        if !self.request.options.atomic {
            let unsaved = self.key_use().is_some() && self.tally.kept && self.key.answer.is_none();
            self.phase = match unsaved {
                true => {
                    self.key.closing = Some(KeyClosing::Take);
                    Phase::Running
                }
                false => Phase::Closing(Closing::Finish(cause)),
            };
            return None;
        }
        if !self.transaction.open || self.work.records.iter().any(Record::is_failed) {
            self.phase = Phase::Closing(Closing::Finish(cause));
            return None;
        }
        let mut flight = Flight::default();
        flight.push(Command::ReleaseSavepoint, Slot::ReleaseSavepoint);
        self.push_end(&mut flight, elapsed);
        Some(flight)
    }

    /// Stores the answer in a transaction of its own: the last operation was rolled back, earlier ones were kept.
    fn answer_flight(&mut self, elapsed: Duration) -> Option<Flight> {
        let mut flight = Flight::default();
        match self.key.closing {
            Some(KeyClosing::Take) => {
                self.open(&mut flight, false, elapsed);
                self.key.closing = Some(KeyClosing::Keep);
            }
            Some(KeyClosing::Keep) if self.transaction.open => {
                let cause = self.settled_cause();
                self.push_answer(&mut flight, &cause, elapsed);
                flight.push(Command::Commit, Slot::Commit);
            }
            _ => {
                self.phase = Phase::Closing(Closing::Finish(self.settled_cause()));
                return None;
            }
        }
        Some(flight)
    }

    /// Why a batch ends whose operations are all settled, or stopped.
    fn settled_cause(&self) -> Cause {
        let options = &self.request.options;
        let failed =
            || self.plan.order.iter().copied().find(|operation| self.work.records[*operation].is_failed());
        match options.continue_on_error {
            true => Cause::Settled,
            false => failed().map_or(Cause::Settled, Cause::Stopped),
        }
    }

    /// Settles operations that need no database, up to the next one that does, which is bound and ready then.
    pub(super) fn advance(&mut self) {
        while self.work.ready.is_none() && self.work.cursor < self.plan.order.len() {
            if !self.request.options.continue_on_error && self.work.records.iter().any(Record::is_failed) {
                return;
            }
            let operation = self.plan.order[self.work.cursor];
            if Some(operation) == self.work.current && !self.work.records[operation].is_settled() {
                return;
            }
            self.work.cursor += 1;
            if self.work.records[operation].is_settled() {
                continue;
            }
            let blocked_by: Vec<Arc<str>> = self.plan.dependencies[operation]
                .iter()
                .filter(|awaited| !self.work.records[**awaited].is_completed())
                .map(|awaited| self.request.operations[*awaited].id.clone())
                .collect();
            if !blocked_by.is_empty() {
                self.work.records[operation].skip(DEPENDENCY_FAILED, blocked_by);
                continue;
            }
            let mark = self.mark();
            match self.bind(operation, Vec::new()) {
                Ok(bound) => {
                    self.work.ready = Some((operation, bound));
                    self.work.ready_mark = mark;
                }
                Err(error) => {
                    self.go_back_to(mark);
                    self.work.records[operation].fail(error);
                }
            }
        }
    }

    /// The current operation, and everything that was settled after it, as if it had not been tried.
    pub(super) fn take_back(&mut self) {
        let Some(current) = self.work.current.take() else {
            return;
        };
        let place = self.facts.position[current];
        for later in &self.plan.order[place..] {
            self.work.records[*later] = Record::default();
            self.work.results[*later] = None;
        }
        self.work.cursor = place;
        self.work.ready = None;
        self.work.probing = None;
        self.work.uncommitted = false;
        self.go_back_to(self.work.mark);
    }

    /// Tells the listener of every operation that is settled for good.
    pub(super) fn tell_lines(&mut self) {
        if self.request.options.atomic {
            return;
        }
        while let Some(operation) = self.plan.order.get(self.tally.told).copied() {
            let record = &self.work.records[operation];
            let (State::Settled, Some(outcome)) = (&record.state, &record.outcome) else {
                return;
            };
            if let Some(listener) = &self.watch.lines {
                let id = self.request.operations[operation].id.clone();
                listener(LineEvent { index: operation, id, outcome: outcome.clone() });
            }
            self.tally.told += 1;
        }
    }
}
