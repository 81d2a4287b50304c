//! The plant's part for syncs: the warehouse's connections, the writer, the desk with what is left from before.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Outside, PlantError};
use crate::actors::engine::{Capacity, Engine, Journal, NoOutlet, Stage as _, StageConfig};
use crate::actors::fetcher::OrgClients;
use crate::actors::limiter_book::LimiterBook;
use crate::actors::sync_desk::{SyncDesk, SyncDeskParts};
use crate::actors::sync_pool::WarehousePool;
use crate::actors::sync_run::SyncLoads;
use crate::actors::warehouse_writer::{Patience, WarehouseWriter};
use crate::clock::SharedClock;
use crate::config::{Config, Secret, SyncProfileWord, TlsWord, WarehouseConfig, WarehouseKindWord};
use crate::database::{SecretUrl, TlsMode};
use crate::store::state_folder::StateFolder;
use crate::sync::{ObjectSettings, SyncSettings, TableName};
use crate::telemetry::Metrics;
use crate::warehouse::adbc::{
    DuckDbSettings, DuckDbWarehouse, SnowflakeLogin, SnowflakeSettings, SnowflakeWarehouse,
};
use crate::warehouse::postgres::{PostgresSettings, PostgresWarehouse};
use crate::warehouse::spool::Spool;
use crate::warehouse::sqlite::{SqliteSettings, SqliteWarehouse};
use crate::warehouse::{Warehouse, WarehouseError, WarehouseFactory};

/// Where a warehouse is, and how to get in.
#[derive(Debug, Clone)]
pub enum WarehouseSettings {
    /// A file.
    Sqlite(SqliteSettings),
    /// A PostgreSQL server.
    Postgres(PostgresSettings),
    /// A DuckDB file, by a library that is found when it is needed.
    Duckdb(DuckDbSettings),
    /// Snowflake, by a library that is found when it is needed.
    Snowflake(Box<SnowflakeSettings>),
}

impl WarehouseSettings {
    /// A warehouse as it is configured, whose files lie in `output_dir` where nothing else is said.
    pub fn of(warehouse: &WarehouseConfig, output_dir: &Path) -> Self {
        let file = |ending: &str| {
            let usual = || output_dir.join(format!("{}.{ending}", warehouse.name));
            warehouse.path.clone().unwrap_or_else(usual)
        };
        let secret = |secret: &Option<Secret>| secret.as_ref().map(Secret::to_secret_string);
        match warehouse.kind {
            WarehouseKindWord::Sqlite => Self::Sqlite(SqliteSettings::new(file("sqlite"))),
            WarehouseKindWord::Postgres => {
                let url = warehouse.url.as_ref().map_or("", Secret::expose);
                let mut settings = PostgresSettings::new(SecretUrl::new(url));
                settings.password = secret(&warehouse.password);
                settings.tls = match warehouse.tls {
                    TlsWord::Auto => TlsMode::Auto,
                    TlsWord::Disable => TlsMode::Disable,
                    TlsWord::Require => TlsMode::Require,
                };
                settings.ca_file.clone_from(&warehouse.ca_file);
                settings.schema.clone_from(&warehouse.schema);
                Self::Postgres(settings)
            }
            WarehouseKindWord::Duckdb => Self::Duckdb(DuckDbSettings {
                driver: warehouse.driver.clone(),
                search: warehouse.driver_path.iter().cloned().collect(),
                schema: warehouse.schema.clone(),
                memory_bytes: warehouse.memory.bytes(),
                threads: warehouse.threads,
                ..DuckDbSettings::new(file("duckdb"))
            }),
            WarehouseKindWord::Snowflake => Self::Snowflake(Box::new(snowflake(warehouse))),
        }
    }
}

fn snowflake(warehouse: &WarehouseConfig) -> SnowflakeSettings {
    let login = match &warehouse.private_key_file {
        Some(file) => SnowflakeLogin::KeyPair {
            file: file.clone(),
            passphrase: warehouse.private_key_password.as_ref().map(Secret::to_secret_string),
        },
        None => {
            let password = warehouse.password.as_ref().map(Secret::to_secret_string);
            SnowflakeLogin::Password(password.unwrap_or_else(|| String::new().into()))
        }
    };
    let (protocol, host, port) = endpoint(warehouse.endpoint.as_deref());
    SnowflakeSettings {
        driver: warehouse.driver.clone(),
        driver_search: warehouse.driver_path.iter().cloned().collect(),
        // The configuration's check has asked for these.
        account: warehouse.account.clone().unwrap_or_default(),
        user: warehouse.user.clone().unwrap_or_default(),
        login,
        role: warehouse.role.clone(),
        warehouse: warehouse.compute.clone(),
        database: warehouse.database.clone().unwrap_or_default(),
        schema: warehouse.schema.clone().unwrap_or_else(|| "PUBLIC".to_owned()),
        stage: None,
        host,
        port,
        protocol,
        request_timeout: Duration::from_secs(warehouse.request_timeout_secs),
    }
}

