//! When an object is synced by itself.
//!
//! Promises: times are UTC, whatever the machine's zone; the next time lies behind the one asked about, so that a clock that
//! stands still starts nothing twice; times that were slept through count as one. An expression that can never come is
//! refused when it is read.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::{SignedDuration, Timestamp};

use super::told::span;

/// Fields of an expression.
const FIELDS: usize = 5;
/// Shortest time between two syncs of an object.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// When an object is synced.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// So long after the last time.
    Every(Duration),
    /// By a cron expression.
    Cron(CronTimes),
}

/// Minute, hour, day of month, month, day of week; where both days are given, either is enough.
#[derive(Debug, Clone)]
pub struct CronTimes {
    text: String,
    times: Box<Crontab>,
}

/// Why there is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Both were given.
    #[error("`every` and `cron` are both given: take one out")]
    Both,
    /// It would run all the time.
    #[error("`every` is below {} s", SHORTEST.as_secs())]
    TooShort,
    /// It is no expression.
    #[error(
        "`cron`: `{text}` does not say when: {why}; as in `30 4 * * 1-5`: minute, hour, day of month, month, day of week, in UTC"
    )]
    Cron {
        /// As configured.
        text: String,
        /// What is wrong.
        why: String,
    },
}

impl Schedule {
    /// The schedule of an object's settings; `None`: it is synced on request alone.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn of(every: Option<Duration>, cron: Option<&str>) -> Result<Option<Self>, ScheduleError> {
        match (every, cron) {
            (Some(_), Some(_)) => Err(ScheduleError::Both),
            (Some(every), None) if every < SHORTEST => Err(ScheduleError::TooShort),
            (Some(every), None) => Ok(Some(Self::Every(every))),
            (None, Some(text)) => CronTimes::parse(text).map(|times| Some(Self::Cron(times))),
            (None, None) => Ok(None),
        }
    }

    /// The first time behind `after`; `None`: never, for time has an end.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => after.checked_add(SignedDuration::try_from(*every).ok()?).ok(),
            Self::Cron(cron) => cron.next(after),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every {}", span(*every)),
            Self::Cron(cron) => write!(f, "at `{}` UTC", cron.text),
        }
    }
}

impl CronTimes {
    /// Reads an expression of five fields.
    ///
    /// # Errors
    /// [`ScheduleError::Cron`].
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let bad = |why: String| ScheduleError::Cron { text: text.chars().take(80).collect(), why };
        // A sixth would be a zone, for which the machine's files would be read.
        if fields.len() != FIELDS {
            return Err(bad(format!("it has {} fields instead of {FIELDS}", fields.len())));
        }
        let text = fields.join(" ");
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let times = cronexpr::parse_crontab_with(&text, options)
            .map_err(|error| bad(one_line(&error.to_string())))?;
        let times = Self { text: text.clone(), times: Box::new(times) };
        // A leap year begins the search, so that the 29th of February is found.
        if times.next(Timestamp::UNIX_EPOCH).is_none() {
            return Err(bad("there is no such day".to_owned()));
        }
        Ok(times)
    }

    /// The first time behind `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.times.find_next(cronexpr::MakeTimestamp(after)).ok().map(|at| at.timestamp())
    }
}

/// The library draws an arrow below the place, which takes several lines.
fn one_line(message: &str) -> String {
    message.split_whitespace().filter(|word| *word != "^").collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(text: &str) -> Schedule {
        Schedule::of(None, Some(text)).unwrap().unwrap()
    }

    #[rstest]
    #[case::each_minute("* * * * *", "2026-11-23T10:00:30Z", "2026-11-23T10:01:00Z")]
    #[case::not_the_same_again("0 4 * * *", "2026-11-23T04:00:00Z", "2026-11-24T04:00:00Z")]
    #[case::steps("*/15 * * * *", "2026-11-23T10:44:59.999Z", "2026-11-23T10:45:00Z")]
    #[case::a_range_with_steps("5-59/20 9-17 * * *", "2026-11-23T17:45:00Z", "2026-11-24T09:05:00Z")]
    #[case::a_list("0 6,18 * * *", "2026-11-23T06:00:01Z", "2026-11-23T18:00:00Z")]
    #[case::working_days("30 4 * * 1-5", "2026-11-27T05:00:00Z", "2026-11-30T04:30:00Z")]
    #[case::names("0 0 1 JAN *", "2026-11-23T00:00:00Z", "2027-01-01T00:00:00Z")]
    #[case::sunday_is_seven_too("0 0 * * 7", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z")]
    #[case::either_day_is_enough("0 0 1 * MON", "2026-11-24T00:00:00Z", "2026-11-30T00:00:00Z")]
    #[case::a_leap_day("0 0 29 2 *", "2026-11-23T00:00:00Z", "2028-02-29T00:00:00Z")]
    #[case::the_end_of_a_year("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z")]
    #[case::gaps("  0   4 *\t* * ", "2026-11-23T00:00:00Z", "2026-11-23T04:00:00Z")]
    fn an_expression_says_when_it_is_next_due(
        #[case] text: &str,
        #[case] after: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(cron(text).next(at(after)), Some(at(expected)));
    }

    #[rstest]
    #[case::nothing("", "0 fields")]
    #[case::with_seconds("0 0 4 * * *", "6 fields")]
    #[case::with_a_zone("0 4 * * * Europe/Berlin", "6 fields")]
    #[case::a_nickname("@daily", "1 fields")]
    #[case::no_such_minute("60 * * * *", "60")]
    #[case::no_such_day("0 0 30 2 *", "no such day")]
    #[case::backwards("0 17-9 * * *", "17")]
    #[case::words("every day at four o'clock", "does not say when")]
    #[case::no_steps("*/0 * * * *", "*/0")]
    fn what_says_no_time_is_refused_with_an_example(#[case] text: &str, #[case] says: &str) {
        let error = Schedule::of(None, Some(text)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("`30 4 * * 1-5`"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn an_interval_counts_from_the_last_time() {
        let every = Schedule::of(Some(Duration::from_secs(300)), None).unwrap().unwrap();
        assert_eq!(every.next(at("2026-11-23T10:00:01Z")), Some(at("2026-11-23T10:05:01Z")));
        assert_eq!(every.next(Timestamp::MAX), None);
        assert_eq!(every.to_string(), "every 5 min");
        assert_eq!(cron(" 0  4 * * *").to_string(), "at `0 4 * * *` UTC");
    }

    #[test]
    fn two_schedules_are_one_too_many_and_none_is_none() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(Schedule::of(minute, Some("* * * * *")).unwrap_err(), ScheduleError::Both);
        assert_eq!(Schedule::of(Some(Duration::ZERO), None).unwrap_err(), ScheduleError::TooShort);
        assert!(Schedule::of(None, None).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_on_a_minute(seconds in 0i64..7_000_000_000, text in prop::sample::select(vec![
            "* * * * *", "*/7 3-5 * * *", "0 0 1 */2 *", "15 12 * * 0", "1 1 31 * 5",
        ])) {
            let after = Timestamp::from_second(seconds).unwrap();
            let next = cron(text).next(after).unwrap();
            prop_assert!(next > after);
            prop_assert_eq!(next.as_second() % 60, 0);
        }

        #[test]
        fn no_text_stops_the_reader(text in "\\PC{0,30}") {
            let _ = Schedule::of(None, Some(&text));
        }
    }
}
