//! The rows of one worksheet, as its XML is unpacked.
//!
//! Promises: one row in memory at a time. Neither the sheet's own word on its size (`dimension`) nor references on rows and
//! cells are needed; where they are, they are obeyed. A formula is its cached value, and empty without one.

use quick_xml::events::{BytesStart, Event};

use super::part::{Xml, resolve_escapes};
use super::strings::SharedStrings;
use super::styles::Styles;
use crate::sheets::cell::{FormatId, RowBuffer, Slot};
use crate::sheets::error::SheetError;
use crate::sheets::number_format::serial_of_iso;
use crate::sheets::{LONGEST_ROW, MOST_COLUMNS, MOST_ROWS};

/// Widths of columns kept. More of them than columns makes no sense.
const MOST_WIDTHS: usize = MOST_COLUMNS;

/// A pass over a worksheet.
pub(in crate::sheets) struct XlsxRows<'a> {
    xml: Xml<'a>,
    strings: &'a mut SharedStrings,
    styles: &'a Styles,
    widths: Vec<Width>,
    /// The number of the last row told.
    last: u64,
    ended: bool,
}

struct Width {
    /// Columns from here to there have it; the first is 0.
    columns: std::ops::RangeInclusive<usize>,
    characters: f64,
}

/// What a cell's value is, as its type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Shared,
    Text,
    Inline,
    Bool,
    Error,
    Date,
}

/// A cell's attributes.
struct Head {
    /// Its column, where it says one.
    column: Option<usize>,
    style: usize,
    kind: Type,
}

/// What the next piece of a row is.
enum Next {
    Cell(Head),
    BlankCell(Head),
    Value,
    Inline,
    Other,
    End,
    Nothing,
}

impl<'a> XlsxRows<'a> {
    /// Reads up to the first row.
    pub(super) fn start(
        xml: Xml<'a>,
        strings: &'a mut SharedStrings,
        styles: &'a Styles,
    ) -> Result<Self, SheetError> {
        let mut rows = Self { xml, strings, styles, widths: Vec::new(), last: 0, ended: false };
        loop {
            match rows.xml.next()? {
                Event::Start(start) if start.local_name().as_ref() == "sheetData" => return Ok(rows),
                Event::Empty(empty) if empty.local_name().as_ref() == "sheetData" => break,
                Event::Empty(empty) | Event::Start(empty) if empty.local_name().as_ref() == "col" => {
                    if let Some(width) = width_of(&empty)
                        && rows.widths.len() < MOST_WIDTHS
                    {
                        rows.widths.push(width);
                    }
                }
                Event::Eof => {
                    return Err(SheetError::damaged(rows.xml.part(), "it has no rows (`sheetData`)"));
                }
                _ => {}
            }
        }
        rows.ended = true;
        Ok(rows)
    }

    pub(in crate::sheets) fn number_formats(&self) -> &[String] {
        self.styles.codes()
    }

    pub(in crate::sheets) fn column_width(&self, column: usize) -> Option<f64> {
        self.widths.iter().find(|width| width.columns.contains(&column)).map(|width| width.characters)
    }

    /// Reads the next row that holds anything, and tells its number.
    pub(in crate::sheets) fn read(&mut self, row: &mut RowBuffer) -> Result<Option<u64>, SheetError> {
        while !self.ended {
            let (number, has_cells) = match self.xml.next()? {
                Event::Start(start) if start.local_name().as_ref() == "row" => (row_number(&start), true),
                Event::Empty(start) if start.local_name().as_ref() == "row" => (row_number(&start), false),
                Event::Start(_) => {
                    self.xml.skip()?;
                    continue;
                }
                // Within the rows nothing else can end.
                Event::End(_) | Event::Eof => {
                    self.ended = true;
                    break;
                }
                _ => continue,
            };
            self.last = self.checked_number(number)?;
            if has_cells {
                row.clear();
                self.read_cells(row)?;
                if !row.is_blank() {
                    return Ok(Some(self.last));
                }
            }
        }
        Ok(None)
    }

