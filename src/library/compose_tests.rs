use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{
    Families, Family, FamilyFailure, FieldPermissionRow, FlowRow, LayoutRow, ObjectPermissionRow,
    PermissionSetRow, RecordCountRow, RecordTypeRow, Section, TriggerEvent, TriggerRow, ValidationRuleRow,
    WorkflowRuleRow,
};

fn org() -> OrgName {
    "demo".parse().unwrap()
}

fn describe(value: Value) -> ObjectDescribe {
    serde_json::from_value(value).unwrap()
}

fn invoice() -> ObjectDescribe {
    describe(json!({
        "name": "Invoice__c", "label": "Invoice", "labelPlural": "Invoices", "custom": true, "keyPrefix": "a01",
        "queryable": true, "createable": true,
        "fields": [
            {"name": "Id", "label": "Record ID", "type": "id"},
            {"name": "Name", "label": "Number", "type": "string", "nameField": true, "autoNumber": true},
            {"name": "CreatedById", "label": "Created By", "type": "reference", "referenceTo": ["User"]},
            {"name": "Account__c", "label": "Customer", "type": "reference", "referenceTo": ["Account"],
             "relationshipName": "Account__r", "relationshipOrder": 0, "cascadeDelete": true},
            {"name": "Owner__c", "label": "Owner", "type": "reference", "referenceTo": ["User", "Group"], "nillable": true},
            {"name": "Status__c", "label": "Status", "type": "picklist", "permissionable": true,
             "inlineHelpText": "Where the invoice stands", "nillable": true,
             "picklistValues": [{"value": "Open", "active": true}, {"value": "Paid", "label": "Settled", "active": true},
                                {"value": "Old", "active": false}]},
            {"name": "Amount__c", "label": "Amount", "type": "currency", "precision": 16, "scale": 2,
             "permissionable": true, "createable": true},
        ],
        "childRelationships": [
            {"childSObject": "Invoice_Line__c", "field": "Invoice__c", "relationshipName": "Lines__r", "cascadeDelete": true},
            {"childSObject": "Task", "field": "WhatId", "relationshipName": "Tasks"},
        ],
    }))
}

fn failed<T>(family: Family) -> Result<Vec<T>, FamilyFailure> {
    Err(FamilyFailure { family, reason: "INVALID_TYPE: not supported".to_owned() })
}

fn full_families() -> Families {
    let object: crate::model::ObjectName = "Invoice__c".parse().unwrap();
    let grant = |parent: &str, field: &str, edit| FieldPermissionRow {
        parent_id: parent.to_owned(),
        object: object.clone(),
        field: field.to_owned(),
        read: true,
        edit,
    };
    Families {
        flows: Ok(vec![FlowRow {
            api_name: "Remind_Customer".into(),
            label: "Remind customer".into(),
            description: Some("Sends a reminder\nafter 14 days".into()),
            process_type: "AutoLaunchedFlow".into(),
            trigger_type: Some("RecordAfterSave".into()),
            record_trigger_type: Some("Update".into()),
            object: Some(object.clone()),
            is_active: true,
        }]),
        triggers: Ok(vec![TriggerRow {
            name: "InvoiceTrigger".into(),
            object: object.clone(),
            status: "Active".into(),
            events: vec![TriggerEvent::BeforeInsert, TriggerEvent::AfterUpdate],
            body: Some(
                "trigger InvoiceTrigger on Invoice__c (before insert) {\n  // check\n  run();\n}".into(),
            ),
        }]),
        validation_rules: Ok(vec![ValidationRuleRow {
            name: "Amount_Positive".into(),
            object: object.clone(),
            active: true,
            description: None,
            error_message: Some("The amount must be above zero".into()),
            error_display_field: Some("Amount__c".into()),
        }]),
        workflow_rules: Ok(vec![
            WorkflowRuleRow { name: "Old rule".into(), object: "Invoice__c".into() },
            WorkflowRuleRow { name: "Unknown".into(), object: "01I5e000000ABCD".into() },
        ]),
        record_types: Ok(vec![RecordTypeRow {
            name: "Credit note".into(),
            developer_name: "Credit_Note".into(),
            object: object.clone(),
            is_active: false,
            description: Some("Money back".into()),
        }]),
        layouts: Ok(vec![LayoutRow { name: "Invoice Layout".into(), object: "Invoice__c".into() }]),
        permission_sets: Ok(vec![
            PermissionSetRow {
                id: "0PS1".into(),
                name: "Billing".into(),
                label: "Billing staff".into(),
                profile: None,
            },
            PermissionSetRow {
                id: "0PS2".into(),
                name: "X00e".into(),
                label: "X00e".into(),
                profile: Some("Sales".into()),
            },
        ]),
        object_permissions: Ok(vec![ObjectPermissionRow {
            parent_id: "0PS1".into(),
            object: object.clone(),
            read: true,
            create: true,
            edit: false,
            delete: false,
            view_all: false,
            modify_all: false,
        }]),
        field_permissions: Ok(vec![
            grant("0PS1", "Status__c", true),
            grant("0PS2", "Invoice__c.Status__c", false),
            grant("0PS9", "Amount__c", false),
        ]),
        record_counts: Ok(vec![RecordCountRow { object, count: 4_711 }]),
    }
}

