use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::super::catalogue::DatabaseKind::{Postgres, Sqlite};
use super::super::check::fixture::*;
use super::super::operation::{Pattern, PatternPart};
use super::super::reference::OperationResult;
use super::super::request::Return;
use super::*;

/// What operation `d`, a read of depots, answered.
fn depots(rows: Json) -> Vec<Option<OperationResult>> {
    vec![result(&["depot_id", "name", "city", "opened", "doc", "tags", "live"], rows)]
}

fn one_depot() -> Vec<Option<OperationResult>> {
    depots(json!([[2, "So,uth*?", null, "2026-01-02", {"a": [1, "x"]}, ["a", "b"], true]]))
}

/// The second operation of a batch whose first is a read of depots, with what that answered filled in.
fn second(fixture: &Fixture, operation: Json, results: &[Option<OperationResult>]) -> String {
    let read = json!({"id": "d", "entity": "depot", "action": "read"});
    match fixture.last(json!([read, operation])).and_then(|checked| fixture.bind(&checked, results)) {
        Ok(bound) => show(&bound),
        Err(error) => format!("{} {} {}", error.status, error.code, error.pointer.unwrap_or_default()),
    }
}

const AT: &str = "/operations/1/query_params";

#[rstest]
#[case::number(json!({"depot_id": "$ref:d.depot_id"}), "depot_id = 2".into())]
#[case::null(json!({"label": "$ref:d.city"}), "label null".into())]
#[case::text_is_data(json!({"label": "$ref:d.name"}), "label = \"So,uth*?\"".into())]
#[case::every(json!({"depot_id": "$ref:d.*.depot_id"}), "depot_id in [2]".into())]
#[case::operator(json!({"depot_id": "gt::$ref:d.depot_id"}), "depot_id > 2".into())]
#[case::comma_of_a_value(json!({"label": "in::$ref:d.name,b"}), "label in [\"So,uth*?\", \"b\"]".into())]
#[case::list_of_numbers(json!({"depot_id": "in::$ref:d.depot_id,1"}), "depot_id in [2, 1]".into())]
#[case::list(json!({"depot_id": [1, "$ref:d.depot_id"]}), "depot_id in [1, 2]".into())]
#[case::list_with_null(json!({"label": ["a", "$ref:d.city"]}), "label in [\"a\"]".into())]
#[case::between(json!({"depot_id": "between::1,$ref:d.depot_id"}), "depot_id between 1 2".into())]
#[case::pattern(json!({"label": "like::*$ref:d.name?"}), "label like *<So,uth*?>?".into())]
#[case::number_in_pattern(json!({"label": "not-like::$ref:d.depot_id*"}), "label not like <2>*".into())]
#[case::whole_pattern(json!({"label": {"like": "$ref:d.name"}}), "label like <So,uth*?>".into())]
#[case::boolean_in_text(json!({"armed": "eq::$ref:d.live"}), "armed = true".into())]
#[case::object(json!({"depot_id": {"ge": "$ref:d.depot_id", "lt": 9}}), "(depot_id >= 2 & depot_id < 9)".into())]
#[case::object_list(json!({"depot_id": {"not-in": "$ref:d.*.depot_id"}}), "depot_id not in [2]".into())]
#[case::object_text(json!({"label": {"eq": "x$ref:{d.depot_id}y"}}), "label = \"x2y\"".into())]
#[case::text(json!({"label": "no $ref:d.depot_id"}), "label = \"no 2\"".into())]
#[case::document(json!({"label": "$ref:d.doc.a.1"}), "label = \"x\"".into())]
#[case::related(json!({"depot.depot_id": "$ref:d.depot_id"}), "some depot[depot_id=depot_id: depot_id = 2]".into())]
#[case::list_out_of_a_document(json!({"label": "$ref:d.tags"}), "label in [\"a\", \"b\"]".into())]
#[case::null_in_text(json!({"label": "eq::$ref:d.city"}), format!("400 bad_reference {AT}/label"))]
#[case::null_compared(json!({"label": {"lt": "$ref:d.city"}}), format!("400 bad_operator {AT}/label/lt"))]
#[case::no_list(json!({"depot_id": {"in": "$ref:d.depot_id"}}), format!("400 bad_operator {AT}/depot_id/in"))]
#[case::not_two(json!({"depot_id": {"between": "$ref:d.*.depot_id"}}), format!("400 bad_operator {AT}/depot_id/between"))]
#[case::no_number(json!({"depot_id": "$ref:d.name"}), format!("400 type_mismatch {AT}/depot_id"))]
#[case::no_row(json!({"depot_id": "$ref:d.5.depot_id"}), format!("400 bad_reference {AT}/depot_id"))]
fn a_selector_takes_referenced_values_as_data(#[case] query: Json, #[case] want: String) {
    let fixture = Fixture::new(Postgres);
    let got =
        second(&fixture, json!({"entity": "crate", "action": "read", "query_params": query}), &one_depot());
    let got = got
        .strip_prefix("read ")
        .and_then(|rest| rest.split(" | ").next())
        .map_or(got.clone(), str::to_owned);
    assert_eq!(got, want);
}

