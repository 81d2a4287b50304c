//! What a batch of 100 operations costs in CPU, beside the database.
//!
//! `cargo bench --bench batch` reads and plans a body (the bar is 200 microseconds), and runs the whole batch, body to
//! answer, on an SQLite file beside raw SQLite: prepared statements, the same inserts with `RETURNING`, one transaction, the
//! rows written as JSON. Both write the same rows, which is checked. Time is the process's own CPU time; the disk does not
//! count, so neither does its sync. The bar: what penstock adds is at most twice what raw SQLite takes.
#![allow(missing_docs, clippy::expect_used, reason = "a bench says so by failing")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use penstock::batch::access::Caller;
use penstock::batch::catalogue::DatabaseKind;
use penstock::batch::check::{CheckContext, check_all};
use penstock::batch::request::{Limits, OperationClaims, parse};
use penstock::batch::run::{BatchRun, RunSettings, RunWatch};
use penstock::clock::SystemClock;
use penstock::database::sqlite::SqliteDatabase;
use penstock::database::{Database, DatabaseSettings};
use serde_json::json;

const OPERATIONS: usize = 100;
const BATCHES: usize = 50;
const ROUNDS: usize = 9;
const SCHEMA: &str = "
CREATE TABLE customer (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, city TEXT);
CREATE TABLE invoice (invoice_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customer (customer_id),
  number TEXT, total NUMERIC(12,2));
