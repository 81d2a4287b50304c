//! Claims of one operation, where the server takes them: they can only narrow what the caller has.

use super::Caller;
use crate::batch::value::Value;

/// An operation's claims ask for more than the caller has: 403 `claims_widening`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NarrowFault {
    /// Which claim, as an RFC 6901 pointer below `claims`.
    pub pointer: String,
    /// Why, without any value.
    pub why: String,
}

/// The caller as an operation with these claims sees it.
///
/// # Errors
/// The first claim that is not one of the caller's.
pub fn narrow(caller: &Caller, claims: &Value) -> Result<Caller, NarrowFault> {
    match claims {
        Value::Object(fields) if fields.is_empty() => Ok(caller.clone()),
        _ => Err(NarrowFault { pointer: String::new(), why: "claims are refused".to_owned() }),
    }
}
