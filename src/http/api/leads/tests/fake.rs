//! A service that reads lists of one column and judges leads by the last characters of their ids.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::clock::BoxFuture;
use crate::http::api::lead_service::{
    InvalidRow, LeadForecast, LeadJobView, LeadProblem, LeadService, QueriedIds, StartLeads, StartSource,
};
use crate::leads::job::{JobPhase, LeadCounts, LeadJobSpec, LeadProgress, LeadSource, ReportFormat};
use crate::leads::outcome::{
    Assessment, Flags, LeadOutcome, LeadResult, ModelAnswer, ModelVerdict, Scores, Spent,
};
use crate::leads::settings::{LeadSettings, Money};
use crate::leads::{Lead, LeadField, LeadId, Presence};

/// An id that is assessed.
pub(super) const GOOD: &str = "00Q5g00000AbCdEEAV";
/// A lead for which the model gives no usable answer.
pub(super) const FAILED: &str = "00Q5g00000AbCdF";
/// A lead that the org does not have.
pub(super) const MISSING: &str = "00Q5g00000AbCdG";
/// A lead that cannot be read.
pub(super) const UNREAD: &str = "00Q5g00000AbCdH";

/// What a test arranges and looks at.
pub(super) struct Stage {
    pub settings: LeadSettings,
    pub started: Mutex<Vec<StartLeads>>,
    pub queried: Mutex<Vec<String>>,
    /// Jobs stay at `assessing` until [`Fake::finish`].
    pub holds: bool,
    /// What the org says to anything.
    pub org_fails: Option<LeadProblem>,
    /// Leads that every query finds.
    pub found: Vec<String>,
    pub folder: PathBuf,
}

struct Job {
    view: LeadJobView,
    sender: Option<watch::Sender<LeadProgress>>,
    results: Vec<LeadResult>,
    invalid: Vec<InvalidRow>,
}

pub(super) struct Fake {
    pub stage: Stage,
    jobs: Mutex<BTreeMap<String, Job>>,
}

pub(super) fn id(text: &str) -> LeadId {
    LeadId::read(text).expect("an id").id
}

pub(super) fn result_of(ordinal: u32, id: LeadId, ask_model: bool) -> LeadResult {
    let values = |field| match field {
        LeadField::FirstName => Some("Ada"),
        LeadField::Email => Some("ada@example.org"),
        LeadField::SegmentName => Some("Majors"),
        LeadField::EnrichedEmployees => Some("250"),
        _ => None,
    };
    let found = Lead::new(id, Presence::Found, values);
    let spent = Spent { prompt_tokens: 500, completion_tokens: 100, cost: Money(1_500), requests: 1 };
    let scores = |coherence| Scores {
        acquisition: Some(50.0),
        enrichment: Some(0.0),
        coherence,
        confidence: coherence,
    };
    let assessed = |coherence, model| {
        let flags = Flags { not_in_tam: true, suspicious_enrichment: false };
        LeadOutcome::Assessed(Assessment {
            flags,
            scores: scores(coherence),
            model,
            findings: vec!["large".to_owned()],
        })
    };
    let text = id.as_str();
    let (lead, outcome) = if text.starts_with(MISSING) {
        (Lead::without_values(id, Presence::NotVisible), LeadOutcome::NoRecord)
    } else if text.starts_with(UNREAD) {
        (
            Lead::without_values(id, Presence::Found),
            LeadOutcome::Unread { reason: "the org did not answer".to_owned() },
        )
    } else if !ask_model {
        (found, assessed(Some(70.0), ModelVerdict::NotAsked))
    } else if text.starts_with(FAILED) {
        (found, assessed(None, ModelVerdict::Failed { reason: "prose".to_owned(), spent }))
    } else {
        let answer = ModelAnswer {
            score: 40,
            score_said: 85,
            explanation: vec!["known".to_owned()],
            corrections: BTreeMap::new(),
            inferences: BTreeMap::new(),
            enforced: vec!["capped at 40: not in the market".to_owned()],
        };
        (found, assessed(Some(40.0), ModelVerdict::Answered { answer, spent, reused: false }))
    };
    LeadResult { ordinal, lead, outcome }
}

/// What a list of one column holds.
struct Read {
    counts: LeadCounts,
    ids: Vec<LeadId>,
    invalid: Vec<InvalidRow>,
}

