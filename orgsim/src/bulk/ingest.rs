//! Bulk API 2.0 ingest: `/jobs/ingest`. Records are written one by one through [`crate::dml`], when the job's time
//! has come; what was uploaded is kept and its rows are shown again in the three results.

use super::{
    csv::{self, Dialect},
    csv_read::{BadCsv, Rows},
    jobs::{End, Fate, Job, State, Work},
    query::dialect,
    struck,
};
use crate::{
    answer::Answer,
    body::Body,
    catalog::random::mix,
    dml::{self, Operation, WriteResult},
    faults::Fault,
    model::SObject,
    rest::Request,
    site::Site,
    soql::{SoqlError, dates},
};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const JOBS_LISTED: usize = 1_000;

/// An ingest job.
pub struct IngestJob {
    id: String,
    object: String,
    operation_name: String,
    operation: Operation,
    external_id_field: Option<String>,
    version: u32,
    created_ms: i64,
    created_by: String,
    dialect: Dialect,
    fate: Fate,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    upload: Option<Arc<Vec<u8>>>,
    /// Set once no more is uploaded.
    work: Option<Work>,
    aborted_ms: Option<i64>,
    outcome: Option<Arc<Outcome>>,
}

/// What became of the rows, in the order of the upload.
#[derive(Default)]
struct Outcome {
    rows: Vec<Done>,
    /// Why the job as a whole failed.
    error: Option<String>,
}

enum Done {
    Written {
        id: String,
        created: bool,
    },
    Refused {
        id: String,
        error: String,
    },
    /// Not looked at.
    Left,
}

impl Outcome {
    fn failed(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row, Done::Refused { .. })).count()
    }

    fn processed(&self) -> usize {
        self.rows.iter().filter(|row| !matches!(row, Done::Left)).count()
    }
}

impl Job for IngestJob {
    fn id(&self) -> &str {
        &self.id
    }

    fn ended_ms(&self) -> Option<i64> {
        // Held while records are written: then it has not ended, and nobody should wait to learn that.
        let inner = self.inner.try_lock().ok()?;
        inner.aborted_ms.or_else(|| inner.work.as_ref().and_then(Work::ended_ms))
    }
}

/// Answers what is below `/jobs/ingest`.
pub fn answer(site: &Site, request: &Request, version: u32, rest: &[&str]) -> Answer {
    let method = request.method.as_str();
    let [id, rest @ ..] = rest else {
        return match method {
            "POST" => create(site, request, version),
            "GET" | "HEAD" => list(site, request),
            _ => Answer::method_not_allowed("ingest_list"),
        };
    };
    let results = |name: &str| Results::named(name);
    let kind = match (method, rest) {
        ("GET" | "HEAD", []) => "ingest_info",
        ("PATCH", []) => "ingest_state",
        ("DELETE", []) => "ingest_delete",
        ("PUT", ["batches"]) => "ingest_upload",
        ("GET" | "HEAD", [name]) if results(name).is_some() => "ingest_results",
        (_, [name]) if results(name).is_some() => return Answer::method_not_allowed("ingest_results"),
        (_, [] | ["batches"]) => return Answer::method_not_allowed("ingest_info"),
        _ => return Answer::not_found("other"),
    };
    let Some(job) = site.bulk.ingests.get(id, site.clock.epoch_ms()) else { return Answer::not_found(kind) };
    let faults = struck(site, request, kind, &job.object);
    if faults.contains(&Fault::JobVanishes) {
        site.bulk.ingests.remove(&job.id);
        return Answer::not_found(kind).about(&job.object);
    }
    let answer = match (kind, rest) {
        ("ingest_info", _) => Answer::json(kind, &job.info(site, true)),
        ("ingest_state", _) => set_state(site, request, &job),
        ("ingest_delete", _) => delete(site, &job),
        ("ingest_upload", _) => upload(site, request, &job),
        (_, [name]) => match results(name) {
            Some(wanted) => job.results(site, wanted),
            None => Answer::not_found(kind),
        },
        _ => Answer::not_found(kind),
    };
    answer.about(&job.object)
}

fn create(site: &Site, request: &Request, version: u32) -> Answer {
    const KIND: &str = "ingest_create";
    let now_ms = site.clock.epoch_ms();
    let mut job = match read(site, &request.body) {
        Ok(job) => job,
        Err(error) => return Answer::soql_error(KIND, &error),
    };
    job.id = site.bulk.next_id();
    (job.version, job.created_ms) = (version, now_ms);
    job.fate = super::fate(&struck(site, request, KIND, &job.object));
    let job = site.bulk.ingests.add(job);
    Answer::json(KIND, &Value::from(job.facts("Open", now_ms))).about(&job.object)
}

