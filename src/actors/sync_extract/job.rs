//! Rows by a bulk job: one for a load, whatever dies in between.
//!
//! Promises: that a job is about to be asked for is kept before it is; its id is kept before it is waited for; a job whose id
//! was lost between the two is looked for at the org and taken only when its results prove it to be this load's (see
//! [`super::marker`]); nobody else's job is ever ended.

use std::time::Duration;

use jiff::SignedDuration;

use super::marker;
use super::parts::{Part, PartMaker, kind_of, source_of};
use super::run::{Run, statement};
use super::state::{Cursor, JobIntent};
use super::{ExtractError, Wanted};
use crate::clock::BoxFuture;
use crate::salesforce::rows::{Column, ColumnKind, Columns, CsvOptions, CsvRows, RowsError};
use crate::salesforce::{
    BulkCheckpoint, BulkError, BulkJob, BulkJobKind, HttpErrorKind, OrgError, PageReader, ReadError,
};
use crate::sync::PartNumber;
use crate::warehouse::PartSource;
use crate::warehouse::spool::SpoolWriter;

/// The org's clock may be told to us by another of its servers.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);
/// How old the org's last answer may be to tell its clock.
const CLOCK_AGE: Duration = Duration::from_secs(600);
/// Jobs that are looked into for ours; made within seconds of it, there are hardly two.
const CANDIDATES_MAX: usize = 10;

/// Makes the load's job, or finds it, and reads it.
pub(super) async fn begin(run: &mut Run<'_>) -> Result<(), ExtractError> {
    let columns = ours(run)?;
    let soql = statement(run.ask, &columns)?;
    if let Some(intent) = run.state.intent.clone()
        && let Some(found) = find(run, &intent, &columns).await?
    {
        return keep_and_read(run, found).await;
    }
    let asked_at = run.client.org_now(CLOCK_AGE).await.map_err(|error| org(run, error))?;
    let intent = JobIntent { asked_at };
    run.state.intent = Some(intent.clone());
    run.keep().await?;
    let mut attempt = 1;
    loop {
        let asked = run.client.bulk_query_once(&soql, run.ask.include_deleted, run.ask.bulk.clone()).await;
        let error = match asked {
            Ok(query) => {
                let made = query.checkpoint().clone();
                return keep_and_read(run, made).await;
            }
            Err(BulkError::Refused { message, .. }) => {
                run.state.intent = None;
                run.state.bulk_refused = Some(message);
                run.keep().await?;
                return Box::pin(run.begin(None)).await;
            }
            Err(BulkError::Org(error)) if error.is_transient() => error,
            Err(error) => {
                // The org said no: there is no job.
                run.state.intent = None;
                return Err(ExtractError::of_bulk(&run.ask.plan.object, error));
            }
        };
        if !run.client.pause_before_retry(&error, attempt).await {
            return Err(org(run, error));
        }
        attempt += 1;
        if may_have_made_it(&error)
            && let Some(found) = find(run, &intent, &columns).await?
        {
            return keep_and_read(run, found).await;
        }
    }
}

/// Takes a job that somebody else has made.
pub(super) async fn take(run: &mut Run<'_>, id: &str) -> Result<(), ExtractError> {
    let job = run.client.bulk_job(id).await.map_err(|error| org(run, error))?;
    let Some(job) = job else {
        return Err(other_job(run, id, "the org has no job of this id any more".to_owned()));
    };
    if let Some(why) = why_not(&job, run) {
        return Err(other_job(run, id, why));
    }
    if run.ask.include_deleted && job.operation == "query" {
        run.state
            .notes
            .push(format!("bulk job `{id}` was asked without deleted rows: it says nothing of deletes"));
    }
    run.state.is_adopted = true;
    run.state.cursor = Some(Cursor::Bulk(job.checkpoint(run.client.api_version())));
    run.keep().await?;
    match run.state.cursor.clone() {
        Some(Cursor::Bulk(checkpoint)) => read(run, checkpoint).await,
        _ => Ok(()),
    }
}

