//! Bulk API 2.0 queries, as something that can be put down and taken up again.
//!
//! Promises: one job for one query, however often the process dies, as long as its [`BulkCheckpoint`] is
//! kept; each row is handed over once; a job that never ends is aborted, deleted and told; nothing but
//! [`BulkQuery::delete`] and [`BulkQuery::abandon`] removes a job, so a dropped [`BulkQuery`] can be resumed
//! from its checkpoint. Pages are read as they come and never held whole.
//!
//! What an error asks for is said by [`BulkError`]: refused objects go over REST
//! ([`BulkError::is_refused`]), a vanished job means a new one and all rows again
//! ([`BulkError::calls_for_a_new_job`]).

mod jobs;
mod results;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Call, OrgClient};
use super::error::OrgError;
use super::gate::Api;
use super::handover::HandoverError;
use super::soql::Soql;
use super::transport::Method;
use crate::clock::SharedClock;
use crate::model::ApiVersion;
pub use jobs::{BulkJob, BulkJobKind, CleanedJobs};
pub(super) use results::handed_on_too_many;
pub use results::{PageDone, PageReader, ReadError};

/// First pause between two looks at a job; doubles up to [`POLL_MAX`].
const POLL_FIRST: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_secs(30);
/// From this version on the org lists the pages of a result.
const RESULT_PAGES_SINCE: u32 = 58;

/// How a bulk query is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkOptions {
    /// Rows a page; the org may give fewer.
    pub rows_per_page: u32,
    /// Pages under way at once, where the org lists them; 1 reads one after the other.
    pub pages_at_once: usize,
    /// Longest wait for the job to end.
    pub patience: Duration,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { rows_per_page: 50_000, pages_at_once: 3, patience: Duration::from_secs(2 * 3_600) }
    }
}

/// Where a bulk query stands: all that is needed to go on after a crash. Holds no row and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkCheckpoint {
    /// The org's id of the job.
    pub job_id: String,
    /// The job's own version: its results are given to no other.
    pub api_version: ApiVersion,
    /// Of the page to read next; `None` is the first.
    pub next_locator: Option<String>,
    /// Rows handed over.
    pub rows_done: u64,
    /// Pages handed over.
    pub pages_done: u64,
    /// Rows of the job, once it has ended.
    pub rows_total: Option<u64>,
    /// Every page is handed over; the job may be deleted.
    pub is_complete: bool,
}

/// Why a bulk query gave no rows, or no more.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The org takes no bulk query of this kind; over REST it may work.
    #[error("the org takes {what} by no bulk job: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The org's own words.
        message: String,
    },
    /// The job failed.
    #[error("bulk job `{job}` failed: {message}")]
    Failed {
        /// Its id.
        job: String,
        /// The org's own words, or that there were none.
        message: String,
    },
    /// Somebody, or the org, has aborted the job.
    #[error("bulk job `{job}` was aborted by somebody else")]
    Aborted {
        /// Its id.
        job: String,
    },
    /// The org has no such job (any more): finished jobs are kept for seven days.
    #[error("bulk job `{job}` is gone after {rows_done} rows; its rows must be asked for again")]
    Gone {
        /// Its id.
        job: String,
        /// Rows handed over before.
        rows_done: u64,
    },
    /// The job did not end in time; it was aborted and deleted as far as the org allowed.
    #[error("bulk job `{job}` did not end within {} s and was aborted", patience.as_secs())]
    Endless {
        /// Its id.
        job: String,
        /// The longest wait.
        patience: Duration,
    },
    /// The pages gave another number of rows than the job has.
    #[error("bulk job `{job}` has {rows_total} rows, its pages gave {rows_done}")]
    OtherCount {
        /// Its id.
        job: String,
        /// Rows by the job's own count.
        rows_total: u64,
        /// Rows handed over.
        rows_done: u64,
    },
    /// A page could not be read. The rows handed over before it stand.
    #[error("read page {page} of bulk job `{job}`")]
    Page {
        /// The job's id.
        job: String,
        /// Counted from 1.
        page: u64,
        /// Why.
        source: OrgError,
    },
    /// Whoever takes the rows could not take them.
    #[error("take over the rows of bulk job `{job}`")]
    Handover {
        /// The job's id.
        job: String,
        /// Why.
        source: HandoverError,
    },
    /// A call about the job.
    #[error(transparent)]
    Org(#[from] OrgError),
}

