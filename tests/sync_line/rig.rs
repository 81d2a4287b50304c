//! A plant with an org outside of it, a SQLite file as its warehouse, and both sides read back.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use penstock::actors::engine::{Fault, FaultPoint, NoFaults, StageConfig};
use penstock::actors::sync_desk::{SyncDesk, SyncOrder};
use penstock::actors::warehouse_writer::Patience;
use penstock::clock::SystemClock;
use penstock::config::Config;
use penstock::model::ObjectName;
use penstock::plant::sync::{SyncSetup, WRITER, WarehouseMaker, WarehouseSettings, factory};
use penstock::plant::{Outside, Plant};
use penstock::salesforce::replication::Fresh;
use penstock::salesforce::{BulkOptions, FieldPath, Select, Source};
use penstock::store::disk::RealDisk;
use penstock::sync::{DeletePolicy, ObjectSettings, SyncProfile, SyncResult, SyncSettings};
use penstock::telemetry::Metrics;
use penstock::warehouse::WarehouseFactory;
use penstock::warehouse::spool::Spool;
use penstock::warehouse::sqlite::SqliteSettings;
use serde_json::{Value, json};

use crate::plants::plant_when_free;

pub fn in_system<F: Future>(work: F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    system.block_on(work)
}

pub fn name(object: &str) -> ObjectName {
    object.parse().unwrap()
}

pub fn object(object: &str) -> ObjectSettings {
    ObjectSettings::new(name(object), object.to_lowercase().parse().unwrap())
}

/// Breaks a sync at one of its points, once.
pub struct BreakAt {
    point: &'static str,
    left: AtomicUsize,
}

impl BreakAt {
    pub fn once(point: &'static str) -> Arc<Self> {
        Arc::new(Self { point, left: AtomicUsize::new(1) })
    }

    pub fn has_struck(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

impl FaultPoint for BreakAt {
    fn strike(&self, actor: &'static str) -> Fault {
        if actor != self.point {
            return Fault::None;
        }
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) { Fault::Hang } else { Fault::None }
    }
}

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub config: Config,
    pub server: orgsim::Server,
    pub settings: SyncSettings,
    pub faults: Arc<dyn FaultPoint>,
    pub warehouse: Option<WarehouseFactory>,
    pub patience: Patience,
    pub writer: StageConfig,
}

impl Rig {
    /// An org with so many Leads, and objects to sync.
    pub async fn new(leads: u64, objects: Vec<ObjectSettings>) -> Self {
        Self::of_org("00D5g0000001234", leads, objects).await
    }

