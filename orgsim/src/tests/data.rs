//! Writing, deleting and changing rows over HTTP, against the catalogue's own org with few rows.

use super::client::{Reply, Sim, query_url};
use crate::{DataOptions, Knobs, Options};
use serde_json::{Value, json};
use std::collections::HashMap;

const BASE: &str = "/services/data/v62.0";
const LEADS: u64 = 3_000;

async fn org_with(data: DataOptions) -> Sim {
    let records = HashMap::from([
        ("Lead".to_owned(), LEADS),
        ("Account".to_owned(), 2_000),
        ("Contact".to_owned(), 2_500),
    ]);
    Sim::with_catalogue(Options { data: DataOptions { records, ..data }, ..Options::default() }).await
}

async fn org() -> Sim {
    org_with(DataOptions::default()).await
}

async fn json_to(sim: &Sim, method: &str, path: &str, body: &Value) -> Reply {
    sim.send(method, &format!("{BASE}{path}"), "application/json", body.to_string().as_bytes()).await
}

async fn bare(sim: &Sim, method: &str, path: &str) -> Reply {
    sim.send(method, &format!("{BASE}{path}"), "application/json", b"").await
}

async fn count(sim: &Sim, soql: &str) -> u64 {
    sim.query(soql).await.json()["totalSize"].as_u64().unwrap()
}

async fn all(sim: &Sim, soql: &str) -> Value {
    sim.get(&query_url(&format!("{BASE}/queryAll"), soql)).await.json()
}

async fn control(sim: &Sim, path: &str, body: &Value) -> Value {
    let reply = sim.post(path, body).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

fn lead(name: &str) -> Value {
    json!({ "LastName": name, "FirstName": "Ada", "Company": "Made Up" })
}

async fn new_lead(sim: &Sim, name: &str) -> String {
    let made = json_to(sim, "POST", "/sobjects/Lead", &lead(name)).await;
    assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
    made.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_is_made_read_changed_deleted_and_brought_back_to_nobody() {
    let sim = org().await;
    let id = new_lead(&sim, "Lovelace").await;
    let url = format!("/sobjects/Lead/{id}");
    let read = bare(&sim, "GET", &url).await.json();
    assert_eq!(read["Name"], "Ada Lovelace");
    assert!(read["Status"].is_string(), "a picklist that may not be empty has a default");
    assert_eq!(read["CreatedDate"], read["SystemModstamp"]);
    assert!(read["OwnerId"].as_str().unwrap().starts_with("005"));
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS + 1);
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead WHERE LastName = 'lovelace'").await, 1);

    control(&sim, "/__sim/clock", &json!({ "advance_ms": 60_000 })).await;
    let changed = json_to(&sim, "PATCH", &url, &json!({ "LastName": "King", "Email": "a@b.example" })).await;
    assert_eq!((changed.status, changed.body.len()), (204, 0));
    let after =
        bare(&sim, "GET", &format!("{url}?fields=Name,Email,CreatedDate,SystemModstamp")).await.json();
    assert_eq!((&after["Name"], &after["Email"]), (&json!("Ada King"), &json!("a@b.example")));
    assert_eq!(after["CreatedDate"], read["CreatedDate"]);
    assert!(after["SystemModstamp"].as_str() > read["SystemModstamp"].as_str());

    assert_eq!(bare(&sim, "DELETE", &url).await.status, 204);
    let gone = bare(&sim, "GET", &url).await;
    assert_eq!((gone.status, gone.error_code()), (404, "ENTITY_IS_DELETED".to_owned()));
    assert_eq!(bare(&sim, "DELETE", &url).await.error_code(), "ENTITY_IS_DELETED");
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS);
    let binned = all(&sim, &format!("SELECT Id, IsDeleted, Name FROM Lead WHERE Id = '{id}'")).await;
    assert_eq!(binned["records"][0]["IsDeleted"], true);
    assert_eq!(binned["records"][0]["Name"], "Ada King");
}

