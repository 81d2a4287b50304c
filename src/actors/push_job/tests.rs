//! A push against an org and a warehouse in memory, both of which outlive the process that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::clock::{BoxFuture, Clock};
use crate::model::{ObjectDescribe, ObjectName};
use crate::salesforce::{HttpError, HttpErrorKind, PageReader, RecordWritten};
use crate::sync::{
    ColumnType, CommitReceipt, LoadPlan, LoadState, PartReceipt, QueryColumn, SchemaChange, TableLayout,
    TableName, TableState, Watermark,
};
use crate::warehouse::{Cancel, Caps, Cell, PartSource, QuerySink, Warehouse};

/// Waits take no time.
struct StillClock;

impl Clock for StillClock {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn sleep_until(&self, _at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[derive(Default)]
struct Job {
    upsert: bool,
    csv: Option<Vec<u8>>,
    is_closed: bool,
    is_done: bool,
    successful: String,
    failed: String,
}

/// Everything that outlives the process.
#[derive(Default)]
struct World {
    jobs: BTreeMap<String, Job>,
    jobs_made: usize,
    /// Scores by key, as they were written; of inserts one for each record.
    records: BTreeMap<String, Vec<String>>,
    /// Records that are locked the first time.
    was_locked: BTreeSet<String>,
    /// Rows of the results table by load and part.
    results: BTreeMap<(LoadId, u32), Vec<Vec<String>>>,
    /// Things that were done, here and there.
    done: usize,
    /// Before or after which of them the process dies.
    dies_at: Option<(usize, bool)>,
    /// The process is dead: whatever it still asks fails.
    is_dead: bool,
    /// Jobs end so.
    jobs_fail: bool,
    rows: Vec<(String, String)>,
    queries: usize,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

fn lost() -> OrgError {
    OrgError::Network(HttpError { kind: HttpErrorKind::Timeout, host: "org".to_owned(), source: None })
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thing is done, unless the process dies before it; its answer is lost where it dies behind it.
    fn act<T>(&self, act: impl FnOnce(&mut World) -> T) -> Result<T, OrgError> {
        let mut world = self.world();
        if world.is_dead {
            return Err(lost());
        }
        let now = world.done;
        world.done += 1;
        if world.dies_at == Some((now, false)) {
            world.is_dead = true;
            return Err(lost());
        }
        let answer = act(&mut world);
        if world.dies_at == Some((now, true)) {
            world.is_dead = true;
            return Err(lost());
        }
        Ok(answer)
    }
}

/// How the org takes a record: every 33rd is bad, every 50th is locked at first.
fn write(
    world: &mut World,
    key: &str,
    score: &str,
    is_upsert: bool,
) -> Result<bool, (&'static str, &'static str)> {
    let number: usize = key.trim_start_matches('k').parse().unwrap();
    if number.is_multiple_of(33) {
        return Err(("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"));
    }
    if number.is_multiple_of(50) && world.was_locked.insert(key.to_owned()) {
        return Err(("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"));
    }
    let record = world.records.entry(key.to_owned()).or_default();
    let created = record.is_empty();
    if is_upsert {
        record.clear();
    }
    record.push(score.to_owned());
    Ok(created)
}

fn work(world: &mut World, id: &str) {
    let mut job = world.jobs.remove(id).unwrap();
    if !std::mem::replace(&mut job.is_done, true) {
        job.successful = "sf__Id,sf__Created,Score__c,Ext__c\n".to_owned();
        job.failed = "sf__Id,sf__Error,Score__c,Ext__c\n".to_owned();
        let csv = job.csv.clone().expect("a job that is closed has its rows");
        let records: Vec<csv::StringRecord> =
            csv::Reader::from_reader(csv.as_slice()).records().map(Result::unwrap).collect();
        // Results come in an order of the org's own, and with its own order of columns.
        let end = if world.jobs_fail { records.len() / 2 } else { records.len() };
        for record in records[..end].iter().rev() {
            let (key, score) = (&record[0], &record[1]);
            match write(world, key, score, job.upsert) {
                Ok(created) => {
                    job.successful.push_str(&format!("\"00Q{key}\",\"{created}\",\"{score}\",\"{key}\"\n"))
                }
                Err((code, text)) => {
                    job.failed.push_str(&format!("\"\",\"{code}:{text}:--\",\"{score}\",\"{key}\"\n"));
                }
            }
        }
    }
    world.jobs.insert(id.to_owned(), job);
}

impl PushOrg for Shared {
    fn fields<'a>(&'a self, object: &'a ObjectName) -> BoxFuture<'a, Result<ObjectDescribe, OrgError>> {
        let field = |name: &str, kind: &str, external: bool| json!({"name": name, "type": kind, "createable": true, "updateable": true, "nillable": true, "externalId": external});
        let describe = json!({
            "name": object, "createable": true, "updateable": true, "deletable": true,
            "fields": [field("Ext__c", "string", true), field("Score__c", "double", false), {"name": "Id", "type": "id"}],
        });
        Box::pin(async move { self.act(|_| serde_json::from_value(describe).unwrap()) })
    }

    fn make<'a>(
        &'a self,
        _object: &'a ObjectName,
        operation: &'a IngestOperation,
    ) -> BoxFuture<'a, Result<IngestJob, BulkError>> {
        let upsert = matches!(operation, IngestOperation::Upsert { .. });
        Box::pin(async move {
            Ok(self.act(|world| {
                world.jobs_made += 1;
                let job_id = format!("750{}", world.jobs_made);
                world.jobs.insert(job_id.clone(), Job { upsert, ..Job::default() });
                IngestJob { job_id, rows: 0 }
            })?)
        })
    }

    fn send<'a>(&'a self, job: &'a mut IngestJob, upload: Upload) -> BoxFuture<'a, Result<(), BulkError>> {
        Box::pin(async move {
            self.act(|world| {
                let job = world.jobs.get_mut(&job.job_id).unwrap();
                assert!(job.csv.is_none(), "nothing is sent into a job twice");
                job.csv = Some(upload.csv);
            })?;
            Ok(self.act(|world| world.jobs.get_mut(&job.job_id).unwrap().is_closed = true)?)
        })
    }

    fn standing<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<JobStanding, OrgError>> {
        Box::pin(async move {
            self.act(|world| match world.jobs.get(&job.job_id) {
                None => JobStanding::Gone,
                Some(job) if !job.is_closed => JobStanding::Open,
                Some(job) if !job.is_done => JobStanding::Working,
                Some(_) if world.jobs_fail => JobStanding::Failed { message: "too much of it".to_owned() },
                Some(_) => JobStanding::Complete,
            })
        })
    }

    fn wait<'a>(&'a self, job: &'a IngestJob, _patience: Duration) -> BoxFuture<'a, Result<(), BulkError>> {
        Box::pin(async move { Ok(self.act(|world| work(world, &job.job_id))?) })
    }

    fn results<'a>(
        &'a self,
        job: &'a IngestJob,
        which: IngestResults,
        reader: &'a mut dyn PageReader,
    ) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move {
            let list = self.act(|world| {
                let job = &world.jobs[&job.job_id];
                match which {
                    IngestResults::Successful => job.successful.clone(),
                    IngestResults::Failed => job.failed.clone(),
                    IngestResults::Unprocessed => "Ext__c,Score__c\n".to_owned(),
                }
            })?;
            // The first reading of a list breaks off.
            reader.begin(0)?;
            reader.feed(&list.as_bytes()[..list.len() / 2])?;
            reader.begin(reader.rows_known())?;
            reader.feed(list.as_bytes())?;
            reader.end()
        })
    }

    fn delete<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, Result<(), OrgError>> {
        Box::pin(async move { self.act(|world| drop(world.jobs.remove(&job.job_id))) })
    }

    fn abandon<'a>(&'a self, job: &'a IngestJob) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            drop(self.act(|world| {
                let job = world.jobs.remove(&job.job_id).unwrap_or_default();
                assert!(!job.is_closed || job.is_done, "a job that works is not taken away");
            }));
        })
    }

    fn write_records<'a>(
        &'a self,
        _object: &'a ObjectName,
        _write: &'a CollectionWrite,
        records: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>> {
        assert!(records.len() <= 200);
        let records: Vec<Value> =
            records.iter().map(|record| serde_json::from_str(&format!("{{{record}}}")).unwrap()).collect();
        Box::pin(async move {
            self.act(|world| {
                let written = records.iter().map(|record| {
                    let key = record["Ext__c"].as_str().unwrap();
                    let told = match write(world, key, &record["Score__c"].to_string(), true) {
                        Ok(created) => {
                            json!({"id": format!("00Q{key}"), "success": true, "created": created})
                        }
                        Err((code, message)) => {
                            json!({"success": false, "errors": [{"statusCode": code, "message": message}]})
                        }
                    };
                    serde_json::from_value(told).unwrap()
                });
                written.collect()
            })
        })
    }

    fn delete_records<'a>(
        &'a self,
        _object: &'a ObjectName,
        _ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RecordWritten>, OrgError>> {
        Box::pin(std::future::ready(Err(lost())))
    }
}

