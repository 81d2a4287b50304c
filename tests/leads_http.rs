//! Leads over HTTP as a user meets them: the real daemon, a simulated org, a simulated model endpoint, requests by hand.
//!
//! Guarantees by name: *durable* and *once*, for a job that was begun over HTTP and killed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

mod support;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use calamine::{Reader, Xlsx};
use serde_json::{Value, json};
use support::{Daemon, Org, Place, demo_org, free_addr, until};

/// Questions under way at once.
const AT_ONCE: usize = 4;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Demands this status; the document then.
    fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self.json()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A daemon with its org and its endpoint, which outlive it.
struct Stage {
    org: Org,
    /// What the endpoint runs on.
    _runtime: tokio::runtime::Runtime,
    model: aisim::Server,
    place: Place,
    addr: SocketAddr,
}

impl Stage {
    /// With an endpoint that takes so long for an answer.
    fn new(latency: Duration) -> Self {
        let org = Org::start(orgsim::Options::default());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = aisim::Options { latency, ..aisim::Options::default() };
        let model = runtime.block_on(aisim::Server::start(options)).unwrap();
        let addr = free_addr();
        let place = Place::new(&format!(
            "[api]\nlisten = \"{addr}\"\n[schema]\nevery = \"\"\nat_start = false\n[leads]\nmax_upload = \"64 KiB\"\n\
             [leads.model]\nbase_url = \"{}\"\nmodel = \"sim\"\nconcurrency = {AT_ONCE}\n{}",
            model.base_url(),
            demo_org(&org.url(), "")
        ));
        Self { org, model, _runtime: runtime, place, addr }
    }

    /// The daemon, once leads are served.
    fn daemon(&self) -> Daemon {
        let daemon = self.place.daemon();
        until("the endpoint to answer", || daemon.log(), || self.try_get("/health").is_ok());
        daemon
    }

    /// The first ids of the org, as it gives them.
    fn ids(&self, count: usize) -> Vec<String> {
        let told = self.place.run(&["query", &format!("SELECT Id FROM Lead LIMIT {count}")]).good().stdout;
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["Id"].as_str().unwrap().to_owned();
        let ids: Vec<String> = told.lines().map(id).collect();
        assert_eq!(ids.len(), count);
        ids
    }

    /// Sends one request and reads its answer to the end. HTTP/1.0, which knows no chunks.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(support::PATIENCE))?;
        let (host, length) = (self.addr, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n"
        )?;
        stream.write_all(body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or_else(|| std::io::Error::other("no answer"))?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        assert!(!head.to_ascii_lowercase().contains("\r\ntransfer-encoding:"), "{head}");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok(Answer { status, head, body: bytes.split_off(end + 4) })
    }

    fn try_get(&self, path: &str) -> std::io::Result<Answer> {
        self.ask("GET", path, "", b"")
    }

    fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        self.ask("POST", path, headers, body.to_string().as_bytes()).unwrap()
    }

    /// Sends a list as the file of a form.
    fn upload(&self, path: &str, headers: &str, fields: &[(&str, &str)], list: &str) -> Answer {
        let mut body = form(fields);
        body += list;
        body += "\r\n--border--\r\n";
        let headers = format!("{headers}Content-Type: multipart/form-data; boundary=border\r\n");
        self.ask("POST", path, &headers, body.as_bytes()).unwrap()
    }

    /// The last of a job's events, which ends the stream: what it is called, and what it says of the job.
    fn last_event(&self, job: &str) -> (String, Value) {
        let stream = self.get(&format!("/v1/jobs/{job}/events"));
        assert_eq!(stream.header("content-type"), Some("text/event-stream"), "{}", stream.head);
        let text = stream.text();
        let field = |name: &str| {
            let last = text.lines().filter_map(|line| line.strip_prefix(name)).next_back();
            last.unwrap_or_else(|| panic!("no `{name}` in {text}")).trim().to_owned()
        };
        (field("event:"), serde_json::from_str::<Value>(&field("data:")).unwrap()["job"].clone())
    }

    /// How often the endpoint has given an answer about each lead.
    fn answers(&self) -> BTreeMap<String, usize> {
        let mut answers = BTreeMap::new();
        let log = self.model.log().into_iter().filter(|entry| entry.status == 200);
        for question in log.filter_map(|entry| entry.question) {
            *answers.entry(question).or_default() += 1;
        }
        answers
    }
}

/// A form up to the bytes of its file.
fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        text += &format!("--border\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    text + "--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"autumn.csv\"\r\n\r\n"
}

