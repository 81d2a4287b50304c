//! The front of the gateway: plans a batch, finds its database, lets it into the queue or says why not, and waits.
//!
//! Promises: nothing is planned twice; a queue that is full, a line that is paused and a caller with too much under way are
//! told at once, before anything is kept of the batch; a caller that stops waiting takes its batch back.

mod caller;
mod ids;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use self::caller::{identity_of, key_scope, refuse_key_of_nobody};
use self::ids::{mixed, ulid};
use self::plan::plan_document;
use super::BatchTimes;
use super::tally::count_refusal;
use super::waiting::{Answered, Seat, WaitingRoom};
use crate::actors::engine::{Engine, JobEntry, LocalInbox, Mailbox as _, NotAdmitted};
use crate::batch::access::Caller;
use crate::batch::answer::{Answer, JSON};
use crate::batch::catalogue::Catalogue;
use crate::batch::check::{CheckContext, CheckedOperation, OperationError, check_all};
use crate::batch::plan::Plan;
use crate::batch::problem::{FaultKind, Problem};
use crate::batch::request::{BatchRequest, Fault, Limits, OperationClaims, Refusal, parse};
use crate::batch::run::KeyUse;
use crate::clock::{BoxFuture, SharedClock};
use crate::database::{Database, Enforcement};
use crate::http::api::{BatchAsk, BatchReply, BatchService, LineStream, ReplyContent};
use crate::messages::{BatchOrder, ItemId, JobId, Lane, PreparedBatch, TakeOnce};
use crate::telemetry::Metrics;

/// One database and the queue before it.
pub struct BatchDesk {
    /// The database.
    pub database: Arc<dyn Database>,
    /// Who decides about rows and columns.
    pub enforcement: Enforcement,
    /// The mailbox of its gateway.
    pub inbox: Arc<LocalInbox<BatchOrder>>,
    /// Counts of its batches on the line.
    pub job: Arc<JobEntry>,
}

/// What holds for every batch.
#[derive(Debug, Clone)]
pub struct FrontSettings {
    /// Limits of section 13.
    pub limits: Arc<Limits>,
    /// What to do with claims of an operation.
    pub operation_claims: OperationClaims,
    /// Batches that one caller may have under way.
    pub inflight_per_subject: usize,
    /// Times.
    pub times: BatchTimes,
    /// Seed of batch ids and back-off.
    pub seed: u64,
}

/// See the module's promises. A clone is another handle to the same.
#[derive(Clone)]
pub struct BatchFront {
    inner: Arc<Inner>,
}

/// Batches under way by caller: issuer and subject.
type UnderWay = DashMap<(Arc<str>, Arc<str>), usize>;

struct Inner {
    engine: Engine,
    desks: Vec<BatchDesk>,
    room: WaitingRoom,
    settings: FrontSettings,
    under_way: Arc<UnderWay>,
    drawn: AtomicU64,
    metrics: Metrics,
    clock: SharedClock,
}

impl std::fmt::Debug for BatchFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchFront").field("databases", &self.inner.desks.len()).finish_non_exhaustive()
    }
}

/// The job under which a database's batches are counted on the line.
pub fn job_of(database: &str) -> JobId {
    JobId::new(&format!("batch-{database}"))
}

/// A body that was planned and checked against one database.
struct Planned<'a> {
    request: BatchRequest,
    plan: Plan,
    checked: Vec<Result<CheckedOperation, OperationError>>,
    desk: &'a BatchDesk,
}

/// Why a batch does not get as far as the line.
struct NotTaken {
    problem: Problem,
    kinds: Vec<FaultKind>,
    rejected: bool,
}

impl NotTaken {
    fn invalid(problem: Problem) -> Self {
        let kinds = match &problem.errors[..] {
            [] => vec![problem.kind],
            faults => faults.iter().map(|fault| fault.kind).collect(),
        };
        Self { problem, kinds, rejected: false }
    }

    fn rejected(kind: FaultKind, detail: &str, instance: &str, retry_after: u32) -> Self {
        let problem = Problem::new(kind, detail, instance).retry_after(retry_after);
        Self { problem, kinds: Vec::new(), rejected: true }
    }
}

