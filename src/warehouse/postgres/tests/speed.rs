//! How fast it is, run by hand: `cargo test --release -- --ignored --nocapture postgres::tests::speed`.

use std::sync::Arc;

use super::PostgresGround;
use crate::clock::SystemClock;
use crate::sync::{ColumnType, LoadMode, PartNumber, TableLayout};
use crate::warehouse::contract::bench::{Bench, column};
use crate::warehouse::{Cell, PartSource, RowChunk};

const ROWS: u32 = 200_000;
const PART: u32 = 10_000;

/// 30 columns as a lead has them.
fn layout() -> TableLayout {
    let mut columns = vec![
        column("Id", ColumnType::Id),
        column("SystemModstamp", ColumnType::DateTime),
        column("IsDeleted", ColumnType::Boolean),
        column("CreatedDate", ColumnType::DateTime),
        column("LastActivityDate", ColumnType::Date),
        column("NumberOfEmployees", ColumnType::Int),
        column("AnnualRevenue", ColumnType::Decimal { precision: 18, scale: 2 }),
        column("OwnerId", ColumnType::Id),
    ];
    columns.extend((8..30).map(|number| column(&format!("Text_{number}__c"), ColumnType::Text)));
    TableLayout { columns, key: 0, stamp: Some(1), deleted: Some(2), deleted_column: "IsDeleted".to_owned() }
}

/// Every tenth row is other than in the round before.
fn part(number: u32, round: i64) -> RowChunk {
    let mut chunk = RowChunk::with_room(30, PART as usize, PART as usize * 400);
    for index in number * PART..(number + 1) * PART {
        let changed = if index % 10 == 0 { round } else { 0 };
        let id = format!("00Q{index:012}AAA");
        let name = format!("Ada Lovelace {index} {changed}");
        let mut cells = vec![
            Cell::Text(&id),
            Cell::DateTime(1_767_225_600_000 + i64::from(index) + changed * 1_000),
            Cell::Boolean(false),
            Cell::DateTime(1_700_000_000_000 + i64::from(index)),
            Cell::Date(20_000),
            Cell::Int(i64::from(index)),
            Cell::Decimal("1250000.5"),
            Cell::Text("005000000000001AAA"),
            Cell::Text(&name),
        ];
        let texts = ["Qualified", "Enterprise \"A\"", "ada@example.com", "+49 30 1234567"];
        cells.extend(
            (9..30).map(|place| if place % 3 == 0 { Cell::Null } else { Cell::Text(texts[place % 4]) }),
        );
        chunk.push(cells);
    }
    chunk
}

/// Seconds of processor that a process has used.
fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
#[ignore = "measures"]
fn two_hundred_thousand_rows() {
    let mut ground = PostgresGround::alone();
    let mut bench = Bench::with(&mut ground, "fast", layout());
    let clock = SystemClock::shared();
    for (round, mode) in [(0, LoadMode::Replace), (1, LoadMode::Upsert), (2, LoadMode::Replace)] {
        let plan = bench.plan(mode);
        let (mut used, mut waited) = (0.0, 0.0);
        for number in 0..ROWS / PART {
            let source = PartSource::Rows(Arc::new(part(number, round)));
            let (from, since) = (cpu("self"), clock.elapsed());
            bench.warehouse.stage(&plan, PartNumber(number), &source).unwrap();
            used += cpu("self") - from;
            waited += (clock.elapsed() - since).as_secs_f64();
        }
        let (from, since) = (cpu("self"), clock.elapsed());
        let receipt = bench.commit(&plan, ROWS as usize);
        used += cpu("self") - from;
        println!(
            "{mode:?} {round}: {:.0} rows/CPU-s ({:.2} us a row), stage {waited:.1} s, commit {:.1} s, at most {} MB, {receipt:?}",
            f64::from(ROWS) / used,
            used * 1e6 / f64::from(ROWS),
            (clock.elapsed() - since).as_secs_f64(),
            memory_mb(),
        );
    }
    let plan = bench.plan(LoadMode::KeepKeys);
    for number in 0..ROWS / PART {
        let source = PartSource::Keys(Arc::new(part(number, 0)));
        bench.warehouse.stage(&plan, PartNumber(1_000_000_000 + number), &source).unwrap();
    }
    let since = clock.elapsed();
    let receipt = bench.commit(&plan, 0);
    println!("KeepKeys: commit {:.1} s, {receipt:?}", (clock.elapsed() - since).as_secs_f64());
}

