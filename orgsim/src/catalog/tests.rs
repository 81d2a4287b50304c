//! What holds for the whole org, whatever the tables say.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::model::Field;

fn org() -> OrgModel {
    build(7, &[]).unwrap()
}

fn field<'a>(org: &'a OrgModel, object: &str, name: &str) -> &'a Field {
    let object = org.object(object).unwrap_or_else(|| panic!("no object `{object}`"));
    object
        .fields
        .iter()
        .find(|field| field.name == name)
        .unwrap_or_else(|| panic!("no `{}.{name}`", object.name))
}

#[test]
fn the_org_has_exactly_1462_objects_that_add_up_as_documented() {
    let org = org();
    let standard: HashSet<String> =
        standard::load().unwrap().objects.into_iter().map(|object| object.name).collect();
    let ends = |end: &str| org.objects.iter().filter(|object| object.name.ends_with(end)).count();
    let settings = org.objects.iter().filter(|object| object.custom_setting).count();
    let listed = org.objects.iter().filter(|object| standard.contains(&object.name)).count();
    let added = org
        .objects
        .iter()
        .filter(|object| {
            object.associate_type.is_some() && !object.name.contains("__") && !standard.contains(&object.name)
        })
        .count();
    assert_eq!((listed, added), (474, 14));
    assert_eq!((ends("__c") - settings, settings, ends("__mdt"), ends("__e")), (210, 9, 14, 16));
    assert_eq!(
        (ends("__ChangeEvent"), ends("__Share"), ends("__History"), ends("__Feed")),
        (210, 121, 209, 185)
    );
    assert_eq!(org.objects.len(), 1_462);
}

#[test]
fn the_same_seed_gives_the_same_org_and_another_seed_other_grants() {
    let text = |org: &OrgModel| {
        format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}",
            org.objects,
            org.flows,
            org.triggers,
            org.validation_rules,
            org.object_permissions,
            org.field_permissions
        )
    };
    let first = text(&org());
    assert!(first == text(&org()), "two builds by one seed differ");
    assert!(first != text(&build(8, &[]).unwrap()), "the seed changes nothing");
}

#[test]
fn names_prefixes_and_ids_are_unique() {
    let org = org();
    let mut names = HashSet::new();
    let mut prefixes = HashSet::new();
    for object in &org.objects {
        assert!(names.insert(object.name.to_ascii_lowercase()), "object `{}` twice", object.name);
        if let Some(prefix) = &object.key_prefix {
            assert_eq!(prefix.len(), 3);
            assert!(prefixes.insert(prefix.clone()), "prefix `{prefix}` twice");
        }
        let mut fields = HashSet::new();
        for field in &object.fields {
            assert!(fields.insert(field.name.to_ascii_lowercase()), "`{}.{}` twice", object.name, field.name);
        }
        let mut relations = HashSet::new();
        for name in object.children.iter().filter_map(|child| child.relationship_name.as_ref()) {
            assert!(relations.insert(name.clone()), "`{}` has two relationships `{name}`", object.name);
        }
    }
    let ids: Vec<&String> = (org.flows.iter().flat_map(|flow| [&flow.durable_id, &flow.version_id]))
        .chain(org.triggers.iter().map(|trigger| &trigger.id))
        .chain(org.validation_rules.iter().map(|rule| &rule.id))
        .chain(org.workflow_rules.iter().map(|rule| &rule.id))
        .chain(org.layouts.iter().map(|layout| &layout.id))
        .chain(org.record_types.iter().map(|kind| &kind.id))
        .chain(org.permission_sets.iter().map(|set| &set.id))
        .collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    for id in ids {
        assert_eq!(id[15..], ids::checksum(&id[..15]), "`{id}`");
    }
}

#[test]
fn every_reference_leads_to_an_object_and_is_seen_from_there() {
    let org = org();
    for object in &org.objects {
        for field in &object.fields {
            for target in &field.reference_to {
                let target = org
                    .object(target)
                    .unwrap_or_else(|| panic!("`{}.{}` -> `{target}`", object.name, field.name));
                let seen = target
                    .children
                    .iter()
                    .any(|child| child.object == object.name && child.field == field.name);
                assert!(seen, "`{}` does not know `{}.{}`", target.name, object.name, field.name);
            }
        }
        for child in &object.children {
            let field = self::field(&org, &child.object, &child.field);
            assert!(field.reference_to.contains(&object.name));
            assert_eq!(child.cascade_delete, field.master_detail.is_some());
        }
        if let Some(parent) = &object.associate_parent {
            assert!(org.object(parent).is_some(), "`{}` accompanies nothing", object.name);
        }
    }
}

