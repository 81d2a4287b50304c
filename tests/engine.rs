//! The engine's named guarantees on toy stages: conservation, bounded, culprit-only, frozen, drained; restarts, stuck
//! handlers, blocked threads, services. (*durable*, *once* and *honest* are shown on the real line.)
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use penstock::actors::engine::{
    ActorMetrics, BatchStage, Capacity, Chance, Drained, Engine, EngineParts, Fault, FaultPoint, Journal,
    LocalInbox, Mailbox, MemoryJournal, NoFaults, NoOutlet, NotAdmitted, Nothing, Outlet, Output, Ping,
    RestartPolicy, RestartReason, Seal, SeededChance, Service, Stage, StageConfig, StageCx, StageError,
    Table, TryPut,
};
use penstock::clock::SystemClock;
use penstock::messages::{Envelope, Item, ItemId, JobId, Lane};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Toy {
    number: u64,
    size: u32,
}

impl Item for Toy {
    fn bytes(&self) -> u32 {
        self.size
    }
}

/// Runs a test inside an actix system on a multi-thread runtime, as the daemon does.
fn in_system<F: Future<Output = ()> + 'static>(test: impl FnOnce(tokio::runtime::Handle) -> F) {
    std::panic::set_hook(Box::new(|info| {
        let said = info.to_string();
        if !said.contains("on purpose") && !said.contains("a fault was asked for") {
            eprintln!("{info}");
        }
    }));
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(async move { test(tokio::runtime::Handle::current()).await });
}

fn quick_policy() -> RestartPolicy {
    RestartPolicy {
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(8),
        restarts: 1000,
        handler_timeout: Duration::from_secs(20),
        ..RestartPolicy::default()
    }
}

struct Rig {
    engine: Engine,
    journal: Arc<MemoryJournal>,
    supervisor: ActorMetrics,
}

fn rig(
    runtime: tokio::runtime::Handle,
    policy: RestartPolicy,
    seed: u64,
    faults: Arc<dyn FaultPoint>,
) -> Rig {
    let journal = Arc::new(MemoryJournal::default());
    let supervisor = ActorMetrics::detached();
    let parts = EngineParts {
        clock: SystemClock::shared(),
        runtime,
        policy,
        journal: journal.clone(),
        chance: Arc::new(SeededChance::new(seed)),
        faults,
    };
    let escalations = prometheus::IntCounter::new("e_total", "e").unwrap();
    Rig { engine: Engine::start(parts, supervisor.clone(), escalations), journal, supervisor }
}

impl Rig {
    async fn admit(&self, inbox: &LocalInbox<Toy>, job: &Arc<penstock::actors::engine::JobEntry>, toy: Toy) {
        let id = ItemId::new(&toy.number.to_string());
        self.engine.admit(inbox, job, id, Lane::Normal, toy).await.unwrap();
    }
}

fn toy(number: u64) -> Toy {
    Toy { number, size: 1 }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 10 s: {what}");
}

fn stage_config(slots: usize, items: usize) -> StageConfig {
    StageConfig { slots, mailbox: Capacity { items, bytes: 10_000 } }
}

/// Misbehaves by chance, and passes the item on.
struct Shaky<const STEP: usize> {
    chance: Arc<SeededChance>,
}

impl<const STEP: usize> Stage for Shaky<STEP> {
    type In = Toy;
    type Out = Toy;
    const NAME: &'static str = ["first", "second", "third"][STEP];

    async fn run(&self, item: Arc<Toy>, cx: &StageCx) -> Result<Output<Toy>, StageError> {
        let draw = self.chance.next();
        assert!(draw >= 0.01, "before the work, on purpose");
        if draw < 0.30 {
            tokio::task::yield_now().await;
        }
        if draw > 0.98 {
            cx.io(async { tokio::task::yield_now().await }).await;
        }
        match self.chance.next() {
            draw if draw < 0.01 => panic!("after the work, on purpose"),
            draw if draw < 0.02 => Err(StageError::retry("on purpose")),
            draw if draw < 0.03 => {
                Err(StageError::Throttled { after: Duration::from_millis(1), why: "wait".into() })
            }
            draw if draw < 0.033 => Err(StageError::fatal("on purpose")),
            _ => Ok(Output::One((*item).clone())),
        }
    }
}

