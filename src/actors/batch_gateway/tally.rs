//! What is counted and logged of a batch: ids, counts, codes and times, never claims, values or rows.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::failed_codes;
use crate::batch::access::Caller;
use crate::batch::problem::FaultKind;
use crate::batch::run::{Ending, Finished};
use crate::clock::SharedClock;
use crate::messages::BatchOrder;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::NOWHERE;

/// Names a caller in logs without saying who it is: the first bytes of a hash of issuer and subject; `-` for nobody.
pub fn subject_hash(caller: &Caller) -> String {
    if caller.subject.is_empty() {
        return "-".to_owned();
    }
    let mut hash = Sha256::new();
    hash.update(caller.issuer.as_bytes());
    hash.update([0]);
    hash.update(caller.subject.as_bytes());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Counts one batch that came as far as its gateway.
pub(super) struct Tally<'a> {
    metrics: &'a Metrics,
    order: &'a BatchOrder,
    began: Duration,
    clock: &'a SharedClock,
}

impl<'a> Tally<'a> {
    pub fn new(metrics: &'a Metrics, order: &'a BatchOrder, clock: &'a SharedClock) -> Self {
        Self { metrics, order, began: clock.elapsed(), clock }
    }

    /// Nobody waited for it any more.
    pub fn abandoned(&self) {
        self.metrics.batch_requests_total.with_label_values(&["rejected"]).inc();
        tracing::debug!(batch = &*self.order.batch_id, "nobody waits for a batch any more; it is not run");
    }

    /// It was not run, or nobody knows how it ended.
    pub fn refused(&self, kind: FaultKind, operations: usize, atomic: bool) {
        self.metrics.batch_requests_total.with_label_values(&["rejected"]).inc();
        self.took(self.began, atomic);
        tracing::warn!(
            batch = &*self.order.batch_id,
            subject = subject_hash(&self.order.caller),
            database = &*self.order.database,
            operations,
            kind = kind.as_str(),
            "batch not carried out"
        );
    }

    /// It came to its end; it had waited so long for its turn.
    pub fn finished(&self, finished: &Finished, operations: usize, atomic: bool, waited: Duration) {
        let metrics = self.metrics;
        let outcome = match finished.ending {
            Ending::Ok => "ok",
            Ending::Partial => "partial",
            Ending::Failed => "failed",
            Ending::Rejected => "rejected",
            Ending::Replayed if finished.answer.status < 300 => "ok",
            Ending::Replayed => "failed",
        };
        metrics.batch_requests_total.with_label_values(&[outcome]).inc();
        metrics.batch_size_operations.observe(operations as f64);
        metrics.batch_waits.observe(f64::from(finished.waits));
        metrics.batch_merged_rows_total.inc_by(finished.merged_rows);
        for reason in &finished.retries {
            metrics.batch_retries_total.with_label_values(&[reason]).inc();
        }
        // Most operations of a batch are alike, and finding a counter costs more than counting.
        let mut alike: Vec<([&str; 3], u64)> = Vec::new();
        for operation in &finished.operations {
            let entity = operation.entity.as_deref().unwrap_or(NOWHERE);
            let labels = [entity, operation.action.as_str(), operation.status];
            match alike.iter_mut().rev().find(|(known, _)| *known == labels) {
                Some((_, count)) => *count += 1,
                None => alike.push((labels, 1)),
            }
        }
        for (labels, count) in alike {
            metrics.batch_operations_total.with_label_values(&labels).inc_by(count);
        }
        let bad_references = failed_codes(finished).filter(|code| *code == "bad_reference").count();
        metrics.batch_reference_errors_total.inc_by(bad_references as u64);
        if finished.replayed {
            metrics.batch_idempotent_replays_total.inc();
        }
        let took = self.took(self.began.saturating_sub(waited), atomic);
        let codes = failed_codes(finished).collect::<Vec<_>>().join(" ");
        // A batch that did as it was told is no news.
        if finished.ending == Ending::Ok {
            tracing::debug!(
                batch = &*self.order.batch_id,
                subject = subject_hash(&self.order.caller),
                database = &*self.order.database,
                operations,
                waits = finished.waits,
                ms = took.as_millis() as u64,
                "batch done"
            );
        } else {
            tracing::info!(
                batch = &*self.order.batch_id,
                subject = subject_hash(&self.order.caller),
                database = &*self.order.database,
                operations,
                outcome,
                status = finished.answer.status,
                codes,
                waits = finished.waits,
                ms = took.as_millis() as u64,
                "batch ended"
            );
        }
    }

    fn took(&self, since: Duration, atomic: bool) -> Duration {
        let took = self.clock.elapsed().saturating_sub(since);
        let labels = [&*self.order.database, if atomic { "true" } else { "false" }];
        self.metrics.batch_duration_seconds.with_label_values(&labels).observe(took.as_secs_f64());
        took
    }
}

/// Counts a batch that was refused at the door.
pub(super) fn count_refusal(metrics: &Metrics, kinds: &[FaultKind], rejected: bool, took: Duration) {
    let outcome = if rejected { "rejected" } else { "invalid" };
    metrics.batch_requests_total.with_label_values(&[outcome]).inc();
    metrics.batch_duration_seconds.with_label_values(&[NOWHERE, "true"]).observe(took.as_secs_f64());
    let count = |wanted: &[FaultKind]| kinds.iter().filter(|kind| wanted.contains(kind)).count() as u64;
    metrics.batch_cycle_errors_total.inc_by(count(&[FaultKind::Cycle]));
    let bad_references = count(&[FaultKind::BadReference, FaultKind::UnknownReference]);
    metrics.batch_reference_errors_total.inc_by(bad_references);
}
