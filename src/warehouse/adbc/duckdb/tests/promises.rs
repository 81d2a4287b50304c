//! What DuckDB's warehouse promises beside what all do.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;

use super::library::{DuckDbGround, setting};
use crate::sync::{
    ColumnType, DeletePolicy, LoadId, LoadMode, LoadPlan, LoadState, PartNumber, SchemaChange, StagedCount,
    TableColumn, TableLayout,
};
use crate::warehouse::adbc::duckdb::{DuckDbSettings, DuckDbWarehouse};
use crate::warehouse::contract::bench::{Kept, at, column, row, small_layout};
use crate::warehouse::{Cell, PartSource, RowChunk, Warehouse, WarehouseError};

const PARTS: u32 = 4;
const PART_ROWS: u64 = 5_000;

fn plan(number: u64, layout: TableLayout) -> LoadPlan {
    LoadPlan {
        id: LoadId::new(number, 7),
        org: "acme".parse().unwrap(),
        object: "Lead".parse().unwrap(),
        table: "lead".parse().unwrap(),
        mode: LoadMode::Upsert,
        layout,
        deletes: DeletePolicy::Flag,
        from: None,
        to: Some("2026-01-02T03:04:05.678901Z".parse().unwrap()),
        schema_version: 1,
        stage: None,
        is_filtered: false,
        origin: None,
        ousts: false,
    }
}

/// Opens the warehouse and makes the table.
fn ready(mut warehouse: DuckDbWarehouse, layout: TableLayout) -> DuckDbWarehouse {
    warehouse.open("the tests").unwrap();
    let plan = plan(0, layout.clone());
    let create = SchemaChange::CreateTable { layout };
    warehouse.apply_schema(&plan.org, &plan.object, &plan.table, &[create]).unwrap();
    warehouse
}

fn ask(warehouse: &mut DuckDbWarehouse, sql: &str) -> Result<Kept, WarehouseError> {
    let mut kept = Kept::default();
    warehouse.query(sql, &mut kept)?;
    Ok(kept)
}

fn load(warehouse: &mut DuckDbWarehouse, plan: &LoadPlan, rows: &[Vec<Cell<'_>>]) {
    let mut chunk = RowChunk::new(plan.layout.columns.len());
    for row in rows {
        chunk.push(row.iter().copied());
    }
    warehouse.stage(plan, PartNumber(0), &PartSource::Rows(Arc::new(chunk))).unwrap();
    warehouse.commit(plan, StagedCount::of_rows(rows.len() as u64)).unwrap();
}

/// Rows of a part, each with a text that is hard to pack.
fn part_of(part: u32) -> PartSource {
    let mut chunk = RowChunk::new(4);
    for number in 0..PART_ROWS {
        let id = format!("{part:03}{number:012}AAA");
        let text = (number + u64::from(part) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_string().repeat(5);
        chunk.push([Cell::Text(&id), Cell::Text(&text), at(0), Cell::Boolean(false)]);
    }
    PartSource::Rows(Arc::new(chunk))
}

/// A test of this module, as the harness names it.
fn test_name(name: &str) -> String {
    format!("{}::{name}", module_path!().split_once("::").unwrap().1)
}

/// Not a test by itself: the process that others start. It opens the file, stages rows, and commits them when it is told to.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn stages_and_commits() {
    let file = setting("PENSTOCK_TEST_FILE").unwrap();
    let driver = super::library::library();
    let mut warehouse =
        DuckDbWarehouse::connect(&DuckDbSettings { driver, ..DuckDbSettings::new(file) }).unwrap();
    warehouse = ready(warehouse, small_layout());
    println!("open");
    let plan = plan(1, small_layout());
    for part in 0..PARTS {
        let mut chunk = RowChunk::new(4);
        for number in 0..PART_ROWS {
            let id = format!("{part:03}{number:012}AAA");
            chunk.push([
                Cell::Text(&id),
                Cell::Text("some text that takes room"),
                at(0),
                Cell::Boolean(false),
            ]);
        }
        warehouse.stage(&plan, PartNumber(part), &PartSource::Rows(Arc::new(chunk))).unwrap();
    }
    println!("staged");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    warehouse.commit(&plan, StagedCount::of_rows(u64::from(PARTS) * PART_ROWS)).unwrap();
    println!("committed");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// The process, and what it prints, from a line on.
fn other_process(ground: &DuckDbGround, until: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name("stages_and_commits"), "--ignored", "--nocapture"])
        .env("PENSTOCK_TEST_FILE", ground.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The harness writes the test's name on the same line.
    while !line.trim_end().ends_with(until) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the other process ended");
    }
    (child, lines)
}

