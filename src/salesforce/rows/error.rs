//! What can be wrong with delivered rows. Errors name the row and the column, never a value.

use std::fmt;

use super::columns::ColumnKind;

/// Where in an answer something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The row, counted from 1 over all pages; one more than the rows read so far when no row has begun.
    pub row: u64,
    /// The column, where one had begun.
    pub column: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "row {}, column `{column}`", self.row),
            None => write!(f, "row {}", self.row),
        }
    }
}

/// Rows that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// A list of columns without a column.
    #[error("there are no columns to read")]
    NoColumns,
    /// A column stands twice in the list; names are compared without case, as the org does.
    #[error("column `{0}` stands twice")]
    ColumnTwice(String),
    /// A column is at once a value and a parent that columns are read from.
    #[error("column `{0}` is both a value and a parent")]
    ColumnIsParent(String),
    /// A page of CSV without even a header.
    #[error("the page has no header")]
    NoHeader,
    /// The header has another number of columns than were selected.
    #[error("the header has {found} columns instead of {expected}")]
    HeaderWidth {
        /// Columns in the header.
        found: usize,
        /// Columns selected.
        expected: usize,
    },
    /// The header has another name than was selected.
    #[error("the header's column {position} is not `{expected}`")]
    HeaderName {
        /// Counted from 1.
        position: usize,
        /// The name that was selected.
        expected: String,
    },
    /// The header itself cannot be read.
    #[error("the header cannot be read: {0}")]
    HeaderUnreadable(&'static str),
    /// A row with more or fewer values than its header has names.
    #[error("row {row} has {found} values instead of {expected}")]
    RowWidth {
        /// The row, counted from 1 over all pages.
        row: u64,
        /// Values in the row.
        found: usize,
        /// Columns in the header.
        expected: usize,
    },
    /// The answer ends before its end: the same ask may succeed.
    #[error("the answer is cut off in {0}")]
    CutOff(Place),
    /// Quotes that do not enclose a value, or a line end that is none.
    #[error("{place} is no CSV: {problem}")]
    BadCsv {
        /// Where.
        place: Place,
        /// What does not fit.
        problem: &'static str,
    },
    /// Not JSON, or not the JSON of rows.
    #[error("{place} is not the JSON of a row, at byte {byte}: {problem}")]
    BadJson {
        /// Where.
        place: Place,
        /// Offset in the page, from 0.
        byte: usize,
        /// What does not fit.
        problem: &'static str,
    },
    /// The text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(Place),
    /// A value that is none of its column's kind.
    #[error("{place} holds no {kind}")]
    BadValue {
        /// Where.
        place: Place,
        /// The kind that the column has.
        kind: ColumnKind,
    },
    /// A row that leaves a selected field out.
    #[error("{0} is missing")]
    MissingField(Place),
    /// A row that gives a field twice.
    #[error("{0} stands twice")]
    FieldTwice(Place),
    /// A row longer than any org can hold; most likely a quote is not closed.
    #[error("row {row} is longer than {bytes_max} bytes")]
    RowTooLong {
        /// The row, counted from 1 over all pages.
        row: u64,
        /// The bound.
        bytes_max: usize,
    },
    /// A page whose offsets do not fit into 32 bits.
    #[error("a page of {0} bytes is too long")]
    PageTooLong(usize),
    /// A page of a query without one of its parts.
    #[error("the page has no `{0}`")]
    PageWithout(&'static str),
    /// The receiver of the rows asked to stop, or an earlier error ended the reading.
    #[error("the reading of rows was stopped")]
    Stopped,
}

impl RowsError {
    /// The answer ended too early, so the same ask may well succeed.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::CutOff(_))
    }
}
