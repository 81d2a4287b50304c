//! The endpoints that were there before penstock.

use rstest::rstest;
use serde_json::{Value, json};

use super::client::{BOUNDARY, Form};
use super::fake::{FAILED, GOOD, MISSING, UNREAD};
use super::{UPLOAD_MAX, rig, rig_with};
use crate::http::api::lead_service::{LeadProblem, StartSource};
use crate::leads::job::JobPhase;

const OTHER: &str = "00Q5g00000AbCdI";

#[test]
fn the_listing_names_every_endpoint_and_each_is_there() {
    let rig = rig();
    let listing = rig.get("/").json();
    assert_eq!(listing["name"], "penstock");
    let endpoints = listing["endpoints"].as_object().unwrap();
    assert_eq!(endpoints.len(), 25);
    for endpoint in endpoints.keys() {
        let (_, path) = endpoint.split_once(' ').unwrap();
        let wrong = rig.send(&format!("DELETE {}", path.replace(['{', '}'], "")), &[], b"");
        assert_eq!(wrong.problem(405), "method_not_allowed", "{endpoint}");
    }
    assert_eq!(rig.get("/health").json()["status"], "healthy");
}

#[rstest]
#[case("GET /debug-config", "config dump")]
#[case("GET /test-openai-completion?prompt=x", "cost")]
#[case("GET /test-salesforce-connection", "readyz")]
#[case("GET /test-openai-connection", "status")]
#[case("GET /lead/00Q5g00000AbCdE/confidence/export", "export-single-lead-data")]
#[case("POST /leads/analyze-query/export", "report.xlsx")]
#[case("GET /ui", "penstock leads")]
fn what_is_not_served_any_more_says_why_and_what_to_do(#[case] first_line: &str, #[case] remedy: &str) {
    let message = rig().send(first_line, &[], b"").refused(410);
    assert!(message.contains(remedy), "{message}");
}

#[test]
fn a_small_list_is_answered_with_its_leads() {
    let rig = rig();
    let ids = [GOOD, FAILED, MISSING, GOOD, "", "oops"];
    let got =
        rig.upload("/excel/analyze", &[("sheet_name", "Sheet1"), ("lead_id_column", "Lead ID")], &[], &ids);
    let data = got.data(200);
    assert_eq!(data["job"], "leads-1");
    let summary = &data["summary"];
    for (name, expected) in [
        ("leads_analyzed", json!(2)),
        ("leads_with_issues", json!(2)),
        ("not_in_tam_count", json!(2)),
        ("suspicious_enrichment_count", json!(0)),
        ("issue_percentage", json!(100.0)),
        ("avg_confidence_score", json!(40.0)),
        ("ai_assessments_successful", json!(1)),
        ("ai_assessments_failed", json!(1)),
    ] {
        assert_eq!(summary[name], expected, "{name}");
    }
    let stats = json!({
        "total_batches": 1, "successful_batches": 1, "failed_batches": 0, "batch_size": 2_000, "ai_batch_size": 50,
        "total_processing_time": 2.0, "avg_batch_time": 2.0, "leads_per_second": 1.5,
    });
    assert_eq!(summary["processing_stats"], stats);
    assert_eq!(data["validation_summary"]["invalid_count"], 2);
    assert_eq!(data["validation_summary"]["duplicate_count"], 1);
    assert_eq!(data["validation_summary"]["partial_validation"], true);
    assert_eq!(data["invalid_lead_ids"], json!(["oops"]));
    assert_eq!(data["leads"].as_array().unwrap().len(), 2);
    let lead = &data["leads"][0];
    assert_eq!((&lead["Id"], &lead["SegmentName"]), (&json!(GOOD), &json!("Majors")));
    assert_eq!((&lead["ZI_Employees__c"], &lead["Website"]), (&json!(250), &Value::Null));
    assert_eq!((&lead["not_in_TAM"], &lead["email_domain"]), (&json!(true), &json!("example.org")));
    assert_eq!(
        (&lead["ai_assessment_status"], &lead["confidence_assessment"]["confidence_score"]),
        (&json!("success"), &json!(40))
    );
    let failed = &data["leads"][1];
    assert_eq!(
        (&failed["ai_assessment_status"], &failed["confidence_assessment"]),
        (&json!("failed: prose"), &Value::Null)
    );
    assert_eq!(data["not_analyzed"][0]["status"], "Lead Not Visible");
    assert!(data.get("performance_metrics").is_none());
    assert_eq!(rig.left_over(), 0, "the job has taken the file");
}

