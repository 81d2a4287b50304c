use rstest::rstest;
use serde_json::{Value as Json, json};

use super::fixture::*;
use super::*;
use crate::batch::catalogue::DatabaseKind::{Mysql, Postgres, Sqlite};
use crate::batch::operation::{Test, Work};
use crate::batch::value::Value;

fn code(result: Result<CheckedOperation, OperationError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{} {}", error.status, error.code),
    }
}

#[rstest]
#[case::scalar(json!({"depot_id": 1}), "depot_id = 1")]
#[case::digits(json!({"depot_id": "1"}), "depot_id = 1")]
#[case::several(json!({"depot_id": 1, "label": "x"}), "(depot_id = 1 & label = \"x\")")]
#[case::null(json!({"label": null}), "label null")]
#[case::list(json!({"depot_id": [1, "2"]}), "depot_id in [1, 2]")]
#[case::list_with_null(json!({"depot_id": [1, null]}), "depot_id in [1]")]
#[case::empty_list(json!({"depot_id": []}), "depot_id in []")]
#[case::eq(json!({"label": "eq::fe80::1"}), "label = \"fe80::1\"")]
#[case::ne(json!({"label": "ne::nuts"}), "label <> \"nuts\"")]
#[case::lt(json!({"weight": "lt::4.50"}), "weight < 4.50")]
#[case::le(json!({"weight": "le::4"}), "weight <= 4")]
#[case::gt(json!({"reading": "gt::2.5"}), "reading > 2.5")]
#[case::ge(json!({"made_at": "ge::2026-01-01"}), "made_at >= \"2026-01-01T00:00:00Z\"")]
#[case::of_boolean(json!({"armed": "eq::true"}), "armed = true")]
#[case::in_text(json!({"depot_id": "in::1, 2"}), "depot_id in [1, 2]")]
#[case::in_text_keeps_spaces_of_text(json!({"label": "in::a, b"}), "label in [\"a\", \" b\"]")]
#[case::in_of_nothing(json!({"label": "in::"}), "label in [\"\"]")]
#[case::not_in(json!({"crate_id": "not-in::10,12"}), "crate_id not in [10, 12]")]
#[case::between(json!({"weight": "between::2,4"}), "weight between 2 4")]
#[case::not_between(json!({"weight": "not-between::2,4"}), "weight not between 2 4")]
#[case::like(json!({"label": "like::b?l*%_"}), "label like <b>?<l>*<%_>")]
#[case::not_like(json!({"label": "not-like::bolt*"}), "label not like <bolt>*")]
#[case::object(json!({"label": {"eq": "zz::x"}}), "label = \"zz::x\"")]
#[case::several_of_object(json!({"weight": {"ge": 1, "lt": 5}}), "(weight >= 1 & weight < 5)")]
#[case::object_in(json!({"label": {"in": ["a,b", "c"]}}), "label in [\"a,b\", \"c\"]")]
#[case::object_not_in_null(json!({"depot_id": {"not-in": [1, null]}}), "depot_id in []")]
#[case::object_like(json!({"label": {"like": "a*"}}), "label like <a>*")]
#[case::is_null(json!({"label": {"is-null": true}}), "label null")]
#[case::is_not_null(json!({"label": {"is-null": false}}), "label not null")]
#[case::not_null(json!({"label": {"not-null": true}}), "label not null")]
#[case::eq_null(json!({"label": {"eq": null}}), "label null")]
#[case::ne_null(json!({"label": {"ne": null}}), "label not null")]
#[case::related(json!({"depot.city": "Bari"}), "some depot[depot_id=depot_id: city = \"Bari\"]")]
#[case::related_twice(json!({"depot.city": "Bari", "label": "x", "depot.name": "like::S*"}),
    "(label = \"x\" & some depot[depot_id=depot_id: (city = \"Bari\" & name like <S>*)])")]
#[case::unknown_prefix(json!({"label": "zz::nuts"}), "bad_operator")]
#[case::address(json!({"label": "fe80::1"}), "bad_operator")]
#[case::between_one(json!({"weight": "between::2"}), "bad_operator")]
#[case::between_three(json!({"weight": "between::1,2,3"}), "bad_operator")]
#[case::object_between_one(json!({"weight": {"between": [1]}}), "bad_operator")]
#[case::object_unknown(json!({"weight": {"is": 1}}), "bad_operator")]
#[case::object_empty(json!({"weight": {}}), "bad_operator")]
#[case::object_in_scalar(json!({"weight": {"in": "1,2"}}), "bad_operator")]
#[case::null_test_of_number(json!({"weight": {"is-null": 1}}), "bad_operator")]
#[case::null_test_as_text(json!({"weight": "is-null::"}), "bad_operator")]
#[case::less_than_null(json!({"weight": {"lt": null}}), "bad_operator")]
#[case::between_null(json!({"weight": {"between": [1, null]}}), "bad_operator")]
#[case::like_of_numbers(json!({"weight": "like::1*"}), "bad_operator")]
#[case::like_of_a_list(json!({"label": {"like": ["a"]}}), "bad_operator")]
#[case::no_number(json!({"depot_id": "x"}), "type_mismatch")]
#[case::no_number_in_list(json!({"depot_id": "in::1,x"}), "type_mismatch")]
#[case::out_of_range(json!({"depot_id": 4_000_000_000_u32}), "type_mismatch")]
#[case::document(json!({"label": {"eq": [1]}}), "type_mismatch")]
#[case::no_column(json!({"colour": "red"}), "unknown_column")]
#[case::no_relation(json!({"owner.name": "x"}), "unknown_column")]
#[case::no_related_column(json!({"depot.colour": "x"}), "unknown_column")]
fn query_params_say_which_rows(#[case] query: Json, #[case] want: &str) {
    assert_eq!(Fixture::new(Postgres).condition("crate", query), want);
}

