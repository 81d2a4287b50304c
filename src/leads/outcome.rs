//! What became of one lead: flags, scores, a model's verdict, or why there is none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lead::{Lead, Presence};
use super::settings::Money;

/// Place of a lead among the different leads of its job, in the order of their first rows; from 0.
pub type Ordinal = u32;

/// Two things that are wrong with a lead whatever a model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    /// Large according to the enrichment, which yet knows no company.
    pub not_in_tam: bool,
    /// A free mail address and no website, and yet the enrichment has found a large company.
    pub suspicious_enrichment: bool,
}

/// Scores from 0 to 100; `None` is a score that could not be had, which is not a 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Scores {
    /// How complete is what the lead gave.
    pub acquisition: Option<f64>,
    /// How complete is what the enrichment added.
    pub enrichment: Option<f64>,
    /// How believable a model finds it, after caps; without a model, how well the rules find it to fit together.
    pub coherence: Option<f64>,
    /// The weighted whole, with one decimal.
    pub confidence: Option<f64>,
}

/// What a model said of a lead, after what code enforces.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelAnswer {
    /// 0 to 100, after the caps.
    pub score: u8,
    /// As the model said it.
    pub score_said: u8,
    /// Three to five sentences.
    pub explanation: Vec<String>,
    /// Fields that hold something wrong, by their path in the org, with what they should hold.
    pub corrections: BTreeMap<String, serde_json::Value>,
    /// Fields that hold nothing, with what they probably hold.
    pub inferences: BTreeMap<String, serde_json::Value>,
    /// Why the score is not what the model said, and which proposals were dropped: sentences for a person.
    pub enforced: Vec<String>,
}

impl std::fmt::Debug for ModelAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelAnswer").field("score", &self.score).finish_non_exhaustive()
    }
}

/// What asking the model about one lead took, as the endpoint reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Tokens of the question.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// What they cost at the configured price; of an answer without usage, or lost on its way, as much as it may have cost
    /// at most. All that was paid for this lead in this job, also for answers of no use.
    pub cost: Money,
    /// Requests that were sent.
    pub requests: u32,
}

/// The model's part of an assessment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelVerdict {
    /// No model is configured, or none was wanted.
    NotAsked,
    /// It answered.
    Answered {
        /// What.
        answer: ModelAnswer,
        /// What it took; nothing when it was reused.
        spent: Spent,
        /// The answer was given before, for the same content, prompt and model.
        reused: bool,
    },
    /// It gave no usable answer; the lead is failed.
    Failed {
        /// Why, for a person.
        reason: String,
        /// What it took.
        spent: Spent,
    },
}

/// The assessment of a lead that has a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Flags.
    pub flags: Flags,
    /// Scores.
    pub scores: Scores,
    /// The model's part.
    pub model: ModelVerdict,
    /// What the rules have to say, in sentences; the explanation where no model was asked.
    pub findings: Vec<String>,
}

/// What became of a lead. Every lead of a job gets exactly one.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all leads are assessed: a box would be one allocation a lead"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadOutcome {
    /// It has a record and was assessed, by rules and perhaps by a model that may have failed.
    Assessed(Assessment),
    /// The org has no record of it for us; see the lead's presence.
    NoRecord,
    /// It could not be read: the org did not answer, or refused. Never counted as an invalid id.
    Unread {
        /// Why, for a person.
        reason: String,
    },
}

/// One lead of a job and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadResult {
    /// Its place in the job.
    pub ordinal: Ordinal,
    /// What the org has of it.
    pub lead: Lead,
    /// What became of it.
    pub outcome: LeadOutcome,
}

impl LeadResult {
    /// The word for it in reports: the seed's where it had one.
    pub fn status(&self) -> &'static str {
        match &self.outcome {
            LeadOutcome::Assessed(assessment) => match assessment.model {
                ModelVerdict::NotAsked | ModelVerdict::Answered { .. } => "Analyzed",
                ModelVerdict::Failed { .. } => "AI Assessment Failed",
            },
            LeadOutcome::NoRecord => match self.lead.presence {
                Presence::Merged { .. } => "Merged Lead",
                Presence::Deleted => "Deleted Lead",
                Presence::Found | Presence::Converted | Presence::NotVisible => "Lead Not Visible",
            },
            LeadOutcome::Unread { .. } => "Not Analyzed",
        }
    }

    /// Why trying again may bring more; `None` when it may not.
    pub fn why_failed(&self) -> Option<&str> {
        match &self.outcome {
            LeadOutcome::Assessed(Assessment { model: ModelVerdict::Failed { reason, .. }, .. })
            | LeadOutcome::Unread { reason } => Some(reason),
            LeadOutcome::Assessed(_) | LeadOutcome::NoRecord => None,
        }
    }

    /// Whether trying again may bring more: it could not be read, or the model gave no usable answer.
    pub fn is_failed(&self) -> bool {
        match &self.outcome {
            LeadOutcome::Assessed(assessment) => matches!(assessment.model, ModelVerdict::Failed { .. }),
            LeadOutcome::NoRecord => false,
            LeadOutcome::Unread { .. } => true,
        }
    }
}
