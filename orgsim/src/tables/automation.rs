//! FlowDefinitionView, Flow, ApexTrigger, ApexClass, ValidationRule, WorkflowRule, RecordType, Layout.

use super::{Kind::*, LAST_CHANGE_MS, MetaTable, Offered, Parent, col, entity_row, optional, text};
use crate::{model, org::OrgData, rows_api::Value};

pub(super) const TABLES: &[MetaTable] = &[
    FLOW_DEFINITION_VIEW,
    FLOW_DEFINITION,
    FLOW,
    APEX_TRIGGER,
    APEX_CLASS,
    VALIDATION_RULE,
    WORKFLOW_RULE,
    RECORD_TYPE,
    LAYOUT,
];

fn quoted(value: &str) -> Value {
    Value::Text(serde_json::Value::from(value).to_string())
}

fn flow(org: &OrgData, row: u64) -> &model::Flow {
    &org.model.flows[row as usize]
}

fn flow_count(org: &OrgData) -> u64 {
    org.model.flows.len() as u64
}

const FLOW_DEFINITION_VIEW: MetaTable = MetaTable {
    name: "FlowDefinitionView",
    offered: Offered::Data,
    key_prefix: "3dd",
    id_column: "DurableId",
    len: flow_count,
    parents: &[Parent {
        relation: "TriggerObjectOrEvent",
        table: "EntityDefinition",
        row: |org, row| entity_row(org, flow(org, row).object.as_deref()?),
    }],
    columns: &[
        col("Id", Id, |org, row| text(&flow(org, row).durable_id)),
        col("DurableId", Id, |org, row| text(&flow(org, row).durable_id)),
        col("ApiName", Text, |org, row| text(&flow(org, row).api_name)),
        col("Label", Text, |org, row| text(&flow(org, row).label)),
        col("Description", Text, |org, row| optional(flow(org, row).description.as_deref())),
        col("ProcessType", Text, |org, row| text(&flow(org, row).process_type)),
        col("TriggerType", Text, |org, row| optional(flow(org, row).trigger_type.as_deref())),
        col("RecordTriggerType", Text, |org, row| optional(flow(org, row).record_trigger_type.as_deref())),
        col("TriggerObjectOrEventId", Id, |org, row| {
            flow(org, row).object.as_deref().map_or(Value::Null, |object| Value::Text(org.durable_id(object)))
        }),
        col("TriggerObjectOrEventLabel", Text, |org, row| {
            optional(
                flow(org, row)
                    .object
                    .as_deref()
                    .and_then(|name| org.model.object(name))
                    .map(|object| object.label.as_str()),
            )
        }),
        col("IsActive", Bool, |org, row| Value::Bool(flow(org, row).is_active)),
        col("ActiveVersionId", Id, |org, row| {
            let flow = flow(org, row);
            optional(flow.is_active.then_some(flow.version_id.as_str()))
        }),
        col("LatestVersionId", Id, |org, row| text(&flow(org, row).version_id)),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("ManageableState", Text, |_, _| text("unmanaged")),
        col("LastModifiedBy", Text, |org, _| text(&org.username)),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

const FLOW_DEFINITION: MetaTable = MetaTable {
    name: "FlowDefinition",
    offered: Offered::Tooling,
    key_prefix: "300",
    id_column: "Id",
    len: flow_count,
    parents: &[],
    columns: &[
        col("Id", Id, |org, row| text(&flow(org, row).durable_id)),
        col("DeveloperName", Text, |org, row| text(&flow(org, row).api_name)),
        col("MasterLabel", Text, |org, row| text(&flow(org, row).label)),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("Description", Text, |org, row| optional(flow(org, row).description.as_deref())),
        col("ActiveVersionId", Id, |org, row| {
            let flow = flow(org, row);
            optional(flow.is_active.then_some(flow.version_id.as_str()))
        }),
        col("LatestVersionId", Id, |org, row| text(&flow(org, row).version_id)),
    ],
};

fn flow_metadata(org: &OrgData, row: u64) -> Value {
    let flow = flow(org, row);
    let shown = serde_json::json!({
        "label": flow.label, "description": flow.description, "processType": flow.process_type,
        "status": if flow.is_active { "Active" } else { "Draft" },
        "start": { "object": flow.object, "triggerType": flow.trigger_type, "recordTriggerType": flow.record_trigger_type },
    });
    Value::Text(shown.to_string())
}

/// One row per version; the simulated org keeps one version of each flow.
const FLOW: MetaTable = MetaTable {
    name: "Flow",
    offered: Offered::Tooling,
    key_prefix: "301",
    id_column: "Id",
    len: flow_count,
    parents: &[Parent { relation: "Definition", table: "FlowDefinition", row: |_, row| Some(row) }],
    columns: &[
        col("Id", Id, |org, row| text(&flow(org, row).version_id)),
        col("MasterLabel", Text, |org, row| text(&flow(org, row).label)),
        col("Description", Text, |org, row| optional(flow(org, row).description.as_deref())),
        col("DefinitionId", Id, |org, row| text(&flow(org, row).durable_id)),
        col("ProcessType", Text, |org, row| text(&flow(org, row).process_type)),
        col("Status", Text, |org, row| text(if flow(org, row).is_active { "Active" } else { "Draft" })),
        col("VersionNumber", Int, |_, _| Value::Int(1)),
        col("ManageableState", Text, |_, _| text("unmanaged")),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("FullName", Json, |org, row| quoted(&flow(org, row).api_name)),
        col("Metadata", Json, flow_metadata),
    ],
};

fn trigger(org: &OrgData, row: u64) -> &model::ApexTrigger {
    &org.model.triggers[row as usize]
}

macro_rules! usage {
    ($name:literal, $event:literal) => {
        col($name, Bool, |org, row| Value::Bool(trigger(org, row).events.iter().any(|event| event == $event)))
    };
}

/// Length of Apex source without block and line comments, in characters; string literals are left alone.
fn length_without_comments(source: &str) -> usize {
    let mut rest = source;
    let mut length = 0;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest[2..].find("*/").map_or("", |end| &rest[end + 4..]);
        } else if c == '\'' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let closes = c == '\'' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            let (literal, after) = rest.split_at(end.map_or(rest.len(), |end| end + 2));
            length += literal.chars().count();
            rest = after;
        } else {
            length += 1;
            rest = &rest[c.len_utf8()..];
        }
    }
    length
}

