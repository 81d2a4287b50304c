//! The standard objects: 474 with their fields and references from an embedded list of facts,
//! then corrected by hand where people look (`data/standard-corrections.txt`).
//!
//! The list holds names, guessed types and references; labels come from the API names, lengths from
//! the kind of text. See `data/README.md` for where the facts come from.

use std::collections::HashMap;

use serde::Deserialize;

use super::{CatalogError, labels};
use crate::model::{Field, SObject};

const PACKED: &[u8] = include_bytes!("../../data/standard-objects.json.zst");
/// Room for the unpacked list; the list itself is 671 kB.
const UNPACKED_MAX_BYTES: usize = 4 << 20;

/// Key prefixes that integrations know by heart; the others are handed out.
const KNOWN_PREFIXES: &[(&str, &str)] = &[
    ("Account", "001"),
    ("Note", "002"),
    ("Contact", "003"),
    ("User", "005"),
    ("Opportunity", "006"),
    ("OpportunityHistory", "008"),
    ("Organization", "00D"),
    ("Group", "00G"),
    ("UserRole", "00E"),
    ("CampaignMember", "00v"),
    ("Profile", "00e"),
    ("Lead", "00Q"),
    ("OpportunityLineItem", "00k"),
    ("OpportunityContactRole", "00K"),
    ("Folder", "00l"),
    ("Report", "00O"),
    ("Attachment", "00P"),
    ("Task", "00T"),
    ("Event", "00U"),
    ("EmailTemplate", "00X"),
    ("CaseComment", "00a"),
    ("ListView", "00B"),
    ("WebLink", "00b"),
    ("RecordType", "012"),
    ("Document", "015"),
    ("Dashboard", "01Z"),
    ("Product2", "01t"),
    ("Pricebook2", "01s"),
    ("PricebookEntry", "01u"),
    ("ApexClass", "01p"),
    ("ApexTrigger", "01q"),
    ("ApexPage", "066"),
    ("BusinessHours", "01m"),
    ("CampaignMemberStatus", "01Y"),
    ("Asset", "02i"),
    ("EmailMessage", "02s"),
    ("ContentVersion", "068"),
    ("ContentDocument", "069"),
    ("StaticResource", "081"),
    ("FeedItem", "0D5"),
    ("FeedComment", "0D7"),
    ("CollaborationGroup", "0F9"),
    ("PermissionSet", "0PS"),
    ("PermissionSetAssignment", "0Pa"),
    ("ObjectPermissions", "110"),
    ("FieldPermissions", "01k"),
    ("Topic", "0TO"),
    ("Individual", "0PK"),
    ("Case", "500"),
    ("Solution", "501"),
    ("Entitlement", "550"),
    ("Campaign", "701"),
    ("Contract", "800"),
    ("Order", "801"),
    ("OrderItem", "802"),
    ("ServiceContract", "810"),
    ("ContractLineItem", "811"),
    ("WorkOrder", "0WO"),
    ("WorkOrderLineItem", "1WL"),
    ("AsyncApexJob", "707"),
    ("ApexLog", "07L"),
    ("CronTrigger", "08e"),
    ("ProcessInstance", "04g"),
    ("ContentDocumentLink", "06A"),
    ("Knowledge__kav", "ka0"),
];

/// Objects of the list that are views, reports of the platform or bases of others: no rows of their own.
const VIRTUAL: &[&str] = &[
    "AggregateResult",
    "Name",
    "ActivityHistory",
    "OpenActivity",
    "NoteAndAttachment",
    "LookedUpFromActivity",
    "AttachedContentDocument",
    "CombinedAttachment",
    "FolderedContentDocument",
    "OwnedContentDocument",
    "EntityDefinition",
    "FieldDefinition",
    "EntityParticle",
    "RelationshipDomain",
    "RelationshipInfo",
    "PicklistValueInfo",
    "SearchLayout",
    "SiteDetail",
    "UserEntityAccess",
    "UserFieldAccess",
    "UserRecordAccess",
    "OwnerChangeOptionInfo",
    "PlatformAction",
    "IconDefinition",
    "ColorDefinition",
    "DataStatistics",
    "Publisher",
    "TabDefinition",
    "AppDefinition",
    "DataType",
    "EmailStatus",
    "Vote",
    "RecentlyViewed",
    "AcceptedEventRelation",
    "DeclinedEventRelation",
    "UndecidedEventRelation",
    "AuraDefinitionInfo",
    "AuraDefinitionBundleInfo",
    "ApexPageInfo",
    "ChatterActivity",
    "ContentBody",
    "UserPermissionAccess",
];

