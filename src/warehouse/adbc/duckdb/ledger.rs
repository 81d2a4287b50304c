//! Penstock's own tables: what was loaded, what the columns are of, who writes.
//!
//! Promises: these tables are made where they are missing and never dropped; the watermark comes from them alone.

use jiff::Timestamp;

use super::spelling;
use crate::model::{ObjectName, OrgName};
use crate::sync::{CommitReceipt, KnownColumn, LoadId, LoadPlan, Origin, TableColumn, TableName, Watermark};
use crate::warehouse::adbc::connection::AdbcConnection;
use crate::warehouse::adbc::known::{ColumnChange, KnownTable, ORIGIN, kind_text, known_columns};
use crate::warehouse::{Cell, WarehouseError};

/// Loads that are in their targets.
pub const LOADS: &str = "_penstock_loads";
/// Tables that are ours.
pub const TABLES: &str = "_penstock_tables";
/// Their columns.
pub const COLUMNS: &str = "_penstock_columns";
/// The daemon that writes.
pub const OWNER: &str = "_penstock_owner";

/// The ledger of one connection.
#[derive(Debug)]
pub struct Ledger<'a> {
    /// The connection.
    pub connection: &'a mut AdbcConnection,
}

impl Ledger<'_> {
    /// Makes the tables.
    ///
    /// # Errors
    /// What the engine says.
    pub fn make(&mut self) -> Result<(), WarehouseError> {
        let (text, int, flag, instant) = ("VARCHAR", "BIGINT", "BOOLEAN", "TIMESTAMPTZ");
        let tables = [
            format!(
                "{LOADS} (load_id {text} NOT NULL, org {text}, object {text}, target_table {text}, mode {text}, \
                from_mark {instant}, to_mark {instant}, watermark {instant}, rows_staged {int}, inserted {int}, updated {int}, unchanged {int}, \
                deleted {int}, schema_version {int}, finished_at {instant})"
            ),
            format!(
                "{TABLES} (target_table {text}, org {text}, object {text}, deleted_column {text}, key_column {text}, schema_version {int})"
            ),
            format!(
                "{COLUMNS} (target_table {text}, column_name {text}, field {text}, type {text}, is_active {flag}, \
                added_at {instant}, retired_at {instant}, position {int})"
            ),
            format!("{OWNER} (owner {text}, taken_at {instant})"),
        ];
        for table in tables {
            self.connection.execute(&format!("CREATE TABLE IF NOT EXISTS {table}"))?;
        }
        for column in ORIGIN {
            self.connection
                .execute(&format!("ALTER TABLE {TABLES} ADD COLUMN IF NOT EXISTS {column} {text}"))?;
        }
        Ok(())
    }

    /// Who wrote last.
    ///
    /// # Errors
    /// What the engine says.
    pub fn owner(&mut self) -> Result<Option<String>, WarehouseError> {
        let (_, rows) = self.connection.rows(&format!("SELECT owner FROM {OWNER}"))?;
        Ok(rows.row(0).map(|row| text(row.cell(0)).to_owned()))
    }

    /// Writes down who writes.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write_owner(&mut self, owner: &str) -> Result<(), WarehouseError> {
        if self.owner()?.as_deref() == Some(owner) {
            return Ok(());
        }
        self.connection.execute(&format!("DELETE FROM {OWNER}"))?;
        let owner = spelling::text(owner);
        let sql = format!("INSERT INTO {OWNER} (owner, taken_at) VALUES ({owner}, CURRENT_TIMESTAMP)");
        self.connection.execute(&sql).map(drop)
    }

    /// What a load did, if it is in its target.
    ///
    /// # Errors
    /// What the engine says.
    pub fn receipt(&mut self, load: &LoadId) -> Result<Option<CommitReceipt>, WarehouseError> {
        let id = spelling::text(load.as_str());
        let sql = format!(
            "SELECT rows_staged, inserted, updated, unchanged, deleted, epoch_us(watermark) FROM {LOADS} WHERE load_id = {id}"
        );
        let (_, rows) = self.connection.rows(&sql)?;
        Ok(rows.row(0).map(|row| CommitReceipt {
            staged: number(row.cell(0)),
            inserted: number(row.cell(1)),
            updated: number(row.cell(2)),
            unchanged: number(row.cell(3)),
            deleted: number(row.cell(4)),
            watermark: instant(row.cell(5)).map(|at| Watermark { at }),
        }))
    }

    /// Writes a load down, unless it is there, and the watermark into its receipt: it moves on, never back.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write(&mut self, load: &LoadPlan, receipt: &mut CommitReceipt) -> Result<(), WarehouseError> {
        let before = self.watermark(&load.org, &load.object, &load.table)?;
        receipt.watermark = before.max(load.to.map(|at| Watermark { at }));
        let id = spelling::text(load.id.as_str());
        let mode = serde_json::to_value(load.mode).ok();
        let values = [
            id.clone(),
            spelling::text(load.org.as_str()),
            spelling::text(load.object.as_str()),
            spelling::table_key(&load.table),
            spelling::text(mode.as_ref().and_then(|mode| mode.as_str()).unwrap_or_default()),
            spelling::instant(load.from),
            spelling::instant(load.to),
            spelling::instant(receipt.watermark.map(|mark| mark.at)),
            receipt.staged.to_string(),
            receipt.inserted.to_string(),
            receipt.updated.to_string(),
            receipt.unchanged.to_string(),
            receipt.deleted.to_string(),
            load.schema_version.to_string(),
        ];
        let sql = format!(
            "INSERT INTO {LOADS} (load_id, org, object, target_table, mode, from_mark, to_mark, watermark, rows_staged, inserted, \
             updated, unchanged, deleted, schema_version, finished_at) SELECT {}, CURRENT_TIMESTAMP \
             WHERE NOT EXISTS (SELECT 1 FROM {LOADS} WHERE load_id = {id})",
            values.join(", ")
        );
        match self.connection.execute(&sql)? {
            Some(0) => {
                Err(WarehouseError::Engine(format!("load `{}` was committed by somebody else", load.id)))
            }
            _ => Ok(()),
        }
    }

    /// Up to where a table has an object.
    ///
    /// # Errors
    /// What the engine says.
    pub fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        let sql = format!(
            "SELECT max(epoch_us(watermark)) FROM {LOADS} WHERE org = {} AND object = {} AND target_table = {}",
            spelling::text(org.as_str()),
            spelling::text(object.as_str()),
            spelling::table_key(table)
        );
        let (_, rows) = self.connection.rows(&sql)?;
        Ok(rows.row(0).and_then(|row| instant(row.cell(0))).map(|at| Watermark { at }))
    }

    /// What is known of a table; `None` when it is not ours.
    ///
    /// # Errors
    /// What the engine says.
    pub fn table(&mut self, table: &TableName) -> Result<Option<KnownTable>, WarehouseError> {
        let key = spelling::table_key(table);
        let sql = format!(
            "SELECT schema_version, deleted_column, key_column, object, organization, chosen_by FROM {TABLES} \
             WHERE target_table = {key}"
        );
        let (_, rows) = self.connection.rows(&sql)?;
        Ok(rows.row(0).map(KnownTable::read))
    }

    /// The columns of a table, in the order they were made.
    ///
    /// # Errors
    /// What the engine says.
    pub fn columns(&mut self, table: &TableName) -> Result<Vec<KnownColumn>, WarehouseError> {
        let key = spelling::table_key(table);
        let sql = format!(
            "SELECT column_name, field, type, is_active FROM {COLUMNS} WHERE target_table = {key} ORDER BY position"
        );
        let (_, rows) = self.connection.rows(&sql)?;
        known_columns(&rows, &table.to_string())
    }

    /// Writes a new table down, without columns. What was loaded into a former table of that name counts no more.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write_table(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        known: &KnownTable,
    ) -> Result<(), WarehouseError> {
        let key = spelling::table_key(table);
        self.connection.execute(&format!("DELETE FROM {TABLES} WHERE target_table = {key}"))?;
        self.connection.execute(&format!("DELETE FROM {COLUMNS} WHERE target_table = {key}"))?;
        self.connection
            .execute(&format!("UPDATE {LOADS} SET watermark = NULL WHERE target_table = {key}"))?;
        let values = [
            key,
            spelling::text(org.as_str()),
            spelling::text(object.as_str()),
            spelling::text(&known.deleted_column),
            spelling::text(&known.key_column),
            known.schema_version.to_string(),
        ];
        let sql = format!(
            "INSERT INTO {TABLES} (target_table, org, object, deleted_column, key_column, schema_version) VALUES ({})",
            values.join(", ")
        );
        self.connection.execute(&sql).map(drop)
    }

    /// Writes down whose rows a table has; what is not known stays as it was.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write_origin(
        &mut self,
        org: &OrgName,
        table: &TableName,
        origin: &Origin,
    ) -> Result<(), WarehouseError> {
        let known = [
            ("object", &origin.object),
            ("organization", &origin.organization),
            ("chosen_by", &origin.chosen_by),
        ];
        let known = known.into_iter().filter_map(|(column, value)| Some((column, value.as_deref()?)));
        let set = known.fold(format!("org = {}", spelling::text(org.as_str())), |set, (column, value)| {
            format!("{set}, {column} = {}", spelling::text(value))
        });
        let key = spelling::table_key(table);
        self.connection.execute(&format!("UPDATE {TABLES} SET {set} WHERE target_table = {key}")).map(drop)
    }

    /// Writes a column down.
    ///
    /// # Errors
    /// What the engine says.
    pub fn write_column(
        &mut self,
        table: &TableName,
        column: &TableColumn,
        position: usize,
    ) -> Result<(), WarehouseError> {
        let values = [
            spelling::table_key(table),
            spelling::text(&column.name),
            spelling::text(&column.field),
            spelling::text(&kind_text(column.kind)),
            position.to_string(),
        ];
        let sql = format!(
            "INSERT INTO {COLUMNS} (target_table, column_name, field, type, position, is_active, added_at) \
             VALUES ({}, true, CURRENT_TIMESTAMP)",
            values.join(", ")
        );
        self.connection.execute(&sql).map(drop)
    }

    /// Changes what is known of a column.
    ///
    /// # Errors
    /// What the engine says.
    pub fn change_column(
        &mut self,
        table: &TableName,
        name: &str,
        change: ColumnChange,
    ) -> Result<(), WarehouseError> {
        let set = match change {
            ColumnChange::Kind(kind) => format!("type = {}", spelling::text(&kind_text(kind))),
            ColumnChange::Retired => "is_active = false, retired_at = CURRENT_TIMESTAMP".to_owned(),
            ColumnChange::Revived => "is_active = true, retired_at = NULL".to_owned(),
        };
        let (key, name) = (spelling::table_key(table), spelling::text(name));
        let sql = format!("UPDATE {COLUMNS} SET {set} WHERE target_table = {key} AND column_name = {name}");
        self.connection.execute(&sql).map(drop)
    }

    /// Counts a change of a table's schema.
    ///
    /// # Errors
    /// What the engine says.
    pub fn next_version(&mut self, table: &TableName) -> Result<(), WarehouseError> {
        let key = spelling::table_key(table);
        let sql =
            format!("UPDATE {TABLES} SET schema_version = schema_version + 1 WHERE target_table = {key}");
        self.connection.execute(&sql).map(drop)
    }
}

/// A count or another number that is not negative.
pub fn number(cell: Cell<'_>) -> u64 {
    match cell {
        Cell::Int(value) => u64::try_from(value).unwrap_or(0),
        // Sums are wider than what they add up.
        Cell::Decimal(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// A text, empty for null.
pub fn text(cell: Cell<'_>) -> &str {
    match cell {
        Cell::Text(text) => text,
        _ => "",
    }
}

fn instant(micros: Cell<'_>) -> Option<Timestamp> {
    match micros {
        Cell::Int(value) => Timestamp::from_microsecond(value).ok(),
        Cell::Decimal(text) => Timestamp::from_microsecond(text.parse().ok()?).ok(),
        _ => None,
    }
}