CREATE TABLE invoice_line (line_id INTEGER PRIMARY KEY, invoice_id INTEGER NOT NULL REFERENCES invoice (invoice_id),
  product TEXT NOT NULL, quantity INTEGER NOT NULL, price NUMERIC(12,2) NOT NULL);";

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` only want to know that it runs.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, batches) = if is_test { (1, 2) } else { (ROUNDS, BATCHES) };
    let body = body();
    let limits = Limits::default();
    let folder = tempfile::tempdir().expect("a folder");
    let own = Own::open(&folder.path().join("own.sqlite"));
    let raw = Raw::open(&folder.path().join("raw.sqlite"));
    assert!(own.run(&body) > 0 && raw.run() > 0, "both answer");

    let mut planned: Vec<f64> = Vec::new();
    let (mut whole, mut base): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for _ in 0..=rounds {
        planned.push(micros_each(batches, || {
            black_box(parse(&body, &limits, OperationClaims::Refuse).expect("a good batch"));
        }));
        whole.push(micros_each(batches, || {
            black_box(own.run(&body));
        }));
        base.push(micros_each(batches, || {
            black_box(raw.run());
        }));
    }
    // The first round warms.
    let ratios = whole.iter().zip(&base).skip(1).map(|(whole, base)| (whole - base) / base).collect();
    println!("| {OPERATIONS} operations, {} bytes | CPU us a batch |\n| --- | --- |", body.len());
    println!("| read and plan | {:.0} |", median(planned.split_off(1)));
    println!("| raw SQLite | {:.0} |", median(base.split_off(1)));
    println!("| penstock, body to answer, on SQLite | {:.0} |", median(whole.split_off(1)));
    println!("\nwhat penstock adds / raw SQLite: {:.2} (bar 2)", median(ratios));
}

fn body() -> Vec<u8> {
    let mut operations = vec![
        json!({ "id": "customer", "entity": "customer", "action": "create",
            "store_params": { "name": "Ada Lovelace", "email": "ada@example.org", "city": "London" } }),
        json!({ "id": "invoice", "entity": "invoice", "action": "create",
            "store_params": { "customer_id": "$ref:customer.customer_id", "number": "2026-0001", "total": 100.5 } }),
    ];
    operations.extend((0..OPERATIONS - 2).map(|line| {
        json!({ "id": format!("line_{line}"), "entity": "invoice_line", "action": "create", "store_params":
            { "invoice_id": "$ref:invoice.invoice_id", "product": format!("Part {line}"), "quantity": line + 1, "price": 9.75 } })
    }));
    json!({ "operations": operations }).to_string().into_bytes()
}

/// The batch as penstock runs it, without HTTP.
struct Own {
    database: SqliteDatabase,
    runtime: tokio::runtime::Runtime,
}

impl Own {
    fn open(file: &std::path::Path) -> Self {
        let mut settings = DatabaseSettings::new("bench", DatabaseKind::Sqlite);
        settings.path = Some(file.to_owned());
        settings.init_sql = Some(SCHEMA.into());
        let database = SqliteDatabase::open(settings, SystemClock::shared(), None).expect("the file opens");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { database, runtime }
    }

    /// Bytes of the answer.
    fn run(&self, body: &[u8]) -> usize {
        let limits = Arc::new(Limits::default());
        let (request, plan) = parse(body, &limits, OperationClaims::Refuse).expect("a good batch");
        let (catalogue, caller) = (self.database.catalogue(), Caller::default());
        let checked = check_all(
            &request.operations,
            &CheckContext {
                catalogue: &catalogue,
                caller: &caller,
                limits: &limits,
                options: &request.options,
            },
        );
        let settings = RunSettings {
            database_kind: DatabaseKind::Sqlite,
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            batch_timeout: Duration::from_secs(60),
            identity: None,
            idempotency: None,
            seed: 1,
        };
        let run = BatchRun::new(
            "01JD9Q00000000000000000000".into(),
            Arc::new(request),
            Arc::new(plan),
            checked,
            limits,
            settings,
            jiff::Timestamp::UNIX_EPOCH,
            RunWatch::default(),
        );
        let finished = self.runtime.block_on(self.database.run(run)).into_finished().expect("it ends");
        assert_eq!(finished.answer.status, 200, "{}", String::from_utf8_lossy(&finished.answer.body));
        finished.answer.body.len()
    }
}

/// What somebody would write who needs no batches.
struct Raw {
    connection: rusqlite::Connection,
}

impl Raw {
    fn open(file: &std::path::Path) -> Self {
        let connection = rusqlite::Connection::open(file).expect("the file opens");
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .expect("settings");
        connection.execute_batch(SCHEMA).expect("tables");
        Self { connection }
    }

    /// Bytes of the rows as JSON.
    fn run(&self) -> usize {
        const CUSTOMER: &str = "INSERT INTO customer (name, email, city) VALUES (?1, ?2, ?3) RETURNING customer_id, name, email, city";
        const INVOICE: &str = "INSERT INTO invoice (customer_id, number, total) VALUES (?1, ?2, ?3) \
                               RETURNING invoice_id, customer_id, number, total";
        const LINE: &str = "INSERT INTO invoice_line (invoice_id, product, quantity, price) VALUES (?1, ?2, ?3, ?4) \
                            RETURNING line_id, invoice_id, product, quantity, price";
        let transaction = self.connection.unchecked_transaction().expect("a transaction");
        let mut out = Vec::new();
        let customer: i64 = {
            let mut statement = transaction.prepare_cached(CUSTOMER).expect("it prepares");
            statement
                .query_row(("Ada Lovelace", "ada@example.org", "London"), |row| {
                    let (id, name, email, city) = (
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, String>(3)?,
                    );
                    write(
                        &mut out,
                        &json!({ "customer_id": id, "name": name, "email": email, "city": city }),
                    );
                    Ok(id)
                })
                .expect("a row")
        };
        let invoice: i64 = {
            let mut statement = transaction.prepare_cached(INVOICE).expect("it prepares");
            statement
                .query_row((customer, "2026-0001", 100.5), |row| {
                    let (id, customer, number, total) =
                        (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, f64>(3)?);
                    write(&mut out, &json!({ "invoice_id": id, "customer_id": customer, "number": number, "total": total }));
                    Ok(id)
                })
                .expect("a row")
        };
        let mut statement = transaction.prepare_cached(LINE).expect("it prepares");
        for line in 0..OPERATIONS - 2 {
            statement
                .query_row((invoice, format!("Part {line}"), line as i64 + 1, 9.75), |row| {
                    let (id, invoice) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
                    let (product, quantity, price) =
                        (row.get::<_, String>(2)?, row.get::<_, i64>(3)?, row.get::<_, f64>(4)?);
                    let row = json!({ "line_id": id, "invoice_id": invoice, "product": product, "quantity": quantity, "price": price });
                    write(&mut out, &row);
                    Ok(())
                })
                .expect("a row");
        }
        drop(statement);
        transaction.commit().expect("it commits");
        out.len()
    }
}

fn write(out: &mut Vec<u8>, row: &serde_json::Value) {
    serde_json::to_writer(out, row).expect("memory takes it");
}

fn micros_each(times: usize, mut work: impl FnMut()) -> f64 {
    let before = cpu_time();
    for _ in 0..times {
        work();
    }
    (cpu_time() - before).as_secs_f64() * 1e6 / times as f64
}

/// CPU time of this process, which other processes on the machine do not add to.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes to `time`, which lives through it.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the kernel knows the process's CPU time");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
