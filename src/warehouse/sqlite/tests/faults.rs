//! What goes wrong from outside: locks, a full disk, somebody who tells it to stop, constraints of others.

use std::collections::HashSet;
use std::thread;

use super::super::bench as many;
use super::*;
use crate::sync::{DeletePolicy, StagedCount};
use crate::warehouse::contract::bench::counts;

/// A connection that waits for no lock longer than a moment.
fn impatient(ground: &SqliteGround) -> SqliteWarehouse {
    let settings = SqliteSettings { path: ground.path(), wait_for_locks: Duration::from_millis(20) };
    let mut warehouse = SqliteWarehouse::connect(&settings).unwrap();
    warehouse.open(crate::warehouse::contract::bench::OWNER).unwrap();
    warehouse
}

#[test]
fn a_lock_of_another_program_is_told_and_waited_for() {
    let mut ground = SqliteGround::new();
    let (path, warehouse) = (ground.path(), impatient(&ground));
    let mut bench = Bench::new(&mut ground, "lead");
    bench.warehouse = Box::new(warehouse);
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap_err();
    assert!(matches!(&told, WarehouseError::Locked { what, .. } if what == "lead"), "{told:?}");
    assert!(told.is_transient() && !told.ends_connection());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(counts(&bench.commit(&plan, 1)), [1, 0, 0, 0]);
}

#[test]
fn a_full_disk_leaves_the_table_as_it_was() {
    let mut ground = SqliteGround::new();
    let mut warehouse = impatient(&ground);
    let mut bench = Bench::new(&mut ground, "lead");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    let long = "x".repeat(100_000);
    let rows: Vec<_> = ["a", "b", "c", "d"].iter().map(|id| row(id, &long, 1)).collect();
    bench.stage(&plan, 0, &rows);
    let pages: i64 = warehouse.writer.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |pages| {
        move |warehouse: &SqliteWarehouse| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            warehouse.writer.query_row(&sql, [], |_| Ok(())).unwrap();
        }
    };
    limit(pages + 8)(&warehouse);
    let told = warehouse.commit(&plan, StagedCount::of_rows(4)).unwrap_err();
    assert!(matches!(told, WarehouseError::Full(_)), "{told:?}");
    assert_eq!(bench.names(), ["a=Ada"]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), warehouse.load_state(&plan).unwrap());
    limit(1_000_000)(&warehouse);
    assert_eq!(counts(&warehouse.commit(&plan, StagedCount::of_rows(4)).unwrap()), [3, 1, 0, 0]);
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let told = SqliteWarehouse::connect(&SqliteSettings::new("/nowhere/at/all/w.db")).unwrap_err();
    assert!(matches!(&told, WarehouseError::Unreachable(why) if why.contains("/nowhere/at/all")), "{told}");
}

#[test]
fn a_file_that_is_no_database_is_told() {
    let ground = SqliteGround::new();
    std::fs::write(
        ground.path(),
        "a shopping list, and a long one at that, of more than a hundred bytes ".repeat(9),
    )
    .unwrap();
    let told = SqliteWarehouse::connect(&SqliteSettings::new(ground.path())).unwrap_err();
    assert!(matches!(told, WarehouseError::Engine(_)), "{told:?}");
}

#[test]
fn a_trigger_that_refuses_leaves_the_table_as_it_was() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground, "lead");
    bench.meddle("CREATE TRIGGER no BEFORE INSERT ON {t} WHEN new.Id = 'c' BEGIN SELECT raise(ABORT, 'Ada may not'); END");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0), row("b", "Bob", 0), row("c", "Cid", 0)]);
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(3)).unwrap_err();
    assert!(matches!(told, WarehouseError::Altered { .. }), "{told:?}");
    assert!(!told.to_string().contains("Ada"), "{told}");
    assert_eq!(bench.names(), [""; 0]);
    bench.meddle("DROP TRIGGER no");
    bench.commit(&plan, 3);
    assert_eq!(bench.names().len(), 3);
}

#[test]
fn a_table_that_was_changed_under_a_load_is_told() {
    let mut ground = SqliteGround::new();
    let mut bench = Bench::new(&mut ground, "lead");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.meddle("ALTER TABLE {t} DROP COLUMN Name");
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap_err();
    assert!(
        matches!(&told, WarehouseError::Altered { table, what } if table == "lead" && what.contains("Name")),
        "{told}"
    );
    bench.meddle("DROP TABLE {t}");
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap_err();
    assert!(matches!(&told, WarehouseError::Altered { table, .. } if table == "lead"), "{told}");
}

