//! A slot: lease, run, put downstream, ack, for ever.
//!
//! Promises (*conservation*): whatever `run` does (answer, fail, panic, hang), the item is resolved exactly once: acked
//! after its outputs were accepted, given back, or kept as a dead letter. (*culprit-only*) A panic charges the item that
//! was in hand; the members of a batch whose culprit is unknown are tried again one by one, free of charge.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::Instrument;

use super::core::Core;
use super::dead_letter::DeadLetter;
use super::fault::{Fault, suffer};
use super::incarnation::{Retirement, panic_text};
use super::journal::JournalError;
use super::mailbox::{Lease, LeaseAsk, Nack, TryLease, TryPut};
use super::policy::backoff;
use super::stage::{BatchStage, Output, Seal, SlotTools, Stage, StageCx, StageError};
use super::stage_host::StageHost;
use super::turn::Turn;
use crate::messages::{Envelope, Item, when_traced};
use crate::telemetry::{MessageOutcome, RedeliveryReason, RestartReason};

mod delivery;

pub(super) use delivery::Rest;

/// What a slot works with besides its stage.
pub(super) struct SlotEnv<W: Work> {
    pub host: Arc<StageHost<W>>,
    pub core: Arc<Core>,
    pub tools: Rc<SlotTools>,
    pub number: u64,
    pub retirement: Arc<Retirement>,
    pub turn: Turn<W::In>,
}

/// Either kind of stage, as the host sees it.
pub(super) trait Work: Sized + 'static {
    type In: Item;
    type Out: Item;
    const NAME: &'static str;

    /// The loop of one slot; returns when its incarnation is retired or the mailbox closed.
    fn slot(work: Rc<Self>, env: SlotEnv<Self>) -> impl Future<Output = ()>;
}

/// A [`Stage`] as work.
pub(super) struct Single<S>(pub S);

/// A [`BatchStage`] as work.
pub(super) struct Batched<S> {
    pub stage: S,
    pub seal: Seal,
}

/// How a handler ended.
enum Ended<T> {
    Answered(Result<Output<T>, StageError>),
    Panicked(String),
}

/// What became of an item whose handler has ended.
enum Passed<W: Work> {
    /// Settled; with it the next lease, if one was ready.
    On(Option<Lease<W::In>>),
    /// It could not be settled without waiting.
    Not(Unsettled<W>),
}

/// What could not be settled without waiting.
enum Unsettled<W: Work> {
    /// Not a single output.
    Ended(Lease<W::In>, Ended<W::Out>),
    /// The mailbox downstream is full; the delivery has begun.
    Full(Lease<W::In>, Envelope<W::Out>),
}

impl<S: Stage> Work for Single<S> {
    type In = S::In;
    type Out = S::Out;
    const NAME: &'static str = S::NAME;

    async fn slot(work: Rc<Self>, env: SlotEnv<Self>) {
        let (mut next, mut now) = (None, None);
        loop {
            let lease = match next.take() {
                Some(lease) => lease,
                None => match env.next(now.take()).await {
                    Some(lease) => lease,
                    None => return,
                },
            };
            env.turn.waited(lease.waited());
            if env.is_inadmissible(&lease) {
                env.turn.end();
                env.turn_away(lease).await;
            } else {
                let item = Arc::clone(&lease.envelope().item);
                let cx = env.begin(&lease, lease.leased_at());
                let (ended, at) = env.guarded(&lease, lease.leased_at(), work.0.run(item, &cx)).await;
                env.tools.board.end();
                match env.pass_on(lease, cx, ended, at) {
                    Passed::On(leased) => {
                        // Nothing was waited for: it is still as late as it was at the handler's end.
                        (next, now) = (leased, Some(at));
                        env.turn.goes_on();
                    }
                    Passed::Not(unsettled) => {
                        env.turn.end();
                        env.settle(unsettled).await;
                    }
                }
            }
            // With one in hand there is budget left, and the next line does not wait.
            if next.is_none() && !tokio::task::coop::has_budget_remaining() {
                env.turn.end();
            }
            // A line whose stages never wait would otherwise keep its thread to one of them.
            tokio::task::coop::consume_budget().await;
        }
    }
}

impl<S: BatchStage> Work for Batched<S> {
    type In = S::In;
    type Out = S::Out;
    const NAME: &'static str = S::NAME;

