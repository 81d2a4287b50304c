//! The batch gateway: one stage a database, through which every batch of it passes.
//!
//! Promises: a batch runs at most once, also when its handler panics, hangs or loses its thread: whoever waits is then told
//! that the outcome is unknown; a batch whose client is gone is not begun, and is rolled back unless its COMMIT was sent;
//! a batch ends by its deadline, waiting in the queue counted. A lost connection ends this incarnation and nothing else.
//!
//! A restart costs nothing: connections belong to the database, which outlives every incarnation, and answers to the
//! [`WaitingRoom`]. Batches in the hands of other slots go on to their end.

mod front;
mod tally;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use front::{BatchDesk, BatchFront, FrontSettings, job_of};
pub use tally::subject_hash;
pub use waiting::WaitingRoom;

use self::tally::Tally;
use self::waiting::{Answered, Waiting};
use crate::actors::engine::{Nothing, Output, Stage, StageCx, StageError};
use crate::batch::answer::{Answer, OperationOutcome, render_lines, write_first_line, write_result_line};
use crate::batch::problem::{FaultKind, Problem};
use crate::batch::request::Limits;
use crate::batch::run::{BatchRun, Finished, LineEvent, LineListener, RunSettings, RunWatch};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::messages::{BatchOrder, PreparedBatch};
use crate::telemetry::Metrics;

/// A batch that has not ended so long after its deadline is left to itself: its connection does not come back.
const GRACE: Duration = Duration::from_secs(5);

/// Times that hold for every batch of a database.
#[derive(Debug, Clone, Copy)]
pub struct BatchTimes {
    /// One statement.
    pub statement: Duration,
    /// Waiting for one lock.
    pub lock: Duration,
    /// A transaction in which nothing happens.
    pub idle: Duration,
    /// The whole batch, from its arrival.
    pub batch: Duration,
}

/// See the module's promises.
#[derive(Clone)]
pub struct BatchGateway {
    /// The database.
    pub database: Arc<dyn Database>,
    /// Who waits.
    pub room: WaitingRoom,
    /// Limits of section 13.
    pub limits: Arc<Limits>,
    /// Times.
    pub times: BatchTimes,
    /// Metrics.
    pub metrics: Metrics,
}

impl std::fmt::Debug for BatchGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchGateway").field("database", self.database.name()).finish_non_exhaustive()
    }
}

impl Stage for BatchGateway {
    type In = BatchOrder;
    type Out = Nothing;
    const NAME: &'static str = "batch_gateway";

    async fn run(&self, order: Arc<BatchOrder>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        let tally = Tally::new(&self.metrics, &order, cx.clock());
        let Some(waiting) = self.room.find(&order.batch_id).filter(|waiting| !waiting.is_gone()) else {
            // Its client hung up while it was in the queue, or it is a dead letter that somebody brought back.
            tally.abandoned();
            return Ok(Output::None);
        };
        if !waiting.begin() {
            let why = "the batch was begun, and what became of it is not known";
            tally.refused(FaultKind::Internal, 0, false);
            waiting.answer(Answered { answer: unknown_outcome(&order, why), replayed: false });
            return Ok(Output::None);
        }
        let Some(prepared) = order.prepared.take() else {
            waiting.answer(Answered { answer: internal(&order), replayed: false });
            return Ok(Output::None);
        };
        let (operations, atomic) = (prepared.request.operations.len(), prepared.request.options.atomic);
        let waited = cx.clock().elapsed().saturating_sub(prepared.arrived);
        let Some(left) = self.times.batch.checked_sub(waited).filter(|left| !left.is_zero()) else {
            tally.refused(FaultKind::BatchTimeout, operations, atomic);
            let detail = "the batch waited longer for its turn than a batch may take; nothing of it was run";
            let problem = Problem::new(FaultKind::BatchTimeout, detail, instance(&order));
            waiting.answer(Answered { answer: problem.retry_after(1).render(), replayed: false });
            return Ok(Output::None);
        };
        let lines = waiting.lines.is_some();
        let run = self.begin(&order, prepared, left, &waiting, cx.clock());
        let (database, clock) = (Arc::clone(&self.database), cx.clock().clone());
        let gone = Arc::clone(waiting.gone());
        // A database carries a batch on threads of its own: here is only waited for it.
        let carried = async move {
            let mut carried = database.run(run);
            tokio::select! {
                run = &mut carried => return Some(run),
                () = clock.sleep(left) => {}
            }
            // The run watches its own time; this is for one that does not get to look.
            gone.store(true, Ordering::Release);
            tokio::select! {
                run = &mut carried => Some(run),
                () = clock.sleep(GRACE) => None,
            }
        };
        // The batch has a deadline of its own; the engine's would only take the lease away under it.
        let finished = cx.waiting(carried).await.and_then(BatchRun::into_finished);
        let Some(finished) = finished else {
            tally.refused(FaultKind::BatchTimeout, operations, atomic);
            let why = "the database did not answer, and what became of the batch is not known";
            waiting.answer(Answered { answer: unknown_outcome(&order, why), replayed: false });
            cx.retire("a batch did not come back from its connection");
            return Ok(Output::None);
        };
        if finished.retries.contains(&"connection_lost") || is_away(&finished) {
            cx.retire("a connection to the database was lost");
        }
        tally.finished(&finished, operations, atomic, waited);
        let replayed = finished.replayed;
        waiting.answer(Answered { answer: answer_of(finished, lines, &order), replayed });
        Ok(Output::None)
    }
}

