//! What a run of the schema job knows while it runs: the org's families, and how far it is.
//!
//! Promises: everything in it can be read again from the cache. A part of a family that is noted twice (its item was
//! delivered again) counts once; parts are joined in their order, whatever order they came in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dashmap::DashMap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::library::FamilyIndex;
use crate::limiter::{Forecast, Priority};
use crate::messages::{Header, ItemId, JobId};
use crate::model::{Families, Family, FamilyFailure, ObjectName, OrgName};
use crate::salesforce::OrgClient;
use crate::salesforce::families::FamilyRows;
use crate::store::cache::CacheKey;
use crate::vectors::WriteReport;

/// Phase of a run that has ended and is kept for its dead letters.
pub const DONE: &str = "done";

/// What one run of the job knows while it runs. Everything in it can be read again from the cache.
#[derive(Debug)]
pub struct SchemaRun {
    pub(super) org: OrgName,
    pub(super) parts: Mutex<BTreeMap<(Family, ItemId), Result<FamilyRows, String>>>,
    pub(super) index: OnceLock<Arc<FamilyIndex>>,
    pub(super) objects: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) documents_written: AtomicU64,
    pub(super) documents_unchanged: AtomicU64,
    pub(super) forecast: OnceLock<Forecast>,
    priority: Priority,
    phase: Mutex<&'static str>,
}

/// How far a run is.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaProgress {
    /// The job.
    pub job: JobId,
    /// The org.
    pub org: OrgName,
    /// What it is doing.
    pub phase: &'static str,
    /// Objects in all; 0 until they are known.
    pub objects: u64,
    /// Objects written by this process for this job.
    pub written: u64,
    /// What the job was expected to cost; `None` until its objects are known.
    pub forecast: Option<Forecast>,
    /// Who its calls are made for.
    pub priority: Priority,
    /// What it waits for now, in words, when it is not the job that takes the time.
    pub waits: Option<String>,
}

impl SchemaProgress {
    /// Whether the job has calls to make in this phase, so that whoever holds calls back holds the job back.
    pub fn makes_calls(&self) -> bool {
        ["listing objects", "reading families", "describing objects"].contains(&self.phase)
    }
}

/// The runs of this process, by job.
#[derive(Debug, Clone, Default)]
pub struct SchemaRuns(Arc<DashMap<JobId, Arc<SchemaRun>>>, Arc<DashMap<OrgName, ()>>);

/// The right to drive the schema job of one org; dropped, another may.
#[derive(Debug)]
pub(super) struct Driver {
    org: OrgName,
    driven: Arc<DashMap<OrgName, ()>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.driven.remove(&self.org);
    }
}

impl SchemaRuns {
    /// Two drivers of one org would put its objects on the line twice; `None` while there is one.
    pub(super) fn drive(&self, org: &OrgName) -> Option<Driver> {
        let driven = Arc::clone(&self.1);
        match driven.insert(org.clone(), ()) {
            None => Some(Driver { org: org.clone(), driven }),
            Some(()) => None,
        }
    }

    pub(super) fn begin(&self, job: &JobId, org: &OrgName, priority: Priority) -> Arc<SchemaRun> {
        let run = Arc::new(SchemaRun {
            org: org.clone(),
            parts: Mutex::default(),
            index: OnceLock::new(),
            objects: AtomicU64::new(0),
            written: AtomicU64::new(0),
            documents_written: AtomicU64::new(0),
            documents_unchanged: AtomicU64::new(0),
            forecast: OnceLock::new(),
            priority,
            phase: Mutex::new("starting"),
        });
        self.0.insert(job.clone(), Arc::clone(&run));
        run
    }

    pub(super) fn get(&self, job: &JobId) -> Option<Arc<SchemaRun>> {
        self.0.get(job).map(|run| Arc::clone(run.value()))
    }

    /// Notes what came of a family, or of one part of it. Noted twice, the later counts.
    pub fn note_family(&self, header: &Header, family: Family, rows: Result<FamilyRows, String>) {
        if let Some(run) = self.get(&header.job) {
            if let Err(why) = &rows {
                tracing::warn!(org = %run.org, %family, why, "a family could not be read");
            }
            let mut parts = run.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert((family, header.item.clone()), rows);
        }
    }