impl BatchFront {
    /// A front for these databases, in the order of the config.
    pub fn new(
        engine: Engine,
        desks: Vec<BatchDesk>,
        room: WaitingRoom,
        settings: FrontSettings,
        metrics: Metrics,
        clock: SharedClock,
    ) -> Self {
        let inner = Inner {
            engine,
            desks,
            room,
            settings,
            under_way: Arc::default(),
            drawn: AtomicU64::new(0),
            metrics,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The databases, in the order of the config.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<dyn Database>> {
        self.inner.desks.iter().map(|desk| &desk.database)
    }

    /// Brings the gauges of queues and connections up to date.
    pub fn refresh_gauges(&self) {
        let metrics = &self.inner.metrics;
        let (mut idle, mut busy, mut down) = (0, 0, 0);
        for desk in &self.inner.desks {
            let depth = desk.inbox.depth();
            let waiting = depth.items.saturating_sub(depth.in_hand);
            metrics.batch_queue_depth.with_label_values(&[desk.database.name()]).set(waiting as i64);
            let state = desk.database.state();
            idle += state.idle;
            busy += state.busy;
            down += state.down;
        }
        for (state, count) in [("idle", idle), ("busy", busy), ("down", down)] {
            metrics.db_connections.with_label_values(&[state]).set(count as i64);
        }
    }

    /// What `penstock status` shows of it.
    pub fn status(&self) -> serde_json::Value {
        let databases = self.inner.desks.iter().map(|desk| {
            let (depth, state) = (desk.inbox.depth(), desk.database.state());
            let catalogue = desk.database.catalogue();
            serde_json::json!({
                "database": desk.database.name(),
                "open": desk.database.is_open(),
                "entities": catalogue.entities.len(),
                "waiting": depth.items.saturating_sub(depth.in_hand),
                "running": depth.in_hand,
                "connections": { "idle": state.idle, "busy": state.busy, "down": state.down },
            })
        });
        serde_json::Value::Array(databases.collect())
    }
}

impl BatchService for BatchFront {
    fn body_bytes_max(&self) -> usize {
        self.inner.settings.limits.body_bytes
    }

    fn run(&self, ask: BatchAsk) -> BoxFuture<'static, BatchReply> {
        let front = Arc::clone(&self.inner);
        Box::pin(async move {
            let batch_id = front.new_id();
            let began = front.clock.elapsed();
            let content = match front.run(&batch_id, ask, began).await {
                Ok((content, replayed)) => return BatchReply { batch_id, replayed, content },
                Err(not_taken) => {
                    let took = front.clock.elapsed().saturating_sub(began);
                    count_refusal(&front.metrics, &not_taken.kinds, not_taken.rejected, took);
                    tracing::debug!(
                        batch = &*batch_id,
                        kind = not_taken.problem.kind.as_str(),
                        "batch refused at the door"
                    );
                    ReplyContent::Whole(not_taken.problem.render())
                }
            };
            BatchReply { batch_id, replayed: false, content }
        })
    }

    fn plan(&self, ask: BatchAsk) -> BatchReply {
        let batch_id = self.inner.new_id();
        let instance = format!("/batch/{batch_id}");
        let answer = match self.inner.planned(&ask, &instance) {
            Ok(planned) => {
                let body = plan_document(&batch_id, &planned).to_string().into_bytes();
                Answer { status: 200, content_type: JSON, body, retry_after: None }
            }
            Err(not_taken) => not_taken.problem.render(),
        };
        BatchReply { batch_id, replayed: false, content: ReplyContent::Whole(answer) }
    }

    fn catalogues(&self) -> Vec<Arc<Catalogue>> {
        self.inner.desks.iter().map(|desk| desk.database.catalogue()).collect()
    }
}

impl Inner {
    async fn run(
        self: &Arc<Self>,
        batch_id: &Arc<str>,
        ask: BatchAsk,
        arrived: Duration,
    ) -> Result<(ReplyContent, bool), NotTaken> {
        let instance = format!("/batch/{batch_id}");
        refuse_key_of_nobody(&ask, &instance)?;
        let place = self.take_place(&ask.caller, &instance)?;
        let Planned { request, plan, checked, desk } = self.planned(&ask, &instance)?;
        let identity = identity_of(&desk.enforcement, &ask.caller, &instance)?;
        let key = ask.idempotency_key.as_deref().map(|key| KeyUse {
            scope: key_scope(&ask.caller, key),
            fingerprint: Sha256::digest(&ask.body).into(),
        });
        let streamed = ask.lines && !request.options.atomic;
        let prepared = PreparedBatch {
            request: Arc::new(request),
            plan: Arc::new(plan),
            checked,
            key,
            identity,
            arrived,
            seed: self.draw(),
        };
        let order = BatchOrder {
            batch_id: Arc::clone(batch_id),
            database: Arc::clone(desk.database.name()),
            // A body that was parsed is UTF-8.
            body: Arc::from(String::from_utf8_lossy(&ask.body)),
            caller: Arc::clone(&ask.caller),
            idempotency_key: ask.idempotency_key,
            prepared: TakeOnce::new(prepared),
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let lines = (streamed || ask.lines).then_some(sender);
        let (seat, mut answered) = self.room.enter(batch_id, lines);
        let reader = Reader { _seat: seat, _place: place };
        let item = ItemId::new(batch_id);
        let admitted = self.engine.try_admit(&*desk.inbox, &desk.job, item, Lane::Interactive, order);
        admitted.map_err(|why| match why {
            NotAdmitted::Full => NotTaken::rejected(
                FaultKind::QueueFull,
                "too many batches wait for this database; try again in a second",
                &instance,
                1,
            ),
            NotAdmitted::Paused => {
                NotTaken::rejected(FaultKind::Paused, "batches are paused; try again later", &instance, 10)
            }
            NotAdmitted::Leaving => NotTaken::rejected(
                FaultKind::Paused,
                "the server is going down; try again soon",
                &instance,
                5,
            ),
        })?;
        let whole = |answered: Result<Answered, _>| match answered {
            Ok(Answered { answer, replayed }) => (ReplyContent::Whole(answer), replayed),
            // Its gateway gave it up without a word, which is our fault.
            Err(_gone) => (ReplyContent::Whole(internal(batch_id, &instance)), false),
        };
        if !streamed {
            let answered = answered.await;
            drop(reader);
            return Ok(whole(answered));
        }
        let mut receiver = receiver;
        tokio::select! {
            biased;
            first = receiver.recv() => match first {
                Some(first) => Ok((self.stream(batch_id, first, receiver, answered, reader), false)),
                None => Ok(whole(answered.await)),
            },
            // Over before anything of it was done: refused, failed at once, or a replay.
            answered = &mut answered => Ok(whole(answered)),
        }
    }

    /// Lines as they come, and the last one once the batch is over.
    fn stream(
        &self,
        batch_id: &Arc<str>,
        first: Vec<u8>,
        mut events: mpsc::UnboundedReceiver<Vec<u8>>,
        answered: tokio::sync::oneshot::Receiver<Answered>,
        reader: Reader,
    ) -> ReplyContent {
        let (sender, lines) = mpsc::unbounded_channel();
        let _ = sender.send(first);
        let batch_id = Arc::clone(batch_id);
        tokio::spawn(async move {
            let mut answered = answered;
            let end = loop {
                tokio::select! {
                    biased;
                    event = events.recv() => match event {
                        Some(line) => if sender.send(line).is_err() {
                            return;
                        },
                        None => break (&mut answered).await,
                    },
                    end = &mut answered => break end,
                }
            };
            // What was said before the end and not read yet.
            while let Ok(line) = events.try_recv() {
                let _ = sender.send(line);
            }
            let answer =
                end.map_or_else(|_gone| internal(&batch_id, &format!("/batch/{batch_id}")), |end| end.answer);
            let _ = sender.send(last_line(answer.body));
        });
        ReplyContent::Lines(LineStream { lines, reader: Box::new(reader) })
    }

    fn planned(&self, ask: &BatchAsk, instance: &str) -> Result<Planned<'_>, NotTaken> {
        let settings = &self.settings;
        let refused = |refusal: Refusal| NotTaken::invalid(Problem::refused(refusal, instance));
        let (mut request, plan) =
            parse(&ask.body, &settings.limits, settings.operation_claims).map_err(refused)?;
        if ask.dry_run {
            if !request.options.atomic {
                let detail = "a dry run needs `atomic: true`".to_owned();
                return Err(refused(one_fault(FaultKind::InvalidOption, "/options/atomic", detail)));
            }
            request.options.dry_run = true;
        }
        if let Some(name) = self.away_for(&request, ask.database.as_deref()) {
            let detail = format!("database `{name}` is away; try again soon");
            return Err(NotTaken::rejected(FaultKind::DatabaseUnavailable, &detail, instance, 5));
        }
        let desk = self.desk_of(&request, ask.database.as_deref()).map_err(refused)?;
        let catalogue = desk.database.catalogue();
        let cx = CheckContext {
            catalogue: &catalogue,
            caller: &ask.caller,
            limits: &settings.limits,
            options: &request.options,
        };
        let checked = check_all(&request.operations, &cx);
        Ok(Planned { request, plan, checked, desk })
    }