#[rstest]
#[case(json!({"doc": null}), "doc null")]
#[case(json!({"doc": {"not-null": true}}), "doc not null")]
#[case(json!({"doc": "x"}), "bad_operator")]
#[case(json!({"doc": "eq::x"}), "bad_operator")]
#[case(json!({"doc": [1]}), "bad_operator")]
#[case(json!({"doc": {"eq": {"a": 1}}}), "bad_operator")]
#[case(json!({"tags": {"eq": ["a", "b"]}}), "tags = [\"a\",\"b\"]")]
#[case(json!({"tags": [["a"], []]}), "tags in [[\"a\"], []]")]
#[case(json!({"crates.label": "x"}), "some crate[depot_id=depot_id: label = \"x\"]")]
fn documents_are_not_compared_and_lists_are(#[case] query: Json, #[case] want: &str) {
    assert_eq!(Fixture::new(Postgres).condition("depot", query), want);
}

#[test]
fn an_error_of_a_selector_points_to_its_place_and_names_the_column() {
    let error = Fixture::new(Postgres).read("crate", json!({"depot_id": {"in": [1, "x"]}})).unwrap_err();
    assert_eq!(error.pointer.as_deref(), Some("/operations/0/query_params/depot_id/in"));
    assert_eq!(error.column.as_deref(), Some("depot_id"));
    assert_eq!(
        error.error,
        "column `depot_id` takes a whole number from -2147483648 to 2147483647, not this text"
    );
}

#[test]
fn a_list_longer_than_the_limit_is_refused() {
    let mut fixture = Fixture::new(Sqlite);
    fixture.limits.in_list = 2;
    for query in [json!([1, 2, 3]), json!("in::1,2,3"), json!({"in": [1, 2, 3]})] {
        assert_eq!(fixture.condition("crate", json!({"depot_id": query})), "bad_operator");
    }
    assert_eq!(fixture.condition("crate", json!({"depot_id": [1, 2]})), "depot_id in [1, 2]");
}

#[rstest]
#[case::nothing(json!({}), "read true | crate_id | 101+0 None")]
#[case::sorted(json!({"sort": "weight:desc,label:asc"}), "read true | weight desc,label,crate_id | 101+0 None")]
#[case::sorted_with_spaces(json!({"sort": "weight:desc label"}), "read true | weight desc,label,crate_id | 101+0 None")]
#[case::sorted_by_key(json!({"sort": "crate_id:desc"}), "read true | crate_id desc | 101+0 None")]
#[case::sorted_twice(json!({"sort": "label,label:desc"}), "read true | label,crate_id | 101+0 None")]
#[case::sorted_by_relation(json!({"sort": "depot.city:desc"}), "read true | depot.city desc,crate_id | 101+0 None")]
#[case::limited(json!({"limit": 5, "offset": "10"}), "read true | crate_id | 6+10 None")]
#[case::limited_by_digits(json!({"__limit": "5"}), "read true | crate_id | 6+0 None")]
#[case::limited_to_nothing(json!({"limit": 0}), "read true | crate_id | 1+0 None")]
#[case::locked(json!({"lock": "update"}), "read true | crate_id | 101+0 Update")]
#[case::shared(json!({"lock": "share"}), "read true | crate_id | 101+0 Share")]
#[case::not_locked(json!({"lock": "none"}), "read true | crate_id | 101+0 None")]
#[case::counted(json!({"count": true}), "count true")]
#[case::not_counted(json!({"count": false}), "read true | crate_id | 101+0 None")]
#[case::bad_sort(json!({"sort": "nope"}), "400 bad_sort")]
#[case::bad_direction(json!({"sort": "weight:up"}), "400 bad_sort")]
#[case::sort_is_no_text(json!({"sort": ["weight"]}), "400 bad_sort")]
#[case::bad_limit(json!({"limit": "5x"}), "400 bad_limit")]
#[case::negative_limit(json!({"limit": -1}), "400 bad_limit")]
#[case::broken_limit(json!({"limit": 1.5}), "400 bad_limit")]
#[case::too_high_limit(json!({"limit": 1001}), "400 bad_limit")]
#[case::bad_offset(json!({"offset": "5x"}), "400 bad_limit")]
#[case::endless_offset(json!({"offset": "99999999999999999999"}), "400 bad_limit")]
#[case::bad_lock(json!({"lock": "exclusive"}), "400 invalid_request")]
#[case::bad_count(json!({"count": "yes"}), "400 invalid_request")]
#[case::bad_cursor(json!({"cursor": "abc"}), "400 bad_limit")]
fn metadata_params_shape_a_read(#[case] metadata: Json, #[case] want: &str) {
    let fixture = Fixture::new(Sqlite);
    let got = match fixture.read_with("crate", metadata) {
        Ok(checked) => fixture.shown(&checked, &[]),
        Err(error) => format!("{} {}", error.status, error.code),
    };
    assert_eq!(got, want);
}

