//! Against a real server: what every warehouse promises, and what PostgreSQL adds to that.

mod faults;
mod lost;
mod own;
mod proxy;
mod speed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::session::Session;
use super::{PostgresSettings, PostgresWarehouse};
use crate::database::SecretUrl;
use crate::database::postgres::test_server::TestServer;
use crate::sync::TableName;
use crate::warehouse::Warehouse;
use crate::warehouse::contract::{Ground, warehouse_contract};

/// A database of its own on a server.
pub(super) struct PostgresGround {
    server: Arc<TestServer>,
    database: String,
    settings: PostgresSettings,
}

impl PostgresGround {
    /// On the server that all tests share.
    pub(super) fn new() -> Self {
        Self::on(TestServer::shared())
    }

    /// On a server that the test may kill.
    pub(super) fn alone() -> Self {
        Self::on(Arc::new(TestServer::start()))
    }

    fn on(server: Arc<TestServer>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("warehouse_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = Session::connect(&settings(&server.url("postgres"))).unwrap();
        admin.batch(&format!("CREATE DATABASE {database}")).unwrap();
        let settings = settings(&server.url(&database));
        Self { server, database, settings }
    }

    /// As somebody else has it.
    fn stranger(&self) -> Session {
        Session::connect(&self.settings).unwrap()
    }

    fn warehouse(&self) -> PostgresWarehouse {
        PostgresWarehouse::connect(&self.settings).unwrap()
    }
}

/// Settings for a URL, with little patience.
fn settings(url: &str) -> PostgresSettings {
    let mut settings = PostgresSettings::new(SecretUrl::new(url));
    settings.lock_timeout = Duration::from_millis(700);
    settings
}

impl Ground for PostgresGround {
    fn connect(&mut self) -> Box<dyn Warehouse> {
        Box::new(self.warehouse())
    }

    fn execute(&mut self, sql: &str) {
        self.stranger().batch(sql).unwrap();
    }
}

warehouse_contract!(PostgresGround::new());

#[test]
fn a_table_is_named_with_its_schema_and_its_database() {
    let mut ground = PostgresGround::new();
    ground.execute("CREATE SCHEMA crm");
    let mut warehouse = ground.warehouse();
    let state = |warehouse: &mut PostgresWarehouse, name: &str| {
        warehouse.open("a test").unwrap();
        warehouse.table(&name.parse::<TableName>().unwrap())
    };
    assert!(!state(&mut warehouse, "crm.lead").unwrap().exists);
    let whole = format!("{}.crm.lead", ground.database);
    assert!(!state(&mut warehouse, &whole).unwrap().exists);
    let told = state(&mut warehouse, "elsewhere.crm.lead").unwrap_err().to_string();
    assert!(told.contains("another database"), "{told}");
}
