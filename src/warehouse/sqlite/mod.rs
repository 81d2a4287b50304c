//! SQLite: a warehouse in one file, for which nothing needs to be installed.
//!
//! Promises: what is acknowledged is on the disk; other programs can read the file all the while; memory does not grow
//! with the number of rows; one daemon to a file, and a file that crashed with its daemon is free.
//!
//! | module | what it does |
//! | --- | --- |
//! | `pack` | values as SQLite will keep them, as bytes |
//! | `schema` | tables and their columns |
//! | `commit` | the transaction that makes staged rows the target's |
//! | `ledger` | loads that are done, and the watermark |
//! | `query` | queries that people wrote, and that can only read |
//! | `log` | tables that are only appended to |
//! | `lock` | one daemon to a file |
//! | `errors` | SQLite's errors as ours |
//!
//! Measured (`bench`, 200,000 rows of 30 columns, on a machine that others used): a row costs 1.1 us of CPU to stage and
//! 2.8 to 3.6 us to commit into an empty table, in the order of its ids or in none; 2.8 us when it is there and the same,
//! 4.9 us when it is there and other, 10 us when it is the one in ten that is (each such row is a page of its own in the
//! log). At 2,000,000 rows the process had 25 MB at most. A table without row ids was no faster; parts as a table of
//! SQLite's would have cost its log and its checkpoint twice, and left the file at twice its size.

#[cfg(test)]
mod bench;
mod commit;
mod errors;
mod ledger;
mod lock;
mod log;
mod pack;
mod query;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags};

use self::lock::FileLock;
use self::pack::pack;
use super::staged::StagedFolder;
use super::{Cancel, Caps, ChunkRow, PartSource, QuerySink, RowChunk, Warehouse, WarehouseError};
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    ColumnType, CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange,
    StagedCount, TableLayout, TableName, TableState, Watermark,
};

/// Rows of a part that it takes best: enough for one wait on the disk, few enough to be held in memory.
const PART_ROWS: usize = 10_000;
/// SQLite's own limit is 2,000; the column for deleted rows is one of them.
const COLUMNS_MAX: usize = 1_990;

/// Where the warehouse is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The file; made where it is missing, its folder is not.
    pub path: PathBuf,
    /// How long a lock of another program is waited for.
    pub wait_for_locks: Duration,
}

impl SqliteSettings {
    /// The file, with a wait of five seconds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), wait_for_locks: Duration::from_secs(5) }
    }
}

/// One connection to a file.
pub struct SqliteWarehouse {
    /// The file, as it is told.
    told: String,
    path: PathBuf,
    /// Opened without the right to write, for queries of people. Closed before the writer, which then works its log into the file.
    reader: Connection,
    writer: Connection,
    staged: StagedFolder,
    lock: Option<Arc<FileLock>>,
    stop: Arc<Stop>,
}

impl std::fmt::Debug for SqliteWarehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteWarehouse").field("path", &self.path).finish_non_exhaustive()
    }
}

struct Stop {
    /// Between two statements there is nothing to interrupt.
    is_cancelled: AtomicBool,
    writer: InterruptHandle,
    reader: InterruptHandle,
}

impl Cancel for Stop {
    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.writer.interrupt();
        self.reader.interrupt();
    }
}

impl SqliteWarehouse {
    /// Opens the file, which is not taken for anybody before [`Warehouse::open`].
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn connect(settings: &SqliteSettings) -> Result<Self, WarehouseError> {
        let told = settings.path.display().to_string();
        let failed = |error: rusqlite::Error| errors::of(&told, &error);
        let path = whole(&settings.path)
            .map_err(|error| WarehouseError::Unreachable(format!("the folder of `{told}`: {error}")))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(&path, flags).map_err(failed)?;
        writer.busy_timeout(settings.wait_for_locks).map_err(failed)?;
        // Of a file that is made now: rows of some hundred bytes, a dozen to a page, cost a tenth less CPU to insert and a
        // third less where few of many change than with pages of 4,096 bytes.
        writer.execute_batch("PRAGMA page_size = 16384").map_err(failed)?;
        // FULL: the page of the org is let go of once its load is committed, so that nobody could give it again.
        // The cache is all that grows with a transaction, and 8 MB keep the inner pages of an index of some million keys.
        // A log that a large load has made long is cut again. What SQLite puts aside, it puts on the disk.
        let journal: String =
            writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        if !journal.eq_ignore_ascii_case("wal") {
            return Err(WarehouseError::Denied(format!(
                "`{told}` cannot have a write-ahead log (it has `{journal}`): put it on a local disk"
            )));
        }
        writer
            .execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA cache_size = -8192; PRAGMA temp_store = FILE;
                 PRAGMA temp.cache_size = -4096; PRAGMA journal_size_limit = 67108864; PRAGMA foreign_keys = OFF",
            )
            .map_err(failed)?;
        writer.set_prepared_statement_cache_capacity(32);

        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(failed)?;
        reader.busy_timeout(settings.wait_for_locks).map_err(failed)?;
        reader
            .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = FILE")
            .map_err(failed)?;
        let stop = Stop {
            is_cancelled: AtomicBool::new(false),
            writer: writer.get_interrupt_handle(),
            reader: reader.get_interrupt_handle(),
        };
        let staged = StagedFolder::beside(&path);
        Ok(Self { told, path, writer, reader, staged, lock: None, stop: Arc::new(stop) })
    }

    /// What was asked to stop was what came before.
    fn begin(&self) {
        self.stop.is_cancelled.store(false, Ordering::Relaxed);
        // The end of its transaction may have been stopped, too.
        if !self.writer.is_autocommit()
            && let Err(error) = self.writer.execute_batch("ROLLBACK")
        {
            tracing::debug!(%error, "a transaction that was told to stop is still open");
        }
    }
}

