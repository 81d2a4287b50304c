use proptest::prelude::*;
use rstest::rstest;

use super::*;

const LIMIT: u64 = 500;

fn sent(text: &str) -> String {
    match guard(text, LIMIT) {
        Ok(query) => {
            assert_eq!(query.original, text);
            query.soql
        }
        Err(fault) => panic!("{text}: {fault}"),
    }
}

/// The eight kinds of input that the old guard was measured by, and what it did with them.
#[rstest]
#[case::no_text_is_any_lead("", Ok("SELECT Id FROM Lead LIMIT 500"))]
#[case::a_condition("Country = 'US'", Ok("SELECT Id FROM Lead WHERE Country = 'US' LIMIT 500"))]
#[case::an_alias("SELECT l.Id FROM Lead l", Ok("SELECT Id FROM Lead l LIMIT 500"))]
#[case::without_ids("SELECT Name FROM Lead", Err("`SELECT Id FROM Lead ..`"))]
#[case::created_date(
    "SELECT Id FROM Lead WHERE CreatedDate = TODAY",
    Ok("SELECT Id FROM Lead WHERE CreatedDate = TODAY LIMIT 500")
)]
#[case::is_deleted(
    "SELECT Id FROM Lead WHERE IsDeleted = false",
    Ok("SELECT Id FROM Lead WHERE IsDeleted = false LIMIT 500")
)]
#[case::another_object("SELECT Id FROM Contact WHERE Title = 'lead'", Err("not `FROM Contact`"))]
#[case::union("SELECT Id FROM Lead UNION SELECT Id FROM Contact", Err("no UNION"))]
fn the_guard_judges_the_query_and_not_its_words(#[case] text: &str, #[case] expected: Result<&str, &str>) {
    match (guard(text, LIMIT), expected) {
        (Ok(query), Ok(expected)) => assert_eq!(query.soql, expected),
        (Err(fault), Err(expected)) => assert!(fault.to_string().contains(expected), "{fault}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[rstest]
#[case("LIMIT 20", 20)]
#[case("SELECT Id FROM Lead LIMIT 500", 500)]
#[case("SELECT Id FROM Lead LIMIT 501", 500)]
#[case("limit 99999999999", 500)]
fn a_limit_is_lowered_and_never_raised(#[case] text: &str, #[case] expected: u64) {
    let query = guard(text, LIMIT).unwrap();
    assert_eq!(query.limit, expected);
    assert_eq!(query.soql, format!("SELECT Id FROM Lead LIMIT {expected}"));
    assert_eq!(query.count_soql, "SELECT COUNT() FROM Lead");
    assert!(query.limit_asked.is_some());
}

#[rstest]
#[case::the_word_in_front("where Rating='Hot'", "WHERE Rating = 'Hot'")]
#[case::not_equal("Status <> 'New'", "WHERE Status != 'New'")]
#[case::brackets(
    "(A__c = 1 OR B__c >= -2.5) AND NOT C__c = null",
    "WHERE (A__c = 1 OR B__c >= -2.5) AND (NOT C__c = null)"
)]
#[case::like(r"Company LIKE 'O\'Brien\_%'", r"WHERE Company LIKE 'O\'Brien\_%'")]
#[case::list("Country in ('US','CA')", "WHERE Country IN ('US', 'CA')")]
#[case::not_in("Country NOT IN ('US')", "WHERE Country NOT IN ('US')")]
#[case::multi_picklist("Tags__c INCLUDES ('a;b','c')", "WHERE Tags__c INCLUDES ('a;b', 'c')")]
#[case::excludes("Tags__c excludes ('a')", "WHERE Tags__c EXCLUDES ('a')")]
#[case::span("CreatedDate = last_n_days:30", "WHERE CreatedDate = LAST_N_DAYS:30")]
#[case::ago("CreatedDate > N_WEEKS_AGO:2", "WHERE CreatedDate > N_WEEKS_AGO:2")]
#[case::date("ConvertedDate >= 2026-01-31", "WHERE ConvertedDate >= 2026-01-31")]
#[case::time("CreatedDate < 2026-01-31T23:59:59Z", "WHERE CreatedDate < 2026-01-31T23:59:59Z")]
#[case::time_with_zone(
    "CreatedDate < 2026-01-31T23:59:59.000+01:00",
    "WHERE CreatedDate < 2026-01-31T23:59:59.000+01:00"
)]
#[case::parent("Owner.Profile.Name = 'Sales'", "WHERE Owner.Profile.Name = 'Sales'")]
#[case::truth("IsConverted = FALSE", "WHERE IsConverted = false")]
#[case::amount("AnnualRevenue > usd5000", "WHERE AnnualRevenue > USD5000")]
#[case::function("calendar_year(CreatedDate) = 2025", "WHERE CALENDAR_YEAR(CreatedDate) = 2025")]
#[case::functions(
    "HOUR_IN_DAY(convertTimezone(CreatedDate)) = 9",
    "WHERE HOUR_IN_DAY(convertTimezone(CreatedDate)) = 9"
)]
#[case::label("toLabel(Status) = 'Neu'", "WHERE toLabel(Status) = 'Neu'")]
#[case::semi_join(
    "Id IN (SELECT LeadId FROM CampaignMember WHERE Campaign.Name = 'Fair' AND HasResponded = true)",
    "WHERE Id IN (SELECT LeadId FROM CampaignMember WHERE Campaign.Name = 'Fair' AND HasResponded = true)"
)]
#[case::anti_join(
    "Id NOT IN (SELECT m.LeadId FROM CampaignMember m) AND Country = 'US'",
    "WHERE Id NOT IN (SELECT m.LeadId FROM CampaignMember m) AND Country = 'US'"
)]
#[case::words_in_a_text(
    "Company = 'DROP TABLE; UNION -- SELECT' AND Title = 'lead'",
    "WHERE Company = 'DROP TABLE; UNION -- SELECT' AND Title = 'lead'"
)]
#[case::names_like_statements(
    "Update__c = 1 AND Deleted_By__c != null",
    "WHERE Update__c = 1 AND Deleted_By__c != null"
)]
#[case::order("ORDER BY CreatedDate desc nulls LAST, Name", "ORDER BY CreatedDate DESC NULLS LAST, Name")]
#[case::another_script("Company = '株式会社'", "WHERE Company = '株式会社'")]
#[case::gaps("\u{feff}Country\u{a0}=\r\n\t'US' ; ", "WHERE Country = 'US'")]
fn what_is_soql_passes(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(sent(text), format!("SELECT Id FROM Lead {expected} LIMIT 500"));
    // What is sent would pass again, unchanged.
    assert_eq!(sent(&sent(text)), sent(text));
}

