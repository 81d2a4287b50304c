//! Random batches, against running their operations one at a time in the order of the plan.

use super::*;
use crate::batch::bind::BindContext;
use crate::batch::request::DataShape;
use crate::batch::run::fake::{Tables, apply};
use crate::batch::run::rows::{self, Asked};
use crate::batch::run::{Known, judge};
use proptest::prelude::*;
use rstest::rstest;

/// Results as JSON by id, until the first failure in stop mode; and the tables.
fn one_at_a_time(order: &Order, fake: &Fake) -> (Vec<(String, Option<serde_json::Value>)>, Tables) {
    let (request, plan) =
        parse(order.body.as_bytes(), &order.limits, OperationClaims::Refuse).expect("a valid batch");
    let (catalogue, caller) = (shop(), Caller::default());
    let cx = CheckContext {
        catalogue: &catalogue,
        caller: &caller,
        limits: &order.limits,
        options: &request.options,
    };
    let checked = check_all(&request.operations, &cx);
    let mut results = vec![None; request.operations.len()];
    let mut answers: Vec<(String, Option<serde_json::Value>)> = Vec::new();
    let mut tables = fake.committed.clone();
    let mut failed = false;
    let mut completed = vec![false; results.len()];
    for operation in plan.order {
        let id = request.operations[operation].id.to_string();
        let blocked = plan.dependencies[operation].iter().any(|awaited| !completed[*awaited]);
        if blocked || (failed && !request.options.continue_on_error) {
            answers.push((id, None));
            continue;
        }
        let before = tables.clone();
        let mut attempt = || -> Option<serde_json::Value> {
            let checked = checked[operation].as_ref().ok()?;
            let (mut bytes_left, mut warnings) = (order.limits.resolved_bytes, Vec::new());
            let mut cx = BindContext {
                now: jiff::Timestamp::UNIX_EPOCH,
                limits: &order.limits,
                new_uuid: &mut String::new,
                bytes_left: &mut bytes_left,
                warnings: &mut warnings,
            };
            let bound = checked.bind(&Known(&results), &mut cx).ok()?;
            let mut rows = apply(&mut tables, &catalogue, &bound).ok()?;
            let touched = if checked.is_count { rows::counted(&rows) } else { rows.count as u64 };
            if judge::unexpected(checked, &id, touched).is_some() {
                return None;
            }
            Asked::of(&bound).arrange(&mut rows);
            let data = rows::write_data(checked, &rows, &Vec::new(), DataShape::Auto);
            results[operation] = Some(rows::into_result(checked, rows, Vec::new()));
            serde_json::from_slice(&data).ok()
        };
        let answer = attempt();
        completed[operation] = answer.is_some();
        if answer.is_none() {
            failed = true;
            tables = before;
        }
        answers.push((id, answer));
    }
    if failed && request.options.atomic {
        tables = fake.committed.clone();
    }
    (answers, tables)
}

