//! An org and a warehouse in memory, both of which outlive the process that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::PushOrg;
use crate::clock::{BoxFuture, Clock};
use crate::model::{ObjectDescribe, ObjectName, OrgName};
use crate::salesforce::{
    BulkError, CollectionWrite, HttpError, HttpErrorKind, IngestJob, IngestOperation, IngestResults,
    JobStanding, OrgError, PageReader, ReadError, RecordWritten, Upload,
};
use crate::sync::{
    ColumnType, CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, QueryColumn,
    SchemaChange, StagedCount, TableLayout, TableName, TableState, Watermark,
};
use crate::warehouse::{Cancel, Caps, Cell, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError};

/// Waits take no time.
pub struct StillClock;

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

/// Time passes once the query runs.
pub struct QueryClock(pub Shared);

impl Clock for QueryClock {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn sleep_until(&self, _at: Duration) -> BoxFuture<'static, ()> {
        let world = self.0.clone();
        Box::pin(async move {
            while !world.world().is_asked {
                tokio::task::yield_now().await;
            }
        })
    }
}

#[derive(Default)]
pub struct Job {
    pub upsert: bool,
    pub csv: Option<Vec<u8>>,
    pub is_closed: bool,
    pub is_done: bool,
    pub successful: String,
    pub failed: String,
    pub unprocessed: String,
}

/// Everything that outlives the process.
#[derive(Default)]
pub struct World {
    pub jobs: BTreeMap<String, Job>,
    pub jobs_made: usize,
    /// Scores by key, as they were written; of inserts one for each record.
    pub records: BTreeMap<String, Vec<String>>,
    /// Records that are locked the first time.
    pub was_locked: BTreeSet<String>,
    /// Rows of the results table by load and part.
    pub results: BTreeMap<(LoadId, u32), Vec<Vec<String>>>,
    /// Things that were done, here and there.
    pub done: usize,
    /// Before or after which of them the process dies.
    pub dies_at: Option<(usize, bool)>,
    /// The process is dead: whatever it still asks fails.
    pub is_dead: bool,
    /// Jobs end so, half-way.
    pub jobs_fail: bool,
    /// Of the row that a job was at when it failed nothing is told; it is written.
    pub loses_a_result: bool,
    /// Jobs that were asked for, and calls with rows.
    pub asked: usize,
    /// From which of them on the org refuses them.
    pub refuses_from: Option<usize>,
    pub rows: Vec<(String, String)>,
    pub queries: usize,
    /// The query does not end before it is cancelled.
    pub is_endless: bool,
    pub is_asked: bool,
    pub is_cancelled: bool,
    /// Times that somebody else still holds the results table.
    pub locked: usize,
}

#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<World>>);

fn lost() -> OrgError {
    OrgError::Network(HttpError { kind: HttpErrorKind::Timeout, host: "org".to_owned(), source: None })
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
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

    /// As [`Self::act`], for a job that is asked for, or a call with rows.
    fn ask<T>(&self, act: impl FnOnce(&mut World) -> T) -> Result<T, OrgError> {
        self.act(|world| {
            let before = world.asked;
            world.asked += 1;
            if world.refuses_from.is_none_or(|from| before < from) {
                return Ok(act(world));
            }
            let (code, message) = ("INVALIDENTITY".to_owned(), "Entity is not supported".to_owned());
            Err(OrgError::Rejected { status: 400, code, message })
        })?
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
        job.unprocessed = "Ext__c,Score__c\n".to_owned();
        let csv = job.csv.clone().expect("a job that is closed has its rows");
        let records: Vec<csv::StringRecord> =
            csv::Reader::from_reader(csv.as_slice()).records().map(Result::unwrap).collect();
        // Results come in an order of the org's own, and with its own order of columns.
        let end = if world.jobs_fail { records.len() / 2 } else { records.len() };
        let untold = usize::from(world.loses_a_result && end < records.len());
        if untold == 1 {
            write(world, &records[end][0], &records[end][1], job.upsert).expect("it is a good row");
        }
        for record in records[end + untold..].iter().rev() {
            job.unprocessed.push_str(&format!("\"{}\",\"{}\"\n", &record[0], &record[1]));
        }
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
            Ok(self.ask(|world| {
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
                    IngestResults::Unprocessed => job.unprocessed.clone(),
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
            self.ask(|world| {
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
pub struct Rows(pub Shared);

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

    fn commit(&mut self, _load: &LoadPlan, _expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
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
        self.0.world().is_asked = true;
        while self.0.world().is_endless {
            if self.0.world().is_cancelled {
                return Err(WarehouseError::Engine("interrupted".to_owned()));
            }
            std::thread::yield_now();
        }
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
        let left = self.0.world().locked;
        if left > 0 {
            self.0.world().locked = left - 1;
            return Err(WarehouseError::Locked { what: table.to_string(), message: "busy".to_owned() });
        }
        self.0
            .act(|world| drop(world.results.insert((load.clone(), part.0), told)))
            .map_err(|error| WarehouseError::Unreachable(error.to_string()))
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        Some(Arc::new(self.0.clone()))
    }
}

impl Cancel for Shared {
    fn cancel(&self) {
        self.world().is_cancelled = true;
    }
}

fn text(text: &str) -> Cell<'_> {
    if text.is_empty() { Cell::Null } else { Cell::Text(text) }
}
