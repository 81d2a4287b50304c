//! Batch mode: leads whose answer comes by a batch of the endpoint, and how far each batch is.
//!
//! Promises: a question belongs to at most one batch at a time, and of questions about the same content one goes before the
//! others, which may find its answer then; it goes when its lead has an outcome, in the same transaction.
//! A batch is kept before its file is sent, so that a restart goes on with the same one.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Row, params};

use super::error::{During, LeadStoreError};
use super::intake::damaged;
use super::result_bytes::{put_result, result_of};
use super::worker::{Change, View};
use crate::leads::{LeadResult, Ordinal};

const READ: &str = "read questions of a lead job";
const WRITE: &str = "keep questions of a lead job";

/// A lead that waits for the model.
#[derive(Clone, PartialEq)]
pub struct Question {
    /// The lead, with what the rules say of it.
    pub result: LeadResult,
    /// Stands for what is asked: leads of the same content have the same.
    pub content: [u8; 32],
    /// The line of the endpoint's file.
    pub request: String,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The request holds a person's data.
        f.debug_struct("Question").field("ordinal", &self.result.ordinal).finish_non_exhaustive()
    }
}

/// A batch of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointBatch {
    /// Its number within the job, from 1; never given twice.
    pub number: u32,
    /// Questions that it was made with.
    pub questions: u64,
    /// The file with its questions, once it is sent.
    pub input_file: Option<String>,
    /// What the endpoint calls it, once it is begun.
    pub endpoint_id: Option<String>,
    /// How far it is, in the endpoint's words; empty before it knows it.
    pub status: String,
    /// The file with the answers.
    pub output_file: Option<String>,
    /// The file with what went wrong.
    pub error_file: Option<String>,
    /// Nothing more comes of it.
    pub is_over: bool,
}

/// Keeps questions of open leads; a lead that has an outcome or a question keeps it. Answers how many were new.
pub fn put_questions(change: &mut Change<'_>, questions: &[Question]) -> Result<u64, LeadStoreError> {
    let Change { connection, path, state } = change;
    let leads = state.job.counts.leads;
    if let Some(unknown) = questions.iter().find(|question| u64::from(question.result.ordinal) >= leads) {
        return Err(LeadStoreError::UnknownLead(unknown.result.ordinal));
    }
    let insert = "INSERT OR IGNORE INTO questions (ordinal, batch, twin, content, result, request)
        SELECT ?1, NULL, EXISTS (SELECT 1 FROM questions WHERE content = ?4 AND twin = 0), ?4, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM results WHERE ordinal = ?1)";
    let mut insert = connection.prepare_cached(insert).during(WRITE, path)?;
    let (mut bytes, mut kept) = (Vec::with_capacity(1024), 0);
    for Question { result, content, request } in questions {
        bytes.clear();
        put_result(&mut bytes, result);
        kept += insert.execute(params![result.ordinal, bytes, request, content]).during(WRITE, path)? as u64;
    }
    state.has_questions |= kept > 0;
    Ok(kept)
}

/// Questions that wait, ascending from an ordinal: those of a batch, or all.
pub fn questions(
    view: &View<'_>,
    batch: Option<u32>,
    from: Ordinal,
    limit: usize,
) -> Result<Vec<Question>, LeadStoreError> {
    let View { connection, path, .. } = view;
    let select = match batch {
        None => {
            "SELECT ordinal, result, request, content FROM questions WHERE ordinal >= ?1 ORDER BY ordinal LIMIT ?2"
        }
        Some(_) => {
            "SELECT ordinal, result, request, content FROM questions WHERE ordinal >= ?1 AND batch = ?3
            ORDER BY ordinal LIMIT ?2"
        }
    };
    let mut select = connection.prepare_cached(select).during(READ, path)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = match batch {
        None => select.query(params![from, limit]),
        Some(batch) => select.query(params![from, limit, batch]),
    }
    .during(READ, path)?;
    let mut questions = Vec::new();
    while let Some(row) = rows.next().during(READ, path)? {
        questions.push(question(view, row)?);
    }
    Ok(questions)
}

/// The questions of these leads; `None` for one that does not wait.
pub fn questions_of(view: &View<'_>, ordinals: &[Ordinal]) -> Result<Vec<Option<Question>>, LeadStoreError> {
    let select = "SELECT ordinal, result, request, content FROM questions WHERE ordinal = ?1";
    let mut select = view.connection.prepare_cached(select).during(READ, view.path)?;
    let mut found = Vec::with_capacity(ordinals.len());
    for ordinal in ordinals {
        let mut rows = select.query([ordinal]).during(READ, view.path)?;
        let row = rows.next().during(READ, view.path)?;
        found.push(row.map(|row| question(view, row)).transpose()?);
    }
    Ok(found)
}

fn question(view: &View<'_>, row: &Row<'_>) -> Result<Question, LeadStoreError> {
    let read = || Ok((row.get(0)?, row.get_ref(1)?.as_blob()?, row.get(2)?, row.get(3)?));
    let (ordinal, bytes, request, content): (Ordinal, _, String, [u8; 32]) =
        read().during(READ, view.path)?;
    let result = result_of(ordinal, bytes).map_err(|why| damaged(view.path, why))?;
    Ok(Question { result, content, request })
}

/// How many questions wait: in no batch yet, and in all.
pub fn waiting(view: &View<'_>) -> Result<(u64, u64), LeadStoreError> {
    let select = "SELECT count(*) - count(batch), count(*) FROM questions";
    let mut select = view.connection.prepare_cached(select).during(READ, view.path)?;
    select.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).during(READ, view.path)
}

