//! Gate 2: an adaptive token bucket.
//!
//! The rate rises by a step each period without a throttle and is cut by a factor when one comes. A cut
//! is stamped: a throttle of a call that was sent before the last cut says nothing new and is ignored,
//! so a burst of rejections cuts once.

use std::time::Duration;

use super::LimitProfile;

/// A ceiling above this many calls a second limits nothing; it is dropped where the profile has no maximum.
const RELEASED_ABOVE_PER_SEC: f64 = 200.0;

#[derive(Debug, Clone)]
pub(super) struct RateGate {
    /// Calls per second; `None` means no ceiling.
    per_sec: Option<f64>,
    tokens: f64,
    filled_at: Duration,
    last_cut: Option<Duration>,
    raise_at: Duration,
    blocked_until: Duration,
    cuts: u64,
    sent: SendMeter,
}

impl RateGate {
    pub(super) fn starting_at(now: Duration, profile: &LimitProfile) -> Self {
        Self {
            per_sec: profile.rate_start_per_min.map(per_second),
            tokens: 1.0,
            filled_at: now,
            last_cut: None,
            raise_at: now + Duration::from_secs(profile.rate_period_secs),
            blocked_until: Duration::ZERO,
            cuts: 0,
            sent: SendMeter::default(),
        }
    }

    pub(super) fn per_sec(&self) -> Option<f64> {
        self.per_sec
    }

    pub(super) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// `None` when a call may go now, else the time at which one may.
    pub(super) fn wait(&mut self, now: Duration, profile: &LimitProfile) -> Option<Duration> {
        self.advance(now, profile);
        if now < self.blocked_until {
            return Some(self.blocked_until);
        }
        let per_sec = self.per_sec?;
        if self.tokens >= 1.0 {
            return None;
        }
        // A microsecond more than computed, so that rounding never makes the asker come back too early.
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / per_sec) + Duration::from_micros(1);
        Some(now + missing)
    }

    pub(super) fn spend(&mut self, now: Duration) {
        if self.per_sec.is_some() {
            self.tokens -= 1.0;
        }
        self.sent.count(now);
    }

    /// A call sent at `started_at` was turned away. Tells whether the rate was cut for it.
    pub(super) fn cut(
        &mut self,
        now: Duration,
        started_at: Duration,
        factor: f64,
        profile: &LimitProfile,
    ) -> bool {
        self.advance(now, profile);
        let period = Duration::from_secs(profile.rate_period_secs);
        let is_old_news = self.last_cut.is_some_and(|cut| started_at <= cut || now < cut + period);
        if is_old_news {
            return false;
        }
        let measured = self.sent.per_sec(now);
        // A ceiling far above what is really sent would need many cuts before one of them bites.
        let base = self.per_sec.map_or(measured, |ceiling| ceiling.min(2.0 * measured.max(1.0)));
        let cut_to = (base * factor).max(per_second(profile.rate_min_per_min));
        self.per_sec = Some(self.per_sec.map_or(cut_to, |ceiling| ceiling.min(cut_to)));
        self.tokens = self.tokens.min(1.0);
        self.last_cut = Some(now);
        self.raise_at = now + Duration::from_secs(profile.rate_hold_secs.max(profile.rate_period_secs));
        self.cuts += 1;
        true
    }

    /// A throttle that did not cut still postpones the next raise.
    pub(super) fn postpone_raise(&mut self, now: Duration, profile: &LimitProfile) {
        self.raise_at = self.raise_at.max(now + Duration::from_secs(profile.rate_period_secs));
    }

    pub(super) fn block(&mut self, now: Duration, retry_after: Duration, profile: &LimitProfile) {
        let wait = retry_after.min(Duration::from_secs(profile.retry_after_max_secs));
        self.blocked_until = self.blocked_until.max(now + wait);
    }

    fn advance(&mut self, now: Duration, profile: &LimitProfile) {
        let period = Duration::from_secs(profile.rate_period_secs.max(1));
        while let Some(per_sec) = self.per_sec
            && self.raise_at <= now
        {
            self.fill(self.raise_at, per_sec, profile);
            let raised = per_sec + per_second(profile.rate_raise_per_min);
            self.per_sec = match profile.rate_max_per_min.map(per_second) {
                Some(max) => Some(raised.min(max)),
                None if raised > RELEASED_ABOVE_PER_SEC => None,
                None => Some(raised),
            };
            self.raise_at += period;
            if self.per_sec == Some(per_sec) {
                // At the maximum nothing changes any more: skip the idle hours in one step.
                self.raise_at = self.raise_at.max(now + period);
            }
        }
        match self.per_sec {
            Some(per_sec) => self.fill(now, per_sec, profile),
            None => self.filled_at = self.filled_at.max(now),
        }
    }

    fn fill(&mut self, until: Duration, per_sec: f64, profile: &LimitProfile) {
        let passed = until.saturating_sub(self.filled_at).as_secs_f64();
        let burst = (per_sec * profile.rate_burst_secs).max(1.0);
        self.tokens = (self.tokens + passed * per_sec).min(burst);
        self.filled_at = self.filled_at.max(until);
    }
}

/// Calls sent in the running and in the last second; enough to know where to start cutting from.
#[derive(Debug, Clone, Default)]
struct SendMeter {
    second: u64,
    this: u32,
    before: u32,
}

impl SendMeter {
    fn count(&mut self, now: Duration) {
        self.roll(now);
        self.this += 1;
    }

    fn per_sec(&mut self, now: Duration) -> f64 {
        self.roll(now);
        let passed = f64::from(now.subsec_micros()) / 1e6;
        f64::from(self.this) + f64::from(self.before) * (1.0 - passed)
    }

    fn roll(&mut self, now: Duration) {
        let second = now.as_secs();
        if second != self.second {
            self.before = if second == self.second + 1 { self.this } else { 0 };
            self.this = 0;
            self.second = second;
        }
    }
}

fn per_second(per_minute: f64) -> f64 {
    per_minute / 60.0
}
