//! The lead intake: reads a job's source row by row, judges each id, and has the job's store keep both.
//!
//! Promises: memory does not grow with the number of rows. It goes on behind the last row that is kept, however often it is
//! begun: rows that are kept already are passed over. An id is repaired by its own checksum or refused with the reason,
//! never guessed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::engine::{Nothing, Output, Stage, StageCx, StageError};
use super::fetcher::{OrgClients, chain, stage_error};
use super::lead_run::{LeadRun, LeadRuns};
use super::rate_limiter::{counted, on_behalf, priority_of};
use crate::leads::job::LeadSource;
use crate::leads::{IdFault, LeadId, reads_as_number};
use crate::messages::IntakeAsk;
use crate::salesforce::{CursorCheckpoint, QueryError};
use crate::sheets::{CellView, OpenOptions, SheetError, Workbook};
use crate::store::lead_jobs::{IntakeRow, LeadStoreError, RowId};

/// Rows kept in one transaction.
const CHUNK_ROWS: usize = 8_192;
/// Note in the job's store: place of the column with the ids, for a sheet with two of the same name.
pub(super) const ID_COLUMN_NOTE: &str = "id_column";
/// Note in the job's store: where the query stands.
const CURSOR_NOTE: &str = "cursor";
const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);
/// Longest part of what stands where an id should that is kept.
const WRITTEN_CHARS: usize = 64;

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct LeadIntake {
    clients: OrgClients,
    runs: LeadRuns,
}

impl LeadIntake {
    /// An intake for the jobs in `runs`.
    pub fn new(clients: OrgClients, runs: LeadRuns) -> Self {
        Self { clients, runs }
    }

    async fn sheet(&self, run: &Arc<LeadRun>, from: u64, cx: &StageCx) -> Result<(), StageError> {
        let LeadSource::Sheet { file, name, sheet, id_column } = &run.spec.source else { return Ok(()) };
        let place = run.store.noted(ID_COLUMN_NOTE).await.map_err(|error| kept(&error))?;
        let task = SheetTask {
            path: run.folder.join(file),
            name: name.clone(),
            sheet: sheet.clone(),
            id_column: id_column.clone(),
            place: place.and_then(|text| text.parse().ok()),
            options: OpenOptions::new(&run.folder),
            from,
        };
        // Two chunks: one is read while the other is kept.
        let (chunks, mut read) = mpsc::channel::<Vec<IntakeRow>>(1);
        let reading = cx.blocking(move || task.read(&chunks));
        // It owns the channel's end: a store that refuses closes it, so that the reader does not wait for room in it.
        let keeping = async move {
            while let Some(rows) = read.recv().await {
                cx.progress();
                keep(run, rows, cx).await?;
            }
            Ok::<(), StageError>(())
        };
        let (sheet, store) = futures_util::future::join(reading, keeping).await;
        // Of a store that refused the reader knows nothing more than that nobody wants its rows.
        store?;
        sheet.map_err(|error| StageError::fatal(chain(&error)))
    }

    async fn ids(&self, run: &Arc<LeadRun>, from: u64, cx: &StageCx) -> Result<(), StageError> {
        let LeadSource::Ids { ids } = &run.spec.source else { return Ok(()) };
        let mut rows = Vec::new();
        for (row, written) in (1..).zip(ids).skip_while(|(row, _)| *row <= from) {
            rows.push(IntakeRow { row, id: of_text(written) });
            if rows.len() == CHUNK_ROWS {
                keep(run, std::mem::take(&mut rows), cx).await?;
            }
        }
        keep(run, rows, cx).await
    }

