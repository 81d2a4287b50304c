//! Tables: what we made of them, what the file says of them, and the steps from one to the other.
//!
//! Promises: a step and what is written down of it are one transaction; a step that was carried out before is none.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::errors;
use super::pack::{declared, fits};
use crate::model::ObjectName;
use crate::sync::{
    ColumnType, KnownColumn, Origin, SchemaChange, TableColumn, TableLayout, TableName, TableState,
};
use crate::warehouse::WarehouseError;

/// Penstock's own tables.
///
/// `first_load` is the ledger's row before the table was made: loads up to there were of a table that somebody has dropped,
/// and say nothing of this one.
const META: &str = "
CREATE TABLE IF NOT EXISTS _penstock_loads (
  load_id TEXT PRIMARY KEY, org TEXT NOT NULL, object TEXT NOT NULL, target_table TEXT NOT NULL, mode TEXT NOT NULL,
  from_mark TEXT, to_mark TEXT, rows_staged INTEGER NOT NULL, inserted INTEGER NOT NULL, updated INTEGER NOT NULL,
  unchanged INTEGER NOT NULL, deleted INTEGER NOT NULL, schema_version INTEGER NOT NULL, finished_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS _penstock_loads_mark ON _penstock_loads (target_table, object, org, to_mark);
CREATE TABLE IF NOT EXISTS _penstock_tables (
  target_table TEXT PRIMARY KEY, schema_version INTEGER NOT NULL, first_load INTEGER NOT NULL, key_column TEXT,
  object TEXT, organization TEXT, chosen_by TEXT);
CREATE TABLE IF NOT EXISTS _penstock_columns (
  target_table TEXT NOT NULL, column_name TEXT NOT NULL, field TEXT NOT NULL, type TEXT NOT NULL,
  is_active INTEGER NOT NULL, added_at TEXT NOT NULL, retired_at TEXT, position INTEGER NOT NULL,
  PRIMARY KEY (target_table, column_name));
";

/// The time, as the meta tables have it.
pub(super) const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// Columns of `_penstock_tables` that a file made before has not.
const ORIGIN: [&str; 3] = ["object", "organization", "chosen_by"];

/// Makes penstock's own tables where they are missing, and their columns.
pub(super) fn make_meta(connection: &Connection, what: &str) -> Result<(), WarehouseError> {
    let make = || {
        connection.execute_batch(META)?;
        let there = engine_columns(connection, "_penstock_tables")?;
        let is_missing = |name: &&str| !there.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        ORIGIN.iter().copied().filter(is_missing).try_for_each(|name| {
            connection.execute_batch(&format!("ALTER TABLE _penstock_tables ADD COLUMN {name} TEXT"))
        })
    };
    make().map_err(|error: rusqlite::Error| errors::of(what, &error))
}

/// A name in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table's name in the file, which has no schemas: `crm.lead` is a table of that name, dot and all.
pub(super) fn name_in_file(table: &TableName) -> String {
    let above = table.above().iter().map(String::as_str).filter(|part| !part.eq_ignore_ascii_case("main"));
    above.chain([table.name()]).collect::<Vec<_>>().join(".")
}

struct EngineColumn {
    name: String,
    declared: String,
}

fn engine_columns(connection: &Connection, name: &str) -> rusqlite::Result<Vec<EngineColumn>> {
    let mut asked = connection.prepare_cached("SELECT name, type FROM pragma_table_info(?1)")?;
    let columns =
        asked.query_map([name], |row| Ok(EngineColumn { name: row.get(0)?, declared: row.get(1)? }))?;
    columns.collect()
}

/// The column for deleted rows has no field where the object has none.
fn is_of_a_field(known: &KnownColumn) -> bool {
    !known.column.field.is_empty()
}

fn known_columns(connection: &Connection, table: &str) -> Result<Vec<KnownColumn>, WarehouseError> {
    let failed = |error: rusqlite::Error| errors::of(table, &error);
    let mut asked = connection
        .prepare_cached(
            "SELECT field, column_name, type, is_active FROM _penstock_columns WHERE target_table = ?1
             ORDER BY position",
        )
        .map_err(failed)?;
    let rows = asked
        .query_map([table], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, bool>(3)?))
        })
        .map_err(failed)?;
    rows.map(|row| {
        let (field, name, kind, is_active) = row.map_err(failed)?;
        let kind = kind_of(&kind).ok_or_else(|| {
            WarehouseError::Engine(format!(
                "`_penstock_columns` has a type for `{table}` that is none of penstock's"
            ))
        })?;
        Ok(KnownColumn { column: TableColumn { field, name, kind }, is_active })
    })
    .collect()
}

