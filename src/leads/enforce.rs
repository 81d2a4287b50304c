//! What code makes of a model's answer: a score that keeps the rules, and proposals without those that are none.
//!
//! Promises: a score is lowered, never raised. Nothing disappears in silence: what was changed or dropped is said, with the
//! reason.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::RawAnswer;
use super::domains::{FreeMail, same_owner, website_host};
use super::field::LeadField;
use super::lead::Lead;
use super::limits::{Facts, is_blank};
use super::outcome::{Flags, ModelAnswer};
use super::prompt::BULLET_WORDS;
use super::reference;
use super::settings::LeadSettings;
use super::size::SizeRange;
use super::text::Folded;

/// More people than any company has.
pub(super) const EMPLOYEES_MAX: i64 = 5_000_000;

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
    let (corrections, inferences) = by_what_the_lead_has(lead, raw, &mut |_| {});
    let proposed = [corrections, inferences].into_iter().filter_map(|mut proposals| {
        let value = proposals.remove(&LeadField::EnrichedWebsite)?;
        let value = usable(lead, LeadField::EnrichedWebsite, value, domains).ok()?;
        Some(website_host(value.as_str()?)?.to_lowercase())
    });
    proposed.collect()
}

/// Lowers the score to what the rules allow and drops proposals that are none.
///
/// `websites` tells of a host whether it answers; ask for them by [`websites_to_check`] before.
pub fn enforce(
    lead: &Lead,
    flags: Flags,
    raw: RawAnswer,
    settings: &LeadSettings,
    domains: &FreeMail,
    websites: &dyn Fn(&str) -> WebsiteVerdict,
) -> ModelAnswer {
    let mut enforced = Vec::new();
    let (corrections, inferences) = by_what_the_lead_has(lead, &raw, &mut |note| enforced.push(note));
    let path = |field| settings.fields.path(field).map_or_else(|| field_name(field), ToString::to_string);
    let mut keep = |proposals: BTreeMap<LeadField, Value>, kind: &str, taken: &BTreeMap<String, Value>| {
        let mut kept = BTreeMap::new();
        for (field, value) in proposals {
            let path = path(field);
            let judged = usable(lead, field, value, domains).and_then(|value| {
                if taken.contains_key(&path) {
                    return Err(Dropped::Corrected);
                }
                let host =
                    value.as_str().filter(|_| field == LeadField::EnrichedWebsite).and_then(website_host);
                match host.map(|host| websites(&host.to_lowercase())) {
                    Some(WebsiteVerdict::Dead { why }) => Err(Dropped::Dead(why)),
                    Some(WebsiteVerdict::Answers | WebsiteVerdict::NotChecked) | None => Ok(value),
                }
            });
            match judged {
                Ok(value) => {
                    kept.insert(path, value);
                }
                Err(why) => enforced.push(format!("The {kind} of `{path}` was dropped: {}.", why.in_words())),
            }
        }
        kept
    };
    let corrections = keep(corrections, "correction", &BTreeMap::new());
    let inferences = keep(inferences, "inference", &corrections);

    let facts = Facts {
        corrections: u32::try_from(corrections.len()).unwrap_or(u32::MAX),
        ..Facts::of(lead, flags, settings, domains)
    };
    let highest = facts.highest_score();
    if raw.score > highest {
        enforced.push(format!("The score is {highest} instead of {}: {}.", raw.score, facts.reason()));
    }
    if raw.score < 100 && !raw.bullets.iter().any(|bullet| bullet.contains(['\u{26a0}', '\u{274c}'])) {
        enforced.push(format!("The model gave {} without saying what is wrong.", raw.score));
    }
    ModelAnswer {
        score: raw.score.min(highest),
        score_said: raw.score,
        explanation: raw.bullets.into_iter().map(cut_to_words).collect(),
        corrections,
        inferences,
        enforced,
    }
}

fn field_name(field: LeadField) -> String {
    field.default_path().to_owned()
}

