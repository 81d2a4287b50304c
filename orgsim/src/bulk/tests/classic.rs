//! Bulk API 1.0, spoken the way each of its three clients speaks it.

use super::query::rows;
use crate::{
    BulkOptions, Fault, FaultRule, Options,
    tests::client::{Reply, Sim},
};
use rstest::rstest;
use serde_json::{Value, json};

const BASE: &str = "/services/async/62.0/job";
const SPACE: &str = "http://www.force.com/2009/06/asyncapi/dataload";

async fn with(bulk: BulkOptions) -> Sim {
    Sim::with(Options { bulk, ..Options::default() }).await
}

async fn ask(sim: &Sim, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let headers = format!("X-SFDC-Session: {}\r\n{headers}", sim.token);
    sim.raw(method, &format!("{BASE}{path}"), &headers, body.as_bytes()).await.unwrap()
}

const JSON: &str = "Content-Type: application/json\r\n";
const XML: &str = "Content-Type: application/xml; charset=utf-8\r\n";

/// Text of an element of an XML answer, whose root must be `root` in the API's namespace.
fn element(reply: &Reply, root: &str, name: &str) -> Vec<String> {
    assert_eq!(reply.header("Content-Type"), Some("application/xml"));
    let text = std::str::from_utf8(&reply.body).unwrap();
    let document = roxmltree::Document::parse(text).unwrap();
    assert!(document.root_element().has_tag_name((SPACE, root)), "{text}");
    let named = document.descendants().filter(|node| node.has_tag_name((SPACE, name)));
    named.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

async fn create_json(sim: &Sim, content_type: &str, more: &str) -> String {
    let body = json!({ "operation": "query", "object": "Lead", "contentType": content_type }).to_string();
    let reply = ask(sim, "POST", "", &format!("{JSON}{more}"), &body).await;
    assert_eq!(reply.status, 201);
    let job = reply.json();
    assert_eq!((&job["state"], &job["contentType"]), (&json!("Open"), &json!(content_type)));
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_json_job_speaks_json_throughout_and_its_moments_are_milliseconds() {
    let sim = Sim::start().await;
    let id = create_json(&sim, "JSON", "").await;
    let soql = "SELECT Id, CreatedDate, Email, ConvertedAccount.Owner.Name FROM Lead";
    let batch = ask(&sim, "POST", &format!("/{id}/batch"), JSON, soql).await;
    assert_eq!(batch.status, 201);
    assert_eq!((&batch.json()["state"], &batch.json()["jobId"]), (&json!("Queued"), &json!(id)));
    let batch = batch.json()["id"].as_str().unwrap().to_owned();
    let info = ask(&sim, "GET", &format!("/{id}/batch/{batch}"), JSON, "").await.json();
    assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("Completed"), &json!(300)));
    let list = ask(&sim, "GET", &format!("/{id}/batch"), JSON, "").await.json();
    assert_eq!(list["batchInfo"][0]["id"], batch);
    let results = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result"), JSON, "").await.json();
    let result = results[0].as_str().unwrap();
    let rows = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result/{result}"), JSON, "").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 300);
    assert_eq!(rows[1]["CreatedDate"], 1_767_229_200_000_i64);
    assert_eq!(rows[1]["attributes"]["type"], "Lead");
    assert_eq!((&rows[0]["Email"], &rows[1]["ConvertedAccount"]), (&json!(null), &json!(null)));
    assert_eq!(rows[2]["ConvertedAccount"]["Owner"]["Name"], "User 00002");
    let closed = ask(&sim, "POST", &format!("/{id}"), JSON, r#"{"state":"Closed"}"#).await.json();
    assert_eq!((&closed["state"], &closed["numberBatchesCompleted"]), (&json!("Closed"), &json!(1)));
}

#[tokio::test]
async fn a_csv_job_made_with_json_answers_about_batches_in_xml() {
    let sim = Sim::start().await;
    let id = create_json(&sim, "CSV", "").await;
    let soql = "SELECT Name, CreatedDate FROM Lead LIMIT 2";
    let batch = ask(&sim, "POST", &format!("/{id}/batch"), "Content-Type: text/csv\r\n", soql).await;
    let batch = element(&batch, "batchInfo", "id").remove(0);
    let info = ask(&sim, "GET", &format!("/{id}/batch/{batch}"), "", "").await;
    assert_eq!(element(&info, "batchInfo", "state"), ["Completed"]);
    let list = ask(&sim, "GET", &format!("/{id}/batch"), "", "").await;
    assert_eq!(element(&list, "batchInfoList", "id"), std::slice::from_ref(&batch));
    let results = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result"), "", "").await;
    let result = element(&results, "result-list", "result").remove(0);
    let found = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result/{result}"), "", "").await;
    assert_eq!(found.header("Content-Type"), Some("text/csv"));
    let found = rows(std::str::from_utf8(&found.body).unwrap(), ',');
    assert_eq!(
        found,
        [
            ["Name", "CreatedDate"],
            ["Lead 00000", "2026-01-01T00:00:00.000Z"],
            ["Lead 00001", "2026-01-01T01:00:00.000Z"],
        ]
    );
}

#[tokio::test]
async fn an_xml_job_is_made_and_closed_in_xml() {
    let sim = Sim::start().await;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<jobInfo xmlns=\"{SPACE}\">\n<operation>query</operation>\
         <object>Lead</object><contentType>XML</contentType></jobInfo>"
    );
    let job = ask(&sim, "POST", "", XML, &body).await;
    assert_eq!((job.status, element(&job, "jobInfo", "state")), (201, vec!["Open".to_owned()]));
    let id = element(&job, "jobInfo", "id").remove(0);
    let batch =
        ask(&sim, "POST", &format!("/{id}/batch"), XML, "SELECT Name, Owner.Name FROM Lead LIMIT 1").await;
    let batch = element(&batch, "batchInfo", "id").remove(0);
    let results = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result"), "", "").await;
    let result = element(&results, "result-list", "result").remove(0);
    let found = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result/{result}"), "", "").await;
    assert_eq!(element(&found, "queryResult", "Name"), ["Lead 00000", "User 00000"]);
    let close = format!("<jobInfo xmlns=\"{SPACE}\"><state>Closed</state></jobInfo>");
    let closed = ask(&sim, "POST", &format!("/{id}"), XML, &close).await;
    assert_eq!(element(&closed, "jobInfo", "state"), ["Closed"]);
    let late = ask(&sim, "POST", &format!("/{id}/batch"), XML, "SELECT Id FROM Lead").await;
    assert_eq!(element(&late, "error", "exceptionCode"), ["InvalidJobState"]);
}

