//! Turns designs (tables, SFDX projects) into objects with the standard fields every such object has.

use super::tables::{FieldSpec, Kind, ObjectSpec};
use super::{labels, standard};
use crate::model::{Field, SObject};

/// The object of a design, without companions, children or key prefix.
#[must_use]
pub fn object(spec: &ObjectSpec) -> SObject {
    let label = spec.label.clone().unwrap_or_else(|| labels::from_api_name(&spec.name));
    let label_plural = spec.plural.clone().unwrap_or_else(|| labels::plural(&label));
    let designed: Vec<Field> = spec.fields.iter().flat_map(|field| fields(field, Kind::Custom)).collect();
    let shape = Shape {
        detail: designed.iter().any(|field| field.master_detail.is_some()),
        record_types: !spec.record_types.is_empty(),
        auto_number: spec.auto_number.is_some(),
        name_label: format!("{label} {}", if spec.auto_number.is_some() { "Number" } else { "Name" }),
    };
    let mut all = standard_fields(spec.kind, &shape);
    all.extend(designed);
    if spec.kind == Kind::Event || spec.kind == Kind::Metadata {
        for field in all.iter_mut().filter(|field| field.custom) {
            field.permissionable = false;
        }
    }
    number_masters(&mut all);
    if let (Some(prefix), Some(name)) =
        (&spec.auto_number, all.iter_mut().find(|field| field.auto_number && field.name_field))
    {
        // The display format of the numbers; rows are numbered by it.
        name.description = Some(format!("{prefix}-{{000000}}"));
    }
    SObject {
        label,
        label_plural,
        description: spec.description.clone(),
        custom: true,
        custom_setting: spec.kind == Kind::Setting,
        queryable: spec.kind != Kind::Event,
        searchable: spec.kind == Kind::Custom,
        createable: spec.kind != Kind::Metadata,
        triggerable: matches!(spec.kind, Kind::Custom | Kind::Event),
        fields: all.into(),
        record_count: spec.records.unwrap_or(0),
        name: spec.name.clone(),
        ..SObject::default()
    }
}

/// What decides which standard fields a custom object has.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Has a master: the master's owner owns it.
    pub detail: bool,
    /// Has record types.
    pub record_types: bool,
    /// Its name is numbered by the org.
    pub auto_number: bool,
    /// Label of the name field.
    pub name_label: String,
}

/// The fields that come with an object of a kind.
#[must_use]
pub fn standard_fields(kind: Kind, shape: &Shape) -> Vec<Field> {
    let id = system("Id", "Record ID", "id", false);
    let created =
        [system("CreatedDate", "Created Date", "datetime", false), user("CreatedById", "Created By ID")];
    match kind {
        Kind::Event => {
            let mut fields = vec![
                system("ReplayId", "Replay ID", "string", true),
                system("EventUuid", "Event UUID", "string", true),
            ];
            fields.extend(created);
            fields
        }
        Kind::Metadata => {
            let text =
                |name: &str, label: &str, length| Field { length, ..system(name, label, "string", false) };
            let mut label = text("MasterLabel", "Label", 40);
            label.name_field = true;
            vec![
                id,
                text("DeveloperName", "Custom Metadata Record Name", 40),
                label,
                system("Language", "Master Language", "picklist", false),
                system("NamespacePrefix", "Namespace Prefix", "string", true),
                text("QualifiedApiName", "Qualified API Name", 70),
            ]
        }
        _ => {
            let mut fields = vec![id];
            if kind == Kind::Setting {
                let targets = vec!["Organization".to_owned(), "Profile".to_owned(), "User".to_owned()];
                fields.push(Field {
                    reference_to: targets,
                    relationship_name: Some("SetupOwner".to_owned()),
                    length: 18,
                    ..system("SetupOwnerId", "Location", "reference", false)
                });
            } else if !shape.detail {
                fields.push(owner());
            }
            fields.push(system("IsDeleted", "Deleted", "boolean", false));
            fields.push(name_field(shape));
            if shape.record_types {
                fields.push(Field {
                    reference_to: vec!["RecordType".to_owned()],
                    relationship_name: Some("RecordType".to_owned()),
                    length: 18,
                    createable: true,
                    updateable: true,
                    ..system("RecordTypeId", "Record Type ID", "reference", true)
                });
            }
            fields.extend(created);
            fields.push(system("LastModifiedDate", "Last Modified Date", "datetime", false));
            fields.push(user("LastModifiedById", "Last Modified By ID"));
            fields.push(system("SystemModstamp", "System Modstamp", "datetime", false));
            if kind == Kind::Custom {
                fields.push(system("LastActivityDate", "Last Activity Date", "date", true));
                fields.push(system("LastViewedDate", "Last Viewed Date", "datetime", true));
                fields.push(system("LastReferencedDate", "Last Referenced Date", "datetime", true));
            }
            fields
        }
    }
}

