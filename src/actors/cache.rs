//! The cache: answers before the org is asked.
//!
//! Promises: a store that was answered is flushed. A cache that fails is a miss and is logged: it costs calls, never
//! work. Nothing is held here, the entries lie in [`CacheStore`]; a restart costs the questions in hand, and those are
//! asked again.

use std::sync::Arc;

use actix::{Actor, Context, Handler, ResponseFuture};

use super::engine::fault::suffer_in_service;
use super::engine::{FaultPoint, Ping, Service};
use crate::messages::{Lookup, Store};
use crate::store::cache::{CacheError, CacheStore, Found};
use crate::telemetry::Metrics;

/// See the module's promises.
#[derive(Clone)]
pub struct Cache {
    store: CacheStore,
    metrics: Metrics,
    faults: Arc<dyn FaultPoint>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    /// A cache in front of `store`.
    pub fn new(store: CacheStore, metrics: Metrics, faults: Arc<dyn FaultPoint>) -> Self {
        Self { store, metrics, faults }
    }

    fn strike(&self, context: &mut Context<Self>) {
        suffer_in_service(self.faults.strike(Self::NAME), context);
    }
}

impl Actor for Cache {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(256);
    }
}

impl Service for Cache {
    const NAME: &'static str = "cache";
}

impl Handler<Ping> for Cache {
    type Result = ();

    fn handle(&mut self, _message: Ping, _context: &mut Self::Context) {}
}

impl Handler<Lookup> for Cache {
    type Result = ResponseFuture<Result<Vec<Found>, CacheError>>;

    fn handle(&mut self, Lookup(keys): Lookup, context: &mut Self::Context) -> Self::Result {
        self.strike(context);
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        Box::pin(async move {
            let found = store.lookup(keys).await?;
            for one in &found {
                let outcome = match one {
                    Found::Hit(_) => "hit",
                    Found::Miss => "miss",
                    Found::Expired => "expired",
                };
                metrics.cache_lookups_total.with_label_values(&[outcome]).inc();
            }
            Ok(found)
        })
    }
}

impl Handler<Store> for Cache {
    type Result = ResponseFuture<Result<(), CacheError>>;

    fn handle(&mut self, Store(entries): Store, context: &mut Self::Context) -> Self::Result {
        self.strike(context);
        let store = self.store.clone();
        Box::pin(async move { store.store(entries).await })
    }
}
