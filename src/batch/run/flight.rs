//! Which commands go into one flight, when an atomic batch stops at its first failure (contract, section 14.2).
//!
//! Promises: a flight holds every operation whose values are known and that may run by then, in the order of the plan but for
//! creates that run ahead. COMMIT joins the last flight unless something of that flight is to be judged first.

use std::time::Duration;

use super::failure;
use super::hoist::{self, Footprint};
use super::record::{Sent, Slot, State};
use super::rows::Asked;
use super::{BatchRun, Cause, Closing, KeyClosing, Pace, Phase};
use crate::batch::answer::Answer;
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::{Action, BoundOperation, Condition, Handed, Handover, Work};
use crate::batch::request::OperationRequest;
use crate::database::{Command, StoredAnswer};

/// Commands, and what each is for.
#[derive(Default)]
pub(super) struct Flight {
    pub commands: Vec<Command>,
    pub slots: Vec<Slot>,
}

impl Flight {
    pub fn push(&mut self, command: Command, slot: Slot) {
        self.commands.push(command);
        self.slots.push(slot);
    }

    pub fn rollback() -> Self {
        let mut flight = Self::default();
        flight.push(Command::Rollback, Slot::Rollback);
        flight
    }
}

impl BatchRun {
    /// The next flight; `None` when the phase changed instead.
    pub(super) fn pipelined_flight(&mut self, elapsed: Duration) -> Option<Flight> {
        let mut flight = Flight::default();
        if let Some((operation, probe, _)) = &self.work.probing {
            flight.push(Command::Run(probe.clone()), Slot::Probe(*operation));
            return Some(flight);
        }
        self.open(&mut flight, self.facts.read_only, elapsed);
        let opening = flight.commands.len();
        let mut held = self.push_loads(&mut flight);
        let complete = self.push_known(&mut flight, &mut held)?;
        if flight.commands.len() > opening && (!complete || held || self.key_use().is_some()) {
            return Some(flight);
        }
        if !complete {
            // Cannot be: the first operation that is left has all it waits for.
            self.phase = Phase::Closing(Closing::Finish(Cause::internal()));
            return None;
        }
        self.push_end(&mut flight, elapsed);
        Some(flight)
    }

    /// Opens the transaction, and takes the key in it.
    pub(super) fn open(&self, flight: &mut Flight, read_only: bool, elapsed: Duration) {
        if self.transaction.open {
            return;
        }
        flight.push(self.begin(read_only, elapsed), Slot::Begin);
        if let Some(key) = self.key_use() {
            let (scope, fingerprint) = (key.scope.clone(), key.fingerprint);
            flight.push(Command::TakeKey { scope, fingerprint }, Slot::TakeKey);
        }
    }

    /// Reads of associations whose rows are here. Whether something of it is to be judged before a COMMIT.
    pub(super) fn push_loads(&mut self, flight: &mut Flight) -> bool {
        let mut pushed = false;
        for operation in &self.plan.order {
            let State::Loading(loading) = &mut self.work.records[*operation].state else {
                continue;
            };
            for (association, read) in loading.reads.iter_mut().enumerate() {
                if let Some(bound) = read.take() {
                    let asked = Asked::of(&bound);
                    flight.push(Command::Run(bound), Slot::Load(*operation, association, asked));
                    pushed = true;
                }
            }
        }
        pushed && !self.facts.read_only
    }

    /// Operations whose values are known. Whether nothing is left behind; `None` when the phase changed instead. Sets `held`
    /// when something of it is to be judged before a COMMIT.
    fn push_known(&mut self, flight: &mut Flight, held: &mut bool) -> Option<bool> {
        let mut left_behind: Vec<usize> = Vec::new();
        for place in 0..self.plan.order.len() {
            let operation = self.plan.order[place];
            match self.work.records[operation].state {
                State::Waiting => {}
                _ => continue,
            }
            let Some(takes) = self.may_go(operation, &left_behind) else {
                left_behind.push(operation);
                if self.pace > Pace::Hoisting {
                    break;
                }
                continue;
            };
            let mark = self.mark();
            let bound = match self.bind(operation, takes) {
                Ok(bound) => bound,
                Err(error) => {
                    self.go_back_to(mark);
                    let earlier =
                        flight.slots.iter().any(|slot| matches!(slot, Slot::Run(_) | Slot::Load(..)));
                    if !earlier && left_behind.is_empty() {
                        self.stop_at(operation, error);
                        return None;
                    }
                    // It fails in its turn: those before it may fail first.
                    return Some(false);
                }
            };
            if self.meets_what_passed_it(operation, &bound) {
                self.phase = Phase::Closing(Closing::Rerun(Pace::InOrder));
                return None;
            }
            *held |= self.is_judged_first(operation, &bound, self.facts.read_only);
            let barrier = self.is_barrier(operation);
            self.send(operation, bound, &left_behind, flight);
            if barrier || self.pace == Pace::OneByOne {
                let rest = self.plan.order[place + 1..].iter();
                let all = left_behind.is_empty()
                    && rest.copied().all(|later| !matches!(self.work.records[later].state, State::Waiting));
                return Some(all);
            }
        }
        Some(left_behind.is_empty())
    }

