//! What a caller may read, select by, sort by, write and refer to.

use rstest::rstest;
use serde_json::{Value as Json, json};

use super::super::fixture::*;
use super::super::*;
use super::{code, written};
use crate::batch::catalogue::DatabaseKind::Sqlite;
use crate::batch::operation::Test;
use crate::batch::value::Value;

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
#[case::equal("owner = ${claims.who}", "(owner = \"ada\" & owner like <ada>)")]
#[case::not_equal("owner <> ${claims.who}", "owner not like <ada>")]
#[case::one_of(
    "owner IN (${claims.who}, 'open')",
    "(owner in [\"ada\", \"open\"] & (owner like <ada> or owner like <open>))"
)]
#[case::none_of("owner NOT IN (${claims.who}, 'open')", "(owner not like <ada> & owner not like <open>)")]
#[case::a_number("vault_id = 7", "vault_id = 7")]
fn a_row_filter_tells_ada_from_ada_in_capitals_on_mysql_too(#[case] filter: &str, #[case] want: &str) {
    use crate::batch::access::rules::Permissions;
    use crate::batch::catalogue::settings::{GrantSetting, RuleSetting};
    let read = |kind| {
        let mut fixture = Fixture::new(kind);
        fixture.caller.claims.insert("who".to_owned(), json!("ada"));
        let vault = fixture.catalogue.entities.get_mut("vault").and_then(Arc::get_mut).unwrap();
        let grant = GrantSetting::Some { columns: None, filter: Some(filter.to_owned()) };
        let rule = RuleSetting { right: Right::Read, role: "public".to_owned(), grant };
        let permissions = Permissions::new(&[rule], &vault.columns, &mut |_, why| panic!("{why}"));
        vault.permissions = Some(permissions);
        fixture.condition("vault", json!({}))
    };
    assert_eq!(read(crate::batch::catalogue::DatabaseKind::Mysql), want);
    assert!(!read(Sqlite).contains("like"), "elsewhere texts are equal when they are the same");
}

#[rstest]
#[case::names("vault_id,owner,pin,.*", true)]
#[case::patterns("v?,o?,p?,.*(a?){50},v?", false)]
fn a_batch_has_so_many_patterns_and_no_more(#[case] properties: &str, #[case] good: bool) {
    let properties = properties.replace("v?", "vault.?id").replace("o?", "o.*").replace("p?", "p.n");
    let read = json!({"entity": "vault", "action": "read", "metadata_params": {"properties": properties}});
    let checked = Fixture::new(Sqlite).batch(json!(vec![read; 100]));
    let failed =
        checked.iter().filter(|one| matches!(one, Err(error) if error.error.contains("patterns"))).count();
    assert_eq!(failed == 0, good, "{failed}");
}

#[rstest]
#[case::rules_narrowed(false, json!({"roles": []}), "ok")]
#[case::policies_narrowed(true, json!({"roles": []}), "400 claims_not_allowed")]
#[case::policies_repeated(true, json!({"team": {"id": 7}, "roles": ["planner"]}), "ok")]
#[case::policies_widened(true, json!({"roles": ["chief"]}), "403 claims_widening")]
fn claims_are_not_narrowed_where_policies_of_the_database_would_not_see_it(
    #[case] by_database: bool,
    #[case] claims: Json,
    #[case] want: &str,
) {
    let mut fixture = Fixture::new(crate::batch::catalogue::DatabaseKind::Postgres);
    fixture.catalogue.enforced_by_database = by_database;
    let read = json!({"entity": "vault", "action": "read", "claims": claims});
    assert_eq!(code(fixture.one(read)), want);
}
