//! The line against an org that has nothing left, or that is down: what waits, what is said meanwhile, and that nothing is
//! lost. Days pass in seconds, because the plant's clock is the test's.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

#[path = "support/plants.rs"]
mod plants;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orgsim::{Fault as OrgFault, FaultRule};
use penstock::actors::engine::NoFaults;
use penstock::actors::schema_job::{SchemaJobError, SchemaReport};
use penstock::clock::{Clock, ManualClock};
use penstock::config::Config;
use penstock::control::{Command, Reply};
use penstock::desk::{self, run_schema_job};
use penstock::limiter::{BreakerState, Priority};
use penstock::messages::Lane;
use penstock::model::OrgName;
use penstock::plant::{Outside, Plant};
use penstock::salesforce::gate::GateError;
use penstock::salesforce::{Api, OrgError};
use penstock::store::disk::RealDisk;
use penstock::telemetry::Metrics;
use plants::plant_when_free;

const DAY: Duration = Duration::from_secs(86_400);
const DAILY_LIMIT: u64 = 15_000;
/// A real wait that is longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn in_system<F: Future>(work: F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(work)
}

/// A clock that runs as fast as it is told, about: each millisecond it goes on by a step.
struct Hurry {
    clock: Arc<ManualClock>,
    step_micros: Arc<AtomicU64>,
    ticks: tokio::task::JoinHandle<()>,
}

impl Hurry {
    fn start() -> Self {
        let (clock, step_micros) = (ManualClock::new(), Arc::new(AtomicU64::new(1_000)));
        let (ticking, step) = (Arc::clone(&clock), Arc::clone(&step_micros));
        let ticks = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                ticking.advance(Duration::from_micros(step.load(Ordering::Relaxed)));
            }
        });
        Self { clock, step_micros, ticks }
    }

    fn pass_a_millisecond_in(&self, step: Duration) {
        self.step_micros.store(u64::try_from(step.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}

struct Rig {
    _folder: tempfile::TempDir,
    config: Config,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, std::iter::empty()).unwrap();
        config.state_dir = folder.path().join("state");
        config.output_dir = folder.path().join("output");
        // A handler's two minutes are a few milliseconds when a day passes in ten seconds.
        config.engine.handler_timeout_secs = 86_400;
        Self { _folder: folder, config }
    }

    /// Enough objects for a job to have a middle, few enough to be quick.
    fn small(mut self) -> Self {
        let patterns = ["A*", "C*", "O*", "Lead", "User", "*__c"];
        self.config.schema.include = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        self.config.actors.batcher.seal_items = 10;
        self.config.simulator.latency_ms = 10;
        self
    }

    async fn plant(&self, hurry: &Hurry) -> Arc<Plant> {
        let clock = Arc::<ManualClock>::clone(&hurry.clock);
        let outside = Outside { clock, disk: Arc::new(RealDisk), faults: Arc::new(NoFaults), seed: 7 };
        plant_when_free(async || Plant::build(&self.config, outside.clone(), Metrics::new()).await).await
    }

    fn jsonl(&self) -> String {
        std::fs::read_to_string(self.config.output_dir.join("demo/documents.jsonl")).unwrap()
    }
}

fn org() -> OrgName {
    "demo".parse().unwrap()
}

