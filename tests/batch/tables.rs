//! Tables from the entities of the case file, on each database: definitions, rows, contents.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::support::databases::{Database, Kind};

/// Rows by table, each a cell by column, in the order of the primary key.
pub type Contents = BTreeMap<String, Vec<BTreeMap<String, Option<String>>>>;

/// The entities of the case file.
pub struct Schema {
    entities: Map<String, Value>,
}

impl Schema {
    pub fn new(entities: &Map<String, Value>) -> Self {
        Self { entities: entities.clone() }
    }

    /// Referenced tables first.
    fn tables(&self) -> Vec<(&String, &Value)> {
        let mut tables: Vec<_> = self.entities.iter().collect();
        let refers = |entity: &Value| {
            entity["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, column)| column.get("references").is_some())
        };
        tables.sort_by_key(|(_, entity)| refers(entity));
        tables
    }

    /// `CREATE TABLE` for all of them.
    pub fn definitions(&self, kind: Kind) -> String {
        let mut sql = String::new();
        for (table, entity) in self.tables() {
            let key = entity["primary_key"].as_str().expect("a key");
            let mut parts = Vec::new();
            for (name, column) in entity["properties"].as_object().expect("properties") {
                let auto = column["key"] == "auto";
                let mut part = format!("{name} {}", column_type(kind, column, auto));
                if name == key {
                    part.push_str(" PRIMARY KEY");
                }
                if column["not_null"] == true {
                    part.push_str(" NOT NULL");
                }
                if column["unique"] == true {
                    part.push_str(" UNIQUE");
                }
                parts.push(part);
                if let Some((other, there)) =
                    column["references"].as_str().and_then(|text| text.split_once('.'))
                {
                    parts.push(format!("FOREIGN KEY ({name}) REFERENCES {other} ({there})"));
                }
            }
            // Columns before constraints.
            parts.sort_by_key(|part| part.starts_with("FOREIGN"));
            let _ = writeln!(sql, "CREATE TABLE {table} ({});", parts.join(", "));
        }
        sql
    }

    /// What no database knows, as sections of the configuration.
    pub fn settings(&self) -> String {
        let mut text = String::new();
        for (name, entity) in &self.entities {
            text.push_str(&super::settings::entity_section(name, entity));
        }
        text
    }

    /// Empties all tables and stores these rows.
    pub fn fill(&self, database: &Database, rows: &Map<String, Value>) {
        let mut sql = String::new();
        for (table, _) in self.tables().into_iter().rev() {
            let _ = writeln!(sql, "DELETE FROM {table};");
        }
        for (table, entity) in self.tables() {
            let columns = entity["properties"].as_object().expect("properties");
            let key = entity["primary_key"].as_str().expect("a key");
            let rows: &[Value] = rows.get(table).and_then(Value::as_array).map_or(&[], Vec::as_slice);
            for row in rows {
                let cells: Vec<String> = columns.keys().map(|column| literal(&row[column])).collect();
                let names: Vec<&str> = columns.keys().map(String::as_str).collect();
                let _ = writeln!(
                    sql,
                    "INSERT INTO {table} ({}) VALUES ({});",
                    names.join(", "),
                    cells.join(", ")
                );
            }
            if columns[key]["key"] == "auto" {
                let next = rows.iter().filter_map(|row| row[key].as_i64()).max().unwrap_or(0) + 1;
                match database.kind {
                    // Numbers go on from the largest by themselves.
                    Kind::Sqlite => {}
                    Kind::Postgres => {
                        let _ = writeln!(sql, "ALTER TABLE {table} ALTER COLUMN {key} RESTART WITH {next};");
                    }
                    Kind::Mysql => {
                        let _ = writeln!(sql, "ALTER TABLE {table} AUTO_INCREMENT = {next};");
                    }
                }
            }
        }
        database.execute(&sql);
    }

    /// Everything that is stored.
    pub fn contents(&self, database: &Database) -> Contents {
        let tables: Vec<&str> = self.entities.keys().map(String::as_str).collect();
        self.contents_of(database, &tables)
    }

    /// What is stored in these tables.
    pub fn contents_of(&self, database: &Database, tables: &[&str]) -> Contents {
        let mut contents = Contents::new();
        for table in tables {
            let entity = &self.entities[*table];
            let columns: Vec<&String> =
                entity["properties"].as_object().expect("properties").keys().collect();
            let names = columns.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let key = entity["primary_key"].as_str().expect("a key");
            let rows = database.query(&format!("SELECT {names} FROM {table} ORDER BY {key}"));
            let cells =
                |row: Vec<Option<String>>| columns.iter().map(|name| (*name).clone()).zip(row).collect();
            contents.insert((*table).to_owned(), rows.into_iter().map(cells).collect());
        }
        contents
    }

    /// Whether these are all rows of those tables; tables not named are not judged.
    pub fn compare(&self, wanted: &Map<String, Value>, had: &Contents) -> Result<(), String> {
        for (table, rows) in wanted {
            let had = had.get(table).ok_or_else(|| format!("no table `{table}`"))?;
            let rows = rows.as_array().expect("rows");
            let columns = self.entities[table]["properties"].as_object().expect("properties");
            let same = rows.len() == had.len()
                && rows.iter().zip(had).all(|(row, had)| {
                    columns.iter().all(|(name, column)| same_cell(&column["type"], &row[name], &had[name]))
                });
            if !same {
                return Err(format!("`{table}` holds {had:?}, and is to hold {rows:?}"));
            }
        }
        Ok(())
    }
}

fn column_type(kind: Kind, column: &Value, auto: bool) -> &'static str {
    match (column["type"].as_str().expect("a type"), kind) {
        ("integer", Kind::Sqlite) => "INTEGER",
        ("integer", Kind::Postgres) if auto => "integer GENERATED BY DEFAULT AS IDENTITY",
        ("integer", Kind::Mysql) if auto => "INT AUTO_INCREMENT",
        ("integer", _) => "INT",
        ("string", Kind::Mysql) => "VARCHAR(200)",
        ("string", _) => "TEXT",
        ("number", Kind::Mysql) => "DECIMAL(12, 4)",
        ("number", Kind::Postgres) => "numeric",
        ("number", Kind::Sqlite) => "NUMERIC",
        ("boolean", _) => "BOOLEAN",
        ("date-time", Kind::Mysql) => "DATETIME(6)",
        ("date-time", _) => "TIMESTAMP",
        (other, _) => panic!("a type `{other}`"),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    }
}

fn same_cell(kind: &Value, wanted: &Value, had: &Option<String>) -> bool {
    match (wanted, had) {
        (Value::Null, None) => true,
        (Value::Object(matcher), Some(had)) => matcher["$type"] == "date-time" && had.len() >= 19,
        (Value::Bool(flag), Some(had)) => ["1", "t", "true"].contains(&had.as_str()) == *flag,
        (Value::Number(number), Some(had)) => number_of(&number.to_string()) == number_of(had),
        (Value::String(text), Some(had)) if kind == "date-time" => {
            // Databases write the gap between day and time in their own way.
            had.len() >= 19 && had[..10] == text[..10] && had[11..19] == text[11..19]
        }
        (Value::String(text), Some(had)) => text == had,
        _ => false,
    }
}

/// A number without the zeros behind its last digit.
pub fn number_of(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, part)) => {
            let part = part.trim_end_matches('0');
            if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
        }
        None => text.to_owned(),
    }
}
