//! `store_params` and the writes: what may be sent, what is stored beside it, for whom (contract, sections 8 and 11).

use std::sync::Arc;

use super::error::{OperationError, Place};
use super::removed::removed_value;
use super::{CheckedOperation, Desk, base, metadata, properties, selector};
use crate::batch::access::claim_value;
use crate::batch::access::rules::Grant;
use crate::batch::bind::fit::fit;
use crate::batch::bind::planned::{Cell, Change, PlannedTest, PlannedWork, Selector, TestBody};
use crate::batch::catalogue::{
    Column, ColumnId, ColumnType, Entity, Injected, Injection, KeyRule, VersionKind,
};
use crate::batch::operation::{Action, Condition, Test};
use crate::batch::reference::{PathStep, Template};
use crate::batch::request::{OperationRequest, Return, StoreParams};
use crate::batch::value::Value;

const PART: &str = "store_params";

/// A create of one row or many.
pub(super) fn check_create(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    read: Option<&Grant>,
    desk: &Desk<'_>,
) -> Result<CheckedOperation, OperationError> {
    metadata::refuse_unknown(operation, metadata::OF_WRITES)?;
    let (names, rows): (Vec<&Arc<str>>, Vec<Vec<&Template>>) = match &operation.store_params {
        StoreParams::None => (Vec::new(), vec![Vec::new()]),
        StoreParams::One(fields) => (
            fields.iter().map(|(name, _)| name).collect(),
            vec![fields.iter().map(|(_, value)| value).collect()],
        ),
        StoreParams::Many { keys, rows } => {
            let most = desk.cx.limits.rows_per_create;
            if rows.len() > most {
                return Err(OperationError::bad(
                    "invalid_request",
                    format!("{} rows in one create; {most} is the limit (`max_rows_per_create`)", rows.len()),
                )
                .at(format!("/operations/{}/{PART}", operation.index)));
            }
            (keys.iter().collect(), rows.iter().map(|row| row.iter().collect()).collect())
        }
    };
    let many = matches!(operation.store_params, StoreParams::Many { .. });
    let mut columns = Vec::with_capacity(names.len() + 2);
    for name in &names {
        let mut place = Place::new(operation.index, PART, name);
        place.row = many.then_some(0);
        columns
            .push(storable(entity, name, grant, Action::Create).map_err(|error| error.at(place.pointer()))?);
    }
    let mut cells = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let mut line = Vec::with_capacity(columns.len() + 2);
        for (column, template) in columns.iter().zip(row) {
            let meta = &entity.columns[*column];
            let mut place = Place::new(operation.index, PART, &meta.name);
            place.row = many.then_some(at);
            if meta.key == Some(KeyRule::Required) && matches!(template, Template::Value(Value::Null)) {
                return Err(key_required(entity, meta).at(place.pointer()));
            }
            line.push(cell(meta, template, place, desk)?);
        }
        cells.push(line);
    }
    for (column, meta) in entity.columns.iter().enumerate() {
        let made = if entity.version.is_some_and(|version| version.column == column) {
            Some(first_version(entity, meta, desk)?)
        } else if let Some(injection) = meta.injection.as_ref().filter(|injection| injection.on_create) {
            Some(injected(entity, meta, &injection.value, desk)?)
        } else if meta.key == Some(KeyRule::Uuid) {
            Some(Cell::NewUuid)
        } else if meta.key == Some(KeyRule::Required) && !columns.contains(&column) {
            return Err(key_required(entity, meta).at(format!("/operations/{}/{PART}", operation.index)));
        } else {
            None
        };
        if let Some(made) = made {
            columns.push(column);
            cells.iter_mut().for_each(|line| line.push(made.clone()));
        }
    }
    let must_hold = grant.filter.clone();
    let readable = readable(entity, read);
    let visible: Vec<bool> =
        readable.iter().zip(&grant.columns).map(|(read, write)| *read || *write).collect();
    let work = PlannedWork::Create { columns, rows: cells, must_hold };
    let mut checked = base(operation, desk, Some(entity), readable, work);
    answer_written(&mut checked, operation, entity, &visible)?;
    Ok(checked)
}

/// An update of all rows that match.
pub(super) fn check_update(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    read: Option<&Grant>,
    desk: &Desk<'_>,
) -> Result<CheckedOperation, OperationError> {
    let (readable, selector) = opening(operation, entity, grant, read, desk)?;
    let fields = match &operation.store_params {
        StoreParams::One(fields) => fields.as_slice(),
        StoreParams::None | StoreParams::Many { .. } => &[],
    };
    let mut set = Vec::with_capacity(fields.len() + 2);
    for (name, template) in fields {
        let place = Place::new(operation.index, PART, name);
        let column =
            storable(entity, name, grant, Action::Update).map_err(|error| error.at(place.pointer()))?;
        let cell = cell(&entity.columns[column], template, place, desk)?;
        set.push((column, Change::To(cell)));
    }
    if set.is_empty() {
        return Err(OperationError::bad(
            "invalid_request",
            "an update needs a column to store in `store_params`",
        )
        .at(format!("/operations/{}/{PART}", operation.index)));
    }
    set.extend(next_version(entity));
    for (column, meta) in entity.columns.iter().enumerate() {
        if let Some(injection) = meta.injection.as_ref().filter(|injection| injection.on_update) {
            set.push((column, Change::To(injected(entity, meta, &injection.value, desk)?)));
        }
    }
    let work = PlannedWork::Update { set, selector, must_hold: grant.filter.clone() };
    let mut checked = base(operation, desk, Some(entity), readable.clone(), work);
    answer_written(&mut checked, operation, entity, &readable)?;
    Ok(checked)
}