async fn close(plant: Arc<Plant>) {
    plant.engine.close();
    drop(plant);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

type Job = tokio::task::JoinHandle<Result<SchemaReport, SchemaJobError>>;

fn start(plant: &Arc<Plant>) -> Job {
    let working = Arc::clone(plant);
    tokio::spawn(async move { run_schema_job(&working, &org(), Lane::Bulk).await })
}

/// Starts a job, and says at 60 % of its calls that so many were used. The org is slow until then: who looks at the job
/// has the time, on a busy machine too.
async fn used_at_60_percent(plant: &Arc<Plant>, calls: u64, used: u64) -> Job {
    let simulator = &plant.simulators[0].1;
    simulator.faults().add(FaultRule::always(OrgFault::Latency { ms: 100 }));
    let job = start(plant);
    until("60 % of the job", || calls_made(plant) * 10 >= calls * 6).await;
    simulator.set_used(used);
    simulator.faults().clear();
    job
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

async fn done(job: Job) -> SchemaReport {
    tokio::time::timeout(PATIENCE, job).await.expect("the job goes on by itself").unwrap().unwrap()
}

/// What the job waits for, as `penstock status` says it.
fn waits(plant: &Plant) -> Option<String> {
    desk::status(plant)["jobs"][0]["waits"].as_str().map(str::to_owned)
}

fn calls_made(plant: &Plant) -> u64 {
    plant.simulators[0].1.journal().total
}

fn nothing_was_lost(plant: &Plant, report: &SchemaReport) {
    assert!(report.objects_failed.is_empty() && report.families_failed.is_empty(), "{report:?}");
    assert_eq!(report.objects_written, report.objects_listed);
    assert!(plant.engine.dead_letters().is_empty());
}

/// Attempts that items of the fetcher have spent.
fn attempts_spent(plant: &Plant) -> u64 {
    use penstock::telemetry::RedeliveryReason;
    plant.metrics.actor("fetcher").redeliveries(RedeliveryReason::Retry).get()
}

/// An undisturbed run on a rig of this kind: its report, its calls and its library.
fn undisturbed() -> (SchemaReport, u64, String) {
    let rig = Rig::new().small();
    let (report, calls) = in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        let report = done(start(&plant)).await;
        let calls = calls_made(&plant);
        close(plant).await;
        (report, calls)
    });
    (report, calls, rig.jsonl())
}

#[test]
fn a_job_whose_org_has_nothing_left_at_60_percent_sleeps_to_the_reset_and_loses_no_call() {
    let (whole, calls, library) = undisturbed();
    let rig = Rig::new().small();
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        let simulator = &plant.simulators[0].1;
        let job = used_at_60_percent(&plant, calls, DAILY_LIMIT).await;
        let spent_at = hurry.clock.elapsed();
        until("the job to stand still", || waits(&plant).is_some()).await;
        // What is in flight comes home.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let said = waits(&plant).expect("it still waits");
        assert!(said.starts_with("waiting for the daily allowance until about "), "{said}");
        assert!(said.ends_with(" UTC"), "{said}");
        let made_before = calls_made(&plant);
        assert!(made_before < calls, "{made_before} of {calls}");

        hurry.pass_a_millisecond_in(Duration::from_secs(20));
        until("the day to pass", || hurry.clock.elapsed() >= spent_at + DAY).await;
        assert!(!job.is_finished(), "it sleeps to the reset");
        assert!(waits(&plant).is_some());
        assert_eq!(calls_made(&plant), made_before, "the org served nothing meanwhile");
        let refused = |plant: &Plant| {
            let journal = plant.simulators[0].1.journal();
            journal.calls.iter().filter(|call| call.status == 403).count()
        };
        // At most what was in flight, and a probe each 15 minutes: no busy loop.
        let refusals = refused(&plant);
        assert!((2..=20 + 100).contains(&refusals), "{refusals} refused calls in a day");
        simulator.set_used(0);
        let reset_at = hurry.clock.elapsed();
        until("the job to go on", || waits(&plant).is_none()).await;
        let slept = hurry.clock.elapsed() - reset_at;
        assert!(slept <= Duration::from_secs(30 * 60), "it went on {slept:?} after the reset");
        hurry.pass_a_millisecond_in(Duration::from_millis(1));

        let report = done(job).await;
        nothing_was_lost(&plant, &report);
        assert_eq!(report.objects_listed, whole.objects_listed);
        // Groups that were under way may be cut differently; no served call is made twice.
        let served = calls_made(&plant);
        assert!(served.abs_diff(calls) <= 2, "{served} calls, undisturbed {calls}");
        assert_eq!(attempts_spent(&plant), 0, "waiting costs no attempt");
        close(plant).await;
    });
    assert!(rig.jsonl() == library, "another library came out");
}

