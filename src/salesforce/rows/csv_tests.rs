//! What the reader of CSV takes and what it refuses.

use std::ops::ControlFlow;

use rstest::rstest;

use super::*;
use crate::salesforce::rows::Column;

fn columns() -> Columns {
    Columns::new(vec![
        Column::new("Id", ColumnKind::Id),
        Column::new("Name", ColumnKind::Text),
        Column::new("Amount", ColumnKind::Decimal),
    ])
    .unwrap()
}

/// The lines of pages that arrive in pieces of `piece` bytes.
fn read(pages: &[&[u8]], piece: usize, delimiter: Delimiter) -> (String, Result<u64, RowsError>) {
    let mut lines = Vec::new();
    let mut sink = |row: &crate::salesforce::rows::Row<'_>| {
        row.write_json_line(&mut lines);
        ControlFlow::Continue(())
    };
    let mut reader = CsvRows::new(columns(), CsvOptions { delimiter, rows_done: 0 });
    let mut run = || {
        for page in pages {
            for piece in page.chunks(piece) {
                reader.feed(piece, &mut sink)?;
            }
            reader.end_page(&mut sink)?;
        }
        Ok(reader.rows_done())
    };
    let result = run();
    (String::from_utf8(lines).unwrap(), result)
}

/// The same for one page, which must not depend on the pieces it comes in.
fn read_page(page: &[u8]) -> (String, Result<u64, RowsError>) {
    let whole = read(&[page], usize::MAX, Delimiter::Comma);
    for piece in [1, 2, 3, 7] {
        assert_eq!(read(&[page], piece, Delimiter::Comma), whole, "in pieces of {piece}");
    }
    whole
}

const LINE: &str = "{\"Id\":\"00Q5g00000AbCdEEAV\",\"Name\":\"A\",\"Amount\":1}\n";

#[rstest]
#[case::as_bulk_writes_it("\"Id\",\"Name\",\"Amount\"\n\"00Q5g00000AbCdEEAV\",\"A\",\"1.0\"\n")]
#[case::crlf("\"Id\",\"Name\",\"Amount\"\r\n\"00Q5g00000AbCdEEAV\",\"A\",\"1.0\"\r\n")]
#[case::no_last_line_end("\"Id\",\"Name\",\"Amount\"\n\"00Q5g00000AbCdEEAV\",\"A\",\"1\"")]
#[case::bare_values("Id,Name,Amount\n00Q5g00000AbCdEEAV,A,1.00\n")]
#[case::bare_to_the_end("Id,Name,Amount\n00Q5g00000AbCdEEAV,A,1")]
#[case::other_case("id,NAME,Amount\n00Q5g00000AbCdEEAV,A,1")]
#[case::byte_order_mark("\u{feff}\"Id\",\"Name\",\"Amount\"\n\"00Q5g00000AbCdEEAV\",\"A\",\"1\"\n")]
#[case::nuls("\"Id\",\"Na\0me\",\"Amount\"\n\"00Q5g00000AbCdEEAV\"\0,\"A\0\",\"1\0\"\n")]
#[case::half_an_end("\"Id\",\"Name\",\"Amount\"\n\"00Q5g00000AbCdEEAV\",\"A\",\"1\"\r")]
fn one_row_reads_the_same_however_it_is_written(#[case] page: &str) {
    assert_eq!(read_page(page.as_bytes()), (LINE.to_owned(), Ok(1)));
}

#[test]
fn text_survives() {
    let page = "Id,Name,Amount\n\
        \"\",\"two\r\nlines, \"\"quoted\"\", back\\slash\ttab\",\"\"\n\
        \"\",\"\"\"\",\n\
        \"\",\"NA\",\"\"\n\
        \"\",\"00042\",\"-0.10\"\n\
        \"\",\"é𝄞\u{2028}a;b\",\"1e3\"\n\
        ,,\n";
    let expected = "{\"Id\":null,\"Name\":\"two\\r\\nlines, \\\"quoted\\\", back\\\\slash\\ttab\",\"Amount\":null}\n\
        {\"Id\":null,\"Name\":\"\\\"\",\"Amount\":null}\n\
        {\"Id\":null,\"Name\":\"NA\",\"Amount\":null}\n\
        {\"Id\":null,\"Name\":\"00042\",\"Amount\":-0.1}\n\
        {\"Id\":null,\"Name\":\"é𝄞\u{2028}a;b\",\"Amount\":1000}\n\
        {\"Id\":null,\"Name\":null,\"Amount\":null}\n";
    assert_eq!(read_page(page.as_bytes()), (expected.to_owned(), Ok(6)));
}

