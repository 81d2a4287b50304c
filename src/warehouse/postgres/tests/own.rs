//! What PostgreSQL adds to what every warehouse promises: files, queries, cancellation, several connections.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::PostgresGround;
use crate::store::disk::RealDisk;
use crate::sync::{ColumnType, LoadMode, PartNumber, QueryColumn, SchemaChange, StagedCount};
use crate::warehouse::contract::Ground as _;
use crate::warehouse::contract::bench::{Bench, Kept, chunk, column, counts, gone, row, small_layout};
use crate::warehouse::{Cell, PartSource, QuerySink, RowChunk, Spool, Warehouse as _, WarehouseError};

#[test]
fn a_file_is_staged_as_it_is() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "filed");
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 30, Arc::new(RealDisk)).unwrap();
    let layout = bench.layout.clone();
    let keep = |part, rows: &[Vec<Cell<'_>>]| {
        PartSource::File(spool.keep(&layout, PartNumber(part), "page", &chunk(4, rows)).unwrap())
    };
    let plan = bench.plan(LoadMode::Upsert);
    // What CSV and COPY have meanings for; text that looks like null; of duplicates, the later one is the last of all.
    let odd = "A \"B\",\nC\n\\.\nD\\N\r\n";
    let mut timeless = gone("b", "", 0);
    (timeless[1], timeless[2]) = (Cell::Null, Cell::Null);
    let rows = [row("a", "earlier", 1), row("a", odd, 1), timeless, row("c", "NULL", 0)];
    let source = keep(5, &rows);
    for _ in 0..2 {
        assert_eq!(bench.warehouse.stage(&plan, PartNumber(5), &source).unwrap().rows, 4);
    }
    bench.stage(&plan, 6, &[row("a", "older", 0)]);
    assert_eq!(counts(&bench.commit(&plan, 5)), [3, 0, 0, 0]);
    assert_eq!(bench.names(), [&format!("a={odd}"), "b=-!", "c=NULL"]);
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_not_staged() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "damaged");
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 30, Arc::new(RealDisk)).unwrap();
    let plan = bench.plan(LoadMode::Upsert);
    let one = chunk(4, &[row("a", "Ada", 0)]);
    let file = spool.keep(&bench.layout, PartNumber(0), "page", &one).unwrap();
    let mut staged = |csv: &str| {
        let mut packed = GzEncoder::new(std::fs::File::create(&file.path).unwrap(), Compression::fast());
        packed.write_all(csv.as_bytes()).unwrap();
        packed.finish().unwrap();
        bench.warehouse.stage(&plan, PartNumber(0), &PartSource::File(Arc::clone(&file))).unwrap_err()
    };
    let told = staged("\"Id\",\"Name\",\"_place\"\n\"a\",\"b\",\"0\"\n").to_string();
    assert!(told.contains("other columns"), "{told}");
    assert!(staged("").to_string().contains("no head"));
    let head = "\"Id\",\"Name\",\"SystemModstamp\",\"IsDeleted\",\"_place\"\n";
    let told = staged(head);
    assert!(matches!(told, WarehouseError::OtherCount { expected: 1, staged: 0, .. }), "{told}");
    let told = staged(&format!("{head}\"a\",\"ada's secret\",\"ada's secret\",,\"0\"\n"));
    assert!(matches!(&told, WarehouseError::BadValue { column, .. } if column == "SystemModstamp"), "{told}");
    assert!(!told.to_string().contains("secret"), "{told}");
    std::fs::write(&file.path, b"no gzip").unwrap();
    let damaged = PartSource::File(Arc::clone(&file));
    let told = bench.warehouse.stage(&plan, PartNumber(0), &damaged).unwrap_err().to_string();
    assert!(told.contains("cannot be read"), "{told}");
    bench.stage(&plan, 0, &[row("d", "Dan", 0)]);
    bench.commit(&plan, 1);
}

#[test]
fn an_update_leaves_columns_alone_that_are_not_the_loads() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "left_alone");
    let score = column("Score", ColumnType::Int);
    bench.change(&[SchemaChange::AddColumn { column: score.clone(), beside: None }]).unwrap();
    bench.layout.columns.push(score);
    let mut scored = row("a", "Ada", 0);
    scored.push(Cell::Int(7));
    bench.load(LoadMode::Upsert, &[scored]);
    bench.change(&[SchemaChange::Retire { name: "Score".to_owned() }]).unwrap();
    bench.layout = small_layout();
    for mode in [LoadMode::Upsert, LoadMode::Replace] {
        let plan = bench.plan(mode);
        bench.stage(&plan, 0, &[row("a", &format!("{mode:?}"), 1)]);
        bench.commit(&plan, 1);
    }
    assert_eq!(bench.read(&["Name", "Score"]), [["Replace", "7"]]);
}

