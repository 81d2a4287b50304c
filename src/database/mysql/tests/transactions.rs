//! Flights, transactions, idempotency keys, locks, lost connections.

use super::*;

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
async fn a_key_of_more_than_a_day_ago_is_free() {
    let Some(world) = World::open().await else { return };
    let take = |fingerprint| Command::TakeKey { scope: "cd".repeat(32), fingerprint: [fingerprint; 32] };
    let mut session = world.session(Flavor::MariaDb).await;
    session.flight(vec![take(1), Command::Commit, begin()]).await.unwrap();
    let kept = StoredAnswer { fingerprint: [1; 32], status: None, body: Vec::new() };
    assert_eq!(one(&mut session, take(2)).await, Reply::Key(kept));
    session.flight(vec![Command::Rollback, begin()]).await.unwrap();
    world.sql("UPDATE penstock_batch_key SET created_at = created_at - INTERVAL 25 HOUR").await;

    assert_eq!(one(&mut session, take(2)).await, Reply::Done);

    session.flight(vec![Command::Commit, begin()]).await.unwrap();
    let taken_over = StoredAnswer { fingerprint: [2; 32], status: None, body: Vec::new() };
    assert_eq!(one(&mut session, take(3)).await, Reply::Key(taken_over));
}

#[tokio::test]
async fn nothing_runs_outside_of_a_transaction_and_none_begins_inside_of_another() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    let mut session = world.session(Flavor::MariaDb).await;
    rows(&mut session, create(&depot, &["city"], vec![vec![text("A")]], &[])).await;

    assert_eq!(error(&mut session, begin()).await.code, DbErrorCode::Other);
    one(&mut session, Command::Rollback).await;
    let outside = create(&depot, &["city"], vec![vec![text("B")]], &[]);
    assert_eq!(error(&mut session, outside).await.code, DbErrorCode::Other);

    assert_eq!(world.sql("SELECT city FROM depot").await, Vec::<String>::new());
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
    let slow = Command::Run(BoundOperation {
        index: 0,
        entity: None,
        work,
        returning: Vec::new(),
        handed: Handed::default(),
    });
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
async fn a_transaction_that_the_server_undid_for_a_changed_row_runs_nothing_more() {
    let Some(world) = World::open().await else { return };
    let depot = world.entity("depot");
    world.sql("INSERT INTO depot (city) VALUES ('A')").await;
    let mut session = world.session(Flavor::MariaDb).await;
    session.flight(vec![Command::Rollback]).await.unwrap();
    let strict = "SET SESSION innodb_snapshot_isolation = ON";
    if session.connection().conn.query_drop(strict).await.is_err() {
        // A server that does not have it undoes nothing.
        return;
    }
    let repeatable = TransactionSettings { isolation: Some(Isolation::RepeatableRead), ..settings() };
    let all = Work::Read { condition: Condition::True, sort: vec![], limit: 9, offset: 0, lock: Lock::None };
    let replies =
        session.flight(vec![Command::Begin(repeatable), run(&depot, all, &["city"])]).await.unwrap();
    assert!(matches!(replies[1], Reply::Rows(_)));
    world.sql("UPDATE depot SET country = 'BE'").await;

    let remove = run(&depot, Work::Delete { condition: Condition::True, rows_max: 9 }, &[]);
    assert_eq!(error(&mut session, remove).await.code, DbErrorCode::SerializationFailure);
    let late = create(&depot, &["city"], vec![vec![text("Late")]], &[]);
    assert_eq!(error(&mut session, late).await.code, DbErrorCode::SerializationFailure);

    session.flight(vec![Command::Rollback]).await.unwrap();
    assert_eq!(world.sql("SELECT city FROM depot").await, ["A"]);
}

#[tokio::test]
async fn a_connection_that_was_cancelled_is_not_given_back() {
    let Some(world) = World::open().await else { return };
    let mut session = world.session(Flavor::MariaDb).await;
    session.canceller().await;
    session.flight(vec![Command::Rollback]).await.unwrap();

    session.rest();

    assert_eq!(world.database.state().idle, 0, "the cancellation may come late");
}

#[tokio::test]
async fn keys_of_more_than_a_day_ago_are_forgotten() {
    let Some(world) = World::open().await else { return };
    let mut session = world.session(Flavor::MariaDb).await;
    let take = |scope: &str| Command::TakeKey { scope: scope.repeat(32), fingerprint: [1; 32] };
    session.flight(vec![take("ab"), Command::Commit, begin()]).await.unwrap();
    world.sql("UPDATE penstock_batch_key SET created_at = created_at - INTERVAL 25 HOUR").await;
    session.flight(vec![take("cd"), Command::Commit]).await.unwrap();

    session.connection().forget_old_keys().await;

    assert_eq!(world.sql("SELECT LEFT(scope, 2) FROM penstock_batch_key").await, ["cd"]);
}

#[tokio::test]
async fn a_secured_connection_checks_certificate_and_name() {
    let Some((server, certificate)) = TestServer::start_secured().await else { return };
    server.database("shop", "CREATE TABLE depot (depot_id INT PRIMARY KEY)").await;
    let open = |host: &str, tls, ca_file: Option<&std::path::Path>, more: &str| {
        let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
        let url = format!("mysql://root@{host}:{}/shop{more}", server.port());
        settings.url = Some(SecretUrl::new(&url));
        settings.tls = tls;
        settings.ca_file = ca_file.map(Into::into);
        MysqlDatabase::open(settings, SystemClock::shared())
    };
    let cipher = async |database: &MysqlDatabase| {
        let mut session = database.session().await;
        session.open().await.expect("a connection");
        let row: Option<(String, String)> =
            session.connection().conn.query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await.unwrap();
        row.expect("a row").1
    };
    let trusted = Some(&*certificate);

    let database = open("localhost", TlsMode::Require, trusted, "").await.expect("it is trusted");
    assert_ne!(cipher(&database).await, "");
    let why = |opened: Result<MysqlDatabase, DatabaseOpenError>| match opened {
        Ok(_) => panic!("it must not open"),
        Err(error) => error.to_string(),
    };
    let careless = "?require_ssl=true&verify_ca=false&verify_identity=false";
    assert!(
        why(open("localhost", TlsMode::Require, None, "").await).contains("away"),
        "nobody vouches for it"
    );
    assert!(why(open("localhost", TlsMode::Require, None, careless).await).contains("away"));
    assert!(why(open("127.0.0.1", TlsMode::Require, trusted, "").await).contains("away"), "another name");
    let key = certificate.with_extension("key");
    assert!(why(open("localhost", TlsMode::Require, Some(&key), "").await).contains("ca_file"));
    let database = open("127.0.0.1", TlsMode::Auto, None, "").await.expect("this machine needs none");
    assert_eq!(cipher(&database).await, "");
}

#[tokio::test]
async fn a_server_without_a_certificate_is_refused_where_one_is_required() {
    let Some(server) = TestServer::start().await else { return };
    server.database("shop", "CREATE TABLE depot (depot_id INT PRIMARY KEY)").await;
    let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
    settings.url = Some(SecretUrl::new(&server.url("shop")));
    settings.tls = TlsMode::Require;
    let refused = MysqlDatabase::open(settings, SystemClock::shared()).await;
    assert!(matches!(refused, Err(DatabaseOpenError::Away { .. })));
}
