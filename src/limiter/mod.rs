//! Decides which call to an org may go now: three gates in a row, as one pure state machine.
//!
//! Promises: no clock is read, nothing sleeps, nothing is shared. Time comes in as the time since the
//! caller's clock started; a decision comes out. The rate-limiter actor owns one [`Limiter`] an org,
//! queues whoever must wait, and asks again when told to.
//!
//! 1. *quota*: the org's daily allowance, with a share for each priority;
//! 2. *rate*: adaptive, by additive increase and multiplicative decrease;
//! 3. *concurrency*: calls in flight, halved when the org says that too many run.
//!
//! Latency is never a gate: it varies by the shape of a query, not by load.

mod breaker;
mod concurrency;
mod forecast;
mod ledger;
pub mod model;
mod profile;
mod quota;
mod rate;
mod retry_budget;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use breaker::{BreakerChange, BreakerProfile, BreakerState, BreakerVerdict, CircuitBreaker};
pub use forecast::Forecast;
pub use profile::LimitProfile;
pub use quota::QuotaMemory;
pub use retry_budget::{RetryBudget, RetryCause};
use serde::{Deserialize, Serialize};

use concurrency::ConcurrencyGate;
use quota::{QuotaGate, QuotaVerdict};
use rate::RateGate;

/// Who asks; decides the share of the daily allowance and the order among waiting calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person waits for the answer.
    Interactive,
    /// A scheduled job.
    Normal,
    /// Background work that may wait until tomorrow.
    Bulk,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Normal, Self::Bulk];

    /// The name used in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }

    /// Position in [`Priority::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The org's own words about its daily allowance, from `Sforce-Limit-Info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaSeen {
    /// Calls used in the rolling 24 hours.
    pub used: u64,
    /// Calls allowed in them.
    pub limit: u64,
}

/// All that one `Sforce-Limit-Info` header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSeen {
    /// The org's allowance, shared by everybody.
    pub org: QuotaSeen,
    /// The allowance of this app, where the org has given it one of its own.
    pub app: Option<QuotaSeen>,
}

impl From<QuotaSeen> for UsageSeen {
    fn from(org: QuotaSeen) -> Self {
        Self { org, app: None }
    }
}

/// A priority's share of the daily allowance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShareView {
    /// Whose.
    pub priority: Priority,
    /// The share at which it stops (0 to 1).
    pub share: f64,
    /// Calls left before it; `None` before the org has told.
    pub room: Option<u64>,
    /// Nothing is left to this priority now.
    pub closed: bool,
}

/// Which limit a refused call ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleKind {
    /// The daily allowance is used up.
    Daily,
    /// Too many long calls run at once.
    Concurrent,
    /// Too many calls in a short time.
    Rate,
}

/// How a call ended, as far as the limiter is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// Served.
    Ok,
    /// Refused by a limit.
    Throttled {
        /// Which limit.
        kind: ThrottleKind,
    },
    /// The server said that it was too busy.
    ServerBusy,
    /// The server failed by itself: a status from 500 up that does not speak of load.
    ServerError,
    /// The session was not accepted; no sign of load.
    Unauthorized,
    /// Answered with an error that says nothing about load.
    Failed,
    /// No answer.
    Network,
}

impl CallOutcome {
    /// Every value that [`CallOutcome::label`] may return.
    pub const LABELS: [&'static str; 5] = ["ok", "throttled", "unauthorized", "failed", "network"];

    /// The metric label; a busy server counts as a throttle.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled { .. } | Self::ServerBusy => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Failed | Self::ServerError => "failed",
            Self::Network => "network",
        }
    }
}

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallAsk {
    /// Who asks.
    pub priority: Priority,
    /// Likely to run for 20 s or longer.
    pub expected_long: bool,
    /// Not charged to the daily allowance. Logins are free, and a probing call may need one while the
    /// quota gate is closed.
    pub free_of_quota: bool,
}

/// What an ended call told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSeen {
    /// When the call was granted; a throttle of an old call says nothing new.
    pub started_at: Duration,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The call was not charged to the daily allowance, and tells nothing about it.
    pub free_of_quota: bool,
    /// The usage it carried.
    pub quota: Option<UsageSeen>,
    /// The wait that the org asked for.
    pub retry_after: Option<Duration>,
}

/// The three gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Daily allowance.
    Quota,
    /// Calls per second.
    Rate,
    /// Calls in flight.
    Concurrency,
}

