mod references;
mod rights;
mod writes;

use proptest::prelude::*;
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

/// The operation as a database is asked to do it, or status and code of its error.
fn written(fixture: &Fixture, operation: Json) -> String {
    match fixture.one(operation) {
        Ok(checked) => fixture.shown(&checked, &[]),
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

#[test]
fn claims_of_an_operation_narrow_that_operation_only() {
    let fixture = Fixture::new(Sqlite);
    let call = |claims: Json| json!({"entity": "busiest", "action": "read", "claims": claims, "query_params": {"since": null, "most": 1}});
    let batch = fixture.batch(json!([call(json!({"roles": []})), call(json!({"roles": ["planner"]}))]));
    let codes: Vec<String> = batch.into_iter().map(code).collect();
    assert_eq!(codes, ["403 action_forbidden", "ok"]);
    let error = fixture.one(call(json!({"roles": ["chief"]}))).unwrap_err();
    assert_eq!((error.status, error.code), (403, "claims_widening"));
    assert_eq!(error.pointer.as_deref(), Some("/operations/0/claims/roles"));
}

/// Every value of a condition that is about the columns of one entity.
fn values(condition: &Condition, found: &mut Vec<(ColumnId, Value)>) {
    match condition {
        Condition::True | Condition::False => {}
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| values(part, found)),
        Condition::Not(part) | Condition::Related { condition: part, .. } => values(part, found),
        Condition::Column(column, test) => match test {
            Test::Eq(value)
            | Test::Ne(value)
            | Test::Lt(value)
            | Test::Le(value)
            | Test::Gt(value)
            | Test::Ge(value) => {
                found.push((*column, value.clone()));
            }
            Test::In(list) | Test::NotIn(list) => {
                found.extend(list.iter().map(|value| (*column, value.clone())))
            }
            Test::Between(low, high) | Test::NotBetween(low, high) => {
                found.extend([(*column, low.clone()), (*column, high.clone())]);
            }
            Test::Like(_) | Test::NotLike(_) | Test::IsNull | Test::NotNull => {}
        },
    }
}

fn any_selector() -> impl Strategy<Value = Json> {
    let number = prop_oneof![any::<i32>().prop_map(Json::from), any::<f64>().prop_map(Json::from)];
    let text = prop_oneof![
        "(eq|ne|lt|ge|in|not-in|between|like|zz)::[0-9a-z,.:*-]{0,12}",
        "[0-9]{1,12}",
        "2026-[01][0-9]-[0-3][0-9]",
        ".{0,8}",
    ];
    let scalar =
        prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), number, text.prop_map(Json::from)];
    prop_oneof![
        4 => scalar.clone(),
        1 => prop::collection::vec(scalar.clone(), 0..4).prop_map(Json::from),
        1 => ("(eq|ne|lt|in|between|like|is-null|x)", prop::collection::vec(scalar, 1..3)).prop_map(|(name, mut list)| {
            let operand = if list.len() == 1 { list.remove(0) } else { Json::from(list) };
            json!({ name: operand })
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_a_selector_says_what_is_bound_fits_its_column(column in 0usize..9, selector in any_selector(), kind in 0usize..3) {
        // A text that looks like a reference belongs to the parser's own tests.
        prop_assume!(!selector.to_string().contains("$ref:"));
        let kind = [Sqlite, Postgres, Mysql][kind];
        let fixture = Fixture::new(kind);
        let entity = fixture.entity("crate");
        let query = json!({ &*entity.columns[column].name: selector });
        match fixture.read("crate", query) {
            Err(error) => prop_assert!(matches!(error.code, "bad_operator" | "type_mismatch"), "{}", error.code),
            Ok(checked) => {
                let Work::Read { condition, .. } = fixture.bind(&checked, &[]).unwrap().work else { panic!("a read") };
                let mut found = Vec::new();
                values(&condition, &mut found);
                for (column, value) in found {
                    let again = crate::batch::bind::fit::fit(value.clone(), &entity.columns[column], kind);
                    prop_assert_eq!(again.map(|value| value.to_json()), Ok(value.to_json()));
                }
            }
        }
    }
}