#[test]
fn a_file_that_another_process_has_is_in_use() {
    let Some(ground) = DuckDbGround::make() else { return };
    let (mut child, _lines) = other_process(&ground, "open");
    let told = DuckDbWarehouse::connect(&ground.settings());
    assert!(matches!(&told, Err(WarehouseError::InUse(why)) if why.contains("warehouse.duckdb")), "{told:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    ready(ground.duckdb(), small_layout());
}

/// Kills a commit after a while; whether it was committed.
fn killed_after(delay: Duration) -> Option<bool> {
    let ground = DuckDbGround::make()?;
    let (mut child, _lines) = other_process(&ground, "staged");
    drop(child.stdin.take());
    std::thread::park_timeout(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut warehouse = ready(ground.duckdb(), small_layout());
    let plan = plan(1, small_layout());
    let rows = u64::from(PARTS) * PART_ROWS;
    let there = warehouse.count(&plan.table, &plan.layout).unwrap();
    let is_committed = match warehouse.load_state(&plan).unwrap() {
        LoadState::Committed(receipt) => {
            assert_eq!((there, receipt.inserted), (rows, rows));
            true
        }
        LoadState::Staged { parts } => {
            assert_eq!((there, parts.len()), (0, PARTS as usize));
            assert_eq!(warehouse.watermark(&plan.org, &plan.object, &plan.table).unwrap(), None);
            false
        }
        LoadState::Unknown => panic!("what was staged is lost"),
    };
    assert_eq!(warehouse.commit(&plan, StagedCount::of_rows(rows)).unwrap().inserted, rows);
    assert_eq!(warehouse.count(&plan.table, &plan.layout).unwrap(), rows);
    let at = warehouse.watermark(&plan.org, &plan.object, &plan.table).unwrap().map(|mark| mark.at);
    assert_eq!(at, plan.to);
    let left = "SELECT count(*) FROM duckdb_tables() WHERE starts_with(table_name, '_stg')";
    assert_eq!(ask(&mut warehouse, left).unwrap().rows, [["0"]]);
    Some(is_committed)
}

#[test]
fn a_commit_that_is_killed_is_whole_or_nothing() {
    let Some(at_once) = killed_after(Duration::ZERO) else { return };
    assert!(!at_once, "twenty thousand rows take a while");
    let (mut before, mut after) = (Duration::ZERO, Duration::from_millis(20));
    while !killed_after(after).unwrap() {
        assert!(after < Duration::from_secs(30), "it is never committed");
        (before, after) = (after, after * 2);
    }
    // Towards the moment itself.
    for _ in 0..5 {
        let between = (before + after) / 2;
        *if killed_after(between).unwrap() { &mut after } else { &mut before } = between;
    }
}

#[rstest]
#[case::insert("INSERT INTO lead (\"Id\") VALUES ('x')")]
#[case::delete("DELETE FROM lead")]
#[case::returning("DELETE FROM lead RETURNING *")]
#[case::two("SELECT 1; DELETE FROM lead")]
#[case::commit_first("COMMIT; DELETE FROM lead")]
#[case::closed_parenthesis("SELECT 1) ; DELETE FROM lead; SELECT (1")]
#[case::copy("COPY lead TO '/tmp/penstock-must-not-be.csv'")]
#[case::other_file("SELECT * FROM read_text('/etc/hostname')")]
#[case::file_as_table("SELECT * FROM '/etc/hostname.csv'")]
#[case::attach("ATTACH '/tmp/penstock-must-not-be.duckdb' AS other")]
#[case::setting("SET enable_external_access = true")]
#[case::pragma("PRAGMA enable_profiling")]
#[case::install("INSTALL httpfs")]
#[case::sequence("SELECT nextval('numbers')")]
#[case::nothing("")]
#[case::comment("-- SELECT 1")]
#[case::nul("SELECT 1\0")]
#[case::no_sql("SELEC")]
#[case::no_table("SELECT * FROM never")]
fn what_does_more_than_read_this_file_is_refused(#[case] sql: &str) {
    let Some(ground) = DuckDbGround::make() else { return };
    let mut warehouse = ready(ground.duckdb(), small_layout());
    load(&mut warehouse, &plan(1, small_layout()), &[row("a", "Ada", 0)]);
    warehouse.connection.execute("CREATE SEQUENCE numbers").unwrap();
    let told = ask(&mut warehouse, sql);
    assert!(matches!(told, Err(WarehouseError::BadQuery(_))), "{told:?}");
    assert_eq!(ask(&mut warehouse, "SELECT \"Name\" FROM lead").unwrap().rows, [["Ada"]]);
}

#[rstest]
#[case::text("SELECT 'a' || chr(10) || 'b'", ColumnType::Text, "a\nb")]
#[case::empty("SELECT ''", ColumnType::Text, "-")]
#[case::semicolon("SELECT 1;", ColumnType::Int, "1")]
#[case::comment_last("SELECT [1] -- one", ColumnType::Text, "[1]")]
#[case::from_first("FROM range(1)", ColumnType::Int, "0")]
#[case::small("SELECT (-7)::TINYINT", ColumnType::Int, "-7")]
#[case::big("SELECT 18446744073709551615::UBIGINT", ColumnType::Decimal { precision: 20, scale: 0 }, "18446744073709551615")]
#[case::huge("SELECT (-5)::HUGEINT", ColumnType::Decimal { precision: 38, scale: 0 }, "-5")]
#[case::decimal("SELECT (-0.10)::DECIMAL(9,2)", ColumnType::Decimal { precision: 9, scale: 2 }, "-0.1")]
#[case::double("SELECT 1e21::DOUBLE", ColumnType::Text, "1000000000000000000000")]
#[case::day("SELECT DATE '1969-12-31'", ColumnType::Date, "1969-12-31")]
#[case::time("SELECT TIME '23:59:59.999999'", ColumnType::Time, "23:59:59.999")]
#[case::instant(
    "SELECT TIMESTAMPTZ '1969-12-31 23:59:59.9995+00'",
    ColumnType::DateTime,
    "1969-12-31T23:59:59.999Z"
)]
#[case::local("SELECT TIMESTAMP '2026-01-02 03:04:05'", ColumnType::DateTime, "2026-01-02T03:04:05.000Z")]
#[case::list("SELECT [1, 2]", ColumnType::Text, "[1, 2]")]
#[case::structure("SELECT {'a': 'x'} AS \"odd \"\" name\"", ColumnType::Text, "{'a': x}")]
#[case::word("SELECT 'x'::ENUM('x', 'y')", ColumnType::Text, "x")]
#[case::span("SELECT INTERVAL 1 DAY", ColumnType::Text, "1 day")]
#[case::bytes("SELECT 'a'::BLOB", ColumnType::Text, "a")]
#[case::null("SELECT NULL", ColumnType::Int, "-")]
fn an_answer_is_in_our_types(#[case] sql: &str, #[case] kind: ColumnType, #[case] value: &str) {
    let Some(ground) = DuckDbGround::make() else { return };
    let kept = ask(&mut ground.duckdb(), sql).unwrap();
    assert_eq!(kept.columns[0].kind, kind);
    assert_eq!(kept.rows, [[value]]);
}

