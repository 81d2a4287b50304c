//! One entity: its columns, key rules, version, soft delete, injection, audit and permissions, each held to the table.

use std::collections::HashMap;

use super::build::{Faults, Table};
use super::settings::{EntitySettings, KeySetting, SoftDeleteSetting};
use super::{
    Column, ColumnFacts, ColumnId, ColumnType, DatabaseKind, Entity, Injected, Injection, KeyRule,
    SoftDelete, Version, VersionKind, nearest,
};
use crate::batch::access::rules::Permissions;

/// The entity of a table, without its relations.
pub(super) fn build_entity(
    kind: DatabaseKind,
    table: &Table,
    settings: Option<&EntitySettings>,
    faults: &mut Faults,
) -> Entity {
    let facts = &table.facts;
    let hidden = settings.map_or(&[][..], |settings| &settings.hidden);
    let exposed: Vec<&ColumnFacts> =
        facts.columns.iter().filter(|column| !hidden.contains(&column.name)).collect();
    let position = |name: &String| exposed.iter().position(|column| column.name == *name);
    let key_columns: Option<Vec<ColumnId>> = facts.primary_key.iter().map(position).collect();
    let primary_key = key_columns.unwrap_or_default();
    let columns: Vec<Column> = exposed
        .iter()
        .enumerate()
        .map(|(id, column)| Column {
            name: column.name.as_str().into(),
            column_type: column.column_type.clone(),
            native_type: column.native_type.as_str().into(),
            nullable: column.nullable,
            has_default: column.has_default,
            generated: column.generated,
            key: primary_key.contains(&id).then(|| key_as_found(column)),
            injection: None,
        })
        .collect();
    let mut entity = Entity {
        name: table.name.clone(),
        schema: facts.schema.as_deref().map(Into::into),
        table: facts.table.as_str().into(),
        view: facts.view,
        column_ids: columns.iter().enumerate().map(|(id, column)| (column.name.clone(), id)).collect(),
        columns,
        primary_key,
        has_triggers: facts.has_triggers,
        has_deferred_constraints: facts.has_deferred_constraints,
        version: None,
        soft_delete: None,
        audit: Vec::new(),
        relations: Vec::new(),
        linked: Vec::new(),
        permissions: None,
    };
    if let Some(settings) = settings {
        let mut applying = Applying { kind, facts: table, settings, entity: &mut entity, faults };
        applying.hidden();
        applying.only_for_tables();
        applying.keys();
        applying.version();
        applying.soft_delete();
        applying.audit();
        applying.inject();
        applying.permissions();
    }
    entity
}

fn key_as_found(column: &ColumnFacts) -> KeyRule {
    match (column.auto_increment || column.generated, column.has_default) {
        (true, _) => KeyRule::Auto,
        (false, true) => KeyRule::Optional,
        (false, false) => KeyRule::Required,
    }
}

/// The settings of one entity on their way into it.
struct Applying<'a> {
    kind: DatabaseKind,
    facts: &'a Table,
    settings: &'a EntitySettings,
    entity: &'a mut Entity,
    faults: &'a mut Faults,
}

