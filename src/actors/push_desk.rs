//! What doors may ask of pushes: to push rows of the warehouse into the org, now or by a schedule.
//!
//! Promises: one push of one name at a time; pushes do not hold each other up, and the trouble of one is its own; one that a
//! crash left is taken up where it stands by the next run of its name, and at the start of a daemon. What a push does is
//! worked out by [`crate::sync::push`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::engine::Engine;
use super::fetcher::{OrgClients, chain};
use super::push_job::{PushError, PushJob};
use crate::clock::SharedClock;
use crate::limiter::Priority;
use crate::model::OrgName;
use crate::store::atomic_file::StoreError;
use crate::sync::push::{PushResult, PushSettings, Tally};
use crate::sync::schedule::Schedule;
use crate::sync::{ErrorKind, LoadId};
use crate::telemetry::Metrics;
use crate::warehouse::WarehouseThread;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(500);

/// What the org says of a row, as metrics tell it.
const OUTCOMES: [&str; 5] = ["created", "updated", "refused", "unfit", "unknown"];

/// One push, with what it is carried out by.
pub struct PushDoor {
    /// As configured.
    pub settings: PushSettings,
    /// The org.
    pub org: OrgName,
    /// The warehouse.
    pub warehouse: WarehouseThread,
}

/// Everything that pushes need of the plant.
pub struct PushDeskParts {
    /// The engine.
    pub engine: Engine,
    /// Clients by org.
    pub clients: OrgClients,
    /// The pushes, in the order of the configuration.
    pub pushes: Vec<PushDoor>,
    /// Folder that each push has its own in.
    pub folder: PathBuf,
    /// Metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// Tells ids of pushes apart that begin in one millisecond.
    pub seed: u64,
}

struct Known {
    door: PushDoor,
    /// Held while it runs.
    turn: Mutex<()>,
    last: Lock<Option<PushResult>>,
    next: Lock<Option<Timestamp>>,
}

struct Inner {
    engine: Engine,
    clients: OrgClients,
    pushes: Vec<Known>,
    folder: PathBuf,
    metrics: Metrics,
    clock: SharedClock,
    seed: u64,
    made: AtomicU64,
}

/// How a push stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PushStanding {
    /// Its name.
    pub push: String,
    /// The object.
    pub object: String,
    /// Whether it runs.
    pub is_running: bool,
    /// A part of it is left from before; the next run goes on with it.
    pub is_unfinished: bool,
    /// What came of the last one of this process.
    pub last: Option<PushResult>,
    /// When it runs next by itself.
    pub next: Option<Timestamp>,
}

/// See the module's promises. Clones are the same.
#[derive(Clone)]
pub struct PushDesk(Arc<Inner>);

impl std::fmt::Debug for PushDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushDesk").field("pushes", &self.0.pushes.len()).finish_non_exhaustive()
    }
}

/// No push has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no `[[push]]` of the configuration is named `{0}`")]
pub struct NoSuchPush(pub String);

impl PushDesk {
    /// The desk of these pushes.
    pub fn new(parts: PushDeskParts) -> Self {
        let PushDeskParts { engine, clients, pushes, folder, metrics, clock, seed } = parts;
        for push in &pushes {
            for outcome in OUTCOMES {
                metrics.push_rows_total.with_label_values(&[&push.settings.name, outcome]);
            }
        }
        let known = |door| Known { door, turn: Mutex::new(()), last: Lock::default(), next: Lock::default() };
        let pushes = pushes.into_iter().map(known).collect();
        Self(Arc::new(Inner {
            engine,
            clients,
            pushes,
            folder,
            metrics,
            clock,
            seed,
            made: AtomicU64::new(0),
        }))
    }

