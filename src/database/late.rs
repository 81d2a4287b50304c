//! A database that was away when the daemon started.
//!
//! Promises: until it is there it has no entities and no connections; from then on it is the database itself. It never goes
//! back: a database that is lost later is the business of its own connections.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::{ConnectionsState, Database, DatabaseOpenError, DatabaseSettings, Enforcement};
use crate::batch::catalogue::{Catalogue, DatabaseKind};
use crate::batch::run::BatchRun;
use crate::clock::BoxFuture;

/// See the module's promises.
pub struct LateDatabase {
    name: Arc<str>,
    kind: DatabaseKind,
    connections: usize,
    nothing: Arc<Catalogue>,
    opened: watch::Sender<Option<Arc<dyn Database>>>,
}

impl LateDatabase {
    /// In the place of the database of these settings.
    pub fn new(settings: &DatabaseSettings) -> Self {
        let nothing = Catalogue {
            database: Arc::clone(&settings.name),
            kind: settings.kind,
            entities: HashMap::new(),
            statements: HashMap::new(),
            enforced_by_database: matches!(settings.enforcement, Enforcement::Database { .. }),
        };
        Self {
            name: Arc::clone(&settings.name),
            kind: settings.kind,
            connections: settings.connections,
            nothing: Arc::new(nothing),
            opened: watch::Sender::new(None),
        }
    }

    /// It is there.
    pub fn arrive(&self, database: Arc<dyn Database>) {
        self.opened.send_replace(Some(database));
    }

    fn opened(&self) -> Option<Arc<dyn Database>> {
        self.opened.borrow().clone()
    }
}

impl Database for LateDatabase {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn kind(&self) -> DatabaseKind {
        self.kind
    }

    fn is_open(&self) -> bool {
        self.opened.borrow().is_some()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.opened().map_or_else(|| Arc::clone(&self.nothing), |database| database.catalogue())
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        Box::pin(async move {
            match self.opened() {
                Some(database) => database.reload().await,
                None => Err(DatabaseOpenError::Away {
                    database: Arc::clone(&self.name),
                    why: "it has not been reached since the start".to_owned(),
                }),
            }
        })
    }

    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        Box::pin(async move {
            // No batch is planned before there is a catalogue, so this does not wait.
            let mut opened = self.opened.subscribe();
            let there = opened.wait_for(Option::is_some).await.ok().and_then(|there| there.clone());
            match there {
                Some(database) => database.run(batch).await,
                None => batch,
            }
        })
    }

    fn state(&self) -> ConnectionsState {
        let down = ConnectionsState { down: self.connections, ..ConnectionsState::default() };
        self.opened().map_or(down, |database| database.state())
    }
}
