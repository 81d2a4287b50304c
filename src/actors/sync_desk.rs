//! What doors may ask of syncs: to sync objects, to explain what a sync would do, to tell how fresh each object is.
//!
//! Promises: one sync of one object at a time, whoever asks; whoever asks for what is being done already waits for that. Each
//! object's trouble is its own (*isolated*). Loads that a crash left are taken up at the start. Nothing is decided here: what
//! a sync does is worked out by [`crate::sync`].

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::engine::{Engine, FaultPoint, Journal, LocalInbox};
use super::fetcher::{OrgClients, chain};
use super::limiter_book::LimiterBook;
use super::rate_limiter::priority_of;
use super::sync_error::SyncError;
use super::sync_first::FirstPages;
use super::sync_order::RunView;
pub use super::sync_order::{Freshness, OpenLoadView, SyncOrder, SyncOverrides, SyncProgress};
use super::sync_plan::{KnownDescribe, choice, settings_for};
use super::sync_pool::WarehousePool;
use super::sync_record::SyncRecords;
use super::sync_report::{failed_early, interrupted};
use super::sync_run::SyncLoads;
use crate::clock::SharedClock;
use crate::messages::{Lane, SyncPart};
use crate::model::{ObjectDescribe, ObjectName};
use crate::salesforce::{OrgClient, OrgError};
use crate::sync::explain::{Explanation, ThresholdsUsed};
use crate::sync::method::forecast;
use crate::sync::{ErrorKind, LoadId, ObjectSettings, SyncResult, SyncSettings};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::SYNC_ROW_OUTCOMES;
use crate::warehouse::spool::Spool;

/// How old the org's clock may be that a window ends at: it only makes the next window longer.
pub(super) const CLOCK_SEEN_WITHIN: Duration = Duration::from_secs(30);
/// How often a sync looks whether the engine has ended under it.
const LOOK: Duration = Duration::from_millis(100);

/// Everything that syncs need of the plant.
pub struct SyncDeskParts {
    /// The engine.
    pub engine: Engine,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Clients by org.
    pub clients: OrgClients,
    /// The limiters' book, for what a sync waits for.
    pub book: Arc<LimiterBook>,
    /// What holds for every object.
    pub settings: Arc<SyncSettings>,
    /// Where the thresholds come from, in words.
    pub thresholds_origin: String,
    /// Connections to the warehouse.
    pub pool: WarehousePool,
    /// Mailbox of the warehouse writer.
    pub writer: Arc<LocalInbox<SyncPart>>,
    /// The loads of this process.
    pub loads: SyncLoads,
    /// Files for the stages of warehouses that have some.
    pub spool: Option<Spool>,
    /// Folder of the reject files.
    pub rejects: PathBuf,
    /// Metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// Faults on demand.
    pub faults: Arc<dyn FaultPoint>,
    /// Tells ids of loads apart that are planned in one millisecond.
    pub seed: u64,
    /// How long is waited for a warehouse that fails for a passing reason.
    pub patience: super::warehouse_writer::Patience,
}

#[derive(Clone)]
struct Running {
    view: Arc<RunView>,
    with: SyncOverrides,
    over: watch::Receiver<Option<SyncResult>>,
}

/// See the module's promises. Clones are the same.
#[derive(Clone)]
pub struct SyncDesk {
    pub(super) parts: Arc<SyncDeskParts>,
    pub(super) records: SyncRecords,
    pub(super) next_runs: Arc<DashMap<ObjectName, Timestamp>>,
    pub(super) first_pages: Arc<FirstPages>,
    running: Arc<DashMap<ObjectName, Running>>,
    at_once: Arc<Semaphore>,
    describes: Arc<Mutex<HashMap<ObjectName, KnownDescribe>>>,
    serial: Arc<AtomicU64>,
}

impl std::fmt::Debug for SyncDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncDesk").field("settings", &self.parts.settings).finish_non_exhaustive()
    }
}

impl SyncDesk {
    /// The desk over what the plant has wired.
    pub fn new(parts: SyncDeskParts) -> Self {
        let at_once = Arc::new(Semaphore::new(parts.settings.objects_at_once.max(1)));
        // Known in advance, so there at 0 from the start.
        for settings in &parts.settings.objects {
            for outcome in SYNC_ROW_OUTCOMES {
                parts.metrics.sync_rows_total.with_label_values(&[settings.object.as_str(), outcome]);
            }
        }
        Self {
            records: SyncRecords::new(Arc::clone(&parts.journal)),
            parts: Arc::new(parts),
            next_runs: Arc::default(),
            first_pages: Arc::default(),
            running: Arc::default(),
            at_once,
            describes: Arc::default(),
            serial: Arc::default(),
        }
    }

