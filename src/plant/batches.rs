//! The batch side of the plant: databases, a gateway before each, and the front they share.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::actors::batch_gateway::{BatchDesk, BatchFront, BatchGateway, FrontSettings, WaitingRoom, job_of};
use crate::actors::engine::{Capacity, Engine, NoOutlet, Stage as _, StageConfig};
use crate::batch::access::Caller;
use crate::batch::access::token::roles_of;
use crate::batch::catalogue::DatabaseKind;
use crate::clock::SharedClock;
use crate::database::{Database, Enforcement};
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
