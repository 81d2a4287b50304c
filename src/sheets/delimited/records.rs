//! Records of delimited text, one by one.
//!
//! Promises: every line counts as a row, blank ones too, as a spreadsheet counts them; line breaks within quotes do not end
//! a row. A row is never longer than its bound in memory, so a quote that nothing ends does no harm but its own error.
//!
//! Cut here and not by the `csv` crate for these two: that one passes over blank lines without a word, which would move the
//! numbers of all rows behind them, and it holds a record of any length.

use std::io::{self, Read};

use memchr::{memchr, memchr3};

use crate::sheets::cell::{RowBuffer, Slot};
use crate::sheets::error::SheetError;
use crate::sheets::{LONGEST_ROW, MOST_COLUMNS};

/// Bytes read at a time.
const BUFFER: usize = 64 * 1024;
const QUOTE: u8 = b'"';

/// Reads records from UTF-8.
pub(in crate::sheets) struct Records<R> {
    source: R,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    delimiter: u8,
    /// The number of the last row read, blank ones counted.
    number: u64,
}

/// What ended a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Cell,
    Row,
}

impl<R: Read> Records<R> {
    pub(in crate::sheets) fn of(source: R, delimiter: u8) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { source, buffer, at: 0, filled: 0, delimiter, number: 0 }
    }

    /// Passes over a line that is no row.
    pub(super) fn skip_line(&mut self) -> Result<(), SheetError> {
        let mut row = RowBuffer::default();
        self.record(&mut Vec::new(), &mut row)?;
        self.number = 0;
        Ok(())
    }

    /// Reads the next row that holds anything, and tells its number.
    pub(in crate::sheets) fn read(&mut self, row: &mut RowBuffer) -> Result<Option<u64>, SheetError> {
        loop {
            row.clear();
            let mut text = std::mem::take(&mut row.text).into_bytes();
            let is_row = self.record(&mut text, row)?;
            // Cells begin and end at ASCII, so one look at the row proves all of them.
            row.text = String::from_utf8(text).map_err(|_| {
                let source = io::Error::other("its bytes are no longer those that were looked at first");
                SheetError::Io { action: "the file was changed while it was read", source }
            })?;
            if !is_row {
                return Ok(None);
            }
            if !row.is_blank() {
                return Ok(Some(self.number));
            }
        }
    }

    /// Reads one record into the row's cells and their text; `false` when none is left.
    fn record(&mut self, text: &mut Vec<u8>, row: &mut RowBuffer) -> Result<bool, SheetError> {
        if !self.fill()? {
            return Ok(false);
        }
        self.number += 1;
        loop {
            let begin = text.len();
            if self.fill()? && self.buffer[self.at] == QUOTE {
                self.at += 1;
                self.quoted(text)?;
            }
            let ended = self.unquoted(text)?;
            if row.slots.len() == MOST_COLUMNS {
                let why = format!("it has more than {MOST_COLUMNS} columns");
                return Err(SheetError::Damaged { part: format!("row {}", self.number), why });
            }
            row.slots.push(slot_of(text, begin));
            if ended == Ended::Row {
                return Ok(true);
            }
        }
    }

    /// The text up to the quote that closes it.
    fn quoted(&mut self, text: &mut Vec<u8>) -> Result<(), SheetError> {
        let row = self.number;
        loop {
            if !self.fill()? {
                return Err(SheetError::UnclosedQuote { row });
            }
            let ahead = &self.buffer[self.at..self.filled];
            let Some(length) = memchr(QUOTE, ahead) else {
                text.extend_from_slice(ahead);
                self.at = self.filled;
                self.check_length(text)?;
                continue;
            };
            text.extend_from_slice(&ahead[..length]);
            self.at += length + 1;
            // Two quotes are one that belongs to the text.
            if !self.fill()? || self.buffer[self.at] != QUOTE {
                return Ok(());
            }
            text.push(QUOTE);
            self.at += 1;
        }
    }

    /// The text up to the next delimiter or the end of the line.
    fn unquoted(&mut self, text: &mut Vec<u8>) -> Result<Ended, SheetError> {
        loop {
            if !self.fill()? {
                return Ok(Ended::Row);
            }
            let ahead = &self.buffer[self.at..self.filled];
            let Some(length) = memchr3(self.delimiter, b'\n', b'\r', ahead) else {
                text.extend_from_slice(ahead);
                self.at = self.filled;
                self.check_length(text)?;
                continue;
            };
            text.extend_from_slice(&ahead[..length]);
            let end = ahead[length];
            self.at += length + 1;
            if end == self.delimiter {
                return Ok(Ended::Cell);
            }
            if end == b'\r' && self.fill()? && self.buffer[self.at] == b'\n' {
                self.at += 1;
            }
            return Ok(Ended::Row);
        }
    }

    fn check_length(&self, text: &[u8]) -> Result<(), SheetError> {
        if text.len() <= LONGEST_ROW {
            return Ok(());
        }
        Err(SheetError::TooLong { row: self.number, what: "the row", limit: LONGEST_ROW })
    }

    /// Sees to it that a byte is there; `false` at the end of the text.
    fn fill(&mut self) -> Result<bool, SheetError> {
        if self.at < self.filled {
            return Ok(true);
        }
        self.at = 0;
        self.filled = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        }
        .map_err(|source| SheetError::Io { action: "cannot read the file", source })?;
        Ok(self.filled > 0)
    }
}

/// Makes a cell of the text from `begin` on. All are text: what looks like a number may be a part's name, such as `12e+3`, and
/// whoever looks for ids knows a number in their column.
fn slot_of(text: &[u8], begin: usize) -> Slot {
    let (start, end) = (begin as u32, text.len() as u32);
    if start == end { Slot::Empty } else { Slot::Text { start, end } }
}
