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
use super::lead_run::{LeadRun, LeadRuns, unread_result};
use super::lead_terms::LeadTerms;
use crate::leads::settings::ModelMode;
use crate::leads::{
    FreeMail, Lead, LeadOutcome, LeadResult, LeadSettings, ModelVerdict, Ordinal, Prompt, assess_by_rules,
    assess_with,
};
use crate::messages::{AssessAsk, LeadResults, WriteBatch};
use crate::store::lead_jobs::Question;

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
        // Taken once: what is asked is judged by the same.
        let terms = run.terms();
        let verdicts = match run.asker.clone() {
            None => vec![Some(ModelVerdict::NotAsked); ask.leads.len()],
            Some(asker) => {
                let (of_run, of_ask, terms) = (Arc::clone(&run), Arc::clone(&ask), Arc::clone(&terms));
                // Every wait in there has an end of its own.
                let asking = cx.io(async move { verdicts(&asker, &of_run, &terms, &of_ask).await });
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
        let waiting = verdicts.iter().filter(|verdict| verdict.is_none()).count();
        run.left_line(waiting);
        let pause = run.settings.assess_pause;
        let results = cx.blocking(move || results(&run, &terms.settings, &ask, verdicts)).await;
        if !pause.is_zero() {
            cx.waiting(cx.clock().sleep(pause)).await;
        }
        if results.is_empty() {
            return Ok(Output::None);
        }
        Ok(Output::One(WriteBatch::Leads(LeadResults { results })))
    }
}

/// What the model says of each lead that has a record; `None` for one whose question waits for a batch. All questions are
/// under way at once, as far as the gate lets them.
async fn verdicts(
    asker: &LeadAsker,
    run: &LeadRun,
    terms: &LeadTerms,
    ask: &AssessAsk,
) -> Result<Vec<Option<ModelVerdict>>, Unsettled> {
    let mut verdicts = vec![Some(ModelVerdict::NotAsked); ask.leads.len()];
    let Some(prompt) = &terms.prompt else { return Ok(verdicts) };
    let job = run.spec.job.as_str();
    let with_record = ask.leads.iter().enumerate().filter(|(_, (_, lead))| lead.presence.has_record());
    let (places, asked): (Vec<usize>, Vec<AskedLead<'_>>) = with_record
        .map(|(place, (ordinal, lead))| (place, AskedLead { job, ordinal: *ordinal, lead }))
        .unzip();
    let known = asker.known(prompt, &asked).await.map_err(Unsettled::Store)?;
    let mut open = Vec::new();
    for ((place, asked), known) in places.into_iter().zip(asked).zip(known) {
        match known {
            Some(verdict) => {
                if let ModelVerdict::Answered { spent, reused: false, .. } = &verdict {
                    run.budget.recall(asked.ordinal, spent.cost);
                }
                verdicts[place] = Some(verdict);
            }
            None => open.push((place, asked)),
        }
    }
    if asker.model().mode == ModelMode::Batch {
        let question = |(place, asked): &(usize, AskedLead<'_>)| {
            verdicts[*place] = None;
            let rules = ModelVerdict::NotAsked;
            let result = result(asked.ordinal, asked.lead.clone(), rules, &terms.settings, &run.domains);
            let request = LeadAsker::batch_line(prompt, asked.lead);
            Question { result, content: prompt.key(asked.lead), request }
        };
        let questions: Vec<Question> = open.iter().map(question).collect();
        run.store.put_questions(questions).await.map_err(Unsettled::Store)?;
        return Ok(verdicts);
    }
    let ask = async |place, asked| (place, asker.ask(prompt, asked, &run.budget).await);
    let mut answers: FuturesUnordered<_> = open.into_iter().map(|(place, asked)| ask(place, asked)).collect();
    // After a refusal those under way are still awaited: they may be paid for.
    let mut refused = None;
    while let Some((place, answer)) = answers.next().await {
        match answer {
            Ok(verdict) => verdicts[place] = Some(verdict),
            Err(unsettled) => refused = Some(unsettled),
        }
    }
    refused.map_or(Ok(verdicts), Err)
}

fn results(
    run: &LeadRun,
    settings: &LeadSettings,
    ask: &AssessAsk,
    verdicts: Vec<Option<ModelVerdict>>,
) -> Vec<LeadResult> {
    let assessed = ask.leads.iter().zip(verdicts).filter_map(|((ordinal, lead), verdict)| {
        Some(result(*ordinal, lead.clone(), verdict?, settings, &run.domains))
    });
    assessed.chain(ask.unread.iter().map(unread_result)).collect()
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
pub(super) async fn verdict_of_one(
    asker: &LeadAsker,
    prompt: &Prompt,
    lead: &Lead,
) -> Result<ModelVerdict, Unsettled> {
    let asked = AskedLead { job: "single", ordinal: 0, lead };
    match asker.known(prompt, &[asked]).await.map_err(Unsettled::Store)?.pop().flatten() {
        Some(verdict) => Ok(verdict),
        None => asker.ask(prompt, asked, &LeadBudget::new(asker.model().max_cost, Default::default())).await,
    }
}