fn why_not(job: &BulkJob, run: &Run<'_>) -> Option<String> {
    let object = &run.ask.plan.object;
    if job.kind != BulkJobKind::Query {
        return Some(format!("it is {} job, not a query of Bulk 2.0", a(job.kind)));
    }
    if !job.object.eq_ignore_ascii_case(object.as_str()) {
        return Some(format!("it queries `{}`", job.object));
    }
    matches!(job.state.as_str(), "Failed" | "Aborted").then(|| format!("its state is `{}`", job.state))
}

fn a(kind: BulkJobKind) -> &'static str {
    match kind {
        BulkJobKind::Query => "a query",
        BulkJobKind::Ingest => "an ingest",
        BulkJobKind::Classic => "a Bulk 1.0",
    }
}

/// The job is ours: kept before anything else is done.
async fn keep_and_read(run: &mut Run<'_>, checkpoint: BulkCheckpoint) -> Result<(), ExtractError> {
    run.state.intent = None;
    run.state.jobs += 1;
    run.state.cursor = Some(Cursor::Bulk(checkpoint.clone()));
    run.keep().await?;
    read(run, checkpoint).await
}

/// Looks for a job that was asked for and whose id never came.
async fn find(
    run: &mut Run<'_>,
    intent: &JobIntent,
    columns: &Columns,
) -> Result<Option<BulkCheckpoint>, ExtractError> {
    let jobs = run.client.bulk_jobs_of(BulkJobKind::Query).await.map_err(|error| org(run, error))?;
    let since = intent.asked_at.checked_sub(CLOCKS_APART).unwrap_or(intent.asked_at);
    let operation = if run.ask.include_deleted { "queryAll" } else { "query" };
    let mut candidates: Vec<BulkJob> = jobs
        .into_iter()
        .filter(|job| job.operation == operation && why_not(job, run).is_none())
        .filter(|job| job.created_at.is_some_and(|made| made >= since))
        .collect();
    if candidates.is_empty() {
        return Ok(None);
    }
    if columns.len() < marker::COLUMNS_MIN {
        let count = candidates.len();
        run.state.notes.push(format!(
            "{count} bulk jobs at the org may be left over from before a crash; with so few columns none can be told to be ours, so a new one was made"
        ));
        return Ok(None);
    }
    candidates.sort_by_key(|job| job.created_at);
    for job in candidates.into_iter().take(CANDIDATES_MAX) {
        let watched = run.client.watch_bulk_job(&job.id, run.ask.bulk.patience).await;
        let Some(job) = watched.map_err(|error| org(run, error))? else { continue };
        if job.state != "JobComplete" {
            continue;
        }
        let checkpoint = job.checkpoint(run.client.api_version());
        let header = run.client.bulk_result_header(&checkpoint).await.map_err(|error| org(run, error))?;
        if header.is_some_and(|header| marker::is_order_of(columns, &header)) {
            run.state.notes.push(format!("bulk job `{}` was found again after its id was lost", job.id));
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}

/// After this the job may be there all the same.
fn may_have_made_it(error: &OrgError) -> bool {
    match error {
        OrgError::Network(error) => error.kind != HttpErrorKind::Connect,
        OrgError::Busy { .. } | OrgError::Unreadable { .. } => true,
        _ => false,
    }
}

/// The columns in the load's own order.
fn ours(run: &Run<'_>) -> Result<Columns, ExtractError> {
    let bad =
        |error: RowsError| ExtractError::BadPlan { load: run.ask.plan.id.clone(), why: error.to_string() };
    marker::marked(&run.columns, &run.ask.plan.id).map_err(bad)
}

/// The columns of a job that somebody else has made, in the order of its header.
async fn theirs(run: &Run<'_>, checkpoint: &BulkCheckpoint) -> Result<Columns, ExtractError> {
    let id = checkpoint.job_id.as_str();
    let header = run.client.bulk_result_header(checkpoint).await.map_err(|error| org(run, error))?;
    let Some(header) = header else {
        return Err(other_job(run, id, "its results have no header".to_owned()));
    };
    let known = &run.ask.plan.layout.columns;
    let missing: Vec<&str> = run
        .columns
        .as_slice()
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| !header.iter().any(|given| given.eq_ignore_ascii_case(name)))
        .collect();
    if !missing.is_empty() {
        return Err(other_job(run, id, format!("its query does not select `{}`", missing.join("`, `"))));
    }
    let columns = header.into_iter().map(|name| {
        let field = known.iter().find(|column| column.field.eq_ignore_ascii_case(&name));
        let kind = field.map_or(ColumnKind::Text, |column| kind_of(column.kind));
        Column::new(name, kind)
    });
    let columns = Columns::new(columns.collect()).map_err(|error| other_job(run, id, error.to_string()))?;
    Ok(columns.keeping_bad())
}

/// Waits for the job and reads its pages from where the checkpoint stands.
pub(super) async fn read(run: &mut Run<'_>, checkpoint: BulkCheckpoint) -> Result<(), ExtractError> {
    let is_new = checkpoint.rows_total.is_none();
    if run.state.is_adopted && is_new {
        // Waiting ends a job that takes too long: one of somebody else's is only watched.
        let (id, patience) = (checkpoint.job_id.as_str(), run.ask.bulk.patience);
        let watched = run.client.watch_bulk_job(id, patience).await.map_err(|error| org(run, error))?;
        if watched.is_none() {
            let why = format!("it is gone, or not over after {} s", patience.as_secs());
            return Err(other_job(run, id, why));
        }
    }
    let mut query = run.client.resume_bulk_query(checkpoint, run.ask.bulk.clone());
    let waited = query.wait().await;
    let rows = waited.map_err(|error| of_job(run, error))?;
    run.rejects.expect(rows);
    let estimated = *run.state.estimated.get_or_insert(rows);
    if is_new {
        run.state.cursor = Some(Cursor::Bulk(query.checkpoint().clone()));
        run.keep().await?;
    }
    let columns = match run.state.is_adopted {
        true => theirs(run, query.checkpoint()).await?,
        false => ours(run)?,
    };
    if run.chosen.is_none() {
        run.choose(estimated);
    }
    let wants_files = run.chosen.as_ref().is_some_and(|(method, _)| method.is_staged());
    let mut maker = PartMaker::new(run.ask, &columns)?;
    let is_for_files = wants_files && run.ask.spool.is_some() && run.ask.wanted == Wanted::Rows;
    if is_for_files {
        maker = maker.for_files();
    }
    let rows_done = query.checkpoint().rows_done;
    let csv = csv_of(&columns, rows_done);
    let rows_per_page = u64::from(run.ask.bulk.rows_per_page);
    let mut pages = Pages {
        run,
        maker,
        columns,
        csv,
        rows_before: rows_done,
        rows_per_page,
        known: 0,
        seen: 0,
        refused: None,
        is_for_files,
        file: None,
    };
    loop {
        let page = match query.next_page(&mut pages).await {
            Ok(page) => page,
            Err(error) => return Err(pages.error(error)),
        };
        let Some(page) = page else { break };
        pages.rows_before += page.rows;
        pages.end_page().await?;
        let cursor = Cursor::Bulk(query.checkpoint().clone());
        pages.run.end_page(page.bytes, Some(cursor), true).await?;
    }
    let notes = pages.maker.notes();
    run.state.notes.extend(notes);
    Ok(())
}

fn csv_of(columns: &Columns, rows_done: u64) -> CsvRows {
    CsvRows::new(columns.clone(), CsvOptions { rows_done, ..CsvOptions::default() })
}

/// Reads the rows of a job's pages, and puts the parts that are whole between two pieces of a page.
struct Pages<'p, 'r> {
    run: &'p mut Run<'r>,
    maker: PartMaker,
    columns: Columns,
    csv: CsvRows,
    /// Rows of the pages before this one.
    rows_before: u64,
    rows_per_page: u64,
    /// Rows of this page taken, by all readings of it.
    known: u64,
    /// Rows of this page seen by this reading.
    seen: u64,
    refused: Option<ExtractError>,
    is_for_files: bool,
    /// The page in hand, where pages become files.
    file: Option<(PartNumber, SpoolWriter)>,
}

impl Pages<'_, '_> {
    fn told(&mut self, error: RowsError) -> ReadError {
        match self.refused.take() {
            Some(error) => ReadError::Handover(Box::new(error)),
            None => OrgError::Unreadable {
                what: "the rows of a page".to_owned(),
                reason: error.to_string(),
                cut_off: error.is_cut_off(),
            }
            .into(),
        }
    }

    fn read(
        &mut self,
        feed: impl FnOnce(&mut CsvRows, &mut crate::salesforce::rows::RowSink<'_>) -> Result<(), RowsError>,
    ) -> Result<(), ReadError> {
        let Self { run, maker, csv, known, seen, refused, .. } = self;
        let rejects = &mut run.rejects;
        let fed = feed(csv, &mut |row| {
            *seen += 1;
            if *seen <= *known {
                return std::ops::ControlFlow::Continue(());
            }
            match maker.take(row, rejects) {
                Ok(()) => {
                    *known = *seen;
                    std::ops::ControlFlow::Continue(())
                }
                Err(error) => {
                    *refused = Some(error);
                    std::ops::ControlFlow::Break(())
                }
            }
        });
        fed.map_err(|error| self.told(error))
    }

    /// Puts what is whole: as a part, or into the page's file.
    async fn put(&mut self) -> Result<(), ExtractError> {
        if !self.is_for_files {
            return self.run.put_ready(&mut self.maker).await;
        }
        while let Some(Part { number, chunk }) = self.maker.next_part() {
            let spool = self.run.ask.spool.as_ref().filter(|_| !number.is_spared());
            let Some(spool) = spool else {
                let rows = chunk.rows() as u64;
                self.run.put(number, rows, source_of(number, chunk)).await?;
                continue;
            };
            if self.file.is_none() {
                let plan = &self.run.ask.plan;
                let name = format!("{}-{}", plan.object, plan.id);
                let begun = spool.begin(&plan.layout, number, &name).await;
                self.file = Some((number, begun.map_err(|source| self.spool_error(source))?));
            }
            if let Some((_, file)) = &mut self.file {
                let pushed = file.push(&chunk);
                pushed.map_err(|source| self.spool_error(source))?;
            }
        }
        Ok(())
    }

    /// Puts the rest of a page that is whole.
    async fn end_page(&mut self) -> Result<(), ExtractError> {
        self.maker.end_page();
        self.put().await?;
        if let Some((number, file)) = self.file.take() {
            let file = file.finish().map_err(|source| self.spool_error(source))?;
            self.run.put(number, file.rows, PartSource::File(file)).await?;
        }
        Ok(())
    }

    fn spool_error(&self, source: crate::warehouse::WarehouseError) -> ExtractError {
        ExtractError::Spool { load: self.run.ask.plan.id.clone(), source }
    }

    /// What ended the reading of a page.
    fn error(&self, error: BulkError) -> ExtractError {
        match error {
            BulkError::Handover { job, source } => match source.downcast::<ExtractError>() {
                Ok(error) => *error,
                Err(source) => ExtractError::Bulk(BulkError::Handover { job, source }),
            },
            error => of_job(self.run, error),
        }
    }
}

impl PageReader for Pages<'_, '_> {
    fn begin(&mut self, rows_known: u64) -> Result<(), ReadError> {
        if rows_known == 0 {
            self.file = None;
            self.maker.begin_page(self.run.state.pages, self.rows_per_page);
        }
        (self.known, self.seen) = (rows_known, 0);
        self.csv = csv_of(&self.columns, self.rows_before);
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.read(|csv, sink| csv.feed(bytes, sink))
    }

    fn pass_on(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        if !self.maker.has_part() {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(async { self.put().await.map_err(|error| ReadError::Handover(Box::new(error))) })
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        self.read(CsvRows::end_page)?;
        Ok(self.seen)
    }

    fn rows_known(&self) -> u64 {
        self.known
    }
}

/// What the org says of the job that is read. Somebody else's that is gone is not replaced behind their back.
fn of_job(run: &Run<'_>, error: BulkError) -> ExtractError {
    if run.state.is_adopted && error.calls_for_a_new_job() {
        let job = run.state.job_id().unwrap_or_default();
        return other_job(run, job, error.to_string());
    }
    ExtractError::of_bulk(&run.ask.plan.object, error)
}

fn other_job(run: &Run<'_>, job: &str, why: String) -> ExtractError {
    ExtractError::OtherJob { job: job.to_owned(), object: run.ask.plan.object.clone(), why }
}

fn org(run: &Run<'_>, error: OrgError) -> ExtractError {
    ExtractError::of_org(&run.ask.plan.object, error)
}
