//! The assessor: gives each lead its verdict, by the rules, and by what a model says where one is asked.
//!
//! Promises: a verdict is a function of the lead and the settings, so a batch that is run again gives the same. What a
//! model answered is durable before its lead goes on, and is never paid twice ([`super::lead_asker`]). Questions go under
//! the model's own limits, over all batches together. An endpoint that refuses its key fails the job and leaves the leads
//! open, for a retry to go on with. It keeps nothing.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::engine::{Output, Stage, StageCx, StageError};
use super::lead_asker::{AskedLead, LeadAsker, Unsettled};
use super::lead_budget::LeadBudget;
use super::lead_intake::kept;
use super::lead_run::{LeadRun, LeadRuns};
use crate::leads::settings::ModelMode;
use crate::leads::{
    FreeMail, Lead, LeadOutcome, LeadResult, LeadSettings, ModelVerdict, Ordinal, assess_by_rules,
    assess_with,
};
use crate::messages::{AssessAsk, LeadResults, WriteBatch};

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct Assessor {
    runs: LeadRuns,
}

impl Assessor {
    /// An assessor for the jobs in `runs`.
    pub fn new(runs: LeadRuns) -> Self {
        Self { runs }
    }
}

impl Stage for Assessor {
    type In = AssessAsk;
    type Out = WriteBatch;
    const NAME: &'static str = "assessor";

    async fn run(&self, ask: Arc<AssessAsk>, cx: &StageCx) -> Result<Output<WriteBatch>, StageError> {
        let Some(run) = self.runs.of(cx.header()) else {
            return Err(StageError::fatal("the job that these leads belonged to has ended; `retry` it"));
        };
        if run.trouble().is_some() {
            // They stay open.
            run.left_line(ask.leads.len() + ask.unread.len());
            return Ok(Output::None);
        }
        let verdicts = match run.asker.clone().filter(|asker| asker.model().mode == ModelMode::Direct) {
            None => vec![ModelVerdict::NotAsked; ask.leads.len()],
            Some(asker) => {
                let (of_run, of_ask) = (Arc::clone(&run), Arc::clone(&ask));
                // Every wait in there has an end of its own.
                let asking = cx.io(async move { verdicts(&asker, &of_run, &of_ask).await });
                match cx.waiting(asking).await {
                    Ok(verdicts) => verdicts,
                    Err(Unsettled::Store(error)) => return Err(kept(&error)),
                    Err(Unsettled::Stop(why)) => {
                        run.fail(why);
                        run.left_line(ask.leads.len() + ask.unread.len());
                        return Ok(Output::None);
                    }
                }
            }
        };
        let pause = run.settings.assess_pause;
        let results = cx.blocking(move || results(&run, &ask, verdicts)).await;
        if !pause.is_zero() {
            cx.waiting(cx.clock().sleep(pause)).await;
        }
        Ok(Output::One(WriteBatch::Leads(LeadResults { results })))
    }
}

/// What the model says of each lead that has a record. All of them are under way at once, as far as the gate lets them.
async fn verdicts(asker: &LeadAsker, run: &LeadRun, ask: &AssessAsk) -> Result<Vec<ModelVerdict>, Unsettled> {
    let mut verdicts = vec![ModelVerdict::NotAsked; ask.leads.len()];
    let job = run.spec.job.as_str();
    let with_record = ask.leads.iter().enumerate().filter(|(_, (_, lead))| lead.presence.has_record());
    let (places, asked): (Vec<usize>, Vec<AskedLead<'_>>) = with_record
        .map(|(place, (ordinal, lead))| (place, AskedLead { job, ordinal: *ordinal, lead }))
        .unzip();
    let known = asker.known(&asked).await.map_err(Unsettled::Store)?;
    let mut open = Vec::new();
    for ((place, asked), known) in places.into_iter().zip(asked).zip(known) {
        match known {
            Some(verdict) => verdicts[place] = verdict,
            None => open.push((place, asked)),
        }
    }
    let ask = async |place, asked| (place, asker.ask(asked, &run.budget).await);
    let mut answers: FuturesUnordered<_> = open.into_iter().map(|(place, asked)| ask(place, asked)).collect();
    // After a refusal those under way are still awaited: they may be paid for.
    let mut refused = None;
    while let Some((place, answer)) = answers.next().await {
        match answer {
            Ok(verdict) => verdicts[place] = verdict,
            Err(unsettled) => refused = Some(unsettled),
        }
    }
    refused.map_or(Ok(verdicts), Err)
}

fn results(run: &LeadRun, ask: &AssessAsk, verdicts: Vec<ModelVerdict>) -> Vec<LeadResult> {
    let assessed = ask.leads.iter().zip(verdicts).map(|((ordinal, lead), verdict)| {
        result(*ordinal, lead.clone(), verdict, &run.settings, &run.domains)
    });
    let unread = ask.unread.iter().map(|unread| super::lead_run::unread_result(unread));
    assessed.chain(unread).collect()
}

/// What becomes of a lead that was read.
pub(super) fn result(
    ordinal: Ordinal,
    lead: Lead,
    verdict: ModelVerdict,
    settings: &LeadSettings,
    domains: &FreeMail,
) -> LeadResult {
    let outcome = match (lead.presence.has_record(), verdict) {
        (false, _) => LeadOutcome::NoRecord,
        (true, ModelVerdict::NotAsked) => LeadOutcome::Assessed(assess_by_rules(&lead, settings, domains)),
        (true, verdict) => LeadOutcome::Assessed(assess_with(&lead, settings, domains, verdict)),
    };
    LeadResult { ordinal, lead, outcome }
}

/// Asks the model about one lead that belongs to no job.
///
/// # Errors
/// See [`Unsettled`].
pub(super) async fn verdict_of_one(asker: &LeadAsker, lead: &Lead) -> Result<ModelVerdict, Unsettled> {
    let asked = AskedLead { job: "single", ordinal: 0, lead };
    match asker.known(&[asked]).await.map_err(Unsettled::Store)?.pop().flatten() {
        Some(verdict) => Ok(verdict),
        None => asker.ask(asked, &LeadBudget::new(asker.model().max_cost, Default::default())).await,
    }
}