    async fn slot(work: Rc<Self>, env: SlotEnv<Self>) {
        while let Some(first) = env.next(None).await {
            env.turn.waited(first.waited());
            env.turn.end();
            let Some(first) = env.admissible(first).await else { continue };
            let leases = env.seal(first, work.seal).await;
            let Some(head) = leases.first() else { continue };
            let members = leases.iter().map(|lease| Arc::clone(&lease.envelope().item)).collect();
            let now = env.core.clock.elapsed();
            let cx = env.begin(head, now);
            let (ended, _at) = env.guarded(head, now, work.stage.run(members, &cx)).await;
            env.tools.board.end();
            env.settle_batch(leases, ended).await;
            env.turn.end();
            tokio::task::coop::consume_budget().await;
        }
    }
}

impl<W: Work> SlotEnv<W> {
    /// The next lease, at `now` if the clock has just been read; `None` when this slot has ended.
    async fn next(&self, now: Option<Duration>) -> Option<Lease<W::In>> {
        if self.retirement.is_retired() {
            return None;
        }
        match self.host.inbox.try_lease(self.number, LeaseAsk { now, ..LeaseAsk::ANY }) {
            TryLease::Leased(lease) => Some(lease),
            TryLease::Unfit | TryLease::Empty => {
                self.turn.end();
                tokio::select! {
                    biased;
                    () = self.retirement.wait() => None,
                    lease = self.host.inbox.lease(self.number) => lease.ok(),
                }
            }
        }
    }

    /// An item whose job was cancelled, or whose attempts a hung handler has spent.
    fn is_inadmissible(&self, lease: &Lease<W::In>) -> bool {
        let envelope = lease.envelope();
        envelope.job().is_cancelled() || envelope.header().attempt >= self.core.policy.attempts_per_item
    }

    async fn admissible(&self, lease: Lease<W::In>) -> Option<Lease<W::In>> {
        if self.is_inadmissible(&lease) {
            self.turn_away(lease).await;
            return None;
        }
        Some(lease)
    }

    async fn turn_away(&self, lease: Lease<W::In>) {
        let job = Arc::clone(lease.envelope().job());
        if !job.is_cancelled() {
            let attempts = lease.envelope().header().attempt;
            let why = format!("gave up: its handler hung or lost its thread {attempts} times");
            return self.bury(lease, why).await;
        }
        if lease.ack() {
            job.dropped();
            self.host.meter.messages(MessageOutcome::Cancelled).inc();
        }
    }

    /// Adds members to a batch until it is full, too old, or the next one does not fit.
    async fn seal(&self, first: Lease<W::In>, seal: Seal) -> Vec<Lease<W::In>> {
        let opened = self.core.clock.elapsed();
        let mut bytes = u64::from(first.envelope().bytes);
        let mut leases = vec![first];
        while leases.len() < seal.items && bytes < seal.bytes && !leases[0].envelope().header().alone {
            let joining = Some(leases[0].envelope().job().serial());
            let ask = LeaseAsk { bytes_max: seal.bytes - bytes, joining, now: None };
            match self.host.inbox.try_lease(self.number, ask) {
                TryLease::Leased(lease) => {
                    if let Some(lease) = self.admissible(lease).await {
                        bytes += u64::from(lease.envelope().bytes);
                        leases.push(lease);
                    }
                }
                TryLease::Unfit => break,
                TryLease::Empty => {
                    let close_at = opened + seal.age;
                    if self.retirement.is_retired() || self.core.clock.elapsed() >= close_at {
                        break;
                    }
                    tokio::select! {
                        () = self.host.inbox.arrival() => {}
                        () = self.core.clock.sleep_until(close_at) => {}
                        () = self.retirement.wait() => {}
                    }
                }
            }
        }
        leases
    }

    fn begin(&self, lease: &Lease<W::In>, now: Duration) -> StageCx {
        self.tools.board.begin(lease.id(), now);
        StageCx { waybill: Arc::clone(&lease.envelope().waybill), tools: Rc::clone(&self.tools) }
    }