#[rstest]
#[case("ne::x")]
#[case("in::1,2")]
#[case("$ref:d.name")]
#[case("zz::x")]
#[case("x' OR '1'='1")]
#[case("*%_\\")]
fn a_value_is_never_read_for_operators(#[case] text: &str) {
    let fixture = Fixture::new(Sqlite);
    let results = depots(json!([[1, text, null, null, null, null, null]]));
    let quoted = json!(text).to_string();
    let read = |query: Json| {
        second(&fixture, json!({"entity": "crate", "action": "read", "query_params": query}), &results)
    };
    assert_eq!(
        read(json!({"label": "$ref:d.name"})),
        format!("read label = {quoted} | crate_id | 101+0 None")
    );
    assert_eq!(
        read(json!({"label": "like::$ref:d.name"})),
        format!("read label like <{text}> | crate_id | 101+0 None")
    );
    assert_eq!(
        read(json!({"label": "ne::$ref:d.name"})),
        format!("read label <> {quoted} | crate_id | 101+0 None")
    );
}

#[rstest]
#[case(json!([]), "label in []")]
#[case(json!([[1, "a", null, null, null, null, null], [2, "b", null, null, null, null, null]]), "label in [\"a\", \"b\"]")]
fn every_row_is_one_of_these(#[case] rows: Json, #[case] want: &str) {
    let read = json!({"entity": "crate", "action": "read", "query_params": {"label": "$ref:d.*.name"}});
    let got = second(&Fixture::new(Sqlite), read, &depots(rows));
    assert_eq!(got, format!("read {want} | crate_id | 101+0 None"));
}

#[test]
fn a_referenced_list_has_the_limit_of_a_written_one() {
    let mut fixture = Fixture::new(Sqlite);
    fixture.limits.in_list = 1;
    let row = json!([1, "a", null, null, null, null, null]);
    let read = json!({"entity": "crate", "action": "read", "query_params": {"label": "$ref:d.*.name"}});
    let got = second(&fixture, read, &depots(json!([row, row])));
    assert_eq!(got, format!("400 bad_operator {AT}/label"));
}

#[rstest]
#[case(json!({"depot_id": "$ref:d.depot_id", "label": "z $ref:d.opened"}), "create depot_id=2 label=\"z 2026-01-02\" | true")]
#[case(json!({"label": "$ref:d.depot_id"}), "create label=\"2\" | true")]
#[case(json!({"label": "$ref:d.city"}), "create label=null | true")]
#[case(json!({"depot_id": "$ref:d.name"}), "400 type_mismatch /operations/1/store_params/depot_id")]
#[case(json!({"label": "$ref:d.doc"}), "400 type_mismatch /operations/1/store_params/label")]
#[case(json!({"label": "x $ref:d.city"}), "400 bad_reference /operations/1/store_params/label")]
fn a_create_stores_referenced_values_by_type(#[case] store: Json, #[case] want: &str) {
    let create = json!({"entity": "crate", "action": "create", "store_params": store});
    assert_eq!(second(&Fixture::new(Postgres), create, &one_depot()), want);
}

