//! Metrics, health and status over HTTP; and the batch endpoint, on a listener of its own ([`api`]).
//!
//! The server has a thread and a runtime of its own, so that a starved plant still answers and shows it.
//! It knows nothing of the actors: what it says comes from a [`Health`] and a [`StatusSource`].
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | text exposition |
//! | `/livez` | 200 while the process works, else 503; dependencies do not count |
//! | `/readyz` | 200 when it takes work, else 503; paused is ready, with the reason |
//! | `/status` | JSON |
//!
//! `?verbose` lists the checks, `?exclude=name` leaves one out (repeatable).

pub mod api;
pub mod jwks;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::telemetry::Metrics;

/// How one part of the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The part, such as `journal` or `org-demo`.
    pub name: String,
    /// How it is.
    pub state: CheckState,
}

/// The state of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Good,
    /// As it should be, and worth a word: `paused by the operator`.
    GoodWith(String),
    /// Not as it should be, and why. Holds no secret: it is shown to whoever asks.
    Bad(String),
}

impl Check {
    /// A part that is as it should be.
    pub fn good(name: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Good }
    }

    /// A part that is as it should be, and worth a word.
    pub fn good_with(name: impl Into<String>, word: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::GoodWith(word.into()) }
    }

    /// A part that is not as it should be.
    pub fn bad(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Bad(why.into()) }
    }

    fn is_bad(&self) -> bool {
        matches!(self.state, CheckState::Bad(_))
    }
}

/// Says how the process is. Called on the server's thread: it answers from memory and never waits.
pub trait Health: Send + Sync + 'static {
    /// Event loop and supervisor only, never the org or a disk.
    fn liveness(&self) -> Vec<Check>;
    /// Everything work needs: config, stores, sign-in, not draining.
    fn readiness(&self) -> Vec<Check>;
}

/// Says what the process is doing. Called on the server's thread: it answers from memory and never waits.
pub trait StatusSource: Send + Sync + 'static {
    /// The document of `/status`; the server adds nothing to it.
    fn status(&self) -> serde_json::Value;
}

impl<F: Fn() -> serde_json::Value + Send + Sync + 'static> StatusSource for F {
    fn status(&self) -> serde_json::Value {
        self()
    }
}