/// Setup and bookkeeping: known prefixes, but no triggers, layouts or object permissions.
const SETUP: &[&str] = &[
    "Note",
    "Organization",
    "Group",
    "UserRole",
    "Profile",
    "Folder",
    "Report",
    "ListView",
    "WebLink",
    "RecordType",
    "Document",
    "Dashboard",
    "ApexClass",
    "ApexTrigger",
    "ApexPage",
    "ApexLog",
    "AsyncApexJob",
    "CronTrigger",
    "BusinessHours",
    "StaticResource",
    "PermissionSet",
    "PermissionSetAssignment",
    "ObjectPermissions",
    "FieldPermissions",
    "EmailTemplate",
    "ProcessInstance",
    "OpportunityHistory",
    "CampaignMemberStatus",
    "ContentDocumentLink",
    "Attachment",
];

/// Fields the org fills and nobody writes.
const SYSTEM_FIELDS: &[&str] = &[
    "Id",
    "IsDeleted",
    "CreatedDate",
    "CreatedById",
    "LastModifiedDate",
    "LastModifiedById",
    "SystemModstamp",
    "LastViewedDate",
    "LastReferencedDate",
    "LastActivityDate",
    "MasterRecordId",
    "PhotoUrl",
    "IsConverted",
    "ConvertedDate",
    "ConvertedAccountId",
    "ConvertedContactId",
    "ConvertedOpportunityId",
    "IsClosed",
    "IsWon",
    "HasOpenActivity",
    "HasOverdueTask",
    "HasOpportunityLineItem",
    "FiscalQuarter",
    "FiscalYear",
    "Fiscal",
    "IsUnreadByOwner",
    "CaseNumber",
    "ContractNumber",
    "OrderNumber",
    "WorkOrderNumber",
    "ClosedDate",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedObject {
    name: String,
    fields: Vec<ListedField>,
    child_relationships: Vec<ListedChild>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedField {
    name: String,
    #[serde(rename = "type")]
    field_type: String,
    nillable: bool,
    #[serde(default)]
    reference_to: Vec<String>,
    #[serde(default)]
    relationship_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedChild {
    relationship_name: String,
    #[serde(rename = "childSObject")]
    child_object: String,
}

/// The standard objects and the names of their child relationships.
#[derive(Debug)]
pub struct StandardObjects {
    /// Objects in the order of the list, without children.
    pub objects: Vec<SObject>,
    /// Names of relationships by (parent, child), in the list's order.
    pub relationship_names: HashMap<(String, String), Vec<String>>,
}

/// Unpacks the embedded list.
///
/// # Errors
/// When the embedded list is damaged.
pub fn load() -> Result<StandardObjects, CatalogError> {
    let json = zstd::bulk::decompress(PACKED, UNPACKED_MAX_BYTES).map_err(CatalogError::Unpack)?;
    let listed: Vec<ListedObject> = serde_json::from_slice(&json).map_err(CatalogError::List)?;
    let mut relationship_names: HashMap<(String, String), Vec<String>> = HashMap::new();
    for object in &listed {
        for child in &object.child_relationships {
            relationship_names
                .entry((object.name.clone(), child.child_object.clone()))
                .or_default()
                .push(child.relationship_name.clone());
        }
    }
    let names: Vec<String> = listed.iter().map(|object| object.name.clone()).collect();
    let objects = listed.into_iter().map(|object| standard_object(object, &names)).collect();
    Ok(StandardObjects { objects, relationship_names })
}

/// The key prefix integrations know for a standard object.
#[must_use]
pub fn known_prefix(name: &str) -> Option<&'static str> {
    KNOWN_PREFIXES.iter().find(|(known, _)| *known == name).map(|(_, prefix)| *prefix)
}

/// Whether records of the object exist, so that it needs a key prefix.
#[must_use]
pub fn has_records(object: &SObject) -> bool {
    object.associate_type.is_none() && !VIRTUAL.contains(&object.name.as_str())
}

/// What people can configure: automation, security and custom fields make sense on these.
#[must_use]
pub fn is_customizable(object: &SObject) -> bool {
    object.triggerable && object.associate_type.is_none()
}

fn standard_object(listed: ListedObject, names: &[String]) -> SObject {
    let companion = companion_of(&listed.name, names);
    let label = labels::from_api_name(&listed.name);
    let is_view = VIRTUAL.contains(&listed.name.as_str());
    let owned = listed.fields.iter().any(|field| field.name == "OwnerId");
    let is_setup = SETUP.contains(&listed.name.as_str());
    let triggerable =
        !is_view && !is_setup && companion.is_none() && (owned || known_prefix(&listed.name).is_some());
    let writable = !is_view && companion.is_none();
    let configurable = triggerable;
    let mut fields: Vec<Field> =
        listed.fields.into_iter().map(|field| standard_field(field, writable, configurable)).collect();
    mark_name_field(&mut fields);
    mark_compounds(&mut fields);
    let (associate_parent, associate_type) = companion.unzip();
    let is_event = associate_type.as_deref() == Some("ChangeEvent");
    SObject {
        label_plural: labels::plural(&label),
        label,
        custom: false,
        queryable: !is_event && listed.name != "AggregateResult",
        searchable: triggerable,
        createable: writable,
        triggerable: triggerable || is_event,
        associate_parent,
        associate_type,
        durable_id: listed.name.clone(),
        fields: fields.into(),
        name: listed.name,
        ..SObject::default()
    }
}

/// Parent and kind of a companion. `LoginHistory` is none: there is no object `Login`.
fn companion_of(name: &str, names: &[String]) -> Option<(String, String)> {
    ["ChangeEvent", "History", "Share", "Feed"].into_iter().find_map(|kind| {
        let parent = name.strip_suffix(kind)?;
        let real = names.iter().any(|known| known == parent) && name != "OpportunityHistory";
        real.then(|| (parent.to_owned(), kind.to_owned()))
    })
}

fn standard_field(listed: ListedField, writable: bool, configurable: bool) -> Field {
    let system = SYSTEM_FIELDS.contains(&listed.name.as_str());
    // Counters and sums that the org keeps, such as those of Campaign: never null and never written.
    let kept_by_the_org = !listed.nillable
        && ["NumberOf", "HierarchyNumberOf", "AmountAll", "AmountWon", "HierarchyAmount"]
            .iter()
            .any(|start| listed.name.starts_with(start));
    let write = writable && !system && !kept_by_the_org;
    let targets = match (listed.name.as_str(), listed.reference_to.as_slice()) {
        ("OwnerId", [only]) if only == "Name" => vec!["Group".to_owned(), "User".to_owned()],
        ("WhoId", _) => vec!["Contact".to_owned(), "Lead".to_owned()],
        ("WhatId", _) => [
            "Account",
            "Asset",
            "Campaign",
            "Case",
            "Contract",
            "Opportunity",
            "Order",
            "Product2",
            "ServiceContract",
            "Solution",
            "WorkOrder",
        ]
        .map(str::to_owned)
        .to_vec(),
        _ => listed.reference_to,
    };
    let field_type = match listed.field_type.as_str() {
        "id" if listed.name != "Id" => "string".to_owned(),
        other => other.to_owned(),
    };
    let (precision, scale) = digits(&field_type);
    Field {
        label: standard_label(&listed.name, &field_type),
        length: length_of(&listed.name, &field_type),
        precision,
        scale,
        nillable: listed.nillable,
        defaulted_on_create: field_type == "boolean"
            || (!listed.nillable && system)
            || listed.name == "OwnerId",
        createable: write && field_type != "address",
        updateable: write && field_type != "address",
        relationship_name: listed.relationship_name.filter(|_| !targets.is_empty()),
        reference_to: targets,
        permissionable: configurable && write && listed.nillable,
        name: listed.name,
        field_type,
        ..Field::default()
    }
}

fn standard_label(name: &str, field_type: &str) -> String {
    match name {
        "IsDeleted" => "Deleted".to_owned(),
        "SystemModstamp" => "System Modstamp".to_owned(),
        "CreatedById" => "Created By ID".to_owned(),
        _ if field_type == "boolean" && name.starts_with("Is") && name.len() > 2 => {
            labels::from_api_name(&name[2..])
        }
        _ => labels::from_api_name(name),
    }
}

/// Digits in all and after the point of a number type.
#[must_use]
pub fn digits(field_type: &str) -> (u32, u32) {
    match field_type {
        "currency" => (18, 0),
        "double" => (18, 2),
        "percent" => (3, 0),
        _ => (0, 0),
    }
}

fn length_of(name: &str, field_type: &str) -> u32 {
    match (field_type, name) {
        ("id" | "reference", _) => 18,
        ("phone", _) => 40,
        ("email" | "combobox", _) => 80,
        ("url" | "picklist", _) => 255,
        ("textarea", name) if name.ends_with("Street") => 255,
        ("textarea", _) => 32_000,
        ("string", "FirstName" | "City") => 40,
        ("string", "LastName" | "State" | "Country" | "Alias") => 80,
        ("string", "PostalCode") => 20,
        ("string", name) if name.ends_with("City") => 40,
        ("string", name) if name.ends_with("PostalCode") => 20,
        ("string", name) if name.ends_with("State") || name.ends_with("Country") => 80,
        ("string", _) => 255,
        _ => 0,
    }
}

/// The field that stands for the record: `Name`, else its number, subject, title or developer name.
fn mark_name_field(fields: &mut [Field]) {
    let candidates = [
        "Name",
        "CaseNumber",
        "ContractNumber",
        "OrderNumber",
        "WorkOrderNumber",
        "LineItemNumber",
        "Subject",
        "Title",
        "DeveloperName",
        "MasterLabel",
        "SolutionName",
    ];
    let chosen = candidates.iter().find_map(|wanted| fields.iter().position(|field| field.name == *wanted));
    if let Some(at) = chosen {
        fields[at].name_field = true;
        fields[at].permissionable = false;
        fields[at].auto_number = fields[at].name.ends_with("Number");
    }
}

/// Addresses and person names are read as one and written in parts.
fn mark_compounds(fields: &mut [Field]) {
    let addresses: Vec<String> =
        fields.iter().filter(|field| field.field_type == "address").map(|field| field.name.clone()).collect();
    for address in addresses {
        let stem = address.trim_end_matches("Address").to_owned();
        for part in
            ["Street", "City", "State", "PostalCode", "Country", "Latitude", "Longitude", "GeocodeAccuracy"]
        {
            let name = format!("{stem}{part}");
            if let Some(field) = fields.iter_mut().find(|field| field.name == name) {
                field.compound = Some(address.clone());
            }
        }
    }
    if fields.iter().any(|field| field.name == "LastName") {
        for field in fields.iter_mut() {
            match field.name.as_str() {
                "FirstName" | "LastName" | "Salutation" => field.compound = Some("Name".to_owned()),
                "Name" => (field.createable, field.updateable, field.length) = (false, false, 121),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_has_474_objects_and_8154_fields() {
        let standard = load().unwrap();
        assert_eq!(standard.objects.len(), 474);
        assert_eq!(standard.objects.iter().map(|object| object.fields.len()).sum::<usize>(), 8_154);
    }

    #[test]
    fn lead_parts_point_at_their_compounds() {
        let standard = load().unwrap();
        let lead = standard.objects.iter().find(|object| object.name == "Lead").unwrap();
        let compound =
            |name: &str| lead.fields.iter().find(|field| field.name == name).unwrap().compound.as_deref();
        assert_eq!(compound("City"), Some("Address"));
        assert_eq!(compound("FirstName"), Some("Name"));
        assert_eq!(compound("Company"), None);
    }

    #[test]
    fn a_login_history_accompanies_nothing() {
        let names = ["Account".to_owned(), "LoginHistory".to_owned()];
        assert_eq!(companion_of("AccountHistory", &names), Some(("Account".into(), "History".into())));
        assert_eq!(companion_of("LoginHistory", &names), None);
    }
}
