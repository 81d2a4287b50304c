//! Tables and their columns: what the engine has, and what is changed of it.

use super::ledger::text;
use super::{DuckDbWarehouse, spelling};
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    LoadId, Origin, PartNumber, SchemaChange, TableColumn, TableLayout, TableName, TableState,
};
use crate::warehouse::adbc::known::{ColumnChange, KnownTable};
use crate::warehouse::adbc::rows::Constant;
use crate::warehouse::{RowChunk, WarehouseError};

/// Columns of log tables before those of their layout.
const LOG_LOAD: &str = "_load";
const LOG_PART: &str = "_part";
/// Where rows of a log are on their way.
const SCRATCH: &str = "_stg_log";

fn definitions(columns: &[TableColumn]) -> String {
    spelling::definitions(columns.iter().map(|column| (column.name.as_str(), column.kind)))
}

fn key_of_layout(layout: &TableLayout) -> &str {
    layout.columns.get(layout.key).map_or("", |column| column.name.as_str())
}

fn is_same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn altered(table: &TableName, what: String) -> WarehouseError {
    WarehouseError::Altered { table: table.to_string(), what }
}

impl DuckDbWarehouse {
    /// Columns that the engine has, with their types, in its order; none where there is no such table.
    pub fn engine_columns(&mut self, table: &TableName) -> Result<Vec<(String, String)>, WarehouseError> {
        let (catalog, schema) = match table.above() {
            [] => ("current_database()".to_owned(), "current_schema()".to_owned()),
            [schema] => ("current_database()".to_owned(), spelling::text(schema)),
            [catalog, .., schema] => (spelling::text(catalog), spelling::text(schema)),
        };
        let sql = format!(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE lower(database_name) = lower({catalog}) \
             AND lower(schema_name) = lower({schema}) AND lower(table_name) = lower({}) ORDER BY column_index",
            spelling::text(table.name())
        );
        let (_, rows) = self.connection.rows(&sql)?;
        Ok(rows.iter().map(|row| (text(row.cell(0)).to_owned(), text(row.cell(1)).to_owned())).collect())
    }

    /// What is known of a table beside what the engine has.
    pub fn table_state(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        let there = self.engine_columns(table)?;
        let known = self.ledger().table(table)?;
        let columns = self.ledger().columns(table)?;
        let flag = known.as_ref().map_or("", |known| known.deleted_column.as_str());
        let is_ours =
            |name: &str| is_same(name, flag) || columns.iter().any(|known| is_same(&known.column.name, name));
        let is_whole = |column: &TableColumn| {
            let type_name = spelling::type_name(column.kind);
            there.iter().any(|(name, type_there)| is_same(name, &column.name) && *type_there == type_name)
        };
        let mut altered: Vec<String> = columns
            .iter()
            .filter(|known| !is_whole(&known.column))
            .map(|known| known.column.name.clone())
            .collect();
        if known.is_some() && !there.iter().any(|(name, _)| is_same(name, flag)) {
            altered.push(flag.to_owned());
        }
        if there.is_empty() {
            altered.clear();
        }
        let (schema_version, key, origin) = known.as_ref().map_or((0, None, Origin::default()), |known| {
            let key = Some(known.key_column.clone()).filter(|key| !key.is_empty());
            (known.schema_version, key, known.origin.clone())
        });
        Ok(TableState {
            exists: !there.is_empty(),
            foreign: there.iter().map(|(name, _)| name.clone()).filter(|name| !is_ours(name)).collect(),
            altered,
            schema_version,
            key,
            origin,
            columns,
        })
    }

