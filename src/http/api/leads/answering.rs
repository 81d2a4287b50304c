//! Answers a request with the job that it began: with the job's address, or with everything once the job is over.
//!
//! Promises: what is sent at the end is written page by page from the job's store, so that an answer of 50,000 leads takes no
//! more memory than one of 500.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, LOCATION};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::super::lead_service::{LeadJobView, LeadProblem, LeadService};
use super::envelope::{Refused, json_answer};
use super::{Call, PREFER, seed_view};
use crate::batch::answer::JSON;
use crate::leads::job::{JobPhase, LeadCounts, LeadJobSpec, LeadProgress};
use crate::leads::outcome::{LeadOutcome, LeadResult, Ordinal};

/// Results written at once.
const PAGE: usize = 500;
/// Rows without an id that are listed; the counts have them all, and so has the report.
pub(super) const INVALID_LISTED: usize = 1_000;

/// How long a small list is waited for by itself: a line that is paused is not to hold a connection for days.
const SMALL_WAIT: Duration = Duration::from_secs(600);
/// A job between two runs is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What the client prefers (RFC 7240).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    /// Nothing: small lists are waited for.
    None,
    /// The answer itself, if it comes within this time.
    Wait(Option<Duration>),
    /// The job's address at once.
    Async,
}

/// Reads `Prefer`. What is not understood is not preferred.
pub(super) fn preference_of(headers: &[&str]) -> Preference {
    let tokens = headers.iter().flat_map(|header| header.split([',', ';'])).map(str::trim);
    for token in tokens {
        let (name, value) = token.split_once('=').unwrap_or((token, ""));
        if name.trim().eq_ignore_ascii_case("respond-async") {
            return Preference::Async;
        }
        if name.trim().eq_ignore_ascii_case("wait") {
            let seconds = value.trim().trim_matches('"').parse().ok();
            return Preference::Wait(seconds.map(Duration::from_secs));
        }
    }
    Preference::None
}

/// The preference of a request.
pub(super) fn preference(request: &HttpRequest) -> Preference {
    preference_of(&super::texts(request, &PREFER))
}

/// Where a job's things are.
pub(super) fn addresses(job: &str) -> Map<String, Value> {
    let url = format!("/v1/jobs/{job}");
    seed_view::object(json!({
        "job": job,
        "url": url,
        "events": format!("{url}/events"),
        "ws": format!("{url}/ws"),
        "results": format!("{url}/results"),
        "report": format!("{url}/report.xlsx"),
    }))
}

/// The answer to whoever does not wait.
pub(super) fn accepted(job: &str, leads: Option<u64>) -> HttpResponse {
    let of = leads.map(|leads| format!(" of {leads} leads")).unwrap_or_default();
    let message = format!("the job{of} has begun; follow it under `/v1/jobs/{job}`");
    let told = json!({ "status": "success", "message": message, "data": addresses(job) });
    let mut response = json_answer(StatusCode::ACCEPTED, &told);
    response.headers_mut().insert(LOCATION, super::super::header_value(&format!("/v1/jobs/{job}")));
    response
}

