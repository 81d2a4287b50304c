use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::sync::load::Watermark;
use crate::sync::window::window;

fn an_hour() -> Window {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mark = Watermark { at: at("2026-11-23T09:00:00Z") };
    window(CursorField::SystemModstamp, Some(mark), at("2026-11-23T10:00:00Z"), Duration::ZERO)
}

const HOUR: &str = "SystemModstamp >= 2026-11-23T09:00:00.000Z AND SystemModstamp < 2026-11-23T10:00:00.000Z";

fn lead() -> ObjectDescribe {
    serde_json::from_value(json!({"name": "Lead", "fields": [
        {"name": "Id", "type": "id"},
        {"name": "Country", "type": "string"},
        {"name": "CreatedDate", "type": "datetime"},
        {"name": "Score__c", "type": "double", "calculated": true},
        {"name": "OwnerId", "type": "reference", "relationshipName": "Owner"},
    ]}))
    .unwrap()
}

#[rstest]
#[case::plain("Country = 'US'", "(Country = 'US')")]
#[case::with_the_word_in_front("where Country='US'", "(Country = 'US')")]
#[case::an_or("x = 1 OR y = 2", "(x = 1 OR y = 2)")]
#[case::an_or_in_brackets("(x = 1) or (y = 2)", "((x = 1) OR (y = 2))")]
#[case::a_list("Status IN ('New','Old') AND Rating != null", "(Status IN ('New', 'Old') AND Rating != null)")]
#[case::like("Name LIKE 'A%'", "(Name LIKE 'A%')")]
#[case::picklists("Colours__c INCLUDES ('red;blue', 'green')", "(Colours__c INCLUDES ('red;blue', 'green'))")]
#[case::a_not("NOT Country = 'US'", "(NOT Country = 'US')")]
#[case::dates(
    "CreatedDate > LAST_N_DAYS:30 AND Day__c = 2026-11-23",
    "(CreatedDate > LAST_N_DAYS:30 AND Day__c = 2026-11-23)"
)]
#[case::a_parent("Owner.Profile.Name = 'Sales'", "(Owner.Profile.Name = 'Sales')")]
#[case::a_semi_join(
    "Id IN (SELECT LeadId FROM CampaignMember WHERE A = 1 OR B = 2)",
    "(Id IN (SELECT LeadId FROM CampaignMember WHERE A = 1 OR B = 2))"
)]
#[case::a_text_that_looks_like_an_escape("Name = 'x\\') OR (Id != \\''", "(Name = 'x\\') OR (Id != \\'')")]
#[case::a_comment_in_a_text("Name = '-- all'", "(Name = '-- all')")]
fn a_condition_is_written_anew_in_brackets(#[case] text: &str, #[case] expected: &str) {
    let filter = Filter::parse(text).unwrap();
    assert_eq!(filter.soql(), expected);
    assert_eq!(Filter::parse(filter.soql()).unwrap().soql(), format!("({expected})"));
}

