//! Imports the metadata of a real project, so that people can try things on their own org's schema
//! without credentials.
//!
//! Reads source format (`objects/X__c/X__c.object-meta.xml` with `fields/`, `validationRules/` and
//! `recordTypes/` beside it) and metadata-API format (`objects/X__c.object` with everything inside),
//! triggers, flows, permission sets and global value sets, wherever they lie below the folder.
//! Promises: a file that cannot be understood becomes a warning that names it, and everything else is
//! still imported; files are read in the order of their paths, so the result is always the same.

mod automation;
mod fields;
mod walk;
mod xml;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

pub(crate) use fields::ObjectMeta;

use crate::catalog;
use crate::model::{Field, OrgModel, SObject};

/// A folder that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SfdxError {
    /// The folder is missing or may not be read.
    #[error("read the folder `{dir}`")]
    Folder {
        /// Folder.
        dir: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

/// What an import found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SfdxReport {
    /// Custom objects, metadata types, settings and events that were added.
    pub objects: usize,
    /// Fields that were added, to new and known objects.
    pub fields: usize,
    /// Validation rules.
    pub validation_rules: usize,
    /// Record types.
    pub record_types: usize,
    /// Apex triggers.
    pub triggers: usize,
    /// Flows.
    pub flows: usize,
    /// Permission sets.
    pub permission_sets: usize,
    /// Files that were not understood, and why.
    pub warnings: Vec<String>,
}

/// Everything that belongs to one object, from however many files.
#[derive(Debug, Default)]
struct ObjectParts {
    meta: Option<fields::ObjectMeta>,
    fields: Vec<Field>,
    rules: Vec<automation::Rule>,
    record_types: Vec<automation::Kind>,
}

/// Adds the project below `dir` to `org`. Call [`OrgModel::finish`] and build the children afterwards;
/// [`catalog::build`] does.
///
/// # Errors
/// When `dir` itself cannot be read; single files become warnings.
pub fn import(org: &mut OrgModel, dir: &Path) -> Result<SfdxReport, SfdxError> {
    let mut report = SfdxReport::default();
    let files = walk::metadata_files(dir, &mut report.warnings)
        .map_err(|source| SfdxError::Folder { dir: dir.to_owned(), source })?;
    let mut texts: Vec<(PathBuf, String)> = Vec::new();
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => texts.push((path, text)),
            Err(error) => report.warnings.push(format!("{}: {error}", path.display())),
        }
    }
    let value_sets = value_sets(&texts, &mut report.warnings);
    let mut parts: BTreeMap<String, ObjectParts> = BTreeMap::new();
    for (path, text) in &texts {
        if let Err(what) = read_file(org, &mut parts, &value_sets, path, text, &mut report) {
            report.warnings.push(format!("{}: {what}", path.display()));
        }
    }
    for (name, found) in parts {
        add_object(org, &name, found, &mut report);
    }
    org.finish();
    drop_unknown_targets(org, &mut report);
    Ok(report)
}

fn value_sets(
    texts: &[(PathBuf, String)],
    warnings: &mut Vec<String>,
) -> HashMap<String, Vec<(String, String)>> {
    let mut sets = HashMap::new();
    for (path, text) in texts {
        let Some(name) = walk::stem(path, &[".globalValueSet-meta.xml", ".globalValueSet"]) else { continue };
        match xml::parse(text) {
            Ok(document) => drop(sets.insert(name, fields::values(document.root_element(), "customValue"))),
            Err(error) => warnings.push(format!("{}: {error}", path.display())),
        }
    }
    sets
}

