//! Bulk queries against a scripted org that keeps one job and gives its result page by page.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::salesforce::test_support::*;
use crate::salesforce::{FieldPath, HttpError, HttpErrorKind, HttpRequest, HttpResponse, ReadError, Select};

const JOB: &str = "7505g00000AbCdEAAV";

/// Takes lines as rows: enough to see which come, and how often.
#[derive(Default)]
struct Lines {
    handed_on: Vec<String>,
    text: String,
    known: u64,
    seen: u64,
}

impl PageReader for Lines {
    fn begin(&mut self, rows_known: u64) -> Result<(), ReadError> {
        (self.text, self.known, self.seen) = (String::new(), rows_known, 0);
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.text.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some(end) = self.text.find('\n') {
            let line: String = self.text.drain(..=end).collect();
            if line != "\"Id\"\n" {
                self.seen += 1;
                if self.seen > self.known {
                    self.handed_on.push(line.trim().to_owned());
                    self.known = self.seen;
                }
            }
        }
        Ok(())
    }

    /// Lets the pages asked for ahead run.
    fn pass_on(&mut self) -> crate::clock::BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        assert_eq!(self.text, "", "pages end with a line");
        Ok(self.seen)
    }

    fn rows_known(&self) -> u64 {
        self.known
    }
}

fn rows(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|row| format!("\"{row}\"")).collect()
}

fn soql() -> Soql {
    Select::new([FieldPath::literal("Id")], crate::salesforce::Source::literal("Lead")).build().unwrap()
}

