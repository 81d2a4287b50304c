//! Each kind of work with its references filled in.

use super::BindContext;
use super::fit::fit;
use super::planned::{Amount, Cell, Change, PlannedWork};
use super::selector::condition;
use crate::batch::catalogue::{Column, ColumnId, DatabaseKind, Entity};
use crate::batch::check::{
    AssociationPlan, CheckedOperation, OperationError, as_amount, not_an_amount, too_many,
};
use crate::batch::operation::{
    Assignment, BoundOperation, Condition, Handed, Handover, Lock, SortKey, Test, Work,
};
use crate::batch::reference::{Results, Template, Unresolved, resolve_within};
use crate::batch::value::Value;

/// The work of an operation.
pub(super) fn bind(
    checked: &CheckedOperation,
    results: &dyn Results,
    takes: &[Handover],
    cx: &mut BindContext<'_>,
) -> Result<Work, OperationError> {
    let kind = checked.kind;
    let entity = match (&checked.entity, &checked.work) {
        (Some(entity), _) => entity,
        (None, PlannedWork::Statement { parameters, limit }) => {
            return bind_statement(checked, parameters, limit, results, cx);
        }
        // An operation without an entity is a statement, by how it is made.
        (None, _) => return Err(OperationError::new(500, "database_error", "the operation has no entity")),
    };
    Ok(match &checked.work {
        PlannedWork::Create { columns, rows, must_hold } => {
            let is_bound = |column: &ColumnId| takes.iter().all(|taken| taken.column != *column);
            let mut bound = Vec::with_capacity(rows.len());
            for row in rows {
                let mut cells = Vec::with_capacity(row.len());
                for (column, cell) in columns.iter().zip(row).filter(|(column, _)| is_bound(column)) {
                    cells.push(bind_cell(&entity.columns[*column], cell, kind, results, cx)?);
                }
                bound.push(cells);
            }
            let columns = columns.iter().copied().filter(is_bound).collect();
            Work::Create { columns, rows: bound, must_hold: must_hold.clone() }
        }
        PlannedWork::Read { selector, sort, limit, offset, lock } => {
            let condition = condition(entity, selector, kind, results, cx)?;
            let limit = page_limit(limit, results, cx)?;
            let offset = bind_amount(offset, results, cx)?;
            Work::Read { condition, sort: sort.clone(), limit, offset, lock: *lock }
        }
        PlannedWork::Count { selector } => {
            Work::Count { condition: condition(entity, selector, kind, results, cx)? }
        }
        PlannedWork::Update { set, selector, must_hold } => {
            let mut assignments = Vec::with_capacity(set.len());
            for (column, change) in set {
                let assignment = match change {
                    Change::Increment => Assignment::Increment,
                    Change::To(cell) => {
                        Assignment::Value(bind_cell(&entity.columns[*column], cell, kind, results, cx)?)
                    }
                };
                assignments.push((*column, assignment));
            }
            let condition = condition(entity, selector, kind, results, cx)?;
            let rows_max = cx.limits.affected_rows;
            Work::Update { set: assignments, condition, must_hold: must_hold.clone(), rows_max }
        }
        PlannedWork::Delete { selector } => {
            let condition = condition(entity, selector, kind, results, cx)?;
            Work::Delete { condition, rows_max: cx.limits.affected_rows }
        }
        PlannedWork::Statement { parameters, limit } => {
            bind_statement(checked, parameters, limit, results, cx)?
        }
    })
}

