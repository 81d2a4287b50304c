//! Jobs: begun with a file, a list of ids or a statement; listed, looked at, tried again; their results and reports.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::Bytes;
use futures_util::stream;
use serde_json::{Map, Value, json};

use super::super::lead_service::{LeadJobView, StartLeads, StartSource, describe_source};
use super::answering::{accepted, addresses};
use super::envelope::{Refused, json_answer};
use super::excel::{source_of, with_defaults};
use super::parameters::{Parameters, report_format};
use super::seed_view::object;
use super::upload::{FILE, blocking};
use super::{Call, headers, texts};
use crate::leads::job::{JobPhase, ReportFormat};
use crate::salesforce::lead_query::guard;

/// Ids in one read: the org takes no more in one call.
const READ_BATCH_MAX: u64 = 2_000;
/// Leads in one item of the assessor.
const ASSESS_BATCH_MAX: u64 = 1_000;
/// Ids of a list that comes in a body.
const IDS_MAX: usize = 50_000;
/// Rows that a statement may find.
const FOUND_MAX: u64 = 1_000_000;
const SOQL_BYTES_MAX: usize = 100_000;
/// Entries of one answer, and how many when the request does not say.
const PAGE: (u64, usize) = (1_000, 100);
/// Bytes of a report that are read at once.
const READ_AT_ONCE: usize = 64 << 10;
const PREFIX_CHARACTERS: usize = 60;

const OPTIONS: [&str; 6] = ["ask_model", "batch_size", "ai_batch_size", "max_cost", "reports", "take_up"];

/// `POST /v1/leads`.
pub(super) async fn begin(mut call: Call) -> Result<HttpResponse, Refused> {
    let kind = texts(&call.request, &CONTENT_TYPE).first().copied().unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("multipart/") {
        let mut upload = call.upload(&[], 0).await?;
        let fields = &upload.fields;
        fields.only(&[&[FILE, "sheet", "id_column"], &OPTIONS[..]].concat())?;
        let (sheet, id_column) = (fields.name("sheet")?, fields.name("id_column")?);
        let start = options(fields)?;
        let file = upload.file()?;
        let source = source_of(&file, &sheet, &id_column, true);
        return start_job(&call, StartLeads { source, ..start }).await;
    }
    if !headers::is_json(Some(&kind)) {
        return Err(Refused::wrong_media_type(
            "send a form (`multipart/form-data`) with the `file`, or `application/json` with `ids` or `soql`",
        ));
    }
    let sent = call.object().await?;
    sent.only(&["ids", "soql", "options"])?;
    let told = Parameters::of_object(sent.object("options")?.unwrap_or_default());
    told.only(&OPTIONS)?;
    let start = options(&told)?;
    let source = match (sent.texts("ids", IDS_MAX, 1_024)?, sent.text("soql", SOQL_BYTES_MAX)?) {
        (Some(ids), None) if ids.is_empty() => {
            return Err(Refused::wrong("`ids` is empty; list a Lead id at least"));
        }
        (Some(ids), None) => StartSource::Ids { ids },
        (None, Some(soql)) => {
            let query = guard(soql, FOUND_MAX).map_err(|fault| Refused::wrong(format!("`soql`: {fault}")))?;
            StartSource::Query { soql: query.soql }
        }
        _ => {
            return Err(Refused::wrong(
                "send either `ids` or `soql`; a file is sent as `multipart/form-data`",
            ));
        }
    };
    start_job(&call, StartLeads { source, ..start }).await
}

fn options(told: &Parameters) -> Result<StartLeads, Refused> {
    let defaults = with_defaults();
    Ok(StartLeads {
        ask_model: told.truth("ask_model")?.unwrap_or(defaults.ask_model),
        read_batch: told.count("batch_size", 1..=READ_BATCH_MAX)?,
        assess_batch: told.count("ai_batch_size", 1..=ASSESS_BATCH_MAX)?,
        max_cost: told.money("max_cost")?,
        reports: told.reports("reports")?,
        take_up: told.truth("take_up")?.unwrap_or(defaults.take_up),
        ..defaults
    })
}

async fn start_job(call: &Call, start: StartLeads) -> Result<HttpResponse, Refused> {
    let spec = call.service().start(start).await?;
    Ok(accepted(&spec.job, None))
}

