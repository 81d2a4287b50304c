//! What the simulated org contains: a property and energy company's org of exactly 1,462 objects.
//!
//! | objects | where they come from |
//! | ---: | --- |
//! | 474 | standard objects, from an embedded list of facts (`data/README.md`) |
//! | 14 | companions that the list lacks and a real org has (`companions`) |
//! | 210 | custom objects of the industry app (`data/*.txt`) |
//! | 210 | their change events: every custom object has one |
//! | 515 | their shares (121), histories (209) and feeds (185), where the tables ask for them |
//! | 14 | custom metadata types |
//! | 9 | custom settings |
//! | 16 | platform events |
//! | **1,462** | |
//!
//! Promises: the same seed gives the same org on every machine; names, relationship names and key
//! prefixes are unique; every reference leads to an object that exists. Endpoints are others' work.

mod automation;
mod companions;
mod custom;
pub mod ids;
mod labels;
pub mod random;
mod relations;
mod security;
mod standard;
pub mod tables;

use std::collections::HashMap;
use std::path::PathBuf;

use companions::Companion;
use tables::{Kind, ObjectSpec, TableError};

use crate::dml::DataOptions;
use crate::model::{Field, OrgModel, SObject};
use crate::rows::nasty;
use crate::sfdx::{self, ObjectMeta, SfdxReport};

/// The hand-written tables; the file name is the part of the app that permission sets speak of.
const TABLES: &[(&str, &str)] = &[
    ("packs", include_str!("../../data/packs.txt")),
    ("standard", include_str!("../../data/standard-corrections.txt")),
    ("property", include_str!("../../data/property.txt")),
    ("leasing", include_str!("../../data/leasing.txt")),
    ("finance", include_str!("../../data/finance.txt")),
    ("energy", include_str!("../../data/energy.txt")),
    ("maintenance", include_str!("../../data/maintenance.txt")),
    ("rental", include_str!("../../data/rental.txt")),
    ("compliance", include_str!("../../data/compliance.txt")),
    ("procurement", include_str!("../../data/procurement.txt")),
    ("projects", include_str!("../../data/projects.txt")),
    ("service", include_str!("../../data/service.txt")),
    ("platform", include_str!("../../data/platform.txt")),
];

