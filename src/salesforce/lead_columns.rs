//! Which columns of which objects hold what penstock wants to know of a lead.
//!
//! Promises: settled once a job, by what the org itself says of `Lead` and of the objects it refers to. A field that a
//! person named and the org lacks is an error that names its key; one that is only a default is left out. One read gives
//! the lead's own fields; fields of parents are read by the parents' ids.

use std::collections::BTreeMap;

use super::client::OrgClient;
use super::error::OrgError;
use super::rows::{Cell, Column, ColumnKind, Columns, Row};
use crate::leads::{FieldMapping, FieldPath, Lead, LeadField, LeadId, Presence};
use crate::model::{FieldDescribe, ObjectDescribe, ObjectName};

/// Why the columns could not be settled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeadColumnsError {
    /// The org could not be asked.
    #[error("ask the org for the fields of Lead")]
    Org(#[from] OrgError),
    /// A field that a person has named is not there, or not to be seen by us.
    #[error(
        "leads.fields.{key}: the org has no field `{path}` that we may read; correct the path, or set it to \"\" to go without"
    )]
    NoField {
        /// Its key in `[leads.fields]`.
        key: &'static str,
        /// The path as it was given.
        path: String,
    },
}

/// Where a field's value is found once a lead is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Own { column: usize },
    Parent { parent: usize, field: usize },
}

/// An object that a reference of Lead may lead to.
#[derive(Debug, Clone)]
pub(super) struct ParentTarget {
    pub(super) object: ObjectName,
    /// Its id, and the wanted fields that it has.
    pub(super) columns: Columns,
    /// By wanted field: its column.
    pub(super) at: Vec<Option<usize>>,
    /// What its ids begin with; empty when nobody says.
    pub(super) prefix: String,
}

/// A reference of Lead whose target's fields are wanted.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    relation: String,
    /// Column of the lead that holds its id.
    pub(super) reference: usize,
    /// The wanted fields.
    pub(super) fields: Vec<String>,
    pub(super) targets: Vec<ParentTarget>,
}

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct LeadColumns {
    pub(super) own: Columns,
    converted: Option<usize>,
    places: [Place; LeadField::COUNT],
    pub(super) parents: Vec<Parent>,
    left_out: Vec<LeadField>,
}

impl OrgClient {
    /// Settles the columns. 1 call, and 1 more when fields of parents are wanted.
    ///
    /// # Errors
    /// See [`LeadColumnsError`].
    pub async fn lead_columns(&self, mapping: &FieldMapping) -> Result<LeadColumns, LeadColumnsError> {
        let lead = self.describe_one(&object("Lead")?).await?;
        let mut draft = Draft::new(&lead);
        let targets = draft.targets(mapping);
        let mut parents = BTreeMap::new();
        if !targets.is_empty() {
            for (name, described) in self.describe_group(&targets).await {
                match described {
                    Ok(describe) => drop(parents.insert(name.as_str().to_owned(), describe)),
                    Err(error) if error.is_transient() => return Err(error.into()),
                    // An object that we may not see has no fields for us.
                    Err(_) => {}
                }
            }
        }
        draft.settle(mapping, &parents)
    }

    async fn describe_one(&self, object: &ObjectName) -> Result<ObjectDescribe, OrgError> {
        let mut described = self.describe_group(std::slice::from_ref(object)).await;
        match described.pop() {
            Some((_, answer)) => answer,
            None => Err(unreadable(format!("the describe of `{object}`"), "there is none")),
        }
    }
}

fn object(name: &str) -> Result<ObjectName, OrgError> {
    name.parse().map_err(|_| unreadable(format!("the object `{name}`"), "it is no object's name"))
}

pub(super) fn unreadable(what: String, reason: &str) -> OrgError {
    OrgError::Unreadable { what, reason: reason.to_owned(), cut_off: false }
}

/// The columns in the making.
struct Draft<'d> {
    lead: &'d ObjectDescribe,
    own: Vec<Column>,
}

impl<'d> Draft<'d> {
    fn new(lead: &'d ObjectDescribe) -> Self {
        Self { lead, own: vec![Column::new("Id", ColumnKind::Id)] }
    }

