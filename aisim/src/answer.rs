//! What is answered, and what a fault answers instead.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::batches::Refused;
use crate::faults::Fault;

/// An answer ready to be sent.
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// Headers beside the usual ones.
    pub headers: Vec<(String, String)>,
    /// Time before it is sent.
    pub delay: Duration,
    /// It breaks off in its middle.
    pub cut: bool,
    /// It is not sent; the connection is closed.
    pub is_dropped: bool,
    /// It is never sent.
    pub hangs: bool,
}

impl Answer {
    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string().into())
    }

    /// Anything.
    pub fn raw(status: u16, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            content_type,
            body,
            headers: Vec::new(),
            delay: Duration::ZERO,
            cut: false,
            is_dropped: false,
            hangs: false,
        }
    }

    /// An error as such endpoints write it.
    pub fn error(status: u16, message: &str, param: Option<&str>) -> Self {
        let kind = if status >= 500 { "server_error" } else { "invalid_request_error" };
        let error = json!({ "message": message, "type": kind, "param": param, "code": null });
        Self::json(status, &json!({ "error": error }))
    }

    /// A request about batches that is refused.
    pub fn refused((status, message, param): Refused) -> Self {
        Self::error(status, &message, param)
    }
}

/// What a fault answers instead of doing what was asked; `None`: it does what was asked.
pub fn refusal_of(fault: &Fault, key: Option<&str>) -> Option<(u16, Value)> {
    let error = |kind: &str, code: Value, message: &str| json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    Some(match fault {
        Fault::Status(status) => {
            let failed = "The server had an error while processing your request. Sorry about that!";
            if *status >= 500 {
                (*status, error("server_error", Value::Null, failed))
            } else {
                (*status, error("invalid_request_error", Value::Null, "This request is not accepted."))
            }
        }
        Fault::Unauthorized => {
            let shown = key.map_or("", |key| key.get(..8).unwrap_or(key));
            let message =
                format!("Incorrect API key provided: {shown}****. You can find your API key at ...");
            (401, error("invalid_request_error", json!("invalid_api_key"), &message))
        }
        Fault::Throttled(_) => {
            let message = "Rate limit reached for requests. Please try again later.";
            (429, error("requests", json!("rate_limit_exceeded"), message))
        }
        Fault::Quota => {
            let message = "You exceeded your current quota, please check your plan and billing details.";
            (429, error("insufficient_quota", json!("insufficient_quota"), message))
        }
        _ => return None,
    })
}
