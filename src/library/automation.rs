//! The automation section: flows, triggers with the size of their code, validation rules, workflow rules.
//!
//! Beside the section, every flow, trigger and validation rule is a document of its own, so that a
//! question about one rule is not drowned by its neighbours.

use std::fmt::Write;

use serde_json::{Map, json};

use super::draft::{Subject, brief, counted, one_line, split_lines};
use super::families::{FamilyIndex, ObjectFamilies, TriggerSummary};
use super::overview::label_or_name;
use crate::ai::split_identifiers;
use crate::model::{Document, Family, FlowRow, Section, ValidationRuleRow};

const FAMILIES: [Family; 4] =
    [Family::Flows, Family::Triggers, Family::ValidationRules, Family::WorkflowRules];

pub(super) fn has_anything(found: &ObjectFamilies, families: &FamilyIndex) -> bool {
    !(found.flows.is_empty()
        && found.triggers.is_empty()
        && found.validation_rules.is_empty()
        && found.workflow_rules.is_empty())
        || FAMILIES.iter().any(|&family| families.failure(family).is_some())
}

pub(super) fn documents(
    subject: &Subject<'_>,
    found: &ObjectFamilies,
    families: &FamilyIndex,
) -> Vec<Document> {
    let mut lines = Vec::new();
    let flows = found.flows.iter().map(flow_text);
    block(&mut lines, families, Family::Flows, ("flow", "flows"), flows);
    let triggers = found.triggers.iter().map(trigger_text);
    block(&mut lines, families, Family::Triggers, ("Apex trigger", "Apex triggers"), triggers);
    let rules = found.validation_rules.iter().map(rule_text);
    block(&mut lines, families, Family::ValidationRules, ("validation rule", "validation rules"), rules);
    let workflows = found.workflow_rules.iter().map(|rule| format!("`{}`", one_line(&rule.name)));
    block(&mut lines, families, Family::WorkflowRules, ("workflow rule", "workflow rules"), workflows);

    let label = label_or_name(subject.describe);
    let names = found
        .flows
        .iter()
        .map(|flow| flow.label.as_str())
        .chain(found.validation_rules.iter().map(|rule| rule.name.as_str()))
        .chain(found.triggers.iter().map(|trigger| trigger.row.name.as_str()));
    let embedded = format!("{label} automation: {}", brief(names, 300));
    let mut metadata = Map::new();
    metadata.insert("flows".to_owned(), json!(found.flows.len()));
    metadata.insert("triggers".to_owned(), json!(found.triggers.len()));
    metadata.insert("validationRules".to_owned(), json!(found.validation_rules.len()));
    metadata.insert("workflowRules".to_owned(), json!(found.workflow_rules.len()));
    let mut documents = subject.parts(Section::Automation, split_lines(&lines, &embedded), metadata);
    documents.extend(single_documents(subject, label, found));
    documents
}

/// One family's lines: its failure, or how many there are and each of them.
fn block(
    lines: &mut Vec<String>,
    families: &FamilyIndex,
    family: Family,
    (one, many): (&str, &str),
    items: impl ExactSizeIterator<Item = String>,
) {
    if !lines.is_empty() {
        lines.push(String::new());
    }
    if let Some(reason) = families.failure(family) {
        let mut many = many.to_owned();
        if let Some(first) = many.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        lines.push(format!("{many} could not be read: {}", one_line(reason)));
        return;
    }
    if items.len() == 0 {
        lines.push(format!("No {many}."));
        return;
    }
    lines.push(format!("{}:", counted(items.len(), one, many)));
    lines.push(String::new());
    lines.extend(items.map(|item| format!("- {item}")));
}

fn flow_text(flow: &FlowRow) -> String {
    let mut text = format!("`{}` ({})", one_line(&flow.api_name), one_line(&flow.label));
    let when: Vec<&str> =
        [flow.trigger_type.as_deref(), flow.record_trigger_type.as_deref()].into_iter().flatten().collect();
    let _ = write!(
        text,
        ": {}{}{}, {}",
        one_line(&flow.process_type),
        if when.is_empty() { "" } else { " started by " },
        one_line(&when.join(" on ")),
        if flow.is_active { "active" } else { "inactive" }
    );
    describe_more(&mut text, flow.description.as_deref());
    text
}

fn trigger_text(trigger: &TriggerSummary) -> String {
    let events: Vec<&str> = trigger.row.events.iter().map(|event| event.as_str()).collect();
    let size = match trigger.complexity {
        Some(lines) => format!(
            "{}: {} code, {} comment",
            counted(lines.total_lines, "line", "lines"),
            lines.code_lines,
            lines.comment_lines
        ),
        None => "its code is hidden".to_owned(),
    };
    format!(
        "`{}` ({}; {}; {size})",
        one_line(&trigger.row.name),
        one_line(&trigger.row.status),
        if events.is_empty() { "no events".to_owned() } else { events.join(", ") }
    )
}

fn rule_text(rule: &ValidationRuleRow) -> String {
    let state = if rule.active { "active" } else { "inactive" };
    let mut text = format!("`{}` ({state})", one_line(&rule.name));
    if let Some(message) = rule.error_message.as_deref().map(one_line).filter(|text| !text.is_empty()) {
        let _ = write!(text, " says \"{message}\"");
    }
    if let Some(field) = rule.error_display_field.as_deref().filter(|field| !field.is_empty()) {
        let _ = write!(text, " beside `{}`", one_line(field));
    }
    describe_more(&mut text, rule.description.as_deref());
    text
}

fn describe_more(text: &mut String, description: Option<&str>) {
    if let Some(description) = description.map(one_line).filter(|text| !text.is_empty()) {
        let _ = write!(text, ". {description}");
    }
}

fn single_documents(subject: &Subject<'_>, label: &str, found: &ObjectFamilies) -> Vec<Document> {
    let api_name = &subject.describe.name;
    let single = |kind: &str, name: &str, text: String, embedded: String| {
        let mut metadata = Map::new();
        metadata.insert("automationKind".to_owned(), json!(kind));
        metadata.insert("automationName".to_owned(), json!(name));
        let suffix = format!(":{kind}.{name}");
        subject.document(Section::Automation, &suffix, text, &embedded, metadata)
    };
    let mut documents: Vec<Document> = Vec::new();
    for flow in &found.flows {
        let text = format!("Flow on {} (`{api_name}`): {}", one_line(label), flow_text(flow));
        let embedded =
            format!("{label}: {}. {}", flow.label, flow.description.as_deref().unwrap_or_default());
        documents.push(single("flow", &flow.api_name, text, embedded));
    }
    for trigger in &found.triggers {
        let text = format!("Apex trigger on {} (`{api_name}`): {}", one_line(label), trigger_text(trigger));
        let embedded = format!("{label} trigger {}", split_identifiers(&trigger.row.name));
        documents.push(single("trigger", &trigger.row.name, text, embedded));
    }
    for rule in &found.validation_rules {
        let text = format!("Validation rule on {} (`{api_name}`): {}", one_line(label), rule_text(rule));
        let embedded = format!(
            "{label} rule: {}. {} {}",
            split_identifiers(&rule.name),
            rule.error_message.as_deref().unwrap_or_default(),
            rule.description.as_deref().unwrap_or_default()
        );
        documents.push(single("validation_rule", &rule.name, text, embedded));
    }
    // An org may answer a row twice (two versions of a flow); ids are unique in the library.
    documents.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| a.content_hash.cmp(&b.content_hash)));
    documents.dedup_by(|a, b| a.id == b.id);
    documents
}
