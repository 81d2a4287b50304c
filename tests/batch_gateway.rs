//! Batches through the whole of it: HTTP, the front, the engine's mailbox, the gateway, a SQLite file.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use penstock::actors::batch_gateway::{BatchTimes, FrontSettings};
use penstock::actors::engine::{
    ActorMetrics, Engine, EngineParts, Fault, FaultPoint, MemoryJournal, NoFaults, RestartPolicy,
    SeededChance,
};
use penstock::batch::catalogue::{Catalogue, DatabaseKind};
use penstock::batch::request::{Limits, OperationClaims};
use penstock::batch::run::{BatchRun, GiveUp};
use penstock::clock::{BoxFuture, SharedClock, SystemClock};
use penstock::database::sqlite::SqliteDatabase;
use penstock::database::{ConnectionsState, Database, DatabaseOpenError, DatabaseSettings, Enforcement};
use penstock::http::HttpHandle;
use penstock::http::api::{self, ApiSources};
use penstock::http::jwks::{Admission, TokenDoor};
use penstock::plant::batches::{Batches, OpenDatabase};
use penstock::telemetry::Metrics;
use serde_json::{Value, json};

const TABLES: &str = "CREATE TABLE customer (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE invoice (invoice_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customer,
                          total NUMERIC);";

fn in_system<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(async move { test().await });
}

struct Rig {
    engine: Engine,
    metrics: Metrics,
    server: Option<HttpHandle>,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What stands between the gateway and the file.
type Wrap = fn(Arc<dyn Database>) -> Arc<dyn Database>;

fn rig(faults: Arc<dyn FaultPoint>, queue_depth: usize, wrap: Wrap) -> Rig {
    let (clock, metrics): (SharedClock, _) = (SystemClock::shared(), Metrics::new());
    let parts = EngineParts {
        clock: clock.clone(),
        runtime: tokio::runtime::Handle::current(),
        policy: RestartPolicy { restarts: 1, ..RestartPolicy::default() },
        journal: Arc::new(MemoryJournal::default()),
        chance: Arc::new(SeededChance::new(1)),
        faults,
    };
    let escalations = prometheus::IntCounter::new("e_total", "e").unwrap();
    let engine = Engine::start(parts, ActorMetrics::detached(), escalations);
    let folder = tempfile::tempdir().unwrap();
    let settings = DatabaseSettings {
        path: Some(folder.path().join("shop.sqlite")),
        init_sql: Some(Arc::from(TABLES)),
        ..DatabaseSettings::new("shop", DatabaseKind::Sqlite)
    };
    let database = wrap(Arc::new(SqliteDatabase::open(settings, clock.clone(), None).unwrap()));
    let second = Duration::from_secs(1);
    let settings = FrontSettings {
        limits: Arc::new(Limits::default()),
        operation_claims: OperationClaims::Refuse,
        inflight_per_subject: 8,
        times: BatchTimes { statement: second * 5, lock: second * 2, idle: second * 10, batch: second * 15 },
        seed: 1,
    };
    let open = OpenDatabase { database, enforcement: Enforcement::Rules, connections: 1, queue_depth };
    let batches = Batches::start(&engine, &metrics, &clock, vec![open], settings);
    let door = TokenDoor::new(Vec::new(), Admission { anonymous: true, roles: Vec::new() }, clock);
    let sources = ApiSources { service: Some(Arc::new(batches.front)), door: Arc::new(door), leads: None };
    let server = api::start(SocketAddr::from(([127, 0, 0, 1], 0)), sources).unwrap();
    Rig { engine, metrics, addr: server.addr(), server: Some(server), _folder: folder }
}

impl Rig {
    async fn send(&self, path: &'static str, headers: &'static str, body: Value) -> (u16, String, String) {
        let addr = self.addr;
        tokio::task::spawn_blocking(move || exchange(addr, path, headers, &body.to_string())).await.unwrap()
    }

    async fn batch(&self, headers: &'static str, body: Value) -> (u16, String, Value) {
        let (status, head, body) = self.send("/batch", headers, body).await;
        (status, head, serde_json::from_str(&body).expect("JSON"))
    }

