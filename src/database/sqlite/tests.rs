//! The threads of a SQLite file, on real files, with written sequences of commands in place of batches.

mod batches;
mod groups;
mod rows;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::carrier::{Carrier, Purpose};
use super::lane::{Flow, Lane};
use super::reader::Reader;
use super::shared::Shared;
use super::writer::Writer;
use super::*;
use crate::batch::catalogue::{CatalogueSettings, ColumnType, Entity, StatementSettings};
use crate::batch::operation::{
    Assignment, BoundOperation, Condition, Handed, Lock, Pattern, PatternPart, SortKey, Test, Work,
};
use crate::batch::run::{GiveUp, Step};
use crate::batch::value::Value;
use crate::clock::{ManualClock, SystemClock};
use crate::database::{
    Command, DbError, DbErrorCode, GroupCommit, Reply, Rows, StoredAnswer, TransactionSettings,
};

const TABLES: &str = "
    CREATE TABLE depot (depot_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, city TEXT, stock INTEGER DEFAULT 0,
        CONSTRAINT stock_least CHECK (stock >= 0));
    CREATE TABLE crate (crate_id INTEGER PRIMARY KEY, depot_id INTEGER NOT NULL REFERENCES depot, label TEXT);
    CREATE TABLE note (note_id INTEGER PRIMARY KEY, crate_id INTEGER REFERENCES crate DEFERRABLE INITIALLY DEFERRED,
        written DATETIME DEFAULT CURRENT_TIMESTAMP, armed BOOLEAN, body JSON, bytes BLOB, price DECIMAL(10, 2));
    CREATE TABLE ledger (ledger_id INTEGER PRIMARY KEY, body TEXT, total INTEGER);
    CREATE TRIGGER ledger_total AFTER INSERT ON ledger WHEN new.body IS NOT NULL
        BEGIN UPDATE ledger SET total = 7 WHERE ledger_id = new.ledger_id; END;
    CREATE TRIGGER ledger_swallow BEFORE INSERT ON ledger WHEN new.body = 'swallow' BEGIN SELECT RAISE(IGNORE); END;
    CREATE TABLE pairs (a INTEGER, b INTEGER, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
    INSERT INTO depot VALUES (1, 'North', 'Oslo', 0), (2, 'South', 'Bari', 5), (3, 'East', NULL, 0);
    INSERT INTO crate VALUES (10, 1, 'bolts'), (11, 1, 'nuts'), (12, 2, 'bolt cutters');";

/// Flights one after the other; what fails is rolled back; busy is tried again, as a run does.
struct Script {
    flights: Vec<Vec<Command>>,
    at: usize,
    pauses: VecDeque<Duration>,
    replies: Vec<Vec<Reply>>,
    undo: bool,
    attempts: usize,
    lost: usize,
    given_up: bool,
}

impl Script {
    fn of(flights: Vec<Vec<Command>>) -> Self {
        Self {
            flights,
            at: 0,
            pauses: VecDeque::new(),
            replies: Vec::new(),
            undo: false,
            attempts: 1,
            lost: 0,
            given_up: false,
        }
    }

    /// One transaction in one flight.
    fn once(work: Vec<BoundOperation>) -> Self {
        Self::of(vec![transaction(work)])
    }

    fn error(&self) -> Option<&DbError> {
        self.replies.iter().flatten().find_map(|reply| match reply {
            Reply::Failed(error) => Some(error),
            _ => None,
        })
    }

    fn code(&self) -> Option<DbErrorCode> {
        self.error().map(|error| error.code)
    }

    fn rows(&self) -> Vec<&Rows> {
        let rows = self.replies.iter().flatten();
        rows.filter_map(|reply| if let Reply::Rows(rows) = reply { Some(rows) } else { None }).collect()
    }
}

impl Flow for Script {
    fn next(&mut self, _elapsed: Duration) -> Step {
        if let Some(pause) = self.pauses.pop_front() {
            return Step::Wait(pause);
        }
        if std::mem::take(&mut self.undo) {
            return Step::Flight(vec![Command::Rollback]);
        }
        match self.flights.get(self.at) {
            Some(flight) if !self.given_up => Step::Flight(flight.clone()),
            _ => Step::Finished,
        }
    }

    fn accept(&mut self, replies: Vec<Reply>, _elapsed: Duration) {
        let failed = replies.iter().find_map(|reply| match reply {
            Reply::Failed(error) => Some(error.code),
            _ => None,
        });
        self.at += 1;
        match failed {
            Some(DbErrorCode::Busy) if self.attempts <= 3 => {
                self.attempts += 1;
                self.at = 0;
                self.replies.clear();
                self.undo = true;
                return;
            }
            Some(_) => {
                self.at = self.flights.len();
                self.undo = true;
            }
            None => {}
        }
        self.replies.push(replies);
    }

    fn lost(&mut self, _during_commit: bool) {
        self.lost += 1;
        self.at = self.flights.len();
    }

    fn give_up(&mut self, _why: GiveUp) {
        self.given_up = true;
    }
}

fn begin() -> Command {
    let second = Duration::from_secs(1);
    Command::Begin(TransactionSettings {
        isolation: None,
        read_only: false,
        statement_timeout: second * 5,
        lock_timeout: second * 20,
        idle_timeout: second,
        identity: None,
    })
}

fn transaction(work: Vec<BoundOperation>) -> Vec<Command> {
    let mut flight = vec![begin()];
    flight.extend(work.into_iter().map(Command::Run));
    flight.push(Command::Commit);
    flight
}

/// A file with its threads.
struct Stand {
    folder: TempDir,
    writes: Arc<Lane<Script>>,
    reads: Lane<Script>,
    shared: Arc<Shared>,
    groups: Arc<Mutex<Vec<usize>>>,
}

fn stand() -> Stand {
    stand_with(GroupCommit::default(), SystemClock::shared(), |_| {})
}

fn stand_with(limits: GroupCommit, clock: SharedClock, prepare: impl FnOnce(&mut Connection)) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let mut carrier = Carrier::open(&path, Purpose::Write, Arc::clone(&clock)).unwrap();
    make_tables(&carrier.connection, TABLES).unwrap();
    carrier.make_key_table().unwrap();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&groups);
    let statements = vec![StatementSettings {
        at: "database[0].statement[0]".to_owned(),
        name: "counted".into(),
        sql: "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most)
              SELECT count(*) AS how_many, max(i) AS highest FROM n"
            .into(),
        parameters: vec![("most".into(), ColumnType::Int { bits: 64, unsigned: false })],
        roles: Vec::new(),
    }];
    let shared = Shared::new(
        "shop".into(),
        CatalogueSettings::default(),
        statements,
        Some(Arc::new(move |size| seen.lock().unwrap().push(size))),
        &carrier.connection,
    );
    let shared = Arc::new(shared.unwrap());
    prepare(&mut carrier.connection);
    let (writes, inbox) = Lane::new(64, Arc::clone(&clock));
    let writer = Writer::new(carrier, Arc::clone(&shared), Arc::clone(&clock), limits, inbox);
    start("test-write", move || writer.work()).unwrap();
    let (reads, inbox) = Lane::new(64, Arc::clone(&clock));
    let carrier = Carrier::open(&path, Purpose::Read, Arc::clone(&clock)).unwrap();
    let reader = Reader { carrier, shared: Arc::clone(&shared), clock, inbox };
    start("test-read", move || reader.work()).unwrap();
    Stand { folder, writes: Arc::new(writes), reads, shared, groups }
}

