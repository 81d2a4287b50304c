//! Fields: in batches of 50 for readers, one by one for search.

use std::fmt::Write;

use serde_json::{Map, json};

use super::draft::{Part, Subject, brief, one_line};
use super::glossary;
use super::overview::label_or_name;
use super::relationships::is_audit_field;
use crate::model::{Document, FieldDescribe, PicklistValue, Section};

/// Fields in one batch.
const BATCH: usize = 50;
/// Picklist values that a table's cell shows; the field's own document shows [`VALUES_IN_DOCUMENT`].
const VALUES_IN_CELL: usize = 12;
const VALUES_IN_DOCUMENT: usize = 200;
/// Longest text of picklist values that is embedded, in bytes: more would drown the label.
const EMBEDDED_VALUES_BYTES: usize = 160;

/// Fields that every object has and that tell nothing about it.
pub(super) fn is_bookkeeping(field: &FieldDescribe) -> bool {
    let name = field.name.as_str();
    is_audit_field(name)
        || matches!(
            name,
            "Id" | "IsDeleted"
                | "CreatedDate"
                | "LastModifiedDate"
                | "SystemModstamp"
                | "LastViewedDate"
                | "LastReferencedDate"
                | "UserRecordAccessId"
        )
}

/// The `fields` section, a table a batch.
pub(super) fn batches(subject: &Subject<'_>) -> Vec<Document> {
    let describe = subject.describe;
    let label = label_or_name(describe);
    let total = describe.fields.len();
    let mut parts = Vec::new();
    for (at, batch) in describe.fields.chunks(BATCH).enumerate() {
        let first = at * BATCH + 1;
        let mut text = format!(
            "Fields {first} to {} of {total} of {} (`{}`):\n\n| Field | Label | Type | Rules | Help |\n| --- | --- | --- | --- | --- |",
            first + batch.len() - 1,
            one_line(label),
            describe.name
        );
        for field in batch {
            let _ = write!(
                text,
                "\n| `{}` | {} | {} | {} | {} |",
                field.name,
                one_line(&field.label),
                type_text(field, VALUES_IN_CELL),
                rules(field).join(", "),
                one_line(field.inline_help_text.as_deref().unwrap_or_default())
            );
        }
        let labels = batch.iter().filter(|field| !is_bookkeeping(field)).map(|field| field.label.as_str());
        let embedded = format!("{label} fields: {}", brief(labels, 400));
        let mut metadata = Map::new();
        metadata.insert("rows".to_owned(), json!(batch.len()));
        metadata.insert("totalFields".to_owned(), json!(total));
        parts.push(Part { text, embedded, metadata });
    }
    if parts.is_empty() {
        let text = format!("The org lists no field of {} (`{}`).", one_line(label), describe.name);
        parts.push(Part { text, embedded: format!("{label} fields"), metadata: Map::new() });
    }
    subject.parts(Section::Fields, parts, Map::new())
}

/// One document a field that says something about its object.
pub(super) fn single_fields(subject: &Subject<'_>) -> Vec<Document> {
    subject
        .describe
        .fields
        .iter()
        .filter(|field| !is_bookkeeping(field))
        .map(|field| single(subject, field))
        .collect()
}

fn single(subject: &Subject<'_>, field: &FieldDescribe) -> Document {
    let describe = subject.describe;
    let object = label_or_name(describe);
    let label = if field.label.is_empty() { field.name.as_str() } else { &field.label };
    let mut text = format!(
        "{} (`{}.{}`) is a field of {}: {}.",
        one_line(label),
        describe.name,
        field.name,
        one_line(object),
        type_text(field, VALUES_IN_DOCUMENT)
    );
    let rules = rules(field);
    if !rules.is_empty() {
        let _ = write!(text, " It is {}.", rules.join(", "));
    }
    if let Some(help) = field.inline_help_text.as_deref().map(one_line).filter(|help| !help.is_empty()) {
        let _ = write!(text, " Help: {help}");
    }
    if let Some(formula) = field.calculated_formula.as_deref().map(one_line).filter(|text| !text.is_empty()) {
        let _ = write!(text, " Formula: `{formula}`");
    }

    let mut metadata = Map::new();
    metadata.insert("field".to_owned(), json!(field.name));
    metadata.insert("fieldLabel".to_owned(), json!(label));
    metadata.insert("fieldType".to_owned(), json!(field.field_type));
    metadata.insert("customField".to_owned(), json!(field.custom));
    if let Some(namespace) = namespace(field.name.as_str()) {
        metadata.insert("fieldNamespace".to_owned(), json!(namespace));
    }
    subject.document(
        Section::Field,
        &format!(":{}", field.name),
        text,
        &embedded(object, glossary::everyday_words(describe.name.as_str()), label, field),
        metadata,
    )
}

