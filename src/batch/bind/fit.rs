//! Whether a value fits a column, and the form in which it goes to a database (contract, section 8).
//!
//! Promises: what comes out is in the canonical form of its column's type, the form in which the databases answer rows too:
//! whole numbers as [`Value::Int`] where they fit, decimals with their exact digits, dates and times in ISO 8601 (a moment
//! in UTC with `Z`), bytes in padded base64, documents as JSON text. Null fits everywhere: whether a column takes null is
//! the database's to say. Digits never pass through a float. What comes out fits again, unchanged.

mod number;
mod time;

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};

use crate::batch::catalogue::{Column, ColumnType, DatabaseKind};
use crate::batch::value::Value;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a value does not fit: what would, and what kind it was. Never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What would fit.
    pub expected: String,
    /// What was given.
    pub found: &'static str,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, not this {}", self.expected, self.found)
    }
}

/// The value as this column takes it.
pub fn fit(value: Value, column: &Column, kind: DatabaseKind) -> Result<Value, Misfit> {
    fit_type(value, &column.column_type, kind)
}

/// The value as a column of this type takes it.
pub fn fit_type(value: Value, column_type: &ColumnType, kind: DatabaseKind) -> Result<Value, Misfit> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let value = match column_type {
        ColumnType::Json => value,
        _ => opened(value),
    };
    let misfit =
        |expected: &str, value: &Value| Misfit { expected: expected.to_owned(), found: value.kind() };
    match column_type {
        ColumnType::Int { bits, unsigned } => number::whole(value, *bits, *unsigned),
        ColumnType::Decimal => number::decimal(value),
        ColumnType::Float { bits } => number::float(value, *bits, kind),
        ColumnType::Boolean => match value {
            Value::Bool(_) => Ok(value),
            Value::Int(number @ (0 | 1)) if kind == DatabaseKind::Sqlite => Ok(Value::Bool(number == 1)),
            other => Err(misfit("true or false", &other)),
        },
        ColumnType::Text => match as_text(value) {
            Ok(text) => clean_text(text, kind).map(Value::Text),
            Err(other) => Err(misfit("text", &other)),
        },
        ColumnType::Other => match as_text(value) {
            Ok(text) => clean_text(text, kind).map(Value::Text),
            Err(other) => Err(misfit("a text that the database reads", &other)),
        },
        ColumnType::Uuid => match value {
            Value::Text(text) => uuid(text, kind),
            other => Err(misfit(UUID, &other)),
        },
        ColumnType::Enum(names) => match value {
            Value::Text(text) if names.iter().any(|name| **name == *text) => Ok(Value::Text(text)),
            other => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                Err(misfit(&format!("one of {}", names.join(", ")), &other))
            }
        },
        ColumnType::Date => time::date(value),
        ColumnType::Time => time::time_of_day(value),
        ColumnType::Timestamp => time::timestamp(value),
        ColumnType::TimestampTz => time::moment(value),
        ColumnType::Bytes => match value {
            Value::Text(text) => match BASE64.decode(text.as_bytes()) {
                Ok(bytes) => Ok(Value::Text(STANDARD.encode(bytes))),
                Err(_) => Err(Misfit { expected: "bytes as base64".to_owned(), found: "text" }),
            },
            other => Err(misfit("bytes as base64", &other)),
        },
        ColumnType::Json => document(value, kind),
        ColumnType::Array(item) => match value {
            Value::Array(values) => {
                let fitted: Result<Vec<Value>, Misfit> =
                    values.into_iter().map(|value| fit_type(value, item, kind)).collect();
                fitted.map(Value::Array).map_err(|misfit| Misfit {
                    expected: format!("a list, each item {}", misfit.expected),
                    found: misfit.found,
                })
            }
            other => Err(misfit("a list", &other)),
        },
        ColumnType::Any => match value {
            Value::Array(_) | Value::Object(_) | Value::Json(_) => {
                Err(misfit("text, a number or a boolean", &value))
            }
            scalar => Ok(scalar),
        },
    }
}

