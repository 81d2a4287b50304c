//! Values on the wire: out as text, in from the binary forms of a few types.
//!
//! Promises: what was bound is what the type's own input reads, with every digit; what comes back is in the one form that
//! answers and references use (ISO 8601, base64, exact decimals), whatever the server's settings are.

use std::error::Error;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use postgres_protocol::IsNull;
use serde_json::value::RawValue;

use crate::batch::catalogue::ColumnType;
use crate::batch::sql::{Parameter, ParameterKind};
use crate::batch::value::Value;

type Misread = Box<dyn Error + Sync + Send>;

/// Appends a parameter as text.
pub(super) fn write_parameter(parameter: &Parameter, out: &mut BytesMut) -> IsNull {
    let Parameter { value, kind } = parameter;
    let column_type = match kind {
        ParameterKind::Column { column_type, .. } | ParameterKind::List { column_type, .. } => column_type,
        ParameterKind::Text | ParameterKind::Count => &ColumnType::Text,
    };
    let is_list = matches!(kind, ParameterKind::List { .. });
    match value {
        Value::Null => return IsNull::Yes,
        // As it stands: most of what is stored, and a list that was written before.
        Value::Text(text)
            if is_list || (*column_type != ColumnType::Bytes && *column_type != ColumnType::Json) =>
        {
            out.extend_from_slice(text.as_bytes());
        }
        value => {
            let mut text = String::new();
            if is_list {
                write_list(value, column_type, &mut text);
            } else {
                write_text(value, column_type, &mut text);
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    IsNull::No
}

/// Appends a value's text as the input of its type reads it.
pub(super) fn write_text(value: &Value, column_type: &ColumnType, out: &mut String) {
    match (value, column_type) {
        (Value::Array(_), ColumnType::Array(element)) => write_list(value, element, out),
        (_, ColumnType::Json) => match value {
            Value::Json(text) => out.push_str(text),
            value => out.push_str(&value.to_json()),
        },
        (Value::Text(text), ColumnType::Bytes) => match BASE64.decode(text) {
            Ok(bytes) => write_hex(&bytes, out),
            // What is not base64 was refused before; PostgreSQL refuses this.
            Err(_) => out.push_str("\\x?"),
        },
        (Value::Text(text), _) => out.push_str(text),
        (Value::Bool(flag), _) => out.push_str(if *flag { "true" } else { "false" }),
        (Value::Int(number), _) => push(out, format_args!("{number}")),
        (Value::Number(text) | Value::Json(text), _) => out.push_str(text),
        (Value::Null, _) => {}
        (Value::Array(_) | Value::Object(_), _) => out.push_str(&value.to_json()),
    }
}

/// Appends `{...}`: a list as PostgreSQL's arrays are written.
fn write_list(value: &Value, element: &ColumnType, out: &mut String) {
    let Value::Array(values) = value else { return write_text(value, element, out) };
    let mut text = String::new();
    out.push('{');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match value {
            // A list in a list is a further dimension, except in JSON.
            Value::Array(_) if *element != ColumnType::Json => write_list(value, element, out),
            value => write_element(value, element, &mut text, out),
        }
    }
    out.push('}');
}

/// The values of one column of many rows, as one list; those of a column of arrays as texts. `None`: one of them is no
/// value of such a column.
pub(super) fn column_list<'a>(
    values: impl Iterator<Item = &'a Value>,
    column_type: &ColumnType,
) -> Option<String> {
    let (mut out, mut text) = (String::from("{"), String::new());
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(',');
        }
        match (value, column_type) {
            (Value::Array(_), ColumnType::Array(_)) | (_, ColumnType::Json) => {}
            (Value::Array(_) | Value::Object(_), _) => return None,
            _ => {}
        }
        write_element(value, column_type, &mut text, &mut out);
    }
    out.push('}');
    Some(out)
}

