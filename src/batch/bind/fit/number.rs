//! Numbers: whole ones in their range, decimals with their digits, floats.

use super::Misfit;
use crate::batch::catalogue::DatabaseKind;
use crate::batch::value::Value;

/// More digits than this in front of the point, or behind it, is no number that a column holds; also what keeps
/// `1e999999999` from being written out.
const DIGITS_MAX: usize = 1_000;

/// A decimal number as its digits, without an exponent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without leading zeros; empty for zero.
    whole: String,
    /// As written, zeros at the end kept.
    fraction: String,
}

impl Decimal {
    fn is_integral(&self) -> bool {
        self.fraction.bytes().all(|digit| digit == b'0')
    }

    /// As a JSON number.
    pub(super) fn into_value(self) -> Value {
        if self.fraction.is_empty() {
            let digits = self.whole_text();
            return match digits.parse::<i64>() {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Number(digits.into()),
            };
        }
        Value::Number(format!("{}.{}", self.whole_text(), self.fraction).into())
    }

    fn whole_text(&self) -> String {
        let digits = if self.whole.is_empty() { "0" } else { &self.whole };
        // `-0` is no number of its own, `-0.5` is.
        let zero = self.whole.is_empty() && self.is_integral();
        if self.negative && !zero { format!("-{digits}") } else { digits.to_owned() }
    }
}

/// A decimal number out of text: JSON's grammar, leading zeros allowed, exponent written out.
pub(super) fn parsed(text: &str) -> Option<Decimal> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let (whole, fraction) = shifted(whole, fraction, exponent);
    if whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX {
        return None;
    }
    Some(Decimal { negative, whole: whole.trim_start_matches('0').to_owned(), fraction })
}

/// The exponent; one that is larger than any number here may have is cut to one that is refused for it.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let limit = 2 * DIGITS_MAX as i64;
    let size = digits.parse::<i64>().unwrap_or(limit).min(limit);
    Some(if text.starts_with('-') { -size } else { size })
}

/// Moves the point.
fn shifted(whole: &str, fraction: &str, exponent: i64) -> (String, String) {
    let places = exponent.unsigned_abs() as usize;
    if exponent >= 0 {
        let moved = places.min(fraction.len());
        let mut new_whole = format!("{whole}{}", &fraction[..moved]);
        new_whole.extend(std::iter::repeat_n('0', places - moved));
        // Zero stays zero, whatever its exponent.
        if new_whole.bytes().all(|digit| digit == b'0') {
            new_whole.clear();
        }
        return (new_whole, fraction[moved..].to_owned());
    }
    let moved = places.min(whole.len());
    let (kept, to_fraction) = whole.split_at(whole.len() - moved);
    let zeros: String = std::iter::repeat_n('0', places - moved).collect();
    (kept.to_owned(), format!("{zeros}{to_fraction}{fraction}"))
}

/// A whole number of so many bits.
pub(super) fn whole(value: Value, bits: u8, unsigned: bool) -> Result<Value, Misfit> {
    let (lowest, highest): (i128, i128) = match (bits.clamp(1, 64), unsigned) {
        (bits, true) => (0, (1 << bits) - 1),
        (bits, false) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    };
    let misfit = |found| Misfit { expected: format!("a whole number from {lowest} to {highest}"), found };
    let found = value.kind();
    let number: i128 = match value {
        Value::Int(number) => number.into(),
        // `100.0` and `1e3` are whole numbers in JSON.
        Value::Number(text) => match parsed(&text) {
            Some(decimal) if decimal.is_integral() => {
                decimal.whole_text().parse().map_err(|_| misfit(found))?
            }
            _ => return Err(misfit(found)),
        },
        Value::Text(text) => {
            let digits = text.strip_prefix('-').unwrap_or(&text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(misfit(found));
            }
            text.parse().map_err(|_| misfit(found))?
        }
        _ => return Err(misfit(found)),
    };
    if !(lowest..=highest).contains(&number) {
        return Err(misfit(found));
    }
    Ok(match i64::try_from(number) {
        Ok(number) => Value::Int(number),
        // Only the upper half of an unsigned 64-bit column.
        Err(_) => Value::Number(number.to_string().into()),
    })
}

/// A decimal with its exact digits.
pub(super) fn decimal(value: Value) -> Result<Value, Misfit> {
    let misfit = |found| Misfit { expected: "a decimal number".to_owned(), found };
    match &value {
        Value::Int(_) => Ok(value),
        Value::Number(text) => parsed(text).map(Decimal::into_value).ok_or_else(|| misfit("number")),
        Value::Text(text) => parsed(text).map(Decimal::into_value).ok_or_else(|| misfit("text")),
        other => Err(misfit(other.kind())),
    }
}

/// A float of 32 or 64 bits. The text of a number is kept as it is: the database reads it once, and rounds it once.
pub(super) fn float(value: Value, bits: u8, kind: DatabaseKind) -> Result<Value, Misfit> {
    let misfit = |found| Misfit { expected: format!("a number of {bits} bits"), found };
    match &value {
        Value::Int(_) => Ok(value),
        Value::Number(text) => {
            let finite = match bits {
                32 => text.parse::<f32>().is_ok_and(f32::is_finite),
                _ => text.parse::<f64>().is_ok_and(f64::is_finite),
            };
            if finite { Ok(value) } else { Err(misfit("number")) }
        }
        Value::Text(text) => match (text.as_str(), kind) {
            ("NaN" | "Infinity" | "-Infinity", DatabaseKind::Postgres)
            | ("Infinity" | "-Infinity", DatabaseKind::Sqlite) => Ok(value),
            // SQLite stores null for it, MariaDB refuses all three.
            _ => Err(misfit("text")),
        },
        other => Err(misfit(other.kind())),
    }
}