/// Gives the world's rows, and keeps its results; nothing else is asked of it.
struct Rows(Shared);

const NOT_ASKED: &str = "a push does not ask for this";

fn not_asked<T>() -> Result<T, WarehouseError> {
    Err(WarehouseError::Engine(NOT_ASKED.to_owned()))
}

impl Warehouse for Rows {
    fn caps(&self) -> Caps {
        Caps {
            kind: "sqlite",
            columns_max: 9,
            precision_max: 38,
            connections_max: 1,
            part_rows: 9,
            has_stages: false,
        }
    }

    fn open(&mut self, _owner: &str) -> Result<(), WarehouseError> {
        Ok(())
    }

    fn table(&mut self, _table: &TableName) -> Result<TableState, WarehouseError> {
        not_asked()
    }

    fn apply_schema(
        &mut self,
        _org: &OrgName,
        _object: &ObjectName,
        _table: &TableName,
        _changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        not_asked()
    }

    fn load_state(&mut self, _load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        not_asked()
    }

    fn watermark(
        &mut self,
        _org: &OrgName,
        _object: &ObjectName,
        _table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        not_asked()
    }

    fn stage(
        &mut self,
        _load: &LoadPlan,
        _part: PartNumber,
        _source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        not_asked()
    }

    fn commit(&mut self, _load: &LoadPlan, _rows: u64) -> Result<CommitReceipt, WarehouseError> {
        not_asked()
    }