type Seen = Arc<Mutex<HashMap<u64, u32>>>;

/// Ends the line and counts what it saw.
struct Sink {
    seen: Seen,
    pause: Duration,
}

impl Stage for Sink {
    type In = Toy;
    type Out = Nothing;
    const NAME: &'static str = "sink";

    async fn run(&self, item: Arc<Toy>, _cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        *self.seen.lock().unwrap().entry(item.number).or_default() += 1;
        Ok(Output::None)
    }
}

struct Calm;

impl Stage for Calm {
    type In = Toy;
    type Out = Toy;
    const NAME: &'static str = "calm";

    async fn run(&self, item: Arc<Toy>, _cx: &StageCx) -> Result<Output<Toy>, StageError> {
        Ok(Output::One((*item).clone()))
    }
}

/// Adds a sink and returns what it sees.
fn sink(
    rig: &Rig,
    config: StageConfig,
    meter: &ActorMetrics,
    pause: Duration,
) -> (Arc<LocalInbox<Toy>>, Seen) {
    let seen = Seen::default();
    let of_stage = seen.clone();
    let factory = move || Sink { seen: of_stage.clone(), pause };
    (rig.engine.stage(config, meter.clone(), Arc::new(NoOutlet), factory), seen)
}

#[test]
fn conservation_every_admitted_item_ends_once_done_or_dead_whatever_panics_fails_pauses_or_is_cancelled() {
    const SEEDS: u64 = 200;
    const ITEMS: u64 = 60;
    in_system(|runtime| async move {
        let (mut dead_in_all, mut restarts_in_all) = (0, 0);
        for seed in 0..SEEDS {
            let rig = rig(runtime.clone(), quick_policy(), seed, Arc::new(NoFaults));
            let chance = Arc::new(SeededChance::new(seed ^ 0xABCD));
            let meters = [ActorMetrics::detached(), ActorMetrics::detached(), ActorMetrics::detached()];
            let (end, seen) = sink(&rig, stage_config(3, 8), &ActorMetrics::detached(), Duration::ZERO);
            let (c3, c2, c1) = (chance.clone(), chance.clone(), chance.clone());
            let (m3, m2, m1) = (meters[2].clone(), meters[1].clone(), meters[0].clone());
            let third =
                rig.engine.stage(stage_config(4, 8), m3, end, move || Shaky::<2> { chance: c3.clone() });
            let second = rig
                .engine
                .stage(stage_config(4, 8), m2, third.clone(), move || Shaky::<1> { chance: c2.clone() });
            let first = rig
                .engine
                .stage(stage_config(4, 8), m1, second.clone(), move || Shaky::<0> { chance: c1.clone() });
            let job = rig.engine.job(&JobId::new("toys"));
            let cancelled = rig.engine.job(&JobId::new("cancelled"));
            for number in 0..ITEMS {
                let lane = Lane::ALL[(chance.next() * 3.0) as usize];
                let of = if number % 10 == 9 { &cancelled } else { &job };
                if number == ITEMS / 2 {
                    cancelled.cancel();
                }
                let toy = Toy { number, size: 1 + (chance.next() * 3000.0) as u32 };
                let id = ItemId::new(&number.to_string());
                rig.engine.admit(&*first, of, id, lane, toy).await.unwrap();
                if chance.next() < 0.03 {
                    rig.engine.pause().await.unwrap();
                    tokio::task::yield_now().await;
                    rig.engine.resume().await.unwrap();
                }
            }
            let dry = async { tokio::join!(job.ran_dry(), cancelled.ran_dry()) };
            if tokio::time::timeout(Duration::from_secs(30), dry).await.is_err() {
                panic!("seed {seed}: {:?} {:?} {:#?}", job.counts(), cancelled.counts(), rig.engine.status());
            }
            let (counts, dropped) = (job.counts(), cancelled.counts());
            assert_eq!(counts.admitted + dropped.admitted, ITEMS, "seed {seed}");
            assert_eq!(counts.done + counts.dead, counts.admitted, "seed {seed}: {counts:?}");
            assert_eq!(
                dropped.done + dropped.dead + dropped.cancelled,
                dropped.admitted,
                "seed {seed}: {dropped:?}"
            );
            let seen = seen.lock().unwrap().clone();
            assert!(seen.values().all(|times| *times == 1), "seed {seed}: an item was written twice");
            assert_eq!(seen.len() as u64, counts.done + dropped.done, "seed {seed}");
            let letters = rig.engine.dead_letters();
            assert_eq!(letters.len() as u64, counts.dead + dropped.dead, "seed {seed}");
            for letter in &letters {
                let number: u64 = letter.header.item.as_str().parse().unwrap();
                assert!(!seen.contains_key(&number), "seed {seed}: both done and dead");
            }
            for inbox in [&first, &second, &third] {
                let (depth, capacity) = (inbox.depth(), inbox.capacity());
                let left = (depth.items, depth.bytes, depth.in_hand, depth.waiting);
                assert_eq!(left, (0, 0, 0, 0), "seed {seed}: every credit came back");
                assert!(depth.peak_lane_items <= capacity.items, "seed {seed}: {depth:?}");
                assert!(depth.peak_lane_bytes <= capacity.bytes, "seed {seed}: {depth:?}");
            }
            dead_in_all += letters.len();
            restarts_in_all += meters.iter().map(ActorMetrics::restarts_total).sum::<u64>();
            rig.engine.close();
        }
        let faults = format!("{dead_in_all} dead, {restarts_in_all} restarts");
        assert!(dead_in_all > 20 && restarts_in_all > 200, "the faults came: {faults}");
    });
}

