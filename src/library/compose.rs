//! Composes the documents of one object: section chunks, one document a field, one an automation.
//!
//! Promises: pure and deterministic (no clock, no order taken from a hash map); every field of the
//! describe appears in a `fields` part; nothing is claimed that was not read: a family that failed is
//! named with its reason in the section that needs it, and the other families still show.

use serde_json::{Map, Value, json};

use super::draft::Subject;
use super::families::{FamilyIndex, ObjectFamilies};
use super::{automation, fields, glossary, overview, relationships, security, usage};
use crate::model::{Document, FieldDescribe, ObjectDescribe, OrgName};

/// Suffixes of the objects that Salesforce makes beside another one.
const COMPANION_SUFFIXES: [&str; 4] = ["ChangeEvent", "History", "Share", "Feed"];

/// All documents of one object, sorted by id.
///
/// Every object has `overview`, `relationships` and `fields`; a companion (see [`companion_of`]) has
/// `automation`, `security` and `usage` only where there is something to say, and no `field` documents:
/// there are two companions to every object, and their fields are their parent's.
pub fn compose(org: &OrgName, describe: &ObjectDescribe, families: &FamilyIndex) -> Vec<Document> {
    let companion = companion_of(describe);
    let nothing = ObjectFamilies::default();
    let found = families.object(&describe.name).unwrap_or(&nothing);
    let subject = Subject { org, describe, metadata: base_metadata(describe, companion.as_deref()) };

    let mut documents = vec![overview::document(&subject, companion.as_deref())];
    documents.extend(relationships::documents(&subject));
    documents.extend(fields::batches(&subject));
    if companion.is_none() {
        documents.extend(fields::single_fields(&subject));
    }
    if companion.is_none() || automation::has_anything(found, families) {
        documents.extend(automation::documents(&subject, found, families));
    }
    if companion.is_none() || security::has_anything(found, families) {
        documents.extend(security::documents(&subject, found, families));
    }
    if companion.is_none() || usage::has_anything(describe, found, families) {
        documents.push(usage::document(&subject, found, families));
    }
    documents.sort_by(|a, b| a.id.cmp(&b.id));
    documents
}

/// The object that `describe` accompanies: `Account` for `AccountHistory`, `Invoice__c` for
/// `Invoice__ChangeEvent`. `None` for objects in their own right, `LoginHistory` among them.
pub fn companion_of(describe: &ObjectDescribe) -> Option<String> {
    let name = describe.name.as_str();
    let suffix = COMPANION_SUFFIXES.iter().find(|suffix| name.ends_with(*suffix))?;
    let stem = name.strip_suffix(suffix).filter(|stem| !stem.is_empty())?;
    if let Some(parent) = describe.associate_parent_entity.as_ref().filter(|parent| !parent.is_empty()) {
        return Some(parent.clone());
    }
    if let Some(custom) = stem.strip_suffix("__") {
        return Some(format!("{custom}__c"));
    }
    // Change events point at nothing; the others hold a reference to the record they accompany.
    let refers = |field: &FieldDescribe| field.reference_to.iter().any(|target| target == stem);
    (*suffix == "ChangeEvent" || describe.fields.iter().any(refers)).then(|| stem.to_owned())
}

/// Objects in which people keep what they work on, as against the platform's own bookkeeping: those of
/// this org and its packages, and the standard objects that people have a word for.
fn is_business_object(describe: &ObjectDescribe, companion: Option<&str>) -> bool {
    let made_here = describe.custom && !describe.custom_setting;
    companion.is_none() && (made_here || glossary::purpose(describe.name.as_str()).is_some())
}

fn base_metadata(describe: &ObjectDescribe, companion: Option<&str>) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("apiName".to_owned(), json!(describe.name));
    metadata.insert("label".to_owned(), json!(describe.label));
    metadata.insert("custom".to_owned(), json!(describe.custom));
    if let Some(namespace) = describe.name.namespace() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    if let Some(parent) = companion {
        metadata.insert("companionOf".to_owned(), json!(parent));
    }
    metadata.insert("business".to_owned(), json!(is_business_object(describe, companion)));
    metadata
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
