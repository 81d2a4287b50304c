//! How many flights a batch takes, and what is in them.

use super::*;
use crate::batch::run::fake::{Fault, failed};
use crate::database::{DbErrorCode, Reply};
use rstest::rstest;

fn invoice_of(id: &str, customer: &str) -> String {
    format!(
        r#"{{"id":"{id}","entity":"invoice","action":"create","store_params":{{"customer_id":"$ref:{customer}.customer_id","total":1.50}}}}"#
    )
}

fn line_of(id: &str, invoice: &str) -> String {
    format!(
        r#"{{"id":"{id}","entity":"line","action":"create","store_params":{{"invoice_id":"$ref:{invoice}.invoice_id"}}}}"#
    )
}

fn order(operations: &[String]) -> Order {
    Order::of(&operations.iter().map(String::as_str).collect::<Vec<_>>(), "{}")
}

#[test]
fn customer_invoice_and_lines_are_one_wait() {
    let operations = [
        create_customer("c", "Ada"),
        invoice_of("i", "c"),
        line_of("l1", "i"),
        line_of("l2", "i"),
        line_of("l3", "i"),
    ];
    let mut fake = shop_with(&[]);
    let told = order(&operations).on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(told.finished.waits, 1);
    assert_eq!(fake.flights, [vec!["begin", "run", "run", "run", "run", "run", "commit"]]);
    assert_eq!(fake.committed.rows["line"].len(), 3);
    assert_eq!(told.at("/results/l3/data/invoice_id"), told.at("/results/i/data/invoice_id"));
}

