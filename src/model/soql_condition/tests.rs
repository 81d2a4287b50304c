use rstest::rstest;

use super::*;

fn written(text: &str) -> Result<String, SoqlFault> {
    let mut parser = ConditionParser::new(text)?;
    let condition = parser.condition()?;
    match parser.peek().kind {
        Kind::End => Ok(condition),
        _ => parser.expected("the end"),
    }
}

// What passes and what does not is shown at large by the tests of the queries for leads and of filters of a sync.

#[rstest]
#[case::alone("not A = 1", "NOT A = 1")]
#[case::last("A = 1 AND NOT B = 2", "A = 1 AND (NOT B = 2)")]
#[case::first("NOT A = 1 OR B = 2", "(NOT A = 1) OR B = 2")]
#[case::in_brackets("(NOT A = 1) OR B = 2", "(NOT A = 1) OR B = 2")]
#[case::of_brackets("A = 1 AND NOT (B = 2 OR C = 3)", "A = 1 AND (NOT (B = 2 OR C = 3))")]
fn a_not_stands_in_brackets_beside_others(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(written(text).unwrap(), expected);
    assert_eq!(written(expected).unwrap(), expected);
}

#[test]
fn fields_are_told_with_their_places_and_those_of_semi_joins_are_not() {
    let text = "A = 1 AND Owner.Name = 'x' AND DAY_ONLY(CreatedDate) = TODAY AND Id IN (SELECT LeadId FROM B WHERE C = 1) AND D = 1";
    let mut parser = ConditionParser::new(text).unwrap();
    parser.condition().unwrap();
    let fields: Vec<(&str, usize)> =
        parser.fields().iter().map(|field| (field.path.as_str(), field.position)).collect();
    assert_eq!(fields, [("A", 1), ("Owner.Name", 11), ("CreatedDate", 41), ("Id", 66), ("D", 111)]);
}

#[rstest]
#[case("CreatedDate = TODAY", true)]
#[case("CreatedDate > LAST_N_DAYS:30", true)]
#[case("CreatedDate < N_WEEKS_AGO:2", true)]
#[case("CreatedDate > 2026-01-01T00:00:00Z", false)]
#[case("Note__c = 'TODAY'", false)]
fn a_span_that_moves_by_itself_is_told(#[case] text: &str, #[case] moves: bool) {
    let mut parser = ConditionParser::new(text).unwrap();
    parser.condition().unwrap();
    assert_eq!(parser.moves_with_time(), moves);
}