#[tokio::test]
async fn refusals_have_the_orgs_codes_statuses_and_fields() {
    let sim = org().await;
    let post = |body: Value| json_to_owned(&sim, "POST", "/sobjects/Lead", body);
    let missing = post(json!({ "FirstName": "Ada" })).await;
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.json(),
        json!([{ "message": "Required fields are missing: [LastName, Company]", "errorCode": "REQUIRED_FIELD_MISSING", "fields": ["LastName", "Company"] }])
    );
    let mut body = lead("X");
    for (name, value, code) in [
        ("Nope__c", json!(1), "INVALID_FIELD"),
        ("CreatedDate", json!("2026-01-01T00:00:00Z"), "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("OwnerId", json!("nonsense"), "MALFORMED_ID"),
        ("Email", json!("nobody"), "INVALID_EMAIL_ADDRESS"),
        ("AnnualRevenue", json!("a lot"), "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("LastName", json!("x".repeat(81)), "STRING_TOO_LONG"),
    ] {
        let before = body[name].clone();
        body[name] = value;
        let reply = post(body.clone()).await;
        assert_eq!((reply.status, reply.error_code().as_str()), (400, code), "{name}");
        if before.is_null() {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = before;
        }
    }
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS, "nothing refused is left behind");
    assert_eq!(bare(&sim, "GET", "/sobjects/Lead/00Q5g0zzzzzzzzz").await.error_code(), "NOT_FOUND");
    assert_eq!(bare(&sim, "DELETE", "/sobjects/Lead/nonsense").await.status, 404);
    assert_eq!(json_to(&sim, "POST", "/sobjects/Nope", &json!({})).await.status, 404);
    assert_eq!(
        sim.send("POST", &format!("{BASE}/sobjects/Lead"), "application/json", b"{").await.error_code(),
        "JSON_PARSER_ERROR"
    );
}

async fn json_to_owned(sim: &Sim, method: &str, path: &str, body: Value) -> Reply {
    json_to(sim, method, path, &body).await
}

#[tokio::test]
async fn an_upsert_makes_once_and_then_changes_also_a_seeded_row() {
    let sim = org().await;
    let url = "/sobjects/Account/Ledger_Number__c/N%2B1";
    let made = json_to(&sim, "PATCH", url, &json!({ "Name": "First" })).await;
    assert_eq!((made.status, &made.json()["created"]), (201, &json!(true)));
    let again = json_to(&sim, "PATCH", url, &json!({ "Name": "Second" })).await;
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)));
    assert_eq!(again.json()["id"], made.json()["id"]);
    let read = bare(&sim, "GET", &format!("{url}?fields=Name,Ledger_Number__c")).await.json();
    assert_eq!((&read["Name"], &read["Ledger_Number__c"]), (&json!("Second"), &json!("N+1")));
    let twice =
        json_to(&sim, "POST", "/sobjects/Account", &json!({ "Name": "T", "Ledger_Number__c": "n+1" })).await;
    assert_eq!(twice.error_code(), "DUPLICATE_VALUE");

    let seeded = sim
        .query("SELECT Id, Ledger_Number__c FROM Account WHERE Ledger_Number__c != null LIMIT 1")
        .await
        .json();
    let key = seeded["records"][0]["Ledger_Number__c"].as_str().unwrap();
    let changed = json_to(
        &sim,
        "PATCH",
        &format!("/sobjects/Account/Ledger_Number__c/{key}"),
        &json!({ "Name": "Found" }),
    )
    .await;
    assert_eq!(changed.json()["id"], seeded["records"][0]["Id"]);
    assert_eq!(count(&sim, "SELECT COUNT() FROM Account").await, 2_001);
    let child = json_to(
        &sim,
        "POST",
        "/sobjects/Contact",
        &json!({ "LastName": "C", "Account": { "Ledger_Number__c": key } }),
    )
    .await;
    let child = child.json()["id"].as_str().unwrap().to_owned();
    let parent = sim.query(&format!("SELECT Account.Name FROM Contact WHERE Id = '{child}'")).await.json();
    assert_eq!(parent["records"][0]["Account"]["Name"], "Found");
}