/// The second create needs the first one's answer.
#[rstest]
#[case::inside_of_a_text(r#"{"name":"A"}"#, r#"{"note_id":1,"text":"of $ref:{c.customer_id}"}"#)]
#[case::of_one_of_several_rows(r#"[{"name":"A"},{"name":"B"}]"#, r#"{"note_id":"$ref:c[1].customer_id"}"#)]
#[case::of_a_text(r#"{"name":"A"}"#, r#"{"note_id":1,"text":"$ref:c.name"}"#)]
#[case::that_may_be_null(r#"{"name":"A","rank":7}"#, r#"{"note_id":"$ref:c.rank"}"#)]
#[case::made_by_a_trigger(r#"{"text":"A"}"#, r#"{"note_id":"$ref:c.id"}"#)]
#[case::into_several_rows(r#"{"name":"A"}"#, r#"[{"note_id":"$ref:c.customer_id"},{"note_id":8}]"#)]
fn a_value_that_is_not_handed_over_is_waited_for(#[case] first: &str, #[case] second: &str) {
    let create = |id: &str, entity: &str, stored: &str| {
        format!(r#"{{"id":"{id}","entity":"{entity}","action":"create","store_params":{stored}}}"#)
    };
    let mut fake = shop_with(&[]);
    let entity = if first.contains("text") { "audited" } else { "customer" };
    let told = order(&[create("c", entity, first), create("n", "note", second)]).on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(fake.flights, [vec!["begin", "run"], vec!["run", "commit"]]);
}

#[test]
fn many_creates_of_one_entity_share_a_statement_instead_of_handing_their_values_over() {
    let customers = (0..9).map(|number| create_customer(&format!("c{number}"), &format!("C{number}")));
    let invoices = (0..9).map(|number| invoice_of(&format!("i{number}"), &format!("c{number}")));
    let operations: Vec<String> = customers.zip(invoices).flat_map(|(one, other)| [one, other]).collect();
    let mut fake = shop_with(&[]);
    let told = order(&operations).on(&mut fake);
    assert_eq!((told.status(), told.finished.waits), (200, 2), "{}", told.json);
}

#[test]
fn an_operation_that_fails_after_a_value_was_handed_over_fails_as_in_order() {
    let bad = r#"{"id":"bad","entity":"invoice","action":"create","store_params":{"customer_id":999}}"#;
    let operations = [create_customer("c", "Ada"), invoice_of("i", "c"), bad.to_owned(), line_of("l", "i")];
    let mut fake = shop_with(&[]);
    let told = order(&operations).on(&mut fake);
    assert_eq!(told.at("/results/bad/status"), "failed", "{}", told.json);
    assert_eq!(told.at("/results/l/status"), "skipped", "{}", told.json);
    let flight = vec!["begin", "run", "run", "run", "run", "commit"];
    assert_eq!(fake.flights, [flight, vec!["rollback"]], "it is the first that fails in order too");
    assert!(customers(&fake).is_empty());
}

#[test]
fn where_values_cannot_be_handed_over_they_are_waited_for() {
    let operations = [create_customer("c", "Ada"), invoice_of("i", "c")];
    let mut fake = shop_with(&[]);
    fake.faults =
        Box::new(|number, _| (number == 3).then(|| Fault::Reply(Reply::Failed(failed(DbErrorCode::Other)))));
    let told = order(&operations).on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    let first = vec!["begin", "run", "run", "commit"];
    assert_eq!(fake.flights, [first, vec!["rollback"], vec!["begin", "run"], vec!["run", "commit"]]);
}

/// Lines of two invoices in turn: two statements of many rows spare more than a wait.
#[test]
fn rows_that_share_a_statement_are_not_driven_apart() {
    let mut operations = vec![create_customer("c", "Ada"), invoice_of("a", "c"), invoice_of("b", "c")];
    operations.extend((0..6).map(|number| line_of(&format!("l{number}"), ["a", "b"][number % 2])));
    let mut fake = shop_with(&[]);
    let told = order(&operations).on(&mut fake);
    assert_eq!((told.status(), told.finished.waits), (200, 2), "{} {:?}", told.json, fake.flights);
}

/// The customers share a statement, since the read keeps their invoices waiting all the same.
#[test]
fn nothing_is_handed_over_behind_an_operation_that_waits() {
    let read = |id: &str| {
        format!(
            r#"{{"id":"{id}","entity":"customer","action":"read","query_params":{{"customer_id":"$ref:c0.customer_id"}}}}"#
        )
    };
    let mut operations: Vec<String> =
        (0..5).map(|number| create_customer(&format!("c{number}"), &format!("C{number}"))).collect();
    operations.push(read("r"));
    operations.extend((0..5).map(|number| invoice_of(&format!("i{number}"), "c1")));
    let run = order(&operations).run();
    assert!((0..operations.len()).all(|operation| run.facts.handovers.gives(operation).is_empty()));
    let mut fake = shop_with(&[]);
    assert_eq!(order(&operations).on(&mut fake).status(), 200);
}

#[test]
fn interleaved_customers_and_invoices_are_one_wait() {
    let mut operations = Vec::new();
    for customer in 0..5 {
        operations.push(create_customer(&format!("c{customer}"), &format!("C{customer}")));
        for invoice in 0..5 {
            operations.push(invoice_of(&format!("i{customer}{invoice}"), &format!("c{customer}")));
        }
    }
    let mut fake = shop_with(&[]);
    let told = order(&operations).on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(told.finished.waits, 1, "{:?}", fake.flights);
    assert_eq!(fake.committed.rows["invoice"].len(), 25);
    assert_eq!(told.at("/results/i43/data/customer_id"), &serde_json::json!(5));
}

#[test]
fn operations_that_need_nothing_are_one_wait() {
    let operations: Vec<String> =
        (0..20).map(|n| create_customer(&format!("c{n}"), &format!("C{n}"))).collect();
    let mut fake = shop_with(&[]);
    assert_eq!(order(&operations).on(&mut fake).finished.waits, 1);
    assert_eq!(customers(&fake).len(), 20);
}

#[test]
fn an_update_is_judged_before_the_commit() {
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":1}}"#;
    let mut fake = shop_with(&["Ada"]);
    assert_eq!(Order::of(&[update], "{}").on(&mut fake).finished.waits, 2);
    assert_eq!(fake.flights, [vec!["begin", "run"], vec!["commit"]]);
}

#[test]
fn an_update_in_the_middle_costs_no_wait_of_its_own() {
    let update = r#"{"id":"u","entity":"customer","action":"update","store_params":{"rank":1},"query_params":{"customer_id":1}}"#;
    let operations = [create_customer("c", "Bo"), update.to_owned(), invoice_of("i", "c")];
    let mut fake = shop_with(&["Ada"]);
    let told = order(&operations).on(&mut fake);
    assert_eq!(fake.flights, [vec!["begin", "run", "run", "run"], vec!["commit"]], "{}", told.json);
}

#[test]
fn a_batch_of_reads_commits_with_its_last_flight_and_says_that_it_only_reads() {
    let read = r#"{"id":"r","entity":"customer","action":"read","query_params":{"customer_id":1}}"#;
    let count = r#"{"id":"n","entity":"customer","action":"read","metadata_params":{"count":true}}"#;
    let mut fake = shop_with(&["Ada"]);
    let order = Order::of(&[read, count], "{}");
    assert!(order.run().is_read_only());
    let told = order.on(&mut fake);
    assert_eq!(fake.flights, [vec!["begin", "run", "run", "commit"]]);
    assert_eq!(fake.read_only, [true]);
    assert_eq!(told.at("/results/n/data"), &serde_json::json!({"count": 1}));
}

#[test]
fn a_read_that_locks_is_not_a_batch_that_only_reads() {
    let read = r#"{"entity":"customer","action":"read","metadata_params":{"lock":"update"}}"#;
    let free = r#"{"entity":"customer","action":"read","metadata_params":{"lock":"none"}}"#;
    assert!(!Order::of(&[read], "{}").run().is_read_only());
    assert!(Order::of(&[free], "{}").run().is_read_only());
}

#[test]
fn a_dry_run_checks_constraints_and_rolls_back_with_its_last_flight() {
    let mut fake = shop_with(&[]);
    let told = Order::of(&[&create_customer("c", "Ada")], r#"{"dryRun":true}"#).on(&mut fake);
    assert_eq!(fake.flights, [vec!["begin", "run", "check", "rollback"]]);
    assert_eq!(told.at("/success"), true);
    assert_eq!(told.at("/rolledBack"), true);
    assert_eq!(told.at("/meta/dryRun"), true);
    assert!(customers(&fake).is_empty());
}

#[test]
fn associations_are_one_more_flight_before_later_writes() {
    let read = r#"{"id":"r","entity":"customer","action":"read","metadata_params":{"properties":"name invoices:total"}}"#;
    let delete = r#"{"id":"d","entity":"invoice","action":"delete","query_params":{"invoice_id":1}}"#;
    let mut fake = shop_with(&["Ada", "Bo"]);
    let invoice = vec![Value::Int(1), Value::Int(2), Value::Number("1.50".into())];
    fake.committed.rows.get_mut("invoice").expect("a table").push(invoice);
    let told = Order::of(&[read, delete], "{}").on(&mut fake);
    assert_eq!(told.status(), 200, "{}", told.json);
    assert_eq!(fake.flights, [vec!["begin", "run"], vec!["run", "run"], vec!["commit"]]);
    let expected = serde_json::json!([
        {"name": "Ada", "invoices": []},
        {"name": "Bo", "invoices": [{"total": 1.5}]},
    ]);
    assert_eq!(told.at("/results/r/data"), &expected);
    assert!(fake.committed.rows["invoice"].is_empty());
}

#[test]
fn a_reference_reads_an_association() {
    let read = r#"{"id":"r","entity":"invoice","action":"read","query_params":{"invoice_id":1},"metadata_params":{"properties":"total customer:name"}}"#;
    let create = r#"{"id":"n","entity":"note","action":"create","store_params":{"note_id":1,"text":"for $ref:r.customer.name"}}"#;
    let mut fake = shop_with(&["Ada"]);
    let invoice = vec![Value::Int(1), Value::Int(1), Value::Null];
    fake.committed.rows.get_mut("invoice").expect("a table").push(invoice);
    let told = Order::of(&[read, create], "{}").on(&mut fake);
    assert_eq!(told.at("/results/n/data/text"), "for Ada", "{}", told.json);
}
