//! The lead jobs: accepted, driven from phase to phase, taken up again after a crash.
//!
//! Promises: a job is in the journal, with its store and a copy of its sheet on the disk, before it is acknowledged, and
//! leaves the journal when its report stands or it has failed (*durable*). Taken up again it goes on where its store is:
//! kept rows are not read again, leads with an outcome are not read again, paid answers are not paid again. Counts come from
//! the store (*honest*). Jobs run side by side; one that fails says why, keeps what it has, and stops no other.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use serde::{Deserialize, Serialize};

use super::engine::{Closed, Engine, Journal, JournalError, JournalWrite, LocalInbox, Table};
use super::fetcher::{OrgClients, chain, pause_of};
use super::lead_asker::LeadAsker;
use super::lead_run::{LeadRun, LeadRuns, RunParts};
use super::lead_terms::noted_left_out;
use super::lead_upkeep::{age, sweep};
use super::rate_limiter::{LimiterBook, counted, priority_of};
use super::schema_job::JobRecord;
use crate::ai::chat::ChatError;
use crate::clock::SharedClock;
use crate::leads::settings::ModelMode;
use crate::leads::{JobPhase, LeadJobSpec, LeadProgress, LeadSettings};
use crate::limiter::Priority;
use crate::messages::{AssessAsk, FetchAsk, IntakeAsk, ItemId, JobId, Lane};
use crate::model::OrgName;
use crate::salesforce::{LeadColumnsError, OrgClient, OrgError};
use crate::sheets::SheetError;
use crate::sheets::report::ReportError;
use crate::store::atomic_file;
use crate::store::disk::SharedDisk;
use crate::store::lead_jobs::{LeadJobStore, LeadStoreError};
use crate::telemetry::Metrics;

/// Kind of a lead job in the journal.
const KIND: &str = "leads";
/// Who waits for a lead job: a person, though not in person.
pub(super) const LANE: Lane = Lane::Normal;
/// What is left of a job that is over, beside its store: read at a start without opening the store.
pub(super) const SUMMARY: &str = "summary.json";
/// Note in a job's store: calls to the org so far.
const CALLS_NOTE: &str = "org_calls";
const TICK: Duration = Duration::from_millis(250);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Tries of a call that the whole job depends on.
const TRIES: u32 = 8;
const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);

