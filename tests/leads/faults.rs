//! What the org does to a job, and what that costs.

use orgsim::{Fault, FaultRule};
use penstock::leads::JobPhase;

use crate::plants::store_when_free;
use crate::rig::*;

async fn list(rig: &Rig, plant: &penstock::plant::Plant, count: u32) -> std::path::PathBuf {
    let ids: Vec<String> =
        known(&client(plant), false, count).await.into_iter().map(|lead| lead.id).collect();
    assert_eq!(ids.len(), count as usize);
    rig.file("list.csv", &format!("Id\n{}\n", ids.join("\n")))
}

/// Runs 1,000 leads in reads of 100 under a fault.
async fn under(rule: FaultRule) -> (penstock::http::api::lead_service::LeadJobView, u64) {
    let rig = Rig::new();
    let plant = rig.plant().await;
    let path = list(&rig, &plant, 1_000).await;
    let server = &plant.simulators[0].1;
    server.faults().add(rule);
    let before = server.journal().token_calls.len();
    let start = penstock::http::api::lead_service::StartLeads { read_batch: Some(100), ..sheet(&path) };
    let view = done(&plant, start).await;
    let logins = (plant.simulators[0].1.journal().token_calls.len() - before) as u64;
    assert!(plant.engine.dead_letters().is_empty());
    close(plant).await;
    (view, logins)
}

#[test]
fn a_session_that_expires_in_the_middle_costs_one_login_and_no_lead() {
    let (view, logins) =
        in_system(under(FaultRule::always(Fault::SessionExpired).of_kind("collection").nth(4)));
    assert_eq!((view.progress.counts.assessed, logins), (1_000, 1));
}

#[test]
fn an_org_that_cannot_answer_now_and_then_costs_no_lead() {
    let (view, _) = in_system(under(FaultRule::always(Fault::Unavailable).of_kind("collection").every(3)));
    assert_eq!((view.progress.counts.assessed, view.progress.counts.unread), (1_000, 0));
}

#[test]
fn a_page_that_breaks_off_is_read_again() {
    let (view, _) =
        in_system(under(FaultRule::always(Fault::CutMidBody).of_kind("collection").nth(2).times(2)));
    assert_eq!((view.progress.counts.assessed, view.progress.counts.unread), (1_000, 0));
}

/// A disk without room for a job once its first rows are kept, until somebody makes room.
#[derive(Default)]
struct FullBehindTheFirstRows {
    has_room: std::sync::atomic::AtomicBool,
    refused: std::sync::atomic::AtomicU64,
}

impl penstock::store::disk::Disk for FullBehindTheFirstRows {
    fn free_bytes(&self, folder: &std::path::Path) -> std::io::Result<u64> {
        use std::sync::atomic::Ordering::Relaxed;
        let rows = || {
            let store = rusqlite::Connection::open(folder.join("job.sqlite")).ok()?;
            store.query_row("SELECT count(*) FROM row_chunks", [], |row| row.get::<_, u64>(0)).ok()
        };
        let is_store = folder.join("job.sqlite").exists();
        if self.has_room.load(Relaxed) || !is_store || rows() == Some(0) {
            return Ok(u64::MAX);
        }
        self.refused.fetch_add(1, Relaxed);
        Ok(0)
    }
}

#[test]
fn a_list_that_the_disk_has_no_room_for_waits_for_it_and_goes_on_behind_what_is_kept() {
    use std::sync::atomic::Ordering::Relaxed;
    let disk = std::sync::Arc::new(FullBehindTheFirstRows::default());
    let mut rig = Rig::new();
    rig.disk = std::sync::Arc::clone(&disk) as _;
    in_system(async {
        let plant = rig.plant().await;
        let lead = known(&client(&plant), false, 1).await.remove(0).id;
        // Far more than the reader may be ahead of the store.
        let path = rig.file("long.csv", &format!("Id\n{lead}\n{}", "no id\n".repeat(60_000)));
        let spec = service(&plant).start(sheet(&path)).await.unwrap();
        // Refused once more: the first refusal has come back from the intake.
        let refused_again = async {
            while disk.refused.load(Relaxed) < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), refused_again)
            .await
            .expect("the intake hangs");
        assert_eq!(service(&plant).job(&spec.job).unwrap().progress.phase, JobPhase::Intake);
        disk.has_room.store(true, Relaxed);
        let view = over(&plant, &spec.job).await;
        let counts = view.progress.counts;
        assert_eq!((view.progress.phase, counts.rows, counts.leads), (JobPhase::Done, 60_001, 1));
        close(plant).await;
    });
}

