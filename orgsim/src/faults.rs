//! Faults on order: rules say which requests they meet and what happens to them. Seeded, so a run can be repeated.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The answer comes `ms` milliseconds later than it would.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// 503 `SERVER_UNAVAILABLE`.
    Unavailable,
    /// 401 `INVALID_SESSION_ID`; the token is gone for good.
    SessionExpired,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, the daily text.
    DailyLimit,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, the concurrency text.
    ConcurrentLimit,
    /// 429 with an empty body.
    TooManyRequests,
    /// Any status with any error code.
    Status {
        /// HTTP status.
        status: u16,
        /// `errorCode`.
        code: String,
        /// `message`.
        message: String,
    },
    /// 502 with an HTML page, as a gateway gives it.
    Gateway,
    /// The connection is cut before a byte of the answer.
    CutBefore,
    /// The connection is cut in the middle of the body.
    CutMidBody,
    /// 200 with a body that is not JSON.
    BadJson,
    /// A describe that is JSON but lacks its name and has fields of the wrong type.
    UnparsableDescribe,
    /// A composite subrequest fails with 500 `UNKNOWN_EXCEPTION`; the composite itself succeeds.
    SubrequestFails,
    /// A page of Bulk results ends within a value, although the transfer is whole.
    TruncatedCsv,
    /// A row in the middle of a page of Bulk results lacks its last value.
    ShortRow,
    /// Values of Bulk results have NUL bytes around them.
    NulBytes,
    /// Texts in Bulk results go on in a second line that has quotes.
    EmbeddedNewlines,
    /// `Sforce-NumberOfRecords` is one too high.
    WrongRecordCount,
    /// The Bulk job created now stays in progress for ever.
    NeverEndingJob,
    /// The Bulk job created now fails without saying why.
    FailedWithoutMessage,
    /// The Bulk job created now fails and says why.
    JobFails {
        /// `errorMessage`.
        message: String,
    },
    /// The Bulk job asked about is gone: 404 from now on.
    JobVanishes,
    /// 500 `UNKNOWN_EXCEPTION`, the whole request.
    ServerError,
    /// A status with an empty body; 420 and 406 have been seen.
    EmptyBody {
        /// HTTP status.
        #[serde(default = "enhance_your_calm")]
        status: u16,
    },
    /// 429 with an empty body and a `Retry-After`, which Salesforce itself does not send.
    TooManyRequestsFor {
        /// Value of the header.
        #[serde(default = "five")]
        seconds: u64,
    },
    /// 401 "Connected app is not attached to Agent": a new token does not help.
    AppNotAttached,
    /// 401 "This session is not valid for use with the REST API": a new token does not help.
    SessionNotForRest,
    /// 400 at the token endpoint.
    OauthError {
        /// `error`.
        error: String,
        /// `error_description`, which may be missing.
        #[serde(default)]
        description: Option<String>,
    },
    /// The connection is reset instead of an answer.
    ConnectionReset,
    /// The connection is cut after so many bytes of the body, as they travel.
    CutAfter {
        /// Bytes.
        bytes: u64,
    },
    /// The body travels chunked and the connection is cut before its last chunk.
    TruncatedChunked,
    /// The body ends in its middle although its length is right: half a gzip member, or half the text for a client
    /// that takes no gzip.
    TruncatedGzip,
    /// `Content-Length` promises more bytes than come.
    ContentLengthTooLong {
        /// Bytes too many.
        #[serde(default = "sixty_four")]
        by: u32,
    },
    /// `Content-Length` promises fewer bytes than come.
    ContentLengthTooShort {
        /// Bytes too few.
        #[serde(default = "sixty_four")]
        by: u32,
    },
    /// The body comes a few bytes at a time.
    SlowDrip {
        /// Bytes at a time.
        #[serde(default = "sixty_four")]
        bytes: u32,
        /// Milliseconds before each.
        #[serde(default = "fifty")]
        every_ms: u64,
    },
    /// 200 with an HTML page where JSON should be.
    HtmlPage,
    /// An error whose body is very large.
    HugeError {
        /// HTTP status.
        #[serde(default = "server_error")]
        status: u16,
        /// Size of the message in kilobytes.
        #[serde(default = "three_hundred")]
        kilobytes: u32,
    },
    /// A describe with types of fields nobody has heard of: of each three fields, the first.
    UnknownFieldTypes,
    /// The answer is from a clock that is off: its `Date`, and a token's `issued_at`. Moves the token endpoint too.
    ClockSkew {
        /// Seconds ahead, or behind when negative.
        #[serde(default = "ten_minutes")]
        seconds: i64,
    },
    /// The next page is said to be at the locator this page was asked for by, so a naive reader never ends.
    /// Concerns pages but the first.
    LocatorRepeated,
}

