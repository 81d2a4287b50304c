//! From a delivered value to its canonical form, one function for each kind.
//!
//! Promises: what two interfaces write differently for one value becomes the same; nothing passes through
//! a float; what is no value of its column's kind is refused and not guessed.

use std::ops::Range;

use jiff::civil::Date;

use super::columns::ColumnKind;
use super::json::write_canonical_json;
use super::row::{DAY_MS, Slot, Span, days_since_epoch};

/// Most digits that an exponent may unfold to: a double's largest has 309, its smallest 324 places.
const UNFOLDED_DIGITS_MAX: usize = 400;

/// The value is none of its column's kind.
#[derive(Debug, PartialEq)]
pub(super) struct BadValue;

/// A value's text with its whereabouts.
#[derive(Clone, Copy)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t str,
    /// Offset in the row's source; `None` for text that does not stay.
    pub(super) at: Option<u32>,
    /// Known to hold nothing that JSON escapes.
    pub(super) plain: bool,
}

impl Piece<'_> {
    /// Refers to a part of the text, which is copied if it does not stay.
    fn keep(&self, part: Range<usize>, rewritten: &mut String) -> Span {
        match self.at {
            Some(at) => Span { start: at + part.start as u32, end: at + part.end as u32, rewritten: false },
            None => append(rewritten, |out| out.push_str(&self.text[part])),
        }
    }

    pub(super) fn keep_all(&self, rewritten: &mut String) -> Span {
        self.keep(0..self.text.len(), rewritten)
    }
}

/// Writes to the rewritten text and refers to what was written.
pub(super) fn append(rewritten: &mut String, write: impl FnOnce(&mut String)) -> Span {
    let start = rewritten.len() as u32;
    write(rewritten);
    Span { start, end: rewritten.len() as u32, rewritten: true }
}

/// The canonical form of a value that came as text. Empty text is null, whatever the kind.
pub(super) fn slot_of(kind: ColumnKind, piece: Piece<'_>, rewritten: &mut String) -> Result<Slot, BadValue> {
    let text = piece.text;
    if text.is_empty() {
        return Ok(Slot::Null);
    }
    match kind {
        ColumnKind::Text | ColumnKind::Base64 => {
            Ok(Slot::Text { span: piece.keep_all(rewritten), plain: piece.plain })
        }
        ColumnKind::Id => Ok(id_slot(piece, rewritten)),
        ColumnKind::Boolean => match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(Slot::Boolean(true)),
            _ if text.eq_ignore_ascii_case("false") => Ok(Slot::Boolean(false)),
            _ => Err(BadValue),
        },
        ColumnKind::Int => int_of(text).map(Slot::Int),
        ColumnKind::Decimal => decimal_span(piece, rewritten).map(Slot::Decimal),
        ColumnKind::Date => date_of(text.as_bytes()).map(Slot::Date),
        ColumnKind::DateTime => date_time_of(text.as_bytes()).map(Slot::DateTime),
        ColumnKind::Time => time_of(text.as_bytes()).map(Slot::Time),
        ColumnKind::Json => Ok(Slot::Json(append(rewritten, |out| write_canonical_json(text, out)))),
    }
}

/// The canonical form of a date or time that came as a count of milliseconds, as Bulk 1.0 gives them.
pub(super) fn slot_of_ms(kind: ColumnKind, ms: i64) -> Result<Slot, BadValue> {
    match kind {
        ColumnKind::DateTime => in_calendar(ms).map(Slot::DateTime),
        ColumnKind::Date if ms % DAY_MS == 0 => {
            let (year, month, day) = super::row::year_month_day(in_calendar(ms)? / DAY_MS);
            civil(year, month, day).map(Slot::Date)
        }
        ColumnKind::Time => match u32::try_from(ms) {
            Ok(of_day) if ms < DAY_MS => Ok(Slot::Time(of_day)),
            _ => Err(BadValue),
        },
        _ => Err(BadValue),
    }
}

/// A point in time whose year has four digits.
fn in_calendar(ms: i64) -> Result<i64, BadValue> {
    let first = days_since_epoch(1, 1, 1) * DAY_MS;
    let end = (days_since_epoch(9999, 12, 31) + 1) * DAY_MS;
    if (first..end).contains(&ms) { Ok(ms) } else { Err(BadValue) }
}

