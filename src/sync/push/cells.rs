//! A value of the warehouse as the org reads it.
//!
//! Promises: a value goes in exactly or not at all: what does not fit its field is told with the field and what is wanted,
//! without the value. Days and times have one form; what a warehouse keeps as text or as 0 and 1 is read as what it is.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use crate::model::FieldDescribe;
use crate::warehouse::Cell;
use crate::warehouse::chunk::{TextRoom, date, date_time, time};

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each name says it all")]
pub enum FieldSort {
    Text,
    Id,
    Boolean,
    Int,
    Decimal,
    Date,
    DateTime,
    Time,
}

/// A value that its field does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CellFault(pub &'static str);

impl FieldSort {
    /// What a described field takes.
    pub fn of(field: &FieldDescribe) -> Self {
        match field.field_type.as_str() {
            "id" | "reference" | "masterrecord" => Self::Id,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Int,
            "double" | "currency" | "percent" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "time" => Self::Time,
            _ => Self::Text,
        }
    }

    /// Writes what [`Self::write`] has written as JSON: numbers exactly, digit by digit, not as a machine would round them.
    pub fn write_json(self, text: &str, out: &mut String) {
        match self {
            Self::Boolean | Self::Int | Self::Decimal => out.push_str(text),
            _ => out.push_str(&serde_json::Value::from(text).to_string()),
        }
    }

    /// Writes a value behind `out`; `false` for null, of which nothing is written.
    ///
    /// # Errors
    /// When the field does not take it; `out` is then as it was.
    pub fn write(self, cell: Cell<'_>, out: &mut String) -> Result<bool, CellFault> {
        let mut room = TextRoom::default();
        let text = match cell {
            Cell::Null => return Ok(false),
            Cell::Text(text) => return self.write_text(text, out).map(|()| true),
            Cell::Boolean(value) => match self {
                Self::Boolean | Self::Text => {
                    if value {
                        "true"
                    } else {
                        "false"
                    }
                }
                _ => return Err(self.fault()),
            },
            // SQLite has no truth values of its own.
            Cell::Int(value @ (0 | 1)) if self == Self::Boolean => {
                if value == 1 {
                    "true"
                } else {
                    "false"
                }
            }
            Cell::Int(value) => match self {
                Self::Int | Self::Decimal | Self::Text => {
                    out.push_str(&value.to_string());
                    return Ok(true);
                }
                _ => return Err(self.fault()),
            },
            Cell::Decimal(text) => match self {
                Self::Decimal | Self::Text => text,
                Self::Int if !text.contains('.') => text,
                _ => return Err(self.fault()),
            },
            Cell::Json(text) if self == Self::Text => text,
            Cell::Date(days) => match self {
                Self::Date | Self::Text => date(days, &mut room),
                // A day begins at midnight UTC, as it does when it came from the org.
                Self::DateTime => date_time(i64::from(days) * 86_400_000, &mut room),
                _ => return Err(self.fault()),
            },
            Cell::DateTime(ms) => match self {
                Self::DateTime | Self::Text => date_time(ms, &mut room),
                Self::Date if ms.rem_euclid(86_400_000) == 0 => {
                    let days = i32::try_from(ms.div_euclid(86_400_000)).map_err(|_| self.fault())?;
                    date(days, &mut room)
                }
                _ => return Err(self.fault()),
            },
            Cell::Time(ms) => match self {
                Self::Time => {
                    out.push_str(time(ms, &mut room));
                    if !out.ends_with('Z') {
                        out.push('Z');
                    }
                    return Ok(true);
                }
                Self::Text => time(ms, &mut room),
                _ => return Err(self.fault()),
            },
            Cell::Json(_) => return Err(self.fault()),
            Cell::Unreadable => return Err(CellFault("it is bytes, or text that is no UTF-8")),
        };
        out.push_str(text);
        Ok(true)
    }