    async fn end(mut self) {
        let server = self.server.take();
        tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
        self.engine.close();
    }
}

fn exchange(addr: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn order() -> Value {
    json!({ "operations": [
        { "id": "c", "entity": "customer", "action": "create", "store_params": { "name": "Ada" } },
        { "id": "i", "entity": "invoice", "action": "create",
          "store_params": { "customer_id": "$ref:c.customer_id", "total": 12.5 } },
    ] })
}

fn count() -> Value {
    json!({ "operations": [
        { "id": "n", "entity": "customer", "action": "read", "metadata_params": { "count": true } },
    ] })
}

#[test]
fn a_batch_goes_through_the_engine_and_is_counted() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |database| database);
        let (status, head, answer) = rig.batch("", order()).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        assert_eq!(
            answer["results"]["i"]["data"]["customer_id"],
            answer["results"]["c"]["data"]["customer_id"]
        );
        let id = answer["meta"]["batchId"].as_str().unwrap().to_lowercase();
        assert!(head.contains(&format!("penstock-batch-id: {id}")), "{head}");
        assert_eq!(rig.metrics.batch_requests_total.with_label_values(&["ok"]).get(), 1);
        let created = ["invoice", "create", "completed"];
        assert_eq!(rig.metrics.batch_operations_total.with_label_values(&created).get(), 1);
        let (status, _, refused) = rig.batch("", json!({ "operations": [] })).await;
        assert_eq!((status, &refused["kind"]), (400, &json!("empty_batch")));
        assert_eq!(rig.metrics.batch_requests_total.with_label_values(&["invalid"]).get(), 1);
        rig.end().await;
    });
}

#[test]
fn a_repeated_key_is_answered_with_the_first_answer_and_runs_nothing() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |database| database);
        let (_, _, first) = rig.batch("Idempotency-Key: k\r\n", order()).await;
        let (status, head, second) = rig.batch("Idempotency-Key: k\r\n", order()).await;
        assert_eq!((status, &second), (200, &first));
        assert!(head.contains("idempotent-replayed: true"), "{head}");
        assert_eq!(rig.batch("", count()).await.2["results"]["n"]["data"]["count"], 1);
        let mut other = order();
        other["operations"][0]["store_params"]["name"] = json!("Bob");
        let (status, _, other) = rig.batch("Idempotency-Key: k\r\n", other).await;
        assert_eq!((status, &other["kind"]), (422, &json!("key_reused")));
        assert_eq!(rig.metrics.batch_idempotent_replays_total.get(), 1);
        rig.end().await;
    });
}

#[test]
fn a_plan_says_the_order_and_touches_no_table() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |database| database);
        let (status, _, plan) = rig.send("/batch/plan", "", order()).await;
        let plan: Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(
            (status, &plan["order"], &plan["groups"]),
            (200, &json!(["c", "i"]), &json!([["c"], ["i"]]))
        );
        assert_eq!(
            (&plan["independent"], &plan["operations"]["c"]["dependents"]),
            (&json!(["c"]), &json!(["i"]))
        );
        assert_eq!(rig.batch("", count()).await.2["results"]["n"]["data"]["count"], 0);
        rig.end().await;
    });
}

#[test]
fn lines_come_one_by_one_from_a_batch_that_is_not_atomic() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |database| database);
        let mut body = order();
        body["options"] = json!({ "atomic": false });
        let (status, head, text) = rig.send("/batch", "Accept: application/x-ndjson\r\n", body).await;
        assert!(status == 200 && head.contains("application/x-ndjson"), "{status} {head}");
        let lines: Vec<Value> = text
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0]["order"], json!(["c", "i"]));
        assert_eq!((&lines[1]["id"], &lines[2]["id"]), (&json!("c"), &json!("i")));
        assert_eq!(lines[3]["success"], true);
        assert!(lines[3].get("results").is_none());
        rig.end().await;
    });
}

