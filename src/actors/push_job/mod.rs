//! One push: rows of a warehouse query into the org.
//!
//! Promises: what is sent was written down before; the id of a job is kept before its rows are uploaded, so that after a
//! crash the org is asked and never told twice; the outcome of every row is in the results table before its job is let go;
//! rows whose refusal may pass are sent again, a few times. A push that ends with an error is taken up where it stands by
//! the next run, unless the org refused it before it had any of its rows.

mod folder;
mod org;
mod reading;
mod results;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use org::PushOrg;
pub use reading::{ReadingError, UNFIT_MAX};

use self::folder::PushFolder;
use self::reading::{QueryRead, QueryReader};
use self::results::{BadFile, BatchRows, JobOutcomes, ResultList, call_outcomes, json_of, match_value};
use super::warehouse_writer::Patience;
use crate::clock::SharedClock;
use crate::model::{ObjectName, OrgName};
use crate::salesforce::{
    BulkError, CollectionWrite, IngestCell, IngestCsv, IngestJob, IngestOperation, IngestResults,
    JobStanding, OrgError, ReadError, Upload,
};
use crate::store::atomic_file::StoreError;
use crate::sync::push::{
    BatchState, Found, PushOperation, PushProgress, PushResult, PushSettings, PushWay, ResultOf, RowNumbers,
    RowOutcome, Step, batches, choose, cut, next_step, results_layout,
};
use crate::sync::{ErrorKind, LoadId, PartNumber};
use crate::warehouse::{RowChunk, Warehouse, WarehouseError, WarehouseThread};

/// Times that a job is made anew for a batch in one run, when its rows do not get there.
const JOBS_PER_BATCH: u32 = 3;
/// Rows of the results table that are written in one go.
const RESULTS_TOGETHER: usize = 25_000;
/// Parts of the results from here on are of rows that were not sent.
const UNFIT_PARTS: u32 = 1_000_000_000;
/// Longest that the query may take.
const QUERY_LONGEST: Duration = Duration::from_secs(3_600);
/// First pause before rows are sent again; it doubles with each time.
const PAUSE: Duration = Duration::from_secs(2);

/// Why a push is not at its end.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The query, or what it gave.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// The query was cancelled.
    #[error("the query of push `{0}` did not end within an hour and was cancelled; nothing was sent")]
    TooLong(String),
    /// The warehouse.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// A call.
    #[error(transparent)]
    Org(#[from] OrgError),
    /// The org has no such object, or hides it.
    #[error(
        "the org has no object `{object}`, or penstock's user may not see it: see `object` of the push `{push}`"
    )]
    NoObject {
        /// The push.
        push: String,
        /// As configured.
        object: ObjectName,
    },
    /// A job.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The results of a job.
    #[error("read the results of a push")]
    Results(#[from] ReadError),
    /// The push's folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the push's folder.
    #[error(transparent)]
    File(#[from] BadFile),
    /// Part of it went to another org.
    #[error(
        "a part of push `{push}` was sent to org `{org}`, which knows its jobs: run it there to its end, or delete `{folder}` to forget it"
    )]
    OtherOrg {
        /// The push.
        push: String,
        /// That org.
        org: OrgName,
        /// What is kept of it.
        folder: String,
    },
}

impl PushError {
    /// Why the object could not be described. Of one that it has not the org says only that there is no such resource.
    fn of_describe(settings: &PushSettings, error: OrgError) -> Self {
        match error {
            OrgError::Rejected { status: 404, .. } => {
                Self::NoObject { push: settings.name.clone(), object: settings.object.clone() }
            }
            error => error.into(),
        }
    }

