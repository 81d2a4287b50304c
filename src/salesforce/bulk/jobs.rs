//! The bulk jobs that the org knows of: queries and loads of both generations, whoever made them.
//!
//! Promises: a list is whole, however many pages it has; a job that is deleted was told to be over, or was aborted first; a
//! job of Bulk 1.0 is shown and never touched, because only its own interface can end it.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::{BulkCheckpoint, POLL_FIRST, POLL_MAX, gone_is_good, is_job_id};
use crate::clock::SharedClock;
use crate::model::ApiVersion;
use crate::salesforce::client::{Call, OrgClient};
use crate::salesforce::error::{OrgError, shorten};
use crate::salesforce::gate::Api;
use crate::salesforce::replication::read_moment;
use crate::salesforce::transport::Method;

/// Lists are followed no further than this.
const LISTS_MAX: u32 = 1_000;

/// Which interface a job belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkJobKind {
    /// A query of Bulk 2.0.
    Query,
    /// A load of Bulk 2.0.
    Ingest,
    /// A job of Bulk 1.0, or of a kind that we do not know: it is listed, and cannot be ended from here.
    Classic,
}

impl BulkJobKind {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Ingest => "ingest",
            Self::Classic => "classic",
        }
    }
}

/// A bulk job as the org lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkJob {
    /// Its id.
    pub id: String,
    /// Which interface it belongs to.
    pub kind: BulkJobKind,
    /// `query`, `queryAll`, `insert`, `upsert`, ...
    pub operation: String,
    /// The object; empty where the org does not say.
    pub object: String,
    /// `Open`, `UploadComplete`, `InProgress`, `JobComplete`, `Failed`, `Aborted`, ...
    pub state: String,
    /// Id of the user who made it.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it last changed: of a job that is over, when it ended.
    pub changed_at: Option<Timestamp>,
    /// The version it was made with.
    pub api_version: Option<ApiVersion>,
    /// Rows that were worked on.
    pub rows: Option<u64>,
    /// Rows that failed.
    pub rows_failed: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl BulkJob {
    /// Nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "JobComplete" | "Failed" | "Aborted" | "Closed")
    }

    /// A checkpoint at the beginning of the job's rows, for a query.
    pub fn checkpoint(&self, otherwise: &ApiVersion) -> BulkCheckpoint {
        BulkCheckpoint {
            job_id: self.id.clone(),
            api_version: self.api_version.clone().unwrap_or_else(|| otherwise.clone()),
            next_locator: None,
            rows_done: 0,
            pages_done: 0,
            rows_total: None,
            is_complete: false,
        }
    }
}

/// What a clean-up did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanedJobs {
    /// Jobs that were looked at.
    pub looked_at: u64,
    /// Ids of jobs that were deleted.
    pub deleted: Vec<String>,
    /// Ids of jobs that could not be, with the reason.
    pub failed: Vec<(String, String)>,
    /// Finished jobs that are in use, and stay.
    pub spared: u64,
    /// Finished jobs of Bulk 1.0, which the org removes by itself.
    pub classic: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListOnTheWire {
    records: Vec<JobOnTheWire>,
    #[serde(default)]
    next_records_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobOnTheWire {
    id: String,
    #[serde(default)]
    job_type: Option<String>,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    created_by_id: Option<String>,
    #[serde(default)]
    created_date: Option<String>,
    #[serde(default)]
    system_modstamp: Option<String>,
    #[serde(default)]
    api_version: Option<f64>,
    #[serde(default)]
    number_records_processed: Option<u64>,
    #[serde(default)]
    number_records_failed: Option<u64>,
    #[serde(default)]
    error_message: Option<String>,
}

impl JobOnTheWire {
    fn read(self, listed_under: BulkJobKind) -> BulkJob {
        let is_query = self.operation.as_deref().is_some_and(|name| name.starts_with("query"));
        let kind = match self.job_type.as_deref() {
            Some("V2Query") => BulkJobKind::Query,
            Some("V2Ingest") => BulkJobKind::Ingest,
            // The org leaves the type out where it shows one job.
            None if is_query => BulkJobKind::Query,
            None => listed_under,
            Some(_) => BulkJobKind::Classic,
        };
        let moment = |text: Option<String>| text.and_then(|text| read_moment(&text, "a bulk job").ok());
        BulkJob {
            id: self.id,
            kind,
            operation: self.operation.unwrap_or_default(),
            object: self.object.unwrap_or_default(),
            state: self.state.unwrap_or_default(),
            created_by: self.created_by_id,
            created_at: moment(self.created_date),
            changed_at: moment(self.system_modstamp),
            api_version: self.api_version.and_then(|version| format!("{version:.1}").parse().ok()),
            rows: self.number_records_processed,
            rows_failed: self.number_records_failed,
            error: self.error_message.as_deref().filter(|text| !text.trim().is_empty()).map(shorten),
        }
    }
}

fn folder(kind: BulkJobKind) -> &'static str {
    match kind {
        BulkJobKind::Ingest => "/jobs/ingest",
        BulkJobKind::Query | BulkJobKind::Classic => "/jobs/query",
    }
}

