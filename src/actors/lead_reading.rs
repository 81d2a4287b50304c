//! How a lead job reads its leads: what it puts on the line, how much at once, and what it makes of what was given up.
//!
//! Promises: every lead that is open when reading begins has an outcome when it ends, or the job has failed and says so. On
//! the line are never more leads than a few batches, however long the list is. Leads without a record are looked up
//! together, however few of them a batch had.

use std::sync::Arc;

use super::engine::{DeadLetter, JobEntry};
use super::lead_bulk;
use super::lead_job::{LANE, LeadJobError, LeadJobs};
use super::lead_run::{LeadRun, unread_result};
use super::rate_limiter::counted;
use crate::leads::{Lead, LeadId, LeadOutcome, LeadResult, Ordinal, Presence};
use crate::messages::{AssessAsk, FetchAsk, ItemId, JobId, LeadAsk, LeadRead, LeadResults, UnreadLead, WriteBatch};
use crate::salesforce::{BulkError, IDS_PER_LOOKUP, LeadColumns, OrgClient};

/// Leads on the line at once, where batches are small.
const ON_LINE: u64 = 8_000;
/// Batches on the line at once, where they are large.
const BATCHES_ON_LINE: u64 = 4;
/// Leads whose outcomes are written in one go where the line has no part in it.
const WRITE_TOGETHER: usize = 2_000;
/// Times that a bulk query is begun anew before the job goes on by ids.
const BULK_TRIES: u32 = 3;
/// Note in a job's store: how its leads are read, and why.
pub(super) const RETRIEVAL_NOTE: &str = "retrieval";

impl LeadJobs {
    /// Reads every open lead and has it assessed and written.
    pub(super) async fn read_and_assess(
        &self,
        run: &Arc<LeadRun>,
        client: &OrgClient,
    ) -> Result<(), LeadJobError> {
        let open = run.store.counts().await?.open;
        if open == 0 {
            return Ok(());
        }
        let columns = self.call(run, || client.lead_columns(&run.settings.fields)).await?;
        for field in columns.left_out() {
            tracing::debug!(job = run.spec.job, field = field.key(), "the org has no such field");
        }
        let columns = run.set_columns(columns);
        if self.by_bulk(run, client, open).await? {
            self.read_by_bulk(run, client, &columns).await?;
        }
        self.read_by_ids(run).await
    }

    async fn read_by_ids(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        let entry = self.parts.engine.job(&JobId::new(&run.spec.job));
        let batch = run.spec.read_batch.clamp(1, IDS_PER_READ);
        let most = ON_LINE.max(BATCHES_ON_LINE * batch as u64);
        let mut from: Ordinal = 0;
        loop {
            let leads = run.store.open_leads(from, batch).await?;
            let Some((last, _)) = leads.last() else { break };
            from = last.saturating_add(1);
            self.room(run, &entry, most).await;
            self.put(run, &entry, LeadRead::Records, leads).await?;
            while let Some(absent) = run.take_absent(IDS_PER_LOOKUP, false) {
                self.put(run, &entry, LeadRead::Absent, absent).await?;
            }
            if !run.settings.read_pause.is_zero() {
                self.parts.clock.sleep(run.settings.read_pause).await;
            }
        }
        loop {
            entry.ran_dry().await;
            run.line_is_dry();
            let Some(absent) = run.take_absent(IDS_PER_LOOKUP, true) else { break };
            self.put(run, &entry, LeadRead::Absent, absent).await?;
        }
        self.keep_what_was_given_up(run).await
    }

    /// Waits until there is room on the line. Leads that were given up leave it without a word: a dry line is an empty one.
    async fn room(&self, run: &LeadRun, entry: &JobEntry, most: u64) {
        tokio::select! {
            () = run.room(most) => {}
            () = entry.ran_dry() => run.line_is_dry(),
        }
    }

    async fn put(
        &self,
        run: &LeadRun,
        entry: &Arc<JobEntry>,
        read: LeadRead,
        leads: Vec<(Ordinal, LeadId)>,
    ) -> Result<(), LeadJobError> {
        let first = leads.first().map_or(0, |(ordinal, _)| *ordinal);
        let item = match read {
            LeadRead::Records => format!("read:{first}"),
            LeadRead::Absent => format!("absent:{first}"),
            LeadRead::BulkPage => "page".to_owned(),
        };
        run.enter_line(leads.len());
        let ask = FetchAsk::Leads(LeadAsk { org: run.spec.org.clone(), read, leads });
        Ok(self.parts.engine.admit(&*self.parts.fetcher, entry, ItemId::new(&item), LANE, ask).await?)
    }

