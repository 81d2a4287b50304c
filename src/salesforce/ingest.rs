//! Bulk API 2.0 ingest: rows into the org.
//!
//! Promises: what is uploaded is one job's and is worked on only once it is whole; an upload that may or may
//! not have arrived is never repeated into the same job: that job is aborted and a new one made, which is
//! safe because an open job changes nothing. After the close nothing is repeated: the job's own results say
//! what became of each row. A job that fails before its close is aborted and deleted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bulk::{BulkError, Job, JobState, PageReader, ReadError, handed_on_too_many};
use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::transport::{Body, Method};
use crate::clock::SharedClock;
use crate::model::{FieldName, ObjectName};

/// Largest upload in bytes: the org takes 150 MB after base64.
pub const UPLOAD_BYTES_MAX: usize = 100_000_000;
/// The cell that sets a field to null; an empty one leaves it unchanged.
const NULL_CELL: &str = "#N/A";
const POLL_FIRST: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_secs(30);

/// What happens to the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each name says it all")]
pub enum IngestOperation {
    Insert,
    Update,
    /// Created, or updated where the external id is known: the only write that may be repeated.
    Upsert {
        external_id: FieldName,
    },
    Delete,
    HardDelete,
}

impl IngestOperation {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert { .. } => "upsert",
            Self::Delete => "delete",
            Self::HardDelete => "hardDelete",
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestCell<'a> {
    /// The field stays as it is.
    Unchanged,
    /// The field becomes null.
    Null,
    /// The field takes this text.
    Text(&'a str),
}

/// Why rows cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestCsvError {
    /// Another number of values than columns.
    #[error("a row has {found} values instead of {expected}")]
    Width {
        /// Values in the row.
        found: usize,
        /// Columns.
        expected: usize,
    },
    /// A text that the org would read as null.
    #[error("column `{0}`: the text `#N/A` would set the field to null")]
    LooksLikeNull(String),
    /// One row alone is larger than an upload.
    #[error("a row of {bytes} bytes is larger than an upload of {bytes_max}")]
    TooLarge {
        /// Of the row.
        bytes: usize,
        /// Of an upload.
        bytes_max: usize,
    },
}

/// Writes rows as the CSV of uploads, each with its header and below a size.
#[derive(Debug)]
pub struct IngestCsv {
    columns: Vec<String>,
    header: Vec<u8>,
    bytes_max: usize,
    upload: Vec<u8>,
    rows: u64,
}

/// One upload's worth of rows.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    /// CSV with its header.
    pub csv: Vec<u8>,
    /// Rows in it.
    pub rows: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rows are customers' data.
        f.debug_struct("Upload").field("bytes", &self.csv.len()).field("rows", &self.rows).finish()
    }
}

impl IngestCsv {
    /// A writer of these columns; `bytes_max` is bounded by [`UPLOAD_BYTES_MAX`].
    pub fn new(columns: &[FieldName], bytes_max: usize) -> Self {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let mut header = columns.join(",").into_bytes();
        header.push(b'\n');
        let upload = header.clone();
        Self { columns, header, bytes_max: bytes_max.min(UPLOAD_BYTES_MAX), upload, rows: 0 }
    }

    /// Adds a row. Gives the upload that is full without it, if one is.
    ///
    /// # Errors
    /// See [`IngestCsvError`]; the row is then not added.
    pub fn push(&mut self, cells: &[IngestCell<'_>]) -> Result<Option<Upload>, IngestCsvError> {
        if cells.len() != self.columns.len() {
            return Err(IngestCsvError::Width { found: cells.len(), expected: self.columns.len() });
        }
        let mut row = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                row.push(b',');
            }
            match cell {
                IngestCell::Unchanged => {}
                IngestCell::Null => row.extend_from_slice(NULL_CELL.as_bytes()),
                IngestCell::Text(text) if text.eq_ignore_ascii_case(NULL_CELL) => {
                    return Err(IngestCsvError::LooksLikeNull(self.columns[index].clone()));
                }
                IngestCell::Text(text) => push_quoted(text, &mut row),
            }
        }
        if row.is_empty() {
            // A blank line is no row to most readers, ours among them.
            push_quoted("", &mut row);
        }
        row.push(b'\n');
        let (bytes, bytes_max) = (self.header.len() + row.len(), self.bytes_max);
        if bytes > bytes_max {
            return Err(IngestCsvError::TooLarge { bytes, bytes_max });
        }
        let full = (self.upload.len() + row.len() > self.bytes_max).then(|| self.take());
        self.upload.extend_from_slice(&row);
        self.rows += 1;
        Ok(full)
    }

    /// What is left; `None` when there is nothing.
    pub fn finish(mut self) -> Option<Upload> {
        (self.rows > 0).then(|| self.take())
    }

    fn take(&mut self) -> Upload {
        let csv = std::mem::replace(&mut self.upload, self.header.clone());
        Upload { csv, rows: std::mem::take(&mut self.rows) }
    }
}