#[test]
fn a_query_that_is_cancelled_ends_and_the_connection_goes_on() {
    let Some(ground) = DuckDbGround::make() else { return };
    let mut warehouse = ground.duckdb();
    let cancel = warehouse.cancel_handle().unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let canceller = std::thread::spawn(move || {
        // Again and again: the first may come before the query has begun.
        while ended.recv_timeout(Duration::from_millis(20)).is_err() {
            cancel.cancel();
        }
    });
    let told = ask(&mut warehouse, "SELECT count(*) FROM range(100_000_000_000) a WHERE hash(a) = 7");
    end.send(()).unwrap();
    canceller.join().unwrap();
    let Err(told) = told else { panic!("it went through a hundred thousand million rows") };
    assert!(told.to_string().to_lowercase().contains("interrupt"), "{told}");
    assert_eq!(ask(&mut warehouse, "SELECT 1").unwrap().rows, [["1"]]);
}

#[test]
fn memory_threads_and_schema_are_as_configured() {
    let Some(ground) = DuckDbGround::make() else { return };
    let settings = DuckDbSettings {
        schema: Some("my crm".to_owned()),
        memory_bytes: 64 << 20,
        threads: 3,
        ..ground.settings()
    };
    let mut warehouse = ready(DuckDbWarehouse::connect(&settings).unwrap(), small_layout());
    load(&mut warehouse, &plan(1, small_layout()), &[row("a", "Ada", 0)]);
    let sql =
        "SELECT current_setting('memory_limit'), current_setting('threads'), count(*) FROM \"my crm\".lead";
    assert_eq!(ask(&mut warehouse, sql).unwrap().rows, [["64.0 MiB", "3", "1"]]);
    let stray = "SELECT count(*) FROM duckdb_tables() WHERE schema_name <> 'my crm'";
    assert_eq!(ask(&mut warehouse, stray).unwrap().rows, [["0"]]);
}

