//! What the fetcher reads of leads: records by their ids, what became of those without one.
//!
//! Promises: an org that fails makes no lead invalid. A batch that cannot be read is tried again; when its attempts are used
//! up its leads go on as *not read*, each with the reason. Of a batch that the org refuses only the culprit does.

use std::sync::Arc;

use super::{Fetcher, chain, may_pass, stage_error};
use crate::actors::engine::{Output, StageCx, StageError};
use crate::actors::lead_run::LeadRun;
use crate::actors::rate_limiter::{counted, on_behalf};
use crate::leads::{Lead, LeadId, Ordinal, Presence};
use crate::messages::{AssessAsk, Fetched, LeadAsk, LeadRead, UnreadLead};
use crate::salesforce::leads::lost_a_column;
use crate::salesforce::{OrgClient, OrgError, ReadLead};

/// Failed attempts after which a batch is given up. The engine's own bound is higher: a batch must not become a dead letter.
const LAST_ATTEMPT: u32 = 3;

type Read = Result<AssessAsk, OrgError>;

impl Fetcher {
    pub(super) async fn leads(
        &self,
        client: OrgClient,
        ask: &LeadAsk,
        cx: &StageCx,
    ) -> Result<Output<Fetched>, StageError> {
        let Some(run) = self.lead_runs.of(cx.header()) else {
            return Err(StageError::fatal("the job that these leads belonged to has ended; `retry` it"));
        };
        if run.trouble().is_some() {
            run.left_line(ask.leads.len());
            return Ok(Output::None);
        }
        let client = client.with_call_timeout(run.settings.call_timeout);
        let (of_call, leads) = (Arc::clone(&run), ask.leads.clone());
        let is_look_up = ask.read == LeadRead::Absent;
        let work = async move {
            if is_look_up {
                absent(&client, &of_call, &leads).await
            } else {
                records(&client, &of_call, &leads).await
            }
        };
        let work = counted(Arc::clone(&run.calls), work);
        let read = match cx.io(on_behalf(cx.suspender(), work)).await {
            Ok(read) => read,
            Err(_) if run.trouble().is_some() => {
                // They stay open.
                run.left_line(ask.leads.len());
                return Ok(Output::None);
            }
            Err(error) => given_up(&error, &ask.leads, cx)?,
        };
        Ok(to_assess(&run, read))
    }
}

/// What becomes of a batch that could not be read: tried again, or after its last attempt noted as not read.
fn given_up(error: &OrgError, leads: &[(Ordinal, LeadId)], cx: &StageCx) -> Result<AssessAsk, StageError> {
    let again = stage_error(error);
    let was_told_to_wait = matches!(again, StageError::Throttled { .. });
    if may_pass(error) && (was_told_to_wait || cx.header().attempt < LAST_ATTEMPT) {
        return Err(again);
    }
    let reason = chain(error);
    tracing::warn!(leads = leads.len(), reason, "leads could not be read");
    let unread = |&(ordinal, id): &(Ordinal, LeadId)| UnreadLead { ordinal, id, reason: reason.clone() };
    Ok(AssessAsk { leads: Vec::new(), unread: leads.iter().map(unread).collect() })
}

/// Whole as it was read; in the assessor's batches where a model is asked.
fn to_assess(run: &LeadRun, mut read: AssessAsk) -> Output<Fetched> {
    if read.leads.is_empty() && read.unread.is_empty() {
        return Output::None;
    }
    let batch = run.spec.assess_batch.max(1);
    if run.asker.is_none() || read.leads.len() <= batch {
        return Output::One(Fetched::Leads(read));
    }
    let mut parts = Vec::with_capacity(read.leads.len() / batch + 1);
    let mut unread = std::mem::take(&mut read.unread);
    let mut rest = read.leads.into_iter();
    loop {
        let leads: Vec<(Ordinal, Lead)> = rest.by_ref().take(batch).collect();
        if leads.is_empty() {
            return Output::Many(parts);
        }
        parts.push(Fetched::Leads(AssessAsk { leads, unread: std::mem::take(&mut unread) }));
    }
}

