//! A warehouse in PostgreSQL.
//!
//! Promises: those of [`Warehouse`]. Rows go in by COPY, into tables of their own for each load, and become the target's in
//! one transaction while readers go on; nobody needs to install anything. The login needs the right to make tables in the
//! schema of penstock's own tables and in the targets' schemas. A pooler that gives each transaction another session will not
//! do: the lock that keeps a second daemon out belongs to a session.

mod commit;
mod copying;
mod faults;
mod ledger;
mod merge;
mod names;
mod owner;
mod query;
mod schema;
mod session;
mod stage;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use self::commit::{Ending, take_turn};
use self::copying::ChunkText;
use self::faults::Fault;
use self::ledger::OwnTables;
use self::names::{Place, Staging, lock_number, quote};
use self::owner::{Hold, HoldPlace};
use self::schema::Steps;
use self::session::{CopyFault, Session};
use self::stage::{Stage, column_names};
use super::{Cancel, Caps, PartSource, QuerySink, RowChunk, WRITERS_MAX, Warehouse, WarehouseError};
use crate::database::{SecretUrl, TlsMode};
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount,
    TableLayout, TableName, TableState, Watermark,
};

/// PostgreSQL takes 1,600 columns; two of a staging table and the one for deleted rows are penstock's.
const COLUMNS_MAX: usize = 1_590;

/// What a warehouse is connected with. Connections of one daemon are made with clones of one.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Where, with user and perhaps password.
    pub url: SecretUrl,
    /// Stands in for the URL's.
    pub password: Option<SecretString>,
    /// A file that holds the password, read anew for each connection.
    pub password_file: Option<PathBuf>,
    /// How the connection is secured.
    pub tls: TlsMode,
    /// PEM file of certificates that are trusted beside the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Where penstock's own tables are, and targets without a schema; the login's own when it is not given.
    pub schema: Option<String>,
    /// Waiting for one lock may take so long.
    pub lock_timeout: Duration,
    hold: HoldPlace,
}

impl PostgresSettings {
    /// Every default, for a warehouse at this place.
    pub fn new(url: SecretUrl) -> Self {
        Self {
            url,
            password: None,
            password_file: None,
            tls: TlsMode::Auto,
            ca_file: None,
            schema: None,
            lock_timeout: Duration::from_secs(30),
            hold: HoldPlace::default(),
        }
    }
}

/// One connection to a warehouse in PostgreSQL.
pub struct PostgresWarehouse {
    session: Session,
    settings: PostgresSettings,
    /// Of penstock's own tables.
    schema: String,
    database: String,
    tables: OwnTables,
    hold: Arc<Hold>,
}

impl std::fmt::Debug for PostgresWarehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresWarehouse").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PostgresWarehouse {
    /// Connects. Blocks, and is called on a thread that may.
    ///
    /// # Errors
    /// The server is away or refuses the login, or a setting does not fit.
    pub fn connect(settings: &PostgresSettings) -> Result<Self, WarehouseError> {
        let session = Session::connect(settings)?;
        let about = |fault: Fault| fault.about("the server");
        let row =
            session.row("SELECT current_database()::text, current_schema()::text", &[]).map_err(about)?;
        let database: String = row.try_get(0).map_err(|error| about(error.into()))?;
        let current: Option<String> = row.try_get(1).map_err(|error| about(error.into()))?;
        let schema = settings.schema.clone().or(current).ok_or_else(|| {
            WarehouseError::Denied("the login has no schema of its own; name one with `schema`".to_owned())
        })?;
        let tables = OwnTables::of(&schema);
        Ok(Self { session, settings: settings.clone(), schema, database, tables, hold: settings.hold.get() })
    }

    fn place(&self, table: &TableName) -> Result<Place, WarehouseError> {
        let schema = match table.above() {
            [] => self.schema.clone(),
            [schema] => schema.clone(),
            [database, schema] if *database == self.database => schema.clone(),
            [..] => {
                return Err(WarehouseError::Altered {
                    table: table.to_string(),
                    what: format!(
                        "it is in another database than `{}`, which this connection is to",
                        self.database
                    ),
                });
            }
        };
        Ok(Place { schema, name: table.name().to_owned() })
    }

    fn staging(&self, load: &LoadPlan) -> Staging {
        Staging::of(&self.schema, &load.table, &load.id)
    }

    fn stage_of<'a>(&'a self, load: &'a LoadPlan, staging: &'a Staging) -> Stage<'a> {
        Stage { session: &self.session, tables: &self.tables, staging, load }
    }

    /// Runs `work` in a transaction.
    fn transaction<T>(
        &self,
        about: &str,
        work: impl FnOnce() -> Result<T, WarehouseError>,
    ) -> Result<T, WarehouseError> {
        let about = |fault: Fault| fault.about(about);
        self.session.batch("BEGIN").map_err(about)?;
        let done = work().and_then(|done| self.session.batch("COMMIT").map_err(about).map(|()| done));
        if done.is_err() {
            // Of no use on a connection that broke, where the server does the same.
            let _ = self.session.batch("ROLLBACK");
        }
        done
    }
}

