//! What a lead job knows while it runs: its store, its columns, what it has on the line, how far it is.
//!
//! Promises: everything in it can be had again from the job's store and the org, so a crash costs nothing but reads. What a
//! job has on the line is bounded by the number of leads, whatever the mailboxes would take.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, watch};

use super::lead_asker::LeadAsker;
use super::lead_budget::LeadBudget;
use super::lead_terms::{LeadTerms, note_left_out};
use crate::leads::{
    FreeMail, JobPhase, Lead, LeadCounts, LeadField, LeadId, LeadJobSpec, LeadOutcome, LeadProgress,
    LeadResult, LeadSettings, Ordinal, Presence,
};
use crate::messages::{Header, JobId, UnreadLead};
use crate::salesforce::{LeadColumns, ParentCache};
use crate::store::lead_jobs::{LeadJobStore, LeadStoreError};

/// The runs of this process, by job.
#[derive(Debug, Clone, Default)]
pub struct LeadRuns(Arc<DashMap<JobId, Arc<LeadRun>>>);

impl LeadRuns {
    pub(super) fn insert(&self, run: Arc<LeadRun>) {
        self.0.insert(JobId::new(&run.spec.job), run);
    }

    pub(super) fn remove(&self, job: &str) {
        self.0.remove(&JobId::new(job));
    }

    /// The run that an item belongs to; `None` once it is over.
    pub(super) fn of(&self, header: &Header) -> Option<Arc<LeadRun>> {
        self.0.get(&header.job).map(|run| Arc::clone(run.value()))
    }

    /// How far every run is, sorted by job.
    pub fn progress(&self) -> Vec<LeadProgress> {
        let mut rows: Vec<_> = self.0.iter().map(|run| run.progress.borrow().clone()).collect();
        rows.sort_by(|a, b| a.job.cmp(&b.job));
        rows
    }
}

/// See the module's promises.
pub struct LeadRun {
    /// What was asked for.
    pub spec: Arc<LeadJobSpec>,
    /// What holds for the job.
    pub settings: Arc<LeadSettings>,
    pub(super) folder: PathBuf,
    pub(super) store: LeadJobStore,
    pub(super) domains: FreeMail,
    /// What it may still spend.
    pub(super) budget: LeadBudget,
    /// Asks the model; `None`: the rules alone.
    pub(super) asker: Option<Arc<LeadAsker>>,
    /// Parents of leads that were read.
    pub(super) parents: ParentCache,
    /// When this run of the job began.
    pub(super) began: Duration,
    /// Leads that were finished by then.
    pub(super) finished_before: u64,
    /// Calls to the org for this job, by this process and those before.
    pub(super) calls: Arc<AtomicU64>,
    terms: Mutex<Arc<LeadTerms>>,
    columns: Mutex<Option<Arc<LeadColumns>>>,
    absent: Mutex<Vec<(Ordinal, LeadId)>>,
    on_line: AtomicU64,
    left: Notify,
    trouble: OnceLock<String>,
    troubled: Notify,
    pub(super) progress: watch::Sender<LeadProgress>,
}

impl std::fmt::Debug for LeadRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadRun").field("job", &self.spec.job).finish_non_exhaustive()
    }
}

/// What a run begins with.
pub(super) struct RunParts {
    pub spec: Arc<LeadJobSpec>,
    pub settings: Arc<LeadSettings>,
    pub folder: PathBuf,
    pub store: LeadJobStore,
    pub asker: Option<Arc<LeadAsker>>,
    /// Fields that the org lacked when it was last asked.
    pub left_out: Vec<LeadField>,
    pub calls: u64,
    pub counts: LeadCounts,
    pub phase: JobPhase,
    pub began: Duration,
}

