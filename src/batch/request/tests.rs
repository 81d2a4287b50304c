use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;
use crate::batch::reference::PathStep;

fn read(body: &str) -> Result<(BatchRequest, Plan), Refusal> {
    parse(body.as_bytes(), &Limits::default(), OperationClaims::Refuse)
}

fn good(body: &Json) -> (BatchRequest, Plan) {
    read(&body.to_string()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn refused(body: &str) -> Vec<Fault> {
    read(body).expect_err("must be refused").faults
}

/// Kinds and pointers of all faults.
fn told(faults: &[Fault]) -> Vec<(&'static str, &str)> {
    faults.iter().map(|fault| (fault.kind.as_str(), &*fault.pointer)).collect()
}

fn create(id: &str) -> Json {
    json!({"id": id, "entity": "depot", "action": "create", "store_params": {"name": "A"}})
}

/// One operation with one member more, or another one.
fn with(member: &str, value: &Json) -> String {
    let mut operation = json!({"id": "a", "entity": "depot", "action": "update"});
    operation[member] = value.clone();
    json!({"operations": [operation]}).to_string()
}

#[test]
fn the_example_of_the_contract_is_read_whole() {
    let (request, plan) = good(&json!({
        "operations": [
            {"id": "new_customer", "entity": "customer", "action": "create",
             "store_params": {"first_name": "Ada", "email": "ada@example.org"}},
            {"id": "first_invoice", "entity": "invoice", "action": "create",
             "store_params": {"customer_id": "$ref:new_customer.customer_id", "total": 100},
             "depends_on": ["new_customer"]}
        ],
        "options": {"atomic": true, "continueOnError": false}
    }));
    assert_eq!(request.options, Options::default());
    assert_eq!(plan.order, [0, 1]);
    assert_eq!(plan.dependencies, [vec![], vec![0]]);
    let invoice = &request.operations[1];
    assert_eq!((invoice.index, &*invoice.id, &*invoice.entity), (1, "first_invoice", "invoice"));
    assert_eq!((invoice.action, &invoice.depends_on[..]), (Action::Create, &[0][..]));
    let StoreParams::One(fields) = &invoice.store_params else { panic!("one row") };
    let Template::Reference(reference) = &fields[0].1 else { panic!("a reference") };
    assert_eq!((reference.target, &*reference.target_id), (0, "new_customer"));
    assert_eq!(reference.steps, [PathStep::Name(Arc::from("customer_id"))]);
    assert_eq!(fields[1].1.constant(), Some(&Value::Int(100)));
}

#[test]
fn numbers_keep_their_digits() {
    let body = r#"{"operations":[{"entity":"a","action":"create","store_params":{"n":100.00,"d":[1e400,{"x":0.10}]}}]}"#;
    let (request, _) = read(body).expect("valid");
    let StoreParams::One(fields) = &request.operations[0].store_params else { panic!("one row") };
    let written: Vec<_> = fields.iter().filter_map(|(_, value)| Some(value.constant()?.to_json())).collect();
    assert_eq!(written, ["100.00", r#"[1e400,{"x":0.10}]"#]);
}

#[rstest]
#[case::missing(json!([{"entity": "a", "action": "read"}, {"entity": "a", "action": "read"}]), &["op_0", "op_1"])]
#[case::null_and_empty(
    json!([{"id": null, "entity": "a", "action": "read"}, {"id": "", "entity": "a", "action": "read"}]),
    &["op_0", "op_1"]
)]
#[case::mixed(
    json!([{"id": "op_5", "entity": "a", "action": "read"}, {"entity": "a", "action": "read"}]),
    &["op_5", "op_1"]
)]
fn ids_are_kept_or_made_from_the_place(#[case] operations: Json, #[case] ids: &[&str]) {
    let (request, _) = good(&json!({ "operations": operations }));
    let found: Vec<&str> = request.operations.iter().map(|operation| &*operation.id).collect();
    assert_eq!(found, ids);
}

