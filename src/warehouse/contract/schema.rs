//! Promises about tables and their columns.

#![expect(missing_docs, reason = "the name of a promise is its sentence")]

use super::Ground;
use super::bench::{Bench, at, column, counts, row, small_layout};
use crate::sync::{ColumnType, LoadMode, SchemaChange, TableColumn, TableLayout};
use crate::warehouse::{Cell, WarehouseError};

const NUMBER: ColumnType = ColumnType::Decimal { precision: 10, scale: 2 };
const WIDE_NUMBER: ColumnType = ColumnType::Decimal { precision: 30, scale: 4 };

fn add(name: &str, kind: ColumnType) -> SchemaChange {
    SchemaChange::AddColumn { column: column(name, kind), beside: None }
}

/// The small layout and one column more.
fn layout_with(name: &str, kind: ColumnType) -> TableLayout {
    let mut layout = small_layout();
    layout.columns.push(column(name, kind));
    layout
}

fn row_with<'a>(id: &'a str, ms: i64, cell: Cell<'a>) -> Vec<Cell<'a>> {
    let mut row = row(id, "Ada", ms);
    row.push(cell);
    row
}

fn names_of(columns: &[crate::sync::KnownColumn]) -> Vec<(&str, bool)> {
    columns.iter().map(|known| (known.column.name.as_str(), known.is_active)).collect()
}

pub fn a_table_is_made_once(ground: &mut dyn Ground) {
    let mut bench = Bench::bare(ground, "made_once", small_layout());
    assert_eq!(bench.state(), crate::sync::TableState::default());
    let create = SchemaChange::CreateTable { layout: small_layout() };
    let first = bench.change(std::slice::from_ref(&create)).unwrap();
    assert!(first > 0);
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);

    assert_eq!(bench.change(&[create]).unwrap(), first, "what is made already is no change");
    assert_eq!(bench.names(), ["a=Ada"]);
    let state = bench.state();
    assert!(state.exists);
    assert_eq!(state.schema_version, first);
    assert_eq!(state.key.as_deref(), Some("Id"));
    assert_eq!(
        state.columns.iter().map(|known| &known.column).collect::<Vec<_>>(),
        small_layout().columns.iter().collect::<Vec<_>>()
    );
    assert!(state.columns.iter().all(|known| known.is_active));
    assert_eq!((state.foreign, state.altered), (vec![], vec![]));
}

pub fn a_column_more_is_empty_in_old_rows(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "one_more");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    let before = bench.state().schema_version;
    let after = bench.change(&[add("City", ColumnType::Text)]).unwrap();
    assert!(after > before);
    assert_eq!(bench.change(&[add("City", ColumnType::Text)]).unwrap(), after);
    assert_eq!(bench.state().schema_version, after);
    bench.layout = layout_with("City", ColumnType::Text);
    bench.load(LoadMode::Upsert, &[row_with("b", 0, Cell::Text("Oslo"))]);
    assert_eq!(bench.read(&["Id", "City"]), [["a", "-"], ["b", "Oslo"]]);
    let names = ["Id", "Name", "SystemModstamp", "IsDeleted", "City"].map(|name| (name, true));
    assert_eq!(names_of(&bench.state().columns), names);
}

pub fn a_wider_type_takes_longer_values(ground: &mut dyn Ground) {
    let mut layout = layout_with("Total", NUMBER);
    layout.columns.push(column("Count", ColumnType::Int));
    let mut bench = Bench::with(ground, "wider", layout);
    let numbers = |id, total, count| {
        let mut row = row(id, "Ada", 0);
        row.extend([Cell::Decimal(total), count]);
        row
    };
    bench.load(LoadMode::Upsert, &[numbers("a", "12345678.25", Cell::Int(i64::MAX))]);
    let before = bench.state().schema_version;
    let widen = |name: &str, from, to| SchemaChange::Widen { name: name.to_owned(), from, to };
    let changes = [widen("Total", NUMBER, WIDE_NUMBER), widen("Count", ColumnType::Int, WIDE_NUMBER)];
    let after = bench.change(&changes).unwrap();
    assert!(after > before);
    assert_eq!(bench.change(&changes).unwrap(), after);
    bench.layout.columns[4].kind = WIDE_NUMBER;
    bench.layout.columns[5].kind = WIDE_NUMBER;
    let long = "12345678901234567890123456.1234";
    bench.load(LoadMode::Upsert, &[numbers("b", long, Cell::Decimal("-0.0001"))]);
    assert_eq!(
        bench.read(&["Id", "Total", "Count"]),
        [["a", "12345678.25", "9223372036854775807"], ["b", long, "-0.0001"]]
    );
    let state = bench.state();
    assert_eq!(state.columns[4].column.kind, WIDE_NUMBER);
    assert_eq!(state.altered, Vec::<String>::new(), "our own change is no meddling");
}

