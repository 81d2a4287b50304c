//! What a batch answers: the envelope, alone or inside a problem, whole or as lines (contract, section 9).
//!
//! Promises: entries of `results` hold exactly `status` and what belongs to that status, everything else is in `meta`;
//! every operation of the batch has an entry; `failedOperations` and `rolledBack` appear only when they say something.
//! Text is written straight into bytes: results are made once, as JSON, and never parsed again.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::{FaultKind, PROBLEM_JSON, write_members};
use super::value::{Value, write_json_text};

pub use super::reference::Warning;

/// Media type of an envelope.
pub const JSON: &str = "application/json";
/// Media type of lines.
pub const LINES: &str = "application/x-ndjson";

/// `reason` of an operation whose dependency failed or was skipped.
pub const DEPENDENCY_FAILED: &str = "Dependency failed";
/// `reason` of an operation that was not reached after a stop.
pub const BATCH_STOPPED: &str = "Batch stopped";

/// What is sent to the client.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What became of one operation.
#[derive(Clone, PartialEq, Eq)]
pub enum OperationOutcome {
    /// Done.
    Completed {
        /// What it answers, as JSON text.
        data: Vec<u8>,
    },
    /// Tried, and failed.
    Failed {
        /// Our sentence.
        error: String,
        /// The status it would have had alone.
        status_code: u16,
    },
    /// Not tried.
    Skipped {
        /// [`DEPENDENCY_FAILED`] or [`BATCH_STOPPED`].
        reason: &'static str,
    },
}

impl std::fmt::Debug for OperationOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed { data } => write!(f, "Completed({} bytes)", data.len()),
            Self::Failed { status_code, .. } => write!(f, "Failed({status_code})"),
            Self::Skipped { reason } => write!(f, "Skipped({reason})"),
        }
    }
}

/// Everything a batch answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Id of the batch.
    pub batch_id: Arc<str>,
    /// Whether every operation completed.
    pub success: bool,
    /// By id, in the order of the request's list.
    pub results: Vec<(Arc<str>, OperationOutcome)>,
    /// Ids of operations that failed, as they were run.
    pub failed: Vec<Arc<str>>,
    /// Nothing of `results` was kept.
    pub rolled_back: bool,
    /// Everything else.
    pub meta: Meta,
    /// Why the whole is a problem; `None`: it is answered with 200.
    pub fault: Option<StopFault>,
    /// The connection was lost while committing: nobody knows whether it holds.
    pub outcome_unknown: bool,
}

/// What an answer says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meta {
    /// It was a dry run.
    pub dry_run: bool,
    /// How often the batch was tried; at least 1.
    pub attempts: u32,
    /// How long it took.
    pub elapsed_ms: f64,
    /// Ids in the order of execution.
    pub order: Vec<Arc<str>>,
    /// One for each of [`Envelope::results`], at the same place; an empty one is not written.
    pub operations: Vec<OperationMeta>,
    /// What the client should know all the same.
    pub warnings: Vec<Warning>,
}

/// What an answer says of one operation. Only what is there is written.
#[derive(Clone, PartialEq, Default)]
pub struct OperationMeta {
    /// Rows it touched or returned.
    pub rows: Option<u64>,
    /// Rows that shared its statement; written together with `rows`.
    pub merged: u64,
    /// Content of the version column, where there is one and one row.
    pub version: Option<Value>,
    /// There are more rows than the read answered.
    pub truncated: bool,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
    /// Code of its error (contract, section 9.2).
    pub code: Option<&'static str>,
    /// Column of its error.
    pub column: Option<Arc<str>>,
    /// Constraint of its error.
    pub constraint: Option<Arc<str>>,
    /// Where in the body its error is.
    pub pointer: Option<String>,
    /// The row is there, under another version.
    pub stale: bool,
    /// Ids of operations for which it was skipped.
    pub blocked_by: Vec<Arc<str>>,
}

impl std::fmt::Debug for OperationMeta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperationMeta")
            .field("rows", &self.rows)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// Why a batch that ran is answered as a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopFault {
    /// Which kind; its status is the answer's.
    pub kind: FaultKind,
    /// `Batch failed at operation 'bad': ...`
    pub detail: String,
    /// The operation it failed at, when it failed at one.
    pub cause: Option<Cause>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

