//! Flags and scores by rules: what can be said of a lead without asking anybody.
//!
//! Promises: a true 0 is a score. What an org has no field for is left out of a score, and what could not be judged at all
//! has none. Nothing is looked up outside and nothing depends on time, so the same lead always has the same verdict.

use super::assess::confidence;
use super::coherence;
use super::domains::{FreeMail, mail_domain, website_host};
use super::field::LeadField;
use super::lead::Lead;
use super::limits::{Facts, has_free_mail, is_blank, market_of};
use super::outcome::{Flags, Scores};
use super::phone::Phone;
use super::reference;
use super::settings::LeadSettings;
use super::size::{Segment, SizeRange};

/// Points of something that is there but in no reference list.
const UNLISTED: f64 = 75.0;

/// Fields that the completeness of what a lead gave is judged by.
pub(super) const ACQUISITION: [LeadField; 9] = [
    LeadField::FirstName,
    LeadField::LastName,
    LeadField::Email,
    LeadField::Phone,
    LeadField::State,
    LeadField::Country,
    LeadField::Industry,
    LeadField::Company,
    LeadField::Website,
];
/// Fields that the completeness of the enrichment is judged by.
pub(super) const ENRICHMENT: [LeadField; 5] = [
    LeadField::EnrichedCompany,
    LeadField::EnrichedWebsite,
    LeadField::EnrichedState,
    LeadField::EnrichedCountry,
    LeadField::EnrichedEmployees,
];

/// The two flags of a lead.
pub fn flags(lead: &Lead, settings: &LeadSettings, domains: &FreeMail) -> Flags {
    let is_large = lead.employees() > settings.large_company_employees;
    let knows_company = !is_blank(lead, LeadField::EnrichedCompany);
    let comes_from_nowhere = || is_blank(lead, LeadField::Website) && has_free_mail(lead, domains);
    Flags {
        not_in_tam: is_large && !knows_company,
        suspicious_enrichment: is_large && knows_company && comes_from_nowhere(),
    }
}

/// The scores that rules give, coherence included, and what they have to say, in sentences.
pub fn rule_scores(
    lead: &Lead,
    flags: Flags,
    settings: &LeadSettings,
    domains: &FreeMail,
) -> (Scores, Vec<String>) {
    let (mut scores, mut findings) = completeness(lead, flags, settings, domains);
    scores.coherence = coherence::score(lead, domains, &mut findings).map(|score| {
        let facts = Facts::of(lead, flags, settings, domains);
        let highest = f64::from(facts.highest_score());
        if score > highest {
            findings.push(format!("The coherence is {highest} instead of {score}: {}.", facts.reason()));
        }
        score.min(highest)
    });
    scores.confidence = confidence(&scores, &settings.weights);
    (scores, findings)
}

/// The scores that do not say how believable a lead is, only how complete, and the findings that go with them and the flags.
pub(super) fn completeness(
    lead: &Lead,
    flags: Flags,
    settings: &LeadSettings,
    domains: &FreeMail,
) -> (Scores, Vec<String>) {
    let mut findings = Vec::with_capacity(4);
    flag_findings(flags, settings, &mut findings);
    let mut parts = Parts::new(settings);
    acquisition(lead, domains, &mut parts);
    parts.tell("The lead", &mut findings);
    let acquisition = parts.score();
    let mut parts = Parts::new(settings);
    enrichment(lead, domains, &mut parts);
    parts.tell("The enrichment", &mut findings);
    (Scores { acquisition, enrichment: parts.score(), ..Scores::default() }, findings)
}

fn flag_findings(flags: Flags, settings: &LeadSettings, findings: &mut Vec<String>) {
    let large = settings.large_company_employees;
    if flags.not_in_tam {
        findings.push(format!(
            "Not in the market: the enrichment has more than {large} employees and no company name."
        ));
    }
    if flags.suspicious_enrichment {
        findings.push(format!(
            "Suspicious: a free mail address and no website, yet the enrichment names a company of more than {large} employees."
        ));
    }
}

/// The parts of a completeness, each judged by itself.
struct Parts<'s> {
    settings: &'s LeadSettings,
    points: f64,
    weight: f64,
    missing: Vec<&'static str>,
    unlisted: Vec<&'static str>,
    unusable: Vec<&'static str>,
}

/// How one part was found.
enum Part {
    /// As it should be.
    Good,
    /// There, but in no reference list.
    Unlisted,
    /// There, and no use: told in these words.
    Unusable(&'static str),
    /// Not there, with the points that this still gives.
    Missing(f64),
}

impl<'s> Parts<'s> {
    fn new(settings: &'s LeadSettings) -> Self {
        let none = Vec::new;
        Self { settings, points: 0.0, weight: 0.0, missing: none(), unlisted: none(), unusable: none() }
    }

    /// Judges a part, unless the org has no such field.
    fn judge(&mut self, weight: f64, field: LeadField, name: &'static str, part: Part) {
        if self.settings.fields.path(field).is_none() {
            return;
        }
        self.weight += weight;
        self.points += weight
            * match part {
                Part::Good => 100.0,
                Part::Unlisted => {
                    self.unlisted.push(name);
                    UNLISTED
                }
                Part::Unusable(why) => {
                    self.unusable.push(why);
                    0.0
                }
                Part::Missing(points) => {
                    self.missing.push(name);
                    points
                }
            };
    }

    fn score(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| (self.points * 100.0 / self.weight).round() / 100.0)
    }