/// Why a job did not finish.
#[derive(Debug, thiserror::Error)]
pub enum LeadJobError {
    /// No such org in the config.
    #[error("no org is named `{0}`")]
    UnknownOrg(OrgName),
    /// The org could not be asked.
    #[error("ask the org")]
    Org(#[from] OrgError),
    /// The columns of its leads.
    #[error(transparent)]
    Columns(#[from] LeadColumnsError),
    /// The Bulk query.
    #[error("read the leads by a bulk query")]
    Bulk(#[from] crate::salesforce::BulkError),
    /// Its sheet.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// Its store.
    #[error("keep the lead job")]
    Store(#[from] LeadStoreError),
    /// The model's endpoint, about a batch.
    #[error(transparent)]
    Model(ChatError),
    /// The report.
    #[error("make the report")]
    Report(#[from] ReportError),
    /// The journal.
    #[error("note the job in the journal")]
    Journal(#[from] JournalError),
    /// In words that a person can do something with.
    #[error("{0}")]
    Said(String),
    /// The engine is leaving; the journal has the job, and the next start goes on with it.
    #[error("the daemon is leaving; the job goes on at the next start")]
    Interrupted,
}

impl From<Closed> for LeadJobError {
    fn from(_closed: Closed) -> Self {
        Self::Interrupted
    }
}

/// A job that this process knows.
#[derive(Debug, Clone)]
pub(super) struct KnownJob {
    pub(super) spec: Arc<LeadJobSpec>,
    /// As it was last; of a running job, the run knows better.
    pub(super) last: LeadProgress,
    pub(super) run: Option<Arc<LeadRun>>,
    /// Runs that this process has begun: whoever waited for their turn sees by it that somebody was faster.
    pub(super) begun: u64,
}

impl KnownJob {
    fn at_rest(spec: Arc<LeadJobSpec>, last: LeadProgress) -> Self {
        Self { spec, last, run: None, begun: 0 }
    }
}

/// What is left of a job that is over.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    spec: LeadJobSpec,
    progress: LeadProgress,
}

/// Everything that lead jobs need of the plant.
pub struct LeadJobParts {
    /// The engine.
    pub engine: Engine,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Clients by org.
    pub clients: OrgClients,
    /// The org of jobs that name none, where nothing else says which.
    pub default_org: Option<OrgName>,
    /// The limiters' book, for what a job waits for.
    pub book: Arc<LimiterBook>,
    /// The runs of this process.
    pub runs: LeadRuns,
    /// Mailbox of the lead intake.
    pub intake: Arc<LocalInbox<IntakeAsk>>,
    /// Mailbox of the fetcher.
    pub fetcher: Arc<LocalInbox<FetchAsk>>,
    /// Mailbox of the assessor.
    pub assessor: Arc<LocalInbox<AssessAsk>>,
    /// Asks the model, where one is configured.
    pub asker: Option<Arc<LeadAsker>>,
    /// What holds for every job.
    pub settings: Arc<LeadSettings>,
    /// Folder of the jobs' folders.
    pub folder: PathBuf,
    /// Room on the disk.
    pub disk: SharedDisk,
    /// Metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
}

/// See the module's promises. Clones are the same.
#[derive(Clone)]
pub struct LeadJobs {
    pub(super) parts: Arc<LeadJobParts>,
    pub(super) known: Arc<DashMap<String, KnownJob>>,
    /// Whoever holds it may look whether a job runs and begin it: of two that ask for the same job at the same moment the
    /// second finds what the first has begun.
    pub(super) beginning: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for LeadJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadJobs").field("jobs", &self.known.len()).finish_non_exhaustive()
    }
}

/// How far a job has come, as its store says.
struct Found {
    store: LeadJobStore,
    spec: Arc<LeadJobSpec>,
    progress: LeadProgress,
}

impl LeadJobs {
    /// The jobs below a folder: those that are over as they ended, the unfinished ones until [`LeadJobs::resume`] takes them up.
    pub async fn load(parts: LeadJobParts) -> Self {
        let jobs = Self { parts: Arc::new(parts), known: Arc::default(), beginning: Arc::default() };
        let (folder, keep) = (jobs.parts.folder.clone(), jobs.parts.settings.keep_jobs);
        let wall = jobs.parts.clock.wall();
        let in_journal = jobs.unfinished().into_iter().map(|record| record.job.as_str().to_owned()).collect();
        let look = move || {
            sweep(&folder, &in_journal);
            summaries(&folder, wall, keep)
        };
        let over = tokio::task::spawn_blocking(look).await;
        for Summary { spec, progress } in over.unwrap_or_default() {
            let known = KnownJob::at_rest(Arc::new(spec), progress);
            jobs.known.insert(known.spec.job.clone(), known);
        }
        for record in jobs.unfinished() {
            match jobs.find(record.job.as_str()).await {
                Ok(Found { store, spec, mut progress }) => {
                    if let Some(asker) = &jobs.parts.asker {
                        // Before any job goes on: what its batch asks no other asks.
                        let contents = store.contents_under_way().await.unwrap_or_default();
                        asker.asks_by_batch(&spec.job, contents).await;
                    }
                    // Its end was about to be noted; until the journal knows, whoever asks for it finds it under way.
                    if progress.phase == JobPhase::Done {
                        progress.phase = JobPhase::Reporting;
                    }
                    let known = KnownJob::at_rest(spec, progress);
                    jobs.known.insert(known.spec.job.clone(), known);
                }
                Err(error) => {
                    tracing::error!(job = %record.job, error = chain(&error), "a lead job cannot be read");
                }
            }
        }
        jobs
    }

    /// Lead jobs that were accepted and are not over.
    pub fn unfinished(&self) -> Vec<JobRecord> {
        let rows = self.parts.journal.rows(Table::Jobs);
        let records = rows.iter().filter_map(|(_, value)| serde_json::from_slice::<JobRecord>(value).ok());
        records.filter(|record| record.kind == KIND).collect()
    }

    /// Takes up every unfinished job, and from now on takes away those that are old; called once, when the daemon starts.
    pub fn resume(&self) {
        self.keep_tidy();
        for record in self.unfinished() {
            let jobs = self.clone();
            tokio::spawn(async move {
                let _turn = jobs.beginning.lock().await;
                jobs.launch(record.job.as_str()).await;
            });
        }
    }

    /// How far every job is that runs, sorted by job.
    pub fn progress(&self) -> Vec<LeadProgress> {
        self.parts.runs.progress()
    }

    /// Counts the jobs that are kept by where they are, and brings the gauge up to date.
    pub fn refresh_gauges(&self) {
        let mut by_phase: std::collections::BTreeMap<&str, i64> =
            crate::telemetry::metrics::LEAD_PHASES.into_iter().map(|phase| (phase, 0)).collect();
        for known in self.known.iter() {
            let phase = known.run.as_ref().map_or(known.last.phase, |run| run.phase());
            *by_phase.entry(phase.as_str()).or_default() += 1;
        }
        for (phase, jobs) in by_phase {
            self.parts.metrics.lead_jobs.with_label_values(&[phase]).set(jobs);
        }
    }

    /// Folder of a job.
    pub fn folder(&self, job: &str) -> PathBuf {
        self.parts.folder.join(job)
    }

    async fn find(&self, job: &str) -> Result<Found, LeadJobError> {
        let (folder, disk) = (self.folder(job), Arc::clone(&self.parts.disk));
        let opened = tokio::task::spawn_blocking(move || LeadJobStore::open(&folder, disk)).await;
        let (store, spec) = opened.map_err(|error| LeadJobError::Said(error.to_string()))??;
        let (phase, error) = store.phase().await?;
        let calls = store.noted(CALLS_NOTE).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let progress = LeadProgress {
            job: spec.job.clone(),
            phase,
            counts: store.counts().await?,
            org_calls: calls,
            elapsed_secs: 0.0,
            leads_per_sec: 0.0,
            seconds_left: None,
            waits: None,
            error,
        };
        Ok(Found { store, spec: Arc::new(spec), progress })
    }

    /// The store of a job that is over, opened for a look.
    pub(super) async fn store_of(&self, job: &str) -> Result<LeadJobStore, LeadJobError> {
        if let Some(run) = self.known.get(job).and_then(|known| known.run.clone()) {
            return Ok(run.store.clone());
        }
        Ok(self.find(job).await?.store)
    }

    /// Notes a job whose folder stands in the journal: from here on it is accepted.
    pub(super) async fn accept(
        &self,
        spec: Arc<LeadJobSpec>,
        last: LeadProgress,
    ) -> Result<(), LeadJobError> {
        let job = JobId::new(&spec.job);
        let record = JobRecord { job, kind: KIND.to_owned(), org: spec.org.clone(), lane: LANE };
        let value = serde_json::to_vec(&record).map_err(|error| JournalError::Failed(error.to_string()))?;
        let key = spec.job.clone();
        self.parts.journal.commit(vec![JournalWrite::Put { table: Table::Jobs, key, value }]).await?;
        match self.known.entry(spec.job.clone()) {
            // What runs knows better how far it is, and who forgot it would run the job a second time.
            Entry::Occupied(known) if known.get().run.is_some() => {}
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                (known.spec, known.last) = (spec, last);
            }
            Entry::Vacant(place) => drop(place.insert(KnownJob::at_rest(spec, last))),
        }
        Ok(())
    }

    async fn forget(&self, job: &str) -> Result<(), LeadJobError> {
        let write = JournalWrite::Delete { table: Table::Jobs, key: job.to_owned() };
        Ok(self.parts.journal.commit(vec![write]).await?)
    }

    /// Begins to drive an accepted job, beside whoever asks: when this returns the job can be watched. Does nothing when it is
    /// driven already.
    pub(super) async fn launch(&self, job: &str) {
        let run = match self.begin(job).await {
            Ok(Some(run)) => run,
            Ok(None) => return,
            Err(error) => return self.fail_unread(job, &error).await,
        };
        let jobs = self.clone();
        tokio::spawn(async move { jobs.drive(&run).await });
    }

    /// Drives a job to its end.
    async fn drive(&self, run: &Arc<LeadRun>) {
        let job = run.spec.job.as_str();
        let outcome = tokio::select! {
            outcome = self.run_phases(run) => outcome,
            why = run.failed() => Err(LeadJobError::Said(why)),
            () = self.keep_progress(run) => Err(LeadJobError::Interrupted),
        };
        let entry = self.parts.engine.job(&JobId::new(job));
        if matches!(outcome, Err(LeadJobError::Interrupted)) {
            tracing::info!(job, "a lead job is interrupted; the next start goes on with it");
            entry.cancel();
            self.end_run(run, run.progress.borrow().clone());
            return;
        }
        if outcome.is_err() {
            // What is on the line ends without effect; its leads stay open.
            entry.cancel();
            entry.ran_dry().await;
        }
        let (phase, error) = match &outcome {
            Ok(()) => (JobPhase::Done, None),
            Err(error) => (JobPhase::Failed, Some(chain(error))),
        };
        if let Some(why) = &error {
            tracing::error!(job, why, "a lead job failed");
        }
        if let Err(error) = self.finish(run, phase, error).await {
            tracing::error!(job, error = chain(&error), "the end of a lead job could not be noted");
        }
    }

    /// A job whose store cannot be opened has failed, and is not tried at every start.
    async fn fail_unread(&self, job: &str, error: &LeadJobError) {
        let why = chain(error);
        tracing::error!(job, why, "a lead job cannot be taken up");
        self.asks_nothing(job).await;
        if let Some(mut known) = self.known.get_mut(job) {
            known.last.phase = JobPhase::Failed;
            known.last.error = Some(why);
        }
        if let Err(error) = self.forget(job).await {
            tracing::error!(job, error = chain(&error), "the end of a lead job could not be noted");
        }
    }

    /// Of a job that is over, nobody waits for its batch any more.
    async fn asks_nothing(&self, job: &str) {
        if let Some(asker) = &self.parts.asker {
            asker.asks_by_batch(job, HashSet::new()).await;
        }
    }

    /// Makes the run of a job; `None` when there is one.
    async fn begin(&self, job: &str) -> Result<Option<Arc<LeadRun>>, LeadJobError> {
        if self.known.get(job).is_some_and(|known| known.run.is_some()) {
            return Ok(None);
        }
        let Found { store, spec, progress } = self.find(job).await?;
        let asker = self.parts.asker.clone().filter(|_| spec.ask_model);
        let left_out = noted_left_out(&store).await?;
        let run = LeadRun::new(RunParts {
            spec: Arc::clone(&spec),
            settings: Arc::clone(&self.parts.settings),
            folder: self.folder(job),
            store,
            asker,
            left_out,
            calls: progress.org_calls,
            counts: progress.counts,
            phase: progress.phase,
            began: self.parts.clock.elapsed(),
        });
        let is_first = {
            let known = self.known.entry(job.to_owned());
            let mut known = known.or_insert_with(|| KnownJob::at_rest(Arc::clone(&spec), progress.clone()));
            let is_first = known.run.is_none();
            if is_first {
                known.run = Some(Arc::clone(&run));
                known.begun += 1;
            }
            is_first
        };
        if !is_first {
            return Ok(None);
        }
        // A job that was cancelled when it failed gets counts of its own.
        self.parts.engine.forget_job(&JobId::new(job));
        self.parts.runs.insert(Arc::clone(&run));
        Ok(Some(run))
    }

    fn end_run(&self, run: &Arc<LeadRun>, last: LeadProgress) {
        let job = run.spec.job.as_str();
        self.parts.runs.remove(job);
        self.parts.engine.forget_job(&JobId::new(job));
        if let Some(mut known) = self.known.get_mut(job) {
            known.last = last;
            known.run = None;
        }
    }

    async fn finish(
        &self,
        run: &Arc<LeadRun>,
        phase: JobPhase,
        error: Option<String>,
    ) -> Result<(), LeadJobError> {
        let noted = async {
            self.patiently(run, || async { Ok(run.store.set_phase(phase, error.clone()).await?) }).await?;
            Ok::<_, LeadJobError>(run.store.counts().await?)
        };
        let counts = match noted.await {
            Ok(counts) => counts,
            Err(unnoted) => {
                let why = format!("its end could not be noted: {}", chain(&unnoted));
                let why = error.map_or(why.clone(), |error| format!("{error}; {why}"));
                // The journal keeps it, so the next start goes on with it; until then nobody is to wait for it.
                let told = run.progress.borrow().clone();
                let last = LeadProgress {
                    phase: JobPhase::Failed,
                    counts: run.store.counts().await.unwrap_or(told.counts),
                    org_calls: run.calls(),
                    seconds_left: None,
                    waits: None,
                    error: Some(why),
                    ..told
                };
                self.tell_end(run, last).await;
                return Err(unnoted);
            }
        };
        // Of the whole run: the pace of its last seconds is that of writing the report.
        let elapsed = self.parts.clock.elapsed().saturating_sub(run.began).as_secs_f64();
        let finished = counts.finished().saturating_sub(run.finished_before);
        let last = LeadProgress {
            phase,
            counts,
            org_calls: run.calls(),
            elapsed_secs: elapsed,
            leads_per_sec: if elapsed > 0.0 { finished as f64 / elapsed } else { 0.0 },
            seconds_left: None,
            waits: None,
            error,
            ..run.progress.borrow().clone()
        };
        let summary = Summary { spec: (*run.spec).clone(), progress: last.clone() };
        let path = run.folder.join(SUMMARY);
        let written = tokio::task::spawn_blocking(move || write_summary(&path, &summary)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(job = run.spec.job, %error, "the summary of a lead job was not kept");
        }
        let forgotten = self.forget(&run.spec.job).await;
        self.tell_end(run, last).await;
        forgotten
    }

    /// Told last: whoever hears that the job is over finds it over.
    async fn tell_end(&self, run: &Arc<LeadRun>, last: LeadProgress) {
        self.asks_nothing(&run.spec.job).await;
        self.end_run(run, last.clone());
        run.progress.send_replace(last);
    }

    async fn run_phases(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        let client = self.client(&run.spec.org)?.with_call_timeout(run.settings.call_timeout);
        // The job is over when its report stands, so whatever it was doing it does again from where its store is.
        self.take_in(run).await?;
        let in_batches = run.asker.as_ref().is_some_and(|asker| asker.model().mode == ModelMode::Batch);
        if !in_batches {
            // Of a run before this one, which asked by batches.
            self.end_batches(run).await?;
        }
        self.enter(run, JobPhase::Assessing).await?;
        self.read_and_assess(run, &client).await?;
        if in_batches {
            self.await_batches(run).await?;
        }
        let open = run.store.counts().await?.open;
        if open > 0 {
            let leads = if open == 1 { "1 lead" } else { &format!("{open} leads") };
            return Err(LeadJobError::Said(format!(
                "the job counts {leads} without an outcome, and nothing is left to be read or asked"
            )));
        }
        self.patiently(run, || async { Ok(run.keep_terms().await?) }).await?;
        self.enter(run, JobPhase::Reporting).await?;
        for format in run.spec.reports.clone() {
            self.write_report(run.store.clone(), Arc::clone(&run.spec), format).await?;
        }
        Ok(())
    }

    pub(super) fn client(&self, org: &OrgName) -> Result<OrgClient, LeadJobError> {
        let client = self.parts.clients.get(org).ok_or_else(|| LeadJobError::UnknownOrg(org.clone()))?;
        Ok(client.with_priority(priority_of(LANE)))
    }

    pub(super) async fn enter(&self, run: &LeadRun, phase: JobPhase) -> Result<(), LeadJobError> {
        self.patiently(run, || async { Ok(run.store.set_phase(phase, None).await?) }).await?;
        run.progress.send_modify(|progress| progress.phase = phase);
        tracing::info!(job = run.spec.job, org = %run.spec.org, phase = phase.as_str(), "lead job");
        Ok(())
    }

    /// Reads the job's source.
    async fn take_in(&self, run: &Arc<LeadRun>) -> Result<(), LeadJobError> {
        if run.store.intake().await?.ended {
            return Ok(());
        }
        self.enter(run, JobPhase::Intake).await?;
        let entry = self.parts.engine.job(&JobId::new(&run.spec.job));
        let ask = IntakeAsk { org: run.spec.org.clone() };
        self.parts.engine.admit(&*self.parts.intake, &entry, ItemId::new("intake"), LANE, ask).await?;
        entry.ran_dry().await;
        if run.store.intake().await?.ended {
            let counts = run.store.counts().await?;
            let rows = [
                ("lead", counts.leads),
                ("duplicate", counts.duplicates),
                ("blank", counts.blank),
                ("invalid", counts.invalid),
            ];
            for (outcome, rows) in rows {
                self.parts.metrics.lead_rows_total.with_label_values(&[outcome]).inc_by(rows);
            }
            return Ok(());
        }
        let letters = self.take_letters(&run.spec.job).await;
        let why = letters.into_iter().next().map(|letter| letter.error);
        Err(LeadJobError::Said(why.unwrap_or_else(|| "the rows could not be read".to_owned())))
    }

    /// Makes a call that the whole job depends on: waits out what passes, and says no to what does not.
    pub(super) async fn call<T, E, F>(&self, run: &LeadRun, call: impl Fn() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: AsOrgError + std::error::Error,
    {
        let (mut pause, mut tries) = (RETRY_FIRST, 1);
        loop {
            let error = match counted(Arc::clone(&run.calls), call()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(org_error) = error.as_org_error().filter(|error| error.is_transient()) else {
                return Err(error);
            };
            let told = pause_of(org_error);
            if told.is_none() && tries >= TRIES {
                return Err(error);
            }
            tracing::warn!(job = run.spec.job, error = chain(&error), "a call of a lead job failed");
            self.parts.clock.sleep(told.unwrap_or(pause)).await;
            if told.is_none() {
                tries += 1;
                pause = (pause * 2).min(RETRY_LONGEST);
            }
        }
    }

    /// Does something that the disk may have no room for: waits until there is.
    pub(super) async fn patiently<T, F>(&self, run: &LeadRun, work: impl Fn() -> F) -> Result<T, LeadJobError>
    where
        F: Future<Output = Result<T, LeadJobError>>,
    {
        loop {
            match work().await {
                Err(LeadJobError::Store(error)) if error.is_disk_full() => {
                    tracing::error!(
                        job = run.spec.job,
                        error = chain(&error),
                        "the job waits until there is room"
                    );
                    self.parts.clock.sleep(WHILE_DISK_IS_FULL).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Tells how far the job is, a few times a second. Ends when the engine has.
    async fn keep_progress(&self, run: &Arc<LeadRun>) {
        let clock = &self.parts.clock;
        let mut pace = Pace::default();
        let mut noted = run.calls();
        while !self.parts.engine.is_closed() {
            clock.sleep(TICK).await;
            let Ok(counts) = run.store.counts().await else { continue };
            let elapsed = clock.elapsed().saturating_sub(run.began);
            let rate = pace.rate(elapsed, counts.finished());
            let waits = self.waits(run);
            let calls = run.calls();
            run.progress.send_modify(|progress| {
                progress.counts = counts;
                progress.org_calls = calls;
                progress.elapsed_secs = elapsed.as_secs_f64();
                progress.leads_per_sec = rate;
                let is_known = progress.phase == JobPhase::Assessing && rate > 0.0;
                progress.seconds_left = is_known.then(|| counts.open as f64 / rate);
                progress.waits = waits;
            });
            if calls != noted && run.store.note(CALLS_NOTE, &calls.to_string()).await.is_ok() {
                noted = calls;
            }
        }
    }

    /// What the job waits for, in words.
    fn waits(&self, run: &LeadRun) -> Option<String> {
        let state = self.parts.engine.run_state();
        if state.paused {
            return Some("the line is paused; `penstock resume` goes on".to_owned());
        }
        match run.phase() {
            JobPhase::Assessing => {
                let of_model = run.asker.as_ref().and_then(|asker| asker.gate.waits_for());
                of_model.or_else(|| self.parts.book.waits_for(&run.spec.org, Priority::Normal))
            }
            JobPhase::AwaitingBatch => {
                let of_model = run.asker.as_ref().and_then(|asker| asker.gate.waits_for());
                Some(of_model.unwrap_or_else(|| "waiting for the model endpoint's batch".to_owned()))
            }
            _ => None,
        }
    }
}

/// An error behind which a call to the org may be.
pub(super) trait AsOrgError {
    fn as_org_error(&self) -> Option<&OrgError>;
}

impl AsOrgError for OrgError {
    fn as_org_error(&self) -> Option<&OrgError> {
        Some(self)
    }
}

impl AsOrgError for LeadColumnsError {
    fn as_org_error(&self) -> Option<&OrgError> {
        match self {
            Self::Org(error) => Some(error),
            Self::NoField { .. } => None,
        }
    }
}

impl AsOrgError for crate::salesforce::BulkError {
    fn as_org_error(&self) -> Option<&OrgError> {
        self.org_error()
    }
}

/// How fast leads were finished over the last seconds.
#[derive(Debug, Default)]
struct Pace(std::collections::VecDeque<(Duration, u64)>);

impl Pace {
    const SPAN: Duration = Duration::from_secs(5);

    fn rate(&mut self, now: Duration, finished: u64) -> f64 {
        self.0.push_back((now, finished));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= Self::SPAN) {
            self.0.pop_front();
        }
        let Some((from, before)) = self.0.front() else { return 0.0 };
        let secs = now.saturating_sub(*from).as_secs_f64();
        if secs > 0.0 { finished.saturating_sub(*before) as f64 / secs } else { 0.0 }
    }
}

fn write_summary(path: &Path, summary: &Summary) -> Result<(), atomic_file::StoreError> {
    let text = serde_json::to_string_pretty(summary).unwrap_or_default();
    atomic_file::write_private(path, &text)
}

/// What is left of the jobs that are over; those older than `keep` are taken away.
fn summaries(folder: &Path, now: jiff::Timestamp, keep: Duration) -> Vec<Summary> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let path = entry.path().join(SUMMARY);
        let Ok(text) = std::fs::read(&path) else { continue };
        if age(&path, now).is_some_and(|age| age > keep) {
            tracing::info!(folder = %entry.path().display(), "a lead job is old enough to go");
            drop(std::fs::remove_dir_all(entry.path()));
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(summary) => found.push(summary),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a lead job's summary cannot be read")
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let mut pace = Pace::default();
        let secs = Duration::from_secs;
        assert_eq!(pace.rate(secs(0), 0), 0.0);
        assert_eq!(pace.rate(secs(1), 100), 100.0);
        for at in 2..=20 {
            pace.rate(secs(at), 100);
        }
        assert_eq!(pace.rate(secs(21), 100), 0.0, "what was long ago does not count");
        assert_eq!(pace.rate(secs(22), 600), 100.0);
    }
}
