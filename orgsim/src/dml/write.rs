//! One record at a time: checks it as the org does, then puts it in place.

use super::{
    Operation, RowError, WriteResult,
    overlay::{Fate, Scope, WrittenRow},
    values,
};
use crate::{
    ids,
    model::{Field, SObject},
    org::OrgData,
    rows_api::Value,
    site::Site,
};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Applies one record inside a request that has entered already.
pub fn write_within(
    site: &Site,
    object: &SObject,
    operation: &Operation,
    record: &Map<String, Json>,
) -> WriteResult {
    let lock_row_percent = site.data.knobs().lock_row_percent;
    if site.data.strikes(lock_row_percent) {
        let message = "unable to obtain exclusive access to this record";
        return WriteResult::refused(RowError::of("UNABLE_TO_LOCK_ROW", message, &[]));
    }
    write_at(&site.org, object, operation, record, site.clock.epoch_ms())
}

/// As [`write_within`], stamped with a moment of the caller's choosing and never refused for a lock.
pub fn write_at(
    org: &OrgData,
    object: &SObject,
    operation: &Operation,
    record: &Map<String, Json>,
    now_ms: i64,
) -> WriteResult {
    let Some(at) = org.position(&object.name) else {
        let message = format!("sObject type '{}' is not supported.", object.name);
        return WriteResult::refused(RowError::of("INVALID_TYPE", message, &[]));
    };
    // The org keeps whole seconds.
    let stamp_ms = now_ms - now_ms.rem_euclid(1_000);
    let writer = Writer { org, at, object: &org.model.objects[at], stamp_ms };
    if !object.createable {
        let message = format!("entity type cannot be written: {}", object.name);
        return WriteResult::refused(RowError::of("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message, &[]));
    }
    // What is checked below must still hold when the row is put in place.
    let _one_writer = org.rows.lock();
    let done = match operation {
        Operation::Insert => writer.insert(record),
        Operation::Update => writer
            .named(record, "update")
            .and_then(|row| writer.update(row, record, None))
            .map(|id| WriteResult { id: Some(id), ..WriteResult::default() }),
        Operation::Upsert { external_id_field } => writer.upsert(external_id_field, record),
        Operation::Delete => writer.named(record, "delete").and_then(|row| writer.delete(row)),
        Operation::HardDelete => writer.named(record, "delete").and_then(|row| writer.hard_delete(row)),
        Operation::Undelete => writer.named(record, "undelete").and_then(|row| writer.undelete(row)),
    };
    done.unwrap_or_else(|errors| WriteResult { errors, ..WriteResult::default() })
}

/// The value of a key whatever its case.
pub fn member<'a>(record: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    record.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

struct Writer<'a> {
    org: &'a OrgData,
    at: usize,
    object: &'a SObject,
    /// Epoch milliseconds, whole seconds.
    stamp_ms: i64,
}

type Errors = Vec<RowError>;

fn one(error: RowError) -> Errors {
    vec![error]
}

impl Writer<'_> {
    fn position(&self, name: &str) -> Option<usize> {
        self.object.fields.iter().position(|field| field.name == name)
    }

    fn set(&self, values: &mut BTreeMap<usize, Value>, name: &str, value: Value) {
        if let Some(field) = self.position(name) {
            values.insert(field, value);
        }
    }

    fn id_of(&self, row: u64) -> Result<String, Errors> {
        let none = || one(RowError::of("UNKNOWN_EXCEPTION", "this object's records have no ids", &[]));
        self.org.rows.id_of(self.at, self.object, row).ok_or_else(none)
    }

    /// The row whose id the record carries, whatever has become of it.
    fn named(&self, record: &Map<String, Json>, verb: &str) -> Result<u64, Errors> {
        let id = match member(record, "Id") {
            Some(Json::String(id)) if !id.is_empty() => id,
            _ => {
                let message = format!("Id not specified in an {verb} call");
                return Err(one(RowError::of("MISSING_ARGUMENT", message, &[])));
            }
        };
        self.row_of(id)
    }

    fn row_of(&self, id: &str) -> Result<u64, Errors> {
        let well_formed = ids::looks_like_id(id) && (id.len() == 15 || ids::with_suffix(&id[..15]) == id);
        if !well_formed {
            return Err(one(RowError::of("MALFORMED_ID", format!("malformed id {id}"), &["Id"])));
        }
        if self.object.key_prefix.as_deref() != Some(&id[..3]) {
            let message = format!("Record ID: id value of incorrect type: {id}");
            return Err(one(RowError::of("MALFORMED_ID", message, &["Id"])));
        }
        let row = self.org.rows.index_of(self.at, self.object, id);
        let is_there = |row: &u64| self.org.rows.fate(self.at, *row).is_some_and(|fate| !fate.is_gone());
        let row = row.filter(is_there);
        row.ok_or_else(|| one(RowError::of("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[])))
    }

    fn live(&self, row: u64) -> Result<(), Errors> {
        match self.org.rows.fate(self.at, row) {
            Some(Fate::Live) => Ok(()),
            _ => Err(one(RowError::of("ENTITY_IS_DELETED", "entity is deleted", &[]))),
        }
    }

    fn insert(&self, record: &Map<String, Json>) -> Result<WriteResult, Errors> {
        if member(record, "Id").is_some_and(|id| !id.is_null() && *id != "") {
            let message = "cannot specify Id in an insert call";
            return Err(one(RowError::of("INVALID_FIELD_FOR_INSERT_UPDATE", message, &["Id"])));
        }
        let mut values = self.changes(record, true, None)?;
        let missing: Vec<&str> = self
            .object
            .fields
            .iter()
            .enumerate()
            .filter(|(at, field)| {
                self.is_required(field) && matches!(values.get(at), None | Some(Value::Null))
            })
            .map(|(_, field)| field.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(one(required(&missing)));
        }
        self.check_unique(&values, None)?;
        let Some((row, id)) = self.org.rows.append(self.at, self.object) else {
            return Err(one(RowError::of(
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                format!("entity type cannot be inserted: {}", self.object.label),
                &[],
            )));
        };
        self.fill_in(&mut values, row);
        let user = Value::Text(self.org.user_id.clone());
        self.set(&mut values, "CreatedDate", Value::DateTime(self.stamp_ms));
        self.set(&mut values, "CreatedById", user.clone());
        if let Some(owner) = self.position("OwnerId") {
            let empty = matches!(values.get(&owner), None | Some(Value::Null));
            if empty {
                values.insert(owner, user);
            }
        }
        self.stamp(&mut values);
        self.name_person(row, &mut values);
        self.org.rows.put(self.at, row, Some(WrittenRow { values, fate: Fate::Live }));
        Ok(WriteResult { id: Some(id), created: true, errors: Vec::new() })
    }

    /// What the org fills in itself.
    fn fill_in(&self, values: &mut BTreeMap<usize, Value>, row: u64) {
        for (at, field) in self.object.fields.iter().enumerate() {
            if field.auto_number {
                values.insert(at, self.org.rows.source().value(self.object, row, field));
            }
            let unset = matches!(values.get(&at), None | Some(Value::Null));
            if unset && !field.nillable && field.field_type == "picklist" {
                let first = field.picklist.first().map(|(value, _)| Value::Text(value.clone()));
                values.insert(at, first.unwrap_or(Value::Null));
            }
        }
    }

    fn stamp(&self, values: &mut BTreeMap<usize, Value>) {
        self.set(values, "LastModifiedDate", Value::DateTime(self.stamp_ms));
        self.set(values, "SystemModstamp", Value::DateTime(self.stamp_ms));
        self.set(values, "LastModifiedById", Value::Text(self.org.user_id.clone()));
    }

    /// A person's name is made of its parts.
    fn name_person(&self, row: u64, values: &mut BTreeMap<usize, Value>) {
        let (Some(name), Some(last)) = (self.position("Name"), self.position("LastName")) else { return };
        let first = self.position("FirstName");
        if !values.contains_key(&last) && !first.is_some_and(|first| values.contains_key(&first)) {
            return;
        }
        let part = |field: usize| {
            let value = values
                .get(&field)
                .cloned()
                .unwrap_or_else(|| self.org.rows.value(self.at, self.object, row, field));
            match value {
                Value::Text(text) => text,
                _ => String::new(),
            }
        };
        let full = format!("{} {}", first.map(part).unwrap_or_default(), part(last));
        let limit = if self.object.fields[name].length == 0 { 121 } else { self.object.fields[name].length };
        let full: String = full.trim().chars().take(limit as usize).collect();
        values.insert(name, Value::Text(full));
    }

    fn update(&self, row: u64, record: &Map<String, Json>, but_not: Option<&str>) -> Result<String, Errors> {
        self.live(row)?;
        let converted = self.position("IsConverted").filter(|_| self.object.name == "Lead");
        if converted
            .is_some_and(|field| self.org.rows.value(self.at, self.object, row, field) == Value::Bool(true))
        {
            let message = "cannot reference converted lead";
            return Err(one(RowError::of("CANNOT_UPDATE_CONVERTED_LEAD", message, &[])));
        }
        let mut changes = self.changes(record, false, but_not)?;
        let emptied: Vec<&str> = changes
            .iter()
            .filter(|(at, value)| **value == Value::Null && self.is_required(&self.object.fields[**at]))
            .map(|(at, _)| self.object.fields[*at].name.as_str())
            .collect();
        if !emptied.is_empty() {
            return Err(one(required(&emptied)));
        }
        self.check_unique(&changes, Some(row))?;
        self.stamp(&mut changes);
        self.name_person(row, &mut changes);
        let mut written = self.org.rows.written(self.at, row);
        written.values.extend(changes);
        self.org.rows.put(self.at, row, Some(written));
        self.id_of(row)
    }

    fn upsert(&self, by: &str, record: &Map<String, Json>) -> Result<WriteResult, Errors> {
        let changed = |id| WriteResult { id: Some(id), ..WriteResult::default() };
        if by.eq_ignore_ascii_case("Id") {
            return match member(record, "Id") {
                Some(Json::String(id)) if !id.is_empty() => {
                    self.row_of(id).and_then(|row| self.update(row, record, None)).map(changed)
                }
                _ => self.insert(record),
            };
        }
        let field = self.org.field_position(self.at, by);
        let Some(at) = field.filter(|&at| self.object.fields[at].external_id) else {
            let message = format!(
                "Field name provided, {by} does not match an External ID, Salesforce Id, or indexed field for {}",
                self.object.name
            );
            return Err(one(RowError::of("INVALID_FIELD", message, &[])));
        };
        let field = &self.object.fields[at];
        let key = match member(record, &field.name).map(|json| values::read(field, json)).transpose() {
            Ok(Some(Value::Text(key))) => key,
            Ok(Some(Value::Double(key))) => key.to_string(),
            Ok(Some(Value::Int(key))) => key.to_string(),
            Ok(_) => {
                let message = format!("{} not specified", field.name);
                return Err(one(RowError::of("MISSING_ARGUMENT", message, &[])));
            }
            Err(error) => return Err(one(error)),
        };
        match self.org.rows.find(self.at, self.object, at, &key).as_slice() {
            [] => self.insert(record),
            [row] => self.update(*row, record, Some(&field.name)).map(changed),
            several => {
                let ids: Vec<String> = several
                    .iter()
                    .filter_map(|&row| self.org.rows.id_of(self.at, self.object, row))
                    .collect();
                let message = format!(
                    "{}: more than one record found for external id field: [{}]",
                    field.name,
                    ids.join(", ")
                );
                Err(one(RowError::of("DUPLICATE_EXTERNAL_ID", message, &[&field.name])))
            }
        }
    }

    fn delete(&self, row: u64) -> Result<WriteResult, Errors> {
        self.live(row)?;
        let id = self.id_of(row)?;
        self.bury(row, None);
        Ok(WriteResult { id: Some(id), ..WriteResult::default() })
    }

    /// Puts a row into the recycle bin; the loser of a merge names its master.
    fn bury(&self, row: u64, master: Option<String>) {
        let mut written = self.org.rows.written(self.at, row);
        self.set(&mut written.values, "IsDeleted", Value::Bool(true));
        if let Some(master) = master {
            self.set(&mut written.values, "MasterRecordId", Value::Text(master));
        }
        self.stamp(&mut written.values);
        written.fate = Fate::Deleted { at_ms: self.stamp_ms };
        self.org.rows.put(self.at, row, Some(written));
    }

    fn hard_delete(&self, row: u64) -> Result<WriteResult, Errors> {
        let id = self.id_of(row)?;
        // Who empties the bin does not delete anew.
        let at_ms = match self.org.rows.fate(self.at, row) {
            Some(Fate::Deleted { at_ms }) => at_ms,
            _ => self.stamp_ms,
        };
        let gone = WrittenRow { values: BTreeMap::new(), fate: Fate::Erased { at_ms } };
        self.org.rows.put(self.at, row, Some(gone));
        Ok(WriteResult { id: Some(id), ..WriteResult::default() })
    }

    fn undelete(&self, row: u64) -> Result<WriteResult, Errors> {
        let id = self.id_of(row)?;
        let merged = self
            .position("MasterRecordId")
            .is_some_and(|field| self.org.rows.value(self.at, self.object, row, field) != Value::Null);
        if merged || !matches!(self.org.rows.fate(self.at, row), Some(Fate::Deleted { .. })) {
            let message = "Entity is not in the recycle bin";
            return Err(one(RowError::of("UNDELETE_FAILED", message, &[])));
        }
        let mut written = self.org.rows.written(self.at, row);
        self.set(&mut written.values, "IsDeleted", Value::Bool(false));
        self.stamp(&mut written.values);
        written.fate = Fate::Live;
        self.org.rows.put(self.at, row, Some(written));
        Ok(WriteResult { id: Some(id), ..WriteResult::default() })
    }

    fn is_required(&self, field: &Field) -> bool {
        !field.nillable
            && field.createable
            && !field.defaulted_on_create
            && !field.auto_number
            && !matches!(field.field_type.as_str(), "boolean" | "id")
            && (field.field_type != "picklist" || field.picklist.is_empty())
            && field.name != "OwnerId"
            && !self.is_made_of_parts(field)
    }

    /// The full name of a person.
    fn is_made_of_parts(&self, field: &Field) -> bool {
        field.name == "Name" && self.position("LastName").is_some()
    }

    /// The values a record asks for, checked one by one.
    fn changes(
        &self,
        record: &Map<String, Json>,
        creating: bool,
        but_not: Option<&str>,
    ) -> Result<BTreeMap<usize, Value>, Errors> {
        let mut changes = BTreeMap::new();
        let (mut errors, mut closed) = (Vec::new(), Vec::new());
        for (name, json) in record {
            let skipped = ["attributes", "Id"].into_iter().chain(but_not);
            if skipped.into_iter().any(|skip| skip.eq_ignore_ascii_case(name)) {
                continue;
            }
            let found = match self.org.field_position(self.at, name) {
                Some(at) => Ok((at, None)),
                None => self.by_relation(name, json).map(|(at, id)| (at, Some(id))),
            };
            let (at, parent) = match found {
                Ok(found) => found,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let field = &self.object.fields[at];
            let open = if creating { field.createable } else { field.updateable };
            if !open || field.formula.is_some() || self.is_made_of_parts(field) {
                closed.push(field.name.as_str());
                continue;
            }
            let value = match parent {
                Some(id) => Ok(id),
                None => values::read(field, json).and_then(|value| self.check_reference(field, value)),
            };
            match value {
                Ok(value) => {
                    changes.insert(at, value);
                }
                Err(error) => errors.push(error),
            }
        }
        if !closed.is_empty() {
            let message = format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is \
                 read/write for your profile or permission set.",
                closed.join(", ")
            );
            errors.push(RowError::of("INVALID_FIELD_FOR_INSERT_UPDATE", message, &closed));
        }
        if errors.is_empty() { Ok(changes) } else { Err(errors) }
    }

    /// `"Account": {"Ext__c": "x"}` and CSV's `Account.Ext__c`: the parent by its external id.
    fn by_relation(&self, name: &str, json: &Json) -> Result<(usize, Value), RowError> {
        let unknown = || {
            let message = format!("No such column '{name}' on sobject of type {}", self.object.name);
            RowError::of("INVALID_FIELD", message, &[])
        };
        let (relation, key, text) = match (name.split_once('.'), json) {
            (Some((relation, key)), Json::String(text)) => (relation, key.to_owned(), text.clone()),
            (None, Json::Object(parent)) => {
                let mut keys = parent.iter().filter(|(key, _)| *key != "attributes");
                let (Some((key, value)), None) = (keys.next(), keys.next()) else { return Err(unknown()) };
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name, key.clone(), text)
            }
            _ => return Err(unknown()),
        };
        let at = self
            .object
            .fields
            .iter()
            .position(|field| {
                field.relationship_name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(relation))
            })
            .filter(|&at| self.org.is_visible(self.at, at))
            .ok_or_else(unknown)?;
        for target in &self.object.fields[at].reference_to {
            let Some(parent_at) = self.org.position(target) else { continue };
            let parent = &self.org.model.objects[parent_at];
            let Some(key_at) = self.org.field_position(parent_at, &key) else { continue };
            if let [row] = self.org.rows.find(parent_at, parent, key_at, &text).as_slice() {
                let id = self.org.rows.id_of(parent_at, parent, *row);
                return Ok((at, id.map_or(Value::Null, Value::Text)));
            }
        }
        let target = self.object.fields[at].reference_to.join(", ");
        let message = format!("Foreign key external ID: {text} not found for field {key} in entity {target}");
        Err(RowError::of("INVALID_FIELD", message, &[]))
    }

    fn check_reference(&self, field: &Field, value: Value) -> Result<Value, RowError> {
        let Value::Text(id) = &value else { return Ok(value) };
        if field.field_type != "reference" || field.reference_to.is_empty() {
            return Ok(value);
        }
        let targets = field.reference_to.iter().filter_map(|name| self.org.position(name));
        let fitting: Vec<usize> = targets
            .filter(|&at| self.org.model.objects[at].key_prefix.as_deref() == Some(&id[..3]))
            .collect();
        if fitting.is_empty() {
            let message = format!("{}: id value of incorrect type: {id}", field.label);
            return Err(RowError::of("FIELD_INTEGRITY_EXCEPTION", message, &[&field.name]));
        }
        for at in fitting {
            let target = &self.org.model.objects[at];
            if let Some(row) = self.org.rows.index_of(at, target, id) {
                return match self.org.rows.sees(at, row, Scope::Live) {
                    true => Ok(value),
                    false => Err(RowError::of("ENTITY_IS_DELETED", "entity is deleted", &[&field.name])),
                };
            }
        }
        Err(RowError::of("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[&field.name]))
    }

    fn check_unique(&self, values: &BTreeMap<usize, Value>, own: Option<u64>) -> Result<(), Errors> {
        for (at, value) in values {
            let field = &self.object.fields[*at];
            let (true, Value::Text(text)) = (field.unique, value) else { continue };
            let others = self.org.rows.find(self.at, self.object, *at, text);
            if let Some(&other) = others.iter().find(|&&row| Some(row) != own) {
                let id = self.id_of(other)?;
                let message = format!(
                    "duplicate value found: {} duplicates value on record with id: {}",
                    field.name,
                    ids::key(&id)
                );
                return Err(one(RowError::of("DUPLICATE_VALUE", message, &[])));
            }
        }
        Ok(())
    }
}

fn required(fields: &[&str]) -> RowError {
    let message = format!("Required fields are missing: [{}]", fields.join(", "));
    RowError::of("REQUIRED_FIELD_MISSING", message, fields)
}

/// Merges live rows into a master: they go to the recycle bin and name it. For the simulator's own control.
pub fn merge(org: &OrgData, at: usize, master: u64, losers: &[u64], now_ms: i64) {
    let stamp_ms = now_ms - now_ms.rem_euclid(1_000);
    let writer = Writer { org, at, object: &org.model.objects[at], stamp_ms };
    let _one_writer = org.rows.lock();
    let master = org.rows.id_of(at, writer.object, master);
    for &loser in losers.iter().filter(|&&row| org.rows.sees(at, row, Scope::Live)) {
        writer.bury(loser, master.clone());
    }
}

/// Sets fields users cannot write, such as those of a conversion. For the simulator's own control.
pub fn set_fields(org: &OrgData, at: usize, row: u64, fields: &[(&str, Value)], now_ms: i64) {
    let stamp_ms = now_ms - now_ms.rem_euclid(1_000);
    let mut values = BTreeMap::new();
    let writer = Writer { org, at, object: &org.model.objects[at], stamp_ms };
    for (name, value) in fields {
        writer.set(&mut values, name, value.clone());
    }
    set_values(org, at, row, values, now_ms);
}

/// As [`set_fields`], by position of the field.
pub fn set_values(org: &OrgData, at: usize, row: u64, values: BTreeMap<usize, Value>, now_ms: i64) {
    let stamp_ms = now_ms - now_ms.rem_euclid(1_000);
    let writer = Writer { org, at, object: &org.model.objects[at], stamp_ms };
    let _one_writer = org.rows.lock();
    let mut written = org.rows.written(at, row);
    writer.stamp(&mut written.values);
    written.values.extend(values);
    org.rows.put(at, row, Some(written));
}

/// Puts values in place without moving a stamp: what the org computes is other than before. For the simulator's own control.
pub fn recompute(org: &OrgData, at: usize, row: u64, values: BTreeMap<usize, Value>) {
    let _one_writer = org.rows.lock();
    let mut written = org.rows.written(at, row);
    written.values.extend(values);
    org.rows.put(at, row, Some(written));
}
