//! The network, behind a trait.
//!
//! [`Http`] sends one request and gives the whole answer, unpacked and bounded, or its body chunk by chunk
//! ([`Http::send_streaming`]); it knows nothing of Salesforce. [`HttpClient`] is the real one. Neither
//! requests nor errors show a token, a body or a query string when printed.
//!
//! A streamed body is read from the socket only as fast as its reader asks, so a slow reader holds the org
//! back and not our memory. Time that the reader takes for itself is never charged to the answer: what is
//! bounded is the time spent waiting for bytes, in all and for each [`HttpSettings::stall_bytes`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use crate::clock::{BoxFuture, SharedClock, SystemClock};

/// Verbs the client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

/// A body and its type.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Bytes as sent.
    pub bytes: Vec<u8>,
}

/// One request.
#[derive(Clone)]
pub struct HttpRequest {
    /// Verb.
    pub method: Method,
    /// Absolute, already percent-encoded.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub bearer: Option<SecretString>,
    /// Sent with its type; `None` sends none.
    pub body: Option<Body>,
    /// Sent beside those that every request has, names in lower case; `accept` replaces the usual one.
    pub headers: Vec<(&'static str, String)>,
    /// From the first byte sent to the last byte read.
    pub timeout: Duration,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Query strings hold SOQL with row values, bodies hold secrets: neither is shown.
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &without_query(&self.url))
            .field("body_bytes", &self.body.as_ref().map(|body| body.bytes.len()))
            .finish_non_exhaustive()
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Unpacked.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The body of an answer, piece by piece. Dropped before its end, it hangs up.
pub trait Chunks: Send {
    /// The next piece, unpacked; `None` after the last. After an error there is nothing more to get.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>>;
}

/// One answer whose body is still on its way.
pub struct StreamingResponse {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is to come.
    pub body: Box<dyn Chunks>,
}

impl StreamingResponse {
    /// An answer that is there already, in pieces of at most `piece_bytes`; for tests and for networks that
    /// know no streams.
    pub fn whole(response: HttpResponse, piece_bytes: usize) -> Self {
        let rest = Bytes::from(response.body);
        let body = Box::new(WholeBody { rest, piece_bytes: piece_bytes.max(1) });
        Self { status: response.status, headers: response.headers, body }
    }

    /// Reads the rest of the body: for answers that turn out to be small, such as errors.
    ///
    /// # Errors
    /// Those of the network, and [`HttpErrorKind::TooLarge`] beyond `bytes_max`.
    pub async fn read_whole(mut self, bytes_max: usize) -> Result<HttpResponse, HttpError> {
        let mut body = Vec::new();
        while let Some(piece) = self.body.next().await? {
            if body.len() + piece.len() > bytes_max {
                return Err(HttpError { kind: HttpErrorKind::TooLarge, host: String::new(), source: None });
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status: self.status, headers: self.headers, body })
    }
}

impl fmt::Debug for StreamingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

struct WholeBody {
    rest: Bytes,
    piece_bytes: usize,
}

impl Chunks for WholeBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
        let piece = self.rest.split_to(self.piece_bytes.min(self.rest.len()));
        Box::pin(std::future::ready(Ok((!piece.is_empty()).then_some(piece))))
    }
}

/// Where a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// No connection: name, port, TLS.
    Connect,
    /// No whole answer in time.
    Timeout,
    /// The answer broke off or could not be unpacked.
    Truncated,
    /// The answer is larger than the client takes.
    TooLarge,
    /// The request could not be built; asking again changes nothing.
    Setup,
    /// Anything else between here and there.
    Other,
}

impl HttpErrorKind {
    /// A few words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Timeout => "no answer in time",
            Self::Truncated => "the answer broke off",
            Self::TooLarge => "the answer is too large",
            Self::Setup => "the request could not be built",
            Self::Other => "the connection failed",
        }
    }
}

/// A request without an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} at `{host}`", kind.as_str())]
pub struct HttpError {
    /// Where it failed.
    pub kind: HttpErrorKind,
    /// Scheme, host and port; no path, no query.
    pub host: String,
    /// What the network library said.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Sends requests.
pub trait Http: Send + Sync {
    /// Resolves with the whole answer, whatever its status.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>>;

