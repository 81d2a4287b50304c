//! What the org says of the rows that were sent, row by row.
//!
//! Promises: a list that breaks off is read again from its start; each row of the batch has one outcome, and a result that
//! is of none of them is told too.

use std::collections::HashMap;

use csv::StringRecord;

use crate::salesforce::{IngestResults, OrgError, PageReader, ReadError, RecordWritten};
use crate::sync::push::{Batch, PushColumns, PushOperation, ResultJoin, RowError, RowOutcome};

/// A list of results in memory: at most what was uploaded, with ids or errors beside.
#[derive(Default)]
pub struct ResultList {
    bytes: Vec<u8>,
}

impl PageReader for ResultList {
    fn begin(&mut self, _rows_known: u64) -> Result<(), ReadError> {
        self.bytes.clear();
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        let mut rows = 0;
        for record in self.reader().records() {
            record.map_err(|error| unreadable(&error, true))?;
            rows += 1;
        }
        Ok(rows)
    }

    /// None is kept of a reading that broke off.
    fn rows_known(&self) -> u64 {
        0
    }
}

impl ResultList {
    fn reader(&self) -> csv::Reader<&[u8]> {
        let bytes = self.bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&self.bytes);
        csv::ReaderBuilder::new().from_reader(bytes)
    }
}

fn unreadable(error: &csv::Error, cut_off: bool) -> ReadError {
    // A print of the error may hold the row.
    let at = error.position().map_or(0, csv::Position::line);
    let reason = format!("line {at} is no CSV");
    OrgError::Unreadable { what: "the results of a bulk job".to_owned(), reason, cut_off }.into()
}

/// The rows of a batch as they stand in its file.
pub struct BatchRows {
    numbers: Vec<u64>,
    records: Vec<StringRecord>,
}

impl BatchRows {
    /// Reads the rows of a batch out of its file.
    ///
    /// # Errors
    /// When the file has not the rows that it should have.
    pub fn read(batch: &Batch, csv: &[u8]) -> Result<Self, BadFile> {
        let numbers: Vec<u64> = batch.rows.iter().collect();
        let skip = usize::try_from(batch.skip).map_err(|_| BadFile(batch.file))?;
        let mut records = Vec::with_capacity(numbers.len());
        let mut reader = csv::ReaderBuilder::new().from_reader(csv);
        for record in reader.records().skip(skip).take(numbers.len()) {
            records.push(record.map_err(|_| BadFile(batch.file))?);
        }
        if records.len() == numbers.len() { Ok(Self { numbers, records }) } else { Err(BadFile(batch.file)) }
    }

    /// The rows with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &StringRecord)> {
        self.numbers.iter().copied().zip(&self.records)
    }

    /// A row by its number.
    pub fn row(&self, number: u64) -> Option<&StringRecord> {
        self.records.get(self.numbers.binary_search(&number).ok()?)
    }
}

/// A file of rows is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("file {0} of the push is not what was written there")]
pub struct BadFile(u32);

impl BadFile {
    /// The file of that number.
    pub fn of(file: u32) -> Self {
        Self(file)
    }
}

/// What becomes of a batch's rows, as its job's lists come in.
pub struct JobOutcomes<'p> {
    columns: &'p PushColumns,
    operation: &'p PushOperation,
    rows: &'p BatchRows,
    /// Why its job ended before it was through.
    broke_off: Option<&'p str>,
    join: ResultJoin,
    outcomes: Vec<RowOutcome>,
}

impl<'p> JobOutcomes<'p> {
    /// Of these rows nothing is known yet.
    pub fn new(
        columns: &'p PushColumns,
        operation: &'p PushOperation,
        rows: &'p BatchRows,
        broke_off: Option<&'p str>,
    ) -> Self {
        let mut join = ResultJoin::new(columns.match_column);
        for (number, record) in rows.iter() {
            join.sent(number, record.iter());
        }
        Self { columns, operation, rows, broke_off, join, outcomes: Vec::new() }
    }