    fn abandon(&mut self, _load: &LoadPlan) -> Result<(), WarehouseError> {
        not_asked()
    }

    fn count(&mut self, _table: &TableName, _layout: &TableLayout) -> Result<u64, WarehouseError> {
        not_asked()
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        assert_eq!(sql, "SELECT key, score FROM scores");
        let rows = {
            let mut world = self.0.world();
            world.queries += 1;
            // Without an order a query may give its rows in another one each time.
            let by = 7.min(world.rows.len());
            world.rows.rotate_left(by);
            world.rows.clone()
        };
        let column = |name: &str| QueryColumn { name: name.to_owned(), kind: ColumnType::Text };
        sink.head(&[column("key"), column("SCORE__C")])?;
        for rows in rows.chunks(64) {
            let mut chunk = RowChunk::new(2);
            for (key, score) in rows {
                chunk.push([text(key), text(score)]);
            }
            sink.rows(chunk)?;
        }
        Ok(())
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        assert_eq!((table.to_string().as_str(), layout.columns.len()), ("push_log", rows.columns()));
        let told: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                row.cells()
                    .map(|cell| match cell {
                        Cell::Text(text) => text.to_owned(),
                        Cell::Int(number) => number.to_string(),
                        Cell::Boolean(value) => value.to_string(),
                        _ => String::new(),
                    })
                    .collect()
            })
            .collect();
        self.0
            .act(|world| drop(world.results.insert((load.clone(), part.0), told)))
            .map_err(|error| WarehouseError::Unreachable(error.to_string()))
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        None
    }
}

fn text(text: &str) -> Cell<'_> {
    if text.is_empty() { Cell::Null } else { Cell::Text(text) }
}

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
            clock: Arc::new(StillClock),
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
