//! What filters mean, what they refuse, and that no claim changes their shape.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn columns() -> Vec<Column> {
    let column = |name: &str, column_type: ColumnType| Column {
        name: name.into(),
        native_type: format!("{column_type:?}").to_lowercase().into(),
        column_type,
        nullable: true,
        has_default: false,
        generated: false,
        key: None,
        injection: None,
    };
    vec![
        column("id", ColumnType::Int { bits: 32, unsigned: false }),
        column("courier", ColumnType::Text),
        column("live", ColumnType::Boolean),
        column("Odd name", ColumnType::Text),
        column("notes", ColumnType::Json),
    ]
}

fn caller(claims: serde_json::Value) -> Caller {
    Caller { claims: claims.as_object().unwrap().clone(), ..Caller::default() }
}

fn filter(text: &str, claims: serde_json::Value) -> Condition {
    let columns = columns();
    RowFilter::new(text, &columns)
        .unwrap_or_else(|fault| panic!("{text}: {fault}"))
        .for_caller(&caller(claims), &columns)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn column(id: ColumnId, test: Test) -> Condition {
    Condition::Column(id, test)
}

#[rstest]
#[case("courier = ${claims.sub}", column(1, Test::Eq(text("u1"))))]
#[case("id=${claims.depot}", column(0, Test::Eq(Value::Int(7))))]
#[case("id <> -3", column(0, Test::Ne(Value::Int(-3))))]
#[case("id != 3", column(0, Test::Ne(Value::Int(3))))]
#[case("id<3 and id >= 1", Condition::All(vec![column(0, Test::Lt(Value::Int(3))), column(0, Test::Ge(Value::Int(1)))]))]
#[case(
    "id > 1 OR id <= 0 AND live = TRUE",
    Condition::Any(vec![
        column(0, Test::Gt(Value::Int(1))),
        Condition::All(vec![column(0, Test::Le(Value::Int(0))), column(2, Test::Eq(Value::Bool(true)))]),
    ])
)]
#[case(
    "(id > 1 OR id <= 0) AND live = false",
    Condition::All(vec![
        Condition::Any(vec![column(0, Test::Gt(Value::Int(1))), column(0, Test::Le(Value::Int(0)))]),
        column(2, Test::Eq(Value::Bool(false))),
    ])
)]
#[case(
    "NOT NOT courier IS NULL",
    Condition::Not(Box::new(Condition::Not(Box::new(column(1, Test::IsNull)))))
)]
#[case("courier is not null", column(1, Test::NotNull))]
#[case("courier IN ('a', 'it''s', ${claims.sub})", column(1, Test::In(vec![text("a"), text("it's"), text("u1")])))]
#[case("courier NOT IN ${claims.teams}", column(1, Test::NotIn(vec![text("x"), text("y")])))]
#[case("courier IN ${claims.sub}", column(1, Test::In(vec![text("u1")])))]
#[case("courier IN ${claims.none}", column(1, Test::In(vec![])))]
#[case("id BETWEEN 1 AND 5 AND live = true", Condition::All(vec![column(0, Test::Between(Value::Int(1), Value::Int(5))), column(2, Test::Eq(Value::Bool(true)))]))]
#[case("id not between 1 and 5", column(0, Test::NotBetween(Value::Int(1), Value::Int(5))))]
#[case("courier LIKE 'a%_\\%'", column(1, Test::Like(Pattern(vec![
    crate::batch::operation::PatternPart::Literal("a".to_owned()),
    crate::batch::operation::PatternPart::Any,
    crate::batch::operation::PatternPart::One,
    crate::batch::operation::PatternPart::Literal("%".to_owned()),
]))))]
#[case("courier NOT LIKE ''", column(1, Test::NotLike(Pattern(vec![]))))]
#[case("\"Odd name\" = 'x'", column(3, Test::Eq(text("x"))))]
#[case("courier = 5", column(1, Test::Eq(text("5"))))]
#[case("courier = ${claims.address.city}", column(1, Test::Eq(text("Oslo"))))]
#[case("notes IS NOT NULL", column(4, Test::NotNull))]
#[case("true", Condition::True)]
#[case("FALSE", Condition::False)]
fn a_filter_means_what_sql_means(#[case] written: &str, #[case] expected: Condition) {
    let claims = json!({
        "sub": "u1", "depot": "7", "teams": ["x", "y"], "none": [], "address": { "city": "Oslo" }
    });
    assert!(filter(written, claims) == expected, "{written}");
}

#[rstest]
#[case::missing("courier = ${claims.sub}", json!({}))]
#[case::null("courier = ${claims.sub}", json!({ "sub": null }))]
#[case::missing_below_not("NOT courier = ${claims.sub}", json!({}))]
#[case::missing_beside_an_alternative("live = true OR courier = ${claims.sub}", json!({}))]
#[case::missing_below_not_in("courier NOT IN (${claims.sub})", json!({}))]
#[case::a_list_outside_in("courier = ${claims.sub}", json!({ "sub": ["u1"] }))]
#[case::a_list_inside_parentheses_has_an_object("courier IN (${claims.sub})", json!({ "sub": ["u1", {}] }))]
#[case::a_list_with_null("courier NOT IN ${claims.sub}", json!({ "sub": ["u1", null] }))]
#[case::an_object("courier <> ${claims.sub}", json!({ "sub": { "a": 1 } }))]
#[case::text_for_a_number("NOT id = ${claims.sub}", json!({ "sub": "1 or 1=1" }))]
#[case::one_of_a_list_does_not_fit("id NOT IN ${claims.sub}", json!({ "sub": [1, "x"] }))]
fn a_claim_that_cannot_be_used_makes_the_whole_filter_false(
    #[case] written: &str,
    #[case] claims: serde_json::Value,
) {
    assert_eq!(filter(written, claims), Condition::False, "{written}");
}

