//! The batch side of the plant: databases, a gateway before each, and the front they share.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{Outside, PlantError};

use crate::actors::batch_gateway::{
    BatchDesk, BatchFront, BatchGateway, BatchTimes, FrontSettings, WaitingRoom, job_of,
};
use crate::actors::engine::{Capacity, Engine, NoOutlet, Stage as _, StageConfig};
use crate::batch::access::Caller;
use crate::batch::access::token::{IssuerRules, SharedSecret, TokenAlgorithm, roles_of};
use crate::batch::catalogue::DatabaseKind;
use crate::batch::request::{Limits, OperationClaims};
use crate::clock::SharedClock;
use crate::config::{self, BatchConfig, Config, OperationClaimsMode};
use crate::database::late::LateDatabase;
use crate::database::mysql::MysqlDatabase;
use crate::database::postgres::PostgresDatabase;
use crate::database::sqlite::SqliteDatabase;
use crate::database::{Database, DatabaseOpenError, DatabaseSettings, Enforcement};
use crate::http::jwks::{Admission, Issuer, KeySource, TokenDoor};
use crate::salesforce::transport::{Http, HttpClient, HttpSettings};
use crate::telemetry::Metrics;

/// Claim that holds the roles of a caller at the shell.
const ROLES_CLAIM: &str = "roles";

/// A database that was opened, and how batches wait for it.
pub struct OpenDatabase {
    /// The database.
    pub database: Arc<dyn Database>,
    /// Who decides about rows and columns.
    pub enforcement: Enforcement,
    /// Its connections.
    pub connections: usize,
    /// Batches that may wait.
    pub queue_depth: usize,
}

/// The batch side of a plant.
#[derive(Debug, Clone)]
pub struct Batches {
    /// Plans, queues and answers batches.
    pub front: BatchFront,
    roles_claim: Arc<str>,
}

impl Batches {
    /// Puts a gateway before each database.
    pub fn start(
        engine: &Engine,
        metrics: &Metrics,
        clock: &SharedClock,
        databases: Vec<OpenDatabase>,
        settings: FrontSettings,
    ) -> Self {
        let room = WaitingRoom::default();
        let desks = databases
            .into_iter()
            .map(|open| {
                let gateway = BatchGateway {
                    database: Arc::clone(&open.database),
                    room: room.clone(),
                    limits: Arc::clone(&settings.limits),
                    times: settings.times,
                    metrics: metrics.clone(),
                };
                let size = stage_size(&open, settings.limits.body_bytes);
                let meter = metrics.actor(BatchGateway::NAME);
                let inbox = engine.stage(size, meter, Arc::new(NoOutlet), move || gateway.clone());
                let job = engine.job(&job_of(open.database.name()));
                BatchDesk { database: open.database, enforcement: open.enforcement, inbox, job }
            })
            .collect();
        let front =
            BatchFront::new(engine.clone(), desks, room, settings, metrics.clone(), Arc::clone(clock));
        Self { front, roles_claim: Arc::from(ROLES_CLAIM) }
    }

    /// With roles in another claim.
    pub fn with_roles_claim(self, claim: &str) -> Self {
        Self { roles_claim: Arc::from(claim), ..self }
    }

    /// Reads the tables of every database again, one after another; what cannot be read keeps its catalogue.
    pub async fn reload(&self) {
        for database in self.front.databases() {
            match database.reload().await {
                Ok(()) => tracing::info!(
                    database = &**database.name(),
                    entities = database.catalogue().entities.len(),
                    "the catalogue was read again"
                ),
                Err(error) => tracing::error!(
                    database = &**database.name(),
                    error = crate::actors::fetcher::chain(&error),
                    "the catalogue stays as it was"
                ),
            }
        }
    }

    /// Whoever sits at the machine acts with these claims, or as a caller without a token.
    pub fn caller_at_the_shell(&self, claims: Option<Map<String, Value>>) -> Caller {
        let Some(claims) = claims else { return Caller::default() };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut caller = Caller {
            issuer: Arc::from(text("iss")),
            subject: Arc::from(text("sub")),
            roles: Vec::new(),
            claims: claims.clone(),
        };
        caller.roles = caller.claim(&self.roles_claim).map(roles_of).unwrap_or_default();
        caller
    }
}

