//! Everything a request can touch: the org, its clock, journal, faults, tokens, cursors and allowance.

use crate::{
    body::Prepared, clock::Clock, cursors::Cursors, describe, dml::options::DataState, faults::Faults,
    journal::Journal, options::Options, org::OrgData, tokens::Tokens,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The shared state of a server.
pub struct Site {
    pub options: Options,
    pub org: OrgData,
    /// Knobs of the rows, and the gate of transactions.
    pub data: DataState,
    pub clock: Clock,
    pub journal: Journal,
    pub faults: Arc<Faults>,
    pub tokens: Tokens,
    pub cursors: Cursors,
    /// API calls of the last 24 hours, those before the start included.
    pub used: AtomicU64,
    /// API calls allowed in 24 hours.
    pub daily_limit: AtomicU64,
    described: Mutex<HashMap<(u32, Described), Arc<Prepared>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Described {
    Global,
    Object(usize),
}

impl Site {
    /// A site over an org.
    pub fn new(options: Options, org: OrgData) -> Self {
        let tokens = Tokens::default();
        options.access_tokens.iter().for_each(|token| tokens.accept(token));
        options.refresh_tokens.iter().for_each(|token| tokens.accept_refresh(token));
        let clock = Clock::start();
        org.rows.open_at(clock.epoch_ms());
        Self {
            org,
            data: DataState::new(options.data.knobs.clone()),
            clock,
            journal: Journal::default(),
            faults: Arc::default(),
            tokens,
            cursors: Cursors::default(),
            used: AtomicU64::new(0),
            daily_limit: AtomicU64::new(options.daily_limit),
            described: Mutex::default(),
            options,
        }
    }

    /// `/sobjects`, rendered once per version.
    pub fn global_describe(&self, version: u32) -> Arc<Prepared> {
        self.prepared((version, Described::Global), || describe::global(&self.org.model, version))
    }

    /// A describe, rendered once per version.
    pub fn describe(&self, position: usize, version: u32) -> Arc<Prepared> {
        let render = || describe::object(&self.org.model, &self.org.model.objects[position], version);
        self.prepared((version, Described::Object(position)), render)
    }

    fn prepared(&self, key: (u32, Described), render: impl FnOnce() -> Vec<u8>) -> Arc<Prepared> {
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            // Rendered outside the lock: two callers at once render twice, nobody waits.
            let prepared = Arc::new(Prepared::new(&render()));
            self.described.lock().unwrap_or_else(PoisonError::into_inner).insert(key, prepared.clone());
            prepared
        })
    }

    /// Lets happen to the rows what is due by the org's clock. Called at the start of each request.
    pub fn settle(&self) {
        self.org.rows.purge(self.clock.epoch_ms());
    }

    /// `api-usage=18/15000`.
    pub fn limit_info(&self) -> String {
        format!(
            "api-usage={}/{}",
            self.used.load(Ordering::Relaxed),
            self.daily_limit.load(Ordering::Relaxed)
        )
    }
}
