//! What each status and code of the org means to us, line by line of the platform's table; and that no body, however large or
//! strange, is kept whole.

use std::time::Duration;

use rstest::rstest;

use super::error::{OrgError, classify, classify_login, classify_parts};
use super::retry::RetryPolicy;
use super::transport::HttpResponse;
use crate::limiter::{CallOutcome, ThrottleKind};

/// What is done about an error.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Fail,
    Narrow,
    NewSession,
    WaitForTheDay,
    WaitForLongCalls,
    SlowDown,
    Retry,
}

fn action(error: &OrgError) -> Action {
    match error {
        OrgError::Unauthorized { .. } => Action::NewSession,
        OrgError::Throttled { kind: ThrottleKind::Daily, .. } => Action::WaitForTheDay,
        OrgError::Throttled { kind: ThrottleKind::Concurrent, .. } => Action::WaitForLongCalls,
        OrgError::Throttled { kind: ThrottleKind::Rate, .. } => Action::SlowDown,
        error if error.is_transient() => Action::Retry,
        error if error.wants_narrower_query() => Action::Narrow,
        _ => Action::Fail,
    }
}

fn rest(code: &str, message: &str) -> String {
    serde_json::json!([{ "message": message, "errorCode": code, "fields": [] }]).to_string()
}

#[rstest]
#[case::external_id_matches_several(300, "", Action::Fail)]
#[case::malformed_query(400, "MALFORMED_QUERY", Action::Fail)]
#[case::invalid_field(400, "INVALID_FIELD", Action::Fail)]
#[case::invalid_type(400, "INVALID_TYPE", Action::Fail)]
#[case::invalid_locator(400, "INVALID_QUERY_LOCATOR", Action::Fail)]
#[case::exceeded_ids(400, "EXCEEDED_ID_LIMIT", Action::Fail)]
#[case::query_timeout(400, "QUERY_TIMEOUT", Action::Narrow)]
#[case::too_large(400, "OPERATION_TOO_LARGE", Action::Fail)]
#[case::too_complicated(400, "QUERY_TOO_COMPLICATED", Action::Fail)]
#[case::malformed_id(400, "MALFORMED_ID", Action::Fail)]
#[case::session(401, "INVALID_SESSION_ID", Action::NewSession)]
#[case::api_disabled(403, "API_DISABLED_FOR_ORG", Action::Fail)]
#[case::insufficient_access(403, "INSUFFICIENT_ACCESS", Action::Fail)]
#[case::metering(403, "TXN_SECURITY_METERING_ERROR", Action::Fail)]
#[case::not_found(404, "NOT_FOUND", Action::Fail)]
#[case::conflict(409, "", Action::Fail)]
#[case::retired(410, "", Action::Fail)]
#[case::halted(412, "BATCH_PROCESSING_HALTED", Action::Retry)]
#[case::precondition(412, "", Action::Fail)]
#[case::long_uri(414, "URI_TOO_LONG", Action::Fail)]
#[case::long_headers(431, "", Action::Fail)]
#[case::content_type(415, "UNSUPPORTED_MEDIA_TYPE", Action::Fail)]
#[case::locked_row(400, "UNABLE_TO_LOCK_ROW", Action::Retry)]
#[case::not_acceptable(406, "", Action::Retry)]
#[case::enhance_your_calm(420, "", Action::Retry)]
#[case::too_many(429, "", Action::SlowDown)]
#[case::internal(500, "UNKNOWN_EXCEPTION", Action::Retry)]
#[case::bad_gateway(502, "", Action::Retry)]
#[case::too_busy(503, "SERVER_UNAVAILABLE", Action::Retry)]
#[case::gateway_timeout(504, "", Action::Retry)]
fn every_line_of_the_table_has_its_action(#[case] status: u16, #[case] code: &str, #[case] expected: Action) {
    let empty: &[u8] = b"";
    let html = b"<html><head><title>Trouble</title></head><body>come back</body></html>";
    let described = rest(code, "some words");
    // Where the code decides there must be one; where the status decides, any body will do.
    let bodies: &[&[u8]] =
        if code.is_empty() { &[empty, html, b"[]", b"{}"] } else { &[described.as_bytes()] };
    for body in bodies {
        let error = classify_parts(status, body, None);
        assert_eq!(action(&error), expected, "{}: {error}", String::from_utf8_lossy(body));
        let repeats = RetryPolicy::default().wait_after(&error, 1, 0.5).is_some();
        assert_eq!(repeats, matches!(expected, Action::Retry | Action::SlowDown), "{error}");
    }
}