#[rstest]
#[case::out_of_the_brackets("a = 1) OR (b = 2", 6, "closes none")]
#[case::a_bracket_more("a = 1))", 6, "closes none")]
#[case::a_bracket_less("(a = 1 OR b = 2", 16, "expected `)`")]
#[case::mixed("a = 1 AND b = 2 OR c = 3", 17, "brackets")]
#[case::order("a = 1 ORDER BY a", 7, "take ORDER BY out")]
#[case::limit("a = 1 LIMIT 5", 7, "take LIMIT out")]
#[case::offset("a = 1 OFFSET 5", 7, "take OFFSET out")]
#[case::group("a = 1 GROUP BY a", 7, "take GROUP BY out")]
#[case::all_rows("a = 1 ALL ROWS", 7, "take ALL ROWS out")]
#[case::a_lock("a = 1 FOR UPDATE", 7, "take it out")]
#[case::union("a = 1 UNION SELECT Id FROM Lead", 7, "no UNION")]
#[case::line_comment("a = 1 -- all", 7, "comments")]
#[case::block_comment("a = /* b */ 1", 5, "comments")]
#[case::slashes("a = 1 // all", 7, "comments")]
#[case::two_statements("a = 1; DELETE FROM Lead", 6, "one statement only")]
#[case::a_semicolon("a = 1;", 6, "one statement only")]
#[case::a_select("SELECT Id FROM Lead", 1, "a condition alone")]
#[case::nothing("  ", 3, "leave `where` out")]
#[case::nothing_behind_the_word("where", 6, "leave `where` out")]
#[case::an_open_text("a = 'x", 5, "no closing quote")]
#[case::a_bare_text("a = x", 5, "'x'")]
#[case::a_bound_variable("a = :x", 5, "bound variable")]
#[case::a_second_line("a = 1\nb = 2", 7, "expected AND, OR or the end")]
fn what_would_escape_the_window_is_refused_with_its_position(
    #[case] text: &str,
    #[case] position: usize,
    #[case] says: &str,
) {
    let error = Filter::parse(text).unwrap_err();
    assert!(error.what.contains(says), "{error}");
    assert_eq!(error.position, position, "{error}");
    assert!(error.to_string().starts_with("`where`, character "));
}

#[test]
fn window_and_filter_stand_side_by_side() {
    let filter = Filter::parse("Country = 'US' OR Country = 'CA'").unwrap();
    let hour = an_hour();
    assert_eq!(
        where_clause(Some(&hour), Some(&filter)),
        format!("{HOUR} AND (Country = 'US' OR Country = 'CA')")
    );
    assert_eq!(where_clause(Some(&hour), None), HOUR);
    assert_eq!(where_clause(None, Some(&filter)), "(Country = 'US' OR Country = 'CA')");
    assert_eq!(where_clause(None, None), "");
    let full = window(CursorField::SystemModstamp, None, Timestamp::UNIX_EPOCH, Duration::ZERO);
    assert_eq!(where_clause(Some(&full), Some(&filter)), "(Country = 'US' OR Country = 'CA')");
    assert_eq!(where_clause(Some(&full), None), "");
}

#[test]
fn fields_are_told_once_and_held_against_the_object() {
    let filter =
        Filter::parse("country = 'US' AND (Country != 'CA' OR Owner.Name = 'x' OR Lead.Id = '1')").unwrap();
    assert_eq!(filter.fields(), ["country", "Owner.Name", "Lead.Id"]);
    assert_eq!(filter.check(&lead()), Ok(()));
}

#[rstest]
#[case::a_field("Country = 'US' AND Contry = 'US'", 20, "no field `Contry`")]
#[case::a_reference("Owned.Name = 'x'", 1, "no reference `Owned`")]
#[case::a_reference_called_as_its_field("OwnerId.Name = 'x'", 1, "no reference `OwnerId`")]
fn a_field_that_the_object_does_not_have_is_told_with_its_position(
    #[case] text: &str,
    #[case] position: usize,
    #[case] says: &str,
) {
    let error = Filter::parse(text).unwrap().check(&lead()).unwrap_err();
    assert_eq!(error.position, position);
    assert!(error.what.contains(says), "{error}");
}

#[rstest]
#[case::its_own("Country = 'US'", None)]
#[case::a_fixed_day("CreatedDate > 2026-01-01T00:00:00Z", None)]
#[case::days("CreatedDate = LAST_N_DAYS:30", Some("moves with time"))]
#[case::a_parent("Owner.Name = 'x'", Some("another record's"))]
#[case::a_formula("score__c > 5", Some("a formula"))]
fn what_a_stamp_does_not_show_is_told(#[case] text: &str, #[case] says: Option<&str>) {
    let notes = Filter::parse(text).unwrap().unseen_changes(&lead(), CursorField::SystemModstamp);
    match says {
        Some(says) => assert!(notes.len() == 1 && notes[0].contains(says), "{notes:?}"),
        None => assert!(notes.is_empty(), "{notes:?}"),
    }
}