pub fn a_retired_column_keeps_its_values(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "retired", layout_with("City", ColumnType::Text));
    bench.load(LoadMode::Upsert, &[row_with("a", 0, Cell::Text("Oslo"))]);
    let retire = SchemaChange::Retire { name: "City".to_owned() };
    let version = bench.change(std::slice::from_ref(&retire)).unwrap();
    assert_eq!(bench.change(&[retire]).unwrap(), version);
    bench.layout = small_layout();
    let receipt = bench.load(LoadMode::Upsert, &[row("a", "Eve", 1), row("b", "Bob", 1)]);
    assert_eq!(counts(&receipt), [1, 1, 0, 0]);
    assert_eq!(bench.read(&["Name", "City"]), [["Eve", "Oslo"], ["Bob", "-"]]);
    assert_eq!(names_of(&bench.state().columns)[4], ("City", false));
    assert_eq!(bench.state().foreign, Vec::<String>::new());
}

pub fn a_revived_column_is_written_again(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "revived", layout_with("City", ColumnType::Text));
    bench.load(LoadMode::Upsert, &[row_with("a", 0, Cell::Text("Oslo"))]);
    let retired = bench.change(&[SchemaChange::Retire { name: "City".to_owned() }]).unwrap();
    let revived = bench.change(&[SchemaChange::Revive { name: "City".to_owned() }]).unwrap();
    assert!(revived > retired);
    assert_eq!(names_of(&bench.state().columns)[4], ("City", true));
    bench.load(LoadMode::Upsert, &[row_with("a", 0, Cell::Text("Bergen"))]);
    assert_eq!(bench.read(&["City"]), [["Bergen"]]);
}

pub fn a_changed_type_stands_beside_the_old_one(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "beside", layout_with("Size", ColumnType::Text));
    bench.load(LoadMode::Upsert, &[row_with("a", 0, Cell::Text("large"))]);
    let beside =
        TableColumn { field: "Size".to_owned(), name: "Size__v2".to_owned(), kind: ColumnType::Boolean };
    bench
        .change(&[SchemaChange::AddColumn { column: beside.clone(), beside: Some("Size".to_owned()) }])
        .unwrap();
    bench.layout.columns[4] = beside.clone();
    bench.load(LoadMode::Upsert, &[row_with("a", 1, Cell::Boolean(true))]);
    assert_eq!(bench.read(&["Size", "Size__v2"]), [["large", "true"]]);
    let state = bench.state();
    assert_eq!(names_of(&state.columns)[4..], [("Size", false), ("Size__v2", true)]);
    assert_eq!(state.columns[5].column, beside);
}

pub fn a_column_somebody_took_out_is_told(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "taken_out", layout_with("City", ColumnType::Text));
    let city = bench.ground.column("City");
    bench.meddle(&format!("ALTER TABLE {{t}} DROP COLUMN {city}"));
    let state = bench.state();
    assert_eq!(state.altered, ["City"]);
    assert_eq!(state.columns.len(), 5, "what we made of it is still known");
}

pub fn a_column_somebody_retyped_is_told(ground: &mut dyn Ground) {
    let mut bench = Bench::with(ground, "retyped", layout_with("City", ColumnType::Text));
    let city = bench.ground.column("City");
    bench.meddle(&format!("ALTER TABLE {{t}} DROP COLUMN {city}"));
    bench.meddle(&format!("ALTER TABLE {{t}} ADD COLUMN {city} INTEGER"));
    assert_eq!(bench.state().altered, ["City"]);
}

pub fn foreign_columns_are_left_alone(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "foreign_column");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0), row("b", "Bob", 0)]);
    let note = bench.ground.column("note");
    bench.meddle(&format!("ALTER TABLE {{t}} ADD COLUMN {note} VARCHAR"));
    bench.meddle(&format!("UPDATE {{t}} SET {note} = 'mine'"));
    let state = bench.state();
    let kept = bench.ground.kept("note");
    assert_eq!((state.foreign, state.altered), (vec![kept], vec![]));
    bench.load(LoadMode::Upsert, &[row("a", "Eve", 1)]);
    bench.load(LoadMode::Replace, &[row("a", "Eva", 2), row("b", "Bob", 2), row("c", "Cid", 2)]);
    assert_eq!(bench.read(&["Name", "note"]), [["Eva", "mine"], ["Bob", "mine"], ["Cid", "-"]]);
}

pub fn a_foreign_table_is_not_taken(ground: &mut dyn Ground) {
    let mut bench = Bench::bare(ground, "foreign_table", small_layout());
    let id = bench.ground.column("Id");
    bench.meddle(&format!("CREATE TABLE {{t}} ({id} VARCHAR)"));
    let state = bench.state();
    assert!(state.exists && state.columns.is_empty());
    assert_eq!(state.foreign, [bench.ground.kept("Id")]);
    let told = bench.change(&[SchemaChange::CreateTable { layout: small_layout() }]);
    assert!(matches!(told, Err(WarehouseError::Altered { .. })), "{told:?}");
}

