//! Decides which request to a model may go now: requests and tokens in a minute, requests under way, and the pauses that the
//! endpoint asks for, as one pure state machine.
//!
//! Promises: no clock is read, nothing sleeps. What a person has set and what the endpoint's headers say is obeyed, whichever
//! is lower; where neither says anything the pace is found out by being turned away. Tokens are reserved by estimate and
//! settled by what was really used. A request that was turned away for the endpoint's own limits has cost no attempt of its
//! lead: it waits here, for as long as it takes, and [`ModelLimiter::snapshot`] says until when and why.

mod headers;
mod pace;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Duration;

pub use headers::{RatesSeen, WindowSeen, duration};
use pace::Pace;
use serde::Serialize;

/// First pause after a refusal that says nothing of when to come back; each further one in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause while it may be that only the minute has to end.
const PAUSE_IN_MINUTE: Duration = Duration::from_secs(4);
/// So many refusals in a row last longer than a minute.
const REFUSALS_IN_MINUTE: u32 = 24;
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Requests under way before the first answer has told what the endpoint allows.
const FIRST_UNDER_WAY: u32 = 4;
/// First pause after the account's money has run out: a person has to do something.
const FIRST_QUOTA_PAUSE: Duration = Duration::from_secs(60);
/// Longest such pause.
const LONGEST_QUOTA_PAUSE: Duration = Duration::from_secs(600);
/// Failures of the endpoint or the network in a row after which requests pause.
const FAILURES_IN_ROW: u32 = 5;
/// First pause after so many failures.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// What a person allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelLimits {
    /// Requests in a minute; `None`: what the endpoint says.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens in a minute; `None`: what the endpoint says.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Requests under way at once.
    pub concurrency: NonZeroU32,
}

/// Leave to send one request. It goes back by [`ModelLimiter::settle`] or [`ModelLimiter::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit holds a place until it is settled or cancelled"]
pub struct ModelPermit {
    granted_at: Duration,
    tokens: u64,
    is_probe: bool,
}

impl ModelPermit {
    /// When it was granted.
    pub fn granted_at(&self) -> Duration {
        self.granted_at
    }
}

/// What holds requests up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelWait {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Requests under way.
    Concurrency,
    /// The endpoint turned a request away for its rate.
    Throttled,
    /// The endpoint says that the account's money is spent.
    QuotaSpent,
    /// The endpoint or the way to it fails again and again.
    Failing,
    /// After a pause one request goes ahead of the others; its answer is awaited.
    Probing,
}

impl ModelWait {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Requests,
        Self::Tokens,
        Self::Concurrency,
        Self::Throttled,
        Self::QuotaSpent,
        Self::Failing,
        Self::Probing,
    ];

    /// The name used in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
            Self::Throttled => "throttled",
            Self::QuotaSpent => "quota_spent",
            Self::Failing => "failing",
            Self::Probing => "probing",
        }
    }
}

/// The limiter's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum ModelVerdict {
    /// Go.
    Grant(ModelPermit),
    /// Not now.
    Wait {
        /// When to ask again; `None`: when a request has ended. Ask then as well where a time is given: it may be sooner.
        until: Option<Duration>,
        /// What holds it up.
        why: ModelWait,
    },
}

/// Which limit a refusal speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottledBy {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// It does not say.
    #[default]
    Unknown,
}

/// How a request ended, as far as the limiter is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelOutcome {
    /// Answered, to the point or not: the endpoint did its work.
    Answered,
    /// Turned away for the rate.
    Throttled(ThrottledBy),
    /// Turned away because the account's money is spent.
    QuotaSpent,
    /// The endpoint failed, or did not answer.
    Failed,
    /// Refused for what it is; says nothing about load.
    Refused,
}

/// What an ended request told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelCallSeen {
    /// How it ended.
    pub outcome: ModelOutcome,
    /// Tokens used, where the endpoint says it.
    pub tokens_used: Option<u64>,
    /// What the headers say.
    pub rates: RatesSeen,
}

