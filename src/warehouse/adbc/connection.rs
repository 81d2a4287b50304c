//! A connection through a driver: statements with counts, answers in rows, bulk ingest.
//!
//! Promises: what the driver says is an error of the warehouse with its kind told by the dialect; an answer is read batch by
//! batch, never whole.

use std::sync::Arc;

use adbc_core::options::{IngestMode, OptionDatabase, OptionStatement, OptionValue};
use adbc_core::{CancelHandle, Connection as _, Database as _, Driver as _, Optionable as _, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDatabase};
use arrow_array::{RecordBatch, RecordBatchReader};

use super::driver::DriverPlace;
use super::rows::{append_rows, columns_of};
use crate::sync::QueryColumn;
use crate::warehouse::{Cancel, Cell, RowChunk, WarehouseError};

/// Makes an error of the warehouse of what a driver says.
pub type Classify = fn(&adbc_core::error::Error) -> WarehouseError;

/// Opens a database by a driver's options.
///
/// # Errors
/// A driver that is not there; what it says.
pub fn open_database(
    place: &DriverPlace,
    options: &[(&str, &str)],
    classify: Classify,
) -> Result<ManagedDatabase, WarehouseError> {
    let mut driver = place.load()?;
    let options = options
        .iter()
        .map(|(key, value)| (OptionDatabase::Other((*key).to_owned()), OptionValue::from(*value)));
    driver.new_database_with_opts(options).map_err(|error| classify(&error))
}

/// A table that rows are ingested into.
#[derive(Debug, Clone, Copy)]
pub struct IngestTarget<'a> {
    /// Its schema, unless the connection's own.
    pub schema: Option<&'a str>,
    /// Its name, without quotes.
    pub table: &'a str,
    /// It is one of this connection alone.
    pub is_temporary: bool,
}

/// A connection of a driver.
pub struct AdbcConnection {
    connection: ManagedConnection,
    classify: Classify,
}

impl std::fmt::Debug for AdbcConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdbcConnection").finish_non_exhaustive()
    }
}

impl AdbcConnection {
    /// Connects.
    ///
    /// # Errors
    /// What the driver says.
    pub fn connect(database: &ManagedDatabase, classify: Classify) -> Result<Self, WarehouseError> {
        let connection = database.new_connection().map_err(|error| classify(&error))?;
        Ok(Self { connection, classify })
    }

    /// Runs a statement; the rows it changed, where the driver tells them.
    ///
    /// # Errors
    /// What the driver says.
    pub fn execute(&mut self, sql: &str) -> Result<Option<u64>, WarehouseError> {
        let classify = self.classify;
        let mut run = || {
            let mut statement = self.connection.new_statement()?;
            statement.set_sql_query(sql)?;
            statement.execute_update()
        };
        let count = run().map_err(|error| classify(&error))?;
        Ok(count.and_then(|count| u64::try_from(count).ok()))
    }

    /// Runs a statement that changes rows; how many it changed, by the number in its answer: drivers tell a count of none
    /// as an unknown one.
    ///
    /// # Errors
    /// What the driver says, and an answer without a number.
    pub fn change(&mut self, sql: &str) -> Result<u64, WarehouseError> {
        let (_, rows) = self.rows(sql)?;
        match rows.row(0).map(|row| row.cell(0)) {
            Some(Cell::Int(count)) if count >= 0 => Ok(count.cast_unsigned()),
            _ => Err(WarehouseError::Engine("the driver does not tell how many rows changed".to_owned())),
        }
    }

    /// Reads an answer batch by batch; `head` gets its columns first.
    ///
    /// # Errors
    /// What the driver says, and those of `head` and `each`.
    pub fn read(
        &mut self,
        sql: &str,
        head: &mut dyn FnMut(&arrow_schema::Schema) -> Result<(), WarehouseError>,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), WarehouseError>,
    ) -> Result<(), WarehouseError> {
        let classify = self.classify;
        let mut run = || {
            let mut statement = self.connection.new_statement()?;
            statement.set_sql_query(sql)?;
            let reader = statement.execute()?;
            // The statement must outlive its answer.
            Ok((statement, reader))
        };
        let (_statement, reader) = run().map_err(|error: adbc_core::error::Error| classify(&error))?;
        head(&reader.schema())?;
        for batch in reader {
            each(&batch.map_err(|error| classify(&error.into()))?)?;
        }
        Ok(())
    }

    /// The columns that an answer would have.
    ///
    /// # Errors
    /// What the driver says.
    pub fn schema(&mut self, sql: &str) -> Result<arrow_schema::Schema, WarehouseError> {
        let classify = self.classify;
        let mut run = || {
            let mut statement = self.connection.new_statement()?;
            statement.set_sql_query(sql)?;
            statement.execute_schema()
        };
        run().map_err(|error| classify(&error))
    }

    /// A short answer, whole: for what penstock asks of its own tables.
    ///
    /// # Errors
    /// What the driver says.
    pub fn rows(&mut self, sql: &str) -> Result<(Vec<QueryColumn>, RowChunk), WarehouseError> {
        let (mut columns, mut rows) = (Vec::new(), None);
        self.read(
            sql,
            &mut |schema| {
                columns = columns_of(schema);
                Ok(())
            },
            &mut |batch| {
                let rows = rows.get_or_insert_with(|| RowChunk::new(batch.num_columns()));
                append_rows(batch, rows)
            },
        )?;
        let rows = rows.unwrap_or_else(|| RowChunk::new(columns.len()));
        Ok((columns, rows))
    }

    /// Appends rows to a table, column by column in its order; how many.
    ///
    /// # Errors
    /// What the driver says.
    pub fn ingest(
        &mut self,
        target: IngestTarget<'_>,
        rows: Box<dyn RecordBatchReader + Send>,
    ) -> Result<Option<u64>, WarehouseError> {
        let classify = self.classify;
        let run = || {
            let mut statement = self.connection.new_statement()?;
            statement.set_option(OptionStatement::TargetTable, target.table.into())?;
            if let Some(schema) = target.schema {
                statement.set_option(OptionStatement::TargetDbSchema, schema.into())?;
            }
            if target.is_temporary {
                statement.set_option(OptionStatement::Temporary, "true".into())?;
            }
            statement.set_option(OptionStatement::IngestMode, IngestMode::Append.into())?;
            statement.bind_stream(rows)?;
            statement.execute_update()
        };
        let count = run().map_err(|error: adbc_core::error::Error| classify(&error))?;
        Ok(count.and_then(|count| u64::try_from(count).ok()))
    }

    /// Ends what the connection is doing, from another thread.
    pub fn cancel_handle(&self) -> Arc<dyn Cancel> {
        Arc::new(ConnectionCancel(self.connection.get_cancel_handle()))
    }
}

struct ConnectionCancel(Box<dyn CancelHandle>);

impl Cancel for ConnectionCancel {
    fn cancel(&self) {
        // There may be nothing left to end.
        drop(self.0.try_cancel());
    }
}