impl BulkError {
    /// The same rows may be had over REST.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The job cannot be resumed: drop what it gave, and start over with a new one.
    pub fn calls_for_a_new_job(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::Aborted { .. })
    }

    /// The same checkpoint may well work later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Org(error) | Self::Page { source: error, .. } => error.is_transient(),
            _ => false,
        }
    }

    /// The error of a call, where one is behind it.
    pub fn org_error(&self) -> Option<&OrgError> {
        match self {
            Self::Org(error) | Self::Page { source: error, .. } => Some(error),
            _ => None,
        }
    }
}

/// One bulk query at the org.
pub struct BulkQuery {
    client: OrgClient,
    options: BulkOptions,
    checkpoint: BulkCheckpoint,
    /// Locators of pages read or being read; a page that leads back to one would never end.
    locators_seen: HashSet<String>,
    plan: results::Plan,
    ahead: VecDeque<results::Ahead>,
}

impl std::fmt::Debug for BulkQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkQuery").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewJob<'a> {
    operation: &'static str,
    query: &'a str,
    content_type: &'static str,
    column_delimiter: &'static str,
    line_ending: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) state: JobState,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    number_records_processed: Option<u64>,
    #[serde(default)]
    number_records_failed: Option<u64>,
    #[serde(default)]
    api_version: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum JobState {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
    /// A state that this version of ours does not know is one more that is not the end.
    #[serde(other)]
    Unknown,
}

impl OrgClient {
    /// Creates a job for a query; with `include_deleted`, deleted and archived rows too. 1 call. The
    /// checkpoint of what comes back should be kept before anything else is done.
    ///
    /// # Errors
    /// [`BulkError::Refused`] when the org takes no such query by bulk job.
    pub async fn bulk_query(
        &self,
        soql: &Soql,
        include_deleted: bool,
        options: BulkOptions,
    ) -> Result<BulkQuery, BulkError> {
        self.create_bulk_query(soql, include_deleted, options, false).await
    }

    /// As [`OrgClient::bulk_query`], but asked once: after an answer that was lost the job may be there, and whoever asks
    /// looks for it first ([`OrgClient::bulk_jobs_of`]) before it asks again.
    ///
    /// # Errors
    /// As there.
    pub async fn bulk_query_once(
        &self,
        soql: &Soql,
        include_deleted: bool,
        options: BulkOptions,
    ) -> Result<BulkQuery, BulkError> {
        self.create_bulk_query(soql, include_deleted, options, true).await
    }

    async fn create_bulk_query(
        &self,
        soql: &Soql,
        include_deleted: bool,
        options: BulkOptions,
        once: bool,
    ) -> Result<BulkQuery, BulkError> {
        let what = format!("a query of `{}`", soql.source());
        let job = NewJob {
            operation: if include_deleted { "queryAll" } else { "query" },
            query: soql.as_str(),
            content_type: "CSV",
            column_delimiter: "COMMA",
            line_ending: "LF",
        };
        let path = self.data_path("/jobs/query");
        let call = Call::json(Method::Post, Api::Bulk, path, &job, format!("the bulk job for {what}"))?;
        let job = match once {
            false => self.read::<Job>(call).await,
            true => self.call_once(&call).await.and_then(|response| {
                serde_json::from_slice(&response.body)
                    .map_err(|error| OrgError::unreadable(call.what.as_str(), &error))
            }),
        };
        let job: Job = match job {
            Ok(job) => job,
            Err(OrgError::Rejected { status: 400..=499, code, message }) if is_refusal(&code, &message) => {
                return Err(BulkError::Refused { what, message });
            }
            Err(error) => return Err(error.into()),
        };
        let job = job.with_checked_id()?;
        let api_version = job.version().unwrap_or_else(|| self.api_version().clone());
        let checkpoint = BulkCheckpoint {
            job_id: job.id,
            api_version,
            next_locator: None,
            rows_done: 0,
            pages_done: 0,
            rows_total: None,
            is_complete: false,
        };
        Ok(self.resume_bulk_query(checkpoint, options))
    }