fn name_field(shape: &Shape) -> Field {
    Field {
        length: 80,
        name_field: true,
        auto_number: shape.auto_number,
        createable: !shape.auto_number,
        updateable: !shape.auto_number,
        ..system("Name", &shape.name_label, "string", !shape.auto_number)
    }
}

/// The owner of a record, a user or a queue.
#[must_use]
pub fn owner() -> Field {
    Field {
        reference_to: vec!["Group".to_owned(), "User".to_owned()],
        relationship_name: Some("Owner".to_owned()),
        length: 18,
        createable: true,
        updateable: true,
        ..system("OwnerId", "Owner ID", "reference", false)
    }
}

/// A field the org keeps itself.
#[must_use]
pub fn system(name: &str, label: &str, field_type: &str, nillable: bool) -> Field {
    let length = match field_type {
        "id" | "reference" => 18,
        "string" | "picklist" => 255,
        _ => 0,
    };
    Field {
        name: name.to_owned(),
        label: label.to_owned(),
        field_type: field_type.to_owned(),
        length,
        nillable,
        defaulted_on_create: !nillable,
        ..Field::default()
    }
}

/// A reference to the user who did something.
#[must_use]
pub fn user(name: &str, label: &str) -> Field {
    Field {
        reference_to: vec!["User".to_owned()],
        relationship_name: Some(name.trim_end_matches("Id").to_owned()),
        ..system(name, label, "reference", false)
    }
}

/// The fields one line of a table makes: one, or three for a geolocation.
///
/// With [`Kind::Correction`] the names and types are those of a standard object.
#[must_use]
pub fn fields(spec: &FieldSpec, kind: Kind) -> Vec<Field> {
    let custom = kind != Kind::Correction;
    let suffixed = |name: &str| if custom { format!("{name}__c") } else { name.to_owned() };
    let name = suffixed(&spec.name);
    let computed =
        matches!(spec.kind.strip_prefix(['f', 'r']), Some("cur" | "num" | "pct" | "text" | "date" | "bool"));
    let base = if computed { &spec.kind[1..] } else { spec.kind.as_str() };
    let (field_type, length, precision, scale) = shape_of(base, spec.size, custom);
    let default_label =
        || if custom { spec.name.replace('_', " ") } else { labels::from_api_name(&spec.name) };
    let mut field = Field {
        label: spec.label.clone().unwrap_or_else(default_label),
        field_type: field_type.to_owned(),
        length,
        precision,
        scale,
        nillable: !spec.required && field_type != "boolean",
        defaulted_on_create: field_type == "boolean",
        createable: !computed && base != "auto",
        updateable: !computed && base != "auto",
        custom,
        external_id: base == "ext",
        unique: base == "ext",
        auto_number: base == "auto",
        help: spec.help.clone(),
        reference_to: spec.targets.clone(),
        permissionable: !spec.required && base != "md",
        name,
        ..Field::default()
    };
    match (&spec.content, field_type) {
        (Some(values), "picklist" | "multipicklist") => {
            field.picklist = values
                .split(';')
                .map(str::trim)
                .filter(|value| !value.is_empty())
                .map(|value| (value.to_owned(), value.to_owned()))
                .collect();
            field.restricted_picklist = custom;
        }
        (Some(formula), _) if computed => field.formula = Some(formula.clone()),
        _ => {}
    }
    if field_type == "reference" {
        field.relationship_name = Some(if custom {
            format!("{}__r", spec.name)
        } else {
            spec.name.trim_end_matches("Id").to_owned()
        });
        if base == "md" {
            field.master_detail = Some(0);
            field.nillable = false;
        }
    }
    field.controller = spec.controller.as_deref().map(suffixed);
    if base != "geo" {
        return vec![field];
    }
    let part = |axis: &str| Field {
        name: format!("{}__{axis}__s", spec.name),
        label: format!("{} ({axis})", field.label),
        field_type: "double".to_owned(),
        precision: 18,
        scale: 15,
        compound: Some(field.name.clone()),
        help: None,
        ..field.clone()
    };
    let parts = [part("Latitude"), part("Longitude")];
    (field.createable, field.updateable) = (false, false);
    std::iter::once(field).chain(parts).collect()
}

