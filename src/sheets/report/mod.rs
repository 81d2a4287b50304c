//! Reports: what became of every row of a lead job, as a workbook, delimited text or lines of JSON.
//!
//! A job that began with a sheet gets its sheet back (report B): every column and row in its place, dates as dates and text as
//! text, with our columns behind them. A job that began with a query or a list of ids gets a table of its leads (report A).
//!
//! Promises: memory does not grow with the number of rows. The same rows and the same counts make the same bytes: no time, no
//! name of the job is in them. The target is the old file or the whole new one, never half. A report whose rows do not add
//! up to the counts in its summary is not made at all. Who may not be trusted (the sheet's owner, the org's records, a model)
//! cannot make a cell a formula: in workbooks text is text; in delimited text the cells of *our* columns that begin as a
//! formula does (`=`, `+`, `-`, `@`, a tab, a carriage return) get an apostrophe in front, and so do texts of a sheet that
//! came as a workbook, where they were none, but for telephone numbers. The cells of a sheet that came as delimited text stay
//! as they were.
//!
//! Workbooks are written by `rust_xlsxwriter` with constant memory. Measured with 4 columns of the sheet and 13 of ours it
//! takes 8 us a row, of which 1.6 pack it at level 2 (nearly as fast as level 1, and a quarter smaller), and a process with
//! a million rows stays below 6 MB; delimited text and JSON take 2 us. What it costs: the rows lie unpacked, about 0.9 kB
//! each, in files without a name beside the target until they are packed. And it panics on a full disk; `guarded` turns
//! that into the error that it is.

mod cells;
mod dates;
mod delimited;
mod heads;
mod jsonl;
mod styles;
mod summary;
mod verdict;
mod workbook;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::leads::job::{LeadCounts, LeadJobSpec, LeadSource, ReportFormat};
use crate::leads::report_row::{ReportRow, ReportRows, ReportRowsError, RowPlace};
use crate::leads::{FieldMapping, LeadOutcome, ModelVerdict, Presence, ScoreWeights};
use crate::store::atomic_file::{AtomicFile, StoreError};

use super::cell::RowView;
use super::error::SheetError;
use super::{Rows, Workbook};

/// What a report says beside its rows. Nothing in it may differ between two runs over the same data.
#[derive(Debug, Clone)]
pub struct ReportHead {
    /// What was asked for. The id of the job, which tells when it began, does not get into the report.
    pub spec: LeadJobSpec,
    /// The job's counts. The rows must add up to them.
    pub counts: LeadCounts,
    /// The model that was asked; `None`: rules alone.
    pub model: Option<String>,
    /// Version of the prompt it was asked with.
    pub prompt_version: Option<String>,
    /// Where each field stands in the org.
    pub field_mapping: FieldMapping,
    /// What each score weighs in the confidence.
    pub weights: ScoreWeights,
    /// Calls to the org. `None` leaves them out: a job that was interrupted takes a few more than one that was not, and its
    /// report would differ by them.
    pub org_calls: Option<u64>,
    /// How the leads were read, in a sentence.
    pub retrieval: Option<String>,
}

