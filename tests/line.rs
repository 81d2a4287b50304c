//! The whole line on the whole simulated org: figures, answers, and what becomes of it when its actors break, its disk is
//! full, its org misbehaves. The named guarantees *once*, *honest* and *frozen* on the real line are here; *durable* is
//! shown on a killed process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

#[path = "support/plants.rs"]
mod plants;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use orgsim::{Fault as OrgFault, FaultRule};
use penstock::actors::engine::{Fault, FaultPoint, NoFaults};
use penstock::actors::schema_job::SchemaReport;
use penstock::ai::{ModelFolderError, StaticEmbedder};
use penstock::clock::SystemClock;
use penstock::config::Config;
use penstock::desk::{self, run_schema_job};
use penstock::messages::Lane;
use penstock::model::OrgName;
use penstock::plant::{Outside, Plant, PlantError};
use penstock::store::disk::{Disk, RealDisk};
use penstock::telemetry::Metrics;
use penstock::vectors::{Search, SearchFilter};
use plants::plant_when_free;

const OBJECTS: usize = 1_462;

fn in_system<F: Future>(work: F) -> F::Output {
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("a fault was asked for") {
            eprintln!("{info}");
        }
    }));
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(work)
}

struct Rig {
    folder: tempfile::TempDir,
    config: Config,
    faults: Arc<dyn FaultPoint>,
    disk: Arc<dyn Disk>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, std::iter::empty()).unwrap();
        config.state_dir = folder.path().join("state");
        config.output_dir = folder.path().join("output");
        Self { folder, config, faults: Arc::new(NoFaults), disk: Arc::new(RealDisk) }
    }

    /// A few objects only, where the size of the org does not matter.
    fn small(mut self) -> Self {
        let patterns = ["Opportunity*", "Lead", "Account", "Contact", "Rent_Invoice__c", "Case", "User"];
        self.config.schema.include = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        self
    }

    async fn plant(&self) -> Arc<Plant> {
        let outside = Outside {
            clock: SystemClock::shared(),
            disk: Arc::clone(&self.disk),
            faults: Arc::clone(&self.faults),
            seed: 7,
        };
        plant_when_free(async || Plant::build(&self.config, outside.clone(), Metrics::new()).await).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.config.output_dir.join("demo").join(name)
    }

    fn jsonl(&self) -> String {
        std::fs::read_to_string(self.file("documents.jsonl")).unwrap()
    }
}

fn org() -> OrgName {
    "demo".parse().unwrap()
}

async fn run(plant: &Plant) -> SchemaReport {
    run_schema_job(plant, &org(), Lane::Bulk).await.unwrap()
}

/// The plant lets go of its folder's lock and stores.
async fn close(plant: Arc<Plant>) {
    plant.engine.close();
    drop(plant);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

/// The JSONL of an undisturbed run.
fn undisturbed() -> &'static str {
    static JSONL: OnceLock<String> = OnceLock::new();
    JSONL.get_or_init(|| {
        let rig = Rig::new();
        in_system(async {
            let plant = rig.plant().await;
            run(&plant).await;
            close(plant).await;
        });
        rig.jsonl()
    })
}

#[test]
fn honest_a_whole_org_becomes_a_library_for_few_calls_and_an_unchanged_one_for_next_to_none() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let first = run(&plant).await;
        let journal = plant.simulators[0].1.journal();
        assert_eq!((first.objects_listed, first.objects_written), (OBJECTS, OBJECTS));
        assert!(first.objects_failed.is_empty() && first.families_failed.is_empty(), "{first:?}");
        assert!(journal.total <= 200, "{} calls", journal.total);
        // Our own count holds the login, which the org does not charge.
        assert_eq!(first.calls, journal.total + journal.token_calls.len() as u64);
        let lines = rig.jsonl().lines().count() as u64;
        assert_eq!((first.documents, first.vectors, first.documents_written), (lines, lines, lines));
        assert_eq!(std::fs::read_dir(rig.file("objects")).unwrap().count(), OBJECTS);
        let embedded = plant.metrics.embed_texts_total.with_label_values(&["embedded"]).get();
        assert_eq!(embedded, lines);

        let second = run(&plant).await;
        let again = plant.simulators[0].1.journal().total - journal.total;
        // The list of objects and nothing else: the issue of calls is settled by what has changed.
        assert!(again <= 4, "{again} calls for an unchanged org");
        assert_eq!((second.documents_written, second.documents_unchanged), (0, lines));
        let embedded_again =
            plant.metrics.embed_texts_total.with_label_values(&["embedded"]).get() - embedded;
        assert_eq!(embedded_again, 0, "no text was embedded again");
        close(plant).await;
    });
    assert_eq!(rig.jsonl(), undisturbed());
    questions_are_answered(&rig.config.state_dir.join("library.sqlite"));
}

