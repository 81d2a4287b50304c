//! What the server says of its tables, from `information_schema`.
//!
//! Promises: one look answers all tables of the connection's own database that the login may see (that is what
//! `information_schema` shows); sequences, system tables and `penstock_*` are left out. A table without a primary key whose
//! rows a unique index over columns without null tells apart has those columns as its key.

use std::collections::{BTreeMap, HashSet};

use mysql_async::prelude::Queryable;

use super::connection::Connection;
use crate::batch::catalogue::{ColumnFacts, ColumnType, ForeignKeyFacts, TableFacts};

/// Table, kind.
const TABLES: &str = "SELECT table_name, table_type FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') \
     AND table_name NOT LIKE 'penstock|_%' ESCAPE '|' ORDER BY table_name";

/// Table, column, its type, nullable, default, extra, expression.
const COLUMNS: &str = "SELECT table_name, column_name, column_type, is_nullable, column_default, extra, \
     generation_expression FROM information_schema.columns WHERE table_schema = DATABASE() \
     ORDER BY table_name, ordinal_position";

/// Table, index, column, nullable. An index over an expression has no column, and is no key.
const UNIQUE: &str = "SELECT s.table_name, s.index_name, COALESCE(s.column_name, ''), COALESCE(c.is_nullable, 'YES') \
     FROM information_schema.statistics AS s LEFT JOIN information_schema.columns AS c \
     ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name \
     WHERE s.table_schema = DATABASE() AND s.non_unique = 0 ORDER BY s.table_name, s.index_name, s.seq_in_index";

/// Table, constraint, column, other schema (null when it is this one), other table, other column.
const FOREIGN_KEYS: &str = "SELECT table_name, constraint_name, column_name, \
     NULLIF(referenced_table_schema, DATABASE()), referenced_table_name, referenced_column_name \
     FROM information_schema.key_column_usage \
     WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL \
     ORDER BY table_name, constraint_name, ordinal_position";

/// Tables with triggers.
const TRIGGERS: &str = "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE event_object_schema = DATABASE()";

/// Table, check. Only MariaDB has the table's name here; there it tells which columns are documents.
const DOCUMENTS: &str = "SELECT table_name, check_clause FROM information_schema.check_constraints \
     WHERE constraint_schema = DATABASE() AND check_clause LIKE 'json|_valid(%' ESCAPE '|'";

type ColumnRow = (String, String, String, String, Option<String>, Option<String>, Option<String>);
type ForeignKeyRow = (String, String, String, Option<String>, String, String);

impl Connection {
    /// All tables and views.
    ///
    /// # Errors
    /// The driver's.
    pub async fn introspect(&mut self) -> Result<Vec<TableFacts>, mysql_async::Error> {
        let tables: Vec<(String, String)> = self.conn.query(TABLES).await?;
        let columns: Vec<ColumnRow> = self.conn.query(COLUMNS).await?;
        let unique: Vec<(String, String, String, String)> = self.conn.query(UNIQUE).await?;
        let foreign_keys: Vec<ForeignKeyRow> = self.conn.query(FOREIGN_KEYS).await?;
        let triggers: Vec<String> = self.conn.query(TRIGGERS).await?;
        let documents: Vec<(String, String)> = match self.server.flavor {
            crate::batch::sql::mysql::Flavor::MariaDb => self.conn.query(DOCUMENTS).await?,
            crate::batch::sql::mysql::Flavor::Mysql => Vec::new(),
        };
        Ok(tables_of(tables, columns, unique, foreign_keys, &triggers, &documents))
    }
}

fn tables_of(
    tables: Vec<(String, String)>,
    columns: Vec<ColumnRow>,
    unique: Vec<(String, String, String, String)>,
    foreign_keys: Vec<ForeignKeyRow>,
    triggers: &[String],
    documents: &[(String, String)],
) -> Vec<TableFacts> {
    let documents: HashSet<(&str, &str)> = documents
        .iter()
        .filter_map(|(table, check)| {
            Some((table.as_str(), check.strip_prefix("json_valid(`")?.strip_suffix("`)")?))
        })
        .collect();
    let mut columns_by_table: BTreeMap<String, Vec<ColumnFacts>> = BTreeMap::new();
    for row in columns {
        let document = documents.contains(&(row.0.as_str(), row.1.as_str()));
        columns_by_table.entry(row.0.clone()).or_default().push(column_facts(row, document));
    }
    let mut keys = keys_by_table(unique);
    let mut foreign_keys = foreign_keys_by_table(foreign_keys);
    tables
        .into_iter()
        .map(|(table, kind)| TableFacts {
            schema: None,
            view: kind == "VIEW",
            columns: columns_by_table.remove(&table).unwrap_or_default(),
            primary_key: keys.remove(&table).unwrap_or_default(),
            foreign_keys: foreign_keys.remove(&table).unwrap_or_default(),
            has_triggers: triggers.contains(&table),
            has_deferred_constraints: false,
            table,
        })
        .collect()
}

fn column_facts(
    (_, name, native_type, nullable, default, extra, expression): ColumnRow,
    document: bool,
) -> ColumnFacts {
    let extra = extra.unwrap_or_default().to_lowercase();
    let generated = extra.contains("generated") && !extra.contains("default_generated");
    let generated = generated || expression.is_some_and(|expression| !expression.is_empty());
    let nullable = nullable == "YES";
    let auto_increment = extra.contains("auto_increment");
    // MariaDB writes the default null of a column as text.
    let default = default.filter(|default| default != "NULL");
    ColumnFacts {
        column_type: if document { ColumnType::Json } else { column_type(&native_type) },
        has_default: default.is_some() || auto_increment,
        native_type,
        nullable,
        auto_increment,
        generated,
        name,
    }
}