fn enhance_your_calm() -> u16 {
    420
}
fn server_error() -> u16 {
    500
}
fn five() -> u64 {
    5
}
fn fifty() -> u64 {
    50
}
fn sixty_four() -> u32 {
    64
}
fn three_hundred() -> u32 {
    300
}
fn ten_minutes() -> i64 {
    600
}

impl Fault {
    /// Happens within a Bulk job; [`crate::bulk`] asks for these itself.
    fn concerns_a_job(&self) -> bool {
        matches!(
            self,
            Self::TruncatedCsv
                | Self::ShortRow
                | Self::NulBytes
                | Self::EmbeddedNewlines
                | Self::WrongRecordCount
                | Self::NeverEndingJob
                | Self::FailedWithoutMessage
                | Self::JobFails { .. }
                | Self::JobVanishes
        )
    }

    /// Without a kind in its rule, a fault of a job meets the requests it can happen to.
    fn can_happen_in(&self, kind: &str) -> bool {
        match self {
            Self::NeverEndingJob | Self::FailedWithoutMessage | Self::JobFails { .. } => {
                kind.ends_with("_create")
            }
            Self::JobVanishes => !kind.ends_with("_create"),
            _ if self.concerns_a_job() => kind == "bulk_results",
            _ => true,
        }
    }

    /// Can only happen to a single answer, whether it travels alone or in a composite.
    fn concerns_one_answer(&self) -> bool {
        matches!(self, Self::UnparsableDescribe | Self::SubrequestFails | Self::UnknownFieldTypes)
    }

    /// Can happen to a subrequest; a cut or a delay happens to the whole request.
    fn can_meet_a_subrequest(&self) -> bool {
        self.replaces_the_answer() && !matches!(self, Self::BadJson | Self::Gateway | Self::HtmlPage)
            || self.concerns_one_answer()
    }

    /// Only the answer to a describe can suffer it.
    fn concerns_describes(&self) -> bool {
        matches!(self, Self::UnparsableDescribe | Self::UnknownFieldTypes)
    }

    /// Whether it meets a token request although its rule names no kind.
    fn meets_tokens(&self) -> bool {
        matches!(self, Self::ClockSkew { .. } | Self::OauthError { .. })
    }

    /// The org answers this instead of doing what was asked, so nothing may have been written.
    pub fn replaces_the_answer(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::SessionExpired
            | Self::DailyLimit
            | Self::ConcurrentLimit
            | Self::TooManyRequests
            | Self::TooManyRequestsFor { .. }
            | Self::Status { .. }
            | Self::Gateway
            | Self::BadJson
            | Self::ServerError
            | Self::EmptyBody { .. }
            | Self::AppNotAttached
            | Self::SessionNotForRest
            | Self::OauthError { .. }
            | Self::HtmlPage
            | Self::HugeError { .. }
            | Self::SubrequestFails => true,
            Self::Latency { .. }
            | Self::CutBefore
            | Self::CutMidBody
            | Self::CutAfter { .. }
            | Self::ConnectionReset
            | Self::TruncatedChunked
            | Self::TruncatedGzip
            | Self::ContentLengthTooLong { .. }
            | Self::ContentLengthTooShort { .. }
            | Self::SlowDrip { .. }
            | Self::UnparsableDescribe
            | Self::UnknownFieldTypes
            | Self::ClockSkew { .. }
            | Self::LocatorRepeated
            | Self::TruncatedCsv
            | Self::ShortRow
            | Self::NulBytes
            | Self::EmbeddedNewlines
            | Self::WrongRecordCount
            | Self::NeverEndingJob
            | Self::FailedWithoutMessage
            | Self::JobFails { .. }
            | Self::JobVanishes => false,
        }
    }
}