#[test]
fn options_are_read_by_their_names() {
    let (request, _) = good(&json!({
        "operations": [create("a")],
        "options": {"continueOnError": true, "dryRun": true, "dataShape": "rows", "return": "keys",
                    "isolation": "serializable", "timeoutMs": 250}
    }));
    let expected = Options {
        atomic: true,
        continue_on_error: true,
        dry_run: true,
        data_shape: DataShape::Rows,
        returns: Return::Keys,
        isolation: Some(Isolation::Serializable),
        timeout_ms: Some(250),
    };
    assert_eq!(request.options, expected);
}

#[test]
fn metadata_keys_come_with_or_without_the_prefix() {
    let (request, _) = good(&json!({"operations": [
        create("a"),
        {"entity": "depot", "action": "read", "metadata_params": {
            "__sort": "$ref:not.scanned", "limit": "$ref:a.n", "offset": 3, "___properties": "x", "properties": "y"
        }}
    ]}));
    let read = &request.operations[1];
    assert_eq!(
        read.metadata("sort").and_then(Template::constant),
        Some(&Value::Text("$ref:not.scanned".into()))
    );
    assert_eq!(read.metadata("limit").map(|limit| limit.references().count()), Some(1));
    assert_eq!(read.metadata("offset").and_then(Template::constant), Some(&Value::Int(3)));
    assert!(read.metadata("_properties").is_some() && read.metadata("properties").is_some());
    assert!(read.metadata("lock").is_none());
}

#[test]
fn many_rows_keep_their_keys_once_in_the_order_of_the_first() {
    let (request, _) = good(&json!({"operations": [{"entity": "a", "action": "create", "store_params": [
        {"x": 1, "y": 2}, {"y": 4, "x": 3}
    ]}]}));
    let StoreParams::Many { keys, rows } = &request.operations[0].store_params else { panic!("many rows") };
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["x", "y"]);
    let value = |number| Template::Value(Value::Int(number));
    assert_eq!(rows, &[vec![value(1), value(2)], vec![value(3), value(4)]]);
}

#[rstest]
#[case(json!({"rows": 2}), 2, Some(2))]
#[case(json!({"min": 1}), 1, None)]
#[case(json!({"max": 3}), 0, Some(3))]
#[case(json!({"min": 1, "max": 3}), 1, Some(3))]
fn expectations_are_bounds(#[case] expect: Json, #[case] min: u64, #[case] max: Option<u64>) {
    let (request, _) = read(&with("expect", &expect)).expect("valid");
    assert_eq!(request.operations[0].expect, Some(Expect { min, max }));
}

#[test]
fn references_are_dependencies_wherever_they_stand() {
    let (request, plan) = good(&json!({"operations": [
        {"id": "z", "entity": "t", "action": "update", "store_params": {"x": ["$ref:b.x", {"k": "t $ref:c.y"}]},
         "query_params": {"id": {"in": ["$ref:d.*.id"]}}, "depends_on": ["b", "b", "e"]},
        create("b"), create("c"), create("d"), create("e")
    ]}));
    assert_eq!(plan.dependencies[0], [1, 2, 3, 4]);
    assert_eq!(plan.order, [1, 2, 3, 4, 0]);
    assert_eq!(request.operations[0].depends_on, [1, 4]);
}

#[test]
fn references_are_not_looked_for_elsewhere() {
    let (request, plan) = good(&json!({"operations": [
        {"entity": "$ref:x.y", "action": "update", "store_params": {"$ref:x.y": 1}, "query_params": {"$ref:": {"$ref:a": 1}},
         "metadata_params": {"properties": "$ref:"}}
    ]}));
    assert_eq!(plan.dependencies, [Vec::<usize>::new()]);
    assert_eq!(&*request.operations[0].entity, "$ref:x.y");
}

