//! The contract, and what is true of SQLite alone.

mod crashes;
mod faults;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::sync::{DeletePolicy, LoadMode};
use crate::warehouse::Cell;
use crate::warehouse::contract::bench::{Bench, Kept, column, row, small_layout};
use crate::warehouse::contract::model::loads_by_chance;
use crate::warehouse::contract::{Ground, warehouse_contract};

/// A file in a folder of its own.
pub(super) struct SqliteGround {
    folder: TempDir,
}

impl SqliteGround {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("warehouse.db")
    }

    /// Somebody else's connection.
    fn outside(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

impl Ground for SqliteGround {
    fn connect(&mut self) -> Box<dyn Warehouse> {
        Box::new(SqliteWarehouse::connect(&SqliteSettings::new(self.path())).unwrap())
    }

    fn execute(&mut self, sql: &str) {
        self.outside().execute_batch(sql).unwrap();
    }
}

warehouse_contract!(SqliteGround::new());

#[test]
fn loads_by_other_chances_do_what_the_model_does() {
    for seed in 100..102 {
        for deletes in [DeletePolicy::Flag, DeletePolicy::Remove] {
            loads_by_chance(&mut SqliteGround::new(), "lead", deletes, seed);
        }
    }
}

#[test]
fn decimals_are_numbers_to_whoever_asks() {
    let mut ground = SqliteGround::new();
    let mut layout = small_layout();
    layout.columns.push(column("Money", ColumnType::Decimal { precision: 18, scale: 2 }));
    let mut bench = Bench::with(&mut ground, "lead", layout);
    let money = |id, money| {
        let mut row = row(id, "Ada", 0);
        row.push(Cell::Decimal(money));
        row
    };
    let rows = [money("a", "250"), money("b", "1000.5"), money("c", "-3"), money("d", "9999999999999999.99")];
    bench.load(LoadMode::Upsert, &rows);
    let mut ask = |sql| bench.ask(sql).unwrap().rows.concat();
    assert_eq!(ask("SELECT Id FROM lead WHERE Money > 1000 ORDER BY Id"), ["b", "d"]);
    assert_eq!(ask("SELECT Id FROM lead ORDER BY Money"), ["c", "a", "b", "d"]);
    assert_eq!(ask("SELECT sum(Money) FROM lead WHERE Id < 'd'"), ["1247.5"]);
    assert_eq!(
        ask("SELECT Money / 3 > 83.3 FROM lead WHERE Id = 'a'"),
        ["1"],
        "no division of whole numbers"
    );
    assert_eq!(ask("SELECT CAST(Money AS TEXT) FROM lead WHERE Id = 'd'"), ["9999999999999999.99"]);
}

#[test]
fn a_schema_is_part_of_the_tables_name() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::bare(&mut ground, "lead", small_layout());
    bench.table = "crm.lead".parse().unwrap();
    bench.change(&[SchemaChange::CreateTable { layout: small_layout() }]).unwrap();
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert!(bench.state().altered.is_empty());
    assert_eq!(bench.ask("SELECT Name FROM \"crm.lead\"").unwrap().rows, [["Ada"]]);
}

#[test]
fn rows_of_a_spool_file_are_rows() {
    let mut ground = SqliteGround::new();
    let folder = tempfile::tempdir().unwrap();
    struct Room;
    impl crate::store::disk::Disk for Room {
        fn free_bytes(&self, _: &Path) -> std::io::Result<u64> {
            Ok(u64::MAX)
        }
    }
    let spool = super::super::Spool::open(folder.path(), 1 << 30, Arc::new(Room)).unwrap();
    let mut bench = Bench::new(&mut ground, "lead");
    let plan = bench.plan(LoadMode::Upsert);
    let rows = [row("a", "It's \"Ada\",\r\nof old", 0), row("b", "Bob", 1)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut writer = runtime.block_on(spool.begin(&plan.layout, PartNumber(0), "p")).unwrap();
    writer.push(&crate::warehouse::contract::bench::chunk(4, &rows)).unwrap();
    let file = PartSource::File(writer.finish().unwrap());
    assert_eq!(bench.warehouse.stage(&plan, PartNumber(0), &file).unwrap().rows, 2);
    bench.commit(&plan, 2);
    assert_eq!(bench.names(), ["a=It's \"Ada\",\r\nof old", "b=Bob"]);
}

#[test]
fn a_file_is_the_same_under_all_its_names() {
    let ground = SqliteGround::new();
    let mut first = SqliteWarehouse::connect(&SqliteSettings::new(ground.path())).unwrap();
    first.open("first").unwrap();
    let link = ground.folder.path().join("link.db");
    std::os::unix::fs::symlink(ground.path(), &link).unwrap();
    let around = ground.folder.path().join("../").join(ground.folder.path().file_name().unwrap());
    for path in [link, around.join("warehouse.db")] {
        let mut second = SqliteWarehouse::connect(&SqliteSettings::new(path)).unwrap();
        assert!(matches!(second.open("second"), Err(WarehouseError::InUse(_))));
        second.open("first").unwrap();
    }
}

#[test]
fn any_program_can_read_it_while_it_is_open() {
    let mut ground = SqliteGround::new();
    let outside = ground.path();
    let mut bench = Bench::new(&mut ground, "lead");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags(outside, flags).unwrap();
    let kept: (String, i64) = reader
        .query_row("SELECT Name, IsDeleted FROM lead", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(kept, ("Ada".to_owned(), 0));
}

#[test]
fn a_query_cannot_open_another_file() {
    let mut ground = SqliteGround::new();
    let stolen = ground.folder.path().join("stolen.db");
    let mut bench = Bench::new(&mut ground, "lead");
    for sql in [
        format!("ATTACH '{}' AS stolen", stolen.display()),
        format!("VACUUM INTO '{}'", stolen.display()),
        "PRAGMA query_only = OFF".to_owned(),
        "PRAGMA journal_mode = DELETE".to_owned(),
        "BEGIN".to_owned(),
    ] {
        assert!(bench.ask(&sql).is_err(), "`{sql}`");
    }
    assert!(!stolen.exists());
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert_eq!(bench.names(), ["a=Ada"]);
}

#[test]
fn a_query_gives_many_rows_in_pieces() {
    struct Pieces(Vec<usize>);
    impl QuerySink for Pieces {
        fn head(&mut self, columns: &[crate::sync::QueryColumn]) -> Result<(), WarehouseError> {
            assert_eq!(columns[0].kind, ColumnType::Int);
            Ok(())
        }
        fn rows(&mut self, chunk: RowChunk) -> Result<(), WarehouseError> {
            self.0.push(chunk.rows());
            Ok(())
        }
    }
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground, "lead");
    let mut pieces = Pieces(Vec::new());
    let sql =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT i FROM n";
    bench.warehouse.query(sql, &mut pieces).unwrap();
    assert_eq!(pieces.0, [1_000, 1_000, 500]);
    let mut kept = Kept::default();
    bench.warehouse.query("SELECT 1.5, NULL, 'x', x'41', '' ", &mut kept).unwrap();
    assert_eq!(kept.rows, [["1.5", "-", "x", "A", "-"]]);
}

#[test]
fn a_value_that_nobody_can_read_is_its_rows_trouble_and_not_the_querys() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground, "bytes");
    let rows = bench
        .ask("SELECT 1, CAST(x'ff' AS TEXT) UNION ALL SELECT 2, x'fe' UNION ALL SELECT 3, 'ok'")
        .unwrap()
        .rows;
    assert_eq!(rows, [["1", "unreadable"], ["2", "unreadable"], ["3", "ok"]]);
}
