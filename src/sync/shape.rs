//! What is read of an object: its fields as a describe tells them, less what configuration and warehouse leave out.
//!
//! Promises: every field of the describe is either read or in [`Shape::skipped`] with the reason; the key, the stamp and
//! `IsDeleted` are always read; a field of a type that nobody knows yet is text.

use serde::{Deserialize, Serialize};

use super::method::BulkOffer;
use super::settings::ObjectSettings;
use super::table::{ColumnType, TableColumn, TableLayout};
use super::window::{CursorField, cursor_field};
use crate::model::{FieldDescribe, FieldName, ObjectDescribe, ObjectName};

/// Column that flags deleted rows, as the org's field that says so.
pub const DELETED_COLUMN: &str = "IsDeleted";
/// Digits that a number has at least room for: the org's own most. Values may be longer than a describe says.
const DIGITS_MIN: u32 = 18;
/// Digits behind the point where a describe says nothing of a number's size.
const SCALE_UNKNOWN: u8 = 10;

/// What is read of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The object.
    pub object: ObjectName,
    /// The fields in the order of the describe, which is the order of the cells.
    pub fields: Vec<ShapeField>,
    /// Which of them identifies a row.
    pub key: usize,
    /// Which of them is the record's id.
    pub id: Option<usize>,
    /// Which of them says when a row last changed.
    pub stamp: Option<usize>,
    /// Which of them says that a row is deleted.
    pub deleted: Option<usize>,
    /// What increments go by; without it every sync reads everything.
    pub cursor: Option<CursorField>,
    /// Fields that are left out, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Whether a bulk job can read the fields.
    pub bulk: BulkOffer,
    /// Whether the org lists records that were deleted for good (`getDeleted`).
    pub lists_deleted: bool,
}

/// A field that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeField {
    /// Its name at the org.
    pub name: FieldName,
    /// What its values are.
    pub kind: ColumnType,
    /// The org reckons it out of others: it changes without a stamp.
    pub is_formula: bool,
    /// A bulk job does not give it.
    pub rest_only: bool,
}

/// What the warehouse can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Most columns of a table.
    pub columns_max: usize,
    /// Most digits of a decimal number.
    pub precision_max: u8,
}

/// Why an object cannot be synced as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No query may name it.
    #[error(
        "`{0}` cannot be queried by this login: give it a right to read the object, or take the object out of the configuration"
    )]
    NotQueryable(ObjectName),
    /// The field that is to identify rows is not there.
    #[error(
        "`match_field`: `{object}` has no field `{field}` that this login may read; `Id` is always there"
    )]
    NoMatchField {
        /// The object.
        object: ObjectName,
        /// As configured.
        field: String,
    },
    /// The field that is to identify rows does not.
    #[error(
        "`match_field`: `{object}.{field}` is not unique at the org, so that rows would overwrite each other; take `Id`, or make the field unique"
    )]
    NotUnique {
        /// The object.
        object: ObjectName,
        /// The field.
        field: FieldName,
    },
    /// A sync cannot do without a field that is to be left out.
    #[error("`exclude`: `{object}.{field}` cannot be left out: it is {needed_as}")]
    Needed {
        /// The object.
        object: ObjectName,
        /// The field.
        field: FieldName,
        /// What for.
        needed_as: &'static str,
    },
    /// More fields than a table has columns.
    #[error(
        "`{object}` has {fields} fields, a table of this warehouse {columns_max} columns at most: name {over} or more in `exclude`"
    )]
    TooManyFields {
        /// The object.
        object: ObjectName,
        /// Columns that it would need.
        fields: usize,
        /// Columns that there can be.
        columns_max: usize,
        /// How many too many.
        over: usize,
    },
}

impl Shape {
    /// Names of the fields, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Fields that change without a stamp.
    pub fn formulas(&self) -> impl Iterator<Item = &ShapeField> {
        self.fields.iter().filter(|field| field.is_formula)
    }

    /// The layout of a table that has nothing but these fields.
    pub fn layout(&self) -> TableLayout {
        let column = |field: &ShapeField| {
            let name = field.name.as_str().to_owned();
            TableColumn { field: name.clone(), name, kind: field.kind }
        };
        TableLayout {
            columns: self.fields.iter().map(column).collect(),
            key: self.key,
            stamp: self.stamp,
            deleted: self.deleted,
            deleted_column: DELETED_COLUMN.to_owned(),
        }
    }
}

