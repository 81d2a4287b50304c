//! What doors may ask of lead jobs: [`LeadService`], by way of [`LeadJobs`].
//!
//! Promises: a single lead and a query's ids are read under the org's limiter like everything else, ahead of jobs. While the
//! line is paused nobody waits for them: they are told so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::assessor::{result, verdict_of_one};
use super::fetcher::chain;
use super::lead_asker::Unsettled;
use super::lead_job::{KnownJob, LeadJobs};
use super::lead_report::report_name;
use super::lead_start::{no_such_job, problem};
use super::lead_terms::LeadTerms;
use crate::clock::BoxFuture;
use crate::http::api::lead_service::{
    InvalidRow, LeadForecast, LeadJobView, LeadProblem, LeadService, QueriedIds, StartLeads,
};
use crate::leads::job::{LeadJobSpec, LeadProgress, ReportFormat};
use crate::leads::{FreeMail, Lead, LeadId, LeadResult, LeadSettings, ModelVerdict, Money, Presence};
use crate::limiter::Priority;
use crate::model::OrgName;
use crate::salesforce::{LeadColumns, LeadColumnsError, OrgClient, OrgError, ParentCache, ReadLead};

/// How long the columns of single leads are taken for granted.
const COLUMNS_FOR: Duration = Duration::from_secs(600);

struct KnownColumns {
    until: Duration,
    found: OrgLeads,
}

/// How the leads of an org are read and judged.
#[derive(Clone)]
struct OrgLeads {
    columns: Arc<LeadColumns>,
    parents: Arc<ParentCache>,
    terms: Arc<LeadTerms>,
}

/// See the module's promises.
#[derive(Clone)]
pub struct LeadDesk {
    jobs: LeadJobs,
    columns: Arc<Mutex<HashMap<OrgName, KnownColumns>>>,
    domains: Arc<FreeMail>,
}

