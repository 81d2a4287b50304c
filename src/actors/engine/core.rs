//! What every part of the engine shares: clock, chance, policy, journal, run state, arbiters, the list of hosts.
//!
//! The list outlives the supervisor, so a supervisor that dies is replaced by one that finds everything in place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::arbiters::{ArbiterKind, Arbiters};
use super::dead_letter::{DeadLetter, DeadLetters};
use super::fault::{FaultPoint, NoFaults};
use super::journal::{Journal, MemoryJournal};
use super::ledger::JobLedger;
use super::mailbox::Depth;
use super::policy::RestartPolicy;
use crate::clock::{BoxFuture, SharedClock, SystemClock};
use crate::telemetry::{ActorMetrics, RestartReason};

/// Where randomness comes from: numbers in 0..1.
pub trait Chance: Send + Sync + 'static {
    /// The next number.
    fn next(&self) -> f64;
}

/// Randomness from a seed (splitmix64): equal seeds, equal numbers.
#[derive(Debug)]
pub struct SeededChance(AtomicU64);

impl SeededChance {
    /// A sequence that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Chance for SeededChance {
    fn next(&self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut mixed = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The engine's state as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RunState {
    /// Frozen by a person: no lease, no permit.
    pub paused: bool,
    /// Sources are closed; what is on the line runs dry.
    pub draining: bool,
    /// The restart budget was overrun: sources are paused.
    pub degraded: bool,
}

impl RunState {
    /// New work may enter the line.
    pub fn admits(self) -> bool {
        !self.paused && !self.draining && !self.degraded
    }
}

/// What happened to an actor, for the supervisor to act on.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub host: Arc<dyn Host>,
    pub incarnation: u64,
    pub reason: RestartReason,
    pub detail: String,
}

/// One actor under supervision: a stage or a service, whatever its types.
pub(crate) trait Host: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &'static str;
    fn arbiter(&self) -> ArbiterKind;
    fn meter(&self) -> &ActorMetrics;
    /// The present incarnation's number; 0 before the first.
    fn incarnation(&self) -> u64;
    /// Builds the next incarnation on the present arbiter of its kind.
    fn start(self: Arc<Self>, core: &Arc<Core>);
    /// Retires what shows no progress. True when it found something.
    fn retire_stuck(self: Arc<Self>, core: &Arc<Core>, now: Duration) -> bool;
    /// The thread of its incarnation is lost: takes every lease back.
    fn abandon(&self, core: &Arc<Core>);
    fn freeze(&self);
    fn thaw(&self);
    fn close(&self);
    fn depth(&self) -> Option<Depth>;
    fn capacity(&self) -> Option<(usize, u64)>;
    /// Puts a dead letter's item back into this actor's mailbox. `None` when it has none.
    fn readmit(
        &self,
        core: &Arc<Core>,
        letter: &DeadLetter,
    ) -> Option<Result<BoxFuture<'static, bool>, String>>;
}

/// What the engine is made of from outside.
pub struct EngineParts {
    /// Time.
    pub clock: SharedClock,
    /// The process's own threads, for I/O and blocking work.
    pub runtime: Handle,
    /// Restarts and retries.
    pub policy: RestartPolicy,
    /// What survives kill -9.
    pub journal: Arc<dyn Journal>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// Faults on demand; [`super::fault::NoFaults`] outside tests.
    pub faults: Arc<dyn FaultPoint>,
}

impl EngineParts {
    /// For examples, benches and first steps: the machine's clock, the present tokio runtime, the default policy, a journal
    /// that forgets at exit, fixed randomness, no faults.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn in_memory() -> Self {
        Self {
            clock: SystemClock::shared(),
            runtime: Handle::current(),
            policy: RestartPolicy::default(),
            journal: Arc::new(MemoryJournal::default()),
            chance: Arc::new(SeededChance::new(0)),
            faults: Arc::new(NoFaults),
        }
    }
}

impl std::fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineParts").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// See the module's promises.
pub(crate) struct Core {
    pub clock: SharedClock,
    pub runtime: Handle,
    pub policy: RestartPolicy,
    pub journal: Arc<dyn Journal>,
    pub chance: Arc<dyn Chance>,
    pub faults: Arc<dyn FaultPoint>,
    pub dead_letters: DeadLetters,
    pub ledger: JobLedger,
    pub arbiters: Arbiters,
    pub supervisor_meter: ActorMetrics,
    pub supervisor_heartbeat: AtomicU64,
    pub closed: AtomicBool,
    run: watch::Sender<RunState>,
    exit: watch::Sender<Option<u8>>,
    events: Mutex<VecDeque<Event>>,
    event_arrived: Notify,
    hosts: Mutex<Vec<Arc<dyn Host>>>,
    pause_order: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("run", &*self.run.borrow()).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(parts: EngineParts, supervisor_meter: ActorMetrics) -> Arc<Self> {
        let arbiters = Arbiters::new(parts.clock.clone(), parts.runtime.clone());
        Arc::new(Self {
            dead_letters: DeadLetters::new(Arc::clone(&parts.journal)),
            clock: parts.clock,
            runtime: parts.runtime,
            policy: parts.policy,
            journal: parts.journal,
            chance: parts.chance,
            faults: parts.faults,
            ledger: JobLedger::default(),
            arbiters,
            supervisor_meter,
            supervisor_heartbeat: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            run: watch::Sender::new(RunState::default()),
            exit: watch::Sender::new(None),
            events: Mutex::new(VecDeque::new()),
            event_arrived: Notify::new(),
            hosts: Mutex::new(Vec::new()),
            pause_order: tokio::sync::Mutex::new(()),
        })
    }

    pub fn add_host(&self, host: Arc<dyn Host>) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).push(host);
    }

    pub fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn host(&self, name: &str) -> Option<Arc<dyn Host>> {
        self.hosts().into_iter().find(|host| host.name() == name)
    }

    /// Tells the supervisor. Bounded by the number of incarnations, each of which ends once.
    pub fn report(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        // All waiters, not one: a supervisor that hangs still waits here, and would take the only wake with it.
        self.event_arrived.notify_waiters();
    }

    /// The oldest event, left in place until [`Core::event_handled`]: a supervisor that dies over it leaves it to the next.
    pub async fn next_event(&self) -> Event {
        loop {
            let arrived = self.event_arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(event) = self.events.lock().unwrap_or_else(PoisonError::into_inner).front().cloned() {
                return event;
            }
            arrived.await;
        }
    }

    pub fn event_handled(&self) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    pub fn run_state(&self) -> RunState {
        *self.run.borrow()
    }

    pub fn watch_run_state(&self) -> watch::Receiver<RunState> {
        self.run.subscribe()
    }

    pub fn change_run_state(&self, change: impl FnOnce(&mut RunState)) {
        self.run.send_modify(change);
    }

    /// Serialises pause and resume, each of which takes a journal write.
    pub fn pause_order(&self) -> &tokio::sync::Mutex<()> {
        &self.pause_order
    }

    pub fn leave(&self, code: u8) {
        self.exit.send_modify(|exit| *exit = exit.or(Some(code)));
    }

    pub fn watch_exit(&self) -> watch::Receiver<Option<u8>> {
        self.exit.subscribe()
    }
}