/// A delete, or the update that a soft delete is.
pub(super) fn check_delete(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    read: Option<&Grant>,
    desk: &Desk<'_>,
) -> Result<CheckedOperation, OperationError> {
    let (readable, selector) = opening(operation, entity, grant, read, desk)?;
    let work = match &entity.soft_delete {
        None => PlannedWork::Delete { selector },
        Some(soft_delete) => {
            let removed = removed_value(entity, soft_delete, desk.kind()).map_or(Cell::Now, Cell::Known);
            let mut set = vec![(soft_delete.column(), Change::To(removed))];
            for column in &entity.audit {
                let meta = &entity.columns[*column];
                set.push((
                    *column,
                    Change::To(injected(entity, meta, &Injected::Claim("sub".into()), desk)?),
                ));
            }
            set.extend(next_version(entity));
            // The right to delete says which rows; what the mark makes of them is not the caller's doing.
            PlannedWork::Update { set, selector, must_hold: Condition::True }
        }
    };
    let mut checked = base(operation, desk, Some(entity), readable.clone(), work);
    answer_written(&mut checked, operation, entity, &readable)?;
    Ok(checked)
}

/// Which columns the caller may read.
fn readable(entity: &Entity, read: Option<&Grant>) -> Vec<bool> {
    read.map_or_else(|| vec![false; entity.columns.len()], |read| read.columns.clone())
}

/// What an update and a delete begin with: the columns that the caller may read, and the rows.
fn opening(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    read: Option<&Grant>,
    desk: &Desk<'_>,
) -> Result<(Vec<bool>, Selector), OperationError> {
    metadata::refuse_unknown(operation, metadata::OF_WRITES)?;
    Ok((readable(entity, read), write_selector(operation, entity, grant, read, desk)?))
}

/// Which rows an update or delete touches: those of its own right that the caller may also read, because its answer and
/// its selector tell what is in them.
fn write_selector(
    operation: &OperationRequest,
    entity: &Arc<Entity>,
    grant: &Grant,
    read: Option<&Grant>,
    desk: &Desk<'_>,
) -> Result<Selector, OperationError> {
    let action = operation.action.as_str();
    if operation.query_params.is_empty() {
        return Err(OperationError::bad(
            "selector_required",
            format!(
                "{action} of `{}` needs a selector in `query_params`: without one it would touch every row",
                entity.name
            ),
        )
        .at(format!("/operations/{}/query_params", operation.index)));
    }
    let nothing = Grant { columns: vec![false; entity.columns.len()], filter: Condition::True };
    let read = read.unwrap_or(&nothing);
    let filter = if read.filter == grant.filter {
        grant.filter.clone()
    } else {
        grant.filter.clone().and(read.filter.clone())
    };
    let selector = selector::check_selector(operation, entity, read, &filter, desk)?;
    if let Some(version) = entity.version {
        let name = &entity.columns[version.column].name;
        let names_version = |test: &PlannedTest| {
            test.column == version.column && !matches!(test.body, TestBody::Known(Test::IsNull))
        };
        if !selector.tests.iter().any(names_version) {
            return Err(
                version_required(entity, name).at(format!("/operations/{}/query_params", operation.index))
            );
        }
    }
    Ok(selector)
}

/// The current version must be named.
pub(in crate::batch) fn version_required(entity: &Entity, column: &Arc<str>) -> OperationError {
    OperationError::bad(
        "version_required",
        format!("`{}` has a version: name the current `{column}` in `query_params`", entity.name),
    )
    .at_column(column)
}

fn key_required(entity: &Entity, meta: &Column) -> OperationError {
    OperationError::bad(
        "key_required",
        format!("a new row of `{}` needs its key `{}`", entity.name, meta.name),
    )
    .at_column(&meta.name)
}