#[test]
fn the_batched_endpoint_takes_sizes_and_tells_four_metrics() {
    let rig = rig();
    let sizes = [("batch_size", "50"), ("ai_batch_size", "10"), ("max_analyze", "10000")];
    let data = rig.upload("/excel/analyze-batch-optimized", &sizes, &[], &[GOOD, UNREAD]).data(200);
    let metrics = json!({
        "total_processing_time": 2.0, "leads_per_second": 1.0, "avg_batch_time": 2.0, "batch_success_rate": 0.0,
    });
    assert_eq!(data["performance_metrics"], metrics);
    assert_eq!(data["summary"]["processing_stats"]["failed_batches"], 1);
    assert_eq!(data["not_analyzed"][0]["reason"], "the org did not answer");
    let started = rig.fake.stage.started.lock().unwrap();
    assert_eq!((started[0].read_batch, started[0].assess_batch), (Some(50), Some(10)));
    assert!(started[0].ask_model && started[0].take_up);
}

#[test]
fn a_list_over_the_threshold_is_a_job_unless_its_client_waits() {
    let rig = rig();
    let ids = [GOOD, FAILED, MISSING, UNREAD];
    let got = rig.upload("/excel/analyze", &[], &[], &ids);
    let data = got.data(202);
    assert_eq!(got.header("location"), Some("/v1/jobs/leads-1"));
    assert_eq!(data["report"], "/v1/jobs/leads-1/report.xlsx");
    let got = rig.upload("/excel/analyze", &[], &["Prefer: wait"], &ids);
    assert_eq!(got.data(200)["summary"]["leads_unread"], 1);
    assert_eq!(got.header("preference-applied"), Some("wait"));
    let got = rig.upload("/excel/analyze", &[], &["Prefer: respond-async"], &[GOOD]);
    assert_eq!(
        (got.data(202)["job"].as_str(), got.header("preference-applied")),
        (Some("leads-3"), Some("respond-async"))
    );
}

#[test]
fn whoever_waits_too_long_gets_the_jobs_address() {
    let rig = rig_with(|stage| stage.holds = true, &[]);
    let got = rig.upload("/excel/analyze", &[], &["Prefer: wait=1"], &[GOOD]);
    assert_eq!(
        (got.data(202)["job"].as_str(), got.header("preference-applied")),
        (Some("leads-1"), Some("wait"))
    );
}

#[test]
fn a_job_that_has_only_just_begun_is_waited_for() {
    let rig = rig_with(|stage| stage.holds = true, &[]);
    let mut line = rig.connect();
    let form = Form::new(&[]).file("a.csv", format!("Lead ID\n{GOOD}\n").as_bytes()).end();
    line.send("POST /excel/analyze", &[BOUNDARY], &form);
    assert!(super::following::eventually(|| rig.fake.has("leads-1")));
    rig.fake.leave("leads-1");
    rig.fake.take_up("leads-1");
    rig.fake.finish("leads-1", JobPhase::Done);
    assert_eq!(line.answer().data(200)["leads"][0]["Id"], GOOD);
}

