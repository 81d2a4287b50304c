//! What joins a load's extraction to the line and the journal: parts go into the warehouse writer's mailbox, and where the
//! extraction stands goes into the journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::{Engine, FaultPoint, JobEntry, LocalInbox, fault};
use super::sync_error::LineError;
use super::sync_extract::{ExtractState, KeepCursor, PartSink};
use super::sync_record::{Stand, SyncRecords};
use super::sync_run::{SyncLoad, SyncLoads, job_of};
use crate::clock::BoxFuture;
use crate::messages::{ItemId, Lane, SyncPart};
use crate::model::ObjectName;
use crate::salesforce::HandoverError;
use crate::sync::{LoadPlan, PartNumber};
use crate::warehouse::PartSource;

/// Where a test may have a sync break, in the order of a load's life. The names are those of
/// [`FaultPoint::strike`].
pub mod point {
    /// The plan is in the journal; nothing was fetched.
    pub const PLAN_KEPT: &str = "sync_plan_kept";
    /// The table has the columns.
    pub const SCHEMA_APPLIED: &str = "sync_schema_applied";
    /// A bulk job is at the org, and its id in the journal.
    pub const JOB_CREATED: &str = "sync_job_created";
    /// A page's parts are durable, and the cursor stands behind it.
    pub const PAGE_STAGED: &str = "sync_page_staged";
    /// Every part is durable.
    pub const BEFORE_COMMIT: &str = "sync_before_commit";
    /// The rows are the target's; the journal does not know.
    pub const COMMITTED: &str = "sync_committed";
    /// The journal knows; the bulk job is still at the org.
    pub const BEFORE_JOB_DELETE: &str = "sync_before_job_delete";

    /// All of them.
    pub const ALL: [&str; 7] =
        [PLAN_KEPT, SCHEMA_APPLIED, JOB_CREATED, PAGE_STAGED, BEFORE_COMMIT, COMMITTED, BEFORE_JOB_DELETE];
}

/// Suffers what a test has asked for at a point.
pub(super) async fn strike(faults: &Arc<dyn FaultPoint>, point: &'static str) {
    fault::suffer(faults.strike(point)).await;
}

/// A load while it is in this process: known to the warehouse writer until this is dropped.
pub(super) struct OnLine {
    pub load: Arc<SyncLoad>,
    pub entry: Arc<JobEntry>,
    engine: Engine,
    loads: SyncLoads,
}

impl OnLine {
    pub fn begin(engine: &Engine, loads: &SyncLoads, plan: Arc<LoadPlan>) -> Self {
        let entry = engine.job(&job_of(&plan));
        Self { load: loads.begin(plan), entry, engine: engine.clone(), loads: loads.clone() }
    }
}

impl Drop for OnLine {
    fn drop(&mut self) {
        // What is still on the line of it ends without effect.
        self.entry.cancel();
        self.loads.end(&self.load.plan);
        self.engine.forget_job(&job_of(&self.load.plan));
    }
}

/// Takes parts of one load into the warehouse writer's mailbox.
pub(super) struct LineSink<'l> {
    pub on_line: &'l OnLine,
    pub writer: &'l LocalInbox<SyncPart>,
    pub lane: Lane,
}

impl PartSink for LineSink<'_> {
    fn put(&self, part: PartNumber, source: PartSource) -> BoxFuture<'_, Result<(), HandoverError>> {
        Box::pin(async move {
            let OnLine { load, entry, engine, .. } = self.on_line;
            let item = ItemId::new(&part.0.to_string());
            let content = SyncPart::new(load.plan.id.clone(), part, source);
            tokio::select! {
                biased;
                trouble = load.failed() => Err(LineError::Warehouse(trouble).into()),
                put = engine.admit(self.writer, entry, item, self.lane, content) => {
                    put.map_err(|_closed| LineError::Leaving.into())
                }
            }
        })
    }

    fn all_staged(&self) -> BoxFuture<'_, Result<(), HandoverError>> {
        Box::pin(async move {
            let OnLine { load, entry, engine, .. } = self.on_line;
            tokio::select! {
                biased;
                trouble = load.failed() => return Err(LineError::Warehouse(trouble).into()),
                () = entry.ran_dry() => {}
            }
            // The last part may have been the one that failed.
            if let Some(trouble) = load.trouble() {
                return Err(LineError::Warehouse(trouble).into());
            }
            if entry.counts().dead == 0 {
                return Ok(());
            }
            let mut why = "it was tried too often".to_owned();
            for letter in engine.dead_letters().into_iter().filter(|letter| letter.header.job == *entry.id())
            {
                why.clone_from(&letter.error);
                // Its rows are not in it: nobody could try it again.
                drop(engine.drop_dead_letter(letter.number).await);
            }
            Err(LineError::GivenUp(why).into())
        })
    }
}

/// Which of a load's extractions stands where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Rows,
    Keys,
}

/// Keeps in the journal where a load's extractions stand.
pub(super) struct Keeper<'k> {
    pub records: &'k SyncRecords,
    pub object: &'k ObjectName,
    pub stand: Mutex<Stand>,
    pub calls: &'k AtomicU64,
    pub calls_before: u64,
    pub faults: &'k Arc<dyn FaultPoint>,
}

/// A [`Keeper`] for one of the extractions.
pub(super) struct KeepOne<'k> {
    pub keeper: &'k Keeper<'k>,
    pub which: Which,
}

impl Keeper<'_> {
    pub fn stand(&self) -> Stand {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where one of them stands.
    pub fn state(&self, which: Which) -> ExtractState {
        let stand = self.stand.lock().unwrap_or_else(PoisonError::into_inner);
        match which {
            Which::Rows => stand.rows.clone(),
            Which::Keys => stand.keys.clone().unwrap_or_default(),
        }
    }

    pub fn set(&self, which: Which, state: ExtractState) {
        let mut stand = self.stand.lock().unwrap_or_else(PoisonError::into_inner);
        match which {
            Which::Rows => stand.rows = state,
            Which::Keys => stand.keys = Some(state),
        }
        stand.calls = self.calls_before + self.calls.load(Ordering::Relaxed);
    }
}

impl KeepCursor for KeepOne<'_> {
    fn keep<'k>(&'k self, state: &'k ExtractState) -> BoxFuture<'k, Result<(), HandoverError>> {
        Box::pin(async move {
            let keeper = self.keeper;
            let before = keeper.state(self.which);
            keeper.set(self.which, state.clone());
            keeper.records.keep_stand(keeper.object, &keeper.stand()).await?;
            if before.job_id().is_none() && state.job_id().is_some() {
                strike(keeper.faults, point::JOB_CREATED).await;
            }
            if state.pages > before.pages {
                strike(keeper.faults, point::PAGE_STAGED).await;
            }
            Ok(())
        })
    }
}