impl Stand {
    fn entity(&self, name: &str) -> Arc<Entity> {
        Arc::clone(&self.shared.catalogue().entities[name])
    }

    fn operation(&self, entity: &str, returning: &[&str], work: Work) -> BoundOperation {
        let entity = self.entity(entity);
        let returning = returning.iter().map(|name| entity.column_id(name).unwrap()).collect();
        BoundOperation { index: 0, entity: Some(entity), work, returning, handed: Handed::default() }
    }

    fn create(&self, entity: &str, fields: &[(&str, Value)], returning: &[&str]) -> BoundOperation {
        let columns = fields.iter().map(|(name, _)| self.entity(entity).column_id(name).unwrap()).collect();
        let rows = vec![fields.iter().map(|(_, value)| value.clone()).collect()];
        self.operation(entity, returning, Work::Create { columns, rows, must_hold: Condition::True })
    }

    fn depot(&self, name: &str) -> BoundOperation {
        self.create("depot", &[("name", text(name))], &["depot_id", "name"])
    }

    fn column(&self, entity: &str, column: &str, test: Test) -> Condition {
        Condition::Column(self.entity(entity).column_id(column).unwrap(), test)
    }

    fn read(&self, entity: &str, returning: &[&str], condition: Condition) -> BoundOperation {
        let about = self.entity(entity);
        let sort = about
            .primary_key
            .iter()
            .map(|column| SortKey { column: *column, through: None, descending: false })
            .collect();
        self.operation(
            entity,
            returning,
            Work::Read { condition, sort, limit: 1_001, offset: 0, lock: Lock::None },
        )
    }