#[rstest]
fn every_delimiter_is_understood(
    #[values(
        Delimiter::Comma,
        Delimiter::Tab,
        Delimiter::Pipe,
        Delimiter::Semicolon,
        Delimiter::Caret,
        Delimiter::Backquote
    )]
    delimiter: Delimiter,
) {
    let page = "Id,Name,Amount\n00Q5g00000AbCdEEAV,\"A\",\"1\"\n"
        .replace(',', &char::from(delimiter.byte()).to_string());
    assert_eq!(read(&[page.as_bytes()], 5, delimiter), (LINE.to_owned(), Ok(1)));
}

#[test]
fn a_header_on_every_page_is_no_row() {
    let page = b"Id,Name,Amount\n00Q5g00000AbCdEEAV,A,1\n".as_slice();
    let empty = b"\"Id\",\"Name\",\"Amount\"\n".as_slice();
    let read = read(&[page, empty, page], 4, Delimiter::Comma);
    assert_eq!(read, (LINE.repeat(2), Ok(2)));
}

fn place(row: u64, column: &str) -> Place {
    Place { row, column: Some(column.to_owned()) }
}

#[rstest]
#[case::nothing(b"", RowsError::NoHeader)]
#[case::html(b"<html><body>Down for maintenance", RowsError::HeaderName { position: 1, expected: "Id".to_owned() })]
#[case::half_a_mark("\u{fef2}Id,Name,Amount\n".as_bytes(), RowsError::HeaderName { position: 1, expected: "Id".to_owned() })]
#[case::other_order(b"Id,Amount,Name\n", RowsError::HeaderName { position: 2, expected: "Name".to_owned() })]
#[case::narrow_header(b"Id,Name\n", RowsError::HeaderWidth { found: 2, expected: 3 })]
#[case::wide_header(b"Id,Name,Amount,More\n", RowsError::HeaderWidth { found: 4, expected: 3 })]
#[case::cut_header(b"\"Id\",\"Na", RowsError::CutOff(Place { row: 1, column: None }))]
#[case::broken_header(b"\"Id\"x", RowsError::HeaderUnreadable("something follows a value's closing quote"))]
#[case::narrow(b"Id,Name,Amount\n1,2,3\n1,2\n", RowsError::RowWidth { row: 2, found: 2, expected: 3 })]
#[case::wide(b"Id,Name,Amount\n1,2,3,4\n", RowsError::RowWidth { row: 1, found: 4, expected: 3 })]
#[case::blank_line(b"Id,Name,Amount\n\n", RowsError::RowWidth { row: 1, found: 1, expected: 3 })]
#[case::cut_between_values(b"Id,Name,Amount\n1,2,3\n1,", RowsError::RowWidth { row: 2, found: 2, expected: 3 })]
#[case::cut_in_quotes(b"Id,Name,Amount\n1,2,3\n\"1\",\"2", RowsError::CutOff(place(2, "Name")))]
#[case::value(b"Id,Name,Amount\n1,2,3\n1,2,x\n", RowsError::BadValue { place: place(2, "Amount"), kind: ColumnKind::Decimal })]
#[case::latin_1(b"Id,Name,Amount\n1,\"caf\xE9\",3\n", RowsError::NotUtf8(place(1, "Name")))]
#[case::cut_in_a_character(b"Id,Name,Amount\n1,2,\xC3", RowsError::NotUtf8(place(1, "Amount")))]
#[case::stray_quote(b"Id,Name,Amount\n1,a\"b,3\n", RowsError::BadCsv { place: place(1, "Name"), problem: "a quote stands in a value without quotes" })]
#[case::after_quote(b"Id,Name,Amount\n1,\"a\"b,3\n", RowsError::BadCsv { place: place(1, "Name"), problem: "something follows a value's closing quote" })]
#[case::stray_return(b"Id,Name,Amount\n1,2,3\r4", RowsError::BadCsv { place: Place { row: 1, column: None }, problem: "a carriage return ends no line" })]
fn what_is_wrong_is_told_by_row_and_column(#[case] page: &[u8], #[case] expected: RowsError) {
    assert_eq!(read_page(page).1, Err(expected));
}

