//! What some tables refuse although the grammar allows it. Pure decisions over the statement.

use crate::{
    soql::{
        SoqlError,
        ast::{Comparison, Condition, FieldsKind, Operand, Query, SelectItem},
    },
    tables::Table,
};

/// Most rows `FIELDS(ALL)` and `FIELDS(CUSTOM)` may return.
const MOST_ROWS_WITH_FIELDS: u64 = 200;
const HIGHEST_OFFSET: u64 = 2_000;
/// Most tests of one row; 50,000 rows against more would be answered long after every client has given up.
const MOST_TESTS: usize = 1_000;
/// Most entries of a SELECT list; no object has as many fields, and a page of 33,000 columns would be 2 GB.
const MOST_COLUMNS: usize = 2_000;
/// What a subquery counts as: it reads a table of its own.
const TESTS_OF_A_SUBQUERY: usize = 50;

/// Rules that hold for every table.
///
/// # Errors
/// The org's refusal.
pub fn statement(query: &Query) -> Result<(), SoqlError> {
    let unbounded = query
        .select
        .iter()
        .any(|item| matches!(item, SelectItem::Fields(FieldsKind::All | FieldsKind::Custom)));
    if unbounded && query.limit.is_none_or(|limit| limit > MOST_ROWS_WITH_FIELDS) {
        let message = "The SOQL FIELDS function must have a LIMIT of at most 200";
        return Err(SoqlError::new("MALFORMED_QUERY", message));
    }
    if query.offset.is_some_and(|offset| offset > HIGHEST_OFFSET) {
        let message = "Maximum SOQL offset allowed is 2000";
        return Err(SoqlError::new("NUMBER_OUTSIDE_VALID_RANGE", message));
    }
    if tests(query) > MOST_TESTS || query.select.len() > MOST_COLUMNS {
        let message =
            "Query is either selecting too many fields or the filter conditions are too complicated.";
        return Err(SoqlError::new("QUERY_TOO_COMPLICATED", message));
    }
    let counts_rows = query.select.contains(&SelectItem::CountRows);
    if counts_rows && (query.select.len() > 1 || !query.group_by.is_empty()) {
        return Err(SoqlError::new("MALFORMED_QUERY", "COUNT() must be the only element in the SELECT list"));
    }
    Ok(())
}

/// How many tests a row has to pass, those of subqueries included. A list is one, however long.
fn tests(query: &Query) -> usize {
    let nested = |item: &SelectItem| match item {
        SelectItem::SubQuery(query) => TESTS_OF_A_SUBQUERY + tests(query),
        _ => 0,
    };
    query.filter.iter().chain(&query.having).map(tests_in).chain(query.select.iter().map(nested)).sum()
}

fn tests_in(condition: &Condition) -> usize {
    match condition {
        Condition::And(parts) | Condition::Or(parts) => parts.iter().map(tests_in).sum(),
        Condition::Not(inner) => tests_in(inner),
        Condition::SemiJoin { query, .. } => TESTS_OF_A_SUBQUERY + tests(query),
        Condition::Compare { .. } | Condition::In { .. } | Condition::Includes { .. } => 1,
    }
}

/// Rules of EntityDefinition and FieldDefinition, which are computed and not stored by the real org.
///
/// # Errors
/// The org's refusal.
pub fn computed_table(query: &Query, table: Table) -> Result<(), SoqlError> {
    let Table::Meta(meta) = table else { return Ok(()) };
    if !is_computed(table) {
        return Ok(());
    }
    let aggregated =
        query.select.iter().any(|item| matches!(item, SelectItem::CountRows | SelectItem::Aggregate { .. }));
    if aggregated {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            format!("{}: Aggregate functions not supported", meta.name),
        ));
    }
    if !query.group_by.is_empty() {
        return Err(SoqlError::new("MALFORMED_QUERY", format!("{}: Group by not supported", meta.name)));
    }
    if let Some(filter) = &query.filter {
        only_equals(filter, meta.name)?;
    }
    let entity = [
        "entitydefinitionid",
        "durableid",
        "entitydefinition.qualifiedapiname",
        "entitydefinition.durableid",
        "entitydefinition.developername",
    ];
    if meta.name == "FieldDefinition" && !query.filter.as_ref().is_some_and(|filter| pins(filter, &entity)) {
        let message =
            "FieldDefinition: a filter on a reified column is required [EntityDefinitionId,DurableId]";
        return Err(SoqlError::new("MALFORMED_QUERY", message));
    }
    Ok(())
}

/// Tables without queryMore.
pub fn is_computed(table: Table) -> bool {
    matches!(table, Table::Meta(meta) if matches!(meta.name, "EntityDefinition" | "FieldDefinition"))
}

