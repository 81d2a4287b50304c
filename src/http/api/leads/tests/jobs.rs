//! Jobs, and who may ask for them.

use rstest::rstest;
use serde_json::{Value, json};

use super::client::{BOUNDARY, Form};
use super::fake::{FAILED, GOOD};
use super::{rig, rig_with};
use crate::http::api::lead_service::{LeadService as _, StartLeads, StartSource};
use crate::leads::job::{JobPhase, ReportFormat};
use crate::leads::settings::Money;

#[test]
fn a_job_begins_with_a_list_a_statement_or_a_file() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned()], &[]);
    let options = json!({
        "ask_model": false, "batch_size": 500, "ai_batch_size": 5, "max_cost": 2.5, "reports": ["csv"], "take_up": false,
    });
    let got = rig.post("/v1/leads", json!({ "ids": [GOOD], "options": options }));
    assert_eq!(got.data(202)["url"], "/v1/jobs/leads-1");
    assert_eq!(got.header("location"), Some("/v1/jobs/leads-1"));
    let soql = json!({ "soql": "SELECT Id FROM Lead WHERE IsConverted = false" });
    assert_eq!(rig.post("/v1/leads", soql).data(202)["job"], "leads-2");
    let fields = [("sheet", "Q3"), ("id_column", "Lead ID"), ("max_cost", "1"), ("reports", "xlsx,jsonl")];
    assert_eq!(rig.upload("/v1/leads", &fields, &[], &[GOOD]).data(202)["job"], "leads-3");

    let started = rig.fake.stage.started.lock().unwrap();
    let expected = StartLeads {
        org: None,
        source: StartSource::Ids { ids: vec![GOOD.to_owned()] },
        ask_model: false,
        read_batch: Some(500),
        assess_batch: Some(5),
        max_cost: Some(Money(2_500_000)),
        reports: vec![ReportFormat::Csv],
        take_up: false,
    };
    assert_eq!(started[0], expected);
    assert!(matches!(&started[1].source, StartSource::Query { soql } if soql.contains("LIMIT")));
    let StartSource::Sheet { name, sheet, id_column, is_ours: true, .. } = &started[2].source else {
        panic!("a sheet of ours")
    };
    assert_eq!(
        (name.as_str(), sheet.as_deref(), id_column.as_deref()),
        ("leads.csv", Some("Q3"), Some("Lead ID"))
    );
    assert_eq!(started[2].reports, [ReportFormat::Xlsx, ReportFormat::Jsonl]);
    drop(started);
    assert_eq!(rig.left_over(), 0);
}

#[rstest]
#[case::nothing(json!({}), "either `ids` or `soql`")]
#[case::both(json!({ "ids": [GOOD], "soql": "" }), "either `ids` or `soql`")]
#[case::no_ids(json!({ "ids": [] }), "`ids` is empty")]
#[case::not_texts(json!({ "ids": [1] }), "`ids[0]`")]
#[case::unknown(json!({ "ids": [GOOD], "option": {} }), "no parameter `option`")]
#[case::unknown_option(json!({ "ids": [GOOD], "options": { "batch": 5 } }), "no parameter `batch`; there are `ask_model`")]
#[case::batch(json!({ "ids": [GOOD], "options": { "batch_size": 2_001 } }), "`batch_size` takes a whole number from 1 to 2000")]
#[case::model_batch(json!({ "ids": [GOOD], "options": { "ai_batch_size": 0 } }), "`ai_batch_size`")]
#[case::cost(json!({ "ids": [GOOD], "options": { "max_cost": -1 } }), "`max_cost`")]
#[case::report(json!({ "ids": [GOOD], "options": { "reports": ["pdf"] } }), "`reports`")]
#[case::contact(json!({ "soql": "SELECT Id FROM Contact" }), "`soql`: character")]
#[case::list(json!([GOOD]), "no JSON object")]
fn what_is_no_job_is_refused_by_its_name(#[case] body: Value, #[case] part: &str) {
    let rig = rig();
    let got = rig.post("/v1/leads", body);
    assert_eq!(got.problem(400), "invalid_request");
    assert!(got.text().contains(part), "{}", got.text());
    assert!(rig.fake.stage.started.lock().unwrap().is_empty());
}

