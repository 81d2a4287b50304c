//! The org client: typed asks in, typed answers out.
//!
//! Promises: no call without a permit; one login for all who need it; a 401 costs one login and one
//! replay; transient faults are retried within bounds, permanent ones never; an answer that does not fit
//! is an error that names what was asked for. Clones share session, budget and connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::auth::{Authenticator, Credentials, Session};
use super::call::Caller;
use super::error::OrgError;
use super::gate::{Api, Gate};
use super::retry::{Jitter, RetryPolicy};
use super::soql::{self, URI_BYTES_MAX, URI_BYTES_RESERVED};
use super::stream::OpenAnswer;
use super::transport::{Body, Http, HttpRequest, HttpResponse, Method};
use crate::clock::SharedClock;
use crate::limiter::{Priority, RetryBudget};
use crate::model::{ApiVersion, GlobalObject, ObjectName, OrgName, OrganizationId, RecordCountRow};

/// How to reach one org.
#[derive(Debug, Clone)]
pub struct OrgSettings {
    /// The org's name in the config.
    pub org: OrgName,
    /// Where to log in: scheme, host and port.
    pub login_url: String,
    /// API version of every path.
    pub api_version: ApiVersion,
    /// Who we are.
    pub credentials: Credentials,
    /// Longest wait for one answer; the org itself ends a call after 10 minutes.
    pub call_timeout: Duration,
    /// How often and how patiently a failed call is made again.
    pub retry: RetryPolicy,
}

impl OrgSettings {
    /// Settings with the usual patience.
    pub fn new(
        org: OrgName,
        login_url: impl Into<String>,
        api_version: ApiVersion,
        credentials: Credentials,
    ) -> Self {
        Self {
            org,
            login_url: login_url.into(),
            api_version,
            credentials,
            call_timeout: Duration::from_secs(180),
            retry: RetryPolicy::default(),
        }
    }
}

/// One line of the org's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrgLimit {
    /// Allowed.
    pub max: i64,
    /// Left; can be below zero where the org lets some go over.
    pub remaining: i64,
}

/// One API version that the org speaks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VersionEntry {
    /// Season's name, such as `Summer '26`.
    pub label: String,
    /// Path, such as `/services/data/v67.0`.
    pub url: String,
    /// Number, such as `67.0`.
    pub version: String,
}

/// A client of one org. Cheap to clone.
#[derive(Clone)]
pub struct OrgClient {
    shared: Arc<Shared>,
    priority: Priority,
    call_timeout: Duration,
    calls: Option<Arc<AtomicU64>>,
}

struct Shared {
    caller: Caller,
    auth: Authenticator,
    api_version: ApiVersion,
}

/// One request in the making.
pub(super) struct Call {
    pub(super) api: Api,
    pub(super) method: Method,
    /// Path and query, percent-encoded.
    pub(super) path: String,
    pub(super) body: Option<Body>,
    pub(super) headers: Vec<(&'static str, String)>,
    /// For messages: what was asked for.
    pub(super) what: String,
    pub(super) expected_long: bool,
}

impl Call {
    pub(super) fn get(api: Api, path: String, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { api, method: Method::Get, path, body: None, headers: Vec::new(), what, expected_long: false }
    }

    /// A call with a JSON body.
    pub(super) fn json(
        method: Method,
        api: Api,
        path: String,
        body: &impl Serialize,
        what: impl Into<String>,
    ) -> Result<Self, OrgError> {
        let what = what.into();
        let bytes = serde_json::to_vec(body).map_err(|error| OrgError::unreadable(what.as_str(), &error))?;
        let body = Some(Body { content_type: "application/json", bytes });
        Ok(Self { method, body, ..Self::get(api, path, what) })
    }

    #[must_use]
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl OrgClient {
    /// Checks the settings; makes no call. Asks are of [`Priority::Normal`] until said otherwise.
    pub fn new(
        settings: OrgSettings,
        http: Arc<dyn Http>,
        gate: Arc<dyn Gate>,
        clock: SharedClock,
        jitter: Arc<dyn Jitter>,
    ) -> Result<Self, OrgError> {
        let auth = Authenticator::new(settings.credentials, &settings.login_url)?;
        let budget = Mutex::new(RetryBudget::new());
        let (retry, date_seen) = (settings.retry, Mutex::default());
        let caller = Caller { org: settings.org, http, gate, clock, jitter, retry, budget, date_seen };
        let (api_version, call_timeout) = (settings.api_version, settings.call_timeout);
        let shared = Arc::new(Shared { caller, auth, api_version });
        Ok(Self { shared, priority: Priority::Normal, call_timeout, calls: None })
    }

    /// The same client for asks of another priority.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// The same client, less patient: no call takes longer. Never more patient than its settings.
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Duration) -> Self {
        let call_timeout = call_timeout.min(self.call_timeout);
        Self { call_timeout, ..self.clone() }
    }