#[test]
fn bounded_depth_and_bytes_never_exceed_the_stated_capacity_behind_a_slow_stage() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let (end, seen) = sink(&rig, stage_config(2, 5), &ActorMetrics::detached(), Duration::from_millis(1));
        let first = rig.engine.stage(stage_config(4, 7), ActorMetrics::detached(), end.clone(), || Calm);
        let job = rig.engine.job(&JobId::new("toys"));
        for number in 0..500 {
            rig.admit(&first, &job, Toy { number, size: 3_000 }).await;
            assert!(first.depth().items <= 7 && end.depth().items <= 5);
        }
        job.ran_dry().await;
        // 10,000 bytes hold three items of 3,000: the byte bound is the narrower one here.
        assert_eq!(first.depth().peak_lane_items, 3);
        assert!(end.depth().peak_lane_bytes <= 10_000);
        assert_eq!(seen.lock().unwrap().len(), 500);
        rig.engine.close();
    });
}

/// Poison numbers panic; the others count how often they ran.
struct Picky {
    runs: Seen,
}

fn is_poison(number: u64) -> bool {
    number % 25 == 7
}

impl Stage for Picky {
    type In = Toy;
    type Out = Nothing;
    const NAME: &'static str = "picky";

    async fn run(&self, item: Arc<Toy>, _cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        *self.runs.lock().unwrap().entry(item.number).or_default() += 1;
        tokio::task::yield_now().await;
        assert!(!is_poison(item.number), "poison, on purpose");
        Ok(Output::None)
    }
}

struct PickyBatches {
    runs: Seen,
}

impl BatchStage for PickyBatches {
    type In = Toy;
    type Out = Nothing;
    const NAME: &'static str = "picky_batches";

    async fn run(&self, members: Vec<Arc<Toy>>, _cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        assert!(!members.iter().any(|toy| is_poison(toy.number)), "poison in the batch, on purpose");
        for toy in &members {
            *self.runs.lock().unwrap().entry(toy.number).or_default() += 1;
        }
        Ok(Output::None)
    }
}

#[test]
fn culprit_only_a_poison_item_costs_itself_and_not_its_neighbours() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let (runs, batch_runs) = (Seen::default(), Seen::default());
        let (of_stage, of_batches) = (runs.clone(), batch_runs.clone());
        let single =
            rig.engine.stage(stage_config(8, 64), ActorMetrics::detached(), Arc::new(NoOutlet), move || {
                Picky { runs: of_stage.clone() }
            });
        let seal = Seal { items: 10, bytes: 10_000, age: Duration::from_millis(5) };
        let batches = rig.engine.batch_stage(
            stage_config(2, 64),
            seal,
            ActorMetrics::detached(),
            Arc::new(NoOutlet),
            move || PickyBatches { runs: of_batches.clone() },
        );
        let batches = batches.unwrap();
        let job = rig.engine.job(&JobId::new("toys"));
        for number in 0..100 {
            rig.admit(&single, &job, toy(number)).await;
            rig.admit(&batches, &job, toy(number)).await;
        }
        job.ran_dry().await;
        let counts = job.counts();
        assert_eq!((counts.done, counts.dead), (192, 8), "four poison items on either side");
        let attempts = RestartPolicy::default().attempts_per_item;
        for letter in rig.engine.dead_letters() {
            assert_eq!(letter.attempts, attempts);
            assert!(letter.error.contains("poison"), "{}", letter.error);
            assert!(is_poison(letter.header.item.as_str().parse().unwrap()));
        }
        let expected = |number: u64| if is_poison(number) { attempts } else { 1 };
        assert!(runs.lock().unwrap().iter().all(|(number, times)| *times == expected(*number)));
        assert!(batch_runs.lock().unwrap().values().all(|times| *times == 1));
        assert_eq!(batch_runs.lock().unwrap().len(), 96);
        rig.engine.close();
    });
}

