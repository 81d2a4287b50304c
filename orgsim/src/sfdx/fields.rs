//! Objects and fields of metadata XML.

use std::collections::HashMap;

use roxmltree::Node;

use super::xml::{all, flag, number, one, text};
use crate::catalog;
use crate::model::Field;

/// What an object file says about the object itself.
#[derive(Debug, Default, Clone)]
pub struct ObjectMeta {
    /// Label.
    pub label: Option<String>,
    /// Label, plural.
    pub plural: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Label of the name field.
    pub name_label: Option<String>,
    /// Names are numbered by the org.
    pub auto_number: bool,
    /// A custom setting.
    pub setting: bool,
    /// Tracks history.
    pub history: bool,
    /// Has a feed.
    pub feed: bool,
    /// Is shared record by record.
    pub share: bool,
}

/// Reads the root of an object file.
pub fn object_meta(root: Node) -> ObjectMeta {
    let name_field = one(root, "nameField");
    let sharing = text(root, "sharingModel");
    ObjectMeta {
        label: text(root, "label"),
        plural: text(root, "pluralLabel"),
        description: text(root, "description"),
        name_label: name_field.and_then(|node| text(node, "label")),
        auto_number: name_field.and_then(|node| text(node, "type")).as_deref() == Some("AutoNumber"),
        setting: one(root, "customSettingsType").is_some(),
        history: flag(root, "enableHistory"),
        feed: flag(root, "enableFeeds"),
        share: matches!(sharing.as_deref(), Some("Private" | "Read")),
    }
}

/// Reads a field; the error says which one and what is missing.
pub fn field(node: Node, value_sets: &HashMap<String, Vec<(String, String)>>) -> Result<Field, String> {
    let name = text(node, "fullName").ok_or("a field without `fullName`")?;
    if !is_api_name(&name) {
        return Err(format!("`{name}` is no API name"));
    }
    let custom = name.ends_with("__c");
    let Some(kind) = text(node, "type") else {
        if custom {
            return Err(format!("field `{name}` has no `type`"));
        }
        // A standard field's file only carries what differs from the usual.
        return Ok(Field {
            help: text(node, "inlineHelpText"),
            picklist: picklist(node, value_sets),
            ..named(&name, "")
        });
    };
    let formula = text(node, "formula").or_else(|| roll_up(node, &kind));
    let field_type = describe_type(&kind, node)?;
    let required = flag(node, "required") || kind == "MasterDetail";
    let writable = formula.is_none() && kind != "AutoNumber";
    let detail = kind == "MasterDetail";
    let reference = matches!(field_type, "reference");
    let default_length = match field_type {
        "reference" => 18,
        "picklist" | "url" | "textarea" => 255,
        "multipicklist" => 4_099,
        "phone" => 40,
        "email" => 80,
        "string" if !writable => 1_300,
        _ => 0,
    };
    Ok(Field {
        label: text(node, "label").unwrap_or_else(|| catalog::label_of(&name)),
        length: text(node, "length").and_then(|digits| digits.parse().ok()).unwrap_or(default_length),
        precision: number(node, "precision"),
        scale: number(node, "scale"),
        nillable: !required && field_type != "boolean",
        defaulted_on_create: field_type == "boolean" || one(node, "defaultValue").is_some(),
        createable: writable,
        updateable: writable && (!detail || flag(node, "reparentableMasterDetail")),
        custom,
        external_id: flag(node, "externalId"),
        unique: flag(node, "unique"),
        auto_number: kind == "AutoNumber",
        help: text(node, "inlineHelpText"),
        description: text(node, "description"),
        reference_to: text(node, "referenceTo")
            .into_iter()
            .chain((kind == "Hierarchy").then(|| "User".to_owned()))
            .filter(|_| reference)
            .collect(),
        relationship_name: reference.then(|| format!("{}__r", name.trim_end_matches("__c"))),
        master_detail: detail.then(|| number(node, "relationshipOrder")),
        picklist: picklist(node, value_sets),
        restricted_picklist: one(node, "valueSet").is_some_and(|set| flag(set, "restricted")),
        controller: one(node, "valueSet").and_then(|set| text(set, "controllingField")),
        permissionable: custom && !required,
        formula,
        ..named(&name, field_type)
    })
}

/// Templates such as `%%%NAMESPACE%%%Level__c` lie in some projects; they name nothing until they are filled in.
pub fn is_api_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn named(name: &str, field_type: &str) -> Field {
    Field {
        name: name.to_owned(),
        label: catalog::label_of(name),
        field_type: field_type.to_owned(),
        nillable: true,
        createable: true,
        updateable: true,
        custom: name.ends_with("__c"),
        ..Field::default()
    }
}

fn describe_type(kind: &str, node: Node) -> Result<&'static str, String> {
    Ok(match kind {
        "Text" | "AutoNumber" => "string",
        "TextArea" | "LongTextArea" | "Html" => "textarea",
        "EncryptedText" => "encryptedstring",
        "Picklist" => "picklist",
        "MultiselectPicklist" => "multipicklist",
        "Number" => "double",
        "Currency" => "currency",
        "Percent" => "percent",
        "Checkbox" => "boolean",
        "Date" => "date",
        "DateTime" => "datetime",
        "Time" => "time",
        "Email" => "email",
        "Phone" => "phone",
        "Url" => "url",
        "Location" => "location",
        "Address" => "address",
        "Lookup" | "MasterDetail" | "Hierarchy" | "MetadataRelationship" | "IndirectLookup" => "reference",
        "ExternalLookup" => "string",
        "Summary" => match text(node, "summaryOperation").as_deref() {
            Some("count") => "double",
            _ => "currency",
        },
        other => return Err(format!("type `{other}` is not known")),
    })
}

fn roll_up(node: Node, kind: &str) -> Option<String> {
    let operation = text(node, "summaryOperation").filter(|_| kind == "Summary")?;
    let of = text(node, "summarizedField").or_else(|| text(node, "summaryForeignKey")).unwrap_or_default();
    Some(format!("{}({of})", operation.to_ascii_uppercase()))
}

fn picklist(node: Node, value_sets: &HashMap<String, Vec<(String, String)>>) -> Vec<(String, String)> {
    if let Some(set) = one(node, "valueSet") {
        if let Some(shared) = text(set, "valueSetName") {
            return value_sets.get(&shared).cloned().unwrap_or_default();
        }
        return one(set, "valueSetDefinition")
            .map(|definition| values(definition, "value"))
            .unwrap_or_default();
    }
    one(node, "picklist").map(|list| values(list, "picklistValues")).unwrap_or_default()
}

/// Values and labels of a list in either format; inactive ones are left out.
pub fn values(node: Node, tag: &str) -> Vec<(String, String)> {
    all(node, tag)
        .filter(|value| text(*value, "isActive").as_deref() != Some("false"))
        .filter_map(|value| {
            let name = text(value, "fullName")?;
            let label = text(value, "label").unwrap_or_else(|| name.clone());
            Some((name, label))
        })
        .collect()
}
