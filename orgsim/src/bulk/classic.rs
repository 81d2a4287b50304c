//! The part of Bulk API 1.0 that clients still use, below `/services/async`: query jobs, their batches, their rows.
//!
//! A job takes several statements, each a batch with one result. A statement that the org refuses makes its batch
//! fail, not the request. With PK chunking the first batch is not processed itself: its rows come in further
//! batches, one for each so many ids.

use super::{
    classic_format::{self as format, Format},
    csv::Dialect,
    jobs::{End, Fate, Job, State, Work},
    page::{self, Flaws, Pieces, RowSet},
    query, struck,
};
use crate::{
    answer::Answer,
    body::{Body, Chunk},
    dml::spans::Spans,
    ids,
    org::OrgData,
    query::Picked,
    rest::Request,
    site::Site,
    soql::{SoqlError, dates},
};
use serde_json::{Map, Value, json};
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Ids in a chunk when the client does not say.
const CHUNK_IDS: u64 = 100_000;
/// Most ids a chunk may have.
const MOST_CHUNK_IDS: u64 = 250_000;
/// Records of JSON and XML rows written at a time.
const RECORDS_A_PIECE: u64 = 500;

/// A job of Bulk API 1.0.
pub struct ClassicJob {
    id: String,
    operation: String,
    object: String,
    format: Format,
    version: u32,
    created_ms: i64,
    created_by: String,
    chunk_ids: Option<u64>,
    fate: Fate,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    batches: Vec<Arc<Batch>>,
    /// Closed or aborted, and when.
    ended: Option<(&'static str, i64)>,
}

struct Batch {
    id: String,
    result_id: String,
    created_ms: i64,
    /// Its rows come in other batches.
    is_chunked: bool,
    work: Work,
    set: Option<Arc<RowSet>>,
}

impl Job for ClassicJob {
    fn id(&self) -> &str {
        &self.id
    }

