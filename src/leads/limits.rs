//! What a score may be at most, whatever a model says: deductions and caps, decided by facts of the lead.
//!
//! A model is told these rules and is not trusted to have kept them. Points that are to be taken off make the most that can be
//! left: a score below it may have other reasons and stays; one above it has forgotten something.

use super::domains::{FreeMail, mail_domain};
use super::field::LeadField;
use super::lead::Lead;
use super::outcome::Flags;
use super::reference;
use super::settings::LeadSettings;
use super::size::{Market, Segment, SizeRange};

/// Employees from which on a free mail address is hard to believe.
pub const FREE_MAIL_EMPLOYEES: i64 = 50;

/// Taken off when the enrichment names no company for a large one.
pub const NO_COMPANY_POINTS: u32 = 25;
/// Taken off when it has no website for a large company.
pub const NO_WEBSITE_POINTS: u32 = 15;
/// Taken off when its number of employees is two segments or more from what sales knows.
pub const MISMATCH_POINTS: u32 = 15;
/// Taken off for each correction.
pub const CORRECTION_POINTS: u32 = 8;

/// A fact that caps the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// Both flags.
    BothFlags,
    /// Free mail and a company of 50 employees or more.
    FreeMail,
    /// Flag.
    Suspicious,
    /// A large company without a name.
    NoCompany,
    /// Flag.
    NotInTam,
}

impl Cap {
    /// Every cap, the lowest first.
    pub const ALL: [Self; 5] =
        [Self::BothFlags, Self::FreeMail, Self::Suspicious, Self::NoCompany, Self::NotInTam];

    /// The most that the score may be.
    pub fn score(self) -> u8 {
        match self {
            Self::BothFlags => 20,
            Self::FreeMail => 25,
            Self::Suspicious => 30,
            Self::NoCompany => 35,
            Self::NotInTam => 40,
        }
    }

    /// Why, in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BothFlags => "not in the market and a suspicious enrichment",
            Self::FreeMail => "a free mail address in a company of 50 employees or more",
            Self::Suspicious => "a suspicious enrichment",
            Self::NoCompany => "a large company without a name",
            Self::NotInTam => "not in the market",
        }
    }
}

/// What decides about deductions and caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The flags.
    pub flags: Flags,
    /// More employees than a company may have that is not large.
    pub is_large: bool,
    /// Employees according to the enrichment.
    pub employees: i64,
    /// The enrichment names no company.
    pub has_no_company: bool,
    /// It has no website.
    pub has_no_website: bool,
    /// The lead writes from a free mail address.
    pub has_free_mail: bool,
    /// Segments between the enrichment's employees and what sales knows of the size.
    pub segments_apart: usize,
    /// Corrections that are proposed.
    pub corrections: u32,
}

impl Facts {
    /// The facts of a lead, without corrections.
    pub fn of(lead: &Lead, flags: Flags, settings: &LeadSettings, domains: &FreeMail) -> Self {
        let employees = lead.employees();
        Self {
            flags,
            is_large: employees > settings.large_company_employees,
            employees,
            has_no_company: is_blank(lead, LeadField::EnrichedCompany),
            has_no_website: is_blank(lead, LeadField::EnrichedWebsite),
            has_free_mail: has_free_mail(lead, domains),
            segments_apart: segments_apart(lead).unwrap_or_default(),
            corrections: 0,
        }
    }

    /// Points that are taken off.
    pub fn deductions(&self) -> u32 {
        let points = |holds: bool, points: u32| if holds { points } else { 0 };
        points(self.is_large && self.has_no_company, NO_COMPANY_POINTS)
            + points(self.is_large && self.has_no_website, NO_WEBSITE_POINTS)
            + points(self.segments_apart >= 2, MISMATCH_POINTS)
            + self.corrections.min(12) * CORRECTION_POINTS
    }

    /// Whether a cap holds.
    pub fn holds(&self, cap: Cap) -> bool {
        match cap {
            Cap::BothFlags => self.flags.not_in_tam && self.flags.suspicious_enrichment,
            Cap::FreeMail => self.has_free_mail && self.employees >= FREE_MAIL_EMPLOYEES,
            Cap::Suspicious => self.flags.suspicious_enrichment,
            Cap::NoCompany => self.is_large && self.has_no_company,
            Cap::NotInTam => self.flags.not_in_tam,
        }
    }

    /// The lowest cap that holds.
    pub fn cap(&self) -> Option<Cap> {
        Cap::ALL.into_iter().find(|cap| self.holds(*cap))
    }

    /// The most that the score may be.
    pub fn highest_score(&self) -> u8 {
        let left = u8::try_from(100u32.saturating_sub(self.deductions())).unwrap_or_default();
        self.cap().map_or(left, |cap| left.min(cap.score()))
    }

    /// Why the score may not be more, in words.
    pub fn reason(&self) -> String {
        let highest = self.highest_score();
        if let Some(cap) = self.cap().filter(|cap| cap.score() == highest) {
            return cap.reason().to_owned();
        }
        let mut reasons = Vec::new();
        if self.is_large && self.has_no_company {
            reasons.push(format!("{NO_COMPANY_POINTS} for a large company without a name"));
        }
        if self.is_large && self.has_no_website {
            reasons.push(format!("{NO_WEBSITE_POINTS} for a large company without a website"));
        }
        if self.segments_apart >= 2 {
            reasons.push(format!("{MISMATCH_POINTS} for employees {} segments apart", self.segments_apart));
        }
        if self.corrections > 0 {
            reasons.push(format!("{CORRECTION_POINTS} for each of {} corrections", self.corrections));
        }
        format!("points taken off: {}", reasons.join(", "))
    }
}