    /// Takes up a job where its checkpoint says; makes no call. The next step is [`BulkQuery::wait`],
    /// whatever was done before.
    pub fn resume_bulk_query(&self, checkpoint: BulkCheckpoint, options: BulkOptions) -> BulkQuery {
        BulkQuery {
            client: self.clone(),
            options,
            locators_seen: checkpoint.next_locator.iter().cloned().collect(),
            checkpoint,
            plan: results::Plan::default(),
            ahead: VecDeque::new(),
        }
    }
}

impl BulkQuery {
    /// Where it stands.
    pub fn checkpoint(&self) -> &BulkCheckpoint {
        &self.checkpoint
    }

    /// Waits for the job's end with growing pauses (1, 2, 4, .. 30 s) and returns its rows. A look that fails
    /// for a passing reason is made again after the next pause. Past [`BulkOptions::patience`] the job is
    /// aborted and deleted.
    ///
    /// # Errors
    /// [`BulkError::Failed`], [`BulkError::Aborted`], [`BulkError::Gone`], [`BulkError::Endless`], or that of
    /// a call. Nothing is deleted but an endless job.
    pub async fn wait(&mut self) -> Result<u64, BulkError> {
        if let (true, Some(rows)) = (self.checkpoint.is_complete, self.checkpoint.rows_total) {
            return Ok(rows);
        }
        let clock = SharedClock::clone(&self.client.caller().clock);
        let until = clock.elapsed().saturating_add(self.options.patience);
        let mut pause = POLL_FIRST;
        // A job that has been waited for before has probably ended; a new one certainly has not.
        let mut look_at_once = self.checkpoint.rows_total.is_some() || self.checkpoint.pages_done > 0;
        loop {
            if !look_at_once {
                clock.sleep(pause).await;
                pause = (pause * 2).min(POLL_MAX);
            }
            look_at_once = false;
            match self.look().await {
                Ok(job) => match job.state {
                    JobState::JobComplete => {
                        let rows = job.number_records_processed;
                        self.checkpoint.rows_total = rows;
                        if let Some(version) = job.version() {
                            self.checkpoint.api_version = version;
                        }
                        return Ok(rows.unwrap_or(0));
                    }
                    JobState::Failed => {
                        let message = job.why_failed();
                        return Err(BulkError::Failed { job: job.id, message });
                    }
                    JobState::Aborted => return Err(BulkError::Aborted { job: job.id }),
                    JobState::Open | JobState::UploadComplete | JobState::InProgress | JobState::Unknown => {}
                },
                Err(BulkError::Org(error)) if error.is_transient() && clock.elapsed() < until => {
                    tracing::debug!(error = %error, "a look at a bulk job failed");
                }
                Err(error) => return Err(error),
            }
            if clock.elapsed() >= until {
                let (job, patience) = (self.checkpoint.job_id.clone(), self.options.patience);
                self.abandon().await;
                return Err(BulkError::Endless { job, patience });
            }
        }
    }

    async fn look(&self) -> Result<Job, BulkError> {
        let call = Call::get(Api::Bulk, self.path(""), self.what());
        match self.client.read(call).await {
            Err(OrgError::Rejected { status: 404, .. }) => Err(self.gone()),
            job => Ok(job?),
        }
    }

