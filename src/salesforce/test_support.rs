//! What the tests of the org edge share: a scripted network, a gate that keeps count, a clock whose waits
//! take no time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::clock::{BoxFuture, Clock};
use crate::limiter::QuotaSeen;

pub(super) const LOGIN_URL: &str = "https://acme.my.salesforce.com";

/// A clock that jumps to the end of every wait.
#[derive(Default)]
pub(super) struct JumpingClock(AtomicU64);

impl Clock for JumpingClock {
    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_max(u64::try_from(at.as_micros()).unwrap(), Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

/// Grants everything, and remembers what was asked and told.
#[derive(Default)]
pub(super) struct CountingGate {
    open: Arc<AtomicI64>,
    reports: Arc<Mutex<Vec<(Api, CallReport)>>>,
    pub(super) refusal: Mutex<Option<GateError>>,
    /// Calls that may be under way at once, where that is bounded.
    pub(super) places: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
    /// Turns of the scheduler that the next ask lets go by; each later one lets fewer go by.
    pub(super) hesitation: AtomicU64,
}

struct CountingPermit {
    _place: Option<tokio::sync::OwnedSemaphorePermit>,
    api: Api,
    open: Arc<AtomicI64>,
    reports: Arc<Mutex<Vec<(Api, CallReport)>>>,
}

impl CountingGate {
    pub(super) fn permits_open(&self) -> i64 {
        self.open.load(Ordering::SeqCst)
    }

    /// `api outcome` of every settled call, in order.
    pub(super) fn outcomes(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        reports.iter().map(|(api, report)| format!("{} {}", api.as_str(), report.outcome.label())).collect()
    }

    pub(super) fn last_quota(&self) -> Option<QuotaSeen> {
        self.reports.lock().unwrap().iter().rev().find_map(|(_, report)| report.quota).map(|seen| seen.org)
    }
}

impl Gate for CountingGate {
    fn permit(&self, ask: CallAsk) -> BoxFuture<'_, Result<Box<dyn Permit>, GateError>> {
        Box::pin(async move {
            if let Some(refusal) = self.refusal.lock().unwrap().clone() {
                return Err(refusal);
            }
            let turns = self.hesitation.load(Ordering::SeqCst);
            self.hesitation.store(turns / 2, Ordering::SeqCst);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let places = self.places.lock().unwrap().clone();
            let place = match places {
                Some(places) => places.acquire_owned().await.ok(),
                None => None,
            };
            self.open.fetch_add(1, Ordering::SeqCst);
            let (open, reports) = (Arc::clone(&self.open), Arc::clone(&self.reports));
            Ok(Box::new(CountingPermit { _place: place, api: ask.api, open, reports }) as Box<dyn Permit>)
        })
    }
}

impl Permit for CountingPermit {
    fn settle(self: Box<Self>, report: CallReport) {
        self.reports.lock().unwrap().push((self.api, report));
    }
}

impl Drop for CountingPermit {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

type Handler = dyn Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync;

/// Answers data requests by a function and token requests by itself; checks that a permit is held.
pub(super) struct ScriptedHttp {
    gate: Arc<CountingGate>,
    handler: Box<Handler>,
    log: Mutex<Vec<String>>,
    logins: AtomicU64,
    /// Turns of the scheduler until the next answer arrives.
    turns: AtomicU64,
}

impl Http for ScriptedHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        assert!(self.gate.permits_open() > 0, "no call without a permit: {request:?}");
        let path = request.url.strip_prefix(LOGIN_URL).expect("calls go to the org").to_owned();
        self.log.lock().unwrap().push(path.clone());
        let answer = if path == "/services/oauth2/token" && !self.answers_logins() {
            let number = self.logins.fetch_add(1, Ordering::SeqCst) + 1;
            json(200, &format!(r#"{{"access_token":"token-{number}","instance_url":"{LOGIN_URL}/"}}"#))
        } else {
            (self.handler)(&request)
        };
        let turns = self.turns.swap(0, Ordering::SeqCst);
        Box::pin(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            answer
        })
    }
}

impl ScriptedHttp {
    fn answers_logins(&self) -> bool {
        self.logins.load(Ordering::SeqCst) == u64::MAX
    }
}

/// A client and everything around it.
pub(super) struct Bench {
    pub(super) client: OrgClient,
    pub(super) gate: Arc<CountingGate>,
    pub(super) clock: Arc<JumpingClock>,
    http: Arc<ScriptedHttp>,
}

impl Bench {
    /// Data requests are answered by `handler`, logins succeed.
    pub(super) fn new(
        handler: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync + 'static,
    ) -> Self {
        Self::with(client_credentials(), 0, handler)
    }

    /// `handler` answers token requests too.
    pub(super) fn with_logins(
        handler: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync + 'static,
    ) -> Self {
        Self::with(client_credentials(), u64::MAX, handler)
    }

    pub(super) fn with(
        credentials: Credentials,
        logins: u64,
        handler: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + Send + Sync + 'static,
    ) -> Self {
        let gate = Arc::new(CountingGate::default());
        let clock = Arc::new(JumpingClock::default());
        let http = Arc::new(ScriptedHttp {
            gate: Arc::clone(&gate),
            handler: Box::new(handler),
            log: Mutex::default(),
            logins: AtomicU64::new(logins),
            turns: AtomicU64::new(0),
        });
        let settings = settings(LOGIN_URL, credentials);
        let jitter = Arc::new(SeededJitter::new(1));
        let client = OrgClient::new(
            settings,
            Arc::<ScriptedHttp>::clone(&http),
            Arc::<CountingGate>::clone(&gate),
            Arc::<JumpingClock>::clone(&clock),
            jitter,
        )
        .unwrap();
        Self { client, gate, clock, http }
    }

    /// The next answer takes so many turns of the scheduler to arrive.
    pub(super) fn delay_next_answer(&self, turns: u64) {
        self.http.turns.store(turns, Ordering::SeqCst);
    }

    /// Paths asked for so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.http.log.lock().unwrap().clone()
    }

    /// How many requests went to paths that contain `part`.
    pub(super) fn count(&self, part: &str) -> usize {
        self.log().iter().filter(|path| path.contains(part)).count()
    }
}

pub(super) fn settings(login_url: &str, credentials: Credentials) -> OrgSettings {
    OrgSettings::new("acme".parse().unwrap(), login_url, "62.0".parse().unwrap(), credentials)
}

pub(super) fn client_credentials() -> Credentials {
    Credentials::ClientCredentials { client_id: "app".to_owned(), client_secret: "hush & more".into() }
}

pub(super) fn json(status: u16, body: &str) -> Result<HttpResponse, HttpError> {
    let headers = vec![("sforce-limit-info".to_owned(), "api-usage=18/15000".to_owned())];
    Ok(HttpResponse { status, headers, body: body.as_bytes().to_vec() })
}

pub(super) fn network(kind: HttpErrorKind) -> Result<HttpResponse, HttpError> {
    Err(HttpError { kind, host: LOGIN_URL.to_owned(), source: None })
}

pub(super) fn body_text(request: &HttpRequest) -> String {
    request.body.as_ref().map(|body| String::from_utf8(body.bytes.clone()).unwrap()).unwrap_or_default()
}
