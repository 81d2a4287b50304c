//! The guard: keeps a supervisor alive, from outside every arbiter.
//!
//! A task on the process's own threads starts the supervisor, sees it die, sees its heartbeat go stale, and starts the
//! next. What a supervisor must remember (the restart budget) lives here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::arbiters::ArbiterKind;
use super::core::Core;
use super::incarnation::start_watched;
use super::policy::{RestartBudget, Verdict};
use crate::actors::supervisor::Supervisor;
use crate::telemetry::RestartReason;

/// The restart budget, shared by all incarnations of the supervisor.
#[derive(Clone)]
pub(crate) struct SharedBudget {
    budget: Arc<Mutex<RestartBudget>>,
    pub escalations: prometheus::IntCounter,
}

impl SharedBudget {
    pub fn new(escalations: prometheus::IntCounter) -> Self {
        Self { budget: Arc::default(), escalations }
    }

    pub fn lock(&self) -> MutexGuard<'_, RestartBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs until the engine is closed.
pub(super) async fn guard(core: Arc<Core>, budget: SharedBudget) {
    let mut incarnation: i64 = 0;
    while !core.closed.load(Ordering::Acquire) {
        incarnation += 1;
        core.supervisor_meter.incarnation.set(incarnation);
        core.supervisor_heartbeat.store(now_ms(&core), Ordering::Release);
        let (ended, mut told) = mpsc::channel::<Result<(), String>>(1);
        let (supervised, supervised_budget) = (Arc::clone(&core), budget.clone());
        let (handle, _) = core.arbiters.handle(ArbiterKind::Control);
        handle.spawn_fn(move || {
            start_watched(Supervisor::new(supervised, supervised_budget, incarnation), move |outcome| {
                // Nobody listens any more once the guard has given this incarnation up.
                let _ = ended.try_send(outcome);
            });
        });
        let Some((reason, why)) = watch(&core, &mut told).await else { return };
        tracing::error!(reason = reason.as_str(), why, "the supervisor ended, a new one takes over");
        core.supervisor_meter.restarts(reason).inc();
        let verdict = budget.lock().charge(&core.policy, core.clock.elapsed(), core.chance.next());
        match verdict {
            Verdict::Restart(pause) | Verdict::Degrade(pause) => core.clock.sleep(pause).await,
            Verdict::Leave => return core.leave(70),
        }
    }
}

fn now_ms(core: &Core) -> u64 {
    core.clock.elapsed().as_millis() as u64
}

/// Resolves with how this incarnation ended; `None` once the engine is closed.
async fn watch(
    core: &Arc<Core>,
    told: &mut mpsc::Receiver<Result<(), String>>,
) -> Option<(RestartReason, String)> {
    let timeout = core.policy.handler_timeout;
    loop {
        tokio::select! {
            outcome = told.recv() => {
                if core.closed.load(Ordering::Acquire) {
                    return None;
                }
                let why = outcome.unwrap_or(Ok(())).err();
                let reason = if why.is_some() { RestartReason::Panic } else { RestartReason::Died };
                return Some((reason, why.unwrap_or_else(|| "its actor stopped".to_owned())));
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if core.closed.load(Ordering::Acquire) {
            return None;
        }
        let silent = now_ms(core).saturating_sub(core.supervisor_heartbeat.load(Ordering::Acquire));
        if silent > timeout.as_millis() as u64 {
            if core.arbiters.is_blocked(ArbiterKind::Control, timeout) {
                abandon_control(core);
            }
            return Some((RestartReason::Stuck, format!("no heartbeat within {timeout:?}")));
        }
    }
}

/// The control thread is blocked: its services are rebuilt on a new one.
fn abandon_control(core: &Arc<Core>) {
    let abandoned = core.arbiters.abandon(ArbiterKind::Control);
    tracing::error!(
        abandoned,
        "the control thread is blocked: abandoned, its actors are rebuilt on a new one"
    );
    for host in core.hosts().into_iter().filter(|host| host.arbiter() == ArbiterKind::Control) {
        host.abandon(core);
        host.meter().restarts(RestartReason::Stuck).inc();
        host.start(core);
    }
    if abandoned >= core.policy.abandoned_arbiters_max {
        core.leave(70);
    }
}
