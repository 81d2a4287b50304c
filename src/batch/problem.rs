//! Everything that can be wrong with a request as a whole, and how it is told (contract, sections 3 and 9.3; RFC 9457).
//!
//! Promises: one kind has one status, one title and one type address, wherever it comes from. Members stand in a fixed order,
//! and `message` repeats `detail` for clients of the older format.

use super::answer::Answer;
use super::request::{Fault, Refusal};
use super::value::write_json_text;

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Not JSON, a wrong type, an unknown or repeated key, a limit.
    InvalidRequest,
    /// No operations.
    EmptyBatch,
    /// More operations than the server takes.
    TooManyOperations,
    /// An id of another shape.
    InvalidId,
    /// Two operations of one id.
    DuplicateId,
    /// `entity` or `action` is missing.
    MissingField,
    /// An action that there is not.
    InvalidAction,
    /// An option of a wrong type or value.
    InvalidOption,
    /// A batch inside a batch.
    NestedBatch,
    /// `claims` of an operation.
    ClaimsNotAllowed,
    /// `claims` of an operation that would widen the caller's.
    ClaimsWidening,
    /// `depends_on` names what is not in the batch.
    UnknownDependency,
    /// A reference names what is not in the batch.
    UnknownReference,
    /// Operations wait for each other.
    Cycle,
    /// A malformed reference; or the operation that stopped the batch failed for a reference.
    BadReference,
    /// The operation that stopped the batch failed for an operator.
    BadOperator,
    /// The operation that stopped the batch selects nothing.
    SelectorRequired,
    /// An operation failed for another reason and stopped the batch.
    OperationFailed,
    /// No token, or one that does not hold.
    Unauthenticated,
    /// A token that may not do this.
    Forbidden,
    /// No such thing.
    NotFound,
    /// Another method is needed.
    MethodNotAllowed,
    /// No media type that the client takes.
    NotAcceptable,
    /// An idempotency key of another shape.
    InvalidKey,
    /// The same idempotency key is running.
    KeyInFlight,
    /// The body is too large.
    BodyTooLarge,
    /// Values are too large once references are filled in, or results are.
    ResultTooLarge,
    /// The body is of another media type.
    UnsupportedMediaType,
    /// The same idempotency key came with another body.
    KeyReused,
    /// Too many batches of one caller.
    TooManyRequests,
    /// Too many batches wait.
    QueueFull,
    /// The operator paused the endpoint, or it is going down.
    Paused,
    /// The database does not answer.
    DatabaseUnavailable,
    /// Other transactions were in the way, again and again.
    Contention,
    /// The batch took too long.
    BatchTimeout,
    /// Our fault.
    Internal,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 36] = [
        Self::InvalidRequest,
        Self::EmptyBatch,
        Self::TooManyOperations,
        Self::InvalidId,
        Self::DuplicateId,
        Self::MissingField,
        Self::InvalidAction,
        Self::InvalidOption,
        Self::NestedBatch,
        Self::ClaimsNotAllowed,
        Self::ClaimsWidening,
        Self::UnknownDependency,
        Self::UnknownReference,
        Self::Cycle,
        Self::BadReference,
        Self::BadOperator,
        Self::SelectorRequired,
        Self::OperationFailed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::KeyInFlight,
        Self::BodyTooLarge,
        Self::ResultTooLarge,
        Self::UnsupportedMediaType,
        Self::KeyReused,
        Self::TooManyRequests,
        Self::QueueFull,
        Self::Paused,
        Self::DatabaseUnavailable,
        Self::Contention,
        Self::BatchTimeout,
        Self::Internal,
        Self::InvalidKey,
    ];

    /// The kind of a batch that an operation stopped, by the operation's code.
    pub fn of_stop(code: &str) -> Self {
        match code {
            "bad_reference" => Self::BadReference,
            "bad_operator" => Self::BadOperator,
            "selector_required" => Self::SelectorRequired,
            _ => Self::OperationFailed,
        }
    }

    /// The name in answers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.told().0
    }

    /// The status that it is answered with.
    pub fn status(self) -> u16 {
        self.told().1
    }

    /// A short sentence, the same for every occurrence.
    pub fn title(self) -> &'static str {
        self.told().2
    }

    fn told(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "The request is not valid"),
            Self::EmptyBatch => ("empty_batch", 400, "The batch has no operations"),
            Self::TooManyOperations => ("too_many_operations", 400, "The batch has too many operations"),
            Self::InvalidId => ("invalid_id", 400, "An id has another shape"),
            Self::DuplicateId => ("duplicate_id", 400, "Two operations have the same id"),
            Self::MissingField => ("missing_field", 400, "A field is missing"),
            Self::InvalidAction => ("invalid_action", 400, "There is no such action"),
            Self::InvalidOption => ("invalid_option", 400, "An option is not valid"),
            Self::NestedBatch => ("nested_batch", 400, "A batch cannot hold a batch"),
            Self::ClaimsNotAllowed => ("claims_not_allowed", 400, "An operation cannot bring claims"),
            Self::ClaimsWidening => ("claims_widening", 403, "Claims of an operation can only narrow"),
            Self::UnknownDependency => {
                ("unknown_dependency", 400, "An operation depends on one that is not there")
            }
            Self::UnknownReference => {
                ("unknown_reference", 400, "A reference names an operation that is not there")
            }
            Self::Cycle => ("cycle", 400, "Operations wait for each other"),
            Self::BadReference => ("bad_reference", 400, "A reference has no value"),
            Self::BadOperator => ("bad_operator", 400, "An operator is not valid"),
            Self::SelectorRequired => ("selector_required", 400, "A selector is needed"),
            Self::OperationFailed => ("operation_failed", 400, "An operation failed"),
            Self::Unauthenticated => ("unauthenticated", 401, "A valid token is needed"),
            Self::Forbidden => ("forbidden", 403, "This is not allowed"),
            Self::NotFound => ("not_found", 404, "There is no such resource"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "Another method is needed"),
            Self::NotAcceptable => ("not_acceptable", 406, "No media type that the client takes"),
            Self::InvalidKey => ("invalid_key", 400, "The idempotency key is not valid"),
            Self::KeyInFlight => ("key_in_flight", 409, "A request with this idempotency key is running"),
            Self::BodyTooLarge => ("body_too_large", 413, "The body is too large"),
            Self::ResultTooLarge => ("result_too_large", 413, "The batch is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "The body has another media type"),
            Self::KeyReused => ("key_reused", 422, "The idempotency key was used for another body"),
            Self::TooManyRequests => ("too_many_requests", 429, "Too many requests"),
            Self::QueueFull => ("queue_full", 503, "Too many batches are waiting"),
            Self::Paused => ("paused", 503, "Batches are paused"),
            Self::DatabaseUnavailable => ("database_unavailable", 503, "The database does not answer"),
            Self::Contention => ("contention", 503, "Other transactions were in the way"),
            Self::BatchTimeout => ("batch_timeout", 504, "The batch took too long"),
            Self::Internal => ("internal", 500, "Something went wrong on our side"),
        }
    }
}

