//! Bulk API 2.0 query.

use crate::{
    BulkOptions, Fault, FaultRule, Options,
    tests::client::{Reply, Sim},
};
use rstest::rstest;
use serde_json::{Value, json};

const JOBS: &str = "/services/data/v62.0/jobs/query";
const DAY_MS: i64 = 86_400_000;

async fn with(bulk: BulkOptions) -> Sim {
    Sim::with(Options { bulk, ..Options::default() }).await
}

async fn create(sim: &Sim, soql: &str) -> String {
    let reply = sim.post(JOBS, &json!({ "operation": "query", "query": soql })).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn advance(sim: &Sim, millis: i64) {
    assert_eq!(sim.post("/__sim/clock", &json!({ "advance_ms": millis })).await.status, 200);
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

/// A reader of its own, so that the writer is not measured by itself.
pub fn rows(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut rows = vec![vec![]];
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        assert_eq!(first, '"', "every value is quoted");
        let mut value = String::new();
        loop {
            match chars.next().expect("a value ends with a quote") {
                '"' if chars.peek() == Some(&'"') => value.push(chars.next().unwrap()),
                '"' => break,
                other => value.push(other),
            }
        }
        rows.last_mut().unwrap().push(value);
        match chars.next().expect("a row ends with a line ending") {
            '\n' => rows.push(vec![]),
            '\r' => {
                assert_eq!(chars.next(), Some('\n'));
                rows.push(vec![]);
            }
            between => assert_eq!(between, delimiter),
        }
    }
    assert_eq!(rows.pop(), Some(vec![]));
    rows
}

/// Every page of a job, header rows checked and dropped.
async fn all_pages(sim: &Sim, id: &str, page_rows: u64) -> (Vec<Vec<String>>, usize) {
    let (mut joined, mut pages, mut locator) = (Vec::new(), 0, String::new());
    loop {
        let reply = sim.get(&format!("{JOBS}/{id}/results?maxRecords={page_rows}{locator}")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("Content-Type"), Some("text/csv"));
        let mut page = rows(&text(&reply), ',');
        let header = page.remove(0);
        assert_eq!(reply.header("Sforce-NumberOfRecords"), Some(page.len().to_string().as_str()));
        if joined.is_empty() {
            joined.push(header);
        } else {
            assert_eq!(joined[0], header, "each page repeats the header row");
        }
        joined.extend(page);
        pages += 1;
        match reply.header("Sforce-Locator").unwrap() {
            "null" => return (joined, pages),
            next => locator = format!("&locator={next}"),
        }
    }
}

/// The same rows by REST, as the texts that Bulk would write.
async fn rest_rows(sim: &Sim, soql: &str, columns: &[String]) -> Vec<Vec<String>> {
    let mut page = sim.query(soql).await.json();
    let mut found = Vec::new();
    loop {
        for record in page["records"].as_array().unwrap() {
            let cell = |name: &String| {
                let value = name.split('.').fold(record, |at, part| &at[part]);
                match value {
                    Value::Null => String::new(),
                    Value::String(text) => {
                        text.strip_suffix("+0000").map_or(text.clone(), |t| format!("{t}Z"))
                    }
                    other => other.to_string(),
                }
            };
            found.push(columns.iter().map(cell).collect());
        }
        let Some(next) = page["nextRecordsUrl"].as_str() else { return found };
        page = sim.get(next).await.json();
    }
}

#[tokio::test]
async fn a_job_is_created_watched_read_and_deleted() {
    let sim = Sim::start().await;
    let body = json!({
        "operation": "queryAll", "query": "SELECT Id, Email FROM Lead", "contentType": "CSV",
        "columnDelimiter": "COMMA", "lineEnding": "LF",
    });
    let created = sim.post(JOBS, &body).await.json();
    let id = created["id"].as_str().unwrap();
    assert!(id.starts_with("750") && id.len() == 18);
    for (name, value) in [
        ("operation", json!("queryAll")),
        ("object", json!("Lead")),
        ("state", json!("UploadComplete")),
        ("apiVersion", json!(62.0)),
        ("concurrencyMode", json!("Parallel")),
    ] {
        assert_eq!(created[name], value, "{name}");
    }
    let info = sim.get(&format!("{JOBS}/{id}/")).await.json();
    assert_eq!(info["state"], "JobComplete");
    assert_eq!(info["jobType"], "V2Query");
    assert_eq!(info["numberRecordsProcessed"], 300);
    assert_eq!(info["isPkChunkingSupported"], true);
    let results = sim.get(&format!("{JOBS}/{id}/results")).await;
    assert!(text(&results).starts_with("\"Id\",\"Email\"\n\"00Q5g0000000000"), "{}", text(&results));
    let deleted = sim.send("DELETE", &format!("{JOBS}/{id}"), "application/json", b"").await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.status, 404);
}

