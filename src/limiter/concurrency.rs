//! Gate 3: calls in flight.
//!
//! The platform counts calls that last 20 s or longer and cannot be told beforehand which will, so all
//! calls share one limit and those expected to be long share a smaller one. The limit is halved when the
//! org says that too many run, and grows back one by one.

use std::time::Duration;

use super::LimitProfile;

#[derive(Debug, Clone)]
pub(super) struct ConcurrencyGate {
    limit: u32,
    in_flight: u32,
    long_in_flight: u32,
    last_halved: Option<Duration>,
    regrow_at: Duration,
}

impl ConcurrencyGate {
    pub(super) fn new(profile: &LimitProfile) -> Self {
        Self {
            limit: profile.concurrency_max.max(1),
            in_flight: 0,
            long_in_flight: 0,
            last_halved: None,
            regrow_at: Duration::ZERO,
        }
    }

    /// A gate by new figures that still counts the calls in flight under the old ones.
    pub(super) fn with_calls_of(profile: &LimitProfile, before: &Self) -> Self {
        let (in_flight, long_in_flight) = (before.in_flight, before.long_in_flight);
        Self { in_flight, long_in_flight, ..Self::new(profile) }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn has_room(&mut self, now: Duration, profile: &LimitProfile, expected_long: bool) -> bool {
        let max = profile.concurrency_max.max(1);
        let step = Duration::from_secs(profile.concurrency_regrow_secs.max(1));
        while self.limit < max && self.regrow_at <= now {
            self.limit += 1;
            self.regrow_at += step;
        }
        let long_limit = profile.concurrency_long_max.max(1).min(self.limit);
        self.in_flight < self.limit && (!expected_long || self.long_in_flight < long_limit)
    }

    /// When the limit grows by itself; `None` when only a finished call makes room.
    pub(super) fn grows_at(&self, profile: &LimitProfile) -> Option<Duration> {
        (self.limit < profile.concurrency_max).then_some(self.regrow_at)
    }

    pub(super) fn enter(&mut self, expected_long: bool) {
        self.in_flight += 1;
        self.long_in_flight += u32::from(expected_long);
    }

    pub(super) fn leave(&mut self, expected_long: bool) {
        debug_assert!(self.in_flight > 0, "a call finishes once");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.long_in_flight = self.long_in_flight.saturating_sub(u32::from(expected_long));
    }

    /// The org said that too many calls run; `started_at` is when the refused one was sent.
    pub(super) fn halve(&mut self, now: Duration, started_at: Duration, profile: &LimitProfile) -> bool {
        self.regrow_at = now + Duration::from_secs(profile.concurrency_regrow_secs.max(1));
        if self.last_halved.is_some_and(|halved| started_at <= halved) {
            return false;
        }
        self.limit = (self.limit / 2).max(1);
        self.last_halved = Some(now);
        true
    }
}
