//! Reports as workbooks. Beside the rows there are a sheet `Summary`, and where there are any `Invalid IDs`, `No Record` and
//! `Failed`.

use std::path::Path;

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook};

use super::cells::Sheet;
use super::heads::told_apart;
use super::styles::Styles;
use super::summary::{self, Figure, Line};
use super::verdict::{ALONE, Added, BESIDE, Cell, Column, Listed, Verdict};
use super::{Output, ReportError, ReportHead};
use crate::leads::report_row::ReportRow;
use crate::sheets::cell::{CellView, RowView};
use crate::sheets::{MOST_COLUMNS, MOST_ROWS, Rows};
use crate::store::atomic_file::AtomicFile;

/// How hard rows are packed: see the measurements in the module above.
const PACKING: u8 = 2;
/// Unpacked rows that a plain zip file can hold, with room for what is written besides.
const LARGE_FROM: u64 = 3 << 30;
/// The height of a row of report A.
const ROW_HEIGHT: f64 = 25.0;
/// The height of a row of report B, a little more than a spreadsheet's own: it keeps rows from growing with the lines of the
/// explanation.
const ROW_HEIGHT_BESIDE: f64 = 16.0;
/// The height of a row of heads, which have two lines.
const HEAD_HEIGHT: f64 = 32.0;
/// Rows above the heads that are frozen with them, at most.
const MOST_FROZEN: u32 = 5;
/// Bounds on the width of a column of the sheet that has none of its own.
const WIDTHS: (f64, f64) = (10.0, 40.0);

/// How large a sheet may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: u64,
    pub(super) columns: usize,
}

/// As large as Excel has them.
pub(super) const EXCEL: Bounds = Bounds { rows: MOST_ROWS, columns: MOST_COLUMNS };

pub(super) struct WorkbookReport<'h> {
    file: AtomicFile,
    workbook: Workbook,
    styles: Styles,
    head: &'h ReportHead,
    name: &'static str,
    columns: &'static [Added],
    row_height: f64,
    /// Every head, those of the sheet first.
    heads: Vec<String>,
    /// The widths of the columns.
    widths: Vec<f64>,
    /// Columns of the sheet that are in the report.
    own_columns: usize,
    /// Columns that the sheet has a head for.
    headed_columns: usize,
    /// Heads, and cells beyond the last column that Excel has.
    left_out: Vec<String>,
    cells_left_out: u64,
    done: Vec<Sheet>,
    rows: Sheet,
    /// The row of the heads.
    head_row: u32,
    invalid: List,
    no_record: List,
    failed: List,
    bounds: Bounds,
    scratch: String,
}

impl<'h> WorkbookReport<'h> {
    pub(super) fn begin(
        file: AtomicFile,
        folder: &Path,
        head: &'h ReportHead,
        input: Option<&Rows<'_>>,
        bounds: Bounds,
    ) -> Result<Self, ReportError> {
        let mut workbook = Workbook::new();
        workbook.set_tempdir(folder)?;
        workbook.set_zip_compression_level(PACKING);
        // Always the same day: a report tells nothing of the time it was made at, so that it can be made again.
        let day = ExcelDateTime::from_ymd(2000, 1, 1)?;
        workbook.set_properties(&DocProperties::new().set_author("penstock").set_creation_datetime(&day));
        let own = input.map(Rows::headers).unwrap_or_default();
        let (columns, name, row_height): (&[Added], _, _) = match input {
            Some(_) => (&BESIDE, "Analysis Results", ROW_HEIGHT_BESIDE),
            None => (&ALONE, "Lead Analysis", ROW_HEIGHT),
        };
        let own_columns = own.len().min(bounds.columns.saturating_sub(columns.len()));
        let (kept, left_out) = own.split_at(own_columns);
        let heads = kept.iter().cloned().chain(told_apart(kept, columns.iter().map(Added::head))).collect();
        let own_width = |(column, head): (usize, &String)| {
            let told = input.and_then(|rows| rows.column_width(column));
            told.unwrap_or_else(|| (head.chars().count() as f64 + 3.0).clamp(WIDTHS.0, WIDTHS.1))
        };
        let widths = kept.iter().enumerate().map(own_width);
        let widths = widths.chain(columns.iter().map(|added| added.width)).collect();
        let rows = Sheet::begin(&mut workbook, name)?;
        let mut report = Self {
            file,
            workbook,
            styles: Styles::of(input),
            head,
            name,
            columns,
            row_height,
            heads,
            widths,
            own_columns,
            headed_columns: own.len(),
            left_out: left_out.to_vec(),
            cells_left_out: 0,
            done: Vec::new(),
            rows,
            head_row: 0,
            invalid: List::new("Invalid IDs"),
            no_record: List::new("No Record"),
            failed: List::new("Failed"),
            bounds,
            scratch: String::new(),
        };
        match input {
            // The rows keep the numbers that they have in the sheet.
            Some(rows) => report.rows.row = u32::try_from(rows.head_row().saturating_sub(1)).unwrap_or(0),
            None => report.write_block()?,
        }
        report.write_heads()?;
        Ok(report)
    }