    /// One step, unless it was carried out before.
    pub fn apply(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        change: &SchemaChange,
    ) -> Result<(), WarehouseError> {
        let state = self.table_state(table)?;
        let find = |name: &str| state.columns.iter().find(|known| is_same(&known.column.name, name));
        let missing = |name: &str| altered(table, format!("it has no column `{name}` of ours"));
        let quoted = spelling::table(table);
        match change {
            SchemaChange::CreateTable { layout } => {
                return self.create(org, object, table, layout, &state);
            }
            SchemaChange::AddColumn { column, beside } => {
                if find(&column.name).is_some() {
                    return Ok(());
                }
                let known = self.ledger().table(table)?.unwrap_or_default();
                if state.foreign.iter().any(|name| is_same(name, &column.name)) {
                    return Err(altered(
                        table,
                        format!(
                            "column `{}` is there and is not ours: rename it, or leave the field out",
                            column.name
                        ),
                    ));
                }
                // The flag of deleted rows becomes the field's own column.
                if !is_same(&column.name, &known.deleted_column) {
                    let definition = definitions(std::slice::from_ref(column));
                    self.connection.execute(&format!("ALTER TABLE {quoted} ADD COLUMN {definition}"))?;
                }
                self.ledger().write_column(table, column, state.columns.len())?;
                if let Some(former) = beside.as_deref().and_then(find) {
                    self.ledger().change_column(table, &former.column.name, ColumnChange::Retired)?;
                }
            }
            SchemaChange::Widen { name, to, .. } => {
                let known = find(name).ok_or_else(|| missing(name))?;
                if known.column.kind == *to {
                    return Ok(());
                }
                if spelling::type_name(known.column.kind) != spelling::type_name(*to) {
                    let (column, type_name) = (spelling::quote(name), spelling::type_name(*to));
                    self.connection.execute(&format!(
                        "ALTER TABLE {quoted} ALTER COLUMN {column} SET DATA TYPE {type_name}"
                    ))?;
                }
                self.ledger().change_column(table, &known.column.name, ColumnChange::Kind(*to))?;
            }
            SchemaChange::Retire { name } | SchemaChange::Revive { name } => {
                let is_active = matches!(change, SchemaChange::Revive { .. });
                let known = find(name).ok_or_else(|| missing(name))?;
                if known.is_active == is_active {
                    return Ok(());
                }
                let change = if is_active { ColumnChange::Revived } else { ColumnChange::Retired };
                self.ledger().change_column(table, &known.column.name, change)?;
            }
        }
        self.ledger().next_version(table)
    }

    fn create(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        layout: &TableLayout,
        state: &TableState,
    ) -> Result<(), WarehouseError> {
        if state.exists && state.columns.is_empty() {
            return Err(altered(
                table,
                "it is there and penstock did not make it: rename it, or configure another `table`"
                    .to_owned(),
            ));
        }
        if state.exists {
            return Ok(());
        }
        if let [schema] = table.above() {
            self.connection.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", spelling::quote(schema)))?;
        }
        let mut columns = definitions(&layout.columns);
        if layout.deleted.is_none() {
            columns = format!("{columns}, {} BOOLEAN", spelling::quote(&layout.deleted_column));
        }
        self.connection.execute(&format!("CREATE TABLE {} ({columns})", spelling::table(table)))?;
        let known = KnownTable {
            schema_version: state.schema_version + 1,
            deleted_column: layout.deleted_column.clone(),
            key_column: key_of_layout(layout).to_owned(),
            origin: Origin::default(),
        };
        self.ledger().write_table(org, object, table, &known)?;
        for (position, column) in layout.columns.iter().enumerate() {
            self.ledger().write_column(table, column, position)?;
        }
        Ok(())
    }

    /// Rows of a log, in place of those that its part had.
    pub fn append(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        let quoted = spelling::table(table);
        if let [schema] = table.above() {
            self.connection.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", spelling::quote(schema)))?;
        }
        let own = definitions(&layout.columns);
        self.connection.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {quoted} ({LOG_LOAD} VARCHAR, {LOG_PART} INTEGER, {own})"
        ))?;
        let there = self.engine_columns(table)?;
        for column in &layout.columns {
            if !there.iter().any(|(name, _)| is_same(name, &column.name)) {
                let definition = definitions(std::slice::from_ref(column));
                self.connection.execute(&format!("ALTER TABLE {quoted} ADD COLUMN {definition}"))?;
            }
        }
        let (id, part) = (spelling::text(load.as_str()), part.0.cast_signed());
        self.connection
            .execute(&format!("DELETE FROM {quoted} WHERE {LOG_LOAD} = {id} AND {LOG_PART} = {part}"))?;
        // Made and dropped in this transaction: nobody sees it.
        self.connection
            .execute(&format!("CREATE TABLE {SCRATCH} ({LOG_LOAD} VARCHAR, {LOG_PART} INTEGER, {own})"))?;
        let constants =
            vec![Constant::Text(LOG_LOAD, load.as_str().to_owned()), Constant::Number(LOG_PART, part)];
        self.ingest(SCRATCH, &std::sync::Arc::new(rows.clone()), &layout.columns, constants)?;
        let names = spelling::columns("", layout.columns.iter().map(|column| column.name.as_str()));
        self.connection.execute(&format!(
            "INSERT INTO {quoted} ({LOG_LOAD}, {LOG_PART}, {names}) SELECT {LOG_LOAD}, {LOG_PART}, {names} FROM {SCRATCH}"
        ))?;
        self.connection.execute(&format!("DROP TABLE {SCRATCH}")).map(drop)
    }
}
