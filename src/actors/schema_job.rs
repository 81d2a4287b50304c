//! The schema job: plans the fewest calls, puts the org's families and objects on the line, and finishes the library.
//!
//! Promises: a job is in the journal before it starts and leaves it when its library stands (*durable*); started again
//! after a crash it goes on where it was: what the store has written for it is skipped, what the cache has is not read
//! again. Counts come from the store (*honest*). A family or an object that fails is reported and stops nothing else.
//!
//! The plan: one global describe; every family once (field permissions by groups of objects, side by side); describes by
//! 25. Families come first, because every object's documents need them.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::engine::{Closed, DeadLetter, Engine, Journal, JournalWrite, LocalInbox, ServiceRef, Table};
use super::fetcher::{OrgClients, chain, describe_key, lookup, pause_of, rows_from_json};
use super::rate_limiter::LimiterBook;
use super::schema_run::{SchemaRun, SchemaRuns, family_key, field_permissions_key};
use crate::clock::SharedClock;
use crate::config::SchemaConfig;
use crate::library::project::Failures;
use crate::library::{FamilyIndex, SchemaPlan};
use crate::limiter::{Forecast, Priority, QuotaSeen};
use crate::messages::{DescribeAsk, DescribedObject, FetchAsk, ItemId, JobId, Lane};
use crate::model::{Family, FamilyFailure, ObjectName, OrgName};
use crate::salesforce::families::field_permission_partitions;
use crate::salesforce::{OrgClient, OrgError};
use crate::store::cache::CacheKey;
use crate::telemetry::Metrics;
use crate::vectors::{Finished, LibraryStore, LibraryStoreError};

/// Keys of one cache look-up: enough to make the round trip cheap, few enough to keep memory small.
const KEYS_PER_LOOKUP: usize = 100;
const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);

/// What the journal keeps of an accepted job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub job: JobId,
    /// Its kind; `schema` for now.
    pub kind: String,
    /// The org.
    pub org: OrgName,
    /// Who waits for it.
    pub lane: Lane,
}

/// What a finished job did. Counts of documents and objects come from the store, calls from the limiter's own count.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaReport {
    /// The job.
    pub job: JobId,
    /// The org.
    pub org: OrgName,
    /// Objects the org listed and the config takes.
    pub objects_listed: usize,
    /// Objects written for this job, as the store says.
    pub objects_written: usize,
    /// Objects that failed, with their errors.
    pub objects_failed: BTreeMap<String, String>,
    /// Families that could not be read.
    pub families_failed: Vec<FamilyFailure>,
    /// Documents that were new or had changed.
    pub documents_written: u64,
    /// Documents that stood already.
    pub documents_unchanged: u64,
    /// Documents of vanished objects that went.
    pub documents_removed: u64,
    /// Documents of the org in the store now.
    pub documents: u64,
    /// Vectors of the org in the store now.
    pub vectors: u64,
    /// Calls made for this job, the login included.
    pub calls: u64,
    /// Calls that were expected before it started, those for finding that out included.
    pub calls_forecast: u64,
    /// The org's own count of the day's calls, when it told.
    pub org_usage: Option<(u64, u64)>,
    /// Where the files for people are.
    pub folder: PathBuf,
}

/// Why a job did not finish.
#[derive(Debug, thiserror::Error)]
pub enum SchemaJobError {
    /// No such org in the config.
    #[error("no org is named `{0}`")]
    UnknownOrg(OrgName),
    /// The org could not be asked what it holds.
    #[error("ask `{org}` for its objects")]
    Org {
        /// The org.
        org: OrgName,
        /// Why.
        source: OrgError,
    },
    /// The org's job is at work already.
    #[error("the schema job of `{0}` runs already; see `penstock status`")]
    AlreadyRuns(OrgName),
    /// The store or the files.
    #[error("write the library")]
    Library(#[from] LibraryStoreError),
    /// The journal.
    #[error("note the job in the journal")]
    Journal(#[from] super::engine::JournalError),
    /// The engine is leaving; the journal has the job, and the next start goes on with it.
    #[error("the daemon is leaving; the job goes on at the next start")]
    Interrupted,
}

impl From<Closed> for SchemaJobError {
    fn from(_closed: Closed) -> Self {
        Self::Interrupted
    }
}

impl SchemaJobError {
    /// The org refused the login, which no retry mends.
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Org { source, .. } if source.is_refused_login())
    }

