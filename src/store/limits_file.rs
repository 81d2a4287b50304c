//! What the limiters knew of the orgs' daily allowances, kept over a restart.
//!
//! Promises: a reader sees the file whole, old or new. It is a memory, not a truth: losing it, or finding nonsense in it,
//! costs one call an org, whose answer tells anew.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic_file::{AtomicFile, StoreError};
use crate::limiter::QuotaMemory;
use crate::model::OrgName;

const VERSION: u32 = 1;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLimits {
    version: u32,
    /// When it was written, in milliseconds since the epoch.
    pub saved_at_ms: i64,
    /// What was known, by org.
    pub orgs: BTreeMap<OrgName, QuotaMemory>,
}

/// The file below a state folder.
pub fn limits_path(state_dir: &Path) -> PathBuf {
    state_dir.join("limits.json")
}

impl KeptLimits {
    /// Content to be written at this time.
    pub fn new(saved_at_ms: i64, orgs: BTreeMap<OrgName, QuotaMemory>) -> Self {
        Self { version: VERSION, saved_at_ms, orgs }
    }

    /// Reads the file; `None` when there is none, or none that makes sense.
    pub fn load(path: &Path) -> Option<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kept limits cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(kept) if kept.version == VERSION => Some(kept),
            Ok(kept) => {
                tracing::info!(version = kept.version, "the kept limits are of another version");
                None
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kept limits make no sense");
                None
            }
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the disk refuses it; the old file then still stands.
    pub fn save(&self, path: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_string(self)
            .map_err(|error| StoreError::new("write", path, io::Error::other(error)))?;
        let mut file = AtomicFile::create(path)?;
        file.write_str(&text)?;
        file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_nonsense_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = limits_path(folder.path());
        assert_eq!(KeptLimits::load(&path), None);
        let orgs = BTreeMap::from([("demo".parse().unwrap(), QuotaMemory::default())]);
        let kept = KeptLimits::new(1_800_000_000_000, orgs);
        kept.save(&path).unwrap();
        assert_eq!(KeptLimits::load(&path), Some(kept.clone()));
        KeptLimits { version: 99, ..kept }.save(&path).unwrap();
        assert_eq!(KeptLimits::load(&path), None);
        std::fs::write(&path, "{\"version\":1").unwrap();
        assert_eq!(KeptLimits::load(&path), None);
    }
}
