//! What becomes of a table whose object has changed.
//!
//! Promises: nothing is ever dropped and no value ever narrowed. A new field becomes a column; a wider type widens its
//! column; a type that the column cannot hold gets a column beside it (`Amount__v2`), and the old one keeps its values; the
//! column of a field that is gone stays as it is. Steps that were carried out once are not asked for again.

use serde::{Deserialize, Serialize};

use super::method::{REST_PAGE_ROWS, forecast};
use super::report::SyncMethod;
use super::settings::Thresholds;
use super::shape::Shape;
use super::table::{ColumnType, KnownColumn, SchemaChange, TableColumn, TableLayout, TableState};
use super::told::counted;

/// Longest name of a column, in bytes: PostgreSQL cuts longer ones without a word.
const NAME_MAX: usize = 63;

/// The steps from a table as it is to what its object needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evolution {
    /// The steps, in order.
    pub changes: Vec<SchemaChange>,
    /// The columns of loads to come. A cell is made by its column's type, which holds every value of the field's.
    pub layout: TableLayout,
    /// Whether the table is made: every row must be read.
    pub creates: bool,
    /// Fields whose column is empty, or old, in the rows that are there.
    pub backfill: Vec<String>,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}

/// How columns that came to a table with rows get their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "backfill", rename_all = "snake_case")]
pub enum Backfill {
    /// There is nothing to fill.
    None,
    /// The load that is due reads every row.
    Full {
        /// Why so.
        reason: String,
    },
    /// A load of its own reads the key and these fields of every row.
    Refresh {
        /// The fields.
        fields: Vec<String>,
        /// Why so.
        reason: String,
    },
}

/// Why a table cannot take an object's rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvolveError {
    /// Somebody else's table.
    #[error(
        "the table is there already and was not made by penstock (columns {}): name another in `table`, or rename or drop it",
        listed(.0)
    )]
    NotOurs(Vec<String>),
    /// Somebody took columns of ours out, or made them of another type.
    #[error(
        "column {} of the table was taken out or made of another type by somebody else: bring it back as it was, or rename or drop the table to have it made anew",
        listed(.0)
    )]
    Altered(Vec<String>),
    /// Its rows are identified by something else.
    #[error(
        "the rows of the table are identified by `{was}`, and are to be by `{now}`: go back to the former `match_field`, name another `table`, or rename or drop this one to have it made anew"
    )]
    OtherKey {
        /// Column of the key when the table was made.
        was: String,
        /// Column of the key now.
        now: String,
    },
    /// Its rows are another object's.
    #[error(
        "the table has the rows of `{was}`, and is to have those of `{now}`: name another `table`, or rename or drop this one to have it made anew"
    )]
    OtherObject {
        /// The object that its rows are of.
        was: String,
        /// The object that is configured.
        now: String,
    },
    /// Its rows are another org's.
    #[error(
        "the table has the rows of the org `{was}`, and the login is one to the org `{now}`: name another `table`, or let `penstock sync --full` replace every row, after which the table is this org's"
    )]
    OtherOrganization {
        /// Salesforce's id of the org that its rows are of.
        was: String,
        /// Of the org that is logged in to.
        now: String,
    },
}

/// Works out the steps.
///
/// # Errors
/// See [`EvolveError`]; the caller knows the table's name.
pub fn evolve(shape: &Shape, state: &TableState, precision_max: u8) -> Result<Evolution, EvolveError> {
    if !state.exists {
        let layout = shape.layout();
        let changes = vec![SchemaChange::CreateTable { layout: layout.clone() }];
        return Ok(Evolution { changes, layout, creates: true, backfill: Vec::new(), notes: Vec::new() });
    }
    if state.columns.is_empty() {
        return Err(EvolveError::NotOurs(state.foreign.clone()));
    }
    let is_altered = |known: &KnownColumn| state.altered.contains(&known.column.name);
    let in_use = state.columns.iter().filter(|known| known.is_active && is_altered(known));
    let altered: Vec<String> = in_use.map(|known| known.column.name.clone()).collect();
    if !altered.is_empty() {
        return Err(EvolveError::Altered(altered));
    }
    let mut diff = Diff::new(state, precision_max);
    let mut layout = shape.layout();
    for column in &mut layout.columns {
        diff.column(column);
    }
    let now = layout.columns.get(layout.key).map(|key| &key.name);
    if let (Some(was), Some(now)) = (&state.key, now)
        && !was.eq_ignore_ascii_case(now)
    {
        return Err(EvolveError::OtherKey { was: was.clone(), now: now.clone() });
    }
    diff.retire_others(&layout);
    let Diff { changes, backfill, mut notes, .. } = diff;
    if !state.foreign.is_empty() && !changes.is_empty() {
        notes.push(format!("columns {} are not penstock's and stay as they are", listed(&state.foreign)));
    }
    Ok(Evolution { changes, layout, creates: false, backfill, notes })
}

