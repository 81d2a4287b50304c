//! What the writers promise, shown on SQLite's dialect.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::sqlite::work;
use super::*;
use crate::batch::catalogue::Column;
use crate::batch::operation::{Assignment, BoundOperation, Handed, Handover, Work};

fn entity(table: &str, columns: &[(&str, ColumnType, bool)], key: Vec<ColumnId>) -> Arc<Entity> {
    let columns: Vec<Column> = columns
        .iter()
        .map(|(name, column_type, nullable)| Column {
            name: (*name).into(),
            column_type: column_type.clone(),
            native_type: "".into(),
            nullable: *nullable,
            has_default: false,
            generated: false,
            key: None,
            injection: None,
        })
        .collect();
    Arc::new(Entity {
        name: table.into(),
        schema: None,
        table: table.into(),
        view: false,
        column_ids: columns
            .iter()
            .enumerate()
            .map(|(id, column)| (column.name.clone(), id))
            .collect::<HashMap<_, _>>(),
        columns,
        primary_key: key,
        has_triggers: false,
        has_deferred_constraints: false,
        version: None,
        soft_delete: None,
        audit: Vec::new(),
        relations: Vec::new(),
        linked: Vec::new(),
        permissions: None,
    })
}

const WHOLE: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

fn crates() -> Arc<Entity> {
    entity(
        "crate",
        &[("id", WHOLE, false), ("depot", WHOLE, true), ("la\"bel", ColumnType::Text, true)],
        vec![0],
    )
}

fn depots() -> Arc<Entity> {
    entity("depot", &[("id", WHOLE, false), ("city", ColumnType::Text, true)], vec![0])
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn bound(work: Work, returning: Vec<ColumnId>) -> BoundOperation {
    BoundOperation { index: 0, entity: Some(crates()), work, returning, handed: Handed::default() }
}

fn in_depot(city: &str) -> Condition {
    let condition = Box::new(Condition::Column(1, Test::Eq(text(city))));
    Condition::Related { entity: depots(), columns: vec![(1, 0)], condition }
}

#[rstest]
#[case(Condition::All(vec![]), "(1 = 1)")]
#[case(Condition::Any(vec![]), "(1 = 0)")]
#[case(Condition::Column(0, Test::In(vec![])), "(1 = 0)")]
#[case(Condition::Column(2, Test::NotIn(vec![])), r#"(t0."la""bel" IS NOT NULL)"#)]
#[case(Condition::Column(0, Test::NotIn(vec![Value::Int(1), Value::Int(2)])), r#"(NOT (t0."id" IN (?1, ?2)))"#)]
#[case(
    Condition::Column(0, Test::Between(Value::Int(1), Value::Int(2))),
    r#"(t0."id" >= ?1 AND t0."id" <= ?2)"#
)]
#[case(
    Condition::Column(0, Test::NotBetween(Value::Int(1), Value::Int(2))),
    r#"(t0."id" < ?1 OR t0."id" > ?2)"#
)]
#[case(Condition::Not(Box::new(Condition::Column(1, Test::IsNull))), r#"(NOT (t0."depot" IS NULL))"#)]
#[case(
    Condition::Any(vec![Condition::Column(0, Test::Eq(Value::Int(1))), in_depot("Oslo")]),
    r#"((t0."id" = ?1) OR (EXISTS (SELECT 1 FROM "depot" AS t1 WHERE t1."id" = t0."depot" AND (t1."city" = ?2))))"#
)]
fn a_condition_is_written(#[case] condition: Condition, #[case] written: &str) {
    let mut sql = SqlWriter::new(&super::sqlite::Sqlite);
    let at = sql.alias();
    sql.condition(&condition, &crates(), at);
    assert_eq!(sql.finish().text, written);
}