/// The ways to make staged rows the target's, on the server's own time: what is written here decided for `merge.rs`.
#[test]
#[ignore = "measures"]
fn ways_to_merge() {
    let ground = PostgresGround::alone();
    let session = ground.stranger();
    session
        .batch(
            "CREATE TABLE first AS SELECT 'id' || n AS id, now() AS stamp, n AS a, md5(n::text) AS b, md5((n + 1)::text) AS c,
                    repeat('x', 100) AS d, repeat('y', 100) AS e FROM generate_series(1, 200000) AS n;
             CREATE UNLOGGED TABLE s AS SELECT id, stamp, a, CASE WHEN a % 10 = 0 THEN 'other' ELSE b END AS b, c, d, e FROM first;
             INSERT INTO s SELECT 'new' || n, now(), n, 'b', 'c', 'd', 'e' FROM generate_series(1, 5000) AS n; ANALYZE s",
        )
        .unwrap();
    let set = "stamp = s.stamp, a = s.a, b = s.b, c = s.c, d = s.d, e = s.e";
    let differ = "(t.stamp, t.a, t.b, t.c, t.d, t.e) IS DISTINCT FROM (s.stamp, s.a, s.b, s.c, s.d, s.e)";
    let update = format!("UPDATE t SET {set} FROM s WHERE t.id = s.id AND s.stamp >= t.stamp AND {differ}");
    let insert = "INSERT INTO t SELECT * FROM s WHERE NOT EXISTS (SELECT FROM t WHERE t.id = s.id)";
    let ways = [
        ("update, then insert what is missing", format!("{update}; {insert}")),
        (
            "insert on conflict",
            format!(
                "INSERT INTO t SELECT * FROM s ON CONFLICT (id) DO UPDATE SET {} WHERE excluded.stamp >= t.stamp AND {}",
                set.replace("s.", "excluded."),
                differ.replace("s.", "excluded.").replace("texcluded.", "t.")
            ),
        ),
        (
            "delete, then insert",
            "DELETE FROM t USING s WHERE t.id = s.id AND s.stamp >= t.stamp; INSERT INTO t SELECT * FROM s"
                .to_owned(),
        ),
        (
            "delete what differs, then insert",
            format!("DELETE FROM t USING s WHERE t.id = s.id AND s.stamp >= t.stamp AND {differ}; {insert}"),
        ),
    ];
    // Round and round, since the machine is not ours alone.
    for (name, sql) in ways.iter().cycle().take(3 * ways.len()) {
        session
            .batch(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (LIKE first); INSERT INTO t SELECT * FROM first;
                 ALTER TABLE t ADD PRIMARY KEY (id); ANALYZE t; CHECKPOINT",
            )
            .unwrap();
        let at = || -> String {
            session.row("SELECT pg_current_wal_lsn()::text", &[]).unwrap().try_get(0).unwrap()
        };
        let server: i32 = session.row("SELECT pg_backend_pid()", &[]).unwrap().try_get(0).unwrap();
        let (before, from) = (at(), cpu(&server.to_string()));
        session.batch(&format!("BEGIN; {sql}; COMMIT")).unwrap();
        let used = cpu(&server.to_string()) - from;
        let sizes = "SELECT (pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn) / 1048576)::bigint,
                            pg_total_relation_size('t') / 1048576";
        let row = session.row(sizes, &[&before]).unwrap();
        let (log, size): (i64, i64) = (row.try_get(0).unwrap(), row.try_get(1).unwrap());
        println!("{name}: {used:.2} s of the server's CPU, {log} MB of log, table {size} MB after");
    }
}