#[test]
fn documents_and_many_rows_have_no_order() {
    let fixture = Fixture::new(Postgres);
    for sort in ["doc", "tags:desc", "crates.label"] {
        assert_eq!(code(fixture.read_with("depot", json!({"sort": sort}))), "400 bad_sort");
    }
}

#[test]
fn a_lock_outside_a_transaction_is_none() {
    let mut fixture = Fixture::new(Postgres);
    fixture.options.atomic = false;
    let checked = fixture.read_with("crate", json!({"lock": "update"})).unwrap();
    assert_eq!(fixture.shown(&checked, &[]), "read true | crate_id | 101+0 None");
}

#[rstest]
#[case("label", "label", "crate_id label")]
#[case("label weight", "label weight", "crate_id label weight")]
#[case("weight,label", "label weight", "crate_id label weight")]
#[case("(de.*|lab)el", "label", "crate_id label")]
#[case(".*_id", "crate_id depot_id", "crate_id depot_id")]
#[case(
    ".*",
    "crate_id depot_id label weight reading armed made_at guid total",
    "crate_id depot_id label weight reading armed made_at guid total"
)]
#[case(
    "",
    "crate_id depot_id label weight reading armed made_at guid total",
    "crate_id depot_id label weight reading armed made_at guid total"
)]
fn properties_choose_columns_whole(#[case] text: &str, #[case] answered: &str, #[case] fetched: &str) {
    let fixture = Fixture::new(Sqlite);
    let checked = fixture.read_with("crate", json!({"properties": text})).unwrap();
    assert_eq!(names(fixture.entity("crate"), &checked.answer_columns), answered);
    assert_eq!(names(fixture.entity("crate"), &checked.fetch_columns), fetched);
}

#[rstest]
#[case("nope")]
#[case("labe")]
#[case("(")]
#[case("a)|(b")]
#[case("depot:nope")]
fn properties_that_match_nothing_are_refused(#[case] text: &str) {
    let error = Fixture::new(Sqlite).read_with("crate", json!({"properties": text})).unwrap_err();
    assert_eq!(error.code, "unknown_column");
    assert_eq!(error.pointer.as_deref(), Some("/operations/0/metadata_params/properties"));
}

#[test]
fn properties_with_a_relation_load_an_association() {
    let fixture = Fixture::new(Sqlite);
    let checked = fixture.read_with("crate", json!({"properties": "label depot:name depot:city"})).unwrap();
    assert_eq!(names(fixture.entity("crate"), &checked.answer_columns), "label");
    assert_eq!(names(fixture.entity("crate"), &checked.fetch_columns), "crate_id depot_id label");
    let [plan] = checked.associations.as_slice() else { panic!("one association") };
    assert_eq!((&*plan.name, plan.kind), ("depot", RelationKind::Object));
    assert_eq!(names(&plan.entity, &plan.answer_columns), "name city");
    assert_eq!(names(&plan.entity, &plan.fetch_columns), "depot_id name city");
    let keys = [vec![Value::Int(1)], vec![Value::Null], vec![Value::Int(1)], vec![Value::Int(2)]];
    let bound = plan.load(0, &keys, 10).unwrap();
    assert_eq!(show(&bound), "read depot_id in [1, 2] | depot_id | 11+0 None");
    assert!(plan.load(0, &[vec![Value::Null]], 10).is_none());
}

#[test]
fn an_association_hides_removed_rows_and_rows_of_others() {
    let filter = Condition::Column(1, Test::Eq(Value::Text("mine".into())));
    let fixture = Fixture::new(Sqlite).grant("sheet", Right::Read, &["sheet_id", "title"], filter);
    let checked = fixture.read_with("crate", json!({"properties": "sheet:.*"})).unwrap();
    let bound = checked.associations[0].load(0, &[vec![Value::Int(3)]], 10).unwrap();
    assert_eq!(
        show(&bound),
        "read (sheet_id in [3] & removed_at null & title = \"mine\") | sheet_id | 11+0 None"
    );
    assert_eq!(names(fixture.entity("sheet"), &bound.returning), "sheet_id title");
}

#[rstest]
#[case::plain(json!({"depot_id": 1, "label": "x"}), "create depot_id=1 label=\"x\" | true")]
#[case::number_as_text(json!({"label": 12}), "create label=\"12\" | true")]
#[case::null(json!({"label": null}), "create label=null | true")]
#[case::nothing(json!({}), "create  | true")]
#[case::unknown(json!({"colour": "red"}), "400 unknown_column")]
#[case::auto_key(json!({"crate_id": 5}), "400 key_not_allowed")]
#[case::generated(json!({"total": 5}), "400 key_not_allowed")]
#[case::mismatch(json!({"depot_id": "x"}), "400 type_mismatch")]
#[case::object_in_text(json!({"label": {"a": 1}}), "400 type_mismatch")]
fn a_create_stores_what_fits(#[case] store: Json, #[case] want: &str) {
    let fixture = Fixture::new(Postgres);
    assert_eq!(
        written(&fixture, json!({"entity": "crate", "action": "create", "store_params": store})),
        want
    );
}

