//! Opening a job's file: the pragmas, the tables, and what can be wrong with them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::error::{During, LeadStoreError};
use crate::leads::{JobPhase, LeadCounts, LeadJobSpec};

/// Version of the tables.
const VERSION: u32 = 1;
/// Pages of the writer in memory.
const WRITER_CACHE_KIB: i64 = 2 * 1024;
/// Pages of a reader in memory: it goes through the file once.
const READER_CACHE_KIB: i64 = 1024;

const TABLES: &str = "
    -- One row: what was asked for, where the job is, and its counts, which change together with what they count.
    CREATE TABLE job (
        only INTEGER PRIMARY KEY CHECK (only = 0),
        version INTEGER NOT NULL,
        spec TEXT NOT NULL,
        phase TEXT NOT NULL,
        error TEXT,
        last_row INTEGER NOT NULL,
        intake_ended INTEGER NOT NULL,
        counts TEXT NOT NULL
    );
    CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    -- The rows of the sheet, some hundred together.
    CREATE TABLE row_chunks (
        last_row INTEGER PRIMARY KEY,
        first_ordinal INTEGER NOT NULL,
        leads INTEGER NOT NULL,
        invalid INTEGER NOT NULL,
        data BLOB NOT NULL
    );
    CREATE INDEX row_chunks_by_ordinal ON row_chunks (first_ordinal) WHERE leads > 0;
    CREATE INDEX row_chunks_with_invalid ON row_chunks (last_row) WHERE invalid > 0;
    -- Sorted runs of ids, some hundred ids in a block; a run is never changed, only merged into a larger one.
    CREATE TABLE key_runs (run INTEGER PRIMARY KEY, level INTEGER NOT NULL, keys INTEGER NOT NULL);
    CREATE TABLE key_blocks (
        block INTEGER PRIMARY KEY, run INTEGER NOT NULL, first_key BLOB NOT NULL, data BLOB NOT NULL
    );
    CREATE INDEX key_blocks_by_key ON key_blocks (run, first_key);
    CREATE TABLE results (ordinal INTEGER PRIMARY KEY, retry INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX results_to_retry ON results (ordinal) WHERE retry = 1;
    -- Spent on leads that are open again.
    CREATE TABLE earlier_spent (ordinal INTEGER PRIMARY KEY, data BLOB NOT NULL);
    -- Batch mode: leads that wait for an answer, and the endpoint's batches.
    CREATE TABLE questions (
        ordinal INTEGER PRIMARY KEY, batch INTEGER, twin INTEGER NOT NULL, content BLOB NOT NULL,
        result BLOB NOT NULL, request TEXT NOT NULL
    );
    CREATE INDEX questions_by_content ON questions (content) WHERE twin = 0;
    CREATE INDEX questions_by_batch ON questions (batch, ordinal);
    CREATE TABLE batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        questions INTEGER NOT NULL,
        input_file TEXT,
        endpoint_id TEXT,
        status TEXT NOT NULL,
        output_file TEXT,
        error_file TEXT,
        over INTEGER NOT NULL
    );
";

/// What stands in the one row of `job`.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub spec: LeadJobSpec,
    pub phase: JobPhase,
    pub error: Option<String>,
    pub last_row: u64,
    pub intake_ended: bool,
    pub counts: LeadCounts,
}

/// Opens `path` for writing.
pub fn open(path: &Path) -> Result<Connection, LeadStoreError> {
    // Not made here: a job without a file is missing, not empty.
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Makes `path` with its tables and its one row, in one transaction: a process killed here leaves a file without tables,
/// which is no job.
pub fn create(path: &Path, spec: &LeadJobSpec) -> Result<Connection, LeadStoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let make = |connection: &Connection| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if tables > 0 {
            return Ok(false);
        }
        connection.execute_batch(TABLES)?;
        let insert = "INSERT INTO job VALUES (0, ?1, ?2, ?3, NULL, 0, 0, ?4)";
        let counts = to_json(&LeadCounts::default());
        connection.execute(insert, params![VERSION, to_json(spec), JobPhase::Intake.as_str(), counts])?;
        connection.execute_batch("COMMIT")?;
        Ok(true)
    };
    if make(&connection).during("make the file of a lead job", path)? {
        return Ok(connection);
    }
    Err(LeadStoreError::Exists(path.to_owned()))
}

