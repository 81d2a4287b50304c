//! A stage under supervision: its mailbox, its outlet, its factory, its present incarnation.
//!
//! The host outlives every incarnation. The actix actor of an incarnation owns the slots as tasks; each slot is a loop of
//! lease, run, put downstream, ack (see [`super::slot`]). The actor's own mailbox carries control only.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use tokio::task::JoinSet;

use super::arbiters::ArbiterKind;
use super::board::SlotBoard;
use super::core::{Core, Event, Host};
use super::dead_letter::DeadLetter;
use super::incarnation::{Retirement, panic_text, start_watched};
use super::mailbox::{Depth, LeaseId, Mailbox, Outlet};
use super::slot::{Rest, SlotEnv, Work};
use super::stage::SlotTools;
use super::turn::Turn;
use crate::clock::BoxFuture;
use crate::messages::{Envelope, Item};
use crate::telemetry::{ActorMetrics, RedeliveryReason, RestartReason};

/// How many items a stage works on at once, and how it is built.
pub(super) struct StageHost<W: Work> {
    pub(super) inbox: Arc<dyn Mailbox<W::In>>,
    pub(super) outlet: Arc<dyn Outlet<W::Out>>,
    pub(super) meter: ActorMetrics,
    pub(super) boards: Vec<Arc<SlotBoard>>,
    /// Deliveries that wait for room downstream, so that somebody else can finish them if their thread is lost.
    pub(super) deliveries: Mutex<HashMap<u64, Arc<Rest<W::Out>>>>,
    capacity: (usize, u64),
    factory: Arc<dyn Fn() -> W + Send + Sync>,
    incarnation: AtomicU64,
    live: Mutex<Option<Live<W>>>,
}

struct Live<W: Work> {
    number: u64,
    retirement: Arc<Retirement>,
    address: Option<Addr<StageActor<W>>>,
}

impl<W: Work> std::fmt::Debug for StageHost<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageHost").field("name", &W::NAME).finish_non_exhaustive()
    }
}

impl<W: Work> StageHost<W> {
    pub fn new(
        inbox: Arc<dyn Mailbox<W::In>>,
        outlet: Arc<dyn Outlet<W::Out>>,
        meter: ActorMetrics,
        slots: usize,
        capacity: (usize, u64),
        factory: Arc<dyn Fn() -> W + Send + Sync>,
    ) -> Arc<Self> {
        meter.mailbox_capacity_messages.set(capacity.0 as i64);
        meter.mailbox_capacity_bytes.set(capacity.1 as i64);
        Arc::new(Self {
            inbox,
            outlet,
            meter,
            boards: (0..slots.max(1)).map(|_| Arc::default()).collect(),
            deliveries: Mutex::new(HashMap::new()),
            capacity,
            factory,
            incarnation: AtomicU64::new(0),
            live: Mutex::new(None),
        })
    }

    /// Takes back every lease of an incarnation that has ended.
    fn take_back(&self, number: u64, reason: RedeliveryReason) {
        let items = self.inbox.revoke(number, None);
        self.meter.redeliveries(reason).inc_by(items as u64);
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Option<Live<W>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Retires an incarnation, once, and tells the supervisor.
    pub(super) fn retire(self: &Arc<Self>, core: &Core, number: u64, reason: RestartReason, detail: String) {
        {
            let live = self.live();
            let Some(live) = live.as_ref().filter(|live| live.number == number) else { return };
            if live.retirement.is_retired() {
                return;
            }
            live.retirement.retire();
        }
        let host: Arc<dyn Host> = self.clone();
        core.report(Event { host, incarnation: number, reason, detail });
    }

    fn report_death(self: &Arc<Self>, core: &Core, number: u64, detail: String) {
        self.take_back(number, RedeliveryReason::Bystander);
        self.retire(core, number, RestartReason::Died, detail);
    }

    fn launch(self: Arc<Self>, core: Arc<Core>, number: u64, retirement: Arc<Retirement>) {
        let work = match std::panic::catch_unwind(AssertUnwindSafe(|| (self.factory)())) {
            Ok(work) => Rc::new(work),
            Err(panic) => {
                let why = format!("its factory panicked: {}", panic_text(&*panic));
                return self.report_death(&core, number, why);
            }
        };
        let actor = StageActor {
            host: Arc::clone(&self),
            core: Arc::clone(&core),
            work,
            number,
            retirement,
            aborts: Vec::new(),
        };
        let (host, ended_core) = (Arc::clone(&self), core);
        let address = start_watched(actor, move |outcome| {
            let why = outcome.err().unwrap_or_else(|| "its actor stopped".to_owned());
            // After a retirement this is the expected end, and `retire` ignores it.
            host.report_death_unless_retired(&ended_core, number, why);
        });
        if let Some(live) = self.live().as_mut().filter(|live| live.number == number) {
            live.address = Some(address);
        }
    }

    fn report_death_unless_retired(self: &Arc<Self>, core: &Core, number: u64, why: String) {
        let retired =
            self.live().as_ref().is_none_or(|live| live.number != number || live.retirement.is_retired());
        if !retired && !core.closed.load(Ordering::Acquire) {
            self.report_death(core, number, why);
        }
    }

    fn address(&self) -> Option<Addr<StageActor<W>>> {
        self.live().as_ref().and_then(|live| live.address.clone())
    }
}

impl<W: Work> Host for StageHost<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn arbiter(&self) -> ArbiterKind {
        ArbiterKind::Stages
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
        let retirement = Arc::new(Retirement::default());
        *self.live() = Some(Live { number, retirement: Arc::clone(&retirement), address: None });
        let (handle, _) = core.arbiters.handle(ArbiterKind::Stages);
        let core = Arc::clone(core);
        handle.spawn_fn(move || self.launch(core, number, retirement));
    }

