//! The one transaction that makes staged rows the target's.
//!
//! Promises: of rows with one key the newest counts, then the one of the higher part, then the later one; what is counted
//! are rows of the target that this transaction has changed, each key once; nothing of it is seen before the COMMIT.
//!
//! A first load inserts, and meets duplicates as conflicts. A load into a table with rows looks each row up, compares it
//! here and writes it when it must: a row that is as it was costs no write. That there are no duplicates is known from the
//! hashes of the keys, which for a million rows take 16 MB; only where two are the same, or where there are more, or where
//! rows that were not staged are to go, the keys are put into a table that SQLite keeps on disk.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, TransactionBehavior};

use super::pack::{Unpack, is_not_older, same};
use super::schema::{name_in_file, quoted, write_origin};
use super::{errors, ledger};
use crate::sync::{CommitReceipt, DeletePolicy, LoadMode, LoadPlan, PartNumber, StagedCount};
use crate::warehouse::staged::{self, Blocks, StagedPart};
use crate::warehouse::{WarehouseError, check_staged};

/// Keys of which the hashes are held in memory.
const HASHES_MAX: u64 = 1_000_000;

/// Commits a load that is not in the ledger yet. `parts` are those that are staged.
pub(super) fn commit(
    connection: &mut Connection,
    load: &LoadPlan,
    parts: &[StagedPart],
    expected: StagedCount,
    is_cancelled: &AtomicBool,
) -> Result<CommitReceipt, WarehouseError> {
    let table = load.table.to_string();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| errors::of(&table, &error))?;
    // Another connection may have been faster.
    if let Some(receipt) = ledger::receipt(&transaction, load)? {
        return Ok(receipt);
    }
    check_staged(expected, staged::count(parts))?;
    let target = Target::new(&transaction, load, parts, is_cancelled)?;
    let mut receipt = match load.mode {
        LoadMode::Upsert | LoadMode::Replace | LoadMode::Refresh => target.merge(expected.rows)?,
        LoadMode::DeleteKeys | LoadMode::KeepKeys => target.delete()?,
    };
    receipt.staged = expected.rows;
    receipt.watermark = ledger::enter(&transaction, load, &receipt)?;
    if let Some(origin) = &load.origin {
        write_origin(&transaction, &load.table, origin)?;
    }
    transaction.commit().map_err(|error| errors::of_commit(&table, &error))?;
    Ok(receipt)
}

/// Takes a row and its place in its part.
type EachRow<'a> = dyn FnMut(u32, &[ValueRef<'_>]) -> Result<(), WarehouseError> + 'a;

/// Gives each row of a part to `each`, in order, with its place in the part.
fn each_row(part: &StagedPart, columns: usize, each: &mut EachRow<'_>) -> Result<(), WarehouseError> {
    let (mut blocks, mut place) = (part.blocks(columns)?, 0);
    while let Some(block) = blocks.next()? {
        let (mut unpack, before) = (Unpack::new(block), place);
        let mut row = Vec::with_capacity(columns);
        while unpack.row(columns, &mut row).ok_or_else(Blocks::damaged)? {
            each(place, &row)?;
            place += 1;
        }
        blocks.took(u64::from(place - before))?;
    }
    Ok(())
}

/// Takes a row and its place among all of its load.
type EachPlace<'a> = dyn FnMut(i64, &[ValueRef<'_>]) -> Result<(), WarehouseError> + 'a;

/// A load on its way into its table.
struct Target<'a> {
    connection: &'a Connection,
    load: &'a LoadPlan,
    parts: &'a [StagedPart],
    is_cancelled: &'a AtomicBool,
    /// As the plan tells it.
    told: String,
    /// Quoted.
    table: String,
    /// Quoted: the columns of a row, and behind them the one for deleted rows where the rows have none of their own.
    columns: Vec<String>,
    /// Place of the flag in a row as it is written; `None` where it is not touched.
    flag: Option<usize>,
}

