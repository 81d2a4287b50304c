//! Relations: made of foreign keys, named, renamed and added to by the config.
//!
//! Each foreign key makes an `object` relation where it stands and an `array` relation at its other end. The first is
//! named after its column without `_id` (`depot_id` -> `depot`), else after the other entity; the second after the other
//! entity. A name that two would have, or that is a column's, becomes longer for all of them (`invoice_by_billing`), so
//! that names depend on the tables and never on the order in which they are read. Names of the config come first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build::{Faults, Table};
use super::entity::{SettingsOf, positions};
use super::settings::RelationSetting;
use super::{ColumnId, ColumnType, Entity, ForeignKeyFacts, Relation, RelationKind, nearest};

type Entities = BTreeMap<Arc<str>, Entity>;

/// Gives every entity its relations and the entities it is linked to.
pub(super) fn relate(
    tables: &[Table],
    entities: &mut Entities,
    settings_of: &SettingsOf<'_>,
    faults: &mut Faults,
) {
    let mut found: BTreeMap<Arc<str>, Vec<Candidate>> = BTreeMap::new();
    for table in tables {
        for key in &table.facts.foreign_keys {
            let Some(other) = target(tables, table, key) else { continue };
            for (at, candidate) in candidates(entities, table, other, key).into_iter().flatten() {
                found.entry(at).or_default().push(candidate);
            }
        }
    }
    let mut relations: Vec<(Arc<str>, Vec<Relation>)> = Vec::new();
    for (name, entity) in &*entities {
        let mut given = Vec::new();
        if let Some(settings) = settings_of.get(name) {
            for relation in &settings.relations {
                let key = settings.key_of(&format!("relations.{}", relation.name));
                match check(entity, relation, entities) {
                    Ok(relation) => given.push(relation),
                    Err(why) => faults.tell(key, why),
                }
            }
        }
        let candidates = found.remove(name).unwrap_or_default();
        relations.push((name.clone(), name_relations(entity, given, candidates)));
    }
    let groups = linked_groups(tables);
    for (name, relations) in relations {
        let linked = linked_of(&name, tables, &groups, entities);
        if let Some(entity) = entities.get_mut(&name) {
            entity.relations = relations;
            entity.linked = linked;
        }
    }
}

/// A relation that a foreign key makes, with the names it could have.
struct Candidate {
    kind: RelationKind,
    entity: Arc<str>,
    columns: Vec<(ColumnId, ColumnId)>,
    short: String,
    long: String,
}

fn target<'a>(tables: &'a [Table], from: &Table, key: &ForeignKeyFacts) -> Option<&'a Table> {
    let schema = key.schema.as_ref().or(from.facts.schema.as_ref());
    tables.iter().find(|table| table.facts.table == key.table && table.facts.schema.as_ref() == schema)
}

/// The relation at each end of a foreign key; none when an end, or a column of it, is not exposed.
fn candidates(
    entities: &Entities,
    table: &Table,
    other: &Table,
    key: &ForeignKeyFacts,
) -> Option<[(Arc<str>, Candidate); 2]> {
    let (here, there) = (entities.get(&table.name)?, entities.get(&other.name)?);
    // SQLite leaves the other side out when it is the primary key.
    let referenced = if key.referenced.is_empty() { &other.facts.primary_key } else { &key.referenced };
    let (from, to) = (positions(here, &key.columns)?, positions(there, referenced)?);
    if from.len() != to.len() || from.is_empty() {
        return None;
    }
    let columns: Vec<(ColumnId, ColumnId)> = from.into_iter().zip(to).collect();
    let stems: Vec<&str> = key.columns.iter().map(|column| stem(column).unwrap_or(column)).collect();
    let by = stems.join("_");
    let short = match key.columns.as_slice() {
        [column] => stem(column).unwrap_or(&other.facts.table),
        _ => &other.facts.table,
    };
    let object = Candidate {
        kind: RelationKind::Object,
        entity: there.name.clone(),
        short: short.to_owned(),
        long: format!("{}_by_{by}", other.facts.table),
        columns: columns.clone(),
    };
    let array = Candidate {
        kind: RelationKind::Array,
        entity: here.name.clone(),
        short: table.facts.table.clone(),
        long: format!("{}_by_{by}", table.facts.table),
        columns: columns.into_iter().map(|(from, to)| (to, from)).collect(),
    };
    Some([(here.name.clone(), object), (there.name.clone(), array)])
}

/// The column's name without `_id`.
fn stem(column: &str) -> Option<&str> {
    column.strip_suffix("_id").filter(|stem| !stem.is_empty())
}

