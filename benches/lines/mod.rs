//! The lines that the engine's bench compares: the same 64-byte message through the same number of steps, with at most
//! 64 messages waiting before each, on the same two threads (a source, and one thread for all steps).
//!
//! Every line is built once and then carries as many messages as asked, until the last has come out. No step waits for
//! anything: what is measured is the passing on.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, ResponseFuture, WrapFuture};
use actix_rt::Arbiter;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use penstock::actors::engine::{
    ActorMetrics, Capacity, Engine, LocalInbox, NoOutlet, Nothing, Output, Stage, StageConfig, StageCx,
    StageError,
};
use penstock::clock::{SharedClock, SystemClock};
use penstock::messages::{Item, ItemId, JobId, Lane};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages that may wait before each step.
pub const MAILBOX: usize = 64;

/// 64 bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, actix::Message)]
#[rtype(result = "()")]
pub struct Message([u64; 8]);

impl Message {
    fn numbered(number: u64) -> Self {
        Self([number; 8])
    }

    /// What a step does.
    fn worked_on(self) -> Self {
        black_box(self)
    }
}

impl Item for Message {
    fn bytes(&self) -> u32 {
        size_of::<Self>() as u32
    }
}

/// A line that stands ready.
pub trait Line {
    /// Sends `items` messages through and resolves when the last has come out.
    fn carry(&self, items: u64) -> LocalBoxFuture<'_, ()>;
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contestant {
    /// Our engine with so many slots a stage.
    Penstock { slots: usize },
    /// Bounded tokio channels, a task a step, all tasks on one thread as our stages are.
    MpscOneThread,
    /// Bounded tokio channels, the tasks on a pool of two threads.
    MpscPool,
    /// actix actors with a credit semaphore before each, and `do_send` once there is a credit.
    ActixCredits,
    /// actix actors that await the next one's answer, with so many requests under way.
    ActixAsk { at_once: usize },
}

impl Contestant {
    /// Every contestant; the first tokio one is what the others are measured against.
    pub const ALL: [Self; 7] = [
        Self::MpscOneThread,
        Self::MpscPool,
        Self::Penstock { slots: 1 },
        Self::Penstock { slots: 8 },
        Self::ActixCredits,
        Self::ActixAsk { at_once: MAILBOX },
        Self::ActixAsk { at_once: 1 },
    ];

    /// Its name in reports.
    pub fn name(self) -> String {
        match self {
            Self::Penstock { slots: 1 } => "penstock, 1 slot".to_owned(),
            Self::Penstock { slots } => format!("penstock, {slots} slots"),
            Self::MpscOneThread => "tokio mpsc, one thread".to_owned(),
            Self::MpscPool => "tokio mpsc, pool of two".to_owned(),
            Self::ActixCredits => "actix, credits and do_send".to_owned(),
            Self::ActixAsk { at_once: 1 } => "actix, send and await, one by one".to_owned(),
            Self::ActixAsk { at_once } => format!("actix, send and await, {at_once} under way"),
        }
    }

    /// Builds its line. Call within an actix system on a multi-thread runtime.
    pub fn build(self, stages: usize) -> Box<dyn Line> {
        match self {
            Self::Penstock { slots } => Box::new(PenstockLine::new(stages, slots)),
            Self::MpscOneThread => Box::new(MpscLine::new(stages, &Arbiter::new().handle())),
            Self::MpscPool => Box::new(MpscLine::new(stages, &tokio::runtime::Handle::current())),
            Self::ActixCredits => Box::new(CreditLine::new(stages)),
            Self::ActixAsk { at_once } => Box::new(AskLine::new(stages, at_once)),
        }
    }
}

/// The clock that all figures are taken with.
pub fn clock() -> SharedClock {
    SystemClock::shared()
}

/// How long `line` takes to carry `items` messages.
pub async fn timed(clock: &SharedClock, line: &dyn Line, items: u64) -> Duration {
    let started = clock.elapsed();
    line.carry(items).await;
    clock.elapsed().saturating_sub(started)
}

/// Tells the source that everything has come out.
#[derive(Default)]
struct Finish {
    left: AtomicU64,
    done: Notify,
}

impl Finish {
    fn expect(&self, items: u64) {
        self.left.store(items, Ordering::Release);
    }

    fn came_out(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

// --- the engine -------------------------------------------------------------------------------------------------------

struct Pass;

impl Stage for Pass {
    type In = Message;
    type Out = Message;
    const NAME: &'static str = "pass";

    async fn run(&self, item: Arc<Message>, _cx: &StageCx) -> Result<Output<Message>, StageError> {
        Ok(Output::One(item.worked_on()))
    }
}

struct Last;

impl Stage for Last {
    type In = Message;
    type Out = Nothing;
    const NAME: &'static str = "last";

    async fn run(&self, item: Arc<Message>, _cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        black_box(item.worked_on());
        Ok(Output::None)
    }
}

struct PenstockLine {
    engine: Engine,
    first: Arc<LocalInbox<Message>>,
}

impl PenstockLine {
    fn new(stages: usize, slots: usize) -> Self {
        let engine = Engine::in_memory();
        let config = StageConfig { slots, mailbox: Capacity { items: MAILBOX, bytes: 1 << 20 } };
        let mut first = engine.stage(config, ActorMetrics::detached(), Arc::new(NoOutlet), || Last);
        for _ in 1..stages {
            first = engine.stage(config, ActorMetrics::detached(), first, || Pass);
        }
        Self { engine, first }
    }
}

impl Line for PenstockLine {
    fn carry(&self, items: u64) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let job = self.engine.job(&JobId::new("bench"));
            // An id of its own for each item is part of what the engine asks of a source.
            for number in 0..items {
                let id = ItemId::new(&number.to_string());
                let message = Message::numbered(number);
                self.engine.admit(&*self.first, &job, id, Lane::Normal, message).await.expect("it is open");
            }
            job.ran_dry().await;
            assert_eq!(job.counts().live, 0);
        })
    }
}