fn written(fixture: &Fixture, operation: Json) -> String {
    match fixture.one(operation) {
        Ok(checked) => fixture.shown(&checked, &[]),
        Err(error) => format!("{} {}", error.status, error.code),
    }
}

#[rstest]
#[case::required_key("badge", json!({"badge_code": "B7", "holder": "Kim"}), "create badge_code=\"B7\" holder=\"Kim\" | true")]
#[case::required_key_missing("badge", json!({"holder": "Kim"}), "400 key_required")]
#[case::required_key_null("badge", json!({"badge_code": null}), "400 key_required")]
#[case::composite_key("pair", json!({"a": 1}), "create a=1 | true")]
#[case::composite_key_missing("pair", json!({"b": 1}), "400 key_required")]
#[case::sequence_key("stamp", json!({"id": 1}), "400 key_not_allowed")]
#[case::uuid_key_sent("clockwork", json!({"id": UUID}), "400 key_not_allowed")]
#[case::uuid_key_and_time_version("clockwork", json!({"body": "x"}),
    "create body=\"x\" id=\"6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1\" rev=\"2026-11-23T01:02:03.123456Z\" | true")]
#[case::uuid_version("stamp", json!({"body": "x"}), "create body=\"x\" rev=\"6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1\" | true")]
#[case::first_version("meter", json!({"serial_no": "s"}), "create serial_no=\"s\" rev=1 | true")]
#[case::version_sent("meter", json!({"serial_no": "s", "rev": 1}), "400 version_not_allowed")]
#[case::injected("trail", json!({"body": "hi"}), "create body=\"hi\" made_by=\"u1\" made_on=\"2026-11-23\" | true")]
#[case::injected_sent("trail", json!({"made_by": "me"}), "403 injected_column")]
#[case::injected_in_update_only("trail", json!({"touched_by": "me"}), "create touched_by=\"me\" made_by=\"u1\" made_on=\"2026-11-23\" | true")]
#[case::claim_inside_a_claim("team", json!({}), "create team=7 | true")]
#[case::view("report", json!({"body": "x"}), "403 action_forbidden")]
fn keys_versions_and_injections_follow_their_rules(
    #[case] name: &str,
    #[case] store: Json,
    #[case] want: &str,
) {
    let fixture = Fixture::new(Postgres);
    assert_eq!(written(&fixture, json!({"entity": name, "action": "create", "store_params": store})), want);
}

#[rstest]
#[case::missing(json!({}))]
#[case::of_another_form(json!({"team": {"id": [7]}}))]
#[case::that_does_not_fit(json!({"team": {"id": "seven"}}))]
fn a_claim_that_cannot_be_injected_fails_the_operation(#[case] claims: Json) {
    let mut fixture = Fixture::new(Postgres);
    fixture.caller.claims = claims.as_object().unwrap().clone();
    let error = fixture.one(json!({"entity": "team", "action": "create"})).unwrap_err();
    assert_eq!((error.status, error.code), (403, "injected_column"));
    assert!(!error.error.contains("seven"));
}

#[test]
fn many_rows_of_a_create_have_the_same_columns_and_their_own_pointers() {
    let fixture = Fixture::new(Sqlite);
    let create = |rows: Json| json!({"entity": "trail", "action": "create", "store_params": rows});
    assert_eq!(
        written(&fixture, create(json!([{"body": "a"}, {"body": "b"}]))),
        "create body=\"a\" made_by=\"u1\" made_on=\"2026-11-23\"; body=\"b\" made_by=\"u1\" made_on=\"2026-11-23\" | true"
    );
    let rows = json!([{"touched_at": "2026-01-01T00:00:00Z"}, {"touched_at": "soon"}]);
    let error = fixture.one(create(rows)).unwrap_err();
    assert_eq!(error.pointer.as_deref(), Some("/operations/0/store_params/1/touched_at"));
}