fn name_relations(entity: &Entity, given: Vec<Relation>, mut candidates: Vec<Candidate>) -> Vec<Relation> {
    let same = |left: &[(ColumnId, ColumnId)], right: &[(ColumnId, ColumnId)]| {
        let sorted = |pairs: &[(ColumnId, ColumnId)]| pairs.iter().copied().collect::<BTreeSet<_>>();
        sorted(left) == sorted(right)
    };
    candidates.retain(|candidate| {
        !given.iter().any(|relation| {
            relation.kind == candidate.kind
                && relation.entity == candidate.entity
                && same(&relation.columns, &candidate.columns)
        })
    });
    // An order that the tables alone decide; `object` before `array`.
    candidates.sort_by(|left, right| {
        let order =
            |one: &Candidate| (one.kind == RelationKind::Array, one.entity.clone(), one.columns.clone());
        order(left).cmp(&order(right))
    });
    candidates.dedup_by(|right, left| {
        left.kind == right.kind && left.entity == right.entity && same(&left.columns, &right.columns)
    });
    let mut taken: BTreeSet<String> = entity.columns.iter().map(|column| column.name.to_string()).collect();
    taken.extend(given.iter().map(|relation| relation.name.to_string()));
    let mut relations = given;
    // Objects first: `parent` and the list of children may want one name, and the column's own name is the better claim.
    for kind in [RelationKind::Object, RelationKind::Array] {
        let (of_kind, rest): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|one| one.kind == kind);
        candidates = rest;
        let is_free = |one: &Candidate| {
            !taken.contains(&one.short)
                && of_kind.iter().filter(|other| other.short == one.short).count() == 1
        };
        let wanted: Vec<String> =
            of_kind.iter().map(|one| if is_free(one) { &one.short } else { &one.long }.clone()).collect();
        for (candidate, wanted) in of_kind.into_iter().zip(wanted) {
            let name = free_name(wanted, &taken);
            taken.insert(name.clone());
            let Candidate { kind, entity, columns, .. } = candidate;
            relations.push(Relation { name: name.into(), kind, entity, columns });
        }
    }
    relations
}

/// The name, or with the first number that makes it free.
fn free_name(wanted: String, taken: &BTreeSet<String>) -> String {
    if !taken.contains(&wanted) {
        return wanted;
    }
    let mut number = 2;
    loop {
        let numbered = format!("{wanted}_{number}");
        if !taken.contains(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

/// A relation of the config, held to both tables.
fn check(entity: &Entity, setting: &RelationSetting, entities: &Entities) -> Result<Relation, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if setting.name.is_empty() || !setting.name.chars().all(is_name) {
        return Err("a relation's name is made of letters, digits and `_`".to_owned());
    }
    if entity.column_id(&setting.name).is_some() {
        return Err(format!("`{}` is a column of `{}`; call it something else", setting.name, entity.name));
    }
    let other = entities.get(&*setting.entity).ok_or_else(|| {
        let hint = nearest::hint(&setting.entity, entities.keys().map(|name| &**name));
        format!("there is no entity `{}`{hint}", setting.entity)
    })?;
    if setting.columns.is_empty() {
        return Err("needs columns: `columns = { column_here = \"column_there\" }`".to_owned());
    }
    let find = |entity: &Entity, name: &str| {
        entity.column_id(name).ok_or_else(|| {
            let names = entity.columns.iter().map(|column| &*column.name);
            format!("`{}` has no column `{name}`{}", entity.name, nearest::hint(name, names))
        })
    };
    let mut columns = Vec::with_capacity(setting.columns.len());
    for (here, there) in &setting.columns {
        let pair = (find(entity, here)?, find(other, there)?);
        let (from, to) = (&entity.columns[pair.0], &other.columns[pair.1]);
        if !are_comparable(&from.column_type, &to.column_type) {
            return Err(format!(
                "column `{here}` ({}) and column `{there}` ({}) cannot be equal",
                from.native_type, to.native_type
            ));
        }
        columns.push(pair);
    }
    let (name, entity) = (setting.name.as_str().into(), other.name.clone());
    Ok(Relation { name, kind: setting.kind, entity, columns })
}

fn are_comparable(left: &ColumnType, right: &ColumnType) -> bool {
    use ColumnType::{Any, Decimal, Enum, Float, Int, Other, Text};
    let is_number = |one: &ColumnType| matches!(one, Int { .. } | Decimal | Float { .. });
    let is_text = |one: &ColumnType| matches!(one, Text | Enum(_));
    left == right
        || matches!(left, Any | Other)
        || matches!(right, Any | Other)
        || (is_number(left) && is_number(right))
        || (is_text(left) && is_text(right))
}

/// For each table the smallest position of its group: tables that foreign keys tie together, through however many.
///
/// A chain counts as a link, exposed or not: `ON DELETE CASCADE` follows it all the way.
fn linked_groups(tables: &[Table]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..tables.len()).collect();
    for (at, table) in tables.iter().enumerate() {
        for key in &table.facts.foreign_keys {
            let other = target(tables, table, key)
                .and_then(|found| tables.iter().position(|table| std::ptr::eq(table, found)));
            if let Some(other) = other {
                let (low, high) = (groups[at].min(groups[other]), groups[at].max(groups[other]));
                groups.iter_mut().filter(|group| **group == high).for_each(|group| *group = low);
            }
        }
    }
    groups
}

fn linked_of(name: &Arc<str>, tables: &[Table], groups: &[usize], entities: &Entities) -> Vec<Arc<str>> {
    let Some(at) = tables.iter().position(|table| table.name == *name) else { return Vec::new() };
    let refers_to_itself = |table: &Table| {
        table
            .facts
            .foreign_keys
            .iter()
            .any(|key| target(tables, table, key).is_some_and(|other| other.name == *name))
    };
    tables
        .iter()
        .zip(groups)
        .enumerate()
        .filter(|(other, (table, group))| {
            **group == groups[at]
                && entities.contains_key(&table.name)
                && (*other != at || refers_to_itself(table))
        })
        .map(|(_, (table, _))| table.name.clone())
        .collect()
}
