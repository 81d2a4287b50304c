//! Leads over HTTP: the endpoints that were there before penstock, and jobs.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /`, `GET /health` | what is served; that it is |
//! | `POST /excel/...`, `/leads/...`, `GET /lead/{id}` | as before, in the envelope `status`, `message`, `data` |
//! | `POST /v1/leads` | begins a job |
//! | `GET /v1/jobs[/{job}[/...]]` | jobs, their progress (server-sent events, WebSocket), results and reports |
//!
//! Promises: a list is a job in the journal before anything is answered, so a client that hangs up loses nothing and a
//! repeated request takes up the unfinished job instead of paying twice; small lists are answered when the job is over, larger
//! ones with the job's address. Uploads, bodies and followers are bounded. A web page of another site reaches nothing. No
//! person's data gets into a log. It works against a [`LeadService`] and knows no actors.

mod answering;
mod describe;
mod envelope;
mod excel;
mod export;
mod export_sheet;
mod follow;
mod front;
mod jobs;
mod origin;
mod parameters;
mod queries;
mod seed_view;
mod single;
#[cfg(test)]
mod tests;
mod upload;
mod validation;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::sync::Semaphore;

use self::envelope::Refused;
use self::origin::Provenance;
use self::parameters::Parameters;
use self::upload::{Bounds, Upload};
use super::body::{self, BodyFault};
use super::lead_service::LeadService;
use super::{ApiSources, headers, let_in, readable_to, tell, texts, wrong_method};
use crate::batch::access::Caller;
use crate::batch::problem::FaultKind;
use crate::sheets::OpenOptions;

pub(super) use self::describe::{paths, schemas};

/// Uploads that come in at once.
const UPLOADS_AT_ONCE: usize = 8;
/// Reports that are made of sent results at once: their results lie in memory.
const EXPORTS_AT_ONCE: usize = 2;
/// Clients that follow jobs at once.
const FOLLOWERS_MAX: usize = 256;
/// Bytes of a JSON body that is no report.
const BODY_BYTES_MAX: usize = 2 << 20;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What the lead endpoints work with.
#[derive(Clone)]
pub struct LeadSources {
    /// Runs jobs.
    pub service: Arc<dyn LeadService>,
    /// Folder of uploads on their way into a job. Nothing else is in it.
    pub uploads: PathBuf,
    /// How sheets are opened.
    pub sheets: OpenOptions,
    /// Roles of which a caller needs one; `*` is any caller with a role, `public` anybody. Empty: every caller that the
    /// door lets in.
    pub roles: Vec<String>,
}

/// What all workers share.
struct LeadApi {
    sources: LeadSources,
    uploads: Semaphore,
    exports: Semaphore,
    followers: Arc<Semaphore>,
}

/// How a refusal is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    /// In the older clients' envelope.
    Envelope,
    /// As a problem.
    Problem,
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Whoever the door lets in and no foreign page.
    ToCallers,
    /// Everybody: nothing is told that anybody would hide.
    ToAll,
}

/// One request.
struct Call {
    request: HttpRequest,
    payload: Option<web::Payload>,
    leads: web::Data<LeadApi>,
}

/// Makes ready what the workers share; `None` without leads.
pub(super) fn prepare(
    sources: Option<&LeadSources>,
) -> Option<impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static> {
    let sources = sources?.clone();
    upload::sweep(&sources.uploads);
    if let Err(error) = std::fs::create_dir_all(&sources.sheets.spill_folder) {
        tracing::warn!(%error, "the folder for what a large sheet holds cannot be made");
    }
    let shared = web::Data::new(LeadApi {
        sources,
        uploads: Semaphore::new(UPLOADS_AT_ONCE),
        exports: Semaphore::new(EXPORTS_AT_ONCE),
        followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
    });
    Some(move |config: &mut web::ServiceConfig| {
        config.app_data(shared.clone());
        routes(config);
    })
}

