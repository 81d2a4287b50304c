//! Bulk API 2.0 ingest.

use super::query::rows;
use crate::{
    BulkOptions, Fault, FaultRule, Options,
    model::{Field, OrgModel},
    tests::{
        client::{Reply, Sim},
        org,
    },
};
use rstest::rstest;
use serde_json::{Value, json};

const JOBS: &str = "/services/data/v62.0/jobs/ingest";

/// The small org with leads that can be written, required in their name and known by a key of their own.
fn model() -> OrgModel {
    let mut model = org::model();
    let lead = model.objects.iter_mut().find(|object| object.name == "Lead").unwrap();
    for field in lead.fields.iter_mut().filter(|field| !matches!(field.name.as_str(), "Id" | "CreatedDate")) {
        (field.createable, field.updateable) = (true, true);
        field.nillable = field.name != "Name";
    }
    lead.fields.push(Field {
        name: "Ext__c".into(),
        label: "Ext".into(),
        field_type: "string".into(),
        length: 80,
        nillable: true,
        custom: true,
        createable: true,
        updateable: true,
        external_id: true,
        ..Field::default()
    });
    model
}

async fn start() -> Sim {
    with(BulkOptions::default()).await
}

async fn with(bulk: BulkOptions) -> Sim {
    Sim::over(Options { bulk, ..Options::default() }, model()).await
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

async fn create(sim: &Sim, more: Value) -> String {
    let mut body = json!({ "object": "Lead", "contentType": "CSV", "lineEnding": "LF" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = sim.post(JOBS, &body).await;
    assert_eq!(reply.status, 200, "{}", text(&reply));
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn upload(sim: &Sim, id: &str, csv: &str) -> Reply {
    sim.send("PUT", &format!("{JOBS}/{id}/batches"), "text/csv; charset=UTF-8", csv.as_bytes()).await
}

async fn close(sim: &Sim, id: &str) -> Reply {
    sim.send("PATCH", &format!("{JOBS}/{id}/"), "application/json", br#"{"state":"UploadComplete"}"#).await
}

/// Runs a job to its end; its info, and its three results as sorted rows.
async fn run(sim: &Sim, more: Value, csv: &str) -> (Value, [Vec<Vec<String>>; 3]) {
    let id = create(sim, more).await;
    assert_eq!(upload(sim, &id, csv).await.status, 201);
    assert_eq!(close(sim, &id).await.json()["state"], "UploadComplete");
    let info = sim.get(&format!("{JOBS}/{id}")).await.json();
    let mut results = [const { Vec::new() }; 3];
    for (at, name) in ["successfulResults/", "failedResults", "unprocessedRecords"].into_iter().enumerate() {
        let reply = sim.get(&format!("{JOBS}/{id}/{name}")).await;
        assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/csv")), "{name}");
        let mut found = rows(&text(&reply), ',');
        found[1..].sort_by(|a, b| a[2..].cmp(&b[2..]));
        results[at] = found;
    }
    (info, results)
}

async fn lead(sim: &Sim, id: &str) -> Value {
    let soql = format!("SELECT Name, Email, Status, Ext__c FROM Lead WHERE Id = '{id}'");
    sim.query(&soql).await.json()["records"][0].clone()
}

#[tokio::test]
async fn a_job_says_where_its_data_goes_and_takes_it_once() {
    let sim = start().await;
    let body = json!({ "object": "lead", "operation": "upsert", "externalIdFieldName": "ext__c" });
    let created = sim.post(JOBS, &body).await.json();
    let id = created["id"].as_str().unwrap();
    for (name, value) in [
        ("state", json!("Open")),
        ("object", json!("Lead")),
        ("externalIdFieldName", json!("Ext__c")),
        ("contentUrl", json!(format!("services/data/v62.0/jobs/ingest/{id}/batches"))),
    ] {
        assert_eq!(created[name], value, "{name}");
    }
    assert_eq!(sim.get(&format!("{JOBS}/{id}/successfulResults")).await.error_code(), "INVALIDJOBSTATE");
    let put = upload(&sim, id, "Name\nA\n").await;
    assert_eq!((put.status, put.body.len()), (201, 0));
    assert_eq!(upload(&sim, id, "Name\nB\n").await.error_code(), "INVALIDJOBSTATE");
    assert_eq!(close(&sim, id).await.status, 200);
    assert_eq!(close(&sim, id).await.error_code(), "INVALIDJOBSTATE");
    let listed = sim.get(JOBS).await.json();
    assert_eq!(listed["records"][0]["id"], id);
    assert_eq!((&listed["done"], &listed["nextRecordsUrl"]), (&json!(true), &json!(null)));
    assert_eq!(sim.send("DELETE", &format!("{JOBS}/{id}"), "text/plain", b"").await.status, 204);
    assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.status, 404);
}

#[tokio::test]
async fn inserted_rows_are_there_and_refused_ones_say_why() {
    let sim = start().await;
    let csv = "Name,Email,Ext__c\n\"Ann \"\"A\"\"\",ann@x.example,e1\n,none@x.example,e2\nBen,,e3\n";
    let (info, [done, failed, left]) = run(&sim, json!({ "operation": "insert" }), csv).await;
    assert_eq!(info["state"], "JobComplete");
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(3), &json!(1)));
    assert_eq!(done[0], ["sf__Id", "sf__Created", "Name", "Email", "Ext__c"]);
    assert_eq!(done[1][1..], ["true", "Ann \"A\"", "ann@x.example", "e1"]);
    assert_eq!(lead(&sim, &done[1][0]).await["Name"], "Ann \"A\"");
    assert_eq!(lead(&sim, &done[2][0]).await["Email"], json!(null));
    assert_eq!(failed[0], ["sf__Id", "sf__Error", "Name", "Email", "Ext__c"]);
    assert!(failed[1][1].starts_with("REQUIRED_FIELD_MISSING:"), "{failed:?}");
    assert!(failed[1][1].ends_with(":Name --"), "{failed:?}");
    assert_eq!(left, [["Name", "Email", "Ext__c"]]);
}

#[tokio::test]
async fn an_empty_cell_changes_nothing_and_na_empties_the_field() {
    let sim = start().await;
    let csv = "Name,Email,Status\nAnn,ann@x.example,Open\n";
    let (_, [done, ..]) = run(&sim, json!({ "operation": "insert" }), csv).await;
    let id = done[1][0].clone();
    let (info, [updated, ..]) =
        run(&sim, json!({ "operation": "update" }), &format!("Id,Name,Email,Status\n{id},Anna,,#N/A\n"))
            .await;
    assert_eq!(info["numberRecordsFailed"], 0);
    assert_eq!(updated[1][..2], [id.clone(), "false".to_owned()]);
    let after = lead(&sim, &id).await;
    assert_eq!((&after["Name"], &after["Email"]), (&json!("Anna"), &json!("ann@x.example")));
    assert_eq!(after["Status"], json!(null));
}

#[tokio::test]
async fn an_upsert_tells_what_it_made_from_what_it_changed() {
    let sim = start().await;
    let how = json!({ "operation": "upsert", "externalIdFieldName": "Ext__c" });
    run(&sim, how.clone(), "Ext__c,Name\nk1,One\n").await;
    let (_, [done, ..]) = run(&sim, how, "Ext__c,Name\nk1,Uno\nk2,Dos\n").await;
    let created: Vec<&str> = done[1..].iter().map(|row| row[1].as_str()).collect();
    assert_eq!(created, ["false", "true"]);
    assert_eq!(lead(&sim, &done[1][0]).await["Name"], "Uno");
}

#[rstest]
#[case("delete", 1)]
#[case("hardDelete", 0)]
#[tokio::test]
async fn a_deleted_row_is_in_the_bin_unless_deleted_for_good(
    #[case] operation: &str,
    #[case] in_the_bin: u64,
) {
    let sim = start().await;
    let (_, [done, ..]) = run(&sim, json!({ "operation": "insert" }), "Name\nGone soon\n").await;
    let id = &done[1][0];
    let (info, _) = run(&sim, json!({ "operation": operation }), &format!("Id\n{id}\n")).await;
    assert_eq!(info["numberRecordsFailed"], 0);
    let count = async |resource: &str| {
        let url = crate::tests::client::query_url(
            &format!("/services/data/v62.0/{resource}"),
            &format!("SELECT COUNT() FROM Lead WHERE Id = '{id}'"),
        );
        sim.get(&url).await.json()["totalSize"].as_u64().unwrap()
    };
    assert_eq!(count("query").await, 0);
    assert_eq!(count("queryAll").await, in_the_bin);
}

#[tokio::test]
async fn bulk_queries_see_what_was_written() {
    let sim = start().await;
    let seeded = sim.query("SELECT Id FROM Lead LIMIT 1").await.json()["records"][0]["Id"].clone();
    let seeded = seeded.as_str().unwrap();
    run(&sim, json!({ "operation": "update" }), &format!("Id,Name\n{seeded},Renamed\n")).await;
    run(&sim, json!({ "operation": "insert" }), "Name\nBrand new\n").await;
    let body = json!({ "operation": "query", "query": "SELECT Name FROM Lead" });
    let id =
        sim.post("/services/data/v62.0/jobs/query", &body).await.json()["id"].as_str().unwrap().to_owned();
    let page = sim.get(&format!("/services/data/v62.0/jobs/query/{id}/results")).await;
    let page = rows(&text(&page), ',');
    assert_eq!(page.len(), 302);
    assert_eq!((page[1][0].as_str(), page[2][0].as_str()), ("Renamed", "Lead 00001"));
    assert_eq!(page[301][0], "Brand new");
}

#[rstest]
#[case::unknown_field("Name,Foo\nA,B\n", "InvalidBatch : Field name not found : Foo")]
#[case::other_line_endings(
    "Name\r\nA\r\n",
    "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"
)]
#[case::open_quote("Name\n\"A\n", "ClientInputError : A quoted value has no closing quote")]
#[tokio::test]
async fn an_upload_that_cannot_be_read_fails_the_job(#[case] csv: &str, #[case] says: &str) {
    let sim = start().await;
    let id = create(&sim, json!({ "operation": "insert" })).await;
    upload(&sim, &id, csv).await;
    close(&sim, &id).await;
    let info = sim.get(&format!("{JOBS}/{id}")).await.json();
    assert_eq!((&info["state"], &info["errorMessage"]), (&json!("Failed"), &json!(says)));
    assert_eq!(info["numberRecordsProcessed"], 0);
    assert_eq!(sim.query("SELECT COUNT() FROM Lead").await.json()["totalSize"], 300);
}

