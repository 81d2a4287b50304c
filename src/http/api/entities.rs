//! What a caller may see of the databases, for `/entities` and as the ground of `/openapi.json`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::batch::access::Caller;
use crate::batch::access::rules::{Grant, Right};
use crate::batch::catalogue::{
    Catalogue, Column, ColumnId, ColumnType, Entity, KeyRule, NamedStatement, RelationKind, SoftDelete,
    VersionKind,
};

/// An entity as one caller may use it.
pub(super) struct Permitted<'a> {
    pub entity: &'a Arc<Entity>,
    pub read: Option<Grant>,
    pub write: Option<Grant>,
    pub delete: Option<Grant>,
}

impl Permitted<'_> {
    /// Whether the caller may read the column.
    pub fn reads(&self, column: ColumnId) -> bool {
        covers(self.read.as_ref(), column)
    }

    /// Whether the caller may send the column in a create, or in an update.
    pub fn stores(&self, column: ColumnId, creating: bool) -> bool {
        let told = &self.entity.columns[column];
        let is_version = self.entity.version.is_some_and(|version| version.column == column);
        let is_injected = told
            .injection
            .as_ref()
            .is_some_and(|injection| if creating { injection.on_create } else { injection.on_update });
        let is_made = matches!(told.key, Some(KeyRule::Auto | KeyRule::Sequence(_) | KeyRule::Uuid));
        covers(self.write.as_ref(), column)
            && !(told.generated || is_version || is_injected)
            && !(creating && is_made)
    }

    /// Whether a create must send the column.
    pub fn needs(&self, column: ColumnId) -> bool {
        let told = &self.entity.columns[column];
        let made = told.nullable || told.has_default;
        self.stores(column, true) && (matches!(told.key, Some(KeyRule::Required)) || !made)
    }

    /// What the caller may do, by the names of requests.
    pub fn actions(&self) -> Vec<&'static str> {
        let write = self.write.is_some() && !self.entity.view;
        let all = [
            ("create", write),
            ("read", self.read.is_some()),
            ("update", write),
            ("delete", self.delete.is_some() && !self.entity.view),
        ];
        all.into_iter().filter(|(_, may)| *may).map(|(name, _)| name).collect()
    }
}

fn covers(grant: Option<&Grant>, column: ColumnId) -> bool {
    grant.is_some_and(|grant| grant.columns.get(column).copied().unwrap_or(false))
}

/// The entities of which the caller may do anything, by name.
pub(super) fn permitted<'a>(catalogue: &'a Catalogue, caller: &Caller) -> Vec<Permitted<'a>> {
    let mut found: Vec<Permitted<'a>> = catalogue
        .entities
        .values()
        .map(|entity| Permitted {
            entity,
            read: entity.grant(caller, Right::Read),
            write: entity.grant(caller, Right::Write),
            delete: entity.grant(caller, Right::Delete),
        })
        .filter(|permitted| !permitted.actions().is_empty())
        .collect();
    found.sort_by(|one, other| one.entity.name.cmp(&other.entity.name));
    found
}

/// The named statements that the caller may call, by name.
pub(super) fn statements<'a>(catalogue: &'a Catalogue, caller: &Caller) -> Vec<&'a Arc<NamedStatement>> {
    let may_call = |statement: &NamedStatement| {
        let roles = &statement.roles;
        roles.is_empty()
            || roles.iter().any(|role| match role.as_str() {
                "public" => true,
                "*" => !caller.roles.is_empty(),
                role => caller.roles.iter().any(|own| **own == *role),
            })
    };
    let mut found: Vec<_> = catalogue.statements.values().filter(|statement| may_call(statement)).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The document of `/entities`.
pub(super) fn document(catalogues: &[Arc<Catalogue>], caller: &Caller) -> Value {
    let databases: Vec<Value> = catalogues
        .iter()
        .map(|catalogue| {
            let known = permitted(catalogue, caller);
            let entities: Vec<Value> = known.iter().map(|entity| entity_document(entity, &known)).collect();
            let statements: Vec<Value> = statements(catalogue, caller)
                .into_iter()
                .map(|statement| statement_document(statement))
                .collect();
            json!({ "name": catalogue.database, "entities": entities, "statements": statements })
        })
        .collect();
    json!({ "databases": databases })
}