    fn field(&self, name: &str) -> Option<&'d FieldDescribe> {
        find(self.lead, name)
    }

    /// The lead's field that refers to the parent of this path, by the relation's name.
    fn reference(&self, path: &FieldPath) -> Option<&'d FieldDescribe> {
        let relation = path.relation()?;
        let by_relation = self.lead.fields.iter().find(|field| {
            field.relationship_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(relation))
        });
        by_relation
            .or_else(|| self.field(&path.own_field()))
            .filter(|field| field.field_type == "reference" && !field.reference_to.is_empty())
    }

    /// Objects whose fields are wanted.
    fn targets(&self, mapping: &FieldMapping) -> Vec<ObjectName> {
        let mut targets: Vec<ObjectName> = LeadField::ALL
            .iter()
            .filter_map(|field| self.reference(mapping.path(*field)?))
            .flat_map(|reference| reference.reference_to.iter().filter_map(|name| name.parse().ok()))
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// The column that reads an own field, added when it is new.
    fn column(&mut self, field: &FieldDescribe) -> usize {
        let name = field.name.as_str();
        if let Some(at) = self.own.iter().position(|column| column.name == name) {
            return at;
        }
        self.own.push(Column::new(name, kind_of(field)));
        self.own.len() - 1
    }

    fn settle(
        &mut self,
        mapping: &FieldMapping,
        described: &BTreeMap<String, ObjectDescribe>,
    ) -> Result<LeadColumns, LeadColumnsError> {
        let mut places = [Place::Nowhere; LeadField::COUNT];
        let mut parents: Vec<Parent> = Vec::new();
        let mut left_out = Vec::new();
        let converted = self.field("IsConverted").map(|field| self.column(field));
        for field in LeadField::ALL {
            let Some(path) = mapping.path(field) else { continue };
            let place = match path.relation() {
                None => self.field(path.field()).map(|own| Place::Own { column: self.column(own) }),
                Some(_) => self.parent_place(path, &mut parents, described),
            };
            match place {
                Some(place) => places[field.index()] = place,
                None if mapping.is_asked_for(field) => {
                    return Err(LeadColumnsError::NoField { key: field.key(), path: path.to_string() });
                }
                None => left_out.push(field),
            }
        }
        for parent in &mut parents {
            parent.settle(described)?;
        }
        let own = columns(std::mem::take(&mut self.own))?;
        Ok(LeadColumns { own, converted, places, parents, left_out })
    }

    fn parent_place(
        &mut self,
        path: &FieldPath,
        parents: &mut Vec<Parent>,
        described: &BTreeMap<String, ObjectDescribe>,
    ) -> Option<Place> {
        let reference = self.reference(path)?;
        let is_there = reference.reference_to.iter().any(|target| {
            described.get(target).is_some_and(|describe| find(describe, path.field()).is_some())
        });
        if !is_there {
            return None;
        }
        let relation = reference.name.as_str();
        let parent = match parents.iter().position(|parent| parent.relation == relation) {
            Some(at) => at,
            None => {
                let targets = reference.reference_to.iter().filter_map(|name| name.parse().ok());
                let targets = targets.filter_map(|object: ObjectName| {
                    let prefix = described.get(object.as_str())?.key_prefix.clone().unwrap_or_default();
                    let columns = columns(vec![Column::new("Id", ColumnKind::Id)]).ok()?;
                    Some(ParentTarget { object, columns, at: Vec::new(), prefix })
                });
                let targets = targets.collect();
                let reference = self.column(reference);
                parents.push(Parent {
                    relation: relation.to_owned(),
                    reference,
                    fields: Vec::new(),
                    targets,
                });
                parents.len() - 1
            }
        };
        let wanted = &mut parents[parent].fields;
        let field = wanted.iter().position(|known| known.eq_ignore_ascii_case(path.field()));
        let field = field.unwrap_or_else(|| {
            wanted.push(path.field().to_owned());
            wanted.len() - 1
        });
        Some(Place::Parent { parent, field })
    }
}

impl Parent {
    fn settle(&mut self, described: &BTreeMap<String, ObjectDescribe>) -> Result<(), OrgError> {
        for target in &mut self.targets {
            let describe = described.get(target.object.as_str());
            let mut list = vec![Column::new("Id", ColumnKind::Id)];
            target.at = self
                .fields
                .iter()
                .map(|wanted| {
                    let field = find(describe?, wanted)?;
                    list.push(Column::new(field.name.as_str(), kind_of(field)));
                    Some(list.len() - 1)
                })
                .collect();
            target.columns = columns(list)?;
        }
        // One of which nothing is wanted need not be asked.
        self.targets.retain(|target| target.columns.len() > 1);
        Ok(())
    }
}

fn columns(list: Vec<Column>) -> Result<Columns, OrgError> {
    Columns::new(list).map_err(|error| unreadable("the fields of Lead".to_owned(), &error.to_string()))
}

fn find<'d>(describe: &'d ObjectDescribe, name: &str) -> Option<&'d FieldDescribe> {
    describe.fields.iter().find(|field| field.name.as_str().eq_ignore_ascii_case(name))
}

/// Values become text, so most are read as such; numbers with a fraction have one form whichever interface gave them.
fn kind_of(field: &FieldDescribe) -> ColumnKind {
    match ColumnKind::from_describe(&field.field_type) {
        kind @ (ColumnKind::Id | ColumnKind::Decimal | ColumnKind::Json) => kind,
        _ if field.name.as_str() == "IsConverted" => ColumnKind::Boolean,
        _ => ColumnKind::Text,
    }
}