#[test]
fn bulk_work_stops_at_its_share_while_others_go_on_and_the_org_keeps_the_rest() {
    let (_, calls, library) = undisturbed();
    let rig = Rig::new().small();
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        let simulator = &plant.simulators[0].1;
        // Somebody else has used 75 %: bulk stops at 70 %, normal at 85 %.
        let job = used_at_60_percent(&plant, calls, 11_250).await;
        until("the job to stand still", || waits(&plant).is_some()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let made_before = calls_made(&plant);
        assert!(made_before < calls, "{made_before} of {calls}");
        let client = plant.clients[&org()].clone();
        client.with_priority(Priority::Normal).versions().await.expect("normal work goes on");
        let spoken = client.with_priority(Priority::Bulk).versions().await;
        assert!(matches!(spoken, Err(OrgError::Gate(GateError::QuotaSpent { .. }))), "{spoken:?}");

        let now = hurry.clock.elapsed();
        hurry.pass_a_millisecond_in(Duration::from_secs(10));
        until("three hours", || hurry.clock.elapsed() >= now + DAY / 8).await;
        let probes = calls_made(&plant) - made_before - 1;
        assert!(probes <= 5, "{probes} calls beyond the share in three hours");
        assert!(!job.is_finished());
        simulator.set_used(100);
        until("the job to go on", || waits(&plant).is_none()).await;
        hurry.pass_a_millisecond_in(Duration::from_millis(1));
        let report = done(job).await;
        nothing_was_lost(&plant, &report);
        assert_eq!(attempts_spent(&plant), 0, "waiting costs no attempt");
        close(plant).await;
    });
    assert!(rig.jsonl() == library, "another library came out");
}

#[test]
fn a_restart_does_not_forget_that_the_allowance_is_spent() {
    let rig = Rig::new().small();
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        plant.simulators[0].1.set_used(DAILY_LIMIT);
        let job = start(&plant);
        until("the job to stand still", || waits(&plant).is_some()).await;
        until("the limits to be kept", || {
            std::fs::read_to_string(rig.config.state_dir.join("limits.json"))
                .is_ok_and(|text| text.contains("\"exhausted\":true"))
        })
        .await;
        job.abort();
        close(plant).await;

        let plant = rig.plant(&hurry).await;
        let record = plant.schema.unfinished().into_iter().next().expect("the job was kept");
        let working = Arc::clone(&plant);
        let job = tokio::spawn(async move { working.schema.run(&record).await });
        until("the job to stand still", || waits(&plant).is_some()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(calls_made(&plant), 0, "it asks nothing before the next probe is due");
        // Whoever waits in person is told at once.
        let Reply::Done(limits) = desk::perform(&plant, Command::Limits { org: None }).await else {
            panic!()
        };
        let message = limits["orgs"][0]["failure"]["message"].as_str().expect("the org was not asked");
        assert!(message.contains("the daily allowance of `demo` is used up"), "{message}");
        assert_eq!(limits["orgs"][0]["budget"]["limiter"]["quota_exhausted"], true);

        hurry.pass_a_millisecond_in(Duration::from_secs(1));
        until("the probe", || calls_made(&plant) > 0).await;
        hurry.pass_a_millisecond_in(Duration::from_millis(1));
        nothing_was_lost(&plant, &done(job).await);
        close(plant).await;
    });
}

