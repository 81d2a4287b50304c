//! A value on its way between JSON and a database, exact in both directions.
//!
//! Promises: a number keeps its digits (nothing passes through a float that did not start as one); an object keeps the
//! order of its keys; `Debug` shows the kind and never the content, so that no row reaches a log by accident.

use std::fmt;
use std::sync::Arc;

/// A JSON value, or a column's content in its JSON form (contract, section 8).
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integral number that fits.
    Int(i64),
    /// Any other number, as its JSON text: `100.00`, `1e3`, `18446744073709551615`.
    Number(Box<str>),
    /// Text; also dates and times (ISO 8601), UUIDs, and bytes (base64), by the column's type.
    Text(String),
    /// A document of a json column, as valid JSON text; answered inline, parsed only when a path goes into it.
    Json(Box<str>),
    /// A list.
    Array(Vec<Value>),
    /// An object, its keys in their order, each once.
    Object(Vec<(Arc<str>, Value)>),
}

impl Value {
    /// The kind, for messages: `null`, `boolean`, `number`, `text`, `list`, `object`, `document`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Json(_) => "document",
            Self::Array(_) => "list",
            Self::Object(_) => "object",
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Bytes that it holds, near enough for a limit.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) => 8,
            Self::Number(text) | Self::Json(text) => text.len(),
            Self::Text(text) => text.len() + 2,
            Self::Array(values) => values.iter().map(|value| value.bytes() + 1).sum::<usize>() + 2,
            Self::Object(fields) => {
                fields.iter().map(|(name, value)| name.len() + value.bytes() + 4).sum::<usize>() + 2
            }
        }
    }

    /// Appends it as JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(number) => write_display(out, number),
            Self::Number(text) | Self::Json(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => write_json_text(text, out),
            Self::Array(values) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    value.write_json(out);
                }
                out.push(b']');
            }
            Self::Object(fields) => {
                out.push(b'{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_json_text(name, out);
                    out.push(b':');
                    value.write_json(out);
                }
                out.push(b'}');
            }
        }
    }

    /// It as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        // Every part appended is text.
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.kind())
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and text is always serialisable.
    let _ = serde_json::to_writer(out, text);
}

fn write_display(out: &mut Vec<u8>, value: &impl fmt::Display) {
    use std::io::Write as _;
    // Writing to memory cannot fail.
    let _ = write!(out, "{value}");
}