/// Appends one value of a list, quoted. `text` is room.
fn write_element(value: &Value, element: &ColumnType, text: &mut String, out: &mut String) {
    if value.is_null() {
        return out.push_str("NULL");
    }
    text.clear();
    write_text(value, element, text);
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

fn write_hex(bytes: &[u8], out: &mut String) {
    out.push_str("\\x");
    for byte in bytes {
        push(out, format_args!("{byte:02x}"));
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

/// A cell as it came, with the number of its type; `None` for null.
pub(super) struct Raw<'a>(pub(super) Option<(u32, &'a [u8])>);

impl Raw<'_> {
    /// The cell of a column of this type in its one form.
    pub(super) fn value(&self, column_type: &ColumnType) -> Result<Value, Misread> {
        let Some((native, raw)) = self.0 else { return Ok(Value::Null) };
        let value = match native {
            oid::BOOL => Value::Bool(bytes::<1>(raw)?[0] != 0),
            oid::INT2 => Value::Int(i16::from_be_bytes(bytes(raw)?).into()),
            oid::INT4 => Value::Int(i32::from_be_bytes(bytes(raw)?).into()),
            oid::INT8 => Value::Int(i64::from_be_bytes(bytes(raw)?)),
            oid::OID => Value::Int(u32::from_be_bytes(bytes(raw)?).into()),
            oid::FLOAT4 => {
                let number = f32::from_be_bytes(bytes(raw)?);
                float(number.into(), format!("{number:?}"))
            }
            oid::FLOAT8 => {
                let number = f64::from_be_bytes(bytes(raw)?);
                float(number, format!("{number:?}"))
            }
            oid::UUID => Value::Text(uuid(bytes(raw)?)),
            oid::DATE => Value::Text(date(i32::from_be_bytes(bytes(raw)?))),
            oid::TIME => Value::Text(time(i64::from_be_bytes(bytes(raw)?))),
            oid::TIMESTAMP => Value::Text(timestamp(i64::from_be_bytes(bytes(raw)?), "")),
            oid::TIMESTAMPTZ => Value::Text(timestamp(i64::from_be_bytes(bytes(raw)?), "Z")),
            oid::BYTEA => Value::Text(BASE64.encode(raw)),
            // One byte of version before the text.
            oid::JSONB => document(raw.get(1..).ok_or("an empty document")?, column_type)?,
            oid::JSON => document(raw, column_type)?,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN => {
                let text = std::str::from_utf8(raw)?;
                match column_type {
                    ColumnType::Decimal => decimal(text),
                    _ => Value::Text(text.to_owned()),
                }
            }
            native => return Err(format!("no reading for type {native}").into()),
        };
        Ok(value)
    }
}

/// Numbers of types that every PostgreSQL has.
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const OID: u32 = 26;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const UNKNOWN: u32 = 705;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIME: u32 = 1083;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

fn bytes<const N: usize>(raw: &[u8]) -> Result<[u8; N], Misread> {
    raw.try_into().map_err(|_| format!("{} bytes where {N} belong", raw.len()).into())
}

fn float(number: f64, shortest: String) -> Value {
    if number.is_finite() {
        Value::Number(shortest.into())
    } else if number.is_nan() {
        Value::Text("NaN".to_owned())
    } else {
        Value::Text(if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
    }
}

/// A decimal's text: a number with its digits, or `NaN` and the infinities as text.
fn decimal(text: &str) -> Value {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Value::Text(text.to_owned());
    }
    text.parse().map_or_else(|_| Value::Number(text.into()), Value::Int)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push(&mut text, format_args!("{byte:02x}"));
    }
    text
}

const MICROS_A_DAY: i64 = 86_400_000_000;
/// Days from 1970 to 2000, where PostgreSQL counts from.
const DAYS_TO_2000: i64 = 10_957;

/// A day, counted from 2000-01-01.
fn date(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        i32::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let mut text = String::new();
    let before_christ = write_day(i64::from(days), &mut text);
    text.push_str(before_christ);
    text
}

/// A time of day in microseconds.
fn time(micros: i64) -> String {
    let mut text = String::new();
    write_time(micros, &mut text);
    text
}

/// A moment in microseconds since 2000-01-01, in the form that PostgreSQL reads back too.
fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let mut text = String::with_capacity(27);
    let before_christ = write_day(micros.div_euclid(MICROS_A_DAY), &mut text);
    text.push('T');
    write_time(micros.rem_euclid(MICROS_A_DAY), &mut text);
    text.push_str(zone);
    text.push_str(before_christ);
    text
}