    /// Resolves once status and headers are there, whatever the status. A network that cannot stream gives
    /// what [`Http::send`] gives.
    fn send_streaming(&self, request: HttpRequest) -> BoxFuture<'_, Result<StreamingResponse, HttpError>> {
        Box::pin(async move { Ok(StreamingResponse::whole(self.send(request).await?, 64 * 1024)) })
    }
}

/// How the real network client is set up.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Certificates in PEM that are trusted beside the built-in roots.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Proxy for every request, such as `http://proxy:3128`. The environment is not asked.
    pub proxy_url: Option<String>,
    /// Time for name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Largest unpacked answer in bytes; a streamed one may be larger.
    pub body_bytes_max: usize,
    /// Longest wait for the next [`HttpSettings::stall_bytes`] of a streamed body. The bytes stand there
    /// because an org, or something between, that sends one byte a second never falls silent.
    pub stall_timeout: Duration,
    /// See [`HttpSettings::stall_timeout`].
    pub stall_bytes: usize,
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("HttpSettings").field("has_proxy", &self.proxy_url.is_some()).finish_non_exhaustive()
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            extra_ca_pem: None,
            proxy_url: None,
            connect_timeout: Duration::from_secs(10),
            body_bytes_max: 64 * 1024 * 1024,
            stall_timeout: Duration::from_secs(60),
            stall_bytes: 16 * 1024,
        }
    }
}

/// The network by way of reqwest, with TLS on ring and the built-in root certificates, so that a machine
/// without any certificate store works. Redirects are not followed: an org answers where it is asked,
/// and a token must not travel elsewhere.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    body_bytes_max: usize,
    stall_timeout: Duration,
    stall_bytes: usize,
    /// The network's own patience is the machine's: a test that stops its clock still hears of a dead peer.
    clock: SharedClock,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("body_bytes_max", &self.body_bytes_max).finish_non_exhaustive()
    }
}

/// The network client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// The extra certificates are not PEM, or not certificates.
    #[error("the extra CA certificates cannot be read: {0}")]
    ExtraCa(String),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The network library refused its settings.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

impl HttpClient {
    /// Reads certificates and prepares the connection pool; opens no connection.
    pub fn new(settings: &HttpSettings) -> Result<Self, HttpSetupError> {
        // Without a word from the config no proxy is used: only the config reads the environment.
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(proxy_url) = &settings.proxy_url {
            builder = builder.proxy(reqwest::Proxy::all(proxy_url).map_err(HttpSetupError::Client)?);
        }
        let client = builder
            .tls_backend_preconfigured(tls_config(settings.extra_ca_pem.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .gzip(true)
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(HttpSetupError::Client)?;
        Ok(Self {
            client,
            body_bytes_max: settings.body_bytes_max,
            stall_timeout: settings.stall_timeout,
            stall_bytes: settings.stall_bytes,
            clock: SystemClock::shared(),
        })
    }

    fn prepare(&self, request: HttpRequest) -> reqwest::RequestBuilder {
        let mut builder = match request.method {
            Method::Get => self.client.get(&request.url),
            Method::Post => self.client.post(&request.url),
            Method::Patch => self.client.patch(&request.url),
            Method::Put => self.client.put(&request.url),
            Method::Delete => self.client.delete(&request.url),
        };
        if !request.headers.iter().any(|(name, _)| *name == "accept") {
            builder = builder.header("accept", "application/json");
        }
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if let Some(token) = &request.bearer {
            builder = builder.bearer_auth(token.expose_secret());
        }
        if let Some(body) = request.body {
            builder = builder.header("content-type", body.content_type).body(body.bytes);
        }
        builder
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (host, timeout) = (host_of(&request.url), request.timeout);
        let fail = |error: reqwest::Error| http_error(&host, error);
        let mut response = self.prepare(request).timeout(timeout).send().await.map_err(fail)?;
        let status = response.status().as_u16();
        let headers = headers_of(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(HttpError { kind: HttpErrorKind::TooLarge, host, source: None });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body })
    }

    async fn open(&self, request: HttpRequest) -> Result<StreamingResponse, HttpError> {
        let (host, timeout) = (host_of(&request.url), request.timeout);
        // Not reqwest's own timeout: that one runs on while the reader is busy with what it has.
        let sent = tokio::time::timeout(timeout, self.prepare(request).send()).await;
        let response = match sent {
            Ok(response) => response.map_err(|error| http_error(&host, error))?,
            Err(_) => return Err(HttpError { kind: HttpErrorKind::Timeout, host, source: None }),
        };
        let status = response.status().as_u16();
        let headers = headers_of(&response);
        let body = Box::new(LiveBody {
            response,
            host,
            clock: Arc::clone(&self.clock),
            waited: Duration::ZERO,
            waited_max: timeout,
            stalled: Duration::ZERO,
            stalled_max: self.stall_timeout,
            arrived: 0,
            stall_bytes: self.stall_bytes,
        });
        Ok(StreamingResponse { status, headers, body })
    }
}

/// A body that is read from its socket when asked, with the time spent waiting for it.
struct LiveBody {
    response: reqwest::Response,
    host: String,
    clock: SharedClock,
    waited: Duration,
    waited_max: Duration,
    /// Waited since `stall_bytes` came last.
    stalled: Duration,
    stalled_max: Duration,
    arrived: usize,
    stall_bytes: usize,
}

impl LiveBody {
    async fn read(&mut self) -> Result<Option<Bytes>, HttpError> {
        let left =
            (self.waited_max.saturating_sub(self.waited)).min(self.stalled_max.saturating_sub(self.stalled));
        let began = self.clock.elapsed();
        let read = tokio::time::timeout(left, self.response.chunk()).await;
        let took = self.clock.elapsed().saturating_sub(began);
        self.waited += took;
        self.stalled += took;
        let Ok(read) = read else {
            let host = self.host.clone();
            return Err(HttpError { kind: HttpErrorKind::Timeout, host, source: None });
        };
        let chunk = read.map_err(|error| http_error(&self.host, error))?;
        self.arrived += chunk.as_ref().map_or(0, Bytes::len);
        if self.arrived >= self.stall_bytes {
            (self.arrived, self.stalled) = (0, Duration::ZERO);
        }
        Ok(chunk)
    }
}

impl Chunks for LiveBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
        Box::pin(self.read())
    }
}