fn questions_are_answered(library: &Path) {
    #[derive(serde::Deserialize)]
    struct Questions {
        question: Vec<Question>,
    }
    #[derive(serde::Deserialize)]
    struct Question {
        text: String,
        expect: Vec<String>,
        paraphrase: bool,
    }
    let set: Questions = toml_edit::de::from_str(include_str!("questions/demo.toml")).unwrap();
    assert!(set.question.len() >= 10);
    assert!(set.question.iter().filter(|question| question.paraphrase).count() >= 4);
    let (search, model) = (Search::open_read_only(library).unwrap(), StaticEmbedder::new());
    let mut missed = Vec::new();
    for question in &set.question {
        let filter = SearchFilter { limit: 5, ..SearchFilter::of(org()) };
        let hits = search.search(&model, &question.text, &filter).unwrap();
        let found: Vec<_> = hits.iter().map(|hit| hit.object.to_string()).collect();
        if !found.iter().any(|object| question.expect.contains(object)) {
            missed.push(format!("{}: {found:?}", question.text));
        }
    }
    assert!(missed.len() * 10 <= set.question.len(), "at least nine of ten are answered: {missed:#?}");
}

/// Strikes one actor once, at its `nth` piece of work.
struct Once {
    actor: &'static str,
    fault: Fault,
    left: AtomicUsize,
    struck: AtomicBool,
}

impl FaultPoint for Once {
    fn strike(&self, actor: &'static str) -> Fault {
        let due = actor == self.actor && self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if due && !self.struck.swap(true, Ordering::AcqRel) { self.fault } else { Fault::None }
    }
}

/// Holds the org's answers back so long that reading it takes twice the silence that is allowed: the rows of one family
/// come page after page, fifteen of them.
const SLOW_ORG_MS: u64 = 600;

fn break_once(actor: &'static str, fault: Fault) {
    let mut rig = Rig::new();
    let once = Arc::new(Once { actor, fault, left: AtomicUsize::new(3), struck: AtomicBool::new(false) });
    rig.faults = once.clone();
    if fault == Fault::Hang {
        rig.config.engine.handler_timeout_secs = 4;
    }
    if (actor, fault) == ("supervisor", Fault::Hang) {
        // Nobody waits for a supervisor on an undisturbed line: the run must outlast its silence, or none would notice.
        rig.config.simulator.latency_ms = SLOW_ORG_MS;
    }
    in_system(async {
        let plant = rig.plant().await;
        let report = run(&plant).await;
        assert_eq!(report.objects_written, OBJECTS, "{actor} {fault:?}: {report:?}");
        assert!(once.struck.load(Ordering::Acquire), "{actor} {fault:?}: the fault came");
        for status in plant.engine.status() {
            let restarts: u64 = status.restarts.values().sum();
            let expected = u64::from(status.actor == actor);
            assert_eq!(
                restarts, expected,
                "{actor} {fault:?}: restarts of {}: {:?}",
                status.actor, status.restarts
            );
        }
        close(plant).await;
    });
    assert!(rig.jsonl() == undisturbed(), "{actor} {fault:?}: another library came out");
}

