//! The folder of a push: its rows, on their way, and how far it has come.
//!
//! Promises: a file is there whole or not at all; what is kept of a push is on the disk before the step that it is kept for.
//! Only the owner may read it, for it holds people's data, and nothing of it stays once the push is over.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::atomic_file::{StoreError, remove_if_there, write_private};
use crate::sync::push::PushProgress;

const PROGRESS: &str = "progress.json";

/// Where a push keeps what must outlive the process.
#[derive(Debug, Clone)]
pub struct PushFolder {
    folder: PathBuf,
}

impl PushFolder {
    /// The folder of a push below `pushes`, made where it is missing. A name is told in letters, digits, `-` and `_`; any
    /// other character stands there as its number.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(pushes: &Path, push: &str) -> Result<Self, StoreError> {
        let folder = folder_of(pushes, push);
        fs::create_dir_all(&folder).map_err(|source| StoreError::new("create", &folder, source))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The folder of a push that is under way, without making anything.
    pub fn left(pushes: &Path, push: &str) -> Option<PathBuf> {
        let folder = folder_of(pushes, push);
        folder.join(PROGRESS).exists().then_some(folder)
    }

    /// How far the push has come that is under way; `None` when none is.
    ///
    /// # Errors
    /// When it cannot be read, or is not what this version writes.
    pub fn progress(&self) -> Result<Option<PushProgress>, StoreError> {
        let path = self.folder.join(PROGRESS);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::new("read", &path, error)),
        };
        let progress = serde_json::from_slice(&text)
            .map_err(|error| StoreError::new("understand", &path, std::io::Error::other(error)))?;
        Ok(Some(progress))
    }

    /// Keeps how far the push has come.
    ///
    /// # Errors
    /// When it cannot be written; the next step must not be taken then.
    pub fn keep(&self, progress: &PushProgress) -> Result<(), StoreError> {
        let path = self.folder.join(PROGRESS);
        let text = serde_json::to_string(progress)
            .map_err(|error| StoreError::new("write", &path, std::io::Error::other(error)))?;
        write_private(&path, &text)
    }

    /// Writes a file of rows; one of that number is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_rows(&self, file: u32, csv: &[u8]) -> Result<(), StoreError> {
        let path = self.rows_path(file);
        let text = std::str::from_utf8(csv)
            .map_err(|error| StoreError::new("write", &path, std::io::Error::other(error)))?;
        write_private(&path, text)
    }

    /// Reads a file of rows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_rows(&self, file: u32) -> Result<Vec<u8>, StoreError> {
        let path = self.rows_path(file);
        fs::read(&path).map_err(|source| StoreError::new("read", &path, source))
    }

    /// Lets go of everything, the progress first: what is left without it is swept by the next push.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self) -> Result<(), StoreError> {
        remove_if_there(&self.folder.join(PROGRESS))?;
        let told = |source| StoreError::new("empty", &self.folder, source);
        for entry in fs::read_dir(&self.folder).map_err(told)? {
            remove_if_there(&entry.map_err(told)?.path())?;
        }
        Ok(())
    }

    /// An error that is of no file of it.
    pub fn failed(&self, source: std::io::Error) -> StoreError {
        StoreError::new("work in", &self.folder, source)
    }

    fn rows_path(&self, file: u32) -> PathBuf {
        self.folder.join(format!("rows-{file:05}.csv"))
    }
}

fn folder_of(pushes: &Path, push: &str) -> PathBuf {
    let mut name = String::from("p-");
    for character in push.chars() {
        match character {
            'a'..='z' | '0'..='9' | '-' | '_' => name.push(character),
            other => name.push_str(&format!("%{:x}%", u32::from(other))),
        }
    }
    pushes.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let home = tempfile::tempdir().unwrap();
        let folder = PushFolder::open(home.path(), "../a b/Ä").unwrap();
        assert_eq!(folder.folder.parent(), Some(home.path()));
        assert_eq!(folder.folder.file_name().unwrap(), "p-%2e%%2e%%2f%a%20%b%2f%%c4%");
    }

    #[test]
    fn nothing_stays_once_a_push_is_over() {
        let home = tempfile::tempdir().unwrap();
        let folder = PushFolder::open(home.path(), "scores").unwrap();
        folder.write_rows(1, b"Id\n").unwrap();
        folder.write_rows(1, b"Id\n\"x\"\n").unwrap();
        assert_eq!(folder.read_rows(1).unwrap(), b"Id\n\"x\"\n");
        assert!(folder.progress().unwrap().is_none());
        folder.clear().unwrap();
        assert_eq!(fs::read_dir(&folder.folder).unwrap().count(), 0);
    }
}
