//! Asks the model about leads.
//!
//! Promises: an answer that was paid for is durable before anybody goes on with it, and is not asked for again, whichever
//! job it was given to (*once*); two leads of the same content under way at once are asked about once. What is of no use is
//! asked again within bounds, and every request is counted. A lead without a usable answer has failed, and is not scored.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fetcher::chain;
use super::lead_budget::LeadBudget;
use super::model_gate::ModelGate;
use crate::ai::chat::{ChatAnswer, ChatClient, ChatError, NextStep, Usage, call_seen, request_line};
use crate::ai::website::WebsiteChecker;
use crate::leads::{
    AnswerFault, FreeMail, Lead, ModelAnswer, ModelSettings, ModelVerdict, Money, Ordinal, Prompt, Spent,
    WebsiteVerdict, cost, enforce, estimated_tokens, flags, read_answer, websites_to_check,
};
use crate::store::assessments::{AssessmentKey, AssessmentStore, StoredAssessment};
use crate::store::lead_jobs::LeadStoreError;
use crate::telemetry::Metrics;

/// First pause before a question is asked again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);

/// Why a question was not settled one way or the other: its lead stays open.
#[derive(Debug, Clone)]
pub enum Unsettled {
    /// No lead will be answered before a person changes something.
    Stop(String),
    /// The answer could not be kept.
    Store(LeadStoreError),
}

/// A lead in its job.
#[derive(Debug, Clone, Copy)]
pub struct AskedLead<'l> {
    /// The job.
    pub job: &'l str,
    /// Its place in it.
    pub ordinal: Ordinal,
    /// What the org has of it.
    pub lead: &'l Lead,
}

impl AskedLead<'_> {
    /// Who an answer was given to. A lead that finds its own answer after a crash has paid for it; its twin has not.
    fn owner(&self) -> String {
        format!("{}#{}", self.job, self.ordinal)
    }
}

/// See the module's promises. One for all jobs.
pub struct LeadAsker {
    model: ModelSettings,
    pub(super) client: ChatClient,
    pub(super) gate: ModelGate,
    domains: FreeMail,
    store: AssessmentStore,
    metrics: Metrics,
    /// Looks at websites that a model proposes, where a person has allowed it.
    websites: Option<WebsiteChecker>,
    under_way: Mutex<HashMap<AssessmentKey, Arc<tokio::sync::Mutex<()>>>>,
    /// What batches at the endpoint ask, by job. Whoever holds it may make a batch: no two jobs ask the same.
    pub(super) in_batches: tokio::sync::Mutex<HashMap<String, HashSet<[u8; 32]>>>,
    /// Some of them are over.
    pub(super) batch_over: tokio::sync::Notify,
}

impl std::fmt::Debug for LeadAsker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadAsker").field("model", &self.model.model).finish_non_exhaustive()
    }
}

impl LeadAsker {
    /// An asker of this model.
    pub fn new(
        model: ModelSettings,
        domains: FreeMail,
        client: ChatClient,
        gate: ModelGate,
        store: AssessmentStore,
        metrics: Metrics,
        websites: Option<WebsiteChecker>,
    ) -> Self {
        let (under_way, in_batches) = (Mutex::default(), tokio::sync::Mutex::default());
        let batch_over = tokio::sync::Notify::new();
        Self { model, client, gate, domains, store, metrics, websites, under_way, in_batches, batch_over }
    }

    /// A job's batches ask this now, and nothing else.
    pub(super) async fn asks_by_batch(&self, job: &str, contents: HashSet<[u8; 32]>) {
        let mut in_batches = self.in_batches.lock().await;
        if contents.is_empty() {
            in_batches.remove(job);
        } else {
            in_batches.insert(job.to_owned(), contents);
        }
        self.batch_over.notify_waiters();
    }

    /// How the model is asked.
    pub fn model(&self) -> &ModelSettings {
        &self.model
    }

    /// What is known of these leads already, in their order, where they are asked about so.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn known(
        &self,
        prompt: &Prompt,
        leads: &[AskedLead<'_>],
    ) -> Result<Vec<Option<ModelVerdict>>, LeadStoreError> {
        let keys = leads.iter().map(|asked| key(prompt, asked.lead)).collect();
        let stored = self.store.get(keys).await?;
        let mut known = Vec::with_capacity(leads.len());
        for (asked, stored) in leads.iter().zip(stored) {
            known.push(match stored {
                Some(stored) => self.recall(prompt, *asked, stored).await,
                None => None,
            });
        }
        Ok(known)
    }