    /// What holds for every object.
    pub fn settings(&self) -> &SyncSettings {
        &self.parts.settings
    }

    /// Syncs what is asked for and tells what came of it, in the order of the request. Objects run side by side, as many at
    /// once as the settings say.
    pub async fn sync(&self, order: SyncOrder) -> Vec<SyncResult> {
        let mut asked = Vec::new();
        for name in self.wanted(&order.objects) {
            asked.push(match self.configured(&name) {
                Some(settings) => Ok(settings.clone()),
                None => Err(name),
            });
        }
        let objects: Vec<ObjectName> = asked.iter().flatten().map(|one| one.object.clone()).collect();
        self.describe_ahead(&objects, order.lane).await;
        let runs: Vec<_> = asked
            .into_iter()
            .map(|asked| match asked {
                Ok(settings) => Ok((settings.clone(), self.start(&settings, order.lane, order.with.clone()))),
                Err(name) => Err(Box::new(failed_early(
                    name.as_str(),
                    "",
                    self.parts.clock.wall(),
                    ErrorKind::Job,
                    format!("`{name}` is not among the objects that are configured to be synced"),
                ))),
            })
            .collect();
        let mut results = Vec::new();
        for run in runs {
            results.push(match run {
                Ok((settings, Ok(over))) => self.outcome(&settings, over).await,
                Ok((_, Err(told))) | Err(told) => *told,
            });
        }
        results
    }