/// What is done with a staged row.
struct Writer<'a> {
    select: Statement<'a>,
    insert: Statement<'a>,
    update: Statement<'a>,
    delete: Statement<'a>,
}

impl<'a> Target<'a> {
    fn new(
        connection: &'a Connection,
        load: &'a LoadPlan,
        parts: &'a [StagedPart],
        is_cancelled: &'a AtomicBool,
    ) -> Result<Self, WarehouseError> {
        let layout = &load.layout;
        let mut columns: Vec<String> = layout.columns.iter().map(|column| quoted(&column.name)).collect();
        let mut flag = layout.deleted;
        if flag.is_none() && matches!(load.mode, LoadMode::Upsert | LoadMode::Replace) {
            flag = Some(columns.len());
            columns.push(quoted(&layout.deleted_column));
        }
        let table = quoted(&name_in_file(&load.table));
        let told = load.table.to_string();
        if layout.columns.get(layout.key).is_none() {
            return Err(WarehouseError::Engine(format!("the plan of a load into `{told}` has no key")));
        }
        Ok(Self { connection, load, parts, is_cancelled, told, table, columns, flag })
    }

    fn failed(&self, error: &rusqlite::Error) -> WarehouseError {
        errors::of_table(&self.told, error)
    }

    fn key(&self) -> &str {
        &self.columns[self.load.layout.key]
    }

