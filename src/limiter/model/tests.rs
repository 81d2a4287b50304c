use proptest::prelude::*;

use super::*;

fn limiter(requests: Option<u32>, tokens: Option<u32>, concurrency: u32) -> ModelLimiter {
    let limits = ModelLimits {
        requests_per_minute: requests.and_then(NonZeroU32::new),
        tokens_per_minute: tokens.and_then(NonZeroU32::new),
        concurrency: NonZeroU32::new(concurrency).expect("not zero"),
    };
    ModelLimiter::starting_at(Duration::ZERO, limits)
}

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

fn granted(limiter: &mut ModelLimiter, now: Duration) -> ModelPermit {
    match limiter.ask(now, 1_000) {
        ModelVerdict::Grant(permit) => permit,
        wait @ ModelVerdict::Wait { .. } => panic!("at {now:?}: {wait:?}"),
    }
}

fn seen(outcome: ModelOutcome) -> ModelCallSeen {
    ModelCallSeen { outcome, tokens_used: None, rates: RatesSeen::default() }
}

fn asked_to_wait(outcome: ModelOutcome, wait: Duration) -> ModelCallSeen {
    let rates = RatesSeen { retry_after: Some(wait), ..RatesSeen::default() };
    ModelCallSeen { rates, ..seen(outcome) }
}

const THROTTLED: ModelOutcome = ModelOutcome::Throttled(ThrottledBy::Unknown);

/// When the next request may go, if it waits for a time.
fn waits_until(limiter: &mut ModelLimiter, now: Duration) -> Option<(Duration, ModelWait)> {
    match limiter.ask(now, 1_000) {
        ModelVerdict::Grant(permit) => {
            limiter.cancel(permit);
            None
        }
        ModelVerdict::Wait { until, why } => Some((until.unwrap_or_default(), why)),
    }
}

#[test]
fn no_more_are_under_way_than_may_be() {
    let mut limiter = limiter(None, None, 2);
    let first = granted(&mut limiter, secs(1.0));
    let _second = granted(&mut limiter, secs(1.0));
    let full = ModelVerdict::Wait { until: None, why: ModelWait::Concurrency };
    assert_eq!(limiter.ask(secs(1.0), 10), full);
    limiter.settle(secs(2.0), first, &seen(ModelOutcome::Answered));
    assert!(matches!(limiter.ask(secs(2.0), 10), ModelVerdict::Grant(_)));
}

#[test]
fn before_the_first_answer_only_a_few_go() {
    let mut limiter = limiter(None, None, 100);
    let permits: Vec<ModelPermit> = (0..4).map(|_| granted(&mut limiter, secs(1.0))).collect();
    assert_eq!(
        limiter.ask(secs(1.0), 10),
        ModelVerdict::Wait { until: None, why: ModelWait::Concurrency },
        "what the endpoint allows is not known yet"
    );
    for permit in permits {
        limiter.settle(secs(2.0), permit, &seen(ModelOutcome::Answered));
    }
    let _all: Vec<ModelPermit> = (0..100).map(|_| granted(&mut limiter, secs(2.0))).collect();
}

#[test]
fn a_wait_of_ten_minutes_is_kept_and_shown() {
    let mut limiter = limiter(None, None, 10);
    let permit = granted(&mut limiter, secs(1.0));
    limiter.settle(secs(2.0), permit, &asked_to_wait(THROTTLED, secs(600.0)));
    assert_eq!(waits_until(&mut limiter, secs(3.0)), Some((secs(602.0), ModelWait::Throttled)));
    let shown = limiter.snapshot(secs(3.0));
    assert_eq!((shown.paused_until, shown.paused_for), (Some(secs(602.0)), Some(ModelWait::Throttled)));
    assert_eq!(waits_until(&mut limiter, secs(602.1)), None);
    assert_eq!(limiter.snapshot(secs(602.1)).paused_until, None);
}

