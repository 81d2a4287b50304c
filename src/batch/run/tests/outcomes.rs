//! What becomes of each operation, and of the whole.

use super::*;
use crate::batch::run::fake::{Fault, failed};
use crate::database::{Command, DbErrorCode, Reply};
use rstest::rstest;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// `one` and `two` are fine, `bad` repeats a name, `kid` waits for `bad`.
fn four() -> [String; 4] {
    let kid =
        r#"{"id":"kid","entity":"note","action":"create","store_params":{"note_id":1},"depends_on":["bad"]}"#;
    [
        create_customer("one", "One"),
        create_customer("bad", "Ada"),
        kid.to_owned(),
        create_customer("two", "Two"),
    ]
}

fn run_four(options: &str) -> (Told, Fake) {
    let mut fake = shop_with(&["Ada"]);
    let operations = four();
    let told = Order::of(&operations.each_ref().map(String::as_str), options).on(&mut fake);
    (told, fake)
}

#[rstest]
#[case::atomic_stop("{}", 400, ["completed", "failed 409", "skipped Batch stopped", "skipped Batch stopped"], true, 1)]
#[case::atomic_go_on(r#"{"continueOnError":true}"#, 200, ["completed", "failed 409", "skipped Dependency failed", "completed"], true, 1)]
#[case::single_stop(r#"{"atomic":false}"#, 400, ["completed", "failed 409", "skipped Batch stopped", "skipped Batch stopped"], false, 2)]
#[case::single_go_on(r#"{"atomic":false,"continueOnError":true}"#, 200, ["completed", "failed 409", "skipped Dependency failed", "completed"], false, 3)]
fn all_four_ways_to_treat_a_failure(
    #[case] options: &str,
    #[case] status: u16,
    #[case] outcomes: [&str; 4],
    #[case] rolled_back: bool,
    #[case] kept: usize,
) {
    let (told, fake) = run_four(options);
    assert_eq!(told.status(), status, "{}", told.json);
    assert_eq!(["one", "bad", "kid", "two"].map(|id| told.outcome(id)), outcomes);
    assert_eq!(told.at("/rolledBack").as_bool().unwrap_or(false), rolled_back);
    assert_eq!(told.at("/failedOperations"), &serde_json::json!(["bad"]));
    assert_eq!(told.at("/meta/operations/bad/code"), "unique_violation");
    assert_eq!(customers(&fake).len(), kept);
    assert!(!told.json.to_string().contains("secret of the database"));
    if status == 400 {
        assert_eq!(told.at("/cause/operation"), "bad");
        assert_eq!(told.at("/kind"), "operation_failed");
    } else {
        assert_eq!(told.at("/meta/operations/kid/blockedBy"), &serde_json::json!(["bad"]));
    }
}

#[test]
fn a_static_fault_stops_an_atomic_batch_before_any_transaction() {
    let bad = r#"{"id":"bad","entity":"customer","action":"create","store_params":{"colour":"red"}}"#;
    let mut fake = shop_with(&[]);
    let told = Order::of(&[&create_customer("one", "One"), bad], "{}").on(&mut fake);
    assert_eq!(fake.commands, 0);
    assert_eq!(told.status(), 400);
    assert_eq!(told.outcome("one"), "skipped Batch stopped");
    assert_eq!(told.outcome("bad"), "failed 400");
    assert_eq!(told.at("/rolledBack"), true);
}

#[test]
fn an_operation_that_ran_ahead_of_the_failed_one_is_skipped() {
    let first = create_customer("c", "Ada");
    let blocked = r#"{"id":"i","entity":"invoice","action":"create","store_params":{"customer_id":999,"total":"$ref:c.customer_id"}}"#;
    let ahead = r#"{"id":"n","entity":"note","action":"create","store_params":{"note_id":1}}"#;
    let mut fake = shop_with(&[]);
    let told = Order::of(&[&first, blocked, ahead], "{}").on(&mut fake);
    assert_eq!(
        ["c", "i", "n"].map(|id| told.outcome(id)),
        ["completed", "failed 409", "skipped Batch stopped"]
    );
    assert_eq!(told.at("/meta/attempts"), 1);
    assert!(fake.committed.rows["note"].is_empty());
}

#[test]
fn an_update_of_nothing_fails_and_what_came_after_it_is_undone() {
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":9}}"#;
    let mut fake = shop_with(&["Ada"]);
    let told = Order::of(&[update, &create_customer("c", "Bo")], "{}").on(&mut fake);
    assert_eq!(told.outcome("u"), "failed 400");
    assert_eq!(told.at("/meta/operations/u/code"), "no_rows");
    assert_eq!(told.at("/meta/operations/u/stale"), &serde_json::Value::Null);
    assert_eq!(customers(&fake), ["Ada"]);
}

#[rstest]
#[case::alone(&[], true)]
#[case::with_a_failure_behind_it_in_the_same_flight(&["Ada", "Ada"], true)]
fn a_stale_version_is_told_from_a_missing_row(#[case] behind: &[&str], #[case] stale: bool) {
    let create = r#"{"id":"d","entity":"document","action":"create","store_params":{"text":"a"}}"#;
    let update = r#"{"id":"u","entity":"document","action":"update","store_params":{"text":"b"},"query_params":{"document_id":1,"version":7},"depends_on":["d"]}"#;
    let mut operations = vec![create.to_owned(), update.to_owned()];
    operations.extend(behind.iter().enumerate().map(|(n, name)| create_customer(&format!("c{n}"), name)));
    let mut fake = shop_with(&[]);
    let told = Order::of(&operations.iter().map(String::as_str).collect::<Vec<_>>(), "{}").on(&mut fake);
    assert_eq!(told.at("/meta/operations/u/code"), "no_rows", "{}", told.json);
    assert_eq!(told.at("/meta/operations/u/stale"), stale);
    assert_eq!(told.outcome("d"), "completed");
}