    /// The number of a row that says so itself, or of one that follows the last.
    fn checked_number(&self, written: Option<u64>) -> Result<u64, SheetError> {
        let number = written.unwrap_or(self.last + 1);
        let why = if number <= self.last {
            format!("row {number} comes after row {}", self.last)
        } else if number > MOST_ROWS {
            format!("it has a row {number}, a sheet has {MOST_ROWS} at most")
        } else {
            return Ok(number);
        };
        Err(SheetError::damaged(self.xml.part(), why))
    }

    /// Reads the cells of the row whose start was told last.
    fn read_cells(&mut self, row: &mut RowBuffer) -> Result<(), SheetError> {
        let mut next_column = 0;
        loop {
            let next = match self.xml.next()? {
                Event::Start(start) if start.local_name().as_ref() == "c" => Next::Cell(cell_head(&start)),
                Event::Empty(start) if start.local_name().as_ref() == "c" => {
                    Next::BlankCell(cell_head(&start))
                }
                Event::Start(_) => Next::Other,
                Event::End(_) => Next::End,
                _ => Next::Nothing,
            };
            let (head, has_value) = match next {
                Next::Cell(head) => (head, true),
                Next::BlankCell(head) => (head, false),
                Next::Other => {
                    self.xml.skip()?;
                    continue;
                }
                Next::End => return Ok(()),
                Next::Value | Next::Inline | Next::Nothing => continue,
            };
            let column = head.column.unwrap_or(next_column);
            if column >= MOST_COLUMNS {
                let why = format!("row {} has more than {MOST_COLUMNS} columns", self.last);
                return Err(SheetError::damaged(self.xml.part(), why));
            }
            next_column = column + 1;
            if has_value {
                let slot = self.read_value(&head, column, &mut row.text)?;
                if slot != Slot::Empty {
                    row.put(column, slot);
                }
            }
            if row.text.len() > LONGEST_ROW {
                return Err(SheetError::TooLong { row: self.last, what: "the row", limit: LONGEST_ROW });
            }
        }
    }

    /// Reads what is in the cell whose start was told last; its text goes behind that of the row's other cells.
    fn read_value(&mut self, head: &Head, column: usize, text: &mut String) -> Result<Slot, SheetError> {
        let begin = text.len();
        loop {
            let next = match self.xml.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "v" => Next::Value,
                    "is" => Next::Inline,
                    _ => Next::Other,
                },
                Event::End(_) => Next::End,
                _ => Next::Nothing,
            };
            match next {
                Next::Value => {
                    // The last value counts, should there be two.
                    text.truncate(begin);
                    self.xml.text(text)?;
                }
                Next::Inline => {
                    text.truncate(begin);
                    self.xml.rich_text(text)?;
                }
                // A formula: what it gave is its value.
                Next::Other => self.xml.skip()?,
                Next::End => break,
                Next::Cell(_) | Next::BlankCell(_) | Next::Nothing => {}
            }
        }
        self.slot_of(head, column, text, begin)
    }

    /// Makes a cell of its text.
    fn slot_of(
        &mut self,
        head: &Head,
        column: usize,
        text: &mut String,
        begin: usize,
    ) -> Result<Slot, SheetError> {
        let kind = head.kind;
        match kind {
            Type::Shared => {
                let Some(index) = index_of(&text[begin..]) else { return Ok(Slot::Empty) };
                text.truncate(begin);
                if !self.strings.append(index, text)? {
                    let count = self.strings.count();
                    let place = format!("{}{}", crate::sheets::rows::column_letters(column), self.last);
                    let why = format!("cell {place} points to shared text {index} of {count}");
                    return Err(SheetError::damaged(self.xml.part(), why));
                }
            }
            Type::Text | Type::Inline => resolve_escapes(text, begin),
            Type::Number | Type::Bool | Type::Error | Type::Date => {}
        }
        if text.len() == begin {
            return Ok(Slot::Empty);
        }
        let (start, end) = (begin as u32, text.len() as u32);
        Ok(match kind {
            Type::Shared | Type::Text | Type::Inline => Slot::Text { start, end },
            Type::Error => Slot::Error { start, end },
            Type::Bool => match text[begin..].trim() {
                "1" | "true" => Slot::Bool(true),
                "0" | "false" => Slot::Bool(false),
                _ => Slot::Text { start, end },
            },
            Type::Number => self.number(text, begin, self.styles.format_of(head.style)),
            Type::Date => match serial_of_iso(text[begin..].trim()) {
                Some((value, has_time)) => {
                    let format = self.styles.format_of_date(head.style, has_time);
                    text.truncate(begin);
                    write_number(text, value);
                    Slot::Number { value, start, end: text.len() as u32, format }
                }
                None => Slot::Text { start, end },
            },
        })
    }

    /// A number. What is none, although it says that it is, stays text.
    fn number(&self, text: &mut String, begin: usize, format: FormatId) -> Slot {
        let written = &text[begin..];
        let (start, mut end) = (begin as u32, text.len() as u32);
        let Some(mut value) = written.trim().parse::<f64>().ok().filter(|value| value.is_finite()) else {
            return if written.trim().is_empty() { Slot::Empty } else { Slot::Text { start, end } };
        };
        if let Some(moved) = self.styles.moved_date(value, format) {
            value = moved;
            text.truncate(begin);
            write_number(text, value);
            end = text.len() as u32;
        }
        Slot::Number { value, start, end, format }
    }
}

