//! Bulk API 2.0 query: `/jobs/query`.

use super::{
    check,
    csv::{Delimiter, Dialect, LineEnding, RowWriter},
    jobs::{End, Job, State, Work},
    locator::Locator,
    page::{self, Flaws, Pieces, RowSet},
    struck,
};
use crate::{
    answer::Answer,
    body::Body,
    faults::Fault,
    org::OrgData,
    query::{self, Content, Found, Picked, Scope},
    rest::Request,
    site::Site,
    soql::{self, SoqlError, dates},
    tables::Api,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Pages that `resultPages` lists at once.
const PAGES_LISTED: usize = 5;
/// The first version with `resultPages`.
const FIRST_WITH_RESULT_PAGES: u32 = 58;
/// Jobs on one page of the list.
const JOBS_LISTED: usize = 1_000;

/// A query job. Its rows are places only.
pub struct QueryJob {
    id: String,
    /// `query` or `queryAll`.
    operation: String,
    object: String,
    version: u32,
    created_ms: i64,
    created_by: String,
    work: Work,
    set: Arc<RowSet>,
}

impl Job for QueryJob {
    fn id(&self) -> &str {
        &self.id
    }

    fn ended_ms(&self) -> Option<i64> {
        self.work.ended_ms()
    }
}

/// What a client asks for.
#[derive(Debug)]
struct Wanted {
    operation: String,
    query: String,
    dialect: Dialect,
}

/// Answers what is below `/jobs/query`.
pub fn answer(site: &Site, request: &Request, version: u32, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("POST", []) => create(site, request, version),
        ("GET" | "HEAD", []) => list(site, request),
        (_, []) => Answer::method_not_allowed("bulk_list"),
        (method, [id, rest @ ..]) => {
            let kind = match (method, rest) {
                ("GET" | "HEAD", []) => "bulk_info",
                ("PATCH", []) => "bulk_abort",
                ("DELETE", []) => "bulk_delete",
                ("GET" | "HEAD", ["results"]) => "bulk_results",
                ("GET" | "HEAD", ["resultPages"]) if version >= FIRST_WITH_RESULT_PAGES => {
                    "bulk_result_pages"
                }
                (method, ["resultPages"]) if !matches!(method, "GET" | "HEAD") => {
                    return Answer::method_not_allowed("bulk_result_pages");
                }
                (_, [] | ["results"]) => return Answer::method_not_allowed("bulk_info"),
                _ => return Answer::not_found("other"),
            };
            let now_ms = site.clock.epoch_ms();
            let Some(job) = site.bulk.queries.get(id, now_ms) else { return Answer::not_found(kind) };
            let faults = struck(site, request, kind, &job.object);
            if faults.contains(&Fault::JobVanishes) {
                site.bulk.queries.remove(&job.id);
                return Answer::not_found(kind).about(&job.object);
            }
            let answer = match kind {
                "bulk_info" => Answer::json(kind, &job.info(site, true)),
                "bulk_abort" => abort(site, request, &job),
                "bulk_delete" => delete(site, &job),
                "bulk_results" => results(site, request, version, &job, Flaws::of(&faults)),
                _ => result_pages(site, request, version, &job),
            };
            answer.about(&job.object)
        }
    }
}

fn create(site: &Site, request: &Request, version: u32) -> Answer {
    const KIND: &str = "bulk_create";
    let wanted = match read(&request.body) {
        Ok(wanted) => wanted,
        Err(error) => return Answer::soql_error(KIND, &error),
    };
    let now_ms = site.clock.epoch_ms();
    if site.bulk.query_jobs_today(now_ms) >= site.options.bulk.query_jobs_a_day {
        let message =
            "The maximum number of Bulk API 2.0 query jobs in a rolling 24-hour period was exceeded";
        return Answer::error(KIND, 400, "LIMIT_EXCEEDED", message);
    }
    let (found, picked, writer) =
        match prepare(&site.org, &wanted.query, wanted.operation == "queryAll", now_ms) {
            Ok(prepared) => prepared,
            Err(error) => return Answer::soql_error(KIND, &error),
        };
    let fate = super::fate(&struck(site, request, KIND, &found.object));
    site.bulk.query_jobs.add(now_ms);
    let job = site.bulk.queries.add(QueryJob {
        id: site.bulk.next_id(),
        operation: wanted.operation,
        object: found.object,
        version,
        created_ms: now_ms,
        created_by: site.org.user_id.clone(),
        work: Work::begin(now_ms, fate),
        set: Arc::new(RowSet { writer, picked, dialect: wanted.dialect }),
    });
    Answer::json(KIND, &Value::from(job.facts(State::Waiting.name(), now_ms))).about(&job.object)
}