/// Reads the body of a create request.
fn read(site: &Site, body: &[u8]) -> Result<IngestJob, SoqlError> {
    let refuse = |code: &'static str, message: String| Err(SoqlError::new(code, message));
    let map: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(map) => map,
        Err(error) => return refuse("JSON_PARSER_ERROR", error.to_string()),
    };
    let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(name) = text("object") else {
        return refuse("INVALIDJOB", "InvalidJob : Object must be specified".to_owned());
    };
    let Some(object) = site.org.model.object(name).filter(|object| object.createable) else {
        let message = format!("InvalidEntity : Entity '{name}' is not supported by the Bulk API.");
        return refuse("INVALIDENTITY", message);
    };
    if let Some(other) = text("contentType").filter(|content_type| *content_type != "CSV") {
        return refuse("INVALIDJOB", format!("ContentType '{other}' is not supported: must be CSV"));
    }
    let operation_name = text("operation").unwrap_or_default();
    let operation = match operation_name {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        "hardDelete" => Operation::HardDelete,
        "upsert" => {
            Operation::Upsert { external_id_field: external_id(object, text("externalIdFieldName"))? }
        }
        other => return refuse("INVALIDOPERATION", format!("Operation '{other}' is not valid")),
    };
    let external_id_field = match &operation {
        Operation::Upsert { external_id_field } => Some(external_id_field.clone()),
        _ => None,
    };
    Ok(IngestJob {
        id: String::new(),
        object: object.name.clone(),
        operation_name: operation_name.to_owned(),
        operation,
        external_id_field,
        version: 0,
        created_ms: 0,
        created_by: site.org.user_id.clone(),
        dialect: dialect(&map)?,
        fate: Fate::Completes,
        inner: Mutex::default(),
    })
}

/// The field by which an upsert finds its records, in its own spelling.
fn external_id(object: &SObject, name: Option<&str>) -> Result<String, SoqlError> {
    let Some(name) = name else {
        let message = format!(
            "InvalidJob : External ID was blank for {}. An External ID must be specified for upsert.",
            object.name
        );
        return Err(SoqlError::new("INVALIDJOB", message));
    };
    let field = object.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let fits = field.filter(|field| field.external_id || field.field_type == "id");
    fits.map(|field| field.name.clone()).ok_or_else(|| {
        let message = format!(
            "InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {}",
            object.name
        );
        SoqlError::new("INVALIDJOB", message)
    })
}

fn list(site: &Site, request: &Request) -> Answer {
    let jobs = site.bulk.ingests.all(site.clock.epoch_ms());
    let own = jobs.iter().map(|job| job.info(site, false)).collect();
    super::listed("ingest_list", site, request, "V2Ingest", own, JOBS_LISTED)
}

fn wrong_state(kind: &'static str, message: &str) -> Answer {
    Answer::error(kind, 400, "INVALIDJOBSTATE", message)
}

fn upload(site: &Site, request: &Request, job: &IngestJob) -> Answer {
    const KIND: &str = "ingest_upload";
    if request.body.len() > site.options.bulk.upload_bytes {
        let message = "Data size exceeds the maximum of an upload: split it into several jobs";
        return Answer::error(KIND, 400, "CLIENTINPUTERROR", message);
    }
    let content_type = request.content_type.as_deref().unwrap_or("text/csv");
    if !content_type.trim_start().to_ascii_lowercase().starts_with("text/csv") {
        let message = format!("Content-Type {content_type} is not supported: must be text/csv");
        return Answer::error(KIND, 415, "UNSUPPORTED_MEDIA_TYPE", &message);
    }
    let mut inner = job.lock();
    if inner.work.is_some() || inner.aborted_ms.is_some() {
        return wrong_state(KIND, "Data can be uploaded to an open job only");
    }
    if inner.upload.is_some() {
        return wrong_state(KIND, "Found multiple contents for job: data can be uploaded once");
    }
    inner.upload = Some(Arc::new(request.body.clone()));
    Answer::with_status(KIND, 201, Body::default())
}

