//! What an endpoint says of its limits in the headers of an answer.
//!
//! Promises: nothing is believed that makes no sense. A value of zero or below is unknown, because some endpoints send `0` or
//! `-1` where they do not know; a duration is read in every form seen (`1s`, `6m0s`, `20ms`, `1h2m3.5s`, a bare number of
//! seconds) or not at all.

use std::time::Duration;

/// Longest wait that is believed; anything above is a mistake of the sender.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// What the headers say of one of the two limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowSeen {
    /// Allowed in a minute.
    pub limit: Option<u64>,
    /// Left now.
    pub remaining: Option<u64>,
    /// Until everything is there again.
    pub reset: Option<Duration>,
}

/// What the headers of an answer say of an endpoint's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RatesSeen {
    /// Requests.
    pub requests: WindowSeen,
    /// Tokens.
    pub tokens: WindowSeen,
    /// The wait asked for.
    pub retry_after: Option<Duration>,
}

impl RatesSeen {
    /// Reads them by the lower-case names of the headers.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let window = |kind: &str| WindowSeen {
            limit: header(&format!("x-ratelimit-limit-{kind}")).and_then(count),
            remaining: header(&format!("x-ratelimit-remaining-{kind}")).and_then(count),
            reset: header(&format!("x-ratelimit-reset-{kind}")).and_then(duration),
        };
        let in_ms = || {
            let ms: f64 = header("retry-after-ms")?.trim().parse().ok()?;
            believable(ms / 1000.0)
        };
        Self {
            requests: window("requests"),
            tokens: window("tokens"),
            retry_after: in_ms().or_else(|| header("retry-after").and_then(duration)),
        }
    }
}

fn count(text: &str) -> Option<u64> {
    // Some gateways write counts as `1000.0`.
    let value: f64 = text.trim().parse().ok()?;
    (1.0..1e15).contains(&value).then_some(value as u64)
}

/// A duration as endpoints write it; `None` for zero, for less, and for what is no duration.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return believable(seconds);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, left) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = left;
    }
    believable(seconds)
}

fn believable(seconds: f64) -> Option<Duration> {
    (seconds > 0.0 && seconds <= LONGEST.as_secs_f64()).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1s", Some(1_000))]
    #[case("6m0s", Some(360_000))]
    #[case("20ms", Some(20))]
    #[case("1h2m3.5s", Some(3_723_500))]
    #[case("7m12s", Some(432_000))]
    #[case("8.64s", Some(8_640))]
    #[case("1d", Some(86_400_000))]
    #[case(" 30 ", Some(30_000))]
    #[case("0.25", Some(250))]
    #[case("0", None)]
    #[case("0s", None)]
    #[case("-1", None)]
    #[case("-1s", None)]
    #[case("", None)]
    #[case("soon", None)]
    #[case("5 parsecs", None)]
    #[case("NaN", None)]
    #[case("inf", None)]
    #[case("999999999", None)]
    #[case("1s2", None)]
    #[case("Wed, 21 Oct 2026 07:28:00 GMT", None)]
    fn a_duration_is_read_in_every_form_or_not_at_all(#[case] text: &str, #[case] ms: Option<u64>) {
        assert_eq!(duration(text), ms.map(Duration::from_millis));
    }

    #[rstest]
    #[case("500", Some(500))]
    #[case("1000.0", Some(1_000))]
    #[case("0", None)]
    #[case("-1", None)]
    #[case("many", None)]
    #[case("NaN", None)]
    fn a_count_of_zero_or_below_is_unknown(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(count(text), expected);
    }

    #[test]
    fn each_limit_has_its_own_headers() {
        let headers = [
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29000"),
            ("retry-after", "20"),
            ("retry-after-ms", "1500"),
        ];
        let seen = RatesSeen::read(|name| headers.iter().find(|(key, _)| *key == name).map(|(_, v)| *v));
        assert_eq!(
            seen,
            RatesSeen {
                requests: WindowSeen {
                    limit: Some(500),
                    remaining: None,
                    reset: Some(Duration::from_millis(120)),
                },
                tokens: WindowSeen { limit: Some(30_000), remaining: Some(29_000), reset: None },
                retry_after: Some(Duration::from_millis(1_500)),
            },
            "the finer of two waits is taken"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = duration(&text);
            let _ = count(&text);
        }
    }
}
