//! Endpoints in virtual time that do not show how they count: does the limiter use what they give, without pestering them?

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rstest::rstest;

use super::*;

/// Begin and end of what is judged: the steady state.
const JUDGED: (f64, f64) = (240.0, 1_440.0);
/// From a question to its answer, and to a refusal.
const LATENCY: f64 = 1.5;
const REFUSAL_LATENCY: f64 = 0.05;

/// How a hidden endpoint counts.
#[derive(Debug, Clone, Copy)]
enum Counts {
    /// A bucket that holds so many.
    Bucket(f64),
    /// By the minute, which begins so many seconds after ours.
    Minute(f64),
}

/// What it says of its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Nothing,
    /// `retry-after` with a refusal.
    WhenToComeBack,
    /// `x-ratelimit-*` with everything, `retry-after` with a refusal.
    Everything,
    /// Headers that it does not fill in.
    Nonsense,
}

#[derive(Debug, Clone, Copy)]
struct Hidden {
    /// In a minute.
    allows: f64,
    counts: Counts,
    says: Says,
    /// Tokens are limited, not requests.
    in_tokens: bool,
}

impl Default for Hidden {
    fn default() -> Self {
        Self { allows: 500.0, counts: Counts::Bucket(500.0), says: Says::Nothing, in_tokens: false }
    }
}

struct Endpoint {
    hidden: Hidden,
    left: f64,
    seen_at: f64,
}

impl Endpoint {
    fn advance(&mut self, now: f64) {
        match self.hidden.counts {
            Counts::Bucket(holds) => {
                let passed = now - self.seen_at;
                self.left = (self.left + passed * self.hidden.allows / 60.0).min(holds);
            }
            Counts::Minute(offset) => {
                let minute = |at: f64| ((at - offset) / 60.0).floor();
                if minute(now) > minute(self.seen_at) {
                    self.left = self.hidden.allows;
                }
            }
        }
        self.seen_at = now;
    }

    /// Lets a request in, or not, and what its headers say.
    fn take(&mut self, now: f64, amount: f64) -> (bool, RatesSeen) {
        self.advance(now);
        let is_in = self.left >= amount;
        if is_in {
            self.left -= amount;
        }
        let until_full = match self.hidden.counts {
            Counts::Bucket(holds) => (holds - self.left) / self.hidden.allows * 60.0,
            Counts::Minute(offset) => 60.0 - (now - offset).rem_euclid(60.0),
        };
        let until_next = match self.hidden.counts {
            Counts::Bucket(_) => (amount - self.left).max(0.0) / self.hidden.allows * 60.0,
            Counts::Minute(_) => until_full,
        };
        let window = WindowSeen {
            limit: Some(self.hidden.allows as u64),
            remaining: Some(self.left as u64).filter(|left| *left > 0),
            reset: Some(Duration::from_secs_f64(until_full)),
        };
        let retry_after = (!is_in).then(|| Duration::from_secs_f64(until_next.ceil().max(1.0)));
        let mut rates = RatesSeen::default();
        if self.hidden.says == Says::Everything {
            *if self.hidden.in_tokens { &mut rates.tokens } else { &mut rates.requests } = window;
        }
        if matches!(self.hidden.says, Says::Everything | Says::WhenToComeBack) {
            rates.retry_after = retry_after;
        }
        (is_in, rates)
    }
}

#[derive(Debug)]
struct Run {
    /// Of what the endpoint gives.
    used: f64,
    /// Of what was sent.
    refused: f64,
    most_in_flight: u32,
}