    /// Whether an operation has all it waits for, when these before it do not run yet: then what it takes over of those that
    /// are in this flight.
    fn may_go(&self, operation: usize, left_behind: &[usize]) -> Option<Vec<Handover>> {
        let is_missing = |target: &usize| self.work.results[*target].is_none();
        let missing: Vec<usize> = self.facts.targets[operation].iter().copied().filter(is_missing).collect();
        if !missing.is_empty() {
            let is_next = left_behind.is_empty() && self.work.records[operation].passed_by.is_empty();
            let is_sent = |target: &usize| matches!(self.work.records[*target].state, State::Sent);
            let hands_over = self.pace == Pace::Hoisting && is_next && missing.iter().all(is_sent);
            return hands_over.then(|| self.facts.handovers.takes(operation, &missing)).flatten();
        }
        self.may_pass(operation, left_behind).then(Vec::new)
    }

    /// Whether an operation may run before these.
    fn may_pass(&self, operation: usize, left_behind: &[usize]) -> bool {
        if left_behind.is_empty() {
            return true;
        }
        let waits = self.plan.dependencies[operation].iter().any(|awaited| left_behind.contains(awaited));
        let Some(later) = self.footprint(operation).filter(|_| !waits && self.pace == Pace::Hoisting) else {
            return false;
        };
        left_behind
            .iter()
            .all(|earlier| self.footprint(*earlier).is_some_and(|earlier| hoist::may_pass(&later, &earlier)))
    }

    /// Whether later operations must wait for its associations, which they could change.
    fn is_barrier(&self, operation: usize) -> bool {
        let loads = self.checked[operation].as_ref().is_ok_and(|checked| !checked.associations.is_empty());
        loads && !self.facts.read_only
    }

