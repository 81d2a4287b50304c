//! Snowflake through its ADBC driver: files are PUT to a stage, COPY brings them into a table of the load's own, and one
//! transaction of plain statements makes them the target's.
//!
//! Promises those of [`crate::warehouse`]. Here they rest on this: a file's name tells what is in it, so that a listing knows
//! after a crash what is staged, without a virtual warehouse that would have to run; a load's rows and its ledger entry are in
//! one transaction, in which no DDL stands, because Snowflake would commit before it; who may write is a lease in a table
//! (`session`), because Snowflake has no lock that lasts. Names are upper-cased, as its users expect (`names`).

mod commit;
mod errors;
mod ledger;
mod names;
mod reading;
mod schema;
mod session;
mod settings;
mod sql;
mod staging;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::ledger::Ledger;
use self::names::{Home, Place, quote, text};
use self::session::Session;
pub use self::settings::{SnowflakeLogin, SnowflakeSettings};
use self::staging::{Staging, drop_table};
use super::rows::{append_rows, columns_of};
use crate::clock::SharedClock;
use crate::model::{ObjectName, OrgName};
use crate::sync::{
    CommitReceipt, LoadId, LoadPlan, LoadState, PartNumber, PartReceipt, SchemaChange, StagedCount,
    TableColumn, TableLayout, TableName, TableState, Watermark,
};
use crate::warehouse::{
    Cancel, Caps, PartSource, QuerySink, RowChunk, Spool, WRITERS_MAX, Warehouse, WarehouseError,
};

/// One connection to Snowflake.
#[derive(Debug)]
pub struct SnowflakeWarehouse {
    session: Session,
    home: Home,
    ledger: Ledger,
    staging: Staging,
}

impl SnowflakeWarehouse {
    /// Logs in. Files on their way to a stage wait in `spool`; `clock` says when the lease is to be renewed.
    ///
    /// # Errors
    /// A driver that is not there, a login that is refused, a server that does not answer.
    pub fn connect(
        settings: &SnowflakeSettings,
        spool: &Spool,
        clock: SharedClock,
    ) -> Result<Self, WarehouseError> {
        let home = settings.home();
        let staging = Staging::new(&home, settings.stage.as_deref(), spool)?;
        let mut session = Session::new(settings.log_in()?, &home, clock);
        session.set_parameters()?;
        let ledger = Ledger::new(&home);
        Ok(Self { session, home, ledger, staging })
    }

    fn place(&self, table: &TableName) -> Place {
        self.home.place(table)
    }

    fn add_missing_log_columns(
        &mut self,
        place: &Place,
        columns: &[TableColumn],
    ) -> Result<(), WarehouseError> {
        let there = self.ledger.engine_columns(&mut self.session, place)?;
        for column in columns {
            match there.iter().find(|engine| engine.name == names::fold(&column.name)) {
                Some(engine) if engine.is_as_made(column) => {}
                Some(_) => {
                    return Err(WarehouseError::Altered {
                        table: place.key(),
                        what: format!("column `{}` has another type: rename the table", column.name),
                    });
                }
                None => {
                    let column = sql::column_list([column]);
                    self.session.execute(&format!("ALTER TABLE {} ADD COLUMN {column}", place.full()))?;
                }
            }
        }
        Ok(())
    }
}

impl Warehouse for SnowflakeWarehouse {
    fn caps(&self) -> Caps {
        Caps {
            kind: "snowflake",
            // Snowflake names no limit below that of a statement's length; more than any object has.
            columns_max: 2_000,
            precision_max: 38,
            connections_max: WRITERS_MAX,
            // Some megabytes packed, of which COPY reads several side by side.
            part_rows: 50_000,
            has_stages: true,
        }
    }

    fn open(&mut self, owner: &str) -> Result<(), WarehouseError> {
        self.ledger.make(&mut self.session)?;
        self.session.take(owner)
    }

    fn table(&mut self, table: &TableName) -> Result<TableState, WarehouseError> {
        self.ledger.state(&mut self.session, &self.home.place(table))
    }

    fn apply_schema(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
        changes: &[SchemaChange],
    ) -> Result<u64, WarehouseError> {
        self.session.keep()?;
        schema::apply(&mut self.session, &self.ledger, (org, object), &self.home.place(table), changes)
    }

    fn load_state(&mut self, load: &LoadPlan) -> Result<LoadState, WarehouseError> {
        if let Some(receipt) = self.ledger.receipt(&mut self.session, &load.id)? {
            return Ok(LoadState::Committed(receipt));
        }
        let parts = self.staging.list(&mut self.session, load)?.receipts();
        Ok(if parts.is_empty() { LoadState::Unknown } else { LoadState::Staged { parts } })
    }