/// A load of many times the memory that it is given.
#[test]
fn what_does_not_fit_in_memory_goes_to_the_disk() {
    let Some(ground) = DuckDbGround::make() else { return };
    let settings = DuckDbSettings { memory_bytes: 32 << 20, ..ground.settings() };
    let mut warehouse = ready(DuckDbWarehouse::connect(&settings).unwrap(), small_layout());
    for (number, name) in [(1, "x".repeat(400)), (2, "y".repeat(400))] {
        let plan = plan(number, small_layout());
        let mut rows = 0;
        for part in 0..20 {
            let mut chunk = RowChunk::new(4);
            for row in 0..5_000 {
                let (id, name) = (format!("{part:03}{row:012}AAA"), format!("{name}{}", row * 7_919 % 5_003));
                chunk.push([Cell::Text(&id), Cell::Text(&name), at(number as i64), Cell::Boolean(false)]);
            }
            rows +=
                warehouse.stage(&plan, PartNumber(part), &PartSource::Rows(Arc::new(chunk))).unwrap().rows;
        }
        let receipt = warehouse.commit(&plan, StagedCount::of_rows(rows)).unwrap();
        assert_eq!(receipt.written(), 100_000);
    }
}

/// More keys than are told apart at a time; of each of three rows that come twice, far from each other, the newest stays.
#[test]
fn of_very_many_rows_none_stays_twice() {
    let Some(ground) = DuckDbGround::make() else { return };
    let mut warehouse = ready(ground.duckdb(), small_layout());
    let plan = plan(1, small_layout());
    let (parts, part_rows) = (57_u32, 9_000_u32);
    for part in 0..parts {
        let mut chunk = RowChunk::new(4);
        for row in 0..part_rows {
            let number = part * part_rows + row;
            // The last three of all are the first of parts 0, 20 and 40 again.
            let again = (parts * part_rows - number).checked_sub(1).filter(|left| *left < 3);
            let key = again.map_or(number, |left| left * 20 * part_rows);
            let id = format!("00Q{key:012}AAA");
            let name = if again.is_some() { "newest" } else { "first" };
            let stamp = at(if again.is_some() { 2 } else { 1 });
            chunk.push([Cell::Text(&id), Cell::Text(name), stamp, Cell::Boolean(false)]);
        }
        warehouse.stage(&plan, PartNumber(part), &PartSource::Rows(Arc::new(chunk))).unwrap();
    }
    let rows = u64::from(parts * part_rows);
    let receipt = warehouse.commit(&plan, StagedCount::of_rows(rows)).unwrap();
    assert_eq!(receipt.inserted, rows - 3);
    let sql = "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE name = 'newest') FROM lead";
    let count = (rows - 3).to_string();
    assert_eq!(ask(&mut warehouse, sql).unwrap().rows, [[count.clone(), count, "3".to_owned()]]);
}

