//! Faults as text: a TOML file with `[[rule]]` tables, or the same rules as a JSON array.
//!
//! A misspelt name anywhere is an error that says where it stands and what would have been right; a rule that
//! silently never strikes would make a test pass for nothing.

use crate::{
    faults::{Fault, FaultRule},
    org::OrgData,
    tables::{self, Api},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _},
};
use serde_json::{Map, Value};
use std::fmt;

/// Kinds of requests, as the journal tells them.
pub const KINDS: [&str; 31] = [
    "bulk_abort",
    "bulk_create",
    "bulk_delete",
    "bulk_info",
    "bulk_list",
    "bulk_result_pages",
    "bulk_results",
    "collection",
    "collection_dml",
    "composite",
    "composite_batch",
    "composite_graph",
    "describe",
    "dml",
    "identity",
    "limits",
    "other",
    "query",
    "query_more",
    "record",
    "record_count",
    "replication",
    "resources",
    "soap",
    "sobject",
    "sobjects",
    "token",
    "tooling_describe",
    "tooling_query",
    "tooling_sobjects",
    "userinfo",
];

/// Why faults were not taken.
#[derive(Debug, thiserror::Error)]
pub enum BadFaults {
    /// The text is no TOML, or a name in it is unknown.
    #[error("read the rules for faults: {0}")]
    Toml(Box<toml_edit::de::Error>),
    /// The text is no JSON, or a name in it is unknown.
    #[error("read the rules for faults: {0}")]
    Json(#[from] serde_json::Error),
    /// A rule can never strike, or more often than it says.
    #[error("rule {rule}: {why}")]
    Rule {
        /// Position, from 1.
        rule: usize,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<FaultRule>,
}

impl FaultRule {
    /// Reads rules from TOML: one `[[rule]]` each.
    ///
    /// # Errors
    /// When the text is no TOML, a name is unknown, or a rule contradicts itself.
    pub fn from_toml(text: &str) -> Result<Vec<Self>, BadFaults> {
        let file: File = toml_edit::de::from_str(text).map_err(|error| BadFaults::Toml(Box::new(error)))?;
        checked(file.rule)
    }

    /// Reads rules from a JSON array.
    ///
    /// # Errors
    /// When the text is no JSON, a name is unknown, or a rule contradicts itself.
    pub fn from_json(text: &[u8]) -> Result<Vec<Self>, BadFaults> {
        checked(serde_json::from_slice(text)?)
    }

    /// Whether each rule can strike in this org.
    ///
    /// # Errors
    /// When a rule names a kind of request or an object that is not there, or contradicts itself.
    pub(crate) fn check(rules: &[Self], org: &OrgData) -> Result<(), BadFaults> {
        let known = |name: &str| {
            let listed = |api| tables::find(org, name, api).is_some();
            org.position(name).is_some() || listed(Api::Data) || listed(Api::Tooling)
        };
        for (rule, at) in rules.iter().zip(1..) {
            let of_no_kind = rule.kind.as_ref().filter(|kind| !is_a_kind(kind));
            let on_nothing = rule.object.as_ref().filter(|object| !known(object));
            let why = match (of_no_kind, on_nothing) {
                (Some(kind), _) => Some(format!("no kind `{kind}` of requests, only {}", KINDS.join(", "))),
                (None, Some(object)) => Some(format!("no object `{object}` in this org")),
                (None, None) => contradiction(rule),
            };
            if let Some(why) = why {
                return Err(BadFaults::Rule { rule: at, why });
            }
        }
        Ok(())
    }
}

/// Whether requests of this kind can be in the journal.
pub fn is_a_kind(kind: &str) -> bool {
    KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

fn checked(rules: Vec<FaultRule>) -> Result<Vec<FaultRule>, BadFaults> {
    for (rule, at) in rules.iter().zip(1..) {
        if let Some(why) = contradiction(rule) {
            return Err(BadFaults::Rule { rule: at, why });
        }
    }
    Ok(rules)
}

fn contradiction(rule: &FaultRule) -> Option<String> {
    let choices = [rule.nth.is_some(), rule.every.is_some(), rule.probability.is_some()];
    if choices.iter().filter(|given| **given).count() > 1 {
        return Some("give at most one of `nth`, `every` and `probability`".to_owned());
    }
    if rule.nth == Some(0) || rule.every == Some(0) {
        return Some("`nth` and `every` count from 1".to_owned());
    }
    if rule.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
        return Some("`probability` is a number from 0 to 1".to_owned());
    }
    let status = match &rule.fault {
        Fault::Status { status, .. } | Fault::EmptyBody { status } | Fault::HugeError { status, .. } => {
            *status
        }
        _ => 200,
    };
    if !(200..600).contains(&status) {
        return Some(format!("`status` is {status}, not one of 200 to 599"));
    }
    None
}

/// A fault by its name alone, or as a table with the name as `type` beside its settings.
pub fn name_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
    struct NameOrTable;

    impl<'de> de::Visitor<'de> for NameOrTable {
        type Value = Fault;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("the name of a fault, or a table with its name as `type`")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Fault, E> {
            let table = Map::from_iter([("type".to_owned(), Value::from(name))]);
            fault(table).map_err(E::custom)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Fault, A::Error> {
            let table = Map::deserialize(de::value::MapAccessDeserializer::new(map))?;
            fault(table).map_err(A::Error::custom)
        }
    }

    deserializer.deserialize_any(NameOrTable)
}

fn fault(table: Map<String, Value>) -> Result<Fault, String> {
    let fault: Fault = serde_json::from_value(Value::Object(table.clone())).map_err(|e| e.to_string())?;
    // serde passes over what is beside the name of a fault without settings.
    let known = serde_json::to_value(&fault).map_err(|e| e.to_string())?;
    match table.keys().find(|key| known.get(key.as_str()).is_none()) {
        Some(key) => Err(format!("`{}` has no setting `{key}`", table["type"].as_str().unwrap_or_default())),
        None => Ok(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_file_names_faults_bare_or_with_their_settings() {
        let text = r#"
            [[rule]]
            kind = "query"
            nth = 3
            fault = "unavailable"

            [[rule]]
            object = "Lead"
            probability = 0.25
            seed = 9
            fault = { type = "slow_drip", bytes = 7 }
        "#;
        let rules = FaultRule::from_toml(text).unwrap();
        let drip = FaultRule::always(Fault::SlowDrip { bytes: 7, every_ms: 50 });
        let expected = vec![
            FaultRule::always(Fault::Unavailable).of_kind("query").nth(3),
            drip.on_object("Lead").with_probability(0.25, 9),
        ];
        assert_eq!(rules, expected);
        let json = serde_json::to_vec(&expected).unwrap();
        assert_eq!(FaultRule::from_json(&json).unwrap(), expected);
    }

    #[rstest]
    #[case("[[rule]]\nfault = \"earthquake\"", "unknown variant `earthquake`, expected one of `latency`")]
    #[case("[[rule]]\nfaults = \"latency\"", "unknown field `faults`")]
    #[case("[[rules]]\nfault = \"unavailable\"", "unknown field `rules`, expected `rule`")]
    #[case("[[rule]]\nfault = \"latency\"", "missing field `ms`")]
    #[case("[[rule]]\nfault = { type = \"slow_drip\", byte = 3 }", "`byte`")]
    #[case("[[rule]]\nfault = { type = \"gateway\", ms = 3 }", "`gateway` has no setting `ms`")]
    #[case("[[rule]]\nnth = 1\nevery = 2\nfault = \"gateway\"", "rule 1: give at most one of")]
    #[case("[[rule]]\nnth = 0\nfault = \"gateway\"", "rule 1: `nth` and `every` count from 1")]
    #[case("[[rule]]\nprobability = 7\nfault = \"gateway\"", "rule 1: `probability` is a number from 0 to 1")]
    #[case("[[rule]]\nfault = { type = \"empty_body\", status = 42 }", "rule 1: `status` is 42")]
    fn a_mistake_is_named(#[case] text: &str, #[case] says: &str) {
        let error = FaultRule::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
