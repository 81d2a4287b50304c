//! What went wrong at the org, told apart by the body of the answer and not by its status alone.
//!
//! The org answers errors as an array (REST), as an object (OAuth, Bulk), as HTML (a gateway in front of
//! it) or with nothing at all. All four are read here. Whoever decides on an error asks it
//! ([`OrgError::is_transient`], [`OrgError::throttle_kind`], [`OrgError::hint`]) instead of reading text.

use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;

use super::gate::GateError;
use super::transport::{HttpError, HttpErrorKind, HttpResponse};
use crate::limiter::{CallOutcome, QuotaSeen, RetryCause, ThrottleKind, UsageSeen};

/// Longest text taken over from an answer, in characters.
const MESSAGE_MAX: usize = 300;

/// The code under which the end of a token that cannot be renewed is reported.
pub(super) const FIXED_TOKEN_ENDED: &str = "token_ended";

/// A call to the org that did not give what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrgError {
    /// The login was refused for good: wrong credentials, or an app that may not log in.
    #[error("the org refuses the login: `{error}`: {description}")]
    Refused {
        /// OAuth error code, such as `invalid_grant`.
        error: String,
        /// The org's own words; may be empty.
        description: String,
    },
    /// The login failed, but not for good. It has been retried already.
    #[error("the login did not succeed")]
    Login(#[source] Arc<OrgError>),
    /// The session is valid but not for this interface; a new one would not be either.
    #[error("the session cannot be used: {message}")]
    SessionUnusable {
        /// The org's own words.
        message: String,
    },
    /// The session was not accepted, nor the one that replaced it. Not tried further at once; later it may
    /// work, because sessions also end by timing out or by somebody's hand.
    #[error("the session is not accepted: {message}")]
    Unauthorized {
        /// The org's own words.
        message: String,
    },
    /// A limit of the org.
    #[error("a limit of the org is reached: {message}")]
    Throttled {
        /// Which limit.
        kind: ThrottleKind,
        /// The org's own words.
        message: String,
        /// The wait that the org asked for.
        retry_after: Option<Duration>,
    },
    /// The org, or a gateway before it, could not serve the call now.
    #[error("the org cannot answer now (status {status}): {message}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// `SERVER_UNAVAILABLE` or a 503: the org says that it has too much to do.
        overloaded: bool,
        /// The org's own words, or what stood in the page.
        message: String,
        /// The wait that the org asked for.
        retry_after: Option<Duration>,
    },
    /// The org understood and said no.
    #[error("the org rejects the request (status {status}, `{code}`): {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// The org's error code, such as `INVALID_FIELD`; empty when it gave none.
        code: String,
        /// The org's own words.
        message: String,
    },
    /// No whole answer.
    #[error("the org was not reached")]
    Network(#[source] HttpError),
    /// A good status with a body that is not what it should be.
    #[error("the answer for {what} cannot be read: {reason}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What does not fit, with its position.
        reason: String,
        /// The body ended too early.
        cut_off: bool,
    },
    /// No permit for the call.
    #[error("the call was not made")]
    Gate(#[source] GateError),
    /// The refresh token that the org has issued cannot be read from, or kept on, the disk. The session that
    /// came with it is held back until it is kept.
    #[error("cannot {action} the refresh token that the org has issued")]
    KeptToken {
        /// `read` or `keep`.
        action: &'static str,
        /// What the disk said.
        source: Arc<std::io::Error>,
    },
    /// The settings cannot work.
    #[error("the settings of the org cannot work: {0}")]
    Settings(String),
    /// The request would be longer than the org takes; no call was made.
    #[error("the request for {what} is {bytes} bytes long, the org takes {bytes_max}")]
    TooLong {
        /// What was asked for.
        what: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl OrgError {
    /// The same call may well succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Busy { .. } | Self::Unauthorized { .. } => true,
            // Somebody makes room on the disk.
            Self::KeptToken { action, .. } => *action == "keep",
            Self::Login(error) => error.is_transient(),
            Self::Network(error) => !matches!(error.kind, HttpErrorKind::Setup | HttpErrorKind::TooLarge),
            Self::Unreadable { cut_off, .. } => *cut_off,
            Self::Gate(GateError::QuotaSpent { .. } | GateError::CircuitOpen { .. }) => true,
            Self::Refused { .. }
            | Self::SessionUnusable { .. }
            | Self::Rejected { .. }
            | Self::Gate(GateError::Stopped)
            | Self::Settings(_)
            | Self::TooLong { .. } => false,
        }
    }

    /// The limit that was reached; `None` when the error is of another kind.
    pub fn throttle_kind(&self) -> Option<ThrottleKind> {
        match self {
            Self::Throttled { kind, .. } => Some(*kind),
            Self::Gate(GateError::QuotaSpent { .. }) => Some(ThrottleKind::Daily),
            Self::Login(error) => error.throttle_kind(),
            _ => None,
        }
    }

    /// Nobody can log in with these credentials; one-shot commands end with exit code 77.
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::SessionUnusable { .. })
    }

    /// The wait that the org or the limiter asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Busy { retry_after, .. } => *retry_after,
            Self::Gate(error) => error.retry_after(),
            Self::Login(error) => error.retry_after(),
            _ => None,
        }
    }

    /// HTTP status, where an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Busy { status, .. } | Self::Rejected { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { error, .. } if error == "invalid_client" || error == "invalid_client_id" => {
                Some("check client id and secret of the connected app")
            }
            Self::Refused { error, .. } if error == FIXED_TOKEN_ENDED => {
                Some("put a new token into the config")
            }
            Self::Refused { .. } => Some(
                "check that the app is approved for this user and that the login address is the org's own",
            ),
            Self::SessionUnusable { .. } => Some("allow the app and the user to use the REST API"),
            Self::Throttled { kind: ThrottleKind::Daily, .. } => {
                Some("the allowance of calls is used up; work goes on when it frees up")
            }
            Self::Rejected { code, .. } if code == "API_DISABLED_FOR_ORG" => {
                Some("the org's edition or the user's profile has no API access")
            }
            Self::Rejected { code, .. } if code.starts_with("INSUFFICIENT_ACCESS") => {
                Some("the user lacks a permission; `View Setup and Configuration` is the usual one")
            }
            Self::Rejected { .. } if self.wants_narrower_query() => {
                Some("ask for fewer fields, or for a shorter span of time")
            }
            Self::Rejected { status: 410, .. } => Some("choose a newer `api_version`"),
            Self::Network(error) if error.kind == HttpErrorKind::Connect => {
                Some("check the login address, the network and, for TLS, the certificates")
            }
            Self::Login(error) => error.hint(),
            _ => None,
        }
    }

    /// How the limiter sees the call behind this error.
    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Throttled { kind, .. } => CallOutcome::Throttled { kind: *kind },
            Self::Busy { overloaded: true, .. } => CallOutcome::ServerBusy,
            Self::Busy { status: 500.., .. } => CallOutcome::ServerError,
            Self::Unauthorized { .. } | Self::SessionUnusable { .. } | Self::Refused { .. } => {
                CallOutcome::Unauthorized
            }
            Self::Network(_) => CallOutcome::Network,
            _ => CallOutcome::Failed,
        }
    }

    /// What a retry after this error costs.
    pub(super) fn retry_cause(&self) -> RetryCause {
        match self {
            Self::Network(error) if error.kind == HttpErrorKind::Timeout => RetryCause::Timeout,
            _ => RetryCause::Answer,
        }
    }

    /// The answer may have been too much for one call: a smaller ask may pass.
    pub(super) fn calls_for_less(&self) -> bool {
        match self {
            Self::Busy { status, .. } => matches!(status, 500 | 502 | 503 | 504),
            Self::Network(error) => {
                matches!(
                    error.kind,
                    HttpErrorKind::Timeout | HttpErrorKind::Truncated | HttpErrorKind::TooLarge
                )
            }
            Self::Unreadable { .. } => true,
            _ => self.wants_narrower_query(),
        }
    }

    /// The query took too long: the same one will again, one that asks for less may not.
    pub fn wants_narrower_query(&self) -> bool {
        matches!(self, Self::Rejected { code, .. } if code == "QUERY_TIMEOUT")
    }

    pub(super) fn unreadable(what: impl Into<String>, error: &serde_json::Error) -> Self {
        let reason = shorten(&without_value(&error.to_string()));
        Self::Unreadable { what: what.into(), reason, cut_off: error.is_eof() }
    }
}