    fn watermark(
        &mut self,
        org: &OrgName,
        object: &ObjectName,
        table: &TableName,
    ) -> Result<Option<Watermark>, WarehouseError> {
        self.ledger.watermark(&mut self.session, org, object, &self.home.place(table))
    }

    fn stage(
        &mut self,
        load: &LoadPlan,
        part: PartNumber,
        source: &PartSource,
    ) -> Result<PartReceipt, WarehouseError> {
        self.session.keep()?;
        self.staging.put(&mut self.session, load, part, source)
    }

    fn commit(&mut self, load: &LoadPlan, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        self.session.keep()?;
        commit::commit(&mut self.session, (&self.home, &self.ledger, &mut self.staging), load, expected)
    }

    fn abandon(&mut self, load: &LoadPlan) -> Result<(), WarehouseError> {
        self.staging.abandon(&mut self.session, load)?;
        let (rows, keys) = self.home.staging(load);
        for table in [rows, keys] {
            self.session.execute(&drop_table(&table))?;
        }
        Ok(())
    }

    fn count(&mut self, table: &TableName, layout: &TableLayout) -> Result<u64, WarehouseError> {
        let table = self.place(table);
        let sql = format!(
            "SELECT COUNT(*) FROM {} WHERE NOT COALESCE({}, FALSE)",
            table.full(),
            quote(&layout.deleted_column)
        );
        self.session.number(&sql)
    }

    fn query(&mut self, sql: &str, sink: &mut dyn QuerySink) -> Result<(), WarehouseError> {
        let sql = reading::only_query(sql)?;
        self.session.execute("BEGIN")?;
        // The sink is wanted by two closures, one after the other.
        let sink = std::cell::RefCell::new(sink);
        let mut from_sink = false;
        let done =
            self.session.read(sql, &mut |schema| sink.borrow_mut().head(&columns_of(schema)), &mut |batch| {
                let mut chunk = RowChunk::new(batch.num_columns());
                append_rows(batch, &mut chunk)?;
                sink.borrow_mut().rows(chunk).inspect_err(|_| from_sink = true)
            });
        let done = match done {
            Err(WarehouseError::Engine(message)) if !from_sink => Err(WarehouseError::BadQuery(message)),
            Err(WarehouseError::BadValue { message, .. }) if !from_sink => {
                Err(WarehouseError::BadQuery(message))
            }
            done => done,
        };
        match done {
            Err(error) => Err(self.session.roll_back(error)),
            Ok(()) => self.session.execute("ROLLBACK").map(drop),
        }
    }

    fn append_log(
        &mut self,
        table: &TableName,
        layout: &TableLayout,
        load: &LoadId,
        part: PartNumber,
        rows: &RowChunk,
    ) -> Result<(), WarehouseError> {
        self.session.keep()?;
        let place = self.place(table);
        let own = [("_load", crate::sync::ColumnType::Text), ("_part", crate::sync::ColumnType::Int)];
        let own = own.map(|(name, kind)| TableColumn { field: String::new(), name: name.to_owned(), kind });
        let columns: Vec<TableColumn> = own.iter().chain(&layout.columns).cloned().collect();
        self.session.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} ({})",
            place.full(),
            sql::column_list(&columns)
        ))?;
        self.add_missing_log_columns(&place, &columns)?;

        let staged = self.home.own(&format!("_STG_LOG_{load}_{}", part.0));
        self.session.execute(&sql::create_rows(&staged, layout))?;
        let folder = format!("log/{load}");
        self.staging.copy_log(&mut self.session, layout, (&folder, part), rows, &staged)?;
        let names: Vec<String> = layout.columns.iter().map(|column| quote(&column.name)).collect();
        let (names, [load_column, part_column]) = (names.join(", "), ["_load", "_part"].map(quote));
        let (load, part) = (text(load.as_str()), part.0);
        self.session.transaction(|session| {
            session.change(&format!(
                "DELETE FROM {} WHERE {load_column} = {load} AND {part_column} = {part}",
                place.full()
            ))?;
            session.change(&format!(
                "INSERT INTO {} ({load_column}, {part_column}, {names}) SELECT {load}, {part}, {names} FROM {}",
                place.full(),
                staged.full()
            ))
        })?;
        if let Err(error) = self.session.execute(&drop_table(&staged)) {
            tracing::debug!(%error, "a table of a log stays where it is");
        }
        Ok(())
    }

    fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        Some(self.session.cancel_handle())
    }
}