/// Appends `2026-01-02`. Answers ` BC`, to come last, for a year before the first.
fn write_day(days_since_2000: i64, out: &mut String) -> &'static str {
    // Days to a date of the Gregorian calendar, counted in eras of 400 years that begin on the first of March.
    let days = days_since_2000 + DAYS_TO_2000 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // The year before 1 is 1 BC.
    let (year, before_christ) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    push(out, format_args!("{year:04}-{month:02}-{day:02}"));
    before_christ
}

fn write_time(micros: i64, out: &mut String) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    push(out, format_args!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60));
    if fraction > 0 {
        let digits = format!("{fraction:06}");
        push(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

/// JSON: a document of a json column, or a list that `to_json` wrote.
fn document(raw: &[u8], column_type: &ColumnType) -> Result<Value, Misread> {
    let text = std::str::from_utf8(raw)?;
    match column_type {
        ColumnType::Array(element) => list(text, element),
        _ => Ok(Value::Json(text.into())),
    }
}

/// A list as `to_json` wrote it, its elements in their one form.
fn list(text: &str, element: &ColumnType) -> Result<Value, Misread> {
    let parts: Vec<&RawValue> = serde_json::from_str(text)?;
    let values = parts.into_iter().map(|part| {
        let text = part.get();
        Ok(match (text.as_bytes().first(), element) {
            (Some(b'n'), _) if text == "null" => Value::Null,
            (_, ColumnType::Json) => Value::Json(text.into()),
            (Some(b'['), _) => return list(text, element),
            (Some(b't'), _) => Value::Bool(true),
            (Some(b'f'), _) => Value::Bool(false),
            (Some(b'"'), _) => listed_text(serde_json::from_str(text)?, element)?,
            (Some(b'{'), _) => Value::Json(text.into()),
            (_, ColumnType::Float { .. }) => Value::Number(text.into()),
            _ => decimal(text),
        })
    });
    values.collect::<Result<_, Misread>>().map(Value::Array)
}

fn listed_text(text: String, element: &ColumnType) -> Result<Value, Misread> {
    Ok(Value::Text(match element {
        // The session's zone is UTC.
        ColumnType::TimestampTz => match text.strip_suffix("+00:00") {
            Some(start) => format!("{start}Z"),
            None => text,
        },
        ColumnType::Bytes => {
            let digits = text.strip_prefix("\\x").ok_or("bytes that are not in hex")?;
            let pairs = (0..digits.len()).step_by(2);
            let bytes: Vec<u8> = pairs
                .map(|at| {
                    let pair = digits.get(at..at + 2).ok_or("half a byte")?;
                    u8::from_str_radix(pair, 16).map_err(Misread::from)
                })
                .collect::<Result<_, Misread>>()?;
            BASE64.encode(bytes)
        }
        _ => text,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "2000-01-01")]
    #[case(59, "2000-02-29")]
    #[case(9_497, "2026-01-01")]
    #[case(-730_119, "0001-01-01")]
    #[case(-730_120, "0001-12-31 BC")]
    #[case(2_921_939, "9999-12-31")]
    #[case(i32::MAX, "infinity")]
    #[case(i32::MIN, "-infinity")]
    fn a_day_is_written_as_iso_8601(#[case] days: i32, #[case] expected: &str) {
        assert_eq!(date(days), expected);
    }

    #[rstest]
    #[case(0, "2000-01-01T00:00:00Z")]
    #[case(-1, "1999-12-31T23:59:59.999999Z")]
    #[case(1_500_000, "2000-01-01T00:00:01.5Z")]
    fn a_moment_is_written_in_utc(#[case] micros: i64, #[case] expected: &str) {
        assert_eq!(timestamp(micros, "Z"), expected);
    }

    #[rstest]
    #[case("100.00", "100.00")]
    #[case("42", "42")]
    #[case("NaN", "\"NaN\"")]
    #[case("-Infinity", "\"-Infinity\"")]
    #[case("123456789012345678901234567890", "123456789012345678901234567890")]
    fn a_decimal_keeps_its_digits(#[case] text: &str, #[case] json: &str) {
        assert_eq!(decimal(text).to_json(), json);
    }

    proptest! {
        #[test]
        fn days_are_those_of_the_calendar(days in -700_000_i32..2_900_000) {
            let expected = jiff::civil::date(2000, 1, 1) + jiff::Span::new().days(days);
            prop_assert_eq!(date(days), expected.to_string());
        }
    }
}
