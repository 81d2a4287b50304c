//! What a lead job keeps: the rows of its sheet, what became of each lead, its counts. One SQLite file a job.
//!
//! Promises: what a call has answered is on the disk and survives kill -9 and a power cut. Every call may be repeated: rows
//! that are there are ignored, and a lead keeps its first outcome. A lead is told from another by the first 15 characters of
//! its id, case included. Counts change in the transaction of what they count, and equal a recount at any time. Memory does
//! not grow with the number of rows. A full disk changes nothing and is told apart.

mod batches;
#[cfg(test)]
mod crash_tests;
mod error;
mod folder;
mod intake;
mod keys;
mod outcomes;
mod packed;
#[cfg(test)]
mod property_tests;
mod report;
mod result_bytes;
mod rows;
mod schema;
mod tally;
#[cfg(test)]
mod tests;
mod worker;

use std::any::Any;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

pub use self::batches::{EndpointBatch, Question};
pub(crate) use self::error::During;
pub use self::error::LeadStoreError;
pub use self::folder::{FORECAST, FoundLeadJob, LeadJobSummary, LeadJobsFolder};
pub use self::report::StoredRows;
use self::worker::{Answer, Change, Request, View, Worker, Written};
use super::disk::{SharedDisk, is_full};
use super::writer::StoreThread;
use crate::leads::{IdFault, JobPhase, LeadCounts, LeadId, LeadJobSpec, LeadResult, Money, Ordinal};

/// Name of a job's file within its folder.
pub const JOB_FILE: &str = "job.sqlite";
const QUEUE: usize = 256;
const COMMITS_TOGETHER: usize = 64;
const READ: &str = "read the lead job";

/// A row of the sheet, as it is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeRow {
    /// Its number in the sheet, as a spreadsheet shows it; from 1.
    pub row: u64,
    /// What stands in the column of ids.
    pub id: RowId,
}

/// What stands in a row's column of ids.
#[derive(Clone, PartialEq, Eq)]
pub enum RowId {
    /// Nothing.
    Blank,
    /// The id of a lead.
    Lead {
        /// It.
        id: LeadId,
        /// Its case had been lost.
        repaired: bool,
    },
    /// Something else.
    Invalid {
        /// What; the first 64 characters are kept.
        written: String,
        /// What is wrong with it.
        fault: IdFault,
    },
}

impl std::fmt::Debug for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blank => f.write_str("Blank"),
            Self::Lead { id, repaired } => {
                f.debug_struct("Lead").field("id", id).field("repaired", repaired).finish()
            }
            // What stands there may be anything, a name too.
            Self::Invalid { fault, .. } => {
                f.debug_struct("Invalid").field("fault", fault).finish_non_exhaustive()
            }
        }
    }
}

/// How far the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intake {
    /// The last row that is kept; 0 before the first.
    pub last_row: u64,
    /// No more come.
    pub ended: bool,
}

/// The store of one job; a handle to its thread, which ends with the last handle.
#[derive(Debug, Clone)]
pub struct LeadJobStore {
    thread: StoreThread<Request, Result<Answer, LeadStoreError>>,
    path: PathBuf,
}

