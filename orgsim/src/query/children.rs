//! Parent-to-child sub-selects: `(SELECT .. FROM Contacts)`. The child rows of all parents are found in one scan
//! when the statement runs; what they hold is read when a page is rendered.

use super::{
    Prepared,
    plan::{Children, Output},
    prepare_on, sort_rows,
};
use crate::{
    rows_api::Value,
    soql::{
        SoqlError,
        ast::{Query, SelectItem},
    },
    tables::{ColumnRef, Table},
};
use std::collections::HashMap;

/// Resolves and runs a sub-select; gives its output and the names of its columns.
///
/// # Errors
/// The org's refusal.
pub fn find(outer: &Prepared<'_>, query: &Query) -> Result<(Output, Vec<Vec<String>>), SoqlError> {
    let (org, text) = (outer.resolver.org, outer.resolver.text);
    let relation = &query.from.text;
    let unknown = || {
        let message = format!(
            "Didn't understand relationship '{relation}' in FROM part of query call. If you are attempting to use a custom \
             relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or \
             the describe call for the appropriate names."
        );
        SoqlError::located("INVALID_TYPE", text, query.from.at, &message)
    };
    let Table::Object(parent_at) = outer.resolver.table else { return Err(unknown()) };
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(relation));
    let child = org.model.objects[parent_at].children.iter().find(|child| named(&child.relationship_name));
    let child = child.ok_or_else(unknown)?;
    let child_at = org.position(&child.object).ok_or_else(unknown)?;
    let by = org.field_position(child_at, &child.field).ok_or_else(unknown)?;
    let counts = |item: &SelectItem| matches!(item, SelectItem::CountRows | SelectItem::Aggregate { .. });
    if query.select.iter().any(counts) || !query.group_by.is_empty() {
        let message = "Only root queries support aggregate expressions";
        return Err(SoqlError::located("MALFORMED_QUERY", text, query.from.at, message));
    }
    let table = Table::Object(child_at);
    let inner = prepare_on(org, (outer.api, outer.scope), text, query, outer.now_ms, table)?;
    let (outputs, columns) = inner.outputs()?;
    let order = inner.order()?;

    let parent = Table::Object(parent_at);
    let mut of_parent: HashMap<u64, Vec<u64>> = HashMap::new();
    inner.each_match(&mut |row| {
        if let Value::Text(id) = table.value(org, row, ColumnRef::Field(by))
            && let Some(parent) = parent.row_of(org, &id, outer.scope)
        {
            of_parent.entry(parent).or_default().push(row);
        }
        true
    });
    let by: Vec<(usize, bool, bool)> = order
        .iter()
        .enumerate()
        .map(|(at, (_, descending, nulls_last))| (at, *descending, *nulls_last))
        .collect();
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let offset = query.offset.map_or(0, |offset| usize::try_from(offset).unwrap_or(usize::MAX));
    for rows in of_parent.values_mut() {
        sort_rows(rows, &by, |row, at| (order[at].0.value(org, table, *row), order[at].0.kind));
        rows.drain(..offset.min(rows.len()));
        rows.truncate(limit);
    }
    of_parent.retain(|_, rows| !rows.is_empty());
    let name = child.relationship_name.clone().unwrap_or_else(|| relation.clone());
    let columns = columns.into_iter().map(|shown| [vec![name.clone()], shown.names].concat()).collect();
    let children = Children { table, outputs, of_parent, scope: outer.scope };
    Ok((Output::Children { name, children }, columns))
}