    /// Tells what a sync of an object would do. Counts rows at the org, reads none and writes nothing.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub async fn explain(&self, object: &ObjectName, with: &SyncOverrides) -> Result<Explanation, SyncError> {
        let settings = self.configured(object).ok_or_else(|| {
            let said = format!("`{object}` is not among the objects that are configured to be synced");
            SyncError::Said(ErrorKind::Job, said)
        })?;
        let settings = settings_for(settings, with);
        let calls = Arc::new(AtomicU64::new(0));
        let client = self.client(Lane::Interactive)?.counting(Arc::clone(&calls));
        let describe = self.describe(&client, &settings.object).await?;
        let org_now = client.org_now(CLOCK_SEEN_WITHIN).await?;
        let facts = self.records.facts(&settings.object);
        let ground = self.survey(&client, settings, &describe, org_now, &facts, with.full).await?;
        let open = self.rows_load(&client, &ground, &facts);
        let volume =
            self.count_at_org(&client, &open.plan.object, &open.condition, open.with_deleted).await?;
        let thresholds = self.parts.settings.thresholds;
        let choice = choice(&open, &ground.stage, &thresholds, volume, None);
        let forecast = forecast(choice.method, volume);
        let mut notes = ground.notes.clone();
        if self.records.open_load(&open.plan.object).is_some() {
            notes.push("a load of it is not over; the next sync goes on with that first".to_owned());
        }
        Ok(Explanation {
            object: open.plan.object.clone(),
            table: open.plan.table.to_string(),
            warehouse: self.parts.settings.warehouse.clone(),
            choice,
            volume,
            forecast,
            calls_made: calls.load(Ordering::Relaxed),
            thresholds: ThresholdsUsed::new(thresholds, self.parts.thresholds_origin.clone()),
            watermark: ground.watermark.map(|mark| mark.at),
            window: ground.window.clone(),
            filter: ground.filter.as_ref().map(|filter| filter.soql().to_owned()),
            mode: open.plan.mode,
            deletes: open.plan.deletes,
            match_field: ground.settings.match_field.clone(),
            fields: ground.shape.fields.len(),
            skipped_fields: ground.shape.skipped.clone(),
            schema_changes: ground.evolution.changes.clone(),
            backfill: ground.backfill.clone(),
            notes,
        })
    }

    /// How fresh every configured object is, from memory and the journal.
    pub fn status(&self) -> Vec<Freshness> {
        let (wall, elapsed) = (self.parts.clock.wall(), self.parts.clock.elapsed());
        let (loads, all_facts) = (self.records.open_loads(), self.records.all_facts());
        let of_object = |settings: &ObjectSettings| {
            let facts = all_facts.get(&settings.object).cloned().unwrap_or_default();
            let running = self.running.get(&settings.object).map(|run| run.view.progress(elapsed));
            Freshness {
                object: settings.object.clone(),
                table: settings.table.to_string(),
                watermark: facts.watermark,
                lag_seconds: facts.watermark.map(|mark| wall.duration_since(mark).as_secs_f64().max(0.0)),
                last: facts.last,
                running: running.map(|progress| self.with_waits(progress)),
                open_load: loads.get(&settings.object).map(|open| OpenLoadView {
                    load: open.plan.id.clone(),
                    purpose: open.purpose.as_str(),
                    began: open.began,
                    is_committed: open.committed.is_some(),
                }),
                schedule: super::sync_schedule::in_words(settings),
                next: self.next_runs.get(&settings.object).map(|next| *next),
            }
        };
        self.parts.settings.objects.iter().map(of_object).collect()
    }

    /// Takes up every load that the last process left; called once, when the daemon starts.
    pub fn resume(&self) {
        for (object, open) in self.records.open_loads() {
            let Some(settings) = self.configured(&object).cloned() else {
                tracing::warn!(object = %object, "a load is left of an object that is not configured any more: it is let go of");
                let desk = self.clone();
                tokio::spawn(async move {
                    match desk.client(Lane::Normal) {
                        Ok(client) => desk.let_go(&client, &open.plan).await,
                        Err(error) => tracing::warn!(object = %object, %error, "it stays"),
                    }
                });
                continue;
            };
            tracing::info!(object = %object, "a load that the last process left is taken up");
            // Whoever asks for the object meanwhile waits for this.
            drop(self.start(&settings, Lane::Normal, SyncOverrides::default()));
        }
    }

    /// Whether a sync is where leaving would cost most: its rows are becoming the target's.
    pub fn is_committing(&self) -> bool {
        self.running.iter().any(|run| run.view.phase() == "committing")
    }

    /// Lets go of the warehouse, once the engine has ended.
    pub async fn disconnect(&self) {
        self.parts.pool.disconnect().await;
    }

    /// Ids of bulk jobs that loads which are not over read from.
    pub fn bulk_jobs_in_use(&self) -> BTreeSet<String> {
        let stands = self.records.open_loads().into_keys().map(|object| self.records.stand(&object));
        let states = stands.flat_map(|stand| std::iter::once(stand.rows).chain(stand.keys));
        states.filter_map(|state| state.job_id().map(str::to_owned)).collect()
    }

    /// Whether more than one object is being synced.
    pub(super) fn are_several(&self) -> bool {
        self.running.len() > 1 && self.parts.settings.objects_at_once > 1
    }

    /// Whether an object is being synced.
    pub fn is_running(&self, object: &ObjectName) -> bool {
        self.running.contains_key(object)
    }

    /// Brings the gauges up to date.
    pub fn refresh_gauges(&self) {
        let wall = self.parts.clock.wall();
        let all_facts = self.records.all_facts();
        for settings in &self.parts.settings.objects {
            let mark = all_facts.get(&settings.object).and_then(|facts| facts.watermark);
            let Some(mark) = mark else { continue };
            let lag = wall.duration_since(mark).as_secs_f64().max(0.0);
            self.parts.metrics.sync_lag_seconds.with_label_values(&[settings.object.as_str()]).set(lag);
        }
        self.parts.metrics.sync_running.set(self.running.len() as i64);
    }

    fn with_waits(&self, mut progress: SyncProgress) -> SyncProgress {
        if progress.waits.is_none() {
            progress.waits = match self.parts.engine.run_state().paused {
                true => Some("the line is paused; `penstock resume` goes on".to_owned()),
                false => self.parts.book.waits_for(&self.parts.settings.org, priority_of(Lane::Normal)),
            };
        }
        progress
    }

    fn wanted(&self, named: &[ObjectName]) -> Vec<ObjectName> {
        if named.is_empty() {
            return self.parts.settings.objects.iter().map(|one| one.object.clone()).collect();
        }
        let mut wanted: Vec<ObjectName> = Vec::new();
        for name in named {
            if !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        wanted
    }

    /// The settings of an object; the org does not tell small letters from capital ones.
    pub fn configured(&self, object: &ObjectName) -> Option<&ObjectSettings> {
        let is_it = |one: &&ObjectSettings| one.object.as_str().eq_ignore_ascii_case(object.as_str());
        self.parts.settings.objects.iter().find(is_it)
    }

    /// Starts a sync of an object, or joins the one that runs.
    fn start(
        &self,
        settings: &ObjectSettings,
        lane: Lane,
        with: SyncOverrides,
    ) -> Result<watch::Receiver<Option<SyncResult>>, Box<SyncResult>> {
        let (tell, over) = watch::channel(None);
        let view = RunView::new(lane, self.parts.clock.elapsed());
        match self.running.entry(settings.object.clone()) {
            Entry::Occupied(running) if with == SyncOverrides::default() || with == running.get().with => {
                return Ok(running.get().over.clone());
            }
            Entry::Occupied(_) => {
                return Err(Box::new(failed_early(
                    settings.object.as_str(),
                    &settings.table.to_string(),
                    self.parts.clock.wall(),
                    ErrorKind::Job,
                    "it is being synced already, as it is configured; ask again when that is over".to_owned(),
                )));
            }
            Entry::Vacant(place) => {
                let (view, over) = (Arc::clone(&view), over.clone());
                place.insert(Running { view, with: with.clone(), over });
            }
        }
        let (desk, settings) = (self.clone(), settings.clone());
        tokio::spawn(async move {
            let whole = desk.sync_object(&settings, &with, &view);
            let result = tokio::select! {
                result = whole => Some(result),
                () = desk.engine_ended() => None,
            };
            // Told last: whoever hears that it is over finds it over.
            desk.running.remove(&settings.object);
            drop(tell.send_replace(result));
        });
        Ok(over)
    }

    async fn outcome(
        &self,
        settings: &ObjectSettings,
        mut over: watch::Receiver<Option<SyncResult>>,
    ) -> SyncResult {
        match over.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => interrupted(settings, self.parts.clock.wall()),
        }
    }

    async fn engine_ended(&self) {
        while !self.parts.engine.is_closed() {
            self.parts.clock.sleep(LOOK).await;
        }
    }

    /// A place among the objects that are synced at once.
    pub(super) async fn turn(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.at_once).acquire_owned().await.ok()
    }

    pub(super) fn client(&self, lane: Lane) -> Result<OrgClient, SyncError> {
        let org = &self.parts.settings.org;
        let client = self.parts.clients.get(org).ok_or_else(|| SyncError::UnknownOrg(org.clone()))?;
        Ok(client.with_priority(priority_of(lane)))
    }

    pub(super) fn new_load_id(&self) -> LoadId {
        let wall = u64::try_from(self.parts.clock.wall().as_millisecond()).unwrap_or(0);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) & 0xFFFF;
        LoadId::new(wall, (u128::from(self.parts.seed) << 16) | u128::from(serial))
    }

    /// An object's describe: a known one for as long as it is believed.
    pub(super) async fn describe(
        &self,
        client: &OrgClient,
        object: &ObjectName,
    ) -> Result<Arc<ObjectDescribe>, SyncError> {
        if let Some(known) = self.known_describe(object) {
            return Ok(known);
        }
        let described = client.describe_group(std::slice::from_ref(object)).await.pop();
        let Some((_, answer)) = described else {
            return Err(SyncError::Said(ErrorKind::Job, format!("the org describes no `{object}`")));
        };
        let describe = answer.map_err(|error| match error {
            // The org says no more than this, whether there is no such object or it is hidden.
            OrgError::Rejected { status: 404, .. } => {
                let message = format!(
                    "the org has no object `{object}`, or this login may not see it: look at its API name (custom objects end in `__c`) and at the login's rights"
                );
                SyncError::Said(ErrorKind::Job, message)
            }
            error => error.into(),
        })?;
        Ok(self.believe(object, describe))
    }

    /// Describes several objects by as few calls as there can be. What fails here fails again where it is told.
    async fn describe_ahead(&self, objects: &[ObjectName], lane: Lane) {
        let unknown: Vec<ObjectName> = objects
            .iter()
            .filter(|object| self.known_describe(object).is_none() && !self.is_running(object))
            .cloned()
            .collect();
        let state = self.parts.engine.run_state();
        let (true, Ok(client)) = (unknown.len() > 1 && state.admits(), self.client(lane)) else { return };
        for group in unknown.chunks(crate::salesforce::DESCRIBES_PER_CALL) {
            for (object, answer) in client.describe_group(group).await {
                match answer {
                    Ok(describe) => drop(self.believe(&object, describe)),
                    Err(error) => {
                        tracing::debug!(object = %object, error = chain(&error), "a describe failed")
                    }
                }
            }
        }
    }

    fn known_describe(&self, object: &ObjectName) -> Option<Arc<ObjectDescribe>> {
        let now = self.parts.clock.elapsed();
        let known = self.describes.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(object).filter(|known| now < known.until).map(|known| Arc::clone(&known.describe))
    }

    fn believe(&self, object: &ObjectName, describe: ObjectDescribe) -> Arc<ObjectDescribe> {
        let describe = Arc::new(describe);
        let until = self.parts.clock.elapsed().saturating_add(self.parts.settings.describe_for);
        let known = KnownDescribe { until, describe: Arc::clone(&describe) };
        self.describes.lock().unwrap_or_else(PoisonError::into_inner).insert(object.clone(), known);
        describe
    }

    /// The org says otherwise than the describe that is known.
    pub(super) fn disbelieve(&self, object: &ObjectName) {
        self.describes.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