/// Opens every database of the configuration and puts a gateway before it; `None` when there is none.
///
/// # Errors
/// When a database cannot be used: its settings do not fit its tables, or its file is in use. One that is away is waited for.
pub(super) async fn open(
    config: &Config,
    engine: &Engine,
    metrics: &Metrics,
    outside: &Outside,
) -> Result<Option<Batches>, PlantError> {
    if config.database.is_empty() {
        return Ok(None);
    }
    let mut databases = Vec::new();
    for settings in config.databases() {
        let (enforcement, connections, queue_depth) =
            (settings.enforcement.clone(), settings.connections, settings.queue_depth);
        let name = Arc::clone(&settings.name);
        let database = match open_one(settings.clone(), metrics, &outside.clock).await {
            Ok(database) => {
                say_open(&*database);
                database
            }
            // The other databases, and the line, are as good as ever.
            Err(away @ DatabaseOpenError::Away { .. }) => {
                tracing::error!(
                    database = &*name,
                    error = crate::actors::fetcher::chain(&away),
                    "a database for batches is away; its batches are answered 503 until it is there"
                );
                let late = Arc::new(LateDatabase::new(&settings));
                let (waiting, engine) = (Arc::clone(&late), engine.clone());
                let (metrics, clock) = (metrics.clone(), Arc::clone(&outside.clock));
                tokio::spawn(
                    async move { await_database(&waiting, &settings, &engine, &metrics, &clock).await },
                );
                late
            }
            Err(error) => return Err(error.into()),
        };
        databases.push(OpenDatabase { database, enforcement, connections, queue_depth });
    }
    let settings = FrontSettings {
        limits: Arc::new(limits_of(&config.batch)),
        operation_claims: match config.api.operation_claims {
            OperationClaimsMode::Refuse => OperationClaims::Refuse,
            OperationClaimsMode::Narrow => OperationClaims::Narrow,
        },
        inflight_per_subject: config.batch.max_inflight_per_subject as usize,
        times: times_of(&config.batch),
        seed: outside.seed,
    };
    let batches = Batches::start(engine, metrics, &outside.clock, databases, settings);
    let roles_claim = config.api.issuer.first().map_or(ROLES_CLAIM, |issuer| &issuer.roles_claim);
    Ok(Some(batches.with_roles_claim(roles_claim)))
}

/// Knocks until a database is there, ever more seldom.
async fn await_database(
    late: &LateDatabase,
    settings: &DatabaseSettings,
    engine: &Engine,
    metrics: &Metrics,
    clock: &SharedClock,
) {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);
    let mut pause = FIRST;
    loop {
        clock.sleep(pause).await;
        if engine.is_closed() {
            return;
        }
        pause = (pause * 2).min(LONGEST);
        match open_one(settings.clone(), metrics, clock).await {
            Ok(database) => {
                say_open(&*database);
                return late.arrive(database);
            }
            Err(DatabaseOpenError::Away { .. }) => {}
            // Now that it can be asked, it may turn out that the settings do not fit its tables.
            Err(error) => tracing::error!(
                database = &*settings.name,
                error = crate::actors::fetcher::chain(&error),
                "a database for batches cannot be used"
            ),
        }
    }
}

fn say_open(database: &dyn Database) {
    tracing::info!(
        database = &**database.name(),
        entities = database.catalogue().entities.len(),
        "a database for batches is open"
    );
}

async fn open_one(
    settings: DatabaseSettings,
    metrics: &Metrics,
    clock: &SharedClock,
) -> Result<Arc<dyn Database>, DatabaseOpenError> {
    let clock = Arc::clone(clock);
    Ok(match settings.kind {
        DatabaseKind::Postgres => PostgresDatabase::open(settings, clock).await?,
        DatabaseKind::Mysql => Arc::new(MysqlDatabase::open(settings, clock).await?),
        DatabaseKind::Sqlite => {
            let (sizes, name) = (metrics.batch_group_commit_size.clone(), Arc::clone(&settings.name));
            let observe = Arc::new(move |batches: usize| sizes.observe(batches as f64));
            let opening =
                tokio::task::spawn_blocking(move || SqliteDatabase::open(settings, clock, Some(observe)));
            let opened = opening.await.map_err(|_panic| DatabaseOpenError::Away {
                database: name,
                why: "opening it panicked; see the log".to_owned(),
            })?;
            Arc::new(opened?)
        }
    })
}

