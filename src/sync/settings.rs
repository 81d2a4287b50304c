//! What a sync works with, once the configuration is read.

use std::time::Duration;

use super::load::DeletePolicy;
use super::table::TableName;
use crate::model::{ObjectName, OrgName};

/// Where thresholds come from that are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncProfile {
    /// By what costs fewer calls.
    Auto,
    /// 1,000 and 50,000 rows.
    Seed,
}

/// Rows from which on a method is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// From here on a bulk job.
    pub bulk: u64,
    /// From here on through files of a stage, where there is one.
    pub stage: u64,
}

impl SyncProfile {
    /// The profile's thresholds. A bulk job costs some seven calls whatever its size, a page of 2,000 rows one call, so
    /// that by calls the job pays from about 12,000 rows on; 10,000 leaves room for polls of a fast job.
    pub fn thresholds(self) -> Thresholds {
        match self {
            Self::Auto => Thresholds { bulk: 10_000, stage: 50_000 },
            Self::Seed => Thresholds { bulk: 1_000, stage: 50_000 },
        }
    }
}

/// What holds for every object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncSettings {
    /// The org.
    pub org: OrgName,
    /// The warehouse's name.
    pub warehouse: String,
    /// From where on which method.
    pub thresholds: Thresholds,
    /// How far a window reaches back behind the watermark: transactions commit later than they stamp.
    pub overlap: Duration,
    /// Objects under way at once.
    pub objects_at_once: usize,
    /// What becomes of deleted rows.
    pub deletes: DeletePolicy,
    /// Time between two looks for rows that were deleted for good (`getDeleted`); `None`: never.
    pub hard_deletes_every: Option<Duration>,
    /// Time between two refreshes of formula fields, which change without a stamp; `None`: never.
    pub formulas_every: Option<Duration>,
    /// Time between two countings of org and target; `None`: never.
    pub reconcile_every: Option<Duration>,
    /// How long a describe is believed.
    pub describe_for: Duration,
    /// Of a million rows, how many may be rejected before a load fails.
    pub max_rejects_per_million: u32,
    /// Most bytes of files that wait for the warehouse.
    pub spool_bytes: u64,
    /// The objects.
    pub objects: Vec<ObjectSettings>,
}

/// What holds for one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSettings {
    /// The object.
    pub object: ObjectName,
    /// Where its rows go, with the schema where one is given.
    pub table: TableName,
    /// The field that identifies a row: `Id`, or one that is unique.
    pub match_field: String,
    /// Whether files of a stage may be used.
    pub use_stage: bool,
    /// The stage; without one a warehouse that has its own stages takes its own.
    pub stage_name: Option<String>,
    /// Every row at each sync.
    pub force_full_sync: bool,
    /// A condition as it stands behind WHERE; parsed and put in parentheses.
    pub filter: Option<String>,
    /// A bulk job that is at the org already, taken instead of a new one, once.
    pub existing_job_id: Option<String>,
    /// Whether the bulk job is deleted at the org once its rows are committed.
    pub delete_job: bool,
    /// Fields to leave out.
    pub exclude: Vec<String>,
    /// Whether compound fields (addresses, locations) are kept as JSON beside their parts. They are read over REST.
    pub compounds: bool,
    /// Whether base64 fields are read. They are read over REST.
    pub base64: bool,
    /// Time between two syncs; `None`: on request, or by `cron`.
    pub every: Option<Duration>,
    /// When it is synced: minute, hour, day of month, month, day of week; UTC.
    pub cron: Option<String>,
}

impl ObjectSettings {
    /// An object with everything at its default: by `Id`, no filter, no stage, on request.
    pub fn new(object: ObjectName, table: TableName) -> Self {
        Self {
            object,
            table,
            match_field: "Id".to_owned(),
            use_stage: false,
            stage_name: None,
            force_full_sync: false,
            filter: None,
            existing_job_id: None,
            delete_job: true,
            exclude: Vec::new(),
            compounds: false,
            base64: false,
            every: None,
            cron: None,
        }
    }
}