/// Ids of 15 characters get their checksum. Other text stays as it is: some references of metadata
/// views hold an object's name, which has no digits or has another length.
fn id_slot(piece: Piece<'_>, rewritten: &mut String) -> Slot {
    let id = piece.text.as_bytes();
    let short =
        id.len() == 15 && id.iter().all(u8::is_ascii_alphanumeric) && id.iter().any(u8::is_ascii_digit);
    if !short {
        return Slot::Text { span: piece.keep_all(rewritten), plain: piece.plain };
    }
    let span = append(rewritten, |out| {
        out.push_str(piece.text);
        for group in id.chunks(5) {
            let upper =
                group.iter().enumerate().map(|(place, c)| usize::from(c.is_ascii_uppercase()) << place);
            out.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[upper.sum::<usize>()]));
        }
    });
    Slot::Text { span, plain: true }
}

pub(super) fn int_of(text: &str) -> Result<i64, BadValue> {
    let (negative, digits) = split_sign(text.as_bytes());
    // Eighteen digits cannot overflow.
    if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        return Ok(if negative { -number } else { number });
    }
    // `5.0` and `1E3` are whole, too.
    let mut plain = String::new();
    let span = decimal_span(Piece { text, at: None, plain: true }, &mut plain)?;
    plain[span.start as usize..span.end as usize].parse().map_err(|_| BadValue)
}

/// Writes a decimal in its plain shortest form.
pub(super) fn canonical_decimal(text: &str, out: &mut String) -> Result<(), BadValue> {
    decimal_span(Piece { text, at: None, plain: true }, out).map(drop)
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    }
}

/// The plain shortest form of a decimal: mostly a part of the text as it came.
fn decimal_span(piece: Piece<'_>, rewritten: &mut String) -> Result<Span, BadValue> {
    let text = piece.text.as_bytes();
    let (negative, unsigned) = split_sign(text);
    let mantissa_end = unsigned.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(unsigned.len());
    let mantissa = &unsigned[..mantissa_end];
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let whole = &mantissa[..point];
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !all_digits || whole.is_empty() && fraction.is_empty() {
        return Err(BadValue);
    }
    let exponent = match unsigned.get(mantissa_end + 1..) {
        None => 0,
        Some(exponent) => exponent_of(exponent)?,
    };
    let leading = whole.iter().take_while(|b| **b == b'0').count();
    let fraction_len = fraction.len() - fraction.iter().rev().take_while(|b| **b == b'0').count();
    let sign = usize::from(negative);
    if leading == whole.len() && fraction_len == 0 {
        return Ok(append(rewritten, |out| out.push('0')));
    }
    // The usual case: cut zeros off at the ends. A `-` must stay beside its digits, and a digit before a point.
    if exponent == 0 {
        let end = sign + if fraction_len == 0 { point } else { point + 1 + fraction_len };
        if leading < whole.len() && !(negative && leading > 0) {
            return Ok(piece.keep(if negative { 0 } else { leading }..end, rewritten));
        }
        if !whole.is_empty() && leading == whole.len() && (leading == 1 || !negative) {
            return Ok(piece.keep(if negative { 0 } else { leading - 1 }..end, rewritten));
        }
    }
    unfold(negative, whole, fraction, exponent, rewritten)
}

/// Past nine digits no exponent leads to a number that is worth unfolding.
fn exponent_of(text: &[u8]) -> Result<i64, BadValue> {
    let (negative, digits) = match text {
        [b'+', digits @ ..] => (false, digits),
        other => split_sign(other),
    };
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadValue);
    }
    let exponent = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Ok(if negative { -exponent } else { exponent })
}

/// Writes a decimal without its exponent. The digits are not all zero.
fn unfold(
    negative: bool,
    whole: &[u8],
    fraction: &[u8],
    exponent: i64,
    rewritten: &mut String,
) -> Result<Span, BadValue> {
    let digits: Vec<u8> = whole.iter().chain(fraction).copied().collect();
    let leading = digits.iter().take_while(|b| **b == b'0').count();
    let trailing = digits.iter().rev().take_while(|b| **b == b'0').count();
    let significant = &digits[leading..digits.len() - trailing];
    // How many of the significant digits stand before the point; negative for zeros after it.
    let before = whole.len() as i64 + exponent - leading as i64;
    let length = before.unsigned_abs() as usize + significant.len();
    if length > UNFOLDED_DIGITS_MAX + digits.len() {
        return Err(BadValue);
    }
    Ok(append(rewritten, |out| {
        if negative {
            out.push('-');
        }
        if before <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', before.unsigned_abs() as usize));
        }
        for (place, digit) in (0_i64..).zip(significant) {
            if place > 0 && place == before {
                out.push('.');
            }
            out.push(char::from(*digit));
        }
        let missing = before - significant.len() as i64;
        out.extend(std::iter::repeat_n('0', usize::try_from(missing).unwrap_or(0)));
    }))
}

