//! Values of claims and of the config's filters, in the form that a column has them (contract, section 8).
//!
//! Stricter than what a request may send: a filter decides who sees a row, so whatever is not clearly a value of the
//! column is none.

use crate::batch::catalogue::ColumnType;
use crate::batch::value::Value;

/// The value as this column holds it; `None` when it is none of this column's values.
pub fn fit_scalar(value: &Value, column_type: &ColumnType) -> Option<Value> {
    match column_type {
        ColumnType::Any => Some(value.clone()).filter(|value| !value.is_null()),
        ColumnType::Text | ColumnType::Other => match value {
            Value::Text(text) => Some(Value::Text(text.clone())),
            Value::Int(_) | Value::Number(_) | Value::Bool(_) if *column_type == ColumnType::Text => {
                Some(Value::Text(value.to_json()))
            }
            _ => None,
        },
        ColumnType::Int { bits, unsigned } => fit_int(value, *bits, *unsigned),
        ColumnType::Decimal | ColumnType::Float { .. } => match value {
            Value::Int(whole) => Some(Value::Int(*whole)),
            Value::Number(text) => Some(Value::Number(text.clone())),
            Value::Text(text) => match text.parse() {
                Ok(whole) if is_number(text) => Some(Value::Int(whole)),
                _ => is_number(text).then(|| Value::Number(text.as_str().into())),
            },
            _ => None,
        },
        ColumnType::Boolean => match value {
            Value::Bool(flag) => Some(Value::Bool(*flag)),
            Value::Text(text) => text.parse().ok().map(Value::Bool),
            _ => None,
        },
        ColumnType::Uuid => {
            text_of(value).filter(|text| is_uuid(text)).map(|text| text.to_ascii_lowercase()).map(Value::Text)
        }
        ColumnType::Enum(words) => {
            let text = text_of(value)?;
            words.iter().any(|word| **word == *text).then(|| Value::Text(text.to_owned()))
        }
        ColumnType::Date => parsed::<jiff::civil::Date>(value),
        ColumnType::Time => parsed::<jiff::civil::Time>(value),
        ColumnType::Timestamp => parsed::<jiff::civil::DateTime>(value),
        ColumnType::TimestampTz => parsed::<jiff::Timestamp>(value),
        ColumnType::Bytes | ColumnType::Json | ColumnType::Array(_) => None,
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn parsed<T: std::str::FromStr + std::fmt::Display>(value: &Value) -> Option<Value> {
    text_of(value)?.parse::<T>().ok().map(|parsed| Value::Text(parsed.to_string()))
}

fn fit_int(value: &Value, bits: u8, unsigned: bool) -> Option<Value> {
    let number: i128 = match value {
        Value::Int(whole) => i128::from(*whole),
        Value::Number(text) => text.parse().ok()?,
        Value::Text(text) if is_number(text) => text.parse().ok()?,
        _ => return None,
    };
    let (least, most) = match unsigned {
        true => (0, (1i128 << bits) - 1),
        false => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
    };
    if !(least..=most).contains(&number) {
        return None;
    }
    Some(i64::try_from(number).map_or_else(|_| Value::Number(number.to_string().into()), Value::Int))
}

/// As JSON writes numbers, without an exponent: no sign but `-`, no leading zeros.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction.is_none_or(all_digits)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12]) && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const INT16: ColumnType = ColumnType::Int { bits: 16, unsigned: false };
    const UINT64: ColumnType = ColumnType::Int { bits: 64, unsigned: true };

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[rstest]
    #[case::a_number_in_a_text(text("42"), INT16, Some(Value::Int(42)))]
    #[case::too_large(Value::Int(40_000), INT16, None)]
    #[case::a_fraction(text("4.5"), INT16, None)]
    #[case::spaces_are_no_number(text(" 42"), INT16, None)]
    #[case::a_plus_is_no_number(text("+42"), INT16, None)]
    #[case::sql_is_no_number(text("1 or 1=1"), INT16, None)]
    #[case::below_zero(Value::Int(-1), UINT64, None)]
    #[case::beyond_i64(text("18446744073709551615"), UINT64, Some(Value::Number("18446744073709551615".into())))]
    #[case::exact_digits(text("100.10"), ColumnType::Decimal, Some(Value::Number("100.10".into())))]
    #[case::a_boolean_is_no_number(Value::Bool(true), ColumnType::Decimal, None)]
    #[case::a_number_as_text(Value::Int(7), ColumnType::Text, Some(text("7")))]
    #[case::a_boolean_in_a_text(text("true"), ColumnType::Boolean, Some(Value::Bool(true)))]
    #[case::one_is_no_boolean(Value::Int(1), ColumnType::Boolean, None)]
    #[case::uuids_are_lower_case(
        text("6F9619FF-8B86-D011-B42D-00C04FC964FF"),
        ColumnType::Uuid,
        Some(text("6f9619ff-8b86-d011-b42d-00c04fc964ff"))
    )]
    #[case::half_a_uuid(text("6f9619ff"), ColumnType::Uuid, None)]
    #[case::a_moment_in_utc(
        text("2026-01-02T03:04:05+02:00"),
        ColumnType::TimestampTz,
        Some(text("2026-01-02T01:04:05Z"))
    )]
    #[case::no_day(text("2026-02-30"), ColumnType::Date, None)]
    #[case::an_unknown_word(text("x"), ColumnType::Enum(["a".into()].into()), None)]
    #[case::json_is_not_compared(text("x"), ColumnType::Json, None)]
    fn a_value_takes_its_columns_form_or_is_none(
        #[case] value: Value,
        #[case] column_type: ColumnType,
        #[case] expected: Option<Value>,
    ) {
        assert!(fit_scalar(&value, &column_type) == expected);
    }
}