/// A job as it is told.
pub(super) fn told(view: &LeadJobView) -> Map<String, Value> {
    let (spec, progress) = (&view.spec, &view.progress);
    let mut told = addresses(&spec.job);
    told.extend(object(json!({
        "org": spec.org,
        "source": describe_source(&spec.source),
        "ask_model": spec.ask_model,
        "batch_size": spec.read_batch,
        "ai_batch_size": spec.assess_batch,
        "max_cost": spec.max_cost.map(|cost| cost.units()),
        "phase": progress.phase,
        "counts": progress.counts,
        "finished": progress.counts.finished(),
        "cost": progress.counts.cost.units(),
        "org_calls": progress.org_calls,
        "elapsed_secs": progress.elapsed_secs,
        "leads_per_sec": progress.leads_per_sec,
        "seconds_left": progress.seconds_left,
        "waits": progress.waits,
        "error": progress.error,
    })));
    told
}

/// The job of the address.
pub(super) fn job_of(call: &Call) -> Result<LeadJobView, Refused> {
    let job = call.part("job");
    let is_plain =
        (1..=100).contains(&job.len()) && job.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let view = if is_plain { call.service().job(job) } else { None };
    view.ok_or_else(|| Refused::not_found("there is no such job; `GET /v1/jobs` lists those that are kept"))
}

/// `GET /v1/jobs`.
pub(super) async fn list(call: Call) -> Result<HttpResponse, Refused> {
    let limit = call.query()?.count("limit", 1..=PAGE.0)?.unwrap_or(PAGE.1);
    let jobs = call.service().jobs();
    let listed: Vec<Value> = jobs.iter().take(limit).map(|view| told(view).into()).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "jobs": listed, "total": jobs.len() })))
}

/// `GET /v1/jobs/{job}`.
pub(super) async fn show(call: Call) -> Result<HttpResponse, Refused> {
    let view = job_of(&call)?;
    Ok(json_answer(StatusCode::OK, &told(&view).into()))
}

/// `POST /v1/jobs/{job}/retry`.
pub(super) async fn retry(call: Call) -> Result<HttpResponse, Refused> {
    let view = job_of(&call)?;
    let sent = call.query()?;
    sent.only(&["max_cost"])?;
    let spec = call.service().retry(&view.spec.job, sent.money("max_cost")?).await?;
    Ok(accepted(&spec.job, None))
}

/// `GET /v1/jobs/{job}/results`.
pub(super) async fn results(call: Call) -> Result<HttpResponse, Refused> {
    let view = job_of(&call)?;
    let sent = call.query()?;
    let from = sent.whole("from", 0..=u64::from(u32::MAX))?.unwrap_or(0);
    let limit = sent.count("limit", 1..=PAGE.0)?.unwrap_or(PAGE.1);
    let from = u32::try_from(from).unwrap_or(u32::MAX);
    let results = call.service().results(&view.spec.job, from, limit).await?;
    let next = results.last().filter(|_| results.len() == limit).map(|last| u64::from(last.ordinal) + 1);
    let listed: Vec<Value> = results
        .iter()
        .map(|result| {
            json!({
                "ordinal": result.ordinal,
                "id": result.lead.id,
                "status": result.status(),
                "presence": result.lead.presence,
                "values": super::seed_view::record(&result.lead),
                "outcome": result.outcome,
            })
        })
        .collect();
    Ok(json_answer(StatusCode::OK, &json!({ "results": listed, "next": next })))
}

/// `GET /v1/jobs/{job}/invalid`.
pub(super) async fn invalid(call: Call) -> Result<HttpResponse, Refused> {
    let view = job_of(&call)?;
    let limit = call.query()?.count("limit", 1..=PAGE.0)?.unwrap_or(PAGE.1);
    let rows = call.service().invalid_ids(&view.spec.job, limit).await?;
    Ok(json_answer(StatusCode::OK, &json!({ "invalid": rows, "total": view.progress.counts.invalid })))
}

/// `GET /v1/jobs/{job}/report.{format}`.
pub(super) async fn report(call: Call) -> Result<HttpResponse, Refused> {
    let format = report_format(call.part("format"))
        .ok_or_else(|| Refused::not_found("a report is `report.xlsx`, `report.csv` or `report.jsonl`"))?;
    let view = job_of(&call)?;
    let prefix = prefix_of(&call.query()?)?;
    match view.progress.phase {
        JobPhase::Done => {}
        JobPhase::Failed => {
            let why = view.progress.error.as_deref().unwrap_or("no reason is known");
            return Err(Refused::not_yet(format!(
                "the job failed, and has no report: {why}; a retry goes on with it"
            )));
        }
        phase => {
            let phase = phase.as_str();
            return Err(Refused::not_yet(format!(
                "the job is at `{phase}`; its report is there when it is `done`"
            )));
        }
    }
    let path = call.service().report(&view.spec.job, format).await?;
    send_report(&call, path, &view.spec.job, format, &prefix).await
}