#[rstest]
#[case::all("update", "crate", json!({"weight": 7}), json!({"depot_id": 1}), "update weight=7 | depot_id = 1 | true | 1000")]
#[case::operators("update", "crate", json!({"weight": 7}), json!({"weight": "gt::7"}), "update weight=7 | weight > 7 | true | 1000")]
#[case::no_selector("update", "crate", json!({"weight": 7}), json!({}), "400 selector_required")]
#[case::related("update", "crate", json!({"weight": 7}), json!({"depot.city": "Bari"}), "400 unknown_column")]
#[case::nothing_to_store("update", "crate", json!({}), json!({"depot_id": 1}), "400 invalid_request")]
#[case::key("update", "crate", json!({"crate_id": 7}), json!({"depot_id": 1}), "400 key_not_allowed")]
#[case::natural_key("update", "badge", json!({"badge_code": "B"}), json!({"badge_code": "A"}), "update badge_code=\"B\" | badge_code = \"A\" | true | 1000")]
#[case::generated("update", "crate", json!({"total": 7}), json!({"depot_id": 1}), "400 key_not_allowed")]
#[case::unknown("update", "crate", json!({"colour": 7}), json!({"depot_id": 1}), "400 unknown_column")]
#[case::version("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": 2, "rev": 4}), "update serial_no=\"n\" rev++ | (meter_id = 2 & rev = 4) | true | 1000")]
#[case::version_alone("update", "meter", json!({"serial_no": "n"}), json!({"rev": 4}), "update serial_no=\"n\" rev++ | rev = 4 | true | 1000")]
#[case::version_missing("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": 2}), "400 version_required")]
#[case::version_null("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": 2, "rev": null}), "400 version_required")]
#[case::version_stored("update", "meter", json!({"rev": 9}), json!({"meter_id": 2, "rev": 4}), "400 version_not_allowed")]
#[case::version_by_operator("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": 2, "rev": "eq::4"}), "400 bad_operator")]
#[case::operator_beside_version("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": "gt::2", "rev": 4}), "400 bad_operator")]
#[case::list_beside_version("update", "meter", json!({"serial_no": "n"}), json!({"meter_id": [1, 2], "rev": 4}), "400 bad_operator")]
#[case::time_version("update", "clockwork", json!({"body": "n"}), json!({"rev": "2026-01-01T00:00:00Z"}),
    "update body=\"n\" rev=\"2026-11-23T01:02:03.123456Z\" | rev = \"2026-01-01T00:00:00Z\" | true | 1000")]
#[case::injected("update", "trail", json!({"body": "n"}), json!({"trail_id": 1}),
    "update body=\"n\" touched_by=\"u1\" touched_at=\"2026-11-23T01:02:03.123456Z\" | trail_id = 1 | true | 1000")]
#[case::injected_sent("update", "trail", json!({"touched_by": "n"}), json!({"trail_id": 1}), "403 injected_column")]
#[case::injected_in_create_only("update", "trail", json!({"made_by": "n"}), json!({"trail_id": 1}),
    "update made_by=\"n\" touched_by=\"u1\" touched_at=\"2026-11-23T01:02:03.123456Z\" | trail_id = 1 | true | 1000")]
#[case::update_hides_removed("update", "ticket", json!({"subject": "n"}), json!({"ticket_id": 1}),
    "update subject=\"n\" | (ticket_id = 1 & (state not in [\"void\", \"gone\"] or state null)) | true | 1000")]
#[case::delete("delete", "crate", json!({}), json!({"crate_id": 10}), "delete crate_id = 10 | 1000")]
#[case::delete_all("delete", "crate", json!({}), json!({}), "400 selector_required")]
#[case::delete_with_version("delete", "meter", json!({}), json!({"meter_id": 2, "rev": 4}), "delete (meter_id = 2 & rev = 4) | 1000")]
#[case::delete_without_version("delete", "meter", json!({}), json!({"meter_id": 2}), "400 version_required")]
#[case::soft_by_time("delete", "sheet", json!({}), json!({"sheet_id": 1}),
    "update removed_at=\"2026-11-23T01:02:03.123456\" removed_by=\"u1\" | (sheet_id = 1 & removed_at null) | true | 1000")]
#[case::soft_by_flag("delete", "lamp", json!({}), json!({"lamp_id": 1, "rev": 1}),
    "update live=false rev++ | (lamp_id = 1 & rev = 1 & live = true) | true | 1000")]
#[case::soft_by_value("delete", "ticket", json!({}), json!({"ticket_id": 1}),
    "update state=\"void\" | (ticket_id = 1 & (state not in [\"void\", \"gone\"] or state null)) | true | 1000")]
#[case::unknown_entity("read", "warp", json!({}), json!({}), "400 unknown_entity")]
#[case::other_case("read", "Crate", json!({}), json!({}), "400 unknown_entity")]
#[case::view("delete", "report", json!({}), json!({"id": 1}), "403 action_forbidden")]
fn writes_follow_their_rules(
    #[case] action: &str,
    #[case] name: &str,
    #[case] store: Json,
    #[case] query: Json,
    #[case] want: &str,
) {
    let fixture = Fixture::new(Postgres);
    let operation = json!({"entity": name, "action": action, "store_params": store, "query_params": query});
    assert_eq!(written(&fixture, operation), want);
}

#[rstest]
#[case("sheet", json!({}), "removed_at null")]
#[case("sheet", json!({"removed_at": null}), "(removed_at null & removed_at null)")]
#[case("sheet", json!({"removed_at": {"not-null": true}}), "removed_at not null")]
#[case("sheet", json!({"removed_at": "gt::2026-01-01"}), "removed_at > \"2026-01-01T00:00:00\"")]
#[case("lamp", json!({}), "live = true")]
#[case("lamp", json!({"live": true}), "(live = true & live = true)")]
#[case("lamp", json!({"live": false}), "live = false")]
#[case("lamp", json!({"live": [true, false]}), "live in [true, false]")]
#[case("lamp", json!({"live": "ne::true"}), "live <> true")]
#[case("ticket", json!({}), "(state not in [\"void\", \"gone\"] or state null)")]
#[case("ticket", json!({"state": "void"}), "state = \"void\"")]
#[case("ticket", json!({"state": "in::open,gone"}), "state in [\"open\", \"gone\"]")]
#[case("ticket", json!({"state": "open"}), "(state = \"open\" & (state not in [\"void\", \"gone\"] or state null))")]
#[case("ticket", json!({"state": "ne::open"}), "(state <> \"open\" & (state not in [\"void\", \"gone\"] or state null))")]
#[case("crate", json!({"sheet.title": "x"}), "some sheet[depot_id=sheet_id: (title = \"x\" & removed_at null)]")]
#[case("crate", json!({"sheet.removed_at": {"not-null": true}}), "some sheet[depot_id=sheet_id: removed_at not null]")]
fn removed_rows_are_hidden_unless_a_hidden_value_is_named(
    #[case] name: &str,
    #[case] query: Json,
    #[case] want: &str,
) {
    assert_eq!(Fixture::new(Sqlite).condition(name, query), want);
}

