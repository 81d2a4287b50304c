//! What may be asked of syncs, and how they look while they run and when they have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::sync_record::Purpose;
use super::sync_run::SyncLoad;
use crate::messages::Lane;
use crate::model::ObjectName;
use crate::sync::{LoadId, SyncResult};

/// What is asked of an object beyond its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncOverrides {
    /// Every row, whatever has changed.
    pub full: bool,
    /// A bulk job that is at the org already.
    pub existing_job_id: Option<String>,
    /// Leave the bulk job at the org.
    pub keep_job: bool,
    /// Files of a stage or none, whatever is configured.
    pub use_stage: Option<bool>,
    /// The stage; asks for it too.
    pub stage_name: Option<String>,
    /// Look for rows that were deleted for good by comparing all ids, whether it is due or not.
    pub compare_ids: bool,
    /// Read formulas anew, whether it is due or not.
    pub formulas: bool,
    /// Count org and target, whether it is due or not.
    pub reconcile: bool,
}

/// A request to sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncOrder {
    /// Which objects; none: all that are configured.
    #[serde(default)]
    pub objects: Vec<ObjectName>,
    /// Who waits for it.
    #[serde(default = "normal")]
    pub lane: Lane,
    /// What is asked beyond the settings.
    #[serde(default)]
    pub with: SyncOverrides,
}

fn normal() -> Lane {
    Lane::Normal
}

impl SyncOrder {
    /// Everything that is configured, as it is configured.
    pub fn all() -> Self {
        Self { objects: Vec::new(), lane: Lane::Normal, with: SyncOverrides::default() }
    }

    /// Some objects, as they are configured.
    pub fn of(objects: Vec<ObjectName>) -> Self {
        Self { objects, ..Self::all() }
    }
}

/// How far a sync that runs is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncProgress {
    /// Where it is.
    pub phase: &'static str,
    /// What the load under way is for.
    pub purpose: Option<&'static str>,
    /// The load under way.
    pub load: Option<LoadId>,
    /// Rows of it that are durable in the warehouse.
    pub rows_staged: u64,
    /// Calls so far.
    pub calls: u64,
    /// What it waits for.
    pub waits: Option<String>,
    /// Since it began.
    pub elapsed_secs: f64,
}

/// A load that is not over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenLoadView {
    /// Its id.
    pub load: LoadId,
    /// What it is for.
    pub purpose: &'static str,
    /// When it was planned.
    pub began: Timestamp,
    /// It is in the target; what is left is to tidy up.
    pub is_committed: bool,
}

/// How fresh an object is in the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Freshness {
    /// The object.
    pub object: ObjectName,
    /// The table, as configured.
    pub table: String,
    /// Up to where the target has it, by the org's clock.
    pub watermark: Option<Timestamp>,
    /// Our clock less the watermark.
    pub lag_seconds: Option<f64>,
    /// The last sync that came to an end.
    pub last: Option<SyncResult>,
    /// The one that runs.
    pub running: Option<SyncProgress>,
    /// A load that is not over.
    pub open_load: Option<OpenLoadView>,
    /// When it is synced by itself, in words.
    pub schedule: Option<String>,
    /// When it is synced next.
    pub next: Option<Timestamp>,
}

/// A sync that runs, as others see it.
pub(super) struct RunView {
    pub lane: Lane,
    pub calls: Arc<AtomicU64>,
    began: Duration,
    now: Mutex<RunNow>,
}

#[derive(Default)]
struct RunNow {
    phase: &'static str,
    purpose: Option<Purpose>,
    load: Option<Arc<SyncLoad>>,
    waits: Option<String>,
}

impl RunView {
    pub fn new(lane: Lane, began: Duration) -> Arc<Self> {
        let now = RunNow { phase: "waiting", ..RunNow::default() };
        Arc::new(Self { lane, calls: Arc::default(), began, now: Mutex::new(now) })
    }

    pub fn enter(&self, phase: &'static str) {
        self.change(|now| now.phase = phase);
    }

    pub fn takes_up(&self, purpose: Purpose, load: Option<Arc<SyncLoad>>) {
        self.change(|now| (now.purpose, now.load) = (Some(purpose), load));
    }

    pub fn waits(&self, why: Option<String>) {
        self.change(|now| now.waits = why);
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn phase(&self) -> &'static str {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).phase
    }

    fn change(&self, change: impl FnOnce(&mut RunNow)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn progress(&self, clock: Duration) -> SyncProgress {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let load = now.load.as_ref();
        SyncProgress {
            phase: now.phase,
            purpose: now.purpose.map(Purpose::as_str),
            load: load.map(|load| load.plan.id.clone()),
            rows_staged: load.map_or(0, |load| load.staged_rows()),
            calls: self.calls(),
            waits: load.and_then(|load| load.waits()).or_else(|| now.waits.clone()),
            elapsed_secs: clock.saturating_sub(self.began).as_secs_f64(),
        }
    }
}