/// The run of a job that is not over. One that is between two runs (it has only just begun, or is just being put away) is
/// looked at again; `None`: it is over, and everything it leaves is in its place.
pub(super) async fn next_run(
    service: &Arc<dyn LeadService>,
    job: &str,
) -> Option<watch::Receiver<LeadProgress>> {
    loop {
        let is_over = service.job(job).is_none_or(|view| view.progress.phase.is_over());
        match service.watch(job) {
            None if is_over => return None,
            Some(run) if !run.borrow().phase.is_over() => return Some(run),
            _ => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Waits until a job is over.
pub(super) async fn end_of(service: &Arc<dyn LeadService>, job: &str) -> Result<LeadJobView, Refused> {
    while let Some(mut run) = next_run(service, job).await {
        // An error is the sender that went away: its last state may not have been the end.
        drop(run.wait_for(|progress| progress.phase.is_over()).await);
    }
    let gone = || Refused::not_found(format!("there is no job `{job}` any more"));
    let view = service.job(job).ok_or_else(gone)?;
    if view.progress.phase == JobPhase::Done {
        return Ok(view);
    }
    let why = view.progress.error.clone().unwrap_or_else(|| "the job failed".to_owned());
    let told = format!("{why}; what was done is kept, `POST /v1/jobs/{job}/retry` goes on with it");
    Err(Refused::failed(told).with_data(addresses(job).into()))
}

/// What is put into an answer beside leads and summary.
pub(super) struct Whole {
    /// Made of the counts at the end.
    pub message: fn(&LeadCounts) -> String,
    /// Members of `data` that are known before the job ends.
    pub members: Map<String, Value>,
    /// Members of `data.summary` beside those of every job.
    pub summary: Map<String, Value>,
    /// `data.performance_metrics` is wanted.
    pub with_metrics: bool,
    /// `data.validation_summary` and the invalid rows are wanted.
    pub with_validation: bool,
}

/// Answers with a job of `leads` leads, as preference and threshold say.
pub(super) async fn answer(
    call: &Call,
    spec: &LeadJobSpec,
    leads: u64,
    whole: Whole,
) -> Result<HttpResponse, Refused> {
    let service = call.service();
    let is_small = leads <= service.settings().large_dataset_threshold as u64;
    let preference = preference(&call.request);
    let limit = match preference {
        Preference::Async => Some(Duration::ZERO),
        Preference::Wait(limit) => limit,
        Preference::None if is_small => Some(SMALL_WAIT),
        Preference::None => Some(Duration::ZERO),
    };
    let ended = match limit {
        Some(Duration::ZERO) => None,
        Some(limit) => tokio::time::timeout(limit, end_of(service, &spec.job)).await.ok(),
        None => Some(end_of(service, &spec.job).await),
    };
    let mut response = match ended {
        None => accepted(&spec.job, Some(leads)),
        Some(view) => written(service, view?, whole).await?,
    };
    let applied = match preference {
        Preference::None => return Ok(response),
        Preference::Wait(_) => "wait",
        Preference::Async => "respond-async",
    };
    response.headers_mut().insert(APPLIED, super::super::header_value(applied));
    Ok(response)
}

/// Everything, page by page.
async fn written(
    service: &Arc<dyn LeadService>,
    view: LeadJobView,
    whole: Whole,
) -> Result<HttpResponse, Refused> {
    let (spec, progress) = (&view.spec, &view.progress);
    let counts = progress.counts;
    let mut data = whole.members;
    data.append(&mut addresses(&spec.job));
    let mut summary = seed_view::summary(spec, progress);
    summary.extend(whole.summary);
    data.insert("summary".to_owned(), summary.into());
    if whole.with_metrics {
        data.insert("performance_metrics".to_owned(), seed_view::performance_metrics(spec, progress));
    }
    if whole.with_validation {
        data.insert("validation_summary".to_owned(), seed_view::validation_summary(&counts));
        let rows = match counts.invalid {
            0 => Vec::new(),
            _ => service.invalid_ids(&spec.job, INVALID_LISTED).await?,
        };
        let ids: Vec<&str> = rows.iter().map(|row| row.written.as_str()).collect();
        data.insert("invalid_lead_ids".to_owned(), json!(ids));
        data.insert("invalid_rows".to_owned(), json!(rows));
    }
    let head = json!({ "status": "success", "message": (whole.message)(&counts) });
    let mut start = format!("{},\"data\":{},\"leads\":[", open(&head), open(&Value::Object(data)));
    let mut pages = Pages {
        service: Arc::clone(service),
        job: spec.job.clone(),
        from: 0,
        section: Section::Leads,
        is_first: true,
        has_others: counts.no_record + counts.unread > 0,
    };
    // The first page is read before anything is sent, so that a store that cannot be read is a 500.
    let first = pages.next().await?.unwrap_or_default();
    start.push_str(&first);
    let rest = stream::unfold(Some(pages), |pages| async {
        let mut pages = pages?;
        match pages.next().await {
            Ok(None) => None,
            Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(pages))),
            Err(problem) => {
                tracing::error!("the results of a job could not be read to their end");
                Some((Err(actix_web::error::ErrorInternalServerError(problem)), None))
            }
        }
    });
    let body = stream::once(async { Ok::<_, actix_web::Error>(Bytes::from(start)) }).chain(rest);
    Ok(HttpResponse::Ok()
        .content_type(JSON)
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(Box::pin(body)))
}

/// An object to which members can be added: without its last brace.
fn open(object: &Value) -> String {
    let mut text = object.to_string();
    text.pop();
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Leads that have a record.
    Leads,
    /// The others, in a second pass.
    Others,
    End,
}

/// Writes the end of an answer: the leads, then those that were not analysed, then the closing braces.
struct Pages {
    service: Arc<dyn LeadService>,
    job: String,
    from: Ordinal,
    section: Section,
    /// Nothing is written in this section.
    is_first: bool,
    has_others: bool,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<String>, LeadProblem> {
        if self.section == Section::End {
            return Ok(None);
        }
        let results = self.service.results(&self.job, self.from, PAGE).await?;
        let mut text = String::new();
        let section = self.section;
        for entry in results.iter().filter_map(|result| entry_of(section, result)) {
            if !self.is_first {
                text.push(',');
            }
            self.is_first = false;
            text.push_str(&entry.to_string());
        }
        match results.last() {
            Some(last) if results.len() == PAGE => self.from = last.ordinal + 1,
            _ => self.end_section(&mut text),
        }
        Ok(Some(text))
    }

    fn end_section(&mut self, text: &mut String) {
        self.from = 0;
        self.is_first = true;
        text.push(']');
        if self.section == Section::Leads && self.has_others {
            text.push_str(",\"not_analyzed\":[");
            self.section = Section::Others;
        } else {
            text.push_str("}}");
            self.section = Section::End;
        }
    }
}

fn entry_of(section: Section, result: &LeadResult) -> Option<Value> {
    match (section, &result.outcome) {
        (Section::Leads, LeadOutcome::Assessed(assessment)) => {
            Some(Value::Object(seed_view::analyzed(result, assessment)))
        }
        (Section::Others, _) => seed_view::not_analyzed(result),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(&[], Preference::None)]
    #[case::wait(&["wait"], Preference::Wait(None))]
    #[case::seconds(&["Wait=10"], Preference::Wait(Some(Duration::from_secs(10))))]
    #[case::quoted(&["wait=\"10\""], Preference::Wait(Some(Duration::from_secs(10))))]
    #[case::asynchronous(&["respond-async, wait=10"], Preference::Async)]
    #[case::in_two_lines(&["handling=lenient", "wait=1"], Preference::Wait(Some(Duration::from_secs(1))))]
    #[case::something_else(&["return=minimal", "waiting"], Preference::None)]
    fn preferences_are_read(#[case] headers: &[&str], #[case] expected: Preference) {
        assert_eq!(preference_of(headers), expected);
    }
}
