//! Promises about what is remembered: the ledger, the watermark, the owner, logs.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use super::Ground;
use super::bench::{Bench, OWNER, chunk, column, counts, mark, row};
use crate::sync::{
    ColumnType, DeletePolicy, LoadMode, LoadState, Origin, PartNumber, SchemaChange, StagedCount,
    TableLayout, TableName, Watermark,
};
use crate::warehouse::{Cell, WarehouseError};

pub fn a_second_commit_changes_nothing(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "second_commit");
    bench.deletes = DeletePolicy::Remove;
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0), row("c", "Cid", 0), row("d", "Dan", 0)]);
    let plan = bench.plan(LoadMode::Replace);
    bench.stage(&plan, 0, &[row("a", "Ada", 0), row("b", "Bea", 1), row("c", "Cid", 0)]);
    let first = bench.commit(&plan, 3);
    assert_eq!(counts(&first), [1, 1, 1, 1]);
    assert_eq!(bench.warehouse.commit(&plan, StagedCount::of_rows(3)).unwrap(), first);
    // As after an answer that was lost: the parts come once more before the ledger is asked.
    bench.stage(&plan, 0, &[row("z", "Zoe", 9)]);
    assert_eq!(bench.warehouse.commit(&plan, StagedCount::of_rows(1)).unwrap(), first);
    let mut other = bench.another();
    assert_eq!(other.commit(&plan, StagedCount::of_rows(3)).unwrap(), first);
    assert_eq!(bench.names(), ["a=Ada", "b=Bea", "c=Cid"]);
}

pub fn a_committed_load_stays_committed(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "stays_committed");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let receipt = bench.commit(&plan, 1);
    bench.stage(&plan, 0, &[row("z", "Zoe", 9)]);
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Committed(receipt));
    bench.warehouse.abandon(&plan).unwrap();
    assert_eq!(bench.warehouse.load_state(&plan).unwrap(), LoadState::Committed(receipt));
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    assert_eq!(
        bench.warehouse.load_state(&plan).unwrap(),
        LoadState::Committed(receipt),
        "with its own watermark, whatever came later"
    );
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}

pub fn the_watermark_is_of_org_object_and_table(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "whose_mark");
    let plan = bench.plan(LoadMode::Upsert);
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    let receipt = bench.commit(&plan, 1);
    assert_eq!(receipt.watermark, Some(Watermark { at: mark(1) }), "whatever the stamps of the rows say");
    let (org, object) = (plan.org.clone(), plan.object.clone());
    let (other_org, other_object) = ("other".parse().unwrap(), "Account".parse().unwrap());
    let mut ask = |org, object, table: &TableName| bench.warehouse.watermark(org, object, table).unwrap();
    assert_eq!(ask(&org, &object, &plan.table), receipt.watermark);
    assert_eq!(ask(&other_org, &object, &plan.table), None);
    assert_eq!(ask(&org, &other_object, &plan.table), None);
    assert_eq!(ask(&org, &object, &TableName::new(vec![], "whose_mark_2")), None);
}

pub fn the_watermark_never_goes_back(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "forward");
    let mut at = |to| {
        let mut plan = bench.plan(LoadMode::Upsert);
        plan.to = to;
        let receipt = bench.commit(&plan, 0);
        let told = bench.warehouse.watermark(&plan.org, &plan.object, &plan.table).unwrap();
        assert_eq!(receipt.watermark, told);
        told.map(|watermark| watermark.at)
    };
    let half = "2026-01-01T00:01:40.5Z".parse().unwrap();
    assert_eq!(at(None), None);
    assert_eq!(at(Some(mark(100))), Some(mark(100)));
    assert_eq!(at(None), Some(mark(100)));
    assert_eq!(at(Some(mark(99))), Some(mark(100)));
    assert_eq!(at(Some(half)), Some(half), "parts of a second count");
    assert_eq!(at(Some(mark(100))), Some(half));
    assert_eq!(at(Some(mark(101))), Some(mark(101)));
}

