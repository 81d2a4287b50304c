//! What the client reads from a simulated org, and what becomes of it when the org or the wire misbehaves: nothing is
//! lost, nothing comes twice, and what cannot be read is told in words. Calls are counted by the org's own journal.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

#[path = "org_reads/hard_cases.rs"]
mod hard_cases;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orgsim::{Fault, FaultRule};
use penstock::clock::{BoxFuture, Clock};
use penstock::model::{FieldName, ObjectDescribe, ObjectName};
use penstock::salesforce::rows::{Columns, Row};
use penstock::salesforce::statement::{Statement, columns_of};
use penstock::salesforce::transport::{HttpClient, HttpSettings};
use penstock::salesforce::{
    BulkCheckpoint, BulkError, BulkOptions, Credentials, Fresh, HandoverError, IngestCell, IngestCsv,
    IngestOperation, IngestResults, OpenGate, OrgClient, OrgSettings, QueryError, RetryPolicy, RowQuery,
    RowReader, SeededJitter, Surface, WideOptions,
};
use rstest::rstest;

const LEADS: &str = "SELECT Id, Name, Email, Status, Description, AnnualRevenue, NumberOfEmployees, IsConverted, \
                     CreatedDate, SystemModstamp, OwnerId, Owner.Name FROM Lead";
/// In the whole simulated org.
const LEAD_COUNT: u64 = 50_213;
/// Some of them, for the faults, where each case reads all several times.
const SOME: &str = "SELECT Id, Name, Email, Status, Description, AnnualRevenue, NumberOfEmployees, IsConverted, \
                    CreatedDate, SystemModstamp, OwnerId, Owner.Name FROM Lead WHERE Status = 'Closed - Converted'";
const SOME_COUNT: u64 = 6_309;

/// A clock whose waits take no time.
#[derive(Default)]
struct Jumping(AtomicU64);