    /// The org refuses what it is asked, and will the next time.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Org(error) | Self::Bulk(BulkError::Org(error)) | Self::Results(ReadError::Page(error)) => {
                matches!(error, OrgError::Rejected { .. } | OrgError::TooLong { .. })
            }
            _ => false,
        }
    }

    /// The next run, which asks for the same, will come no further.
    pub fn is_lasting(&self) -> bool {
        self.is_refusal() || matches!(self, Self::File(_))
    }

    /// Whose trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Warehouse(WarehouseError::Denied(_))
            | Self::Reading(ReadingError::Warehouse(WarehouseError::Denied(_))) => ErrorKind::Auth,
            Self::Warehouse(error) | Self::Reading(ReadingError::Warehouse(error))
                if error.is_transient() =>
            {
                ErrorKind::Network
            }
            Self::Org(error) | Self::Bulk(BulkError::Org(error)) if error.is_refused_login() => {
                ErrorKind::Auth
            }
            Self::Org(error) | Self::Bulk(BulkError::Org(error)) if error.is_transient() => {
                ErrorKind::Network
            }
            Self::Reading(_) | Self::Warehouse(_) | Self::File(_) | Self::TooLong(_) => ErrorKind::Data,
            _ => ErrorKind::Job,
        }
    }
}

/// What a push is carried out with.
#[derive(Clone)]
pub struct PushJob {
    /// The push.
    pub settings: PushSettings,
    /// Name of the org.
    pub org_name: OrgName,
    /// The org.
    pub org: Arc<dyn PushOrg>,
    /// The warehouse that is asked, and that the results are told to.
    pub warehouse: WarehouseThread,
    /// Folder that each push has its own in.
    pub folder: PathBuf,
    /// Time.
    pub clock: SharedClock,
}

impl PushJob {
    /// Whether a push of this name, with its own folder below `folder`, is left from before.
    pub fn is_left(folder: &std::path::Path, name: &str) -> bool {
        PushFolder::left(folder, name).is_some()
    }

    /// The folder of a push of this name that is left from before.
    pub fn left(folder: &std::path::Path, name: &str) -> Option<PathBuf> {
        PushFolder::left(folder, name)
    }

    /// Ids of bulk jobs that a push of this name, left from before or under way, waits for.
    ///
    /// # Errors
    /// When what is kept of it cannot be read.
    pub fn bulk_jobs_in_use(folder: &std::path::Path, name: &str) -> Result<Vec<String>, StoreError> {
        if !Self::is_left(folder, name) {
            return Ok(Vec::new());
        }
        let progress = PushFolder::open(folder, name)?.progress()?;
        let batches = progress.iter().flat_map(|progress| &progress.batches);
        Ok(batches.filter_map(|batch| batch.state.job_id().map(str::to_owned)).collect())
    }

    /// Carries out the push under `id`; one that was under way is taken up under its own instead.
    ///
    /// # Errors
    /// See [`PushError`]; rows that were sent until then stay sent, and the next run goes on behind them. A push that the org
    /// refuses before anything was sent is forgotten: the next run begins with the settings and the rows of then.
    pub async fn run(&self, id: LoadId) -> Result<PushResult, PushError> {
        let begun = self.clock.elapsed();
        let folder = PushFolder::open(&self.folder, &self.settings.name)?;
        let result = self.run_in(folder, id, begun).await;
        // Its own connection is of no use between two runs.
        self.warehouse.disconnect().await;
        result
    }

    async fn run_in(&self, folder: PushFolder, id: LoadId, begun: Duration) -> Result<PushResult, PushError> {
        let kept = folder.progress()?;
        let is_new = kept.is_none();
        let mut run = match kept {
            Some(progress) if progress.org != self.org_name => {
                let (push, org) = (progress.push, progress.org);
                return Err(PushError::OtherOrg { push, org, folder: folder.path().display().to_string() });
            }
            Some(progress) => Run { job: self, folder, progress },
            None => self.plan(id, folder).await?,
        };
        if let Err(error) = run.send_all().await {
            if error.is_refusal() && run.progress.has_sent_nothing(is_new) {
                run.forget().await;
            }
            return Err(error);
        }
        let progress = &run.progress;
        let error = progress.error();
        let result = PushResult {
            push: progress.push.clone(),
            id: Some(progress.id.clone()),
            object: progress.object.to_string(),
            operation: progress.operation.as_str().to_owned(),
            choice: Some(progress.choice.clone()),
            rows_read: progress.rows_read,
            tally: progress.tally(),
            batches: progress.batches.len() as u64,
            // Whoever runs the push counts the calls at the client.
            calls: 0,
            jobs: progress.jobs,
            seconds: self.clock.elapsed().saturating_sub(begun).as_secs_f64(),
            success: error.is_none(),
            error,
            results: self.settings.results.as_ref().map(ToString::to_string),
        };
        on_disk(&run.folder, PushFolder::clear).await?;
        Ok(result)
    }

