//! Restart and retry decisions: state and time in, decision out. The whole policy table is here.

use std::collections::VecDeque;
use std::time::Duration;

/// How the engine treats failures.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// Failed attempts of one item at one stage before it becomes a dead letter.
    pub attempts_per_item: u32,
    /// Deaths without a culprit that are repaired within `within`, over all actors together.
    pub restarts: usize,
    /// The window of `restarts`.
    pub within: Duration,
    /// Longest pause before the second restart in a row; doubles from there.
    pub backoff: Duration,
    /// Longest pause of all.
    pub backoff_max: Duration,
    /// No progress for this long makes a handler stuck.
    pub handler_timeout: Duration,
    /// Arbiter threads that may block for good before the process leaves to be restarted.
    pub abandoned_arbiters_max: usize,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            attempts_per_item: 5,
            restarts: 5,
            within: Duration::from_secs(60),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            handler_timeout: Duration::from_secs(120),
            abandoned_arbiters_max: 2,
        }
    }
}

/// What to do about a death that names no culprit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Build a new incarnation after this pause.
    Restart(Duration),
    /// The budget is spent for the first time: pause the sources, stay up to be asked, restart once the window has passed.
    Degrade(Duration),
    /// Spent again: leave with exit code 70, so that the service manager restarts us and the journal replays.
    Leave,
}

/// Counts deaths without a culprit against the policy.
#[derive(Debug, Default)]
pub struct RestartBudget {
    deaths: VecDeque<Duration>,
    overruns: u32,
}

impl RestartBudget {
    /// Charges a death at `now`. `chance` in 0..1 spreads the pause (full jitter).
    pub fn charge(&mut self, policy: &RestartPolicy, now: Duration, chance: f64) -> Verdict {
        while self.deaths.front().is_some_and(|first| now.saturating_sub(*first) > policy.within) {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        let recent = self.deaths.len();
        if recent > policy.restarts {
            self.overruns += 1;
            if self.overruns > 1 {
                return Verdict::Leave;
            }
            self.deaths.clear();
            return Verdict::Degrade(policy.within);
        }
        Verdict::Restart(backoff(policy, recent - 1, chance))
    }

    /// How often the budget was overrun.
    pub fn overruns(&self) -> u32 {
        self.overruns
    }
}

/// Pause before try number `failures + 1`: none before the first repair, then full jitter below a doubling bound.
pub fn backoff(policy: &RestartPolicy, failures: usize, chance: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let bound = policy.backoff.saturating_mul(1 << doublings.min(16)).min(policy.backoff_max);
    bound.mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::first_at_once(0, 0)]
    #[case::second(1, 200)]
    #[case::third_doubles(2, 400)]
    #[case::bounded(30, 30_000)]
    fn the_pause_doubles_to_its_bound(#[case] failures: usize, #[case] bound_ms: u64) {
        let policy = RestartPolicy::default();
        assert_eq!(backoff(&policy, failures, 1.0), Duration::from_millis(bound_ms));
        assert_eq!(backoff(&policy, failures, 0.0), Duration::ZERO, "full jitter reaches down to nothing");
    }

    #[test]
    fn five_deaths_in_a_minute_are_repaired_the_sixth_degrades_and_a_second_overrun_leaves() {
        let policy = RestartPolicy::default();
        let mut budget = RestartBudget::default();
        for _ in 0..5 {
            assert!(matches!(budget.charge(&policy, Duration::from_secs(1), 0.5), Verdict::Restart(_)));
        }
        assert_eq!(budget.charge(&policy, Duration::from_secs(2), 0.5), Verdict::Degrade(policy.within));
        for _ in 0..5 {
            assert!(matches!(budget.charge(&policy, Duration::from_secs(70), 0.5), Verdict::Restart(_)));
        }
        assert_eq!(budget.charge(&policy, Duration::from_secs(71), 0.5), Verdict::Leave);
    }

    #[test]
    fn deaths_older_than_the_window_are_forgiven() {
        let policy = RestartPolicy::default();
        let mut budget = RestartBudget::default();
        for minute in 0..100u64 {
            let verdict = budget.charge(&policy, Duration::from_secs(minute * 20), 0.5);
            assert!(matches!(verdict, Verdict::Restart(_)), "at {minute}");
        }
    }
}
