//! Global describe and describe, rendered from the model in the order and spelling of the real answers.

use crate::{
    json,
    model::{Child, Field, OrgModel, SObject},
    tables::{self, Kind, MetaTable, Offered},
};
use serde_json::{Value, json};

/// `/sobjects`.
pub fn global(model: &OrgModel, version: u32) -> Vec<u8> {
    let mut out = br#"{"encoding":"UTF-8","maxBatchSize":200,"sobjects":["#.to_vec();
    for (at, object) in model.objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        entity(&mut out, object, version);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// The members global describe and describe share.
fn entity(out: &mut Vec<u8>, object: &SObject, version: u32) {
    let writable = object.createable;
    let base = format!("/services/data/v{version}.0/sobjects/{}", object.name);
    json::field(out, "activateable", &false);
    json::field(out, "associateEntityType", &object.associate_type);
    json::field(out, "associateParentEntity", &object.associate_parent);
    json::field(out, "createable", &writable);
    json::field(out, "custom", &object.custom);
    json::field(out, "customSetting", &object.custom_setting);
    json::field(out, "deepCloneable", &false);
    json::field(out, "deletable", &writable);
    json::field(out, "deprecatedAndHidden", &false);
    json::field(out, "feedEnabled", &false);
    json::field(out, "hasSubtypes", &false);
    json::field(out, "isInterface", &false);
    json::field(out, "isSubtype", &false);
    json::field(out, "keyPrefix", &object.key_prefix);
    json::field(out, "label", &object.label);
    json::field(out, "labelPlural", &object.label_plural);
    json::field(out, "layoutable", &(object.triggerable && object.associate_type.is_none()));
    json::field(out, "mergeable", &matches!(object.name.as_str(), "Account" | "Contact" | "Lead"));
    json::field(out, "mruEnabled", &(writable && object.associate_type.is_none()));
    json::field(out, "name", &object.name);
    json::field(out, "queryable", &object.queryable);
    json::field(out, "replicateable", &object.queryable);
    json::field(out, "retrieveable", &object.queryable);
    json::field(out, "searchable", &object.searchable);
    json::field(out, "triggerable", &object.triggerable);
    json::field(out, "undeletable", &writable);
    json::field(out, "updateable", &writable);
    let urls = json!({ "rowTemplate": format!("{base}/{{ID}}"), "describe": format!("{base}/describe"), "sobject": base });
    json::field(out, "urls", &urls);
}

/// `/sobjects/X/describe`.
///
/// `seen` says by position which fields the user may see; the others are simply not there.
pub fn object(model: &OrgModel, object: &SObject, version: u32, seen: &dyn Fn(usize) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + object.fields.len() * 1024);
    out.extend_from_slice(br#"{"actionOverrides":[]"#);
    entity(&mut out, object, version);
    json::key(&mut out, "childRelationships");
    list(&mut out, object.children.iter(), child);
    json::field(&mut out, "compactLayoutable", &object.triggerable);
    json::key(&mut out, "fields");
    let fields = object.fields.iter().enumerate().filter(|(at, _)| seen(*at));
    list(&mut out, fields.map(|(_, field)| field), field);
    json::field(&mut out, "listviewable", &Value::Null);
    json::field(&mut out, "lookupLayoutable", &Value::Null);
    json::field(&mut out, "namedLayoutInfos", &json!([]));
    json::field(&mut out, "networkScopeFieldName", &Value::Null);
    let record_types: Vec<Value> = record_types(model, object, version);
    json::field(&mut out, "recordTypeInfos", &record_types);
    json::field(&mut out, "searchLayoutable", &object.searchable);
    json::field(&mut out, "sobjectDescribeOption", "FULL");
    json::field(
        &mut out,
        "supportedScopes",
        &json!([{ "label": format!("All {}", object.label_plural), "name": "everything" }]),
    );
    out.push(b'}');
    out
}

fn list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, one: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        one(out, item);
        out.push(b'}');
    }
    out.push(b']');
}

