//! Databases that fail: at random places, in every way. Whatever happens, a run ends and says what is true.

use super::*;
use crate::batch::run::Ending;
use crate::batch::run::fake::{Fault, Faults, failed};
use crate::database::{Command, DbErrorCode, Reply, Rows, StoredAnswer};
use proptest::prelude::*;
use rstest::rstest;

fn on_run(code: DbErrorCode, times: usize) -> Faults {
    let mut left = times;
    Box::new(move |_, command| {
        if !matches!(command, Command::Run(_)) || left == 0 {
            return None;
        }
        left -= 1;
        Some(Fault::Reply(Reply::Failed(failed(code))))
    })
}

#[rstest]
#[case(DbErrorCode::SerializationFailure, "serialization_failure", "{}")]
#[case(DbErrorCode::Deadlock, "deadlock", r#"{"atomic":false}"#)]
#[case(DbErrorCode::Busy, "busy", r#"{"continueOnError":true}"#)]
fn contention_is_tried_three_times_more(
    #[case] code: DbErrorCode,
    #[case] reason: &str,
    #[case] options: &str,
) {
    let mut fake = shop_with(&[]);
    fake.faults = on_run(code, 3);
    let told = Order::of(&[&create_customer("c", "Ada")], options).on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(told.at("/meta/attempts"), 4);
    assert_eq!(told.finished.retries, [reason; 3]);
    assert_eq!(fake.pauses.len(), 3);
    assert_eq!(customers(&fake), ["Ada"]);
}

#[test]
fn contention_that_stays_is_answered_with_503() {
    let mut fake = shop_with(&[]);
    fake.faults = on_run(DbErrorCode::SerializationFailure, 9);
    let told = Order::of(&[&create_customer("c", "Ada")], "{}").on(&mut fake);
    assert_eq!(told.status(), 503);
    assert_eq!(told.at("/kind"), "contention");
    assert_eq!(told.finished.answer.retry_after, Some(1));
    assert_eq!(told.at("/results/c/statusCode"), 503);
    assert_eq!(told.at("/rolledBack"), true);
}

fn lose(nth: usize, fault: Fault) -> Faults {
    Box::new(move |number, _| (number == nth).then(|| fault.clone()))
}

#[test]
fn a_connection_lost_before_commit_is_tried_once_more() {
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":1}}"#;
    let mut fake = shop_with(&["Ada"]);
    fake.faults = lose(2, Fault::Lost);
    let told = Order::of(&[update], "{}").on(&mut fake);
    assert_eq!(told.status(), 200);
    assert_eq!(told.at("/meta/attempts"), 2);
    fake.faults = Box::new(|_, command| matches!(command, Command::Run(_)).then_some(Fault::Lost));
    let told = Order::of(&[update], "{}").on(&mut fake);
    assert_eq!((told.status(), told.finished.ending), (503, Ending::Rejected));
    assert_eq!(told.at("/rolledBack"), true);
}

#[rstest]
#[case(Fault::Lost, 0)]
#[case(Fault::LostAfter, 1)]
fn a_connection_lost_in_commit_leaves_the_outcome_unknown(#[case] fault: Fault, #[case] kept: usize) {
    let mut fake = shop_with(&[]);
    fake.faults = lose(3, fault);
    let told = Order::of(&[&create_customer("c", "Ada")], "{}").on(&mut fake);
    assert_eq!(told.status(), 503);
    assert_eq!(told.at("/outcome"), "unknown");
    assert_eq!(told.at("/rolledBack"), &serde_json::Value::Null);
    assert_eq!((told.at("/success"), customers(&fake).len()), (&serde_json::json!(false), kept));
}

fn codes() -> impl Strategy<Value = DbErrorCode> {
    prop::sample::select(vec![
        DbErrorCode::UniqueViolation,
        DbErrorCode::SerializationFailure,
        DbErrorCode::Deadlock,
        DbErrorCode::Busy,
        DbErrorCode::LockTimeout,
        DbErrorCode::StatementTimeout,
        DbErrorCode::KeyInFlight,
        DbErrorCode::ConnectionLost,
        DbErrorCode::DiskFull,
        DbErrorCode::TooManyRows,
        DbErrorCode::Other,
    ])
}