/// Which requests a fault meets. All that is given must hold; of `nth`, `every` and `probability` give at most one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Kind of resource, as in the journal. Without it: any request but those for tokens (a fault that is about
    /// tokens meets them all the same).
    #[serde(default)]
    pub kind: Option<String>,
    /// HTTP method.
    #[serde(default)]
    pub method: Option<String>,
    /// Text the path contains.
    #[serde(default)]
    pub path_contains: Option<String>,
    /// Object the request names.
    #[serde(default)]
    pub object: Option<String>,
    /// Only the nth matching request, from 1.
    #[serde(default)]
    pub nth: Option<u64>,
    /// Each kth matching request.
    #[serde(default)]
    pub every: Option<u64>,
    /// Each matching request with this chance, 0 to 1.
    #[serde(default)]
    pub probability: Option<f64>,
    /// Decides the chance.
    #[serde(default)]
    pub seed: u64,
    /// At most so many times.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens: a name, or a table with the name as `type`.
    #[serde(deserialize_with = "crate::fault_file::name_or_table")]
    pub fault: Fault,
}

impl FaultRule {
    /// A rule that meets every request.
    pub fn always(fault: Fault) -> Self {
        Self {
            kind: None,
            method: None,
            path_contains: None,
            object: None,
            nth: None,
            every: None,
            probability: None,
            seed: 0,
            times: None,
            fault,
        }
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// Only requests that name this object.
    #[must_use]
    pub fn on_object(mut self, object: &str) -> Self {
        self.object = Some(object.to_owned());
        self
    }

    /// Only the nth match.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// Each kth match.
    #[must_use]
    pub fn every(mut self, every: u64) -> Self {
        self.every = Some(every);
        self
    }

    /// Each match with a chance.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        (self.probability, self.seed) = (Some(probability), seed);
        self
    }

    /// At most so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn meets(&self, request: &Subject<'_>) -> bool {
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(found))
        };
        let kind_fits = match &self.kind {
            Some(kind) => kind.eq_ignore_ascii_case(request.kind),
            None => request.kind != "token" || self.fault.meets_tokens(),
        };
        let only_tokens = !matches!(self.fault, Fault::OauthError { .. }) || request.kind == "token";
        let level_fits = match (request.alone, request.part) {
            (true, _) => true,
            // A composite as a whole: not by rules meant for one of its parts.
            (false, false) => !self.fault.concerns_one_answer(),
            // A part: by rules that say what part they mean.
            (false, true) => {
                self.fault.concerns_one_answer()
                    || (self.kind.is_some() && self.fault.can_meet_a_subrequest())
            }
        };
        let only_describes = !self.fault.concerns_describes() || request.kind == "describe";
        kind_fits
            && self.fault.can_happen_in(request.kind)
            && level_fits
            && only_describes
            && only_tokens
            && same(&self.method, request.method)
            && self.path_contains.as_deref().is_none_or(|part| request.path.contains(part))
            && self
                .object
                .as_deref()
                .is_none_or(|wanted| request.objects.iter().any(|found| found.eq_ignore_ascii_case(wanted)))
    }
}

/// A request as rules see it.
pub struct Subject<'a> {
    pub kind: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub objects: &'a [String],
    /// Neither a composite nor part of one.
    pub alone: bool,
    /// Part of a composite or a batch.
    pub part: bool,
}

#[derive(Debug)]
struct Armed {
    rule: FaultRule,
    matched: u64,
    fired: u64,
}

