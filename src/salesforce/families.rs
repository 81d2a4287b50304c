//! The ten metadata families, each by its own query and its own call.
//!
//! Promises: the queries are the ones that the org answers whole (no filter by object where the names
//! would not fit into an address, no `Metadata` column, no COUNT where there is none); a row that does
//! not fit fails its family with the row's position, and no other family.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::OrgClient;
use super::error::OrgError;
use super::query::Surface;
use super::soql::{Comparison, Condition, FieldPath, Literal, Select, Source, chunk_names};
use crate::model::{
    Family, FamilyFailure, FieldPermissionRow, FlowRow, LayoutRow, ObjectName, ObjectPermissionRow,
    PermissionSetRow, RecordCountRow, RecordTypeRow, TriggerEvent, TriggerRow, ValidationRuleRow,
    WorkflowRuleRow,
};

/// Object names in one query of field permissions: enough to fill a page, few enough to fit an address.
const NAMES_PER_FIELD_QUERY: usize = 60;
/// Percent-encoded bytes that those names may take.
const NAME_BYTES_PER_FIELD_QUERY: usize = 9_000;

/// A family that could not be read. Ask `source` whether it is worth another try before reporting it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("read the family `{family}`")]
pub struct FamilyError {
    /// Which family.
    pub family: Family,
    /// Why.
    pub source: OrgError,
}

impl From<FamilyError> for FamilyFailure {
    fn from(error: FamilyError) -> Self {
        Self { family: error.family, reason: error.source.to_string() }
    }
}

/// The rows of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "one variant a family; see `Family`")]
pub enum FamilyRows {
    Flows(Vec<FlowRow>),
    Triggers(Vec<TriggerRow>),
    ValidationRules(Vec<ValidationRuleRow>),
    WorkflowRules(Vec<WorkflowRuleRow>),
    RecordTypes(Vec<RecordTypeRow>),
    Layouts(Vec<LayoutRow>),
    PermissionSets(Vec<PermissionSetRow>),
    ObjectPermissions(Vec<ObjectPermissionRow>),
    FieldPermissions(Vec<FieldPermissionRow>),
    RecordCounts(Vec<RecordCountRow>),
}

impl FamilyRows {
    /// Which family these rows are.
    pub fn family(&self) -> Family {
        match self {
            Self::Flows(_) => Family::Flows,
            Self::Triggers(_) => Family::Triggers,
            Self::ValidationRules(_) => Family::ValidationRules,
            Self::WorkflowRules(_) => Family::WorkflowRules,
            Self::RecordTypes(_) => Family::RecordTypes,
            Self::Layouts(_) => Family::Layouts,
            Self::PermissionSets(_) => Family::PermissionSets,
            Self::ObjectPermissions(_) => Family::ObjectPermissions,
            Self::FieldPermissions(_) => Family::FieldPermissions,
            Self::RecordCounts(_) => Family::RecordCounts,
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Flows(rows) => rows.len(),
            Self::Triggers(rows) => rows.len(),
            Self::ValidationRules(rows) => rows.len(),
            Self::WorkflowRules(rows) => rows.len(),
            Self::RecordTypes(rows) => rows.len(),
            Self::Layouts(rows) => rows.len(),
            Self::PermissionSets(rows) => rows.len(),
            Self::ObjectPermissions(rows) => rows.len(),
            Self::FieldPermissions(rows) => rows.len(),
            Self::RecordCounts(rows) => rows.len(),
        }
    }