fn number_of(digits: &[u8]) -> Result<u32, BadValue> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + u32::from(digit - b'0')),
        _ => Err(BadValue),
    })
}

fn civil(year: u32, month: u32, day: u32) -> Result<Date, BadValue> {
    if year == 0 || month > 12 || day > 31 {
        return Err(BadValue);
    }
    Date::new(year as i16, month as i8, day as i8).map_err(|_| BadValue)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_month_day_of(text: &[u8]) -> Result<(u32, u32, u32), BadValue> {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = *text else { return Err(BadValue) };
    let (year, month, day) = (number_of(&[a, b, c, d])?, number_of(&[e, f])?, number_of(&[g, h])?);
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap(year)),
        _ => 0,
    };
    if year == 0 || day == 0 || day > month_days { Err(BadValue) } else { Ok((year, month, day)) }
}

fn date_of(text: &[u8]) -> Result<Date, BadValue> {
    let (year, month, day) = year_month_day_of(text)?;
    civil(year, month, day)
}

/// `12:34:56` with any fraction that is whole milliseconds; gives the rest of the text.
fn clock_of(text: &[u8]) -> Result<(u32, &[u8]), BadValue> {
    let [a, b, b':', c, d, b':', e, f, rest @ ..] = text else { return Err(BadValue) };
    let (hour, minute, second) = (number_of(&[*a, *b])?, number_of(&[*c, *d])?, number_of(&[*e, *f])?);
    if hour > 23 || minute > 59 || second > 59 {
        return Err(BadValue);
    }
    let whole = ((hour * 60 + minute) * 60 + second) * 1000;
    let [b'.', fraction @ ..] = rest else { return Ok((whole, rest)) };
    let places = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = fraction.split_at(places);
    let (ms, finer) = digits.split_at(places.min(3));
    // The org knows milliseconds only; cutting finer digits off would lose something.
    if places == 0 || finer.iter().any(|b| *b != b'0') {
        return Err(BadValue);
    }
    Ok((whole + number_of(ms)? * [0, 100, 10, 1][ms.len()], rest))
}

/// `12:34:56.000Z`; the `Z` may be missing, because a time of day has no zone.
fn time_of(text: &[u8]) -> Result<u32, BadValue> {
    match clock_of(text)? {
        (ms, b"" | b"Z") => Ok(ms),
        _ => Err(BadValue),
    }
}

/// `2026-01-02T03:04:05.000+0000`, with any offset in any of its spellings.
fn date_time_of(text: &[u8]) -> Result<i64, BadValue> {
    let (day, clock) = text.split_at_checked(10).ok_or(BadValue)?;
    let (year, month, day) = year_month_day_of(day)?;
    let [b'T', clock @ ..] = clock else { return Err(BadValue) };
    let (ms, offset) = clock_of(clock)?;
    let local = days_since_epoch(year, month, day) * DAY_MS + i64::from(ms);
    match offset {
        b"Z" | b"+0000" => Ok(local),
        _ => in_calendar(local - offset_ms(offset)?),
    }
}

