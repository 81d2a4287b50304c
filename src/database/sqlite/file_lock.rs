//! One daemon to a file. SQLite itself would let two take turns, and each would believe that what it remembers (which
//! keys are in hand, which groups are open) is all there is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Held while the database is open; let go by the operating system however the process ends.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Somebody has it: who, as far as the file says.
    Held(String),
    /// The lock file cannot be used.
    Unusable(PathBuf, io::Error),
}

impl FileLock {
    /// Takes the lock that stands beside the database's file.
    pub(super) fn take(database: &Path) -> Result<Self, NotLocked> {
        let mut path = database.as_os_str().to_owned();
        path.push(".penstock-lock");
        let path = PathBuf::from(path);
        let unusable = |error| NotLocked::Unusable(path.clone(), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is is a courtesy; that it is held is certain.
                let _ = file.take(64).read_to_string(&mut holder);
                let known = !holder.is_empty() && holder.bytes().all(|byte| byte.is_ascii_digit());
                return Err(NotLocked::Held(if known {
                    format!("process {holder}")
                } else {
                    "another process".to_owned()
                }));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let say_who = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        say_who(&mut file).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}
