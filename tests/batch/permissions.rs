//! Entity x action x roles x row: what is allowed and what is refused, against a second reading of the rules written down
//! here; and the ways around them that people try.

use serde_json::{Map, Value, json};

use super::service::{Answer, Service};
use super::support::databases::Kind;

const DEFINITIONS: &str = "
CREATE TABLE paper (paper_id INTEGER PRIMARY KEY, author VARCHAR(40), title VARCHAR(40), secret VARCHAR(40));
CREATE TABLE note (note_id INTEGER PRIMARY KEY, paper_id INTEGER REFERENCES paper (paper_id), body VARCHAR(40));
";

/// `note` has no rules: everybody everything. `paper` has them.
const ENTITIES: &str = "
[[database.entity]]
name = 'paper'
key = 'required'
[database.entity.permissions.read]
reader = 'paper_id|author|title'
author = { properties = '.*', where = 'author = ${claims.sub}' }
boss = '.*'
'*' = 'paper_id'
[database.entity.permissions.write]
author = { properties = 'paper_id|author|title', where = 'author = ${claims.sub}' }
boss = '.*'
[database.entity.permissions.delete]
author = { allow = true, where = 'author = ${claims.sub}' }
boss = true
[[database.entity]]
name = 'note'
key = 'required'
";

const ROWS: &str = "
DELETE FROM note; DELETE FROM paper;
INSERT INTO paper VALUES (1, 'ann', 'mine', 's1'), (2, 'bob', 'ne::x', 's2');
INSERT INTO note VALUES (1, 1, 'on mine'), (2, 2, 'on bobs');
";

const ROLES: [&str; 4] = ["reader", "author", "boss", "stranger"];

#[test]
fn every_entity_action_role_and_row_is_allowed_or_refused_as_the_rules_say() {
    let service = Service::start(Kind::Sqlite, DEFINITIONS, ENTITIES);
    let mut judged = 0;
    for set in 0..1_u32 << ROLES.len() {
        let roles: Vec<&str> =
            ROLES.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, role)| *role).collect();
        for action in ["create", "read", "update", "delete"] {
            for (row, own) in [(1, true), (2, false)] {
                for entity in ["paper", "note"] {
                    service.database.execute(ROWS);
                    let answer = ask(&service, &roles, operation(entity, action, row, own));
                    let wanted = expected(entity, action, &roles, own);
                    let had = outcome(&answer);
                    assert_eq!(had, wanted, "{roles:?} {action} {entity} {row}: {}", answer.text);
                    judged += 1;
                }
            }
        }
    }
    println!("{judged} combinations of entity, action, roles and row");
    assert_eq!(judged, 16 * 4 * 2 * 2);
}

/// `completed` with its columns, `nothing`, or the status of the refusal.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Columns(Vec<&'static str>),
    Nothing,
    Refused(u64),
}

/// The rules once more, written without the program's code.
fn expected(entity: &str, action: &str, roles: &[&str], own: bool) -> Expected {
    const ALL: [&str; 4] = ["author", "paper_id", "secret", "title"];
    let has = |role: &str| roles.contains(&role);
    if entity == "note" {
        return Expected::Columns(vec!["body", "note_id", "paper_id"]);
    }
    // What the caller sees of this row.
    let sees: Vec<&str> = if has("boss") || has("author") {
        ALL.to_vec()
    } else if has("reader") {
        vec!["author", "paper_id", "title"]
    } else if roles.is_empty() {
        vec![]
    } else {
        vec!["paper_id"]
    };
    let sees_row = has("boss") || has("reader") || has("stranger") || (has("author") && own);
    let writes = has("boss") || has("author");
    let writes_row = has("boss") || (has("author") && own);
    match action {
        "read" if sees.is_empty() => Expected::Refused(403),
        "read" if !sees_row => Expected::Nothing,
        "read" => Expected::Columns(sees),
        _ if !writes => Expected::Refused(403),
        // A new row for another author; an old row of another author is not found.
        "create" if !writes_row => Expected::Refused(403),
        _ if !writes_row => Expected::Refused(400),
        _ => Expected::Columns(sees),
    }
}