fn kind_of(text: &str) -> Option<ColumnType> {
    let plain = |kind| Some(kind);
    match text {
        "id" => plain(ColumnType::Id),
        "text" => plain(ColumnType::Text),
        "boolean" => plain(ColumnType::Boolean),
        "int" => plain(ColumnType::Int),
        "date" => plain(ColumnType::Date),
        "time" => plain(ColumnType::Time),
        "datetime" => plain(ColumnType::DateTime),
        "json" => plain(ColumnType::Json),
        _ => {
            let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            Some(ColumnType::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? })
        }
    }
}

fn text_of(kind: ColumnType) -> String {
    match kind {
        ColumnType::Id => "id".to_owned(),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Int => "int".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time".to_owned(),
        ColumnType::DateTime => "datetime".to_owned(),
        ColumnType::Json => "json".to_owned(),
    }
}

/// What is written down of a table beside its columns.
#[derive(Default)]
struct KnownTable {
    schema_version: u64,
    key: Option<String>,
    origin: Origin,
}

fn known_table(connection: &Connection, table: &str) -> Result<KnownTable, WarehouseError> {
    let read = |row: &rusqlite::Row<'_>| {
        let origin = Origin { object: row.get(2)?, organization: row.get(3)?, chosen_by: row.get(4)? };
        Ok(KnownTable { schema_version: row.get(0)?, key: row.get(1)?, origin })
    };
    connection
        .prepare_cached(
            "SELECT schema_version, key_column, object, organization, chosen_by FROM _penstock_tables
             WHERE target_table = ?1",
        )
        .and_then(|mut asked| asked.query_row([table], read).optional())
        .map(Option::unwrap_or_default)
        .map_err(|error| errors::of(table, &error))
}

/// Writes down whose rows a table has; what is not known stays as it was.
pub(super) fn write_origin(
    connection: &Connection,
    table: &TableName,
    origin: &Origin,
) -> Result<(), WarehouseError> {
    let told = table.to_string();
    let sql = "UPDATE _penstock_tables SET object = coalesce(?2, object),
               organization = coalesce(?3, organization), chosen_by = coalesce(?4, chosen_by)
               WHERE target_table = ?1";
    let row = params![told, origin.object, origin.organization, origin.chosen_by];
    connection.execute(sql, row).map(drop).map_err(|error| errors::of(&told, &error))
}

/// What is known of a table, and what the file says of it.
pub(super) fn state(connection: &Connection, table: &TableName) -> Result<TableState, WarehouseError> {
    let name = name_in_file(table);
    let engine = engine_columns(connection, &name).map_err(|error| errors::of(&name, &error))?;
    let known = known_columns(connection, &table.to_string())?;
    let is_same =
        |ours: &KnownColumn, theirs: &EngineColumn| ours.column.name.eq_ignore_ascii_case(&theirs.name);
    let is_altered = |ours: &&KnownColumn| {
        !engine.iter().any(|theirs| is_same(ours, theirs) && fits(&theirs.declared, ours.column.kind))
    };
    let exists = !engine.is_empty();
    let KnownTable { schema_version, key, origin } = known_table(connection, &table.to_string())?;
    let altered = known.iter().filter(is_altered).filter(|_| exists);
    Ok(TableState {
        exists,
        foreign: engine
            .iter()
            .filter(|theirs| !known.iter().any(|ours| is_same(ours, theirs)))
            .map(|theirs| theirs.name.clone())
            .collect(),
        altered: altered.map(|ours| ours.column.name.clone()).collect(),
        schema_version,
        key,
        origin,
        columns: known.into_iter().filter(is_of_a_field).collect(),
    })
}