fn bind_statement(
    checked: &CheckedOperation,
    parameters: &[Cell],
    limit: &Amount,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<Work, OperationError> {
    let Some(statement) = &checked.statement else {
        return Err(OperationError::new(500, "database_error", "the operation has no statement"));
    };
    let mut values = Vec::with_capacity(parameters.len());
    for (cell, (name, column_type)) in parameters.iter().zip(&statement.parameters) {
        values.push(match cell {
            Cell::Known(value) => value.clone(),
            Cell::Later { template, pointer } => {
                let value = resolved(template, results, cx).map_err(|error| error.at(pointer.as_str()))?;
                super::fit::fit_type(value, column_type, checked.kind)
                    .map_err(|misfit| OperationError::type_mismatch(name, &misfit).at(pointer.as_str()))?
            }
            // Statements have no columns that fill themselves.
            Cell::Now | Cell::Today | Cell::NewUuid => Value::Null,
        });
    }
    let limit = page_limit(limit, results, cx)?;
    Ok(Work::Statement { statement: statement.clone(), parameters: values, limit })
}

fn bind_cell(
    meta: &Column,
    cell: &Cell,
    kind: DatabaseKind,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<Value, OperationError> {
    let (value, pointer) = match cell {
        Cell::Known(value) => return Ok(value.clone()),
        Cell::Later { template, pointer } => {
            (resolved(template, results, cx).map_err(|error| error.at(pointer.as_str()))?, Some(pointer))
        }
        Cell::Now => (Value::Text(cx.now.to_string()), None),
        Cell::Today => (Value::Text(today(cx.now)), None),
        Cell::NewUuid => (Value::Text((cx.new_uuid)()), None),
    };
    // The moment of the batch goes into a column of any kind that has to do with time.
    let value = match (cell, &meta.column_type) {
        (Cell::Now, crate::batch::catalogue::ColumnType::Date) => Value::Text(today(cx.now)),
        _ => value,
    };
    fit(value, meta, kind).map_err(|misfit| {
        let error = OperationError::type_mismatch(&meta.name, &misfit);
        match pointer {
            Some(pointer) => error.at(pointer.as_str()),
            None => error,
        }
    })
}

fn today(now: jiff::Timestamp) -> String {
    now.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// A limit, and one more to see whether there are more rows.
fn page_limit(
    amount: &Amount,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<u64, OperationError> {
    let rows = bind_amount(amount, results, cx)?;
    match amount {
        Amount::Later { pointer, .. } if rows > cx.limits.read_rows => {
            Err(too_many(rows, cx.limits.read_rows).at(pointer.as_str()))
        }
        _ => Ok(rows.saturating_add(1)),
    }
}

fn bind_amount(
    amount: &Amount,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<u64, OperationError> {
    match amount {
        Amount::Known(rows) => Ok(*rows),
        Amount::Later { name, template, pointer } => {
            let value = resolved(template, results, cx).map_err(|error| error.at(pointer.as_str()))?;
            as_amount(&value).ok_or_else(|| not_an_amount(name).at(pointer.as_str()))
        }
    }
}

/// The value of a template, as long as the batch may have more bytes.
pub(super) fn resolved(
    template: &Template,
    results: &dyn Results,
    cx: &mut BindContext<'_>,
) -> Result<Value, OperationError> {
    resolve_within(template, results, cx.warnings, cx.bytes_left).map_err(|unresolved| match unresolved {
        Unresolved::Bad(bad) => OperationError::bad("bad_reference", bad.to_string()),
        Unresolved::TooLarge => OperationError::new(
            413,
            "result_too_large",
            "the values that references copy are larger than a batch may have (`max_resolved_bytes`)",
        ),
    })
}

/// The read of an association.
pub(super) fn load_association(
    plan: &AssociationPlan,
    index: usize,
    keys: &[Vec<Value>],
    rows_max: u64,
) -> Option<BoundOperation> {
    let mut distinct: Vec<&Vec<Value>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for key in keys {
        // Null equals nothing, so such a row has no other side.
        if !key.iter().any(Value::is_null) && seen.insert(Value::Array(key.clone()).to_json()) {
            distinct.push(key);
        }
    }
    if distinct.is_empty() {
        return None;
    }
    let condition = match plan.pairs.as_slice() {
        [(_, there)] => {
            let values = distinct.iter().filter_map(|key| key.first().cloned()).collect();
            Condition::Column(*there, Test::In(values))
        }
        pairs => Condition::Any(
            distinct
                .iter()
                .map(|key| {
                    let equal = pairs.iter().zip(key.iter());
                    Condition::All(
                        equal
                            .map(|((_, there), value)| Condition::Column(*there, Test::Eq(value.clone())))
                            .collect(),
                    )
                })
                .collect(),
        ),
    };
    Some(BoundOperation {
        index,
        entity: Some(plan.entity.clone()),
        work: Work::Read {
            condition: condition.and(plan.condition.clone()),
            sort: primary_key_order(&plan.entity),
            limit: rows_max.saturating_add(1),
            offset: 0,
            lock: Lock::None,
        },
        returning: plan.fetch_columns.clone(),
        handed: Handed::default(),
    })
}

fn primary_key_order(entity: &Entity) -> Vec<SortKey> {
    entity
        .primary_key
        .iter()
        .map(|column| SortKey { column: *column, through: None, descending: false })
        .collect()
}
