//! Wires the line, from the last actor to the first: reading this once shows how data flows.
//!
//! ```text
//! schema job -> batcher -> fetcher -> composer -> text_batcher -> embedder -> sync_writer -> library
//! lead job ----------------^  |  ^ \------------------> assessor -------------^         \--> job's store -> report
//!   \--> lead_intake          |  |                      |  ^
//!                     rate_limiter, cache (asked)   model's gate (asked)
//! sync (reads the org itself) -> warehouse_writer -> warehouse
//! ```

pub mod batches;
pub mod leads;
mod orgs;
pub mod push;
mod stores;
pub mod sync;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::batches::Batches;
use self::orgs::{org_clients, start_simulators};
use self::stores::{open_cache, open_journal, open_library};
use self::sync::{SyncSetup, SyncSetupError};
use crate::actors::assessor::Assessor;
use crate::actors::batcher::{Batcher, TextBatcher};
use crate::actors::cache::Cache;
use crate::actors::composer::Composer;
use crate::actors::embedder::Embedder;
use crate::actors::engine::{
    BatchStage, Capacity, Chance, Engine, EngineParts, FaultPoint, MailboxTooSmall, NoFaults, NoOutlet,
    RestartPolicy, Seal, SeededChance, Service, Stage, StageConfig,
};
use crate::actors::fetcher::{FetchedOutlet, Fetcher, OrgClients};
use crate::actors::lead_desk::LeadDesk;
use crate::actors::lead_intake::LeadIntake;
use crate::actors::lead_job::LeadJobParts;
use crate::actors::lead_run::LeadRuns;
use crate::actors::push_desk::PushDesk;
use crate::actors::rate_limiter::{LimiterBook, LimiterGate, RateLimiter};
use crate::actors::schema_job::SchemaJobs;
use crate::actors::schema_run::SchemaRuns;
use crate::actors::sync_desk::SyncDesk;
use crate::actors::sync_writer::SyncWriter;
use crate::ai::{Embedder as Model, ModelFolderError, static_model};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config};
use crate::http::api::lead_service::LeadService;
use crate::model::OrgName;
use crate::salesforce::transport::HttpSetupError;
use crate::salesforce::{Gate, OrgError};
use crate::store::cache::CacheStore;
use crate::store::disk::{RealDisk, SharedDisk};
use crate::store::limits_file::{KeptLimits, limits_path};
use crate::store::state_folder::{StateFolder, StateFolderError};
use crate::telemetry::{self, Metrics};
use crate::vectors::{LibraryStore, VectorStoreError};