/// The limiter's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go; the call is counted and holds a place until [`Limiter::finished`].
    Grant,
    /// Not now.
    Wait {
        /// When to ask again; `None` means when a call has finished. A finished call may make room sooner
        /// than said here, so ask then as well.
        until: Option<Duration>,
        /// What holds it up.
        gate: GateKind,
    },
    /// Not before `retry_at`, which is minutes away: tell the caller instead of keeping it waiting.
    Refuse {
        /// When asking again may help.
        retry_at: Duration,
        /// What holds it up.
        gate: GateKind,
    },
}

/// Figures for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LimiterSnapshot {
    /// Usage as far as known, own calls since the last header included; `None` before the first header.
    pub quota: Option<QuotaSeen>,
    /// The same of the app's own allowance, where it has one.
    pub app_quota: Option<QuotaSeen>,
    /// The org said that its allowance is used up.
    pub quota_exhausted: bool,
    /// What is left to each priority, the most urgent first.
    pub shares: [ShareView; 3],
    /// Ceiling in calls per second; `None` means no ceiling.
    pub rate_per_sec: Option<f64>,
    /// Times the rate was cut.
    pub rate_cuts: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that may be in flight.
    pub concurrency_limit: u32,
    /// Calls granted so far.
    pub granted: u64,
}

/// A call that must wait longer than this for its pace is told so instead of being kept waiting: it would hold up what other
/// orgs' calls need.
const WAIT_IN_LINE_MAX: Duration = Duration::from_secs(30);

/// The three gates of one org.
#[derive(Debug, Clone)]
pub struct Limiter {
    profile: LimitProfile,
    quota: QuotaGate,
    rate: RateGate,
    concurrency: ConcurrencyGate,
    /// When the gate was last closed by the org: an older call's good answer does not reopen it.
    exhausted_at: Option<Duration>,
    granted: u64,
}

impl Limiter {
    /// A limiter that has seen nothing yet, made when its clock stood at zero.
    pub fn new(profile: LimitProfile) -> Self {
        Self::starting_at(Duration::ZERO, profile)
    }

    /// A limiter that has seen nothing yet, made when its clock stood at `now`.
    pub fn starting_at(now: Duration, profile: LimitProfile) -> Self {
        Self {
            quota: QuotaGate::starting_at(now, &profile),
            rate: RateGate::starting_at(now, &profile),
            concurrency: ConcurrencyGate::new(&profile),
            exhausted_at: None,
            granted: 0,
            profile,
        }
    }

    /// Takes over new figures; usage seen and calls in flight stay counted.
    pub fn set_profile(&mut self, now: Duration, profile: LimitProfile) {
        if profile != self.profile {
            self.rate = RateGate::starting_at(now, &profile);
            self.concurrency = ConcurrencyGate::with_calls_of(&profile, &self.concurrency);
            self.profile = profile;
        }
    }

    /// May this call go at `now`? A grant holds a place until [`Limiter::finished`].
    pub fn ask(&mut self, now: Duration, ask: &CallAsk) -> Verdict {
        if !ask.free_of_quota {
            match self.quota.verdict(now, &self.profile, ask.priority) {
                QuotaVerdict::Open => {}
                QuotaVerdict::Paced(at) if at.saturating_sub(now) <= WAIT_IN_LINE_MAX => {
                    return Verdict::Wait { until: Some(at), gate: GateKind::Quota };
                }
                QuotaVerdict::AwaitProbe => {
                    return Verdict::Wait { until: None, gate: GateKind::Quota };
                }
                QuotaVerdict::Paced(retry_at) => {
                    return Verdict::Refuse { retry_at, gate: GateKind::Quota };
                }
                QuotaVerdict::Closed(retry_at) => {
                    return Verdict::Refuse { retry_at, gate: GateKind::Quota };
                }
            }
        }
        // Concurrency is asked before the rate, so that a call without a place does not use a token up.
        if !self.concurrency.has_room(now, &self.profile, ask.expected_long) {
            let until = self.concurrency.grows_at(&self.profile);
            return Verdict::Wait { until, gate: GateKind::Concurrency };
        }
        if let Some(at) = self.rate.wait(now, &self.profile) {
            return Verdict::Wait { until: Some(at), gate: GateKind::Rate };
        }
        if !ask.free_of_quota {
            self.quota.charge(now, &self.profile, ask.priority);
        }
        self.rate.spend(now);
        self.concurrency.enter(ask.expected_long);
        self.granted += 1;
        Verdict::Grant
    }

