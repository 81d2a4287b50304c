//! Values on the wire of MariaDB and MySQL, to and from the canonical forms.
//!
//! Promises: decimals keep their digits; unsigned 64-bit numbers do not overflow; dates and times are ISO 8601, moments in
//! UTC with `Z` (sessions run in `+00:00`); bytes are base64. What a server holds that has no such form (a zero date, a
//! time of more than a day) goes out as the server writes it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mysql_async::Value as Wire;

use crate::batch::catalogue::ColumnType;
use crate::batch::sql::{Parameter, ParameterKind};
use crate::batch::value::Value;

/// A parameter as it is sent; `None` when it is not one that its column can hold.
pub fn encode_parameter(parameter: &Parameter) -> Option<Wire> {
    match &parameter.kind {
        ParameterKind::Column { column_type, .. } | ParameterKind::List { column_type, .. } => {
            encode(&parameter.value, column_type)
        }
        ParameterKind::Text => encode(&parameter.value, &ColumnType::Text),
        ParameterKind::Count => encode(&parameter.value, &ColumnType::Int { bits: 64, unsigned: true }),
    }
}

/// A value of a column of this type as it is sent; `None` when it is not one that such a column can hold.
pub fn encode(value: &Value, column_type: &ColumnType) -> Option<Wire> {
    Some(match (column_type, value) {
        (_, Value::Null) => Wire::NULL,
        (ColumnType::Bytes, Value::Text(text)) => Wire::Bytes(STANDARD.decode(text).ok()?),
        (ColumnType::Json, Value::Text(_) | Value::Bool(_) | Value::Int(_)) => {
            Wire::Bytes(value.to_json().into_bytes())
        }
        (ColumnType::Int { .. }, Value::Number(text)) => match text.parse::<u64>() {
            Ok(number) => Wire::UInt(number),
            Err(_) => Wire::Bytes(text.as_bytes().to_vec()),
        },
        (ColumnType::Float { .. }, Value::Number(text)) => Wire::Double(text.parse().ok()?),
        (ColumnType::Timestamp | ColumnType::TimestampTz, Value::Text(text)) => {
            Wire::Bytes(text.trim_end_matches('Z').replacen('T', " ", 1).into_bytes())
        }
        (_, Value::Bool(flag)) => Wire::Int(i64::from(*flag)),
        (_, Value::Int(number)) => Wire::Int(*number),
        (_, Value::Number(text) | Value::Json(text)) => Wire::Bytes(text.as_bytes().to_vec()),
        (_, Value::Text(text)) => Wire::Bytes(text.clone().into_bytes()),
        (_, Value::Array(_) | Value::Object(_)) => Wire::Bytes(value.to_json().into_bytes()),
    })
}

/// A cell of an answer in its canonical form.
pub fn decode(wire: Wire, column_type: &ColumnType) -> Value {
    match wire {
        Wire::NULL => Value::Null,
        Wire::Int(number) if *column_type == ColumnType::Boolean => Value::Bool(number != 0),
        Wire::UInt(number) if *column_type == ColumnType::Boolean => Value::Bool(number != 0),
        Wire::Int(number) => Value::Int(number),
        Wire::UInt(number) => {
            i64::try_from(number).map_or_else(|_| Value::Number(number.to_string().into()), Value::Int)
        }
        Wire::Float(number) => Value::Number(format!("{number:?}").into()),
        Wire::Double(number) => Value::Number(format!("{number:?}").into()),
        Wire::Date(year, month, day, hour, minute, second, micros) => {
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            if *column_type != ColumnType::Date {
                // Writing to a string cannot fail.
                let _ = write!(text, "T{hour:02}:{minute:02}:{second:02}");
                push_fraction(&mut text, micros);
                if *column_type == ColumnType::TimestampTz {
                    text.push('Z');
                }
            }
            Value::Text(text)
        }
        Wire::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if negative { "-" } else { "" };
            let hours = u64::from(days) * 24 + u64::from(hours);
            let mut text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
            push_fraction(&mut text, micros);
            Value::Text(text)
        }
        Wire::Bytes(bytes) => decode_bytes(bytes, column_type),
    }
}

fn decode_bytes(bytes: Vec<u8>, column_type: &ColumnType) -> Value {
    match column_type {
        ColumnType::Bytes => return Value::Text(STANDARD.encode(bytes)),
        // BIT columns: a number as bytes, largest first.
        ColumnType::Boolean => return Value::Bool(bytes.iter().any(|byte| *byte != 0)),
        ColumnType::Int { .. } if bytes.len() <= 8 => {
            let number = bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
            return decode(Wire::UInt(number), column_type);
        }
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => match column_type {
            ColumnType::Json => Value::Json(text.into()),
            ColumnType::Decimal => match text.parse::<i64>() {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Number(text.into()),
            },
            _ => Value::Text(text),
        },
        Err(not_text) => Value::Text(STANDARD.encode(not_text.into_bytes())),
    }
}

