//! The warehouses, each with a reader that is not penstock's.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use penstock::database::SecretUrl;
use penstock::plant::sync::WarehouseSettings;
use penstock::warehouse::adbc::DuckDbSettings;
use penstock::warehouse::postgres::PostgresSettings;
use penstock::warehouse::sqlite::SqliteSettings;

use crate::support::databases::{Database, Kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
    DuckDb,
}

/// A warehouse of its own.
pub enum Target {
    Sqlite(PathBuf),
    Postgres { url: String },
    DuckDb { file: PathBuf, library: String, python: String },
}

/// A switch of the tests.
pub fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "switches of the tests, not of penstock")]
    std::env::var(name).ok()
}

fn server() -> MutexGuard<'static, Database> {
    static SERVER: OnceLock<Mutex<Database>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Mutex::new(Database::start(Kind::Postgres)));
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `tests/warehouse/drivers.py` has fetched.
fn fetched(file: &str) -> Option<String> {
    let home = || Some(format!("{}/.cache", setting("HOME")?));
    let cache = setting("PENSTOCK_CLIENTS_DIR")
        .or_else(|| Some(format!("{}/penstock-clients", setting("XDG_CACHE_HOME").or_else(home)?)))?;
    let path = Path::new(&cache).join("drivers").join(file);
    path.is_file().then(|| path.display().to_string())
}

impl Target {
    /// A warehouse without a table, or `None` where the engine is not there, which is said.
    pub fn make(engine: Engine, folder: &Path) -> Option<Self> {
        let missing = |how: &str| {
            assert!(setting("PENSTOCK_TEST_SERVERS").is_none_or(|value| value != "1"), "{how}");
            let _told = writeln!(std::io::stderr(), "skipped: {how}");
        };
        match engine {
            Engine::Sqlite => Some(Self::Sqlite(folder.join("warehouse.sqlite"))),
            Engine::Postgres => {
                static NUMBER: AtomicU32 = AtomicU32::new(0);
                if !Path::new("/usr/lib/postgresql").exists() {
                    missing("Debian's package `postgresql`");
                    return None;
                }
                let name = format!("oracle_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
                let server = server();
                server.execute(&format!("CREATE DATABASE {name}"));
                Some(Self::Postgres { url: server.url_of(&name) })
            }
            Engine::DuckDb => {
                let library = setting("PENSTOCK_TEST_DUCKDB").or_else(|| fetched("duckdb/libduckdb.so"));
                match (library, fetched("reader/bin/python")) {
                    (Some(library), Some(python)) => {
                        Some(Self::DuckDb { file: folder.join("warehouse.duckdb"), library, python })
                    }
                    _ => {
                        missing("`tests/warehouse/drivers.py duckdb` and `--python` fetch DuckDB");
                        None
                    }
                }
            }
        }
    }

    pub fn settings(&self) -> WarehouseSettings {
        match self {
            Self::Sqlite(file) => WarehouseSettings::Sqlite(SqliteSettings::new(file)),
            Self::Postgres { url } => WarehouseSettings::Postgres(PostgresSettings::new(SecretUrl::new(url))),
            Self::DuckDb { file, library, .. } => WarehouseSettings::Duckdb(DuckDbSettings {
                driver: Some(library.clone()),
                ..DuckDbSettings::new(file)
            }),
        }
    }

    /// Rows of a query, each cell as the engine writes it.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file).unwrap();
                let mut statement = database.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
                let width = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..width).map(|at| Ok(sqlite_text(row.get_ref(at)?))).collect::<Result<Vec<_>, _>>()
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres { url } => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let (client, connection) =
                        tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                    tokio::spawn(connection);
                    let told =
                        client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
                    let cells = |row: &tokio_postgres::SimpleQueryRow| {
                        (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()
                    };
                    let rows = told.iter().filter_map(|message| match message {
                        tokio_postgres::SimpleQueryMessage::Row(row) => Some(cells(row)),
                        _ => None,
                    });
                    rows.collect()
                })
            }
            Self::DuckDb { file, python, .. } => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sync/ask_duckdb.py");
                let asked =
                    std::process::Command::new(python).arg(script).arg(file).arg(sql).output().unwrap();
                assert!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
                serde_json::from_slice(&asked.stdout).unwrap()
            }
        }
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.query(sql)[0][0].as_deref().unwrap().parse().unwrap()
    }

    /// The column in use of each field.
    pub fn columns(&self, table: &str) -> BTreeMap<String, String> {
        let sql = format!(
            "SELECT field, column_name, is_active FROM _penstock_columns WHERE target_table LIKE '%{table}'"
        );
        let rows = self.query(&sql).into_iter().filter_map(|row| {
            let is_active = matches!(row[2].as_deref(), Some("1" | "t" | "true" | "True"));
            is_active.then(|| (row[0].clone().unwrap(), row[1].clone().unwrap()))
        });
        rows.collect()
    }

    /// Cells by id and field. Each key is there once, or it panics.
    pub fn rows(&self, table: &str) -> BTreeMap<String, BTreeMap<String, Option<String>>> {
        let columns = self.columns(table);
        let fields: Vec<&String> = columns.keys().collect();
        let list: Vec<String> = columns.values().map(|column| format!("\"{column}\"")).collect();
        let mut found = BTreeMap::new();
        for row in self.query(&format!("SELECT {} FROM \"{table}\"", list.join(", "))) {
            let cells: BTreeMap<String, Option<String>> =
                fields.iter().map(|field| (*field).clone()).zip(row).collect();
            let id = cells["Id"].clone().unwrap();
            assert!(found.insert(id.clone(), cells).is_none(), "{id} is there twice");
        }
        found
    }
}

fn sqlite_text(cell: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
    }
}