#[test]
fn a_job_that_fails_is_told_with_its_address() {
    let rig = rig_with(|stage| stage.holds = true, &[]);
    let mut line = rig.connect();
    let form = Form::new(&[]).file("a.csv", format!("Lead ID\n{GOOD}\n").as_bytes()).end();
    line.send("POST /excel/analyze", &[BOUNDARY], &form);
    assert!(super::following::eventually(|| rig.fake.has("leads-1")));
    rig.fake.finish("leads-1", JobPhase::Failed);
    let got = line.answer();
    let message = got.refused(500);
    assert!(message.contains("the disk is full") && message.contains("/v1/jobs/leads-1/retry"), "{message}");
    assert_eq!(got.json()["data"]["job"], "leads-1");
}

#[test]
fn pages_of_a_long_answer_make_one_document() {
    let rig = rig();
    let ids: Vec<String> = (0..1_201).map(|number| format!("00Q5g0000{number:06}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).chain([MISSING]).collect();
    let data = rig.upload("/excel/analyze", &[], &["Prefer: wait"], &ids).data(200);
    let leads = data["leads"].as_array().unwrap();
    assert_eq!((leads.len(), data["not_analyzed"].as_array().unwrap().len()), (1_201, 1));
    assert!(
        leads.iter().zip(&ids).all(|(lead, id)| lead["Id"].as_str().unwrap().starts_with(id)),
        "in their order"
    );
}

#[test]
fn a_list_without_one_good_id_is_refused_with_each_reason() {
    let rig = rig();
    let got = rig.upload("/excel/analyze", &[("lead_id_column", "Lead ID")], &[], &["001M000000qfPyS", "x"]);
    assert!(got.refused(400).contains("all 2 ids are invalid"));
    let data = &got.json()["data"];
    assert_eq!(data["invalid_lead_ids"], json!(["001M000000qfPyS", "x"]));
    assert_eq!(data["invalid_rows"][0]["row"], 2);
    assert!(data["invalid_rows"][0]["reason"].as_str().unwrap().contains("another object"));
    assert!(rig.fake.stage.started.lock().unwrap().is_empty());
    assert_eq!(rig.left_over(), 0);
}

#[rstest]
#[case::low("batch_size", "49", "50 to 200")]
#[case::high("batch_size", "201", "50 to 200")]
#[case::model_low("ai_batch_size", "9", "10 to 100")]
#[case::model_word("ai_batch_size", "ten", "10 to 100")]
#[case::most("max_analyze", "0", "1 to 1048576")]
fn a_size_out_of_range_is_refused_by_its_name(#[case] name: &str, #[case] value: &str, #[case] range: &str) {
    let rig = rig();
    let message = rig.upload("/excel/analyze-batch-optimized", &[(name, value)], &[], &[GOOD]).refused(400);
    assert!(message.contains(&format!("`{name}`")) && message.contains(range), "{message}");
    assert_eq!(rig.left_over(), 0);
}

#[test]
fn a_form_without_a_file_or_with_too_much_of_one_is_refused_and_leaves_nothing() {
    let rig = rig();
    let post = |form: Vec<u8>, headers: &[&str]| rig.send("POST /excel/analyze", headers, &form);
    assert!(
        post(Form::new(&[("sheet_name", "x")]).end(), &[BOUNDARY]).refused(400).contains("`file` is missing")
    );
    let twice = Form::new(&[]).file("a.csv", b"x").file("b.csv", b"y").end();
    assert!(post(twice, &[BOUNDARY]).refused(400).contains("twice"));
    let large = Form::new(&[]).file("a.csv", &vec![b'x'; UPLOAD_MAX as usize + 1]).end();
    assert!(post(large, &[BOUNDARY]).refused(413).contains("`leads.max_upload`"));
    let announced = ["Content-Length: 99999999", BOUNDARY];
    assert!(post(Vec::new(), &announced).refused(413).contains("100000 bytes"));
    assert!(
        post(b"{}".to_vec(), &["Content-Type: application/json"])
            .refused(415)
            .contains("multipart/form-data")
    );
    assert!(post(b"--x--x\r\n\r\n".to_vec(), &[BOUNDARY]).refused(400).starts_with("the form "));
    let many: Vec<(String, &str)> = (0..40).map(|number| (format!("f{number}"), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert!(post(Form::new(&many).end(), &[BOUNDARY]).refused(400).contains("more than 32 fields"));
    let wide = "x".repeat(70_000);
    assert!(
        post(Form::new(&[("sheet_name", &wide)]).end(), &[BOUNDARY]).refused(413).contains("`sheet_name`")
    );
    assert!(super::following::eventually(|| rig.left_over() == 0), "nothing is left");
}

#[test]
fn a_client_that_breaks_off_leaves_no_file() {
    let rig = rig();
    let mut line = rig.connect();
    let mut form = Form::new(&[]).file("a.csv", &[b'x'; 5_000]).end();
    form.truncate(3_000);
    line.send("POST /excel/analyze", &[BOUNDARY, "Content-Length: 6000"], &form);
    assert!(super::following::eventually(|| rig.left_over() == 1), "it comes in");
    drop(line);
    assert!(super::following::eventually(|| rig.left_over() == 0), "it goes");
}

#[test]
fn a_sheet_is_parsed_with_its_columns_and_first_rows() {
    let rig = rig();
    let mut list = String::from("Name,Lead ID\n");
    for number in 0..25 {
        list.push_str(&format!("N{number},00Q5g00000Ab{number:03}\n"));
    }
    let form = Form::new(&[]).file("leads.csv", list.as_bytes()).end();
    let data = rig.send("POST /excel/parse", &[BOUNDARY], &form).data(200);
    assert_eq!((&data["total_rows"], &data["format"]), (&json!(25), &json!("csv")));
    assert_eq!(data["headers"], json!(["Name", "Lead ID"]));
    assert_eq!(data["lead_id_column"]["header"], "Lead ID");
    assert_eq!(data["preview_data"].as_array().unwrap().len(), 10);
    assert_eq!(data["preview_data"][1], json!({ "Name": "N1", "Lead ID": "00Q5g00000Ab001" }));
    let zip = Form::new(&[]).file("leads.xlsx", b"PK\x03\x04cut").end();
    assert!(!rig.send("POST /excel/parse", &[BOUNDARY], &zip).refused(400).is_empty());
    assert_eq!(rig.left_over(), 0);
}

#[test]
fn ids_are_validated_by_form_and_by_whether_the_org_has_them() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned()], &[]);
    let data = rig.upload("/excel/validate-lead-ids", &[], &[], &[GOOD, MISSING, GOOD, "x"]).data(200);
    for (name, expected) in [
        ("total_lead_ids", json!(4)),
        ("valid_count", json!(1)),
        ("invalid_count", json!(2)),
        ("format_invalid_count", json!(1)),
        ("sf_invalid_count", json!(1)),
        ("duplicate_count", json!(1)),
        ("existence", json!({ "checked": true })),
        (
            "validation_summary",
            json!({ "can_proceed": true, "all_valid": false, "partial_validation": true }),
        ),
    ] {
        assert_eq!(data[name], expected, "{name}");
    }
    let invalid = data["invalid_lead_ids"].as_array().unwrap();
    assert_eq!(invalid[0], "x");
    assert!(invalid[1].as_str().unwrap().starts_with(MISSING));
    assert_eq!(rig.fake.stage.queried.lock().unwrap().len(), 1, "one question for all");
}

#[test]
fn an_org_that_does_not_answer_makes_no_id_invalid() {
    let fails = LeadProblem::Failed("the org does not answer".to_owned());
    let rig = rig_with(|stage| stage.org_fails = Some(fails), &[]);
    let data = rig.upload("/excel/validate-lead-ids", &[], &[], &[GOOD]).data(200);
    assert_eq!((&data["valid_count"], &data["sf_invalid_count"]), (&json!(1), &Value::Null));
    assert_eq!(data["existence"], json!({ "checked": false, "why": "the org does not answer" }));
}

#[test]
fn a_large_list_is_validated_by_form_alone() {
    let rig = rig();
    let data = rig.upload("/excel/validate-lead-ids", &[], &[], &[GOOD, FAILED, MISSING, UNREAD]).data(200);
    assert_eq!((&data["valid_count"], &data["existence"]["checked"]), (&json!(4), &json!(false)));
    assert!(rig.fake.stage.queried.lock().unwrap().is_empty());
}

#[test]
fn a_list_in_a_body_is_validated_one_by_one() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned()], &[]);
    let lower = GOOD.to_lowercase();
    let data =
        rig.post("/test-lead-validation", json!({ "lead_ids": [lower, MISSING, "1.2e+17"] })).data(200);
    assert_eq!(
        data["results"][0],
        json!({ "lead_id": lower, "valid": true, "id": GOOD, "repaired": true, "exists": true })
    );
    assert_eq!(data["results"][1]["exists"], false);
    assert_eq!(
        (&data["results"][2]["valid"], &data["results"][2]["fault"]),
        (&json!(false), &json!("characters"))
    );
    assert!(rig.post("/test-lead-validation", json!({})).refused(400).contains("`lead_ids`"));
    assert!(
        rig.post("/test-lead-validation", json!({ "lead_ids": vec!["x"; 1_001] }))
            .refused(400)
            .contains("1001")
    );
}

