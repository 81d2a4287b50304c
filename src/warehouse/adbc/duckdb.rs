//! DuckDB, by its own library.
//!
//! Promises: the file is one process's; within the process it is opened once, however many connections there are; parts are
//! durable in files beside it, and go through the engine once, in the transaction that makes them the target's; tables have
//! no key, one row for each is the merge's doing; memory and threads are bounded; what a person asks may only read, and only
//! this file.

mod file;
mod ledger;
mod merge;
mod part;
mod query;
mod schema;
mod spelling;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::connection::{AdbcConnection, IngestTarget};
use super::rows::{ChunkReader, Constant};
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, LoadId, LoadMode, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount,
    TableColumn, TableLayout, TableName, TableState, Watermark,
};
use crate::warehouse::bytes::put_row;
use crate::warehouse::spool::read_chunks;
use crate::warehouse::staged::{self, StagedFolder, StagedPart};
use crate::warehouse::{
    Cancel, Caps, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError, check_staged,
};
use file::OpenFile;
use ledger::{Ledger, number};
use merge::{Merge, PART, Staged};
use part::PartReader;
use spelling::quote;

const KIND: &str = "duckdb";
/// Size of the log at which it is worked into the file: at the engine's own 16 MB that would be done in the middle of loads.
const CHECKPOINT_EVERY: &str = "256MB";
/// Tables of a commit's transaction, for rows and for keys that came alone.
const STAGED_ROWS: &str = "_stg_rows";
const STAGED_KEYS: &str = "_stg_keys";
/// Rows of a spool file that are in memory at a time.
const FILE_ROWS: usize = 4_096;

/// What is configured of a DuckDB warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuckDbSettings {
    /// The file; made where it is missing.
    pub path: PathBuf,
    /// The library or its manifest; `None`: the one called `duckdb`.
    pub driver: Option<String>,
    /// Folders with manifests or libraries.
    pub search: Vec<PathBuf>,
    /// The schema of penstock's own tables and of tables that are named without one; `None`: `main`.
    pub schema: Option<String>,
    /// Most memory that the engine takes; what does not fit goes to a folder beside the file.
    pub memory_bytes: u64,
    /// Threads of the engine.
    pub threads: u32,
}

impl DuckDbSettings {
    /// A file, with a quarter of a gigabyte, which tables of nine hundred columns need, and one thread: a second one doubles what a
    /// load costs and ends it hardly sooner.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            driver: None,
            search: Vec::new(),
            schema: None,
            memory_bytes: 256 << 20,
            threads: 1,
        }
    }
}

/// A connection to a file.
#[derive(Debug)]
pub struct DuckDbWarehouse {
    // Let go before its file.
    connection: AdbcConnection,
    schema: Option<String>,
    file: OpenFile,
    staged: StagedFolder,
    is_open: bool,
}

