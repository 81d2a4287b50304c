//! The rows of a job in their order, each with what became of its lead, for a report.
//!
//! Promises: a connection of its own, so a report is written beside the work; memory for one piece of rows, however many there
//! are; leads are read in the order in which they lie, but for duplicates, which stand anywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{During, LeadStoreError};
use super::intake::damaged;
use super::outcomes::collect;
use super::packed::unpack;
use super::result_bytes::result_of;
use super::rows::{ChunkReader, KeptRow};
use super::schema;
use crate::leads::{
    Lead, LeadId, LeadOutcome, LeadResult, Ordinal, Presence, ReportRow, ReportRows, ReportRowsError,
    RowPlace,
};

const READ: &str = "read the rows of a lead job";
const NOT_COME_TO: &str = "the job has not come to this lead";

/// See the module's promises.
#[derive(Debug)]
pub struct StoredRows {
    connection: Connection,
    path: PathBuf,
    /// Everything up to it is in `rows`, or was handed out.
    last_row: u64,
    rows: std::vec::IntoIter<(u64, KeptRow)>,
    /// Outcomes of the leads that stand first in `rows`, ascending.
    results: std::iter::Peekable<std::vec::IntoIter<LeadResult>>,
    /// The duplicate read last: the same lead often stands in rows that follow one another.
    duplicate: Option<Arc<LeadResult>>,
}

impl StoredRows {
    /// Opens the file of a job.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, LeadStoreError> {
        let connection = schema::open_to_read(path)?;
        // Tells a file that is no job, or that a younger penstock has written.
        schema::job_row(&connection, path)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            last_row: 0,
            rows: Vec::new().into_iter(),
            results: Vec::new().into_iter().peekable(),
            duplicate: None,
        })
    }

    fn read_next(&mut self) -> Result<Option<ReportRow>, LeadStoreError> {
        if self.rows.len() == 0 && !self.read_chunk()? {
            return Ok(None);
        }
        let Some((row, kept)) = self.rows.next() else { return Ok(None) };
        let place = match kept {
            KeptRow::Blank => RowPlace::Blank,
            KeptRow::Invalid { written, fault } => RowPlace::Invalid { written, fault },
            KeptRow::Lead { key, ordinal, repaired } => {
                let result = match self.results.next_if(|result| result.ordinal == ordinal) {
                    Some(result) => result,
                    None => not_come_to(ordinal, unpack(&key).map_err(|why| damaged(&self.path, why))?),
                };
                RowPlace::Lead { result: Arc::new(result), first_row: row, repaired }
            }
            KeptRow::Duplicate { ordinal, first_row, repaired } => {
                RowPlace::Lead { result: self.duplicate(ordinal)?, first_row: u64::from(first_row), repaired }
            }
        };
        Ok(Some(ReportRow { row, place }))
    }

    /// Reads the next piece of rows and the outcomes of its new leads.
    fn read_chunk(&mut self) -> Result<bool, LeadStoreError> {
        let Self { connection, path, .. } = self;
        let (rows, first, leads) = {
            let select = "SELECT last_row, first_ordinal, leads, data FROM row_chunks
                WHERE last_row > ?1 ORDER BY last_row LIMIT 1";
            let mut select = connection.prepare_cached(select).during(READ, path)?;
            let mut chunks = select.query([self.last_row]).during(READ, path)?;
            let Some(chunk) = chunks.next().during(READ, path)? else { return Ok(false) };
            let read = || Ok((chunk.get(0)?, chunk.get(1)?, chunk.get(2)?, chunk.get_ref(3)?.as_blob()?));
            let (last, first, leads, data): (u64, Ordinal, u64, &[u8]) = read().during(READ, path)?;
            self.last_row = last;
            let rows: Result<Vec<_>, _> =
                ChunkReader::new(data, first).map_err(|why| damaged(path, why))?.collect();
            (rows.map_err(|why| damaged(path, why))?, first, leads)
        };
        let select =
            "SELECT ordinal, data FROM results WHERE ordinal >= ?1 AND ordinal < ?2 ORDER BY ordinal";
        let mut select = connection.prepare_cached(select).during(READ, path)?;
        let results = select.query(params![first, u64::from(first) + leads]).during(READ, path)?;
        self.results = collect(path, results)?.into_iter().peekable();
        self.rows = rows.into_iter();
        Ok(true)
    }

    fn duplicate(&mut self, ordinal: Ordinal) -> Result<Arc<LeadResult>, LeadStoreError> {
        if let Some(last) = &self.duplicate
            && last.ordinal == ordinal
        {
            return Ok(Arc::clone(last));
        }
        let Self { connection, path, .. } = self;
        let select = "SELECT data FROM results WHERE ordinal = ?1";
        let mut select = connection.prepare_cached(select).during(READ, path)?;
        let bytes: Option<Vec<u8>> =
            select.query_row([ordinal], |row| row.get(0)).optional().during(READ, path)?;
        let result = match bytes {
            Some(bytes) => result_of(ordinal, &bytes).map_err(|why| damaged(path, why))?,
            None => not_come_to(ordinal, id_of(connection, path, ordinal)?),
        };
        let result = Arc::new(result);
        self.duplicate = Some(Arc::clone(&result));
        Ok(result)
    }
}

impl ReportRows for StoredRows {
    fn next_row(&mut self) -> Result<Option<ReportRow>, ReportRowsError> {
        self.read_next().map_err(ReportRowsError::because)
    }
}

fn not_come_to(ordinal: Ordinal, id: LeadId) -> LeadResult {
    LeadResult {
        ordinal,
        lead: Lead::without_values(id, Presence::NotVisible),
        outcome: LeadOutcome::Unread { reason: NOT_COME_TO.to_owned() },
    }
}

/// The id of a lead, from its first row.
fn id_of(connection: &Connection, path: &Path, ordinal: Ordinal) -> Result<LeadId, LeadStoreError> {
    let select = "SELECT first_ordinal, data FROM row_chunks
        WHERE leads > 0 AND first_ordinal <= ?1 ORDER BY first_ordinal DESC LIMIT 1";
    let read = || {
        let mut select = connection.prepare_cached(select)?;
        select.query_row([ordinal], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let (first, data): (Ordinal, Vec<u8>) = read().during(READ, path)?;
    for row in ChunkReader::new(&data, first).map_err(|why| damaged(path, why))? {
        if let (_, KeptRow::Lead { key, ordinal: of, .. }) = row.map_err(|why| damaged(path, why))?
            && of == ordinal
        {
            return unpack(&key).map_err(|why| damaged(path, why));
        }
    }
    Err(LeadStoreError::UnknownLead(ordinal))
}
