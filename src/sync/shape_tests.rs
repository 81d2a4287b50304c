use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::sync::test_support::object_settings;

const ROOM: Room = Room { columns_max: 1_000, precision_max: 38 };

fn lead(fields: &[Value]) -> ObjectDescribe {
    let mut all = vec![
        json!({"name": "Id", "type": "id"}),
        json!({"name": "IsDeleted", "type": "boolean"}),
        json!({"name": "SystemModstamp", "type": "datetime"}),
    ];
    all.extend_from_slice(fields);
    serde_json::from_value(json!({"name": "Lead", "queryable": true, "replicateable": true, "fields": all}))
        .unwrap()
}

fn settings(change: impl FnOnce(&mut ObjectSettings)) -> ObjectSettings {
    let mut settings = object_settings("Lead");
    change(&mut settings);
    settings
}

fn kind_of(field: Value) -> ColumnType {
    let shape = shape(&lead(&[field]), &settings(|_| {}), ROOM).unwrap();
    shape.fields.last().unwrap().kind
}

#[rstest]
#[case("reference", ColumnType::Id)]
#[case("masterrecord", ColumnType::Id)]
#[case("boolean", ColumnType::Boolean)]
#[case("int", ColumnType::Int)]
#[case("long", ColumnType::Int)]
#[case("date", ColumnType::Date)]
#[case("datetime", ColumnType::DateTime)]
#[case("time", ColumnType::Time)]
#[case("string", ColumnType::Text)]
#[case("textarea", ColumnType::Text)]
#[case("picklist", ColumnType::Text)]
#[case("multipicklist", ColumnType::Text)]
#[case("combobox", ColumnType::Text)]
#[case("encryptedstring", ColumnType::Text)]
#[case("email", ColumnType::Text)]
#[case("phone", ColumnType::Text)]
#[case("url", ColumnType::Text)]
#[case("anyType", ColumnType::Text)]
#[case("datacategorygroupreference", ColumnType::Text)]
#[case("junctionidlist", ColumnType::Text)]
#[case("calc", ColumnType::Text)]
#[case::of_a_later_release("somethingnew", ColumnType::Text)]
fn every_type_has_its_column(#[case] field_type: &str, #[case] expected: ColumnType) {
    assert_eq!(kind_of(json!({"name": "X__c", "type": field_type})), expected);
}

#[rstest]
#[case::as_described(18, 2, 18, 2)]
#[case::fewer_digits(5, 2, 18, 2)]
#[case::no_precision_but_a_scale(0, 3, 18, 3)]
#[case::nothing_said(0, 0, 38, 10)]
#[case::longer_than_the_org_has(30, 8, 30, 8)]
#[case::longer_than_the_engine(60, 40, 38, 38)]
#[case::more_behind_the_point_than_digits(2, 20, 20, 20)]
fn a_number_has_room_for_what_the_org_can_hold(
    #[case] precision: u32,
    #[case] scale: u32,
    #[case] digits: u8,
    #[case] behind: u8,
    #[values("double", "currency", "percent")] field_type: &str,
) {
    // `digits` is of whole numbers; a peer took the zero precision of such a field for its width.
    let field =
        json!({"name": "X__c", "type": field_type, "precision": precision, "scale": scale, "digits": 9});
    assert_eq!(kind_of(field), ColumnType::Decimal { precision: digits, scale: behind });
}

#[test]
fn every_field_is_read_or_told_as_left_out() {
    let describe = lead(&[
        json!({"name": "Name", "type": "string"}),
        json!({"name": "Address", "type": "address"}),
        json!({"name": "Street", "type": "textarea", "compoundFieldName": "Address"}),
        json!({"name": "Where__c", "type": "location"}),
        json!({"name": "Body", "type": "base64"}),
        json!({"name": "Score__c", "type": "double", "precision": 18, "scale": 2, "calculated": true}),
        json!({"name": "Secret__c", "type": "string"}),
    ]);
    let settings = settings(|settings| settings.exclude = vec!["secret__C".to_owned(), "Gone__c".to_owned()]);
    let shape = shape(&describe, &settings, ROOM).unwrap();
    let names: Vec<&str> = shape.names().collect();
    assert_eq!(names, ["Id", "IsDeleted", "SystemModstamp", "Name", "Street", "Score__c"]);
    let skipped: Vec<&str> = shape.skipped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(skipped, ["Gone__c", "Address", "Where__c", "Body", "Secret__c"]);
    assert!(shape.skipped.iter().all(|(_, why)| !why.is_empty()));
    assert_eq!((shape.key, shape.id, shape.deleted, shape.stamp), (0, Some(0), Some(1), Some(2)));
    assert_eq!(shape.cursor, Some(CursorField::SystemModstamp));
    assert_eq!(shape.bulk, BulkOffer::Yes);
    assert!(shape.lists_deleted);
    assert_eq!(shape.formulas().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["Score__c"]);
}

