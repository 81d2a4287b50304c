//! `properties` and `_properties`: which columns an answer shows, and which associations a read loads (contract, section 7).
//!
//! Patterns are matched here, against the columns of the catalogue that the caller may see, whole and in linear time; they are
//! never sent to a database.

use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use super::error::{OperationError, Place, shortened};
use super::removed::hides_removed;
use super::selector::related_entity;
use super::{AssociationPlan, Desk, add_column, metadata};
use crate::batch::access::rules::Grant;
use crate::batch::catalogue::{Column, ColumnId, Entity};
use crate::batch::reference::Template;
use crate::batch::request::OperationRequest;
use crate::batch::value::Value;

/// Names and patterns of one text.
const ITEMS_MAX: usize = 200;
/// Bytes that a compiled pattern may take: keeps `(a{99}){99}` from costing more than it says.
const PATTERN_BYTES_MAX: usize = 1 << 15;
/// Patterns of one batch: names cost nothing, but each pattern is compiled and held against every column.
const PATTERNS_MAX: usize = 400;

/// How many patterns the batch may still have.
pub(super) struct PatternsLeft(usize);

impl Default for PatternsLeft {
    fn default() -> Self {
        Self(PATTERNS_MAX)
    }
}

impl PatternsLeft {
    /// Takes the patterns of an operation, before any of them is looked at.
    pub fn take(&mut self, operation: &OperationRequest) -> Result<(), OperationError> {
        for key in ["properties", "_properties"] {
            let Some(Template::Value(Value::Text(text))) = operation.metadata(key) else {
                continue;
            };
            self.0 = self.0.checked_sub(patterns(text)).ok_or_else(|| {
                OperationError::bad(
                    "invalid_request",
                    format!("the batch has more than {PATTERNS_MAX} patterns of columns: name the columns, or split it"),
                )
                .at(pointer(operation, key))
            })?;
        }
        Ok(())
    }
}

/// Items that are neither plain names nor `.*`, of the entity or of a relation.
fn patterns(text: &str) -> usize {
    let is_pattern = |item: &&str| {
        let item = item.split_once(':').map_or(*item, |(_, behind)| behind);
        item != ".*" && !item.chars().all(|character| character.is_alphanumeric() || character == '_')
    };
    text.split([',', ' ']).filter(is_pattern).count()
}

/// What a read answers.
pub(super) struct Shown {
    /// Columns in the order of the table.
    pub columns: Vec<ColumnId>,
    /// Associations in the order of the request.
    pub associations: Vec<AssociationPlan>,
}

/// `properties` of a read.
pub(super) fn of_read(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    desk: &Desk<'_>,
) -> Result<Shown, OperationError> {
    let everything = || permitted(&grant.columns);
    let Some((key, text)) = wanted(operation)? else {
        return Ok(Shown { columns: everything(), associations: Vec::new() });
    };
    let at = |error: OperationError| error.at(pointer(operation, key));
    let mut chosen = vec![false; entity.columns.len()];
    let mut associations: Vec<(AssociationPlan, Vec<bool>)> = Vec::new();
    let mut own_columns = false;
    for item in items(text).map_err(at)? {
        let relation =
            item.split_once(':').and_then(|(name, rest)| entity.relation(name).map(|found| (found, rest)));
        let Some((relation, pattern)) = relation else {
            own_columns = true;
            choose(item, &entity.name, &entity.columns, &grant.columns, &mut chosen).map_err(at)?;
            continue;
        };
        let (other, other_grant) = related_entity(entity, relation, grant, desk).map_err(at)?;
        let known =
            associations.iter().position(|(plan, _)| plan.name == relation.name).unwrap_or_else(|| {
                let plan = AssociationPlan {
                    name: Arc::clone(&relation.name),
                    kind: relation.kind,
                    entity: Arc::clone(&other),
                    pairs: relation.columns.clone(),
                    answer_columns: Vec::new(),
                    fetch_columns: Vec::new(),
                    condition: hides_removed(&other, [], desk.kind()).and(other_grant.filter.clone()),
                };
                associations.push((plan, vec![false; other.columns.len()]));
                associations.len() - 1
            });
        choose(pattern, &other.name, &other.columns, &other_grant.columns, &mut associations[known].1)
            .map_err(at)?;
    }
    let associations = associations
        .into_iter()
        .map(|(mut plan, chosen)| {
            plan.answer_columns = permitted(&chosen);
            plan.fetch_columns = plan.answer_columns.clone();
            for (_, there) in plan.pairs.clone() {
                add_column(&mut plan.fetch_columns, there);
            }
            plan
        })
        .collect();
    // Associations alone do not say that no column is wanted.
    let columns = if own_columns { permitted(&chosen) } else { everything() };
    Ok(Shown { columns, associations })
}

