//! The gates, one by one and together.

use std::time::Duration;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn ask(priority: Priority) -> CallAsk {
    CallAsk { priority, expected_long: false, free_of_quota: false }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn seen(started_at: Duration, outcome: CallOutcome) -> CallSeen {
    CallSeen { started_at, outcome, free_of_quota: false, quota: None, retry_after: None }
}

fn throttled(kind: ThrottleKind) -> CallOutcome {
    CallOutcome::Throttled { kind }
}

/// A limiter that has seen the org's usage.
fn with_usage(used: u64, limit: u64) -> Limiter {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let quota = Some(QuotaSeen { used, limit }.into());
    limiter.observe(Duration::ZERO, &CallSeen { quota, ..seen(Duration::ZERO, CallOutcome::Ok) });
    limiter
}

#[rstest]
#[case::bulk_below(Priority::Bulk, 699, true)]
#[case::bulk_at(Priority::Bulk, 700, false)]
#[case::normal_below(Priority::Normal, 849, true)]
#[case::normal_at(Priority::Normal, 850, false)]
#[case::interactive_below(Priority::Interactive, 949, true)]
#[case::interactive_at(Priority::Interactive, 950, false)]
fn each_priority_stops_at_its_share(#[case] priority: Priority, #[case] used: u64, #[case] granted: bool) {
    let verdict = with_usage(used, 1_000).ask(secs(1), &ask(priority));
    assert_eq!(verdict == Verdict::Grant, granted, "{verdict:?}");
    if !granted {
        let probe = Verdict::Refuse { retry_at: secs(300), gate: GateKind::Quota };
        // Bulk is over its share since the header came; the others share the same probe.
        assert_eq!(verdict, probe);
    }
}

#[test]
fn own_calls_count_until_the_next_header_says_so() {
    let mut limiter = with_usage(690, 1_000);
    for _ in 0..10 {
        assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), Verdict::Grant);
        limiter.finished(&ask(Priority::Bulk));
    }
    assert_eq!(limiter.headroom(Priority::Bulk), Some(0));
    assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), Verdict::Grant, "the probe");
    let probed = Verdict::Wait { until: None, gate: GateKind::Quota };
    assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), probed, "the others wait for what it tells");
    let quota = Some(QuotaSeen { used: 100, limit: 1_000 }.into());
    limiter.observe(secs(2), &CallSeen { quota, ..seen(secs(1), CallOutcome::Ok) });
    assert_eq!(limiter.headroom(Priority::Bulk), Some(600));
}

#[test]
fn a_spent_allowance_lets_one_probe_through_each_interval_and_a_good_probe_reopens() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let normal = ask(Priority::Normal);
    assert_eq!(limiter.ask(secs(0), &normal), Verdict::Grant);
    limiter.observe(secs(1), &seen(secs(0), throttled(ThrottleKind::Daily)));
    limiter.finished(&normal);

    let closed = Verdict::Refuse { retry_at: secs(301), gate: GateKind::Quota };
    assert_eq!(limiter.ask(secs(2), &normal), closed);
    assert_eq!(limiter.ask(secs(2), &CallAsk { free_of_quota: true, ..normal }), Verdict::Grant, "a login");
    // An answer to a call that was under way when the gate closed is no news.
    limiter.observe(secs(3), &seen(secs(0), CallOutcome::Ok));
    assert_eq!(limiter.ask(secs(3), &normal), closed);

    // Nor is a login, which is served whatever is left.
    limiter.observe(secs(4), &CallSeen { free_of_quota: true, ..seen(secs(3), CallOutcome::Ok) });
    assert_eq!(limiter.ask(secs(4), &normal), closed);

    assert_eq!(limiter.ask(secs(301), &normal), Verdict::Grant, "the probe");
    let probed = Verdict::Wait { until: None, gate: GateKind::Quota };
    assert_eq!(limiter.ask(secs(301), &normal), probed, "one probe only");
    limiter.observe(secs(302), &seen(secs(301), CallOutcome::Ok));
    assert_eq!(limiter.ask(secs(302), &normal), Verdict::Grant);
}

#[test]
fn refused_probes_come_at_growing_pauses_of_five_to_fifteen_minutes() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let normal = ask(Priority::Normal);
    let (mut now, mut pauses) = (secs(0), Vec::new());
    assert_eq!(limiter.ask(now, &normal), Verdict::Grant);
    for _ in 0..5 {
        limiter.observe(now, &seen(now, throttled(ThrottleKind::Daily)));
        limiter.finished(&normal);
        let Verdict::Refuse { retry_at, .. } = limiter.ask(now, &normal) else { panic!("it is closed") };
        assert_eq!(limiter.waits_until(now, Priority::Normal), Some(retry_at));
        pauses.push((retry_at - now).as_secs());
        now = retry_at;
        assert_eq!(limiter.ask(now, &normal), Verdict::Grant, "the probe");
    }
    assert_eq!(pauses, [300, 600, 900, 900, 900]);
}