/// Whether a column of type `from` can be made one of type `to` and keep every value.
pub fn can_widen(from: ColumnType, to: ColumnType) -> bool {
    from != to && holds(to, from)
}

/// Whether every value of `inner` is one of `outer`.
fn holds(outer: ColumnType, inner: ColumnType) -> bool {
    use ColumnType::{Decimal, Id, Int, Text};
    match (outer, inner) {
        (Text, Id) => true,
        // A whole number of 64 bits has up to 19 digits.
        (Decimal { precision, scale }, Int) => precision.saturating_sub(scale) >= 19,
        (Decimal { precision, scale }, Decimal { precision: digits, scale: behind }) => {
            scale >= behind && precision.saturating_sub(scale) >= digits.saturating_sub(behind)
        }
        _ => outer == inner,
    }
}

/// The narrowest type that holds both, where there is one.
fn join(one: ColumnType, other: ColumnType, precision_max: u8) -> Option<ColumnType> {
    use ColumnType::Decimal;
    if holds(one, other) {
        return Some(one);
    }
    if holds(other, one) {
        return Some(other);
    }
    let parts = |kind| match kind {
        Decimal { precision, scale } => Some((precision.saturating_sub(scale), scale)),
        ColumnType::Int => Some((19, 0)),
        _ => None,
    };
    let ((before, behind), (other_before, other_behind)) = (parts(one)?, parts(other)?);
    let scale = behind.max(other_behind);
    let precision = before.max(other_before).checked_add(scale)?;
    (precision <= precision_max).then_some(Decimal { precision, scale })
}

/// How the fields in [`Evolution::backfill`] get their values in a table of so many rows: in one go with the load that is
/// due where that costs a handful of calls, else by a load of the key and those fields alone.
pub fn backfill(evolution: &Evolution, rows: u64, is_full_anyway: bool, thresholds: &Thresholds) -> Backfill {
    let fields = &evolution.backfill;
    if fields.is_empty() || evolution.creates {
        return Backfill::None;
    }
    let new = format!("{} to fill in {}", counted(fields.len() as u64, "new column"), counted(rows, "row"));
    if is_full_anyway {
        return Backfill::Full { reason: format!("{new}: every row is read anyway") };
    }
    if rows < thresholds.bulk.max(REST_PAGE_ROWS) {
        let calls = forecast(SyncMethod::RegularApiFull, rows).calls;
        let reason = format!("{new}: every row is read, for {}", counted(calls, "call"));
        return Backfill::Full { reason };
    }
    let reason = format!("{new}: they are read alone, beside the increment");
    Backfill::Refresh { fields: fields.clone(), reason }
}

/// The key and some fields of a layout, for a load that only refreshes them. Without stamp: what is read now is newer than
/// what is there. Fields that the layout does not have are left out.
pub fn part_of(layout: &TableLayout, fields: &[String]) -> TableLayout {
    let is_wanted = |field: &str| fields.iter().any(|wanted| wanted.eq_ignore_ascii_case(field));
    let key = layout.columns.get(layout.key);
    let others = layout
        .columns
        .iter()
        .enumerate()
        .filter(|(at, column)| {
            *at != layout.key
                && Some(*at) != layout.stamp
                && Some(*at) != layout.deleted
                && is_wanted(&column.field)
        })
        .map(|(_, column)| column);
    TableLayout {
        columns: key.into_iter().chain(others).cloned().collect(),
        key: 0,
        stamp: None,
        deleted: None,
        deleted_column: layout.deleted_column.clone(),
    }
}