#[tokio::test]
async fn chunks_by_id_cover_every_row_once() {
    let sim = Sim::start().await;
    let id = create_json(&sim, "JSON", "Sforce-Enable-PKChunking: chunkSize=110\r\n").await;
    let first =
        ask(&sim, "POST", &format!("/{id}/batch"), JSON, "SELECT Name FROM Lead WHERE Status = 'Open'").await;
    assert_eq!(first.json()["state"], "NotProcessed");
    let list = ask(&sim, "GET", &format!("/{id}/batch"), JSON, "").await.json();
    let list = list["batchInfo"].as_array().unwrap();
    let states: Vec<&str> = list.iter().map(|batch| batch["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["NotProcessed", "Completed", "Completed", "Completed"]);
    let mut names = Vec::new();
    for batch in &list[1..] {
        let url = format!("/{id}/batch/{}/result", batch["id"].as_str().unwrap());
        let result = ask(&sim, "GET", &url, JSON, "").await.json()[0].as_str().unwrap().to_owned();
        let rows = ask(&sim, "GET", &format!("{url}/{result}"), JSON, "").await.json();
        names.extend(rows.as_array().unwrap().iter().map(|row| row["Name"].as_str().unwrap().to_owned()));
    }
    let expected: Vec<String> = (0..150).map(|at| format!("Lead {:05}", at * 2)).collect();
    assert_eq!(names, expected);
}

#[rstest]
#[case("SELECT Foo FROM Lead", "InvalidBatch : Failed to process query: INVALID_FIELD: ")]
#[case(
    "SELECT Id, (SELECT Id FROM X) FROM Lead",
    "InvalidBatch : Failed to process query: FUNCTIONALITY_NOT_ENABLED: Aggregate Relationships"
)]
#[case("SELECT Id FROM Account", "InvalidBatch : The query does not match")]
#[tokio::test]
async fn a_refused_statement_fails_its_batch(#[case] soql: &str, #[case] says: &str) {
    let sim = Sim::start().await;
    let id = create_json(&sim, "JSON", "").await;
    let batch = ask(&sim, "POST", &format!("/{id}/batch"), JSON, soql).await;
    assert_eq!(batch.status, 201);
    let batch = batch.json()["id"].as_str().unwrap().to_owned();
    let info = ask(&sim, "GET", &format!("/{id}/batch/{batch}"), JSON, "").await.json();
    assert_eq!(info["state"], "Failed");
    assert!(info["stateMessage"].as_str().unwrap().starts_with(says), "{info}");
    let result = ask(&sim, "GET", &format!("/{id}/batch/{batch}/result"), JSON, "").await;
    assert_eq!((result.status, result.json()["exceptionCode"].clone()), (400, json!("InvalidBatch")));
}

