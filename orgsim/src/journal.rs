//! What the org was asked, counted by Salesforce's own rules: one per REST request, one for a whole composite,
//! one per subrequest of a batch. Token requests and the simulator's own `/__sim` are not API calls.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Order of arrival, from 1.
    pub seq: u64,
    /// Real milliseconds from the server's start to the arrival.
    pub at_ms: u64,
    /// HTTP method.
    pub method: String,
    /// Path without its query.
    pub path: String,
    /// Kind of resource: `describe`, `query`, `composite`, ...
    pub kind: String,
    /// HTTP status answered; 0 when the connection was cut.
    pub status: u16,
    /// API calls this request counts as.
    pub counted: u64,
    /// Subrequests of a composite or a batch.
    pub subrequests: u64,
    /// Objects named by describes, queries and collections, those of subrequests included.
    pub objects: Vec<String>,
    /// Objects whose describe was asked for, those of subrequests included.
    pub described: Vec<String>,
    /// Scheme, host and port the caller came in by, such as `https://login.salesforce.com`.
    pub base_url: String,
}

/// The journal at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalSnapshot {
    /// API calls by Salesforce's rules.
    pub total: u64,
    /// API calls by kind of resource.
    pub by_resource: BTreeMap<String, u64>,
    /// Requests in order of arrival.
    pub calls: Vec<Call>,
    /// Token requests, which are not API calls, in order of arrival.
    pub token_calls: Vec<Call>,
}

/// The journal.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<JournalSnapshot>,
    next: std::sync::atomic::AtomicU64,
}

impl Journal {
    /// The next request's number.
    pub fn arrive(&self) -> u64 {
        self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }

    /// Books a request.
    pub fn book(&self, call: Call) {
        let mut inner = self.lock();
        inner.total += call.counted;
        if call.counted > 0 {
            *inner.by_resource.entry(call.kind.clone()).or_default() += call.counted;
        }
        let list = if call.kind == "token" { &mut inner.token_calls } else { &mut inner.calls };
        // Requests end out of order; the list keeps the order they came in.
        let at = list.partition_point(|before| before.seq < call.seq);
        list.insert(at, call);
    }

    /// A copy of it all.
    pub fn snapshot(&self) -> JournalSnapshot {
        self.lock().clone()
    }

    /// Forgets everything.
    pub fn reset(&self) {
        *self.lock() = JournalSnapshot::default();
    }

    fn lock(&self) -> MutexGuard<'_, JournalSnapshot> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