fn operation(entity: &str, action: &str, row: i64, own: bool) -> Value {
    let author = if own { "ann" } else { "bob" };
    let (key, create, update) = match entity {
        "paper" => {
            ("paper_id", json!({ "paper_id": 9, "author": author, "title": "t" }), json!({ "title": "new" }))
        }
        _ => ("note_id", json!({ "note_id": 9, "paper_id": row, "body": "b" }), json!({ "body": "new" })),
    };
    // A note stands on the paper that would go.
    let selector = json!({ key: row });
    match action {
        "create" => json!({ "id": "it", "entity": entity, "action": action, "store_params": create }),
        "update" => {
            json!({ "id": "it", "entity": entity, "action": action, "store_params": update, "query_params": selector })
        }
        _ => json!({ "id": "it", "entity": entity, "action": action, "query_params": selector }),
    }
}

fn ask(service: &Service, roles: &[&str], operation: Value) -> Answer {
    let mut operations = Vec::new();
    if operation["entity"] == "paper" && operation["action"] == "delete" {
        // Whoever may delete a paper may do so once nothing stands on it.
        operations.push(json!({ "id": "notes", "entity": "note", "action": "delete",
            "query_params": { "paper_id": operation["query_params"]["paper_id"] } }));
    }
    operations.push(operation);
    let request =
        json!({ "operations": operations, "options": { "atomic": false, "continueOnError": true } });
    service.post(&request, Some(&caller(roles)))
}

fn caller(roles: &[&str]) -> Map<String, Value> {
    json!({ "sub": "ann", "roles": roles }).as_object().expect("claims").clone()
}

fn outcome(answer: &Answer) -> Expected {
    let it = &answer.body["results"]["it"];
    match (it["status"].as_str(), &it["data"]) {
        (Some("failed"), _) => Expected::Refused(it["statusCode"].as_u64().expect("a status")),
        (Some("completed"), Value::Object(row)) => {
            let known = ["author", "body", "note_id", "paper_id", "secret", "title"];
            let mut columns: Vec<&'static str> =
                known.into_iter().filter(|column| row.contains_key(*column)).collect();
            columns.sort_unstable();
            assert_eq!(columns.len(), row.len(), "{row:?}");
            Expected::Columns(columns)
        }
        (Some("completed"), Value::Array(rows)) if rows.is_empty() => Expected::Nothing,
        _ => panic!("{}", answer.text),
    }
}

/// One operation that tries to get around a rule, and how it must end: the status of the operation.
fn attempt(service: &Service, roles: &[&str], operations: &Value) -> (u64, String) {
    let request =
        json!({ "operations": operations, "options": { "atomic": false, "continueOnError": true } });
    let answer = service.post(&request, Some(&caller(roles)));
    let last = operations.as_array().expect("operations").last().expect("one")["id"].as_str().expect("an id");
    let it = &answer.body["results"][last];
    (it["statusCode"].as_u64().unwrap_or(u64::from(answer.status)), answer.text)
}

