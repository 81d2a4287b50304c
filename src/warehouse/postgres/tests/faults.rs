//! What others do to the server and to the table.

use std::sync::Arc;

use crate::sync::{ColumnType, DeletePolicy, LoadMode, PartNumber, SchemaChange, StagedCount};
use crate::warehouse::contract::Ground as _;
use crate::warehouse::contract::bench::{Bench, chunk, column, counts, row};
use crate::warehouse::{Cell, PartSource, Warehouse as _, WarehouseError};

use super::super::PostgresWarehouse;
use super::{PostgresGround, settings};

#[test]
fn a_table_that_somebody_locks_is_told_and_loaded_later() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "locked");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    stranger.batch("BEGIN; LOCK TABLE locked IN ROW EXCLUSIVE MODE").unwrap();
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1));
    assert!(
        matches!(&told, Err(error @ WarehouseError::Locked { what, .. }) if what == "public.locked" && error.is_transient()),
        "{told:?}"
    );
    let added = column("Score", ColumnType::Int);
    let told = bench.change(&[SchemaChange::AddColumn { column: added, beside: None }]);
    assert!(matches!(told, Err(WarehouseError::Locked { .. })), "{told:?}");
    stranger.batch("COMMIT").unwrap();
    bench.commit(&plan, 1);
    assert_eq!(bench.names(), ["a=Ada"]);
}

#[test]
fn readers_do_not_hinder_a_commit() {
    let mut ground = PostgresGround::new();
    let stranger = ground.stranger();
    let mut bench = Bench::new(&mut ground, "read");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    stranger.batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM read").unwrap();
    bench.load(LoadMode::Replace, &[row("b", "Bob", 0)]);
    let seen: String = stranger.row("SELECT \"Name\" FROM read", &[]).unwrap().try_get(0).unwrap();
    assert_eq!(seen, "Ada", "as it was when the reader began");
}

