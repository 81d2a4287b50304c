//! What runs by itself in the org: record types, rules, flows, triggers; and the layouts.

mod apex;

use super::tables::ObjectSpec;
use super::{CatalogError, ids, standard};
use crate::model::{ApexTrigger, Flow, Layout, OrgModel, RecordType, SObject, ValidationRule, WorkflowRule};

const FLOWS: &str = include_str!("../../data/flows.txt");
pub(super) const TRIGGERS: &str = include_str!("../../data/triggers.txt");
/// Workflow rules are the oldest automation; what is left of them in the org.
const WORKFLOW_RULES: &str = include_str!("../../data/workflow-rules.txt");

/// Adds all automation of the tables. Names are checked against the objects by the tests.
///
/// # Errors
/// A line of a table that has not the columns it should have.
pub fn add(org: &mut OrgModel, specs: &[ObjectSpec]) -> Result<(), CatalogError> {
    for spec in specs {
        record_types(org, spec);
        validation_rules(org, spec);
    }
    derived_rules(org);
    for line in lines(FLOWS) {
        let flow = flow(line, org.flows.len() as u64 + 1)
            .ok_or_else(|| CatalogError::Automation { line: line.to_owned() })?;
        org.flows.push(flow);
    }
    for line in lines(TRIGGERS) {
        let trigger = trigger(org, line, org.triggers.len() as u64 + 1)
            .ok_or_else(|| CatalogError::Automation { line: line.to_owned() })?;
        org.triggers.push(trigger);
    }
    for line in lines(WORKFLOW_RULES) {
        let (object, name) =
            line.split_once(" | ").ok_or_else(|| CatalogError::Automation { line: line.to_owned() })?;
        let id = ids::record_id("01Q", org.workflow_rules.len() as u64 + 1);
        org.workflow_rules.push(WorkflowRule { id, name: name.to_owned(), object: object.to_owned() });
    }
    layouts(org);
    Ok(())
}

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn record_types(org: &mut OrgModel, spec: &ObjectSpec) {
    for (name, description) in &spec.record_types {
        let id = ids::record_id("012", org.record_types.len() as u64 + 1);
        org.record_types.push(RecordType {
            id,
            name: name.clone(),
            developer_name: developer_name(name),
            object: spec.name.clone(),
            is_active: true,
            description: Some(description.clone()),
        });
    }
}

/// `Owned Asset (old)` becomes `Owned_Asset_old`.
pub(crate) fn developer_name(label: &str) -> String {
    let words: Vec<String> = label
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.join("_")
}

fn validation_rules(org: &mut OrgModel, spec: &ObjectSpec) {
    for rule in &spec.rules {
        push_rule(org, &spec.name, &rule.name, &rule.formula, &rule.message, rule.field.as_deref());
    }
}

fn push_rule(
    org: &mut OrgModel,
    object: &str,
    name: &str,
    formula: &str,
    message: &str,
    field: Option<&str>,
) {
    let number = org.validation_rules.len() as u64 + 1;
    org.validation_rules.push(ValidationRule {
        id: ids::record_id("03d", number),
        name: name.to_owned(),
        object: object.to_owned(),
        // One in twenty was switched off for a data load and never on again, as in any org of some age.
        active: !number.is_multiple_of(20),
        description: None,
        error_message: message.to_owned(),
        error_display_field: field.map(str::to_owned),
        formula: formula.to_owned(),
    });
}

/// Pairs of fields of which the house rule says how they belong together, on every object that has both.
const HOUSE_RULES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "Start_Date__c",
        "End_Date__c",
        "End_Not_Before_Start",
        "End_Date__c < Start_Date__c",
        "The end date lies before the start date.",
    ),
    (
        "Scheduled_Start__c",
        "Scheduled_End__c",
        "Scheduled_End_After_Start",
        "Scheduled_End__c <= Scheduled_Start__c",
        "The planned end must come after the planned start.",
    ),
    (
        "Approval_Status__c",
        "Rejection_Reason__c",
        "Rejection_Needs_Reason",
        "AND(ISPICKVAL(Approval_Status__c, 'Rejected'), ISBLANK(Rejection_Reason__c))",
        "Say why it was rejected.",
    ),
    (
        "Effective_From__c",
        "Effective_To__c",
        "Effective_To_After_From",
        "Effective_To__c < Effective_From__c",
        "The record ends before it takes effect.",
    ),
];

