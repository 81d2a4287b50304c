//! The endpoint's clock: wall time at the start plus what has gone by since, plus what a test has added.
//!
//! Only this file reads the machine's clocks, so a batch's day passes without waiting for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be moved forward.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    epoch_at_start: Duration,
    added_ms: AtomicU64,
}

impl Clock {
    /// A clock that shows the machine's time.
    #[expect(clippy::disallowed_methods, reason = "this is the simulator's clock module")]
    pub fn start() -> Self {
        let epoch_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch_at_start, added_ms: AtomicU64::new(0) }
    }

    /// Real time since the start; what a test added does not count.
    pub fn real(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time since the start, what a test added included.
    pub fn now(&self) -> Duration {
        self.real() + Duration::from_millis(self.added_ms.load(Ordering::Relaxed))
    }

    /// Seconds since 1970 at a time of [`Clock::now`].
    pub fn epoch_secs(&self, at: Duration) -> u64 {
        (self.epoch_at_start + at).as_secs()
    }

    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.added_ms.fetch_add(ms, Ordering::Relaxed);
    }
}
