//! Which neighbouring creates may be one statement, and which row of its answer belongs to which of them.
//!
//! Promises: a merged statement stores what its creates would have stored one at a time, and every row of its answer is
//! told apart by a key, never by its place: PostgreSQL does not promise the order of `RETURNING`. Where that cannot be
//! had, nothing is merged.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::cells;
use crate::batch::catalogue::{ColumnId, ColumnType, Entity, KeyRule};
use crate::batch::operation::{BoundOperation, Condition, Work};
use crate::batch::sql::Statement;
use crate::batch::sql::postgres::insert_many;
use crate::batch::value::{Value, write_json_text};
use crate::database::Command;

/// Fewer rows than this are sent one by one.
const FEWEST_ROWS: usize = 4;

/// How the rows of an answer are told apart.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    /// By the number that the database gave them, in the order in which they were sent.
    Numbered,
    /// By the key that was sent: places of its columns among the stored columns.
    Sent(Vec<usize>),
}

/// Several creates, or several rows of one, as one statement.
#[derive(Debug)]
pub(super) struct Merged {
    /// The commands that it stands for.
    pub(super) commands: Range<usize>,
    /// The statement. Its answer: what was asked for, then the columns of the key, then the verdict if there is one.
    pub(super) statement: Statement,
    /// What the answer's columns hold, without the verdict.
    pub(super) answered: Vec<ColumnType>,
    /// Columns that were asked for.
    pub(super) width: usize,
    /// Rows of each command.
    pub(super) rows: Vec<usize>,
    /// Whether a key may come back other than it was sent, so that the answer is to be read before a COMMIT.
    pub(super) is_unsure: bool,
    key: Key,
    /// Whether a column of the key holds UUIDs, whose letters come back small.
    uuids: Vec<bool>,
    sent_keys: Vec<Vec<Value>>,
}

/// Finds the creates among `commands` that are worth merging, in order. `is_ordered` tells of a table whether the numbers
/// of its key rise.
pub(super) fn merged(commands: &[Command], is_ordered: &dyn Fn(&Entity) -> bool) -> Vec<Merged> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < commands.len() {
        let end =
            at + 1 + commands[at + 1..].iter().take_while(|next| are_alike(&commands[at], next)).count();
        found.extend(merge(commands, at..end, is_ordered));
        at = end;
    }
    found
}

/// Whether the second is a create like the first: of the same entity, with the same columns in and out and the same rule.
fn are_alike(first: &Command, second: &Command) -> bool {
    let (Command::Run(first), Command::Run(second)) = (first, second) else { return false };
    let (
        Work::Create { columns, must_hold, .. },
        Work::Create { columns: others, must_hold: other_rule, .. },
    ) = (&first.work, &second.work)
    else {
        return false;
    };
    let same_entity = match (&first.entity, &second.entity) {
        // Nearly always they come from the same catalogue.
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        _ => false,
    };
    same_entity
        && columns == others
        && must_hold == other_rule
        && first.returning == second.returning
        && first.handed == second.handed
}

fn merge(commands: &[Command], range: Range<usize>, is_ordered: &dyn Fn(&Entity) -> bool) -> Option<Merged> {
    let operations: Vec<&BoundOperation> = commands[range.clone()]
        .iter()
        .filter_map(|command| match command {
            Command::Run(operation) => Some(operation),
            _ => None,
        })
        .collect();
    let first = operations.first()?;
    let entity = first.entity.as_ref()?;
    let Work::Create { columns, must_hold, .. } = &first.work else { return None };
    let rows: Vec<&Vec<Value>> = operations
        .iter()
        .filter_map(|operation| match &operation.work {
            Work::Create { rows, .. } => Some(rows),
            _ => None,
        })
        .flatten()
        .collect();
    let safe = rows.len() >= FEWEST_ROWS
        && !columns.is_empty()
        // What each of several rows gives is not the same.
        && first.handed.gives.is_empty()
        && !entity.view
        && !entity.has_triggers
        // A row may name another row of the same statement as its parent; one at a time it could not, if that comes later.
        && !entity.linked.contains(&entity.name)
        // Such a rule looks at tables: it would not see the rows before its own.
        && !looks_at_tables(must_hold)
        && !entity.columns.iter().any(|column| matches!(column.key, Some(KeyRule::Sequence(_))));
    if !safe {
        return None;
    }
    let takes = &first.handed.takes;
    // What all rows take over does not tell them apart.
    let is_own = |column: &ColumnId| takes.iter().all(|taken| taken.column != *column);
    let key_ids: Vec<ColumnId> = entity.primary_key.iter().copied().filter(is_own).collect();
    let key = key_of(entity, &key_ids, columns, is_ordered)?;
    let sent_keys = match &key {
        Key::Numbered => Vec::new(),
        Key::Sent(places) => {
            rows.iter().map(|row| places.iter().map(|place| row[*place].clone()).collect()).collect()
        }
    };
    let lists = lists(entity, columns, &rows)?;
    let key_columns = || key_ids.iter().map(|column| &entity.columns[*column]);
    let mut returning = first.returning.clone();
    returning.extend_from_slice(&key_ids);
    Some(Merged {
        statement: insert_many(entity, columns, lists, takes, must_hold, &returning),
        answered: returning.iter().map(|column| entity.columns[*column].column_type.clone()).collect(),
        width: first.returning.len(),
        rows: operations
            .iter()
            .map(|operation| match &operation.work {
                Work::Create { rows, .. } => rows.len(),
                _ => 0,
            })
            .collect(),
        commands: range,
        // Of a text that is too long by spaces alone these are cut off.
        is_unsure: matches!(key, Key::Sent(_))
            && key_columns().any(|column| &*column.native_type == "character varying"),
        uuids: key_columns().map(|column| column.column_type == ColumnType::Uuid).collect(),
        key,
        sent_keys,
    })
}

