//! Which field a column of the query goes to.
//!
//! Promises: every column goes to exactly one field that the operation may write, or the push is refused before a row is
//! read, with the column and the remedy; the match field is there. A row is told as cells of an upload, or as what does not
//! fit it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cells::FieldSort;
use super::outcome::RowError;
use super::settings::{PushOperation, PushSettings};
use crate::model::{FieldDescribe, FieldName, ObjectDescribe, ObjectName};
use crate::sync::table::QueryColumn;
use crate::warehouse::ChunkRow;

/// What the org reads as null.
const NULL_CELL: &str = "#N/A";

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushColumn {
    /// The column of the query.
    pub column: String,
    /// The field.
    pub field: FieldName,
    /// What the field takes.
    pub sort: FieldSort,
    /// A null of the query clears it.
    pub clears: bool,
}

/// Where all columns of a query go, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushColumns {
    /// The columns.
    pub columns: Vec<PushColumn>,
    /// Which of them identifies the record; an insert has none.
    pub match_column: Option<usize>,
    /// Which of them results are told by: the match column, or of an insert the first external id or unique field.
    pub told_by: Option<usize>,
}

/// Why a query's columns cannot be pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushColumnsError {
    /// The object may not be written to so.
    #[error(
        "this login may not {operation} records of `{object}`: give it the right, or push to another object"
    )]
    NotAllowed {
        /// The object.
        object: ObjectName,
        /// What was to be done.
        operation: &'static str,
    },
    /// A column that goes nowhere.
    #[error(
        "column `{column}` of the query: `{object}` has no field `{field}` that this login may see; name its field in `columns`, or leave it out of the SELECT"
    )]
    NoField {
        /// The column.
        column: String,
        /// The object.
        object: ObjectName,
        /// The field that it would go to.
        field: String,
    },
    /// A field that may not be written.
    #[error("column `{column}` of the query: `{field}` {why}; leave it out of the SELECT")]
    NotWritable {
        /// The column.
        column: String,
        /// The field.
        field: FieldName,
        /// Why not.
        why: &'static str,
    },
    /// Two columns for one field.
    #[error(
        "columns `{one}` and `{other}` of the query both go to `{field}`: leave one of them out of the SELECT"
    )]
    Twice {
        /// The first.
        one: String,
        /// The second.
        other: String,
        /// The field.
        field: FieldName,
    },
    /// The field that identifies records is not an external id.
    #[error("`external_id`: `{field}` of `{object}` {why}")]
    NoExternalId {
        /// The object.
        object: ObjectName,
        /// The field.
        field: FieldName,
        /// What is wrong, and the remedy.
        why: &'static str,
    },
    /// The query does not say which records.
    #[error(
        "the query has no column for `{field}`, by which {operation} finds records: add it to the SELECT"
    )]
    NoMatch {
        /// The field.
        field: String,
        /// What was to be done.
        operation: &'static str,
    },
    /// Records could not be made.
    #[error("the query has no column for {}: without them the org makes no record of `{object}`", .fields.join(", "))]
    Required {
        /// The object.
        object: ObjectName,
        /// The fields, in backticks.
        fields: Vec<String>,
    },
    /// `columns` names a column that the query does not have.
    #[error("`columns`: the query has no column `{0}`")]
    NoColumn(String),
    /// Nothing to write.
    #[error("the query has no column to {0} beside the one that identifies records")]
    Nothing(&'static str),
}

/// A cell of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushCell {
    /// The field stays as it is.
    Unchanged,
    /// The field is cleared.
    Cleared,
    /// The field takes the text from here to there.
    Text {
        /// First byte in [`PushRow::text`].
        start: usize,
        /// Behind the last.
        end: usize,
    },
}

/// A row on its way into an upload; its room is used again for the next.
#[derive(Clone, Default)]
pub struct PushRow {
    /// The texts of its cells.
    pub text: String,
    /// Its cells.
    pub cells: Vec<PushCell>,
}

