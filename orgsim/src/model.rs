//! The simulated org as data: objects, fields, automation, security. No HTTP, no SOQL, no clock.
//!
//! Made by [`crate::catalog`], read by the endpoints. Rows of ordinary objects are not stored here:
//! they are computed from an index by seed (see [`crate::rows`]).

use crate::fields::Fields;
use std::collections::HashMap;

/// A whole org's metadata.
#[derive(Debug, Default)]
pub struct OrgModel {
    /// Objects, sorted by API name.
    pub objects: Vec<SObject>,
    /// Position in `objects` by lower-case API name. Kept by [`OrgModel::finish`].
    pub by_name: HashMap<String, usize>,
    /// Flows.
    pub flows: Vec<Flow>,
    /// Apex triggers.
    pub triggers: Vec<ApexTrigger>,
    /// Validation rules.
    pub validation_rules: Vec<ValidationRule>,
    /// Workflow rules.
    pub workflow_rules: Vec<WorkflowRule>,
    /// Page layouts.
    pub layouts: Vec<Layout>,
    /// Record types.
    pub record_types: Vec<RecordType>,
    /// Permission sets, the hidden ones of profiles included.
    pub permission_sets: Vec<PermissionSet>,
    /// Granted object access.
    pub object_permissions: Vec<ObjectPermission>,
    /// Granted field access.
    pub field_permissions: Vec<FieldPermission>,
}

impl OrgModel {
    /// Sorts the objects and rebuilds the index. Call after the last object was added.
    pub fn finish(&mut self) {
        self.objects.sort_by(|a, b| a.name.cmp(&b.name));
        self.by_name = self
            .objects
            .iter()
            .enumerate()
            .map(|(at, object)| (object.name.to_ascii_lowercase(), at))
            .collect();
    }

    /// Finds an object by API name, whatever the case.
    pub fn object(&self, name: &str) -> Option<&SObject> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|&at| &self.objects[at])
    }
}

/// One object.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the describe's own flags")]
pub struct SObject {
    /// API name.
    pub name: String,
    /// Label, singular.
    pub label: String,
    /// Label, plural.
    pub label_plural: String,
    /// What its author wrote about it (EntityDefinition has it, describe does not).
    pub description: Option<String>,
    /// First three characters of record ids.
    pub key_prefix: Option<String>,
    /// Custom object.
    pub custom: bool,
    /// Custom setting.
    pub custom_setting: bool,
    /// May be named in FROM.
    pub queryable: bool,
    /// May be searched.
    pub searchable: bool,
    /// Records may be written.
    pub createable: bool,
    /// Triggers can be written for it.
    pub triggerable: bool,
    /// The object this one accompanies (`Account` for `AccountHistory`).
    pub associate_parent: Option<String>,
    /// `History`, `Share`, `Feed`, `ChangeEvent` for companions.
    pub associate_type: Option<String>,
    /// Tooling id `01I...` of a custom object.
    pub durable_id: String,
    /// Fields in order.
    pub fields: Fields,
    /// Who points here.
    pub children: Vec<Child>,
    /// Number of simulated records.
    pub record_count: u64,
}