    fn write_text(self, text: &str, out: &mut String) -> Result<(), CellFault> {
        let bare = text.trim();
        let fault = self.fault();
        match self {
            Self::Text => out.push_str(text),
            Self::Id
                if matches!(bare.len(), 15 | 18) && bare.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                out.push_str(bare);
            }
            Self::Boolean if bare == "1" || bare.eq_ignore_ascii_case("true") => out.push_str("true"),
            Self::Boolean if bare == "0" || bare.eq_ignore_ascii_case("false") => out.push_str("false"),
            Self::Int => out.push_str(&bare.parse::<i64>().map_err(|_| fault)?.to_string()),
            Self::Decimal => write_number(bare, out).ok_or(fault)?,
            Self::Date => {
                let day: Date = bare.parse().map_err(|_| fault)?;
                // A day with a time behind it parses too, and is none.
                if bare.len() != 10 {
                    return Err(fault);
                }
                out.push_str(&day.to_string());
            }
            Self::DateTime => {
                let at: Timestamp = bare.parse().map_err(|_| fault)?;
                out.push_str(date_time(at.as_millisecond(), &mut TextRoom::default()));
            }
            Self::Time => {
                let at: Time = bare.strip_suffix('Z').unwrap_or(bare).parse().map_err(|_| fault)?;
                out.push_str(&at.strftime("%H:%M:%S.%3fZ").to_string());
            }
            _ => return Err(fault),
        }
        Ok(())
    }

    fn fault(self) -> CellFault {
        CellFault(match self {
            Self::Text => "the field takes text, and this value has no form as text",
            Self::Id => "the field takes ids of 15 or 18 letters and digits",
            Self::Boolean => "the field takes true and false (or 1 and 0)",
            Self::Int => "the field takes whole numbers",
            Self::Decimal => "the field takes numbers",
            Self::Date => "the field takes days such as 2026-11-23; cut the time off in the query",
            Self::DateTime => "the field takes times with their zone, such as 2026-11-23T10:00:00Z",
            Self::Time => "the field takes times of day such as 10:00:00",
        })
    }
}