#[tokio::test]
async fn a_collection_goes_row_by_row_or_all_or_none() {
    let sim = org().await;
    let typed = |mut record: Value| {
        record["attributes"] = json!({ "type": "Lead" });
        record
    };
    let records = [typed(lead("A")), typed(json!({ "LastName": "no company" })), typed(lead("B"))];
    let reply =
        json_to(&sim, "POST", "/composite/sobjects", &json!({ "allOrNone": true, "records": records }))
            .await
            .json();
    let codes: Vec<_> =
        reply.as_array().unwrap().iter().map(|entry| entry["errors"][0]["statusCode"].clone()).collect();
    assert_eq!(
        codes,
        ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING", "ALL_OR_NONE_OPERATION_ROLLED_BACK"]
    );
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS);
    let reply = json_to(&sim, "POST", "/composite/sobjects", &json!({ "records": records })).await.json();
    let done: Vec<_> = reply.as_array().unwrap().iter().map(|entry| entry["success"].clone()).collect();
    assert_eq!(done, [true, false, true]);
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS + 2);
    let ids: Vec<&str> = [0, 2].iter().map(|&at: &usize| reply[at]["id"].as_str().unwrap()).collect();

    let change = json!({ "records": [{ "attributes": { "type": "Lead" }, "id": ids[0], "LastName": "A2" }] });
    assert_eq!(json_to(&sim, "PATCH", "/composite/sobjects", &change).await.json()[0]["success"], true);
    let got = json_to(
        &sim,
        "POST",
        "/composite/sobjects/Lead",
        &json!({ "ids": [ids[1], "00Q5g0zzzzzzzzz", "bad", ids[0]], "fields": ["LastName"] }),
    )
    .await
    .json();
    assert_eq!(
        (&got[0]["LastName"], &got[1], &got[2], &got[3]["LastName"]),
        (&json!("B"), &json!(null), &json!(null), &json!("A2"))
    );
    let bad =
        json_to(&sim, "POST", "/composite/sobjects/Lead", &json!({ "ids": [], "fields": ["Nope"] })).await;
    assert_eq!((bad.status, bad.error_code()), (400, "INVALID_FIELD".to_owned()));
    let gone =
        bare(&sim, "DELETE", &format!("/composite/sobjects?ids={},bad&allOrNone=false", ids[0])).await.json();
    assert_eq!(
        (&gone[0]["success"], &gone[1]["errors"][0]["statusCode"]),
        (&json!(true), &json!("MALFORMED_ID"))
    );
    let many: Vec<Value> = (0..201).map(|_| typed(lead("M"))).collect();
    assert_eq!(
        json_to(&sim, "POST", "/composite/sobjects", &json!({ "records": many })).await.error_code(),
        "EXCEEDED_MAX_SIZE_REQUEST"
    );
    let keyed = json!({ "records": [{ "attributes": { "type": "Account" }, "Ledger_Number__c": "K-1", "Name": "K" }] });
    for created in [true, false] {
        let reply =
            json_to(&sim, "PATCH", "/composite/sobjects/Account/Ledger_Number__c", &keyed).await.json();
        assert_eq!((&reply[0]["success"], &reply[0]["created"]), (&json!(true), &json!(created)));
    }
}

