//! A push against an org and a warehouse in memory, both of which outlive the process that is killed.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;

use self::world::{QueryClock, Rows, Shared, StillClock};
use super::*;

struct Bench {
    shared: Shared,
    home: tempfile::TempDir,
    runs: u64,
    settings: PushSettings,
}

impl Bench {
    fn new(rows: usize, operation: PushOperation) -> Self {
        let shared = Shared::default();
        shared.world().rows = (1..=rows).map(|at| (format!("k{at}"), format!("{at}.5"))).collect();
        let mut settings =
            PushSettings::new("scores", "Lead".parse().unwrap(), operation, "SELECT key, score FROM scores");
        settings.columns.insert("key".to_owned(), "Ext__c".to_owned());
        settings.results = Some("push_log".parse().unwrap());
        (settings.batch_rows, settings.bulk_from) = (250, 100);
        Self { shared, home: tempfile::tempdir().unwrap(), runs: 0, settings }
    }

    /// A process of its own.
    async fn run(&mut self) -> Result<PushResult, PushError> {
        self.run_by(Arc::new(StillClock)).await
    }

    async fn run_by(&mut self, clock: SharedClock) -> Result<PushResult, PushError> {
        self.runs += 1;
        let shared = self.shared.clone();
        shared.world().is_dead = false;
        let connect = move || Ok(Box::new(Rows(shared.clone())) as Box<dyn Warehouse>);
        let job = PushJob {
            settings: self.settings.clone(),
            org_name: "dev".parse().unwrap(),
            org: Arc::new(self.shared.clone()),
            warehouse: WarehouseThread::start("push-test", Arc::new(connect)).unwrap(),
            folder: self.home.path().to_owned(),
            clock,
        };
        job.run(LoadId::new(self.runs, 1)).await
    }

    /// The last word on each row of the query, by its key: whether it was written, and the code if not.
    fn told(&self, load: &LoadId) -> BTreeMap<String, (bool, String)> {
        let world = self.shared.world();
        let mut told = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for ((of, part), rows) in &world.results {
            if of != load {
                continue;
            }
            for row in rows {
                assert!(
                    seen.insert((row[3].clone(), row[12].clone())),
                    "row {} is told twice in part {part}",
                    row[3]
                );
                told.insert(row[5].clone(), (row[8] == "true", row[9].clone()));
            }
        }
        told
    }
}

fn upsert() -> PushOperation {
    PushOperation::Upsert { external_id: "Ext__c".parse().unwrap() }
}

fn is_bad(number: usize) -> bool {
    number.is_multiple_of(33)
}

/// Every good row is in the org, with its value, and every row is told as what it became.
fn check(bench: &Bench, result: &PushResult, rows: usize) {
    let bad = (1..=rows).filter(|number| is_bad(*number)).count();
    assert_eq!((result.tally.written, result.tally.refused), ((rows - bad) as u64, bad as u64));
    assert_eq!((result.rows_read, result.tally.unknown, result.tally.unfit), (rows as u64, 0, 0));
    assert!(!result.success && result.error.as_deref().unwrap().contains("refused by the org"));
    let told = bench.told(result.id.as_ref().unwrap());
    assert_eq!(told.len(), rows);
    let world = bench.shared.world();
    for number in 1..=rows {
        let key = format!("k{number}");
        let code = if is_bad(number) { "REQUIRED_FIELD_MISSING" } else { "" };
        assert_eq!(told[&key], (!is_bad(number), code.to_owned()), "{key}");
        let expected: &[String] = if is_bad(number) { &[] } else { &[format!("{number}.5")] };
        assert_eq!(world.records.get(&key).map_or(&[][..], Vec::as_slice), expected, "{key}");
    }
    // Nothing that has rows stays at the org, nothing in the folder.
    assert!(world.is_dead || world.jobs.values().all(|job| !job.is_closed), "a job was left");
    drop(world);
    let folder = PushFolder::open(bench.home.path(), "scores").unwrap();
    assert!(folder.progress().unwrap().is_none());
}