fn bad_request() -> Fault {
    Fault::Status { status: 400, code: "MALFORMED_ID".to_owned(), message: "malformed id".to_owned() }
}

#[test]
fn a_batch_that_is_refused_once_is_halved_and_loses_nothing() {
    let (view, _) = in_system(under(FaultRule::always(bad_request()).of_kind("collection").nth(3)));
    assert_eq!((view.progress.counts.assessed, view.progress.counts.unread), (1_000, 0));
}

#[test]
fn leads_that_the_org_refuses_to_give_are_not_read_and_not_invalid() {
    let (view, _) = in_system(under(FaultRule::always(bad_request()).of_kind("collection")));
    let counts = view.progress.counts;
    assert_eq!((counts.assessed, counts.unread, counts.invalid, counts.no_record), (0, 1_000, 0, 0));
}

#[test]
fn a_field_that_somebody_named_and_the_org_lacks_fails_the_job_by_its_key() {
    let mut rig = Rig::new();
    rig.config.leads.fields.website = "Homepage__c".parse().ok();
    in_system(async {
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 10).await;
        let view = run(&plant, sheet(&path)).await;
        let why = view.progress.error.unwrap();
        assert_eq!(view.progress.phase, JobPhase::Failed);
        assert!(why.contains("leads.fields.website") && why.contains("Homepage__c"), "{why}");
        assert_eq!(view.progress.counts.open, 10, "they are open, for a retry to go on with");
        close(plant).await;
    });
}

#[test]
fn a_job_whose_plant_goes_away_in_the_middle_is_finished_by_the_next() {
    let report = |plant: std::sync::Arc<penstock::plant::Plant>, job: String| async move {
        let path = service(&plant).report(&job, penstock::leads::job::ReportFormat::Csv).await.unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        close(plant).await;
        text
    };
    in_system(async {
        let server = orgsim::Server::start(orgsim::Options::default()).await.unwrap();
        let rig = Rig::new().with_org(&server);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 2_000).await;
        let start = || penstock::http::api::lead_service::StartLeads { read_batch: Some(50), ..sheet(&path) };
        let undisturbed = done(&plant, start()).await;
        let expected = report(plant, undisturbed.spec.job.clone()).await;

        server.faults().add(FaultRule::always(Fault::Latency { ms: 600 }).of_kind("collection"));
        let plant = rig.plant().await;
        let spec = service(&plant).start(start()).await.unwrap();
        let some = |plant: &penstock::plant::Plant| {
            service(plant).job(&spec.job).map_or(0, |view| view.progress.counts.assessed)
        };
        while some(&plant) < 300 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let kept = some(&plant);
        assert!(kept < 2_000, "it is in the middle");
        close(plant).await;

        server.reset_journal();
        let plant = rig.plant().await;
        plant.leads.jobs_behind().resume();
        let view = over(&plant, &spec.job).await;
        assert_eq!(view.progress.phase, JobPhase::Done, "{:?}", view.progress.error);
        adds_up(&view.progress.counts);
        let reads = server.journal().calls.iter().filter(|call| call.kind == "collection").count() as u64;
        assert!(reads <= (2_000 - kept).div_ceil(50), "{reads} reads for {} open leads", 2_000 - kept);
        assert!(plant.leads.jobs_behind().unfinished().is_empty());
        assert_eq!(report(plant, spec.job.clone()).await, expected);
    });
}

#[test]
fn a_job_whose_end_cannot_be_noted_is_over_and_can_be_tried_again() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        plant.simulators[0]
            .1
            .faults()
            .add(FaultRule::always(Fault::Latency { ms: 600 }).of_kind("collection"));
        let path = list(&rig, &plant, 20).await;
        let spec = service(&plant).start(sheet(&path)).await.unwrap();
        let mut watched = service(&plant).watch(&spec.job).expect("it runs");
        let store =
            rusqlite::Connection::open(plant.leads.jobs_behind().folder(&spec.job).join("job.sqlite"))
                .unwrap();
        store.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON job WHEN NEW.phase = 'done'
                      BEGIN SELECT RAISE(ABORT, 'no such sector'); END";
        store.execute_batch(refuse).unwrap();
        let over = async {
            while !watched.borrow_and_update().phase.is_over() {
                watched.changed().await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), over).await.expect("who watches it is told");
        let view = super::rig::over(&plant, &spec.job).await;
        let why = view.progress.error.unwrap();
        assert_eq!((view.progress.phase, view.progress.counts.assessed), (JobPhase::Failed, 20));
        assert!(why.contains("no such sector"), "{why}");
        assert_eq!(plant.leads.jobs_behind().unfinished().len(), 1, "the next start goes on with it");

        store.execute_batch("DROP TRIGGER refuse").unwrap();
        service(&plant).retry(&spec.job, None).await.unwrap();
        let view = super::rig::over(&plant, &spec.job).await;
        assert_eq!((view.progress.phase, view.progress.counts.assessed), (JobPhase::Done, 20));
        assert!(plant.leads.jobs_behind().unfinished().is_empty());
        close(plant).await;
    });
}

