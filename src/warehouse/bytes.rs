//! Rows of a chunk as bytes, and back.
//!
//! Promises: what is read is what was written, cell for cell; bytes that were never written here are told as such and never
//! more than that. Each cell is a tag and what it needs: a null one byte, a text its length and itself.

use super::{Cell, ChunkRow, RowChunk};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const DECIMAL: u8 = 4;
const TEXT: u8 = 5;
const DATE: u8 = 6;
const DATE_TIME: u8 = 7;
const TIME: u8 = 8;
const JSON: u8 = 9;

/// Writes a row behind what is there.
pub(super) fn put_row(row: ChunkRow<'_>, into: &mut Vec<u8>) {
    for cell in row.cells() {
        match cell {
            Cell::Null | Cell::Unreadable => into.push(NULL),
            Cell::Boolean(value) => into.push(if value { TRUE } else { FALSE }),
            Cell::Int(value) => put(INT, &value.to_le_bytes(), into),
            Cell::Decimal(text) => put_text(DECIMAL, text, into),
            Cell::Text(text) => put_text(TEXT, text, into),
            Cell::Date(days) => put(DATE, &days.to_le_bytes(), into),
            Cell::DateTime(ms) => put(DATE_TIME, &ms.to_le_bytes(), into),
            Cell::Time(ms) => put(TIME, &ms.to_le_bytes(), into),
            Cell::Json(text) => put_text(JSON, text, into),
        }
    }
}

fn put(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(tag);
    into.extend_from_slice(bytes);
}

/// The length in groups of seven bits, the lowest first.
fn put_text(tag: u8, text: &str, into: &mut Vec<u8>) {
    into.push(tag);
    let mut length = text.len();
    while length >= 0x80 {
        into.push(length as u8 | 0x80);
        length >>= 7;
    }
    into.push(length as u8);
    into.extend_from_slice(text.as_bytes());
}

/// Adds the rows in `bytes` to a chunk of as many columns; how many. `None`: they are none of [`put_row`]'s.
pub(super) fn take_rows(bytes: &[u8], into: &mut RowChunk) -> Option<u64> {
    let (mut rest, mut rows) = (bytes, 0);
    let mut row = Vec::with_capacity(into.columns());
    while !rest.is_empty() {
        row.clear();
        for _ in 0..into.columns() {
            row.push(take_cell(&mut rest)?);
        }
        into.push(row.iter().copied());
        rows += 1;
    }
    Some(rows)
}

#[inline]
fn take_cell<'b>(rest: &mut &'b [u8]) -> Option<Cell<'b>> {
    let (tag, behind) = rest.split_first()?;
    *rest = behind;
    Some(match *tag {
        NULL => Cell::Null,
        FALSE => Cell::Boolean(false),
        TRUE => Cell::Boolean(true),
        INT => Cell::Int(i64::from_le_bytes(take(rest)?)),
        DECIMAL => Cell::Decimal(take_text(rest)?),
        TEXT => Cell::Text(take_text(rest)?),
        DATE => Cell::Date(i32::from_le_bytes(take(rest)?)),
        DATE_TIME => Cell::DateTime(i64::from_le_bytes(take(rest)?)),
        TIME => Cell::Time(u32::from_le_bytes(take(rest)?)),
        JSON => Cell::Json(take_text(rest)?),
        _ => return None,
    })
}

#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

#[inline]
fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let [byte] = take::<1>(rest)?;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            break;
        }
        shift += 7;
        // Texts of a chunk add up to less than 4 GiB.
        if shift > 28 {
            return None;
        }
    }
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A cell that owns its text.
    #[derive(Debug, Clone)]
    enum Own {
        Plain(Cell<'static>),
        Text(u8, String),
    }

    impl Own {
        fn cell(&self) -> Cell<'_> {
            match self {
                Self::Plain(cell) => *cell,
                Self::Text(0, text) => Cell::Text(text),
                Self::Text(1, text) => Cell::Decimal(text),
                Self::Text(_, text) => Cell::Json(text),
            }
        }
    }

    fn cells() -> impl Strategy<Value = Own> {
        prop_oneof![
            Just(Own::Plain(Cell::Null)),
            any::<bool>().prop_map(|value| Own::Plain(Cell::Boolean(value))),
            any::<i64>().prop_map(|value| Own::Plain(Cell::Int(value))),
            any::<i32>().prop_map(|value| Own::Plain(Cell::Date(value))),
            any::<i64>().prop_map(|value| Own::Plain(Cell::DateTime(value))),
            any::<u32>().prop_map(|value| Own::Plain(Cell::Time(value))),
            (0u8..3, ".{0,300}").prop_map(|(kind, text)| Own::Text(kind, text)),
        ]
    }

    proptest! {
        #[test]
        fn rows_read_back_and_cut_ones_do_not(
            rows in prop::collection::vec(prop::collection::vec(cells(), 3), 0..20), cut: prop::sample::Index,
        ) {
            let mut chunk = RowChunk::new(3);
            rows.iter().for_each(|row| chunk.push(row.iter().map(Own::cell)));
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for row in chunk.iter() {
                put_row(row, &mut bytes);
                ends.push(bytes.len());
            }
            let mut read = RowChunk::new(3);
            prop_assert_eq!(take_rows(&bytes, &mut read), Some(rows.len() as u64));
            prop_assert!(chunk.iter().zip(read.iter()).all(|(one, other)| one.cells().eq(other.cells())));
            let cut = cut.index(bytes.len() + 1);
            let is_whole = ends.contains(&cut);
            prop_assert_eq!(take_rows(&bytes[..cut], &mut RowChunk::new(3)).is_some(), is_whole);
        }

        #[test]
        fn bytes_of_somebody_else_do_no_harm(bytes: Vec<u8>) {
            take_rows(&bytes, &mut RowChunk::new(2));
        }
    }
}