/// Asks without end for as long as [`JUDGED`] says.
fn run(limits: ModelLimits, hidden: Hidden) -> Run {
    let mut limiter = ModelLimiter::starting_at(Duration::ZERO, limits);
    let mut endpoint = Endpoint { hidden, left: 0.0, seen_at: -60.0 };
    endpoint.advance(0.0);
    let mut under_way: BinaryHeap<Reverse<(Duration, u64)>> = BinaryHeap::new();
    let mut sent: std::collections::HashMap<u64, (ModelPermit, ModelCallSeen)> =
        std::collections::HashMap::new();
    let (mut served, mut all, mut refused, mut most_in_flight) = (0.0, 0.0, 0.0, 0);
    let mut now = Duration::ZERO;
    let mut number = 0_u64;
    let mut ask_at = Duration::ZERO;
    while now.as_secs_f64() < JUDGED.1 {
        while under_way.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, ended))) = under_way.pop() else { break };
            let (permit, seen) = sent.remove(&ended).expect("it was sent");
            limiter.settle(now, permit, &seen);
            ask_at = now;
        }
        let mut wake = None;
        let mut is_due = ask_at <= now;
        while is_due {
            // Estimates are three times too high: the longest answer is seldom written.
            let reserved = 3_000;
            match limiter.ask(now, reserved) {
                ModelVerdict::Grant(permit) => {
                    number += 1;
                    // Between 600 and 1,400 tokens, always the same.
                    let used = 600 + number.wrapping_mul(2_654_435_761) % 801;
                    let at = now.as_secs_f64();
                    let amount = if hidden.in_tokens { used as f64 } else { 1.0 };
                    let (is_in, mut rates) = endpoint.take(at, amount);
                    if hidden.says == Says::Nonsense {
                        rates = RatesSeen::read(|name| name.contains("ratelimit").then_some("-1"));
                    }
                    if (JUDGED.0..JUDGED.1).contains(&at) {
                        all += 1.0;
                        if is_in { served += amount } else { refused += 1.0 }
                    }
                    let jitter = (number.wrapping_mul(40_503) % 1_000) as f64 / 1_000.0;
                    let latency = if is_in { LATENCY * (0.7 + 0.6 * jitter) } else { REFUSAL_LATENCY };
                    let outcome = if is_in {
                        ModelOutcome::Answered
                    } else if hidden.in_tokens {
                        ModelOutcome::Throttled(ThrottledBy::Tokens)
                    } else {
                        ModelOutcome::Throttled(ThrottledBy::Unknown)
                    };
                    let tokens_used = is_in.then_some(used);
                    sent.insert(number, (permit, ModelCallSeen { outcome, tokens_used, rates }));
                    under_way.push(Reverse((now + Duration::from_secs_f64(latency), number)));
                    most_in_flight = most_in_flight.max(limiter.snapshot(now).in_flight);
                }
                ModelVerdict::Wait { until, .. } => {
                    assert!(until.is_none_or(|until| until > now), "a wait that is over would spin");
                    wake = until;
                    is_due = false;
                }
            }
        }
        let next_end = under_way.peek().map(|Reverse((at, _))| *at);
        let next = [wake, next_end].into_iter().flatten().min();
        // A timer fires some milliseconds late.
        now = next.expect("it stands still for ever") + Duration::from_millis(2);
        ask_at = now;
    }
    let given = hidden.allows * (JUDGED.1 - JUDGED.0) / 60.0;
    Run { used: served / given, refused: refused / all, most_in_flight }
}

fn limits(requests: Option<u32>, tokens: Option<u32>, concurrency: u32) -> ModelLimits {
    ModelLimits {
        requests_per_minute: requests.and_then(NonZeroU32::new),
        tokens_per_minute: tokens.and_then(NonZeroU32::new),
        concurrency: NonZeroU32::new(concurrency).expect("not zero"),
    }
}

fn hidden(allows: f64, counts: Counts, says: Says) -> Hidden {
    Hidden { allows, counts, says, in_tokens: false }
}

const MINUTE: Counts = Counts::Minute(17.0);