    /// Asks about a lead that is not known, and about its twin once.
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub async fn ask(
        &self,
        prompt: &Prompt,
        asked: AskedLead<'_>,
        budget: &LeadBudget,
    ) -> Result<ModelVerdict, Unsettled> {
        let key = key(prompt, asked.lead);
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(key).or_default())
        };
        let alone = turn.lock().await;
        // A twin may have been answered while this one waited for its turn.
        let verdict = match self.known(prompt, &[asked]).await.map(|mut one| one.pop().flatten()) {
            Ok(Some(verdict)) => Ok(verdict),
            Ok(None) => self.ask_anew(prompt, asked, key, budget).await,
            Err(error) => Err(Unsettled::Store(error)),
        };
        drop(alone);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody waits for it any more.
        if Arc::strong_count(&turn) <= 2 {
            under_way.remove(&key);
        }
        verdict
    }

    /// The verdict by a stored answer; `None` when it cannot be read any more.
    async fn recall(
        &self,
        prompt: &Prompt,
        asked: AskedLead<'_>,
        stored: StoredAssessment,
    ) -> Option<ModelVerdict> {
        let answer = self.judge(prompt, asked.lead, &stored.answer).await.ok()?;
        let is_own = stored.job == asked.owner();
        if !is_own {
            self.metrics.model_reused_total.inc();
        }
        let spent = if is_own { stored.spent } else { Spent::default() };
        Some(ModelVerdict::Answered { answer, spent, reused: !is_own })
    }

    async fn ask_anew(
        &self,
        prompt: &Prompt,
        asked: AskedLead<'_>,
        key: AssessmentKey,
        budget: &LeadBudget,
    ) -> Result<ModelVerdict, Unsettled> {
        let body = prompt.request(asked.lead);
        let tokens = estimated_tokens(&body);
        let dearest = self.dearest(tokens, false);
        let mut spent = Spent::default();
        let mut attempt = 1;
        loop {
            let Some(set_aside) = budget.set_aside(dearest).await else {
                return Ok(ModelVerdict::Failed { reason: budget.is_reached(), spent });
            };
            let asked_at = self.gate.clock().elapsed();
            let grant = self.gate.permit(tokens).await;
            // Whoever waited for their turn while the endpoint refused the key need not hear the same.
            if let Some(why) = budget.closed() {
                return Err(Unsettled::Stop(why));
            }
            let sent_at = self.gate.clock().elapsed();
            self.metrics
                .model_throttle_wait_seconds_total
                .inc_by(sent_at.saturating_sub(asked_at).as_secs_f64());
            let answer = self.client.complete(&body).await;
            let seen = call_seen(&answer);
            let took = self.gate.clock().elapsed().saturating_sub(sent_at);
            self.metrics.model_request_seconds.observe(took.as_secs_f64());
            self.count_outcome(answer.as_ref().err());
            let usage = match &answer {
                Ok(answer) => answer.usage,
                Err(error) => error.usage().unwrap_or_default(),
            };
            let is_sent = !matches!(&answer, Err(ChatError::Throttled { .. } | ChatError::QuotaSpent { .. }));
            let is_untold = match &answer {
                Ok(_) => usage.total() == 0,
                Err(error) => error.may_be_charged(),
            };
            let price = self.count(&mut spent, usage, is_sent, is_untold.then_some(dearest), false);
            set_aside.spend(price);
            let why = match answer {
                Ok(answer) => match self.judge(prompt, asked.lead, &answer.content).await {
                    Ok(judged) => {
                        let kept =
                            StoredAssessment { key, answer: answer.content, spent, job: asked.owner() };
                        budget.has_counted(asked.ordinal);
                        // Its place is free once the answer is safe: a kill costs no more answers than are under way.
                        self.keep(kept).await.map_err(Unsettled::Store)?;
                        grant.settle(&seen);
                        self.metrics.model_requests_total.with_label_values(&["ok"]).inc();
                        return Ok(ModelVerdict::Answered { answer: judged, spent, reused: false });
                    }
                    Err(fault) => {
                        grant.settle(&seen);
                        self.metrics.model_requests_total.with_label_values(&["unusable"]).inc();
                        fault.to_string()
                    }
                },
                Err(error) => {
                    if error.next_step() == NextStep::Stop {
                        // Before its place is free: the next in line looks for it.
                        budget.close(&chain(&error));
                    }
                    grant.settle(&seen);
                    match error.next_step() {
                        NextStep::Wait => continue,
                        NextStep::TryAgain => chain(&error),
                        NextStep::GiveUp => {
                            return Ok(ModelVerdict::Failed { reason: chain(&error), spent });
                        }
                        NextStep::Stop => return Err(Unsettled::Stop(chain(&error))),
                    }
                }
            };
            if attempt >= self.model.attempts.get() {
                return Ok(ModelVerdict::Failed { reason: why, spent });
            }
            self.gate.clock().sleep(FIRST_PAUSE * (1 << attempt.min(6))).await;
            attempt += 1;
        }
    }

    /// Keeps an answer that is paid for. While the disk has no room it waits: asking again would be paying again.
    async fn keep(&self, answer: StoredAssessment) -> Result<(), LeadStoreError> {
        loop {
            match self.store.put(vec![answer.clone()]).await {
                Err(error) if error.is_disk_full() => {
                    tracing::error!(
                        error = chain(&error),
                        "an answer of the model waits until there is room"
                    );
                    self.gate.clock().sleep(WHILE_DISK_IS_FULL).await;
                }
                kept => return kept,
            }
        }
    }

    /// The line of a batch's file that asks about a lead.
    pub(super) fn batch_line(prompt: &Prompt, lead: &Lead) -> String {
        request_line(lead.id.as_str(), &prompt.request(lead))
    }

    /// What an answer that came by a batch comes to; kept before anybody goes on with it.
    ///
    /// # Errors
    /// When it could not be kept.
    pub(super) async fn settle_batch_answer(
        &self,
        prompt: &Prompt,
        asked: AskedLead<'_>,
        answer: Result<ChatAnswer, ChatError>,
    ) -> Result<ModelVerdict, LeadStoreError> {
        let mut spent = Spent::default();
        let usage = match &answer {
            Ok(answer) => answer.usage,
            Err(error) => error.usage().unwrap_or_default(),
        };
        let is_untold = match &answer {
            Ok(_) => usage.total() == 0,
            Err(error) => error.may_be_charged(),
        };
        let dearest = is_untold.then(|| self.dearest(estimated_tokens(&prompt.request(asked.lead)), true));
        self.count(&mut spent, usage, true, dearest, true);
        let answer = match answer {
            Ok(answer) => answer,
            // Said of one line, whatever it says: the batch itself was let in with the same key and model.
            Err(error) => return Ok(ModelVerdict::Failed { reason: chain(&error), spent }),
        };
        match self.judge(prompt, asked.lead, &answer.content).await {
            Ok(judged) => {
                let key = key(prompt, asked.lead);
                let kept = StoredAssessment { key, answer: answer.content, spent, job: asked.owner() };
                self.keep(kept).await?;
                Ok(ModelVerdict::Answered { answer: judged, spent, reused: false })
            }
            Err(fault) => Ok(ModelVerdict::Failed { reason: fault.to_string(), spent }),
        }
    }

    /// The highest price of a question of so many tokens, its longest answer included.
    fn dearest(&self, tokens: u64, in_batch: bool) -> Money {
        let answer_tokens = u64::from(self.model.max_completion_tokens);
        cost(&self.model.price, tokens.saturating_sub(answer_tokens), answer_tokens, in_batch)
    }

    /// Counts a request; gives what it cost: by its usage, or as much as it may have cost `at_most` where nobody told that.
    fn count(
        &self,
        spent: &mut Spent,
        usage: Usage,
        is_sent: bool,
        at_most: Option<Money>,
        in_batch: bool,
    ) -> Money {
        let told = cost(&self.model.price, usage.prompt_tokens, usage.completion_tokens, in_batch);
        let price = at_most.unwrap_or(told);
        spent.prompt_tokens += usage.prompt_tokens;
        spent.completion_tokens += usage.completion_tokens;
        spent.cost += price;
        spent.requests += u32::from(is_sent);
        for (kind, tokens) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)] {
            self.metrics.model_tokens_total.with_label_values(&[kind]).inc_by(tokens);
        }
        self.metrics.model_cost_total.inc_by(price.units());
        price
    }

    /// Counts how a request ended; what an answer is worth is only known once it is read.
    fn count_outcome(&self, error: Option<&ChatError>) {
        let outcome = match error {
            None => return,
            Some(ChatError::Throttled { .. } | ChatError::QuotaSpent { .. }) => "throttled",
            Some(ChatError::BadAnswer { .. }) => "unusable",
            Some(ChatError::Failing { .. }) => "failed",
            Some(ChatError::Timeout { .. } | ChatError::Network { .. }) => "network",
            Some(_) => "refused",
        };
        self.metrics.model_requests_total.with_label_values(&[outcome]).inc();
    }

    /// What an answer comes to.
    ///
    /// # Errors
    /// When it is of no use.
    pub async fn judge(
        &self,
        prompt: &Prompt,
        lead: &Lead,
        content: &str,
    ) -> Result<ModelAnswer, AnswerFault> {
        let settings = prompt.settings();
        let raw = read_answer(content, &settings.fields)?;
        let flags = flags(lead, settings, &self.domains);
        let looked_at = self.look_at_websites(websites_to_check(lead, &raw, &self.domains)).await;
        let websites = |host: &str| looked_at.get(host).cloned().unwrap_or(WebsiteVerdict::NotChecked);
        Ok(enforce(lead, flags, raw, settings, &self.domains, &websites))
    }

    async fn look_at_websites(&self, hosts: Vec<String>) -> HashMap<String, WebsiteVerdict> {
        let Some(checker) = &self.websites else { return HashMap::new() };
        let looks = hosts.into_iter().map(|host| async move {
            let verdict = checker.check(&host).await;
            (host, verdict)
        });
        futures_util::future::join_all(looks).await.into_iter().collect()
    }
}

fn key(prompt: &Prompt, lead: &Lead) -> AssessmentKey {
    AssessmentKey(prompt.key(lead))
}