impl DuckDbWarehouse {
    /// Loads the driver and opens the file.
    ///
    /// # Errors
    /// A driver that is not there; a file that another process has.
    pub fn connect(settings: &DuckDbSettings) -> Result<Self, WarehouseError> {
        let file = OpenFile::open(settings)?;
        let mut connection = file.connect()?;
        let set = [
            format!("SET memory_limit = '{}KiB'", (settings.memory_bytes >> 10).max(1 << 14)),
            format!("SET threads = {}", settings.threads.max(1)),
            "SET TimeZone = 'UTC'".to_owned(),
            format!("SET wal_autocheckpoint = '{CHECKPOINT_EVERY}'"),
            // What a person asks reads this file and no other.
            "SET enable_external_access = false".to_owned(),
        ];
        for set in set {
            connection.execute(&set)?;
        }
        if let Some(schema) = &settings.schema {
            let schema = quote(schema);
            connection.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))?;
            connection.execute(&format!("USE {schema}"))?;
        }
        let staged = StagedFolder::beside(file.path());
        Ok(Self { connection, schema: settings.schema.clone(), file, staged, is_open: false })
    }

    fn ledger(&mut self) -> Ledger<'_> {
        Ledger { connection: &mut self.connection }
    }

    /// All of `work`, or nothing of it.
    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, WarehouseError>,
    ) -> Result<T, WarehouseError> {
        self.connection.execute("BEGIN TRANSACTION")?;
        match work(self) {
            Ok(done) => {
                let committed = self.connection.execute("COMMIT").map_err(|error| match error {
                    // Whether it was written is in the file, which is opened anew.
                    WarehouseError::Unreachable(why) => WarehouseError::Unsure(why),
                    told => told,
                });
                if committed.is_err() {
                    drop(self.connection.execute("ROLLBACK"));
                }
                committed.map(|_| done)
            }
            Err(error) => {
                // The error that is told is the first.
                drop(self.connection.execute("ROLLBACK"));
                Err(error)
            }
        }
    }

    fn count_rows(&mut self, sql: &str) -> Result<u64, WarehouseError> {
        let (_, rows) = self.connection.rows(sql)?;
        Ok(rows.row(0).map_or(0, |row| number(row.cell(0))))
    }

    fn ingest(
        &mut self,
        table: &str,
        rows: &Arc<RowChunk>,
        columns: &[TableColumn],
        constants: Vec<Constant>,
    ) -> Result<u64, WarehouseError> {
        let expected = rows.rows() as u64;
        if expected == 0 {
            return Ok(0);
        }
        let reader = ChunkReader::new(Arc::clone(rows), columns, constants);
        let failure = reader.failure();
        let target = IngestTarget { schema: self.schema.as_deref(), table, is_temporary: false };
        let count = self.connection.ingest(target, Box::new(reader)).map_err(|error| failure.or(error))?;
        if count.is_some_and(|count| count != expected) {
            return Err(WarehouseError::Engine(format!(
                "{expected} rows were given to it, it took another number"
            )));
        }
        Ok(expected)
    }

    /// Rows of parts into a table, in order.
    fn bring(
        &mut self,
        parts: &[StagedPart],
        target: IngestTarget<'_>,
        columns: &[TableColumn],
        constants: Vec<Constant>,
    ) -> Result<(), WarehouseError> {
        // One part by a call: of one call the engine gathers up to 204,800 rows, beside the memory that it is allowed.
        for part in parts {
            self.bring_part(part, target, columns, constants.clone())?;
        }
        Ok(())
    }

    fn bring_part(
        &mut self,
        part: &StagedPart,
        target: IngestTarget<'_>,
        columns: &[TableColumn],
        constants: Vec<Constant>,
    ) -> Result<(), WarehouseError> {
        let expected = part.receipt.rows;
        if expected == 0 {
            return Ok(());
        }
        let reader = PartReader::new(part.clone(), columns, constants);
        let failure = reader.failure();
        let count = self.connection.ingest(target, Box::new(reader));
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        match count? {
            Some(count) if count != expected => Err(WarehouseError::Engine(format!(
                "{expected} rows were given to it, it took another number"
            ))),
            _ => Ok(()),
        }
    }

    /// Staged rows and keys as tables of this transaction.
    fn bring_beside(&mut self, load: &LoadPlan, parts: &[StagedPart]) -> Result<Staged, WarehouseError> {
        let (keys, rows): (Vec<_>, Vec<_>) = parts.iter().cloned().partition(|part| part.is_keys);
        let mut staged = Staged::default();
        let beside = |table| IngestTarget { schema: None, table, is_temporary: true };
        if staged::count(&rows).rows > 0 {
            let columns = load.layout.columns.iter().map(|column| (column.name.as_str(), column.kind));
            let columns = spelling::definitions(columns);
            self.connection.execute(&format!("CREATE TEMPORARY TABLE {STAGED_ROWS} ({columns})"))?;
            self.bring(&rows, beside(STAGED_ROWS), &load.layout.columns, Vec::new())?;
            staged.rows = Some(STAGED_ROWS.to_owned());
        }
        if staged::count(&keys).keys > 0 {
            let key = key_of(load);
            let columns = spelling::definitions(key.iter().map(|column| (column.name.as_str(), column.kind)));
            self.connection
                .execute(&format!("CREATE TEMPORARY TABLE {STAGED_KEYS} ({PART} INTEGER, {columns})"))?;
            for part in &keys {
                let number = Constant::Number(PART, part.receipt.part.0.cast_signed());
                self.bring(std::slice::from_ref(part), beside(STAGED_KEYS), key, vec![number])?;
            }
            staged.keys = Some(STAGED_KEYS.to_owned());
        }
        Ok(staged)
    }

    /// The target as rows can be put into it as they are: it is empty, and its columns are the load's. A first load is then
    /// written once and not twice.
    fn empty_target(
        &mut self,
        load: &LoadPlan,
        target_columns: &[String],
    ) -> Result<Option<(Option<String>, String)>, WarehouseError> {
        let own = load.layout.columns.iter().map(|column| &column.name);
        let is_alike = own.len() == target_columns.len()
            && own.zip(target_columns).all(|(own, there)| own.eq_ignore_ascii_case(there));
        let schema = match load.table.above() {
            [] => self.schema.clone(),
            [schema] => Some(schema.clone()),
            _ => return Ok(None),
        };
        if !is_alike || !matches!(load.mode, LoadMode::Upsert | LoadMode::Replace) {
            return Ok(None);
        }
        let table = spelling::table(&load.table);
        let rows = self.count_rows(&format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1) AS t"))?;
        Ok((rows == 0).then(|| (schema, load.table.name().to_owned())))
    }

    /// Makes what is staged the target's, in the transaction that is open.
    fn merge(
        &mut self,
        load: &LoadPlan,
        parts: &[StagedPart],
        target_columns: &[String],
    ) -> Result<CommitReceipt, WarehouseError> {
        let empty = self.empty_target(load, target_columns)?;
        let staged = match &empty {
            Some((schema, table)) => {
                let rows: Vec<StagedPart> = parts.iter().filter(|part| !part.is_keys).cloned().collect();
                let target = IngestTarget { schema: schema.as_deref(), table, is_temporary: false };
                self.bring(&rows, target, &load.layout.columns, Vec::new())?;
                Staged::default()
            }
            None => self.bring_beside(load, parts)?,
        };
        let merge = Merge { connection: &mut self.connection, load, staged: &staged, target_columns };
        let receipt = if empty.is_some() { merge.of_first_rows()? } else { merge.run()? };
        for table in staged.rows.iter().chain(&staged.keys) {
            self.connection.execute(&format!("DROP TABLE {table}"))?;
        }
        Ok(receipt)
    }
}