#[test]
fn nothing_is_read_past_an_error() {
    let mut reader = CsvRows::new(columns(), CsvOptions { rows_done: 41, ..CsvOptions::default() });
    let mut sink = |_: &crate::salesforce::rows::Row<'_>| ControlFlow::Continue(());
    let error = reader.feed(b"Id,Name,Amount\n1,2,3\n1,2\n", &mut sink).unwrap_err();
    assert_eq!(error.to_string(), "row 43 has 2 values instead of 3");
    assert_eq!(reader.rows_done(), 42);
    assert_eq!(reader.feed(b"1,2,3\n", &mut sink), Err(RowsError::Stopped));
    assert_eq!(reader.finish(&mut sink), Err(RowsError::Stopped));
}

#[test]
fn a_receiver_can_stop_the_reading() {
    let mut reader = CsvRows::new(columns(), CsvOptions::default());
    let stopped = reader.feed(b"Id,Name,Amount\n1,2,3\n1,2,3\n", &mut |_| ControlFlow::Break(()));
    assert_eq!((stopped, reader.rows_done()), (Err(RowsError::Stopped), 1));
}

#[test]
fn an_open_quote_does_not_fill_the_memory() {
    let mut reader = CsvRows::new(columns(), CsvOptions::default());
    let mut sink = |_: &crate::salesforce::rows::Row<'_>| ControlFlow::Continue(());
    reader.feed(b"Id,Name,Amount\n\"", &mut sink).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let error = (0..64).find_map(|_| reader.feed(&piece, &mut sink).err());
    assert_eq!(error, Some(RowsError::RowTooLong { row: 1, bytes_max: ROW_BYTES_MAX }));
}

#[test]
fn columns_that_keep_bad_values_lose_no_row_to_them() {
    let columns = Columns::new(vec![
        Column::new("Id", ColumnKind::Id),
        Column::new("Day", ColumnKind::Date),
        Column::new("Count", ColumnKind::Int),
    ]);
    let columns = columns.unwrap();
    let page = "\"Id\",\"Day\",\"Count\"\n\"a\",\"2026-01-02\",\"1\"\n\"b\",\"some \"\"day\"\"\",\"many\"\n";
    let read = |columns: Columns| {
        let mut rows = CsvRows::new(columns, CsvOptions::default());
        let mut told = Vec::new();
        let mut sink = |row: &crate::salesforce::rows::Row<'_>| {
            let mut line = Vec::new();
            row.write_json_line(&mut line);
            told.push((row.has_bad(), row.bad().collect::<Vec<_>>(), String::from_utf8(line).unwrap()));
            std::ops::ControlFlow::Continue(())
        };
        let fed = rows.feed(page.as_bytes(), &mut sink);
        (fed, told)
    };
    let (fed, told) = read(columns.clone().keeping_bad());
    assert_eq!(fed, Ok(()));
    assert_eq!(told[0], (false, vec![], "{\"Id\":\"a\",\"Day\":\"2026-01-02\",\"Count\":1}\n".to_owned()));
    let bad = "{\"Id\":\"b\",\"Day\":\"some \\\"day\\\"\",\"Count\":\"many\"}\n";
    assert_eq!(told[1], (true, vec![1, 2], bad.to_owned()));
    let (fed, told) = read(columns);
    assert!(matches!(fed, Err(RowsError::BadValue { .. })), "{fed:?}");
    assert_eq!(told.len(), 1, "without the wish a bad value ends the reading");
}
