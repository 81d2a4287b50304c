//! What is told of a sync: the ten keys that its users know, and what it cost.
//!
//! Every number was counted where it happened: rows by the target, calls and bytes by the client.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::SchemaChange;

/// How an object was brought over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMethod {
    /// Pages of a REST query, every row.
    RegularApiFull,
    /// Pages of a REST query, what changed.
    RegularApiIncremental,
    /// Bulk API 2.0, every row.
    BulkApiFull,
    /// Bulk API 2.0, what changed.
    BulkApiIncremental,
    /// Bulk API 2.0 through files of a stage, every row.
    BulkApiStageFull,
    /// Bulk API 2.0 through files of a stage, what changed.
    BulkApiStageIncremental,
}

impl SyncMethod {
    /// As in results and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegularApiFull => "regular_api_full",
            Self::RegularApiIncremental => "regular_api_incremental",
            Self::BulkApiFull => "bulk_api_full",
            Self::BulkApiIncremental => "bulk_api_incremental",
            Self::BulkApiStageFull => "bulk_api_stage_full",
            Self::BulkApiStageIncremental => "bulk_api_stage_incremental",
        }
    }

    /// Every row, not only those that changed.
    pub fn is_full(self) -> bool {
        matches!(self, Self::RegularApiFull | Self::BulkApiFull | Self::BulkApiStageFull)
    }

    /// By a bulk job.
    pub fn is_bulk(self) -> bool {
        !matches!(self, Self::RegularApiFull | Self::RegularApiIncremental)
    }

    /// Through files of a stage.
    pub fn is_staged(self) -> bool {
        matches!(self, Self::BulkApiStageFull | Self::BulkApiStageIncremental)
    }
}

impl fmt::Display for SyncMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose trouble a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A login or a right, at the org or at the warehouse.
    Auth,
    /// The org or the warehouse could not be reached, or was too busy, or the day's calls are spent.
    Network,
    /// The bulk job, or the plan of this sync.
    Job,
    /// Rows or tables that do not fit.
    Data,
}

/// What came of one object's sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncResult {
    /// The object.
    pub sobject: String,
    /// The table, as configured.
    pub target_table: String,
    /// How, or `None` when it failed before that was chosen; told as `failed` then.
    #[serde(with = "method_or_failed")]
    pub sync_method: Option<SyncMethod>,
    /// Rows that the org's first answer promised.
    pub estimated_records: u64,
    /// Rows that were read from the org and staged at the target.
    pub actual_records: u64,
    /// From the start to the commit.
    pub sync_duration_seconds: f64,
    /// The watermark that the window began at; `None`: from the beginning.
    pub last_modified_date: Option<Timestamp>,
    /// When this sync began, by our clock.
    pub sync_timestamp: Timestamp,
    /// Whether the target has everything.
    pub success: bool,
    /// Why not.
    pub error: Option<String>,
    /// Of a failure: rows that are in the target from this sync, which is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_processed: Option<u64>,
    /// Of a failure: whose trouble it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// Why this method.
    pub reason: String,
    /// Calls of the org, logins apart, as the client made them.
    pub calls: u64,
    /// Bulk jobs that were made.
    pub jobs: u64,
    /// Bytes of rows, unpacked.
    pub bytes: u64,
    /// Rows of the target that are new or other than before, counted there.
    pub rows_written: u64,
    /// Rows that were the same, or newer, in the target.
    pub rows_unchanged: u64,
    /// Rows that left the target or were flagged as deleted.
    pub rows_deleted: u64,
    /// Rows that did not fit their columns and are in the reject file.
    pub rows_rejected: u64,
    /// The reject file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_file: Option<String>,
    /// What became of the table's columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_changes: Vec<SchemaChange>,
    /// Fields that were left out, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_fields: Vec<(String, String)>,
    /// Rows at the org and in the target, where they were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciliation: Option<Reconciliation>,
    /// What else a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Rows at the org beside rows in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Rows of the org that the filter lets through, deleted ones not counted.
    pub org: u64,
    /// Rows of the target that are not flagged as deleted.
    pub target: u64,
    /// Target less org.
    pub difference: i64,
    /// Where a difference comes from, as far as it is known.
    pub reason: String,
}

mod method_or_failed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::SyncMethod;

    const FAILED: &str = "failed";

    pub fn serialize<S: Serializer>(method: &Option<SyncMethod>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(method.map_or(FAILED, SyncMethod::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SyncMethod>, D::Error> {
        let text = String::deserialize(from)?;
        if text == FAILED {
            return Ok(None);
        }
        SyncMethod::deserialize(serde::de::value::StrDeserializer::<D::Error>::new(&text)).map(Some)
    }
}
