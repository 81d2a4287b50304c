//! A circuit breaker: when one part of an org fails call after call, it is left alone for a while.
//!
//! Promises: pure, time comes in. *Closed*, every call goes and its end is counted. *Open*, none goes until the pause is
//! over. *Half-open*, one call goes as a probe and the others wait for its end: answered, the breaker closes; failed, it
//! opens again for twice as long.
//!
//! Only failures of the server open it: too busy, a status from 500 up, no answer. A throttle is the rate's affair, and a
//! 4xx is an answer. Ends of calls that were sent before the breaker opened say nothing new and are ignored, so a burst
//! that fails together opens it once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CallOutcome;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerProfile {
    /// So many failures in a row open it. A deploy or a failover answers nothing but errors; single errors are common.
    pub failures_in_row: u32,
    /// Or this share of failures among the calls of the window (0 to 1): half of all calls is no accident any more.
    pub failure_ratio: f64,
    /// Calls that the window must hold before the share counts: of few calls, half is an accident.
    pub calls_min: u32,
    /// Length of the window, in seconds.
    pub window_secs: u64,
    /// First pause of an open breaker, in seconds: most outages of this kind are over after a few.
    pub open_secs: u64,
    /// Longest pause, in seconds; a failed probe doubles the pause up to it.
    pub open_max_secs: u64,
}

impl Default for BreakerProfile {
    fn default() -> Self {
        Self {
            failures_in_row: 10,
            failure_ratio: 0.5,
            calls_min: 20,
            window_secs: 30,
            open_secs: 5,
            open_max_secs: 120,
        }
    }
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go.
    Closed,
    /// No call goes.
    Open,
    /// One call goes, as a probe.
    HalfOpen,
}

impl BreakerState {
    /// Every state, the good one first.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name used in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker's answer to a call that wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerVerdict {
    /// It may go; say so with [`CircuitBreaker::started`] once it does.
    Go,
    /// A probe is under way: ask again when it has ended.
    AwaitProbe,
    /// Not before this time.
    Refuse {
        /// When a probe may go.
        retry_at: Duration,
    },
}

/// What an ended call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// Nothing.
    None,
    /// It opened, or a failed probe opened it again.
    Opened,
    /// A probe was answered.
    Closed,
}

/// The breaker of one part of one org.
#[derive(Debug, Clone, Default)]
pub struct CircuitBreaker {
    phase: Phase,
    window: Window,
    failures_in_row: u32,
    /// The pause that the next opening takes over from, doubled by each failed probe.
    pause: Duration,
    /// Ends of calls that were sent up to here are old news.
    changed_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    Probing {
        since: Duration,
    },
}

impl CircuitBreaker {
    /// A closed breaker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// May a call go at `now`? Changes nothing.
    pub fn verdict(&self, now: Duration) -> BreakerVerdict {
        match self.phase {
            Phase::Closed => BreakerVerdict::Go,
            Phase::Open { until } if now >= until => BreakerVerdict::Go,
            Phase::Open { until } => BreakerVerdict::Refuse { retry_at: until },
            Phase::Probing { .. } => BreakerVerdict::AwaitProbe,
        }
    }

    /// A call goes at `now`; it was told [`BreakerVerdict::Go`].
    pub fn started(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Open { .. }) {
            self.phase = Phase::Probing { since: now };
        }
    }

    /// A call that was sent at `started_at` has ended.
    pub fn ended(
        &mut self,
        now: Duration,
        started_at: Duration,
        outcome: CallOutcome,
        profile: &BreakerProfile,
    ) -> BreakerChange {
        let failed = is_servers_failure(outcome);
        match self.phase {
            Phase::Probing { since } if started_at >= since => {
                if failed {
                    self.open(now, profile);
                    return BreakerChange::Opened;
                }
                *self = Self { changed_at: Some(since), ..Self::default() };
                BreakerChange::Closed
            }
            Phase::Closed if self.changed_at.is_none_or(|changed| started_at >= changed) => {
                self.failures_in_row = if failed { self.failures_in_row + 1 } else { 0 };
                let (calls, failures) = self.window.count(now, failed, profile);
                let ratio = f64::from(failures) / f64::from(calls.max(1));
                let many = calls >= profile.calls_min && ratio >= profile.failure_ratio;
                if failed && (self.failures_in_row >= profile.failures_in_row || many) {
                    self.open(now, profile);
                    return BreakerChange::Opened;
                }
                BreakerChange::None
            }
            _ => BreakerChange::None,
        }
    }

    /// A call that was sent at `started_at` was cancelled: nothing is known, and another may probe.
    pub fn cancelled(&mut self, started_at: Duration) {
        if let Phase::Probing { since } = self.phase
            && started_at >= since
        {
            self.phase = Phase::Open { until: since };
        }
    }

    /// What it does at `now`.
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Duration, profile: &BreakerProfile) {
        let longest = Duration::from_secs(profile.open_max_secs.max(profile.open_secs));
        let pause = (self.pause * 2).clamp(Duration::from_secs(profile.open_secs), longest);
        let until = now + pause;
        *self = Self { phase: Phase::Open { until }, pause, changed_at: Some(now), ..Self::default() };
    }
}

