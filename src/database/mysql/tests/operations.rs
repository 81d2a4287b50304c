//! Creates, reads, updates and deletes: what they answer.

use super::*;

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
