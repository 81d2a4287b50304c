//! `metadata_params`: sort, limit, offset, count, lock and cursor (contract, section 7).

use std::sync::Arc;

use super::Desk;
use super::error::{OperationError, Place, shortened};
use super::selector::related_entity;
use crate::batch::access::rules::Grant;
use crate::batch::bind::cursor;
use crate::batch::bind::planned::Amount;
use crate::batch::catalogue::{ColumnId, ColumnType, Entity, RelationKind};
use crate::batch::operation::{Condition, Lock, SortKey};
use crate::batch::reference::Template;
use crate::batch::request::OperationRequest;
use crate::batch::value::Value;

const PART: &str = "metadata_params";

/// Columns that one sort may name.
const SORT_KEYS_MAX: usize = 16;

/// Keys for a read.
pub(super) const OF_READS: &[&str] =
    &["sort", "limit", "offset", "properties", "_properties", "count", "lock", "cursor"];
/// Keys for a create, update or delete.
pub(super) const OF_WRITES: &[&str] = &["_properties", "properties"];
/// Keys for a named statement.
pub(super) const OF_STATEMENTS: &[&str] = &["limit", "properties", "_properties"];

/// Refuses keys that this kind of operation does not know: a misspelt one must not be ignored.
pub(super) fn refuse_unknown(operation: &OperationRequest, known: &[&str]) -> Result<(), OperationError> {
    match operation.metadata_params.iter().find(|(key, _)| !known.contains(&&**key)) {
        None => Ok(()),
        Some((key, _)) => Err(OperationError::bad(
            "invalid_request",
            format!("`metadata_params` knows no `{}` here; it knows {}", shortened(key), known.join(", ")),
        )
        .at(place(operation, key).pointer())),
    }
}

fn place<'a>(operation: &OperationRequest, key: &'a str) -> Place<'a> {
    Place::new(operation.index, PART, key)
}

/// The text of a key.
pub(super) fn text<'a>(
    operation: &'a OperationRequest,
    key: &str,
    code: &'static str,
) -> Result<Option<&'a str>, OperationError> {
    match operation.metadata(key) {
        None | Some(Template::Value(Value::Null)) => Ok(None),
        Some(Template::Value(Value::Text(text))) => Ok(Some(text)),
        Some(_) => Err(OperationError::bad(code, format!("`{key}` takes a text without references"))
            .at(place(operation, key).pointer())),
    }
}

