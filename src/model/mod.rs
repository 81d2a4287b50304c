//! What penstock talks about: names, described objects, metadata families, documents.
//!
//! Pure data with checked construction: nothing here does I/O, and nothing here knows actors.
//! Text from outside becomes one of these types at the door and is never checked again.

pub mod describe;
pub mod document;
pub mod family;
pub mod name;
pub mod organization;
pub mod soql_condition;

pub use describe::{
    ChildRelationship, FieldDescribe, GlobalObject, ObjectDescribe, PicklistValue, RecordTypeInfo,
};
pub use document::{Document, EmbeddedDocument, Section};
pub use family::{
    Families, Family, FamilyFailure, FieldPermissionRow, FlowRow, LayoutRow, ObjectPermissionRow,
    PermissionSetRow, RecordCountRow, RecordTypeRow, TriggerEvent, TriggerRow, ValidationRuleRow,
    WorkflowRuleRow,
};
pub use name::{ApiVersion, BadName, FieldName, ObjectName, OrgName};
pub use organization::OrganizationId;