    fn tell(&self, who: &str, findings: &mut Vec<String>) {
        let lists = [
            (&self.missing, "does not tell"),
            (&self.unusable, "tells what is of no use"),
            (&self.unlisted, "tells what is in no reference list"),
        ];
        for (names, what) in lists.iter().filter(|(names, _)| !names.is_empty()) {
            findings.push(format!("{who} {what}: {}.", names.join(", ")));
        }
    }
}

/// The value of a field without blanks around it; blanks alone are nothing.
fn value(lead: &Lead, field: LeadField) -> Option<&str> {
    lead.get(field).map(str::trim).filter(|value| !value.is_empty())
}

fn acquisition(lead: &Lead, domains: &FreeMail, parts: &mut Parts<'_>) {
    use LeadField as F;
    let named = |field, why| match value(lead, field) {
        None => Part::Missing(0.0),
        Some(name) if reference::is_placeholder(name) => Part::Unusable(why),
        Some(_) => Part::Good,
    };
    let company = match value(lead, F::Company) {
        None => Part::Missing(0.0),
        Some(name) if reference::is_no_company(name) => Part::Unusable("a placeholder as company"),
        Some(_) => Part::Good,
    };
    let listed = |field, is_listed: &dyn Fn(&str) -> bool| match value(lead, field) {
        None => Part::Missing(0.0),
        Some(text) if is_listed(text) => Part::Good,
        Some(_) => Part::Unlisted,
    };
    parts.judge(0.0625, F::FirstName, "first name", named(F::FirstName, "a placeholder as first name"));
    parts.judge(0.0625, F::LastName, "last name", named(F::LastName, "a placeholder as last name"));
    let mail = match value(lead, F::Email) {
        None => Part::Missing(0.0),
        Some(address) => match mail_domain(address) {
            None => Part::Unusable("an e-mail address that is none"),
            Some(domain) if domains.contains(domain) => Part::Unusable("a free mail address"),
            Some(_) => Part::Good,
        },
    };
    parts.judge(0.125, F::Email, "e-mail address", mail);
    let phone = match value(lead, F::Phone) {
        None => Part::Missing(0.0),
        Some(phone) if Phone::read(phone).is_none() => Part::Unusable("a phone number that is none"),
        Some(_) => Part::Good,
    };
    parts.judge(0.125, F::Phone, "phone", phone);
    let country = value(lead, F::Country).and_then(reference::country);
    let is_state = |text: &str| reference::state(text, country).is_some();
    parts.judge(0.125, F::State, "state", listed(F::State, &is_state));
    let is_country = |_: &str| country.is_some();
    parts.judge(0.125, F::Country, "country", listed(F::Country, &is_country));
    parts.judge(0.125, F::Industry, "industry", listed(F::Industry, &reference::is_sector));
    parts.judge(0.125, F::Company, "company", company);
    parts.judge(0.125, F::Website, "website", website(lead, F::Website, domains, &|| 0.0));
}

fn website(lead: &Lead, field: LeadField, domains: &FreeMail, when_missing: &dyn Fn() -> f64) -> Part {
    match value(lead, field) {
        None => Part::Missing(when_missing()),
        Some(text) => match website_host(text) {
            None => Part::Unusable("a website that is none"),
            Some(host) if domains.contains(host) => Part::Unusable("a free mail domain as website"),
            Some(_) => Part::Good,
        },
    }
}

/// The seed weighed two fields with the company's name, .10 and .18; here one holds it and weighs both.
fn enrichment(lead: &Lead, domains: &FreeMail, parts: &mut Parts<'_>) {
    use LeadField as F;
    // Nobody sells data of small companies, so nothing is held against theirs.
    let when_missing = || if is_small(lead) { UNLISTED } else { 0.0 };
    let company = match value(lead, F::EnrichedCompany) {
        None => Part::Missing(when_missing()),
        Some(name) if reference::is_no_company(name) => Part::Unusable("a placeholder as company"),
        Some(_) => Part::Good,
    };
    parts.judge(0.28, F::EnrichedCompany, "company", company);
    parts.judge(
        0.18,
        F::EnrichedWebsite,
        "website",
        website(lead, F::EnrichedWebsite, domains, &when_missing),
    );
    let country = value(lead, F::EnrichedCountry);
    let country_code = country.and_then(reference::country);
    let listed = |text: Option<&str>, is_listed: bool| match text {
        None => Part::Missing(when_missing()),
        Some(_) if is_listed => Part::Good,
        Some(_) => Part::Unlisted,
    };
    let state = value(lead, F::EnrichedState);
    let is_state = state.is_some_and(|state| reference::state(state, country_code).is_some());
    parts.judge(0.18, F::EnrichedState, "state", listed(state, is_state));
    parts.judge(0.18, F::EnrichedCountry, "country", listed(country, country_code.is_some()));
    let employees = match value(lead, F::EnrichedEmployees) {
        None => Part::Missing(when_missing()),
        Some(_) if lead.employees() > 0 => Part::Good,
        Some(_) => Part::Unusable("a number of employees that is none"),
    };
    parts.judge(0.18, F::EnrichedEmployees, "employees", employees);
}

/// Whether sales puts the lead into one of the two smallest segments.
fn is_small(lead: &Lead) -> bool {
    let by_name = value(lead, LeadField::SegmentName).and_then(Segment::read);
    let by_range = || {
        let range = value(lead, LeadField::CompanySizeRange).and_then(SizeRange::read)?;
        Some(market_of(lead).segment(range.middle()))
    };
    matches!(by_name.or_else(by_range), Some(Segment::Soho | Segment::SmallBusiness))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
