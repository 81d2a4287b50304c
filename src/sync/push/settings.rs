//! What a push works with, once the configuration is read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{FieldName, ObjectName};
use crate::sync::table::TableName;

/// What happens to the rows at the org.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushOperation {
    /// Created, or updated where the external id is known.
    Upsert {
        /// The field that is marked as an external id; or `Id`.
        external_id: FieldName,
    },
    /// Created.
    Insert,
    /// Updated by `Id`.
    Update,
    /// Deleted by `Id`.
    Delete,
}

impl PushOperation {
    /// As in configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Upsert { .. } => "upsert",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The field by which a row is found at the org, and by which results are told; an insert has none.
    pub fn match_field(&self) -> Option<&str> {
        match self {
            Self::Upsert { external_id } => Some(external_id.as_str()),
            Self::Update | Self::Delete => Some("Id"),
            Self::Insert => None,
        }
    }

    /// A second time changes nothing that the first has not.
    pub fn may_be_repeated(&self) -> bool {
        !matches!(self, Self::Insert)
    }
}

impl fmt::Display for PushOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One push, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// Its name.
    pub name: String,
    /// The object that is written to.
    pub object: ObjectName,
    /// What happens to the rows.
    pub operation: PushOperation,
    /// The query whose rows are sent.
    pub sql: String,
    /// Field by column of the query, where they are not called the same.
    pub columns: BTreeMap<String, String>,
    /// Whether a null of the query clears its field; else the field stays as it is.
    pub clear_nulls: bool,
    /// Most rows of a batch.
    pub batch_rows: u64,
    /// Most bytes of a batch.
    pub batch_bytes: usize,
    /// From so many rows on by bulk jobs.
    pub bulk_from: u64,
    /// How often a row is sent whose refusal may pass, the first time included.
    pub attempts: u32,
    /// Longest wait for a job of the org.
    pub patience: Duration,
    /// Where the outcome of each row is told; `None`: of rows that were not written, in the log of the push alone.
    pub results: Option<TableName>,
    /// Time between two pushes; `None`: on request, or by `cron`.
    pub every: Option<Duration>,
    /// When it is pushed: minute, hour, day of month, month, day of week; UTC.
    pub cron: Option<String>,
}

/// The query is the person's own text, and may hold values: not for prints.
impl fmt::Debug for PushSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSettings")
            .field("name", &self.name)
            .field("object", &self.object)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl PushSettings {
    /// Settings with every limit at its default.
    pub fn new(name: &str, object: ObjectName, operation: PushOperation, sql: &str) -> Self {
        Self {
            name: name.to_owned(),
            object,
            operation,
            sql: sql.to_owned(),
            columns: BTreeMap::new(),
            clear_nulls: false,
            batch_rows: 25_000,
            batch_bytes: 16_000_000,
            bulk_from: super::way::BULK_FROM,
            attempts: 3,
            patience: Duration::from_secs(2 * 3_600),
            results: None,
            every: None,
            cron: None,
        }
    }
}
