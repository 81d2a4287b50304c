//! HTTP: who is let in, what is counted, faults, and what is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::answer::{Answer, refusal_of};
use crate::batches::BatchPlan;
use crate::chat::{Invalid, Question};
use crate::control;
use crate::faults::{Fault, FaultRule};
use crate::files;
use crate::limits::{Gate, Limits};
use crate::log::{LogEntry, Stats};
use crate::options::Options;
use crate::site::{Site, lock};
use crate::wire::{Cut, Ticket, WireBody};

/// Largest request: a file of 200 MB and its form.
const LARGEST_BODY: usize = 220 << 20;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("listen on `{address}`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A running endpoint. Dropping it stops it at once.
pub struct Server {
    site: Arc<Site>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let failed = |source| StartError::Bind { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let site = Arc::new(Site::new(options));
        let (stop, stopped) = watch::channel(false);
        let task = Some(tokio::spawn(accept(listener, stopped, site.clone())));
        Ok(Self { site, address, stop, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that clients are given: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// What has been asked so far.
    pub fn log(&self) -> Vec<LogEntry> {
        self.site.log.snapshot()
    }

    /// The same in figures.
    pub fn stats(&self) -> Stats {
        self.site.log.stats()
    }

    /// Forgets what has been asked so far.
    pub fn clear_log(&self) {
        self.site.log.clear();
    }

    /// Adds faults to those in force.
    pub fn add_faults(&self, rules: impl IntoIterator<Item = FaultRule>) {
        lock(&self.site.faults).add(rules);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        lock(&self.site.faults).clear();
    }

    /// Other limits from now on, with nothing used yet.
    pub fn set_limits(&self, limits: Limits) {
        *lock(&self.site.gate) = Gate::new(limits, self.site.clock.real());
    }

    /// Another time from a question to its answer.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.site.latency) = latency;
    }

    /// How batches go that are made from now on.
    pub fn set_batch_plan(&self, plan: BatchPlan) {
        lock(&self.site.batches).set_plan(plan);
    }

    /// Moves the time of batches and files forward.
    pub fn advance(&self, by: Duration) {
        self.site.clock.advance(by);
    }

    /// Real time since the start: the scale of the log's `at_ms`.
    pub fn elapsed(&self) -> Duration {
        self.site.clock.real()
    }

    /// Closes the listener and every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It ends by itself; that it panicked is nothing the caller could act on.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, mut stopped: watch::Receiver<bool>, site: Arc<Site>) {
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
    let service = service_fn(|request| handle(site.clone(), request));
    // A client that went away, or a connection cut on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What was asked for, as far as the first line and the headers say.
struct Head {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Head {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn key(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION).strip_prefix("Bearer ")
    }

    /// The part of the address that rules for faults go by.
    fn kind(&self) -> &'static str {
        match self.path.strip_prefix("/v1/").unwrap_or_default().split('/').next() {
            Some("chat") => "chat",
            Some("files") => "files",
            Some("batches") => "batches",
            Some("models") => "models",
            _ => "other",
        }
    }
}

async fn handle(site: Arc<Site>, request: Request<Incoming>) -> Result<Response<WireBody>, Cut> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let head = Head {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parts.headers,
    };
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else { return Err(Cut) };
    let body = body.to_bytes();
    if head.path.starts_with("/__sim") {
        let answer = control::answer(&site, &head.method, &head.path, &body);
        return Ok(response(answer, None));
    }
    let (answer, seq) = if head.kind() == "chat" {
        ask(&site, &head, &body)
    } else {
        let site = site.clone();
        // Answering a batch takes seconds: not on a thread that serves sockets.
        let done = tokio::task::spawn_blocking(move || keep(&site, &head, &body)).await;
        done.map_err(|_| Cut)?
    };
    // Dropped where this future is, it leaves the entry without an end: the client went away.
    let ticket = Ticket::new(site, seq);
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    if answer.is_dropped {
        return Err(Cut);
    }
    Ok(response(answer, Some(ticket)))
}

fn response(answer: Answer, ticket: Option<Ticket>) -> Response<WireBody> {
    let mut response = Response::new(WireBody::new(answer.body, answer.cut, ticket));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

fn entry(site: &Site, head: &Head) -> LogEntry {
    LogEntry {
        seq: 0,
        at_ms: site.elapsed_ms(),
        request: format!("{} {}", head.method, head.path),
        lead: None,
        batch: None,
        question: None,
        status: 0,
        fault: None,
        prompt_tokens: 0,
        completion_tokens: 0,
        sent_whole: false,
        ended_ms: None,
    }
}

/// Whoever is not let in.
fn locked_out(site: &Site, head: &Head) -> Option<Answer> {
    let wanted = site.api_key.as_deref()?;
    (head.key() != Some(wanted)).then(|| {
        let (status, body) = refusal_of(&Fault::Unauthorized, head.key()).unwrap_or((401, Value::Null));
        Answer::json(status, &body)
    })
}

/// One question.
fn ask(site: &Site, head: &Head, body: &Bytes) -> (Answer, usize) {
    let mut entry = entry(site, head);
    let answer = answer_to(site, head, body, &mut entry);
    entry.status = if answer.hangs || answer.is_dropped { 0 } else { answer.status };
    (answer, site.log.push(entry))
}

fn answer_to(site: &Site, head: &Head, body: &Bytes, entry: &mut LogEntry) -> Answer {
    if head.path != "/v1/chat/completions" || head.method != "POST" {
        return unknown(head);
    }
    if let Some(answer) = locked_out(site, head) {
        return answer;
    }
    let question = match Question::read(body, &site.schemas) {
        Ok(question) => question,
        Err(Invalid { message, param }) => return Answer::error(400, &message, param),
    };
    entry.lead.clone_from(&question.lead);
    entry.question = Some(question.name());
    let created = site.clock.epoch_secs(site.clock.now());
    // What it will take is known before it is let in: the answer depends on the question alone.
    let (whole, completion_tokens) = question.answer(created, None);
    let used = question.prompt_tokens + completion_tokens;
    let (entered, headers) = {
        let mut gate = lock(&site.gate);
        let now = site.clock.real();
        let entered = gate.enter(now, used, question.prompt_tokens + question.max_tokens);
        let mut headers = gate.headers();
        if let Err(refusal) = &entered {
            headers.extend(gate.retry_after(refusal.wait));
        }
        (entered, headers)
    };
    if let Err(refusal) = entered {
        let message = format!(
            "Rate limit reached for {} on {kind} per min: Limit {:.0}. Please try again in {}.",
            question.model,
            refusal.limit,
            crate::limits::written(refusal.wait),
            kind = refusal.kind,
        );
        let error =
            json!({ "message": message, "type": refusal.kind, "param": null, "code": "rate_limit_exceeded" });
        let mut answer = Answer::json(429, &json!({ "error": error }));
        answer.headers = headers;
        return answer;
    }
    let faults = lock(&site.faults).strike("POST", "chat", question.lead.as_deref());
    let fault = faults.iter().find(|fault| !matches!(fault, Fault::Latency(_)));
    entry.fault = faults.first().map(|fault| fault.name().to_owned());
    let mut answer = match fault {
        None => {
            (entry.prompt_tokens, entry.completion_tokens) = (question.prompt_tokens, completion_tokens);
            Answer::raw(200, "application/json", whole.into())
        }
        Some(fault) => match refusal_of(fault, head.key()) {
            Some((status, body)) => Answer::json(status, &body),
            None => {
                let (spoiled, completion_tokens) = question.answer(created, Some(fault));
                (entry.prompt_tokens, entry.completion_tokens) = (question.prompt_tokens, completion_tokens);
                Answer::raw(200, "application/json", spoiled.into())
            }
        },
    };
    answer.headers = headers;
    match fault {
        Some(Fault::Throttled(Some(seconds))) => {
            answer.headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        Some(Fault::Html) => {
            answer.content_type = "text/html";
            answer.body = Bytes::from_static(b"<html><body>Welcome to the proxy</body></html>");
        }
        Some(Fault::Hang) => answer.hangs = true,
        Some(Fault::Drop) => answer.is_dropped = true,
        Some(Fault::Cut) => answer.cut = true,
        _ => {}
    }
    if answer.status == 200 {
        answer.delay = *lock(&site.latency);
    }
    for fault in &faults {
        if let Fault::Latency(more) = fault {
            answer.delay += *more;
        }
    }
    answer
}

fn unknown(head: &Head) -> Answer {
    Answer::error(404, &format!("Invalid URL ({} {})", head.method, head.path), None)
}

/// Files, batches, models.
fn keep(site: &Site, head: &Head, body: &Bytes) -> (Answer, usize) {
    let mut entry = entry(site, head);
    let mut answer = locked_out(site, head).unwrap_or_else(|| {
        let faults = lock(&site.faults).strike(&head.method, head.kind(), None);
        entry.fault = faults.first().map(|fault| fault.name().to_owned());
        let refused = faults.iter().find_map(|fault| refusal_of(fault, head.key()));
        let mut answer = match refused {
            Some((status, body)) => Answer::json(status, &body),
            None => about_files(site, head, body),
        };
        for fault in &faults {
            match fault {
                Fault::Hang => answer.hangs = true,
                Fault::Drop => answer.is_dropped = true,
                Fault::Cut => answer.cut = true,
                Fault::Latency(more) => answer.delay += *more,
                Fault::Html => answer.body = Bytes::from_static(b"<html></html>"),
                _ => {}
            }
        }
        answer
    });
    answer.headers.push(("x-request-id".to_owned(), "req_sim".to_owned()));
    entry.status = if answer.hangs || answer.is_dropped { 0 } else { answer.status };
    (answer, site.log.push(entry))
}

fn about_files(site: &Site, head: &Head, body: &Bytes) -> Answer {
    let mut batches = lock(&site.batches);
    batches.settle(site);
    let path = head.path.strip_prefix("/v1/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let limit = |most: usize, usual: usize| {
        head.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usual).clamp(1, most)
    };
    match (head.method.as_str(), parts.as_slice()) {
        ("GET", ["models"]) => {
            let model = |id: &str| json!({ "id": id, "object": "model", "created": 0, "owned_by": "aisim" });
            Answer::json(200, &json!({ "object": "list", "data": [model("sim-small"), model("sim-large")] }))
        }
        ("POST", ["files"]) => {
            let upload = files::read_form(head.header(header::CONTENT_TYPE), body);
            let Some((purpose, (name, content))) = upload.and_then(|form| form.purpose.zip(form.file)) else {
                return Answer::error(400, "expected a form with 'purpose' and 'file'", Some("file"));
            };
            let created_at = site.clock.epoch_secs(site.clock.now());
            Answer::json(200, &batches.store(name, purpose, content, created_at).described())
        }
        ("GET", ["files"]) => {
            let order = head.query("order").unwrap_or("desc");
            let list =
                batches.list_files(head.query("purpose"), order, head.query("after"), limit(10_000, 10_000));
            Answer::json(200, &list)
        }
        ("GET", ["files", id]) => match batches.file(id) {
            Some(file) => Answer::json(200, &file.described()),
            None => Answer::error(404, &format!("No such File object: {id}"), Some("id")),
        },
        ("DELETE", ["files", id]) => {
            if batches.remove(id) {
                Answer::json(200, &json!({ "id": id, "object": "file", "deleted": true }))
            } else {
                Answer::error(404, &format!("No such File object: {id}"), Some("id"))
            }
        }
        ("GET", ["files", id, "content"]) => match batches.file(id) {
            Some(file) => Answer::raw(200, "application/octet-stream", file.content.clone()),
            None => Answer::error(404, &format!("No such File object: {id}"), Some("id")),
        },
        ("POST", ["batches"]) => {
            batches.create(site, body).map_or_else(Answer::refused, |batch| Answer::json(200, &batch))
        }
        ("GET", ["batches"]) => {
            let list = batches.list_batches(site.clock.now(), site, head.query("after"), limit(100, 20));
            Answer::json(200, &list)
        }
        ("GET", ["batches", id]) => match batches.describe(site, id) {
            Some(batch) => Answer::json(200, &batch),
            None => Answer::error(404, &format!("No batch found with id '{id}'."), None),
        },
        ("POST", ["batches", id, "cancel"]) => {
            batches.cancel(site, id).map_or_else(Answer::refused, |batch| Answer::json(200, &batch))
        }
        _ => unknown(head),
    }
}
