//! How far a push has come: all that is needed to go on after a crash.
//!
//! Promises: what is persisted before a step decides what the step is after a crash. The id of a job is kept before its rows
//! are uploaded; a job whose rows were not all closed changes nothing at the org and is made anew; one that was closed is
//! waited for and read, never sent again. Results of a batch are a part of the log table, which replaces itself.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::columns::PushColumns;
use super::outcome::{RowFate, RowOutcome};
use super::rows::RowNumbers;
use super::settings::PushOperation;
use super::way::{PushChoice, PushWay, RECORDS_PER_CALL};
use crate::model::{ObjectName, OrgName};
use crate::sync::load::{LoadId, PartNumber};
use crate::sync::told::counted;

/// A push under way. Holds no row and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushProgress {
    /// Fixed before the query is read.
    pub id: LoadId,
    /// Name of the push.
    pub push: String,
    /// The org.
    pub org: OrgName,
    /// The object.
    pub object: ObjectName,
    /// What happens to the rows.
    pub operation: PushOperation,
    /// Which column goes where.
    pub columns: PushColumns,
    /// By which door.
    pub choice: PushChoice,
    /// Rows that the query gave.
    pub rows_read: u64,
    /// Rows that were never sent.
    pub rows_unfit: u64,
    /// What is sent together, in order. Rows that are sent once more are batches of their own.
    pub batches: Vec<Batch>,
    /// Jobs that were made, those that were replaced among them.
    pub jobs: u64,
    /// Jobs that are of no more use, and may still be at the org.
    #[serde(default)]
    pub jobs_left: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
}

/// Rows that are sent together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its number, from 1: its part of the results.
    pub number: u32,
    /// Number of the file that has its rows.
    pub file: u32,
    /// Rows of the file before its own.
    pub skip: u64,
    /// Which sending of its rows this is, from 1.
    pub attempt: u32,
    /// The rows of the query in it, in their order.
    pub rows: RowNumbers,
    /// How far it has come.
    pub state: BatchState,
    /// What became of its rows.
    pub tally: Tally,
}

/// How far a batch has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BatchState {
    /// Nothing was sent.
    Ready,
    /// The org has a job for it; its rows may or may not be there.
    Job {
        /// The org's id of it.
        job_id: String,
    },
    /// Its results are told.
    Told,
}

impl BatchState {
    /// The job that the org has for it and whose results are not told yet.
    pub fn job_id(&self) -> Option<&str> {
        match self {
            Self::Job { job_id } => Some(job_id),
            Self::Ready | Self::Told => None,
        }
    }
}

/// Rows by their fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The org has them.
    pub written: u64,
    /// Of those: records that are new.
    pub created: u64,
    /// The org refused them.
    pub refused: u64,
    /// They were never sent.
    pub unfit: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Refused, and sent again in another batch.
    pub sent_again: u64,
}

impl Tally {
    /// Counts a row.
    pub fn count(&mut self, outcome: &RowOutcome) {
        match outcome.fate {
            RowFate::Written => self.written += 1,
            RowFate::Refused => self.refused += 1,
            RowFate::Unfit => self.unfit += 1,
            RowFate::Unknown => self.unknown += 1,
        }
        self.created += u64::from(outcome.fate == RowFate::Written && outcome.created == Some(true));
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.created += other.created;
        self.refused += other.refused;
        self.unfit += other.unfit;
        self.unknown += other.unknown;
        self.sent_again += other.sent_again;
    }
}

/// What the org says of a job that was made before a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Open: it takes rows, and has written none.
    Open,
    /// Closed: it works, or will.
    Working,
    /// It ended, well or not: its lists say what became of each row.
    Ended,
    /// Aborted before it was closed: it has written nothing.
    Aborted,
    /// The org knows it no more.
    Gone,
}

/// What is next for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is sent: by one call, or by a new job, whose id is kept before its rows are.
    Send,
    /// The job is let go, for it has changed nothing; then [`Self::Send`]. [`BatchState::Ready`] is kept first: of a job that
    /// is gone nobody could say any more that it has changed nothing.
    Replace,
    /// The job is waited for, and its results are read.
    Await,
    /// Its rows are told as of unknown fate: sending them again might make records twice.
    GiveUp,
    /// Nothing: it is over.
    Done,
}

