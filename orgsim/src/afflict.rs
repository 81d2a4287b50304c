//! What a fault makes of an answer, and of the bytes it travels as.

use crate::{
    answer::Answer,
    body::Body,
    faults::Fault,
    wire::{CutAt, Damage},
};
use serde_json::{Value, json};
use std::time::Duration;

const HTML: &str = "text/html; charset=UTF-8";

/// An answer after a fault that changes what it says.
pub fn afflicted(answer: Answer, fault: &Fault) -> Answer {
    let note = answer.note.clone();
    let kind = note.kind;
    let error = |status, code: &str, message: &str| Answer::error(kind, status, code, message);
    let struck = match fault {
        Fault::Unavailable => error(503, "SERVER_UNAVAILABLE", "Server too busy"),
        Fault::SessionExpired => Answer::session_expired(kind),
        Fault::AppNotAttached => error(401, "INVALID_SESSION_ID", "Connected app is not attached to Agent"),
        Fault::SessionNotForRest => {
            error(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API")
        }
        Fault::DailyLimit => error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        Fault::ConcurrentLimit => concurrent_limit(kind),
        Fault::TooManyRequests => Answer::with_status(kind, 429, Body::default()),
        Fault::TooManyRequestsFor { seconds } => {
            let mut answer = Answer::with_status(kind, 429, Body::default());
            answer.headers.push(("Retry-After", seconds.to_string()));
            answer
        }
        Fault::EmptyBody { status } => Answer::with_status(kind, *status, Body::default()),
        Fault::Status { status, code, message } => error(*status, code, message),
        Fault::Gateway => html(
            kind,
            502,
            "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>",
        ),
        Fault::HtmlPage => html(
            kind,
            200,
            "<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>To access this page, you have \
             to log in.</body></html>",
        ),
        Fault::BadJson => Answer::ok(kind, b"{\"encoding\":\"UTF-8\",,]".to_vec()),
        Fault::UnparsableDescribe => {
            Answer::ok(kind, br#"{"label":7,"fields":"none","childRelationships":{"0":null}}"#.to_vec())
        }
        Fault::UnknownFieldTypes => return with_unknown_types(answer),
        Fault::SubrequestFails | Fault::ServerError => error(
            500,
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 0 (0)",
        ),
        Fault::HugeError { status, kilobytes } => {
            let line = "java.lang.IllegalStateException: the same line over and over; ";
            let length = *kilobytes as usize * 1_000;
            let message: String = line.chars().cycle().take(length).collect();
            error(*status, "UNKNOWN_EXCEPTION", &message)
        }
        Fault::OauthError { error, description } => {
            let mut body = json!({ "error": error });
            if let Some(description) = description {
                body["error_description"] = Value::from(description.as_str());
            }
            Answer::with_status(kind, 400, body.to_string().into_bytes())
        }
        Fault::Latency { .. }
        | Fault::CutBefore
        | Fault::CutMidBody
        | Fault::CutAfter { .. }
        | Fault::ConnectionReset
        | Fault::TruncatedChunked
        | Fault::TruncatedGzip
        | Fault::ContentLengthTooLong { .. }
        | Fault::ContentLengthTooShort { .. }
        | Fault::SlowDrip { .. }
        | Fault::ClockSkew { .. }
        | Fault::LocatorRepeated => answer,
        // Happened within the job: the answer shows it already.
        Fault::TruncatedCsv
        | Fault::ShortRow
        | Fault::NulBytes
        | Fault::EmbeddedNewlines
        | Fault::WrongRecordCount
        | Fault::NeverEndingJob
        | Fault::FailedWithoutMessage
        | Fault::JobFails { .. }
        | Fault::JobVanishes => answer,
    };
    Answer { note, ..struck }
}

/// 403 for too many long requests at once.
pub fn concurrent_limit(kind: &'static str) -> Answer {
    let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
    Answer::error(kind, 403, "REQUEST_LIMIT_EXCEEDED", message)
}

fn html(kind: &'static str, status: u16, page: &str) -> Answer {
    Answer { content_type: HTML, ..Answer::with_status(kind, status, page.as_bytes().to_vec()) }
}

/// Changes the body's JSON; an answer without any stays as it is.
fn with_json(answer: Answer, change: impl FnOnce(&mut Value)) -> Answer {
    let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body.clone().plain()) else { return answer };
    change(&mut value);
    Answer { body: Body::from(value.to_string().into_bytes()), ..answer }
}

fn with_unknown_types(answer: Answer) -> Answer {
    with_json(answer, |describe| {
        let fields = describe["fields"].as_array_mut();
        for field in fields.into_iter().flatten().step_by(3) {
            field["type"] = Value::from("hologram");
            field["soapType"] = Value::from("xsd:hologram");
        }
    })
}

/// A page whose successor is itself: `target` is what it was asked for by. A first page has no locator to repeat.
pub fn with_locator_repeated(mut answer: Answer, target: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "locator");
    if let Some((_, locator)) = asked {
        for (name, value) in &mut answer.headers {
            if name.eq_ignore_ascii_case("Sforce-Locator") {
                *value = locator.to_string();
            }
        }
    }
    if answer.note.kind != "query_more" {
        return answer;
    }
    let path = path.trim_end_matches('/').to_owned();
    with_json(answer, |page| {
        page["done"] = Value::from(false);
        page["nextRecordsUrl"] = Value::from(path);
    })
}

/// A token answer from a clock that is off.
pub fn with_issue_time_off(answer: Answer, skew_ms: i64) -> Answer {
    with_json(answer, |token| {
        let issued = token["issued_at"].as_str().and_then(|text| text.parse::<i64>().ok());
        if let Some(issued) = issued {
            token["issued_at"] = Value::from(issued.saturating_add(skew_ms).to_string());
        }
    })
}

/// Adds what a fault does to the bytes of an answer.
pub fn damage(so_far: &mut Damage, fault: &Fault) {
    match fault {
        Fault::CutBefore => so_far.no_answer = true,
        Fault::ConnectionReset => so_far.reset = true,
        Fault::CutMidBody => so_far.cut = Some(CutAt::Middle),
        Fault::CutAfter { bytes } => so_far.cut = Some(CutAt::Byte(*bytes)),
        Fault::TruncatedChunked => (so_far.chunked, so_far.cut) = (true, Some(CutAt::Middle)),
        Fault::TruncatedGzip => so_far.short = true,
        Fault::ContentLengthTooLong { by } => so_far.length_off_by = i64::from(*by),
        Fault::ContentLengthTooShort { by } => so_far.length_off_by = -i64::from(*by),
        Fault::SlowDrip { bytes, every_ms } => {
            so_far.drip = Some((*bytes as usize, Duration::from_millis(*every_ms)));
        }
        _ => {}
    }
}
