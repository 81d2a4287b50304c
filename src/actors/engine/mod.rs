//! The engine: mailboxes with credits, stages that pull, supervision, dead letters, pause and drain.
//!
//! actix carries the actors and their control and service messages; items wait in mailboxes of our own that outlive the
//! actors, because an actix mailbox is bounded on one calling path only, is emptied by async handlers, and is lost with
//! everything in it when its actor panics.
//!
//! The named guarantees and where they are kept:
//! *conservation* (`slot`, [`ledger`]), *bounded* ([`inbox`]), *culprit-only* (`slot`, [`policy`]),
//! *durable* ([`journal`]), *frozen* and *drained* ([`Engine::pause`], [`Engine::drain`]).
//!
//! A line is wired last to first; `examples/three_stages.rs` is a whole one:
//!
//! ```ignore
//! let engine = Engine::in_memory();
//! let writer = engine.stage(StageConfig::default(), ActorMetrics::detached(), Arc::new(NoOutlet), || Writer);
//! let reader = engine.stage(StageConfig::default(), ActorMetrics::detached(), writer, || Reader);
//! let job = engine.job(&JobId::new("job"));
//! engine.admit(&*reader, &job, ItemId::new("1"), Lane::Normal, item).await?;
//! job.ran_dry().await;
//! ```

pub(crate) mod arbiters;
pub mod board;
pub(crate) mod core;
pub mod dead_letter;
pub mod fault;
pub mod inbox;
pub mod incarnation;
pub mod journal;
pub mod ledger;
pub mod mailbox;
pub mod policy;
pub mod service;
mod sleepers;
mod slot;
pub mod stage;
mod stage_host;
pub(crate) mod supervision;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::core::{Chance, EngineParts, RunState, SeededChance};
pub use dead_letter::DeadLetter;
pub use fault::{Fault, FaultPoint, NoFaults};
pub use inbox::{Capacity, LocalInbox};
pub use incarnation::Ping;
pub use journal::{Journal, JournalError, JournalWrite, MemoryJournal, Table};
pub use ledger::{JobCounts, JobEntry};
pub use mailbox::{Closed, Depth, Lease, Mailbox, Nack, Outlet, TryPut};
pub use policy::RestartPolicy;
pub use service::{Service, ServiceRef};
pub use stage::{BatchStage, Output, Seal, Stage, StageCx, StageError};

use self::core::{Core, Host};
use crate::clock::BoxFuture;
use crate::messages::{Envelope, Item, ItemId, JobId, Lane};
pub use crate::telemetry::{ActorMetrics, MessageOutcome, RestartReason};
use service::ServiceHost;
use slot::{Batched, Single, Work};
use stage_host::StageHost;
use supervision::SharedBudget;

/// The output of a stage that ends the line. There is no value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

impl Item for Nothing {
    fn bytes(&self) -> u32 {
        match *self {}
    }
}

/// The outlet of a stage that ends the line.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOutlet;

impl Outlet<Nothing> for NoOutlet {
    fn try_put(&self, envelope: Envelope<Nothing>) -> TryPut<Nothing> {
        match *envelope.item {}
    }

    fn put(&self, envelope: Envelope<Nothing>) -> BoxFuture<'_, Result<(), Closed>> {
        match *envelope.item {}
    }
}

/// A stage's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageConfig {
    /// Items (or batches) worked on at once.
    pub slots: usize,
    /// What each lane of its mailbox may hold.
    pub mailbox: Capacity,
}

impl Default for StageConfig {
    fn default() -> Self {
        Self { slots: 8, mailbox: Capacity { items: 64, bytes: 64 << 20 } }
    }
}

/// A batching stage whose mailbox could never fill its batches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{actor}`: a mailbox of {mailbox_items} items a lane cannot fill {slots} batches of {seal_items}")]
pub struct MailboxTooSmall {
    /// The actor.
    pub actor: &'static str,
    /// Items a lane.
    pub mailbox_items: usize,
    /// Batches in flight.
    pub slots: usize,
    /// Members of a batch.
    pub seal_items: usize,
}