    /// An org of its own id.
    pub async fn of_org(id: &str, leads: u64, objects: Vec<ObjectSettings>) -> Self {
        let mut options = orgsim::Options { organization_id: id.to_owned(), ..orgsim::Options::default() };
        for (object, rows) in [("Lead", leads), ("Contact", 300), ("Account", 200)] {
            options.data.records.insert(object.to_owned(), rows);
        }
        let server = orgsim::Server::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[[org]]\nname = \"demo\"\nlogin_url = \"{}\"\nclient_id = \"orgsim-client\"\nclient_secret = \"orgsim-secret\"\n",
            server.url()
        );
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::load(Some(&path), std::iter::empty()).unwrap();
        config.state_dir = folder.path().join("state");
        config.output_dir = folder.path().join("output");
        let settings = SyncSettings {
            org: "demo".parse().unwrap(),
            warehouse: "main".to_owned(),
            thresholds: SyncProfile::Seed.thresholds(),
            overlap: Duration::from_secs(300),
            objects_at_once: 4,
            deletes: DeletePolicy::Flag,
            hard_deletes_every: None,
            formulas_every: None,
            reconcile_every: Some(Duration::ZERO),
            describe_for: Duration::from_secs(600),
            max_rejects_per_million: 1_000,
            spool_bytes: 256 << 20,
            objects,
        };
        let patience = Patience { pause: Duration::from_millis(50), longest: Duration::from_secs(3) };
        let faults = Arc::new(NoFaults);
        Self { folder, config, server, settings, faults, warehouse: None, patience, writer: WRITER }
    }

    /// Another org is behind the same name of the configuration, with so many Leads.
    pub async fn refreshed(&mut self, id: &str, leads: u64) {
        let other = Self::of_org(id, leads, Vec::new()).await;
        self.server = other.server;
        let text = std::fs::read_to_string(other.folder.path().join("config.toml")).unwrap();
        let path = self.folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let (state, output) = (self.config.state_dir.clone(), self.config.output_dir.clone());
        self.config = Config::load(Some(&path), std::iter::empty()).unwrap();
        (self.config.state_dir, self.config.output_dir) = (state, output);
    }

    /// The state folder is lost, as on another machine.
    pub fn lose_state(&self) {
        std::fs::remove_dir_all(&self.config.state_dir).unwrap();
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("warehouse.sqlite")
    }

    pub fn settings_of_sqlite(&self) -> WarehouseSettings {
        WarehouseSettings::Sqlite(SqliteSettings::new(self.file()))
    }

    /// Connections that somebody may put something before.
    pub fn sqlite(&self) -> WarehouseFactory {
        let spool = Spool::open(&self.folder.path().join("spool"), 1 << 20, Arc::new(RealDisk)).unwrap();
        let owner = self.config.state_dir.display().to_string();
        factory(self.settings_of_sqlite(), owner, spool, SystemClock::shared())
    }

    pub async fn plant(&self) -> Arc<Plant> {
        self.plant_with(Arc::clone(&self.faults)).await
    }

    pub async fn plant_with(&self, faults: Arc<dyn FaultPoint>) -> Arc<Plant> {
        let setup = SyncSetup {
            settings: self.settings.clone(),
            thresholds_origin: "profile seed".to_owned(),
            warehouse: match &self.warehouse {
                Some(factory) => WarehouseMaker::Made(Arc::clone(factory)),
                None => WarehouseMaker::Configured(self.settings_of_sqlite()),
            },
            connections: 2,
            writer: self.writer,
            patience: self.patience,
        };
        let outside = Outside { clock: SystemClock::shared(), disk: Arc::new(RealDisk), faults, seed: 7 };
        plant_when_free(async || {
            Plant::build_with(&self.config, Some(setup.clone()), outside.clone(), Metrics::new()).await
        })
        .await
    }

    /// Syncs everything in a plant of its own.
    pub async fn sync(&self) -> Vec<SyncResult> {
        self.order(SyncOrder::all()).await
    }

    pub async fn order(&self, order: SyncOrder) -> Vec<SyncResult> {
        let plant = self.plant().await;
        let results = desk(&plant).sync(order).await;
        close(plant).await;
        results
    }

    /// Syncs everything, which must go well.
    pub async fn synced(&self) -> Vec<SyncResult> {
        let results = self.sync().await;
        for result in &results {
            assert!(result.success, "{result:#?}");
        }
        results
    }

    /// Syncs until a point, and ends the plant there, as a crash would: nothing is said to anybody.
    pub async fn crash_at(&self, faults: Arc<BreakAt>) {
        let plant = self.plant_with(Arc::clone(&faults) as Arc<dyn FaultPoint>).await;
        let syncing = desk(&plant).clone();
        let run = tokio::spawn(async move { syncing.sync(SyncOrder::all()).await });
        for _ in 0..4_000 {
            if faults.has_struck() {
                break;
            }
            assert!(!run.is_finished(), "the sync came to its end: {:#?}", run.await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(faults.has_struck(), "the sync never came to {}", faults.point);
        run.abort();
        close(plant).await;
    }

    /// Fields of an object that a bulk job can read.
    pub async fn fields(&self, object: &str) -> Vec<String> {
        let plant = self.plant().await;
        let client = plant.clients.values().next().unwrap().clone();
        let described = client.describe_if_modified(&name(object), None).await.unwrap();
        let Fresh::Modified { value: describe, .. } = described else { panic!("nothing was known before") };
        close(plant).await;
        let is_plain = |kind: &str| !matches!(kind, "address" | "location" | "base64" | "complexvalue");
        describe
            .fields
            .into_iter()
            .filter(|field| is_plain(&field.field_type))
            .map(|field| field.name.to_string())
            .collect()
    }

    /// A bulk job that somebody else has made of every row.
    pub async fn job(&self, object: &str, fields: &[&str]) -> String {
        let plant = self.plant().await;
        let client = plant.clients.values().next().unwrap().clone();
        let paths = fields.iter().map(|field| FieldPath::read(field).unwrap());
        let soql = Select::new(paths, Source::from(&name(object))).build().unwrap();
        let mut query = client.bulk_query_once(&soql, true, BulkOptions::default()).await.unwrap();
        query.wait().await.unwrap();
        let id = query.checkpoint().job_id.clone();
        close(plant).await;
        id
    }

    pub async fn control(&self, path: &str, body: Value) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let url = self.server.url();
        let mut line = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: org\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        line.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }

    pub async fn change(&self, change: Value) {
        self.control("/__sim/rows", change).await;
    }

    /// The org's clock goes on, so that what was done before lies behind every window to come.
    pub async fn later(&self, secs: u64) {
        self.control("/__sim/clock", json!({ "advance_ms": secs * 1_000 })).await;
    }

    pub async fn hide(&self, fields: &[&str]) {
        self.control("/__sim/data", json!({ "hidden_fields": fields })).await;
    }

    /// API calls of some kind, as the org has them in its journal.
    pub fn calls(&self) -> u64 {
        self.server.journal().total
    }

    /// Bulk query jobs that were made.
    pub fn jobs_made(&self) -> usize {
        let journal = self.server.journal();
        journal
            .calls
            .iter()
            .filter(|call| call.method == "POST" && call.path.ends_with("/jobs/query"))
            .count()
    }

    /// Bulk query jobs that were deleted.
    pub fn jobs_deleted(&self) -> usize {
        let journal = self.server.journal();
        let is_job = |path: &str| path.contains("/jobs/query/");
        journal.calls.iter().filter(|call| call.method == "DELETE" && is_job(&call.path)).count()
    }

    /// Fields of live rows at the org, by id.
    pub async fn org_rows(&self, object: &str, fields: &[&str]) -> BTreeMap<String, Vec<Value>> {
        let plant = self.plant().await;
        let client = plant.clients.values().next().unwrap().clone();
        let paths = std::iter::once("Id").chain(fields.iter().copied());
        let paths = paths.map(|field| FieldPath::read(field).unwrap());
        let soql = Select::new(paths, Source::from(&name(object))).build().unwrap();
        let rows: Vec<Value> = client.query(&soql).await.unwrap();
        close(plant).await;
        rows.into_iter()
            .map(|row| {
                let id = row["Id"].as_str().unwrap().to_owned();
                (id, fields.iter().map(|field| row[*field].clone()).collect())
            })
            .collect()
    }

    /// Columns of live rows in the target, by id.
    pub fn target_rows(&self, table: &str, columns: &[&str]) -> BTreeMap<String, Vec<Value>> {
        let database = rusqlite::Connection::open(self.file()).unwrap();
        let named: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let list = named.iter().map(|column| format!(", {column}")).collect::<String>();
        let sql = format!("SELECT \"Id\"{list} FROM \"{table}\" WHERE NOT coalesce(\"IsDeleted\", 0)");
        let mut statement = database.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| {
            let id: String = row.get(0)?;
            let cells = (1..=columns.len()).map(|at| Ok(told(row.get_ref(at)?)));
            Ok((id, cells.collect::<rusqlite::Result<Vec<_>>>()?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    pub fn count(&self, sql: &str) -> i64 {
        let database = rusqlite::Connection::open(self.file()).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The target has what the org has.
    pub async fn is_equal(&self, object: &str, fields: &[&str]) {
        let org = self.org_rows(object, fields).await;
        let target = self.target_rows(&object.to_lowercase(), fields);
        assert_eq!(org.len(), target.len(), "rows of {object}");
        for (id, cells) in &org {
            assert_eq!(Some(cells), target.get(id), "{object} {id}");
        }
    }
}

fn told(cell: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(_) => json!("a blob"),
    }
}

/// The client sees the org's clock, which a test has put forward: a real one never jumps.
pub async fn see_the_clock(plant: &Plant) {
    drop(plant.clients.values().next().unwrap().versions().await.unwrap());
}

pub fn desk(plant: &Plant) -> &SyncDesk {
    plant.sync.as_ref().expect("there are syncs")
}

/// The plant lets go of its folder's lock and stores.
pub async fn close(plant: Arc<Plant>) {
    plant.engine.close();
    drop(plant);
    tokio::time::sleep(Duration::from_millis(300)).await;
}
