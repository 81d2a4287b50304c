//! An answer before it becomes HTTP, and the org's ways of saying no.

use crate::{body::Body, soql::SoqlError};
use serde_json::{Value, json};

/// What a resource answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Body,
    pub content_type: &'static str,
    /// Extra headers, in order.
    pub headers: Vec<(&'static str, String)>,
    pub note: Note,
}

/// What the journal wants to know about an answer.
#[derive(Debug, Clone, Default)]
pub struct Note {
    pub kind: &'static str,
    pub objects: Vec<String>,
    pub described: Vec<String>,
    pub subrequests: u64,
    /// API calls; `None` stands for the usual one.
    pub counted: Option<u64>,
    /// Extra time before the answer goes out.
    pub delay_ms: u64,
}

pub const JSON: &str = "application/json;charset=UTF-8";

impl Answer {
    /// 200 with a JSON body.
    pub fn ok(kind: &'static str, body: impl Into<Body>) -> Self {
        Self::with_status(kind, 200, body)
    }

    /// Any status with a JSON body.
    pub fn with_status(kind: &'static str, status: u16, body: impl Into<Body>) -> Self {
        let note = Note { kind, ..Note::default() };
        Self { status, body: body.into(), content_type: JSON, headers: Vec::new(), note }
    }

    /// 200 with a small JSON value.
    pub fn json(kind: &'static str, value: &Value) -> Self {
        Self::ok(kind, value.to_string().into_bytes())
    }

    /// A REST error: an array of one.
    pub fn error(kind: &'static str, status: u16, code: &str, message: &str) -> Self {
        let body = json!([{ "message": message, "errorCode": code }]);
        Self::with_status(kind, status, body.to_string().into_bytes())
    }

    /// An OAuth error: an object.
    pub fn oauth_error(error: &str, description: &str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self::with_status("token", 400, body.to_string().into_bytes())
    }

    /// 404 `NOT_FOUND`.
    pub fn not_found(kind: &'static str) -> Self {
        Self::error(kind, 404, "NOT_FOUND", "The requested resource does not exist")
    }

    /// 401 `INVALID_SESSION_ID`.
    pub fn session_expired(kind: &'static str) -> Self {
        Self::error(kind, 401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    /// 405.
    pub fn method_not_allowed(kind: &'static str) -> Self {
        Self::error(kind, 405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed for this resource")
    }

    /// 400 for a statement.
    pub fn soql_error(kind: &'static str, error: &SoqlError) -> Self {
        Self::error(kind, 400, error.code, &error.message)
    }

    /// Names the objects it is about.
    #[must_use]
    pub fn about(mut self, object: &str) -> Self {
        self.note.objects.push(object.to_owned());
        self
    }

    /// The error code of the first entry of a REST error body.
    pub fn is_error(&self) -> bool {
        self.status >= 400
    }
}
