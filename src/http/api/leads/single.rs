//! One lead, read now.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::Call;
use super::envelope::{Refused, success};
use super::seed_view::{ai_status, analyzed, confidence_assessment, not_analyzed};
use crate::leads::LeadId;
use crate::leads::outcome::{Assessment, LeadOutcome, LeadResult, ModelVerdict};

/// `GET /lead/{id}`.
pub(super) async fn lead(call: Call) -> Result<HttpResponse, Refused> {
    let (result, assessment) = read(&call, false).await?;
    Ok(success("the lead as the org has it", Value::Object(analyzed(&result, &assessment))))
}

/// `GET /lead/{id}/confidence`.
pub(super) async fn confidence(call: Call) -> Result<HttpResponse, Refused> {
    let (result, assessment) = read(&call, true).await?;
    let (spent, reused) = match &assessment.model {
        ModelVerdict::NotAsked => (None, false),
        ModelVerdict::Answered { spent, reused, .. } => (Some(*spent), *reused),
        ModelVerdict::Failed { spent, .. } => (Some(*spent), false),
    };
    let model = call.service().settings().model.as_ref().map(|model| model.model.as_str());
    let data = json!({
        "lead_data": analyzed(&result, &assessment),
        "confidence_assessment": confidence_assessment(&assessment),
        "scores": assessment.scores,
        "processing_info": {
            "ai_assessment_status": ai_status(&assessment),
            "model": spent.and(model),
            "reused": reused,
            "prompt_tokens": spent.map(|spent| spent.prompt_tokens),
            "completion_tokens": spent.map(|spent| spent.completion_tokens),
            "cost": spent.map(|spent| spent.cost.units()),
        },
    });
    match &assessment.model {
        ModelVerdict::Failed { reason, .. } => {
            Err(Refused::no_answer(format!("the lead was read; the model gave no usable answer: {reason}"))
                .with_data(data))
        }
        ModelVerdict::Answered { .. } => Ok(success("the lead was assessed", data)),
        ModelVerdict::NotAsked => {
            Ok(success("no model is configured (`[leads.model]`): the scores are those of the rules", data))
        }
    }
}

/// The lead of the address. One without a record is not found, and the sentence says what became of it.
async fn read(call: &Call, assess: bool) -> Result<(LeadResult, Assessment), Refused> {
    let id = LeadId::read(call.part("id"))
        .map_err(|fault| Refused::wrong(format!("`id` in the address is no Lead id: {fault}")))?
        .id;
    let result = call.service().lead(id.as_str(), assess).await?;
    match &result.outcome {
        LeadOutcome::Assessed(assessment) => {
            let assessment = assessment.clone();
            Ok((result, assessment))
        }
        LeadOutcome::NoRecord => {
            let data = not_analyzed(&result).unwrap_or_default();
            let reason = data["reason"].as_str().unwrap_or_default();
            Err(Refused::not_found(format!("no lead `{id}`: {reason}")).with_data(data.clone()))
        }
        LeadOutcome::Unread { reason } => {
            Err(Refused::failed(format!("the lead could not be read: {reason}")))
        }
    }
}
