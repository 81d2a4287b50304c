//! The query of a push, read once and written down as what will be sent.
//!
//! Promises: memory holds one file of rows, whatever the query gives; a row that does not fit is told and not sent; of two
//! rows for one record in a file the first is sent. Runs on the warehouse's thread, where writing a file holds nobody up.

use std::collections::HashMap;

use super::folder::PushFolder;
use crate::model::ObjectDescribe;
use crate::salesforce::{IngestCell, IngestCsv, Upload};
use crate::store::atomic_file::StoreError;
use crate::sync::QueryColumn;
use crate::sync::push::{
    PushCell, PushColumns, PushColumnsError, PushRow, PushSettings, RowError, RowNumbers, RowOutcome,
};
use crate::warehouse::{ChunkRow, QuerySink, RowChunk, WarehouseError};

/// More rows that do not fit are a mistake of the query: nothing is sent.
pub const UNFIT_MAX: usize = 100_000;

/// Why a query could not be made ready to be sent.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// Its columns are none of the object's.
    #[error(transparent)]
    Columns(#[from] PushColumnsError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The warehouse.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// Too much of it does not fit.
    #[error(
        "more than {UNFIT_MAX} rows do not fit the object, nothing was sent; the first, row {row}: {message}"
    )]
    Unfit {
        /// Number of the first in the query.
        row: u64,
        /// What does not fit.
        message: String,
    },
}

/// What a query gave.
#[derive(Debug)]
pub struct QueryRead {
    /// Where its columns go.
    pub columns: PushColumns,
    /// The rows of each file.
    pub files: Vec<RowNumbers>,
    /// All its rows.
    pub rows: u64,
    /// Rows that are not sent.
    pub unfit: Vec<RowOutcome>,
}

/// Takes the rows of a query and writes them down.
pub struct QueryReader {
    settings: PushSettings,
    describe: ObjectDescribe,
    folder: PushFolder,
    columns: Option<PushColumns>,
    csv: Option<IngestCsv>,
    /// Rows of the file that is being written.
    rows: RowNumbers,
    /// Which row of that file a record's key is of.
    keys: HashMap<String, u64>,
    read: u64,
    files: Vec<RowNumbers>,
    unfit: Vec<RowOutcome>,
    row: PushRow,
    error: Option<ReadingError>,
}

impl QueryReader {
    /// A reader for a push.
    pub fn new(settings: PushSettings, describe: ObjectDescribe, folder: PushFolder) -> Self {
        Self {
            settings,
            describe,
            folder,
            columns: None,
            csv: None,
            rows: RowNumbers::default(),
            keys: HashMap::new(),
            read: 0,
            files: Vec::new(),
            unfit: Vec::new(),
            row: PushRow::default(),
            error: None,
        }
    }

    /// What it has read, given how the query ended.
    ///
    /// # Errors
    /// See [`ReadingError`].
    pub fn finish(mut self, ended: Result<(), WarehouseError>) -> Result<QueryRead, ReadingError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        ended?;
        if let Some(upload) = self.csv.take().and_then(IngestCsv::finish) {
            self.write(&upload)?;
        }
        let headless = || WarehouseError::Engine("a query gave rows without columns".to_owned());
        let columns = self.columns.take().ok_or_else(headless)?;
        Ok(QueryRead { columns, files: self.files, rows: self.read, unfit: self.unfit })
    }

    fn write(&mut self, upload: &Upload) -> Result<(), StoreError> {
        let file = u32::try_from(self.files.len() + 1).unwrap_or(u32::MAX);
        self.folder.write_rows(file, &upload.csv)?;
        self.files.push(std::mem::take(&mut self.rows));
        self.keys.clear();
        Ok(())
    }

    fn take(&mut self, columns: &PushColumns, row: &ChunkRow<'_>) -> Result<(), ReadingError> {
        self.read += 1;
        let mut cells = std::mem::take(&mut self.row);
        let fits = columns.row(row, &mut cells);
        let key = columns.told_by.and_then(|at| cells.text_of(at)).map(str::to_owned);
        let taken = match fits {
            Ok(()) => self.add(columns, &cells)?,
            Err(error) => Some(error),
        };
        self.row = cells;
        let Some(error) = taken else { return Ok(()) };
        if self.unfit.len() == UNFIT_MAX {
            let first = self.unfit.first();
            return Err(ReadingError::Unfit {
                row: first.and_then(|outcome| outcome.row).unwrap_or_default(),
                message: first
                    .and_then(|outcome| outcome.error.clone())
                    .map(|error| error.message)
                    .unwrap_or_default(),
            });
        }
        self.unfit.push(RowOutcome::unfit(self.read, key, error));
        Ok(())
    }

    /// Adds a row to the file, or says why not.
    fn add(&mut self, columns: &PushColumns, cells: &PushRow) -> Result<Option<RowError>, ReadingError> {
        if self.rows.len() >= self.settings.batch_rows.max(1)
            && let Some(upload) = self.csv.take().and_then(IngestCsv::finish)
        {
            self.write(&upload)?;
        }
        let number = self.read;
        let key = columns.match_column.and_then(|at| cells.text_of(at)).map(|key| record_key(columns, key));
        if let Some(before) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let message = format!("row {before} is for the same record, and is sent");
            return Ok(Some(RowError::new("duplicate_in_query", message)));
        }
        let ingest: Vec<IngestCell<'_>> = (0..cells.cells.len())
            .map(|at| match cells.cells[at] {
                PushCell::Unchanged => IngestCell::Unchanged,
                PushCell::Cleared => IngestCell::Null,
                PushCell::Text { .. } => IngestCell::Text(cells.text_of(at).unwrap_or_default()),
            })
            .collect();
        let csv =
            self.csv.get_or_insert_with(|| IngestCsv::new(&columns.fields(), self.settings.batch_bytes));
        match csv.push(&ingest) {
            Ok(full) => {
                // The file that is full has the rows before this one.
                if let Some(upload) = full {
                    self.write(&upload)?;
                }
                self.rows.push(number);
                if let Some(key) = key {
                    self.keys.insert(key, number);
                }
                Ok(None)
            }
            Err(error) => Ok(Some(RowError::new("bad_row", error.to_string()))),
        }
    }
}

/// Ids of 15 and of 18 characters are of one record where the first 15 are the same.
fn record_key(columns: &PushColumns, key: &str) -> String {
    let is_id = columns
        .match_column
        .and_then(|at| columns.columns.get(at))
        .is_some_and(|column| column.sort == crate::sync::push::FieldSort::Id);
    if is_id { key.chars().take(15).collect() } else { key.to_owned() }
}

impl QuerySink for QueryReader {
    fn head(&mut self, columns: &[QueryColumn]) -> Result<(), WarehouseError> {
        match PushColumns::of(&self.settings, &self.describe, columns) {
            Ok(columns) => {
                self.columns = Some(columns);
                Ok(())
            }
            Err(error) => Err(self.ended(error.into())),
        }
    }

    fn rows(&mut self, chunk: RowChunk) -> Result<(), WarehouseError> {
        let Some(columns) = self.columns.take() else { return Ok(()) };
        for row in chunk.iter() {
            if let Err(error) = self.take(&columns, &row) {
                return Err(self.ended(error));
            }
        }
        self.columns = Some(columns);
        Ok(())
    }
}

impl QueryReader {
    /// Keeps what went wrong; the warehouse is told that the query is to end.
    fn ended(&mut self, error: ReadingError) -> WarehouseError {
        let told = WarehouseError::BadQuery(error.to_string());
        self.error = Some(error);
        told
    }
}