/// Makes a batch of questions that are in none, in their order: at most so many, and so many bytes of lines (one at least).
/// Twins of a question that still waits go only when no other is left; what is asked `elsewhere` does not go. Answers its
/// number; 0 when there is no such question.
pub fn make_batch(
    change: &mut Change<'_>,
    most: u64,
    most_bytes: u64,
    elsewhere: &HashSet<[u8; 32]>,
) -> Result<u64, LeadStoreError> {
    match make_batch_of(change, false, most, most_bytes, elsewhere)? {
        0 => make_batch_of(change, true, most, most_bytes, elsewhere),
        number => Ok(number),
    }
}

fn make_batch_of(
    change: &mut Change<'_>,
    twins: bool,
    most: u64,
    most_bytes: u64,
    elsewhere: &HashSet<[u8; 32]>,
) -> Result<u64, LeadStoreError> {
    let Change { connection, path, .. } = change;
    let (mut chosen, mut bytes) = (Vec::new(), 0_u64);
    {
        let select = "SELECT ordinal, length(CAST(request AS BLOB)), content FROM questions
            WHERE batch IS NULL AND twin = ?1 ORDER BY ordinal";
        let mut select = connection.prepare_cached(select).during(READ, path)?;
        let mut rows = select.query([twins]).during(READ, path)?;
        while (chosen.len() as u64) < most.max(1)
            && let Some(row) = rows.next().during(READ, path)?
        {
            let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let (ordinal, length, content): (Ordinal, u64, [u8; 32]) = read().during(READ, path)?;
            if elsewhere.contains(&content) {
                continue;
            }
            // A line ends in a line break.
            bytes += length + 1;
            if !chosen.is_empty() && bytes > most_bytes {
                break;
            }
            chosen.push(ordinal);
        }
    }
    if chosen.is_empty() {
        return Ok(0);
    }
    let make = || {
        let insert = "INSERT INTO batches (questions, status, over) VALUES (?1, '', 0)";
        connection.prepare_cached(insert)?.execute([chosen.len() as u64])?;
        let number = connection.last_insert_rowid();
        let mut mark = connection.prepare_cached("UPDATE questions SET batch = ?1 WHERE ordinal = ?2")?;
        for ordinal in &chosen {
            mark.execute(params![number, ordinal])?;
        }
        Ok(number.cast_unsigned())
    };
    make().during(WRITE, path)
}

/// Keeps how far a batch is. When it is over, its questions without an outcome are free for another one; answers how many.
pub fn keep_batch(change: &mut Change<'_>, batch: &EndpointBatch) -> Result<u64, LeadStoreError> {
    let Change { connection, path, .. } = change;
    let update = "UPDATE batches SET input_file = ?2, endpoint_id = ?3, status = ?4, output_file = ?5,
        error_file = ?6, over = ?7 WHERE number = ?1";
    let EndpointBatch { number, input_file, endpoint_id, status, output_file, error_file, is_over, .. } =
        batch;
    let keep = || {
        connection.prepare_cached(update)?.execute(params![
            number,
            input_file,
            endpoint_id,
            status,
            output_file,
            error_file,
            is_over
        ])?;
        if !is_over {
            return Ok(0);
        }
        connection.prepare_cached("UPDATE questions SET batch = NULL WHERE batch = ?1")?.execute([number])
    };
    keep().map(|freed| freed as u64).during(WRITE, path)
}

/// Lets go of the questions that are in no batch: their leads are open as if they had not been read. Answers how many.
pub fn free_questions(change: &mut Change<'_>) -> Result<u64, LeadStoreError> {
    let free = "DELETE FROM questions WHERE batch IS NULL";
    change.connection.execute(free, []).map(|freed| freed as u64).during(WRITE, change.path)
}

/// What is asked by the batches that are not over.
pub fn contents_under_way(view: &View<'_>) -> Result<HashSet<[u8; 32]>, LeadStoreError> {
    let select = "SELECT content FROM questions WHERE batch IS NOT NULL";
    let mut select = view.connection.prepare_cached(select).during(READ, view.path)?;
    let contents = select.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    contents.during(READ, view.path)
}

/// All batches, the oldest first.
pub fn batches(view: &View<'_>) -> Result<Vec<EndpointBatch>, LeadStoreError> {
    let read = || {
        let select =
            "SELECT number, questions, input_file, endpoint_id, status, output_file, error_file, over
            FROM batches ORDER BY number";
        let mut select = view.connection.prepare_cached(select)?;
        let batches = select.query_map([], batch_of)?;
        batches.collect::<Result<Vec<_>, _>>()
    };
    read().during(READ, view.path)
}

/// A batch.
pub fn batch(view: &View<'_>, number: u32) -> Result<Option<EndpointBatch>, LeadStoreError> {
    let read = || {
        let select =
            "SELECT number, questions, input_file, endpoint_id, status, output_file, error_file, over
            FROM batches WHERE number = ?1";
        view.connection.prepare_cached(select)?.query_row([number], batch_of).optional()
    };
    read().during(READ, view.path)
}

fn batch_of(row: &Row<'_>) -> Result<EndpointBatch, rusqlite::Error> {
    Ok(EndpointBatch {
        number: row.get(0)?,
        questions: row.get(1)?,
        input_file: row.get(2)?,
        endpoint_id: row.get(3)?,
        status: row.get(4)?,
        output_file: row.get(5)?,
        error_file: row.get(6)?,
        is_over: row.get(7)?,
    })
}