#[derive(Deserialize)]
struct RestError {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "errorCode")]
    code: String,
}

#[derive(Deserialize)]
struct ObjectError {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default, rename = "exceptionCode")]
    exception_code: Option<String>,
    #[serde(default, rename = "exceptionMessage")]
    exception_message: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "errorCode")]
    code: Option<String>,
}

/// What an error answer says: a code (maybe empty) and a message.
fn read_error(body: &[u8]) -> (String, String) {
    if let Ok(errors) = serde_json::from_slice::<Vec<RestError>>(body) {
        let first = errors.into_iter().next();
        return first.map_or_else(Default::default, |error| (error.code, shorten(&error.message)));
    }
    if let Ok(error) = serde_json::from_slice::<ObjectError>(body) {
        let code = error.error.or(error.exception_code).or(error.code).unwrap_or_default();
        let message = error.error_description.or(error.exception_message).or(error.message);
        return (code, shorten(&message.unwrap_or_default()));
    }
    (String::new(), shorten(&text_of_page(&String::from_utf8_lossy(body))))
}

/// Tells what an answer with a status outside 200-299 means.
pub(super) fn classify(response: &HttpResponse) -> OrgError {
    classify_parts(response.status, &response.body, retry_after(response))
}

pub(super) fn classify_parts(status: u16, body: &[u8], retry_after: Option<Duration>) -> OrgError {
    let (code, message) = read_error(body);
    let message = if message.is_empty() { format!("status {status} without a message") } else { message };
    match code.as_str() {
        "REQUEST_LIMIT_EXCEEDED" => {
            let kind =
                if message.contains("Concurrent") { ThrottleKind::Concurrent } else { ThrottleKind::Daily };
            return OrgError::Throttled { kind, message, retry_after };
        }
        "SERVER_UNAVAILABLE" => {
            return OrgError::Busy { status, overloaded: true, message, retry_after };
        }
        // Not done, and nothing is wrong with it: another part of its batch failed, or somebody else held the row.
        "BATCH_PROCESSING_HALTED" | "PROCESSING_HALTED" | "UNABLE_TO_LOCK_ROW" => {
            return OrgError::Busy { status, overloaded: false, message, retry_after };
        }
        "INVALID_SESSION_ID" | "InvalidSessionId" | "INVALID_AUTH_HEADER" => return unauthorized(message),
        _ => {}
    }
    match status {
        401 => unauthorized(message),
        429 => OrgError::Throttled { kind: ThrottleKind::Rate, message, retry_after },
        503 => OrgError::Busy { status, overloaded: true, message, retry_after },
        406 | 408 | 420 | 500 | 502 | 504 => {
            OrgError::Busy { status, overloaded: false, message, retry_after }
        }
        _ => OrgError::Rejected { status, code: shorten(&code), message },
    }
}

