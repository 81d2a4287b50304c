//! Services: actors that stages ask and await, such as the rate-limiter and the cache. Not stages, but supervised alike.
//!
//! Promises: an ask that meets a dead service waits for its next incarnation and asks again, so a caller never sees a
//! restart. A service that does not answer pings is replaced. What a service must not lose lives outside of it.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::{MessageResponse, ToEnvelope};
use actix::{Actor, Addr, Context, Handler, Message};
use tokio::sync::watch;

use super::arbiters::ArbiterKind;
use super::core::{Core, Event, Host};
use super::dead_letter::DeadLetter;
use super::incarnation::{Ping, answers, panic_text, start_watched};
use super::mailbox::{Closed, Depth};
use crate::clock::BoxFuture;
use crate::telemetry::{ActorMetrics, RestartReason};

/// Pause before a service that closed over a question is asked once more.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// An actor that others ask.
pub trait Service: Actor<Context = Context<Self>> + Handler<Ping> {
    /// The actor's name in config, metrics, status and logs.
    const NAME: &'static str;
}

/// How to reach a service, whichever incarnation lives.
pub struct ServiceRef<A: Actor> {
    current: watch::Receiver<Live<A>>,
}

impl<A: Actor> Clone for ServiceRef<A> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone() }
    }
}

impl<A: Actor> std::fmt::Debug for ServiceRef<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceRef").finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Context<A>>> ServiceRef<A> {
    /// Asks and awaits the answer, from the next incarnation if this one dies over it. So a message may be handled twice,
    /// never zero times.
    ///
    /// # Errors
    /// [`Closed`] when the engine has left.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, Closed>
    where
        M: Message + Clone + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        <A as Handler<M>>::Result: MessageResponse<A, M>,
    {
        let mut current = self.current.clone();
        loop {
            let live = current.borrow_and_update().clone();
            if let Some((_, address)) = live {
                tokio::select! {
                    biased;
                    // Closed: it died over our message or before it; either way the next incarnation is asked.
                    answer = address.send(message.clone()) => if let Ok(answer) = answer {
                        return Ok(answer);
                    },
                    // Replaced while it hung over our message.
                    changed = current.changed() => {
                        changed.map_err(|_gone| Closed)?;
                        continue;
                    }
                }
            }
            // Usually the address is dead and a new one comes; but a handler's own task may have died alone, and then
            // the same address answers again.
            if let Ok(changed) = tokio::time::timeout(ASK_AGAIN, current.changed()).await {
                changed.map_err(|_gone| Closed)?;
            }
        }
    }
}

/// The number and address of a live incarnation.
type Live<A> = Option<(u64, Addr<A>)>;

pub(super) struct ServiceHost<A: Service> {
    meter: ActorMetrics,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    incarnation: AtomicU64,
    ended: AtomicU64,
    current: Mutex<watch::Sender<Live<A>>>,
    unanswered: AtomicU64,
}

impl<A: Service> std::fmt::Debug for ServiceHost<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceHost").field("name", &A::NAME).finish_non_exhaustive()
    }
}

impl<A: Service> ServiceHost<A> {
    pub fn new(meter: ActorMetrics, factory: Arc<dyn Fn() -> A + Send + Sync>) -> (Arc<Self>, ServiceRef<A>) {
        let (sender, current) = watch::channel(None);
        let host = Self {
            meter,
            factory,
            incarnation: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            current: Mutex::new(sender),
            unanswered: AtomicU64::new(0),
        };
        (Arc::new(host), ServiceRef { current })
    }

    fn publish(&self, live: Live<A>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).send_replace(live);
    }

    fn address(&self) -> Option<Addr<A>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let live = current.borrow();
        live.as_ref().map(|(_, address)| address.clone())
    }

    /// Ends an incarnation, once, and tells the supervisor.
    fn end(self: &Arc<Self>, core: &Core, number: u64, reason: RestartReason, detail: String) {
        if self.ended.fetch_max(number, Ordering::AcqRel) >= number || core.closed.load(Ordering::Acquire) {
            return;
        }
        let host: Arc<dyn Host> = self.clone();
        core.report(Event { host, incarnation: number, reason, detail });
    }

    fn launch(self: Arc<Self>, core: Arc<Core>, number: u64) {
        let actor = match std::panic::catch_unwind(AssertUnwindSafe(|| (self.factory)())) {
            Ok(actor) => actor,
            Err(panic) => {
                let why = format!("its factory panicked: {}", panic_text(&*panic));
                return self.end(&core, number, RestartReason::Died, why);
            }
        };
        let (host, ended_core) = (Arc::clone(&self), core);
        let address = start_watched(actor, move |outcome| {
            let (reason, why) = match outcome {
                Ok(()) => (RestartReason::Died, "its actor stopped".to_owned()),
                Err(text) => (RestartReason::Panic, format!("panicked: {text}")),
            };
            host.end(&ended_core, number, reason, why);
        });
        if self.incarnation.load(Ordering::Acquire) == number {
            self.publish(Some((number, address)));
        }
    }
}

impl<A: Service> Host for ServiceHost<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn arbiter(&self) -> ArbiterKind {
        ArbiterKind::Control
    }

    fn meter(&self) -> &ActorMetrics {
        &self.meter
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    fn start(self: Arc<Self>, core: &Arc<Core>) {
        let number = self.incarnation.fetch_add(1, Ordering::AcqRel) + 1;
        self.meter.incarnation.set(number as i64);
        self.unanswered.store(0, Ordering::Release);
        let (handle, _) = core.arbiters.handle(ArbiterKind::Control);
        let core = Arc::clone(core);
        handle.spawn_fn(move || self.launch(core, number));
    }

    /// A service that left the last ping unanswered for the handler timeout is stuck; otherwise it is pinged again.
    fn retire_stuck(self: Arc<Self>, core: &Arc<Core>, now: Duration) -> bool {
        let number = self.incarnation();
        let since = self.unanswered.load(Ordering::Acquire);
        let now_ms = now.as_millis() as u64 + 1;
        if since == 0 {
            if let Some(address) = self.address() {
                self.unanswered.store(now_ms, Ordering::Release);
                let (host, timeout) = (Arc::clone(&self), core.policy.handler_timeout * 2);
                core.runtime.spawn(async move {
                    if answers(address, timeout).await && host.incarnation() == number {
                        host.unanswered.store(0, Ordering::Release);
                    }
                });
            }
            return false;
        }
        if now_ms.saturating_sub(since) <= core.policy.handler_timeout.as_millis() as u64 {
            return false;
        }
        let timeout = core.policy.handler_timeout;
        self.end(core, number, RestartReason::Stuck, format!("no answer within {timeout:?}"));
        true
    }

    fn abandon(&self, _core: &Arc<Core>) {
        self.ended.fetch_max(self.incarnation(), Ordering::AcqRel);
        self.publish(None);
    }

    fn freeze(&self) {}

    fn thaw(&self) {}

    fn close(&self) {
        self.ended.store(u64::MAX, Ordering::Release);
    }

    fn depth(&self) -> Option<Depth> {
        None
    }

    fn capacity(&self) -> Option<(usize, u64)> {
        None
    }

    fn readmit(
        &self,
        _core: &Arc<Core>,
        _letter: &DeadLetter,
    ) -> Option<Result<BoxFuture<'static, bool>, String>> {
        None
    }
}