/// Figures for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ModelLimiterSnapshot {
    /// Requests a second that may go; `None`: no bound is known.
    pub requests_per_sec: Option<f64>,
    /// Tokens a second that may go; `None`: no bound is known.
    pub tokens_per_sec: Option<f64>,
    /// Requests under way.
    pub in_flight: u32,
    /// Requests that may be under way.
    pub concurrency: u32,
    /// Requests granted so far.
    pub granted: u64,
    /// Of these, turned away for the endpoint's limits.
    pub throttled: u64,
    /// Times the pace was cut.
    pub cuts: u64,
    /// Nothing goes before this time, on the clock that time came in by.
    pub paused_until: Option<Duration>,
    /// Why.
    pub paused_for: Option<ModelWait>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    began: Duration,
    until: Duration,
    why: ModelWait,
}

/// The limits of one endpoint.
#[derive(Debug, Clone)]
pub struct ModelLimiter {
    concurrency: u32,
    requests: Pace,
    tokens: Pace,
    in_flight: u32,
    pause: Option<Pause>,
    /// After a pause: one request goes ahead.
    is_probing: bool,
    probe_is_out: bool,
    has_answered: bool,
    throttled_in_row: u32,
    spent_in_row: u32,
    failed_in_row: u32,
    granted: u64,
    throttled: u64,
}

impl ModelLimiter {
    /// One that has seen nothing yet, made when its clock stood at `now`.
    pub fn starting_at(now: Duration, limits: ModelLimits) -> Self {
        Self {
            concurrency: limits.concurrency.get(),
            requests: Pace::starting_at(now, limits.requests_per_minute.map(NonZeroU32::get)),
            tokens: Pace::starting_at(now, limits.tokens_per_minute.map(NonZeroU32::get)),
            in_flight: 0,
            pause: None,
            is_probing: false,
            probe_is_out: false,
            has_answered: false,
            throttled_in_row: 0,
            spent_in_row: 0,
            failed_in_row: 0,
            granted: 0,
            throttled: 0,
        }
    }

    /// May a request of about `tokens` (its question and the longest answer) go at `now`?
    pub fn ask(&mut self, now: Duration, tokens: u64) -> ModelVerdict {
        let wait = |until, why| ModelVerdict::Wait { until, why };
        if let Some(pause) = self.pause.filter(|pause| now < pause.until) {
            return wait(Some(pause.until), pause.why);
        }
        if self.is_probing && self.probe_is_out {
            return wait(None, ModelWait::Probing);
        }
        if self.in_flight >= self.room() {
            return wait(None, ModelWait::Concurrency);
        }
        let amount = tokens as f64;
        if let Some(at) = self.requests.wait(now, 1.0) {
            return wait(Some(at), ModelWait::Requests);
        }
        if let Some(at) = self.tokens.wait(now, amount) {
            return wait(Some(at), ModelWait::Tokens);
        }
        self.requests.spend(1.0);
        self.tokens.spend(amount);
        self.in_flight += 1;
        self.granted += 1;
        self.probe_is_out = self.is_probing;
        ModelVerdict::Grant(ModelPermit { granted_at: now, tokens, is_probe: self.is_probing })
    }

