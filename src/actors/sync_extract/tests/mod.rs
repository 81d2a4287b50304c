//! Extraction against a simulated org: what is staged is what the org has, whatever breaks off in the middle.

mod bench;
mod faults;
mod jobs;
mod kills;
mod plain;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::model::{ObjectDescribe, ObjectName};
use crate::salesforce::rows::{self, Column, Columns, Row, epoch_days};
use crate::salesforce::transport::{HttpClient, HttpSettings};
use crate::salesforce::{
    Credentials, FieldPath, OpenGate, OrgClient, OrgSettings, RetryPolicy, SeededJitter, Select, Source,
    Surface,
};
use crate::sync::{ColumnType, DeletePolicy, LoadId, LoadMode, TableColumn, TableLayout};
use crate::warehouse::Cell;

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
    calls: Arc<AtomicU64>,
    folder: tempfile::TempDir,
}

/// An org with so many leads.
async fn sim(leads: u64) -> Sim {
    let mut options = orgsim::Options::default();
    options.data.records = HashMap::from([("Lead".to_owned(), leads)]);
    sim_with(options).await
}

async fn sim_with(options: orgsim::Options) -> Sim {
    let credentials = Credentials::ClientCredentials {
        client_id: options.client_id.clone(),
        client_secret: options.client_secret.clone().into(),
    };
    let server = orgsim::Server::start(options).await.unwrap();
    let settings = OrgSettings {
        retry: RetryPolicy { first_wait: Duration::from_millis(5), ..RetryPolicy::default() },
        ..OrgSettings::new("acme".parse().unwrap(), server.url(), "62.0".parse().unwrap(), credentials)
    };
    let http = Arc::new(HttpClient::new(&HttpSettings::default()).unwrap());
    let jitter = Arc::new(SeededJitter::new(1));
    let clock = Arc::new(Jumping::default());
    let client = OrgClient::new(settings, http, Arc::new(OpenGate), clock, jitter).unwrap();
    client.log_in().await.unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    Sim { server, client: client.counting(Arc::clone(&calls)), calls, folder: tempfile::tempdir().unwrap() }
}

impl Sim {
    async fn describe(&self, object: &str) -> ObjectDescribe {
        let object: ObjectName = object.parse().unwrap();
        let mut described = self.client.describe_group(std::slice::from_ref(&object)).await;
        let describe = described.pop().unwrap().1.unwrap();
        self.forget();
        describe
    }

    /// What was done so far is not counted.
    fn forget(&self) {
        self.server.reset_journal();
        self.calls.store(0, Ordering::SeqCst);
    }

    fn calls_of(&self, kind: &str) -> usize {
        self.server.journal().calls.iter().filter(|call| call.kind == kind).count()
    }

    /// An ask for every row of an object, over REST below `threshold` rows.
    async fn ask(&self, object: &str, threshold: u64) -> ExtractAsk {
        let describe = self.describe(object).await;
        let columns: Vec<TableColumn> = describe.fields.iter().filter_map(column_of).collect();
        self.ask_for(object, columns, threshold)
    }

    fn ask_for(&self, object: &str, columns: Vec<TableColumn>, threshold: u64) -> ExtractAsk {
        let place = |name: &str| columns.iter().position(|column| column.field == name);
        let layout = TableLayout {
            key: place("Id").unwrap(),
            stamp: place("SystemModstamp"),
            deleted: place("IsDeleted"),
            deleted_column: "IsDeleted".to_owned(),
            columns,
        };
        let plan = LoadPlan {
            id: LoadId::new(1_800_000_000_000, 7),
            org: "acme".parse().unwrap(),
            object: object.parse().unwrap(),
            table: "lead".parse().unwrap(),
            mode: LoadMode::Replace,
            layout,
            deletes: DeletePolicy::Flag,
            from: None,
            to: None,
            schema_version: 1,
            stage: None,
            is_filtered: false,
            origin: None,
            ousts: false,
        };
        ExtractAsk {
            plan: Arc::new(plan),
            wanted: Wanted::Rows,
            condition: String::new(),
            include_deleted: true,
            choose: Arc::new(move |rows, refused| match refused {
                None if rows >= threshold => (SyncMethod::BulkApiFull, format!("{rows} rows")),
                _ => (SyncMethod::RegularApiFull, format!("{rows} rows")),
            }),
            bulk_refused: None,
            existing_job_id: None,
            part_rows: 300,
            staged: Vec::new(),
            bulk: BulkOptions { rows_per_page: 1_000, ..BulkOptions::default() },
            spool: None,
            rejects: RejectRules { folder: self.folder.path().join("rejects"), per_million: 0 },
        }
    }