#[rstest]
#[case("SELECT Id, Name, CreatedDate, AnnualRevenue, Industry, Active__c FROM Account", 700, 8)]
#[case(
    "SELECT Owner.Name, Id, OwnerId, Email, Tags__c, ConvertedDate, ConvertedAccount.Owner.Name FROM Lead",
    100,
    3
)]
#[case("SELECT Id FROM Lead WHERE Status = 'Open' AND Email = null", 100_000, 1)]
#[case("SELECT Id, Name, Name FROM Account ORDER BY Name DESC LIMIT 450", 200, 3)]
#[case("SELECT Id FROM Lead WHERE Email = 'nobody'", 10, 1)]
#[tokio::test]
async fn all_pages_joined_are_the_rows_of_rest(
    #[case] soql: &str,
    #[case] page_rows: u64,
    #[case] pages: usize,
) {
    let sim = Sim::start().await;
    let id = create(&sim, soql).await;
    let (mut joined, read) = all_pages(&sim, &id, page_rows).await;
    assert_eq!(read, pages);
    let header = joined.remove(0);
    assert_eq!(joined, rest_rows(&sim, soql, &header).await);
}

#[tokio::test]
async fn a_job_speaks_the_delimiter_and_line_ending_it_was_given() {
    let sim = Sim::start().await;
    let body = json!({ "operation": "query", "query": "SELECT Name, CreatedDate, Email FROM Lead LIMIT 1", "columnDelimiter": "PIPE", "lineEnding": "CRLF" });
    let id = sim.post(JOBS, &body).await.json()["id"].as_str().unwrap().to_owned();
    let results = sim.get(&format!("{JOBS}/{id}/results")).await;
    let expected =
        "\"Name\"|\"CreatedDate\"|\"Email\"\r\n\"Lead 00000\"|\"2026-01-01T00:00:00.000Z\"|\"\"\r\n";
    assert_eq!(text(&results), expected);
}

#[rstest]
#[case::unknown_field("SELECT Id, Foo FROM Lead", "INVALID_FIELD", "No such column 'Foo' on entity 'Lead'")]
#[case::unknown_object("SELECT Id FROM Nothing", "INVALID_TYPE", "sObject type 'Nothing' is not supported.")]
#[case::broken("SELECT FROM", "MALFORMED_QUERY", "")]
#[case::type_of("SELECT TYPEOF Owner WHEN User THEN Name END FROM Lead", "MALFORMED_QUERY", "")]
#[case::subquery(
    "SELECT Id, (SELECT Id FROM Leads) FROM Account",
    "API_ERROR",
    "Aggregate Relationships not supported in Bulk Query"
)]
#[case::count("SELECT COUNT() FROM Lead", "API_ERROR", "Aggregate functions")]
#[case::aggregate("SELECT MAX(CreatedDate) FROM Lead", "API_ERROR", "Aggregate functions")]
#[case::grouped("SELECT Status FROM Lead GROUP BY Status", "API_ERROR", "GROUP BY")]
#[case::offset("SELECT Id FROM Lead LIMIT 5 OFFSET 5", "API_ERROR", "OFFSET")]
#[case::computed(
    "SELECT DurableId FROM entitydefinition",
    "INVALIDENTITY",
    "EntityDefinition is not supported by the Bulk API"
)]
#[tokio::test]
async fn what_bulk_cannot_read_is_refused_when_the_job_is_created(
    #[case] soql: &str,
    #[case] code: &str,
    #[case] says: &str,
) {
    let sim = Sim::start().await;
    let reply = sim.post(JOBS, &json!({ "operation": "query", "query": soql })).await;
    assert_eq!((reply.status, reply.error_code()), (400, code.to_owned()), "{}", text(&reply));
    assert!(reply.json()[0]["message"].as_str().unwrap().contains(says), "{}", text(&reply));
    assert_eq!(sim.get(JOBS).await.json()["records"], json!([]), "a refused job does not exist");
}