    /// Notes what the store said it wrote.
    pub fn note_written(&self, header: &Header, report: &WriteReport) {
        if let Some(run) = self.get(&header.job) {
            run.written.fetch_add(report.objects, Ordering::Relaxed);
            run.documents_written.fetch_add(report.documents_written, Ordering::Relaxed);
            run.documents_unchanged.fetch_add(report.documents_unchanged, Ordering::Relaxed);
        }
    }

    /// The families of the run that an item belongs to.
    pub fn family_index(&self, header: &Header) -> Option<Arc<FamilyIndex>> {
        self.get(&header.job)?.index.get().cloned()
    }

    /// Forgets a run.
    pub(super) fn remove(&self, job: &JobId) {
        self.0.remove(job);
    }

    /// How far every run is, sorted by job.
    pub fn progress(&self) -> Vec<SchemaProgress> {
        let one = |job: &JobId, run: &SchemaRun| SchemaProgress {
            job: job.clone(),
            org: run.org.clone(),
            phase: *run.phase.lock().unwrap_or_else(PoisonError::into_inner),
            objects: run.objects.load(Ordering::Relaxed),
            written: run.written.load(Ordering::Relaxed),
            forecast: run.forecast.get().copied(),
            priority: run.priority,
            waits: None,
        };
        let mut rows: Vec<_> = self.0.iter().map(|entry| one(entry.key(), entry.value())).collect();
        rows.sort_by(|a, b| a.job.cmp(&b.job));
        rows
    }
}

impl SchemaRun {
    /// Notes the run's end without a word in the log.
    pub(super) fn end(&self) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = DONE;
    }

    pub(super) fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        tracing::info!(org = %self.org, phase, "schema job");
    }

    /// Joins the parts to families; what was never noted was given up on the line.
    pub(super) fn seal_families(&self) -> Families {
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut joined: BTreeMap<Family, Result<FamilyRows, FamilyFailure>> = BTreeMap::new();
        while let Some(((family, _), rows)) = parts.pop_first() {
            let rows = rows.map_err(|reason| FamilyFailure { family, reason });
            match joined.remove(&family) {
                None => drop(joined.insert(family, rows)),
                Some(known) => drop(joined.insert(family, join(known, rows))),
            }
        }
        macro_rules! take {
            ($family:ident) => {
                match joined.remove(&Family::$family) {
                    Some(Ok(FamilyRows::$family(rows))) => Ok(rows),
                    Some(Err(failure)) => Err(failure),
                    _ => Err(FamilyFailure {
                        family: Family::$family,
                        reason: "it was given up; see the dead letters".to_owned(),
                    }),
                }
            };
        }
        Families {
            flows: take!(Flows),
            triggers: take!(Triggers),
            validation_rules: take!(ValidationRules),
            workflow_rules: take!(WorkflowRules),
            record_types: take!(RecordTypes),
            layouts: take!(Layouts),
            permission_sets: take!(PermissionSets),
            object_permissions: take!(ObjectPermissions),
            field_permissions: take!(FieldPermissions),
            record_counts: take!(RecordCounts),
        }
    }
}

type Part = Result<FamilyRows, FamilyFailure>;

/// Only field permissions come in parts; one failed part fails the family, for "no row" would mean "no access".
fn join(known: Part, more: Part) -> Part {
    match (known?, more?) {
        (FamilyRows::FieldPermissions(mut known), FamilyRows::FieldPermissions(more)) => {
            known.extend(more);
            Ok(FamilyRows::FieldPermissions(known))
        }
        (_, more) => Ok(more),
    }
}

/// Where a family is kept.
pub fn family_key(client: &OrgClient, family: Family) -> CacheKey {
    CacheKey::new(client.org(), client.api_version(), "family", family.as_str())
}

/// Where the field permissions of a group of objects are kept: another group is another key.
pub fn field_permissions_key(client: &OrgClient, objects: &[ObjectName]) -> CacheKey {
    let mut hash = Sha256::new();
    for object in objects {
        hash.update(object.as_str());
        hash.update(b"\n");
    }
    let name = format!("{}-{:.16}", Family::FieldPermissions, hex(&hash.finalize()));
    CacheKey::new(client.org(), client.api_version(), "family", &name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
