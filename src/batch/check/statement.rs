//! Named statements of the config: read-only, their `query_params` are parameters (contract, sections 6 and 16).

use std::sync::Arc;

use super::error::{OperationError, Place};
use super::{CheckedOperation, Desk, base, metadata, properties};
use crate::batch::access::Caller;
use crate::batch::bind::fit::fit_type;
use crate::batch::bind::planned::{Cell, PlannedWork};
use crate::batch::catalogue::NamedStatement;
use crate::batch::operation::Action;
use crate::batch::reference::Template;
use crate::batch::request::OperationRequest;

/// A call of a named statement.
pub(super) fn check(
    operation: &OperationRequest,
    statement: &Arc<NamedStatement>,
    desk: &Desk<'_>,
) -> Result<CheckedOperation, OperationError> {
    let name = &statement.name;
    if operation.action != Action::Read {
        return Err(OperationError::forbidden(
            "action_forbidden",
            format!("`{name}` is a named statement: its only action is `read`"),
        ));
    }
    if !may_call(statement, desk.cx.caller) {
        return Err(OperationError::forbidden(
            "action_forbidden",
            format!("no role of yours may call `{name}`"),
        ));
    }
    metadata::refuse_unknown(operation, metadata::OF_STATEMENTS)?;
    let place = |key| Place::new(operation.index, "query_params", key);
    let known = |key: &str| statement.parameters.iter().any(|(parameter, _)| &**parameter == key);
    if let Some((key, _)) = operation.query_params.iter().find(|(key, _)| !known(key)) {
        return Err(OperationError::unknown_column(name, key).at(place(key).pointer()));
    }
    let parameters = statement.parameters.iter().map(|(parameter, column_type)| {
        let given = operation.query_params.iter().find(|(key, _)| key == parameter);
        let Some((_, template)) = given else {
            return Err(OperationError::bad(
                "key_required",
                format!("`{name}` needs the parameter `{parameter}`"),
            )
            .at_column(parameter)
            .at(format!("/operations/{}/query_params", operation.index)));
        };
        let cell = match template {
            Template::Value(value) => {
                fit_type(value.clone(), column_type, desk.kind()).map(Cell::Known).map_err(|misfit| {
                    OperationError::type_mismatch(parameter, &misfit).at(place(parameter).pointer())
                })?
            }
            template => Cell::Later { template: template.clone(), pointer: place(parameter).pointer() },
        };
        Ok(cell)
    });
    let parameters: Vec<Cell> = parameters.collect::<Result<_, OperationError>>()?;
    let limit = metadata::limit(operation, desk)?;
    let readable = vec![true; statement.columns.len()];
    let answer_columns = properties::of_columns(operation, name, &statement.columns, &readable)?;
    let mut checked = base(operation, desk, None, readable, PlannedWork::Statement { parameters, limit });
    checked.statement = Some(Arc::clone(statement));
    checked.answer_columns = answer_columns;
    // The statement answers all its columns, whatever is shown of them.
    checked.fetch_columns = (0..statement.columns.len()).collect();
    checked.limit_stated = operation.metadata("limit").is_some();
    Ok(checked)
}

fn may_call(statement: &NamedStatement, caller: &Caller) -> bool {
    let serves = |role: &String| match role.as_str() {
        "public" => true,
        "*" => !caller.roles.is_empty(),
        named => caller.roles.iter().any(|role| &**role == named),
    };
    statement.roles.is_empty() || statement.roles.iter().any(serves)
}