/// What stopped a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Id of the operation; `None`: it failed at the end, in a deferred constraint.
    pub operation: Option<Arc<str>>,
    /// The status the operation would have had alone.
    pub status_code: u16,
    /// Code of the operation's error.
    pub code: &'static str,
}

impl StopFault {
    /// An operation failed, and nothing goes on after it.
    pub fn at_operation(id: &Arc<str>, error: &str, status_code: u16, code: &'static str) -> Self {
        Self {
            kind: FaultKind::of_stop(code),
            detail: format!("Batch failed at operation '{id}': {error}"),
            cause: Some(Cause { operation: Some(Arc::clone(id)), status_code, code }),
            retry_after: None,
        }
    }
}

/// An envelope as an answer: 200, or the problem that it is.
pub fn render(envelope: &Envelope, instance: &str) -> Answer {
    let mut body = Vec::with_capacity(envelope.size_hint());
    write_envelope(envelope, instance, true, &mut body);
    let (status, content_type, retry_after) = match &envelope.fault {
        None => (200, JSON, None),
        Some(fault) => (fault.kind.status(), PROBLEM_JSON, fault.retry_after),
    };
    Answer { status, content_type, body, retry_after }
}

/// An envelope as lines; an atomic batch that failed as the problem that it is.
pub fn render_lines(envelope: &Envelope, instance: &str) -> Answer {
    if envelope.fault.is_some() {
        return render(envelope, instance);
    }
    let mut body = Vec::with_capacity(envelope.size_hint() + envelope.results.len() * 24);
    write_first_line(&envelope.batch_id, &envelope.meta.order, &mut body);
    let outcomes: HashMap<&str, &OperationOutcome> =
        envelope.results.iter().map(|(id, outcome)| (&**id, outcome)).collect();
    for id in &envelope.meta.order {
        if let Some(outcome) = outcomes.get(&**id) {
            write_result_line(id, outcome, &mut body);
        }
    }
    write_last_line(envelope, instance, &mut body);
    Answer { status: 200, content_type: LINES, body, retry_after: None }
}

/// Appends the line that opens a stream.
pub fn write_first_line(batch_id: &str, order: &[Arc<str>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"batchId\":");
    write_json_text(batch_id, out);
    out.extend_from_slice(b",\"order\":");
    write_ids(order, out);
    out.extend_from_slice(b"}\n");
}

/// Appends the line of one operation.
pub fn write_result_line(id: &str, outcome: &OperationOutcome, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    write_json_text(id, out);
    out.extend_from_slice(b",\"result\":");
    write_outcome(outcome, out);
    out.extend_from_slice(b"}\n");
}

/// Appends the line that ends a stream: the envelope without `results`, a problem's members in it if it is one.
pub fn write_last_line(envelope: &Envelope, instance: &str, out: &mut Vec<u8>) {
    write_envelope(envelope, instance, false, out);
    out.push(b'\n');
}

impl Envelope {
    /// Bytes that its JSON text needs, near enough.
    fn size_hint(&self) -> usize {
        let results: usize = self
            .results
            .iter()
            .map(|(id, outcome)| {
                id.len()
                    + match outcome {
                        OperationOutcome::Completed { data } => data.len() + 40,
                        OperationOutcome::Failed { error, .. } => error.len() + 80,
                        OperationOutcome::Skipped { .. } => 60,
                    }
            })
            .sum();
        512 + results + self.results.len() * 64
    }
}