#[test]
fn an_unchanged_row_is_not_written() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "unwritten");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let versions = || -> Vec<String> {
        let rows =
            stranger.rows("SELECT xmin || ' ' || xmax || ' ' || ctid FROM unwritten ORDER BY \"Id\"", &[]);
        rows.unwrap().iter().map(|row| row.try_get(0).unwrap()).collect()
    };
    let before = versions();
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bea", 0)]);
    let after = versions();
    assert_eq!(before[0], after[0], "neither written nor locked");
    assert_ne!(before[1], after[1]);
}

#[test]
fn parts_are_staged_on_several_connections_at_once() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "at_once");
    let plan = bench.plan(LoadMode::Upsert);
    let connections: Vec<_> = (0..4).map(|_| bench.another()).collect();
    std::thread::scope(|scope| {
        for (number, mut connection) in (0..).zip(connections) {
            let plan = &plan;
            scope.spawn(move || {
                for part in 0..5 {
                    let part = number * 5 + part;
                    let ids: Vec<String> = (0..100).map(|id| format!("{part}-{id}")).collect();
                    let rows: Vec<_> = ids.iter().map(|id| row(id, "Ada", 0)).collect();
                    let source = PartSource::Rows(Arc::new(chunk(4, &rows)));
                    assert_eq!(connection.stage(plan, PartNumber(part), &source).unwrap().rows, 100);
                }
            });
        }
    });
    assert_eq!(counts(&bench.commit(&plan, 2_000)), [2_000, 0, 0, 0]);
}

#[test]
fn nothing_of_a_load_is_left_behind() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "left");
    let left = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '\\_st%')
                          + (SELECT count(*) FROM _penstock_parts)";
        stranger.row(sql, &[]).unwrap().try_get(0).unwrap()
    };
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert_eq!(left(), 0);
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("b", "Bob", 0)]);
    bench.stage_keys(&plan, 1, &["b"]);
    assert_eq!(left(), 4);
    bench.warehouse.abandon(&plan).unwrap();
    assert_eq!(left(), 0);
    // As when the answer was lost, and parts came once more before the ledger was asked.
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("b", "Bob", 0)]);
    bench.commit(&plan, 1);
    bench.stage(&plan, 0, &[row("b", "Bob", 0)]);
    bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap();
    assert_eq!(left(), 0);
}

#[test]
fn a_query_tells_what_no_warehouse_table_of_ours_has() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "told");
    let sql = "SELECT 1::smallint AS a, 1.50::numeric(9,4) AS b, 2.5::float8 AS c, ARRAY[1,2] AS d,
                      '2026-01-02 03:04:05.678901'::timestamp AS e, '{\"b\": 1, \"a\": [1, 2]}'::jsonb AS f,
                      ''::text AS g, interval '1 day' AS h, 10::numeric / 4 AS i, NULL::int AS j;";
    let kept = bench.ask(sql).unwrap();
    let kinds: Vec<ColumnType> = kept.columns.iter().map(|column| column.kind).collect();
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    assert_eq!(
        kinds,
        [
            ColumnType::Int,
            decimal(9, 4),
            ColumnType::Text,
            ColumnType::Text,
            ColumnType::DateTime,
            ColumnType::Json,
            ColumnType::Text,
            ColumnType::Text,
            decimal(38, 18),
            ColumnType::Int
        ]
    );
    assert_eq!(
        kept.rows,
        [[
            "1",
            "1.5",
            "2.5",
            "{1,2}",
            "2026-01-02T03:04:05.678Z",
            r#"{"a":[1,2],"b":1}"#,
            "-",
            "P1D",
            "2.5",
            "-"
        ]]
    );
    let told = bench.ask("SELECT 'infinity'::date AS forever").unwrap_err();
    assert!(matches!(&told, WarehouseError::BadValue { column, .. } if column == "forever"), "{told}");
    let told = bench.ask("SELECT $1::int").unwrap_err();
    assert!(matches!(told, WarehouseError::BadQuery(_)), "{told}");
    let told = bench.ask("SELECT 'ada''s secret'::int").unwrap_err().to_string();
    assert!(!told.contains("secret"), "{told}");
    let told = bench.ask("SELECT set_config('transaction_read_only', 'off', true)").unwrap_err();
    assert!(matches!(told, WarehouseError::BadQuery(_)), "{told}");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
}