/// A clerk of the vault: reads two columns of its own rows, writes one, deletes nothing.
fn clerk() -> Fixture {
    let mine = |owner: &str| Condition::Column(1, Test::Eq(Value::Text(owner.into())));
    Fixture::new(Sqlite)
        .grant("vault", Right::Read, &["vault_id", "owner"], mine("u1"))
        .grant("vault", Right::Write, &["owner"], mine("u1"))
        .deny("vault", Right::Delete)
}

#[rstest]
#[case::read(json!({"action": "read"}), "read owner = \"u1\" | vault_id | 101+0 None")]
#[case::counted(json!({"action": "read", "metadata_params": {"count": true}}), "count owner = \"u1\"")]
#[case::hidden_column_selected(json!({"action": "read", "query_params": {"pin": "9"}}), "403 column_forbidden")]
#[case::hidden_column_guessed(json!({"action": "read", "query_params": {"pin": "like::9*"}}), "403 column_forbidden")]
#[case::hidden_column_counted(json!({"action": "read", "query_params": {"pin": null}, "metadata_params": {"count": true}}), "403 column_forbidden")]
#[case::hidden_column_sorted(json!({"action": "read", "metadata_params": {"sort": "pin"}}), "403 column_forbidden")]
#[case::hidden_column_answered(json!({"action": "read", "metadata_params": {"properties": "pin"}}), "403 column_forbidden")]
#[case::hidden_column_matched(json!({"action": "read", "metadata_params": {"properties": "pi."}}), "400 unknown_column")]
#[case::create(json!({"action": "create", "store_params": {"owner": "cy"}}), "create owner=\"cy\" | owner = \"u1\"")]
#[case::create_forbidden(json!({"action": "create", "store_params": {"owner": "cy", "pin": "1"}}), "403 column_forbidden")]
#[case::update(json!({"action": "update", "store_params": {"owner": "cy"}, "query_params": {"vault_id": 1}}),
    "update owner=\"cy\" | (vault_id = 1 & owner = \"u1\") | owner = \"u1\" | 1000")]
#[case::update_forbidden(json!({"action": "update", "store_params": {"pin": "1"}, "query_params": {"vault_id": 1}}), "403 column_forbidden")]
#[case::update_guessed(json!({"action": "update", "store_params": {"owner": "x"}, "query_params": {"pin": "9"}}), "403 column_forbidden")]
#[case::delete(json!({"action": "delete", "query_params": {"vault_id": 1}}), "403 action_forbidden")]
fn a_caller_does_what_its_roles_grant_and_no_more(#[case] operation: Json, #[case] want: &str) {
    let mut operation = operation;
    operation["entity"] = json!("vault");
    assert_eq!(written(&clerk(), operation), want);
}

#[test]
fn a_write_touches_only_rows_that_its_answer_may_show() {
    let open = Condition::Column(1, Test::Eq(Value::Text("open".into())));
    let fixture = Fixture::new(Sqlite)
        .grant("vault", Right::Read, &["vault_id", "owner"], open)
        .grant("vault", Right::Write, &["pin"], Condition::True)
        .grant("vault", Right::Delete, &[], Condition::Column(2, Test::IsNull));
    let update = json!({"entity": "vault", "action": "update", "store_params": {"pin": "1"}, "query_params": {"vault_id": 1}});
    assert_eq!(
        written(&fixture, update),
        "update pin=\"1\" | (vault_id = 1 & owner = \"open\") | true | 1000"
    );
    let delete = json!({"entity": "vault", "action": "delete", "query_params": {"vault_id": 1}});
    assert_eq!(written(&fixture, delete), "delete (vault_id = 1 & pin null & owner = \"open\") | 1000");
}

#[rstest]
#[case::representation(Return::Representation, json!({}), "vault_id owner")]
#[case::keys(Return::Keys, json!({}), "vault_id")]
#[case::none(Return::None, json!({}), "")]
#[case::some(Return::Representation, json!({"_properties": "owner"}), "owner")]
fn a_write_answers_what_is_asked_for_and_may_be_seen(
    #[case] returns: Return,
    #[case] metadata: Json,
    #[case] want: &str,
) {
    let mut fixture = clerk();
    fixture.options.returns = returns;
    let create = json!({"entity": "vault", "action": "create", "store_params": {"owner": "a"}, "metadata_params": metadata});
    let checked = fixture.one(create).unwrap();
    assert_eq!(names(fixture.entity("vault"), &checked.answer_columns), want);
}

