//! Items that were given up: named, listed, tried again, dropped.

use orgsim::{Fault, FaultRule};
use serde_json::{Value, json};

use super::support::{Org, Place, demo_org};
use super::{Duration, FEW_OBJECTS};

/// An org whose describe of Account is nonsense.
fn with_a_bad_account() -> (Org, Place) {
    let org = Org::with_latency(Duration::ZERO);
    org.faults().add(FaultRule::always(Fault::UnparsableDescribe).on_object("Account"));
    let place = Place::new(&format!("{}{FEW_OBJECTS}", demo_org(&org.url(), "")));
    (org, place)
}

fn letters(place: &Place) -> Vec<Value> {
    let listed = place.run(&["dead", "list", "--json"]).good().json();
    listed["dead_letters"].as_array().expect("a list").clone()
}

/// The objects that the documents of a place are about.
fn objects(place: &Place) -> Vec<String> {
    let mut objects: Vec<String> = place
        .documents()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["object"].to_string())
        .map(|quoted| quoted.trim_matches('"').to_owned())
        .collect();
    objects.dedup();
    objects
}

/// Account failed and is told everywhere; the others are there.
fn account_failed(place: &Place) {
    assert_eq!(objects(place), ["Asset", "Contact", "Opportunity"]);
    let failed = &place.report()["failedObjects"];
    assert!(failed.to_string().contains("Account"), "{failed}");
    let letters = letters(place);
    assert_eq!(letters.len(), 1, "{letters:?}");
    let error = letters[0]["error"].as_str().expect("an error");
    assert!(error.contains("`Account` could not be described"), "{error}");
    let shown = place.run(&["dead", "list"]).good().stdout;
    assert!(shown.contains("Account") && shown.contains(error), "{shown}");
}

/// Account came in after all.
fn account_came_in(place: &Place) {
    assert_eq!(letters(place), Vec::<Value>::new());
    assert_eq!(objects(place), ["Account", "Asset", "Contact", "Opportunity"]);
    assert_eq!(place.report()["failedObjects"], json!([]));
    let found = place.run(&["search", "Account", "--json"]).good().json();
    assert_eq!(found["hits"][0]["object"], "Account");
}

#[test]
fn an_unreadable_describe_fails_by_name_and_a_retry_without_a_daemon_brings_it_in() {
    let (org, place) = with_a_bad_account();
    let ended = place.run(&["schema", "--json"]).good();
    let report = &ended.json()["reports"][0];
    assert_eq!(report["objects_written"], 3, "{report}");
    assert!(report["objects_failed"]["Account"].is_string(), "{report}");
    account_failed(&place);
    // Tried again while the org still answers nonsense, it fails again and is not lost.
    let again = place.run(&["dead", "retry", "--json"]).good().json();
    assert_eq!(again["dead_letters_left"], 1, "{again}");
    account_failed(&place);
    org.faults().clear();
    place.run(&["dead", "retry"]).good();
    account_came_in(&place);
}

#[test]
fn an_unreadable_describe_is_tried_again_by_the_daemon() {
    let (org, place) = with_a_bad_account();
    let daemon = place.daemon();
    daemon.await_jobs("demo", 1);
    account_failed(&place);
    assert_eq!(daemon.metric("penstock_schema_objects_total{outcome=\"failed\"}"), Some(1.0));
    org.faults().clear();
    let number = letters(&place)[0]["number"].to_string();
    let said = place.run(&["dead", "retry", &number]).good().stdout;
    assert_eq!(said, format!("tried again: {number}; dead letters left: 0\n"));
    account_came_in(&place);
}

#[test]
fn a_dropped_letter_is_gone_and_a_number_that_is_none_is_told() {
    let (_org, place) = with_a_bad_account();
    place.run(&["schema"]).good();
    let number = letters(&place)[0]["number"].to_string();
    let wrong = place.run(&["dead", "drop", "4711"]);
    assert_eq!((wrong.code(), wrong.stderr.as_str()), (1, "penstock: there is no dead letter 4711\n"));
    assert_eq!(place.run(&["dead", "drop", &number]).good().stdout, format!("dropped: {number}\n"));
    assert_eq!(letters(&place), Vec::<Value>::new());
    assert_eq!(place.run(&["dead", "list"]).good().stdout, "no dead letters\n");
}