/// Many rows in the table, and as many others staged to replace them.
fn many_rows(ground: &mut SqliteGround, count: u64) -> (Box<dyn Warehouse>, LoadPlan) {
    let mut warehouse = ground.connect();
    warehouse.open(crate::warehouse::contract::bench::OWNER).unwrap();
    let mut bench = Bench::bare(ground, "never_made", many::layout());
    let mut plan = bench.plan(LoadMode::Upsert);
    plan.table = "lead".parse().unwrap();
    let create = [SchemaChange::CreateTable { layout: many::layout() }];
    warehouse.apply_schema(&plan.org, &plan.object, &plan.table, &create).unwrap();
    let source = |start| PartSource::Rows(Arc::new(many::rows(start..start + count, 0)));
    warehouse.stage(&plan, PartNumber(0), &source(0)).unwrap();
    warehouse.commit(&plan, StagedCount::of_rows(count)).unwrap();
    let mut next = bench.plan(LoadMode::Replace);
    (next.table, next.deletes) = (plan.table, DeletePolicy::Remove);
    warehouse.stage(&next, PartNumber(0), &source(count)).unwrap();
    (warehouse, next)
}

#[test]
fn a_commit_that_is_told_to_stop_leaves_the_table_as_it_was() {
    let mut ground = SqliteGround::new();
    let (mut warehouse, plan) = many_rows(&mut ground, 5_000);
    let cancel = warehouse.cancel_handle().unwrap();
    let outside = ground.outside();
    thread::scope(|scope| {
        let commit = scope.spawn(|| {
            let told = warehouse.commit(&plan, StagedCount::of_rows(5_000));
            (warehouse, told)
        });
        while !commit.is_finished() {
            cancel.cancel();
        }
        let (mut warehouse, told) = commit.join().unwrap();
        assert!(matches!(&told, Err(WarehouseError::Engine(why)) if why.contains("stop")), "{told:?}");
        let highest: String = outside.query_row("SELECT max(Id) FROM lead", [], |row| row.get(0)).unwrap();
        assert_eq!(highest, "00Q5e0000004999AAA");
        // And the connection goes on.
        let receipt = warehouse.commit(&plan, StagedCount::of_rows(5_000)).unwrap();
        assert_eq!(counts(&receipt), [5_000, 0, 0, 5_000]);
    });
}

#[test]
fn a_query_is_told_to_stop() {
    let mut ground = SqliteGround::new();
    let mut warehouse = ground.connect();
    warehouse.open("x").unwrap();
    let cancel = warehouse.cancel_handle().unwrap();
    thread::scope(|scope| {
        let query = scope.spawn(|| {
            let endless =
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
            warehouse.query(endless, &mut Kept::default())
        });
        while !query.is_finished() {
            cancel.cancel();
        }
        let told = query.join().unwrap();
        assert!(matches!(&told, Err(WarehouseError::Engine(why)) if why.contains("stop")), "{told:?}");
    });
}

#[test]
fn readers_see_the_old_table_or_the_new_one_and_nothing_between() {
    let mut ground = SqliteGround::new();
    let (mut warehouse, plan) = many_rows(&mut ground, 5_000);
    let outside = ground.outside();
    thread::scope(|scope| {
        let commit = scope.spawn(|| warehouse.commit(&plan, StagedCount::of_rows(5_000)).unwrap());
        let mut seen = HashSet::new();
        let mut look = || {
            let sql = "SELECT count(*), min(Id), max(Id), (SELECT count(*) FROM _penstock_loads) FROM lead";
            let row = outside.query_row(sql, [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                ))
            });
            seen.insert(row.unwrap());
        };
        look();
        while !commit.is_finished() {
            look();
        }
        commit.join().unwrap();
        look();
        let ids = |low: u64, high: u64| (format!("00Q5e{low:010}AAA"), format!("00Q5e{high:010}AAA"));
        let (old, new) = (ids(0, 4_999), ids(5_000, 9_999));
        assert_eq!(seen, HashSet::from([(5_000, old.0, old.1, 1), (5_000, new.0, new.1, 2)]));
    });
}