/// Scheme, host and port of `https://host:port`.
fn endpoint(endpoint: Option<&str>) -> (Option<String>, Option<String>, Option<u16>) {
    let Some(endpoint) = endpoint else { return (None, None, None) };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let rest = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (rest, None),
    };
    (Some(scheme.to_owned()), Some(host.to_owned()), port)
}

/// How connections to a warehouse are made.
#[derive(Clone)]
pub enum WarehouseMaker {
    /// As it is configured.
    Configured(WarehouseSettings),
    /// By somebody else, who has opened them too.
    Made(WarehouseFactory),
}

/// Size of the warehouse writer where nothing else is said: a few parts that wait, so that reading and writing overlap, and
/// memory holds no more than that of a load, however many rows it has.
pub const WRITER: StageConfig = StageConfig { slots: 2, mailbox: Capacity { items: 8, bytes: 8 << 20 } };

/// Syncs as they are configured.
#[derive(Clone)]
pub struct SyncSetup {
    /// What holds for every object.
    pub settings: SyncSettings,
    /// Where the thresholds come from, in words: `profile auto`, `bulk_api_threshold`.
    pub thresholds_origin: String,
    /// How connections to the warehouse are made.
    pub warehouse: WarehouseMaker,
    /// Most connections to it.
    pub connections: usize,
    /// Size of the warehouse writer.
    pub writer: StageConfig,
    /// How long is waited for a warehouse that fails for a passing reason.
    pub patience: Patience,
}

impl std::fmt::Debug for SyncSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncSetup").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl SyncSetup {
    /// Syncs as they are configured; `None` when there are none.
    pub fn of(config: &Config) -> Option<Self> {
        let settings = config.sync_settings().filter(|settings| !settings.objects.is_empty())?;
        let warehouse = config.warehouse_of(Some(&settings.warehouse))?;
        let connections = warehouse.connections as usize;
        Some(Self {
            thresholds_origin: thresholds_origin(config),
            warehouse: WarehouseMaker::Configured(WarehouseSettings::of(warehouse, &config.output_dir)),
            connections,
            writer: StageConfig { slots: WRITER.slots.max(connections), ..WRITER },
            patience: Patience::default(),
            settings,
        })
    }
}

/// Where the thresholds come from, in words.
fn thresholds_origin(config: &Config) -> String {
    let sync = &config.sync;
    let keys = [("bulk_api_threshold", sync.bulk_api_threshold), ("stage_threshold", sync.stage_threshold)];
    let named: Vec<String> =
        keys.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| format!("`{key}`")).collect();
    let profile = match sync.profile {
        SyncProfileWord::Auto => "profile auto".to_owned(),
        SyncProfileWord::Seed => "profile seed".to_owned(),
    };
    match named.len() {
        0 => profile,
        1 => format!("{}, otherwise {profile}", named.concat()),
        _ => named.join(" and "),
    }
}

/// Why syncs cannot be set up as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum SyncSetupError {
    /// Their rows would replace each other.
    #[error("objects `{one}` and `{other}` both go to table `{table}`: give one of them another `table`")]
    OneTable {
        /// The first.
        one: String,
        /// The second.
        other: String,
        /// The table.
        table: TableName,
    },
    /// An object that is there twice.
    #[error("object `{0}` is configured twice")]
    Twice(String),
    /// The files that wait for the warehouse.
    #[error("open the spool")]
    Spool(#[source] std::io::Error),
}

/// Two objects that would write to one table, or one that is there twice. Warehouses fold the case of names.
///
/// # Errors
/// The first of them.
pub fn check_tables(objects: &[ObjectSettings]) -> Result<(), SyncSetupError> {
    let mut by_table: HashMap<String, &ObjectSettings> = HashMap::new();
    let mut by_name: HashMap<String, ()> = HashMap::new();
    for settings in objects {
        if by_name.insert(settings.object.as_str().to_lowercase(), ()).is_some() {
            return Err(SyncSetupError::Twice(settings.object.to_string()));
        }
        if let Some(before) = by_table.insert(settings.table.to_string().to_lowercase(), settings) {
            return Err(SyncSetupError::OneTable {
                one: before.object.to_string(),
                other: settings.object.to_string(),
                table: settings.table.clone(),
            });
        }
    }
    Ok(())
}

