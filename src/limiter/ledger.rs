//! When calls of the rolling day were made, as far as can be told: from it follows when room comes back.
//!
//! The org tells how many calls were used, never when, and its window rolls. What grows between two answers was used
//! between them; what was used before the first answer is taken to be spread evenly over the day. So the ledger's times are
//! estimates, good enough to tell a person and to choose the next probe; only an answer opens the gate.

use std::collections::VecDeque;
use std::time::Duration;

/// Parts of the window.
const BINS: u64 = 24;
/// Parts kept: a window that does not roll as it should must not make the ledger grow.
const BINS_KEPT: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bin {
    /// Start, in seconds of the limiter's clock; below zero where it lies before the clock's start.
    at: i64,
    calls: u64,
}

/// The calls of one window, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    bins: VecDeque<Bin>,
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn bin_secs(window_secs: u64) -> i64 {
    i64::try_from((window_secs / BINS).max(1)).unwrap_or(i64::MAX)
}

impl Ledger {
    fn total(&self) -> u64 {
        self.bins.iter().map(|bin| bin.calls).sum()
    }

    /// The org said that `used` calls are in the window.
    pub(super) fn see(&mut self, now: Duration, used: u64, window_secs: u64) {
        let (now, length) = (seconds(now), bin_secs(window_secs));
        let current = now - now.rem_euclid(length);
        if self.bins.is_empty() {
            let each = used / BINS;
            for age in (1..=BINS).rev() {
                let calls = if age == 1 { used - each * (BINS - 1) } else { each };
                let age = i64::try_from(age).unwrap_or_default();
                self.bins.push_back(Bin { at: current - age * length, calls });
            }
            return;
        }
        let known = self.total();
        if let Some(more) = used.checked_sub(known).filter(|more| *more > 0) {
            match self.bins.back_mut() {
                Some(last) if last.at >= current => last.calls += more,
                _ => self.bins.push_back(Bin { at: current, calls: more }),
            }
        }
        while self.bins.len() > BINS_KEPT
            && let Some(oldest) = self.bins.pop_front()
            && let Some(next) = self.bins.front_mut()
        {
            next.calls += oldest.calls;
        }
        let mut gone = known.saturating_sub(used);
        for bin in &mut self.bins {
            let of_this = gone.min(bin.calls);
            bin.calls -= of_this;
            gone -= of_this;
        }
        // The last one stays, empty or not: an empty ledger is one that has seen nothing.
        while self.bins.len() > 1 && self.bins.front().is_some_and(|oldest| oldest.calls == 0) {
            self.bins.pop_front();
        }
    }

    /// About when `calls` fewer will be in the window; `None` when it does not hold so many.
    pub(super) fn falls_by(&self, calls: u64, window_secs: u64) -> Option<Duration> {
        let (length, window) = (bin_secs(window_secs), i64::try_from(window_secs).unwrap_or(i64::MAX));
        let mut left = calls;
        for bin in self.bins.iter().filter(|bin| bin.calls > 0) {
            if bin.calls >= left {
                let (share, whole) = (i128::from(left), i128::from(bin.calls));
                let into = i64::try_from(i128::from(length) * share / whole).unwrap_or(length);
                let at = bin.at.saturating_add(window).saturating_add(into);
                return Some(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
            }
            left -= bin.calls;
        }
        None
    }

    /// Ages in seconds and calls, for keeping.
    pub(super) fn ages(&self, now: Duration) -> Vec<(i64, u64)> {
        self.bins.iter().map(|bin| (seconds(now) - bin.at, bin.calls)).collect()
    }

    /// What [`Ledger::ages`] gave, `passed` later.
    pub(super) fn from_ages(now: Duration, passed: Duration, ages: &[(i64, u64)]) -> Self {
        let at = |age: i64| seconds(now).saturating_sub(seconds(passed)).saturating_sub(age);
        Self { bins: ages.iter().map(|(age, calls)| Bin { at: at(*age), calls: *calls }).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400;
    const HOUR: u64 = 3_600;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * HOUR)
    }

    #[test]
    fn calls_leave_the_window_a_day_after_they_were_made() {
        let mut ledger = Ledger::default();
        ledger.see(hours(0), 0, DAY);
        ledger.see(hours(2), 100, DAY);
        ledger.see(hours(5), 150, DAY);
        assert_eq!(ledger.falls_by(50, DAY), Some(Duration::from_secs(26 * HOUR + HOUR / 2)));
        assert_eq!(ledger.falls_by(100, DAY), Some(hours(27)));
        assert_eq!(ledger.falls_by(150, DAY), Some(hours(30)));
        assert_eq!(ledger.falls_by(151, DAY), None);
    }

    #[test]
    fn what_was_used_before_the_first_answer_leaves_evenly() {
        let mut ledger = Ledger::default();
        ledger.see(hours(0), 2_400, DAY);
        let half = ledger.falls_by(1_200, DAY).unwrap();
        assert!((hours(11)..=hours(13)).contains(&half), "{half:?}");
    }

    #[test]
    fn a_reset_empties_it_and_what_comes_then_is_new() {
        let mut ledger = Ledger::default();
        ledger.see(hours(0), 2_400, DAY);
        ledger.see(hours(3), 0, DAY);
        ledger.see(hours(4), 10, DAY);
        assert_eq!(ledger.falls_by(10, DAY), Some(hours(29)));
    }

    proptest! {
        #[test]
        fn it_holds_what_the_org_said_and_survives_being_kept(
            seen in prop::collection::vec((0u64..50_000, 0u64..20_000), 1..50),
            passed in 0u64..80_000,
        ) {
            let (mut ledger, mut now) = (Ledger::default(), Duration::ZERO);
            for (later, used) in seen {
                now += Duration::from_secs(later);
                ledger.see(now, used, DAY);
                prop_assert_eq!(ledger.total(), used);
                prop_assert!(ledger.bins.len() <= BINS_KEPT);
            }
            let passed = Duration::from_secs(passed);
            let kept = Ledger::from_ages(Duration::from_secs(7), passed, &ledger.ages(now));
            prop_assert_eq!(kept.total(), ledger.total());
            prop_assert_eq!(&Ledger::from_ages(now, Duration::ZERO, &ledger.ages(now)), &ledger);
        }
    }
}
