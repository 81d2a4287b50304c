//! Builds the incoming relationships of every object from the references of all others.

use std::collections::{HashMap, HashSet};

use super::labels;
use crate::model::{Child, SObject};

/// References that a real org does not name from the parent's side.
const UNNAMED: &[&str] =
    &["CreatedById", "LastModifiedById", "OwnerId", "UserOrGroupId", "InsertedById", "SetupOwnerId"];

/// Fills `children` of all objects; relationship names are unique per parent.
///
/// `known` holds the names of the standard list by (parent, child); they are used in the order of the
/// child's fields. Custom references are named after the plural label of the child.
pub fn connect(objects: &mut [SObject], known: &HashMap<(String, String), Vec<String>>) {
    let positions: HashMap<String, usize> =
        objects.iter().enumerate().map(|(at, object)| (object.name.clone(), at)).collect();
    let mut children: Vec<Vec<Child>> = vec![Vec::new(); objects.len()];
    let mut taken: HashSet<(usize, String)> = HashSet::new();
    for object in objects.iter() {
        let mut used: HashMap<&str, usize> = HashMap::new();
        for field in &object.fields {
            for target in &field.reference_to {
                let Some(&parent) = positions.get(target) else { continue };
                let name = if UNNAMED.contains(&field.name.as_str()) || is_change_event(object) {
                    None
                } else if field.custom {
                    Some(custom_name(object, field.relationship_name.as_deref(), |name| {
                        taken.contains(&(parent, name.to_owned()))
                    }))
                } else {
                    let next = used.entry(target.as_str()).or_insert(0);
                    let listed =
                        known.get(&(target.clone(), object.name.clone())).and_then(|names| names.get(*next));
                    *next += 1;
                    listed.cloned().or_else(|| companion_name(object))
                };
                let name = name.filter(|name| taken.insert((parent, name.clone())));
                children[parent].push(Child {
                    object: object.name.clone(),
                    field: field.name.clone(),
                    relationship_name: name,
                    cascade_delete: field.master_detail.is_some(),
                });
            }
        }
    }
    for (object, children) in objects.iter_mut().zip(children) {
        object.children = children;
    }
}

fn is_change_event(object: &SObject) -> bool {
    object.associate_type.as_deref() == Some("ChangeEvent")
}

fn companion_name(object: &SObject) -> Option<String> {
    match object.associate_type.as_deref()? {
        "Share" => Some("Shares".to_owned()),
        "History" => Some("Histories".to_owned()),
        "Feed" => Some("Feeds".to_owned()),
        _ => None,
    }
}

fn custom_name(object: &SObject, relation: Option<&str>, taken: impl Fn(&str) -> bool) -> String {
    let word = |text: &str| {
        text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect::<String>().replace(' ', "_")
    };
    let many = if object.label_plural.is_empty() {
        labels::plural(&object.label)
    } else {
        object.label_plural.clone()
    };
    let plain = format!("{}__r", word(&many));
    if taken(&plain) {
        let relation = relation.unwrap_or_default().trim_end_matches("__r");
        format!("{}_by_{relation}__r", word(&many))
    } else {
        plain
    }
}
