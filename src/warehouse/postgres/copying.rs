//! Rows on their way into COPY.
//!
//! Promises: a cell is written straight into the buffer that is sent, without an allocation of its own; the memory in use
//! does not grow with the rows.

use std::fs::File;
use std::io::{BufReader, Read as _};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::sync::TableLayout;
use crate::warehouse::chunk::{self, Cell, ChunkRow, RowChunk, TextRoom};
use crate::warehouse::spool::PLACE_COLUMN;
use crate::warehouse::{SpoolFile, WarehouseError};

/// The column of staged rows that tells which of a part's came later.
pub(super) const ROW_COLUMN: &str = "_row";

/// Sent at once, about.
const BYTES: usize = 128 * 1024;
/// Longest head of a file.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Writes a chunk's rows in COPY's text format, piece by piece.
pub(super) struct ChunkText<'a> {
    chunk: &'a RowChunk,
    next: usize,
    prefix: Vec<u8>,
    is_numbered: bool,
    cells: usize,
}

impl<'a> ChunkText<'a> {
    /// The part's number, the row's place, and the cells.
    pub(super) fn rows(part: u32, chunk: &'a RowChunk) -> Self {
        let prefix = format!("{part}\t").into_bytes();
        Self { chunk, next: 0, prefix, is_numbered: true, cells: usize::MAX }
    }

    /// The part's number and the first cell.
    pub(super) fn keys(part: u32, chunk: &'a RowChunk) -> Self {
        Self { is_numbered: false, cells: 1, ..Self::rows(part, chunk) }
    }

    /// A load, the part's number, and the cells.
    pub(super) fn log(load: &str, part: u32, chunk: &'a RowChunk) -> Self {
        let prefix = format!("{load}\t{part}\t").into_bytes();
        Self { prefix, is_numbered: false, ..Self::rows(part, chunk) }
    }

    /// The next piece; `None` after the last row.
    pub(super) fn more(&mut self) -> Option<Bytes> {
        if self.next >= self.chunk.rows() {
            return None;
        }
        let mut out = Vec::with_capacity(BYTES + BYTES / 4);
        while out.len() < BYTES {
            let Some(row) = self.chunk.row(self.next) else { break };
            out.extend_from_slice(&self.prefix);
            if self.is_numbered {
                put_int(self.next as i64, &mut out);
                out.push(b'\t');
            }
            put_row(row, self.cells, &mut out);
            self.next += 1;
        }
        Some(Bytes::from(out))
    }
}

