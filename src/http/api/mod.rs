//! `POST /batch` and what belongs to it, and leads, on a listener of their own.
//!
//! | path | answer |
//! | --- | --- |
//! | `POST /batch` | runs a batch |
//! | `POST /batch/plan` | says how it would run |
//! | `GET /entities` | what the caller may see |
//! | `GET /openapi.json` | the same as OpenAPI 3.1 |
//! | everything else | leads: see [`leads`] |
//!
//! Promises: nobody is read from before the token holds; a body is bounded before and after it is unpacked; whatever is
//! wrong is told as `application/problem+json`, also an address that there is not; a client that hangs up drops the future
//! that works for it, and the batch with it, unless its COMMIT was sent. It knows no actors: batches are run by a
//! [`BatchService`], tokens are judged by a [`Door`].

mod body;
mod entities;
mod headers;
pub mod lead_service;
pub mod leads;
mod openapi;
mod service;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::body::{BodySize, MessageBody as _};
use actix_web::http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::{FutureExt as _, stream};

use self::body::BodyFault;
use self::headers::Form;
use self::openapi::Serves;
use super::{HttpError, HttpHandle, ServerOptions, start_server};
use crate::batch::access::Caller;
use crate::batch::access::token::TokenFault;
use crate::batch::answer::{Answer, JSON, LINES};
use crate::batch::catalogue::Catalogue;
use crate::batch::problem::{FaultKind, Problem};

pub(crate) use self::headers::is_idempotency_key;
pub use self::leads::LeadSources;
pub use self::service::{
    Admits, BatchAsk, BatchReply, BatchService, Door, LineStream, NotLetIn, ReplyContent,
};

/// Threads that read requests, plan batches and write answers.
const WORKERS: usize = 2;

const BATCH_ID: HeaderName = HeaderName::from_static("penstock-batch-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the endpoint works with.
#[derive(Clone)]
pub struct ApiSources {
    /// Runs batches; `None` without a database.
    pub service: Option<Arc<dyn BatchService>>,
    /// Knows callers.
    pub door: Arc<dyn Door>,
    /// Runs lead jobs; `None` without an org.
    pub leads: Option<LeadSources>,
}

/// Binds `listen` and serves on threads of its own.
///
/// # Errors
/// When the address cannot be bound, or a thread cannot start.
pub fn start(listen: SocketAddr, sources: ApiSources) -> Result<HttpHandle, HttpError> {
    // A client that has sent its request and closes its side is gone: HTTP clients keep both sides open until they are
    // answered, and waiting for the rare other one would let every batch of a client that hung up run to its end.
    let options = ServerOptions { thread: "api", workers: WORKERS, half_closed_is_gone: true };
    let leads = leads::prepare(sources.leads.as_ref());
    let data = web::Data::new(sources);
    start_server(listen, options, move |config: &mut web::ServiceConfig| {
        config.app_data(data.clone()).configure(routes);
        if let Some(leads) = &leads {
            leads(config);
        }
    })
}

fn routes(config: &mut web::ServiceConfig) {
    let only = |allowed: &'static str| web::to(move || async move { wrong_method(allowed) });
    config
        .service(web::resource("/batch").route(web::post().to(batch)).default_service(only("POST")))
        .service(web::resource("/batch/plan").route(web::post().to(plan)).default_service(only("POST")))
        .service(web::resource("/entities").route(web::get().to(list_entities)).default_service(only("GET")))
        .service(web::resource("/openapi.json").route(web::get().to(describe)).default_service(only("GET")))
        .default_service(web::to(elsewhere));
}

async fn elsewhere(api: web::Data<ApiSources>) -> HttpResponse {
    let detail = match &api.leads {
        None => "there are POST /batch, POST /batch/plan, GET /entities and GET /openapi.json",
        Some(_) => "GET / lists what there is for leads, GET /openapi.json everything",
    };
    tell(FaultKind::NotFound, detail).finish_with(None)
}

fn wrong_method(allowed: &'static str) -> HttpResponse {
    let refusal = tell(FaultKind::MethodNotAllowed, format!("this address takes {allowed}"));
    let mut response = refusal.finish_with(None);
    response.headers_mut().insert(ALLOW, header_value(allowed));
    response
}

async fn batch(request: HttpRequest, payload: web::Payload, api: web::Data<ApiSources>) -> HttpResponse {
    guarded(async {
        let ask = match take_in(&request, payload, &api).await {
            Ok(ask) => ask,
            Err(refusal) => return refusal.finish_with(None),
        };
        match &api.service {
            Some(service) => readable_to(request.version(), write(service.run(ask).await)),
            None => no_database().finish_with(None),
        }
    })
    .await
}

fn no_database() -> Refusal {
    tell(
        FaultKind::NotFound,
        "no database is configured, so there is nothing to run batches on: see `[[database]]`",
    )
}

/// What the databases have.
fn catalogues(api: &ApiSources) -> Vec<Arc<Catalogue>> {
    api.service.as_ref().map(|service| service.catalogues()).unwrap_or_default()
}

async fn plan(request: HttpRequest, payload: web::Payload, api: web::Data<ApiSources>) -> HttpResponse {
    guarded(async {
        match take_in(&request, payload, &api).await {
            Ok(ask) => match &api.service {
                Some(service) => write(service.plan(ask)),
                None => no_database().finish_with(None),
            },
            Err(refusal) => refusal.finish_with(None),
        }
    })
    .await
}

async fn list_entities(request: HttpRequest, api: web::Data<ApiSources>) -> HttpResponse {
    guarded(async {
        match look_in(&request, &api).await {
            Ok(caller) => document(&entities::document(&catalogues(&api), &caller)),
            Err(refusal) => refusal.finish_with(None),
        }
    })
    .await
}

async fn describe(request: HttpRequest, api: web::Data<ApiSources>) -> HttpResponse {
    guarded(async {
        match look_in(&request, &api).await {
            Ok(caller) => {
                let serves = Serves { batches: api.service.is_some(), leads: api.leads.is_some() };
                document(&openapi::document(&catalogues(&api), &caller, api.door.admits(), serves))
            }
            Err(refusal) => refusal.finish_with(None),
        }
    })
    .await
}

fn document(value: &serde_json::Value) -> HttpResponse {
    HttpResponse::Ok()
        // What is in it depends on who asks.
        .insert_header((CACHE_CONTROL, "private, no-store"))
        .content_type(JSON)
        .body(value.to_string())
}

/// A panic of ours is a 500 with nothing in it, and not a connection that breaks off.
async fn guarded(work: impl Future<Output = HttpResponse>) -> HttpResponse {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_panic| {
        tracing::error!("a request to the batch endpoint panicked");
        tell(FaultKind::Internal, "try again; if it happens again, tell the operator").finish_with(None)
    })
}

