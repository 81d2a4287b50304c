//! Files that a reader sees whole, old or new, and never half.
//!
//! Text goes to a temporary file in the same folder; [`AtomicFile::commit`] flushes it to the disk and
//! renames it over the old one. Dropped without a commit, the temporary file goes and the old one stays.
//! A full disk is told apart ([`StoreError::is_disk_full`]) because it is the one error that mends itself
//! when somebody makes room.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{action} `{}`", path.display())]
pub struct StoreError {
    /// What was being done, such as "write".
    pub action: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl StoreError {
    /// Remembers what was being done to which path.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }

    /// No room is left (or the user's quota is used up): try again once there is.
    pub fn is_disk_full(&self) -> bool {
        is_disk_full(&self.source)
    }
}

/// Tells a full disk, or a used-up quota, from other errors.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file being written beside the one that it will replace.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a new version of `target`, whose folder must exist.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(target: &Path) -> Result<Self, StoreError> {
        let folder = folder_of(target);
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempfile_in(folder)
            .map_err(|source| StoreError::new("create a temporary file for", target, source))?;
        Ok(Self { target: target.to_owned(), writer: BufWriter::with_capacity(64 * 1024, file) })
    }

    /// Appends text.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn write_str(&mut self, text: &str) -> Result<(), StoreError> {
        self.writer
            .write_all(text.as_bytes())
            .map_err(|source| StoreError::new("write", &self.target, source))
    }

    /// Makes the new version the file: flush, sync, rename, sync of the folder.
    ///
    /// # Errors
    /// When any of these fails; the old version then still stands.
    pub fn commit(self) -> Result<(), StoreError> {
        let Self { target, writer } = self;
        let temporary =
            writer.into_inner().map_err(|error| StoreError::new("write", &target, error.into_error()))?;
        make_readable(&temporary).map_err(|source| StoreError::new("set the mode of", &target, source))?;
        temporary.as_file().sync_all().map_err(|source| StoreError::new("sync", &target, source))?;
        temporary.persist(&target).map_err(|error| StoreError::new("rename to", &target, error.error))?;
        sync_folder(folder_of(&target))
    }
}

/// Appends bytes. Nobody sees them before [`AtomicFile::commit`].
impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Replaces `target` by `text` atomically and durably, readable by its owner alone.
///
/// # Errors
/// When the disk refuses; the old version then still stands.
pub fn write_private(target: &Path, text: &str) -> Result<(), StoreError> {
    let folder = folder_of(target);
    // Temporary files are made for the owner alone, and a rename keeps that.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(folder)
        .map_err(|source| StoreError::new("create a temporary file for", target, source))?;
    file.write_all(text.as_bytes()).map_err(|source| StoreError::new("write", target, source))?;
    file.as_file().sync_all().map_err(|source| StoreError::new("sync", target, source))?;
    file.persist(target).map_err(|error| StoreError::new("rename to", target, error.error))?;
    sync_folder(folder)
}

/// A new version that is written whole, but is not yet the file; dropped, it is gone.
#[derive(Debug)]
pub struct Prepared {
    target: PathBuf,
    temporary: tempfile::TempPath,
}

/// Prepares `text` as the new version of `target`; `None` when the file already holds exactly this text.
///
/// # Errors
/// When the disk refuses; the old version then still stands.
pub fn prepare_if_changed(target: &Path, text: &str) -> Result<Option<Prepared>, StoreError> {
    if holds(target, text.as_bytes()) {
        return Ok(None);
    }
    let mut file = AtomicFile::create(target)?;
    file.write_str(text)?;
    let temporary =
        file.writer.into_inner().map_err(|error| StoreError::new("write", target, error.into_error()))?;
    make_readable(&temporary).map_err(|source| StoreError::new("set the mode of", target, source))?;
    Ok(Some(Prepared { target: target.to_owned(), temporary: temporary.into_temp_path() }))
}

/// Makes many prepared files of one folder the files, with one sync of their file system instead of two a file: a
/// thousand pages would otherwise wait for a disk three thousand times.
///
/// # Errors
/// When the sync or a rename fails; files not yet renamed stand in their old version.
pub fn commit_all(folder: &Path, prepared: Vec<Prepared>) -> Result<(), StoreError> {
    if prepared.is_empty() {
        return Ok(());
    }
    let sync = File::open(folder).and_then(|opened| nix::unistd::syncfs(&opened).map_err(io::Error::from));
    sync.map_err(|source| StoreError::new("sync", folder, source))?;
    for Prepared { target, temporary } in prepared {
        temporary.persist(&target).map_err(|error| StoreError::new("rename to", &target, error.error))?;
    }
    sync_folder(folder)
}

/// Names of files not yet committed start so; those a killed process left are swept by [`remove_leftovers`].
const TEMPORARY_PREFIX: &str = ".penstock-unfinished-";

/// Writes `text` to `target` whole. A file that already holds exactly this text is left alone (and its
/// modification time with it). Returns whether it was written.
///
/// # Errors
/// When the disk refuses; the old version then still stands.
pub fn write_if_changed(target: &Path, text: &str) -> Result<bool, StoreError> {
    if holds(target, text.as_bytes()) {
        return Ok(false);
    }
    let mut file = AtomicFile::create(target)?;
    file.write_str(text)?;
    file.commit()?;
    Ok(true)
}

/// Removes what a process killed in the middle of writing left in `folder`. Returns how many.
///
/// # Errors
/// When the folder cannot be read or a leftover not removed.
pub fn remove_leftovers(folder: &Path) -> Result<usize, StoreError> {
    let mut removed = 0;
    let failed = |source| StoreError::new("sweep", folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            remove_if_there(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// When the file stands and will not go.
pub fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::new("remove", path, error)),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn holds(path: &Path, wanted: &[u8]) -> bool {
    let same_length = fs::metadata(path).is_ok_and(|found| found.len() == wanted.len() as u64);
    let mut found = Vec::new();
    same_length
        && File::open(path).and_then(|mut file| file.read_to_end(&mut found)).is_ok()
        && found == wanted
}

/// Temporary files are made for their owner alone; what is written for people may be read by all.
#[cfg(unix)]
fn make_readable(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &NamedTempFile) -> io::Result<()> {
    Ok(())
}

/// The rename itself is durable only once the folder is.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StoreError::new("sync", folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_old_until_committed_and_whole_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("documents.jsonl");
        assert!(write_if_changed(&target, "old\n").unwrap());
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_str("new\n").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "old\n");
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new\n");
    }

    #[test]
    fn an_uncommitted_file_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("x.md")).unwrap();
        file.write_str("half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn unchanged_text_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.md");
        assert!(write_if_changed(&target, "same").unwrap());
        assert!(!write_if_changed(&target, "same").unwrap());
        assert!(write_if_changed(&target, "diff").unwrap());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{TEMPORARY_PREFIX}abc")), "half").unwrap();
        fs::write(folder.path().join("kept.md"), "whole").unwrap();
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        assert!(folder.path().join("kept.md").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_apart() {
        // The device refuses every byte with "no space left", as a full disk does.
        let error = File::options().write(true).open("/dev/full").and_then(|mut file| file.write_all(b"x"));
        let error = StoreError::new("write", Path::new("x"), error.unwrap_err());
        assert!(error.is_disk_full());
        let missing = AtomicFile::create(Path::new("no/such/folder/x")).unwrap_err();
        assert!(!missing.is_disk_full());
    }
}
