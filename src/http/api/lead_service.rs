//! What a door (HTTP, the control socket, the command line) may ask of whoever runs lead jobs.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::BoxFuture;
use crate::leads::job::{LeadJobSpec, LeadProgress, LeadSource, ReportFormat};
use crate::leads::outcome::LeadResult;
use crate::leads::settings::{LeadSettings, Money};
use crate::model::OrgName;

/// Asks for a job.
#[derive(Debug, Clone, PartialEq)]
pub struct StartLeads {
    /// The org; `None`: that of the settings.
    pub org: Option<OrgName>,
    /// Where the ids come from.
    pub source: StartSource,
    /// Whether the model is asked, where one is configured.
    pub ask_model: bool,
    /// Ids in one read; `None`: the settings'.
    pub read_batch: Option<usize>,
    /// Leads in one item of the assessor; `None`: the settings'.
    pub assess_batch: Option<usize>,
    /// Most that it may spend; `None`: the settings'.
    pub max_cost: Option<Money>,
    /// Forms of the report; empty: that of the sheet, or `.jsonl` without one.
    pub reports: Vec<ReportFormat>,
    /// An unfinished job with the same source and options is taken up again instead of beginning a second one.
    pub take_up: bool,
}

/// Where the ids of a job come from, before it has a folder.
#[derive(Debug, Clone, PartialEq)]
pub enum StartSource {
    /// A file of this machine, copied when the job begins.
    Sheet {
        /// Where it is.
        path: PathBuf,
        /// As the person called it; its extension tells the format.
        name: String,
        /// The sheet; `None`: the only one, or the first of those not hidden that has a column of ids.
        sheet: Option<String>,
        /// Head of the column with the ids; `None`: the one that holds them.
        id_column: Option<String>,
        /// Whether the file is taken away from where it is: an upload.
        is_ours: bool,
    },
    /// A statement that the guard has passed, with its limit in it.
    Query {
        /// The statement.
        soql: String,
    },
    /// A list.
    Ids {
        /// As they were given.
        ids: Vec<String>,
    },
}

/// A job and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadJobView {
    /// What was asked for.
    pub spec: Arc<LeadJobSpec>,
    /// How far it is.
    pub progress: LeadProgress,
}

/// Why a lead job could not be begun, or its answer not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeadProblem {
    /// What was asked is wrong: the sheet, the column, the statement. The sentence names it and the remedy.
    #[error("{0}")]
    Wrong(String),
    /// No such job, lead or report.
    #[error("{0}")]
    NotFound(String),
    /// It runs, or has not come so far.
    #[error("{0}")]
    NotYet(String),
    /// The line is paused, full or leaving.
    #[error("{0}")]
    Busy(String),
    /// The org or the disk failed.
    #[error("{0}")]
    Failed(String),
}

/// What a job would take, before anything is spent.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LeadForecast {
    /// The sheet that the ids were found in; `None` in a file that has one, and without a file.
    pub sheet: Option<String>,
    /// Head of the column with the ids; `None` without a file.
    pub id_column: Option<String>,
    /// Data rows.
    pub rows: u64,
    /// Rows whose id is none.
    pub invalid: u64,
    /// Rows whose lead stands in an earlier row.
    pub duplicates: u64,
    /// Different leads.
    pub leads: u64,
    /// How they are read, as far as that is known without asking the org: `collections`.
    pub retrieval: &'static str,
    /// Why so, in a sentence.
    pub why: String,
    /// Calls to the org.
    pub org_calls: u64,
    /// Requests to the model.
    pub model_requests: u64,
    /// Tokens of questions and answers, estimated.
    pub model_tokens: u64,
    /// What they would cost.
    pub cost: Money,
    /// Answers that are there already, for the same content: known only once leads are read, so only of this job's past.
    pub reused: u64,
    /// Seconds, at the limits known; `None` when none is known.
    pub seconds: Option<f64>,
}

/// Runs lead jobs. The plant has one.
pub trait LeadService: Send + Sync + 'static {
    /// What holds for every job.
    fn settings(&self) -> &LeadSettings;

    /// Looks at a source without a call to the org: counts its ids and says what a job would take.
    fn forecast(&self, start: StartLeads) -> BoxFuture<'_, Result<LeadForecast, LeadProblem>>;

    /// Begins a job. When this returns it is in the journal, and goes on after a crash.
    fn start(&self, start: StartLeads) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>>;

    /// A job.
    fn job(&self, job: &str) -> Option<LeadJobView>;

    /// All jobs that are kept, the youngest first.
    fn jobs(&self) -> Vec<LeadJobView>;

    /// Follows a job; the sender goes away when it is over.
    fn watch(&self, job: &str) -> Option<watch::Receiver<LeadProgress>>;

    /// Tries a job's failed and unread leads again, and what was left when it failed. With `max_cost` it may spend so much from
    /// now on, what it has spent included.
    fn retry(
        &self,
        job: &str,
        max_cost: Option<Money>,
    ) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>>;

    /// Where a report of a finished job is; made now when the job did not ask for this form.
    fn report(&self, job: &str, format: ReportFormat) -> BoxFuture<'_, Result<PathBuf, LeadProblem>>;

    /// Results of a finished job, in the order of its leads. At most `limit`, beginning with `from`.
    fn results(
        &self,
        job: &str,
        from: u32,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeadResult>, LeadProblem>>;

    /// Rows of a finished job whose id is none, as they were written. At most `limit`.
    fn invalid_ids(&self, job: &str, limit: usize) -> BoxFuture<'_, Result<Vec<InvalidRow>, LeadProblem>>;

    /// One lead, read now; with `assess` also assessed. Not found is [`LeadProblem::NotFound`].
    fn lead(&self, id: &str, assess: bool) -> BoxFuture<'_, Result<LeadResult, LeadProblem>>;

    /// Ids that a statement finds: how many there are, and the first `limit`. 1 call or more.
    fn query_ids(&self, soql: &str, limit: usize) -> BoxFuture<'_, Result<QueriedIds, LeadProblem>>;
}

/// A row without a usable id.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InvalidRow {
    /// Number of the row in the sheet, as a spreadsheet shows it.
    pub row: u64,
    /// What stands there, at most 64 characters of it.
    pub written: String,
    /// Why it is none, for a person.
    pub reason: String,
}

/// What a statement finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueriedIds {
    /// Rows in all, as the org says.
    pub total: u64,
    /// The first ids.
    pub ids: Vec<String>,
}

/// The source in the words of a job that has a folder.
pub fn describe_source(source: &LeadSource) -> String {
    match source {
        LeadSource::Sheet { name, sheet: Some(sheet), .. } => format!("{name}, sheet `{sheet}`"),
        LeadSource::Sheet { name, sheet: None, .. } => name.clone(),
        LeadSource::Query { .. } => "a query".to_owned(),
        LeadSource::Ids { ids } => format!("{} ids", ids.len()),
    }
}