/// What a cell says, as text; `None` for nothing.
pub(super) fn text_of<'c>(cell: Option<&'c Cell<'_>>) -> Option<&'c str> {
    match cell? {
        Cell::Text(text) | Cell::Decimal(text) | Cell::Json(text) => Some(text),
        Cell::Boolean(true) => Some("true"),
        Cell::Boolean(false) => Some("false"),
        _ => None,
    }
}

/// Values of a parent's wanted fields.
pub(super) type ParentValues = std::sync::Arc<[Option<Box<str>>]>;

impl LeadColumns {
    /// Default fields that this org does not have.
    pub fn left_out(&self) -> &[LeadField] {
        &self.left_out
    }

    /// Whether both read the same.
    pub fn reads_as(&self, other: &Self) -> bool {
        let names = |columns: &Self| -> Vec<String> {
            columns.own.as_slice().iter().map(|column| column.name.clone()).collect()
        };
        self.places == other.places && names(self) == names(other)
    }

    /// Settled by these describes of Lead and of the objects it refers to.
    #[cfg(test)]
    pub(super) fn of_describes(
        mapping: &FieldMapping,
        lead: &serde_json::Value,
        parents: &[serde_json::Value],
    ) -> Self {
        let read = |describe: &serde_json::Value| serde_json::from_value(describe.clone()).unwrap();
        let lead: ObjectDescribe = read(lead);
        let parents = parents.iter().map(read);
        let parents =
            parents.map(|parent: ObjectDescribe| (parent.name.as_str().to_owned(), parent)).collect();
        Draft::new(&lead).settle(mapping, &parents).unwrap()
    }

    /// The id of the `parent`-th parent.
    pub(super) fn reference<'r>(&self, cells: &'r [Cell<'_>], parent: usize) -> Option<&'r str> {
        text_of(cells.get(self.parents[parent].reference))
    }

    /// The lead of a row; `of_parent` knows the values of its parents, by their number.
    pub(super) fn lead(&self, id: LeadId, cells: &[Cell<'_>], of_parent: &[Option<ParentValues>]) -> Lead {
        let is_converted = self.converted.is_some_and(|at| cells.get(at) == Some(&Cell::Boolean(true)));
        let presence = if is_converted { Presence::Converted } else { Presence::Found };
        Lead::new(id, presence, |field| match self.places[field.index()] {
            Place::Nowhere => None,
            Place::Own { column } => text_of(cells.get(column)),
            Place::Parent { parent, field } => of_parent.get(parent)?.as_ref()?.get(field)?.as_deref(),
        })
    }

    /// The columns of a Bulk query: the lead's own, those of its parents by their paths, and what tells a record that is
    /// gone from one that is there.
    pub fn bulk(&self, mapping: &FieldMapping) -> Result<BulkColumns, OrgError> {
        let mut list: Vec<Column> = self.own.as_slice().to_vec();
        let deleted = list.len();
        list.push(Column::new("IsDeleted", ColumnKind::Boolean));
        list.push(Column::new("MasterRecordId", ColumnKind::Id));
        let mut places = [None; LeadField::COUNT];
        for field in LeadField::ALL {
            places[field.index()] = match self.places[field.index()] {
                Place::Nowhere => None,
                Place::Own { column } => Some(column),
                Place::Parent { .. } => mapping.path(field).map(|path| {
                    list.push(Column::new(path.to_string(), ColumnKind::Text));
                    list.len() - 1
                }),
            };
        }
        Ok(BulkColumns { columns: columns(list)?, places, converted: self.converted, deleted })
    }
}

/// The columns of a Bulk query of leads.
#[derive(Debug, Clone)]
pub struct BulkColumns {
    columns: Columns,
    places: [Option<usize>; LeadField::COUNT],
    converted: Option<usize>,
    deleted: usize,
}

impl BulkColumns {
    /// The columns, in the order of SELECT.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The lead of a row; `None` for a row whose id is no lead's.
    pub fn lead(&self, row: &Row<'_>) -> Option<Lead> {
        let cells: Vec<Cell<'_>> = row.cells().collect();
        let id = LeadId::read(text_of(cells.first())?).ok()?.id;
        let is_true = |at: usize| cells.get(at) == Some(&Cell::Boolean(true));
        if is_true(self.deleted) {
            return Some(Lead::without_values(id, gone(text_of(cells.get(self.deleted + 1)))));
        }
        let presence =
            if self.converted.is_some_and(is_true) { Presence::Converted } else { Presence::Found };
        Some(Lead::new(id, presence, |field| text_of(cells.get(self.places[field.index()]?))))
    }
}

/// What a deleted record's master says: merged, or just deleted.
pub(super) fn gone(master: Option<&str>) -> Presence {
    match master.map(LeadId::read) {
        Some(Ok(into)) => Presence::Merged { into: into.id },
        _ => Presence::Deleted,
    }
}