fn text(documents: &[Document], id: &str) -> String {
    documents.iter().find(|document| document.id == id).unwrap_or_else(|| panic!("no `{id}`")).text.clone()
}

#[test]
fn an_object_has_its_sections_its_fields_and_its_automations() {
    let documents = compose(&org(), &invoice(), &FamilyIndex::new(full_families()));
    let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "Invoice__c:automation",
            "Invoice__c:automation:flow.Remind_Customer",
            "Invoice__c:automation:trigger.InvoiceTrigger",
            "Invoice__c:automation:validation_rule.Amount_Positive",
            "Invoice__c:field:Account__c",
            "Invoice__c:field:Amount__c",
            "Invoice__c:field:Name",
            "Invoice__c:field:Owner__c",
            "Invoice__c:field:Status__c",
            "Invoice__c:fields",
            "Invoice__c:overview",
            "Invoice__c:relationships",
            "Invoice__c:security",
            "Invoice__c:usage",
        ]
    );
}

#[test]
fn sections_tell_what_was_read() {
    let documents = compose(&org(), &invoice(), &FamilyIndex::new(full_families()));
    let relationships = text(&documents, "Invoice__c:relationships");
    assert!(relationships.contains("Each Invoice points at one `Account` through `Account__c` (master-detail, deleted with its parent, `Account__r` in queries)."));
    assert!(relationships.contains(
        "Each Invoice points at one record of `Group` or `User` through `Owner__c` (polymorphic lookup)."
    ));
    assert!(relationships.contains("Many `Invoice_Line__c` records point at one Invoice through `Invoice_Line__c.Invoice__c` (deleted with it, sub-query `Lines__r`)."));
    let automation = text(&documents, "Invoice__c:automation");
    assert!(automation.contains("`Remind_Customer` (Remind customer): AutoLaunchedFlow started by RecordAfterSave on Update, active. Sends a reminder after 14 days"));
    assert!(
        automation
            .contains("`InvoiceTrigger` (Active; before insert, after update; 4 lines: 3 code, 1 comment)")
    );
    assert!(
        automation
            .contains("`Amount_Positive` (active) says \"The amount must be above zero\" beside `Amount__c`")
    );
    assert!(automation.contains("1 workflow rule:") && !automation.contains("Unknown"));
    let security = text(&documents, "Invoice__c:security");
    assert!(security.contains("- permission set `Billing staff`: read, create"));
    assert!(
        security
            .contains("`Status__c`: edited by permission set `Billing staff`; only read by profile `Sales`")
    );
    assert!(security.contains("`Amount__c`: read by permission set with id `0PS9`"));
    let usage = text(&documents, "Invoice__c:usage");
    assert!(
        usage.contains("About 4711 records")
            && usage.contains("Credit note (`Credit_Note`, inactive): Money back")
    );
    assert!(usage.contains("1 page layout: Invoice Layout"));
    let status = text(&documents, "Invoice__c:field:Status__c");
    assert!(status.contains("picklist: Open, Settled.") && status.contains("Help: Where the invoice stands"));
    let fields = text(&documents, "Invoice__c:fields");
    assert!(fields.contains("| `Amount__c` | Amount | currency(16, 2) | required |  |"));
}

