//! HTTP: headers, sizes, who is let in, what is counted, faults. What is said comes from [`crate::rest`] and its
//! neighbours; how connections come in, from [`crate::listeners`].

use crate::{
    afflict::{self, afflicted},
    answer::Answer,
    bulk::classic,
    catalog::{self, CatalogError},
    clock::http_date,
    control,
    fault_file::BadFaults,
    faults::{Fault, FaultRule, Faults},
    gate::InFlight,
    journal::{Call, JournalSnapshot},
    jwt,
    listeners::{Bound, ListenError, Listeners},
    model::OrgModel,
    oauth,
    options::Options,
    org::OrgData,
    rest::{self, Request},
    rows::SeededRows,
    rows_api::RowSource,
    site::{Caller, Site},
    soap,
    wire::{Aftermath, Connection, Cut, Damage, WireBody},
    writes,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use std::{io::Read, sync::Arc, time::Duration};

/// Longest URI, and longest URI with headers, in bytes.
const LONGEST_HEAD: usize = 16_384;
/// Largest request body: 150 MB is the documented limit of a Bulk upload.
const LARGEST_BODY: usize = 160 << 20;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The org could not be made.
    #[error("make the simulated org")]
    Catalog {
        /// What went wrong.
        source: CatalogError,
    },
    /// There is no way in.
    #[error("open the simulated org to clients")]
    Listen {
        /// What went wrong.
        source: ListenError,
    },
    /// A rule for faults can never strike.
    #[error("take the rules for faults")]
    Faults {
        /// What is wrong with it.
        source: BadFaults,
    },
    /// A key for login assertions is no RSA public key or certificate in PEM.
    #[error("read the public key for login assertions, number {number}")]
    JwtKey {
        /// Position in the options, from 1.
        number: usize,
    },
}

/// A running simulated org. Dropping it stops it at once.
pub struct Server {
    site: Arc<Site>,
    listeners: Listeners,
}

