//! From staged files to rows of the target.
//!
//! Promises: all or nothing, with the ledger entry; what was counted is what was changed; nothing that would end the
//! transaction stands in it. The files are copied into tables of the load's own first, where a value that does not fit, or a
//! count that is not the org's, harms nobody.

use super::ledger::Ledger;
use super::names::{Home, Listing, Place, Sort};
use super::session::{Session, number};
use super::sql::{Forecast, Merge, create_keys, create_rows};
use super::staging::{Staging, drop_table, no_key};
use crate::sync::{CommitReceipt, LoadMode, LoadPlan, StagedCount, Watermark};
use crate::warehouse::{ChunkRow, WarehouseError, check_staged};

/// Commits a load whose parts add up to `expected`.
///
/// # Errors
/// [`WarehouseError::OtherCount`], [`WarehouseError::Unsure`], and what Snowflake says.
pub fn commit(
    session: &mut Session,
    (home, ledger, staging): (&Home, &Ledger, &mut Staging),
    load: &LoadPlan,
    expected: StagedCount,
) -> Result<CommitReceipt, WarehouseError> {
    if let Some(receipt) = ledger.receipt(session, &load.id)? {
        staging.remove(session, load);
        return Ok(receipt);
    }
    let listing = staging.list(session, load)?;
    let staged = StagedCount { rows: listing.rows(Sort::Rows), keys: listing.rows(Sort::Keys) };
    check_staged(expected, staged)?;
    let (rows_table, keys_table) = home.staging(load);
    let target = home.place(&load.table);
    let has_rows = staged.rows > 0;
    let keys = (staged.keys > 0).then_some(&keys_table);
    let merge = Merge { target: &target, rows: &rows_table, keys, load };
    // Most loads of a quiet object have nothing at all: then no table is made for them.
    let rows_table = (has_rows || merge.delete_absent().is_some()).then_some(&rows_table);
    let done = copy_and_merge(session, (ledger, staging), &merge, &listing, rows_table);
    if done.is_ok() {
        staging.remove(session, load);
    }
    if !done.as_ref().is_err_and(WarehouseError::ends_connection) {
        for table in rows_table.into_iter().chain(keys) {
            if let Err(error) = session.execute(&drop_table(table)) {
                tracing::debug!(load = %load.id, %error, "a table of a commit stays where it is");
            }
        }
    }
    done
}

fn copy_and_merge(
    session: &mut Session,
    (ledger, staging): (&Ledger, &mut Staging),
    merge: &Merge<'_>,
    listing: &Listing,
    rows_table: Option<&Place>,
) -> Result<CommitReceipt, WarehouseError> {
    let (load, target) = (merge.load, merge.target);
    if let Some(rows) = rows_table {
        session.execute(&create_rows(rows, &load.layout))?;
        staging.copy(session, load, listing, Sort::Rows, rows)?;
    }
    if let Some(keys) = merge.keys {
        session.execute(&create_keys(keys))?;
        staging.copy(session, load, listing, Sort::Keys, keys)?;
    }
    let staged = listing.rows(Sort::Rows);
    session.keep_for_commit()?;
    let done = session.transaction(|session| {
        // First, so that what another commit has done is seen by what follows.
        session.prove()?;
        if let Some(receipt) = ledger.receipt(session, &load.id)? {
            return Ok(receipt);
        }
        let mut receipt = match load.mode {
            LoadMode::Upsert | LoadMode::Replace | LoadMode::Refresh => {
                merge_rows(session, merge, staged > 0)?
            }
            LoadMode::DeleteKeys | LoadMode::KeepKeys => delete_keys(session, merge, staged > 0)?,
        };
        receipt.staged = staged;
        let before = ledger.watermark(session, &load.org, &load.object, target)?;
        receipt.watermark = before.max(load.to.map(|at| Watermark { at }));
        if ledger.write(session, load, target, &receipt)? {
            if let Some(origin) = &load.origin {
                ledger.write_origin(session, &load.org, target, origin)?;
            }
            return Ok(receipt);
        }
        Err(WarehouseError::InUse(format!("load `{}` was committed by another connection", load.id)))
    });
    if done.is_err() {
        session.keep_no_longer();
    }
    done
}

fn merge_rows(
    session: &mut Session,
    merge: &Merge<'_>,
    has_rows: bool,
) -> Result<CommitReceipt, WarehouseError> {
    let mut receipt = CommitReceipt::default();
    if let Some(sql) = merge.delete_absent() {
        receipt.deleted += session.change(&sql)?;
    }
    if !has_rows {
        return Ok(receipt);
    }
    let forecast = forecast(session, merge)?;
    if forecast.keyless > 0 {
        return Err(no_key(merge.load, forecast.keyless));
    }
    if forecast.removed > 0 {
        receipt.deleted += as_forecast(merge, session.change(&merge.delete_gone())?, forecast.removed)?;
    }
    if forecast.updated + forecast.flagged > 0 {
        let changed = session.change(&merge.update())?;
        as_forecast(merge, changed, forecast.updated + forecast.flagged)?;
        receipt.updated = forecast.updated;
        receipt.deleted += forecast.flagged;
    }
    if forecast.new > 0 && merge.load.mode != LoadMode::Refresh {
        receipt.inserted = as_forecast(merge, session.change(&merge.insert())?, forecast.new)?;
    }
    let changed = forecast.updated + forecast.flagged + forecast.removed;
    receipt.unchanged = forecast.matched.saturating_sub(changed);
    Ok(receipt)
}

fn forecast(session: &mut Session, merge: &Merge<'_>) -> Result<Forecast, WarehouseError> {
    let (_, rows) = session.rows(&merge.forecast())?;
    let row = rows.row(0);
    let count = |row: ChunkRow<'_>, column| number(row.cell(column)).unwrap_or(0);
    Ok(row.map_or_else(Forecast::default, |row| Forecast {
        keyless: count(row, 0),
        matched: count(row, 1),
        new: count(row, 2),
        updated: count(row, 3),
        flagged: count(row, 4),
        removed: count(row, 5),
    }))
}

/// Snowflake shows each statement of a transaction what others have committed meanwhile: what a statement changed must be what
/// was counted before.
fn as_forecast(merge: &Merge<'_>, changed: u64, counted: u64) -> Result<u64, WarehouseError> {
    if changed == counted {
        return Ok(changed);
    }
    Err(WarehouseError::Locked {
        what: merge.target.key(),
        message: format!("somebody else changed it while it was written: {changed} rows, not {counted}"),
    })
}

fn delete_keys(
    session: &mut Session,
    merge: &Merge<'_>,
    has_rows: bool,
) -> Result<CommitReceipt, WarehouseError> {
    if let Some(sql) = merge.null_keys() {
        let keyless = session.number(&sql)?;
        if keyless > 0 {
            return Err(no_key(merge.load, keyless));
        }
    }
    let deleted = session.change(&merge.delete_by_keys(has_rows))?;
    Ok(CommitReceipt { deleted, ..CommitReceipt::default() })
}