#[test]
fn what_is_embedded_has_its_identifiers_split() {
    let documents = compose(&org(), &invoice(), &FamilyIndex::new(full_families()));
    for document in &documents {
        let embedded = document.embedding_text.as_deref().unwrap();
        assert!(!embedded.contains("__") && !embedded.trim().is_empty(), "{}: {embedded}", document.id);
    }
}

#[test]
fn a_failed_family_says_so_in_its_section_and_empties_no_other() {
    let mut families = full_families();
    families.flows = failed(Family::Flows);
    families.permission_sets = failed(Family::PermissionSets);
    families.record_counts = failed(Family::RecordCounts);
    let index = FamilyIndex::new(families);
    assert_eq!(index.failures().len(), 3);
    let documents = compose(&org(), &invoice(), &index);
    let automation = text(&documents, "Invoice__c:automation");
    assert!(automation.contains("Flows could not be read: INVALID_TYPE: not supported"));
    assert!(automation.contains("InvoiceTrigger") && automation.contains("Amount_Positive"));
    let security = text(&documents, "Invoice__c:security");
    assert!(
        security.contains("could not be read")
            && security.contains("- permission set with id `0PS1`: read, create")
    );
    let usage = text(&documents, "Invoice__c:usage");
    assert!(usage.contains("Record counts could not be read") && usage.contains("Credit note"));
}

#[test]
fn rows_without_an_object_are_counted_not_guessed() {
    let index = FamilyIndex::new(full_families());
    assert_eq!(index.unjoined().get(&Family::WorkflowRules), Some(&1));
}

#[test]
fn the_order_of_the_orgs_answers_never_shows() {
    let mut families = full_families();
    if let Ok(rows) = families.field_permissions.as_mut() {
        rows.reverse();
    }
    if let Ok(rows) = families.permission_sets.as_mut() {
        rows.reverse();
    }
    let turned = compose(&org(), &invoice(), &FamilyIndex::new(families));
    assert_eq!(turned, compose(&org(), &invoice(), &FamilyIndex::new(full_families())));
}

#[rstest::rstest]
#[case::history("AccountHistory", json!([{"name": "AccountId", "type": "reference", "referenceTo": ["Account"]}]), Some("Account"))]
#[case::custom("Invoice__Share", json!([]), Some("Invoice__c"))]
#[case::change_event("LeadChangeEvent", json!([]), Some("Lead"))]
#[case::own_right("LoginHistory", json!([{"name": "UserId", "type": "reference", "referenceTo": ["User"]}]), None)]
#[case::plain("Account", json!([]), None)]
#[case::just_a_word("MarketShare__c", json!([]), None)]
fn companions_are_told_from_objects_in_their_own_right(
    #[case] name: &str,
    #[case] fields: Value,
    #[case] expected: Option<&str>,
) {
    assert_eq!(companion_of(&describe(json!({"name": name, "fields": fields}))).as_deref(), expected);
}

#[test]
fn a_companion_gets_no_field_documents_and_no_empty_sections() {
    let history = describe(json!({"name": "Invoice__History", "label": "Invoice History", "fields": [
        {"name": "Field", "label": "Changed Field", "type": "picklist"}]}));
    let documents = compose(&org(), &history, &FamilyIndex::new(full_families()));
    let sections: Vec<Section> = documents.iter().map(|document| document.section).collect();
    assert_eq!(sections, [Section::Fields, Section::Overview, Section::Relationships]);
    assert!(documents.iter().all(|document| document.metadata["companionOf"] == "Invoice__c"));
}

#[test]
fn two_masters_make_a_likely_junction() {
    let master = |name: &str, target: &str, order: u32| json!({"name": name, "type": "reference", "referenceTo": [target], "relationshipOrder": order});
    let junction = describe(
        json!({"name": "Seat__c", "fields": [master("A__c", "Course__c", 0), master("B__c", "Contact", 1)]}),
    );
    let documents = compose(&org(), &junction, &FamilyIndex::default());
    assert!(text(&documents, "Seat__c:overview").contains("Likely a junction"));
    let single = describe(json!({"name": "Line__c", "fields": [master("A__c", "Invoice__c", 0)]}));
    let documents = compose(&org(), &single, &FamilyIndex::default());
    assert!(!text(&documents, "Line__c:overview").contains("Likely a junction"));
}

