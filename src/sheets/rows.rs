//! The rows of one sheet, whichever file it came from: head row, numbers, blank rows in between.
//!
//! Promises: every row between the head and the last row that holds anything is told, blank ones too, with the number that
//! a spreadsheet shows; blank rows behind the last one are not. No lead is taken for a head.

use super::cell::{CellView, FormatId, OwnedCell, RowBuffer, RowView};
use super::delimited::DelimitedRows;
use super::error::SheetError;
use super::xls::XlsRows;
use super::xlsx::XlsxRows;
use crate::leads::LeadId;

/// Where rows come from. Each `read` fills the buffer with the next row that holds anything and tells its number.
pub(super) enum Source<'a> {
    Xlsx(Box<XlsxRows<'a>>),
    Xls(XlsRows<'a>),
    Delimited(Box<DelimitedRows>),
}

impl Source<'_> {
    fn read(&mut self, row: &mut RowBuffer) -> Result<Option<u64>, SheetError> {
        match self {
            Self::Xlsx(rows) => rows.read(row),
            Self::Xls(rows) => Ok(rows.read(row)),
            Self::Delimited(rows) => rows.read(row),
        }
    }
}

/// The rows of a sheet.
pub struct Rows<'a> {
    source: Source<'a>,
    sheet: String,
    headers: Vec<String>,
    head_row: u64,
    /// The number of the last row told.
    told: u64,
    /// A row read ahead, beyond blank ones, in `row`.
    ahead: Option<u64>,
    row: RowBuffer,
    blank: RowBuffer,
    ended: bool,
}

impl<'a> Rows<'a> {
    /// Reads the head row. A first row that holds a Lead's id is no head but data: the columns go by their letters then.
    pub(super) fn start(mut source: Source<'a>, sheet: &str) -> Result<Self, SheetError> {
        let mut row = RowBuffer::default();
        let Some(head_row) = source.read(&mut row)? else {
            return Err(SheetError::EmptySheet { sheet: sheet.to_owned() });
        };
        let head = RowView { number: head_row, buffer: &row };
        let is_data =
            head.cells().any(|cell| matches!(cell, CellView::Text(text) if LeadId::read(text).is_ok()));
        let mut headers: Vec<String> = head
            .cells()
            .enumerate()
            .map(|(column, cell)| {
                let text = match cell {
                    CellView::Text(text) | CellView::Error(text) | CellView::Number { written: text, .. } => {
                        text.trim()
                    }
                    CellView::Bool(true) => "TRUE",
                    CellView::Bool(false) => "FALSE",
                    CellView::Empty => "",
                };
                if text.is_empty() || is_data { lettered(column) } else { text.to_owned() }
            })
            .collect();
        // Styled cells without a head, to the right of the last one, are no columns.
        let last = head
            .cells()
            .enumerate()
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(column, _)| column + 1)
            .last();
        headers.truncate(last.unwrap_or_default());
        let (ahead, head_row) = if is_data { (Some(head_row), head_row - 1) } else { (None, head_row) };
        Ok(Self {
            source,
            sheet: sheet.to_owned(),
            headers,
            head_row,
            told: head_row,
            ahead,
            row,
            blank: RowBuffer::default(),
            ended: false,
        })
    }

    /// The name of the sheet.
    pub fn sheet(&self) -> &str {
        &self.sheet
    }

    /// The heads of the columns, trimmed. A column without one is called by its letter, `Column C`; two may be the same.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The number of the head row, 1 unless blank rows stand before it. Of a sheet without a head it is that of the row
    /// before the first, which may be 0.
    pub fn head_row(&self) -> u64 {
        self.head_row
    }

    /// The next data row, blank ones between others included; `None` behind the last row that holds anything.
    ///
    /// # Errors
    /// When the file is faulty from here on, or a disk fails.
    pub fn next_row(&mut self) -> Result<Option<RowView<'_>>, SheetError> {
        if self.ahead.is_none() {
            if self.ended {
                return Ok(None);
            }
            self.ahead = self.source.read(&mut self.row)?;
            self.ended = self.ahead.is_none();
        }
        let Some(ahead) = self.ahead else { return Ok(None) };
        self.told += 1;
        if self.told < ahead {
            return Ok(Some(RowView { number: self.told, buffer: &self.blank }));
        }
        self.ahead = None;
        Ok(Some(RowView { number: self.told, buffer: &self.row }))
    }

    /// The code of a number format: `General`, `yyyy-mm-dd` and the like.
    pub fn number_format(&self, id: FormatId) -> &str {
        let codes: &[String] = match &self.source {
            Source::Xlsx(rows) => rows.number_formats(),
            Source::Xls(rows) => rows.number_formats(),
            Source::Delimited(_) => &[],
        };
        codes.get(usize::from(id.0)).map_or("General", String::as_str)
    }

    /// The width of a column in characters, where the file says one.
    pub fn column_width(&self, column: usize) -> Option<f64> {
        match &self.source {
            Source::Xlsx(rows) => rows.column_width(column),
            Source::Xls(_) | Source::Delimited(_) => None,
        }
    }

    /// The next `count` rows, or as many as there are, each as wide as the head at least.
    ///
    /// # Errors
    /// As [`Self::next_row`].
    pub fn sample(&mut self, count: usize) -> Result<Vec<Vec<OwnedCell>>, SheetError> {
        let mut sample = Vec::new();
        while sample.len() < count {
            let Some(view) = self.next_row()? else { break };
            let (number, length) = (view.number, view.len());
            let row = RowView { number, buffer: if length == 0 { &self.blank } else { &self.row } };
            let width = length.max(self.headers.len());
            sample.push((0..width).map(|column| self.own(row.cell(column))).collect());
        }
        Ok(sample)
    }

    /// A cell that outlives its row.
    pub fn own(&self, cell: CellView<'_>) -> OwnedCell {
        match cell {
            CellView::Empty => OwnedCell::Empty,
            CellView::Text(text) => OwnedCell::Text(text.to_owned()),
            CellView::Number { value, written, format } => OwnedCell::Number {
                value,
                written: written.to_owned(),
                format: self.number_format(format).to_owned(),
            },
            CellView::Bool(value) => OwnedCell::Bool(value),
            CellView::Error(code) => OwnedCell::Error(code.to_owned()),
        }
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("sheet", &self.sheet).field("told", &self.told).finish_non_exhaustive()
    }
}

/// What a column without a head is called: `Column C`.
pub(super) fn lettered(column: usize) -> String {
    format!("Column {}", column_letters(column))
}

/// `A`, `B` ... `Z`, `AA`: how a spreadsheet calls a column.
pub(super) fn column_letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + (column % 26) as u8));
        if column < 26 {
            break;
        }
        column = column / 26 - 1;
    }
    letters.iter().rev().collect()
}