#[test]
fn an_org_that_is_down_is_left_alone_and_its_job_waits_without_spending_attempts() {
    let mut rig = Rig::new().small();
    rig.config.org[0].limits.breaker_open_secs = 10;
    rig.config.org[0].limits.breaker_open_max_secs = 60;
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        let job = start(&plant);
        until("the describes", || calls_made(&plant) > 20).await;
        let faults = plant.simulators[0].1.faults();
        faults.add(FaultRule::always(OrgFault::Unavailable));
        hurry.pass_a_millisecond_in(Duration::from_millis(50));
        let not_closed = |plant: &Plant| {
            let views = plant.book.views();
            views[0].breakers.iter().filter(|view| view.state != BreakerState::Closed).count()
        };
        until("a breaker to open", || not_closed(&plant) > 0).await;
        let opened = |plant: &Plant| -> u64 {
            let counts = Api::ALL
                .map(|api| plant.metrics.org_breaker_opened_total.with_label_values(&[api.as_str()]).get());
            counts.iter().sum()
        };
        assert!(opened(&plant) > 0);
        let down_at = hurry.clock.elapsed();
        until("the job to say so", || {
            waits(&plant).is_some_and(|said| said.contains("fails call after call"))
        })
        .await;
        let attempts_when_open = attempts_spent(&plant);
        let calls_when_open = plant.simulators[0].1.journal().calls.len();
        until("ten minutes", || hurry.clock.elapsed() >= down_at + Duration::from_secs(600)).await;
        let text = plant.metrics.render();
        let gauge = text.lines().find(|line| {
            line.starts_with("penstock_org_breakers{") && !line.contains("closed") && line.ends_with(" 1")
        });
        assert!(gauge.is_some(), "the metrics show it");
        // A probe each minute or so for each part of the org, and what was in flight.
        let calls_while_down = plant.simulators[0].1.journal().calls.len() - calls_when_open;
        assert!(calls_while_down <= 80, "{calls_while_down} calls to an org that is down");
        // An item spends attempts before its part of the org has failed ten times, none while that is open.
        let spent = attempts_spent(&plant) - attempts_when_open;
        assert!(spent <= 10, "{spent} attempts spent");
        assert!(!job.is_finished() && plant.engine.dead_letters().is_empty());

        faults.clear();
        let report = done(job).await;
        nothing_was_lost(&plant, &report);
        until("the breakers to close", || not_closed(&plant) == 0).await;
        close(plant).await;
    });
}

#[test]
fn a_forecast_is_near_what_was_used_in_the_end() {
    let rig = Rig::new();
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        let first = done(start(&plant)).await;
        let off = first.calls_forecast.abs_diff(first.calls) * 100 / first.calls;
        assert!(off <= 10, "{} expected, {} made", first.calls_forecast, first.calls);
        let second = done(start(&plant)).await;
        assert_eq!((second.calls_forecast, second.calls), (1, 1), "the cache has the rest");
        close(plant).await;
    });
}

#[test]
fn limits_are_told_with_shares_rooms_and_breakers() {
    let rig = Rig::new();
    in_system(async {
        let hurry = Hurry::start();
        let plant = rig.plant(&hurry).await;
        plant.simulators[0].1.set_used(1_000);
        let Reply::Done(told) = desk::perform(&plant, Command::Limits { org: Some(org()) }).await else {
            panic!()
        };
        let demo = &told["orgs"][0];
        let daily = demo["limits"].as_array().unwrap().iter().find(|row| row["limit"] == "DailyApiRequests");
        assert_eq!(daily.unwrap()["max"], DAILY_LIMIT);
        // One call was made to ask.
        assert_eq!(demo["budget"]["limiter"]["quota"]["used"], 1_001);
        let rooms: Vec<_> = demo["budget"]["limiter"]["shares"]
            .as_array()
            .unwrap()
            .iter()
            .map(|share| share["room"].as_u64().unwrap())
            .collect();
        assert_eq!(rooms, [14_250 - 1_001, 12_750 - 1_001, 10_500 - 1_001]);
        assert_eq!(demo["budget"]["breakers"].as_array().unwrap().len(), Api::ALL.len());
        let unknown = desk::perform(&plant, Command::Limits { org: Some("nowhere".parse().unwrap()) }).await;
        assert!(matches!(unknown, Reply::Failed { .. }));
        close(plant).await;
    });
}