    /// Takes a list.
    ///
    /// # Errors
    /// When it is no CSV, or lacks columns.
    pub fn take(&mut self, which: IngestResults, list: &ResultList) -> Result<(), ReadError> {
        let mut reader = list.reader();
        let header = reader.headers().map_err(|error| unreadable(&error, false))?.clone();
        let places: HashMap<String, usize> =
            header.iter().enumerate().map(|(at, name)| (name.to_ascii_lowercase(), at)).collect();
        let place = |name: &str| places.get(&name.to_ascii_lowercase()).copied();
        let cells: Vec<Option<usize>> =
            self.columns.columns.iter().map(|column| place(column.field.as_str())).collect();
        let (id, created, error) = (place("sf__Id"), place("sf__Created"), place("sf__Error"));
        for record in reader.records() {
            let record = record.map_err(|error| unreadable(&error, false))?;
            let text = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
            let some = |at: Option<usize>| Some(text(at)).filter(|text| !text.is_empty()).map(str::to_owned);
            let row = self.join.take(cells.iter().map(|at| text(*at)));
            let match_value = self.columns.told_by.and_then(|at| some(cells[at]));
            self.outcomes.push(match which {
                IngestResults::Successful => {
                    let created = created.is_some().then(|| text(created).eq_ignore_ascii_case("true"));
                    RowOutcome::written(row, match_value, some(id), created)
                }
                IngestResults::Failed => {
                    let error = RowError::of_job(text(error));
                    RowOutcome::refused(row, match_value, some(id), error, self.operation)
                }
                IngestResults::Unprocessed => match row {
                    Some(row) => {
                        let why = self.broke_off.unwrap_or("it is among the unprocessed");
                        RowOutcome::unprocessed(row, match_value, why, self.operation)
                    }
                    None => continue,
                },
            });
        }
        Ok(())
    }

    /// The outcomes in the order of the rows; what is in no list is left over.
    pub fn finish(self) -> Vec<RowOutcome> {
        let Self { columns, operation, rows, broke_off, join, mut outcomes } = self;
        for number in join.rest() {
            let match_value = match_value(columns, rows.row(number));
            outcomes.push(RowOutcome::left_over(number, match_value, broke_off, operation));
        }
        outcomes.sort_by_key(|outcome| outcome.row.unwrap_or(u64::MAX));
        outcomes
    }
}

/// The value that a row is told by.
pub fn match_value(columns: &PushColumns, record: Option<&StringRecord>) -> Option<String> {
    record?.get(columns.told_by?).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Outcomes of a call of the collections, which answers in the order of its records.
pub fn call_outcomes(
    columns: &PushColumns,
    operation: &PushOperation,
    rows: &BatchRows,
    written: Vec<RecordWritten>,
) -> Vec<RowOutcome> {
    rows.iter()
        .zip(written)
        .map(|((number, record), written)| {
            let match_value = match_value(columns, Some(record));
            if written.success {
                return RowOutcome::written(Some(number), match_value, written.id, written.created);
            }
            let error = match written.errors.into_iter().next() {
                Some(fault) => RowError::new(&fault.status_code, fault.message),
                None => RowError::new("UNKNOWN", "the org gives no reason"),
            };
            RowOutcome::refused(Some(number), match_value, written.id, error, operation)
        })
        .collect()
}

/// A row as the inside of a JSON object.
pub fn json_of(columns: &PushColumns, record: &StringRecord) -> String {
    let mut json = String::new();
    for (column, cell) in columns.columns.iter().zip(record) {
        if cell.is_empty() {
            continue;
        }
        if !json.is_empty() {
            json.push(',');
        }
        json.push_str(&format!("\"{}\":", column.field));
        match cell {
            "#N/A" => json.push_str("null"),
            text => column.sort.write_json(text, &mut json),
        }
    }
    json
}
