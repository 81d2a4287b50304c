//! The file of a DuckDB database, opened once in a process.
//!
//! Two instances of the engine in one process would not see each other's lock and spoil the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use adbc_driver_manager::ManagedDatabase;

use super::{DuckDbSettings, KIND};
use crate::warehouse::WarehouseError;
use crate::warehouse::adbc::{AdbcConnection, DriverPlace, open_database};

/// A database that is open.
struct Held {
    database: ManagedDatabase,
    shares: usize,
    /// Who writes, and by how many shares. Other processes are kept out by the engine's lock on the file.
    owner: Option<(String, usize)>,
}

static OPEN: Mutex<Option<HashMap<PathBuf, Held>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<HashMap<PathBuf, Held>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share in a file that is open; the last one closes it.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    is_owner: bool,
}

impl OpenFile {
    /// Opens the file, or takes a share in it.
    ///
    /// # Errors
    /// A driver that is not there; a file that another process has.
    pub fn open(settings: &DuckDbSettings) -> Result<Self, WarehouseError> {
        let path = whole_path(&settings.path)?;
        // Held while the file is opened: nobody else opens it meanwhile.
        let mut held = held();
        let held = held.get_or_insert_default();
        if let Some(file) = held.get_mut(&path) {
            file.shares += 1;
            return Ok(Self { path, is_owner: false });
        }
        let place = DriverPlace {
            kind: KIND,
            name: "duckdb",
            entrypoint: "duckdb_adbc_init",
            configured: settings.driver.clone(),
            search: settings.search.clone(),
        };
        let text = path.to_str().ok_or_else(|| {
            WarehouseError::Engine(format!("the path `{}` is not in UTF-8", path.display()))
        })?;
        let memory = format!("{}KiB", (settings.memory_bytes >> 10).max(1 << 14));
        let threads = settings.threads.max(1).to_string();
        let options = [
            ("path", text),
            ("memory_limit", memory.as_str()),
            ("threads", threads.as_str()),
            // Nothing is fetched behind anybody's back.
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
        ];
        let database = open_database(&place, &options, classify)?;
        held.insert(path.clone(), Held { database, shares: 1, owner: None });
        Ok(Self { path, is_owner: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A connection to it.
    ///
    /// # Errors
    /// What the engine says.
    pub fn connect(&self) -> Result<AdbcConnection, WarehouseError> {
        let database =
            held().as_ref().and_then(|held| held.get(&self.path)).map(|file| file.database.clone());
        AdbcConnection::connect(&database.ok_or(WarehouseError::Closed)?, classify)
    }

    /// Takes the file for an owner.
    ///
    /// # Errors
    /// [`WarehouseError::InUse`] when another has it.
    pub fn take(&mut self, owner: &str) -> Result<(), WarehouseError> {
        let mut held = held();
        let file = held.as_mut().and_then(|held| held.get_mut(&self.path)).ok_or(WarehouseError::Closed)?;
        match &mut file.owner {
            Some((other, _)) if other != owner => {
                return Err(WarehouseError::InUse(format!("`{}` belongs to {other}", self.path.display())));
            }
            Some((_, shares)) => *shares += usize::from(!self.is_owner),
            none => *none = Some((owner.to_owned(), 1)),
        }
        self.is_owner = true;
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // The database is closed while this is held, so that nobody opens the file before it is.
        let mut held = held();
        let Some(held) = held.as_mut() else { return };
        if let Some(file) = held.get_mut(&self.path) {
            if self.is_owner
                && let Some((_, shares)) = &mut file.owner
            {
                *shares -= 1;
                if *shares == 0 {
                    file.owner = None;
                }
            }
            file.shares -= 1;
            if file.shares == 0 {
                held.remove(&self.path);
            }
        }
    }
}

/// The same text for the same file, which may not be there yet.
fn whole_path(path: &Path) -> Result<PathBuf, WarehouseError> {
    let absolute = std::path::absolute(path);
    let folder = absolute.as_deref().ok().and_then(Path::parent);
    let (Some(folder), Some(name)) = (folder, path.file_name()) else {
        return Err(WarehouseError::Engine(format!("`{}` is no path of a file", path.display())));
    };
    let folder = folder.canonicalize().map_err(|error| {
        WarehouseError::Unreachable(format!("the folder of `{}`: {error}", path.display()))
    })?;
    let whole = folder.join(name);
    Ok(whole.canonicalize().unwrap_or(whole))
}

/// What the engine says, with its kind; values are cut off.
pub fn classify(error: &adbc_core::error::Error) -> WarehouseError {
    let message = error.message.split("\n\n").next().unwrap_or_default().trim().replace('\n', " ");
    let has = |needle: &str| message.contains(needle);
    if has("Could not set lock on file") {
        WarehouseError::InUse(message)
    } else if has("No space left on device")
        || has("File too large")
        || has("Disk quota exceeded")
        || has("Out of Memory Error")
        || has("max_temp_directory_size")
    {
        WarehouseError::Full(message)
    } else if has("has been invalidated") || has("FATAL Error") {
        WarehouseError::Unreachable(message)
    } else if has("Permission denied") || has("Permission Error") || has("read-only mode") {
        WarehouseError::Denied(message)
    } else if has("TransactionContext Error") && has("onflict") {
        WarehouseError::Locked { what: "a table".to_owned(), message }
    } else if let Some(class) = VALUE_ERRORS.iter().find(|class| message.starts_with(*class)) {
        // The rest may quote a row.
        WarehouseError::BadValue { column: "one of the load's".to_owned(), message: (*class).to_owned() }
    } else {
        WarehouseError::Engine(message)
    }
}

const VALUE_ERRORS: [&str; 4] =
    ["Conversion Error", "Out of Range Error", "Invalid Input Error", "Constraint Error"];