/// Which prefix a file's name gets.
pub(super) fn prefix_of(sent: &Parameters) -> Result<String, Refused> {
    Ok(plain_prefix(sent.text("filename_prefix", 1_024)?.unwrap_or_default()))
}

/// What of a text may stand in a file's name.
pub(super) fn plain_prefix(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let prefix: String = text.trim().chars().map(plain).take(PREFIX_CHARACTERS).collect();
    if prefix.trim_matches('_').is_empty() { "lead_analysis".to_owned() } else { prefix }
}

/// Media type of a report.
pub(super) fn media_type(format: ReportFormat) -> &'static str {
    match format {
        ReportFormat::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ReportFormat::Csv => "text/csv; charset=utf-8",
        ReportFormat::Jsonl => "application/x-ndjson",
    }
}

/// What is open of a report.
struct Opened {
    file: File,
    bytes: u64,
    /// When it was written, in nanoseconds since 1970.
    written: i128,
}

fn open(path: &PathBuf) -> std::io::Result<Opened> {
    let file = File::open(path)?;
    let told = file.metadata()?;
    let written = told.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
    Ok(Opened { file, bytes: told.len(), written })
}

/// Sends a file as it lies on the disk. A report that is written anew meanwhile is another file: this one is sent whole.
pub(super) async fn send_report(
    call: &Call,
    path: PathBuf,
    job: &str,
    format: ReportFormat,
    prefix: &str,
) -> Result<HttpResponse, Refused> {
    let opened = blocking(move || open(&path)).await?.map_err(|error| {
        tracing::error!(%error, "a report cannot be opened");
        Refused::failed("the report cannot be opened on the disk of the server; its log says why")
    })?;
    let tag = format!("\"{job}-{}-{:x}-{:x}\"", format.extension(), opened.bytes, opened.written);
    let known = texts(&call.request, &IF_NONE_MATCH);
    let is_known = known.iter().flat_map(|tags| tags.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    });
    if is_known {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
    }
    let stamp = jiff::Timestamp::from_nanosecond(opened.written).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let name = format!("{prefix}_{}.{}", stamp.strftime("%Y%m%d_%H%M%S"), format.extension());
    let bytes = opened.bytes;
    let body = stream::unfold(Some((opened.file, bytes)), |state| async move {
        let (file, left) = state.filter(|(_, left)| *left > 0)?;
        Some(match read_some(file, left).await {
            Ok((file, some)) => {
                let left = left - some.len() as u64;
                (Ok(some), Some((file, left)))
            }
            Err(error) => {
                tracing::error!(%error, "a report could not be read to its end");
                (Err(error), None)
            }
        })
    });
    let mut response = HttpResponse::Ok();
    response
        .content_type(media_type(format))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    Ok(response.body(SizedStream::new(bytes, Box::pin(body))))
}

/// The next bytes; fewer than were there when the file was opened are an error, for the answer has said how many come.
async fn read_some(mut file: File, left: u64) -> std::io::Result<(File, Bytes)> {
    let read = tokio::task::spawn_blocking(move || {
        let mut some = vec![0; READ_AT_ONCE.min(usize::try_from(left).unwrap_or(READ_AT_ONCE))];
        let read = file.read(&mut some)?;
        some.truncate(read);
        if some.is_empty() {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok((file, Bytes::from(some)))
        }
    });
    read.await.unwrap_or_else(|_panic| Err(std::io::ErrorKind::Other.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing("", "lead_analysis")]
    #[case::plain("q3-leads", "q3-leads")]
    #[case::blanks(" Leads of Q3 ", "Leads_of_Q3")]
    #[case::header("a\"; filename=\"evil.exe", "a___filename__evil_exe")]
    #[case::lines("a\r\nSet-Cookie: x", "a__Set-Cookie__x")]
    #[case::path("../../x", "______x")]
    #[case::nothing_left("///", "lead_analysis")]
    fn a_prefix_is_a_plain_name(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(plain_prefix(text), expected);
    }
}