#[test]
fn documents_and_lists_take_whole_rows() {
    let fixture = Fixture::new(Postgres);
    let create = |store: Json| json!({"entity": "depot", "action": "create", "store_params": store});
    assert_eq!(
        second(&fixture, create(json!({"tags": "$ref:d.*.name"})), &one_depot()),
        "create tags=[\"So,uth*?\"] | true"
    );
    assert_eq!(
        second(&fixture, create(json!({"doc": {"n": ["$ref:d.depot_id", 1.5]}})), &one_depot()),
        "create doc={\"n\":[2,1.5]} | true"
    );
    assert_eq!(
        second(&fixture, create(json!({"tags": "$ref:d.tags"})), &one_depot()),
        "create tags=[\"a\",\"b\"] | true"
    );
}

#[rstest]
#[case(json!({"limit": "$ref:d.depot_id"}), "read true | crate_id | 3+0 None")]
#[case(json!({"offset": "$ref:d.depot_id"}), "read true | crate_id | 101+2 None")]
#[case(json!({"limit": "$ref:d.name"}), "400 bad_limit /operations/1/metadata_params/limit")]
#[case(json!({"limit": "5$ref:d.depot_id$ref:d.depot_id$ref:d.depot_id"}), "400 bad_limit /operations/1/metadata_params/limit")]
fn limits_may_be_referenced(#[case] metadata: Json, #[case] want: &str) {
    let read = json!({"entity": "crate", "action": "read", "metadata_params": metadata});
    assert_eq!(second(&Fixture::new(Sqlite), read, &one_depot()), want);
}

#[rstest]
#[case("$ref:d.depot_id", "update owner=\"x\" rev++ | (meter_id = 1 & rev = 2) | true | 1000")]
#[case("$ref:d.city", "400 version_required /operations/1/query_params/rev")]
#[case("$ref:d.*.depot_id", "400 bad_operator /operations/1/query_params/rev")]
#[case("$ref:d.tags", "400 bad_operator /operations/1/query_params/rev")]
fn a_version_may_be_referenced_as_one_value(#[case] path: &str, #[case] want: &str) {
    let results = depots(json!([[2, "n", null, null, null, [1, 2], true]]));
    let update = json!({"entity": "meter", "action": "update", "store_params": {"owner": "x"}, "query_params": {"meter_id": 1, "rev": path}});
    assert_eq!(second(&Fixture::new(Sqlite), update, &results), want);
}

#[test]
fn a_referenced_hidden_value_shows_removed_rows() {
    let fixture = Fixture::new(Sqlite);
    let read = json!({"entity": "ticket", "action": "read", "query_params": {"state": "$ref:d.name"}});
    let with = |name: &str| {
        second(&fixture, read.clone(), &depots(json!([[1, name, null, null, null, null, null]])))
    };
    assert_eq!(with("void"), "read state = \"void\" | ticket_id | 101+0 None");
    assert_eq!(
        with("open"),
        "read (state = \"open\" & (state not in [\"void\", \"gone\"] or state null)) | ticket_id | 101+0 None"
    );
}

#[test]
fn references_may_copy_only_so_many_bytes() {
    let mut fixture = Fixture::new(Sqlite);
    fixture.limits.resolved_bytes = 100;
    let results = depots(json!([[1, "x".repeat(60), null, null, null, null, null]]));
    let create = |label: &str| json!({"entity": "badge", "action": "create", "store_params": {"badge_code": "$ref:d.name", "holder": label}});
    assert!(second(&fixture, create("y"), &results).starts_with("create badge_code="));
    let got = second(&fixture, create("$ref:d.name"), &results);
    assert_eq!(got, "413 result_too_large /operations/1/store_params/holder");
}