    /// The database that a batch would have to wait for: it has not been reached yet, and is asked for by name or may have
    /// an entity that no other has.
    fn away_for(&self, request: &BatchRequest, wanted: Option<&str>) -> Option<&Arc<str>> {
        let away = |desk: &&BatchDesk| !desk.database.is_open();
        if let Some(wanted) = wanted {
            return self
                .desks
                .iter()
                .filter(away)
                .map(|desk| desk.database.name())
                .find(|name| ***name == *wanted);
        }
        let first = self.desks.iter().find(away)?.database.name();
        let catalogues: Vec<_> = self.desks.iter().map(|desk| desk.database.catalogue()).collect();
        let known = |name: &str| catalogues.iter().any(|catalogue| has(catalogue, name));
        let all_known = request.operations.iter().all(|operation| known(&operation.entity));
        (!all_known).then_some(first)
    }

    /// The database that has the entities of the batch: one of them for all.
    fn desk_of(&self, request: &BatchRequest, wanted: Option<&str>) -> Result<&BatchDesk, Refusal> {
        if let Some(wanted) = wanted {
            return self.desks.iter().find(|desk| &**desk.database.name() == wanted).ok_or_else(|| {
                one_fault(FaultKind::InvalidRequest, "", format!("there is no database `{wanted}`"))
            });
        }
        let catalogues: Vec<_> = self.desks.iter().map(|desk| desk.database.catalogue()).collect();
        let chosen = choose_database(&catalogues, request)?;
        self.desks.get(chosen).ok_or_else(|| {
            one_fault(FaultKind::InvalidRequest, "", "the server has no database for batches".to_owned())
        })
    }