    /// A request has ended; gives its place back and learns from it.
    pub fn settle(&mut self, now: Duration, permit: ModelPermit, seen: &ModelCallSeen) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.settle_tokens(now, &permit, seen);
        if let Some(limit) = seen.rates.requests.limit {
            self.requests.tell(now, limit);
        }
        if let Some(limit) = seen.rates.tokens.limit {
            self.tokens.tell(now, limit);
        }
        if let Some(left) = seen.rates.requests.remaining {
            self.requests.see_left(now, left as f64);
        }
        if let Some(left) = seen.rates.tokens.remaining {
            self.tokens.see_left(now, left as f64);
        }
        // Sent before the pause began, it tells of the time before.
        let is_news = self.pause.is_none_or(|pause| permit.granted_at > pause.began);
        match seen.outcome {
            ModelOutcome::Answered => {
                self.has_answered = true;
                self.requests.count_served(now, 1.0);
                if is_news {
                    (self.throttled_in_row, self.spent_in_row, self.failed_in_row) = (0, 0, 0);
                    self.is_probing = false;
                }
            }
            ModelOutcome::Throttled(by) => {
                self.throttled += 1;
                if is_news {
                    self.throttled_in_row += 1;
                    // Once may be bad luck at the edge; twice in a row is a closed door, and says no more of the pace.
                    self.is_probing = self.throttled_in_row > 1;
                    match by {
                        _ if self.is_probing => {}
                        ThrottledBy::Tokens => self.tokens.cut(now),
                        ThrottledBy::Requests | ThrottledBy::Unknown => self.requests.cut(now),
                    }
                    let pause = match self.throttled_in_row.checked_sub(REFUSALS_IN_MINUTE) {
                        None | Some(0) => doubled(FIRST_PAUSE, self.throttled_in_row, PAUSE_IN_MINUTE),
                        Some(times) => doubled(PAUSE_IN_MINUTE * 2, times, LONGEST_PAUSE),
                    };
                    self.pause_for(now, seen.rates.retry_after.unwrap_or(pause), ModelWait::Throttled);
                } else if let Some(wait) = seen.rates.retry_after {
                    self.pause_for(now, wait, ModelWait::Throttled);
                }
            }
            ModelOutcome::QuotaSpent => {
                self.throttled += 1;
                if is_news {
                    self.spent_in_row += 1;
                    self.is_probing = true;
                    let pause = doubled(FIRST_QUOTA_PAUSE, self.spent_in_row, LONGEST_QUOTA_PAUSE);
                    let asked = seen.rates.retry_after.unwrap_or_default();
                    self.pause_for(now, pause.max(asked), ModelWait::QuotaSpent);
                }
            }
            ModelOutcome::Failed => {
                if let Some(wait) = seen.rates.retry_after {
                    self.pause_for(now, wait, ModelWait::Failing);
                }
                if is_news {
                    self.failed_in_row += 1;
                    if self.failed_in_row >= FAILURES_IN_ROW {
                        self.is_probing = true;
                        let times = self.failed_in_row - FAILURES_IN_ROW + 1;
                        let pause = doubled(FIRST_FAILURE_PAUSE, times, LONGEST_FAILURE_PAUSE);
                        self.pause_for(now, pause, ModelWait::Failing);
                    }
                }
            }
            // Whoever looks at a request closely enough to refuse it for what it is has let it in.
            ModelOutcome::Refused => {
                self.has_answered = true;
                if is_news {
                    (self.throttled_in_row, self.spent_in_row, self.failed_in_row) = (0, 0, 0);
                    self.is_probing = false;
                }
            }
        }
        if permit.is_probe {
            self.probe_is_out = false;
        }
    }

    /// A granted request was not sent, or nobody waits for its answer any more: nothing is known of it.
    ///
    /// What it used is not known: its tokens stay reserved.
    pub fn cancel(&mut self, permit: ModelPermit) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if permit.is_probe {
            self.probe_is_out = false;
        }
    }

    /// Figures for status and metrics.
    pub fn snapshot(&self, now: Duration) -> ModelLimiterSnapshot {
        let pause = self.pause.filter(|pause| now < pause.until);
        ModelLimiterSnapshot {
            requests_per_sec: self.requests.per_sec(),
            tokens_per_sec: self.tokens.per_sec(),
            in_flight: self.in_flight,
            concurrency: self.concurrency,
            granted: self.granted,
            throttled: self.throttled,
            cuts: self.requests.cuts() + self.tokens.cuts(),
            paused_until: pause.map(|pause| pause.until),
            paused_for: pause.map(|pause| pause.why),
        }
    }

    fn room(&self) -> u32 {
        if self.has_answered { self.concurrency } else { self.concurrency.min(FIRST_UNDER_WAY) }
    }

    fn settle_tokens(&mut self, now: Duration, permit: &ModelPermit, seen: &ModelCallSeen) {
        let reserved = permit.tokens as f64;
        let used = match (seen.tokens_used, seen.outcome) {
            (Some(used), _) => used as f64,
            // Turned away before any token was made.
            (None, ModelOutcome::Throttled(_) | ModelOutcome::QuotaSpent | ModelOutcome::Refused) => 0.0,
            (None, ModelOutcome::Answered | ModelOutcome::Failed) => reserved,
        };
        self.tokens.give_back(now, reserved - used);
        self.tokens.count_served(now, used);
    }

    fn pause_for(&mut self, now: Duration, wait: Duration, why: ModelWait) {
        let until = now.saturating_add(wait);
        match &mut self.pause {
            Some(pause) if now < pause.until => {
                if until > pause.until {
                    (pause.until, pause.why) = (until, why);
                }
            }
            _ => self.pause = Some(Pause { began: now, until, why }),
        }
    }
}

/// `first`, doubled for each time after the first, at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(longest)
}