/// What the plant lends to syncs.
pub(super) struct Lent<'p> {
    pub engine: &'p Engine,
    pub journal: &'p Arc<dyn Journal>,
    pub clients: &'p OrgClients,
    pub book: &'p Arc<LimiterBook>,
    pub state: &'p StateFolder,
    pub outside: &'p Outside,
    pub metrics: &'p Metrics,
}

/// The desk of the syncs.
pub(super) fn desk(setup: &SyncSetup, lent: Lent<'_>) -> Result<SyncDesk, PlantError> {
    check_tables(&setup.settings.objects)?;
    let Lent { engine, journal, clients, book, state, outside, metrics } = lent;
    let settings = Arc::new(setup.settings.clone());
    let folder = state.path().join("sync");
    let spool = Spool::open(&folder.join("spool"), settings.spool_bytes, Arc::clone(&outside.disk))
        .map_err(SyncSetupError::Spool)?;
    let loads = SyncLoads::default();
    let owner = state.path().display().to_string();
    let warehouse = match &setup.warehouse {
        WarehouseMaker::Made(factory) => Arc::clone(factory),
        WarehouseMaker::Configured(settings) => {
            factory(settings.clone(), owner, spool.clone(), outside.clock.clone())
        }
    };
    let pool = WarehousePool::new(&settings.warehouse, warehouse, setup.connections, outside.clock.clone());
    let write = WarehouseWriter::new(pool.clone(), loads.clone(), setup.patience);
    let writer =
        engine.stage(setup.writer, metrics.actor(WarehouseWriter::NAME), Arc::new(NoOutlet), move || {
            write.clone()
        });
    Ok(SyncDesk::new(SyncDeskParts {
        engine: engine.clone(),
        journal: Arc::clone(journal),
        clients: Arc::clone(clients),
        book: Arc::clone(book),
        settings,
        thresholds_origin: setup.thresholds_origin.clone(),
        pool,
        writer,
        loads,
        spool: Some(spool),
        rejects: folder.join("rejects"),
        metrics: metrics.clone(),
        clock: outside.clock.clone(),
        faults: Arc::clone(&outside.faults),
        seed: outside.seed,
        patience: setup.patience,
    }))
}

/// Makes connections of a warehouse, open for the daemon whose state folder is `owner`. Files on their way to a stage wait in
/// `spool`.
pub fn factory(
    settings: WarehouseSettings,
    owner: String,
    spool: Spool,
    clock: SharedClock,
) -> WarehouseFactory {
    let (place, key) = settings.place();
    let connect = move || -> Result<Box<dyn Warehouse>, WarehouseError> {
        let mut warehouse: Box<dyn Warehouse> = match &settings {
            WarehouseSettings::Sqlite(settings) => {
                make_folder_of(&settings.path)?;
                Box::new(SqliteWarehouse::connect(settings)?)
            }
            WarehouseSettings::Postgres(settings) => Box::new(PostgresWarehouse::connect(settings)?),
            WarehouseSettings::Duckdb(settings) => {
                make_folder_of(&settings.path)?;
                Box::new(DuckDbWarehouse::connect(settings)?)
            }
            WarehouseSettings::Snowflake(settings) => {
                Box::new(SnowflakeWarehouse::connect(settings, &spool, clock.clone())?)
            }
        };
        warehouse.open(&owner)?;
        Ok(warehouse)
    };
    Arc::new(move || connect().map_err(|error| placed(error, &place, key)))
}

impl WarehouseSettings {
    /// Where the warehouse is, without user and password, and the key that says so.
    fn place(&self) -> (String, &'static str) {
        match self {
            Self::Sqlite(settings) => (format!("sqlite `{}`", settings.path.display()), "warehouse.path"),
            Self::Duckdb(settings) => (format!("duckdb `{}`", settings.path.display()), "warehouse.path"),
            Self::Postgres(settings) => {
                let at = host_of(settings.url.expose());
                (at.map_or_else(|| "postgres".to_owned(), |at| format!("postgres at {at}")), "warehouse.url")
            }
            Self::Snowflake(settings) => (format!("snowflake `{}`", settings.account), "warehouse.account"),
        }
    }
}

/// Host and port of an address, and nothing else of it: what stands before them is a login.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let address = rest.split(['/', '?', '#']).next()?;
    let at = address.rsplit_once('@').map_or(address, |(_, at)| at);
    (!at.is_empty()).then_some(at)
}

