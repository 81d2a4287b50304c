//! Everything a request can touch: the org, its clock, journal, faults, tokens, cursors and allowance.

use crate::{
    allowance::Allowance,
    body::Prepared,
    bulk::Bulk,
    clock::Clock,
    cursors::Cursors,
    describe,
    dml::{Knobs, options::DataState, script},
    faults::Faults,
    gate::Gate,
    journal::Journal,
    jwt::Keys,
    options::Options,
    org::OrgData,
    tables::LAST_CHANGE_MS,
    tokens::Tokens,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

/// How a caller came in; answers that name the org's address echo it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The `Host` header: a name, with a port unless it is the scheme's own.
    pub host: String,
}

impl Caller {
    /// `https://acme.my.salesforce.com`.
    pub fn base_url(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// The host without its port.
    pub fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.host,
        }
    }
}

/// The shared state of a server.
pub struct Site {
    pub options: Options,
    pub org: Arc<OrgData>,
    /// Knobs of the rows, and the gate of transactions.
    pub data: DataState,
    pub clock: Clock,
    pub journal: Journal,
    pub faults: Arc<Faults>,
    pub tokens: Tokens,
    pub jwt_keys: Keys,
    pub cursors: Cursors,
    pub bulk: Bulk,
    pub allowance: Allowance,
    pub gate: Arc<Gate>,
    /// The authority of the TLS listener, in PEM; `None` without that listener.
    pub ca_pem: Option<String>,
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
    pub fn new(options: Options, org: OrgData, jwt_keys: Keys, ca_pem: Option<String>) -> Self {
        let tokens = Tokens::default();
        options.access_tokens.iter().for_each(|token| tokens.accept(token));
        options.refresh_tokens.iter().for_each(|token| {
            tokens.accept_refresh(token);
        });
        let faults = Faults::default();
        faults.set(options.faults.clone());
        let clock = Clock::start();
        let window = i64::try_from(options.daily_window.as_millis()).unwrap_or(i64::MAX);
        let allowance = Allowance::new(options.daily_limit, window, options.daily_reset, clock.epoch_ms());
        org.rows.open_at(clock.epoch_ms());
        if let Err(message) = org.hide(&options.data.knobs.hidden_fields) {
            tracing::warn!(message, "no field is hidden");
        }
        Self {
            org: Arc::new(org),
            data: DataState::new(options.data.knobs.clone()),
            clock,
            journal: Journal::default(),
            faults: Arc::new(faults),
            tokens,
            jwt_keys,
            cursors: Cursors::default(),
            bulk: Bulk::default(),
            allowance,
            gate: Arc::default(),
            ca_pem,
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
            self.schema_changed();
        }
        self.org.refuse_bulk(&knobs.bulk_refused)?;
        *self.data.knobs() = knobs;
        Ok(())
    }

    /// Describes are rendered anew, and say that they were changed now.
    pub fn schema_changed(&self) {
        self.described.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.described_ms.store(self.clock.epoch_ms(), Ordering::Release);
        self.org.rows.bump();
    }

    /// When a describe last changed, in epoch milliseconds: whole seconds, as HTTP has them.
    pub fn described_ms(&self) -> i64 {
        let changed = self.described_ms.load(Ordering::Acquire);
        changed - changed.rem_euclid(1_000)
    }

    /// API calls used and allowed in the current window.
    pub fn api_usage(&self) -> (u64, u64) {
        (self.allowance.used(self.clock.epoch_ms()), self.allowance.limit())
    }

    /// Whether the next API call is one too many, for the org or for the connected app.
    pub fn allowance_is_spent(&self) -> bool {
        let (used, limit) = self.api_usage();
        used >= limit || self.options.per_app_limit.as_ref().is_some_and(|app| used >= app.calls)
    }

    /// `api-usage=18/15000`, with the connected app's quota where it has one.
    pub fn limit_info(&self) -> String {
        let (used, limit) = self.api_usage();
        let mut text = format!("api-usage={used}/{limit}");
        // One connected app makes all the calls here, so its use is the org's.
        if let Some(app) = &self.options.per_app_limit {
            text.push_str(&format!("; per-app-api-usage={used}/{}(appName={})", app.calls, app.app));
        }
        text
    }

    /// Whether a user name and a password, with the security token behind it, open the org.
    pub fn may_log_in(&self, username: Option<&str>, password: Option<&str>) -> bool {
        let fits = |given: Option<&str>, expected: &Option<String>| {
            given.is_some_and(|given| {
                !given.is_empty() && expected.as_deref().is_none_or(|expected| expected == given)
            })
        };
        fits(username, &self.options.username) && fits(password, &self.options.password)
    }
}
