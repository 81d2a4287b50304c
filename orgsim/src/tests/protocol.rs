use super::client::{Sim, query_url};
use crate::Options;
use rstest::rstest;
use serde_json::{Value, json};
use std::time::Duration;

fn described(names: &[&str]) -> Value {
    let one = |name: &&str| json!({ "method": "GET", "url": format!("/services/data/v62.0/sobjects/{name}/describe"), "referenceId": name });
    json!({ "allOrNone": false, "compositeRequest": names.iter().map(one).collect::<Vec<_>>() })
}

#[tokio::test]
async fn header_names_are_in_title_case_and_every_rest_answer_tells_the_usage() {
    let sim = Sim::start().await;
    let reply = sim.get("/services/data/v62.0/limits").await;
    assert_eq!(reply.header("Sforce-Limit-Info"), Some("api-usage=1/15000"));
    assert_eq!(reply.header("Content-Type"), Some("application/json;charset=UTF-8"));
    assert_eq!(reply.json()["DailyApiRequests"], json!({ "Max": 15_000, "Remaining": 15_000 }));
    let refused = sim.query("SELECT x FROM y").await;
    assert_eq!(refused.header("Sforce-Limit-Info"), Some("api-usage=2/15000"));
}

#[rstest]
#[case("/services/data/")]
#[case("/services/data/v62.0/")]
#[case("/services/data/v50.0/sobjects/")]
#[case("/services/data/v68.0/sobjects/account/describe/")]
#[case("/services/data/v62.0/query/?q=SELECT+Id+FROM+Lead")]
#[case("/services/data/v62.0/tooling/sobjects/")]
#[case("/services/data/v62.0/tooling/sobjects/ValidationRule/describe")]
#[case("/services/data/v62.0/limits/recordCount/")]
#[case("/services/oauth2/userinfo")]
#[tokio::test]
async fn a_path_works_with_and_without_its_last_slash(#[case] path: &str) {
    let sim = Sim::start().await;
    for path in [path.to_owned(), path.replace("/?", "?"), path.trim_end_matches('/').to_owned()] {
        let reply = sim.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        reply.json();
    }
}

#[rstest]
#[case("PUT", "/services/oauth2/userinfo")]
#[case("DELETE", "/id/00D5g0000001234EAA/0055g00000AbCdEAAV")]
#[case("POST", "/services/data")]
#[case("DELETE", "/services/data/v62.0/sobjects/Lead/describe")]
#[case("PATCH", "/services/data/v62.0/sobjects/Lead/updated/")]
#[case("DELETE", "/services/data/v62.0/query?q=SELECT+Id+FROM+Lead")]
#[case("GET", "/services/data/v62.0/composite")]
#[case("PUT", "/services/data/v62.0/jobs/query")]
#[case("POST", "/services/data/v62.0/jobs/query/7505g0000000001AAA/resultPages")]
#[case("DELETE", "/services/data/v62.0/jobs/query/7505g0000000001AAA/results")]
#[case("PUT", "/services/data/v62.0/jobs/ingest/7505g0000000001AAA/failedResults/")]
#[case("POST", "/services/data/v62.0/jobs/ingest/7505g0000000001AAA/unprocessedRecords")]
#[case("GET", "/services/data/v62.0/jobs/ingest/7505g0000000001AAA/batches")]
#[tokio::test]
async fn a_method_a_resource_does_not_know_is_a_405(#[case] method: &str, #[case] path: &str) {
    let sim = Sim::start().await;
    let headers = format!("Authorization: Bearer {}\r\n", sim.token);
    let reply = sim.raw(method, path, &headers, b"").await.unwrap();
    assert_eq!((reply.status, reply.error_code()), (405, "METHOD_NOT_ALLOWED".to_owned()));
}