/// The server's own failure, as far as the outcome tells.
fn is_servers_failure(outcome: CallOutcome) -> bool {
    match outcome {
        CallOutcome::ServerBusy | CallOutcome::ServerError | CallOutcome::Network => true,
        CallOutcome::Ok | CallOutcome::Throttled { .. } | CallOutcome::Unauthorized | CallOutcome::Failed => {
            false
        }
    }
}

/// Calls and failures of the last seconds, in ten parts that are dropped one by one.
#[derive(Debug, Clone, Default)]
struct Window {
    parts: [Part; Window::PARTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    number: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    const PARTS: usize = 10;

    /// Counts a call; returns the window's calls and failures.
    fn count(&mut self, now: Duration, failed: bool, profile: &BreakerProfile) -> (u32, u32) {
        let part_millis = (profile.window_secs.max(1) * 1_000 / Self::PARTS as u64).max(1);
        let number = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / part_millis;
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below ten")]
        let part = &mut self.parts[(number % Self::PARTS as u64) as usize];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part.calls += 1;
        part.failures += u32::from(failed);
        let oldest = number.saturating_sub(Self::PARTS as u64 - 1);
        let live = self.parts.iter().filter(|part| part.number >= oldest && part.number <= number);
        live.fold((0, 0), |(calls, failures), part| (calls + part.calls, failures + part.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ThrottleKind;
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const FIRST_PAUSE: Duration = Duration::from_secs(5);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A breaker that ten failures have opened at second 1.
    fn opened() -> (CircuitBreaker, BreakerProfile) {
        let (mut breaker, profile) = (CircuitBreaker::new(), BreakerProfile::default());
        let changes: Vec<_> =
            (0..10).map(|_| breaker.ended(secs(1), secs(0), CallOutcome::Network, &profile)).collect();
        assert_eq!(changes.iter().filter(|change| **change == BreakerChange::Opened).count(), 1);
        (breaker, profile)
    }

    #[rstest]
    #[case::busy(CallOutcome::ServerBusy, true)]
    #[case::five_hundred(CallOutcome::ServerError, true)]
    #[case::network(CallOutcome::Network, true)]
    #[case::throttled(CallOutcome::Throttled { kind: ThrottleKind::Rate }, false)]
    #[case::spent(CallOutcome::Throttled { kind: ThrottleKind::Daily }, false)]
    #[case::four_hundred(CallOutcome::Failed, false)]
    #[case::unauthorized(CallOutcome::Unauthorized, false)]
    #[case::ok(CallOutcome::Ok, false)]
    fn only_failures_of_the_server_open_it(#[case] outcome: CallOutcome, #[case] opens: bool) {
        let (mut breaker, profile) = (CircuitBreaker::new(), BreakerProfile::default());
        for second in 0..100 {
            breaker.ended(secs(second), secs(second), outcome, &profile);
        }
        assert_eq!(breaker.state(secs(100)) != BreakerState::Closed, opens);
    }

    #[test]
    fn open_it_refuses_until_its_pause_is_over_and_then_lets_one_probe_through() {
        let (mut breaker, profile) = opened();
        assert_eq!(breaker.state(secs(1)), BreakerState::Open);
        assert_eq!(breaker.verdict(secs(5)), BreakerVerdict::Refuse { retry_at: secs(6) });
        assert_eq!(breaker.state(secs(6)), BreakerState::HalfOpen);
        assert_eq!(breaker.verdict(secs(6)), BreakerVerdict::Go);
        breaker.started(secs(6));
        assert_eq!(breaker.verdict(secs(6)), BreakerVerdict::AwaitProbe, "one probe only");
        assert_eq!(breaker.ended(secs(7), secs(6), CallOutcome::Ok, &profile), BreakerChange::Closed);
        assert_eq!(breaker.verdict(secs(7)), BreakerVerdict::Go);
        assert_eq!(breaker.state(secs(7)), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_bound_and_a_good_one_forgets_it() {
        let (mut breaker, profile) = opened();
        let mut now = secs(1);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let BreakerVerdict::Refuse { retry_at } = breaker.verdict(now) else { panic!("it is open") };
            pauses.push((retry_at - now).as_secs());
            now = retry_at;
            breaker.started(now);
            assert_eq!(breaker.ended(now, now, CallOutcome::ServerBusy, &profile), BreakerChange::Opened);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 120, 120]);
        let BreakerVerdict::Refuse { retry_at } = breaker.verdict(now) else { panic!("it is open") };
        breaker.started(retry_at);
        breaker.ended(retry_at, retry_at, CallOutcome::Ok, &profile);
        for _ in 0..10 {
            breaker.ended(retry_at, retry_at, CallOutcome::Network, &profile);
        }
        let again = BreakerVerdict::Refuse { retry_at: retry_at + FIRST_PAUSE };
        assert_eq!(breaker.verdict(retry_at), again);
    }

    #[test]
    fn an_answer_of_any_kind_to_the_probe_closes_it() {
        let (mut breaker, profile) = opened();
        breaker.started(secs(6));
        let refused = CallOutcome::Throttled { kind: ThrottleKind::Rate };
        assert_eq!(breaker.ended(secs(7), secs(6), refused, &profile), BreakerChange::Closed);
    }

    #[test]
    fn late_failures_of_the_burst_that_opened_it_change_nothing() {
        let (mut breaker, profile) = opened();
        for second in 2..20 {
            assert_eq!(
                breaker.ended(secs(second), secs(0), CallOutcome::Network, &profile),
                BreakerChange::None
            );
        }
        assert_eq!(breaker.verdict(secs(6)), BreakerVerdict::Go, "the pause was not prolonged");
        breaker.started(secs(6));
        assert_eq!(breaker.ended(secs(7), secs(0), CallOutcome::Network, &profile), BreakerChange::None);
        assert_eq!(breaker.ended(secs(8), secs(6), CallOutcome::Ok, &profile), BreakerChange::Closed);
        for _ in 0..20 {
            breaker.ended(secs(9), secs(0), CallOutcome::Network, &profile);
        }
        assert_eq!(breaker.state(secs(9)), BreakerState::Closed, "nor does it open again for them");
    }

    #[test]
    fn a_cancelled_probe_makes_room_for_another() {
        let (mut breaker, _) = opened();
        breaker.started(secs(6));
        breaker.cancelled(secs(6));
        assert_eq!(breaker.verdict(secs(6)), BreakerVerdict::Go);
    }

    #[test]
    fn half_of_many_calls_opens_it_and_half_of_few_does_not() {
        let (mut breaker, profile) = (CircuitBreaker::new(), BreakerProfile::default());
        let turns = [CallOutcome::Ok, CallOutcome::ServerError];
        for (call, outcome) in turns.into_iter().cycle().take(19).enumerate() {
            breaker.ended(secs(1), secs(1), outcome, &profile);
            assert_eq!(breaker.state(secs(1)), BreakerState::Closed, "after {call}");
        }
        breaker.ended(secs(1), secs(1), CallOutcome::ServerError, &profile);
        assert_eq!(breaker.state(secs(1)), BreakerState::Open);
    }

    #[test]
    fn failures_that_the_window_has_left_behind_do_not_count() {
        let (mut breaker, profile) = (CircuitBreaker::new(), BreakerProfile::default());
        for second in 0..2_000 {
            // One in three fails in the long run, and in every window.
            let outcome = if second % 3 == 0 { CallOutcome::ServerError } else { CallOutcome::Ok };
            breaker.ended(secs(second), secs(second), outcome, &profile);
        }
        assert_eq!(breaker.state(secs(2_000)), BreakerState::Closed);
    }

    proptest! {
        /// Whatever happens: while it is open nothing goes, of those that wait one probes, and an org that answers again is
        /// used again after the longest pause.
        #[test]
        fn it_never_stays_shut_and_never_lets_a_crowd_through(
            steps in prop::collection::vec((0u64..20_000, any::<bool>(), any::<bool>()), 1..300),
        ) {
            let (mut breaker, profile) = (CircuitBreaker::new(), BreakerProfile::default());
            let mut now = Duration::ZERO;
            let mut running: Vec<Duration> = Vec::new();
            for (millis, starts, fails) in steps {
                now += Duration::from_millis(millis);
                if starts && breaker.verdict(now) == BreakerVerdict::Go {
                    let state = breaker.state(now);
                    breaker.started(now);
                    running.push(now);
                    if state == BreakerState::HalfOpen {
                        prop_assert_eq!(breaker.verdict(now), BreakerVerdict::AwaitProbe);
                    }
                } else if let Some(started_at) = running.pop() {
                    let outcome = if fails { CallOutcome::Network } else { CallOutcome::Ok };
                    breaker.ended(now, started_at, outcome, &profile);
                }
                if let BreakerVerdict::Refuse { retry_at } = breaker.verdict(now) {
                    prop_assert!(retry_at > now && retry_at <= now + secs(profile.open_max_secs));
                }
            }
            for started_at in running.drain(..) {
                breaker.cancelled(started_at);
            }
            now += secs(profile.open_max_secs);
            prop_assert_eq!(breaker.verdict(now), BreakerVerdict::Go);
            breaker.started(now);
            breaker.ended(now, now, CallOutcome::Ok, &profile);
            prop_assert_eq!(breaker.state(now), BreakerState::Closed);
        }
    }
}
