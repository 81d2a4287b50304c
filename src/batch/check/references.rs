//! What operations refer to, against what the others will answer: unknown columns and columns that the caller may not read
//! are found before anything runs, and what is referred to is asked of the database (contract, section 5).

use std::sync::Arc;

use super::error::{OperationError, Place, shortened};
use super::{CheckedOperation, add_column};
use crate::batch::catalogue::{ColumnId, ColumnType};
use crate::batch::reference::{PathStep, Reference, Template, TextPart};
use crate::batch::request::{OperationRequest, StoreParams};

/// Which columns of its target a reference needs.
enum Need {
    /// None that is not there anyway.
    Nothing,
    /// This one.
    Column(ColumnId),
    /// All that the caller may read.
    Row,
}

/// Checks every reference. A reference to an operation that has failed its own check says nothing: whoever refers to it is
/// skipped.
pub(super) fn check(
    operations: &[OperationRequest],
    checked: &mut [Result<CheckedOperation, OperationError>],
) {
    let mut needs: Vec<(usize, Need)> = Vec::new();
    for operation in operations {
        if checked[operation.index].is_err() {
            continue;
        }
        let judged = visit(operation, &mut |reference, whole| {
            if let Some(Ok(target)) = checked.get(reference.target) {
                needs.push((reference.target, judge(reference, whole, target)?));
            }
            Ok(())
        });
        if let Err(error) = judged {
            checked[operation.index] = Err(error);
        }
    }
    for (target, need) in needs {
        let Some(Ok(target)) = checked.get_mut(target) else {
            continue;
        };
        match need {
            Need::Nothing => {}
            Need::Column(column) => add_column(&mut target.fetch_columns, column),
            Need::Row => {
                let readable = target.readable.iter().enumerate().filter(|(_, readable)| **readable);
                for (column, _) in readable {
                    add_column(&mut target.fetch_columns, column);
                }
            }
        }
    }
}

type Judge<'a> = dyn FnMut(&Reference, bool) -> Result<(), OperationError> + 'a;

/// Shows every reference of an operation, and whether it is a whole value.
fn visit(operation: &OperationRequest, judge: &mut Judge<'_>) -> Result<(), OperationError> {
    let index = operation.index;
    match &operation.store_params {
        StoreParams::None => {}
        StoreParams::One(fields) => {
            for (name, template) in fields {
                visit_at(template, Place::new(index, "store_params", name), judge)?;
            }
        }
        StoreParams::Many { keys, rows } => {
            for (at, row) in rows.iter().enumerate() {
                for (name, template) in keys.iter().zip(row) {
                    let place = Place { row: Some(at), ..Place::new(index, "store_params", name) };
                    visit_at(template, place, judge)?;
                }
            }
        }
    }
    for (part, params) in
        [("query_params", &operation.query_params), ("metadata_params", &operation.metadata_params)]
    {
        for (name, template) in params {
            visit_at(template, Place::new(index, part, name), judge)?;
        }
    }
    Ok(())
}

fn visit_at(template: &Template, place: Place<'_>, judge: &mut Judge<'_>) -> Result<(), OperationError> {
    visit_template(template, judge).map_err(|error| error.at(place.pointer()))
}

fn visit_template(template: &Template, judge: &mut Judge<'_>) -> Result<(), OperationError> {
    match template {
        Template::Value(_) => Ok(()),
        Template::Reference(reference) => judge(reference, true),
        Template::Text(parts) => parts.iter().try_for_each(|part| match part {
            TextPart::Literal(_) => Ok(()),
            TextPart::Reference(reference) => judge(reference, false),
        }),
        Template::Array(items) => items.iter().try_for_each(|item| visit_template(item, judge)),
        Template::Object(fields) => fields.iter().try_for_each(|(_, value)| visit_template(value, judge)),
    }
}

fn judge(reference: &Reference, whole: bool, target: &CheckedOperation) -> Result<Need, OperationError> {
    let bad = |why: String| {
        Err(OperationError::bad(
            "bad_reference",
            format!("reference `{}`: {why}", shortened(&reference.written)),
        ))
    };
    let path = match reference.steps.as_slice() {
        [PathStep::Index(_) | PathStep::Every, rest @ ..] => rest,
        whole_path => whole_path,
    };
    let id = &reference.target_id;
    // Only a bare one inside text, and only in its last step.
    let may_be_trimmed = !whole && !reference.braced && path.len() == 1;
    let name = match path {
        [] if target.is_count => return bad(format!("`{id}` answers a count and no rows")),
        [] => return Ok(Need::Row),
        [PathStep::Name(name), ..] => name,
        [PathStep::Index(_) | PathStep::Every, ..] => return bad(format!("a row of `{id}` is no list")),
    };
    if target.is_count {
        return match &**name {
            "count" => Ok(Need::Nothing),
            longer if may_be_trimmed && longer.starts_with("count") => Ok(Need::Nothing),
            _ => bad(format!("`{id}` answers nothing but `count`")),
        };
    }
    let columns = target.columns();
    if let Some(column) = column_named(target, name) {
        let meta = &columns[column];
        if !target.readable[column] {
            let owner = target.entity.as_ref().map_or(id, |entity| &entity.name);
            return Err(OperationError::column_forbidden(owner, &meta.name, "read"));
        }
        let goes_on = matches!(meta.column_type, ColumnType::Json | ColumnType::Array(_));
        if path.len() > 1 && !goes_on {
            return bad(format!("column `{name}` of `{id}` is one value and has no parts"));
        }
        return Ok(Need::Column(column));
    }
    if let Some(plan) = target.associations.iter().find(|plan| plan.name == *name) {
        let inside = match &path[1..] {
            [PathStep::Index(_) | PathStep::Every, rest @ ..] => rest,
            rest => rest,
        };
        let shown = |wanted: &Arc<str>| {
            plan.answer_columns.iter().any(|column| plan.entity.columns[*column].name == *wanted)
        };
        return match inside {
            // One that is trimmed is found out when its value is there.
            [PathStep::Name(column)] if !whole && !reference.braced && !shown(column) => Ok(Need::Nothing),
            [PathStep::Name(column), ..] if !shown(column) => {
                bad(format!("`{name}` of `{id}` loads no column `{}`", shortened(column)))
            }
            _ => Ok(Need::Nothing),
        };
    }
    if may_be_trimmed {
        let shorter = columns
            .iter()
            .enumerate()
            .filter(|(column, meta)| target.readable[*column] && name.starts_with(&*meta.name));
        if let Some((column, _)) = shorter.max_by_key(|(_, meta)| meta.name.len()) {
            return Ok(Need::Column(column));
        }
    }
    let is_relation = target.entity.as_ref().is_some_and(|entity| entity.relation(name).is_some());
    if is_relation {
        return bad(format!(
            "`{id}` does not load `{name}`; say `properties: \"{name}:.*\"` in its `metadata_params`"
        ));
    }
    bad(format!("`{id}` answers no column `{}`", shortened(name)))
}

fn column_named(target: &CheckedOperation, name: &str) -> Option<ColumnId> {
    match &target.entity {
        Some(entity) => entity.column_id(name),
        None => target.columns().iter().position(|column| &*column.name == name),
    }
}
