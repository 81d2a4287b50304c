//! What a table of the warehouse consists of, in words that every engine understands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::origin::Origin;

/// Longest part of a table's name that is taken: PostgreSQL cuts longer ones without a word.
const NAME_MAX: usize = 63;

/// The name of a table: `lead`, `crm.lead`, `raw.crm.lead`. Each part is letters, digits, `_` and `$`, not a digit first, or
/// any text in double quotes without a quote inside; kept as written, without the quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    /// Database and schema, or schema, or nothing.
    above: Vec<String>,
    name: String,
}

/// A text that is no name of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of a table: one to three parts with dots between, each of letters, digits, `_` and `$`, or in double quotes, at most {NAME_MAX} bytes"
)]
pub struct BadTableName(String);

impl TableName {
    /// A name whose parts were checked by [`str::parse`] or come from describes.
    pub fn new(above: Vec<String>, name: impl Into<String>) -> Self {
        Self { above, name: name.into() }
    }

    /// Database and schema, or schema, or nothing.
    pub fn above(&self) -> &[String] {
        &self.above
    }

    /// The last part.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_plain(part: &str) -> bool {
    let mut bytes = part.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
}

impl FromStr for TableName {
    type Err = BadTableName;

    fn from_str(text: &str) -> Result<Self, BadTableName> {
        let bad = || BadTableName(text.chars().take(80).collect());
        let mut parts = Vec::new();
        let mut rest = text.trim();
        loop {
            let (part, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(bad)?,
                None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            let is_good = if rest.starts_with('"') { !part.contains('\0') } else { is_plain(part) };
            if part.is_empty() || part.len() > NAME_MAX || !is_good {
                return Err(bad());
            }
            parts.push(part.to_owned());
            match after.strip_prefix('.') {
                Some(after) => rest = after,
                None if after.is_empty() => break,
                None => return Err(bad()),
            }
        }
        let name = parts.pop().ok_or_else(bad)?;
        if parts.len() > 2 {
            return Err(bad());
        }
        Ok(Self { above: parts, name })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.above.iter().chain([&self.name]) {
            if !std::ptr::eq(part, self.above.first().unwrap_or(&self.name)) {
                f.write_str(".")?;
            }
            if is_plain(part) { f.write_str(part)? } else { write!(f, "\"{part}\"")? }
        }
        Ok(())
    }
}

impl TryFrom<String> for TableName {
    type Error = BadTableName;

    fn try_from(text: String) -> Result<Self, BadTableName> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

/// What the values of a column are. Lengths are never declared: a longer picklist value must not break a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// A record's id or a reference: at most 18 characters, but text all the same.
    Id,
    /// Text of any length.
    Text,
    /// True or false.
    Boolean,
    /// A whole number of 64 bits.
    Int,
    /// An exact decimal number.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// A day.
    Date,
    /// A time of day, in milliseconds.
    Time,
    /// A point in time, in milliseconds, UTC.
    DateTime,
    /// A structure as compact JSON.
    Json,
}

/// A column of a table, and the field it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumn {
    /// The field's name at the org.
    pub field: String,
    /// The column's name in the warehouse: the field's, or with `__v2` and so on behind it.
    pub name: String,
    /// What its values are.
    pub kind: ColumnType,
}

/// The columns of a load's rows, in the order of their cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// The columns.
    pub columns: Vec<TableColumn>,
    /// Which of them identifies a row.
    pub key: usize,
    /// Which of them says when a row last changed; of two rows with one key the later wins.
    pub stamp: Option<usize>,
    /// Which of them says that a row is deleted at the org.
    pub deleted: Option<usize>,
    /// Name of the target's column that flags deleted rows; it is there even where the object has no such field.
    pub deleted_column: String,
}

/// A column as `_penstock_columns` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownColumn {
    /// The column.
    pub column: TableColumn,
    /// False once the field is gone or hidden: the column stays, its values stop changing.
    pub is_active: bool,
}

/// What the warehouse says of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// Whether the engine has it.
    pub exists: bool,
    /// What we made of it, in the order it was made.
    pub columns: Vec<KnownColumn>,
    /// Columns of the engine's table that are not ours; they are left alone.
    pub foreign: Vec<String>,
    /// Columns of ours that somebody took out, or made of another type.
    pub altered: Vec<String>,
    /// Goes up with each change of ours.
    pub schema_version: u64,
    /// The column that identified its rows when it was made.
    pub key: Option<String>,
    /// Whose rows it has.
    pub origin: Origin,
}

/// One step from what a table is to what its object needs. Nothing is ever dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SchemaChange {
    /// The table, with the column of its key and the one for deleted rows.
    CreateTable {
        /// Its columns.
        layout: TableLayout,
    },
    /// A column more.
    AddColumn {
        /// The column; empty in the rows that are there.
        column: TableColumn,
        /// The column whose type no longer fits the field, and which stays beside this one.
        beside: Option<String>,
    },
    /// A wider type that holds every value of the former.
    Widen {
        /// The column.
        name: String,
        /// Its type before.
        from: ColumnType,
        /// Its type after.
        to: ColumnType,
    },
    /// The field is gone or hidden: the column stays, its values stop changing.
    Retire {
        /// The column.
        name: String,
    },
    /// The field is back.
    Revive {
        /// The column.
        name: String,
    },
}

/// A column of a query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    /// Its name as the engine tells it.
    pub name: String,
    /// What its values are; what the engine has beyond our types is text.
    pub kind: ColumnType,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("lead", "lead")]
    #[case::schema("crm.lead", "crm.lead")]
    #[case::three("raw.crm.Lead_2", "raw.crm.Lead_2")]
    #[case::quoted(r#"crm."my lead""#, r#"crm."my lead""#)]
    #[case::needless_quotes(r#""crm".lead"#, "crm.lead")]
    #[case::dot_in_quotes(r#""a.b""#, r#""a.b""#)]
    fn a_name_reads_back_as_it_is_told(#[case] text: &str, #[case] told: &str) {
        let name: TableName = text.parse().unwrap();
        assert_eq!(name.to_string(), told);
        assert_eq!(told.parse::<TableName>().unwrap(), name);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::four("a.b.c.d")]
    #[case::statement("lead; DROP TABLE lead")]
    #[case::quote(r#"a"b"#)]
    #[case::open_quote(r#""lead"#)]
    #[case::after_quote(r#""lead"x"#)]
    #[case::digit_first("1lead")]
    #[case::dot_last("crm.")]
    #[case::long(&"x".repeat(64))]
    fn what_is_no_name_is_refused(#[case] text: &str) {
        assert!(text.parse::<TableName>().is_err());
    }
}