pub fn whose_rows_a_table_has_is_known_from_its_loads(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "whose_rows");
    let known = |text: &str| Some(text.to_owned());
    assert_eq!(bench.state().origin, Origin { object: known("Lead"), ..Origin::default() });
    let mut plan = bench.plan(LoadMode::Upsert);
    let origin =
        Origin { object: known("Lead"), organization: known("00D5g0000001234EAA"), chosen_by: known("ab'c") };
    plan.origin = Some(origin.clone());
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    assert_eq!(bench.state().origin.organization, None, "not before its rows are there");
    bench.commit(&plan, 1);
    assert_eq!(bench.state().origin, origin);
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    let mut plan = bench.plan(LoadMode::Replace);
    plan.origin = Some(Origin { chosen_by: known("d"), ..Origin::default() });
    bench.stage(&plan, 0, &[row("a", "Ada", 0)]);
    bench.commit(&plan, 1);
    assert_eq!(
        bench.state().origin,
        Origin { chosen_by: known("d"), ..origin },
        "the rest is as known as before"
    );
    // Whoever makes the table anew knows nothing of the one that was.
    bench.meddle("DROP TABLE {t}");
    bench.change(&[SchemaChange::CreateTable { layout: bench.layout.clone() }]).unwrap();
    assert_eq!(bench.state().origin, Origin { object: known("Lead"), ..Origin::default() });
}

pub fn a_warehouse_made_before_learns_whose_its_rows_are(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "made_before");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let tables = bench.ground.table(&TableName::new(vec![], "_penstock_tables"));
    for column in ["organization", "chosen_by"] {
        let column = bench.ground.column(&bench.ground.kept(column));
        bench.ground.execute(&format!("ALTER TABLE {tables} DROP COLUMN {column}"));
    }
    bench.warehouse = bench.another();
    assert_eq!(bench.state().origin.organization, None);
    assert!(bench.state().exists && bench.names() == ["a=Ada"]);
    let mut plan = bench.plan(LoadMode::Upsert);
    plan.origin = Some(Origin { organization: Some("00D1".to_owned()), ..bench.state().origin });
    bench.commit(&plan, 0);
    assert_eq!(Some(bench.state().origin), plan.origin);
}

pub fn two_owners_do_not_meet(ground: &mut dyn Ground) {
    let mut first = ground.connect();
    first.open(OWNER).unwrap();
    let mut second = ground.connect();
    let told = second.open("somebody else");
    assert!(matches!(told, Err(WarehouseError::InUse(_))), "{told:?}");
    first.table(&TableName::new(vec![], "owned")).unwrap();
    drop((first, second));
    let mut second = ground.connect();
    second.open("somebody else").unwrap();
    drop(second);
    ground.connect().open(OWNER).unwrap();
}

pub fn one_owner_has_many_connections(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "many_of_one");
    let mut other = bench.another();
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    assert!(other.table(&bench.table).unwrap().exists);
    drop(other);
    // The one that went has not let go of what the others have.
    let mut stranger = bench.ground.connect();
    assert!(matches!(stranger.open("somebody else"), Err(WarehouseError::InUse(_))));
    drop(stranger);
    bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    bench.warehouse.open(OWNER).unwrap();
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
}

pub fn a_log_is_appended_once(ground: &mut dyn Ground) {
    let layout = TableLayout {
        columns: vec![column("row", ColumnType::Int), column("Error", ColumnType::Text)],
        key: 0,
        stamp: None,
        deleted: None,
        deleted_column: "IsDeleted".to_owned(),
    };
    let mut bench = Bench::bare(ground, "push_log", layout.clone());
    let (first, second) = (bench.plan(LoadMode::Upsert).id, bench.plan(LoadMode::Upsert).id);
    let mut append = |load, part, rows: &[(i64, &str)]| {
        let rows: Vec<Vec<Cell<'_>>> =
            rows.iter().map(|&(row, error)| vec![Cell::Int(row), Cell::Text(error)]).collect();
        let table = bench.table.clone();
        bench.warehouse.append_log(&table, &layout, load, PartNumber(part), &chunk(2, &rows)).unwrap();
    };
    append(&first, 0, &[(1, "wrong"), (2, "wrong")]);
    append(&first, 1, &[(3, "bad")]);
    append(&second, 0, &[(1, "other load")]);
    // The same number twice is no fault in a log.
    append(&first, 0, &[(1, "right"), (1, "right too")]);
    let table = bench.ground.table(&bench.table);
    let names = ["_load", "_part", "row", "Error"].map(|name| bench.ground.column(name));
    let sql = format!(
        "SELECT {} FROM {table} ORDER BY {}, {}, {}, {}",
        names.join(", "),
        names[0],
        names[1],
        names[2],
        names[3]
    );
    let rows = bench.ask(&sql).unwrap().rows;
    let (first, second) = (first.as_str(), second.as_str());
    assert_eq!(
        rows,
        [
            [first, "0", "1", "right"],
            [first, "0", "1", "right too"],
            [first, "1", "3", "bad"],
            [second, "0", "1", "other load"]
        ]
    );
}
