//! Rows in memory on their way into a warehouse: all cells of some thousand rows in two buffers.
//!
//! Promises: no allocation for a row or a cell; a row is whole or not there; texts of numbers, days and times are told in one
//! form for every engine (`2026-01-02T03:04:05.000Z`).

use std::fmt;

/// One value, borrowed from its chunk.
#[derive(Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Null, which is also what empty text is to the org.
    Null,
    /// Of a boolean column.
    Boolean(bool),
    /// Of a whole-number column.
    Int(i64),
    /// Exact and plain: no exponent, no needless zero, no `+`, no `-0`.
    Decimal(&'a str),
    /// Text or id; without NULs, never empty.
    Text(&'a str),
    /// Days since 1970-01-01.
    Date(i32),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// Milliseconds since midnight, below 86,400,000.
    Time(u32),
    /// Compact JSON with sorted keys.
    Json(&'a str),
    /// Of a query: a value that is no text, or bytes. Rows of the org never have it, and to a table it is null.
    Unreadable,
}

/// Values are people's data: a print shows their kind only.
impl fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Boolean(_) => "Boolean",
            Self::Int(_) => "Int",
            Self::Decimal(_) => "Decimal",
            Self::Text(_) => "Text",
            Self::Date(_) => "Date",
            Self::DateTime(_) => "DateTime",
            Self::Time(_) => "Time",
            Self::Json(_) => "Json",
            Self::Unreadable => "Unreadable",
        })
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Null,
    Boolean(bool),
    Int(i64),
    Date(i32),
    DateTime(i64),
    Time(u32),
    Decimal(Span),
    Text(Span),
    Json(Span),
    Unreadable,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

/// Rows of one layout.
#[derive(Clone)]
pub struct RowChunk {
    columns: usize,
    slots: Vec<Slot>,
    text: String,
}

impl fmt::Debug for RowChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowChunk").field("rows", &self.rows()).field("columns", &self.columns).finish()
    }
}

/// One row of a chunk.
#[derive(Clone, Copy)]
pub struct ChunkRow<'a> {
    slots: &'a [Slot],
    text: &'a str,
}

impl RowChunk {
    /// An empty chunk for rows of `columns` cells, which is never 0.
    pub fn new(columns: usize) -> Self {
        Self { columns: columns.max(1), slots: Vec::new(), text: String::new() }
    }

    /// As [`Self::new`], with room for so many rows and bytes of text.
    pub fn with_room(columns: usize, rows: usize, text_bytes: usize) -> Self {
        let columns = columns.max(1);
        let slots = Vec::with_capacity(columns.saturating_mul(rows));
        Self { columns, slots, text: String::with_capacity(text_bytes) }
    }

    /// Cells of each row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows that are whole.
    pub fn rows(&self) -> usize {
        self.slots.len() / self.columns
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.text.len()
    }

    /// Adds a row of exactly [`Self::columns`] cells. Texts of a chunk add up to less than 4 GiB.
    ///
    /// # Panics
    /// When there are more or fewer cells: a mistake of the caller, not of the data.
    pub fn push<'c>(&mut self, cells: impl IntoIterator<Item = Cell<'c>>) {
        let before = self.slots.len();
        for cell in cells {
            let slot = match cell {
                Cell::Null => Slot::Null,
                Cell::Boolean(value) => Slot::Boolean(value),
                Cell::Int(value) => Slot::Int(value),
                Cell::Date(value) => Slot::Date(value),
                Cell::DateTime(value) => Slot::DateTime(value),
                Cell::Time(value) => Slot::Time(value),
                Cell::Decimal(text) => Slot::Decimal(self.keep(text)),
                Cell::Text(text) => Slot::Text(self.keep(text)),
                Cell::Json(text) => Slot::Json(self.keep(text)),
                Cell::Unreadable => Slot::Unreadable,
            };
            self.slots.push(slot);
        }
        assert_eq!(
            self.slots.len() - before,
            self.columns,
            "a row has as many cells as its chunk has columns"
        );
    }

    fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, length: text.len() as u32 }
    }

    /// A row by its place.
    pub fn row(&self, index: usize) -> Option<ChunkRow<'_>> {
        let slots = self.slots.get(index * self.columns..(index + 1) * self.columns)?;
        Some(ChunkRow { slots, text: &self.text })
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ChunkRow<'_>> {
        self.slots.chunks_exact(self.columns).map(|slots| ChunkRow { slots, text: &self.text })
    }

    /// Takes every row out and keeps the room.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.text.clear();
    }
}