#[rstest]
#[case("select Id from lead")]
#[case("SELECT Id, Name, Owner.Name FROM Lead LIMIT 900;")]
#[case("SELECT Lead.Id FROM Lead")]
fn whatever_is_selected_only_ids_are_asked_for(#[case] text: &str) {
    assert_eq!(sent(text), "SELECT Id FROM Lead LIMIT 500");
}

#[test]
fn an_alias_holds_everywhere() {
    let query =
        guard("SELECT x.Id, x.Name FROM Lead AS x WHERE x.Owner.Name = 'A' ORDER BY x.Name LIMIT 9", LIMIT)
            .unwrap();
    assert_eq!(query.soql, "SELECT Id FROM Lead x WHERE x.Owner.Name = 'A' ORDER BY x.Name LIMIT 9");
    assert_eq!(query.count_soql, "SELECT COUNT() FROM Lead x WHERE x.Owner.Name = 'A'");
}

#[rstest]
#[case::delete("DELETE FROM Lead", 1, "no DELETE")]
#[case::update("  update Lead set X = 1", 3, "no UPDATE")]
#[case::drop("DROP TABLE Lead", 1, "no DROP")]
#[case::two_statements("SELECT Id FROM Lead; SELECT Id FROM Lead", 20, "one statement only")]
#[case::join("SELECT Id FROM Lead l JOIN Contact c ON l.Id = c.Id", 23, "no JOIN")]
#[case::second_object("SELECT Id FROM Lead, Contact", 20, "one object only")]
#[case::a_child_query("SELECT Id, (SELECT Id FROM Tasks) FROM Lead", 12, "a child query")]
#[case::a_star("SELECT * FROM Lead", 8, "`*`")]
#[case::count("SELECT COUNT() FROM Lead", 8, "`COUNT()`")]
#[case::label("SELECT toLabel(Status), Id FROM Lead", 8, "`toLabel()`")]
#[case::fields("SELECT FIELDS(ALL) FROM Lead", 8, "`FIELDS()`")]
#[case::typeof_("SELECT Id, TYPEOF Owner WHEN User THEN Id END FROM Lead", 12, "TYPEOF")]
#[case::another_objects_id("SELECT Owner.Id FROM Lead", 1, "the ids of the leads")]
#[case::group("SELECT Id FROM Lead GROUP BY Id", 21, "GROUP BY")]
#[case::lock("SELECT Id FROM Lead FOR UPDATE", 21, "FOR UPDATE")]
#[case::tracking("SELECT Id FROM Lead WHERE A = 1 UPDATE TRACKING", 33, "TRACKING")]
#[case::all_rows("SELECT Id FROM Lead ALL ROWS", 21, "ALL ROWS")]
#[case::with("SELECT Id FROM Lead WITH SECURITY_ENFORCED", 21, "WITH")]
#[case::scope("SELECT Id FROM Lead USING SCOPE mine", 21, "USING SCOPE")]
#[case::offset("SELECT Id FROM Lead LIMIT 5 OFFSET 10", 29, "OFFSET")]
#[case::line_comment("Country = 'US' -- all", 16, "comments")]
#[case::block_comment("Country = /* x */ 'US'", 11, "comments")]
#[case::bound("Id = :id", 6, "bound variable")]
#[case::bound_list("Id IN :ids", 7, "expected `(`")]
#[case::no_quote("Company = 'Acme", 11, "no closing quote")]
#[case::strange_escape(r"Company = 'a\x'", 13, "escape")]
#[case::line_break("Company = 'a\nb'", 13, "line break")]
#[case::double_quotes("Company = \"Acme\"", 11, "single quotes")]
#[case::curly_quotes("Company = \u{2018}Acme\u{2019}", 11, "single quotes")]
#[case::bare_text("Company = Acme", 11, "'Acme'")]
#[case::and_or("A = 1 AND B = 2 OR C = 3", 17, "brackets")]
#[case::no_value("Company =", 10, "the end of the query")]
#[case::no_operator("IsConverted", 12, "expected a comparison")]
#[case::no_field("= 1", 1, "expected a field")]
#[case::an_open_bracket("(A = 1", 7, "expected `)`")]
#[case::a_second_bracket("A = 1)", 6, "found `)`")]
#[case::empty_list("Id IN ()", 8, "expected a value")]
#[case::a_time_without_zone("CreatedDate > 2026-01-01T00:00:00", 15, "with the zone")]
#[case::no_date("CreatedDate > 2026-13-01", 15, "no date")]
#[case::no_number("A = 1.2.3", 5, "no number")]
#[case::less_than_null("A < null", 3, "null")]
#[case::like_a_number("A LIKE 5", 8, "a text in single quotes")]
#[case::span_without_number("CreatedDate = LAST_N_DAYS", 26, "expected `:`")]
#[case::span_with_text("CreatedDate = LAST_N_DAYS:'3'", 27, "LAST_N_DAYS:30")]
#[case::distance("DISTANCE(Address, GEOLOCATION(1,1), 'mi') < 20", 1, "`DISTANCE()`")]
#[case::a_join_in_a_join(
    "Id IN (SELECT LeadId FROM CampaignMember WHERE CampaignId IN (SELECT Id FROM Campaign))",
    63,
    "within a query"
)]
#[case::a_limited_join("Id IN (SELECT LeadId FROM CampaignMember LIMIT 1)", 42, "expected WHERE or `)`")]
#[case::limit_in_words("LIMIT ten", 7, "whole number")]
#[case::limit_below_zero("LIMIT -1", 7, "whole number")]
#[case::limit_zero("LIMIT 0", 7, "nothing")]
#[case::two_limits("LIMIT 1 LIMIT 2", 9, "expected")]
#[case::nulls("ORDER BY Name NULLS", 20, "FIRST or LAST")]
#[case::too_far("a.b.c.d.e.f.g = 1", 1, "relationships")]
#[case::as_nothing("SELECT Id FROM Lead AS WHERE A = 1", 24, "an alias")]
#[case::backslash("A = 1 \\ 2", 7, "means nothing")]
#[case::a_zero_byte("A = 1\0", 6, "control character")]
fn what_is_not_is_refused_with_its_position(#[case] text: &str, #[case] position: usize, #[case] says: &str) {
    let fault = guard(text, LIMIT).unwrap_err();
    assert!(fault.to_string().contains(says), "{fault}");
    assert_eq!(fault.position, position, "{fault}");
}

