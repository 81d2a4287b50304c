use rstest::rstest;
use serde_json::json;

use super::*;
use crate::sync::table::ColumnType;
use crate::warehouse::{Cell, RowChunk};

fn lead() -> ObjectDescribe {
    let field = |name: &str, kind: &str, create: bool, update: bool, nil: bool| json!({"name": name, "type": kind, "createable": create, "updateable": update, "nillable": nil});
    let mut fields = vec![
        field("Id", "id", false, false, false),
        field("LastName", "string", true, true, false),
        field("Company", "string", true, true, false),
        field("Score__c", "double", true, true, true),
        field("Hot__c", "boolean", true, true, false),
        field("Parent__c", "reference", true, false, true),
        field("CreatedDate", "datetime", false, false, false),
        field("Address", "address", false, false, true),
        field("OwnerId", "reference", true, true, false),
    ];
    fields[8]["defaultedOnCreate"] = json!(true);
    fields.push(json!({
        "name": "Ext__c", "type": "string", "createable": true, "updateable": true, "nillable": true, "externalId": true,
    }));
    serde_json::from_value(json!({
        "name": "Lead", "createable": true, "updateable": true, "deletable": true, "fields": fields,
    }))
    .unwrap()
}

fn by_ext() -> PushOperation {
    PushOperation::Upsert { external_id: "Ext__c".parse().unwrap() }
}

fn settings(operation: PushOperation) -> PushSettings {
    PushSettings::new("scores", "Lead".parse().unwrap(), operation, "SELECT 1")
}

fn query(names: &[&str]) -> Vec<QueryColumn> {
    names.iter().map(|name| QueryColumn { name: (*name).to_owned(), kind: ColumnType::Text }).collect()
}

#[test]
fn columns_find_their_fields_by_name_whatever_the_case_or_by_configuration() {
    let mut settings = settings(by_ext());
    settings.columns.insert("key".to_owned(), "ext__c".to_owned());
    let columns = PushColumns::of(&settings, &lead(), &query(&["SCORE__C", "KEY", "lastname"])).unwrap();
    let fields: Vec<String> = columns.fields().iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["Score__c", "Ext__c", "LastName"]);
    assert_eq!((columns.match_column, columns.told_by()), (Some(1), Some("Ext__c")));
    assert_eq!(columns.columns[0].sort, FieldSort::Decimal);
}