#[test]
fn a_batching_stage_whose_mailbox_cannot_fill_its_batches_is_refused() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let seal = Seal { items: 25, bytes: 10_000, age: Duration::from_millis(5) };
        let refused = rig.engine.batch_stage(
            stage_config(3, 64),
            seal,
            ActorMetrics::detached(),
            Arc::new(NoOutlet),
            || PickyBatches { runs: Seen::default() },
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "`picky_batches`: a mailbox of 64 items a lane cannot fill 3 batches of 25"
        );
        rig.engine.close();
    });
}

#[test]
fn a_dead_letter_can_be_listed_admitted_again_and_dropped() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let inbox =
            rig.engine.stage(stage_config(2, 64), ActorMetrics::detached(), Arc::new(NoOutlet), || Picky {
                runs: Seen::default(),
            });
        let job = rig.engine.job(&JobId::new("toys"));
        for number in [7, 32] {
            rig.admit(&inbox, &job, toy(number)).await;
        }
        job.ran_dry().await;
        let letters = rig.engine.dead_letters();
        assert_eq!(letters.len(), 2);
        rig.engine.retry_dead_letter(letters[0].number).await.unwrap();
        job.ran_dry().await;
        let again = rig.engine.dead_letters();
        assert_eq!(again.len(), 2, "still poison: it died again under a new number");
        assert!(again.iter().all(|letter| letter.number != letters[0].number));
        for letter in again {
            rig.engine.drop_dead_letter(letter.number).await.unwrap();
        }
        assert!(rig.engine.dead_letters().is_empty());
        assert!(rig.engine.retry_dead_letter(99).await.unwrap_err().contains("99"));
        rig.engine.close();
    });
}

struct Recorder(Arc<Mutex<Vec<u64>>>);

impl Stage for Recorder {
    type In = Toy;
    type Out = Nothing;
    const NAME: &'static str = "recorder";

    async fn run(&self, item: Arc<Toy>, _cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.lock().unwrap().push(item.number);
        Ok(Output::None)
    }
}

#[test]
fn frozen_no_item_is_leased_after_the_pause_returned_and_the_order_is_kept_after_it() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let order: Arc<Mutex<Vec<u64>>> = Arc::default();
        let of_stage = order.clone();
        let inbox =
            rig.engine.stage(stage_config(1, 64), ActorMetrics::detached(), Arc::new(NoOutlet), move || {
                Recorder(of_stage.clone())
            });
        let job = rig.engine.job(&JobId::new("toys"));
        for number in 0..20 {
            rig.admit(&inbox, &job, toy(number)).await;
        }
        rig.engine.pause().await.unwrap();
        assert_eq!(rig.journal.rows(Table::Flags).len(), 1, "the pause survives a restart");
        // What was in hand at the pause may finish; nothing else may start.
        eventually("the item in hand finishes", || inbox.depth().in_hand == 0).await;
        let at_pause = order.lock().unwrap().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(order.lock().unwrap().len(), at_pause, "nothing was leased while frozen");
        assert!(at_pause < 20);
        rig.engine.resume().await.unwrap();
        job.ran_dry().await;
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        assert!(rig.journal.rows(Table::Flags).is_empty());
        rig.engine.close();
    });
}

