//! What a batch that is not atomic keeps under its idempotency key with each commit, so that a repeat after a crash goes on
//! after the last operation that was kept.
//!
//! Promises: what was written is read back the same, values with their kinds and digits; anything else is not taken.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::record::State;
use super::{BatchRun, Cause, Closing, Phase};
use crate::batch::answer::{BATCH_STOPPED, DEPENDENCY_FAILED, OperationMeta, OperationOutcome};
use crate::batch::reference::OperationResult;
use crate::batch::value::Value;

/// Codes that an operation can have; a text that was stored becomes one of them again.
const CODES: [&str; 30] = [
    "unknown_entity",
    "unknown_column",
    "type_mismatch",
    "bad_operator",
    "bad_sort",
    "bad_limit",
    "bad_reference",
    "selector_required",
    "key_not_allowed",
    "key_required",
    "version_required",
    "version_not_allowed",
    "no_rows",
    "expectation_failed",
    "invalid_request",
    "action_forbidden",
    "column_forbidden",
    "row_forbidden",
    "injected_column",
    "claims_widening",
    "unique_violation",
    "foreign_key_violation",
    "not_null_violation",
    "check_violation",
    "exclusion_violation",
    "too_many_rows",
    "result_too_large",
    "lock_timeout",
    "statement_timeout",
    "database_error",
];

impl BatchRun {
    /// Everything that is settled, as bytes to store.
    pub(super) fn progress(&self) -> Vec<u8> {
        let settled = self.work.records.iter().enumerate().filter_map(|(operation, record)| {
            let (State::Settled, Some(outcome)) = (&record.state, &record.outcome) else {
                return None;
            };
            let result = self.work.results[operation].as_ref().map(write_result);
            Some(json!({
                "operation": operation,
                "outcome": write_outcome(outcome),
                "meta": write_meta(&record.meta),
                "result": result,
            }))
        });
        let progress = json!({
            "settled": settled.collect::<Vec<_>>(),
            "bytesLeft": self.work.bytes_left,
            "resultBytes": self.work.result_bytes,
        });
        progress.to_string().into_bytes()
    }

    /// Goes on from progress that an earlier run has stored.
    pub(super) fn resume(&mut self, progress: Vec<u8>) {
        self.work.current = None;
        self.work.ready = None;
        self.work.uncommitted = false;
        self.work.probing = None;
        self.work.cursor = 0;
        match self.take_progress(&progress) {
            Some(()) => {
                self.key.progress = Some(progress);
                self.tally.kept = true;
                self.tell_lines();
            }
            None => self.phase = Phase::Closing(Closing::Finish(Cause::internal())),
        }
    }

    fn take_progress(&mut self, progress: &[u8]) -> Option<()> {
        let progress: Json = serde_json::from_slice(progress).ok()?;
        self.work.bytes_left = usize::try_from(progress["bytesLeft"].as_u64()?).ok()?;
        self.work.result_bytes = usize::try_from(progress["resultBytes"].as_u64()?).ok()?;
        for record in &mut self.work.records {
            *record = Default::default();
        }
        for entry in progress["settled"].as_array()? {
            let operation = usize::try_from(entry["operation"].as_u64()?).ok()?;
            let record = self.work.records.get_mut(operation)?;
            record.outcome = Some(read_outcome(&entry["outcome"])?);
            record.meta = read_meta(&entry["meta"])?;
            record.state = State::Settled;
            if !entry["result"].is_null() {
                self.work.results[operation] = Some(read_result(&entry["result"])?);
            }
        }
        Some(())
    }
}

fn write_outcome(outcome: &OperationOutcome) -> Json {
    match outcome {
        OperationOutcome::Completed { data } => json!({ "data": String::from_utf8_lossy(data) }),
        OperationOutcome::Failed { error, status_code } => json!({ "error": error, "status": status_code }),
        OperationOutcome::Skipped { reason } => json!({ "reason": reason }),
    }
}

fn read_outcome(json: &Json) -> Option<OperationOutcome> {
    if let Some(data) = json.get("data") {
        return Some(OperationOutcome::Completed { data: data.as_str()?.as_bytes().to_vec() });
    }
    if let Some(error) = json.get("error") {
        let status_code = u16::try_from(json["status"].as_u64()?).ok()?;
        return Some(OperationOutcome::Failed { error: error.as_str()?.to_owned(), status_code });
    }
    let reason =
        if json.get("reason")?.as_str()? == DEPENDENCY_FAILED { DEPENDENCY_FAILED } else { BATCH_STOPPED };
    Some(OperationOutcome::Skipped { reason })
}