impl Drop for PenstockLine {
    fn drop(&mut self) {
        self.engine.close();
    }
}

// --- tokio channels ---------------------------------------------------------------------------------------------------

/// Where the tasks of a line run.
trait Spawn {
    fn spawn_step(&self, step: impl Future<Output = ()> + Send + 'static);
}

impl Spawn for actix_rt::ArbiterHandle {
    fn spawn_step(&self, step: impl Future<Output = ()> + Send + 'static) {
        self.spawn(step);
    }
}

impl Spawn for tokio::runtime::Handle {
    fn spawn_step(&self, step: impl Future<Output = ()> + Send + 'static) {
        self.spawn(step);
    }
}

struct MpscLine {
    first: mpsc::Sender<Message>,
    finish: Arc<Finish>,
}

impl MpscLine {
    fn new(stages: usize, threads: &impl Spawn) -> Self {
        let finish = Arc::new(Finish::default());
        let (mut first, mut last_in) = mpsc::channel::<Message>(MAILBOX);
        let finished = Arc::clone(&finish);
        threads.spawn_step(async move {
            while let Some(message) = last_in.recv().await {
                black_box(message.worked_on());
                finished.came_out();
            }
        });
        for _ in 1..stages {
            let next = first;
            let (sender, mut receiver) = mpsc::channel::<Message>(MAILBOX);
            first = sender;
            threads.spawn_step(async move {
                while let Some(message) = receiver.recv().await {
                    if next.send(message.worked_on()).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self { first, finish }
    }
}

impl Line for MpscLine {
    fn carry(&self, items: u64) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            self.finish.expect(items);
            for number in 0..items {
                self.first.send(Message::numbered(number)).await.expect("the line stands");
            }
            self.finish.done.notified().await;
        })
    }
}

// --- actix with credits -----------------------------------------------------------------------------------------------

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Credited {
    message: Message,
    _credit: OwnedSemaphorePermit,
}

#[derive(Clone)]
struct Mouth {
    credits: Arc<Semaphore>,
    actor: Recipient<Credited>,
}

impl Mouth {
    #[expect(clippy::disallowed_methods, reason = "the credit is the bound, and this is the baseline")]
    fn put(&self, message: Message, credit: OwnedSemaphorePermit) {
        self.actor.do_send(Credited { message, _credit: credit });
    }
}

struct CreditStep {
    next: Option<Mouth>,
    finish: Arc<Finish>,
}

impl Actor for CreditStep {
    type Context = Context<Self>;
}

impl Handler<Credited> for CreditStep {
    type Result = ();

    fn handle(&mut self, held: Credited, context: &mut Self::Context) {
        let message = held.message.worked_on();
        let Some(next) = &self.next else { return self.finish.came_out() };
        if let Ok(credit) = Arc::clone(&next.credits).try_acquire_owned() {
            return next.put(message, credit);
        }
        let credits = Arc::clone(&next.credits);
        let passed_on = async move { credits.acquire_owned().await }.into_actor(self);
        context.wait(passed_on.map(move |credit, step, _context| {
            let _held = held;
            if let (Ok(credit), Some(next)) = (credit, &step.next) {
                next.put(message, credit);
            }
        }));
    }
}

struct CreditLine {
    first: Mouth,
    finish: Arc<Finish>,
}

impl CreditLine {
    fn new(stages: usize) -> Self {
        let (finish, thread) = (Arc::new(Finish::default()), Arbiter::new().handle());
        let step = |next: Option<Mouth>| {
            let finish = Arc::clone(&finish);
            let actor = CreditStep::start_in_arbiter(&thread, move |_context| CreditStep { next, finish });
            Mouth { credits: Arc::new(Semaphore::new(MAILBOX)), actor: actor.recipient() }
        };
        let first = (1..stages).fold(step(None), |next, _| step(Some(next)));
        Self { first, finish }
    }
}

impl Line for CreditLine {
    fn carry(&self, items: u64) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            self.finish.expect(items);
            for number in 0..items {
                let credit = Arc::clone(&self.first.credits).acquire_owned().await.expect("never closed");
                self.first.put(Message::numbered(number), credit);
            }
            self.finish.done.notified().await;
        })
    }
}

// --- actix, asking ----------------------------------------------------------------------------------------------------

struct AskStep {
    next: Option<Recipient<Message>>,
}

impl Actor for AskStep {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Message> for AskStep {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: Message, _context: &mut Self::Context) -> ResponseFuture<()> {
        let (message, next) = (message.worked_on(), self.next.clone());
        Box::pin(async move {
            match next {
                Some(next) => next.send(message).await.expect("the line stands"),
                None => drop(black_box(message)),
            }
        })
    }
}

struct AskLine {
    first: Recipient<Message>,
    at_once: usize,
}

impl AskLine {
    fn new(stages: usize, at_once: usize) -> Self {
        let thread = Arbiter::new().handle();
        let step = |next| AskStep::start_in_arbiter(&thread, move |_context| AskStep { next }).recipient();
        let first = (1..stages).fold(step(None), |next, _| step(Some(next)));
        Self { first, at_once }
    }
}

impl Line for AskLine {
    fn carry(&self, items: u64) -> LocalBoxFuture<'_, ()> {
        let asks = futures_util::stream::iter(0..items);
        Box::pin(asks.for_each_concurrent(self.at_once, move |number| async move {
            self.first.send(Message::numbered(number)).await.expect("the line stands");
        }))
    }
}
