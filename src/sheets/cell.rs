//! What a row of a sheet holds, whichever file it came from.
//!
//! Promises: a row's cells lie in buffers that every row uses again, so reading a row allocates nothing once the widest row
//! has been seen. Cells are people's data: their `Debug` tells the kind of a cell, never what is in it.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::number_format::iso_of_serial;

/// Which number format a cell has: see [`Rows::number_format`](super::Rows::number_format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FormatId(pub(super) u16);

impl FormatId {
    /// The format `General`, that of every cell without one.
    pub const GENERAL: Self = Self(0);
}

/// One cell. A formula is its cached value; of merged cells only the top left one holds something.
#[derive(Clone, Copy, PartialEq)]
pub enum CellView<'a> {
    /// Nothing, or a text without characters.
    Empty,
    /// Text as it stands, blanks around it included.
    Text(&'a str),
    /// A number; a date is one too, told by its format.
    Number {
        /// The number. A date counts from 1900, whichever year the workbook counts from.
        value: f64,
        /// Its digits as the file has them.
        written: &'a str,
        /// How the spreadsheet shows it.
        format: FormatId,
    },
    /// A truth value.
    Bool(bool),
    /// An error such as `#N/A`.
    Error(&'a str),
}

impl CellView<'_> {
    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl fmt::Debug for CellView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Text(_) => "Text",
            Self::Number { .. } => "Number",
            Self::Bool(_) => "Bool",
            Self::Error(_) => "Error",
        })
    }
}

/// A cell that outlives its row. Written as JSON it is what [`OwnedCell::shown`] tells, numbers and truth values as such.
#[derive(Clone, PartialEq)]
pub enum OwnedCell {
    /// Nothing.
    Empty,
    /// Text.
    Text(String),
    /// A number, or a date when its format is one.
    Number {
        /// The number.
        value: f64,
        /// Its digits as the file has them.
        written: String,
        /// The number format, such as `General` or `yyyy-mm-dd`.
        format: String,
    },
    /// A truth value.
    Bool(bool),
    /// An error such as `#N/A`.
    Error(String),
}

impl OwnedCell {
    /// The cell as text: a date as `2024-02-29` or `2024-02-29T10:00:00`, any other number by its digits.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Text(text) | Self::Error(text) => Cow::Borrowed(text),
            Self::Number { value, written, format } => match iso_of_serial(*value, format) {
                Some(date) => Cow::Owned(date),
                None => Cow::Borrowed(written),
            },
            Self::Bool(true) => Cow::Borrowed("TRUE"),
            Self::Bool(false) => Cow::Borrowed("FALSE"),
        }
    }

    /// The cell without its number format, as [`RowView::cell`] tells it.
    pub fn view(&self) -> CellView<'_> {
        match self {
            Self::Empty => CellView::Empty,
            Self::Text(text) => CellView::Text(text),
            Self::Number { value, written, .. } => {
                CellView::Number { value: *value, written, format: FormatId::GENERAL }
            }
            Self::Bool(value) => CellView::Bool(*value),
            Self::Error(code) => CellView::Error(code),
        }
    }
}

impl fmt::Debug for OwnedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl Serialize for OwnedCell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number { value, format, .. } if iso_of_serial(*value, format).is_none() => {
                serializer.serialize_f64(*value)
            }
            _ => serializer.serialize_str(&self.shown()),
        }
    }
}

/// One row.
#[derive(Clone, Copy)]
pub struct RowView<'a> {
    /// The row's number as a spreadsheet shows it: the first row of the file is 1.
    pub number: u64,
    pub(super) buffer: &'a RowBuffer,
}

impl<'a> RowView<'a> {
    /// The cell in a column; the first column is 0. Beyond the row's end cells are empty.
    pub fn cell(&self, column: usize) -> CellView<'a> {
        self.buffer.cell(column)
    }

    /// How many columns the row reaches; the last may be empty.
    pub fn len(&self) -> usize {
        self.buffer.slots.len()
    }

    /// No cell of the row holds anything but blanks.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_blank()
    }

    /// The cells from the first column to the last that the row reaches.
    pub fn cells(&self) -> impl Iterator<Item = CellView<'a>> + use<'a> {
        let buffer = self.buffer;
        (0..buffer.slots.len()).map(move |column| buffer.cell(column))
    }
}

impl fmt::Debug for RowView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowView").field("number", &self.number).field("len", &self.len()).finish()
    }
}

/// What a cell holds; its text is a range of the row's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot {
    Empty,
    Text { start: u32, end: u32 },
    Number { value: f64, start: u32, end: u32, format: FormatId },
    Bool(bool),
    Error { start: u32, end: u32 },
}

/// The cells of one row, filled anew for each.
#[derive(Default)]
pub(super) struct RowBuffer {
    pub(super) text: String,
    pub(super) slots: Vec<Slot>,
}

impl RowBuffer {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.slots.clear();
    }

    /// Nothing is in it but blanks.
    pub(super) fn is_blank(&self) -> bool {
        self.slots.iter().all(|slot| match slot {
            Slot::Empty => true,
            &Slot::Text { start, end } => self.text[start as usize..end as usize].trim().is_empty(),
            Slot::Number { .. } | Slot::Bool(_) | Slot::Error { .. } => false,
        })
    }

    /// Puts a slot into a column; columns between that were not named are empty.
    pub(super) fn put(&mut self, column: usize, slot: Slot) {
        if column >= self.slots.len() {
            self.slots.resize(column, Slot::Empty);
            self.slots.push(slot);
        } else {
            self.slots[column] = slot;
        }
    }

    fn cell(&self, column: usize) -> CellView<'_> {
        let text = |start: u32, end: u32| &self.text[start as usize..end as usize];
        match self.slots.get(column) {
            None | Some(Slot::Empty) => CellView::Empty,
            Some(&Slot::Text { start, end }) => CellView::Text(text(start, end)),
            Some(&Slot::Number { value, start, end, format }) => {
                CellView::Number { value, written: text(start, end), format }
            }
            Some(&Slot::Bool(value)) => CellView::Bool(value),
            Some(&Slot::Error { start, end }) => CellView::Error(text(start, end)),
        }
    }
}