    /// What the org has, row by row, by a reader that knows nothing of parts.
    async fn expected(&self, ask: &ExtractAsk) -> BTreeMap<String, String> {
        let layout = &ask.plan.layout;
        let columns = layout
            .columns
            .iter()
            .map(|column| Column::new(column.field.as_str(), parts::kind_of(column.kind)));
        let columns = Columns::new(columns.collect()).unwrap();
        let fields = columns.as_slice().iter().map(|column| FieldPath::read(&column.name).unwrap());
        let soql = Select::new(fields, Source::from(&ask.plan.object)).build().unwrap();
        let surface = if ask.include_deleted { Surface::DataAndDeleted } else { Surface::Data };
        let mut pages = self.client.query_rows(surface, &soql, columns);
        let mut rows = BTreeMap::new();
        let mut taker = |row: &Row<'_>| {
            let told: String = row.cells().map(|cell| told_row_cell(&cell)).collect();
            let rows::Cell::Text(key) = row.cell(layout.key).unwrap() else { panic!("a row has an id") };
            rows.insert(key.into_owned(), told);
            Ok(())
        };
        while pages.next(&mut taker).await.unwrap().is_some() {}
        self.forget();
        rows
    }
}

fn column_of(field: &crate::model::FieldDescribe) -> Option<TableColumn> {
    let kind = match field.field_type.as_str() {
        "id" | "reference" => ColumnType::Id,
        "boolean" => ColumnType::Boolean,
        "int" => ColumnType::Int,
        "double" | "currency" | "percent" => {
            let scale = u8::try_from(field.scale).unwrap();
            ColumnType::Decimal {
                precision: u8::try_from(field.precision).unwrap().max(18),
                scale: scale.max(6),
            }
        }
        "date" => ColumnType::Date,
        "datetime" => ColumnType::DateTime,
        "time" => ColumnType::Time,
        "address" | "location" | "complexvalue" | "base64" => return None,
        _ => ColumnType::Text,
    };
    let name = field.name.as_str().to_owned();
    Some(TableColumn { field: name.clone(), name, kind })
}

fn told_row_cell(cell: &rows::Cell<'_>) -> String {
    match cell {
        rows::Cell::Null => told_cell(Cell::Null),
        rows::Cell::Boolean(value) => told_cell(Cell::Boolean(*value)),
        rows::Cell::Int(value) => told_cell(Cell::Int(*value)),
        rows::Cell::Decimal(text) => told_cell(Cell::Decimal(text)),
        rows::Cell::Text(text) => told_cell(Cell::Text(text)),
        rows::Cell::Date(date) => told_cell(Cell::Date(epoch_days(*date))),
        rows::Cell::DateTime(ms) => told_cell(Cell::DateTime(*ms)),
        rows::Cell::Time(ms) => told_cell(Cell::Time(*ms)),
        rows::Cell::Json(text) => told_cell(Cell::Json(text)),
    }
}

fn told_cell(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "-\u{1}".to_owned(),
        Cell::Boolean(value) => format!("b{value}\u{1}"),
        Cell::Int(value) => format!("i{value}\u{1}"),
        Cell::Decimal(text) => format!("d{text}\u{1}"),
        Cell::Text(text) => format!("t{text}\u{1}"),
        Cell::Date(days) => format!("D{days}\u{1}"),
        Cell::DateTime(ms) => format!("T{ms}\u{1}"),
        Cell::Time(ms) => format!("c{ms}\u{1}"),
        Cell::Json(text) => format!("j{text}\u{1}"),
        Cell::Unreadable => panic!("the org gives no such value"),
    }
}

/// Stands for the warehouse and the journal: what is here survives a crash.
#[derive(Default)]
struct Durable {
    parts: Mutex<BTreeMap<PartNumber, Vec<(String, String)>>>,
    keys: Mutex<BTreeMap<PartNumber, Vec<String>>>,
    files: AtomicU64,
    kept: Mutex<Option<String>>,
    /// The steps until the process dies: each put, each wait and each keep is one.
    steps_left: Mutex<Option<u64>>,
    puts: AtomicU64,
}

