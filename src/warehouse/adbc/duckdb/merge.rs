//! Staged rows into their target: the statements of one transaction, and what they count.
//!
//! Promises: only rows that are other than before are written; a row that the target has newer stays; columns that are not
//! the load's keep their values; counts are those of the statements.

use super::ledger::number;
use super::spelling::{self, quote};
use crate::sync::{CommitReceipt, DeletePolicy, LoadMode, LoadPlan, SPARED_FROM};
use crate::warehouse::WarehouseError;
use crate::warehouse::adbc::connection::AdbcConnection;

/// The number of a part, in the table of keys.
pub const PART: &str = "_part";
/// Orders the rows of a table as they came, which is by their parts.
const ROW_ORDER: &str = "rowid";
/// Keys that are told apart at a time: a set of all of them would take most of the memory that the engine is allowed.
const KEYS_AT_ONCE: u64 = 250_000;
/// Most rounds of telling them apart; each looks at every key.
const ROUNDS_MAX: u64 = 16;
/// Keeps values of columns that are not the load's while their rows are written anew.
const CARRIED: &str = "_penstock_carried";

/// What is staged of a load, in statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// The table with its rows.
    pub rows: Option<String>,
    /// The table with keys that came without rows.
    pub keys: Option<String>,
}

/// One load's statements.
#[derive(Debug)]
pub struct Merge<'a> {
    /// The connection, in a transaction.
    pub connection: &'a mut AdbcConnection,
    /// The load.
    pub load: &'a LoadPlan,
    /// What is staged.
    pub staged: &'a Staged,
    /// All columns of the target.
    pub target_columns: &'a [String],
}