impl LeadJobStore {
    /// Makes the store of a new job in its folder, which is made if need be.
    ///
    /// # Errors
    /// When the folder holds a job already, or cannot be written.
    pub fn create(folder: &Path, spec: &LeadJobSpec, disk: SharedDisk) -> Result<Self, LeadStoreError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| LeadStoreError::io("make the folder of a lead job", &error))?;
        if is_full(&*disk, folder) {
            return Err(LeadStoreError::DiskFull);
        }
        let path = folder.join(JOB_FILE);
        let connection = schema::create(&path, spec)?;
        // The file itself must be found after a power cut, not only what is in it.
        for folder in [Some(folder), folder.parent()].into_iter().flatten() {
            std::fs::File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| LeadStoreError::io("sync the folder of a lead job", &error))?;
        }
        Self::start(Worker::new(connection, path.clone(), disk)?, path)
    }

    /// Opens the store of a job.
    ///
    /// # Errors
    /// When there is none, or it cannot be read: [`LeadStoreError::is_damage`] tells a file to put aside.
    pub fn open(folder: &Path, disk: SharedDisk) -> Result<(Self, LeadJobSpec), LeadStoreError> {
        let path = folder.join(JOB_FILE);
        let worker = Worker::new(schema::open(&path)?, path.clone(), disk)?;
        let spec = worker.state()?.job.spec.clone();
        Ok((Self::start(worker, path)?, spec))
    }

    fn start(mut worker: Worker, path: PathBuf) -> Result<Self, LeadStoreError> {
        let serve = move |asked| worker.serve(asked);
        let thread = StoreThread::start("lead-job", QUEUE, COMMITS_TOGETHER, serve)
            .map_err(|error| LeadStoreError::io("start the thread of a lead job", &error))?;
        Ok(Self { thread, path })
    }

    /// Adds rows of the sheet, in ascending order. Those up to the last that is kept are ignored, so that the sheet may be read
    /// again from its beginning.
    ///
    /// # Errors
    /// When the disk is full, or the rows come after the end or out of order; nothing of them is then kept.
    pub async fn add_rows(&self, rows: Vec<IntakeRow>) -> Result<LeadCounts, LeadStoreError> {
        self.write_with(move |change| intake::add_rows(change, &rows)).await.map(|written| written.counts)
    }

    /// Says that no more rows come.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn end_intake(&self) -> Result<LeadCounts, LeadStoreError> {
        self.write_with(intake::end_intake).await.map(|written| written.counts)
    }

    /// How far the rows are.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn intake(&self) -> Result<Intake, LeadStoreError> {
        self.read(|view| {
            let job = &view.state.job;
            Ok(Intake { last_row: job.last_row, ended: job.intake_ended })
        })
        .await
    }

    /// Leads without an outcome and without a question that waits, ascending from an ordinal; at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn open_leads(
        &self,
        from: Ordinal,
        limit: usize,
    ) -> Result<Vec<(Ordinal, LeadId)>, LeadStoreError> {
        self.read(move |view| intake::open_leads(view, from, limit)).await
    }

    /// The places of ids among the leads of the job; `None` for an id that is not in the sheet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn ordinals_of(&self, ids: Vec<LeadId>) -> Result<Vec<Option<Ordinal>>, LeadStoreError> {
        self.read(move |view| intake::ordinals_of(view, &ids)).await
    }

    /// As [`LeadJobStore::ordinals_of`]; `None` also for a lead that has an outcome, or a question that waits.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn open_ordinals_of(&self, ids: Vec<LeadId>) -> Result<Vec<Option<Ordinal>>, LeadStoreError> {
        self.read(move |view| intake::open_ordinals_of(view, &ids)).await
    }

    /// Writes outcomes; a lead that has one keeps it. Answers how many are new. They are on the disk when this returns.
    ///
    /// # Errors
    /// When the disk is full, or an ordinal is none of the job; nothing of them is then written.
    pub async fn write(&self, results: Vec<LeadResult>) -> Result<u64, LeadStoreError> {
        self.write_counted(results).await.map(|(new, _counts)| new)
    }

    /// As [`LeadJobStore::write`]; also answers the counts after it.
    ///
    /// # Errors
    /// As there.
    pub async fn write_counted(&self, results: Vec<LeadResult>) -> Result<(u64, LeadCounts), LeadStoreError> {
        let written = self.write_with(move |change| outcomes::write(change, results)).await?;
        Ok((written.number, written.counts))
    }

    /// The counts.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn counts(&self) -> Result<LeadCounts, LeadStoreError> {
        self.read(|view| Ok(view.state.job.counts)).await
    }

    /// The counts, counted anew from every row and result. Takes as long as reading them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn recount(&self) -> Result<LeadCounts, LeadStoreError> {
        self.read(outcomes::recount).await
    }

    /// Opens failed and unread leads again. What was spent on them stays counted, and is part of what their next outcome
    /// says was spent. Answers how many.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn reopen_failed(&self) -> Result<u64, LeadStoreError> {
        self.write_with(outcomes::reopen_failed).await.map(|written| written.number)
    }

    /// Sets where the job is, and why it failed.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn set_phase(&self, phase: JobPhase, error: Option<String>) -> Result<(), LeadStoreError> {
        self.write_with(move |change| {
            change.state.job.phase = phase;
            change.state.job.error = error;
            Ok(0)
        })
        .await
        .map(|_written| ())
    }

    /// Sets the most that the job may spend, what it has spent included.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn set_max_cost(&self, max_cost: Option<Money>) -> Result<(), LeadStoreError> {
        self.write_with(move |change| {
            change.state.job.spec.max_cost = max_cost;
            schema::keep_spec(change.connection, change.path, &change.state.job.spec).map(|()| 0)
        })
        .await
        .map(|_written| ())
    }

    /// Where the job is, and why it failed.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn phase(&self) -> Result<(JobPhase, Option<String>), LeadStoreError> {
        self.read(|view| Ok((view.state.job.phase, view.state.job.error.clone()))).await
    }

    /// Notes something under a key; the newest note stands.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn note(&self, key: &str, value: &str) -> Result<(), LeadStoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write_with(move |change| {
            let insert = "INSERT OR REPLACE INTO notes (key, value) VALUES (?1, ?2)";
            change
                .connection
                .execute(insert, params![key, value])
                .map(|_one| 0)
                .during("keep a note of the lead job", change.path)
        })
        .await
        .map(|_written| ())
    }

    /// What was noted under a key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn noted(&self, key: &str) -> Result<Option<String>, LeadStoreError> {
        let key = key.to_owned();
        self.read(move |view| {
            let select = "SELECT value FROM notes WHERE key = ?1";
            view.connection.query_row(select, [key], |row| row.get(0)).optional().during(READ, view.path)
        })
        .await
    }

    /// Leads with an outcome, ascending from an ordinal; at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn results(&self, from: Ordinal, limit: usize) -> Result<Vec<LeadResult>, LeadStoreError> {
        self.read(move |view| outcomes::results(view, from, limit)).await
    }

    /// Rows whose id is none: their numbers, what stands there, and what is wrong with it; at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn invalid_rows(&self, limit: usize) -> Result<Vec<(u64, String, IdFault)>, LeadStoreError> {
        self.read(move |view| intake::invalid_rows(view, limit)).await
    }

    /// The rows of the sheet for a report: a reader with a connection of its own, that blocks.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn report_rows(&self) -> Result<StoredRows, LeadStoreError> {
        StoredRows::open(&self.path)
    }

    /// Keeps questions for the endpoint's batches; a lead that has an outcome or a question keeps it. Answers how many are new.
    ///
    /// # Errors
    /// When the disk is full, or an ordinal is none of the job; nothing of them is then kept.
    pub async fn put_questions(&self, questions: Vec<Question>) -> Result<u64, LeadStoreError> {
        self.write_with(move |change| batches::put_questions(change, &questions))
            .await
            .map(|written| written.number)
    }

    /// Questions that wait, ascending from an ordinal, at most `limit`: those of one batch, or all.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn questions(
        &self,
        batch: Option<u32>,
        from: Ordinal,
        limit: usize,
    ) -> Result<Vec<Question>, LeadStoreError> {
        self.read(move |view| batches::questions(view, batch, from, limit)).await
    }

    /// The questions of these leads; `None` for one that does not wait.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn questions_of(
        &self,
        ordinals: Vec<Ordinal>,
    ) -> Result<Vec<Option<Question>>, LeadStoreError> {
        self.read(move |view| batches::questions_of(view, &ordinals)).await
    }

    /// How many questions wait that are in no batch yet, and how many in all.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn questions_waiting(&self) -> Result<(u64, u64), LeadStoreError> {
        self.read(batches::waiting).await
    }

    /// Makes a batch of questions that are in none, in their order: at most `most`, and lines of at most `most_bytes` (one
    /// question at least), none of them asked `elsewhere`. `None` when there is no such question. To be called before anything
    /// is sent.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn make_batch(
        &self,
        most: u64,
        most_bytes: u64,
        elsewhere: HashSet<[u8; 32]>,
    ) -> Result<Option<EndpointBatch>, LeadStoreError> {
        let make = move |change: &mut Change<'_>| batches::make_batch(change, most, most_bytes, &elsewhere);
        let made = self.write_with(make).await?;
        let Ok(number) = u32::try_from(made.number) else { return Ok(None) };
        self.read(move |view| batches::batch(view, number)).await
    }

    /// Keeps how far a batch is. When it is over, its questions without an outcome are free for another one: answers how many.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn keep_batch(&self, batch: EndpointBatch) -> Result<u64, LeadStoreError> {
        self.write_with(move |change| batches::keep_batch(change, &batch)).await.map(|written| written.number)
    }

    /// Lets go of the questions that are in no batch: their leads are open as if they had not been read. Answers how many.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn free_questions(&self) -> Result<u64, LeadStoreError> {
        self.write_with(batches::free_questions).await.map(|written| written.number)
    }

    /// What is asked by the batches that are not over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn contents_under_way(&self) -> Result<HashSet<[u8; 32]>, LeadStoreError> {
        self.read(batches::contents_under_way).await
    }

    /// All batches, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn batches(&self) -> Result<Vec<EndpointBatch>, LeadStoreError> {
        self.read(batches::batches).await
    }

    async fn write_with(
        &self,
        job: impl FnOnce(&mut Change<'_>) -> Result<u64, LeadStoreError> + Send + 'static,
    ) -> Result<Written, LeadStoreError> {
        match self.thread.ask(Request::Write(Some(Box::new(job)))).await {
            Ok(Ok(Answer::Written(written))) => Ok(*written),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Answer::Read(_))) | Err(_) => Err(LeadStoreError::Closed),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> Result<T, LeadStoreError> + Send + 'static,
    ) -> Result<T, LeadStoreError> {
        let job = move |view: &View<'_>| look(view).map(|seen| Box::new(seen) as Box<dyn Any + Send>);
        match self.thread.ask(Request::Read(Some(Box::new(job)))).await {
            // The answer is of the type that `look` has.
            Ok(Ok(Answer::Read(seen))) => {
                seen.downcast().map(|seen| *seen).map_err(|_| LeadStoreError::Closed)
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(Answer::Written(_))) | Err(_) => Err(LeadStoreError::Closed),
        }
    }
}