    /// Runs a handler so that its panic is ours to see, within the item's span. Also says when it ended.
    async fn guarded(
        &self,
        lease: &Lease<W::In>,
        started: Duration,
        run: impl Future<Output = Result<Output<W::Out>, StageError>>,
    ) -> (Ended<W::Out>, Duration) {
        let waybill = &lease.envelope().waybill;
        let hop = when_traced(|| {
            tracing::debug_span!(
                parent: &waybill.span,
                "hop",
                actor = W::NAME,
                attempt = waybill.header.attempt,
                incarnation = self.number
            )
        });
        let run = async {
            match self.core.faults.strike(W::NAME) {
                Fault::None => {}
                fault => suffer(fault).await,
            }
            // Nearly always nobody listens to this span, and entering one costs about a tenth of a hop.
            if hop.is_disabled() { run.await } else { run.instrument(hop).await }
        };
        let mut run = std::pin::pin!(AssertUnwindSafe(run).catch_unwind());
        let ended = poll_fn(|context| {
            let polled = run.as_mut().poll(context);
            if polled.is_pending() {
                self.turn.end();
            }
            polled
        });
        let ended = match ended.await {
            Ok(answer) => Ended::Answered(answer),
            Err(panic) => Ended::Panicked(panic_text(&*panic)),
        };
        let at = self.core.clock.elapsed();
        self.turn.handled(at.saturating_sub(started));
        (ended, at)
    }

    /// Settles the one case that nearly all items are: one output, or none, and room for it. Whatever must wait, or is
    /// anything else, is handed back to be settled at leisure.
    fn pass_on(&self, lease: Lease<W::In>, cx: StageCx, ended: Ended<W::Out>, now: Duration) -> Passed<W> {
        let content = match ended {
            Ended::Answered(Ok(Output::One(content))) => Some(content),
            Ended::Answered(Ok(Output::None)) => None,
            ended => return Passed::Not(Unsettled::Ended(lease, ended)),
        };
        if !lease.begin_delivery() {
            self.host.meter.messages(MessageOutcome::Fenced).inc();
            return Passed::On(None);
        }
        let Some(content) = content else {
            let (acked, next) = self.ack_and_lease(lease, now);
            if acked {
                // At once: whoever learns that the job has run dry finds every item counted.
                self.host.meter.messages(MessageOutcome::Done).inc();
                cx.waybill.job.acked(true);
            }
            return Passed::On(next);
        };
        let child = Envelope::follow(cx.waybill, content);
        // The child is counted in its parent's stead, so the job's count stays as it is.
        match self.host.outlet.try_put_at(child, now) {
            TryPut::Taken => {}
            // The engine is leaving, and the journal will replay.
            TryPut::Closed(_) => return Passed::On(None),
            TryPut::Full(child) => return Passed::Not(Unsettled::Full(lease, child)),
        }
        let (acked, next) = self.ack_and_lease(lease, now);
        if acked {
            self.turn.passed_on();
        }
        Passed::On(next)
    }

    /// Acks, and leases the next item if this slot may go on to it without waiting. False when fenced.
    fn ack_and_lease(&self, done: Lease<W::In>, now: Duration) -> (bool, Option<Lease<W::In>>) {
        let goes_on = tokio::task::coop::has_budget_remaining() && !self.retirement.is_retired();
        let (acked, next) = if goes_on {
            let ask = LeaseAsk { now: Some(now), ..LeaseAsk::ANY };
            self.host.inbox.ack_and_lease(done, self.number, ask)
        } else {
            (done.ack_within_turn(), TryLease::Empty)
        };
        if !acked {
            self.host.meter.messages(MessageOutcome::Fenced).inc();
        }
        let next = match next {
            TryLease::Leased(lease) => Some(lease),
            TryLease::Unfit | TryLease::Empty => None,
        };
        (acked, next)
    }

    /// Settles what [`SlotEnv::pass_on`] could not.
    async fn settle(&self, unsettled: Unsettled<W>) {
        match unsettled {
            Unsettled::Ended(lease, ended) => self.settle_one(lease, ended).await,
            Unsettled::Full(lease, child) => {
                let job = Arc::clone(lease.envelope().job());
                job.expect(1);
                self.deliver_slowly(vec![lease], VecDeque::from([child]), job).await;
            }
        }
    }

    async fn settle_one(&self, lease: Lease<W::In>, ended: Ended<W::Out>) {
        match ended {
            Ended::Answered(Ok(output)) => self.deliver(vec![lease], output).await,
            Ended::Answered(Err(error)) => self.fail(lease, error, RedeliveryReason::Retry).await,
            Ended::Panicked(text) => {
                let why = format!("panicked: {text}");
                self.retire_over(&lease, &why);
                let error = StageError::Retry { after: Some(Duration::ZERO), why };
                self.fail(lease, error, RedeliveryReason::Panic).await;
            }
        }
    }

