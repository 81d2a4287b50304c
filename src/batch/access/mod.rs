//! Who may do what: the caller, the rules of each entity, row filters as condition trees.

pub mod claims;
pub mod exact;
pub mod filter;
pub mod narrow;
pub mod pattern;
pub mod rules;
pub mod token;

use std::sync::Arc;

use super::value::Value;

/// Whoever asks, as verified. Built from a token at the door, or from `--claims` at the shell; never from a request's body.
#[derive(Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// Issuer of the token; empty for a caller without one.
    pub issuer: Arc<str>,
    /// Subject; empty for a caller without one.
    pub subject: Arc<str>,
    /// Roles, as the config says where they are.
    pub roles: Vec<Arc<str>>,
    /// All claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Claims do not reach a log.
        f.debug_struct("Caller").field("roles", &self.roles.len()).finish_non_exhaustive()
    }
}

impl Caller {
    /// A claim by name; `a.b` goes into an object where no claim has the whole name.
    pub fn claim(&self, name: &str) -> Option<&serde_json::Value> {
        if let Some(whole) = self.claims.get(name) {
            return Some(whole);
        }
        let mut steps = name.split('.');
        let first = self.claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }
}

/// A column's content as text for a filter or injection: text, number or boolean; `None` for anything else.
pub fn claim_value(claim: &serde_json::Value) -> Option<Value> {
    match claim {
        serde_json::Value::String(text) => Some(Value::Text(text.clone())),
        serde_json::Value::Bool(flag) => Some(Value::Bool(*flag)),
        serde_json::Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Number(number.to_string().into()),
        }),
        _ => None,
    }
}
