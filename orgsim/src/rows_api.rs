//! How the endpoints ask for rows. Rows are computed from an index, never stored.

use crate::model::{Field, SObject};

/// One value of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// Checkbox.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// Text, ids and picklist values.
    Text(String),
    /// A day, as `2026-01-02`.
    Date(String),
    /// A moment, in epoch milliseconds UTC.
    DateTime(i64),
}

/// Rows by index.
pub trait RowSource: Send + Sync {
    /// Number of rows of `object`.
    fn count(&self, object: &SObject) -> u64;
    /// The value of `field` in the row at `index` (from 0).
    fn value(&self, object: &SObject, index: u64, field: &Field) -> Value;
    /// The index of the row with this id, 15 or 18 characters long.
    fn index_of(&self, object: &SObject, id: &str) -> Option<u64>;
}
