//! What FROM can name: tables of metadata, computed from the model, and ordinary objects, computed by the
//! row source. Both are reached the same way: columns, parents, rows by position.

mod automation;
mod entities;
mod security;

use crate::{
    dml::overlay::{Opened, Scope, Spans},
    ids,
    model::Field,
    org::OrgData,
    rows_api::Value,
};

/// Which query resource is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/query` and `/queryAll`.
    Data,
    /// `/tooling/query`.
    Tooling,
}

/// Where a metadata table can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Data,
    Tooling,
    Both,
}

/// How values of a column compare and print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Id,
    Text,
    Bool,
    Int,
    Double,
    Date,
    DateTime,
    MultiPicklist,
    /// A value that is JSON already (`Metadata`, a compound address); cannot be filtered or sorted.
    Json,
    /// Long text; cannot be filtered or sorted.
    LongText,
}

/// A column of a metadata table.
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub get: fn(&OrgData, u64) -> Value,
}

const fn col(name: &'static str, kind: Kind, get: fn(&OrgData, u64) -> Value) -> Column {
    Column { name, kind, get }
}

/// A relation of a metadata table to a parent, which is a metadata table too.
pub struct Parent {
    pub relation: &'static str,
    pub table: &'static str,
    pub row: fn(&OrgData, u64) -> Option<u64>,
}

/// A metadata table.
pub struct MetaTable {
    pub name: &'static str,
    pub offered: Offered,
    pub key_prefix: &'static str,
    /// Identifies a row in `attributes.url`.
    pub id_column: &'static str,
    pub len: fn(&OrgData) -> u64,
    pub columns: &'static [Column],
    pub parents: &'static [Parent],
}

impl std::fmt::Debug for MetaTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A table: of metadata, or an ordinary object by its position in the model.
#[derive(Debug, Clone, Copy)]
pub enum Table {
    Meta(&'static MetaTable),
    Object(usize),
}

/// A column of a table.
#[derive(Clone, Copy)]
pub enum ColumnRef {
    Meta(&'static Column),
    Field(usize),
    /// Described, but this simulator holds no value for it: null, or false for a checkbox.
    Empty {
        checkbox: bool,
    },
}

/// A step from a row to its parent row.
#[derive(Clone, Copy)]
pub struct Hop {
    by: HopBy,
    pub target: Table,
}

#[derive(Clone, Copy)]
enum HopBy {
    Meta(&'static Parent),
    Field(usize),
}

/// Every metadata table.
pub fn all() -> impl Iterator<Item = &'static MetaTable> {
    [entities::TABLES, automation::TABLES, security::TABLES].into_iter().flatten()
}

/// The table `name` means on `api`, if it can be asked for there.
pub fn find(org: &OrgData, name: &str, api: Api) -> Option<Table> {
    if let Some(meta) = all().find(|table| table.name.eq_ignore_ascii_case(name)) {
        let here = match meta.offered {
            Offered::Both => true,
            Offered::Data => api == Api::Data,
            Offered::Tooling => api == Api::Tooling,
        };
        return here.then_some(Table::Meta(meta));
    }
    (api == Api::Data).then(|| org.position(name).map(Table::Object)).flatten()
}

/// How a described field compares and prints.
pub fn kind_of(field: &Field) -> Kind {
    match field.field_type.as_str() {
        "id" | "reference" | "masterrecord" => Kind::Id,
        "boolean" => Kind::Bool,
        "int" | "long" => Kind::Int,
        "double" | "currency" | "percent" => Kind::Double,
        "date" => Kind::Date,
        "datetime" => Kind::DateTime,
        "multipicklist" => Kind::MultiPicklist,
        "address" | "location" | "complexvalue" | "json" => Kind::Json,
        "textarea" if field.length > 255 => Kind::LongText,
        "base64" => Kind::LongText,
        _ => Kind::Text,
    }
}

impl Table {
    /// The API name.
    pub fn name(self, org: &OrgData) -> &str {
        match self {
            Self::Meta(meta) => meta.name,
            Self::Object(at) => &org.model.objects[at].name,
        }
    }

    /// Number of rows a scope sees.
    pub fn len(self, org: &OrgData, scope: Scope) -> u64 {
        match (self, scope) {
            (Self::Meta(meta), _) => (meta.len)(org),
            (Self::Object(at), Scope::Live) => org.rows.count(at),
            (Self::Object(at), Scope::All) => org.rows.spans(at, scope).len(),
        }
    }

    /// The rows a scope sees, in order.
    pub fn spans(self, org: &OrgData, scope: Scope) -> Spans {
        match self {
            Self::Meta(meta) => Spans::all((meta.len)(org)),
            Self::Object(at) => org.rows.spans(at, scope),
        }
    }

    /// Whether a scope sees a row.
    pub fn sees(self, org: &OrgData, row: u64, scope: Scope) -> bool {
        match self {
            Self::Meta(meta) => row < (meta.len)(org),
            Self::Object(at) => org.rows.sees(at, row, scope),
        }
    }

    /// A row whose values belong together however often it is changed meanwhile.
    pub fn open(self, org: &OrgData, row: u64) -> OpenRow<'_> {
        let opened = match self {
            Self::Meta(_) => None,
            Self::Object(at) => Some((at, org.rows.open(at, row))),
        };
        OpenRow { org, table: self, row, opened }
    }

    /// First three characters of its ids.
    pub fn key_prefix(self, org: &OrgData) -> Option<&str> {
        match self {
            Self::Meta(meta) => Some(meta.key_prefix).filter(|prefix| !prefix.is_empty()),
            Self::Object(at) => org.model.objects[at].key_prefix.as_deref(),
        }
    }

