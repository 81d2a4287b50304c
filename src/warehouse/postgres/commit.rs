//! The transaction that ends a load.
//!
//! Promises: rows, ledger entry and watermark become visible together, to readers who never wait and never see a table half
//! filled; a load that is over is not written again, also when the one who wrote it is still about to end; every count is the
//! server's own. A COMMIT without an answer is told as such.

use super::faults::Fault;
use super::ledger::{self, OwnTables};
use super::merge::Merge;
use super::names::{Place, lock_number};
use super::owner::Hold;
use super::schema;
use super::session::Session;
use super::stage::Stage;
use crate::sync::{CommitReceipt, DeletePolicy, LoadMode, LoadPlan, StagedCount, Watermark};
use crate::warehouse::{WarehouseError, check_staged};

/// From so many keys on, the planner is told what is staged.
const ANALYZE_FROM: u64 = 1_000;

/// A load that is to end.
pub(super) struct Ending<'a> {
    pub(super) session: &'a Session,
    pub(super) schema: &'a str,
    pub(super) tables: &'a OwnTables,
    pub(super) hold: &'a Hold,
    pub(super) place: &'a Place,
    pub(super) stage: &'a Stage<'a>,
    pub(super) load: &'a LoadPlan,
}

/// What the statements have done.
#[derive(Default)]
struct Done {
    inserted: u64,
    updated: u64,
    unchanged: u64,
    deleted: u64,
}

