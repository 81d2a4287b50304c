//! The plant's part for syncs: the warehouse's connections, the writer, the desk with what is left from before.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Outside, PlantError};
use crate::actors::engine::{Capacity, Engine, Journal, NoOutlet, Stage as _, StageConfig};
use crate::actors::fetcher::OrgClients;
use crate::actors::limiter_book::LimiterBook;
use crate::actors::sync_desk::{SyncDesk, SyncDeskParts};
use crate::actors::sync_pool::WarehousePool;
use crate::actors::sync_run::SyncLoads;
use crate::actors::warehouse_writer::{Patience, WarehouseWriter};
use crate::store::state_folder::StateFolder;
use crate::sync::{ObjectSettings, SyncSettings, TableName};
use crate::telemetry::Metrics;
use crate::warehouse::spool::Spool;
use crate::warehouse::sqlite::{SqliteSettings, SqliteWarehouse};
use crate::warehouse::{Warehouse, WarehouseError, WarehouseFactory};

/// Where a warehouse is, and how to get in.
#[derive(Debug, Clone)]
pub enum WarehouseSettings {
    /// A file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// The address, with the user and without the password.
        url: String,
        /// The password.
        password: Option<SecretString>,
        /// Schema of penstock's own tables, and of tables that name none.
        schema: Option<String>,
    },
    /// A DuckDB file, by a library that is found when it is needed.
    Duckdb {
        /// The file.
        path: PathBuf,
        /// The library, or the name of its manifest.
        driver: Option<String>,
        /// Options of the driver and of DuckDB.
        options: Vec<(String, String)>,
    },
    /// Snowflake, by a library that is found when it is needed.
    Snowflake {
        /// The library, or the name of its manifest.
        driver: Option<String>,
        /// Options of the driver; the account, the database and the like.
        options: Vec<(String, String)>,
        /// Options that are secret: the password, the key.
        secrets: Vec<(String, SecretString)>,
    },
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
    /// Makes connections to the warehouse.
    pub warehouse: WarehouseFactory,
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
    let pool = WarehousePool::new(
        &settings.warehouse,
        Arc::clone(&setup.warehouse),
        setup.connections,
        outside.clock.clone(),
    );
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

/// Makes connections of a warehouse, open for the daemon whose state folder is `owner`.
pub fn factory(settings: WarehouseSettings, owner: String) -> WarehouseFactory {
    Arc::new(move || {
        let mut warehouse = connect(&settings)?;
        warehouse.open(&owner)?;
        Ok(warehouse)
    })
}

fn connect(settings: &WarehouseSettings) -> Result<Box<dyn Warehouse>, WarehouseError> {
    let missing = |kind| WarehouseError::Driver {
        kind,
        why: "it is not in this build".to_owned(),
        remedy: "take another warehouse".to_owned(),
    };
    match settings {
        WarehouseSettings::Sqlite { path } => {
            Ok(Box::new(SqliteWarehouse::connect(&SqliteSettings::new(path))?))
        }
        WarehouseSettings::Postgres { .. } => Err(missing("postgres")),
        WarehouseSettings::Duckdb { .. } => Err(missing("duckdb")),
        WarehouseSettings::Snowflake { .. } => Err(missing("snowflake")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, table: &str) -> ObjectSettings {
        ObjectSettings {
            object: name.parse().unwrap(),
            table: table.parse().unwrap(),
            match_field: "Id".to_owned(),
            use_stage: false,
            stage_name: None,
            force_full_sync: false,
            filter: None,
            existing_job_id: None,
            delete_job: true,
            exclude: Vec::new(),
            compounds: false,
            base64: false,
            every: None,
            cron: None,
        }
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