/// A request that is not carried out, on its way to a response.
struct Refusal {
    problem: Problem,
    challenge: Option<String>,
}

fn tell(kind: FaultKind, detail: impl Into<String>) -> Refusal {
    Refusal { problem: Problem::new(kind, detail, ""), challenge: None }
}

impl Refusal {
    fn finish_with(self, batch_id: Option<&str>) -> HttpResponse {
        let answer = self.problem.render();
        let mut response = head(&answer, batch_id).body(answer.body);
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, header_value(&challenge));
        }
        response
    }
}

fn header_value(text: &str) -> actix_web::http::header::HeaderValue {
    // What is put in headers is our own text in ASCII.
    actix_web::http::header::HeaderValue::from_str(text)
        .unwrap_or_else(|_| actix_web::http::header::HeaderValue::from_static(""))
}

fn head(answer: &Answer, batch_id: Option<&str>) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut head = HttpResponse::build(status);
    head.content_type(answer.content_type).insert_header((CACHE_CONTROL, "no-store"));
    if let Some(seconds) = answer.retry_after {
        head.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    if let Some(id) = batch_id {
        head.insert_header((BATCH_ID, header_value(id)));
    }
    head
}

fn write(reply: BatchReply) -> HttpResponse {
    match reply.content {
        ReplyContent::Whole(answer) => {
            let mut head = head(&answer, Some(&reply.batch_id));
            if reply.replayed {
                head.insert_header((REPLAYED, "true"));
            }
            head.body(answer.body)
        }
        ReplyContent::Lines(lines) => {
            let answer = Answer { status: 200, content_type: LINES, body: Vec::new(), retry_after: None };
            // The stream owns the reader's mark: a connection that breaks drops both.
            let body = stream::unfold(lines, |mut lines| async move {
                let line = lines.lines.recv().await?;
                Some((Ok::<_, actix_web::Error>(Bytes::from(line)), lines))
            });
            head(&answer, Some(&reply.batch_id)).streaming(body)
        }
    }
}

/// Without chunks for those who do not know them: before HTTP/1.1 an answer of unknown length ends with its connection.
fn readable_to(version: Version, mut response: HttpResponse) -> HttpResponse {
    if version < Version::HTTP_11 && response.body().size() == BodySize::Stream {
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    response
}

fn texts<'a>(request: &'a HttpRequest, name: &HeaderName) -> Vec<&'a str> {
    request.headers().get_all(name).filter_map(|value| value.to_str().ok()).collect()
}