async fn records(client: &OrgClient, run: &LeadRun, leads: &[(Ordinal, LeadId)]) -> Read {
    let ids: Vec<LeadId> = leads.iter().map(|(_, id)| *id).collect();
    let mut columns = columns(client, run).await?;
    let mut read = client.read_leads(&columns, &run.parents, &ids).await;
    if read.as_ref().err().is_some_and(lost_a_column) {
        // Somebody has taken a field away since they were settled.
        let anew = settle(client, run).await?;
        if !anew.reads_as(&columns) {
            columns = anew;
            read = client.read_leads(&columns, &run.parents, &ids).await;
        }
    }
    let mut ask = AssessAsk { leads: Vec::with_capacity(leads.len()), unread: Vec::new() };
    let mut absent = Vec::new();
    for (&(ordinal, id), read) in leads.iter().zip(read?) {
        match read {
            ReadLead::Record(lead) => ask.leads.push((ordinal, lead)),
            ReadLead::NoRecord => absent.push((ordinal, id)),
            ReadLead::Refused(reason) => ask.unread.push(UnreadLead { ordinal, id, reason }),
        }
    }
    if !absent.is_empty() {
        run.note_absent(absent);
    }
    Ok(ask)
}

async fn absent(client: &OrgClient, run: &LeadRun, leads: &[(Ordinal, LeadId)]) -> Read {
    let ids: Vec<LeadId> = leads.iter().map(|(_, id)| *id).collect();
    let mut ask = AssessAsk { leads: Vec::with_capacity(leads.len()), unread: Vec::new() };
    let mut back: Vec<(Ordinal, LeadId)> = Vec::new();
    for (&(ordinal, id), presence) in leads.iter().zip(client.absent_leads(&ids).await?) {
        match presence {
            Presence::Found | Presence::Converted => back.push((ordinal, id)),
            gone => ask.leads.push((ordinal, Lead::without_values(id, gone))),
        }
    }
    if back.is_empty() {
        return Ok(ask);
    }
    // There after all: restored meanwhile, or read by a view that came late.
    let ids: Vec<LeadId> = back.iter().map(|(_, id)| *id).collect();
    let columns = columns(client, run).await?;
    for (&(ordinal, id), read) in back.iter().zip(client.read_leads(&columns, &run.parents, &ids).await?) {
        match read {
            ReadLead::Record(lead) => ask.leads.push((ordinal, lead)),
            // The org counts it and shows it to others.
            ReadLead::NoRecord => {
                ask.leads.push((ordinal, Lead::without_values(id, Presence::NotVisible)));
            }
            ReadLead::Refused(reason) => ask.unread.push(UnreadLead { ordinal, id, reason }),
        }
    }
    Ok(ask)
}

async fn columns(client: &OrgClient, run: &LeadRun) -> Result<Arc<crate::salesforce::LeadColumns>, OrgError> {
    match run.columns() {
        Some(columns) => Ok(columns),
        None => settle(client, run).await,
    }
}

/// Settles the columns anew. A field that a person named and that is gone fails the job, for it is missing for every lead.
async fn settle(client: &OrgClient, run: &LeadRun) -> Result<Arc<crate::salesforce::LeadColumns>, OrgError> {
    use crate::salesforce::LeadColumnsError;
    match client.lead_columns(&run.settings.fields).await {
        Ok(columns) => {
            let columns = run.set_columns(columns);
            if let Err(error) = run.keep_terms().await {
                // It is noted again before the report is made.
                tracing::warn!(job = run.spec.job, error = chain(&error), "what the org lacks was not noted");
            }
            Ok(columns)
        }
        Err(LeadColumnsError::Org(error)) => Err(error),
        Err(error @ LeadColumnsError::NoField { .. }) => {
            run.fail(error.to_string());
            Err(OrgError::Settings(error.to_string()))
        }
    }
}
