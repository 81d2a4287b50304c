//! What can be chosen about the data: at the start by [`DataOptions`], while it runs by `POST /__sim/data`.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// Decides the chances above.
    pub seed: u64,
}

/// The state of the data beside the rows: the knobs, and who may read while a transaction runs.
#[derive(Debug, Default)]
pub struct DataState {
    knobs: Mutex<Knobs>,
    gate: RwLock<()>,
    drawn: AtomicU64,
}

impl DataState {
    /// With these knobs.
    pub fn new(knobs: Knobs) -> Self {
        Self { knobs: Mutex::new(knobs), ..Self::default() }
    }

    /// Stamp of the oldest transaction that has not been committed yet, in epoch milliseconds.
    pub fn oldest_in_progress_ms(&self) -> Option<i64> {
        None
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