    fn ended_ms(&self) -> Option<i64> {
        self.lock().ended.map(|(_, at)| at)
    }
}

fn error(kind: &'static str, format: Format, status: u16, code: &str, message: &str) -> Answer {
    let facts = Map::from_iter([
        ("exceptionCode".to_owned(), Value::from(code)),
        ("exceptionMessage".to_owned(), Value::from(message)),
    ]);
    answered(kind, format, status, format::facts(format, "error", &facts))
}

fn answered(kind: &'static str, format: Format, status: u16, body: Vec<u8>) -> Answer {
    Answer { content_type: format.content_type(), ..Answer::with_status(kind, status, body) }
}

/// 401, in the words of this API.
pub fn session_invalid(content_type: Option<&str>) -> Answer {
    error("classic", Format::of_request(content_type), 401, "InvalidSessionId", "Invalid session id")
}

/// 403 at the daily ceiling, in the words of this API: an object, not REST's array.
pub fn quota_exceeded(content_type: Option<&str>) -> Answer {
    let format = Format::of_request(content_type);
    error("classic", format, 403, "ExceededQuota", "TotalRequests Limit exceeded.")
}

/// Answers a request whose path starts with `/services/async`.
pub fn answer(site: &Site, request: &Request) -> Answer {
    const KIND: &str = "classic";
    site.settle();
    let path: Vec<&str> = request.path().split('/').filter(|part| !part.is_empty()).collect();
    let asked = Format::of_request(request.content_type.as_deref());
    let refuse = |status, code: &str, message: &str| error(KIND, asked, status, code, message);
    if !site.options.bulk.classic {
        return refuse(400, "FeatureNotEnabled", "Async API not enabled");
    }
    let ["services", "async", version, "job", rest @ ..] = path.as_slice() else {
        return refuse(404, "InvalidUrl", "Destination URL not found");
    };
    let version = crate::rest::version_number(version);
    let versions = crate::rest::VERSIONS.0..=crate::rest::VERSIONS.1;
    let Some(version) = version.filter(|version| versions.contains(version)) else {
        return refuse(400, "InvalidVersion", "The API version is not supported");
    };
    let method = request.method.as_str();
    let [id, rest @ ..] = rest else {
        return match method {
            "POST" => create(site, request, version, asked),
            _ => refuse(405, "MethodNotAllowed", "HTTP method not allowed"),
        };
    };
    let Some(job) = site.bulk.classics.get(id, site.clock.epoch_ms()) else {
        return refuse(400, "InvalidJob", "Unable to find object with id");
    };
    let is_get = matches!(method, "GET" | "HEAD");
    let answer = match rest {
        [] if method == "POST" => job.set_state(site, request, asked),
        [] if is_get => {
            let format = if request.content_type.is_some() { asked } else { job.format.of_batches() };
            let facts = job.facts(site);
            answered("classic_info", format, 200, format::facts(format, "jobInfo", &facts))
        }
        ["batch"] if method == "POST" => job.add_batch(site, request),
        ["batch"] if is_get => job.list_batches(site),
        ["batch", batch, rest @ ..] if is_get => match job.batch(batch) {
            None => refuse(400, "InvalidBatch", "Unable to find batch"),
            Some(batch) => match rest {
                [] => {
                    let format = job.format.of_batches();
                    let facts = batch.facts(site, &job, true);
                    answered("classic_batch", format, 200, format::facts(format, "batchInfo", &facts))
                }
                ["result"] => job.results(site, &batch),
                ["result", result] => job.rows(site, request, &batch, result),
                _ => refuse(404, "InvalidUrl", "Destination URL not found"),
            },
        },
        _ => refuse(405, "MethodNotAllowed", "HTTP method not allowed"),
    };
    answer.about(&job.object)
}

fn create(site: &Site, request: &Request, version: u32, asked: Format) -> Answer {
    const KIND: &str = "classic_create";
    let refuse = |code: &str, message: &str| error(KIND, asked, 400, code, message);
    let Some(wanted) = format::read(asked, &request.body) else {
        let code = if asked == Format::Json { "InvalidBatch" } else { "InvalidXML" };
        return refuse(code, "Failed to parse the request");
    };
    let text = |name: &str| wanted.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = text("operation");
    if !matches!(operation, "query" | "queryAll") {
        let message = format!("Operation '{operation}' is not one this simulator has: query, queryAll");
        return refuse("InvalidJob", &message);
    }
    let name = text("object");
    let Some(object) = site.org.model.object(name).filter(|object| object.queryable) else {
        let message = format!("Entity '{name}' is not supported by the Bulk API.");
        return refuse("InvalidEntity", &message);
    };
    let content_type = match text("contentType") {
        "" => Some(Format::Xml),
        name => Format::named(name),
    };
    let Some(content_type) = content_type else { return refuse("InvalidJob", "Unsupported content type") };
    let chunk_ids = match request.pk_chunking.as_deref().map(chunk_ids) {
        None => None,
        Some(Ok(ids)) => ids,
        Some(Err(message)) => return refuse("InvalidJob", message),
    };
    let now_ms = site.clock.epoch_ms();
    let job = site.bulk.classics.add(ClassicJob {
        id: site.bulk.next_id(),
        operation: operation.to_owned(),
        object: object.name.clone(),
        format: content_type,
        version,
        created_ms: now_ms,
        created_by: site.org.user_id.clone(),
        chunk_ids,
        fate: super::fate(&struck(site, request, KIND, &object.name)),
        inner: Mutex::default(),
    });
    answered(KIND, asked, 201, format::facts(asked, "jobInfo", &job.facts(site))).about(&job.object)
}

/// What `Sforce-Enable-PKChunking` says: `TRUE`, `FALSE`, or options of which only `chunkSize` matters here.
fn chunk_ids(header: &str) -> Result<Option<u64>, &'static str> {
    if header.trim().eq_ignore_ascii_case("false") {
        return Ok(None);
    }
    let options = header.split(';').filter_map(|option| option.trim().split_once('='));
    let size = options
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("chunkSize"))
        .map(|(_, size)| size)
        .next();
    match size.map(|size| size.trim().parse::<u64>()) {
        None => Ok(Some(CHUNK_IDS)),
        Some(Ok(size)) if (1..=MOST_CHUNK_IDS).contains(&size) => Ok(Some(size)),
        Some(_) => Err("chunkSize must be a number from 1 to 250000"),
    }
}

