//! The supervisor: sees each actor end, and decides what follows.
//!
//! A retired incarnation is replaced at once. A death without a culprit is charged to the restart budget: repaired after
//! a pause; past the budget the daemon is *degraded* (sources paused, API and metrics up); past it again it leaves with
//! exit code 70. What shows no progress is retired: a handler, a service, or a whole thread, which is then abandoned.
//!
//! The supervisor keeps nothing that matters in itself: events stay in the engine's queue until they are handled, so a
//! supervisor that dies is replaced by its guard (see [`super::engine`]) and the next one goes on. A restart costs nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::engine::arbiters::ArbiterKind;
use super::engine::core::{Core, Event};
use super::engine::fault::suffer_in_service;
use super::engine::policy::{RestartBudget, Verdict};
use super::engine::supervision::SharedBudget;
use crate::telemetry::RestartReason;

/// How often the supervisor looks for what is stuck.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// See the module's promises.
pub(crate) struct Supervisor {
    core: Arc<Core>,
    /// Outlives this incarnation, or a supervisor that dies would forgive every death it had seen.
    budget: SharedBudget,
    /// The guard may have given this one up and started the next: then it must not act any more.
    incarnation: i64,
}

impl Supervisor {
    pub const NAME: &'static str = "supervisor";

    pub fn new(core: Arc<Core>, budget: SharedBudget, incarnation: i64) -> Self {
        Self { core, budget, incarnation }
    }

    fn is_replaced(&self) -> bool {
        self.core.supervisor_meter.incarnation.get() != self.incarnation
    }

    fn wait_for_event(&self, context: &mut Context<Self>) {
        let core = Arc::clone(&self.core);
        let next = async move { core.next_event().await };
        context.spawn(next.into_actor(self).map(|event, supervisor, context| {
            if supervisor.is_replaced() {
                return context.stop();
            }
            supervisor.handle_event(event, context);
            supervisor.core.event_handled();
            supervisor.wait_for_event(context);
        }));
    }

    fn handle_event(&mut self, event: Event, context: &mut Context<Self>) {
        let name = event.host.name();
        if event.host.incarnation() != event.incarnation || self.core.closed.load(Ordering::Acquire) {
            return;
        }
        tracing::warn!(
            actor = name,
            incarnation = event.incarnation,
            reason = event.reason.as_str(),
            detail = event.detail,
            "actor is rebuilt"
        );
        event.host.meter().restarts(event.reason).inc();
        let culprit_known =
            event.host.arbiter() == ArbiterKind::Stages && event.reason != RestartReason::Died;
        if culprit_known || event.reason == RestartReason::Stuck {
            return event.host.start(&self.core);
        }
        let verdict = {
            let mut budget = self.budget.lock();
            RestartBudget::charge(
                &mut budget,
                &self.core.policy,
                self.core.clock.elapsed(),
                self.core.chance.next(),
            )
        };
        match verdict {
            Verdict::Restart(pause) if pause.is_zero() => event.host.start(&self.core),
            Verdict::Restart(pause) => self.restart_after(pause, event, context),
            Verdict::Degrade(pause) => {
                tracing::error!(
                    actor = name,
                    "restart budget overrun: sources are paused, the daemon is degraded"
                );
                self.budget.escalations.inc();
                self.core.change_run_state(|state| state.degraded = true);
                self.restart_after(pause, event, context);
            }
            Verdict::Leave => {
                tracing::error!(
                    actor = name,
                    "restart budget overrun again: leaving, to be restarted and to replay the journal"
                );
                self.budget.escalations.inc();
                self.core.leave(70);
            }
        }
    }

    fn restart_after(&mut self, pause: Duration, event: Event, context: &mut Context<Self>) {
        let sleep = self.core.clock.sleep(pause);
        context.spawn(sleep.into_actor(self).map(move |(), supervisor, _context| {
            if event.host.incarnation() == event.incarnation {
                event.host.start(&supervisor.core);
            }
            supervisor.core.change_run_state(|state| state.degraded = false);
        }));
    }

    fn watch(&mut self, context: &mut Context<Self>) {
        if self.is_replaced() {
            return context.stop();
        }
        suffer_in_service(self.core.faults.strike(Self::NAME), context);
        let now = self.core.clock.elapsed();
        self.core.supervisor_heartbeat.store(now.as_millis() as u64, Ordering::Release);
        if self.core.arbiters.is_blocked(ArbiterKind::Stages, self.core.policy.handler_timeout) {
            return self.abandon_stages();
        }
        for host in self.core.hosts() {
            host.retire_stuck(&self.core, now);
        }
    }

    fn abandon_stages(&mut self) {
        let abandoned = self.core.arbiters.abandon(ArbiterKind::Stages);
        tracing::error!(
            abandoned,
            "the stages' thread is blocked: abandoned, its actors are rebuilt on a new one"
        );
        for host in self.core.hosts().into_iter().filter(|host| host.arbiter() == ArbiterKind::Stages) {
            host.abandon(&self.core);
            host.meter().restarts(RestartReason::Stuck).inc();
            host.start(&self.core);
        }
        if abandoned >= self.core.policy.abandoned_arbiters_max {
            tracing::error!(
                abandoned,
                "too many blocked threads: leaving, to be restarted and to replay the journal"
            );
            self.core.leave(70);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.core.supervisor_heartbeat.store(self.core.clock.elapsed().as_millis() as u64, Ordering::Release);
        context.run_interval(WATCH_EVERY, |supervisor, context| supervisor.watch(context));
        self.wait_for_event(context);
    }
}