#[rstest]
#[case::lock(
    "IO Error: Could not set lock on file \"/a\": Conflicting lock is held in /b (PID 1)",
    "another penstock"
)]
#[case::room("IO Error: Could not write file \"/a\": No space left on device", "no room")]
#[case::memory("Out of Memory Error: failed to pin block of size 256.0 KiB", "no room")]
#[case::fatal(
    "FATAL Error: Failed: database has been invalidated because of a previous fatal error",
    "cannot be reached"
)]
#[case::rights("IO Error: Cannot open file \"/a\": Permission denied", "refuses")]
#[case::conflict("TransactionContext Error: Catalog write-write conflict on alter with \"lead\"", "locked")]
#[case::value(
    "Conversion Error: Could not convert string 'Ada' to INT64\n\nLINE 1: ...",
    "one of the load's"
)]
#[case::other(
    "Catalog Error: Table with name t does not exist!\nDid you mean \"u\"?\n\nLINE 1: SELECT",
    "fails: Catalog Error"
)]
fn what_the_engine_says_has_a_kind(#[case] message: &str, #[case] told: &str) {
    let error = adbc_core::error::Error::with_message_and_status(message, adbc_core::error::Status::Internal);
    let error = super::super::file::classify(&error).to_string();
    assert!(error.contains(told) && !error.contains("Ada") && !error.contains("LINE 1"), "{error}");
}

