//! Leads, counts and metrics in the words of the endpoints that were there before penstock. Pure.

use serde_json::{Map, Value, json};

use crate::leads::job::{LeadCounts, LeadJobSpec, LeadProgress};
use crate::leads::lead::Presence;
use crate::leads::outcome::{Assessment, LeadOutcome, LeadResult, ModelVerdict};
use crate::leads::{Lead, LeadField};

/// A field's name in answers: that of the org as the first of these systems knew it, `SegmentName__r.Name` flattened.
pub(super) fn key_of(field: LeadField) -> &'static str {
    match field {
        LeadField::SegmentName => "SegmentName",
        other => other.default_path(),
    }
}

/// A lead's values. Every field stands there, one without a value as null; employees are a number where they are one.
pub(super) fn record(lead: &Lead) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("Id".to_owned(), json!(lead.id));
    for field in LeadField::ALL {
        told.insert(key_of(field).to_owned(), value_of(lead, field));
    }
    told
}

fn value_of(lead: &Lead, field: LeadField) -> Value {
    let Some(text) = lead.get(field) else { return Value::Null };
    match text.parse::<i64>() {
        Ok(number) if field == LeadField::EnrichedEmployees => number.into(),
        _ => text.into(),
    }
}

/// A lead that has a record, with everything found out about it.
pub(super) fn analyzed(result: &LeadResult, assessment: &Assessment) -> Map<String, Value> {
    let mut told = record(&result.lead);
    told.insert("email_domain".to_owned(), json!(result.lead.email_domain()));
    told.insert("not_in_TAM".to_owned(), assessment.flags.not_in_tam.into());
    told.insert("suspicious_enrichment".to_owned(), assessment.flags.suspicious_enrichment.into());
    told.insert("confidence_assessment".to_owned(), confidence_assessment(assessment));
    told.insert("ai_assessment_status".to_owned(), ai_status(assessment).into());
    // What follows the older clients do not know.
    told.insert("scores".to_owned(), json!(assessment.scores));
    told.insert("findings".to_owned(), json!(assessment.findings));
    told.insert("status".to_owned(), result.status().into());
    told.insert("presence".to_owned(), result.lead.presence.as_str().into());
    told
}

/// What the model said; null when it gave no usable answer or was not asked.
pub(super) fn confidence_assessment(assessment: &Assessment) -> Value {
    match &assessment.model {
        ModelVerdict::Answered { answer, reused, .. } => json!({
            "confidence_score": answer.score,
            "explanation_bullets": answer.explanation,
            "corrections": answer.corrections,
            "inferences": answer.inferences,
            "score_said": answer.score_said,
            "enforced": answer.enforced,
            "reused": reused,
        }),
        ModelVerdict::NotAsked | ModelVerdict::Failed { .. } => Value::Null,
    }
}

/// `success`, or why there is none.
pub(super) fn ai_status(assessment: &Assessment) -> String {
    match &assessment.model {
        ModelVerdict::Answered { .. } => "success".to_owned(),
        ModelVerdict::Failed { reason, .. } => format!("failed: {reason}"),
        ModelVerdict::NotAsked => "not asked: the scores are those of the rules".to_owned(),
    }
}

/// A lead without a record, or one that could not be read; `None` for one that was analysed.
pub(super) fn not_analyzed(result: &LeadResult) -> Option<Value> {
    let reason = match (&result.outcome, result.lead.presence) {
        (LeadOutcome::Assessed(_), _) => return None,
        (LeadOutcome::Unread { reason }, _) => reason.clone(),
        (LeadOutcome::NoRecord, Presence::Merged { into }) => format!("merged into {into}"),
        (LeadOutcome::NoRecord, Presence::Deleted) => "deleted".to_owned(),
        (LeadOutcome::NoRecord, _) => "the org has no such lead, or does not show it to us".to_owned(),
    };
    Some(json!({
        "lead_id": result.lead.id,
        "status": result.status(),
        "presence": result.lead.presence.as_str(),
        "reason": reason,
    }))
}

/// Leads that have a record.
pub(super) fn leads_analyzed(counts: &LeadCounts) -> u64 {
    counts.assessed + counts.failed
}

/// Counts and times of a job.
pub(super) fn summary(spec: &LeadJobSpec, progress: &LeadProgress) -> Map<String, Value> {
    let counts = &progress.counts;
    let batches = Batches::of(spec, progress);
    let told = json!({
        "leads_analyzed": leads_analyzed(counts),
        "leads_with_issues": counts.with_issues,
        "not_in_tam_count": counts.not_in_tam,
        "suspicious_enrichment_count": counts.suspicious_enrichment,
        "issue_percentage": counts.issue_percentage(),
        "avg_confidence_score": counts.average_model_score(),
        "avg_final_confidence": counts.average_confidence(),
        "ai_assessments_successful": counts.model_answered,
        "ai_assessments_failed": counts.failed,
        "ai_assessments_reused": counts.model_reused,
        "leads_unread": counts.unread,
        "cost": counts.cost.units(),
        "processing_stats": {
            "total_batches": batches.total,
            "successful_batches": batches.total - batches.failed,
            "failed_batches": batches.failed,
            "batch_size": spec.read_batch,
            "ai_batch_size": spec.assess_batch,
            "total_processing_time": rounded(progress.elapsed_secs),
            "avg_batch_time": batches.average_secs,
            "leads_per_second": per_second(progress),
        },
    });
    object(told)
}

/// The four numbers of the batched endpoint.
pub(super) fn performance_metrics(spec: &LeadJobSpec, progress: &LeadProgress) -> Value {
    let batches = Batches::of(spec, progress);
    let good = batches.total - batches.failed;
    let rate = if batches.total == 0 { 100.0 } else { good as f64 * 100.0 / batches.total as f64 };
    json!({
        "total_processing_time": rounded(progress.elapsed_secs),
        "leads_per_second": per_second(progress),
        "avg_batch_time": batches.average_secs,
        "batch_success_rate": rounded(rate),
    })
}

/// Which ids were good.
pub(super) fn validation_summary(counts: &LeadCounts) -> Value {
    let bad = counts.invalid + counts.no_record;
    let written = counts.rows.saturating_sub(counts.blank);
    json!({
        "total_lead_ids": written,
        "valid_count": counts.leads.saturating_sub(counts.no_record),
        "invalid_count": bad,
        "format_invalid_count": counts.invalid,
        "sf_invalid_count": counts.no_record,
        "duplicate_count": counts.duplicates,
        "repaired_count": counts.repaired,
        "blank_count": counts.blank,
        "can_proceed": counts.leads > counts.no_record,
        "all_valid": bad == 0,
        "partial_validation": bad > 0 && counts.leads > counts.no_record,
    })
}

/// Reads of a job. A read fails as a whole or not at all, so the leads that were not read tell how many did.
struct Batches {
    total: u64,
    failed: u64,
    average_secs: f64,
}

impl Batches {
    fn of(spec: &LeadJobSpec, progress: &LeadProgress) -> Self {
        let size = spec.read_batch.max(1) as u64;
        let total = progress.counts.leads.div_ceil(size);
        let failed = progress.counts.unread.div_ceil(size).min(total);
        let average_secs = if total == 0 { 0.0 } else { rounded(progress.elapsed_secs / total as f64) };
        Self { total, failed, average_secs }
    }
}

fn per_second(progress: &LeadProgress) -> f64 {
    if progress.elapsed_secs > 0.0 {
        rounded(progress.counts.finished() as f64 / progress.elapsed_secs)
    } else {
        0.0
    }
}

/// To hundredths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
