use std::cell::RefCell;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::leads::rules::flags;
use crate::leads::test_support::good_lead_with;
use LeadField as F;

fn raw(score: u8, corrections: &[(LeadField, Value)], inferences: &[(LeadField, Value)]) -> RawAnswer {
    RawAnswer {
        score,
        bullets: vec!["⚠️ one".to_owned(), "two".to_owned(), "three".to_owned()],
        corrections: corrections.iter().cloned().collect(),
        inferences: inferences.iter().cloned().collect(),
    }
}

fn enforced(lead: &Lead, raw: RawAnswer) -> ModelAnswer {
    enforced_with(lead, raw, &|_| WebsiteVerdict::NotChecked)
}

fn enforced_with(lead: &Lead, raw: RawAnswer, websites: &dyn Fn(&str) -> WebsiteVerdict) -> ModelAnswer {
    let (settings, domains) = (LeadSettings::default(), FreeMail::default());
    enforce(lead, flags(lead, &settings, &domains), raw, &settings, &domains, websites)
}

/// What the lead is like, and the most that it may score. `Website` and mail domain are the company's unless said.
#[rstest]
#[case::suspicious_is_always_free_mail(&[(F::Email, "a@gmail.com"), (F::Website, ""), (F::EnrichedEmployees, "101")], 25)]
#[case::not_in_tam_is_always_without_a_company(&[(F::EnrichedCompany, ""), (F::EnrichedEmployees, "101")], 35)]
#[case::a_company_of_a_hundred_needs_no_name(&[(F::EnrichedCompany, ""), (F::EnrichedEmployees, "100")], 95)]
#[case::free_mail_of_fifty(&[(F::Email, "a@gmail.com"), (F::EnrichedEmployees, "50"), (F::CompanySizeRange, "")], 25)]
#[case::free_mail_of_forty_nine(&[(F::Email, "a@gmail.com"), (F::EnrichedEmployees, "49"), (F::CompanySizeRange, "")], 95)]
#[case::no_website(&[(F::EnrichedWebsite, "")], 85)]
#[case::two_segments(&[(F::EnrichedEmployees, "5000")], 85)]
#[case::good(&[], 95)]
fn a_score_is_lowered_to_what_the_lead_allows(#[case] changes: &[(LeadField, &str)], #[case] expected: u8) {
    let answer = enforced(&good_lead_with(changes), raw(95, &[], &[]));
    assert_eq!((answer.score, answer.score_said), (expected, 95));
    assert_eq!(answer.enforced.len(), usize::from(expected < 95), "{:?}", answer.enforced);
}

/// The seed's caps, each with the flags given: the flags of one lead never are both set by rules, a model may be told so.
#[rstest]
#[case::suspicious(false, true, 30)]
#[case::not_in_tam(true, false, 40)]
#[case::both(true, true, 20)]
fn the_flags_cap_the_score(#[case] not_in_tam: bool, #[case] suspicious_enrichment: bool, #[case] cap: u8) {
    let (settings, domains) = (LeadSettings::default(), FreeMail::default());
    let flags = Flags { not_in_tam, suspicious_enrichment };
    let enforce = |score| {
        let lead = good_lead_with(&[]);
        enforce(&lead, flags, raw(score, &[], &[]), &settings, &domains, &|_| WebsiteVerdict::NotChecked)
    };
    assert_eq!(enforce(100).score, cap);
    assert_eq!(enforce(cap + 1).score, cap);
    assert_eq!(enforce(cap).score, cap);
    assert_eq!(enforce(cap - 1).score, cap - 1, "never raised");
}

#[test]
fn each_correction_takes_its_points() {
    let corrections = [(F::EnrichedWebsite, json!("other.com")), (F::EnrichedEmployees, json!(300))];
    let answer = enforced(&good_lead_with(&[]), raw(100, &corrections, &[]));
    assert_eq!(answer.score, 84);
    let said = "The score is 84 instead of 100: points taken off: 8 for each of 2 corrections.";
    assert_eq!(answer.enforced, [said]);
    // One that is dropped takes none.
    let corrections = [(F::EnrichedWebsite, json!("gmail.com")), (F::EnrichedEmployees, json!(300))];
    assert_eq!(enforced(&good_lead_with(&[]), raw(100, &corrections, &[])).score, 92);
}

/// The seed's post-filter.
#[rstest]
#[case::free_mail(F::EnrichedWebsite, json!("gmail.com"), "free mail")]
#[case::free_mail_in_disguise(F::EnrichedWebsite, json!("https://www.Yahoo.co.uk/x"), "free mail")]
#[case::a_dead_site(F::EnrichedWebsite, json!("https://dead.example"), "does not answer (no such name)")]
#[case::its_own_site(F::EnrichedWebsite, json!("http://WWW.acme-engines.com/home"), "the same website")]
#[case::the_other_site(F::EnrichedWebsite, json!("shop.lead-site.com"), "the same website")]
#[case::its_own_company(F::EnrichedCompany, json!("ACME engines"), "the same company")]
#[case::the_other_company(F::EnrichedCompany, json!("acme engines inc."), "the same company")]
#[case::no_site(F::EnrichedWebsite, json!("not known"), "stands for nothing")]
#[case::a_strange_scheme(F::EnrichedWebsite, json!("ftp://acme.org"), "not the address of a website")]
#[case::a_bare_address(F::EnrichedWebsite, json!("http://169.254.169.254/latest"), "not the address of a website")]
#[case::the_same_country(F::EnrichedCountry, json!("United States of America"), "the same place")]
#[case::the_same_state(F::EnrichedState, json!("CA"), "the same place")]
#[case::the_same_number(F::EnrichedEmployees, json!("250"), "the same number")]
#[case::no_number(F::EnrichedEmployees, json!("many"), "not a number of employees")]
#[case::no_people(F::EnrichedEmployees, json!(0), "not a number of employees")]
fn a_proposal_that_is_none_is_dropped_and_told(
    #[case] field: LeadField,
    #[case] value: Value,
    #[case] says: &str,
) {
    let lead = good_lead_with(&[(F::Website, "lead-site.com")]);
    let dead = |host: &str| match host {
        "dead.example" => WebsiteVerdict::Dead { why: "no such name".to_owned() },
        _ => WebsiteVerdict::Answers,
    };
    let answer = enforced_with(&lead, raw(50, &[(field, value)], &[]), &dead);
    assert!(answer.corrections.is_empty());
    let start = format!("The correction of `{}` was dropped: ", field.default_path());
    assert_eq!(answer.enforced.len(), 1, "{:?}", answer.enforced);
    assert!(
        answer.enforced[0].starts_with(&start) && answer.enforced[0].contains(says),
        "{:?}",
        answer.enforced
    );
}