fn child(out: &mut Vec<u8>, child: &Child) {
    json::field(out, "cascadeDelete", &child.cascade_delete);
    json::field(out, "childSObject", &child.object);
    json::field(out, "deprecatedAndHidden", &false);
    json::field(out, "field", &child.field);
    json::field(out, "junctionIdListNames", &json!([]));
    json::field(out, "junctionReferenceTo", &json!([]));
    json::field(out, "relationshipName", &child.relationship_name);
    json::field(out, "restrictedDelete", &false);
}

/// The master record type every object has, then its own.
fn record_types(model: &OrgModel, object: &SObject, version: u32) -> Vec<Value> {
    let info = |id: &str, name: &str, developer_name: &str, active: bool, master: bool| {
        let url = format!("/services/data/v{version}.0/sobjects/{}/describe/layouts/{id}", object.name);
        json!({ "active": active, "available": active, "defaultRecordTypeMapping": master, "developerName": developer_name,
                "master": master, "name": name, "recordTypeId": id, "urls": { "layout": url } })
    };
    let own = model.record_types.iter().filter(|record_type| record_type.object == object.name);
    let own = own.map(|own| info(&own.id, &own.name, &own.developer_name, own.is_active, false));
    std::iter::once(info("012000000000000AAA", "Master", "Master", true, true)).chain(own).collect()
}

fn soap_type(field_type: &str) -> &'static str {
    match field_type {
        "id" | "reference" | "masterrecord" => "tns:ID",
        "boolean" => "xsd:boolean",
        "int" => "xsd:int",
        "long" => "xsd:long",
        "double" | "currency" | "percent" => "xsd:double",
        "date" => "xsd:date",
        "datetime" => "xsd:dateTime",
        "time" => "xsd:time",
        "base64" => "xsd:base64Binary",
        "address" => "urn:address",
        "location" => "urn:location",
        "anyType" => "xsd:anyType",
        _ => "xsd:string",
    }
}

