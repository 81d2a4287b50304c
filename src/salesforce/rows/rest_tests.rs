//! What the readers of JSON take and what they refuse.

use std::ops::ControlFlow;

use rstest::rstest;

use super::*;
use crate::salesforce::rows::{Cell, Column, Place, Row};

fn columns() -> Columns {
    Columns::new(vec![
        Column::new("Id", ColumnKind::Id),
        Column::new("Name", ColumnKind::Text),
        Column::new("Owner.Name", ColumnKind::Text),
        Column::new("CreatedDate", ColumnKind::DateTime),
        Column::new("Owner.Manager.Id", ColumnKind::Id),
    ])
    .unwrap()
}

fn lines_of(
    columns: Columns,
    read: impl FnOnce(&mut RestRows, &mut RowSink<'_>) -> Result<RestPage, RowsError>,
) -> (String, Result<RestPage, RowsError>) {
    let mut lines = Vec::new();
    let mut rows = RestRows::new(columns, 0);
    let result = read(&mut rows, &mut |row: &Row<'_>| {
        row.write_json_line(&mut lines);
        ControlFlow::Continue(())
    });
    (String::from_utf8(lines).unwrap(), result)
}

fn read(body: &[u8]) -> (String, Result<RestPage, RowsError>) {
    lines_of(columns(), |rows, sink| rows.read_page(body, sink))
}

const ROW: &str = r#"{"attributes":{"type":"Lead","url":"/services/x"},"Id":"00Q5g00000AbCdEEAV","Name":"A","Owner":{"attributes":{"type":"User"},"Name":"Ada","Manager":{"Id":"0055g00000AbCdEAAV"}},"CreatedDate":"2026-01-02T03:04:05.000+0000"}"#;
const LINE: &str = "{\"Id\":\"00Q5g00000AbCdEEAV\",\"Name\":\"A\",\"Owner.Name\":\"Ada\",\"CreatedDate\":\"2026-01-02T03:04:05.000Z\",\"Owner.Manager.Id\":\"0055g00000AbCdEAAV\"}\n";

fn page(rows: &str) -> String {
    format!(r#"{{"totalSize":2,"done":true,"records":[{rows}]}}"#)
}

#[test]
fn a_page_gives_its_rows_and_where_it_goes_on() {
    let next = "/services/data/v62.0/query/0r8xx0-2000";
    let body =
        format!(r#"{{"totalSize":5012,"done":false,"nextRecordsUrl":"{next}","records":[{ROW},{ROW}]}}"#);
    let page = RestPage { rows: 2, total_size: 5012, done: false, next_records_url: Some(next.to_owned()) };
    assert_eq!(read(body.as_bytes()), (LINE.repeat(2), Ok(page)));
}

#[rstest]
#[case::other_order(r#"{"CreatedDate":"2026-01-02T03:04:05Z","Owner":{"Manager":{"Id":"0055g00000AbCdEAAV"},"Name":"Ada"},"Name":"A","Id":"00Q5g00000AbCdE"}"#)]
#[case::unasked_fields(r#"{"Id":"00Q5g00000AbCdEEAV","X":[{"Id":1}],"Name":"A","Owner":{"Id":"x","Name":"Ada","Manager":{"Id":"0055g00000AbCdEAAV","Y":{}}},"CreatedDate":"2026-01-02T03:04:05.000+0000"}"#)]
#[case::spaced(
    "{\r\n \"id\" : \"00Q5g00000AbCdEEAV\" ,\t\"name\" : \"A\" , \"owner\" : { \"Name\" : \"Ada\" , \"manager\" : { \"Id\" : \"0055g00000AbCdEAAV\" } } , \"CreatedDate\" : \"2026-01-02T03:04:05.000+0000\" }"
)]
#[case::escaped(r#"{"\u0049d":"00Q5g00000\u0041bCdEEAV","Name":"\u0041\u0000","Owner":{"Name":"Ad\u0061","Manager":{"Id":"0055g00000AbCdEAAV"}},"CreatedDate":"2026-01-02T03\u003a04:05.000+0000"}"#)]
fn one_row_reads_the_same_however_it_is_written(#[case] row: &str) {
    let (lines, page) = read(page(row).as_bytes());
    assert_eq!((lines.as_str(), page.map(|page| page.rows)), (LINE, Ok(1)));
}