    fn prepare(&self, sql: &str) -> Result<Statement<'a>, WarehouseError> {
        self.connection.prepare(sql).map_err(|error| self.failed(&error))
    }

    fn execute(&self, sql: &str) -> Result<u64, WarehouseError> {
        self.connection.execute(sql, []).map(|rows| rows as u64).map_err(|error| self.failed(&error))
    }

    fn removes(&self) -> bool {
        self.load.deletes == DeletePolicy::Remove
    }

    /// Gives each staged row to `each`, in the order of parts and rows, with its place among all.
    fn each_row(&self, each: &mut EachPlace<'_>) -> Result<(), WarehouseError> {
        for part in self.parts.iter().filter(|part| !part.is_keys) {
            let above = i64::from(part.receipt.part.0) << 32;
            each_row(part, self.load.layout.columns.len(), &mut |place, row| {
                if self.is_cancelled.load(Ordering::Relaxed) {
                    return Err(WarehouseError::Engine("it was told to stop".to_owned()));
                }
                each(above | i64::from(place), row)
            })?;
        }
        Ok(())
    }

    /// Upsert, replace and refresh.
    fn merge(&self, staged: u64) -> Result<CommitReceipt, WarehouseError> {
        let has_rows: bool = self
            .connection
            .query_row(&format!("SELECT EXISTS (SELECT 1 FROM {})", self.table), [], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        if !has_rows && self.load.mode != LoadMode::Refresh {
            return self.first_load();
        }
        let has_keys = self.parts.iter().any(|part| part.is_keys);
        let needs_keys = match self.load.mode {
            LoadMode::Upsert => has_keys,
            mode => mode == LoadMode::Replace,
        };
        let may_have_duplicates = staged > HASHES_MAX || needs_keys || self.has_equal_hashes(staged)?;
        let has_duplicates = may_have_duplicates && self.put_keys()? != staged;
        let mut receipt = self.write_rows(has_duplicates)?;
        if self.load.mode == LoadMode::Replace {
            self.put_lone_keys(false, &|_| true)?;
            receipt.deleted += self.remove_absent(&format!(
                "{0} NOT IN (SELECT key FROM temp.staged_row) AND {0} NOT IN (SELECT key FROM temp.staged_key)",
                self.key()
            ))?;
        } else if needs_keys {
            self.put_lone_keys(false, &|part| !part.is_spared())?;
            self.take_out_spared()?;
            receipt.deleted += self.execute(&format!(
                "DELETE FROM {} WHERE {} IN (SELECT key FROM temp.staged_key)
                 AND {1} NOT IN (SELECT key FROM temp.staged_row)",
                self.table,
                self.key()
            ))?;
        }
        self.forget_keys()?;
        Ok(receipt)
    }

    /// Into a table without rows, where a conflict can only be with a row of this load.
    fn first_load(&self) -> Result<CommitReceipt, WarehouseError> {
        let mut receipt = CommitReceipt::default();
        let mut writer = self.writer(" ON CONFLICT DO NOTHING")?;
        self.each_row(&mut |_, row| {
            if self.run(&mut writer.insert, row.iter().copied().chain(self.no_flag()))? == 1 {
                receipt.inserted += 1;
            } else if self
                .compare(&mut writer.select, row, true)?
                .is_some_and(|old| !old.is_newer && !old.is_same)
            {
                self.update(&mut writer.update, row)?;
            }
            Ok(())
        })?;
        if let (true, Some(flag)) = (self.removes(), self.flag) {
            // Not before the end: a deletion may be older than another row of its key.
            let sql = format!("DELETE FROM {} WHERE {} IS TRUE", self.table, self.columns[flag]);
            receipt.inserted -= self.execute(&sql)?;
        }
        Ok(receipt)
    }

    fn write_rows(&self, has_duplicates: bool) -> Result<CommitReceipt, WarehouseError> {
        let mut receipt = CommitReceipt::default();
        let mut writer = self.writer("")?;
        let is_refresh = self.load.mode == LoadMode::Refresh;
        let mut winner = match has_duplicates {
            true => Some(self.prepare("SELECT 1 FROM temp.staged_row WHERE key = ?1 AND place = ?2")?),
            false => None,
        };
        self.each_row(&mut |place, row| {
            let key = row[self.load.layout.key];
            if let Some(winner) = &mut winner {
                self.bind(winner, [key, ValueRef::Integer(place)].into_iter())?;
                if winner.raw_query().next().map_err(|error| self.failed(&error))?.is_none() {
                    return Ok(());
                }
            }
            let is_gone = self.flag.and_then(|flag| row.get(flag)).is_some_and(is_true);
            match self.compare(&mut writer.select, row, self.load.keeps_newer())? {
                None if is_refresh || (is_gone && self.removes()) => {}
                None => {
                    self.run(&mut writer.insert, row.iter().copied().chain(self.no_flag()))?;
                    receipt.inserted += 1;
                }
                Some(old) if old.is_newer => receipt.unchanged += 1,
                Some(_) if is_gone && self.removes() => {
                    receipt.deleted += self.run(&mut writer.delete, [key].into_iter())?;
                }
                Some(old) if old.is_same => receipt.unchanged += 1,
                Some(old) => {
                    self.update(&mut writer.update, row)?;
                    *if is_gone && !old.is_gone { &mut receipt.deleted } else { &mut receipt.updated } += 1;
                }
            }
            Ok(())
        })?;
        Ok(receipt)
    }

    fn writer(&self, on_conflict: &str) -> Result<Writer<'a>, WarehouseError> {
        let (table, key, names) = (&self.table, self.key(), self.columns.join(", "));
        let values = vec!["?"; self.columns.len()].join(", ");
        let sets: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != self.load.layout.key)
            .map(|(_, column)| format!("{column} = ?"))
            .collect();
        // A refresh of no column but the key writes nothing, but must be a statement.
        let sets = if sets.is_empty() { format!("{key} = {key}") } else { sets.join(", ") };
        Ok(Writer {
            select: self.prepare(&format!("SELECT {names} FROM {table} WHERE {key} = ?"))?,
            insert: self.prepare(&format!("INSERT INTO {table} ({names}) VALUES ({values}){on_conflict}"))?,
            update: self.prepare(&format!("UPDATE {table} SET {sets} WHERE {key} = ?"))?,
            delete: self.prepare(&format!("DELETE FROM {table} WHERE {key} = ?"))?,
        })
    }

    /// The flag of a row that has none of its own: the org has given it, so it is not deleted.
    fn no_flag(&self) -> Option<ValueRef<'static>> {
        (self.columns.len() > self.load.layout.columns.len()).then_some(ValueRef::Integer(0))
    }

    fn bind<'v>(
        &self,
        statement: &mut Statement<'_>,
        values: impl Iterator<Item = ValueRef<'v>>,
    ) -> Result<(), WarehouseError> {
        for (place, value) in values.enumerate() {
            statement
                .raw_bind_parameter(place + 1, ToSqlOutput::Borrowed(value))
                .map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn run<'v>(
        &self,
        statement: &mut Statement<'_>,
        values: impl Iterator<Item = ValueRef<'v>>,
    ) -> Result<u64, WarehouseError> {
        self.bind(statement, values)?;
        statement.raw_execute().map(|rows| rows as u64).map_err(|error| self.failed(&error))
    }

    fn update(&self, update: &mut Statement<'_>, row: &[ValueRef<'_>]) -> Result<(), WarehouseError> {
        let key = self.load.layout.key;
        let others = row.iter().enumerate().filter(|(place, _)| *place != key).map(|(_, value)| *value);
        self.run(update, others.chain(self.no_flag()).chain([row[key]])).map(|_| ())
    }

    /// How a staged row and the target's differ, where `keeps_newer` by their age first; `None` when the target has none of that
    /// key.
    fn compare(
        &self,
        select: &mut Statement<'_>,
        row: &[ValueRef<'_>],
        keeps_newer: bool,
    ) -> Result<Option<Compared>, WarehouseError> {
        self.bind(select, [row[self.load.layout.key]].into_iter())?;
        let mut found = select.raw_query();
        let Some(old) = found.next().map_err(|error| self.failed(&error))? else { return Ok(None) };
        let value = |place| old.get_ref(place).map_err(|error| self.failed(&error));
        let stamp = self.load.layout.stamp;
        if let Some(stamp) = stamp.filter(|_| keeps_newer)
            && !is_not_older(row[stamp], value(stamp)?)
        {
            return Ok(Some(Compared { is_newer: true, is_same: false, is_gone: false }));
        }
        let is_gone = self.flag.map(value).transpose()?.is_some_and(|value| is_true(&value));
        for (place, new) in row.iter().copied().chain(self.no_flag()).enumerate() {
            if !same(new, value(place)?) {
                return Ok(Some(Compared { is_newer: false, is_same: false, is_gone }));
            }
        }
        Ok(Some(Compared { is_newer: false, is_same: true, is_gone }))
    }

    fn has_equal_hashes(&self, staged: u64) -> Result<bool, WarehouseError> {
        let state = RandomState::new();
        let mut seen = HashSet::with_capacity(staged as usize);
        let mut has_equal = false;
        self.each_row(&mut |_, row| {
            let hash = match row[self.load.layout.key] {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => state.hash_one(bytes),
                ValueRef::Integer(value) => state.hash_one(value),
                ValueRef::Real(value) => state.hash_one(value.to_bits()),
                ValueRef::Null => 0,
            };
            has_equal |= !seen.insert(hash);
            Ok(())
        })?;
        Ok(has_equal)
    }

    /// Puts the keys of the rows into a table, each with the place of the row that wins. Returns how many keys there are.
    fn put_keys(&self) -> Result<u64, WarehouseError> {
        self.key_table("staged_row", ", stamp, place INTEGER")?;
        let mut put = self.prepare(
            "INSERT INTO temp.staged_row VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
             SET stamp = excluded.stamp, place = excluded.place
             WHERE stamp IS NULL OR excluded.stamp >= stamp",
        )?;
        self.each_row(&mut |place, row| {
            let stamp = self.load.layout.stamp.map_or(ValueRef::Null, |stamp| row[stamp]);
            let key = row[self.load.layout.key];
            self.run(&mut put, [key, stamp, ValueRef::Integer(place)].into_iter()).map(|_| ())
        })?;
        self.connection
            .query_row("SELECT count(*) FROM temp.staged_row", [], |row| row.get(0))
            .map_err(|error| self.failed(&error))
    }

    /// Puts keys that were staged alone, in parts that are `meant`, into a table, and with `of_rows` those of rows, too.
    fn put_lone_keys(&self, of_rows: bool, meant: &dyn Fn(PartNumber) -> bool) -> Result<(), WarehouseError> {
        self.key_table("staged_key", "")?;
        let mut put = self.prepare("INSERT OR IGNORE INTO temp.staged_key VALUES (?)")?;
        for part in self.parts.iter().filter(|part| part.is_keys && meant(part.receipt.part)) {
            each_row(part, 1, &mut |_, row| self.run(&mut put, row.iter().copied()).map(|_| ()))?;
        }
        if of_rows {
            let key = self.load.layout.key;
            self.each_row(&mut |_, row| self.run(&mut put, [row[key]].into_iter()).map(|_| ()))?;
        }
        Ok(())
    }

    /// Takes the keys of rows that stay as they are out of those that were put.
    fn take_out_spared(&self) -> Result<(), WarehouseError> {
        let mut take = self.prepare("DELETE FROM temp.staged_key WHERE key = ?")?;
        for part in self.parts.iter().filter(|part| part.is_keys && part.receipt.part.is_spared()) {
            each_row(part, 1, &mut |_, row| self.run(&mut take, row.iter().copied()).map(|_| ()))?;
        }
        Ok(())
    }

    /// Takes out rows that are not at the org any more, or flags them.
    fn remove_absent(&self, those: &str) -> Result<u64, WarehouseError> {
        let (table, flag) = (&self.table, quoted(&self.load.layout.deleted_column));
        self.execute(&match self.load.flags_absent() {
            false => format!("DELETE FROM {table} WHERE {those}"),
            true => format!("UPDATE {table} SET {flag} = 1 WHERE {those} AND {flag} IS NOT TRUE"),
        })
    }

    /// Without a type, as the values are converted already; without a row id, as the key is all there is.
    fn key_table(&self, name: &str, more: &str) -> Result<(), WarehouseError> {
        self.connection
            .execute_batch(&format!(
                "DROP TABLE IF EXISTS temp.{name};
                 CREATE TEMP TABLE {name} (key PRIMARY KEY{more}) WITHOUT ROWID"
            ))
            .map_err(|error| self.failed(&error))
    }

    fn forget_keys(&self) -> Result<(), WarehouseError> {
        self.connection
            .execute_batch("DROP TABLE IF EXISTS temp.staged_row; DROP TABLE IF EXISTS temp.staged_key")
            .map_err(|error| self.failed(&error))
    }

    /// Of staged keys, or of all others.
    fn delete(&self) -> Result<CommitReceipt, WarehouseError> {
        self.put_lone_keys(true, &|_| true)?;
        let not = if self.load.mode == LoadMode::KeepKeys { "NOT " } else { "" };
        let mut those = format!("{} {not}IN (SELECT key FROM temp.staged_key)", self.key());
        if self.load.spares_flagged() {
            those = format!("{those} AND {} IS NOT TRUE", quoted(&self.load.layout.deleted_column));
        }
        let deleted = self.remove_absent(&those)?;
        self.forget_keys()?;
        Ok(CommitReceipt { deleted, ..CommitReceipt::default() })
    }
}

/// How a row differs from the one that is there.
struct Compared {
    is_newer: bool,
    is_same: bool,
    is_gone: bool,
}

fn is_true(value: &ValueRef<'_>) -> bool {
    *value == ValueRef::Integer(1)
}
