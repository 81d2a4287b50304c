//! Reports as delimited text, in the manners of the sheet: its delimiter, its byte order mark. UTF-8 always.

use std::io::Write as _;

use super::heads::told_apart;
use super::verdict::{ALONE, Added, BESIDE, Cell, Verdict};
use super::{Manners, Output, ReportError};
use crate::leads::report_row::ReportRow;
use crate::sheets::Rows;
use crate::sheets::cell::{CellView, RowView};
use crate::store::atomic_file::AtomicFile;

use super::dates::Dates;

pub(super) struct DelimitedReport {
    writer: csv::Writer<AtomicFile>,
    columns: &'static [Added],
    /// Columns of the sheet; without one, none.
    own_columns: usize,
    /// The sheet is a workbook, where a text is never a formula; in delimited text it may have been one already.
    is_of_workbook: bool,
    dates: Dates,
    scratch: String,
    guarded: String,
}

impl DelimitedReport {
    pub(super) fn begin(
        mut file: AtomicFile,
        manners: Manners,
        input: Option<&Rows<'_>>,
    ) -> Result<Self, ReportError> {
        if manners.byte_order_mark {
            file.write_all("\u{feff}".as_bytes())?;
        }
        let mut writer = csv::WriterBuilder::new()
            .delimiter(manners.delimiter)
            .terminator(csv::Terminator::CRLF)
            .flexible(true)
            .buffer_capacity(64 * 1024)
            .from_writer(file);
        let own = input.map(Rows::headers).unwrap_or_default();
        let columns: &[Added] = if input.is_some() { &BESIDE } else { &ALONE };
        let (scratch, mut guarded) = (String::new(), String::new());
        for head in own.iter().map(String::as_str) {
            let head = if manners.is_workbook { harmless_own(head, &mut guarded) } else { head };
            writer.write_field(head).map_err(csv_error)?;
        }
        for head in told_apart(own, columns.iter().map(Added::head)) {
            writer.write_field(head).map_err(csv_error)?;
        }
        writer.write_record(None::<&[u8]>).map_err(csv_error)?;
        let dates = input.map(Dates::of).unwrap_or_default();
        let (own_columns, is_of_workbook) = (own.len(), manners.is_workbook);
        Ok(Self { writer, columns, own_columns, is_of_workbook, dates, scratch, guarded })
    }

    fn own_cell(&mut self, cell: CellView<'_>) -> Result<(), ReportError> {
        let date;
        let text = match cell {
            CellView::Empty => "",
            CellView::Text(text) | CellView::Error(text) if self.is_of_workbook => {
                harmless_own(text, &mut self.guarded)
            }
            CellView::Text(text) | CellView::Error(text) => text,
            CellView::Bool(true) => "TRUE",
            CellView::Bool(false) => "FALSE",
            CellView::Number { value, written, format } => match self.dates.shown(value, format) {
                Some(shown) => {
                    date = shown;
                    &date
                }
                None => written,
            },
        };
        self.writer.write_field(text).map_err(csv_error)
    }
}

impl Output for DelimitedReport {
    fn row(&mut self, sheet: Option<RowView<'_>>, row: &ReportRow) -> Result<(), ReportError> {
        if let Some(sheet) = sheet {
            for column in 0..self.own_columns {
                self.own_cell(sheet.cell(column))?;
            }
        }
        let verdict = Verdict::of(row);
        for added in self.columns {
            let text = match verdict.cell(added.column, &mut self.scratch) {
                Cell::Empty => "",
                Cell::Text(text) => harmless(text, &mut self.guarded),
                Cell::YesNo(true) => "Yes",
                Cell::YesNo(false) => "No",
                Cell::Score(score) => {
                    self.guarded = format!("{score:.1}");
                    &self.guarded
                }
                Cell::Whole(number) => {
                    self.guarded = number.to_string();
                    &self.guarded
                }
            };
            self.writer.write_field(text).map_err(csv_error)?;
        }
        // Cells beyond the last head stay behind everything that has one.
        if let Some(sheet) = sheet {
            for column in self.own_columns..last_of(&sheet) {
                self.own_cell(sheet.cell(column))?;
            }
        }
        self.writer.write_record(None::<&[u8]>).map_err(csv_error)
    }

    fn finish(self) -> Result<usize, ReportError> {
        let file = self.writer.into_inner().map_err(|error| ReportError::Io(error.into_error()))?;
        file.commit()?;
        Ok(0)
    }
}

/// How far a row reaches; empty cells at its end do not count.
pub(super) fn last_of(row: &RowView<'_>) -> usize {
    (0..row.len()).rev().find(|&column| !row.cell(column).is_empty()).map_or(0, |column| column + 1)
}

/// Text that no spreadsheet takes for a formula.
fn harmless<'t>(text: &'t str, guarded: &'t mut String) -> &'t str {
    if !text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return text;
    }
    guarded.clear();
    guarded.push('\'');
    guarded.push_str(text);
    guarded
}

/// As [`harmless`], of the sheet's own text: a telephone number, of which lists of leads are full, stays as it is. Whatever
/// a program computes from its digits names nothing.
fn harmless_own<'t>(text: &'t str, guarded: &'t mut String) -> &'t str {
    if is_signed_number(text) { text } else { harmless(text, guarded) }
}

/// A sign, and digits as they are grouped in telephone numbers.
pub(super) fn is_signed_number(text: &str) -> bool {
    let grouped = |rest: &str| rest.chars().all(|one| one.is_ascii_digit() || " ()-./".contains(one));
    text.strip_prefix(['+', '-']).is_some_and(|rest| !rest.is_empty() && grouped(rest))
}

fn csv_error(error: csv::Error) -> ReportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReportError::Io(error),
        other => ReportError::Io(std::io::Error::other(format!("{other:?}"))),
    }
}