/// Reads the body of a create request.
fn read(body: &[u8]) -> Result<Wanted, SoqlError> {
    let refuse = |code: &'static str, message: String| Err(SoqlError::new(code, message));
    let map: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(map) => map,
        Err(error) => return refuse("JSON_PARSER_ERROR", error.to_string()),
    };
    let known =
        ["operation", "query", "contentType", "columnDelimiter", "lineEnding", "object", "concurrencyMode"];
    if let Some(name) = map.keys().find(|name| !known.contains(&name.as_str())) {
        return refuse("JSON_PARSER_ERROR", format!("Unrecognized field \"{name}\""));
    }
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let operation = match text("operation") {
        Some(operation @ ("query" | "queryAll")) => operation.to_owned(),
        other => {
            let other = other.unwrap_or_default();
            return refuse(
                "INVALIDOPERATION",
                format!("Operation '{other}' is not valid: must be query or queryAll"),
            );
        }
    };
    let Some(query) = text("query").filter(|query| !query.trim().is_empty()) else {
        return refuse("MALFORMED_QUERY", "A query string has to be specified".to_owned());
    };
    if let Some(other) = text("contentType").filter(|content_type| *content_type != "CSV") {
        return refuse("INVALIDJOB", format!("ContentType '{other}' is not supported: must be CSV"));
    }
    Ok(Wanted { operation, query: query.to_owned(), dialect: dialect(&map)? })
}

/// The delimiter and the line ending a job asks for.
pub fn dialect(map: &Map<String, Value>) -> Result<Dialect, SoqlError> {
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let refuse = |name: &str, value: &str| {
        Err(SoqlError::new("JSON_PARSER_ERROR", format!("Value '{value}' is not valid for {name}")))
    };
    let mut dialect = Dialect::default();
    if let Some(name) = text("columnDelimiter") {
        match Delimiter::named(name) {
            Some(delimiter) => dialect.delimiter = delimiter,
            None => return refuse("columnDelimiter", name),
        }
    }
    if let Some(name) = text("lineEnding") {
        match LineEnding::named(name) {
            Some(line_ending) => dialect.line_ending = line_ending,
            None => return refuse("lineEnding", name),
        }
    }
    Ok(dialect)
}

/// Runs the statement: which rows, and how they are written.
pub fn prepare(
    org: &OrgData,
    statement: &str,
    all_rows: bool,
    now_ms: i64,
) -> Result<(Found, Picked, Arc<RowWriter>), SoqlError> {
    check::statement(org, &soql::parse(statement)?)?;
    let scope = if all_rows { Scope::All } else { Scope::Live };
    let mut found = query::run(org, Api::Data, scope, statement, now_ms)?;
    check::columns(org, &found)?;
    let content = std::mem::replace(&mut found.content, Content::Count(0));
    let Content::Rows { table, picked, .. } = content else {
        let message = "Aggregate functions not supported in Bulk Query";
        return Err(SoqlError::new("API_ERROR", message));
    };
    let writer = Arc::new(RowWriter::new(org, table, &found)?);
    Ok((found, picked, writer))
}