fn limits_of(config: &BatchConfig) -> Limits {
    let bytes = |size: config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    Limits {
        body_bytes: bytes(config.max_body_bytes),
        json_depth: config.max_json_depth as usize,
        operations: config.max_operations as usize,
        depth: config.max_depth as usize,
        references: config.max_references as usize,
        rows_per_create: config.max_rows_per_create as usize,
        default_read_rows: u64::from(config.default_read_rows),
        read_rows: u64::from(config.max_read_rows),
        affected_rows: u64::from(config.max_affected_rows),
        in_list: config.max_in_list as usize,
        resolved_bytes: bytes(config.max_resolved_bytes),
        result_bytes: bytes(config.max_result_bytes),
    }
}

fn times_of(config: &BatchConfig) -> BatchTimes {
    BatchTimes {
        statement: Duration::from_millis(config.statement_timeout_ms),
        lock: Duration::from_millis(config.lock_timeout_ms),
        idle: Duration::from_millis(config.idle_in_transaction_timeout_ms),
        batch: Duration::from_millis(config.batch_timeout_ms),
    }
}

/// The door of the endpoint: whom it lets in.
///
/// # Errors
/// When an issuer's certificates cannot be read, or its secret is too short.
pub fn door(config: &Config, clock: &SharedClock) -> Result<TokenDoor, PlantError> {
    let shared: Arc<dyn Http> = Arc::new(HttpClient::new(&HttpSettings::default())?);
    let mut issuers = Vec::new();
    for issuer in &config.api.issuer {
        let refused = |why: String| PlantError::Issuer { issuer: issuer.name.clone(), why };
        let http: Arc<dyn Http> = match &issuer.ca_file {
            None => Arc::clone(&shared),
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|error| refused(format!("read `{}`: {error}", path.display())))?;
                let settings = HttpSettings { extra_ca_pem: Some(pem), ..HttpSettings::default() };
                Arc::new(HttpClient::new(&settings)?)
            }
        };
        let secret = issuer
            .secret
            .as_ref()
            .map(|secret| SharedSecret::new(secret.to_secret_string().expose_secret().as_bytes()));
        let secret = secret.transpose().map_err(|short| refused(format!("its secret {short}")))?;
        let rules = IssuerRules {
            issuer: Arc::from(issuer.issuer.as_str()),
            audiences: issuer.audience.clone(),
            algorithms: issuer.allowed_algorithms().into_iter().map(algorithm_of).collect(),
            secret,
            roles_claim: issuer.roles_claim.clone(),
        };
        let keys = issuer.jwks_url.clone().map(|url| KeySource { url, http });
        issuers.push(Issuer { rules, keys });
    }
    let admission = Admission { anonymous: config.api.allows_anonymous(), roles: Vec::new() };
    Ok(TokenDoor::new(issuers, admission, Arc::clone(clock)))
}

fn algorithm_of(named: config::TokenAlgorithm) -> TokenAlgorithm {
    match named {
        config::TokenAlgorithm::Rs256 => TokenAlgorithm::Rs256,
        config::TokenAlgorithm::Es256 => TokenAlgorithm::Es256,
        config::TokenAlgorithm::EdDsa => TokenAlgorithm::EdDsa,
        config::TokenAlgorithm::Hs256 => TokenAlgorithm::Hs256,
    }
}

/// A mailbox holds what waits and what is in hand. SQLite's one writer takes what is there into one transaction, so as many
/// batches are in hand as may wait; elsewhere as many as there are connections.
fn stage_size(open: &OpenDatabase, body_bytes: usize) -> StageConfig {
    let slots = match open.database.kind() {
        DatabaseKind::Sqlite => open.queue_depth,
        DatabaseKind::Postgres | DatabaseKind::Mysql => open.connections,
    };
    let items = open.queue_depth + slots;
    // The items bound it; bytes are for the day on which every body is as large as it may be.
    let bytes = (items as u64) * (body_bytes as u64) * 2;
    StageConfig { slots, mailbox: Capacity { items, bytes } }
}
