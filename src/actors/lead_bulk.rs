//! Reads leads by one Bulk query of all leads of the org, where the list is so long that this is cheaper.
//!
//! Promises: one job at the org for one lead job, however often the process dies: where it stands is noted in the job's
//! store, behind a page only when what it held is written. A page is read as it comes and joined with the job's ids in
//! parts, which go on the line one after the other: memory holds a few parts, however long a page is. Only open leads go on
//! it, so a page that is read again changes nothing.

use std::sync::{Arc, Mutex, PoisonError};

use super::engine::JobEntry;
use super::lead_job::{LANE, LeadJobError, LeadJobs};
use super::lead_run::LeadRun;
use super::rate_limiter::counted;
use crate::clock::BoxFuture;
use crate::leads::{Lead, LeadOutcome, LeadResult, Ordinal, Presence};
use crate::messages::{AssessAsk, ItemId, JobId};
use crate::salesforce::rows::Row;
use crate::salesforce::{
    BulkCheckpoint, BulkColumns, BulkError, BulkOptions, BulkQuery, LeadColumns, OrgClient, PageReader,
    ReadError, RowReader,
};

/// Leads that are joined and put on the line together.
const PART: usize = 2_000;
/// Leads on the line at once.
const ON_LINE: u64 = 8_000;
/// Leads whose outcomes are written in one go where the line has no part in it.
const WRITE_TOGETHER: usize = 2_000;
/// Times that a query is begun anew before the job goes on by ids.
const TRIES: u32 = 3;
/// Note in the job's store: where the query stands.
const BULK_NOTE: &str = "bulk";

/// Leads of a page that have been read and not put on the line yet.
type Pending = Arc<Mutex<Vec<Lead>>>;

fn options() -> BulkOptions {
    BulkOptions {
        rows_per_page: crate::leads::plan::BULK_PAGE_ROWS as u32,
        pages_at_once: 1,
        ..BulkOptions::default()
    }
}