#[test]
fn a_parent_that_is_null_is_null_in_all_its_columns() {
    let row = r#"{"Id":"00Q5g00000AbCdEEAV","Name":null,"Owner":null,"CreatedDate":null}"#;
    let expected = "{\"Id\":\"00Q5g00000AbCdEEAV\",\"Name\":null,\"Owner.Name\":null,\"CreatedDate\":null,\"Owner.Manager.Id\":null}\n";
    assert_eq!(read(page(row).as_bytes()).0, expected);
    let row = r#"{"Id":"","Name":"\u0000","Owner":{"Name":"","Manager":null},"CreatedDate":""}"#;
    assert_eq!(read(page(row).as_bytes()).0, expected.replace("\"00Q5g00000AbCdEEAV\"", "null"));
}

#[test]
fn compounds_and_fields_of_unknown_type_lose_nothing() {
    let kinds = ["address", "hologram", "hologram", "hologram", "boolean", "int", "currency"];
    let columns = kinds
        .iter()
        .enumerate()
        .map(|(index, kind)| Column::new(format!("C{index}"), ColumnKind::from_describe(kind)));
    let columns = Columns::new(columns.collect()).unwrap();
    let row = r#"{"C0":{"street":"1 \"Rd\"","city":"Ulm","latitude":48.40},"C1":{"b":1,"a":2},"C2":1.50,"C3":true,"C4":false,"C5":7,"C6":1.250E7}"#;
    let (lines, _) = lines_of(columns, |rows, sink| rows.read_page(page(row).as_bytes(), sink));
    let expected = "{\"C0\":{\"city\":\"Ulm\",\"latitude\":48.4,\"street\":\"1 \\\"Rd\\\"\"},\"C1\":{\"a\":2,\"b\":1},\"C2\":\"1.50\",\"C3\":\"true\",\"C4\":false,\"C5\":7,\"C6\":12500000}\n";
    assert_eq!(lines, expected);
}

fn place(row: u64, column: &str) -> Place {
    Place { row, column: Some(column.to_owned()) }
}

#[rstest]
#[case::missing(
    r#"{"Id":"1","Name":"A","CreatedDate":null}"#,
    RowsError::MissingField(place(2, "Owner.Name"))
)]
#[case::missing_in_parent(
    r#"{"Id":"1","Name":"A","Owner":{"Name":"A"},"CreatedDate":null}"#,
    RowsError::MissingField(place(2, "Owner.Manager.Id"))
)]
#[case::twice(r#"{"Id":"1","Name":"A","id":"1"}"#, RowsError::FieldTwice(place(2, "Id")))]
#[case::parent_twice(r#"{"Owner":null,"Owner":null}"#, RowsError::FieldTwice(place(2, "Owner.Name")))]
#[case::value(r#"{"CreatedDate":"yesterday"}"#, RowsError::BadValue { place: place(2, "CreatedDate"), kind: ColumnKind::DateTime })]
#[case::milliseconds(r#"{"CreatedDate":1767323045000}"#, RowsError::BadValue { place: place(2, "CreatedDate"), kind: ColumnKind::DateTime })]
#[case::structure(r#"{"Id":{}}"#, RowsError::BadValue { place: place(2, "Id"), kind: ColumnKind::Id })]
fn what_is_wrong_is_told_by_row_and_column(#[case] row: &str, #[case] expected: RowsError) {
    assert_eq!(read(page(&format!("{ROW},{row}")).as_bytes()).1, Err(expected));
}