/// Tells what the answer to a token request means.
/// `now` is this machine's time: an assertion is refused when the clocks differ too much, in words that do not say so.
pub(super) fn classify_login(response: &HttpResponse, now: jiff::Timestamp) -> OrgError {
    let (code, mut message) = read_error(&response.body);
    if let Some(difference) = clocks_apart(response, now) {
        message = format!("{message} ({difference})");
    }
    let retry_after = retry_after(response);
    match response.status {
        status @ 400..=403 if is_passing_login_error(&code) => OrgError::Busy {
            status,
            overloaded: false,
            message: shorten(&format!("{code} {message}")),
            retry_after,
        },
        // A refusal carries an OAuth code; a gateway's page does not.
        400..=403 if !code.is_empty() && code != "REQUEST_LIMIT_EXCEEDED" => {
            OrgError::Refused { error: shorten(&code), description: message }
        }
        _ => match classify(response) {
            // A 401 to a login is no expired session.
            OrgError::Unauthorized { message } | OrgError::SessionUnusable { message } => {
                OrgError::Refused { error: "unauthorized".to_owned(), description: message }
            }
            other => other,
        },
    }
}

/// From this difference on an assertion's life of three minutes may be over before it arrives.
const CLOCKS_APART_SECS: i64 = 120;

/// How this machine's clock differs from that of the org's `Date` header, when it differs by minutes.
fn clocks_apart(response: &HttpResponse, now: jiff::Timestamp) -> Option<String> {
    let theirs = DateTimeParser::new().parse_timestamp(response.header("date")?).ok()?;
    let ahead = now.as_second() - theirs.as_second();
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.abs() >= CLOCKS_APART_SECS)
        .then(|| format!("this machine's clock is {} min {side} the org's", (ahead.abs() + 30) / 60))
}