    /// Trying again later may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Org { source, .. } => !source.is_refused_login() && source.is_transient(),
            Self::Library(error) => error.is_disk_full(),
            Self::Journal(error) => matches!(error, super::engine::JournalError::DiskFull),
            Self::UnknownOrg(_) | Self::AlreadyRuns(_) | Self::Interrupted => false,
        }
    }
}

/// Everything the job needs of the plant.
#[derive(Clone)]
pub struct SchemaJobs {
    /// The engine.
    pub engine: Engine,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Clients by org.
    pub clients: OrgClients,
    /// The cache.
    pub cache: ServiceRef<Cache>,
    /// The runs of this process.
    pub runs: SchemaRuns,
    /// The library's store.
    pub library: LibraryStore,
    /// The limiters' book, for counting calls.
    pub book: Arc<LimiterBook>,
    /// Mailbox of the batcher.
    pub batcher: Arc<LocalInbox<DescribeAsk>>,
    /// Mailbox of the fetcher.
    pub fetcher: Arc<LocalInbox<FetchAsk>>,
    /// Mailbox of the composer.
    pub composer: Arc<LocalInbox<DescribedObject>>,
    /// Metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// What to take.
    pub schema: SchemaConfig,
    /// Describes that the batcher puts into one call.
    pub describes_per_call: usize,
    /// Parent of the orgs' output folders.
    pub output_dir: PathBuf,
}