fn read(rows: impl Iterator<Item = String>) -> Read {
    let mut read = Read { counts: LeadCounts::default(), ids: Vec::new(), invalid: Vec::new() };
    for (row, written) in (2..).zip(rows) {
        read.counts.rows += 1;
        match LeadId::read(&written) {
            _ if written.trim().is_empty() => read.counts.blank += 1,
            Err(fault) => {
                read.counts.invalid += 1;
                read.invalid.push(InvalidRow { row, written, reason: fault.to_string() });
            }
            Ok(found) if read.ids.contains(&found.id) => read.counts.duplicates += 1,
            Ok(found) => read.ids.push(found.id),
        }
    }
    read.counts.leads = read.ids.len() as u64;
    read
}

impl Fake {
    pub fn new(stage: Stage) -> Arc<Self> {
        Arc::new(Self { stage, jobs: Mutex::default() })
    }

    fn rows_of(&self, source: &StartSource) -> Result<Vec<String>, LeadProblem> {
        match source {
            StartSource::Ids { ids } => Ok(ids.clone()),
            StartSource::Query { .. } => Ok(self.stage.found.clone()),
            StartSource::Sheet { path, .. } => {
                let text =
                    std::fs::read_to_string(path).map_err(|_| LeadProblem::Wrong("no list".to_owned()))?;
                if text.is_empty() {
                    return Err(LeadProblem::Wrong(
                        "the file is empty; save it again and send that".to_owned(),
                    ));
                }
                Ok(text.lines().skip(1).map(str::to_owned).collect())
            }
        }
    }

    fn change(&self, job: &str, change: impl FnOnce(&mut LeadProgress)) {
        let mut jobs = self.jobs.lock().unwrap();
        let job = jobs.get_mut(job).expect("a job");
        change(&mut job.view.progress);
        let sent = job.view.progress.clone();
        if let Some(sender) = &job.sender {
            sender.send_replace(sent);
        }
    }

    pub fn show(&self, job: &str, open: u64) {
        self.change(job, |progress| progress.counts.open = open);
    }

    pub fn finish(&self, job: &str, phase: JobPhase) {
        self.end(job, phase);
        self.leave(job);
    }

    /// Somebody tells of the job again.
    pub fn take_up(&self, job: &str) {
        let mut jobs = self.jobs.lock().unwrap();
        let job = jobs.get_mut(job).expect("a job");
        job.sender = Some(watch::Sender::new(job.view.progress.clone()));
    }

    /// It is over, and not yet put away.
    pub fn end(&self, job: &str, phase: JobPhase) {
        self.change(job, |progress| {
            progress.phase = phase;
            progress.error = (phase == JobPhase::Failed).then(|| "the disk is full".to_owned());
        });
    }

    /// Nobody tells of the job any more.
    pub fn leave(&self, job: &str) {
        self.jobs.lock().unwrap().get_mut(job).expect("a job").sender = None;
    }

    pub fn has(&self, job: &str) -> bool {
        self.jobs.lock().unwrap().contains_key(job)
    }

    fn begin(&self, start: &StartLeads) -> Result<Arc<LeadJobSpec>, LeadProblem> {
        let Read { mut counts, ids, invalid } = read(self.rows_of(&start.source)?.into_iter());
        let numbered = (0..).zip(ids);
        let results: Vec<_> = numbered.map(|(ordinal, id)| result_of(ordinal, id, start.ask_model)).collect();
        counts.leads = 0;
        for result in &results {
            super::super::export_sheet::count(&mut counts, result);
        }
        let source = match &start.source {
            StartSource::Ids { ids } => LeadSource::Ids { ids: ids.clone() },
            StartSource::Query { soql } => LeadSource::Query { soql: soql.clone() },
            StartSource::Sheet { path, name, is_ours, sheet, .. } => {
                assert!(*is_ours, "an upload is ours");
                std::fs::rename(path, self.stage.folder.join("input")).unwrap();
                let id_column = "Lead ID".to_owned();
                LeadSource::Sheet {
                    file: "input".to_owned(),
                    name: name.clone(),
                    sheet: sheet.clone(),
                    id_column,
                }
            }
        };
        let mut jobs = self.jobs.lock().unwrap();
        let job = format!("leads-{}", jobs.len() + 1);
        let spec = Arc::new(LeadJobSpec {
            job: job.clone(),
            org: "demo".parse().expect("a name"),
            source,
            ask_model: start.ask_model,
            read_batch: start.read_batch.unwrap_or(self.stage.settings.read_batch),
            assess_batch: start.assess_batch.unwrap_or(self.stage.settings.assess_batch),
            max_cost: start.max_cost,
            reports: start.reports.clone(),
        });
        let progress = LeadProgress {
            job: job.clone(),
            phase: if self.stage.holds { JobPhase::Assessing } else { JobPhase::Done },
            counts,
            org_calls: 3,
            elapsed_secs: 2.0,
            leads_per_sec: 1.5,
            seconds_left: None,
            waits: None,
            error: None,
        };
        let sender = self.stage.holds.then(|| watch::Sender::new(progress.clone()));
        let view = LeadJobView { spec: Arc::clone(&spec), progress };
        jobs.insert(job, Job { view, sender, results, invalid });
        Ok(spec)
    }