    fn outside(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("shop.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    fn count(&self, sql: &str) -> i64 {
        self.outside().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn run(&self, script: Script) -> Script {
        self.writes.carry(script).await
    }

    /// Runs all of them in one group: the file is locked by somebody else until all of them wait.
    async fn run_together(&self, scripts: Vec<Script>) -> Vec<Script> {
        let outside = self.outside();
        outside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let running: Vec<_> = scripts
            .into_iter()
            .map(|script| {
                let lane = Arc::clone(&self.writes);
                tokio::spawn(async move { lane.carry(script).await })
            })
            .collect();
        // Busy waiting of SQLite is in the writer's thread; all others are in the channel by then.
        tokio::time::sleep(Duration::from_millis(60)).await;
        outside.execute_batch("ROLLBACK").unwrap();
        let mut done = Vec::new();
        for one in running {
            done.push(one.await.unwrap());
        }
        done
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn json(rows: &Rows) -> String {
    (0..rows.count)
        .map(|row| rows.row(row).iter().map(Value::to_json).collect::<Vec<_>>().join(","))
        .collect::<Vec<_>>()
        .join(";")
}

#[tokio::test]
async fn a_row_that_may_not_be_is_refused_and_not_kept() {
    let stand = stand();
    let in_oslo = stand.column("depot", "city", Test::Eq(text("Oslo")));
    let entity = stand.entity("depot");
    let columns = vec![entity.column_id("name").unwrap(), entity.column_id("city").unwrap()];
    for (city, refused) in [(text("Oslo"), None), (text("Bari"), Some(())), (Value::Null, Some(()))] {
        let rows = vec![vec![text(&format!("in {}", city.to_json())), city]];
        let work = Work::Create { columns: columns.clone(), rows, must_hold: in_oslo.clone() };
        let done = stand.run(Script::once(vec![stand.operation("depot", &["name"], work)])).await;
        assert_eq!(done.code(), refused.map(|()| DbErrorCode::RowForbidden));
    }
    // A crate may only be in a depot of Oslo: the rule looks into another table, at the row as it becomes.
    let depot = (stand.entity("crate").column_id("depot_id").unwrap(), entity.column_id("depot_id").unwrap());
    let must_hold = Condition::Related { entity, columns: vec![depot], condition: Box::new(in_oslo) };
    for (to, code) in [(1, None), (2, Some(DbErrorCode::RowForbidden))] {
        let work = Work::Update {
            set: vec![(depot.0, Assignment::Value(Value::Int(to)))],
            condition: stand.column("crate", "crate_id", Test::Eq(Value::Int(10))),
            must_hold: must_hold.clone(),
            rows_max: 10,
        };
        let done = stand.run(Script::once(vec![stand.operation("crate", &["crate_id"], work)])).await;
        assert_eq!(done.code(), code);
    }
    assert_eq!(stand.count("SELECT count(*) FROM depot"), 4);
    assert_eq!(stand.count("SELECT depot_id FROM crate WHERE crate_id = 10"), 1);
}

#[tokio::test]
async fn more_rows_than_allowed_are_too_many_and_stay() {
    let stand = stand();
    stand
        .outside()
        .execute_batch("INSERT INTO pairs SELECT value, value, 'x' FROM json_each('[1,2,3,4,5]')")
        .unwrap();
    let all = stand.column("pairs", "c", Test::Eq(text("x")));
    for (rows_max, code) in [(4, Some(DbErrorCode::TooManyRows)), (5, None)] {
        let work = Work::Delete { condition: all.clone(), rows_max };
        let done = stand.run(Script::once(vec![stand.operation("pairs", &["a"], work)])).await;
        assert_eq!(done.code(), code);
        assert_eq!(stand.count("SELECT count(*) FROM pairs"), if code.is_some() { 5 } else { 0 });
    }
}

#[tokio::test]
async fn what_triggers_did_is_in_the_answer() {
    let stand = stand();
    let done = stand
        .run(Script::once(vec![
            stand.create(
                "ledger",
                &[("body", text("paid")), ("total", Value::Int(1))],
                &["ledger_id", "total"],
            ),
            stand.create("ledger", &[("body", text("swallow"))], &["ledger_id"]),
        ]))
        .await;
    assert_eq!(done.error(), None);
    assert_eq!((json(done.rows()[0]).as_str(), done.rows()[1].count), ("1,7", 0));
}

#[tokio::test]
async fn constraints_name_what_failed() {
    let stand = stand();
    for (work, code, column, constraint) in [
        (stand.depot("North"), DbErrorCode::UniqueViolation, Some("name"), None),
        (
            stand.create("depot", &[("name", Value::Null)], &[]),
            DbErrorCode::NotNullViolation,
            Some("name"),
            None,
        ),
        (
            stand.create("depot", &[("name", text("n")), ("stock", Value::Int(-1))], &[]),
            DbErrorCode::CheckViolation,
            None,
            Some("stock_least"),
        ),
        (
            stand.create("crate", &[("depot_id", Value::Int(999))], &[]),
            DbErrorCode::ForeignKeyViolation,
            None,
            None,
        ),
    ] {
        let done = stand.run(Script::once(vec![stand.depot("kept?"), work])).await;
        let error = done.error().unwrap();
        assert_eq!(error.code, code);
        assert_eq!(error.constraint.as_deref(), constraint);
        if column.is_some() {
            assert_eq!(error.column.as_deref(), column);
        }
        assert_eq!(stand.count("SELECT count(*) FROM depot WHERE name = 'kept?'"), 0);
    }
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_stopped_on_both_kinds_of_thread() {
    let stand = stand();
    let statement = Arc::clone(&stand.shared.catalogue().statements["counted"]);
    let counted = |most| BoundOperation {
        index: 0,
        entity: None,
        work: Work::Statement {
            statement: Arc::clone(&statement),
            parameters: vec![Value::Int(most)],
            limit: 10,
        },
        returning: vec![1, 0],
        handed: Handed::default(),
    };
    let script = |most| {
        let mut flight = transaction(vec![counted(most)]);
        if let Command::Begin(settings) = &mut flight[0] {
            settings.statement_timeout = Duration::from_millis(200);
        }
        Script::of(vec![flight])
    };
    for reads in [true, false] {
        let carry =
            async |script| if reads { stand.reads.carry(script).await } else { stand.run(script).await };
        let done = carry(script(40)).await;
        assert_eq!(json(done.rows()[0]), "40,40");
        assert_eq!(carry(script(i64::MAX)).await.code(), Some(DbErrorCode::StatementTimeout));
        assert_eq!(carry(script(41)).await.error(), None);
    }
}

#[tokio::test]
async fn a_reader_refuses_to_write_and_sees_what_is_committed() {
    let stand = stand();
    let done = stand.reads.carry(Script::once(vec![stand.depot("no")])).await;
    assert_eq!(done.code(), Some(DbErrorCode::ReadOnly));
    stand.run(Script::once(vec![stand.depot("yes")])).await;
    let names = stand.read("depot", &["name"], Condition::True);
    let done = stand.reads.carry(Script::once(vec![names])).await;
    assert_eq!(json(done.rows()[0]), "\"North\";\"South\";\"East\";\"yes\"");
}

#[tokio::test]
async fn a_step_goes_back_to_its_savepoint_and_the_batch_goes_on() {
    let stand = stand();
    let done = stand
        .run(Script::of(vec![
            vec![
                begin(),
                Command::Run(stand.depot("one")),
                Command::Savepoint,
                Command::Run(stand.depot("two")),
            ],
            vec![Command::RollbackToSavepoint, Command::Run(stand.depot("three")), Command::ReleaseSavepoint],
            vec![Command::Commit],
        ]))
        .await;
    assert_eq!(done.error(), None);
    assert_eq!(stand.count("SELECT count(*) FROM depot WHERE name IN ('one', 'three')"), 2);
    assert_eq!(stand.count("SELECT count(*) FROM depot"), 5);
}

#[tokio::test]
async fn a_key_is_taken_once_answered_again_and_free_after_a_day() {
    let clock = ManualClock::new();
    let stand = stand_with(GroupCommit::default(), clock.clone(), |_| {});
    let take = || Command::TakeKey { scope: "k".to_owned(), fingerprint: [7; 32] };
    let answer = StoredAnswer { fingerprint: [7; 32], status: Some(200), body: b"{}".to_vec() };
    let keep = Command::KeepAnswer { scope: "k".to_owned(), answer: answer.clone() };
    let whole = || Script::of(vec![vec![begin(), take()], vec![keep.clone(), Command::Commit]]);
    assert_eq!(stand.run(whole()).await.replies[0][1], Reply::Done);
    assert_eq!(stand.run(whole()).await.replies[0][1], Reply::Key(answer.clone()));
    clock.advance(Duration::from_secs(23 * 3600));
    assert_eq!(stand.run(whole()).await.replies[0][1], Reply::Key(answer));
    clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(stand.run(whole()).await.replies[0][1], Reply::Done);
    let freed = vec![begin(), Command::DropKey { scope: "k".to_owned() }, Command::Commit];
    assert_eq!(stand.run(Script::of(vec![freed])).await.error(), None);
    assert_eq!(stand.count("SELECT count(*) FROM penstock_batch_key"), 0);
}

#[tokio::test]
async fn a_key_of_a_batch_that_is_not_finished_is_in_flight() {
    let stand = stand();
    let take = || Command::TakeKey { scope: "k".to_owned(), fingerprint: [7; 32] };
    let twins =
        || Script::of(vec![vec![begin(), take(), Command::Run(stand.depot("once")), Command::Commit]]);
    let done = stand.run_together(vec![twins(), twins()]).await;
    let codes: Vec<_> = done.iter().map(Script::code).collect();
    assert_eq!(codes, [None, Some(DbErrorCode::KeyInFlight)]);
}

#[tokio::test]
async fn a_changed_schema_is_seen_by_the_next_batch_and_by_a_reload() {
    let stand = stand();
    stand.outside().execute_batch("ALTER TABLE depot ADD COLUMN owner TEXT").unwrap();
    assert!(stand.entity("depot").column_id("owner").is_none());
    stand.run(Script::once(vec![stand.depot("new")])).await;
    assert!(stand.entity("depot").column_id("owner").is_some());
    stand.outside().execute_batch("CREATE TABLE added (id INTEGER PRIMARY KEY)").unwrap();
    stand.writes.reload().await.unwrap().unwrap();
    assert!(stand.shared.catalogue().entities.contains_key("added"));
}

#[tokio::test]
async fn a_batch_whose_thread_is_gone_comes_back_given_up() {
    let clock = SystemClock::shared();
    let (lane, inbox) = Lane::new(2, clock);
    drop(inbox);
    let done = lane.carry(Script::of(Vec::new())).await;
    assert!(done.given_up);
}

fn settings(folder: &TempDir, init: &str) -> DatabaseSettings {
    let mut settings = DatabaseSettings::new("shop", DatabaseKind::Sqlite);
    settings.path = Some(folder.path().join("shop.db"));
    settings.init_sql = Some(init.into());
    settings.connections = 2;
    settings
}

#[test]
fn a_second_daemon_is_refused_and_told_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteDatabase::open(settings(&folder, TABLES), SystemClock::shared(), None).unwrap();
    assert_eq!(first.state(), ConnectionsState { idle: 3, busy: 0, down: 0 });
    let second = SqliteDatabase::open(settings(&folder, TABLES), SystemClock::shared(), None);
    let refusal = second.unwrap_err().to_string();
    assert!(refusal.contains(&format!("in use by process {}", std::process::id())), "{refusal}");
    assert!(refusal.contains("one file has one daemon"));
}

#[test]
fn tables_are_made_once_and_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let broken = SqliteDatabase::open(
        settings(&folder, "CREATE TABLE a (b); CREATE TABLE;"),
        SystemClock::shared(),
        None,
    );
    assert!(broken.unwrap_err().to_string().contains("nothing of it was kept"));
    let tables = |path| {
        let connection = Connection::open(path).unwrap();
        connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'a'", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(tables(&path), Ok(0));
    let connection = Connection::open(&path).unwrap();
    make_tables(&connection, "CREATE TABLE a (b); INSERT INTO a VALUES (1)").unwrap();
    make_tables(&connection, "CREATE TABLE a (b); INSERT INTO a VALUES (1)").unwrap();
    assert_eq!(connection.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)), Ok(1));
}