fn push_fraction(text: &mut String, micros: u32) {
    if micros > 0 {
        let digits = format!("{micros:06}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn number(text: &str) -> Value {
        Value::Number(text.into())
    }

    #[rstest]
    #[case::a_decimal_keeps_its_zeros(Wire::Bytes(b"100.00".to_vec()), ColumnType::Decimal, number("100.00"))]
    #[case::a_whole_decimal_is_an_int(Wire::Bytes(b"-7".to_vec()), ColumnType::Decimal, Value::Int(-7))]
    #[case::a_large_unsigned(Wire::UInt(u64::MAX), ColumnType::Int { bits: 64, unsigned: true }, number("18446744073709551615"))]
    #[case::a_small_unsigned(Wire::UInt(7), ColumnType::Int { bits: 64, unsigned: true }, Value::Int(7))]
    #[case::tinyint_one(Wire::Int(1), ColumnType::Boolean, Value::Bool(true))]
    #[case::bit_one(Wire::Bytes(vec![0]), ColumnType::Boolean, Value::Bool(false))]
    #[case::bits(Wire::Bytes(vec![2, 1]), ColumnType::Int { bits: 64, unsigned: true }, Value::Int(513))]
    #[case::a_day(Wire::Date(2026, 1, 2, 0, 0, 0, 0), ColumnType::Date, text("2026-01-02"))]
    #[case::a_datetime(
        Wire::Date(2026, 1, 2, 3, 4, 5, 120_000),
        ColumnType::Timestamp,
        text("2026-01-02T03:04:05.12")
    )]
    #[case::a_moment(
        Wire::Date(2026, 1, 2, 3, 4, 5, 0),
        ColumnType::TimestampTz,
        text("2026-01-02T03:04:05Z")
    )]
    #[case::a_time(Wire::Time(false, 0, 3, 4, 5, 6), ColumnType::Time, text("03:04:05.000006"))]
    #[case::a_long_time(Wire::Time(true, 34, 22, 59, 59, 0), ColumnType::Time, text("-838:59:59"))]
    #[case::bytes(Wire::Bytes(vec![0, 255]), ColumnType::Bytes, text("AP8="))]
    #[case::a_document(Wire::Bytes(b"{\"a\":1}".to_vec()), ColumnType::Json, Value::Json("{\"a\":1}".into()))]
    #[case::a_double(Wire::Double(0.1), ColumnType::Float { bits: 64 }, number("0.1"))]
    #[case::a_float(Wire::Float(0.1), ColumnType::Float { bits: 32 }, number("0.1"))]
    #[case::a_huge_double(Wire::Double(1e300), ColumnType::Float { bits: 64 }, number("1e300"))]
    fn an_answer_has_its_canonical_form(
        #[case] wire: Wire,
        #[case] column_type: ColumnType,
        #[case] value: Value,
    ) {
        let decoded = decode(wire, &column_type);

        assert!(decoded == value, "{}", decoded.to_json());
    }

    #[rstest]
    #[case(text("AP8="), ColumnType::Bytes, Wire::Bytes(vec![0, 255]))]
    #[case(text("2026-01-02T03:04:05Z"), ColumnType::TimestampTz, Wire::Bytes(b"2026-01-02 03:04:05".to_vec()))]
    #[case(number("18446744073709551615"), ColumnType::Int { bits: 64, unsigned: true }, Wire::UInt(u64::MAX))]
    #[case(number("0.30"), ColumnType::Decimal, Wire::Bytes(b"0.30".to_vec()))]
    #[case(Value::Bool(true), ColumnType::Boolean, Wire::Int(1))]
    #[case(Value::Bool(true), ColumnType::Json, Wire::Bytes(b"true".to_vec()))]
    #[case(Value::Null, ColumnType::Bytes, Wire::NULL)]
    fn a_parameter_is_sent_as_its_column_takes_it(
        #[case] value: Value,
        #[case] column_type: ColumnType,
        #[case] wire: Wire,
    ) {
        assert_eq!(encode(&value, &column_type), Some(wire));
    }

    #[test]
    fn text_that_is_not_base64_is_no_bytes() {
        assert_eq!(encode(&text("no base64!"), &ColumnType::Bytes), None);
    }
}