macro_rules! each_actor {
    ($($name:ident: $actor:literal, $fault:ident;)*) => { $(
        #[test]
        fn $name() {
            break_once($actor, Fault::$fault);
        }
    )* };
}
each_actor! {
    once_a_batcher_that_panics_changes_nothing: "batcher", Panic;
    once_a_fetcher_that_panics_changes_nothing: "fetcher", Panic;
    once_a_composer_that_panics_changes_nothing: "composer", Panic;
    once_an_embedder_that_panics_changes_nothing: "embedder", Panic;
    once_a_sync_writer_that_panics_changes_nothing: "sync_writer", Panic;
    once_a_cache_that_panics_changes_nothing: "cache", Panic;
    once_a_rate_limiter_that_panics_changes_nothing: "rate_limiter", Panic;
    once_a_supervisor_that_panics_changes_nothing: "supervisor", Panic;
    once_a_batcher_that_hangs_changes_nothing: "batcher", Hang;
    once_a_fetcher_that_hangs_changes_nothing: "fetcher", Hang;
    once_a_composer_that_hangs_changes_nothing: "composer", Hang;
    once_an_embedder_that_hangs_changes_nothing: "embedder", Hang;
    once_a_sync_writer_that_hangs_changes_nothing: "sync_writer", Hang;
    once_a_cache_that_hangs_changes_nothing: "cache", Hang;
    once_a_rate_limiter_that_hangs_changes_nothing: "rate_limiter", Hang;
    once_a_supervisor_that_hangs_changes_nothing: "supervisor", Hang;
}

#[test]
fn an_object_whose_describe_makes_no_sense_fails_with_its_name_and_the_rest_goes_on() {
    let rig = Rig::new().small();
    in_system(async {
        let plant = rig.plant().await;
        let faults = plant.simulators[0].1.faults();
        faults.add(FaultRule::always(OrgFault::UnparsableDescribe).on_object("Lead"));
        let report = run(&plant).await;
        assert_eq!(report.objects_failed.keys().collect::<Vec<_>>(), ["Lead"]);
        assert!(report.objects_failed["Lead"].contains("Lead"), "{:?}", report.objects_failed);
        assert_eq!(report.objects_written, report.objects_listed - 1);
        assert!(!rig.jsonl().contains("\"Lead:overview\""));
        let told = std::fs::read_to_string(rig.file("report.json")).unwrap();
        assert!(told.contains("Lead"), "{told}");

        faults.clear();
        let numbers: Vec<u64> = plant.engine.dead_letters().iter().map(|letter| letter.number).collect();
        assert_eq!(numbers.len(), 1);
        // The letter holds no describe, so trying it again asks the org anew.
        plant.schema.retry_letters(&numbers).await.unwrap();
        assert!(plant.engine.dead_letters().is_empty());
        assert!(rig.jsonl().contains("\"Lead:overview\""));
        close(plant).await;
    });
}

#[test]
fn a_family_that_fails_is_reported_and_does_not_empty_the_others() {
    let rig = Rig::new().small();
    in_system(async {
        let plant = rig.plant().await;
        let rule = FaultRule::always(OrgFault::BadJson).of_kind("query").on_object("FlowDefinitionView");
        plant.simulators[0].1.faults().add(rule);
        let report = run(&plant).await;
        let failed: Vec<_> = report.families_failed.iter().map(|failure| failure.family.as_str()).collect();
        assert_eq!(failed, ["flows"], "{report:?}");
        assert!(report.objects_failed.is_empty());
        let jsonl = rig.jsonl();
        assert!(jsonl.contains("could not be read"), "the documents say so");
        assert!(jsonl.contains("Lost_Needs_Reason"), "validation rules are there all the same");
        close(plant).await;
    });
}

#[test]
fn passing_faults_of_the_org_cost_calls_and_nothing_else() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let faults = plant.simulators[0].1.faults();
        faults.add(FaultRule::always(OrgFault::Unavailable).with_probability(0.08, 1));
        faults.add(FaultRule::always(OrgFault::CutMidBody).with_probability(0.04, 2));
        faults.add(FaultRule::always(OrgFault::SessionExpired).nth(20));
        let report = run(&plant).await;
        assert_eq!(report.objects_written, OBJECTS, "{:?}", report.objects_failed);
        assert!(faults.fired().iter().all(|times| *times > 0), "the faults came");
        close(plant).await;
    });
    assert!(rig.jsonl() == undisturbed());
}

/// A disk that is full until told otherwise.
struct Tide {
    full: AtomicBool,
}

impl Disk for Tide {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        if self.full.load(Ordering::Acquire) { Ok(1 << 20) } else { RealDisk.free_bytes(folder) }
    }
}

