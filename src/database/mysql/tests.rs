//! Against a real MariaDB server. What MySQL does instead (a create is read back by its key) is tested there too, by
//! telling the connection that it speaks to MySQL.

mod batches;
mod operations;
mod tables;
mod transactions;

use std::sync::{Arc, Weak};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use rstest::rstest;

use super::test_server::TestServer;
use super::*;
use crate::batch::catalogue::settings::StatementSettings;
use crate::batch::catalogue::{ColumnType, Entity, KeyRule};
use crate::batch::operation::{
    Assignment, BoundOperation, Condition, Handed, Lock, Pattern, PatternPart, SortKey, Test, Work,
};
use crate::batch::sql::mysql::Flavor;
use crate::batch::value::Value;
use crate::clock::SystemClock;
use crate::database::session::Session as _;
use crate::database::{
    Command, DbError, DbErrorCode, Isolation, Reply, Rows, SecretUrl, StoredAnswer, TransactionSettings,
};

/// The server is shared by the tests that run at the same time, and stopped by the last of them.
static SERVER: tokio::sync::Mutex<Weak<TestServer>> = tokio::sync::Mutex::const_new(Weak::new());

const TABLES: &str = "
CREATE TABLE depot (
  depot_id INT AUTO_INCREMENT PRIMARY KEY,
  city VARCHAR(40) NOT NULL,
  country CHAR(2) NOT NULL DEFAULT 'NL',
  UNIQUE KEY depot_city (city)
);
CREATE TABLE parcel (
  parcel_id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  depot_id INT NULL,
  label VARCHAR(20) NULL,
  weight DECIMAL(20,3) NULL,
  version INT NOT NULL DEFAULT 1,
  CONSTRAINT parcel_depot FOREIGN KEY (depot_id) REFERENCES depot (depot_id),
  CONSTRAINT parcel_weight CHECK (weight >= 0)
);
CREATE TABLE line (
  parcel_id INT NOT NULL, number INT NOT NULL, text VARCHAR(20) NOT NULL, PRIMARY KEY (parcel_id, number)
);
CREATE TABLE journal (text VARCHAR(20));
CREATE TABLE code (code VARCHAR(8) NOT NULL, text VARCHAR(20), UNIQUE KEY (code));
CREATE TABLE kinds (
  id INT PRIMARY KEY, flag TINYINT(1), big BIGINT UNSIGNED, exact DECIMAL(30,10), near DOUBLE, document JSON,
  day DATE, clock TIME(6), local DATETIME(6), moment TIMESTAMP(3) NULL, raw BLOB, mood ENUM('good', 'it''s'),
  bits BIT(10), one BIT(1), uuid UUID, address INET6, place POINT, twice INT AS (id * 2) STORED, y YEAR
);
CREATE TABLE guarded (id INT PRIMARY KEY);
CREATE TRIGGER guarded_check BEFORE INSERT ON guarded FOR EACH ROW
  BEGIN IF NEW.id > 10 THEN SIGNAL SQLSTATE '45000'; END IF; END;
CREATE VIEW heavy AS SELECT parcel_id, label FROM parcel WHERE weight > 100;
CREATE TABLE penstock_own (id INT PRIMARY KEY);
CREATE SEQUENCE ticket_number START WITH 100;
CREATE TABLE ticket (ticket_id BIGINT PRIMARY KEY, text VARCHAR(20));
";

struct World {
    server: Arc<TestServer>,
    database: MysqlDatabase,
    name: String,
}

impl World {
    async fn open() -> Option<Self> {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut DatabaseSettings)) -> Option<Self> {
        let server = {
            let mut shared = SERVER.lock().await;
            match shared.upgrade() {
                Some(server) => server,
                None => {
                    let server = Arc::new(TestServer::start().await?);
                    *shared = Arc::downgrade(&server);
                    server
                }
            }
        };
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        server.database(&name, TABLES).await;
        let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
        settings.url = Some(SecretUrl::new(&server.url(&name)));
        change(&mut settings);
        let database =
            MysqlDatabase::open(settings, SystemClock::shared()).await.expect("the database opens");
        Some(Self { server, database, name })
    }

    fn entity(&self, name: &str) -> Arc<Entity> {
        Arc::clone(&self.database.catalogue().entities[name])
    }

    /// A session with a transaction, that believes to speak to this server.
    async fn session(&self, flavor: Flavor) -> MysqlSession {
        let mut session = self.database.session().await;
        session.open().await.expect("a connection");
        assert_eq!(one(&mut session, begin()).await, Reply::Done);
        // Only now: MariaDB does not know the time limits of MySQL.
        session.connection().server.flavor = flavor;
        session
    }

    async fn sql(&self, sql: &str) -> Vec<String> {
        let mut conn = self.server.connect(Some(&self.name)).await.expect("a connection");
        conn.query(sql).await.expect("rows")
    }
}

fn settings() -> TransactionSettings {
    TransactionSettings {
        isolation: None,
        read_only: false,
        statement_timeout: Duration::from_secs(5),
        lock_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(10),
        identity: None,
    }
}

fn begin() -> Command {
    Command::Begin(settings())
}

fn run(entity: &Arc<Entity>, work: Work, returning: &[&str]) -> Command {
    let returning = returning.iter().map(|name| entity.column_id(name).expect("a column")).collect();
    Command::Run(BoundOperation {
        index: 0,
        entity: Some(Arc::clone(entity)),
        work,
        returning,
        handed: Handed::default(),
    })
}

fn create(entity: &Arc<Entity>, columns: &[&str], rows: Vec<Vec<Value>>, returning: &[&str]) -> Command {
    create_if(entity, columns, rows, returning, Condition::True)
}

fn create_if(
    entity: &Arc<Entity>,
    columns: &[&str],
    rows: Vec<Vec<Value>>,
    returning: &[&str],
    must_hold: Condition,
) -> Command {
    let columns = columns.iter().map(|name| entity.column_id(name).expect("a column")).collect();
    run(entity, Work::Create { columns, rows, must_hold }, returning)
}

fn read(entity: &Arc<Entity>, condition: Condition, returning: &[&str]) -> Command {
    let sort = entity
        .primary_key
        .iter()
        .map(|id| SortKey { column: *id, through: None, descending: false })
        .collect();
    run(entity, Work::Read { condition, sort, limit: 100, offset: 0, lock: Lock::None }, returning)
}

fn when(entity: &Entity, column: &str, test: Test) -> Condition {
    Condition::Column(entity.column_id(column).expect("a column"), test)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str) -> Value {
    Value::Number(text.into())
}

async fn one(session: &mut MysqlSession, command: Command) -> Reply {
    session.flight(vec![command]).await.expect("the connection lives").remove(0)
}

async fn rows(session: &mut MysqlSession, command: Command) -> Rows {
    match one(session, command).await {
        Reply::Rows(rows) => rows,
        other => panic!("{other:?}"),
    }
}

async fn error(session: &mut MysqlSession, command: Command) -> DbError {
    match one(session, command).await {
        Reply::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn json(rows: &Rows) -> String {
    let all = (0..rows.count).map(|index| Value::Array(rows.row(index).to_vec())).collect();
    Value::Array(all).to_json()
}
