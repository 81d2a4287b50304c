use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::model::ObjectDescribe;
use crate::sync::SyncProfile;
use crate::sync::shape::{Room, shape};
use crate::sync::test_support::object_settings;

const MOST: u8 = 38;

/// The shape of an object with an id and these fields, by describe type; `double:18:2` has digits.
fn thing(fields: &[(&str, &str)]) -> Shape {
    let mut all = vec![json!({"name": "Id", "type": "id"})];
    for (name, sort) in fields {
        let mut parts = sort.split(':');
        let number = |part: Option<&str>| part.map_or(0, |part| part.parse::<u32>().unwrap());
        let kind = parts.next();
        all.push(json!({"name": name, "type": kind, "precision": number(parts.next()), "scale": number(parts.next())}));
    }
    let describe: ObjectDescribe =
        serde_json::from_value(json!({"name": "Thing__c", "queryable": true, "fields": all})).unwrap();
    shape(&describe, &object_settings("Thing__c"), Room { columns_max: 100, precision_max: MOST }).unwrap()
}

/// What the warehouse keeps of a table once the steps are carried out, as every engine does it.
fn carry_out(mut state: TableState, changes: &[SchemaChange]) -> TableState {
    let find = |state: &mut TableState, name: &str| {
        state.columns.iter().position(|known| known.column.name == name).expect("the column is there")
    };
    for change in changes {
        match change {
            SchemaChange::CreateTable { layout } => {
                assert!(!state.exists, "a table is made once");
                state.exists = true;
                state.key = Some(layout.columns[layout.key].name.clone());
                state.columns = layout
                    .columns
                    .iter()
                    .map(|column| KnownColumn { column: column.clone(), is_active: true })
                    .collect();
            }
            SchemaChange::AddColumn { column, .. } => {
                let taken = |name: &String| name.eq_ignore_ascii_case(&column.name);
                assert!(!state.foreign.iter().any(taken), "{} is somebody else's", column.name);
                assert!(
                    !state.columns.iter().any(|known| taken(&known.column.name)),
                    "{} is there",
                    column.name
                );
                state.columns.push(KnownColumn { column: column.clone(), is_active: true });
            }
            SchemaChange::Widen { name, from, to } => {
                let at = find(&mut state, name);
                assert_eq!(state.columns[at].column.kind, *from);
                assert!(can_widen(*from, *to), "{from:?} to {to:?} would lose values");
                state.columns[at].column.kind = *to;
            }
            SchemaChange::Retire { name } => {
                let at = find(&mut state, name);
                assert!(
                    std::mem::replace(&mut state.columns[at].is_active, false),
                    "{name} was retired before"
                );
            }
            SchemaChange::Revive { name } => {
                let at = find(&mut state, name);
                assert!(!std::mem::replace(&mut state.columns[at].is_active, true), "{name} was in use");
            }
        }
        state.schema_version += 1;
    }
    state
}

fn step(shape: &Shape, state: TableState) -> (Evolution, TableState) {
    let evolution = evolve(shape, &state, MOST).unwrap();
    let state = carry_out(state, &evolution.changes);
    (evolution, state)
}

fn table_of(fields: &[(&str, &str)]) -> TableState {
    step(&thing(fields), TableState::default()).1
}

fn column(layout: &TableLayout, field: &str) -> TableColumn {
    layout.columns.iter().find(|column| column.field == field).unwrap().clone()
}

#[test]
fn a_table_that_is_not_there_is_made_whole() {
    let shape = thing(&[("Name", "string")]);
    let (evolution, state) = step(&shape, TableState::default());
    assert!(evolution.creates && evolution.backfill.is_empty());
    assert_eq!(evolution.layout, shape.layout());
    // Once it is there, nothing more is to do.
    let again = evolve(&shape, &state, MOST).unwrap();
    assert!(!again.creates && again.changes.is_empty() && again.layout == shape.layout());
}