/// The end of the process, as an error.
#[derive(Debug, thiserror::Error)]
#[error("killed")]
struct Killed;

impl Durable {
    fn step(&self) -> Result<(), HandoverError> {
        let mut left = self.steps_left.lock().unwrap();
        match &mut *left {
            Some(0) => Err(Box::new(Killed)),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn kill_after(&self, steps: Option<u64>) {
        *self.steps_left.lock().unwrap() = steps;
    }

    fn staged(&self) -> Vec<PartReceipt> {
        let parts = self.parts.lock().unwrap();
        let keys = self.keys.lock().unwrap();
        let rows = parts.iter().map(|(part, rows)| PartReceipt { part: *part, rows: rows.len() as u64 });
        rows.chain(keys.iter().map(|(part, keys)| PartReceipt { part: *part, rows: keys.len() as u64 }))
            .collect()
    }

    fn state(&self) -> ExtractState {
        let kept = self.kept.lock().unwrap();
        kept.as_ref().map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
    }

    fn rows(&self) -> u64 {
        self.parts.lock().unwrap().values().map(|rows| rows.len() as u64).sum()
    }

    /// The rows by their key; one that stands twice fails.
    fn by_key(&self) -> BTreeMap<String, String> {
        let mut rows = BTreeMap::new();
        for (key, row) in self.parts.lock().unwrap().values().flatten() {
            assert!(rows.insert(key.clone(), row.clone()).is_none(), "`{key}` stands twice");
        }
        rows
    }

    /// Extracts from where it stands.
    async fn extract(&self, sim: &Sim, ask: &ExtractAsk) -> Result<Extracted, ExtractError> {
        let ask = ExtractAsk { staged: self.staged(), ..ask.clone() };
        let sink = Sink { durable: self, key: ask.plan.layout.key, layout: ask.plan.layout.clone() };
        extract(&sim.client, &ask, self.state(), None, &sink, self).await
    }
}

struct Sink<'d> {
    durable: &'d Durable,
    key: usize,
    layout: TableLayout,
}

impl PartSink for Sink<'_> {
    fn put(&self, part: PartNumber, source: PartSource) -> BoxFuture<'_, Result<(), HandoverError>> {
        Box::pin(async move {
            self.durable.step()?;
            self.durable.puts.fetch_add(1, Ordering::SeqCst);
            let mut rows = Vec::new();
            let mut take = |chunk: &crate::warehouse::RowChunk| {
                for row in chunk.iter() {
                    let Cell::Text(key) = row.cell(self.key) else { panic!("a row has a key") };
                    let told = row.cells().fold(String::new(), |mut told, cell| {
                        let _ = write!(told, "{}", told_cell(cell));
                        told
                    });
                    rows.push((key.to_owned(), told));
                }
            };
            match source {
                PartSource::Rows(chunk) => take(&chunk),
                PartSource::File(file) => {
                    self.durable.files.fetch_add(1, Ordering::SeqCst);
                    let read = crate::warehouse::spool::read_chunks(&file, &self.layout, 100, &mut |chunk| {
                        take(chunk);
                        Ok(())
                    });
                    assert_eq!(read.unwrap(), file.rows);
                }
                PartSource::Keys(chunk) => {
                    let keys = chunk.iter().map(|row| match row.cell(0) {
                        Cell::Text(key) => key.to_owned(),
                        _ => panic!("a key is there"),
                    });
                    self.durable.keys.lock().unwrap().insert(part, keys.collect());
                    return Ok(());
                }
            }
            self.durable.parts.lock().unwrap().insert(part, rows);
            Ok(())
        })
    }

    fn all_staged(&self) -> BoxFuture<'_, Result<(), HandoverError>> {
        Box::pin(async { self.durable.step() })
    }
}

impl KeepCursor for Durable {
    fn keep<'k>(&'k self, state: &'k ExtractState) -> BoxFuture<'k, Result<(), HandoverError>> {
        Box::pin(async move {
            self.step()?;
            *self.kept.lock().unwrap() = Some(serde_json::to_string(state).unwrap());
            Ok(())
        })
    }
}
