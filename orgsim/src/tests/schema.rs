//! Fields that change while the org runs, rows as they are, deletes for good, and objects that Bulk refuses.

use super::client::{Reply, Sim, query_url};
use crate::{DataOptions, Options};
use serde_json::{Value, json};
use std::collections::HashMap;

const BASE: &str = "/services/data/v62.0";

async fn org() -> Sim {
    let records = HashMap::from([("Lead".to_owned(), 40), ("Contact".to_owned(), 30)]);
    Sim::with_catalogue(Options {
        data: DataOptions { records, ..DataOptions::default() },
        ..Options::default()
    })
    .await
}

async fn control(sim: &Sim, path: &str, body: Value) -> Reply {
    sim.post(path, &body).await
}

async fn schema(sim: &Sim, change: Value) {
    let reply = control(sim, "/__sim/schema", change).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
}

async fn field(sim: &Sim, name: &str) -> Option<Value> {
    let describe = sim.get(&format!("{BASE}/sobjects/Lead/describe")).await.json();
    let fields = describe["fields"].as_array().unwrap().clone();
    fields.into_iter().find(|field| field["name"] == name)
}

async fn rows(sim: &Sim, object: &str) -> Vec<Value> {
    let reply = sim.get(&format!("/__sim/rows?object={object}")).await;
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn records(sim: &Sim, soql: &str) -> Vec<Value> {
    sim.query(soql).await.json()["records"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_field_that_is_added_is_described_read_and_written_and_moves_no_stamp() {
    let sim = org().await;
    let stamps = "SELECT Id, SystemModstamp FROM Lead ORDER BY Id";
    let before = records(&sim, stamps).await;
    let url = format!("{BASE}/sobjects/Lead/describe");
    let changed = sim.get(&url).await.header("Last-Modified").map(str::to_owned);
    control(&sim, "/__sim/clock", json!({"advance_ms": 5_000})).await;
    schema(
        &sim,
        json!({"object": "Lead", "add": {"name": "Rank__c", "type": "double", "precision": 10, "scale": 2}}),
    )
    .await;

    let described = field(&sim, "Rank__c").await.unwrap();
    assert_eq!((&described["precision"], &described["scale"]), (&json!(10), &json!(2)));
    assert_ne!(sim.get(&url).await.header("Last-Modified").map(str::to_owned), changed);
    let values = records(&sim, "SELECT Id, Rank__c FROM Lead ORDER BY Id").await;
    assert!(values.iter().any(|row| row["Rank__c"].is_number()), "rows have values of their own");
    assert_eq!(values, records(&sim, "SELECT Id, Rank__c FROM Lead ORDER BY Id").await);
    assert_eq!(records(&sim, stamps).await, before);

    let id = values[0]["Id"].as_str().unwrap();
    let set = json!({"object": "Lead", "action": "update", "ids": [id], "fields": {"Rank__c": 12.25}});
    assert_eq!(control(&sim, "/__sim/rows", set).await.status, 200);
    let read = records(&sim, &format!("SELECT Rank__c FROM Lead WHERE Id = '{id}'")).await;
    assert_eq!(read[0]["Rank__c"], 12.25);
}

#[tokio::test]
async fn a_field_that_is_removed_is_unknown_and_may_come_back_as_another() {
    let sim = org().await;
    schema(&sim, json!({"object": "Lead", "add": {"name": "Rank__c", "type": "double"}})).await;
    schema(&sim, json!({"object": "Lead", "remove": "Rank__c"})).await;
    assert_eq!(field(&sim, "Rank__c").await, None);
    let refused = sim.query("SELECT Rank__c FROM Lead").await;
    assert_eq!((refused.status, refused.error_code()), (400, "INVALID_FIELD".to_owned()));
    let message = refused.json()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("No such column 'Rank__c' on entity 'Lead'."), "{message}");
    schema(&sim, json!({"object": "Lead", "add": {"name": "Rank__c", "type": "date"}})).await;
    assert_eq!(field(&sim, "Rank__c").await.unwrap()["type"], "date");
    assert_eq!(sim.query("SELECT Rank__c FROM Lead").await.status, 200);
    // Hiding others does not bring it back.
    control(&sim, "/__sim/data", json!({"hidden_fields": ["Lead.Title"]})).await;
    control(&sim, "/__sim/data", json!({"hidden_fields": []})).await;
    assert_eq!(field(&sim, "Rank__c").await.unwrap()["type"], "date");
}

#[tokio::test]
async fn a_wider_field_keeps_its_values_and_one_of_another_type_has_new_ones() {
    let sim = org().await;
    schema(
        &sim,
        json!({"object": "Lead", "add": {"name": "Rank__c", "type": "double", "precision": 6, "scale": 1}}),
    )
    .await;
    let read = "SELECT Id, Rank__c FROM Lead ORDER BY Id";
    let before = records(&sim, read).await;
    schema(&sim, json!({"object": "Lead", "change": {"name": "Rank__c", "precision": 18, "scale": 6}})).await;
    assert_eq!(field(&sim, "Rank__c").await.unwrap()["scale"], 6);
    assert_eq!(records(&sim, read).await, before);
    schema(&sim, json!({"object": "Lead", "change": {"name": "Rank__c", "type": "string"}})).await;
    assert_eq!(field(&sim, "Rank__c").await.unwrap()["type"], "string");
    let after = records(&sim, read).await;
    assert!(after.iter().all(|row| !row["Rank__c"].is_number()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let sim = org().await;
    for change in [
        json!({"object": "Nothing", "remove": "X"}),
        json!({"object": "Lead", "remove": "Id"}),
        json!({"object": "Lead", "remove": "SystemModstamp"}),
        json!({"object": "Lead", "remove": "Nothing__c"}),
        json!({"object": "Lead", "add": {"name": "Plain", "type": "string"}}),
        json!({"object": "Lead", "add": {"name": "Odd__c", "type": "hologram"}}),
        json!({"object": "Lead"}),
        json!({"object": "Lead", "remove": "Title", "add": {"name": "X__c"}}),
    ] {
        assert_eq!(control(&sim, "/__sim/schema", change.clone()).await.status, 400, "{change}");
    }
    assert_eq!(sim.get("/__sim/rows").await.status, 400);
    assert_eq!(sim.get("/__sim/rows?object=Nothing").await.status, 400);
}

#[tokio::test]
async fn the_truth_has_every_field_of_every_row_and_costs_no_call() {
    let sim = org().await;
    control(&sim, "/__sim/rows", json!({"object": "Lead", "action": "delete", "count": 2})).await;
    let before = sim.server.journal().total;
    let all = rows(&sim, "Lead").await;
    assert_eq!(sim.server.journal().total, before);
    assert_eq!(all.len(), 40);
    assert_eq!(all.iter().filter(|row| row["IsDeleted"] == true).count(), 2);
    let live = records(&sim, "SELECT FIELDS(ALL) FROM Lead ORDER BY Id LIMIT 200").await;
    let mut told: Vec<Value> = all.into_iter().filter(|row| row["IsDeleted"] == false).collect();
    told.sort_by_key(|row| row["Id"].to_string());
    let plain = live.into_iter().map(|mut row| {
        row.as_object_mut().unwrap().remove("attributes");
        row
    });
    assert_eq!(told, plain.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_deleted_for_good_is_in_the_list_of_deletions_as_long_as_that_reaches_back() {
    let sim = org().await;
    let deleted = async || {
        let now = sim.server.epoch_ms();
        let (start, end) = (now - 86_400_000, now + 60_000);
        let moment = |ms: i64| crate::soql::dates::rest_datetime(ms).replace("+0000", "Z");
        let url = format!("{BASE}/sobjects/Lead/deleted/?start={}&end={}", moment(start), moment(end));
        let told = sim.get(&url).await.json();
        (told["deletedRecords"].as_array().unwrap().len(), told["earliestDateAvailable"].clone())
    };
    control(&sim, "/__sim/rows", json!({"object": "Lead", "action": "hard_delete", "count": 3})).await;
    control(&sim, "/__sim/rows", json!({"object": "Lead", "action": "delete", "count": 2})).await;
    assert_eq!(deleted().await.0, 5);
    assert_eq!(rows(&sim, "Lead").await.len(), 37);
    // What leaves the bin was deleted when it came into it.
    control(&sim, "/__sim/rows", json!({"object": "Lead", "action": "empty_bin"})).await;
    let (count, earliest) = deleted().await;
    assert_eq!(count, 5);
    assert_eq!(rows(&sim, "Lead").await.len(), 35);
    control(&sim, "/__sim/clock", json!({"advance_ms": 7_200_000})).await;
    control(&sim, "/__sim/data", json!({"deletes_kept_ms": 3_600_000})).await;
    let (count, later) = deleted().await;
    assert_eq!(count, 0);
    assert!(later.as_str() > earliest.as_str());
}

#[tokio::test]
async fn what_is_recomputed_moves_no_stamp_and_a_late_change_loses_to_one_that_came_before_it() {
    let sim = org().await;
    let formula = json!({"name": "Calc__c", "type": "double", "formula": "Amount * 2"});
    schema(&sim, json!({"object": "Lead", "add": formula})).await;
    let id = rows(&sim, "Lead").await[0]["Id"].clone();
    let stamp = rows(&sim, "Lead").await[0]["SystemModstamp"].clone();
    control(
        &sim,
        "/__sim/rows",
        json!({"object": "Lead", "action": "recompute", "ids": [id], "fields": {"Calc__c": 7}}),
    )
    .await;
    let row = rows(&sim, "Lead").await.remove(0);
    assert_eq!((&row["Calc__c"], &row["SystemModstamp"]), (&json!(7.0), &stamp));
    assert_eq!(field(&sim, "Calc__c").await.unwrap()["calculated"], true);

    let late = json!({"object": "Lead", "action": "update", "ids": [id], "fields": {"LastName": "Late"}, "commit_after_ms": 60_000});
    control(&sim, "/__sim/rows", late).await;
    control(&sim, "/__sim/clock", json!({"advance_ms": 5_000})).await;
    let soon = json!({"object": "Lead", "action": "update", "ids": [id], "fields": {"LastName": "Soon"}});
    control(&sim, "/__sim/rows", soon).await;
    control(&sim, "/__sim/clock", json!({"advance_ms": 120_000})).await;
    assert_eq!(rows(&sim, "Lead").await[0]["LastName"], "Soon");
}

#[tokio::test]
async fn bulk_refuses_objects_it_is_told_to_refuse() {
    let sim = org().await;
    let job = json!({"operation": "query", "query": "SELECT Id FROM Lead"});
    let url = format!("{BASE}/jobs/query");
    assert_eq!(control(&sim, "/__sim/data", json!({"bulk_refused": ["Nothing"]})).await.status, 400);
    control(&sim, "/__sim/data", json!({"bulk_refused": ["lead"]})).await;
    let refused = sim.post(&url, &job).await;
    assert_eq!(refused.status, 400);
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(text.contains("Lead is not supported by the Bulk API"), "{text}");
    assert_eq!(sim.get(&query_url(&format!("{BASE}/query"), "SELECT Id FROM Lead")).await.status, 200);
    control(&sim, "/__sim/data", json!({"bulk_refused": []})).await;
    assert_eq!(sim.post(&url, &job).await.status, 200);
}
