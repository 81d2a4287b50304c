//! The security section: who may do what, exactly as the org's permission rows say.
//!
//! Nothing is inferred from a profile's kind. A row exists only for granted access, so whoever is not
//! named has none; a field that is not permissionable has no rows because everybody who sees the
//! object sees the field.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, json};

use super::draft::{Subject, counted, one_line, split_lines};
use super::families::{FamilyIndex, FieldAccess, GrantorNumber, ObjectFamilies};
use super::overview::label_or_name;
use crate::model::{Document, Family, ObjectPermissionRow, Section};

const FAMILIES: [Family; 3] = [Family::PermissionSets, Family::ObjectPermissions, Family::FieldPermissions];

pub(super) fn has_anything(found: &ObjectFamilies, families: &FamilyIndex) -> bool {
    !(found.object_permissions.is_empty() && found.field_permissions.is_empty())
        || FAMILIES.iter().any(|&family| families.failure(family).is_some())
}

pub(super) fn documents(
    subject: &Subject<'_>,
    found: &ObjectFamilies,
    families: &FamilyIndex,
) -> Vec<Document> {
    let mut lines = Vec::new();
    if let Some(reason) = families.failure(Family::PermissionSets) {
        lines.push(format!(
            "Names of permission sets and profiles could not be read: {}. They are shown by id.",
            one_line(reason)
        ));
        lines.push(String::new());
    }
    object_lines(&mut lines, found, families);
    lines.push(String::new());
    field_lines(&mut lines, subject, found, families);

    let label = label_or_name(subject.describe);
    let embedded =
        format!("{label} security: who may read, create, edit, delete {label}; permissions, access");
    let mut metadata = Map::new();
    metadata.insert("objectPermissions".to_owned(), json!(found.object_permissions.len()));
    let rows: usize = found.field_permissions.values().map(Vec::len).sum();
    metadata.insert("fieldPermissions".to_owned(), json!(rows));
    subject.parts(Section::Security, split_lines(&lines, &embedded), metadata)
}

fn object_lines(lines: &mut Vec<String>, found: &ObjectFamilies, families: &FamilyIndex) {
    if let Some(reason) = families.failure(Family::ObjectPermissions) {
        lines.push(format!("Object permissions could not be read: {}", one_line(reason)));
        return;
    }
    if found.object_permissions.is_empty() {
        lines.push("No permission set or profile grants access to the object.".to_owned());
        return;
    }
    lines.push(format!("{} access to the object:", granted(found.object_permissions.len())));
    lines.push(String::new());
    for (number, row) in &found.object_permissions {
        lines.push(format!("- {}: {}", one_line(families.title(*number)), rights(row)));
    }
}

fn granted(count: usize) -> String {
    if count == 1 {
        "1 profile or permission set grants".to_owned()
    } else {
        format!("{count} profiles and permission sets grant")
    }
}

fn rights(row: &ObjectPermissionRow) -> String {
    let all = [
        (row.read, "read"),
        (row.create, "create"),
        (row.edit, "edit"),
        (row.delete, "delete"),
        (row.view_all, "see all records"),
        (row.modify_all, "change all records"),
    ];
    let granted: Vec<&str> = all.iter().filter(|(yes, _)| *yes).map(|(_, name)| *name).collect();
    if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") }
}

/// Fields with the same readers and editors share a line: most fields of an object do.
fn field_lines(
    lines: &mut Vec<String>,
    subject: &Subject<'_>,
    found: &ObjectFamilies,
    families: &FamilyIndex,
) {
    if let Some(reason) = families.failure(Family::FieldPermissions) {
        lines.push(format!("Field permissions could not be read: {}", one_line(reason)));
        return;
    }
    let (guarded, open): (Vec<_>, Vec<_>) =
        subject.describe.fields.iter().partition(|field| field.permissionable);
    let mut groups: BTreeMap<&[(GrantorNumber, FieldAccess)], Vec<&str>> = BTreeMap::new();
    for field in &guarded {
        let grants = found.field_permissions.get(field.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        groups.entry(grants).or_default().push(field.name.as_str());
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, fields)| fields.first().copied());

    if guarded.is_empty() {
        lines.push("No field has permissions of its own.".to_owned());
    } else {
        lines.push(format!(
            "{} permissions of {} own:",
            if guarded.len() == 1 {
                "1 field has".to_owned()
            } else {
                format!("{} fields have", guarded.len())
            },
            if guarded.len() == 1 { "its" } else { "their" }
        ));
        lines.push(String::new());
    }
    for (grants, fields) in groups {
        let names: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
        let mut text = format!("- {}: ", names.join(", "));
        text.push_str(&grants_text(grants, families));
        lines.push(text);
    }
    if !open.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{} no permissions of {} own: whoever sees the object sees {}.",
            if open.len() == 1 { "1 field has".to_owned() } else { format!("{} fields have", open.len()) },
            if open.len() == 1 { "its" } else { "their" },
            if open.len() == 1 { "it" } else { "them" },
        ));
    }
    // Rows for fields that the describe does not show, for example hidden from the user who read it.
    let known = |name: &str| subject.describe.fields.iter().any(|field| field.name.as_str() == name);
    let hidden = found.field_permissions.keys().filter(|name| !known(name)).count();
    if hidden > 0 {
        lines.push(String::new());
        lines.push(format!(
            "{} more with permissions, but not shown by the describe.",
            counted(hidden, "field", "fields")
        ));
    }
}

fn grants_text(grants: &[(GrantorNumber, FieldAccess)], families: &FamilyIndex) -> String {
    let titles = |wanted: FieldAccess| -> Vec<String> {
        let of = grants.iter().filter(|(_, access)| *access == wanted);
        of.map(|(number, _)| one_line(families.title(*number))).collect()
    };
    let (editors, readers) = (titles(FieldAccess::Edit), titles(FieldAccess::Read));
    let mut text = String::new();
    if !editors.is_empty() {
        let _ = write!(text, "edited by {}", editors.join(", "));
    }
    if !readers.is_empty() {
        let _ =
            write!(text, "{}read by {}", if text.is_empty() { "" } else { "; only " }, readers.join(", "));
    }
    if text.is_empty() { "granted to nobody".to_owned() } else { text }
}