#[rstest]
#[case(json!({ "operation": "insert", "query": "SELECT Id FROM Lead" }), "INVALIDOPERATION")]
#[case(json!({ "operation": "query" }), "MALFORMED_QUERY")]
#[case(json!({ "operation": "query", "query": "SELECT Id FROM Lead", "contentType": "JSON" }), "INVALIDJOB")]
#[case(json!({ "operation": "query", "query": "SELECT Id FROM Lead", "columnDelimiter": "," }), "JSON_PARSER_ERROR")]
#[case(json!({ "operation": "query", "query": "SELECT Id FROM Lead", "lineEnding": "CR" }), "JSON_PARSER_ERROR")]
#[case(json!({ "operation": "query", "query": "SELECT Id FROM Lead", "surprise": 1 }), "JSON_PARSER_ERROR")]
#[case(json!([]), "JSON_PARSER_ERROR")]
#[tokio::test]
async fn a_request_that_makes_no_sense_creates_no_job(#[case] body: Value, #[case] code: &str) {
    let reply = Sim::start().await.post(JOBS, &body).await;
    assert_eq!((reply.status, reply.error_code()), (400, code.to_owned()));
}

#[tokio::test]
async fn results_come_when_the_job_is_complete_and_in_its_own_version_only() {
    let sim =
        with(BulkOptions { polls_until_done: 1, millis_until_done: 60_000, ..BulkOptions::default() }).await;
    let id = create(&sim, "SELECT Id FROM Lead").await;
    let early = sim.get(&format!("{JOBS}/{id}/results")).await;
    assert_eq!((early.status, early.error_code()), (400, "INVALIDJOBSTATE".to_owned()));
    assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.json()["state"], "UploadComplete");
    assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.json()["state"], "InProgress");
    advance(&sim, 60_000).await;
    assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.json()["state"], "JobComplete");
    let other = sim.get(&format!("/services/data/v61.0/jobs/query/{id}/results")).await;
    assert_eq!(other.status, 409);
    assert_eq!(sim.get(&format!("{JOBS}/{id}/results")).await.status, 200);
}

