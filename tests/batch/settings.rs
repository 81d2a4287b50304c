//! What the case file says of an entity, as a section of the configuration.

use std::fmt::Write as _;

use serde_json::Value;

/// `[[database.entity]]` with what the database cannot know of it.
pub fn entity_section(name: &str, entity: &Value) -> String {
    let mut section = format!("[[database.entity]]\nname = '{name}'\n");
    if let Some(version) = entity["concurrency"].as_str() {
        let _ = writeln!(section, "version = '{version}'");
    }
    let mut injected = Vec::new();
    for (column, property) in entity["properties"].as_object().expect("properties") {
        if let Some(soft) = property.get("soft_delete") {
            let _ = writeln!(section, "soft_delete = {}", soft_delete(column, soft));
        }
        if let Some(inject) = property.get("inject") {
            injected.push(format!("{column} = {{ value = {}, on = {} }}", inject["value"], inject["on"]));
        }
    }
    if !injected.is_empty() {
        let _ = writeln!(section, "inject = {{ {} }}", injected.join(", "));
    }
    for (action, rules) in entity["permissions"]["default"].as_object().into_iter().flatten() {
        let _ = writeln!(section, "[database.entity.permissions.{action}]");
        for (role, rule) in rules.as_object().expect("rules") {
            let _ = writeln!(section, "'{role}' = {}", toml(rule));
        }
    }
    section
}

fn soft_delete(column: &str, soft: &Value) -> String {
    let mut parts = vec![format!("column = '{column}'")];
    for key in ["strategy", "active_value", "values", "delete_value"] {
        if let Some(value) = soft.get(key) {
            parts.push(format!("{key} = {}", toml(value)));
        }
    }
    format!("{{ {} }}", parts.join(", "))
}

fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // A JSON list, text or switch is TOML as it stands.
        other => other.to_string(),
    }
}
