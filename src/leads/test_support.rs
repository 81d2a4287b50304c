//! Leads for tests.

use super::field::LeadField;
use super::id::LeadId;
use super::lead::{Lead, Presence};

/// A lead with these values.
pub(super) fn lead(values: &[(LeadField, &str)]) -> Lead {
    let id = LeadId::read("00Q5g00000AbCdE").unwrap().id;
    Lead::new(id, Presence::Found, |field| {
        values.iter().rev().find(|(its, _)| *its == field).map(|(_, value)| *value)
    })
}

/// A lead of which everything is known and fits together, with these values instead.
pub(super) fn good_lead_with(values: &[(LeadField, &str)]) -> Lead {
    use LeadField as F;
    let mut all = vec![
        (F::FirstName, "Ada"),
        (F::LastName, "Lovelace"),
        (F::Phone, "(415) 555-0132"),
        (F::Country, "United States"),
        (F::Title, "Head of Engines"),
        (F::Industry, "Machinery"),
        (F::Email, "ada@acme-engines.com"),
        (F::FirstChannel, "Web"),
        (F::SegmentName, "Mid Market"),
        (F::CompanySizeRange, "100-399"),
        (F::Website, "https://www.acme-engines.com"),
        (F::Company, "Acme Engines Inc."),
        (F::EnrichedWebsite, "acme-engines.com"),
        (F::EnrichedCompany, "Acme Engines"),
        (F::EnrichedEmployees, "250"),
        (F::State, "CA"),
        (F::EnrichedState, "California"),
        (F::EnrichedCountry, "USA"),
    ];
    all.extend_from_slice(values);
    lead(&all)
}
