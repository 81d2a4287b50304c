//! What depends on the server: transactions, keys, time limits, rights, the catalogue, ends and beginnings.

use super::*;

#[tokio::test]
async fn a_savepoint_takes_back_only_what_came_after_it() {
    let bench = bench(SHOP).await;
    let depot = bench.entity("depot");
    let one = |name: &str| bench.create(&depot, &["name"], vec![vec![text(name)]]);
    let mut session = PostgresSession::new(&bench.database);
    session.open().await.expect("a connection");
    let replies =
        session.flight(vec![begin(), one("a"), Command::Savepoint, one("a")]).await.expect("it stays");
    assert_eq!(code(&replies[3]), DbErrorCode::UniqueViolation);
    let replies = session
        .flight(vec![Command::RollbackToSavepoint, one("b"), Command::ReleaseSavepoint, Command::Commit])
        .await
        .expect("it stays");
    assert_eq!((&replies[0], &replies[3]), (&Reply::Done, &Reply::Done));
    assert_eq!(bench.rows("depot").await, [r#"[1,"a",null]"#, r#"[3,"b",null]"#]);
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_commit() {
    let bench =
        bench("CREATE TABLE a (id int PRIMARY KEY, other int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
            .await;
    let a = bench.entity("a");
    assert!(a.has_deferred_constraints);
    let create = bench.create(&a, &["id", "other"], vec![vec![Value::Int(1), Value::Int(7)]]);
    let replies = bench.fly(vec![begin(), create.clone(), Command::Commit]).await;
    assert_eq!(rows(&replies[1]).count, 1);
    assert_eq!(code(&replies[2]), DbErrorCode::ForeignKeyViolation);
    let replies = bench.fly(vec![begin(), create, Command::CheckConstraints, Command::Rollback]).await;
    assert_eq!(code(&replies[2]), DbErrorCode::ForeignKeyViolation);
    assert!(bench.rows("a").await.is_empty());
}

#[tokio::test]
async fn a_key_is_taken_once_and_its_answer_kept() {
    let bench = bench(SHOP).await;
    assert!(bench.database.keys_missing().is_none());
    let take = || Command::TakeKey { scope: "s".to_owned(), fingerprint: [7; 32] };
    let mut first = PostgresSession::new(&bench.database);
    first.open().await.expect("a connection");
    assert_eq!(first.flight(vec![begin(), take()]).await.expect("it stays"), [Reply::Done, Reply::Done]);
    // While it is held, nobody waits for it.
    let mut flight = vec![begin(), take()];
    flight.extend(depots(&bench, &["not stored"]));
    flight.push(Command::Commit);
    let replies = bench.fly(flight).await;
    assert_eq!(code(&replies[1]), DbErrorCode::KeyInFlight);
    assert_eq!(replies[2..], [Reply::NotRun, Reply::NotRun]);
    let answer = StoredAnswer { fingerprint: [7; 32], status: Some(200), body: vec![0, 255, b'{'] };
    let keep = Command::KeepAnswer { scope: "s".to_owned(), answer: answer.clone() };
    assert_eq!(
        first.flight(vec![keep, Command::Commit]).await.expect("it stays"),
        [Reply::Done, Reply::Done]
    );
    let replies = bench.fly(vec![begin(), take(), Command::Rollback]).await;
    assert_eq!(replies[1], Reply::Key(answer));
    assert_eq!(replies[2], Reply::Done, "the key may be the batch's own: it says what becomes of the rest");
    let drop_it = Command::DropKey { scope: "s".to_owned() };
    bench.fly(vec![begin(), drop_it, Command::Commit]).await;
    assert_eq!(bench.fly(vec![begin(), take(), Command::Rollback]).await[1], Reply::Done);
    assert!(bench.rows("depot").await.is_empty());
}

#[tokio::test]
async fn what_follows_a_transaction_that_did_not_begin_stores_nothing() {
    let bench = bench(SHOP).await;
    let mut session = PostgresSession::new(&bench.database);
    session.open().await.expect("a connection");
    // As if BEGIN had been stopped: the rest of the flight is at the server by then.
    let replies = session.flight(vec![depots(&bench, &["a"]).remove(0)]).await.expect("it stays");
    assert_eq!(code(&replies[0]), DbErrorCode::ReadOnly);
    assert!(bench.rows("depot").await.is_empty());
}

#[tokio::test]
async fn a_statement_that_takes_too_long_and_a_lock_that_is_not_had_are_told() {
    let bench = bench(SHOP).await;
    bench.sql("INSERT INTO depot (name) VALUES ('a')").await;
    let depot = bench.entity("depot");
    let lock = |lock| {
        bench.of(&depot, Work::Read { condition: Condition::True, sort: vec![], limit: 9, offset: 0, lock })
    };
    let mut holder = PostgresSession::new(&bench.database);
    holder.open().await.expect("a connection");
    holder.flight(vec![begin(), lock(Lock::Update)]).await.expect("it stays");
    let soon = |statement: u64, lock: u64| {
        let Command::Begin(settings) = begin() else { unreachable!() };
        Command::Begin(TransactionSettings {
            statement_timeout: Duration::from_millis(statement),
            lock_timeout: Duration::from_millis(lock),
            ..settings
        })
    };
    let replies = bench.fly(vec![soon(5_000, 50), lock(Lock::Share), Command::Commit]).await;
    assert_eq!(code(&replies[1]), DbErrorCode::LockTimeout);
    let replies = bench.fly(vec![soon(50, 5_000), lock(Lock::Share), Command::Commit]).await;
    assert_eq!(code(&replies[1]), DbErrorCode::StatementTimeout);
}

#[tokio::test]
async fn a_cancelled_flight_answers_and_its_connection_is_not_used_again() {
    let bench = bench(SHOP).await;
    bench.sql("CREATE VIEW slow AS SELECT 1 AS one, pg_sleep(30)::text AS nap").await;
    bench.database.reload().await.expect("it reads");
    let slow = bench.entity("slow");
    let mut session = PostgresSession::new(&bench.database);
    session.open().await.expect("a connection");
    let cancel = session.canceller();
    let clock = SystemClock::shared();
    let (replies, ()) = tokio::join!(
        session.flight(vec![begin(), bench.read(&slow, Condition::True), Command::Commit]),
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cancel.await;
        }
    );
    let replies = replies.expect("it answers");
    assert!(clock.elapsed() < Duration::from_secs(10));
    assert_eq!(code(&replies[1]), DbErrorCode::StatementTimeout);
    assert_eq!(replies[2], Reply::NotRun);
    session.rest();
    assert_eq!(bench.database.state().idle, 0);
}

#[tokio::test]
async fn a_named_statement_reads_with_bound_parameters_and_cannot_write() {
    let bench = bench_with(TestServer::shared(), SHOP, |settings, _| {
        let statement = |name: &str, sql: &str| StatementSettings {
            at: "database[0].statement[0]".to_owned(),
            name: name.into(),
            sql: sql.into(),
            parameters: vec![("least".into(), ColumnType::Int { bits: 64, unsigned: false })],
            roles: vec![],
        };
        settings.statements = vec![
            statement(
                "big",
                "SELECT depot_id, name, 1.50 AS price FROM depot WHERE depot_id >= :least -- end",
            ),
            statement("sneaky", "SELECT nextval('depot_depot_id_seq') AS n, :least AS least"),
        ];
    })
    .await
    .expect("it opens");
    bench.sql("INSERT INTO depot (name) VALUES ('a'), ('b''; DROP TABLE depot'), ('c')").await;
    let catalogue = bench.database.catalogue();
    let call = |name: &str, limit| {
        let statement = Arc::clone(&catalogue.statements[name]);
        let returning = (0..statement.columns.len()).collect();
        let work = Work::Statement { statement, parameters: vec![Value::Int(2)], limit };
        Command::Run(BoundOperation { index: 0, entity: None, work, returning, handed: Handed::default() })
    };
    let replies = bench.fly(vec![begin(), call("big", 10), call("big", 1), Command::Commit]).await;
    assert_eq!(json(rows(&replies[1])), [r#"[2,"b'; DROP TABLE depot",1.50]"#, r#"[3,"c",1.50]"#]);
    assert_eq!(rows(&replies[2]).count, 1);
    let mut flight = vec![begin(), call("big", 1)];
    flight.extend(depots(&bench, &["d"]));
    flight.push(call("sneaky", 1));
    let replies = bench.fly(flight).await;
    assert_eq!(rows(&replies[2]).count, 1, "what comes after may write");
    assert_eq!(code(&replies[3]), DbErrorCode::ReadOnly);
}

#[tokio::test]
async fn a_read_only_transaction_does_not_write_and_isolation_is_taken() {
    let bench = bench(SHOP).await;
    let Command::Begin(settings) = begin() else { unreachable!() };
    let read_only = Command::Begin(TransactionSettings {
        read_only: true,
        isolation: Some(Isolation::Serializable),
        ..settings
    });
    let mut flight = vec![read_only];
    flight.extend(depots(&bench, &["d"]));
    assert_eq!(code(&bench.fly(flight).await[1]), DbErrorCode::ReadOnly);
}

#[tokio::test]
async fn the_catalogue_says_what_the_tables_are() {
    let bench = bench(&format!(
        "{SHOP}; {TYPES}; CREATE TABLE penstock_own (id int); \
         CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10); \
         CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER on_part BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION noop(); \
         CREATE VIEW view AS SELECT 1 AS one; CREATE TABLE down (id int GENERATED ALWAYS AS IDENTITY (INCREMENT -1) PRIMARY KEY)"
    ))
    .await;
    let catalogue = bench.database.catalogue();
    let mut names: Vec<_> = catalogue.entities.keys().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["badge", "crate", "depot", "down", "kinds", "parted", "plain", "view"]);
    assert!(bench.entity("parted").has_triggers, "a trigger of a partition");
    assert!(bench.entity("view").view && !bench.entity("depot").has_triggers);
    assert!(!bench.database.known().about.is_ordered(&bench.entity("down")));
    let kinds = bench.entity("kinds");
    let types: HashMap<&str, &Column> = kinds.columns.iter().map(|column| (&*column.name, column)).collect();
    assert_eq!(types["cash"].column_type, ColumnType::Decimal);
    assert_eq!(&*types["padded"].native_type, "bpchar");
    assert_eq!(&*types["feeling"].native_type, "public.mood");
    assert!(matches!(&types["feeling"].column_type, ColumnType::Enum(labels) if labels.len() == 2));
    assert!(types["twice"].generated);
    assert_eq!(
        types["grid"].column_type,
        ColumnType::Array(Box::new(ColumnType::Int { bits: 32, unsigned: false }))
    );
    assert_eq!(bench.entity("crate").columns[0].key, Some(crate::batch::catalogue::KeyRule::Auto));
}

#[tokio::test]
async fn a_notification_reads_the_tables_again() {
    let bench = bench(SHOP).await;
    let batch = bench.create(&bench.entity("badge"), &["badge_code"], vec![vec![text("a")]]);
    bench.fly(vec![begin(), batch.clone(), Command::Commit]).await;
    // Listening begins in the background: say it until it is heard.
    for _ in 0..100 {
        bench.sql("ALTER TABLE badge ADD COLUMN IF NOT EXISTS since date; NOTIFY penstock_schema").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if bench.entity("badge").column_id("since").is_some() {
            return;
        }
    }
    panic!("the catalogue did not follow");
}

#[tokio::test]
async fn a_killed_server_is_told_and_comes_back() {
    let server = Arc::new(TestServer::start());
    let bench = bench_with(Arc::clone(&server), SHOP, |_, _| {}).await.expect("it opens");
    let mut lost = bench.database.lost_connections();
    let mut session = PostgresSession::new(&bench.database);
    session.open().await.expect("a connection");
    let mut flight = vec![begin()];
    flight.extend(depots(&bench, &["never"]));
    session.flight(flight).await.expect("it stays");
    server.kill();
    let outcome = session.flight(depots(&bench, &["never either"])).await;
    assert_eq!(outcome, Err(Lost { during_commit: false }));
    assert!(lost.has_changed().is_ok_and(|changed| changed));
    assert_eq!(*lost.borrow_and_update(), 1);
    assert_eq!(session.open().await, Err(Away));
    // Nobody hammers it: the next one is told without a try.
    let clock = SystemClock::shared();
    assert_eq!(session.open().await, Err(Away));
    assert!(clock.elapsed() < Duration::from_millis(50));
    server.launch();
    for _ in 0..100 {
        if session.open().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    session.rest();
    assert!(bench.rows("depot").await.is_empty());
}

#[tokio::test]
async fn a_commit_that_was_sent_to_a_dying_server_is_of_unknown_outcome() {
    let server = Arc::new(TestServer::start());
    let bench = bench_with(Arc::clone(&server), SHOP, |_, _| {}).await.expect("it opens");
    let mut session = PostgresSession::new(&bench.database);
    session.open().await.expect("a connection");
    let mut flight = vec![begin()];
    flight.extend(depots(&bench, &["perhaps"]));
    session.flight(flight).await.expect("it stays");
    server.kill();
    assert_eq!(session.flight(vec![Command::Commit]).await, Err(Lost { during_commit: true }));
}

const POLICIES: &str = "\
DO $$ BEGIN CREATE ROLE doorman LOGIN NOINHERIT; CREATE ROLE clerk; GRANT clerk TO doorman; \
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
CREATE TABLE parcel (parcel_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, courier text NOT NULL); \
ALTER TABLE parcel ENABLE ROW LEVEL SECURITY; \
CREATE POLICY own ON parcel USING (courier = nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'); \
GRANT SELECT, INSERT ON parcel TO clerk; GRANT CREATE ON SCHEMA public TO doorman; \
INSERT INTO parcel (courier) VALUES ('ann'), ('bob')";

fn by_database(settings: &mut DatabaseSettings) {
    settings.enforcement = Enforcement::Database { role_claim: "role".into(), anonymous_role: None };
}

#[tokio::test]
async fn in_database_mode_the_policies_decide() {
    let bench = bench_with(TestServer::shared(), POLICIES, |settings, url_as| {
        by_database(settings);
        settings.url = Some(SecretUrl::new(&url_as("doorman")));
    })
    .await
    .expect("it opens");
    let parcel = bench.entity("parcel");
    let as_who = |role: &str, sub: &str| {
        let Command::Begin(settings) = begin() else { unreachable!() };
        let claims = format!(r#"{{"sub":"{sub}"}}"#);
        Command::Begin(TransactionSettings {
            identity: Some(Identity { role: role.to_owned(), claims }),
            ..settings
        })
    };
    let create = |courier: &str| bench.create(&parcel, &["courier"], vec![vec![text(courier)]]);
    let take = Command::TakeKey { scope: "s".to_owned(), fingerprint: [1; 32] };
    let flight = vec![
        as_who("clerk", "ann"),
        take,
        bench.read(&parcel, Condition::True),
        create("ann"),
        create("bob"),
    ];
    let replies = bench.fly(flight).await;
    assert_eq!(replies[1], Reply::Done, "the key is not the role's business");
    assert_eq!(json(rows(&replies[2])), [r#"[1,"ann"]"#]);
    assert_eq!(rows(&replies[3]).count, 1);
    assert_eq!(code(&replies[4]), DbErrorCode::RowForbidden);
    let delete = bench.of(&parcel, Work::Delete { condition: Condition::True, rows_max: 9 });
    let replies = bench.fly(vec![as_who("clerk", "ann"), delete]).await;
    assert_eq!(code(&replies[1]), DbErrorCode::ActionForbidden);
    for role in ["postgres", "nobody_at_all"] {
        let replies =
            bench.fly(vec![as_who(role, "ann"), bench.read(&parcel, Condition::True), Command::Commit]).await;
        assert_eq!(code(&replies[0]), DbErrorCode::ActionForbidden, "{role}");
        assert_eq!(replies[1], Reply::NotRun);
    }
    // Without a role nothing is left of it for the next one.
    let replies = bench.fly(vec![begin(), bench.read(&parcel, Condition::True)]).await;
    assert_eq!(code(&replies[1]), DbErrorCode::ActionForbidden);
}

#[tokio::test]
async fn database_mode_refuses_a_login_that_policies_do_not_bind() {
    let superuser = bench_with(TestServer::shared(), POLICIES, |settings, _| by_database(settings)).await;
    assert!(superuser.err().is_some_and(|error| error.to_string().contains("superuser")));
    let sql = format!(
        "{POLICIES}; DO $$ BEGIN CREATE ROLE owner_login LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         ALTER TABLE parcel OWNER TO owner_login"
    );
    let owner = bench_with(TestServer::shared(), &sql, |settings, url_as| {
        by_database(settings);
        settings.url = Some(SecretUrl::new(&url_as("owner_login")));
    });
    assert!(owner.await.err().is_some_and(|error| error.to_string().contains("owns")));
}

#[tokio::test]
async fn sent_one_by_one_the_outcome_is_the_same() {
    let bench = bench_with(TestServer::shared(), SHOP, |settings, _| settings.pipeline = false)
        .await
        .expect("it opens");
    let mut flight = vec![begin()];
    flight.extend(depots(&bench, &["a", "b", "c", "d", "e"]));
    flight.push(Command::Commit);
    let replies = bench.fly(flight).await;
    assert!(replies[1..6].iter().all(|reply| rows(reply).merged == 0 && rows(reply).count == 1));
    assert_eq!(bench.rows("depot").await.len(), 5);
}

#[tokio::test]
async fn a_table_that_changed_under_a_prepared_statement_is_tried_again() {
    let bench = bench(SHOP).await;
    let plain = bench.entity("plain");
    let read = || bench.read(&plain, Condition::True);
    for _ in 0..2 {
        bench.fly(vec![begin(), read(), Command::Commit]).await;
    }
    bench.sql("ALTER TABLE plain ALTER COLUMN note TYPE varchar(9)").await;
    let replies = bench.fly(vec![begin(), read(), Command::Commit]).await;
    assert_eq!(code(&replies[1]), DbErrorCode::SerializationFailure);
    let replies = bench.fly(vec![begin(), read(), Command::Commit]).await;
    assert_eq!(rows(&replies[1]).count, 0);
}

#[tokio::test]
async fn sockets_of_this_machine_serve_too() {
    let server = TestServer::shared();
    let folder = server.sockets().display().to_string().replace('/', "%2F");
    let url = format!("postgresql://postgres@{folder}:{}/postgres", server.port());
    let mut settings = DatabaseSettings::new("main", DatabaseKind::Postgres);
    settings.url = Some(SecretUrl::new(&url));
    let database = PostgresDatabase::open(settings, SystemClock::shared()).await.expect("it opens");
    assert_eq!(database.state(), ConnectionsState { idle: 1, busy: 0, down: 7 });
}

fn kept_age(hours: u32) -> String {
    format!(
        "INSERT INTO penstock_batch_key (scope, fingerprint, body, made_at) \
         VALUES ('h{hours}', '', '', now() - interval '{hours} hours')"
    )
}

#[tokio::test]
async fn keys_of_yesterday_are_removed_and_younger_ones_stay() {
    let bench = bench(SHOP).await;
    bench.sql(&format!("{}; {}", kept_age(25), kept_age(23))).await;
    let opener = bench.database.opener();
    let (client, _end) = opener.connect(None).await.expect("a connection");
    let table = bench.database.known().about.key_table.clone().expect("there is one");
    opener.remove_old_keys(&client, &table).await;
    let left = client.query("SELECT scope FROM penstock_batch_key", &[]).await.expect("it reads");
    assert_eq!(left.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["h23"]);
}

#[tokio::test]
async fn a_login_without_the_right_to_create_learns_why_keys_are_missing() {
    let sql = format!(
        "{SHOP}; DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         GRANT SELECT (depot_id, name) ON depot TO guest; GRANT SELECT ON badge TO guest"
    );
    let bench = bench_with(TestServer::shared(), &sql, |settings, url_as| {
        settings.url = Some(SecretUrl::new(&url_as("guest")));
    })
    .await
    .expect("it opens");
    assert!(bench.database.keys_missing().is_some_and(|why| why.contains("penstock_batch_key")));
    let take = Command::TakeKey { scope: "s".to_owned(), fingerprint: [1; 32] };
    assert_eq!(code(&bench.fly(vec![begin(), take, Command::Rollback]).await[1]), DbErrorCode::Other);
    // Only what it may read is there at all.
    let mut names: Vec<_> = bench.database.catalogue().entities.keys().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["badge", "depot"]);
    assert_eq!(bench.entity("depot").column_id("city"), None);
}

#[tokio::test]
async fn only_what_must_be_judged_first_makes_a_flight_wait() {
    let bench = bench(SHOP).await;
    let about = Arc::clone(&bench.database.known().about);
    let depot = bench.entity("depot");
    let waits = |commands: &[Command]| {
        let mut standing = lower::Standing::default();
        let pieces = lower::pieces(commands, 0, true, &about, &mut standing);
        pieces.iter().filter(|piece| piece.waits).count()
    };
    let flight = |middle: Vec<Command>| {
        let mut commands = vec![begin()];
        commands.extend(middle);
        commands.push(Command::Commit);
        commands
    };
    let many = depots(&bench, &["a", "b", "c", "d"]);
    assert_eq!(waits(&flight(many.clone())), 0, "merged, where the whole flight can be done again");
    assert_eq!(waits(&[many.clone(), vec![Command::Commit]].concat()), 1, "merged in a later flight");
    let of = |condition: Condition| vec![bench.of(&depot, Work::Delete { condition, rows_max: 5 })];
    assert_eq!(waits(&flight(of(Condition::Column(0, Test::Eq(Value::Int(1)))))), 0, "one row at most");
    assert_eq!(waits(&flight(of(Condition::True))), 1, "how many rows is judged first");
    let must_hold = Condition::Column(1, Test::NotNull);
    let forbidden =
        bench.of(&depot, Work::Create { columns: vec![1], rows: vec![vec![text("a")]], must_hold });
    assert_eq!(waits(&flight(vec![forbidden])), 1, "a row that may not be there");
}

#[tokio::test]
async fn a_secured_connection_checks_certificate_and_name() {
    let server = TestServer::start();
    let certificate = server.secure();
    let open = |host: &str, tls, ca_file: Option<&std::path::Path>| {
        let mut settings = DatabaseSettings::new("main", DatabaseKind::Postgres);
        settings.url =
            Some(SecretUrl::new(&format!("postgresql://postgres@{host}:{}/postgres", server.port())));
        settings.tls = tls;
        settings.ca_file = ca_file.map(Into::into);
        PostgresDatabase::open(settings, SystemClock::shared())
    };
    let database = open("localhost", TlsMode::Require, Some(&certificate)).await.expect("it is trusted");
    let (client, _end) = database.opener().connect(None).await.expect("a connection");
    let secured = client
        .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
        .await
        .expect("it reads");
    assert!(secured.get::<_, bool>(0));
    // Cancelling goes over a secured connection as well.
    database.opener().for_batches().await.expect("a connection").canceller().await;
    let why = |opened: Result<Arc<PostgresDatabase>, DatabaseOpenError>| match opened {
        Ok(_) => panic!("it must not open"),
        Err(error) => error.to_string(),
    };
    assert!(why(open("localhost", TlsMode::Require, None).await).contains("away"), "nobody vouches for it");
    assert!(
        why(open("127.0.0.1", TlsMode::Require, Some(&certificate)).await).contains("away"),
        "it is for another name"
    );
    open("127.0.0.1", TlsMode::Auto, None).await.expect("this machine needs none");
}