#[test]
fn bodies_are_bounded_and_of_one_of_two_types() {
    let rig = rig();
    let json = ["Content-Type: application/json"];
    let large = [b"{\"ids\":[\"".to_vec(), vec![b'x'; 3 << 20], b"\"]}".to_vec()].concat();
    assert_eq!(rig.send("POST /v1/leads", &json, &large).problem(413), "body_too_large");
    assert_eq!(rig.send("POST /v1/leads", &json, b"{\"ids\":").problem(400), "invalid_request");
    assert_eq!(
        rig.send("POST /v1/leads", &["Content-Type: text/csv"], b"x").problem(415),
        "unsupported_media_type"
    );
    let refused = rig.send("POST /v1/leads", &["Content-Type: text/csv"], b"x").text();
    assert!(refused.contains("multipart/form-data") && refused.contains("application/json"), "{refused}");
    let misspelt = Form::new(&[("fiel", "x")]).end();
    let refused = rig.send("POST /v1/leads", &[BOUNDARY], &misspelt).text();
    assert!(refused.contains("no parameter `fiel`; there are `file`, `sheet`"), "{refused}");
    let typo = Form::new(&[("id_colum", "x")]).file("a.csv", b"x\n").end();
    assert!(rig.send("POST /v1/leads", &[BOUNDARY], &typo).text().contains("no parameter `id_colum`"));
    assert_eq!(rig.left_over(), 0);
}

#[test]
fn jobs_are_listed_and_shown() {
    let rig = rig();
    for _ in 0..3 {
        rig.post("/v1/leads", json!({ "ids": [GOOD, FAILED, GOOD, "x"] })).data(202);
    }
    let listed = rig.get("/v1/jobs?limit=2").json();
    assert_eq!((&listed["total"], &listed["jobs"][0]["job"]), (&json!(3), &json!("leads-3")));
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    let job = rig.get("/v1/jobs/leads-1").json();
    assert_eq!(
        (&job["phase"], &job["counts"]["failed"], &job["finished"]),
        (&json!("done"), &json!(1), &json!(2))
    );
    assert_eq!((&job["source"], &job["org"]), (&json!("4 ids"), &json!("demo")));
    assert_eq!(rig.get("/v1/jobs?limit=0").problem(400), "invalid_request");
    for path in [
        "/v1/jobs/leads-9",
        "/v1/jobs/..%2F..%2Fetc",
        "/v1/jobs/leads-9/events",
        "/v1/jobs/leads-9/report.xlsx",
    ] {
        assert_eq!(rig.get(path).problem(404), "not_found", "{path}");
    }
}

#[test]
fn results_come_in_pages_and_invalid_rows_beside_them() {
    let rig = rig();
    rig.post("/v1/leads", json!({ "ids": [GOOD, FAILED, "x"] })).data(202);
    let first = rig.get("/v1/jobs/leads-1/results?limit=1").json();
    assert_eq!((&first["next"], &first["results"][0]["id"]), (&json!(1), &json!(GOOD)));
    assert_eq!(first["results"][0]["values"]["FirstName"], "Ada");
    let rest = rig.get("/v1/jobs/leads-1/results?from=1&limit=5").json();
    assert_eq!(
        (&rest["next"], &rest["results"][0]["status"]),
        (&Value::Null, &json!("AI Assessment Failed"))
    );
    let invalid = rig.get("/v1/jobs/leads-1/invalid").json();
    assert_eq!((&invalid["total"], &invalid["invalid"][0]["written"]), (&json!(1), &json!("x")));
    assert_eq!(rig.get("/v1/jobs/leads-1/results?from=-1").problem(400), "invalid_request");
}

#[test]
fn a_report_is_sent_whole_with_its_name_and_not_twice() {
    let rig = rig();
    rig.post("/v1/leads", json!({ "ids": [GOOD] })).data(202);
    for (form, kind) in [
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("csv", "text/csv; charset=utf-8"),
        ("jsonl", "application/x-ndjson"),
    ] {
        let path = format!("/v1/jobs/leads-1/report.{form}");
        let got = rig.get(&format!("{path}?filename_prefix=Q3%20leads"));
        assert_eq!((got.status, got.body.len(), got.header("content-type")), (200, 200_000, Some(kind)));
        let name = got.header("content-disposition").unwrap();
        let name = name.strip_prefix("attachment; filename=\"Q3_leads_").unwrap();
        let (stamp, extension) = name.split_once('.').unwrap();
        assert!(stamp.len() == 15 && stamp.as_bytes()[8] == b'_', "{stamp}");
        assert_eq!(extension, format!("{form}\""));
        let tag = format!("If-None-Match: \"other\", {}", got.header("etag").unwrap());
        let again = rig.send(&format!("GET {path}"), &[&tag], b"");
        assert_eq!((again.status, again.body.len()), (304, 0));
        let other = rig.send(&format!("GET {path}"), &["If-None-Match: \"other\""], b"");
        assert_eq!(other.status, 200);
    }
    assert_eq!(rig.get("/v1/jobs/leads-1/report.pdf").problem(404), "not_found");
}