/// The rows of each chunk: by the ids of the table, so a filter leaves chunks small or empty. Pure.
fn chunks(picked: Picked, total: u64, ids: u64) -> Vec<Picked> {
    let count = total.max(picked.len()).div_ceil(ids).max(1);
    match picked {
        Picked::Spans(spans) => {
            (0..count).map(|at| Picked::Spans(within(&spans, at * ids..(at + 1) * ids))).collect()
        }
        Picked::Rows(rows) => {
            let mut chunks: Vec<Vec<u64>> = (0..count).map(|_| Vec::new()).collect();
            for row in rows {
                chunks[usize::try_from((row / ids).min(count - 1)).unwrap_or(0)].push(row);
            }
            chunks.into_iter().map(Picked::Rows).collect()
        }
    }
}

fn within(spans: &Spans, places: Range<u64>) -> Spans {
    spans.slice(places.start.min(spans.len()), places.end.min(spans.len()))
}

impl ClassicJob {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch(&self, id: &str) -> Option<Arc<Batch>> {
        self.lock().batches.iter().find(|batch| ids::key(&batch.id) == ids::key(id)).cloned()
    }

    fn set_state(&self, site: &Site, request: &Request, asked: Format) -> Answer {
        const KIND: &str = "classic_state";
        let wanted = format::read(asked, &request.body).unwrap_or_default();
        let state = match wanted.get("state").and_then(Value::as_str) {
            Some("Closed") => "Closed",
            Some("Aborted") => "Aborted",
            _ => return error(KIND, asked, 400, "InvalidJobState", "The state must be Closed or Aborted"),
        };
        let now_ms = site.clock.epoch_ms();
        let batches = {
            let mut inner = self.lock();
            if inner.ended.is_some_and(|(ended, _)| ended != state) {
                return error(KIND, asked, 400, "InvalidJobState", "The job is no longer open");
            }
            inner.ended.get_or_insert((state, now_ms));
            inner.batches.clone()
        };
        if state == "Aborted" {
            batches.iter().for_each(|batch| {
                batch.work.abort(now_ms);
            });
        }
        answered(KIND, asked, 200, format::facts(asked, "jobInfo", &self.facts(site)))
    }

    /// The body is a statement.
    fn add_batch(&self, site: &Site, request: &Request) -> Answer {
        const KIND: &str = "classic_batch_create";
        let format = self.format.of_batches();
        if self.lock().ended.is_some() {
            return error(KIND, format, 400, "InvalidJobState", "The job is no longer open");
        }
        let now_ms = site.clock.epoch_ms();
        let statement = String::from_utf8_lossy(&request.body);
        let found = {
            let _entered = site.data.enter();
            query::prepare(&site.org, statement.trim(), self.operation == "queryAll", now_ms)
        };
        let new = |fate: Fate, set: Option<RowSet>, is_chunked: bool| {
            let number = site.bulk.next_number();
            Arc::new(Batch {
                id: ids::numbered("751", number),
                result_id: ids::numbered("752", number),
                created_ms: now_ms,
                is_chunked,
                work: Work::begin(now_ms, fate),
                set: set.map(Arc::new),
            })
        };
        let set = |writer, picked| RowSet { writer, picked, dialect: Dialect::default() };
        let batches = match found {
            Err(refused) => vec![new(Fate::Fails(Some(failure(&refused))), None, false)],
            Ok((found, ..)) if !found.object.eq_ignore_ascii_case(&self.object) => {
                let message = "InvalidBatch : The query does not match the object of the job";
                vec![new(Fate::Fails(Some(message.to_owned())), None, false)]
            }
            Ok((found, picked, writer)) => match self.chunk_ids {
                None => vec![new(self.fate.clone(), Some(set(writer, picked)), false)],
                Some(ids) => {
                    let total = site.org.model.object(&found.object).map_or(0, |o| site.org.record_count(o));
                    let first = new(Fate::Completes, None, true);
                    let chunk = |picked| new(self.fate.clone(), Some(set(writer.clone(), picked)), false);
                    std::iter::once(first).chain(chunks(picked, total, ids).into_iter().map(chunk)).collect()
                }
            },
        };
        let mut facts = batches[0].facts(site, self, false);
        if !batches[0].is_chunked {
            // However soon it is done: who has just put it into the queue is told so.
            facts.extend([("state".to_owned(), "Queued".into()), ("stateMessage".to_owned(), Value::Null)]);
        }
        self.lock().batches.extend(batches);
        answered(KIND, format, 201, format::facts(format, "batchInfo", &facts))
    }

