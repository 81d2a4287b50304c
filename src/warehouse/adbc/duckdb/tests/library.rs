//! Where tests find the library, and a file to work on.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::sync::TableName;
use crate::warehouse::Warehouse;
use crate::warehouse::adbc::duckdb::{DuckDbSettings, DuckDbWarehouse};
use crate::warehouse::contract::Ground;

/// The library, or `None` when tests that need it are to be skipped, which is said.
///
/// # Panics
/// When they are not to be skipped and it is not there.
pub fn library() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "switches of the tests, not of penstock")]
    let setting = |name: &str| std::env::var_os(name);
    let cache = || {
        let cache = setting("PENSTOCK_CLIENTS_DIR").map(PathBuf::from).or_else(|| {
            let home = setting("HOME").map(|home| Path::new(&home).join(".cache"));
            let cache = setting("XDG_CACHE_HOME").map(PathBuf::from).or(home)?;
            Some(cache.join("penstock-clients"))
        })?;
        Some(cache.join("drivers/duckdb/libduckdb.so"))
    };
    let path = setting("PENSTOCK_TEST_DUCKDB").map(PathBuf::from).or_else(cache);
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path.to_str().expect("a path in UTF-8").to_owned());
    }
    let how = "`tests/warehouse/drivers.py duckdb` fetches the library of DuckDB";
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
        Some(Self { folder: tempfile::tempdir().expect("a folder"), library, beside: None })
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

    /// Lets go of the connection that [`Ground::execute`] uses.
    pub fn close(&mut self) {
        self.beside = None;
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

    fn table(&self, table: &TableName) -> String {
        let above = table.above().iter().map(|part| self.column(part) + ".");
        above.collect::<String>() + &self.column(table.name())
    }
}