    /// What stands above the table of report A: title, summary, query.
    fn write_block(&mut self) -> Result<(), ReportError> {
        self.rows.text(0, self.name, Some(&self.styles.title))?;
        self.rows.row += 1;
        for line in summary::in_short(self.head) {
            write_line(&mut self.rows, &self.styles, &line)?;
        }
        self.rows.row += 1;
        Ok(())
    }

    /// Begins the table in the current row.
    fn write_heads(&mut self) -> Result<(), ReportError> {
        self.head_row = self.rows.row;
        let sheet = &mut self.rows.worksheet;
        sheet.set_default_row_height(self.row_height);
        sheet.set_row_height(self.head_row, HEAD_HEIGHT)?;
        // Heads far below the top would freeze a whole screen.
        if self.head_row < MOST_FROZEN {
            sheet.set_freeze_panes(self.head_row + 1, 0)?;
        }
        for (column, width) in self.widths.iter().enumerate() {
            sheet.set_column_width(column as u16, *width)?;
        }
        // What a column's cells share they have from the column: a look said for each cell is looked up for each.
        for (column, added) in (self.own_columns as u16..).zip(self.columns) {
            let look = match added.column {
                Column::Explanation | Column::Note => &self.styles.wrapped,
                _ => &self.styles.top,
            };
            sheet.set_column_format(column, look)?;
        }
        for (column, head) in self.heads.iter().enumerate() {
            self.rows.text(column as u16, head, Some(&self.styles.head))?;
        }
        self.rows.row += 1;
        Ok(())
    }

    /// Ends the sheet that is being written: the filter covers what it has.
    fn end_table(&mut self) -> Result<(), ReportError> {
        let last_row = self.rows.row.saturating_sub(1).max(self.head_row);
        let last_column = self.heads.len().saturating_sub(1) as u16;
        self.rows.worksheet.autofilter(self.head_row, 0, last_row, last_column)?;
        Ok(())
    }

    /// Goes on with another sheet: this one is as long as Excel allows.
    fn next_sheet(&mut self) -> Result<(), ReportError> {
        self.end_table()?;
        let name = format!("{} ({})", self.name, self.done.len() + 2);
        let next = Sheet::begin(&mut self.workbook, &name)?;
        self.done.push(std::mem::replace(&mut self.rows, next));
        self.write_heads()
    }

    fn own_cell(&mut self, column: usize, cell: CellView<'_>, is_invalid: bool) -> Result<(), ReportError> {
        let (sheet, styles, column) = (&mut self.rows, &self.styles, column as u16);
        match cell {
            CellView::Empty => sheet.blank(column, styles.plain(is_invalid)),
            CellView::Text(text) => sheet.text(column, text, styles.text(text, is_invalid)),
            CellView::Number { value, format, .. } if value.is_finite() => {
                sheet.number(column, value, styles.number(format, is_invalid))
            }
            CellView::Number { written, .. } => sheet.text(column, written, styles.plain(is_invalid)),
            CellView::Bool(value) => sheet.truth(column, value, styles.plain(is_invalid)),
            // An error that no formula is behind any more can only be told as text.
            CellView::Error(code) => sheet.text(column, code, styles.plain(is_invalid)),
        }
    }

    /// The cells of ours.
    fn added_cells(&mut self, verdict: &Verdict<'_>, is_invalid: bool) -> Result<(), ReportError> {
        let (sheet, styles) = (&mut self.rows, &self.styles);
        for (column, added) in (self.own_columns as u16..).zip(self.columns) {
            let usual: Option<&Format> = match added.column {
                _ if is_invalid => styles.plain(true),
                Column::Status if verdict.listed().is_some() => Some(&styles.alert),
                _ => None,
            };
            match verdict.cell(added.column, &mut self.scratch) {
                Cell::Empty => sheet.blank(column, usual)?,
                Cell::Text(text) => sheet.text(column, text, usual)?,
                Cell::Whole(number) => sheet.number(column, number as f64, usual)?,
                Cell::Score(score) => sheet.number(column, score, Some(styles.score(score)))?,
                Cell::YesNo(true) => sheet.text(column, "Yes", Some(&styles.alert))?,
                Cell::YesNo(false) => sheet.text(column, "No", usual)?,
            }
        }
        Ok(())
    }
}

