//! What may be stored, and what is stored beside it.

use rstest::rstest;
use serde_json::{Value as Json, json};

use super::super::fixture::*;
use super::written;
use crate::batch::catalogue::DatabaseKind::{Postgres, Sqlite};

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