#[rstest]
#[case(r#"{"rows":2}"#, "failed 400")]
#[case(r#"{"min":3}"#, "failed 400")]
#[case(r#"{"min":1,"max":3}"#, "completed")]
fn a_read_that_expects_rows(#[case] expect: &str, #[case] outcome: &str) {
    let read = format!(
        r#"{{"id":"r","entity":"customer","action":"read","query_params":{{"customer_id":1}},"expect":{expect}}}"#
    );
    let mut fake = shop_with(&["Ada"]);
    assert_eq!(Order::of(&[&read], "{}").on(&mut fake).outcome("r"), outcome);
}

#[test]
fn a_read_with_more_rows_is_truncated_and_has_a_cursor() {
    let read = r#"{"id":"r","entity":"customer","action":"read"}"#;
    let mut fake = shop_with(&["A", "B", "C"]);
    let mut order = Order::of(&[read], "{}");
    order.limits.default_read_rows = 2;
    let told = order.on(&mut fake);
    assert_eq!(told.at("/results/r/data").as_array().map(Vec::len), Some(2));
    assert_eq!(told.at("/meta/operations/r/truncated"), true);
    assert!(told.at("/meta/operations/r/nextCursor").is_string());
    assert_eq!(told.at("/meta/operations/r/rows"), 2);
}

#[test]
fn results_that_are_too_large_are_refused_and_nothing_is_kept() {
    let read = r#"{"id":"r","entity":"customer","action":"read"}"#;
    let mut fake = shop_with(&["Ada", "Bo"]);
    let mut order = Order::of(&[&create_customer("c", "Cy"), read], "{}");
    order.limits.result_bytes = 80;
    let told = order.on(&mut fake);
    assert_eq!(told.outcome("r"), "failed 413", "{}", told.json);
    assert_eq!(customers(&fake).len(), 2);
}

#[rstest]
#[case(r#"{"return":"none"}"#, serde_json::json!(null))]
#[case(r#"{"return":"keys"}"#, serde_json::json!({"customer_id": 1}))]
#[case(r#"{"dataShape":"rows"}"#, serde_json::json!([{"customer_id": 1, "name": "Ada", "rank": null}]))]
fn data_has_the_shape_that_was_asked_for(#[case] options: &str, #[case] data: serde_json::Value) {
    let mut fake = shop_with(&[]);
    let told = Order::of(&[&create_customer("c", "Ada")], options).on(&mut fake);
    assert_eq!(told.at("/results/c/data"), &data);
}

#[rstest]
#[case::in_order(r#"{"atomic":true}"#)]
#[case::dry(r#"{"dryRun":true}"#)]
fn a_constraint_that_fails_at_the_end_has_no_operation_to_blame(#[case] options: &str) {
    let mut fake = shop_with(&[]);
    fake.faults = Box::new(|_, command| {
        let end = matches!(command, Command::Commit | Command::CheckConstraints);
        end.then(|| Fault::Reply(Reply::Failed(failed(DbErrorCode::ForeignKeyViolation))))
    });
    let told = Order::of(&[&create_customer("c", "Ada")], options).on(&mut fake);
    assert_eq!(told.status(), 400);
    assert_eq!(told.at("/kind"), "operation_failed");
    assert_eq!(told.at("/cause/operation"), &serde_json::Value::Null);
    assert_eq!(told.at("/rolledBack"), true);
    assert!(fake.open.is_none());
}

#[test]
fn a_client_that_hangs_up_before_commit_keeps_nothing() {
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":1}}"#;
    let mut fake = shop_with(&["Ada"]);
    let order = Order::of(&[update], "{}");
    let cancelled = order.watch.cancelled.clone();
    fake.faults = Box::new(move |_, command| {
        if matches!(command, Command::Run(_)) {
            cancelled.store(true, Ordering::Release);
        }
        None
    });
    let told = order.on(&mut fake);
    assert_eq!(fake.flights, [vec!["begin", "run"], vec!["rollback"]]);
    assert_eq!(told.status(), 504);
    assert_eq!(told.at("/rolledBack"), true);
}

#[test]
fn a_batch_that_takes_too_long_is_rolled_back() {
    let mut fake = shop_with(&[]);
    fake.elapsed = Duration::from_millis(50);
    let told = Order::of(&[&create_customer("c", "Ada")], r#"{"timeoutMs":20}"#).on(&mut fake);
    assert_eq!((told.status(), fake.commands), (504, 0));
    assert_eq!(told.outcome("c"), "skipped Batch stopped");
}

#[test]
fn lines_of_a_batch_that_is_not_atomic_leave_after_each_commit_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    let operations = four();
    let mut order =
        Order::of(&operations.each_ref().map(String::as_str), r#"{"atomic":false,"continueOnError":true}"#);
    order.watch.lines = Some(Arc::new(move |line| heard.lock().expect("no panic").push(line.id.to_string())));
    order.on(&mut shop_with(&["Ada"]));
    assert_eq!(*seen.lock().expect("no panic"), ["one", "bad", "kid", "two"]);
}