    /// Finds a column whatever the case; gives its own spelling.
    pub fn column<'a>(self, org: &'a OrgData, name: &str) -> Option<(ColumnRef, Kind, &'a str)> {
        match self {
            Self::Meta(meta) => {
                let own = meta.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
                if let Some(column) = own {
                    return Some((ColumnRef::Meta(column), column.kind, column.name));
                }
                let object = org.model.object(meta.name)?;
                let field = object.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                let kind = kind_of(field);
                Some((ColumnRef::Empty { checkbox: kind == Kind::Bool }, kind, &field.name))
            }
            Self::Object(at) => {
                let fields = &org.model.objects[at].fields;
                let found = org.field_position(at, name)?;
                Some((ColumnRef::Field(found), kind_of(&fields[found]), &fields[found].name))
            }
        }
    }

    /// Every column's name, in order, with whether it is custom.
    pub fn column_names(self, org: &OrgData) -> Vec<(&str, bool)> {
        match self {
            Self::Meta(meta) => {
                // `Metadata` may be read one row at a time only and so is never part of "all fields".
                meta.columns.iter().filter(|c| c.kind != Kind::Json).map(|c| (c.name, false)).collect()
            }
            Self::Object(at) => {
                let fields = org.model.objects[at].fields.iter().enumerate();
                let seen = fields.filter(|(field, _)| org.is_visible(at, *field));
                seen.map(|(_, field)| (field.name.as_str(), field.custom)).collect()
            }
        }
    }

    /// The ways up named `relation`, the likeliest first, each with the relation's own spelling.
    pub fn parents<'a>(self, org: &'a OrgData, relation: &str) -> Vec<(Hop, &'a str)> {
        match self {
            Self::Meta(meta) => meta
                .parents
                .iter()
                .filter(|parent| parent.relation.eq_ignore_ascii_case(relation))
                .filter_map(|parent| {
                    let target = all().find(|table| table.name == parent.table)?;
                    Some((Hop { by: HopBy::Meta(parent), target: Table::Meta(target) }, parent.relation))
                })
                .collect(),
            Self::Object(at) => {
                let fields = &org.model.objects[at].fields;
                let named = |field: &&Field| {
                    field.relationship_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(relation))
                };
                let seen = |by: &usize| org.is_visible(at, *by);
                let found = fields.iter().enumerate().find(|(by, field)| named(field) && seen(by));
                let Some((by, field)) = found else {
                    return Vec::new();
                };
                let mut targets: Vec<&String> = field.reference_to.iter().collect();
                // An owner may be a Group or a User; simulated records belong to users.
                targets.sort_by_key(|name| *name != "User");
                let spelling = field.relationship_name.as_deref().unwrap_or_default();
                targets
                    .into_iter()
                    .filter_map(|name| find(org, name, Api::Data))
                    .map(|target| (Hop { by: HopBy::Field(by), target }, spelling))
                    .collect()
            }
        }
    }

    /// The value of a column in a row.
    pub fn value(self, org: &OrgData, row: u64, column: ColumnRef) -> Value {
        match (self, column) {
            (_, ColumnRef::Meta(column)) => (column.get)(org, row),
            (Self::Object(at), ColumnRef::Field(field)) => {
                org.rows.value(at, &org.model.objects[at], row, field)
            }
            (_, ColumnRef::Empty { checkbox: true }) => Value::Bool(false),
            _ => Value::Null,
        }
    }

    /// The id of a row, as it stands in `attributes.url`.
    pub fn row_id(self, org: &OrgData, row: u64) -> Option<String> {
        let name = match self {
            Self::Meta(meta) => meta.id_column,
            Self::Object(at) => return org.rows.id_of(at, &org.model.objects[at], row),
        };
        let (column, ..) = self.column(org, name)?;
        match self.value(org, row, column) {
            Value::Text(id) => Some(id),
            _ => None,
        }
    }

    /// The row with this id, if the scope sees it.
    pub fn row_of(self, org: &OrgData, id: &str, scope: Scope) -> Option<u64> {
        match self {
            Self::Object(at) => {
                let row = org.rows.index_of(at, &org.model.objects[at], id);
                row.filter(|&row| org.rows.sees(at, row, scope))
            }
            Self::Meta(meta) => {
                let wanted = ids::key(id);
                (0..(meta.len)(org))
                    .find(|&row| self.row_id(org, row).is_some_and(|id| ids::key(&id) == wanted))
            }
        }
    }
}

/// A row read as a whole.
pub struct OpenRow<'a> {
    org: &'a OrgData,
    table: Table,
    row: u64,
    opened: Option<(usize, Opened<'a>)>,
}

impl OpenRow<'_> {
    /// The value of a column.
    pub fn value(&self, column: ColumnRef) -> Value {
        match (&self.opened, column) {
            (Some((at, opened)), ColumnRef::Field(field)) => {
                opened.value(&self.org.model.objects[*at], field)
            }
            _ => self.table.value(self.org, self.row, column),
        }
    }
}

impl Hop {
    /// The parent's row, if there is one.
    pub fn follow(&self, org: &OrgData, table: Table, row: u64) -> Option<u64> {
        match self.by {
            HopBy::Meta(parent) => (parent.row)(org, row),
            HopBy::Field(field) => match table.value(org, row, ColumnRef::Field(field)) {
                Value::Text(id) => self.target.row_of(org, &id, Scope::Live),
                _ => None,
            },
        }
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn optional(value: Option<&str>) -> Value {
    value.map_or(Value::Null, text)
}

/// Position of an object as a row of EntityDefinition.
fn entity_row(org: &OrgData, object: &str) -> Option<u64> {
    org.position(object).map(|at| at as u64)
}

/// When everything in the simulated org was last changed: 1 January 2026, 00:00 UTC, in epoch milliseconds.
pub const LAST_CHANGE_MS: i64 = 1_767_225_600_000;
