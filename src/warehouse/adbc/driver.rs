//! Finding a driver and loading it.
//!
//! Promises: a driver is a shared library that is there when it is needed, or the error says how to get it; the environment
//! is not read here; a library that was loaded stays for the life of the process, because one written in Go cannot be let go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use adbc_core::options::AdbcVersion;
use adbc_core::{LOAD_FLAG_SEARCH_SYSTEM, LOAD_FLAG_SEARCH_USER};
use adbc_driver_manager::ManagedDriver;

use crate::warehouse::WarehouseError;

/// Drivers by the text and the folders that they were found by.
type Loaded = HashMap<(String, Vec<PathBuf>), ManagedDriver>;

/// Longest text of a loader's error that is told.
const WHY_MAX: usize = 300;

/// Which driver, and where it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverPlace {
    /// The engine, as configured.
    pub kind: &'static str,
    /// What its manifest and its library are called: `duckdb` for `duckdb.toml` and `libduckdb.so`.
    pub name: &'static str,
    /// The function that a library without a manifest is entered by.
    pub entrypoint: &'static str,
    /// What the person configured as `driver`: the path of a library or of a manifest, or another name.
    pub configured: Option<String>,
    /// Folders with manifests or libraries, searched before those of the user and of the system.
    pub search: Vec<PathBuf>,
}

impl DriverPlace {
    /// Loads the driver, or hands out the one that is loaded already.
    ///
    /// # Errors
    /// [`WarehouseError::Driver`], with the remedy.
    pub fn load(&self) -> Result<ManagedDriver, WarehouseError> {
        static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

        let wanted = self.configured.as_deref().unwrap_or(self.name);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        let place = (wanted.to_owned(), self.search.clone());
        if let Some(driver) = loaded.get(&place) {
            return Ok(driver.clone());
        }
        let path = Path::new(wanted);
        if path.components().count() > 1 && !path.is_file() {
            return Err(self.missing(format!("there is no file `{wanted}`")));
        }
        let driver = ManagedDriver::load_from_name(
            wanted,
            Some(self.entrypoint.as_bytes()),
            AdbcVersion::V110,
            LOAD_FLAG_SEARCH_USER | LOAD_FLAG_SEARCH_SYSTEM,
            Some(self.search.clone()),
        )
        .map_err(|error| self.missing(error.message))?;
        loaded.insert(place, driver.clone());
        Ok(driver)
    }

    fn missing(&self, why: String) -> WarehouseError {
        let mut why = why.replace('\n', " ");
        if let Some((cut, _)) = why.char_indices().nth(WHY_MAX) {
            why.truncate(cut);
        }
        WarehouseError::Driver {
            kind: self.kind,
            why,
            remedy: format!(
                "install it with `dbc install {name}`, or write `driver = \"/path/of/lib{name}.so\"` into the warehouse's section, \
                 or name the folder of `{name}.toml` in its `driver_path`",
                name = self.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(configured: Option<&str>, search: Vec<PathBuf>) -> DriverPlace {
        DriverPlace {
            kind: "duckdb",
            name: "penstock-has-no-such-driver",
            entrypoint: "duckdb_adbc_init",
            configured: configured.map(str::to_owned),
            search,
        }
    }

    #[test]
    fn a_missing_driver_is_told_with_how_to_install_it() {
        let told = place(None, Vec::new()).load().unwrap_err().to_string();
        assert!(told.contains("Driver not found"), "{told}");
        assert!(told.contains("dbc install penstock-has-no-such-driver"), "{told}");
        assert!(told.contains("driver = "), "{told}");
        assert!(told.contains("driver_path"), "{told}");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let told = place(Some("/nowhere/libduckdb.so"), Vec::new()).load().unwrap_err().to_string();
        assert!(told.contains("no file `/nowhere/libduckdb.so`"), "{told}");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_with_the_loaders_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libduckdb.so");
        std::fs::write(&file, "not a library").unwrap();
        let told = place(Some(file.to_str().unwrap()), Vec::new()).load().unwrap_err();
        assert!(matches!(&told, WarehouseError::Driver { why, .. } if !why.is_empty()), "{told}");
    }
}