struct Diff<'s> {
    /// Ours, as we left them.
    known: Vec<&'s KnownColumn>,
    /// Every name that is taken, in small letters: warehouses fold case.
    taken: Vec<String>,
    precision_max: u8,
    changes: Vec<SchemaChange>,
    backfill: Vec<String>,
    notes: Vec<String>,
}

impl<'s> Diff<'s> {
    fn new(state: &'s TableState, precision_max: u8) -> Self {
        let ours = state.columns.iter().map(|known| &known.column.name);
        let taken = ours.chain(&state.foreign).map(|name| name.to_lowercase()).collect();
        let is_sound = |known: &&KnownColumn| !state.altered.contains(&known.column.name);
        Self {
            known: state.columns.iter().filter(is_sound).collect(),
            taken,
            precision_max,
            changes: Vec::new(),
            backfill: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Finds the column of a field, or makes one; `wanted` gets its name and type.
    fn column(&mut self, wanted: &mut TableColumn) {
        let field = wanted.field.clone();
        let is_of_field = |known: &&KnownColumn| known.column.field.eq_ignore_ascii_case(&field);
        // The youngest first.
        let known: Vec<&KnownColumn> = self.known.iter().rev().copied().filter(is_of_field).collect();
        let active = known.iter().copied().find(|known| known.is_active);
        let fits = |known: &KnownColumn| join(known.column.kind, wanted.kind, self.precision_max);
        // The one in use first; then one that was left for another type and would fit again.
        let found = active
            .and_then(|known| fits(known).map(|kind| (known, kind)))
            .or_else(|| known.iter().find_map(|known| fits(known).map(|kind| (*known, kind))));
        match found {
            Some((known, kind)) => {
                let name = &known.column.name;
                if !known.is_active {
                    self.changes.push(SchemaChange::Revive { name: name.clone() });
                    self.backfill.push(field.clone());
                    self.notes.push(format!("field `{field}` is back; column `{name}` is filled again"));
                }
                if kind != known.column.kind {
                    let from = known.column.kind;
                    self.changes.push(SchemaChange::Widen { name: name.clone(), from, to: kind });
                }
                wanted.name = name.clone();
                wanted.kind = kind;
            }
            None => {
                wanted.name = self.free_name(&field);
                let beside = active.map(|known| known.column.name.clone());
                if let Some(before) = &beside {
                    let name = &wanted.name;
                    self.notes.push(format!(
                        "field `{field}` has another type, which column `{before}` cannot hold: it goes to `{name}`, `{before}` keeps its values"
                    ));
                } else if wanted.name != field {
                    self.notes.push(format!(
                        "the table has a column `{field}` that is not this field's: the field goes to `{}`",
                        wanted.name
                    ));
                }
                self.changes.push(SchemaChange::AddColumn { column: wanted.clone(), beside });
                self.backfill.push(field.clone());
            }
        }
    }

    /// Columns in use that no field of the load goes to.
    fn retire_others(&mut self, layout: &TableLayout) {
        let in_use: Vec<&KnownColumn> = self.known.iter().copied().filter(|known| known.is_active).collect();
        for known in in_use {
            let TableColumn { name, field, .. } = &known.column;
            if layout.columns.iter().any(|column| column.name == *name) {
                continue;
            }
            if !layout.columns.iter().any(|column| column.field.eq_ignore_ascii_case(field)) {
                self.notes.push(format!(
                    "field `{field}` is gone, hidden or left out: column `{name}` stays, its values stop changing"
                ));
            }
            self.changes.push(SchemaChange::Retire { name: name.clone() });
        }
    }

    /// The field's name, or that with `__v2` and so on; the name is taken from then on.
    fn free_name(&mut self, field: &str) -> String {
        let mut name = field.to_owned();
        let mut version = 1_u32;
        while self.taken.contains(&name.to_lowercase()) {
            version += 1;
            let ending = format!("__v{version}");
            let length = field.len().min(NAME_MAX - ending.len());
            // Names of fields are ASCII.
            name = format!("{}{ending}", field.get(..length).unwrap_or(field));
        }
        self.taken.push(name.to_lowercase());
        name
    }
}

fn listed(names: &[String]) -> String {
    const MOST: usize = 8;
    let mut text = names.iter().take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

#[cfg(test)]
#[path = "evolve_tests.rs"]
mod tests;