fn is_passing_login_error(code: &str) -> bool {
    matches!(code, "temporarily_unavailable" | "server_error" | "unknown_error" | "SERVER_UNAVAILABLE")
}

fn unauthorized(message: String) -> OrgError {
    // Two 401s that a new session does not cure.
    let fatal = ["Connected app is not attached to Agent", "not valid for use with the REST API"];
    if fatal.iter().any(|text| message.contains(text)) {
        OrgError::SessionUnusable { message }
    } else {
        OrgError::Unauthorized { message }
    }
}

/// `Retry-After` in whole seconds. The form with a date is not used by the org and is ignored.
pub(super) fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// Reads `Sforce-Limit-Info: api-usage=18/15000; per-app-api-usage=17/250(appName=my-app)`.
pub(super) fn quota_seen(response: &HttpResponse) -> Option<UsageSeen> {
    let header = response.header("sforce-limit-info")?;
    let part = |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name)).and_then(usage);
    Some(UsageSeen { org: part("api-usage=")?, app: part("per-app-api-usage=") })
}

/// Reads `17/250(appName=my-app)`. An allowance of nothing is a slip of the tongue, not a reason to stop for ever.
fn usage(text: &str) -> Option<QuotaSeen> {
    let (used, limit) = text.split_once('/')?;
    let limit = limit.split('(').next()?;
    let seen = QuotaSeen { used: used.trim().parse().ok()?, limit: limit.trim().parse().ok()? };
    (seen.limit > 0).then_some(seen)
}

/// The reader's complaint without the value that it complains about: values are customers' data.
fn without_value(complaint: &str) -> String {
    match (complaint.split_once(": "), complaint.rsplit_once(", expected ")) {
        (Some((what, _)), Some((_, expected))) if what.starts_with("invalid ") => {
            format!("{what}, expected {expected}")
        }
        _ => complaint.to_owned(),
    }
}

