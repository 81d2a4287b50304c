//! Rows from JSON: pages of a REST query, and results of Bulk 1.0.
//!
//! Promises: no tree is built; a page's bytes are borrowed. Fields may come in any order, though the order
//! of SELECT is the fastest. Every selected field must be there once; fields that were not selected, and
//! `attributes`, are passed over, so that an org which gives more than was asked for stops nothing. A
//! parent that is null gives null in all its columns.

use super::columns::{ColumnKind, Columns, Node, Target};
use super::error::RowsError;
use super::json::{Fault, Scanner, StringAt, unescape};
use super::row::{Slot, needs_escapes};
use super::value::{BadValue, Piece, append, int_of, slot_of_ms};
use super::{RowInHand, RowSink};

/// What a page of a REST query says beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestPage {
    /// Rows on this page.
    pub rows: u64,
    /// Rows of the whole query, as the org counts them.
    pub total_size: u64,
    /// This is the last page.
    pub done: bool,
    /// The path of the next page, unchecked.
    pub next_records_url: Option<String>,
}

/// Reads the pages of one REST query.
#[derive(Debug)]
pub struct RestRows {
    row: RowInHand,
}

impl RestRows {
    /// A reader for the results of a query with these columns; `rows_done` rows of it were read before.
    pub fn new(columns: Columns, rows_done: u64) -> Self {
        Self { row: RowInHand::new(columns, rows_done) }
    }

    /// Rows given out so far, with those read before.
    pub fn rows_done(&self) -> u64 {
        self.row.rows_done
    }

    /// Reads one whole page and gives out its rows. After an error the rows of this page do not count:
    /// drop them, and read the same page again.
    pub fn read_page(&mut self, body: &[u8], sink: &mut RowSink<'_>) -> Result<RestPage, RowsError> {
        let before = self.row.rows_done;
        let mut page = PageParts::default();
        let read = read_text(&mut self.row, body, false, &mut |reading| {
            reading.page(&mut page, sink).and_then(|()| Ok(reading.scanner.end()?))
        });
        let finished = read.and_then(|()| page.finish(self.row.rows_done - before));
        if finished.is_err() {
            self.row.rows_done = before;
        }
        finished
    }

    /// Reads a whole list of records, as `/composite/sobjects` answers. `missing` is told the place, from 0,
    /// of each `null` that stands for a record which was not found. Gives the length of the list.
    pub fn read_list(
        &mut self,
        body: &[u8],
        sink: &mut RowSink<'_>,
        missing: &mut dyn FnMut(usize),
    ) -> Result<usize, RowsError> {
        let before = self.row.rows_done;
        let mut length = 0;
        let read = read_text(&mut self.row, body, false, &mut |reading| {
            reading.records(sink, &mut |place| missing(place), &mut length)?;
            Ok(reading.scanner.end()?)
        });
        if read.is_err() {
            self.row.rows_done = before;
        }
        read.map(|()| length)
    }
}

/// Reads results of Bulk 1.0 in JSON: a list of records with dates and times as milliseconds.
#[derive(Debug)]
pub struct BulkOneRows {
    row: RowInHand,
}

impl BulkOneRows {
    /// A reader for the results of a query with these columns; `rows_done` rows of it were read before.
    pub fn new(columns: Columns, rows_done: u64) -> Self {
        Self { row: RowInHand::new(columns, rows_done) }
    }

    /// Rows given out so far, with those read before.
    pub fn rows_done(&self) -> u64 {
        self.row.rows_done
    }

    /// Reads one whole result and gives its number of rows. After an error the rows of this result do not
    /// count.
    pub fn read_result(&mut self, body: &[u8], sink: &mut RowSink<'_>) -> Result<u64, RowsError> {
        let before = self.row.rows_done;
        let mut length = 0;
        let mut missing = false;
        let read = read_text(&mut self.row, body, true, &mut |reading| {
            reading.records(sink, &mut |_| missing = true, &mut length)?;
            Ok(reading.scanner.end()?)
        });
        let result = match read {
            Ok(()) if missing => {
                Err(RowsError::BadJson { place: self.row.place(None), byte: 0, problem: "a record is null" })
            }
            other => other,
        };
        if result.is_err() {
            self.row.rows_done = before;
        }
        result.map(|()| self.row.rows_done - before)
    }
}

#[derive(Default)]
struct PageParts {
    total_size: Option<u64>,
    done: Option<bool>,
    next: Option<String>,
    has_records: bool,
}

impl PageParts {
    fn finish(self, rows: u64) -> Result<RestPage, RowsError> {
        if !self.has_records {
            return Err(RowsError::PageWithout("records"));
        }
        Ok(RestPage {
            rows,
            total_size: self.total_size.ok_or(RowsError::PageWithout("totalSize"))?,
            done: self.done.ok_or(RowsError::PageWithout("done"))?,
            next_records_url: self.next,
        })
    }
}