/// Counts rows, and how many there are at a time.
#[derive(Default)]
struct Counting {
    rows: usize,
    most: usize,
}

impl QuerySink for Counting {
    fn head(&mut self, _: &[QueryColumn]) -> Result<(), WarehouseError> {
        Ok(())
    }

    fn rows(&mut self, chunk: RowChunk) -> Result<(), WarehouseError> {
        self.rows += chunk.rows();
        self.most = self.most.max(chunk.bytes());
        Ok(())
    }
}

#[test]
fn rows_of_a_query_come_in_small_chunks() {
    let mut ground = PostgresGround::new();
    let mut warehouse = ground.connect();
    let mut counting = Counting::default();
    warehouse
        .query("SELECT n, repeat('x', 20000) AS text FROM generate_series(1, 5000) AS n", &mut counting)
        .unwrap();
    assert_eq!(counting.rows, 5_000);
    assert!(counting.most < 2 * 1024 * 1024, "{}", counting.most);
    let mut counting = Counting::default();
    warehouse.query("SELECT n FROM generate_series(1, 3000) AS n", &mut counting).unwrap();
    assert_eq!(counting.rows, 3_000, "also where the last fetch is a full one");
}

#[test]
fn a_query_that_is_cancelled_ends_and_its_connection_goes_on() {
    let mut ground = PostgresGround::new();
    let mut warehouse = ground.connect();
    let cancel = warehouse.cancel_handle().unwrap();
    let stranger = ground.stranger();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Not before it runs: a cancellation of nothing is none.
            let runs =
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'FETCH%' AND state = 'active'";
            while !stranger.row(runs, &[]).unwrap().try_get::<_, bool>(0).unwrap() {
                std::thread::yield_now();
            }
            cancel.cancel();
        });
        let told = warehouse.query("SELECT pg_sleep(60)", &mut Kept::default()).unwrap_err();
        assert!(told.to_string().contains("cancelled") && !told.ends_connection(), "{told}");
    });
    let mut kept = Kept::default();
    warehouse.query("SELECT 1 AS one", &mut kept).unwrap();
    assert_eq!(kept.rows, [["1"]]);
}

#[test]
fn a_secured_server_is_reached_by_its_certificate() {
    let ground = PostgresGround::alone();
    let certificate = ground.server.secure();
    let url = format!("postgresql://postgres@localhost:{}/{}", ground.server.port(), ground.database);
    let mut settings = super::settings(&url);
    settings.tls = crate::database::TlsMode::Require;
    let told = super::PostgresWarehouse::connect(&settings).unwrap_err();
    assert!(matches!(told, WarehouseError::Unreachable(_) | WarehouseError::Engine(_)), "{told}");
    settings.ca_file = Some(certificate);
    let mut warehouse = super::PostgresWarehouse::connect(&settings).unwrap();
    warehouse.open("a test").unwrap();
    let mut kept = Kept::default();
    warehouse.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &mut kept).unwrap();
    assert_eq!(kept.rows, [["true"]]);
    assert!(warehouse.cancel_handle().is_some());
}

#[test]
fn somebody_who_waits_for_a_lock_gives_up_in_time() {
    let ground = PostgresGround::new();
    assert_eq!(ground.settings.lock_timeout, Duration::from_millis(700));
    let session = ground.stranger();
    let told: String = session.row("SHOW lock_timeout", &[]).unwrap().try_get(0).unwrap();
    assert_eq!(told, "700ms");
}

#[test]
fn a_log_is_appended_while_it_is_read_and_takes_columns_more() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::bare(&mut ground, "a_log", small_layout());
    let (table, load) = (bench.table.clone(), bench.plan(LoadMode::Upsert).id);
    let mut layout = small_layout();
    let rows = chunk(4, &[row("a", "Ada", 0)]);
    bench.warehouse.append_log(&table, &layout, &load, PartNumber(0), &rows).unwrap();
    stranger.batch("BEGIN; SELECT * FROM a_log").unwrap();
    bench.warehouse.append_log(&table, &layout, &load, PartNumber(1), &rows).unwrap();
    stranger.batch("COMMIT").unwrap();
    layout.columns.push(column("Note", ColumnType::Text));
    let mut noted = row("b", "Bob", 0);
    noted.push(Cell::Text("a note"));
    bench.warehouse.append_log(&table, &layout, &load, PartNumber(1), &chunk(5, &[noted])).unwrap();
    let kept = bench.ask(r#"SELECT _part, "Name", "Note" FROM a_log ORDER BY 1"#).unwrap();
    assert_eq!(kept.rows, [["0", "Ada", "-"], ["1", "Bob", "a note"]]);
}