fn push_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A job that was closed: from here on the org works on it, whatever becomes of us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestJob {
    /// The org's id of it.
    pub job_id: String,
    /// Rows uploaded.
    pub rows: u64,
}

/// What the org did with the rows of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestOutcome {
    /// Rows that were written.
    pub done: u64,
    /// Rows that were refused; [`IngestResults::Failed`] says why.
    pub failed: u64,
}

/// The lists of what became of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestResults {
    /// `sf__Id`, `sf__Created` and the columns of the upload.
    Successful,
    /// `sf__Id`, `sf__Error` and the columns of the upload.
    Failed,
    /// The columns of the upload: rows that the org did not come to.
    Unprocessed,
}

impl IngestResults {
    fn path(self) -> &'static str {
        match self {
            Self::Successful => "/successfulResults",
            Self::Failed => "/failedResults",
            Self::Unprocessed => "/unprocessedrecords",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewJob<'a> {
    object: &'a ObjectName,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id_field_name: Option<&'a FieldName>,
    content_type: &'static str,
    line_ending: &'static str,
    column_delimiter: &'static str,
}

#[derive(Serialize)]
struct State {
    state: &'static str,
}

impl OrgClient {
    /// Makes a job, uploads its rows and closes it: the org then works on it. Keep what comes back: it is how
    /// the outcome is found after a restart. 3 calls.
    ///
    /// # Errors
    /// Those of the calls. Nothing has been written then, save after an error of the close itself, when
    /// nobody can know: [`BulkError::Failed`] names the job that was left as it is.
    pub async fn ingest(
        &self,
        object: &ObjectName,
        operation: &IngestOperation,
        upload: &Upload,
    ) -> Result<IngestJob, BulkError> {
        let attempts_max = self.caller().retry.attempts_max;
        let mut attempt = 1;
        let job_id = loop {
            let job_id = self.create_ingest(object, operation).await?;
            let path = self.ingest_path(&job_id, "/batches");
            let body = Body { content_type: "text/csv", bytes: upload.csv.clone() };
            let what = format!("the upload to bulk job `{job_id}`");
            let put = Call { method: Method::Put, body: Some(body), ..Call::get(Api::Bulk, path, what) };
            let put = Call { expected_long: true, ..put };
            let Err(error) = self.call_once(&put).await else { break job_id };
            // It may have arrived or not: this job is not touched again.
            self.abandon_job(&self.ingest_path(&job_id, ""), &job_id).await;
            if !self.caller().may_retry(&error, attempt, attempts_max).await {
                return Err(error.into());
            }
            attempt += 1;
        };
        if let Err(error) = self.close_ingest(&job_id).await {
            // One of which nobody knows may have its rows at work.
            if !matches!(error, BulkError::Failed { .. }) {
                self.abandon_job(&self.ingest_path(&job_id, ""), &job_id).await;
            }
            return Err(error);
        }
        Ok(IngestJob { job_id, rows: upload.rows })
    }

    pub(super) async fn create_ingest(
        &self,
        object: &ObjectName,
        operation: &IngestOperation,
    ) -> Result<String, BulkError> {
        let external_id_field_name = match operation {
            IngestOperation::Upsert { external_id } => Some(external_id),
            _ => None,
        };
        let job = NewJob {
            object,
            operation: operation.as_str(),
            external_id_field_name,
            content_type: "CSV",
            line_ending: "LF",
            column_delimiter: "COMMA",
        };
        let what = format!("the bulk job for `{object}`");
        let call = Call::json(Method::Post, Api::Bulk, self.data_path("/jobs/ingest"), &job, what)?;
        // A job made twice is one empty job left open, which harms nobody.
        let job: Job = self.read(call).await?;
        Ok(job.with_checked_id()?.id)
    }