#[test]
fn drained_a_drain_runs_dry_within_its_deadline_or_says_what_is_left() {
    in_system(|runtime| async move {
        for (pause_ms, deadline_ms, dry) in [(1, 5_000, true), (200, 100, false)] {
            let rig = rig(runtime.clone(), quick_policy(), 1, Arc::new(NoFaults));
            let pause = Duration::from_millis(pause_ms);
            let (inbox, seen) = sink(&rig, stage_config(1, 64), &ActorMetrics::detached(), pause);
            let job = rig.engine.job(&JobId::new("toys"));
            for number in 0..20 {
                rig.admit(&inbox, &job, toy(number)).await;
            }
            let started = tokio::time::Instant::now();
            match rig.engine.drain(Duration::from_millis(deadline_ms)).await {
                Drained::Dry => assert!(dry && seen.lock().unwrap().len() == 20),
                Drained::LeftOver(left) => {
                    assert!(!dry && left > 0);
                    assert!(
                        started.elapsed() < Duration::from_millis(deadline_ms + 2_000),
                        "within its deadline"
                    );
                }
            }
            let late = rig.engine.admit(&*inbox, &job, ItemId::new("late"), Lane::Normal, toy(99));
            assert!(late.await.is_err(), "a draining engine takes nothing new");
            rig.engine.close();
        }
    });
}

/// Strikes one actor once, at its `after`-th piece of work.
struct Once {
    actor: &'static str,
    fault: Fault,
    after: AtomicUsize,
    struck: AtomicBool,
}

impl Once {
    fn new(actor: &'static str, fault: Fault, after: usize) -> Arc<Self> {
        Arc::new(Self { actor, fault, after: AtomicUsize::new(after), struck: AtomicBool::new(false) })
    }
}

impl FaultPoint for Once {
    fn strike(&self, actor: &'static str) -> Fault {
        let due = actor == self.actor && self.after.fetch_sub(1, Ordering::AcqRel) == 1;
        if due && !self.struck.swap(true, Ordering::AcqRel) { self.fault } else { Fault::None }
    }
}

#[test]
fn a_stuck_handler_and_a_blocked_thread_lose_their_lease_and_the_line_goes_on() {
    for fault in [Fault::Hang, Fault::Block] {
        in_system(move |runtime| async move {
            let policy = RestartPolicy { handler_timeout: Duration::from_millis(1_200), ..quick_policy() };
            let rig = rig(runtime, policy, 1, Once::new("sink", fault, 5));
            let meter = ActorMetrics::detached();
            let (end, seen) = sink(&rig, stage_config(2, 8), &meter, Duration::ZERO);
            let first = rig.engine.stage(stage_config(2, 8), ActorMetrics::detached(), end, || Calm);
            let job = rig.engine.job(&JobId::new("toys"));
            for number in 0..100 {
                rig.admit(&first, &job, toy(number)).await;
            }
            tokio::time::timeout(Duration::from_secs(20), job.ran_dry()).await.expect("the line goes on");
            assert_eq!(job.counts().done, 100, "{fault:?}");
            assert!(seen.lock().unwrap().values().all(|times| *times == 1));
            // The item may be done before the supervisor has got round to counting what it did.
            eventually("it is rebuilt", || meter.restarts(RestartReason::Stuck).get() == 1).await;
            assert_eq!(rig.engine.abandoned_arbiters(), usize::from(fault == Fault::Block));
            assert_eq!(rig.supervisor.restarts_total(), 0);
            rig.engine.close();
        });
    }
}

/// Finds its connection gone over every third item, and is built anew each time.
struct Unplugged {
    built: u64,
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
    long: Arc<tokio::sync::Notify>,
}

impl Stage for Unplugged {
    type In = Toy;
    type Out = Nothing;
    const NAME: &'static str = "unplugged";

    async fn run(&self, item: Arc<Toy>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        if item.number == 0 {
            // Held by another slot while the incarnation is retired over its neighbours.
            self.long.notified().await;
        } else if item.number.is_multiple_of(3) {
            cx.retire("the connection is gone");
        }
        self.seen.lock().unwrap().push((item.number, self.built));
        Ok(Output::None)
    }
}