/// `_properties` of a write: columns of `visible` that the answer shows.
pub(super) fn of_columns(
    operation: &OperationRequest,
    name: &str,
    columns: &[Column],
    visible: &[bool],
) -> Result<Vec<ColumnId>, OperationError> {
    let Some((key, text)) = wanted(operation)? else {
        return Ok(permitted(visible));
    };
    let at = |error: OperationError| error.at(pointer(operation, key));
    let mut chosen = vec![false; columns.len()];
    for item in items(text).map_err(at)? {
        choose(item, name, columns, visible, &mut chosen).map_err(at)?;
    }
    Ok(permitted(&chosen))
}

fn pointer(operation: &OperationRequest, key: &str) -> String {
    Place::new(operation.index, "metadata_params", key).pointer()
}

/// The text of `properties` or `_properties`, whichever is there; an empty one says nothing.
fn wanted(operation: &OperationRequest) -> Result<Option<(&'static str, &str)>, OperationError> {
    let read = metadata::text(operation, "properties", "invalid_request")?;
    let written = metadata::text(operation, "_properties", "invalid_request")?;
    let chosen = match (read, written) {
        (Some(_), Some(_)) => {
            return Err(OperationError::bad(
                "invalid_request",
                "give `properties` or `_properties`, not both",
            )
            .at(pointer(operation, "_properties")));
        }
        (Some(text), None) => ("properties", text),
        (None, Some(text)) => ("_properties", text),
        (None, None) => return Ok(None),
    };
    let empty = chosen.1.split([',', ' ']).all(str::is_empty);
    Ok((!empty).then_some(chosen))
}

fn items(text: &str) -> Result<Vec<&str>, OperationError> {
    let items: Vec<&str> = text.split([',', ' ']).filter(|item| !item.is_empty()).collect();
    if items.len() > ITEMS_MAX {
        return Err(OperationError::bad(
            "invalid_request",
            format!("at most {ITEMS_MAX} names and patterns"),
        ));
    }
    Ok(items)
}

fn permitted(columns: &[bool]) -> Vec<ColumnId> {
    columns.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(column, _)| column).collect()
}

/// Marks the columns that an item means: the one of this name, or those it matches.
fn choose(
    item: &str,
    entity: &str,
    columns: &[Column],
    visible: &[bool],
    chosen: &mut [bool],
) -> Result<(), OperationError> {
    if let Some(column) = columns.iter().position(|column| &*column.name == item) {
        if !visible[column] {
            return Err(OperationError::column_forbidden(entity, &columns[column].name, "read"));
        }
        chosen[column] = true;
        return Ok(());
    }
    let everything = item == ".*";
    let pattern = if everything { None } else { Some(whole_pattern(item)?) };
    let mut found = false;
    for (column, meta) in columns.iter().enumerate().filter(|(column, _)| visible[*column]) {
        if pattern.as_ref().is_none_or(|pattern| pattern.is_match(&meta.name)) {
            chosen[column] = true;
            found = true;
        }
    }
    if found || everything {
        return Ok(());
    }
    Err(OperationError::bad(
        "unknown_column",
        format!("`{}` is no column of `{entity}` and matches none that you may read", shortened(item)),
    ))
}

/// A pattern that must match the whole name.
fn whole_pattern(item: &str) -> Result<Regex, OperationError> {
    let compiled = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    // On its own first: `a)|(b` must not become well-formed by what is put around it.
    let well_formed = compiled(item).and_then(|_| compiled(&format!("^(?:{item})$")));
    well_formed.map_err(|_| {
        OperationError::bad(
            "unknown_column",
            format!("`{}` is neither a column nor a pattern", shortened(item)),
        )
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("id", "id", true)]
    #[case("id", "id_secret", false)]
    #[case("id", "my_id", false)]
    #[case("id.*", "id_secret", true)]
    #[case("a|b", "ab", false)]
    #[case("a|b", "b", true)]
    #[case("^owner$", "owner", true)]
    #[case("[a-c]+_x", "abc_x", true)]
    fn a_pattern_matches_the_whole_name(#[case] pattern: &str, #[case] name: &str, #[case] matches: bool) {
        assert_eq!(whole_pattern(pattern).unwrap().is_match(name), matches);
    }

    #[rstest]
    #[case("", 0)]
    #[case("id,name owner", 0)]
    #[case(".*", 0)]
    #[case("depot:.*,crates:label", 0)]
    #[case("addr_.* id", 1)]
    #[case("depot:na.*|city", 1)]
    #[case("a?,b?,(c{9}){9}", 3)]
    fn names_are_no_patterns(#[case] text: &str, #[case] found: usize) {
        assert_eq!(patterns(text), found);
    }

    #[rstest]
    #[case("a)|(b")]
    #[case("(")]
    #[case("((a{200}){200}){200}")]
    #[case("(?x)a#")]
    fn a_pattern_that_is_none_or_costs_too_much_is_refused(#[case] pattern: &str) {
        assert_eq!(whole_pattern(pattern).unwrap_err().code, "unknown_column");
    }
}