impl Server {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// When a project or a key cannot be read, or an address cannot be had.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let model = catalog::build_for(options.seed, &options.sfdx, &options.data)
            .map_err(|source| StartError::Catalog { source })?;
        let rows = SeededRows::new(options.seed, &model).with_deleted(options.data.deleted_percent);
        let rows = Box::new(rows);
        Self::start_with(options, model, rows).await
    }

    /// Starts with a model and rows of the caller's making.
    ///
    /// # Errors
    /// When a key cannot be read or an address cannot be had.
    pub async fn start_with(
        options: Options,
        model: OrgModel,
        rows: Box<dyn RowSource>,
    ) -> Result<Self, StartError> {
        let mut org = OrgData::new(model, rows);
        org.organization_id = crate::ids::with_suffix(&options.organization_id);
        FaultRule::check(&options.faults, &org).map_err(|source| StartError::Faults { source })?;
        let keys = jwt::Keys::read(&options.jwt_keys).map_err(|at| StartError::JwtKey { number: at + 1 })?;
        let bound = Bound::bind(&options).await.map_err(|source| StartError::Listen { source })?;
        let ca_pem = bound.ca_pem().map(str::to_owned);
        let site = Arc::new(Site::new(options, org, keys, ca_pem));
        let listeners = bound.serve(&site);
        Ok(Self { site, listeners })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listeners.plain)
    }

    /// `https://localhost:PORT`, or with the address when that is not loopback; `None` without a TLS listener.
    pub fn tls_url(&self) -> Option<String> {
        self.listeners.tls.map(|address| match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => format!("https://localhost:{}", address.port()),
            _ => format!("https://{address}"),
        })
    }

    /// `http://127.0.0.1:PORT`, as `HTTPS_PROXY` takes it; `None` without a proxy.
    pub fn proxy_url(&self) -> Option<String> {
        self.listeners.proxy.map(|address| format!("http://{address}"))
    }

    /// The certificate authority to be trusted, in PEM; `None` without a TLS listener.
    pub fn ca_pem(&self) -> Option<&str> {
        self.site.ca_pem.as_deref()
    }

    /// What has been asked so far.
    pub fn journal(&self) -> JournalSnapshot {
        self.site.journal.snapshot()
    }

    /// Forgets what has been asked so far.
    pub fn reset_journal(&self) {
        self.site.journal.reset();
    }

    /// The faults in force, to be changed at any time.
    pub fn faults(&self) -> Arc<Faults> {
        self.site.faults.clone()
    }

    /// Real milliseconds since the start: the scale of the journal's `at_ms`.
    pub fn elapsed_ms(&self) -> u64 {
        self.site.clock.elapsed_ms()
    }

    /// The org's time, in milliseconds since 1970 UTC.
    pub fn epoch_ms(&self) -> i64 {
        self.site.clock.epoch_ms()
    }

    /// Moves the org's time forward: tokens age, the daily window moves on, stamps are later.
    pub fn advance_clock(&self, by: Duration) {
        self.site.clock.advance_ms(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Ends every access token; refresh tokens stay good.
    pub fn expire_tokens(&self) {
        self.site.tokens.expire_all();
    }

    /// Sets the calls used of the daily allowance, as if all were made now.
    pub fn set_used(&self, calls: u64) {
        self.site.allowance.set_used(calls, self.site.clock.epoch_ms());
    }

    /// The org's objects, for tests that compare.
    pub fn model(&self) -> &OrgModel {
        &self.site.org.model
    }

    /// Closes the listeners and every connection.
    pub async fn stop(mut self) {
        self.listeners.stop().await;
    }
}

/// An answer ready to be sent.
struct Ready {
    status: u16,
    headers: HeaderMap,
    body: WireBody,
    delay: Duration,
    damage: Damage,
}

struct Head {
    seq: u64,
    at_ms: u64,
    method: String,
    target: String,
    headers: HeaderMap,
    caller: Caller,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Session or access token: Bulk API 1.0 has a header of its own.
    fn token(&self) -> Option<&str> {
        let bearer = |value: &'static str| {
            let text = self.header("authorization")?;
            let named = text.get(..value.len())?.eq_ignore_ascii_case(value);
            named.then(|| text[value.len()..].trim())
        };
        bearer("Bearer ").or_else(|| bearer("OAuth ")).or_else(|| self.header("x-sfdc-session"))
    }

    fn accepts_gzip(&self) -> bool {
        let names_gzip = |one: &str| {
            let mut parts = one.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            is_gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        };
        self.header("accept-encoding").is_some_and(|accepted| accepted.split(',').any(names_gzip))
    }
}

/// Answers one request of a connection.
pub async fn handle(
    site: Arc<Site>,
    scheme: &'static str,
    connection: Connection,
    request: hyper::Request<Incoming>,
) -> Result<Response<WireBody>, Cut> {
    let (parts, body) = request.into_parts();
    // A target in absolute form names the host itself.
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1"),
    };
    let caller = Caller { scheme, host: host.to_owned() };
    let head = Head {
        seq: site.journal.arrive(),
        at_ms: site.clock.elapsed_ms(),
        method: parts.method.as_str().to_owned(),
        target: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: parts.headers,
        caller,
    };
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(Cut),
    };
    // Scans, rendering and compression take milliseconds: not on a thread that serves sockets.
    let ready = tokio::task::spawn_blocking(move || respond(&site, &head, body)).await.map_err(|_| Cut)?;
    if !ready.delay.is_zero() {
        tokio::time::sleep(ready.delay).await;
    }
    if ready.damage.reset {
        connection.ends_with(Aftermath::Reset);
        return Err(Cut);
    }
    if ready.damage.no_answer {
        return Err(Cut);
    }
    let mut response = Response::new(ready.body);
    *response.status_mut() = StatusCode::from_u16(ready.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = ready.headers;
    if ready.damage.length_off_by < 0 {
        let answer = with_short_length(response, ready.damage.length_off_by).await;
        connection.ends_with(Aftermath::Write(answer));
        return Err(Cut);
    }
    Ok(response)
}

