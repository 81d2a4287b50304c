//! Jobs over many rows: Bulk API 2.0 query and ingest below `/jobs`, and the part of Bulk API 1.0 that clients still use.
//!
//! Promises: rows are computed when they are asked for, never stored with a job; the pages of a job joined are
//! the rows that REST gives for the same statement; every time that counts (delays, the purge after seven days,
//! the daily count of jobs) is the virtual clock's. Which faults strike is decided here, because only here is
//! known what a short row or a repeated locator is.

mod check;
mod csv;
mod csv_read;
mod ingest;
mod jobs;
mod locator;
pub mod measure;
mod page;
mod query;

#[cfg(test)]
mod tests;

/// A value as Bulk writes it, for tests that compare.
#[cfg(test)]
pub fn csv_text(value: &crate::rows_api::Value, kind: crate::tables::Kind) -> String {
    let mut out = Vec::new();
    csv::push_value(&mut out, value, kind);
    String::from_utf8(out).expect("values are text")
}

use crate::{
    answer::Answer,
    faults::{Fault, Subject},
    rest::Request,
    site::Site,
};
use jobs::{Fate, JobsOfADay, Store};
use locator::Locator;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// How jobs behave; the default is an org in which every job is done at once.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// So many status requests for a job answer "in progress" before it is complete.
    pub polls_until_done: u32,
    /// A job takes at least so many milliseconds of the virtual clock.
    pub millis_until_done: i64,
    /// Rows of a result page when the client does not say, and at most.
    pub page_rows: u64,
    /// Query jobs allowed in 24 hours.
    pub query_jobs_a_day: u64,
    /// Largest upload of an ingest job, in bytes.
    pub upload_bytes: usize,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self {
            polls_until_done: 0,
            millis_until_done: 0,
            page_rows: 250_000,
            query_jobs_a_day: 10_000,
            upload_bytes: 100_000_000,
        }
    }
}

/// Every job of the org.
#[derive(Default)]
pub struct Bulk {
    pub queries: Store<query::QueryJob>,
    pub ingests: Store<ingest::IngestJob>,
    started: AtomicU64,
    query_jobs: JobsOfADay,
}

impl Bulk {
    /// Query jobs created in the 24 hours before `now_ms`.
    pub fn query_jobs_today(&self, now_ms: i64) -> u64 {
        self.query_jobs.count(now_ms)
    }

    fn next_id(&self) -> String {
        crate::ids::numbered("750", self.started.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Answers a request below `/services/data/v{version}.0/jobs`; `rest` is what follows `jobs`.
pub fn answer(site: &Site, request: &Request, version: u32, rest: &[&str]) -> Answer {
    match rest {
        ["query", rest @ ..] => query::answer(site, request, version, rest),
        ["ingest", rest @ ..] => ingest::answer(site, request, version, rest),
        _ => Answer::not_found("other"),
    }
}

/// One page of a list of jobs of one type; `nextRecordsUrl` is there also when it is null, for a client reads it
/// unasked.
fn listed(
    kind: &'static str,
    site: &Site,
    request: &Request,
    own_type: &str,
    own: Vec<Value>,
    most: usize,
) -> Answer {
    let asked = request.parameter("jobType");
    let wanted = |kind: &str| asked.as_deref().is_none_or(|asked| asked.eq_ignore_ascii_case(kind));
    let mut records = if wanted(own_type) { own } else { Vec::new() };
    let _ = site;
    let from =
        request.parameter("queryLocator").and_then(|text| Locator::read(&text)).map_or(0, |at| at.from);
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(records.len());
    let to = from.saturating_add(most).min(records.len());
    let next = (to < records.len())
        .then(|| format!("{}?queryLocator={}", request.path(), Locator::at(to as u64).text()));
    let page: Vec<Value> = records.drain(from..to).collect();
    Answer::json(kind, &json!({ "done": next.is_none(), "records": page, "nextRecordsUrl": next }))
}

/// How a job created under these faults will go.
fn fate(faults: &[Fault]) -> Fate {
    let fate = faults.iter().find_map(|fault| match fault {
        Fault::NeverEndingJob => Some(Fate::NeverEnds),
        Fault::FailedWithoutMessage => Some(Fate::Fails(None)),
        Fault::JobFails { message } => Some(Fate::Fails(Some(message.clone()))),
        _ => None,
    });
    fate.unwrap_or(Fate::Completes)
}

/// The faults that strike a job's request of this kind, in the order of their rules.
fn struck(site: &Site, request: &Request, kind: &str, object: &str) -> Vec<Fault> {
    let objects = [object.to_owned()];
    site.faults.strike_job(&Subject {
        kind,
        method: &request.method,
        path: request.path(),
        objects: &objects,
        alone: true,
        part: false,
    })
}
