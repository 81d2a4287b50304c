//! Flags.

use super::domains::FreeMail;
use super::lead::Lead;
use super::outcome::{Flags, Scores};
use super::settings::LeadSettings;

/// The two flags of a lead.
pub fn flags(lead: &Lead, settings: &LeadSettings, domains: &FreeMail) -> Flags {
    let _ = (lead, settings, domains);
    Flags::default()
}

/// The scores that rules give, coherence included, and what they have to say.
pub fn rule_scores(
    lead: &Lead,
    flags: Flags,
    settings: &LeadSettings,
    domains: &FreeMail,
) -> (Scores, Vec<String>) {
    let _ = (lead, flags, settings, domains);
    (Scores::default(), Vec::new())
}
