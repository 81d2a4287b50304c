//! The network, behind a trait.
//!
//! [`Http`] sends one request and gives the whole answer, unpacked and bounded; it knows nothing of
//! Salesforce. [`HttpClient`] is the real one. Neither requests nor errors show a token, a body or a
//! query string when printed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use crate::clock::BoxFuture;

/// Verbs the client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
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
}

/// How the real network client is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Certificates in PEM that are trusted beside the built-in roots.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Proxy for every request, such as `http://proxy:3128`. The environment is not asked.
    pub proxy_url: Option<String>,
    /// Time for name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Largest unpacked answer in bytes.
    pub body_bytes_max: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            extra_ca_pem: None,
            proxy_url: None,
            connect_timeout: Duration::from_secs(10),
            body_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// The network by way of reqwest, with TLS on ring and the built-in root certificates, so that a machine
/// without any certificate store works. Redirects are not followed: an org answers where it is asked,
/// and a token must not travel elsewhere.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    body_bytes_max: usize,
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
        Ok(Self { client, body_bytes_max: settings.body_bytes_max })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = host_of(&request.url);
        let fail = |error: reqwest::Error| http_error(&host, error);
        let mut builder = match request.method {
            Method::Get => self.client.get(&request.url),
            Method::Post => self.client.post(&request.url),
        };
        builder = builder.timeout(request.timeout).header("accept", "application/json");
        if let Some(token) = &request.bearer {
            builder = builder.bearer_auth(token.expose_secret());
        }
        if let Some(body) = request.body {
            builder = builder.header("content-type", body.content_type).body(body.bytes);
        }
        let mut response = builder.send().await.map_err(fail)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(HttpError { kind: HttpErrorKind::TooLarge, host, source: None });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body })
    }
}

impl Http for HttpClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(self.exchange(request))
    }
}

fn tls_config(extra_ca_pem: Option<&[u8]>) -> Result<rustls::ClientConfig, HttpSetupError> {
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