/// Bodies that the first pass stops at: one fault.
#[rstest]
#[case::empty("", "invalid_request", "")]
#[case::cut_off(r#"{"operations": ["#, "invalid_request", "")]
#[case::two_values(r#"{"operations": []} {}"#, "invalid_request", "")]
#[case::single_quotes("{'operations': []}", "invalid_request", "")]
#[case::list("[]", "invalid_request", "")]
#[case::text(r#""operations""#, "invalid_request", "")]
#[case::null("null", "invalid_request", "")]
#[case::nothing("{}", "empty_batch", "/operations")]
#[case::none(r#"{"operations": []}"#, "empty_batch", "/operations")]
#[case::null_operations(r#"{"operations": null}"#, "empty_batch", "/operations")]
#[case::object(r#"{"operations": {"a": {}}}"#, "invalid_request", "/operations")]
#[case::number(r#"{"operations": 1}"#, "invalid_request", "/operations")]
#[case::constructor_of_a_language(r#"{"operations": [NaN]}"#, "invalid_request", "")]
#[case::lone_surrogate(r#"{"operations": ["\ud800"]}"#, "invalid_request", "")]
#[case::control_character("{\"operations\": [\"\u{0}\"]}", "invalid_request", "")]
fn the_first_pass_stops_at_its_fault(#[case] body: &str, #[case] kind: &str, #[case] pointer: &str) {
    let refusal = read(body).expect_err("must be refused");
    let faults: Vec<(&str, &str)> =
        refusal.faults.iter().map(|fault| (fault.kind.as_str(), &*fault.pointer)).collect();
    assert_eq!((refusal.status, faults), (400, vec![(kind, pointer)]));
}

/// One operation that is wrong in one way.
#[rstest]
#[case::id_number("id", json!(5), "invalid_id", "/operations/0/id")]
#[case::id_list("id", json!([]), "invalid_id", "/operations/0/id")]
#[case::id_hyphen("id", json!("with-dash"), "invalid_id", "/operations/0/id")]
#[case::id_point("id", json!("a.b"), "invalid_id", "/operations/0/id")]
#[case::id_space("id", json!(" "), "invalid_id", "/operations/0/id")]
#[case::id_letters_beyond("id", json!("é"), "invalid_id", "/operations/0/id")]
#[case::id_long("id", json!("a".repeat(65)), "invalid_id", "/operations/0/id")]
#[case::entity_null("entity", json!(null), "missing_field", "/operations/0/entity")]
#[case::entity_empty("entity", json!(""), "missing_field", "/operations/0/entity")]
#[case::entity_number("entity", json!(1), "invalid_request", "/operations/0/entity")]
#[case::nested("entity", json!("batch"), "nested_batch", "/operations/0/entity")]
#[case::action_null("action", json!(null), "missing_field", "/operations/0/action")]
#[case::action_other("action", json!("restore"), "invalid_action", "/operations/0/action")]
#[case::action_later("action", json!("upsert"), "invalid_action", "/operations/0/action")]
#[case::action_case("action", json!("Create"), "invalid_action", "/operations/0/action")]
#[case::action_empty("action", json!(""), "invalid_action", "/operations/0/action")]
#[case::action_list("action", json!(["create"]), "invalid_action", "/operations/0/action")]
#[case::claims("claims", json!({"roles": ["chief"]}), "claims_not_allowed", "/operations/0/claims")]
#[case::claims_null("claims", json!(null), "claims_not_allowed", "/operations/0/claims")]
#[case::store_text("store_params", json!("x"), "invalid_request", "/operations/0/store_params")]
#[case::store_null("store_params", json!(null), "invalid_request", "/operations/0/store_params")]
#[case::store_rows_of_an_update("store_params", json!([{"a": 1}]), "invalid_request", "/operations/0/store_params")]
#[case::query_list("query_params", json!([1]), "invalid_request", "/operations/0/query_params")]
#[case::metadata_text("metadata_params", json!("limit"), "invalid_request", "/operations/0/metadata_params")]
#[case::metadata_key("metadata_params", json!({"lim/it": 1}), "invalid_request", "/operations/0/metadata_params/lim~1it")]
#[case::metadata_twice(
    "metadata_params", json!({"limit": 1, "__limit": 2}), "invalid_request", "/operations/0/metadata_params/limit"
)]
#[case::depends_text("depends_on", json!("a"), "invalid_request", "/operations/0/depends_on")]
#[case::depends_object("depends_on", json!({"a": 1}), "invalid_request", "/operations/0/depends_on")]
#[case::depends_number("depends_on", json!([1]), "invalid_request", "/operations/0/depends_on/0")]
#[case::depends_null("depends_on", json!([null]), "invalid_request", "/operations/0/depends_on/0")]
#[case::depends_ghost("depends_on", json!(["ghost"]), "unknown_dependency", "/operations/0/depends_on/0")]
#[case::depends_itself("depends_on", json!(["a"]), "cycle", "/operations/0")]
#[case::expect_number("expect", json!(1), "invalid_request", "/operations/0/expect")]
#[case::expect_empty("expect", json!({}), "invalid_request", "/operations/0/expect")]
#[case::expect_both("expect", json!({"rows": 1, "min": 1}), "invalid_request", "/operations/0/expect")]
#[case::expect_backwards("expect", json!({"min": 2, "max": 1}), "invalid_request", "/operations/0/expect")]
#[case::expect_negative("expect", json!({"rows": -1}), "invalid_request", "/operations/0/expect/rows")]
#[case::expect_fraction("expect", json!({"rows": 1.5}), "invalid_request", "/operations/0/expect/rows")]
#[case::expect_text("expect", json!({"rows": "1"}), "invalid_request", "/operations/0/expect/rows")]
#[case::expect_other("expect", json!({"row": 1}), "invalid_request", "/operations/0/expect/row")]
#[case::unknown_field("store_parms", json!({}), "invalid_request", "/operations/0/store_parms")]
#[case::unknown_reference("store_params", json!({"x": "$ref:ghost.y"}), "unknown_reference", "/operations/0/store_params/x")]
#[case::malformed("query_params", json!({"x": {"in": [1, "$ref:a"]}}), "bad_reference", "/operations/0/query_params/x/in/1")]
#[case::malformed_limit("metadata_params", json!({"limit": "$ref:a"}), "bad_reference", "/operations/0/metadata_params/limit")]
#[case::reference_to_itself("store_params", json!({"x": "$ref:a.y"}), "cycle", "/operations/0")]
fn a_fault_of_an_operation_has_its_kind_and_pointer(
    #[case] member: &str,
    #[case] value: Json,
    #[case] kind: &str,
    #[case] pointer: &str,
) {
    let faults = refused(&with(member, &value));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!((faults[0].kind.as_str(), &*faults[0].pointer), (kind, pointer));
    assert!(!faults[0].detail.is_empty());
}