#[test]
fn an_endpoint_closed_for_ten_minutes_without_a_word_is_asked_a_few_dozen_times() {
    let mut limiter = limiter(Some(500), None, 20);
    let (mut now, mut asked) = (secs(1.0), 0);
    while now < secs(601.0) {
        match limiter.ask(now, 1_000) {
            ModelVerdict::Grant(permit) => {
                asked += 1;
                now += secs(0.05);
                limiter.settle(now, permit, &seen(THROTTLED));
            }
            ModelVerdict::Wait { until, .. } => now = until.expect("nothing is under way"),
        }
    }
    assert!((20..=45).contains(&asked), "{asked}");
    // And then it goes on at once, one ahead of the others.
    let until = waits_until(&mut limiter, now).map_or(now, |(until, _)| until);
    let probe = granted(&mut limiter, until);
    assert_eq!(waits_until(&mut limiter, until), Some((Duration::ZERO, ModelWait::Probing)));
    limiter.settle(until + secs(1.0), probe, &seen(ModelOutcome::Answered));
    let _next = granted(&mut limiter, until + secs(2.0));
}

#[test]
fn spent_money_is_asked_after_less_and_less_often() {
    let mut limiter = limiter(None, None, 10);
    let mut now = secs(1.0);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let permit = granted(&mut limiter, now);
        limiter.settle(now, permit, &seen(ModelOutcome::QuotaSpent));
        let (until, why) = waits_until(&mut limiter, now).expect("it pauses");
        assert_eq!(why, ModelWait::QuotaSpent);
        pauses.push((until - now).as_secs());
        now = until + secs(0.01);
    }
    assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
}

#[test]
fn a_burst_of_refusals_counts_once() {
    let mut limiter = limiter(Some(6_000), None, 10);
    let opened = granted(&mut limiter, secs(1.0));
    limiter.settle(secs(1.1), opened, &seen(ModelOutcome::Answered));
    let burst: Vec<ModelPermit> = (0..10).map(|_| granted(&mut limiter, secs(2.0))).collect();
    for permit in burst {
        limiter.settle(secs(2.1), permit, &seen(THROTTLED));
    }
    let shown = limiter.snapshot(secs(2.1));
    assert_eq!((shown.cuts, shown.throttled), (1, 10));
    assert_eq!(shown.paused_until, Some(secs(2.6)));
}

#[test]
fn a_failing_endpoint_is_left_alone_after_five_failures_in_a_row() {
    let mut limiter = limiter(None, None, 10);
    for _ in 0..4 {
        let permit = granted(&mut limiter, secs(1.0));
        limiter.settle(secs(1.1), permit, &seen(ModelOutcome::Failed));
    }
    assert_eq!(waits_until(&mut limiter, secs(1.2)), None, "four may be chance");
    let permit = granted(&mut limiter, secs(1.2));
    limiter.settle(secs(1.3), permit, &seen(ModelOutcome::Failed));
    assert_eq!(waits_until(&mut limiter, secs(1.4)), Some((secs(2.3), ModelWait::Failing)));
    let probe = granted(&mut limiter, secs(2.4));
    limiter.settle(secs(2.5), probe, &seen(ModelOutcome::Answered));
    assert_eq!(waits_until(&mut limiter, secs(2.6)), None);
}

#[test]
fn a_probe_that_is_cancelled_makes_room_for_another() {
    let mut limiter = limiter(None, None, 10);
    let permit = granted(&mut limiter, secs(1.0));
    limiter.settle(secs(1.0), permit, &seen(ModelOutcome::QuotaSpent));
    let probe = granted(&mut limiter, secs(100.0));
    assert_eq!(waits_until(&mut limiter, secs(100.0)), Some((Duration::ZERO, ModelWait::Probing)));
    limiter.cancel(probe);
    let _another = granted(&mut limiter, secs(101.0));
}

#[test]
fn a_question_larger_than_the_bucket_goes_all_the_same() {
    let mut limiter = limiter(None, Some(6_000), 10);
    let ModelVerdict::Grant(permit) = limiter.ask(secs(1.0), 50_000) else { panic!("the bucket is full") };
    // It left a debt, and what it did not use is given back.
    assert_eq!(waits_until(&mut limiter, secs(2.0)).map(|(_, why)| why), Some(ModelWait::Tokens));
    let used = ModelCallSeen { tokens_used: Some(60), ..seen(ModelOutcome::Answered) };
    limiter.settle(secs(3.0), permit, &used);
    let _next = granted(&mut limiter, secs(12.0));
}

