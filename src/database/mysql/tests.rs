//! Against a real MariaDB server. What MySQL does instead (a create is read back by its key) is tested there too, by
//! telling the connection that it speaks to MySQL.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use rstest::rstest;

use super::test_server::TestServer;
use super::*;
use crate::batch::catalogue::settings::StatementSettings;
use crate::batch::catalogue::{ColumnType, Entity, KeyRule};
use crate::batch::operation::{
    Assignment, BoundOperation, Condition, Lock, Pattern, PatternPart, SortKey, Test, Work,
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
        session.connection().server.flavor = flavor;
        session.flight(vec![begin()]).await.expect("a transaction");
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
    Command::Run(BoundOperation { index: 0, entity: Some(Arc::clone(entity)), work, returning })
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

#[tokio::test]
async fn tables_say_their_columns_keys_and_ties() {
    let Some(world) = World::open().await else { return };
    let mut connection = world.database.pool.connection().await.unwrap();

    let facts = connection.introspect().await.unwrap();

    let names: Vec<&str> = facts.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(names, ["code", "depot", "guarded", "heavy", "journal", "kinds", "line", "parcel", "ticket"]);
    let table = |name: &str| facts.iter().find(|table| table.table == name).unwrap();
    let column =
        |name: &str, column: &str| table(name).columns.iter().find(|one| one.name == column).unwrap().clone();
    assert_eq!(table("line").primary_key, ["parcel_id", "number"]);
    assert_eq!(table("code").primary_key, ["code"]);
    assert!(table("journal").primary_key.is_empty());
    assert!(table("heavy").view && !table("depot").view);
    assert!(table("guarded").has_triggers && !table("depot").has_triggers);
    let tie = &table("parcel").foreign_keys[0];
    assert_eq!(
        (tie.table.as_str(), &tie.columns[..], &tie.referenced[..]),
        ("depot", &["depot_id".to_owned()][..], &["depot_id".to_owned()][..])
    );
    assert!(column("depot", "depot_id").auto_increment);
    assert!(column("depot", "country").has_default && !column("depot", "city").has_default);
    assert!(column("kinds", "twice").generated && !column("kinds", "flag").generated);
    assert_eq!(column("kinds", "document").column_type, ColumnType::Json);
    assert_eq!(column("kinds", "flag").column_type, ColumnType::Boolean);
    assert_eq!(column("kinds", "uuid").column_type, ColumnType::Uuid);
    assert!(column("parcel", "label").nullable && !column("depot", "city").nullable);
}

#[rstest]
#[case(Flavor::MariaDb)]
#[case(Flavor::Mysql)]
#[tokio::test]
async fn a_create_answers_its_rows_in_their_order_with_what_the_database_added(#[case] flavor: Flavor) {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(flavor).await;
    let cities = vec![vec![text("Utrecht")], vec![text("Ghent")], vec![text("Åre 🚚")]];

    let created =
        rows(&mut session, create(&depot, &["city"], cities, &["depot_id", "city", "country"])).await;

    assert_eq!(json(&created), r#"[[1,"Utrecht","NL"],[2,"Ghent","NL"],[3,"Åre 🚚","NL"]]"#);
    one(&mut session, Command::Commit).await;
    assert_eq!(world.sql("SELECT city FROM depot ORDER BY depot_id").await, ["Utrecht", "Ghent", "Åre 🚚"]);
}

#[rstest]
#[case(Flavor::MariaDb)]
#[case(Flavor::Mysql)]
#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_went_in(#[case] flavor: Flavor) {
    let Some(world) = World::open().await else { return };
    let kinds = world.entity("kinds");
    let mut session = world.session(flavor).await;
    let sent = [
        ("id", Value::Int(7)),
        ("flag", Value::Bool(true)),
        ("big", number("18446744073709551615")),
        ("exact", number("12345678901234567890.0123456789")),
        ("near", number("0.1")),
        ("document", Value::Json(r#"{"b":[1,2.50],"a":"it's"}"#.into())),
        ("day", text("2026-01-02")),
        ("clock", text("23:59:59.000001")),
        ("local", text("2026-01-02T03:04:05.12")),
        ("moment", text("2026-07-02T03:04:05.123Z")),
        ("raw", text("AP+AJ1w=")),
        ("mood", text("it's")),
        ("bits", Value::Int(513)),
        ("one", Value::Bool(true)),
        ("uuid", text("0195f4a0-0000-7000-8000-000000000001")),
        ("address", text("2001:db8::ff")),
        ("place", text("POINT(1 2)")),
        ("y", Value::Int(2026)),
    ];
    let names: Vec<&str> = sent.iter().map(|(name, _)| *name).collect();
    let values: Vec<Value> = sent.iter().map(|(_, value)| value.clone()).collect();

    let created = rows(&mut session, create(&kinds, &names, vec![values.clone()], &names)).await;

    assert_eq!(json(&created), Value::Array(vec![Value::Array(values.clone())]).to_json());
    for (name, value) in sent.iter().filter(|(name, _)| !["near", "document", "place"].contains(name)) {
        let same = when(&kinds, name, Test::Eq(value.clone()));
        let found = rows(&mut session, run(&kinds, Work::Count { condition: same }, &[])).await;
        assert_eq!(json(&found), "[[1]]", "{name} is found by its value");
    }
    let nulls = rows(
        &mut session,
        create(
            &kinds,
            &["id", "raw", "moment"],
            vec![vec![Value::Int(8), Value::Null, Value::Null]],
            &["raw", "moment", "twice"],
        ),
    )
    .await;
    assert_eq!(json(&nulls), "[[null,null,16]]");
}

#[tokio::test]
async fn decimals_are_compared_exactly() {
    let Some(world) = World::open().await else { return };
    let parcel = world.entity("parcel");
    let mut session = world.session(Flavor::MariaDb).await;
    // As floats these two are the same.
    let weights = vec![vec![number("12345678901234567.001")], vec![number("12345678901234567.002")]];
    rows(&mut session, create(&parcel, &["weight"], weights, &[])).await;

    for (test, found) in [
        (Test::Eq(number("12345678901234567.001")), 1),
        (Test::Eq(number("12345678901234567.0010")), 1),
        (Test::Eq(number("12345678901234567.0011")), 0),
        (Test::In(vec![number("12345678901234567.002"), number("1.5")]), 1),
        (Test::Gt(number("12345678901234567.001")), 1),
        (Test::Between(number("12345678901234567.0015"), number("12345678901234567.0025")), 1),
    ] {
        let count = rows(
            &mut session,
            run(&parcel, Work::Count { condition: when(&parcel, "weight", test.clone()) }, &[]),
        )
        .await;
        assert_eq!(json(&count), format!("[[{found}]]"), "{test:?}");
    }
}

#[tokio::test]
async fn patterns_are_case_sensitive_and_literal() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(Flavor::MariaDb).await;
    let cities = ["Ada", "bada", "100%", "100x", "a|b", "a\\b", "a_b"];
    rows(&mut session, create(&depot, &["city"], cities.iter().map(|city| vec![text(city)]).collect(), &[]))
        .await;
    let literal = |text: &str| PatternPart::Literal(text.to_owned());

    for (pattern, found) in [
        (vec![literal("A"), PatternPart::Any], vec!["Ada"]),
        (vec![PatternPart::Any, literal("ada")], vec!["bada"]),
        (vec![literal("100%")], vec!["100%"]),
        (vec![literal("100"), PatternPart::One], vec!["100%", "100x"]),
        (vec![literal("a|b")], vec!["a|b"]),
        (vec![literal("a\\b")], vec!["a\\b"]),
        (vec![literal("a_"), PatternPart::Any], vec!["a_b"]),
    ] {
        let condition = when(&depot, "city", Test::Like(Pattern(pattern)));
        let answer = rows(&mut session, read(&depot, condition, &["city"])).await;
        let cities: Vec<String> =
            answer.cells.iter().map(|cell| cell.to_json().replace("\\\\", "\\")).collect();
        assert_eq!(cities, found.iter().map(|city| format!("\"{city}\"")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn nulls_come_last_in_both_directions_and_related_rows_can_be_asked_about() {
    let Some(world) = World::open().await else { return };
    let (depot, parcel) = (world.entity("depot"), world.entity("parcel"));
    let mut session = world.session(Flavor::MariaDb).await;
    rows(&mut session, create(&depot, &["city"], vec![vec![text("B")], vec![text("A")]], &[])).await;
    let parcels = [(1, "x"), (2, "y")].map(|(id, label)| vec![Value::Int(id), text(label)]);
    rows(&mut session, create(&parcel, &["depot_id", "label"], parcels.to_vec(), &[])).await;
    rows(&mut session, create(&parcel, &["depot_id", "label"], vec![vec![Value::Null, Value::Null]], &[]))
        .await;
    let pairs = vec![(parcel.column_id("depot_id").unwrap(), 0)];
    let label = parcel.column_id("label").unwrap();
    let city = depot.column_id("city").unwrap();
    let sorted = |column, through, descending| {
        let sort = vec![SortKey { column, through, descending }];
        run(
            &parcel,
            Work::Read { condition: Condition::True, sort, limit: 2, offset: 1, lock: Lock::Update },
            &["label"],
        )
    };

    assert_eq!(json(&rows(&mut session, sorted(label, None, false)).await), r#"[["y"],[null]]"#);
    assert_eq!(json(&rows(&mut session, sorted(label, None, true)).await), r#"[["x"],[null]]"#);
    let through = Some((Arc::clone(&depot), pairs.clone()));
    assert_eq!(json(&rows(&mut session, sorted(city, through, false)).await), r#"[["x"],[null]]"#);
    let in_a = Condition::Related {
        entity: Arc::clone(&depot),
        columns: pairs,
        condition: Box::new(when(&depot, "city", Test::Eq(text("A")))),
    };
    assert_eq!(json(&rows(&mut session, read(&parcel, in_a.clone(), &["label"])).await), r#"[["y"]]"#);
    let not = Condition::Not(Box::new(in_a));
    assert_eq!(json(&rows(&mut session, read(&parcel, not, &["label"])).await), r#"[["x"],[null]]"#);
}

#[tokio::test]
async fn an_update_answers_the_rows_as_they_became_and_a_delete_as_they_were() {
    let Some(world) = World::open().await else { return };
    let line = world.entity("line");
    let mut session = world.session(Flavor::MariaDb).await;
    let lines = (1..=5).map(|n| vec![Value::Int(1), Value::Int(n), text("new")]).collect();
    rows(&mut session, create(&line, &["parcel_id", "number", "text"], lines, &[])).await;
    let columns = ["parcel_id", "number", "text"];
    let update = |set: Vec<(usize, Assignment)>, condition: Condition, rows_max| {
        run(&line, Work::Update { set, condition, must_hold: Condition::True, rows_max }, &columns)
    };
    let most = when(&line, "number", Test::Ge(Value::Int(3)));

    let seen = update(vec![(2, Assignment::Value(text("seen")))], most.clone(), 10);
    assert_eq!(json(&rows(&mut session, seen).await), r#"[[1,3,"seen"],[1,4,"seen"],[1,5,"seen"]]"#);
    // Matched, though nothing changes: counted all the same.
    let again = update(vec![(2, Assignment::Value(text("seen")))], most.clone(), 10);
    assert_eq!(rows(&mut session, again).await.count, 3);
    // The key itself changes: read back by the new one.
    let moved = update(vec![(0, Assignment::Increment)], when(&line, "number", Test::Eq(Value::Int(5))), 10);
    assert_eq!(json(&rows(&mut session, moved).await), r#"[[2,5,"seen"]]"#);
    let too_many = update(vec![(2, Assignment::Value(text("x")))], Condition::True, 4);
    assert_eq!(error(&mut session, too_many).await.code, DbErrorCode::TooManyRows);
    let none =
        update(vec![(2, Assignment::Value(text("x")))], when(&line, "number", Test::Eq(Value::Int(99))), 4);
    assert_eq!(rows(&mut session, none).await.count, 0);

    let gone = run(&line, Work::Delete { condition: most, rows_max: 3 }, &["text", "number"]);
    assert_eq!(json(&rows(&mut session, gone).await), r#"[["seen",3],["seen",4],["seen",5]]"#);
    let few = run(&line, Work::Delete { condition: Condition::True, rows_max: 1 }, &[]);
    assert_eq!(error(&mut session, few).await.code, DbErrorCode::TooManyRows);
    let rest = run(&line, Work::Delete { condition: Condition::True, rows_max: 2 }, &[]);
    let rest = rows(&mut session, rest).await;
    assert_eq!((rest.count, rest.width), (2, 0));
}

#[rstest]
#[case(Flavor::MariaDb)]
#[case(Flavor::Mysql)]
#[tokio::test]
async fn a_row_that_the_filter_does_not_cover_is_forbidden(#[case] flavor: Flavor) {
    let Some(world) = World::open().await else { return };
    let (depot, parcel) = (world.entity("depot"), world.entity("parcel"));
    let mut session = world.session(flavor).await;
    rows(&mut session, create(&depot, &["city"], vec![vec![text("A")], vec![text("B")]], &[])).await;
    let mine = Condition::Related {
        entity: Arc::clone(&depot),
        columns: vec![(parcel.column_id("depot_id").unwrap(), 0)],
        condition: Box::new(when(&depot, "city", Test::Eq(text("A")))),
    };
    let make = |depot_id| {
        create_if(
            &parcel,
            &["depot_id", "label"],
            vec![vec![Value::Int(depot_id), text("l")]],
            &["label"],
            mine.clone(),
        )
    };

    assert_eq!(json(&rows(&mut session, make(1)).await), r#"[["l"]]"#);
    assert_eq!(error(&mut session, make(2)).await.code, DbErrorCode::RowForbidden);
    let set = vec![(parcel.column_id("depot_id").unwrap(), Assignment::Value(Value::Int(2)))];
    let label = when(&parcel, "label", Test::Eq(text("l")));
    let work = Work::Update { set, condition: label.and(mine.clone()), must_hold: mine, rows_max: 10 };
    assert_eq!(error(&mut session, run(&parcel, work, &["label"])).await.code, DbErrorCode::RowForbidden);
}

#[tokio::test]
async fn failures_have_their_codes_columns_and_constraints() {
    let Some(world) = World::open().await else { return };
    let (depot, parcel, guarded, kinds) =
        (world.entity("depot"), world.entity("parcel"), world.entity("guarded"), world.entity("kinds"));
    let mut session = world.session(Flavor::MariaDb).await;
    rows(&mut session, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;
    rows(&mut session, create(&parcel, &["depot_id"], vec![vec![Value::Int(1)]], &[])).await;
    let into =
        |entity: &Arc<Entity>, column: &str, value: Value| create(entity, &[column], vec![vec![value]], &[]);

    for (command, code, column, constraint) in [
        (into(&depot, "city", text("A")), DbErrorCode::UniqueViolation, None, Some("depot_city")),
        (into(&depot, "city", Value::Null), DbErrorCode::NotNullViolation, Some("city"), None),
        (into(&depot, "country", text("BE")), DbErrorCode::NotNullViolation, Some("city"), None),
        (into(&depot, "city", text(&"x".repeat(41))), DbErrorCode::TypeMismatch, Some("city"), None),
        (
            into(&parcel, "depot_id", Value::Int(99)),
            DbErrorCode::ForeignKeyViolation,
            Some("depot_id"),
            Some("parcel_depot"),
        ),
        (into(&parcel, "weight", Value::Int(-1)), DbErrorCode::CheckViolation, None, Some("parcel_weight")),
        (into(&guarded, "id", Value::Int(11)), DbErrorCode::CheckViolation, None, None),
        (into(&kinds, "id", number("99999999999")), DbErrorCode::TypeMismatch, Some("id"), None),
        (into(&kinds, "raw", text("no base64!")), DbErrorCode::TypeMismatch, None, None),
        (
            run(&depot, Work::Delete { condition: Condition::True, rows_max: 9 }, &[]),
            DbErrorCode::ForeignKeyViolation,
            None,
            Some("parcel_depot"),
        ),
    ] {
        let error = error(&mut session, command).await;
        assert_eq!(
            (error.code, error.column.as_deref(), error.constraint.as_deref()),
            (code, column, constraint)
        );
    }
}

#[tokio::test]
async fn after_a_failure_the_rest_of_a_flight_is_not_tried_and_a_savepoint_undoes_only_its_part() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(Flavor::MariaDb).await;
    let make = |city: &str| create(&depot, &["city"], vec![vec![text(city)]], &["depot_id"]);

    let replies =
        session.flight(vec![make("A"), Command::Savepoint, make("B"), make("A"), make("C")]).await.unwrap();
    assert!(matches!(
        replies[..],
        [Reply::Rows(_), Reply::Done, Reply::Rows(_), Reply::Failed(_), Reply::NotRun]
    ));
    let replies = session
        .flight(vec![
            Command::RollbackToSavepoint,
            make("D"),
            Command::ReleaseSavepoint,
            Command::CheckConstraints,
            Command::Commit,
        ])
        .await
        .unwrap();
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Done | Reply::Rows(_))));

    assert_eq!(world.sql("SELECT city FROM depot ORDER BY city").await, ["A", "D"]);
}

#[tokio::test]
async fn neighbouring_creates_share_a_statement_and_the_one_to_blame_is_found() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(Flavor::MariaDb).await;
    let make = |cities: &[&str]| {
        let rows = cities.iter().map(|city| vec![text(city)]).collect();
        create(&depot, &["city"], rows, &["depot_id", "city"])
    };

    let replies = session.flight(vec![make(&["A"]), make(&["B", "C"]), make(&["D"])]).await.unwrap();
    let told: Vec<(String, usize)> = replies
        .iter()
        .map(|reply| match reply {
            Reply::Rows(rows) => (json(rows), rows.merged),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (r#"[[1,"A"]]"#.to_owned(), 3),
            (r#"[[2,"B"],[3,"C"]]"#.to_owned(), 2),
            (r#"[[4,"D"]]"#.to_owned(), 3)
        ]
    );
    let replies = session.flight(vec![make(&["E"]), make(&["F"]), make(&["A"]), make(&["G"])]).await.unwrap();
    assert!(matches!(&replies[0], Reply::Rows(rows) if rows.count == 1 && rows.merged == 0));
    assert!(matches!(&replies[1], Reply::Rows(_)));
    assert!(matches!(&replies[2], Reply::Failed(error) if error.code == DbErrorCode::UniqueViolation));
    assert_eq!(replies[3], Reply::NotRun);
    one(&mut session, Command::Commit).await;
    assert_eq!(world.sql("SELECT city FROM depot ORDER BY city").await, ["A", "B", "C", "D", "E", "F"]);
}

#[tokio::test]
async fn a_rollback_and_a_dropped_session_keep_nothing() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let make = |city: &str| create(&depot, &["city"], vec![vec![text(city)]], &[]);
    let mut session = world.session(Flavor::MariaDb).await;
    session.flight(vec![make("A"), Command::Rollback]).await.unwrap();
    session.flight(vec![begin(), make("B")]).await.unwrap();

    drop(session);

    assert_eq!(world.database.state().idle, 0, "a connection with an open transaction is not given back");
    let mut next = world.session(Flavor::MariaDb).await;
    assert_eq!(rows(&mut next, make("B")).await.count, 1, "nobody holds the row any more");
    next.flight(vec![Command::Rollback]).await.unwrap();
    next.rest();
    assert_eq!(world.database.state().idle, 1);
}

#[tokio::test]
async fn a_transaction_that_only_reads_refuses_to_write() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(Flavor::MariaDb).await;
    session.flight(vec![Command::Rollback]).await.unwrap();
    let read_only =
        TransactionSettings { read_only: true, isolation: Some(Isolation::Serializable), ..settings() };
    session.flight(vec![Command::Begin(read_only)]).await.unwrap();

    let refused = error(&mut session, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;

    assert_eq!(refused.code, DbErrorCode::ReadOnly);
}

#[tokio::test]
async fn a_key_is_taken_once_and_answers_what_was_kept() {
    let Some(world) = World::open().await else { return };
    let take = |fingerprint| Command::TakeKey { scope: "ab".repeat(32), fingerprint: [fingerprint; 32] };
    let mut first = world.session(Flavor::MariaDb).await;
    let mut second = world.session(Flavor::MariaDb).await;

    assert_eq!(one(&mut first, take(1)).await, Reply::Done);
    assert_eq!(error(&mut second, take(1)).await.code, DbErrorCode::KeyInFlight);
    let answer = StoredAnswer { fingerprint: [1; 32], status: Some(200), body: vec![0, 255, b'{'] };
    let keep = Command::KeepAnswer { scope: "ab".repeat(32), answer: answer.clone() };
    first.flight(vec![keep, Command::Commit]).await.unwrap();
    second.flight(vec![Command::Rollback, begin()]).await.unwrap();
    assert_eq!(one(&mut second, take(2)).await, Reply::Key(answer));
    second.flight(vec![Command::DropKey { scope: "ab".repeat(32) }, Command::Commit, begin()]).await.unwrap();
    first.flight(vec![begin()]).await.unwrap();
    assert_eq!(one(&mut first, take(3)).await, Reply::Done, "a key that was dropped is free");
    first.flight(vec![Command::Rollback, begin()]).await.unwrap();
    assert_eq!(one(&mut second, take(4)).await, Reply::Done, "a key that was rolled back is free");
}

#[tokio::test]
async fn a_lock_that_is_not_had_in_time_and_a_statement_that_takes_too_long_are_told() {
    let statement = StatementSettings {
        at: "statement".to_owned(),
        name: "slow".into(),
        sql: "SELECT SLEEP(:time) AS slept".into(),
        parameters: vec![("time".into(), ColumnType::Int { bits: 64, unsigned: false })],
        roles: Vec::new(),
    };
    let Some(world) = World::with(|settings| settings.statements.push(statement)).await else { return };
    let depot = world.entity("depot");
    let mut first = world.session(Flavor::MariaDb).await;
    rows(&mut first, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;
    let mut second = world.session(Flavor::MariaDb).await;

    let waited = error(&mut second, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;
    assert_eq!(waited.code, DbErrorCode::LockTimeout);
    second.flight(vec![Command::Rollback]).await.unwrap();
    let hasty = TransactionSettings { statement_timeout: Duration::from_millis(200), ..settings() };
    second.flight(vec![Command::Begin(hasty)]).await.unwrap();
    let statement = Arc::clone(&world.database.catalogue().statements["slow"]);
    let work = Work::Statement { statement, parameters: vec![Value::Int(3)], limit: 10 };
    let slow = Command::Run(BoundOperation { index: 0, entity: None, work, returning: Vec::new() });
    assert_eq!(error(&mut second, slow).await.code, DbErrorCode::StatementTimeout);
}

#[tokio::test]
async fn after_a_deadlock_nothing_runs_outside_of_the_transaction_that_is_gone() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut first = world.session(Flavor::MariaDb).await;
    rows(&mut first, create(&depot, &["city"], vec![vec![text("A")], vec![text("B")]], &[])).await;
    first.flight(vec![Command::Commit, begin()]).await.unwrap();
    let mut second = world.session(Flavor::MariaDb).await;
    let touch = |id| {
        let set = vec![(depot.column_id("country").unwrap(), Assignment::Value(text("BE")))];
        let condition = when(&depot, "depot_id", Test::Eq(Value::Int(id)));
        run(&depot, Work::Update { set, condition, must_hold: Condition::True, rows_max: 1 }, &[])
    };
    rows(&mut first, touch(1)).await;
    rows(&mut second, touch(2)).await;

    let (one_reply, other_reply) = tokio::join!(one(&mut first, touch(2)), one(&mut second, touch(1)));

    let failed = |reply: &Reply| matches!(reply, Reply::Failed(error) if error.code == DbErrorCode::Deadlock);
    assert!(failed(&one_reply) != failed(&other_reply), "one of them is undone");
    let (mut undone, mut other) = if failed(&one_reply) { (first, second) } else { (second, first) };
    let late = create(&depot, &["city"], vec![vec![text("late")]], &[]);
    assert_eq!(error(&mut undone, late).await.code, DbErrorCode::Deadlock);
    assert_eq!(error(&mut undone, Command::Commit).await.code, DbErrorCode::Deadlock);
    assert_eq!(one(&mut undone, Command::Rollback).await, Reply::Done);
    other.flight(vec![Command::Commit]).await.unwrap();
    assert_eq!(world.sql("SELECT city FROM depot WHERE city = 'late'").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_statement_stops_and_its_connection_is_not_used_again() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut holder = world.session(Flavor::MariaDb).await;
    rows(&mut holder, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;
    let mut waiter = world.session(Flavor::MariaDb).await;
    let cancel = waiter.canceller();
    let flight = waiter.flight(vec![create(&depot, &["city"], vec![vec![text("A")]], &[])]);
    let soon = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.await;
    };

    let (replies, ()) = tokio::join!(flight, soon);

    assert!(matches!(replies.unwrap()[..], [Reply::Failed(_)]));
    waiter.abandon();
    assert_eq!(world.database.state().idle, 0);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_told_as_lost() {
    let Some(world) = World::open().await else { return };
    let mut session = world.session(Flavor::MariaDb).await;
    let id = session.connection().conn.id();
    world.sql(&format!("KILL {id}")).await;

    let lost =
        session.flight(vec![Command::Savepoint, Command::Commit]).await.expect_err("the connection is gone");

    assert!(!lost.during_commit, "the COMMIT was not sent");
    session.open().await.expect("another connection");
    let replies = session.flight(vec![begin(), Command::Commit]).await.unwrap();
    assert_eq!(replies, [Reply::Done, Reply::Done]);
}

#[tokio::test]
async fn a_named_statement_says_its_columns_and_binds_its_parameters() {
    let statement = |sql: &str| StatementSettings {
        at: "database[0].statement[0]".to_owned(),
        name: "by_city".into(),
        sql: sql.into(),
        parameters: vec![("city".into(), ColumnType::Text)],
        roles: Vec::new(),
    };
    let sql = "SELECT depot_id, city, COUNT(*) AS how_many FROM depot WHERE city = :city OR :city = '' GROUP BY 1, 2 ORDER BY 1";
    let Some(world) = World::with(|settings| settings.statements.push(statement(sql))).await else { return };
    let depot = world.entity("depot");
    let named = Arc::clone(&world.database.catalogue().statements["by_city"]);
    let columns: Vec<&str> = named.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(columns, ["depot_id", "city", "how_many"]);
    let mut session = world.session(Flavor::MariaDb).await;
    rows(&mut session, create(&depot, &["city"], vec![vec![text("A' OR 1=1 --")], vec![text("B")]], &[]))
        .await;
    let call = |city: &str, limit| {
        let work = Work::Statement { statement: Arc::clone(&named), parameters: vec![text(city)], limit };
        Command::Run(BoundOperation { index: 0, entity: None, work, returning: Vec::new() })
    };

    assert_eq!(json(&rows(&mut session, call("A' OR 1=1 --", 9)).await), r#"[[1,"A' OR 1=1 --",1]]"#);
    assert_eq!(json(&rows(&mut session, call("", 1)).await), r#"[[1,"A' OR 1=1 --",1]]"#);
    let mut connection = world.database.pool.connection().await.unwrap();
    for wrong in ["DELETE FROM depot WHERE city = :city", "SELECT * FROM nothing WHERE a = :city", "SELECT 1"]
    {
        assert!(connection.describe(&statement(wrong)).await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_table_without_a_key_can_be_created_in_and_read_but_not_changed() {
    let Some(world) = World::open().await else { return };
    let journal = world.entity("journal");
    let mut session = world.session(Flavor::MariaDb).await;
    let make = || create(&journal, &["text"], vec![vec![text("a")]], &["text"]);

    assert_eq!(json(&rows(&mut session, make()).await), r#"[["a"]]"#);
    session.connection().server.flavor = Flavor::Mysql;
    assert_eq!(json(&rows(&mut session, make()).await), "[]", "there is nothing to read it back by");
    let must_hold = when(&journal, "text", Test::Eq(text("a")));
    let judged = create_if(&journal, &["text"], vec![vec![text("a")]], &[], must_hold);
    assert_eq!(error(&mut session, judged).await.code, DbErrorCode::RowForbidden);
    let gone = run(&journal, Work::Delete { condition: Condition::True, rows_max: 9 }, &["text"]);
    assert_eq!(error(&mut session, gone).await.code, DbErrorCode::Other);
    one(&mut session, Command::Commit).await;
    assert_eq!(world.sql("SELECT text FROM journal").await, ["a", "a"]);
}

#[tokio::test]
async fn a_key_of_a_sequence_is_drawn_for_each_row() {
    let Some(world) = World::open().await else { return };
    let mut ticket = world.database.catalogue().entities["ticket"].columns.clone();
    ticket[0].key = Some(KeyRule::Sequence("ticket_number".into()));
    let old = world.entity("ticket");
    let ticket = Arc::new(Entity {
        name: Arc::clone(&old.name),
        schema: None,
        table: Arc::clone(&old.table),
        view: false,
        columns: ticket,
        column_ids: old.column_ids.clone(),
        primary_key: old.primary_key.clone(),
        has_triggers: false,
        has_deferred_constraints: false,
        version: None,
        soft_delete: None,
        audit: Vec::new(),
        relations: Vec::new(),
        linked: Vec::new(),
        permissions: None,
    });
    let mut session = world.session(Flavor::MariaDb).await;

    let created = rows(
        &mut session,
        create(&ticket, &["text"], vec![vec![text("a")], vec![text("b")]], &["ticket_id", "text"]),
    )
    .await;

    assert_eq!(json(&created), r#"[[100,"a"],[101,"b"]]"#);
    let bare = rows(&mut session, create(&ticket, &[], vec![vec![]], &["ticket_id", "text"])).await;
    assert_eq!(json(&bare), "[[102,null]]");
}

#[rstest]
#[case::no_database("mysql://u:secret@127.0.0.1:3306", TlsMode::Auto, "names no database")]
#[case::open_network("mysql://u:secret@db.example.org/shop", TlsMode::Auto, "TLS")]
#[case::tls_asked_for("mysql://u:secret@127.0.0.1/shop", TlsMode::Require, "TLS")]
#[case::another_kind("postgres://u:secret@127.0.0.1/shop", TlsMode::Auto, "not one of MariaDB")]
fn an_address_that_cannot_be_used_is_refused_without_its_password(
    #[case] url: &str,
    #[case] tls: TlsMode,
    #[case] why: &str,
) {
    let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
    settings.url = Some(SecretUrl::new(url));
    settings.tls = tls;

    let refused = options(&settings).expect_err("it is refused").to_string();

    assert!(refused.contains(why) && !refused.contains("secret"), "{refused}");
}
