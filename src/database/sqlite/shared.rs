//! What the threads of one database share: the catalogue as it is now, how many of them are busy, who counts groups.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::Connection;

use super::introspect;
use super::statements;
use crate::batch::catalogue::{Catalogue, CatalogueSettings, DatabaseKind, StatementSettings};
use crate::database::DatabaseOpenError;

/// Told how many batches shared a COMMIT, after each.
pub type GroupListener = dyn Fn(usize) + Send + Sync;

/// Shared by the threads of one database.
pub(super) struct Shared {
    database: Arc<str>,
    settings: CatalogueSettings,
    statements: Vec<StatementSettings>,
    catalogue: RwLock<Arc<Catalogue>>,
    schema_version: AtomicI64,
    busy: AtomicUsize,
    on_group: Option<Arc<GroupListener>>,
}

impl Shared {
    /// Reads the tables for the first time.
    pub(super) fn new(
        database: Arc<str>,
        settings: CatalogueSettings,
        statements: Vec<StatementSettings>,
        on_group: Option<Arc<GroupListener>>,
        connection: &Connection,
    ) -> Result<Self, DatabaseOpenError> {
        let (version, catalogue) = read(&database, &settings, &statements, connection)?;
        Ok(Self {
            database,
            settings,
            statements,
            catalogue: RwLock::new(Arc::new(catalogue)),
            schema_version: AtomicI64::new(version),
            busy: AtomicUsize::new(0),
            on_group,
        })
    }

    /// Name of the database.
    pub(super) fn database(&self) -> &Arc<str> {
        &self.database
    }

    /// The catalogue as it is now.
    pub(super) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the tables again; the old catalogue stays when they do not fit the settings.
    pub(super) fn reload(&self, connection: &Connection) -> Result<(), DatabaseOpenError> {
        let (version, catalogue) = read(&self.database, &self.settings, &self.statements, connection)?;
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        self.schema_version.store(version, Ordering::Release);
        Ok(())
    }

    /// Reads the tables again if the file says that they have changed. Asking costs some microseconds.
    pub(super) fn look_at_schema(&self, connection: &Connection) {
        let Ok(version) = introspect::schema_version(connection) else {
            return;
        };
        if self.schema_version.swap(version, Ordering::AcqRel) != version
            && let Err(error) = self.reload(connection)
        {
            tracing::error!(%error, "the tables have changed and do not fit the settings; the old catalogue stays");
        }
    }

    /// A thread has something to do.
    pub(super) fn begin_work(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// And has done it.
    pub(super) fn end_work(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Threads that have something to do.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// So many batches were committed together.
    pub(super) fn committed(&self, batches: usize) {
        if let Some(listener) = &self.on_group {
            listener(batches);
        }
    }
}

fn read(
    database: &Arc<str>,
    settings: &CatalogueSettings,
    statements: &[StatementSettings],
    connection: &Connection,
) -> Result<(i64, Catalogue), DatabaseOpenError> {
    let unreadable = |error: rusqlite::Error| DatabaseOpenError::Away {
        database: Arc::clone(database),
        why: format!("its tables cannot be read: {error}"),
    };
    let version = introspect::schema_version(connection).map_err(unreadable)?;
    let tables = introspect::tables(connection).map_err(unreadable)?;
    let statements = statements::prepare_all(database, connection, statements)?;
    let catalogue = Catalogue::build(database, DatabaseKind::Sqlite, tables, settings, statements)
        .map_err(|faults| DatabaseOpenError::Catalogue { database: Arc::clone(database), faults })?;
    Ok((version, catalogue))
}
