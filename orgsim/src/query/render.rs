//! Records as JSON, the way REST writes them.

use super::plan::Output;
use crate::{
    json,
    org::OrgData,
    rows_api::Value,
    soql::dates,
    tables::{Api, Kind, Table},
};

/// Where record URLs lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UrlBase {
    pub version: u32,
    pub api: Api,
}

impl UrlBase {
    /// `/services/data/v62.0` or `/services/data/v62.0/tooling`.
    pub fn path(self) -> String {
        let tooling = if self.api == Api::Tooling { "/tooling" } else { "" };
        format!("/services/data/v{}.0{tooling}", self.version)
    }
}

/// Appends one value.
pub fn value(out: &mut Vec<u8>, value: &Value, kind: Kind) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => json::push(out, value),
        Value::Int(value) if kind == Kind::Double => json::double(out, *value as f64),
        Value::Int(value) => json::push(out, value),
        Value::Double(value) => json::double(out, *value),
        // Compounds and Metadata come as JSON text; anything else under that kind is plain text.
        Value::Text(text)
            if kind == Kind::Json && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() =>
        {
            out.extend_from_slice(text.as_bytes());
        }
        Value::Text(text) => json::push(out, text),
        Value::Date(date) => json::push(out, date),
        Value::DateTime(millis) => json::push(out, &dates::rest_datetime(*millis)),
    }
}

/// Appends one record.
pub fn record(out: &mut Vec<u8>, org: &OrgData, base: UrlBase, table: Table, row: u64, outputs: &[Output]) {
    let name = table.name(org);
    let open = table.open(org, row);
    out.extend_from_slice(b"{\"attributes\":{");
    json::field(out, "type", name);
    if let Some(id) = table.row_id(org, row) {
        json::field(out, "url", &format!("{}/sobjects/{name}/{id}", base.path()));
    }
    out.push(b'}');
    for output in outputs {
        match output {
            Output::Leaf { name, column, kind } => {
                json::key(out, name);
                value(out, &open.value(*column), *kind);
            }
            Output::Parent { name, hop, outputs } => {
                json::key(out, name);
                match hop.follow(org, table, row) {
                    Some(parent) => record(out, org, base, hop.target, parent, outputs),
                    None => out.extend_from_slice(b"null"),
                }
            }
        }
    }
    out.push(b'}');
}