    async fn query(
        &self,
        ask: &IntakeAsk,
        run: &Arc<LeadRun>,
        from: u64,
        cx: &StageCx,
    ) -> Result<(), StageError> {
        let LeadSource::Query { soql } = &run.spec.source else { return Ok(()) };
        let client = self.clients.get(&ask.org);
        let client = client.ok_or_else(|| StageError::fatal(format!("no org is named `{}`", ask.org)))?;
        let client = client.with_priority(priority_of(cx.header().lane));
        let client = client.with_call_timeout(run.settings.call_timeout);
        let noted = run.store.noted(CURSOR_NOTE).await.map_err(|error| kept(&error))?;
        let at: Option<CursorCheckpoint> = noted.and_then(|text| serde_json::from_str(&text).ok());
        let mut row = from;
        let mut pages = client.lead_id_pages(soql, at).map_err(|error| stage_error(&error))?;
        loop {
            // The pages travel with the call, for it runs elsewhere.
            let work = async move {
                let mut ids = Vec::new();
                let page = pages.next_ids(&mut ids).await;
                (pages, page.map(|is_page| is_page.then_some(ids)))
            };
            let work = counted(Arc::clone(&run.calls), work);
            let (back, page) = cx.io(on_behalf(cx.suspender(), work)).await;
            pages = back;
            let ids = match page {
                Ok(Some(ids)) => ids,
                Ok(None) => return Ok(()),
                Err(QueryError::Org(error)) => return Err(stage_error(&error)),
                Err(error @ QueryError::CursorGone { .. }) => {
                    run.store.note(CURSOR_NOTE, "").await.map_err(|error| kept(&error))?;
                    return Err(StageError::retry(chain(&error)));
                }
                Err(error @ QueryError::Handover { .. }) => return Err(StageError::fatal(chain(&error))),
            };
            // Begun anew, a query may find the leads in another order: what is kept is known by its id, not by its place.
            let ids = if from > 0 { not_kept(run, ids).await.map_err(|error| kept(&error))? } else { ids };
            let rows = ids.iter().zip(row + 1..);
            let rows: Vec<IntakeRow> = rows.map(|(id, row)| IntakeRow { row, id: of_text(id) }).collect();
            row += rows.len() as u64;
            keep(run, rows, cx).await?;
            let at = serde_json::to_string(&pages.checkpoint()).unwrap_or_default();
            run.store.note(CURSOR_NOTE, &at).await.map_err(|error| kept(&error))?;
        }
    }
}

impl Stage for LeadIntake {
    type In = IntakeAsk;
    type Out = Nothing;
    const NAME: &'static str = "lead_intake";

    async fn run(&self, ask: Arc<IntakeAsk>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        let Some(run) = self.runs.of(cx.header()) else {
            return Err(StageError::fatal("the job that this belonged to has ended"));
        };
        let intake = run.store.intake().await.map_err(|error| kept(&error))?;
        if intake.ended {
            return Ok(Output::None);
        }
        match &run.spec.source {
            LeadSource::Sheet { .. } => self.sheet(&run, intake.last_row, cx).await?,
            LeadSource::Ids { .. } => self.ids(&run, intake.last_row, cx).await?,
            LeadSource::Query { .. } => self.query(&ask, &run, intake.last_row, cx).await?,
        }
        run.store.end_intake().await.map_err(|error| kept(&error))?;
        Ok(Output::None)
    }
}

/// Ids that the job does not have yet. A query finds no lead twice.
async fn not_kept(run: &LeadRun, ids: Vec<String>) -> Result<Vec<String>, LeadStoreError> {
    let (ids, read): (Vec<String>, Vec<LeadId>) = ids
        .into_iter()
        .filter_map(|id| {
            let read = LeadId::read(&id).ok()?.id;
            Some((id, read))
        })
        .unzip();
    let places = run.store.ordinals_of(read).await?;
    Ok(ids.into_iter().zip(places).filter(|(_, place)| place.is_none()).map(|(id, _)| id).collect())
}

async fn keep(run: &LeadRun, rows: Vec<IntakeRow>, cx: &StageCx) -> Result<(), StageError> {
    if rows.is_empty() {
        return Ok(());
    }
    cx.waiting(run.store.add_rows(rows)).await.map_err(|error| kept(&error))?;
    Ok(())
}

/// A full disk holds the work up without spending attempts; anything else is tried again.
pub(super) fn kept(error: &LeadStoreError) -> StageError {
    if error.is_disk_full() {
        tracing::error!(error = chain(error), "work waits until there is room");
        return StageError::Throttled { after: WHILE_DISK_IS_FULL, why: chain(error) };
    }
    StageError::retry(chain(error))
}

/// What reading a sheet takes, on a thread that may block.
pub(super) struct SheetTask {
    pub(super) path: std::path::PathBuf,
    pub(super) name: String,
    pub(super) sheet: Option<String>,
    pub(super) id_column: String,
    pub(super) place: Option<usize>,
    pub(super) options: OpenOptions,
    pub(super) from: u64,
}

