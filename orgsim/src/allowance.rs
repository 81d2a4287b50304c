//! The allowance of API calls: what has been used in the current window, and how it falls again.

use crate::options::DailyReset;
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Parts a rolling window is counted in.
const PARTS: i64 = 96;

/// Calls used and allowed.
#[derive(Debug)]
pub struct Allowance {
    limit: AtomicU64,
    window_ms: i64,
    reset: DailyReset,
    started_ms: i64,
    /// Calls by the moment their part of the window began, oldest first.
    parts: Mutex<VecDeque<(i64, u64)>>,
}

impl Allowance {
    /// `limit` calls in `window_ms`; the org's clock shows `now_ms`.
    pub fn new(limit: u64, window_ms: i64, reset: DailyReset, now_ms: i64) -> Self {
        let window_ms = window_ms.max(1);
        Self { limit: AtomicU64::new(limit), window_ms, reset, started_ms: now_ms, parts: Mutex::default() }
    }

    /// Calls allowed.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the calls allowed.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Calls used at `now_ms`.
    pub fn used(&self, now_ms: i64) -> u64 {
        self.parts(now_ms).iter().map(|(_, calls)| calls).sum()
    }

    /// Counts calls.
    pub fn add(&self, calls: u64, now_ms: i64) {
        if calls == 0 {
            return;
        }
        let length = match self.reset {
            DailyReset::Rolling => (self.window_ms / PARTS).max(1),
            DailyReset::AtOnce => self.window_ms,
        };
        let began = self.started_ms + (now_ms - self.started_ms).div_euclid(length) * length;
        let mut parts = self.parts(now_ms);
        match parts.back_mut() {
            Some((latest, counted)) if *latest == began => *counted += calls,
            _ => parts.push_back((began, calls)),
        }
    }

    /// Replaces what has been used: as if all of it were used now.
    pub fn set_used(&self, calls: u64, now_ms: i64) {
        self.parts(now_ms).clear();
        self.add(calls, now_ms);
    }

    /// What still counts.
    fn parts(&self, now_ms: i64) -> MutexGuard<'_, VecDeque<(i64, u64)>> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        // In a rolling window a part ends with its last call; all at once, with the window.
        let keeps = match self.reset {
            DailyReset::Rolling => self.window_ms + self.window_ms / PARTS,
            DailyReset::AtOnce => self.window_ms,
        };
        while parts.front().is_some_and(|(began, _)| began + keeps <= now_ms) {
            parts.pop_front();
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_rolling_window_forgets_each_call_a_day_after_it_was_made() {
        let allowance = Allowance::new(15_000, 24 * HOUR, DailyReset::Rolling, 0);
        allowance.add(100, 0);
        allowance.add(20, 12 * HOUR);
        assert_eq!(allowance.used(23 * HOUR), 120);
        assert_eq!(allowance.used(24 * HOUR - 1), 120, "not before its day is over");
        assert_eq!(allowance.used(24 * HOUR + HOUR / 4), 20);
        assert_eq!(allowance.used(37 * HOUR), 0);
    }

    #[test]
    fn a_window_that_resets_forgets_all_calls_together() {
        let allowance = Allowance::new(15_000, 24 * HOUR, DailyReset::AtOnce, 0);
        allowance.add(100, HOUR);
        allowance.add(20, 23 * HOUR);
        assert_eq!(allowance.used(24 * HOUR - 1), 120);
        assert_eq!(allowance.used(24 * HOUR), 0);
        allowance.add(3, 25 * HOUR);
        assert_eq!(allowance.used(47 * HOUR), 3);
        assert_eq!(allowance.used(48 * HOUR), 0);
    }

    #[test]
    fn what_is_set_replaces_what_was_counted() {
        let allowance = Allowance::new(10, 24 * HOUR, DailyReset::Rolling, 0);
        allowance.add(7, 0);
        allowance.set_used(9, HOUR);
        assert_eq!((allowance.used(HOUR), allowance.limit()), (9, 10));
    }
}