#[test]
fn a_full_disk_stops_the_job_and_room_lets_it_go_on() {
    let mut rig = Rig::new().small();
    let tide = Arc::new(Tide { full: AtomicBool::new(false) });
    rig.disk = tide.clone();
    in_system(async {
        let plant = rig.plant().await;
        let record = plant.schema.accept(&org(), Lane::Bulk).await.unwrap();
        tide.full.store(true, Ordering::Release);
        let (working, job) = (Arc::clone(&plant), record.clone());
        let job = tokio::spawn(async move { working.schema.run(&job).await });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!job.is_finished(), "it waits");
        assert_eq!(plant.schema.unfinished().len(), 1, "and is not lost");
        tide.full.store(false, Ordering::Release);
        let report = tokio::time::timeout(Duration::from_secs(60), job).await.unwrap().unwrap().unwrap();
        assert!(report.objects_failed.is_empty() && report.families_failed.is_empty(), "{report:?}");
        assert_eq!(report.objects_written, report.objects_listed);
        close(plant).await;
    });
}

#[test]
fn frozen_no_call_reaches_the_org_later_than_a_second_after_a_pause_and_a_restart_stays_paused() {
    let mut rig = Rig::new();
    rig.config.simulator.latency_ms = 60;
    in_system(async {
        let plant = rig.plant().await;
        let working = Arc::clone(&plant);
        let job = tokio::spawn(async move { run_schema_job(&working, &org(), Lane::Bulk).await });
        let simulator = &plant.simulators[0].1;
        while simulator.journal().total < 30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        plant.engine.pause().await.unwrap();
        let paused_at = simulator.elapsed_ms();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let late: Vec<_> =
            simulator.journal().calls.into_iter().filter(|call| call.at_ms > paused_at + 1_000).collect();
        assert!(late.is_empty(), "{late:?}");
        assert!(!job.is_finished());
        assert_eq!(desk::status(&plant)["state"]["paused"], true);
        job.abort();
        close(plant).await;

        let plant = rig.plant().await;
        assert!(plant.engine.run_state().paused, "a restart stays paused");
        let record = plant.schema.unfinished().into_iter().next().expect("the job was kept");
        let working = Arc::clone(&plant);
        let job = tokio::spawn(async move { working.schema.run(&record).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(plant.simulators[0].1.journal().total, 0, "not even a login");
        plant.engine.resume().await.unwrap();
        let report = job.await.unwrap().unwrap();
        assert_eq!(report.objects_written, OBJECTS);
        close(plant).await;
    });
    assert!(rig.jsonl() == undisturbed());
}

#[test]
fn a_model_that_broke_after_the_configuration_was_checked_stops_the_start_before_anything_is_opened() {
    let mut rig = Rig::new();
    rig.config.embedder.model_dir = Some(rig.folder.path().join("nowhere"));
    let outside = Outside { seed: 7, ..Outside::real() };
    let error = in_system(async { Plant::build(&rig.config, outside, Metrics::new()).await.unwrap_err() });
    let PlantError::Model(ModelFolderError::Read { path, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(path, &rig.folder.path().join("nowhere/config.json"));
    assert_eq!(error.to_string(), "embedder.model_dir");
    assert!(!rig.config.state_dir.exists());
}

#[test]
fn objects_that_vanish_from_the_org_vanish_from_the_library() {
    let mut rig = Rig::new().small();
    in_system(async {
        let plant = rig.plant().await;
        let before = run(&plant).await;
        close(plant).await;
        rig.config.schema.exclude = vec!["Lead".parse().unwrap()];
        let plant = rig.plant().await;
        let after = run(&plant).await;
        assert_eq!(after.objects_listed, before.objects_listed - 1);
        assert!(after.documents_removed > 0 && after.documents < before.documents);
        assert!(!rig.file("objects/Lead.md").exists());
        close(plant).await;
    });
}

#[test]
fn nothing_is_left_behind_in_the_folders_but_what_belongs_there() {
    let rig = Rig::new().small();
    in_system(async {
        let plant = rig.plant().await;
        run(&plant).await;
        close(plant).await;
    });
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let files = names(rig.folder.path().join("output/demo"));
    let expected = ["documents.jsonl", "edges.csv", "nodes.csv", "objects", "report.json"];
    assert_eq!(files, expected.map(str::to_owned).into());
}
