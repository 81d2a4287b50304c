//! What a row and a result add to the counts of a job, and what a result takes away again.

use crate::leads::{LeadCounts, LeadOutcome, LeadResult, ModelVerdict, Presence, Spent};

use super::rows::KeptRow;

/// Counts a row.
pub fn count_row(counts: &mut LeadCounts, row: &KeptRow) {
    counts.rows += 1;
    match row {
        KeptRow::Blank => counts.blank += 1,
        KeptRow::Invalid { .. } => counts.invalid += 1,
        KeptRow::Lead { repaired, .. } => {
            counts.leads += 1;
            counts.open += 1;
            counts.repaired += u64::from(*repaired);
        }
        KeptRow::Duplicate { repaired, .. } => {
            counts.duplicates += 1;
            counts.repaired += u64::from(*repaired);
        }
    }
}

/// Counts the outcome of a lead that was open; what was spent on it is counted apart.
pub fn count_outcome(counts: &mut LeadCounts, result: &LeadResult) {
    counts.open = counts.open.saturating_sub(1);
    change(counts, result, |count, by| *count += by);
}

/// Takes an outcome back: its lead is open again. What was spent on it stays spent.
pub fn uncount_outcome(counts: &mut LeadCounts, result: &LeadResult) {
    counts.open += 1;
    change(counts, result, |count, by| *count = count.saturating_sub(by));
}

/// Counts what was spent.
pub fn count_spent(counts: &mut LeadCounts, spent: &Spent) {
    counts.model_requests += u64::from(spent.requests);
    counts.prompt_tokens += spent.prompt_tokens;
    counts.completion_tokens += spent.completion_tokens;
    counts.cost += spent.cost;
}

/// What was spent on a lead.
pub fn spent_on(result: &LeadResult) -> Spent {
    match &result.outcome {
        LeadOutcome::Assessed(assessment) => match &assessment.model {
            ModelVerdict::Answered { spent, .. } | ModelVerdict::Failed { spent, .. } => *spent,
            ModelVerdict::NotAsked => Spent::default(),
        },
        LeadOutcome::NoRecord | LeadOutcome::Unread { .. } => Spent::default(),
    }
}

/// Adds to what a result says was spent; `false` when it has no place for it, because no model was asked.
pub fn add_spent(result: &mut LeadResult, earlier: &Spent) -> bool {
    let LeadOutcome::Assessed(assessment) = &mut result.outcome else { return false };
    match &mut assessment.model {
        ModelVerdict::Answered { spent, .. } | ModelVerdict::Failed { spent, .. } => {
            *spent = sum(spent, earlier);
            true
        }
        ModelVerdict::NotAsked => false,
    }
}

/// Both together.
pub fn sum(one: &Spent, other: &Spent) -> Spent {
    Spent {
        prompt_tokens: one.prompt_tokens.saturating_add(other.prompt_tokens),
        completion_tokens: one.completion_tokens.saturating_add(other.completion_tokens),
        cost: one.cost + other.cost,
        requests: one.requests.saturating_add(other.requests),
    }
}

fn change(counts: &mut LeadCounts, result: &LeadResult, change: impl Fn(&mut u64, u64)) {
    let assessment = match &result.outcome {
        LeadOutcome::Unread { .. } => return change(&mut counts.unread, 1),
        LeadOutcome::NoRecord => {
            change(&mut counts.no_record, 1);
            return match result.lead.presence {
                Presence::Merged { .. } => change(&mut counts.merged, 1),
                Presence::Deleted => change(&mut counts.deleted, 1),
                // No record, whatever its presence says.
                Presence::Found | Presence::Converted | Presence::NotVisible => {
                    change(&mut counts.not_visible, 1);
                }
            };
        }
        LeadOutcome::Assessed(assessment) => assessment,
    };
    let flags = assessment.flags;
    change(&mut counts.converted, u64::from(result.lead.presence == Presence::Converted));
    change(&mut counts.with_issues, u64::from(flags.not_in_tam || flags.suspicious_enrichment));
    change(&mut counts.not_in_tam, u64::from(flags.not_in_tam));
    change(&mut counts.suspicious_enrichment, u64::from(flags.suspicious_enrichment));
    match &assessment.model {
        // Averages leave it out.
        ModelVerdict::Failed { .. } => return change(&mut counts.failed, 1),
        ModelVerdict::NotAsked => {}
        ModelVerdict::Answered { answer, reused, .. } => {
            change(&mut counts.model_answered, 1);
            change(&mut counts.model_reused, u64::from(*reused));
            change(&mut counts.model_score_sum, u64::from(answer.score));
        }
    }
    change(&mut counts.assessed, 1);
    if let Some(confidence) = assessment.scores.confidence {
        change(&mut counts.with_confidence, 1);
        change(&mut counts.confidence_tenths, (confidence * 10.0).round() as u64);
    }
}