#[test]
fn a_trimmed_reference_warns_in_the_name_of_its_operation() {
    let fixture = Fixture::new(Sqlite);
    let read = json!({"id": "d", "entity": "depot", "action": "read"});
    let create = json!({"id": "c", "entity": "crate", "action": "create", "store_params": {"label": "at $ref:d.depot_id_x"}});
    let checked = fixture.last(json!([read, create])).unwrap();
    let (bound, warnings) = fixture.bind_warned(&checked, &one_depot());
    assert_eq!(show(&bound.unwrap()), "create label=\"at 2_x\" | true");
    let [warning] = warnings.as_slice() else { panic!("one warning") };
    assert_eq!((warning.code, warning.operation.as_deref()), ("trimmed_reference", Some("c")));
}

#[test]
fn a_read_returns_what_was_checked_and_says_its_page() {
    let fixture = Fixture::new(Sqlite);
    let checked = fixture.read_with("crate", json!({"limit": 7, "properties": "label"})).unwrap();
    let bound = fixture.bind(&checked, &[]).unwrap();
    assert_eq!(bound.returning, checked.fetch_columns);
    assert_eq!(checked.page_rows(&bound), Some(7));
    assert!(checked.limit_stated);
    let shown: Vec<(usize, &str)> = checked.shown_columns().map(|(at, name)| (at, &**name)).collect();
    assert_eq!(shown, [(1, "label")]);
}

#[rstest]
#[case::key(json!({"crate_id": 1}), true)]
#[case::key_and_more(json!({"crate_id": 1, "label": "x"}), true)]
#[case::operator(json!({"crate_id": "gt::1"}), false)]
#[case::list(json!({"crate_id": [1]}), false)]
#[case::other(json!({"label": "x"}), false)]
fn a_full_primary_key_is_plain_equality(#[case] query: Json, #[case] want: bool) {
    let delete = json!({"entity": "crate", "action": "delete", "query_params": query});
    assert_eq!(Fixture::new(Sqlite).one(delete).unwrap().selects_by_full_primary_key(), want);
}

#[test]
fn a_full_primary_key_has_all_its_columns() {
    let fixture = Fixture::new(Sqlite);
    let full = |query: Json| {
        let delete = json!({"entity": "pair", "action": "delete", "query_params": query});
        fixture.one(delete).unwrap().selects_by_full_primary_key()
    };
    assert!(full(json!({"a": 1, "b": 2})));
    assert!(!full(json!({"a": 1})));
}

#[test]
fn a_stale_probe_counts_without_the_version_and_with_every_filter() {
    let fixture = Fixture::new(Sqlite).grant(
        "meter",
        crate::batch::access::rules::Right::Read,
        &["meter_id", "rev", "serial_no"],
        Condition::Column(2, Test::Eq(Value::Int(3))),
    );
    let update = json!({"entity": "meter", "action": "update", "store_params": {"owner": "x"}, "query_params": {"meter_id": 1, "rev": 4}});
    let checked = fixture.one(update).unwrap();
    let bound = fixture.bind(&checked, &[]).unwrap();
    assert_eq!(show(&bound), "update owner=\"x\" rev++ | (meter_id = 1 & rev = 4 & rev = 3) | true | 1000");
    // The row filter's test of the same column stays.
    assert_eq!(show(&checked.stale_probe(&bound).unwrap()), "count (meter_id = 1 & rev = 3)");
    let delete = json!({"entity": "crate", "action": "delete", "query_params": {"crate_id": 1}});
    let checked = fixture.one(delete).unwrap();
    assert!(checked.stale_probe(&fixture.bind(&checked, &[]).unwrap()).is_none());
}

