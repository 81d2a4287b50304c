//! The statements that make staged rows the target's.
//!
//! UPDATE, then INSERT of what is missing. The other ways were measured beside it (`tests/speed.rs`; 205,000 rows into 200,000 of
//! which a tenth differs; PostgreSQL 15): 0.8 s of the server's CPU and 76 MB of its log. DELETE and INSERT: 1.1 s, 159 MB, and a
//! table twice the size; narrowed to what differs, 0.8 s and 75 MB, but then too it loses what is in columns that are not the
//! load's (retired ones, and those that people added). INSERT ... ON CONFLICT: 0.6 s, 87 MB, since it locks, and so writes, each
//! row that it then leaves alone; it does not tell new rows from changed ones by its count, and needs the key's index, which
//! somebody may have taken away. Nobody else writes meanwhile, so two statements are as safe as one.

use super::copying::ROW_COLUMN;
use super::names::{Staging, quote};
use super::stage::column_names;
use crate::sync::{LoadPlan, SPARED_FROM, TableLayout};

/// Names as in statements: the target is `t` there, staged rows are `s`.
pub(super) struct Merge<'a> {
    target: String,
    staging: &'a Staging,
    layout: &'a TableLayout,
    key: String,
    stamp: Option<String>,
    /// Of staged rows.
    deleted: Option<String>,
    /// Of the target.
    flag: String,
    keeps_newer: bool,
}

impl<'a> Merge<'a> {
    pub(super) fn new(target: String, staging: &'a Staging, load: &'a LoadPlan) -> Self {
        let layout = &load.layout;
        let name = |index: usize| layout.columns.get(index).map(|column| quote(&column.name));
        Self {
            target,
            staging,
            layout,
            key: name(layout.key).unwrap_or_default(),
            stamp: layout.stamp.and_then(name),
            deleted: layout.deleted.and_then(name),
            flag: quote(&layout.deleted_column),
            keeps_newer: load.keeps_newer(),
        }
    }

    /// Whether staged rows say that they are deleted.
    pub(super) fn tells_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// Staged rows, and keys among them.
    pub(super) fn count(&self) -> String {
        let (rows, key) = (&self.staging.rows, &self.key);
        format!(
            "SELECT coalesce(sum(n), 0)::bigint, count(*) FROM (SELECT count(*) AS n FROM {rows} GROUP BY {key}) AS keys"
        )
    }

