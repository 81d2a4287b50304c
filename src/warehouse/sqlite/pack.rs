//! Rows as bytes: the values as SQLite will keep them, one after the other.
//!
//! Promises: what is unpacked is what was packed; a number keeps every digit. What is done once, when a row is staged, need
//! not be done at the commit, which holds the write lock.
//!
//! | type | declared | kept as |
//! | --- | --- | --- |
//! | id, text, JSON | `TEXT` | text |
//! | boolean | `BOOLEAN` | 0 or 1 |
//! | whole number | `INTEGER` | integer |
//! | decimal without digits behind the point, up to 18 in all | `INTEGER` | integer |
//! | any other decimal | `REAL(p,s)` | real, or a BLOB of its digits |
//! | date, time, point in time | `TEXT` | `2026-01-02`, `03:04:05.000`, `2026-01-02T03:04:05.000Z` |
//!
//! A decimal number of up to 15 digits, wherever its point is, is told apart from all others of that length as a real of 64
//! bits, and comes back digit by digit. A longer one would not. It is kept as a BLOB of its text whatever the column was
//! declared as, since SQLite turns text in a column of numbers into a number and loses digits, but leaves a BLOB alone.
//! Whole columns of text, for a declared precision over 15, would compare `250` as greater than `1000`, and most fields for
//! money declare 18.

use rusqlite::types::ValueRef;

use crate::sync::ColumnType;
use crate::warehouse::chunk::{Cell, TextRoom, date, date_time, time};

/// Digits that a real of 64 bits keeps, whatever they are.
const REAL_DIGITS: usize = 15;

const NULL: u8 = 0;
const ZERO: u8 = 1;
const ONE: u8 = 2;
const INTEGER: u8 = 3;
const REAL: u8 = 4;
const TEXT: u8 = 5;
const BLOB: u8 = 6;

/// How a column of that type is declared.
pub(super) fn declared(kind: ColumnType) -> String {
    match kind {
        ColumnType::Id | ColumnType::Text | ColumnType::Json => "TEXT".to_owned(),
        ColumnType::Date | ColumnType::Time | ColumnType::DateTime => "TEXT".to_owned(),
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Int => "INTEGER".to_owned(),
        ColumnType::Decimal { precision, scale: 0 } if precision <= 18 => "INTEGER".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("REAL({precision},{scale})"),
    }
}

/// Whether a column that is declared so takes values of that type, also when it was declared for a narrower one.
pub(super) fn fits(declaration: &str, kind: ColumnType) -> bool {
    let declaration = declaration.to_ascii_uppercase();
    match kind {
        ColumnType::Decimal { .. } => declaration == "INTEGER" || declaration.starts_with("REAL"),
        _ => declaration == declared(kind),
    }
}

/// A decimal number as SQLite keeps it.
pub(super) fn number(text: &str, kind: ColumnType) -> ValueRef<'_> {
    let is_whole = !text.contains('.');
    let is_integer_column = matches!(kind, ColumnType::Decimal { precision, scale: 0 } if precision <= 18);
    if is_whole
        && (is_integer_column || kind == ColumnType::Int)
        && let Ok(value) = text.parse()
    {
        return ValueRef::Integer(value);
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    match text.parse() {
        Ok(value) if digits <= REAL_DIGITS => ValueRef::Real(value),
        _ => ValueRef::Blob(text.as_bytes()),
    }
}