#[test]
fn the_lower_of_what_is_set_and_what_is_told_counts() {
    for (set, told, expected) in [(Some(600), 300, 4.9), (Some(300), 600, 4.9), (None, 300, 4.9)] {
        let mut limiter = limiter(set, None, 10);
        let permit = granted(&mut limiter, secs(1.0));
        let requests = WindowSeen { limit: Some(told), ..WindowSeen::default() };
        let rates = RatesSeen { requests, ..RatesSeen::default() };
        limiter.settle(secs(1.5), permit, &ModelCallSeen { rates, ..seen(ModelOutcome::Answered) });
        let per_sec = limiter.snapshot(secs(2.0)).requests_per_sec.expect("a bound is known");
        assert!((per_sec - expected).abs() < 1e-9, "{set:?} {told}: {per_sec}");
    }
}

#[test]
fn what_others_use_up_is_not_asked_for() {
    let mut limiter = limiter(Some(600), None, 10);
    let permit = granted(&mut limiter, secs(60.0));
    let requests = WindowSeen { limit: Some(600), remaining: Some(1), reset: None };
    let rates = RatesSeen { requests, ..RatesSeen::default() };
    limiter.settle(secs(60.0), permit, &ModelCallSeen { rates, ..seen(ModelOutcome::Answered) });
    let _one = granted(&mut limiter, secs(60.0));
    assert_eq!(waits_until(&mut limiter, secs(60.0)).map(|(_, why)| why), Some(ModelWait::Requests));
}

proptest! {
    /// Whatever comes back, in whichever order: requests under way are bounded, a wait lies ahead or on an answer that is
    /// still to come, and nothing panics.
    #[test]
    fn it_never_stands_still(steps in prop::collection::vec((0_u8..8, 0_u64..3_000, 0_u64..5_000), 1..200)) {
        let mut limiter = limiter(Some(300), Some(50_000), 5);
        let mut now = secs(1.0);
        let mut under_way: Vec<ModelPermit> = Vec::new();
        for (what, ms, tokens) in steps {
            now += Duration::from_millis(ms);
            match limiter.ask(now, tokens) {
                ModelVerdict::Grant(permit) => under_way.push(permit),
                ModelVerdict::Wait { until: Some(until), .. } => prop_assert!(until > now),
                ModelVerdict::Wait { until: None, .. } => prop_assert!(!under_way.is_empty()),
            }
            prop_assert!(under_way.len() <= 5);
            prop_assert_eq!(limiter.snapshot(now).in_flight as usize, under_way.len());
            if what < 7 && !under_way.is_empty() {
                let permit = under_way.remove(tokens as usize % under_way.len());
                let outcome = match what {
                    0 => THROTTLED,
                    1 => ModelOutcome::QuotaSpent,
                    2 => ModelOutcome::Failed,
                    3 => ModelOutcome::Refused,
                    _ => ModelOutcome::Answered,
                };
                if what == 6 {
                    limiter.cancel(permit);
                } else {
                    let used = (what == 4).then_some(tokens * 3);
                    limiter.settle(now, permit, &ModelCallSeen { tokens_used: used, ..seen(outcome) });
                }
            }
        }
        for permit in under_way {
            limiter.cancel(permit);
        }
        // Left in peace, it lets somebody in again before long.
        let mut waits = 0;
        loop {
            match limiter.ask(now, 1_000) {
                ModelVerdict::Grant(permit) => {
                    limiter.cancel(permit);
                    break;
                }
                ModelVerdict::Wait { until, .. } => now = until.expect("nothing is under way"),
            }
            waits += 1;
            prop_assert!(waits < 10);
        }
        prop_assert!(now < secs(1.0 + 200.0 * 3.0 + 3_600.0), "{:?}", now);
    }
}
