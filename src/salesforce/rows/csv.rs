//! Rows from the CSV of Bulk, pushed in as it arrives, in pieces of any size.
//!
//! Promises: the header of every page must name the selected columns in their order, every row must be as
//! wide, and an end inside quotes is told as a cut. Only the row that is not whole yet is kept, so memory
//! is bounded by one row. A byte is looked at a constant number of times, however small the pieces.
//!
//! Read are values in quotes (`"` doubled inside) and values without; LF and CRLF both end a row. A cut
//! just behind a value of the last column cannot be seen here: compare the number of rows with the one
//! that the org tells in `Sforce-NumberOfRecords`.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use super::columns::{ColumnKind, Columns};
use super::error::{Place, RowsError};
use super::row::{Slot, Span, needs_escapes};
use super::value::{Piece, append};
use super::{RowInHand, RowSink};

/// A record holds at most some 1.6 million characters of text; doubled quotes and four bytes a character
/// included, nothing real is longer than this.
const ROW_BYTES_MAX: usize = 32 << 20;

/// The byte order mark.
const MARK: [u8; 3] = *b"\xEF\xBB\xBF";

/// What stands between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each name says it all")]
pub enum Delimiter {
    #[default]
    Comma,
    Tab,
    Pipe,
    Semicolon,
    Caret,
    Backquote,
}

impl Delimiter {
    /// Every delimiter that Bulk knows.
    pub const ALL: [Self; 6] =
        [Self::Comma, Self::Tab, Self::Pipe, Self::Semicolon, Self::Caret, Self::Backquote];

    /// The byte itself.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
            Self::Semicolon => b';',
            Self::Caret => b'^',
            Self::Backquote => b'`',
        }
    }

    /// The name of a job's `columnDelimiter`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Comma => "COMMA",
            Self::Tab => "TAB",
            Self::Pipe => "PIPE",
            Self::Semicolon => "SEMICOLON",
            Self::Caret => "CARET",
            Self::Backquote => "BACKQUOTE",
        }
    }
}

/// How the CSV is written, and where in the whole it begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct CsvOptions {
    /// The job's `columnDelimiter`.
    pub delimiter: Delimiter,
    /// Rows of this query that were read before, so that rows are numbered over a resumed job.
    pub rows_done: u64,
}

/// Reads the pages of one Bulk query.
///
/// For each page: [`Self::feed`] its bytes, then [`Self::end_page`]. After an error nothing more is read;
/// begin anew with the rows that are safely stored as [`CsvOptions::rows_done`].
#[derive(Debug)]
pub struct CsvRows {
    row: RowInHand,
    scan: RecordScan,
    /// The beginning of a record whose end has not arrived.
    unfinished: Vec<u8>,
    /// The next record is a header.
    at_header: bool,
    failed: bool,
}

impl CsvRows {
    /// A reader for the results of a query with these columns.
    pub fn new(columns: Columns, options: CsvOptions) -> Self {
        Self {
            row: RowInHand::new(columns, options.rows_done),
            scan: RecordScan::new(options.delimiter.byte()),
            unfinished: Vec::new(),
            at_header: true,
            failed: false,
        }
    }

    /// Rows given out so far, with those of [`CsvOptions::rows_done`].
    pub fn rows_done(&self) -> u64 {
        self.row.rows_done
    }

