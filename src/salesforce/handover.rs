//! How rows leave the org's edge: one at a time, to whoever takes them.

use std::ops::ControlFlow;

use super::bulk::{PageReader, ReadError};
use super::error::OrgError;
use super::rows::{Columns, CsvOptions, CsvRows, Row, RowsError};

/// Why rows could not be taken; the taker's own error.
pub type HandoverError = Box<dyn std::error::Error + Send + Sync>;

/// Takes rows. An error ends the reading.
pub type RowTaker<'t> = dyn FnMut(&Row<'_>) -> Result<(), HandoverError> + Send + 't;

/// Rows that are not what they should be, as an error of the answer they came in.
pub(super) fn unreadable_rows(what: &str, error: &RowsError) -> OrgError {
    OrgError::Unreadable { what: what.to_owned(), reason: error.to_string(), cut_off: error.is_cut_off() }
}

/// Counts the rows of a page and hands on those that were not handed on by an earlier reading of it.
pub(super) struct Once<'t> {
    pub(super) taker: &'t mut RowTaker<'t>,
    /// Rows of this page handed on, by all readings.
    pub(super) known: u64,
    /// Rows of this page seen by this reading.
    pub(super) seen: u64,
    pub(super) refused: Option<HandoverError>,
}

impl Once<'_> {
    pub(super) fn take(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        self.seen += 1;
        if self.seen <= self.known {
            return ControlFlow::Continue(());
        }
        match (self.taker)(row) {
            Ok(()) => {
                self.known = self.seen;
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.refused = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Reads the pages of a bulk query as rows of its columns.
pub struct RowReader<'t> {
    columns: Columns,
    /// Rows before the page, for the numbers in errors.
    rows_before: u64,
    csv: CsvRows,
    once: Once<'t>,
}

impl<'t> RowReader<'t> {
    /// A reader that goes on behind `rows_done` rows.
    pub fn new(columns: Columns, rows_done: u64, taker: &'t mut RowTaker<'t>) -> Self {
        let csv = CsvRows::new(columns.clone(), CsvOptions { rows_done, ..CsvOptions::default() });
        Self { columns, rows_before: rows_done, csv, once: Once { taker, known: 0, seen: 0, refused: None } }
    }

    fn told(once: &mut Once<'_>, error: &RowsError) -> ReadError {
        match once.refused.take() {
            Some(error) => ReadError::Handover(error),
            None => unreadable_rows("the rows of a page", error).into(),
        }
    }
}

impl PageReader for RowReader<'_> {
    fn begin(&mut self, rows_known: u64) -> Result<(), ReadError> {
        if rows_known == 0 {
            self.rows_before += self.once.seen;
        }
        (self.once.known, self.once.seen) = (rows_known, 0);
        let options = CsvOptions { rows_done: self.rows_before, ..CsvOptions::default() };
        self.csv = CsvRows::new(self.columns.clone(), options);
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let Self { csv, once, .. } = self;
        csv.feed(bytes, &mut |row| once.take(row)).map_err(|error| Self::told(once, &error))
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        let Self { csv, once, .. } = self;
        csv.end_page(&mut |row| once.take(row)).map_err(|error| Self::told(once, &error))?;
        Ok(once.seen)
    }

    fn rows_known(&self) -> u64 {
        self.once.known
    }
}