fn reference(kind: u8, targets: &[(usize, &str)], pick: usize, literal: i64) -> String {
    match targets.is_empty() || kind.is_multiple_of(3) {
        true => literal.to_string(),
        false => {
            let (target, column) = targets[pick % targets.len()];
            format!(r#""$ref:o{target}.{column}""#)
        }
    }
}

prop_compose! {
    fn step()(what in 0u8..12, kind in any::<u8>(), pick in any::<usize>(), literal in 1i64..6, name in "[a-d]", wait in 0usize..12)
        -> (u8, u8, usize, i64, String, usize) {
        (what, kind, pick, literal, name, wait)
    }
}

/// Operations that refer to earlier ones, with small numbers, so that they meet.
fn batch(steps: &[(u8, u8, usize, i64, String, usize)]) -> Vec<String> {
    let mut written = Vec::new();
    let mut customers: Vec<(usize, &str)> = Vec::new();
    let mut invoices: Vec<(usize, &str)> = Vec::new();
    for (index, (what, kind, pick, literal, name, wait)) in steps.iter().enumerate() {
        let customer = reference(*kind, &customers, *pick, *literal);
        let other = reference(kind / 3, &customers, pick / 7, *literal);
        let invoice = reference(*kind, &invoices, *pick, *literal);
        let (entity, action, body) = match what {
            0..=2 => (
                "customer",
                "create",
                format!(r#""store_params":{{"name":"{name}{index}","rank":{customer}}}"#),
            ),
            3 | 4 => (
                "invoice",
                "create",
                format!(r#""store_params":{{"customer_id":{customer},"total":{other}}}"#),
            ),
            5 => ("line", "create", format!(r#""store_params":{{"invoice_id":{invoice}}}"#)),
            6 => (
                "note",
                "create",
                format!(r#""store_params":{{"note_id":{},"text":"{name}"}}"#, literal * 10 + index as i64),
            ),
            7 => (
                "customer",
                "update",
                format!(r#""store_params":{{"rank":{literal}}},"query_params":{{"customer_id":{customer}}}"#),
            ),
            8 => ("customer", "read", format!(r#""query_params":{{"customer_id":{customer}}}"#)),
            9 => ("invoice", "read", format!(r#""query_params":{{"customer_id":{customer}}}"#)),
            10 => {
                ("line", "delete", format!(r#""query_params":{{"line_id":{literal}}},"expect":{{"min":0}}"#))
            }
            _ => ("customer", "read", String::from(r#""metadata_params":{"count":true}"#)),
        };
        match what {
            0..=2 => customers.push((index, "customer_id")),
            3 | 4 => invoices.push((index, "invoice_id")),
            _ => {}
        }
        let depends = if *wait < index { format!(r#","depends_on":["o{wait}"]"#) } else { String::new() };
        written
            .push(format!(r#"{{"id":"o{index}","entity":"{entity}","action":"{action}",{body}{depends}}}"#));
    }
    written
}

/// A create that would run ahead makes the very row that an earlier operation names by a number it guessed.
#[rstest]
#[case::a_foreign_key(
    r#"{"id":"i","entity":"invoice","action":"create","store_params":{"customer_id":4,"total":"$ref:c.customer_id"}}"#,
    400
)]
#[case::a_read(
    r#"{"id":"i","entity":"customer","action":"read","query_params":{"customer_id":4},"depends_on":["w"]}"#,
    200
)]
fn a_row_that_ran_ahead_is_not_met_by_those_before_it(#[case] guess: &str, #[case] status: u16) {
    let waits = r#"{"id":"w","entity":"invoice","action":"create","store_params":{"customer_id":"$ref:c.customer_id"}}"#;
    let order = Order::of(&[&create_customer("c", "A"), waits, guess, &create_customer("d", "B")], "{}");
    let mut fake = shop_with(&["Old", "Older"]);
    let (expected, tables) = one_at_a_time(&order, &fake);
    let told = order.on(&mut fake);
    assert_eq!(told.status(), status, "{}", told.json);
    assert!(fake.flights[0].len() > 2, "the second customer ran ahead: {:?}", fake.flights);
    assert_eq!(fake.committed, tables);
    for (id, answer) in expected.into_iter().filter_map(|(id, answer)| Some((id, answer?))) {
        assert_eq!(told.json["results"][&id]["data"], answer, "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn flights_and_hoisting_change_nothing(
        steps in prop::collection::vec(step(), 1..12),
        atomic in prop::bool::weighted(0.8),
        go_on in prop::bool::weighted(0.3),
    ) {
        let operations = batch(&steps);
        let options = format!(r#"{{"atomic":{atomic},"continueOnError":{go_on}}}"#);
        let order = Order::of(&operations.iter().map(String::as_str).collect::<Vec<_>>(), &options);
        let mut fake = shop_with(&["Old", "Older"]);
        let (expected, tables) = one_at_a_time(&order, &fake);
        let told = order.on(&mut fake);
        prop_assert_eq!(&fake.committed, &tables, "{} {:?}", told.json, fake.flights);
        for (id, answer) in expected {
            let entry = &told.json["results"][&id];
            match answer {
                Some(data) => prop_assert_eq!(&entry["data"], &data, "{} {}", id, &told.json),
                None => prop_assert!(entry["status"] != "completed", "{} {}", id, &told.json),
            }
        }
    }
}
