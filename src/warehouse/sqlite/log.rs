//! Tables that are only appended to: which rows were pushed, which were refused.

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, TransactionBehavior, params};

use super::errors;
use super::pack::{Unpack, declared, pack};
use super::schema::{name_in_file, quoted};
use crate::sync::{LoadId, PartNumber, TableLayout, TableName};
use crate::warehouse::{RowChunk, WarehouseError};

/// Appends the rows of a part, in place of those that are there of it.
pub(super) fn append(
    connection: &mut Connection,
    table: &TableName,
    layout: &TableLayout,
    load: &LoadId,
    part: PartNumber,
    rows: &RowChunk,
) -> Result<(), WarehouseError> {
    let told = table.to_string();
    let failed = |error: rusqlite::Error| errors::of_table(&told, &error);
    let name = name_in_file(table);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    make(&transaction, &name, layout).map_err(failed)?;
    let name = quoted(&name);
    transaction
        .execute(
            &format!("DELETE FROM {name} WHERE _load = ?1 AND _part = ?2"),
            params![load.as_str(), part.0],
        )
        .map_err(failed)?;
    let columns: Vec<String> = layout.columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!(
        "INSERT INTO {name} (_load, _part, {}) VALUES (?, ?{})",
        columns.join(", "),
        ", ?".repeat(columns.len())
    );
    let mut insert = transaction.prepare(&sql).map_err(failed)?;
    let (mut packed, mut values) = (Vec::new(), Vec::new());
    for row in rows.iter() {
        packed.clear();
        for (cell, column) in row.cells().zip(&layout.columns) {
            pack(cell, column.kind, &mut packed);
        }
        insert.raw_bind_parameter(1, load.as_str()).map_err(failed)?;
        insert.raw_bind_parameter(2, part.0).map_err(failed)?;
        Unpack::new(&packed).row(columns.len(), &mut values);
        for (place, value) in values.iter().enumerate() {
            insert.raw_bind_parameter(place + 3, ToSqlOutput::Borrowed(*value)).map_err(failed)?;
        }
        insert.raw_execute().map_err(failed)?;
        values = Vec::new();
    }
    drop(insert);
    transaction.commit().map_err(|error| errors::of_commit(&told, &error))
}

fn make(connection: &Connection, name: &str, layout: &TableLayout) -> rusqlite::Result<()> {
    let columns: String = layout
        .columns
        .iter()
        .map(|column| format!(", {} {}", quoted(&column.name), declared(column.kind)))
        .collect();
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (_load TEXT NOT NULL, _part INTEGER NOT NULL{columns});
         CREATE INDEX IF NOT EXISTS {index} ON {table} (_load, _part)",
        table = quoted(name),
        index = quoted(&format!("{name}_of_load"))
    ))?;
    let mut known = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let known: Vec<String> = known.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for column in &layout.columns {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(&column.name)) {
            connection.execute_batch(&format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                quoted(name),
                quoted(&column.name),
                declared(column.kind)
            ))?;
        }
    }
    Ok(())
}