impl std::fmt::Debug for SchemaJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchemaJobs").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl SchemaJobs {
    /// Accepts a job: when this returns it is in the journal. A job of this org that is there already is taken up again.
    ///
    /// # Errors
    /// When the org is unknown or the journal cannot be written.
    pub async fn accept(&self, org: &OrgName, lane: Lane) -> Result<JobRecord, SchemaJobError> {
        if !self.clients.contains_key(org) {
            return Err(SchemaJobError::UnknownOrg(org.clone()));
        }
        if let Some(unfinished) = self.unfinished().into_iter().find(|record| record.org == *org) {
            return Ok(unfinished);
        }
        let stamp = self.clock.wall().strftime("%Y%m%dT%H%M%S%3f").to_string();
        let job = JobId::new(&format!("schema-{org}-{stamp}"));
        let record = JobRecord { job: job.clone(), kind: "schema".to_owned(), org: org.clone(), lane };
        let value = serde_json::to_vec(&record)
            .map_err(|error| super::engine::JournalError::Failed(error.to_string()))?;
        let key = job.as_str().to_owned();
        self.journal.commit(vec![JournalWrite::Put { table: Table::Jobs, key, value }]).await?;
        Ok(record)
    }

    /// Schema jobs that were accepted and not finished.
    pub fn unfinished(&self) -> Vec<JobRecord> {
        let rows = self.journal.rows(Table::Jobs);
        let records =
            rows.iter().filter_map(|(key, value)| match serde_json::from_slice::<JobRecord>(value) {
                Ok(record) => Some(record),
                Err(error) => {
                    tracing::warn!(key, %error, "a job in the journal cannot be read");
                    None
                }
            });
        records.filter(|record| record.kind == "schema").collect()
    }

    /// Drops an accepted job that will not be finished.
    ///
    /// # Errors
    /// Those of the journal and the store.
    pub async fn give_up(&self, record: &JobRecord) -> Result<(), SchemaJobError> {
        self.forget(&record.job).await
    }

    async fn forget(&self, job: &JobId) -> Result<(), SchemaJobError> {
        let key = job.as_str().to_owned();
        self.journal.commit(vec![JournalWrite::Delete { table: Table::Jobs, key }]).await?;
        // After the journal: a crash in between leaves notes of a job that nobody resumes, not a job without its notes.
        self.library.forget_job(job.as_str()).await?;
        Ok(())
    }

    /// Runs an accepted job to its end.
    ///
    /// # Errors
    /// See [`SchemaJobError`]; after any of them the job is still in the journal.
    pub async fn run(&self, record: &JobRecord) -> Result<SchemaReport, SchemaJobError> {
        let JobRecord { job, org, lane, .. } = record;
        let client = self.clients.get(org).ok_or_else(|| SchemaJobError::UnknownOrg(org.clone()))?;
        let priority = super::rate_limiter::priority_of(*lane);
        let _driver = self.runs.drive(org).ok_or_else(|| SchemaJobError::AlreadyRuns(org.clone()))?;
        let run = self.runs.begin(job, org, priority);
        let outcome = self.run_phases(record, &client.with_priority(priority), &run, priority).await;
        // What is left of the announcement will not come.
        self.book.announce(org, priority, 0);
        run.end();
        let gave_up_items = outcome.as_ref().is_ok_and(|report| !report.objects_failed.is_empty());
        if !gave_up_items {
            // Kept otherwise: a dead letter that is tried again needs the run's families.
            self.runs.remove(job);
            self.engine.forget_job(job);
        }
        outcome
    }

    async fn run_phases(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        run: &Arc<SchemaRun>,
        priority: Priority,
    ) -> Result<SchemaReport, SchemaJobError> {
        let JobRecord { job, org, .. } = record;
        let calls_before = self.calls(org);
        tracing::debug!(org = %org, priority = priority.as_str(), "schema job starts");
        let objects = self.list_objects(record, client, run).await?;
        let done = self.library.written(job.as_str()).await?;
        let given_up = objects_of(&self.letters_of(job));
        let wanted: Vec<ObjectName> = objects
            .iter()
            .filter(|object| !done.contains(*object) && !given_up.contains_key(object.as_str()))
            .cloned()
            .collect();
        let plan = self.plan(client, &objects, &wanted).await;
        let forecast = self.announce(org, priority, run, plan.cost, self.calls(org) - calls_before);
        self.read_families(record, client, run, &objects).await?;
        let entry = self.engine.job(job);
        let (families_failed, unjoined) = run.index.get().map_or_else(Default::default, |index| {
            let unjoined: Vec<_> = index.unjoined().iter().map(|(family, rows)| (*family, *rows)).collect();
            (index.failures(), unjoined)
        });

        run.enter("describing objects");
        run.written.store(done.len() as u64, Ordering::Relaxed);
        self.put_objects(record, client, plan.missing, plan.cached).await?;
        self.dry(&entry).await?;

        run.enter("writing the library");
        let objects_failed = objects_of(&self.letters_of(job));
        let written = self.library.written(job.as_str()).await?;
        let failures = Failures {
            objects: objects_failed
                .iter()
                .filter_map(|(object, why)| Some((object.parse().ok()?, why.clone())))
                .collect(),
            families: families_failed.clone(),
            unjoined,
        };
        let keep: HashSet<ObjectName> = objects.iter().cloned().collect();
        let finished = self.finish(org, Some(keep), failures).await?;
        self.forget(job).await?;
        let failed = objects_failed.len() as u64;
        self.metrics.schema_objects_total.with_label_values(&["failed"]).inc_by(failed);
        self.metrics
            .schema_last_success_timestamp_seconds
            .set(self.clock.wall().as_millisecond() as f64 / 1000.0);
        Ok(SchemaReport {
            job: job.clone(),
            org: org.clone(),
            objects_listed: objects.len(),
            objects_written: written.len(),
            objects_failed,
            families_failed,
            documents_written: run.documents_written.load(Ordering::Relaxed),
            documents_unchanged: run.documents_unchanged.load(Ordering::Relaxed),
            documents_removed: finished.documents_removed,
            documents: finished.stored.documents,
            vectors: finished.stored.vectors,
            calls: self.calls(org) - calls_before,
            calls_forecast: forecast.calls,
            org_usage: self.usage(org).map(|quota| (quota.used, quota.limit)),
            folder: self.folder(org),
        })
    }

    /// Lists the objects and reads the families: what every object's documents need.
    async fn prepare(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        run: &Arc<SchemaRun>,
    ) -> Result<(), SchemaJobError> {
        let objects = self.list_objects(record, client, run).await?;
        self.read_families(record, client, run, &objects).await
    }

    async fn list_objects(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        run: &Arc<SchemaRun>,
    ) -> Result<Vec<ObjectName>, SchemaJobError> {
        run.enter("listing objects");
        let listed = loop {
            match client.global_describe().await {
                Ok(listed) => break listed,
                Err(source) => {
                    let org = record.org.clone();
                    let refused = SchemaJobError::Org { org, source: source.clone() };
                    // Somebody who waits in person is told; a job sleeps until it may go on.
                    let pause = pause_of(&source).filter(|_| record.lane != Lane::Interactive);
                    self.sleep(pause.ok_or(refused)?).await?;
                }
            }
        };
        let mut objects: Vec<ObjectName> = listed
            .into_iter()
            .map(|object| object.name)
            .filter(|name| self.schema.takes(name.as_str()))
            .collect();
        objects.sort_unstable();
        objects.dedup();
        run.objects.store(objects.len() as u64, Ordering::Relaxed);
        Ok(objects)
    }

    async fn read_families(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        run: &Arc<SchemaRun>,
        objects: &[ObjectName],
    ) -> Result<(), SchemaJobError> {
        run.enter("reading families");
        self.put_families(record, client, run, objects).await?;
        self.dry(&self.engine.job(&record.job)).await?;
        // Set once: a run has one driver.
        let _ = run.index.set(Arc::new(FamilyIndex::new(run.seal_families())));
        Ok(())
    }

    /// Sorts the objects by whether the cache has them, and counts what is left to ask the org for.
    async fn plan(&self, client: &OrgClient, objects: &[ObjectName], wanted: &[ObjectName]) -> Plan {
        let (mut missing, mut cached) = (Vec::new(), Vec::new());
        for group in wanted.chunks(KEYS_PER_LOOKUP) {
            let keys = group.iter().map(|object| describe_key(client, object)).collect();
            for (object, known) in group.iter().zip(lookup(&self.cache, keys).await) {
                let place = if known.is_some() { &mut cached } else { &mut missing };
                place.push(object.clone());
            }
        }
        let mut cost = SchemaPlan {
            objects: objects.len(),
            describes: missing.len(),
            describes_per_call: self.describes_per_call,
            ..SchemaPlan::default()
        };
        let asks = family_asks(client, objects);
        let keys = asks.iter().map(|ask| ask.key.clone()).collect();
        for (ask, known) in asks.iter().zip(lookup(&self.cache, keys).await) {
            match ask.family {
                _ if known.is_some() => {}
                Family::ObjectPermissions => cost.object_permissions = true,
                Family::FieldPermissions => cost.field_permission_groups += 1,
                _ => cost.families += 1,
            }
        }
        Plan { missing, cached, cost }
    }

    /// Says what the job will cost before it starts, and has the limiter know.
    fn announce(
        &self,
        org: &OrgName,
        priority: Priority,
        run: &SchemaRun,
        cost: SchemaPlan,
        made: u64,
    ) -> Forecast {
        let to_come = cost.calls();
        let forecast = self.book.forecast(org, priority, made + to_come, made);
        self.book.announce(org, priority, to_come);
        let (calls, room) = (forecast.calls, forecast.room);
        tracing::info!(org = %org, calls, room, fits = forecast.fits(), %forecast, "schema job foretold");
        *run.forecast.get_or_init(|| forecast)
    }

    /// Sleeps; leaves when the engine does.
    async fn sleep(&self, pause: Duration) -> Result<(), SchemaJobError> {
        let mut exit = self.engine.watch_exit();
        tokio::select! {
            () = self.clock.sleep(pause) => Ok(()),
            _ = exit.wait_for(Option::is_some) => Err(SchemaJobError::Interrupted),
        }
    }

    /// Admits dead letters of the schema job again and brings the files for people up to date. The families of a run that
    /// has ended are read once more, from the cache as far as it has them.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub async fn retry_letters(&self, numbers: &[u64]) -> Result<(), String> {
        let all = self.engine.dead_letters();
        let mut jobs: BTreeMap<JobId, OrgName> = BTreeMap::new();
        for number in numbers {
            let letter = all.iter().find(|letter| letter.number == *number);
            let letter = letter.ok_or_else(|| format!("there is no dead letter {number}"))?;
            let job = &letter.header.job;
            if let Some(org) = org_of(&letter.item) {
                jobs.insert(job.clone(), org);
            }
        }
        for (job, org) in &jobs {
            if self.runs.get(job).is_none() {
                let client =
                    self.clients.get(org).ok_or_else(|| format!("no org is named `{org}` any more"))?;
                let run = self.runs.begin(job, org, Priority::Normal);
                let record = JobRecord {
                    job: job.clone(),
                    kind: "schema".to_owned(),
                    org: org.clone(),
                    lane: Lane::Normal,
                };
                self.prepare(&record, client, &run).await.map_err(|error| chain(&error))?;
            }
        }
        for number in numbers {
            let letter = all.iter().find(|letter| letter.number == *number);
            match letter.and_then(undescribed) {
                // The letter holds no describe to go on with: the org is asked anew.
                Some(ask) => {
                    let letter = letter.ok_or_else(|| format!("there is no dead letter {number}"))?;
                    let entry = self.engine.job(&letter.header.job);
                    let item = ItemId::new(ask.object.as_str());
                    let admitted =
                        self.engine.admit(&*self.batcher, &entry, item, letter.header.lane, ask).await;
                    admitted.map_err(|_closed| "the daemon is leaving".to_owned())?;
                    self.engine.drop_dead_letter(*number).await?;
                }
                None => self.engine.retry_dead_letter(*number).await?,
            }
        }
        for job in jobs.keys() {
            self.refresh_after_retry(job).await.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    /// Waits until the line is dry of this job; leaves when the engine does.
    async fn dry(&self, entry: &super::engine::JobEntry) -> Result<(), SchemaJobError> {
        let mut exit = self.engine.watch_exit();
        tokio::select! {
            () = entry.ran_dry() => Ok(()),
            _ = exit.wait_for(Option::is_some) => Err(SchemaJobError::Interrupted),
        }
    }

    async fn put_families(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        run: &SchemaRun,
        objects: &[ObjectName],
    ) -> Result<(), SchemaJobError> {
        let asks = family_asks(client, objects);
        let keys = asks.iter().map(|ask| ask.key.clone()).collect();
        let known = lookup(&self.cache, keys).await;
        let entry = self.engine.job(&record.job);
        for (FamilyAsk { item, family, ask, .. }, known) in asks.into_iter().zip(known) {
            if let Some(rows) = known.and_then(|bytes| rows_from_json(family, &bytes)) {
                run.parts.lock().unwrap_or_else(PoisonError::into_inner).insert((family, item), Ok(rows));
                continue;
            }
            self.engine.admit(&*self.fetcher, &entry, item, record.lane, ask).await?;
        }
        Ok(())
    }

    /// Misses first, so that groups of 25 fill up; then what the cache has.
    async fn put_objects(
        &self,
        record: &JobRecord,
        client: &OrgClient,
        missing: Vec<ObjectName>,
        cached: Vec<ObjectName>,
    ) -> Result<(), SchemaJobError> {
        let entry = self.engine.job(&record.job);
        let org = client.org();
        for object in missing {
            let item = ItemId::new(object.as_str());
            let ask = DescribeAsk { org: org.clone(), object };
            self.engine.admit(&*self.batcher, &entry, item, record.lane, ask).await?;
        }
        for group in cached.chunks(KEYS_PER_LOOKUP) {
            let keys = group.iter().map(|object| describe_key(client, object)).collect();
            for (object, known) in group.iter().zip(lookup(&self.cache, keys).await) {
                let item = ItemId::new(object.as_str());
                match known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                    Some(describe) => {
                        let described = DescribedObject {
                            org: org.clone(),
                            object: object.clone(),
                            outcome: Ok(describe),
                        };
                        self.engine.admit(&*self.composer, &entry, item, record.lane, described).await?;
                    }
                    // Gone since the plan was made.
                    None => {
                        let ask = DescribeAsk { org: org.clone(), object: object.clone() };
                        self.engine.admit(&*self.batcher, &entry, item, record.lane, ask).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Finishes the library; a full disk is waited out, and said.
    async fn finish(
        &self,
        org: &OrgName,
        keep: Option<HashSet<ObjectName>>,
        failures: Failures,
    ) -> Result<Finished, SchemaJobError> {
        loop {
            match self.library.finish(org.clone(), keep.clone(), self.folder(org), failures.clone()).await {
                Err(error) if error.is_disk_full() => {
                    tracing::error!(org = %org, error = chain(&error), "the job waits until there is room");
                    if self.engine.run_state().draining {
                        return Err(SchemaJobError::Interrupted);
                    }
                    self.clock.sleep(WHILE_DISK_IS_FULL).await;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Brings the files for people up to date after dead letters were tried again, and forgets the run when none is left.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn refresh_after_retry(&self, job: &JobId) -> Result<(), SchemaJobError> {
        let Some(run) = self.runs.get(job) else { return Ok(()) };
        let entry = self.engine.job(job);
        self.dry(&entry).await?;
        let failed = objects_of(&self.letters_of(job));
        let families = run.index.get().map(|index| index.failures()).unwrap_or_default();
        let objects = failed.iter().filter_map(|(object, why)| Some((object.parse().ok()?, why.clone())));
        let failures = Failures { objects: objects.collect(), families, unjoined: Vec::new() };
        self.finish(&run.org, None, failures).await?;
        self.library.forget_job(job.as_str()).await?;
        if failed.is_empty() {
            self.runs.remove(job);
            self.engine.forget_job(job);
        }
        Ok(())
    }

    /// Where an org's files for people are.
    pub fn folder(&self, org: &OrgName) -> PathBuf {
        self.output_dir.join(org.as_str())
    }

    fn letters_of(&self, job: &JobId) -> Vec<DeadLetter> {
        self.engine.dead_letters().into_iter().filter(|letter| letter.header.job == *job).collect()
    }

    fn calls(&self, org: &OrgName) -> u64 {
        self.book.snapshot().get(org).map_or(0, |snapshot| snapshot.granted)
    }

    fn usage(&self, org: &OrgName) -> Option<QuotaSeen> {
        self.book.snapshot().get(org).and_then(|snapshot| snapshot.quota)
    }
}

/// What a job has to do, and what it will cost.
struct Plan {
    /// Objects that the org must describe.
    missing: Vec<ObjectName>,
    /// Objects that the cache can describe.
    cached: Vec<ObjectName>,
    cost: SchemaPlan,
}

/// One ask for a family, or for a part of one.
struct FamilyAsk {
    item: ItemId,
    family: Family,
    key: CacheKey,
    ask: FetchAsk,
}

/// The asks for every family: field permissions in parts, the others whole.
fn family_asks(client: &OrgClient, objects: &[ObjectName]) -> Vec<FamilyAsk> {
    let whole = Family::ALL.into_iter().filter(|family| *family != Family::FieldPermissions);
    let org = client.org();
    let mut asks: Vec<FamilyAsk> = whole
        .map(|family| {
            let ask = FetchAsk::Family { org: org.clone(), family };
            let item = ItemId::new(&format!("family:{family}"));
            FamilyAsk { item, family, key: family_key(client, family), ask }
        })
        .collect();
    for (part, objects) in field_permission_partitions(objects).into_iter().enumerate() {
        let family = Family::FieldPermissions;
        let key = field_permissions_key(client, &objects);
        let ask = FetchAsk::FieldPermissions { org: org.clone(), objects, part };
        // Padded, so that the parts are joined in their order.
        asks.push(FamilyAsk { item: ItemId::new(&format!("family:{family}:{part:05}")), family, key, ask });
    }
    asks
}

/// The ask that a letter about an object without a describe stands for.
fn undescribed(letter: &DeadLetter) -> Option<DescribeAsk> {
    let described: DescribedObject = serde_json::from_value(letter.item.clone()).ok()?;
    described.outcome.is_err().then_some(DescribeAsk { org: described.org, object: described.object })
}

/// The org that an item is about.
fn org_of(item: &serde_json::Value) -> Option<OrgName> {
    let places = ["/org", "/describes/org", "/family/org", "/field_permissions/org", "/objects/0/org"];
    places.iter().find_map(|place| item.pointer(place)?.as_str()?.parse().ok())
}

/// The objects that dead letters are about, with the letters' errors; items of families are none.
fn objects_of(letters: &[DeadLetter]) -> BTreeMap<String, String> {
    let mut objects = BTreeMap::new();
    for letter in letters {
        let item = &letter.item;
        let one = item.get("object").and_then(|name| name.as_str());
        let group = item
            .pointer("/describes/objects")
            .or_else(|| item.get("objects"))
            .and_then(|list| list.as_array());
        let named = group.into_iter().flatten().filter_map(|member| {
            member.as_str().or_else(|| member.get("object").and_then(|name| name.as_str()))
        });
        for object in one.into_iter().chain(named) {
            objects.insert(object.to_owned(), letter.error.clone());
        }
    }
    objects
}