/// An answer with more bytes than its `Content-Length` says, which hyper would not send.
async fn with_short_length(response: Response<WireBody>, off_by: i64) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let length = (body.len() as u64).saturating_add_signed(off_by);
    let mut out = format!("HTTP/1.1 {}\r\nContent-Length: {length}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

/// Answers and books a request.
fn respond(site: &Site, head: &Head, body: Bytes) -> Ready {
    let path = head.path();
    if path.starts_with("/__sim") {
        let content_type = head.header("content-type").unwrap_or_default();
        let answer = control::answer(site, &head.method, path, head.query(), content_type, &body);
        return ready(site, head, answer, Suffered::default(), None);
    }
    let is_api = path.starts_with("/services/data") || path.starts_with("/services/async");
    let token = head.token();
    let options = &site.options;
    let long_ms = u64::try_from(options.long_request_after.as_millis()).unwrap_or(u64::MAX);
    let in_flight = is_api.then(|| site.gate.enter(head.seq, head.at_ms, long_ms, options.long_requests_max));
    let early = writes::strike_early(site, &head.method, path, &body, false);
    let mut answer = match &in_flight {
        Some(None) => afflict::concurrent_limit("other"),
        _ => early.answer(|| too_long(head).unwrap_or_else(|| dispatch(site, head, token, body))),
    };

    let mut suffered = Suffered { delay: site.options.latency, ..Suffered::default() };
    for fault in early.with_late(site, &head.method, path, &answer) {
        match &fault {
            Fault::Latency { ms } => {
                suffered.delay = suffered.delay.saturating_add(Duration::from_millis(*ms));
            }
            Fault::ClockSkew { seconds } => {
                suffered.skew_ms = suffered.skew_ms.saturating_add(seconds.saturating_mul(1000));
            }
            Fault::LocatorRepeated => answer = afflict::with_locator_repeated(answer, &head.target),
            Fault::SessionExpired => {
                token.inspect(|token| site.tokens.revoke(token));
                answer = afflicted(answer, &fault);
            }
            other => {
                afflict::damage(&mut suffered.damage, other);
                answer = afflicted(answer, other);
            }
        }
    }
    if suffered.skew_ms != 0 && answer.note.kind == "token" {
        answer = afflict::with_issue_time_off(answer, suffered.skew_ms);
    }
    suffered.delay = suffered.delay.saturating_add(Duration::from_millis(answer.note.delay_ms));

    // What was turned away at the door is no API call; a call that failed inside is one.
    let turned_away = matches!(answer.status, 401 | 403 | 414 | 429 | 431);
    let counted = if is_api && !turned_away { answer.note.counted.unwrap_or(1) } else { 0 };
    site.allowance.add(counted, site.clock.epoch_ms());
    let damage = &suffered.damage;
    let cut = damage.no_answer || damage.reset || damage.cut.is_some();
    site.journal.book(Call {
        seq: head.seq,
        at_ms: head.at_ms,
        method: head.method.clone(),
        path: path.to_owned(),
        kind: answer.note.kind.to_owned(),
        status: if cut { 0 } else { answer.status },
        counted,
        subrequests: answer.note.subrequests,
        objects: answer.note.objects.clone(),
        described: answer.note.described.clone(),
        base_url: head.caller.base_url(),
    });
    if is_api {
        answer.headers.push(("Sforce-Limit-Info", site.limit_info()));
    }
    ready(site, head, answer, suffered, in_flight.flatten())
}

/// What faults do to an answer besides changing it.
#[derive(Default)]
struct Suffered {
    delay: Duration,
    skew_ms: i64,
    damage: Damage,
}

/// 414 and 431, at exactly the documented size.
fn too_long(head: &Head) -> Option<Answer> {
    if head.target.len() > LONGEST_HEAD {
        return Some(Answer::error("other", 414, "URI_TOO_LONG", "URI Too Long"));
    }
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (head.target.len() + headers > LONGEST_HEAD).then(|| {
        Answer::error("other", 431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "Request Header Fields Too Large")
    })
}

fn dispatch(site: &Site, head: &Head, token: Option<&str>, body: Bytes) -> Answer {
    let path = head.path().trim_end_matches('/');
    let caller = &head.caller;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // What needs no session.
    match parts.as_slice() {
        ["services", "oauth2", "token"] => {
            return match head.method.as_str() {
                "POST" => oauth::token(site, caller, head.header("authorization"), &body),
                _ => Answer::method_not_allowed("token"),
            };
        }
        ["services", "oauth2", "revoke"] => {
            return match head.method.as_str() {
                "POST" | "GET" => oauth::revoke(site, head.query(), &body),
                _ => Answer::method_not_allowed("token"),
            };
        }
        ["services", "Soap", api @ ("u" | "c"), version, ..] => {
            return match head.method.as_str() {
                "POST" => soap::answer(site, caller, api, version, &body),
                _ => Answer::method_not_allowed("soap"),
            };
        }
        _ => {}
    }
    // The list of versions is for everyone.
    let open = parts == ["services", "data"];
    if !open && !token.is_some_and(|token| site.tokens.admit(token, site.clock.epoch_ms())) {
        return match parts.as_slice() {
            ["services", "async", ..] => classic::session_invalid(head.header("content-type")),
            _ => Answer::session_expired("other"),
        };
    }
    let is_read = matches!(head.method.as_str(), "GET" | "HEAD" | "POST");
    match parts.as_slice() {
        ["services", "oauth2", "userinfo"] if is_read => return oauth::userinfo(site, caller),
        ["services", "oauth2", "userinfo"] => return Answer::method_not_allowed("userinfo"),
        ["id", org, user] if is_read => return oauth::identity(site, caller, org, user),
        ["id", _, _] => return Answer::method_not_allowed("identity"),
        _ => {}
    }
    if !open && site.allowance_is_spent() {
        return match parts.as_slice() {
            ["services", "async", ..] => classic::quota_exceeded(head.header("content-type")),
            _ => afflicted(Answer::not_found("other"), &Fault::DailyLimit),
        };
    }
    let Some(body) = unzipped(head, body) else {
        return Answer::error("other", 400, "INVALID_CONTENT", "The request body is not valid gzip");
    };
    let options = head.header("sforce-query-options").unwrap_or_default();
    let batch_size =
        options.split(',').find_map(|option| option.trim().strip_prefix("batchSize=")?.trim().parse().ok());
    let request = Request {
        method: head.method.clone(),
        target: head.target.clone(),
        body,
        batch_size,
        if_modified_since: head.header("if-modified-since").map(str::to_owned),
        content_type: head.header("content-type").map(str::to_owned),
        pk_chunking: head.header("sforce-enable-pkchunking").map(str::to_owned),
        depth: 0,
        gated: false,
    };
    match parts.as_slice() {
        ["services", "async", ..] => classic::answer(site, &request),
        _ => rest::answer(site, &request),
    }
}

/// The request's body as it was before compression; `None` when it is not what its header says, or too large.
fn unzipped(head: &Head, body: Bytes) -> Option<Vec<u8>> {
    if !head.header("content-encoding").is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip")) {
        return Some(body.into());
    }
    let mut plain = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(&body[..]).take(LARGEST_BODY as u64 + 1);
    unpacked.read_to_end(&mut plain).ok()?;
    (plain.len() <= LARGEST_BODY).then_some(plain)
}

fn ready(site: &Site, head: &Head, answer: Answer, suffered: Suffered, in_flight: Option<InFlight>) -> Ready {
    let mut headers = HeaderMap::new();
    let gzip = head.accepts_gzip() && !answer.body.is_empty();
    if !answer.body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    // By the org's clock: a moved one shows.
    let date = ("Date", http_date(site.clock.epoch_ms().saturating_add(suffered.skew_ms)));
    for (name, value) in answer.headers.into_iter().chain([date]) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let body = WireBody::new(answer.body, gzip, &suffered.damage, in_flight);
    Ready { status: answer.status, headers, body, delay: suffered.delay, damage: suffered.damage }
}