#[test]
fn one_lead_is_told_with_its_flags() {
    let rig = rig();
    let data = rig.get(&format!("/lead/{GOOD}")).data(200);
    assert_eq!((&data["FirstName"], &data["not_in_TAM"]), (&json!("Ada"), &json!(true)));
    assert_eq!(data["confidence_assessment"], Value::Null, "nothing is paid for it");
    let missing = rig.get(&format!("/lead/{MISSING}"));
    assert!(missing.refused(404).contains("no such lead"));
    assert!(rig.get("/lead/oops").refused(400).contains("15 or 18"));
    assert!(rig.get("/lead/00Q'%20OR%20Id!='").refused(400).contains("letters and digits"));
    assert!(rig.get(&format!("/lead/{UNREAD}")).refused(500).contains("did not answer"));
    assert!(rig.get("/lead/00Q000000000000EAA").refused(500).contains("tell the operator"), "a panic");
    assert_eq!(rig.get(&format!("/lead/{GOOD}")).status, 200, "and the next one is served");
}

#[test]
fn one_lead_is_assessed_and_a_failed_assessment_still_has_the_lead() {
    let rig = rig();
    let data = rig.get(&format!("/lead/{GOOD}/confidence")).data(200);
    assert_eq!(data["confidence_assessment"]["confidence_score"], 40);
    assert_eq!(data["lead_data"]["Id"], GOOD);
    assert_eq!(
        (&data["processing_info"]["cost"], &data["processing_info"]["prompt_tokens"]),
        (&json!(0.0015), &json!(500))
    );
    let failed = rig.get(&format!("/lead/{FAILED}/confidence"));
    assert!(failed.refused(502).contains("prose"));
    assert_eq!(failed.json()["data"]["lead_data"]["FirstName"], "Ada");
}

