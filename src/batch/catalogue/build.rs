//! Builds a catalogue from what a database says of its tables and what the config says of them.
//!
//! Promises: the same facts and settings give the same catalogue, in whatever order the tables are told; every setting is
//! held to the tables, and all that do not fit are told at once, each by its key with what would be right. A catalogue is
//! built whole or not at all: a permission that names no column is never left out in silence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::entity::build_entity;
use super::relations::relate;
use super::settings::{CatalogueSettings, EntitySettings, SettingFault};
use super::{Catalogue, DatabaseKind, NamedStatement, TableFacts, nearest};

/// Tables of penstock itself begin so and are never exposed.
const OWN_PREFIX: &str = "penstock_";
/// What a nested batch would be called; requests cannot name it.
const RESERVED: &str = "batch";

/// A table with the name that requests use.
pub(super) struct Table {
    pub name: Arc<str>,
    pub facts: TableFacts,
}

/// Everything found wrong so far.
#[derive(Default)]
pub(super) struct Faults(Vec<SettingFault>);

impl Faults {
    pub fn tell(&mut self, key: impl Into<String>, why: impl Into<String>) {
        self.0.push(SettingFault { key: key.into(), why: why.into() });
    }
}

impl EntitySettings {
    /// The key of one of its settings, as messages name it.
    pub(super) fn key_of(&self, setting: &str) -> String {
        match self.at.is_empty() {
            true => format!("entity.{}.{setting}", self.name),
            false => format!("{}.{setting}", self.at),
        }
    }
}

impl Catalogue {
    /// The catalogue of a database. `statements` have been prepared: the columns of their answers are known.
    ///
    /// # Errors
    /// Every setting that does not fit the tables.
    pub fn build(
        database: &str,
        kind: DatabaseKind,
        facts: Vec<TableFacts>,
        settings: &CatalogueSettings,
        statements: Vec<NamedStatement>,
    ) -> Result<Self, Vec<SettingFault>> {
        let mut faults = Faults::default();
        let tables = name_tables(database, kind, facts, settings, &mut faults);
        let settings_of = match_settings(&tables, settings, &mut faults);
        let is_exposed = |table: &&Table| {
            *table.name != *RESERVED && settings_of.get(&table.name).is_none_or(|settings| settings.expose)
        };
        let mut entities: BTreeMap<Arc<str>, _> = tables
            .iter()
            .filter(is_exposed)
            .map(|table| {
                let settings = settings_of.get(&table.name).copied();
                (table.name.clone(), build_entity(kind, table, settings, &mut faults))
            })
            .collect();
        relate(&tables, &mut entities, &settings_of, &mut faults);
        let statements = name_statements(database, statements, &entities, &mut faults);
        if !faults.0.is_empty() {
            return Err(faults.0);
        }
        Ok(Self {
            database: database.into(),
            kind,
            entities: entities.into_iter().map(|(name, entity)| (name, Arc::new(entity))).collect(),
            statements,
            enforced_by_database: settings.enforced_by_database,
        })
    }
}

/// Names the tables: `table`, or `schema.table` when several schemas are exposed. Sorted by name.
fn name_tables(
    database: &str,
    kind: DatabaseKind,
    facts: Vec<TableFacts>,
    settings: &CatalogueSettings,
    faults: &mut Faults,
) -> Vec<Table> {
    let key = format!("database.{database}.schemas");
    let found: BTreeSet<String> = facts.iter().filter_map(|table| table.schema.clone()).collect();
    if kind == DatabaseKind::Sqlite && !settings.schemas.is_empty() {
        faults.tell(&key, "SQLite has no schemas; take it out");
    } else {
        for schema in settings.schemas.iter().filter(|schema| !found.contains(*schema)) {
            let hint = nearest::hint(schema, found.iter().map(String::as_str));
            faults.tell(&key, format!("schema `{schema}` has no table that the login may use{hint}"));
        }
    }
    let several = match settings.schemas.len() {
        0 => found.len() > 1,
        given => given > 1,
    };
    let is_ours = |table: &TableFacts| {
        let in_schema = |schema: &String| settings.schemas.is_empty() || settings.schemas.contains(schema);
        !table.table.starts_with(OWN_PREFIX)
            && (kind == DatabaseKind::Sqlite || table.schema.as_ref().is_none_or(in_schema))
    };
    let mut tables: Vec<Table> = facts
        .into_iter()
        .filter(is_ours)
        .map(|facts| {
            let name: Arc<str> = match &facts.schema {
                Some(schema) if several => format!("{schema}.{}", facts.table).into(),
                _ => facts.table.as_str().into(),
            };
            Table { name, facts }
        })
        .collect();
    tables.sort_by(|left, right| {
        (&left.name, &left.facts.schema, &left.facts.table).cmp(&(
            &right.name,
            &right.facts.schema,
            &right.facts.table,
        ))
    });
    for pair in tables.windows(2) {
        if pair[0].name == pair[1].name {
            faults.tell(
                &key,
                format!(
                    "two tables would be called `{}`; rename one, or expose the schema of one of them only",
                    pair[0].name
                ),
            );
        }
    }
    tables
}

/// The settings of each table by its name.
fn match_settings<'a>(
    tables: &[Table],
    settings: &'a CatalogueSettings,
    faults: &mut Faults,
) -> HashMap<Arc<str>, &'a EntitySettings> {
    let mut settings_of: HashMap<Arc<str>, &EntitySettings> = HashMap::new();
    for entity in &settings.entities {
        let key = entity.key_of("name");
        let Some(table) = tables.iter().find(|table| *table.name == *entity.name) else {
            let hint = nearest::hint(&entity.name, tables.iter().map(|table| &*table.name));
            faults.tell(
                &key,
                format!("there is no table or view `{}` that the login may use{hint}", entity.name),
            );
            continue;
        };
        if entity.name == RESERVED && entity.expose {
            faults.tell(
                &key,
                "`batch` is what a batch inside a batch would be called; requests cannot name it",
            );
        }
        if settings_of.insert(table.name.clone(), entity).is_some() {
            faults.tell(&key, format!("`{}` has settings already; put them into one section", entity.name));
        }
    }
    settings_of
}

fn name_statements<V>(
    database: &str,
    statements: Vec<NamedStatement>,
    entities: &BTreeMap<Arc<str>, V>,
    faults: &mut Faults,
) -> HashMap<Arc<str>, Arc<NamedStatement>> {
    let mut named: HashMap<Arc<str>, Arc<NamedStatement>> = HashMap::new();
    for statement in statements {
        let key = format!("database.{database}.statement.{}", statement.name);
        if entities.contains_key(&statement.name) {
            faults.tell(&key, "is the name of a table or view too; call the statement something else");
        } else if *statement.name == *RESERVED {
            faults
                .tell(&key, "`batch` is what a batch inside a batch would be called; call it something else");
        }
        let name = statement.name.clone();
        if named.insert(name, Arc::new(statement)).is_some() {
            faults.tell(&key, "is the name of two statements");
        }
    }
    named
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