fn write_envelope(envelope: &Envelope, instance: &str, with_results: bool, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(fault) = &envelope.fault {
        write_members(fault.kind, &fault.detail, instance, out);
        if let Some(cause) = &fault.cause {
            out.extend_from_slice(b",\"cause\":{\"operation\":");
            match &cause.operation {
                Some(id) => write_json_text(id, out),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b",\"statusCode\":");
            write_number(u64::from(cause.status_code), out);
            out.extend_from_slice(b",\"code\":");
            write_json_text(cause.code, out);
            out.push(b'}');
        }
        out.push(b',');
    }
    out.extend_from_slice(b"\"success\":");
    write_bool(envelope.success, out);
    if envelope.rolled_back {
        out.extend_from_slice(b",\"rolledBack\":true");
    }
    if envelope.outcome_unknown {
        out.extend_from_slice(b",\"outcome\":\"unknown\"");
    }
    if with_results {
        out.extend_from_slice(b",\"results\":{");
        for (index, (id, outcome)) in envelope.results.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_json_text(id, out);
            out.push(b':');
            write_outcome(outcome, out);
        }
        out.push(b'}');
    }
    if !envelope.failed.is_empty() {
        out.extend_from_slice(b",\"failedOperations\":");
        write_ids(&envelope.failed, out);
    }
    out.extend_from_slice(b",\"meta\":");
    write_meta(envelope, out);
    out.push(b'}');
}

fn write_outcome(outcome: &OperationOutcome, out: &mut Vec<u8>) {
    match outcome {
        OperationOutcome::Completed { data } => {
            out.extend_from_slice(b"{\"status\":\"completed\",\"data\":");
            out.extend_from_slice(data);
        }
        OperationOutcome::Failed { error, status_code } => {
            out.extend_from_slice(b"{\"status\":\"failed\",\"error\":");
            write_json_text(error, out);
            out.extend_from_slice(b",\"statusCode\":");
            write_number(u64::from(*status_code), out);
        }
        OperationOutcome::Skipped { reason } => {
            out.extend_from_slice(b"{\"status\":\"skipped\",\"reason\":");
            write_json_text(reason, out);
        }
    }
    out.push(b'}');
}

fn write_meta(envelope: &Envelope, out: &mut Vec<u8>) {
    let meta = &envelope.meta;
    out.extend_from_slice(b"{\"batchId\":");
    write_json_text(&envelope.batch_id, out);
    out.extend_from_slice(b",\"dryRun\":");
    write_bool(meta.dry_run, out);
    out.extend_from_slice(b",\"attempts\":");
    write_number(u64::from(meta.attempts), out);
    out.extend_from_slice(b",\"elapsedMs\":");
    out.extend_from_slice(milliseconds(meta.elapsed_ms).as_bytes());
    out.extend_from_slice(b",\"order\":");
    write_ids(&meta.order, out);
    out.extend_from_slice(b",\"operations\":{");
    let mut first = true;
    for ((id, _), operation) in envelope.results.iter().zip(&meta.operations) {
        if *operation == OperationMeta::default() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_json_text(id, out);
        out.push(b':');
        write_operation_meta(operation, out);
    }
    out.extend_from_slice(b"},\"warnings\":[");
    for (index, warning) in meta.warnings.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"code\":");
        write_json_text(warning.code, out);
        if let Some(operation) = &warning.operation {
            out.extend_from_slice(b",\"operation\":");
            write_json_text(operation, out);
        }
        out.extend_from_slice(b",\"detail\":");
        write_json_text(&warning.detail, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn write_operation_meta(operation: &OperationMeta, out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(rows) = operation.rows {
        member("rows", out);
        write_number(rows, out);
        member("merged", out);
        write_number(operation.merged, out);
    }
    if let Some(version) = &operation.version {
        member("version", out);
        version.write_json(out);
    }
    if operation.truncated {
        member("truncated", out);
        write_bool(true, out);
    }
    let texts = [
        ("nextCursor", operation.next_cursor.as_deref()),
        ("code", operation.code),
        ("column", operation.column.as_deref()),
        ("constraint", operation.constraint.as_deref()),
        ("pointer", operation.pointer.as_deref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            member(name, out);
            write_json_text(text, out);
        }
    }
    if operation.stale {
        member("stale", out);
        write_bool(true, out);
    }
    if !operation.blocked_by.is_empty() {
        member("blockedBy", out);
        write_ids(&operation.blocked_by, out);
    }
    // Every member began with a comma; the first one's is the brace.
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

fn member(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_ids(ids: &[Arc<str>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_text(id, out);
    }
    out.push(b']');
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_number(value: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}

/// Milliseconds as JSON: one digit behind the point, which is as exact as a client can use.
fn milliseconds(value: f64) -> String {
    if value.is_finite() && value > 0.0 { format!("{value:.1}") } else { String::from("0.0") }
}
