//! One daemon to a file: SQLite itself would let two take turns, each believing that its ledger of what is staged is all
//! there is.
//!
//! Promises: connections of one owner share the lock; it is let go with the last of them, and by the operating system
//! however the process ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::warehouse::WarehouseError;

/// Longest name of an owner that is read back from a lock's file.
const OWNER_MAX: u64 = 1_024;

/// Locks of this process. The operating system's lock is one to an open file, so that two of a process would shut each
/// other out.
static HELD: Mutex<Option<HashMap<PathBuf, Weak<FileLock>>>> = Mutex::new(None);

/// Held as long as somebody has it.
#[derive(Debug)]
pub(super) struct FileLock {
    owner: String,
    _file: File,
}

impl FileLock {
    /// Takes the lock that stands beside the warehouse's file.
    pub(super) fn take(database: &Path, owner: &str) -> Result<Arc<Self>, WarehouseError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".penstock-warehouse-lock");
        let path = PathBuf::from(path);
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        if let Some(lock) = held.get(&path).and_then(Weak::upgrade) {
            if lock.owner == owner {
                return Ok(lock);
            }
            return Err(WarehouseError::InUse(told(&lock.owner)));
        }
        let lock = Arc::new(Self { owner: owner.to_owned(), _file: locked(&path, owner)? });
        held.retain(|_, lock| lock.strong_count() > 0);
        held.insert(path, Arc::downgrade(&lock));
        Ok(lock)
    }
}

fn told(owner: &str) -> String {
    format!("the one of `{owner}`")
}

fn locked(path: &Path, owner: &str) -> Result<File, WarehouseError> {
    let unusable = |error: io::Error| {
        WarehouseError::Denied(format!("its lock file `{}` cannot be used: {error}", path.display()))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is is a courtesy; that it is held is certain.
            let is_told = file.take(OWNER_MAX).read_to_string(&mut holder).is_ok() && !holder.is_empty();
            return Err(WarehouseError::InUse(if is_told {
                told(&holder)
            } else {
                format!("it holds `{}`", path.display())
            }));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let say_who = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(owner.as_bytes())
    };
    say_who(&mut file).map_err(unusable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_another_process_is_told_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("w.db");
        // A handle that this process does not know of is as good as another process.
        let path = folder.path().join("w.db.penstock-warehouse-lock");
        let other = locked(&path, "/srv/other").unwrap();
        let told = FileLock::take(&database, "/srv/this").unwrap_err().to_string();
        assert!(told.contains("`/srv/other`"), "{told}");
        drop(other);
        let first = FileLock::take(&database, "/srv/this").unwrap();
        let second = FileLock::take(&database, "/srv/this").unwrap();
        drop(first);
        assert!(locked(&path, "/srv/other").is_err(), "the second still holds it");
        drop(second);
        FileLock::take(&database, "/srv/other").unwrap();
    }
}