    /// Reads the query and writes down what will be sent.
    async fn plan(&self, id: LoadId, folder: PushFolder) -> Result<Run<'_>, PushError> {
        // What a push left that was not planned to its end.
        on_disk(&folder, PushFolder::clear).await?;
        let described = self.org.fields(&self.settings.object).await;
        let describe = described.map_err(|error| PushError::of_describe(&self.settings, error))?;
        let reader = QueryReader::new(self.settings.clone(), describe, folder.clone());
        let sql = self.settings.sql.clone();
        // The reader comes back whatever became of the query: it knows best what went wrong.
        let read = self.warehouse.call(move |warehouse| {
            let mut reader = reader;
            let ended = warehouse.query(&sql, &mut reader);
            let breaks = ended.as_ref().is_err_and(WarehouseError::ends_connection);
            match reader.finish(ended) {
                // The thread makes a broken connection anew.
                Err(ReadingError::Warehouse(error)) if breaks => Err(error),
                read => Ok(read),
            }
        });
        tokio::pin!(read);
        let read = tokio::select! {
            biased;
            read = &mut read => read,
            () = self.clock.sleep(QUERY_LONGEST) => {
                self.warehouse.cancel();
                match read.await {
                    Err(_) | Ok(Err(ReadingError::Warehouse(_))) => {
                        return Err(PushError::TooLong(self.settings.name.clone()));
                    }
                    // It came to its end just then.
                    read => read,
                }
            }
        };
        let QueryRead { columns, files, rows, unfit } = read??;
        let operation = self.settings.operation.clone();
        let sent: u64 = files.iter().map(RowNumbers::len).sum();
        let choice = choose(&operation, sent, files.len() as u64, self.settings.bulk_from);
        let progress = PushProgress {
            id,
            push: self.settings.name.clone(),
            org: self.org_name.clone(),
            object: self.settings.object.clone(),
            operation,
            columns,
            batches: batches(choice.way, &files),
            choice,
            rows_read: rows,
            rows_unfit: unfit.len() as u64,
            jobs: 0,
            jobs_left: Vec::new(),
            started_at: self.clock.wall(),
        };
        let run = Run { job: self, folder, progress };
        for (at, unfit) in (0..).zip(unfit.chunks(RESULTS_TOGETHER)) {
            run.tell(PartNumber(UNFIT_PARTS + at), unfit, 1, None).await?;
        }
        let progress = run.progress.clone();
        on_disk(&run.folder, move |folder| folder.keep(&progress)).await?;
        Ok(run)
    }
}

/// A push under way.
struct Run<'j> {
    job: &'j PushJob,
    folder: PushFolder,
    progress: PushProgress,
}

