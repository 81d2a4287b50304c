//! A query that a person wrote.
//!
//! Promises: it is one statement that reads, by the engine's own parser; it runs in a transaction that can only read and is
//! never committed; types that no cell can hold are told as the engine's text.

use std::cell::RefCell;

use serde::Deserialize;

use super::ledger::text;
use super::spelling;
use crate::warehouse::adbc::connection::AdbcConnection;
use crate::warehouse::adbc::rows::{append_rows, columns_of, kind_of};
use crate::warehouse::{QuerySink, RowChunk, WarehouseError};

/// What the engine's parser makes of a text.
#[derive(Deserialize)]
struct Parsed {
    error: bool,
    #[serde(default)]
    error_message: String,
    #[serde(default)]
    statements: Vec<serde::de::IgnoredAny>,
}

/// Runs it.
///
/// # Errors
/// [`WarehouseError::BadQuery`] for what does not only read or is not understood; those of the sink.
pub fn run(
    connection: &mut AdbcConnection,
    sql: &str,
    sink: &mut dyn QuerySink,
) -> Result<(), WarehouseError> {
    check(connection, sql)?;
    connection.execute("BEGIN TRANSACTION READ ONLY")?;
    let done = read(connection, sql, sink);
    // It has changed nothing; a failure would come again with the next statement.
    drop(connection.execute("ROLLBACK"));
    done
}

fn check(connection: &mut AdbcConnection, sql: &str) -> Result<(), WarehouseError> {
    if sql.contains('\0') {
        return Err(WarehouseError::BadQuery("it contains a NUL".to_owned()));
    }
    let (_, rows) = connection.rows(&format!("SELECT json_serialize_sql({})", spelling::text(sql)))?;
    let parsed = rows.row(0).map(|row| serde_json::from_str::<Parsed>(text(row.cell(0))));
    let Some(Ok(parsed)) = parsed else {
        return Err(WarehouseError::BadQuery("the engine could not tell what it is".to_owned()));
    };
    let why = match parsed.statements.len() {
        _ if parsed.error => parsed.error_message,
        1 => return Ok(()),
        0 => "there is no statement".to_owned(),
        _ => "there is more than one statement".to_owned(),
    };
    Err(WarehouseError::BadQuery(format!("{why}; it must be one SELECT")))
}

fn read(connection: &mut AdbcConnection, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
    let of_person = |error| match error {
        WarehouseError::Engine(message) | WarehouseError::Denied(message) => {
            WarehouseError::BadQuery(message)
        }
        told => told,
    };
    let schema = connection.schema(sql).map_err(of_person)?;
    let cast: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| kind_of(field.data_type()).is_none())
        .map(|field| spelling::quote(field.name()))
        .map(|name| format!("CAST({name} AS VARCHAR) AS {name}"))
        .collect();
    let sql = if cast.is_empty() {
        sql.to_owned()
    } else {
        let plain = sql.trim_end().trim_end_matches(';');
        format!("SELECT * REPLACE ({}) FROM ({plain}\n)", cast.join(", "))
    };
    // The sink's errors are its own, not the engine's.
    let (sink, failure) = (RefCell::new(sink), RefCell::new(None));
    let keep = |done: Result<(), WarehouseError>| {
        done.map_err(|error| {
            *failure.borrow_mut() = Some(error);
            WarehouseError::Closed
        })
    };
    let done = connection.read(
        &sql,
        &mut |schema| keep(sink.borrow_mut().head(&columns_of(schema))),
        &mut |batch| {
            let mut chunk = RowChunk::with_room(batch.num_columns(), batch.num_rows(), 0);
            append_rows(batch, &mut chunk)?;
            keep(sink.borrow_mut().rows(chunk))
        },
    );
    match failure.into_inner() {
        Some(error) => Err(error),
        None => done.map_err(of_person),
    }
}