pub fn a_table_made_anew_has_no_watermark(ground: &mut dyn Ground) {
    let mut bench = Bench::new(ground, "made_anew");
    bench.load(LoadMode::Upsert, &[row("a", "Ada", 0)]);
    bench.meddle("DROP TABLE {t}");
    assert!(!bench.state().exists);
    bench.change(&[SchemaChange::CreateTable { layout: small_layout() }]).unwrap();
    let state = bench.state();
    assert!(state.exists && state.altered.is_empty());
    assert_eq!(state.columns.len(), 4);
    let (org, object) = ("acme".parse().unwrap(), "Lead".parse().unwrap());
    // The ledger still has the load of the table that is gone: its rows are not in this one.
    assert_eq!(bench.warehouse.watermark(&org, &object, &bench.table).unwrap(), None);
    let receipt = bench.load(LoadMode::Upsert, &[row("b", "Bob", 0)]);
    assert_eq!(bench.warehouse.watermark(&org, &object, &bench.table).unwrap(), receipt.watermark);
    assert_eq!(bench.names(), ["b=Bob"]);
}

pub fn nine_hundred_columns_are_no_matter(ground: &mut dyn Ground) {
    let names: Vec<String> = (0..896).map(|number| format!("Field_{number}__c")).collect();
    let mut layout = small_layout();
    layout.columns.extend(names.iter().map(|name| column(name, ColumnType::Text)));
    let mut bench = Bench::with(ground, "wide_table", layout);
    let wide = |id, ms, text| {
        let mut row = row(id, "Ada", ms);
        row.extend(std::iter::repeat_n(Cell::Text(text), 896));
        row
    };
    let receipt = bench.load(LoadMode::Upsert, &[wide("a", 0, "x"), wide("b", 0, "y")]);
    assert_eq!(counts(&receipt), [2, 0, 0, 0]);
    let mut other = wide("b", 0, "y");
    other[899] = Cell::Text("z");
    let receipt = bench.load(LoadMode::Upsert, &[wide("a", 1, "x"), other]);
    assert_eq!(counts(&receipt), [0, 2, 0, 0]);
    assert_eq!(bench.read(&["Field_0__c", "Field_895__c"]), [["x", "x"], ["y", "z"]]);
    assert_eq!(bench.state().columns.len(), 900);
}

pub fn odd_names_are_names(ground: &mut dyn Ground) {
    let odd = ["Group", "select", "Order$", "with blank", "Größe", "x__v2", "from"];
    let mut layout = small_layout();
    layout.columns.extend(odd.iter().map(|name| column(name, ColumnType::Text)));
    for table in ["Order$Item", "select", "My Table", "it's"] {
        let mut bench = Bench::with(ground, table, layout.clone());
        let mut odd_row = row("a", "Ada", 0);
        odd_row.extend(odd.iter().map(|name| Cell::Text(name)));
        bench.load(LoadMode::Upsert, std::slice::from_ref(&odd_row));
        odd_row[2] = at(1);
        odd_row[1] = Cell::Text("Eve");
        assert_eq!(counts(&bench.load(LoadMode::Replace, &[odd_row])), [0, 1, 0, 0]);
        assert_eq!(bench.read(&odd), [odd], "`{table}`");
        let state = bench.state();
        assert_eq!((state.foreign, state.altered), (vec![], vec![]));
    }
}

pub fn an_object_without_a_deleted_field_has_the_column(ground: &mut dyn Ground) {
    let mut layout = small_layout();
    layout.columns.pop();
    layout.deleted = None;
    let mut bench = Bench::with(ground, "no_deleted", layout);
    let three = |id, name, ms| row(id, name, ms)[..3].to_vec();
    bench.load(LoadMode::Upsert, &[three("a", "Ada", 0), three("b", "Bob", 0)]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
    assert_eq!(bench.read(&["IsDeleted"]), [["false"], ["false"]]);
    assert_eq!(counts(&bench.load_keys(LoadMode::DeleteKeys, &["a"])), [0, 0, 0, 1]);
    assert_eq!(bench.names(), ["a=Ada!", "b=Bob"]);
    assert_eq!(counts(&bench.load(LoadMode::Upsert, &[three("a", "Ada", 0)])), [0, 1, 0, 0]);
    assert_eq!(bench.names(), ["a=Ada", "b=Bob"]);
    let state = bench.state();
    assert_eq!(state.columns.len(), 3, "it is of no field");
    assert_eq!((state.foreign, state.altered), (vec![], vec![]));
}
