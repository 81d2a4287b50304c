//! Gate 1: the org's daily allowance.
//!
//! The org tells its usage with every answer, but late; calls sent since the last header are added to
//! it. An app may have an allowance of its own: the tighter of the two holds. Each priority stops at its own
//! share. A closed gate lets one probing call through now and then, because only an answer tells that the usage
//! has fallen: the window rolls, nothing announces it. Whoever asks while the probe is under way waits for its
//! end, so that work goes on the moment it may.
//!
//! What was seen outlives the process as a [`QuotaMemory`]: a restart does not forget that the allowance is spent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::{LimitProfile, Priority, QuotaSeen, ShareView, UsageSeen};

/// A gate closed by a share knows about when room comes back and asks no more often than it must: at least once in this time,
/// because somebody else's calls may have left the window earlier.
const SHARE_PROBE_MAX: Duration = Duration::from_secs(3_600);

/// Whether a call may be charged to the allowance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QuotaVerdict {
    Open,
    /// Spread over the window: the next call of this priority may go at this time.
    Paced(Duration),
    /// Used up for this priority, but a probe is under way: ask again when it has ended.
    AwaitProbe,
    /// Used up for this priority; asking again earlier than this is useless.
    Closed(Duration),
}

/// What a quota gate knows, in ages and waits that mean the same in the next process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuotaMemory {
    org: Option<QuotaSeen>,
    app: Option<QuotaSeen>,
    exhausted: bool,
    probe_in_secs: [u64; 3],
    window_left_secs: u64,
    /// Age in seconds and calls.
    growth: Vec<(i64, u64)>,
}

#[derive(Debug, Clone)]
pub(super) struct QuotaGate {
    org: Option<QuotaSeen>,
    app: Option<QuotaSeen>,
    /// When the call was sent whose answer told the figures above.
    seen_by_call_of: Duration,
    calls_since_seen: u64,
    /// The org itself said that nothing is left; cleared by a good answer.
    exhausted: bool,
    /// When the next probe of a priority may go, while it is closed.
    probe_at: [Duration; 3],
    probe_pause: [Duration; 3],
    /// When the probe under way was sent.
    probe: Option<Duration>,
    ledger: Ledger,
    window_end: Duration,
    forecast: [u64; 3],
    paced_at: [Duration; 3],
}

impl QuotaGate {
    pub(super) fn starting_at(now: Duration, profile: &LimitProfile) -> Self {
        Self {
            org: None,
            app: None,
            seen_by_call_of: Duration::ZERO,
            calls_since_seen: 0,
            exhausted: false,
            probe_at: [Duration::ZERO; 3],
            probe_pause: [Duration::from_secs(profile.quota_probe_secs); 3],
            probe: None,
            ledger: Ledger::default(),
            window_end: now + Duration::from_secs(profile.quota_window_secs),
            forecast: [0; 3],
            paced_at: [Duration::ZERO; 3],
        }
    }

    /// The org's usage as far as we know: the header's figure and what was sent since.
    pub(super) fn used(&self) -> Option<QuotaSeen> {
        self.org.map(|seen| self.with_calls_since(seen))
    }

    /// The app's own usage, where the org has given it an allowance of its own.
    pub(super) fn used_by_app(&self) -> Option<QuotaSeen> {
        self.app.map(|seen| self.with_calls_since(seen))
    }