/// Why an item did not enter the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Its lane has no credit left.
    #[error("the mailbox is full")]
    Full,
    /// The sources are paused, by a person or because the engine is degraded.
    #[error("the line is paused")]
    Paused,
    /// The engine drains, or has ended.
    #[error("the engine is leaving")]
    Leaving,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing was left.
    Dry,
    /// So many items were left at the deadline; the journal replays their jobs.
    LeftOver(i64),
}

/// One actor as `status` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ActorStatus {
    /// Its name.
    pub actor: &'static str,
    /// How often it was built.
    pub incarnation: u64,
    /// Restarts by reason, zeros left out.
    pub restarts: BTreeMap<&'static str, u64>,
    /// Its mailbox; services have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<Depth>,
    /// What each lane of the mailbox may hold: items and bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<(usize, u64)>,
}

/// The running engine. Cheap to clone; the last clone does not stop it, [`Engine::close`] does.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Starts the engine and its supervisor. Must be called within an actix `System`.
    pub fn start(
        parts: EngineParts,
        supervisor_meter: ActorMetrics,
        escalations: prometheus::IntCounter,
    ) -> Self {
        let core = Core::new(parts, supervisor_meter);
        let guard = supervision::guard(Arc::clone(&core), SharedBudget::new(escalations));
        core.runtime.spawn(guard);
        Self { core }
    }

    /// Starts an engine of [`EngineParts::in_memory`] whose figures no registry knows: the shortest way to a line that runs.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn in_memory() -> Self {
        let escalations = prometheus::IntCounter::new("detached_escalations_total", "detached");
        Self::start(
            EngineParts::in_memory(),
            ActorMetrics::detached(),
            escalations.expect("a fixed, valid name"),
        )
    }

    /// Adds a stage; its mailbox is the outlet of whatever comes before it.
    pub fn stage<S: Stage>(
        &self,
        config: StageConfig,
        meter: ActorMetrics,
        outlet: Arc<dyn Outlet<S::Out>>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Arc<LocalInbox<S::In>> {
        self.host(config, meter, outlet, Arc::new(move || Single(factory())))
    }

    /// Adds a batching stage.
    ///
    /// # Errors
    /// [`MailboxTooSmall`] when its lanes cannot hold the members of all batches in flight.
    pub fn batch_stage<S: BatchStage>(
        &self,
        config: StageConfig,
        seal: Seal,
        meter: ActorMetrics,
        outlet: Arc<dyn Outlet<S::Out>>,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> Result<Arc<LocalInbox<S::In>>, MailboxTooSmall> {
        if config.mailbox.items < seal.items * config.slots {
            return Err(MailboxTooSmall {
                actor: S::NAME,
                mailbox_items: config.mailbox.items,
                slots: config.slots,
                seal_items: seal.items,
            });
        }
        Ok(self.host(config, meter, outlet, Arc::new(move || Batched { stage: factory(), seal })))
    }

    fn host<W: Work>(
        &self,
        config: StageConfig,
        meter: ActorMetrics,
        outlet: Arc<dyn Outlet<W::Out>>,
        factory: Arc<dyn Fn() -> W + Send + Sync>,
    ) -> Arc<LocalInbox<W::In>> {
        let inbox = LocalInbox::new(config.mailbox, self.core.clock.clone());
        if self.core.run_state().paused {
            inbox.freeze();
        }
        let mailbox: Arc<dyn Mailbox<W::In>> = inbox.clone();
        let capacity = (config.mailbox.items, config.mailbox.bytes);
        let host = StageHost::new(mailbox, outlet, meter, config.slots, capacity, factory);
        self.core.add_host(host.clone());
        host.start(&self.core);
        inbox
    }

    /// Adds a service.
    pub fn service<A: Service>(
        &self,
        meter: ActorMetrics,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> ServiceRef<A> {
        let (host, reference) = ServiceHost::new(meter, Arc::new(factory));
        self.core.add_host(host.clone());
        host.start(&self.core);
        reference
    }

    /// The counts of a job, made when it is new.
    pub fn job(&self, id: &JobId) -> Arc<JobEntry> {
        self.core.ledger.entry(id)
    }

    /// Counts of every job on the line.
    pub fn jobs(&self) -> Vec<(JobId, JobCounts)> {
        self.core.ledger.snapshot()
    }

    /// Forgets a job that ran dry.
    pub fn forget_job(&self, id: &JobId) {
        self.core.ledger.forget(id);
    }

    /// Puts an item on the line, waiting for room and for sources to be open.
    ///
    /// # Errors
    /// [`Closed`] when the engine is leaving, or draining.
    pub async fn admit<T: Item>(
        &self,
        inbox: &dyn Outlet<T>,
        job: &Arc<JobEntry>,
        item: ItemId,
        lane: Lane,
        content: T,
    ) -> Result<(), Closed> {
        let mut state = self.core.run_state();
        if !state.admits() {
            let mut run = self.core.watch_run_state();
            state = *run.wait_for(|state| state.admits() || state.draining).await.map_err(|_gone| Closed)?;
        }
        if state.draining {
            return Err(Closed);
        }
        job.admit();
        let put = match inbox.try_put(Envelope::admit(job, item, lane, content)) {
            TryPut::Taken => Ok(()),
            TryPut::Closed(_) => Err(Closed),
            TryPut::Full(envelope) => inbox.put(envelope).await,
        };
        if put.is_err() {
            job.withdraw();
        }
        put
    }

    /// Puts an item on the line if there is room and the sources are open, without waiting: whoever brings it can say no to
    /// somebody in turn.
    ///
    /// # Errors
    /// Why it is not on the line; nothing is kept of it.
    pub fn try_admit<T: Item>(
        &self,
        inbox: &dyn Outlet<T>,
        job: &Arc<JobEntry>,
        item: ItemId,
        lane: Lane,
        content: T,
    ) -> Result<(), NotAdmitted> {
        let state = self.core.run_state();
        if state.draining || self.is_closed() {
            return Err(NotAdmitted::Leaving);
        }
        if !state.admits() {
            return Err(NotAdmitted::Paused);
        }
        job.admit();
        let refused = match inbox.try_put(Envelope::admit(job, item, lane, content)) {
            TryPut::Taken => return Ok(()),
            TryPut::Closed(_) => NotAdmitted::Leaving,
            TryPut::Full(_) => NotAdmitted::Full,
        };
        job.withdraw();
        Err(refused)
    }

    /// Freezes the line: when this returns nothing is leased any more, and the pause survives a restart.
    ///
    /// # Errors
    /// Those of the journal. The line is frozen all the same.
    pub async fn pause(&self) -> Result<(), JournalError> {
        let _order = self.core.pause_order().lock().await;
        self.freeze();
        let write =
            JournalWrite::Put { table: Table::Flags, key: PAUSED.to_owned(), value: b"true".to_vec() };
        self.core.journal.commit(vec![write]).await
    }

    fn freeze(&self) {
        self.core.change_run_state(|state| state.paused = true);
        for host in self.core.hosts() {
            host.freeze();
        }
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// Those of the journal: the line then stays frozen.
    pub async fn resume(&self) -> Result<(), JournalError> {
        let _order = self.core.pause_order().lock().await;
        let write = JournalWrite::Delete { table: Table::Flags, key: PAUSED.to_owned() };
        self.core.journal.commit(vec![write]).await?;
        self.core.change_run_state(|state| state.paused = false);
        for host in self.core.hosts() {
            host.thaw();
        }
        Ok(())
    }

    /// Freezes at once if the journal says that a pause was on when the last process ended. Call before the first admit.
    pub fn restore_pause(&self) {
        if self.core.journal.rows(Table::Flags).iter().any(|(key, _)| key == PAUSED) {
            self.freeze();
        }
    }

    /// Closes the sources and waits until the line is dry or `deadline` has passed. A paused line cannot run dry: what it
    /// holds is left over at once.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.core.change_run_state(|state| state.draining = true);
        let end = self.core.clock.elapsed() + deadline;
        loop {
            let live = self.core.ledger.live();
            if live == 0 {
                return Drained::Dry;
            }
            if self.core.run_state().paused || self.core.clock.elapsed() >= end {
                return Drained::LeftOver(live);
            }
            self.core.clock.sleep(DRAIN_LOOK).await;
        }
    }

    /// Closes every mailbox and ends the actors. What is in hand is dropped; the journal has it.
    pub fn close(&self) {
        self.core.closed.store(true, Ordering::Release);
        for host in self.core.hosts() {
            host.close();
        }
        self.core.arbiters.stop();
    }

    /// Time since the supervisor last looked around.
    pub fn supervisor_silence(&self) -> Duration {
        let beat = Duration::from_millis(self.core.supervisor_heartbeat.load(Ordering::Acquire));
        self.core.clock.elapsed().saturating_sub(beat)
    }

    /// [`Engine::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.core.closed.load(Ordering::Acquire)
    }

    /// The engine's state.
    pub fn run_state(&self) -> RunState {
        self.core.run_state()
    }

    /// Follows the engine's state.
    pub fn watch_run_state(&self) -> watch::Receiver<RunState> {
        self.core.watch_run_state()
    }

    /// Set once the engine wants the process to leave, with the exit code.
    pub fn watch_exit(&self) -> watch::Receiver<Option<u8>> {
        self.core.watch_exit()
    }

    /// Threads that blocked and were left to themselves.
    pub fn abandoned_arbiters(&self) -> usize {
        self.core.arbiters.abandoned()
    }

    /// Every actor, the supervisor first, then in the order in which they were added.
    pub fn status(&self) -> Vec<ActorStatus> {
        let restarts = |meter: &ActorMetrics| {
            let counts =
                RestartReason::ALL.iter().map(|reason| (reason.as_str(), meter.restarts(*reason).get()));
            counts.filter(|(_, count)| *count > 0).collect()
        };
        let supervisor = ActorStatus {
            actor: "supervisor",
            incarnation: self.core.supervisor_meter.incarnation.get().unsigned_abs(),
            restarts: restarts(&self.core.supervisor_meter),
            mailbox: None,
            capacity: None,
        };
        let hosts = self.core.hosts();
        let hosted = hosts.iter().map(|host| ActorStatus {
            actor: host.name(),
            incarnation: host.incarnation(),
            restarts: restarts(host.meter()),
            mailbox: host.depth(),
            capacity: host.capacity(),
        });
        std::iter::once(supervisor).chain(hosted).collect()
    }

    /// Brings the mailbox gauges up to date; call before the metrics are read.
    pub fn refresh_gauges(&self) {
        // Several hosts may share one name, and so one meter: of their mailboxes the fullest counts.
        let mut by_actor: BTreeMap<&'static str, (Depth, ActorMetrics)> = BTreeMap::new();
        for host in self.core.hosts() {
            let Some(depth) = host.depth() else { continue };
            let (sum, _) =
                by_actor.entry(host.name()).or_insert_with(|| (Depth::default(), host.meter().clone()));
            sum.fullest_lane_items = sum.fullest_lane_items.max(depth.fullest_lane_items);
            sum.fullest_lane_bytes = sum.fullest_lane_bytes.max(depth.fullest_lane_bytes);
            sum.in_hand += depth.in_hand;
        }
        for (depth, meter) in by_actor.into_values() {
            meter.mailbox_messages.set(depth.fullest_lane_items as i64);
            meter.mailbox_bytes.set(depth.fullest_lane_bytes as i64);
            meter.in_flight.set(depth.in_hand as i64);
        }
    }

    /// Dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.core.dead_letters.list()
    }

    /// Admits a dead letter's item again, at the actor that gave it up, with no attempts spent. The letter goes once the
    /// item is in.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub async fn retry_dead_letter(&self, number: u64) -> Result<(), String> {
        let letter =
            self.core.dead_letters.get(number).ok_or_else(|| format!("there is no dead letter {number}"))?;
        let host = self.core.host(&letter.actor).ok_or_else(|| {
            format!("dead letter {number} belongs to `{}`, which does not run here", letter.actor)
        })?;
        let put = host
            .readmit(&self.core, &letter)
            .ok_or_else(|| format!("`{}` takes no items", letter.actor))?
            .map_err(|why| format!("dead letter {number}: {why}"))?;
        if !put.await {
            return Err("the daemon is leaving".to_owned());
        }
        self.core.dead_letters.remove(number).await.map_err(|error| error.to_string())
    }

    /// Removes a dead letter.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub async fn drop_dead_letter(&self, number: u64) -> Result<(), String> {
        if self.core.dead_letters.get(number).is_none() {
            return Err(format!("there is no dead letter {number}"));
        }
        self.core.dead_letters.remove(number).await.map_err(|error| error.to_string())
    }
}

const PAUSED: &str = "paused";
const DRAIN_LOOK: Duration = Duration::from_millis(20);