#[test]
fn a_table_whose_rows_are_identified_by_something_else_is_not_taken() {
    let state = table_of(&[("Name", "string")]);
    let by_name = TableState { key: Some("Name".to_owned()), ..state.clone() };
    let told = evolve(&thing(&[("Name", "string")]), &by_name, MOST).unwrap_err();
    assert_eq!(told, EvolveError::OtherKey { was: "Name".to_owned(), now: "Id".to_owned() });
    assert!(told.to_string().contains("match_field"), "{told}");
    // Dropped, it is made with the key that it is to have; and engines may keep another spelling.
    for state in [TableState { exists: false, ..by_name }, TableState { key: Some("ID".to_owned()), ..state }]
    {
        assert!(evolve(&thing(&[("Name", "string")]), &state, MOST).is_ok());
    }
}

#[test]
fn a_table_that_somebody_dropped_is_made_anew() {
    let known = table_of(&[("Name", "string")]);
    let evolution =
        evolve(&thing(&[("Name", "string")]), &TableState { exists: false, ..known }, MOST).unwrap();
    assert!(evolution.creates, "every row must be read again, whatever the watermark");
}

#[test]
fn a_new_field_is_a_new_column_to_be_filled() {
    let (evolution, _) =
        step(&thing(&[("Name", "string"), ("New__c", "date")]), table_of(&[("Name", "string")]));
    let added = TableColumn { field: "New__c".into(), name: "New__c".into(), kind: ColumnType::Date };
    assert_eq!(evolution.changes, [SchemaChange::AddColumn { column: added, beside: None }]);
    assert_eq!(evolution.backfill, ["New__c"]);
}

#[test]
fn a_field_that_is_gone_keeps_its_column_and_comes_back_to_it() {
    let before = table_of(&[("Name", "string"), ("Old__c", "date")]);
    let (gone, state) = step(&thing(&[("Name", "string")]), before);
    assert_eq!(gone.changes, [SchemaChange::Retire { name: "Old__c".into() }]);
    assert!(gone.notes[0].contains("`Old__c` is gone"), "{:?}", gone.notes);
    assert_eq!(gone.layout.columns.len(), 2);
    let (still_gone, state) = step(&thing(&[("Name", "string")]), state);
    assert!(still_gone.changes.is_empty() && still_gone.notes.is_empty());
    let (back, _) = step(&thing(&[("Name", "string"), ("Old__c", "date")]), state);
    assert_eq!(back.changes, [SchemaChange::Revive { name: "Old__c".into() }]);
    assert_eq!(back.backfill, ["Old__c"]);
}

#[rstest]
#[case::more_digits("double:18:2", "double:20:2", ColumnType::Decimal { precision: 20, scale: 2 })]
#[case::more_behind_the_point("double:18:2", "double:18:6", ColumnType::Decimal { precision: 22, scale: 6 })]
#[case::a_whole_number("int", "double:18:2", ColumnType::Decimal { precision: 21, scale: 2 })]
#[case::an_id("reference", "string", ColumnType::Text)]
fn a_wider_type_widens_its_column_and_loses_nothing(
    #[case] before: &str,
    #[case] after: &str,
    #[case] expected: ColumnType,
) {
    let (evolution, state) = step(&thing(&[("X__c", after)]), table_of(&[("X__c", before)]));
    assert!(
        matches!(&evolution.changes[..], [SchemaChange::Widen { name, to, .. }] if name == "X__c" && *to == expected)
    );
    assert_eq!(column(&evolution.layout, "X__c").kind, expected);
    assert!(evolution.backfill.is_empty());
    let (again, _) = step(&thing(&[("X__c", after)]), state);
    assert_eq!((again.changes.len(), column(&again.layout, "X__c").kind), (0, expected));
}

#[rstest]
#[case::fewer_digits("double:22:6", "double:18:2")]
#[case::into_a_number("double:30:2", "int")]
#[case::an_id_into_text("string", "reference")]
#[case::another_text("string", "picklist")]
fn a_narrower_type_goes_into_the_column_as_it_is(#[case] before: &str, #[case] after: &str) {
    let state = table_of(&[("X__c", before)]);
    let kind = state.columns[1].column.kind;
    let (evolution, _) = step(&thing(&[("X__c", after)]), state);
    assert!(evolution.changes.is_empty(), "{:?}", evolution.changes);
    assert_eq!(column(&evolution.layout, "X__c").kind, kind);
}