fn field(out: &mut Vec<u8>, field: &Field) {
    let kind = tables::kind_of(field);
    let plain = !matches!(kind, Kind::Json | Kind::LongText);
    let textual = soap_type(&field.field_type) == "xsd:string";
    let number = matches!(field.field_type.as_str(), "double" | "currency" | "percent");
    let (precision, scale) = if number { (field.precision, field.scale) } else { (0, 0) };
    let digits = if matches!(field.field_type.as_str(), "int" | "long") { field.precision.max(9) } else { 0 };
    let groupable =
        plain && !number && !matches!(kind, Kind::DateTime | Kind::MultiPicklist) && field.formula.is_none();
    json::field(out, "aggregatable", &(plain && kind != Kind::Bool && kind != Kind::MultiPicklist));
    json::field(out, "aiPredictionField", &false);
    json::field(out, "autoNumber", &field.auto_number);
    json::field(out, "byteLength", &if textual { field.length.saturating_mul(3) } else { field.length });
    json::field(out, "calculated", &field.formula.is_some());
    json::field(out, "calculatedFormula", &field.formula);
    json::field(out, "cascadeDelete", &field.master_detail.is_some());
    json::field(out, "caseSensitive", &(field.unique && !field.external_id));
    json::field(out, "compoundFieldName", &field.compound);
    json::field(out, "controllerName", &field.controller);
    json::field(out, "createable", &field.createable);
    json::field(out, "custom", &field.custom);
    json::field(out, "defaultValue", &if kind == Kind::Bool { Value::Bool(false) } else { Value::Null });
    json::field(out, "defaultValueFormula", &Value::Null);
    json::field(out, "defaultedOnCreate", &field.defaulted_on_create);
    json::field(out, "dependentPicklist", &field.controller.is_some());
    json::field(out, "deprecatedAndHidden", &false);
    json::field(out, "digits", &digits);
    json::field(out, "displayLocationInDecimal", &false);
    json::field(out, "encrypted", &(field.field_type == "encryptedstring"));
    json::field(out, "externalId", &field.external_id);
    json::field(out, "extraTypeInfo", &Value::Null);
    json::field(out, "filterable", &plain);
    json::field(out, "filteredLookupInfo", &Value::Null);
    json::field(out, "formulaTreatNullNumberAsZero", &false);
    json::field(out, "groupable", &groupable);
    json::field(out, "highScaleNumber", &false);
    json::field(out, "htmlFormatted", &false);
    json::field(out, "idLookup", &(field.field_type == "id" || field.external_id || field.unique));
    json::field(out, "inlineHelpText", &field.help);
    json::field(out, "label", &field.label);
    json::field(out, "length", &field.length);
    json::field(out, "mask", &Value::Null);
    json::field(out, "maskType", &Value::Null);
    json::field(out, "name", &field.name);
    json::field(out, "nameField", &field.name_field);
    json::field(out, "namePointing", &(field.reference_to.len() > 1));
    json::field(out, "nillable", &field.nillable);
    json::field(out, "permissionable", &field.permissionable);
    json::key(out, "picklistValues");
    list(out, field.picklist.iter(), |out, (value, label)| {
        json::field(out, "active", &true);
        json::field(out, "defaultValue", &false);
        json::field(out, "label", label);
        json::field(out, "validFor", &Value::Null);
        json::field(out, "value", value);
    });
    json::field(out, "polymorphicForeignKey", &(field.reference_to.len() > 1));
    json::field(out, "precision", &precision);
    json::field(out, "queryByDistance", &(field.field_type == "location"));
    json::field(out, "referenceTargetField", &Value::Null);
    json::field(out, "referenceTo", &field.reference_to);
    json::field(out, "relationshipName", &field.relationship_name);
    json::field(out, "relationshipOrder", &field.master_detail);
    json::field(out, "restrictedDelete", &false);
    json::field(out, "restrictedPicklist", &field.restricted_picklist);
    json::field(out, "scale", &scale);
    json::field(out, "searchPrefilterable", &false);
    json::field(out, "soapType", soap_type(&field.field_type));
    json::field(out, "sortable", &(plain && kind != Kind::MultiPicklist));
    json::field(out, "type", &field.field_type);
    json::field(out, "unique", &field.unique);
    json::field(out, "updateable", &field.updateable);
    json::field(out, "writeRequiresMasterRead", &false);
}

/// A Tooling table in the shape of an object, so that `/tooling/sobjects` describes it like any other.
pub fn tooling_object(table: &MetaTable) -> SObject {
    let column = |column: &tables::Column| {
        let (field_type, length) = match column.kind {
            Kind::Id => (if column.name == "Id" { "id" } else { "reference" }, 18),
            Kind::Text | Kind::MultiPicklist => ("string", 255),
            Kind::Bool => ("boolean", 0),
            Kind::Int => ("int", 0),
            Kind::Double => ("double", 0),
            Kind::Date => ("date", 0),
            Kind::DateTime => ("datetime", 0),
            Kind::Json => ("complexvalue", 0),
            Kind::LongText => ("textarea", 1_000_000),
        };
        let reference_to =
            table.parents.iter().filter(|parent| format!("{}Id", parent.relation) == column.name);
        Field {
            name: column.name.to_owned(),
            label: column.name.to_owned(),
            field_type: field_type.to_owned(),
            length,
            nillable: column.name != "Id",
            reference_to: reference_to.map(|parent| parent.table.to_owned()).collect(),
            ..Field::default()
        }
    };
    SObject {
        name: table.name.to_owned(),
        label: table.name.to_owned(),
        label_plural: table.name.to_owned(),
        key_prefix: Some(table.key_prefix.to_owned()),
        queryable: true,
        fields: table.columns.iter().map(column).collect(),
        ..SObject::default()
    }
}

/// `/tooling/sobjects`.
pub fn tooling_global(version: u32) -> Vec<u8> {
    let objects = tables::all().filter(|table| table.offered != Offered::Data).map(tooling_object).collect();
    global(&OrgModel { objects, ..OrgModel::default() }, version)
}
