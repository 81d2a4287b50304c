//! How numbers and spans of time stand in sentences for people.

use std::time::Duration;

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2,000 rows`: a number and what is counted, with an s where it is not one.
pub fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(number)) }
}

/// `90 s`, `5 min`, `2 h 30 min`, `3 d`: whole seconds, the two largest units.
pub fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    if seconds < 120 {
        return format!("{seconds} s");
    }
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        if rest >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0 rows")]
    #[case(1, "1 row")]
    #[case(999, "999 rows")]
    #[case(1_000, "1,000 rows")]
    #[case(u64::MAX, "18,446,744,073,709,551,615 rows")]
    fn a_number_is_told_with_what_it_counts(#[case] number: u64, #[case] expected: &str) {
        assert_eq!(counted(number, "row"), expected);
    }

    #[rstest]
    #[case(0, "0 s")]
    #[case(90, "90 s")]
    #[case(300, "5 min")]
    #[case(9_000, "2 h 30 min")]
    #[case(9_001, "2 h 30 min")]
    #[case(259_200, "3 d")]
    fn a_span_is_told_by_its_two_largest_units(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(span(Duration::from_secs(seconds)), expected);
    }
}
