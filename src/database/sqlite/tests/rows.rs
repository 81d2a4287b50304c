//! What goes in and comes out, and how it is found.

use super::*;

#[tokio::test]
async fn rows_are_created_read_changed_counted_and_removed() {
    let stand = stand();
    let oslo = stand.column("depot", "city", Test::Eq(text("Oslo")));
    let set = vec![(stand.entity("depot").column_id("stock").unwrap(), Assignment::Increment)];
    let done = stand
        .run(Script::once(vec![
            stand.create(
                "depot",
                &[("name", text("West")), ("city", text("Oslo"))],
                &["depot_id", "name", "stock"],
            ),
            stand.operation(
                "depot",
                &["name", "stock"],
                Work::Update { set, condition: oslo.clone(), must_hold: Condition::True, rows_max: 9 },
            ),
            stand.operation("depot", &[], Work::Count { condition: oslo }),
            stand.operation(
                "crate",
                &["crate_id", "label"],
                Work::Delete {
                    condition: stand.column("crate", "crate_id", Test::Eq(Value::Int(11))),
                    rows_max: 9,
                },
            ),
            stand.read("crate", &["label"], Condition::True),
        ]))
        .await;
    assert_eq!(done.error(), None);
    let answers: Vec<_> = done.rows().into_iter().map(json).collect();
    assert_eq!(
        answers,
        ["4,\"West\",0", "\"North\",1;\"West\",1", "2", "11,\"nuts\"", "\"bolts\";\"bolt cutters\""]
    );
    assert_eq!(stand.count("SELECT count(*) FROM depot WHERE stock = 1"), 2);
}

#[tokio::test]
async fn every_kind_of_column_comes_back_as_it_went_in() {
    let stand = stand();
    let fields = [
        ("written", text("2026-01-02T03:04:05")),
        ("armed", Value::Bool(true)),
        ("body", Value::Json("{\"a\": [1.50, null]}".into())),
        ("bytes", text("AAEC/w==")),
        ("price", Value::Number("12.34".into())),
    ];
    let names = fields.clone().map(|(name, _)| name);
    let done = stand.run(Script::once(vec![stand.create("note", &fields, &names)])).await;
    assert_eq!(done.error(), None);
    assert_eq!(done.rows()[0].cells, fields.map(|(_, value)| value));
    let refused = stand.create("note", &[("price", Value::Number("1234567890123456789.01".into()))], &[]);
    let done = stand.run(Script::once(vec![refused])).await;
    assert_eq!(done.code(), Some(DbErrorCode::TypeMismatch));
    assert_eq!(done.error().unwrap().column.as_deref(), Some("price"));
}

#[tokio::test]
async fn a_moment_is_found_whichever_way_it_was_written() {
    let stand = stand();
    stand
        .outside()
        .execute_batch(
            "INSERT INTO note (note_id, written) VALUES (1, '2026-01-02 03:04:05'), (2, '2026-01-02T03:04:05'),
             (3, '2026-01-02 03:04:05.5'), (4, '2026-01-01T23:59:59'), (5, '2026-01-03 00:00:00')",
        )
        .unwrap();
    let at = || text("2026-01-02T03:04:05");
    for (test, found) in [
        (Test::Eq(at()), "1;2"),
        (Test::Ne(at()), "3;4;5"),
        (Test::Lt(at()), "4"),
        (Test::Le(at()), "1;2;4"),
        (Test::Gt(at()), "3;5"),
        (Test::Ge(at()), "1;2;3;5"),
        (Test::In(vec![at()]), "1;2"),
        (Test::Between(at(), text("2026-01-02T03:04:05.5")), "1;2;3"),
    ] {
        let condition = stand.column("note", "written", test.clone());
        let done = stand.run(Script::once(vec![stand.read("note", &["note_id"], condition)])).await;
        assert_eq!(json(done.rows()[0]), found, "{test:?}");
    }
}

#[tokio::test]
async fn patterns_are_case_sensitive_and_literal_where_they_are_not_wild() {
    let stand = stand();
    let names = ["50%*", "50%?", "a_b", "A_b", "[x]", "x", "a\\b", "]", "ÄÖ"];
    for name in names {
        assert_eq!(stand.run(Script::once(vec![stand.depot(name)])).await.error(), None);
    }
    let literal = |text: &str| PatternPart::Literal(text.to_owned());
    for (parts, found) in [
        (vec![literal("50%*")], "\"50%*\""),
        (vec![literal("50%"), PatternPart::One], "\"50%*\";\"50%?\""),
        (vec![literal("a"), PatternPart::Any], "\"a_b\";\"a\\\\b\""),
        (vec![literal("[x]")], "\"[x]\""),
        (vec![PatternPart::One, literal("_b")], "\"a_b\";\"A_b\""),
        (vec![literal("]")], "\"]\""),
        (vec![literal("Ä"), PatternPart::One], "\"ÄÖ\""),
    ] {
        let condition = stand.column("depot", "name", Test::Like(Pattern(parts)));
        let done = stand.run(Script::once(vec![stand.read("depot", &["name"], condition)])).await;
        assert_eq!(json(done.rows()[0]), found);
    }
}

#[tokio::test]
async fn nulls_come_last_in_both_directions() {
    let stand = stand();
    let city = stand.entity("depot").column_id("city").unwrap();
    for (descending, found) in [(false, "\"Bari\";\"Oslo\";null"), (true, "\"Oslo\";\"Bari\";null")] {
        let sort = vec![SortKey { column: city, through: None, descending }];
        let work = Work::Read { condition: Condition::True, sort, limit: 5, offset: 0, lock: Lock::Update };
        let done = stand.run(Script::once(vec![stand.operation("depot", &["city"], work)])).await;
        assert_eq!(json(done.rows()[0]), found);
    }
}