#[tokio::test]
async fn rows_go_in_by_jobs_and_each_is_told() {
    let mut bench = Bench::new(600, upsert());
    let result = bench.run().await.unwrap();
    check(&bench, &result, 600);
    // Three batches, and one for the rows that were locked in each.
    assert_eq!((result.batches, result.jobs), (6, 6));
    assert_eq!(result.choice.unwrap().way, PushWay::BulkJobs);
}

#[tokio::test]
async fn few_rows_go_in_by_calls() {
    let mut bench = Bench::new(600, upsert());
    bench.settings.bulk_from = 1_000;
    let result = bench.run().await.unwrap();
    check(&bench, &result, 600);
    assert_eq!((result.jobs, bench.shared.world().jobs_made), (0, 0));
}

#[tokio::test]
async fn twenty_five_thousand_rows_with_bad_ones_survive_a_kill_in_the_middle() {
    let mut bench = Bench::new(25_000, upsert());
    bench.settings.batch_rows = 10_000;
    // After the upload of the second batch.
    bench.shared.world().dies_at = Some((14, true));
    bench.run().await.unwrap_err();
    let written = bench.shared.world().records.len();
    assert!(written > 9_000 && written < 20_000, "{written} rows were written before");
    bench.shared.world().dies_at = None;
    let result = bench.run().await.unwrap();
    check(&bench, &result, 25_000);
    assert_eq!(bench.shared.world().queries, 1, "what was read once is sent as it was read");
}

/// The process dies before and after each thing that it does, and once more a while later.
#[rstest]
#[case::upserts_by_jobs(upsert(), 100)]
#[case::upserts_by_calls(upsert(), 1_000)]
#[case::inserts(PushOperation::Insert, 100)]
#[tokio::test]
async fn wherever_it_is_killed_every_row_is_written_once_and_told(
    #[case] operation: PushOperation,
    #[case] bulk_from: u64,
    #[values(false, true)] behind: bool,
) {
    const ROWS: usize = 220;
    let mut kills = 0;
    for at in 0.. {
        let mut bench = Bench::new(ROWS, operation.clone());
        (bench.settings.batch_rows, bench.settings.bulk_from) = (120, bulk_from);
        bench.shared.world().dies_at = Some((at, behind));
        let result = match bench.run().await {
            Ok(result) => {
                check(&bench, &result, ROWS);
                // Where only the job's end was told to nobody, the push goes on by itself.
                if !bench.shared.world().is_dead {
                    break;
                }
                continue;
            }
            Err(_) => {
                kills += 1;
                let again = bench.shared.world().done + at % 9;
                bench.shared.world().dies_at = Some((again, !behind));
                loop {
                    match bench.run().await {
                        Ok(result) => break result,
                        Err(_) => bench.shared.world().dies_at = None,
                    }
                }
            }
        };
        check(&bench, &result, ROWS);
    }
    assert!(kills >= 9, "only {kills} kills");
}

#[tokio::test]
async fn a_job_that_the_org_forgot_is_made_anew_but_not_for_inserts() {
    for (operation, unknown) in [(upsert(), 0), (PushOperation::Insert, 200)] {
        let mut bench = Bench::new(200, operation);
        // It dies while it waits for the job.
        bench.shared.world().dies_at = Some((5, true));
        bench.run().await.unwrap_err();
        {
            let mut world = bench.shared.world();
            assert_eq!(world.jobs.len(), 1);
            world.jobs.clear();
            world.dies_at = None;
        }
        let result = bench.run().await.unwrap();
        assert_eq!(result.tally.unknown, unknown);
        assert!(bench.shared.world().records.values().all(|writes| writes.len() == 1));
        assert!(!result.success);
    }
}

