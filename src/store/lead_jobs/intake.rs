//! Rows of the sheet into the job's file, and leads out of it by their ordinals or ids.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, params};

use super::error::{During, LeadStoreError};
use super::keys::{KeyIndex, KeyPlace};
use super::packed::{Key, Unreadable, pack, unpack};
use super::rows::{CHUNK_ROWS, ChunkReader, ChunkWriter, KeptRow};
use super::tally::count_row;
use super::worker::{Change, View};
use super::{IntakeRow, RowId};
use crate::leads::{IdFault, LeadId, Ordinal};

const READ: &str = "read the rows of a lead job";

/// Adds rows; those up to the last that is kept are ignored. Answers how many were new.
pub fn add_rows(change: &mut Change<'_>, rows: &[IntakeRow]) -> Result<u64, LeadStoreError> {
    let kept = change.state.job.last_row;
    let fresh = &rows[rows.partition_point(|row| row.row <= kept)..];
    let Some(first) = fresh.first() else { return Ok(0) };
    if change.state.job.intake_ended {
        return Err(LeadStoreError::IntakeEnded(first.row));
    }
    if let Some(pair) = rows.windows(2).find(|pair| pair[1].row <= pair[0].row) {
        return Err(LeadStoreError::RowOrder { row: pair[1].row, after: pair[0].row });
    }
    for chunk in fresh.chunks(CHUNK_ROWS) {
        add_chunk(change, chunk)?;
    }
    Ok(fresh.len() as u64)
}

fn add_chunk(change: &mut Change<'_>, rows: &[IntakeRow]) -> Result<(), LeadStoreError> {
    let Change { connection, path, state } = change;
    let keys = |row: &IntakeRow| match &row.id {
        RowId::Lead { id, .. } => Some(pack(id)),
        RowId::Blank | RowId::Invalid { .. } => None,
    };
    let mut suspects: Vec<Key> =
        rows.iter().filter_map(keys).filter(|key| state.keys.may_be_on_disk(key)).collect();
    suspects.sort_unstable();
    let on_disk =
        if suspects.is_empty() { HashMap::new() } else { state.keys.find(connection, path, &suspects)? };

    let mut counts = state.job.counts;
    let first_ordinal = counts.leads;
    let mut chunk = ChunkWriter::new(state.job.last_row);
    for row in rows {
        let number = u32::try_from(row.row).map_err(|_large| LeadStoreError::TooManyRows(row.row))?;
        let kept = match &row.id {
            RowId::Blank => KeptRow::Blank,
            RowId::Invalid { written, fault } => KeptRow::Invalid { written: written.clone(), fault: *fault },
            RowId::Lead { id, repaired } => {
                let (key, repaired) = (pack(id), *repaired);
                match state.keys.recent(&key).or_else(|| on_disk.get(&key).copied()) {
                    Some(KeyPlace { ordinal, row }) => {
                        KeptRow::Duplicate { ordinal, first_row: row, repaired }
                    }
                    None => {
                        // There are not more leads than rows, and those are counted in 32 bits.
                        let ordinal = counts.leads as Ordinal;
                        state.keys.remember(key, KeyPlace { ordinal, row: number });
                        KeptRow::Lead { key, ordinal, repaired }
                    }
                }
            }
        };
        count_row(&mut counts, &kept);
        chunk.put(row.row, &kept);
        state.job.last_row = row.row;
    }
    let leads = counts.leads - first_ordinal;
    let invalid = counts.invalid - state.job.counts.invalid;
    state.job.counts = counts;
    let insert =
        "INSERT INTO row_chunks (last_row, first_ordinal, leads, invalid, data) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection
        .prepare_cached(insert)
        .and_then(|mut insert| {
            insert.execute(params![state.job.last_row, first_ordinal, leads, invalid, chunk.bytes()])
        })
        .during("keep the rows of a lead job", path)?;
    state.keys.keep(connection, path, false)
}

/// No more rows come.
pub fn end_intake(change: &mut Change<'_>) -> Result<u64, LeadStoreError> {
    change.state.job.intake_ended = true;
    change.state.keys.keep(change.connection, change.path, true)?;
    Ok(change.state.job.counts.rows)
}

/// The index with the ids that are in no run yet.
pub fn open_keys(connection: &Connection, path: &Path, to_add: bool) -> Result<KeyIndex, LeadStoreError> {
    let mut keys = KeyIndex::open(connection, path, to_add)?;
    let from = keys.in_runs();
    each_lead_row(connection, path, from, |row, key, ordinal| {
        let row = u32::try_from(row).map_err(|_large| LeadStoreError::TooManyRows(row))?;
        keys.remember(*key, KeyPlace { ordinal, row });
        Ok(true)
    })?;
    Ok(keys)
}

