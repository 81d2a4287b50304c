//! The contract, and what is true of SQLite alone.

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::warehouse::contract::{Ground, warehouse_contract};

/// A file in a folder of its own.
pub(super) struct SqliteGround {
    folder: TempDir,
}

impl SqliteGround {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("warehouse.db")
    }
}

impl Ground for SqliteGround {
    fn connect(&mut self) -> Box<dyn Warehouse> {
        Box::new(SqliteWarehouse::connect(&SqliteSettings::new(self.path())).unwrap())
    }

    fn execute(&mut self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

warehouse_contract!(SqliteGround::new());
