//! A small org: 5,000 accounts, 300 leads, users, one custom object, some automation and security.

use crate::{
    ids,
    model::*,
    rows_api::{RowSource, Value},
};

fn field(name: &str, field_type: &str) -> Field {
    let length = if field_type == "textarea" { 32_000 } else { 80 };
    let custom = name.ends_with("__c");
    Field {
        name: name.into(),
        label: name.into(),
        field_type: field_type.into(),
        length,
        nillable: name != "Id",
        custom,
        ..Field::default()
    }
}

fn reference(name: &str, to: &str, relation: &str) -> Field {
    Field {
        reference_to: vec![to.into()],
        relationship_name: Some(relation.into()),
        ..field(name, "reference")
    }
}

fn object(name: &str, prefix: &str, count: u64, fields: Vec<Field>) -> SObject {
    SObject {
        name: name.into(),
        label: name.into(),
        label_plural: format!("{name}s"),
        key_prefix: Some(prefix.into()),
        custom: name.ends_with("__c"),
        queryable: true,
        triggerable: true,
        createable: true,
        durable_id: if name.ends_with("__c") { "01I5g000000AAAAAAA".into() } else { String::new() },
        fields: fields.into(),
        record_count: count,
        ..SObject::default()
    }
}

pub fn model() -> OrgModel {
    let common = || vec![field("Id", "id"), field("Name", "string"), field("CreatedDate", "datetime")];
    let with = |more: Vec<Field>| common().into_iter().chain(more).collect::<Vec<_>>();
    let mut model = OrgModel {
        objects: vec![
            object(
                "Account",
                "001",
                5_000,
                with(vec![
                    field("AnnualRevenue", "currency"),
                    field("Industry", "picklist"),
                    reference("OwnerId", "User", "Owner"),
                    field("Active__c", "boolean"),
                    field("Notes__c", "textarea"),
                    field("More__c", "textarea"),
                ]),
            ),
            object(
                "Lead",
                "00Q",
                300,
                with(vec![
                    field("Email", "email"),
                    field("Status", "picklist"),
                    field("Tags__c", "multipicklist"),
                    field("ConvertedDate", "date"),
                    reference("OwnerId", "User", "Owner"),
                    reference("ConvertedAccountId", "Account", "ConvertedAccount"),
                ]),
            ),
            object("User", "005", 5, with(vec![field("Username", "string")])),
            object("Invoice__c", "a0B", 0, with(vec![reference("Account__c", "Account", "Account__r")])),
        ],
        flows: vec![Flow {
            durable_id: "3005g000000AAAAAAA".into(),
            version_id: "3015g000000AAAAAAA".into(),
            api_name: "Lead_Router".into(),
            label: "Lead Router".into(),
            description: None,
            process_type: "AutoLaunchedFlow".into(),
            trigger_type: Some("RecordAfterSave".into()),
            record_trigger_type: Some("Create".into()),
            object: Some("Lead".into()),
            is_active: true,
        }],
        triggers: ["Account", "Invoice__c"]
            .into_iter()
            .map(|object| ApexTrigger {
                id: ids::numbered("01q", object.len() as u64),
                name: format!("{object}Trigger").replace("__c", ""),
                object: object.into(),
                status: "Active".into(),
                api_version: 60.0,
                events: vec!["BeforeInsert".into()],
                body: "trigger // x\n{}".into(),
            })
            .collect(),
        validation_rules: ["One", "Two"]
            .into_iter()
            .map(|name| ValidationRule {
                id: ids::numbered("03d", name.len() as u64 + u64::from(name == "Two")),
                name: name.into(),
                object: "Invoice__c".into(),
                active: true,
                description: None,
                error_message: "No".into(),
                error_display_field: None,
                formula: format!("{name} > 1"),
            })
            .collect(),
        permission_sets: vec![
            PermissionSet {
                id: ids::numbered("0PS", 1),
                name: "Sales".into(),
                label: "Sales".into(),
                profile_id: None,
                profile_name: None,
            },
            PermissionSet {
                id: ids::numbered("0PS", 2),
                name: "X00e".into(),
                label: "X00e".into(),
                profile_id: Some(ids::numbered("00e", 1)),
                profile_name: Some("Admin".into()),
            },
        ],
        field_permissions: (0..4_500)
            .map(|at| FieldPermission {
                set: at % 2,
                object: "Account".into(),
                field: format!("F{at}__c"),
                read: true,
                edit: at % 3 == 0,
            })
            .collect(),
        ..OrgModel::default()
    };
    // Enough fields that one filter can ask for more than 2,000 definitions.
    model.objects.push(object(
        "Wide__c",
        "a0C",
        0,
        (0..2_100).map(|at| field(&format!("F{at}__c"), "string")).collect(),
    ));
    model.finish();
    model
}

pub struct Rows;

impl RowSource for Rows {
    fn count(&self, object: &SObject) -> u64 {
        object.record_count
    }

    fn value(&self, object: &SObject, index: u64, field: &Field) -> Value {
        let prefix = object.key_prefix.as_deref().unwrap();
        match field.name.as_str() {
            "Id" => Value::Text(ids::numbered(prefix, index)),
            "Name" => Value::Text(format!("{} {index:05}", object.name)),
            "CreatedDate" => Value::DateTime(1_767_225_600_000 + index as i64 * 3_600_000),
            "AnnualRevenue" if index.is_multiple_of(10) => Value::Null,
            "AnnualRevenue" => Value::Double(index as f64 * 10.5),
            "Industry" => Value::Text(["Energy", "Retail", "Media"][index as usize % 3].into()),
            "Active__c" => Value::Bool(index.is_multiple_of(2)),
            "Email" if index.is_multiple_of(4) => Value::Null,
            "Email" => Value::Text(format!("lead{index}@Example.com")),
            "Status" => Value::Text(["Open", "Closed"][index as usize % 2].into()),
            "Tags__c" => Value::Text(["a;b", "b;c", "c"][index as usize % 3].into()),
            "ConvertedDate" if index.is_multiple_of(2) => {
                Value::Date(format!("2026-01-{:02}", index % 28 + 1))
            }
            "OwnerId" => Value::Text(ids::numbered("005", index % 5)),
            "ConvertedAccountId" if index.is_multiple_of(2) => Value::Text(ids::numbered("001", index)),
            "Username" => Value::Text(format!("user{index}@sim.example")),
            _ => Value::Null,
        }
    }

    fn index_of(&self, object: &SObject, id: &str) -> Option<u64> {
        let prefix = object.key_prefix.as_deref()?;
        (0..object.record_count).find(|&index| ids::key(&ids::numbered(prefix, index)) == ids::key(id))
    }
}