    fn retire_stuck(self: Arc<Self>, core: &Arc<Core>, now: Duration) -> bool {
        let number = self.incarnation();
        let mut found = false;
        for (slot, board) in self.boards.iter().enumerate() {
            let Some(lease) = board.overdue(now, core.policy.handler_timeout) else { continue };
            // The slot's hands may have changed since: only a lease that is still held is taken back.
            if self.inbox.revoke(number, Some(lease)) == 0 {
                continue;
            }
            self.meter.redeliveries(RedeliveryReason::Stuck).inc();
            found = true;
            board.end();
            if let Some(address) = self.address() {
                // Full or closed only when the thread is lost, which the arbiter's own watch deals with.
                let _ = address.try_send(AbandonSlot { slot });
            }
            let timeout = core.policy.handler_timeout;
            self.retire(core, number, RestartReason::Stuck, format!("no progress within {timeout:?}"));
        }
        found
    }

    fn abandon(&self, core: &Arc<Core>) {
        let number = self.incarnation();
        if let Some(live) = self.live().as_ref() {
            live.retirement.retire();
        }
        self.take_back(number, RedeliveryReason::Stuck);
        for board in &self.boards {
            board.end();
        }
        // Outputs that wait in a mailbox downstream enter it by themselves; what had not been put yet is put by us.
        let rests: Vec<_> = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .map(|(_, rest)| rest)
            .collect();
        for rest in rests {
            let outlet = Arc::clone(&self.outlet);
            core.arbiters.runtime().spawn(async move { rest.take_over(outlet).await });
        }
    }

    fn freeze(&self) {
        self.inbox.freeze();
    }

    fn thaw(&self) {
        self.inbox.thaw();
    }

    fn close(&self) {
        self.inbox.close();
        if let Some(live) = self.live().as_ref() {
            live.retirement.retire();
        }
    }

    fn depth(&self) -> Option<Depth> {
        Some(self.inbox.depth())
    }

    fn capacity(&self) -> Option<(usize, u64)> {
        Some(self.capacity)
    }

    fn readmit(
        &self,
        core: &Arc<Core>,
        letter: &DeadLetter,
    ) -> Option<Result<BoxFuture<'static, bool>, String>> {
        let item = match serde_json::from_value::<W::In>(letter.item.clone()) {
            Ok(item) => item,
            Err(error) => return Some(Err(format!("its item cannot be read by this version: {error}"))),
        };
        let job = core.ledger.entry(&letter.header.job);
        let envelope = Envelope::readmit(&job, &letter.header, item);
        let inbox = Arc::clone(&self.inbox);
        Some(Ok(Box::pin(async move {
            job.admit();
            let entered = inbox.put(envelope).await.is_ok();
            if !entered {
                job.withdraw();
            }
            entered
        })))
    }
}

/// The actix actor of one incarnation.
pub(super) struct StageActor<W: Work> {
    host: Arc<StageHost<W>>,
    core: Arc<Core>,
    work: Rc<W>,
    number: u64,
    retirement: Arc<Retirement>,
    aborts: Vec<tokio::task::AbortHandle>,
}

impl<W: Work> Actor for StageActor<W> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let mut slots = JoinSet::new();
        for board in &self.host.boards {
            let (host, core, number) = (Arc::clone(&self.host), Arc::clone(&self.core), self.number);
            let retire = move |why| host.retire(&core, number, RestartReason::Connection, why);
            let env = SlotEnv {
                host: Arc::clone(&self.host),
                core: Arc::clone(&self.core),
                tools: Rc::new(SlotTools {
                    board: Arc::clone(board),
                    runtime: self.core.runtime.clone(),
                    clock: self.core.clock.clone(),
                    retire: Box::new(retire),
                }),
                number: self.number,
                retirement: Arc::clone(&self.retirement),
                turn: Turn::new(Arc::clone(&self.host.inbox), &self.host.meter),
            };
            self.aborts.push(slots.spawn_local(W::slot(Rc::clone(&self.work), env)));
        }
        let all_ended = async move {
            while let Some(ended) = slots.join_next().await {
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    // A panic outside the handler has no culprit: it is the actor's own death.
                    std::panic::resume_unwind(panic);
                }
            }
        };
        context.spawn(all_ended.into_actor(self).map(|(), _actor, context| {
            actix::ActorContext::stop(context);
        }));
    }
}

/// Drops what a slot does: its handler shows no progress and its lease was taken back.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(super) struct AbandonSlot {
    slot: usize,
}

impl<W: Work> Handler<AbandonSlot> for StageActor<W> {
    type Result = ();

    fn handle(&mut self, message: AbandonSlot, _context: &mut Self::Context) {
        if let Some(slot) = self.aborts.get(message.slot) {
            slot.abort();
        }
    }
}

impl<T: Item> Rest<T> {
    /// Finishes a delivery whose own thread is lost.
    pub(super) async fn take_over(self: Arc<Self>, outlet: Arc<dyn Outlet<T>>) {
        while let Some(envelope) = self.next() {
            if outlet.put(envelope).await.is_err() {
                return;
            }
        }
        self.finish();
    }
}

/// A lease's number within its host, for the table of deliveries.
pub(super) fn delivery_key(id: LeaseId) -> u64 {
    id.pack()
}
