//! How a batch ends: envelope, answer, and what the metrics are told.
//!
//! Promises: `rolledBack` is said exactly when nothing was kept of an atomic batch; an operation that stands after the one
//! that stopped the batch is skipped, also when it ran ahead; nothing that was not committed is answered as kept.

use std::sync::Arc;
use std::time::Duration;

use super::failure;
use super::record::Record;
use super::{BatchRun, Ending, Finished, OperationCount, Phase};
use crate::batch::answer::{
    Answer, BATCH_STOPPED, Cause as StopCause, Envelope, JSON, Meta, OperationOutcome, StopFault, render,
};
use crate::batch::check::OperationError;
use crate::batch::problem::{FaultKind, PROBLEM_JSON, Problem};

/// Why a batch ends.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    /// Every operation is settled.
    Settled,
    /// This operation failed, and nothing goes on after it.
    Stopped(usize),
    /// The transaction failed at its end.
    AtCommit(OperationError),
    /// The batch could not go on, for no fault of an operation.
    Whole {
        /// Which kind.
        kind: FaultKind,
        /// A sentence.
        detail: String,
        /// Seconds after which another try makes sense.
        retry_after: Option<u32>,
        /// Whether COMMIT may hold.
        unknown: bool,
    },
    /// The idempotency key is not to be had.
    Key(FaultKind),
    /// An earlier run of the key has answered.
    Replay {
        /// Status of the answer.
        status: u16,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Cause {
    fn whole(kind: FaultKind, detail: impl Into<String>, retry_after: Option<u32>) -> Self {
        Self::Whole { kind, detail: detail.into(), retry_after, unknown: false }
    }

    pub fn away() -> Self {
        Self::whole(
            FaultKind::DatabaseUnavailable,
            "the database does not answer; send the batch again later",
            Some(1),
        )
    }

    pub fn contention(error: &OperationError) -> Self {
        Self::whole(FaultKind::Contention, format!("{}; send the batch again", error.error), Some(1))
    }

    pub fn cancelled() -> Self {
        Self::whole(
            FaultKind::BatchTimeout,
            "the client hung up or its deadline passed before the batch was done",
            None,
        )
    }

    pub fn timed_out(limit: Duration) -> Self {
        let detail =
            format!("the batch was not done within its {} ms; send fewer operations", limit.as_millis());
        Self::whole(FaultKind::BatchTimeout, detail, None)
    }

    pub fn internal() -> Self {
        Self::whole(
            FaultKind::Internal,
            "the batch could not be carried out; tell its id to whoever runs the server",
            None,
        )
    }
}

impl BatchRun {
    /// Ends it. No transaction is open.
    pub(super) fn finish(&mut self, cause: Cause, elapsed: Duration) {
        if !self.request.options.atomic && self.work.uncommitted {
            self.take_back();
        }
        let kept = self.key.answer.take().filter(|_| matches!(cause, Cause::Settled | Cause::Stopped(_)));
        let (answer, envelope) = match (&cause, kept) {
            (_, Some((envelope, answer))) => (answer, Some(envelope)),
            (Cause::Replay { status, body }, _) => {
                let content_type = if *status == 200 { JSON } else { PROBLEM_JSON };
                (Answer { status: *status, content_type, body: body.clone(), retry_after: None }, None)
            }
            (Cause::Key(kind), _) => (self.key_problem(*kind), None),
            // Our fault: nothing but the id is told.
            (Cause::Whole { kind: FaultKind::Internal, detail, .. }, _) => {
                (Problem::new(FaultKind::Internal, detail.clone(), self.instance()).render(), None)
            }
            _ => {
                let (envelope, answer) = self.render(&cause, elapsed);
                (answer, Some(envelope))
            }
        };
        self.settle_rest(&cause);
        self.tell_lines();
        let ending = self.ending(&cause, envelope.as_ref());
        self.finished = Some(Finished {
            answer,
            envelope,
            ending,
            replayed: matches!(cause, Cause::Replay { .. }),
            waits: self.tally.waits,
            merged_rows: self.work.merged_rows,
            retries: std::mem::take(&mut self.tally.retries),
            operations: self.counts(),
        });
        self.phase = Phase::Finished;
    }

    /// The answer that this end would have.
    pub(super) fn render(&self, cause: &Cause, elapsed: Duration) -> (Envelope, Answer) {
        let envelope = self.envelope(cause, elapsed);
        let answer = render(&envelope, &self.instance());
        (envelope, answer)
    }

    fn instance(&self) -> String {
        format!("/batch/{}", self.batch_id)
    }

    fn key_problem(&self, kind: FaultKind) -> Answer {
        let detail = match kind {
            FaultKind::KeyReused => {
                "this idempotency key was used for another body; take a new key for a new batch"
            }
            _ => "a batch with this idempotency key is running; send it again in a second to get its answer",
        };
        let problem = Problem::new(kind, detail, self.instance());
        match kind {
            FaultKind::KeyInFlight => problem.retry_after(1).render(),
            _ => problem.render(),
        }
    }

    /// Whether an operation stands in the answer as it is: not when it ran ahead of the one that stopped the batch.
    fn counts_for(&self, operation: usize, cause: &Cause) -> bool {
        let in_time = match cause {
            Cause::Stopped(stopped) => self.facts.position[operation] <= self.facts.position[*stopped],
            _ => true,
        };
        in_time && self.work.records[operation].is_settled()
    }

    /// Skips what was not reached.
    fn settle_rest(&mut self, cause: &Cause) {
        for operation in 0..self.work.records.len() {
            if !self.counts_for(operation, cause) {
                self.work.records[operation].skip(BATCH_STOPPED, Vec::new());
            }
        }
    }

    fn envelope(&self, cause: &Cause, elapsed: Duration) -> Envelope {
        let options = &self.request.options;
        let fault = self.fault(cause);
        let unknown = matches!(cause, Cause::Whole { unknown: true, .. });
        let mut results = Vec::with_capacity(self.work.records.len());
        let mut operations = Vec::with_capacity(self.work.records.len());
        for (operation, record) in self.work.records.iter().enumerate() {
            let id = Arc::clone(&self.request.operations[operation].id);
            let counts = self.counts_for(operation, cause);
            let (outcome, meta) = match &record.outcome {
                Some(outcome) if counts => (outcome.clone(), record.meta.clone()),
                _ => (OperationOutcome::Skipped { reason: BATCH_STOPPED }, Default::default()),
            };
            results.push((id, outcome));
            operations.push(meta);
        }
        let id = |operation: &usize| Arc::clone(&self.request.operations[*operation].id);
        let order = &self.plan.order;
        let failed: Vec<Arc<str>> = order
            .iter()
            .filter(|operation| {
                self.work.records[**operation].is_failed() && self.counts_for(**operation, cause)
            })
            .map(id)
            .collect();
        let all_completed = self.work.records.iter().all(Record::is_completed);
        let success = all_completed && fault.is_none();
        let mut warnings = self.work.warnings.clone();
        warnings.dedup();
        Envelope {
            batch_id: Arc::clone(&self.batch_id),
            success,
            results,
            rolled_back: options.atomic
                && !unknown
                && (options.dry_run || fault.is_some() || !failed.is_empty()),
            failed,
            meta: Meta {
                dry_run: options.dry_run,
                attempts: 1 + u32::try_from(self.tally.retries.len()).unwrap_or(u32::MAX - 1),
                elapsed_ms: elapsed.as_secs_f64() * 1000.0,
                order: order.iter().map(id).collect(),
                operations,
                warnings,
            },
            fault,
            outcome_unknown: unknown,
        }
    }

    /// Why the whole is a problem, if it is one.
    fn fault(&self, cause: &Cause) -> Option<StopFault> {
        match cause {
            Cause::Settled | Cause::Key(_) | Cause::Replay { .. } => None,
            Cause::Stopped(operation) => {
                let record = &self.work.records[*operation];
                let Some(OperationOutcome::Failed { error, status_code }) = &record.outcome else {
                    return None;
                };
                let code = record.meta.code.unwrap_or("database_error");
                let id = &self.request.operations[*operation].id;
                let mut fault = StopFault::at_operation(id, error, *status_code, code);
                fault.kind = failure::stop_kind(code);
                fault.retry_after = (fault.kind.status() == 503).then_some(1);
                Some(fault)
            }
            Cause::AtCommit(error) => {
                let kind = match error.code {
                    "statement_timeout" => FaultKind::BatchTimeout,
                    "database_error" => FaultKind::DatabaseUnavailable,
                    code => failure::stop_kind(code),
                };
                let cause = StopCause { operation: None, status_code: error.status, code: error.code };
                Some(StopFault {
                    kind,
                    detail: format!("Batch failed while it was committed: {}", error.error),
                    cause: Some(cause),
                    retry_after: (kind.status() == 503).then_some(1),
                })
            }
            Cause::Whole { kind, detail, retry_after, .. } => Some(StopFault {
                kind: *kind,
                detail: detail.clone(),
                cause: None,
                retry_after: *retry_after,
            }),
        }
    }

    fn ending(&self, cause: &Cause, envelope: Option<&Envelope>) -> Ending {
        match cause {
            Cause::Replay { .. } => Ending::Replayed,
            Cause::Key(_) | Cause::Whole { .. } => Ending::Rejected,
            _ if envelope.is_some_and(|envelope| envelope.success) => Ending::Ok,
            _ if !self.request.options.atomic && self.work.records.iter().any(Record::is_completed) => {
                Ending::Partial
            }
            _ => Ending::Failed,
        }
    }

    fn counts(&self) -> Vec<OperationCount> {
        let count = |(operation, record): (usize, &Record)| {
            let request = &self.request.operations[operation];
            let unknown = matches!(&self.checked[operation], Err(error) if error.code == "unknown_entity");
            OperationCount {
                entity: (!unknown).then(|| Arc::clone(&request.entity)),
                action: request.action,
                status: match &record.outcome {
                    Some(OperationOutcome::Completed { .. }) => "completed",
                    Some(OperationOutcome::Failed { .. }) => "failed",
                    Some(OperationOutcome::Skipped { .. }) | None => "skipped",
                },
                code: record.meta.code,
            }
        };
        self.work.records.iter().enumerate().map(count).collect()
    }
}