impl<'a> ChunkRow<'a> {
    /// The cell of a column; null past the last.
    pub fn cell(&self, column: usize) -> Cell<'a> {
        self.slots.get(column).map_or(Cell::Null, |slot| self.cell_of(*slot))
    }

    /// The cells in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'a>> {
        let row = *self;
        self.slots.iter().map(move |slot| row.cell_of(*slot))
    }

    fn cell_of(&self, slot: Slot) -> Cell<'a> {
        let text = |span: Span| &self.text[span.start as usize..(span.start + span.length) as usize];
        match slot {
            Slot::Null => Cell::Null,
            Slot::Boolean(value) => Cell::Boolean(value),
            Slot::Int(value) => Cell::Int(value),
            Slot::Date(value) => Cell::Date(value),
            Slot::DateTime(value) => Cell::DateTime(value),
            Slot::Time(value) => Cell::Time(value),
            Slot::Decimal(span) => Cell::Decimal(text(span)),
            Slot::Text(span) => Cell::Text(text(span)),
            Slot::Json(span) => Cell::Json(text(span)),
            Slot::Unreadable => Cell::Unreadable,
        }
    }
}

/// Room for the longest text of [`date`], [`date_time`] and [`time`].
pub type TextRoom = [u8; 32];

/// `2026-01-02`, written into `room`.
pub fn date(days: i32, room: &mut TextRoom) -> &str {
    let end = put_date(days, room);
    as_text(&room[..end])
}

/// `2026-01-02T03:04:05.000Z`, written into `room`.
pub fn date_time(epoch_ms: i64, room: &mut TextRoom) -> &str {
    const DAY: i64 = 86_400_000;
    let mut end = put_date(epoch_ms.div_euclid(DAY) as i32, room);
    room[end] = b'T';
    end = put_time(epoch_ms.rem_euclid(DAY) as u32, room, end + 1);
    room[end] = b'Z';
    as_text(&room[..=end])
}

/// `03:04:05.000`, written into `room`.
pub fn time(ms: u32, room: &mut TextRoom) -> &str {
    let end = put_time(ms, room, 0);
    as_text(&room[..end])
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Days to year, month and day by counting in eras of 400 years, which all have 146,097 days.
fn put_date(days: i32, room: &mut TextRoom) -> usize {
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = (year_of_era + era * 400 + i64::from(month <= 2)).clamp(0, 9_999);
    put_digits(year as u32, 4, room, 0);
    room[4] = b'-';
    put_digits(month as u32, 2, room, 5);
    room[7] = b'-';
    put_digits(day as u32, 2, room, 8);
    10
}

fn put_time(ms: u32, room: &mut TextRoom, at: usize) -> usize {
    put_digits(ms / 3_600_000, 2, room, at);
    room[at + 2] = b':';
    put_digits(ms / 60_000 % 60, 2, room, at + 3);
    room[at + 5] = b':';
    put_digits(ms / 1_000 % 60, 2, room, at + 6);
    room[at + 8] = b'.';
    put_digits(ms % 1_000, 3, room, at + 9);
    at + 12
}

fn put_digits(mut value: u32, digits: usize, room: &mut TextRoom, at: usize) {
    for place in (at..at + digits).rev() {
        room[place] = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let cells = [
            Cell::Null,
            Cell::Boolean(true),
            Cell::Int(-7),
            Cell::Decimal("12.50"),
            Cell::Text("Zoë, \"A\"\n"),
            Cell::Date(20_454),
            Cell::DateTime(1_767_323_045_000),
            Cell::Time(86_399_999),
            Cell::Json("{}"),
        ];
        let mut chunk = RowChunk::new(cells.len());
        chunk.push(cells);
        chunk.push([Cell::Null; 9]);
        assert_eq!(chunk.rows(), 2);
        assert!(chunk.row(0).unwrap().cells().eq(cells));
        assert!(chunk.iter().nth(1).unwrap().cells().all(|cell| cell == Cell::Null));
        assert!(chunk.row(2).is_none());
    }

    #[test]
    fn a_print_shows_no_value() {
        let mut chunk = RowChunk::new(1);
        chunk.push([Cell::Text("Ada")]);
        assert_eq!(
            format!("{chunk:?}{:?}", chunk.row(0).unwrap().cell(0)),
            "RowChunk { rows: 1, columns: 1 }Text"
        );
    }

    proptest! {
        #[test]
        fn times_are_told_as_the_calendar_has_them(epoch_ms in -62_135_596_800_000i64..253_402_300_800_000) {
            let stamp = jiff::Timestamp::from_millisecond(epoch_ms).unwrap();
            let expected = stamp.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            let mut room = TextRoom::default();
            let text = date_time(epoch_ms, &mut room).to_owned();
            prop_assert_eq!(text, format!("{expected}.{:03}Z", epoch_ms.rem_euclid(1_000)));
        }
    }
}