    fn list_batches(&self, site: &Site) -> Answer {
        let format = self.format.of_batches();
        let batches = self.lock().batches.clone();
        let facts: Vec<_> = batches.iter().map(|batch| batch.facts(site, self, true)).collect();
        answered("classic_batch", format, 200, format::list(format, "batchInfo", &facts))
    }

    fn results(&self, site: &Site, batch: &Batch) -> Answer {
        const KIND: &str = "classic_result_list";
        let format = self.format.of_batches();
        match batch.ready(site) {
            true => answered(
                KIND,
                format,
                200,
                format::result_list(format, std::slice::from_ref(&batch.result_id)),
            ),
            false => error(KIND, format, 400, "InvalidBatch", "Batch not completed"),
        }
    }

    fn rows(&self, site: &Site, request: &Request, batch: &Batch, result: &str) -> Answer {
        const KIND: &str = "classic_results";
        let refuse = |message: &str| error(KIND, self.format.of_batches(), 400, "InvalidBatch", message);
        let Some(set) = batch.set.clone().filter(|_| batch.ready(site)) else {
            return refuse("Batch not completed");
        };
        if ids::key(result) != ids::key(&batch.result_id) {
            return refuse("Unable to find result");
        }
        let rows = 0..set.picked.len();
        let org = site.org.clone();
        let body = match self.format {
            Format::Csv => {
                let flaws = Flaws::of(&struck(site, request, KIND, &self.object));
                page::body(Pieces::new(org, set, flaws, rows))
            }
            Format::Json => records(org, set, self.object.clone(), self.version, true),
            Format::Xml => records(org, set, self.object.clone(), self.version, false),
        };
        Answer { content_type: self.format.content_type(), ..Answer::ok(KIND, body) }
    }

    fn facts(&self, site: &Site) -> Map<String, Value> {
        let (batches, ended) = {
            let inner = self.lock();
            (inner.batches.clone(), inner.ended)
        };
        let states: Vec<&str> = batches.iter().map(|batch| batch.state(site, false).0).collect();
        let count = |wanted: &str| states.iter().filter(|state| **state == wanted).count();
        let records: u64 = batches.iter().map(|batch| batch.records(site)).sum();
        let facts = json!({
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": dates::rest_datetime(self.created_ms),
            "systemModstamp": dates::rest_datetime(ended.map_or(self.created_ms, |(_, at)| at)),
            "state": ended.map_or("Open", |(state, _)| state),
            "concurrencyMode": "Parallel",
            "contentType": self.format.name(),
            "numberBatchesQueued": count("Queued"),
            "numberBatchesInProgress": count("InProgress"),
            "numberBatchesCompleted": count("Completed"),
            "numberBatchesFailed": count("Failed"),
            "numberBatchesTotal": batches.len(),
            "numberRecordsProcessed": records,
            "numberRetries": 0,
            "apiVersion": f64::from(self.version),
            "numberRecordsFailed": 0,
            "totalProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "apexProcessingTime": 0,
        });
        if let Value::Object(facts) = facts { facts } else { Map::new() }
    }

    /// As the lists of Bulk API 2.0 show it.
    pub fn listed(&self) -> Value {
        let ended = self.lock().ended;
        json!({
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": dates::rest_datetime(self.created_ms),
            "systemModstamp": dates::rest_datetime(ended.map_or(self.created_ms, |(_, at)| at)),
            "state": ended.map_or("Open", |(state, _)| state),
            "concurrencyMode": "Parallel",
            "contentType": self.format.name(),
            "apiVersion": f64::from(self.version),
            "jobType": "Classic",
        })
    }
}

/// A refused statement, as a batch's message has it.
fn failure(refused: &SoqlError) -> String {
    let code = if refused.code == "API_ERROR" { "FUNCTIONALITY_NOT_ENABLED" } else { refused.code };
    format!("InvalidBatch : Failed to process query: {code}: {}", refused.message)
}

