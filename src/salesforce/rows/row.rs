//! A row as it was read, and its one form as a JSON line.

use std::borrow::Cow;

use jiff::civil::Date;

use super::columns::Columns;

/// One value in its canonical form.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Null or empty, which the org does not tell apart.
    Null,
    /// Of a boolean column.
    Boolean(bool),
    /// Of a whole-number column.
    Int(i64),
    /// Exact and plain: no exponent, no needless zero, no `+`, no `-0`.
    Decimal(Cow<'a, str>),
    /// Text, id or base64; without NULs, never empty.
    Text(Cow<'a, str>),
    /// A day.
    Date(Date),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// Milliseconds since midnight, below 86,400,000.
    Time(u32),
    /// Compact JSON with sorted keys.
    Json(Cow<'a, str>),
}

/// A stretch of a row's source, or of what had to be rewritten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) rewritten: bool,
}

/// A value in a row that is being read: what a [`Cell`] is, without a borrow, so that slots are reused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot {
    /// Not read yet.
    Missing,
    Null,
    Boolean(bool),
    Int(i64),
    Decimal(Span),
    /// `plain`: known to hold nothing that JSON escapes.
    Text {
        span: Span,
        plain: bool,
    },
    Date(Date),
    DateTime(i64),
    Time(u32),
    Json(Span),
    /// None of its column's kind: as it came, or nothing where that does not say more.
    Bad(Span),
}

/// One row, borrowed from the bytes it was read from.
pub struct Row<'a> {
    pub(super) columns: &'a Columns,
    pub(super) slots: &'a [Slot],
    pub(super) source: &'a str,
    pub(super) rewritten: &'a str,
    pub(super) number: u64,
}

impl<'a> Row<'a> {
    /// The columns, in the order of the cells.
    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// The row's number, counted from 1 over all pages.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many cells there are: as many as columns.
    #[expect(clippy::len_without_is_empty, reason = "there is always a column")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The cell of a column, by its place in SELECT order; `None` past the last.
    pub fn cell(&self, index: usize) -> Option<Cell<'a>> {
        self.slots.get(index).map(|slot| self.cell_of(*slot))
    }

    /// The cells in the order of the columns.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'a>> {
        self.slots.iter().map(|slot| self.cell_of(*slot))
    }

    /// Places of the cells whose value is none of their column's kind, where the columns keep such rows
    /// ([`Columns::keeping_bad`]). The cell itself is null; a JSON line has the value as it came, as text.
    pub fn bad(&self) -> impl Iterator<Item = usize> + 'a {
        self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Bad(_))).map(|(index, _)| index)
    }

    /// Whether [`Self::bad`] has something to tell: one look that costs nothing where such rows are not kept.
    pub fn has_bad(&self) -> bool {
        self.columns.keeps_bad() && self.bad().next().is_some()
    }

    /// Appends the row in its one canonical form, with the line end:
    /// `{"Id":"00Q5g00000AbCdEEAV","AnnualRevenue":125000,"Owner.Name":null}`.
    pub fn write_json_line(&self, out: &mut Vec<u8>) {
        for (slot, prefix) in self.slots.iter().zip(self.columns.prefixes()) {
            out.extend_from_slice(prefix);
            match *slot {
                Slot::Missing | Slot::Null => out.extend_from_slice(b"null"),
                Slot::Bad(span) => write_json_text(self.text(span), out),
                Slot::Boolean(true) => out.extend_from_slice(b"true"),
                Slot::Boolean(false) => out.extend_from_slice(b"false"),
                Slot::Int(number) => write_int(number, out),
                Slot::Decimal(span) | Slot::Json(span) => out.extend_from_slice(self.text(span).as_bytes()),
                Slot::Text { span, plain: true } => {
                    out.push(b'"');
                    out.extend_from_slice(self.text(span).as_bytes());
                    out.push(b'"');
                }
                Slot::Text { span, plain: false } => write_json_text(self.text(span), out),
                Slot::Date(date) => {
                    let mut text = *b"\"0000-00-00\"";
                    put_date(date, &mut text[1..11]);
                    out.extend_from_slice(&text);
                }
                Slot::DateTime(epoch_ms) => {
                    let mut text = *b"\"0000-00-00T00:00:00.000Z\"";
                    put_date_time(epoch_ms, &mut text[1..25]);
                    out.extend_from_slice(&text);
                }
                Slot::Time(ms) => {
                    let mut text = *b"\"00:00:00.000Z\"";
                    put_time(ms, &mut text[1..14]);
                    out.extend_from_slice(&text);
                }
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn text(&self, span: Span) -> &'a str {
        let whole = if span.rewritten { self.rewritten } else { self.source };
        &whole[span.start as usize..span.end as usize]
    }

    fn cell_of(&self, slot: Slot) -> Cell<'a> {
        match slot {
            Slot::Missing | Slot::Null | Slot::Bad(_) => Cell::Null,
            Slot::Boolean(value) => Cell::Boolean(value),
            Slot::Int(number) => Cell::Int(number),
            Slot::Decimal(span) => Cell::Decimal(Cow::Borrowed(self.text(span))),
            Slot::Text { span, .. } => Cell::Text(Cow::Borrowed(self.text(span))),
            Slot::Date(date) => Cell::Date(date),
            Slot::DateTime(epoch_ms) => Cell::DateTime(epoch_ms),
            Slot::Time(ms) => Cell::Time(ms),
            Slot::Json(span) => Cell::Json(Cow::Borrowed(self.text(span))),
        }
    }
}