/// Reads one file by its ending; the error says what is wrong with it.
fn read_file(
    org: &mut OrgModel,
    parts: &mut BTreeMap<String, ObjectParts>,
    value_sets: &HashMap<String, Vec<(String, String)>>,
    path: &Path,
    text: &str,
    report: &mut SfdxReport,
) -> Result<(), String> {
    let owner = || walk::object_folder(path).ok_or("lies in no object's folder".to_owned());
    if let Some(name) = walk::stem(path, &[".object-meta.xml", ".object"]) {
        let document = xml::parse(text)?;
        let root = document.root_element();
        let entry = parts.entry(name).or_default();
        entry.meta = Some(fields::object_meta(root));
        for node in xml::all(root, "fields") {
            match fields::field(node, value_sets) {
                Ok(field) => entry.fields.push(field),
                Err(what) => report.warnings.push(format!("{}: {what}", path.display())),
            }
        }
        entry.rules.extend(xml::all(root, "validationRules").filter_map(automation::rule));
        entry.record_types.extend(xml::all(root, "recordTypes").filter_map(automation::record_type));
    } else if walk::stem(path, &[".field-meta.xml"]).is_some() {
        let document = xml::parse(text)?;
        let field = fields::field(document.root_element(), value_sets)?;
        parts.entry(owner()?).or_default().fields.push(field);
    } else if walk::stem(path, &[".validationRule-meta.xml"]).is_some() {
        let document = xml::parse(text)?;
        let rule = automation::rule(document.root_element()).ok_or("a rule without a name or formula")?;
        parts.entry(owner()?).or_default().rules.push(rule);
    } else if walk::stem(path, &[".recordType-meta.xml"]).is_some() {
        let document = xml::parse(text)?;
        let kind = automation::record_type(document.root_element()).ok_or("a record type without a name")?;
        parts.entry(owner()?).or_default().record_types.push(kind);
    } else if let Some(name) = walk::stem(path, &[".trigger"]) {
        automation::add_trigger(org, &name, text)?;
        report.triggers += 1;
    } else if let Some(name) = walk::stem(path, &[".flow-meta.xml", ".flow"]) {
        automation::add_flow(org, &name, xml::parse(text)?.root_element());
        report.flows += 1;
    } else if let Some(name) = walk::stem(path, &[".permissionset-meta.xml", ".permissionset"]) {
        automation::add_permission_set(org, &name, xml::parse(text)?.root_element());
        report.permission_sets += 1;
    }
    Ok(())
}

fn add_object(org: &mut OrgModel, name: &str, mut found: ObjectParts, report: &mut SfdxReport) {
    if !fields::is_api_name(name) {
        report.warnings.push(format!("object `{name}`: `{name}` is no API name"));
        return;
    }
    // Task and Event take their fields from Activity, which is no object of its own.
    let targets: &[&str] = if name == "Activity" { &["Task", "Event"] } else { &[name] };
    found.fields.sort_by(|a, b| a.name.cmp(&b.name));
    found.fields.dedup_by(|a, b| a.name.eq_ignore_ascii_case(&b.name));
    report.fields += found.fields.iter().filter(|field| field.custom && !field.name.ends_with("__s")).count();
    for target in targets {
        let known = org.objects.iter_mut().find(|object| object.name.eq_ignore_ascii_case(target));
        match known {
            Some(object) => catalog::merge_fields(object, &found.fields),
            None if catalog::is_custom_name(target) => {
                let meta = found.meta.clone().unwrap_or_default();
                let made =
                    catalog::imported_object(target, &meta, &found.fields, !found.record_types.is_empty());
                org.objects.extend(made);
                report.objects += 1;
            }
            None => {
                let standard = SObject { custom: false, ..catalog::imported_standard(target, &found.fields) };
                report.warnings.push(format!("`{target}` is a standard object this org did not have; added with the project's fields only"));
                org.objects.push(standard);
            }
        }
    }
    report.validation_rules += found.rules.len();
    report.record_types += found.record_types.len();
    automation::add_rules(org, name, found.rules);
    automation::add_record_types(org, name, found.record_types);
}

/// A project may point at objects of packages it does not contain; such a reference keeps its field and
/// loses its target, and is said.
fn drop_unknown_targets(org: &mut OrgModel, report: &mut SfdxReport) {
    let known: std::collections::HashSet<String> =
        org.objects.iter().map(|object| object.name.clone()).collect();
    for object in &mut org.objects {
        for field in &mut object.fields {
            field.reference_to.retain(|target| {
                let exists = known.contains(target);
                // A change event only repeats what its object says.
                if !exists && object.associate_type.is_none() {
                    report.warnings.push(format!(
                        "`{}.{}` points at `{target}`, which is not in the org",
                        object.name, field.name
                    ));
                }
                exists
            });
        }
    }
}

#[cfg(test)]
mod tests;
