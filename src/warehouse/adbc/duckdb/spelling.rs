//! How DuckDB spells names, types and values.

use jiff::Timestamp;

use crate::sync::{ColumnType, TableName};
use crate::warehouse::adbc::rows::DECIMAL_DIGITS_MIN;

/// A name in quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The type of a column.
pub fn type_name(kind: ColumnType) -> String {
    match kind {
        ColumnType::Id | ColumnType::Text | ColumnType::Json => "VARCHAR".to_owned(),
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Int => "BIGINT".to_owned(),
        ColumnType::Decimal { precision, scale } => {
            format!("DECIMAL({},{scale})", precision.max(DECIMAL_DIGITS_MIN))
        }
        ColumnType::Date => "DATE".to_owned(),
        ColumnType::Time => "TIME".to_owned(),
        ColumnType::DateTime => "TIMESTAMP WITH TIME ZONE".to_owned(),
    }
}

/// A text in quotes.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

/// A point in time, or null.
pub fn instant(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "NULL".to_owned(), |at| format!("make_timestamptz({})", at.as_microsecond()))
}

/// A table's name with what it is in, in quotes.
pub fn table(table: &TableName) -> String {
    let above = table.above().iter().map(|part| quote(part) + ".");
    above.collect::<String>() + &quote(table.name())
}

/// A table's name as the ledger has it, in quotes: two names of one table, which differ by capitals, are one text.
pub fn table_key(table: &TableName) -> String {
    text(&table.to_string().to_lowercase())
}

/// Columns of a statement, each with what stands before it.
pub fn columns<'n>(of: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("{of}{}", quote(name))).collect();
    names.join(", ")
}

/// Columns with their types, as they stand in CREATE TABLE.
pub fn definitions<'n>(columns: impl IntoIterator<Item = (&'n str, ColumnType)>) -> String {
    let one = |(name, kind)| format!("{} {}", quote(name), type_name(kind));
    columns.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