fn derived_rules(org: &mut OrgModel) {
    let mut found: Vec<(String, usize)> = Vec::new();
    for object in org.objects.iter().filter(|object| object.custom) {
        for (at, (first, second, ..)) in HOUSE_RULES.iter().enumerate() {
            let has = |name: &str| object.fields.iter().any(|field| field.name == name);
            if has(first) && has(second) {
                found.push((object.name.clone(), at));
            }
        }
    }
    for (object, at) in found {
        let (_, field, name, formula, message) = HOUSE_RULES[at];
        push_rule(org, &object, name, formula, message, Some(field));
    }
}

/// `ApiName | Label | kind | object | description`.
fn flow(line: &str, number: u64) -> Option<Flow> {
    let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let &[api_name, label, kind, object, description] = columns.as_slice() else { return None };
    let (process_type, trigger_type, record_trigger_type) = match kind {
        "before-save" => ("AutoLaunchedFlow", Some("RecordBeforeSave"), Some("CreateAndUpdate")),
        "before-create" => ("AutoLaunchedFlow", Some("RecordBeforeSave"), Some("Create")),
        "after-create" => ("AutoLaunchedFlow", Some("RecordAfterSave"), Some("Create")),
        "after-update" => ("AutoLaunchedFlow", Some("RecordAfterSave"), Some("Update")),
        "after-save" => ("AutoLaunchedFlow", Some("RecordAfterSave"), Some("CreateAndUpdate")),
        "before-delete" => ("AutoLaunchedFlow", Some("RecordBeforeDelete"), Some("Delete")),
        "scheduled" => ("AutoLaunchedFlow", Some("Scheduled"), None),
        "event" => ("AutoLaunchedFlow", Some("PlatformEvent"), None),
        "autolaunched" => ("AutoLaunchedFlow", None, None),
        "screen" => ("Flow", None, None),
        "process" => ("Workflow", None, None),
        _ => return None,
    };
    Some(Flow {
        durable_id: ids::record_id("300", number),
        version_id: ids::record_id("301", number),
        api_name: api_name.to_owned(),
        label: label.to_owned(),
        description: Some(description.to_owned()),
        process_type: process_type.to_owned(),
        trigger_type: trigger_type.map(str::to_owned),
        record_trigger_type: record_trigger_type.map(str::to_owned),
        object: (object != "-").then(|| object.to_owned()),
        is_active: !number.is_multiple_of(17),
    })
}

/// `Name | object | events | shape | field | other object or field | purpose`.
fn trigger(org: &OrgModel, line: &str, number: u64) -> Option<ApexTrigger> {
    let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let &[name, object, events, shape, field, other, purpose] = columns.as_slice() else { return None };
    let object = org.object(object)?;
    let events: Vec<String> = events.split_whitespace().map(str::to_owned).collect();
    let body = apex::body(&apex::Plan {
        name,
        object: &object.name,
        events: &events,
        shape,
        field,
        other,
        purpose,
    })?;
    Some(ApexTrigger {
        id: ids::record_id("01q", number),
        name: name.to_owned(),
        object: object.name.clone(),
        status: if number.is_multiple_of(19) { "Inactive" } else { "Active" }.to_owned(),
        api_version: [52.0, 56.0, 58.0, 61.0, 62.0][(number % 5) as usize],
        events,
        body,
    })
}

fn layouts(org: &mut OrgModel) {
    let laid_out: Vec<&SObject> = org
        .objects
        .iter()
        .filter(|object| {
            let custom = object.custom && object.name.ends_with("__c") && !object.custom_setting;
            custom || (!object.custom && standard::is_customizable(object))
        })
        .collect();
    let mut made = Vec::new();
    for object in laid_out {
        let mut names = vec![format!("{} Layout", object.label)];
        names.extend(
            org.record_types
                .iter()
                .filter(|kind| kind.object == object.name)
                .map(|kind| format!("{} - {} Layout", object.label, kind.name)),
        );
        made.extend(names.into_iter().map(|name| (object.name.clone(), name)));
    }
    for (object, name) in made {
        let id = ids::record_id("00h", org.layouts.len() as u64 + 1);
        org.layouts.push(Layout { id, name, object });
    }
}
