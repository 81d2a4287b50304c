//! DuckDB, by its own library.
//!
//! Promises: the file is one process's; within the process it is opened once, however many connections there are; parts are
//! durable in tables of their load's own; tables have no key, one row for each is the merge's doing; memory and threads are
//! bounded; what a person asks may only read, and only this file.

mod file;
mod ledger;
mod merge;
mod query;
mod schema;
mod spelling;

use std::path::PathBuf;
use std::sync::Arc;

use super::connection::{AdbcConnection, IngestTarget};
use super::rows::{ChunkReader, Constant};
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount,
    TableColumn, TableLayout, TableName, TableState, Watermark,
};
use crate::warehouse::spool::read_chunks;
use crate::warehouse::{
    Cancel, Caps, Cell, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError, check_staged,
};
use file::OpenFile;
use ledger::{Ledger, number};
use merge::{Merge, PART, Staged};
use spelling::quote;

const KIND: &str = "duckdb";
/// Size of the log at which it is worked into the file. Staged rows are dropped before that, as a rule: working them into the
/// file at the engine's own 16 MB doubles what they cost.
const CHECKPOINT_EVERY: &str = "256MB";
/// Ways to compress that are not tried. Trying them on each column costs a fifth of what a load does, and of the columns of
/// objects they shrink only long texts, which another way shrinks nearly as much: 16.3 MiB instead of 16.0 for 200,000 rows.
const COMPRESSION_LEFT_OUT: &str = "zstd";
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
            format!("SET disabled_compression_methods = '{COMPRESSION_LEFT_OUT}'"),
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
        Ok(Self { connection, schema: settings.schema.clone(), file })
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
        let target = IngestTarget { schema: self.schema.as_deref(), table };
        let count = self.connection.ingest(target, Box::new(reader)).map_err(|error| failure.or(error))?;
        if count.is_some_and(|count| count != expected) {
            return Err(WarehouseError::Engine(format!(
                "{expected} rows were given to it, it took another number"
            )));
        }
        Ok(expected)
    }

    /// Names of a load's staging tables: for rows, for keys.
    fn staging(load: &LoadPlan) -> (String, String) {
        let name = load.table.name();
        (format!("_stg_{name}_{}", load.id), format!("_key_{name}_{}", load.id))
    }

    fn drop_staged(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        let (rows, keys) = Self::staging(load);
        for table in [rows, keys] {
            self.connection.execute(&format!("DROP TABLE IF EXISTS {}", quote(&table)))?;
        }
        self.ledger().forget_parts(&load.id)
    }

    /// Makes the table for a load's rows or for its keys, if it is not there.
    fn make_staging(&mut self, load: &LoadPlan, has_rows: bool) -> Result<(), WarehouseError> {
        let (rows, keys) = Self::staging(load);
        let (table, columns) =
            if has_rows { (rows, load.layout.columns.as_slice()) } else { (keys, key_of(load)) };
        let columns = columns.iter().map(|column| (column.name.as_str(), column.kind));
        let columns = spelling::definitions(columns);
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({PART} INTEGER, {columns})", quote(&table));
        self.connection.execute(&sql).map(drop)
    }

    fn stage_chunk(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        chunk: &Arc<RowChunk>,
        has_rows: bool,
    ) -> Result<u64, WarehouseError> {
        let (rows, keys) = Self::staging(load);
        let key = key_of(load);
        let (table, columns, key_cell) =
            if has_rows { (rows, load.layout.columns.as_slice(), load.layout.key) } else { (keys, key, 0) };
        if chunk.iter().any(|row| row.cell(key_cell) == Cell::Null) {
            let column = key.first().map_or_else(String::new, |key| key.name.clone());
            return Err(WarehouseError::BadValue { column, message: "a row has no key".to_owned() });
        }
        self.ingest(&table, chunk, columns, vec![Constant::Number(PART, part.0.cast_signed())])
    }

    /// Takes out what a part was before.
    fn clear_part(&mut self, load: &LoadPlan, part: PartNumber) -> Result<(), WarehouseError> {
        let before = self.ledger().parts(&load.id)?;
        let Some((_, has_rows)) = before.into_iter().find(|(receipt, _)| receipt.part == part) else {
            return Ok(());
        };
        let (rows, keys) = Self::staging(load);
        let table = quote(if has_rows { &rows } else { &keys });
        self.connection.execute(&format!("DELETE FROM {table} WHERE {PART} = {}", part.0.cast_signed()))?;
        self.ledger().forget_part(&load.id, part).map(drop)
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
        })
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
            self.ledger().parts(&load.id)?.into_iter().map(|(receipt, _)| receipt).collect();
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
        self.in_transaction(|this| {
            this.clear_part(load, part)?;
            let has_rows = !matches!(source, PartSource::Keys(_));
            this.make_staging(load, has_rows)?;
            let rows = match source {
                PartSource::Rows(chunk) | PartSource::Keys(chunk) => {
                    this.stage_chunk(load, part, chunk, has_rows)?
                }
                PartSource::File(file) => read_chunks(file, &load.layout, FILE_ROWS, &mut |chunk| {
                    this.stage_chunk(load, part, &Arc::new(chunk.clone()), true).map(drop)
                })?,
            };
            let receipt = PartReceipt { part, rows };
            this.ledger().write_part(&load.id, receipt, has_rows)?;
            Ok(receipt)
        })
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        if let Some(receipt) = self.ledger().receipt(&load.id)? {
            return Ok(receipt);
        }
        let parts = self.ledger().parts(&load.id)?;
        let (row_table, key_table) = Self::staging(load);
        let staged = Staged {
            rows: parts.iter().any(|(_, has_rows)| *has_rows).then(|| quote(&row_table)),
            keys: parts.iter().any(|(_, has_rows)| !has_rows).then(|| quote(&key_table)),
        };
        let mut count = |table: &Option<String>| match table {
            Some(table) => self.count_rows(&format!("SELECT count(*) FROM {table}")),
            None => Ok(0),
        };
        check_staged(expected, StagedCount { rows: count(&staged.rows)?, keys: count(&staged.keys)? })?;
        let target_columns: Vec<String> =
            self.engine_columns(&load.table)?.into_iter().map(|(name, _)| name).collect();
        self.in_transaction(|this| {
            let merge = Merge {
                connection: &mut this.connection,
                load,
                staged: &staged,
                target_columns: &target_columns,
            };
            let mut receipt = merge.run()?;
            receipt.staged = expected.rows;
            this.ledger().write(load, &mut receipt)?;
            this.drop_staged(load)?;
            Ok(receipt)
        })
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        self.in_transaction(|this| this.drop_staged(load))
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