#[rstest]
#[case::html("<html>Down</html>", "row 1 is not the JSON of a row, at byte 0: the page is no object")]
#[case::an_error_array(
    r#"[{"errorCode":"X"}]"#,
    "row 1 is not the JSON of a row, at byte 0: the page is no object"
)]
#[case::no_records(r#"{"totalSize":1,"done":true}"#, "the page has no `records`")]
#[case::no_total(r#"{"done":true,"records":[]}"#, "the page has no `totalSize`")]
#[case::no_end(r#"{"totalSize":1,"records":[]}"#, "the page has no `done`")]
#[case::null_record(
    r#"{"totalSize":1,"done":true,"records":[null]}"#,
    "row 1 is not the JSON of a row, at byte 43: a record is null"
)]
#[case::parent_is_text(
    r#"{"records":[{"Owner":"x"}]}"#,
    "row 1, column `Owner.Name` is not the JSON of a row, at byte 21: a record is no object"
)]
#[case::trailing(
    r#"{"totalSize":0,"done":true,"records":[]}x"#,
    "row 1 is not the JSON of a row, at byte 40: something follows the end"
)]
fn a_page_that_is_none_is_refused(#[case] body: &str, #[case] expected: &str) {
    let error = read(body.as_bytes()).1.unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_cut_off());
}

#[test]
fn every_cut_is_told_as_a_cut() {
    let body = page(ROW);
    for end in 0..body.len() {
        let error = read(&body.as_bytes()[..end]).1.unwrap_err();
        assert!(error.is_cut_off(), "cut at {end}: {error}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_found_in_its_column() {
    let body = page(&format!("{ROW},{ROW}"));
    let (head, tail) = body.rsplit_once("Ada").unwrap();
    let body = [head.as_bytes(), b"caf\xE9", tail.as_bytes()].concat();
    assert_eq!(read(&body).1, Err(RowsError::NotUtf8(place(2, "Owner.Name"))));
}

#[test]
fn a_page_that_failed_is_read_again_under_the_same_numbers() {
    let mut rows = RestRows::new(columns(), 10);
    let mut numbers = Vec::new();
    let mut sink = |row: &Row<'_>| {
        numbers.push(row.number());
        ControlFlow::Continue(())
    };
    let body = page(&format!("{ROW},{ROW}"));
    assert!(rows.read_page(&body.as_bytes()[..body.len() - 1], &mut sink).is_err());
    assert_eq!(rows.rows_done(), 10);
    rows.read_page(body.as_bytes(), &mut sink).unwrap();
    assert_eq!((rows.rows_done(), numbers), (12, vec![11, 12, 11, 12]));
}

#[test]
fn a_list_tells_who_was_not_found() {
    let mut rows = RestRows::new(columns(), 0);
    let (mut found, mut missing) = (0, Vec::new());
    let body = format!("[null,{ROW},null]");
    let mut sink = |row: &Row<'_>| {
        assert_eq!(row.cell(1), Some(Cell::Text("A".into())));
        assert_eq!((row.len(), row.cells().len(), row.cell(5)), (5, 5, None));
        found += 1;
        ControlFlow::Continue(())
    };
    let length = rows.read_list(body.as_bytes(), &mut sink, &mut |at| missing.push(at)).unwrap();
    assert_eq!((length, found, missing), (3, 1, vec![0, 2]));
}

#[test]
fn bulk_1_gives_times_as_milliseconds() {
    let mut lines = Vec::new();
    let mut sink = |row: &Row<'_>| {
        row.write_json_line(&mut lines);
        ControlFlow::Continue(())
    };
    let body = format!("[{}]", ROW.replace("\"2026-01-02T03:04:05.000+0000\"", "1767323045000"));
    assert_eq!(BulkOneRows::new(columns(), 0).read_result(body.as_bytes(), &mut sink), Ok(1));
    assert!(BulkOneRows::new(columns(), 0).read_result(b"[null]", &mut sink).is_err());
    assert_eq!(String::from_utf8(lines).unwrap(), LINE);
}

#[test]
fn a_print_of_a_row_shows_nothing_of_it() {
    let mut print = String::new();
    let mut rows = RestRows::new(columns(), 0);
    let body = page(ROW);
    rows.read_page(body.as_bytes(), &mut |row| {
        print = format!("{row:?}");
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(print, "Row { number: 1, cells: 5 }");
}
