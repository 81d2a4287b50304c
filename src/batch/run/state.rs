//! What a run is made of: what is known from the start, what one try has got to, what outlives it.

use std::time::Duration;

use super::ending::Cause;
use super::handover::Handovers;
use super::record::Record;
use crate::batch::answer::{Answer, Envelope};
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::BoundOperation;
use crate::batch::plan::Plan;
use crate::batch::reference::{OperationResult, Results, Template, Warning};
use crate::batch::request::{BatchRequest, Limits, OperationRequest, StoreParams};
use crate::batch::value::Value;

/// What is known of the batch from the start.
pub(super) struct Facts {
    /// No operation writes or locks.
    pub read_only: bool,
    /// For each operation, those whose results it needs.
    pub targets: Vec<Vec<usize>>,
    /// Whether another operation needs the result of this one.
    pub referenced: Vec<bool>,
    /// Place of each operation in the order.
    pub position: Vec<usize>,
    /// Everything that is known goes in one flight: atomic, and nothing goes on after a failure.
    pub pipelined: bool,
    /// Values that need not come by way of an answer.
    pub handovers: Handovers,
}

/// What one try of the batch has got to. A retry starts from an empty one.
pub(super) struct Work {
    pub records: Vec<Record>,
    pub results: Vec<Option<OperationResult>>,
    pub bytes_left: usize,
    pub result_bytes: usize,
    pub warnings: Vec<Warning>,
    pub merged_rows: u64,
    /// The operation that touched nothing, and what tells why.
    pub probing: Option<(usize, BoundOperation, OperationError)>,
    /// Something ran ahead of its place.
    pub hoisted: bool,
    /// One by one: the next place of the order.
    pub cursor: usize,
    /// One by one: what is sent next, and below what there was before it was bound.
    pub ready: Option<(usize, BoundOperation)>,
    pub ready_mark: Mark,
    /// What there was before the current operation was bound.
    pub mark: Mark,
    /// One by one: the operation whose reply, associations or commit are awaited.
    pub current: Option<usize>,
    /// Not atomic: the current operation completed, its commit was not answered yet.
    pub uncommitted: bool,
}

/// What to go back to when an operation is tried again.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub bytes_left: usize,
    pub result_bytes: usize,
    pub warnings: usize,
}

/// Counts that outlive a retry.
#[derive(Default)]
pub(super) struct Tally {
    pub waits: u32,
    pub retries: Vec<&'static str>,
    /// Retries for contention: of the batch, or of the current operation when it is not atomic.
    pub contention: u32,
    /// Whether a connection was lost: of the batch, or of the current operation.
    pub lost: bool,
    /// Not atomic: how many places of the order were told to the listener.
    pub told: usize,
    /// Not atomic: something was committed.
    pub kept: bool,
}

pub(super) enum Phase {
    /// The next flight is to be chosen.
    Running,
    /// The transaction, if one is open, is rolled back; then this.
    Closing(Closing),
    /// Let time pass, then run.
    Pausing(Duration),
    /// There is an answer.
    Finished,
}

pub(super) enum Closing {
    /// Try again: the batch, or the current operation.
    Retry(Duration),
    /// Try the batch again at another pace; no fault of anybody.
    Rerun(Pace),
    /// The current operation failed; go on with the next.
    Next,
    /// Go on from what an earlier run of the same key has kept.
    Resume(Vec<u8>),
    /// Answer.
    Finish(Cause),
}

/// How much goes into one flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// Everything that is known, also ahead of its place.
    Hoisting,
    /// Everything that is known up to the first that is not.
    InOrder,
    /// One operation.
    OneByOne,
}

#[derive(Default)]
pub(super) struct Transaction {
    pub open: bool,
    pub savepoint: Savepoint,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Savepoint {
    /// Not set.
    #[default]
    None,
    /// Set, and all is well since.
    Set,
    /// Set, and what was done since is to be undone.
    Spoilt,
}

/// The idempotency key of a batch that writes.
#[derive(Default)]
pub(super) struct KeyState {
    /// Not atomic: the progress that the key's row holds.
    pub progress: Option<Vec<u8>>,
    /// The progress that the commit on its way would store.
    pub storing: Option<Vec<u8>>,
    /// The answer that the commit on its way would store.
    pub answer: Option<(Envelope, Answer)>,
    /// Not atomic: the answer is being stored after the last operation failed.
    pub closing: Option<KeyClosing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyClosing {
    /// The key is to be taken.
    Take,
    /// It is taken.
    Keep,
    /// Done, or given up.
    Over,
}

/// Results by place, as references are resolved against them.
pub(super) struct Known<'a>(pub &'a [Option<OperationResult>]);

impl Results for Known<'_> {
    fn result(&self, operation: usize) -> Option<&OperationResult> {
        self.0.get(operation)?.as_ref()
    }
}

impl Work {
    pub fn new(operations: usize, limits: &Limits) -> Self {
        Self {
            records: (0..operations).map(|_| Record::default()).collect(),
            results: (0..operations).map(|_| None).collect(),
            bytes_left: limits.resolved_bytes,
            result_bytes: 0,
            warnings: Vec::new(),
            merged_rows: 0,
            probing: None,
            hoisted: false,
            cursor: 0,
            ready: None,
            ready_mark: Mark::default(),
            mark: Mark::default(),
            current: None,
            uncommitted: false,
        }
    }
}

impl Facts {
    pub fn of(
        request: &BatchRequest,
        plan: &Plan,
        checked: &[Result<CheckedOperation, OperationError>],
        hands_over: bool,
    ) -> Self {
        let count = request.operations.len();
        let targets: Vec<Vec<usize>> = request.operations.iter().map(reference_targets).collect();
        let mut referenced = vec![false; count];
        for target in targets.iter().flatten() {
            referenced[*target] = true;
        }
        let mut position = vec![0; count];
        for (place, operation) in plan.order.iter().enumerate() {
            position[*operation] = place;
        }
        let touches =
            |(operation, checked): (&OperationRequest, &Result<CheckedOperation, OperationError>)| {
                checked.as_ref().is_ok_and(CheckedOperation::writes) || locks_rows(operation)
            };
        let read_only = !request.operations.iter().zip(checked).any(touches);
        let pipelined = request.options.atomic && !request.options.continue_on_error;
        let handovers = match pipelined && hands_over {
            true => Handovers::of(request, plan, checked, &targets),
            false => Handovers::default(),
        };
        Self { read_only, targets, referenced, position, pipelined, handovers }
    }
}

/// Operations whose results an operation needs, sorted, once each.
pub(super) fn reference_targets(operation: &OperationRequest) -> Vec<usize> {
    let mut targets = Vec::new();
    let mut add =
        |template: &Template| targets.extend(template.references().map(|reference| reference.target));
    match &operation.store_params {
        StoreParams::None => {}
        StoreParams::One(fields) => fields.iter().for_each(|(_, template)| add(template)),
        StoreParams::Many { rows, .. } => rows.iter().flatten().for_each(&mut add),
    }
    operation.query_params.iter().chain(&operation.metadata_params).for_each(|(_, template)| add(template));
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// Whether a read locks rows: databases refuse that where nothing may be written.
pub(super) fn locks_rows(operation: &OperationRequest) -> bool {
    match operation.metadata("lock") {
        None | Some(Template::Value(Value::Null)) => false,
        Some(Template::Value(Value::Text(lock))) => lock != "none",
        Some(_) => true,
    }
}
