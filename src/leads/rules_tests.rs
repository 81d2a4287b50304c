use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::leads::settings::ScoreWeights;
use crate::leads::test_support::{good_lead_with, lead};
use LeadField as F;

/// The seed's table: employees, company and website of the enrichment and the lead, address; the two flags.
#[rstest]
#[case::a_hundred_is_not_large(("100", "", "", "ada@acme.com"), (false, false))]
#[case::large_without_a_company(("101", "", "", "ada@acme.com"), (true, false))]
#[case::blanks_are_no_company(("101", "  ", "", "ada@acme.com"), (true, false))]
#[case::what_is_no_number_is_zero(("1,200", "", "", "ada@acme.com"), (false, false))]
#[case::free_mail_and_a_large_company(("101", "Acme", "", "ada@gmail.com"), (false, true))]
#[case::free_mail_in_capitals(("101", "Acme", "  ", "ADA@GMAIL.COM"), (false, true))]
#[case::a_website_clears_suspicion(("101", "Acme", "acme.com", "ada@gmail.com"), (false, false))]
fn the_flags_are_those_of_the_seeds_table(
    #[case] (employees, company, website, email): (&str, &str, &str, &str),
    #[case] (not_in_tam, suspicious_enrichment): (bool, bool),
) {
    let lead = lead(&[
        (F::EnrichedEmployees, employees),
        (F::EnrichedCompany, company),
        (F::Website, website),
        (F::Email, email),
    ]);
    let expected = Flags { not_in_tam, suspicious_enrichment };
    assert_eq!(flags(&lead, &LeadSettings::default(), &FreeMail::default()), expected);
}

#[test]
fn what_is_large_and_what_is_free_mail_can_be_configured() {
    let lead =
        lead(&[(F::EnrichedEmployees, "11"), (F::EnrichedCompany, "Acme"), (F::Email, "ada@post.example")]);
    let settings = LeadSettings { large_company_employees: 10, ..LeadSettings::default() };
    let domains = FreeMail::new(&["post.example".to_owned()]);
    assert!(flags(&lead, &settings, &domains).suspicious_enrichment);
    assert_eq!(flags(&lead, &LeadSettings::default(), &domains), Flags::default());
    assert_eq!(flags(&lead, &settings, &FreeMail::default()), Flags::default());
}

fn scores_of(lead: &Lead) -> Scores {
    let (settings, domains) = (LeadSettings::default(), FreeMail::default());
    let flags = flags(lead, &settings, &domains);
    rule_scores(lead, flags, &settings, &domains).0
}

#[rstest]
#[case::first_name(F::FirstName, "Ada", 6.25)]
#[case::last_name(F::LastName, "Lovelace", 6.25)]
#[case::mail(F::Email, "ada@acme.com", 12.5)]
#[case::phone(F::Phone, "+43 1 588 0000", 12.5)]
#[case::state(F::State, "CA", 12.5)]
#[case::unlisted_state(F::State, "Bavaria", 9.38)]
#[case::country(F::Country, "Germany", 12.5)]
#[case::unlisted_country(F::Country, "Atlantis", 9.38)]
#[case::sector(F::Industry, "Banking", 12.5)]
#[case::unlisted_sector(F::Industry, "Basket weaving", 9.38)]
#[case::company(F::Company, "Acme", 12.5)]
#[case::website(F::Website, "www.acme.com", 12.5)]
#[case::placeholder_as_name(F::LastName, "[not provided]", 0.0)]
#[case::placeholder_as_company(F::Company, "Self-employed", 0.0)]
#[case::free_mail(F::Email, "ada@gmail.com", 0.0)]
#[case::no_address(F::Email, "ada", 0.0)]
#[case::no_phone(F::Phone, "call me", 0.0)]
#[case::free_mail_as_website(F::Website, "gmail.com", 0.0)]
#[case::no_website(F::Website, "n/a", 0.0)]
#[case::a_field_that_does_not_count(F::Title, "Head", 0.0)]
fn what_a_lead_gave_weighs_what_the_seed_says(
    #[case] field: LeadField,
    #[case] value: &str,
    #[case] points: f64,
) {
    assert_eq!(scores_of(&lead(&[(field, value)])).acquisition, Some(points));
}

#[rstest]
#[case::company_and_account_name(F::EnrichedCompany, "Acme", 28.0)]
#[case::website(F::EnrichedWebsite, "acme.com", 18.0)]
#[case::free_mail_as_website(F::EnrichedWebsite, "gmx.de", 0.0)]
#[case::state(F::EnrichedState, "Ohio", 18.0)]
#[case::unlisted_state(F::EnrichedState, "Tyrol", 13.5)]
#[case::country(F::EnrichedCountry, "AUT", 18.0)]
#[case::unlisted_country(F::EnrichedCountry, "Atlantis", 13.5)]
#[case::employees(F::EnrichedEmployees, "1", 18.0)]
#[case::no_employees(F::EnrichedEmployees, "0", 0.0)]
#[case::fewer_than_none(F::EnrichedEmployees, "-5", 0.0)]
#[case::no_number(F::EnrichedEmployees, "1,200", 0.0)]
#[case::nulls_of_a_large_segment(F::SegmentName, "Majors", 0.0)]
#[case::nulls_of_a_small_segment(F::SegmentName, "Small Business", 75.0)]
#[case::nulls_of_the_smallest_segment(F::SegmentName, "SOHO", 75.0)]
#[case::nulls_of_a_small_range(F::CompanySizeRange, "20-49", 75.0)]
#[case::nulls_of_a_large_range(F::CompanySizeRange, "100-399", 0.0)]
fn what_the_enrichment_added_weighs_what_the_seed_says(
    #[case] field: LeadField,
    #[case] value: &str,
    #[case] points: f64,
) {
    assert_eq!(scores_of(&lead(&[(field, value)])).enrichment, Some(points));
}