#[rstest]
#[case::read_stores(json!({"entity": "a", "action": "read", "store_params": {"x": 1}}), "/operations/0/store_params")]
#[case::delete_stores(json!({"entity": "a", "action": "delete", "store_params": [{}]}), "/operations/0/store_params")]
#[case::create_selects(json!({"entity": "a", "action": "create", "query_params": {"x": 1}}), "/operations/0/query_params")]
#[case::no_rows(json!({"entity": "a", "action": "create", "store_params": []}), "/operations/0/store_params")]
#[case::row_of_another_kind(
    json!({"entity": "a", "action": "create", "store_params": [{"x": 1}, 2]}), "/operations/0/store_params/1"
)]
#[case::row_of_other_keys(
    json!({"entity": "a", "action": "create", "store_params": [{"x": 1}, {"y": 1}]}), "/operations/0/store_params/1"
)]
#[case::row_of_fewer_keys(
    json!({"entity": "a", "action": "create", "store_params": [{"x": 1, "y": 1}, {"x": 1}]}), "/operations/0/store_params/1"
)]
#[case::not_an_object(json!(["create"]), "/operations/0")]
#[case::null(json!(null), "/operations/0")]
fn what_does_not_belong_to_an_action_is_refused(#[case] operation: Json, #[case] pointer: &str) {
    let faults = refused(&json!({"operations": [operation]}).to_string());
    assert_eq!(told(&faults), [("invalid_request", pointer)]);
}

#[rstest]
#[case::missing_entity(json!({"id": "a", "action": "create"}), "/operations/0/entity")]
#[case::missing_action(json!({"id": "a", "entity": "depot"}), "/operations/0/action")]
fn a_missing_field_is_named_with_its_operation(#[case] operation: Json, #[case] pointer: &str) {
    let faults = refused(&json!({"operations": [operation]}).to_string());
    assert_eq!(told(&faults), [("missing_field", pointer)]);
    assert!(
        faults[0].detail.contains("`a`") && faults[0].detail.contains(&pointer["/operations/0/".len()..])
    );
}