    /// Takes the next bytes of the page and gives out every row that they complete.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut RowSink<'_>) -> Result<(), RowsError> {
        self.guarded(|reader| reader.take_in(&without_nuls(bytes), sink))
    }

    /// Ends the page: gives out a last row without a line end, and expects a header next.
    pub fn end_page(&mut self, sink: &mut RowSink<'_>) -> Result<(), RowsError> {
        self.guarded(|reader| {
            if !reader.scan.is_at_start() {
                let record = std::mem::take(&mut reader.unfinished);
                match reader.scan.end() {
                    Ok(()) => reader.record(&record, sink)?,
                    Err(_) if reader.at_header => return Err(RowsError::CutOff(reader.row.place(None))),
                    Err(column) => return Err(RowsError::CutOff(reader.place_at(column))),
                }
                reader.scan.clear();
            }
            if reader.at_header {
                return Err(RowsError::NoHeader);
            }
            reader.at_header = true;
            reader.scan.may_have_mark = true;
            Ok(())
        })
    }

    /// Ends the last page; gives the number of all rows, with those of [`CsvOptions::rows_done`].
    pub fn finish(mut self, sink: &mut RowSink<'_>) -> Result<u64, RowsError> {
        self.end_page(sink)?;
        Ok(self.row.rows_done)
    }

    /// What failed once fails on, so that no row is given out past a gap.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), RowsError>) -> Result<(), RowsError> {
        if self.failed {
            return Err(RowsError::Stopped);
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn take_in(&mut self, mut bytes: &[u8], sink: &mut RowSink<'_>) -> Result<(), RowsError> {
        // A record that began earlier: line by line it is copied until it is whole.
        while !self.scan.is_at_start() {
            if bytes.is_empty() {
                return Ok(());
            }
            let line = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            let mut record = std::mem::take(&mut self.unfinished);
            record.extend_from_slice(&bytes[..line]);
            bytes = &bytes[line..];
            if self.scanned(&record)?.is_some() {
                self.record(&record, sink)?;
                self.scan.clear();
                record.clear();
            }
            self.unfinished = record;
        }
        while !bytes.is_empty() {
            match self.scanned(bytes)? {
                Some(end) => {
                    self.record(&bytes[..end], sink)?;
                    self.scan.clear();
                    bytes = &bytes[end..];
                }
                None => {
                    self.unfinished.clear();
                    self.unfinished.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Scans on in a record; the end of the record, if it is there.
    fn scanned(&mut self, record: &[u8]) -> Result<Option<usize>, RowsError> {
        let end = match self.scan.run(record) {
            Ok(end) => end,
            Err(problem) if self.at_header => return Err(RowsError::HeaderUnreadable(problem)),
            Err(problem) => {
                return Err(RowsError::BadCsv { place: self.place_at(self.scan.cells.len()), problem });
            }
        };
        if end.unwrap_or(record.len()) > ROW_BYTES_MAX {
            return Err(RowsError::RowTooLong { row: self.row.number(), bytes_max: ROW_BYTES_MAX });
        }
        Ok(end)
    }

    fn place_at(&self, column: usize) -> Place {
        self.row.place((column < self.row.columns.len()).then_some(column))
    }

    /// Takes a whole record whose cells the scan has found.
    fn record(&mut self, record: &[u8], sink: &mut RowSink<'_>) -> Result<(), RowsError> {
        let text = match std::str::from_utf8(record) {
            Ok(text) => text,
            Err(_) if self.at_header => return Err(RowsError::HeaderUnreadable("it is not UTF-8")),
            Err(error) => {
                let wrong = error.valid_up_to() as u32;
                let column = self.scan.cells.iter().take_while(|cell| cell.end <= wrong).count();
                return Err(RowsError::NotUtf8(self.place_at(column)));
            }
        };
        if self.at_header {
            self.check_header(text)?;
            self.at_header = false;
            self.scan.may_have_mark = false;
            return Ok(());
        }
        let (found, expected) = (self.scan.cells.len(), self.row.columns.len());
        if found != expected {
            return Err(RowsError::RowWidth { row: self.row.number(), found, expected });
        }
        self.row.clear();
        // One look at the whole record mostly shows that no value needs an escape.
        let all_plain = !holds_escapes_beside_quotes(record);
        for index in 0..expected {
            let cell = self.scan.cells[index];
            let (start, end) = (cell.start as usize, cell.end as usize);
            let raw = &text[start..end];
            if !cell.doubled {
                let piece = Piece { text: raw, at: Some(cell.start), plain: all_plain };
                self.row.set_text(index, piece)?;
            } else if matches!(self.row.columns.kind(index), ColumnKind::Text | ColumnKind::Base64) {
                let span = append(&mut self.row.rewritten, |out| undouble(raw, out));
                self.row.set(index, Ok(text_slot(span)))?;
            } else {
                let mut single = String::with_capacity(raw.len());
                undouble(raw, &mut single);
                self.row.set_text(index, Piece { text: &single, at: None, plain: false })?;
            }
        }
        self.row.give(text, sink)
    }

    fn check_header(&self, text: &str) -> Result<(), RowsError> {
        let (found, expected) = (self.scan.cells.len(), self.row.columns.len());
        for (index, (cell, column)) in self.scan.cells.iter().zip(self.row.columns.as_slice()).enumerate() {
            // A first character that begins as a byte order mark does is cut in two: no name stands there.
            let name = text.get(cell.start as usize..cell.end as usize);
            if !name.is_some_and(|name| name.eq_ignore_ascii_case(&column.name)) {
                let expected = column.name.clone();
                return Err(RowsError::HeaderName { position: index + 1, expected });
            }
        }
        if found == expected { Ok(()) } else { Err(RowsError::HeaderWidth { found, expected }) }
    }
}

/// A value with doubled quotes is never empty and always needs escapes.
fn text_slot(span: Span) -> Slot {
    Slot::Text { span, plain: false }
}

/// Bulk may give NULs, which belong to no value.
fn without_nuls(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr(0, bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(bytes.iter().copied().filter(|byte| *byte != 0).collect())
}

/// Whether a value of the record may need an escape for another byte than a quote.
fn holds_escapes_beside_quotes(record: &[u8]) -> bool {
    let values = record.strip_suffix(b"\n").unwrap_or(record);
    let values = values.strip_suffix(b"\r").unwrap_or(values);
    let special = |byte: u8| (byte < 0x20) | (byte == b'\\');
    let (blocks, rest) = values.as_chunks::<16>();
    blocks.iter().any(|block| block.iter().fold(false, |found, byte| found | special(*byte)))
        || needs_escapes_beside_quotes(rest)
}

fn needs_escapes_beside_quotes(rest: &[u8]) -> bool {
    rest.iter().any(|byte| *byte != b'"' && needs_escapes(std::slice::from_ref(byte)))
}

fn undouble(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr(b'"', rest.as_bytes()) {
        out.push_str(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// Where a value stands in its record, without its quotes.
#[derive(Debug, Clone, Copy)]
struct CellAt {
    start: u32,
    end: u32,
    /// It has doubled quotes.
    doubled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ScanState {
    /// Before a value.
    Start,
    /// In a value without quotes.
    Bare,
    /// In a value in quotes.
    Quoted,
    /// Behind a quote in a value in quotes: its end, or the first of two.
    QuoteSeen,
    /// Behind a CR that must be followed by LF.
    CrSeen,
}

/// Finds the values of one record, and its end; goes on where it stopped when more of it arrives.
#[derive(Debug)]
struct RecordScan {
    delimiter: u8,
    /// The record is a page's first: a byte order mark may stand before it.
    may_have_mark: bool,
    state: ScanState,
    /// Bytes of the record that were looked at.
    at: usize,
    cell: CellAt,
    cells: Vec<CellAt>,
}

impl RecordScan {
    fn new(delimiter: u8) -> Self {
        let cell = CellAt { start: 0, end: 0, doubled: false };
        Self { delimiter, may_have_mark: true, state: ScanState::Start, at: 0, cell, cells: Vec::new() }
    }

    fn clear(&mut self) {
        (self.state, self.at) = (ScanState::Start, 0);
        self.cells.clear();
    }

    /// No byte of a record was looked at.
    fn is_at_start(&self) -> bool {
        self.at == 0
    }

    fn push(&mut self, end: usize) {
        self.cells.push(CellAt { end: end as u32, ..self.cell });
    }

    /// Looks at the bytes of `record` that are new; its length with the line end once that is found.
    fn run(&mut self, record: &[u8]) -> Result<Option<usize>, &'static str> {
        while let Some(&byte) = record.get(self.at) {
            match self.state {
                ScanState::Start if self.may_have_mark && MARK.get(self.at) == Some(&byte) => self.at += 1,
                ScanState::Start => {
                    self.cell = CellAt { start: self.at as u32, end: 0, doubled: false };
                    if byte == b'"' {
                        self.at += 1;
                        self.cell.start += 1;
                        self.state = ScanState::Quoted;
                    } else {
                        self.state = ScanState::Bare;
                    }
                }
                ScanState::Quoted => {
                    let Some(found) = memchr(b'"', &record[self.at..]) else {
                        self.at = record.len();
                        return Ok(None);
                    };
                    self.at += found + 1;
                    self.state = ScanState::QuoteSeen;
                }
                ScanState::QuoteSeen => {
                    let end = self.at - 1;
                    self.at += 1;
                    match byte {
                        b'"' => {
                            self.cell.doubled = true;
                            self.state = ScanState::Quoted;
                            continue;
                        }
                        b'\n' => {
                            self.push(end);
                            return Ok(Some(self.at));
                        }
                        b'\r' => self.state = ScanState::CrSeen,
                        _ if byte == self.delimiter => self.state = ScanState::Start,
                        _ => return Err("something follows a value's closing quote"),
                    }
                    self.push(end);
                }
                ScanState::Bare => {
                    let found = memchr3(self.delimiter, b'\n', b'\r', &record[self.at..]);
                    let end = found.map_or(record.len(), |found| self.at + found);
                    if memchr(b'"', &record[self.at..end]).is_some() {
                        return Err("a quote stands in a value without quotes");
                    }
                    self.at = end;
                    let Some(&byte) = record.get(end) else { return Ok(None) };
                    self.push(end);
                    self.at += 1;
                    match byte {
                        b'\n' => return Ok(Some(self.at)),
                        b'\r' => self.state = ScanState::CrSeen,
                        _ => self.state = ScanState::Start,
                    }
                }
                ScanState::CrSeen if byte == b'\n' => {
                    self.at += 1;
                    return Ok(Some(self.at));
                }
                ScanState::CrSeen => return Err("a carriage return ends no line"),
            }
        }
        Ok(None)
    }

    /// The record ends without a line end; if it cannot, the value it is cut off in.
    fn end(&mut self) -> Result<(), usize> {
        match self.state {
            ScanState::Quoted => return Err(self.cells.len()),
            ScanState::QuoteSeen => self.push(self.at - 1),
            ScanState::Bare => self.push(self.at),
            ScanState::Start => {
                self.cell = CellAt { start: self.at as u32, end: 0, doubled: false };
                self.push(self.at);
            }
            ScanState::CrSeen => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
