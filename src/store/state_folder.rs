//! The state folder: one daemon at a time, and damaged parts put aside.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::clock::SharedClock;

/// Rights of a folder with people's data.
const OWNER_ALONE: u32 = 0o700;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// It cannot be made or written.
    #[error("use the state folder `{}`", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process works with it.
    #[error("the state folder `{}` is in use by another penstock", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// A state folder that this process holds; dropped, it is free again.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFolder {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// See [`StateFolderError`].
    pub fn lock(path: &Path) -> Result<Self, StateFolderError> {
        let io = |source| StateFolderError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(StateFolderError::Locked { path: path.to_owned() }),
            Err((_, error)) => Err(io(error.into())),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The cache's folder.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// The library's database.
    pub fn library(&self) -> PathBuf {
        library_path(&self.path)
    }

    /// Folder of the lead jobs' folders, and of the assessments of all of them.
    pub fn leads(&self) -> PathBuf {
        self.path.join("leads")
    }

    /// Makes the folder of [`StateFolder::leads`] for its owner alone, also where an older penstock made it for everybody:
    /// what people have sent, and what the org has of them, lies in it.
    ///
    /// # Errors
    /// See [`StateFolderError`].
    pub fn make_leads(&self) -> Result<(), StateFolderError> {
        let path = self.leads();
        let made = fs::DirBuilder::new().recursive(true).mode(OWNER_ALONE).create(&path);
        let made = made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(OWNER_ALONE)));
        made.map_err(|source| StateFolderError::Io { path, source })
    }

    /// The socket that a daemon listens on.
    pub fn control_socket(&self) -> PathBuf {
        control_socket_path(&self.path)
    }
}

/// Bytes of the journal, the cache and the library on disk, by the names their metrics have. What cannot be read, or goes
/// while it is counted, counts nothing. Reads folders: not for a thread that must not block.
pub fn store_bytes(state_dir: &Path) -> [(&'static str, u64); 3] {
    let library = fs::read_dir(state_dir).map_or(0, |entries| {
        let is_library = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            // Its log and its index belong to it; what was put aside does not.
            ["library.sqlite", "library.sqlite-wal", "library.sqlite-shm"].iter().any(|part| name == *part)
        };
        entries.flatten().filter(is_library).map(|entry| bytes_below(&entry.path())).sum()
    });
    let below = |name| bytes_below(&state_dir.join(name));
    [("journal", below("journal")), ("cache", below("cache")), ("vectors", library)]
}

fn bytes_below(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::read_dir(path)
            .map_or(0, |entries| entries.flatten().map(|entry| bytes_below(&entry.path())).sum()),
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

/// The library's database below a state folder.
pub fn library_path(state_dir: &Path) -> PathBuf {
    state_dir.join("library.sqlite")
}

/// The control socket below a state folder.
pub fn control_socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// The folder of lead jobs below a state folder.
pub fn leads_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("leads")
}

/// Moves an SQLite file aside with what belongs to it. Returns where it is now.
///
/// # Errors
/// Those of the renames.
pub fn quarantine_database(path: &Path, clock: &SharedClock) -> io::Result<PathBuf> {
    let stamp = clock.wall().strftime("%Y%m%dT%H%M%S%3f").to_string();
    let aside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".quarantine-{stamp}{suffix}"));
        PathBuf::from(name)
    };
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        let beside = PathBuf::from(beside);
        if beside.exists() {
            fs::rename(&beside, aside(suffix))?;
        }
    }
    fs::rename(path, aside(""))?;
    Ok(aside(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_store_and_what_was_put_aside_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(store_bytes(&folder.path().join("nowhere")).map(|(_, bytes)| bytes), [0, 0, 0]);
        fs::create_dir_all(folder.path().join("journal/blobs")).unwrap();
        for (name, bytes) in [
            ("journal/db", 7),
            ("journal/blobs/1", 5),
            ("library.sqlite", 100),
            ("library.sqlite-wal", 11),
            ("library.sqlite.quarantine-1", 1_000),
            ("lock", 3),
        ] {
            fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(store_bytes(folder.path()), [("journal", 12), ("cache", 0), ("vectors", 111)]);
    }
}
