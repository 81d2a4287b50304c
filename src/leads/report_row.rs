//! What a report is written from: the rows of a job's sheet in their order, each with what became of its lead.
//!
//! Promises: pure. Whoever keeps a job hands out its rows one at a time ([`ReportRows`]), whoever writes a report takes them;
//! neither knows the other.

use std::sync::Arc;

use super::id::IdFault;
use super::outcome::LeadResult;

/// Hands out the rows of a job, ascending by their numbers. It may block: it reads from the disk.
pub trait ReportRows {
    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// When the job's store cannot be read.
    fn next_row(&mut self) -> Result<Option<ReportRow>, ReportRowsError>;
}

/// A row of the sheet.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRow {
    /// Its number in the sheet, as a spreadsheet shows it; the head is 1.
    pub row: u64,
    /// What it is.
    pub place: RowPlace,
}

/// What a row is.
#[derive(Clone, PartialEq)]
pub enum RowPlace {
    /// It has no id.
    Blank,
    /// What stands there is no id.
    Invalid {
        /// What stands there, at most 64 characters of it.
        written: String,
        /// Why it is none.
        fault: IdFault,
    },
    /// A lead.
    Lead {
        /// What became of it. A lead that the job has not come to yet is [`LeadOutcome::Unread`] and says so.
        ///
        /// [`LeadOutcome::Unread`]: super::outcome::LeadOutcome::Unread
        result: Arc<LeadResult>,
        /// The row in which the lead stands first: this one, unless this one is a duplicate.
        first_row: u64,
        /// The id had lost its case in this row, and was repaired.
        repaired: bool,
    },
}

impl std::fmt::Debug for RowPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blank => f.write_str("Blank"),
            // What stands there may be anything, a name too.
            Self::Invalid { fault, .. } => {
                f.debug_struct("Invalid").field("fault", fault).finish_non_exhaustive()
            }
            Self::Lead { result, first_row, repaired } => f
                .debug_struct("Lead")
                .field("ordinal", &result.ordinal)
                .field("first_row", first_row)
                .field("repaired", repaired)
                .finish(),
        }
    }
}

/// Why the rows of a job cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the rows of the job")]
pub struct ReportRowsError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ReportRowsError {
    /// Because of this.
    pub fn because(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// Rows that lie in memory.
#[derive(Debug, Default)]
pub struct RowsInMemory(std::vec::IntoIter<ReportRow>);

impl RowsInMemory {
    /// These rows.
    pub fn new(rows: Vec<ReportRow>) -> Self {
        Self(rows.into_iter())
    }
}

impl ReportRows for RowsInMemory {
    fn next_row(&mut self) -> Result<Option<ReportRow>, ReportRowsError> {
        Ok(self.0.next())
    }
}