/// Carries out the steps, and tells the schema version then.
pub(super) fn apply(
    connection: &mut Connection,
    object: &ObjectName,
    table: &TableName,
    changes: &[SchemaChange],
) -> Result<u64, WarehouseError> {
    let told = table.to_string();
    for change in changes {
        let failed = |error: rusqlite::Error| errors::of_table(&told, &error);
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        let step = Step { transaction: &transaction, object, table: &told, name: &name_in_file(table) };
        if step.apply(change)? {
            transaction
                .execute(
                    "INSERT INTO _penstock_tables (target_table, schema_version, first_load) VALUES (?1, 1, 0)
                     ON CONFLICT (target_table) DO UPDATE SET schema_version = schema_version + 1",
                    [&told],
                )
                .map_err(failed)?;
            transaction.commit().map_err(|error| errors::of_commit(&told, &error))?;
        }
    }
    known_table(connection, &told).map(|known| known.schema_version)
}

struct Step<'a> {
    transaction: &'a Transaction<'a>,
    object: &'a ObjectName,
    /// As the meta tables have it.
    table: &'a str,
    /// As the file has it.
    name: &'a str,
}

impl Step<'_> {
    /// Whether there was something to do.
    fn apply(&self, change: &SchemaChange) -> Result<bool, WarehouseError> {
        match change {
            SchemaChange::CreateTable { layout } => self.create(layout),
            SchemaChange::AddColumn { column, beside } => {
                if let Some(beside) = beside {
                    self.set_active(beside, false)?;
                }
                self.add(column)
            }
            SchemaChange::Widen { name, to, .. } => {
                // Columns of numbers take any number, and ids are text: only what is written down changes.
                self.write("UPDATE _penstock_columns SET type = ?3 WHERE target_table = ?1 AND column_name = ?2 AND type <> ?3", name, &text_of(*to))
            }
            SchemaChange::Retire { name } => self.set_active(name, false),
            SchemaChange::Revive { name } => self.set_active(name, true),
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> WarehouseError {
        errors::of_table(self.table, error)
    }

    fn write(&self, sql: &str, name: &str, value: &str) -> Result<bool, WarehouseError> {
        let changed = self.transaction.execute(sql, params![self.table, name, value]);
        changed.map(|rows| rows > 0).map_err(|error| self.failed(&error))
    }

    fn set_active(&self, name: &str, is_active: bool) -> Result<bool, WarehouseError> {
        let sql = format!(
            "UPDATE _penstock_columns SET is_active = ?3 + 0, retired_at = CASE WHEN ?3 + 0 THEN NULL ELSE {NOW} END
             WHERE target_table = ?1 AND column_name = ?2 AND is_active <> ?3 + 0"
        );
        self.write(&sql, name, if is_active { "1" } else { "0" })
    }

    fn write_down(&self, column: &TableColumn) -> Result<(), WarehouseError> {
        let sql = format!(
            "INSERT INTO _penstock_columns
             SELECT ?1, ?2, ?3, ?4, 1, {NOW}, NULL, 1 + coalesce(max(position), -1) FROM _penstock_columns
             WHERE target_table = ?1"
        );
        let row = params![self.table, column.name, column.field, text_of(column.kind)];
        self.transaction.execute(&sql, row).map(|_| ()).map_err(|error| self.failed(&error))
    }

    fn create(&self, layout: &TableLayout) -> Result<bool, WarehouseError> {
        let engine = engine_columns(self.transaction, self.name).map_err(|error| self.failed(&error))?;
        let known = known_columns(self.transaction, self.table)?;
        if !engine.is_empty() {
            if known.is_empty() {
                return Err(WarehouseError::Altered {
                    table: self.table.to_owned(),
                    what:
                        "it is there already, and not made by penstock: name another `table`, or take it away"
                            .to_owned(),
                });
            }
            return Ok(false);
        }
        let mut columns = layout.columns.clone();
        if !columns.iter().any(|column| column.name.eq_ignore_ascii_case(&layout.deleted_column)) {
            let name = layout.deleted_column.clone();
            columns.push(TableColumn { field: String::new(), name, kind: ColumnType::Boolean });
        }
        let lines: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let key = if place == layout.key { " NOT NULL PRIMARY KEY" } else { "" };
                format!("{} {}{key}", quoted(&column.name), declared(column.kind))
            })
            .collect();
        let forget =
            "INSERT INTO _penstock_tables (target_table, schema_version, first_load, key_column, object)
             SELECT ?1, 0, coalesce(max(rowid), 0), ?2, ?3 FROM _penstock_loads WHERE true
             ON CONFLICT (target_table) DO UPDATE
             SET first_load = excluded.first_load, key_column = excluded.key_column,
                 object = excluded.object, organization = NULL, chosen_by = NULL";
        let key = layout.columns.get(layout.key).map(|column| column.name.as_str());
        self.transaction
            .execute_batch(&format!("CREATE TABLE {} ({})", quoted(self.name), lines.join(", ")))
            .and_then(|()| self.transaction.execute(forget, params![self.table, key, self.object.as_str()]))
            .and_then(|_| {
                self.transaction
                    .execute("DELETE FROM _penstock_columns WHERE target_table = ?1", [self.table])
            })
            .map_err(|error| self.failed(&error))?;
        columns.iter().try_for_each(|column| self.write_down(column))?;
        Ok(true)
    }

    fn add(&self, column: &TableColumn) -> Result<bool, WarehouseError> {
        let known = known_columns(self.transaction, self.table)?;
        if let Some(known) = known.iter().find(|known| known.column.name.eq_ignore_ascii_case(&column.name)) {
            if is_of_a_field(known) {
                return Ok(false);
            }
            // The column for deleted rows, of an object that has the field by now.
            let sql = "UPDATE _penstock_columns SET field = ?3 WHERE target_table = ?1 AND column_name = ?2";
            return self.write(sql, &known.column.name, &column.field);
        }
        let engine = engine_columns(self.transaction, self.name).map_err(|error| self.failed(&error))?;
        if engine.iter().any(|theirs| theirs.name.eq_ignore_ascii_case(&column.name)) {
            return Err(WarehouseError::Altered {
                table: self.table.to_owned(),
                what: format!(
                    "column `{}` is there already, and not made by penstock: give it another name",
                    column.name
                ),
            });
        }
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {} {}",
            quoted(self.name),
            quoted(&column.name),
            declared(column.kind)
        );
        self.transaction.execute_batch(&sql).map_err(|error| self.failed(&error))?;
        self.write_down(column)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_as_it_is_written_down() {
        let kinds = [
            ColumnType::Id,
            ColumnType::Text,
            ColumnType::Boolean,
            ColumnType::Int,
            ColumnType::Decimal { precision: 38, scale: 10 },
            ColumnType::Date,
            ColumnType::Time,
            ColumnType::DateTime,
            ColumnType::Json,
        ];
        for kind in kinds {
            assert_eq!(kind_of(&text_of(kind)), Some(kind));
            assert!(fits(&declared(kind), kind));
        }
        assert_eq!(kind_of("decimal(x,2)"), None);
    }

    #[test]
    fn a_schema_is_part_of_a_name() {
        let name = |text: &str| name_in_file(&text.parse().unwrap());
        assert_eq!(name("lead"), "lead");
        assert_eq!(name("main.lead"), "lead");
        assert_eq!(name("raw.crm.lead"), "raw.crm.lead");
    }
}
