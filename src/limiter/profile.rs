//! Every constant of the limiter, as one record that the config embeds.
//!
//! Rates are in calls per minute because that is how people speak of them; shares are fractions of the
//! org's daily allowance.

use serde::Deserialize;

use super::BreakerProfile;

/// How one org is treated.
///
/// The two named profiles are [`LimitProfile::auto`], which asks for as much as the org gives, and
/// [`LimitProfile::seed`], which stays inside 50-300 calls a minute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitProfile {
    /// Share of the daily allowance at which bulk work stops (0 to 1).
    pub quota_share_bulk: f64,
    /// Share of the daily allowance at which normal work stops (0 to 1).
    pub quota_share_normal: f64,
    /// Share of the daily allowance at which interactive work stops (0 to 1).
    pub quota_share_interactive: f64,
    /// Seconds before the first probing call through a closed quota gate.
    pub quota_probe_secs: u64,
    /// Longest such pause: it doubles while probe after probe is refused.
    pub quota_probe_max_secs: u64,
    /// Length of the org's rolling allowance window, in seconds; the pace spreads what is left over it.
    pub quota_window_secs: u64,
    /// Calls per minute to start with; absent means no ceiling until the org first throttles.
    pub rate_start_per_min: Option<f64>,
    /// Calls per minute below which the rate is never cut.
    pub rate_min_per_min: f64,
    /// Calls per minute above which the rate is never raised; absent means unbounded.
    pub rate_max_per_min: Option<f64>,
    /// Factor of a cut after a throttled call.
    pub rate_cut: f64,
    /// Factor of a cut after a server that said it was too busy.
    pub rate_cut_busy: f64,
    /// Calls per minute added after each period without a throttle.
    pub rate_raise_per_min: f64,
    /// Seconds of one period: at most one cut and at most one raise in each.
    pub rate_period_secs: u64,
    /// Seconds after a cut before the rate is raised again.
    pub rate_hold_secs: u64,
    /// Seconds of unused rate that may be spent at once; one call always may.
    pub rate_burst_secs: f64,
    /// Calls in flight at once.
    pub concurrency_max: u32,
    /// Calls in flight at once that are expected to last 20 s or longer.
    pub concurrency_long_max: u32,
    /// Seconds without a concurrency error after which one more call may be in flight.
    pub concurrency_regrow_secs: u64,
    /// Longest wait in seconds that a `Retry-After` header may impose.
    pub retry_after_max_secs: u64,
    /// When the circuit breaker of a part of the org opens.
    pub breaker: BreakerProfile,
}

impl LimitProfile {
    /// No rate ceiling until the org throttles; then x0.7 a cut and +0.5 calls a second each second without one.
    pub fn auto() -> Self {
        Self {
            quota_share_bulk: 0.70,
            quota_share_normal: 0.85,
            quota_share_interactive: 0.95,
            quota_probe_secs: 300,
            quota_probe_max_secs: 900,
            quota_window_secs: 86_400,
            rate_start_per_min: None,
            rate_min_per_min: 50.0,
            rate_max_per_min: None,
            rate_cut: 0.7,
            rate_cut_busy: 0.5,
            rate_raise_per_min: 30.0,
            rate_period_secs: 1,
            rate_hold_secs: 2,
            rate_burst_secs: 0.25,
            concurrency_max: 20,
            concurrency_long_max: 5,
            concurrency_regrow_secs: 10,
            retry_after_max_secs: 600,
            breaker: BreakerProfile::default(),
        }
    }

    /// Starts at 200 calls a minute, stays within 50-300, moves once a minute.
    pub fn seed() -> Self {
        Self {
            rate_start_per_min: Some(200.0),
            rate_max_per_min: Some(300.0),
            rate_cut: 0.9,
            rate_raise_per_min: 20.0,
            rate_period_secs: 60,
            rate_hold_secs: 60,
            ..Self::auto()
        }
    }

    /// The same profile for a Developer Edition org, which allows 5 long-running calls instead of 25.
    pub fn for_developer_edition(self) -> Self {
        Self { concurrency_max: 4, concurrency_long_max: self.concurrency_long_max.min(4), ..self }
    }

    /// Every mistake in the figures, as key and complaint; empty when the profile can be used.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut demand = |good: bool, key: &'static str, complaint: String| {
            if !good {
                problems.push((key, complaint));
            }
        };
        let shares = [
            ("quota_share_bulk", self.quota_share_bulk),
            ("quota_share_normal", self.quota_share_normal),
            ("quota_share_interactive", self.quota_share_interactive),
        ];
        for (key, share) in shares {
            demand(share > 0.0 && share <= 1.0, key, format!("{share} is not above 0 and at most 1"));
        }
        for (key, factor) in [("rate_cut", self.rate_cut), ("rate_cut_busy", self.rate_cut_busy)] {
            demand(factor > 0.0 && factor < 1.0, key, format!("{factor} is not between 0 and 1"));
        }
        let positive =
            [("rate_min_per_min", self.rate_min_per_min), ("rate_raise_per_min", self.rate_raise_per_min)];
        for (key, rate) in positive {
            demand(rate > 0.0 && rate.is_finite(), key, format!("{rate} is not a positive rate"));
        }
        let bounded =
            [("rate_start_per_min", self.rate_start_per_min), ("rate_max_per_min", self.rate_max_per_min)];
        for (key, rate) in bounded.into_iter().filter_map(|(key, rate)| rate.map(|rate| (key, rate))) {
            let floor = self.rate_min_per_min;
            demand(rate >= floor, key, format!("{rate} is below `rate_min_per_min` ({floor})"));
        }
        let burst = self.rate_burst_secs;
        demand((0.0..=3_600.0).contains(&burst), "rate_burst_secs", format!("{burst} is not within 0-3600"));
        let ratio = self.breaker.failure_ratio;
        demand(
            ratio > 0.0 && ratio <= 1.0,
            "breaker.failure_ratio",
            format!("{ratio} is not above 0 and at most 1"),
        );
        let counts = [
            ("quota_probe_secs", self.quota_probe_secs),
            ("quota_window_secs", self.quota_window_secs),
            ("rate_period_secs", self.rate_period_secs),
            ("concurrency_max", u64::from(self.concurrency_max)),
            ("concurrency_long_max", u64::from(self.concurrency_long_max)),
            ("concurrency_regrow_secs", self.concurrency_regrow_secs),
            ("breaker.failures_in_row", u64::from(self.breaker.failures_in_row)),
            ("breaker.calls_min", u64::from(self.breaker.calls_min)),
            ("breaker.open_secs", self.breaker.open_secs),
        ];
        for (key, count) in counts {
            demand(count > 0, key, "0 would stop every call".to_owned());
        }
        problems
    }
}

impl Default for LimitProfile {
    fn default() -> Self {
        Self::auto()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profiles_have_no_problems() {
        for profile in
            [LimitProfile::auto(), LimitProfile::seed(), LimitProfile::auto().for_developer_edition()]
        {
            assert_eq!(profile.problems(), Vec::new());
        }
    }

    #[test]
    fn every_bad_figure_is_named_by_its_key() {
        let bad = LimitProfile {
            quota_share_bulk: 1.5,
            rate_cut: 1.0,
            rate_max_per_min: Some(10.0),
            concurrency_max: 0,
            ..LimitProfile::auto()
        };
        let keys: Vec<_> = bad.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["quota_share_bulk", "rate_cut", "rate_max_per_min", "concurrency_max"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let read = serde_json::from_str::<LimitProfile>(r#"{"rate_cutt":0.5}"#);
        assert!(read.is_err_and(|error| error.to_string().contains("rate_cutt")));
    }
}
