//! Keys: answered once, and the same again.

use super::*;
use crate::batch::run::Ending;
use crate::batch::run::fake::Fault;
use crate::database::Command;
use rstest::rstest;

#[rstest]
#[case::atomic("{}")]
#[case::atomic_that_goes_on(r#"{"continueOnError":true}"#)]
#[case::one_by_one(r#"{"atomic":false}"#)]
fn a_repeat_gets_the_same_bytes_and_changes_nothing(#[case] options: &str) {
    let operations = [create_customer("a", "A"), create_customer("b", "B")];
    let order = Order::of(&operations.each_ref().map(String::as_str), options).key("k", 1);
    let mut fake = shop_with(&[]);
    let first = order.on(&mut fake);
    assert_eq!(first.status(), 200, "{}", first.json);
    let after = fake.committed.clone();
    let again = order.on(&mut fake);
    assert!(again.finished.replayed && !first.finished.replayed);
    assert_eq!(again.finished.answer, first.finished.answer);
    assert_eq!(fake.committed, after);
}

#[test]
fn a_key_of_another_body_is_refused() {
    let mut fake = shop_with(&[]);
    Order::of(&[&create_customer("a", "A")], "{}").key("k", 1).on(&mut fake);
    let told = Order::of(&[&create_customer("b", "B")], "{}").key("k", 2).on(&mut fake);
    assert_eq!((told.status(), told.at("/kind").as_str()), (422, Some("key_reused")));
    assert_eq!(customers(&fake), ["A"]);
}

#[test]
fn a_batch_that_kept_nothing_frees_its_key() {
    let mut fake = shop_with(&["A"]);
    let told = Order::of(&[&create_customer("a", "A")], "{}").key("k", 1).on(&mut fake);
    assert_eq!(told.status(), 400);
    assert!(fake.committed.keys.is_empty());
}

#[test]
fn a_batch_that_failed_after_it_kept_something_is_remembered() {
    let operations = [create_customer("a", "A"), create_customer("bad", "A")];
    let order = Order::of(&operations.each_ref().map(String::as_str), r#"{"atomic":false}"#).key("k", 1);
    let mut fake = shop_with(&[]);
    let first = order.on(&mut fake);
    assert_eq!(first.status(), 400);
    let again = order.on(&mut fake);
    assert_eq!(again.finished.answer, first.finished.answer);
    assert_eq!(again.finished.ending, Ending::Replayed);
}

/// A server that dies after the first commit: the transaction on its way is gone, the run too.
#[test]
fn a_repeat_after_a_crash_goes_on_after_what_was_kept() {
    let second = r#"{"id":"i","entity":"invoice","action":"create","store_params":{"customer_id":"$ref:a.customer_id","total":2.50}}"#;
    let operations = [create_customer("a", "A"), second.to_owned(), create_customer("b", "B")];
    let order = Order::of(&operations.each_ref().map(String::as_str), r#"{"atomic":false}"#).key("k", 1);
    let mut fake = shop_with(&[]);
    let mut commits = 0;
    fake.faults = Box::new(move |_, command| {
        commits += usize::from(matches!(command, Command::Commit));
        (commits >= 1 && matches!(command, Command::Begin(_))).then_some(Fault::Lost)
    });
    let crashed = order.on(&mut fake);
    assert_eq!(crashed.status(), 503, "{}", crashed.json);
    assert_eq!(customers(&fake), ["A"]);
    fake.faults = Box::new(|_, _| None);
    let told = order.on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(customers(&fake), ["A", "B"]);
    assert_eq!(told.at("/results/a/data/name"), "A");
    assert_eq!(fake.committed.rows["invoice"].len(), 1);
    assert_eq!(order.on(&mut fake).finished.answer, told.finished.answer);
}

#[test]
fn a_batch_of_reads_leaves_no_key() {
    let mut fake = shop_with(&["A"]);
    let told = Order::of(&[r#"{"entity":"customer","action":"read"}"#], "{}").key("k", 1).on(&mut fake);
    assert_eq!(told.status(), 200);
    assert!(fake.committed.keys.is_empty());
}
