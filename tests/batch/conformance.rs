//! The conformance cases of the batch contract, over HTTP against the real daemon, on each database.
//!
//! Every case starts from the same tables; a case is one request and compares the answer and the tables afterwards. Passed
//! cases are counted per group. What a database cannot do is listed by case, with the reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::service::Service;
use super::support::databases::Kind;
use super::tables::{Schema, number_of};

/// Cases that a database cannot pass, and why.
const EXCEPTIONS: [(Kind, &str, &str); 0] = [];

#[test]
fn every_conformance_case_holds_on_sqlite() {
    every_case_holds_on(Kind::Sqlite);
}

#[test]
fn every_conformance_case_holds_on_postgresql() {
    every_case_holds_on(Kind::Postgres);
}

#[test]
fn every_conformance_case_holds_on_mariadb() {
    every_case_holds_on(Kind::Mysql);
}

fn every_case_holds_on(kind: Kind) {
    let file: Value = serde_json::from_str(include_str!("conformance.json")).expect("the cases are JSON");
    let schema = Schema::new(file["entities"].as_object().expect("entities"));
    let service = Service::start(kind, &schema.definitions(kind), &schema.settings());
    let cases = file["cases"].as_array().expect("cases");
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut faults, mut excused) = (String::new(), 0);
    for case in cases {
        let id = case["id"].as_str().expect("an id");
        let tables = match &case["tables"] {
            Value::String(_) => &file["base_tables"],
            tables => tables,
        };
        let tables = tables.as_object().expect("tables");
        let found = run_case(&service, &schema, case, tables);
        let group = groups.entry(case["group"].as_str().expect("a group")).or_default();
        group.1 += 1;
        let exception = EXCEPTIONS.iter().find(|(of, one, _)| *of == kind && *one == id);
        match (found, exception) {
            (Ok(()), None) => group.0 += 1,
            (Ok(()), Some(_)) => {
                let _ = writeln!(faults, "{id}: is listed as an exception and passes");
            }
            (Err(_), Some(_)) => excused += 1,
            (Err(why), None) => {
                let _ = writeln!(faults, "{id} ({}): {why}", case["title"].as_str().unwrap_or_default());
            }
        }
    }
    let mut table = format!("{}:\n", kind.as_str());
    for (group, (passed, all)) in &groups {
        let _ = writeln!(table, "  {group:<14} {passed:>3} of {all:>3}");
    }
    println!("{table}  excused {excused}, all {}", cases.len());
    assert!(faults.is_empty(), "{table}{faults}");
    assert_eq!(cases.len(), 93, "the file has all its cases");
}

fn run_case(
    service: &Service,
    schema: &Schema,
    case: &Value,
    tables: &Map<String, Value>,
) -> Result<(), String> {
    schema.fill(&service.database, tables);
    let before = schema.contents(&service.database);
    let answer = service.post(&case["request"], case["claims"].as_object());
    let expected = &case["expect"];
    let said = || format!("answered {} {}", answer.status, answer.body);
    if Some(u64::from(answer.status)) != expected["http_status"].as_u64() {
        return Err(said());
    }
    if let Some(error) = expected.get("error") {
        if error["kind"] != answer.body["kind"] {
            return Err(format!("the kind is to be {}: {}", error["kind"], said()));
        }
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        for mention in error["mentions"].as_array().into_iter().flatten() {
            if !mention.as_str().is_some_and(|mention| detail.contains(mention)) {
                return Err(format!("the detail is to mention {mention}: {}", said()));
            }
        }
    }
    for key in ["success", "failedOperations", "rolledBack"] {
        let (wanted, had) = (expected.get(key), answer.body.get(key));
        // Refusals say more than the cases fix.
        if (wanted.is_some() || expected.get("error").is_none()) && wanted != had {
            return Err(format!("`{key}` is to be {wanted:?}: {}", said()));
        }
    }
    if let Some(results) = expected.get("results") {
        same_results(results, &answer.body["results"]).map_err(|why| format!("{why}: {}", said()))?;
    }
    let after = schema.contents(&service.database);
    match &expected["tables"] {
        Value::String(_) if after == before => Ok(()),
        Value::String(_) => Err(format!("the tables changed: {after:?}; {}", said())),
        tables => schema
            .compare(tables.as_object().expect("tables"), &after)
            .map_err(|why| format!("{why}; {}", said())),
    }
}

fn same_results(wanted: &Value, had: &Value) -> Result<(), String> {
    let (wanted, had) = (wanted.as_object().expect("results"), had.as_object().ok_or("no results")?);
    if wanted.keys().collect::<std::collections::BTreeSet<_>>() != had.keys().collect() {
        return Err("other operations answered".to_owned());
    }
    for (id, wanted) in wanted {
        let had = &had[id];
        let same = match wanted["status"].as_str() {
            // The sentence is ours; it must be there.
            Some("failed") => {
                had["status"] == "failed"
                    && had["statusCode"] == wanted["statusCode"]
                    && had["error"].as_str().is_some_and(|text| !text.is_empty())
                    && had.as_object().is_some_and(|fields| fields.len() == 3)
            }
            _ => matches(wanted, had),
        };
        if !same {
            return Err(format!("`{id}` is to be {wanted}"));
        }
    }
    Ok(())
}

/// By value: numbers as numbers, and the two matchers of the case file.
pub fn matches(wanted: &Value, had: &Value) -> bool {
    match (wanted, had) {
        (Value::Object(fields), _) if fields.contains_key("$type") => {
            fields["$type"] == "date-time"
                && had.as_str().is_some_and(|text| text.len() >= 19 && &text[10..11] == "T")
        }
        (Value::Object(fields), Value::Array(had)) if fields.contains_key("$unordered") => {
            let wanted = fields["$unordered"].as_array().expect("a list");
            wanted.len() == had.len() && wanted.iter().all(|one| had.iter().any(|other| matches(one, other)))
        }
        (Value::Object(wanted), Value::Object(had)) => {
            wanted.len() == had.len()
                && wanted.iter().all(|(key, one)| had.get(key).is_some_and(|other| matches(one, other)))
        }
        (Value::Array(wanted), Value::Array(had)) => {
            wanted.len() == had.len() && wanted.iter().zip(had).all(|(one, other)| matches(one, other))
        }
        (Value::Number(wanted), Value::Number(had)) => {
            number_of(&wanted.to_string()) == number_of(&had.to_string())
        }
        _ => wanted == had,
    }
}