    /// Closes a job. When the answer is lost, the job itself is asked whether it is closed. One that is not stays as it is:
    /// whoever has kept its id must be able to learn that it has changed nothing.
    ///
    /// # Errors
    /// [`BulkError::Failed`] when nobody knows whether it was closed; that of the call when it was not.
    pub(super) async fn close_ingest(&self, job_id: &str) -> Result<(), BulkError> {
        let what = format!("the close of bulk job `{job_id}`");
        let path = self.ingest_path(job_id, "");
        let body = State { state: "UploadComplete" };
        let call = Call::json(Method::Patch, Api::Bulk, path, &body, what)?;
        let Err(error) = self.respond(&call).await else { return Ok(()) };
        match self.ingest_state(job_id).await {
            Ok(job) if matches!(job.state, JobState::Open | JobState::Aborted) => Err(error.into()),
            Ok(job) if job.state != JobState::Unknown => Ok(()),
            _ => {
                let message = format!("nobody knows whether it was closed: {error}");
                Err(BulkError::Failed { job: job_id.to_owned(), message })
            }
        }
    }

    pub(super) async fn ingest_state(&self, job_id: &str) -> Result<Job, OrgError> {
        let what = format!("bulk job `{job_id}`");
        self.read(Call::get(Api::Bulk, self.ingest_path(job_id, ""), what)).await
    }

    /// Waits for a job's end with growing pauses.
    ///
    /// # Errors
    /// [`BulkError::Failed`] and its like; past `patience` [`BulkError::Endless`], and the job is left alone:
    /// some of its rows may be written.
    pub async fn ingest_outcome(
        &self,
        job: &IngestJob,
        patience: Duration,
    ) -> Result<IngestOutcome, BulkError> {
        let clock = SharedClock::clone(&self.caller().clock);
        let until = clock.elapsed().saturating_add(patience);
        let mut pause = POLL_FIRST;
        let id = || job.job_id.clone();
        loop {
            clock.sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
            match self.ingest_state(&job.job_id).await {
                Ok(found) => match found.state {
                    JobState::JobComplete => {
                        let failed = found.records_failed();
                        let done = found.records_processed().unwrap_or(job.rows).saturating_sub(failed);
                        return Ok(IngestOutcome { done, failed });
                    }
                    JobState::Failed => {
                        return Err(BulkError::Failed { job: id(), message: found.why_failed() });
                    }
                    JobState::Aborted => return Err(BulkError::Aborted { job: id() }),
                    JobState::Open | JobState::UploadComplete | JobState::InProgress | JobState::Unknown => {}
                },
                Err(OrgError::Rejected { status: 404, .. }) => {
                    return Err(BulkError::Gone { job: id(), rows_done: 0 });
                }
                Err(error) if error.is_transient() => {
                    tracing::debug!(error = %error, "a look at a bulk job failed");
                }
                Err(error) => return Err(error.into()),
            }
            if clock.elapsed() >= until {
                return Err(BulkError::Endless { job: id(), patience });
            }
        }
    }

    /// Streams one of the lists of what became of the rows; returns its rows. A list that breaks off is
    /// asked for again, and the reader is told how many rows it has already.
    ///
    /// # Errors
    /// Those of the call, or of whoever takes the rows.
    pub async fn ingest_results(
        &self,
        job: &IngestJob,
        which: IngestResults,
        reader: &mut dyn PageReader,
    ) -> Result<u64, ReadError> {
        let what = format!("the results of bulk job `{}`", job.job_id);
        let call = Call::get(Api::Bulk, self.ingest_path(&job.job_id, which.path()), what);
        let call = call.with_header("accept", "text/csv");
        let attempts_max = self.caller().retry.attempts_max;
        let (mut attempt, mut known) = (1, 0);
        reader.begin(0)?;
        loop {
            let error = match self.stream_into(&call, known, reader).await {
                Err(ReadError::Page(error)) => error,
                done => return done,
            };
            known = reader.rows_known();
            if !self.caller().may_retry(&error, attempt, attempts_max).await {
                return Err(error.into());
            }
            attempt += 1;
        }
    }

