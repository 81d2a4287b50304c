//! The ledger: which loads are in which table, and up to where.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::errors;
use super::schema::NOW;
use crate::model::{ObjectName, OrgName};
use crate::sync::{CommitReceipt, LoadId, LoadMode, LoadPlan, TableName, Watermark};
use crate::warehouse::WarehouseError;

/// A point in time as text of one length, so that texts are in the order of times.
fn mark(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

fn mode(mode: LoadMode) -> &'static str {
    match mode {
        LoadMode::Upsert => "upsert",
        LoadMode::Replace => "replace",
        LoadMode::Refresh => "refresh",
        LoadMode::DeleteKeys => "delete_keys",
        LoadMode::KeepKeys => "keep_keys",
    }
}

/// The highest mark of loads of this table, `up_to` a row of the ledger.
fn highest(
    connection: &Connection,
    org: &OrgName,
    object: &ObjectName,
    table: &str,
    up_to: i64,
) -> Result<Option<Watermark>, WarehouseError> {
    let failed = |error: rusqlite::Error| errors::of("_penstock_loads", &error);
    let highest: Option<String> = connection
        .prepare_cached(
            "SELECT max(to_mark) FROM _penstock_loads
             WHERE org = ?1 AND object = ?2 AND target_table = ?3 AND rowid <= ?4 AND rowid >
               coalesce((SELECT first_load FROM _penstock_tables WHERE target_table = ?3), 0)",
        )
        .and_then(|mut asked| {
            asked.query_row(params![org.as_str(), object.as_str(), table, up_to], |row| row.get(0))
        })
        .map_err(failed)?;
    let Some(highest) = highest else { return Ok(None) };
    let at = highest.parse().map_err(|_| {
        WarehouseError::Engine(format!("`_penstock_loads` has a mark for `{table}` that is no point in time"))
    })?;
    Ok(Some(Watermark { at }))
}

/// Up to where the table has the object.
pub(super) fn watermark(
    connection: &Connection,
    org: &OrgName,
    object: &ObjectName,
    table: &TableName,
) -> Result<Option<Watermark>, WarehouseError> {
    highest(connection, org, object, &table.to_string(), i64::MAX)
}

/// What a load has done, when it is in the ledger.
pub(super) fn receipt(
    connection: &Connection,
    load: &LoadPlan,
) -> Result<Option<CommitReceipt>, WarehouseError> {
    let found = connection
        .prepare_cached(
            "SELECT rowid, rows_staged, inserted, updated, unchanged, deleted FROM _penstock_loads WHERE load_id = ?1",
        )
        .and_then(|mut asked| {
            asked
                .query_row([load.id.as_str()], |row| {
                    let receipt = CommitReceipt {
                        staged: row.get(1)?,
                        inserted: row.get(2)?,
                        updated: row.get(3)?,
                        unchanged: row.get(4)?,
                        deleted: row.get(5)?,
                        watermark: None,
                    };
                    Ok((row.get::<_, i64>(0)?, receipt))
                })
                .optional()
        })
        .map_err(|error| errors::of("_penstock_loads", &error))?;
    let Some((row, mut receipt)) = found else { return Ok(None) };
    receipt.watermark = highest(connection, &load.org, &load.object, &load.table.to_string(), row)?;
    Ok(Some(receipt))
}

/// Writes a load into the ledger, and tells where the watermark is then.
pub(super) fn enter(
    connection: &Connection,
    load: &LoadPlan,
    receipt: &CommitReceipt,
) -> Result<Option<Watermark>, WarehouseError> {
    let sql = format!(
        "INSERT INTO _penstock_loads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, {NOW})"
    );
    let row = params![
        load.id.as_str(),
        load.org.as_str(),
        load.object.as_str(),
        load.table.to_string(),
        mode(load.mode),
        load.from.map(mark),
        load.to.map(mark),
        receipt.staged,
        receipt.inserted,
        receipt.updated,
        receipt.unchanged,
        receipt.deleted,
        load.schema_version,
    ];
    connection.execute(&sql, row).map_err(|error| errors::of("_penstock_loads", &error))?;
    watermark(connection, &load.org, &load.object, &load.table)
}

/// Whether a load is in the ledger.
pub(super) fn is_done(connection: &Connection, load: &LoadId) -> Result<bool, WarehouseError> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM _penstock_loads WHERE load_id = ?1)")
        .and_then(|mut asked| asked.query_row([load.as_str()], |row| row.get(0)))
        .map_err(|error| errors::of("_penstock_loads", &error))
}
