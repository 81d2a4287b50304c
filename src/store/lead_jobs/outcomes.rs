//! What became of leads, into the job's file and out of it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{During, LeadStoreError};
use super::intake::damaged;
use super::packed::Unpack;
use super::result_bytes::{put_result, put_spent, read_spent, result_of};
use super::rows::{ChunkReader, KeptRow};
use super::tally::{add_spent, count_outcome, count_row, count_spent, spent_on, sum, uncount_outcome};
use super::worker::{Change, View};
use crate::leads::{LeadCounts, LeadResult, Ordinal, Spent};

const READ: &str = "read results of a lead job";
const WRITE: &str = "write results of a lead job";
/// Leads opened again with one look.
const REOPEN_TOGETHER: i64 = 500;

/// Writes outcomes of open leads; a lead that has one keeps it. Answers how many were new.
pub fn write(change: &mut Change<'_>, results: Vec<LeadResult>) -> Result<u64, LeadStoreError> {
    let Change { connection, path, state } = change;
    let leads = state.job.counts.leads;
    if let Some(unknown) = results.iter().find(|result| u64::from(result.ordinal) >= leads) {
        return Err(LeadStoreError::UnknownLead(unknown.ordinal));
    }
    let insert = "INSERT OR IGNORE INTO results (ordinal, retry, data) VALUES (?1, ?2, ?3)";
    let mut insert = connection.prepare_cached(insert).during(WRITE, path)?;
    let (mut bytes, mut written) = (Vec::with_capacity(1024), 0);
    for mut result in results {
        let ordinal = result.ordinal;
        let spent_now = spent_on(&result);
        let earlier = if state.has_earlier { earlier_spent(connection, path, ordinal)? } else { None };
        let is_merged = earlier.is_some_and(|earlier| add_spent(&mut result, &earlier));
        bytes.clear();
        put_result(&mut bytes, &result);
        if insert.execute(params![ordinal, result.is_failed(), bytes]).during(WRITE, path)? == 0 {
            continue;
        }
        written += 1;
        count_outcome(&mut state.job.counts, &result);
        count_spent(&mut state.job.counts, &spent_now);
        if is_merged {
            delete(connection, "DELETE FROM earlier_spent WHERE ordinal = ?1", ordinal)
                .during(WRITE, path)?;
        }
        if state.has_questions {
            delete(connection, "DELETE FROM questions WHERE ordinal = ?1", ordinal).during(WRITE, path)?;
        }
    }
    Ok(written)
}

fn delete(connection: &Connection, statement: &str, ordinal: Ordinal) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached(statement)?.execute([ordinal])
}

fn earlier_spent(
    connection: &Connection,
    path: &Path,
    ordinal: Ordinal,
) -> Result<Option<Spent>, LeadStoreError> {
    let find = || {
        let mut select = connection.prepare_cached("SELECT data FROM earlier_spent WHERE ordinal = ?1")?;
        select.query_row([ordinal], |row| row.get::<_, Vec<u8>>(0)).optional()
    };
    let Some(bytes) = find().during(READ, path)? else { return Ok(None) };
    read_spent(&mut Unpack::new(&bytes)).map(Some).map_err(|why| damaged(path, why))
}

/// Opens failed and unread leads again; what was spent on them stays counted. Answers how many.
pub fn reopen_failed(change: &mut Change<'_>) -> Result<u64, LeadStoreError> {
    let Change { connection, path, state } = change;
    let mut reopened = 0;
    loop {
        let failed = {
            let select = "SELECT ordinal, data FROM results WHERE retry = 1 ORDER BY ordinal LIMIT ?1";
            let mut select = connection.prepare_cached(select).during(READ, path)?;
            collect(path, select.query([REOPEN_TOGETHER]).during(READ, path)?)?
        };
        if failed.is_empty() {
            return Ok(reopened);
        }
        for result in failed {
            uncount_outcome(&mut state.job.counts, &result);
            let ordinal = result.ordinal;
            let mut spent = spent_on(&result);
            if spent != Spent::default() {
                if let Some(earlier) = earlier_spent(connection, path, ordinal)? {
                    spent = sum(&spent, &earlier);
                }
                let mut bytes = Vec::new();
                put_spent(&mut bytes, &spent);
                let keep = "INSERT OR REPLACE INTO earlier_spent (ordinal, data) VALUES (?1, ?2)";
                connection
                    .prepare_cached(keep)
                    .and_then(|mut keep| keep.execute(params![ordinal, bytes]))
                    .during(WRITE, path)?;
                state.has_earlier = true;
            }
            delete(connection, "DELETE FROM results WHERE ordinal = ?1", ordinal).during(WRITE, path)?;
            reopened += 1;
        }
    }
}

/// Leads with an outcome, ascending from an ordinal.
pub fn results(view: &View<'_>, from: Ordinal, limit: usize) -> Result<Vec<LeadResult>, LeadStoreError> {
    let select = "SELECT ordinal, data FROM results WHERE ordinal >= ?1 ORDER BY ordinal LIMIT ?2";
    let mut select = view.connection.prepare_cached(select).during(READ, view.path)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(view.path, select.query(params![from, limit]).during(READ, view.path)?)
}

/// Reads rows of ordinals and results.
pub fn collect(path: &Path, mut rows: rusqlite::Rows<'_>) -> Result<Vec<LeadResult>, LeadStoreError> {
    let mut results = Vec::new();
    while let Some(row) = rows.next().during(READ, path)? {
        let read = || Ok((row.get(0)?, row.get_ref(1)?.as_blob()?));
        let (ordinal, bytes) = read().during(READ, path)?;
        results.push(result_of(ordinal, bytes).map_err(|why| damaged(path, why))?);
    }
    Ok(results)
}

/// Counts what stands under an ordinal.
type CountOne<'c> = dyn FnMut(Ordinal, &[u8]) -> Result<(), LeadStoreError> + 'c;

/// Counts everything anew, from the rows and the results themselves.
pub fn recount(view: &View<'_>) -> Result<LeadCounts, LeadStoreError> {
    let View { connection, path, .. } = view;
    let mut counts = LeadCounts::default();
    let each = |select: &str, count: &mut CountOne<'_>| {
        let mut select = connection.prepare(select).during(READ, path)?;
        let mut rows = select.query([]).during(READ, path)?;
        while let Some(row) = rows.next().during(READ, path)? {
            let read = || Ok((row.get(0)?, row.get_ref(1)?.as_blob()?));
            let (ordinal, bytes) = read().during(READ, path)?;
            count(ordinal, bytes)?;
        }
        Ok(())
    };
    each("SELECT first_ordinal, data FROM row_chunks ORDER BY last_row", &mut |first, bytes| {
        for row in ChunkReader::new(bytes, first).map_err(|why| damaged(path, why))? {
            let (_, row): (u64, KeptRow) = row.map_err(|why| damaged(path, why))?;
            count_row(&mut counts, &row);
        }
        Ok(())
    })?;
    each("SELECT ordinal, data FROM results", &mut |ordinal, bytes| {
        let result = result_of(ordinal, bytes).map_err(|why| damaged(path, why))?;
        count_outcome(&mut counts, &result);
        count_spent(&mut counts, &spent_on(&result));
        Ok(())
    })?;
    each("SELECT ordinal, data FROM earlier_spent", &mut |_ordinal, bytes| {
        let spent = read_spent(&mut Unpack::new(bytes)).map_err(|why| damaged(path, why))?;
        count_spent(&mut counts, &spent);
        Ok(())
    })?;
    Ok(counts)
}