/// What the server serves.
#[derive(Clone)]
pub struct Sources {
    /// Rendered by `/metrics`.
    pub metrics: Metrics,
    /// Asked by `/livez` and `/readyz`.
    pub health: Arc<dyn Health>,
    /// Asked by `/status`.
    pub status: Arc<dyn StatusSource>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port is taken, or not ours to take.
    #[error("listen on `{listen}`")]
    Listen {
        /// What was asked for.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread could not be made.
    #[error("start the thread of the HTTP server")]
    Thread(#[source] std::io::Error),
    /// The server ended before it answered.
    #[error("start the HTTP server on `{listen}`")]
    Ended {
        /// What was asked for.
        listen: SocketAddr,
    },
}

/// A running server; dropped, it stops.
#[derive(Debug)]
pub struct HttpHandle {
    addr: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl HttpHandle {
    /// The address it listens on, with the port the system chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops taking connections, lets open requests end for at most a second, and waits for the thread.
    /// Blocks: inside a runtime, call it from `spawn_blocking`.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Sending is done by the call itself; the future only waits for the answer, and the join waits too.
        drop(self.server.stop(true));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the HTTP server panicked");
        }
    }
}

impl Drop for HttpHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// Binds `listen` and serves on a thread of its own.
///
/// # Errors
/// When the address cannot be bound, or the thread cannot start.
pub fn start(listen: SocketAddr, sources: Sources) -> Result<HttpHandle, HttpError> {
    let data = web::Data::new(sources);
    let options = ServerOptions { thread: "http", workers: 1, half_closed_is_gone: false };
    start_server(listen, options, move |config: &mut web::ServiceConfig| {
        config.app_data(data.clone()).configure(routes);
    })
}

/// How a server runs.
#[derive(Clone, Copy)]
struct ServerOptions {
    /// Name of its thread.
    thread: &'static str,
    /// Threads that answer.
    workers: usize,
    /// A client that has closed its side of the connection is not worked for any more.
    half_closed_is_gone: bool,
}

fn start_server(
    listen: SocketAddr,
    options: ServerOptions,
    configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> Result<HttpHandle, HttpError> {
    let bind = || {
        let listener = TcpListener::bind(listen)?;
        Ok((listener.local_addr()?, listener))
    };
    let (addr, listener) = bind().map_err(|source| HttpError::Listen { listen, source })?;
    let (send, receive) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(options.thread.to_owned())
        .spawn(move || serve(listener, options, configure, &send))
        .map_err(HttpError::Thread)?;
    match receive.recv() {
        Ok(Ok(server)) => Ok(HttpHandle { addr, server, thread: Some(thread) }),
        Ok(Err(source)) => Err(HttpError::Listen { listen, source }),
        Err(_) => Err(HttpError::Ended { listen }),
    }
}

fn serve(
    listener: TcpListener,
    options: ServerOptions,
    configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    started: &mpsc::SyncSender<std::io::Result<ServerHandle>>,
) {
    actix_rt::System::new().block_on(async move {
        let server = HttpServer::new(move || App::new().configure(configure.clone()))
            .workers(options.workers)
            .h1_allow_half_closed(!options.half_closed_is_gone)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(listener);
        let server = match server {
            Ok(server) => server.run(),
            Err(error) => {
                // Whoever waits for the start is there: `start` holds the other end until it hears from us.
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(server.handle()));
        if let Err(error) = server.await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/metrics", web::get().to(metrics))
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz))
        .route("/status", web::get().to(status))
        .default_service(web::to(elsewhere));
}

async fn metrics(sources: web::Data<Sources>) -> HttpResponse {
    HttpResponse::Ok().content_type(prometheus::TEXT_FORMAT).body(sources.metrics.render())
}

async fn livez(request: HttpRequest, sources: web::Data<Sources>) -> HttpResponse {
    answer("livez", &sources.health.liveness(), request.query_string())
}

async fn readyz(request: HttpRequest, sources: web::Data<Sources>) -> HttpResponse {
    answer("readyz", &sources.health.readiness(), request.query_string())
}

async fn status(sources: web::Data<Sources>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(sources.status.status())
}

async fn elsewhere() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type(ContentType::plaintext())
        .body("penstock answers /metrics, /livez, /readyz and /status\n")
}

fn answer(what: &str, checks: &[Check], query: &str) -> HttpResponse {
    let (good, body) = report(what, checks, query);
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(code)
        .content_type(ContentType::plaintext())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}

/// The verdict and its text; a failure lists the checks without being asked.
fn report(what: &str, checks: &[Check], query: &str) -> (bool, String) {
    let mut verbose = false;
    let mut excluded = Vec::new();
    for part in query.split('&') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("verbose", _) => verbose = true,
            ("exclude", name) => excluded.push(name),
            _ => {}
        }
    }
    let is_excluded = |check: &Check| excluded.contains(&check.name.as_str());
    let good = !checks.iter().any(|check| check.is_bad() && !is_excluded(check));
    if good && !verbose {
        return (true, "ok\n".to_owned());
    }
    let mut body = String::new();
    for check in checks {
        let line = match &check.state {
            _ if is_excluded(check) => format!("[+]{} excluded: ok\n", check.name),
            CheckState::Good => format!("[+]{} ok\n", check.name),
            CheckState::GoodWith(word) => format!("[+]{} ok: {word}\n", check.name),
            CheckState::Bad(why) => format!("[-]{} failed: {why}\n", check.name),
        };
        body.push_str(&line);
    }
    body.push_str(&format!("{what} check {}\n", if good { "passed" } else { "failed" }));
    (good, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    struct Fixed(Vec<Check>);

    impl Health for Fixed {
        fn liveness(&self) -> Vec<Check> {
            vec![Check::good("supervisor")]
        }

        fn readiness(&self) -> Vec<Check> {
            self.0.clone()
        }
    }

    fn started(readiness: Vec<Check>) -> (HttpHandle, Metrics) {
        let metrics = Metrics::new();
        let sources = Sources {
            metrics: metrics.clone(),
            health: Arc::new(Fixed(readiness)),
            status: Arc::new(|| serde_json::json!({"version": 1, "state": "running"})),
        };
        (start(SocketAddr::from(([127, 0, 0, 1], 0)), sources).expect("a free port"), metrics)
    }

    /// Status code and body.
    fn get(addr: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn metrics_health_and_status_are_served_until_it_stops() {
        let (server, metrics) = started(vec![Check::good("config"), Check::bad("org-demo", "no answer yet")]);
        let addr = server.addr();
        metrics.journal_commits_total.inc_by(7);
        let (code, body) = get(addr, "/metrics");
        assert_eq!(code, 200);
        assert!(body.contains("penstock_journal_commits_total 7"), "{body}");
        assert_eq!(get(addr, "/livez"), (200, "ok\n".to_owned()));
        let listed = "[+]config ok\n[-]org-demo failed: no answer yet\nreadyz check failed\n";
        assert_eq!(get(addr, "/readyz"), (503, listed.to_owned()));
        assert_eq!(get(addr, "/readyz?exclude=org-demo"), (200, "ok\n".to_owned()));
        assert_eq!(get(addr, "/status"), (200, "{\"state\":\"running\",\"version\":1}".to_owned()));
        assert_eq!(get(addr, "/nowhere").0, 404);
        server.stop();
        // Another test's child process, between its fork and its exec, may hold the socket a moment longer.
        let is_closed = (0..10_000).any(|_| TcpStream::connect(addr).is_err());
        assert!(is_closed, "somebody still listens");
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let (server, metrics) = started(Vec::new());
        let sources = Sources {
            metrics,
            health: Arc::new(Fixed(Vec::new())),
            status: Arc::new(|| serde_json::Value::Null),
        };
        let error = start(server.addr(), sources).expect_err("taken").to_string();
        assert_eq!(error, format!("listen on `{}`", server.addr()));
    }

    #[test]
    fn a_server_runs_inside_another_runtime_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (server, _) = started(Vec::new());
            assert_eq!(get(server.addr(), "/livez").0, 200);
        });
    }

    #[rstest]
    #[case::all_good(vec![Check::good("a")], "", true, "ok\n")]
    #[case::nothing_to_check(vec![], "", true, "ok\n")]
    #[case::verbose(vec![Check::good("a")], "verbose", true, "[+]a ok\nreadyz check passed\n")]
    #[case::paused_is_ready(
        vec![Check::good_with("line", "paused by the operator")], "verbose=1", true,
        "[+]line ok: paused by the operator\nreadyz check passed\n"
    )]
    #[case::excluded(vec![Check::bad("a", "x")], "exclude=a&verbose", true, "[+]a excluded: ok\nreadyz check passed\n")]
    #[case::another_excluded(vec![Check::bad("a", "x")], "exclude=b", false, "[-]a failed: x\nreadyz check failed\n")]
    fn the_report_follows_the_checks(
        #[case] checks: Vec<Check>,
        #[case] query: &str,
        #[case] good: bool,
        #[case] body: &str,
    ) {
        assert_eq!(report("readyz", &checks, query), (good, body.to_owned()));
    }
}
