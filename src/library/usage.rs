//! The usage section: how many records, which record types, which page layouts.

use serde_json::{Map, json};

use super::draft::{Subject, brief, counted, one_line};
use super::families::{FamilyIndex, ObjectFamilies};
use super::overview::label_or_name;
use crate::model::{Document, Family, ObjectDescribe, RecordTypeInfo, Section};

const FAMILIES: [Family; 3] = [Family::RecordCounts, Family::RecordTypes, Family::Layouts];

pub(super) fn has_anything(
    describe: &ObjectDescribe,
    found: &ObjectFamilies,
    families: &FamilyIndex,
) -> bool {
    found.record_count.is_some()
        || !found.record_types.is_empty()
        || !found.layouts.is_empty()
        || own_types(describe).next().is_some()
        || FAMILIES.iter().any(|&family| families.failure(family).is_some())
}

/// Record types but the built-in one that stands for "none".
fn own_types(describe: &ObjectDescribe) -> impl Iterator<Item = &RecordTypeInfo> {
    describe.record_type_infos.iter().filter(|info| !info.master)
}

pub(super) fn document(subject: &Subject<'_>, found: &ObjectFamilies, families: &FamilyIndex) -> Document {
    let mut lines = Vec::new();
    lines.push(match (families.failure(Family::RecordCounts), found.record_count) {
        (Some(reason), _) => format!("Record counts could not be read: {}", one_line(reason)),
        (None, Some(count)) => {
            format!("About {} by the org's own cached count.", counted_records(count))
        }
        (None, None) => "The org gives no record count.".to_owned(),
    });
    lines.push(String::new());
    record_type_lines(&mut lines, subject.describe, found, families);
    lines.push(String::new());
    match (families.failure(Family::Layouts), found.layouts.len()) {
        (Some(reason), _) => lines.push(format!("Page layouts could not be read: {}", one_line(reason))),
        (None, 0) => lines.push("No page layouts are known for it.".to_owned()),
        (None, count) => {
            let names: Vec<String> = found.layouts.iter().map(|layout| one_line(&layout.name)).collect();
            lines.push(format!("{}: {}", counted(count, "page layout", "page layouts"), names.join(", ")));
        }
    }

    let label = label_or_name(subject.describe);
    let types = found.record_types.iter().map(|kind| kind.name.as_str());
    let layouts = found.layouts.iter().map(|layout| layout.name.as_str());
    let embedded = format!("{label} usage: record count, record types {}", brief(types.chain(layouts), 200));
    let mut metadata = Map::new();
    metadata.insert("recordCount".to_owned(), json!(found.record_count));
    subject.document(Section::Usage, "", lines.join("\n"), &embedded, metadata)
}

fn counted_records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

/// The family's rows, with descriptions; where it failed, what the describe tells all the same.
fn record_type_lines(
    lines: &mut Vec<String>,
    describe: &ObjectDescribe,
    found: &ObjectFamilies,
    families: &FamilyIndex,
) {
    if let Some(reason) = families.failure(Family::RecordTypes) {
        lines.push(format!("Record types could not be read: {}", one_line(reason)));
        let names: Vec<String> = own_types(describe).map(|info| one_line(&info.name)).collect();
        if !names.is_empty() {
            lines.push(format!("The describe names {}.", names.join(", ")));
        }
        return;
    }
    if found.record_types.is_empty() {
        lines.push("No record types.".to_owned());
        return;
    }
    lines.push(format!("{}:", counted(found.record_types.len(), "record type", "record types")));
    lines.push(String::new());
    for kind in &found.record_types {
        let state = if kind.is_active { "" } else { ", inactive" };
        let mut line = format!("- {} (`{}`{state})", one_line(&kind.name), one_line(&kind.developer_name));
        if let Some(description) = kind.description.as_deref().map(one_line).filter(|text| !text.is_empty()) {
            line.push_str(": ");
            line.push_str(&description);
        }
        lines.push(line);
    }
}