#[test]
fn a_crowd_of_pointing_objects_is_cut_into_parts_that_name_each_other() {
    let child = |at: usize| json!({"childSObject": format!("Object_{at:04}__c"), "field": "User__c"});
    let audit = |at: usize| json!({"childSObject": format!("Object_{at:04}__c"), "field": "CreatedById"});
    let children: Vec<Value> = (0..900).flat_map(|at| [child(at), audit(at)]).collect();
    let user =
        describe(json!({"name": "User", "label": "User", "fields": [], "childRelationships": children}));
    let documents = compose(&org(), &user, &FamilyIndex::default());
    let parts: Vec<&Document> =
        documents.iter().filter(|document| document.section == Section::Relationships).collect();
    assert!(parts.len() > 1 && parts.iter().all(|part| part.text.len() < 13_000));
    let whole: String = parts.iter().map(|part| part.text.as_str()).collect();
    assert!((0..900).all(|at| whole.contains(&format!("`Object_{at:04}__c.User__c`"))));
    assert!(whole.contains("900 objects name it in their audit fields"));
}

fn any_describe() -> impl Strategy<Value = ObjectDescribe> {
    let field = ("[A-Z][a-z]{0,8}(_[A-Z][a-z]{0,5})?", "\\PC{0,20}", proptest::option::of("\\PC{0,30}"));
    proptest::collection::vec(field, 0..170).prop_map(|fields| {
        let mut seen = HashSet::new();
        let fields: Vec<Value> = fields
            .into_iter()
            .filter(|(name, ..)| seen.insert(name.clone()))
            .map(|(name, label, help)| json!({"name": name, "label": label, "type": "string", "inlineHelpText": help}))
            .collect();
        describe(json!({"name": "Thing__c", "label": "Thing", "custom": true, "fields": fields}))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn composing_is_deterministic_and_ids_are_unique_and_sorted(described in any_describe()) {
        let index = FamilyIndex::default();
        let documents = compose(&org(), &described, &index);
        prop_assert_eq!(&documents, &compose(&org(), &described, &index));
        let ids: Vec<&String> = documents.iter().map(|document| &document.id).collect();
        let sorted: BTreeSet<&String> = ids.iter().copied().collect();
        prop_assert_eq!(ids, sorted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn every_field_appears_in_one_row_of_one_part_and_parts_name_all_their_siblings(described in any_describe()) {
        let documents = compose(&org(), &described, &FamilyIndex::default());
        let parts: Vec<&Document> = documents.iter().filter(|document| document.section == Section::Fields).collect();
        let rows = parts.iter().flat_map(|part| part.text.lines()).filter(|line| line.starts_with("| `"));
        prop_assert_eq!(rows.count(), described.fields.len());
        for field in &described.fields {
            let row = format!("| `{}` |", field.name);
            prop_assert_eq!(parts.iter().filter(|part| part.text.contains(&row)).count(), 1);
        }
        prop_assert_eq!(parts.len(), described.fields.len().div_ceil(50).max(1));
        let ids: BTreeSet<&str> = parts.iter().map(|part| part.id.as_str()).collect();
        for part in parts.iter().filter(|_| parts.len() > 1) {
            let siblings = part.metadata["relatedChunks"].as_array().unwrap();
            let mut named: BTreeSet<&str> = siblings.iter().map(|id| id.as_str().unwrap()).collect();
            prop_assert!(!named.contains(part.id.as_str()));
            named.insert(&part.id);
            prop_assert_eq!(&named, &ids);
        }
    }

    #[test]
    fn any_change_changes_the_hash(label in "[a-z]{1,12}") {
        let one = compose(&org(), &invoice(), &FamilyIndex::default());
        let mut changed = invoice();
        changed.fields[5].label = format!("{label}!");
        let other = compose(&org(), &changed, &FamilyIndex::default());
        let hash = |documents: &[Document], id: &str| documents.iter().find(|document| document.id == id).unwrap().content_hash.clone();
        prop_assert_ne!(hash(&one, "Invoice__c:field:Status__c"), hash(&other, "Invoice__c:field:Status__c"));
        prop_assert_eq!(hash(&one, "Invoice__c:field:Amount__c"), hash(&other, "Invoice__c:field:Amount__c"));
    }
}
