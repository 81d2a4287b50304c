//! What engines behind a driver have written down of tables and columns, which is the same for all of them.

use crate::sync::{ColumnType, KnownColumn, Origin, TableColumn};
use crate::warehouse::{Cell, ChunkRow, RowChunk, WarehouseError};

/// What is known of a table beside its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownTable {
    /// Goes up with each change.
    pub schema_version: u64,
    /// The column that flags deleted rows.
    pub deleted_column: String,
    /// The column of the key.
    pub key_column: String,
    /// Whose rows it has.
    pub origin: Origin,
}

/// Columns that a table of tables made before has not.
pub const ORIGIN: [&str; 2] = ["organization", "chosen_by"];

impl KnownTable {
    /// What a row of schema version, column for deleted rows, key, object, organization and settings tells.
    pub fn read(row: ChunkRow<'_>) -> Self {
        let text = |at| match row.cell(at) {
            Cell::Text(text) => text.to_owned(),
            _ => String::new(),
        };
        let known = |at| Some(text(at)).filter(|text| !text.is_empty());
        let schema_version = match row.cell(0) {
            Cell::Int(version) => u64::try_from(version).unwrap_or(0),
            Cell::Decimal(version) => version.parse().unwrap_or(0),
            _ => 0,
        };
        let origin = Origin { object: known(3), organization: known(4), chosen_by: known(5) };
        Self { schema_version, deleted_column: text(1), key_column: text(2), origin }
    }
}

/// What becomes of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnChange {
    /// It has a wider type.
    Kind(ColumnType),
    /// Its field is gone.
    Retired,
    /// Its field is back.
    Revived,
}

/// A type as it is written down.
pub fn kind_text(kind: ColumnType) -> String {
    serde_json::to_string(&kind).unwrap_or_default()
}

/// The columns that are written down of `table`: rows of name, field, type and whether it is active.
///
/// # Errors
/// [`WarehouseError::Altered`] for a type that is none of ours.
pub fn known_columns(rows: &RowChunk, table: &str) -> Result<Vec<KnownColumn>, WarehouseError> {
    let text = |cell| match cell {
        Cell::Text(text) => text,
        _ => "",
    };
    rows.iter()
        .map(|row| {
            let kind = serde_json::from_str(text(row.cell(2))).map_err(|error| WarehouseError::Altered {
                table: table.to_owned(),
                what: format!("`_penstock_columns` has a type that is not known: {error}"),
            })?;
            let (name, field) = (text(row.cell(0)).to_owned(), text(row.cell(1)).to_owned());
            let column = TableColumn { field, name, kind };
            Ok(KnownColumn { column, is_active: row.cell(3) == Cell::Boolean(true) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(kind: &str) -> Result<Vec<KnownColumn>, WarehouseError> {
        let mut rows = RowChunk::new(4);
        rows.push([Cell::Text("Total"), Cell::Text("Total__c"), Cell::Text(kind), Cell::Boolean(true)]);
        known_columns(&rows, "lead")
    }

    #[test]
    fn a_type_reads_back_as_it_is_written_down() {
        for kind in [ColumnType::Id, ColumnType::Json, ColumnType::Decimal { precision: 18, scale: 2 }] {
            let column = TableColumn { field: "Total__c".to_owned(), name: "Total".to_owned(), kind };
            assert_eq!(columns(&kind_text(kind)).unwrap(), [KnownColumn { column, is_active: true }]);
        }
    }

    #[test]
    fn a_type_that_is_none_of_ours_is_told_with_the_table() {
        let told = columns("\"blob\"").unwrap_err();
        assert!(matches!(&told, WarehouseError::Altered { table, .. } if table == "lead"), "{told}");
    }
}