#[tokio::test]
async fn versions_are_listed_retired_or_unknown() {
    let sim = Sim::start().await;
    let versions = sim.raw("GET", "/services/data", "", b"").await.unwrap().json();
    let last = versions.as_array().unwrap().last().unwrap().clone();
    assert_eq!(last, json!({ "label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0" }));
    assert_eq!(sim.get("/services/data/v30.0/sobjects").await.status, 410);
    let resources = sim.get("/services/data/v62.0").await.json();
    assert_eq!(resources["jobs"], "/services/data/v62.0/jobs");
    for unknown in ["v99.0", "v62", "v62.5", "v062.0", "v+62.0", "62.0"] {
        assert_eq!(sim.get(&format!("/services/data/{unknown}/sobjects")).await.status, 404, "{unknown}");
    }
    assert_eq!(sim.get("/services/data/v62.0/sobjects/Nope/describe").await.error_code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_gzip_composite_of_describes_is_the_plain_one() {
    let sim = Sim::start().await;
    let body = described(&["Account", "Lead", "Nope", "User"]);
    let plain = sim.post("/services/data/v62.0/composite", &body).await;
    let headers = format!("Authorization: Bearer {}\r\nAccept-Encoding: deflate, gzip\r\n", sim.token);
    let zipped = sim
        .raw("POST", "/services/data/v62.0/composite", &headers, body.to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(zipped.header("Content-Encoding"), Some("gzip"));
    assert_eq!(zipped.gunzipped(), plain.body);
    let parts = plain.json()["compositeResponse"].clone();
    assert_eq!(parts[1]["body"]["name"], "Lead");
    assert_eq!(parts[1]["body"]["fields"][7]["referenceTo"], json!(["User"]));
    assert_eq!(
        (&parts[2]["httpStatusCode"], &parts[2]["body"][0]["errorCode"]),
        (&json!(404), &json!("NOT_FOUND"))
    );
    assert_eq!(parts[3]["referenceId"], "User");
}

#[tokio::test]
async fn calls_are_counted_the_way_salesforce_counts_them() {
    let sim = Sim::start().await;
    sim.post("/services/data/v62.0/composite", &described(&["Account", "Lead"])).await;
    let batch = json!({ "batchRequests": (0..3).map(|_| json!({ "method": "GET", "url": "v62.0/sobjects/User/describe" })).collect::<Vec<_>>() });
    let reply = sim.post("/services/data/v62.0/composite/batch", &batch).await.json();
    assert_eq!((&reply["hasErrors"], &reply["results"][2]["statusCode"]), (&json!(false), &json!(200)));
    sim.query("SELECT Id FROM Lead").await;
    sim.query("SELECT nonsense").await;
    sim.get("/__sim/journal").await;
    sim.raw("GET", "/services/data/v62.0/sobjects", "Authorization: Bearer wrong\r\n", b"").await.unwrap();
    let journal = sim.server.journal();
    let by: Vec<_> = journal.by_resource.iter().map(|(kind, calls)| (kind.as_str(), *calls)).collect();
    assert_eq!(by, [("composite", 1), ("composite_batch", 3), ("query", 2)]);
    assert_eq!(journal.total, 6);
    assert_eq!(journal.token_calls.len(), 1);
    assert_eq!(journal.calls[0].described, ["Account", "Lead"]);
    assert_eq!(journal.calls[0].subrequests, 2);
    assert_eq!(journal.calls.last().unwrap().status, 401);
    let over_http = sim.get("/__sim/journal").await.json();
    assert_eq!(over_http["total"], 6);
    sim.post("/__sim/reset", &json!({})).await;
    assert_eq!(sim.server.journal().total, 0);
}

#[tokio::test]
async fn a_composite_has_its_limits_and_its_references() {
    let sim = Sim::start().await;
    let url = "/services/data/v62.0/composite";
    let too_many = described(&["Lead"; 26]);
    assert_eq!(sim.post(url, &too_many).await.status, 400);
    let query = |n: usize| json!({ "method": "GET", "url": query_url("/services/data/v62.0/query", "SELECT Id FROM Lead LIMIT 1"), "referenceId": format!("q{n}") });
    assert_eq!(
        sim.post(url, &json!({ "compositeRequest": (0..6).map(query).collect::<Vec<_>>() })).await.status,
        400
    );
    let chained = json!({ "compositeRequest": [
        query(0),
        { "method": "GET", "url": "/services/data/v62.0/sobjects/Lead/@{q0.records[0].Id}?fields=Name", "referenceId": "lead" },
        { "method": "GET", "url": "/services/data/v62.0/sobjects/Lead/@{nobody.Id}", "referenceId": "none" },
    ]});
    let parts = sim.post(url, &chained).await.json()["compositeResponse"].clone();
    assert_eq!(parts[1]["body"]["Name"], "Lead 00000");
    assert_eq!(parts[2]["httpStatusCode"], 400);
    let halted = json!({ "haltOnError": true, "batchRequests": [{ "method": "GET", "url": "v62.0/sobjects/No/describe" }, { "method": "GET", "url": "v62.0/limits" }] });
    let reply = sim.post("/services/data/v62.0/composite/batch", &halted).await.json();
    assert_eq!(reply["results"][1]["statusCode"], 412);
    assert_eq!(reply["results"][1]["result"][0]["errorCode"], "BATCH_PROCESSING_HALTED");
}

#[tokio::test]
async fn a_collection_keeps_order_and_marks_what_is_missing() {
    let sim = Sim::start().await;
    let ids: Vec<Value> = sim.query("SELECT Id FROM Lead LIMIT 2").await.json()["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["Id"].clone())
        .collect();
    let body = json!({ "ids": [ids[1], "00Q5g00000NOPE0", ids[0]], "fields": ["Name"] });
    let reply = sim.post("/services/data/v62.0/composite/sobjects/Lead", &body).await.json();
    assert_eq!(reply[0]["Name"], "Lead 00001");
    assert_eq!(reply[1], Value::Null);
    assert_eq!(reply[2]["Name"], "Lead 00000");
    let bad = sim
        .post("/services/data/v62.0/composite/sobjects/Lead", &json!({ "ids": [], "fields": ["Nope"] }))
        .await;
    assert_eq!((bad.status, bad.error_code()), (400, "INVALID_FIELD".to_owned()));
}

#[tokio::test]
async fn record_counts_leave_unknown_names_out() {
    let reply = Sim::start()
        .await
        .get("/services/data/v62.0/limits/recordCount?sObjects=Lead,Nope,FieldPermissions")
        .await;
    assert_eq!(reply.json(), json!({ "sObjects": [{ "count": 300, "name": "Lead" }] }));
}

#[tokio::test]
async fn an_unchanged_describe_is_a_304_without_a_body() {
    let sim = Sim::start().await;
    let url = "/services/data/v62.0/sobjects/Lead/describe";
    let changed = sim.get(url).await.header("Last-Modified").unwrap().to_owned();
    let again = sim.get_with(url, &format!("If-Modified-Since: {changed}\r\n")).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let older = sim.get_with(url, "If-Modified-Since: Wed, 31 Dec 2025 23:59:59 GMT\r\n").await;
    assert_eq!(older.status, 200);
}

#[rstest]
#[case(16_384, 0, 431)]
#[case(16_385, 0, 414)]
#[case(8_000, 8_500, 431)]
#[case(8_000, 7_000, 400)]
#[tokio::test]
async fn a_head_of_more_than_16384_bytes_is_refused(
    #[case] uri: usize,
    #[case] header: usize,
    #[case] status: u16,
) {
    let sim = Sim::start().await;
    let start = "/services/data/v62.0/query?q=";
    let url = format!("{start}{}", "x".repeat(uri - start.len()));
    let reply = sim.get_with(&url, &format!("X-Pad: {}\r\n", "y".repeat(header))).await;
    assert_eq!(reply.status, status);
}

#[tokio::test]
async fn a_chunked_token_request_is_read() {
    let sim = Sim::start().await;
    let form = "grant_type=client_credentials";
    let body = format!("{:x}\r\n{form}\r\n0\r\n\r\n", form.len());
    let headers =
        "Authorization: Basic b3Jnc2ltLWNsaWVudDpvcmdzaW0tc2VjcmV0\r\nTransfer-Encoding: chunked\r\n";
    // The helper adds a length for a body, so the body rides in the header text.
    let reply =
        sim.raw("POST", "/services/oauth2/token", &format!("{headers}\r\n{body}"), b"").await.unwrap();
    let token = reply.json();
    assert_eq!(token["instance_url"], sim.server.url());
    assert!(token["access_token"].as_str().unwrap().starts_with("00D5g0000001234!"));
    assert!(token["issued_at"].is_string());
}

#[rstest]
#[case("grant_type=client_credentials&client_id=orgsim-client&client_secret=bad", "invalid_client")]
#[case("grant_type=refresh_token&client_id=orgsim-client&refresh_token=bad", "invalid_grant")]
#[case("grant_type=magic", "unsupported_grant_type")]
#[case("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c", "invalid_grant")]
#[tokio::test]
async fn a_refused_login_is_a_400_with_an_object(#[case] form: &str, #[case] error: &str) {
    let sim = Sim::start().await;
    let reply = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!(error)));
}

#[tokio::test]
async fn a_token_dies_at_the_end_of_its_life() {
    let sim =
        Sim::with(Options { token_lifetime: Some(Duration::from_secs(60)), ..Options::default() }).await;
    assert_eq!(sim.get("/services/data/v62.0").await.status, 200);
    sim.post("/__sim/clock", &json!({ "advance_ms": 60_000 })).await;
    let reply = sim.get("/services/data/v62.0").await;
    assert_eq!(
        reply.json(),
        json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }])
    );
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

