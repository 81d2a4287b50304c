//! The relationships section: whom the object points at, and who points at it.
//!
//! Master-detail means a `relationshipOrder` or a reference to one object that deletes with its parent;
//! several targets make a reference polymorphic; two masters make a likely junction.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::draft::{Subject, counted, one_line, split_lines};
use super::overview::label_or_name;
use crate::model::{ChildRelationship, Document, FieldDescribe, ObjectDescribe, Section};

/// Kind of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceKind {
    /// May be empty, or moved at will.
    Lookup,
    /// Owned by its parent: deleted, shared and summed up with it.
    MasterDetail,
    /// Points at records of several objects.
    Polymorphic,
}

/// One reference field of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The field.
    pub field: String,
    /// What it may point at, sorted.
    pub targets: Vec<String>,
    /// How it binds.
    pub kind: ReferenceKind,
}

/// Reference fields of `describe`, in the org's order.
pub(super) fn outbound(describe: &ObjectDescribe) -> Vec<Edge> {
    let is_reference = |field: &&FieldDescribe| !field.reference_to.is_empty();
    describe.fields.iter().filter(is_reference).map(edge).collect()
}

fn edge(field: &FieldDescribe) -> Edge {
    let targets: BTreeSet<&String> = field.reference_to.iter().collect();
    let kind = match targets.len() {
        2.. => ReferenceKind::Polymorphic,
        _ if field.relationship_order.is_some() || field.cascade_delete => ReferenceKind::MasterDetail,
        _ => ReferenceKind::Lookup,
    };
    Edge { field: field.name.to_string(), targets: targets.into_iter().cloned().collect(), kind }
}

/// At least two different parents own it.
pub(super) fn is_likely_junction(describe: &ObjectDescribe) -> bool {
    let edges = outbound(describe);
    let masters = edges.iter().filter(|edge| edge.kind == ReferenceKind::MasterDetail);
    masters.flat_map(|edge| &edge.targets).collect::<BTreeSet<_>>().len() >= 2
}

pub(super) fn documents(subject: &Subject<'_>) -> Vec<Document> {
    let describe = subject.describe;
    let edges = outbound(describe);
    let mut lines = Vec::new();
    lines.push(match edges.len() {
        0 => "It points at no other object.".to_owned(),
        count => format!("It points at others through {}:", counted(count, "field", "fields")),
    });
    lines.push(String::new());
    let fields = describe.fields.iter().filter(|field| !field.reference_to.is_empty());
    lines.extend(fields.zip(&edges).map(|(field, edge)| outbound_sentence(describe, field, edge)));
    lines.push(String::new());
    lines.extend(inbound_lines(describe));
    if is_likely_junction(describe) {
        lines.push(String::new());
        lines.push("It is likely a junction: it stands between its two masters.".to_owned());
    }

    let mut metadata = Map::new();
    metadata.insert("outbound".to_owned(), json!(edges));
    metadata.insert("isLikelyJunction".to_owned(), json!(is_likely_junction(describe)));
    subject.parts(Section::Relationships, split_lines(&lines, &embedded(describe, &edges)), metadata)
}

fn embedded(describe: &ObjectDescribe, edges: &[Edge]) -> String {
    let own =
        edges.iter().filter(|edge| !is_audit_field(&edge.field) && edge.kind != ReferenceKind::Polymorphic);
    let targets: BTreeSet<&str> = own.flat_map(|edge| edge.targets.iter().map(String::as_str)).collect();
    let targets: Vec<&str> = targets.into_iter().take(12).collect();
    format!("{} relationships: related to {}", label_or_name(describe), targets.join(", "))
}

fn outbound_sentence(describe: &ObjectDescribe, field: &FieldDescribe, edge: &Edge) -> String {
    let targets: Vec<String> = edge.targets.iter().map(|target| format!("`{target}`")).collect();
    let label = one_line(label_or_name(describe));
    let walk =
        field.relationship_name.as_ref().map(|name| format!(", `{name}` in queries")).unwrap_or_default();
    let bond = match edge.kind {
        ReferenceKind::Lookup if field.nillable => "lookup, may be empty",
        ReferenceKind::Lookup => "lookup, always filled",
        ReferenceKind::MasterDetail => "master-detail, deleted with its parent",
        ReferenceKind::Polymorphic => "polymorphic lookup",
    };
    let one = if edge.kind == ReferenceKind::Polymorphic { "one record of" } else { "one" };
    let targets = match targets.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    };
    format!("- Each {label} points at {one} {targets} through `{}` ({bond}{walk}).", field.name)
}

fn inbound_lines(describe: &ObjectDescribe) -> Vec<String> {
    // Who created and who changed a record points at User from everywhere: told as one line, not as thousands.
    let (audit, own): (Vec<_>, Vec<_>) =
        describe.child_relationships.iter().partition(|child| is_audit_field(&child.field));
    let sorted: BTreeMap<(&str, &str), &ChildRelationship> =
        own.into_iter().map(|child| ((child.child_object.as_str(), child.field.as_str()), child)).collect();
    let mut lines = Vec::new();
    lines.push(match (sorted.len(), audit.len()) {
        (0, 0) => "No other object points at it.".to_owned(),
        (0, _) => "No other object points at it but in audit fields.".to_owned(),
        (1, _) => "1 field of another object points at it:".to_owned(),
        (count, _) => format!("{count} fields of other objects point at it:"),
    });
    lines.push(String::new());
    let label = one_line(label_or_name(describe));
    for ((object, field), child) in sorted {
        let query =
            child.relationship_name.as_ref().map(|name| format!(", sub-query `{name}`")).unwrap_or_default();
        let bond = if child.cascade_delete { "deleted with it" } else { "lookup" };
        lines.push(format!(
            "- Many `{object}` records point at one {label} through `{object}.{field}` ({bond}{query})."
        ));
    }
    if !audit.is_empty() {
        let objects: BTreeSet<&str> = audit.iter().map(|child| child.child_object.as_str()).collect();
        lines.push(format!(
            "- {} name it in their audit fields (who created, who last changed).",
            counted(objects.len(), "object", "objects")
        ));
    }
    lines
}

pub(super) fn is_audit_field(field: &str) -> bool {
    matches!(field, "CreatedById" | "LastModifiedById")
}