/// Corrections of what the lead has, inferences of what it has not. A model confuses them; what it calls a correction of
/// nothing is an inference, and what it infers of something that is there stays out.
fn by_what_the_lead_has(
    lead: &Lead,
    raw: &RawAnswer,
    note: &mut dyn FnMut(String),
) -> (BTreeMap<LeadField, Value>, BTreeMap<LeadField, Value>) {
    let mut corrections = BTreeMap::new();
    let mut inferences = BTreeMap::new();
    for (field, value) in &raw.corrections {
        let to = if is_blank(lead, *field) { &mut inferences } else { &mut corrections };
        to.insert(*field, value.clone());
    }
    for (field, value) in &raw.inferences {
        if is_blank(lead, *field) {
            inferences.entry(*field).or_insert_with(|| value.clone());
        } else if raw.corrections.get(field).is_some_and(|correction| correction != value) {
            note(format!("A second value for {} was dropped: it is corrected already.", field.header()));
        } else if !raw.corrections.contains_key(field) {
            note(format!(
                "An inference of {} was dropped: the lead has a value, and no correction was proposed.",
                field.header()
            ));
        } else {
            note(format!(
                "An inference of {} was dropped: it is the same as the correction.",
                field.header()
            ));
        }
    }
    (corrections, inferences)
}

/// Why a proposal is none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Dropped {
    FreeMail,
    NoWebsite,
    SameSite,
    SameCompany,
    SamePlace,
    SameNumber,
    NoNumber,
    Placeholder,
    Corrected,
    Dead(String),
}

impl Dropped {
    fn in_words(&self) -> String {
        let words = match self {
            Self::FreeMail => "it is the domain of a free mail or internet provider",
            Self::NoWebsite => "it is not the address of a website",
            Self::SameSite => "the lead has the same website already",
            Self::SameCompany => "the lead has the same company already",
            Self::SamePlace => "the lead has the same place already",
            Self::SameNumber => "the lead has the same number already",
            Self::NoNumber => "it is not a number of employees",
            Self::Placeholder => "it stands for nothing",
            Self::Corrected => "it is the same as the correction",
            Self::Dead(why) => return format!("the website does not answer ({why})"),
        };
        words.to_owned()
    }
}

/// A proposal as it may stand in the field, or why it may not.
fn usable(lead: &Lead, field: LeadField, value: Value, domains: &FreeMail) -> Result<Value, Dropped> {
    use LeadField as F;
    if field == F::EnrichedEmployees {
        return employees(lead, &value);
    }
    let text = value.as_str().unwrap_or_default().trim();
    if reference::is_no_company(text) {
        return Err(Dropped::Placeholder);
    }
    match field {
        F::EnrichedWebsite | F::Website => {
            let host = website_host(text).ok_or(Dropped::NoWebsite)?;
            if domains.contains(host) {
                return Err(Dropped::FreeMail);
            }
            let there = [F::EnrichedWebsite, F::Website].into_iter().filter_map(|field| lead.get(field));
            if there.filter_map(website_host).any(|its| same_owner(its, host)) {
                return Err(Dropped::SameSite);
            }
        }
        F::EnrichedCompany | F::Company => {
            let there = [F::EnrichedCompany, F::Company].into_iter().filter_map(|field| lead.get(field));
            let name = text.to_lowercase();
            if there.map(|its| its.trim().to_lowercase()).any(|its| its == name) {
                return Err(Dropped::SameCompany);
            }
        }
        F::EnrichedCountry | F::EnrichedState => {
            let is_same = |its: &str| {
                let code = |text| match field {
                    F::EnrichedCountry => reference::country(text),
                    _ => reference::state(text, None),
                };
                Folded::of(its).as_str() == Folded::of(text).as_str()
                    || code(its).is_some_and(|its| Some(its) == code(text))
            };
            if lead.get(field).is_some_and(is_same) {
                return Err(Dropped::SamePlace);
            }
        }
        _ => {}
    }
    Ok(Value::from(text))
}

/// A whole number: of a range its middle.
fn employees(lead: &Lead, value: &Value) -> Result<Value, Dropped> {
    let number = match value {
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().map(|number| number.round() as i64))
        }
        Value::String(text) => SizeRange::read(text).map(SizeRange::middle),
        _ => None,
    };
    let number = number.filter(|number| (1..=EMPLOYEES_MAX).contains(number)).ok_or(Dropped::NoNumber)?;
    if lead.employees() == number {
        return Err(Dropped::SameNumber);
    }
    Ok(Value::from(number))
}

fn cut_to_words(text: String) -> String {
    if text.split_whitespace().count() <= BULLET_WORDS {
        return text;
    }
    let mut cut = text.split_whitespace().take(BULLET_WORDS).collect::<Vec<_>>().join(" ");
    cut.push('\u{2026}');
    cut
}

#[cfg(test)]
#[path = "enforce_tests.rs"]
mod tests;