fn set_state(site: &Site, request: &Request, job: &Arc<IngestJob>) -> Answer {
    const KIND: &str = "ingest_state";
    let now_ms = site.clock.epoch_ms();
    let asked: Option<Value> = serde_json::from_slice(&request.body).ok();
    match asked.as_ref().and_then(|body| body["state"].as_str()) {
        Some("UploadComplete") => {
            let mut inner = job.lock();
            if inner.work.is_some() || inner.aborted_ms.is_some() {
                return wrong_state(KIND, "Only an open job can be set to UploadComplete");
            }
            inner.work = Some(Work::begin(now_ms, job.fate.clone()));
            drop(inner);
            return Answer::json(KIND, &Value::from(job.facts("UploadComplete", now_ms)));
        }
        Some("Aborted") => {
            // What is due by now has happened before the abort.
            job.state(site, false);
            let mut inner = job.lock();
            let ended = inner.aborted_ms.is_some() || inner.outcome.is_some();
            if ended {
                return wrong_state(KIND, "Aborting a job that has already ended is not allowed");
            }
            inner.aborted_ms = Some(now_ms);
            let rows = inner.upload.as_deref().map_or(0, |text| Rows::new(text, job.dialect).count());
            let left = (1..rows).map(|_| Done::Left).collect();
            inner.outcome = Some(Arc::new(Outcome { rows: left, error: None }));
        }
        _ => return wrong_state(KIND, "The state of a job can be set to UploadComplete or Aborted"),
    }
    Answer::json(KIND, &job.info(site, false))
}

fn delete(site: &Site, job: &Arc<IngestJob>) -> Answer {
    const KIND: &str = "ingest_delete";
    match job.state(site, false) {
        "JobComplete" | "Failed" | "Aborted" | "UploadComplete" => {
            site.bulk.ingests.remove(&job.id);
            Answer::with_status(KIND, 204, Body::default())
        }
        _ => wrong_state(KIND, "Abort the job before deleting it"),
    }
}

/// Which of the three results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Results {
    Successful,
    Failed,
    Unprocessed,
}

impl Results {
    /// Clients differ in the case of these.
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "successfulresults" => Some(Self::Successful),
            "failedresults" => Some(Self::Failed),
            "unprocessedrecords" => Some(Self::Unprocessed),
            _ => None,
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Successful => &["sf__Id", "sf__Created"],
            Self::Failed => &["sf__Id", "sf__Error"],
            Self::Unprocessed => &[],
        }
    }

    /// What stands before the row's own values; `None` when the row does not belong here.
    fn cells(self, done: &Done) -> Option<Vec<&str>> {
        match (self, done) {
            (Self::Successful, Done::Written { id, created }) => {
                Some(vec![id, if *created { "true" } else { "false" }])
            }
            (Self::Failed, Done::Refused { id, error }) => Some(vec![id, error]),
            (Self::Unprocessed, Done::Left) => Some(Vec::new()),
            _ => None,
        }
    }
}

