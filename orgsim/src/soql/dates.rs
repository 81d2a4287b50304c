//! Days, moments and SOQL's date literals. Pure: "today" is an argument. The org's time zone is UTC and
//! its fiscal year is the calendar year.

use jiff::{Span, Timestamp, ToSpan, civil::Date, tz::TimeZone};

/// `2026-01-02T03:04:05.000Z`, the way SOQL reads a moment.
pub fn soql_datetime(millis: i64) -> String {
    formatted(millis, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// `2026-01-02T03:04:05.000+0000`, the way REST writes a moment.
pub fn rest_datetime(millis: i64) -> String {
    formatted(millis, "%Y-%m-%dT%H:%M:%S%.3f+0000")
}

fn formatted(millis: i64, format: &str) -> String {
    Timestamp::from_millisecond(millis).unwrap_or_default().strftime(format).to_string()
}

/// Reads `2026-01-02T03:04:05Z` with or without a fraction and with any offset, into epoch milliseconds.
pub fn parse_datetime(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Reads `2026-01-02`.
pub fn parse_date(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

/// The UTC day a moment falls on.
pub fn day_of(millis: i64) -> Date {
    Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

/// First moment of a UTC day, in epoch milliseconds. The first and the last days of the calendar have no moment
/// of their own and stand before and after all others.
pub fn start_of(day: Date) -> i64 {
    let beyond = if day.year() < 0 { i64::MIN } else { i64::MAX };
    day.to_zoned(TimeZone::UTC).map_or(beyond, |zoned| zoned.timestamp().as_millisecond())
}

/// A span of more years cannot be made; the years run from -9999 to 9999.
const YEARS_IN_THE_CALENDAR: i64 = 19_998;

#[derive(Clone, Copy)]
enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    fn named(word: &str) -> Option<Self> {
        let word = word.strip_prefix("FISCAL_").unwrap_or(word);
        Some(match word.strip_suffix('S').unwrap_or(word) {
            "DAY" => Self::Day,
            "WEEK" => Self::Week,
            "MONTH" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" => Self::Year,
            _ => return None,
        })
    }

    /// So many units; more than the calendar holds are as many as it holds.
    fn span(self, count: i64) -> Span {
        let units_in_the_calendar = YEARS_IN_THE_CALENDAR
            * match self {
                Self::Day => 365,
                Self::Week => 52,
                Self::Month => 12,
                Self::Quarter => 4,
                Self::Year => 1,
            };
        let count = count.clamp(-units_in_the_calendar, units_in_the_calendar);
        match self {
            Self::Day => count.days(),
            Self::Week => count.weeks(),
            Self::Month => count.months(),
            Self::Quarter => (count * 3).months(),
            Self::Year => count.years(),
        }
    }

    /// First day of the unit `day` lies in; weeks begin on Sunday, as in a US-English org.
    fn first_day(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => day.saturating_sub(i64::from(day.weekday().to_sunday_zero_offset()).days()),
            Self::Month => day.first_of_month(),
            Self::Quarter => {
                let month = (day.month() - 1) / 3 * 3 + 1;
                Date::new(day.year(), month, 1).unwrap_or(day)
            }
            Self::Year => day.first_of_year(),
        }
    }
}

/// Whether `name` (upper case) is a date literal; the second part says whether it needs a `:n`.
pub fn is_literal(name: &str) -> Option<bool> {
    let counted = name.contains("_N_") || name.starts_with("N_");
    range(name, counted.then_some(1), Date::default()).map(|_| counted)
}

/// The days a literal stands for, from the first up to but not including the second.
pub fn range(name: &str, count: Option<u32>, today: Date) -> Option<(Date, Date)> {
    let from = |first: Date, unit: Unit, units: i64| (first, first.saturating_add(unit.span(units)));
    let shifted = |unit: Unit, by: i64| unit.first_day(today).saturating_add(unit.span(by));
    match name {
        "TODAY" => return Some(from(today, Unit::Day, 1)),
        "YESTERDAY" => return Some(from(shifted(Unit::Day, -1), Unit::Day, 1)),
        "TOMORROW" => return Some(from(shifted(Unit::Day, 1), Unit::Day, 1)),
        "LAST_90_DAYS" => return Some((shifted(Unit::Day, -90), shifted(Unit::Day, 1))),
        "NEXT_90_DAYS" => return Some(from(shifted(Unit::Day, 1), Unit::Day, 90)),
        _ => {}
    }
    let n = i64::from(count.unwrap_or(0));
    if let Some(unit) = name.strip_prefix("LAST_N_").and_then(Unit::named) {
        return count.map(|_| match unit {
            // "Last n days" includes today; "last n months" leaves the current month out.
            Unit::Day => (shifted(unit, -n), shifted(unit, 1)),
            _ => (shifted(unit, -n), shifted(unit, 0)),
        });
    }
    if let Some(unit) = name.strip_prefix("NEXT_N_").and_then(Unit::named) {
        return count.map(|_| (shifted(unit, 1), shifted(unit, n + 1)));
    }
    if let Some(unit) =
        name.strip_prefix("N_").and_then(|rest| rest.strip_suffix("_AGO")).and_then(Unit::named)
    {
        return count.map(|_| from(shifted(unit, -n), unit, 1));
    }
    let (word, by) = [("LAST_", -1), ("THIS_", 0), ("NEXT_", 1)]
        .into_iter()
        .find_map(|(prefix, by)| name.strip_prefix(prefix).map(|word| (word, by)))?;
    let unit = Unit::named(word).filter(|_| !word.ends_with('S') && !word.ends_with("DAY"))?;
    Some(from(shifted(unit, by), unit, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("TODAY", None, "2026-11-22", "2026-11-23")]
    #[case("YESTERDAY", None, "2026-11-21", "2026-11-22")]
    #[case::sunday_starts_its_week("THIS_WEEK", None, "2026-11-22", "2026-11-29")]
    #[case("LAST_WEEK", None, "2026-11-15", "2026-11-22")]
    #[case("LAST_MONTH", None, "2026-10-01", "2026-11-01")]
    #[case("NEXT_QUARTER", None, "2027-01-01", "2027-04-01")]
    #[case("THIS_FISCAL_YEAR", None, "2026-01-01", "2027-01-01")]
    #[case("LAST_N_DAYS", Some(30), "2026-10-23", "2026-11-23")]
    #[case("NEXT_N_DAYS", Some(7), "2026-11-23", "2026-11-30")]
    #[case("LAST_N_MONTHS", Some(2), "2026-09-01", "2026-11-01")]
    #[case("N_DAYS_AGO", Some(3), "2026-11-19", "2026-11-20")]
    fn a_date_literal_is_a_range_of_days(
        #[case] name: &str,
        #[case] n: Option<u32>,
        #[case] from: &str,
        #[case] to: &str,
    ) {
        let today = parse_date("2026-11-22").unwrap();
        let (first, end) = range(name, n, today).unwrap();
        assert_eq!((first.to_string(), end.to_string()), (from.to_owned(), to.to_owned()));
    }

    #[rstest]
    fn a_count_beyond_the_calendar_reaches_to_its_ends(
        #[values("DAYS", "WEEKS", "MONTHS", "QUARTERS", "YEARS", "FISCAL_QUARTERS", "FISCAL_YEARS")]
        unit: &str,
        #[values(99_999_999, u32::MAX)] n: u32,
    ) {
        let today = parse_date("2026-11-22").unwrap();
        let now = start_of(today);
        let moments = |name: String| {
            let (first, end) = range(&name, Some(n), today).unwrap();
            (start_of(first), start_of(end))
        };
        let (first, end) = moments(format!("LAST_N_{unit}"));
        assert!(first < -200_000_000_000_000 && end <= now + 86_400_000, "{first} {end}");
        let (first, end) = moments(format!("NEXT_N_{unit}"));
        assert!(first > now && end > 200_000_000_000_000, "{first} {end}");
        let (first, end) = moments(format!("N_{unit}_AGO"));
        assert!(first <= end && end < -200_000_000_000_000, "{first} {end}");
    }

    #[test]
    fn a_moment_is_read_with_any_offset_and_written_the_rest_way() {
        let millis = parse_datetime("2026-01-02T04:04:05+01:00").unwrap();
        assert_eq!(rest_datetime(millis), "2026-01-02T03:04:05.000+0000");
        assert_eq!(parse_datetime("2026-01-02T03:04:05.000Z"), Some(millis));
        assert_eq!(parse_datetime("2026-01-02T03:04:05.000+0000"), Some(millis));
    }
}
