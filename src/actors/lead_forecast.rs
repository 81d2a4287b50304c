//! What a lead job would take, before anything is spent.

use crate::http::api::lead_service::LeadForecast;
use crate::leads::job::LeadSource;
use crate::leads::plan::{ModelWork, RetrievalNeeds, Speeds, forecast};
use crate::leads::settings::ModelMode;
use crate::leads::{LeadCounts, LeadField, LeadJobSpec, LeadSettings, Prompt};

/// What a job has to read; `org_leads` where the org was asked.
pub(super) fn needs(
    leads: u64,
    spec: &LeadJobSpec,
    settings: &LeadSettings,
    org_leads: Option<u64>,
) -> RetrievalNeeds {
    let mut relations: Vec<&str> =
        LeadField::ALL.iter().filter_map(|field| settings.fields.path(*field)?.relation()).collect();
    relations.sort_unstable();
    relations.dedup();
    RetrievalNeeds {
        leads,
        read_batch: spec.read_batch as u64,
        relations: relations.len() as u64,
        without_record: 0,
        org_leads,
    }
}

/// The forecast of a job with these counts; `prompt` where a model is asked. No call to the org is made for it.
pub(super) fn of(
    counts: LeadCounts,
    spec: &LeadJobSpec,
    settings: &LeadSettings,
    prompt: Option<&Prompt>,
) -> LeadForecast {
    let plan = needs(counts.leads, spec, settings, None).foretell();
    let model = settings.model.as_ref().zip(prompt);
    let work = model.map(|(model, prompt)| {
        let (prompt_tokens, completion_tokens) = prompt.usual_tokens();
        ModelWork {
            leads: counts.leads,
            prompt_tokens,
            completion_tokens,
            price: model.price,
            max_cost: spec.max_cost.or(model.max_cost),
            is_batch: model.mode == ModelMode::Batch,
        }
    });
    let speeds = model.map_or(Speeds::default(), |(model, _)| Speeds {
        model_requests_per_minute: model.requests_per_minute.map(|rate| u64::from(rate.get())),
        model_tokens_per_minute: model.tokens_per_minute.map(|rate| u64::from(rate.get())),
        ..Speeds::default()
    });
    let foretold = forecast(&plan, work.as_ref(), &speeds);
    let (sheet, id_column) = match &spec.source {
        LeadSource::Sheet { sheet, id_column, .. } => (sheet.clone(), Some(id_column.clone())),
        LeadSource::Query { .. } | LeadSource::Ids { .. } => (None, None),
    };
    LeadForecast {
        sheet,
        id_column,
        rows: counts.rows,
        invalid: counts.invalid,
        duplicates: counts.duplicates,
        leads: counts.leads,
        retrieval: plan.retrieval.as_str(),
        why: plan.why,
        org_calls: foretold.org_calls,
        model_requests: foretold.model_requests,
        model_tokens: foretold.model_tokens,
        cost: foretold.cost,
        reused: 0,
        seconds: foretold.seconds,
    }
}