fn only_equals(condition: &Condition, table: &str) -> Result<(), SoqlError> {
    let refuse = |why: &str| Err(SoqlError::new("MALFORMED_QUERY", format!("{table}: {why}")));
    match condition {
        Condition::And(parts) => parts.iter().try_for_each(|part| only_equals(part, table)),
        Condition::Or(_) => refuse("Disjunctions not supported"),
        Condition::Not(_) | Condition::Compare { op: Comparison::NotEqual, .. } => {
            refuse("Only equals comparisons permitted")
        }
        Condition::In { negated: true, .. } | Condition::SemiJoin { .. } | Condition::Includes { .. } => {
            refuse("Only equals comparisons permitted")
        }
        Condition::Compare { .. } | Condition::In { .. } => Ok(()),
    }
}

/// Whether the condition fixes one of the fields (lower case) by `=` or `IN`.
fn pins(condition: &Condition, fields: &[&str]) -> bool {
    let named =
        |path: &crate::soql::ast::FieldPath| fields.contains(&path.to_string().to_ascii_lowercase().as_str());
    match condition {
        Condition::And(parts) => parts.iter().any(|part| pins(part, fields)),
        Condition::Compare { operand: Operand::Field(path), op: Comparison::Equal, .. } => named(path),
        Condition::In { path, negated: false, .. } => named(path),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{soql, tables};
    use rstest::rstest;

    fn refusal(text: &str) -> Option<String> {
        let query = soql::parse(text).unwrap();
        let table = tables::all()
            .find(|table| table.name.eq_ignore_ascii_case(&query.from.text))
            .map(Table::Meta)
            .unwrap();
        statement(&query).and_then(|()| computed_table(&query, table)).err().map(|error| error.message)
    }

    #[rstest]
    #[case("SELECT COUNT() FROM EntityDefinition", "Aggregate functions not supported")]
    #[case("SELECT COUNT(DurableId) FROM EntityDefinition", "Aggregate functions not supported")]
    #[case("SELECT KeyPrefix FROM EntityDefinition GROUP BY KeyPrefix", "Group by not supported")]
    #[case(
        "SELECT Label FROM EntityDefinition WHERE Label = 'a' OR Label = 'b'",
        "Disjunctions not supported"
    )]
    #[case("SELECT Label FROM EntityDefinition WHERE Label != 'a'", "Only equals comparisons permitted")]
    #[case("SELECT Label FROM EntityDefinition WHERE NOT Label = 'a'", "Only equals comparisons permitted")]
    #[case(
        "SELECT Label FROM EntityDefinition WHERE Label NOT IN ('a')",
        "Only equals comparisons permitted"
    )]
    #[case("SELECT Label FROM FieldDefinition", "a filter on a reified column is required")]
    #[case("SELECT Label FROM FieldDefinition WHERE Label = 'x'", "a filter on a reified column is required")]
    #[case("SELECT FIELDS(ALL) FROM Profile", "LIMIT of at most 200")]
    #[case("SELECT FIELDS(ALL) FROM Profile LIMIT 201", "LIMIT of at most 200")]
    #[case("SELECT Id FROM Profile OFFSET 2001", "Maximum SOQL offset allowed is 2000")]
    #[case("SELECT COUNT(), Id FROM Profile", "COUNT()")]
    fn the_documented_restrictions_hold(#[case] text: &str, #[case] says: &str) {
        let message = refusal(text).unwrap();
        assert!(message.contains(says), "{message}");
    }

    #[test]
    fn a_list_of_more_columns_than_any_object_has_is_too_complicated() {
        let refused = |columns| refusal(&format!("SELECT {} FROM Profile", vec!["Id"; columns].join(",")));
        assert_eq!(refused(2_000), None);
        assert!(refused(2_001).is_some_and(|message| message.contains("too many fields")));
    }

    #[rstest]
    #[case(&["Name = 'a'"; 1_000].join(" OR "), false)]
    #[case(&["Name = 'a'"; 1_001].join(" OR "), true)]
    #[case(&format!("NOT ({})", ["Name LIKE '%a%'"; 1_001].join(" AND ")), true)]
    #[case(&["Id IN (SELECT ProfileId FROM User)"; 20].join(" AND "), false)]
    #[case(&["Id IN (SELECT ProfileId FROM User)"; 21].join(" AND "), true)]
    #[case(&format!("Name IN ({})", ["'a'"; 5_000].join(",")), false)]
    fn a_filter_that_would_take_minutes_is_too_complicated(#[case] filter: &str, #[case] refused: bool) {
        let refusal = refusal(&format!("SELECT Id FROM Profile WHERE {filter}"));
        assert_eq!(refusal.is_some_and(|message| message.contains("too complicated")), refused);
    }

    #[rstest]
    #[case(
        "SELECT Label FROM EntityDefinition WHERE IsCustomizable = true ORDER BY QualifiedApiName LIMIT 2000 OFFSET 2000"
    )]
    #[case(
        "SELECT Label FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Lead' AND Label = 'x'"
    )]
    #[case("SELECT Label FROM FieldDefinition WHERE EntityDefinitionId IN ('Lead', 'Account')")]
    #[case("SELECT FIELDS(ALL) FROM Profile LIMIT 200")]
    fn what_is_documented_to_work_is_let_through(#[case] text: &str) {
        assert_eq!(refusal(text), None);
    }
}