#[test]
fn an_inference_that_is_a_correction_is_dropped() {
    let value = [(F::EnrichedWebsite, json!("other.com"))];
    let answer = enforced(&good_lead_with(&[]), raw(50, &value, &value));
    assert_eq!(answer.corrections["ZI_Website__c"], "other.com");
    assert!(answer.inferences.is_empty());
    assert_eq!(answer.enforced.len(), 1);
}

#[rstest]
#[case::a_range(json!("100-200"), 150)]
#[case::a_number_in_words(json!("1,200 employees"), 1_200)]
#[case::a_fraction(json!(99.6), 100)]
#[case::a_number(json!(7), 7)]
fn employees_are_a_whole_number(#[case] value: Value, #[case] expected: i64) {
    let answer = enforced(&good_lead_with(&[]), raw(50, &[(F::EnrichedEmployees, value)], &[]));
    assert_eq!(answer.corrections["ZI_Employees__c"], json!(expected));
}

#[test]
fn a_correction_of_nothing_is_an_inference_and_an_inference_of_something_is_dropped() {
    let lead = good_lead_with(&[(F::EnrichedCompany, " ")]);
    let corrections = [(F::EnrichedCompany, json!("Engine Works"))];
    let inferences = [(F::EnrichedWebsite, json!("other.com"))];
    let answer = enforced(&lead, raw(10, &corrections, &inferences));
    assert!(answer.corrections.is_empty());
    assert_eq!(answer.inferences["ZI_Company_Name__c"], "Engine Works");
    assert_eq!(answer.inferences.len(), 1);
    assert_eq!(answer.enforced.len(), 1, "{:?}", answer.enforced);
}

#[test]
fn only_websites_that_may_stay_are_asked_about_and_by_their_host() {
    let lead = good_lead_with(&[(F::EnrichedWebsite, "")]);
    let domains = FreeMail::default();
    let proposing = |site: &str| raw(50, &[], &[(F::EnrichedWebsite, json!(site))]);
    assert_eq!(websites_to_check(&lead, &proposing("https://Other.com/about"), &domains), ["other.com"]);
    for none in ["gmail.com", "http://user@other.com", "acme-engines.com", "http://127.0.0.1/"] {
        assert!(websites_to_check(&lead, &proposing(none), &domains).is_empty(), "{none}");
    }
    let asked = RefCell::new(Vec::new());
    enforced_with(&lead, proposing("https://Other.com/about"), &|host| {
        asked.borrow_mut().push(host.to_owned());
        WebsiteVerdict::Answers
    });
    assert_eq!(*asked.borrow(), ["other.com"]);
}

#[test]
fn a_low_score_without_a_caution_is_told() {
    let mut answer = raw(60, &[], &[]);
    answer.bullets[0] = "✅ one".to_owned();
    let answer = enforced(&good_lead_with(&[]), answer);
    assert_eq!(answer.enforced, ["The model gave 60 without saying what is wrong."]);
}

#[test]
fn a_long_sentence_is_cut_at_twenty_five_words() {
    let mut answer = raw(100, &[], &[]);
    answer.bullets[1] = (1..=30).map(|word| format!("w{word} ")).collect();
    let answer = enforced(&good_lead_with(&[]), answer);
    assert!(answer.explanation[1].ends_with("w24 w25\u{2026}"));
    assert_eq!(answer.explanation[0], "⚠️ one");
}

proptest! {
    #[test]
    fn whatever_a_model_says_the_score_is_never_raised_and_no_free_mail_stays(
        score in 0u8..=100,
        site in "\\PC{0,30}|(https?://)?(www\\.)?(gmail|gmx|yahoo)\\.(com|de)(/[a-z]*)?|[a-z]{3,8}\\.(com|org)",
        employees in "\\PC{0,12}|[0-9]{1,6}(-[0-9]{1,6})?",
    ) {
        let proposals = [(F::EnrichedWebsite, json!(site)), (F::EnrichedEmployees, json!(employees))];
        let answer = enforced(&good_lead_with(&[]), raw(score, &proposals, &proposals));
        prop_assert!(answer.score <= score);
        for proposals in [&answer.corrections, &answer.inferences] {
            if let Some(site) = proposals.get("ZI_Website__c") {
                let host = website_host(site.as_str().unwrap()).unwrap();
                prop_assert!(!FreeMail::default().contains(host));
            }
            prop_assert!(proposals.get("ZI_Employees__c").is_none_or(Value::is_i64));
        }
    }
}