const APEX_TRIGGER: MetaTable = MetaTable {
    name: "ApexTrigger",
    offered: Offered::Both,
    key_prefix: "01q",
    id_column: "Id",
    len: |org| org.model.triggers.len() as u64,
    parents: &[Parent {
        relation: "EntityDefinition",
        table: "EntityDefinition",
        row: |org, row| entity_row(org, &trigger(org, row).object),
    }],
    columns: &[
        col("Id", Id, |org, row| text(&trigger(org, row).id)),
        col("Name", Text, |org, row| text(&trigger(org, row).name)),
        col("TableEnumOrId", Id, |org, row| Value::Text(org.durable_id(&trigger(org, row).object))),
        col("EntityDefinitionId", Id, |org, row| Value::Text(org.durable_id(&trigger(org, row).object))),
        col("Status", Text, |org, row| text(&trigger(org, row).status)),
        col("ApiVersion", Double, |org, row| Value::Double(trigger(org, row).api_version)),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        usage!("UsageBeforeInsert", "BeforeInsert"),
        usage!("UsageAfterInsert", "AfterInsert"),
        usage!("UsageBeforeUpdate", "BeforeUpdate"),
        usage!("UsageAfterUpdate", "AfterUpdate"),
        usage!("UsageBeforeDelete", "BeforeDelete"),
        usage!("UsageAfterDelete", "AfterDelete"),
        usage!("UsageAfterUndelete", "AfterUndelete"),
        col("UsageIsBulk", Bool, |_, _| Value::Bool(true)),
        col("IsValid", Bool, |_, _| Value::Bool(true)),
        col("LengthWithoutComments", Int, |org, row| {
            Value::Int(length_without_comments(&trigger(org, row).body) as i64)
        }),
        col("Body", LongText, |org, row| text(&trigger(org, row).body)),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

/// Every trigger hands over to a class, and every such class has a test.
fn class_name(org: &OrgData, row: u64) -> String {
    let trigger = trigger(org, row / 2);
    let stem = trigger.name.strip_suffix("Trigger").unwrap_or(&trigger.name);
    let suffix = if row.is_multiple_of(2) { "Handler" } else { "HandlerTest" };
    format!("{stem}{suffix}")
}

fn class_body(org: &OrgData, row: u64) -> String {
    let (name, trigger) = (class_name(org, row), trigger(org, row / 2));
    if row.is_multiple_of(2) {
        let events: Vec<String> = trigger
            .events
            .iter()
            .map(|event| format!("    public void on{event}(List<{}> records) {{\n    }}\n", trigger.object))
            .collect();
        format!(
            "public with sharing class {name} {{\n    // Called by {}.\n{}}}\n",
            trigger.name,
            events.join("")
        )
    } else {
        let handler = class_name(org, row - 1);
        format!(
            "@IsTest\nprivate class {name} {{\n    @IsTest\n    static void itRuns() {{\n        System.assertNotEquals(null, new {handler}());\n    }}\n}}\n"
        )
    }
}

const APEX_CLASS: MetaTable = MetaTable {
    name: "ApexClass",
    offered: Offered::Both,
    key_prefix: "01p",
    id_column: "Id",
    len: |org| 2 * org.model.triggers.len() as u64,
    parents: &[],
    columns: &[
        col("Id", Id, |_, row| Value::Text(crate::ids::numbered("01p", row + 1))),
        col("Name", Text, |org, row| Value::Text(class_name(org, row))),
        col("Status", Text, |_, _| text("Active")),
        col("IsValid", Bool, |_, _| Value::Bool(true)),
        col("ApiVersion", Double, |org, row| Value::Double(trigger(org, row / 2).api_version)),
        col("LengthWithoutComments", Int, |org, row| {
            Value::Int(length_without_comments(&class_body(org, row)) as i64)
        }),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("Body", LongText, |org, row| Value::Text(class_body(org, row))),
        col("CreatedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("SystemModstamp", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

fn rule(org: &OrgData, row: u64) -> &model::ValidationRule {
    &org.model.validation_rules[row as usize]
}

fn rule_metadata(org: &OrgData, row: u64) -> Value {
    let rule = rule(org, row);
    let shown = serde_json::json!({
        "active": rule.active, "description": rule.description, "errorConditionFormula": rule.formula,
        "errorDisplayField": rule.error_display_field, "errorMessage": rule.error_message, "shouldEvaluateOnClient": null, "urls": null,
    });
    Value::Text(shown.to_string())
}

const VALIDATION_RULE: MetaTable = MetaTable {
    name: "ValidationRule",
    offered: Offered::Tooling,
    key_prefix: "03d",
    id_column: "Id",
    len: |org| org.model.validation_rules.len() as u64,
    parents: &[Parent {
        relation: "EntityDefinition",
        table: "EntityDefinition",
        row: |org, row| entity_row(org, &rule(org, row).object),
    }],
    columns: &[
        col("Id", Id, |org, row| text(&rule(org, row).id)),
        col("ValidationName", Text, |org, row| text(&rule(org, row).name)),
        col("Active", Bool, |org, row| Value::Bool(rule(org, row).active)),
        col("Description", Text, |org, row| optional(rule(org, row).description.as_deref())),
        col("ErrorMessage", Text, |org, row| text(&rule(org, row).error_message)),
        col("ErrorDisplayField", Text, |org, row| optional(rule(org, row).error_display_field.as_deref())),
        col("EntityDefinitionId", Id, |org, row| Value::Text(org.durable_id(&rule(org, row).object))),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("ManageableState", Text, |_, _| text("unmanaged")),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("FullName", Json, |org, row| {
            let rule = rule(org, row);
            quoted(&format!("{}.{}", rule.object, rule.name))
        }),
        col("Metadata", Json, rule_metadata),
    ],
};

fn workflow(org: &OrgData, row: u64) -> &model::WorkflowRule {
    &org.model.workflow_rules[row as usize]
}

fn workflow_metadata(org: &OrgData, row: u64) -> Value {
    let rule = workflow(org, row);
    Value::Text(serde_json::json!({ "fullName": rule.name, "active": true, "triggerType": "onCreateOrTriggeringUpdate" }).to_string())
}

const WORKFLOW_RULE: MetaTable = MetaTable {
    name: "WorkflowRule",
    offered: Offered::Tooling,
    key_prefix: "01Q",
    id_column: "Id",
    len: |org| org.model.workflow_rules.len() as u64,
    parents: &[],
    columns: &[
        col("Id", Id, |org, row| text(&workflow(org, row).id)),
        col("Name", Text, |org, row| text(&workflow(org, row).name)),
        col("TableEnumOrId", Id, |org, row| Value::Text(org.durable_id(&workflow(org, row).object))),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("FullName", Json, |org, row| {
            let rule = workflow(org, row);
            quoted(&format!("{}.{}", rule.object, rule.name))
        }),
        col("Metadata", Json, workflow_metadata),
    ],
};

fn record_type(org: &OrgData, row: u64) -> &model::RecordType {
    &org.model.record_types[row as usize]
}

const RECORD_TYPE: MetaTable = MetaTable {
    name: "RecordType",
    offered: Offered::Data,
    key_prefix: "012",
    id_column: "Id",
    len: |org| org.model.record_types.len() as u64,
    parents: &[],
    columns: &[
        col("Id", Id, |org, row| text(&record_type(org, row).id)),
        col("Name", Text, |org, row| text(&record_type(org, row).name)),
        col("DeveloperName", Text, |org, row| text(&record_type(org, row).developer_name)),
        col("SobjectType", Text, |org, row| text(&record_type(org, row).object)),
        col("IsActive", Bool, |org, row| Value::Bool(record_type(org, row).is_active)),
        col("Description", Text, |org, row| optional(record_type(org, row).description.as_deref())),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("SystemModstamp", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

fn layout(org: &OrgData, row: u64) -> &model::Layout {
    &org.model.layouts[row as usize]
}

fn layout_metadata(org: &OrgData, row: u64) -> Value {
    let fields = org.model.object(&layout(org, row).object).map(|object| &*object.fields).unwrap_or_default();
    let items: Vec<_> = fields
        .iter()
        .filter(|field| field.field_type != "id")
        .map(|field| serde_json::json!({ "field": field.name, "behavior": if field.nillable { "Edit" } else { "Required" } }))
        .collect();
    let section = serde_json::json!({ "label": "Information", "style": "OneColumn", "layoutColumns": [{ "layoutItems": items }] });
    Value::Text(serde_json::json!({ "layoutSections": [section] }).to_string())
}

const LAYOUT: MetaTable = MetaTable {
    name: "Layout",
    offered: Offered::Tooling,
    key_prefix: "00h",
    id_column: "Id",
    len: |org| org.model.layouts.len() as u64,
    parents: &[Parent {
        relation: "EntityDefinition",
        table: "EntityDefinition",
        row: |org, row| entity_row(org, &layout(org, row).object),
    }],
    columns: &[
        col("Id", Id, |org, row| text(&layout(org, row).id)),
        col("Name", Text, |org, row| text(&layout(org, row).name)),
        col("TableEnumOrId", Id, |org, row| Value::Text(org.durable_id(&layout(org, row).object))),
        col("EntityDefinitionId", Id, |org, row| Value::Text(org.durable_id(&layout(org, row).object))),
        col("LayoutType", Text, |_, _| text("Standard")),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("FullName", Json, |org, row| {
            let layout = layout(org, row);
            quoted(&format!("{}-{}", layout.object, layout.name))
        }),
        col("Metadata", Json, layout_metadata),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("abc", 3)]
    #[case("a// gone\nb", 3)]
    #[case("a/* gone\n */b", 2)]
    #[case("'//kept'", 8)]
    #[case(r"'it\'s // kept'//gone", 15)]
    fn comments_do_not_count_towards_the_length(#[case] source: &str, #[case] length: usize) {
        assert_eq!(length_without_comments(source), length);
    }
}
