//! What Bulk refuses although REST answers it. Pure decisions over the statement and the org.

use crate::{
    org::OrgData,
    query::Found,
    soql::{
        SoqlError,
        ast::{Query, SelectItem},
    },
};

/// Objects that Bulk does not serve: computed by the org, or readable only by the ids of their parents.
const NOT_SERVED: [&str; 30] = [
    "Announcement",
    "AppTabMember",
    "CollaborationGroupRecord",
    "ColorDefinition",
    "ContentFolderItem",
    "ContentFolderMember",
    "DataStatistics",
    "DatacloudDandBCompany",
    "EntityDefinition",
    "EntityParticle",
    "FieldDefinition",
    "FieldHistoryArchive",
    "FlexQueueItem",
    "FlowDefinitionView",
    "FlowVariableView",
    "FlowVersionView",
    "IconDefinition",
    "IdeaComment",
    "NetworkUserHistoryRecent",
    "PicklistValueInfo",
    "PlatformAction",
    "RelationshipDomain",
    "RelationshipInfo",
    "SearchLayout",
    "SiteDetail",
    "OwnerChangeOptionInfo",
    "UserEntityAccess",
    "UserFieldAccess",
    "UserRecordAccess",
    "Vote",
];

/// What the statement's own shape forbids.
///
/// # Errors
/// The org's refusal.
pub fn statement(org: &OrgData, query: &Query) -> Result<(), SoqlError> {
    let refuse = |message: &str| Err(SoqlError::new("API_ERROR", message.to_owned()));
    let asked_for = |name: &&&str| name.eq_ignore_ascii_case(&query.from.text);
    let told = Some(&query.from.text.as_str()).filter(|name| org.is_refused_by_bulk(name)).copied();
    if let Some(name) = NOT_SERVED.iter().find(asked_for).copied().or(told) {
        return Err(SoqlError::new("INVALIDENTITY", format!("{name} is not supported by the Bulk API")));
    }
    if query.select.iter().any(|item| matches!(item, SelectItem::SubQuery(_))) {
        return refuse("Aggregate Relationships not supported in Bulk Query");
    }
    let aggregated = |item: &SelectItem| matches!(item, SelectItem::CountRows | SelectItem::Aggregate { .. });
    if query.select.iter().any(aggregated) {
        return refuse("Aggregate functions not supported in Bulk Query");
    }
    if !query.group_by.is_empty() || query.having.is_some() {
        return refuse("GROUP BY not supported in Bulk Query");
    }
    if query.offset.is_some() {
        return refuse("OFFSET not supported in Bulk Query");
    }
    Ok(())
}

/// What the selected columns forbid: compounds and binary content.
///
/// # Errors
/// The org's refusal.
pub fn columns(org: &OrgData, found: &Found) -> Result<(), SoqlError> {
    let Some(object) = org.model.object(&found.object) else { return Ok(()) };
    for column in &found.columns {
        let name = column.names.last().map_or("", String::as_str);
        // A parent's compounds are of the parent's type; only the shape of its value tells them apart.
        let own = object.fields.iter().find(|field| column.names.len() == 1 && field.name == name);
        let of_type = |kind: &str| own.is_some_and(|field| field.field_type == kind);
        if column.kind == Some(crate::tables::Kind::Json) || of_type("address") || of_type("location") {
            let message = "Selecting compound data not supported in Bulk Query";
            return Err(SoqlError::new("API_ERROR", message.to_owned()));
        }
        if of_type("base64") {
            let message = "Binary fields cannot be selected in bulk queries";
            return Err(SoqlError::new("API_ERROR", message.to_owned()));
        }
    }
    Ok(())
}
