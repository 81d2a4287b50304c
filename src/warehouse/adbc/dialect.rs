//! How an engine spells what every engine has.

use jiff::Timestamp;

use crate::sync::{ColumnType, TableName};

/// An engine's spelling.
pub trait Dialect {
    /// A name in quotes, as the engine keeps it.
    fn quote(&self, name: &str) -> String;

    /// The type of a column.
    fn type_name(&self, kind: ColumnType) -> String;

    /// A text in quotes.
    fn text(&self, text: &str) -> String;

    /// A point in time.
    fn instant(&self, at: Timestamp) -> String;

    /// Microseconds since 1970 of a point in time, as a whole number.
    fn micros(&self, instant: &str) -> String;

    /// A table's name with what it is in, in quotes.
    fn table(&self, table: &TableName) -> String {
        let above = table.above().iter().map(|part| self.quote(part) + ".");
        above.collect::<String>() + &self.quote(table.name())
    }

    /// A table's name as the ledger has it: two names of one table are one text.
    fn table_key(&self, table: &TableName) -> String;

    /// A point in time, or null.
    fn maybe_instant(&self, at: Option<Timestamp>) -> String {
        at.map_or_else(|| "NULL".to_owned(), |at| self.instant(at))
    }

    /// Columns of a statement.
    fn columns<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> String
    where
        Self: Sized,
    {
        self.columns_of("", names)
    }

    /// Columns of a statement, each with the table's short name before it.
    fn columns_of<'n>(&self, of: &str, names: impl IntoIterator<Item = &'n str>) -> String
    where
        Self: Sized,
    {
        let names: Vec<String> = names.into_iter().map(|name| format!("{of}{}", self.quote(name))).collect();
        names.join(", ")
    }
}
