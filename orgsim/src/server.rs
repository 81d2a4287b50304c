//! HTTP: connections, headers, sizes, faults of the wire. What is said comes from [`crate::rest`] and its neighbours.

use crate::{
    answer::Answer,
    catalog::{self, CatalogError},
    composite, control,
    faults::{Fault, Faults, Subject},
    journal::{Call, JournalSnapshot},
    model::OrgModel,
    options::Options,
    org::OrgData,
    rest::{self, Request},
    rows::SeededRows,
    rows_api::RowSource,
    site::Site,
    tokens,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Longest URI, and longest URI with headers, in bytes.
const LONGEST_HEAD: usize = 16_384;
const LARGEST_BODY: usize = 32 << 20;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The org could not be made.
    #[error("make the simulated org")]
    Catalog {
        /// What went wrong.
        source: CatalogError,
    },
    /// The address is taken or not ours.
    #[error("listen on `{address}`")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A running simulated org. Dropping it stops it at once.
pub struct Server {
    site: Arc<Site>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// When a project cannot be read or the address cannot be had.
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
    /// When the address cannot be had.
    pub async fn start_with(
        options: Options,
        model: OrgModel,
        rows: Box<dyn RowSource>,
    ) -> Result<Self, StartError> {
        let address = options.listen;
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let site = Arc::new(Site::new(options, OrgData::new(model, rows)));
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, site.clone(), stopped));
        Ok(Self { site, address, stop, accepting })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

    /// Sets the calls used of the daily allowance.
    pub fn set_used(&self, calls: u64) {
        self.site.used.store(calls, Ordering::Relaxed);
    }

    /// The org's objects, for tests that compare.
    pub fn model(&self) -> &OrgModel {
        &self.site.org.model
    }

    /// Closes the listener and every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // The task ends by itself; that it panicked is nothing the caller could act on.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, site.clone()));
                }
                // Out of descriptors, most likely: wait for some to be given back.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => return,
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>) {
    // Best effort: an answer in two segments is slower, not wrong.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| handle(site.clone(), request));
    let connection =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Told to hyper so that it drops the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
struct Cut;

/// A body of known length that may end too early on purpose.
struct SimBody {
    data: Bytes,
    declared: u64,
    cut: bool,
    flushed: bool,
}

impl HttpBody for SimBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.declared -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.cut && !self.flushed {
            // An error at once would take with it what hyper has not yet written.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(if self.cut { Some(Err(Cut)) } else { None })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.declared)
    }
}

/// An answer ready to be sent.
struct Ready {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
    delay: Duration,
    cut: Option<Fault>,
}

