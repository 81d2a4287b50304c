//! The rate-limiter: whoever wants to call an org asks here first.
//!
//! Promises: no permit is given while the engine is frozen (*frozen*); permits go to the most urgent priority first, and
//! within one in the order of the asks, past those that wait for a probe; a permit that is dropped gives its place back.
//! Whoever would have to wait for minutes is refused with the time at which asking again may help. What the limiter has
//! learnt (quota, rate, calls in flight, breakers) lives in a [`LimiterBook`] outside the actor: a restart costs the queue
//! of asks, and those are asked again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, WrapFuture};
use tokio::sync::{oneshot, watch};

use super::engine::fault::suffer_in_service;
use super::engine::stage::Suspender;
use super::engine::{FaultPoint, Ping, RunState, Service, ServiceRef};
use super::limiter_book::Answer;
pub use super::limiter_book::{Granted, LimiterBook};
use crate::clock::{BoxFuture, SharedClock};
use crate::limiter::Priority;
use crate::messages::AskPermit;
use crate::model::OrgName;
use crate::salesforce::gate::{CallAsk, Gate, GateError, Permit};
use crate::telemetry::Metrics;

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
        let changed = book.watch();
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
                // Those before `passed` wait for something that does not hold up the ones behind them.
                let mut passed = 0;
                while let Some(first) = lane.get(passed) {
                    if first.answer.is_closed() {
                        lane.remove(passed);
                        continue;
                    }
                    match self.book.ask(&first.ask) {
                        Answer::Wait { until, holds_up_all } => {
                            wake = match (wake, until) {
                                (Some(known), Some(until)) => Some(known.min(until)),
                                (known, until) => known.or(until),
                            };
                            if holds_up_all {
                                break 'org;
                            }
                            passed += 1;
                        }
                        Answer::Granted(started_at) => {
                            if let Some(waiter) = lane.remove(passed) {
                                let granted = Granted::new(&self.book, waiter.ask, started_at);
                                // Gone meanwhile: the permit drops and gives its place back.
                                drop(waiter.answer.send(Ok(granted)));
                            }
                        }
                        Answer::Refused(error) => {
                            if let Some(waiter) = lane.remove(passed) {
                                drop(waiter.answer.send(Err(error)));
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
            let sleep = self.book.clock().sleep_until(at);
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
    /// Counts the calls of one job, where several jobs share an org.
    static COUNTED: Arc<AtomicU64>;
}

/// Runs `work` and counts the calls that are granted to it, on this task.
pub async fn counted<F: Future>(calls: Arc<AtomicU64>, work: F) -> F::Output {
    COUNTED.scope(calls, work).await
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
                Ok(granted) => {
                    if granted.is_ok() {
                        // Nobody counts: the call belongs to no job.
                        let _ = COUNTED.try_with(|calls| calls.fetch_add(1, Ordering::Relaxed));
                    }
                    granted.map(|granted| Box::new(granted) as Box<dyn Permit>)
                }
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