    /// Whether one bulk query is cheaper than reading by ids; settled once a job, and noted with the reason.
    async fn by_bulk(&self, run: &Arc<LeadRun>, client: &OrgClient, open: u64) -> Result<bool, LeadJobError> {
        use super::lead_forecast::{Retrieval, plan_retrieval};
        if let Some(noted) = run.store.noted(RETRIEVAL_NOTE).await? {
            return Ok(noted.starts_with("bulk"));
        }
        // How many leads the org has only matters to a list that is long.
        let in_org = match open > 2 * IDS_PER_READ as u64 {
            true => counted(Arc::clone(&run.calls), client.lead_count()).await.unwrap_or(None),
            false => None,
        };
        let plan = plan_retrieval(open, run.spec.read_batch as u64, in_org);
        let (way, is_bulk) = match plan.retrieval {
            Retrieval::Collections => ("collections", false),
            Retrieval::Bulk => ("bulk", true),
        };
        tracing::info!(job = run.spec.job, way, why = plan.why, "how the leads are read");
        let note = format!("{way}: {}", plan.why);
        self.patiently(run, || async { Ok(run.store.note(RETRIEVAL_NOTE, &note).await?) }).await?;
        Ok(is_bulk)
    }

    /// Reads by a bulk query. What it does not find stays open, and is read by its id.
    async fn read_by_bulk(
        &self,
        run: &Arc<LeadRun>,
        client: &OrgClient,
        columns: &LeadColumns,
    ) -> Result<(), LeadJobError> {
        let entry = self.parts.engine.job(&JobId::new(&run.spec.job));
        for attempt in 1..=BULK_TRIES {
            match self.call(run, || lead_bulk::begin(client, run, columns)).await {
                Ok(()) => {}
                Err(error) if error.calls_for_a_new_job() && attempt < BULK_TRIES => continue,
                Err(error @ (BulkError::Refused { .. } | BulkError::Failed { .. })) => {
                    tracing::warn!(job = run.spec.job, %error, "the leads are read by their ids instead");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            while run.bulk.lock().await.is_some() {
                self.put(run, &entry, LeadRead::BulkPage, Vec::new()).await?;
                entry.ran_dry().await;
                run.line_is_dry();
                self.keep_what_was_given_up(run).await?;
                if lead_bulk::settle(run).await {
                    lead_bulk::end(run).await;
                    return self.keep_what_bulk_has_not(run).await;
                }
            }
        }
        Ok(())
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

    /// Items that the line gave up, with the leads in them: kept as not read, so that the job ends and a retry tries them again.
    async fn keep_what_was_given_up(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        for letter in self.take_letters(&run.spec.job).await {
            let results = results_of(&letter);
            tracing::warn!(job = run.spec.job, leads = results.len(), why = letter.error, "leads were given up");
            self.patiently(run, || async { Ok(run.store.write(results.clone()).await?) }).await?;
        }
        Ok(())
    }

    /// Takes the job's dead letters away.
    pub(super) async fn take_letters(&self, job: &str) -> Vec<DeadLetter> {
        let mut letters = self.parts.engine.dead_letters();
        letters.retain(|letter| letter.header.job.as_str() == job);
        for letter in &letters {
            if let Err(why) = self.parts.engine.drop_dead_letter(letter.number).await {
                tracing::warn!(job, why, "a dead letter of a lead job stays");
            }
        }
        letters
    }
}

/// Ids of one collection read.
const IDS_PER_READ: usize = 2_000;

/// The leads of an item that was given up.
fn results_of(letter: &DeadLetter) -> Vec<LeadResult> {
    let unread = |ordinal, id| unread_result(&UnreadLead { ordinal, id, reason: letter.error.clone() });
    if let Ok(FetchAsk::Leads(ask)) = serde_json::from_value(letter.item.clone()) {
        return ask.leads.into_iter().map(|(ordinal, id)| unread(ordinal, id)).collect();
    }
    if let Ok(ask) = serde_json::from_value::<AssessAsk>(letter.item.clone()) {
        let read = ask.leads.into_iter().map(|(ordinal, lead)| unread(ordinal, lead.id));
        return read.chain(ask.unread.iter().map(unread_result)).collect();
    }
    // A batch that could not be written is written now.
    match serde_json::from_value(letter.item.clone()) {
        Ok(WriteBatch::Leads(LeadResults { results })) => results,
        _ => Vec::new(),
    }
}