/// An error in the making: faults of the JSON get their place at the end.
enum Trouble {
    Json(Fault),
    Rows(RowsError),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Json(fault)
    }
}

impl From<RowsError> for Trouble {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

/// Runs `read` over the body's text. Where the body stops being UTF-8 it is cut, and the cut is then told
/// as what it is: so the error knows its row and column.
fn read_text(
    row: &mut RowInHand,
    body: &[u8],
    epoch_times: bool,
    read: &mut dyn FnMut(&mut Reading<'_, '_>) -> Result<(), Trouble>,
) -> Result<(), RowsError> {
    if u32::try_from(body.len()).is_err() {
        return Err(RowsError::PageTooLong(body.len()));
    }
    let (text, not_utf8) = match std::str::from_utf8(body) {
        Ok(text) => (text, false),
        Err(error) => {
            let valid = body.get(..error.valid_up_to()).unwrap_or_default();
            (std::str::from_utf8(valid).unwrap_or_default(), error.error_len().is_some())
        }
    };
    let mut reading = Reading { row, text, scanner: Scanner::new(text), epoch_times, column: None };
    let result = read(&mut reading);
    let (place, byte) = (reading.row.place(reading.column), reading.scanner.at);
    match result {
        Ok(()) if text.len() < body.len() => Err(RowsError::NotUtf8(place)),
        Ok(()) => Ok(()),
        Err(Trouble::Rows(error)) => Err(error),
        Err(Trouble::Json(Fault::CutOff)) if not_utf8 => Err(RowsError::NotUtf8(place)),
        Err(Trouble::Json(Fault::CutOff)) => Err(RowsError::CutOff(place)),
        Err(Trouble::Json(Fault::Bad(problem))) => Err(RowsError::BadJson { place, byte, problem }),
    }
}

/// The reading of one body.
struct Reading<'r, 't> {
    row: &'r mut RowInHand,
    text: &'t str,
    scanner: Scanner<'t>,
    /// Numbers in columns of dates and times are milliseconds.
    epoch_times: bool,
    /// The column in hand, for errors.
    column: Option<usize>,
}

impl<'t> Reading<'_, 't> {
    fn page(&mut self, page: &mut PageParts, sink: &mut RowSink<'_>) -> Result<(), Trouble> {
        self.scanner.expect(b'{', "the page is no object")?;
        let mut more = !self.scanner.take(b'}')?;
        while more {
            let key = self.scanner.key()?;
            match self.scanner.between(key.start, key.end) {
                "totalSize" => page.total_size = Some(self.count()?),
                "done" => page.done = Some(self.flag()?),
                "nextRecordsUrl" => page.next = self.optional_text()?,
                "records" if page.has_records => {
                    return Err(Fault::Bad("the page has its records twice").into());
                }
                "records" => {
                    let mut missing = false;
                    self.records(sink, &mut |_| missing = true, &mut 0)?;
                    if missing {
                        return Err(Fault::Bad("a record is null").into());
                    }
                    page.has_records = true;
                }
                _ => self.scanner.skip()?,
            }
            more = self.scanner.another(b'}')?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<u64, Trouble> {
        let number = self.scanner.number()?;
        Ok(number.parse().map_err(|_| Fault::Bad("it is no count"))?)
    }

    fn flag(&mut self) -> Result<bool, Trouble> {
        let flag = self.scanner.peek()? == b't';
        self.scanner.word(if flag { "true" } else { "false" })?;
        Ok(flag)
    }

    fn optional_text(&mut self) -> Result<Option<String>, Trouble> {
        if self.scanner.peek()? == b'n' {
            self.scanner.word("null")?;
            return Ok(None);
        }
        let string = self.scanner.string()?;
        Ok(Some(self.unescaped(string)))
    }

    fn unescaped(&self, string: StringAt) -> String {
        let mut text = String::new();
        unescape(self.scanner.between(string.start, string.end), &mut text);
        text
    }

    fn records(
        &mut self,
        sink: &mut RowSink<'_>,
        missing: &mut dyn FnMut(usize),
        length: &mut usize,
    ) -> Result<(), Trouble> {
        let columns = self.row.columns.clone();
        self.scanner.expect(b'[', "there is no list of records")?;
        let mut more = !self.scanner.take(b']')?;
        while more {
            if self.scanner.peek()? == b'n' {
                self.scanner.word("null")?;
                missing(*length);
            } else {
                self.row.clear();
                self.fields(columns.tree())?;
                if let Some(absent) = self.row.slots.iter().position(|slot| *slot == Slot::Missing) {
                    return Err(RowsError::MissingField(self.row.place(Some(absent))).into());
                }
                self.column = None;
                self.row.give(self.text, sink)?;
            }
            *length += 1;
            more = self.scanner.another(b']')?;
        }
        Ok(())
    }

    /// Reads an object whose selected names are `level`.
    fn fields(&mut self, level: &[Node]) -> Result<(), Trouble> {
        self.scanner.expect(b'{', "a record is no object")?;
        let mut more = !self.scanner.take(b'}')?;
        let mut expected = 0;
        while more {
            match self.field(level, expected)? {
                Some(found) => {
                    expected = found + 1;
                    match &level[found].target {
                        Target::Column(index) => self.value(*index)?,
                        Target::Parent(children) => self.parent(children)?,
                    }
                }
                None => self.scanner.skip()?,
            }
            more = self.scanner.another(b'}')?;
        }
        Ok(())
    }

    /// Reads a name; its place in the level if it was selected.
    fn field(&mut self, level: &[Node], expected: usize) -> Result<Option<usize>, Trouble> {
        if level.get(expected).is_some_and(|node| self.scanner.take_exactly(&node.key)) {
            return Ok(Some(expected));
        }
        let key = self.scanner.key()?;
        let raw = self.scanner.between(key.start, key.end);
        let name = if key.escaped { self.unescaped(key) } else { String::new() };
        let name = if key.escaped { name.as_str() } else { raw };
        Ok(level.iter().position(|node| node.name.eq_ignore_ascii_case(name)))
    }

    fn parent(&mut self, children: &[Node]) -> Result<(), Trouble> {
        self.column = first_column(children);
        if self.scanner.peek()? == b'n' {
            self.scanner.word("null")?;
            return self.nothing_in(children);
        }
        self.fields(children)
    }

    fn nothing_in(&mut self, children: &[Node]) -> Result<(), Trouble> {
        for child in children {
            match &child.target {
                Target::Column(index) => {
                    self.check_first(*index)?;
                    self.row.set(*index, Ok(Slot::Null))?;
                }
                Target::Parent(children) => self.nothing_in(children)?,
            }
        }
        Ok(())
    }

    fn check_first(&mut self, index: usize) -> Result<(), Trouble> {
        self.column = Some(index);
        if self.row.slots[index] == Slot::Missing {
            return Ok(());
        }
        Err(RowsError::FieldTwice(self.row.place(Some(index))).into())
    }

    fn value(&mut self, index: usize) -> Result<(), Trouble> {
        self.check_first(index)?;
        let kind = self.row.columns.kind(index);
        match self.scanner.peek()? {
            b'"' => {
                let string = self.scanner.string()?;
                let raw = self.scanner.between(string.start, string.end);
                if !string.escaped {
                    let piece = Piece { text: raw, at: Some(string.start as u32), plain: true };
                    self.row.set_text(index, piece)?;
                } else if matches!(kind, ColumnKind::Text | ColumnKind::Base64) {
                    let span = append(&mut self.row.rewritten, |out| unescape(raw, out));
                    let text = &self.row.rewritten[span.start as usize..];
                    // A text of NULs only is empty.
                    let slot = if text.is_empty() {
                        Slot::Null
                    } else {
                        Slot::Text { span, plain: !needs_escapes(text.as_bytes()) }
                    };
                    self.row.set(index, Ok(slot))?;
                } else {
                    let text = self.unescaped(string);
                    self.row.set_text(index, Piece { text: &text, at: None, plain: false })?;
                }
            }
            b'n' => {
                self.scanner.word("null")?;
                self.row.set(index, Ok(Slot::Null))?;
            }
            b'{' | b'[' => {
                let mut wrong = None;
                let scanner = &mut self.scanner;
                let span = append(&mut self.row.rewritten, |out| wrong = scanner.write_canonical(out).err());
                if let Some(fault) = wrong {
                    return Err(fault.into());
                }
                // A field of unknown type is read as text, and it may be a structure.
                let slot = match kind {
                    ColumnKind::Json | ColumnKind::Text => Ok(Slot::Json(span)),
                    _ if self.row.columns.keeps_bad() => Ok(Slot::Bad(span)),
                    _ => Err(BadValue),
                };
                self.row.set(index, slot)?;
            }
            b't' => self.literal(index, "true")?,
            b'f' => self.literal(index, "false")?,
            _ => {
                let number = self.scanner.number()?;
                let at = (self.scanner.at - number.len()) as u32;
                let is_time = matches!(kind, ColumnKind::Date | ColumnKind::DateTime | ColumnKind::Time);
                if is_time && self.epoch_times {
                    let slot = int_of(number).and_then(|ms| slot_of_ms(kind, ms));
                    self.row.set(index, slot)?;
                } else {
                    self.row.set_text(index, Piece { text: number, at: Some(at), plain: true })?;
                }
            }
        }
        Ok(())
    }

    fn literal(&mut self, index: usize, word: &'static str) -> Result<(), Trouble> {
        let at = self.scanner.at as u32;
        self.scanner.word(word)?;
        Ok(self.row.set_text(index, Piece { text: word, at: Some(at), plain: true })?)
    }
}

fn first_column(level: &[Node]) -> Option<usize> {
    level.first().and_then(|node| match &node.target {
        Target::Column(index) => Some(*index),
        Target::Parent(children) => first_column(children),
    })
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