#[test]
fn a_cancelled_probe_leaves_the_next_in_its_time() {
    let mut limiter = with_usage(900, 1_000);
    let bulk = ask(Priority::Bulk);
    let Verdict::Refuse { retry_at, .. } = limiter.ask(secs(1), &bulk) else { panic!("it is closed") };
    assert_eq!(limiter.ask(retry_at, &bulk), Verdict::Grant, "the probe");
    limiter.cancelled(retry_at);
    limiter.finished(&bulk);
    assert!(matches!(limiter.ask(retry_at, &bulk), Verdict::Refuse { .. }), "nobody waits for it for ever");
}

#[test]
fn a_probe_through_a_share_costs_little_and_the_expected_time_is_told() {
    // 3,000 over the bulk share, spread over the day: about 24 h x 3,000 / 13,500 until bulk work may go on.
    let mut limiter = with_usage(13_500, 15_000);
    let until = limiter.waits_until(secs(0), Priority::Bulk).expect("bulk waits");
    assert!((5 * 3_600..6 * 3_600).contains(&until.as_secs()), "{until:?}");
    assert_eq!(limiter.waits_until(secs(0), Priority::Interactive), None);
    let mut probes = 0;
    for minute in 0..(5 * 60) {
        let now = secs(60 * minute);
        if limiter.ask(now, &ask(Priority::Bulk)) == Verdict::Grant {
            probes += 1;
            let quota = Some(QuotaSeen { used: 13_500, limit: 15_000 }.into());
            limiter.observe(now, &CallSeen { quota, ..seen(now, CallOutcome::Ok) });
            limiter.finished(&ask(Priority::Bulk));
        }
    }
    assert!((2..=5).contains(&probes), "{probes} probes in five hours");
}

#[test]
fn the_tighter_of_the_orgs_and_the_apps_allowance_holds() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let tell = |limiter: &mut Limiter, app: Option<QuotaSeen>| {
        let quota = Some(UsageSeen { org: QuotaSeen { used: 100, limit: 15_000 }, app });
        limiter.observe(secs(1), &CallSeen { quota, ..seen(secs(1), CallOutcome::Ok) });
    };
    tell(&mut limiter, Some(QuotaSeen { used: 170, limit: 250 }));
    assert_eq!(limiter.headroom(Priority::Bulk), Some(5), "70 % of the app's 250");
    assert_eq!(limiter.forecast(Priority::Bulk, 8).room, Some(80));
    tell(&mut limiter, Some(QuotaSeen { used: 10, limit: 1_000_000 }));
    assert_eq!(limiter.headroom(Priority::Bulk), Some(10_400), "70 % of the org's 15,000");
    tell(&mut limiter, None);
    assert_eq!(limiter.headroom(Priority::Bulk), Some(10_400));
}

#[test]
fn an_answer_that_was_overtaken_does_not_turn_the_count_back() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let told = |used: u64, started_at: u64| {
        let quota = Some(QuotaSeen { used, limit: 1_000 }.into());
        CallSeen { quota, ..seen(secs(started_at), CallOutcome::Ok) }
    };
    limiter.observe(secs(5), &told(20, 4));
    limiter.observe(secs(6), &told(19, 3));
    assert_eq!(limiter.snapshot().quota, Some(QuotaSeen { used: 20, limit: 1_000 }));
    limiter.observe(secs(9), &told(7, 8));
    assert_eq!(limiter.snapshot().quota, Some(QuotaSeen { used: 7, limit: 1_000 }), "a later one may fall");
}

#[test]
fn a_restart_does_not_forget_that_the_allowance_is_spent() {
    let mut before = with_usage(13_500, 15_000);
    before.observe(secs(7), &seen(secs(6), throttled(ThrottleKind::Daily)));
    let memory = before.memory(secs(10));
    let kept = serde_json::to_string(&memory).unwrap();

    let restarted = |passed: u64| {
        let mut limiter = Limiter::starting_at(secs(2), LimitProfile::auto());
        limiter.recall(secs(2), secs(passed), &serde_json::from_str(&kept).unwrap());
        limiter
    };
    let mut soon = restarted(60);
    let closed = Verdict::Refuse { retry_at: secs(2 + 297 - 60), gate: GateKind::Quota };
    assert_eq!(soon.ask(secs(3), &ask(Priority::Interactive)), closed);
    assert_eq!(soon.snapshot().quota, Some(QuotaSeen { used: 13_500, limit: 15_000 }));
    let there = before.waits_until(secs(10), Priority::Bulk).unwrap() - secs(10);
    let here = soon.waits_until(secs(2), Priority::Bulk).unwrap() - secs(2);
    assert!(there.abs_diff(here + secs(60)) < secs(5), "{there:?} then, {here:?} a minute later");

    let mut later = restarted(3_600);
    assert_eq!(later.ask(secs(3), &ask(Priority::Bulk)), Verdict::Grant, "a probe is due");
    assert!(matches!(later.ask(secs(3), &ask(Priority::Bulk)), Verdict::Wait { until: None, .. }));
    let mut next_day = restarted(86_400);
    assert_eq!(next_day.snapshot().quota, None, "a day later it means nothing");
    assert_eq!(next_day.ask(secs(3), &ask(Priority::Bulk)), Verdict::Grant);
}

