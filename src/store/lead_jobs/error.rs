//! What can be wrong with a store of leads or assessments.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::leads::Ordinal;
use crate::store::disk::{Disk, is_full};

/// Why a store of lead jobs did not do what was asked. Nothing was then changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeadStoreError {
    /// No room is left: try again once there is.
    #[error("no room is left on the disk of the lead jobs")]
    DiskFull,
    /// The thread of the store is gone.
    #[error("the store of the lead job is closed")]
    Closed,
    /// There is none.
    #[error("there is no lead job in `{}`", .0.display())]
    Missing(PathBuf),
    /// There is one already.
    #[error("`{}` holds a lead job already", .0.display())]
    Exists(PathBuf),
    /// It cannot be read any more.
    #[error("`{}` is damaged: {why}; move it away and start the job again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// A younger penstock has written it.
    #[error("`{}` has version {found}, this penstock reads versions up to {known}", path.display())]
    Younger {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The job has fewer leads.
    #[error("the job has no lead with the ordinal {0}")]
    UnknownLead(Ordinal),
    /// Rows were added after the sheet had ended.
    #[error("row {0} comes after the end of the job's sheet")]
    IntakeEnded(u64),
    /// Rows do not ascend.
    #[error("row {row} comes after row {after}: rows are added in ascending order")]
    RowOrder {
        /// The row.
        row: u64,
        /// The one before it.
        after: u64,
    },
    /// More rows than can be numbered.
    #[error("row {0} is beyond the 4294967295 rows that a job can hold")]
    TooManyRows(u64),
    /// The database or the operating system refused.
    #[error("{action}: {why}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// What it said.
        why: String,
    },
}

impl LeadStoreError {
    /// No room is left: try again once there is.
    pub fn is_disk_full(&self) -> bool {
        *self == Self::DiskFull
    }

    /// The file should be put aside: nothing reads it any more.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// An error of the file system.
    pub(crate) fn io(action: &'static str, error: &std::io::Error) -> Self {
        if crate::store::atomic_file::is_disk_full(error) {
            return Self::DiskFull;
        }
        Self::Refused { action, why: error.to_string() }
    }

    /// A full disk also shows in other words: a memory map that cannot grow, a log that cannot be opened.
    pub(crate) fn with_disk(self, disk: &dyn Disk, folder: &Path) -> Self {
        match self {
            Self::Refused { .. } if is_full(disk, folder) => Self::DiskFull,
            other => other,
        }
    }
}

/// Names the file and the action that a failed statement belonged to.
pub(crate) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, LeadStoreError>;
}

impl<T> During<T> for Result<T, rusqlite::Error> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, LeadStoreError> {
        self.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => LeadStoreError::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LeadStoreError::Damaged { path: path.to_owned(), why: error.to_string() }
            }
            _ => LeadStoreError::Refused { action, why: error.to_string() },
        })
    }
}