#[test]
fn custom_references_have_a_target_and_picklists_have_values() {
    // Change events repeat their objects' fields.
    for object in org().objects.iter().filter(|object| object.associate_type.is_none()) {
        for field in object.fields.iter().filter(|field| field.custom) {
            let name = format!("{}.{}", object.name, field.name);
            let known = [
                "string",
                "textarea",
                "picklist",
                "multipicklist",
                "currency",
                "double",
                "percent",
                "boolean",
                "date",
                "datetime",
                "email",
                "phone",
                "url",
                "reference",
                "location",
            ];
            assert!(known.contains(&field.field_type.as_str()), "{name} is a `{}`", field.field_type);
            match field.field_type.as_str() {
                "reference" => {
                    assert!(!field.reference_to.is_empty() && field.relationship_name.is_some(), "{name}")
                }
                "picklist" | "multipicklist" => assert!(field.picklist.len() > 1, "{name}"),
                _ => {}
            }
            if let Some(controller) = &field.controller {
                let controlling = object.fields.iter().find(|other| other.name == *controller);
                assert!(
                    controlling.is_some_and(|other| other.field_type == "picklist"),
                    "{name} depends on `{controller}`"
                );
            }
        }
        let masters: Vec<u32> = object.fields.iter().filter_map(|field| field.master_detail).collect();
        assert!(masters.len() <= 2, "`{}` has {} masters", object.name, masters.len());
        let owned = object.fields.iter().any(|field| field.name == "OwnerId");
        assert!(
            masters.is_empty() || !owned || !object.custom,
            "`{}` has a master and an owner",
            object.name
        );
    }
}

/// Fields named in a formula without a dot before or after belong to the object itself.
fn own_fields_in(formula: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    formula.split(|c| !word(c)).filter(|token| token.ends_with("__c") && !token.contains('.')).collect()
}

#[test]
fn validation_rules_speak_of_fields_that_exist() {
    let org = org();
    assert!(org.validation_rules.len() >= 100, "{} rules", org.validation_rules.len());
    let mut seen = HashSet::new();
    for rule in &org.validation_rules {
        assert!(
            seen.insert((rule.object.clone(), rule.name.clone())),
            "`{}.{}` twice",
            rule.object,
            rule.name
        );
        for name in own_fields_in(&rule.formula) {
            field(&org, &rule.object, name);
        }
        if let Some(name) = &rule.error_display_field {
            field(&org, &rule.object, name);
        }
        assert!(rule.error_message.ends_with('.'), "`{}`: {}", rule.name, rule.error_message);
    }
}

#[test]
fn flows_triggers_and_rules_run_on_objects_that_exist() {
    let org = org();
    assert!(
        org.flows.len() >= 60 && org.triggers.len() >= 40,
        "{} flows, {} triggers",
        org.flows.len(),
        org.triggers.len()
    );
    for flow in &org.flows {
        if let Some(object) = &flow.object {
            assert!(org.object(object).is_some(), "flow `{}` on `{object}`", flow.api_name);
        }
        assert_eq!(
            flow.record_trigger_type.is_some(),
            flow.trigger_type.as_deref().is_some_and(|kind| kind.starts_with("Record"))
        );
    }
    assert_eq!(org.flows.iter().map(|flow| &flow.api_name).collect::<HashSet<_>>().len(), org.flows.len());
    assert!(org.flows.iter().any(|flow| flow.process_type == "Workflow"));
    for trigger in &org.triggers {
        assert!(org.object(&trigger.object).is_some());
        let lines = trigger.body.lines().count();
        assert!((10..=120).contains(&lines), "`{}` has {lines} lines", trigger.name);
    }
    for (object, what) in (org.workflow_rules.iter().map(|rule| (&rule.object, &rule.name)))
        .chain(org.layouts.iter().map(|layout| (&layout.object, &layout.name)))
        .chain(org.record_types.iter().map(|kind| (&kind.object, &kind.name)))
    {
        assert!(org.object(object).is_some(), "`{what}` on `{object}`");
    }
}

#[test]
fn triggers_read_and_write_fields_that_exist() {
    let org = org();
    let lines = automation::TRIGGERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let columns: Vec<&str> = line.split(" | ").collect();
        let &[_, object, _, shape, name, other, _] = columns.as_slice() else { panic!("`{line}`") };
        let holder = if shape == "guard" { other } else { object };
        field(&org, holder, name);
        match shape {
            "stamp" => drop(field(&org, object, other)),
            "rollup" => {
                assert!(field(&org, object, name).reference_to.iter().any(|target| target == other), "{line}")
            }
            "guard" => {
                assert!(field(&org, other, name).reference_to.iter().any(|target| target == object), "{line}")
            }
            "publish" => drop(field(&org, other, "Record_Id__c")),
            _ => {}
        }
    }
}