/// `sort`: the columns asked for, then the primary key, so that answers repeat.
pub(super) fn sort(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    desk: &Desk<'_>,
) -> Result<Vec<SortKey>, OperationError> {
    let mut keys: Vec<SortKey> = Vec::new();
    let wanted = text(operation, "sort", "bad_sort")?.unwrap_or_default();
    for item in wanted.split([',', ' ']).filter(|item| !item.is_empty()) {
        let key = sort_key(item, entity, grant, desk)
            .map_err(|error| error.at(place(operation, "sort").pointer()))?;
        if keys.len() == SORT_KEYS_MAX {
            return Err(OperationError::bad(
                "bad_sort",
                format!("`sort` takes at most {SORT_KEYS_MAX} columns"),
            )
            .at(place(operation, "sort").pointer()));
        }
        if !sorted_by(&keys, &key) {
            keys.push(key);
        }
    }
    for column in &entity.primary_key {
        let key = SortKey { column: *column, through: None, descending: false };
        if !sorted_by(&keys, &key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Whether the column is there already: a second time it decides nothing.
fn sorted_by(keys: &[SortKey], key: &SortKey) -> bool {
    keys.iter().any(|known| known.column == key.column && known.through == key.through)
}

fn sort_key(
    item: &str,
    entity: &Arc<Entity>,
    grant: &Grant,
    desk: &Desk<'_>,
) -> Result<SortKey, OperationError> {
    let (name, descending) = match item.rsplit_once(':') {
        None => (item, false),
        Some((name, "asc")) => (name, false),
        Some((name, "desc")) => (name, true),
        Some((name, other)) => {
            return Err(OperationError::bad(
                "bad_sort",
                format!("`{}` is sorted `asc` or `desc`, not `{}`", shortened(name), shortened(other)),
            ));
        }
    };
    if let Some(column) = entity.column_id(name) {
        sortable(entity, column, grant)?;
        return Ok(SortKey { column, through: None, descending });
    }
    let related =
        name.split_once('.').and_then(|(first, rest)| entity.relation(first).map(|found| (found, rest)));
    let unknown = || {
        OperationError::bad(
            "bad_sort",
            format!("`{}` has no column `{}` to sort by", entity.name, shortened(name)),
        )
    };
    let Some((relation, rest)) = related else {
        return Err(unknown());
    };
    if relation.kind == RelationKind::Array {
        return Err(OperationError::bad(
            "bad_sort",
            format!("`{}` may be many rows: sort by columns of an object relation", relation.name),
        ));
    }
    let (other, other_grant) = related_entity(entity, relation, grant, desk)?;
    let column = other.column_id(rest).ok_or_else(unknown)?;
    sortable(&other, column, &other_grant)?;
    if other_grant.filter != Condition::True {
        // The order would tell what is in rows that the filter hides.
        return Err(OperationError::forbidden(
            "column_forbidden",
            format!("you may read only some rows of `{}`, so you may not sort by its columns", other.name),
        )
        .at_column(&other.columns[column].name));
    }
    Ok(SortKey { column, through: Some((other, relation.columns.clone())), descending })
}

fn sortable(entity: &Entity, column: ColumnId, grant: &Grant) -> Result<(), OperationError> {
    let meta = &entity.columns[column];
    if !grant.columns[column] {
        return Err(OperationError::column_forbidden(&entity.name, &meta.name, "sort by"));
    }
    match meta.column_type {
        ColumnType::Json | ColumnType::Array(_) => Err(OperationError::bad(
            "bad_sort",
            format!("column `{}` holds documents or lists, which have no order", meta.name),
        )
        .at_column(&meta.name)),
        _ => Ok(()),
    }
}

/// `limit`.
pub(super) fn limit(operation: &OperationRequest, desk: &Desk<'_>) -> Result<Amount, OperationError> {
    let limits = desk.cx.limits;
    let amount = amount(operation, "limit", limits.default_read_rows.min(limits.read_rows))?;
    if let Amount::Known(rows) = amount
        && rows > limits.read_rows
    {
        return Err(too_many(rows, limits.read_rows).at(place(operation, "limit").pointer()));
    }
    Ok(amount)
}

/// More rows than a read may ask for.
pub(in crate::batch) fn too_many(rows: u64, most: u64) -> OperationError {
    OperationError::bad(
        "bad_limit",
        format!("`limit` is {rows}; a read answers at most {most} rows (`max_read_rows`)"),
    )
}

/// `offset`.
pub(super) fn offset(operation: &OperationRequest) -> Result<Amount, OperationError> {
    amount(operation, "offset", 0)
}

fn amount(operation: &OperationRequest, name: &'static str, default: u64) -> Result<Amount, OperationError> {
    let pointer = || place(operation, name).pointer();
    match operation.metadata(name) {
        None | Some(Template::Value(Value::Null)) => Ok(Amount::Known(default)),
        Some(Template::Value(value)) => match as_amount(value) {
            Some(rows) => Ok(Amount::Known(rows)),
            None => Err(not_an_amount(name).at(pointer())),
        },
        Some(Template::Array(_) | Template::Object(_)) => Err(not_an_amount(name).at(pointer())),
        Some(template) => Ok(Amount::Later { name, template: template.clone(), pointer: pointer() }),
    }
}

/// What `limit` and `offset` take.
pub(in crate::batch) fn not_an_amount(name: &str) -> OperationError {
    OperationError::bad(
        "bad_limit",
        format!("`{name}` takes a whole number from 0 on, or its digits as text"),
    )
}

/// A number of rows: an integer, or digits.
pub(in crate::batch) fn as_amount(value: &Value) -> Option<u64> {
    // Databases count in signed 64 bits, and one is added to a limit.
    let most = u64::try_from(i64::MAX - 1).unwrap_or(u64::MAX);
    let amount = match value {
        Value::Int(number) => u64::try_from(*number).ok()?,
        Value::Text(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()?
        }
        _ => return None,
    };
    (amount <= most).then_some(amount)
}

/// `count`.
pub(super) fn count(operation: &OperationRequest) -> Result<bool, OperationError> {
    match operation.metadata("count") {
        None | Some(Template::Value(Value::Null)) => Ok(false),
        Some(Template::Value(Value::Bool(flag))) => Ok(*flag),
        Some(_) => Err(OperationError::bad("invalid_request", "`count` takes true or false")
            .at(place(operation, "count").pointer())),
    }
}

/// `lock`.
pub(super) fn lock(operation: &OperationRequest) -> Result<Lock, OperationError> {
    match text(operation, "lock", "invalid_request")? {
        None | Some("none") => Ok(Lock::None),
        Some("share") => Ok(Lock::Share),
        Some("update") => Ok(Lock::Update),
        Some(_) => Err(OperationError::bad("invalid_request", "`lock` takes `update`, `share` or `none`")
            .at(place(operation, "lock").pointer())),
    }
}

/// `cursor`: the rows after the one it names.
pub(super) fn cursor(
    operation: &OperationRequest,
    entity: &Entity,
    grant: &Grant,
    sort: &[SortKey],
    desk: &Desk<'_>,
) -> Result<Condition, OperationError> {
    match text(operation, "cursor", "bad_limit")? {
        None => Ok(Condition::True),
        Some(token) => cursor::after(token, entity, &grant.columns, sort, desk.kind())
            .map_err(|error| error.at(place(operation, "cursor").pointer())),
    }
}