impl PushRow {
    /// The text of a cell; `None` for one that has none.
    pub fn text_of(&self, at: usize) -> Option<&str> {
        match self.cells.get(at)? {
            PushCell::Text { start, end } => self.text.get(*start..*end),
            PushCell::Unchanged | PushCell::Cleared => None,
        }
    }
}

impl PushColumns {
    /// Finds the field of each column.
    ///
    /// # Errors
    /// See [`PushColumnsError`].
    pub fn of(
        settings: &PushSettings,
        describe: &ObjectDescribe,
        columns: &[QueryColumn],
    ) -> Result<Self, PushColumnsError> {
        let operation = &settings.operation;
        allowed(operation, describe)?;
        external_id(operation, describe)?;
        for named in settings.columns.keys() {
            if !columns.iter().any(|column| column.name.eq_ignore_ascii_case(named)) {
                return Err(PushColumnsError::NoColumn(named.clone()));
            }
        }
        let mut found: Vec<PushColumn> = Vec::with_capacity(columns.len());
        for column in columns {
            let field = field_of(&settings.columns, describe, &column.name)?;
            let is_match =
                operation.match_field().is_some_and(|name| name.eq_ignore_ascii_case(field.name.as_str()));
            if let Some(why) = not_writable(operation, field, is_match) {
                return Err(PushColumnsError::NotWritable {
                    column: column.name.clone(),
                    field: field.name.clone(),
                    why,
                });
            }
            if let Some(before) = found.iter().find(|before| before.field == field.name) {
                return Err(PushColumnsError::Twice {
                    one: before.column.clone(),
                    other: column.name.clone(),
                    field: field.name.clone(),
                });
            }
            // The org refuses to clear what may not be empty, checkboxes among it.
            let clears = settings.clear_nulls && !is_match && field.nillable && field.field_type != "boolean";
            found.push(PushColumn {
                column: column.name.clone(),
                field: field.name.clone(),
                sort: FieldSort::of(field),
                clears,
            });
        }
        let match_column = match operation.match_field() {
            None => None,
            Some(name) => {
                let at = found.iter().position(|column| column.field.as_str().eq_ignore_ascii_case(name));
                let missing =
                    || PushColumnsError::NoMatch { field: name.to_owned(), operation: operation.as_str() };
                Some(at.ok_or_else(missing)?)
            }
        };
        if found.len() == 1 && match_column.is_some() && *operation == PushOperation::Update {
            return Err(PushColumnsError::Nothing("update"));
        }
        if *operation == PushOperation::Insert {
            required(describe, &found)?;
        }
        let identifies = |column: &PushColumn| {
            describe
                .fields
                .iter()
                .any(|field| field.name == column.field && (field.external_id || field.unique))
        };
        let told_by = match_column.or_else(|| found.iter().position(identifies));
        Ok(Self { columns: found, match_column, told_by })
    }

    /// The field that results are told by.
    pub fn told_by(&self) -> Option<&str> {
        Some(self.columns.get(self.told_by?)?.field.as_str())
    }

    /// The fields, in order.
    pub fn fields(&self) -> Vec<FieldName> {
        self.columns.iter().map(|column| column.field.clone()).collect()
    }

    /// Makes the cells of a row.
    ///
    /// # Errors
    /// When a value does not fit its field, or the value that identifies the record is missing. `into` still has the text of
    /// the match field then, where it fits.
    pub fn row(&self, row: &ChunkRow<'_>, into: &mut PushRow) -> Result<(), RowError> {
        into.text.clear();
        into.cells.clear();
        let mut bad = None;
        for (at, column) in self.columns.iter().enumerate() {
            let start = into.text.len();
            let cell = match column.sort.write(row.cell(at), &mut into.text) {
                Ok(true) => PushCell::Text { start, end: into.text.len() },
                Ok(false) if self.match_column == Some(at) => {
                    let message =
                        format!("column `{}` is empty: no record is found without it", column.column);
                    bad = bad.or_else(|| Some(RowError::new("no_match_value", message)));
                    PushCell::Unchanged
                }
                Ok(false) if column.clears => PushCell::Cleared,
                Ok(false) => PushCell::Unchanged,
                Err(fault) => {
                    let message = format!("column `{}`, field `{}`: {fault}", column.column, column.field);
                    bad = bad.or_else(|| Some(RowError::new("bad_value", message)));
                    PushCell::Unchanged
                }
            };
            if into.text[start..].eq_ignore_ascii_case(NULL_CELL) {
                let message =
                    format!("column `{}`: the org reads the text `{NULL_CELL}` as null", column.column);
                bad = bad.or_else(|| Some(RowError::new("looks_like_null", message)));
            }
            into.cells.push(cell);
        }
        bad.map_or(Ok(()), Err)
    }
}

