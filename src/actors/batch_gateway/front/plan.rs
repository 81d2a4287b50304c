//! The answer of `/batch/plan`.

use super::Planned;

/// What `/batch/plan` answers.
pub(super) fn plan_document(batch_id: &str, planned: &Planned<'_>) -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let operations = &planned.request.operations;
    let id = |at: &usize| json!(operations[*at].id);
    let ids = |places: &[usize]| places.iter().map(id).collect::<Value>();
    let told: Map<String, Value> = operations
        .iter()
        .zip(&planned.checked)
        .map(|(operation, checked)| {
            let at = operation.index;
            let mut told = json!({
                "entity": operation.entity,
                "action": operation.action.as_str(),
                "level": planned.plan.levels[at],
                "dependsOn": ids(&planned.plan.dependencies[at]),
                "dependents": ids(&planned.plan.dependents[at]),
            });
            match checked {
                Ok(checked) => {
                    let shown: Value = checked.shown_columns().map(|(_, name)| json!(name)).collect();
                    told["columns"] = shown;
                }
                Err(error) => {
                    told["error"] = json!({
                        "statusCode": error.status,
                        "code": error.code,
                        "error": error.error,
                        "column": error.column,
                        "pointer": error.pointer,
                    });
                }
            }
            (operation.id.to_string(), told)
        })
        .collect();
    json!({
        "batchId": batch_id,
        "database": planned.desk.database.name(),
        "order": ids(&planned.plan.order),
        "groups": planned.plan.groups().iter().map(|group| ids(group)).collect::<Value>(),
        "independent": ids(&planned.plan.independent()),
        "operations": told,
    })
}