/// The primary key of each table, or else its smallest unique index without null.
fn keys_by_table(rows: Vec<(String, String, String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut indexes: BTreeMap<String, BTreeMap<String, (Vec<String>, bool)>> = BTreeMap::new();
    for (table, index, column, nullable) in rows {
        let (columns, usable) = indexes.entry(table).or_default().entry(index).or_insert((Vec::new(), true));
        columns.push(column);
        *usable &= nullable == "NO";
    }
    let best = |indexes: BTreeMap<String, (Vec<String>, bool)>| {
        let usable = indexes.into_iter().filter(|(_, (_, usable))| *usable);
        let best = usable.min_by_key(|(name, (columns, _))| (name != "PRIMARY", columns.len()));
        best.map(|(_, (columns, _))| columns)
    };
    indexes.into_iter().filter_map(|(table, indexes)| Some((table, best(indexes)?))).collect()
}

fn foreign_keys_by_table(rows: Vec<ForeignKeyRow>) -> BTreeMap<String, Vec<ForeignKeyFacts>> {
    let mut constraints: BTreeMap<(String, String), ForeignKeyFacts> = BTreeMap::new();
    for (table, constraint, column, schema, other, other_column) in rows {
        let facts = constraints.entry((table, constraint)).or_insert_with(|| ForeignKeyFacts {
            columns: Vec::new(),
            schema,
            table: other,
            referenced: Vec::new(),
        });
        facts.columns.push(column);
        facts.referenced.push(other_column);
    }
    let mut tables: BTreeMap<String, Vec<ForeignKeyFacts>> = BTreeMap::new();
    for ((table, _), facts) in constraints {
        tables.entry(table).or_default().push(facts);
    }
    tables
}

/// What a column of this type holds.
fn column_type(declared: &str) -> ColumnType {
    let native = declared.to_lowercase();
    let word = native.split(['(', ' ']).next().unwrap_or_default();
    let unsigned = native.contains("unsigned");
    let int = |bits| ColumnType::Int { bits, unsigned };
    match word {
        "tinyint" if native.starts_with("tinyint(1)") => ColumnType::Boolean,
        "bit" if native == "bit(1)" => ColumnType::Boolean,
        "bit" => ColumnType::Int { bits: 64, unsigned: true },
        "tinyint" => int(8),
        "smallint" => int(16),
        "year" => ColumnType::Int { bits: 16, unsigned: true },
        "mediumint" => int(24),
        "int" | "integer" => int(32),
        "bigint" => int(64),
        "decimal" | "numeric" => ColumnType::Decimal,
        "float" => ColumnType::Float { bits: 32 },
        "double" | "real" => ColumnType::Float { bits: 64 },
        "date" => ColumnType::Date,
        "time" => ColumnType::Time,
        "datetime" => ColumnType::Timestamp,
        "timestamp" => ColumnType::TimestampTz,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => ColumnType::Text,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnType::Bytes,
        "json" => ColumnType::Json,
        "uuid" => ColumnType::Uuid,
        "enum" => ColumnType::Enum(enum_values(declared)),
        _ => ColumnType::Other,
    }
}

/// The texts of `enum('a','it''s')`.
fn enum_values(native: &str) -> std::sync::Arc<[Box<str>]> {
    let mut values = Vec::new();
    let mut rest = native;
    while let Some((_, after)) = rest.split_once('\'') {
        let mut value = String::new();
        rest = after;
        while let Some((part, after)) = rest.split_once('\'') {
            value.push_str(part);
            rest = after;
            // A doubled quote is one of the text.
            match rest.strip_prefix('\'') {
                Some(after) => {
                    value.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        values.push(value.into_boxed_str());
    }
    values.into()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("tinyint(1)", ColumnType::Boolean)]
    #[case("tinyint(4)", ColumnType::Int { bits: 8, unsigned: false })]
    #[case("int", ColumnType::Int { bits: 32, unsigned: false })]
    #[case("bigint(20) unsigned", ColumnType::Int { bits: 64, unsigned: true })]
    #[case("decimal(10,2)", ColumnType::Decimal)]
    #[case("bit(1)", ColumnType::Boolean)]
    #[case("bit(10)", ColumnType::Int { bits: 64, unsigned: true })]
    #[case("datetime(3)", ColumnType::Timestamp)]
    #[case("timestamp", ColumnType::TimestampTz)]
    #[case("inet6", ColumnType::Other)]
    #[case("longblob", ColumnType::Bytes)]
    fn a_type_of_the_server_is_one_of_ours(#[case] native: &str, #[case] ours: ColumnType) {
        assert_eq!(column_type(native), ours);
    }

    #[test]
    fn texts_of_an_enum_are_read_with_their_quotes_and_commas() {
        let values = enum_values("enum('A','it''s','x,y','')");

        assert_eq!(values.iter().map(|value| &**value).collect::<Vec<_>>(), ["A", "it's", "x,y", ""]);
    }

    #[test]
    fn a_unique_index_without_null_is_the_key_of_a_table_without_one() {
        let row = |table: &str, index: &str, column: &str, nullable: &str| {
            (table.to_owned(), index.to_owned(), column.to_owned(), nullable.to_owned())
        };
        let keys = keys_by_table(vec![
            row("a", "PRIMARY", "id", "NO"),
            row("a", "name", "name", "NO"),
            row("b", "code", "code", "NO"),
            row("c", "maybe", "maybe", "YES"),
        ]);

        assert_eq!(keys.get("a"), Some(&vec!["id".to_owned()]));
        assert_eq!(keys.get("b"), Some(&vec!["code".to_owned()]));
        assert_eq!(keys.get("c"), None);
    }
}