fn allowed(operation: &PushOperation, describe: &ObjectDescribe) -> Result<(), PushColumnsError> {
    let refused = |operation| PushColumnsError::NotAllowed { object: describe.name.clone(), operation };
    let is_upsert = matches!(operation, PushOperation::Upsert { .. });
    if (is_upsert || *operation == PushOperation::Insert) && !describe.createable {
        return Err(refused("create"));
    }
    if (is_upsert || *operation == PushOperation::Update) && !describe.updateable {
        return Err(refused("update"));
    }
    if *operation == PushOperation::Delete && !describe.deletable {
        return Err(refused("delete"));
    }
    Ok(())
}

fn external_id(operation: &PushOperation, describe: &ObjectDescribe) -> Result<(), PushColumnsError> {
    let PushOperation::Upsert { external_id } = operation else { return Ok(()) };
    let refused = |why| {
        Err(PushColumnsError::NoExternalId { object: describe.name.clone(), field: external_id.clone(), why })
    };
    let name = external_id.as_str();
    match describe.fields.iter().find(|field| field.name.as_str().eq_ignore_ascii_case(name)) {
        None => refused("is no field that this login may see"),
        Some(field) if field.external_id || field.field_type == "id" => Ok(()),
        Some(_) => refused("is not marked as an external id: mark it, unique at best, or name one that is"),
    }
}

fn field_of<'d>(
    named: &BTreeMap<String, String>,
    describe: &'d ObjectDescribe,
    column: &str,
) -> Result<&'d FieldDescribe, PushColumnsError> {
    // Warehouses fold the case of names, the org does not care.
    let wanted =
        named.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map_or(column, |(_, field)| field);
    describe.fields.iter().find(|field| field.name.as_str().eq_ignore_ascii_case(wanted)).ok_or_else(|| {
        PushColumnsError::NoField {
            column: column.to_owned(),
            object: describe.name.clone(),
            field: wanted.to_owned(),
        }
    })
}

fn not_writable(operation: &PushOperation, field: &FieldDescribe, is_match: bool) -> Option<&'static str> {
    if is_match {
        return None;
    }
    if matches!(field.field_type.as_str(), "address" | "location" | "complexvalue") {
        return Some("is a compound: its parts are written");
    }
    match operation {
        PushOperation::Delete => Some("is not needed: a delete takes `Id` alone"),
        PushOperation::Insert if !field.createable => Some("may not be set when a record is created"),
        PushOperation::Update if !field.updateable => Some("may not be updated"),
        PushOperation::Upsert { .. } if !field.createable => Some("may not be set when a record is created"),
        PushOperation::Upsert { .. } if !field.updateable => {
            Some("may be set when a record is created and not later, and an upsert does both")
        }
        _ => None,
    }
}

fn required(describe: &ObjectDescribe, found: &[PushColumn]) -> Result<(), PushColumnsError> {
    let is_required = |field: &&FieldDescribe| {
        field.createable && !field.nillable && !field.defaulted_on_create && field.field_type != "boolean"
    };
    let is_missing = |field: &&FieldDescribe| !found.iter().any(|column| column.field == field.name);
    let missing = describe.fields.iter().filter(is_required).filter(is_missing);
    let fields: Vec<String> = missing.map(|field| format!("`{}`", field.name)).collect();
    match fields.is_empty() {
        true => Ok(()),
        false => Err(PushColumnsError::Required { object: describe.name.clone(), fields }),
    }
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