#[test]
fn a_forecast_that_fits_is_not_paced_and_one_that_does_not_is() {
    let mut limiter = with_usage(100, 1_000);
    limiter.set_forecast(Priority::Bulk, 600);
    for _ in 0..20 {
        assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), Verdict::Grant);
    }
    let mut limiter = with_usage(100, 1_000);
    limiter.set_forecast(Priority::Bulk, 5_000);
    assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), Verdict::Grant);
    // So long that it is told, not kept waiting.
    let Verdict::Refuse { retry_at: at, gate: GateKind::Quota } = limiter.ask(secs(1), &ask(Priority::Bulk))
    else {
        panic!("the second call is spread over the window");
    };
    // 600 calls over a day: one each 144 s.
    assert!((140..150).contains(&at.as_secs()), "{at:?}");
    assert_eq!(limiter.ask(secs(1), &ask(Priority::Interactive)), Verdict::Grant, "others are not paced");
}

#[test]
fn one_burst_cuts_once() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    for _ in 0..20 {
        assert_eq!(limiter.ask(secs(10), &ask(Priority::Normal)), Verdict::Grant);
    }
    for late in 0..20u64 {
        // The rejections trickle in over ten seconds; all of them were sent before the first cut.
        let at = secs(10) + Duration::from_millis(500 * (late + 1));
        limiter.observe(at, &seen(secs(10), throttled(ThrottleKind::Rate)));
    }
    assert_eq!(limiter.snapshot().rate_cuts, 1);
    limiter.observe(secs(30), &seen(secs(29), throttled(ThrottleKind::Rate)));
    assert_eq!(limiter.snapshot().rate_cuts, 2, "a call sent after the cut is news");
}

#[test]
fn there_is_no_ceiling_until_the_first_throttle() {
    let mut limiter = Limiter::new(LimitProfile { concurrency_max: 10_000, ..LimitProfile::auto() });
    for _ in 0..10_000 {
        assert_eq!(limiter.ask(secs(1), &ask(Priority::Bulk)), Verdict::Grant);
    }
    limiter.observe(secs(1), &seen(secs(1), throttled(ThrottleKind::Rate)));
    assert!(limiter.snapshot().rate_per_sec.is_some());
}

#[test]
fn a_quiet_hour_lifts_the_ceiling_again() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    limiter.observe(secs(1), &seen(secs(1), throttled(ThrottleKind::Rate)));
    assert_eq!(limiter.ask(secs(3_600), &ask(Priority::Normal)), Verdict::Grant);
    assert_eq!(limiter.snapshot().rate_per_sec, None);
}

#[test]
fn seed_starts_at_200_and_moves_once_a_minute() {
    let mut limiter = Limiter::new(LimitProfile::seed());
    let per_minute = |limiter: &mut Limiter, at: u64| {
        limiter.ask(secs(at), &ask(Priority::Normal));
        limiter.finished_if_granted();
        limiter.snapshot().rate_per_sec.map(|rate| (rate * 60.0).round())
    };
    assert_eq!(per_minute(&mut limiter, 59), Some(200.0));
    assert_eq!(per_minute(&mut limiter, 60), Some(220.0));
    assert_eq!(per_minute(&mut limiter, 600), Some(300.0));
    for second in 600..620 {
        limiter.observe(secs(second), &seen(secs(second), throttled(ThrottleKind::Rate)));
    }
    assert_eq!(limiter.snapshot().rate_cuts, 1, "one cut a minute");
    for second in (620..4_000).step_by(7) {
        limiter.observe(secs(second), &seen(secs(second), throttled(ThrottleKind::Rate)));
    }
    assert_eq!(limiter.snapshot().rate_per_sec, Some(50.0 / 60.0), "the floor");
}

