//! Everything a request can touch: the org, its clock, journal, faults, tokens, cursors and allowance.

use crate::{
    body::Prepared,
    clock::Clock,
    cursors::Cursors,
    describe,
    dml::{Knobs, options::DataState, script},
    faults::Faults,
    journal::Journal,
    options::Options,
    org::OrgData,
    tables::LAST_CHANGE_MS,
    tokens::Tokens,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
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
    /// When the user's view of the fields last changed.
    described_ms: AtomicI64,
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
        if let Err(message) = org.hide(&options.data.knobs.hidden_fields) {
            tracing::warn!(message, "no field is hidden");
        }
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
            described_ms: AtomicI64::new(LAST_CHANGE_MS),
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
        let seen = |field: usize| self.org.is_visible(position, field);
        let object = &self.org.model.objects[position];
        let render = || describe::object(&self.org.model, object, version, &seen);
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
        let now_ms = self.clock.epoch_ms();
        script::settle(self, now_ms);
        self.org.rows.purge(now_ms);
    }

    /// Sets the knobs of the data.
    ///
    /// # Errors
    /// A field to hide that does not exist; nothing is set then.
    pub fn turn(&self, knobs: Knobs) -> Result<(), String> {
        let hidden_before = self.data.knobs().hidden_fields.clone();
        if hidden_before != knobs.hidden_fields {
            self.org.hide(&knobs.hidden_fields)?;
            self.described.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.described_ms.store(self.clock.epoch_ms(), Ordering::Release);
        }
        *self.data.knobs() = knobs;
        Ok(())
    }

    /// When a describe last changed, in epoch milliseconds: whole seconds, as HTTP has them.
    pub fn described_ms(&self) -> i64 {
        let changed = self.described_ms.load(Ordering::Acquire);
        changed - changed.rem_euclid(1_000)
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
