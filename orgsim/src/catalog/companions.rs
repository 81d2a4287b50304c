//! Shares, histories, feeds and change events: the objects the org keeps beside an object.

use super::custom::{owner, system, user};
use crate::model::{Field, SObject};

/// Change events and others that the list of standard objects lacks but a real org has.
const MISSING_STANDARD: &[(&str, Companion)] = &[
    ("CampaignMember", Companion::ChangeEvent),
    ("CampaignMemberStatus", Companion::ChangeEvent),
    ("Contract", Companion::ChangeEvent),
    ("ContractLineItem", Companion::Feed),
    ("EmailMessage", Companion::ChangeEvent),
    ("EmailTemplate", Companion::ChangeEvent),
    ("Individual", Companion::ChangeEvent),
    ("Macro", Companion::ChangeEvent),
    ("MacroInstruction", Companion::ChangeEvent),
    ("Pricebook2", Companion::ChangeEvent),
    ("PricebookEntry", Companion::ChangeEvent),
    ("PricebookEntry", Companion::History),
    ("WorkOrder", Companion::ChangeEvent),
    ("WorkOrderLineItem", Companion::ChangeEvent),
];

/// A kind of companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// Who else may see a record.
    Share,
    /// Old and new values of tracked fields.
    History,
    /// Posts on the record.
    Feed,
    /// Change data capture.
    ChangeEvent,
}

impl Companion {
    fn word(self) -> &'static str {
        match self {
            Self::Share => "Share",
            Self::History => "History",
            Self::Feed => "Feed",
            Self::ChangeEvent => "ChangeEvent",
        }
    }

    fn label(self) -> &'static str {
        if self == Self::ChangeEvent { "Change Event" } else { self.word() }
    }
}

/// The companions to add to the standard objects.
#[must_use]
pub fn of_standard(objects: &[SObject]) -> Vec<SObject> {
    MISSING_STANDARD
        .iter()
        .filter_map(|&(name, kind)| {
            objects.iter().find(|object| object.name == name).map(|parent| make(parent, kind))
        })
        .collect()
}

/// The companion of `parent` of a kind.
///
/// `Lease__c` has `Lease__Share`; `WorkOrder` has `WorkOrderShare`.
#[must_use]
pub fn make(parent: &SObject, kind: Companion) -> SObject {
    let name = match parent.name.strip_suffix("__c") {
        Some(stem) => format!("{stem}__{}", kind.word()),
        None => format!("{}{}", parent.name, kind.word()),
    };
    let label = format!("{} {}", parent.label, kind.label());
    let is_event = kind == Companion::ChangeEvent;
    SObject {
        label_plural: label.clone(),
        label,
        description: None,
        custom: false,
        queryable: !is_event,
        createable: kind == Companion::Share,
        triggerable: is_event,
        associate_parent: Some(parent.name.clone()),
        associate_type: Some(kind.word().to_owned()),
        durable_id: name.clone(),
        fields: fields(parent, kind).into(),
        name,
        ..SObject::default()
    }
}

fn fields(parent: &SObject, kind: Companion) -> Vec<Field> {
    let id = system("Id", "Record ID", "id", false);
    let deleted = system("IsDeleted", "Deleted", "boolean", false);
    let link = |cascades: bool| parent_link(parent, kind, cascades);
    match kind {
        Companion::Share => {
            let level = with_values(
                system("AccessLevel", "Access Level", "picklist", false),
                &["Read", "Edit", "All"],
            );
            let cause = ["Owner", "Manual", "Rule", "ImplicitParent", "Team"];
            vec![
                id,
                link(true),
                Field {
                    name: "UserOrGroupId".into(),
                    label: "User/Group ID".into(),
                    relationship_name: Some("UserOrGroup".into()),
                    ..owner()
                },
                level,
                with_values(system("RowCause", "Row Cause", "picklist", true), &cause),
                system("LastModifiedDate", "Last Modified Date", "datetime", false),
                user("LastModifiedById", "Last Modified By ID"),
                deleted,
            ]
        }
        Companion::History => vec![
            id,
            deleted,
            link(true),
            user("CreatedById", "Created By ID"),
            system("CreatedDate", "Created Date", "datetime", false),
            system("Field", "Changed Field", "picklist", false),
            with_values(
                system("DataType", "Datatype", "picklist", true),
                &["Text", "EntityId", "Currency", "DateTime"],
            ),
            system("OldValue", "Old Value", "anyType", true),
            system("NewValue", "New Value", "anyType", true),
        ],
        Companion::Feed => vec![
            id,
            link(true),
            with_values(
                system("Type", "Feed Item Type", "picklist", true),
                &["TextPost", "LinkPost", "ContentPost", "TrackedChange", "CreateRecordEvent"],
            ),
            user("CreatedById", "Created By ID"),
            system("CreatedDate", "Created Date", "datetime", false),
            deleted,
            system("LastModifiedDate", "Last Modified Date", "datetime", false),
            system("SystemModstamp", "System Modstamp", "datetime", false),
            system("CommentCount", "Comment Count", "int", false),
            system("LikeCount", "Like Count", "int", false),
            system("Title", "Title", "string", true),
            Field { length: 10_000, ..system("Body", "Body", "textarea", true) },
            system("LinkUrl", "Link Url", "url", true),
            system("IsRichText", "Is Rich Text", "boolean", false),
            system("RelatedRecordId", "Related Record ID", "reference", true),
            user("InsertedById", "InsertedBy ID"),
        ],
        Companion::ChangeEvent => change_event_fields(parent, id),
    }
}

/// A change event carries the parent's own fields, all of which may be missing from one event.
fn change_event_fields(parent: &SObject, id: Field) -> Vec<Field> {
    let mut all = vec![
        id,
        system("ReplayId", "Replay ID", "string", true),
        system("ChangeEventHeader", "Change Event Header", "complexvalue", false),
    ];
    let left_out =
        ["Id", "IsDeleted", "SystemModstamp", "LastViewedDate", "LastReferencedDate", "LastActivityDate"];
    all.extend(
        parent
            .fields
            .iter()
            .filter(|field| !left_out.contains(&field.name.as_str()) && field.formula.is_none())
            .map(|field| Field {
                nillable: true,
                createable: false,
                updateable: false,
                permissionable: false,
                external_id: false,
                unique: false,
                master_detail: None,
                help: None,
                description: None,
                ..field.clone()
            }),
    );
    all
}

fn parent_link(parent: &SObject, kind: Companion, cascades: bool) -> Field {
    let own_name = !parent.custom && kind != Companion::Feed;
    let stem = if own_name { parent.name.clone() } else { "Parent".to_owned() };
    Field {
        reference_to: vec![parent.name.clone()],
        relationship_name: Some(stem.clone()),
        master_detail: cascades.then_some(0),
        createable: kind == Companion::Share,
        ..system(&format!("{stem}Id"), &format!("{} ID", parent.label), "reference", false)
    }
}

fn with_values(mut field: Field, values: &[&str]) -> Field {
    field.picklist = values.iter().map(|value| ((*value).to_owned(), (*value).to_owned())).collect();
    field
}