/// The value of an operand that is text because the client wrote it inside text (`gt::4`, `in::true,false`): the text is
/// read by the column's type.
pub(in crate::batch) fn fit_operand_text(
    text: String,
    column_type: &ColumnType,
    kind: DatabaseKind,
) -> Result<Value, Misfit> {
    let value = match column_type {
        ColumnType::Text | ColumnType::Enum(_) | ColumnType::Other | ColumnType::Any => Value::Text(text),
        ColumnType::Boolean => match text.trim() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "1" if kind == DatabaseKind::Sqlite => Value::Bool(true),
            "0" if kind == DatabaseKind::Sqlite => Value::Bool(false),
            _ => Value::Text(text),
        },
        ColumnType::Float { .. } => match number::parsed(text.trim()) {
            Some(number) => number.into_value(),
            None => Value::Text(text.trim().to_owned()),
        },
        _ => Value::Text(text.trim().to_owned()),
    };
    fit_type(value, column_type, kind)
}

const UUID: &str = "a UUID such as `6f1c2a9e-0b7d-4c3a-9a51-2d8e4f60b7c1`";

/// A UUID, in lower case with its hyphens. SQLite compares texts, so there the text stays as it was written.
fn uuid(text: String, kind: DatabaseKind) -> Result<Value, Misfit> {
    let misfit = Misfit { expected: UUID.to_owned(), found: "text" };
    let hyphens_right = match text.len() {
        36 => text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23)),
        32 => !text.contains('-'),
        _ => false,
    };
    if !hyphens_right || !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
        return Err(misfit);
    }
    if kind == DatabaseKind::Sqlite {
        return Ok(Value::Text(text));
    }
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let digits = digits.to_ascii_lowercase();
    Ok(Value::Text(format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )))
}

/// Text, or the JSON text of a number or boolean.
fn as_text(value: Value) -> Result<String, Value> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Number(text) => Ok(text.into()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(other),
    }
}

/// PostgreSQL has no text with a NUL in it; said here, so that it is found before SQL.
fn clean_text(text: String, kind: DatabaseKind) -> Result<String, Misfit> {
    if kind == DatabaseKind::Postgres && text.contains('\0') {
        return Err(Misfit { expected: "text without the character U+0000".to_owned(), found: "text" });
    }
    Ok(text)
}

/// Any value as a document.
fn document(value: Value, kind: DatabaseKind) -> Result<Value, Misfit> {
    if kind == DatabaseKind::Postgres && has_nul(&value) {
        return Err(Misfit {
            expected: "a document without the character U+0000".to_owned(),
            found: value.kind(),
        });
    }
    Ok(match value {
        Value::Json(_) => value,
        other => Value::Json(other.to_json().into()),
    })
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Number(_) | Value::Json(_) => false,
    }
}

/// What a document holds, when it goes to a column that is none: a text, a number or a list that came out of a json column
/// is as good as any other. An object stays a document: it fits nowhere else. Lists in a list stay documents too, until
/// somebody wants what is in them: how deep a document is, is up to whoever stored it, and each level takes a piece of the
/// stack.
pub(in crate::batch) fn opened(value: Value) -> Value {
    match value {
        Value::Json(text) => read_document(&text).unwrap_or(Value::Json(text)),
        other => other,
    }
}

fn read_document(text: &str) -> Option<Value> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if !text.starts_with('[') {
        return read_scalar(text);
    }
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).ok()?;
    let item = |item: &&serde_json::value::RawValue| {
        read_scalar(item.get()).unwrap_or_else(|| Value::Json(item.get().into()))
    };
    Some(Value::Array(items.iter().map(item).collect()))
}

fn read_scalar(text: &str) -> Option<Value> {
    match text.bytes().next()? {
        b'n' => Some(Value::Null),
        b't' => Some(Value::Bool(true)),
        b'f' => Some(Value::Bool(false)),
        b'"' => serde_json::from_str(text).ok().map(Value::Text),
        b'[' | b'{' => None,
        _ => Some(match text.parse::<i64>() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Number(text.into()),
        }),
    }
}

#[cfg(test)]
mod tests;
