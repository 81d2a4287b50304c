//! Whole batches on a real server, from a request's body to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::test_server::TestServer;
use super::tests::{Bench, SHOP, bench, bench_with};
use crate::batch::access::Caller;
use crate::batch::catalogue::DatabaseKind;
use crate::batch::check::{CheckContext, check_all};
use crate::batch::request::{Limits, OperationClaims, parse};
use crate::batch::run::{BatchRun, Finished, KeyUse, RunSettings, RunWatch};
use crate::clock::SystemClock;
use crate::database::Database as _;

fn settings() -> RunSettings {
    RunSettings {
        database_kind: DatabaseKind::Postgres,
        statement_timeout: Duration::from_secs(5),
        lock_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(10),
        batch_timeout: Duration::from_secs(15),
        identity: None,
        idempotency: None,
        seed: 7,
    }
}

async fn run_with(bench: &Bench, body: &str, settings: RunSettings, watch: RunWatch) -> Finished {
    let limits = Limits::default();
    let (request, plan) = parse(body.as_bytes(), &limits, OperationClaims::Refuse)
        .unwrap_or_else(|refusal| panic!("{:?}", refusal.faults));
    let (catalogue, caller) = (bench.database.catalogue(), Caller::default());
    let cx =
        CheckContext { catalogue: &catalogue, caller: &caller, limits: &limits, options: &request.options };
    let checked = check_all(&request.operations, &cx);
    let now = "2026-01-02T03:04:05Z".parse().expect("a moment");
    let run = BatchRun::new(
        "01TEST".into(),
        Arc::new(request),
        Arc::new(plan),
        checked,
        Arc::new(limits),
        settings,
        now,
        watch,
    );
    bench.database.run(run).await.into_finished().expect("it is over")
}

async fn run(bench: &Bench, body: &str) -> Finished {
    run_with(bench, body, settings(), RunWatch::default()).await
}

fn answered(finished: &Finished) -> serde_json::Value {
    serde_json::from_slice(&finished.answer.body).expect("JSON")
}

const CHAIN: &str = r#"{"operations": [
    {"id": "d", "entity": "depot", "action": "create", "store_params": {"name": "West"}},
    {"id": "c1", "entity": "crate", "action": "create", "store_params": {"depot_id": "$ref:d.depot_id", "weight": 1.50}},
    {"id": "c2", "entity": "crate", "action": "create", "store_params": {"depot_id": "$ref:d.depot_id", "weight": 2}},
    {"id": "c3", "entity": "crate", "action": "create", "store_params": {"depot_id": "$ref:d.depot_id", "weight": 3}},
    {"id": "c4", "entity": "crate", "action": "create", "store_params": {"depot_id": "$ref:d.depot_id", "weight": 4}},
    {"id": "all", "entity": "crate", "action": "read", "query_params": {"depot_id": "$ref:d.depot_id"}, "depends_on": ["c4"]}
]}"#;

#[tokio::test]
async fn a_chain_costs_as_many_waits_as_it_is_long() {
    let bench = bench(SHOP).await;
    let finished = run(&bench, CHAIN).await;
    let answer = answered(&finished);
    assert_eq!(finished.answer.status, 200, "{answer}");
    assert_eq!(answer["results"]["all"]["data"].as_array().map(Vec::len), Some(4));
    assert!(String::from_utf8_lossy(&finished.answer.body).contains("1.50"), "a decimal keeps its digits");
    assert!(finished.waits <= 3, "{} waits", finished.waits);
    assert_eq!(bench.rows("crate").await.len(), 4);
}

#[tokio::test]
async fn a_failure_leaves_nothing_and_blames_the_operation() {
    let bench = bench(SHOP).await;
    let finished = run(&bench, &CHAIN.replace("\"weight\": 3", "\"weight\": -3")).await;
    let answer = answered(&finished);
    assert_eq!(finished.answer.status, 400, "{answer}");
    assert_eq!(answer["cause"]["operation"], "c3");
    assert_eq!(answer["cause"]["code"], "check_violation");
    assert_eq!(answer["results"]["c2"]["status"], "completed");
    assert!(bench.rows("depot").await.is_empty());
}