/// At most [`MESSAGE_MAX`] characters on one line, without anything that could steer a terminal.
pub(super) fn shorten(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * MESSAGE_MAX {
            break;
        }
    }
    match line.char_indices().nth(MESSAGE_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// The readable part of an HTML page, or the text itself.
fn text_of_page(page: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for c in page.chars().take(4_000) {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn kind_of(error: &OrgError) -> &'static str {
        match error {
            OrgError::Refused { .. } => "refused",
            OrgError::SessionUnusable { .. } => "session_unusable",
            OrgError::Unauthorized { .. } => "unauthorized",
            OrgError::Throttled { kind: ThrottleKind::Daily, .. } => "daily",
            OrgError::Throttled { kind: ThrottleKind::Concurrent, .. } => "concurrent",
            OrgError::Throttled { kind: ThrottleKind::Rate, .. } => "rate",
            OrgError::Busy { overloaded: true, .. } => "overloaded",
            OrgError::Busy { .. } => "busy",
            OrgError::Rejected { .. } => "rejected",
            _ => "other",
        }
    }

    #[rstest]
    #[case(
        403,
        r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
        "daily",
        true
    )]
    #[case(403, r#"[{"message":"ConcurrentRequests (Concurrent API Requests) Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#, "concurrent", true)]
    #[case(403, r#"[{"message":"no","errorCode":"API_DISABLED_FOR_ORG"}]"#, "rejected", false)]
    #[case(
        401,
        r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#,
        "unauthorized",
        true
    )]
    #[case(401, r#"[{"message":"This session is not valid for use with the REST API","errorCode":"INVALID_SESSION_ID"}]"#, "session_unusable", false)]
    #[case(
        401,
        r#"[{"message":"Connected app is not attached to Agent","errorCode":"INVALID_SESSION_ID"}]"#,
        "session_unusable",
        false
    )]
    #[case(400, r#"{"exceptionCode":"InvalidSessionId","exceptionMessage":"gone"}"#, "unauthorized", true)]
    #[case(401, "", "unauthorized", true)]
    #[case(400, r#"[{"message":"bad","errorCode":"MALFORMED_QUERY"}]"#, "rejected", false)]
    #[case(400, r#"[{"message":"slow","errorCode":"QUERY_TIMEOUT"}]"#, "rejected", false)]
    #[case(404, r#"[{"message":"gone","errorCode":"NOT_FOUND"}]"#, "rejected", false)]
    #[case(414, "", "rejected", false)]
    #[case(429, "", "rate", true)]
    #[case(503, r#"[{"message":"Server too busy","errorCode":"SERVER_UNAVAILABLE"}]"#, "overloaded", true)]
    #[case(503, "<html><body><h1>Down</h1></body></html>", "overloaded", true)]
    #[case(502, "<html><body>Bad gateway</body></html>", "busy", true)]
    #[case(500, "[]", "busy", true)]
    #[case(420, "", "busy", true)]
    #[case(406, "", "busy", true)]
    #[case(302, "", "rejected", false)]
    fn the_body_decides_before_the_status(
        #[case] status: u16,
        #[case] body: &str,
        #[case] kind: &str,
        #[case] transient: bool,
    ) {
        let error = classify_parts(status, body.as_bytes(), None);
        assert_eq!(kind_of(&error), kind, "{error}");
        assert_eq!(error.is_transient(), transient, "{error}");
    }

    #[rstest]
    #[case(400, r#"{"error":"invalid_grant","error_description":"authentication failure"}"#, "refused")]
    #[case(400, r#"{"error":"invalid_client"}"#, "refused")]
    #[case(401, r#"{"error":"invalid_client","error_description":"invalid client credentials"}"#, "refused")]
    #[case(
        400,
        r#"{"error":"unsupported_grant_type","error_description":"grant type not supported"}"#,
        "refused"
    )]
    #[case(401, "", "refused")]
    #[case(503, "<html>maintenance</html>", "overloaded")]
    #[case(400, r#"{"error":"temporarily_unavailable"}"#, "busy")]
    fn a_refused_login_is_told_from_a_passing_fault(
        #[case] status: u16,
        #[case] body: &str,
        #[case] kind: &str,
    ) {
        let response = HttpResponse { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
        assert_eq!(kind_of(&classify_login(&response, jiff::Timestamp::UNIX_EPOCH)), kind);
    }

    #[rstest]
    #[case("api-usage=18/15000", Some((18, 15_000)), None)]
    #[case("api-usage=25/15000; per-app-api-usage=17/250(appName=my-app)", Some((25, 15_000)), Some((17, 250)))]
    #[case("per-app-api-usage=17/250(appName=my-app); api-usage=25/15000", Some((25, 15_000)), Some((17, 250)))]
    #[case("api-usage=25/15000;per-app-api-usage=17/250(appName=a;b)", Some((25, 15_000)), Some((17, 250)))]
    #[case("api-usage=25/15000; per-app-api-usage=lots", Some((25, 15_000)), None)]
    #[case("per-app-api-usage=17/250(appName=my-app)", None, None)]
    #[case("api-usage=0/0", None, None)]
    #[case("api-usage=-1/15000", None, None)]
    #[case("api-usage=lots", None, None)]
    #[case("", None, None)]
    fn the_usage_header_is_read_in_every_form(
        #[case] header: &str,
        #[case] org: Option<(u64, u64)>,
        #[case] app: Option<(u64, u64)>,
    ) {
        let headers = vec![("sforce-limit-info".to_owned(), header.to_owned())];
        let response = HttpResponse { status: 200, headers, body: Vec::new() };
        let seen = |usage: Option<(u64, u64)>| usage.map(|(used, limit)| QuotaSeen { used, limit });
        let expected = seen(org).map(|org| UsageSeen { org, app: seen(app) });
        assert_eq!(quota_seen(&response), expected);
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let error = serde_json::from_str::<Vec<bool>>(r#"["Ada Example, expected nobody"]"#).unwrap_err();
        let OrgError::Unreadable { reason, .. } = OrgError::unreadable("rows", &error) else { panic!() };
        assert!(!reason.contains("Ada"), "{reason}");
        assert!(reason.contains("expected a boolean at line 1"), "{reason}");
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_reader_or_makes_a_long_message(
            status in 300u16..600,
            body in prop::collection::vec(any::<u8>(), 0..3_000),
        ) {
            let text = classify_parts(status, &body, None).to_string();
            prop_assert!(text.chars().count() < 800, "{} characters", text.chars().count());
            prop_assert!(!text.contains(char::is_control));
        }
    }
}
