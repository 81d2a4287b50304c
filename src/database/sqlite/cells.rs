//! Values in and out of SQLite's five kinds of storage.
//!
//! Promises: what goes in comes out by value, or does not go in. SQLite holds a decimal as a whole number of 64 bits or
//! as a double; one that neither can hold exactly is refused rather than rounded. Trailing zeros of a decimal are not
//! kept: `100.00` comes back as `100`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::types::{Value as Cell, ValueRef};

use crate::batch::catalogue::ColumnType;
use crate::batch::sql::{Parameter, ParameterKind};
use crate::batch::value::Value;

/// The value does not fit what SQLite can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DoesNotFit;

/// What is bound for a parameter.
pub(super) fn bound(parameter: &Parameter) -> Result<Cell, DoesNotFit> {
    match &parameter.kind {
        ParameterKind::Column { column_type, .. } => cell_of(&parameter.value, column_type),
        ParameterKind::List { .. } => Err(DoesNotFit),
        ParameterKind::Text => cell_of(&parameter.value, &ColumnType::Text),
        ParameterKind::Count => cell_of(&parameter.value, &ColumnType::Int { bits: 64, unsigned: false }),
    }
}

/// A value as SQLite holds it in a column of this type.
pub(super) fn cell_of(value: &Value, column_type: &ColumnType) -> Result<Cell, DoesNotFit> {
    Ok(match value {
        Value::Null => Cell::Null,
        Value::Bool(flag) => Cell::Integer(i64::from(*flag)),
        Value::Int(number) => Cell::Integer(*number),
        Value::Number(text) => number_cell(text, column_type)?,
        Value::Text(text) => match column_type {
            ColumnType::Bytes => Cell::Blob(BASE64.decode(text).map_err(|_not_base64| DoesNotFit)?),
            ColumnType::Float { .. } => match text.as_str() {
                "Infinity" => Cell::Real(f64::INFINITY),
                "-Infinity" => Cell::Real(f64::NEG_INFINITY),
                // SQLite makes NaN null.
                _ => return Err(DoesNotFit),
            },
            _ => Cell::Text(text.clone()),
        },
        Value::Json(text) => Cell::Text(text.to_string()),
        Value::Array(_) | Value::Object(_) if matches!(column_type, ColumnType::Json) => {
            Cell::Text(value.to_json())
        }
        Value::Array(_) | Value::Object(_) => return Err(DoesNotFit),
    })
}

fn number_cell(text: &str, column_type: &ColumnType) -> Result<Cell, DoesNotFit> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Cell::Integer(whole));
    }
    let number: f64 = text.parse().map_err(|_not_a_number| DoesNotFit)?;
    if !number.is_finite() || matches!(column_type, ColumnType::Int { .. }) {
        return Err(DoesNotFit);
    }
    // A float column is a double by its own declaration; in any other the digits must survive.
    if matches!(column_type, ColumnType::Float { .. }) || digits_of(&format!("{number:e}")) == digits_of(text)
    {
        return Ok(Cell::Real(number));
    }
    Err(DoesNotFit)
}

/// A number's sign, significant digits and power of ten: equal for equal numbers, however they are written.
fn digits_of(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    Some((negative, significant.to_owned(), power))
}

/// What a cell holds, as the contract shows a column of this type.
pub(super) fn value_of(cell: ValueRef<'_>, column_type: &ColumnType) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number @ (0 | 1)) if matches!(column_type, ColumnType::Boolean) => {
            Value::Bool(number == 1)
        }
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => real_value(number),
        ValueRef::Blob(bytes) => Value::Text(BASE64.encode(bytes)),
        ValueRef::Text(bytes) => text_value(String::from_utf8_lossy(bytes).into_owned(), column_type),
    }
}

fn real_value(number: f64) -> Value {
    /// Below it every whole double is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.is_nan() {
        return Value::Null;
    }
    if number.is_infinite() {
        return Value::Text(if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned());
    }
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within what 53 bits hold")]
        return Value::Int(number as i64);
    }
    let size = number.abs();
    let text = if (1e-6..1e17).contains(&size) { format!("{number}") } else { format!("{number:e}") };
    Value::Number(text.into())
}

fn text_value(text: String, column_type: &ColumnType) -> Value {
    match column_type {
        // What is not a document is shown as the text that it is.
        ColumnType::Json if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() => {
            Value::Json(text.into())
        }
        // As SQLite's own functions write it.
        ColumnType::Timestamp | ColumnType::TimestampTz if text.as_bytes().get(10) == Some(&b' ') => {
            let mut canonical = text;
            canonical.replace_range(10..11, "T");
            if *column_type == ColumnType::TimestampTz && canonical.len() == 19 {
                canonical.push('Z');
            }
            Value::Text(canonical)
        }
        ColumnType::Bytes => Value::Text(BASE64.encode(text)),
        _ => Value::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("100.00", Some("100"))]
    #[case("12.5", Some("12.5"))]
    #[case("0.30000000000000004", Some("0.30000000000000004"))]
    #[case("-0.000", Some("0"))]
    #[case("1e3", Some("1000"))]
    #[case("1e-9", Some("1e-9"))]
    #[case("0.1000000000000000055511151231257827", None)]
    #[case("12345678901234567890.12", None)]
    #[case("9007199254740993.5", None)]
    #[case("1e400", None)]
    fn a_decimal_is_held_by_value_or_refused(#[case] sent: &str, #[case] answered: Option<&str>) {
        let cell = cell_of(&Value::Number(sent.into()), &ColumnType::Decimal);
        let back = cell.ok().map(|cell| value_of(ValueRef::from(&cell), &ColumnType::Decimal).to_json());
        assert_eq!(back.as_deref(), answered);
    }

    #[test]
    fn a_whole_number_beyond_64_bits_is_refused_in_a_whole_column() {
        let int = ColumnType::Int { bits: 64, unsigned: false };
        assert_eq!(cell_of(&Value::Number("18446744073709551615".into()), &int), Err(DoesNotFit));
    }

    #[rstest]
    #[case(ColumnType::Boolean, ValueRef::Integer(1), "true")]
    #[case(ColumnType::Boolean, ValueRef::Integer(7), "7")]
    #[case(ColumnType::Float { bits: 64 }, ValueRef::Real(4.0), "4")]
    #[case(ColumnType::Float { bits: 64 }, ValueRef::Real(1e300), "1e300")]
    #[case(ColumnType::Float { bits: 64 }, ValueRef::Real(f64::NEG_INFINITY), "\"-Infinity\"")]
    #[case(ColumnType::Json, ValueRef::Text(b"{\"a\": 1.50}"), "{\"a\": 1.50}")]
    #[case(ColumnType::Json, ValueRef::Text(b"{\"a\""), "\"{\\\"a\\\"\"")]
    #[case(ColumnType::Bytes, ValueRef::Blob(b"abc"), "\"YWJj\"")]
    #[case(ColumnType::Timestamp, ValueRef::Text(b"2026-01-02 03:04:05"), "\"2026-01-02T03:04:05\"")]
    #[case(ColumnType::TimestampTz, ValueRef::Text(b"2026-01-02 03:04:05"), "\"2026-01-02T03:04:05Z\"")]
    #[case(ColumnType::Text, ValueRef::Text(b"2026-01-02 03:04:05"), "\"2026-01-02 03:04:05\"")]
    fn a_cell_is_shown_as_its_column_says(
        #[case] column_type: ColumnType,
        #[case] cell: ValueRef<'static>,
        #[case] json: &str,
    ) {
        assert_eq!(value_of(cell, &column_type).to_json(), json);
    }
}