#[test]
fn brackets_without_end_are_refused_before_the_stack_is_full() {
    let deep = format!("{}A = 1{}", "(".repeat(40_000), ")".repeat(40_000));
    assert!(guard(&deep, LIMIT).unwrap_err().what.contains("brackets within each other"));
    let nots = "NOT ".repeat(20_000);
    assert!(guard(&nots, LIMIT).unwrap_err().what.contains("within each other"));
    let functions = "toLabel(".repeat(10_000);
    assert!(guard(&functions, LIMIT).unwrap_err().what.contains("functions within functions"));
    let long = format!("A IN ({}'x')", "'x',".repeat(30_000));
    assert!(guard(&long, LIMIT).unwrap_err().what.contains("longer than"));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_rewritten_to_one_that_passes_unchanged(text in "\\PC{0,60}") {
        if let Ok(query) = guard(&text, LIMIT) {
            prop_assert!(query.soql.starts_with("SELECT Id FROM Lead"));
            prop_assert_eq!(guard(&query.soql, LIMIT).unwrap().soql, query.soql);
        }
    }

    #[test]
    fn words_of_soql_in_any_order_never_reach_another_object(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "SELECT", "Id", "FROM", "Lead", "Contact", "WHERE", "AND", "OR", "NOT", "(", ")", "=", "IN", "'x'", "1", ",",
                "ORDER BY", "LIMIT", "TODAY", "l", ".", "LIKE", "null", "UNION", "UPDATE", ":", "-", "\\",
            ]),
            0..14,
        ),
    ) {
        if let Ok(query) = guard(&words.join(" "), LIMIT) {
            prop_assert!(query.soql.starts_with("SELECT Id FROM Lead"));
            prop_assert!(query.limit <= LIMIT);
            prop_assert_eq!(guard(&query.soql, LIMIT).unwrap().soql, query.soql);
        }
    }
}