/// Rows are customer data: a print shows their size only.
impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("number", &self.number).field("cells", &self.slots.len()).finish()
    }
}

/// Writes text as a JSON string: escaped is what must be, everything else stays as it is.
pub(super) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if needs_escapes(text.as_bytes()) {
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => *b"\\\"",
                b'\\' => *b"\\\\",
                b'\n' => *b"\\n",
                b'\r' => *b"\\r",
                b'\t' => *b"\\t",
                8 => *b"\\b",
                12 => *b"\\f",
                0..0x20 => *b"\\u",
                _ => continue,
            };
            out.extend_from_slice(&text.as_bytes()[written..at]);
            out.extend_from_slice(&escape);
            if escape[1] == b'u' {
                let digits = b"0123456789abcdef";
                let hex = [b'0', b'0', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
                out.extend_from_slice(&hex);
            }
            written = at + 1;
        }
        out.extend_from_slice(&text.as_bytes()[written..]);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

/// Whether JSON escapes a byte of `text`. Without an early end inside 16 bytes, so that the compiler
/// compares them at once.
pub(super) fn needs_escapes(text: &[u8]) -> bool {
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let (blocks, rest) = text.as_chunks::<16>();
    blocks.iter().any(|block| block.iter().fold(false, |found, byte| found | special(*byte)))
        || rest.iter().any(|byte| special(*byte))
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_two(number: u32, out: &mut [u8]) {
    out[0] = b'0' + (number / 10) as u8;
    out[1] = b'0' + (number % 10) as u8;
}

fn put_year_month_day(year: u32, month: u32, day: u32, out: &mut [u8]) {
    put_two(year / 100, &mut out[0..2]);
    put_two(year % 100, &mut out[2..4]);
    put_two(month, &mut out[5..7]);
    put_two(day, &mut out[8..10]);
}

fn put_date(date: Date, out: &mut [u8]) {
    let year = u32::from(date.year().unsigned_abs());
    put_year_month_day(
        year,
        u32::from(date.month().unsigned_abs()),
        u32::from(date.day().unsigned_abs()),
        out,
    );
}

fn put_time(ms_of_day: u32, out: &mut [u8]) {
    let seconds = ms_of_day / 1000;
    let ms = ms_of_day % 1000;
    put_two(seconds / 3600, &mut out[0..2]);
    put_two(seconds / 60 % 60, &mut out[3..5]);
    put_two(seconds % 60, &mut out[6..8]);
    out[9] = b'0' + (ms / 100) as u8;
    put_two(ms % 100, &mut out[10..12]);
}

fn put_date_time(epoch_ms: i64, out: &mut [u8]) {
    let (days, ms) = (epoch_ms.div_euclid(DAY_MS), epoch_ms.rem_euclid(DAY_MS));
    let (year, month, day) = year_month_day(days);
    put_year_month_day(year, month, day, &mut out[0..10]);
    put_time(ms as u32, &mut out[11..23]);
}

pub(super) const DAY_MS: i64 = 86_400_000;

/// The calendar day of a count of days since 1970-01-01, for years 0 to 9999. Years are counted from
/// March, so that the leap day ends one.
pub(super) fn year_month_day(days: i64) -> (u32, u32, u32) {
    let from_march_0 = (days + 719_468) as u32;
    let era = from_march_0 / 146_097;
    let of_era = from_march_0 % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

/// The count of days since 1970-01-01 of a calendar day, for years 1 to 9999.
pub(super) fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    i64::from(year / 400 * 146_097 + of_era) - 719_468
}

/// The count of days since 1970-01-01 of a day that a [`Cell`] holds.
pub fn epoch_days(date: Date) -> i32 {
    let (year, month, day) =
        (date.year().unsigned_abs(), date.month().unsigned_abs(), date.day().unsigned_abs());
    // Cells hold years 1 to 9999, whose days fit many times over.
    days_since_epoch(u32::from(year), u32::from(month), u32::from(day)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_goes_there_and_back() {
        let (first, last) = (days_since_epoch(1, 1, 1), days_since_epoch(9999, 12, 31));
        assert_eq!((first, last), (-719_162, 2_932_896));
        let mut expected = Date::new(1, 1, 1).unwrap();
        for days in first..=last {
            let (year, month, day) = year_month_day(days);
            assert_eq!(days_since_epoch(year, month, day), days);
            let found = (year as i16, month as i8, day as i8);
            assert_eq!(found, (expected.year(), expected.month(), expected.day()));
            assert_eq!(i64::from(epoch_days(expected)), days);
            if days < last {
                expected = expected.tomorrow().unwrap();
            }
        }
    }

    #[test]
    fn whole_numbers_are_written_to_the_last_digit() {
        for number in [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_int(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn text_is_escaped_as_serde_json_does() {
        let every: String =
            (0..0x300).filter_map(char::from_u32).chain("𝄞\u{2028}\u{feff}".chars()).collect();
        for text in [every.as_str(), "", "plain", "a\"b\\c\nd", "exactly sixteen.\"", "fifteen letters\\"] {
            let mut out = Vec::new();
            write_json_text(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(text).unwrap());
        }
    }
}