/// Object, label, name where it differs, help and the picklist's words.
fn embedded(object: &str, everyday: Option<&str>, label: &str, field: &FieldDescribe) -> String {
    let mut text = match everyday {
        Some(everyday) => format!("{object} ({}): {label}", everyday.split(',').next().unwrap_or_default()),
        None => format!("{object}: {label}"),
    };
    let name = crate::ai::split_identifiers(field.name.as_str());
    if !name.eq_ignore_ascii_case(label) && !label.to_lowercase().contains(&name.to_lowercase()) {
        let _ = write!(text, " ({name})");
    }
    if let Some(help) = field.inline_help_text.as_deref().filter(|help| !help.trim().is_empty()) {
        let _ = write!(text, ". {}", help.trim());
    }
    let values = brief(active(field).map(shown), EMBEDDED_VALUES_BYTES);
    if !values.is_empty() {
        let _ = write!(text, ". {values}");
    }
    text
}

fn namespace(name: &str) -> Option<&str> {
    let mut parts = name.split("__");
    let first = parts.next()?;
    (parts.count() >= 2).then_some(first)
}

fn active(field: &FieldDescribe) -> impl Iterator<Item = &PicklistValue> {
    field.picklist_values.iter().filter(|value| value.active)
}

fn shown(value: &PicklistValue) -> &str {
    value.label.as_deref().filter(|label| !label.is_empty()).unwrap_or(&value.value)
}

/// `string(80)`, `currency(16, 2)`, `reference to Account, Contact`, `picklist: Open, Closed`.
fn type_text(field: &FieldDescribe, most_values: usize) -> String {
    let kind = one_line(&field.field_type);
    match field.field_type.as_str() {
        "reference" => {
            let targets: Vec<String> = field.reference_to.iter().map(|target| one_line(target)).collect();
            if targets.len() > VALUES_IN_CELL {
                let first = targets[..VALUES_IN_CELL].join(", ");
                return format!("reference to {first} and {} more", targets.len() - VALUES_IN_CELL);
            }
            format!("reference to {}", targets.join(", "))
        }
        "picklist" | "multipicklist" | "combobox" => {
            let values: Vec<String> = active(field).map(|value| one_line(shown(value))).collect();
            match values.len() {
                0 => kind,
                count if count > most_values => {
                    format!("{kind}: {} and {} more", values[..most_values].join(", "), count - most_values)
                }
                _ => format!("{kind}: {}", values.join(", ")),
            }
        }
        "currency" | "double" | "percent" => format!("{kind}({}, {})", field.precision, field.scale),
        _ if field.length > 0 => format!("{kind}({})", field.length),
        _ => kind,
    }
}

fn rules(field: &FieldDescribe) -> Vec<String> {
    let required = !field.nillable && field.createable && !field.defaulted_on_create;
    let all = [
        (required, "required"),
        (field.name_field, "the record's name"),
        (field.unique, "unique"),
        (field.external_id, "an external id"),
        (field.auto_number, "numbered by the org"),
        (field.calculated, "computed"),
        (field.encrypted, "encrypted"),
        (field.restricted_picklist, "limited to its values"),
        (!field.createable && !field.updateable && !field.calculated && !field.auto_number, "read-only"),
    ];
    let mut rules: Vec<String> =
        all.iter().filter(|(holds, _)| *holds).map(|(_, text)| (*text).to_owned()).collect();
    if let Some(controller) = field.controller_name.as_ref().filter(|name| !name.is_empty()) {
        rules.push(format!("controlled by `{}`", one_line(controller)));
    }
    if let Some(compound) = field.compound_field_name.as_ref().filter(|name| !name.is_empty()) {
        rules.push(format!("part of `{}`", one_line(compound)));
    }
    rules
}
