//! Queries that people wrote, on a connection that cannot write.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Statement};

use super::errors;
use crate::sync::{ColumnType, QueryColumn};
use crate::warehouse::{Cell, QuerySink, RowChunk, WarehouseError};

/// Rows that are handed on together, unless their texts are long.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;

/// Runs a query and hands its rows on.
pub(super) fn run(
    reader: &Connection,
    what: &str,
    sql: &str,
    sink: &mut dyn QuerySink,
) -> Result<(), WarehouseError> {
    let failed = |error: rusqlite::Error| errors::of_query(what, &error);
    let mut batch = Batch::new(reader, sql);
    let mut query = batch
        .next()
        .map_err(failed)?
        .ok_or_else(|| WarehouseError::BadQuery("there is no statement in it".to_owned()))?;
    if batch.next().map_err(failed)?.is_some() {
        return Err(WarehouseError::BadQuery("there is more than one statement in it".to_owned()));
    }
    if !query.readonly() || query.column_count() == 0 {
        return Err(WarehouseError::BadQuery("it does something else than read".to_owned()));
    }
    let declared = declared_kinds(&query);
    let names: Vec<String> = query.column_names().map(str::to_owned).collect();
    let mut rows = query.raw_query();
    let mut first = rows.next().map_err(failed)?;
    let mut kinds = Vec::with_capacity(names.len());
    for (place, declared) in declared.iter().enumerate() {
        // Of an expression nothing is declared: its first value must do.
        let kind = match (declared, &first) {
            (Some(kind), _) => *kind,
            (None, Some(row)) => kind_of(row.get_ref(place).map_err(failed)?),
            (None, None) => ColumnType::Text,
        };
        kinds.push(kind);
    }
    let columns: Vec<QueryColumn> =
        names.into_iter().zip(&kinds).map(|(name, kind)| QueryColumn { name, kind: *kind }).collect();
    sink.head(&columns)?;

    let mut chunk = RowChunk::with_room(columns.len(), CHUNK_ROWS, 0);
    let mut numbers: Vec<String> = vec![String::new(); columns.len()];
    while let Some(row) = first {
        for (place, number) in numbers.iter_mut().enumerate() {
            if let ValueRef::Real(value) = row.get_ref(place).map_err(failed)? {
                number.clear();
                // Writing to a text cannot fail.
                let _ = std::fmt::Write::write_fmt(number, format_args!("{value}"));
            }
        }
        let mut cells = Vec::with_capacity(columns.len());
        for (place, kind) in kinds.iter().enumerate() {
            cells.push(cell(row.get_ref(place).map_err(failed)?, *kind, &numbers[place]));
        }
        chunk.push(cells);
        if chunk.rows() >= CHUNK_ROWS || chunk.bytes() >= CHUNK_BYTES {
            sink.rows(std::mem::replace(&mut chunk, RowChunk::new(columns.len())))?;
        }
        first = rows.next().map_err(failed)?;
    }
    if chunk.is_empty() { Ok(()) } else { sink.rows(chunk) }
}

fn declared_kinds(query: &Statement<'_>) -> Vec<Option<ColumnType>> {
    let kind = |declared: &str| match declared.to_ascii_uppercase().as_str() {
        "TEXT" => Some(ColumnType::Text),
        "BOOLEAN" => Some(ColumnType::Boolean),
        "INTEGER" => Some(ColumnType::Int),
        declared => {
            let (precision, scale) = declared.strip_prefix("REAL(")?.strip_suffix(')')?.split_once(',')?;
            Some(ColumnType::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? })
        }
    };
    query.columns().map(|column| column.decl_type().and_then(kind)).collect()
}

fn kind_of(value: ValueRef<'_>) -> ColumnType {
    match value {
        ValueRef::Integer(_) => ColumnType::Int,
        ValueRef::Real(_) => ColumnType::Decimal { precision: 38, scale: 15 },
        _ => ColumnType::Text,
    }
}

/// A value by what it is and not by what it was declared as: SQLite lets a column hold anything. `number` is the text of a
/// real; the shortest that reads back as it, which of up to 15 digits is what was written. What nobody can read as text is one
/// row's trouble and not the query's.
fn cell<'a>(value: ValueRef<'a>, kind: ColumnType, number: &'a str) -> Cell<'a> {
    let read = |bytes, as_cell: fn(&'a str) -> Cell<'a>| {
        std::str::from_utf8(bytes).map_or(Cell::Unreadable, as_cell)
    };
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value @ (0 | 1)) if kind == ColumnType::Boolean => Cell::Boolean(value == 1),
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) if value.is_finite() => {
            Cell::Decimal(if number == "-0" { "0" } else { number })
        }
        ValueRef::Real(_) => Cell::Null,
        ValueRef::Text([]) => Cell::Null,
        ValueRef::Text(bytes) => read(bytes, Cell::Text),
        ValueRef::Blob(bytes) if matches!(kind, ColumnType::Decimal { .. } | ColumnType::Int) => {
            read(bytes, Cell::Decimal)
        }
        ValueRef::Blob(bytes) => read(bytes, Cell::Text),
    }
}
