//! Writing JSON straight into bytes: answers are large and short-lived, a tree of values would double them.

use serde::Serialize;
use std::io::Write;

/// Appends `value` as JSON.
pub fn push(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("writing plain values to memory cannot fail");
}

/// Appends `"key":`, after a comma when something stands before it in the object.
pub fn key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
    push(out, name);
    out.push(b':');
}

/// Appends `"name":value`.
pub fn field(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    key(out, name);
    push(out, value);
}

/// Appends a number the way the org writes doubles, which is Java's: `125000.0`, but `1.39E8` from ten million on
/// and `1.0E-4` below a thousandth.
pub fn double(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    let written = if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        write!(out, "{value:?}")
    } else {
        let text = format!("{value:E}");
        let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let fraction = if digits.contains('.') { "" } else { ".0" };
        write!(out, "{digits}{fraction}E{exponent}")
    };
    written.expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(125_000.0, "125000.0")]
    #[case(0.0, "0.0")]
    #[case(-0.5, "-0.5")]
    #[case(9_999_999.0, "9999999.0")]
    #[case(10_000_000.0, "1.0E7")]
    #[case(-139_000_000.0, "-1.39E8")]
    #[case(12_345_678_901_234.56, "1.234567890123456E13")]
    #[case(0.001, "0.001")]
    #[case(0.000_1, "1.0E-4")]
    #[case(f64::NAN, "null")]
    fn doubles_are_written_as_java_writes_them(#[case] value: f64, #[case] text: &str) {
        let mut out = Vec::new();
        double(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