#[test]
fn a_good_lead_has_full_scores_and_no_findings() {
    let (settings, domains) = (LeadSettings::default(), FreeMail::default());
    let (scores, findings) = rule_scores(&good_lead_with(&[]), Flags::default(), &settings, &domains);
    let full = Some(100.0);
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(scores, Scores { acquisition: full, enrichment: full, coherence: full, confidence: full });
}

#[test]
fn a_field_that_an_org_lacks_is_left_out_of_the_score() {
    let mut settings = LeadSettings::default();
    settings.fields.set(F::EnrichedState, None);
    settings.fields.set(F::EnrichedCountry, None);
    let lead = lead(&[(F::EnrichedCompany, "Acme"), (F::EnrichedWebsite, "acme.com")]);
    let (scores, findings) = rule_scores(&lead, Flags::default(), &settings, &FreeMail::default());
    assert_eq!(scores.enrichment, Some(71.88), "46 of 64");
    assert!(findings.contains(&"The enrichment does not tell: employees.".to_owned()), "{findings:?}");
    for field in [F::EnrichedCompany, F::EnrichedWebsite, F::EnrichedEmployees] {
        settings.fields.set(field, None);
    }
    let (scores, _) = rule_scores(&lead, Flags::default(), &settings, &FreeMail::default());
    assert_eq!(scores.enrichment, None, "nothing is there to be scored");
    assert_eq!(scores.confidence, None);
}

/// The fields named by a score's list are those that it is judged by: without them there is no score, with any one there is.
#[rstest]
#[case::acquisition(&ACQUISITION, |scores: Scores| scores.acquisition)]
#[case::enrichment(&ENRICHMENT, |scores: Scores| scores.enrichment)]
fn a_score_hangs_on_its_own_fields(#[case] fields: &[F], #[case] score: fn(Scores) -> Option<f64>) {
    let domains = FreeMail::default();
    let scores =
        |settings: &LeadSettings| rule_scores(&good_lead_with(&[]), Flags::default(), settings, &domains).0;
    let bare = LeadSettings::default().for_org(fields);
    assert_eq!(score(scores(&bare)), None);
    assert_eq!(scores(&bare).confidence, Some(100.0), "what cannot be had weighs nothing");
    for kept in fields {
        let others: Vec<F> = fields.iter().copied().filter(|field| field != kept).collect();
        assert_eq!(score(scores(&LeadSettings::default().for_org(&others))), Some(100.0), "{kept:?}");
    }
}

#[test]
fn an_org_that_has_a_field_weighs_as_the_settings_say_and_nobody_is_said_to_have_asked() {
    let settings = LeadSettings::default();
    let resolved = settings.for_org(&[F::EnrichedState, F::SegmentName]);
    assert_eq!(resolved.weights, settings.weights);
    assert_eq!(resolved.fields.path(F::EnrichedState), None);
    assert!(!resolved.fields.is_asked_for(F::EnrichedState));
    assert_eq!(resolved.fields.path(F::Email), settings.fields.path(F::Email));
    let none = settings.for_org(&ENRICHMENT).weights;
    assert_eq!((none.acquisition, none.enrichment, none.coherence), (0.15, 0.0, 0.70));
}

#[test]
fn findings_are_sentences() {
    let lead = good_lead_with(&[
        (F::FirstName, ""),
        (F::LastName, "Test"),
        (F::Phone, "000"),
        (F::Industry, "Engines"),
        (F::EnrichedCompany, ""),
        (F::EnrichedWebsite, "other.example"),
    ]);
    let (settings, domains) = (LeadSettings::default(), FreeMail::default());
    let flags = flags(&lead, &settings, &domains);
    let (scores, findings) = rule_scores(&lead, flags, &settings, &domains);
    let expected = [
        "Not in the market: the enrichment has more than 100 employees and no company name.",
        "The lead does not tell: first name.",
        "The lead tells what is of no use: a placeholder as last name, a phone number that is none.",
        "The lead tells what is in no reference list: industry.",
        "The enrichment does not tell: company.",
        "The person's name is hard to believe.",
        "The enrichment has another website than the lead.",
        "The phone number is none, or not one of the country.",
        "The coherence is 35 instead of 57.14: a large company without a name.",
    ];
    assert_eq!(findings, expected);
    assert_eq!(scores.coherence, Some(35.0));
}