impl std::fmt::Debug for LeadDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadDesk").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl LeadDesk {
    /// The desk of these jobs.
    pub fn new(jobs: LeadJobs) -> Self {
        let domains = Arc::new(FreeMail::new(&jobs.parts.settings.free_mail_domains));
        Self { jobs, columns: Arc::default(), domains }
    }

    /// The jobs behind it.
    pub fn jobs_behind(&self) -> &LeadJobs {
        &self.jobs
    }

    fn known(&self, job: &str) -> Result<KnownJob, LeadProblem> {
        self.jobs.known.get(job).map(|known| known.clone()).ok_or_else(|| no_such_job(job))
    }

    /// A job that is over.
    fn over(&self, job: &str) -> Result<KnownJob, LeadProblem> {
        let known = self.known(job)?;
        match known.run.is_none() && known.last.phase.is_over() {
            true => Ok(known),
            false => Err(LeadProblem::NotYet(format!("{job} is not over yet"))),
        }
    }

    /// The client for what somebody waits for in person.
    fn client(&self) -> Result<OrgClient, LeadProblem> {
        let state = self.jobs.parts.engine.run_state();
        if state.paused {
            return Err(LeadProblem::Busy("the line is paused; `penstock resume` goes on".to_owned()));
        }
        let client = self.jobs.client(&self.jobs.org(None)?).map_err(|error| problem(&error))?;
        Ok(client
            .with_priority(Priority::Interactive)
            .with_call_timeout(self.jobs.parts.settings.call_timeout))
    }

    async fn org_leads(&self, client: &OrgClient) -> Result<OrgLeads, LeadProblem> {
        let now = self.jobs.parts.clock.elapsed();
        {
            let known = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(client.org()).filter(|known| now < known.until) {
                return Ok(known.found.clone());
            }
        }
        let settled = client.lead_columns(&self.jobs.parts.settings.fields).await;
        let columns = settled.map_err(|error| match error {
            LeadColumnsError::Org(error) => of_org(&error),
            error @ LeadColumnsError::NoField { .. } => LeadProblem::Wrong(error.to_string()),
        })?;
        let parts = &self.jobs.parts;
        let terms = LeadTerms::new(&parts.settings, parts.asker.as_deref(), columns.left_out());
        let found = OrgLeads { columns: Arc::new(columns), parents: Arc::default(), terms };
        let known = KnownColumns { until: now + COLUMNS_FOR, found: found.clone() };
        self.columns.lock().unwrap_or_else(PoisonError::into_inner).insert(client.org().clone(), known);
        Ok(found)
    }

    async fn read_one(&self, id: LeadId) -> Result<(Lead, Arc<LeadTerms>), LeadProblem> {
        let client = self.client()?;
        let OrgLeads { columns, parents, terms } = self.org_leads(&client).await?;
        let mut read = client.read_leads(&columns, &parents, &[id]).await.map_err(|error| of_org(&error))?;
        match read.pop() {
            Some(ReadLead::Record(lead)) => return Ok((lead, terms)),
            Some(ReadLead::Refused(reason)) => return Err(LeadProblem::Failed(reason)),
            Some(ReadLead::NoRecord) | None => {}
        }
        let presence = client.absent_leads(&[id]).await.map_err(|error| of_org(&error))?.pop();
        let what = match presence {
            Some(Presence::Merged { into }) => format!("was merged into {into}"),
            Some(Presence::Deleted) => "is in the recycle bin".to_owned(),
            _ => "is unknown to the org, or not to be seen by us".to_owned(),
        };
        Err(LeadProblem::NotFound(format!("the lead {id} {what}")))
    }

    async fn one(&self, id: &str, assess: bool) -> Result<LeadResult, LeadProblem> {
        let read = LeadId::read(id)
            .map_err(|fault| LeadProblem::Wrong(format!("`{}` is no id of a lead: {fault}", short(id))))?;
        let (lead, terms) = self.read_one(read.id).await?;
        let asker = self.jobs.parts.asker.as_ref().filter(|_| assess);
        let verdict = match asker.zip(terms.prompt.as_ref()) {
            None => ModelVerdict::NotAsked,
            Some((asker, prompt)) => match verdict_of_one(asker, prompt, &lead).await {
                Ok(verdict) => verdict,
                Err(Unsettled::Stop(why)) => return Err(LeadProblem::Failed(why)),
                Err(Unsettled::Store(error)) => return Err(LeadProblem::Failed(chain(&error))),
            },
        };
        Ok(result(0, lead, verdict, &terms.settings, &self.domains))
    }

    async fn queried(&self, soql: &str, limit: usize) -> Result<QueriedIds, LeadProblem> {
        let client = self.client()?;
        let mut pages = client.lead_id_pages(soql, None).map_err(|error| of_org(&error))?;
        let mut ids = Vec::new();
        let of_query = |error: crate::salesforce::QueryError| match error.org_error() {
            Some(error) => of_org(error),
            None => LeadProblem::Failed(chain(&error)),
        };
        while ids.len() < limit.max(1) && pages.next_ids(&mut ids).await.map_err(of_query)? {}
        ids.truncate(limit);
        let total = pages.checkpoint().total_size.unwrap_or(ids.len() as u64);
        Ok(QueriedIds { total, ids })
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// An error of the org in the words of whoever asked: what the org says of a statement is theirs to mend.
fn of_org(error: &OrgError) -> LeadProblem {
    match error {
        OrgError::Rejected { status: 400, .. } => LeadProblem::Wrong(chain(error)),
        error if error.throttle_kind().is_some() || matches!(error, OrgError::Gate(_)) => {
            LeadProblem::Busy(chain(error))
        }
        error => LeadProblem::Failed(chain(error)),
    }
}

impl LeadService for LeadDesk {
    fn settings(&self) -> &LeadSettings {
        &self.jobs.parts.settings
    }

    fn forecast(&self, start: StartLeads) -> BoxFuture<'_, Result<LeadForecast, LeadProblem>> {
        Box::pin(self.jobs.forecast(start))
    }

    fn start(&self, start: StartLeads) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>> {
        Box::pin(self.jobs.start(start))
    }

    fn job(&self, job: &str) -> Option<LeadJobView> {
        self.known(job).ok().map(|known| view(&known))
    }

    fn jobs(&self) -> Vec<LeadJobView> {
        let mut views: Vec<LeadJobView> = self.jobs.known.iter().map(|known| view(&known)).collect();
        views.sort_by(|a, b| b.spec.job.cmp(&a.spec.job));
        views
    }

    fn watch(&self, job: &str) -> Option<watch::Receiver<LeadProgress>> {
        self.known(job).ok()?.run.map(|run| run.progress.subscribe())
    }

    fn retry(
        &self,
        job: &str,
        max_cost: Option<Money>,
    ) -> BoxFuture<'_, Result<Arc<LeadJobSpec>, LeadProblem>> {
        let job = job.to_owned();
        Box::pin(async move { self.jobs.retry(&job, max_cost).await })
    }

    fn report(&self, job: &str, format: ReportFormat) -> BoxFuture<'_, Result<PathBuf, LeadProblem>> {
        let job = job.to_owned();
        Box::pin(async move {
            let known = self.over(&job)?;
            if let Some(why) = known.last.error.filter(|_| known.last.phase != crate::leads::JobPhase::Done) {
                return Err(LeadProblem::NotYet(format!(
                    "{job} has no report, it failed: {why}; `retry` it"
                )));
            }
            let path = self.jobs.folder(&job).join(report_name(format));
            if tokio::fs::try_exists(&path).await.unwrap_or(false) {
                return Ok(path);
            }
            let store = self.jobs.store_of(&job).await.map_err(|error| problem(&error))?;
            self.jobs.write_report(store, known.spec, format).await.map_err(|error| problem(&error))
        })
    }

    fn results(
        &self,
        job: &str,
        from: u32,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeadResult>, LeadProblem>> {
        let job = job.to_owned();
        Box::pin(async move {
            self.over(&job)?;
            let store = self.jobs.store_of(&job).await.map_err(|error| problem(&error))?;
            store.results(from, limit).await.map_err(|error| problem(&error.into()))
        })
    }

    fn invalid_ids(&self, job: &str, limit: usize) -> BoxFuture<'_, Result<Vec<InvalidRow>, LeadProblem>> {
        let job = job.to_owned();
        Box::pin(async move {
            self.over(&job)?;
            let store = self.jobs.store_of(&job).await.map_err(|error| problem(&error))?;
            let rows = store.invalid_rows(limit).await.map_err(|error| problem(&error.into()))?;
            let row = |(row, written, fault): (u64, String, crate::leads::IdFault)| InvalidRow {
                row,
                written,
                reason: fault.to_string(),
            };
            Ok(rows.into_iter().map(row).collect())
        })
    }

    fn lead(&self, id: &str, assess: bool) -> BoxFuture<'_, Result<LeadResult, LeadProblem>> {
        let id = id.to_owned();
        Box::pin(async move { self.one(&id, assess).await })
    }

    fn query_ids(&self, soql: &str, limit: usize) -> BoxFuture<'_, Result<QueriedIds, LeadProblem>> {
        let soql = soql.to_owned();
        Box::pin(async move { self.queried(&soql, limit).await })
    }
}

fn view(known: &KnownJob) -> LeadJobView {
    let progress = match &known.run {
        Some(run) => run.progress.borrow().clone(),
        None => known.last.clone(),
    };
    LeadJobView { spec: Arc::clone(&known.spec), progress }
}