impl Merge<'_> {
    /// Makes what is staged the target's. What is staged is no more what it was.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(mut self) -> Result<CommitReceipt, WarehouseError> {
        let mut receipt = CommitReceipt::default();
        match self.load.mode {
            LoadMode::Upsert | LoadMode::Replace => self.write_rows(&mut receipt)?,
            LoadMode::Refresh => self.refresh(&mut receipt)?,
            LoadMode::DeleteKeys => receipt.deleted = self.delete("")?,
            LoadMode::KeepKeys => receipt.deleted = self.delete("NOT ")?,
        }
        Ok(receipt)
    }

    /// What is left to do once the load's rows are in a target that was empty.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of_first_rows(mut self) -> Result<CommitReceipt, WarehouseError> {
        let target = self.target();
        self.keep_the_newest(&target)?;
        if self.load.deletes == DeletePolicy::Remove && self.load.layout.deleted.is_some() {
            let gone = self.staged_deleted("");
            self.connection.change(&format!("DELETE FROM {target} WHERE {gone}"))?;
        }
        let inserted = self.count(&format!("SELECT count(*) FROM {target}"))?;
        Ok(CommitReceipt { inserted, ..CommitReceipt::default() })
    }

    fn write_rows(&mut self, receipt: &mut CommitReceipt) -> Result<(), WarehouseError> {
        let (target, key) = (self.target(), self.key());
        if let Some(rows) = self.staged.rows.clone() {
            self.keep_the_newest(&rows)?;
        }
        let staged_key = self
            .staged
            .rows
            .as_ref()
            .map(|rows| format!("EXISTS (SELECT 1 FROM {rows} AS s WHERE s.{key} = t.{key})"));
        let is_staged = staged_key.as_deref().unwrap_or("false");
        if self.load.mode == LoadMode::Replace {
            let keys = self.staged.keys.as_ref();
            let is_spared = keys.map_or("false".to_owned(), |keys| {
                format!("EXISTS (SELECT 1 FROM {keys} AS k WHERE k.{key} = t.{key})")
            });
            receipt.deleted += self.remove_absent(&format!("NOT {is_staged} AND NOT {is_spared}"))?;
        } else if let Some(keys) = &self.staged.keys {
            let gone = format!(
                "DELETE FROM {target} AS t WHERE t.{key} IN (SELECT {key} FROM {keys}) AND NOT {is_staged} \
                 AND t.{key} NOT IN (SELECT {key} FROM {keys} WHERE {PART} >= {SPARED_FROM})"
            );
            receipt.deleted += self.connection.change(&gone)?;
        }
        let Some(rows) = self.staged.rows.clone() else { return Ok(()) };
        if self.count(&format!("SELECT count(*) FROM (SELECT 1 FROM {target} LIMIT 1) AS t"))? > 0 {
            self.write_beside(&rows, receipt)
        } else {
            receipt.inserted = self.insert(&rows, "", "", &[])?;
            Ok(())
        }
    }

    /// Of rows with one key the newest, of those of one time the last.
    fn keep_the_newest(&mut self, rows: &str) -> Result<(), WarehouseError> {
        let key = self.key();
        if !self.has_duplicates(rows, &key)? {
            return Ok(());
        }
        let stamp = self.stamp().map_or_else(String::new, |stamp| format!("{stamp} DESC NULLS LAST, "));
        let sql = format!(
            "DELETE FROM {rows} WHERE {ROW_ORDER} IN (SELECT {ROW_ORDER} FROM (SELECT {ROW_ORDER}, \
             row_number() OVER (PARTITION BY {key} ORDER BY {stamp}{ROW_ORDER} DESC) AS place FROM {rows} \
             WHERE {key} IN (SELECT {key} FROM {rows} GROUP BY {key} HAVING count(*) > 1)) AS ranked WHERE place > 1)"
        );
        self.connection.change(&sql).map(drop)
    }

    fn has_duplicates(&mut self, rows: &str, key: &str) -> Result<bool, WarehouseError> {
        let count = self.count(&format!("SELECT count(*) FROM {rows}"))?;
        let rounds = count.div_ceil(KEYS_AT_ONCE).min(ROUNDS_MAX);
        for round in 0..rounds {
            let these =
                if rounds == 1 { String::new() } else { format!(" WHERE hash({key}) % {rounds} = {round}") };
            if self.count(&format!("SELECT count(*) - count(DISTINCT {key}) FROM {rows}{these}"))? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn write_beside(&mut self, rows: &str, receipt: &mut CommitReceipt) -> Result<(), WarehouseError> {
        let (target, key) = (self.target(), self.key());
        let is_removing = self.load.deletes == DeletePolicy::Remove;
        let gone = self.staged_deleted("s.");
        let mut same = format!("({})", self.equal());
        if is_removing {
            same = format!("({same} AND NOT {gone})");
        }
        let newer = self.stamp().filter(|_| self.load.keeps_newer());
        let newer = newer.map_or_else(String::new, |stamp| format!("t.{stamp} > s.{stamp} OR "));
        receipt.unchanged = self.connection.change(&format!(
            "DELETE FROM {rows} AS s USING {target} AS t WHERE s.{key} = t.{key} AND ({newer}{same})"
        ))?;
        let flagged = match (self.load.layout.deleted, is_removing) {
            (None, _) => 0,
            (Some(_), true) => self.count(&format!(
                "SELECT count(*) FROM {target} AS t, {rows} AS s WHERE s.{key} = t.{key} AND {gone}"
            ))?,
            (Some(_), false) => {
                let was_gone = self.target_deleted();
                self.count(&format!(
                    "SELECT count(*) FROM {target} AS t, {rows} AS s WHERE s.{key} = t.{key} AND {gone} AND NOT {was_gone}"
                ))?
            }
        };
        let carried = self.carried();
        if !carried.is_empty() {
            let names = spelling::columns("t.", carried.iter().map(String::as_str));
            self.connection.execute(&format!(
                "CREATE TEMPORARY TABLE {CARRIED} AS SELECT t.{key} AS {key}, {names} FROM {target} AS t, {rows} AS s \
                 WHERE s.{key} = t.{key}"
            ))?;
        }
        let replaced = self
            .connection
            .change(&format!("DELETE FROM {target} AS t USING {rows} AS s WHERE t.{key} = s.{key}"))?;
        let written = if carried.is_empty() {
            self.insert(rows, "", "", &[])?
        } else {
            let with = format!(" JOIN {CARRIED} AS c ON s.{key} = c.{key}");
            let without = format!("NOT EXISTS (SELECT 1 FROM {CARRIED} AS c WHERE s.{key} = c.{key})");
            let written = self.insert(rows, &with, "", &carried)? + self.insert(rows, "", &without, &[])?;
            self.connection.execute(&format!("DROP TABLE {CARRIED}"))?;
            written
        };
        receipt.deleted += flagged;
        receipt.updated = replaced.saturating_sub(flagged);
        // Rows that are flagged were written; those that leave were not.
        let rewritten = if is_removing { receipt.updated } else { replaced };
        receipt.inserted = written.saturating_sub(rewritten);
        Ok(())
    }

    fn insert(
        &mut self,
        rows: &str,
        join: &str,
        condition: &str,
        carried: &[String],
    ) -> Result<u64, WarehouseError> {
        let layout = &self.load.layout;
        let own: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
        let mut names = spelling::columns("", own.iter().copied());
        let mut values = spelling::columns("s.", own.iter().copied());
        if layout.deleted.is_none() {
            names = format!("{names}, {}", quote(&layout.deleted_column));
            values += ", false";
        }
        for name in carried {
            let name = quote(name);
            names = format!("{names}, {name}");
            values = format!("{values}, c.{name}");
        }
        let mut conditions = Vec::new();
        if self.load.deletes == DeletePolicy::Remove && layout.deleted.is_some() {
            conditions.push(format!("NOT {}", self.staged_deleted("s.")));
        }
        if !condition.is_empty() {
            conditions.push(condition.to_owned());
        }
        let mut clause = String::new();
        if !conditions.is_empty() {
            clause = format!(" WHERE {}", conditions.join(" AND "));
        }
        let target = self.target();
        self.connection
            .change(&format!("INSERT INTO {target} ({names}) SELECT {values} FROM {rows} AS s{join}{clause}"))
    }

    fn refresh(&mut self, receipt: &mut CommitReceipt) -> Result<(), WarehouseError> {
        let Some(rows) = self.staged.rows.clone() else { return Ok(()) };
        self.keep_the_newest(&rows)?;
        let layout = &self.load.layout;
        let own = layout.columns.iter().enumerate().filter(|(at, _)| *at != layout.key);
        let set: Vec<String> =
            own.map(|(_, column)| quote(&column.name)).map(|name| format!("{name} = s.{name}")).collect();
        if set.is_empty() {
            return Ok(());
        }
        let (target, key) = (self.target(), self.key());
        let newer = self
            .stamp()
            .map_or_else(String::new, |stamp| format!(" AND (t.{stamp} > s.{stamp}) IS NOT TRUE"));
        let sql = format!(
            "UPDATE {target} AS t SET {} FROM {rows} AS s WHERE t.{key} = s.{key}{newer} AND NOT ({})",
            set.join(", "),
            self.equal_columns()
        );
        receipt.updated = self.connection.change(&sql)?;
        Ok(())
    }

    fn delete(&mut self, not: &str) -> Result<u64, WarehouseError> {
        let key = self.key();
        let mut found: Vec<String> = Vec::new();
        for table in [&self.staged.rows, &self.staged.keys].into_iter().flatten() {
            found.push(format!("EXISTS (SELECT 1 FROM {table} AS s WHERE s.{key} = t.{key})"));
        }
        let found = if found.is_empty() { "false".to_owned() } else { found.join(" OR ") };
        let mut those = format!("{not}({found})");
        if self.load.spares_flagged() {
            those = format!("{those} AND NOT {}", self.target_deleted());
        }
        self.remove_absent(&those)
    }

    /// Takes out rows that are not at the org any more, or flags them.
    fn remove_absent(&mut self, those: &str) -> Result<u64, WarehouseError> {
        let target = self.target();
        let sql = match self.load.flags_absent() {
            false => format!("DELETE FROM {target} AS t WHERE {those}"),
            true => {
                let flag = quote(&self.load.layout.deleted_column);
                let was_gone = self.target_deleted();
                format!("UPDATE {target} AS t SET {flag} = true WHERE NOT {was_gone} AND {those}")
            }
        };
        self.connection.change(&sql)
    }

    fn count(&mut self, sql: &str) -> Result<u64, WarehouseError> {
        let (_, rows) = self.connection.rows(sql)?;
        Ok(rows.row(0).map_or(0, |row| number(row.cell(0))))
    }

    fn target(&self) -> String {
        spelling::table(&self.load.table)
    }

    fn column(&self, at: usize) -> String {
        let column = self.load.layout.columns.get(at);
        column.map_or_else(String::new, |column| quote(&column.name))
    }

    fn key(&self) -> String {
        self.column(self.load.layout.key)
    }

    fn stamp(&self) -> Option<String> {
        self.load.layout.stamp.map(|at| self.column(at))
    }

    fn staged_deleted(&self, of: &str) -> String {
        match self.load.layout.deleted {
            Some(at) => format!("coalesce({of}{}, false)", self.column(at)),
            None => "false".to_owned(),
        }
    }

    fn target_deleted(&self) -> String {
        format!("coalesce(t.{}, false)", quote(&self.load.layout.deleted_column))
    }

    /// Both rows have the same values.
    fn equal(&self) -> String {
        let columns = self.equal_columns();
        match self.load.layout.deleted {
            Some(_) => columns,
            None => format!("{columns} AND NOT {}", self.target_deleted()),
        }
    }

    fn equal_columns(&self) -> String {
        let layout = &self.load.layout;
        let others = layout.columns.iter().enumerate().filter(|(at, _)| *at != layout.key);
        let mut equal: Vec<String> = others
            .map(|(_, column)| quote(&column.name))
            .map(|name| format!("t.{name} IS NOT DISTINCT FROM s.{name}"))
            .collect();
        // What mostly differs is looked at first.
        if let Some(stamp) = self.stamp() {
            equal.insert(0, format!("t.{stamp} IS NOT DISTINCT FROM s.{stamp}"));
        }
        if equal.is_empty() { "true".to_owned() } else { equal.join(" AND ") }
    }

    /// Columns of the target that the load has not, and whose values stay.
    fn carried(&self) -> Vec<String> {
        let layout = &self.load.layout;
        let is_own = |name: &str| {
            layout.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name))
                || layout.deleted_column.eq_ignore_ascii_case(name)
        };
        self.target_columns.iter().filter(|name| !is_own(name)).cloned().collect()
    }
}
