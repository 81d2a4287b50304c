//! A daemon on a database of its own, and what is said to it over HTTP.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::support::databases::{Database, Kind};
use super::support::{Daemon, Place, free_addr, until};

/// Signs the tokens of the tests.
pub const SECRET: &str = "a secret of the tests that has at least 32 bytes";
pub const ISSUER: &str = "https://issuer.test";

/// The daemon, its database, and a client.
pub struct Service {
    pub database: Database,
    pub place: Place,
    daemon: Option<Daemon>,
    client: Client,
}

/// Whoever talks to a daemon at this address; several may at once.
#[derive(Clone)]
pub struct Client {
    addr: std::net::SocketAddr,
    http: reqwest::Client,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Deref for Service {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Service {
    /// `definitions`: SQL that makes the tables; `entities`: sections of the configuration.
    pub fn start(kind: Kind, definitions: &str, entities: &str) -> Self {
        Self::with(kind, definitions, entities, "")
    }

    /// The same with more configuration, whole sections.
    pub fn with(kind: Kind, definitions: &str, entities: &str, sections: &str) -> Self {
        // Without a provider the client would panic; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = Database::start(kind);
        database.execute(definitions);
        let addr = free_addr();
        let api = format!(
            "[api]\nlisten = '{addr}'\nanonymous = 'allow'\n\
             [[api.issuer]]\nname = 'tests'\nissuer = '{ISSUER}'\naudience = ['batch']\nalgorithms = ['HS256']\nsecret = '{SECRET}'\n"
        );
        let place = Place::new(&format!("{api}{sections}{}{entities}", database.section()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = Client { addr, http: reqwest::Client::new(), runtime: Arc::new(runtime) };
        let mut service = Self { database, place, daemon: None, client };
        service.launch();
        service
    }

    /// Starts the daemon (again) and waits until it answers.
    pub fn launch(&mut self) {
        self.daemon = Some(self.place.daemon());
        let daemon = self.daemon.as_ref().expect("a daemon");
        until("the API to answer", || daemon.log(), || self.client.try_get("/entities").is_ok());
    }

    /// Kills the daemon at once.
    pub fn kill_nine(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Client {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A token with these claims that holds for an hour.
    pub fn token(claims: &Map<String, Value>) -> String {
        let mut claims = claims.clone();
        let expires = jiff_now() + 3_600;
        for (name, value) in [("iss", json!(ISSUER)), ("aud", json!("batch")), ("exp", json!(expires))] {
            claims.entry(name).or_insert(value);
        }
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
    }

    /// Sends a batch as a caller with these claims; none or empty: without a token.
    pub fn post(&self, request: &Value, claims: Option<&Map<String, Value>>) -> Answer {
        self.send("/batch", request.to_string().into_bytes(), claims, &[])
    }

    /// Sends any body with more headers.
    pub fn send(
        &self,
        path: &str,
        body: Vec<u8>,
        claims: Option<&Map<String, Value>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_send(path, body, claims, headers).expect("an answer")
    }

    /// The same, where the daemon may be gone.
    pub fn try_send(
        &self,
        path: &str,
        body: Vec<u8>,
        claims: Option<&Map<String, Value>>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.post(self.url(path)).body(body);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(claims) = claims.filter(|claims| !claims.is_empty()) {
            request = request.bearer_auth(Self::token(claims));
        }
        self.answer(request)
    }

    pub fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.answer(self.http.get(self.url(path)))
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = response.text().await?;
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Ok(Answer { status, headers, text, body })
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a token of the tests ends by the machine's clock")]
fn jiff_now() -> i64 {
    jiff::Timestamp::now().as_second()
}