impl OrgClient {
    /// The jobs of the org, queries first, each once, in the org's order; jobs of Bulk 1.0 among them. 2 calls, more where
    /// there are many jobs.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn bulk_jobs(&self) -> Result<Vec<BulkJob>, OrgError> {
        let mut jobs = self.bulk_jobs_of(BulkJobKind::Query).await?;
        let mut seen: HashSet<String> = jobs.iter().map(|job| job.id.clone()).collect();
        for job in self.bulk_jobs_of(BulkJobKind::Ingest).await? {
            // Both lists show jobs of Bulk 1.0.
            if seen.insert(job.id.clone()) {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// The jobs of one list, that of queries or that of loads.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn bulk_jobs_of(&self, kind: BulkJobKind) -> Result<Vec<BulkJob>, OrgError> {
        let mut jobs = Vec::new();
        let mut path = self.data_path(folder(kind));
        let mut seen = HashSet::new();
        for _ in 0..LISTS_MAX {
            let call = Call::get(Api::Bulk, path.clone(), "the list of bulk jobs");
            let list: ListOnTheWire = self.read(call).await?;
            jobs.extend(list.records.into_iter().map(|job| job.read(kind)).filter(|job| is_job_id(&job.id)));
            seen.insert(path);
            match list.next_records_url {
                Some(next) if next.starts_with("/services/data/") && !seen.contains(&next) => path = next,
                Some(_) => {
                    let reason = "its next page leads back, or away from the org's API".to_owned();
                    let what = "the list of bulk jobs".to_owned();
                    return Err(OrgError::Unreadable { what, reason, cut_off: false });
                }
                None => break,
            }
        }
        Ok(jobs)
    }

    /// One job, looked for among queries and loads; `None`: there is none of this id (any more). At most 2 calls.
    ///
    /// # Errors
    /// Those of the calls; a text that cannot be an id is [`OrgError::Settings`].
    pub async fn bulk_job(&self, id: &str) -> Result<Option<BulkJob>, OrgError> {
        check_id(id)?;
        for kind in [BulkJobKind::Query, BulkJobKind::Ingest] {
            let path = self.data_path(&format!("{}/{id}", folder(kind)));
            let call = Call::get(Api::Bulk, path, format!("bulk job `{id}`"));
            match self.read::<JobOnTheWire>(call).await {
                Ok(job) => return Ok(Some(job.read(kind)).filter(|job| is_job_id(&job.id))),
                // The org answers 400 or 404 for a job of the other kind, by its mood and its release.
                Err(OrgError::Rejected { status: 400 | 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Looks at a query job, with the pauses of [`super::BulkQuery::wait`], until it is over; `None`: it is gone, or not over
    /// after `patience`. Nothing is done to it: it may be somebody else's.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn watch_bulk_job(&self, id: &str, patience: Duration) -> Result<Option<BulkJob>, OrgError> {
        let clock = SharedClock::clone(&self.caller().clock);
        let until = clock.elapsed().saturating_add(patience);
        let mut pause = POLL_FIRST;
        loop {
            match self.bulk_job(id).await? {
                Some(job) if job.is_over() => return Ok(Some(job)),
                Some(_) if clock.elapsed() < until => {}
                _ => return Ok(None),
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Deletes a job with its results; one that is under way is aborted first. One that is gone already is as good.
    ///
    /// # Errors
    /// Those of the calls; a job of Bulk 1.0 is [`OrgError::Settings`].
    pub async fn delete_bulk_job(&self, job: &BulkJob) -> Result<(), OrgError> {
        check_id(&job.id)?;
        if job.kind == BulkJobKind::Classic {
            let why = "is one of Bulk 1.0, which this interface cannot delete; the org does seven days after its end";
            return Err(OrgError::Settings(format!("bulk job `{}` {why}", job.id)));
        }
        let path = self.data_path(&format!("{}/{}", folder(job.kind), job.id));
        if !job.is_over() {
            self.abort_job(&path, &job.id).await;
        }
        let what = format!("the end of bulk job `{}`", job.id);
        let delete = Call { method: Method::Delete, ..Call::get(Api::Bulk, path, what) };
        self.respond(&delete).await.map(drop).or_else(gone_is_good)
    }

    /// Deletes the finished jobs that last changed before `before`, of both kinds, but those `in_use`. One that cannot be deleted
    /// stops nothing.
    ///
    /// # Errors
    /// Those of the lists.
    pub async fn clean_bulk_jobs(
        &self,
        before: Timestamp,
        in_use: &BTreeSet<String>,
    ) -> Result<CleanedJobs, OrgError> {
        let mut cleaned = CleanedJobs::default();
        for job in self.bulk_jobs().await? {
            cleaned.looked_at += 1;
            let ended = job.changed_at.or(job.created_at);
            if !job.is_over() || ended.is_none_or(|ended| ended >= before) {
                continue;
            }
            if job.kind == BulkJobKind::Classic {
                cleaned.classic += 1;
                continue;
            }
            if in_use.contains(&job.id) {
                cleaned.spared += 1;
                continue;
            }
            match self.delete_bulk_job(&job).await {
                Ok(()) => cleaned.deleted.push(job.id),
                Err(error) => cleaned.failed.push((job.id, error.to_string())),
            }
        }
        Ok(cleaned)
    }

    /// The names in the header of a finished query job's results, in their order. 1 call; `None` where the org gives no
    /// header.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn bulk_result_header(&self, job: &BulkCheckpoint) -> Result<Option<Vec<String>>, OrgError> {
        check_id(&job.job_id)?;
        let (version, id) = (&job.api_version, &job.job_id);
        let path = format!("/services/data/v{version}/jobs/query/{id}/results?maxRecords=1");
        let call = Call::get(Api::Bulk, path, format!("the first row of bulk job `{id}`"))
            .with_header("accept", "text/csv");
        self.read_by(&call, |body| Ok(header_of(body))).await
    }
}

/// The values of a CSV's first line. Names of fields hold neither quotes nor line ends.
fn header_of(body: &[u8]) -> Option<Vec<String>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let line = body.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    if line.is_empty() {
        return None;
    }
    // Whoever adopts a job may have another delimiter in it; no name holds one of these.
    let delimiter = ['\t', '|', ';', '^', '`'].into_iter().find(|mark| line.contains(*mark)).unwrap_or(',');
    Some(line.split(delimiter).map(|name| name.trim_matches('"').to_owned()).collect())
}

fn check_id(id: &str) -> Result<(), OrgError> {
    if is_job_id(id) {
        return Ok(());
    }
    let id: String = id.chars().take(40).collect();
    Err(OrgError::Settings(format!("`{id}` is no id of a bulk job: 15 or 18 letters and digits")))
}