#[rstest]
#[case::text_to_number("string", "double:18:2")]
#[case::number_to_text("double:18:2", "string")]
#[case::day_to_time("date", "datetime")]
#[case::truth_to_picklist("boolean", "picklist")]
#[case::too_many_digits("double:38:0", "double:18:18")]
fn a_type_that_the_column_cannot_hold_gets_a_column_beside(#[case] before: &str, #[case] after: &str) {
    let (evolution, state) = step(&thing(&[("X__c", after)]), table_of(&[("X__c", before)]));
    let added = column(&evolution.layout, "X__c");
    assert_eq!(added.name, "X__c__v2");
    assert_eq!(
        evolution.changes,
        [
            SchemaChange::AddColumn { column: added, beside: Some("X__c".into()) },
            SchemaChange::Retire { name: "X__c".into() },
        ]
    );
    assert_eq!(evolution.backfill, ["X__c"]);
    // A third type goes to a third column, and the first type back to the first.
    let third = if after == "date" { "time" } else { "date" };
    let third = if before == "date" { "time" } else { third };
    let (evolution, state) = step(&thing(&[("X__c", third)]), state);
    assert_eq!(column(&evolution.layout, "X__c").name, "X__c__v3");
    let (evolution, _) = step(&thing(&[("X__c", before)]), state);
    assert_eq!(column(&evolution.layout, "X__c").name, "X__c");
    assert_eq!(evolution.backfill, ["X__c"]);
}

#[test]
fn names_are_taken_whatever_their_case_and_whoever_made_them() {
    let state = TableState { foreign: vec!["new__C".into(), "New__c__V2".into()], ..table_of(&[]) };
    let (evolution, _) = step(&thing(&[("New__c", "date")]), state);
    assert_eq!(column(&evolution.layout, "New__c").name, "New__c__v3");
    assert!(evolution.notes.iter().any(|note| note.contains("is not this field's")), "{:?}", evolution.notes);
}

#[test]
fn a_long_name_with_its_version_is_no_longer_than_an_engine_takes() {
    let long = format!("{}__c", "N".repeat(60));
    let (evolution, _) = step(&thing(&[(&long, "date")]), table_of(&[(&long, "string")]));
    let name = column(&evolution.layout, &long).name;
    assert!(name.len() == 63 && name.ends_with("__v2"), "{name}");
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    let state =
        TableState { exists: true, foreign: vec!["id".into(), "total".into()], ..TableState::default() };
    let error = evolve(&thing(&[]), &state, MOST).unwrap_err().to_string();
    assert!(error.contains("`id`, `total`") && error.contains("name another in `table`"), "{error}");
}

#[test]
fn columns_that_somebody_altered_are_named_with_the_remedy() {
    let state = TableState { altered: vec!["Name".into()], ..table_of(&[("Name", "string")]) };
    let error = evolve(&thing(&[("Name", "string")]), &state, MOST).unwrap_err().to_string();
    assert!(error.contains("`Name`") && error.contains("bring it back"), "{error}");
}

#[test]
fn an_altered_column_that_is_in_use_no_more_stops_nothing_and_is_not_used_again() {
    let (_, state) = step(&thing(&[]), table_of(&[("Old__c", "date")]));
    let state = TableState { altered: vec!["Old__c".into()], ..state };
    assert!(evolve(&thing(&[]), &state, MOST).unwrap().changes.is_empty());
    let (evolution, _) = step(&thing(&[("Old__c", "date")]), state);
    assert_eq!(column(&evolution.layout, "Old__c").name, "Old__c__v2");
}