/// The path with a folder that is told in one way only, so that a lock is the same for all who name the file.
fn whole(path: &Path) -> std::io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize()?;
    let name = path.file_name().ok_or_else(|| std::io::Error::other("no file is named"))?;
    let path = folder.join(name);
    // The file itself may be a link.
    Ok(path.canonicalize().unwrap_or(path))
}

impl Warehouse for SqliteWarehouse {
    fn caps(&self) -> Caps {
        Caps {
            kind: "sqlite",
            columns_max: COLUMNS_MAX,
            precision_max: 38,
            connections_max: 1,
            part_rows: PART_ROWS,
            has_stages: false,
        }
    }

    fn open(&mut self, owner: &str) -> Result<(), WarehouseError> {
        self.begin();
        let is_first = self.lock.is_none();
        self.lock = Some(FileLock::take(&self.path, owner)?);
        self.staged.make()?;
        schema::make_meta(&self.writer, &self.told)?;
        if is_first {
            // Between a commit and the end of its parts the daemon may have died.
            for load in self.staged.loads() {
                if ledger::is_done(&self.writer, &load)? {
                    self.staged.remove(&load)?;
                }
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        self.begin();
        schema::state(&self.writer, table)
    }

    fn apply_schema(
        &mut self,
        _: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        self.begin();
        schema::apply(&mut self.writer, object, table, changes)
    }

    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        self.begin();
        if let Some(receipt) = ledger::receipt(&self.writer, load)? {
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
        self.begin();
        ledger::watermark(&self.writer, org, object, table)
    }

    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        self.begin();
        let layout = &load.layout;
        let kinds: Vec<ColumnType> = layout.columns.iter().map(|column| column.kind).collect();
        let key = layout.columns.get(layout.key).ok_or_else(|| {
            WarehouseError::Engine(format!("the plan of a load into `{}` has no key", load.table))
        })?;
        let is_keys = matches!(source, PartSource::Keys(_));
        let columns = if is_keys { 1 } else { kinds.len() };
        let mut writer = self.staged.begin(&load.id, part, is_keys, columns)?;
        let pack_row = |row: ChunkRow<'_>, block: &mut Vec<u8>| {
            row.cells().zip(&kinds).for_each(|(cell, kind)| pack(cell, *kind, block));
        };
        let pack_key = |row: ChunkRow<'_>, block: &mut Vec<u8>| pack(row.cell(0), key.kind, block);
        match source {
            PartSource::Rows(rows) => writer.push(rows, (layout.key, &key.name), pack_row)?,
            PartSource::Keys(keys) => writer.push(keys, (0, &key.name), pack_key)?,
            PartSource::File(file) => {
                super::spool::read_chunks(file, layout, 1_000, &mut |rows| {
                    writer.push(rows, (layout.key, &key.name), pack_row)
                })?;
            }
        }
        writer.finish()
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        self.begin();
        let receipt = match ledger::receipt(&self.writer, load)? {
            Some(receipt) => receipt,
            None => {
                let parts = self.staged.parts(&load.id)?;
                commit::commit(&mut self.writer, load, &parts, expected, &self.stop.is_cancelled)?
            }
        };
        // The load is done. Whoever opens the warehouse next tries again.
        if let Err(error) = self.staged.remove(&load.id) {
            tracing::warn!(load = %load.id, %error, "staged rows of a load that is committed are still there");
        }
        Ok(receipt)
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        self.begin();
        self.staged.remove(&load.id)
    }

    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError> {
        self.begin();
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {} IS NOT TRUE",
            schema::quoted(&schema::name_in_file(table)),
            schema::quoted(&layout.deleted_column)
        );
        self.writer
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| errors::of_table(&table.to_string(), &error))
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        self.begin();
        query::run(&self.reader, &self.told, sql, sink)
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        self.begin();
        log::append(&mut self.writer, table, layout, load, part, rows)
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        let stop: Arc<dyn Cancel> = Arc::clone(&self.stop) as _;
        Some(stop)
    }
}
