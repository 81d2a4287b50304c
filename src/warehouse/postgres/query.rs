//! Queries that a person wrote.
//!
//! Promises: one statement, and it only reads: in a READ ONLY transaction that is rolled back; its rows come by a cursor, so
//! that memory does not grow with them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio_postgres::types::Type;
use tokio_postgres::{Column, SimpleQueryRow};

use super::session::Session;
use crate::sync::{ColumnType, QueryColumn};
use crate::warehouse::chunk::{Cell, RowChunk};
use crate::warehouse::{QuerySink, WarehouseError};

/// Rows of one fetch.
const ROWS: usize = 1_000;
/// Handed over at the latest when a chunk has so many bytes.
const BYTES: usize = 1024 * 1024;
/// Of numbers whose precision is not declared.
const OPEN_DECIMAL: ColumnType = ColumnType::Decimal { precision: 38, scale: 18 };

/// Runs it.
pub(super) fn run(session: &Session, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
    // Who takes the rows may let us wait.
    let begin =
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0";
    session.batch(begin).map_err(|fault| fault.about("the query"))?;
    let done = read(session, sql, sink);
    let ended = session.batch("ROLLBACK").map_err(|fault| fault.about("the query"));
    done.and(ended)
}

fn read(session: &Session, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
    let sql = sql.trim().trim_end_matches(';');
    let refused = |why: &str| WarehouseError::BadQuery(why.to_owned());
    // Read alone first: what is more than one statement, or has parameters, is refused here.
    let statement = session.prepare(sql).map_err(|fault| fault.of_query())?;
    if !statement.params().is_empty() {
        return Err(refused("it has parameters, and nobody gives them"));
    }
    if statement.columns().is_empty() {
        return Err(refused("it gives no columns; only what reads is run"));
    }
    let declare = session.prepare(&format!("DECLARE penstock_rows NO SCROLL CURSOR FOR {sql}"));
    let declare = declare.map_err(|fault| fault.of_query())?;
    session.run(&declare).map_err(|fault| fault.of_query())?;
    let columns: Vec<QueryColumn> = statement.columns().iter().map(column_of).collect();
    sink.head(&columns)?;
    let mut reading = Reading { columns: &columns, chunk: RowChunk::new(columns.len()), texts: Vec::new() };
    loop {
        let fetch = format!("FETCH FORWARD {ROWS} FROM penstock_rows");
        let fetched = session.texts(&fetch, &mut |row| {
            reading.take(row)?;
            if reading.chunk.bytes() < BYTES {
                return Ok(());
            }
            sink.rows(reading.hand_over())
        })?;
        if !reading.chunk.is_empty() {
            sink.rows(reading.hand_over())?;
        }
        if fetched < ROWS as u64 {
            return Ok(());
        }
    }
}

fn column_of(column: &Column) -> QueryColumn {
    let kind = match *column.type_() {
        Type::BOOL => ColumnType::Boolean,
        Type::INT2 | Type::INT4 | Type::INT8 => ColumnType::Int,
        Type::NUMERIC => decimal(column.type_modifier()),
        Type::DATE => ColumnType::Date,
        Type::TIME => ColumnType::Time,
        Type::TIMESTAMPTZ | Type::TIMESTAMP => ColumnType::DateTime,
        Type::JSON | Type::JSONB => ColumnType::Json,
        _ => ColumnType::Text,
    };
    QueryColumn { name: column.name().to_owned(), kind }
}

/// Precision and scale are packed into a modifier, behind the length of its head.
fn decimal(modifier: i32) -> ColumnType {
    let Ok(packed) = u32::try_from(modifier - 4) else { return OPEN_DECIMAL };
    match (u8::try_from(packed >> 16), u8::try_from(packed & 0x7ff)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => ColumnType::Decimal { precision, scale },
        _ => OPEN_DECIMAL,
    }
}

struct Reading<'a> {
    columns: &'a [QueryColumn],
    chunk: RowChunk,
    /// Texts that were made anew, by column.
    texts: Vec<Option<String>>,
}

impl Reading<'_> {
    fn hand_over(&mut self) -> RowChunk {
        std::mem::replace(&mut self.chunk, RowChunk::new(self.columns.len()))
    }

    fn take(&mut self, row: &SimpleQueryRow) -> Result<(), WarehouseError> {
        self.texts.clear();
        for (index, column) in self.columns.iter().enumerate() {
            let text = row.get(index);
            self.texts.push(match (column.kind, text) {
                (ColumnType::Json, Some(text)) => Some(compact(text).ok_or_else(|| bad(column))?),
                _ => None,
            });
        }
        // A row is whole or not there: what cannot be read is found before its chunk has anything of it.
        let mut cells = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let made = self.texts.get(index).and_then(Option::as_deref);
            let text = made.or_else(|| row.get(index));
            cells.push(match text {
                None => Cell::Null,
                Some(text) => cell(column.kind, text).ok_or_else(|| bad(column))?,
            });
        }
        self.chunk.push(cells);
        Ok(())
    }
}