#[tokio::test]
async fn a_job_is_aborted_before_it_ends_and_deleted_after() {
    let sim = with(BulkOptions { millis_until_done: 60_000, ..BulkOptions::default() }).await;
    let id = create(&sim, "SELECT Id FROM Lead").await;
    let url = format!("{JOBS}/{id}");
    assert_eq!(sim.send("DELETE", &url, "application/json", b"").await.error_code(), "INVALIDJOBSTATE");
    assert_eq!(sim.send("PATCH", &url, "application/json", br#"{"state":"Done"}"#).await.status, 400);
    let aborted = sim.send("PATCH", &url, "application/json", br#"{"state":"Aborted"}"#).await;
    assert_eq!((aborted.status, aborted.json()["state"].clone()), (200, json!("Aborted")));
    advance(&sim, 60_000).await;
    assert_eq!(sim.get(&url).await.json()["state"], "Aborted");
    assert_eq!(sim.get(&format!("{url}/results")).await.status, 400);
    assert_eq!(sim.send("PATCH", &url, "application/json", br#"{"state":"Aborted"}"#).await.status, 400);
    assert_eq!(sim.send("DELETE", &url, "application/json", b"").await.status, 204);
}

#[tokio::test]
async fn result_pages_come_five_at_a_time_and_cover_every_row_once() {
    let sim = with(BulkOptions { page_rows: 25, ..BulkOptions::default() }).await;
    let id = create(&sim, "SELECT Id FROM Lead").await;
    let (mut url, mut lists, mut ids) = (format!("{JOBS}/{id}/resultPages"), Vec::new(), Vec::new());
    loop {
        let list = sim.get(&url).await.json();
        let pages = list["resultPages"].as_array().unwrap();
        lists.push(pages.len());
        for page in pages {
            let reply = sim.get(page["resultUrl"].as_str().unwrap()).await;
            ids.extend(rows(&text(&reply), ',').into_iter().skip(1).flatten());
        }
        assert_eq!(list["done"], json!(list["nextRecordsUrl"].is_null()));
        let Some(next) = list["nextRecordsUrl"].as_str() else { break };
        url = next.to_owned();
    }
    assert_eq!(lists, [5, 5, 2]);
    let whole = rest_rows(&sim, "SELECT Id FROM Lead", &["Id".to_owned()]).await;
    assert_eq!(ids, whole.into_iter().flatten().collect::<Vec<_>>());
    let old = sim
        .post(
            "/services/data/v57.0/jobs/query",
            &json!({ "operation": "query", "query": "SELECT Id FROM Lead" }),
        )
        .await;
    let old = old.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(sim.get(&format!("/services/data/v57.0/jobs/query/{old}/resultPages")).await.status, 404);
}

#[rstest]
#[case("rubbish")]
#[case("OTk5OTk5")]
#[tokio::test]
async fn a_locator_from_elsewhere_is_refused(#[case] locator: &str) {
    let sim = Sim::start().await;
    let id = create(&sim, "SELECT Id FROM Lead").await;
    let reply = sim.get(&format!("{JOBS}/{id}/results?locator={locator}")).await;
    assert_eq!((reply.status, reply.error_code()), (400, "INVALID_QUERY_LOCATOR".to_owned()));
}

#[tokio::test]
async fn ended_jobs_are_gone_after_seven_days_and_running_ones_stay() {
    let sim = Sim::start().await;
    let ended = create(&sim, "SELECT Id FROM Lead").await;
    sim.server.faults().set(vec![FaultRule::always(Fault::NeverEndingJob)]);
    let running = create(&sim, "SELECT Id FROM Lead").await;
    assert_eq!(sim.get(&format!("{JOBS}/{ended}")).await.json()["state"], "JobComplete");
    advance(&sim, 7 * DAY_MS - 60_000).await;
    assert_eq!(sim.get(JOBS).await.json()["records"].as_array().unwrap().len(), 2);
    advance(&sim, 60_000).await;
    let sim = relogged(sim).await;
    assert_eq!(sim.get(&format!("{JOBS}/{ended}")).await.status, 404);
    assert_eq!(sim.get(&format!("{JOBS}/{running}")).await.status, 200);
}

/// With a token that is valid after the clock was moved.
async fn relogged(mut sim: Sim) -> Sim {
    let form = "grant_type=client_credentials&client_id=orgsim-client&client_secret=orgsim-secret";
    let reply = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
    sim.token = reply.json()["access_token"].as_str().unwrap().to_owned();
    sim
}

#[tokio::test]
async fn the_list_names_jobs_in_order_and_always_has_a_next_url() {
    let sim = Sim::start().await;
    let empty = sim.get(JOBS).await.json();
    assert_eq!(empty, json!({ "done": true, "records": [], "nextRecordsUrl": null }));
    let ids = [create(&sim, "SELECT Id FROM Lead").await, create(&sim, "SELECT Id FROM Account").await];
    let listed = sim.get(&format!("{JOBS}?jobType=V2Query")).await.json();
    let listed: Vec<&str> =
        listed["records"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    assert_eq!(sim.get(&format!("{JOBS}?jobType=V2Ingest")).await.json()["records"], json!([]));
}

#[tokio::test]
async fn jobs_count_against_the_days_allowance_and_requests_against_the_calls() {
    let sim = with(BulkOptions { query_jobs_a_day: 2, ..BulkOptions::default() }).await;
    let left =
        async |sim: &Sim| sim.get("/services/data/v62.0/limits").await.json()["DailyBulkV2QueryJobs"].clone();
    sim.server.reset_journal();
    for _ in 0..2 {
        create(&sim, "SELECT Id FROM Lead").await;
    }
    assert_eq!(left(&sim).await, json!({ "Max": 2, "Remaining": 0 }));
    let body = json!({ "operation": "query", "query": "SELECT Id FROM Lead" });
    let refused = sim.post(JOBS, &body).await;
    assert_eq!((refused.status, refused.error_code()), (400, "LIMIT_EXCEEDED".to_owned()));
    assert!(refused.header("Sforce-Limit-Info").unwrap().starts_with("api-usage="));
    assert_eq!(sim.server.journal().total, 4, "two jobs, the limits and the refusal");
    advance(&sim, DAY_MS).await;
    let sim = relogged(sim).await;
    assert_eq!(left(&sim).await, json!({ "Max": 2, "Remaining": 2 }));
}

#[tokio::test]
async fn results_are_compressed_when_asked() {
    let sim = Sim::start().await;
    let id = create(&sim, "SELECT Id, Name FROM Account").await;
    let plain = sim.get(&format!("{JOBS}/{id}/results")).await;
    let packed = sim.get_with(&format!("{JOBS}/{id}/results"), "Accept-Encoding: gzip\r\n").await;
    assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
    assert_eq!(packed.gunzipped(), plain.body);
}

mod faults {
    use super::*;

    async fn struck(fault: Fault, soql: &str) -> (Sim, String) {
        let sim = Sim::start().await;
        sim.server.faults().set(vec![FaultRule::always(fault)]);
        let id = create(&sim, soql).await;
        (sim, id)
    }

    #[tokio::test]
    async fn a_truncated_page_ends_within_a_value_though_the_transfer_is_whole() {
        let (sim, id) = struck(Fault::TruncatedCsv, "SELECT Id, Name FROM Lead").await;
        let reply = sim.get(&format!("{JOBS}/{id}/results")).await;
        let whole = text(&reply);
        assert_eq!(whole.matches('"').count() % 2, 1, "a value is left open");
        assert!(whole.ends_with("\"Lead 00150"), "{whole}");
        assert_eq!(reply.header("Sforce-NumberOfRecords"), Some("300"));
    }

    #[tokio::test]
    async fn a_short_row_lacks_one_value() {
        let (sim, id) = struck(Fault::ShortRow, "SELECT Id, Name, Email FROM Lead").await;
        let page = rows(&text(&sim.get(&format!("{JOBS}/{id}/results")).await), ',');
        let short: Vec<usize> = (0..page.len()).filter(|at| page[*at].len() == 2).collect();
        assert_eq!((page.len(), short), (301, vec![151]));
    }

    #[tokio::test]
    async fn a_repeated_locator_leads_to_the_same_page() {
        let sim = Sim::start().await;
        let id = create(&sim, "SELECT Id FROM Lead").await;
        sim.server
            .faults()
            .set(vec![FaultRule::always(Fault::LocatorRepeated).of_kind("bulk_results").nth(2)]);
        let page = async |locator: &str| {
            let reply = sim.get(&format!("{JOBS}/{id}/results?maxRecords=100{locator}")).await;
            reply.header("Sforce-Locator").unwrap().to_owned()
        };
        let first = page("").await;
        let second = page(&format!("&locator={first}")).await;
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn values_have_nul_bytes_around_them() {
        let (sim, id) = struck(Fault::NulBytes, "SELECT Id, Name FROM Lead").await;
        let page = text(&sim.get(&format!("{JOBS}/{id}/results")).await);
        assert!(page.contains("\"\0Lead 00007\0\"\n"));
        assert!(page.starts_with("\"Id\",\"Name\"\n"));
    }

    #[tokio::test]
    async fn texts_go_on_in_a_second_line() {
        let (sim, id) = struck(Fault::EmbeddedNewlines, "SELECT Name, Email, CreatedDate FROM Lead").await;
        let page = rows(&text(&sim.get(&format!("{JOBS}/{id}/results")).await), ',');
        assert_eq!(page[1], ["Lead 00000\nand \"more\"", "", "2026-01-01T00:00:00.000Z"]);
    }

    #[tokio::test]
    async fn the_record_count_of_a_page_is_wrong() {
        let (sim, id) = struck(Fault::WrongRecordCount, "SELECT Id FROM Lead").await;
        let reply = sim.get(&format!("{JOBS}/{id}/results")).await;
        assert_eq!(reply.header("Sforce-NumberOfRecords"), Some("301"));
        assert_eq!(rows(&text(&reply), ',').len(), 301);
    }

    #[rstest]
    #[case::without_a_message(Fault::FailedWithoutMessage, json!(null))]
    #[case::with_one(Fault::JobFails { message: "QUERY_TIMEOUT".into() }, json!("QUERY_TIMEOUT"))]
    #[tokio::test]
    async fn a_job_fails(#[case] fault: Fault, #[case] message: Value) {
        let (sim, id) = struck(fault, "SELECT Id FROM Lead").await;
        let info = sim.get(&format!("{JOBS}/{id}")).await.json();
        assert_eq!((&info["state"], &info["errorMessage"]), (&json!("Failed"), &message));
        assert_eq!(sim.get(&format!("{JOBS}/{id}/results")).await.status, 400);
        assert_eq!(sim.send("DELETE", &format!("{JOBS}/{id}"), "text/plain", b"").await.status, 204);
    }

    #[tokio::test]
    async fn a_job_never_ends_until_it_is_aborted() {
        let (sim, id) = struck(Fault::NeverEndingJob, "SELECT Id FROM Lead").await;
        for expected in ["UploadComplete", "InProgress", "InProgress", "InProgress"] {
            assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.json()["state"], expected);
            advance(&sim, DAY_MS / 100).await;
        }
        let aborted =
            sim.send("PATCH", &format!("{JOBS}/{id}"), "application/json", br#"{"state":"Aborted"}"#).await;
        assert_eq!(aborted.json()["state"], "Aborted");
    }

    #[tokio::test]
    async fn a_job_vanishes_between_two_requests() {
        let sim = Sim::start().await;
        let id = create(&sim, "SELECT Id FROM Lead").await;
        sim.server.faults().set(vec![FaultRule::always(Fault::JobVanishes).of_kind("bulk_results").nth(2)]);
        let url = format!("{JOBS}/{id}/results?maxRecords=100");
        assert_eq!(sim.get(&url).await.status, 200);
        assert_eq!(sim.get(&url).await.status, 404);
        assert_eq!(sim.get(&format!("{JOBS}/{id}")).await.status, 404);
    }
}