/// Describe type, length, digits in all and after the point for a type word of the tables.
fn shape_of(word: &str, size: Option<(u32, u32)>, custom: bool) -> (&'static str, u32, u32, u32) {
    let length = |usual: u32| size.map_or(usual, |(length, _)| length);
    let number = |whole: u32, fraction: u32| {
        let (whole, fraction) = size.unwrap_or((whole, fraction));
        (whole + fraction, fraction)
    };
    match word {
        "area" => ("textarea", length(255), 0, 0),
        "long" | "rich" => ("textarea", length(32_768), 0, 0),
        "pick" => ("picklist", 255, 0, 0),
        "multi" => ("multipicklist", 4_099, 0, 0),
        "combo" => ("combobox", 255, 0, 0),
        "cur" => {
            let (precision, scale) = number(16, 2);
            ("currency", 0, precision, scale)
        }
        "num" => {
            let (precision, scale) = number(16, 2);
            ("double", 0, precision, scale)
        }
        "int" if custom => ("double", 0, length(18), 0),
        "int" => ("int", 0, 0, 0),
        "pct" => {
            let (precision, scale) = number(3, 2);
            ("percent", 0, precision, scale)
        }
        "date" => ("date", 0, 0, 0),
        "dt" => ("datetime", 0, 0, 0),
        "bool" => ("boolean", 0, 0, 0),
        "email" => ("email", 80, 0, 0),
        "phone" => ("phone", 40, 0, 0),
        "url" => ("url", 255, 0, 0),
        "ref" | "md" => ("reference", 18, 0, 0),
        "auto" => ("string", 30, 0, 0),
        "ext" => ("string", length(64), 0, 0),
        "geo" => ("location", 0, 0, 0),
        "address" => ("address", 0, 0, 0),
        _ => ("string", length(255), 0, 0),
    }
}

/// Masters are numbered in the order of the fields: a junction object has a first and a second.
fn number_masters(fields: &mut [Field]) {
    for (at, master) in fields.iter_mut().filter_map(|field| field.master_detail.as_mut()).enumerate() {
        *master = u32::try_from(at).expect("an object has two masters at most");
    }
}

/// Adds the custom fields of an `@on` entry to a standard object, or corrects it by a `@fix` entry.
pub fn amend(object: &mut SObject, spec: &ObjectSpec) {
    if let Some(label) = &spec.label {
        object.label.clone_from(label);
        object.label_plural = spec.plural.clone().unwrap_or_else(|| labels::plural(label));
    }
    if let Some(description) = &spec.description {
        object.description = Some(description.clone());
    }
    if let Some(records) = spec.records {
        object.record_count = records;
    }
    if !spec.record_types.is_empty() && !object.fields.iter().any(|field| field.name == "RecordTypeId") {
        let shape = Shape { record_types: true, ..Shape::default() };
        object.fields.extend(
            standard_fields(Kind::Custom, &shape).into_iter().filter(|field| field.name == "RecordTypeId"),
        );
    }
    for line in &spec.fields {
        for mut made in fields(line, spec.kind) {
            // A custom picklist may depend on a standard one, whose name has no suffix.
            if let Some(plain) = line
                .controller
                .as_ref()
                .filter(|plain| object.fields.iter().any(|field| field.name == **plain))
            {
                made.controller = Some(plain.clone());
            }
            match object.fields.iter_mut().find(|field| field.name.eq_ignore_ascii_case(&made.name)) {
                Some(known) => correct(known, made, line.label.is_some()),
                None => {
                    if spec.kind == Kind::Correction {
                        made.permissionable &= standard::is_customizable(object);
                    }
                    object.fields.push(made);
                }
            }
        }
    }
}

/// Takes over what a correction states and keeps what only the list knows.
fn correct(known: &mut Field, made: Field, relabel: bool) {
    if relabel {
        known.label = made.label;
    }
    if !made.reference_to.is_empty() {
        known.reference_to = made.reference_to;
        known.relationship_name = made.relationship_name;
    }
    known.help = made.help.or(known.help.take());
    if !made.picklist.is_empty() {
        known.picklist = made.picklist;
    }
    (known.length, known.precision, known.scale) = (made.length, made.precision, made.scale);
    known.nillable = made.nillable;
    known.permissionable &= made.permissionable;
    known.field_type = made.field_type;
}