#[tokio::test]
async fn a_composite_passes_ids_on_and_takes_everything_back_when_asked_to() {
    let sim = org().await;
    let sub = |method: &str, path: &str, id: &str, body: Value| json!({ "method": method, "url": format!("{BASE}{path}"), "referenceId": id, "body": body });
    let good = vec![
        sub("POST", "/sobjects/Account", "a", json!({ "Name": "Parent" })),
        sub("POST", "/sobjects/Contact", "c", json!({ "LastName": "Child", "AccountId": "@{a.id}" })),
        json!({ "method": "GET", "url": format!("{BASE}/sobjects/Contact/@{{c.id}}?fields=AccountId"), "referenceId": "g" }),
    ];
    let reply = json_to(&sim, "POST", "/composite", &json!({ "allOrNone": true, "compositeRequest": good }))
        .await
        .json();
    let parts = &reply["compositeResponse"];
    assert_eq!(parts[2]["body"]["AccountId"], parts[0]["body"]["id"]);
    let mut bad = good.clone();
    bad.push(sub("POST", "/sobjects/Lead", "l", json!({})));
    let reply = json_to(&sim, "POST", "/composite", &json!({ "allOrNone": true, "compositeRequest": bad }))
        .await
        .json();
    let codes: Vec<_> = reply["compositeResponse"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["body"][0]["errorCode"].clone())
        .collect();
    assert_eq!(
        codes,
        ["PROCESSING_HALTED", "PROCESSING_HALTED", "PROCESSING_HALTED", "REQUIRED_FIELD_MISSING"]
    );
    assert_eq!(count(&sim, "SELECT COUNT() FROM Account WHERE Name = 'Parent'").await, 1);

    let graphs = json!({ "graphs": [
        { "graphId": "1", "compositeRequest": &good[..2] },
        { "graphId": "2", "compositeRequest": [good[0], sub("POST", "/sobjects/Lead", "l", json!({}))] },
    ]});
    let reply = json_to(&sim, "POST", "/composite/graph", &graphs).await.json();
    let fates: Vec<_> =
        reply["graphs"].as_array().unwrap().iter().map(|graph| graph["isSuccessful"].clone()).collect();
    assert_eq!(fates, [true, false]);
    assert_eq!(reply["graphs"][0]["graphResponse"]["compositeResponse"][1]["httpStatusCode"], 201);
    assert_eq!(count(&sim, "SELECT COUNT() FROM Account WHERE Name = 'Parent'").await, 2);
}

#[tokio::test]
async fn the_recycle_bin_is_seen_by_query_all_only_and_emptied_after_fifteen_days() {
    let sim = org().await;
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS);
    assert_eq!(all(&sim, "SELECT COUNT() FROM Lead").await["totalSize"], LEADS + LEADS / 100);
    let binned =
        all(&sim, "SELECT Id, MasterRecordId, SystemModstamp FROM Lead WHERE IsDeleted = true").await;
    let records = binned["records"].as_array().unwrap().clone();
    assert_eq!(records.len() as u64, LEADS / 100);
    let merged = records.iter().filter(|record| !record["MasterRecordId"].is_null()).count();
    assert!(merged > 0 && merged < records.len());
    let counts = sim.get(&format!("{BASE}/limits/recordCount?sObjects=Lead")).await.json();
    assert_eq!(counts["sObjects"][0]["count"], LEADS);
    let id = new_lead(&sim, "Short").await;
    bare(&sim, "DELETE", &format!("/sobjects/Lead/{id}")).await;
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 8 * 86_400_000_u64 })).await;
    let left =
        all(&sim, "SELECT COUNT() FROM Lead WHERE IsDeleted = true").await["totalSize"].as_u64().unwrap();
    assert!(left > 1 && left < LEADS / 100, "the older half is purged: {left}");
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 8 * 86_400_000_u64 })).await;
    assert_eq!(all(&sim, "SELECT COUNT() FROM Lead").await["totalSize"], LEADS);
    assert_eq!(bare(&sim, "GET", &format!("/sobjects/Lead/{id}")).await.error_code(), "NOT_FOUND");
}

fn window(sim: &Sim, minutes_back: i64, minutes_ahead: i64) -> String {
    let now = sim.server.epoch_ms();
    let at = |minutes: i64| crate::soql::dates::soql_datetime(now + minutes * 60_000);
    let cut = |text: String| format!("{}:00%2B00:00", &text[..16]);
    format!("start={}&end={}", cut(at(-minutes_back)), cut(at(minutes_ahead)))
}