#[rstest]
#[case::lht(json!(4_000_000_000_i64), "orgsim-client", 200)]
#[case::simple_salesforce(json!("4000000000"), "orgsim-client", 200)]
#[case::sf_cli(json!(4_000_000_000_000_i64), "orgsim-client", 200)]
#[case::expired(json!(1_500_000_000), "orgsim-client", 400)]
#[case::no_expiry(json!(null), "orgsim-client", 400)]
#[case::another_app(json!(4_000_000_000_i64), "somebody", 400)]
#[tokio::test]
async fn an_assertion_is_taken_with_every_expiry_real_clients_send(
    #[case] exp: Value,
    #[case] issuer: &str,
    #[case] status: u16,
) {
    let sim = Sim::start().await;
    let claims = json!({ "iss": issuer, "sub": "ops@acme.example", "aud": "https://login.salesforce.com", "exp": exp });
    let assertion =
        format!("{}.{}.c2ln", base64url(b"{\"alg\":\"RS256\"}"), base64url(claims.to_string().as_bytes()));
    let form =
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let reply = sim.raw("POST", "/services/oauth2/token", "", form.as_bytes()).await.unwrap();
    assert_eq!(reply.status, status, "{}", reply.json());
    assert_eq!(reply.json()["id"].is_string(), status == 200);
}