    /// Learns from an ended call. Call [`Limiter::finished`] as well.
    pub fn observe(&mut self, now: Duration, seen: &CallSeen) {
        if let Some(quota) = seen.quota {
            let others_in_flight = self.concurrency.in_flight().saturating_sub(1);
            self.quota.see(now, &self.profile, seen.started_at, quota, others_in_flight);
        }
        if !seen.free_of_quota {
            if seen.outcome == CallOutcome::Unauthorized {
                self.quota.probe_was_locked_out(now, seen.started_at);
            }
            self.quota.ended(seen.started_at);
        }
        if let Some(wait) = seen.retry_after {
            self.rate.block(now, wait, &self.profile);
        }
        match seen.outcome {
            CallOutcome::Ok => {
                // A login is served whatever is left.
                if !seen.free_of_quota && self.exhausted_at.is_some_and(|at| seen.started_at >= at) {
                    self.exhausted_at = None;
                    self.quota.reopen(&self.profile);
                }
            }
            CallOutcome::Throttled { kind: ThrottleKind::Daily } => {
                self.exhausted_at = Some(now);
                self.quota.exhaust(now, &self.profile);
            }
            CallOutcome::Throttled { kind: ThrottleKind::Concurrent } => {
                self.concurrency.halve(now, seen.started_at, &self.profile);
            }
            CallOutcome::Throttled { kind: ThrottleKind::Rate } => {
                self.slow_down(now, seen.started_at, self.profile.rate_cut);
            }
            CallOutcome::ServerBusy => self.slow_down(now, seen.started_at, self.profile.rate_cut_busy),
            CallOutcome::ServerError
            | CallOutcome::Unauthorized
            | CallOutcome::Failed
            | CallOutcome::Network => {}
        }
    }

    /// A granted call is over, whatever came of it, and gives its place back.
    pub fn finished(&mut self, ask: &CallAsk) {
        self.concurrency.leave(ask.expected_long);
    }

    /// A call that was granted at `started_at` was cancelled: nothing is known of it. Call [`Limiter::finished`] as well.
    pub fn cancelled(&mut self, started_at: Duration) {
        self.quota.ended(started_at);
    }

    /// When `priority` may about go on, as far as the daily allowance is concerned; `None` while it may go now.
    pub fn waits_until(&self, now: Duration, priority: Priority) -> Option<Duration> {
        self.quota.waits_until(now, &self.profile, priority)
    }

    /// What a job of so many calls looks like beside what is left.
    pub fn forecast(&self, priority: Priority, calls: u64) -> Forecast {
        let usage = [self.quota.used(), self.quota.used_by_app()].into_iter().flatten();
        let tightest = usage.min_by_key(|seen| seen.limit.saturating_sub(seen.used));
        Forecast::new(calls, priority, tightest, self.headroom(priority))
    }

    /// What should outlive the process.
    pub fn memory(&self, now: Duration) -> QuotaMemory {
        self.quota.memory(now)
    }

    /// Takes over what an earlier process knew `passed` ago.
    pub fn recall(&mut self, now: Duration, passed: Duration, memory: &QuotaMemory) {
        self.quota.recall(now, passed, memory, &self.profile);
        if self.quota.is_exhausted() {
            self.exhausted_at = Some(now);
        }
    }

    /// Announces how many calls of `priority` are still to come. Once they do not fit into that
    /// priority's share, they are spread evenly over what is left of the window.
    pub fn set_forecast(&mut self, priority: Priority, calls: u64) {
        self.quota.set_forecast(priority, calls);
    }

    /// Calls that `priority` may still make before it reaches its share; `None` before the first header.
    pub fn headroom(&self, priority: Priority) -> Option<u64> {
        self.quota.headroom(&self.profile, priority)
    }

    /// Figures for status and metrics.
    pub fn snapshot(&self) -> LimiterSnapshot {
        LimiterSnapshot {
            quota: self.quota.used(),
            app_quota: self.quota.used_by_app(),
            shares: self.quota.shares(&self.profile),
            quota_exhausted: self.quota.is_exhausted(),
            rate_per_sec: self.rate.per_sec(),
            rate_cuts: self.rate.cuts(),
            in_flight: self.concurrency.in_flight(),
            concurrency_limit: self.concurrency.limit(),
            granted: self.granted,
        }
    }

    fn slow_down(&mut self, now: Duration, started_at: Duration, factor: f64) {
        if !self.rate.cut(now, started_at, factor, &self.profile) {
            self.rate.postpone_raise(now, &self.profile);
        }
    }
}
