//! Promises about values and about queries.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use super::Ground;
use super::bench::{Bench, Kept, column, counts, row};
use crate::sync::{ColumnType, LoadMode, QueryColumn, TableLayout};
use crate::warehouse::{Cell, QuerySink, RowChunk, WarehouseError};

fn all_kinds() -> TableLayout {
    TableLayout {
        columns: vec![
            column("Id", ColumnType::Id),
            column("Text", ColumnType::Text),
            column("Flag", ColumnType::Boolean),
            column("Whole", ColumnType::Int),
            column("Money", ColumnType::Decimal { precision: 18, scale: 2 }),
            column("Small", ColumnType::Decimal { precision: 9, scale: 4 }),
            column("Long", ColumnType::Decimal { precision: 38, scale: 10 }),
            column("Round", ColumnType::Decimal { precision: 18, scale: 0 }),
            column("Day", ColumnType::Date),
            column("Clock", ColumnType::Time),
            column("Moment", ColumnType::DateTime),
            column("Shape", ColumnType::Json),
        ],
        key: 0,
        stamp: None,
        deleted: None,
        deleted_column: "IsDeleted".to_owned(),
    }
}

/// The first and the last day of the years that are told with four digits.
const DAYS: [i32; 2] = [-719_162, 2_932_896];

fn rows() -> Vec<(Vec<Cell<'static>>, [&'static str; 12])> {
    vec![
        (
            vec![
                Cell::Text("00Q000000000001AAA"),
                Cell::Text("It's \"quoted\", \\n \\N \\. back\\slash\r\nline\ttab; 😀 Zoë 漢字 %s ${x}"),
                Cell::Boolean(true),
                Cell::Int(i64::MAX),
                Cell::Decimal("9999999999999999.99"),
                Cell::Decimal("99999.9999"),
                Cell::Decimal("9999999999999999999999999999.9999999999"),
                Cell::Decimal("999999999999999999"),
                Cell::Date(DAYS[1]),
                Cell::Time(86_399_999),
                Cell::DateTime(253_402_300_799_999),
                Cell::Json(r#"{"a":[1,null,"x\"y"]}"#),
            ],
            [
                "00Q000000000001AAA",
                "It's \"quoted\", \\n \\N \\. back\\slash\r\nline\ttab; 😀 Zoë 漢字 %s ${x}",
                "true",
                "9223372036854775807",
                "9999999999999999.99",
                "99999.9999",
                "9999999999999999999999999999.9999999999",
                "999999999999999999",
                "9999-12-31",
                "23:59:59.999",
                "9999-12-31T23:59:59.999Z",
                r#"{"a":[1,null,"x\"y"]}"#,
            ],
        ),
        (
            vec![
                Cell::Text("00Q000000000002AAA"),
                Cell::Text("007"),
                Cell::Boolean(false),
                Cell::Int(i64::MIN),
                Cell::Decimal("-9999999999999999.99"),
                Cell::Decimal("-0.0001"),
                Cell::Decimal("-0.0000000001"),
                Cell::Decimal("-999999999999999999"),
                Cell::Date(DAYS[0]),
                Cell::Time(0),
                Cell::DateTime(-62_135_596_800_000),
                Cell::Json("[]"),
            ],
            [
                "00Q000000000002AAA",
                "007",
                "false",
                "-9223372036854775808",
                "-9999999999999999.99",
                "-0.0001",
                "-0.0000000001",
                "-999999999999999999",
                "0001-01-01",
                "00:00:00.000",
                "0001-01-01T00:00:00.000Z",
                "[]",
            ],
        ),
        (
            vec![
                Cell::Text("00Q000000000003AAA"),
                Cell::Text(" 1e5 "),
                Cell::Null,
                Cell::Int(0),
                Cell::Decimal("0.1"),
                Cell::Decimal("12"),
                Cell::Decimal("12345678901234567.8"),
                Cell::Decimal("0"),
                Cell::Date(0),
                Cell::Time(1),
                Cell::DateTime(-1),
                Cell::Json("{}"),
            ],
            [
                "00Q000000000003AAA",
                " 1e5 ",
                "-",
                "0",
                "0.1",
                "12",
                "12345678901234567.8",
                "0",
                "1970-01-01",
                "00:00:00.001",
                "1969-12-31T23:59:59.999Z",
                "{}",
            ],
        ),
        (
            [Cell::Text("00Q000000000004AAA")].into_iter().chain([Cell::Null; 11]).collect(),
            ["00Q000000000004AAA", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"],
        ),
    ]
}

const NAMES: [&str; 12] =
    ["Id", "Text", "Flag", "Whole", "Money", "Small", "Long", "Round", "Day", "Clock", "Moment", "Shape"];

pub fn values_come_back_as_they_went_in(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "all_kinds", all_kinds());
    let (cells, told): (Vec<_>, Vec<_>) = rows().into_iter().unzip();
    bench.load(LoadMode::Upsert, &cells);
    assert_eq!(bench.read(&NAMES), told);
    // And the other way into a table: over rows that are there.
    let turned: Vec<Vec<Cell<'_>>> = cells
        .iter()
        .zip(cells.iter().rev())
        .map(|(id, rest)| id[..1].iter().chain(&rest[1..]).copied().collect())
        .collect();
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &turned)), [0, 4, 0, 0]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &cells)), [0, 4, 0, 0]);
    assert_eq!(bench.read(&NAMES), told);
}

