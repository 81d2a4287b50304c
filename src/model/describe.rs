//! Described objects: the part of the org's global describe and describe answers that penstock keeps.
//!
//! Field names follow the wire (`camelCase`), so the same types read an org's answer and the cache's
//! copy of it. Keys that are not listed here are dropped while reading; lists that an org leaves out
//! are empty. Source: Salesforce REST API reference, sObject Describe.

use serde::{Deserialize, Serialize};

use super::name::{FieldName, ObjectName};

/// One entry of `GET /sobjects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalObject {
    /// API name.
    pub name: ObjectName,
    /// Label in the singular.
    #[serde(default)]
    pub label: String,
    /// First three characters of this object's record ids; absent for objects without records.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// Made in this org or by a package, not by Salesforce.
    #[serde(default)]
    pub custom: bool,
    /// A custom setting, which looks like a custom object.
    #[serde(default)]
    pub custom_setting: bool,
    /// May be named in FROM.
    #[serde(default)]
    pub queryable: bool,
    /// Retired by Salesforce and hidden from users.
    #[serde(default)]
    pub deprecated_and_hidden: bool,
}

/// The answer of `GET /sobjects/{name}/describe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectDescribe {
    /// API name.
    pub name: ObjectName,
    /// Label in the singular.
    #[serde(default)]
    pub label: String,
    /// Label in the plural.
    #[serde(default)]
    pub label_plural: String,
    /// First three characters of this object's record ids.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// Made in this org or by a package.
    #[serde(default)]
    pub custom: bool,
    /// A custom setting.
    #[serde(default)]
    pub custom_setting: bool,
    /// May be named in FROM.
    #[serde(default)]
    pub queryable: bool,
    /// May be searched with SOSL.
    #[serde(default)]
    pub searchable: bool,
    /// Records may be created through the API by the user who asked.
    #[serde(default)]
    pub createable: bool,
    /// Records may be updated by the user who asked.
    #[serde(default)]
    pub updateable: bool,
    /// Records may be deleted by the user who asked.
    #[serde(default)]
    pub deletable: bool,
    /// Apex triggers can be written for it.
    #[serde(default)]
    pub triggerable: bool,
    /// Deleted and updated records can be listed with getUpdated and getDeleted.
    #[serde(default)]
    pub replicateable: bool,
    /// The object this one accompanies: `Account` for `AccountHistory`.
    #[serde(default)]
    pub associate_parent_entity: Option<String>,
    /// Fields in the org's order.
    pub fields: Vec<FieldDescribe>,
    /// Who points here.
    #[serde(default)]
    pub child_relationships: Vec<ChildRelationship>,
    /// Record types, the master one included.
    #[serde(default)]
    pub record_type_infos: Vec<RecordTypeInfo>,
}

/// One field of a describe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldDescribe {
    /// API name.
    pub name: FieldName,
    /// Label.
    #[serde(default)]
    pub label: String,
    /// Wire type: `string`, `picklist`, `reference`, `currency`, ... Unknown ones are kept as they come.
    #[serde(rename = "type")]
    pub field_type: String,
    /// Longest text in characters; 0 where it means nothing.
    #[serde(default)]
    pub length: u32,
    /// Digits in all, for numbers.
    #[serde(default)]
    pub precision: u32,
    /// Digits after the point, for numbers.
    #[serde(default)]
    pub scale: u32,
    /// May be empty.
    #[serde(default)]
    pub nillable: bool,
    /// May be set on create.
    #[serde(default)]
    pub createable: bool,
    /// May be changed.
    #[serde(default)]
    pub updateable: bool,
    /// A default fills it when a create leaves it out.
    #[serde(default)]
    pub defaulted_on_create: bool,
    /// Computed by a formula or roll-up.
    #[serde(default)]
    pub calculated: bool,
    /// The formula's text, where the org gives it.
    #[serde(default)]
    pub calculated_formula: Option<String>,
    /// Numbered by the org.
    #[serde(default)]
    pub auto_number: bool,
    /// Made in this org or by a package.
    #[serde(default)]
    pub custom: bool,
    /// External id: an upsert may name it.
    #[serde(default)]
    pub external_id: bool,
    /// No two records share a value.
    #[serde(default)]
    pub unique: bool,
    /// Text stored encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// The field that stands for the record, such as `Name` or `CaseNumber`.
    #[serde(default)]
    pub name_field: bool,
    /// COUNT, MIN and MAX may name it.
    #[serde(default)]
    pub aggregatable: bool,
    /// Field-level security applies; `false` means everyone who sees the object sees the field.
    #[serde(default)]
    pub permissionable: bool,
    /// Help text that users see beside the field.
    #[serde(default)]
    pub inline_help_text: Option<String>,
    /// Objects that a reference may point at; several make it polymorphic.
    #[serde(default)]
    pub reference_to: Vec<String>,
    /// Name by which a query walks the reference: `Account` in `Account.Name`.
    #[serde(default)]
    pub relationship_name: Option<String>,
    /// Position among the master-detail fields (0 or 1); absent for a lookup.
    #[serde(default)]
    pub relationship_order: Option<u32>,
    /// Deleting the parent deletes this record.
    #[serde(default)]
    pub cascade_delete: bool,
    /// The compound field this one is part of: `BillingAddress` for `BillingCity`.
    #[serde(default)]
    pub compound_field_name: Option<String>,
    /// The field whose value decides which picklist values are offered.
    #[serde(default)]
    pub controller_name: Option<String>,
    /// Values of a picklist, active and inactive.
    #[serde(default)]
    pub picklist_values: Vec<PicklistValue>,
    /// Only listed values are accepted.
    #[serde(default)]
    pub restricted_picklist: bool,
}

/// One value of a picklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PicklistValue {
    /// What is stored.
    pub value: String,
    /// What users see; an org may leave it out when it equals the value.
    #[serde(default)]
    pub label: Option<String>,
    /// Offered for new records.
    #[serde(default)]
    pub active: bool,
    /// Preselected.
    #[serde(default)]
    pub default_value: bool,
}

/// One object that points at the described one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildRelationship {
    /// The pointing object. Not an [`ObjectName`] because orgs list names here that exist nowhere else.
    #[serde(rename = "childSObject")]
    pub child_object: String,
    /// The pointing field.
    pub field: String,
    /// Name for a sub-query, such as `Contacts`; absent where none is possible.
    #[serde(default)]
    pub relationship_name: Option<String>,
    /// Deleting the described record deletes the child: a master-detail.
    #[serde(default)]
    pub cascade_delete: bool,
}

/// One record type as the describing user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordTypeInfo {
    /// Label.
    pub name: String,
    /// API name; absent in old API versions.
    #[serde(default)]
    pub developer_name: Option<String>,
    /// May be chosen.
    #[serde(default)]
    pub active: bool,
    /// The built-in one that stands for "no record type".
    #[serde(default)]
    pub master: bool,
}
