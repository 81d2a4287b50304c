//! The verdict on one lead: flags, scores and findings, with or without a model's answer.

use super::domains::FreeMail;
use super::lead::Lead;
use super::outcome::{Assessment, ModelVerdict, Scores};
use super::rules::{completeness, flags, rule_scores};
use super::settings::{LeadSettings, ScoreWeights};

/// Assesses a lead by the rules alone.
pub fn assess_by_rules(lead: &Lead, settings: &LeadSettings, domains: &FreeMail) -> Assessment {
    assess_with(lead, settings, domains, ModelVerdict::NotAsked)
}

/// Assesses a lead with what a model said of it, or did not.
///
/// The coherence is the model's score where it answered, that of the rules where it was not asked, and none where it failed:
/// such a lead has no confidence either, and averages leave it out.
pub fn assess_with(
    lead: &Lead,
    settings: &LeadSettings,
    domains: &FreeMail,
    model: ModelVerdict,
) -> Assessment {
    let flags = flags(lead, settings, domains);
    let (mut scores, findings) = match &model {
        ModelVerdict::NotAsked => rule_scores(lead, flags, settings, domains),
        // What the rules make of the coherence is not the verdict here, and would only contradict it.
        ModelVerdict::Answered { .. } | ModelVerdict::Failed { .. } => {
            completeness(lead, flags, settings, domains)
        }
    };
    if let ModelVerdict::Answered { answer, .. } = &model {
        scores.coherence = Some(f64::from(answer.score));
        scores.confidence = confidence(&scores, &settings.weights);
    }
    Assessment { flags, scores, model, findings }
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