pub fn long_text_comes_back_whole(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "long_text");
    let long = "Zoë\n".repeat(131_072 / 4);
    bench.load(LoadMode::Upsert, &[row("a", &long, 0), row("b", "short", 0)]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[row("a", &long, 1)])), [0, 1, 0, 0]);
    let read = bench.read(&["Name"]);
    assert!(read[0][0] == long, "{} characters", read[0][0].chars().count());
}

pub fn the_same_values_are_unchanged(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "same_values", all_kinds());
    let cells: Vec<_> = rows().into_iter().map(|(cells, _)| cells).collect();
    bench.load(LoadMode::Upsert, &cells);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &cells)), [0, 0, 4, 0]);
    assert_eq!(counts(&bench.load(LoadMode::Replace, &cells)), [0, 0, 4, 0]);
    for changed in 1..12 {
        let mut other = cells.clone();
        other[0][changed] = other[1][changed];
        assert_eq!(counts(&bench.load(LoadMode::Upsert, &other)), [0, 1, 3, 0], "{}", NAMES[changed]);
        assert_eq!(counts(&bench.load(LoadMode::Upsert, &cells)), [0, 1, 3, 0], "{}", NAMES[changed]);
    }
}

pub fn a_query_that_writes_is_refused(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "read_only");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let (table, name) = (bench.ground.table(&bench.table), bench.ground.column("Name"));
    for sql in [
        format!("DELETE FROM {table}"),
        format!("UPDATE {table} SET {name} = 'Eve'"),
        format!("INSERT INTO {table} SELECT * FROM {table}"),
        format!("DROP TABLE {table}"),
        format!("CREATE TABLE stolen AS SELECT * FROM {table}"),
        format!("SELECT 1; DELETE FROM {table}"),
        format!("/* SELECT */ DELETE FROM {table}"),
        format!("WITH x AS (SELECT 1) DELETE FROM {table}"),
        "DELETE FROM _penstock_loads".to_owned(),
        "COMMIT".to_owned(),
    ] {
        let told = bench.ask(&sql).map(|_| ());
        assert!(matches!(told, Err(WarehouseError::BadQuery(_))), "`{sql}`: {told:?}");
        assert_eq!(bench.names(), ["a=Ada"], "`{sql}`");
    }
    // The connection still writes what it is asked to.
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}

pub fn a_bad_query_is_refused_and_harms_nothing(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "bad_query");
    for sql in ["", "SELEC 1", "SELECT nothing FROM nowhere", "SELECT 'open"] {
        let told = bench.ask(sql).map(|_| ());
        assert!(matches!(told, Err(WarehouseError::BadQuery(_))), "`{sql}`: {told:?}");
    }
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert_eq!(bench.names(), ["a=Ada"]);
}

pub fn a_query_tells_its_columns(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "told_columns", all_kinds());
    let sql = bench.select(&["Id", "Flag", "Whole", "Money"]);
    let head = bench.ask(&sql).unwrap();
    assert!(head.rows.is_empty(), "a query without rows has columns all the same");
    let names: Vec<String> = head.columns.iter().map(|column| column.name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["id", "flag", "whole", "money"]);
    assert!(matches!(head.columns[0].kind, ColumnType::Text | ColumnType::Id));
    assert_eq!(head.columns[1].kind, ColumnType::Boolean);
    assert!(matches!(head.columns[2].kind, ColumnType::Int | ColumnType::Decimal { .. }));
    assert!(matches!(head.columns[3].kind, ColumnType::Decimal { .. }));
}

/// Wants no more than its first rows.
struct Full(Kept);

impl QuerySink for Full {
    fn head(&mut self, columns: &[QueryColumn]) -> Result<(), WarehouseError> {
        self.0.head(columns)
    }

    fn rows(&mut self, _: RowChunk) -> Result<(), WarehouseError> {
        Err(WarehouseError::BadQuery("enough".to_owned()))
    }
}

pub fn a_sink_ends_a_query(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "ended_query");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let sql = bench.select(&["Id"]);
    let told = bench.warehouse.query(&sql, &mut Full(Kept::default()));
    assert!(matches!(&told, Err(WarehouseError::BadQuery(why)) if why == "enough"), "{told:?}");
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}
