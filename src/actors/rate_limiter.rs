//! The rate-limiter: whoever wants to call an org asks here first.
//!
//! Promises: no permit is given while the engine is frozen (*frozen*); permits go to the most urgent priority first, and
//! within one in the order of the asks; a permit that is dropped gives its place back. What the limiter has learnt (quota,
//! rate, calls in flight) lives in a [`LimiterBook`] outside the actor: a restart costs the queue of asks, and those are
//! asked again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, WrapFuture};
use tokio::sync::{oneshot, watch};

use super::engine::fault::suffer_in_service;
use super::engine::stage::Suspender;
use super::engine::{FaultPoint, Ping, RunState, Service, ServiceRef};
use crate::clock::{BoxFuture, SharedClock};
use crate::limiter::{self, CallSeen, LimitProfile, Limiter, LimiterSnapshot, Priority, Verdict};
use crate::messages::AskPermit;
use crate::model::OrgName;
use crate::salesforce::gate::{CallAsk, CallReport, Gate, GateError, Permit};
use crate::telemetry::Metrics;

/// The limiters of all orgs, and who wants to know when a call has ended.
pub struct LimiterBook {
    clock: SharedClock,
    metrics: Metrics,
    limiters: Mutex<BTreeMap<OrgName, Limiter>>,
    changed: watch::Sender<()>,
}

impl std::fmt::Debug for LimiterBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimiterBook").finish_non_exhaustive()
    }
}

