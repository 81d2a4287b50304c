//! The gate before a model's endpoint: whoever wants to ask a question waits here.
//!
//! Promises: no question is asked while the engine is frozen (*frozen*); questions go in the order in which they came; a
//! permit that is dropped gives its place back. What was learnt of the endpoint's limits lives here, outside of every
//! incarnation of an actor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::engine::RunState;
use crate::clock::SharedClock;
use crate::leads::ModelSettings;
use crate::limiter::model::{
    ModelCallSeen, ModelLimiter, ModelLimiterSnapshot, ModelLimits, ModelPermit, ModelVerdict, ModelWait,
};

/// See the module's promises. Clones are the same gate.
#[derive(Clone)]
pub struct ModelGate {
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    run: watch::Receiver<RunState>,
    limiter: Mutex<ModelLimiter>,
    /// Told whenever a question has ended.
    ended: watch::Sender<()>,
    /// Whoever holds it is the next to go.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for ModelGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelGate").finish_non_exhaustive()
    }
}

impl ModelGate {
    /// A gate that has seen nothing yet.
    pub fn new(settings: &ModelSettings, clock: SharedClock, run: watch::Receiver<RunState>) -> Self {
        let limits = ModelLimits {
            requests_per_minute: settings.requests_per_minute,
            tokens_per_minute: settings.tokens_per_minute,
            concurrency: settings.concurrency,
        };
        let limiter = Mutex::new(ModelLimiter::starting_at(clock.elapsed(), limits));
        let shared = Shared { clock, run, limiter, ended: watch::Sender::new(()), turn: Default::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Resolves once a question of about so many tokens, its longest answer included, may go.
    pub async fn permit(&self, tokens: u64) -> ModelGrant {
        let shared = &self.shared;
        let _turn = shared.turn.lock().await;
        let (mut ended, mut run) = (shared.ended.subscribe(), shared.run.clone());
        loop {
            ended.borrow_and_update();
            if run.borrow_and_update().paused {
                // A gate whose engine is gone lets nobody pass.
                if run.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            let verdict = shared.lock().ask(shared.clock.elapsed(), tokens);
            match verdict {
                ModelVerdict::Grant(permit) => {
                    return ModelGrant { shared: Arc::clone(shared), permit: Some(permit) };
                }
                ModelVerdict::Wait { until, .. } => {
                    let time = async {
                        match until {
                            Some(at) => shared.clock.sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = time => {}
                        _ = ended.changed() => {}
                        _ = run.changed() => {}
                    }
                }
            }
        }
    }

    /// Resolves once the engine is not frozen: for what is asked of the endpoint beside questions.
    pub async fn open(&self) {
        let mut run = self.shared.run.clone();
        if run.wait_for(|state| !state.paused).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Figures for status and metrics.
    pub fn snapshot(&self) -> ModelLimiterSnapshot {
        let now = self.shared.clock.elapsed();
        self.shared.lock().snapshot(now)
    }

    /// What questions wait for, in words, when it is more than their turn.
    pub fn waits_for(&self) -> Option<String> {
        let now = self.shared.clock.elapsed();
        let snapshot = self.shared.lock().snapshot(now);
        let (until, why) = (snapshot.paused_until?, snapshot.paused_for?);
        let secs = until.saturating_sub(now).as_secs() + 1;
        let what = match why {
            ModelWait::QuotaSpent => "the account's quota is spent; add credit or raise its limit",
            ModelWait::Failing => "it fails again and again",
            _ => "it is asked more than it allows",
        };
        Some(format!("waiting for the model endpoint: {what}, next try in {secs} s"))
    }

    /// The clock that permits are timed by.
    pub(super) fn clock(&self) -> &SharedClock {
        &self.shared.clock
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ModelLimiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to ask one question. Dropped, it gives its place back.
pub struct ModelGrant {
    shared: Arc<Shared>,
    permit: Option<ModelPermit>,
}

impl std::fmt::Debug for ModelGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelGrant").finish_non_exhaustive()
    }
}

impl ModelGrant {
    /// The question has ended so.
    pub fn settle(mut self, seen: &ModelCallSeen) {
        if let Some(permit) = self.permit.take() {
            let now: Duration = self.shared.clock.elapsed();
            self.shared.lock().settle(now, permit, seen);
            self.shared.ended.send_replace(());
        }
    }
}

impl Drop for ModelGrant {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.shared.lock().cancel(permit);
            self.shared.ended.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::leads::Price;
    use crate::leads::settings::ModelMode;
    use std::num::NonZeroU32;

    fn settings(concurrency: u32) -> ModelSettings {
        let one = |number| NonZeroU32::new(number).unwrap();
        ModelSettings {
            base_url: String::new(),
            api_key: None,
            model: String::new(),
            mode: ModelMode::Direct,
            temperature: 0.0,
            max_completion_tokens: 1,
            schema_bounds: false,
            timeout: Duration::from_secs(1),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: one(concurrency),
            attempts: one(1),
            price: Price::default(),
            max_cost: None,
            batch_poll: Duration::from_secs(1),
            ca_file: None,
        }
    }

    #[tokio::test]
    async fn frozen_no_question_goes_while_the_line_is_paused() {
        let (sender, run) = watch::channel(RunState { paused: true, ..RunState::default() });
        let gate = ModelGate::new(&settings(1), ManualClock::new(), run);
        let asked = tokio::spawn({
            let gate = gate.clone();
            async move { gate.permit(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!asked.is_finished());
        sender.send_modify(|state| state.paused = false);
        drop(asked.await.unwrap());
    }

    #[tokio::test]
    async fn a_place_is_free_again_however_its_question_ends() {
        let (_sender, run) = watch::channel(RunState::default());
        let clock = ManualClock::new();
        let gate = ModelGate::new(&settings(1), clock.clone(), run);
        let first = gate.permit(1).await;
        let asked = tokio::spawn({
            let gate = gate.clone();
            async move { gate.permit(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!asked.is_finished(), "one at a time");
        drop(first);
        drop(asked.await.unwrap());
        assert_eq!((gate.snapshot().in_flight, clock.elapsed()), (0, Duration::ZERO));
    }
}