/// Visits leads from an ordinal on, ascending, until `visit` says `false`.
fn each_lead_row(
    connection: &Connection,
    path: &Path,
    from: u64,
    mut visit: impl FnMut(u64, &Key, Ordinal) -> Result<bool, LeadStoreError>,
) -> Result<(), LeadStoreError> {
    let select = "SELECT first_ordinal, data FROM row_chunks
        WHERE leads > 0 AND first_ordinal > ?1 AND first_ordinal + leads > ?2 ORDER BY first_ordinal";
    // No chunk has more leads than rows.
    let earliest = from.cast_signed() - CHUNK_ROWS as i64 - 1;
    let mut select = connection.prepare_cached(select).during(READ, path)?;
    let mut chunks = select.query(params![earliest, from]).during(READ, path)?;
    while let Some(chunk) = chunks.next().during(READ, path)? {
        let read = || Ok((chunk.get(0)?, chunk.get_ref(1)?.as_blob()?));
        let (first, data): (Ordinal, &[u8]) = read().during(READ, path)?;
        for row in ChunkReader::new(data, first).map_err(|why| damaged(path, why))? {
            let (row, kept) = row.map_err(|why| damaged(path, why))?;
            if let KeptRow::Lead { key, ordinal, .. } = kept
                && u64::from(ordinal) >= from
                && !visit(row, &key, ordinal)?
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Leads without an outcome and without a question that waits, ascending from an ordinal.
pub fn open_leads(
    view: &View<'_>,
    from: Ordinal,
    limit: usize,
) -> Result<Vec<(Ordinal, LeadId)>, LeadStoreError> {
    const FINISHED: &str = "SELECT ordinal FROM results WHERE ordinal >= ?1 ORDER BY ordinal";
    const ASKED: &str = "SELECT ordinal FROM questions WHERE ordinal >= ?1 ORDER BY ordinal";
    let View { connection, path, state } = view;
    let mut finished = connection.prepare_cached(FINISHED).during(READ, path)?;
    let mut finished = Ascending::new(finished.query([from]).during(READ, path)?);
    let mut asked = connection.prepare_cached(ASKED).during(READ, path)?;
    let mut asked = Ascending::new(asked.query([from]).during(READ, path)?);
    let mut open = Vec::with_capacity(limit.min(state.job.counts.open as usize));
    if limit == 0 {
        return Ok(open);
    }
    each_lead_row(connection, path, u64::from(from), |_row, key, ordinal| {
        if !finished.has(ordinal).during(READ, path)? && !asked.has(ordinal).during(READ, path)? {
            open.push((ordinal, unpack(key).map_err(|why| damaged(path, why))?));
        }
        Ok(open.len() < limit)
    })?;
    Ok(open)
}

/// Ordinals that ascend, asked for in ascending order.
struct Ascending<'s> {
    rows: rusqlite::Rows<'s>,
    next: Option<Option<Ordinal>>,
}

impl<'s> Ascending<'s> {
    fn new(rows: rusqlite::Rows<'s>) -> Self {
        Self { rows, next: None }
    }

    fn has(&mut self, ordinal: Ordinal) -> Result<bool, rusqlite::Error> {
        loop {
            match self.next {
                Some(Some(next)) if next >= ordinal => return Ok(next == ordinal),
                Some(None) => return Ok(false),
                _ => self.next = Some(self.rows.next()?.map(|row| row.get(0)).transpose()?),
            }
        }
    }
}

/// Places of ids among the leads of the job.
pub fn ordinals_of(view: &View<'_>, ids: &[LeadId]) -> Result<Vec<Option<Ordinal>>, LeadStoreError> {
    let keys: Vec<Key> = ids.iter().map(pack).collect();
    let mut on_disk: Vec<Key> = keys
        .iter()
        .filter(|key| view.state.keys.recent(key).is_none() && view.state.keys.may_be_on_disk(key))
        .copied()
        .collect();
    on_disk.sort_unstable();
    on_disk.dedup();
    let on_disk = view.state.keys.find(view.connection, view.path, &on_disk)?;
    let place = |key: &Key| view.state.keys.recent(key).or_else(|| on_disk.get(key).copied());
    Ok(keys.iter().map(|key| place(key).map(|place| place.ordinal)).collect())
}

/// As [`ordinals_of`], of leads that have neither an outcome nor a question that waits.
pub fn open_ordinals_of(view: &View<'_>, ids: &[LeadId]) -> Result<Vec<Option<Ordinal>>, LeadStoreError> {
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM results WHERE ordinal = ?1)
        OR EXISTS (SELECT 1 FROM questions WHERE ordinal = ?1)";
    let View { connection, path, .. } = view;
    let mut places = ordinals_of(view, ids)?;
    let mut taken = connection.prepare_cached(TAKEN).during(READ, path)?;
    for place in &mut places {
        if let Some(ordinal) = *place
            && taken.query_row([ordinal], |row| row.get(0)).during(READ, path)?
        {
            *place = None;
        }
    }
    Ok(places)
}

/// Rows whose id is none, ascending.
pub fn invalid_rows(view: &View<'_>, limit: usize) -> Result<Vec<(u64, String, IdFault)>, LeadStoreError> {
    let View { connection, path, .. } = view;
    let select = "SELECT first_ordinal, data FROM row_chunks WHERE invalid > 0 ORDER BY last_row";
    let mut select = connection.prepare_cached(select).during(READ, path)?;
    let mut chunks = select.query([]).during(READ, path)?;
    let mut invalid = Vec::new();
    while invalid.len() < limit
        && let Some(chunk) = chunks.next().during(READ, path)?
    {
        let read = || Ok((chunk.get(0)?, chunk.get_ref(1)?.as_blob()?));
        let (first, data): (Ordinal, &[u8]) = read().during(READ, path)?;
        for row in ChunkReader::new(data, first).map_err(|why| damaged(path, why))? {
            if let (row, KeptRow::Invalid { written, fault }) = row.map_err(|why| damaged(path, why))? {
                invalid.push((row, written, fault));
            }
        }
    }
    invalid.truncate(limit);
    Ok(invalid)
}

/// Bytes of the file are not what was written.
pub fn damaged(path: &Path, why: Unreadable) -> LeadStoreError {
    LeadStoreError::Damaged { path: path.to_owned(), why: why.to_string() }
}
