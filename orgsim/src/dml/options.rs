//! What can be chosen about the data: at the start by [`DataOptions`], while it runs by `POST /__sim/data`.

use super::script::Pending;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// Choices about the rows of a simulated org.
#[derive(Debug, Clone, PartialEq)]
pub struct DataOptions {
    /// Number of live rows by object name, instead of the catalogue's.
    pub records: HashMap<String, u64>,
    /// Rows in the recycle bin at the start, in percent of the live ones, of business objects with 2,000 rows
    /// or more. They come on top of the live rows: counts do not change.
    pub deleted_percent: u64,
    /// Adds `Value_Case__c`, whose rows hold every value that is hard to carry.
    pub nasty_values: bool,
    /// What can be changed while the org runs.
    pub knobs: Knobs,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self { records: HashMap::new(), deleted_percent: 1, nasty_values: false, knobs: Knobs::default() }
    }
}

/// What can be changed while the org runs; everything off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// Fields the user may not see, as `Object.Field`.
    pub hidden_fields: Vec<String>,
    /// Percent of query pages that come with fewer rows than asked for.
    pub short_page_percent: u64,
    /// Percent of written records that meet `UNABLE_TO_LOCK_ROW`.
    pub lock_row_percent: u64,
    /// Rows of a queried object that are touched each time a further page of it is asked for.
    pub touched_per_page: u64,
    /// As `touched_per_page`: rows that are deleted.
    pub deleted_per_page: u64,
    /// As `touched_per_page`: rows that are made.
    pub inserted_per_page: u64,
    /// As `touched_per_page`: rows that are made by transactions which began `late_by_ms` earlier and say so in
    /// their stamps.
    pub late_per_page: u64,
    /// Milliseconds between the stamp of a late row and its commit; ten minutes look-back cover the usual ones.
    pub late_by_ms: i64,
    /// Objects that Bulk refuses, beside those it never serves.
    pub bulk_refused: Vec<String>,
    /// Milliseconds for which deletions are known to `/deleted`; a real org forgets them early when there are many.
    pub deletes_kept_ms: i64,
    /// Decides the chances above.
    pub seed: u64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            hidden_fields: Vec::new(),
            short_page_percent: 0,
            lock_row_percent: 0,
            touched_per_page: 0,
            deleted_per_page: 0,
            inserted_per_page: 0,
            late_per_page: 0,
            late_by_ms: 5 * 60_000,
            bulk_refused: Vec::new(),
            deletes_kept_ms: super::overlay::BIN_DAYS * 86_400_000,
            seed: 0,
        }
    }
}

/// The state of the data beside the rows: the knobs, and who may read while a transaction runs.
#[derive(Debug, Default)]
pub struct DataState {
    knobs: Mutex<Knobs>,
    gate: RwLock<()>,
    drawn: AtomicU64,
    pending: Mutex<Vec<Pending>>,
    /// When the next of them is due, in epoch milliseconds; so that looking costs nothing while none is.
    next_due_ms: AtomicI64,
}

impl DataState {
    /// With these knobs.
    pub fn new(knobs: Knobs) -> Self {
        let next_due_ms = AtomicI64::new(i64::MAX);
        Self { knobs: Mutex::new(knobs), next_due_ms, ..Self::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a change until it is due.
    pub fn schedule(&self, pending: Pending) {
        let mut waiting = self.waiting();
        waiting.push(pending);
        self.note_next(&waiting);
    }

    fn note_next(&self, waiting: &[Pending]) {
        let next = waiting.iter().filter_map(|pending| pending.due_ms).min().unwrap_or(i64::MAX);
        self.next_due_ms.store(next, Ordering::Release);
    }

    /// Takes the changes that are due, in the order they are.
    pub fn due(&self, now_ms: i64) -> Vec<Pending> {
        if self.next_due_ms.load(Ordering::Acquire) > now_ms {
            return Vec::new();
        }
        self.take(|pending| pending.due_ms.is_some_and(|due| due <= now_ms))
    }

    /// Takes the changes that wait for a further page of this object.
    pub fn due_on_page(&self, object: &str) -> Vec<Pending> {
        self.take(|pending| {
            pending.change.on_page_of.as_deref().is_some_and(|of| of.eq_ignore_ascii_case(object))
        })
    }

    fn take(&self, is_due: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let mut waiting = self.waiting();
        let (mut due, rest) = waiting.drain(..).partition::<Vec<_>, _>(|pending| is_due(pending));
        *waiting = rest;
        self.note_next(&waiting);
        due.sort_by_key(|pending| pending.due_ms);
        due
    }

    /// Stamp of the oldest transaction that has begun by `now_ms` and is not committed, in epoch milliseconds.
    pub fn oldest_in_progress_ms(&self, now_ms: i64) -> Option<i64> {
        let waiting = self.waiting();
        let begun = waiting.iter().filter(|pending| pending.due_ms.is_some() && pending.stamp_ms <= now_ms);
        begun.map(|pending| pending.stamp_ms).min()
    }

    /// The knobs as they stand.
    pub fn knobs(&self) -> MutexGuard<'_, Knobs> {
        self.knobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever reads or writes single records: no transaction is half done meanwhile.
    pub fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a transaction: nobody sees what may yet be rolled back.
    pub fn enter_alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something with a chance of `percent` happens this time.
    pub fn strikes(&self, percent: u64) -> bool {
        percent > 0 && self.draw() % 100 < percent
    }

    /// The next number of the seeded series.
    pub fn draw(&self) -> u64 {
        let nth = self.drawn.fetch_add(1, Ordering::Relaxed);
        let step = nth.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        crate::catalog::random::mix(self.knobs().seed.wrapping_add(step))
    }
}