fn offset_ms(text: &[u8]) -> Result<i64, BadValue> {
    let (sign, digits) = match text {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return Err(BadValue),
    };
    let (hours, minutes) = match *digits {
        [a, b] => (number_of(&[a, b])?, 0),
        [a, b, c, d] | [a, b, b':', c, d] => (number_of(&[a, b])?, number_of(&[c, d])?),
        _ => return Err(BadValue),
    };
    if hours > 23 || minutes > 59 {
        return Err(BadValue);
    }
    Ok(sign * i64::from(hours * 60 + minutes) * 60_000)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::salesforce::rows::{Column, Columns, Row};

    /// The JSON of one value, or `bad`.
    fn canonical(kind: ColumnKind, text: &str) -> String {
        let columns = Columns::new(vec![Column::new("V", kind)]).unwrap();
        let mut results = [Some(0), None].map(|at| {
            let mut rewritten = String::new();
            let piece = Piece { text, at, plain: false };
            let Ok(slot) = slot_of(kind, piece, &mut rewritten) else { return "bad".to_owned() };
            let row =
                Row { columns: &columns, slots: &[slot], source: text, rewritten: &rewritten, number: 1 };
            let mut line = Vec::new();
            row.write_json_line(&mut line);
            let line = String::from_utf8(line).unwrap();
            line.strip_prefix("{\"V\":").and_then(|line| line.strip_suffix("}\n")).unwrap().to_owned()
        });
        assert_eq!(results[0], results[1], "text that stays and text that does not");
        std::mem::take(&mut results[0])
    }

    #[rstest]
    #[case("1", "1")]
    #[case("1.0", "1")]
    #[case("1.00", "1")]
    #[case("1e3", "1000")]
    #[case("1.25E7", "12500000")]
    #[case("1.2345E2", "123.45")]
    #[case("12E-1", "1.2")]
    #[case("12E-5", "0.00012")]
    #[case("1200e-2", "12")]
    #[case("125000.0", "125000")]
    #[case("1000", "1000")]
    #[case("0.10", "0.1")]
    #[case("-0.10", "-0.1")]
    #[case("0", "0")]
    #[case("-0.0", "0")]
    #[case("0e9", "0")]
    #[case("000", "0")]
    #[case("007.50", "7.5")]
    #[case("-007.50", "-7.5")]
    #[case("-00.5", "-0.5")]
    #[case(".5", "0.5")]
    #[case("-.5", "-0.5")]
    #[case("5.", "5")]
    #[case("123456789012345678.123456789012345678", "123456789012345678.123456789012345678")]
    #[case("99999999999999999999999999", "99999999999999999999999999")]
    #[case("0.1e1", "1")]
    #[case("0.00e-5", "0")]
    #[case("4.9E-324", &format!("0.{}49", "0".repeat(323)))]
    #[case("", "null")]
    #[case(".", "bad")]
    #[case("-", "bad")]
    #[case("1e", "bad")]
    #[case("1e999999999", "bad")]
    #[case("1e99999999999999999999", "bad")]
    #[case("+1", "bad")]
    #[case("1,5", "bad")]
    #[case("1 ", "bad")]
    #[case("NaN", "bad")]
    #[case("1.2.3", "bad")]
    fn a_decimal_has_one_exact_form(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(ColumnKind::Decimal, text), expected);
    }

    #[rstest]
    #[case("42", "42")]
    #[case("-7", "-7")]
    #[case("007", "7")]
    #[case("5.0", "5")]
    #[case("1E3", "1000")]
    #[case("-0", "0")]
    #[case("9223372036854775807", "9223372036854775807")]
    #[case("-9223372036854775808", "-9223372036854775808")]
    #[case("9223372036854775808", "bad")]
    #[case("5.5", "bad")]
    #[case("", "null")]
    #[case("five", "bad")]
    fn a_whole_number_is_whole(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(ColumnKind::Int, text), expected);
    }

    #[rstest]
    #[case("2026-01-02T03:04:05.000+0000", r#""2026-01-02T03:04:05.000Z""#)]
    #[case("2026-01-02T03:04:05.000Z", r#""2026-01-02T03:04:05.000Z""#)]
    #[case("2026-01-02T03:04:05Z", r#""2026-01-02T03:04:05.000Z""#)]
    #[case("2026-01-02T03:04:05.1+00:00", r#""2026-01-02T03:04:05.100Z""#)]
    #[case("2026-01-02T03:04:05.123000Z", r#""2026-01-02T03:04:05.123Z""#)]
    #[case("2026-01-01T00:30:00.007+0100", r#""2025-12-31T23:30:00.007Z""#)]
    #[case("2026-12-31T20:00:00.000-04:30", r#""2027-01-01T00:30:00.000Z""#)]
    #[case("2024-02-29T12:00:00.000+05", r#""2024-02-29T07:00:00.000Z""#)]
    #[case("1969-12-31T23:59:59.999Z", r#""1969-12-31T23:59:59.999Z""#)]
    #[case("1700-01-01T00:00:00.000Z", r#""1700-01-01T00:00:00.000Z""#)]
    #[case("9999-12-31T23:59:59.999Z", r#""9999-12-31T23:59:59.999Z""#)]
    #[case("9999-12-31T23:59:59.999-0100", "bad")]
    #[case("0001-01-01T00:00:00.000+0100", "bad")]
    #[case("2026-01-02T03:04:05.0001Z", "bad")]
    #[case("2026-01-02T03:04:05", "bad")]
    #[case("2026-01-02T24:00:00Z", "bad")]
    #[case("2026-01-02T03:04:60Z", "bad")]
    #[case("2026-01-02T03:04:05.Z", "bad")]
    #[case("2026-01-02 03:04:05Z", "bad")]
    #[case("2026-13-02T03:04:05Z", "bad")]
    #[case("2026-01-02T03:04:05+2400", "bad")]
    #[case("2026-01-02", "bad")]
    #[case("é026-01-0é", "bad")]
    #[case("", "null")]
    fn a_point_in_time_is_told_in_utc(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(ColumnKind::DateTime, text), expected);
    }

    #[rstest]
    #[case(ColumnKind::Date, "2026-01-02", r#""2026-01-02""#)]
    #[case(ColumnKind::Date, "0001-01-01", r#""0001-01-01""#)]
    #[case(ColumnKind::Date, "2024-02-29", r#""2024-02-29""#)]
    #[case(ColumnKind::Date, "1900-02-29", "bad")]
    #[case(ColumnKind::Date, "0000-01-01", "bad")]
    #[case(ColumnKind::Date, "2026-00-10", "bad")]
    #[case(ColumnKind::Date, "2026-1-2", "bad")]
    #[case(ColumnKind::Time, "12:34:56.000Z", r#""12:34:56.000Z""#)]
    #[case(ColumnKind::Time, "12:34:56", r#""12:34:56.000Z""#)]
    #[case(ColumnKind::Time, "23:59:59.999Z", r#""23:59:59.999Z""#)]
    #[case(ColumnKind::Time, "12:34:56.000+0100", "bad")]
    #[case(ColumnKind::Boolean, "true", "true")]
    #[case(ColumnKind::Boolean, "FALSE", "false")]
    #[case(ColumnKind::Boolean, "1", "bad")]
    #[case(ColumnKind::Boolean, "", "null")]
    #[case(ColumnKind::Text, "NA", r#""NA""#)]
    #[case(ColumnKind::Text, "None", r#""None""#)]
    #[case(ColumnKind::Text, "null", r#""null""#)]
    #[case(ColumnKind::Text, "00042", r#""00042""#)]
    #[case(ColumnKind::Text, " ", r#"" ""#)]
    #[case(ColumnKind::Text, "a\n\"b\"\\", r#""a\n\"b\"\\""#)]
    #[case(ColumnKind::Text, "𝄞 é \u{2028}", "\"𝄞 é \u{2028}\"")]
    #[case(ColumnKind::Text, "", "null")]
    #[case(ColumnKind::Json, r#"{"b":1.0,"a":"x"}"#, r#"{"a":"x","b":1}"#)]
    #[case(ColumnKind::Json, "no json", r#""no json""#)]
    fn other_kinds_have_one_form_too(#[case] kind: ColumnKind, #[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(kind, text), expected);
    }

    #[rstest]
    #[case("a01M00000062mPg", "a01M00000062mPgIAI")]
    #[case("001M000000qfPyS", "001M000000qfPySIAU")]
    #[case("0F9E000000092w2", "0F9E000000092w2KAA")]
    #[case("00Q5g00000AbCdE", "00Q5g00000AbCdEEAV")]
    #[case("00Q5g00000AbCdEEAV", "00Q5g00000AbCdEEAV")]
    #[case::object_name("ActivityHistory", "ActivityHistory")]
    #[case::object_name("Account", "Account")]
    #[case::key_of_a_view("01I5g000001_Abc", "01I5g000001_Abc")]
    fn ids_have_eighteen_characters(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(ColumnKind::Id, text), format!("\"{expected}\""));
    }

    #[rstest]
    #[case(ColumnKind::DateTime, 1_767_323_045_000, Some(Slot::DateTime(1_767_323_045_000)))]
    #[case(ColumnKind::DateTime, -1, Some(Slot::DateTime(-1)))]
    #[case(ColumnKind::DateTime, i64::MAX, None)]
    #[case(ColumnKind::Date, 1_767_312_000_000, Some(Slot::Date(Date::constant(2026, 1, 2))))]
    #[case(ColumnKind::Date, -86_400_000, Some(Slot::Date(Date::constant(1969, 12, 31))))]
    #[case(ColumnKind::Date, 1, None)]
    #[case(ColumnKind::Time, 86_399_999, Some(Slot::Time(86_399_999)))]
    #[case(ColumnKind::Time, 86_400_000, None)]
    #[case(ColumnKind::Time, -1, None)]
    #[case(ColumnKind::Text, 1, None)]
    fn milliseconds_become_days_and_times(
        #[case] kind: ColumnKind,
        #[case] ms: i64,
        #[case] expected: Option<Slot>,
    ) {
        assert_eq!(slot_of_ms(kind, ms).ok(), expected);
    }
}