/// The column of this name, if the caller may send it.
fn storable(
    entity: &Entity,
    name: &Arc<str>,
    grant: &Grant,
    action: Action,
) -> Result<ColumnId, OperationError> {
    let Some(column) = entity.column_id(name) else {
        return Err(OperationError::unknown_column(&entity.name, name));
    };
    let meta = &entity.columns[column];
    let bad = |code, why: &str| {
        OperationError::bad(code, format!("`{name}` may not be sent: {why}")).at_column(name)
    };
    if entity.version.is_some_and(|version| version.column == column) {
        return Err(bad("version_not_allowed", "it is the version, which counts by itself"));
    }
    let injects = |injection: &Injection| match action {
        Action::Create => injection.on_create,
        _ => injection.on_update,
    };
    if meta.injection.as_ref().is_some_and(injects) {
        return Err(OperationError::forbidden(
            "injected_column",
            format!("`{name}` may not be sent: the server fills it in"),
        )
        .at_column(name));
    }
    if meta.generated {
        return Err(bad("key_not_allowed", "the database computes it"));
    }
    if let Some(KeyRule::Auto | KeyRule::Sequence(_) | KeyRule::Uuid) = meta.key {
        return Err(bad("key_not_allowed", "the key is made by the server"));
    }
    if !grant.columns[column] {
        return Err(OperationError::column_forbidden(&entity.name, name, "write"));
    }
    Ok(column)
}

/// A value to store: fitted if it is a constant.
fn cell(
    meta: &Column,
    template: &Template,
    place: Place<'_>,
    desk: &Desk<'_>,
) -> Result<Cell, OperationError> {
    match template {
        Template::Value(value) => fit(value.clone(), meta, desk.kind())
            .map(Cell::Known)
            .map_err(|misfit| OperationError::type_mismatch(&meta.name, &misfit).at(place.pointer())),
        template => {
            refuse_every(meta, template, place)?;
            Ok(Cell::Later { template: template.clone(), pointer: place.pointer() })
        }
    }
}

/// A list of all rows can only be stored where lists are. (Inside text it was refused when the request was read.)
fn refuse_every(meta: &Column, template: &Template, place: Place<'_>) -> Result<(), OperationError> {
    match template {
        Template::Reference(reference)
            if reference.steps.contains(&PathStep::Every)
                && !matches!(meta.column_type, ColumnType::Json | ColumnType::Array(_)) =>
        {
            let written = &reference.written;
            let why =
                format!("`{written}` reads a list, and column `{}` holds one value: use an index", meta.name);
            Err(OperationError::bad("bad_reference", why).at_column(&meta.name).at(place.pointer()))
        }
        _ => Ok(()),
    }
}

/// What the server stores by itself.
fn injected(
    entity: &Entity,
    meta: &Column,
    value: &Injected,
    desk: &Desk<'_>,
) -> Result<Cell, OperationError> {
    let claim = match value {
        Injected::Timestamp => return Ok(Cell::Now),
        Injected::Date => return Ok(Cell::Today),
        Injected::Uuid => return Ok(Cell::NewUuid),
        Injected::Claim(name) => name,
    };
    let missing = || {
        OperationError::forbidden(
            "injected_column",
            format!("`{}` of `{}` is filled from the claim `{claim}`, which your token does not have in a form that fits", meta.name, entity.name),
        )
        .at_column(&meta.name)
    };
    let found = match &**claim {
        // The subject is verified apart from the other claims.
        "sub" if !desk.cx.caller.subject.is_empty() => Some(Value::Text(desk.cx.caller.subject.to_string())),
        name => desk.cx.caller.claim(name).and_then(claim_value),
    };
    let value = found.ok_or_else(missing)?;
    fit(value, meta, desk.kind()).map(Cell::Known).map_err(|_| missing())
}

fn first_version(entity: &Entity, meta: &Column, desk: &Desk<'_>) -> Result<Cell, OperationError> {
    Ok(match entity.version.map(|version| version.kind) {
        Some(VersionKind::Timestamp) => Cell::Now,
        Some(VersionKind::Uuid) => Cell::NewUuid,
        Some(VersionKind::Integer) | None => {
            let first = fit(Value::Int(1), meta, desk.kind());
            Cell::Known(first.map_err(|misfit| OperationError::type_mismatch(&meta.name, &misfit))?)
        }
    })
}

fn next_version(entity: &Entity) -> Option<(ColumnId, Change)> {
    let version = entity.version?;
    let change = match version.kind {
        VersionKind::Integer => Change::Increment,
        VersionKind::Timestamp => Change::To(Cell::Now),
        VersionKind::Uuid => Change::To(Cell::NewUuid),
    };
    Some((version.column, change))
}

/// What a write answers: `_properties` and `return` may only make it less.
fn answer_written(
    checked: &mut CheckedOperation,
    operation: &OperationRequest,
    entity: &Entity,
    visible: &[bool],
) -> Result<(), OperationError> {
    let shown = properties::of_columns(operation, &entity.name, &entity.columns, visible)?;
    checked.answer_columns = match checked.returns {
        Return::Representation => shown,
        Return::Keys => entity.primary_key.iter().copied().filter(|column| visible[*column]).collect(),
        Return::None => Vec::new(),
    };
    checked.fetch_columns = checked.answer_columns.clone();
    checked.fetch_columns.sort_unstable();
    Ok(())
}