#[tokio::test]
async fn rows_that_a_broken_job_did_not_come_to_are_sent_again_a_few_times() {
    let mut bench = Bench::new(200, PushOperation::Insert);
    bench.shared.world().jobs_fail = true;
    let result = bench.run().await.unwrap();
    // 200, the later half of them and those that were locked; and again.
    assert_eq!(result.jobs, 3);
    assert!(!result.success);
    let told = bench.told(result.id.as_ref().unwrap());
    assert_eq!(told.len(), 200);
    let left = told.values().filter(|(_, code)| code == "not_processed").count() as u64;
    assert!(left > 0 && left < 60, "{left}");
    assert!(bench.shared.world().records.values().all(|writes| writes.len() == 1));
}

#[rstest]
#[case::an_insert(PushOperation::Insert)]
#[case::an_upsert(upsert())]
#[tokio::test]
async fn a_row_that_a_broken_job_does_not_tell_of_is_sent_again_unless_it_is_an_insert(
    #[case] operation: PushOperation,
) {
    let is_insert = operation == PushOperation::Insert;
    let mut bench = Bench::new(200, operation);
    bench.settings.attempts = 2;
    (bench.shared.world().jobs_fail, bench.shared.world().loses_a_result) = (true, true);
    let result = bench.run().await.unwrap();
    // One of each job.
    assert_eq!((result.jobs, result.tally.unknown), (2, if is_insert { 2 } else { 0 }));
    let told = bench.told(result.id.as_ref().unwrap());
    let told: Vec<&str> = told.values().map(|(_, code)| code.as_str()).collect();
    assert_eq!((told.len(), told.contains(&"not_processed")), (200, true));
    assert_eq!(told.contains(&"unknown"), is_insert);
    let world = bench.shared.world();
    let twice = world.records.iter().find(|(_, writes)| writes.len() != 1);
    assert!(twice.is_none(), "written twice: {twice:?}");
}

#[rstest]
#[case::by_jobs(PushOperation::Insert)]
#[case::by_calls(upsert())]
#[tokio::test]
async fn a_push_that_the_org_refuses_before_anything_was_sent_is_planned_anew(
    #[case] operation: PushOperation,
) {
    let mut bench = Bench::new(20, operation);
    bench.shared.world().refuses_from = Some(0);
    let error = bench.run().await.unwrap_err();
    assert!(error.is_lasting(), "{error}");
    assert!(!PushJob::is_left(bench.home.path(), "scores"));
    // Somebody mends the configuration.
    bench.settings.operation = upsert();
    bench.settings.object = "Contact".parse().unwrap();
    bench.shared.world().rows.truncate(9);
    bench.shared.world().refuses_from = None;
    let result = bench.run().await.unwrap();
    assert_eq!((result.object.as_str(), result.operation.as_str()), ("Contact", "upsert"));
    assert_eq!((result.tally.written, bench.shared.world().queries), (9, 2));
}

#[tokio::test]
async fn a_job_that_never_got_its_rows_does_not_hold_a_refused_push() {
    let mut bench = Bench::new(20, PushOperation::Insert);
    // Before the close.
    bench.shared.world().dies_at = Some((3, false));
    bench.run().await.unwrap_err();
    assert_eq!(bench.shared.world().jobs.len(), 1);
    bench.shared.world().dies_at = None;
    bench.shared.world().refuses_from = Some(0);
    bench.run().await.unwrap_err();
    assert!(!PushJob::is_left(bench.home.path(), "scores"));
    assert!(bench.shared.world().jobs.is_empty(), "a job was left");
}

