//! Whether what is known of a lead fits together, by eight rules that weigh the same.
//!
//! Promises: what is missing is not held against a lead here (completeness does that): a rule that has nothing to compare is
//! left out. Without any comparison of two sources there is no score.

use super::domains::{FreeMail, core_label, mail_domain, same_owner, website_host};
use super::field::LeadField;
use super::lead::Lead;
use super::limits::segments_apart;
use super::phone::Phone;
use super::reference;
use super::text::{Folded, likeness};

/// Two names less alike than this are two companies.
const ALIKE: f64 = 50.0;

/// What the rules look at, brought to the form in which it is compared once.
struct Known<'l> {
    lead: &'l Lead,
    /// Domain of the e-mail address, unless it tells nothing.
    mail: Option<&'l str>,
    website: Option<&'l str>,
    enriched_website: Option<&'l str>,
    company: Option<Folded>,
    enriched_company: Option<Folded>,
    country: Option<&'static str>,
    enriched_country: Option<&'static str>,
}

impl<'l> Known<'l> {
    fn of(lead: &'l Lead, domains: &FreeMail) -> Self {
        let website = |field| {
            let host = lead.get(field).and_then(website_host)?;
            (!domains.contains(host)).then_some(host)
        };
        let company = |field| Some(reference::company(lead.get(field)?)?.company_core());
        let country = |field| lead.get(field).and_then(reference::country);
        let mail =
            lead.get(LeadField::Email).and_then(mail_domain).filter(|domain| !domains.contains(domain));
        Self {
            lead,
            mail,
            website: website(LeadField::Website),
            enriched_website: website(LeadField::EnrichedWebsite),
            company: company(LeadField::Company),
            enriched_company: company(LeadField::EnrichedCompany),
            country: country(LeadField::Country),
            enriched_country: country(LeadField::EnrichedCountry),
        }
    }
}

/// One rule: the points that it gives, 0 to 100, or nothing to compare; and what it says when the points are few.
struct Rule {
    judge: fn(&Known<'_>) -> Option<f64>,
    /// Whether it holds one source against another.
    compares: bool,
    says: &'static str,
}

const RULES: [Rule; 8] = [
    Rule { judge: names, compares: false, says: "The person's name is hard to believe." },
    Rule {
        judge: mail_and_website,
        compares: true,
        says: "The e-mail address and the website belong to different owners.",
    },
    Rule {
        judge: mail_and_company,
        compares: true,
        says: "The e-mail domain does not resemble the company's name.",
    },
    Rule { judge: companies, compares: true, says: "The enrichment names another company than the lead." },
    Rule { judge: websites, compares: true, says: "The enrichment has another website than the lead." },
    Rule { judge: places, compares: true, says: "The enrichment puts the company into another country." },
    Rule {
        judge: sizes,
        compares: true,
        says: "The enrichment's number of employees is far from the size that sales knows.",
    },
    Rule { judge: phone, compares: false, says: "The phone number is none, or not one of the country." },
];

/// How well it fits together, 0 to 100, and what does not.
pub(super) fn score(lead: &Lead, domains: &FreeMail, findings: &mut Vec<String>) -> Option<f64> {
    let known = Known::of(lead, domains);
    let (mut points, mut judged, mut has_compared) = (0.0, 0.0, false);
    for rule in &RULES {
        let Some(its_points) = (rule.judge)(&known) else { continue };
        points += its_points;
        judged += 1.0;
        has_compared |= rule.compares;
        if its_points < ALIKE {
            findings.push(rule.says.to_owned());
        }
    }
    if !has_compared {
        findings.push("There is nothing to hold the enrichment against.".to_owned());
        return None;
    }
    Some((points * 100.0 / judged).round() / 100.0)
}

fn names(known: &Known<'_>) -> Option<f64> {
    let name = |field| known.lead.get(field).map(str::trim).filter(|name| !name.is_empty());
    let is_believable = |name: &str| {
        !reference::is_placeholder(name) && !name.chars().any(|c| c.is_ascii_digit() || c == '@')
    };
    match (name(LeadField::FirstName), name(LeadField::LastName)) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(if is_believable(one) { 100.0 } else { 0.0 }),
        (Some(first), Some(last)) => {
            let both = [is_believable(first), is_believable(last)];
            let points = both.into_iter().map(|good| if good { 50.0 } else { 0.0 }).sum::<f64>();
            // Forms filled in by pasting have the same name twice.
            Some(if first.eq_ignore_ascii_case(last) { points / 2.0 } else { points })
        }
    }
}