impl Output for WorkbookReport<'_> {
    fn row(&mut self, sheet: Option<RowView<'_>>, row: &ReportRow) -> Result<(), ReportError> {
        if u64::from(self.rows.row) >= self.bounds.rows {
            self.next_sheet()?;
        }
        let verdict = Verdict::of(row);
        let listed = verdict.listed();
        let is_invalid = matches!(listed, Some(Listed::Invalid | Listed::NoRecord));
        if let Some(sheet) = sheet {
            for column in 0..self.own_columns {
                self.own_cell(column, sheet.cell(column), is_invalid)?;
            }
        }
        self.added_cells(&verdict, is_invalid)?;
        if let Some(sheet) = sheet {
            // Cells beyond the last head stay behind everything that has one.
            for column in self.headed_columns..super::delimited::last_of(&sheet) {
                let place = column - self.headed_columns + self.heads.len();
                if place < self.bounds.columns {
                    self.own_cell(place, sheet.cell(column), is_invalid)?;
                } else if !sheet.cell(column).is_empty() {
                    self.cells_left_out += 1;
                }
            }
        }
        self.rows.row += 1;
        let list = match listed {
            None => return Ok(()),
            Some(Listed::Invalid) => &mut self.invalid,
            Some(Listed::NoRecord) => &mut self.no_record,
            Some(Listed::Failed) => &mut self.failed,
        };
        self.scratch.clear();
        verdict.note(&mut self.scratch);
        list.add(&mut self.workbook, &self.styles, self.bounds, row.row, &verdict, &self.scratch)
    }

    fn finish(mut self) -> Result<usize, ReportError> {
        self.end_table()?;
        let mut summary = Sheet::begin(&mut self.workbook, "Summary")?;
        summary.worksheet.set_column_width(0, 30)?;
        summary.worksheet.set_column_width(1, 80)?;
        summary.text(0, "Summary", Some(&self.styles.title))?;
        summary.row += 1;
        let mut lines = summary::whole(self.head);
        lines.extend(summary::left_out(&self.left_out, self.cells_left_out));
        for line in &lines {
            write_line(&mut summary, &self.styles, line)?;
        }
        let mut sheets = self.done;
        sheets.extend([self.rows, summary]);
        for list in [self.invalid, self.no_record, self.failed] {
            sheets.extend(list.finish(&self.styles)?);
        }
        let largest = sheets.iter().map(|sheet| sheet.bytes).max().unwrap_or_default();
        self.workbook.use_zip_large_file(largest > LARGE_FROM);
        for sheet in sheets {
            self.workbook.push_worksheet(sheet.worksheet);
        }
        self.workbook.save_to_writer(&mut self.file)?;
        self.file.commit()?;
        Ok(self.left_out.len())
    }
}

/// Writes a line of the summary, and goes to the next row.
fn write_line(sheet: &mut Sheet, styles: &Styles, line: &Line) -> Result<(), ReportError> {
    if line.figure == Figure::Title {
        sheet.row += 1;
    }
    sheet.text(0, line.label, Some(&styles.label))?;
    match &line.figure {
        Figure::Title => {}
        Figure::Text(text) => sheet.text(1, text, Some(&styles.top))?,
        Figure::Count(count) => sheet.number(1, *count as f64, Some(&styles.count))?,
        Figure::Score(score) => sheet.number(1, *score, Some(styles.mean()))?,
        Figure::Percent(percent) => sheet.number(1, *percent, Some(&styles.percent))?,
        Figure::Money(units) => sheet.number(1, *units, Some(&styles.money))?,
        Figure::Weight(weight) => sheet.number(1, *weight, None)?,
    }
    sheet.row += 1;
    Ok(())
}

/// Rows that somebody has to look at, in a sheet of their own that begins with the first of them.
struct List {
    name: &'static str,
    sheet: Option<Sheet>,
    beyond: u64,
}

impl List {
    const HEADS: [(&'static str, f64); 4] =
        [("Row", 10.0), ("Id", 24.0), ("Status", 20.0), ("Reason", 100.0)];

    fn new(name: &'static str) -> Self {
        Self { name, sheet: None, beyond: 0 }
    }

    fn add(
        &mut self,
        workbook: &mut Workbook,
        styles: &Styles,
        bounds: Bounds,
        row: u64,
        verdict: &Verdict<'_>,
        note: &str,
    ) -> Result<(), ReportError> {
        let sheet = match &mut self.sheet {
            Some(sheet) => sheet,
            none => {
                let mut sheet = Sheet::begin(workbook, self.name)?;
                for (column, (head, width)) in (0..).zip(Self::HEADS) {
                    sheet.worksheet.set_column_width(column, width)?;
                    sheet.text(column, head, Some(&styles.head))?;
                }
                sheet.worksheet.set_freeze_panes(1, 0)?;
                sheet.row = 1;
                none.insert(sheet)
            }
        };
        // The last row is for the line that says how many there are beyond.
        if u64::from(sheet.row) + 1 >= bounds.rows {
            self.beyond += 1;
            return Ok(());
        }
        sheet.number(0, row as f64, None)?;
        sheet.text(1, verdict.id_shown(), styles.text(verdict.id_shown(), false))?;
        sheet.text(2, verdict.status(), None)?;
        sheet.text(3, note, None)?;
        sheet.row += 1;
        Ok(())
    }

    fn finish(self, styles: &Styles) -> Result<Option<Sheet>, ReportError> {
        let Some(mut sheet) = self.sheet else { return Ok(None) };
        sheet.worksheet.autofilter(0, 0, sheet.row.saturating_sub(1), Self::HEADS.len() as u16 - 1)?;
        if self.beyond > 0 {
            let text =
                format!("{} more rows do not fit here; they are in the .csv and .jsonl reports", self.beyond);
            sheet.text(0, &text, Some(&styles.label))?;
        }
        Ok(Some(sheet))
    }
}
