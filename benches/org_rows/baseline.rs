//! What one would write first, to the same lines: a tree of values for REST, a string for each cell of CSV.
//!
//! Numbers keep their text where a tree allows it; the lines are those of the canonical form only because the bench's
//! numbers survive a float.

use penstock::salesforce::rows::{Column, ColumnKind};
use serde_json::Value;

use super::{LINES_BYTES, Take};

pub fn from_rest(columns: &[Column], pages: &[Vec<u8>], take: Take<'_>) {
    let mut lines = Vec::new();
    for page in pages {
        let page: Value = serde_json::from_slice(page).expect("a page of rows");
        for record in page.get("records").and_then(Value::as_array).expect("records") {
            let cells = columns.iter().map(|column| {
                let mut value = record;
                for name in column.name.split('.') {
                    value = value.get(name).unwrap_or(&Value::Null);
                }
                match (column.kind, value) {
                    (ColumnKind::DateTime, Value::String(text)) => Value::String(in_utc(text)),
                    (ColumnKind::Decimal, Value::Number(number)) => decimal(&number.to_string()),
                    (_, value) => value.clone(),
                }
            });
            write_line(columns, cells, &mut lines, take);
        }
    }
    take(&mut lines);
}

pub fn from_bulk(columns: &[Column], pages: &[Vec<u8>], take: Take<'_>) {
    let mut lines = Vec::new();
    for page in pages {
        let text = String::from_utf8(page.clone()).expect("a page of text");
        let mut cells = vec![String::new()];
        let (mut quoted, mut header) = (false, true);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    cells.last_mut().expect("a cell").push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                '\n' if !quoted => {
                    let row = std::mem::replace(&mut cells, vec![String::new()]);
                    if !std::mem::take(&mut header) {
                        let kinds = columns.iter().map(|column| column.kind);
                        let values = kinds.zip(row).map(|(kind, cell)| value_of(kind, cell));
                        write_line(columns, values, &mut lines, take);
                    }
                }
                c => cells.last_mut().expect("a cell").push(c),
            }
        }
    }
    take(&mut lines);
}

fn value_of(kind: ColumnKind, cell: String) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    match kind {
        ColumnKind::Boolean => Value::Bool(cell == "true"),
        ColumnKind::Int => Value::from(cell.parse::<i64>().expect("a whole number")),
        ColumnKind::Decimal => decimal(&cell),
        ColumnKind::DateTime => Value::String(in_utc(&cell)),
        _ => Value::String(cell),
    }
}

fn decimal(text: &str) -> Value {
    let number: f64 = text.parse().expect("a number");
    if number.fract() == 0.0 { Value::from(number as i64) } else { Value::from(number) }
}

fn in_utc(text: &str) -> String {
    let at: jiff::Timestamp = match text.strip_suffix("+0000") {
        Some(local) => format!("{local}Z").parse().expect("a point in time"),
        None => text.parse().expect("a point in time"),
    };
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn write_line(columns: &[Column], values: impl Iterator<Item = Value>, lines: &mut Vec<u8>, take: Take<'_>) {
    // A map sorts its keys, so the line is put together by hand.
    lines.push(b'{');
    for (index, (column, value)) in columns.iter().zip(values).enumerate() {
        if index > 0 {
            lines.push(b',');
        }
        serde_json::to_writer(&mut *lines, &column.name).expect("a name is JSON");
        lines.push(b':');
        serde_json::to_writer(&mut *lines, &value).expect("a value is JSON");
    }
    lines.extend_from_slice(b"}\n");
    if lines.len() >= LINES_BYTES {
        take(lines);
    }
}