fn write_meta(meta: &OperationMeta) -> Json {
    json!({
        "rows": meta.rows,
        "merged": meta.merged,
        "version": meta.version.as_ref().map(write_value),
        "truncated": meta.truncated,
        "nextCursor": meta.next_cursor,
        "code": meta.code,
        "column": meta.column.as_deref(),
        "constraint": meta.constraint.as_deref(),
        "pointer": meta.pointer,
        "stale": meta.stale,
        "blockedBy": meta.blocked_by.iter().map(|id| &**id).collect::<Vec<_>>(),
    })
}

fn read_meta(json: &Json) -> Option<OperationMeta> {
    let text = |name: &str| json[name].as_str();
    let code =
        text("code").map(|code| *CODES.iter().find(|known| **known == code).unwrap_or(&"database_error"));
    Some(OperationMeta {
        rows: json["rows"].as_u64(),
        merged: json["merged"].as_u64()?,
        version: match &json["version"] {
            Json::Null => None,
            version => Some(read_value(version)?),
        },
        truncated: json["truncated"].as_bool()?,
        next_cursor: text("nextCursor").map(str::to_owned),
        code,
        column: text("column").map(Arc::from),
        constraint: text("constraint").map(Arc::from),
        pointer: text("pointer").map(str::to_owned),
        stale: json["stale"].as_bool()?,
        blocked_by: json["blockedBy"]
            .as_array()?
            .iter()
            .filter_map(|id| id.as_str().map(Arc::from))
            .collect(),
    })
}

fn write_result(result: &OperationResult) -> Json {
    json!({
        "names": result.names.iter().map(|name| &**name).collect::<Vec<_>>(),
        "rows": result.rows.iter().map(|row| write_values(row)).collect::<Vec<_>>(),
        "count": result.count,
        "associations": result.associations.iter().map(|(name, values)| json!([&**name, write_values(values)])).collect::<Vec<_>>(),
    })
}

fn read_result(json: &Json) -> Option<OperationResult> {
    let names: Option<Vec<Arc<str>>> =
        json["names"].as_array()?.iter().map(|name| name.as_str().map(Arc::from)).collect();
    let rows: Option<Vec<Vec<Value>>> = json["rows"].as_array()?.iter().map(read_values).collect();
    let association = |pair: &Json| Some((Arc::from(pair.get(0)?.as_str()?), read_values(pair.get(1)?)?));
    let associations: Option<Vec<_>> = json["associations"].as_array()?.iter().map(association).collect();
    Some(OperationResult {
        names: names?.into(),
        rows: rows?,
        count: json["count"].as_u64(),
        associations: associations?,
    })
}

fn write_values(values: &[Value]) -> Json {
    Json::Array(values.iter().map(write_value).collect())
}

fn read_values(json: &Json) -> Option<Vec<Value>> {
    json.as_array()?.iter().map(read_value).collect()
}

/// A value with its kind: what JSON has for itself is itself, the rest is an object of one key.
fn write_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Number(digits) => json!({ "number": digits }),
        Value::Text(text) => json!(text),
        Value::Json(document) => json!({ "document": document }),
        Value::Array(values) => write_values(values),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| json!([&**name, write_value(value)]));
            json!({ "object": pairs.collect::<Vec<_>>() })
        }
    }
}

fn read_value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Int(number.as_i64()?),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) => Value::Array(read_values(json)?),
        Json::Object(kind) => match kind.iter().next()? {
            (name, Json::String(digits)) if name == "number" => Value::Number(digits.as_str().into()),
            (name, Json::String(document)) if name == "document" => Value::Json(document.as_str().into()),
            (name, Json::Array(pairs)) if name == "object" => {
                let field =
                    |pair: &Json| Some((Arc::from(pair.get(0)?.as_str()?), read_value(pair.get(1)?)?));
                Value::Object(pairs.iter().map(field).collect::<Option<_>>()?)
            }
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            "[0-9]{1,5}\\.[0-9]{1,5}".prop_map(|digits| Value::Number(digits.into())),
            ".{0,8}".prop_map(Value::Text),
            Just(Value::Json("{\"number\": 1.50}".into())),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((".{0,4}", inner), 0..4).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_is_read_back_with_its_kind_and_digits(value in values()) {
            let text = write_value(&value).to_string();
            let read = read_value(&serde_json::from_str(&text).expect("what was written"));
            prop_assert_eq!(read.map(|value| value.to_json()), Some(value.to_json()));
        }

        #[test]
        fn what_was_not_written_here_does_not_panic(text in "[\\[\\]{}\":a-z0-9,]{0,40}") {
            if let Ok(json) = serde_json::from_str::<Json>(&text) {
                let _ = (read_value(&json), read_result(&json), read_meta(&json), read_outcome(&json));
            }
        }
    }
}
