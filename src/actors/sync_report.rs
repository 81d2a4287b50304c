//! The result of an object's sync in the making: what each of its loads adds to it.
//!
//! Promises: rows are those that the target counted; a failure has no rows to its name that are not in the target; the first
//! load of a sync says how it was done, later ones add to the figures and a note.

use jiff::Timestamp;

use super::fetcher::chain;
use super::sync_error::SyncError;
use super::sync_extract::Extracted;
use super::sync_record::{OpenLoad, Purpose};
use crate::sync::told::counted;
use crate::sync::{CommitReceipt, ErrorKind, LoadPlan, ObjectSettings, SyncResult};

/// A result with nothing in it.
fn empty(object: &str, table: &str, at: Timestamp) -> SyncResult {
    SyncResult {
        sobject: object.to_owned(),
        target_table: table.to_owned(),
        sync_method: None,
        estimated_records: 0,
        actual_records: 0,
        sync_duration_seconds: 0.0,
        last_modified_date: None,
        sync_timestamp: at,
        success: false,
        error: None,
        records_processed: None,
        error_kind: None,
        reason: String::new(),
        calls: 0,
        jobs: 0,
        bytes: 0,
        rows_written: 0,
        rows_unchanged: 0,
        rows_deleted: 0,
        rows_rejected: 0,
        reject_file: None,
        schema_changes: Vec::new(),
        skipped_fields: Vec::new(),
        reconciliation: None,
        notes: Vec::new(),
    }
}

/// `1 row was`, `2 rows were`.
fn were(rows: u64) -> String {
    format!("{} {}", counted(rows, "row"), if rows == 1 { "was" } else { "were" })
}

/// A sync that did not begin.
pub(super) fn failed_early(
    object: &str,
    table: &str,
    at: Timestamp,
    kind: ErrorKind,
    why: String,
) -> SyncResult {
    SyncResult {
        error: Some(why),
        records_processed: Some(0),
        error_kind: Some(kind),
        ..empty(object, table, at)
    }
}

/// A sync that the engine's end cut short.
pub(super) fn interrupted(settings: &ObjectSettings, at: Timestamp) -> SyncResult {
    let error = SyncError::Interrupted;
    failed_early(settings.object.as_str(), &settings.table.to_string(), at, error.kind(), error.to_string())
}

/// See the module's promises.
pub(super) struct Report {
    pub result: SyncResult,
    /// Calls that earlier processes made for a load that was taken up.
    pub calls_before: u64,
}

impl Report {
    pub fn new(settings: &ObjectSettings, at: Timestamp) -> Self {
        let result = empty(settings.object.as_str(), &settings.table.to_string(), at);
        Self { result, calls_before: 0 }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.result.notes.contains(&note) {
            self.result.notes.push(note);
        }
    }

    /// What was planned.
    pub fn plans(&mut self, open: &OpenLoad) {
        if open.purpose == Purpose::Rows {
            self.result.last_modified_date = self.result.last_modified_date.or(open.watermark);
            self.result.skipped_fields.clone_from(&open.skipped);
        }
        for note in &open.notes {
            self.note(note.clone());
        }
    }

    /// What was made of the table.
    pub fn changed(&mut self, open: &OpenLoad) {
        if open.purpose == Purpose::Rows {
            self.result.schema_changes.extend(open.changes.iter().cloned());
        }
    }

    /// What was read, whether or not it comes to be the target's.
    pub fn read(&mut self, open: &OpenLoad, extracted: &Extracted) {
        let result = &mut self.result;
        result.jobs += extracted.jobs;
        result.bytes += extracted.bytes;
        result.rows_rejected += extracted.rejected;
        if let Some(file) = &extracted.reject_file {
            result.reject_file = Some(file.display().to_string());
        }
        if open.purpose == Purpose::Rows {
            result.estimated_records += extracted.estimated;
            if result.sync_method.is_none() {
                result.sync_method = Some(extracted.method);
                result.reason.clone_from(&extracted.reason);
            } else {
                let (rows, method) = (extracted.rows, extracted.method);
                self.note(format!("then what has changed since: {rows} rows by {method}"));
            }
        }
        for note in &extracted.notes {
            self.note(note.clone());
        }
    }

    /// What a load did to the target.
    pub fn committed(&mut self, purpose: Purpose, plan: &LoadPlan, receipt: &CommitReceipt) {
        let result = &mut self.result;
        result.rows_written += receipt.written();
        result.rows_deleted += receipt.deleted;
        match purpose {
            Purpose::Rows => {
                result.actual_records += receipt.staged;
                result.rows_unchanged += receipt.unchanged;
            }
            Purpose::Backfill | Purpose::Formulas => {
                let (written, columns) = (receipt.written(), plan.layout.columns.len().saturating_sub(1));
                let what = purpose.as_str();
                self.note(format!(
                    "{what}: {columns} fields refreshed, {written} rows were other than before"
                ));
            }
            Purpose::HardDeletes | Purpose::AllKeys if receipt.deleted == 0 => {}
            Purpose::HardDeletes => {
                self.note(format!("{} deleted for good at the org", were(receipt.deleted)));
            }
            // Why a row is not among the keys, nobody tells.
            Purpose::AllKeys if plan.is_filtered => self.note(format!(
                "{} not at the org any more, or not let through by the filter, and left the table",
                were(receipt.deleted)
            )),
            Purpose::AllKeys => self.note(format!("{} not at the org any more", were(receipt.deleted))),
        }
    }

    /// The end.
    pub fn finish(mut self, outcome: &Result<(), SyncError>, calls: u64, seconds: f64) -> SyncResult {
        let result = &mut self.result;
        result.calls = self.calls_before + calls;
        result.sync_duration_seconds = seconds;
        match outcome {
            Ok(()) => result.success = true,
            Err(error) => {
                result.error = Some(chain(error));
                result.error_kind = Some(error.kind());
                result.records_processed = Some(result.rows_written);
            }
        }
        self.result
    }
}