#[test]
fn another_reader_finds_types_rows_and_ledger() {
    let Some(ground) = DuckDbGround::make() else { return };
    let Some(python) = super::library::python() else { return };
    let kinds = [
        ("Amount__c", ColumnType::Decimal { precision: 16, scale: 2 }),
        ("Factor__c", ColumnType::Decimal { precision: 30, scale: 10 }),
        ("Day__c", ColumnType::Date),
        ("Hour__c", ColumnType::Time),
        ("Number__c", ColumnType::Int),
        ("Address", ColumnType::Json),
    ];
    let mut layout = small_layout();
    layout.columns.extend(kinds.map(|(name, kind)| column(name, kind)));
    let mut warehouse = ready(ground.duckdb(), layout.clone());
    let full = |id, name| {
        let mut row = row(id, name, 5);
        row.extend([
            Cell::Decimal("-12345678901234.56"),
            Cell::Decimal("0.0000000001"),
            Cell::Date(-1),
            Cell::Time(86_399_999),
            Cell::Int(i64::MIN),
            Cell::Json(r#"{"city":"Zürich"}"#),
        ]);
        row
    };
    let mut empty = vec![Cell::Null; layout.columns.len()];
    empty[0] = Cell::Text("b");
    load(&mut warehouse, &plan(1, layout.clone()), &[full("a", "Zoë, \"A\"\n'"), empty]);
    load(&mut warehouse, &plan(2, layout), &[full("a", "Eve")]);
    drop(warehouse);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/warehouse/read_duckdb.py");
    let read = Command::new(python).arg(script).arg(ground.file()).args(["lead", "Id"]).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    let expected = serde_json::json!({
        "columns": {
            "Id": "VARCHAR", "Name": "VARCHAR", "SystemModstamp": "TIMESTAMP WITH TIME ZONE", "IsDeleted": "BOOLEAN",
            "Amount__c": "DECIMAL(18,2)", "Factor__c": "DECIMAL(30,10)", "Day__c": "DATE", "Hour__c": "TIME",
            "Number__c": "BIGINT", "Address": "VARCHAR",
        },
        "rows": [
            ["a", "Eve", "2026-01-01 00:00:00.005000+00:00", "False", "-12345678901234.56", "1E-10", "1969-12-31",
             "23:59:59.999000", "-9223372036854775808", r#"{"city":"Zürich"}"#],
            ["b", null, null, null, null, null, null, null, null, null],
        ],
        "ledger": [
            [LoadId::new(1, 7).as_str(), "acme", "Lead", "lead", "upsert", 2, 2, 0, 0, 0],
            [LoadId::new(2, 7).as_str(), "acme", "Lead", "lead", "upsert", 1, 0, 1, 0, 0],
        ],
        "tables": ["_penstock_columns", "_penstock_loads", "_penstock_owner", "_penstock_tables", "lead"],
    });
    assert_eq!(read, expected);
}

#[test]
fn a_field_that_comes_to_be_is_the_flag_from_then_on() {
    let Some(ground) = DuckDbGround::make() else { return };
    let mut layout = small_layout();
    layout.columns.truncate(3);
    layout.deleted = None;
    let mut warehouse = ready(ground.duckdb(), layout.clone());
    load(&mut warehouse, &plan(1, layout), &[row("a", "Ada", 0)[..3].to_vec()]);
    let plan = plan(2, small_layout());
    let flag = TableColumn {
        field: "IsDeleted".to_owned(),
        name: "IsDeleted".to_owned(),
        kind: ColumnType::Boolean,
    };
    let add = SchemaChange::AddColumn { column: flag, beside: None };
    for _ in 0..2 {
        let version =
            warehouse.apply_schema(&plan.org, &plan.object, &plan.table, std::slice::from_ref(&add));
        assert_eq!(version.unwrap(), 2);
    }
    load(&mut warehouse, &plan, &[vec![Cell::Text("a"), Cell::Text("Ada"), at(1), Cell::Boolean(true)]]);
    assert_eq!(ask(&mut warehouse, "SELECT \"IsDeleted\" FROM lead").unwrap().rows, [["true"]]);
}

/// Parts that take more room in the engine's files than the test below leaves.
const MANY_PARTS: u32 = 12;

/// Not a test by itself: the process that may write only so much. It stages, and cannot commit.
#[test]
#[ignore = "run by `a_disk_that_is_full_is_told_and_nothing_is_lost` in a process of its own"]
fn commits_where_there_is_no_room() {
    let file = setting("PENSTOCK_TEST_FILE").unwrap();
    let driver = super::library::library();
    let mut warehouse =
        DuckDbWarehouse::connect(&DuckDbSettings { driver, ..DuckDbSettings::new(file) }).unwrap();
    warehouse = ready(warehouse, small_layout());
    let plan = plan(1, small_layout());
    for part in 0..MANY_PARTS {
        warehouse.stage(&plan, PartNumber(part), &part_of(part)).unwrap();
    }
    let told = warehouse.commit(&plan, StagedCount::of_rows(u64::from(MANY_PARTS) * PART_ROWS));
    assert!(matches!(told, Err(WarehouseError::Full(_))), "{told:?}");
    println!("no room was told");
}

#[test]
fn a_disk_that_is_full_is_told_and_nothing_is_lost() {
    let Some(ground) = DuckDbGround::make() else { return };
    // A file that may not grow past a megabyte is as good as a disk that is full, and needs no rights.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test_name("commits_where_there_is_no_room"), "--ignored", "--nocapture"])
        .env("PENSTOCK_TEST_FILE", ground.file())
        .output()
        .unwrap();
    let [said, wrong] = [&limited.stdout, &limited.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(limited.status.success() && said.contains("no room was told"), "{said}{wrong}");
    let mut warehouse = ready(ground.duckdb(), small_layout());
    let plan = plan(1, small_layout());
    assert_eq!(warehouse.count(&plan.table, &plan.layout).unwrap(), 0);
    let state = warehouse.load_state(&plan).unwrap();
    assert!(matches!(&state, LoadState::Staged { parts } if parts.len() == MANY_PARTS as usize), "{state:?}");
    let rows = u64::from(MANY_PARTS) * PART_ROWS;
    assert_eq!(warehouse.commit(&plan, StagedCount::of_rows(rows)).unwrap().inserted, rows);
}