fn looks_at_tables(condition: &Condition) -> bool {
    match condition {
        Condition::True | Condition::False | Condition::Column(..) => false,
        Condition::All(parts) | Condition::Any(parts) => parts.iter().any(looks_at_tables),
        Condition::Not(inner) => looks_at_tables(inner),
        Condition::Related { .. } => true,
    }
}

/// What tells rows apart whose creates store these columns, by those columns of the key in which they may differ.
fn key_of(
    entity: &Entity,
    key: &[ColumnId],
    columns: &[ColumnId],
    is_ordered: &dyn Fn(&Entity) -> bool,
) -> Option<Key> {
    if let [key] = entity.primary_key[..] {
        let column = &entity.columns[key];
        let numbered =
            column.key == Some(KeyRule::Auto) && matches!(column.column_type, ColumnType::Int { .. });
        if numbered && !columns.contains(&key) {
            return is_ordered(entity).then_some(Key::Numbered);
        }
    }
    if key.is_empty() {
        return None;
    }
    // Types whose values come back as they were sent: a decimal may gain zeros, a padded text gains spaces.
    let comes_back = |column: &ColumnId| {
        let column = &entity.columns[*column];
        match column.column_type {
            ColumnType::Int { .. } | ColumnType::Uuid => true,
            ColumnType::Text => matches!(&*column.native_type, "text" | "character varying"),
            _ => false,
        }
    };
    let places = key.iter().map(|key| {
        let place = columns.iter().position(|column| column == key)?;
        comes_back(key).then_some(place)
    });
    places.collect::<Option<_>>().map(Key::Sent)
}

/// The rows by column, each column as a list; `None` when a value cannot be told in one.
fn lists(entity: &Entity, columns: &[ColumnId], rows: &[&Vec<Value>]) -> Option<Vec<String>> {
    let list = |(place, column): (usize, &ColumnId)| {
        cells::column_list(rows.iter().map(|row| &row[place]), &entity.columns[*column].column_type)
    };
    columns.iter().enumerate().map(list).collect()
}

impl Merged {
    /// All rows of all commands.
    pub(super) fn total(&self) -> usize {
        self.rows.iter().sum()
    }

    /// The rows of the answer in the order in which they were sent; `None` when they are not exactly those.
    pub(super) fn in_order(&self, answer: Vec<Vec<Value>>) -> Option<Vec<Vec<Value>>> {
        if answer.len() != self.total() {
            return None;
        }
        let mut answer = answer;
        match &self.key {
            Key::Numbered => {
                let number = |row: &Vec<Value>| match row.get(self.width) {
                    Some(Value::Int(number)) => *number,
                    _ => i64::MIN,
                };
                answer.sort_by_key(number);
                // Two rows of one number, or rows without one, cannot be.
                answer.windows(2).all(|pair| number(&pair[0]) < number(&pair[1])).then_some(answer)
            }
            Key::Sent(places) => {
                let keys = self.width..self.width + places.len();
                let mut by_key: HashMap<String, Vec<Value>> = HashMap::with_capacity(answer.len());
                for row in answer {
                    by_key.insert(self.key_text(row.get(keys.clone())?), row);
                }
                self.sent_keys.iter().map(|key| by_key.remove(&self.key_text(key))).collect()
            }
        }
    }

    /// A key as text that is the same for the same key.
    fn key_text(&self, values: &[Value]) -> String {
        let mut out = Vec::new();
        for (value, is_uuid) in values.iter().zip(&self.uuids) {
            match value {
                Value::Text(text) if *is_uuid => write_json_text(&text.to_ascii_lowercase(), &mut out),
                value => value.write_json(&mut out),
            }
            out.push(b',');
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