#[tokio::test]
async fn updated_and_deleted_tell_what_a_window_holds_and_how_far_it_is_complete() {
    let sim = org().await;
    let id = new_lead(&sim, "New").await;
    let before = bare(&sim, "GET", &format!("/sobjects/Lead/updated/?{}", window(&sim, 5, 5))).await.json();
    assert_eq!(before["ids"], json!([id]));
    control(
        &sim,
        "/__sim/rows",
        &json!({ "object": "Lead", "action": "insert", "count": 2, "commit_after_ms": 600_000 }),
    )
    .await;
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 300_000 })).await;
    let during = bare(&sim, "GET", &format!("/sobjects/Lead/updated/?{}", window(&sim, 10, 5))).await.json();
    assert_eq!(during["ids"], json!([id]));
    let covered = crate::soql::dates::parse_datetime(during["latestDateCovered"].as_str().unwrap()).unwrap();
    assert!(covered <= sim.server.epoch_ms() - 300_000, "a transaction in progress holds the watermark back");
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 300_000 })).await;
    let after = bare(&sim, "GET", &format!("/sobjects/Lead/updated/?{}", window(&sim, 20, 5))).await.json();
    assert_eq!(after["ids"].as_array().unwrap().len(), 3, "stamped before, committed after");

    bare(&sim, "DELETE", &format!("/sobjects/Lead/{id}")).await;
    let deleted = bare(&sim, "GET", &format!("/sobjects/Lead/deleted/?{}", window(&sim, 5, 5))).await.json();
    assert_eq!(deleted["deletedRecords"].as_array().unwrap().len(), 1);
    assert_eq!(deleted["deletedRecords"][0]["id"], json!(id));
    let fortnight =
        bare(&sim, "GET", &format!("/sobjects/Lead/deleted/?{}", window(&sim, 14 * 1_440, 5))).await.json();
    assert!(fortnight["deletedRecords"].as_array().unwrap().len() as u64 >= LEADS / 100);
    for (resource, minutes) in [("updated", 31 * 1_440), ("deleted", 16 * 1_440)] {
        let reply =
            bare(&sim, "GET", &format!("/sobjects/Lead/{resource}/?{}", window(&sim, minutes, 5))).await;
        assert_eq!((reply.status, reply.error_code()), (400, "INVALID_REPLICATION_DATE".to_owned()));
    }
}

#[tokio::test]
async fn rows_change_between_pages_by_knob_and_by_script() {
    let sim = org().await;
    let first = sim.query("SELECT Id, SystemModstamp FROM Lead").await.json();
    let next = first["nextRecordsUrl"].as_str().unwrap().to_owned();
    let whole = sim.get(&next).await.json();
    assert_eq!(whole["records"].as_array().unwrap().len() as u64, LEADS - 2_000);
    let doomed = whole["records"][7]["Id"].clone();
    control(
        &sim,
        "/__sim/rows",
        &json!({ "object": "Lead", "action": "delete", "ids": [doomed], "on_page_of": "Lead" }),
    )
    .await;
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS);
    let shorter = sim.get(&next).await.json();
    assert_eq!(shorter["records"].as_array().unwrap().len() as u64, LEADS - 2_001);
    assert_eq!(shorter["totalSize"], LEADS, "the total is that of the statement");
    control(&sim, "/__sim/data", &json!({ "touched_per_page": 50, "inserted_per_page": 3 })).await;
    let stamps = |page: &Value| {
        page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["SystemModstamp"].to_string())
            .collect::<Vec<_>>()
    };
    let touched = sim.get(&next).await.json();
    assert_ne!(stamps(&touched), stamps(&shorter));
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS + 2);
    assert_eq!(sim.get("/__sim/data").await.json()["touched_per_page"], 50);
    let knobs =
        json!({ "touched_per_page": 0, "inserted_per_page": 0, "late_per_page": 2, "late_by_ms": 240_000 });
    control(&sim, "/__sim/data", &knobs).await;
    let watermark = sim.server.epoch_ms() - 120_000;
    sim.get(&next).await;
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS + 4);
    let newest = sim.query("SELECT SystemModstamp FROM Lead ORDER BY Id DESC LIMIT 3").await.json();
    let late = |at: usize| {
        let stamp = newest["records"][at]["SystemModstamp"].as_str().unwrap();
        crate::soql::dates::parse_datetime(stamp).unwrap() < watermark
    };
    assert_eq!([late(0), late(1), late(2)], [true, true, false], "they lie before a watermark taken earlier");
}

