//! Number formats: which show a date, and a date as text.
//!
//! Promises: pure. A spreadsheet's date is the count of days since 1899-12-30, the way it counts from March 1900 on; the
//! 29th of February 1900, which it believes in, is kept apart.

/// What a number format makes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// A number.
    Number,
    /// A time of day or a span of time.
    Time,
    /// A day, perhaps with a time.
    Date,
}

/// What a format code shows.
pub(super) fn shows(code: &str) -> Shows {
    let mut has = (false, false, false);
    let mut characters = code.chars();
    while let Some(character) = characters.next() {
        match character {
            // A semicolon begins the format of negative numbers.
            ';' => break,
            '"' => while characters.next().is_some_and(|character| character != '"') {},
            '\\' | '_' | '*' => {
                characters.next();
            }
            '[' => {
                let inside: String = characters.by_ref().take_while(|&character| character != ']').collect();
                // `[h]` is a span of hours; `[Red]`, `[$-409]`, `[>100]` are not about time.
                if !inside.is_empty()
                    && inside.chars().all(|c| matches!(c, 'h' | 'H' | 'm' | 'M' | 's' | 'S'))
                {
                    has.1 = true;
                }
            }
            'y' | 'Y' | 'd' | 'D' => has.0 = true,
            'h' | 'H' | 's' | 'S' => has.1 = true,
            'm' | 'M' => has.2 = true,
            // `General` has an e, `0.00E+00` too; neither has what comes before this.
            'G' | 'g' if code[..].to_ascii_lowercase().contains("general") => return Shows::Number,
            _ => {}
        }
    }
    match has {
        (true, _, _) | (false, false, true) => Shows::Date,
        (false, true, _) => Shows::Time,
        (false, false, false) => Shows::Number,
    }
}

/// Days from 1970-01-01 to the day a spreadsheet counts as 0.
const EPOCH: i64 = -25_569;
/// 9999-12-31, the last day a spreadsheet knows.
const LAST_DAY: i64 = 2_958_465;
const MILLISECONDS: i64 = 86_400_000;

/// A number as the date that its format shows; `None` when the format shows none or the number is beyond its calendar.
pub(super) fn iso_of_serial(serial: f64, code: &str) -> Option<String> {
    let shows = shows(code);
    if shows == Shows::Number || !(0.0..=LAST_DAY as f64 + 1.0).contains(&serial) {
        return None;
    }
    let total = (serial * MILLISECONDS as f64).round() as i64;
    let (day, milliseconds) = (total.div_euclid(MILLISECONDS), total.rem_euclid(MILLISECONDS));
    let time = || {
        let seconds = milliseconds / 1_000;
        let time = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        match milliseconds % 1_000 {
            0 => time,
            rest => format!("{time}.{rest:03}"),
        }
    };
    if shows == Shows::Time {
        return (day == 0).then(time);
    }
    let (year, month, day) = match day {
        60 => (1900, 2, 29),
        // Before the day that never was, the count is one off.
        ..60 => civil_of_days(day + 1 + EPOCH),
        _ => civil_of_days(day + EPOCH),
    };
    let date = format!("{year:04}-{month:02}-{day:02}");
    Some(if milliseconds == 0 { date } else { format!("{date}T{}", time()) })
}

/// Year, month and day of a count of days since 1970-01-01 (proleptic Gregorian).
fn civil_of_days(days: i64) -> (i64, i64, i64) {
    // Years counted from March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The number that a spreadsheet counts a date as, and whether a time of day is with it: `2024-02-29`,
/// `2024-02-29T10:00:00.5`, with or without `Z`, or a time alone.
pub(super) fn serial_of_iso(text: &str) -> Option<(f64, bool)> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    if !text.contains('-')
        && let Ok(time) = text.parse::<jiff::civil::Time>()
    {
        return Some((of_day(time), true));
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date: jiff::civil::Date = date.parse().ok()?;
    let epoch = jiff::civil::date(1899, 12, 30);
    let mut days = f64::from(date.since((jiff::Unit::Day, epoch)).ok()?.get_days());
    if days < 1.0 {
        return None;
    }
    // Before the 29th of February 1900 that never was, the count is one off.
    if days < 61.0 {
        days -= 1.0;
    }
    if let Some(time) = time {
        let time: jiff::civil::Time = time.parse().ok()?;
        days += of_day(time);
    }
    Some((days, time.is_some()))
}

/// A time as a part of its day.
fn of_day(time: jiff::civil::Time) -> f64 {
    time.duration_since(jiff::civil::Time::midnight()).as_nanos() as f64 / (MILLISECONDS as f64 * 1e6)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("General", Shows::Number)]
    #[case("0.00E+00", Shows::Number)]
    #[case("#,##0.00_);[Red](#,##0.00)", Shows::Number)]
    #[case("0 \"days\"", Shows::Number)]
    #[case("0\\d", Shows::Number)]
    #[case("[$-409]#,##0", Shows::Number)]
    #[case("@", Shows::Number)]
    #[case("yyyy-mm-dd", Shows::Date)]
    #[case("[$-407]TT.MM.JJJJ", Shows::Date)]
    #[case("mmm-yy;@", Shows::Date)]
    #[case("m/d/yyyy h:mm", Shows::Date)]
    #[case("h:mm AM/PM", Shows::Time)]
    #[case("[h]:mm:ss", Shows::Time)]
    #[case("mm:ss.0", Shows::Time)]
    fn a_format_shows_a_date_a_time_or_a_number(#[case] code: &str, #[case] expected: Shows) {
        assert_eq!(shows(code), expected);
    }

    #[rstest]
    #[case(1.0, "yyyy", Some("1900-01-01"))]
    #[case(59.0, "yyyy", Some("1900-02-28"))]
    #[case(60.0, "yyyy", Some("1900-02-29"))]
    #[case(61.0, "yyyy", Some("1900-03-01"))]
    #[case(45_351.0, "yyyy", Some("2024-02-29"))]
    #[case(45_351.5, "yyyy", Some("2024-02-29T12:00:00"))]
    #[case(45_351.999_999_999, "yyyy", Some("2024-03-01"))]
    #[case(2_958_465.0, "yyyy", Some("9999-12-31"))]
    #[case(0.25, "h:mm", Some("06:00:00"))]
    #[case(1.25, "[h]:mm", None)]
    #[case(-1.0, "yyyy", None)]
    #[case(1e300, "yyyy", None)]
    #[case(f64::NAN, "yyyy", None)]
    #[case(45_351.0, "0.00", None)]
    fn a_number_is_the_date_that_its_format_shows(
        #[case] serial: f64,
        #[case] code: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(iso_of_serial(serial, code).as_deref(), expected);
    }

    #[test]
    fn a_date_and_its_number_are_the_same_day_both_ways() {
        for day in (1..=59).chain(61..100).chain((100..2_958_465).step_by(997)) {
            let serial = f64::from(day);
            let date = iso_of_serial(serial, "yyyy-mm-dd").unwrap();
            assert_eq!(serial_of_iso(&date), Some((serial, false)), "{date}");
        }
        assert_eq!(serial_of_iso("2024-02-29T06:00:00Z"), Some((45_351.25, true)));
        assert_eq!(serial_of_iso("06:00:00"), Some((0.25, true)));
        assert_eq!(serial_of_iso("yesterday"), None);
        assert_eq!(serial_of_iso("1899-12-30"), None);
    }
}