impl LeadRun {
    pub(super) fn new(parts: RunParts) -> Arc<Self> {
        let RunParts { spec, settings, folder, store, asker, left_out, calls, counts, phase, began } = parts;
        let progress = LeadProgress {
            job: spec.job.clone(),
            phase,
            counts,
            org_calls: calls,
            elapsed_secs: 0.0,
            leads_per_sec: 0.0,
            seconds_left: None,
            waits: None,
            error: None,
        };
        Arc::new(Self {
            domains: FreeMail::new(&settings.free_mail_domains),
            budget: LeadBudget::new(spec.max_cost, counts.cost),
            spec,
            folder,
            store,
            parents: ParentCache::default(),
            began,
            finished_before: counts.finished(),
            calls: Arc::new(AtomicU64::new(calls)),
            terms: Mutex::new(LeadTerms::new(&settings, asker.as_deref(), &left_out)),
            settings,
            asker,
            columns: Mutex::default(),
            absent: Mutex::default(),
            on_line: AtomicU64::new(0),
            left: Notify::new(),
            trouble: OnceLock::new(),
            troubled: Notify::new(),
            progress: watch::Sender::new(progress),
        })
    }

    pub(super) fn columns(&self) -> Option<Arc<LeadColumns>> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What holds for its leads.
    pub(super) fn terms(&self) -> Arc<LeadTerms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on leads are read by these columns, and judged by what they leave out.
    pub(super) fn set_columns(&self, columns: LeadColumns) -> Arc<LeadColumns> {
        if self.terms().left_out() != columns.left_out() {
            let terms = LeadTerms::new(&self.settings, self.asker.as_deref(), columns.left_out());
            *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms;
        }
        let columns = Arc::new(columns);
        *self.columns.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&columns));
        columns
    }

    /// Notes what the org lacks, for the report and for the process after this one.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn keep_terms(&self) -> Result<(), LeadStoreError> {
        note_left_out(&self.store, self.terms().left_out()).await
    }

    /// Leads without a record, to be looked up together with others.
    pub(super) fn note_absent(&self, leads: Vec<(Ordinal, LeadId)>) {
        self.left_line(leads.len());
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).extend(leads);
    }

    /// Up to `most` of the leads noted as absent, once there are so many, or of all of them with `rest`.
    pub(super) fn take_absent(&self, most: usize, rest: bool) -> Option<Vec<(Ordinal, LeadId)>> {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.is_empty() || (absent.len() < most && !rest) {
            return None;
        }
        absent.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        // Noted twice: an item that was delivered again.
        absent.dedup_by_key(|(ordinal, _)| *ordinal);
        let some = most.min(absent.len());
        Some(absent.drain(..some).collect())
    }

    /// Leads enter the line.
    pub(super) fn enter_line(&self, leads: usize) {
        self.on_line.fetch_add(leads as u64, Memory::AcqRel);
    }

    /// Leads have left the line: written, or noted for later.
    pub(super) fn left_line(&self, leads: usize) {
        let leave = |known: u64| Some(known.saturating_sub(leads as u64));
        // Never refused: the change always gives a value.
        let _ = self.on_line.fetch_update(Memory::AcqRel, Memory::Acquire, leave);
        self.left.notify_waiters();
    }

    /// Nothing of the job is on the line.
    pub(super) fn line_is_dry(&self) {
        self.on_line.store(0, Memory::Release);
    }

    /// Waits until fewer than `most` leads are on the line.
    pub(super) async fn room(&self, most: u64) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.on_line.load(Memory::Acquire) < most {
                return;
            }
            left.await;
        }
    }

    /// Something that no other lead of the job will fare better with.
    pub(super) fn fail(&self, why: String) {
        if self.trouble.set(why).is_ok() {
            self.troubled.notify_waiters();
        }
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// Resolves once the job has failed.
    pub(super) async fn failed(&self) -> String {
        loop {
            let troubled = self.troubled.notified();
            tokio::pin!(troubled);
            troubled.as_mut().enable();
            if let Some(why) = self.trouble.get() {
                return why.clone();
            }
            troubled.await;
        }
    }

    pub(super) fn phase(&self) -> JobPhase {
        self.progress.borrow().phase
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Memory::Relaxed)
    }
}

/// What is kept of a lead that could not be read.
pub(super) fn unread_result(unread: &UnreadLead) -> LeadResult {
    // Whether the org has it nobody knows; the outcome says so.
    let lead = Lead::without_values(unread.id, Presence::NotVisible);
    LeadResult {
        ordinal: unread.ordinal,
        lead,
        outcome: LeadOutcome::Unread { reason: unread.reason.clone() },
    }
}
