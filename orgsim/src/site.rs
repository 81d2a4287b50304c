//! Everything a request can touch: the org, its clock, journal, faults, tokens, cursors and allowance.

use crate::{
    body::Prepared, bulk::Bulk, clock::Clock, cursors::Cursors, describe, faults::Faults, journal::Journal,
    options::Options, org::OrgData, tokens::Tokens,
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
    pub org: Arc<OrgData>,
    pub clock: Clock,
    pub journal: Journal,
    pub faults: Arc<Faults>,
    pub tokens: Tokens,
    pub cursors: Cursors,
    pub bulk: Bulk,
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
        Self {
            org: Arc::new(org),
            clock: Clock::start(),
            journal: Journal::default(),
            faults: Arc::default(),
            tokens,
            cursors: Cursors::default(),
            bulk: Bulk::default(),
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

    /// `api-usage=18/15000`.
    pub fn limit_info(&self) -> String {
        format!(
            "api-usage={}/{}",
            self.used.load(Ordering::Relaxed),
            self.daily_limit.load(Ordering::Relaxed)
        )
    }
}