#[tokio::test]
async fn a_batch_takes_its_time_and_its_faults() {
    let sim = with(BulkOptions { polls_until_done: 2, ..BulkOptions::default() }).await;
    let id = create_json(&sim, "JSON", "").await;
    let batch = ask(&sim, "POST", &format!("/{id}/batch"), JSON, "SELECT Id FROM Lead").await;
    let url = format!("/{id}/batch/{}", batch.json()["id"].as_str().unwrap());
    for expected in ["Queued", "InProgress", "Completed"] {
        assert_eq!(ask(&sim, "GET", &url, JSON, "").await.json()["state"], expected);
    }
    sim.server.faults().set(vec![FaultRule::always(Fault::FailedWithoutMessage).of_kind("classic_create")]);
    let id = create_json(&sim, "JSON", "").await;
    let batch = ask(&sim, "POST", &format!("/{id}/batch"), JSON, "SELECT Id FROM Lead").await;
    let url = format!("/{id}/batch/{}", batch.json()["id"].as_str().unwrap());
    for _ in 0..2 {
        ask(&sim, "GET", &url, JSON, "").await;
    }
    let info = ask(&sim, "GET", &url, JSON, "").await.json();
    assert_eq!((&info["state"], &info["stateMessage"]), (&json!("Failed"), &Value::Null));
}

#[tokio::test]
async fn what_is_wrong_is_said_as_an_object_in_the_requests_format() {
    let sim = Sim::start().await;
    let stale = sim.raw("POST", BASE, &format!("X-SFDC-Session: stale\r\n{JSON}"), b"{}").await.unwrap();
    assert_eq!((stale.status, stale.json()["exceptionCode"].clone()), (401, json!("InvalidSessionId")));
    let stale = sim.raw("POST", BASE, XML, b"<x/>").await.unwrap();
    assert_eq!(element(&stale, "error", "exceptionCode"), ["InvalidSessionId"]);
    for (body, code) in [
        (json!({ "operation": "query", "object": "Nothing" }), "InvalidEntity"),
        (json!({ "operation": "insert", "object": "Lead" }), "InvalidJob"),
        (json!({ "operation": "query", "object": "Lead", "contentType": "ZIP_CSV" }), "InvalidJob"),
    ] {
        let reply = ask(&sim, "POST", "", JSON, &body.to_string()).await;
        assert_eq!((reply.status, reply.json()["exceptionCode"].clone()), (400, json!(code)));
    }
    assert_eq!(ask(&sim, "GET", "/7505g0000000001AAA", JSON, "").await.json()["exceptionCode"], "InvalidJob");
}

#[tokio::test]
async fn an_org_without_this_api_says_so() {
    let sim = with(BulkOptions { classic: false, ..BulkOptions::default() }).await;
    let reply = ask(&sim, "POST", "", JSON, "{}").await;
    let expected =
        json!({ "exceptionCode": "FeatureNotEnabled", "exceptionMessage": "Async API not enabled" });
    assert_eq!((reply.status, reply.json()), (400, expected));
}

#[tokio::test]
async fn classic_jobs_are_listed_beside_the_new_ones_and_each_request_is_a_call() {
    let sim = Sim::start().await;
    sim.server.reset_journal();
    let id = create_json(&sim, "CSV", "").await;
    assert_eq!(sim.server.journal().total, 1);
    for resource in ["query", "ingest"] {
        let list = sim.get(&format!("/services/data/v62.0/jobs/{resource}")).await.json();
        assert_eq!(
            (&list["records"][0]["id"], &list["records"][0]["jobType"]),
            (&json!(id), &json!("Classic"))
        );
    }
}

#[rstest]
#[case(JSON, "{\"exceptionCode\":\"ExceededQuota\"")]
#[case(XML, "<exceptionCode>ExceededQuota</exceptionCode>")]
#[tokio::test]
async fn at_the_daily_ceiling_the_refusal_is_in_this_apis_own_words(
    #[case] content_type: &str,
    #[case] says: &str,
) {
    let sim = Sim::start().await;
    sim.server.set_used(15_000);
    let reply = ask(&sim, "POST", "", content_type, "").await;
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert_eq!(reply.status, 403);
    assert!(text.contains(says) && text.contains("TotalRequests Limit exceeded."), "{text}");
}