fn bad(column: &QueryColumn) -> WarehouseError {
    WarehouseError::BadValue {
        column: column.name.clone(),
        message: "a value that no other system has, such as infinity; cast the column to text".to_owned(),
    }
}

/// The cell behind PostgreSQL's text.
fn cell(kind: ColumnType, text: &str) -> Option<Cell<'_>> {
    Some(match kind {
        ColumnType::Boolean => Cell::Boolean(text == "t"),
        ColumnType::Int => Cell::Int(text.parse().ok()?),
        ColumnType::Decimal { .. } => Cell::Decimal(plain(text)?),
        ColumnType::Date => Cell::Date(days(text)?),
        ColumnType::Time => Cell::Time(time_of_day(text)?),
        ColumnType::DateTime => Cell::DateTime(date_time(text)?),
        ColumnType::Json => Cell::Json(text),
        ColumnType::Id | ColumnType::Text if text.is_empty() => Cell::Null,
        ColumnType::Id | ColumnType::Text => Cell::Text(text),
    })
}

/// A number without needless zeros; PostgreSQL knows no exponents here.
fn plain(text: &str) -> Option<&str> {
    if text.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-')) {
        return None;
    }
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    Some(if text == "-0" { "0" } else { text })
}

fn days(text: &str) -> Option<i32> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let date = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let epoch = jiff::civil::Date::new(1970, 1, 1).ok()?;
    Some(date.since((jiff::Unit::Day, epoch)).ok()?.get_days())
}

/// `03:04:05`, with up to six digits of a second, of which three are taken.
fn time_of_day(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let mut ms = 0;
    for place in 0..3 {
        ms = ms * 10
            + fraction.as_bytes().get(place).map_or(Some(0), |digit| char::from(*digit).to_digit(10))?;
    }
    let ms = hours * 3_600_000 + minutes * 60_000 + seconds * 1_000 + ms;
    // PostgreSQL has an hour 24.
    (parts.next().is_none() && ms < 86_400_000).then_some(ms)
}

/// `2026-01-02 03:04:05.678+00`, in UTC, which the session is set to; without a zone it is taken for UTC.
fn date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let time = time.strip_suffix("+00").unwrap_or(time);
    Some(i64::from(days(date)?) * 86_400_000 + i64::from(time_of_day(time)?))
}

/// JSON without spaces, keys sorted, numbers and texts as they were.
fn compact(text: &str) -> Option<String> {
    fn put(raw: &RawValue, out: &mut String) -> Option<()> {
        match raw.get().as_bytes().first()? {
            b'{' => {
                let map: BTreeMap<&str, &RawValue> = match serde_json::from_str(raw.get()) {
                    Ok(map) => map,
                    // A key with an escape cannot be borrowed.
                    Err(_) => {
                        let map: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).ok()?;
                        return put_map(map.iter().map(|(key, value)| (key.as_str(), *value)), out);
                    }
                };
                put_map(map.into_iter(), out)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
                out.push('[');
                for (index, item) in items.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    put(item, out)?;
                }
                out.push(']');
                Some(())
            }
            _ => {
                out.push_str(raw.get());
                Some(())
            }
        }
    }
    fn put_map<'a>(entries: impl Iterator<Item = (&'a str, &'a RawValue)>, out: &mut String) -> Option<()> {
        out.push('{');
        for (index, (key, value)) in entries.enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(key).ok()?);
            out.push(':');
            put(value, out)?;
        }
        out.push('}');
        Some(())
    }
    let mut out = String::with_capacity(text.len());
    put(serde_json::from_str(text).ok()?, &mut out)?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole("1200", Some("1200"))]
    #[case::zeros("12.500", Some("12.5"))]
    #[case::all_zeros("-0.00", Some("0"))]
    #[case::infinite("Infinity", None)]
    #[case::none("NaN", None)]
    fn a_number_is_told_plainly(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(plain(text), expected);
    }

    #[rstest]
    #[case::first("1970-01-01 00:00:00+00", Some(0))]
    #[case::with_ms("2026-01-02 03:04:05.678+00", Some(1_767_323_045_678))]
    #[case::with_micros("1969-12-31 23:59:59.9999+00", Some(-1))]
    #[case::without_zone("1970-01-01 00:00:01", Some(1_000))]
    #[case::before_the_calendar("0044-03-15 00:00:00+00 BC", None)]
    #[case::infinite("infinity", None)]
    fn a_time_is_read(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(date_time(text), expected);
    }

    #[test]
    fn a_structure_is_compact_and_sorted_and_its_numbers_stay() {
        let text = r#"{"b": [1.10, {"z": null, "a\n": "x, \"y\""}], "a": 12345678901234567890.5}"#;
        assert_eq!(
            compact(text).as_deref(),
            Some(r#"{"a":12345678901234567890.5,"b":[1.10,{"a\n":"x, \"y\"","z":null}]}"#)
        );
    }

    #[test]
    fn a_declared_precision_is_told() {
        assert_eq!(decimal(((18 << 16) | 2) + 4), ColumnType::Decimal { precision: 18, scale: 2 });
        assert_eq!(decimal(-1), OPEN_DECIMAL);
    }
}