#[rstest]
#[case::atomic_text(json!({"atomic": "no"}), "invalid_option", "/options/atomic")]
#[case::atomic_number(json!({"atomic": 0}), "invalid_option", "/options/atomic")]
#[case::atomic_null(json!({"atomic": null}), "invalid_option", "/options/atomic")]
#[case::go_on(json!({"continueOnError": "true"}), "invalid_option", "/options/continueOnError")]
#[case::dry_run(json!({"dryRun": 1}), "invalid_option", "/options/dryRun")]
#[case::shape(json!({"dataShape": "row"}), "invalid_option", "/options/dataShape")]
#[case::returns(json!({"return": true}), "invalid_option", "/options/return")]
#[case::isolation(json!({"isolation": "snapshot"}), "invalid_option", "/options/isolation")]
#[case::isolation_alone(json!({"isolation": "serializable", "atomic": false}), "invalid_option", "/options/isolation")]
#[case::dry_run_alone(json!({"dryRun": true, "atomic": false}), "invalid_option", "/options/dryRun")]
#[case::no_time(json!({"timeoutMs": 0}), "invalid_option", "/options/timeoutMs")]
#[case::less_time(json!({"timeoutMs": -1}), "invalid_option", "/options/timeoutMs")]
#[case::time_text(json!({"timeoutMs": "100"}), "invalid_option", "/options/timeoutMs")]
#[case::time_fraction(json!({"timeoutMs": 1.5}), "invalid_option", "/options/timeoutMs")]
#[case::misspelt(json!({"continueOnEror": true}), "invalid_request", "/options/continueOnEror")]
#[case::list(json!([]), "invalid_request", "/options")]
#[case::null(json!(null), "invalid_request", "/options")]
fn an_option_is_never_guessed(#[case] options: Json, #[case] kind: &'static str, #[case] pointer: &str) {
    let faults = refused(&json!({"operations": [create("a")], "options": options}).to_string());
    assert_eq!(told(&faults), [(kind, pointer)]);
}

#[test]
fn a_key_that_is_there_twice_is_refused_wherever_it_is() {
    let body = r#"{"operations":[{"id":"a","entity":"t","action":"create","action":"delete",
        "store_params":{"x":1,"x":2,"y":{"z":1,"\u007a":2}}}],"options":{"atomic":true,"atomic":false},"options":{}}"#;
    assert_eq!(
        told(&refused(body))[..4],
        [
            ("invalid_request", "/operations/0/store_params/y/z"),
            ("invalid_request", "/operations/0/store_params/x"),
            ("invalid_request", "/operations/0/action"),
            ("invalid_request", "/options/atomic"),
        ]
    );
}

#[test]
fn unknown_keys_at_the_top_are_refused() {
    let faults = refused(&json!({"operations": [create("a")], "option": {}}).to_string());
    assert_eq!(told(&faults), [("invalid_request", "/option")]);
    assert!(faults[0].detail.contains("`option`"));
}

#[test]
fn all_faults_are_told_in_the_order_of_the_contract() {
    let body = json!({
        "options": {"atomic": 1},
        "operations": [
            {"id": "a", "entity": "t", "action": "read", "depends_on": ["b"]},
            {"id": "b", "entity": "t", "action": "read", "depends_on": ["a"], "query_params": {"x": "$ref:ghost.id"}},
            {"id": "c", "entity": "t", "action": "read", "depends_on": ["ghost"], "query_params": {"x": "$ref:no"}},
            {"id": "d", "entity": "t", "action": "read", "expect": 1, "claims": {}},
            {"id": "e", "entity": "batch", "action": "create"},
            {"id": "f", "entity": "t", "action": "fly"},
            {"id": "g", "action": "read"},
            {"id": "g", "entity": "t", "action": "read"},
            {"id": "no.id", "entity": "t", "action": "read"},
        ],
    });
    assert_eq!(
        told(&refused(&body.to_string())),
        [
            ("invalid_id", "/operations/8/id"),
            ("duplicate_id", "/operations/7/id"),
            ("missing_field", "/operations/6/entity"),
            ("invalid_action", "/operations/5/action"),
            ("nested_batch", "/operations/4/entity"),
            ("claims_not_allowed", "/operations/3/claims"),
            ("invalid_request", "/operations/3/expect"),
            ("invalid_option", "/options/atomic"),
            ("bad_reference", "/operations/2/query_params/x"),
            ("unknown_dependency", "/operations/2/depends_on/0"),
            ("unknown_reference", "/operations/1/query_params/x"),
            ("cycle", "/operations/0"),
        ]
    );
}