/// Opens `path` for reading.
pub fn open_to_read(path: &Path) -> Result<Connection, LeadStoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let settings = [("query_only", 1), ("cache_size", -READER_CACHE_KIB)];
    for (name, value) in settings {
        connection.pragma_update(None, name, value).during("set a pragma", path)?;
    }
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LeadStoreError> {
    if !flags.contains(OpenFlags::SQLITE_OPEN_CREATE) && !path.exists() {
        return Err(LeadStoreError::Missing(path.to_owned()));
    }
    let open = || {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL: what was acknowledged survives a power cut.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", 8 * 1024 * 1024)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    open().during("open the file of a lead job", path)
}

/// Reads the one row.
pub fn job_row(connection: &Connection, path: &Path) -> Result<JobRow, LeadStoreError> {
    let select = "SELECT version, spec, phase, error, last_row, intake_ended, counts FROM job";
    let read = |connection: &Connection| {
        // A file without tables is a job that was never made whole.
        let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'job'";
        if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
            return Ok(None);
        }
        let mut select = connection.prepare_cached(select)?;
        let version: u32 = select.query_row([], |row| row.get(0))?;
        if version > VERSION {
            return Ok(Some((version, None)));
        }
        let texts = select.query_row([], |row| {
            let texts: [String; 3] = [row.get(1)?, row.get(2)?, row.get(6)?];
            Ok((texts, row.get(3)?, row.get(4)?, row.get::<_, bool>(5)?))
        })?;
        Ok(Some((version, Some(texts))))
    };
    let damaged = |why: String| LeadStoreError::Damaged { path: path.to_owned(), why };
    let (found, texts) = read(connection)
        .during("read the lead job", path)?
        .ok_or_else(|| LeadStoreError::Missing(path.to_owned()))?;
    let Some(([spec, phase, counts], error, last_row, intake_ended)) = texts else {
        return Err(LeadStoreError::Younger { path: path.to_owned(), found, known: VERSION });
    };
    Ok(JobRow {
        spec: from_json(&spec).map_err(|why| damaged(format!("what was asked for cannot be read: {why}")))?,
        phase: from_json(&format!("\"{phase}\""))
            .map_err(|_why| damaged(format!("it is in the phase `{phase}`, which is none")))?,
        error,
        last_row,
        intake_ended,
        counts: from_json(&counts).map_err(|why| damaged(format!("its counts cannot be read: {why}")))?,
    })
}

/// Writes what changes of the one row.
pub fn keep_job_row(connection: &Connection, path: &Path, job: &JobRow) -> Result<(), LeadStoreError> {
    let update =
        "UPDATE job SET phase = ?1, error = ?2, last_row = ?3, intake_ended = ?4, counts = ?5 WHERE only = 0";
    let values = params![job.phase.as_str(), job.error, job.last_row, job.intake_ended, to_json(&job.counts)];
    connection
        .prepare_cached(update)
        .and_then(|mut update| update.execute(values))
        .map(|_changed| ())
        .during("keep where the lead job is", path)
}

/// Keeps what was asked for, when that has changed.
pub fn keep_spec(connection: &Connection, path: &Path, spec: &LeadJobSpec) -> Result<(), LeadStoreError> {
    connection
        .execute("UPDATE job SET spec = ?1 WHERE only = 0", [to_json(spec)])
        .map(|_changed| ())
        .during("keep what was asked of the lead job", path)
}

fn to_json(value: &impl serde::Serialize) -> String {
    // Neither has a map with keys other than texts, nor anything else that JSON lacks.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}