/// Writes a number as JSON has it, exponent and all; `None` for what is none.
fn write_number(text: &str, out: &mut String) -> Option<()> {
    let split = |text: &str| {
        let sign = if text.starts_with('-') { "-" } else { "" };
        (sign, text.strip_prefix(['-', '+']).unwrap_or(text).to_owned())
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(split(exponent))),
        None => (text, None),
    };
    let (sign, digits) = split(number);
    let (whole, behind) =
        digits.split_once('.').map_or((digits.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let is_exponent = exponent.as_ref().is_none_or(|(_, digits)| is_digits(digits));
    if !is_digits(whole) || !behind.is_none_or(is_digits) || !is_exponent {
        return None;
    }
    let kept = whole.trim_start_matches('0');
    out.push_str(sign);
    out.push_str(if kept.is_empty() { "0" } else { kept });
    if let Some(behind) = behind {
        out.push('.');
        out.push_str(behind);
    }
    if let Some((sign, digits)) = exponent {
        out.push('e');
        out.push_str(sign);
        out.push_str(&digits);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn written(sort: FieldSort, cell: Cell<'_>) -> Result<Option<String>, CellFault> {
        let mut out = String::from("before,");
        let is_some = sort.write(cell, &mut out)?;
        let text = out.strip_prefix("before,").unwrap().to_owned();
        Ok(is_some.then_some(text))
    }

    #[rstest]
    #[case::text(FieldSort::Text, Cell::Text(" a "), " a ")]
    #[case::json_as_text(FieldSort::Text, Cell::Json("{}"), "{}")]
    #[case::truth_as_text(FieldSort::Text, Cell::Boolean(true), "true")]
    #[case::number_as_text(FieldSort::Text, Cell::Int(-3), "-3")]
    #[case::day_as_text(FieldSort::Text, Cell::Date(20_780), "2026-11-23")]
    #[case::id(FieldSort::Id, Cell::Text("00Q5g00000AbCdEEAV"), "00Q5g00000AbCdEEAV")]
    #[case::id_padded(FieldSort::Id, Cell::Text("00Q5g00000AbCdE  "), "00Q5g00000AbCdE")]
    #[case::truth(FieldSort::Boolean, Cell::Boolean(false), "false")]
    #[case::truth_of_sqlite(FieldSort::Boolean, Cell::Int(1), "true")]
    #[case::truth_in_words(FieldSort::Boolean, Cell::Text("TRUE"), "true")]
    #[case::whole(FieldSort::Int, Cell::Int(i64::MIN), "-9223372036854775808")]
    #[case::whole_decimal(FieldSort::Int, Cell::Decimal("12"), "12")]
    #[case::decimal(FieldSort::Decimal, Cell::Decimal("0.10"), "0.10")]
    #[case::decimal_of_whole(FieldSort::Decimal, Cell::Int(7), "7")]
    #[case::decimal_in_text(FieldSort::Decimal, Cell::Text(" -1.5e3 "), "-1.5e3")]
    #[case::day(FieldSort::Date, Cell::Date(-1), "1969-12-31")]
    #[case::day_in_text(FieldSort::Date, Cell::Text("2026-11-23"), "2026-11-23")]
    #[case::midnight_is_a_day(FieldSort::Date, Cell::DateTime(20_780 * 86_400_000), "2026-11-23")]
    #[case::time(FieldSort::DateTime, Cell::DateTime(1), "1970-01-01T00:00:00.001Z")]
    #[case::day_is_midnight(FieldSort::DateTime, Cell::Date(20_780), "2026-11-23T00:00:00.000Z")]
    #[case::time_in_another_zone(
        FieldSort::DateTime,
        Cell::Text("2026-11-23T10:00:00+02:00"),
        "2026-11-23T08:00:00.000Z"
    )]
    #[case::time_of_day(FieldSort::Time, Cell::Time(36_000_001), "10:00:00.001Z")]
    #[case::time_of_day_in_text(FieldSort::Time, Cell::Text("9:05"), "")]
    #[case::time_of_day_in_full(FieldSort::Time, Cell::Text("09:05:00"), "09:05:00.000Z")]
    fn a_value_is_written_as_its_field_reads_it(
        #[case] sort: FieldSort,
        #[case] cell: Cell<'_>,
        #[case] expected: &str,
    ) {
        let expected = (!expected.is_empty()).then(|| expected.to_owned());
        assert_eq!(written(sort, cell).unwrap_or(None), expected);
    }

    #[rstest]
    #[case::no_id(FieldSort::Id, Cell::Text("42"), "15 or 18")]
    #[case::sql_in_an_id(FieldSort::Id, Cell::Text("00Q5g00000AbC'--"), "15 or 18")]
    #[case::two(FieldSort::Boolean, Cell::Int(2), "true and false")]
    #[case::yes(FieldSort::Boolean, Cell::Text("yes"), "true and false")]
    #[case::a_half(FieldSort::Int, Cell::Decimal("0.5"), "whole numbers")]
    #[case::words(FieldSort::Decimal, Cell::Text("twelve"), "numbers")]
    #[case::a_comma(FieldSort::Decimal, Cell::Text("1,5"), "numbers")]
    #[case::nan(FieldSort::Decimal, Cell::Text("NaN"), "numbers")]
    #[case::a_time_for_a_day(FieldSort::Date, Cell::DateTime(1), "cut the time off")]
    #[case::a_time_in_text_for_a_day(FieldSort::Date, Cell::Text("2026-11-23T10:00:00Z"), "cut the time off")]
    #[case::no_zone(FieldSort::DateTime, Cell::Text("2026-11-23 10:00:00"), "with their zone")]
    #[case::truth_for_a_number(FieldSort::Int, Cell::Boolean(true), "whole numbers")]
    #[case::structure(FieldSort::Boolean, Cell::Json("{}"), "true and false")]
    fn what_a_field_does_not_take_is_refused_without_telling_it(
        #[case] sort: FieldSort,
        #[case] cell: Cell<'_>,
        #[case] says: &str,
    ) {
        let fault = written(sort, cell).unwrap_err().to_string();
        assert!(fault.contains(says), "{fault}");
        let mut out = String::from("as it was");
        assert!(sort.write(cell, &mut out).is_err());
        assert_eq!(out, "as it was");
    }

    #[rstest]
    fn null_is_written_as_nothing(
        #[values(FieldSort::Text, FieldSort::Id, FieldSort::Boolean, FieldSort::Int, FieldSort::Date)]
        sort: FieldSort,
    ) {
        assert_eq!(written(sort, Cell::Null), Ok(None));
    }

    #[rstest]
    #[case::text(FieldSort::Text, "a\"b\n", r#""a\"b\n""#)]
    #[case::truth(FieldSort::Boolean, "true", "true")]
    #[case::digits_that_a_machine_would_round(
        FieldSort::Decimal,
        "1234567890123456.78",
        "1234567890123456.78"
    )]
    #[case::day(FieldSort::Date, "2026-11-23", r#""2026-11-23""#)]
    fn in_json_a_value_is_what_it_was(#[case] sort: FieldSort, #[case] text: &str, #[case] expected: &str) {
        let mut out = String::new();
        sort.write_json(text, &mut out);
        assert_eq!(out, expected);
    }

    proptest! {
        #[test]
        fn what_stands_bare_in_json_is_json(text in "[-+0-9.eE]{0,8}|true|FALSE|[a-z]{1,3}") {
            for sort in [FieldSort::Boolean, FieldSort::Int, FieldSort::Decimal] {
                if let Ok(Some(written)) = written(sort, Cell::Text(&text)) {
                    prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&written).is_ok(), "{}", written);
                }
            }
        }
    }
}
