//! Keyset paging: the token that names the last row of a page, and the condition for the rows after it (contract, section 7).
//!
//! A token holds nothing but values of columns that the caller could read in that row, by which the page was sorted. It is
//! not signed: whoever makes one up gets rows that a selector would give as well. On the way in it must be of the same entity
//! and the same sort, and its values must fit their columns.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fit::fit_operand_text;
use super::planned::PlannedWork;
use crate::batch::catalogue::{DatabaseKind, Entity};
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::operation::{Condition, SortKey, Test};
use crate::batch::value::Value;

/// Tokens are as long as the values they hold; longer ones than this are none of ours that a page could need.
const TOKEN_BYTES_MAX: usize = 64 << 10;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// Entity.
    e: String,
    /// Sort, as [`signature`] writes it.
    s: String,
    /// Values in the order of the sort, as text; null is null.
    v: Vec<Option<String>>,
}

/// The sort as text: two sorts of one entity are the same when this is.
fn signature(entity: &Entity, sort: &[SortKey]) -> String {
    let keys: Vec<String> = sort
        .iter()
        .map(|key| {
            format!("{}:{}", entity.columns[key.column].name, if key.descending { "desc" } else { "asc" })
        })
        .collect();
    keys.join(",")
}

/// Whether rows in this order can be told apart and compared: no relation in it, the primary key in it, all of it readable.
fn can_continue(entity: &Entity, readable: &[bool], sort: &[SortKey]) -> bool {
    !entity.primary_key.is_empty() && sort.iter().all(|key| key.through.is_none() && readable[key.column])
}

/// The token for the rows after this one.
pub(super) fn next(checked: &CheckedOperation, last_row: &[Value]) -> Option<String> {
    let (Some(entity), PlannedWork::Read { sort, .. }) = (&checked.entity, &checked.work) else {
        return None;
    };
    if !can_continue(entity, &checked.readable, sort) {
        return None;
    }
    let value = |key: &SortKey| {
        let at = checked.fetch_columns.binary_search(&key.column).ok()?;
        Some(match last_row.get(at)? {
            Value::Null => None,
            Value::Text(text) => Some(text.clone()),
            other => Some(other.to_json()),
        })
    };
    let values: Option<Vec<Option<String>>> = sort.iter().map(value).collect();
    let token = Token { e: entity.name.to_string(), s: signature(entity, sort), v: values? };
    serde_json::to_vec(&token).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// The condition for the rows after the one that the token names.
pub(in crate::batch) fn after(
    token: &str,
    entity: &Entity,
    readable: &[bool],
    sort: &[SortKey],
    kind: DatabaseKind,
) -> Result<Condition, OperationError> {
    let bad =
        || OperationError::bad("bad_limit", "`cursor` is no token that an earlier page of this read gave");
    if !can_continue(entity, readable, sort) {
        return Err(OperationError::bad(
            "bad_sort",
            "`cursor` needs a sort by columns of the entity itself, and a primary key that you may read",
        ));
    }
    let short = token.len() <= TOKEN_BYTES_MAX;
    let bytes = short.then(|| URL_SAFE_NO_PAD.decode(token).ok()).flatten().ok_or_else(bad)?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    if token.e != *entity.name || token.v.len() != sort.len() {
        return Err(bad());
    }
    if token.s != signature(entity, sort) {
        return Err(OperationError::bad(
            "bad_sort",
            "`cursor` is of a read with another `sort`: keep the sort from page to page",
        ));
    }
    let mut values = Vec::with_capacity(sort.len());
    for (key, text) in sort.iter().zip(token.v) {
        values.push(match text {
            None => Value::Null,
            Some(text) => {
                fit_operand_text(text, &entity.columns[key.column].column_type, kind).map_err(|_| bad())?
            }
        });
    }
    Ok(rows_after(sort, &values))
}

/// Rows behind these values: equal in the first columns and behind in the next, for each next one. Nulls come last.
fn rows_after(sort: &[SortKey], values: &[Value]) -> Condition {
    let mut ways = Vec::with_capacity(sort.len());
    let mut equal: Vec<Condition> = Vec::new();
    for (key, value) in sort.iter().zip(values) {
        if !value.is_null() {
            let behind = if key.descending { Test::Lt(value.clone()) } else { Test::Gt(value.clone()) };
            let behind = Condition::Any(vec![
                Condition::Column(key.column, behind),
                Condition::Column(key.column, Test::IsNull),
            ]);
            ways.push(Condition::All(equal.iter().cloned().chain([behind]).collect()));
        }
        let same = if value.is_null() { Test::IsNull } else { Test::Eq(value.clone()) };
        equal.push(Condition::Column(key.column, same));
    }
    Condition::Any(ways)
}
