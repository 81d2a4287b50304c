//! Requests to the endpoint and their answers, bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};

use super::error::{ChatError, ChatSetupError, classify, is_error_body};
use crate::leads::ModelSettings;
use crate::limiter::model::RatesSeen;
use crate::salesforce::transport::{HttpSetupError, tls_config};

/// Time for name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A whole answer with a good status.
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    pub(super) rates: RatesSeen,
}

#[derive(Clone)]
pub(super) struct Wire {
    client: reqwest::Client,
    /// Without a slash at its end.
    base_url: String,
    host: String,
    key: Option<SecretString>,
}

impl Wire {
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, ChatSetupError> {
        let bad_url = || ChatSetupError::BaseUrl { base_url: settings.base_url.clone() };
        let url = reqwest::Url::parse(&settings.base_url).map_err(|_| bad_url())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(bad_url());
        }
        let ca_pem = match &settings.ca_file {
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|source| ChatSetupError::CaFile { path: path.clone(), source })?,
            ),
            None => None,
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.api_key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .map_err(|_| ChatSetupError::Key)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Redirects are not followed: a key must not travel elsewhere.
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls_config(ca_pem.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(settings.concurrency.get() as usize)
            .gzip(true)
            .default_headers(headers)
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(HttpSetupError::Client)?;
        Ok(Self {
            client,
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            host: url.origin().ascii_serialization(),
            key: settings.api_key.clone(),
        })
    }

    /// Scheme, host and port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A request for a path below the base address.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.base_url))
    }

    /// Sends it and reads the whole answer.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        bytes_max: usize,
    ) -> Result<Reply, ChatError> {
        let (mut response, rates) = self.open(request).await?;
        let body = self.read(&mut response, bytes_max).await?;
        if is_error_body(&body) {
            return Err(self.refusal(200, &body, rates));
        }
        Ok(Reply { body, rates })
    }

    /// Sends it and gives the answer whose body is still to come; a refusal is read and told.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<(Response, RatesSeen), ChatError> {
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let headers = response.headers();
        let rates = RatesSeen::read(|name| headers.get(name)?.to_str().ok());
        if status.is_success() {
            return Ok((response, rates));
        }
        // A refusal counts by its status where its body does not arrive.
        let body = self.read(&mut response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        Err(self.refusal(status.as_u16(), &body, rates))
    }

    /// What a refusal means.
    pub(super) fn refusal(&self, status: u16, body: &[u8], rates: RatesSeen) -> ChatError {
        classify(status, body, rates, self.key.as_ref().map(ExposeSecret::expose_secret))
    }

    /// The next piece of a body.
    pub(super) async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, ChatError> {
        response.chunk().await.map_err(|error| self.failed(error))
    }

    async fn read(&self, response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, ChatError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(response).await? {
            if body.len() + piece.len() > bytes_max {
                let what = "its answer is too large";
                return Err(ChatError::Network { host: self.host.clone(), what, source: None });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn failed(&self, error: reqwest::Error) -> ChatError {
        let host = self.host.clone();
        if error.is_timeout() {
            return ChatError::Timeout { host };
        }
        let what = if error.is_connect() {
            "no connection"
        } else if error.is_builder() {
            "the request could not be built"
        } else if error.is_body() || error.is_decode() {
            "the answer broke off"
        } else {
            "the connection failed"
        };
        ChatError::Network { host, what, source: Some(Arc::new(error.without_url())) }
    }
}