/// Replies that answer nothing that was asked; never to a COMMIT, which a database either carries out or not.
fn nonsense() -> impl Strategy<Value = Reply> {
    prop::sample::select(vec![
        Reply::NotRun,
        Reply::Rows(Rows { width: 3, count: 5, cells: vec![Value::Null; 7], merged: 0 }),
        Reply::Rows(Rows { width: 0, count: 4, cells: Vec::new(), merged: 9 }),
        Reply::Rows(Rows { width: 1, count: usize::MAX, cells: vec![Value::Null], merged: 1 }),
        Reply::Key(StoredAnswer { fingerprint: [1; 32], status: None, body: b"{}".to_vec() }),
    ])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => codes().prop_map(|code| Fault::Reply(Reply::Failed(failed(code)))),
        1 => nonsense().prop_map(Fault::Reply),
        1 => Just(Fault::Lost),
        1 => Just(Fault::LostAfter),
    ]
}

fn operations() -> Vec<String> {
    let invoice = r#"{"id":"i","entity":"invoice","action":"create","store_params":{"customer_id":"$ref:a.customer_id"}}"#;
    let read = r#"{"id":"r","entity":"customer","action":"read","metadata_params":{"properties":"name invoices:total"}}"#;
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":1}}"#;
    let stale =
        r#"{"id":"s","entity":"document","action":"delete","query_params":{"document_id":1,"version":7}}"#;
    vec![
        create_customer("a", "A"),
        invoice.into(),
        create_customer("b", "B"),
        read.into(),
        update.into(),
        stale.into(),
        create_customer("c", "C"),
    ]
}

#[test]
fn a_connection_that_is_lost_while_the_answer_is_stored_is_not_asked_for_a_rollback() {
    let all = operations();
    let chosen: Vec<&str> = all.iter().map(String::as_str).skip(4).take(2).collect();
    for lost in 1..20 {
        let order = Order::of(&chosen, r#"{"atomic":false,"continueOnError":false}"#).key("k", 1);
        let mut fake = shop_with(&["Old"]);
        fake.faults = Box::new(move |number, _| {
            (number == lost).then(|| Fault::Reply(Reply::Failed(failed(DbErrorCode::ConnectionLost))))
        });
        // The fake panics at a rollback without a transaction.
        order.on(&mut fake);
        assert!(fake.open.is_none(), "command {lost}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn whatever_a_database_does_the_answer_says_what_is_true(
        faults in prop::collection::btree_map(1usize..40, fault(), 0..6),
        atomic in any::<bool>(),
        go_on in any::<bool>(),
        keyed in any::<bool>(),
        first in 0usize..7,
        count in 1usize..8,
    ) {
        let all = operations();
        let mut chosen: Vec<&str> = all.iter().map(String::as_str).cycle().skip(first).take(count).collect();
        let has_customer = chosen.iter().any(|one| one.contains(r#""id":"a""#));
        chosen.retain(|one| has_customer || !one.contains("$ref:a."));
        prop_assume!(!chosen.is_empty());
        let options = format!(r#"{{"atomic":{atomic},"continueOnError":{go_on}}}"#);
        let mut order = Order::of(&chosen, &options);
        if keyed {
            order = order.key("k", 1);
        }
        let mut fake = shop_with(&["Old"]);
        let before = fake.committed.clone();
        fake.faults = Box::new(move |number, command| match (faults.get(&number), command) {
            (Some(Fault::Reply(reply)), Command::Commit) if !matches!(reply, Reply::Failed(_)) => None,
            (fault, _) => fault.cloned(),
        });
        let told = order.on(&mut fake);
        let unknown = told.at("/outcome") == "unknown";
        prop_assert!(fake.open.is_none() || told.finished.ending != Ending::Ok, "a transaction was left open");
        if atomic {
            let kept = fake.commits > 0;
            if told.at("/rolledBack") == true || !told.json["success"].as_bool().unwrap_or(false) && !unknown {
                prop_assert_eq!(&fake.committed, &before, "{}", told.json);
            }
            let success = told.at("/success") == true;
            // A COMMIT that kept nothing, of a batch that only reads, may be tried again and then fail.
            let kept_something = kept && fake.committed != before;
            prop_assert!(!kept_something || success || unknown, "{}", told.json);
            prop_assert!(!success || kept, "{}", told.json);
        } else if told.json["results"].is_object() {
            let created = ["a", "b", "c"].iter().filter(|id| told.json["results"][**id]["status"] == "completed").count();
            let there = customers(&fake).len() - 1;
            prop_assert!(there == created || unknown && there == created + 1, "{there} {}", told.json);
            prop_assert_eq!(told.at("/rolledBack"), &serde_json::Value::Null);
        }
    }
}
