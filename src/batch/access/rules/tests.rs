//! Who is granted what, as a table, and what no role can take away.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::batch::catalogue::ColumnType;
use crate::batch::operation::Test;
use crate::batch::value::Value;

const NAMES: [&str; 3] = ["board_id", "body", "draft"];

fn columns() -> Vec<Column> {
    NAMES
        .map(|name| Column {
            name: name.into(),
            column_type: ColumnType::Text,
            native_type: "text".into(),
            nullable: true,
            has_default: false,
            generated: false,
            key: None,
            injection: None,
        })
        .into()
}

fn some(columns: &str, filter: Option<&str>) -> GrantSetting {
    GrantSetting::Some { columns: Some(columns.to_owned()), filter: filter.map(str::to_owned) }
}

fn rule_setting(right: Right, role: &str, grant: GrantSetting) -> RuleSetting {
    RuleSetting { right, role: role.to_owned(), grant }
}

fn permissions(rules: &[(Right, &str, GrantSetting)]) -> Permissions {
    let rules: Vec<_> =
        rules.iter().map(|(right, role, grant)| rule_setting(*right, role, grant.clone())).collect();
    Permissions::new(&rules, &columns(), &mut |rule, why| panic!("{}: {why}", rule.role))
}

fn faults(rules: &[RuleSetting]) -> Vec<String> {
    let mut found = Vec::new();
    Permissions::new(rules, &columns(), &mut |_, why| found.push(why));
    found
}

fn caller(roles: &[&str]) -> Caller {
    let claims = json!({ "sub": "u1" }).as_object().unwrap().clone();
    Caller { roles: roles.iter().map(|role| (*role).into()).collect(), claims, ..Caller::default() }
}

fn names(grant: &Grant) -> Vec<&'static str> {
    NAMES.into_iter().zip(&grant.columns).filter(|(_, covered)| **covered).map(|(name, _)| name).collect()
}

fn board() -> Permissions {
    permissions(&[
        (Right::Read, "public", some("board_id|body", None)),
        (Right::Read, "staff", some(".*", None)),
        (Right::Read, "*", some("draft", None)),
        (Right::Read, "barred", GrantSetting::Nothing),
        (Right::Delete, "*", GrantSetting::everything()),
    ])
}

#[rstest]
#[case::nobody(&[], Right::Read, Some(&["board_id", "body"][..]))]
#[case::a_role_of_its_own(&["staff"], Right::Read, Some(&NAMES[..]))]
#[case::any_role(&["visitor"], Right::Read, Some(&NAMES[..]))]
#[case::a_role_that_is_granted_nothing(&["barred"], Right::Read, Some(&["board_id", "body"][..]))]
#[case::another_role_beside_it(&["barred", "visitor"], Right::Read, Some(&NAMES[..]))]
#[case::any_role_deletes(&["visitor"], Right::Delete, Some(&NAMES[..]))]
#[case::a_caller_without_roles_is_not_any_role(&[], Right::Delete, None)]
#[case::what_no_rule_grants(&["staff"], Right::Write, None)]
fn rules_grant_by_role(#[case] roles: &[&str], #[case] right: Right, #[case] expected: Option<&[&str]>) {
    let grant = board().grant(&caller(roles), right, &columns());
    assert_eq!(grant.as_ref().map(names).as_deref(), expected);
    assert!(grant.is_none_or(|grant| grant.filter == Condition::True));
}

#[test]
fn filters_of_two_roles_are_joined_and_a_role_without_one_lifts_them() {
    let rules = permissions(&[
        (Right::Read, "author", some(".*", Some("draft = ${claims.sub}"))),
        (Right::Read, "editor", some("body", Some("body = 'x'"))),
        (Right::Read, "chief", some("body", None)),
        (Right::Read, "stranger", some(".*", Some("draft = ${claims.nowhere}"))),
    ]);
    let filter = |roles: &[&str]| rules.grant(&caller(roles), Right::Read, &columns()).unwrap().filter;
    let own = Condition::Column(2, Test::Eq(Value::Text("u1".to_owned())));
    let body = Condition::Column(1, Test::Eq(Value::Text("x".to_owned())));
    assert_eq!(filter(&["author"]), own);
    assert_eq!(filter(&["author", "author"]), own);
    assert_eq!(filter(&["author", "editor"]), Condition::Any(vec![own.clone(), body]));
    assert_eq!(filter(&["author", "chief"]), Condition::True);
    assert_eq!(filter(&["stranger"]), Condition::False);
    assert_eq!(filter(&["stranger", "author"]), own);
}