#[test]
fn a_cursor_continues_after_the_last_row() {
    let fixture = Fixture::new(Sqlite);
    let page = |metadata: Json| fixture.read_with("crate", metadata).unwrap();
    let first = page(json!({"sort": "weight:desc", "properties": "label"}));
    assert_eq!(names(fixture.entity("crate"), &first.fetch_columns), "crate_id label weight");
    let row = |weight: Value| [Value::Int(12), Value::Text("x".into()), weight];
    let token = first.next_cursor(&row(Value::Number("9.75".into()))).unwrap();
    let next = page(json!({"sort": "weight:desc", "cursor": token}));
    assert_eq!(
        fixture.shown(&next, &[]),
        "read (((weight < 9.75 or weight null)) or (weight = 9.75 & (crate_id > 12 or crate_id null))) | weight desc,crate_id | 101+0 None"
    );
    let token = first.next_cursor(&row(Value::Null)).unwrap();
    let next = page(json!({"sort": "weight:desc", "cursor": token}));
    assert_eq!(
        fixture.shown(&next, &[]),
        "read ((weight null & (crate_id > 12 or crate_id null))) | weight desc,crate_id | 101+0 None"
    );
    for (metadata, code) in [
        (json!({"sort": "weight", "cursor": token}), "bad_sort"),
        (json!({"cursor": token}), "bad_limit"),
        (json!({"sort": "depot.name", "cursor": token}), "bad_sort"),
        (json!({"sort": "weight:desc", "cursor": format!("{token}x")}), "bad_limit"),
        (json!({"sort": "weight:desc", "cursor": "!!"}), "bad_limit"),
    ] {
        assert_eq!(fixture.read_with("crate", metadata.clone()).unwrap_err().code, code, "{metadata}");
    }
    assert_eq!(fixture.read_with("depot", json!({"cursor": token})).unwrap_err().code, "bad_limit");
}

#[test]
fn a_sort_that_cannot_be_continued_has_no_cursor() {
    let fixture = Fixture::new(Sqlite);
    let checked = fixture.read_with("crate", json!({"sort": "depot.name", "properties": "label"})).unwrap();
    assert_eq!(checked.next_cursor(&[Value::Int(1), Value::Null]), None);
    let checked = fixture.read_with("report", json!({"sort": "body"})).unwrap();
    assert_eq!(checked.next_cursor(&[Value::Int(1), Value::Null]), None);
}

#[test]
fn return_none_still_fetches_what_is_referred_to() {
    let mut fixture = Fixture::new(Sqlite);
    fixture.options.returns = Return::None;
    let create = json!({"id": "c", "entity": "depot", "action": "create", "store_params": {"name": "x"}});
    let refers =
        json!({"entity": "crate", "action": "create", "store_params": {"depot_id": "$ref:c.depot_id"}});
    let checked = fixture.batch(json!([create, refers])).swap_remove(0).unwrap();
    assert!(checked.answer_columns.is_empty());
    assert_eq!(names(fixture.entity("depot"), &fixture.bind(&checked, &[]).unwrap().returning), "depot_id");
}

proptest! {
    #[test]
    fn whatever_text_is_referred_to_stays_one_literal(text in ".*") {
        let fixture = Fixture::new(Sqlite);
        let results = depots(json!([[1, text, null, null, null, null, null]]));
        let read = json!({"id": "d", "entity": "depot", "action": "read"});
        let query = json!({"label": "like::a*$ref:{d.name}"});
        let checked = fixture.last(json!([read, {"entity": "crate", "action": "read", "query_params": query}])).unwrap();
        let Work::Read { condition, .. } = fixture.bind(&checked, &results).unwrap().work else { panic!("a read") };
        let parts = vec![PatternPart::Literal("a".into()), PatternPart::Any, PatternPart::Literal(text)];
        prop_assert_eq!(condition, Condition::Column(2, Test::Like(Pattern(parts))));
    }

    #[test]
    fn whatever_the_last_row_is_its_cursor_is_taken(weight in proptest::option::of(-1_000_000i64..1_000_000), key in any::<i64>(), label in proptest::option::of(".*")) {
        let fixture = Fixture::new(Sqlite);
        let sort = json!({"sort": "label,weight:desc"});
        let first = fixture.read_with("crate", sort).unwrap();
        let mut row = vec![Value::Null; first.fetch_columns.len()];
        row[0] = Value::Int(key);
        row[2] = label.map_or(Value::Null, Value::Text);
        row[3] = weight.map_or(Value::Null, Value::Int);
        let token = first.next_cursor(&row).unwrap();
        let next = fixture.read_with("crate", json!({"sort": "label,weight:desc", "cursor": token}));
        prop_assert!(next.is_ok());
    }
}