impl Warehouse for PostgresWarehouse {
    fn caps(&self) -> Caps {
        Caps {
            kind: "postgres",
            columns_max: COLUMNS_MAX,
            precision_max: 38,
            connections_max: WRITERS_MAX,
            part_rows: 10_000,
            has_stages: false,
        }
    }

    fn open(&mut self, owner: &str) -> Result<(), WarehouseError> {
        if let Err(fault) = self.tables.make(&self.session, &self.schema) {
            let _ = self.session.batch("ROLLBACK");
            return Err(fault.about(&self.tables.loads));
        }
        self.hold.take(&self.settings, &self.schema, &self.tables, owner)
    }

    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        schema::table(&self.session, &self.tables, &self.place(table)?)
    }

    fn apply_schema(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        let place = self.place(table)?;
        let steps = Steps { session: &self.session, tables: &self.tables, place: &place, org, object };
        let mut version = schema::version(&self.session, &self.tables, &place)
            .map_err(|fault| fault.about(&place.told()))?;
        for change in changes {
            version = steps.carry_out(change)?;
        }
        Ok(version)
    }

    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        let place = self.place(&load.table)?;
        let staging = self.staging(load);
        let told = place.told();
        let about = |fault: Fault| fault.about(&told);
        self.transaction(&told, || {
            // A connection that is lost may still be at its COMMIT.
            take_turn(&self.session, load).map_err(about)?;
            match self.tables.receipt(&self.session, load).map_err(about)? {
                Some(receipt) => Ok(LoadState::Committed(receipt)),
                None => self.stage_of(load, &staging).state().map_err(about),
            }
        })
    }

    fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        let told = self.place(table)?.told();
        let watermark = self.tables.watermark(&self.session, org.as_str(), object.as_str(), &told);
        watermark.map_err(|fault| fault.about(&told))
    }

    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        self.stage_of(load, &self.staging(load)).put(part, source)
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        let (place, staging) = (self.place(&load.table)?, self.staging(load));
        let ending = Ending {
            session: &self.session,
            schema: &self.schema,
            tables: &self.tables,
            hold: &self.hold,
            place: &place,
            stage: &self.stage_of(load, &staging),
            load,
        };
        ending.commit(expected)
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        let staging = self.staging(load);
        self.transaction(&staging.rows, || {
            self.stage_of(load, &staging).let_go().map_err(|fault| fault.about(&staging.rows))
        })
    }

    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError> {
        let place = self.place(table)?;
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {} IS NOT TRUE",
            place.quoted(),
            quote(&layout.deleted_column)
        );
        let counted = self.session.row(&sql, &[]).and_then(|row| Ok(row.try_get::<_, i64>(0)?));
        counted.map(|count| count.max(0) as u64).map_err(|fault| fault.about(&place.told()))
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        query::run(&self.session, sql, sink)
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        let place = self.place(table)?;
        let (target, told) = (place.quoted(), place.told());
        let about = |fault: Fault| fault.about(&told);
        let lock = lock_number("log", &told);
        self.transaction(&told, || {
            // Whoever appends the same part elsewhere has now either done so or waits.
            self.session.batch(&format!("SELECT pg_advisory_xact_lock({lock})")).map_err(about)?;
            schema::make_log(&self.session, &place, layout).map_err(about)?;
            let sql = format!("DELETE FROM {target} WHERE _load = $1 AND _part = $2");
            self.session.execute(&sql, &[&load.as_str(), &i64::from(part.0)]).map_err(about)?;
            let mut text = ChunkText::log(load.as_str(), part.0, rows);
            let sql = format!("COPY {target} (_load, _part, {}) FROM STDIN", column_names(layout));
            self.session.copy(&sql, &mut || Ok(text.more())).map(drop).map_err(|fault| match fault {
                CopyFault::Server(fault) => about(fault),
                CopyFault::Source(error) => error,
            })
        })
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        self.session.cancel_handle()
    }
}