impl LeadJobs {
    /// Reads by a bulk query. When the org has none for us the leads stay open, to be read by their ids.
    pub(super) async fn read_by_bulk(
        &self,
        run: &Arc<LeadRun>,
        client: &OrgClient,
        columns: &LeadColumns,
    ) -> Result<(), LeadJobError> {
        let columns = columns.bulk(&run.settings.fields)?;
        for _ in 0..TRIES {
            let mut query = match self.call(run, || begin(client, run, &columns)).await {
                Ok(query) => query,
                Err(error) if error.calls_for_a_new_job() => continue,
                Err(error @ (BulkError::Refused { .. } | BulkError::Failed { .. })) => {
                    tracing::warn!(job = run.spec.job, %error, "the leads are read by their ids instead");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let is_whole = query.checkpoint().rows_done == 0;
            match self.read_pages(run, &mut query, &columns).await {
                Ok(()) => {}
                Err(LeadJobError::Bulk(error)) if error.calls_for_a_new_job() => {
                    keep(run, None).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = counted(Arc::clone(&run.calls), query.delete()).await {
                tracing::warn!(job = run.spec.job, %error, "a bulk job was left at the org");
            }
            keep(run, None).await;
            if is_whole {
                self.keep_what_bulk_has_not(run).await?;
            }
            // Of one that went on in the middle: a lead that a retry has opened again may stand before that. Its id is read.
            return Ok(());
        }
        Ok(())
    }

    async fn read_pages(
        &self,
        run: &Arc<LeadRun>,
        query: &mut BulkQuery,
        columns: &BulkColumns,
    ) -> Result<(), LeadJobError> {
        let entry = self.parts.engine.job(&JobId::new(&run.spec.job));
        let mut tries = 0;
        loop {
            let pending = Pending::default();
            let into = Arc::clone(&pending);
            let mut taker = |row: &Row<'_>| {
                if let Some(lead) = columns.lead(row) {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(lead);
                }
                Ok(())
            };
            let rows_done = query.checkpoint().rows_done;
            let parts = Parts { jobs: self, run, entry: &entry, pending: &pending };
            let mut reader = LeadPages {
                rows: RowReader::new(columns.columns().clone(), rows_done, &mut taker),
                parts: &parts,
            };
            let page = counted(Arc::clone(&run.calls), query.next_page(&mut reader)).await;
            drop(reader);
            if page.is_err() {
                // Whoever reads it again asks which leads are open: those on the line must have their outcome.
                entry.ran_dry().await;
                run.line_is_dry();
            }
            let is_last = match page {
                Ok(page) => page.is_none(),
                Err(error) if error.is_transient() && tries < TRIES => {
                    tries += 1;
                    tracing::warn!(job = run.spec.job, %error, "a page of the bulk query is read again");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            parts.put(0).await?;
            entry.ran_dry().await;
            run.line_is_dry();
            self.keep_what_was_given_up(run).await?;
            keep(run, Some(query.checkpoint())).await;
            if is_last || query.checkpoint().is_complete {
                return Ok(());
            }
            tries = 0;
        }
    }

    /// The query was of all leads, deleted ones included: one that it has not is not to be seen by us.
    async fn keep_what_bulk_has_not(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        let mut from: Ordinal = 0;
        loop {
            let leads = run.store.open_leads(from, WRITE_TOGETHER).await?;
            let Some((last, _)) = leads.last() else { return Ok(()) };
            from = last.saturating_add(1);
            let results = leads.into_iter().map(|(ordinal, id)| {
                let lead = Lead::without_values(id, Presence::NotVisible);
                LeadResult { ordinal, lead, outcome: LeadOutcome::NoRecord }
            });
            let results: Vec<LeadResult> = results.collect();
            self.patiently(run, || async { Ok(run.store.write(results.clone()).await?) }).await?;
        }
    }
}

/// Puts what was read of a page on the line.
struct Parts<'p> {
    jobs: &'p LeadJobs,
    run: &'p Arc<LeadRun>,
    entry: &'p Arc<JobEntry>,
    pending: &'p Pending,
}

impl Parts<'_> {
    /// Puts everything that waits and is open, once it is `least` leads.
    async fn put(&self, least: usize) -> Result<(), LeadJobError> {
        let leads = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.is_empty() || pending.len() < least {
                return Ok(());
            }
            std::mem::take(&mut *pending)
        };
        let ids = leads.iter().map(|lead| lead.id).collect();
        // One with an outcome is paid and counted; one with a question waits for its answer.
        let places = self.run.store.open_ordinals_of(ids).await?;
        let wanted = leads.into_iter().zip(places).filter_map(|(lead, place)| Some((place?, lead)));
        let wanted: Vec<(Ordinal, Lead)> = wanted.collect();
        let batch = if self.run.asker.is_some() { self.run.spec.assess_batch } else { PART };
        let mut rest = wanted.into_iter();
        loop {
            let leads: Vec<(Ordinal, Lead)> = rest.by_ref().take(batch.max(1)).collect();
            let Some((first, _)) = leads.first() else { return Ok(()) };
            let item = ItemId::new(&format!("bulk:{first}"));
            self.jobs.room(self.run, self.entry, ON_LINE).await;
            self.run.enter_line(leads.len());
            let ask = AssessAsk { leads, unread: Vec::new() };
            self.jobs.parts.engine.admit(&*self.jobs.parts.assessor, self.entry, item, LANE, ask).await?;
        }
    }
}

/// Reads the rows of a page, and lets the line take them between two pieces.
struct LeadPages<'r> {
    rows: RowReader<'r>,
    parts: &'r Parts<'r>,
}

impl PageReader for LeadPages<'_> {
    fn begin(&mut self, rows_known: u64) -> Result<(), ReadError> {
        self.rows.begin(rows_known)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.rows.feed(bytes)
    }

    fn pass_on(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async {
            let put = self.parts.put(PART).await;
            put.map_err(|error| ReadError::Handover(Box::new(error)))
        })
    }

    fn end(&mut self) -> Result<u64, ReadError> {
        self.rows.end()
    }

    fn rows_known(&self) -> u64 {
        self.rows.rows_known()
    }
}

/// Takes up the job's query, or makes one, and waits for the org to have run it.
async fn begin(client: &OrgClient, run: &LeadRun, columns: &BulkColumns) -> Result<BulkQuery, BulkError> {
    let noted = run.store.noted(BULK_NOTE).await.ok().flatten();
    let noted: Option<BulkCheckpoint> = noted.and_then(|text| serde_json::from_str(&text).ok());
    let mut query = match noted {
        Some(checkpoint) => client.resume_bulk_query(checkpoint, options()),
        None => {
            let soql = OrgClient::bulk_leads(columns)?;
            client.bulk_query(&soql, true, options()).await?
        }
    };
    keep(run, Some(query.checkpoint())).await;
    if let Err(error) = query.wait().await {
        if error.calls_for_a_new_job() {
            keep(run, None).await;
        }
        return Err(error);
    }
    Ok(query)
}

/// Notes where the query stands, or that there is none.
async fn keep(run: &LeadRun, checkpoint: Option<&BulkCheckpoint>) {
    let text = checkpoint.and_then(|checkpoint| serde_json::to_string(checkpoint).ok()).unwrap_or_default();
    if let Err(error) = run.store.note(BULK_NOTE, &text).await {
        // The pages since the last note are read again, which changes nothing.
        tracing::warn!(job = run.spec.job, %error, "where the bulk query stands was not kept");
    }
}