impl Clock for Jumping {
    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_max(u64::try_from(at.as_micros()).unwrap(), Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

struct Sim {
    server: orgsim::Server,
    client: OrgClient,
}

fn client_of(url: &str, http: HttpSettings) -> OrgClient {
    let options = orgsim::Options::default();
    let credentials = Credentials::ClientCredentials {
        client_id: options.client_id,
        client_secret: options.client_secret.into(),
    };
    let org = "acme".parse().unwrap();
    let settings = OrgSettings {
        retry: RetryPolicy { first_wait: Duration::from_millis(5), ..RetryPolicy::default() },
        ..OrgSettings::new(org, url, "62.0".parse().unwrap(), credentials)
    };
    let http = Arc::new(HttpClient::new(&http).unwrap());
    let jitter = Arc::new(SeededJitter::new(1));
    OrgClient::new(settings, http, Arc::new(OpenGate), Arc::new(Jumping::default()), jitter).unwrap()
}

async fn sim() -> Sim {
    sim_with(orgsim::Options::default()).await
}

async fn sim_with(options: orgsim::Options) -> Sim {
    let server = orgsim::Server::start(options).await.unwrap();
    let client = client_of(&server.url(), HttpSettings::default());
    client.log_in().await.unwrap();
    Sim { server, client }
}

impl Sim {
    /// The columns of a statement, from describes; the calls for them are forgotten.
    async fn columns(&self, statement: &str) -> (Statement, Columns) {
        let statement = Statement::read(statement).unwrap();
        let mut wanted = vec![statement.object().clone()];
        wanted.extend(["User", "Group"].map(|name| name.parse().unwrap()));
        let described = self.client.describe_group(&wanted).await;
        let describes: BTreeMap<ObjectName, ObjectDescribe> =
            described.into_iter().map(|(name, describe)| (name, describe.unwrap())).collect();
        let columns = columns_of(&statement.column_types(&describes).unwrap()).unwrap();
        self.server.reset_journal();
        (statement, columns)
    }

    async fn by_rest(&self, statement: &str) -> Result<String, QueryError> {
        let (statement, columns) = self.columns(statement).await;
        let mut pages = self.client.query_rows(Surface::Data, &statement.soql().unwrap(), columns);
        let mut out = Vec::new();
        while pages.next(&mut lines_into(&mut out)).await?.is_some() {}
        Ok(String::from_utf8(out).unwrap())
    }

    async fn by_bulk(&self, statement: &str, options: BulkOptions) -> Result<String, BulkError> {
        let (statement, columns) = self.columns(statement).await;
        let mut query = self.client.bulk_query(&statement.soql().unwrap(), false, options).await?;
        let mut out = Vec::new();
        let read = read_job(&mut query, &columns, &mut out).await;
        if read.is_ok() {
            query.delete().await?;
        }
        read.map(|()| String::from_utf8(out).unwrap())
    }

    fn calls_of(&self, kind: &str) -> usize {
        self.server.journal().calls.iter().filter(|call| call.kind == kind).count()
    }
}

fn lines_into(out: &mut Vec<u8>) -> impl FnMut(&Row<'_>) -> Result<(), HandoverError> + Send {
    |row: &Row<'_>| {
        row.write_json_line(out);
        Ok(())
    }
}

async fn read_job(
    query: &mut penstock::salesforce::BulkQuery,
    columns: &Columns,
    out: &mut Vec<u8>,
) -> Result<(), BulkError> {
    query.wait().await?;
    let rows_done = query.checkpoint().rows_done;
    let mut taker = lines_into(out);
    let mut reader = RowReader::new(columns.clone(), rows_done, &mut taker);
    while query.next_page(&mut reader).await?.is_some() {}
    Ok(())
}

fn pages_of(rows_per_page: u32, pages_at_once: usize) -> BulkOptions {
    BulkOptions { rows_per_page, pages_at_once, ..BulkOptions::default() }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The same lines, each once.
fn assert_same_rows(found: &str, expected: &str) {
    assert_eq!(found.lines().count(), expected.lines().count());
    let (found, expected): (BTreeSet<&str>, BTreeSet<&str>) =
        (found.lines().collect(), expected.lines().collect());
    assert_eq!(found.len(), expected.len(), "a row comes twice");
    assert!(found == expected, "first difference: {:?}", found.symmetric_difference(&expected).next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_and_bulk_give_the_same_bytes_with_the_calls_they_should_cost() {
    let sim = sim().await;
    let by_rest = sim.by_rest(LEADS).await.unwrap();
    assert_eq!(sim.server.journal().total, LEAD_COUNT.div_ceil(2_000));
    let by_bulk = sim.by_bulk(LEADS, BulkOptions::default()).await.unwrap();
    assert_same_rows(&by_bulk, &by_rest);
    assert_eq!(by_rest.lines().count() as u64, LEAD_COUNT);
    // Create, look, two pages, delete.
    assert_eq!(sim.server.journal().total, 5);
    assert_eq!(sim.calls_of("bulk_delete"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_read_at_once_come_in_the_same_order() {
    let sim = sim().await;
    let one_by_one = sim.by_bulk(SOME, pages_of(600, 1)).await.unwrap();
    let at_once = sim.by_bulk(SOME, pages_of(600, 4)).await.unwrap();
    assert!(one_by_one == at_once);
    // 11 pages in lists of 5.
    assert_eq!((sim.calls_of("bulk_results"), sim.calls_of("bulk_result_pages")), (11, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_ids_are_retrieved_in_25_calls_and_told_in_order() {
    let sim = sim().await;
    let ids: Vec<String> = sim
        .by_bulk("SELECT Id FROM Lead", BulkOptions::default())
        .await
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["Id"].as_str().unwrap().to_owned()
        })
        .take(49_999)
        .chain(["00Q000000000000AAA".to_owned()])
        .collect();
    let (_, columns) = sim.columns("SELECT Id, Status FROM Lead").await;
    let (mut asked, mut missing) = (Vec::new(), Vec::new());
    let mut taker = |id: &str, row: Option<&Row<'_>>| {
        if row.is_none() {
            missing.push(id.to_owned());
        }
        asked.push(id.to_owned());
        Ok(())
    };
    let lead = "Lead".parse().unwrap();
    let retrieved = sim.client.retrieve_all(&lead, &columns, ids.clone(), &mut taker).await.unwrap();
    assert_eq!((retrieved.found, retrieved.missing), (49_999, 1));
    assert_eq!(sim.server.journal().total, 25);
    assert!(asked == ids);
    assert_eq!(missing, ["00Q000000000000AAA"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrieved_records_survive_a_wire_that_breaks() {
    let sim = sim().await;
    let ids: Vec<String> =
        sim.by_rest("SELECT Id FROM Lead LIMIT 6000").await.unwrap().lines().map(id_of).collect();
    let (_, columns) = sim.columns("SELECT Id, Status FROM Lead").await;
    for fault in [Fault::CutMidBody, Fault::Unavailable, Fault::TruncatedGzip, Fault::HtmlPage] {
        sim.server.faults().set(vec![FaultRule::always(fault.clone()).of_kind("collection").nth(2)]);
        let mut asked = Vec::new();
        let mut taker = |id: &str, row: Option<&Row<'_>>| {
            assert!(row.is_some());
            asked.push(id.to_owned());
            Ok(())
        };
        let lead = "Lead".parse().unwrap();
        let retrieved = sim.client.retrieve_all(&lead, &columns, ids.clone(), &mut taker).await;
        // A page of HTML with a good status is no passing fault of the wire.
        match retrieved {
            Err(error) if fault == Fault::HtmlPage => {
                assert!(told(&error).contains("cannot be read"));
                continue;
            }
            retrieved => drop(retrieved.unwrap()),
        }
        assert!(asked == ids, "{fault:?}");
        assert_eq!(sim.server.faults().fired(), [1], "{fault:?}");
    }
}

fn id_of(line: &str) -> String {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["Id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_objects_are_looked_through_in_4_calls() {
    let sim = sim().await;
    let mut objects: Vec<ObjectName> = sim
        .client
        .record_counts(None)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| {
            row.count > 0 && row.object.as_str() != "Lead" && !row.object.as_str().ends_with("__mdt")
        })
        .map(|row| row.object)
        .take(19)
        .collect();
    objects.push("Lead".parse().unwrap());
    let mut queries = Vec::new();
    for object in &objects {
        let text = format!("SELECT Id FROM {object} LIMIT 50");
        let text =
            if object.as_str() == "Lead" { "SELECT Id, SystemModstamp FROM Lead".to_owned() } else { text };
        let (statement, columns) = sim.columns(&text).await;
        let soql = statement.soql().unwrap();
        queries.push(RowQuery { surface: Surface::DataAndDeleted, soql, columns });
    }
    sim.server.reset_journal();
    let mut rows = vec![0; queries.len()];
    let pages = sim
        .client
        .query_many(&queries, &mut |query, _| {
            rows[query] += 1;
            Ok(())
        })
        .await;
    assert_eq!(sim.server.journal().total, 4);
    for (place, page) in pages.iter().enumerate() {
        let page = page.as_ref().unwrap_or_else(|error| panic!("{}: {}", objects[place], told(error)));
        assert_eq!(page.page.rows, rows[place]);
    }
    // The one with many rows goes on by its own cursor.
    let Ok(last) = pages.into_iter().next_back().unwrap() else { panic!("looked at above") };
    let mut rest = last.rest;
    let mut count = rows[19];
    while rest
        .next(&mut |_| {
            count += 1;
            Ok(())
        })
        .await
        .unwrap()
        .is_some()
    {}
    assert!(count >= LEAD_COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_query_among_many_fails_alone() {
    let sim = sim().await;
    let (good, columns) = sim.columns("SELECT Id FROM Account LIMIT 10").await;
    let query = |text: &str| RowQuery {
        surface: Surface::Data,
        soql: Statement::read(text).unwrap().soql().unwrap(),
        columns: columns.clone(),
    };
    let queries = [query("SELECT Id FROM Account LIMIT 10"), query("SELECT Id FROM NoSuchThing__c")];
    drop(good);
    sim.server.faults().set(vec![FaultRule::always(Fault::SubrequestFails).of_kind("query").times(1)]);
    let pages = sim.client.query_many(&queries, &mut |_, _| Ok(())).await;
    assert_eq!(pages[0].as_ref().unwrap().page.rows, 10);
    assert!(told(pages[1].as_ref().unwrap_err()).contains("INVALID_TYPE"));
}

#[rstest]
#[case::short_csv(Fault::TruncatedCsv)]
#[case::cut(Fault::CutMidBody)]
#[case::cut_early(Fault::CutAfter { bytes: 1_000 })]
#[case::half_gzip(Fault::TruncatedGzip)]
#[case::no_last_chunk(Fault::TruncatedChunked)]
#[case::length_too_long(Fault::ContentLengthTooLong { by: 64 })]
#[case::length_too_short(Fault::ContentLengthTooShort { by: 64 })]
#[case::reset(Fault::ConnectionReset)]
#[case::html(Fault::HtmlPage)]
#[case::huge(Fault::HugeError { status: 500, kilobytes: 300 })]
#[case::gateway(Fault::Gateway)]
#[case::busy(Fault::Unavailable)]
#[case::expired(Fault::SessionExpired)]
#[case::empty(Fault::EmptyBody { status: 420 })]
#[case::miscounted(Fault::WrongRecordCount)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_job_that_goes_wrong_once_costs_no_row(#[case] fault: Fault) {
    let sim = sim().await;
    let calm = sim.by_bulk(SOME, pages_of(1_000, 1)).await.unwrap();
    for pages_at_once in [1, 3] {
        sim.server.faults().set(vec![FaultRule::always(fault.clone()).of_kind("bulk_results").nth(2)]);
        let found = sim.by_bulk(SOME, pages_of(1_000, pages_at_once)).await;
        let found = found.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert!(found == calm, "{pages_at_once} at once");
        assert_eq!(sim.calls_of("bulk_create"), 1);
        assert_eq!(sim.server.faults().fired(), [1]);
    }
}

#[rstest]
#[case::short_csv(Fault::TruncatedCsv, "is cut off in row")]
#[case::short_row(Fault::ShortRow, "values instead of 12")]
#[case::repeated(Fault::LocatorRepeated, "leads back to a page that was read already")]
#[case::miscounted(Fault::WrongRecordCount, "rows were announced")]
#[case::html(Fault::HtmlPage, "it is `text/html")]
#[case::half_gzip(Fault::TruncatedGzip, "the answer broke off")]
#[case::length_too_long(Fault::ContentLengthTooLong { by: 64 }, "the answer broke off")]
#[case::huge(Fault::HugeError { status: 500, kilobytes: 300 }, "cannot answer now (status 500)")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_job_that_stays_wrong_is_told(#[case] fault: Fault, #[case] words: &str) {
    let sim = sim().await;
    let (statement, columns) = sim.columns(SOME).await;
    let soql = statement.soql().unwrap();
    sim.server.faults().set(vec![FaultRule::always(fault).of_kind("bulk_results")]);
    let mut query = sim.client.bulk_query(&soql, false, pages_of(1_000, 1)).await.unwrap();
    let mut out = Vec::new();
    let error = read_job(&mut query, &columns, &mut out).await.unwrap_err();
    let text = told(&error);
    assert!(text.contains(words) && text.len() < 1_000, "{text}");
    // The job is still there and still good.
    sim.server.faults().clear();
    let checkpoint: BulkCheckpoint = query.checkpoint().clone();
    let kept = checkpoint.rows_done;
    assert!(kept <= 1_000, "at most the page before");
    let mut query = sim.client.resume_bulk_query(checkpoint, pages_of(1_000, 1));
    out.clear();
    read_job(&mut query, &columns, &mut out).await.unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64 + kept, SOME_COUNT);
    assert_eq!(sim.calls_of("bulk_create"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_with_nuls_and_line_breaks_are_read() {
    let sim = sim().await;
    let calm = sim.by_bulk(SOME, BulkOptions::default()).await.unwrap();
    sim.server.faults().set(vec![FaultRule::always(Fault::NulBytes).of_kind("bulk_results")]);
    assert!(sim.by_bulk(SOME, BulkOptions::default()).await.unwrap() == calm);
    sim.server.faults().set(vec![FaultRule::always(Fault::EmbeddedNewlines).of_kind("bulk_results")]);
    let broken = sim.by_bulk(SOME, BulkOptions::default()).await.unwrap();
    assert_eq!(broken.lines().count() as u64, SOME_COUNT);
    assert!(broken.contains("\\n"), "a line break stays in its value");
}

#[rstest]
#[case::endless(Fault::NeverEndingJob, "did not end within")]
#[case::silent(Fault::FailedWithoutMessage, "failed: the org says nothing more")]
#[case::told(Fault::JobFails { message: "QUERY_TIMEOUT".to_owned() }, "failed: QUERY_TIMEOUT")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_to_no_good_end_is_told(#[case] fault: Fault, #[case] words: &str) {
    let sim = sim().await;
    sim.server.faults().set(vec![FaultRule::always(fault.clone())]);
    let error = sim.by_bulk(SOME, BulkOptions::default()).await.unwrap_err();
    assert!(told(&error).contains(words), "{}", told(&error));
    if fault == Fault::NeverEndingJob {
        assert_eq!((sim.calls_of("bulk_abort"), sim.calls_of("bulk_delete")), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_vanishes_calls_for_a_new_one() {
    let sim = sim().await;
    sim.server.faults().set(vec![FaultRule::always(Fault::JobVanishes).of_kind("bulk_results").nth(2)]);
    let error = sim.by_bulk(SOME, pages_of(1_000, 1)).await.unwrap_err();
    assert!(error.calls_for_a_new_job(), "{}", told(&error));
    assert!(told(&error).contains("is gone after 1000 rows"), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_are_gone_after_seven_days() {
    let sim = sim().await;
    let (statement, columns) = sim.columns(SOME).await;
    let mut query =
        sim.client.bulk_query(&statement.soql().unwrap(), false, pages_of(1_000, 1)).await.unwrap();
    query.wait().await.unwrap();
    sim.server.advance_clock(Duration::from_secs(8 * 86_400));
    let error = read_job(&mut query, &columns, &mut Vec::new()).await.unwrap_err();
    assert!(error.calls_for_a_new_job(), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_after_each_page_goes_on_with_the_same_job() {
    let sim = sim().await;
    let calm = sim.by_bulk(SOME, pages_of(1_000, 1)).await.unwrap();
    for pages_at_once in [1, 3] {
        let (statement, columns) = sim.columns(SOME).await;
        let options = pages_of(1_000, pages_at_once);
        let query = sim.client.bulk_query(&statement.soql().unwrap(), false, options.clone()).await.unwrap();
        let mut kept = serde_json::to_string(query.checkpoint()).unwrap();
        let mut out = Vec::new();
        loop {
            let client = client_of(&sim.server.url(), HttpSettings::default());
            let mut query = client.resume_bulk_query(serde_json::from_str(&kept).unwrap(), options.clone());
            query.wait().await.unwrap();
            let mut taker = lines_into(&mut out);
            let rows_done = query.checkpoint().rows_done;
            let mut reader = RowReader::new(columns.clone(), rows_done, &mut taker);
            if query.next_page(&mut reader).await.unwrap().is_none() {
                break;
            }
            kept = serde_json::to_string(query.checkpoint()).unwrap();
        }
        assert!(String::from_utf8(out).unwrap() == calm);
        assert_eq!(sim.calls_of("bulk_create"), 1);
        if pages_at_once == 1 {
            // With more, what was asked for ahead at a restart is asked for again.
            assert_eq!(sim.calls_of("bulk_results"), 7);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_columns_are_told_apart_and_rest_reads_them() {
    let sim = sim().await;
    let statement = "SELECT Id, Address FROM Lead LIMIT 5";
    let error = sim.by_bulk(statement, BulkOptions::default()).await.unwrap_err();
    assert!(error.is_refused(), "{}", told(&error));
    assert_eq!(sim.by_rest(statement).await.unwrap().lines().count(), 5);
}

#[rstest]
#[case::cut(Fault::CutMidBody)]
#[case::half_gzip(Fault::TruncatedGzip)]
#[case::no_last_chunk(Fault::TruncatedChunked)]
#[case::length_too_long(Fault::ContentLengthTooLong { by: 64 })]
#[case::length_too_short(Fault::ContentLengthTooShort { by: 64 })]
#[case::reset(Fault::ConnectionReset)]
#[case::huge(Fault::HugeError { status: 500, kilobytes: 300 })]
#[case::busy(Fault::Unavailable)]
#[case::expired(Fault::SessionExpired)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_query_that_goes_wrong_once_costs_no_row(#[case] fault: Fault) {
    let sim = sim().await;
    let calm = sim.by_rest(SOME).await.unwrap();
    sim.server.faults().set(vec![FaultRule::always(fault).of_kind("query_more").nth(2)]);
    let found = sim.by_rest(SOME).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert!(found == calm);
    assert_eq!(sim.server.faults().fired(), [1]);
}

#[rstest]
#[case::repeated(Fault::LocatorRepeated, "leads back to a page that was read already")]
#[case::html(Fault::HtmlPage, "cannot be read")]
#[case::bad_json(Fault::BadJson, "cannot be read")]
#[case::huge(Fault::HugeError { status: 400, kilobytes: 300 }, "status 400")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_query_that_stays_wrong_is_told(#[case] fault: Fault, #[case] words: &str) {
    let sim = sim().await;
    sim.server.faults().set(vec![FaultRule::always(fault).of_kind("query_more")]);
    let text = told(&sim.by_rest(SOME).await.unwrap_err());
    assert!(text.contains(words) && text.len() < 1_000, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_after_a_restart_and_a_dead_one_is_told() {
    let sim = sim().await;
    let calm = sim.by_rest(SOME).await.unwrap();
    let (statement, columns) = sim.columns(SOME).await;
    let soql = statement.soql().unwrap();
    let mut pages = sim.client.query_rows(Surface::Data, &soql, columns.clone());
    let mut out = Vec::new();
    loop {
        let page = pages.next(&mut lines_into(&mut out)).await.unwrap();
        if page.is_none() {
            break;
        }
        let kept = serde_json::to_string(pages.checkpoint()).unwrap();
        let client = client_of(&sim.server.url(), HttpSettings::default());
        let kept = serde_json::from_str(&kept).unwrap();
        pages = client.resume_query_rows(Surface::Data, &soql, columns.clone(), kept);
    }
    assert!(String::from_utf8(out).unwrap() == calm);
    let mut dead = pages.checkpoint().clone();
    dead.next = Some("/services/data/v62.0/query/0r8xx0NeverWas-2000".to_owned());
    let mut pages = sim.client.resume_query_rows(Surface::Data, &soql, columns, dead);
    let error = pages.next(&mut |_| Ok(())).await.unwrap_err();
    assert!(error.calls_for_a_new_query());
    assert!(told(&error).contains("is gone after 6309 rows"), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_object_read_in_parts_is_the_same_as_read_whole() {
    let sim = sim().await;
    let names: Vec<FieldName> = {
        let described = sim.client.describe_group(&["Account".parse().unwrap()]).await;
        let describe = described.into_iter().next().unwrap().1.unwrap();
        describe
            .fields
            .into_iter()
            .filter(|field| field.field_type != "address")
            .map(|field| field.name)
            .collect()
    };
    let list: Vec<&str> = names.iter().map(FieldName::as_str).collect();
    let statement = format!("SELECT {}, Owner.Name FROM Account ORDER BY Id", list.join(", "));
    let whole = sim.by_rest(&statement).await.unwrap();
    let pages = sim.server.journal().total;
    let (_, columns) = sim.columns(&statement).await;
    let options = WideOptions { path_bytes_max: 3_400, ..WideOptions::default() };
    let mut wide = sim.client.query_wide(&"Account".parse().unwrap(), &columns, None, options).unwrap();
    let parts = wide.parts() as u64;
    assert!(parts >= 2, "{} columns", names.len());
    let mut out = Vec::new();
    while let Some(page) = wide.next(&mut lines_into(&mut out)).await.unwrap() {
        assert_eq!((page.read_again, page.vanished), (0, 0));
    }
    assert!(String::from_utf8(out).unwrap() == whole);
    assert_eq!(sim.server.journal().total, pages * parts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_by_a_bulk_job_is_found_again() {
    let sim = sim().await;
    let account: ObjectName = "Account".parse().unwrap();
    let ids: Vec<String> = sim
        .by_rest("SELECT Id FROM Account ORDER BY Id LIMIT 500")
        .await
        .unwrap()
        .lines()
        .map(id_of)
        .collect();
    let fields: Vec<FieldName> = ["Id", "Description", "Website"].map(|name| name.parse().unwrap()).to_vec();
    let mut csv = IngestCsv::new(&fields, 10_000_000);
    for id in &ids {
        let text = "two\nlines, a \"quote\" and a comma";
        csv.push(&[IngestCell::Text(id), IngestCell::Text(text), IngestCell::Null]).unwrap();
    }
    csv.push(&[IngestCell::Text("001000000000000AAA"), IngestCell::Text("x"), IngestCell::Null]).unwrap();
    let upload = csv.finish().unwrap();
    let start = jiff::Timestamp::from_millisecond(sim.server.epoch_ms()).unwrap();
    let job = sim.client.ingest(&account, &IngestOperation::Update, &upload).await.unwrap();
    let outcome = sim.client.ingest_outcome(&job, Duration::from_secs(600)).await.unwrap();
    assert_eq!((outcome.done, outcome.failed), (500, 1));

    let columns = Columns::new(
        ["sf__Id", "sf__Error", "Id", "Description", "Website"]
            .map(|name| {
                penstock::salesforce::rows::Column::new(name, penstock::salesforce::rows::ColumnKind::Text)
            })
            .to_vec(),
    )
    .unwrap();
    let mut out = Vec::new();
    {
        let mut taker = lines_into(&mut out);
        let mut reader = RowReader::new(columns, 0, &mut taker);
        let rows = sim.client.ingest_results(&job, IngestResults::Failed, &mut reader).await.unwrap();
        assert_eq!(rows, 1);
    }
    assert!(String::from_utf8(out).unwrap().contains("001000000000000AAA"));
    sim.client.delete_ingest(&job).await.unwrap();

    let found =
        sim.by_rest("SELECT Id, Description, Website FROM Account ORDER BY Id LIMIT 1").await.unwrap();
    assert!(
        found.contains(r#""Description":"two\nlines, a \"quote\" and a comma","Website":null"#),
        "{found}"
    );

    sim.server.advance_clock(Duration::from_secs(120));
    let end = jiff::Timestamp::from_millisecond(sim.server.epoch_ms()).unwrap();
    let start = start - jiff::SignedDuration::from_secs(60);
    let updated = sim.client.updated(&account, start, end).await.unwrap();
    assert_eq!(updated.ids.into_iter().collect::<BTreeSet<_>>(), ids.iter().cloned().collect());
    let deleted = sim.client.deleted(&account, start, end).await.unwrap();
    assert!(deleted.records.is_empty() && !deleted.has_gap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_describe_is_not_sent_again() {
    let sim = sim().await;
    let lead = "Lead".parse().unwrap();
    let Fresh::Modified { value, last_modified } =
        sim.client.describe_if_modified(&lead, None).await.unwrap()
    else {
        panic!("nothing was known");
    };
    assert_eq!(value.name.as_str(), "Lead");
    let again = sim.client.describe_if_modified(&lead, last_modified.as_deref()).await.unwrap();
    assert_eq!(again, Fresh::NotModified);
    assert_eq!(sim.server.journal().calls.last().unwrap().status, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_drips_is_given_up_and_a_slow_reader_is_not() {
    let sim = sim().await;
    let (statement, columns) = sim.columns("SELECT Id, Name FROM Lead").await;
    let soql = statement.soql().unwrap();
    let http = HttpSettings { stall_timeout: Duration::from_millis(300), ..HttpSettings::default() };
    let client = client_of(&sim.server.url(), http);
    let mut query = client.bulk_query(&soql, false, BulkOptions::default()).await.unwrap();
    query.wait().await.unwrap();

    // A reader that takes its time between two pieces is no fault of the org.
    let mut rows = 0;
    let mut slow = |_: &Row<'_>| -> Result<(), HandoverError> {
        rows += 1;
        if rows % 2_000 == 0 {
            support::pause(Duration::from_millis(400));
        }
        Ok(())
    };
    let mut reader = RowReader::new(columns.clone(), 0, &mut slow);
    query.next_page(&mut reader).await.unwrap();

    let drip = Fault::SlowDrip { bytes: 8, every_ms: 20 };
    sim.server.faults().set(vec![FaultRule::always(drip).of_kind("bulk_results")]);
    let mut query = client.bulk_query(&soql, false, BulkOptions::default()).await.unwrap();
    let error = read_job(&mut query, &columns, &mut Vec::new()).await.unwrap_err();
    assert!(told(&error).contains("no answer in time"), "{}", told(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_org_behind_a_ca_and_a_proxy_of_its_own_is_reached() {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options =
        orgsim::Options { tls_listen: Some(any), proxy_listen: Some(any), ..orgsim::Options::default() };
    let server = orgsim::Server::start(options).await.unwrap();
    let ca = server.ca_pem().unwrap().as_bytes().to_vec();
    let url = server.tls_url().unwrap();
    let trusting = HttpSettings { extra_ca_pem: Some(ca), ..HttpSettings::default() };
    client_of(&url, trusting.clone()).log_in().await.unwrap();
    let by_proxy = HttpSettings { proxy_url: server.proxy_url(), ..trusting };
    client_of(&url, by_proxy).limits().await.unwrap();
    let error = client_of(&url, HttpSettings::default()).log_in().await.unwrap_err();
    assert!(told(&error).contains("no connection"), "{}", told(&error));
}

/// The command line, on an org in this process.
mod command_line {
    use super::support::{Org, Place, demo_org};
    use super::*;

    fn place(org: &Org) -> Place {
        Place::new(&demo_org(&org.url(), ""))
    }

    #[test]
    fn few_rows_go_to_stdout_and_everything_else_to_stderr() {
        let org = Org::start(orgsim::Options::default());
        let ended = place(&org).run(&["query", "SELECT Id, Owner.Name FROM Lead LIMIT 3"]).good();
        assert_eq!(ended.stdout.lines().count(), 3);
        assert!(ended.stdout.starts_with(r#"{"Id":"00Q"#), "{}", ended.stdout);
        assert_eq!(ended.stderr.trim(), "3 rows by REST");
        // The object, what its owner may be, the query.
        assert_eq!(org.calls(), 3);
    }

    #[test]
    fn many_rows_go_by_a_bulk_job_that_is_deleted() {
        let org = Org::start(orgsim::Options::default());
        let place = place(&org);
        let file = place.output().with_extension("jsonl");
        let file_name = file.to_str().unwrap();
        place.run(&["query", "SELECT Id, Name FROM Lead", "--out", file_name]).good();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count() as u64, LEAD_COUNT);
        let ids: BTreeSet<String> = text.lines().map(id_of).collect();
        assert_eq!(ids.len() as u64, LEAD_COUNT);
        let kinds: Vec<String> = org.journal().calls.into_iter().map(|call| call.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "bulk_create").count(), 1);
        assert_eq!(kinds.last().map(String::as_str), Some("bulk_delete"));
        assert!(
            !file.with_extension("jsonl.part").exists() && !file.with_extension("jsonl.part.json").exists()
        );
    }

    #[test]
    fn a_download_that_failed_goes_on_with_the_same_job_when_asked_again() {
        let org = Org::start(orgsim::Options {
            bulk: orgsim::BulkOptions { page_rows: 10_000, ..orgsim::BulkOptions::default() },
            ..orgsim::Options::default()
        });
        let place = place(&org);
        let file = place.output().with_extension("jsonl");
        let arguments =
            ["query", "SELECT Id, Name FROM Lead", "--api", "bulk", "--out", file.to_str().unwrap()];
        let spoilt: Vec<FaultRule> = (3..=8)
            .map(|nth| FaultRule::always(Fault::TruncatedCsv).of_kind("bulk_results").nth(nth))
            .collect();
        org.faults().set(spoilt);
        let failed = place.run(&arguments);
        assert_eq!(failed.code(), 1);
        assert!(failed.stderr.contains("the same command goes on from here"), "{}", failed.stderr);
        org.faults().clear();
        let ended = place.run(&arguments).good();
        assert!(ended.stderr.contains("going on behind 20000 rows"), "{}", ended.stderr);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().map(id_of).collect::<BTreeSet<_>>().len() as u64, LEAD_COUNT);
        assert_eq!(text.lines().count() as u64, LEAD_COUNT);
        let created = org.journal().calls.iter().filter(|call| call.kind == "bulk_create").count();
        assert_eq!(created, 1);
    }

    #[test]
    fn mistakes_have_their_exit_codes() {
        let org = Org::start(orgsim::Options::default());
        let place = place(&org);
        for (arguments, code, words) in [
            (vec!["query", "SELECT *"], 2, "a query reads `SELECT field"),
            (vec!["query", "SELECT Foo FROM Lead"], 2, "`Lead` has no field `Foo`"),
            (vec!["query", "SELECT Id FROM Nothing__c"], 1, "NOT_FOUND"),
            (vec!["query", "SELECT Id FROM Lead WHERE Nam = 'x'"], 1, "INVALID_FIELD"),
            (vec!["query", "SELECT Id FROM Lead", "--org", "other"], 2, "no org `other`"),
            (
                vec!["query", "SELECT Id, Address FROM Lead", "--api", "bulk"],
                1,
                "not supported in Bulk Query",
            ),
        ] {
            let ended = place.run(&arguments);
            assert_eq!(ended.code(), code, "{arguments:?}: {ended:?}");
            assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
            assert_eq!(ended.stdout, "", "{arguments:?}");
        }
        let refused = Place::new(&super::support::org_section("demo", &org.url(), "wrong", ""));
        assert_eq!(refused.run(&["query", "SELECT Id FROM Lead"]).code(), 77);
    }
}

/// A penstock of its own process; killed when the test ends, however it ends.
struct Penstock(std::process::Child);

impl Drop for Penstock {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_to_stdout_that_is_told_to_end_leaves_no_job() {
    let options = orgsim::Options { latency: Duration::from_millis(300), ..orgsim::Options::default() };
    let server = orgsim::Server::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (place, config) = (folder.path().display(), folder.path().join("config.toml"));
    let text = format!(
        "state_dir = \"{place}/state\"\noutput_dir = \"{place}/output\"\n[http]\nlisten = \"\"\n\
         [[org]]\nname = \"trial\"\nlogin_url = \"{}\"\nclient_id = \"orgsim-client\"\n\
         client_secret = \"orgsim-secret\"\n",
        server.url()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(["query", "SELECT Id, Name FROM Lead", "--api", "bulk", "--config"]).arg(&config);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut penstock = Penstock(command.stderr(std::process::Stdio::null()).spawn().unwrap());
    let calls_of = |kind: &str| server.journal().calls.iter().filter(|call| call.kind == kind).count();
    // The job is known to the query once it looks after it.
    for _ in 0..600 {
        if calls_of("bulk_info") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        calls_of("bulk_info") > 0,
        "{:?}",
        server.journal().calls.iter().map(|call| &call.kind).collect::<Vec<_>>()
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(penstock.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || penstock.0.wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(75));
    assert_eq!((calls_of("bulk_create"), calls_of("bulk_delete")), (1, 1));
}