/// Works out what is read.
///
/// # Errors
/// See [`ShapeError`].
pub fn shape(describe: &ObjectDescribe, settings: &ObjectSettings, room: Room) -> Result<Shape, ShapeError> {
    let object = &describe.name;
    if !describe.queryable || describe.fields.is_empty() {
        return Err(ShapeError::NotQueryable(object.clone()));
    }
    let key = match_field(describe, &settings.match_field)?;
    let cursor = cursor_field(describe);
    let mut shape = Shape {
        object: object.clone(),
        fields: Vec::with_capacity(describe.fields.len()),
        key: 0,
        id: None,
        stamp: None,
        deleted: None,
        cursor,
        skipped: unknown_excludes(describe, settings),
        bulk: BulkOffer::Yes,
        lists_deleted: describe.replicateable,
    };
    for field in &describe.fields {
        let name = field.name.as_str();
        let is_stamp = cursor.is_some_and(|cursor| name.eq_ignore_ascii_case(cursor.as_str()));
        let is_deleted = name.eq_ignore_ascii_case(DELETED_COLUMN) && field.field_type == "boolean";
        let is_id = field.field_type == "id";
        let needed_as = if name == key.as_str() {
            Some("the match field")
        } else if is_id {
            Some("the record's id")
        } else if is_stamp {
            Some("what increments go by")
        } else if is_deleted {
            Some("what says that a row is deleted")
        } else {
            None
        };
        if let Some(why) = left_out(field, settings) {
            let Some(needed_as) = needed_as else {
                shape.skipped.push((name.to_owned(), why));
                continue;
            };
            return Err(ShapeError::Needed { object: object.clone(), field: field.name.clone(), needed_as });
        }
        let place = Some(shape.fields.len());
        if name == key.as_str() {
            shape.key = shape.fields.len();
        }
        shape.id = if is_id { place } else { shape.id };
        shape.stamp = if is_stamp { place } else { shape.stamp };
        shape.deleted = if is_deleted { place } else { shape.deleted };
        let rest_only = is_compound(field) || is_base64(field);
        if rest_only && shape.bulk == BulkOffer::Yes {
            let sort = if is_compound(field) { "a compound (`compounds`)" } else { "base64 (`base64`)" };
            shape.bulk = BulkOffer::Refused(format!("`{name}` is {sort}, which bulk jobs do not give"));
        }
        shape.fields.push(ShapeField {
            name: field.name.clone(),
            kind: column_type(field, room.precision_max),
            is_formula: field.calculated,
            rest_only,
        });
    }
    let columns = shape.fields.len() + usize::from(shape.deleted.is_none());
    if columns > room.columns_max {
        return Err(ShapeError::TooManyFields {
            object: object.clone(),
            fields: columns,
            columns_max: room.columns_max,
            over: columns - room.columns_max,
        });
    }
    Ok(shape)
}

/// The type of the column for a field. Lengths are never declared; a number has room for what the org can hold, whatever the
/// describe says of it, which for some is nothing.
pub fn column_type(field: &FieldDescribe, precision_max: u8) -> ColumnType {
    match field.field_type.as_str() {
        "id" | "reference" | "masterrecord" => ColumnType::Id,
        "boolean" => ColumnType::Boolean,
        "int" | "long" => ColumnType::Int,
        "double" | "currency" | "percent" => decimal(field.precision, field.scale, precision_max),
        "date" => ColumnType::Date,
        "datetime" => ColumnType::DateTime,
        "time" => ColumnType::Time,
        "address" | "location" | "complexvalue" | "json" => ColumnType::Json,
        _ => ColumnType::Text,
    }
}

fn decimal(precision: u32, scale: u32, precision_max: u8) -> ColumnType {
    let most = u32::from(precision_max);
    if precision == 0 && scale == 0 {
        return ColumnType::Decimal { precision: precision_max, scale: SCALE_UNKNOWN.min(precision_max / 2) };
    }
    let scale = scale.min(most);
    let precision = precision.max(DIGITS_MIN).max(scale).min(most);
    // Both are at most `precision_max`, which is a `u8`.
    let digits = |number: u32| u8::try_from(number).unwrap_or(precision_max);
    ColumnType::Decimal { precision: digits(precision), scale: digits(scale) }
}

fn match_field(describe: &ObjectDescribe, wanted: &str) -> Result<FieldName, ShapeError> {
    let object = describe.name.clone();
    let found = describe.fields.iter().find(|field| field.name.as_str().eq_ignore_ascii_case(wanted));
    let Some(field) = found else {
        return Err(ShapeError::NoMatchField { object, field: wanted.to_owned() });
    };
    if field.field_type != "id" && !field.unique {
        return Err(ShapeError::NotUnique { object, field: field.name.clone() });
    }
    Ok(field.name.clone())
}

fn left_out(field: &FieldDescribe, settings: &ObjectSettings) -> Option<String> {
    let name = field.name.as_str();
    if settings.exclude.iter().any(|excluded| excluded.eq_ignore_ascii_case(name)) {
        return Some("named in `exclude`".to_owned());
    }
    if is_compound(field) && !settings.compounds {
        let why = "compound; its parts are read, and `compounds = true` keeps it as JSON beside them";
        return Some(why.to_owned());
    }
    if is_base64(field) && !settings.base64 {
        return Some("base64; `base64 = true` reads it, over REST".to_owned());
    }
    None
}

fn unknown_excludes(describe: &ObjectDescribe, settings: &ObjectSettings) -> Vec<(String, String)> {
    let is_known =
        |name: &&String| describe.fields.iter().any(|field| field.name.as_str().eq_ignore_ascii_case(name));
    let why = "named in `exclude`, but there is no such field";
    settings
        .exclude
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| (name.clone(), why.to_owned()))
        .collect()
}

fn is_compound(field: &FieldDescribe) -> bool {
    matches!(field.field_type.as_str(), "address" | "location" | "complexvalue")
}

fn is_base64(field: &FieldDescribe) -> bool {
    matches!(field.field_type.as_str(), "base64" | "byte")
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
