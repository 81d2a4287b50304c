//! The demo, on a few objects of its org.

use serde_json::Value;

use super::support::{Ended, Place};

const FEW: (&str, &str) = ("PENSTOCK__SCHEMA__INCLUDE", "Account, Opportunity");

fn demo(place: &Place, arguments: &[&str]) -> Ended {
    place.run_with(&[&["demo"], arguments].concat(), &[FEW]).good()
}

fn customers(place: &Place) -> Value {
    let count = "{\"operations\": [{\"id\": \"all\", \"entity\": \"customer\", \"action\": \"read\", \
                 \"metadata_params\": {\"count\": true}}]}";
    std::fs::write(place.config().with_file_name("count.json"), count).expect("write it");
    // The built-in configuration, whose state folder the demo used.
    std::fs::rename(place.config(), place.config().with_extension("aside")).expect("move it");
    let answer = place.run(&["batch", "count.json"]).good().json();
    std::fs::rename(place.config().with_extension("aside"), place.config()).expect("move it back");
    answer["results"]["all"]["data"]["count"].clone()
}

#[test]
fn the_demo_sends_a_batch_once_however_often_it_is_run() {
    let place = Place::new("");
    let first = demo(&place, &[]);
    let at = |part: &str| first.stdout.find(part).unwrap_or_else(|| panic!("no `{part}`\n{}", first.stdout));
    assert!(first.stdout.starts_with("demo: 2 of 2 objects in the library"), "{}", first.stdout);
    assert!(at("? who may edit invoices") < at("batch: 3 dependent writes in one transaction"));
    at("invoice_line_id 3  invoice_id = $ref:bill.invoice_id\n  committed  together, in ");
    assert!(first.stdout.ends_with("\nAsk your own: penstock search \"...\"\n"), "{}", first.stdout);
    assert_eq!(customers(&place), 3, "two of the example, one of the batch");

    let again = demo(&place, &["--json"]).json();
    assert_eq!(again["batch"]["success"], true);
    assert_eq!(again["batch"]["results"]["line"]["data"]["invoice_line_id"], 3);
    assert_eq!(customers(&place), 3, "a repeat of the same day makes nothing twice");
}