/// A request that was not carried out, told to its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub kind: FaultKind,
    /// What happened here, and what to do about it.
    pub detail: String,
    /// Which occurrence: `/batch/<id>`; empty: not told.
    pub instance: String,
    /// Every fault of the body, for a refused body.
    pub errors: Vec<Fault>,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Without faults and without a time for another try.
    pub fn new(kind: FaultKind, detail: impl Into<String>, instance: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), instance: instance.into(), errors: Vec::new(), retry_after: None }
    }

    /// Of a refused body.
    pub fn refused(refusal: Refusal, instance: impl Into<String>) -> Self {
        let (kind, detail) = match refusal.faults.first() {
            Some(first) => (first.kind, first.detail.clone()),
            None => (FaultKind::InvalidRequest, String::from("the request is not valid")),
        };
        Self { kind, detail, instance: instance.into(), errors: refusal.faults, retry_after: None }
    }

    /// With the seconds after which another try makes sense.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// As an answer.
    pub fn render(&self) -> Answer {
        let mut body = Vec::with_capacity(256 + self.errors.len() * 160);
        body.push(b'{');
        write_members(self.kind, &self.detail, &self.instance, &mut body);
        if !self.errors.is_empty() {
            body.extend_from_slice(b",\"errors\":[");
            for (index, fault) in self.errors.iter().enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                write_fault(fault, &mut body);
            }
            body.push(b']');
        }
        body.push(b'}');
        Answer { status: self.kind.status(), content_type: PROBLEM_JSON, body, retry_after: self.retry_after }
    }
}

/// Appends the members that every problem has, without braces.
pub(super) fn write_members(kind: FaultKind, detail: &str, instance: &str, out: &mut Vec<u8>) {
    let name = kind.as_str();
    out.extend_from_slice(b"\"type\":\"https://penstock.invalid/problems/");
    out.extend(name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte }));
    out.extend_from_slice(b"\",\"title\":");
    write_json_text(kind.title(), out);
    out.extend_from_slice(b",\"status\":");
    out.extend_from_slice(kind.status().to_string().as_bytes());
    out.extend_from_slice(b",\"kind\":");
    write_json_text(name, out);
    if !instance.is_empty() {
        out.extend_from_slice(b",\"instance\":");
        write_json_text(instance, out);
    }
    out.extend_from_slice(b",\"detail\":");
    write_json_text(detail, out);
    out.extend_from_slice(b",\"message\":");
    write_json_text(detail, out);
}

fn write_fault(fault: &Fault, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    write_json_text(fault.kind.as_str(), out);
    out.extend_from_slice(b",\"pointer\":");
    write_json_text(&fault.pointer, out);
    out.extend_from_slice(b",\"detail\":");
    write_json_text(&fault.detail, out);
    if let Some(operation) = &fault.operation {
        out.extend_from_slice(b",\"operation\":");
        write_json_text(operation, out);
    }
    out.push(b'}');
}
