//! Metadata families: the org-wide lists that are read once and joined to every object.
//!
//! A family that could not be read carries its reason instead of rows, so that it is reported and
//! never mistaken for "none", and so that one failing family does not empty the others.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::ObjectName;

/// The closed set of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Record-triggered and other flows, from `FlowDefinitionView`.
    Flows,
    /// Apex triggers with their bodies.
    Triggers,
    /// Validation rules (Tooling).
    ValidationRules,
    /// Workflow rules (Tooling).
    WorkflowRules,
    /// Record types.
    RecordTypes,
    /// Page layouts (Tooling).
    Layouts,
    /// Permission sets, those owned by profiles included.
    PermissionSets,
    /// Create, read, edit, delete per permission set and object.
    ObjectPermissions,
    /// Read and edit per permission set and field.
    FieldPermissions,
    /// Approximate record counts.
    RecordCounts,
}

impl Family {
    /// Every family, in the order in which reports list them.
    pub const ALL: [Self; 10] = [
        Self::Flows,
        Self::Triggers,
        Self::ValidationRules,
        Self::WorkflowRules,
        Self::RecordTypes,
        Self::Layouts,
        Self::PermissionSets,
        Self::ObjectPermissions,
        Self::FieldPermissions,
        Self::RecordCounts,
    ];

    /// The name used in reports, cache keys and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Triggers => "triggers",
            Self::ValidationRules => "validation_rules",
            Self::WorkflowRules => "workflow_rules",
            Self::RecordTypes => "record_types",
            Self::Layouts => "layouts",
            Self::PermissionSets => "permission_sets",
            Self::ObjectPermissions => "object_permissions",
            Self::FieldPermissions => "field_permissions",
            Self::RecordCounts => "record_counts",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a family has no rows to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{family} could not be read: {reason}")]
pub struct FamilyFailure {
    /// Which family.
    pub family: Family,
    /// The org's own words.
    pub reason: String,
}

/// A flow, from `FlowDefinitionView`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// API name.
    pub api_name: String,
    /// Label.
    pub label: String,
    /// What its author wrote about it.
    pub description: Option<String>,
    /// `AutoLaunchedFlow`, `Flow` (screen), `Workflow` (Process Builder), ...
    pub process_type: String,
    /// `RecordBeforeSave`, `RecordAfterSave`, `RecordBeforeDelete`, `Scheduled`, `PlatformEvent`.
    pub trigger_type: Option<String>,
    /// `Create`, `Update`, `CreateAndUpdate`, `Delete`.
    pub record_trigger_type: Option<String>,
    /// The object or platform event that starts it.
    pub object: Option<ObjectName>,
    /// The active version runs.
    pub is_active: bool,
}

/// When a trigger runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each name says it all")]
pub enum TriggerEvent {
    BeforeInsert,
    AfterInsert,
    BeforeUpdate,
    AfterUpdate,
    BeforeDelete,
    AfterDelete,
    AfterUndelete,
}

impl TriggerEvent {
    /// As Apex spells it, such as `before insert`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeInsert => "before insert",
            Self::AfterInsert => "after insert",
            Self::BeforeUpdate => "before update",
            Self::AfterUpdate => "after update",
            Self::BeforeDelete => "before delete",
            Self::AfterDelete => "after delete",
            Self::AfterUndelete => "after undelete",
        }
    }
}

/// An Apex trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRow {
    /// Name.
    pub name: String,
    /// The object it watches.
    pub object: ObjectName,
    /// `Active` or `Inactive`.
    pub status: String,
    /// Events, in Apex's order.
    pub events: Vec<TriggerEvent>,
    /// Source text; `None` for managed packages, which hide it.
    pub body: Option<String>,
}

/// A validation rule. Its formula costs one call a rule and is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationRuleRow {
    /// API name.
    pub name: String,
    /// The object it guards.
    pub object: ObjectName,
    /// Runs.
    pub active: bool,
    /// What its author wrote about it.
    pub description: Option<String>,
    /// What a user reads when it fires.
    pub error_message: Option<String>,
    /// The field beside which the message stands.
    pub error_display_field: Option<String>,
}

/// A workflow rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRuleRow {
    /// Name.
    pub name: String,
    /// API name, or an `01I` id for a custom object whose name the org did not give.
    pub object: String,
}

/// A record type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordTypeRow {
    /// Label.
    pub name: String,
    /// API name.
    pub developer_name: String,
    /// The object it belongs to.
    pub object: ObjectName,
    /// May be chosen.
    pub is_active: bool,
    /// What its author wrote about it.
    pub description: Option<String>,
}

/// A page layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutRow {
    /// Name.
    pub name: String,
    /// API name, or an `01I` id for a custom object.
    pub object: String,
}

/// A permission set, or the hidden one that a profile owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionSetRow {
    /// Record id, 18 characters.
    pub id: String,
    /// API name.
    pub name: String,
    /// Label.
    pub label: String,
    /// The profile's name when a profile owns it.
    pub profile: Option<String>,
}

/// What one permission set grants on one object. Rows exist only for granted access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the org's own columns")]
pub struct ObjectPermissionRow {
    /// Id of the permission set.
    pub parent_id: String,
    /// The object.
    pub object: ObjectName,
    /// Read.
    pub read: bool,
    /// Create.
    pub create: bool,
    /// Edit.
    pub edit: bool,
    /// Delete.
    pub delete: bool,
    /// See every record whatever the sharing.
    pub view_all: bool,
    /// Change every record whatever the sharing.
    pub modify_all: bool,
}

/// What one permission set grants on one field. No row means no access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldPermissionRow {
    /// Id of the permission set.
    pub parent_id: String,
    /// The object.
    pub object: ObjectName,
    /// The field without its object.
    pub field: String,
    /// Read.
    pub read: bool,
    /// Edit.
    pub edit: bool,
}

/// The org's cached, approximate record count of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCountRow {
    /// The object.
    pub object: ObjectName,
    /// Records, without recycle bin and archive.
    pub count: u64,
}

/// All families of one org, each with its rows or its failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "one field a family; see `Family`")]
pub struct Families {
    pub flows: Result<Vec<FlowRow>, FamilyFailure>,
    pub triggers: Result<Vec<TriggerRow>, FamilyFailure>,
    pub validation_rules: Result<Vec<ValidationRuleRow>, FamilyFailure>,
    pub workflow_rules: Result<Vec<WorkflowRuleRow>, FamilyFailure>,
    pub record_types: Result<Vec<RecordTypeRow>, FamilyFailure>,
    pub layouts: Result<Vec<LayoutRow>, FamilyFailure>,
    pub permission_sets: Result<Vec<PermissionSetRow>, FamilyFailure>,
    pub object_permissions: Result<Vec<ObjectPermissionRow>, FamilyFailure>,
    pub field_permissions: Result<Vec<FieldPermissionRow>, FamilyFailure>,
    pub record_counts: Result<Vec<RecordCountRow>, FamilyFailure>,
}
