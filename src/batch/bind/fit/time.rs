//! Days, times of day and moments, in ISO 8601, to the microsecond.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{RoundMode, Timestamp, Unit};

use super::Misfit;
use crate::batch::value::Value;

/// The text of a value, or what would fit instead.
fn text(value: Value, expected: &str) -> Result<String, Misfit> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(Misfit { expected: expected.to_owned(), found: other.kind() }),
    }
}

/// A day: `2026-01-02`.
pub(super) fn date(value: Value) -> Result<Value, Misfit> {
    const EXPECTED: &str = "a date such as `2026-01-02`";
    let text = text(value, EXPECTED)?;
    match (shaped_like_date(&text) && text.len() == 10).then(|| text.parse::<Date>()) {
        Some(Ok(date)) => Ok(Value::Text(date.to_string())),
        _ => Err(Misfit { expected: EXPECTED.to_owned(), found: "text" }),
    }
}

/// A time of day: `03:04:05.5`.
pub(super) fn time_of_day(value: Value) -> Result<Value, Misfit> {
    const EXPECTED: &str = "a time such as `03:04:05`";
    let text = text(value, EXPECTED)?;
    let shaped = text.len() >= 5
        && text.as_bytes()[2] == b':'
        && text.bytes().all(|byte| b"0123456789:.".contains(&byte));
    match shaped.then(|| text.parse::<Time>()) {
        Some(Ok(time)) => {
            let micros = time.subsec_nanosecond() / 1_000 * 1_000;
            let cut = Time::new(time.hour(), time.minute(), time.second(), micros).unwrap_or(time);
            Ok(Value::Text(cut.to_string()))
        }
        _ => Err(Misfit { expected: EXPECTED.to_owned(), found: "text" }),
    }
}

/// Day and time without a zone: `2026-01-02T03:04:05`. A text with an offset says a moment, which is written in UTC.
pub(super) fn timestamp(value: Value) -> Result<Value, Misfit> {
    const EXPECTED: &str = "a date and time such as `2026-01-02T03:04:05`";
    let text = text(value, EXPECTED)?;
    let civil = match read(&text) {
        Some(Read::Moment(moment)) => moment.to_zoned(TimeZone::UTC).datetime(),
        Some(Read::Civil(civil)) => civil,
        None => return Err(Misfit { expected: EXPECTED.to_owned(), found: "text" }),
    };
    Ok(Value::Text(civil.to_string()))
}

/// A moment: `2026-01-02T03:04:05Z`. A text without an offset is read as UTC.
pub(super) fn moment(value: Value) -> Result<Value, Misfit> {
    const EXPECTED: &str = "a moment such as `2026-01-02T03:04:05Z`";
    let text = text(value, EXPECTED)?;
    let moment = match read(&text) {
        Some(Read::Moment(moment)) => Some(moment),
        Some(Read::Civil(civil)) => civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
        None => None,
    };
    match moment {
        Some(moment) => Ok(Value::Text(moment.to_string())),
        None => Err(Misfit { expected: EXPECTED.to_owned(), found: "text" }),
    }
}

enum Read {
    Moment(Timestamp),
    Civil(DateTime),
}

/// Day and time, cut to the microsecond, of the years 0 to 9999.
fn read(text: &str) -> Option<Read> {
    // A zone's name in brackets would need a table of zones to be right.
    if !shaped_like_date(text) || text.contains('[') {
        return None;
    }
    let cut = RoundMode::Floor;
    if let Ok(moment) = text.parse::<Timestamp>() {
        let round = jiff::TimestampRound::new().smallest(Unit::Microsecond).mode(cut);
        let moment = moment.round(round).ok()?;
        // An offset can move the first and the last day out of the years that can be written.
        let year = moment.to_zoned(TimeZone::UTC).year();
        return (0..=9999).contains(&year).then_some(Read::Moment(moment));
    }
    // What has an offset and is no moment is nothing: a civil time would drop the offset.
    let time = text.get(10..).unwrap_or_default();
    if time.contains(['+', '-', 'Z', 'z']) {
        return None;
    }
    let civil = text.parse::<DateTime>().ok()?;
    civil.round(jiff::civil::DateTimeRound::new().smallest(Unit::Microsecond).mode(cut)).ok().map(Read::Civil)
}

/// Whether it starts like `2026-01-02`.
fn shaped_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
