//! The seam between the query engine and whoever makes up the rows of ordinary objects.
//!
//! A row is nothing but an index: the same index gives the same values for as long as the source lives,
//! so a page can be rendered twice and a cursor needs to remember positions only.

use crate::model::{Field, SObject};

/// One value of one field of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing there.
    Null,
    /// Checkbox.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number with a fraction.
    Double(f64),
    /// Text, id, picklist value (several values of a multipicklist joined by `;`).
    Text(String),
    /// Day, as `2026-01-02`.
    Date(String),
    /// Moment, in milliseconds since 1970 UTC.
    DateTime(i64),
}

/// Writes one field's values straight into a buffer: what a scan of millions of rows uses instead of values.
pub trait CellWriter: Send + Sync {
    /// Appends the text of the value in row `index` as Bulk CSV has it, quotes doubled but none around it;
    /// nothing for null.
    fn push(&self, index: u64, out: &mut Vec<u8>);
}

/// Computes rows of ordinary objects from their index.
pub trait RowSource: Send + Sync {
    /// Number of live rows; indices run from 0 to one below it.
    fn count(&self, object: &SObject) -> u64;
    /// Number of rows in the recycle bin; their indices follow those of the live ones.
    fn deleted(&self, object: &SObject) -> u64 {
        let _ = object;
        0
    }
    /// The value of `field` in row `index`. `Id` must have a value for any index, also of rows yet to be made.
    fn value(&self, object: &SObject, index: u64, field: &Field) -> Value;
    /// The row that has this id (15 or 18 characters), if there is one.
    fn index_of(&self, object: &SObject, id: &str) -> Option<u64>;
    /// Rows that may hold `text` in `field`, when the source can tell without looking at every row. The caller
    /// looks at each of them again.
    fn find(&self, object: &SObject, field: &Field, text: &str) -> Option<Vec<u64>> {
        let _ = (object, field, text);
        None
    }
    /// Whether `value` would be null. Fill rates ask this of every row, so a source that can tell without
    /// making the value up should.
    fn is_null(&self, object: &SObject, index: u64, field: &Field) -> bool {
        self.value(object, index, field) == Value::Null
    }
    /// A writer of this field's values, if the source has a quick one. It writes what `value` says.
    fn cell_writer(&self, _object: &SObject, _field: &Field) -> Option<Box<dyn CellWriter>> {
        None
    }
}