/// Brackets outside texts, as depth after each character; `None` where a text does not end.
fn depths(soql: &str) -> Option<Vec<i32>> {
    let (mut depth, mut depths, mut characters) = (0, Vec::new(), soql.chars());
    while let Some(character) = characters.next() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' => loop {
                match characters.next()? {
                    '\\' => drop(characters.next()?),
                    '\'' => break,
                    _ => {}
                }
            },
            _ => {}
        }
        depths.push(depth);
    }
    Some(depths)
}

/// Conditions that SOQL has, brackets and ORs at any depth, in anybody's way of writing.
fn condition() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "'x'",
        "'it\\'s ) OR ('",
        "5",
        "-1.5",
        "null",
        "true",
        "TODAY",
        "2026-11-23",
    ]);
    let comparison = (prop::sample::select(vec!["a", "B__c", "Owner.Name", "DAY_ONLY(CreatedDate)"]), value)
        .prop_map(|(field, value)| format!("{field}={value}"));
    let leaf = prop_oneof![
        comparison,
        Just("Status in ('a' , 'b')".to_owned()),
        Just("Id NOT IN (SELECT LeadId FROM M WHERE a = 1 OR b = 2)".to_owned()),
        Just("Name LIKE '%(%'".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let joined = |word: &'static str| {
            prop::collection::vec(inner.clone().prop_map(|one| format!("({one})")), 2..4)
                .prop_map(move |all| all.join(&format!("  {word}\n")))
        };
        prop_oneof![joined("or"), joined("AND"), inner.clone().prop_map(|one| format!("not ({one})"))]
    })
}

proptest! {
    #[test]
    fn every_condition_passes_and_stays_within_its_brackets(text in condition()) {
        let filter = Filter::parse(&text).unwrap();
        let depths = depths(filter.soql()).expect("its texts end");
        prop_assert!(depths[..depths.len() - 1].iter().all(|depth| *depth >= 1), "{}", filter.soql());
        prop_assert_eq!(depths.last(), Some(&0));
        // One bracket too many anywhere outside a text, and it is refused.
        let (closed, open) = (format!("{text})"), format!("({text}"));
        prop_assert!(Filter::parse(&closed).is_err() && Filter::parse(&open).is_err());
        let clause = format!("{text}) OR (a = 1");
        prop_assert_eq!(Filter::parse(&clause).unwrap_err().position, text.chars().count() + 1);
    }

    #[test]
    fn whatever_passes_stays_within_its_brackets(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b.c", "=", "!=", "IN", "NOT", "AND", "OR", "(", ")", "'x'", "'y\\''", "'", "\\", "1", ",", "null", "LIKE",
                "TODAY", "--", "/*", ";", "ORDER BY", "LIMIT", "SELECT", "FROM", "WHERE", "\n", "LAST_N_DAYS:3", "ALL ROWS",
            ]),
            0..16,
        ),
    ) {
        if let Ok(filter) = Filter::parse(&words.join(" ")) {
            let soql = filter.soql();
            let depths = depths(soql).expect("its texts end");
            // From the first bracket to the last character nothing comes back out.
            prop_assert!(soql.starts_with('(') && depths[..depths.len() - 1].iter().all(|depth| *depth >= 1), "{}", soql);
            prop_assert_eq!(depths.last(), Some(&0));
            prop_assert!(!soql.contains("--") && !soql.contains("/*") && !soql.contains(';'));
            let clause = where_clause(Some(&an_hour()), Some(&filter));
            let with_window = clause.strip_prefix(HOUR).and_then(|rest| rest.strip_prefix(" AND "));
            prop_assert_eq!(with_window, Some(soql));
        }
    }

    #[test]
    fn any_text_is_refused_or_reads_back(text in "\\PC{0,50}") {
        if let Ok(filter) = Filter::parse(&text) {
            let again = Filter::parse(filter.soql()).unwrap();
            prop_assert_eq!(again.soql(), format!("({})", filter.soql()));
        }
    }
}
