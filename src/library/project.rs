//! Text of the files for people, made from stored documents.
//!
//! Pure: [`crate::store::library_folder`] does the writing. Everything comes out of the documents
//! themselves, so the files can be made again at any time from the store alone and hold no clock time.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::{Family, FamilyFailure, ObjectName, Section};

/// A document as the store gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDocument {
    /// Unique within the org.
    pub id: String,
    /// The object.
    pub object: ObjectName,
    /// What it tells of.
    pub section: Section,
    /// What a reader sees; Markdown.
    pub text: String,
    /// What filters and readers need besides the text.
    pub metadata: Map<String, Value>,
}

/// Heads of the two graph files.
pub const EDGES_HEAD: &str = "source,field,target,type,polymorphic\n";
/// See [`EDGES_HEAD`].
pub const NODES_HEAD: &str = "object,label,custom,namespace,companion_of,name_field,field_type_counts,outbound_count,inbound_count,is_likely_junction\n";

/// One line of `documents.jsonl`, with its line end: keys `id`, `object`, `section`, `text`, `metadata`.
pub fn jsonl_line(document: &StoredDocument) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        object: &'a ObjectName,
        section: Section,
        text: &'a str,
        metadata: &'a Map<String, Value>,
    }
    let line = Line {
        id: &document.id,
        object: &document.object,
        section: document.section,
        text: &document.text,
        metadata: &document.metadata,
    };
    let mut text = serde_json::to_string(&line).expect("text and JSON values always serialise");
    text.push('\n');
    text
}

/// Lines of `edges.csv` for a `relationships` document; nothing for any other.
pub fn edge_lines(document: &StoredDocument) -> String {
    let mut lines = String::new();
    let outbound = document.metadata.get("outbound").and_then(Value::as_array);
    for edge in outbound.into_iter().flatten() {
        let field = text_of(edge.get("field"));
        let kind = text_of(edge.get("kind"));
        let targets = edge.get("targets").and_then(Value::as_array);
        for target in targets.into_iter().flatten() {
            let polymorphic = (kind == "polymorphic").to_string();
            lines.push_str(&csv_line(&[
                document.object.as_str(),
                field,
                text_of(Some(target)),
                kind,
                &polymorphic,
            ]));
        }
    }
    lines
}

/// The line of `nodes.csv` for an `overview` document; nothing for any other.
pub fn node_line(document: &StoredDocument) -> String {
    if document.section != Section::Overview {
        return String::new();
    }
    let value = |key: &str| match document.metadata.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let cells: Vec<String> = [
        "apiName",
        "label",
        "custom",
        "namespace",
        "companionOf",
        "nameField",
        "fieldTypeCounts",
        "outboundCount",
        "inboundCount",
        "isLikelyJunction",
    ]
    .iter()
    .map(|key| value(key))
    .collect();
    csv_line(&cells.iter().map(String::as_str).collect::<Vec<_>>())
}

fn text_of(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// Cells with a comma, a quote or a line end are quoted (RFC 4180). A cell that a spreadsheet would run
/// as a formula gets an apostrophe before it: labels come from whoever may edit the org.
fn csv_line(cells: &[&str]) -> String {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            line.push(',');
        }
        let guarded = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            format!("'{cell}")
        } else {
            (*cell).to_owned()
        };
        if guarded.contains(['"', ',', '\n', '\r']) {
            line.push('"');
            line.push_str(&guarded.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&guarded);
        }
    }
    line.push('\n');
    line
}

/// Gathers the sections of one object into the Markdown of `objects/<Object>.md`.
#[derive(Debug)]
pub struct ObjectPage {
    object: ObjectName,
    label: String,
    sections: Vec<(Section, i64, String)>,
}

impl ObjectPage {
    /// An empty page of the object that `document` tells of.
    pub fn new(document: &StoredDocument) -> Self {
        let label = text_of(document.metadata.get("label")).to_owned();
        Self { object: document.object.clone(), label, sections: Vec::new() }
    }

    /// The object.
    pub fn object(&self) -> &ObjectName {
        &self.object
    }

    /// Adds a document of this object. Documents of one field or one rule are left out: their sections
    /// already show them.
    pub fn add(&mut self, document: &StoredDocument) {
        debug_assert_eq!(document.object, self.object, "a page holds one object");
        let single = document.section == Section::Field || document.metadata.contains_key("automationKind");
        if !single {
            let part = document.metadata.get("part").and_then(Value::as_i64).unwrap_or(1);
            self.sections.push((document.section, part, document.text.clone()));
        }
    }

    /// The page's text.
    pub fn markdown(mut self) -> String {
        self.sections.sort_by_key(|(section, part, _)| (*section, *part));
        let label = self.label.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut text = if label.is_empty() {
            format!("# `{}`\n", self.object)
        } else {
            format!("# {label} (`{}`)\n", self.object)
        };
        let mut before = None;
        for (section, _, body) in &self.sections {
            if before != Some(*section) {
                text.push_str("\n## ");
                text.push_str(title(*section));
                text.push('\n');
            }
            before = Some(*section);
            text.push('\n');
            text.push_str(body.trim());
            text.push('\n');
        }
        text
    }
}