/// Appends the shortest digits that tell a number.
fn write_number(text: &mut String, value: f64) {
    use std::fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(text, "{value}");
}

/// The index that a cell of shared text holds.
fn index_of(text: &str) -> Option<usize> {
    let text = text.trim();
    // One that is no index points nowhere, which is told with the others that do.
    (!text.is_empty()).then(|| text.parse().unwrap_or(usize::MAX))
}

fn row_number(start: &BytesStart<'_>) -> Option<u64> {
    attributes(start).find(|(name, _)| *name == "r").and_then(|(_, value)| value.trim().parse().ok())
}

fn cell_head(start: &BytesStart<'_>) -> Head {
    let mut head = Head { column: None, style: 0, kind: Type::Number };
    for (name, value) in attributes(start) {
        match name {
            "r" => head.column = column_of(value),
            "s" => head.style = value.parse().unwrap_or_default(),
            "t" => {
                head.kind = match value {
                    "s" => Type::Shared,
                    "str" => Type::Text,
                    "inlineStr" => Type::Inline,
                    "b" => Type::Bool,
                    "e" => Type::Error,
                    "d" => Type::Date,
                    _ => Type::Number,
                }
            }
            _ => {}
        }
    }
    head
}

/// Attributes and their values as they stand: those of rows and cells hold nothing that would have to be unescaped.
fn attributes<'a>(start: &'a BytesStart<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut rest = start.attributes_raw();
    std::iter::from_fn(move || {
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|&quote| quote == '"' || quote == '\'')?;
        let (value, behind) = behind[1..].split_once(quote)?;
        rest = behind;
        Some((name.trim(), value))
    })
}

/// The column of a reference such as `AB12`; `None` when it is none.
fn column_of(reference: &str) -> Option<usize> {
    let mut column = 0_usize;
    let mut letters = 0;
    for byte in reference.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' => {
                let digit = usize::from(byte.to_ascii_uppercase() - b'A') + 1;
                column = column.saturating_mul(26).saturating_add(digit);
                letters += 1;
            }
            b'$' => {}
            _ => break,
        }
    }
    (letters > 0).then(|| column - 1)
}

fn width_of(start: &BytesStart<'_>) -> Option<Width> {
    let (mut first, mut last, mut characters) = (None, None, None);
    for (name, value) in attributes(start) {
        match name {
            "min" => first = value.parse::<usize>().ok(),
            "max" => last = value.parse::<usize>().ok(),
            "width" => characters = value.parse::<f64>().ok().filter(|width| (0.0..=255.0).contains(width)),
            _ => {}
        }
    }
    let columns = first?.checked_sub(1)?..=last?.checked_sub(1)?;
    Some(Width { columns, characters: characters? })
}