    fn org(&self) -> Result<(), LeadProblem> {
        self.stage.org_fails.clone().map_or(Ok(()), Err)
    }
}

fn now<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(async move { value })
}

impl LeadService for Fake {
    fn settings(&self) -> &LeadSettings {
        &self.stage.settings
    }

    fn forecast(&self, start: StartLeads) -> BoxFuture<'_, Result<LeadForecast, LeadProblem>> {
        if let StartSource::Sheet { is_ours, .. } = &start.source {
            assert!(!is_ours, "a forecast takes nothing away");
        }
        now(self.rows_of(&start.source).map(|rows| {
            let counts = read(rows.into_iter()).counts;
            LeadForecast {
                sheet: None,
                id_column: None,
                rows: counts.rows,
                invalid: counts.invalid,
                duplicates: counts.duplicates,
                leads: counts.leads,
                retrieval: "collections",
                why: String::new(),
                org_calls: 1,
                model_requests: counts.leads,
                model_tokens: 0,
                cost: Money(0),
                reused: 0,
                seconds: None,
            }
        }))
    }

    fn start(&self, start: StartLeads) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>> {
        self.stage.started.lock().unwrap().push(start.clone());
        now(self.org().and_then(|()| self.begin(&start)))
    }

    fn job(&self, job: &str) -> Option<LeadJobView> {
        self.jobs.lock().unwrap().get(job).map(|job| job.view.clone())
    }

    fn jobs(&self) -> Vec<LeadJobView> {
        self.jobs.lock().unwrap().values().rev().map(|job| job.view.clone()).collect()
    }

    fn watch(&self, job: &str) -> Option<watch::Receiver<LeadProgress>> {
        self.jobs.lock().unwrap().get(job)?.sender.as_ref().map(watch::Sender::subscribe)
    }

    fn retry(
        &self,
        job: &str,
        max_cost: Option<Money>,
    ) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>> {
        if max_cost.is_some() {
            let mut jobs = self.jobs.lock().unwrap();
            let view = &mut jobs.get_mut(job).expect("a job").view;
            view.spec = Arc::new(LeadJobSpec { max_cost, ..(*view.spec).clone() });
        }
        let view = self.job(job).expect("the door has looked");
        now(match view.progress.phase {
            phase if phase.is_over() => Ok(view.spec),
            _ => Err(LeadProblem::NotYet("the job runs".to_owned())),
        })
    }

    fn report(&self, job: &str, format: ReportFormat) -> BoxFuture<'_, Result<PathBuf, LeadProblem>> {
        let path = self.stage.folder.join(format!("{job}.{}", format.extension()));
        if !path.exists() {
            std::fs::write(&path, "x".repeat(200_000)).unwrap();
        }
        now(Ok(path))
    }

    fn results(
        &self,
        job: &str,
        from: u32,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeadResult>, LeadProblem>> {
        let jobs = self.jobs.lock().unwrap();
        let Some(job) = jobs.get(job) else { return now(Err(LeadProblem::NotFound("no job".to_owned()))) };
        now(Ok(job.results.iter().skip(from as usize).take(limit).cloned().collect()))
    }

    fn invalid_ids(&self, job: &str, limit: usize) -> BoxFuture<'_, Result<Vec<InvalidRow>, LeadProblem>> {
        let jobs = self.jobs.lock().unwrap();
        now(Ok(jobs
            .get(job)
            .map(|job| job.invalid.iter().take(limit).cloned().collect())
            .unwrap_or_default()))
    }

    fn lead(&self, lead: &str, assess: bool) -> BoxFuture<'_, Result<LeadResult, LeadProblem>> {
        assert!(lead != "00Q000000000000EAA", "on purpose");
        now(self.org().map(|()| result_of(0, id(lead), assess)))
    }

    fn query_ids(&self, soql: &str, limit: usize) -> BoxFuture<'_, Result<QueriedIds, LeadProblem>> {
        self.stage.queried.lock().unwrap().push(soql.to_owned());
        let named = |id: &&String| !soql.contains(" IN (") || soql.contains(id.as_str());
        let ids: Vec<String> = self.stage.found.iter().filter(named).cloned().collect();
        let found = QueriedIds { total: ids.len() as u64, ids: ids.into_iter().take(limit).collect() };
        now(self.org().map(|()| found))
    }
}