#[rstest]
#[case::nowhere(by_ext(), &["Ext__c", "nonsense"], "column `nonsense` of the query: `Lead` has no field `nonsense`")]
#[case::twice(by_ext(), &["Ext__c", "Score__c", "SCORE__C"], "columns `Score__c` and `SCORE__C`")]
#[case::not_createable(by_ext(), &["Ext__c", "CreatedDate"], "column `CreatedDate`")]
#[case::not_updateable(by_ext(), &["Ext__c", "Parent__c"], "and not later")]
#[case::a_compound(by_ext(), &["Ext__c", "Address"], "its parts are written")]
#[case::no_key(by_ext(), &["LastName"], "no column for `Ext__c`, by which upsert finds records")]
#[case::no_id(PushOperation::Update, &["LastName"], "no column for `Id`")]
#[case::nothing_to_update(PushOperation::Update, &["Id"], "no column to update")]
#[case::update_what_may_not(PushOperation::Update, &["Id", "Parent__c"], "may not be updated")]
#[case::more_than_ids(PushOperation::Delete, &["Id", "LastName"], "a delete takes `Id` alone")]
#[case::an_id_of_a_new_record(PushOperation::Insert, &["Id", "LastName", "Company"], "column `Id`")]
#[case::what_is_required(PushOperation::Insert, &["LastName"], "no column for `Company`:")]
#[case::no_external_id(PushOperation::Upsert { external_id: "LastName".parse().unwrap() }, &["LastName"], "not marked as an external id")]
#[case::no_such_external_id(PushOperation::Upsert { external_id: "Nope__c".parse().unwrap() }, &["LastName"], "is no field")]
fn a_query_that_cannot_be_pushed_is_refused_with_the_column(
    #[case] operation: PushOperation,
    #[case] names: &[&str],
    #[case] says: &str,
) {
    let error = PushColumns::of(&settings(operation), &lead(), &query(names)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case(PushOperation::Insert, "create")]
#[case(PushOperation::Update, "update")]
#[case(PushOperation::Delete, "delete")]
#[case(by_ext(), "create")]
fn an_object_that_may_not_be_written_is_refused(#[case] operation: PushOperation, #[case] says: &str) {
    let mut describe = lead();
    (describe.createable, describe.updateable, describe.deletable) = (false, false, false);
    let error = PushColumns::of(&settings(operation), &describe, &query(&["Id"])).unwrap_err().to_string();
    assert!(error.contains(&format!("may not {says} records of `Lead`")), "{error}");
}

#[rstest]
#[case::none(&["LastName", "Company"], None)]
#[case::an_external_id(&["LastName", "Company", "Ext__c"], Some("Ext__c"))]
fn results_of_an_insert_are_told_by_what_tells_its_rows_apart(
    #[case] names: &[&str],
    #[case] told_by: Option<&str>,
) {
    let columns = PushColumns::of(&settings(PushOperation::Insert), &lead(), &query(names)).unwrap();
    assert_eq!((columns.match_column, columns.told_by()), (None, told_by));
}

#[test]
fn a_configured_column_that_the_query_does_not_have_is_refused() {
    let mut settings = settings(by_ext());
    settings.columns.insert("k".to_owned(), "Ext__c".to_owned());
    let error = PushColumns::of(&settings, &lead(), &query(&["Ext__c"])).unwrap_err();
    assert_eq!(error, PushColumnsError::NoColumn("k".to_owned()));
}

/// Cells of one row as `=text`, `-` unchanged, `#` cleared.
fn told(columns: &PushColumns, cells: &[Cell<'_>]) -> Result<Vec<String>, RowError> {
    let mut chunk = RowChunk::new(cells.len());
    chunk.push(cells.iter().copied());
    let mut row = PushRow::default();
    columns.row(&chunk.row(0).unwrap(), &mut row)?;
    Ok((0..row.cells.len())
        .map(|at| match row.cells[at] {
            PushCell::Unchanged => "-".to_owned(),
            PushCell::Cleared => "#".to_owned(),
            PushCell::Text { .. } => format!("={}", row.text_of(at).unwrap()),
        })
        .collect())
}

#[rstest]
#[case::kept(false, &["=k1", "-", "-", "=true"])]
#[case::cleared_where_that_is_possible(true, &["=k1", "#", "-", "=true"])]
fn a_null_leaves_its_field_or_clears_it(#[case] clear_nulls: bool, #[case] expected: &[&str]) {
    let settings = PushSettings { clear_nulls, ..settings(by_ext()) };
    let columns =
        PushColumns::of(&settings, &lead(), &query(&["Ext__c", "Score__c", "LastName", "Hot__c"])).unwrap();
    let cells = [Cell::Text("k1"), Cell::Null, Cell::Null, Cell::Boolean(true)];
    assert_eq!(told(&columns, &cells).unwrap(), expected);
    // A checkbox is never empty.
    let cells = [Cell::Text("k1"), Cell::Decimal("1.5"), Cell::Text("x"), Cell::Null];
    assert_eq!(told(&columns, &cells).unwrap(), ["=k1", "=1.5", "=x", "-"]);
}

#[rstest]
#[case::no_key(Cell::Null, Cell::Int(1), "no_match_value", "column `key` is empty")]
#[case::no_number(
    Cell::Text("k1"),
    Cell::Text("many"),
    "bad_value",
    "column `Score__c`, field `Score__c`: the field takes numbers"
)]
#[case::null_as_text(Cell::Text("#n/a"), Cell::Int(1), "looks_like_null", "column `key`")]
fn a_row_that_does_not_fit_is_told_without_its_values(
    #[case] key: Cell<'_>,
    #[case] score: Cell<'_>,
    #[case] code: &str,
    #[case] says: &str,
) {
    let mut settings = settings(by_ext());
    settings.columns.insert("key".to_owned(), "Ext__c".to_owned());
    let columns = PushColumns::of(&settings, &lead(), &query(&["key", "Score__c"])).unwrap();
    let error = told(&columns, &[key, score]).unwrap_err();
    assert_eq!(error.code, code);
    assert!(error.message.starts_with(says) && !error.message.contains("many"), "{}", error.message);
}