/// Why the catalogue cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The embedded list cannot be unpacked.
    #[error("unpack the list of standard objects")]
    Unpack(#[source] std::io::Error),
    /// The embedded list is not what it should be.
    #[error("read the list of standard objects")]
    List(#[source] serde_json::Error),
    /// A table has a line without meaning.
    #[error("read the tables of the app")]
    Table(#[from] TableError),
    /// A table amends an object that does not exist.
    #[error("table `{table}` amends `{object}`, which does not exist")]
    UnknownObject {
        /// File.
        table: String,
        /// Object.
        object: String,
    },
    /// A permission set's line has not six columns.
    #[error("read the permission set `{line}`")]
    PermissionSet {
        /// The line.
        line: String,
    },
    /// An automation's line cannot be read.
    #[error("read the automation `{line}`")]
    Automation {
        /// The line.
        line: String,
    },
    /// A project folder cannot be read at all.
    #[error("import the project `{dir}`")]
    Sfdx {
        /// Folder.
        dir: PathBuf,
        /// Cause.
        source: sfdx::SfdxError,
    },
}

/// Builds the org by `seed` and adds the projects below `sfdx_dirs`.
///
/// # Errors
/// A damaged table or list (a fault of this crate), or a project folder that cannot be read.
pub fn build(seed: u64, sfdx_dirs: &[PathBuf]) -> Result<OrgModel, CatalogError> {
    build_with_report(seed, sfdx_dirs).map(|(org, _)| org)
}

/// As [`build`], with one report per project: what was added and which files were not understood.
///
/// # Errors
/// As [`build`].
pub fn build_with_report(
    seed: u64,
    sfdx_dirs: &[PathBuf],
) -> Result<(OrgModel, Vec<SfdxReport>), CatalogError> {
    build_whole(seed, sfdx_dirs, &DataOptions::default())
}

/// As [`build`], with as many rows as asked for.
///
/// # Errors
/// As [`build`], and when rows are asked for of an object that does not exist.
pub fn build_for(seed: u64, sfdx_dirs: &[PathBuf], data: &DataOptions) -> Result<OrgModel, CatalogError> {
    build_whole(seed, sfdx_dirs, data).map(|(org, _)| org)
}

fn build_whole(
    seed: u64,
    sfdx_dirs: &[PathBuf],
    data: &DataOptions,
) -> Result<(OrgModel, Vec<SfdxReport>), CatalogError> {
    let standard::StandardObjects { mut objects, relationship_names } = standard::load()?;
    let nasty = data.nasty_values.then_some(("platform", nasty::TABLE));
    let tables: Vec<(&str, &str)> = TABLES.iter().copied().chain(nasty).collect();
    let specs = tables::read(&tables)?;
    amend_standard(&mut objects, &specs)?;
    objects.extend(companions::of_standard(&objects));
    for spec in specs.iter().filter(|spec| !matches!(spec.kind, Kind::Extension | Kind::Correction)) {
        add_custom(&mut objects, spec);
    }
    let mut org = OrgModel { objects, ..OrgModel::default() };
    org.finish();
    let mut parts: HashMap<String, String> = HashMap::new();
    for spec in &specs {
        parts.entry(spec.name.clone()).or_insert_with(|| spec.part.clone());
    }
    automation::add(&mut org, &specs)?;
    let mut reports = Vec::new();
    for dir in sfdx_dirs {
        let report =
            sfdx::import(&mut org, dir).map_err(|source| CatalogError::Sfdx { dir: dir.clone(), source })?;
        reports.push(report);
    }
    org.finish();
    hand_out_ids(&mut org);
    relations::connect(&mut org.objects, &relationship_names);
    security::add(&mut org, seed, |object| {
        // What a project brought belongs to no part of our own app; administrators see it all the same.
        parts.get(&object.name).cloned().or_else(|| object.custom.then(|| "imported".to_owned()))
    })?;
    for (name, rows) in &data.records {
        let known = org.by_name.get(&name.to_ascii_lowercase()).copied();
        let at = known.filter(|&at| org.objects[at].key_prefix.is_some()).ok_or_else(|| {
            CatalogError::UnknownObject { table: "records".to_owned(), object: name.clone() }
        })?;
        org.objects[at].record_count = *rows;
    }
    count_setup_rows(&mut org);
    Ok((org, reports))
}

/// Adds a custom object of a table with its companions.
pub(crate) fn add_custom(objects: &mut Vec<SObject>, spec: &ObjectSpec) {
    let object = custom::object(spec);
    if spec.kind == Kind::Custom {
        let detail = object.fields.iter().any(|field| field.master_detail.is_some());
        let wanted = [
            (spec.share && !detail, Companion::Share),
            (spec.history, Companion::History),
            (spec.feed, Companion::Feed),
            (true, Companion::ChangeEvent),
        ];
        for (_, kind) in wanted.iter().filter(|(wanted, _)| *wanted) {
            objects.push(companions::make(&object, *kind));
        }
    }
    objects.push(object);
}

/// Whether an API name is that of something made by the org or a package.
pub(crate) fn is_custom_name(name: &str) -> bool {
    ["__c", "__mdt", "__e", "__x", "__b"].iter().any(|suffix| name.ends_with(suffix))
}

/// Label of an API name nobody has labelled.
pub(crate) fn label_of(name: &str) -> String {
    labels::from_api_name(name)
}

/// Adds a project's fields to an object; known fields take over help and values.
pub(crate) fn merge_fields(object: &mut SObject, fields: &[Field]) {
    for made in fields {
        match object.fields.iter_mut().find(|field| field.name.eq_ignore_ascii_case(&made.name)) {
            Some(known) => {
                known.help = made.help.clone().or(known.help.take());
                if !made.picklist.is_empty() {
                    known.picklist.clone_from(&made.picklist);
                }
            }
            // A standard field without a type says nothing that could be described.
            None if made.field_type.is_empty() => {}
            None => object.fields.push(made.clone()),
        }
    }
}

/// A custom object of a project, with the companions its file asks for.
pub(crate) fn imported_object(
    name: &str,
    meta: &ObjectMeta,
    fields: &[Field],
    record_types: bool,
) -> Vec<SObject> {
    let kind = match name.rsplit("__").next() {
        Some("mdt") => Kind::Metadata,
        Some("e") => Kind::Event,
        _ if meta.setting => Kind::Setting,
        _ => Kind::Custom,
    };
    let label = meta.label.clone().unwrap_or_else(|| labels::from_api_name(name));
    let detail = fields.iter().any(|field| field.master_detail.is_some());
    let shape = custom::Shape {
        detail,
        record_types,
        auto_number: meta.auto_number,
        name_label: meta.name_label.clone().unwrap_or_else(|| format!("{label} Name")),
    };
    let mut object = SObject {
        name: name.to_owned(),
        label_plural: meta.plural.clone().unwrap_or_else(|| labels::plural(&label)),
        label,
        description: meta.description.clone(),
        custom: true,
        custom_setting: kind == Kind::Setting,
        queryable: kind != Kind::Event,
        searchable: kind == Kind::Custom,
        createable: kind != Kind::Metadata,
        triggerable: matches!(kind, Kind::Custom | Kind::Event),
        fields: custom::standard_fields(kind, &shape).into(),
        ..SObject::default()
    };
    merge_fields(&mut object, fields);
    let mut made = Vec::new();
    if kind == Kind::Custom && name.ends_with("__c") {
        let wanted = [
            (meta.share && !detail, Companion::Share),
            (meta.history, Companion::History),
            (meta.feed, Companion::Feed),
            (true, Companion::ChangeEvent),
        ];
        made.extend(
            wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| companions::make(&object, *kind)),
        );
    }
    made.push(object);
    made
}

/// A standard object that only a project knows, with the fields it names.
pub(crate) fn imported_standard(name: &str, fields: &[Field]) -> SObject {
    let label = labels::from_api_name(name);
    let shape = custom::Shape { name_label: format!("{label} Name"), ..custom::Shape::default() };
    let mut object = SObject {
        name: name.to_owned(),
        label_plural: labels::plural(&label),
        label,
        queryable: true,
        createable: true,
        durable_id: name.to_owned(),
        fields: custom::standard_fields(Kind::Custom, &shape).into(),
        ..SObject::default()
    };
    merge_fields(&mut object, fields);
    object
}

fn amend_standard(objects: &mut [SObject], specs: &[ObjectSpec]) -> Result<(), CatalogError> {
    for spec in specs.iter().filter(|spec| matches!(spec.kind, Kind::Extension | Kind::Correction)) {
        let known = objects.iter_mut().find(|object| object.name == spec.name);
        let object = known.ok_or_else(|| CatalogError::UnknownObject {
            table: spec.part.clone(),
            object: spec.name.clone(),
        })?;
        custom::amend(object, spec);
    }
    Ok(())
}

/// Gives key prefixes and durable ids in the order of the names, so that they do not depend on the
/// order in which projects are read.
fn hand_out_ids(org: &mut OrgModel) {
    let mut pool = ids::PrefixPool::default();
    for object in &mut org.objects {
        if let Some(prefix) = standard::known_prefix(&object.name) {
            pool.reserve(prefix);
            object.key_prefix = Some(prefix.to_owned());
        }
    }
    // Ids of triggers, rules, flows and the like must not be taken for records of an object.
    for reserved in ["300", "301", "03d", "01I", "00h", "750", "00N", "01Q"] {
        pool.reserve(reserved);
    }
    let mut custom_objects = 0;
    for object in &mut org.objects {
        if object.custom {
            let letter = match object.name.rsplit("__").next() {
                Some("mdt") => 'm',
                Some("e") => 'e',
                _ => 'a',
            };
            object.key_prefix = Some(pool.next(letter));
            custom_objects += 1;
            object.durable_id = ids::record_id("01I", custom_objects);
        } else if object.key_prefix.is_none() && standard::has_records(object) {
            object.key_prefix = Some(pool.next('0'));
        }
        if object.key_prefix.is_none() {
            object.record_count = 0;
        }
    }
}

/// Objects that hold the metadata itself have as many rows as there is metadata.
fn count_setup_rows(org: &mut OrgModel) {
    let counts = [
        ("ApexTrigger", org.triggers.len()),
        ("RecordType", org.record_types.len()),
        ("PermissionSet", org.permission_sets.len()),
        ("Profile", org.permission_sets.iter().filter(|set| set.profile_id.is_some()).count()),
        ("ObjectPermissions", org.object_permissions.len()),
        ("FieldPermissions", org.field_permissions.len()),
    ];
    for (name, count) in counts {
        if let Some(object) = org.objects.iter_mut().find(|object| object.name == name) {
            object.record_count = count as u64;
        }
    }
}

#[cfg(test)]
mod tests;