#[test]
fn a_create_answers_columns_that_may_be_written_and_references_do_not_see_them() {
    let fixture = Fixture::new(Sqlite).grant("vault", Right::Read, &["vault_id"], Condition::True).grant(
        "vault",
        Right::Write,
        &["pin"],
        Condition::True,
    );
    let create = json!({"id": "new", "entity": "vault", "action": "create", "store_params": {"pin": "1"}});
    let checked = fixture.one(create.clone()).unwrap();
    assert_eq!(names(fixture.entity("vault"), &checked.answer_columns), "vault_id pin");
    let seen: Vec<&str> = checked.reference_columns().map(|(_, name)| &**name).collect();
    assert_eq!(seen, ["vault_id"]);
    let refer = |path: &str| {
        let read = json!({"entity": "crate", "action": "read", "query_params": {"label": path}});
        code(fixture.last(json!([create, read])))
    };
    assert_eq!(refer("$ref:new.vault_id"), "ok");
    assert_eq!(refer("$ref:new.pin"), "403 column_forbidden");
}

#[test]
fn a_relation_needs_its_foreign_key_and_the_other_entity_to_be_readable() {
    let read = |fixture: &Fixture, query: Json| code(fixture.read("crate", query));
    let depot = json!({"depot.city": "Bari"});
    let all = ["crate_id", "depot_id", "label"];
    assert_eq!(read(&Fixture::new(Sqlite).deny("depot", Right::Read), depot.clone()), "403 action_forbidden");
    let fixture = Fixture::new(Sqlite).grant("depot", Right::Read, &["name"], Condition::True);
    assert_eq!(read(&fixture, depot.clone()), "403 column_forbidden");
    assert_eq!(read(&fixture, json!({"depot.name": "x"})), "ok");
    let fixture = Fixture::new(Sqlite).grant("crate", Right::Read, &["crate_id", "label"], Condition::True);
    assert_eq!(read(&fixture, depot.clone()), "403 column_forbidden");
    assert_eq!(code(fixture.read_with("crate", json!({"properties": "depot:name"}))), "403 column_forbidden");
    assert_eq!(code(fixture.read_with("crate", json!({"sort": "depot.name"}))), "403 column_forbidden");
    assert_eq!(code(fixture.read("depot", json!({"crates.label": "x"}))), "403 column_forbidden");
    let filter = Condition::Column(2, Test::Eq(Value::Text("Oslo".into())));
    let fixture = Fixture::new(Sqlite).grant("crate", Right::Read, &all, Condition::True).grant(
        "depot",
        Right::Read,
        &["name", "city"],
        filter,
    );
    assert_eq!(
        fixture.condition("crate", depot),
        "some depot[depot_id=depot_id: (city = \"Bari\" & city = \"Oslo\")]"
    );
    assert_eq!(code(fixture.read_with("crate", json!({"sort": "depot.name"}))), "403 column_forbidden");
}

#[rstest]
#[case::column("$ref:d.depot_id", "ok")]
#[case::dropped_by_properties("$ref:d.city", "ok")]
#[case::indexed("$ref:d.0.depot_id", "ok")]
#[case::bracket("$ref:d[0].depot_id", "ok")]
#[case::unknown("$ref:d.nope", "400 bad_reference")]
#[case::unknown_in_text("x $ref:d.nope", "400 bad_reference")]
#[case::trimmed("x $ref:d.name_suffix", "ok")]
#[case::whole_is_not_trimmed("$ref:d.name_suffix", "400 bad_reference")]
#[case::braced_is_not_trimmed("x $ref:{d.name_suffix}", "400 bad_reference")]
#[case::inside_a_scalar("$ref:d.depot_id.x", "400 bad_reference")]
#[case::inside_a_document("$ref:d.doc.a.b", "ok")]
#[case::not_loaded("$ref:d.crates.0.label", "400 bad_reference")]
#[case::no_count("$ref:d.count", "400 bad_reference")]
fn a_reference_must_have_something_to_read(#[case] path: &str, #[case] want: &str) {
    let fixture = Fixture::new(Sqlite);
    let target = json!({"id": "d", "entity": "depot", "action": "read", "metadata_params": {"properties": "depot_id"}});
    let create = json!({"id": "c", "entity": "crate", "action": "create", "store_params": {"label": path}});
    let result = fixture.last(json!([target, create]));
    if let Err(error) = &result {
        assert_eq!(error.pointer.as_deref(), Some("/operations/1/store_params/label"));
        assert!(error.error.contains("`d."), "{}", error.error);
    }
    assert_eq!(code(result), want);
}

#[test]
fn what_is_referred_to_is_fetched_and_not_answered() {
    let fixture = Fixture::new(Sqlite);
    let target = |properties: &str| json!({"id": "d", "entity": "depot", "action": "read", "metadata_params": {"properties": properties}});
    let fetched = |label: &str| {
        let create = json!({"entity": "crate", "action": "create", "store_params": {"label": label}});
        let checked = fixture.batch(json!([target("name"), create])).swap_remove(0).unwrap();
        assert_eq!(names(fixture.entity("depot"), &checked.answer_columns), "name");
        names(fixture.entity("depot"), &checked.fetch_columns)
    };
    assert_eq!(fetched("x"), "depot_id name");
    assert_eq!(fetched("$ref:d.city"), "depot_id name city");
    assert_eq!(fetched("at $ref:d.city_gate"), "depot_id name city");
    assert_eq!(fetched("$ref:d.0"), "depot_id name city opened doc tags live");
}

