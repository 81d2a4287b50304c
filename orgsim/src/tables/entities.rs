//! EntityDefinition, FieldDefinition, CustomField, Organization.

use super::{Kind::*, LAST_CHANGE_MS, MetaTable, Offered, Parent, col, optional, text};
use crate::{
    ids,
    model::{Field, SObject},
    org::{OrgData, durable_id},
    rows_api::Value,
};

pub(super) const TABLES: &[MetaTable] = &[ENTITY_DEFINITION, FIELD_DEFINITION, CUSTOM_FIELD, ORGANIZATION];

fn entity(org: &OrgData, row: u64) -> &SObject {
    &org.model.objects[row as usize]
}

fn developer_name(name: &str) -> &str {
    name.rsplit_once("__").map_or(name, |(stem, _)| stem)
}

fn customizable(object: &SObject) -> bool {
    object.custom || (object.triggerable && object.associate_type.is_none())
}

const ENTITY_DEFINITION: MetaTable = MetaTable {
    name: "EntityDefinition",
    offered: Offered::Both,
    key_prefix: "4ie",
    id_column: "DurableId",
    len: |org| org.model.objects.len() as u64,
    parents: &[],
    columns: &[
        col("Id", Id, |_, row| Value::Text(ids::numbered("4ie", row + 1))),
        col("DurableId", Id, |org, row| Value::Text(durable_id(entity(org, row)))),
        col("QualifiedApiName", Text, |org, row| text(&entity(org, row).name)),
        col("DeveloperName", Text, |org, row| text(developer_name(&entity(org, row).name))),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("Label", Text, |org, row| text(&entity(org, row).label)),
        col("MasterLabel", Text, |org, row| text(&entity(org, row).label)),
        col("PluralLabel", Text, |org, row| text(&entity(org, row).label_plural)),
        col("Description", Text, |org, row| optional(entity(org, row).description.as_deref())),
        col("KeyPrefix", Text, |org, row| optional(entity(org, row).key_prefix.as_deref())),
        col("IsCustomSetting", Bool, |org, row| Value::Bool(entity(org, row).custom_setting)),
        col("IsQueryable", Bool, |org, row| Value::Bool(entity(org, row).queryable)),
        col("IsRetrieveable", Bool, |org, row| Value::Bool(entity(org, row).queryable)),
        col("IsSearchable", Bool, |org, row| Value::Bool(entity(org, row).searchable)),
        col("IsTriggerable", Bool, |org, row| Value::Bool(entity(org, row).triggerable)),
        col("IsApexTriggerable", Bool, |org, row| Value::Bool(entity(org, row).triggerable)),
        col("IsCustomizable", Bool, |org, row| Value::Bool(customizable(entity(org, row)))),
        col("IsDeprecatedAndHidden", Bool, |_, _| Value::Bool(false)),
        col("InternalSharingModel", Text, |_, _| text("ReadWrite")),
        col("ExternalSharingModel", Text, |_, _| text("Private")),
        col("PublisherId", Text, |org, row| text(if entity(org, row).custom { "<local>" } else { "System" })),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

fn field(org: &OrgData, row: u64) -> &Field {
    org.field_at(row).1
}

fn field_durable_id(org: &OrgData, row: u64) -> String {
    let (object, field) = org.field_at(row);
    let own = if field.custom { custom_field_id(row)[..15].to_owned() } else { field.name.clone() };
    format!("{}.{own}", durable_id(object))
}

fn custom_field_id(row: u64) -> String {
    ids::numbered("00N", row + 1)
}

/// `DataType` is the text of the setup pages, not the describe type.
fn data_type(field: &Field) -> String {
    let target = || field.reference_to.join(",");
    let shown = match field.field_type.as_str() {
        "id" => "Record ID".to_owned(),
        "reference" if field.master_detail.is_some() => format!("Master-Detail({})", target()),
        "reference" => format!("Lookup({})", target()),
        "string" if field.auto_number => "Auto Number".to_owned(),
        "string" | "encryptedstring" => format!("Text({})", field.length),
        "textarea" if field.length > 255 => format!("Long Text Area({})", field.length),
        "textarea" => format!("Text Area({})", field.length),
        "double" => format!("Number({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "int" | "long" => format!("Number({}, 0)", field.precision.max(9)),
        "currency" => format!("Currency({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "percent" => format!("Percent({}, {})", field.precision.saturating_sub(field.scale), field.scale),
        "picklist" | "combobox" => "Picklist".to_owned(),
        "multipicklist" => "Picklist (Multi-Select)".to_owned(),
        "boolean" => "Checkbox".to_owned(),
        "date" => "Date".to_owned(),
        "datetime" => "Date/Time".to_owned(),
        "email" => "Email".to_owned(),
        "phone" => "Phone".to_owned(),
        "url" => format!("URL({})", field.length.max(255)),
        "location" => "Geolocation".to_owned(),
        "address" => "Address".to_owned(),
        other => other.to_owned(),
    };
    if field.formula.is_some() { format!("Formula ({shown})") } else { shown }
}

fn indexed(field: &Field) -> bool {
    field.external_id
        || field.unique
        || field.name_field
        || matches!(field.field_type.as_str(), "id" | "reference")
}

const FIELD_DEFINITION: MetaTable = MetaTable {
    name: "FieldDefinition",
    offered: Offered::Both,
    key_prefix: "4fe",
    id_column: "DurableId",
    len: OrgData::field_total,
    parents: &[Parent {
        relation: "EntityDefinition",
        table: "EntityDefinition",
        row: |org, row| Some(org.object_of_field(row) as u64),
    }],
    columns: &[
        col("Id", Id, |_, row| Value::Text(ids::numbered("4fe", row + 1))),
        col("DurableId", Id, |org, row| Value::Text(field_durable_id(org, row))),
        col("QualifiedApiName", Text, |org, row| text(&field(org, row).name)),
        col("DeveloperName", Text, |org, row| text(developer_name(&field(org, row).name))),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("Label", Text, |org, row| text(&field(org, row).label)),
        col("MasterLabel", Text, |org, row| text(&field(org, row).label)),
        col("DataType", Text, |org, row| Value::Text(data_type(field(org, row)))),
        col("EntityDefinitionId", Id, |org, row| Value::Text(durable_id(org.field_at(row).0))),
        col("Description", Text, |org, row| optional(field(org, row).description.as_deref())),
        col("BusinessOwnerId", Id, |_, _| Value::Null),
        col("SecurityClassification", Text, |_, _| Value::Null),
        col("ComplianceGroup", Text, |_, _| Value::Null),
        col("IsIndexed", Bool, |org, row| Value::Bool(indexed(field(org, row)))),
        col("IsCalculated", Bool, |org, row| Value::Bool(field(org, row).formula.is_some())),
        col("IsNillable", Bool, |org, row| Value::Bool(field(org, row).nillable)),
        col("IsNameField", Bool, |org, row| Value::Bool(field(org, row).name_field)),
        col("Length", Int, |org, row| Value::Int(i64::from(field(org, row).length))),
        col("Precision", Int, |org, row| Value::Int(i64::from(field(org, row).precision))),
        col("Scale", Int, |org, row| Value::Int(i64::from(field(org, row).scale))),
        col("RelationshipName", Text, |org, row| optional(field(org, row).relationship_name.as_deref())),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

/// Custom fields by their number among all fields; ids agree with FieldDefinition's.
fn nth_custom(org: &OrgData, row: u64) -> u64 {
    org.custom_fields[row as usize]
}

fn custom_metadata(org: &OrgData, row: u64) -> Value {
    let (_, field) = org.field_at(nth_custom(org, row));
    let shown = serde_json::json!({
        "label": field.label, "description": field.description, "inlineHelpText": field.help,
        "type": data_type(field).split('(').next().unwrap_or_default().trim(),
        "length": field.length, "precision": field.precision, "scale": field.scale,
        "required": !field.nillable, "unique": field.unique, "externalId": field.external_id, "formula": field.formula,
    });
    Value::Text(shown.to_string())
}

const CUSTOM_FIELD: MetaTable = MetaTable {
    name: "CustomField",
    offered: Offered::Tooling,
    key_prefix: "00N",
    id_column: "Id",
    len: |org| org.custom_fields.len() as u64,
    parents: &[Parent {
        relation: "EntityDefinition",
        table: "EntityDefinition",
        row: |org, row| Some(org.object_of_field(nth_custom(org, row)) as u64),
    }],
    columns: &[
        col("Id", Id, |org, row| Value::Text(custom_field_id(nth_custom(org, row)))),
        col("DeveloperName", Text, |org, row| text(developer_name(&field(org, nth_custom(org, row)).name))),
        col("TableEnumOrId", Id, |org, row| Value::Text(durable_id(org.field_at(nth_custom(org, row)).0))),
        col("EntityDefinitionId", Id, |org, row| {
            Value::Text(durable_id(org.field_at(nth_custom(org, row)).0))
        }),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("Description", Text, |org, row| {
            optional(field(org, nth_custom(org, row)).description.as_deref())
        }),
        col("InlineHelpText", Text, |org, row| optional(field(org, nth_custom(org, row)).help.as_deref())),
        col("Length", Int, |org, row| Value::Int(i64::from(field(org, nth_custom(org, row)).length))),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("FullName", Json, |org, row| {
            let (object, field) = org.field_at(nth_custom(org, row));
            Value::Text(serde_json::Value::from(format!("{}.{}", object.name, field.name)).to_string())
        }),
        col("Metadata", Json, custom_metadata),
    ],
};

const ORGANIZATION: MetaTable = MetaTable {
    name: "Organization",
    offered: Offered::Both,
    key_prefix: "00D",
    id_column: "Id",
    len: |_| 1,
    parents: &[],
    columns: &[
        col("Id", Id, |org, _| text(&org.organization_id)),
        col("Name", Text, |_, _| text("Simulated Org")),
        col("InstanceName", Text, |_, _| text("SIM1")),
        col("OrganizationType", Text, |_, _| text("Developer Edition")),
        col("IsSandbox", Bool, |_, _| Value::Bool(false)),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("TrialExpirationDate", DateTime, |_, _| Value::Null),
        col("LanguageLocaleKey", Text, |_, _| text("en_US")),
        col("TimeZoneSidKey", Text, |_, _| text("GMT")),
        col("FiscalYearStartMonth", Int, |_, _| Value::Int(1)),
        col("CreatedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};