#[test]
fn a_stage_that_asks_to_be_retired_is_rebuilt_at_once_and_never_degrades_the_daemon() {
    in_system(|runtime| async move {
        // A budget of one restart: thirty rebuilds would overrun it by far if they were charged.
        let policy = RestartPolicy { restarts: 1, backoff: Duration::from_secs(60), ..quick_policy() };
        let rig = rig(runtime, policy, 1, Arc::new(NoFaults));
        let (meter, seen) = (ActorMetrics::detached(), Arc::<Mutex<Vec<(u64, u64)>>>::default());
        let (long, built) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicU64::new(0)));
        let (of_stage, held, lives) = (seen.clone(), long.clone(), built.clone());
        let inbox = rig.engine.stage(stage_config(2, 8), meter.clone(), Arc::new(NoOutlet), move || {
            let built = built.fetch_add(1, Ordering::Relaxed) + 1;
            Unplugged { built, seen: of_stage.clone(), long: held.clone() }
        });
        let job = rig.engine.job(&JobId::new("toys"));
        for number in 0..=90 {
            rig.admit(&inbox, &job, toy(number)).await;
        }
        eventually("all others are done", || seen.lock().unwrap().len() == 90).await;
        // Two slots that lose one connection at once are one loss.
        let losses = || lives.load(Ordering::Relaxed) - 1;
        eventually("it was rebuilt", || losses() >= 15).await;
        long.notify_one();
        tokio::time::timeout(Duration::from_secs(10), job.ran_dry())
            .await
            .expect("what was held is finished");
        let first_life = seen.lock().unwrap().last().copied();
        assert_eq!(first_life, Some((0, 1)), "the first incarnation finished what it held");
        assert_eq!(job.counts().done, 91, "nothing was tried twice and nothing was lost");
        eventually("every loss is counted", || meter.restarts(RestartReason::Connection).get() == losses())
            .await;
        assert_eq!(meter.restarts_total(), losses(), "and as nothing else");
        let state = rig.engine.run_state();
        assert!(!state.degraded && rig.engine.watch_exit().borrow().is_none());
        rig.engine.close();
    });
}

#[test]
fn an_item_that_cannot_enter_at_once_is_refused_with_the_reason_and_forgotten() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let inbox =
            rig.engine.stage(stage_config(1, 2), ActorMetrics::detached(), Arc::new(NoOutlet), || {
                Recorder(Arc::default())
            });
        let job = rig.engine.job(&JobId::new("toys"));
        let admit = |number: u64| {
            let id = ItemId::new(&number.to_string());
            rig.engine.try_admit(&*inbox, &job, id, Lane::Interactive, toy(number))
        };
        rig.engine.pause().await.unwrap();
        assert_eq!(admit(1), Err(NotAdmitted::Paused));
        rig.engine.resume().await.unwrap();
        inbox.freeze();
        assert_eq!([admit(2), admit(3), admit(4)], [Ok(()), Ok(()), Err(NotAdmitted::Full)]);
        inbox.thaw();
        job.ran_dry().await;
        assert_eq!((job.counts().admitted, job.counts().done), (2, 2));
        rig.engine.drain(Duration::from_secs(1)).await;
        assert_eq!(admit(5), Err(NotAdmitted::Leaving));
        rig.engine.close();
    });
}

#[test]
fn the_supervisor_itself_may_panic_or_hang_and_is_replaced() {
    for (fault, reason) in [(Fault::Panic, RestartReason::Panic), (Fault::Hang, RestartReason::Stuck)] {
        in_system(move |runtime| async move {
            let policy = RestartPolicy { handler_timeout: Duration::from_millis(1_200), ..quick_policy() };
            let rig = rig(runtime, policy, 1, Once::new("supervisor", fault, 1));
            let meter = ActorMetrics::detached();
            let inbox = rig.engine.stage(stage_config(2, 64), meter.clone(), Arc::new(NoOutlet), || Picky {
                runs: Seen::default(),
            });
            let supervisor = rig.supervisor.clone();
            eventually("it is replaced", || supervisor.restarts(reason).get() == 1).await;
            let job = rig.engine.job(&JobId::new("toys"));
            for number in 0..20 {
                rig.admit(&inbox, &job, toy(number)).await;
            }
            job.ran_dry().await;
            assert_eq!(job.counts().dead, 1, "the new supervisor rebuilt the stage after each panic");
            assert!(meter.restarts(RestartReason::Panic).get() >= 1);
            assert_eq!(supervisor.restarts_total(), 1);
            rig.engine.close();
        });
    }
}