impl Run<'_> {
    async fn send_all(&mut self) -> Result<(), PushError> {
        let mut at = 0;
        // Batches of rows that are sent again are added behind.
        while at < self.progress.batches.len() {
            self.finish_batch(at).await?;
            at += 1;
        }
        self.let_go_of_jobs().await;
        Ok(())
    }

    /// Those that a crash has left; one that is gone is as good.
    async fn let_go_of_jobs(&mut self) {
        for job_id in std::mem::take(&mut self.progress.jobs_left) {
            self.job.org.abandon(&IngestJob { job_id, rows: 0 }).await;
        }
    }

    /// Lets go of a push that has sent nothing.
    async fn forget(&mut self) {
        self.let_go_of_jobs().await;
        if let Err(error) = on_disk(&self.folder, PushFolder::clear).await {
            tracing::warn!(push = self.progress.push, %error, "a push that has sent nothing is still kept");
        }
    }

    /// Takes a batch to its end, wherever it stands.
    async fn finish_batch(&mut self, at: usize) -> Result<(), PushError> {
        let mut jobs = 0;
        loop {
            let state = self.progress.batches[at].state.clone();
            let job = match &state {
                BatchState::Job { job_id } => {
                    Some(IngestJob { job_id: job_id.clone(), rows: self.progress.batches[at].rows.len() })
                }
                BatchState::Ready | BatchState::Told => None,
            };
            let standing = match &job {
                Some(job) => Some(self.job.org.standing(job).await?),
                None => None,
            };
            match (next_step(&self.progress.operation, &state, standing.as_ref().map(found)), job) {
                (Step::Done, _) => return Ok(()),
                (Step::Send, _) if self.progress.choice.way == PushWay::Collections => {
                    self.pause_before(at).await;
                    let outcomes = self.call(at).await?;
                    self.told(at, outcomes, None).await?;
                }
                (Step::Send, _) => {
                    self.pause_before(at).await;
                    jobs += 1;
                    match self.send(at).await {
                        Ok(()) => {}
                        // The org says by the job's state whether the rows got there.
                        Err(PushError::Bulk(error)) if jobs < JOBS_PER_BATCH && may_pass(&error) => {
                            tracing::warn!(push = self.progress.push, %error, "a job did not get its rows");
                        }
                        Err(error) => return Err(error),
                    }
                }
                (Step::Replace, Some(job)) => {
                    self.progress.jobs_left.push(job.job_id.clone());
                    self.keep(at, BatchState::Ready).await?;
                    self.job.org.abandon(&job).await;
                }
                (Step::Await, Some(job)) => {
                    if standing == Some(JobStanding::Working) {
                        self.job.org.wait(&job, self.job.settings.patience).await?;
                        // How it ended is asked anew.
                        continue;
                    }
                    let broke_off = match standing {
                        Some(JobStanding::Failed { message }) => Some(message),
                        Some(JobStanding::Aborted) => Some("its job was aborted".to_owned()),
                        _ => None,
                    };
                    let outcomes = self.read_results(at, &job, broke_off.as_deref()).await?;
                    self.told(at, outcomes, Some(&job.job_id)).await?;
                    match self.job.org.delete(&job).await {
                        Ok(()) => self.progress.jobs_left.retain(|left| *left != job.job_id),
                        Err(error) => {
                            tracing::debug!(push = self.progress.push, job = job.job_id, %error, "a bulk job is still at the org");
                        }
                    }
                }
                (Step::GiveUp, job) => {
                    let rows = self.rows(at).await?;
                    let why = "the org has forgotten the job, and an insert is not sent twice";
                    let unknown = rows.iter().map(|(number, record)| {
                        RowOutcome::unknown(number, match_value(&self.progress.columns, Some(record)), why)
                    });
                    let outcomes = unknown.collect();
                    self.told(at, outcomes, job.as_ref().map(|job| job.job_id.as_str())).await?;
                }
                // These steps are of a job that was kept.
                (Step::Replace | Step::Await, None) => self.keep(at, BatchState::Ready).await?,
            }
        }
    }

    /// Rows whose refusal may pass are given time.
    async fn pause_before(&self, at: usize) {
        let attempt = self.progress.batches[at].attempt;
        let first = at == 0 || self.progress.batches[at - 1].attempt < attempt;
        if attempt > 1 && first {
            self.job.clock.sleep(PAUSE * 2_u32.saturating_pow((attempt - 2).min(6))).await;
        }
    }

    async fn rows(&self, at: usize) -> Result<BatchRows, PushError> {
        let batch = &self.progress.batches[at];
        let file = batch.file;
        let csv = on_disk(&self.folder, move |folder| folder.read_rows(file)).await?;
        Ok(BatchRows::read(batch, &csv)?)
    }

    async fn keep(&mut self, at: usize, state: BatchState) -> Result<(), PushError> {
        self.progress.batches[at].state = state;
        let progress = self.progress.clone();
        Ok(on_disk(&self.folder, move |folder| folder.keep(&progress)).await?)
    }

    /// Makes a job and gives it its rows.
    async fn send(&mut self, at: usize) -> Result<(), PushError> {
        let (file, rows) = (self.progress.batches[at].file, self.progress.batches[at].rows.len());
        let upload = Upload { csv: on_disk(&self.folder, move |folder| folder.read_rows(file)).await?, rows };
        let operation = ingest_operation(&self.progress.operation);
        let mut job = self.job.org.make(&self.progress.object, &operation).await?;
        self.progress.jobs += 1;
        self.keep(at, BatchState::Job { job_id: job.job_id.clone() }).await?;
        Ok(self.job.org.send(&mut job, upload).await?)
    }

    /// Makes one call with the rows.
    async fn call(&self, at: usize) -> Result<Vec<RowOutcome>, PushError> {
        let PushProgress { object, operation, columns, .. } = &self.progress;
        let rows = self.rows(at).await?;
        let org = &self.job.org;
        let written = match collection_write(operation) {
            Some(write) => {
                let records: Vec<String> = rows.iter().map(|(_, record)| json_of(columns, record)).collect();
                org.write_records(object, &write, &records).await?
            }
            None => {
                let ids: Vec<String> =
                    rows.iter().filter_map(|(_, record)| match_value(columns, Some(record))).collect();
                org.delete_records(object, &ids).await?
            }
        };
        Ok(call_outcomes(columns, operation, &rows, written))
    }

    async fn read_results(
        &self,
        at: usize,
        job: &IngestJob,
        broke_off: Option<&str>,
    ) -> Result<Vec<RowOutcome>, PushError> {
        let rows = self.rows(at).await?;
        let mut outcomes =
            JobOutcomes::new(&self.progress.columns, &self.progress.operation, &rows, broke_off);
        let mut found = 0;
        for which in [IngestResults::Successful, IngestResults::Failed, IngestResults::Unprocessed] {
            // The lists have every row: of a job that ended well, the last is rarely worth its call.
            if found == job.rows {
                break;
            }
            let mut list = ResultList::default();
            found += self.job.org.results(job, which, &mut list).await?;
            outcomes.take(which, &list)?;
        }
        Ok(outcomes.finish())
    }

    /// Tells what became of a batch, sets aside what is sent again, and keeps that it is over.
    async fn told(
        &mut self,
        at: usize,
        outcomes: Vec<RowOutcome>,
        job_id: Option<&str>,
    ) -> Result<(), PushError> {
        let (part, attempt) = (self.progress.batches[at].part(), self.progress.batches[at].attempt);
        self.tell(part, &outcomes, attempt, job_id).await?;
        let mut tally = crate::sync::push::Tally::default();
        outcomes.iter().for_each(|outcome| tally.count(outcome));
        if attempt < self.job.settings.attempts {
            let again: RowNumbers = outcomes
                .iter()
                .filter(|outcome| outcome.may_pass())
                .filter_map(|outcome| outcome.row)
                .collect();
            if !again.is_empty() {
                tally.sent_again = again.len();
                self.set_aside(at, attempt + 1, &again).await?;
            }
        }
        self.progress.batches[at].tally = tally;
        self.progress.jobs_left.extend(job_id.map(str::to_owned));
        self.keep(at, BatchState::Told).await
    }

    /// Writes rows down once more, for another sending. The batches are kept with the state of the one they come from.
    async fn set_aside(&mut self, at: usize, attempt: u32, again: &RowNumbers) -> Result<(), PushError> {
        let rows = self.rows(at).await?;
        let mut csv = IngestCsv::new(&self.progress.columns.fields(), usize::MAX);
        let mut full = None;
        for number in again.iter() {
            let record = rows.row(number).into_iter().flatten();
            let cells: Vec<IngestCell<'_>> = record
                .map(|cell| match cell {
                    "" => IngestCell::Unchanged,
                    "#N/A" => IngestCell::Null,
                    text => IngestCell::Text(text),
                })
                .collect();
            // They came out of one upload, and are fewer.
            full = full.or(csv.push(&cells).map_err(|_| BadFile::of(self.progress.batches[at].file))?);
        }
        let Some(upload) = csv.finish().filter(|_| full.is_none()) else {
            return Err(BadFile::of(self.progress.batches[at].file).into());
        };
        let file = self.progress.batches.iter().map(|batch| batch.file).max().unwrap_or(0) + 1;
        on_disk(&self.folder, move |folder| folder.write_rows(file, &upload.csv)).await?;
        cut(self.progress.choice.way, file, attempt, again, &mut self.progress.batches);
        Ok(())
    }

    /// Writes outcomes into the results table, where there is one.
    async fn tell(
        &self,
        part: PartNumber,
        outcomes: &[RowOutcome],
        attempt: u32,
        job_id: Option<&str>,
    ) -> Result<(), PushError> {
        let Some(table) = self.job.settings.results.clone() else { return Ok(()) };
        let PushProgress { push, object, operation, columns, id, .. } = &self.progress;
        let match_field = columns.told_by();
        let of = ResultOf { push, object: object.as_str(), operation, match_field, attempt, job_id };
        let layout = results_layout();
        let mut chunk = RowChunk::with_room(layout.columns.len(), outcomes.len(), 0);
        for outcome in outcomes {
            chunk.push(outcome.cells(&of));
        }
        let told = Arc::new((table, layout, id.clone(), chunk));
        let (Patience { pause, longest }, begun) = (Patience::default(), self.job.clock.elapsed());
        let mut paused = Duration::ZERO;
        loop {
            let told = Arc::clone(&told);
            let tell = move |warehouse: &mut dyn Warehouse| {
                let (table, layout, load, chunk) = &*told;
                warehouse.append_log(table, layout, load, part, chunk)
            };
            let error = match self.job.warehouse.call(tell).await {
                // A sync's commit holds SQLite's file for as long as it takes; a part that is told again is told once.
                Err(error) if error.is_transient() => error,
                told => return Ok(told?),
            };
            if paused.max(self.job.clock.elapsed().saturating_sub(begun)) >= longest {
                return Err(error.into());
            }
            tracing::warn!(push = self.progress.push, %error, "a push waits to tell its results");
            self.job.clock.sleep(pause).await;
            paused += pause;
        }
    }
}