    /// The org has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads one family whole. `objects` are the objects of the library; only
/// [`Family::FieldPermissions`] needs them, and reads them group after group: call
/// [`read_field_permissions`] for each of [`field_permission_partitions`] to read the groups side by side.
pub async fn read_family(
    client: &OrgClient,
    family: Family,
    objects: &[ObjectName],
) -> Result<FamilyRows, FamilyError> {
    Ok(match family {
        Family::Flows => FamilyRows::Flows(read_flows(client).await?),
        Family::Triggers => FamilyRows::Triggers(read_triggers(client).await?),
        Family::ValidationRules => FamilyRows::ValidationRules(read_validation_rules(client).await?),
        Family::WorkflowRules => FamilyRows::WorkflowRules(read_workflow_rules(client).await?),
        Family::RecordTypes => FamilyRows::RecordTypes(read_record_types(client).await?),
        Family::Layouts => FamilyRows::Layouts(read_layouts(client).await?),
        Family::PermissionSets => FamilyRows::PermissionSets(read_permission_sets(client).await?),
        Family::ObjectPermissions => FamilyRows::ObjectPermissions(read_object_permissions(client).await?),
        Family::FieldPermissions => {
            let mut rows = Vec::new();
            for group in field_permission_partitions(objects) {
                rows.extend(read_field_permissions(client, &group).await?);
            }
            FamilyRows::FieldPermissions(rows)
        }
        Family::RecordCounts => FamilyRows::RecordCounts(read_record_counts(client).await?),
    })
}

/// Flows of every kind that have an active version. The object filter of the view is not used: names of
/// a whole org do not fit into an address, so rows are grouped by the caller.
pub async fn read_flows(client: &OrgClient) -> Result<Vec<FlowRow>, FamilyError> {
    const FIELDS: [FieldPath; 9] = [
        FieldPath::literal("DurableId"),
        FieldPath::literal("ApiName"),
        FieldPath::literal("Label"),
        FieldPath::literal("Description"),
        FieldPath::literal("ProcessType"),
        FieldPath::literal("TriggerType"),
        FieldPath::literal("RecordTriggerType"),
        FieldPath::literal("TriggerObjectOrEvent.QualifiedApiName"),
        FieldPath::literal("IsActive"),
    ];
    const ACTIVE: FieldPath = FieldPath::literal("IsActive");
    let select = Select::new(FIELDS, const { Source::literal("FlowDefinitionView") })
        .filter(Condition::Compare(ACTIVE, Comparison::Equal, Literal::Bool(true)));
    read(client, Family::Flows, Surface::Data, &select, |wire: FlowWire| {
        Ok(FlowRow {
            api_name: wire.api_name,
            label: wire.label.unwrap_or_default(),
            description: wire.description,
            process_type: wire.process_type.unwrap_or_default(),
            trigger_type: wire.trigger_type,
            record_trigger_type: wire.record_trigger_type,
            object: wire.object.map(|object| object.name),
            is_active: wire.is_active,
        })
    })
    .await
}

/// Apex triggers with their bodies. The object comes from the joined entity, because `TableEnumOrId`
/// holds an id for custom objects.
pub async fn read_triggers(client: &OrgClient) -> Result<Vec<TriggerRow>, FamilyError> {
    const FIELDS: [FieldPath; 15] = [
        FieldPath::literal("Id"),
        FieldPath::literal("Name"),
        FieldPath::literal("TableEnumOrId"),
        FieldPath::literal("EntityDefinition.QualifiedApiName"),
        FieldPath::literal("Status"),
        FieldPath::literal("ApiVersion"),
        FieldPath::literal("NamespacePrefix"),
        FieldPath::literal("UsageBeforeInsert"),
        FieldPath::literal("UsageAfterInsert"),
        FieldPath::literal("UsageBeforeUpdate"),
        FieldPath::literal("UsageAfterUpdate"),
        FieldPath::literal("UsageBeforeDelete"),
        FieldPath::literal("UsageAfterDelete"),
        FieldPath::literal("UsageAfterUndelete"),
        FieldPath::literal("Body"),
    ];
    let select = Select::new(FIELDS, const { Source::literal("ApexTrigger") });
    read(client, Family::Triggers, Surface::Tooling, &select, |wire: TriggerWire| {
        let events = wire.events();
        Ok(TriggerRow {
            object: entity_or_table(wire.entity, wire.table)?,
            name: wire.name,
            status: wire.status,
            events,
            // What a managed package hides reads "(hidden)".
            body: wire.body.filter(|body| body != "(hidden)"),
        })
    })
    .await
}

/// Validation rules without their formulas, which would cost one call each.
pub async fn read_validation_rules(client: &OrgClient) -> Result<Vec<ValidationRuleRow>, FamilyError> {
    const FIELDS: [FieldPath; 7] = [
        FieldPath::literal("Id"),
        FieldPath::literal("ValidationName"),
        FieldPath::literal("Active"),
        FieldPath::literal("Description"),
        FieldPath::literal("ErrorMessage"),
        FieldPath::literal("ErrorDisplayField"),
        FieldPath::literal("EntityDefinition.QualifiedApiName"),
    ];
    // No ORDER BY: ordering by the joined entity is a server error.
    let select = Select::new(FIELDS, const { Source::literal("ValidationRule") });
    read(client, Family::ValidationRules, Surface::Tooling, &select, |wire: ValidationRuleWire| {
        Ok(ValidationRuleRow {
            name: wire.name,
            object: entity_or_table(wire.entity, None)?,
            active: wire.active,
            description: wire.description,
            error_message: wire.error_message,
            error_display_field: wire.error_display_field,
        })
    })
    .await
}

/// Workflow rules.
pub async fn read_workflow_rules(client: &OrgClient) -> Result<Vec<WorkflowRuleRow>, FamilyError> {
    const FIELDS: [FieldPath; 3] =
        [FieldPath::literal("Id"), FieldPath::literal("Name"), FieldPath::literal("TableEnumOrId")];
    let select = Select::new(FIELDS, const { Source::literal("WorkflowRule") });
    read(client, Family::WorkflowRules, Surface::Tooling, &select, |wire: TableWire| {
        Ok(WorkflowRuleRow { name: wire.name, object: wire.table })
    })
    .await
}

/// Record types.
pub async fn read_record_types(client: &OrgClient) -> Result<Vec<RecordTypeRow>, FamilyError> {
    const FIELDS: [FieldPath; 6] = [
        FieldPath::literal("Id"),
        FieldPath::literal("Name"),
        FieldPath::literal("DeveloperName"),
        FieldPath::literal("SobjectType"),
        FieldPath::literal("IsActive"),
        FieldPath::literal("Description"),
    ];
    let select = Select::new(FIELDS, const { Source::literal("RecordType") });
    read(client, Family::RecordTypes, Surface::Data, &select, |wire: RecordTypeWire| {
        Ok(RecordTypeRow {
            name: wire.name,
            developer_name: wire.developer_name,
            object: wire.object,
            is_active: wire.is_active,
            description: wire.description,
        })
    })
    .await
}

/// Page layouts.
pub async fn read_layouts(client: &OrgClient) -> Result<Vec<LayoutRow>, FamilyError> {
    const FIELDS: [FieldPath; 3] =
        [FieldPath::literal("Id"), FieldPath::literal("Name"), FieldPath::literal("TableEnumOrId")];
    let select = Select::new(FIELDS, const { Source::literal("Layout") });
    read(client, Family::Layouts, Surface::Tooling, &select, |wire: TableWire| {
        Ok(LayoutRow { name: wire.name, object: wire.table })
    })
    .await
}

/// Permission sets, those that profiles own included: that is how a profile's rights are read.
pub async fn read_permission_sets(client: &OrgClient) -> Result<Vec<PermissionSetRow>, FamilyError> {
    const FIELDS: [FieldPath; 5] = [
        FieldPath::literal("Id"),
        FieldPath::literal("Name"),
        FieldPath::literal("Label"),
        FieldPath::literal("IsOwnedByProfile"),
        FieldPath::literal("Profile.Name"),
    ];
    let select = Select::new(FIELDS, const { Source::literal("PermissionSet") });
    read(client, Family::PermissionSets, Surface::Data, &select, |wire: PermissionSetWire| {
        Ok(PermissionSetRow {
            id: wire.id,
            name: wire.name,
            label: wire.label.unwrap_or_default(),
            profile: wire.profile.filter(|_| wire.is_owned_by_profile).map(|profile| profile.name),
        })
    })
    .await
}

/// Rights on objects; rows exist only for granted access.
pub async fn read_object_permissions(client: &OrgClient) -> Result<Vec<ObjectPermissionRow>, FamilyError> {
    const FIELDS: [FieldPath; 8] = [
        FieldPath::literal("ParentId"),
        FieldPath::literal("SobjectType"),
        FieldPath::literal("PermissionsRead"),
        FieldPath::literal("PermissionsCreate"),
        FieldPath::literal("PermissionsEdit"),
        FieldPath::literal("PermissionsDelete"),
        FieldPath::literal("PermissionsViewAllRecords"),
        FieldPath::literal("PermissionsModifyAllRecords"),
    ];
    let select = Select::new(FIELDS, const { Source::literal("ObjectPermissions") });
    read(client, Family::ObjectPermissions, Surface::Data, &select, |wire: ObjectPermissionWire| {
        Ok(ObjectPermissionRow {
            parent_id: wire.parent_id,
            object: wire.object,
            read: wire.read,
            create: wire.create,
            edit: wire.edit,
            delete: wire.delete,
            view_all: wire.view_all,
            modify_all: wire.modify_all,
        })
    })
    .await
}

/// Groups of objects whose field permissions are read by one query each. Keeps the order; every object
/// is in exactly one group.
pub fn field_permission_partitions(objects: &[ObjectName]) -> Vec<Vec<ObjectName>> {
    chunk_names(objects, NAMES_PER_FIELD_QUERY, NAME_BYTES_PER_FIELD_QUERY)
}

/// Rights on the fields of `objects`, which should be one of [`field_permission_partitions`]; a larger
/// group is refused before a call is made.
pub async fn read_field_permissions(
    client: &OrgClient,
    objects: &[ObjectName],
) -> Result<Vec<FieldPermissionRow>, FamilyError> {
    const FIELDS: [FieldPath; 5] = [
        FieldPath::literal("ParentId"),
        FieldPath::literal("SobjectType"),
        FieldPath::literal("Field"),
        FieldPath::literal("PermissionsRead"),
        FieldPath::literal("PermissionsEdit"),
    ];
    const OBJECT: FieldPath = FieldPath::literal("SobjectType");
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let names = objects.iter().map(Literal::from).collect();
    let select = Select::new(FIELDS, const { Source::literal("FieldPermissions") })
        .filter(Condition::In(OBJECT, names));
    read(client, Family::FieldPermissions, Surface::Data, &select, |wire: FieldPermissionWire| {
        let field = match wire.field.split_once('.') {
            Some((object, field)) if object.eq_ignore_ascii_case(wire.object.as_str()) => field.to_owned(),
            _ => return Err("its `Field` does not start with its object"),
        };
        Ok(FieldPermissionRow {
            parent_id: wire.parent_id,
            object: wire.object,
            field,
            read: wire.read,
            edit: wire.edit,
        })
    })
    .await
}

/// Approximate record counts of every object, by one call.
pub async fn read_record_counts(client: &OrgClient) -> Result<Vec<RecordCountRow>, FamilyError> {
    client.record_counts(None).await.map_err(|source| FamilyError { family: Family::RecordCounts, source })
}

/// Reads every page and turns each row into what the library keeps; a row that does not fit is named by
/// its position.
async fn read<W: DeserializeOwned, R>(
    client: &OrgClient,
    family: Family,
    surface: Surface,
    select: &Select,
    to_row: impl Fn(W) -> Result<R, &'static str>,
) -> Result<Vec<R>, FamilyError> {
    let failed = |source| FamilyError { family, source };
    let soql = select.build().map_err(|error| failed(OrgError::Settings(error.to_string())))?;
    let mut pages = client.query_pages::<W>(surface, &soql);
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await.map_err(failed)? {
        for wire in page.rows {
            let row = to_row(wire).map_err(|reason| {
                failed(OrgError::Unreadable {
                    what: format!("row {} of a query of `{}`", rows.len() + 1, soql.source()),
                    reason: reason.to_owned(),
                    cut_off: false,
                })
            })?;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The object that a rule or trigger belongs to. `table` is an API name for standard objects and an id
/// for custom ones; an id starts with a digit and is no object name.
fn entity_or_table(entity: Option<Entity>, table: Option<String>) -> Result<ObjectName, &'static str> {
    entity
        .map(|entity| entity.name)
        .or_else(|| table.and_then(|table| table.parse().ok()))
        .ok_or("the org does not say to which object it belongs")
}

#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "QualifiedApiName")]
    name: ObjectName,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FlowWire {
    api_name: String,
    label: Option<String>,
    description: Option<String>,
    process_type: Option<String>,
    trigger_type: Option<String>,
    record_trigger_type: Option<String>,
    #[serde(rename = "TriggerObjectOrEvent")]
    object: Option<Entity>,
    is_active: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TriggerWire {
    name: String,
    #[serde(rename = "TableEnumOrId")]
    table: Option<String>,
    #[serde(rename = "EntityDefinition")]
    entity: Option<Entity>,
    status: String,
    usage_before_insert: bool,
    usage_after_insert: bool,
    usage_before_update: bool,
    usage_after_update: bool,
    usage_before_delete: bool,
    usage_after_delete: bool,
    usage_after_undelete: bool,
    body: Option<String>,
}

impl TriggerWire {
    fn events(&self) -> Vec<TriggerEvent> {
        let used = [
            (self.usage_before_insert, TriggerEvent::BeforeInsert),
            (self.usage_after_insert, TriggerEvent::AfterInsert),
            (self.usage_before_update, TriggerEvent::BeforeUpdate),
            (self.usage_after_update, TriggerEvent::AfterUpdate),
            (self.usage_before_delete, TriggerEvent::BeforeDelete),
            (self.usage_after_delete, TriggerEvent::AfterDelete),
            (self.usage_after_undelete, TriggerEvent::AfterUndelete),
        ];
        used.into_iter().filter_map(|(is_used, event)| is_used.then_some(event)).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ValidationRuleWire {
    #[serde(rename = "ValidationName")]
    name: String,
    active: bool,
    description: Option<String>,
    error_message: Option<String>,
    error_display_field: Option<String>,
    #[serde(rename = "EntityDefinition")]
    entity: Option<Entity>,
}

#[derive(Deserialize)]
struct TableWire {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "TableEnumOrId")]
    table: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordTypeWire {
    name: String,
    developer_name: String,
    #[serde(rename = "SobjectType")]
    object: ObjectName,
    is_active: bool,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PermissionSetWire {
    id: String,
    name: String,
    label: Option<String>,
    is_owned_by_profile: bool,
    profile: Option<ProfileWire>,
}

#[derive(Deserialize)]
struct ProfileWire {
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the org's own columns")]
struct ObjectPermissionWire {
    #[serde(rename = "ParentId")]
    parent_id: String,
    #[serde(rename = "SobjectType")]
    object: ObjectName,
    #[serde(rename = "PermissionsRead")]
    read: bool,
    #[serde(rename = "PermissionsCreate")]
    create: bool,
    #[serde(rename = "PermissionsEdit")]
    edit: bool,
    #[serde(rename = "PermissionsDelete")]
    delete: bool,
    #[serde(rename = "PermissionsViewAllRecords")]
    view_all: bool,
    #[serde(rename = "PermissionsModifyAllRecords")]
    modify_all: bool,
}

#[derive(Deserialize)]
struct FieldPermissionWire {
    #[serde(rename = "ParentId")]
    parent_id: String,
    #[serde(rename = "SobjectType")]
    object: ObjectName,
    #[serde(rename = "Field")]
    field: String,
    #[serde(rename = "PermissionsRead")]
    read: bool,
    #[serde(rename = "PermissionsEdit")]
    edit: bool,
}