#[tokio::test]
async fn a_batch_whose_time_is_over_ends_and_is_rolled_back() {
    let bench =
        bench(&format!("{SHOP}; CREATE VIEW slow AS SELECT 1 AS one, pg_sleep(30)::text AS nap")).await;
    let body = r#"{"operations": [
        {"id": "d", "entity": "depot", "action": "create", "store_params": {"name": "West"}},
        {"id": "s", "entity": "slow", "action": "read", "depends_on": ["d"] } ]}"#;
    let clock = SystemClock::shared();
    let brief = RunSettings { batch_timeout: Duration::from_millis(300), ..settings() };
    let finished = run_with(&bench, body, brief, RunWatch::default()).await;
    assert_eq!(finished.answer.status, 504, "{}", answered(&finished));
    assert!(clock.elapsed() < Duration::from_secs(3));
    assert!(bench.rows("depot").await.is_empty());

    // Its client is gone: the same.
    let apart = body.replace("]}", r#"], "options": {"atomic": false}}"#);
    let watch = RunWatch::default();
    let gone = Arc::clone(&watch.cancelled);
    let clock = SystemClock::shared();
    let (_, ()) = tokio::join!(run_with(&bench, &apart, settings(), watch), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gone.store(true, Ordering::Release);
    });
    assert!(clock.elapsed() < Duration::from_secs(3));
    assert_eq!(bench.rows("depot").await.len(), 1, "what was committed before stays");
}