impl LimiterBook {
    /// A book for these orgs.
    pub fn new(
        clock: SharedClock,
        metrics: Metrics,
        orgs: impl IntoIterator<Item = (OrgName, LimitProfile)>,
    ) -> Arc<Self> {
        let now = clock.elapsed();
        let limiters =
            orgs.into_iter().map(|(org, profile)| (org, Limiter::starting_at(now, profile))).collect();
        Arc::new(Self { clock, metrics, limiters: Mutex::new(limiters), changed: watch::Sender::new(()) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<OrgName, Limiter>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a changed profile of an org.
    pub fn set_profile(&self, org: &OrgName, profile: LimitProfile) {
        let now = self.clock.elapsed();
        if let Some(limiter) = self.lock().get_mut(org) {
            limiter.set_profile(now, profile);
        }
        self.changed.send_replace(());
    }

    /// Figures of every org.
    pub fn snapshot(&self) -> BTreeMap<OrgName, LimiterSnapshot> {
        self.lock().iter().map(|(org, limiter)| (org.clone(), limiter.snapshot())).collect()
    }

    fn ask(&self, ask: &CallAsk) -> Verdict {
        let now = self.clock.elapsed();
        match self.lock().get_mut(&ask.org) {
            Some(limiter) => limiter.ask(now, &ask.for_limiter()),
            // An org that no config names has no budget; only tests come here.
            None => Verdict::Grant,
        }
    }

    fn end(&self, ask: &CallAsk, seen: Option<&CallSeen>) {
        let now = self.clock.elapsed();
        if let Some(limiter) = self.lock().get_mut(&ask.org) {
            if let Some(seen) = seen {
                limiter.observe(now, seen);
            }
            limiter.finished(&ask.for_limiter());
        }
        self.changed.send_replace(());
    }

    /// Sets the quota gauges from the org that is nearest to its limit.
    pub fn refresh_gauges(&self) {
        let mut nearest: Option<limiter::QuotaSeen> = None;
        let mut room = 0.0;
        for snapshot in self.snapshot().into_values() {
            room += f64::from(snapshot.concurrency_limit.saturating_sub(snapshot.in_flight));
            if let Some(quota) = snapshot.quota {
                let ratio = |quota: &limiter::QuotaSeen| quota.used as f64 / quota.limit.max(1) as f64;
                if nearest.as_ref().is_none_or(|known| ratio(known) < ratio(&quota)) {
                    nearest = Some(quota);
                }
            }
        }
        if let Some(quota) = nearest {
            let used = quota.used as f64 / quota.limit.max(1) as f64;
            self.metrics.org_quota_used_ratio.with_label_values(&["daily_api_requests"]).set(used);
            let left = quota.limit.saturating_sub(quota.used) as f64;
            self.metrics.org_quota_remaining.with_label_values(&["daily_api_requests"]).set(left);
        }
        for api in crate::telemetry::metrics::ORG_APIS {
            self.metrics.rate_limit_permits.with_label_values(&[api]).set(room);
        }
    }
}

/// The right to make one call.
pub struct Granted {
    book: Arc<LimiterBook>,
    ask: CallAsk,
    started_at: Duration,
    settled: bool,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("ask", &self.ask).finish_non_exhaustive()
    }
}

impl Permit for Granted {
    fn settle(mut self: Box<Self>, report: CallReport) {
        self.settled = true;
        let (api, outcome) = (self.ask.api.as_str(), report.outcome.label());
        self.book.metrics.org_requests_total.with_label_values(&[api, outcome]).inc();
        self.book.metrics.org_request_seconds.with_label_values(&[api]).observe(report.elapsed.as_secs_f64());
        let seen = CallSeen {
            started_at: self.started_at,
            outcome: report.outcome,
            quota: report.quota,
            retry_after: report.retry_after,
        };
        self.book.end(&self.ask, Some(&seen));
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.settled {
            self.book.end(&self.ask, None);
        }
    }
}

struct Waiter {
    ask: CallAsk,
    answer: oneshot::Sender<Result<Granted, GateError>>,
}

/// See the module's promises.
pub struct RateLimiter {
    book: Arc<LimiterBook>,
    run: watch::Receiver<RunState>,
    faults: Arc<dyn FaultPoint>,
    waiting: BTreeMap<OrgName, [VecDeque<Waiter>; 3]>,
    timer: Option<SpawnHandle>,
    changed: watch::Receiver<()>,
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// A limiter that grants out of `book` while `run` is not paused.
    pub fn new(book: Arc<LimiterBook>, run: watch::Receiver<RunState>, faults: Arc<dyn FaultPoint>) -> Self {
        let changed = book.changed.subscribe();
        Self { book, run, faults, waiting: BTreeMap::new(), timer: None, changed }
    }

    /// Grants what may go now, and sets the timer for what may go later.
    fn serve(&mut self, context: &mut Context<Self>) {
        if self.run.borrow().paused {
            return;
        }
        let mut wake: Option<Duration> = None;
        for lanes in self.waiting.values_mut() {
            'org: for lane in lanes.iter_mut() {
                while let Some(first) = lane.front() {
                    if first.answer.is_closed() {
                        lane.pop_front();
                        continue;
                    }
                    match self.book.ask(&first.ask) {
                        Verdict::Wait { until, .. } => {
                            wake = match (wake, until) {
                                (Some(known), Some(until)) => Some(known.min(until)),
                                (known, until) => known.or(until),
                            };
                            // A quota share belongs to one priority; the other gates hold up everybody.
                            break 'org;
                        }
                        Verdict::Grant => {
                            if let Some(waiter) = lane.pop_front() {
                                let started_at = self.book.clock.elapsed();
                                let book = Arc::clone(&self.book);
                                let granted = Granted { book, ask: waiter.ask, started_at, settled: false };
                                // Gone meanwhile: the permit drops and gives its place back.
                                drop(waiter.answer.send(Ok(granted)));
                            }
                        }
                        Verdict::Refuse { retry_at, .. } => {
                            if let Some(waiter) = lane.pop_front() {
                                let retry_after = retry_at.saturating_sub(self.book.clock.elapsed());
                                let org = waiter.ask.org.clone();
                                drop(waiter.answer.send(Err(GateError::QuotaSpent { org, retry_after })));
                            }
                        }
                    }
                }
            }
        }
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        if let Some(at) = wake {
            let sleep = self.book.clock.sleep_until(at);
            let woken = sleep.into_actor(self).map(|(), limiter: &mut Self, context| {
                limiter.timer = None;
                limiter.serve(context);
            });
            self.timer = Some(context.spawn(woken));
        }
    }

    /// Serves again after each ended call and each change of the run state.
    fn follow(&self, context: &mut Context<Self>) {
        let (mut ended, mut run) = (self.changed.clone(), self.run.clone());
        let changed = async move {
            let alive = tokio::select! {
                alive = ended.changed() => alive.is_ok(),
                alive = run.changed() => alive.is_ok(),
            };
            (alive, ended, run)
        };
        context.spawn(changed.into_actor(self).map(|(alive, ended, run), limiter, context| {
            (limiter.changed, limiter.run) = (ended, run);
            limiter.serve(context);
            if alive {
                limiter.follow(context);
            }
        }));
    }
}

impl Actor for RateLimiter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(256);
        self.follow(context);
    }
}