#[test]
fn hidden_columns_cannot_be_guessed_sorted_referenced_or_matched() {
    let service = Service::start(Kind::Sqlite, DEFINITIONS, ENTITIES);
    service.database.execute(ROWS);
    let read = |query: Value, meta: Value| json!([{ "id": "it", "entity": "paper", "action": "read", "query_params": query, "metadata_params": meta }]);
    for operations in [
        read(json!({ "secret": "s1" }), json!({})),
        read(json!({ "secret": "like::s*" }), json!({})),
        read(json!({ "secret": { "gt": "a" } }), json!({})),
        read(json!({ "secret": null }), json!({})),
        read(json!({}), json!({ "sort": "secret:asc" })),
        read(json!({}), json!({ "count": true, "sort": "secret" })),
        json!([{ "id": "it", "entity": "note", "action": "read", "query_params": { "paper.secret": "s1" } }]),
        json!([{ "id": "it", "entity": "note", "action": "read", "metadata_params": { "sort": "paper.secret" } }]),
        json!([{ "id": "it", "entity": "note", "action": "delete", "query_params": { "paper.secret": "s1" } }]),
        json!([{ "id": "p", "entity": "paper", "action": "read", "query_params": { "paper_id": 1 } },
            { "id": "it", "entity": "note", "action": "create",
              "store_params": { "note_id": 9, "paper_id": 1, "body": "$ref:p.secret" } }]),
    ] {
        let (status, told) = attempt(&service, &["reader"], &operations);
        assert!(status == 403 || status == 400, "{operations}: {told}");
        assert!(!told.contains("s1"), "{told}");
    }
    // Naming them as properties to show shows what may be shown.
    let shown = attempt(
        &service,
        &["reader"],
        &read(json!({ "paper_id": 1 }), json!({ "properties": "secret|title" })),
    );
    assert!(shown.1.contains("mine") && !shown.1.contains("s1"), "{}", shown.1);
    // Through a relation the rules of the other entity hold: the rows of bob are not ann's to see.
    let through = json!([{ "id": "it", "entity": "note", "action": "read", "query_params": { "paper.title": "ne::x" } }]);
    let (_, told) = attempt(&service, &["author"], &through);
    assert!(!told.contains("bobs"), "{told}");
}

#[test]
fn a_stored_text_that_looks_like_an_operator_is_only_data() {
    let service = Service::start(Kind::Sqlite, DEFINITIONS, ENTITIES);
    service.database.execute(ROWS);
    // Title 2 is `ne::x`: as an operator it would select every other row.
    let operations = json!([
        { "id": "two", "entity": "paper", "action": "read", "query_params": { "paper_id": 2 } },
        { "id": "it", "entity": "paper", "action": "delete", "query_params": { "title": "$ref:two.title" } },
    ]);
    service.database.execute("DELETE FROM note");
    attempt(&service, &["boss"], &operations);
    assert_eq!(service.database.query("SELECT paper_id FROM paper"), [[Some("1".to_owned())]]);
}

#[test]
fn a_row_filter_holds_for_what_a_row_becomes() {
    let service = Service::start(Kind::Sqlite, DEFINITIONS, ENTITIES);
    service.database.execute(ROWS);
    let create = json!([{ "id": "it", "entity": "paper", "action": "create",
        "store_params": { "paper_id": 9, "author": "bob", "title": "t" } }]);
    assert_eq!(attempt(&service, &["author"], &create).0, 403);
    let nobody = json!([{ "id": "it", "entity": "paper", "action": "create", "store_params": { "paper_id": 9, "title": "t" } }]);
    assert_eq!(attempt(&service, &["author"], &nobody).0, 403, "a row of nobody is not the caller's");
    let give_away = json!([{ "id": "it", "entity": "paper", "action": "update", "store_params": { "author": "bob" },
        "query_params": { "paper_id": 1 } }]);
    assert_eq!(attempt(&service, &["author"], &give_away).0, 403);
    let many = json!([{ "id": "it", "entity": "paper", "action": "create", "store_params": [
        { "paper_id": 10, "author": "ann", "title": "a" }, { "paper_id": 11, "author": "bob", "title": "b" }] }]);
    assert_eq!(attempt(&service, &["author"], &many).0, 403);
    assert_eq!(service.database.number("SELECT count(*) FROM paper"), 2, "nothing of them is kept");
    assert_eq!(service.database.number("SELECT count(*) FROM paper WHERE author = 'bob'"), 1);
}

#[test]
fn claims_in_an_operation_never_widen_what_the_caller_may() {
    let service = Service::start(Kind::Sqlite, DEFINITIONS, ENTITIES);
    service.database.execute(ROWS);
    let widened = json!({ "operations": [{ "id": "it", "entity": "paper", "action": "read", "claims": { "roles": ["boss"] } }] });
    let answer = service.post(&widened, Some(&caller(&["reader"])));
    assert_eq!((answer.status, &answer.body["kind"]), (400, &json!("claims_not_allowed")), "{}", answer.text);
}