#[test]
fn a_query_is_guarded_and_previewed() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned(), MISSING.to_owned()], &[]);
    let body = json!({ "soql_query": "SELECT Id FROM Lead WHERE CreatedDate = TODAY", "preview_limit": 1 });
    let data = rig.post("/leads/preview-query", body).data(200);
    assert_eq!((&data["total_found"], &data["preview_count"]), (&json!(2), &json!(1)));
    assert_eq!(data["lead_ids"], json!([GOOD]));
    assert!(data["query_info"]["final_query"].as_str().unwrap().contains("LIMIT 50000"));
    for refused in [
        "SELECT Id FROM Contact",
        "SELECT Id FROM Lead; DELETE FROM Lead",
        "SELECT Id FROM Lead UNION SELECT Id FROM Contact",
    ] {
        let message = rig.post("/leads/preview-query", json!({ "soql_query": refused })).refused(400);
        assert!(message.starts_with("`soql_query`: character "), "{message}");
    }
    for limit in [json!(0), json!(1_001), json!("100"), json!(1.5)] {
        let message = rig.post("/leads/preview-query", json!({ "preview_limit": limit })).refused(400);
        assert!(message.contains("`preview_limit` takes a whole number from 1 to 1000"), "{message}");
    }
    assert_eq!(rig.fake.stage.queried.lock().unwrap().len(), 1, "what is refused is not sent");
}