impl BatchGateway {
    fn begin(
        &self,
        order: &BatchOrder,
        prepared: PreparedBatch,
        left: Duration,
        waiting: &Arc<Waiting>,
        clock: &SharedClock,
    ) -> BatchRun {
        let settings = RunSettings {
            database_kind: self.database.kind(),
            statement_timeout: self.times.statement,
            lock_timeout: self.times.lock,
            idle_timeout: self.times.idle,
            batch_timeout: left,
            identity: prepared.identity,
            idempotency: prepared.key,
            seed: prepared.seed,
        };
        let streamed = waiting.lines.clone().filter(|_| !prepared.request.options.atomic);
        let lines = streamed.map(|sender| {
            let mut first = Vec::new();
            let ids = &prepared.request.operations;
            let in_order: Vec<Arc<str>> =
                prepared.plan.order.iter().map(|index| Arc::clone(&ids[*index].id)).collect();
            write_first_line(&order.batch_id, &in_order, &mut first);
            Arc::new(line_listener(sender, first)) as Arc<LineListener>
        });
        BatchRun::new(
            Arc::clone(&order.batch_id),
            prepared.request,
            prepared.plan,
            prepared.checked,
            Arc::clone(&self.limits),
            settings,
            clock.wall(),
            RunWatch { cancelled: Arc::clone(waiting.gone()), lines },
        )
    }
}

/// Passes lines on; the first one brings the line that opens the stream.
fn line_listener(
    sender: tokio::sync::mpsc::UnboundedSender<Vec<u8>>,
    first: Vec<u8>,
) -> impl Fn(LineEvent) + Send + Sync {
    let opening = std::sync::Mutex::new(Some(first));
    move |event: LineEvent| {
        let opening = opening.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let mut line = opening.unwrap_or_default();
        write_result_line(&event.id, &event.outcome, &mut line);
        // A reader that is gone is noticed by its seat.
        let _ = sender.send(line);
    }
}

fn instance(order: &BatchOrder) -> String {
    format!("/batch/{}", order.batch_id)
}

fn internal(order: &BatchOrder) -> Answer {
    let detail = format!("tell the operator the batch id {}", order.batch_id);
    Problem::new(FaultKind::Internal, detail, instance(order)).render()
}

/// For a client that cannot be told what became of its batch.
fn unknown_outcome(order: &BatchOrder, why: &str) -> Answer {
    let advice = match order.idempotency_key {
        Some(_) => "send it again with the same idempotency key: it is applied once",
        None => "look before sending it again, and send an `Idempotency-Key` next time",
    };
    let detail = format!("{why}; {advice}");
    let problem = Problem::new(FaultKind::DatabaseUnavailable, detail, instance(order)).retry_after(1);
    let mut answer = problem.render();
    if answer.body.pop() == Some(b'}') {
        answer.body.extend_from_slice(b",\"outcome\":\"unknown\"}");
    }
    answer
}

fn is_away(finished: &Finished) -> bool {
    let fault = finished.envelope.as_ref().and_then(|envelope| envelope.fault.as_ref());
    fault.is_some_and(|fault| fault.kind == FaultKind::DatabaseUnavailable)
}

fn answer_of(finished: Finished, lines: bool, order: &BatchOrder) -> Answer {
    match &finished.envelope {
        Some(envelope) if lines => render_lines(envelope, &instance(order)),
        _ => finished.answer,
    }
}

/// Codes of operations that failed, for counting.
fn failed_codes(finished: &Finished) -> impl Iterator<Item = &'static str> {
    let envelope = finished.envelope.as_ref();
    let failed = |outcome: &OperationOutcome| matches!(outcome, OperationOutcome::Failed { .. });
    envelope.into_iter().flat_map(move |envelope| {
        let with_meta = envelope.results.iter().zip(&envelope.meta.operations);
        with_meta.filter(move |((_, outcome), _)| failed(outcome)).filter_map(|(_, meta)| meta.code)
    })
}
