//! The overview section: what the object is and what may be done with it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, json};

use super::draft::{Subject, brief, counted, one_line};
use super::glossary;
use super::relationships::{is_likely_junction, outbound};
use crate::model::{Document, ObjectDescribe, Section};

pub(super) fn document(subject: &Subject<'_>, companion: Option<&str>) -> Document {
    let describe = subject.describe;
    let mut text = String::new();
    let label = label_or_name(describe);
    let _ = writeln!(text, "{} (`{}`) is {}.", one_line(label), describe.name, kind(describe, companion));
    if let Some(purpose) = glossary::purpose(describe.name.as_str()) {
        let words = glossary::everyday_words(describe.name.as_str()).unwrap_or_default();
        let _ = writeln!(text, "It usually holds {purpose} (in other words: {words}).");
    }
    let _ = writeln!(text);
    if !describe.label_plural.is_empty() {
        let _ = writeln!(text, "- Plural: {}", one_line(&describe.label_plural));
    }
    if let Some(prefix) = &describe.key_prefix {
        let _ = writeln!(text, "- Record ids start with `{prefix}`");
    }
    if let Some(namespace) = describe.name.namespace() {
        let _ = writeln!(text, "- Namespace: `{namespace}`");
    }
    if let Some(name) = name_field(describe) {
        let _ = writeln!(text, "- A record is called by its `{name}`");
    }
    let _ = writeln!(text, "- The user who read this may: {}", abilities(describe));
    let types = field_type_counts(describe);
    let listed: Vec<String> = types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let _ = writeln!(
        text,
        "- {}: {}",
        counted(describe.fields.len(), "field", "fields"),
        if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
    );
    let edges = outbound(describe).len();
    let _ = writeln!(
        text,
        "- Points at others through {}; {} here",
        counted(edges, "reference", "references"),
        counted_points(describe.child_relationships.len())
    );
    let junction = is_likely_junction(describe);
    if junction {
        let _ = writeln!(text, "- Likely a junction: it links two master records");
    }

    let mut metadata = Map::new();
    metadata.insert("isLikelyJunction".to_owned(), json!(junction));
    metadata.insert("nameField".to_owned(), json!(name_field(describe)));
    metadata.insert("fieldTypeCounts".to_owned(), json!(types));
    metadata.insert("outboundCount".to_owned(), json!(edges));
    metadata.insert("inboundCount".to_owned(), json!(describe.child_relationships.len()));
    subject.document(
        Section::Overview,
        "",
        text.trim_end().to_owned(),
        &embedded(describe, companion),
        metadata,
    )
}

fn counted_points(count: usize) -> String {
    if count == 1 {
        "1 field of another object points".to_owned()
    } else {
        format!("{count} fields of other objects point")
    }
}

/// What is embedded: the names, and the labels of the org's own fields, which say what the object is for.
fn embedded(describe: &ObjectDescribe, companion: Option<&str>) -> String {
    if let Some(parent) = companion {
        return format!("{} {}", label_or_name(describe), parent);
    }
    let labels = describe
        .fields
        .iter()
        .filter(|field| !super::fields::is_bookkeeping(field) && field.reference_to.is_empty())
        .map(|field| field.label.as_str());
    let name = describe.name.as_str();
    let meaning = [glossary::everyday_words(name), glossary::purpose(name)];
    let meaning = meaning.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let names = format!("{}, {}, {name}", label_or_name(describe), describe.label_plural);
    let labels = brief(labels, 200);
    if meaning.is_empty() { format!("{names}. {labels}") } else { format!("{names}, {meaning}. {labels}") }
}

pub(super) fn label_or_name(describe: &ObjectDescribe) -> &str {
    if describe.label.is_empty() { describe.name.as_str() } else { &describe.label }
}

fn kind(describe: &ObjectDescribe, companion: Option<&str>) -> String {
    let name = describe.name.as_str();
    if let Some(parent) = companion {
        let what = if name.ends_with("ChangeEvent") {
            "the stream of changes to"
        } else if name.ends_with("History") {
            "the history of changed values of"
        } else if name.ends_with("Share") {
            "the list of who may see single records of"
        } else {
            "the feed of"
        };
        return format!("{what} `{parent}`");
    }
    let kinds = [
        ("__mdt", "a custom metadata type"),
        ("__e", "a platform event"),
        ("__x", "an external object"),
        ("__b", "a big object"),
    ];
    let by_suffix = kinds.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, kind)| *kind);
    let other = match (describe.custom_setting, describe.custom) {
        (true, _) => "a custom setting",
        (false, true) => "a custom object",
        (false, false) => "a standard object",
    };
    by_suffix.unwrap_or(other).to_owned()
}

fn name_field(describe: &ObjectDescribe) -> Option<&str> {
    describe.fields.iter().find(|field| field.name_field).map(|field| field.name.as_str())
}

fn abilities(describe: &ObjectDescribe) -> String {
    let all = [
        (describe.queryable, "query"),
        (describe.searchable, "search"),
        (describe.createable, "create"),
        (describe.updateable, "update"),
        (describe.deletable, "delete"),
    ];
    let may: Vec<&str> = all.iter().filter(|(yes, _)| *yes).map(|(_, name)| *name).collect();
    if may.is_empty() { "do nothing with it".to_owned() } else { may.join(", ") }
}

fn field_type_counts(describe: &ObjectDescribe) -> BTreeMap<&str, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for field in &describe.fields {
        *counts.entry(field.field_type.as_str()).or_default() += 1;
    }
    counts
}