fn routes(config: &mut web::ServiceConfig) {
    use Open::{ToAll, ToCallers};
    use Tone::{Envelope, Problem};
    let get = Method::GET;
    let post = Method::POST;
    route(config, &get, "/", ToAll, Envelope, front::index);
    route(config, &get, "/health", ToAll, Envelope, front::health);
    for (path, _) in front::REFUSED {
        config.service(web::resource(path).route(web::to(move || async move { front::refused(path) })));
    }
    route(config, &post, "/excel/parse", ToCallers, Envelope, validation::parse);
    route(config, &post, "/excel/validate-lead-ids", ToCallers, Envelope, validation::validate_sheet);
    route(config, &post, "/test-lead-validation", ToCallers, Envelope, validation::validate_list);
    route(config, &post, "/excel/analyze", ToCallers, Envelope, excel::analyze);
    route(config, &post, "/excel/analyze-batch-optimized", ToCallers, Envelope, excel::analyze_batched);
    route(config, &post, "/excel/export-analysis", ToCallers, Envelope, export::rows);
    route(config, &post, "/excel/export-analysis-with-file", ToCallers, Envelope, export::file);
    route(config, &post, "/leads/export-analysis-data", ToCallers, Envelope, export::leads);
    route(config, &post, "/leads/export-single-lead-data", ToCallers, Envelope, export::single);
    route(config, &get, "/lead/{id}", ToCallers, Envelope, single::lead);
    route(config, &get, "/lead/{id}/confidence", ToCallers, Envelope, single::confidence);
    route(config, &get, "/leads", ToCallers, Envelope, queries::list);
    route(config, &post, "/leads/preview-query", ToCallers, Envelope, queries::preview);
    route(config, &post, "/leads/analyze-query", ToCallers, Envelope, queries::analyze);
    route(config, &post, "/v1/leads", ToCallers, Problem, jobs::begin);
    route(config, &get, "/v1/jobs", ToCallers, Problem, jobs::list);
    route(config, &get, "/v1/jobs/{job}", ToCallers, Problem, jobs::show);
    route(config, &get, "/v1/jobs/{job}/events", ToCallers, Problem, follow::events);
    route(config, &get, "/v1/jobs/{job}/ws", ToCallers, Problem, follow::socket);
    route(config, &post, "/v1/jobs/{job}/retry", ToCallers, Problem, jobs::retry);
    route(config, &get, "/v1/jobs/{job}/results", ToCallers, Problem, jobs::results);
    route(config, &get, "/v1/jobs/{job}/invalid", ToCallers, Problem, jobs::invalid);
    route(config, &get, "/v1/jobs/{job}/report.{format}", ToCallers, Problem, jobs::report);
}

fn route<H, W>(
    config: &mut web::ServiceConfig,
    method: &Method,
    path: &'static str,
    open: Open,
    tone: Tone,
    handler: H,
) where
    H: Fn(Call) -> W + Clone + 'static,
    W: Future<Output = Result<HttpResponse, Refused>> + 'static,
{
    let allowed = if *method == Method::GET { "GET" } else { "POST" };
    let serve = move |request: HttpRequest,
                      payload: web::Payload,
                      api: web::Data<ApiSources>,
                      leads: web::Data<LeadApi>| {
        let handler = handler.clone();
        async move {
            if open == Open::ToCallers
                && let Err(refusal) = admit(&request, &api, &leads.sources.roles).await
            {
                return refusal;
            }
            let version = request.version();
            let work = handler(Call { request, payload: Some(payload), leads });
            let refused = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(Ok(response)) => return readable_to(version, response),
                Ok(Err(refused)) => refused,
                Err(_panic) => {
                    tracing::error!("a request about leads panicked");
                    Refused::failed("try again; if it happens again, tell the operator")
                }
            };
            match tone {
                Tone::Envelope => refused.as_envelope(),
                Tone::Problem => refused.as_problem(),
            }
        }
    };
    config.service(
        web::resource(path)
            .route(web::method(method.clone()).to(serve))
            .default_service(web::to(move || async move { wrong_method(allowed) })),
    );
}