    /// Carries out the named pushes, or all, side by side, each with a result of its own.
    ///
    /// # Errors
    /// A name that is none; nothing is pushed then.
    pub async fn push(&self, names: &[String]) -> Result<Vec<PushResult>, NoSuchPush> {
        let mut chosen = Vec::new();
        for name in names {
            let known = self.0.pushes.iter().find(|known| known.door.settings.name == *name);
            chosen.push(known.ok_or_else(|| NoSuchPush(name.clone()))?);
        }
        if names.is_empty() {
            chosen = self.0.pushes.iter().collect();
        }
        Ok(join_all(chosen.into_iter().map(|known| self.run(known))).await)
    }

    async fn run(&self, known: &Known) -> PushResult {
        let inner = &*self.0;
        let _turn = known.turn.lock().await;
        let settings = &known.door.settings;
        let begun = inner.clock.elapsed();
        let calls = Arc::new(AtomicU64::new(0));
        let outcome = match inner.clients.get(&known.door.org) {
            Some(client) => {
                let client = client.with_priority(Priority::Normal).counting(Arc::clone(&calls));
                let job = PushJob {
                    settings: settings.clone(),
                    org_name: known.door.org.clone(),
                    org: Arc::new(client),
                    warehouse: known.door.warehouse.clone(),
                    folder: inner.folder.clone(),
                    clock: inner.clock.clone(),
                };
                job.run(self.new_id())
                    .await
                    .map_err(|error| (error.kind(), told(&error, self.left(settings).as_deref())))
            }
            None => Err((ErrorKind::Job, format!("no org is named `{}`", known.door.org))),
        };
        let mut result = outcome.unwrap_or_else(|(kind, error)| {
            tracing::error!(push = settings.name, ?kind, error, "a push is not at its end");
            self.unfinished(settings, begun, error)
        });
        result.calls = calls.load(Ordering::Relaxed);
        self.count(&result);
        *known.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
        result
    }

    fn count(&self, result: &PushResult) {
        let Inner { metrics, .. } = &*self.0;
        let Tally { written, created, refused, unfit, unknown, .. } = result.tally;
        let updated = written.saturating_sub(created);
        for (outcome, rows) in OUTCOMES.into_iter().zip([created, updated, refused, unfit, unknown]) {
            metrics.push_rows_total.with_label_values(&[&result.push, outcome]).inc_by(rows);
        }
        let word = if result.success { "ok" } else { "failed" };
        metrics.pushes_total.with_label_values(&[word]).inc();
    }

    /// The result of a push that stands where an error left it.
    fn unfinished(&self, settings: &PushSettings, begun: Duration, error: String) -> PushResult {
        PushResult {
            push: settings.name.clone(),
            id: None,
            object: settings.object.to_string(),
            operation: settings.operation.as_str().to_owned(),
            choice: None,
            rows_read: 0,
            tally: Tally::default(),
            batches: 0,
            calls: 0,
            jobs: 0,
            seconds: self.0.clock.elapsed().saturating_sub(begun).as_secs_f64(),
            success: false,
            error: Some(error),
            results: settings.results.as_ref().map(ToString::to_string),
        }
    }

    fn new_id(&self) -> LoadId {
        let number = self.0.made.fetch_add(1, Ordering::Relaxed);
        let wall_ms = u64::try_from(self.0.clock.wall().as_millisecond()).unwrap_or(0);
        LoadId::new(wall_ms, (u128::from(self.0.seed) << 16) ^ u128::from(number))
    }

    /// How every push stands.
    pub fn status(&self) -> Vec<PushStanding> {
        let standing = |known: &Known| {
            let settings = &known.door.settings;
            PushStanding {
                push: settings.name.clone(),
                object: settings.object.to_string(),
                is_running: known.turn.try_lock().is_err(),
                is_unfinished: self.is_unfinished(settings),
                last: known.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                next: *known.next.lock().unwrap_or_else(PoisonError::into_inner),
            }
        };
        self.0.pushes.iter().map(standing).collect()
    }

