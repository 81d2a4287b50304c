//! Permission sets, profiles and what they grant.
//!
//! `data/permission-sets.txt` names every set with the parts of the app it reads and edits, and those of
//! which it grants (nearly) all fields. Elsewhere a set grants only some of the fields that have
//! field-level security: sets are made for a task and list what the task needs. No row is no access.

use super::random::SplitMix64;
use super::{CatalogError, ids, standard};
use crate::model::{FieldPermission, ObjectPermission, OrgModel, PermissionSet, SObject};

const TABLE: &str = include_str!("../../data/permission-sets.txt");
/// Fields granted, in percent, of an object in the middle of a set's task.
const FULL_PERCENT: u64 = 96;
/// Fields granted, in percent, of an object the set only needs to look at.
const SPARSE_PERCENT: u64 = 44;

struct SetSpec<'a> {
    name: &'a str,
    label: &'a str,
    is_profile: bool,
    reads: Vec<&'a str>,
    edits: Vec<&'a str>,
    fields: Vec<&'a str>,
    everything: bool,
}

/// Adds the sets and their grants. `part_of` says which part of the app an object belongs to.
///
/// # Errors
/// A line of the table that cannot be read.
pub fn add(
    org: &mut OrgModel,
    seed: u64,
    part_of: impl Fn(&SObject) -> Option<String>,
) -> Result<(), CatalogError> {
    let protected: Vec<(SObject, String)> = org
        .objects
        .iter()
        .filter(|object| has_object_permissions(object))
        .filter_map(|object| part_of(object).map(|part| (object.clone(), part)))
        .collect();
    for (at, line) in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).enumerate() {
        let spec = read_line(line).ok_or_else(|| CatalogError::PermissionSet { line: line.to_owned() })?;
        let number = at as u64 + 1;
        // Projects may have brought sets of their own before these.
        let set = org.permission_sets.len();
        org.permission_sets.push(PermissionSet {
            id: ids::record_id("0PS", number),
            name: if spec.is_profile {
                format!("X{}", &ids::record_id("00e", number)[..15])
            } else {
                spec.name.to_owned()
            },
            label: spec.label.to_owned(),
            profile_id: spec.is_profile.then(|| ids::record_id("00e", number)),
            profile_name: spec.is_profile.then(|| spec.label.to_owned()),
        });
        for (object, part) in &protected {
            grant(org, seed, set, &spec, object, part);
        }
    }
    Ok(())
}

/// Objects that appear in a permission set: what people configure, settings included, companions not.
#[must_use]
pub fn has_object_permissions(object: &SObject) -> bool {
    let custom = object.custom && (object.name.ends_with("__c") || object.name.ends_with("__e"));
    custom && !object.custom_setting || standard::is_customizable(object) && !object.custom
}

fn grant(org: &mut OrgModel, seed: u64, set: usize, spec: &SetSpec, object: &SObject, part: &str) {
    let listed = |parts: &[&str]| parts.contains(&part);
    let edits = spec.everything || listed(&spec.edits);
    if !edits && !listed(&spec.reads) {
        return;
    }
    let mut dice = SplitMix64::for_subject(seed, &format!("{}/{}", spec.name, object.name));
    let writes = edits && object.createable;
    let manages = writes && (spec.everything || dice.chance(15));
    org.object_permissions.push(ObjectPermission {
        set,
        object: object.name.clone(),
        read: true,
        create: writes,
        edit: writes,
        delete: manages || (writes && dice.chance(35)),
        view_all: manages || dice.chance(10),
        modify_all: manages && spec.everything,
    });
    let percent = if listed(&spec.fields) { FULL_PERCENT } else { SPARSE_PERCENT };
    for field in object.fields.iter().filter(|field| field.permissionable) {
        if dice.chance(percent) {
            org.field_permissions.push(FieldPermission {
                set,
                object: object.name.clone(),
                field: field.name.clone(),
                read: true,
                edit: writes && field.updateable && dice.chance(80),
            });
        }
    }
}

/// `name | label | profile or set | parts read | parts edited | parts with field rows`.
fn read_line(line: &str) -> Option<SetSpec<'_>> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let &[name, label, kind, reads, edits, fields] = columns.as_slice() else { return None };
    Some(SetSpec {
        name,
        label,
        is_profile: kind == "profile",
        reads: reads.split_whitespace().collect(),
        edits: edits.split_whitespace().collect(),
        fields: fields.split_whitespace().collect(),
        everything: edits == "*",
    })
}