#[test]
fn a_query_is_analyzed_as_a_job_and_tells_what_it_skipped() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned(), OTHER.to_owned()], &[]);
    let body = json!({ "soql_query": "Company != null", "max_analyze": 1, "include_ai_assessment": false });
    let data = rig.post("/leads/analyze-query", body).data(200);
    let info = &data["query_info"];
    assert_eq!(
        (&info["total_found"], &info["analyzed_count"], &info["skipped_count"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(
        (&info["include_ai_assessment"], &info["original_query"]),
        (&json!(false), &json!("Company != null"))
    );
    assert_eq!(data["summary"]["total_query_results"], 2);
    let started = rig.fake.stage.started.lock().unwrap();
    let StartSource::Query { soql } = &started[0].source else { panic!("a query") };
    assert!(soql.ends_with("LIMIT 1") && !started[0].ask_model, "{soql}");
    drop(started);
    for (name, value) in
        [("max_analyze", json!(501)), ("include_ai_assessment", json!("yes")), ("soql_query", json!(7))]
    {
        let message = rig.post("/leads/analyze-query", json!({ name: value })).refused(400);
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
}

#[test]
fn a_query_without_leads_begins_no_job() {
    let rig = rig();
    let data = rig.post("/leads/analyze-query", json!({ "soql_query": "" })).data(200);
    assert_eq!((&data["summary"]["total_query_results"], &data["leads"]), (&json!(0), &json!([])));
    assert!(rig.fake.stage.started.lock().unwrap().is_empty());
}

#[test]
fn a_condition_lists_leads_without_the_model() {
    let rig = rig_with(|stage| stage.found = vec![GOOD.to_owned(), UNREAD.to_owned()], &[]);
    let data = rig.get("/leads?limit=5&where=Company%20LIKE%20'A%25'").data(200);
    assert_eq!((&data["totalSize"], &data["done"], &data["unread"]), (&json!(2), &json!(true), &json!(1)));
    assert_eq!(data["records"][0]["Id"], GOOD);
    assert!(!rig.fake.stage.started.lock().unwrap()[0].ask_model);
    assert!(rig.get("/leads?limit=1001").refused(400).contains("`limit`"));
    assert!(rig.get("/leads?where=x)%20OR%20(y").refused(400).contains("`where`"));
}

#[test]
fn what_the_service_says_is_told_with_its_status() {
    for (problem, status) in [
        (LeadProblem::Busy("the line is paused".to_owned()), 503),
        (LeadProblem::Failed("the org does not answer".to_owned()), 500),
        (LeadProblem::Wrong("the org has no field `X__c`".to_owned()), 400),
    ] {
        let sentence = problem.to_string();
        let rig = rig_with(|stage| stage.org_fails = Some(problem), &[]);
        let got = rig.upload("/excel/analyze", &[], &[], &[GOOD]);
        assert_eq!(got.refused(status), sentence);
        assert_eq!(got.header("retry-after").is_some(), status == 503);
        assert_eq!(rig.left_over(), 0, "an upload that became no job is gone");
    }
}

/// What `python3 -m openpyxl` would tell: the texts of a workbook.
fn strings_of(workbook: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xlsx");
    std::fs::write(&path, workbook).unwrap();
    let options = crate::sheets::OpenOptions::new(folder.path());
    let mut book = crate::sheets::Workbook::open(&path, "report.xlsx", &options).unwrap();
    let mut rows = book.rows(None).unwrap();
    let mut all = rows.headers().to_vec();
    while let Some(row) = rows.next_row().unwrap() {
        all.extend(row.cells().map(|cell| match cell {
            crate::sheets::CellView::Text(text) => text.to_owned(),
            crate::sheets::CellView::Number { written, .. } => written.to_owned(),
            _ => String::new(),
        }));
    }
    all
}

#[test]
fn an_answer_that_is_sent_back_becomes_a_workbook() {
    let rig = rig();
    let answered = rig.upload("/excel/analyze", &[], &[], &[GOOD, FAILED]).data(200);
    let name = |got: &super::Got| {
        assert_eq!(got.status, 200, "{}", got.text());
        got.header("content-disposition").unwrap().to_owned()
    };
    let rows = json!([{ "Zip": "1", "Lead ID": GOOD }, { "Zip": "2", "Lead ID": FAILED }, { "Zip": "3", "Lead ID": "x" }, { "Zip": "4", "Lead ID": OTHER }]);
    let body = json!({
        "analysis_results": answered["leads"], "original_data": rows, "lead_id_column": "Lead ID",
        "filename_prefix": "q3", "invalid_lead_ids": ["x"],
    });
    let got = rig.post("/excel/export-analysis", body.clone());
    let told = name(&got);
    assert!(told.starts_with("attachment; filename=\"q3_2") && told.ends_with(".xlsx\""), "{told}");
    let cells = strings_of(&got.body);
    for expected in ["Zip", "Lead ID", "Analyzed", "AI Assessment Failed", "Invalid Lead ID", "Not Analyzed"]
    {
        assert!(cells.iter().any(|cell| cell == expected), "{expected} in {cells:?}");
    }
    assert_eq!(
        cells.iter().position(|cell| cell == "Lead ID"),
        Some(0),
        "as the sender's JSON had them: {cells:?}"
    );

    let list = format!("Zip,Lead ID\n1,{GOOD}\n2,{OTHER}\n");
    let sent = answered["leads"].to_string();
    let form = Form::new(&[("analysis_results", &sent), ("lead_id_column", "lead id")])
        .file("mine.csv", list.as_bytes())
        .end();
    let got = rig.send("POST /excel/export-analysis-with-file", &[BOUNDARY], &form);
    assert!(name(&got).contains("lead_analysis_"));
    assert!(strings_of(&got.body).iter().any(|cell| cell == "Not Analyzed"));

    let got = rig.post("/leads/export-analysis-data", json!({ "analysis_data": answered }));
    assert!(name(&got).contains(".xlsx"));
    let single = rig.get(&format!("/lead/{GOOD}/confidence")).json();
    for sent in [&single, &single["data"], &single["data"]["lead_data"]] {
        let got = rig.post("/leads/export-single-lead-data", json!({ "lead_data": sent }));
        assert!(name(&got).contains("\"lead_"));
    }
    assert_eq!(rig.left_over(), 0, "the files are gone with their answers");
}

#[rstest]
#[case::not_a_list(json!({ "analysis_results": "x", "original_data": [] }), "line 1")]
#[case::missing(json!({ "original_data": [] }), "`analysis_results`")]
#[case::no_lead(json!({ "analysis_results": [{ "Id": "x" }], "original_data": [] }), "`analysis_results[0]`")]
#[case::long_prefix(json!({ "analysis_results": [], "original_data": [], "filename_prefix": "x".repeat(1_025) }), "`filename_prefix`")]
#[case::no_column(json!({ "analysis_results": [], "original_data": [{ "a": 1 }], "lead_id_column": "b" }), "no column `b`")]
fn results_that_cannot_be_read_are_refused_with_their_place(#[case] body: Value, #[case] place: &str) {
    let rig = rig();
    let message = rig.post("/excel/export-analysis", body).refused(400);
    assert!(message.contains(place), "{message}");
    assert_eq!(rig.left_over(), 0);
}
