//! The org's clock: wall time at the start plus what has gone by since, plus what a test has added.
//!
//! Only this file reads the machine's clocks, so a test can age a token without waiting for it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// 9999-01-01, in milliseconds since 1970: calendars end a year later, and stamps are made of later moments.
const LATEST_MS: i64 = 253_370_764_800_000;

/// A clock that can be moved between 1970 and the year 9999.
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
        self.untouched_ms().saturating_add(self.added_ms.load(Ordering::Relaxed))
    }

    /// What it would show, had nobody moved it.
    fn untouched_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        self.epoch_ms_at_start.saturating_add(elapsed)
    }

    /// Moves the org's time, forward or, with a negative number, back; not beyond its ends.
    pub fn advance_ms(&self, millis: i64) {
        let untouched = self.untouched_ms();
        let moved = |added: i64| untouched.saturating_add(added).saturating_add(millis).clamp(0, LATEST_MS);
        self.added_ms.update(Ordering::Relaxed, Ordering::Relaxed, |added| moved(added) - untouched);
    }
}

/// A moment as HTTP writes it: `Sun, 22 Nov 2026 16:00:00 GMT`.
pub fn http_date(epoch_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(epoch_ms).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_moved_too_far_stops_at_its_ends_and_comes_back() {
        let clock = Clock::start();
        for _ in 0..2 {
            clock.advance_ms(i64::MAX);
            assert!((LATEST_MS..LATEST_MS + 60_000).contains(&clock.epoch_ms()));
        }
        assert!(http_date(clock.epoch_ms()).contains("01 Jan 9999"));
        clock.advance_ms(-86_400_000);
        assert!(http_date(clock.epoch_ms()).contains("31 Dec 9998"));
        for _ in 0..2 {
            clock.advance_ms(i64::MIN);
            assert!((0..60_000).contains(&clock.epoch_ms()));
        }
    }
}