    /// The same client, which adds every call that it makes to `calls`, whichever task makes it; logins apart. A call that
    /// got no permit was not made.
    #[must_use]
    pub fn counting(&self, calls: Arc<AtomicU64>) -> Self {
        Self { calls: Some(calls), ..self.clone() }
    }

    /// The org's name in the config.
    pub fn org(&self) -> &OrgName {
        &self.shared.caller.org
    }

    /// API version of every path.
    pub fn api_version(&self) -> &ApiVersion {
        &self.shared.api_version
    }

    /// Logs in if there is no session yet: the cheapest way to know whether the credentials work.
    pub async fn log_in(&self) -> Result<(), OrgError> {
        self.shared.auth.session(&self.shared.caller, self.priority, None).await.map(drop)
    }

    /// The id of the org that is logged in to, where the login tells it. No call but the login, if there is no session yet.
    ///
    /// # Errors
    /// Those of the login.
    pub async fn organization(&self) -> Result<Option<OrganizationId>, OrgError> {
        let session = self.shared.auth.session(&self.shared.caller, self.priority, None).await?;
        Ok(session.organization.clone())
    }

    /// Lets a login that the org refused be tried once more.
    pub async fn forget_refused_login(&self) {
        self.shared.auth.forget_refusal().await;
    }

    /// API versions that the org speaks, the oldest first. 1 call.
    pub async fn versions(&self) -> Result<Vec<VersionEntry>, OrgError> {
        self.read(Call::get(Api::Rest, "/services/data".to_owned(), "the versions")).await
    }

    /// The org's own clock, to the second and never ahead of it: told by the `Date` of its last answer, with the time that
    /// has passed since, where that is shorter than `at_most`; else by 1 call.
    ///
    /// # Errors
    /// Those of the call; an answer without a date is [`OrgError::Unreadable`].
    pub async fn org_now(&self, at_most: Duration) -> Result<jiff::Timestamp, OrgError> {
        if let Some(now) = self.shared.caller.org_now(at_most) {
            return Ok(now);
        }
        self.versions().await?;
        self.shared.caller.org_now(Duration::MAX).ok_or_else(|| OrgError::Unreadable {
            what: "the org's clock".to_owned(),
            reason: "its answers have no `Date`".to_owned(),
            cut_off: false,
        })
    }

    /// Every object that the user may see. 1 call.
    pub async fn global_describe(&self) -> Result<Vec<GlobalObject>, OrgError> {
        #[derive(Deserialize)]
        struct Answer {
            sobjects: Vec<GlobalObject>,
        }
        let answer: Answer =
            self.read(Call::get(Api::Rest, self.data_path("/sobjects"), "the list of objects")).await?;
        Ok(answer.sobjects)
    }

    /// The org's limits by name, such as `DailyApiRequests`. 1 call.
    pub async fn limits(&self) -> Result<BTreeMap<String, OrgLimit>, OrgError> {
        self.read(Call::get(Api::Limits, self.data_path("/limits"), "the limits")).await
    }

    /// Cached, approximate record counts: of `objects`, or with `None` of every object in 1 call. The org
    /// leaves names out that it does not know.
    pub async fn record_counts(
        &self,
        objects: Option<&[ObjectName]>,
    ) -> Result<Vec<RecordCountRow>, OrgError> {
        let path = self.data_path("/limits/recordCount");
        let paths = match objects {
            None => vec![path],
            Some(objects) => soql::chunk_names(objects, usize::MAX, 8_000)
                .iter()
                .map(|group| {
                    let names: Vec<&str> = group.iter().map(ObjectName::as_str).collect();
                    format!("{path}?sObjects={}", names.join(","))
                })
                .collect(),
        };
        let mut rows = Vec::new();
        for path in paths {
            let answer: RecordCounts = self.read(Call::get(Api::Limits, path, "the record counts")).await?;
            rows.extend(answer.objects.into_iter().map(|row| RecordCountRow {
                object: row.name,
                // The org says -1 where it never counted.
                count: u64::try_from(row.count).unwrap_or(0),
            }));
        }
        Ok(rows)
    }