#[tokio::test]
async fn merges_and_conversions_leave_the_marks_a_client_looks_for() {
    let sim = org().await;
    let done = control(
        &sim,
        "/__sim/rows",
        &json!([
            { "object": "Lead", "action": "merge", "count": 3 },
            { "object": "Lead", "action": "convert", "count": 1 },
            { "object": "Lead", "action": "hard_delete", "count": 4 },
        ]),
    )
    .await;
    let ids = &done["changes"][0]["ids"];
    let loser = ids[1].as_str().unwrap();
    let found = all(&sim, &format!("SELECT IsDeleted, MasterRecordId FROM Lead WHERE Id = '{loser}'")).await;
    assert_eq!(
        (&found["records"][0]["IsDeleted"], &found["records"][0]["MasterRecordId"]),
        (&json!(true), &ids[0])
    );
    let converted = done["changes"][1]["ids"][0].as_str().unwrap();
    let found = sim
        .query(&format!(
            "SELECT IsConverted, ConvertedDate, ConvertedAccountId FROM Lead WHERE Id = '{converted}'"
        ))
        .await
        .json();
    assert_eq!(found["records"][0]["IsConverted"], true);
    assert!(found["records"][0]["ConvertedAccountId"].as_str().unwrap().starts_with("001"));
    let refused =
        json_to(&sim, "PATCH", &format!("/sobjects/Lead/{converted}"), &json!({ "Title": "x" })).await;
    assert_eq!(refused.error_code(), "CANNOT_UPDATE_CONVERTED_LEAD");
    assert_eq!(count(&sim, "SELECT COUNT() FROM Lead").await, LEADS - 2 - 4);
    assert_eq!(sim.post("/__sim/rows", &json!({ "object": "Nope", "action": "touch" })).await.status, 400);
}

#[tokio::test]
async fn a_hidden_field_is_nowhere_and_the_describe_says_it_changed() {
    let sim = org().await;
    let describe = format!("{BASE}/sobjects/Lead/describe");
    let last_modified = sim.get(&describe).await.header("Last-Modified").unwrap().to_owned();
    let since = format!("If-Modified-Since: {last_modified}\r\n");
    assert_eq!(sim.get_with(&describe, &since).await.status, 304);
    assert_eq!(sim.query("SELECT Id, Email FROM Lead LIMIT 1").await.status, 200);
    control(&sim, "/__sim/data", &json!({ "hidden_fields": ["Lead.Email"] })).await;
    let now = sim.get_with(&describe, &since).await;
    assert_eq!(now.status, 200);
    assert!(now.json()["fields"].as_array().unwrap().iter().all(|field| field["name"] != "Email"));
    let refused = sim.query("SELECT Id, Email FROM Lead LIMIT 1").await;
    assert!(
        refused.json()[0]["message"].as_str().unwrap().contains("No such column 'Email' on entity 'Lead'")
    );
    let mut body = lead("H");
    body["Email"] = json!("a@b.example");
    assert_eq!(json_to(&sim, "POST", "/sobjects/Lead", &body).await.error_code(), "INVALID_FIELD");
    let collection = json!({ "ids": [], "fields": ["Email"] });
    assert_eq!(json_to(&sim, "POST", "/composite/sobjects/Lead", &collection).await.status, 400);
    assert_eq!(sim.post("/__sim/data", &json!({ "hidden_fields": ["Lead.Nope"] })).await.status, 400);
    control(&sim, "/__sim/data", &json!({ "hidden_fields": [] })).await;
    assert_eq!(sim.query("SELECT Id, Email FROM Lead LIMIT 1").await.status, 200);
}

