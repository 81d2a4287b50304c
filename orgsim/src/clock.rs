//! The org's clock: wall time at the start plus what has gone by since, plus what a test has added.
//!
//! Only this file reads the machine's clocks, so a test can age a token without waiting for it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// A clock that can be moved forward.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    epoch_ms_at_start: i64,
    added_ms: AtomicI64,
}

impl Clock {
    /// A clock that shows the machine's time.
    #[expect(clippy::disallowed_methods, reason = "this is the simulator's clock module")]
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_ms_at_start = i64::try_from(epoch.as_millis()).unwrap_or(i64::MAX);
        Self { started: Instant::now(), epoch_ms_at_start, added_ms: AtomicI64::new(0) }
    }

    /// Real milliseconds since the start; what a test added does not count.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970 UTC, what a test added included.
    pub fn epoch_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        self.epoch_ms_at_start + elapsed + self.added_ms.load(Ordering::Relaxed)
    }

    /// Moves the org's time, forward or, with a negative number, back.
    pub fn advance_ms(&self, millis: i64) {
        self.added_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// A moment as HTTP writes it: `Sun, 22 Nov 2026 16:00:00 GMT`.
pub fn http_date(epoch_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(epoch_ms).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