impl Batch {
    /// The state's name and, of a failed batch, its message.
    fn state(&self, site: &Site, polled: bool) -> (&'static str, Option<String>) {
        if self.is_chunked {
            return ("NotProcessed", None);
        }
        match self.work.state(site.clock.epoch_ms(), &site.options.bulk, polled) {
            State::Waiting => ("Queued", None),
            State::InProgress => ("InProgress", None),
            State::Ended(End::Complete) => ("Completed", None),
            State::Ended(End::Failed(message)) => ("Failed", message),
            State::Ended(End::Aborted) => ("NotProcessed", None),
        }
    }

    fn ready(&self, site: &Site) -> bool {
        self.state(site, false).0 == "Completed"
    }

    fn records(&self, site: &Site) -> u64 {
        self.set.as_ref().filter(|_| self.ready(site)).map_or(0, |set| set.picked.len())
    }

    fn facts(&self, site: &Site, job: &ClassicJob, polled: bool) -> Map<String, Value> {
        let (state, message) = self.state(site, polled);
        let changed_ms = self.work.ended_ms().unwrap_or(self.created_ms);
        let facts = json!({
            "id": self.id,
            "jobId": job.id,
            "state": state,
            "stateMessage": message,
            "createdDate": dates::rest_datetime(self.created_ms),
            "systemModstamp": dates::rest_datetime(changed_ms),
            "numberRecordsProcessed": self.records(site),
            "numberRecordsFailed": 0,
            "totalProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "apexProcessingTime": 0,
        });
        if let Value::Object(facts) = facts { facts } else { Map::new() }
    }
}

/// All rows of a result as JSON or XML, made while they are sent.
fn records(org: Arc<OrgData>, set: Arc<RowSet>, object: String, version: u32, as_json: bool) -> Body {
    let total = set.picked.len();
    let at = org.position(&object);
    let head = if as_json { "[".to_owned() } else { format::xml_records_start() };
    let foot = if as_json { "]" } else { "</queryResult>" };
    let pieces = (0..total.div_ceil(RECORDS_A_PIECE)).map(move |piece| {
        let mut out = Vec::new();
        let from = piece * RECORDS_A_PIECE;
        for place in from..(from + RECORDS_A_PIECE).min(total) {
            let row = set.picked.at(place);
            let cells = set.writer.values(&org, row);
            if !as_json {
                format::push_xml_record(&mut out, &object, cells);
                continue;
            }
            if place > 0 {
                out.push(b',');
            }
            let id = at.and_then(|at| org.rows.id_of(at, &org.model.objects[at], row));
            let url = id.map(|id| format!("/services/data/v{version}.0/sobjects/{object}/{id}"));
            format::push_json_record(&mut out, (&object, url), cells);
        }
        out
    });
    let foot = std::iter::once(foot.as_bytes().to_vec());
    let all = std::iter::once(head.into_bytes()).chain(pieces).chain(foot);
    match total <= RECORDS_A_PIECE {
        true => Body::from(all.flatten().collect::<Vec<u8>>()),
        false => Body::streamed(all.map(Chunk::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("TRUE", Ok(Some(100_000)))]
    #[case("false", Ok(None))]
    #[case("chunkSize=50", Ok(Some(50)))]
    #[case("parent=Account; chunkSize=250000", Ok(Some(250_000)))]
    #[case("chunkSize=250001", Err("chunkSize must be a number from 1 to 250000"))]
    #[case("chunkSize=many", Err("chunkSize must be a number from 1 to 250000"))]
    fn the_chunking_header_is_read(
        #[case] header: &str,
        #[case] expected: Result<Option<u64>, &'static str>,
    ) {
        assert_eq!(chunk_ids(header), expected);
    }

    #[test]
    fn chunks_hold_every_row_once_and_go_by_ids() {
        let rows = |picked: &Picked| (0..picked.len()).map(|at| picked.at(at)).collect::<Vec<_>>();
        let whole = chunks(Picked::Spans(Spans::all(25)), 25, 10);
        assert_eq!(whole.iter().map(Picked::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(whole.iter().flat_map(rows).collect::<Vec<_>>(), (0..25).collect::<Vec<_>>());
        let some = chunks(Picked::Rows(vec![1, 2, 24]), 25, 10);
        assert_eq!(some.iter().map(rows).collect::<Vec<_>>(), [vec![1, 2], vec![], vec![24]]);
    }
}
