//! Org and target, row by row.

use std::collections::BTreeMap;

use penstock::sync::DeletePolicy;
use serde_json::Value;

use crate::org::{Org, Row};
use crate::target::Target;

/// Differences of which a failure shows the first.
const SHOWN: usize = 12;

/// What the target is to hold.
pub struct Expected<'e> {
    pub object: &'e str,
    pub deletes: DeletePolicy,
    /// Which rows the filter lets through.
    pub filter: &'e dyn Fn(&Row) -> bool,
}

/// Every difference between org and target, in words.
pub fn differences(org: &Org, target: &Target, expected: &Expected<'_>) -> Vec<String> {
    let object = expected.object;
    let table = object.to_lowercase();
    let (truth, found) = (org.rows(object), target.rows(&table));
    let is_compound = |field: &str| {
        matches!(
            org.field(object, field).field_type.as_str(),
            "address" | "location" | "complexvalue" | "base64"
        )
    };
    let mut told = Vec::new();
    let fields: Vec<&String> = truth.values().next().map(|row| row.keys().collect()).unwrap_or_default();
    let columns = target.columns(&table);
    for field in fields.iter().filter(|field| !columns.contains_key(**field) && !is_compound(field)) {
        told.push(format!("{object}.{field} has no column in use"));
    }
    for (id, row) in &truth {
        let is_deleted = row["IsDeleted"] == Value::Bool(true);
        let is_wanted = (expected.filter)(row) && !(is_deleted && expected.deletes == DeletePolicy::Remove);
        match (found.get(id), is_wanted) {
            (None, false) => {}
            (None, true) => told.push(format!("{object} {id} is missing: {}", brief(row))),
            (Some(_), false) => told.push(format!("{object} {id} should not be there: {}", brief(row))),
            (Some(cells), true) => told.extend(cell_differences(object, id, row, cells)),
        }
    }
    for (id, cells) in found.iter().filter(|(id, _)| !truth.contains_key(*id)) {
        // Who flags deleted rows keeps them for good.
        let is_flagged = matches!(cells["IsDeleted"].as_deref(), Some("1" | "t" | "true" | "True"));
        if !is_flagged || expected.deletes == DeletePolicy::Remove {
            told.push(format!("{object} {id} is gone at the org and not in the target"));
        }
    }
    told
}

/// As a failure shows them.
pub fn shown(differences: &[String]) -> String {
    let more = differences.len().saturating_sub(SHOWN);
    let mut text = differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

fn brief(row: &Row) -> String {
    format!("stamp {}, deleted {}", row["SystemModstamp"], row["IsDeleted"])
}

fn cell_differences(
    object: &str,
    id: &str,
    row: &Row,
    cells: &BTreeMap<String, Option<String>>,
) -> Vec<String> {
    let mut told = Vec::new();
    for (field, value) in row {
        let Some(cell) = cells.get(field) else { continue };
        if !is_same(value, cell.as_deref()) {
            told.push(format!(
                "{object} {id}.{field}: {value} at the org, {cell:?} in the target; {}",
                brief(row)
            ));
        }
    }
    told
}

/// One value as the org's JSON has it, and as the engine writes it.
pub fn is_same(org: &Value, target: Option<&str>) -> bool {
    let Some(text) = target else { return org.is_null() || org == "" };
    match org {
        Value::Null => false,
        Value::Bool(value) => {
            let read = match text {
                "1" | "t" | "true" | "True" => true,
                "0" | "f" | "false" | "False" => false,
                _ => return false,
            };
            read == *value
        }
        Value::Number(number) => number.as_f64().is_some_and(|number| text.parse() == Ok(number)),
        Value::String(value) => {
            value == text
                || moment(value).is_some_and(|at| moment(text) == Some(at))
                || is_same_time(value, text)
        }
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Milliseconds of `2026-01-02T03:04:05.000+0000` and what engines make of it.
fn moment(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes[4] != b'-' || !matches!(bytes[10], b'T' | b' ') || bytes[13] != b':' {
        return None;
    }
    let text = text.replacen(' ', "T", 1);
    let plain = ["+00:00", "+0000", "+00", "Z"].iter().find_map(|zone| text.strip_suffix(zone))?;
    format!("{plain}Z").parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// `10:00:00.000Z` and `10:00:00`.
fn is_same_time(org: &str, target: &str) -> bool {
    let read = |text: &str| text.trim_end_matches('Z').parse::<jiff::civil::Time>().ok();
    org.len() == 13 && org.ends_with('Z') && read(org).is_some() && read(org) == read(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!(null), None, true)]
    #[case(json!(null), Some(""), false)]
    #[case(json!("x"), None, false)]
    #[case(json!(true), Some("1"), true)]
    #[case(json!(true), Some("0"), false)]
    #[case(json!(12.5), Some("12.50"), true)]
    #[case(json!(12.5), Some("12.51"), false)]
    #[case(json!("0012"), Some("12"), false)]
    #[case(json!("2026-01-02T03:04:05.000+0000"), Some("2026-01-02T03:04:05.000Z"), true)]
    #[case(json!("2026-01-02T03:04:05.000+0000"), Some("2026-01-02 03:04:05+00"), true)]
    #[case(json!("2026-01-02T03:04:05.000+0000"), Some("2026-01-02 03:04:06+00:00"), false)]
    #[case(json!("10:00:00.000Z"), Some("10:00:00"), true)]
    #[case(json!("10:00:00.000Z"), Some("10:00:01"), false)]
    fn values_are_the_same_whatever_the_spelling(
        #[case] org: Value,
        #[case] target: Option<&str>,
        #[case] expected: bool,
    ) {
        assert_eq!(is_same(&org, target), expected);
    }
}