    fn is_unfinished(&self, settings: &PushSettings) -> bool {
        PushJob::is_left(&self.0.folder, &settings.name)
    }

    fn left(&self, settings: &PushSettings) -> Option<PathBuf> {
        PushJob::left(&self.0.folder, &settings.name)
    }

    /// Lets go of the warehouses, once the engine has ended.
    pub async fn disconnect(&self) {
        for known in &self.0.pushes {
            known.door.warehouse.disconnect().await;
        }
    }

    /// Ids of bulk jobs that pushes wait for.
    ///
    /// # Errors
    /// When what is kept of a push cannot be read.
    pub fn bulk_jobs_in_use(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut jobs = BTreeSet::new();
        for known in &self.0.pushes {
            jobs.extend(PushJob::bulk_jobs_in_use(&self.0.folder, &known.door.settings.name)?);
        }
        Ok(jobs)
    }

    /// Takes up what is left from before, and runs the schedules until the engine ends. Called once, by a daemon.
    pub fn run_schedules(&self) {
        let now = self.0.clock.wall();
        for known in &self.0.pushes {
            let settings = &known.door.settings;
            let next = if self.is_unfinished(settings) {
                Some(now)
            } else {
                schedule_of(settings).and_then(|schedule| schedule.next(now))
            };
            *known.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        }
        let desk = self.clone();
        tokio::spawn(async move {
            while !desk.0.engine.is_closed() {
                desk.start_what_is_due();
                desk.0.clock.sleep(TICK).await;
            }
        });
    }

    fn start_what_is_due(&self) {
        // While the line is paused nothing becomes due; it is when it goes on.
        if !self.0.engine.run_state().admits() {
            return;
        }
        let now = self.0.clock.wall();
        for known in &self.0.pushes {
            let mut next = known.next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.is_none_or(|next| next > now) {
                continue;
            }
            *next = schedule_of(&known.door.settings).and_then(|schedule| schedule.next(now));
            if known.turn.try_lock().is_ok() {
                let (desk, name) = (self.clone(), known.door.settings.name.clone());
                tokio::spawn(async move { drop(desk.push(&[name]).await) });
            }
        }
    }
}

/// A schedule that the configuration's check has let through.
fn schedule_of(settings: &PushSettings) -> Option<Schedule> {
    Schedule::of(settings.every, settings.cron.as_deref()).unwrap_or_else(|error| {
        tracing::error!(push = settings.name, %error, "rows are not pushed by themselves");
        None
    })
}

/// An error, and what becomes of the push, whose folder is `left`. One of which nothing is left has sent nothing.
fn told(error: &PushError, left: Option<&Path>) -> String {
    let why = chain(error);
    let Some(folder) = left else { return format!("{why}; nothing was sent") };
    let stands = "what was sent stays sent, and the next run goes on behind it";
    if !error.is_lasting() {
        return format!("{why}; {stands}");
    }
    format!(
        "{why}; {stands}, with the rows, the object and the operation that it began with. To have the query read again instead, delete `{}`: a row that the org has already is then sent once more, and by an insert made twice",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::OrgError;
    use crate::warehouse::WarehouseError;

    #[test]
    fn a_push_that_did_not_begin_says_that_nothing_was_sent() {
        let error = PushError::Warehouse(WarehouseError::BadQuery("no such table".to_owned()));
        assert!(told(&error, None).ends_with("nothing was sent"));
        assert!(told(&error, Some(Path::new("push/p-scores"))).ends_with("goes on behind it"));
    }

    #[test]
    fn a_push_that_cannot_go_on_says_what_to_do_about_it() {
        let (code, message) = ("INVALIDENTITY".to_owned(), "no bulk jobs".to_owned());
        let error = PushError::Org(OrgError::Rejected { status: 400, code, message });
        let told = told(&error, Some(Path::new("push/p-scores")));
        assert!(told.contains("delete `push/p-scores`") && told.contains("made twice"), "{told}");
    }
}
