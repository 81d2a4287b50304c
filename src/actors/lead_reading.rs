//! How a lead job reads its leads: what it puts on the line, how much at once, and what it makes of what was given up.
//!
//! Promises: every lead that is open when reading begins has an outcome when it ends, or the job has failed and says so. On
//! the line are never more leads than a few batches, however long the list is. Leads without a record are looked up
//! together, however few of them a batch had.

use std::sync::Arc;

use super::engine::{DeadLetter, JobEntry};
use super::lead_forecast::needs;
use super::lead_job::{LANE, LeadJobError, LeadJobs};
use super::lead_run::{LeadRun, unread_result};
use super::rate_limiter::counted;
use crate::leads::plan::Retrieval;
use crate::leads::{LeadId, LeadResult, Ordinal};
use crate::messages::{
    AssessAsk, FetchAsk, ItemId, JobId, LeadAsk, LeadRead, LeadResults, UnreadLead, WriteBatch,
};
use crate::salesforce::{IDS_PER_LOOKUP, OrgClient};

/// Leads on the line at once, where batches are small.
const ON_LINE: u64 = 8_000;
/// Batches on the line at once, where they are large.
const BATCHES_ON_LINE: u64 = 4;
/// Note in a job's store: how its leads are read, and why.
pub(super) const RETRIEVAL_NOTE: &str = "retrieval";

impl LeadJobs {
    /// Reads every open lead and has it assessed and written.
    pub(super) async fn read_and_assess(
        &self,
        run: &Arc<LeadRun>,
        client: &OrgClient,
    ) -> Result<(), LeadJobError> {
        // Leads that wait for a batch are open as well, and read.
        if run.store.open_leads(0, 1).await?.is_empty() {
            return Ok(());
        }
        let open = run.store.counts().await?.open;
        let columns = self.call(run, || client.lead_columns(&run.settings.fields)).await?;
        for field in columns.left_out() {
            tracing::debug!(job = run.spec.job, field = field.key(), "the org has no such field");
        }
        let columns = run.set_columns(columns);
        self.patiently(run, || async { Ok(run.keep_terms().await?) }).await?;
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
    pub(super) async fn room(&self, run: &LeadRun, entry: &JobEntry, most: u64) {
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
        };
        run.enter_line(leads.len());
        let ask = FetchAsk::Leads(LeadAsk { org: run.spec.org.clone(), read, leads });
        Ok(self.parts.engine.admit(&*self.parts.fetcher, entry, ItemId::new(&item), LANE, ask).await?)
    }

    /// Whether one bulk query is cheaper than reading by ids; settled once a job, and noted with the reason.
    async fn by_bulk(&self, run: &Arc<LeadRun>, client: &OrgClient, open: u64) -> Result<bool, LeadJobError> {
        if let Some(noted) = run.store.noted(RETRIEVAL_NOTE).await? {
            return Ok(noted.starts_with(Retrieval::Bulk.as_str()));
        }
        let mut needs = needs(open, &run.spec, &run.terms().settings, None);
        if needs.count_pays() {
            let count = counted(Arc::clone(&run.calls), client.lead_count()).await;
            needs.org_leads = count.unwrap_or_else(|error| {
                tracing::warn!(job = run.spec.job, %error, "the org does not say how many leads it has");
                None
            });
        }
        let plan = needs.plan();
        let way = plan.retrieval.as_str();
        tracing::info!(job = run.spec.job, way, why = plan.why, "how the leads are read");
        let note = format!("{way}: {}", plan.why);
        self.patiently(run, || async { Ok(run.store.note(RETRIEVAL_NOTE, &note).await?) }).await?;
        Ok(plan.retrieval == Retrieval::Bulk)
    }

    /// Items that the line gave up, with the leads in them: kept as not read, so that the job ends and a retry tries them again.
    pub(super) async fn keep_what_was_given_up(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        for letter in self.take_letters(&run.spec.job).await {
            let results = results_of(&letter);
            tracing::warn!(
                job = run.spec.job,
                leads = results.len(),
                why = letter.error,
                "leads were given up"
            );
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