impl Applying<'_> {
    fn tell(&mut self, setting: &str, why: impl Into<String>) {
        self.faults.tell(self.settings.key_of(setting), why);
    }

    /// The exposed column of this name, or what is wrong with it.
    fn column(&mut self, setting: &str, name: &str) -> Option<ColumnId> {
        let found = self.entity.column_id(name);
        if found.is_none() {
            let is_hidden = self.settings.hidden.iter().any(|hidden| hidden == name);
            let why = if is_hidden {
                format!(
                    "column `{name}` is hidden, and then penstock cannot use it either; leave it out of the permissions instead"
                )
            } else {
                let names = self.entity.columns.iter().map(|column| &*column.name);
                format!("`{}` has no column `{name}`{}", self.entity.name, nearest::hint(name, names))
            };
            self.tell(setting, why);
        }
        found
    }

    /// A column that penstock writes by itself: not of the key, not computed.
    fn written_column(&mut self, setting: &str, name: &str) -> Option<ColumnId> {
        let id = self.column(setting, name)?;
        let column = &self.entity.columns[id];
        let why = if column.generated {
            Some(format!("column `{name}` is computed by the database and cannot be stored"))
        } else if column.key.is_some() {
            Some(format!("column `{name}` is of the primary key, which never changes"))
        } else {
            None
        };
        match why {
            Some(why) => {
                self.tell(setting, why);
                None
            }
            None => Some(id),
        }
    }

    fn wrong_type(&mut self, setting: &str, id: ColumnId, wanted: &str) {
        let column = &self.entity.columns[id];
        let why = format!("column `{}` is {}; it must be {wanted}", column.name, column.native_type);
        self.tell(setting, why);
    }

    fn hidden(&mut self) {
        for name in &self.settings.hidden {
            let facts = &self.facts.facts;
            if facts.primary_key.contains(name) {
                let why = format!(
                    "`{name}` is of the primary key and cannot be hidden; leave it out of the permissions instead"
                );
                self.tell("hidden", why);
            } else if facts.columns.iter().all(|column| column.name != *name) {
                let names = facts.columns.iter().map(|column| column.name.as_str());
                let why =
                    format!("`{}` has no column `{name}`{}", self.entity.name, nearest::hint(name, names));
                self.tell("hidden", why);
            }
        }
        if self.entity.columns.is_empty() {
            self.tell("hidden", "hides every column; `expose = false` hides the entity");
        }
    }

    /// Views are read-only: what is about writing has no use there.
    fn only_for_tables(&mut self) {
        let settings = self.settings;
        if !self.entity.view {
            return;
        }
        for (setting, is_given) in [
            ("key", settings.key != KeySetting::AsFound),
            ("version", settings.version.is_some()),
            ("inject", !settings.inject.is_empty()),
            ("audit", !settings.audit.is_empty()),
        ] {
            if is_given {
                self.tell(setting, "has no use: a view is read-only; take it out");
            }
        }
    }

    fn keys(&mut self) {
        let key = self.entity.primary_key.clone();
        match &self.settings.key {
            KeySetting::AsFound => {}
            _ if self.entity.view => {}
            _ if key.is_empty() => {
                self.tell("key", format!("`{}` has no primary key; take it out", self.entity.name));
            }
            KeySetting::One(rule) if key.len() == 1 => self.key_rule("key", key[0], rule),
            KeySetting::One(_) => {
                let names: Vec<_> = key.iter().map(|id| &*self.entity.columns[*id].name).collect();
                let why = format!(
                    "the primary key has {} columns; say which one: `key = {{ {} = \"...\" }}`",
                    key.len(),
                    names.join(" = \"...\", ")
                );
                self.tell("key", why);
            }
            KeySetting::Columns(rules) => {
                for (name, rule) in rules {
                    let setting = format!("key.{name}");
                    let Some(id) = self.column(&setting, name) else { continue };
                    match self.entity.columns[id].key {
                        Some(_) => self.key_rule(&setting, id, rule),
                        None => self.tell(&setting, format!("`{name}` is not of the primary key")),
                    }
                }
            }
        }
    }

    fn key_rule(&mut self, setting: &str, id: ColumnId, rule: &KeyRule) {
        let column = &self.entity.columns[id];
        let name = column.name.clone();
        let found = column.key.clone();
        let has_default = column.has_default;
        match rule {
            KeyRule::Auto if found != Some(KeyRule::Auto) && !has_default && !self.entity.has_triggers => {
                let why = format!(
                    "the database does not fill `{name}` by itself; use required, uuid or sequence:NAME"
                );
                self.tell(setting, why);
            }
            KeyRule::Optional if found == Some(KeyRule::Required) => {
                self.tell(setting, format!("the database has no default for `{name}`; use required or uuid"));
            }
            KeyRule::Required | KeyRule::Uuid | KeyRule::Sequence(_) if column.generated => {
                self.tell(setting, format!("`{name}` is computed by the database; use auto"));
            }
            KeyRule::Uuid if !holds(&column.column_type, Holds::Uuid) => {
                self.wrong_type(setting, id, "uuid or text to take a uuid");
            }
            KeyRule::Sequence(_) if self.kind == DatabaseKind::Sqlite => {
                self.tell(setting, "SQLite has no sequences; use auto, required or uuid");
            }
            KeyRule::Sequence(_)
                if !matches!(column.column_type, ColumnType::Int { .. } | ColumnType::Decimal) =>
            {
                self.wrong_type(setting, id, "a number to take one of a sequence");
            }
            rule => self.entity.columns[id].key = Some(rule.clone()),
        }
    }

    fn version(&mut self) {
        let Some(setting) = &self.settings.version else { return };
        let Some(id) = self.written_column("version", &setting.column) else { return };
        let column_type = &self.entity.columns[id].column_type;
        let by_type = match column_type {
            ColumnType::Int { .. } => Some(VersionKind::Integer),
            ColumnType::Timestamp | ColumnType::TimestampTz => Some(VersionKind::Timestamp),
            ColumnType::Uuid => Some(VersionKind::Uuid),
            _ => None,
        };
        let kind = match setting.kind.or(by_type) {
            None => {
                let wanted = "integer, timestamp or uuid; or say how it counts: `kind = \"...\"`";
                return self.wrong_type("version", id, wanted);
            }
            Some(kind) => kind,
        };
        let fits = match kind {
            VersionKind::Integer => {
                matches!(column_type, ColumnType::Int { .. } | ColumnType::Decimal | ColumnType::Any)
            }
            VersionKind::Timestamp => holds(column_type, Holds::Moment),
            VersionKind::Uuid => holds(column_type, Holds::Uuid),
        };
        if !fits {
            let wanted = match kind {
                VersionKind::Integer => "an integer to count",
                VersionKind::Timestamp => "a timestamp or text to take a moment",
                VersionKind::Uuid => "uuid or text to take a uuid",
            };
            return self.wrong_type("version", id, wanted);
        }
        self.entity.version = Some(Version { column: id, kind });
    }

    fn soft_delete(&mut self) {
        let Some(setting) = &self.settings.soft_delete else { return };
        let Some(id) = self.written_column("soft_delete", setting.column()) else { return };
        if self.entity.version.is_some_and(|version| version.column == id) {
            return self.tell("soft_delete", format!("column `{}` is the version already", setting.column()));
        }
        let column = &self.entity.columns[id];
        let column_type = &column.column_type;
        let soft_delete = match setting {
            SoftDeleteSetting::NullCheck { column: name } => {
                if !column.nullable {
                    let why = format!(
                        "column `{name}` does not take null, which is what a row that is there holds"
                    );
                    return self.tell("soft_delete", why);
                }
                if !holds(column_type, Holds::Moment) && *column_type != ColumnType::Date {
                    return self.wrong_type(
                        "soft_delete",
                        id,
                        "a timestamp, a date or text to take a moment",
                    );
                }
                SoftDelete::NullCheck { column: id }
            }
            SoftDeleteSetting::BooleanFlag { active_value, .. } => {
                if !matches!(column_type, ColumnType::Boolean | ColumnType::Any) {
                    return self.wrong_type(
                        "soft_delete",
                        id,
                        "boolean; use `exclude_values` for other types",
                    );
                }
                SoftDelete::BooleanFlag { column: id, active_value: *active_value }
            }
            SoftDeleteSetting::ExcludeValues { values, delete_value, .. } => {
                let unknown = match column_type {
                    ColumnType::Enum(words) => values
                        .iter()
                        .chain([delete_value])
                        .find(|value| words.iter().all(|word| **word != ***value)),
                    ColumnType::Text | ColumnType::Other | ColumnType::Any => None,
                    _ => return self.wrong_type("soft_delete", id, "text; use `boolean_flag` for booleans"),
                };
                if let Some(value) = unknown {
                    let why = format!("`{value}` is none of the values of column `{}`", column.name);
                    return self.tell("soft_delete", why);
                }
                if !values.contains(delete_value) {
                    let why = format!(
                        "`delete_value` (`{delete_value}`) is not among `values`: removed rows would still be seen"
                    );
                    return self.tell("soft_delete", why);
                }
                let (values, delete_value) = (values.clone(), delete_value.clone());
                SoftDelete::ExcludeValues { column: id, values, delete_value }
            }
        };
        self.entity.soft_delete = Some(soft_delete);
    }

    fn audit(&mut self) {
        if self.settings.audit.is_empty() {
            return;
        }
        if self.settings.soft_delete.is_none() {
            return self
                .tell("audit", "needs `soft_delete`: a row that is removed cannot say who removed it");
        }
        for name in &self.settings.audit {
            let Some(id) = self.written_column("audit", name) else { continue };
            if self.is_taken(id) || self.entity.audit.contains(&id) {
                self.tell("audit", format!("column `{name}` is set by something else already"));
            } else if !holds(&self.entity.columns[id].column_type, Holds::Subject) {
                self.wrong_type("audit", id, "text to take the caller's subject");
            } else {
                self.entity.audit.push(id);
            }
        }
    }

    /// Whether version or soft delete store this column.
    fn is_taken(&self, id: ColumnId) -> bool {
        self.entity.version.is_some_and(|version| version.column == id)
            || self.entity.soft_delete.as_ref().is_some_and(|soft_delete| soft_delete.column() == id)
    }

    fn inject(&mut self) {
        for inject in &self.settings.inject {
            let setting = format!("inject.{}", inject.column);
            let Some(id) = self.column(&setting, &inject.column) else { continue };
            let column = &self.entity.columns[id];
            let column_type = &column.column_type;
            let (fits, wanted) = match &inject.value {
                Injected::Claim(_) => (
                    !matches!(column_type, ColumnType::Bytes | ColumnType::Json | ColumnType::Array(_)),
                    "text, a number or boolean to take a claim",
                ),
                Injected::Timestamp => {
                    (holds(column_type, Holds::Moment), "a timestamp or text to take the moment")
                }
                Injected::Date => (
                    matches!(column_type, ColumnType::Date | ColumnType::Text | ColumnType::Any),
                    "a date or text to take the day",
                ),
                Injected::Uuid => (holds(column_type, Holds::Uuid), "uuid or text to take a uuid"),
            };
            let is_key = column.key.is_some();
            if !(inject.on_create || inject.on_update) {
                self.tell(&setting, "is neither on create nor on update; take it out");
            } else if column.generated {
                self.tell(&setting, "is computed by the database and cannot be stored");
            } else if is_key && inject.on_update {
                self.tell(&setting, "is of the primary key, which never changes; inject it on create only");
            } else if self.is_taken(id) || (self.entity.audit.contains(&id) && inject.on_update) {
                self.tell(&setting, "is set by `version`, `soft_delete` or `audit` already");
            } else if column.injection.is_some() {
                self.tell(&setting, "is injected already");
            } else if !fits {
                self.wrong_type(&setting, id, wanted);
            } else {
                let column = &mut self.entity.columns[id];
                column.injection = Some(Injection {
                    value: inject.value.clone(),
                    on_create: inject.on_create,
                    on_update: inject.on_update,
                });
                // Sending it is refused because it is injected; as a key it is neither missing nor forbidden.
                if is_key {
                    column.key = Some(KeyRule::Optional);
                }
            }
        }
    }

    fn permissions(&mut self) {
        let Some(rules) = &self.settings.permissions else { return };
        if rules.is_empty() {
            let why = "holds no rule; take it out to permit everything, or write a rule to permit only that";
            return self.tell("permissions", why);
        }
        let mut told = Vec::new();
        let permissions = Permissions::new(rules, &self.entity.columns, &mut |rule, why| {
            told.push((format!("permissions.{}.{}", rule.right.as_str(), rule.role), why));
        });
        for (setting, why) in told {
            self.tell(&setting, why);
        }
        self.entity.permissions = Some(permissions);
    }
}

/// What penstock stores by itself.
#[derive(Clone, Copy)]
enum Holds {
    Moment,
    Uuid,
    Subject,
}

fn holds(column_type: &ColumnType, content: Holds) -> bool {
    match column_type {
        ColumnType::Text | ColumnType::Any => true,
        ColumnType::Timestamp | ColumnType::TimestampTz => matches!(content, Holds::Moment),
        ColumnType::Uuid => matches!(content, Holds::Uuid | Holds::Subject),
        ColumnType::Int { .. } | ColumnType::Other => matches!(content, Holds::Subject),
        _ => false,
    }
}

/// Positions of columns by name, all of them or none.
pub(super) fn positions(entity: &Entity, names: &[String]) -> Option<Vec<ColumnId>> {
    names.iter().map(|name| entity.column_id(name)).collect()
}

/// By exposed name.
pub(super) type SettingsOf<'a> = HashMap<std::sync::Arc<str>, &'a EntitySettings>;