#[rstest]
#[case::set_bucket(Some(500), hidden(500.0, Counts::Bucket(500.0), Says::Nothing))]
#[case::set_minute(Some(500), hidden(500.0, MINUTE, Says::Nothing))]
#[case::set_small_bucket(Some(500), hidden(500.0, Counts::Bucket(10.0), Says::Nothing))]
#[case::set_and_told(Some(500), hidden(500.0, MINUTE, Says::Everything))]
#[case::set_few(Some(60), hidden(60.0, MINUTE, Says::Nothing))]
#[case::set_many(Some(5_000), hidden(5_000.0, MINUTE, Says::Nothing))]
#[case::set_above_what_is_told(Some(5_000), hidden(500.0, MINUTE, Says::Everything))]
#[case::set_above_what_is_given_bucket(Some(800), hidden(500.0, Counts::Bucket(500.0), Says::Nothing))]
#[case::set_above_what_is_given_minute(Some(800), hidden(500.0, MINUTE, Says::WhenToComeBack))]
#[case::told_bucket(None, hidden(500.0, Counts::Bucket(500.0), Says::Everything))]
#[case::told_minute(None, hidden(500.0, MINUTE, Says::Everything))]
#[case::told_few(None, hidden(60.0, Counts::Bucket(60.0), Says::Everything))]
#[case::told_many(None, hidden(5_000.0, Counts::Bucket(500.0), Says::Everything))]
#[case::unknown_bucket(None, hidden(500.0, Counts::Bucket(500.0), Says::Nothing))]
#[case::unknown_small_bucket(None, hidden(500.0, Counts::Bucket(25.0), Says::Nothing))]
#[case::unknown_minute(None, hidden(500.0, MINUTE, Says::Nothing))]
#[case::unknown_minute_with_nonsense(None, hidden(500.0, MINUTE, Says::Nonsense))]
#[case::unknown_bucket_that_asks_to_wait(None, hidden(500.0, Counts::Bucket(500.0), Says::WhenToComeBack))]
#[case::unknown_minute_that_asks_to_wait(None, hidden(500.0, MINUTE, Says::WhenToComeBack))]
#[case::unknown_few(None, hidden(100.0, Counts::Bucket(100.0), Says::Nothing))]
#[case::unknown_many(None, hidden(3_000.0, Counts::Bucket(300.0), Says::Nothing))]
fn what_an_endpoint_gives_is_used(#[case] set: Option<u32>, #[case] hidden: Hidden) {
    let run = run(limits(set, None, 200), hidden);
    println!("{set:?} {hidden:?}: {:.1} % used, {:.2} % refused", run.used * 100.0, run.refused * 100.0);
    assert!(run.used >= 0.95, "{run:?}");
    assert!(run.refused < 0.02, "{run:?}");
    assert!(run.most_in_flight <= 200, "{run:?}");
}

#[rstest]
#[case::set(Some(200_000), Counts::Bucket(200_000.0), Says::Nothing)]
#[case::set_minute(Some(200_000), MINUTE, Says::Nothing)]
#[case::told(None, Counts::Bucket(200_000.0), Says::Everything)]
#[case::told_minute(None, MINUTE, Says::Everything)]
#[case::unknown(None, Counts::Bucket(200_000.0), Says::WhenToComeBack)]
fn tokens_are_used_as_well_although_the_estimates_are_three_times_too_high(
    #[case] set: Option<u32>,
    #[case] counts: Counts,
    #[case] says: Says,
) {
    let hidden = Hidden { allows: 200_000.0, counts, says, in_tokens: true };
    let run = run(limits(None, set, 50), hidden);
    println!("{set:?} {hidden:?}: {:.1} % used, {:.2} % refused", run.used * 100.0, run.refused * 100.0);
    assert!(run.used >= 0.95, "{run:?}");
    assert!(run.refused < 0.02, "{run:?}");
}

#[test]
fn without_a_limit_only_concurrency_holds_back() {
    let run = run(limits(None, None, 20), hidden(1e6, Counts::Bucket(1e6), Says::Nothing));
    let most = 20.0 / LATENCY * 60.0;
    assert!(run.used * 1e6 > 0.95 * most, "{run:?}");
    assert_eq!(run.most_in_flight, 20);
}

#[rstest]
#[case::set(Some(500), 0.95)]
// Found out by being turned away alone, it costs a little more.
#[case::unknown(None, 0.93)]
fn it_does_not_matter_when_the_endpoints_minute_begins(#[case] set: Option<u32>, #[case] least: f64) {
    for offset in (0..60).step_by(7) {
        let minute = Counts::Minute(f64::from(offset));
        let run = run(limits(set, None, 200), hidden(500.0, minute, Says::WhenToComeBack));
        assert!(run.used >= least && run.refused < 0.02, "from {offset} s: {run:?}");
    }
}
