//! Writing records: what a user with the simulated user's rights may do, and in which words the org refuses.
//!
//! Promises: a record is written whole or not at all; stamps come from the org's clock, which tests can move;
//! what is refused leaves nothing behind. Rows live in [`overlay`]; the REST resources that write are in
//! [`resources`]. Triggers, flows and validation rules do not run.

mod flags;
pub mod options;
pub mod overlay;
pub mod replication;
pub mod resources;
pub mod rows;
pub mod script;
pub mod spans;
mod values;
mod write;

pub use flags::DataFlags;
pub use options::{DataOptions, Knobs};
pub use write::write_within;

use crate::{model::SObject, site::Site};
use serde_json::{Map, Value, json};

/// What is done with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes a new one.
    Insert,
    /// Changes the one whose `Id` is given.
    Update,
    /// Changes the one that holds this value in an external id field (or `Id`), else makes it.
    Upsert {
        /// API name.
        external_id_field: String,
    },
    /// Puts it into the recycle bin.
    Delete,
    /// Deletes it for good.
    HardDelete,
    /// Takes it out of the recycle bin.
    Undelete,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteResult {
    /// 18 characters; `None` when nothing was made or named.
    pub id: Option<String>,
    /// It was made, not changed.
    pub created: bool,
    /// Why not; empty on success.
    pub errors: Vec<RowError>,
}

/// One reason against a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// `REQUIRED_FIELD_MISSING`, ...
    pub status_code: &'static str,
    /// The text a client sees.
    pub message: String,
    /// API names of the fields concerned.
    pub fields: Vec<String>,
}

impl RowError {
    /// An error about some fields.
    pub fn of(status_code: &'static str, message: impl Into<String>, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        Self { status_code, message: message.into(), fields }
    }
}

impl WriteResult {
    /// Nothing was written.
    pub fn refused(error: RowError) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }

    /// It was written.
    pub fn is_success(&self) -> bool {
        self.errors.is_empty()
    }

    /// As an entry of a collection's answer.
    pub fn to_json(&self, upsert: bool) -> Value {
        let error = |error: &RowError| json!({ "statusCode": error.status_code, "message": error.message, "fields": error.fields });
        let errors: Vec<Value> = self.errors.iter().map(error).collect();
        let mut entry = json!({ "success": self.is_success(), "errors": errors });
        if let Some(id) = self.id.as_ref().filter(|_| self.is_success()) {
            entry["id"] = json!(id);
        }
        if upsert {
            entry["created"] = json!(self.created);
        }
        entry
    }
}

/// Applies one record, stamped by the org's clock. For callers outside a REST request (Bulk jobs): it waits for
/// transactions in progress, which a request that holds one must not do.
pub fn write(
    site: &Site,
    object: &SObject,
    operation: &Operation,
    record: &Map<String, Value>,
) -> WriteResult {
    let _reading = site.data.enter();
    write_within(site, object, operation, record)
}
