//! Builds a catalogue from what a database says and what the config says.

use std::collections::HashMap;
use std::sync::Arc;

use super::settings::{CatalogueSettings, SettingFault};
use super::{Catalogue, Column, DatabaseKind, Entity, KeyRule, NamedStatement, TableFacts};

impl Catalogue {
    /// The catalogue of a database.
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
        let entities: HashMap<Arc<str>, Arc<Entity>> =
            facts.into_iter().map(entity).map(|entity| (entity.name.clone(), Arc::new(entity))).collect();
        let statements = statements.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        let enforced_by_database = settings.enforced_by_database;
        Ok(Self { database: database.into(), kind, entities, statements, enforced_by_database })
    }
}

fn entity(facts: TableFacts) -> Entity {
    let primary_key: Vec<_> = facts
        .primary_key
        .iter()
        .filter_map(|name| facts.columns.iter().position(|column| column.name == *name))
        .collect();
    let columns: Vec<_> = facts
        .columns
        .iter()
        .enumerate()
        .map(|(id, column)| Column {
            name: column.name.as_str().into(),
            column_type: column.column_type.clone(),
            native_type: column.native_type.as_str().into(),
            nullable: column.nullable,
            has_default: column.has_default,
            generated: column.generated,
            key: primary_key.contains(&id).then(|| match (column.auto_increment, column.has_default) {
                (true, _) => KeyRule::Auto,
                (_, true) => KeyRule::Optional,
                _ => KeyRule::Required,
            }),
            injection: None,
        })
        .collect();
    Entity {
        name: facts.table.as_str().into(),
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
    }
}