#[test]
fn grants_have_the_promised_size_and_only_concern_what_can_be_granted() {
    let org = org();
    let profiles = org.permission_sets.iter().filter(|set| set.profile_id.is_some()).count();
    assert_eq!(profiles, 12);
    assert!((55..=65).contains(&org.permission_sets.len()), "{} sets", org.permission_sets.len());
    assert!(
        (5_500..=6_500).contains(&org.object_permissions.len()),
        "{} object rows",
        org.object_permissions.len()
    );
    assert!(
        (28_000..=32_000).contains(&org.field_permissions.len()),
        "{} field rows",
        org.field_permissions.len()
    );
    let permissionable: HashSet<(&str, &str)> = org
        .objects
        .iter()
        .flat_map(|object| {
            object
                .fields
                .iter()
                .filter(|field| field.permissionable)
                .map(|field| (object.name.as_str(), field.name.as_str()))
        })
        .collect();
    let readable: HashSet<(usize, &str)> =
        org.object_permissions.iter().map(|grant| (grant.set, grant.object.as_str())).collect();
    let mut rows = HashSet::new();
    for grant in &org.field_permissions {
        assert!(
            permissionable.contains(&(grant.object.as_str(), grant.field.as_str())),
            "{}.{}",
            grant.object,
            grant.field
        );
        assert!(
            readable.contains(&(grant.set, grant.object.as_str())),
            "a field of an object that cannot be read"
        );
        assert!(rows.insert((grant.set, &grant.object, &grant.field)));
    }
    for grant in &org.object_permissions {
        assert!(grant.read && (!grant.modify_all || (grant.view_all && grant.delete && grant.edit)));
    }
}

#[test]
fn a_lead_looks_like_a_lead() {
    let org = org();
    let lead = org.object("lead").unwrap();
    assert_eq!(
        (lead.key_prefix.as_deref(), lead.record_count, lead.label_plural.as_str()),
        (Some("00Q"), 50_213, "Leads")
    );
    let company = field(&org, "Lead", "Company");
    assert_eq!((company.length, company.nillable, company.permissionable), (255, false, false));
    let status = field(&org, "Lead", "Status");
    assert_eq!(status.picklist[0].0, "Open - Not Contacted");
    assert_eq!(field(&org, "Lead", "OwnerId").reference_to, ["Group", "User"]);
    assert_eq!(field(&org, "Lead", "Address").field_type, "address");
    assert_eq!(field(&org, "Lead", "AnnualRevenue").precision, 18);
    assert!(field(&org, "Lead", "Score__c").custom);
}

#[test]
fn junctions_have_two_masters_in_order() {
    let org = org();
    let masters: Vec<(String, u32)> = org
        .object("Property_Ownership__c")
        .unwrap()
        .fields
        .iter()
        .filter_map(|field| Some((field.name.clone(), field.master_detail?)))
        .collect();
    assert_eq!(masters, [("Property__c".to_owned(), 0), ("Legal_Entity__c".to_owned(), 1)]);
}

#[test]
fn every_custom_object_says_what_it_is_for() {
    for object in org().objects.iter().filter(|object| object.custom) {
        assert!(object.description.is_some(), "`{}` has no description", object.name);
        assert!(!object.label.is_empty() && !object.label.contains("__"), "`{}`", object.name);
    }
}

/// The words of a text, so far shortened that singular and plural, noun and verb often meet.
fn stems(text: &str) -> BTreeSet<String> {
    text.to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() > 2)
        .map(|word| word.trim_end_matches("ing").trim_end_matches('s').chars().take(6).collect())
        .collect()
}

#[test]
fn paraphrased_questions_share_no_word_with_the_answer() {
    let questions = include_str!("../../../tests/questions/demo.toml");
    let org = org();
    let mut paraphrases = 0;
    let mut count = 0;
    for block in questions.split("[[question]]").skip(1) {
        count += 1;
        let value = |key: &str| {
            let line =
                block.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no `{key}`"));
            line.split_once('=').unwrap().1.trim().to_owned()
        };
        let text = stems(&value("text"));
        let expected = value("expect");
        for name in expected.trim_matches(['[', ']']).split(',').map(|name| name.trim().trim_matches('"')) {
            let object = org.object(name).unwrap_or_else(|| panic!("no object `{name}`"));
            if value("paraphrase") == "true" {
                let shared: Vec<String> = stems(&format!("{} {}", name.replace("__c", ""), object.label))
                    .intersection(&text)
                    .cloned()
                    .collect();
                assert!(shared.is_empty(), "`{name}` shares {shared:?}");
            }
        }
        paraphrases += usize::from(value("paraphrase") == "true");
    }
    assert_eq!(count, 10);
    assert!(paraphrases >= 4);
}