    fn with_calls_since(&self, seen: QuotaSeen) -> QuotaSeen {
        QuotaSeen { used: seen.used.saturating_add(self.calls_since_seen), ..seen }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn verdict(&self, now: Duration, profile: &LimitProfile, priority: Priority) -> QuotaVerdict {
        if self.is_closed(profile, priority) {
            let probe_at = self.probe_at[priority.index()];
            return match self.probe {
                Some(_) => QuotaVerdict::AwaitProbe,
                None if now >= probe_at => QuotaVerdict::Open,
                None => QuotaVerdict::Closed(probe_at),
            };
        }
        let paced_at = self.paced_at[priority.index()];
        match self.pace_per_sec(now, profile, priority) {
            Some(_) if now < paced_at => QuotaVerdict::Paced(paced_at),
            _ => QuotaVerdict::Open,
        }
    }

    pub(super) fn charge(&mut self, now: Duration, profile: &LimitProfile, priority: Priority) {
        if self.is_closed(profile, priority) {
            self.probe = Some(now);
            let pause = self.probe_pause[priority.index()];
            let longest = Duration::from_secs(profile.quota_probe_max_secs).max(pause);
            self.probe_pause[priority.index()] = (pause * 2).min(longest);
            self.set_next_probe(now, profile, priority);
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
        started_at: Duration,
        seen: UsageSeen,
        calls_in_flight: u32,
    ) {
        let is_overtaken =
            started_at < self.seen_by_call_of && self.org.is_some_and(|known| seen.org.used < known.used);
        if is_overtaken {
            // A later call has been answered before; this one's figure would turn the count back.
            return;
        }
        let was_over = Priority::ALL.map(|priority| self.is_over_share(profile, priority));
        (self.org, self.app) = (Some(seen.org), seen.app);
        self.seen_by_call_of = self.seen_by_call_of.max(started_at);
        self.calls_since_seen = u64::from(calls_in_flight);
        self.ledger.see(now, seen.org.used, profile.quota_window_secs);
        for (priority, was_over) in Priority::ALL.into_iter().zip(was_over) {
            match (was_over, self.is_over_share(profile, priority)) {
                (false, true) => self.set_next_probe(now, profile, priority),
                (_, false) if !self.exhausted => self.forget_pause(profile, priority),
                _ => {}
            }
        }
        let window = Duration::from_secs(profile.quota_window_secs);
        while self.window_end <= now {
            self.window_end += window.max(Duration::from_secs(1));
        }
    }

    /// The org answered a call of the daily allowance with "nothing left".
    pub(super) fn exhaust(&mut self, now: Duration, profile: &LimitProfile) {
        self.exhausted = true;
        for priority in Priority::ALL {
            self.set_next_probe(now, profile, priority);
        }
    }

    /// The org served a call that was sent after it had refused one.
    pub(super) fn reopen(&mut self, profile: &LimitProfile) {
        self.exhausted = false;
        for priority in Priority::ALL {
            self.forget_pause(profile, priority);
        }
    }

    /// The call that was sent at `started_at` has ended, whatever came of it.
    pub(super) fn ended(&mut self, started_at: Duration) {
        if self.probe.is_some_and(|probe| started_at >= probe) {
            self.probe = None;
        }
    }

    pub(super) fn set_forecast(&mut self, priority: Priority, calls: u64) {
        self.forecast[priority.index()] = calls;
    }

    /// Calls that `priority` may still make: the tighter of the org's and the app's own allowance.
    pub(super) fn headroom(&self, profile: &LimitProfile, priority: Priority) -> Option<u64> {
        let room = |view: QuotaSeen| share_calls(profile, priority, view.limit).saturating_sub(view.used);
        let org = self.used().map(room)?;
        Some(self.used_by_app().map(room).map_or(org, |app| app.min(org)))
    }

    /// When `priority` may about go on; `None` while it may go now.
    pub(super) fn waits_until(
        &self,
        now: Duration,
        profile: &LimitProfile,
        priority: Priority,
    ) -> Option<Duration> {
        if self.is_closed(profile, priority) {
            let probe_at = self.probe_at[priority.index()];
            let next_probe = if self.probe.is_some() { now } else { probe_at.max(now) };
            return Some(self.expected_room(profile, priority).map_or(next_probe, |at| at.max(next_probe)));
        }
        match self.verdict(now, profile, priority) {
            QuotaVerdict::Paced(at) => Some(at),
            _ => None,
        }
    }

    pub(super) fn shares(&self, profile: &LimitProfile) -> [ShareView; 3] {
        Priority::ALL.map(|priority| ShareView {
            priority,
            share: share_of(profile, priority),
            room: self.headroom(profile, priority),
            closed: self.is_closed(profile, priority),
        })
    }

    pub(super) fn memory(&self, now: Duration) -> QuotaMemory {
        QuotaMemory {
            org: self.used(),
            app: self.used_by_app(),
            exhausted: self.exhausted,
            probe_in_secs: self.probe_at.map(|at| at.saturating_sub(now).as_secs()),
            window_left_secs: self.window_end.saturating_sub(now).as_secs(),
            growth: self.ledger.ages(now),
        }
    }

    /// Takes over what an earlier process knew `passed` ago. Older than the window, it means nothing any more.
    pub(super) fn recall(
        &mut self,
        now: Duration,
        passed: Duration,
        memory: &QuotaMemory,
        profile: &LimitProfile,
    ) {
        if passed >= Duration::from_secs(profile.quota_window_secs) {
            return;
        }
        let left = |secs: u64| now + Duration::from_secs(secs).saturating_sub(passed);
        (self.org, self.app, self.exhausted) = (memory.org, memory.app, memory.exhausted);
        self.ledger = Ledger::from_ages(now, passed, &memory.growth);
        self.probe_at = memory.probe_in_secs.map(left);
        let window = Duration::from_secs(profile.quota_window_secs);
        self.window_end = left(memory.window_left_secs);
        if self.window_end <= now {
            self.window_end = now + window;
        }
    }

    fn forget_pause(&mut self, profile: &LimitProfile, priority: Priority) {
        self.probe_pause[priority.index()] = Duration::from_secs(profile.quota_probe_secs);
    }

    fn set_next_probe(&mut self, now: Duration, profile: &LimitProfile, priority: Priority) {
        let pause = self.probe_pause[priority.index()];
        // A probe through a gate that its share has closed is charged: as few of them as will do.
        let expected = self.expected_room(profile, priority).filter(|_| !self.exhausted);
        let longest = now + SHARE_PROBE_MAX.max(pause);
        let at = expected.map_or(now + pause, |at| at.clamp(now + pause, longest));
        self.probe_at[priority.index()] = at;
    }

    /// About when the org's usage lets `priority` make a call again.
    fn expected_room(&self, profile: &LimitProfile, priority: Priority) -> Option<Duration> {
        let view = self.used()?;
        let share = share_calls(profile, priority, view.limit);
        let too_many = (view.used + 1).checked_sub(share)?;
        self.ledger.falls_by(too_many.max(1), profile.quota_window_secs)
    }

    fn is_closed(&self, profile: &LimitProfile, priority: Priority) -> bool {
        self.exhausted || self.is_over_share(profile, priority)
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

fn share_of(profile: &LimitProfile, priority: Priority) -> f64 {
    match priority {
        Priority::Bulk => profile.quota_share_bulk,
        Priority::Normal => profile.quota_share_normal,
        Priority::Interactive => profile.quota_share_interactive,
    }
}

fn share_calls(profile: &LimitProfile, priority: Priority, limit: u64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of an allowance is a small positive number; cutting the fraction is meant"
    )]
    {
        (limit as f64 * share_of(profile, priority)) as u64
    }
}