#[rstest]
#[case("", "at character 1: expected a column, found the end")]
#[case(
    "courier",
    "at character 8: expected =, <>, <, <=, >, >=, IN, BETWEEN, LIKE, IS or NOT after `courier`, found the end; a column alone is no condition, write `courier = true`"
)]
#[case("curier = 'x'", "at character 1: there is no column `curier`; did you mean `courier`?")]
#[case("courier = 'x", "at character 11: the text is not closed")]
#[case("courier = x", "at character 11: expected a value, found `x`; a text stands in single quotes")]
#[case("courier = null", "at character 11: nothing equals NULL; write IS NULL")]
#[case("courier = '${claims.sub}'", "at character 11: a claim inside quotes would be plain text")]
#[case("courier = ${sub}", "at character 11: a claim is written `${claims.NAME}`")]
#[case("courier = ${claims.sub", "at character 11: the claim is not closed with `}`")]
#[case("courier = ${claims.a'b}", "at character 11: a claim is written `${claims.NAME}`")]
#[case(
    "${claims.sub} = courier",
    "at character 1: expected a column, found `${claims.sub}`; a comparison starts with its column"
)]
#[case("courier = 'x' courier = 'y'", "at character 15: expected AND, OR or the end, found `courier`")]
#[case("(courier = 'x'", "at character 15: expected AND, OR or `)`, found the end")]
#[case("courier = 'x';", "at character 14: `;` has no meaning here")]
#[case("courier = 'x' -- all", "at character 15: `-` is not a number")]
#[case("id = 'x'", "at character 6: this text is not a value of column `id`")]
#[case("id = 99999999999", "at character 6: this number is not a value of column `id`")]
#[case("id = 1a", "at character 6: `1a` is not a number")]
#[case("id LIKE 'x%'", "at character 9: LIKE needs text; column `id` is")]
#[case("courier LIKE ${claims.sub}", "at character 14: expected a text in quotes after LIKE")]
#[case("notes = '{}'", "at character 9: column `notes` (json) can only be tested for IS NULL")]
#[case("depot.name = 'x'", "at character 1: `depot.` names another table")]
#[case("id BETWEEN 1 OR 2", "at character 14: expected AND between the two ends, found `OR`")]
#[case("id IN ()", "at character 8: expected a value, found `)`")]
#[case("id IN 1", "at character 7: expected `(` or a claim after IN, found `1`")]
#[case("id IS 1", "at character 7: expected NULL after IS, found `1`")]
#[case("id NOT = 1", "at character 8: expected IN, BETWEEN or LIKE after `id`, found `=`")]
#[case("and id = 1", "at character 1: expected a column, found `and`")]
#[case("é = 1", "at character 1: there is no column `é`")]
fn a_mistake_is_told_with_its_place(#[case] written: &str, #[case] expected: &str) {
    let fault = RowFilter::new(written, &columns()).expect_err(written).to_string();
    assert!(fault.starts_with(expected), "{fault}");
}

#[test]
fn deep_nesting_is_refused_before_the_stack_is_used_up() {
    for opening in ["(", "NOT ", "( NOT "] {
        let text = format!("{}id = 1", opening.repeat(2_000));
        let fault = ParsedFilter::parse(&text).expect_err("too deep");
        assert!(fault.why.starts_with("more than 64"), "{fault}");
    }
}

/// The tree with every value taken out.
fn shape(condition: &Condition) -> String {
    match condition {
        Condition::All(parts) => format!("all({})", parts.iter().map(shape).collect::<Vec<_>>().join(",")),
        Condition::Any(parts) => format!("any({})", parts.iter().map(shape).collect::<Vec<_>>().join(",")),
        Condition::Not(part) => format!("not({})", shape(part)),
        Condition::Column(id, test) => format!("{id}:{:?}", std::mem::discriminant(test)),
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_claim_text_changes_the_shape_of_the_condition(claim in "\\PC{0,24}|' ?(OR|or) ?'1'='1|\\) OR \\(true|.*\\$\\{claims\\.sub\\}.*") {
        let text = "live = true AND (courier = ${claims.sub} OR NOT courier IN (${claims.sub}, 'x'))";
        let plain = filter(text, json!({ "sub": "u1" }));
        let filled = filter(text, json!({ "sub": claim.clone() }));
        prop_assert_eq!(shape(&filled), shape(&plain));
        let Condition::All(parts) = &filled else { panic!("{filled:?}") };
        let Condition::Any(parts) = &parts[1] else { panic!("{filled:?}") };
        prop_assert!(parts[0] == column(1, Test::Eq(Value::Text(claim))));
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[a-z0-9'\"(){}$.,<>=! %_\\\\-]{0,40}|(id|=|'x'|AND|OR|NOT|IN|\\(|\\)|1| |LIKE|IS|NULL|BETWEEN|\\$\\{claims.a\\}){0,12}") {
        if let Ok(parsed) = RowFilter::new(&text, &columns()) {
            let _ = parsed.for_caller(&caller(json!({ "a": [1, "x"] })), &columns());
        }
    }
}
