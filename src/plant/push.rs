//! The plant's part for pushes: settings from the configuration, a connection to the warehouse of each, the desk.

use std::io;
use std::sync::Arc;

use super::sync::{WarehouseMaker, WarehouseSettings, factory};
use super::{Outside, PlantError};
use crate::actors::engine::Engine;
use crate::actors::fetcher::OrgClients;
use crate::actors::push_desk::{PushDesk, PushDeskParts, PushDoor};
use crate::config::{Config, PushConfig, PushOperationWord};
use crate::model::OrgName;
use crate::store::state_folder::StateFolder;
use crate::sync::TableName;
use crate::sync::push::{PushOperation, PushSettings};
use crate::telemetry::Metrics;
use crate::warehouse::spool::Spool;
use crate::warehouse::{WarehouseFactory, WarehouseThread};

/// Files of a push on their way to a stage are small: the rows of its results.
const SPOOL_BYTES: u64 = 256 << 20;

/// Why pushes cannot be set up as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum PushSetupError {
    /// The file with its query.
    #[error("read the query of push `{push}` from `{file}`")]
    Sql {
        /// Its name.
        push: String,
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The folder of what is under way, or a thread.
    #[error("set up pushes")]
    Io(#[from] io::Error),
}

/// A push as the configuration says; its check has looked at everything but the file.
fn settings(config: &PushConfig, schema: Option<&str>) -> Result<Option<PushSettings>, PushSetupError> {
    let sql = match (&config.sql, &config.sql_file) {
        (Some(sql), _) => sql.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|source| PushSetupError::Sql {
            push: config.name.clone(),
            file: file.display().to_string(),
            source,
        })?,
        (None, None) => return Ok(None),
    };
    let operation = match config.operation {
        PushOperationWord::Upsert => {
            let field = config.external_id.as_deref().and_then(|field| field.parse().ok());
            let Some(external_id) = field else { return Ok(None) };
            PushOperation::Upsert { external_id }
        }
        PushOperationWord::Insert => PushOperation::Insert,
        PushOperationWord::Update => PushOperation::Update,
        PushOperationWord::Delete => PushOperation::Delete,
    };
    let Ok(object) = config.object.parse() else { return Ok(None) };
    Ok(Some(PushSettings {
        clear_nulls: config.clear_nulls,
        batch_rows: config.rows_per_job,
        bulk_from: config.bulk_api_threshold,
        results: results_table(&config.results_table, schema),
        every: config.every.map(|every| every.duration()),
        cron: config.cron.clone(),
        ..PushSettings::new(&config.name, object, operation, &sql)
    }))
}

/// The results table, in the warehouse's schema where it names none.
fn results_table(name: &str, schema: Option<&str>) -> Option<TableName> {
    let table: TableName = name.parse().ok()?;
    match schema.and_then(|schema| schema.parse::<TableName>().ok()) {
        Some(schema) if table.above().is_empty() => {
            let above = schema.above().iter().cloned().chain([schema.name().to_owned()]);
            Some(TableName::new(above.collect(), table.name()))
        }
        _ => Some(table),
    }
}

/// The desk of the pushes; `None` when there are none. A warehouse that syncs write to is taken as they take it.
pub(super) fn desk(
    config: &Config,
    of_syncs: Option<(&str, &WarehouseMaker)>,
    engine: &Engine,
    clients: &OrgClients,
    state: &StateFolder,
    outside: &Outside,
    metrics: &Metrics,
) -> Result<Option<PushDesk>, PlantError> {
    if config.push.is_empty() {
        return Ok(None);
    }
    let folder = state.path().join("push");
    let spool = Spool::open(&folder.join("spool"), SPOOL_BYTES, Arc::clone(&outside.disk))
        .map_err(PushSetupError::Io)?;
    let owner = state.path().display().to_string();
    let mut warehouses = Warehouses::default();
    let mut pushes = Vec::new();
    for push in &config.push {
        let Some(warehouse) = config.warehouse_of(push.warehouse.as_deref()) else { continue };
        let Some(org) = org_of(config, push) else { continue };
        let Some(settings) = settings(push, warehouse.schema.as_deref())? else { continue };
        let thread = warehouses.thread(&warehouse.name, || {
            let maker = match of_syncs.filter(|(name, _)| *name == warehouse.name) {
                Some((_, maker)) => maker.clone(),
                None => WarehouseMaker::Configured(WarehouseSettings::of(warehouse, &config.output_dir)),
            };
            match maker {
                WarehouseMaker::Made(factory) => factory,
                WarehouseMaker::Configured(settings) => {
                    factory(settings, owner.clone(), spool.clone(), outside.clock.clone())
                }
            }
        });
        let thread = thread.map_err(PushSetupError::Io)?;
        pushes.push(PushDoor { settings, org, warehouse: thread });
    }
    Ok(Some(PushDesk::new(PushDeskParts {
        engine: engine.clone(),
        clients: Arc::clone(clients),
        pushes,
        folder,
        metrics: metrics.clone(),
        clock: outside.clock.clone(),
        seed: outside.seed,
    })))
}

/// Where connections to each warehouse come from.
#[derive(Default)]
struct Warehouses(Vec<(String, WarehouseFactory)>);

impl Warehouses {
    /// A push's own: the query of another may take an hour. It has no connection before its push runs.
    fn thread(&mut self, name: &str, make: impl FnOnce() -> WarehouseFactory) -> io::Result<WarehouseThread> {
        let known = self.0.iter().find(|(known, _)| known == name).map(|(_, factory)| Arc::clone(factory));
        let factory = known.unwrap_or_else(|| {
            let factory = make();
            self.0.push((name.to_owned(), Arc::clone(&factory)));
            factory
        });
        WarehouseThread::start("warehouse-push", factory)
    }
}

fn org_of(config: &Config, push: &PushConfig) -> Option<OrgName> {
    push.org.clone().or_else(|| config.org.first().map(|org| org.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::sqlite::{SqliteSettings, SqliteWarehouse};
    use crate::warehouse::{Warehouse, WarehouseError};

    #[tokio::test]
    async fn a_query_that_takes_its_time_holds_no_other_push_of_its_warehouse_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sqlite");
        let make = || -> WarehouseFactory {
            let path = path.clone();
            Arc::new(move || -> Result<Box<dyn Warehouse>, WarehouseError> {
                Ok(Box::new(SqliteWarehouse::connect(&SqliteSettings::new(&path))?))
            })
        };
        let mut warehouses = Warehouses::default();
        let one = warehouses.thread("main", make).unwrap();
        let other = warehouses.thread("main", || unreachable!("it is known")).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let asked = tokio::spawn(async move { one.call(move |_| Ok(held.recv().is_ok())).await });
        tokio::task::yield_now().await;
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), other.call(|_| Ok(()))).await;
        assert!(answer.is_ok(), "it waited for the other push's query");
        release.send(()).unwrap();
        assert!(asked.await.unwrap().unwrap());
    }
}