fn entity_document(permitted: &Permitted<'_>, known: &[Permitted<'_>]) -> Value {
    let entity = permitted.entity;
    let columns = entity.columns.iter().enumerate().filter_map(|(id, column)| {
        let (reads, creates, updates) =
            (permitted.reads(id), permitted.stores(id, true), permitted.stores(id, false));
        (reads || creates || updates).then(|| {
            let mut told = column_document(column);
            told.insert("read".to_owned(), reads.into());
            told.insert("create".to_owned(), creates.into());
            told.insert("update".to_owned(), updates.into());
            Value::Object(told)
        })
    });
    let names = |ids: &[ColumnId]| -> Vec<&str> {
        ids.iter().filter(|id| permitted.reads(**id)).map(|id| &*entity.columns[*id].name).collect()
    };
    let mut told = Map::new();
    told.insert("name".to_owned(), json!(entity.name));
    told.insert("view".to_owned(), entity.view.into());
    told.insert("actions".to_owned(), json!(permitted.actions()));
    told.insert("columns".to_owned(), columns.collect());
    told.insert("primaryKey".to_owned(), json!(names(&entity.primary_key)));
    if let Some(version) = entity.version.filter(|version| permitted.reads(version.column)) {
        let kind = match version.kind {
            VersionKind::Integer => "integer",
            VersionKind::Timestamp => "timestamp",
            VersionKind::Uuid => "uuid",
        };
        let column = &entity.columns[version.column].name;
        told.insert("version".to_owned(), json!({ "column": column, "kind": kind }));
    }
    if let Some(soft) = entity.soft_delete.as_ref().filter(|soft| permitted.reads(soft.column())) {
        let strategy = match soft {
            SoftDelete::NullCheck { .. } => "null_check",
            SoftDelete::BooleanFlag { .. } => "boolean_flag",
            SoftDelete::ExcludeValues { .. } => "exclude_values",
        };
        let column = &entity.columns[soft.column()].name;
        told.insert("softDelete".to_owned(), json!({ "column": column, "strategy": strategy }));
    }
    let relations = entity.relations.iter().filter_map(|relation| {
        let other = known.iter().find(|one| one.entity.name == relation.entity && one.read.is_some())?;
        let pairs: Option<Vec<Value>> = relation
            .columns
            .iter()
            .map(|(here, there)| {
                let both = permitted.reads(*here) && other.reads(*there);
                both.then(|| json!([entity.columns[*here].name, other.entity.columns[*there].name]))
            })
            .collect();
        let kind = match relation.kind {
            RelationKind::Object => "object",
            RelationKind::Array => "array",
        };
        Some(json!({ "name": relation.name, "kind": kind, "entity": relation.entity, "columns": pairs? }))
    });
    told.insert("relations".to_owned(), relations.collect());
    Value::Object(told)
}

fn column_document(column: &Column) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("name".to_owned(), json!(column.name));
    told.insert("type".to_owned(), json!(type_name(&column.column_type)));
    if let ColumnType::Enum(values) = &column.column_type {
        told.insert("values".to_owned(), json!(values));
    }
    told.insert("nullable".to_owned(), column.nullable.into());
    told.insert("default".to_owned(), column.has_default.into());
    told.insert("generated".to_owned(), column.generated.into());
    let key = column.key.as_ref().map(|rule| match rule {
        KeyRule::Auto => "auto",
        KeyRule::Required => "required",
        KeyRule::Optional => "optional",
        KeyRule::Sequence(_) => "sequence",
        KeyRule::Uuid => "uuid",
    });
    if let Some(key) = key {
        told.insert("key".to_owned(), key.into());
    }
    told
}

fn statement_document(statement: &NamedStatement) -> Value {
    let parameters = statement
        .parameters
        .iter()
        .map(|(name, kind)| json!({ "name": name, "type": type_name(kind) }))
        .collect::<Value>();
    let columns =
        statement.columns.iter().map(|column| Value::Object(column_document(column))).collect::<Value>();
    json!({ "name": statement.name, "actions": ["read"], "parameters": parameters, "columns": columns })
}

/// A type as the contract names it.
fn type_name(kind: &ColumnType) -> String {
    match kind {
        ColumnType::Int { bits, unsigned: false } => format!("int{bits}"),
        ColumnType::Int { bits, unsigned: true } => format!("uint{bits}"),
        ColumnType::Decimal => "decimal".to_owned(),
        ColumnType::Float { bits } => format!("float{bits}"),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Enum(_) => "enum".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::TimestampTz => "timestamptz".to_owned(),
        ColumnType::Bytes => "bytes".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Array(item) => format!("{}[]", type_name(item)),
        ColumnType::Other => "other".to_owned(),
        ColumnType::Any => "any".to_owned(),
    }
}
