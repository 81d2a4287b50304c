//! Gate 1: the org's daily allowance.
//!
//! The org tells its usage with every answer, but late; calls sent since the last header are added to
//! it. Each priority stops at its own share. A closed gate lets one probing call through now and then,
//! because only an answer tells that the usage has fallen: the window rolls, nothing announces it.

use std::time::Duration;

use super::{LimitProfile, Priority, QuotaSeen};

/// Whether a call may be charged to the allowance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QuotaVerdict {
    Open,
    /// Spread over the window: the next call of this priority may go at this time.
    Paced(Duration),
    /// Used up for this priority; asking again earlier than this is useless.
    Closed(Duration),
}

#[derive(Debug, Clone)]
pub(super) struct QuotaGate {
    seen: Option<QuotaSeen>,
    calls_since_seen: u64,
    /// The org itself said that nothing is left; cleared by a good answer.
    exhausted: bool,
    probe_at: Duration,
    window_end: Duration,
    forecast: [u64; 3],
    paced_at: [Duration; 3],
}

impl QuotaGate {
    pub(super) fn starting_at(now: Duration, profile: &LimitProfile) -> Self {
        Self {
            seen: None,
            calls_since_seen: 0,
            exhausted: false,
            probe_at: Duration::ZERO,
            window_end: now + Duration::from_secs(profile.quota_window_secs),
            forecast: [0; 3],
            paced_at: [Duration::ZERO; 3],
        }
    }

    /// Usage as far as we know: the header's figure and what was sent since.
    pub(super) fn used(&self) -> Option<QuotaSeen> {
        let seen = self.seen?;
        Some(QuotaSeen { used: seen.used.saturating_add(self.calls_since_seen), ..seen })
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn verdict(&self, now: Duration, profile: &LimitProfile, priority: Priority) -> QuotaVerdict {
        if self.exhausted || self.is_over_share(profile, priority) {
            return if now >= self.probe_at {
                QuotaVerdict::Open
            } else {
                QuotaVerdict::Closed(self.probe_at)
            };
        }
        let paced_at = self.paced_at[priority.index()];
        match self.pace_per_sec(now, profile, priority) {
            Some(_) if now < paced_at => QuotaVerdict::Paced(paced_at),
            _ => QuotaVerdict::Open,
        }
    }

    pub(super) fn charge(&mut self, now: Duration, profile: &LimitProfile, priority: Priority) {
        if self.exhausted || self.is_over_share(profile, priority) {
            self.probe_at = now + Duration::from_secs(profile.quota_probe_secs);
        }
        if let Some(pace) = self.pace_per_sec(now, profile, priority) {
            self.paced_at[priority.index()] = now + Duration::from_secs_f64((1.0 / pace).min(86_400.0));
        }
        let forecast = &mut self.forecast[priority.index()];
        *forecast = forecast.saturating_sub(1);
        self.calls_since_seen = self.calls_since_seen.saturating_add(1);
    }

    /// `calls_in_flight` were sent, but the header may not count them yet.
    pub(super) fn see(
        &mut self,
        now: Duration,
        profile: &LimitProfile,
        seen: QuotaSeen,
        calls_in_flight: u32,
    ) {
        let was_over = self.is_over_share(profile, Priority::Bulk);
        self.seen = Some(seen);
        self.calls_since_seen = u64::from(calls_in_flight);
        if !was_over && self.is_over_share(profile, Priority::Bulk) {
            self.probe_at = now + Duration::from_secs(profile.quota_probe_secs);
        }
        let window = Duration::from_secs(profile.quota_window_secs);
        while self.window_end <= now {
            self.window_end += window.max(Duration::from_secs(1));
        }
    }

    /// The org answered a call of the daily allowance with "nothing left".
    pub(super) fn exhaust(&mut self, now: Duration, profile: &LimitProfile) {
        self.exhausted = true;
        self.probe_at = now + Duration::from_secs(profile.quota_probe_secs);
    }

    /// The org served a call that was sent after it had refused one.
    pub(super) fn reopen(&mut self) {
        self.exhausted = false;
    }

    pub(super) fn set_forecast(&mut self, priority: Priority, calls: u64) {
        self.forecast[priority.index()] = calls;
    }

    pub(super) fn headroom(&self, profile: &LimitProfile, priority: Priority) -> Option<u64> {
        let view = self.used()?;
        Some(share_calls(profile, priority, view.limit).saturating_sub(view.used))
    }

    fn is_over_share(&self, profile: &LimitProfile, priority: Priority) -> bool {
        self.headroom(profile, priority) == Some(0)
    }

    /// The pace, in calls per second, once what is announced does not fit into what is left.
    fn pace_per_sec(&self, now: Duration, profile: &LimitProfile, priority: Priority) -> Option<f64> {
        let headroom = self.headroom(profile, priority)?;
        if headroom == 0 || self.forecast[priority.index()] <= headroom {
            return None;
        }
        let left = self.window_end.saturating_sub(now).max(Duration::from_secs(1));
        #[expect(clippy::cast_precision_loss, reason = "an allowance is far below 2^52 calls")]
        Some(headroom as f64 / left.as_secs_f64())
    }
}

fn share_calls(profile: &LimitProfile, priority: Priority, limit: u64) -> u64 {
    let share = match priority {
        Priority::Bulk => profile.quota_share_bulk,
        Priority::Normal => profile.quota_share_normal,
        Priority::Interactive => profile.quota_share_interactive,
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of an allowance is a small positive number; cutting the fraction is meant"
    )]
    {
        (limit as f64 * share) as u64
    }
}
