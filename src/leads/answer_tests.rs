use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

const GOOD: &str = r#"{"confidence_score": 88, "explanation_bullets": ["✅ a", "⚠️ b", "✅ c"],
    "corrections": {"ZI_Website__c": "acme.com", "ZI_Company_Name__c": null, "ZI_Employees__c": 250,
                    "ZI_State__c": null, "ZI_Country__c": " "},
    "inferences": {"ZI_Website__c": null, "ZI_Company_Name__c": null, "ZI_Employees__c": "100-200",
                   "ZI_State__c": null, "ZI_Country__c": null}}"#;

fn read(content: &str) -> Result<RawAnswer, AnswerFault> {
    read_answer(content, &FieldMapping::default())
}

/// A good answer with one thing changed.
fn with(key: &str, value: Value) -> String {
    let mut answer: Value = serde_json::from_str(GOOD).unwrap();
    answer[key] = value;
    answer.to_string()
}

#[rstest]
#[case::alone(GOOD.to_owned())]
#[case::blanks(format!("\u{feff}\n  {GOOD}\r\n"))]
#[case::a_fence(format!("```json\n{GOOD}\n```"))]
#[case::a_bare_fence(format!("```\n{GOOD}\n```"))]
#[case::whole_as_a_fraction(GOOD.replace("88", "88.0"))]
fn a_good_answer_is_read(#[case] content: String) {
    let answer = read(&content).unwrap();
    assert_eq!(answer.score, 88);
    assert_eq!(answer.bullets, ["✅ a", "⚠️ b", "✅ c"]);
    let corrections =
        [(LeadField::EnrichedWebsite, json!("acme.com")), (LeadField::EnrichedEmployees, json!(250))];
    assert_eq!(answer.corrections, BTreeMap::from(corrections));
    assert_eq!(answer.inferences, BTreeMap::from([(LeadField::EnrichedEmployees, json!("100-200"))]));
}

