//! What a lead job would take, before anything is spent.

use crate::http::api::lead_service::LeadForecast;
use crate::leads::{LeadCounts, LeadJobSpec, LeadSettings, Money, Prompt, cost};

/// The forecast of a job with these counts; `prompt` where a model is asked.
pub(super) fn of(
    counts: LeadCounts,
    spec: &LeadJobSpec,
    settings: &LeadSettings,
    prompt: Option<&Prompt>,
) -> LeadForecast {
    let plan = plan_retrieval(counts.leads, spec.read_batch as u64, None);
    let model = settings.model.as_ref().filter(|_| prompt.is_some());
    let (question, answer) = prompt.map(Prompt::usual_tokens).unwrap_or_default();
    let requests = if model.is_some() { counts.leads } else { 0 };
    let in_batch = model.is_some_and(|model| model.mode == crate::leads::settings::ModelMode::Batch);
    let cost = model.map_or(Money::default(), |model| {
        cost(&model.price, question * requests, answer * requests, in_batch)
    });
    let per_minute = model.and_then(|model| model.requests_per_minute);
    LeadForecast {
        rows: counts.rows,
        invalid: counts.invalid,
        duplicates: counts.duplicates,
        leads: counts.leads,
        retrieval: plan.retrieval.as_str(),
        why: plan.why,
        org_calls: plan.calls,
        model_requests: requests,
        model_tokens: (question + answer) * requests,
        cost,
        reused: 0,
        seconds: per_minute.map(|rate| requests as f64 * 60.0 / f64::from(rate.get())),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retrieval {
    Collections,
    Bulk,
}

impl Retrieval {
    fn as_str(self) -> &'static str {
        match self {
            Self::Collections => "collections",
            Self::Bulk => "bulk",
        }
    }
}

pub(super) struct RetrievalPlan {
    pub(super) retrieval: Retrieval,
    pub(super) why: String,
    pub(super) calls: u64,
}

pub(super) fn plan_retrieval(leads: u64, batch: u64, _in_org: Option<u64>) -> RetrievalPlan {
    let calls = leads.div_ceil(batch.clamp(1, 2_000)) + 2;
    RetrievalPlan { retrieval: Retrieval::Collections, why: format!("{leads} ids take {calls} calls"), calls }
}