#[test]
fn a_report_is_not_there_before_its_job_is_done() {
    let rig = rig_with(|stage| stage.holds = true, &[]);
    rig.post("/v1/leads", json!({ "ids": [GOOD] })).data(202);
    assert_eq!(rig.get("/v1/jobs/leads-1/report.xlsx").problem(409), "not_yet");
    assert_eq!(rig.send("POST /v1/jobs/leads-1/retry", &[], b"").problem(409), "not_yet");
    rig.fake.finish("leads-1", JobPhase::Failed);
    let got = rig.get("/v1/jobs/leads-1/report.xlsx");
    assert_eq!(got.problem(409), "not_yet");
    assert!(got.text().contains("the disk is full"), "{}", got.text());
    assert_eq!(rig.send("POST /v1/jobs/leads-1/retry", &[], b"").data(202)["job"], "leads-1");
    assert_eq!(rig.send("POST /v1/jobs/leads-1/retry?max_cost=-1", &[], b"").problem(400), "invalid_request");
    assert_eq!(rig.send("POST /v1/jobs/leads-1/retry?max_cots=1", &[], b"").problem(400), "invalid_request");
    rig.send("POST /v1/jobs/leads-1/retry?max_cost=2.5", &[], b"").data(202);
    assert_eq!(rig.fake.job("leads-1").unwrap().spec.max_cost, Some(Money(2_500_000)));
}

#[rstest]
#[case::list("GET /v1/jobs")]
#[case::lead("GET /lead/00Q5g00000AbCdE/confidence")]
#[case::form("POST /excel/analyze")]
#[case::socket("GET /v1/jobs/leads-1/ws")]
fn a_foreign_page_and_a_wrong_token_reach_nothing(#[case] first_line: &str) {
    let rig = rig();
    for headers in [
        &["Origin: https://evil.example"][..],
        &["Origin: null"],
        &["Sec-Fetch-Site: cross-site"],
        &["Host: evil.example"],
        &["Authorization: Bearer good", "Origin: https://evil.example"],
    ] {
        assert_eq!(rig.send(first_line, headers, b"").problem(403), "forbidden", "{headers:?}");
    }
    let got = rig.send(first_line, &["Authorization: Bearer old"], b"");
    assert_eq!(got.problem(401), "unauthenticated");
    assert!(got.header("www-authenticate").unwrap().contains("invalid_token"));
    assert!(rig.fake.stage.started.lock().unwrap().is_empty());
}

#[rstest]
#[case::none_needed(&[], "", 200)]
#[case::public(&["public"], "", 200)]
#[case::without_a_token(&["sales"], "", 403)]
#[case::with_the_role(&["ops", "sales"], "Authorization: Bearer good", 200)]
#[case::with_another(&["ops"], "Authorization: Bearer good", 403)]
#[case::any_role(&["*"], "Authorization: Bearer good", 200)]
#[case::any_role_but_none(&["*"], "", 403)]
fn roles_decide_who_may(#[case] roles: &[&str], #[case] token: &str, #[case] status: u16) {
    let rig = rig_with(|_| {}, roles);
    let headers: Vec<&str> = Some(token).filter(|token| !token.is_empty()).into_iter().collect();
    assert_eq!(rig.send("GET /v1/jobs", &headers, b"").status, status);
    assert_eq!(rig.send("GET /health", &[], b"").status, 200);
}

#[test]
fn without_a_database_leads_are_served_and_batches_say_so() {
    let rig = rig();
    let got = rig.post("/batch", json!({}));
    assert_eq!(got.problem(404), "not_found");
    assert!(got.text().contains("no database is configured"));
    assert_eq!(rig.get("/entities").json(), json!({ "databases": [] }));
    let document = rig.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.contains_key("/batch") && paths.contains_key("/excel/analyze"));
    assert_eq!(rig.get("/nowhere").problem(404), "not_found");
}

/// Every `$ref` of the document leads somewhere.
#[test]
fn the_description_hangs_together() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = rig().get("/openapi.json").json();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn the_page_for_people_names_every_endpoint_and_every_refusal() {
    let page = include_str!("../../../../../docs/leads-http.md");
    for operation in super::super::describe::all() {
        let path = operation.path.replace("{format}", "xlsx");
        let (path, method) = (path.trim_end_matches('/'), operation.method.to_uppercase());
        assert!(page.contains(&format!("`{method} {path}")), "{method} {path}");
    }
    for (path, _) in super::super::front::REFUSED {
        assert!(page.contains(&format!("`{path}`")), "{path}");
    }
}