#[rstest]
#[case::gives(
    &[(0, 3)], &[], &[1],
    r#"INSERT INTO "crate" AS t0 ("depot") VALUES ($1::bigint) RETURNING set_config($2::text, t0."id"::text, true)::bigint, t0."la""bel""#
)]
#[case::takes(
    &[], &[(1, 4)], &[2],
    r#"INSERT INTO "crate" AS t0 ("la""bel", "depot") VALUES ($1::text, current_setting($2::text)::bigint) RETURNING t0."id", t0."la""bel""#
)]
#[case::takes_all(
    &[(0, 5)], &[(1, 4)], &[],
    r#"INSERT INTO "crate" AS t0 ("depot") VALUES (current_setting($1::text)::bigint) RETURNING set_config($2::text, t0."id"::text, true)::bigint, t0."la""bel""#
)]
fn a_create_hands_values_over(
    #[case] gives: &[(ColumnId, u32)],
    #[case] takes: &[(ColumnId, u32)],
    #[case] columns: &[ColumnId],
    #[case] written: &str,
) {
    let handovers = |all: &[(ColumnId, u32)]| {
        all.iter().map(|(column, name)| Handover { column: *column, name: *name }).collect::<Vec<_>>()
    };
    let work = Work::Create {
        columns: columns.to_vec(),
        rows: vec![columns.iter().map(|_| text("1")).collect()],
        must_hold: Condition::True,
    };
    let handed = Handed { gives: handovers(gives), takes: handovers(takes) };
    let [statement] = &super::postgres::statements(&BoundOperation { handed, ..bound(work, vec![0, 2]) })[..]
    else {
        panic!("one statement");
    };
    assert_eq!(statement.text, written);
    let names: Vec<&Value> = statement.parameters[columns.len()..].iter().map(|it| &it.value).collect();
    let expected = takes.iter().chain(gives).map(|(_, name)| text(&format!("penstock.value_{name}")));
    assert!(names.into_iter().eq(&expected.collect::<Vec<_>>()));
}

#[rstest]
#[case(
    Work::Create { columns: vec![1, 2], rows: vec![vec![Value::Int(1), text("a")]], must_hold: Condition::True },
    vec![0],
    r#"INSERT INTO "crate" ("depot", "la""bel") VALUES (?1, ?2) RETURNING "id""#
)]
#[case(
    Work::Create { columns: vec![], rows: vec![vec![]], must_hold: in_depot("Oslo") },
    vec![],
    r#"INSERT INTO "crate" DEFAULT VALUES RETURNING 1, (EXISTS (SELECT 1 FROM "depot" AS t0 WHERE t0."id" = "crate"."depot" AND (t0."city" = ?1)))"#
)]
#[case(
    Work::Update {
        set: vec![(1, Assignment::Increment)],
        condition: Condition::Column(0, Test::Eq(Value::Int(1))),
        must_hold: Condition::True,
        rows_max: 5,
    },
    vec![0],
    r#"UPDATE "crate" SET "depot" = "depot" + 1 WHERE ("crate"."id" = ?1) RETURNING "id""#
)]
#[case(
    Work::Delete { condition: Condition::Column(1, Test::Ne(Value::Int(1))), rows_max: 5 },
    vec![0, 2],
    r#"DELETE FROM "crate" WHERE ("crate"."id") IN (SELECT t0."id" FROM "crate" AS t0 WHERE (t0."depot" <> ?1) LIMIT ?2) RETURNING "id", "la""bel""#
)]
#[case(
    Work::Read {
        condition: Condition::True,
        sort: vec![
            SortKey { column: 1, through: Some((depots(), vec![(1, 0)])), descending: true },
            SortKey { column: 0, through: None, descending: false },
        ],
        limit: 5,
        offset: 2,
        lock: Lock::Update,
    },
    vec![0],
    r#"SELECT t0."id" FROM "crate" AS t0 ORDER BY (SELECT t1."city" FROM "depot" AS t1 WHERE t1."id" = t0."depot" LIMIT 1) DESC NULLS LAST, t0."id" LIMIT ?1 OFFSET ?2"#
)]
fn a_statement_of_sqlite_is_written(
    #[case] asked: Work,
    #[case] returning: Vec<ColumnId>,
    #[case] written: &str,
) {
    assert_eq!(work(&bound(asked, returning)).unwrap().text, written);
}

