//! Plain rows, until the seeded ones take this place.

use crate::{
    ids,
    model::{Field, OrgModel, SObject},
    rows_api::{RowSource, Value},
};

/// Rows by seed.
#[derive(Debug)]
pub struct SeededRows {
    _seed: u64,
}

impl SeededRows {
    /// A source.
    pub fn new(seed: u64, _org: &OrgModel) -> Self {
        Self { _seed: seed }
    }
}

impl RowSource for SeededRows {
    fn count(&self, object: &SObject) -> u64 {
        object.record_count
    }

    fn value(&self, object: &SObject, index: u64, field: &Field) -> Value {
        match field.field_type.as_str() {
            "id" => Value::Text(ids::numbered(object.key_prefix.as_deref().unwrap_or("000"), index)),
            "string" => Value::Text(format!("{} {index}", object.label)),
            _ => Value::Null,
        }
    }

    fn index_of(&self, object: &SObject, id: &str) -> Option<u64> {
        let prefix = object.key_prefix.as_deref().unwrap_or("000");
        (0..object.record_count).find(|&index| ids::key(&ids::numbered(prefix, index)) == ids::key(id))
    }
}