    /// Leaves of each key the newest row; of equally new ones, the one that was staged last.
    pub(super) fn dedupe(&self) -> String {
        let (rows, key) = (&self.staging.rows, &self.key);
        let stamp = self.stamp.as_ref().map(|stamp| format!("{stamp} DESC NULLS LAST, ")).unwrap_or_default();
        format!(
            "DELETE FROM {rows} AS s USING (
                 SELECT ctid AS place, row_number() OVER (
                     PARTITION BY {key} ORDER BY {stamp}_part DESC, {ROW_COLUMN} DESC) AS nth
                 FROM {rows} WHERE {key} IN (SELECT {key} FROM {rows} GROUP BY {key} HAVING count(*) > 1)
             ) AS ranked WHERE s.ctid = ranked.place AND ranked.nth > 1"
        )
    }

    /// Of the key alone: samples of thirty columns cost as much as the merge.
    pub(super) fn analyze(&self) -> String {
        format!("ANALYZE {} ({})", self.staging.rows, self.key)
    }

    fn joined(&self) -> String {
        let newer = match self.stamp.as_ref().filter(|_| self.keeps_newer) {
            Some(stamp) => format!(" AND (t.{stamp} IS NULL OR s.{stamp} >= t.{stamp})"),
            None => String::new(),
        };
        format!("t.{key} = s.{key}{newer}", key = self.key)
    }

    fn is_deleted(&self) -> String {
        self.deleted.as_ref().map_or("false".to_owned(), |deleted| format!("s.{deleted} IS TRUE"))
    }

    /// What the target's columns become, and what says that this is something else than now.
    fn changes(&self, is_refresh: bool) -> (String, String) {
        let names: Vec<String> = self.layout.columns.iter().map(|column| quote(&column.name)).collect();
        let names = names.iter().enumerate().filter(|(index, _)| *index != self.layout.key);
        let mut pairs: Vec<(String, String)> =
            names.map(|(_, name)| (name.clone(), format!("s.{name}"))).collect();
        if !pairs.iter().any(|(name, _)| *name == self.flag) {
            match &self.deleted {
                Some(deleted) => pairs.push((self.flag.clone(), format!("s.{deleted}"))),
                // What the org gives is there, also where it was thought to be deleted.
                None if !is_refresh => pairs.push((self.flag.clone(), "false".to_owned())),
                None => {}
            }
        }
        let sets: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let differ = pairs.iter().map(|(name, value)| format!("t.{name} IS DISTINCT FROM {value}"));
        let differ: Vec<String> = differ.collect();
        (sets.join(", "), differ.join(" OR "))
    }

    /// Gives rows of the target what is staged for them. `which` narrows the staged rows down.
    fn update(&self, is_refresh: bool, which: &str) -> Option<String> {
        let (sets, differ) = self.changes(is_refresh);
        (!sets.is_empty()).then(|| {
            format!(
                "UPDATE {} AS t SET {sets} FROM {} AS s WHERE {} AND {which} AND ({differ})",
                self.target,
                self.staging.rows,
                self.joined()
            )
        })
    }

    /// Rows that are deleted at the org, and not flagged so far.
    pub(super) fn flag_deleted(&self, is_refresh: bool) -> Option<String> {
        self.update(is_refresh, &format!("{} AND t.{} IS NOT TRUE", self.is_deleted(), self.flag))
    }

    /// Rows that are other than before; `and_deleted`: also those that are deleted at the org.
    pub(super) fn change(&self, is_refresh: bool, and_deleted: bool) -> Option<String> {
        let which = if and_deleted { "true".to_owned() } else { format!("NOT ({})", self.is_deleted()) };
        self.update(is_refresh, &which)
    }

    /// Takes out what is deleted at the org.
    pub(super) fn remove_deleted(&self) -> String {
        let (target, rows) = (&self.target, &self.staging.rows);
        format!(
            "DELETE FROM {target} AS t USING {rows} AS s WHERE {} AND {}",
            self.joined(),
            self.is_deleted()
        )
    }

    /// Adds what is missing. `is_empty`: everything is.
    pub(super) fn insert(&self, and_deleted: bool, is_empty: bool) -> String {
        let (target, rows, key) = (&self.target, &self.staging.rows, &self.key);
        let mut into = column_names(self.layout);
        let mut from = into.clone();
        if let Some(deleted) = &self.deleted
            && *deleted != self.flag
        {
            into = format!("{into}, {}", self.flag);
            from = format!("{from}, {deleted}");
        }
        let mut which = Vec::new();
        if !and_deleted {
            which.push(format!("NOT ({})", self.is_deleted()));
        }
        if !is_empty {
            which.push(format!("NOT EXISTS (SELECT FROM {target} AS t WHERE t.{key} = s.{key})"));
        }
        let which = if which.is_empty() { "true".to_owned() } else { which.join(" AND ") };
        format!("INSERT INTO {target} ({into}) SELECT {from} FROM {rows} AS s WHERE {which}")
    }

    /// Takes out rows whose keys alone were staged, but those that are spared.
    pub(super) fn remove_left(&self) -> String {
        let (target, key, Staging { rows, keys }) = (&self.target, &self.key, self.staging);
        format!(
            "DELETE FROM {target} AS t WHERE EXISTS (SELECT FROM {keys} AS k WHERE k.key = t.{key})
             AND NOT EXISTS (SELECT FROM {keys} AS k WHERE k.key = t.{key} AND k._part >= {SPARED_FROM})
             AND NOT EXISTS (SELECT FROM {rows} AS s WHERE s.{key} = t.{key})"
        )
    }

    /// Takes out rows of which neither was staged nor the key, or flags them as deleted.
    pub(super) fn remove_others(&self, by_flag: bool) -> String {
        let (key, Staging { rows, keys }) = (&self.key, self.staging);
        self.remove(
            by_flag,
            &format!(
                "NOT EXISTS (SELECT FROM {rows} AS s WHERE s.{key} = t.{key})
                 AND NOT EXISTS (SELECT FROM {keys} AS k WHERE k.key = t.{key})"
            ),
        )
    }

    fn remove(&self, by_flag: bool, which: &str) -> String {
        let (target, flag) = (&self.target, &self.flag);
        match by_flag {
            true => format!("UPDATE {target} AS t SET {flag} = true WHERE t.{flag} IS NOT TRUE AND {which}"),
            false => format!("DELETE FROM {target} AS t WHERE {which}"),
        }
    }

    fn staged_keys(&self) -> String {
        let (key, Staging { rows, keys }) = (&self.key, self.staging);
        format!(
            "EXISTS (SELECT FROM (SELECT key FROM {keys} UNION ALL SELECT {key} FROM {rows}) AS k WHERE k.key = t.{key})"
        )
    }

    /// Deletes rows whose key was staged, or was not, by a flag or for good; those that are flagged may be spared.
    pub(super) fn delete(&self, was_staged: bool, by_flag: bool, spares_flagged: bool) -> String {
        let mut which = if was_staged { self.staged_keys() } else { format!("NOT {}", self.staged_keys()) };
        if spares_flagged {
            which = format!("t.{} IS NOT TRUE AND {which}", self.flag);
        }
        self.remove(by_flag, &which)
    }

    /// How many rows of the target have a key that was staged.
    pub(super) fn matched(&self) -> String {
        format!("SELECT count(*) FROM {} AS t WHERE {}", self.target, self.staged_keys())
    }

    /// Staged rows that are deleted at the org, and those of them that the target has.
    pub(super) fn count_deleted(&self) -> String {
        let (target, key, rows) = (&self.target, &self.key, &self.staging.rows);
        format!(
            "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {target} AS t WHERE t.{key} = s.{key}))
             FROM {rows} AS s WHERE {}",
            self.is_deleted()
        )
    }
}
