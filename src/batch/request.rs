//! What a body may say, and every fault of one that says something else (contract, sections 2 and 3).
//!
//! Promises: a body that comes through has the shape that the types here say, its ids are unique, its references are
//! parsed and point to operations of the batch, and its dependencies have an order. A body that does not is refused
//! with all its faults, each with a pointer, in the order of the contract. Reading costs time linear in the body, whatever
//! the body is. Entities, columns, operators and permissions are not looked at here: they belong to one operation and not
//! to the whole ([`check`](super::check)).

mod faults;
pub(in crate::batch) mod json;
mod names;
mod operation;
mod options;
mod read;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::operation::Action;
use super::plan::Plan;
use super::reference::Template;
use super::value::Value;
use crate::database::Isolation;

pub use super::problem::FaultKind;

/// Faults that one refusal lists at most.
pub const FAULTS_MAX: usize = 50;

/// What a batch may cost (contract, section 13). Each is checked before the cost is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body, after decompression.
    pub body_bytes: usize,
    /// Levels of lists and objects in a body.
    pub json_depth: usize,
    /// Operations of a batch.
    pub operations: usize,
    /// Operations of the longest chain of dependencies.
    pub depth: usize,
    /// References of a batch.
    pub references: usize,
    /// Rows of one create.
    pub rows_per_create: usize,
    /// Rows a read answers when it does not say how many.
    pub default_read_rows: u64,
    /// Rows a read may ask for.
    pub read_rows: u64,
    /// Rows an update or delete may touch.
    pub affected_rows: u64,
    /// Values of one `in`.
    pub in_list: usize,
    /// Bytes of all values once references are filled in.
    pub resolved_bytes: usize,
    /// Bytes of all results.
    pub result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            json_depth: 32,
            operations: 100,
            depth: 32,
            references: 2_000,
            rows_per_create: 1_000,
            default_read_rows: 100,
            read_rows: 1_000,
            affected_rows: 1_000,
            in_list: 1_000,
            resolved_bytes: 4 << 20,
            result_bytes: 8 << 20,
        }
    }
}

/// What to do with `claims` of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperationClaims {
    /// Refuse them.
    #[default]
    Refuse,
    /// Read them; [`access`](super::access) sees to it that they only narrow.
    Narrow,
}

/// A batch as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRequest {
    /// In the order of the list; at least one.
    pub operations: Vec<OperationRequest>,
    /// Of the whole.
    pub options: Options,
}

/// One operation as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRequest {
    /// Its place in the list.
    pub index: usize,
    /// Its id, `op_<index>` when it came without one.
    pub id: Arc<str>,
    /// The name of the entity, as written.
    pub entity: Arc<str>,
    /// What to do.
    pub action: Action,
    /// What to store.
    pub store_params: StoreParams,
    /// Which rows; keys once each, in their order.
    pub query_params: Vec<(Arc<str>, Template)>,
    /// `sort`, `limit`, `offset`, `properties`, `_properties`, `count`, `lock`, `cursor`, without the prefix `__`, once
    /// each. Only the values of `limit` and `offset` may hold references.
    pub metadata_params: Vec<(Arc<str>, Template)>,
    /// Operations it named in `depends_on`: places in the list, sorted, once each.
    pub depends_on: Vec<usize>,
    /// How many rows it must touch or return.
    pub expect: Option<Expect>,
    /// Claims that narrow the caller; always an object, and only with [`OperationClaims::Narrow`].
    pub claims: Option<Value>,
}

impl OperationRequest {
    /// The value of a key of `metadata_params`.
    pub fn metadata(&self, key: &str) -> Option<&Template> {
        self.metadata_params.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }
}

/// What an operation stores.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreParams {
    /// It came without `store_params`.
    None,
    /// One row, keys once each, in their order.
    One(Vec<(Arc<str>, Template)>),
    /// Many rows of one create; at least one.
    Many {
        /// Keys of every row, in the order of the first.
        keys: Vec<Arc<str>>,
        /// A value for each key, row by row.
        rows: Vec<Vec<Template>>,
    },
}

/// How many rows an operation must touch or return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// At least so many.
    pub min: u64,
    /// At most so many; `None`: any number.
    pub max: Option<u64>,
}

/// Options of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// One transaction for the whole.
    pub atomic: bool,
    /// Go on after an operation failed.
    pub continue_on_error: bool,
    /// Run everything, then roll back.
    pub dry_run: bool,
    /// How rows are answered.
    pub data_shape: DataShape,
    /// How much of a written row is answered.
    pub returns: Return,
    /// `None`: the database's default. Only with `atomic`.
    pub isolation: Option<Isolation>,
    /// The client's own limit; at least 1. Counts only where it is below the server's.
    pub timeout_ms: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            atomic: true,
            continue_on_error: false,
            dry_run: false,
            data_shape: DataShape::Auto,
            returns: Return::Representation,
            isolation: None,
            timeout_ms: None,
        }
    }
}

/// How rows are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataShape {
    /// One row as itself, anything else as a list.
    Auto,
    /// Always a list.
    Rows,
}

/// How much of a written row is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Every column that the caller may see.
    Representation,
    /// The primary key.
    Keys,
    /// Nothing.
    None,
}

/// One thing wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// Where: an RFC 6901 pointer into the body; empty: the whole.
    pub pointer: String,
    /// What, and what to do about it.
    pub detail: String,
    /// Id of the operation, where it is about one.
    pub operation: Option<Arc<str>>,
}

/// Why a body was refused, before anything ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In the order of the contract; at least one, at most [`FAULTS_MAX`]. The first describes the whole.
    pub faults: Vec<Fault>,
    /// 400, or 413 for a body that is too large.
    pub status: u16,
}

/// Reads a body: everything of sections 2 and 3 of the contract that needs no catalogue.
pub fn parse(
    body: &[u8],
    limits: &Limits,
    operation_claims: OperationClaims,
) -> Result<(BatchRequest, Plan), Refusal> {
    read::parse(body, limits, operation_claims)
}