/// Appends a cell of a column of that type.
pub(super) fn pack(cell: Cell<'_>, kind: ColumnType, out: &mut Vec<u8>) {
    let mut room = TextRoom::default();
    match cell {
        Cell::Null | Cell::Unreadable => out.push(NULL),
        Cell::Boolean(value) => out.push(if value { ONE } else { ZERO }),
        Cell::Int(value) => integer(value, out),
        Cell::Text(text) | Cell::Json(text) => bytes(TEXT, text.as_bytes(), out),
        Cell::Date(days) => bytes(TEXT, date(days, &mut room).as_bytes(), out),
        Cell::DateTime(epoch_ms) => bytes(TEXT, date_time(epoch_ms, &mut room).as_bytes(), out),
        Cell::Time(ms) => bytes(TEXT, time(ms, &mut room).as_bytes(), out),
        Cell::Decimal(text) => match number(text, kind) {
            ValueRef::Integer(value) => integer(value, out),
            ValueRef::Real(value) => {
                out.push(REAL);
                out.extend_from_slice(&value.to_le_bytes());
            }
            _ => bytes(BLOB, text.as_bytes(), out),
        },
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    match value {
        0 => out.push(ZERO),
        1 => out.push(ONE),
        _ => {
            out.push(INTEGER);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Values that were packed, in their order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unpack<'a> {
    rest: &'a [u8],
}

impl<'a> Unpack<'a> {
    /// Of some packed rows.
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed }
    }

    /// Fills `row` with the values of the next row; false past the last. `None` when the bytes are no rows.
    pub(super) fn row(&mut self, columns: usize, row: &mut Vec<ValueRef<'a>>) -> Option<bool> {
        row.clear();
        if self.rest.is_empty() {
            return Some(false);
        }
        for _ in 0..columns {
            row.push(self.value()?);
        }
        Some(true)
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match *tag {
            NULL => ValueRef::Null,
            ZERO => ValueRef::Integer(0),
            ONE => ValueRef::Integer(1),
            INTEGER => ValueRef::Integer(i64::from_le_bytes(self.array()?)),
            REAL => ValueRef::Real(f64::from_le_bytes(self.array()?)),
            TEXT => ValueRef::Text(self.bytes()?),
            BLOB => ValueRef::Blob(self.bytes()?),
            _ => return None,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}

/// Whether SQLite would find them the same, also when a column of reals has made a real of an integer or the other way.
pub(super) fn same(one: ValueRef<'_>, other: ValueRef<'_>) -> bool {
    match (one, other) {
        (ValueRef::Integer(whole), ValueRef::Real(real))
        | (ValueRef::Real(real), ValueRef::Integer(whole)) => whole as f64 == real && real as i64 == whole,
        _ => one == other,
    }
}

/// Whether a row with the stamp `new` may replace one with `old`: when it is not older, or nobody knows.
pub(super) fn is_not_older(new: ValueRef<'_>, old: ValueRef<'_>) -> bool {
    match (new, old) {
        (_, ValueRef::Null) => true,
        (ValueRef::Null, _) => false,
        // Stamps are texts of one length.
        (ValueRef::Text(new), ValueRef::Text(old)) => new >= old,
        (ValueRef::Integer(new), ValueRef::Integer(old)) => new >= old,
        // Somebody has written something else there.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const MONEY: ColumnType = ColumnType::Decimal { precision: 18, scale: 2 };

    #[rstest]
    #[case::short("12.5", ValueRef::Real(12.5))]
    #[case::fifteen("1234567890123.45", ValueRef::Real(1_234_567_890_123.45))]
    #[case::leading_zeros("0.000000000012345", ValueRef::Real(0.000_000_000_012_345))]
    #[case::sixteen("12345678901234.56", ValueRef::Blob(b"12345678901234.56"))]
    #[case::negative("-9999999999999999.99", ValueRef::Blob(b"-9999999999999999.99"))]
    #[case::long_whole("1234567890123456", ValueRef::Blob(b"1234567890123456"))]
    fn a_number_is_a_real_only_while_that_is_exact(#[case] text: &str, #[case] kept: ValueRef<'_>) {
        assert_eq!(number(text, MONEY), kept);
    }

    #[test]
    fn a_number_without_a_point_is_whole_where_the_column_is() {
        let whole = ColumnType::Decimal { precision: 18, scale: 0 };
        assert_eq!(number("999999999999999999", whole), ValueRef::Integer(999_999_999_999_999_999));
        // A formula may give more than its field declares.
        assert_eq!(number("2.5", whole), ValueRef::Real(2.5));
    }

    proptest! {
        #[test]
        fn no_digit_is_lost(digits in "-?[1-9][0-9]{0,20}(\\.[0-9]{0,17}[1-9])?") {
            let told = match number(&digits, MONEY) {
                ValueRef::Real(value) => value.to_string(),
                ValueRef::Blob(text) => String::from_utf8(text.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(told, digits);
        }

        #[test]
        fn what_is_unpacked_is_what_was_packed(values in proptest::collection::vec(any::<(i64, String, bool)>(), 0..20)) {
            let mut packed = Vec::new();
            for (whole, text, flag) in &values {
                pack(Cell::Int(*whole), ColumnType::Int, &mut packed);
                pack(Cell::Text(text), ColumnType::Text, &mut packed);
                pack(if *flag { Cell::Boolean(true) } else { Cell::Null }, ColumnType::Boolean, &mut packed);
            }
            let (mut unpack, mut row) = (Unpack::new(&packed), Vec::new());
            for (whole, text, flag) in &values {
                prop_assert_eq!(unpack.row(3, &mut row), Some(true));
                let flag = if *flag { ValueRef::Integer(1) } else { ValueRef::Null };
                prop_assert_eq!(&row, &[ValueRef::Integer(*whole), ValueRef::Text(text.as_bytes()), flag]);
            }
            prop_assert_eq!(unpack.row(3, &mut row), Some(false));
        }

        #[test]
        fn bytes_that_are_no_rows_are_told(packed in proptest::collection::vec(any::<u8>(), 0..64)) {
            let (mut unpack, mut row) = (Unpack::new(&packed), Vec::new());
            while unpack.row(2, &mut row) == Some(true) {}
        }
    }
}