#[rstest]
#[case::compound(
    "address",
    ColumnType::Json,
    "`X__c` is a compound (`compounds`), which bulk jobs do not give"
)]
#[case::base64("base64", ColumnType::Text, "`X__c` is base64 (`base64`), which bulk jobs do not give")]
fn what_bulk_jobs_do_not_give_is_read_over_rest_when_asked_for(
    #[case] field_type: &str,
    #[case] kind: ColumnType,
    #[case] why: &str,
) {
    let settings = settings(|settings| (settings.compounds, settings.base64) = (true, true));
    let shape = shape(&lead(&[json!({"name": "X__c", "type": field_type})]), &settings, ROOM).unwrap();
    let field = shape.fields.last().unwrap();
    assert_eq!((field.kind, field.rest_only), (kind, true));
    assert_eq!(shape.bulk, BulkOffer::Refused(why.to_owned()));
}

#[test]
fn a_unique_field_can_identify_rows() {
    let describe = lead(&[json!({"name": "Ext__c", "type": "string", "unique": true})]);
    let by_ext = settings(|settings| settings.match_field = "EXT__C".to_owned());
    let shape = shape(&describe, &by_ext, ROOM).unwrap();
    assert_eq!((shape.key, shape.id), (3, Some(0)));
    let layout = shape.layout();
    assert_eq!((layout.key, layout.stamp, layout.deleted), (3, Some(2), Some(1)));
    assert_eq!(layout.columns[3].name, "Ext__c");
}

#[test]
fn an_object_without_stamp_or_deleted_rows_has_a_shape_all_the_same() {
    let describe: ObjectDescribe = serde_json::from_value(json!({
        "name": "Thing__mdt", "queryable": true, "fields": [{"name": "Id", "type": "id"}, {"name": "Label", "type": "string"}],
    }))
    .unwrap();
    let shape = shape(&describe, &settings(|_| {}), ROOM).unwrap();
    assert_eq!((shape.stamp, shape.deleted, shape.cursor), (None, None, None));
    assert_eq!(shape.layout().deleted_column, "IsDeleted");
}

#[rstest]
#[case::missing("Nope__c", "has no field `Nope__c`")]
#[case::not_unique("Email", "is not unique at the org")]
fn a_match_field_that_identifies_no_row_is_refused(#[case] field: &str, #[case] says: &str) {
    let describe = lead(&[json!({"name": "Email", "type": "email"})]);
    let by_field = settings(|settings| settings.match_field = field.to_owned());
    let error = shape(&describe, &by_field, ROOM).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case("id")]
#[case("IsDeleted")]
#[case("SYSTEMMODSTAMP")]
fn what_a_sync_needs_cannot_be_left_out(#[case] field: &str) {
    let excluding = settings(|settings| settings.exclude = vec![field.to_owned()]);
    let error = shape(&lead(&[]), &excluding, ROOM).unwrap_err();
    assert!(matches!(error, ShapeError::Needed { .. }), "{error}");
}

#[test]
fn an_object_that_may_not_be_queried_is_refused() {
    let mut describe = lead(&[]);
    describe.queryable = false;
    assert!(matches!(shape(&describe, &settings(|_| {}), ROOM), Err(ShapeError::NotQueryable(_))));
}

#[rstest]
#[case::as_many_as_fit(903, true)]
#[case::one_too_many(902, false)]
fn nine_hundred_fields_fit_where_the_warehouse_has_so_many_columns(
    #[case] columns_max: usize,
    #[case] fits: bool,
) {
    let fields: Vec<Value> =
        (0..900).map(|at| json!({"name": format!("F{at}__c"), "type": "string"})).collect();
    let room = Room { columns_max, ..ROOM };
    match shape(&lead(&fields), &settings(|_| {}), room) {
        Ok(shape) => assert!(fits && shape.fields.len() == 903),
        Err(ShapeError::TooManyFields { over: 1, .. }) => assert!(!fits),
        Err(error) => panic!("{error}"),
    }
}
