//! Reads what a load needs from the org: rows in parts, or keys alone.
//!
//! Promises: the first page is the count; a volume that is better read by a bulk job costs one page and one job, whatever
//! dies in between; the same page gives the same parts again; a part that an earlier attempt put and this one does not is
//! put empty, so that what is staged is what was read; memory holds a page of REST or two parts of a job, however many
//! rows there are; a row that does not fit its columns is kept in the reject file and the load goes on, up to its share,
//! and its key is put, so that what the target has of it stays.
//!
//! Where it stands is an [`ExtractState`], kept by a [`KeepCursor`] before anything is waited for, and behind a page only
//! when its parts are durable at the warehouse.

mod error;
mod job;
mod keys;
mod many;
mod marker;
mod parts;
mod reject;
mod run;
mod state;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::BoxFuture;
use crate::salesforce::{BulkOptions, HandoverError};
use crate::sync::{KEYS_FROM, LoadPlan, PartNumber, PartReceipt, SyncMethod};
use crate::warehouse::PartSource;
use crate::warehouse::spool::Spool;

pub use error::ExtractError;
pub use keys::{HardDeletes, hard_deletes};
pub use many::{FirstRead, first_pages};
pub use reject::{forget_rejects, has_rejects};
pub use run::{clean_up, extract};
pub use state::{Cursor, ExtractState, JobIntent};

/// Parts of one page have consecutive numbers below this.
const PARTS_PER_PAGE: u32 = 1_000;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Rows with every column of the plan's layout.
    Rows,
    /// The layout's key column alone, in parts from [`KEYS_FROM`] on.
    Keys,
}

/// A choice of method by volume: [`crate::sync`] decides, and the org's refusal to run a bulk job may make it decide again.
pub type Choose = dyn Fn(u64, Option<&str>) -> (SyncMethod, String) + Send + Sync;

/// What is to be extracted, and what surrounds it.
#[derive(Clone)]
pub struct ExtractAsk {
    /// The load.
    pub plan: Arc<LoadPlan>,
    /// Rows or keys.
    pub wanted: Wanted,
    /// What stands behind WHERE, parsed and printed by [`crate::sync`]; empty for none.
    pub condition: String,
    /// With rows that are deleted or archived.
    pub include_deleted: bool,
    /// The method for a volume; told why, when a bulk job is refused.
    pub choose: Arc<Choose>,
    /// Why a bulk job cannot read these columns, where that is known.
    pub bulk_refused: Option<String>,
    /// A bulk job of the org's to take instead of a new one.
    pub existing_job_id: Option<String>,
    /// Rows of a part: [`crate::warehouse::Caps::part_rows`].
    pub part_rows: usize,
    /// Parts that the warehouse has of this load already, from [`crate::sync::LoadState::Staged`].
    pub staged: Vec<PartReceipt>,
    /// How a bulk job is read.
    pub bulk: BulkOptions,
    /// Files for the stage methods; without them their parts go through memory.
    pub spool: Option<Spool>,
    /// What becomes of rows that do not fit.
    pub rejects: RejectRules,
}

/// What becomes of rows that do not fit their columns.
#[derive(Debug, Clone)]
pub struct RejectRules {
    /// Folder of the reject files, which is made where it is missing.
    pub folder: PathBuf,
    /// Of a million rows, how many may be rejected before the load fails; one at least, unless this is 0.
    pub per_million: u32,
}

/// Takes parts on their way to the warehouse.
pub trait PartSink: Send + Sync {
    /// Passes a part on; waits while there is no room for it.
    fn put(&self, part: PartNumber, source: PartSource) -> BoxFuture<'_, Result<(), HandoverError>>;

    /// Waits until every part that was put is durable at the warehouse.
    fn all_staged(&self) -> BoxFuture<'_, Result<(), HandoverError>>;
}

/// Keeps where an extraction stands, durably.
pub trait KeepCursor: Send + Sync {
    /// Replaces what was kept before.
    fn keep<'k>(&'k self, state: &'k ExtractState) -> BoxFuture<'k, Result<(), HandoverError>>;
}

/// What was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Rows in the parts; of [`Wanted::Keys`] keys. What [`crate::warehouse::Warehouse::commit`] must find of rows.
    pub rows: u64,
    /// Rows that are in the reject file instead.
    pub rejected: u64,
    /// The reject file, where there is one.
    pub reject_file: Option<PathBuf>,
    /// Bytes of rows as they came, unpacked.
    pub bytes: u64,
    /// Bulk jobs that were made for this load.
    pub jobs: u64,
    /// Keys of rejected rows that were put.
    pub spared: u64,
    /// Rows that the org's first answer promised.
    pub estimated: u64,
    /// How it was done in the end.
    pub method: SyncMethod,
    /// Why so.
    pub reason: String,
    /// What else a person should know.
    pub notes: Vec<String>,
}