fn job(state: &str, more: &str) -> Result<HttpResponse, HttpError> {
    json(200, &format!(r#"{{"id":"{JOB}","state":"{state}","apiVersion":62.0{more}}}"#))
}

fn page(from: u64, to: u64, next: &str) -> Result<HttpResponse, HttpError> {
    let body = format!("\"Id\"\n{}\n", rows(from..to).join("\n"));
    let headers = [
        ("content-type", "text/csv"),
        ("sforce-numberofrecords", &(to - from).to_string()),
        ("sforce-locator", next),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Ok(HttpResponse { status: 200, headers, body: body.into_bytes() })
}

/// Thirty rows on three pages; `disturb` may answer in the org's place. It is given the number of the request
/// for this very address, from 1.
fn org(
    disturb: impl Fn(&HttpRequest, &str, usize) -> Option<Result<HttpResponse, HttpError>> + Send + Sync + 'static,
) -> Bench {
    let asked = Mutex::new(BTreeMap::<String, usize>::new());
    Bench::new(move |request| {
        let path = request.url.strip_prefix(LOGIN_URL).unwrap();
        let key = format!("{:?} {path}", request.method);
        let times = *asked.lock().unwrap().entry(key).and_modify(|times| *times += 1).or_insert(1);
        if let Some(answer) = disturb(request, path, times) {
            return answer;
        }
        let base = format!("/services/data/v62.0/jobs/query/{JOB}");
        match (request.method, path) {
            (Method::Post, "/services/data/v62.0/jobs/query") => job("UploadComplete", ""),
            (Method::Delete, path) if path == base => json(204, ""),
            (Method::Patch, path) if path == base => job("Aborted", ""),
            (Method::Get, path) if path == base => match times {
                1..=3 => job("InProgress", ""),
                _ => job("JobComplete", r#","numberRecordsProcessed":30"#),
            },
            (Method::Get, path) if path == format!("{base}/resultPages?maxRecords=10") => {
                let urls: Vec<_> = ["?locator=AA", "?locator=BB", "?locator=CC"]
                    .map(|rest| format!(r#"{{"resultUrl":"{base}/results{rest}"}}"#))
                    .to_vec();
                json(200, &format!(r#"{{"resultPages":[{}],"done":true}}"#, urls.join(",")))
            }
            (Method::Get, path) if path.starts_with(&format!("{base}/results?")) => {
                match path.rsplit_once("locator=").map(|(_, locator)| locator) {
                    None | Some("AA") => page(0, 10, "BB"),
                    Some("BB") => page(10, 20, "CC"),
                    Some("CC") => page(20, 30, "null"),
                    Some(other) => panic!("no page `{other}`"),
                }
            }
            other => panic!("nobody asks {other:?}"),
        }
    })
}

fn undisturbed() -> Bench {
    org(|_, _, _| None)
}

fn options(pages_at_once: usize) -> BulkOptions {
    BulkOptions { rows_per_page: 10, pages_at_once, ..BulkOptions::default() }
}

async fn read_all(query: &mut BulkQuery, lines: &mut Lines) -> Result<(), BulkError> {
    query.wait().await?;
    while query.next_page(lines).await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn a_job_is_created_waited_for_read_page_by_page_and_deleted() {
    let bench = undisturbed();
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let mut lines = Lines::default();
    read_all(&mut query, &mut lines).await.unwrap();
    query.delete().await.unwrap();
    assert_eq!(lines.handed_on, rows(0..30));
    assert!(query.checkpoint().is_complete);
    // 1 create, 4 looks after 1, 2, 4 and 8 s, 3 pages, 1 delete.
    assert_eq!(bench.count("/jobs/query"), 9);
    assert_eq!(bench.clock.elapsed(), Duration::from_secs(15));
    assert_eq!(bench.gate.permits_open(), 0);
}

#[tokio::test]
async fn listed_pages_are_read_at_once_and_come_in_order() {
    let bench = undisturbed();
    let mut query = bench.client.bulk_query(&soql(), false, options(3)).await.unwrap();
    let mut lines = Lines::default();
    read_all(&mut query, &mut lines).await.unwrap();
    assert_eq!(lines.handed_on, rows(0..30));
    assert_eq!(bench.count("/resultPages"), 1);
    assert_eq!(bench.count("/results?"), 3, "{:?}", bench.log());
    assert_eq!(bench.gate.permits_open(), 0);
}

#[tokio::test]
async fn an_org_that_lists_no_pages_is_read_one_after_the_other() {
    let bench = org(|_, path, _| path.contains("/resultPages").then(|| json(404, "[]")));
    let mut query = bench.client.bulk_query(&soql(), false, options(3)).await.unwrap();
    let mut lines = Lines::default();
    read_all(&mut query, &mut lines).await.unwrap();
    assert_eq!(lines.handed_on, rows(0..30));
}

#[tokio::test]
async fn a_restart_goes_on_at_the_stored_locator_with_the_same_job() {
    for pages_at_once in [1, 3] {
        let bench = undisturbed();
        let mut query = bench.client.bulk_query(&soql(), false, options(pages_at_once)).await.unwrap();
        let mut lines = Lines::default();
        query.wait().await.unwrap();
        query.next_page(&mut lines).await.unwrap();
        let kept = serde_json::to_string(query.checkpoint()).unwrap();
        drop(query);
        let kept = serde_json::from_str(&kept).unwrap();
        let mut query = bench.client.resume_bulk_query(kept, options(pages_at_once));
        read_all(&mut query, &mut lines).await.unwrap();
        assert_eq!(lines.handed_on, rows(0..30));
        assert_eq!(bench.log().iter().filter(|path| path.ends_with("/jobs/query")).count(), 1, "one job");
    }
}

#[tokio::test]
async fn a_page_that_breaks_off_is_asked_for_again_and_no_row_comes_twice() {
    for pages_at_once in [1, 3] {
        let bench = org(|_, path, times| {
            (path.contains("locator=BB") && times == 1).then(|| {
                let mut cut = page(10, 20, "CC").unwrap();
                cut.body.truncate(b"\"Id\"\n\"10\"\n\"11\"\n".len());
                Ok(cut)
            })
        });
        let mut query = bench.client.bulk_query(&soql(), false, options(pages_at_once)).await.unwrap();
        let mut lines = Lines::default();
        read_all(&mut query, &mut lines).await.unwrap();
        assert_eq!(lines.handed_on, rows(0..30));
    }
}

#[tokio::test]
async fn a_gateways_page_in_place_of_rows_is_asked_for_again_and_then_told() {
    let html = || {
        let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
        Ok(HttpResponse { status: 200, headers, body: b"<html>login</html>".to_vec() })
    };
    let bench = org(move |_, path, _| path.contains("locator=BB").then(html));
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let mut lines = Lines::default();
    let error = read_all(&mut query, &mut lines).await.unwrap_err();
    assert_eq!(error.to_string(), format!("read page 2 of bulk job `{JOB}`"));
    assert!(error.org_error().unwrap().to_string().ends_with("it is `text/html`, not CSV"), "{error:?}");
    assert_eq!((lines.handed_on, query.checkpoint().rows_done), (rows(0..10), 10));
}

#[tokio::test]
async fn a_locator_that_leads_back_ends_the_reading() {
    let bench = org(|_, path, _| path.contains("locator=CC").then(|| page(20, 25, "BB")));
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let mut lines = Lines::default();
    let error = read_all(&mut query, &mut lines).await.unwrap_err();
    assert!(error.org_error().unwrap().to_string().contains("leads back to a page"), "{error:?}");
    assert_eq!(lines.handed_on, rows(0..20));
}

#[tokio::test]
async fn rows_that_are_missing_at_the_end_are_told() {
    let bench = org(|_, path, _| path.contains("locator=BB").then(|| page(10, 20, "null")));
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let error = read_all(&mut query, &mut Lines::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("bulk job `{JOB}` has 30 rows, its pages gave 20"));
}

#[tokio::test]
async fn results_of_another_version_are_asked_for_in_the_jobs_own() {
    let disturbed = Mutex::new(0);
    let bench = org(move |_, path, _| {
        if path.contains("/v62.0/") && path.contains("/results?") {
            *disturbed.lock().unwrap() += 1;
            return Some(json(409, r#"[{"errorCode":"API_ERROR","message":"wrong version"}]"#));
        }
        if path.contains("/v60.0/") {
            return Some(page(0, 30, "null"));
        }
        let is_job = path.ends_with(JOB);
        is_job.then(|| {
            json(
                200,
                &format!(
                    r#"{{"id":"{JOB}","state":"JobComplete","apiVersion":{},"numberRecordsProcessed":30}}"#,
                    if *disturbed.lock().unwrap() == 0 { "62.0" } else { "60.0" }
                ),
            )
        })
    });
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let mut lines = Lines::default();
    read_all(&mut query, &mut lines).await.unwrap();
    assert_eq!(lines.handed_on, rows(0..30));
}

#[tokio::test]
async fn a_job_that_vanished_calls_for_a_new_one() {
    let bench = org(|_, path, _| path.contains("locator=BB").then(|| json(404, "[]")));
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let error = read_all(&mut query, &mut Lines::default()).await.unwrap_err();
    assert!(error.calls_for_a_new_job());
    let text = format!("bulk job `{JOB}` is gone after 10 rows; its rows must be asked for again");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_job_that_fails_without_a_word_is_told() {
    let bench = org(|_, path, _| path.ends_with(JOB).then(|| job("Failed", "")));
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let error = query.wait().await.unwrap_err();
    assert_eq!(error.to_string(), format!("bulk job `{JOB}` failed: the org says nothing more"));
}

#[tokio::test]
async fn a_job_that_never_ends_is_aborted_and_deleted() {
    let bench = org(|request, path, _| {
        (request.method == Method::Get && path.ends_with(JOB)).then(|| job("InProgress", ""))
    });
    let patience = Duration::from_secs(600);
    let mut query =
        bench.client.bulk_query(&soql(), false, BulkOptions { patience, ..options(1) }).await.unwrap();
    let error = query.wait().await.unwrap_err();
    assert_eq!(error.to_string(), format!("bulk job `{JOB}` did not end within 600 s and was aborted"));
    // 1 + 2 + 4 + 8 + 16 s, then 19 times 30 s: 24 looks, the abort, the delete, the create.
    assert_eq!(bench.count("/jobs/query"), 24 + 2 + 1);
}

#[tokio::test]
async fn a_job_that_is_gone_counts_as_deleted() {
    let bench = org(|request, _, _| (request.method == Method::Delete).then(|| json(404, "[]")));
    let query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    query.delete().await.unwrap();
}

#[rstest::rstest]
#[case("INVALID_FIELD", "Selecting compound data not supported in Bulk Query", true)]
#[case("API_ERROR", "Selecting compound data not supported in Bulk Query", true)]
#[case("API_ERROR", "Binary fields cannot be selected in bulk queries", true)]
#[case("INVALIDENTITY", "Entity 'X' is not supported by the Bulk API.", true)]
#[case("INVALIDENTITY", "X does not support query", true)]
#[case("API_ERROR", "Implementation restriction: X requires View All Data", true)]
#[case("API_ERROR", "An unexpected error", false)]
#[case("INVALID_FIELD", "No such column 'Foo' on entity 'Lead'.", false)]
#[case("MALFORMED_QUERY", "unexpected token", false)]
#[tokio::test]
async fn a_refused_object_is_told_from_a_bad_query(
    #[case] code: &str,
    #[case] message: &str,
    #[case] refused: bool,
) {
    let answer = format!(r#"[{{"errorCode":"{code}","message":"{message}"}}]"#);
    let bench = org(move |_, _, _| Some(json(400, &answer)));
    let error = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap_err();
    assert_eq!(error.is_refused(), refused, "{error}");
}

#[tokio::test]
async fn a_look_that_fails_for_a_passing_reason_is_made_again() {
    let bench = org(|request, path, times| {
        let is_look = request.method == Method::Get && path.ends_with(JOB);
        (is_look && times <= 5).then(|| network(HttpErrorKind::Timeout))
    });
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    assert_eq!(query.wait().await.unwrap(), 30);
}

/// Three pages, each larger than what waits unread of a page that was asked for ahead.
fn large_page(path: &str) -> Option<Result<HttpResponse, HttpError>> {
    let (from, next) = match path.split_once("/results?")?.1.rsplit_once("locator=").map(|(_, at)| at) {
        None | Some("AA") => (0, "BB"),
        Some("BB") => (10, "CC"),
        Some(_) => (20, "null"),
    };
    let mut answer = page(from, from + 10, next);
    if let Ok(page) = &mut answer {
        let padded = rows(from..from + 10).into_iter().map(|row| format!("{row}{}\n", "x".repeat(500_000)));
        page.body = format!("\"Id\"\n{}", padded.collect::<String>()).into_bytes();
    }
    Some(answer)
}

async fn read_within_seconds(bench: &Bench, pages_at_once: usize) -> usize {
    let mut query = bench.client.bulk_query(&soql(), false, options(pages_at_once)).await.unwrap();
    let mut lines = Lines::default();
    let read = tokio::time::timeout(Duration::from_secs(20), read_all(&mut query, &mut lines));
    read.await.expect("the calls wait for each other").unwrap();
    lines.handed_on.len()
}

#[rstest::rstest]
#[case::one_place(1)]
#[case::two_places(2)]
#[tokio::test]
async fn the_list_of_pages_goes_on_when_pages_read_ahead_hold_every_place(#[case] places: usize) {
    let bench = org(|request, path, _| {
        let base = format!("/services/data/v62.0/jobs/query/{JOB}");
        let list = |locators: &[&str], more: &str| {
            let urls = locators.iter().map(|at| format!(r#"{{"resultUrl":"{base}/results?locator={at}"}}"#));
            json(200, &format!(r#"{{"resultPages":[{}]{more}}}"#, urls.collect::<Vec<_>>().join(",")))
        };
        match (request.method, path.strip_prefix(base.as_str())?) {
            (Method::Get, "/resultPages?maxRecords=10") => {
                let more =
                    format!(r#","nextRecordsUrl":"{base}/resultPages?maxRecords=10&more=1","done":false"#);
                Some(list(&["AA", "BB"], &more))
            }
            (Method::Get, rest) if rest.contains("more=1") => Some(list(&["CC"], r#","done":true"#)),
            _ => large_page(path),
        }
    });
    *bench.gate.places.lock().unwrap() = Some(std::sync::Arc::new(tokio::sync::Semaphore::new(places)));
    assert_eq!(read_within_seconds(&bench, 3).await, 30);
}

#[tokio::test]
async fn a_page_read_ahead_never_takes_the_place_of_the_one_before_it() {
    let bench = org(|_, path, _| large_page(path));
    bench.client.log_in().await.unwrap();
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    *bench.gate.places.lock().unwrap() = Some(places);
    let mut query = bench.client.bulk_query(&soql(), false, options(3)).await.unwrap();
    query.wait().await.unwrap();
    let mut lines = Lines::default();
    // The list, the first page, and then the two that are asked for ahead: the second of them is the quicker one.
    bench.gate.hesitation.store(64, std::sync::atomic::Ordering::SeqCst);
    let read = tokio::time::timeout(Duration::from_secs(20), async {
        while query.next_page(&mut lines).await.unwrap().is_some() {}
    });
    read.await.expect("the pages wait for each other");
    assert_eq!(lines.handed_on.len(), 30);
}

#[tokio::test]
async fn a_page_that_gave_more_rows_than_it_has_is_told_and_not_taken() {
    let bench = org(|_, path, times| {
        let first = path.contains("/results?") && !path.contains("locator=");
        // Two rows more than announced, and then no longer.
        (first && times == 1).then(|| {
            let mut answer = page(0, 12, "BB");
            if let Ok(page) = &mut answer {
                page.headers[1].1 = "10".to_owned();
            }
            answer
        })
    });
    let mut query = bench.client.bulk_query(&soql(), false, options(1)).await.unwrap();
    let error = read_all(&mut query, &mut Lines::default()).await.unwrap_err();
    assert!(matches!(error, BulkError::Page { page: 1, .. }), "{error:?}");
    assert_eq!(query.checkpoint().rows_done, 0);
}