    /// Waits before another attempt at something that failed with `error`, as the client does between attempts of its own;
    /// `attempt` counts those made so far. False: no other attempt, the error is for whoever asked.
    pub async fn pause_before_retry(&self, error: &OrgError, attempt: u32) -> bool {
        self.shared.caller.may_retry(error, attempt, self.shared.caller.retry.attempts_max).await
    }

    pub(super) fn data_path(&self, rest: &str) -> String {
        format!("/services/data/v{}{rest}", self.shared.api_version)
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.shared.caller
    }

    /// Calls with retries and reads the answer.
    pub(super) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, OrgError> {
        self.read_by(&call, |body| {
            serde_json::from_slice(body).map_err(|error| OrgError::unreadable(call.what.as_str(), &error))
        })
        .await
    }

    /// Calls with retries and reads the answer by `reader`; an answer that was cut off is asked for again.
    pub(super) async fn read_by<T>(
        &self,
        call: &Call,
        reader: impl Fn(&[u8]) -> Result<T, OrgError>,
    ) -> Result<T, OrgError> {
        let attempts_max = self.shared.caller.retry.attempts_max;
        let mut attempt = 1;
        loop {
            let answer = self.call_once(call).await.and_then(|response| reader(&response.body));
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !self.shared.caller.may_retry(&error, attempt, attempts_max).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// As [`OrgClient::read_by`], for answers where more than the body counts.
    pub(super) async fn respond(&self, call: &Call) -> Result<HttpResponse, OrgError> {
        let attempts_max = self.shared.caller.retry.attempts_max;
        let mut attempt = 1;
        loop {
            match self.call_once(call).await {
                Ok(response) => return Ok(response),
                Err(error) if self.shared.caller.may_retry(&error, attempt, attempts_max).await => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Calls once; a session that is not accepted is renewed and the call replayed, once.
    pub(super) async fn call_once(&self, call: &Call) -> Result<HttpResponse, OrgError> {
        check_length(call)?;
        let mut stale = None;
        loop {
            let session = self.session(stale).await?;
            let request = self.request(&session, call);
            let result = self.shared.caller.once(call.api, self.priority, call.expected_long, request).await;
            self.count(result.as_ref().err());
            match result {
                Err(OrgError::Unauthorized { .. }) if stale.is_none() => stale = Some(session.generation),
                result => return result,
            }
        }
    }

    /// As [`OrgClient::call_once`], and the body of a good answer is still on its way.
    pub(super) async fn open_once(&self, call: &Call) -> Result<OpenAnswer, OrgError> {
        check_length(call)?;
        let mut stale = None;
        loop {
            let session = self.session(stale).await?;
            let request = self.request(&session, call);
            let result = self.shared.caller.open(call.api, self.priority, call.expected_long, request).await;
            self.count(result.as_ref().err());
            match result {
                Err(OrgError::Unauthorized { .. }) if stale.is_none() => stale = Some(session.generation),
                result => return result,
            }
        }
    }

    fn count(&self, error: Option<&OrgError>) {
        if let (Some(calls), false) = (&self.calls, matches!(error, Some(OrgError::Gate(_)))) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn session(&self, stale: Option<u64>) -> Result<Arc<Session>, OrgError> {
        self.shared.auth.session(&self.shared.caller, self.priority, stale).await
    }

    fn request(&self, session: &Session, call: &Call) -> HttpRequest {
        HttpRequest {
            method: call.method,
            url: format!("{}{}", session.instance_url, call.path),
            bearer: Some(session.token.clone()),
            body: call.body.clone(),
            headers: call.headers.clone(),
            timeout: self.call_timeout,
        }
    }
}

fn check_length(call: &Call) -> Result<(), OrgError> {
    let (bytes, bytes_max) = (call.path.len(), URI_BYTES_MAX - URI_BYTES_RESERVED);
    if bytes > bytes_max {
        return Err(OrgError::TooLong { what: call.what.clone(), bytes, bytes_max });
    }
    Ok(())
}

impl fmt::Debug for OrgClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgClient")
            .field("org", &self.shared.caller.org)
            .field("auth", &self.shared.auth)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RecordCounts {
    #[serde(rename = "sObjects")]
    objects: Vec<RecordCount>,
}

#[derive(Deserialize)]
struct RecordCount {
    name: ObjectName,
    count: i64,
}