/// An error of connecting, with the place and the key where a person can do something.
fn placed(error: WarehouseError, place: &str, key: &str) -> WarehouseError {
    let told = |message: String| format!("{place}: {message} (see `{key}`)");
    match error {
        WarehouseError::Unreachable(message) => WarehouseError::Unreachable(told(message)),
        WarehouseError::Denied(message) => WarehouseError::Denied(told(message)),
        error => error,
    }
}

/// A folder that the disk will not have is no passing trouble: nobody but a person mends a path.
fn make_folder_of(file: &Path) -> Result<(), WarehouseError> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            WarehouseError::Full(format!("the folder `{}`: {error}", folder.display()))
        }
        _ => WarehouseError::Denied(format!("the folder `{}` cannot be made: {error}", folder.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, table: &str) -> ObjectSettings {
        ObjectSettings::new(name.parse().unwrap(), table.parse().unwrap())
    }

    #[test]
    fn an_address_is_told_without_its_login() {
        assert_eq!(
            host_of("postgres://me:p%40ss@db.example.com:5432/crm?sslmode=require"),
            Some("db.example.com:5432")
        );
        assert_eq!(host_of("postgresql://db/crm"), Some("db"));
        assert_eq!(host_of("host=db password=x"), None);
        assert_eq!(host_of("postgres:///crm"), None);
        let refused = placed(
            WarehouseError::Denied("wrong password".to_owned()),
            "postgres at db:5432",
            "warehouse.url",
        );
        let told = refused.to_string();
        assert!(told.contains("db:5432") && told.contains("`warehouse.url`"), "{told}");
    }

    #[test]
    fn a_folder_that_can_never_be_made_is_not_waited_for() {
        let error = make_folder_of(Path::new("/proc/nope/crm.sqlite")).unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains("/proc/nope"), "{error}");
    }

    #[test]
    fn an_engine_that_takes_several_writers_takes_as_many_as_may_be_configured() {
        use crate::warehouse::WRITERS_MAX;
        let connections = |connections: usize| {
            let text = format!(
                "[[org]]\nname = \"demo\"\nsimulated = true\n[[warehouse]]\nname = \"w\"\nconnections = {connections}\n\
                 [[sync.object]]\nname = \"Lead\"\n"
            );
            let config = Config::parse(&text, "config.toml", std::iter::empty()).ok()?;
            SyncSetup::of(&config).map(|setup| setup.connections)
        };
        assert_eq!(connections(WRITERS_MAX), Some(WRITERS_MAX));
        assert_eq!(connections(WRITERS_MAX + 1), None, "it would be capped without a word");
    }

    #[test]
    fn an_endpoint_is_taken_apart() {
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(endpoint(None), (None, None, None));
        assert_eq!(endpoint(Some("http://127.0.0.1:8080/")), (own("http"), own("127.0.0.1"), Some(8_080)));
        assert_eq!(endpoint(Some("https://x.example.com")), (own("https"), own("x.example.com"), None));
    }

    #[test]
    fn a_configuration_says_where_its_thresholds_come_from() {
        let head = "[[org]]\nname = \"demo\"\nsimulated = true\n[[warehouse]]\nname = \"main\"\n";
        let text = format!("{head}[sync]\nstage_threshold = 60000\n[[sync.object]]\nname = \"Lead\"\n");
        let config = Config::parse(&text, "config.toml", std::iter::empty()).unwrap();
        let setup = SyncSetup::of(&config).unwrap();
        assert_eq!(setup.thresholds_origin, "`stage_threshold`, otherwise profile auto");
        assert!(matches!(setup.warehouse, WarehouseMaker::Configured(WarehouseSettings::Sqlite(_))));
        let none = Config::parse(head, "config.toml", std::iter::empty()).unwrap();
        assert!(SyncSetup::of(&none).is_none());
    }

    #[test]
    fn two_objects_do_not_share_a_table_whatever_the_case_of_its_name() {
        let apart = [object("Lead", "crm.people"), object("Contact", "raw.people")];
        assert!(check_tables(&apart).is_ok());
        let together = [object("Lead", "crm.people"), object("Contact", "CRM.People")];
        let why = check_tables(&together).unwrap_err().to_string();
        assert!(why.contains("`Lead` and `Contact`") && why.contains("CRM.People"), "{why}");
        let twice = [object("Lead", "a"), object("lead", "b")];
        assert!(check_tables(&twice).is_err());
    }
}