#[test]
fn a_restart_storm_degrades_and_then_leaves_with_70() {
    in_system(|runtime| async move {
        let policy = RestartPolicy { restarts: 3, within: Duration::from_millis(500), ..quick_policy() };
        let rig = rig(runtime, policy, 1, Arc::new(NoFaults));
        let built = Arc::new(AtomicU64::new(0));
        let factories = built.clone();
        let _inbox = rig.engine.stage(
            stage_config(1, 8),
            ActorMetrics::detached(),
            Arc::new(NoOutlet),
            move || -> Picky {
                factories.fetch_add(1, Ordering::Relaxed);
                panic!("cannot be built, on purpose")
            },
        );
        let (mut exit, mut run) = (rig.engine.watch_exit(), rig.engine.watch_run_state());
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, run.wait_for(|state| state.degraded))
            .await
            .expect("degrades first")
            .unwrap();
        assert_eq!(built.load(Ordering::Relaxed), 4, "the first and three restarts");
        let code =
            tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await.expect("leaves").unwrap();
        assert_eq!(*code, Some(70));
        rig.engine.close();
    });
}

/// Answers with how often this incarnation was asked; dies over a question when told to.
struct Teller {
    asked: u64,
    die_at: Option<u64>,
}

impl actix::Actor for Teller {
    type Context = actix::Context<Self>;
}

impl Service for Teller {
    const NAME: &'static str = "teller";
}

#[derive(Clone, actix::Message)]
#[rtype(result = "u64")]
struct Ask;

impl actix::Handler<Ask> for Teller {
    type Result = u64;
    fn handle(&mut self, _ask: Ask, _context: &mut Self::Context) -> u64 {
        self.asked += 1;
        assert!(self.die_at != Some(self.asked), "dies over the question, on purpose");
        self.asked
    }
}

impl actix::Handler<Ping> for Teller {
    type Result = ();
    fn handle(&mut self, _ping: Ping, _context: &mut Self::Context) {}
}

#[test]
fn an_ask_that_meets_a_dead_service_is_answered_by_its_next_incarnation() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let meter = ActorMetrics::detached();
        let built = Arc::new(AtomicU64::new(0));
        let teller = rig.engine.service(meter.clone(), move || Teller {
            asked: 0,
            die_at: (built.fetch_add(1, Ordering::Relaxed) == 0).then_some(3),
        });
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(teller.ask(Ask).await.unwrap());
        }
        assert_eq!(
            answers,
            [1, 2, 1, 2, 3],
            "the third question killed the first incarnation and was asked again"
        );
        assert_eq!(meter.restarts(RestartReason::Panic).get(), 1);
        rig.engine.close();
    });
}

#[test]
fn lanes_are_served_by_weight_and_a_full_bulk_lane_never_blocks_an_interactive_item() {
    in_system(|runtime| async move {
        let rig = rig(runtime, quick_policy(), 1, Arc::new(NoFaults));
        let order: Arc<Mutex<Vec<u64>>> = Arc::default();
        let of_stage = order.clone();
        rig.engine.pause().await.unwrap();
        let inbox =
            rig.engine.stage(stage_config(1, 30), ActorMetrics::detached(), Arc::new(NoOutlet), move || {
                Recorder(of_stage.clone())
            });
        let job = rig.engine.job(&JobId::new("toys"));
        let put = |lane: Lane, number: u64| {
            job.admit();
            let id = ItemId::new(&number.to_string());
            let taken = matches!(inbox.try_put(Envelope::admit(&job, id, lane, toy(number))), TryPut::Taken);
            if !taken {
                job.withdraw();
            }
            taken
        };
        for number in 0..30 {
            assert!(put(Lane::Bulk, 2_000 + number));
        }
        assert!(!put(Lane::Bulk, 2_999), "the bulk lane is full");
        for number in 0..30 {
            assert!(put(Lane::Interactive, number), "the interactive lane is not");
            assert!(put(Lane::Normal, 1_000 + number));
        }
        rig.engine.resume().await.unwrap();
        job.ran_dry().await;
        let first: Vec<u64> = order.lock().unwrap().iter().take(21).map(|number| number / 1_000).collect();
        let share = |lane: u64| first.iter().filter(|of| **of == lane).count();
        assert_eq!((share(0), share(1), share(2)), (16, 4, 1));
        rig.engine.close();
    });
}