    /// A place among the batches that a caller may have under way.
    fn take_place(&self, caller: &Caller, instance: &str) -> Result<Option<Place>, NotTaken> {
        if caller.subject.is_empty() {
            // Callers without a subject are not one person; the queue bounds them.
            return Ok(None);
        }
        let who = (Arc::clone(&caller.issuer), Arc::clone(&caller.subject));
        let mut under_way = self.under_way.entry(who.clone()).or_insert(0);
        if *under_way >= self.settings.inflight_per_subject {
            return Err(NotTaken::rejected(
                FaultKind::TooManyRequests,
                "you have as many batches under way as one caller may have; wait for one of them",
                instance,
                1,
            ));
        }
        *under_way += 1;
        Ok(Some(Place { all: Arc::clone(&self.under_way), who }))
    }

    fn draw(&self) -> u64 {
        mixed(self.settings.seed ^ mixed(self.drawn.fetch_add(1, Ordering::Relaxed)))
    }

    fn new_id(&self) -> Arc<str> {
        let moment = self.clock.wall().as_millisecond().max(0).unsigned_abs();
        ulid(moment, (u128::from(self.draw()) << 64) | u128::from(self.draw()))
    }
}

/// Whoever reads the answer; dropped, nobody does.
struct Reader {
    _seat: Seat,
    _place: Option<Place>,
}

/// See [`Inner::take_place`].
struct Place {
    all: Arc<UnderWay>,
    who: (Arc<str>, Arc<str>),
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut under_way) = self.all.get_mut(&self.who) {
            *under_way -= 1;
        }
        self.all.remove_if(&self.who, |_, under_way| *under_way == 0);
    }
}

fn internal(batch_id: &str, instance: &str) -> Answer {
    Problem::new(FaultKind::Internal, format!("tell the operator the batch id {batch_id}"), instance).render()
}

fn one_fault(kind: FaultKind, pointer: &str, detail: String) -> Refusal {
    let fault = Fault { kind, pointer: pointer.to_owned(), detail, operation: None };
    Refusal { faults: vec![fault], status: kind.status() }
}

/// Position of the one database that has every entity that any database has. Entities that nobody has belong to their
/// operation's own failure and choose nothing.
fn choose_database(catalogues: &[Arc<Catalogue>], request: &BatchRequest) -> Result<usize, Refusal> {
    let mut left: Vec<usize> = (0..catalogues.len()).collect();
    let mut earlier = None;
    for operation in &request.operations {
        let having: Vec<usize> =
            (0..catalogues.len()).filter(|at| has(&catalogues[*at], &operation.entity)).collect();
        if having.is_empty() {
            continue;
        }
        let both: Vec<usize> = left.iter().copied().filter(|at| having.contains(at)).collect();
        if both.is_empty() {
            let earlier: &str = earlier.unwrap_or_default();
            let detail = format!(
                "`{earlier}` and `{}` are in different databases; a batch uses one: send two batches",
                operation.entity
            );
            let pointer = format!("/operations/{}/entity", operation.index);
            return Err(one_fault(FaultKind::InvalidRequest, &pointer, detail));
        }
        left = both;
        earlier = Some(&*operation.entity);
    }
    Ok(left.first().copied().unwrap_or(0))
}

fn has(catalogue: &Catalogue, name: &str) -> bool {
    catalogue.entities.contains_key(name) || catalogue.statements.contains_key(name)
}

/// The last line of a stream: the envelope as it is rendered in lines has it as its last; a problem is one by itself.
fn last_line(body: Vec<u8>) -> Vec<u8> {
    let mut text = body.strip_suffix(b"\n").unwrap_or(&body);
    if let Some(end) = text.iter().rposition(|byte| *byte == b'\n') {
        text = &text[end + 1..];
    }
    let mut line = text.to_vec();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_envelope_without_what_came_before_it() {
        assert_eq!(
            last_line(b"{\"batchId\":1}\n{\"id\":2}\n{\"success\":true}\n".to_vec()),
            b"{\"success\":true}\n"
        );
        assert_eq!(last_line(b"{\"type\":1}".to_vec()), b"{\"type\":1}\n");
    }
}