    async fn settle_batch(&self, leases: Vec<Lease<W::In>>, ended: Ended<W::Out>) {
        let (error, names_culprit, reason) = match ended {
            Ended::Answered(Ok(output)) => return self.deliver(leases, output).await,
            Ended::Answered(Err(error @ StageError::Fatal { .. })) => (error, false, RedeliveryReason::Retry),
            Ended::Answered(Err(error)) => (error, true, RedeliveryReason::Retry),
            Ended::Panicked(text) => {
                let why = format!("panicked: {text}");
                if let Some(head) = leases.first() {
                    self.retire_over(head, &why);
                }
                (StageError::Retry { after: Some(Duration::ZERO), why }, false, RedeliveryReason::Panic)
            }
        };
        let split = leases.len() > 1 && !names_culprit;
        for lease in leases {
            if split {
                self.give_back(lease, Nack { alone: true, ..Nack::FREE }, RedeliveryReason::Bystander);
            } else {
                self.fail(lease, error.clone(), reason).await;
            }
        }
    }

    fn retire_over(&self, lease: &Lease<W::In>, why: &str) {
        let header = lease.envelope().header();
        tracing::warn!(actor = W::NAME, job = %header.job, item = %header.item, why, "handler panicked, the actor is rebuilt");
        self.host.retire(&self.core, self.number, RestartReason::Panic, why.to_owned());
    }

    async fn fail(&self, lease: Lease<W::In>, error: StageError, reason: RedeliveryReason) {
        let failures = lease.envelope().header().attempt + 1;
        match error {
            StageError::Throttled { after, .. } => {
                let nack = Nack { after, charge: false, alone: false };
                self.give_back(lease, nack, RedeliveryReason::Throttled);
            }
            StageError::Retry { after, why } if failures < self.core.policy.attempts_per_item => {
                let after = after.unwrap_or_else(|| {
                    backoff(&self.core.policy, failures as usize, self.core.chance.next())
                });
                let header = lease.envelope().header();
                tracing::debug!(actor = W::NAME, item = %header.item, failures, ?after, why, "item failed, to be tried again");
                self.give_back(lease, Nack { after, charge: true, alone: false }, reason);
            }
            StageError::Retry { why, .. } | StageError::Fatal { why } => self.bury(lease, why).await,
        }
    }

    fn give_back(&self, lease: Lease<W::In>, nack: Nack, reason: RedeliveryReason) {
        if lease.nack(nack) {
            self.host.meter.redeliveries(reason).inc();
            self.host.meter.messages(MessageOutcome::Retried).inc();
        } else {
            self.host.meter.messages(MessageOutcome::Fenced).inc();
        }
    }

    /// Keeps the item as a dead letter; if the journal cannot, the item goes back and nothing is lost.
    async fn bury(&self, lease: Lease<W::In>, why: String) {
        const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(1);
        if !lease.begin_delivery() {
            return self.host.meter.messages(MessageOutcome::Fenced).inc();
        }
        let envelope = lease.envelope();
        let header = envelope.header().clone();
        let job = Arc::clone(envelope.job());
        let kept = match serde_json::to_value(&*envelope.item) {
            Err(error) => Err(JournalError::Failed(error.to_string())),
            Ok(item) => {
                let letter = DeadLetter {
                    number: 0,
                    actor: W::NAME.to_owned(),
                    header: header.clone(),
                    attempts: header.attempt + 1,
                    error: why.clone(),
                    at: self.core.clock.wall(),
                    item,
                };
                self.core.dead_letters.keep(letter).await
            }
        };
        match kept {
            Ok(number) => {
                tracing::error!(actor = W::NAME, job = %header.job, item = %header.item, number, why, "item given up, kept as a dead letter");
                if lease.dead() {
                    self.host.meter.messages(MessageOutcome::Dead).inc();
                    self.host.meter.dead_letters.inc();
                    job.died();
                }
            }
            Err(error) => {
                tracing::error!(actor = W::NAME, item = %header.item, %error, "dead letter cannot be kept, the item waits");
                let nack = Nack { after: WHILE_DISK_IS_FULL, ..Nack::FREE };
                self.give_back(lease, nack, RedeliveryReason::Throttled);
            }
        }
    }
}