#[rstest]
#[case::all(Some(80.0), Some(60.0), Some(40.0), ScoreWeights::default(), Some(49.0))]
#[case::a_true_zero_is_a_score(Some(0.0), Some(0.0), Some(100.0), ScoreWeights::default(), Some(70.0))]
#[case::nothing_at_all_right(Some(0.0), Some(0.0), Some(0.0), ScoreWeights::default(), Some(0.0))]
#[case::one_decimal(Some(33.33), Some(33.33), Some(33.33), ScoreWeights::default(), Some(33.3))]
#[case::one_missing(Some(80.0), Some(60.0), None, ScoreWeights::default(), None)]
#[case::missing_but_without_weight(
    Some(80.0), Some(60.0), None, ScoreWeights { acquisition: 1.0, enrichment: 3.0, coherence: 0.0 }, Some(65.0))]
#[case::no_weights(
    Some(80.0), Some(60.0), Some(1.0), ScoreWeights { acquisition: 0.0, enrichment: 0.0, coherence: 0.0 }, None)]
fn confidence_is_the_weighted_mean(
    #[case] acquisition: Option<f64>,
    #[case] enrichment: Option<f64>,
    #[case] coherence: Option<f64>,
    #[case] weights: ScoreWeights,
    #[case] expected: Option<f64>,
) {
    let scores = Scores { acquisition, enrichment, coherence, confidence: None };
    assert_eq!(confidence(&scores, &weights), expected);
}

/// What changes on a good lead, and its coherence by rules: eight parts of 12.5.
#[rstest]
#[case::nothing(&[], Some(100.0))]
#[case::a_name_twice(&[(F::FirstName, "Ada"), (F::LastName, "ada")], Some(93.75))]
#[case::placeholder_name(&[(F::FirstName, "Test")], Some(93.75))]
#[case::another_country(&[(F::EnrichedCountry, "France"), (F::EnrichedState, "")], Some(87.5))]
#[case::another_state(&[(F::EnrichedState, "Ohio")], Some(93.75))]
#[case::one_segment_off(&[(F::EnrichedEmployees, "400")], Some(93.75))]
#[case::two_segments_off(&[(F::EnrichedEmployees, "5000")], Some(85.0))]
#[case::segment_by_name(&[(F::CompanySizeRange, ""), (F::EnrichedEmployees, "50")], Some(93.75))]
#[case::foreign_phone(&[(F::Phone, "+43 1 588 0000")], Some(87.5))]
#[case::another_website(&[(F::EnrichedWebsite, "zzz.org")], Some(87.5))]
#[case::same_name_elsewhere(&[(F::EnrichedWebsite, "acme-engines.de")], Some(98.75))]
#[case::another_company(&[(F::EnrichedCompany, "Zuzu")], Some(87.5))]
#[case::legal_form(&[(F::EnrichedCompany, "ACME ENGINES HOLDING GMBH")], Some(100.0))]
#[case::initials(&[(F::EnrichedCompany, "AE")], Some(100.0))]
#[case::free_mail_tells_nothing(&[(F::Email, "ada@gmail.com"), (F::EnrichedEmployees, "49"),
    (F::CompanySizeRange, "20-49")], Some(100.0))]
#[case::nothing_of_the_enrichment(&[(F::EnrichedCompany, ""), (F::EnrichedWebsite, ""), (F::EnrichedEmployees, ""),
    (F::EnrichedCountry, ""), (F::EnrichedState, "")], Some(100.0))]
#[case::nothing_to_compare(&[(F::EnrichedCompany, ""), (F::EnrichedWebsite, ""), (F::EnrichedEmployees, ""),
    (F::EnrichedCountry, ""), (F::Email, "")], None)]
fn coherence_is_eight_rules_of_the_same_weight(
    #[case] changes: &[(LeadField, &str)],
    #[case] expected: Option<f64>,
) {
    assert_eq!(scores_of(&good_lead_with(changes)).coherence, expected);
}

#[test]
fn the_flags_cap_the_coherence_by_rules() {
    let lead = good_lead_with(&[(F::Email, "ada@gmail.com"), (F::Website, "")]);
    assert_eq!(scores_of(&lead).coherence, Some(25.0));
    let lead = good_lead_with(&[(F::EnrichedCompany, "")]);
    assert_eq!(scores_of(&lead).coherence, Some(35.0));
}

proptest! {
    #[test]
    fn whatever_a_lead_holds_its_scores_are_between_0_and_100(
        values in proptest::collection::vec((0..LeadField::COUNT, "\\PC{0,40}|[0-9@.+-]{0,12}|[a-z]{1,9}@[a-z]{1,9}\\.com"), 0..24),
    ) {
        let values: Vec<_> = values.iter().map(|(field, value)| (LeadField::ALL[*field], value.as_str())).collect();
        let scores = scores_of(&lead(&values));
        for score in [scores.acquisition, scores.enrichment, scores.coherence, scores.confidence] {
            prop_assert!(score.is_none_or(|score| (0.0..=100.0).contains(&score)), "{scores:?}");
        }
        prop_assert_eq!(scores.confidence.is_some(), scores.coherence.is_some());
    }
}