#[rstest]
#[case::few_rows(5_000, false, "full")]
#[case::every_row_anyway(5_000_000, true, "full")]
#[case::many_rows(5_000_000, false, "refresh")]
fn new_columns_are_filled_in_the_cheaper_way(
    #[case] rows: u64,
    #[case] is_full: bool,
    #[case] expected: &str,
) {
    let (evolution, _) = step(&thing(&[("New__c", "date")]), table_of(&[]));
    let way = backfill(&evolution, rows, is_full, &SyncProfile::Auto.thresholds());
    assert_eq!(serde_json::to_value(way).unwrap()["backfill"], expected);
}

#[test]
fn without_new_columns_there_is_nothing_to_fill() {
    let (evolution, _) = step(&thing(&[]), table_of(&[]));
    assert_eq!(backfill(&evolution, 9, false, &SyncProfile::Auto.thresholds()), Backfill::None);
}

#[test]
fn a_refresh_reads_the_key_and_the_fields_and_no_more() {
    let layout = thing(&[("SystemModstamp", "datetime"), ("A__c", "string"), ("B__c", "date")]).layout();
    let fields = ["b__C".to_owned(), "Id".to_owned(), "SystemModstamp".to_owned(), "Nope__c".to_owned()];
    let part = part_of(&layout, &fields);
    let names: Vec<&str> = part.columns.iter().map(|column| column.field.as_str()).collect();
    assert_eq!((names, part.key, part.stamp, part.deleted), (vec!["Id", "B__c"], 0, None, None));
}

fn sort() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "string",
        "reference",
        "boolean",
        "int",
        "date",
        "datetime",
        "time",
        "double:18:2",
        "double:18:0",
        "double:30:10",
        "double:0:0",
        "currency:18:6",
    ])
}

fn any_kind() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        Just(ColumnType::Id),
        Just(ColumnType::Text),
        Just(ColumnType::Int),
        Just(ColumnType::Date),
        (1u8..=38, 0u8..=38)
            .prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale: scale.min(precision) }),
    ]
}

proptest! {
    /// An object's fields come, go and change for a while; `carry_out` refuses every step that would drop, narrow or clash.
    #[test]
    fn however_an_object_changes_its_table_follows_and_settles(
        stages in prop::collection::vec(prop::collection::btree_map(0usize..6, sort(), 0..6), 1..8),
    ) {
        let names = ["A__c", "B__c", "C__c", "D__c", "E__c", "F__c"];
        let mut state = TableState { foreign: vec!["a__C".into()], ..table_of(&[]) };
        for stage in stages {
            let fields: Vec<(&str, &str)> = stage.into_iter().map(|(at, sort)| (names[at], sort)).collect();
            let shape = thing(&fields);
            let (evolution, after) = step(&shape, state);
            // Every field has its column, in use, of a type that holds it; no two share one.
            for (field, column) in shape.fields.iter().zip(&evolution.layout.columns) {
                prop_assert_eq!(field.name.as_str(), column.field.as_str());
                prop_assert!(holds(column.kind, field.kind), "{:?} in {:?}", field.kind, column.kind);
                let known = after.columns.iter().find(|known| known.column.name == column.name).unwrap();
                prop_assert!(known.is_active && known.column == *column);
            }
            let in_use = after.columns.iter().filter(|known| known.is_active).count();
            prop_assert_eq!(in_use, shape.fields.len());
            let again = evolve(&shape, &after, MOST).unwrap();
            prop_assert!(again.changes.is_empty() && again.backfill.is_empty(), "{:?}", again.changes);
            prop_assert_eq!(&again.layout, &evolution.layout);
            state = after;
        }
    }

    #[test]
    fn what_joins_two_types_holds_both(one in any_kind(), other in any_kind()) {
        if let Some(joined) = join(one, other, MOST) {
            prop_assert!(holds(joined, one) && holds(joined, other), "{joined:?}");
            if let ColumnType::Decimal { precision, .. } = joined {
                prop_assert!(precision <= MOST);
            }
        }
        prop_assert_eq!(join(one, other, MOST).is_some(), join(other, one, MOST).is_some());
    }
}
