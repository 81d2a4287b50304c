//! What the server says of tables and named statements, and how it is reached.

use super::*;

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
    let call_for = |city: &str, limit, returning: &[usize]| {
        let work = Work::Statement { statement: Arc::clone(&named), parameters: vec![text(city)], limit };
        Command::Run(BoundOperation {
            index: 0,
            entity: None,
            work,
            returning: returning.to_vec(),
            handed: Handed::default(),
        })
    };
    let call = |city: &str, limit| call_for(city, limit, &[0, 1, 2]);

    assert_eq!(json(&rows(&mut session, call("A' OR 1=1 --", 9)).await), r#"[[1,"A' OR 1=1 --",1]]"#);
    assert_eq!(json(&rows(&mut session, call("", 1)).await), r#"[[1,"A' OR 1=1 --",1]]"#);
    assert_eq!(json(&rows(&mut session, call_for("B", 9, &[2, 0])).await), "[[1,2]]");
    assert_eq!(rows(&mut session, call_for("", 9, &[])).await.count, 2);
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
#[case::a_socket_that_must_be_secured(
    "mysql://u:secret@localhost/shop?socket=%2Frun%2Fmysqld.sock",
    TlsMode::Require,
    "TLS"
)]
#[case::another_kind("postgres://u:secret@127.0.0.1/shop", TlsMode::Auto, "not one of MariaDB")]
fn an_address_that_cannot_be_used_is_refused_without_its_password(
    #[case] url: &str,
    #[case] tls: TlsMode,
    #[case] why: &str,
) {
    let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
    settings.url = Some(SecretUrl::new(url));
    settings.tls = tls;

    let refused = options(&settings, None).expect_err("it is refused").to_string();

    assert!(refused.contains(why) && !refused.contains("secret"), "{refused}");
}

#[rstest]
#[case::over_a_network("mysql://u@db.example.org/shop", TlsMode::Auto, true)]
#[case::whatever_the_address_says(
    "mysql://u@db.example.org/shop?require_ssl=true&verify_ca=false",
    TlsMode::Auto,
    true
)]
#[case::to_this_machine("mysql://u@127.0.0.1/shop", TlsMode::Auto, false)]
#[case::to_this_machine_by_another_name("mysql://u@localhost/shop?require_ssl=true", TlsMode::Auto, false)]
#[case::asked_for("mysql://u@127.0.0.1/shop", TlsMode::Require, true)]
#[case::waived("mysql://u@db.example.org/shop", TlsMode::Disable, false)]
fn a_connection_is_secured_and_checked_where_it_leaves_the_machine(
    #[case] url: &str,
    #[case] tls: TlsMode,
    #[case] secured: bool,
) {
    let mut settings = DatabaseSettings::new("main", DatabaseKind::Mysql);
    settings.url = Some(SecretUrl::new(url));
    settings.tls = tls;

    let opts = options(&settings, None).expect("it can be used");

    assert_eq!(opts.ssl_opts().is_some(), secured);
    assert!(opts.ssl_opts().is_none_or(|tls| !tls.accept_invalid_certs() && !tls.skip_domain_validation()));
}