/// The column of a load's key, in a slice of one.
fn key_of(load: &LoadPlan) -> &[TableColumn] {
    load.layout.columns.get(load.layout.key..=load.layout.key).unwrap_or_default()
}

impl Warehouse for DuckDbWarehouse {
    fn caps(&self) -> Caps {
        Caps {
            kind: KIND,
            columns_max: 10_000,
            precision_max: 38,
            connections_max: 1,
            part_rows: 10_000,
            has_stages: false,
        }
    }

    fn open(&mut self, owner: &str) -> Result<(), WarehouseError> {
        self.file.take(owner)?;
        self.in_transaction(|this| {
            this.ledger().make()?;
            this.ledger().write_owner(owner)
        })?;
        self.staged.make()?;
        if !std::mem::replace(&mut self.is_open, true) {
            // Between a commit and the end of its parts the daemon may have died.
            for load in self.staged.loads() {
                if self.ledger().receipt(&load)?.is_some() {
                    self.staged.remove(&load)?;
                }
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        self.table_state(table)
    }

    fn apply_schema(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        for change in changes {
            self.in_transaction(|this| this.apply(org, object, table, change))?;
        }
        Ok(self.ledger().table(table)?.unwrap_or_default().schema_version)
    }

    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        if let Some(receipt) = self.ledger().receipt(&load.id)? {
            return Ok(LoadState::Committed(receipt));
        }
        let parts: Vec<PartReceipt> =
            self.staged.parts(&load.id)?.into_iter().map(|part| part.receipt).collect();
        Ok(if parts.is_empty() { LoadState::Unknown } else { LoadState::Staged { parts } })
    }

    fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        self.ledger().watermark(org, object, table)
    }

    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        let layout = &load.layout;
        let key = key_of(load).first().ok_or_else(|| {
            WarehouseError::Engine(format!("the plan of a load into `{}` has no key", load.table))
        })?;
        let is_keys = matches!(source, PartSource::Keys(_));
        let columns = if is_keys { 1 } else { layout.columns.len() };
        let mut writer = self.staged.begin(&load.id, part, is_keys, columns)?;
        match source {
            PartSource::Rows(rows) => writer.push(rows, (layout.key, &key.name), put_row)?,
            PartSource::Keys(keys) => writer.push(keys, (0, &key.name), put_row)?,
            PartSource::File(file) => {
                read_chunks(file, layout, FILE_ROWS, &mut |rows| {
                    writer.push(rows, (layout.key, &key.name), put_row)
                })?;
            }
        }
        writer.finish()
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        let receipt = match self.ledger().receipt(&load.id)? {
            Some(receipt) => receipt,
            None => {
                let parts = self.staged.parts(&load.id)?;
                check_staged(expected, staged::count(&parts))?;
                let target_columns: Vec<String> =
                    self.engine_columns(&load.table)?.into_iter().map(|(name, _)| name).collect();
                self.in_transaction(|this| {
                    let mut receipt = this.merge(load, &parts, &target_columns)?;
                    receipt.staged = expected.rows;
                    this.ledger().write(load, &mut receipt)?;
                    if let Some(origin) = &load.origin {
                        this.ledger().write_origin(&load.org, &load.table, origin)?;
                    }
                    Ok(receipt)
                })?
            }
        };
        // The load is done. Whoever opens the warehouse next tries again.
        if let Err(error) = self.staged.remove(&load.id) {
            tracing::warn!(load = %load.id, %error, "staged rows of a load that is committed are still there");
        }
        Ok(receipt)
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        self.staged.remove(&load.id)
    }

    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError> {
        let (table, flag) = (spelling::table(table), quote(&layout.deleted_column));
        self.count_rows(&format!("SELECT count(*) FROM {table} WHERE NOT coalesce({flag}, false)"))
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        query::run(&mut self.connection, sql, sink)
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        self.in_transaction(|this| this.append(table, layout, load, part, rows))
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        Some(self.connection.cancel_handle())
    }
}

#[cfg(test)]
mod tests;