#[test]
fn retry_after_is_obeyed_up_to_its_bound() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let refusal = CallSeen { retry_after: Some(secs(7)), ..seen(secs(1), throttled(ThrottleKind::Rate)) };
    limiter.observe(secs(1), &refusal);
    let wait = Verdict::Wait { until: Some(secs(8)), gate: GateKind::Rate };
    assert_eq!(limiter.ask(secs(2), &ask(Priority::Interactive)), wait);
    assert_eq!(limiter.ask(secs(8), &ask(Priority::Interactive)), Verdict::Grant);
    limiter.observe(secs(9), &CallSeen { retry_after: Some(secs(1_000_000)), ..refusal });
    let bounded = Verdict::Wait { until: Some(secs(609)), gate: GateKind::Rate };
    assert_eq!(limiter.ask(secs(10), &ask(Priority::Interactive)), bounded);
}

#[test]
fn the_concurrency_error_halves_once_a_burst_and_grows_back() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let refusal = seen(secs(1), throttled(ThrottleKind::Concurrent));
    for _ in 0..5 {
        limiter.observe(secs(2), &refusal);
    }
    assert_eq!(limiter.snapshot().concurrency_limit, 10);
    for _ in 0..10 {
        assert_eq!(limiter.ask(secs(3), &ask(Priority::Normal)), Verdict::Grant);
    }
    let full = Verdict::Wait { until: Some(secs(12)), gate: GateKind::Concurrency };
    assert_eq!(limiter.ask(secs(3), &ask(Priority::Normal)), full);
    assert_eq!(limiter.ask(secs(12), &ask(Priority::Normal)), Verdict::Grant, "one place more after 10 s");
    limiter.ask(secs(500), &ask(Priority::Normal));
    assert_eq!(limiter.snapshot().concurrency_limit, 20);
}

#[test]
fn long_calls_have_fewer_places_than_all_calls() {
    let mut limiter = Limiter::new(LimitProfile::auto());
    let long = CallAsk { expected_long: true, ..ask(Priority::Normal) };
    for _ in 0..5 {
        assert_eq!(limiter.ask(secs(1), &long), Verdict::Grant);
    }
    let wait = Verdict::Wait { until: None, gate: GateKind::Concurrency };
    assert_eq!(limiter.ask(secs(1), &long), wait);
    assert_eq!(limiter.ask(secs(1), &ask(Priority::Normal)), Verdict::Grant, "short ones still go");
    limiter.finished(&long);
    assert_eq!(limiter.ask(secs(1), &long), Verdict::Grant);
}

impl Limiter {
    fn finished_if_granted(&mut self) {
        if self.concurrency.in_flight() > 0 {
            self.finished(&ask(Priority::Normal));
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: never more in flight than allowed, never a wait in the past,
    /// never a rate outside the profile's bounds.
    #[test]
    fn the_gates_hold_under_any_history(
        steps in prop::collection::vec((0u8..8, 0u64..5_000, any::<bool>()), 1..400),
        seed_profile in any::<bool>(),
    ) {
        let profile = if seed_profile { LimitProfile::seed() } else { LimitProfile::auto() };
        let mut limiter = Limiter::new(profile.clone());
        let mut now = Duration::ZERO;
        let mut running: Vec<(Duration, CallAsk)> = Vec::new();
        for (what, millis, expected_long) in steps {
            now += Duration::from_millis(millis);
            let outcome = match what {
                0 => throttled(ThrottleKind::Rate),
                1 => throttled(ThrottleKind::Concurrent),
                2 => CallOutcome::ServerBusy,
                3 => CallOutcome::Network,
                _ => CallOutcome::Ok,
            };
            if what >= 5 {
                let ask = CallAsk { expected_long, ..ask(Priority::Normal) };
                match limiter.ask(now, &ask) {
                    Verdict::Grant => running.push((now, ask)),
                    Verdict::Wait { until: Some(at), .. } => prop_assert!(at > now),
                    Verdict::Wait { until: None, .. } => prop_assert!(!running.is_empty()),
                    Verdict::Refuse { .. } => prop_assert!(false, "no allowance was ever seen"),
                }
            } else if let Some((started_at, ask)) = running.pop() {
                limiter.observe(now, &seen(started_at, outcome));
                limiter.finished(&ask);
            }
            let snapshot = limiter.snapshot();
            prop_assert_eq!(snapshot.in_flight as usize, running.len());
            prop_assert!(snapshot.in_flight <= profile.concurrency_max);
            prop_assert!(snapshot.concurrency_limit >= 1);
            if let Some(rate) = snapshot.rate_per_sec {
                prop_assert!(rate >= profile.rate_min_per_min / 60.0 - 1e-9);
                prop_assert!(profile.rate_max_per_min.is_none_or(|max| rate <= max / 60.0 + 1e-9));
            }
        }
    }
}