impl ReportHead {
    /// The sheet that the rows come from, as its job names it.
    fn sheet_name(&self) -> Option<&str> {
        match &self.spec.source {
            LeadSource::Sheet { sheet, .. } => sheet.as_deref(),
            LeadSource::Query { .. } | LeadSource::Ids { .. } => None,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportWritten {
    /// Rows, blank ones included.
    pub rows: u64,
    /// The sheet's last columns that a workbook has no room for beside ours. The summary names them.
    pub columns_left_out: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The sheet that the job began with cannot be read any more.
    #[error("read the sheet again for the report")]
    Sheet(#[from] SheetError),
    /// What became of its rows cannot be read.
    #[error("read what became of the rows")]
    Rows(#[from] ReportRowsError),
    /// The disk refused.
    #[error("write the report")]
    Disk(#[from] StoreError),
    /// The disk refused a temporary file, or a row.
    #[error("write the rows of the report")]
    Io(#[from] io::Error),
    /// The workbook could not be put together.
    #[error("put the workbook together")]
    Workbook(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sheet in the job's folder is not the one whose ids were read.
    #[error(
        "row {row} of the job is not in its sheet: the copy in the job's folder was changed; start the job again with the sheet"
    )]
    RowGone {
        /// Its number.
        row: u64,
    },
    /// The job's counts and its rows differ, so one of them is wrong.
    #[error(
        "the rows hold {found} `{what}` and the job counted {counted}; start the job again with the sheet"
    )]
    DoesNotAddUp {
        /// Which count.
        what: &'static str,
        /// In the rows.
        found: u64,
        /// In the job.
        counted: u64,
    },
    /// Whoever asked for it does not want it any more.
    #[error("the report was stopped before it was whole")]
    Stopped,
}

impl ReportError {
    /// No room is left: try again once there is.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Disk(error) => error.is_disk_full(),
            Self::Io(error) => crate::store::atomic_file::is_disk_full(error),
            _ => false,
        }
    }
}

impl From<rust_xlsxwriter::XlsxError> for ReportError {
    fn from(error: rust_xlsxwriter::XlsxError) -> Self {
        match error {
            rust_xlsxwriter::XlsxError::IoError(error)
            | rust_xlsxwriter::XlsxError::TempFileError(_, error)
            | rust_xlsxwriter::XlsxError::ZipError(zip::result::ZipError::Io(error)) => Self::Io(error),
            other => Self::Workbook(Box::new(other)),
        }
    }
}

/// Rows between two looks at whether the report is still wanted.
const LOOK_EVERY: u64 = 1_000;

/// Writes a report to `target`: of the job's `sheet` as report B, without one as report A. `keep_going` is told the rows
/// written now and then; its `false` ends the work. It blocks: give it a thread of its own.
///
/// # Errors
/// When the sheet or the rows cannot be read, do not fit together, or the disk refuses. The target is then as it was.
pub fn write_report(
    format: ReportFormat,
    target: &Path,
    head: &ReportHead,
    sheet: Option<&mut Workbook>,
    rows: &mut dyn ReportRows,
    keep_going: &mut dyn FnMut(u64) -> bool,
) -> Result<ReportWritten, ReportError> {
    guarded(move || {
        let manners = sheet.as_deref().map(Manners::of).unwrap_or_default();
        let input = sheet.map(|workbook| workbook.rows(head.sheet_name())).transpose()?;
        let file = AtomicFile::create(target)?;
        match format {
            ReportFormat::Xlsx => {
                let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let output =
                    workbook::WorkbookReport::begin(file, folder, head, input.as_ref(), workbook::EXCEL)?;
                write_rows(output, head, input, rows, keep_going)
            }
            ReportFormat::Csv => {
                let output = delimited::DelimitedReport::begin(file, manners, input.as_ref())?;
                write_rows(output, head, input, rows, keep_going)
            }
            ReportFormat::Jsonl => {
                let output = jsonl::JsonlReport::begin(file, input.as_ref());
                write_rows(output, head, input, rows, keep_going)
            }
        }
    })
}

/// A form of a report, being written.
trait Output {
    /// Writes a row: what the sheet has of it, and what became of it.
    fn row(&mut self, sheet: Option<RowView<'_>>, row: &ReportRow) -> Result<(), ReportError>;

    /// Ends it and puts it in its place. Tells the columns left out.
    fn finish(self) -> Result<usize, ReportError>;
}

fn write_rows(
    mut output: impl Output,
    head: &ReportHead,
    input: Option<Rows<'_>>,
    rows: &mut dyn ReportRows,
    keep_going: &mut dyn FnMut(u64) -> bool,
) -> Result<ReportWritten, ReportError> {
    let mut tally = Tally::default();
    let mut count = |row: &ReportRow| {
        tally.count(row);
        if tally.rows.is_multiple_of(LOOK_EVERY) && !keep_going(tally.rows) {
            return Err(ReportError::Stopped);
        }
        Ok(())
    };
    match input {
        None => {
            while let Some(row) = rows.next_row()? {
                count(&row)?;
                output.row(None, &row)?;
            }
        }
        Some(mut input) => {
            let mut ahead = rows.next_row()?;
            while let Some(view) = input.next_row()? {
                let row = match ahead.take() {
                    Some(row) if row.row < view.number => return Err(ReportError::RowGone { row: row.row }),
                    Some(row) if row.row == view.number => {
                        ahead = rows.next_row()?;
                        row
                    }
                    later => {
                        ahead = later;
                        ReportRow { row: view.number, place: RowPlace::Blank }
                    }
                };
                count(&row)?;
                output.row(Some(view), &row)?;
            }
            if let Some(row) = ahead {
                return Err(ReportError::RowGone { row: row.row });
            }
        }
    }
    tally.compare(&head.counts)?;
    let columns_left_out = output.finish()?;
    Ok(ReportWritten { rows: tally.rows, columns_left_out })
}

/// Counts the rows of a report as they are written, so that its summary is held against them.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    blank: u64,
    invalid: u64,
    duplicates: u64,
    leads: u64,
    assessed: u64,
    failed: u64,
    unread: u64,
    merged: u64,
    deleted: u64,
    not_visible: u64,
    with_issues: u64,
    answered: u64,
}

impl Tally {
    fn count(&mut self, row: &ReportRow) {
        self.rows += 1;
        let result = match &row.place {
            RowPlace::Blank => return self.blank += 1,
            RowPlace::Invalid { .. } => return self.invalid += 1,
            RowPlace::Lead { first_row, .. } if *first_row != row.row => return self.duplicates += 1,
            RowPlace::Lead { result, .. } => result,
        };
        self.leads += 1;
        match &result.outcome {
            LeadOutcome::Unread { .. } => self.unread += 1,
            LeadOutcome::NoRecord => match result.lead.presence {
                Presence::Merged { .. } => self.merged += 1,
                Presence::Deleted => self.deleted += 1,
                Presence::Found | Presence::Converted | Presence::NotVisible => self.not_visible += 1,
            },
            LeadOutcome::Assessed(assessment) => {
                match &assessment.model {
                    ModelVerdict::NotAsked => self.assessed += 1,
                    ModelVerdict::Answered { .. } => {
                        self.assessed += 1;
                        self.answered += 1;
                    }
                    ModelVerdict::Failed { .. } => self.failed += 1,
                }
                self.with_issues +=
                    u64::from(assessment.flags.not_in_tam || assessment.flags.suspicious_enrichment);
            }
        }
    }

    fn compare(&self, counts: &LeadCounts) -> Result<(), ReportError> {
        let pairs = [
            ("rows", self.rows, counts.rows),
            ("blank", self.blank, counts.blank),
            ("invalid", self.invalid, counts.invalid),
            ("duplicates", self.duplicates, counts.duplicates),
            ("leads", self.leads, counts.leads),
            ("assessed", self.assessed, counts.assessed),
            ("failed", self.failed, counts.failed),
            ("unread", self.unread, counts.unread + counts.open),
            ("no_record", self.merged + self.deleted + self.not_visible, counts.no_record),
            ("merged", self.merged, counts.merged),
            ("deleted", self.deleted, counts.deleted),
            ("with_issues", self.with_issues, counts.with_issues),
            ("model_answered", self.answered, counts.model_answered),
        ];
        match pairs.into_iter().find(|(_, found, counted)| found != counted) {
            Some((what, found, counted)) => Err(ReportError::DoesNotAddUp { what, found, counted }),
            None => Ok(()),
        }
    }
}

/// How delimited text was written that came in, so that it goes out alike.
#[derive(Debug, Clone, Copy)]
struct Manners {
    delimiter: u8,
    byte_order_mark: bool,
    /// It came as a workbook, which has no such manners.
    is_workbook: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { delimiter: b',', byte_order_mark: false, is_workbook: false }
    }
}

impl Manners {
    fn of(workbook: &Workbook) -> Self {
        match &workbook.book {
            super::Book::Delimited(book) => {
                Self { delimiter: book.delimiter(), byte_order_mark: book.has_mark(), is_workbook: false }
            }
            super::Book::Xlsx(_) | super::Book::Xls(_) => Self { is_workbook: true, ..Self::default() },
        }
    }
}

/// Runs what writes a workbook. `rust_xlsxwriter` keeps rows in a temporary file and panics when that cannot be written: the
/// panic, whose text is that of the I/O error, becomes the error again. Other panics go on.
fn guarded<T>(work: impl FnOnce() -> Result<T, ReportError>) -> Result<T, ReportError> {
    // What `work` borrows is the rows' readers and a temporary file; nobody goes on with them after an error either.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.as_str(),
            (None, Some(text)) => text,
            (None, None) => "",
        };
        if !DISK_PANICS.iter().any(|begin| text.starts_with(begin)) {
            std::panic::resume_unwind(panic);
        }
        let kind = match () {
            () if text.contains("StorageFull") => io::ErrorKind::StorageFull,
            () if text.contains("QuotaExceeded") => io::ErrorKind::QuotaExceeded,
            () => io::ErrorKind::Other,
        };
        Err(ReportError::Io(io::Error::new(kind, text.to_owned())))
    })
}

/// What `rust_xlsxwriter` says when it cannot write a row, and when it cannot flush the last ones.
const DISK_PANICS: [&str; 2] =
    ["Couldn't write to xml file: ", "called `Result::unwrap()` on an `Err` value: Os {"];

#[cfg(test)]
mod tests;