impl Http for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(self.exchange(request))
    }

    fn send_streaming(&self, request: HttpRequest) -> BoxFuture<'_, Result<StreamingResponse, HttpError>> {
        Box::pin(self.open(request))
    }
}

fn headers_of(response: &reqwest::Response) -> Vec<(String, String)> {
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    response.headers().iter().filter_map(text).collect()
}

/// TLS on ring with the built-in roots, and with what else is trusted; for every client of the project.
///
/// # Errors
/// When the certificates beside the roots are none.
pub fn tls_config(extra_ca_pem: Option<&[u8]>) -> Result<rustls::ClientConfig, HttpSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = extra_ca_pem {
        let bad = |error: &dyn fmt::Display| HttpSetupError::ExtraCa(error.to_string());
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
            found += 1;
        }
        if found == 0 {
            return Err(bad(&"no certificate in it"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HttpSetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn http_error(host: &str, error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_body() || error.is_decode() {
        HttpErrorKind::Truncated
    } else if error.is_builder() {
        HttpErrorKind::Setup
    } else {
        HttpErrorKind::Other
    };
    // The library's text names the URL, and a URL holds a query: it is cut off.
    HttpError { kind, host: host.to_owned(), source: Some(Arc::new(error.without_url())) }
}

/// Scheme, host and port of a URL.
fn host_of(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    url[..end].to_owned()
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_a_request_shows_neither_token_nor_body_nor_query() {
        let request = HttpRequest {
            method: Method::Post,
            url: "https://acme.example/services/data/v62.0/query?q=SELECT+secretive".to_owned(),
            bearer: Some("00Dsecrettoken".into()),
            body: Some(Body { content_type: "text/plain", bytes: b"client_secret=hush".to_vec() }),
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        let shown = format!("{request:?}");
        for hidden in ["secretive", "secrettoken", "hush"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn an_error_names_the_host_only() {
        assert_eq!(host_of("https://acme.example:8443/services?q=x"), "https://acme.example:8443");
        assert_eq!(host_of("http://127.0.0.1:80"), "http://127.0.0.1:80");
    }

    #[test]
    fn extra_certificates_that_are_none_are_refused() {
        let settings =
            HttpSettings { extra_ca_pem: Some(b"not a certificate".to_vec()), ..HttpSettings::default() };
        assert!(matches!(HttpClient::new(&settings), Err(HttpSetupError::ExtraCa(_))));
        assert!(HttpClient::new(&HttpSettings::default()).is_ok());
    }
}