impl QueryJob {
    /// What the answer to a create request says.
    fn facts(&self, state: &str, changed_ms: i64) -> Map<String, Value> {
        let facts = json!({
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": dates::rest_datetime(self.created_ms),
            "systemModstamp": dates::rest_datetime(changed_ms),
            "state": state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": f64::from(self.version),
            "lineEnding": self.set.dialect.line_ending.name(),
            "columnDelimiter": self.set.dialect.delimiter.name(),
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    /// What a status request answers.
    fn info(&self, site: &Site, polled: bool) -> Value {
        let now_ms = site.clock.epoch_ms();
        let state = self.work.state(now_ms, &site.options.bulk, polled);
        let changed_ms = self.work.ended_ms().unwrap_or(self.created_ms);
        let mut info = self.facts(state.name(), changed_ms);
        let complete = state == State::Ended(End::Complete);
        info.insert("jobType".into(), "V2Query".into());
        info.insert("numberRecordsProcessed".into(), if complete { self.set.picked.len() } else { 0 }.into());
        info.insert("retries".into(), 0.into());
        info.insert("totalProcessingTime".into(), (changed_ms - self.created_ms).max(0).into());
        info.insert("isPkChunkingSupported".into(), true.into());
        if let State::Ended(End::Failed(Some(message))) = state {
            info.insert("errorMessage".into(), message.into());
        }
        Value::from(info)
    }
}

fn list(site: &Site, request: &Request) -> Answer {
    const KIND: &str = "bulk_list";
    let now_ms = site.clock.epoch_ms();
    let own = site.bulk.queries.all(now_ms).iter().map(|job| job.info(site, false)).collect();
    super::listed(KIND, site, request, "V2Query", own, JOBS_LISTED)
}

fn abort(site: &Site, request: &Request, job: &Arc<QueryJob>) -> Answer {
    const KIND: &str = "bulk_abort";
    let asked: Option<Value> = serde_json::from_slice(&request.body).ok();
    if asked.as_ref().and_then(|body| body["state"].as_str()) != Some("Aborted") {
        return Answer::error(
            KIND,
            400,
            "INVALIDJOBSTATE",
            "The only state a query job can be set to is Aborted",
        );
    }
    let now_ms = site.clock.epoch_ms();
    // What is due by now has happened before the abort.
    job.work.state(now_ms, &site.options.bulk, false);
    if !job.work.abort(now_ms) {
        let message = "Aborting a job that has already ended is not allowed";
        return Answer::error(KIND, 400, "INVALIDJOBSTATE", message);
    }
    Answer::json(KIND, &job.info(site, false))
}

fn delete(site: &Site, job: &Arc<QueryJob>) -> Answer {
    const KIND: &str = "bulk_delete";
    match job.work.state(site.clock.epoch_ms(), &site.options.bulk, false) {
        State::Ended(_) => {
            site.bulk.queries.remove(&job.id);
            Answer::with_status(KIND, 204, Body::default())
        }
        _ => {
            let message = "The job is being processed: abort it before deleting it";
            Answer::error(KIND, 400, "INVALIDJOBSTATE", message)
        }
    }
}

/// The refusal of a request for results that cannot be had.
fn not_ready(site: &Site, kind: &'static str, version: u32, job: &QueryJob) -> Option<Answer> {
    if version != job.version {
        let message = format!(
            "The job was created with API version {}.0 and its results cannot be read with version {version}.0",
            job.version
        );
        return Some(Answer::error(kind, 409, "INVALIDVERSION", &message));
    }
    let state = job.work.state(site.clock.epoch_ms(), &site.options.bulk, false);
    if state == State::Ended(End::Complete) {
        return None;
    }
    let message =
        format!("Results are available in the state JobComplete only; the job's state is {}", state.name());
    Some(Answer::error(kind, 400, "INVALIDJOBSTATE", &message))
}

/// The page a request asks for.
fn page_asked(site: &Site, request: &Request, job: &QueryJob) -> Option<(Locator, page::Extent)> {
    let at = match request.parameter("locator") {
        Some(text) if !text.is_empty() => Locator::read(&text)?,
        _ => Locator::at(0),
    };
    let asked = request.parameter("maxRecords").and_then(|text| text.parse().ok());
    let extent = page::extent(job.set.picked.len(), at, asked, site.options.bulk.page_rows)?;
    Some((at, extent))
}

fn bad_locator(kind: &'static str) -> Answer {
    Answer::error(kind, 400, "INVALID_QUERY_LOCATOR", "invalid query locator")
}

fn results(site: &Site, request: &Request, version: u32, job: &Arc<QueryJob>, flaws: Flaws) -> Answer {
    const KIND: &str = "bulk_results";
    if let Some(refusal) = not_ready(site, KIND, version, job) {
        return refusal;
    }
    let Some((_, extent)) = page_asked(site, request, job) else { return bad_locator(KIND) };
    let rows = extent.rows.end - extent.rows.start;
    let pieces = Pieces::new(site.org.clone(), job.set.clone(), flaws, extent.rows);
    let mut answer = Answer::ok(KIND, page::body(pieces));
    answer.content_type = "text/csv";
    answer.headers.push(("Sforce-NumberOfRecords", (rows + u64::from(flaws.wrong_record_count)).to_string()));
    answer.headers.push(("Sforce-Locator", extent.next.map_or_else(|| "null".to_owned(), Locator::text)));
    answer
}

fn result_pages(site: &Site, request: &Request, version: u32, job: &Arc<QueryJob>) -> Answer {
    const KIND: &str = "bulk_result_pages";
    if let Some(refusal) = not_ready(site, KIND, version, job) {
        return refusal;
    }
    let Some((at, extent)) = page_asked(site, request, job) else { return bad_locator(KIND) };
    // Fixed at the first request: pages read at the same time must not overlap.
    let rows = at.rows.unwrap_or_else(|| {
        request
            .parameter("maxRecords")
            .and_then(|text| text.parse().ok())
            .unwrap_or(site.options.bulk.page_rows)
    });
    let rows = rows.clamp(1, site.options.bulk.page_rows);
    let base = format!("/services/data/v{version}.0/jobs/query/{}", job.id);
    let mut from = extent.rows.start;
    let mut pages = Vec::new();
    while pages.len() < PAGES_LISTED && (from < job.set.picked.len() || from == 0) {
        let locator = Locator { from, rows: Some(rows) }.text();
        pages.push(json!({ "resultUrl": format!("{base}/results?locator={locator}") }));
        from += rows;
    }
    let next = (from < job.set.picked.len())
        .then(|| format!("{base}/resultPages?locator={}", Locator { from, rows: Some(rows) }.text()));
    Answer::json(KIND, &json!({ "resultPages": pages, "done": next.is_none(), "nextRecordsUrl": next }))
}