/// What comes from outside the process; tests put other things in.
#[derive(Clone)]
pub struct Outside {
    /// Time.
    pub clock: SharedClock,
    /// Room on the disk.
    pub disk: SharedDisk,
    /// Faults on demand.
    pub faults: Arc<dyn FaultPoint>,
    /// Seed of jitter and backoff.
    pub seed: u64,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Outside {
    /// The real machine.
    pub fn real() -> Self {
        let clock = SystemClock::shared();
        // Unlike in tests, two daemons should not jitter in step.
        let seed = clock.wall().as_nanosecond() as u64 ^ u64::from(std::process::id());
        Self { clock, disk: Arc::new(RealDisk), faults: Arc::new(NoFaults), seed }
    }
}

/// Why the plant could not be built.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// The state folder.
    #[error(transparent)]
    StateFolder(#[from] StateFolderError),
    /// A store in it.
    #[error("open the {what}")]
    Store {
        /// Which one.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The library's database.
    #[error("open the library")]
    Library(#[from] VectorStoreError),
    /// The model's folder.
    #[error("embedder.model_dir")]
    Model(#[from] ModelFolderError),
    /// The simulated org.
    #[error("start the simulated org")]
    Simulator(#[from] orgsim::StartError),
    /// TLS or a certificate.
    #[error("set up the network client")]
    Http(#[from] HttpSetupError),
    /// An org's settings.
    #[error("set up org `{org}`")]
    Org {
        /// Which one.
        org: OrgName,
        /// Why.
        source: OrgError,
    },
    /// A secret's file.
    #[error("read `{}` for org `{org}`", path.display())]
    Secret {
        /// Which org.
        org: OrgName,
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A database for batches.
    #[error("open the databases for batches")]
    Database(#[from] crate::database::DatabaseOpenError),
    /// An issuer of tokens.
    #[error("issuer `{issuer}`: {why}")]
    Issuer {
        /// Its name in the config.
        issuer: String,
        /// What is wrong with it.
        why: String,
    },
    /// The model endpoint's settings.
    #[error("leads.model")]
    ModelEndpoint(#[from] crate::ai::chat::ChatSetupError),
    /// The store of assessments.
    #[error("open the store of assessments")]
    Assessments(#[from] crate::store::lead_jobs::LeadStoreError),
    /// Syncs.
    #[error(transparent)]
    Sync(#[from] SyncSetupError),
    /// Pushes.
    #[error(transparent)]
    Push(#[from] push::PushSetupError),
    /// A mailbox that could never fill a batch.
    #[error(transparent)]
    Mailbox(#[from] MailboxTooSmall),
}

/// The running line and what belongs to it.
pub struct Plant {
    /// The engine.
    pub engine: Engine,
    /// The metrics.
    pub metrics: Metrics,
    /// The schema job.
    pub schema: SchemaJobs,
    /// The lead jobs.
    pub leads: LeadDesk,
    /// The cache's store, for `cache stats` and `cache clear`.
    pub cache: CacheStore,
    /// The limiters.
    pub book: Arc<LimiterBook>,
    /// Clients by org.
    pub clients: OrgClients,
    /// The model, for search.
    pub model: Arc<dyn Model>,
    /// Batches on databases; `None` when the configuration has no database.
    pub batches: Option<Batches>,
    /// Syncs into a warehouse; `None` when none are configured.
    pub sync: Option<SyncDesk>,
    /// Pushes into the org; `None` when none are configured.
    pub push: Option<PushDesk>,
    /// Simulated orgs that were started with the plant, by org.
    pub simulators: Vec<(OrgName, orgsim::Server)>,
    /// What comes from outside.
    pub outside: Outside,
    state: StateFolder,
    drain_deadline: Duration,
}

impl std::fmt::Debug for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plant")
            .field("engine", &self.engine)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Plant {
    /// Builds the line. Must be called within an actix `System` on a multi-thread runtime.
    ///
    /// # Errors
    /// See [`PlantError`]. Damaged stores are no error: they are put aside, counted and made anew.
    pub async fn build(config: &Config, outside: Outside, metrics: Metrics) -> Result<Self, PlantError> {
        Self::build_with(config, SyncSetup::of(config), outside, metrics).await
    }

    /// As [`Plant::build`], with syncs as `sync` says.
    ///
    /// # Errors
    /// See [`PlantError`].
    pub async fn build_with(
        config: &Config,
        sync: Option<SyncSetup>,
        outside: Outside,
        metrics: Metrics,
    ) -> Result<Self, PlantError> {
        let runtime = tokio::runtime::Handle::current();
        // Before anything is opened: with files that cannot be used, nothing has happened yet.
        let model = static_model(config.embedder.model_dir.as_deref())?;
        let state = StateFolder::lock(&config.state_dir)?;
        let journal = open_journal(config, &state, &outside, &metrics)?;
        let cache_store = open_cache(config, &state, &outside, &metrics)?;
        let library = LibraryStore::start(open_library(&state, &outside, &metrics, &*model)?)
            .map_err(|source| PlantError::Store { what: "library", source })?;
        let simulators = start_simulators(config).await?;

        let parts = EngineParts {
            clock: outside.clock.clone(),
            runtime,
            policy: restart_policy(config),
            journal: Arc::clone(&journal),
            chance: Arc::new(SeededChance::new(outside.seed)) as Arc<dyn Chance>,
            faults: Arc::clone(&outside.faults),
        };
        let escalations = metrics.engine_escalations_total.clone();
        let engine = Engine::start(parts, metrics.actor("supervisor"), escalations);
        engine.restore_pause();

        let profiles = config.org.iter().map(|org| (org.name.clone(), org.limits.resolve(org.edition)));
        let book = LimiterBook::new(outside.clock.clone(), metrics.clone(), profiles);
        recall_limits(&book, &state, &outside);
        let (of_limiter, run, faults) =
            (Arc::clone(&book), engine.watch_run_state(), Arc::clone(&outside.faults));
        let limiter = engine.service(metrics.actor(RateLimiter::NAME), move || {
            RateLimiter::new(Arc::clone(&of_limiter), run.clone(), Arc::clone(&faults))
        });
        let of_cache = Cache::new(cache_store.clone(), metrics.clone(), Arc::clone(&outside.faults));
        let cache = engine.service(metrics.actor(Cache::NAME), move || of_cache.clone());
        let gate: Arc<dyn Gate> = Arc::new(LimiterGate::new(limiter, outside.clock.clone(), metrics.clone()));
        let clients = org_clients(config, &simulators, &gate, &outside)?;
        let (runs, lead_runs) = (SchemaRuns::default(), LeadRuns::default());
        let lead_settings = Arc::new(config.leads.settings());
        state.make_leads()?;
        let asker = leads::asker(&lead_settings, &engine, &state, &outside, &metrics)?;

        let actors = &config.actors;
        let writer = SyncWriter::new(library.clone(), runs.clone(), lead_runs.clone(), metrics.clone());
        let sync_writer = engine.stage(
            stage_config(&actors.sync_writer),
            metrics.actor(SyncWriter::NAME),
            Arc::new(NoOutlet),
            move || writer.clone(),
        );
        let embed = Embedder::new(Arc::clone(&model), library.clone(), metrics.clone());
        let embedder = engine.stage(
            stage_config(&actors.embedder),
            metrics.actor(Embedder::NAME),
            sync_writer.clone(),
            move || embed.clone(),
        );
        let (size, seal) = batching_config(&actors.text_batcher);
        let text_meter = metrics.actor(TextBatcher::NAME);
        let text_batcher = engine.batch_stage(size, seal, text_meter, embedder, || TextBatcher)?;
        let compose = Composer::new(runs.clone());
        let composer = engine.stage(
            stage_config(&actors.composer),
            metrics.actor(Composer::NAME),
            text_batcher,
            move || compose.clone(),
        );
        let assess = Assessor::new(lead_runs.clone());
        let assessor = engine.stage(
            stage_config(&actors.assessor),
            metrics.actor(Assessor::NAME),
            sync_writer.clone(),
            move || assess.clone(),
        );
        let sorted = Arc::new(FetchedOutlet::new(composer.clone(), assessor.clone()));
        let fetch = Fetcher::new(Arc::clone(&clients), cache.clone(), runs.clone(), lead_runs.clone());
        let fetcher =
            engine.stage(stage_config(&actors.fetcher), metrics.actor(Fetcher::NAME), sorted, move || {
                fetch.clone()
            });
        let (size, seal) = batching_config(&actors.batcher);
        let batcher =
            engine.batch_stage(size, seal, metrics.actor(Batcher::NAME), fetcher.clone(), || Batcher)?;

        let take_in = LeadIntake::new(Arc::clone(&clients), lead_runs.clone());
        let intake = engine.stage(
            stage_config(&actors.lead_intake),
            metrics.actor(LeadIntake::NAME),
            Arc::new(NoOutlet),
            move || take_in.clone(),
        );
        let lead_desk = leads::desk(LeadJobParts {
            engine: engine.clone(),
            journal: Arc::clone(&journal),
            clients: Arc::clone(&clients),
            default_org: config.org.first().map(|org| org.name.clone()),
            book: Arc::clone(&book),
            runs: lead_runs,
            intake,
            fetcher: fetcher.clone(),
            assessor,
            asker,
            settings: lead_settings,
            folder: state.leads(),
            disk: Arc::clone(&outside.disk),
            metrics: metrics.clone(),
            clock: outside.clock.clone(),
        })
        .await;
        let of_sync = sync::Lent {
            engine: &engine,
            journal: &journal,
            clients: &clients,
            book: &book,
            state: &state,
            outside: &outside,
            metrics: &metrics,
        };
        let of_syncs = sync.as_ref().map(|setup| (setup.settings.warehouse.as_str(), &setup.warehouse));
        let push = push::desk(config, of_syncs, &engine, &clients, &state, &outside, &metrics)?;
        let sync = sync.map(|setup| sync::desk(&setup, of_sync)).transpose()?;
        let schema = SchemaJobs {
            engine: engine.clone(),
            journal,
            clients: Arc::clone(&clients),
            cache,
            runs,
            library,
            book: Arc::clone(&book),
            batcher,
            fetcher,
            composer,
            metrics: metrics.clone(),
            clock: outside.clock.clone(),
            schema: config.schema.clone(),
            describes_per_call: actors.batcher.seal_items as usize,
            output_dir: config.output_dir.clone(),
        };
        let batches = batches::open(config, &engine, &metrics, &outside).await?;
        let drain_deadline = Duration::from_secs(config.engine.drain_deadline_secs);
        let plant = Self {
            engine,
            metrics,
            schema,
            leads: lead_desk,
            cache: cache_store,
            book,
            clients,
            model,
            batches,
            sync,
            push,
            simulators,
            outside,
            state,
            drain_deadline,
        };
        plant.keep_gauges_fresh();
        plant.keep_limits();
        Ok(plant)
    }

    /// How long a drain may take.
    pub fn drain_deadline(&self) -> Duration {
        self.drain_deadline
    }

    /// Who runs lead jobs; `None` without an org.
    pub fn lead_service(&self) -> Option<Arc<dyn LeadService>> {
        (!self.clients.is_empty()).then(|| Arc::new(self.leads.clone()) as Arc<dyn LeadService>)
    }

    /// The state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Writes down what is known of the daily allowances: soon when one is reached, now and then otherwise.
    fn keep_limits(&self) {
        const LOOK: Duration = Duration::from_secs(1);
        const EVERY: Duration = Duration::from_secs(30);
        let (engine, book, clock) = (self.engine.clone(), Arc::clone(&self.book), self.outside.clock.clone());
        let path = limits_path(self.state.path());
        tokio::spawn(async move {
            let granted = || book.snapshot().values().map(|limiter| limiter.granted).sum::<u64>();
            let (mut kept_granted, mut kept_closed) = (granted(), book.closed_shares());
            let mut due = clock.elapsed();
            while !engine.is_closed() {
                clock.sleep(LOOK).await;
                let (calls, closed, now) = (granted(), book.closed_shares(), clock.elapsed());
                if closed == kept_closed && (calls == kept_granted || now < due) {
                    continue;
                }
                (kept_granted, kept_closed, due) = (calls, closed, now + EVERY);
                let kept = KeptLimits::new(clock.wall().as_millisecond(), book.memory());
                let path = path.clone();
                drop(tokio::task::spawn_blocking(move || save_limits(&kept, &path)).await);
            }
        });
    }

    /// Ends the engine, lets go of the warehouses, whose files are tidied up then, and writes down what is known of the daily
    /// allowances. The last thing before the process ends.
    pub async fn leave(&self) {
        const LONGEST: Duration = Duration::from_secs(30);
        self.engine.close();
        let warehouses = async {
            if let Some(sync) = &self.sync {
                sync.disconnect().await;
            }
            if let Some(push) = &self.push {
                push.disconnect().await;
            }
        };
        tokio::select! {
            () = warehouses => {}
            () = self.outside.clock.sleep(LONGEST) => {
                tracing::warn!("a warehouse still works: it is left as if the process had been killed, which harms nothing");
            }
        }
        self.keep_limits_now();
    }

    fn keep_limits_now(&self) {
        let kept = KeptLimits::new(self.outside.clock.wall().as_millisecond(), self.book.memory());
        save_limits(&kept, &limits_path(self.state.path()));
    }

    /// Brings the gauges up to date twice a second until the engine is closed.
    fn keep_gauges_fresh(&self) {
        const EVERY: Duration = Duration::from_millis(500);
        let (engine, metrics, book) = (self.engine.clone(), self.metrics.clone(), Arc::clone(&self.book));
        let (clock, cache) = (self.outside.clock.clone(), self.cache.clone());
        let (batches, leads, sync) = (self.batches.clone(), self.leads.clone(), self.sync.clone());
        tokio::spawn(async move {
            while !engine.is_closed() {
                refresh_gauges(&engine, &metrics, &book);
                leads.jobs_behind().refresh_gauges();
                if let Some(sync) = &sync {
                    sync.refresh_gauges();
                }
                if let Some(batches) = &batches {
                    batches.front.refresh_gauges();
                }
                if let Ok(stats) = cache.disk_bytes().await {
                    metrics.cache_bytes.set(stats as i64);
                }
                clock.sleep(EVERY).await;
            }
        });
    }
}

/// Copies what is known in the engine and the limiter into their gauges.
pub fn refresh_gauges(engine: &Engine, metrics: &Metrics, book: &LimiterBook) {
    use telemetry::ActorState;
    engine.refresh_gauges();
    book.refresh_gauges();
    let run = engine.run_state();
    metrics.paused.with_label_values(&["operator"]).set(i64::from(run.paused));
    metrics.paused.with_label_values(&["degraded"]).set(i64::from(run.degraded));
    let spent = book.closed_shares().values().flatten().any(|closed| *closed);
    metrics.paused.with_label_values(&["quota"]).set(i64::from(spent));
    let abandoned = engine.abandoned_arbiters() as u64;
    let counted = metrics.engine_arbiters_abandoned_total.get();
    metrics.engine_arbiters_abandoned_total.inc_by(abandoned.saturating_sub(counted));
    for actor in telemetry::metrics::ACTORS {
        let state = if run.degraded { ActorState::Degraded } else { ActorState::Running };
        metrics.actor(actor).set_state(state);
    }
}

fn recall_limits(book: &LimiterBook, state: &StateFolder, outside: &Outside) {
    if let Some(kept) = KeptLimits::load(&limits_path(state.path())) {
        // A clock that was set back since then makes it look as if it had been written just now.
        let passed = outside.clock.wall().as_millisecond().saturating_sub(kept.saved_at_ms).max(0);
        book.recall(Duration::from_millis(passed.unsigned_abs()), &kept.orgs);
    }
}

fn save_limits(kept: &KeptLimits, path: &std::path::Path) {
    if let Err(error) = kept.save(path) {
        // Only a memory: the next answer of the org tells anew.
        tracing::warn!(
            error = crate::actors::fetcher::chain(&error),
            "what is known of the limits was not kept"
        );
    }
}

fn stage_config(config: &config::StageConfig) -> StageConfig {
    let mailbox = Capacity { items: config.mailbox_items as usize, bytes: config.mailbox_bytes.bytes() };
    StageConfig { slots: config.slots as usize, mailbox }
}

fn batching_config(config: &config::BatchingConfig) -> (StageConfig, Seal) {
    let mailbox = Capacity { items: config.mailbox_items as usize, bytes: config.mailbox_bytes.bytes() };
    let seal = Seal {
        items: config.seal_items as usize,
        bytes: config.seal_bytes.bytes(),
        age: Duration::from_millis(config.seal_age_ms),
    };
    (StageConfig { slots: config.slots as usize, mailbox }, seal)
}

fn restart_policy(config: &Config) -> RestartPolicy {
    let engine = &config.engine;
    RestartPolicy {
        attempts_per_item: engine.attempts_per_item,
        restarts: engine.restart_budget as usize,
        within: Duration::from_secs(engine.restart_window_secs),
        backoff: Duration::from_millis(engine.backoff_ms),
        backoff_max: Duration::from_millis(engine.backoff_max_ms),
        handler_timeout: Duration::from_secs(engine.handler_timeout_secs),
        ..RestartPolicy::default()
    }
}