/// One field.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the describe's own flags")]
pub struct Field {
    /// API name.
    pub name: String,
    /// Label.
    pub label: String,
    /// Describe type: `string`, `picklist`, `reference`, ...
    pub field_type: String,
    /// Characters.
    pub length: u32,
    /// Digits.
    pub precision: u32,
    /// Digits after the point.
    pub scale: u32,
    /// May be null.
    pub nillable: bool,
    /// A default fills it on create.
    pub defaulted_on_create: bool,
    /// May be written.
    pub createable: bool,
    /// May be changed.
    pub updateable: bool,
    /// Custom field.
    pub custom: bool,
    /// External id.
    pub external_id: bool,
    /// Unique.
    pub unique: bool,
    /// Stands for the record.
    pub name_field: bool,
    /// Numbered by the org.
    pub auto_number: bool,
    /// Formula or roll-up text.
    pub formula: Option<String>,
    /// Help text beside the field.
    pub help: Option<String>,
    /// What its author wrote about it.
    pub description: Option<String>,
    /// Targets of a reference.
    pub reference_to: Vec<String>,
    /// Name for parent queries.
    pub relationship_name: Option<String>,
    /// Master-detail: position 0 or 1.
    pub master_detail: Option<u32>,
    /// Picklist values, in order: value and label.
    pub picklist: Vec<(String, String)>,
    /// Only listed values.
    pub restricted_picklist: bool,
    /// The compound this is part of.
    pub compound: Option<String>,
    /// The controlling picklist.
    pub controller: Option<String>,
    /// Field-level security applies.
    pub permissionable: bool,
    /// What it was when its rows' values were made, where it has been changed since.
    pub made_as: Option<Box<Field>>,
}

impl Field {
    /// The field by which values of rows are made up: a wider one does not change what rows hold.
    #[must_use]
    pub fn as_made(&self) -> &Self {
        self.made_as.as_deref().unwrap_or(self)
    }
}

/// An incoming relationship.
#[derive(Debug, Clone)]
pub struct Child {
    /// Pointing object.
    pub object: String,
    /// Pointing field.
    pub field: String,
    /// Sub-query name.
    pub relationship_name: Option<String>,
    /// Master-detail.
    pub cascade_delete: bool,
}

/// A flow (one active version).
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of FlowDefinitionView")]
pub struct Flow {
    pub durable_id: String,
    pub version_id: String,
    pub api_name: String,
    pub label: String,
    pub description: Option<String>,
    pub process_type: String,
    pub trigger_type: Option<String>,
    pub record_trigger_type: Option<String>,
    pub object: Option<String>,
    pub is_active: bool,
}

/// An Apex trigger; `events` holds any of `BeforeInsert`, `AfterInsert`, `BeforeUpdate`, ...
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of ApexTrigger")]
pub struct ApexTrigger {
    pub id: String,
    pub name: String,
    pub object: String,
    pub status: String,
    pub api_version: f64,
    pub events: Vec<String>,
    pub body: String,
}

/// A validation rule.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of ValidationRule")]
pub struct ValidationRule {
    pub id: String,
    pub name: String,
    pub object: String,
    pub active: bool,
    pub description: Option<String>,
    pub error_message: String,
    pub error_display_field: Option<String>,
    pub formula: String,
}

/// A workflow rule.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of WorkflowRule")]
pub struct WorkflowRule {
    pub id: String,
    pub name: String,
    pub object: String,
}

/// A page layout.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of Layout")]
pub struct Layout {
    pub id: String,
    pub name: String,
    pub object: String,
}

/// A record type.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of RecordType")]
pub struct RecordType {
    pub id: String,
    pub name: String,
    pub developer_name: String,
    pub object: String,
    pub is_active: bool,
    pub description: Option<String>,
}

/// A permission set, or the hidden one of a profile.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of PermissionSet")]
pub struct PermissionSet {
    pub id: String,
    pub name: String,
    pub label: String,
    pub profile_id: Option<String>,
    pub profile_name: Option<String>,
}

/// Granted object access; `set` is the position in `permission_sets`, `object` in `objects`.
#[derive(Debug, Clone)]
#[allow(missing_docs, clippy::struct_excessive_bools, reason = "the columns of ObjectPermissions")]
pub struct ObjectPermission {
    pub set: usize,
    pub object: String,
    pub read: bool,
    pub create: bool,
    pub edit: bool,
    pub delete: bool,
    pub view_all: bool,
    pub modify_all: bool,
}

/// Granted field access.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the columns of FieldPermissions")]
pub struct FieldPermission {
    pub set: usize,
    pub object: String,
    pub field: String,
    pub read: bool,
    pub edit: bool,
}