#[tokio::test]
async fn sub_selects_nest_children_and_fill_pages_with_them() {
    let sim = org().await;
    let soql = "SELECT Id, (SELECT Id, LastName, Account.Id FROM Contacts WHERE LastName != null ORDER BY LastName LIMIT 3) FROM Account";
    let mut url = query_url(&format!("{BASE}/query"), soql);
    let (mut parents, mut children) = (0, 0);
    loop {
        let page = sim.get(&url).await.json();
        let records = page["records"].as_array().unwrap();
        let mut rows = records.len();
        for record in records {
            let Some(below) = record["Contacts"]["records"].as_array() else {
                assert_eq!(record["Contacts"], json!(null));
                continue;
            };
            assert!((1..=3).contains(&below.len()));
            assert_eq!(record["Contacts"]["totalSize"], below.len());
            assert!(below.iter().all(|child| child["Account"]["Id"] == record["Id"]));
            assert!(below.is_sorted_by_key(|child| child["LastName"].as_str().unwrap().to_lowercase()));
            rows += below.len();
            children += below.len();
        }
        assert!(rows <= 2_003, "{rows}");
        parents += records.len();
        match page["nextRecordsUrl"].as_str() {
            Some(next) => url = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(parents, 2_000);
    assert!(children > 500, "{children}");
    let unknown = sim.query("SELECT Id, (SELECT Id FROM Nonsense) FROM Account").await;
    assert_eq!(unknown.error_code(), "INVALID_TYPE");
    let counted = sim.query("SELECT Id, (SELECT COUNT() FROM Contacts) FROM Account").await;
    assert_eq!(counted.error_code(), "MALFORMED_QUERY");
}

#[tokio::test]
async fn a_locator_outlives_writes_and_dies_after_two_days() {
    let sim = org().await;
    let first = sim.query("SELECT Id FROM Lead").await.json();
    let next = first["nextRecordsUrl"].as_str().unwrap().to_owned();
    new_lead(&sim, "Later").await;
    assert_eq!(sim.get(&next).await.json()["records"].as_array().unwrap().len() as u64, LEADS - 2_000);
    assert_eq!(
        sim.query("SELECT Id FROM Lead").await.json()["totalSize"],
        LEADS + 1,
        "asked anew it sees more"
    );
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 47 * 3_600_000_u64 })).await;
    assert_eq!(sim.get(&next).await.status, 200);
    control(&sim, "/__sim/clock", &json!({ "advance_ms": 2 * 3_600_000_u64 })).await;
    assert_eq!(sim.get(&next).await.error_code(), "INVALID_QUERY_LOCATOR");
}