fn title(section: Section) -> &'static str {
    match section {
        Section::Overview => "Overview",
        Section::Relationships => "Relationships",
        Section::Fields => "Fields",
        Section::Field => "Field",
        Section::Automation => "Automation",
        Section::Security => "Security",
        Section::Usage => "Usage",
    }
}

/// What a schema job could not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Objects with the reason why each is missing.
    pub objects: Vec<(ObjectName, String)>,
    /// Families that could not be read.
    pub families: Vec<FamilyFailure>,
    /// Rows that could not be joined to an object, by family.
    pub unjoined: Vec<(Family, usize)>,
}

impl Failures {
    /// Text of `report.json`: everything that is missing, sorted.
    pub fn report(&self) -> String {
        let mut objects = self.objects.clone();
        objects.sort();
        objects.dedup();
        let mut families = self.families.clone();
        families.sort_by_key(|failure| failure.family);
        let report = json!({
            "failedObjects": objects.iter().map(|(object, reason)| json!({"object": object, "reason": reason})).collect::<Vec<_>>(),
            "failedFamilies": families.iter().map(|failure| json!({"family": failure.family, "reason": failure.reason})).collect::<Vec<_>>(),
            "rowsWithoutObject": self.unjoined.iter().map(|(family, rows)| json!({"family": family, "rows": rows})).collect::<Vec<_>>(),
        });
        let mut text = serde_json::to_string_pretty(&report).expect("JSON values always serialise");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn document(section: Section, metadata: Value) -> StoredDocument {
        let Value::Object(metadata) = metadata else { panic!("metadata is an object") };
        StoredDocument {
            id: format!("Account:{}", section.as_str()),
            object: "Account".parse().unwrap(),
            section,
            text: format!("About {}.", section.as_str()),
            metadata,
        }
    }

    #[test]
    fn a_line_has_the_five_keys_in_their_order() {
        let line = jsonl_line(&document(Section::Overview, json!({"apiName": "Account"})));
        assert_eq!(
            line,
            "{\"id\":\"Account:overview\",\"object\":\"Account\",\"section\":\"overview\",\"text\":\"About overview.\",\"metadata\":{\"apiName\":\"Account\"}}\n"
        );
    }

    #[test]
    fn a_polymorphic_reference_is_one_edge_a_target() {
        let edges = json!([
            {"field": "OwnerId", "targets": ["Group", "User"], "kind": "polymorphic"},
            {"field": "ParentId", "targets": ["Account"], "kind": "lookup"},
        ]);
        let lines = edge_lines(&document(Section::Relationships, json!({"outbound": edges})));
        assert_eq!(
            lines,
            "Account,OwnerId,Group,polymorphic,true\nAccount,OwnerId,User,polymorphic,true\nAccount,ParentId,Account,lookup,false\n"
        );
    }

    #[rstest]
    #[case("plain", "plain\n")]
    #[case("a,b", "\"a,b\"\n")]
    #[case("say \"x\"", "\"say \"\"x\"\"\"\n")]
    #[case("=HYPERLINK()", "'=HYPERLINK()\n")]
    fn a_cell_cannot_break_its_line_or_run(#[case] cell: &str, #[case] expected: &str) {
        assert_eq!(csv_line(&[cell]), expected);
    }

    #[test]
    fn a_page_orders_sections_for_reading_and_leaves_single_fields_out() {
        let overview = document(Section::Overview, json!({"label": "Account"}));
        let mut page = ObjectPage::new(&overview);
        let parts = [
            document(Section::Usage, json!({})),
            document(Section::Field, json!({})),
            document(Section::Fields, json!({"part": 2})),
            document(Section::Fields, json!({"part": 1})),
            document(Section::Automation, json!({"automationKind": "flow"})),
        ];
        parts.iter().chain([&overview]).for_each(|part| page.add(part));
        assert_eq!(
            page.markdown(),
            "# Account (`Account`)\n\n## Overview\n\nAbout overview.\n\n## Fields\n\nAbout fields.\n\nAbout fields.\n\n## Usage\n\nAbout usage.\n"
        );
    }

    #[test]
    fn a_report_is_sorted_whatever_order_failures_came_in() {
        let failure = |name: &str| (name.parse::<ObjectName>().unwrap(), "cannot parse".to_owned());
        let one = Failures { objects: vec![failure("B"), failure("A")], ..Failures::default() };
        let other = Failures { objects: vec![failure("A"), failure("B")], ..Failures::default() };
        assert_eq!(one.report(), other.report());
        assert!(one.report().contains("cannot parse"));
    }
}