impl SheetTask {
    /// Reads to the end, or until nobody wants more.
    pub(super) fn read(self, chunks: &mpsc::Sender<Vec<IntakeRow>>) -> Result<(), SheetError> {
        let mut workbook = Workbook::open(&self.path, &self.name, &self.options)?;
        let mut rows = workbook.rows(self.sheet.as_deref())?;
        let named = |at: &usize| crate::sheets::column_name(rows.headers(), *at) == self.id_column;
        let column = match self.place.filter(named) {
            Some(column) => column,
            None => crate::sheets::find_id_column(rows.headers(), &[], Some(&self.id_column))?.index,
        };
        let mut chunk = Vec::with_capacity(CHUNK_ROWS);
        while let Some(row) = rows.next_row()? {
            if row.number <= self.from {
                continue;
            }
            chunk.push(IntakeRow { row: row.number, id: of_cell(row.cell(column)) });
            if chunk.len() == CHUNK_ROWS {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_ROWS));
                if chunks.blocking_send(full).is_err() {
                    return Ok(());
                }
            }
        }
        // Nobody wants it any more: the next intake reads it again.
        drop(chunks.blocking_send(chunk));
        Ok(())
    }
}

/// What a cell says as an id.
pub(super) fn of_cell(cell: CellView<'_>) -> RowId {
    let invalid = |written: &str, fault| RowId::Invalid { written: cut(written), fault };
    match cell {
        CellView::Empty => RowId::Blank,
        CellView::Text(text) => of_text(text),
        CellView::Number { written, .. } => invalid(written, IdFault::Number),
        CellView::Bool(true) => invalid("TRUE", IdFault::NotText),
        CellView::Bool(false) => invalid("FALSE", IdFault::NotText),
        CellView::Error(code) => invalid(code, IdFault::NotText),
    }
}

/// What a text says as an id. Text that only looks like a number is one that a spreadsheet wrote, and the words by which
/// programs say "nothing" are nothing.
pub(super) fn of_text(text: &str) -> RowId {
    let bare = text.trim();
    if bare.is_empty() || ["nan", "none", "null"].iter().any(|word| bare.eq_ignore_ascii_case(word)) {
        return RowId::Blank;
    }
    match LeadId::read(text) {
        Ok(read) => RowId::Lead { id: read.id, repaired: read.repaired },
        Err(fault) => {
            let fault = if reads_as_number(bare) { IdFault::Number } else { fault };
            RowId::Invalid { written: cut(bare), fault }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(WRITTEN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::blank("  ", "blank")]
    #[case::word_for_nothing("NaN", "blank")]
    #[case::another_word("null", "blank")]
    #[case::short("00Q5g00000AbCdE", "lead")]
    #[case::long_with_blanks(" 00Q5g00000AbCdEEAV ", "lead")]
    #[case::case_lost("00q5g00000abcdeeav", "repaired")]
    #[case::scientific("1.2E+17", "number")]
    #[case::with_a_comma("1,2E+17", "number")]
    #[case::short_and_small("00q5g000000g9xu", "case_lost")]
    #[case::digits("120000000000000000", "number")]
    #[case::contact("0035g00000AbCdE", "other_object")]
    #[case::too_long("00Q5g00000AbCdEEAV1", "length")]
    #[case::words("see notes", "characters")]
    #[case::typo("00Q5g00000AbCdEEAW", "lead_or_checksum")]
    fn a_cell_is_an_id_or_says_why_not(#[case] text: &str, #[case] expected: &str) {
        let found = match of_cell(CellView::Text(text)) {
            RowId::Blank => "blank",
            RowId::Lead { repaired: false, .. } => "lead",
            RowId::Lead { repaired: true, .. } => "repaired",
            RowId::Invalid { fault, .. } => fault.as_str(),
        };
        match expected {
            // A wrong checksum may still be one that some other case of the letters has.
            "lead_or_checksum" => assert!(["repaired", "checksum"].contains(&found), "{found}"),
            expected => assert_eq!(found, expected),
        }
    }

    #[test]
    fn what_stands_where_an_id_should_is_kept_to_64_characters() {
        let RowId::Invalid { written, .. } = of_text(&"ü".repeat(100)) else { panic!("it is no id") };
        assert_eq!(written.chars().count(), 64);
    }
}