#[rstest]
#[case::a_part_is_sent_by_jobs(PushOperation::Insert, 100, None, 1)]
#[case::a_part_is_sent_by_calls(upsert(), 1_000, None, 1)]
#[case::nobody_knows_of_a_call(upsert(), 1_000, Some((1, true)), 0)]
#[tokio::test]
async fn a_push_of_which_something_may_be_sent_is_kept_when_the_org_refuses_the_rest(
    #[case] operation: PushOperation,
    #[case] bulk_from: u64,
    #[case] dies_at: Option<(usize, bool)>,
    #[case] refuses_from: usize,
) {
    let mut bench = Bench::new(220, operation);
    (bench.settings.batch_rows, bench.settings.bulk_from) = (120, bulk_from);
    if dies_at.is_some() {
        bench.shared.world().dies_at = dies_at;
        bench.run().await.unwrap_err();
        assert!(!bench.shared.world().records.is_empty());
        bench.shared.world().dies_at = None;
    }
    bench.shared.world().refuses_from = Some(refuses_from);
    assert!(bench.run().await.unwrap_err().is_lasting());
    assert!(PushJob::is_left(bench.home.path(), "scores"));
    bench.shared.world().refuses_from = None;
    let result = bench.run().await.unwrap();
    check(&bench, &result, 220);
    assert_eq!(bench.shared.world().queries, 1);
}

#[tokio::test]
async fn what_does_not_fit_is_told_and_not_sent() {
    let mut bench = Bench::new(3, upsert());
    bench.shared.world().rows.extend([
        ("k5".to_owned(), "many".to_owned()),
        (String::new(), "6".to_owned()),
        ("k1".to_owned(), "9".to_owned()),
    ]);
    let result = bench.run().await.unwrap();
    assert_eq!((result.tally.written, result.tally.unfit), (3, 3));
    assert!(result.error.unwrap().contains("3 rows not sent"));
    let world = bench.shared.world();
    let codes: BTreeSet<&str> =
        world.results.values().flatten().filter(|row| row[8] == "false").map(|row| row[9].as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["bad_value", "duplicate_in_query", "no_match_value"]));
}

#[tokio::test]
async fn a_query_without_rows_is_a_success_without_a_call_for_rows() {
    let mut bench = Bench::new(0, upsert());
    let result = bench.run().await.unwrap();
    assert!(result.success);
    assert_eq!(bench.shared.world().done, 1, "the describe");
}

#[tokio::test]
async fn a_query_that_cannot_be_pushed_sends_nothing() {
    let mut bench = Bench::new(3, upsert());
    bench.settings.columns.clear();
    let error = bench.run().await.unwrap_err();
    assert!(error.to_string().contains("column `key` of the query"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(bench.shared.world().done, 1, "the describe");
}

#[test]
fn an_object_that_the_org_has_not_is_told_by_its_key() {
    let bench = Bench::new(1, PushOperation::Insert);
    let missing = OrgError::Rejected {
        status: 404,
        code: "NOT_FOUND".to_owned(),
        message: "The requested resource does not exist".to_owned(),
    };
    let told = PushError::of_describe(&bench.settings, missing);
    assert_eq!(told.kind(), ErrorKind::Job);
    let told = told.to_string();
    assert!(told.contains("`Lead`") && told.contains("`object`") && told.contains("`scores`"), "{told}");
}

#[tokio::test]
async fn a_results_table_that_a_sync_holds_is_waited_for() {
    let mut bench = Bench::new(120, upsert());
    bench.shared.world().locked = 100;
    let result = bench.run().await.unwrap();
    check(&bench, &result, 120);
    assert_eq!(bench.shared.world().locked, 0);
}

#[tokio::test]
async fn a_results_table_that_stays_locked_ends_the_push_which_is_gone_on_with() {
    let mut bench = Bench::new(120, upsert());
    bench.shared.world().locked = usize::MAX;
    let error = bench.run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    bench.shared.world().locked = 0;
    let result = bench.run().await.unwrap();
    check(&bench, &result, 120);
    assert_eq!(bench.shared.world().queries, 1);
}

#[tokio::test]
async fn a_query_that_does_not_end_is_cancelled_and_said_to_be_too_long() {
    let mut bench = Bench::new(120, upsert());
    bench.shared.world().is_endless = true;
    let clock = Arc::new(QueryClock(bench.shared.clone()));
    let run = tokio::time::timeout(Duration::from_secs(20), bench.run_by(clock)).await;
    bench.shared.world().is_cancelled = true;
    let error = run.expect("the query is cancelled").unwrap_err();
    assert!(error.to_string().contains("within an hour"), "{error}");
}
