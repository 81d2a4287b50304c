//! Fields that come, go and change while the org runs. `POST /__sim/schema` takes one [`Change`] or a list of them.
//!
//! Promises: describe, SOQL, Bulk and writes know of a change at the next request, and `Last-Modified` of describes says
//! when it was; a field that is gone is `INVALID_FIELD` in the org's words; a wider field keeps the values that its rows
//! have, a field of another type is a new one with values of its own; neither moves a stamp of a row, as at a real org.
//! The tables of metadata (`FieldDefinition` and its kin) stay those of the start.

use crate::{answer::Answer, model::Field, org::OrgData, site::Site};
use serde::Deserialize;
use serde_json::json;

/// Types a field may be made of.
const TYPES: [&str; 16] = [
    "string",
    "textarea",
    "boolean",
    "int",
    "long",
    "double",
    "currency",
    "percent",
    "date",
    "datetime",
    "time",
    "phone",
    "url",
    "email",
    "picklist",
    "multipicklist",
];
/// Fields that every record has; nobody can change them.
const FIXED: [&str; 4] = ["CreatedDate", "LastModifiedDate", "SystemModstamp", "IsDeleted"];

/// One change to the fields of an object: exactly one of `add`, `remove` and `change`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    object: String,
    #[serde(default)]
    add: Option<Wanted>,
    #[serde(default)]
    remove: Option<String>,
    #[serde(default)]
    change: Option<Wanted>,
}

/// What a field is to be; what is not said stays, or is what a new field usually is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default, rename = "type")]
    field_type: Option<String>,
    #[serde(default)]
    length: Option<u32>,
    #[serde(default)]
    precision: Option<u32>,
    #[serde(default)]
    scale: Option<u32>,
    #[serde(default)]
    formula: Option<String>,
    #[serde(default)]
    picklist: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Changes {
    Many(Vec<Change>),
    One(Box<Change>),
}

/// Answers `POST /__sim/schema`.
pub fn control(site: &Site, body: &[u8]) -> Answer {
    const KIND: &str = "sim";
    let changes = match serde_json::from_slice::<Changes>(body) {
        Ok(Changes::Many(changes)) => changes,
        Ok(Changes::One(change)) => vec![*change],
        Err(error) => return Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &error.to_string()),
    };
    for change in &changes {
        if let Err(message) = apply(&site.org, change) {
            // Changes before it in the list stand.
            site.schema_changed();
            return Answer::error(KIND, 400, "BAD_CONTROL_REQUEST", &message);
        }
    }
    site.schema_changed();
    Answer::json(KIND, &json!({ "ok": true }))
}

fn apply(org: &OrgData, change: &Change) -> Result<(), String> {
    let at = org.position(&change.object).ok_or_else(|| format!("no object `{}`", change.object))?;
    let _one_at_a_time = org.changing_schema();
    let fields = &org.model.objects[at].fields;
    let known = |name: &str| {
        let found = org.existing_field(at, name);
        found.ok_or_else(|| format!("no field `{name}` of `{}`", change.object))
    };
    let replaced =
        |next: Vec<Field>| fields.replace(next).map_err(|()| "another change came between".to_owned());
    match (&change.add, &change.remove, &change.change) {
        (Some(wanted), None, None) => {
            if org.existing_field(at, &wanted.name).is_some() {
                return Err(format!("`{}` has a field `{}` already", change.object, wanted.name));
            }
            if !wanted.name.ends_with("__c") {
                return Err(format!("`{}` does not end in `__c`, as fields that are added do", wanted.name));
            }
            let mut next = fields.to_vec();
            next.push(made(wanted)?);
            replaced(next)
        }
        (None, Some(name), None) => {
            let found = known(name)?;
            changeable(&fields[found])?;
            org.remove_field(at, found);
            Ok(())
        }
        (None, None, Some(wanted)) => {
            let found = known(&wanted.name)?;
            let before = &fields[found];
            changeable(before)?;
            let mut after = before.clone();
            let is_other = wanted.field_type.as_ref().is_some_and(|kind| *kind != before.field_type);
            if is_other {
                // Values of the old type mean nothing to the new one.
                after = made(wanted)?;
                (after.name, after.custom) = (before.name.clone(), before.custom);
            } else {
                after.made_as = Some(Box::new(before.as_made().clone()));
                after.length = wanted.length.unwrap_or(before.length);
                after.precision = wanted.precision.unwrap_or(before.precision);
                after.scale = wanted.scale.unwrap_or(before.scale);
                after.formula = wanted.formula.clone().or(after.formula);
            }
            let mut next = fields.to_vec();
            if is_other {
                next.push(after)
            } else {
                next[found] = after
            }
            replaced(next)?;
            if is_other {
                org.remove_field(at, found);
            }
            Ok(())
        }
        _ => Err("give one of `add`, `remove` and `change`".to_owned()),
    }
}

fn changeable(field: &Field) -> Result<(), String> {
    let is_fixed = field.field_type == "id" || field.name_field || FIXED.contains(&field.name.as_str());
    if is_fixed { Err(format!("`{}` cannot be changed or removed", field.name)) } else { Ok(()) }
}

/// A new field, as the org makes one unless it is told otherwise.
fn made(wanted: &Wanted) -> Result<Field, String> {
    let kind = wanted.field_type.as_deref().unwrap_or("string");
    if !TYPES.contains(&kind) {
        return Err(format!("no type `{kind}` for a field; there are {}", TYPES.join(", ")));
    }
    let is_number = matches!(kind, "double" | "currency" | "percent");
    let (precision, scale) = if is_number { (18, 2) } else { (0, 0) };
    let length = match kind {
        "string" | "textarea" | "picklist" | "url" => 255,
        "phone" => 40,
        "email" => 80,
        "multipicklist" => 4_099,
        _ => 0,
    };
    let is_written = wanted.formula.is_none();
    Ok(Field {
        name: wanted.name.clone(),
        label: crate::catalog::label_of(&wanted.name),
        field_type: kind.to_owned(),
        length: wanted.length.unwrap_or(length),
        precision: wanted.precision.unwrap_or(precision),
        scale: wanted.scale.unwrap_or(scale),
        nillable: kind != "boolean",
        defaulted_on_create: kind == "boolean",
        createable: is_written,
        updateable: is_written,
        custom: true,
        formula: wanted.formula.clone(),
        picklist: wanted.picklist.iter().map(|value| (value.clone(), value.clone())).collect(),
        permissionable: true,
        ..Field::default()
    })
}
