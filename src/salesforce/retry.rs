//! When a failed call is made again, and after how long.
//!
//! Full jitter: each wait is drawn evenly from zero to a ceiling that doubles, so that callers who failed
//! together do not come back together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::OrgError;
use crate::limiter::ThrottleKind;

/// Randomness from outside, so that a test's seed replays a run.
pub trait Jitter: Send + Sync {
    /// A number from 0 (inclusive) to 1 (exclusive), evenly spread.
    fn fraction(&self) -> f64;
}

/// A small seeded generator (SplitMix64); good enough to spread waits, not for secrets.
#[derive(Debug)]
pub struct SeededJitter(AtomicU64);

impl SeededJitter {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Jitter for SeededJitter {
    fn fraction(&self) -> f64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let fraction = (z >> 11) as f64 / (1u64 << 53) as f64;
        fraction
    }
}

/// How often and how patiently a call is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls made for one ask, the first included.
    pub attempts_max: u32,
    /// Ceiling of the first wait; doubles each time.
    pub first_wait: Duration,
    /// Ceiling that is not doubled any more.
    pub wait_max: Duration,
    /// A longer `Retry-After` than this is not waited for: the error goes to the caller.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 4,
            first_wait: Duration::from_millis(500),
            wait_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The wait before attempt `attempt + 1`, or `None` when the error should go to the caller.
    /// `attempt` counts from 1; `fraction` comes from a [`Jitter`].
    pub fn wait_after(&self, error: &OrgError, attempt: u32, fraction: f64) -> Option<Duration> {
        let quota_is_spent = error.throttle_kind() == Some(ThrottleKind::Daily);
        // A login has been retried where it was made, a session that was not accepted has been replaced and
        // the call replayed: doing it all again at once would multiply the calls.
        let is_retried_already = matches!(error, OrgError::Login(_) | OrgError::Unauthorized { .. });
        // No call was made, and whoever stands behind this one knows better how to wait than a loop here.
        let was_not_made = matches!(error, OrgError::Gate(_));
        let goes_to_caller = quota_is_spent || is_retried_already || was_not_made;
        if attempt >= self.attempts_max || !error.is_transient() || goes_to_caller {
            return None;
        }
        let asked_for = error.retry_after().unwrap_or_default();
        if asked_for > self.retry_after_max {
            return None;
        }
        let wait = if error.throttle_kind() == Some(ThrottleKind::Concurrent) {
            // Long calls must end before there is room; coming back at once would only be refused again.
            Duration::from_secs(1) + Duration::from_secs(4).mul_f64(fraction)
        } else {
            let doubled = self.first_wait.saturating_mul(1u32 << (attempt - 1).min(20));
            doubled.min(self.wait_max).mul_f64(fraction)
        };
        Some(wait.max(asked_for))
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::{Api, GateError};
    use super::*;
    use rstest::rstest;

    fn busy(retry_after: Option<u64>) -> OrgError {
        let retry_after = retry_after.map(Duration::from_secs);
        OrgError::Busy { status: 503, overloaded: true, message: String::new(), retry_after }
    }

    fn throttled(kind: ThrottleKind) -> OrgError {
        OrgError::Throttled { kind, message: String::new(), retry_after: None }
    }

    fn shut() -> OrgError {
        let (org, retry_after) = ("acme".parse().unwrap(), Duration::from_secs(5));
        OrgError::Gate(GateError::CircuitOpen { org, api: Api::Rest, retry_after })
    }

    fn rejected() -> OrgError {
        OrgError::Rejected { status: 400, code: String::new(), message: String::new() }
    }

    #[rstest]
    #[case::first(busy(None), 1, Some(250))]
    #[case::doubles(busy(None), 2, Some(500))]
    #[case::third(busy(None), 3, Some(1_000))]
    #[case::spent(busy(None), 4, None)]
    #[case::asked_for(busy(Some(9)), 1, Some(9_000))]
    #[case::asked_for_too_much(busy(Some(61)), 1, None)]
    #[case::daily(throttled(ThrottleKind::Daily), 1, None)]
    #[case::concurrent(throttled(ThrottleKind::Concurrent), 1, Some(3_000))]
    #[case::rate(throttled(ThrottleKind::Rate), 1, Some(250))]
    #[case::breaker(shut(), 1, None)]
    #[case::permanent(rejected(), 1, None)]
    fn the_error_and_the_attempt_decide_on_the_wait(
        #[case] error: OrgError,
        #[case] attempt: u32,
        #[case] millis: Option<u64>,
    ) {
        let wait = RetryPolicy::default().wait_after(&error, attempt, 0.5);
        assert_eq!(wait, millis.map(Duration::from_millis));
    }

    #[test]
    fn jitter_is_spread_over_its_whole_range_and_replays() {
        let (one, same) = (SeededJitter::new(7), SeededJitter::new(7));
        let drawn: Vec<f64> = (0..10_000).map(|_| one.fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!(drawn.iter().all(|fraction| (same.fraction() - fraction).abs() < f64::EPSILON));
    }
}
