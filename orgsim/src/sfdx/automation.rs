//! Triggers, flows, rules, record types and permission sets of a project.

use roxmltree::Node;

use super::xml::{all, flag, one, text};
use crate::catalog::ids;
use crate::model::{
    ApexTrigger, FieldPermission, Flow, ObjectPermission, OrgModel, PermissionSet, RecordType, ValidationRule,
};

/// A validation rule as its file says.
#[derive(Debug)]
pub struct Rule {
    name: String,
    active: bool,
    description: Option<String>,
    message: String,
    field: Option<String>,
    formula: String,
}

/// A record type as its file says.
#[derive(Debug)]
pub struct Kind {
    developer_name: String,
    label: String,
    active: bool,
    description: Option<String>,
}

/// Reads a rule; `None` without a name or a formula.
pub fn rule(node: Node) -> Option<Rule> {
    Some(Rule {
        name: text(node, "fullName")?,
        active: flag(node, "active"),
        description: text(node, "description"),
        message: text(node, "errorMessage").unwrap_or_default(),
        field: text(node, "errorDisplayField"),
        formula: text(node, "errorConditionFormula")?,
    })
}

/// Reads a record type; `None` without a name.
pub fn record_type(node: Node) -> Option<Kind> {
    let developer_name = text(node, "fullName")?;
    Some(Kind {
        label: text(node, "label").unwrap_or_else(|| developer_name.replace('_', " ")),
        developer_name,
        active: flag(node, "active"),
        description: text(node, "description"),
    })
}

/// Adds rules to an object.
pub fn add_rules(org: &mut OrgModel, object: &str, rules: Vec<Rule>) {
    for rule in rules {
        org.validation_rules.push(ValidationRule {
            id: ids::record_id("03d", org.validation_rules.len() as u64 + 1),
            name: rule.name,
            object: object.to_owned(),
            active: rule.active,
            description: rule.description,
            error_message: rule.message,
            error_display_field: rule.field,
            formula: rule.formula,
        });
    }
}

/// Adds record types to an object.
pub fn add_record_types(org: &mut OrgModel, object: &str, kinds: Vec<Kind>) {
    for kind in kinds {
        org.record_types.push(RecordType {
            id: ids::record_id("012", org.record_types.len() as u64 + 1),
            name: kind.label,
            developer_name: kind.developer_name,
            object: object.to_owned(),
            is_active: kind.active,
            description: kind.description,
        });
    }
}

/// Adds a trigger by its header `trigger Name on Object (events)`.
pub fn add_trigger(org: &mut OrgModel, name: &str, body: &str) -> Result<(), String> {
    let (object, events) = trigger_header(body).ok_or("no header `trigger Name on Object (events)`")?;
    org.triggers.push(ApexTrigger {
        id: ids::record_id("01q", org.triggers.len() as u64 + 1),
        name: name.to_owned(),
        object,
        status: "Active".to_owned(),
        api_version: 62.0,
        events,
        body: body.to_owned(),
    });
    Ok(())
}

/// Object and events of a trigger, comments before and inside the header left out.
pub fn trigger_header(body: &str) -> Option<(String, Vec<String>)> {
    let code = without_comments(body);
    let (head, rest) = code.split_once('(')?;
    let (events, _) = rest.split_once(')')?;
    let words: Vec<&str> = head.split_whitespace().collect();
    let [first, _, on, object] = words.as_slice() else { return None };
    if !first.eq_ignore_ascii_case("trigger") || !on.eq_ignore_ascii_case("on") {
        return None;
    }
    let events = events
        .split(',')
        .map(|event| event.split_whitespace().map(capital).collect::<String>())
        .filter(|event| !event.is_empty())
        .collect();
    Some(((*object).to_owned(), events))
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
}

fn without_comments(body: &str) -> String {
    let mut code = String::with_capacity(body.len());
    let mut rest = body;
    loop {
        let line = rest.find("//");
        let block = rest.find("/*");
        let (at, end) = match (line, block) {
            (Some(line), block) if block.is_none_or(|block| line < block) => (line, "\n"),
            (_, Some(block)) => (block, "*/"),
            _ => break,
        };
        code.push_str(&rest[..at]);
        code.push(' ');
        rest = rest[at + 2..].split_once(end).map_or("", |(_, after)| after);
    }
    code + rest
}

/// Adds a flow.
pub fn add_flow(org: &mut OrgModel, name: &str, root: Node) {
    let start = one(root, "start");
    let trigger_type = start.and_then(|start| text(start, "triggerType"));
    let object = start.and_then(|start| text(start, "object"));
    let number = org.flows.len() as u64 + 1;
    org.flows.push(Flow {
        durable_id: ids::record_id("300", number),
        version_id: ids::record_id("301", number),
        api_name: name.to_owned(),
        label: text(root, "label").unwrap_or_else(|| name.replace('_', " ")),
        description: text(root, "description"),
        process_type: text(root, "processType").unwrap_or_else(|| "AutoLaunchedFlow".to_owned()),
        trigger_type,
        record_trigger_type: start.and_then(|start| text(start, "recordTriggerType")),
        object: object.or_else(|| process_object(root)),
        is_active: text(root, "status").as_deref() == Some("Active"),
    });
}

/// A Process Builder process names its object in `processMetadataValues`.
fn process_object(root: Node) -> Option<String> {
    all(root, "processMetadataValues")
        .find(|node| text(*node, "name").as_deref() == Some("ObjectType"))
        .and_then(|node| text(one(node, "value")?, "stringValue"))
}

/// Adds a permission set with what it grants.
pub fn add_permission_set(org: &mut OrgModel, name: &str, root: Node) {
    let set = org.permission_sets.len();
    org.permission_sets.push(PermissionSet {
        // Far from the numbers of the org's own sets, which are added later.
        id: ids::record_id("0PS", 900_000 + set as u64),
        name: name.to_owned(),
        label: text(root, "label").unwrap_or_else(|| name.replace('_', " ")),
        profile_id: None,
        profile_name: None,
    });
    for node in all(root, "objectPermissions") {
        let Some(object) = text(node, "object") else { continue };
        org.object_permissions.push(ObjectPermission {
            set,
            object,
            read: flag(node, "allowRead"),
            create: flag(node, "allowCreate"),
            edit: flag(node, "allowEdit"),
            delete: flag(node, "allowDelete"),
            view_all: flag(node, "viewAllRecords"),
            modify_all: flag(node, "modifyAllRecords"),
        });
    }
    for node in all(root, "fieldPermissions") {
        let Some((object, field)) = text(node, "field").and_then(|field| {
            let (object, field) = field.split_once('.')?;
            Some((object.to_owned(), field.to_owned()))
        }) else {
            continue;
        };
        org.field_permissions.push(FieldPermission {
            set,
            object,
            field,
            read: flag(node, "readable"),
            edit: flag(node, "editable"),
        });
    }
}