#[rstest]
#[case::a_misspelt_name(
    Right::Read,
    some("board_id|bdoy", None),
    "there is no column `bdoy`; did you mean `body`?"
)]
#[case::a_part_of_a_name(
    Right::Read,
    some("^bod$", None),
    "`^bod$` matches no column; patterns match whole names"
)]
#[case::no_pattern(Right::Read, some("(", None), "`(` is not a pattern")]
#[case::columns_of_a_delete(Right::Delete, some("body", None), "a delete is about whole rows; write `true`")]
#[case::a_bad_filter(
    Right::Read,
    some(".*", Some("bod = 1")),
    "the row filter is not good at character 1: there is no column `bod`; did you mean `body`?"
)]
fn a_rule_that_means_nothing_is_told(
    #[case] right: Right,
    #[case] grant: GrantSetting,
    #[case] expected: &str,
) {
    let found = faults(&[rule_setting(right, "clerk", grant)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(expected), "{found:?}");
}

#[test]
fn pattern_and_filter_of_one_rule_are_both_told() {
    assert_eq!(faults(&[rule_setting(Right::Read, "clerk", some("x", Some("y = 1")))]).len(), 2);
}

/// Whether a row passes; texts only, which is all that these rules have.
fn passes(condition: &Condition, row: &[&str]) -> bool {
    match condition {
        Condition::True => true,
        Condition::False => false,
        Condition::Any(parts) => parts.iter().any(|part| passes(part, row)),
        Condition::Column(id, Test::Eq(Value::Text(text))) => row[*id] == text,
        other => panic!("{other:?}"),
    }
}

fn grant_setting() -> impl Strategy<Value = GrantSetting> {
    let pattern = prop::sample::select(vec!["board_id", "body|draft", ".*", "b.*"]);
    let filter = prop::option::of(prop::sample::select(vec![
        "draft = ${claims.sub}",
        "body = 'a'",
        "body = ${claims.missing}",
    ]));
    prop_oneof![
        1 => Just(GrantSetting::Nothing),
        4 => (pattern, filter).prop_map(|(pattern, filter)| some(pattern, filter)),
    ]
}

proptest! {
    #[test]
    fn one_more_role_never_takes_a_column_or_a_row_away(
        grants in prop::collection::vec(grant_setting(), 5),
        present in prop::collection::vec(any::<bool>(), 5),
        roles in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "unruled"]), 0..4),
        one_more in prop::sample::select(vec!["a", "b", "c", "unruled"]),
        row in prop::collection::vec(prop::sample::select(vec!["a", "u1", "z"]), 3),
    ) {
        let rules: Vec<_> = ["a", "b", "c", "public", "*"]
            .into_iter()
            .zip(grants)
            .zip(present)
            .filter(|(_, present)| *present)
            .map(|((role, grant), _)| (Right::Read, role, grant))
            .collect();
        let rules = permissions(&rules);
        let before = rules.grant(&caller(&roles), Right::Read, &columns());
        let more: Vec<_> = roles.iter().copied().chain([one_more]).collect();
        let after = rules.grant(&caller(&more), Right::Read, &columns());
        if let Some(before) = before {
            let after = after.expect("a grant went away");
            for (had, has) in before.columns.iter().zip(&after.columns) {
                prop_assert!(has >= had);
            }
            prop_assert!(passes(&after.filter, &row) >= passes(&before.filter, &row));
        }
    }
}