#[test]
fn a_count_is_referred_to_by_its_name() {
    let fixture = Fixture::new(Sqlite);
    let count = json!({"id": "n", "entity": "crate", "action": "read", "metadata_params": {"count": true}});
    let refer = |path: &str| {
        code(fixture.last(
            json!([count, {"entity": "crate", "action": "create", "store_params": {"depot_id": path}}]),
        ))
    };
    assert_eq!(refer("$ref:n.count"), "ok");
    assert_eq!(refer("$ref:n.depot_id"), "400 bad_reference");
    assert_eq!(refer("$ref:n.0"), "400 bad_reference");
}

#[test]
fn an_association_is_referred_to_by_columns_it_loads() {
    let fixture = Fixture::new(Sqlite);
    let read = json!({"id": "d", "entity": "depot", "action": "read", "metadata_params": {"properties": "crates:label"}});
    let refer =
        |path: &str| {
            code(fixture.last(
                json!([read, {"entity": "crate", "action": "create", "store_params": {"label": path}}]),
            ))
        };
    assert_eq!(refer("$ref:d.crates.0.label"), "ok");
    assert_eq!(refer("$ref:d.crates.0.weight"), "400 bad_reference");
}

#[test]
fn every_row_at_once_is_stored_only_where_lists_are() {
    let fixture = Fixture::new(Postgres);
    let read = json!({"id": "d", "entity": "depot", "action": "read"});
    let create = |name: &str, column: &str| {
        let create = json!({"entity": name, "action": "create", "store_params": {column: "$ref:d.*.name"}});
        code(fixture.last(json!([read, create])))
    };
    assert_eq!(create("crate", "label"), "400 bad_reference");
    assert_eq!(create("depot", "tags"), "ok");
    assert_eq!(create("depot", "doc"), "ok");
}

#[test]
fn one_bad_operation_leaves_the_others_good() {
    let fixture = Fixture::new(Mysql);
    let batch = fixture.batch(json!([
        {"id": "bad", "entity": "warp", "action": "read"},
        {"entity": "crate", "action": "create", "store_params": {"label": "$ref:bad.x"}},
        {"entity": "crate", "action": "read"}
    ]));
    let codes: Vec<String> = batch.into_iter().map(code).collect();
    // The second is skipped when the first has failed; it has no fault of its own.
    assert_eq!(codes, ["400 unknown_entity", "ok", "ok"]);
}

#[rstest]
#[case::called(json!({"since": "2026-01-01", "most": "5"}), json!({}), "statement busiest(\"2026-01-01\", 5) 101")]
#[case::limited(json!({"most": null, "since": "2026-01-01"}), json!({"limit": 7}), "statement busiest(\"2026-01-01\", null) 8")]
#[case::missing(json!({"since": "2026-01-01"}), json!({}), "400 key_required")]
#[case::unknown(json!({"since": "2026-01-01", "most": 1, "x": 1}), json!({}), "400 unknown_column")]
#[case::no_operators(json!({"since": "gt::2026-01-01", "most": 1}), json!({}), "400 type_mismatch")]
#[case::sorted(json!({"since": "2026-01-01", "most": 1}), json!({"sort": "city"}), "400 invalid_request")]
fn a_named_statement_is_called_with_its_parameters(
    #[case] query: Json,
    #[case] metadata: Json,
    #[case] want: &str,
) {
    let fixture = Fixture::new(Sqlite);
    let call =
        json!({"entity": "busiest", "action": "read", "query_params": query, "metadata_params": metadata});
    assert_eq!(written(&fixture, call), want);
}

#[test]
fn a_named_statement_is_for_its_roles_and_for_reading() {
    let mut fixture = Fixture::new(Sqlite);
    let call = |action: &str| json!({"entity": "busiest", "action": action, "query_params": {"since": null, "most": 1}});
    assert_eq!(written(&fixture, call("delete")), "403 action_forbidden");
    assert_eq!(written(&fixture, call("read")), "statement busiest(null, 1) 101");
    fixture.caller.roles.clear();
    assert_eq!(written(&fixture, call("read")), "403 action_forbidden");
}

#[test]
fn update_and_delete_expect_a_row_unless_they_say_otherwise() {
    let fixture = Fixture::new(Sqlite);
    let delete = json!({"entity": "crate", "action": "delete", "query_params": {"crate_id": 1}});
    let checked = fixture.one(delete.clone()).unwrap();
    assert_eq!((checked.expect, checked.expect_stated), (Expect { min: 1, max: None }, false));
    let mut said = delete;
    said["expect"] = json!({"min": 0, "max": 3});
    let checked = fixture.one(said).unwrap();
    assert_eq!((checked.expect, checked.expect_stated), (Expect { min: 0, max: Some(3) }, true));
    let checked = fixture.read("crate", json!({})).unwrap();
    assert_eq!((checked.expect, checked.expect_stated), (Expect { min: 0, max: None }, false));
    assert!(matches!(fixture.bind(&checked, &[]).unwrap().work, Work::Read { .. }));
}