impl Ending<'_> {
    fn about(&self, fault: Fault) -> WarehouseError {
        fault.about(&self.place.told())
    }

    /// See [`crate::warehouse::Warehouse::commit`].
    pub(super) fn commit(&self, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        if let Some(receipt) = self.receipt()? {
            // Parts that came once more after an answer that was lost; if they stay, they harm nobody.
            if self.stage.is_made().is_ok_and(|is_made| is_made) {
                let _ = self.stage.let_go();
            }
            return Ok(receipt);
        }
        // A load of no rows may never have staged any.
        if !self.stage.is_made().map_err(|fault| self.about(fault))? {
            self.stage.make().map_err(|fault| self.about(fault))?;
        }
        let prepared = self.prepare(expected);
        let receipt = match prepared {
            Ok(receipt) => receipt,
            Err(error) => {
                // Of no use on a connection that broke, where the server does the same.
                let _ = self.session.batch("ROLLBACK");
                return Err(error);
            }
        };
        self.session.batch("COMMIT").map_err(|fault| fault.of_commit(&self.place.told()))?;
        Ok(receipt)
    }

    fn receipt(&self) -> Result<Option<CommitReceipt>, WarehouseError> {
        self.tables.receipt(self.session, self.load).map_err(|fault| self.about(fault))
    }

    /// Everything up to COMMIT.
    fn prepare(&self, expected: StagedCount) -> Result<CommitReceipt, WarehouseError> {
        let Self { session, tables, load, place, .. } = self;
        let about = |fault| self.about(fault);
        session.batch("BEGIN ISOLATION LEVEL READ COMMITTED").map_err(about)?;
        // A login may have been set not to wait for the disk; what the ledger has must stay.
        let durable = "SELECT set_config('synchronous_commit', 'on', true)
                       WHERE current_setting('synchronous_commit') = 'off'";
        session.rows(durable, &[]).map_err(about)?;
        take_turn(session, load).map_err(about)?;
        self.hold.check(session, self.schema, tables)?;
        // Once more: whoever had the turn may have been at its COMMIT.
        if let Some(receipt) = self.receipt()? {
            self.stage.let_go().map_err(about)?;
            return Ok(receipt);
        }
        // Readers go on, other writers wait.
        session
            .batch(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", place.quoted()))
            .map_err(about)?;
        schema::check(session, place, &load.layout)?;
        let merge = Merge::new(place.quoted(), self.stage.staging, load);
        let (staged, keys) = self.counts(&merge).map_err(about)?;
        self.check_counts(expected, staged)?;
        let done = self.carry_out(&merge, keys).map_err(about)?;
        let mut receipt = CommitReceipt {
            staged,
            inserted: done.inserted,
            updated: done.updated,
            unchanged: done.unchanged,
            deleted: done.deleted,
            watermark: None,
        };
        let (org, object) = (load.org.as_str(), load.object.as_str());
        let before = tables.watermark(session, org, object, &place.told()).map_err(about)?;
        receipt.watermark = before.max(load.to.map(|at| Watermark { at: ledger::kept(at) }));
        tables.enter(session, load, &place.told(), &receipt).map_err(about)?;
        if let Some(origin) = &load.origin {
            tables.write_origin(session, org, &place.told(), origin).map_err(about)?;
        }
        self.stage.let_go().map_err(about)?;
        Ok(receipt)
    }

    /// Staged rows and keys among them; afterwards every key is there once.
    fn counts(&self, merge: &Merge<'_>) -> Result<(u64, u64), Fault> {
        let session = self.session;
        let row = session.row(&merge.count(), &[])?;
        let (staged, keys) = (count_of(row.try_get(0)?), count_of(row.try_get(1)?));
        if staged > keys {
            session.batch(&merge.dedupe())?;
        }
        Ok((staged, keys))
    }

    /// Whether all is there that was staged. A crash of the server empties what is staged, and an empty set of keys to keep would
    /// keep nothing.
    fn check_counts(&self, expected: StagedCount, rows: u64) -> Result<(), WarehouseError> {
        let sql = format!("SELECT count(*) FROM {}", self.stage.staging.keys);
        let keys = self.count(&sql).map_err(|fault| self.about(fault))?;
        check_staged(expected, StagedCount { rows, keys })
    }

    fn carry_out(&self, merge: &Merge<'_>, keys: u64) -> Result<Done, Fault> {
        match self.load.mode {
            LoadMode::Upsert | LoadMode::Replace => self.upsert(merge, keys),
            LoadMode::Refresh => self.refresh(merge, keys),
            LoadMode::DeleteKeys => self.delete(merge, true),
            LoadMode::KeepKeys => self.delete(merge, false),
        }
    }

    fn upsert(&self, merge: &Merge<'_>, keys: u64) -> Result<Done, Fault> {
        let session = self.session;
        let stays = self.load.deletes == DeletePolicy::Flag;
        let target = self.place.quoted();
        let is_empty: bool =
            session.row(&format!("SELECT NOT EXISTS (SELECT FROM {target})"), &[])?.try_get(0)?;
        let mut done = Done::default();
        // Keys that are deleted at the org and that the target has not.
        let mut absent = 0;
        if !is_empty {
            self.analyze(merge, keys)?;
            done = self.change(merge, false)?;
        }
        if !stays && merge.tells_deleted() {
            let row = session.row(&merge.count_deleted(), &[])?;
            let (deleted, left) = (count_of(row.try_get(0)?), count_of(row.try_get(1)?));
            absent = deleted.saturating_sub(done.deleted + left);
        }
        done.inserted = session.execute(&merge.insert(stays, is_empty), &[])?;
        let seen = done.inserted + done.updated + done.deleted + absent;
        done.unchanged = keys.saturating_sub(seen);
        if !is_empty {
            done.deleted += match self.load.mode {
                LoadMode::Replace => session.execute(&merge.remove_others(self.load.flags_absent()), &[])?,
                _ => session.execute(&merge.remove_left(), &[])?,
            };
        }
        Ok(done)
    }

    /// Tells the planner of many rows how many keys they have: it would take them for few.
    fn analyze(&self, merge: &Merge<'_>, keys: u64) -> Result<(), Fault> {
        if keys >= ANALYZE_FROM { self.session.batch(&merge.analyze()) } else { Ok(()) }
    }

    fn refresh(&self, merge: &Merge<'_>, keys: u64) -> Result<Done, Fault> {
        self.analyze(merge, keys)?;
        let matched = self.count(&merge.matched())?;
        let mut done = self.change(merge, true)?;
        done.unchanged = matched.saturating_sub(done.updated + done.deleted);
        Ok(done)
    }

    /// Gives rows that are there what is staged for them, and counts apart what is deleted by that.
    fn change(&self, merge: &Merge<'_>, is_refresh: bool) -> Result<Done, Fault> {
        let stays = self.load.deletes == DeletePolicy::Flag;
        let mut done = Done::default();
        let run = |sql: Option<String>| sql.map_or(Ok(0), |sql| self.session.execute(&sql, &[]));
        if merge.tells_deleted() {
            done.deleted = match stays {
                true => run(merge.flag_deleted(is_refresh))?,
                false => run(Some(merge.remove_deleted()))?,
            };
        }
        done.updated = run(merge.change(is_refresh, stays))?;
        Ok(done)
    }

    fn delete(&self, merge: &Merge<'_>, was_staged: bool) -> Result<Done, Fault> {
        let matched = self.count(&merge.matched())?;
        let (by_flag, spares_flagged) = (self.load.flags_absent(), self.load.spares_flagged());
        let deleted = self.session.execute(&merge.delete(was_staged, by_flag, spares_flagged), &[])?;
        let unchanged = if was_staged { matched.saturating_sub(deleted) } else { matched };
        Ok(Done { deleted, unchanged, ..Done::default() })
    }

    fn count(&self, sql: &str) -> Result<u64, Fault> {
        Ok(count_of(self.session.row(sql, &[])?.try_get(0)?))
    }
}

/// Waits, inside a transaction, until nobody else is at the end of this load: what the ledger says then is so.
pub(super) fn take_turn(session: &Session, load: &LoadPlan) -> Result<(), Fault> {
    let lock = lock_number("load", load.id.as_str());
    session.batch(&format!("SELECT pg_advisory_xact_lock({lock})"))
}

fn count_of(count: i64) -> u64 {
    count.max(0) as u64
}