#[test]
fn a_duplicate_is_also_a_clash_with_an_id_that_was_made() {
    let faults = refused(
        r#"{"operations":[{"id":"op_1","entity":"t","action":"read"},{"entity":"t","action":"read"}]}"#,
    );
    assert_eq!(told(&faults), [("duplicate_id", "/operations/1/id")]);
    assert!(faults[0].detail.contains("op_1"));
}

#[test]
fn a_cycle_is_told_as_a_path() {
    let operation = |id: &str, on: &str| json!({"id": id, "entity": "t", "action": "create", "store_params": {"x": format!("$ref:{on}.x")}});
    let body = json!({"operations": [operation("a", "b"), operation("b", "c"), operation("c", "a")]});
    assert!(refused(&body.to_string())[0].detail.contains("a -> b -> c -> a"));
}

#[test]
fn claims_are_read_where_they_may_narrow() {
    let narrow = |body: &str| parse(body.as_bytes(), &Limits::default(), OperationClaims::Narrow);
    let (request, _) = narrow(&with("claims", &json!({"roles": ["clerk"]}))).expect("valid");
    assert_eq!(
        request.operations[0].claims.as_ref().map(Value::to_json).as_deref(),
        Some(r#"{"roles":["clerk"]}"#)
    );
    for (claims, kind) in [
        (json!([]), "invalid_request"),
        (json!({"roles": ["x $ref:a.b"]}), "bad_reference"),
        (json!({"$$ref:a": 1}), "bad_reference"),
    ] {
        let refusal = narrow(&with("claims", &claims)).expect_err("refused");
        assert_eq!(told(&refusal.faults), [(kind, "/operations/0/claims")]);
    }
}

/// Limits: just within, just beyond.
#[rstest]
#[case::operations(100, 1, 0, None)]
#[case::operations_beyond(101, 1, 0, Some("too_many_operations"))]
#[case::chain(32, 32, 0, None)]
#[case::chain_beyond(33, 33, 0, Some("invalid_request"))]
#[case::references(1, 1, 2_000, None)]
#[case::references_beyond(1, 1, 2_001, Some("invalid_request"))]
#[case::references_far_beyond(1, 1, 10_000, Some("invalid_request"))]
fn limits_hold_to_the_last_one(
    #[case] operations: usize,
    #[case] chain: usize,
    #[case] references: usize,
    #[case] kind: Option<&str>,
) {
    let mut list: Vec<Json> = (0..operations)
        .map(|index| {
            let on: Vec<String> =
                (index > 0 && index < chain).then(|| format!("o{}", index - 1)).into_iter().collect();
            json!({"id": format!("o{index}"), "entity": "t", "action": "read", "depends_on": on})
        })
        .collect();
    if references > 0 {
        let texts: Vec<String> = vec![String::from("$ref:o0.id and more"); references];
        list.push(json!({"entity": "t", "action": "read", "query_params": {"x": texts}}));
    }
    let body = json!({ "operations": list }).to_string();
    match (read(&body), kind) {
        (Ok(_), None) => {}
        (Err(refusal), Some(kind)) => assert_eq!(refusal.faults[0].kind.as_str(), kind),
        (outcome, _) => panic!("{outcome:?}"),
    }
}

#[rstest]
#[case(1_000, true)]
#[case(1_001, false)]
fn a_create_has_a_limit_of_rows(#[case] rows: usize, #[case] fits: bool) {
    let body = json!({"operations": [{"entity": "t", "action": "create", "store_params": vec![json!({"x": 1}); rows]}]});
    assert_eq!(read(&body.to_string()).is_ok(), fits);
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let refusal = read(&" ".repeat((1 << 20) + 1)).expect_err("too large");
    assert_eq!((refusal.status, told(&refusal.faults)), (413, vec![("body_too_large", "")]));
}

#[test]
fn a_mebibyte_of_nested_lists_is_refused_at_the_limit() {
    for body in [
        "[".repeat(1 << 20),
        r#"{"a":"#.repeat(200_000),
        format!(r#"{{"operations":{}"#, "[".repeat(1 << 19)),
    ] {
        let faults = refused(&body);
        assert!(faults[0].detail.contains("deeper than 32"), "{faults:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let body = b"{\"operations\":[{\"entity\":\"\xc3\x28\"}]}";
    let refusal = parse(body, &Limits::default(), OperationClaims::Refuse).expect_err("refused");
    assert!(refusal.faults[0].detail.contains("not UTF-8: byte 26"), "{refusal:?}");
}

#[test]
fn a_body_full_of_faults_is_told_by_fifty() {
    let many = json!({"x": vec!["$ref:"; 50_000], "y": vec!["$ref:ghost.id"; 1_000]});
    let body = json!({"operations": [{"entity": "t", "action": "create", "store_params": many, "depends_on": vec!["ghost"; 20_000]}]});
    let faults = refused(&body.to_string());
    assert_eq!(faults.len(), FAULTS_MAX);
    assert!(faults.iter().all(|fault| fault.kind == FaultKind::BadReference));
}

#[test]
fn text_of_the_request_is_cut_before_it_is_answered() {
    let faults = refused(&with("action", &json!(format!("{}\u{1b}[31m", "x".repeat(10_000)))));
    assert!(faults[0].detail.len() < 300);
    let faults = refused(&with("action", &json!("\u{1b}[31m\n")));
    assert!(!faults[0].detail.contains('\u{1b}') && !faults[0].detail.contains('\n'));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in r#"(\{|\}|\[|\]|:|,|"operations":|"id":|"a"|"entity":|"action":|"read"|"create"|"depends_on":|"store_params":|"\$ref:a\.b"|"x":|1|null|true){0,40}"#) {
        let _ = read(&body);
    }

    #[test]
    fn any_text_that_is_escaped_is_stored_as_it_was(plain in r"(\$|ref:|\$ref:|[a-z.{}]|.){0,20}") {
        let escaped = crate::batch::reference::parse::escape(&plain).into_owned();
        let (request, plan) = good(&json!({"operations": [
            {"entity": "t", "action": "create", "store_params": {"x": [escaped]}}
        ]}));
        let StoreParams::One(fields) = &request.operations[0].store_params else { panic!("one row") };
        prop_assert_eq!(fields[0].1.constant(), Some(&Value::Array(vec![Value::Text(plain)])));
        prop_assert!(plan.dependencies[0].is_empty());
    }

    #[test]
    fn constant_values_come_through_unchanged(texts in proptest::collection::vec("[a-z\u{e9}\"\\\\\n]{0,6}", 0..5), number: i64) {
        let value = json!({"list": texts, "deep": {"n": number, "none": null}});
        let (request, _) = good(&json!({"operations": [
            {"entity": "t", "action": "create", "store_params": {"x": value}}
        ]}));
        let StoreParams::One(fields) = &request.operations[0].store_params else { panic!("one row") };
        prop_assert_eq!(fields[0].1.constant().map(Value::to_json), Some(value.to_string()));
    }
}

#[rstest]
#[case::a_key("id", "a", "KEY")]
#[case::an_id("id", "KEY", "k")]
fn a_long_name_is_not_repeated_with_every_fault_below_it(
    #[case] field: &str,
    #[case] id: &str,
    #[case] key: &str,
) {
    let long = "k/".repeat(300_000);
    let faulty = vec!["$ref:nothing"; 100];
    let (id, key) = (id.replace("KEY", &long), key.replace("KEY", &long));
    let operation = json!({field: id, "entity": "depot", "action": "create", "store_params": {key: faulty}});
    let faults = refused(&json!({"operations": [operation]}).to_string());
    let bytes = |fault: &Fault| {
        fault.pointer.len() + fault.detail.len() + fault.operation.as_ref().map_or(0, |id| id.len())
    };
    assert_eq!(faults.len(), FAULTS_MAX);
    assert!(faults.iter().map(bytes).sum::<usize>() < 200_000);
}
