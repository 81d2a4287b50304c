//! Parts on their way in, and what is there of a load.
//!
//! Promises: a part and its receipt become visible together; of two connections that stage the same part, one of which may
//! be dying, one waits for the other.
//!
//! What waits is UNLOGGED: it is written once instead of twice. A crash of the server empties such tables, and its receipts
//! stay behind: so receipts count only as far as the rows behind them are there, and a commit whose rows are gone says so.

use super::copying::{ChunkText, FileText, ROW_COLUMN};
use super::faults::Fault;
use super::ledger::OwnTables;
use super::names::{Staging, lock_number, quote, sql_type};
use super::session::{CopyFault, Session};
use crate::sync::{LoadPlan, LoadState, PartNumber, PartReceipt, TableLayout};
use crate::warehouse::{PartSource, WarehouseError};

/// Where parts are staged.
pub(super) struct Stage<'a> {
    pub(super) session: &'a Session,
    pub(super) tables: &'a OwnTables,
    pub(super) staging: &'a Staging,
    pub(super) load: &'a LoadPlan,
}

impl Stage<'_> {
    /// Stages a part.
    pub(super) fn put(&self, part: PartNumber, source: &PartSource) -> Result<PartReceipt, WarehouseError> {
        if !self.is_made().map_err(|fault| self.about(fault))? {
            self.make().map_err(|fault| self.about(fault))?;
        }
        let staged = self.put_open(part, source);
        if staged.is_err() {
            // Of no use on a connection that broke, where the server does the same.
            let _ = self.session.batch("ROLLBACK");
        }
        Ok(PartReceipt { part, rows: staged? })
    }

    fn about(&self, fault: Fault) -> WarehouseError {
        fault.about(&self.staging.rows)
    }

    /// Makes the tables of the load. Several connections may do so at once.
    pub(super) fn make(&self) -> Result<(), Fault> {
        let layout = &self.load.layout;
        let Staging { rows, keys } = self.staging;
        let key_type = layout.columns.get(layout.key).map_or("text", |column| sql_type(column.kind));
        let columns: Vec<String> = layout
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let more = if index == layout.key { " NOT NULL" } else { "" };
                format!("{} {}{more}", quote(&column.name), sql_type(column.kind))
            })
            .collect();
        // A file has no part number in it: its rows take it from a setting of the transaction. Vacuum would come for nothing:
        // the table is gone before it is worth it.
        self.session.batch(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({lock});
             CREATE UNLOGGED TABLE IF NOT EXISTS {rows} (
                 _part bigint NOT NULL DEFAULT current_setting('penstock.part')::bigint, {ROW_COLUMN} bigint NOT NULL, {columns})
                 WITH (autovacuum_enabled = false);
             CREATE UNLOGGED TABLE IF NOT EXISTS {keys} (_part bigint NOT NULL, key {key_type} NOT NULL)
                 WITH (autovacuum_enabled = false);
             COMMIT",
            lock = lock_number("staging", self.load.id.as_str()),
            columns = columns.join(", "),
        )).inspect_err(|_| {
            let _ = self.session.batch("ROLLBACK");
        })
    }

    fn put_open(&self, part: PartNumber, source: &PartSource) -> Result<u64, WarehouseError> {
        let session = self.session;
        let Staging { rows, keys } = self.staging;
        let about = |fault: Fault| self.about(fault);
        // Rows that a crash would take with it are not worth waiting for the disk.
        session
            .batch(&format!(
                "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL penstock.part = '{}'",
                part.0
            ))
            .map_err(about)?;
        let is_keys = matches!(source, PartSource::Keys(_));
        // First of all: whoever stages the same part elsewhere has now either done so or waits.
        let sql = format!(
            "INSERT INTO {} (load_id, part, is_keys, rows) VALUES ($1, $2, $3, 0)
             ON CONFLICT (load_id, part) DO UPDATE SET is_keys = $3, rows = 0 RETURNING xmax <> 0",
            self.tables.parts
        );
        let number = i64::from(part.0);
        let was_there: bool = session
            .row(&sql, &[&self.load.id.as_str(), &number, &is_keys])
            .and_then(|row| Ok(row.try_get(0)?))
            .map_err(about)?;
        if was_there {
            for table in [rows, keys] {
                session.batch(&format!("DELETE FROM {table} WHERE _part = {number}")).map_err(about)?;
            }
        }
        let staged = self.copy(part, source).map_err(|fault| match fault {
            CopyFault::Server(fault) => about(fault),
            CopyFault::Source(error) => error,
        })?;
        let given = match source {
            PartSource::Rows(chunk) | PartSource::Keys(chunk) => chunk.rows() as u64,
            PartSource::File(file) => file.rows,
        };
        if staged != given {
            let what = if is_keys { "keys" } else { "rows" };
            return Err(WarehouseError::OtherCount { what, expected: given, staged });
        }
        let sql = format!("UPDATE {} SET rows = $3 WHERE load_id = $1 AND part = $2", self.tables.parts);
        session.execute(&sql, &[&self.load.id.as_str(), &number, &(staged as i64)]).map_err(about)?;
        // An answer that is lost here leaves nothing open: a part that is staged again replaces what it was.
        session.batch("COMMIT").map_err(about)?;
        Ok(staged)
    }

    fn copy(&self, part: PartNumber, source: &PartSource) -> Result<u64, CopyFault> {
        let Staging { rows, keys } = self.staging;
        match source {
            PartSource::Rows(chunk) => {
                let mut text = ChunkText::rows(part.0, chunk);
                let names = column_names(&self.load.layout);
                let sql = format!("COPY {rows} (_part, {ROW_COLUMN}, {names}) FROM STDIN");
                self.session.copy(&sql, &mut || Ok(text.more()))
            }
            PartSource::Keys(chunk) => {
                let mut text = ChunkText::keys(part.0, chunk);
                self.session.copy(&format!("COPY {keys} (_part, key) FROM STDIN"), &mut || Ok(text.more()))
            }
            PartSource::File(file) => {
                let mut text = FileText::open(file, &self.load.layout).map_err(CopyFault::Source)?;
                let names: Vec<String> = text.columns().iter().map(|name| quote(name)).collect();
                let sql = format!("COPY {rows} ({}) FROM STDIN (FORMAT csv)", names.join(", "));
                self.session.copy(&sql, &mut || text.more())
            }
        }
    }

    /// What is there of the load, as far as the ledger does not have it.
    pub(super) fn state(&self) -> Result<LoadState, Fault> {
        let sql =
            format!("SELECT part, is_keys, rows FROM {} WHERE load_id = $1 ORDER BY part", self.tables.parts);
        let receipts = self.session.rows(&sql, &[&self.load.id.as_str()])?;
        if receipts.is_empty() {
            return Ok(LoadState::Unknown);
        }
        let counts = [self.counts(&self.staging.rows)?, self.counts(&self.staging.keys)?];
        let mut parts = Vec::with_capacity(receipts.len());
        for receipt in &receipts {
            let (part, is_keys, rows): (i64, bool, i64) =
                (receipt.try_get(0)?, receipt.try_get(1)?, receipt.try_get(2)?);
            let counted = counts.each_ref().map(|counts| counts.as_ref()?.get(&part).copied().or(Some(0)));
            let [in_rows, in_keys] = counted;
            let (mine, other) = if is_keys { (in_keys, in_rows) } else { (in_rows, in_keys) };
            if mine == Some(rows)
                && other == Some(0)
                && let (Ok(part), Ok(rows)) = (u32::try_from(part), u64::try_from(rows))
            {
                parts.push(PartReceipt { part: PartNumber(part), rows });
            }
        }
        Ok(if parts.is_empty() { LoadState::Unknown } else { LoadState::Staged { parts } })
    }

    /// Rows of each part; `None` when there is no such table.
    fn counts(&self, table: &str) -> Result<Option<std::collections::HashMap<i64, i64>>, Fault> {
        if !self.exists(table)? {
            return Ok(None);
        }
        let rows = self.session.rows(&format!("SELECT _part, count(*) FROM {table} GROUP BY _part"), &[])?;
        let counts = rows.iter().map(|row| Ok::<_, Fault>((row.try_get(0)?, row.try_get(1)?)));
        Ok(Some(counts.collect::<Result<_, _>>()?))
    }

    fn exists(&self, table: &str) -> Result<bool, Fault> {
        Ok(self.session.row("SELECT to_regclass($1) IS NOT NULL", &[&table])?.try_get(0)?)
    }

    /// Whether the load has both its tables.
    pub(super) fn is_made(&self) -> Result<bool, Fault> {
        let Staging { rows, keys } = self.staging;
        let sql = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL";
        Ok(self.session.row(sql, &[rows, keys])?.try_get(0)?)
    }

    /// Lets go of what is staged, in whatever transaction is open.
    pub(super) fn let_go(&self) -> Result<(), Fault> {
        let Staging { rows, keys } = self.staging;
        self.session.batch(&format!("DROP TABLE IF EXISTS {rows}, {keys}"))?;
        self.tables.forget_parts(self.session, &self.load.id)
    }
}

/// The columns of rows, in the order of their cells.
pub(super) fn column_names(layout: &TableLayout) -> String {
    let names: Vec<String> = layout.columns.iter().map(|column| quote(&column.name)).collect();
    names.join(", ")
}