fn put_row(row: ChunkRow<'_>, cells: usize, out: &mut Vec<u8>) {
    let mut room = TextRoom::default();
    for cell in row.cells().take(cells) {
        match cell {
            Cell::Null | Cell::Unreadable => out.extend_from_slice(b"\\N"),
            Cell::Boolean(value) => out.push(if value { b't' } else { b'f' }),
            Cell::Int(value) => put_int(value, out),
            Cell::Decimal(text) => out.extend_from_slice(text.as_bytes()),
            Cell::Text(text) | Cell::Json(text) => put_text(text, out),
            Cell::Date(days) => out.extend_from_slice(chunk::date(days, &mut room).as_bytes()),
            Cell::DateTime(ms) => out.extend_from_slice(chunk::date_time(ms, &mut room).as_bytes()),
            Cell::Time(ms) => out.extend_from_slice(chunk::time(ms, &mut room).as_bytes()),
        }
        out.push(b'\t');
    }
    // In place of the last tab.
    if let Some(last) = out.last_mut() {
        *last = b'\n';
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn put_int(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut left = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

/// A spool file's rows, unpacked and otherwise as they are: COPY reads that kind of CSV itself.
pub(super) struct FileText {
    unpacked: MultiGzDecoder<BufReader<File>>,
    columns: Vec<String>,
    first: Option<Bytes>,
    path: String,
}

impl FileText {
    /// Opens it and reads its head.
    pub(super) fn open(file: &SpoolFile, layout: &TableLayout) -> Result<Self, WarehouseError> {
        let path = file.path.display().to_string();
        let opened = File::open(&file.path).map_err(|error| unreadable(&path, &error))?;
        let mut unpacked = MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, opened));
        let mut begin = Vec::new();
        let head = loop {
            let before = begin.len();
            read_some(&mut unpacked, &mut begin).map_err(|error| unreadable(&path, &error))?;
            if let Some(end) = begin[before..].iter().position(|byte| *byte == b'\n') {
                break before + end;
            }
            if begin.len() == before || begin.len() > HEAD_BYTES_MAX {
                return Err(WarehouseError::Engine(format!("spool file `{path}` has no head")));
            }
        };
        let columns = columns_of(&begin[..head], layout).ok_or_else(|| {
            WarehouseError::Engine(format!("spool file `{path}` has other columns than its load"))
        })?;
        let first = Bytes::from(begin).slice(head + 1..);
        Ok(Self { unpacked, columns, first: Some(first), path })
    }

    /// The columns, in the order of the file.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next piece; `None` at the end.
    pub(super) fn more(&mut self) -> Result<Option<Bytes>, WarehouseError> {
        if let Some(first) = self.first.take()
            && !first.is_empty()
        {
            return Ok(Some(first));
        }
        let mut out = Vec::with_capacity(BYTES);
        read_some(&mut self.unpacked, &mut out).map_err(|error| unreadable(&self.path, &error))?;
        Ok((!out.is_empty()).then(|| Bytes::from(out)))
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> WarehouseError {
    WarehouseError::Engine(format!("spool file `{path}` cannot be read: {error}"))
}

/// Adds up to [`BYTES`]; nothing at the end.
fn read_some(from: &mut MultiGzDecoder<BufReader<File>>, out: &mut Vec<u8>) -> std::io::Result<()> {
    from.take(BYTES as u64).read_to_end(out).map(drop)
}

/// The staging table's columns for those that a head names: all of the layout's, in whatever order, and the row's place.
fn columns_of(head: &[u8], layout: &TableLayout) -> Option<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(head);
    let record = reader.records().next()?.ok()?;
    let mut named: Vec<String> = record.iter().map(str::to_owned).collect();
    let place = named.iter_mut().find(|name| *name == PLACE_COLUMN)?;
    *place = ROW_COLUMN.to_owned();
    let is_whole = named.len() == layout.columns.len() + 1
        && layout.columns.iter().all(|column| named.contains(&column.name));
    is_whole.then_some(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(chunk: &RowChunk) -> String {
        let mut text = ChunkText::rows(7, chunk);
        let mut all = Vec::new();
        while let Some(piece) = text.more() {
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn what_has_a_meaning_in_copy_is_escaped() {
        let mut chunk = RowChunk::new(4);
        chunk.push([Cell::Text("a\tb\\N\r\nc"), Cell::Null, Cell::Boolean(true), Cell::Int(i64::MIN)]);
        chunk.push([Cell::Text("\\."), Cell::Date(0), Cell::DateTime(5), Cell::Time(86_399_999)]);
        let expected = "7\t0\ta\\tb\\\\N\\r\\nc\t\\N\tt\t-9223372036854775808\n\
                        7\t1\t\\\\.\t1970-01-01\t1970-01-01T00:00:00.005Z\t23:59:59.999\n";
        assert_eq!(text_of(&chunk), expected);
    }

    #[test]
    fn keys_are_the_first_cells() {
        let mut chunk = RowChunk::new(2);
        chunk.push([Cell::Text("00Q1"), Cell::Int(5)]);
        assert_eq!(ChunkText::keys(9, &chunk).more().unwrap(), "9\t00Q1\n");
    }

    #[test]
    fn pieces_are_bounded_and_no_row_is_cut() {
        let mut chunk = RowChunk::new(1);
        let long = "x".repeat(1_000);
        for _ in 0..1_000 {
            chunk.push([Cell::Text(&long)]);
        }
        let mut text = ChunkText::rows(1, &chunk);
        let mut rows = 0;
        while let Some(piece) = text.more() {
            assert!(piece.len() < BYTES + 2_000 && piece.ends_with(b"\n"));
            rows += piece.iter().filter(|byte| **byte == b'\n').count();
        }
        assert_eq!(rows, 1_000);
    }

    proptest! {
        #[test]
        fn a_row_is_one_line_of_its_cells(cells in proptest::collection::vec("[\\x01-\\x7fé\t\n\r\\\\]{1,12}", 1..6)) {
            let mut chunk = RowChunk::new(cells.len());
            chunk.push(cells.iter().map(|cell| Cell::Text(cell)));
            let text = text_of(&chunk);
            let line = text.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains('\n'));
            let read: Vec<String> = line.split('\t').skip(2).map(unescape).collect();
            prop_assert_eq!(read, cells);
        }

        #[test]
        fn a_number_is_written_as_it_is(value: i64) {
            let mut out = Vec::new();
            put_int(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    fn unescape(cell: &str) -> String {
        let mut read = String::new();
        let mut letters = cell.chars();
        while let Some(letter) = letters.next() {
            read.push(match letter {
                '\\' => match letters.next() {
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    other => other.unwrap(),
                },
                other => other,
            });
        }
        read
    }
}