#[rstest]
#[case::nothing(String::new(), "the model answered nothing")]
#[case::blanks(" \n\t".to_owned(), "the model answered nothing")]
#[case::an_empty_fence("```json\n```".to_owned(), "the model answered nothing")]
#[case::prose("I think this lead is fine.".to_owned(), "prose where one JSON object")]
#[case::refusal("I'm sorry, I can't help with that.".to_owned(), "prose where one JSON object")]
#[case::prose_before(format!("Here it is: {GOOD}"), "prose around")]
#[case::prose_behind(format!("{GOOD} I hope this helps."), "prose around")]
#[case::two_objects(format!("{GOOD}{GOOD}"), "prose around")]
#[case::prose_and_a_fence(format!("Sure!\n```json\n{GOOD}\n```"), "prose around")]
#[case::half_a_json(GOOD[..GOOD.len() / 2].to_owned(), "stops in the middle")]
#[case::half_a_fence(format!("```json\n{}", &GOOD[..40]), "prose around")]
#[case::single_quotes("{'confidence_score': 1}".to_owned(), "no valid JSON, from line 1, column 2 on")]
#[case::a_list(format!("[{GOOD}]"), "a list where an object")]
#[case::a_number("88".to_owned(), "a number where an object")]
#[case::a_text("\"88\"".to_owned(), "a text where an object")]
#[case::null("null".to_owned(), "a bare value where an object")]
#[case::score_of_900(with("confidence_score", json!(900)), "`confidence_score` in the model's answer is 900, which is not between")]
#[case::score_below_zero(with("confidence_score", json!(-1)), "is -1, which is not between")]
#[case::score_just_above(with("confidence_score", json!(100.5)), "is 100.5, which is not between")]
#[case::score_with_a_half(with("confidence_score", json!(88.5)), "is 88.5, which is no whole number")]
#[case::score_as_text(with("confidence_score", json!("88")), "`confidence_score` in the model's answer is a text, not a whole number")]
#[case::score_of_null(with("confidence_score", json!(null)), "is null, not a whole number")]
#[case::bullets_as_text(with("explanation_bullets", json!("a")), "is a text, not a list of texts")]
#[case::a_bullet_as_object(with("explanation_bullets", json!(["a", {"b": 1}, "c"])), "`explanation_bullets[2]` in the model's answer is an object, not a text")]
#[case::two_bullets(with("explanation_bullets", json!(["a", "b"])), "has 2 texts, not 3 to 5")]
#[case::six_bullets(with("explanation_bullets", json!(["a", "b", "c", "d", "e", "f"])), "has 6 texts, not 3 to 5")]
#[case::an_empty_bullet(with("explanation_bullets", json!(["a", " ", "c"])), "text 2 of `explanation_bullets` in the model's answer is empty")]
#[case::an_essay(with("explanation_bullets", json!(["a", "b", "word ".repeat(61)])), "text 3 of `explanation_bullets` in the model's answer has 61 words")]
#[case::corrections_as_list(with("corrections", json!([])), "`corrections` in the model's answer is a list, not an object")]
#[case::inferences_of_null(with("inferences", json!(null)), "`inferences` in the model's answer is null, not an object")]
#[case::a_website_as_number(with("corrections", json!({"ZI_Website__c": 5})), "`corrections.ZI_Website__c` in the model's answer is a number, not a text or null")]
#[case::employees_as_truth(with("inferences", json!({"ZI_Employees__c": true})), "`inferences.ZI_Employees__c` in the model's answer is a truth value, not a whole number or null")]
#[case::a_field_not_asked_about(with("corrections", json!({"Email": "a@b.c"})), "a key that was not asked for: `Email`")]
#[case::another_key(with("thoughts", json!("hm")), "a key that was not asked for: `thoughts`")]
#[case::a_key_that_is_a_sentence(with("Ada Lovelace <ada@acme.com>", json!(1)), "a key that was not asked for")]
#[case::a_long_value(with("corrections", json!({"ZI_Company_Name__c": "x".repeat(256)})), "`corrections.ZI_Company_Name__c` in the model's answer is longer than the field")]
#[case::no_end("x".repeat(40_000), "40000 bytes, far more")]
fn every_bad_answer_has_its_own_sentence(#[case] content: String, #[case] says: &str) {
    let fault = read(&content).unwrap_err().to_string();
    assert!(fault.contains(says), "{fault}");
    assert!(!fault.contains("Ada"), "what a model said is in no fault: {fault}");
}

#[rstest]
#[case("confidence_score")]
#[case("explanation_bullets")]
#[case("corrections")]
#[case("inferences")]
fn a_missing_key_is_named(#[case] key: &'static str) {
    let mut answer: Value = serde_json::from_str(GOOD).unwrap();
    answer.as_object_mut().unwrap().remove(key);
    assert_eq!(read(&answer.to_string()), Err(AnswerFault::MissingKey(key)));
}

#[test]
fn a_server_without_a_strict_schema_may_leave_out_what_it_does_not_propose() {
    let answer = read(&with("corrections", json!({}))).unwrap();
    assert!(answer.corrections.is_empty());
}

#[test]
fn the_fields_are_those_of_the_org() {
    let mut fields = FieldMapping::default();
    fields.set(LeadField::EnrichedWebsite, Some("Site__c".parse().unwrap()));
    let content = with("corrections", json!({"Site__c": "acme.com"}));
    let content = content.replace("ZI_Website__c", "Site__c");
    let answer = read_answer(&content, &fields).unwrap();
    assert_eq!(answer.corrections[&LeadField::EnrichedWebsite], "acme.com");
    assert_eq!(read(&content), Err(AnswerFault::ExtraKey("Site__c".to_owned())));
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(content in "\\PC{0,200}") {
        let _ = read(&content);
        let _ = read(&format!("{{{content}"));
    }

    #[test]
    fn a_good_answer_cut_anywhere_is_a_fault(cut in 0..GOOD.len() - 1) {
        if let Some(half) = GOOD.get(..cut) {
            prop_assert!(read(half).is_err());
        }
    }
}
