//! Names and types as PostgreSQL has them.

use sha2::{Digest as _, Sha256};

use crate::sync::{ColumnType, LoadId, TableName};

/// Longest name of PostgreSQL, in bytes; it cuts longer ones without a word.
const NAME_BYTES_MAX: usize = 63;

/// A table, with the schema it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Place {
    /// As in a statement.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// As in penstock's own tables and in errors.
    pub(super) fn told(&self) -> String {
        TableName::new(vec![self.schema.clone()], self.name.clone()).to_string()
    }
}

/// Where a load's rows and keys wait, each as in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staging {
    pub(super) rows: String,
    pub(super) keys: String,
}

impl Staging {
    /// Tables of their own for each load: what is over is let go of whole, without a trace in the tables of others.
    pub(super) fn of(schema: &str, table: &TableName, load: &LoadId) -> Self {
        let load = load.as_str().to_ascii_lowercase();
        let named = |prefix: &str| {
            let room = NAME_BYTES_MAX - prefix.len() - 1 - load.len();
            let name = format!("{prefix}{}_{load}", cut(table.name(), room));
            format!("{}.{}", quote(schema), quote(&name))
        };
        Self { rows: named("_stg_"), keys: named("_stk_") }
    }
}

fn cut(name: &str, bytes_max: usize) -> &str {
    let mut end = name.len().min(bytes_max);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// A name as in a statement.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a column of this kind is made as. Numbers have no declared scale: PostgreSQL would round what has more digits,
/// without a word, and formulas of the org do.
pub(super) fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Id | ColumnType::Text => "text",
        ColumnType::Boolean => "boolean",
        ColumnType::Int => "bigint",
        ColumnType::Decimal { .. } => "numeric",
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::DateTime => "timestamptz",
        ColumnType::Json => "jsonb",
    }
}

/// The name of [`sql_type`] in the catalogue.
pub(super) fn catalogue_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "bool",
        ColumnType::Int => "int8",
        other => sql_type(other),
    }
}

/// A kind as `_penstock_columns` has it.
pub(super) fn kind_text(kind: ColumnType) -> String {
    let name = match kind {
        ColumnType::Id => "id",
        ColumnType::Text => "text",
        ColumnType::Boolean => "boolean",
        ColumnType::Int => "int",
        ColumnType::Decimal { precision, scale } => return format!("decimal({precision},{scale})"),
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::DateTime => "datetime",
        ColumnType::Json => "json",
    };
    name.to_owned()
}

/// The kind behind [`kind_text`].
pub(super) fn kind_of(text: &str) -> Option<ColumnType> {
    let plain = [
        ColumnType::Id,
        ColumnType::Text,
        ColumnType::Boolean,
        ColumnType::Int,
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::DateTime,
        ColumnType::Json,
    ];
    if let Some(kind) = plain.into_iter().find(|kind| kind_text(*kind) == text) {
        return Some(kind);
    }
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some(ColumnType::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? })
}

/// The expression that makes a column's values of another kind.
pub(super) fn widened(name: &str, from: ColumnType, to: ColumnType) -> String {
    let column = quote(name);
    match (from, to) {
        // As every engine tells them.
        (ColumnType::DateTime, ColumnType::Text) => {
            format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
        }
        (ColumnType::Time, ColumnType::Text) => format!("to_char('epoch'::date + {column}, 'HH24:MI:SS.MS')"),
        _ => format!("{column}::{}", sql_type(to)),
    }
}

/// The number of an advisory lock.
pub(super) fn lock_number(what: &str, name: &str) -> i64 {
    let digest =
        Sha256::new().chain_update("penstock\0").chain_update(what).chain_update("\0").chain_update(name);
    let digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_table_fits_however_long_its_table_is_named() {
        let load = LoadId::new(7, 9);
        for name in ["lead", &"x".repeat(63), &"é".repeat(31)] {
            let staging = Staging::of("public", &TableName::new(vec![], name), &load);
            for table in [&staging.rows, &staging.keys] {
                let name = table.strip_prefix("\"public\".\"").and_then(|name| name.strip_suffix('"'));
                let name = name.expect("quoted");
                assert!(name.len() <= 63 && name.ends_with(&load.as_str().to_lowercase()), "{name}");
            }
        }
    }

    #[test]
    fn a_kind_reads_back() {
        for kind in [ColumnType::Id, ColumnType::Json, ColumnType::Decimal { precision: 20, scale: 4 }] {
            assert_eq!(kind_of(&kind_text(kind)), Some(kind));
        }
        assert_eq!(kind_of("money"), None);
    }

    #[test]
    fn a_quote_in_a_name_ends_nothing() {
        assert_eq!(quote(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
    }
}