async fn open_journal(folder: &std::path::Path) -> penstock::store::journal::SledJournal {
    let metrics = penstock::telemetry::Metrics::new();
    let meter = || penstock::store::journal::JournalMeter {
        commits: metrics.journal_commits_total.clone(),
        fsync_seconds: metrics.store_fsync_seconds.with_label_values(&["journal"]),
    };
    let disk = || std::sync::Arc::new(penstock::store::disk::RealDisk);
    let clock = penstock::clock::SystemClock::shared();
    let open = || penstock::store::journal::SledJournal::open(folder, 4 << 20, disk(), &clock, meter());
    let opened = store_when_free(open).await;
    assert!(opened.quarantined.is_none());
    opened.journal
}

#[test]
fn a_job_whose_plant_went_away_while_its_end_was_noted_is_that_of_the_same_command() {
    use penstock::store::journal_contract::{Journal as _, JournalWrite, Table};
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 20).await;
        let ended = done(&plant, sheet(&path)).await;
        let job = ended.spec.job.clone();
        let folder = plant.state().journal();
        close(plant).await;
        // The journal as it is before the last thing that a job does.
        let record = serde_json::json!({ "job": job, "kind": "leads", "org": "demo", "lane": "normal" });
        let value = serde_json::to_vec(&record).unwrap();
        let put = JournalWrite::Put { table: Table::Jobs, key: job.clone(), value };
        let journal = open_journal(&folder).await;
        journal.commit(vec![put]).await.unwrap();
        drop(journal);

        let plant = rig.plant().await;
        let again = penstock::http::api::lead_service::StartLeads { take_up: true, ..sheet(&path) };
        assert_eq!(service(&plant).start(again.clone()).await.unwrap().job, job);
        assert_eq!(over(&plant, &job).await.progress.counts, ended.progress.counts);
        assert!(plant.leads.jobs_behind().unfinished().is_empty());
        assert_ne!(service(&plant).start(again).await.unwrap().job, job, "it is over");
        close(plant).await;
    });
}

#[test]
fn a_query_whose_cursor_is_lost_finds_each_lead_once() {
    use penstock::http::api::lead_service::{StartLeads, StartSource};
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let gone = Fault::Status {
            status: 400,
            code: "INVALID_QUERY_LOCATOR".to_owned(),
            message: "invalid query locator".to_owned(),
        };
        let server = &plant.simulators[0].1;
        server.faults().add(FaultRule::always(gone).of_kind("query_more").nth(1));
        let soql = "SELECT Id FROM Lead ORDER BY Id LIMIT 4500".to_owned();
        let source = StartSource::Query { soql };
        let view = done(&plant, StartLeads { source, ..sheet(std::path::Path::new("none.csv")) }).await;
        let counts = view.progress.counts;
        let failed = server.journal().calls.iter().filter(|call| call.status == 400).count();
        assert_eq!(failed, 1, "the cursor was lost");
        assert_eq!((counts.rows, counts.leads, counts.duplicates), (4_500, 4_500, 0));
        close(plant).await;
    });
}

#[test]
fn an_old_job_goes_while_the_daemon_runs_and_the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new().with_config("[leads]\nkeep_jobs = \"2s\"\n");
    let folder = rig.config.state_dir.join("leads");
    // What a process left that was killed in the middle of a count, in a folder that everybody may read.
    std::fs::create_dir_all(folder.join(".forecast-x")).unwrap();
    std::fs::create_dir_all(folder.join("leads-20260101T000000000")).unwrap();
    in_system(async {
        let plant = rig.plant().await;
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("-")), "{left:?}");
        plant.leads.jobs_behind().resume();
        let path = list(&rig, &plant, 3).await;
        let view = done(&plant, sheet(&path)).await;
        assert!(folder.join(&view.spec.job).exists());
        for _ in 0..200 {
            if service(&plant).jobs().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(service(&plant).jobs().is_empty(), "nobody is told of it");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!folder.join(&view.spec.job).exists());
        close(plant).await;
    });
}