/// The same door as that of batches; and the two questions that batches need not ask, because a page cannot send them.
async fn admit(request: &HttpRequest, api: &ApiSources, roles: &[String]) -> Result<(), HttpResponse> {
    let one = |name: &HeaderName| texts(request, name).first().copied();
    let seen = Provenance {
        host: one(&HOST),
        origins: &texts(request, &ORIGIN),
        fetch_site: one(&FETCH_SITE),
        has_token: request.headers().contains_key(AUTHORIZATION),
        listens_on: request.app_config().local_addr().ip(),
    };
    if let Err(foreign) = origin::judge(seen) {
        return Err(tell(FaultKind::Forbidden, foreign.to_string()).finish_with(None));
    }
    let caller = let_in(request, api).await.map_err(|refusal| refusal.finish_with(None))?;
    if may(&caller, roles) {
        Ok(())
    } else {
        let detail = "none of the caller's roles may work with leads: see `leads.roles`";
        Err(tell(FaultKind::Forbidden, detail).finish_with(None))
    }
}

fn may(caller: &Caller, roles: &[String]) -> bool {
    roles.is_empty()
        || roles.iter().any(|role| match role.as_str() {
            "public" => true,
            "*" => !caller.roles.is_empty(),
            role => caller.roles.iter().any(|own| **own == *role),
        })
}

impl Call {
    fn service(&self) -> &Arc<dyn LeadService> {
        &self.leads.sources.service
    }

    /// A part of the address.
    fn part(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
    }

    /// The query of the address.
    fn query(&self) -> Result<Parameters, Refused> {
        Parameters::of_address(self.request.query_string())
    }

    /// Takes in a form with a file.
    async fn upload(&mut self, wide: &[&str], wide_bytes: usize) -> Result<Upload, Refused> {
        let leads = self.leads.clone();
        let Ok(_turn) = leads.uploads.try_acquire() else {
            return Err(Refused::busy("too many uploads come in at once; send it again in a moment"));
        };
        let file_bytes = leads.sources.service.settings().max_upload_bytes;
        let bounds = Bounds { folder: &leads.sources.uploads, file_bytes, wide, wide_bytes };
        let payload = self.take_payload()?;
        upload::take_in(&self.request, payload, bounds).await
    }

    fn take_payload(&mut self) -> Result<web::Payload, Refused> {
        self.payload.take().ok_or_else(|| Refused::failed("the body has been read before; tell the operator"))
    }

    /// Reads a body of JSON.
    async fn json(&mut self, bytes_max: usize) -> Result<Vec<u8>, Refused> {
        let content_type = match texts(&self.request, &CONTENT_TYPE)[..] {
            [one] => Some(one),
            _ => None,
        };
        if !headers::is_json(content_type) {
            return Err(Refused::wrong_media_type("send `Content-Type: application/json`, in UTF-8"));
        }
        let packing = headers::packing_of(&texts(&self.request, &CONTENT_ENCODING)).ok_or_else(|| {
            Refused::wrong_media_type("a body may be packed with gzip, once, or not at all")
        })?;
        let payload = self.take_payload()?;
        body::read(payload, packing, bytes_max).await.map_err(|fault| Refused::from((fault, bytes_max)))
    }

    /// Reads the body as the parameters of a JSON object.
    async fn object(&mut self) -> Result<Parameters, Refused> {
        match serde_json::from_slice(&self.json(BODY_BYTES_MAX).await?) {
            Ok(Value::Object(object)) => Ok(Parameters::of_object(object)),
            Ok(_) => Err(Refused::wrong("the body is no JSON object")),
            Err(fault) => Err(Refused::wrong(format!("the body is not JSON: {fault}"))),
        }
    }
}

/// What became of reading a body.
impl From<(BodyFault, usize)> for Refused {
    fn from((fault, bytes_max): (BodyFault, usize)) -> Self {
        match fault {
            BodyFault::TooLarge => Self::too_large(format!(
                "the body may have {bytes_max} bytes, unpacked; send a larger list as a file to `POST /v1/leads`"
            )),
            BodyFault::NotPacked => Self::wrong("the body is not gzip, or is cut off"),
            BodyFault::TooSlow => Self::wrong("the body did not come within 30 seconds"),
            BodyFault::BrokenOff => Self::wrong("the body broke off"),
        }
    }
}
