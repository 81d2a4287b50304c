//! Where an extraction stands: all that is needed to go on after a crash. Holds no row and no secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::salesforce::{BulkCheckpoint, CursorCheckpoint};

/// Of a query: the page to read next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursor {
    /// Pages over REST.
    Rest(CursorCheckpoint),
    /// Pages of a bulk job.
    Bulk(BulkCheckpoint),
}

/// A bulk job is about to be asked for: kept before the ask, so that after a crash the org's list of jobs can be searched for
/// one whose id never came to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIntent {
    /// The org's clock before the ask.
    pub asked_at: Timestamp,
}

/// Where an extraction stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtractState {
    /// The page to read next; `None`: nothing was read.
    pub cursor: Option<Cursor>,
    /// Pages before it.
    pub pages: u32,
    /// A bulk job may have been made whose id is not known.
    pub intent: Option<JobIntent>,
    /// The org will not run a bulk job for this load, in its own words.
    pub bulk_refused: Option<String>,
    /// The job was there before the load; it is taken once.
    pub is_adopted: bool,
    /// Parts of an earlier query, whose pages were others, may be staged: a part is put again whatever its number and rows.
    pub distrusts_staged: bool,
    /// Rows in the parts of the pages before the cursor.
    pub rows: u64,
    /// Rejected rows of those pages.
    pub rejected: u64,
    /// Keys of rejected rows that were put.
    pub spared: u64,
    /// Length of the reject file behind those pages.
    pub reject_bytes: u64,
    /// Bytes of those pages.
    pub bytes: u64,
    /// Bulk jobs made.
    pub jobs: u64,
    /// Rows that the org's first answer promised.
    pub estimated: Option<u64>,
    /// Every page is read and staged.
    pub is_complete: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl ExtractState {
    /// The bulk job that the pages come from.
    pub fn job_id(&self) -> Option<&str> {
        match &self.cursor {
            Some(Cursor::Bulk(checkpoint)) => Some(&checkpoint.job_id),
            _ => None,
        }
    }

    /// Forgets the pages, for a query that has to begin anew; what was learned of the org stays.
    pub fn start_over(&mut self, why: String) {
        *self = Self {
            bulk_refused: self.bulk_refused.take(),
            jobs: self.jobs,
            estimated: self.estimated,
            notes: std::mem::take(&mut self.notes),
            distrusts_staged: true,
            ..Self::default()
        };
        self.notes.push(why);
    }
}
