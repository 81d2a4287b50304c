//! Where tests find the library, and a file to work on.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::warehouse::Warehouse;
use crate::warehouse::adbc::duckdb::{DuckDbSettings, DuckDbWarehouse};
use crate::warehouse::contract::Ground;

/// A switch of the tests.
pub fn setting(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "switches of the tests, not of penstock")]
    std::env::var_os(name)
}

/// The library, or `None` when tests that need it are to be skipped, which is said.
///
/// # Panics
/// When they are not to be skipped and it is not there.
pub fn library() -> Option<String> {
    let path = setting("PENSTOCK_TEST_DUCKDB").map(PathBuf::from).or_else(|| fetched("duckdb/libduckdb.so"));
    found(path, "`tests/warehouse/drivers.py duckdb` fetches the library of DuckDB")
}

/// The interpreter that reads files of DuckDB, as [`library`].
///
/// # Panics
/// As [`library`].
pub fn python() -> Option<String> {
    found(
        fetched("reader/bin/python"),
        "`tests/warehouse/drivers.py --python` installs DuckDB's Python bindings",
    )
}

/// What `tests/warehouse/drivers.py` has fetched.
fn fetched(file: &str) -> Option<PathBuf> {
    let cache = setting("PENSTOCK_CLIENTS_DIR").map(PathBuf::from).or_else(|| {
        let home = setting("HOME").map(|home| Path::new(&home).join(".cache"));
        Some(setting("XDG_CACHE_HOME").map(PathBuf::from).or(home)?.join("penstock-clients"))
    })?;
    Some(cache.join("drivers").join(file))
}

fn found(path: Option<PathBuf>, how: &str) -> Option<String> {
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path.to_str().expect("a path in UTF-8").to_owned());
    }
    assert!(setting("PENSTOCK_TEST_SERVERS").is_none_or(|value| value != "1"), "{how}");
    // Past the harness, which would keep the line of a test that passes.
    let _told = writeln!(std::io::stderr(), "skipped: {how}");
    None
}

/// A file of its own.
pub struct DuckDbGround {
    folder: tempfile::TempDir,
    library: String,
    beside: Option<DuckDbWarehouse>,
}

impl DuckDbGround {
    /// A folder without a file in it yet, if the library is there.
    pub fn make() -> Option<Self> {
        let library = library()?;
        // In memory where that can be: a hundred files are made and closed, each with its syncs.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        Some(Self { folder, library, beside: None })
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("warehouse.duckdb")
    }

    /// As configured.
    pub fn settings(&self) -> DuckDbSettings {
        DuckDbSettings { driver: Some(self.library.clone()), ..DuckDbSettings::new(self.file()) }
    }

    /// A connection that is not opened.
    pub fn duckdb(&self) -> DuckDbWarehouse {
        DuckDbWarehouse::connect(&self.settings()).expect("a connection")
    }
}

impl Ground for DuckDbGround {
    fn connect(&mut self) -> Box<dyn Warehouse> {
        Box::new(self.duckdb())
    }

    fn execute(&mut self, sql: &str) {
        if self.beside.is_none() {
            self.beside = Some(self.duckdb());
        }
        let beside = self.beside.as_mut().expect("it was made");
        beside.connection.execute(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}