/// A list with a column of its own in front: the leads, the first of them again, a blank and a word.
fn list(ids: &[String]) -> String {
    let mut text = String::from("Campaign,Lead ID\n");
    for id in ids.iter().chain(ids.first()) {
        text += &format!("autumn,{id}\n");
    }
    text + "nobody,\nwords,n/a\n"
}

fn job_of(begun: &Value) -> String {
    begun["data"]["job"].as_str().unwrap_or_else(|| panic!("no job in {begun}")).to_owned()
}

/// The rows of a report's first sheet, as another reader than ours sees them, each by its columns' heads.
fn rows(workbook: Vec<u8>) -> Vec<BTreeMap<String, String>> {
    let mut workbook = Xlsx::new(Cursor::new(workbook)).expect("a workbook");
    let sheet = workbook.worksheet_range_at(0).expect("a sheet").expect("it can be read");
    let mut rows = sheet.rows().map(|row| row.iter().map(ToString::to_string));
    let heads: Vec<String> = rows.next().expect("heads").collect();
    rows.map(|row| heads.iter().cloned().zip(row).collect()).collect()
}

#[test]
fn an_uploaded_list_is_followed_to_its_end_and_its_report_has_every_row() {
    let stage = Stage::new(Duration::ZERO);
    let ids = stage.ids(40);
    let _daemon = stage.daemon();
    let begun = stage.upload("/v1/leads", "", &[("ai_batch_size", "10")], &list(&ids));
    let address = begun.header("location").expect("an address").to_owned();
    let job = job_of(&begun.with(202));
    assert_eq!(address, format!("/v1/jobs/{job}"));

    let (event, last) = stage.last_event(&job);
    assert_eq!((event.as_str(), last["phase"].as_str()), ("done", Some("done")), "{last}");
    let counts = &last["counts"];
    let seen = ["rows", "blank", "invalid", "duplicates", "leads", "assessed", "model_answered"]
        .map(|name| counts[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {counts}")));
    assert_eq!(seen, [43, 1, 1, 1, 40, 40, 40]);
    assert_eq!(stage.get(&address).with(200)["counts"], *counts);

    let report = stage.get(&format!("{address}/report.xlsx"));
    assert_eq!(report.status, 200, "{}", report.text());
    let tag = report.header("etag").expect("a tag").to_owned();
    let rows = rows(report.body);
    assert_eq!(rows.len(), 43);
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    let sent: Vec<&str> = ids.iter().chain(&ids[..1]).map(String::as_str).chain(["", "n/a"]).collect();
    assert_eq!(column("Lead ID"), sent, "the sheet's own column, in its order");
    let statuses = column("AI_Status");
    assert!(statuses[..41].iter().all(|status| status == "Analyzed"), "{statuses:?}");
    assert_eq!(statuses[41..], ["Not Analyzed", "Invalid Lead ID"]);
    assert!(column("AI_Coherence_Score")[..41].iter().all(|score| score.parse::<f64>().is_ok()));

    let unchanged = format!("If-None-Match: {tag}\r\n");
    let again = stage.ask("GET", &format!("{address}/report.xlsx"), &unchanged, b"").unwrap();
    assert_eq!(again.status, 304);
    let page = stage.get(&format!("{address}/results?from=38&limit=10")).with(200);
    assert_eq!((page["results"].as_array().map(Vec::len), &page["next"]), (Some(2), &Value::Null));
    assert_eq!(stage.get(&format!("{address}/invalid")).with(200)["invalid"][0]["written"], "n/a");
}

#[test]
fn the_older_endpoints_answer_in_their_envelope_what_the_org_and_the_model_say() {
    let stage = Stage::new(Duration::ZERO);
    let ids = stage.ids(60);
    let _daemon = stage.daemon();
    let path = "/excel/analyze-batch-optimized";
    let sizes = [("batch_size", "50"), ("ai_batch_size", "10")];
    let told = stage.upload(path, "", &sizes, &list(&ids)).with(200);
    assert_eq!(told["status"], "success");
    let data = &told["data"];
    let leads = data["leads"].as_array().expect("leads");
    let answered: Vec<&str> = leads.iter().filter_map(|lead| lead["Id"].as_str()).collect();
    assert_eq!(answered, ids);
    assert!(leads.iter().all(|lead| lead["confidence_assessment"]["confidence_score"].is_number()));
    let summary = &data["summary"];
    assert_eq!((&summary["leads_analyzed"], &summary["ai_assessments_failed"]), (&json!(60), &json!(0)));
    let batches = &summary["processing_stats"];
    assert_eq!((&batches["batch_size"], &batches["successful_batches"]), (&json!(50), &json!(2)));
    let checked = &data["validation_summary"];
    assert_eq!((&checked["duplicate_count"], &checked["blank_count"]), (&json!(1), &json!(1)));
    assert_eq!(data["invalid_lead_ids"], json!(["n/a"]));

    let lead = format!("/lead/{}/confidence", ids[0]);
    let told = stage.get(&lead).with(200);
    assert_eq!(told["data"]["lead_data"]["Id"], json!(ids[0]));
    assert_eq!(told["data"]["confidence_assessment"]["reused"], true, "it was paid for above");
    let all_once = stage.answers();
    assert_eq!((all_once.len(), all_once.values().max()), (60, Some(&1)));

    for (path, status) in [("/lead/n-a/confidence", 400), ("/lead/00Q5g00000zZzZz/confidence", 404)] {
        assert_eq!(stage.get(path).with(status)["status"], "error");
    }
    let previewed = stage.post("/leads/preview-query", &json!({ "soql_query": "Id != null LIMIT 7" }));
    assert_eq!(previewed.with(200)["data"]["total_found"], 7);
    let analyzed =
        json!({ "soql_query": "SELECT Id FROM Lead", "max_analyze": 3, "include_ai_assessment": false });
    let analyzed = stage.post("/leads/analyze-query", &analyzed).with(200);
    assert_eq!(analyzed["data"]["leads"].as_array().map(Vec::len), Some(3));
    let refused = stage.post("/leads/preview-query", &json!({ "soql_query": "Nope__c = 1" })).with(400);
    assert!(refused["message"].as_str().is_some_and(|told| told.contains("Nope__c")), "{refused}");
    let bad = stage.upload(path, "", &[], "Lead ID\nn/a\n").with(400);
    assert_eq!(bad["data"]["invalid_lead_ids"], json!(["n/a"]));

    let calls = stage.org.calls();
    let large = stage.upload(path, "", &[], &format!("Lead ID\n{}", "x".repeat(80 << 10))).with(413);
    assert!(large["message"].as_str().is_some_and(|told| told.contains("`leads.max_upload`")), "{large}");
    let foreign = stage.upload(path, "Origin: http://elsewhere.example\r\n", &[], &list(&ids));
    assert_eq!(foreign.status, 403);
    assert_eq!(stage.org.calls(), calls, "neither reached the org");
}

#[test]
fn an_upload_that_is_cut_off_leaves_no_file() {
    let stage = Stage::new(Duration::ZERO);
    let _daemon = stage.daemon();
    let uploads = stage.place.state().join("leads/uploads");
    let held = || std::fs::read_dir(&uploads).map_or(0, Iterator::count);
    let mut stream = TcpStream::connect(stage.addr).unwrap();
    let host = stage.addr;
    write!(
        stream,
        "POST /v1/leads HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=border\r\n\
         Content-Length: 60000\r\n\r\n{}Lead ID\n",
        form(&[])
    )
    .unwrap();
    until("the file to be begun", String::new, || held() == 1);
    drop(stream);
    until("the file to be gone", String::new, || held() == 0);
    let jobs = stage.get("/v1/jobs").with(200);
    assert_eq!(jobs["jobs"], json!([]), "and it began no job");
}

#[test]
fn durable_and_once_a_job_begun_over_http_goes_on_after_a_kill_and_can_be_followed() {
    let stage = Stage::new(Duration::from_millis(30));
    let ids = stage.ids(300);
    let daemon = stage.daemon();
    let begun = stage.upload("/v1/leads", "", &[("ai_batch_size", "10")], &list(&ids)).with(202);
    let job = job_of(&begun);
    let address = format!("/v1/jobs/{job}");
    daemon.until("some leads to be assessed", |_| {
        let job = stage.get(&address).with(200);
        job["counts"]["assessed"].as_u64().is_some_and(|assessed| assessed >= 40)
    });
    assert_eq!(stage.get(&format!("{address}/report.xlsx")).status, 409, "it is not over");
    let repeated = stage.upload("/v1/leads", "", &[("ai_batch_size", "10")], &list(&ids)).with(202);
    assert_eq!(job_of(&repeated), job, "the same request takes up the same job");
    daemon.kill();

    let _daemon = stage.daemon();
    let (event, last) = stage.last_event(&job);
    assert_eq!((event.as_str(), last["phase"].as_str()), ("done", Some("done")), "{last}");
    assert_eq!(last["counts"]["assessed"], 300);
    let rows = rows(stage.get(&format!("{address}/report.xlsx")).body);
    assert_eq!(rows.iter().filter(|row| row["AI_Status"] == "Analyzed").count(), 301);
    let answers = stage.answers();
    let twice = answers.values().filter(|times| **times > 1).count();
    assert_eq!(answers.len(), 300);
    assert!(twice <= AT_ONCE, "{twice} leads were paid twice; {AT_ONCE} can have been under way");
}
