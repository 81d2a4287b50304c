//! What operations may refer to.

use rstest::rstest;
use serde_json::json;

use super::super::fixture::*;
use super::code;
use crate::batch::catalogue::DatabaseKind::{Postgres, Sqlite};

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