/// Whether a lead has nothing there; blanks are nothing.
pub(super) fn is_blank(lead: &Lead, field: LeadField) -> bool {
    lead.get(field).is_none_or(|value| value.trim().is_empty())
}

/// Whether a lead writes from an address that tells nothing about its company.
pub(super) fn has_free_mail(lead: &Lead, domains: &FreeMail) -> bool {
    let Some(address) = lead.get(LeadField::Email) else { return false };
    let domain = mail_domain(address).or_else(|| address.rsplit_once('@').map(|(_, domain)| domain));
    domain.is_some_and(|domain| domains.contains(domain))
}

/// Market of a lead, by what it says itself, else by what the enrichment says.
pub(super) fn market_of(lead: &Lead) -> Market {
    let country = |field| lead.get(field).and_then(reference::country);
    reference::market(country(LeadField::Country).or_else(|| country(LeadField::EnrichedCountry)))
}

/// How many segments lie between the enrichment's employees and what sales knows of the size: the range, else the segment's
/// name. `None` when one of both is not known.
pub(super) fn segments_apart(lead: &Lead) -> Option<usize> {
    let employees = lead.employees();
    if employees <= 0 {
        return None;
    }
    let range = lead.get(LeadField::CompanySizeRange).and_then(SizeRange::read);
    if let Some(range) = range {
        return Some(range.steps_to(employees, market_of(lead)));
    }
    let segment = lead.get(LeadField::SegmentName).and_then(Segment::read)?;
    let market = market_of(lead);
    Some(market.steps(market.segment(employees), segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn flagged(not_in_tam: bool, suspicious_enrichment: bool) -> Facts {
        Facts { flags: Flags { not_in_tam, suspicious_enrichment }, ..Facts::default() }
    }

    #[rstest]
    #[case::suspicious(flagged(false, true), 30)]
    #[case::not_in_tam(flagged(true, false), 40)]
    #[case::both(flagged(true, true), 20)]
    #[case::missing_company(Facts { is_large: true, has_no_company: true, ..Facts::default() }, 35)]
    #[case::free_mail(Facts { has_free_mail: true, employees: 50, ..Facts::default() }, 25)]
    #[case::free_mail_of_few(Facts { has_free_mail: true, employees: 49, ..Facts::default() }, 100)]
    #[case::no_fact(Facts::default(), 100)]
    fn a_score_is_capped_by_the_facts(#[case] facts: Facts, #[case] highest: u8) {
        assert_eq!(facts.highest_score(), highest);
    }

    #[rstest]
    #[case::no_website(Facts { is_large: true, has_no_website: true, ..Facts::default() }, 85)]
    #[case::no_website_of_few(Facts { has_no_website: true, ..Facts::default() }, 100)]
    #[case::one_segment(Facts { segments_apart: 1, ..Facts::default() }, 100)]
    #[case::two_segments(Facts { segments_apart: 2, ..Facts::default() }, 85)]
    #[case::a_correction(Facts { corrections: 1, ..Facts::default() }, 92)]
    #[case::three_and_a_mismatch(Facts { corrections: 3, segments_apart: 3, ..Facts::default() }, 61)]
    #[case::more_than_there_is(Facts { corrections: u32::MAX, segments_apart: 2, ..Facts::default() }, 0)]
    fn points_are_taken_off_by_the_facts(#[case] facts: Facts, #[case] highest: u8) {
        assert_eq!(facts.highest_score(), highest);
        assert_eq!(
            facts.reason().starts_with("points taken off: "),
            highest < 100 || facts.deductions() == 0
        );
    }

    #[test]
    fn the_caps_are_in_the_order_of_their_scores() {
        assert!(Cap::ALL.is_sorted_by_key(|cap| cap.score()));
    }

    proptest! {
        #[test]
        fn one_more_fact_never_raises_the_score(bits: u8, employees in -5i64..300, corrections in 0u32..20) {
            let bit = |at: u8| bits & (1 << at) != 0;
            let facts = Facts {
                flags: Flags { not_in_tam: bit(0), suspicious_enrichment: bit(1) },
                is_large: bit(2),
                employees,
                has_no_company: bit(3),
                has_no_website: bit(4),
                has_free_mail: bit(5),
                segments_apart: usize::from(bits >> 6),
                corrections,
            };
            let worse = [
                Facts { flags: Flags { not_in_tam: true, ..facts.flags }, ..facts },
                Facts { flags: Flags { suspicious_enrichment: true, ..facts.flags }, ..facts },
                Facts { has_no_company: true, ..facts },
                Facts { has_no_website: true, ..facts },
                Facts { has_free_mail: true, ..facts },
                Facts { segments_apart: facts.segments_apart + 1, ..facts },
                Facts { corrections: corrections + 1, ..facts },
            ];
            for worse in worse {
                prop_assert!(worse.highest_score() <= facts.highest_score(), "{facts:?} {worse:?}");
            }
        }
    }
}