struct Head {
    seq: u64,
    at_ms: u64,
    method: String,
    target: String,
    headers: HeaderMap,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

async fn handle(site: Arc<Site>, request: hyper::Request<Incoming>) -> Result<Response<SimBody>, Cut> {
    let (parts, body) = request.into_parts();
    let head = Head {
        seq: site.journal.arrive(),
        at_ms: site.clock.elapsed_ms(),
        method: parts.method.as_str().to_owned(),
        target: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: parts.headers,
    };
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(Cut),
    };
    // Scans, rendering and compression take milliseconds: not on a thread that serves sockets.
    let ready = tokio::task::spawn_blocking(move || respond(&site, &head, &body)).await.map_err(|_| Cut)?;
    if !ready.delay.is_zero() {
        tokio::time::sleep(ready.delay).await;
    }
    let declared = ready.bytes.len() as u64;
    let (data, cut) = match ready.cut {
        Some(Fault::CutBefore) => return Err(Cut),
        Some(_) => (ready.bytes.slice(..ready.bytes.len() / 2), true),
        None => (ready.bytes, false),
    };
    let mut response = Response::new(SimBody { data, declared, cut, flushed: false });
    *response.status_mut() = StatusCode::from_u16(ready.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = ready.headers;
    Ok(response)
}

/// Answers and books a request.
fn respond(site: &Site, head: &Head, body: &[u8]) -> Ready {
    let path = head.path();
    if path.starts_with("/__sim") {
        return ready(head, control::answer(site, &head.method, path, body), None, Duration::ZERO);
    }
    let is_rest = path.starts_with("/services/data");
    let token = head
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("OAuth ")));
    let mut answer = too_long(head).unwrap_or_else(|| dispatch(site, head, token, body));

    let subject = Subject {
        kind: answer.note.kind,
        method: &head.method,
        path,
        objects: &answer.note.objects,
        alone: !matches!(answer.note.kind, "composite" | "composite_batch"),
        part: false,
    };
    let mut delay = site.options.latency;
    let mut cut = None;
    for fault in site.faults.strike(&subject) {
        match &fault {
            Fault::Latency { ms } => delay += Duration::from_millis(*ms),
            Fault::CutBefore | Fault::CutMidBody => cut = Some(fault),
            Fault::SessionExpired => {
                token.inspect(|token| site.tokens.revoke(token));
                answer = composite::afflicted(answer, &fault);
            }
            other => answer = composite::afflicted(answer, other),
        }
    }
    delay += Duration::from_millis(answer.note.delay_ms);

    // What was turned away at the door is no API call; a call that failed inside is one.
    let turned_away = matches!(answer.status, 401 | 403 | 414 | 429 | 431);
    let counted = if is_rest && !turned_away { answer.note.counted.unwrap_or(1) } else { 0 };
    site.used.fetch_add(counted, Ordering::Relaxed);
    site.journal.book(Call {
        seq: head.seq,
        at_ms: head.at_ms,
        method: head.method.clone(),
        path: path.to_owned(),
        kind: answer.note.kind.to_owned(),
        status: if cut.is_some() { 0 } else { answer.status },
        counted,
        subrequests: answer.note.subrequests,
        objects: answer.note.objects.clone(),
        described: answer.note.described.clone(),
    });
    if is_rest {
        answer.headers.push(("Sforce-Limit-Info", site.limit_info()));
    }
    ready(head, answer, cut, delay)
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

fn dispatch(site: &Site, head: &Head, token: Option<&str>, body: &[u8]) -> Answer {
    let path = head.path().trim_end_matches('/');
    let host = head.header("host").unwrap_or("127.0.0.1");
    if path == "/services/oauth2/token" {
        return match head.method.as_str() {
            "POST" => tokens::token(site, host, head.header("authorization"), body),
            _ => Answer::method_not_allowed("token"),
        };
    }
    // The list of versions is for everyone.
    let open = path == "/services/data";
    let allowed = open || token.is_some_and(|token| site.tokens.is_valid(token, site.clock.epoch_ms()));
    if !allowed {
        return Answer::session_expired("other");
    }
    if path == "/services/oauth2/userinfo" || path.starts_with("/id/") {
        return tokens::userinfo(site, host);
    }
    let spent = site.used.load(Ordering::Relaxed) >= site.daily_limit.load(Ordering::Relaxed);
    if spent && !open {
        return composite::afflicted(Answer::not_found("other"), &Fault::DailyLimit);
    }
    let options = head.header("sforce-query-options").unwrap_or_default();
    let batch_size =
        options.split(',').find_map(|option| option.trim().strip_prefix("batchSize=")?.trim().parse().ok());
    let request = Request {
        method: head.method.clone(),
        target: head.target.clone(),
        body: body.to_vec(),
        batch_size,
        if_modified_since: head.header("if-modified-since").map(str::to_owned),
        depth: 0,
        gated: false,
    };
    rest::answer(site, &request)
}

fn ready(head: &Head, answer: Answer, cut: Option<Fault>, delay: Duration) -> Ready {
    let mut headers = HeaderMap::new();
    let wants_gzip = head.header("accept-encoding").is_some_and(|accepted| {
        accepted
            .split(',')
            .any(|one| one.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip")))
    });
    let empty = answer.body.is_empty();
    if !empty {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    for (name, value) in answer.headers {
        let name = header::HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let bytes = if wants_gzip && !empty {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        answer.body.gzipped()
    } else {
        answer.body.plain()
    };
    Ready { status: answer.status, headers, bytes, delay, cut }
}
