//! Makes an answer that is valid against a JSON schema, always the same for the same question.

use serde_json::{Map, Value, json};

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// Not at all.
    Nothing,
    /// Every number is text, every text a number.
    Types,
    /// Every number is 900.
    Range,
}

/// Deepest nesting: a schema may contain itself.
const DEEPEST: usize = 12;

const SENTENCES: [&str; 6] = [
    "✅ The company name agrees with the domain of the e-mail address.",
    "⚠️ The number of employees could not be confirmed from general knowledge.",
    "✅ The website belongs to the company named.",
    "❌ The enriched company differs from the one that the lead gave.",
    "⚠️ No external knowledge of this company was available.",
    "✅ Country and state fit together.",
];

/// A small generator of chance, the same everywhere.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

/// An answer to the question with this fingerprint.
pub fn answer(schema: &Value, fingerprint: u64, spoil: Spoil) -> Value {
    Maker { root: schema, chance: Chance(fingerprint), spoil }.value(schema, "", 0)
}

struct Maker<'a> {
    root: &'a Value,
    chance: Chance,
    spoil: Spoil,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(target) = schema["$ref"].as_str() {
            let target = target.strip_prefix('#').and_then(|path| self.root.pointer(path));
            return target.map_or(Value::Null, |target| self.value(target, name, depth + 1));
        }
        if let Some(one) = schema.get("const") {
            return one.clone();
        }
        if let Some(all) = schema["enum"].as_array().filter(|all| !all.is_empty()) {
            if self.spoil == Spoil::Types {
                return json!({ "not": "one of them" });
            }
            return all[self.chance.next(all.len() as u64) as usize].clone();
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(all) = schema[key].as_array().filter(|all| !all.is_empty()) {
                // Mostly the first, which is where schemas put the real thing; `null` stands behind it.
                let at =
                    if self.chance.next(3) == 0 { self.chance.next(all.len() as u64) as usize } else { 0 };
                return self.value(&all[at], name, depth + 1);
            }
        }
        match self.kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "string" if self.spoil == Spoil::Types => json!(17),
            "string" => Value::String(self.text(schema, name)),
            "integer" | "number" if self.spoil == Spoil::Types => json!("rather high"),
            "integer" | "number" if self.spoil == Spoil::Range => json!(900),
            "integer" => json!(self.whole(schema)),
            "number" => json!(self.whole(schema) as f64),
            "boolean" => json!(self.chance.next(2) == 1),
            _ => Value::Null,
        }
    }

    fn kind<'s>(&mut self, schema: &'s Value) -> &'s str {
        match &schema["type"] {
            Value::String(kind) => kind,
            Value::Array(kinds) => {
                let real: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                let has_null = real.contains(&"null");
                if has_null && self.chance.next(2) == 0 {
                    return "null";
                }
                real.into_iter().find(|kind| *kind != "null").unwrap_or("null")
            }
            _ if schema.get("properties").is_some() => "object",
            _ if schema.get("items").is_some() => "array",
            _ => "string",
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                object.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let most = schema["maxItems"].as_u64().unwrap_or(least.max(3)).max(least);
        // Without a word on it, lists of sentences have three to five, and others up to three.
        let is_prose = name.contains("explanation") || name.contains("bullet") || name.contains("reason");
        let (least, most) = match (schema.get("minItems"), schema.get("maxItems")) {
            (None, None) if is_prose => (3, 5),
            _ => (least, most.min(least + 8)),
        };
        let count = least + self.chance.next(most - least + 1);
        let items = &schema["items"];
        Value::Array((0..count).map(|_| self.value(items, name, depth + 1)).collect())
    }

    fn whole(&mut self, schema: &Value) -> i64 {
        let bound = |key: &str| schema[key].as_f64();
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1.0));
        let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 1.0));
        let least = least.unwrap_or(0.0).ceil() as i64;
        let most = most.map_or(least.saturating_add(100), |most| most.floor() as i64);
        let range = most.saturating_sub(least).max(0) as u64;
        least.saturating_add(self.chance.next(range.saturating_add(1)) as i64)
    }

    fn text(&mut self, schema: &Value, name: &str) -> String {
        let longest = schema["maxLength"].as_u64().map_or(usize::MAX, |longest| longest as usize);
        let number = self.chance.next(900) + 100;
        let lower = name.to_ascii_lowercase();
        let text = if lower.contains("website") || lower.contains("url") {
            format!("https://www.company-{number}.example")
        } else if lower.contains("company") {
            format!("Company {number} Inc.")
        } else if lower.contains("employees") {
            number.to_string()
        } else {
            SENTENCES[self.chance.next(SENTENCES.len() as u64) as usize].to_owned()
        };
        text.chars().take(longest).collect()
    }
}

/// What is wrong with a schema that is to be followed strictly; `None`: nothing.
pub fn complaint(schema: &Value) -> Option<String> {
    complaint_at(schema, "(root)", 0)
}

fn complaint_at(schema: &Value, path: &str, depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    if !schema.is_object() {
        return Some(format!("schema at {path} is not an object"));
    }
    let is_object = schema["type"] == "object"
        || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("object")));
    if is_object {
        if schema["additionalProperties"] != json!(false) {
            return Some(format!(
                "'additionalProperties' is required to be supplied and to be false at {path}"
            ));
        }
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(missing) = properties.keys().find(|key| !required.contains(&key.as_str())) {
            return Some(format!(
                "'required' is required to be supplied and to be an array including every key in properties at \
                 {path}; missing '{missing}'"
            ));
        }
        for (name, property) in properties {
            if let Some(complaint) = complaint_at(property, &format!("{path}.{name}"), depth + 1) {
                return Some(complaint);
            }
        }
    }
    if let Some(items) = schema.get("items") {
        return complaint_at(items, &format!("{path}[]"), depth + 1);
    }
    for key in ["anyOf", "oneOf"] {
        for one in schema[key].as_array().into_iter().flatten() {
            if let Some(complaint) = complaint_at(one, path, depth + 1) {
                return Some(complaint);
            }
        }
    }
    None
}