/// Works on the folder where that holds up no task.
async fn on_disk<T: Send + 'static>(
    folder: &PushFolder,
    work: impl FnOnce(&PushFolder) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let there = folder.clone();
    let done = tokio::task::spawn_blocking(move || work(&there)).await;
    done.unwrap_or_else(|error| Err(folder.failed(std::io::Error::other(error))))
}

fn found(standing: &JobStanding) -> Found {
    match standing {
        JobStanding::Open => Found::Open,
        JobStanding::Working => Found::Working,
        JobStanding::Complete | JobStanding::Failed { .. } => Found::Ended,
        JobStanding::Aborted => Found::Aborted,
        JobStanding::Gone => Found::Gone,
    }
}

/// Another job may get its rows.
fn may_pass(error: &BulkError) -> bool {
    error.is_transient() || matches!(error, BulkError::Failed { .. })
}

fn ingest_operation(operation: &PushOperation) -> IngestOperation {
    match operation {
        PushOperation::Upsert { external_id } => IngestOperation::Upsert { external_id: external_id.clone() },
        PushOperation::Insert => IngestOperation::Insert,
        PushOperation::Update => IngestOperation::Update,
        PushOperation::Delete => IngestOperation::Delete,
    }
}

/// How collections write; `None`: they delete. Inserts never come here.
fn collection_write(operation: &PushOperation) -> Option<CollectionWrite> {
    match operation {
        PushOperation::Upsert { external_id } => {
            Some(CollectionWrite::Upsert { external_id: external_id.clone() })
        }
        PushOperation::Update | PushOperation::Insert => Some(CollectionWrite::Update),
        PushOperation::Delete => None,
    }
}

impl std::fmt::Debug for PushJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushJob").field("settings", &self.settings).finish_non_exhaustive()
    }
}