async fn let_in(request: &HttpRequest, api: &ApiSources) -> Result<Caller, Refusal> {
    let sent: Vec<_> = request.headers().get_all(AUTHORIZATION).collect();
    let authorization = match sent[..] {
        [] => Ok(None),
        [one] => one.to_str().map(|text| Some(text.to_owned())).map_err(|_| NotLetIn::NotBearer),
        _ => Err(NotLetIn::NotBearer),
    };
    let judged = match authorization {
        Ok(authorization) => api.door.let_in(authorization).await,
        Err(fault) => Err(fault),
    };
    judged.map_err(|fault| {
        let detail = fault.to_string();
        match fault {
            NotLetIn::Forbidden => Refusal {
                challenge: Some("Bearer error=\"insufficient_scope\"".to_owned()),
                ..tell(FaultKind::Forbidden, detail)
            },
            NotLetIn::Token(TokenFault::KeysUnavailable) => {
                let problem = Problem::new(FaultKind::KeysUnavailable, detail, "").retry_after(5);
                Refusal { problem, challenge: None }
            }
            NotLetIn::NoToken => {
                Refusal { challenge: Some("Bearer".to_owned()), ..tell(FaultKind::Unauthenticated, detail) }
            }
            NotLetIn::NotBearer | NotLetIn::Token(_) => Refusal {
                challenge: Some(format!(
                    "Bearer error=\"invalid_token\", error_description=\"{}\"",
                    plain(&detail)
                )),
                ..tell(FaultKind::Unauthenticated, detail)
            },
        }
    })
}

/// For a quoted text in a header.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !matches!(character, '"' | '\\')).collect()
}

async fn look_in(request: &HttpRequest, api: &ApiSources) -> Result<Caller, Refusal> {
    let caller = let_in(request, api).await?;
    match headers::form_of(&texts(request, &ACCEPT)) {
        Some(Form::Document) => Ok(caller),
        _ => Err(tell(FaultKind::NotAcceptable, "this is answered as application/json")),
    }
}

async fn take_in(
    request: &HttpRequest,
    payload: web::Payload,
    api: &ApiSources,
) -> Result<BatchAsk, Refusal> {
    let caller = let_in(request, api).await?;
    let form = headers::form_of(&texts(request, &ACCEPT)).ok_or_else(|| {
        tell(FaultKind::NotAcceptable, "batches are answered as application/json or application/x-ndjson")
    })?;
    let content_type = match texts(request, &CONTENT_TYPE)[..] {
        [one] => Some(one),
        _ => None,
    };
    if !headers::is_json(content_type) {
        return Err(tell(FaultKind::UnsupportedMediaType, "send `Content-Type: application/json`, in UTF-8"));
    }
    let packing = headers::packing_of(&texts(request, &CONTENT_ENCODING)).ok_or_else(|| {
        tell(FaultKind::UnsupportedMediaType, "a body may be packed with gzip, once, or not at all")
    })?;
    let idempotency_key = idempotency_key(request)?;
    let bytes_max = api.service.as_ref().ok_or_else(no_database)?.body_bytes_max();
    let too_large = || tell(FaultKind::BodyTooLarge, format!("a body may have {bytes_max} bytes, unpacked"));
    let announced = texts(request, &CONTENT_LENGTH).first().and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let body = body::read(payload, packing, bytes_max).await.map_err(|fault| match fault {
        BodyFault::TooLarge => too_large(),
        BodyFault::NotPacked => tell(FaultKind::InvalidRequest, "the body is not gzip, or is cut off"),
        BodyFault::TooSlow => tell(FaultKind::InvalidRequest, "the body did not come within 30 seconds"),
        BodyFault::BrokenOff => tell(FaultKind::InvalidRequest, "the body broke off"),
    })?;
    let trace = texts(request, &TRACE_PARENT).first().copied().filter(|text| headers::is_trace_parent(text));
    Ok(BatchAsk {
        body,
        caller: Arc::new(caller),
        idempotency_key,
        lines: form == Form::Lines,
        trace: trace.map(Arc::from),
        database: None,
        dry_run: false,
    })
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Refusal> {
    let sent: Vec<_> = request.headers().get_all(&IDEMPOTENCY_KEY).collect();
    match sent[..] {
        [] => Ok(None),
        [key] if is_idempotency_key(key.as_bytes()) => {
            Ok(Some(String::from_utf8_lossy(key.as_bytes()).into_owned()))
        }
        _ => Err(tell(FaultKind::InvalidKey, "`Idempotency-Key` is 1 to 255 visible ASCII characters, once")),
    }
}