#[rstest]
#[case("TotalRequests Limit exceeded.", Action::WaitForTheDay)]
#[case("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", Action::WaitForLongCalls)]
#[case("", Action::WaitForTheDay)]
fn the_text_of_a_reached_limit_tells_which(#[case] message: &str, #[case] expected: Action) {
    // Whatever the status: gateways and versions differ in it.
    for status in [400, 403, 429, 503] {
        let error = classify_parts(status, rest("REQUEST_LIMIT_EXCEEDED", message).as_bytes(), None);
        assert_eq!(action(&error), expected, "{status}");
    }
}

#[rstest]
#[case::busy(503, CallOutcome::ServerBusy)]
#[case::internal(500, CallOutcome::ServerError)]
#[case::gateway(502, CallOutcome::ServerError)]
#[case::gateway_timeout(504, CallOutcome::ServerError)]
#[case::calm(420, CallOutcome::Failed)]
#[case::not_found(404, CallOutcome::Failed)]
#[case::rate(429, CallOutcome::Throttled { kind: ThrottleKind::Rate })]
fn the_limiter_and_the_breaker_are_told_what_it_was(#[case] status: u16, #[case] outcome: CallOutcome) {
    assert_eq!(classify_parts(status, b"", None).outcome(), outcome);
}

const LARGE: usize = 300_000;

#[rstest]
#[case::one_word("x".repeat(LARGE))]
#[case::words("word ".repeat(LARGE / 5))]
#[case::html(format!("<html><script>{}</script><body>{}</body></html>", "var a;".repeat(LARGE / 12), "<p>Down</p>".repeat(LARGE / 22)))]
#[case::one_error(rest("UNKNOWN_EXCEPTION", &"stack trace line ".repeat(LARGE / 17)))]
#[case::a_long_code(rest(&"X".repeat(LARGE), "short"))]
#[case::many_errors(format!("[{}]", vec![r#"{"message":"bad","errorCode":"INVALID_FIELD"}"#; LARGE / 46].join(",")))]
#[case::an_object(format!(r#"{{"error":"{}","error_description":"{}"}}"#, "e".repeat(LARGE / 2), "d".repeat(LARGE / 2)))]
#[case::no_text("\u{0}".repeat(LARGE))]
#[case::unfinished(format!(r#"[{{"message":"{}"#, "m".repeat(LARGE)))]
fn of_a_huge_body_a_line_is_kept(#[case] body: String) {
    for status in [400, 401, 403, 404, 420, 429, 500, 503] {
        let response = HttpResponse { status, headers: Vec::new(), body: body.clone().into_bytes() };
        for error in [classify(&response), classify_login(&response, jiff::Timestamp::UNIX_EPOCH)] {
            let (shown, debugged) = (error.to_string(), format!("{error:?}"));
            assert!(shown.chars().count() < 800, "{} characters are shown", shown.chars().count());
            // The error outlives the answer: nothing of it may hold the body.
            assert!(debugged.len() < 3_000, "{} bytes are kept", debugged.len());
            assert!(!shown.contains(char::is_control));
        }
    }
}

#[test]
fn a_wait_that_the_org_asks_for_is_read_and_other_forms_are_not() {
    let wait = |value: &str| {
        let headers = vec![("retry-after".to_owned(), value.to_owned())];
        classify(&HttpResponse { status: 503, headers, body: Vec::new() }).retry_after()
    };
    assert_eq!(wait(" 7 "), Some(Duration::from_secs(7)));
    assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    assert_eq!(wait("-1"), None);
}
