//! Progress of a job as it comes: by server-sent events, or over a WebSocket.
//!
//! Promises: both send the same documents, `{"event": "progress" | "done", "job": ...}`; the newest state is sent, never a
//! backlog, and at most four a second, so a slow reader holds nothing up and misses nothing that counts; the last document is
//! `done`, whether the job is done or failed. A follower that is gone is noticed and let go.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, UPGRADE};
use actix_web::web::Bytes;
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::super::lead_service::LeadService;
use super::answering::next_run;
use super::envelope::Refused;
use super::jobs::{job_of, told};
use super::{Call, texts};
use crate::leads::job::LeadProgress;

/// Shortest time between two documents.
const BREATH: Duration = Duration::from_millis(250);
/// A quiet connection is used this often, so that whatever stands between keeps it open.
const QUIET: Duration = Duration::from_secs(15);
/// A WebSocket whose other end has left so many pings without an answer is given up.
const PINGS_UNANSWERED: u32 = 3;
/// Milliseconds after which a browser comes again.
const RETRY_MS: u32 = 3_000;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What a follower is told next.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    /// The state.
    Progress(Value),
    /// Nothing for a while.
    Quiet,
    /// The job is over.
    Done(Value),
}

/// Follows one job.
struct Follower {
    service: Arc<dyn LeadService>,
    job: String,
    progress: Option<watch::Receiver<LeadProgress>>,
    /// The state was told once.
    has_begun: bool,
    /// One of the places for followers.
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn of(call: &Call) -> Result<Self, Refused> {
        let view = job_of(call)?;
        let place = Arc::clone(&call.leads.followers).try_acquire_owned().map_err(|_| {
            Refused::busy("too many clients follow jobs; look at `GET /v1/jobs/{job}` now and then instead")
        })?;
        let job = view.spec.job.clone();
        let progress = call.service().watch(&job);
        Ok(Self { service: Arc::clone(call.service()), job, progress, has_begun: false, _place: place })
    }

    fn document(&self, event: &str) -> Value {
        let job = self.service.job(&self.job).map(|view| Value::Object(told(&view)));
        json!({ "event": event, "job": job })
    }

    /// Waits for something to tell. Dropped, it has told nothing.
    async fn next(&mut self) -> Told {
        if !self.has_begun {
            self.has_begun = true;
            return Told::Progress(self.document("progress"));
        }
        match tokio::time::timeout(QUIET, self.changed()).await {
            Err(_quiet) => Told::Quiet,
            Ok(State::Other) => Told::Progress(self.document("progress")),
            Ok(State::Over) => Told::Done(self.document("done")),
        }
    }

    /// Waits for another state.
    async fn changed(&mut self) -> State {
        loop {
            let Some(progress) = &mut self.progress else {
                match next_run(&self.service, &self.job).await {
                    None => return State::Over,
                    run => self.progress = run,
                }
                return State::Other;
            };
            if !progress.borrow().phase.is_over() {
                tokio::time::sleep(BREATH).await;
                if progress.changed().await.is_ok() && !progress.borrow().phase.is_over() {
                    return State::Other;
                }
            }
            self.progress = None;
        }
    }
}

/// How a job is when it has changed.
enum State {
    /// Not as it was.
    Other,
    /// Over, with everything it leaves in its place.
    Over,
}

/// `GET /v1/jobs/{job}/events`.
pub(super) async fn events(call: Call) -> Result<HttpResponse, Refused> {
    let follower = Follower::of(&call)?;
    // What was missed is in the next state: the number only goes on.
    let last = texts(&call.request, &LAST_EVENT_ID).first().and_then(|id| id.parse::<u64>().ok());
    let number = last.map_or(1, |last| last.wrapping_add(1));
    let start = format!("retry: {RETRY_MS}\n\n");
    let body = stream::unfold(Some((follower, number, start)), |state| async move {
        let (mut follower, number, start) = state?;
        let (event, document, goes_on) = match follower.next().await {
            Told::Quiet => {
                let comment = format!("{start}: {}\n\n", "still here");
                return Some((bytes(comment), Some((follower, number, String::new()))));
            }
            Told::Progress(document) => ("progress", document, true),
            Told::Done(document) => ("done", document, false),
        };
        let text = format!("{start}id: {number}\nevent: {event}\ndata: {document}\n\n");
        let next = goes_on.then(|| (follower, number.wrapping_add(1), String::new()));
        Some((bytes(text), next))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // A proxy that collects a buffer full first would make progress come in lumps.
        .insert_header((BUFFERING, "no"))
        .streaming(Box::pin(body)))
}

fn bytes(text: String) -> Result<Bytes, actix_web::Error> {
    Ok(Bytes::from(text))
}

/// `GET /v1/jobs/{job}/ws`.
pub(super) async fn socket(mut call: Call) -> Result<HttpResponse, Refused> {
    let follower = Follower::of(&call)?;
    let asks = texts(&call.request, &UPGRADE).iter().any(|what| what.eq_ignore_ascii_case("websocket"));
    if !asks {
        return Err(Refused::upgrade_needed());
    }
    let payload = call.take_payload()?;
    let (response, session, messages) = actix_ws::handle(&call.request, payload)
        .map_err(|_| Refused::wrong("this is no WebSocket handshake of version 13"))?;
    actix_web::rt::spawn(talk(follower, session, messages));
    Ok(response)
}

/// Why a WebSocket ends.
enum End {
    /// We say goodbye.
    Close(CloseCode, &'static str),
    /// The other end has gone, or said goodbye.
    Gone,
}

async fn talk(mut follower: Follower, mut session: Session, mut messages: MessageStream) {
    let end = tokio::select! {
        end = send_all(&mut follower, session.clone()) => end,
        end = listen(&mut session, &mut messages) => end,
    };
    if let End::Close(code, why) = end {
        drop(session.close(Some(CloseReason { code, description: Some(why.to_owned()) })).await);
    }
}

async fn send_all(follower: &mut Follower, mut session: Session) -> End {
    loop {
        let (document, is_last) = match follower.next().await {
            Told::Quiet => continue,
            Told::Progress(document) => (document, false),
            Told::Done(document) => (document, true),
        };
        if session.text(document.to_string()).await.is_err() {
            return End::Gone;
        }
        if is_last {
            return End::Close(CloseCode::Normal, "the job is over");
        }
    }
}

/// Nothing is expected but pongs. Pings go out whenever the other end has been quiet, whatever is sent to it meanwhile.
async fn listen(session: &mut Session, messages: &mut MessageStream) -> End {
    let mut unanswered = 0;
    loop {
        let Ok(message) = tokio::time::timeout(QUIET, messages.recv()).await else {
            if unanswered == PINGS_UNANSWERED {
                return End::Close(CloseCode::Policy, "no answer to three pings");
            }
            unanswered += 1;
            if session.ping(b"").await.is_err() {
                return End::Gone;
            }
            continue;
        };
        unanswered = 0;
        match message {
            Some(Ok(Message::Ping(bytes))) => {
                if session.pong(&bytes).await.is_err() {
                    return End::Gone;
                }
            }
            Some(Ok(Message::Pong(_) | Message::Nop | Message::Text(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Continuation(_))) => {
                return End::Close(CloseCode::Unsupported, "only texts are read here");
            }
            Some(Ok(Message::Close(_))) => return End::Close(CloseCode::Normal, "goodbye"),
            Some(Err(_)) => return End::Close(CloseCode::Protocol, "not as RFC 6455 has it"),
            None => return End::Gone,
        }
    }
}