#[tokio::test]
async fn a_repeated_key_answers_what_was_answered() {
    let bench = bench(SHOP).await;
    let keyed = RunSettings {
        idempotency: Some(KeyUse { scope: "scope".to_owned(), fingerprint: [3; 32] }),
        ..settings()
    };
    let first = run_with(&bench, CHAIN, keyed.clone(), RunWatch::default()).await;
    let second = run_with(&bench, CHAIN, keyed.clone(), RunWatch::default()).await;
    assert_eq!((first.answer.status, second.answer.status), (200, 200));
    assert!(!first.replayed && second.replayed);
    assert_eq!(answered(&first)["results"], answered(&second)["results"]);
    assert_eq!(bench.rows("depot").await.len(), 1);
    let other = KeyUse { scope: "scope".to_owned(), fingerprint: [4; 32] };
    let reused = RunSettings { idempotency: Some(other), ..keyed };
    assert_eq!(run_with(&bench, CHAIN, reused, RunWatch::default()).await.answer.status, 422);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_and_a_broken_idle_connection_is_replaced() {
    let server = Arc::new(TestServer::start());
    let bench = bench_with(Arc::clone(&server), SHOP, |_, _| {}).await.expect("it opens");
    server.kill();
    let finished = run(&bench, CHAIN).await;
    assert_eq!(finished.answer.status, 503, "{}", answered(&finished));
    server.launch();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let finished = run(&bench, CHAIN).await;
    assert_eq!(finished.answer.status, 200, "{}", answered(&finished));
}

/// Creates that are merged, and with nothing before them go out together with their COMMIT.
fn badges(codes: &[&str]) -> String {
    let creates = codes.iter().enumerate().map(|(index, code)| {
        format!(
            r#"{{"id": "b{index}", "entity": "badge", "action": "create", "store_params": {{"badge_code": "{code}"}}}}"#
        )
    });
    format!(r#"{{"operations": [{}]}}"#, creates.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn an_answer_says_what_was_kept_also_when_a_merged_key_comes_back_changed() {
    let bench = bench("CREATE TABLE badge (badge_code varchar(4) PRIMARY KEY)").await;
    // Spaces past the end are cut off, as the SQL standard has it.
    let finished = run(&bench, &badges(&["aaaa  ", "b", "c", "d"])).await;
    let answer = answered(&finished);
    assert_eq!(finished.answer.status, 200, "{answer}");
    assert_eq!(answer["results"]["b0"]["data"]["badge_code"], "aaaa");
    assert_eq!(bench.rows("badge").await.len(), 4);
}

#[tokio::test]
async fn texts_that_look_like_uuids_and_differ_in_case_are_two_keys() {
    let bench = bench(SHOP).await;
    let (upper, lower) = ("0191D2C4-6F3E-7ABC-8DEF-0123456789AB", "0191d2c4-6f3e-7abc-8def-0123456789ab");
    let finished = run(&bench, &badges(&[upper, lower, "c", "d"])).await;
    let answer = answered(&finished);
    assert_eq!(finished.answer.status, 200, "{answer}");
    assert_eq!(answer["results"]["b0"]["data"]["badge_code"], upper);
    assert_eq!(answer["results"]["b1"]["data"]["badge_code"], lower);
    assert_eq!(bench.rows("badge").await.len(), 4);
}

#[tokio::test]
async fn the_time_limits_of_a_batch_that_failed_are_not_those_of_the_next() {
    let bench = bench_with(
        TestServer::shared(),
        &format!("{SHOP}; CREATE VIEW nap AS SELECT 1 AS one, pg_sleep(0.5)::text AS nap"),
        |settings, _| {
            settings.connections = 1;
        },
    )
    .await
    .expect("it opens");
    let slow = r#"{"operations": [{"id": "n", "entity": "nap", "action": "read"}]}"#;
    assert_eq!(run(&bench, slow).await.answer.status, 200);
    let brief = RunSettings { statement_timeout: Duration::from_millis(200), ..settings() };
    let refused = badges(&["a", "a"]);
    assert_eq!(run_with(&bench, &refused, brief, RunWatch::default()).await.answer.status, 400);
    let finished = run(&bench, slow).await;
    assert_eq!(finished.answer.status, 200, "{}", answered(&finished));
}

#[tokio::test]
async fn a_batch_ends_by_its_time_also_while_it_waits_for_a_connection() {
    let bench = bench_with(
        TestServer::shared(),
        &format!("{SHOP}; CREATE VIEW nap AS SELECT 1 AS one, pg_sleep(3)::text AS nap"),
        |settings, _| {
            settings.connections = 1;
        },
    )
    .await
    .expect("it opens");
    let slow = r#"{"operations": [{"id": "n", "entity": "nap", "action": "read"}]}"#;
    let brief = RunSettings { batch_timeout: Duration::from_millis(300), ..settings() };
    let clock = SystemClock::shared();
    let (_, (finished, took)) = tokio::join!(run(&bench, slow), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let finished = run_with(&bench, &badges(&["a"]), brief, RunWatch::default()).await;
        (finished, clock.elapsed())
    });
    let answer = answered(&finished);
    assert_eq!((finished.answer.status, &answer["rolledBack"]), (504, &true.into()), "{answer}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(bench.rows("badge").await.is_empty());
}

#[tokio::test]
async fn each_operation_of_a_keyed_batch_that_is_not_atomic_is_kept_once() {
    let bench = bench(SHOP).await;
    let keyed = RunSettings {
        idempotency: Some(KeyUse { scope: "apart".to_owned(), fingerprint: [3; 32] }),
        ..settings()
    };
    let apart = CHAIN.replace("\n]}", r#"], "options": {"atomic": false}}"#);
    let first = run_with(&bench, &apart, keyed.clone(), RunWatch::default()).await;
    assert_eq!(first.answer.status, 200, "{}", answered(&first));
    let second = run_with(&bench, &apart, keyed, RunWatch::default()).await;
    assert!(second.replayed);
    assert_eq!(first.answer.body, second.answer.body);
    assert_eq!(bench.rows("crate").await.len(), 4);
}