    fn footprint(&self, operation: usize) -> Option<Footprint<'_>> {
        let checked = self.checked[operation].as_ref().ok()?;
        Some(Footprint {
            action: checked.action,
            entity: checked.entity.as_deref(),
            by_full_primary_key: checked.selects_by_full_primary_key(),
            follows_relations: follows_relations(&self.request.operations[operation], checked),
        })
    }

    /// Whether it would meet a row that ran ahead of it.
    fn meets_what_passed_it(&self, operation: usize, bound: &BoundOperation) -> bool {
        let passed_by = &self.work.records[operation].passed_by;
        passed_by.iter().any(|create| match &self.work.records[*create].hoisted {
            Some(rows) => hoist::collides(bound, rows),
            None => true,
        })
    }

    /// Puts an operation into a flight.
    pub(super) fn send(
        &mut self,
        operation: usize,
        mut bound: BoundOperation,
        left_behind: &[usize],
        flight: &mut Flight,
    ) {
        let Ok(checked) = &self.checked[operation] else {
            return;
        };
        let mut hoisted = None;
        if !left_behind.is_empty() {
            self.work.hoisted = true;
        } else if self.pace == Pace::Hoisting {
            bound.handed.gives = self.facts.handovers.gives(operation).to_vec();
        }
        self.work.records[operation].handed = bound.handed != Handed::default();
        if let (Action::Create, false, Some(entity)) =
            (checked.action, left_behind.is_empty(), &checked.entity)
        {
            let passed = left_behind
                .iter()
                .filter_map(|earlier| self.checked[*earlier].as_ref().ok()?.entity.as_deref());
            let columns = hoist::columns_to_compare(entity, &passed.collect::<Vec<_>>());
            let places = columns.into_iter().map(|column| (column, fetched(&mut bound, column))).collect();
            hoisted = Some((entity.clone(), places));
            for earlier in left_behind {
                self.work.records[*earlier].passed_by.push(operation);
            }
        }
        // Rows of a write are ordered by their key, which the database's own rights may hide.
        if self.settings.identity.is_none() && may_write_several(checked, &bound) {
            let key = bound.entity.as_ref().map(|entity| entity.primary_key.clone());
            key.into_iter().flatten().for_each(|column| {
                fetched(&mut bound, column);
            });
        }
        let sent = Sent {
            operation,
            asked: Asked::of(&bound),
            page: checked.page_rows(&bound),
            probe: checked.stale_probe(&bound),
            hoisted,
        };
        self.work.records[operation].state = State::Sent;
        flight.push(Command::Run(bound), Slot::Run(Box::new(sent)));
    }

    /// Whether something of it is to be judged before a COMMIT may be sent.
    pub(super) fn is_judged_first(&self, operation: usize, bound: &BoundOperation, read_only: bool) -> bool {
        let Ok(checked) = &self.checked[operation] else {
            return true;
        };
        if !checked.associations.is_empty() {
            return true;
        }
        if read_only {
            // Nothing is kept, whatever the judgement.
            return false;
        }
        match &bound.work {
            Work::Create { must_hold, .. } => {
                *must_hold != Condition::True || checked.expect.min > 0 || checked.expect.max.is_some()
            }
            _ => true,
        }
    }

    /// The end of an atomic transaction in which nothing failed.
    pub(super) fn push_end(&mut self, flight: &mut Flight, elapsed: Duration) {
        if self.request.options.dry_run {
            flight.push(Command::CheckConstraints, Slot::CheckConstraints);
            flight.push(Command::Rollback, Slot::Rollback);
            return;
        }
        if self.key_use().is_some() {
            self.push_answer(flight, &Cause::Settled, elapsed);
        }
        flight.push(Command::Commit, Slot::Commit);
    }

    /// Stores the answer that will be sent, byte by byte.
    pub(super) fn push_answer(&mut self, flight: &mut Flight, cause: &Cause, elapsed: Duration) {
        let Some(key) = self.key_use() else {
            return;
        };
        let (scope, fingerprint) = (key.scope.clone(), key.fingerprint);
        let (envelope, answer) = self.render(cause, elapsed);
        let Answer { status, body, .. } = answer.clone();
        let stored = StoredAnswer { fingerprint, status: Some(status), body };
        flight.push(Command::KeepAnswer { scope, answer: stored }, Slot::KeepAnswer);
        self.key.answer = Some((envelope, answer));
        if self.key.closing.is_some() {
            self.key.closing = Some(KeyClosing::Over);
        }
    }

    /// The first failure of a batch that stops there.
    pub(super) fn stop_at(&mut self, operation: usize, error: OperationError) {
        // In order, another one might have failed first, or none; without a value that was handed over, this one might not.
        let is_unsure = self.work.hoisted
            || self.work.records[operation].handed && failure::is_of_handing_over(error.code);
        self.phase = Phase::Closing(if is_unsure && self.pace == Pace::Hoisting {
            Closing::Rerun(Pace::InOrder)
        } else {
            self.work.records[operation].fail(error);
            Closing::Finish(Cause::Stopped(operation))
        });
    }
}

/// The place of a column in what the database returns; added where it is not there.
fn fetched(bound: &mut BoundOperation, column: usize) -> usize {
    bound.returning.iter().position(|known| *known == column).unwrap_or_else(|| {
        bound.returning.push(column);
        bound.returning.len() - 1
    })
}

fn may_write_several(checked: &CheckedOperation, bound: &BoundOperation) -> bool {
    match &bound.work {
        Work::Create { rows, .. } => rows.len() > 1,
        Work::Update { .. } | Work::Delete { .. } => !checked.selects_by_full_primary_key(),
        _ => false,
    }
}

/// Whether an operation looks at other entities: a dotted selector or sort, or an association.
fn follows_relations(request: &OperationRequest, checked: &CheckedOperation) -> bool {
    let dotted = |text: &str| text.contains('.');
    let sorts = request.metadata("sort").and_then(|sort| sort.constant());
    !checked.associations.is_empty()
        || request.query_params.iter().any(|(key, _)| dotted(key))
        || sorts.is_some_and(|sort| dotted(&sort.to_json()))
}