    /// Deletes the job and its results at the org. One that is gone already is as good.
    ///
    /// # Errors
    /// Those of the call, after the usual retries; the job then stays at the org for seven days.
    pub async fn delete(&self) -> Result<(), OrgError> {
        let call = Call { method: Method::Delete, ..Call::get(Api::Bulk, self.path(""), self.what()) };
        self.client.respond(&call).await.map(drop).or_else(gone_is_good)
    }

    /// Aborts the job and deletes it; for work that is not wanted any more. What fails is logged: the org
    /// removes finished jobs by itself after seven days.
    pub async fn abandon(&self) {
        self.client.abandon_job(&self.path(""), &self.checkpoint.job_id).await;
    }

    fn gone(&self) -> BulkError {
        BulkError::Gone { job: self.checkpoint.job_id.clone(), rows_done: self.checkpoint.rows_done }
    }

    fn path(&self, rest: &str) -> String {
        let BulkCheckpoint { api_version, job_id, .. } = &self.checkpoint;
        format!("/services/data/v{api_version}/jobs/query/{job_id}{rest}")
    }

    fn what(&self) -> String {
        format!("bulk job `{}`", self.checkpoint.job_id)
    }
}

impl OrgClient {
    pub(super) async fn abandon_job(&self, path: &str, job_id: &str) {
        self.abort_job(path, job_id).await;
        let what = format!("the end of bulk job `{job_id}`");
        let delete = Call { method: Method::Delete, ..Call::get(Api::Bulk, path.to_owned(), what) };
        if let Err(error) = self.respond(&delete).await.map(drop).or_else(gone_is_good) {
            tracing::warn!(job = job_id, error = %error, "a bulk job was left at the org");
        }
    }

    async fn abort_job(&self, path: &str, job_id: &str) {
        #[derive(Serialize)]
        struct State {
            state: &'static str,
        }
        let what = format!("the end of bulk job `{job_id}`");
        let abort =
            Call::json(Method::Patch, Api::Bulk, path.to_owned(), &State { state: "Aborted" }, what.as_str());
        if let Ok(abort) = abort {
            // A job that has ended cannot be aborted, and need not be.
            drop(self.respond(&abort).await);
        }
    }
}

fn gone_is_good(error: OrgError) -> Result<(), OrgError> {
    match error {
        OrgError::Rejected { status: 404, .. } => Ok(()),
        error => Err(error),
    }
}

impl Job {
    /// The id becomes part of paths that carry our token.
    pub(super) fn with_checked_id(self) -> Result<Self, OrgError> {
        if is_job_id(&self.id) {
            return Ok(self);
        }
        let reason = "its id is none".to_owned();
        Err(OrgError::Unreadable { what: "the new bulk job".to_owned(), reason, cut_off: false })
    }

    pub(super) fn why_failed(&self) -> String {
        let message = self.error_message.as_deref().filter(|text| !text.trim().is_empty());
        message.map_or_else(|| "the org says nothing more".to_owned(), super::error::shorten)
    }

    pub(super) fn records_processed(&self) -> Option<u64> {
        self.number_records_processed
    }

    pub(super) fn records_failed(&self) -> u64 {
        self.number_records_failed.unwrap_or(0)
    }

    /// The job's version: a number on the wire, `62.0` in a path.
    pub(super) fn version(&self) -> Option<ApiVersion> {
        format!("{:.1}", self.api_version?).parse().ok()
    }
}

fn is_job_id(id: &str) -> bool {
    (15..=18).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a refused create means "not by bulk" rather than "not at all".
fn is_refusal(code: &str, message: &str) -> bool {
    let says = |text: &str| message.contains(text);
    matches!(code, "INVALIDENTITY" | "FEATURENOTENABLED" | "FeatureNotEnabled")
        || (code == "API_ERROR" && says("Implementation restriction"))
        || says("not supported in Bulk")
        || says("not supported by the Bulk API")
        || says("cannot be selected in bulk")
        || says("does not support query")
}