/// Decides what is next, given what was persisted and what the org says of the job (`None`: it was not asked, as it need not
/// be without a job).
pub fn next_step(operation: &PushOperation, state: &BatchState, found: Option<Found>) -> Step {
    match (state, found) {
        (BatchState::Told, _) => Step::Done,
        (BatchState::Ready, _) => Step::Send,
        (BatchState::Job { .. }, Some(Found::Open)) => Step::Replace,
        (BatchState::Job { .. }, Some(Found::Working | Found::Ended) | None) => Step::Await,
        // What a job has written before somebody aborted it is in its lists.
        (BatchState::Job { .. }, Some(Found::Aborted)) => Step::Await,
        (BatchState::Job { .. }, Some(Found::Gone)) if operation.may_be_repeated() => Step::Send,
        (BatchState::Job { .. }, Some(Found::Gone)) => Step::GiveUp,
    }
}

impl Batch {
    /// A batch of which nothing was sent: some rows of a file.
    pub fn new(number: u32, attempt: u32, file: u32, skip: u64, rows: RowNumbers) -> Self {
        Self { number, file, skip, attempt, rows, state: BatchState::Ready, tally: Tally::default() }
    }

    /// Its part of the results.
    pub fn part(&self) -> PartNumber {
        PartNumber(self.number)
    }
}

/// Cuts the files of a push into batches: a job takes a file whole, a call of the collections so many records.
pub fn batches(way: PushWay, files: &[RowNumbers]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for (file, rows) in (1..).zip(files) {
        cut(way, file, 1, rows, &mut batches);
    }
    batches
}

/// Adds the batches of one more file, whose rows are sent for the `attempt`th time.
pub fn cut(way: PushWay, file: u32, attempt: u32, rows: &RowNumbers, batches: &mut Vec<Batch>) {
    let most = match way {
        PushWay::BulkJobs => rows.len().max(1),
        PushWay::Collections => RECORDS_PER_CALL,
    };
    let all: Vec<u64> = rows.iter().collect();
    let size = usize::try_from(most).unwrap_or(usize::MAX);
    for (at, rows) in (0..).zip(all.chunks(size)) {
        let number = u32::try_from(batches.len() + 1).unwrap_or(u32::MAX);
        batches.push(Batch::new(number, attempt, file, at * most, rows.iter().copied().collect()));
    }
}

/// What came of a push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushResult {
    /// Name of the push.
    pub push: String,
    /// Which one: the `_load` of its results.
    pub id: Option<LoadId>,
    /// The object.
    pub object: String,
    /// What was done.
    pub operation: String,
    /// By which door, and why.
    pub choice: Option<PushChoice>,
    /// Rows of the query.
    pub rows_read: u64,
    /// Rows that the org has; of those, new records; and rows that it has not.
    pub tally: Tally,
    /// Batches that were sent, those of a second try among them.
    pub batches: u64,
    /// Calls of the org, logins apart, as the client made them.
    pub calls: u64,
    /// Jobs that were made.
    pub jobs: u64,
    /// From the start to the last result.
    pub seconds: f64,
    /// Every row of the query is in the org.
    pub success: bool,
    /// Why not.
    pub error: Option<String>,
    /// Where the outcome of each row is told.
    pub results: Option<String>,
}

impl PushProgress {
    /// What its batches have come to.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { unfit: self.rows_unfit, ..Tally::default() };
        for batch in &self.batches {
            tally.add(&batch.tally);
        }
        // A row that was sent again is told by its last sending.
        tally.refused -= tally.refused.min(tally.sent_again);
        tally
    }

    /// The org has none of its rows for certain. A job that was let go of has changed nothing. Of a call nothing is kept before
    /// it is made: whether there was one knows only the run that has planned the push, of which this is `is_new`.
    pub fn has_sent_nothing(&self, is_new: bool) -> bool {
        (is_new || self.choice.way == PushWay::BulkJobs)
            && self.batches.iter().all(|batch| batch.state == BatchState::Ready)
    }

    /// Why it is no success; `None` when every row is in the org.
    pub fn error(&self) -> Option<String> {
        let Tally { refused, unfit, unknown, .. } = self.tally();
        let open = self.batches.iter().filter(|batch| batch.state != BatchState::Told).count();
        let mut parts = Vec::new();
        let mut told = |number: u64, what: &str| {
            if number > 0 {
                parts.push(format!("{} {what}", counted(number, "row")));
            }
        };
        told(refused, "refused by the org");
        told(unfit, "not sent, for they do not fit the object");
        told(unknown, "of which nobody knows whether they were written");
        if open > 0 {
            parts.push(format!(
                "{} not sent to the end",
                if open == 1 { "1 batch".to_owned() } else { format!("{open} batches") }
            ));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written", counted(self.written, "row"))?;
        for (number, what) in [
            (self.created, "of them new"),
            (self.refused, "refused"),
            (self.unfit, "not sent"),
            (self.unknown, "of unknown fate"),
        ] {
            if number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
