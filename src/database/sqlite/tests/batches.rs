//! Whole batches, from the body to the answer, on a file that is opened as the daemon opens it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::{TABLES, settings};
use crate::batch::access::Caller;
use crate::batch::catalogue::DatabaseKind;
use crate::batch::check::{CheckContext, check_all};
use crate::batch::request::{Limits, OperationClaims, parse};
use crate::batch::run::{BatchRun, KeyUse, RunSettings, RunWatch};
use crate::clock::SystemClock;
use crate::database::Database;
use crate::database::sqlite::SqliteDatabase;

struct Shop {
    folder: tempfile::TempDir,
    database: Arc<SqliteDatabase>,
    groups: Arc<Mutex<Vec<usize>>>,
}

fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&groups);
    let on_group = Arc::new(move |size| seen.lock().unwrap().push(size));
    let opened = SqliteDatabase::open(settings(&folder, TABLES), SystemClock::shared(), Some(on_group));
    Shop { folder, database: Arc::new(opened.unwrap()), groups }
}

impl Shop {
    fn count(&self, sql: &str) -> i64 {
        let connection = Connection::open(self.folder.path().join("shop.db")).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn batch(&self, body: &Json, key: Option<&str>) -> BatchRun {
        let limits = Limits::default();
        let body = body.to_string();
        let (request, plan) = parse(body.as_bytes(), &limits, OperationClaims::Refuse).unwrap();
        let catalogue = self.database.catalogue();
        let caller = Caller::default();
        let cx = CheckContext {
            catalogue: &catalogue,
            caller: &caller,
            limits: &limits,
            options: &request.options,
        };
        let checked = check_all(&request.operations, &cx);
        let run = RunSettings {
            database_kind: DatabaseKind::Sqlite,
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            batch_timeout: Duration::from_secs(15),
            identity: None,
            idempotency: key.map(|key| KeyUse { scope: key.to_owned(), fingerprint: [7; 32] }),
            seed: 7,
        };
        let (request, plan) = (Arc::new(request), Arc::new(plan));
        let now = jiff::Timestamp::UNIX_EPOCH;
        BatchRun::new(
            "01TEST".into(),
            request,
            plan,
            checked,
            Arc::new(limits),
            run,
            now,
            RunWatch::default(),
        )
    }

    async fn send(&self, body: &Json, key: Option<&str>) -> (u16, Json) {
        let finished = self.database.run(self.batch(body, key)).await.into_finished().unwrap();
        (finished.answer.status, serde_json::from_slice(&finished.answer.body).unwrap())
    }
}

fn two_levels(name: &str, label: &Json) -> Json {
    json!({"operations": [
        {"id": "d", "entity": "depot", "action": "create", "store_params": {"name": name}},
        {"id": "c", "entity": "crate", "action": "create",
         "store_params": {"depot_id": "$ref:d.depot_id", "label": label}}
    ]})
}

#[tokio::test]
async fn a_batch_with_references_is_answered_and_kept() {
    let shop = shop();
    let (status, answer) = shop.send(&two_levels("West", &json!("for $ref:d.name")), None).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"]["c"]["data"], json!({"crate_id": 13, "depot_id": 4, "label": "for West"}));
    assert_eq!(shop.count("SELECT count(*) FROM crate WHERE label = 'for West'"), 1);
}

#[tokio::test]
async fn a_batch_that_only_reads_is_carried_by_a_reader() {
    let shop = shop();
    let read = json!({"operations": [
        {"id": "r", "entity": "crate", "action": "read", "query_params": {"label": "like::bolt*"}}]});
    let batch = shop.batch(&read, None);
    assert!(batch.is_read_only());
    let (status, answer) = shop.send(&read, None).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"]["r"]["data"].as_array().map(Vec::len), Some(2));
    assert!(shop.groups.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_32_batches_at_once_each_is_kept_or_undone_as_a_whole() {
    let shop = Arc::new(shop());
    let running: Vec<_> = (0..32)
        .map(|number| {
            let shop = Arc::clone(&shop);
            tokio::spawn(async move {
                // Every fourth takes a name that is there, at its second level.
                let mut body = two_levels(&format!("d{number}"), &json!(format!("c{number}")));
                if number % 4 == 0 {
                    let taken = json!({"id": "x", "entity": "depot", "action": "create", "depends_on": ["c"],
                        "store_params": {"name": "North"}});
                    body["operations"].as_array_mut().unwrap().push(taken);
                }
                shop.send(&body, None).await
            })
        })
        .collect();
    for (number, one) in running.into_iter().enumerate() {
        let (status, answer) = one.await.unwrap();
        let fails = number % 4 == 0;
        assert_eq!(status, if fails { 400 } else { 200 }, "{answer}");
        assert_eq!(answer["rolledBack"] == true, fails);
        let crates = format!(
            "SELECT count(*) FROM crate JOIN depot USING (depot_id) WHERE label = 'c{number}' AND name = 'd{number}'"
        );
        assert_eq!(shop.count(&crates), i64::from(!fails));
    }
    assert_eq!(shop.count("SELECT count(*) FROM depot"), 3 + 24);
    assert_eq!(shop.groups.lock().unwrap().iter().sum::<usize>(), 24);
}

#[tokio::test]
async fn parts_of_a_batch_that_is_not_atomic_are_kept_one_by_one() {
    let shop = shop();
    let mut body = two_levels("West", &json!("w"));
    let operations = body["operations"].as_array_mut().unwrap();
    operations
        .push(json!({"id": "x", "entity": "depot", "action": "create", "store_params": {"name": "North"}}));
    operations.push(json!({"id": "y", "entity": "depot", "action": "create", "store_params": {"name": "Y"}}));
    body["options"] = json!({"atomic": false, "continueOnError": true});
    let (status, answer) = shop.send(&body, None).await;
    assert_eq!((status, &answer["success"]), (200, &json!(false)), "{answer}");
    assert_eq!(answer["failedOperations"], json!(["x"]));
    assert_eq!(shop.count("SELECT count(*) FROM depot WHERE name IN ('West', 'Y')"), 2);
}

#[tokio::test]
async fn a_batch_with_a_key_is_applied_once() {
    let shop = shop();
    let body = two_levels("West", &json!("w"));
    let first = shop.send(&body, Some("key")).await;
    let again = shop.send(&body, Some("key")).await;
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(first.1["results"], again.1["results"]);
    assert_eq!(shop.count("SELECT count(*) FROM depot WHERE name = 'West'"), 1);
}

#[tokio::test]
async fn a_dry_run_judges_deferred_keys_and_keeps_nothing() {
    let shop = shop();
    let mut body = json!({"operations": [
        {"id": "n", "entity": "note", "action": "create", "store_params": {"crate_id": 77}}]});
    body["options"] = json!({"dryRun": true});
    let (status, answer) = shop.send(&body, None).await;
    assert_ne!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let (status, answer) = shop.send(&json!({"operations": body["operations"]}), None).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(shop.count("SELECT count(*) FROM note"), 0);
}
