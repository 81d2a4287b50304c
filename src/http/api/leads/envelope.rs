//! The two ways of telling what came of a request: the envelope of the endpoints that were there before penstock
//! (`status`, `message`, `data`), and problems for the others.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use serde_json::{Value, json};

use super::super::lead_service::LeadProblem;
use crate::batch::answer::JSON;
use crate::batch::problem::PROBLEM_JSON;

/// Why a request is not answered as it was meant: a status, a name for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub status: StatusCode,
    kind: &'static str,
    title: &'static str,
    pub message: String,
    /// What the envelope says beside the sentence. A problem leaves it out.
    pub data: Option<Value>,
    retry_after: Option<u32>,
}

impl Refused {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, title, message: message.into(), data: None, retry_after: None }
    }

    /// What was sent is wrong. The sentence names the parameter and the remedy.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", "The request is not valid", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource", message)
    }

    pub fn not_yet(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "not_yet", "It has not come so far", message)
    }

    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", "This is not served", message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", message)
    }

    pub fn wrong_media_type(message: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        Self::new(status, kind, "The body has another media type", message)
    }

    pub fn upgrade_needed() -> Self {
        let message = "this address speaks WebSocket; `/events` beside it is the same as server-sent events";
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "A WebSocket is needed", message)
    }

    pub fn busy(message: impl Into<String>) -> Self {
        let told = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now", message);
        Self { retry_after: Some(5), ..told }
    }

    /// Something behind us failed, or we did.
    pub fn failed(message: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, "internal");
        Self::new(status, kind, "Something went wrong on our side", message)
    }

    /// The model gave no usable answer.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "no_answer", "The model gave no usable answer", message)
    }

    pub fn with_data(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    fn respond(&self, content_type: &'static str, body: &Value) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.content_type(content_type).insert_header((CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        response.body(body.to_string())
    }

    /// As the envelope.
    pub fn as_envelope(&self) -> HttpResponse {
        let mut body = json!({ "status": "error", "message": self.message });
        if let Some(data) = &self.data {
            body["data"] = data.clone();
        }
        self.respond(JSON, &body)
    }

    /// As a problem (RFC 9457).
    pub fn as_problem(&self) -> HttpResponse {
        let body = json!({
            "type": format!("https://penstock.invalid/problems/{}", self.kind.replace('_', "-")),
            "title": self.title,
            "status": self.status.as_u16(),
            "kind": self.kind,
            "detail": self.message,
            "message": self.message,
        });
        self.respond(PROBLEM_JSON, &body)
    }
}

impl From<LeadProblem> for Refused {
    fn from(problem: LeadProblem) -> Self {
        match problem {
            LeadProblem::Wrong(message) => Self::wrong(message),
            LeadProblem::NotFound(message) => Self::not_found(message),
            LeadProblem::NotYet(message) => Self::not_yet(message),
            LeadProblem::Busy(message) => Self::busy(message),
            LeadProblem::Failed(message) => Self::failed(message),
        }
    }
}

/// A good answer in the envelope.
pub(super) fn success(message: impl Into<String>, data: Value) -> HttpResponse {
    let message: String = message.into();
    json_answer(StatusCode::OK, &json!({ "status": "success", "message": message, "data": data }))
}

/// A document.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .content_type(JSON)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(LeadProblem::Wrong("x".to_owned()), 400)]
    #[case(LeadProblem::NotFound("x".to_owned()), 404)]
    #[case(LeadProblem::NotYet("x".to_owned()), 409)]
    #[case(LeadProblem::Busy("x".to_owned()), 503)]
    #[case(LeadProblem::Failed("x".to_owned()), 500)]
    fn each_problem_of_the_service_has_its_status(#[case] problem: LeadProblem, #[case] status: u16) {
        let refused = Refused::from(problem);
        assert_eq!((refused.status.as_u16(), refused.message.as_str()), (status, "x"));
        for response in [refused.as_envelope(), refused.as_problem()] {
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
        }
    }
}
