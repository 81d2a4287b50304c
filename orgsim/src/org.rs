//! The org's data in the form the endpoints read: the model, its rows, and positions derived once.

use crate::{
    dml::overlay::{Rows, Scope},
    ids,
    model::{Field, OrgModel, SObject},
    rows_api::{RowSource, Value},
    tables,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// A profile, known by the hidden permission set it owns.
pub struct Profile {
    pub id: String,
    pub name: String,
}

/// The model, which does not change while the server runs, and the rows, which do.
pub struct OrgData {
    pub model: OrgModel,
    pub rows: Rows,
    /// Fields the user may not see: position of the object, position of the field.
    hidden: RwLock<HashSet<(usize, usize)>>,
    /// Fields that are gone for everybody; their positions stay theirs.
    removed: RwLock<HashSet<(usize, usize)>>,
    any_hidden: AtomicBool,
    changing: Mutex<()>,
    /// Objects that Bulk refuses, in lower case, beside those it never serves.
    bulk_refused: RwLock<HashSet<String>>,
    pub profiles: Vec<Profile>,
    /// Position in `model.permission_sets` to position in `profiles`.
    pub profile_of_set: Vec<Option<u64>>,
    /// For each object the number of fields before its own, and the total at the end.
    field_starts: Vec<u64>,
    /// Numbers, among all fields, of the custom ones.
    pub custom_fields: Vec<u64>,
    pub organization_id: String,
    pub user_id: String,
    pub username: String,
}

impl OrgData {
    /// Derives the positions.
    pub fn new(model: OrgModel, rows: Box<dyn RowSource>) -> Self {
        let mut profiles: Vec<Profile> = Vec::new();
        let mut known = HashMap::new();
        let profile_of_set = model
            .permission_sets
            .iter()
            .map(|set| {
                let id = set.profile_id.as_ref()?;
                Some(*known.entry(id.clone()).or_insert_with(|| {
                    let name = set.profile_name.clone().unwrap_or_else(|| set.label.clone());
                    profiles.push(Profile { id: id.clone(), name });
                    profiles.len() as u64 - 1
                }))
            })
            .collect();
        let mut field_starts = vec![0];
        for object in &model.objects {
            field_starts.push(field_starts.last().copied().unwrap_or(0) + object.fields.len() as u64);
        }
        let all_fields = model.objects.iter().flat_map(|object| &object.fields);
        let custom_fields =
            (0..).zip(all_fields).filter(|(_, field)| field.custom).map(|(at, _)| at).collect();
        let rows = Rows::new(rows, &model);
        let mut org = Self {
            model,
            rows,
            hidden: RwLock::default(),
            removed: RwLock::default(),
            any_hidden: AtomicBool::new(false),
            changing: Mutex::default(),
            bulk_refused: RwLock::default(),
            profiles,
            profile_of_set,
            field_starts,
            custom_fields,
            organization_id: ids::with_suffix("00D5g0000001234"),
            user_id: ids::with_suffix("0055g00000AbCdE"),
            username: "integration@orgsim.example".to_owned(),
        };
        org.run_as_the_first_user();
        org
    }

    /// The caller is a row of User when there are any, so that looking it up by id works.
    fn run_as_the_first_user(&mut self) {
        let Some(at) = self.position("User") else { return };
        let user = &self.model.objects[at];
        let text = |name: &str| {
            let field = user.fields.iter().position(|field| field.name == name)?;
            match (self.rows.count(at) > 0).then(|| self.rows.value(at, user, 0, field))? {
                Value::Text(text) => Some(text),
                _ => None,
            }
        };
        let (id, username) = (text("Id"), text("Username"));
        if let Some(id) = id {
            self.user_id = id;
            self.username = username.unwrap_or_else(|| self.username.clone());
        }
    }

    /// Number of fields of all objects.
    pub fn field_total(&self) -> u64 {
        self.field_starts.last().copied().unwrap_or(0)
    }

    /// Position of the object that has field number `row` of the whole org.
    pub fn object_of_field(&self, row: u64) -> usize {
        self.field_starts.partition_point(|&start| start <= row) - 1
    }

    /// Field number `row` of the whole org.
    pub fn field_at(&self, row: u64) -> (&SObject, &Field) {
        let at = self.object_of_field(row);
        let object = &self.model.objects[at];
        (object, &object.fields[(row - self.field_starts[at]) as usize])
    }

    /// Position of an object by API name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.model.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// Position of a field by API name, whatever the case, when the user may see it.
    pub fn field_position(&self, object: usize, name: &str) -> Option<usize> {
        let fields = &self.model.objects[object].fields;
        let mut named = fields.iter().enumerate().filter(|(_, field)| field.name.eq_ignore_ascii_case(name));
        // One that was made anew under its old name comes behind the old one.
        named.find(|(at, _)| self.is_visible(object, *at)).map(|(at, _)| at)
    }

    /// Position of a field by API name, whoever may see it.
    pub fn existing_field(&self, object: usize, name: &str) -> Option<usize> {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        let fields = self.model.objects[object].fields.iter().enumerate();
        let mut named = fields.filter(|(_, field)| field.name.eq_ignore_ascii_case(name));
        named.find(|(at, _)| !removed.contains(&(object, *at))).map(|(at, _)| at)
    }

    /// Held by who changes the fields of an object.
    pub fn changing_schema(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a field away.
    pub fn remove_field(&self, object: usize, field: usize) {
        self.removed.write().unwrap_or_else(PoisonError::into_inner).insert((object, field));
        self.any_hidden.store(true, Ordering::Release);
        self.rows.bump();
    }

    /// Makes Bulk refuse these objects, and no others beside those it never serves.
    ///
    /// # Errors
    /// The first name that is no object.
    pub fn refuse_bulk(&self, names: &[String]) -> Result<(), String> {
        if let Some(name) = names.iter().find(|name| self.position(name).is_none()) {
            return Err(format!("no object `{name}`"));
        }
        let refused = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        *self.bulk_refused.write().unwrap_or_else(PoisonError::into_inner) = refused;
        Ok(())
    }

    /// Whether Bulk was told to refuse an object.
    pub fn is_refused_by_bulk(&self, name: &str) -> bool {
        let refused = self.bulk_refused.read().unwrap_or_else(PoisonError::into_inner);
        refused.contains(&name.to_ascii_lowercase())
    }

    /// Whether the user may see a field.
    pub fn is_visible(&self, object: usize, field: usize) -> bool {
        !self.any_hidden.load(Ordering::Acquire)
            || !(self.hidden.read().unwrap_or_else(PoisonError::into_inner).contains(&(object, field))
                || self.removed.read().unwrap_or_else(PoisonError::into_inner).contains(&(object, field)))
    }

    /// Hides these fields, given as `Object.Field`, and no others.
    ///
    /// # Errors
    /// The first name that is no field, or a field that cannot be hidden: ids, and what every record has.
    pub fn hide(&self, names: &[String]) -> Result<(), String> {
        let mut hidden = HashSet::new();
        for name in names {
            let found = name.split_once('.').and_then(|(object, field)| {
                let at = self.position(object)?;
                let fields = &self.model.objects[at].fields;
                let found = self.existing_field(at, field)?;
                (fields[found].field_type != "id").then_some((at, found))
            });
            hidden.insert(found.ok_or_else(|| format!("no field that could be hidden: `{name}`"))?);
        }
        let is_any_gone = !self.removed.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        self.any_hidden.store(is_any_gone || !hidden.is_empty(), Ordering::Release);
        *self.hidden.write().unwrap_or_else(PoisonError::into_inner) = hidden;
        self.rows.bump();
        Ok(())
    }

    /// `DurableId` of EntityDefinition: the API name of a standard object, the 01I id of a custom one.
    pub fn durable_id(&self, name: &str) -> String {
        self.model.object(name).map_or_else(|| name.to_owned(), durable_id)
    }

    /// Rows of the table a name stands for on the data API; what lies in the recycle bin does not count.
    pub fn record_count(&self, object: &SObject) -> u64 {
        tables::find(self, &object.name, tables::Api::Data).map_or(0, |table| table.len(self, Scope::Live))
    }
}

/// See [`OrgData::durable_id`].
pub fn durable_id(object: &SObject) -> String {
    if object.custom && !object.durable_id.is_empty() {
        object.durable_id.clone()
    } else {
        object.name.clone()
    }
}