    async fn stream_into(
        &self,
        call: &Call,
        known: u64,
        reader: &mut dyn PageReader,
    ) -> Result<u64, ReadError> {
        let mut answer = self.open_once(call).await?;
        let announced = answer.headers.iter().find(|(name, _)| name == "sforce-numberofrecords");
        let announced: Option<u64> = announced.and_then(|(_, rows)| rows.trim().parse().ok());
        reader.begin(known)?;
        while let Some(piece) = answer.next().await? {
            reader.feed(&piece)?;
            reader.pass_on().await?;
        }
        let rows = reader.end()?;
        reader.pass_on().await?;
        handed_on_too_many(&call.what, reader, rows)?;
        if let Some(announced) = announced.filter(|announced| *announced != rows) {
            // A cut between two rows is seen by the count alone.
            let reason = format!("{announced} rows were announced, {rows} came");
            return Err(OrgError::Unreadable { what: call.what.clone(), reason, cut_off: true }.into());
        }
        Ok(rows)
    }

    /// Deletes a job that has ended, with its results. One that is gone is as good.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn delete_ingest(&self, job: &IngestJob) -> Result<(), OrgError> {
        let path = self.ingest_path(&job.job_id, "");
        let what = format!("the end of bulk job `{}`", job.job_id);
        let call = Call { method: Method::Delete, ..Call::get(Api::Bulk, path, what) };
        match self.respond(&call).await {
            Ok(_) | Err(OrgError::Rejected { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn ingest_path(&self, job_id: &str, rest: &str) -> String {
        self.data_path(&format!("/jobs/ingest/{job_id}{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::salesforce::HttpErrorKind;
    use crate::salesforce::test_support::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn columns(names: &[&str]) -> Vec<FieldName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn upload() -> Upload {
        let mut csv = IngestCsv::new(&columns(&["Id", "Name"]), 1_000);
        assert_eq!(csv.push(&[IngestCell::Text("1"), IngestCell::Null]).unwrap(), None);
        csv.finish().unwrap()
    }

    #[test]
    fn cells_are_written_as_the_org_reads_them() {
        let mut csv = IngestCsv::new(&columns(&["Id", "Name", "Note__c"]), 1_000);
        let row = [IngestCell::Text("a\"b,c\nd"), IngestCell::Null, IngestCell::Unchanged];
        csv.push(&row).unwrap();
        let upload = csv.finish().unwrap();
        assert_eq!(String::from_utf8(upload.csv).unwrap(), "Id,Name,Note__c\n\"a\"\"b,c\nd\",#N/A,\n");
    }

    #[test]
    fn a_row_whose_only_cell_is_unchanged_is_a_row_all_the_same() {
        let mut csv = IngestCsv::new(&columns(&["Name"]), 1_000);
        for cell in [IngestCell::Text("a"), IngestCell::Unchanged, IngestCell::Null] {
            csv.push(&[cell]).unwrap();
        }
        let upload = csv.finish().unwrap();
        let mut reader = csv::Reader::from_reader(upload.csv.as_slice());
        let rows: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
        assert_eq!((rows, upload.rows), (vec!["a".to_owned(), String::new(), "#N/A".to_owned()], 3));
    }

    #[test]
    fn a_text_that_the_org_would_take_for_null_is_refused() {
        let mut csv = IngestCsv::new(&columns(&["Name"]), 1_000);
        let error = csv.push(&[IngestCell::Text("#N/A")]).unwrap_err();
        assert_eq!(error, IngestCsvError::LooksLikeNull("Name".to_owned()));
    }

    #[test]
    fn uploads_are_cut_between_rows_and_each_has_its_header() {
        let mut csv = IngestCsv::new(&columns(&["Id"]), 20);
        let mut uploads = Vec::new();
        for row in 0..10 {
            uploads.extend(csv.push(&[IngestCell::Text(&row.to_string())]).unwrap());
        }
        uploads.extend(csv.finish());
        assert_eq!(uploads.iter().map(|upload| upload.rows).sum::<u64>(), 10);
        for upload in &uploads {
            assert!(upload.csv.len() <= 20 && upload.csv.starts_with(b"Id\n"));
        }
        let mut csv = IngestCsv::new(&columns(&["Id"]), 20);
        let long = "x".repeat(40);
        assert!(matches!(csv.push(&[IngestCell::Text(&long)]), Err(IngestCsvError::TooLarge { .. })));
        assert_eq!(csv.finish(), None);
    }

    const JOB: &str = "7505g00000AbCdEAAV";

    #[tokio::test]
    async fn rows_are_uploaded_closed_and_waited_for() {
        let looks = AtomicUsize::new(0);
        let bench = Bench::new(move |request| {
            match (request.method, request.url.rsplit('/').next().unwrap()) {
                (Method::Post, "ingest") => {
                    assert!(body_text(request).contains(r#""externalIdFieldName":"Ext__c""#));
                    json(200, &format!(r#"{{"id":"{JOB}","state":"Open","contentUrl":"x"}}"#))
                }
                (Method::Put, "batches") => json(201, ""),
                (Method::Patch, JOB) => json(200, &format!(r#"{{"id":"{JOB}","state":"UploadComplete"}}"#)),
                (Method::Get, JOB) => {
                    let state =
                        if looks.fetch_add(1, Ordering::SeqCst) < 2 { "InProgress" } else { "JobComplete" };
                    json(
                        200,
                        &format!(
                            r#"{{"id":"{JOB}","state":"{state}","numberRecordsProcessed":7,"numberRecordsFailed":2}}"#
                        ),
                    )
                }
                other => panic!("nobody asks {other:?}"),
            }
        });
        let operation = IngestOperation::Upsert { external_id: "Ext__c".parse().unwrap() };
        let job = bench.client.ingest(&"Lead".parse().unwrap(), &operation, &upload()).await.unwrap();
        let outcome = bench.client.ingest_outcome(&job, Duration::from_secs(60)).await.unwrap();
        assert_eq!(outcome, IngestOutcome { done: 5, failed: 2 });
    }

    #[tokio::test]
    async fn an_upload_of_which_nobody_knows_is_never_repeated_into_the_same_job() {
        let jobs = AtomicUsize::new(0);
        let bench = Bench::new(move |request| {
            let path = &request.url;
            match request.method {
                Method::Post => {
                    let number = jobs.fetch_add(1, Ordering::SeqCst);
                    json(200, &format!(r#"{{"id":"7505g00000AbCd{number}AAV","state":"Open"}}"#))
                }
                Method::Put if path.contains("AbCd0") => network(HttpErrorKind::Timeout),
                Method::Delete => json(204, ""),
                _ => json(200, r#"{"id":"7505g00000AbCd1AAV","state":"UploadComplete"}"#),
            }
        });
        let job =
            bench.client.ingest(&"Lead".parse().unwrap(), &IngestOperation::Insert, &upload()).await.unwrap();
        assert_eq!(job.job_id, "7505g00000AbCd1AAV");
        assert_eq!(bench.count("AbCd0AAV/batches"), 1);
        assert_eq!(bench.count("AbCd1AAV/batches"), 1);
        assert_eq!(bench.count("AbCd0AAV"), 3, "the upload, the abort, the delete: {:?}", bench.log());
    }

    #[rstest]
    #[case::open("Open", true)]
    #[case::a_state_that_is_new("SomethingNew", false)]
    #[tokio::test]
    async fn a_job_that_was_not_closed_is_taken_away_and_one_that_may_be_is_left(
        #[case] state: &'static str,
        #[case] is_taken_away: bool,
    ) {
        let deleted = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&deleted);
        let bench = Bench::new(move |request| match request.method {
            Method::Post | Method::Get => json(200, &format!(r#"{{"id":"{JOB}","state":"{state}"}}"#)),
            Method::Put => json(201, ""),
            Method::Patch if body_text(request).contains("Aborted") && !is_taken_away => {
                panic!("nobody knows what it has written")
            }
            Method::Patch => json(503, "busy"),
            Method::Delete => {
                seen.fetch_add(1, Ordering::SeqCst);
                json(204, "")
            }
        });
        let error = bench.client.ingest(&"Lead".parse().unwrap(), &IngestOperation::Insert, &upload()).await;
        let error = error.unwrap_err();
        assert_eq!(matches!(error, BulkError::Failed { .. }), !is_taken_away, "{error}");
        assert_eq!(deleted.load(Ordering::SeqCst), usize::from(is_taken_away));
    }
}