fn mail_and_website(known: &Known<'_>) -> Option<f64> {
    let mail = known.mail?;
    let against = [known.website, known.enriched_website];
    against.into_iter().flatten().map(|website| hosts(mail, website)).reduce(f64::max)
}

fn mail_and_company(known: &Known<'_>) -> Option<f64> {
    let label = core_label(known.mail?);
    let against = [&known.company, &known.enriched_company];
    against.into_iter().flatten().map(|company| label_and_name(label, company)).reduce(f64::max)
}

fn companies(known: &Known<'_>) -> Option<f64> {
    let (one, other) = (known.company.as_ref()?, known.enriched_company.as_ref()?);
    Some(alike(one, other))
}

fn websites(known: &Known<'_>) -> Option<f64> {
    Some(hosts(known.website?, known.enriched_website?))
}

fn places(known: &Known<'_>) -> Option<f64> {
    let country = known.country?;
    if country != known.enriched_country? {
        return Some(0.0);
    }
    let state = |field| known.lead.get(field).and_then(|text| reference::state(text, Some(country)));
    match (state(LeadField::State), state(LeadField::EnrichedState)) {
        // An office of the same company: worth a little, and no finding.
        (Some(one), Some(other)) if one != other => Some(ALIKE),
        _ => Some(100.0),
    }
}

fn sizes(known: &Known<'_>) -> Option<f64> {
    match segments_apart(known.lead)? {
        0 => Some(100.0),
        1 => Some(50.0),
        _ => Some(0.0),
    }
}

fn phone(known: &Known<'_>) -> Option<f64> {
    let text = known.lead.get(LeadField::Phone).filter(|text| !text.trim().is_empty())?;
    let fits = Phone::read(text).is_some_and(|phone| phone.fits(known.country));
    Some(if fits { 100.0 } else { 0.0 })
}

/// The same owner, the same name in another country (`acme.com`, `acme.de`), or how alike the names are.
fn hosts(one: &str, other: &str) -> f64 {
    if same_owner(one, other) {
        return 100.0;
    }
    let (one, other) = (Folded::of(core_label(one)), Folded::of(core_label(other)));
    if one.as_str() == other.as_str() { 90.0 } else { percent(likeness(one.as_str(), other.as_str())) }
}

/// A domain's name and a company's: contained (`acme-labs`, `Acme`), its initials, or how alike they are.
fn label_and_name(label: &str, company: &Folded) -> f64 {
    let label = Folded::of(label).squeezed();
    let (label, name) = (label.as_str(), company.squeezed());
    let name = name.as_str();
    let contains = |long: &str, short: &str| short.len() >= 3 && long.contains(short);
    if label == name
        || contains(name, label)
        || contains(label, name)
        || (label.len() >= 2 && company.initials().as_str() == label)
    {
        return 100.0;
    }
    percent(likeness(label, name))
}

/// Two names of companies: the same but for the legal form, one the beginning of the other, or how alike they are.
fn alike(one: &Folded, other: &Folded) -> f64 {
    let (a, b) = (one.squeezed(), other.squeezed());
    let (a, b) = (a.as_str(), b.as_str());
    let begins = |long: &str, short: &str| short.len() >= 3 && long.starts_with(short);
    let is_initials = |short: &str, long: &Folded| short.len() >= 2 && long.initials().as_str() == short;
    if a == b || begins(a, b) || begins(b, a) || is_initials(a, other) || is_initials(b, one) {
        return 100.0;
    }
    percent(likeness(a, b))
}

fn percent(part: f64) -> f64 {
    (part * 100.0).round()
}