/// The rules in force; a clone of the handle reaches the same rules.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
}

impl Faults {
    /// Replaces all rules; their counters start anew.
    pub fn set(&self, rules: Vec<FaultRule>) {
        let armed = rules.into_iter().map(|rule| Armed { rule, matched: 0, fired: 0 }).collect();
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    }

    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) {
        let armed = Armed { rule, matched: 0, fired: 0 };
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push(armed);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.set(Vec::new());
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|armed| armed.rule.clone())
            .collect()
    }

    /// How often each rule has struck, in the order of the rules.
    pub fn fired(&self) -> Vec<u64> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|armed| armed.fired).collect()
    }

    /// What happens to this request by the rules that are `wanted`, in their order; what happens within a Bulk job is
    /// left out.
    pub fn strike(&self, request: &Subject<'_>, wanted: impl Fn(&FaultRule) -> bool) -> Vec<Fault> {
        self.strike_those(request, |rule| !rule.fault.concerns_a_job() && wanted(rule))
    }

    /// What happens within the Bulk job this request is about.
    pub fn strike_job(&self, request: &Subject<'_>) -> Vec<Fault> {
        self.strike_those(request, |rule| rule.fault.concerns_a_job())
    }

    fn strike_those(&self, request: &Subject<'_>, wanted: impl Fn(&FaultRule) -> bool) -> Vec<Fault> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Vec::new();
        for armed in armed.iter_mut() {
            if !wanted(&armed.rule) || !armed.rule.meets(request) {
                continue;
            }
            armed.matched += 1;
            let rule = &armed.rule;
            let due = rule.nth.is_none_or(|nth| armed.matched == nth)
                && rule.every.is_none_or(|every| every > 0 && armed.matched.is_multiple_of(every))
                && rule.probability.is_none_or(|chance| dice(rule.seed, armed.matched) < chance)
                && rule.times.is_none_or(|times| armed.fired < times);
            if due {
                armed.fired += 1;
                faults.push(rule.fault.clone());
            }
        }
        faults
    }
}

/// A number in 0..1 that depends on the seed and the count alone (splitmix64).
fn dice(seed: u64, count: u64) -> f64 {
    let mut x = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Subject<'static> {
        Subject { kind: "query", method: "GET", path: "/query", objects: &[], alone: true, part: false }
    }

    fn struck(rule: FaultRule, requests: usize) -> Vec<usize> {
        let faults = Faults::default();
        faults.set(vec![rule]);
        (1..=requests).filter(|_| !faults.strike(&query(), |_| true).is_empty()).collect()
    }

    #[test]
    fn rules_choose_the_nth_each_kth_or_a_share() {
        assert_eq!(struck(FaultRule::always(Fault::Unavailable).nth(3), 10), [3]);
        assert_eq!(struck(FaultRule::always(Fault::Unavailable).every(4), 10), [4, 8]);
        assert_eq!(struck(FaultRule::always(Fault::Unavailable).times(2), 10), [1, 2]);
        let share = FaultRule::always(Fault::Unavailable).with_probability(0.25, 9);
        let hits = struck(share.clone(), 10_000);
        assert!((2_300..2_700).contains(&hits.len()), "{}", hits.len());
        assert_eq!(hits, struck(share, 10_000), "the same seed strikes the same requests");
    }

    #[test]
    fn a_rule_for_a_describe_spares_the_composite_around_it() {
        let faults = Faults::default();
        faults.set(vec![FaultRule::always(Fault::UnparsableDescribe).on_object("lead")]);
        let objects = ["Lead".to_owned()];
        let whole = Subject {
            kind: "composite",
            method: "POST",
            path: "/composite",
            objects: &objects,
            alone: false,
            part: false,
        };
        assert!(faults.strike(&whole, |_| true).is_empty());
        let part = Subject { kind: "describe", part: true, ..whole };
        assert_eq!(faults.strike(&part, |_| true), [Fault::UnparsableDescribe]);
    }
}
