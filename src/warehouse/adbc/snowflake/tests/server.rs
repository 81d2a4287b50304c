//! Where tests find the server, and a database of their own in it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::names::{fold, quote};
use super::super::{SnowflakeLogin, SnowflakeSettings, SnowflakeWarehouse};
use crate::clock::SystemClock;
use crate::store::disk::RealDisk;
use crate::sync::TableName;
use crate::warehouse::contract::Ground;
use crate::warehouse::{Spool, Warehouse};

#[expect(clippy::disallowed_methods, reason = "switches of the tests, not of penstock")]
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Past the harness, which would keep the line of a test that passes.
pub fn say(line: &str) {
    let _told = writeln!(std::io::stderr(), "{line}");
}

/// A database of its own.
pub struct SnowflakeGround {
    _spool_folder: tempfile::TempDir,
    pub spool: Spool,
    pub settings: SnowflakeSettings,
    beside: Option<SnowflakeWarehouse>,
}

impl SnowflakeGround {
    /// A database without a table in it, if there is a server.
    pub fn make() -> Option<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let database = format!("D{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        Self::of(&database)
    }

    /// That database.
    pub fn of(database: &str) -> Option<Self> {
        let Some(server) = setting("PENSTOCK_TEST_SNOWFLAKE") else {
            say("skipped: `tests/warehouse/fakesnow.py cargo test snowflake` runs it");
            return None;
        };
        let (host, port) = server.split_once(':').expect("an address and a port");
        let spool_folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(spool_folder.path(), 1 << 30, Arc::new(RealDisk)).expect("a spool");
        let settings = SnowflakeSettings {
            driver: setting("PENSTOCK_TEST_SNOWFLAKE_DRIVER"),
            driver_search: Vec::new(),
            account: "penstock".to_owned(),
            user: "loader".to_owned(),
            login: SnowflakeLogin::Password("hunter2-secret".to_owned().into()),
            role: None,
            warehouse: None,
            database: database.to_owned(),
            schema: "crm".to_owned(),
            stage: None,
            host: Some(host.to_owned()),
            port: Some(port.parse().expect("a port")),
            protocol: Some("http".to_owned()),
            // The stand-in answers what it cannot do with 500, which the driver tries again.
            request_timeout: Duration::from_secs(5),
        };
        Some(Self { _spool_folder: spool_folder, spool, settings, beside: None })
    }

    /// A connection that is not opened.
    pub fn snowflake(&self) -> SnowflakeWarehouse {
        SnowflakeWarehouse::connect(&self.settings, &self.spool, SystemClock::shared()).expect("a connection")
    }
}

impl Ground for SnowflakeGround {
    fn connect(&mut self) -> Box<dyn Warehouse> {
        Box::new(self.snowflake())
    }

    fn execute(&mut self, sql: &str) {
        if self.beside.is_none() {
            self.beside = Some(self.snowflake());
        }
        let beside = self.beside.as_mut().expect("it was made");
        beside.session.execute(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    fn table(&self, table: &TableName) -> String {
        self.settings.home().place(table).full()
    }

    fn column(&self, name: &str) -> String {
        quote(name)
    }

    fn kept(&self, name: &str) -> String {
        fold(name)
    }
}