#[tokio::test]
async fn a_job_that_fails_half_way_leaves_the_rest_unprocessed() {
    let sim = start().await;
    let fault = Fault::JobFails { message: "InternalServerError : sorry".into() };
    sim.server.faults().set(vec![FaultRule::always(fault)]);
    let csv = "Name,Ext__c\nA,1\nB,2\nC,3\nD,4\n";
    let (info, [done, failed, left]) = run(&sim, json!({ "operation": "insert" }), csv).await;
    assert_eq!(
        (&info["state"], &info["errorMessage"]),
        (&json!("Failed"), &json!("InternalServerError : sorry"))
    );
    assert_eq!((done.len(), failed.len(), left.len()), (3, 1, 3), "with their headers");
    assert_eq!(sim.query("SELECT COUNT() FROM Lead").await.json()["totalSize"], 302);
}

#[tokio::test]
async fn an_aborted_job_has_written_nothing() {
    let sim = with(BulkOptions { millis_until_done: 60_000, ..BulkOptions::default() }).await;
    let id = create(&sim, json!({ "operation": "insert" })).await;
    upload(&sim, &id, "Name\nA\nB\n").await;
    close(&sim, &id).await;
    let url = format!("{JOBS}/{id}");
    let aborted = sim.send("PATCH", &url, "application/json", br#"{"state":"Aborted"}"#).await;
    assert_eq!(aborted.json()["state"], "Aborted");
    assert_eq!(rows(&text(&sim.get(&format!("{url}/unprocessedrecords")).await), ',').len(), 3);
    assert_eq!(sim.query("SELECT COUNT() FROM Lead").await.json()["totalSize"], 300);
}

#[tokio::test]
async fn an_upload_has_a_largest_size_and_one_type() {
    let sim = with(BulkOptions { upload_bytes: 20, ..BulkOptions::default() }).await;
    let id = create(&sim, json!({ "operation": "insert" })).await;
    assert_eq!(upload(&sim, &id, "Name\nA lead whose name is long\n").await.status, 400);
    let url = format!("{JOBS}/{id}/batches");
    assert_eq!(sim.send("PUT", &url, "application/json", b"[]").await.status, 415);
    assert_eq!(upload(&sim, &id, "Name\nA\n").await.status, 201);
}

#[rstest]
#[case(json!({ "operation": "insert" }), "INVALIDJOB")]
#[case(json!({ "operation": "insert", "object": "Nothing" }), "INVALIDENTITY")]
#[case(json!({ "operation": "query", "object": "Lead" }), "INVALIDOPERATION")]
#[case(json!({ "operation": "upsert", "object": "Lead" }), "INVALIDJOB")]
#[case(json!({ "operation": "upsert", "object": "Lead", "externalIdFieldName": "Email" }), "INVALIDJOB")]
#[case(json!({ "operation": "insert", "object": "Lead", "contentType": "XML" }), "INVALIDJOB")]
#[tokio::test]
async fn a_job_that_makes_no_sense_is_not_created(#[case] body: Value, #[case] code: &str) {
    let sim = start().await;
    let reply = sim.post(JOBS, &body).await;
    assert_eq!((reply.status, reply.error_code()), (400, code.to_owned()), "{}", text(&reply));
    assert_eq!(sim.get(JOBS).await.json()["records"], json!([]));
}