#[test]
fn a_paused_or_leaving_engine_says_so_and_when_to_come_back() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |database| database);
        rig.engine.pause().await.unwrap();
        let (status, head, answer) = rig.batch("", order()).await;
        assert_eq!((status, &answer["kind"]), (503, &json!("paused")));
        assert!(head.contains("retry-after: "), "{head}");
        rig.engine.resume().await.unwrap();
        assert_eq!(rig.batch("", order()).await.0, 200);
        rig.engine.drain(Duration::from_secs(1)).await;
        assert_eq!(rig.batch("", order()).await.0, 503);
        rig.end().await;
    });
}

/// A database of which every connection is gone, or whose driver panics in the middle.
struct Broken {
    inner: Arc<dyn Database>,
    panics: bool,
}

impl Database for Broken {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn kind(&self) -> DatabaseKind {
        self.inner.kind()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.catalogue()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        self.inner.reload()
    }

    fn run(&self, mut batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        Box::pin(async move {
            assert!(!self.panics, "the driver panics, on purpose");
            batch.give_up(GiveUp::DatabaseAway);
            batch
        })
    }

    fn state(&self) -> ConnectionsState {
        self.inner.state()
    }
}

#[test]
fn a_lost_connection_rebuilds_the_gateway_and_never_degrades_the_daemon() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |inner| Arc::new(Broken { inner, panics: false }));
        for _ in 0..6 {
            let (status, _, answer) = rig.batch("", order()).await;
            assert_eq!((status, &answer["kind"]), (503, &json!("database_unavailable")), "{answer}");
        }
        let restarts = rig.metrics.actor_restarts_total.with_label_values(&["batch_gateway", "connection"]);
        assert!(restarts.get() >= 3, "{}", restarts.get());
        assert!(!rig.engine.run_state().degraded);
        rig.end().await;
    });
}

#[test]
fn a_batch_whose_handler_panicked_is_not_run_again() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 8, |inner| Arc::new(Broken { inner, panics: true }));
        let (status, _, answer) = rig.batch("", order()).await;
        assert_eq!((status, &answer["outcome"]), (503, &json!("unknown")), "{answer}");
        assert!(rig.engine.dead_letters().is_empty());
        rig.end().await;
    });
}

/// Panics before the handler's first line, once.
struct BeforeIt(AtomicUsize);

impl FaultPoint for BeforeIt {
    fn strike(&self, actor: &str) -> Fault {
        let strikes = actor == "batch_gateway" && self.0.fetch_add(1, Ordering::Relaxed) == 0;
        if strikes { Fault::Panic } else { Fault::None }
    }
}

#[test]
fn a_batch_that_was_not_begun_when_its_handler_panicked_is_run_by_the_next() {
    in_system(|| async {
        let rig = rig(Arc::new(BeforeIt(AtomicUsize::new(0))), 8, |database| database);
        assert_eq!(rig.batch("", order()).await.0, 200);
        assert_eq!(rig.batch("", count()).await.2["results"]["n"]["data"]["count"], 1, "once");
        rig.end().await;
    });
}

#[test]
fn a_full_queue_is_told_at_once() {
    in_system(|| async {
        let rig = rig(Arc::new(NoFaults), 1, |inner| Arc::new(Slow(inner)));
        let sends: Vec<_> = (0..6)
            .map(|_| {
                let addr = rig.addr;
                tokio::task::spawn_blocking(move || exchange(addr, "/batch", "", &order().to_string()))
            })
            .collect();
        let (mut done, mut refused) = (0, 0);
        for send in sends {
            match send.await.unwrap() {
                (200, ..) => done += 1,
                (503, head, body) => {
                    assert!(head.contains("retry-after: 1") && body.contains("queue_full"), "{head} {body}");
                    refused += 1;
                }
                (other, _, body) => panic!("{other} {body}"),
            }
        }
        assert_eq!((done, refused), (2, 4), "one in hand, one in the queue");
        rig.end().await;
    });
}

/// Takes its time.
struct Slow(Arc<dyn Database>);

impl Database for Slow {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn kind(&self) -> DatabaseKind {
        self.0.kind()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.0.catalogue()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        self.0.reload()
    }

    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.run(batch).await
        })
    }

    fn state(&self) -> ConnectionsState {
        self.0.state()
    }
}