#[tokio::test]
async fn short_pages_still_hold_every_row_once() {
    let knobs = Knobs { short_page_percent: 70, ..Knobs::default() };
    let sim = org_with(DataOptions { knobs, ..DataOptions::default() }).await;
    let mut url = query_url(&format!("{BASE}/query"), "SELECT Id FROM Lead");
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = sim.get_with(&url, "Sforce-Query-Options: batchSize=500\r\n").await.json();
        seen.extend(page["records"].as_array().unwrap().iter().map(|record| record["Id"].to_string()));
        pages += 1;
        match page["nextRecordsUrl"].as_str() {
            Some(next) => url = next.to_owned(),
            None => break,
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert_eq!(seen.len() as u64, LEADS);
    assert!(pages > 6, "{pages}");
}

#[tokio::test]
async fn locked_rows_are_refused_now_and_then() {
    let sim = org().await;
    control(&sim, "/__sim/data", &json!({ "lock_row_percent": 100 })).await;
    let refused = json_to(&sim, "POST", "/sobjects/Lead", &lead("L")).await;
    assert_eq!(refused.error_code(), "UNABLE_TO_LOCK_ROW");
    control(&sim, "/__sim/data", &json!({ "lock_row_percent": 0 })).await;
    new_lead(&sim, "L").await;
}

#[tokio::test]
async fn what_the_command_line_tool_asks_first_is_answered() {
    let sim = org().await;
    assert_eq!(sim.query("SELECT Id FROM ScratchOrgInfo limit 1").await.error_code(), "INVALID_TYPE");
    let org = sim.query("SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix, OrganizationType FROM Organization").await.json();
    assert_eq!(org["records"][0]["IsSandbox"], false);
    let user = sim.get("/services/oauth2/userinfo").await.json();
    let id = user["user_id"].as_str().unwrap();
    let row = sim.get(&format!("/services/data/v51.0/sobjects/User/{id}")).await.json();
    assert_eq!(row["Username"], user["preferred_username"]);
    let classes = sim
        .tooling("SELECT Id, Name, Status, ApiVersion, LengthWithoutComments, NamespacePrefix FROM ApexClass")
        .await
        .json();
    assert!(classes["totalSize"].as_u64().unwrap() > 0);
    let long = format!("SELECT Id FROM Lead WHERE LastName = 'x'{}", " ".repeat(100_000));
    let body = json!({ "compositeRequest": [{ "method": "GET", "url": query_url(&format!("{BASE}/query"), &long), "referenceId": "q" }] });
    let reply = json_to(&sim, "POST", "/composite", &body).await.json();
    assert_eq!(reply["compositeResponse"][0]["body"][0]["errorCode"], "MALFORMED_QUERY");
}

#[tokio::test]
async fn hard_values_are_read_and_written_back_unharmed() {
    let sim = org_with(DataOptions { nasty_values: true, ..DataOptions::default() }).await;
    // Without `Whole__c`: `serde_json` reads doubles of sixteen digits to one unit in the last place only.
    let soql = "SELECT Case_Key__c, Text__c, Area__c, Decimal__c, Small__c, Money__c, Day__c, Moment__c, Choice__c, \
                Choices__c FROM Value_Case__c WHERE Case_Key__c < 'case-00000120'";
    let seeded = sim.query(soql).await.json();
    let records = seeded["records"].as_array().unwrap();
    assert_eq!(records.len(), 120);
    let texts: Vec<&str> = records.iter().filter_map(|record| record["Text__c"].as_str()).collect();
    for hard in ["007", "NA", "None", "123456789012345678", "line one\nline two", "\"\""] {
        assert!(texts.contains(&hard), "{hard:?}");
    }
    let copies: Vec<Value> = records
        .iter()
        .map(|record| {
            let mut copy = record.clone();
            copy["Case_Key__c"] = json!(format!("copy-{}", record["Case_Key__c"].as_str().unwrap()));
            copy["attributes"] = json!({ "type": "Value_Case__c" });
            copy
        })
        .collect();
    let reply = json_to(
        &sim,
        "PATCH",
        "/composite/sobjects/Value_Case__c/Case_Key__c",
        &json!({ "records": copies }),
    )
    .await
    .json();
    let refused: Vec<&Value> =
        reply.as_array().unwrap().iter().filter(|entry| entry["created"] != true).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let read_back = sim.query(&soql.replace("< 'case-00000120'", "LIKE 'copy-%'")).await.json();
    for (before, after) in records.iter().zip(read_back["records"].as_array().unwrap()) {
        for (name, value) in before.as_object().unwrap() {
            if !matches!(name.as_str(), "attributes" | "Case_Key__c") {
                assert_eq!(&after[name], value, "{name} of {}", before["Case_Key__c"]);
            }
        }
    }
}