impl IngestJob {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state's name; when the work's time has come, the records are written first.
    fn state(&self, site: &Site, polled: bool) -> &'static str {
        let mut inner = self.lock();
        if inner.aborted_ms.is_some() {
            return "Aborted";
        }
        let Some(work) = &inner.work else { return "Open" };
        let state = work.state(site.clock.epoch_ms(), &site.options.bulk, polled);
        let State::Ended(end) = state else { return state.name() };
        // Others who ask wait here until every record is written, which is what they ask about.
        if inner.outcome.is_none() {
            let text = inner.upload.clone().unwrap_or_default();
            inner.outcome = Some(Arc::new(self.process(site, &text, &end)));
        }
        let failed = inner.outcome.as_ref().is_some_and(|outcome| outcome.error.is_some());
        if failed || matches!(end, End::Failed(_)) { "Failed" } else { "JobComplete" }
    }

    /// Writes the rows. A job that fails on order has done half of them by then.
    fn process(&self, site: &Site, text: &[u8], end: &End) -> Outcome {
        let rows: Result<Vec<Vec<Cow<'_, str>>>, BadCsv> = Rows::new(text, self.dialect).collect();
        let mut rows = match rows {
            Ok(rows) => rows.into_iter(),
            Err(error) => {
                let error = Some(format!("ClientInputError : {}", error.message));
                return Outcome { rows: Vec::new(), error };
            }
        };
        let header = rows.next().unwrap_or_default();
        let Some(object) = site.org.model.object(&self.object) else { return Outcome::default() };
        let known = |name: &str| object.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        if let Some(name) = header.iter().find(|name| !name.contains('.') && !known(name)) {
            let error = Some(format!("InvalidBatch : Field name not found : {name}"));
            return Outcome { rows: rows.map(|_| Done::Left).collect(), error };
        }
        let due = match end {
            End::Failed(_) => rows.len() / 2,
            _ => rows.len(),
        };
        let (mut done, mut error) = (Vec::with_capacity(rows.len()), None);
        if let End::Failed(message) = end {
            error.clone_from(message);
        }
        for (at, row) in rows.enumerate() {
            done.push(if at < due { self.write(site, object, &header, &row) } else { Done::Left });
        }
        Outcome { rows: done, error }
    }

    fn write(&self, site: &Site, object: &SObject, header: &[Cow<'_, str>], row: &[Cow<'_, str>]) -> Done {
        if row.len() != header.len() {
            let error = format!(
                "INVALID_CSV_ROW:The row has {} values and the header {}: --",
                row.len(),
                header.len()
            );
            return Done::Refused { id: String::new(), error };
        }
        let record = record(header, row);
        let named = record.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
        outcome(dml::write(site, object, &self.operation, &record), named)
    }

    fn facts(&self, state: &str, changed_ms: i64) -> Map<String, Value> {
        let facts = json!({
            "id": self.id,
            "operation": self.operation_name,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": dates::rest_datetime(self.created_ms),
            "systemModstamp": dates::rest_datetime(changed_ms),
            "state": state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": f64::from(self.version),
            "contentUrl": format!("services/data/v{}.0/jobs/ingest/{}/batches", self.version, self.id),
            "lineEnding": self.dialect.line_ending.name(),
            "columnDelimiter": self.dialect.delimiter.name(),
        });
        let Value::Object(mut facts) = facts else { return Map::new() };
        if let Some(field) = &self.external_id_field {
            facts.insert("externalIdFieldName".into(), field.as_str().into());
        }
        facts
    }

    fn info(&self, site: &Site, polled: bool) -> Value {
        let state = self.state(site, polled);
        let changed_ms = self.ended_ms().unwrap_or(self.created_ms);
        let mut info = self.facts(state, changed_ms);
        let inner = self.lock();
        let outcome = inner.outcome.as_deref();
        let took_ms = (changed_ms - self.created_ms).max(0);
        for (name, value) in [
            ("numberRecordsProcessed", outcome.map_or(0, Outcome::processed) as i64),
            ("numberRecordsFailed", outcome.map_or(0, Outcome::failed) as i64),
            ("retries", 0),
            ("totalProcessingTime", took_ms),
            ("apiActiveProcessingTime", took_ms),
            ("apexProcessingTime", 0),
        ] {
            info.insert(name.into(), value.into());
        }
        info.insert("jobType".into(), "V2Ingest".into());
        if let Some(error) = outcome.and_then(|outcome| outcome.error.as_deref()) {
            info.insert("errorMessage".into(), error.into());
        }
        Value::from(info)
    }

    fn results(&self, site: &Site, wanted: Results) -> Answer {
        const KIND: &str = "ingest_results";
        self.state(site, false);
        let (upload, outcome) = {
            let inner = self.lock();
            (inner.upload.clone().unwrap_or_default(), inner.outcome.clone())
        };
        let Some(outcome) = outcome else { return wrong_state(KIND, "Results come when the job has ended") };
        let mut out = Vec::new();
        // An upload that cannot be read has no rows to show; the job's error says why.
        let rows: Vec<Vec<Cow<'_, str>>> = Rows::new(&upload, self.dialect).map_while(Result::ok).collect();
        let mut rows = rows.iter();
        let header = rows.next().map_or(&[] as &[Cow<'_, str>], Vec::as_slice);
        let own = |row: &[Cow<'_, str>]| row.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let mut push = |first: Vec<&str>, row: &[Cow<'_, str>]| {
            let row = own(row);
            csv::push_row(&mut out, first.into_iter().chain(row.iter().map(String::as_str)), self.dialect);
        };
        push(wanted.columns().to_vec(), header);
        let mut shown: Vec<_> = rows
            .zip(&outcome.rows)
            .enumerate()
            .filter_map(|(at, (row, done))| wanted.cells(done).map(|cells| (at, cells, row)))
            .collect();
        // Rows are written in parallel by the real org: nobody may count on the order of the upload.
        shown.sort_by_key(|(at, ..)| mix(*at as u64));
        for (_, cells, row) in shown {
            push(cells, row);
        }
        Answer { content_type: "text/csv", ..Answer::ok(KIND, out) }
    }
}

/// A row as a record: an empty cell is left out, `#N/A` is null, `Owner.Ext__c` names a parent by its key.
fn record(header: &[Cow<'_, str>], row: &[Cow<'_, str>]) -> Map<String, Value> {
    let mut record = Map::new();
    for (name, cell) in header.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
        let value = if cell == "#N/A" { Value::Null } else { Value::from(cell.as_ref()) };
        match name.split_once('.') {
            Some((relation, key)) => record.insert(relation.to_owned(), json!({ key: value })),
            None => record
                .insert(if name.eq_ignore_ascii_case("id") { "Id".into() } else { name.to_string() }, value),
        };
    }
    record
}

/// What became of a row; errors in the form of the results file.
fn outcome(result: WriteResult, named: String) -> Done {
    let Some(error) = result.errors.first() else {
        return Done::Written { id: result.id.unwrap_or(named), created: result.created };
    };
    let fields = error.fields.join(",");
    Done::Refused { id: named, error: format!("{}:{}:{fields} --", error.status_code, error.message) }
}