impl Service for RateLimiter {
    const NAME: &'static str = "rate_limiter";
}

impl Handler<Ping> for RateLimiter {
    type Result = ();

    fn handle(&mut self, _message: Ping, _context: &mut Self::Context) {}
}

impl Handler<AskPermit> for RateLimiter {
    type Result = ResponseFuture<Result<Granted, GateError>>;

    fn handle(&mut self, AskPermit(ask): AskPermit, context: &mut Self::Context) -> Self::Result {
        suffer_in_service(self.faults.strike(Self::NAME), context);
        let (answer, answered) = oneshot::channel();
        let lanes = self.waiting.entry(ask.org.clone()).or_default();
        lanes[ask.priority.index()].push_back(Waiter { ask, answer });
        self.serve(context);
        // The waiter is dropped only with the actor, whose end the asker sees for itself.
        Box::pin(async move { answered.await.unwrap_or(Err(GateError::Stopped)) })
    }
}

tokio::task_local! {
    /// The handler on whose behalf a call is made: its timeout does not run while it waits for a permit.
    static ON_BEHALF: Suspender;
}

/// Runs `work`, whose calls to the org are made on behalf of a stage's handler.
pub async fn on_behalf<F: Future>(handler: Suspender, work: F) -> F::Output {
    ON_BEHALF.scope(handler, work).await
}

/// The org client's gate: asks the rate-limiter, whichever incarnation lives.
#[derive(Debug, Clone)]
pub struct LimiterGate {
    limiter: ServiceRef<RateLimiter>,
    clock: SharedClockHandle,
    metrics: Metrics,
}

#[derive(Clone)]
struct SharedClockHandle(SharedClock);

impl std::fmt::Debug for SharedClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

impl LimiterGate {
    /// A gate in front of `limiter`.
    pub fn new(limiter: ServiceRef<RateLimiter>, clock: SharedClock, metrics: Metrics) -> Self {
        Self { limiter, clock: SharedClockHandle(clock), metrics }
    }
}

impl Gate for LimiterGate {
    fn permit(&self, ask: CallAsk) -> BoxFuture<'_, Result<Box<dyn Permit>, GateError>> {
        Box::pin(async move {
            let _waiting = ON_BEHALF.try_with(Suspender::suspend).ok();
            let asked_at = self.clock.0.elapsed();
            let answer = self.limiter.ask(AskPermit(ask)).await;
            let waited = self.clock.0.elapsed().saturating_sub(asked_at);
            self.metrics.org_throttle_wait_seconds_total.inc_by(waited.as_secs_f64());
            match answer {
                Ok(granted) => granted.map(|granted| Box::new(granted) as Box<dyn Permit>),
                Err(_closed) => Err(GateError::Stopped),
            }
        })
    }
}

/// Whole-org work is bulk; what a person asked for is interactive.
pub fn priority_of(lane: crate::messages::Lane) -> Priority {
    match lane {
        crate::messages::Lane::Interactive => Priority::Interactive,
        crate::messages::Lane::Normal => Priority::Normal,
        crate::messages::Lane::Bulk => Priority::Bulk,
    }
}