#[test]
fn a_table_that_somebody_altered_is_told_with_its_column_and_stays_as_it_is() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "altered");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let mut told = |sql: &str| {
        bench.meddle(sql);
        let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap_err();
        assert!(matches!(told, WarehouseError::Altered { .. }), "{told}");
        told.to_string()
    };
    let told_of_type = told(r#"ALTER TABLE {t} ALTER COLUMN "Name" TYPE varchar(2)"#);
    assert_eq!(told_of_type, "table `public.altered`: column `Name` is now `varchar`; make it `text` again");
    let told_of_drop = told(r#"ALTER TABLE {t} DROP COLUMN "Name""#);
    assert_eq!(told_of_drop, "table `public.altered`: column `Name` is gone; add it again as `text`");
    told(r#"ALTER TABLE {t} ADD COLUMN "Name" text, DROP COLUMN "IsDeleted""#);
    let told_of_table = told("DROP TABLE {t}");
    assert!(told_of_table.contains("does not exist"), "{told_of_table}");
    bench.meddle(r#"CREATE VIEW {t} AS SELECT 1 AS "Id""#);
    let told = bench.warehouse.table(&bench.table).unwrap_err().to_string();
    assert_eq!(told, "table `public.altered`: it is a view; give the object another table");
}

#[test]
fn a_column_that_a_view_uses_is_not_widened_and_told() {
    let mut ground = PostgresGround::new();
    let mut layout = crate::warehouse::contract::bench::small_layout();
    layout.columns.push(column("Size", ColumnType::Int));
    let mut bench = Bench::with(&mut ground, "viewed", layout);
    bench.meddle(r#"CREATE VIEW sizes AS SELECT "Size" FROM {t}"#);
    let widen = SchemaChange::Widen { name: "Size".to_owned(), from: ColumnType::Int, to: ColumnType::Text };
    let told = bench.change(std::slice::from_ref(&widen)).unwrap_err();
    assert!(matches!(&told, WarehouseError::Altered { what, .. } if what.contains("a view")), "{told}");
    bench.meddle("DROP VIEW sizes");
    bench.change(&[widen]).unwrap();
}

#[test]
fn a_value_that_does_not_fit_is_told_with_its_column_and_without_itself() {
    let mut ground = PostgresGround::new();
    let mut layout = crate::warehouse::contract::bench::small_layout();
    layout.columns.push(column("Shape", ColumnType::Json));
    let mut bench = Bench::with(&mut ground, "bad_value", layout);
    let plan = bench.plan(LoadMode::Upsert);
    let mut stage = |name: &str, shape: Cell<'_>| {
        let mut row = row("a", name, 0);
        row.push(shape);
        let source = PartSource::Rows(Arc::new(chunk(5, &[row])));
        bench.warehouse.stage(&plan, PartNumber(0), &source)
    };
    let told = stage("Ada", Cell::Json("{ada's secret")).unwrap_err();
    assert!(matches!(&told, WarehouseError::BadValue { column, .. } if column == "Shape"), "{told}");
    assert_eq!(told.to_string(), "column `Shape`: a value is not of the column's kind (SQLSTATE 22P02)");
    let told = stage("ada\0secret", Cell::Null).unwrap_err();
    assert!(matches!(&told, WarehouseError::BadValue { .. }) && !told.to_string().contains("ada"), "{told}");
    stage("Ada", Cell::Json("{}")).unwrap();
    bench.commit(&plan, 1);
    assert_eq!(bench.names(), ["a=Ada"]);
}

#[test]
fn a_login_without_a_right_is_refused_with_the_right() {
    let mut ground = PostgresGround::new();
    let name = format!("reader_{}", ground.database);
    ground.execute(&format!("CREATE ROLE {name} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let mut warehouse =
        PostgresWarehouse::connect(&settings(&ground.server.url_as(&name, &ground.database))).unwrap();
    let told = warehouse.open("a test").unwrap_err();
    assert!(matches!(&told, WarehouseError::Denied(why) if why.contains("schema public")), "{told}");
    let nobody = settings(&ground.server.url_as("nobody_of_that_name", &ground.database));
    let told = PostgresWarehouse::connect(&nobody).unwrap_err();
    assert!(matches!(told, WarehouseError::Denied(_)), "{told}");
    let nowhere = settings(&ground.server.url("no_database_of_that_name"));
    let told = PostgresWarehouse::connect(&nowhere).unwrap_err();
    assert!(matches!(told, WarehouseError::Denied(_)), "{told}");
    let closed = settings("postgresql://postgres@127.0.0.1:1/x");
    let told = PostgresWarehouse::connect(&closed).unwrap_err();
    assert!(matches!(told, WarehouseError::Unreachable(_)), "{told}");
    assert!(
        PostgresWarehouse::connect(&settings("mysql://u:secret@h/x"))
            .is_err_and(|error| !error.to_string().contains("secret"))
    );
}

#[test]
fn a_password_comes_from_a_file_that_may_change() {
    let mut ground = PostgresGround::new();
    let name = format!("secured_{}", ground.database);
    ground
        .execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'first'; GRANT ALL ON SCHEMA public TO {name}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "first\n").unwrap();
    let mut settings = settings(&ground.server.url_as(&name, &ground.database));
    settings.password_file = Some(path.clone());
    PostgresWarehouse::connect(&settings).unwrap().open("a test").unwrap();
    std::fs::remove_file(&path).unwrap();
    let told = PostgresWarehouse::connect(&settings).unwrap_err().to_string();
    assert!(told.contains("password_file"), "{told}");
}

#[test]
fn a_full_disk_is_told_and_the_load_goes_on_when_there_is_room() {
    let ground = PostgresGround::alone();
    // A folder of its own that is small: only root can make one.
    let folder = tempfile::Builder::new().prefix("penstock-full").tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let path = folder.path().to_str().unwrap();
    if !run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", path]) {
        println!("no small disk can be made here: left out");
        return;
    }
    let mounted = Mounted(path.to_owned());
    assert!(run("chown", &["postgres", path]));
    let stranger = ground.stranger();
    stranger.batch(&format!("CREATE TABLESPACE small LOCATION '{path}'")).unwrap();
    stranger.batch("ALTER ROLE postgres SET default_tablespace = small").unwrap();
    {
        let mut ground = ground;
        let mut bench = Bench::new(&mut ground, "full");
        let long = "x".repeat(1_000);
        let names: Vec<String> = (0..6_000u32).map(|number| format!("{number}{long}")).collect();
        let ids: Vec<String> = (0..6_000u32).map(|number| format!("a{number}")).collect();
        let rows: Vec<_> = ids.iter().zip(&names).map(|(id, name)| row(id, name, 0)).collect();
        let plan = bench.plan(LoadMode::Upsert);
        let source = PartSource::Rows(Arc::new(chunk(4, &rows)));
        let told = bench.warehouse.stage(&plan, PartNumber(0), &source).unwrap_err();
        assert!(matches!(told, WarehouseError::Full(_)), "{told}");
        bench.warehouse.abandon(&plan).unwrap();
        bench.stage(&plan, 0, &rows[..1_000]);
        // The same rows once more, in the target, are more than there is room for.
        bench.stage(&plan, 1, &rows[1_000..2_200]);
        let told = bench.warehouse.commit(&plan, StagedCount::of_rows(2_200)).unwrap_err();
        assert!(matches!(told, WarehouseError::Full(_)), "{told}");
        assert_eq!(bench.warehouse.count(&bench.table, &bench.layout).unwrap(), 0);
        assert!(run("mount", &["-o", "remount,size=32m", path]));
        assert_eq!(counts(&bench.commit(&plan, 2_200)), [2_200, 0, 0, 0]);
        drop(stranger);
    }
    drop(mounted);
}

struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn a_column_that_must_not_be_null_and_is_not_ours_stops_the_load() {
    let mut ground = PostgresGround::new();
    let mut bench = Bench::new(&mut ground, "not_null");
    bench.meddle("ALTER TABLE {t} ADD COLUMN theirs int NOT NULL");
    bench.deletes = DeletePolicy::Remove;
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let told = bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap_err();
    assert!(matches!(&told, WarehouseError::BadValue { column, .. } if column == "theirs"), "{told}");
    bench.meddle("ALTER TABLE {t} ALTER COLUMN theirs DROP NOT NULL");
    bench.commit(&plan, 1);
}