#[test]
fn the_judge_of_a_new_row_has_its_values_in_every_round() {
    let rows = vec![vec![Value::Int(1)], vec![Value::Int(2)]];
    let asked = Work::Create { columns: vec![1], rows, must_hold: in_depot("Oslo") };
    let work = work(&bound(asked, vec![0])).unwrap();
    let values: Vec<Vec<&Value>> =
        work.rounds.iter().map(|round| round.iter().map(|parameter| &parameter.value).collect()).collect();
    let oslo = text("Oslo");
    assert_eq!(values, [[&Value::Int(1), &oslo], [&Value::Int(2), &oslo]]);
    assert!(work.judged);
}

/// Tests of a text column with this text in them.
fn tests_of(sent: &str) -> Vec<Test> {
    let pattern = Pattern(vec![PatternPart::Any, PatternPart::Literal(sent.to_owned()), PatternPart::One]);
    let value = || text(sent);
    vec![
        Test::Eq(value()),
        Test::Ne(value()),
        Test::Lt(value()),
        Test::Ge(value()),
        Test::In(vec![value(), value()]),
        Test::NotIn(vec![value()]),
        Test::Between(value(), value()),
        Test::NotBetween(value(), value()),
        Test::Like(pattern.clone()),
        Test::NotLike(pattern),
    ]
}

proptest! {
    #[test]
    fn no_text_of_a_request_reaches_sql(sent in "\\PC{1,24}", chosen in 0..10_usize) {
        // Marked, so that a text that stands in the statement anyway (`1`, `AND`) is not taken for a leak.
        let sent = format!("\u{2603}{sent}");
        let condition = || Condition::Column(2, tests_of(&sent).swap_remove(chosen)).and(in_depot(&sent));
        let value = || text(&sent);
        let works = [
            Work::Create { columns: vec![2], rows: vec![vec![value()], vec![value()]], must_hold: condition() },
            Work::Read { condition: condition(), sort: Vec::new(), limit: 1, offset: 0, lock: Lock::None },
            Work::Count { condition: condition() },
            Work::Update {
                set: vec![(2, Assignment::Value(value()))],
                condition: condition(),
                must_hold: condition(),
                rows_max: 3,
            },
            Work::Delete { condition: condition(), rows_max: 3 },
        ];
        for asked in works {
            let work = work(&bound(asked, vec![0, 2])).unwrap();
            prop_assert!(!work.text.contains('\u{2603}'), "{}", work.text);
            prop_assert!(work.text.is_ascii());
            // And it is bound, each time that the statement is run.
            let of_request = |parameter: &Parameter| matches!(&parameter.value, Value::Text(text) if text.contains('\u{2603}'));
            prop_assert!(work.rounds.iter().all(|round| round.iter().any(of_request)));
        }
    }

    #[test]
    fn equal_shapes_have_equal_texts(one in "\\PC*", other in "\\PC*", chosen in 0..10_usize) {
        let shape = |sent: &str| {
            let condition = Condition::Column(2, tests_of(sent).swap_remove(chosen));
            work(&bound(Work::Count { condition }, vec![])).unwrap().text
        };
        prop_assert_eq!(shape(&one), shape(&other));
    }
}

#[test]
fn a_thousand_alternatives_nest_no_deeper_than_sqlite_takes() {
    // As the rows of a page ask for their associations over a key of two columns.
    let both = |number| {
        let is = |column| Condition::Column(column, Test::Eq(Value::Int(number)));
        Condition::All(vec![is(0), is(1)])
    };
    let condition = Condition::Any((0..1_100).map(both).collect());
    let count = BoundOperation {
        index: 0,
        entity: Some(crates()),
        work: Work::Count { condition },
        returning: Vec::new(),
        handed: Handed::default(),
    };
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE crate (id INTEGER, depot INTEGER)").unwrap();
    connection.prepare(&work(&count).unwrap().text).unwrap();
}
